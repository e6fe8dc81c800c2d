//! Keys of store-and-forward edges: which key a gateway signs its batches with, and how far it has
//! submitted. What was submitted is the caller's to write.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, EdgeKeyId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::is_set;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "edge_keys";
/// Most keys with an open batch that are looked at in one go.
const PENDING_ROWS_MAX: u64 = 1_000;

/// A key of an edge.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeKey {
    /// Its id.
    pub id: EdgeKeyId,
    /// The gateway that signs with it.
    pub device: DeviceId,
    /// SHA-256 of the public key.
    pub digest: [u8; 32],
    /// The public key and what was submitted, in a form of the caller's.
    pub body: Vec<u8>,
    /// Where the log ended before a batch of which nobody has noted yet whether it was kept.
    pub pending_position: Option<u64>,
    /// Since when nothing is taken that is signed with it.
    pub revoked_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was registered.
    pub created_at: Timestamp,
}

opaque_debug!(EdgeKey { id, device, revoked_at, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<EdgeKey> {
    let id: EdgeKeyId = row.get("id")?;
    Ok(EdgeKey {
        id,
        device: row.get("device_id")?,
        digest: row.get("key_digest")?,
        body: vault.open(row, "body", id.as_bytes())?,
        pending_position: row.maybe("pending_position")?,
        revoked_at: row.maybe("revoked_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn seal_edge_key(&self, key: &EdgeKey) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: key.id.as_bytes() };
        self.vault().seal(cell, &key.body)
    }

    /// The keys of a gateway, oldest first, revoked ones included; how many there are is bounded
    /// where they are registered.
    #[boxed]
    pub async fn edge_keys(&self, device: DeviceId) -> Result<Vec<EdgeKey>> {
        let select = self.select(TABLE).eq("device_id", device).ascending("id");
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| load(row, &vault)).collect()
    }

    /// The gateway's key with this digest.
    #[boxed]
    pub async fn edge_key(&self, device: DeviceId, digest: [u8; 32]) -> Result<Option<EdgeKey>> {
        let select = self.select(TABLE).eq("device_id", device).eq("key_digest", digest);
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    /// Writes a new key; `Conflict` when the tenant has one with its digest.
    #[boxed]
    pub async fn edge_key_create(&self, key: &EdgeKey) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", key.id)
            .set("device_id", key.device)
            .set("key_digest", key.digest)
            .set("body", self.seal_edge_key(key)?)
            .set("pending_position", key.pending_position)
            .set("revoked_at", key.revoked_at)
            .set("version", 1u64)
            .set("created_at", key.created_at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes what has become of a key, if its version is still the one that was read.
    #[boxed]
    pub async fn edge_key_update(&self, key: &EdgeKey) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.seal_edge_key(key)?)
            .set("pending_position", key.pending_position)
            .set("revoked_at", key.revoked_at)
            .set("updated_at", self.core.at);
        self.update_version(update, *key.id.as_bytes(), Some(key.version)).await
    }
}

impl PlatformTx {
    /// The gateways with a batch of which nobody has noted yet whether it was kept, and where the
    /// log ended before it, the oldest first.
    #[boxed]
    pub async fn edge_keys_pending(
        &self,
        of: Option<TenantId>,
    ) -> Result<Vec<(TenantId, DeviceId, u64)>> {
        let select = self.select(TABLE).filter(is_set("pending_position"));
        let select = match of {
            Some(tenant) => select.eq("tenant_id", tenant),
            None => select,
        };
        let select = select.ascending("pending_position").limit(PENDING_ROWS_MAX);
        let rows = self.core.all(select).await?;
        let load = |row: &Row| {
            Ok((row.get("tenant_id")?, row.get("device_id")?, row.get("pending_position")?))
        };
        rows.iter().map(load).collect()
    }
}
