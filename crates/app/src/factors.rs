//! Second factors and passkeys: set up, used, taken away. A code of an authenticator is accepted
//! once; a challenge is answered once; recovery codes are shown once and kept as digests.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::passkey::{Assertion, Registration, RelyingParty, claimed_challenge};
use veritwin_access::{Action, Kind};
use veritwin_domain::{FactorId, OpContext, PlatformContext, Rng, Secret, UserId};
use veritwin_keys::{constant_time_eq, hmac_sha256, sha256, totp};
use veritwin_metastore::{Factor, FactorKind, PlatformTx};

use crate::change::Change;
use crate::links::text;
use crate::model::{NewAuthenticator, PasskeyRequest};
use crate::sign_in::{WRONG, person};
use crate::{App, Error, Result};

/// How long a challenge can be answered.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Most answered challenges remembered at once; over it, sign-in with a passkey waits.
const ANSWERED_MAX: usize = 65_536;
/// Most passkeys of an account.
pub(crate) const PASSKEYS_MAX: usize = 16;
/// Recovery codes that are made at once.
const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code: 80 bits, which nobody guesses from a digest.
const RECOVERY_BYTES: usize = 10;

/// How many of a kind an account had, and has: what the records say of a change.
fn counted(what: &str, before: usize, after: usize) -> Change {
    Change::from_to(json!({ what: before }), json!({ what: after }))
}

fn of_kind(factors: &[Factor], kind: FactorKind) -> usize {
    factors.iter().filter(|factor| factor.kind == kind).count()
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// What a challenge was given out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ceremony {
    Create(UserId),
    Use,
}

/// Challenges carry their end and are signed, so that handing them out costs no memory; the
/// answered ones are remembered until that end.
pub(crate) struct Challenges {
    key: [u8; 32],
    answered: Mutex<HashMap<[u8; 32], Duration>>,
}

impl Challenges {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self { key, answered: Mutex::default() }
    }

    fn tag(&self, head: &[u8], ceremony: Ceremony) -> [u8; 32] {
        let mut signed = head.to_vec();
        if let Ceremony::Create(user) = ceremony {
            signed.extend(user.as_bytes());
        }
        hmac_sha256(&self.key, &signed)
    }

    fn give(&self, rng: &dyn Rng, now: Duration, ceremony: Ceremony) -> Vec<u8> {
        let mut head = [0u8; 24];
        rng.fill(&mut head[..16]);
        head[16..].copy_from_slice(&(now + CHALLENGE_LIFETIME).as_secs().to_be_bytes());
        [head.as_slice(), &self.tag(&head, ceremony)].concat()
    }

    /// Whether a challenge is ours, of this ceremony, in time and new; it is used up.
    fn take(&self, challenge: &[u8], now: Duration, ceremony: Ceremony) -> Result<bool> {
        let Some((head, tag)) = challenge.split_at_checked(24) else { return Ok(false) };
        let mut end = [0u8; 8];
        end.copy_from_slice(&head[16..]);
        let end = Duration::from_secs(u64::from_be_bytes(end));
        if !constant_time_eq(&self.tag(head, ceremony), tag) || end <= now {
            return Ok(false);
        }
        let mut answered = self.answered.lock();
        if answered.len() >= ANSWERED_MAX {
            answered.retain(|_, end| *end > now);
            if answered.len() >= ANSWERED_MAX {
                return Err(Error::Busy { retry_after: CHALLENGE_LIFETIME });
            }
        }
        Ok(answered.insert(sha256(challenge), end).is_none())
    }
}

#[derive(Serialize, Deserialize)]
struct StoredPasskey {
    name: String,
    credential: String,
    cose: String,
}

fn stored(factor: &Factor) -> Result<StoredPasskey> {
    serde_json::from_slice(&factor.body)
        .map_err(|_| Error::Internal("a stored passkey is damaged".to_owned()))
}

/// What the person calls a passkey.
pub(crate) fn passkey_name(factor: &Factor) -> Result<Secret<String>> {
    Ok(Secret::new(stored(factor)?.name))
}

