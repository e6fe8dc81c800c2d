//! How a device is let in: by the credential that it shows, if that counts now. Passwords that
//! people chose are hashed slowly, a few at a time and away from people's own sign-ins; what was
//! verified is remembered under a key of this process, so that a fleet that comes back is let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use veritwin_access::x509::CertificateFault;
use veritwin_access::{Action, Attempt, Throttle, jobs, x509};
use veritwin_domain::{ClientCertificate, CredentialId, Rng, Secret, Timestamp};
use veritwin_keys::{constant_time_eq, hmac_sha256, password};
use veritwin_metastore::{CredentialKind, CredentialMatch, FoundAuthority};

use crate::authorities::StoredAuthority;
use crate::device_credentials::{
    RANDOM_HASH, basic_digest, common_name_digest, made_digest, random_hash,
};
use crate::ingest::UNKNOWN;
use crate::{App, BasicLogin, DeviceLogin, Error, Result};

/// Passwords of devices that are hashed at once; people's have turns of their own.
const HASHES_AT_ONCE: usize = 2;
/// How long a device waits for its turn.
const HASHING_TIMEOUT: Duration = Duration::from_secs(5);
/// Most passwords that are remembered as verified.
const VERIFIED_MAX: usize = 65_536;
/// How long a verified password is remembered.
const VERIFIED_TTL: Duration = Duration::from_secs(24 * 3600);
/// Most authorities of one name that a certificate is held to: each organisation may have
/// [`crate::authorities::AUTHORITIES_OF_NAME_MAX`] of a name, so that no few crowd out another.
const AUTHORITIES_PER_NAME_MAX: u64 = 256;

/// What checking passwords of devices needs.
pub(crate) struct DevicePasswords {
    /// Of this process: what is remembered means nothing elsewhere.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Duration>>,
    hashing: Semaphore,
    throttle: Mutex<Throttle>,
}

impl DevicePasswords {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self {
            key,
            verified: Mutex::default(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            throttle: Mutex::new(Throttle::default()),
        }
    }

    /// A password with the hash that it was verified against: a new hash is another mark.
    fn mark(&self, credential: CredentialId, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut text = credential.as_bytes().to_vec();
        text.extend_from_slice(&(hash.len() as u64).to_be_bytes());
        text.extend_from_slice(hash.as_bytes());
        text.extend_from_slice(password);
        hmac_sha256(&self.key, &text)
    }

    fn is_verified(&self, mark: &[u8; 32], now: Duration) -> bool {
        self.verified.lock().get(mark).is_some_and(|until| now < *until)
    }

    fn remember(&self, mark: [u8; 32], now: Duration) {
        let mut verified = self.verified.lock();
        if verified.len() >= VERIFIED_MAX {
            verified.retain(|_, until| now < *until);
        }
        if verified.len() >= VERIFIED_MAX {
            let mut ends: Vec<Duration> = verified.values().copied().collect();
            let (_, middle, _) = ends.select_nth_unstable(VERIFIED_MAX / 2);
            let middle = *middle;
            verified.retain(|_, until| *until > middle);
        }
        verified.insert(mark, now + VERIFIED_TTL);
    }

    /// Who guesses from one address is slowed down, and nobody else is: soon at one client id and
    /// user name, and later at one user name or client id whatever stands beside it, since the
    /// other is free for the guesser to choose. A device that came in before is not held to what
    /// others do with its user name.
    fn attempt(&self, (client, user): (&str, &str), address: Option<IpAddr>) -> Attempt {
        let subject = |name: [u8; 32]| {
            let mut text = name.to_vec();
            match address {
                Some(IpAddr::V4(address)) => text.extend_from_slice(&address.octets()),
                Some(IpAddr::V6(address)) => text.extend_from_slice(&address.octets()[..8]),
                None => {}
            }
            hmac_sha256(&self.key, &text)
        };
        let by_client = subject(basic_digest(Some(client), None));
        let by_user = subject(basic_digest(None, Some(user)));
        Attempt::new(if user.is_empty() { by_client } else { by_user }, Some(by_client))
    }
}

/// What a certificate leads to.
struct Vouched {
    tenant: veritwin_domain::TenantId,
    authority: FoundAuthority,
    stored: StoredAuthority,
    ends_at: Timestamp,
}

impl App {
    /// The credential of a kind behind a digest.
    pub(crate) async fn find_credential(
        &self,
        digest: [u8; 32],
        kind: CredentialKind,
    ) -> Result<Option<CredentialMatch>> {
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let tx = self.0.store.read_platform(&context).await?;
        let found = tx.credential_by_digest(digest).await?;
        Ok(found.filter(|found| found.credential.kind == kind))
    }

