//! What is kept of mail that was sent: a record whose digest goes into the ledger, and the leaf
//! that holds it. What the sealed record says is the caller's to write.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{SentMailId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{at_most, below, is_null};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "sent_mails";

/// A mail that was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct SentMail {
    /// Its id.
    pub id: SentMailId,
    /// When the server took it.
    pub sent_at: Timestamp,
    /// The record, byte for byte what its digest is of.
    pub body: Vec<u8>,
    /// The leaf that holds the digest; none until it is sealed.
    pub leaf: Option<u64>,
}

opaque_debug!(SentMail { id, sent_at, leaf });

/// A mail whose record is not sealed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsealedMail {
    /// Whose log it belongs to.
    pub tenant: TenantId,
    /// The mail.
    pub id: SentMailId,
    /// None where its key is away.
    pub mail: Option<SentMail>,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<SentMail> {
    let id: SentMailId = row.get("id")?;
    Ok(SentMail {
        id,
        sent_at: row.get("sent_at")?,
        body: vault.open(row, "body", id.as_bytes())?,
        leaf: row.maybe("leaf")?,
    })
}

impl TenantTx {
    /// The tenant's, newest first.
    #[boxed]
    pub async fn sent_mails(&self, page: &Page) -> Result<Listed<SentMail>> {
        let mut select = self.select(TABLE).descending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(below("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |mail| Cursor::by_id(mail.id.as_bytes())))
    }
}

impl PlatformTx {
    /// Writes one down; it is sealed as soon as it can be.
    #[boxed]
    pub async fn sent_mail_add(&self, tenant: TenantId, mail: &SentMail) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: mail.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("tenant_id", tenant)
            .set("id", mail.id)
            .set("sent_at", mail.sent_at)
            .set("body", self.vault_of(tenant).seal(cell, &mail.body)?)
            .set("seal_at", mail.sent_at)
            .set("leaf", mail.leaf);
        self.core.insert(insert).await.map(drop)
    }

    /// What waits to be sealed, the longest overdue first. What cannot be opened now, for its
    /// tenant's key is away, comes without a record.
    #[boxed]
    pub async fn sent_mails_unsealed(
        &self,
        now: Timestamp,
        rows_max: u64,
    ) -> Result<Vec<UnsealedMail>> {
        let select = self
            .select(TABLE)
            .filter(is_null("leaf"))
            .filter(at_most("seal_at", now))
            .ascending("seal_at")
            .limit(rows_max);
        let rows = self.core.all(select).await?;
        let open = |row: &Row| -> Result<UnsealedMail> {
            let tenant: TenantId = row.get("tenant_id")?;
            let mail = load(row, &self.vault_of(tenant)).ok();
            Ok(UnsealedMail { tenant, id: row.get("id")?, mail })
        };
        rows.iter().map(open).collect()
    }

    /// Notes the leaf that holds a mail's digest; without one, when to try again.
    #[boxed]
    pub async fn sent_mail_sealed(
        &self,
        (tenant, id): (TenantId, SentMailId),
        leaf: Option<u64>,
        again_at: Timestamp,
    ) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("leaf", leaf)
            .set("seal_at", again_at)
            .eq("tenant_id", tenant)
            .eq("id", id)
            .filter(is_null("leaf"));
        self.core.update(update).await.map(drop)
    }

    /// Forgets what was sent up to `before`; what is sealed of it stays.
    #[boxed]
    pub async fn sent_mails_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("sent_at", before))).await
    }
}