/// Whether signing in with a password asks for more.
pub(crate) fn has_second_factor(factors: &[Factor]) -> bool {
    factors.iter().any(|one| matches!(one.kind, FactorKind::Totp | FactorKind::Passkey))
}

fn recovery_digest(user: UserId, code: &str) -> [u8; 32] {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    sha256(format!("recovery {user} {}", plain.to_ascii_uppercase()).as_bytes())
}

fn unix_s(at: veritwin_domain::Timestamp) -> u64 {
    u64::try_from(at.as_micros() / 1_000_000).unwrap_or(0)
}

impl App {
    fn factor(&self, at: veritwin_domain::Timestamp, user: UserId, kind: FactorKind) -> Factor {
        Factor {
            id: FactorId::generate(at, self.rng()),
            user,
            kind,
            lookup: None,
            body: Vec::new(),
            counter: 0,
            created_at: at,
            last_used_at: None,
        }
    }

    /// Uses a code of the authenticator or a recovery code up.
    pub(crate) async fn use_code(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        factors: &[Factor],
        entered: &str,
    ) -> Result<()> {
        let entered = entered.trim();
        for factor in factors.iter().filter(|factor| factor.kind == FactorKind::Totp) {
            let now = unix_s(context.at);
            if let Some(step) = totp::matching_step(&factor.body, entered, now, factor.counter)
                && tx.factor_advance(factor.id, step, context.at).await?
            {
                return Ok(());
            }
        }
        for factor in factors.iter().filter(|factor| factor.kind == FactorKind::Recovery) {
            let digest = recovery_digest(factor.user, entered);
            if factor.lookup.is_some_and(|known| constant_time_eq(&known, &digest)) {
                return Ok(tx.factor_delete(factor.user, factor.id).await?);
            }
        }
        Err(WRONG)
    }

    /// Checks the answer of a passkey without using it up: what it was made for, the key it was
    /// signed with, and how often that was used.
    pub(crate) async fn check_passkey(
        &self,
        tx: &PlatformTx,
        assertion: &Assertion,
        party: &RelyingParty,
    ) -> Result<(Factor, u32)> {
        let challenge = claimed_challenge(&assertion.client_data).ok_or(WRONG)?;
        let factor = tx.factor_by_lookup(sha256(&assertion.credential)).await?;
        let factor = factor.filter(|one| one.kind == FactorKind::Passkey).ok_or(WRONG)?;
        let cose = hex::decode(stored(&factor)?.cose).map_err(|_| WRONG)?;
        let counter = u32::try_from(factor.counter).unwrap_or(u32::MAX);
        let next = assertion.verify(party, &challenge, &cose, counter).map_err(|error| {
            tracing::info!(%error, "a passkey was refused");
            WRONG
        })?;
        Ok((factor, next))
    }

    /// Takes the answer of a passkey; gives whose it is.
    pub(crate) async fn use_passkey(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        assertion: &Assertion,
        party: &RelyingParty,
    ) -> Result<Factor> {
        let (factor, next) = self.check_passkey(tx, assertion, party).await?;
        let challenge = claimed_challenge(&assertion.client_data).ok_or(WRONG)?;
        let now = context.clock.monotonic();
        if !self.0.challenges.take(&challenge, now, Ceremony::Use)? {
            return Err(WRONG);
        }
        if next == 0 {
            tx.factor_used(factor.id, context.at).await?;
        } else if !tx.factor_advance(factor.id, u64::from(next), context.at).await? {
            return Err(WRONG);
        }
        Ok(factor)
    }

    /// A challenge for signing in with a passkey, whoever has one.
    pub fn passkey_challenge(&self, context: &PlatformContext) -> Result<Vec<u8>> {
        self.authorize_platform(context, Action::SessionCreate)?;
        Ok(self.0.challenges.give(self.rng(), context.clock.monotonic(), Ceremony::Use))
    }

