//! Text messages that wait to be sent. Where one goes stands in none of them: the number is asked
//! for when it leaves.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{MessageId, TenantId, Timestamp, UserId};

use crate::bind::{Row, opaque_debug};
use crate::query::at_most;
use crate::seal::Cell;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "sms_queue";

/// A text message.
#[derive(Clone, PartialEq, Eq)]
pub struct QueuedSms {
    /// Its id.
    pub id: MessageId,
    /// Who it is for.
    pub user: UserId,
    /// What it says.
    pub text: String,
    /// When it was queued.
    pub created_at: Timestamp,
}

opaque_debug!(QueuedSms { id, user, created_at });

/// One that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueSms {
    /// Of which tenant.
    pub tenant: TenantId,
    /// The message.
    pub sms: QueuedSms,
    /// How often it was tried before.
    pub attempts: u64,
    /// Whether it can be read: not while its tenant's key is away. Its text is empty then.
    pub is_readable: bool,
}

impl TenantTx {
    /// Queues a text message.
    #[boxed]
    pub async fn sms_add(&self, sms: &QueuedSms) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: sms.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", sms.id)
            .set("user_id", sms.user)
            .set("body", self.vault().seal(cell, sms.text.as_bytes())?)
            .set("attempts", 0u64)
            .set("next_at", sms.created_at)
            .set("created_at", sms.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// How many wait.
    #[boxed]
    pub async fn sms_waiting(&self) -> Result<u64> {
        self.count(TABLE).await
    }
}

impl PlatformTx {
    /// Those that are due, the longest waiting first.
    #[boxed]
    pub async fn sms_due(&self, now: Timestamp, rows: u64) -> Result<Vec<DueSms>> {
        let select = self.select(TABLE).filter(at_most("next_at", now));
        let rows = self.core.all(select.ascending("next_at").limit(rows)).await?;
        let load = |row: &Row| {
            let (id, tenant): (MessageId, TenantId) = (row.get("id")?, row.get("tenant_id")?);
            // A tenant whose key is away holds nobody else up.
            let text = self.vault_of(tenant).open_text(row, "body", id.as_bytes()).ok();
            let (is_readable, text) = (text.is_some(), text.unwrap_or_default());
            let (user, created_at) = (row.get("user_id")?, row.get("created_at")?);
            let sms = QueuedSms { id, user, text, created_at };
            Ok(DueSms { tenant, sms, attempts: row.get("attempts")?, is_readable })
        };
        rows.iter().map(load).collect()
    }

    /// Counts a try, before it is made; the next one is not before `next_at`.
    #[boxed]
    pub async fn sms_tried(&self, sms: &DueSms, next_at: Timestamp) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("next_at", next_at)
            .increment("attempts")
            .eq("tenant_id", sms.tenant)
            .eq("id", sms.sms.id);
        self.core.update(update).await.map(|_| ())
    }

    /// Takes one out that was sent, or is not sent any more.
    #[boxed]
    pub async fn sms_delete(&self, sms: &DueSms) -> Result<()> {
        let delete = self.delete(TABLE).eq("tenant_id", sms.tenant).eq("id", sms.sms.id);
        self.core.delete(delete).await.map(|_| ())
    }

    /// Takes out everything that waits for a person.
    #[boxed]
    pub async fn sms_delete_of(&self, user: UserId) -> Result<u64> {
        self.core.delete(self.delete(TABLE).eq("user_id", user)).await
    }
}
