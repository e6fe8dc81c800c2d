//! What is kept of mail that was sent: a record whose digest is sealed as a record of the ledger
//! with the same id. What the record says is the caller's to write.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::ExprTrait as _;
use veritwin_domain::{LedgerItemId, SentMailId, TenantId, Timestamp};

use super::holds::HoldScope;
use super::ledger_items::{self, LedgerItem, LedgerKind};
use crate::bind::{Row, opaque_debug};
use crate::query::{above, at_most, below, equals, one_of};
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
}

opaque_debug!(SentMail { id, sent_at });

impl SentMail {
    /// The id of the ledger's record of it, which is the mail's own.
    pub const fn sealed_id(&self) -> LedgerItemId {
        LedgerItemId::from_bytes(*self.id.as_bytes())
    }
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<SentMail> {
    let id: SentMailId = row.get("id")?;
    Ok(SentMail { id, sent_at: row.get("sent_at")?, body: vault.open(row, "body", id.as_bytes())? })
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

    /// Forgets a mail that was sent, if it is there; what is sealed of it stays.
    #[boxed]
    pub async fn sent_mail_remove(&self, id: SentMailId) -> Result<()> {
        self.core.delete(self.delete(TABLE).eq("id", id)).await.map(drop)
    }
}

impl PlatformTx {
    /// Writes one down, and what the ledger seals of it.
    #[boxed]
    pub async fn sent_mail_add(
        &self,
        tenant: TenantId,
        mail: &SentMail,
        sealed: Vec<u8>,
    ) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: mail.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("tenant_id", tenant)
            .set("id", mail.id)
            .set("sent_at", mail.sent_at)
            .set("body", self.vault_of(tenant).seal(cell, &mail.body)?);
        self.core.insert(insert).await?;
        let item = LedgerItem {
            id: mail.sealed_id(),
            kind: LedgerKind::Mail,
            about: None,
            body: sealed,
            created_at: mail.sent_at,
        };
        ledger_items::add(&self.core, tenant, &item).await
    }

    /// Forgets what was sent up to `before`, but what was sent in the period of one of the holds;
    /// what is sealed of it stays.
    #[boxed]
    pub async fn sent_mails_purge(
        &self,
        before: Timestamp,
        holds: &[(TenantId, HoldScope)],
    ) -> Result<u64> {
        let mut held: BTreeMap<TenantId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
        for (tenant, hold) in holds {
            // As of readings: a hold without a beginning and an end is over records of acts.
            if let (Some(from), Some(to)) = (hold.from, hold.to) {
                held.entry(*tenant).or_default().push((from, to));
            }
        }
        let old = || self.delete(TABLE).filter(at_most("sent_at", before));
        let plain = match held.is_empty() {
            true => old(),
            false => old().filter(one_of("tenant_id", held.keys().copied()).not()),
        };
        let mut deleted = self.core.delete(plain).await?;
        for (tenant, periods) in held {
            let of_tenant = old().filter(equals("tenant_id", tenant));
            let rest = periods.into_iter().fold(of_tenant, |all, (from, to)| {
                let first = Timestamp::from_micros(from.as_micros().saturating_sub(1));
                all.filter(above("sent_at", first).and(below("sent_at", to)).not())
            });
            deleted += self.core.delete(rest).await?;
        }
        Ok(deleted)
    }
}
