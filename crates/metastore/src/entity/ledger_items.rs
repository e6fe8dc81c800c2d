//! Records that wait for the ledger, and where they were sealed. A record is written in the
//! transaction of what it tells of, so that a crash loses none; before a batch is sent its records
//! carry the batch's id, so that a crash doubles none. Nothing in them is about a person.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use veritwin_domain::{BatchId, LedgerItemId, TenantId, Timestamp};

use super::holds::HoldScope;
use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{Insert, above, at_most, below, is_null, is_set, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "ledger_items";
const KEPT: &str = "ledger_kept";
const BUNDLES: &str = "ledger_bundles";
/// Most records of one thing that are found at once, newest first.
const ABOUT_MAX: u64 = 200;
/// Batches whose kept records are forgotten by one statement.
const BATCHES_AT_ONCE: u64 = 500;

stored_enum! {
    /// What a sealed record is.
    LedgerKind {
        /// Somebody did something, or changed a configuration.
        Activity = "activity",
        /// A key was made, changed, withdrawn or destroyed.
        Key = "key",
        /// An alert was raised, changed or closed.
        Alert = "alert",
        /// A consent was given or withdrawn.
        Consent = "consent",
        /// A case of a data subject's right moved.
        RightsCase = "rights_case",
        /// A policy, risk, control or breach of the governance workspace.
        Governance = "governance",
        /// A mail was sent.
        Mail = "mail",
    }
}

/// A record that waits for its leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct LedgerItem {
    /// Its id; an activity record's is the record's own.
    pub id: LedgerItemId,
    /// What it is.
    pub kind: LedgerKind,
    /// What it is about: an alert, a case, a device.
    pub about: Option<[u8; 16]>,
    /// What is sealed of it, as compact JSON; nothing that is about a person.
    pub body: Vec<u8>,
    /// When it was written.
    pub created_at: Timestamp,
}

opaque_debug!(LedgerItem { id, kind, created_at });

/// Where a record was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerPlace {
    /// The record's id.
    pub id: LedgerItemId,
    /// What it is.
    pub kind: LedgerKind,
    /// What it is about.
    pub about: Option<[u8; 16]>,
    /// Leaf and number; none while it waits.
    pub sealed: Option<(u64, u64)>,
    /// When it was written.
    pub created_at: Timestamp,
}

fn load_place(row: &Row) -> Result<LedgerPlace> {
    let leaf: Option<u64> = row.maybe("leaf")?;
    let sequence: Option<u64> = row.maybe("sequence")?;
    Ok(LedgerPlace {
        id: row.get("id")?,
        kind: row.get("kind")?,
        about: row.maybe("about_id")?,
        sealed: leaf.zip(sequence),
        created_at: row.get("created_at")?,
    })
}

fn key(tenant: TenantId, id: &[u8; 16]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(tenant.as_bytes());
    key[16..].copy_from_slice(id);
    key
}

/// Writes a record of a tenant. Its key is the platform's: a tenant's may be away.
pub(super) async fn add(core: &Core, tenant: TenantId, item: &LedgerItem) -> Result<()> {
    let row = key(tenant, item.id.as_bytes());
    let cell = Cell { table: TABLE, column: "body", row: &row };
    let insert = Insert::new(TABLE)
        .set("tenant_id", tenant)
        .set("id", item.id)
        .set("kind", item.kind)
        .set("about_id", item.about)
        .set("body", core.vault(Owner::Platform).seal(cell, &item.body)?)
        .set("created_at", item.created_at);
    core.insert(insert).await.map(drop)
}

impl TenantTx {
    /// Writes a record that is sealed soon.
    #[boxed]
    pub async fn ledger_item_add(&self, item: &LedgerItem) -> Result<()> {
        add(&self.core, self.tenant, item).await
    }

