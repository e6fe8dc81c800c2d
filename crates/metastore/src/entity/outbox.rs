//! Mail to be sent. An entry is written in the transaction of what it reports, once per
//! idempotency key; sending is at least once.

use veritwin_domain::{TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{Insert, at_most, is_null};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "outbox";

/// Most entries that are claimed at once.
const CLAIM_MAX: u32 = 100;

/// The id of an entry: its idempotency key's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub [u8; 16]);

/// An entry that is due.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its id.
    pub id: OutboxId,
    /// Whose mail it is; none for the platform's own.
    pub tenant: Option<TenantId>,
    /// The message, as JSON.
    pub payload: Vec<u8>,
    /// How often sending was tried, this time included.
    pub attempts: u64,
    /// When it was written.
    pub created_at: Timestamp,
}

opaque_debug!(OutboxEntry { id, tenant, attempts });

fn owner(tenant: Option<TenantId>) -> Owner {
    tenant.map_or(Owner::Platform, Owner::Tenant)
}

fn fill(
    core: &Core,
    insert: Insert,
    tenant: Option<TenantId>,
    idempotency_key: &str,
    payload: &[u8],
) -> Result<Insert> {
    let realm = tenant.map_or([0; 16], |tenant| *tenant.as_bytes());
    let index = core.sealer.blind_index("outbox", &realm, idempotency_key);
    let mut id = [0; 16];
    id.copy_from_slice(&index[..16]);
    let cell = Cell { table: TABLE, column: "payload", row: &id };
    Ok(insert
        .set("id", id)
        .set("tenant_id", tenant)
        .set("idempotency", index)
        .set("payload", core.vault(owner(tenant)).seal(cell, payload)?)
        .set("attempts", 0u64)
        .set("next_at", core.at)
        .set("created_at", core.at)
        .set("done_at", Option::<Timestamp>::None)
        .or_ignore(&["idempotency"]))
}

impl TenantTx {
    /// Queues a message of this tenant; false if the key was queued before.
    pub async fn outbox_add(&self, idempotency_key: &str, payload: &[u8]) -> Result<bool> {
        let insert = Insert::new(TABLE);
        let insert = fill(&self.core, insert, Some(self.tenant), idempotency_key, payload)?;
        Ok(self.core.insert(insert).await? > 0)
    }
}

impl PlatformTx {
    /// Queues a message of the platform itself; false if the key was queued before.
    pub async fn outbox_add(&self, idempotency_key: &str, payload: &[u8]) -> Result<bool> {
        let insert = fill(&self.core, self.insert(TABLE), None, idempotency_key, payload)?;
        Ok(self.core.insert(insert).await? > 0)
    }

    /// Takes due entries for sending, oldest first. Each counts one attempt more and comes due
    /// again at `retry_at` unless it is done before: commit, then send. An entry whose key is out
    /// of reach waits.
    pub async fn outbox_claim(
        &self,
        now: Timestamp,
        retry_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxEntry>> {
        let select = self
            .select(TABLE)
            .filter(is_null("done_at"))
            .filter(at_most("next_at", now))
            .ascending("next_at")
            .limit(u64::from(limit.clamp(1, CLAIM_MAX)));
        let mut due = Vec::new();
        for row in self.core.all(select).await? {
            let id: [u8; 16] = row.get("id")?;
            let claim = self
                .update(TABLE)
                .set("next_at", retry_at)
                .increment("attempts")
                .eq("id", id)
                .filter(is_null("done_at"))
                .filter(at_most("next_at", now));
            // Another node may have claimed it since it was read.
            if self.core.update(claim).await? == 0 {
                continue;
            }
            match load(&self.core, &row, OutboxId(id)) {
                Ok(entry) => due.push(entry),
                Err(Error::KeyUnavailable(_) | Error::KeyDenied(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(due)
    }

    /// Notes that an entry was sent, or given up.
    pub async fn outbox_done(&self, id: OutboxId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("done_at", at).eq("id", id.0);
        self.core.update(update).await.map(|_| ())
    }

    /// Sets when an entry is tried again.
    pub async fn outbox_retry(&self, id: OutboxId, next_at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("next_at", next_at).eq("id", id.0);
        self.core.update(update).await.map(|_| ())
    }

    /// Deletes entries that were done up to `before`; their keys can be queued again.
    pub async fn outbox_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("done_at", before))).await
    }
}

fn load(core: &Core, row: &Row, id: OutboxId) -> Result<OutboxEntry> {
    let tenant: Option<TenantId> = row.maybe("tenant_id")?;
    Ok(OutboxEntry {
        id,
        tenant,
        payload: core.vault(owner(tenant)).open(row, "payload", &id.0)?,
        attempts: row.get::<u64>("attempts")? + 1,
        created_at: row.get("created_at")?,
    })
}
