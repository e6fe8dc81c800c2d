//! Device credentials: found by a digest of what a device presents. A password is kept as its
//! hash only, sealed.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use serde::{Deserialize, Serialize};
use veritwin_domain::{CredentialId, DeviceId, Secret, TenantId, Timestamp};
use veritwin_keys::sha256;

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, at_most, is_null, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "credentials";
const DEVICES: &str = "devices";

stored_enum! {
    /// What a device presents.
    CredentialKind {
        /// A token as user name or bearer.
        AccessToken = "access_token",
        /// Client id, user name and password.
        Basic = "basic",
        /// A client certificate.
        X509 = "x509",
    }
}

/// What a credential says of itself: shown to whoever looks after the device, and never enough to
/// come in with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CredentialFacts {
    /// What people call it.
    pub name: String,
    /// The MQTT client id it is bound to.
    pub client_id: Option<String>,
    /// The user name.
    pub user: Option<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: Option<String>,
    /// The certificate's common name.
    pub common_name: Option<String>,
    /// The authority that vouches for the common name, by its id.
    pub authority: Option<String>,
}

/// A credential as its owner sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The device it lets in.
    pub device: DeviceId,
    /// What is presented.
    pub kind: CredentialKind,
    /// What it says of itself.
    pub facts: CredentialFacts,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it counts.
    pub valid_from: Option<Timestamp>,
    /// Until when it counts.
    pub valid_until: Option<Timestamp>,
    /// Since when it lets nobody in, until it is enabled again.
    pub disabled_at: Option<Timestamp>,
    /// When it last let the device in.
    pub used_at: Option<Timestamp>,
    /// When the certificate ends that was shown last.
    pub certificate_until: Option<Timestamp>,
    /// When it was revoked, for good.
    pub revoked_at: Option<Timestamp>,
}

opaque_debug!(Credential { id, device, kind, created_at, revoked_at });

/// A certificate that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndingCertificate {
    /// The credential it is shown for.
    pub credential: CredentialId,
    /// The device.
    pub device: DeviceId,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// What a presented credential leads to.
#[derive(Clone)]
pub struct CredentialMatch {
    /// The tenant.
    pub tenant: TenantId,
    /// The credential.
    pub credential: Credential,
    /// The password's hash, to be verified, if it has one.
    pub secret_hash: Option<Secret<String>>,
    /// The device's name.
    pub device_name: Secret<String>,
    /// Whether the device may speak for others.
    pub is_gateway: bool,
    /// Whether the device is a host application of Sparkplug.
    pub is_sparkplug_host: bool,
}

opaque_debug!(CredentialMatch { tenant, credential });

fn load(row: &Row, vault: &Vault<'_>) -> Result<Credential> {
    let id: CredentialId = row.get("id")?;
    let facts = vault.maybe_open(row, "body", id.as_bytes())?;
    let facts = facts.map(|body| serde_json::from_slice(&body)).transpose();
    Ok(Credential {
        id,
        device: row.get("device_id")?,
        kind: row.get("kind")?,
        facts: facts.map_err(|_| Error::Corrupt { what: TABLE })?.unwrap_or_default(),
        created_at: row.get("created_at")?,
        valid_from: row.maybe("valid_from")?,
        valid_until: row.maybe("valid_until")?,
        disabled_at: row.maybe("disabled_at")?,
        used_at: row.maybe("used_at")?,
        certificate_until: row.maybe("certificate_until")?,
        revoked_at: row.maybe("revoked_at")?,
    })
}

/// What stands in the place of a revoked credential's digest: what it was made of is free again.
fn spent_digest(id: CredentialId) -> [u8; 32] {
    sha256(&[&b"veritwin spent credential\0"[..], id.as_bytes()].concat())
}