    /// Records that no batch has taken yet, oldest first. The body of one that is damaged is empty,
    /// as that of no other is: it is not to hold those behind it.
    #[boxed]
    pub async fn ledger_items_waiting(&self, most: u64) -> Result<Vec<LedgerItem>> {
        let select = self
            .select(TABLE)
            .filter(is_null("leaf"))
            .filter(is_null("batch_id"))
            .ascending("created_at")
            .ascending("id")
            .limit(most);
        let vault = self.core.vault(Owner::Platform);
        let load = |row: &Row| {
            let id: LedgerItemId = row.get("id")?;
            Ok(LedgerItem {
                id,
                kind: row.get("kind")?,
                about: row.maybe("about_id")?,
                body: match vault.open(row, "body", &key(self.tenant, id.as_bytes())) {
                    Err(Error::Corrupt { .. }) => Vec::new(),
                    body => body?,
                },
                created_at: row.get("created_at")?,
            })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }

    /// The batches that took records and of which it is not noted whether the archive has them.
    #[boxed]
    pub async fn ledger_batches_open(&self) -> Result<Vec<BatchId>> {
        let select = self
            .select(TABLE)
            .filter(is_null("leaf"))
            .filter(is_set("batch_id"))
            .only(Expr::col("batch_id"), "batch")
            .group_by("batch_id");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| row.get("batch").map(BatchId::from_bytes)).collect()
    }

    /// Notes the batch that is about to take records, which are numbered from `first` on in the
    /// order given. `kept`: salt and records, where the archive gets their root alone, and until
    /// when they stay, if not as long as the leaf.
    #[boxed]
    pub async fn ledger_items_taken(
        &self,
        (items, first): (&[LedgerItemId], u64),
        batch: BatchId,
        kept: Option<(&[u8], Option<Timestamp>)>,
    ) -> Result<()> {
        for (id, sequence) in items.iter().zip(first..) {
            let update = self
                .update(TABLE)
                .set("batch_id", *batch.as_bytes())
                .set("sequence", sequence)
                .eq("id", *id);
            self.core.update(update).await?;
        }
        let Some((kept, ends_at)) = kept else { return Ok(()) };
        let row = key(self.tenant, batch.as_bytes());
        let cell = Cell { table: KEPT, column: "body", row: &row };
        let insert = self
            .insert(KEPT)
            .set("batch_id", *batch.as_bytes())
            .set("body", self.vault().seal(cell, kept)?)
            .set("sealed_at", self.core.at)
            .set("ends_at", ends_at);
        self.core.insert(insert).await.map(drop)
    }

