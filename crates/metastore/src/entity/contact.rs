//! Messages to whoever answers for a tenant, sealed under the key of the one who receives them.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{MessageId, TenantId, Timestamp};

use crate::bind::opaque_debug;
use crate::query::above;
use crate::seal::Cell;
use crate::{Cursor, Listed, Page, Result, TenantTx};

const TABLE: &str = "contact_messages";

/// A message.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactMessage {
    /// Its id.
    pub id: MessageId,
    /// The tenant of whoever wrote it signed in.
    pub from: Option<TenantId>,
    /// Address and text, as JSON.
    pub body: Vec<u8>,
    /// When it was written.
    pub created_at: Timestamp,
}

opaque_debug!(ContactMessage { id, created_at });

impl TenantTx {
    /// Keeps a message to this tenant.
    #[boxed]
    pub async fn contact_add(&self, message: &ContactMessage) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: message.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", message.id)
            .set("from_tenant_id", message.from)
            .set("body", self.vault().seal(cell, &message.body)?)
            .set("created_at", message.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The messages to this tenant, oldest first.
    #[boxed]
    pub async fn contact_messages(&self, page: &Page) -> Result<Listed<ContactMessage>> {
        let mut select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let load = |row: &crate::bind::Row| {
            let id: MessageId = row.get("id")?;
            Ok(ContactMessage {
                id,
                from: row.maybe("from_tenant_id")?,
                body: vault.open(row, "body", id.as_bytes())?,
                created_at: row.get("created_at")?,
            })
        };
        let items = rows.iter().map(load).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |message| Cursor::by_id(message.id.as_bytes())))
    }

    /// How many messages are kept.
    #[boxed]
    pub async fn contact_count(&self) -> Result<u64> {
        self.count(TABLE).await
    }

    /// Deletes a message that was dealt with.
    #[boxed]
    pub async fn contact_delete(&self, id: MessageId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}
