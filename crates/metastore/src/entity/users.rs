//! Accounts: the platform's own data, each person's under a key of its own. An account is found
//! by the keyed index of its address, which is unique in its realm and goes with the row.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{Role, Secret, TenantId, Timestamp, UserId};

use crate::bind::{Row, code, opaque_debug};
use crate::query::{above, is_null, is_set, one_of};
use crate::seal::{Cell, Sealer};
use crate::tx::Vault;
use crate::{Error, Metastore, PAGE_ROWS_MAX, PlatformTx, Result};

pub(super) const TABLE: &str = "users";
const MEMBERSHIPS: &str = "memberships";
const LINKS: &str = "one_time_links";
const TENANTS: &str = "tenants";

/// Longest e-mail address, in bytes (RFC 5321, 4.5.3.1: 256 with its brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// Realms in which an address is looked up by one query.
const REALMS_AT_ONCE: usize = 1000;

/// Inside which circle of accounts an e-mail address is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Realm(pub [u8; 16]);

impl Realm {
    /// The platform's own sign-in.
    pub const PLATFORM: Self = Self([0; 16]);

    /// The accounts that one tenant alone knows: nothing of them is anybody's elsewhere.
    pub const fn of_tenant(tenant: TenantId) -> Self {
        Self(*tenant.as_bytes())
    }

    /// The tenant that alone knows the accounts in it; none for the platform's own.
    pub fn tenant(self) -> Option<TenantId> {
        (self != Self::PLATFORM).then(|| TenantId::from_bytes(self.0))
    }
}

/// That a person said to be of age and to act for a business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// When.
    pub at: Timestamp,
    /// The version of the text.
    pub text: String,
}

/// A person's account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Where its address is unique.
    pub realm: Realm,
    /// The address it signs in with, as entered.
    pub email: String,
    /// The person's name, if given.
    pub name: Option<String>,
    /// Argon2id hash in PHC form; none until a password was chosen.
    pub password_hash: Option<Secret<String>>,
    /// Whether it may not sign in.
    pub disabled: bool,
    /// When the address was shown to be the person's.
    pub email_verified_at: Option<Timestamp>,
    /// What the person attested at sign-up.
    pub attestation: Option<Attestation>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(User { id, disabled, version });

/// The form in which addresses are compared: without surrounding blanks, letters of ASCII in lower
/// case. Any other letter counts as it is: U+212A is no `k` to a mail server.
pub fn normalise_email(address: &str) -> Result<String> {
    checked_email(address.trim().to_ascii_lowercase())
}

/// The form under which addresses with letters beyond ASCII were indexed once, these in lower case
/// too. What is found by it counts only where the stored address is the same.
pub(super) fn folded_email(address: &str) -> Result<String> {
    checked_email(address.trim().to_lowercase())
}

fn checked_email(address: String) -> Result<String> {
    let invalid = |reason| Error::Invalid { what: "e-mail", reason };
    if address.len() > EMAIL_BYTES_MAX {
        return Err(invalid("expected at most 254 bytes"));
    }
    let (local, host) =
        address.rsplit_once('@').ok_or_else(|| invalid("expected the form name@host"))?;
    let blank = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    if local.is_empty() || host.is_empty() || blank(&address) {
        return Err(invalid("expected the form name@host"));
    }
    Ok(address)
}

