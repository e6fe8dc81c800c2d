//! Mails of checkpoints to auditors: to whom and how often, and when the next is due. What the
//! sealed body says is the caller's to write.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{MailingId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::at_most;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "ledger_mailings";

/// A sequence of mails.
#[derive(Clone, PartialEq, Eq)]
pub struct LedgerMailing {
    /// Its id.
    pub id: MailingId,
    /// To whom, how often and what was mailed, in a form of the caller's.
    pub body: Vec<u8>,
    /// When the next is due; none when it is sent on demand alone.
    pub next_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed, or a mail was written.
    pub updated_at: Timestamp,
}

opaque_debug!(LedgerMailing { id, next_at, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<LedgerMailing> {
    let id: MailingId = row.get("id")?;
    Ok(LedgerMailing {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        next_at: row.maybe("next_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

fn cell(id: &MailingId) -> Cell<'_> {
    Cell { table: TABLE, column: "body", row: id.as_bytes() }
}

impl TenantTx {
    /// Writes a new one.
    #[boxed]
    pub async fn ledger_mailing_create(&self, mailing: &LedgerMailing) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", mailing.id)
            .set("body", self.vault().seal(cell(&mailing.id), &mailing.body)?)
            .set("next_at", mailing.next_at)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// One of them.
    #[boxed]
    pub async fn ledger_mailing(&self, id: MailingId) -> Result<LedgerMailing> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// All of the tenant, the oldest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn ledger_mailings(&self) -> Result<Vec<LedgerMailing>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// How many there are.
    #[boxed]
    pub async fn ledger_mailing_count(&self) -> Result<u64> {
        let select = self.select(TABLE).only(Expr::cust("count(*)"), "count");
        self.core.one(select).await?.get("count")
    }

    /// Writes body and time, if the version is still the one that was read.
    #[boxed]
    pub async fn ledger_mailing_update(&self, mailing: &LedgerMailing) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.vault().seal(cell(&mailing.id), &mailing.body)?)
            .set("next_at", mailing.next_at)
            .set("updated_at", self.core.at);
        self.update_version(update, *mailing.id.as_bytes(), Some(mailing.version)).await
    }

    /// Ends one.
    #[boxed]
    pub async fn ledger_mailing_delete(&self, id: MailingId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// What is due at `now`, the longest overdue first.
    #[boxed]
    pub async fn ledger_mailings_due(
        &self,
        now: Timestamp,
        rows_max: u64,
    ) -> Result<Vec<(TenantId, MailingId)>> {
        let select =
            self.select(TABLE).filter(at_most("next_at", now)).ascending("next_at").limit(rows_max);
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// Puts one off that could not be written.
    #[boxed]
    pub async fn ledger_mailing_later(
        &self,
        tenant: TenantId,
        id: MailingId,
        at: Timestamp,
    ) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("next_at", at)
            .increment("version")
            .eq("tenant_id", tenant)
            .eq("id", id);
        self.core.update(update).await.map(drop)
    }
}