    /// The credential of a client id, a user name and a password: one whose password was made here
    /// is found by all it has, whatever others use its names; then one whose password was chosen.
    async fn find_basic(
        &self,
        (client, user): (&str, &str),
        shown: &[u8],
    ) -> Result<Option<CredentialMatch>> {
        // The narrower first: a user name that is bound to a client id counts with that only.
        let names = [(Some(client), Some(user)), (None, Some(user)), (Some(client), None)];
        let made = names.map(|names| made_digest(names, shown));
        let chosen = names.map(|(client, user)| basic_digest(client, user));
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let tx = self.0.store.read_platform(&context).await?;
        let found = tx.credential_by_first_digest(&[made, chosen].concat()).await?;
        Ok(found.filter(|found| found.credential.kind == CredentialKind::Basic))
    }

    /// The hash of a password that somebody chose for a device, in one of the devices' turns.
    pub(crate) async fn hash_device_password(
        &self,
        chosen: Secret<String>,
    ) -> Result<Secret<String>> {
        let _turn = self.device_hashing_turn().await?;
        let app = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            password::hash(app.0.rng.as_ref(), chosen.expose())
        });
        let stopped = |_| Error::Internal("password hashing stopped".to_owned());
        Ok(Secret::new(hashed.await.map_err(stopped)??))
    }

    async fn device_hashing_turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = self.0.device_passwords.hashing.acquire();
        match tokio::time::timeout(HASHING_TIMEOUT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Busy { retry_after: HASHING_TIMEOUT }),
        }
    }

    /// The login by a credential that was shown, if it counts now.
    pub(crate) fn counting(&self, found: &CredentialMatch) -> Result<DeviceLogin> {
        let (credential, now) = (&found.credential, self.clock().now());
        let is_ended = self.is_login_ended(credential.device, credential.id);
        if credential.disabled_at.is_some() || is_ended {
            return Err(Error::Forbidden("this credential is disabled".to_owned()));
        }
        if let Some(from) = credential.valid_from.filter(|from| now < *from) {
            return Err(Error::Forbidden(format!("this credential counts from {from} on")));
        }
        if let Some(until) = credential.valid_until.filter(|until| *until <= now) {
            return Err(Error::Forbidden(format!("this credential ended at {until}")));
        }
        let is_host = self.new_sparkplug_host(credential.device);
        Ok(DeviceLogin {
            tenant: found.tenant,
            device: credential.device,
            credential: credential.id,
            name: found.device_name.expose().as_str().into(),
            is_gateway: found.is_gateway,
            is_sparkplug_host: is_host.unwrap_or(found.is_sparkplug_host),
            ends_at: credential.valid_until,
            certificate: None,
        })
    }

    async fn check_served(&self, login: &DeviceLogin, address: Option<IpAddr>) -> Result<()> {
        self.refuse_unserved(login.tenant)?;
        self.check_device_network(&self.job(jobs::INGEST), login.tenant, address).await
    }

    /// The device behind a user name and a password that are shown from an address.
    #[boxed]
    pub async fn login_device_basic(
        &self,
        shown: &BasicLogin,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        self.check_device_logins(address)?;
        let names = (shown.client_id.expose().as_str(), shown.user.expose().as_str());
        let passwords = &self.0.device_passwords;
        let attempt = passwords.attempt(names, address);
        let now = self.clock().monotonic();
        let throttled = passwords.throttle.lock().attempt(&attempt, now);
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        let found = self.find_basic(names, shown.password.expose()).await?;
        let matches = self.device_password_matches(found.as_ref(), &shown.password).await?;
        let Some(found) = found.filter(|_| matches) else {
            self.count_failed_device_login(address);
            return Err(UNKNOWN);
        };
        passwords.throttle.lock().succeeded(&attempt, self.clock().monotonic());
        let login = self.counting(&found)?;
        self.check_served(&login, address).await?;
        self.note_use(&found, None);
        Ok(login)
    }

    /// Whether a password is the one of a credential. Of nobody's, and a wrong one, it takes as
    /// long as one slow hash, whatever kind of hash there is.
    async fn device_password_matches(
        &self,
        found: Option<&CredentialMatch>,
        shown: &Secret<Vec<u8>>,
    ) -> Result<bool> {
        let passwords = &self.0.device_passwords;
        let known = found.and_then(|found| Some((found.credential.id, found.secret_hash.clone()?)));
        let mut slow = None;
        if let Some((credential, hash)) = known {
            if hash.expose().starts_with(RANDOM_HASH) {
                let own = random_hash(shown.expose());
                if constant_time_eq(own.as_bytes(), hash.expose().as_bytes()) {
                    return Ok(true);
                }
            } else {
                let mark = passwords.mark(credential, hash.expose(), shown.expose());
                if passwords.is_verified(&mark, self.clock().monotonic()) {
                    return Ok(true);
                }
                slow = Some((mark, hash));
            }
        }
        let _turn = self.device_hashing_turn().await?;
        let text = String::from_utf8(shown.expose().clone()).unwrap_or_default();
        let (app, text) = (self.clone(), Secret::new(text));
        let (mark, hash) = slow.unzip();
        let checked = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => password::verify(text.expose(), hash.expose()),
            None => {
                let _ = password::hash(app.0.rng.as_ref(), text.expose());
                false
            }
        });
        let stopped = |_| Error::Internal("password check stopped".to_owned());
        let matches = checked.await.map_err(stopped)?;
        if let Some(mark) = mark.filter(|_| matches) {
            passwords.remember(mark, self.clock().monotonic());
        }
        Ok(matches)
    }

    /// The device behind a certificate whose private key a handshake has proved: one that was
    /// registered itself, or one that leads to an authority of a tenant. A device that such an
    /// authority vouches for is made if the tenant said so.
    #[boxed]
    pub async fn login_device_certificate(
        &self,
        shown: &Arc<ClientCertificate>,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        self.check_device_logins(address)?;
        let refused = || {
            self.count_failed_device_login(address);
            UNKNOWN
        };
        let said = x509::read_certificate(&shown.leaf).map_err(|_| refused())?;
        let now = self.clock().now();
        said.check_time(now).map_err(|fault| not_counting(&fault))?;
        let own = self.find_credential(said.fingerprint, CredentialKind::X509).await?;
        if let Some(found) = own {
            let mut login = self.counting(&found)?;
            login.certificate = Some((Arc::clone(shown), said.not_after));
            self.check_served(&login, address).await?;
            self.note_use(&found, Some(said.not_after));
            return Ok(login);
        }
        let vouched = self.vouched_for(shown, now).await?.ok_or_else(refused)?;
        let Some(common_name) = said.common_name else {
            let text = "the certificate needs one common name, which says which device it is";
            return Err(Error::Forbidden(text.to_owned()));
        };
        if !vouched.stored.landing.allows(address) {
            let text = "the authority lets devices in from networks of its choice only";
            return Err(Error::Forbidden(text.to_owned()));
        }
        let authority = vouched.authority.authority.id;
        let digest = common_name_digest(authority, &common_name);
        let mut found = self.find_credential(digest, CredentialKind::X509).await?;
        if found.is_none() {
            self.refuse_unserved(vouched.tenant)?;
            let asked = (vouched.tenant, authority, common_name.as_str());
            let made = self.provision_by_certificate(asked, address).await;
            found = self.find_credential(digest, CredentialKind::X509).await?;
            // It may have come on two connections at once, and the other one made it.
            if found.is_none() {
                made?;
            }
        }
        let found = found.filter(|found| found.tenant == vouched.tenant).ok_or_else(refused)?;
        let mut login = self.counting(&found)?;
        login.certificate = Some((Arc::clone(shown), vouched.ends_at));
        self.check_served(&login, address).await?;
        self.note_use(&found, Some(said.not_after));
        Ok(login)
    }

    /// The credential that a certificate leads to now, without letting anybody in.
    #[boxed]
    pub async fn recheck_certificate(
        &self,
        shown: &ClientCertificate,
    ) -> Result<Option<CredentialId>> {
        let now = self.clock().now();
        let said = x509::read_certificate(&shown.leaf).map_err(|_| UNKNOWN)?;
        said.check_time(now).map_err(|fault| not_counting(&fault))?;
        let mut found = self.find_credential(said.fingerprint, CredentialKind::X509).await?;
        if found.is_none()
            && let Some(vouched) = self.vouched_for(shown, now).await?
            && let Some(common_name) = said.common_name
        {
            let digest = common_name_digest(vouched.authority.authority.id, &common_name);
            found = self.find_credential(digest, CredentialKind::X509).await?;
            found = found.filter(|found| found.tenant == vouched.tenant);
        }
        let counts = found.map(|found| self.counting(&found)).transpose()?;
        Ok(counts.map(|login| login.credential))
    }

    /// The authority nearest to a certificate that vouches for it now. One that revoked it ends
    /// the search.
    async fn vouched_for(
        &self,
        shown: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Option<Vouched>> {
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let between: Vec<&[u8]> = shown.between.iter().map(Vec::as_slice).collect();
        let between = &between[..between.len().min(x509::CERTIFICATES_BETWEEN_MAX)];
        for der in std::iter::once(shown.leaf.as_slice()).chain(between.iter().copied()) {
            let Ok(said) = x509::read_certificate(der) else { return Ok(None) };
            let tx = self.0.store.read_platform(&context).await?;
            let named = tx.device_authorities_named(said.issuer_digest, AUTHORITIES_PER_NAME_MAX);
            let named = named.await?;
            drop(tx);
            let chain = (shown.leaf.as_slice(), between);
            for found in named {
                // One that is damaged is not in the way of others of its name.
                let Ok(stored) = StoredAuthority::read(&found.authority) else { continue };
                let Ok(own) = stored.certificate() else { continue };
                // Another key may have the same name: nothing is told of it.
                if x509::check_chain(chain, (&own, None), now).is_err() {
                    continue;
                }
                // Lists are large: only that of the authority which the chain leads to is read.
                if let Some(list) = self.revocation_list(&found).await? {
                    x509::check_chain(chain, (&own, Some(&list)), now)
                        .map_err(|fault| not_counting(&fault))?;
                }
                return self.vouched(shown, (found, stored), now).map(Some);
            }
        }
        Ok(None)
    }

    async fn revocation_list(&self, found: &FoundAuthority) -> Result<Option<Vec<u8>>> {
        if found.authority.revocation_until.is_none() {
            return Ok(None);
        }
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let list = tx.device_authority_revocation(found.tenant, found.authority.id).await?;
        // It, or its list, is gone since: whoever tries again is told.
        let gone = || Error::Unavailable("the authority changed meanwhile: try again".to_owned());
        list.ok_or_else(gone).map(Some)
    }

    fn vouched(
        &self,
        shown: &ClientCertificate,
        (authority, stored): (FoundAuthority, StoredAuthority),
        now: Timestamp,
    ) -> Result<Vouched> {
        if authority.authority.disabled_at.is_some() {
            let text = "the authority of this certificate is disabled";
            return Err(Error::Forbidden(text.to_owned()));
        }
        let until = authority.authority.valid_until;
        if until <= now {
            let text = format!("the authority of this certificate ended at {until}");
            return Err(Error::Forbidden(text));
        }
        let all = std::iter::once(&shown.leaf).chain(&shown.between);
        let ends = all.filter_map(|der| x509::read_certificate(der).ok());
        let ends_at = ends.map(|said| said.not_after).min().unwrap_or(until).min(until);
        Ok(Vouched { tenant: authority.tenant, authority, stored, ends_at })
    }
}

