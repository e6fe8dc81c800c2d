//! Certificate authorities whose certificates let a tenant's devices in, with their revocation
//! lists. What is said of one is in a form of the caller's.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{AuthorityId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "device_authorities";

/// A certificate authority.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceAuthority {
    /// Its id.
    pub id: AuthorityId,
    /// Its certificate and what is said of it, in a form of the caller's.
    pub body: Vec<u8>,
    /// Its revocation list, DER.
    pub revocation: Option<Vec<u8>>,
    /// When its certificate ends.
    pub valid_until: Timestamp,
    /// When its revocation list has to be replaced.
    pub revocation_until: Option<Timestamp>,
    /// Since when it lets nobody in.
    pub disabled_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(DeviceAuthority { id, valid_until, revocation_until, disabled_at, version });

/// An authority and whose it is.
#[derive(Debug, Clone)]
pub struct FoundAuthority {
    /// The tenant.
    pub tenant: TenantId,
    /// The authority.
    pub authority: DeviceAuthority,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<DeviceAuthority> {
    let id: AuthorityId = row.get("id")?;
    Ok(DeviceAuthority {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        revocation: vault.maybe_open(row, "revocation", id.as_bytes())?,
        valid_until: row.get("valid_until")?,
        revocation_until: row.maybe("revocation_until")?,
        disabled_at: row.maybe("disabled_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn seal_authority(&self, one: &DeviceAuthority) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let vault = self.vault();
        let cell = |column| Cell { table: TABLE, column, row: one.id.as_bytes() };
        let revocation = one.revocation.as_ref();
        let revocation = revocation.map(|list| vault.seal(cell("revocation"), list)).transpose()?;
        Ok((vault.seal(cell("body"), &one.body)?, revocation))
    }

    /// Every authority of the tenant, oldest first; how many there are is bounded where they are
    /// made.
    #[boxed]
    pub async fn device_authorities(&self) -> Result<Vec<DeviceAuthority>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// One authority.
    #[boxed]
    pub async fn device_authority(&self, id: AuthorityId) -> Result<DeviceAuthority> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new authority, with the digests of its key and of its name; `Conflict` if any
    /// tenant has one with this key.
    #[boxed]
    pub async fn device_authority_create(
        &self,
        authority: &DeviceAuthority,
        (key_digest, subject_digest): ([u8; 32], [u8; 32]),
    ) -> Result<()> {
        let (body, revocation) = self.seal_authority(authority)?;
        let insert = self
            .insert(TABLE)
            .set("id", authority.id)
            .set("key_digest", key_digest)
            .set("subject_digest", subject_digest)
            .set("body", body)
            .set("revocation", revocation)
            .set("valid_until", authority.valid_until)
            .set("revocation_until", authority.revocation_until)
            .set("disabled_at", authority.disabled_at)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed authority, if its version is still `expected`. Its key stays.
    #[boxed]
    pub async fn device_authority_update(
        &self,
        authority: &DeviceAuthority,
        expected: Option<u64>,
    ) -> Result<()> {
        let (body, revocation) = self.seal_authority(authority)?;
        let update = self
            .update(TABLE)
            .set("body", body)
            .set("revocation", revocation)
            .set("revocation_until", authority.revocation_until)
            .set("disabled_at", authority.disabled_at)
            .set("updated_at", self.core.at);
        self.update_version(update, *authority.id.as_bytes(), expected).await
    }

    /// Removes an authority.
    #[boxed]
    pub async fn device_authority_delete(&self, id: AuthorityId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// The authorities of all tenants that have this name, at most `limit`, oldest first. One
    /// whose tenant's keys are revoked is left out.
    #[boxed]
    pub async fn device_authorities_named(
        &self,
        subject_digest: [u8; 32],
        limit: u64,
    ) -> Result<Vec<FoundAuthority>> {
        let select = self.select(TABLE).eq("subject_digest", subject_digest);
        let mut found = Vec::new();
        for row in self.core.all(select.ascending("id").limit(limit)).await? {
            let tenant: TenantId = row.get("tenant_id")?;
            match load(&row, &self.vault_of(tenant)) {
                Ok(authority) => found.push(FoundAuthority { tenant, authority }),
                Err(crate::Error::KeyDenied(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