    /// The archive has the batch as this leaf: what its records said is in there, or kept.
    #[boxed]
    pub async fn ledger_batch_sealed(&self, batch: BatchId, leaf: u64) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("leaf", leaf)
            .set("body", Option::<Vec<u8>>::None)
            .filter(is_null("leaf"))
            .eq("batch_id", *batch.as_bytes());
        self.core.update(update).await.map(drop)
    }

    /// The archive never had the batch: its records wait for another.
    #[boxed]
    pub async fn ledger_batch_lost(&self, batch: BatchId) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("batch_id", Option::<[u8; 16]>::None)
            .set("sequence", Option::<u64>::None)
            .filter(is_null("leaf"))
            .eq("batch_id", *batch.as_bytes());
        self.core.update(update).await?;
        let kept = self.delete(KEPT).eq("batch_id", *batch.as_bytes());
        self.core.delete(kept).await.map(drop)
    }

    /// Salt and records of a batch that stay here.
    #[boxed]
    pub async fn ledger_kept(&self, batch: BatchId) -> Result<Option<Vec<u8>>> {
        let select = self.select(KEPT).eq("batch_id", *batch.as_bytes());
        let Some(row) = self.core.maybe(select).await? else { return Ok(None) };
        self.vault().open(&row, "body", &key(self.tenant, batch.as_bytes())).map(Some)
    }

    /// Where a record was sealed, if it is known here.
    #[boxed]
    pub async fn ledger_place(&self, id: LedgerItemId) -> Result<Option<LedgerPlace>> {
        let row = self.core.maybe(self.select(TABLE).eq("id", id)).await?;
        row.as_ref().map(load_place).transpose()
    }

    /// The leaves of those of these records that are sealed.
    #[boxed]
    pub async fn ledger_leaves(
        &self,
        records: &[LedgerItemId],
    ) -> Result<Vec<(LedgerItemId, u64)>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let among = one_of("id", records.iter().copied());
        let select = self.select(TABLE).filter(is_set("leaf")).filter(among);
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("leaf")?))).collect()
    }

    /// Where the records about something were sealed, newest first.
    #[boxed]
    pub async fn ledger_places_about(&self, about: [u8; 16]) -> Result<Vec<LedgerPlace>> {
        let select = self
            .select(TABLE)
            .eq("about_id", about)
            .descending("created_at")
            .descending("id")
            .limit(ABOUT_MAX);
        self.core.all(select).await?.iter().map(load_place).collect()
    }

    /// Forgets where the records below a leaf were sealed, and what was kept of them. What ends is
    /// told by the leaves alone: clocks may have gone back in between.
    #[boxed]
    pub async fn ledger_places_end(&self, below_leaf: u64) -> Result<()> {
        let mut after: Option<[u8; 16]> = None;
        loop {
            let mut select =
                self.select(TABLE).filter(is_set("leaf")).filter(below("leaf", below_leaf));
            if let Some(after) = after {
                select = select.filter(above("batch_id", after));
            }
            let select = select
                .only(Expr::col("batch_id"), "batch")
                .group_by("batch_id")
                .ascending("batch_id")
                .limit(BATCHES_AT_ONCE);
            let rows = self.core.all(select).await?;
            let batches = rows.iter().map(|row| row.get("batch"));
            let batches = batches.collect::<Result<Vec<[u8; 16]>>>()?;
            let Some(last) = batches.last().copied() else { break };
            self.core.delete(self.delete(KEPT).filter(one_of("batch_id", batches))).await?;
            after = Some(last);
        }
        let ended = self.delete(TABLE).filter(is_set("leaf")).filter(below("leaf", below_leaf));
        self.core.delete(ended).await?;
        let bundles = self.delete(BUNDLES).filter(below("bundle", below_leaf / 256));
        self.core.delete(bundles).await.map(drop)
    }

    /// Forgets records that nobody seals: those of checks, whose tenants are nobody's.
    #[boxed]
    pub async fn ledger_items_drop(&self) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(is_null("leaf"))).await
    }

    /// One past the newest bundle whose times are noted.
    #[boxed]
    pub async fn ledger_bundles_end(&self) -> Result<u64> {
        let newest = self.select(BUNDLES).descending("bundle").limit(1);
        let row = self.core.maybe(newest).await?;
        row.map_or(Ok(0), |row| Ok(row.get::<u64>("bundle")? + 1))
    }

    /// Notes which event times the leaves of a bundle hold.
    #[boxed]
    pub async fn ledger_bundle_put(
        &self,
        bundle: u64,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<()> {
        let insert = self
            .insert(BUNDLES)
            .set("bundle", bundle)
            .set("events_from", from)
            .set("events_to", to)
            .or_ignore(&["tenant_id", "bundle"]);
        self.core.insert(insert).await.map(drop)
    }

    /// The bundles whose times cover a moment or the millisecond behind it, newest first.
    #[boxed]
    pub async fn ledger_bundles_at(&self, at: Timestamp, most: u64) -> Result<Vec<u64>> {
        let select = self
            .select(BUNDLES)
            .filter(below(
                "events_from",
                Timestamp::from_micros(at.as_micros().saturating_add(1000)),
            ))
            .filter(above("events_to", Timestamp::from_micros(at.as_micros().saturating_sub(1))))
            .descending("bundle")
            .limit(most);
        self.core.all(select).await?.iter().map(|row| row.get("bundle")).collect()
    }
}

impl PlatformTx {
    /// Forgets salt and records that stay here whose time is over, of all tenants but those with a
    /// hold. Their leaves are proven as before.
    #[boxed]
    pub async fn ledger_kept_purge(
        &self,
        now: Timestamp,
        holds: &[(TenantId, HoldScope)],
    ) -> Result<u64> {
        let held: BTreeSet<TenantId> = holds.iter().map(|(tenant, _)| *tenant).collect();
        let mut delete = self.delete(KEPT).filter(at_most("ends_at", now));
        if !held.is_empty() {
            delete = delete.filter(one_of("tenant_id", held).not());
        }
        self.core.delete(delete).await
    }

    /// Writes a record of a tenant that is sealed soon.
    #[boxed]
    pub async fn ledger_item_add(&self, tenant: TenantId, item: &LedgerItem) -> Result<()> {
        add(&self.core, tenant, item).await
    }

    /// Tenants behind one, in the order of their ids, that have records without a leaf.
    #[boxed]
    pub async fn ledger_items_tenants(
        &self,
        after: Option<TenantId>,
        most: u64,
    ) -> Result<Vec<TenantId>> {
        let mut select = self.select(TABLE).filter(is_null("leaf"));
        if let Some(after) = after {
            select = select.filter(above("tenant_id", after));
        }
        let select = select
            .only(Expr::col("tenant_id"), "tenant")
            .group_by("tenant_id")
            .ascending("tenant_id")
            .limit(most);
        self.core.all(select).await?.iter().map(|row| row.get("tenant")).collect()
    }
}