fn not_counting(fault: &CertificateFault) -> Error {
    Error::Forbidden(match fault {
        CertificateFault::OutOfTime(from, until) => {
            format!("the certificate counts from {from} to {until}, which is not now")
        }
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;

    #[test]
    fn who_guesses_is_slowed_down_whatever_client_id_is_made_up() {
        let passwords = DevicePasswords::new(&SeededRng::new(1));
        let (here, elsewhere) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let ask = |client: &str, from: [u8; 4]| {
            let attempt = passwords.attempt((client, "pump"), Some(IpAddr::from(from)));
            let now = Duration::from_secs(1);
            let answer = passwords.throttle.lock().attempt(&attempt, now);
            answer.map(|()| attempt)
        };
        let own = ask("own", here).expect("the first");
        passwords.throttle.lock().succeeded(&own, Duration::from_secs(1));
        assert_eq!((0..9).filter(|_| ask("c", here).is_ok()).count(), 6, "one client id");
        let tries = (0..1000).filter(|number| ask(&format!("c{number}"), here).is_ok()).count();
        assert!(tries <= 100, "any client id: {tries}");
        assert!(ask("own", here).is_ok(), "who came in before is not held to it");
        assert!(ask("c", elsewhere).is_ok(), "nor is another address");
    }

    #[test]
    fn what_is_remembered_is_of_one_hash_and_bounded() {
        let passwords = DevicePasswords::new(&SeededRng::new(1));
        let now = Duration::from_secs(1);
        let credential = CredentialId::from_bytes([1; 16]);
        let mark = passwords.mark(credential, "hash", b"password");
        for other in [
            passwords.mark(CredentialId::from_bytes([2; 16]), "hash", b"password"),
            passwords.mark(credential, "hash2", b"password"),
            passwords.mark(credential, "hash", b"passwore"),
            passwords.mark(credential, "hashp", b"assword"),
        ] {
            assert_ne!(mark, other);
        }
        passwords.remember(mark, now);
        assert!(passwords.is_verified(&mark, now));
        assert!(!passwords.is_verified(&mark, now + VERIFIED_TTL));
        for number in 0..VERIFIED_MAX as u64 {
            let mut other = [0; 32];
            other[..8].copy_from_slice(&number.to_be_bytes());
            passwords.remember(other, now + Duration::from_micros(number));
        }
        assert!(passwords.verified.lock().len() <= VERIFIED_MAX);
    }
}
