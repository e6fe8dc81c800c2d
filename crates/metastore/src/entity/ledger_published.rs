//! Checkpoints of a tenant's ledger as they were published. The newest is kept, the newest that met
//! the policy, and every one that has a time stamp, up to a bound. What is public is sealed under
//! the platform's key: a tenant's may be away, or destroyed when its log is still to be proven.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::Row;
use crate::query::{above, at_most, below, equals, is_null, is_set};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{Result, TenantTx};

const TABLE: &str = "ledger_published";
const KEYS: [&str; 2] = ["tenant_id", "tree_size"];

/// A published checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCheckpoint {
    /// Its tree size.
    pub size: u64,
    /// The witness policy was met.
    pub met: bool,
    /// Witnesses that cosigned it.
    pub cosigned: u64,
    /// The signed note with its cosignatures.
    pub note: Vec<u8>,
    /// The authority's answer.
    pub stamp: Option<Vec<u8>>,
    /// When the authority says that it was there.
    pub stamped_at: Option<Timestamp>,
    /// Where it stands in the log of logs.
    pub roll: Option<Vec<u8>>,
    /// When it was published.
    pub published_at: Timestamp,
}

fn key(tenant: TenantId, size: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(tenant.as_bytes());
    key[16..].copy_from_slice(&size.to_be_bytes());
    key
}

fn load(row: &Row, tenant: TenantId, vault: &Vault<'_>) -> Result<PublishedCheckpoint> {
    let size: u64 = row.get("tree_size")?;
    let key = key(tenant, size);
    Ok(PublishedCheckpoint {
        size,
        met: row.get("met")?,
        cosigned: row.get("cosigned")?,
        note: vault.open(row, "note", &key)?,
        stamp: vault.maybe_open(row, "stamp", &key)?,
        stamped_at: row.maybe("stamped_at")?,
        roll: vault.maybe_open(row, "roll", &key)?,
        published_at: row.get("updated_at")?,
    })
}

impl TenantTx {
    /// Notes a published checkpoint; one of the same tree size is replaced.
    #[boxed]
    pub async fn ledger_published_put(&self, published: &PublishedCheckpoint) -> Result<()> {
        let key = key(self.tenant, published.size);
        let vault = self.core.vault(Owner::Platform);
        let seal = |column: &'static str, bytes: &[u8]| {
            vault.seal(Cell { table: TABLE, column, row: &key }, bytes)
        };
        let maybe_seal = |column: &'static str, bytes: Option<&Vec<u8>>| {
            bytes.map(|bytes| seal(column, bytes)).transpose()
        };
        let columns = ["met", "cosigned", "note", "stamp", "stamped_at", "roll", "updated_at"];
        let insert = self
            .insert(TABLE)
            .set("tree_size", published.size)
            .set("met", published.met)
            .set("cosigned", published.cosigned)
            .set("note", seal("note", &published.note)?)
            .set("stamp", maybe_seal("stamp", published.stamp.as_ref())?)
            .set("stamped_at", published.stamped_at)
            .set("roll", maybe_seal("roll", published.roll.as_ref())?)
            .set("version", 1u64)
            .set("updated_at", published.published_at)
            .or_overwrite(&KEYS, &columns);
        self.core.insert(insert).await.map(drop)
    }

    /// The newest published checkpoints, newest first: of all, or of those that are stamped.
    #[boxed]
    pub async fn ledger_published_newest(
        &self,
        only_stamped: bool,
        limit: u64,
    ) -> Result<Vec<PublishedCheckpoint>> {
        let select = self.select(TABLE);
        let select = if only_stamped { select.filter(is_set("stamped_at")) } else { select };
        let select = select.descending("tree_size").limit(limit);
        let vault = self.core.vault(Owner::Platform);
        self.core.all(select).await?.iter().map(|row| load(row, self.tenant, &vault)).collect()
    }

    /// The newest one with which a witness policy was met.
    #[boxed]
    pub async fn ledger_published_met(&self) -> Result<Option<PublishedCheckpoint>> {
        let select = self
            .select(TABLE)
            .eq("met", true)
            .filter(above("cosigned", 0u64))
            .descending("tree_size")
            .limit(1);
        let found = self.core.maybe(select).await?;
        let vault = self.core.vault(Owner::Platform);
        found.as_ref().map(|row| load(row, self.tenant, &vault)).transpose()
    }

    /// One published checkpoint.
    #[boxed]
    pub async fn ledger_published(&self, size: u64) -> Result<Option<PublishedCheckpoint>> {
        let found = self.core.maybe(self.select(TABLE).eq("tree_size", size)).await?;
        let vault = self.core.vault(Owner::Platform);
        found.as_ref().map(|row| load(row, self.tenant, &vault)).transpose()
    }

    /// The tree sizes of the newest published checkpoints, ascending, at most `limit`.
    #[boxed]
    pub async fn ledger_published_sizes(&self, limit: u64) -> Result<Vec<u64>> {
        let select = self
            .select(TABLE)
            .only(Expr::col("tree_size"), "size")
            .descending("tree_size")
            .limit(limit);
        let rows = self.core.all(select).await?;
        rows.iter().rev().map(|row| row.get("size")).collect()
    }

    /// Deletes what is not stamped before a tree size, but for one that is kept.
    #[boxed]
    pub async fn ledger_published_thin(&self, before: u64, kept: Option<u64>) -> Result<u64> {
        let delete =
            self.delete(TABLE).filter(below("tree_size", before)).filter(is_null("stamped_at"));
        let delete = match kept {
            Some(kept) => delete.filter(equals("tree_size", kept).not()),
            None => delete,
        };
        self.core.delete(delete).await
    }

    /// Deletes everything up to a tree size.
    #[boxed]
    pub async fn ledger_published_cut(&self, to: u64) -> Result<u64> {
        let delete = self.delete(TABLE).filter(at_most("tree_size", to));
        self.core.delete(delete).await
    }
}
