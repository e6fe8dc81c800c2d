//! The last connections of each device.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{ConnectionId, DeviceId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{at_most, below, is_null};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "device_connections";

/// A connection of a device.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredConnection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub device: DeviceId,
    /// When it began.
    pub connected_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What else is known of it, in a form of the caller's.
    pub body: Vec<u8>,
}

opaque_debug!(StoredConnection { id, device, connected_at, ended_at });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredConnection> {
    let id: ConnectionId = row.get("id")?;
    Ok(StoredConnection {
        id,
        device: row.get("device_id")?,
        connected_at: row.get("connected_at")?,
        ended_at: row.maybe("ended_at")?,
        body: vault.open(row, "body", id.as_bytes())?,
    })
}

impl TenantTx {
    /// Writes a connection, over the one with its id if there is one.
    #[boxed]
    pub async fn connection_put(&self, one: &StoredConnection) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", one.id)
            .set("device_id", one.device)
            .set("connected_at", one.connected_at)
            .set("ended_at", one.ended_at)
            .set("seen_at", one.ended_at.unwrap_or(one.connected_at))
            .set("body", self.vault().seal(cell, &one.body)?)
            .set("version", 1u64)
            .or_overwrite(&["tenant_id", "id"], &["ended_at", "seen_at", "body"]);
        self.core.insert(insert).await.map(drop)
    }

    /// The last connections of a device, the newest first.
    #[boxed]
    pub async fn connections(
        &self,
        device: DeviceId,
        rows_max: u64,
    ) -> Result<Vec<StoredConnection>> {
        let select = self.select(TABLE).eq("device_id", device).descending("id");
        let rows = self.core.all(select.limit(rows_max)).await?;
        let vault = self.vault();
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// Deletes the connections of a device but for its last ones.
    #[boxed]
    pub async fn connections_trim(&self, device: DeviceId, rows_max: u64) -> Result<u64> {
        let select = self.select(TABLE).eq("device_id", device).descending("id");
        // What is in them is not read: an index has the ids.
        let select = select.limit(rows_max).only(Expr::col("id"), "id");
        let rows = self.core.all(select).await?;
        let is_full = u64::try_from(rows.len()).is_ok_and(|count| count >= rows_max);
        let Some(last) = rows.last().filter(|_| is_full) else { return Ok(0) };
        let last: ConnectionId = last.get("id")?;
        let delete = self.delete(TABLE).eq("device_id", device).filter(below("id", last));
        self.core.delete(delete).await
    }
}

impl PlatformTx {
    /// Ends the connections that began up to `at` and have no end: nobody is there any more who
    /// could tell of it.
    #[boxed]
    pub async fn connections_close(&self, at: Timestamp) -> Result<u64> {
        let update = self
            .update(TABLE)
            .set("ended_at", at)
            .set("seen_at", at)
            .increment("version")
            .filter(is_null("ended_at"))
            .filter(at_most("connected_at", at));
        self.core.update(update).await
    }

    /// Deletes connections that were last heard of up to `before`.
    #[boxed]
    pub async fn connections_purge(&self, before: Timestamp) -> Result<u64> {
        let delete = self.delete(TABLE).filter(at_most("seen_at", before));
        self.core.delete(delete).await
    }
}