    /// What a browser needs to make a passkey for the person.
    #[boxed]
    pub async fn begin_passkey(&self, context: &OpContext) -> Result<PasskeyRequest> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, _) = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let account = tx.user(user).await?;
        let passkeys = tx.factors_of(user).await?;
        let passkeys = passkeys.iter().filter(|one| one.kind == FactorKind::Passkey);
        let known = passkeys
            .map(|one| hex::decode(stored(one)?.credential).map_err(|_| WRONG))
            .collect::<Result<Vec<_>>>()?;
        if known.len() >= PASSKEYS_MAX {
            let detail = format!("an account has at most {PASSKEYS_MAX} passkeys: remove one");
            return Err(Error::Conflict(detail));
        }
        let now = platform.clock.monotonic();
        Ok(PasskeyRequest {
            challenge: self.0.challenges.give(self.rng(), now, Ceremony::Create(user)),
            user,
            name: Secret::new(account.name.unwrap_or_default()),
            email: Secret::new(account.email),
            known,
        })
    }

    /// Adds the passkey that a browser made. The session counts as signed in with it and goes on
    /// under a new token.
    #[boxed]
    pub async fn add_passkey(
        &self,
        context: &OpContext,
        name: &Secret<String>,
        made: &Registration,
        party: &RelyingParty,
    ) -> Result<Secret<String>> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, session) = person(context)?;
        let name = text("name", name.expose())?;
        let platform = self.above(context);
        let wrong = |detail: String| Error::invalid_at("passkey", detail);
        let challenge = claimed_challenge(&made.client_data)
            .ok_or_else(|| wrong("clientDataJSON is malformed".to_owned()))?;
        let made = made.verify(party, &challenge).map_err(|error| wrong(error.to_string()))?;
        let now = platform.clock.monotonic();
        if !self.0.challenges.take(&challenge, now, Ceremony::Create(user))? {
            return Err(wrong("the challenge is used or too old: start again".to_owned()));
        }
        let body = StoredPasskey {
            name,
            credential: hex::encode(&made.credential),
            cose: hex::encode(&made.cose),
        };
        let factor = Factor {
            lookup: Some(sha256(&made.credential)),
            body: serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?,
            counter: u64::from(made.counter),
            ..self.factor(context.at, user, FactorKind::Passkey)
        };
        let tx = self.0.store.begin_platform(&platform).await?;
        let held = of_kind(&tx.factors_of(user).await?, FactorKind::Passkey);
        tx.factor_add(&factor).await?;
        self.record_secured(&tx, context, counted("passkeys", held, held + 1)).await?;
        tx.commit().await?;
        self.session_proven(&platform, user, session, true).await
    }

    /// Takes a passkey away.
    #[boxed]
    pub async fn remove_passkey(&self, context: &OpContext, id: FactorId) -> Result<()> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let factors = tx.factors_of(user).await?;
        let is_it = |one: &&Factor| one.id == id && one.kind == FactorKind::Passkey;
        factors.iter().find(is_it).ok_or(Error::NotFound("passkey"))?;
        let held = of_kind(&factors, FactorKind::Passkey);
        if tx.user(user).await?.password_hash.is_none() && held == 1 {
            let detail = "this is the only way you sign in: set a password first";
            return Err(Error::Conflict(detail.to_owned()));
        }
        tx.factor_delete(user, id).await?;
        self.record_secured(&tx, context, counted("passkeys", held, held - 1)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Begins to set up an authenticator app: the secret is shown this once.
    #[boxed]
    pub async fn begin_authenticator(&self, context: &OpContext) -> Result<NewAuthenticator> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, _) = person(context)?;
        let secret = totp::generate(self.rng());
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        tx.factors_delete(user, FactorKind::TotpPending).await?;
        let factor = self.factor(context.at, user, FactorKind::TotpPending);
        tx.factor_add(&Factor { body: secret.to_vec(), ..factor }).await?;
        let email = tx.user(user).await?.email;
        tx.commit().await?;
        let secret = totp::base32(&secret);
        let encoded = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        };
        let label: String = email.bytes().map(encoded).collect();
        let uri = format!("otpauth://totp/Veritwin:{label}?secret={secret}&issuer=Veritwin");
        Ok(NewAuthenticator { secret: Secret::new(secret), uri: Secret::new(uri) })
    }

    /// Ends the set-up of an authenticator with its first code. The session counts as signed in
    /// with it and goes on under a new token.
    #[boxed]
    pub async fn add_authenticator(
        &self,
        context: &OpContext,
        code: &Secret<String>,
    ) -> Result<Secret<String>> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, session) = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let factors = tx.factors_of(user).await?;
        let pending = factors.into_iter().find(|one| one.kind == FactorKind::TotpPending);
        let pending = pending.ok_or(Error::NotFound("authenticator"))?;
        let step = totp::matching_step(&pending.body, code.expose().trim(), unix_s(context.at), 0);
        let step = step.ok_or_else(|| {
            Error::invalid_at(
                "code",
                "does not fit: check the clock of the device, enter the newest",
            )
        })?;
        tx.factors_delete(user, FactorKind::TotpPending).await?;
        let before = tx.factors_delete(user, FactorKind::Totp).await?;
        let factor = self.factor(context.at, user, FactorKind::Totp);
        tx.factor_add(&Factor { body: pending.body, counter: step, ..factor }).await?;
        self.record_secured(&tx, context, counted("authenticators", count(before), 1)).await?;
        tx.commit().await?;
        self.session_proven(&platform, user, session, true).await
    }

    /// Takes the authenticator away.
    #[boxed]
    pub async fn remove_authenticator(&self, context: &OpContext) -> Result<()> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let before = tx.factors_delete(user, FactorKind::Totp).await?;
        if before == 0 {
            return Err(Error::NotFound("authenticator"));
        }
        self.record_secured(&tx, context, counted("authenticators", count(before), 0)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes ten recovery codes; those of before stop working. Shown this once.
    #[boxed]
    pub async fn make_recovery_codes(&self, context: &OpContext) -> Result<Vec<Secret<String>>> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let before = tx.factors_delete(user, FactorKind::Recovery).await?;
        let mut codes = Vec::with_capacity(RECOVERY_CODES);
        for _ in 0..RECOVERY_CODES {
            let mut random = [0u8; RECOVERY_BYTES];
            self.rng().fill(&mut random);
            let plain = totp::base32(&random);
            let groups: Vec<&str> = plain
                .as_bytes()
                .chunks(4)
                .filter_map(|group| std::str::from_utf8(group).ok())
                .collect();
            let code = groups.join("-");
            let lookup = Some(recovery_digest(user, &code));
            let factor = self.factor(context.at, user, FactorKind::Recovery);
            tx.factor_add(&Factor { lookup, ..factor }).await?;
            codes.push(Secret::new(code));
        }
        self.record_secured(&tx, context, counted("recovery codes", count(before), codes.len()))
            .await?;
        tx.commit().await?;
        Ok(codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SeededRng;

    #[test]
    fn a_challenge_is_answered_once_in_time_and_in_its_ceremony() {
        let rng = SeededRng::new(1);
        let challenges = Challenges::new(&rng);
        let (user, other) = (UserId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let now = Duration::from_secs(100);
        let take = |challenge: &[u8], at: Duration, ceremony| {
            challenges.take(challenge, at, ceremony).expect("room")
        };
        let given = challenges.give(&rng, now, Ceremony::Create(user));
        assert!(!take(&given, now, Ceremony::Use));
        assert!(!take(&given, now, Ceremony::Create(other)));
        assert!(!take(&given, now + CHALLENGE_LIFETIME, Ceremony::Create(user)));
        assert!(take(&given, now, Ceremony::Create(user)));
        assert!(!take(&given, now, Ceremony::Create(user)), "once");
        assert!(!take(&given[..20], now, Ceremony::Use));
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let user = UserId::from_bytes([1; 16]);
        let digest = recovery_digest(user, "ABCD-2345-WXYZ-6723");
        assert_eq!(digest, recovery_digest(user, "abcd 2345 wxyz 6723"));
        assert_ne!(digest, recovery_digest(UserId::from_bytes([2; 16]), "ABCD-2345-WXYZ-6723"));
    }
}
