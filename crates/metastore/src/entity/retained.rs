//! Retained messages of MQTT: one row per topic of a tenant that has one.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{MessageId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::at_most;
use crate::seal::Cell;
use crate::{Result, TenantTx};

const TABLE: &str = "retained_messages";

/// A retained message.
#[derive(Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// Its id, the same as long as the topic has one.
    pub id: MessageId,
    /// Topic and content, in a form of the caller's.
    pub body: Vec<u8>,
    /// When it is no longer delivered.
    pub expires_at: Option<Timestamp>,
}

opaque_debug!(RetainedMessage { id, expires_at });

impl TenantTx {
    /// All retained messages of the tenant, in the order of their ids.
    #[boxed]
    pub async fn retained_messages(&self) -> Result<Vec<RetainedMessage>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        let load = |row: &Row| -> Result<RetainedMessage> {
            let id: MessageId = row.get("id")?;
            let body = vault.open(row, "body", id.as_bytes())?;
            Ok(RetainedMessage { id, body, expires_at: row.maybe("expires_at")? })
        };
        rows.iter().map(load).collect()
    }

    /// How many retained messages of the tenant are past their time.
    #[boxed]
    pub async fn retained_expired(&self, now: Timestamp) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self.select(TABLE).filter(at_most("expires_at", now)).only(count, "count");
        self.core.one(select).await?.get("count")
    }

    /// Writes a retained message, over the one with its id if there is one.
    #[boxed]
    pub async fn retained_put(&self, message: &RetainedMessage) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: message.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", message.id)
            .set("body", self.vault().seal(cell, &message.body)?)
            .set("expires_at", message.expires_at)
            .set("version", 1u64)
            .set("updated_at", self.core.at)
            .or_overwrite(&["tenant_id", "id"], &["body", "expires_at", "updated_at"]);
        self.core.insert(insert).await.map(drop)
    }

    /// Removes a retained message.
    #[boxed]
    pub async fn retained_delete(&self, id: MessageId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}
