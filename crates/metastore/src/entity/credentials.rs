//! Device credentials: found by a digest of what a device presents. A password is kept as its
//! hash only, sealed.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{CredentialId, DeviceId, Secret, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::is_null;
use crate::seal::Cell;
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

/// A credential as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The device it lets in.
    pub device: DeviceId,
    /// What is presented.
    pub kind: CredentialKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
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
}

opaque_debug!(CredentialMatch { tenant, credential });

fn load(row: &Row) -> Result<Credential> {
    Ok(Credential {
        id: row.get("id")?,
        device: row.get("device_id")?,
        kind: row.get("kind")?,
        created_at: row.get("created_at")?,
        revoked_at: row.maybe("revoked_at")?,
    })
}

impl TenantTx {
    /// Writes a new credential. `lookup_digest` is the digest of the token, of the certificate,
    /// or of client id and user name; `Conflict` if another device anywhere uses it.
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
            .set("created_at", credential.created_at)
            .set("revoked_at", credential.revoked_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// A device's credentials, revoked ones too, oldest first.
    #[boxed]
    pub async fn credentials(&self, device: DeviceId) -> Result<Vec<Credential>> {
        self.core.one(self.select(DEVICES).eq("id", device)).await?;
        let select = self.select(TABLE).eq("device_id", device).ascending("id");
        self.core.all(select).await?.iter().map(load).collect()
    }

    /// Revokes a credential of a device; nothing changes if it was revoked.
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
        self.core.update(update.filter(is_null("revoked_at"))).await.map(|_| ())
    }
}

impl PlatformTx {
    /// What a presented credential leads to; revoked ones lead nowhere.
    #[boxed]
    pub async fn credential_by_digest(
        &self,
        lookup_digest: [u8; 32],
    ) -> Result<Option<CredentialMatch>> {
        let select = self.select(TABLE).eq("lookup_digest", lookup_digest);
        let row = self.core.maybe(select.filter(is_null("revoked_at"))).await?;
        let Some(row) = row else { return Ok(None) };
        let (tenant, credential) = (row.get("tenant_id")?, load(&row)?);
        let vault = self.vault_of(tenant);
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
        Ok(Some(CredentialMatch { tenant, credential, secret_hash, device_name, is_gateway }))
    }
}
