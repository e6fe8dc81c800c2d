//! Certificate authorities whose certificates let a tenant's devices in, and their revocation
//! lists, which are large and read only where they are needed. What is said of an authority is in a
//! form of the caller's.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{AuthorityId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{Select, below, is_null};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "device_authorities";
/// What is read of an authority: all but its revocation list.
const COLUMNS: [&str; 8] = [
    "id",
    "body",
    "valid_until",
    "revocation_until",
    "made",
    "disabled_at",
    "version",
    "created_at",
];

/// A certificate authority.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceAuthority {
    /// Its id.
    pub id: AuthorityId,
    /// Its certificate and what is said of it, in a form of the caller's.
    pub body: Vec<u8>,
    /// When its certificate ends.
    pub valid_until: Timestamp,
    /// When its revocation list has to be replaced; none: it has no list.
    pub revocation_until: Option<Timestamp>,
    /// How many devices it made.
    pub made: u64,
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

fn slim(select: Select) -> Select {
    let select = select.only(Expr::col("tenant_id"), "tenant_id");
    COLUMNS.into_iter().fold(select, |select, column| select.also(Expr::col(column), column))
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<DeviceAuthority> {
    let id: AuthorityId = row.get("id")?;
    Ok(DeviceAuthority {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        valid_until: row.get("valid_until")?,
        revocation_until: row.maybe("revocation_until")?,
        made: row.get("made")?,
        disabled_at: row.maybe("disabled_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn seal_authority(&self, one: &DeviceAuthority) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        self.vault().seal(cell, &one.body)
    }

    /// Every authority of the tenant, oldest first; how many there are is bounded where they are
    /// made.
    #[boxed]
    pub async fn device_authorities(&self) -> Result<Vec<DeviceAuthority>> {
        let vault = self.vault();
        let rows = self.core.all(slim(self.select(TABLE)).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// One authority.
    #[boxed]
    pub async fn device_authority(&self, id: AuthorityId) -> Result<DeviceAuthority> {
        load(&self.core.one(slim(self.select(TABLE)).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new authority, with the digests of its key and of its name; `Conflict` if any
    /// tenant has one with this key.
    #[boxed]
    pub async fn device_authority_create(
        &self,
        authority: &DeviceAuthority,
        (key_digest, subject_digest): ([u8; 32], [u8; 32]),
    ) -> Result<()> {
        let body = self.seal_authority(authority)?;
        let insert = self
            .insert(TABLE)
            .set("id", authority.id)
            .set("key_digest", key_digest)
            .set("subject_digest", subject_digest)
            .set("body", body)
            .set("valid_until", authority.valid_until)
            .set("revocation_until", authority.revocation_until)
            .set("made", 0u64)
            .set("disabled_at", authority.disabled_at)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed authority, if its version is still `expected`. Its key and its name stay,
    /// and the number of devices that it made.
    #[boxed]
    pub async fn device_authority_update(
        &self,
        authority: &DeviceAuthority,
        expected: Option<u64>,
    ) -> Result<()> {
        let body = self.seal_authority(authority)?;
        let update = self
            .update(TABLE)
            .set("body", body)
            .set("valid_until", authority.valid_until)
            .set("revocation_until", authority.revocation_until)
            .set("disabled_at", authority.disabled_at)
            .set("updated_at", self.core.at);
        self.update_version(update, *authority.id.as_bytes(), expected).await
    }

    /// Writes an authority's revocation list, DER; none takes it away.
    #[boxed]
    pub async fn device_authority_list(&self, id: AuthorityId, list: Option<&[u8]>) -> Result<()> {
        let cell = Cell { table: TABLE, column: "revocation", row: id.as_bytes() };
        let sealed = list.map(|list| self.vault().seal(cell, list)).transpose()?;
        let update = self.update(TABLE).set("revocation", sealed).eq("id", id);
        self.core.update(update).await.map(drop)
    }

    /// Counts a device that an authority makes; false if it is disabled or made `devices_max`
    /// already.
    #[boxed]
    pub async fn device_authority_count(&self, id: AuthorityId, devices_max: u64) -> Result<bool> {
        let update = self.update(TABLE).increment("made").eq("id", id);
        let update = update.filter(is_null("disabled_at")).filter(below("made", devices_max));
        Ok(self.core.update(update).await? > 0)
    }

    /// Removes an authority.
    #[boxed]
    pub async fn device_authority_delete(&self, id: AuthorityId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// The authorities of all tenants that have this name, at most `limit`, oldest first. One
    /// whose tenant's keys are revoked is left out, and so is one that is damaged: it is one
    /// tenant's, and in no other's way.
    #[boxed]
    pub async fn device_authorities_named(
        &self,
        subject_digest: [u8; 32],
        limit: u64,
    ) -> Result<Vec<FoundAuthority>> {
        let select = slim(self.select(TABLE)).eq("subject_digest", subject_digest);
        let mut found = Vec::new();
        for row in self.core.all(select.ascending("id").limit(limit)).await? {
            let tenant: TenantId = row.get("tenant_id")?;
            match load(&row, &self.vault_of(tenant)) {
                Ok(authority) => found.push(FoundAuthority { tenant, authority }),
                Err(crate::Error::KeyDenied(_) | crate::Error::KeyUnavailable(_)) => {}
                Err(error @ crate::Error::Corrupt { .. }) => {
                    tracing::error!(%tenant, %error, "an authority of devices cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The revocation list of a tenant's authority, DER.
    #[boxed]
    pub async fn device_authority_revocation(
        &self,
        tenant: TenantId,
        id: AuthorityId,
    ) -> Result<Option<Vec<u8>>> {
        let select = self.select(TABLE).eq("tenant_id", tenant).eq("id", id);
        let row = self.core.maybe(select.only(Expr::col("revocation"), "revocation")).await?;
        let Some(row) = row else { return Ok(None) };
        self.vault_of(tenant).maybe_open(&row, "revocation", id.as_bytes())
    }
}