pub(super) fn load(row: &Row, vault: &Vault<'_>) -> Result<User> {
    let id: UserId = row.get("id")?;
    let text = |column| match vault.maybe_open(row, column, id.as_bytes())? {
        None => Ok(None),
        Some(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| Error::Corrupt { what: TABLE })
        }
    };
    Ok(User {
        id,
        realm: Realm(row.get("realm")?),
        email: vault.open_text(row, "email", id.as_bytes())?,
        name: text("name")?,
        password_hash: text("password_hash")?.map(Secret::new),
        disabled: row.get("disabled")?,
        email_verified_at: row.maybe("email_verified_at")?,
        attestation: match (row.maybe("attested_at")?, row.maybe("attested_text")?) {
            (Some(at), Some(text)) => Some(Attestation { at, text }),
            _ => None,
        },
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

/// What a PHC string says before its salt; the text never holds anything after that.
fn phc_parameters(hash: &[u8]) -> String {
    let text = String::from_utf8_lossy(hash);
    let parts: Vec<&str> = text.split('$').collect();
    match parts.as_slice() {
        ["", algorithm, version, parameters, _salt, _hash] => {
            format!("{algorithm}${version}${parameters}")
        }
        _ => "not a PHC string".to_owned(),
    }
}

fn attested_at(user: &User) -> Option<Timestamp> {
    user.attestation.as_ref().map(|attestation| attestation.at)
}

fn attested_text(user: &User) -> Result<Option<String>> {
    user.attestation.as_ref().map(|made| code("attested_text", &made.text)).transpose()
}

struct Sealed {
    email_index: [u8; 32],
    email: Vec<u8>,
    name: Option<Vec<u8>>,
    password_hash: Option<Vec<u8>>,
}

fn index_of(sealer: &Sealer, realm: Realm, form: &str) -> [u8; 32] {
    sealer.blind_index("e-mail", &realm.0, form)
}

fn email_index(sealer: &Sealer, realm: Realm, email: &str) -> Result<[u8; 32]> {
    Ok(index_of(sealer, realm, &normalise_email(email)?))
}

impl Metastore {
    /// The keyed index of an address, as a subject for the sign-in throttle: the same whether or
    /// not there is an account.
    pub fn email_digest(&self, realm: Realm, email: &str) -> Result<[u8; 32]> {
        email_index(&self.0.sealer, realm, email)
    }
}

impl PlatformTx {
    fn email_index(&self, realm: Realm, email: &str) -> Result<[u8; 32]> {
        email_index(&self.core.sealer, realm, email)
    }

    fn seal_user(&self, user: &User) -> Result<Sealed> {
        let vault = self.vault_of_subject(user.id);
        let seal = |column, text: &str| {
            vault.seal(Cell { table: TABLE, column, row: user.id.as_bytes() }, text.as_bytes())
        };
        Ok(Sealed {
            email_index: self.email_index(user.realm, &user.email)?,
            email: seal("email", &user.email)?,
            name: user.name.as_ref().map(|name| seal("name", name)).transpose()?,
            password_hash: user
                .password_hash
                .as_ref()
                .map(|hash| seal("password_hash", hash.expose()))
                .transpose()?,
        })
    }

    /// Makes an account; `Conflict` if its address has one in this realm.
    #[boxed]
    pub async fn user_create(&self, user: &User) -> Result<()> {
        // One that is indexed in the form of before is not met by the index.
        if !user.email.is_ascii() && self.user_by_email(user.realm, &user.email).await?.is_some() {
            return Err(Error::Conflict { what: TABLE, reason: "exists already" });
        }
        let sealed = self.seal_user(user)?;
        let insert = self
            .insert(TABLE)
            .set("id", user.id)
            .set("realm", user.realm.0)
            .set("email_index", sealed.email_index)
            .set("email", sealed.email)
            .set("name", sealed.name)
            .set("password_hash", sealed.password_hash)
            .set("disabled", user.disabled)
            .set("email_verified_at", user.email_verified_at)
            .set("attested_at", attested_at(user))
            .set("attested_text", attested_text(user)?)
            .set("version", 1u64)
            .set("created_at", user.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Holds an account until the transaction ends: what is decided about it is decided in turn.
    #[boxed]
    pub async fn user_hold(&self, id: UserId) -> Result<()> {
        self.core.one(self.select(TABLE).eq("id", id).held_alone()).await.map(drop)
    }

    /// Writes a changed account, if its version is still `expected`.
    #[boxed]
    pub async fn user_update(&self, user: &User, expected: Option<u64>) -> Result<()> {
        let sealed = self.seal_user(user)?;
        let update = self
            .update(TABLE)
            .set("realm", user.realm.0)
            .set("email_index", sealed.email_index)
            .set("email", sealed.email)
            .set("name", sealed.name)
            .set("password_hash", sealed.password_hash)
            .set("disabled", user.disabled)
            .set("email_verified_at", user.email_verified_at)
            .set("attested_at", attested_at(user))
            .set("attested_text", attested_text(user)?);
        self.update_version(update, *user.id.as_bytes(), expected).await
    }

    /// One account.
    #[boxed]
    pub async fn user(&self, id: UserId) -> Result<User> {
        let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
        load(&row, &self.vault_of_subject(id))
    }

    /// The account of an address, if there is one.
    #[boxed]
    pub async fn user_by_email(&self, realm: Realm, email: &str) -> Result<Option<User>> {
        Ok(self.users_by_email([realm], email).await?.pop())
    }

    /// The accounts of an address in any of these realms.
    pub async fn users_by_email(
        &self,
        realms: impl IntoIterator<Item = Realm>,
        email: &str,
    ) -> Result<Vec<User>> {
        let asked = normalise_email(email)?;
        let mut forms = vec![asked.clone()];
        forms.extend(Some(folded_email(email)?).filter(|folded| *folded != asked));
        let sealer: &Sealer = &self.core.sealer;
        let of = |realm| forms.iter().map(move |form| index_of(sealer, realm, form));
        let indexes: Vec<[u8; 32]> = realms.into_iter().flat_map(of).collect();
        let mut found = Vec::new();
        for part in indexes.chunks(REALMS_AT_ONCE) {
            let select = self.select(TABLE).filter(one_of("email_index", part.iter().copied()));
            for row in self.core.all(select).await? {
                let user = load(&row, &self.vault_of_subject(row.get("id")?))?;
                if normalise_email(&user.email).is_ok_and(|own| own == asked) {
                    found.push(user);
                }
            }
        }
        Ok(found)
    }

    /// How many accounts have a password hash of which algorithm, version and parameters, as they
    /// stand in its PHC string (`argon2id$v=19$m=19456,t=2,p=1`). Salts and hashes stay inside.
    #[boxed]
    pub async fn password_parameters(&self) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        let mut after: Option<UserId> = None;
        loop {
            let mut select = self.select(TABLE).ascending("id").limit(u64::from(PAGE_ROWS_MAX));
            if let Some(last) = after {
                select = select.filter(above("id", last));
            }
            let rows = self.core.all(select).await?;
            let Some(last) = rows.last() else { return Ok(counts) };
            after = Some(last.get("id")?);
            for row in &rows {
                let id: UserId = row.get("id")?;
                let vault = self.vault_of_subject(id);
                let Some(hash) = vault.maybe_open(row, "password_hash", id.as_bytes())? else {
                    continue;
                };
                *counts.entry(phc_parameters(&hash)).or_insert(0) += 1;
            }
        }
    }

    /// Takes from an account all by which somebody could sign in to it, except its password:
    /// factors, recovery codes, what providers call it, its sessions, and links for it.
    #[boxed]
    pub async fn user_forget_proofs(&self, id: UserId) -> Result<()> {
        for table in ["factors", "provider_identities", "sessions", LINKS] {
            self.core.delete(self.delete(table).eq("user_id", id)).await?;
        }
        Ok(())
    }

    /// Deletes an account with its memberships, sessions and links.
    #[boxed]
    pub async fn user_delete(&self, id: UserId) -> Result<()> {
        self.core.delete(self.delete(LINKS).eq("user_id", id)).await?;
        if self.core.delete(self.delete(TABLE).eq("id", id)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Accounts that belong to no tenant, at most `rows`.
    #[boxed]
    pub async fn users_of_nobody(&self, rows: u64) -> Result<Vec<UserId>> {
        let nowhere =
            Expr::cust("NOT EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = users.id)");
        let rows = self.core.all(self.select(TABLE).filter(nowhere).limit(rows)).await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Whether anybody belongs to a tenant.
    #[boxed]
    pub async fn has_members(&self, tenant: TenantId) -> Result<bool> {
        let select = self.select(MEMBERSHIPS).eq("tenant_id", tenant);
        Ok(self.core.maybe(select.limit(1)).await?.is_some())
    }

    /// Whether anybody has ever belonged to a tenant.
    #[boxed]
    pub async fn had_members(&self, tenant: TenantId) -> Result<bool> {
        let select = self.select(TENANTS).eq("id", tenant).filter(is_set("peopled_at"));
        Ok(self.core.maybe(select).await?.is_some())
    }

    /// Whether a tenant has an owner.
    #[boxed]
    pub async fn has_owner(&self, tenant: TenantId) -> Result<bool> {
        let select = self.select(MEMBERSHIPS).eq("tenant_id", tenant).eq("role", Role::Owner);
        Ok(self.core.maybe(select.limit(1)).await?.is_some())
    }

    /// Gives an account a role in a tenant; nothing changes if it has it.
    #[boxed]
    pub async fn membership_add(&self, tenant: TenantId, user: UserId, role: Role) -> Result<()> {
        let insert = self
            .insert(MEMBERSHIPS)
            .set("tenant_id", tenant)
            .set("user_id", user)
            .set("role", role)
            .set("created_at", self.core.at)
            .or_ignore(&["tenant_id", "user_id", "role"]);
        self.core.insert(insert).await?;
        let peopled = self.update(TENANTS).set("peopled_at", self.core.at).eq("id", tenant);
        self.core.update(peopled.filter(is_null("peopled_at"))).await.map(|_| ())
    }

    /// The tenants an account belongs to, with its role in each, oldest first.
    #[boxed]
    pub async fn memberships(&self, user: UserId) -> Result<Vec<(TenantId, Role)>> {
        let select = self.select(MEMBERSHIPS).eq("user_id", user).ascending("created_at");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("role")?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use veritwin_domain::{
        Actor, ActorKind, ManualClock, Origin, PlatformContext, Purpose, RequestId, SeededRng,
    };
    use veritwin_keys::{KeyService, PlatformFile};

    use super::*;
    use crate::{CONNECTIONS_DEFAULT, Config, Database};

    #[test]
    fn parameters_are_all_that_leaves_a_hash() {
        let check = |hash: &str, expect: &str| {
            assert_eq!(phc_parameters(hash.as_bytes()), expect, "{hash}");
        };
        check("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "argon2id$v=19$m=19456,t=2,p=1");
        check("$2b$10$saltandhash", "not a PHC string");
        check("hunter2", "not a PHC string");
    }

    #[test]
    fn addresses_are_compared_in_one_form() {
        assert_eq!(normalise_email("  Ada@Example.ORG ").ok().as_deref(), Some("ada@example.org"));
        // The Kelvin sign and a capital I with a dot are letters of ASCII to nobody's mail server.
        for other in ["\u{212a}im@example.org", "k\u{130}m@example.org"] {
            assert_eq!(normalise_email(other).ok().as_deref(), Some(other));
            assert_ne!(normalise_email(other).ok(), normalise_email("kim@example.org").ok());
        }
        for bad in ["", "ada", "@example.org", "ada@", "a b@example.org", &"x".repeat(300)] {
            assert!(normalise_email(bad).is_err(), "{bad}");
        }
    }

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn account(number: u8, email: &str) -> User {
        User {
            id: UserId::from_bytes([number; 16]),
            realm: Realm::PLATFORM,
            email: email.to_owned(),
            name: None,
            password_hash: None,
            disabled: false,
            email_verified_at: None,
            attestation: None,
            version: 1,
            created_at: AT,
        }
    }

    /// As a row was written once: indexed with every letter in lower case.
    async fn index_as_before(tx: &PlatformTx, user: &User) {
        let form = folded_email(&user.email).expect("an address");
        let index = index_of(&tx.core.sealer, user.realm, &form);
        let update = tx.update(TABLE).set("email_index", index).eq("id", user.id);
        assert_eq!(tx.core.update(update).await.expect("written"), 1);
    }

    #[tokio::test]
    async fn a_letter_that_only_looks_the_same_finds_nobody_and_old_rows_are_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let (clock, rng) = (Arc::new(ManualClock::new(AT)), Arc::new(SeededRng::new(1)));
        let root = PlatformFile::open_or_create(&directory.path().join("root"), rng.clone());
        let keyring = directory.path().join("keyring");
        let root = Box::new(root.expect("a root key"));
        let keys = KeyService::open(root, &keyring, clock.clone(), rng.clone()).expect("a keyring");
        let config = Config {
            database: Database::Sqlite(directory.path().join("records.db")),
            connections_max: CONNECTIONS_DEFAULT,
            keys,
            clock: clock.clone(),
        };
        let store = Metastore::open(config).await.expect("a store");
        let context = PlatformContext {
            acts_from: None,
            turn_of: None,
            actor: Actor::without_roles(ActorKind::LocalOperator),
            purpose: Purpose::SecuritySupport,
            request: RequestId::generate(AT, rng.as_ref()),
            origin: Origin::default(),
            at: AT,
            clock: clock.clone(),
        };
        let tx = store.begin_platform(&context).await.expect("a transaction");
        let (kim, una) = (account(1, "kim@x.example"), account(2, "\u{dc}na@x.example"));
        tx.user_create(&kim).await.expect("an account");
        tx.user_create(&una).await.expect("an account");
        index_as_before(&tx, &una).await;
        let found = async |email: &str| {
            let found = tx.user_by_email(Realm::PLATFORM, email).await.expect("look-up");
            found.map(|user| user.id)
        };
        assert_eq!(found("KIM@X.example").await, Some(kim.id));
        assert_eq!(found("\u{212a}im@x.example").await, None);
        assert_eq!(found("k\u{130}m@x.example").await, None);
        assert_eq!(found("\u{dc}NA@x.example").await, Some(una.id));
        assert_eq!(found("\u{fc}na@x.example").await, None);
        let again = tx.user_create(&account(3, "\u{dc}na@x.example")).await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        tx.user_create(&account(4, "\u{212a}im@x.example")).await.expect("somebody else's");
        assert_eq!(found("kim@x.example").await, Some(kim.id));
    }
}