impl TenantTx {
    /// Writes a new credential. `lookup_digest` is the digest of the token, of the certificate,
    /// or of client id and user name, with the password where that was made here; `Conflict` if
    /// another credential anywhere uses it.
    #[boxed]
    pub async fn credential_create(
        &self,
        credential: &Credential,
        lookup_digest: [u8; 32],
        secret_hash: Option<&Secret<String>>,
    ) -> Result<()> {
        let cell = Cell { table: TABLE, column: "secret_hash", row: credential.id.as_bytes() };
        let seal = |hash: &Secret<String>| self.vault().seal(cell, hash.expose().as_bytes());
        let insert = self
            .insert(TABLE)
            .set("id", credential.id)
            .set("device_id", credential.device)
            .set("kind", credential.kind)
            .set("lookup_digest", lookup_digest)
            .set("secret_hash", secret_hash.map(seal).transpose()?)
            .set("body", self.seal_facts(credential)?)
            .set("created_at", credential.created_at)
            .set("valid_from", credential.valid_from)
            .set("valid_until", credential.valid_until)
            .set("disabled_at", credential.disabled_at)
            .set("certificate_until", credential.certificate_until)
            .set("revoked_at", credential.revoked_at);
        self.core.insert(insert).await.map(|_| ())
    }

    fn seal_facts(&self, credential: &Credential) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: credential.id.as_bytes() };
        self.vault().seal_json(cell, &credential.facts)
    }

    /// One credential of a device that was not revoked.
    #[boxed]
    pub async fn credential(&self, device: DeviceId, id: CredentialId) -> Result<Credential> {
        let this = self.select(TABLE).eq("id", id).eq("device_id", device);
        let row = self.core.one(this.filter(is_null("revoked_at"))).await?;
        load(&row, &self.vault())
    }

    /// One credential of a device that was not revoked. It is not revoked or disabled by others
    /// before the transaction ends.
    #[boxed]
    pub async fn credential_held(&self, device: DeviceId, id: CredentialId) -> Result<Credential> {
        let this = self.select(TABLE).eq("id", id).eq("device_id", device);
        let row = self.core.one(this.filter(is_null("revoked_at")).held()).await?;
        load(&row, &self.vault())
    }

    /// Of these credentials, at most [`crate::PAGE_ROWS_MAX`], those that are neither revoked nor
    /// disabled, each with its device.
    #[boxed]
    pub async fn credentials_in_force(
        &self,
        ids: &[CredentialId],
    ) -> Result<Vec<(DeviceId, CredentialId)>> {
        if ids.len() > crate::PAGE_ROWS_MAX as usize {
            return Err(Error::Invalid { what: "credential ids", reason: "expected at most 1000" });
        }
        let select = self.select(TABLE).filter(one_of("id", ids.iter().copied()));
        let select = select
            .filter(is_null("revoked_at"))
            .filter(is_null("disabled_at"))
            .only(Expr::col("id"), "id")
            .also(Expr::col("device_id"), "device_id");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("device_id")?, row.get("id")?))).collect()
    }

    /// Writes what a credential says of itself, until when it counts and whether it is disabled.
    #[boxed]
    pub async fn credential_update(&self, credential: &Credential) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.seal_facts(credential)?)
            .set("valid_until", credential.valid_until)
            .set("disabled_at", credential.disabled_at)
            .eq("id", credential.id)
            .eq("device_id", credential.device)
            .filter(is_null("revoked_at"));
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Notes when a credential last let its device in, and when the certificate ends that was
    /// shown; nothing if it is gone.
    #[boxed]
    pub async fn credential_used(
        &self,
        id: CredentialId,
        at: Timestamp,
        certificate_until: Option<Timestamp>,
    ) -> Result<()> {
        let mut update = self.update(TABLE).set("used_at", at).eq("id", id);
        if certificate_until.is_some() {
            update = update.set("certificate_until", certificate_until);
        }
        self.core.update(update).await.map(drop)
    }

    /// Certificates of devices that end after `after` and by `until` and whose credentials are in
    /// force, at most `limit`, the first to end first.
    #[boxed]
    pub async fn certificates_ending(
        &self,
        (after, until): (Timestamp, Timestamp),
        limit: u64,
    ) -> Result<Vec<EndingCertificate>> {
        let select = self
            .select(TABLE)
            .eq("kind", CredentialKind::X509)
            .filter(above("certificate_until", after))
            .filter(at_most("certificate_until", until))
            .filter(is_null("revoked_at"))
            .filter(is_null("disabled_at"))
            .only(Expr::col("id"), "id")
            .also(Expr::col("device_id"), "device_id")
            .also(Expr::col("certificate_until"), "certificate_until");
        let rows = self.core.all(select.ascending("certificate_until").limit(limit)).await?;
        let ending = |row: &Row| -> Result<EndingCertificate> {
            Ok(EndingCertificate {
                credential: row.get("id")?,
                device: row.get("device_id")?,
                ends_at: row.get("certificate_until")?,
            })
        };
        rows.iter().map(ending).collect()
    }

    /// A device's credentials, revoked ones too, oldest first.
    #[boxed]
    pub async fn credentials(&self, device: DeviceId) -> Result<Vec<Credential>> {
        self.core.one(self.select(DEVICES).eq("id", device)).await?;
        let select = self.select(TABLE).eq("device_id", device).ascending("id");
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| load(row, &vault)).collect()
    }

    /// Revokes a credential of a device; nothing changes if it was revoked. Its token, name or
    /// certificate is free to be used anew.
    #[boxed]
    pub async fn credential_revoke(
        &self,
        device: DeviceId,
        id: CredentialId,
        at: Timestamp,
    ) -> Result<()> {
        let this = self.select(TABLE).eq("id", id).eq("device_id", device);
        self.core.one(this).await?;
        let update = self.update(TABLE).set("revoked_at", at).eq("id", id);
        let update = update.set("lookup_digest", spent_digest(id));
        self.core.update(update.filter(is_null("revoked_at"))).await.map(|_| ())
    }
}

impl PlatformTx {
    /// What a presented credential leads to; revoked ones lead nowhere. Whether it counts now is
    /// for the caller to say.
    #[boxed]
    pub async fn credential_by_digest(
        &self,
        lookup_digest: [u8; 32],
    ) -> Result<Option<CredentialMatch>> {
        let select = self.select(TABLE).eq("lookup_digest", lookup_digest);
        let row = self.core.maybe(select.filter(is_null("revoked_at"))).await?;
        match row {
            Some(row) => self.credential_match(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// As [`Self::credential_by_digest`], for all of some digests that lead anywhere, in the order
    /// of the digests. They may be several tenants': one that cannot be read is in nobody's way.
    #[boxed]
    pub async fn credentials_by_digest(
        &self,
        lookup_digests: &[[u8; 32]],
    ) -> Result<Vec<CredentialMatch>> {
        let among = one_of("lookup_digest", lookup_digests.iter().copied());
        let select = self.select(TABLE).filter(among).filter(is_null("revoked_at"));
        let mut rows = Vec::new();
        for row in self.core.all(select).await? {
            let digest: [u8; 32] = row.get("lookup_digest")?;
            rows.push((lookup_digests.iter().position(|one| *one == digest), row));
        }
        rows.sort_by_key(|(rank, _)| *rank);
        let mut found = Vec::with_capacity(rows.len());
        let mut silent = None;
        for (_, row) in rows {
            match self.credential_match(row).await {
                Ok(one) => found.push(one),
                Err(Error::KeyDenied(_)) => {}
                // Another tenant's may fit as well.
                Err(error @ Error::KeyUnavailable(_)) => silent = Some(error),
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::error!(%error, "a credential of a device cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        if found.is_empty()
            && let Some(error) = silent
        {
            return Err(error);
        }
        Ok(found)
    }

    async fn credential_match(&self, row: Row) -> Result<CredentialMatch> {
        let tenant = row.get("tenant_id")?;
        let vault = self.vault_of(tenant);
        let credential = load(&row, &vault)?;
        let secret_hash = vault.maybe_open(&row, "secret_hash", credential.id.as_bytes())?;
        let secret_hash = secret_hash
            .map(|hash| String::from_utf8(hash).map_err(|_| Error::Corrupt { what: TABLE }))
            .transpose()?
            .map(Secret::new);
        let device = self.select(DEVICES).eq("tenant_id", tenant).eq("id", credential.device);
        let device = self.core.one(device).await?;
        let name = vault.open_text(&device, "name", credential.device.as_bytes())?;
        let device_name = Secret::new(name);
        let is_gateway = device.maybe("is_gateway")?.unwrap_or_default();
        let is_sparkplug_host = device.maybe("is_sparkplug_host")?.unwrap_or_default();
        Ok(CredentialMatch {
            tenant,
            credential,
            secret_hash,
            device_name,
            is_gateway,
            is_sparkplug_host,
        })
    }
}
