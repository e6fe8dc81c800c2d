//! Seals records that wait in the store: what people and jobs did, alerts, keys, consents, cases.
//! Each batch is a leaf of evidence. Before it is sent its records carry its id, so that a crash
//! loses and doubles none; of who is not subscribed the archive gets the salted root alone.

use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{BatchId, LedgerItemId, Timestamp};
use veritwin_ledger::LogSummary;
use veritwin_metastore::{LedgerItem, LedgerKind};
use veritwin_verify::TILE_WIDTH;

use super::send::{LEAVES_AT_ONCE, OnWay, Outgoing};
use super::{
    Act, App, BatchBuilder, BatchLimits, Error, Leaf, LedgerJob, RecordBytes, Result, TenantId,
};
use crate::maintenance::RECORDS_KEPT;
use crate::provision::is_nobodys;

/// Tenants looked at in one go.
const TENANTS_AT_ONCE: u64 = 64;
/// Records of one leaf.
const ITEMS_AT_ONCE: u64 = 512;
/// Bytes of the records of one leaf: they have to fit into one sealed column, too.
const ITEMS_BYTES_MAX: usize = 768 * 1024;

/// A record as it is sealed: compact JSON with its fields in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SealedItem {
    v: u8,
    pub(crate) kind: String,
    pub(crate) id: LedgerItemId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<LedgerItemId>,
    recorded_at_us: i64,
    pub(crate) body: serde_json::Value,
}

/// One that cannot be read is sealed as that, and does not hold those behind it.
fn item_bytes(item: &LedgerItem) -> Result<Vec<u8>> {
    let body = serde_json::from_slice(&item.body).unwrap_or_else(|_| {
        tracing::error!(record = %item.id, "a record that waited for the ledger is damaged");
        serde_json::json!({"damaged": true})
    });
    let sealed = SealedItem {
        v: 1,
        kind: item.kind.as_str().to_owned(),
        id: item.id,
        about: item.about.map(LedgerItemId::from_bytes),
        recorded_at_us: item.created_at.as_micros(),
        body,
    };
    serde_json::to_vec(&sealed).map_err(|error| Error::Internal(error.to_string()))
}

/// Of who is not subscribed salt and records of acts stay here as long as the records of these acts
/// do, those of all else as long as their leaf: they are sealed apart, the oldest and its like
/// first. Answers when those that are left end.
fn of_one_time(items: &mut Vec<LedgerItem>) -> Option<Timestamp> {
    let is_act = |item: &LedgerItem| matches!(item.kind, LedgerKind::Activity | LedgerKind::Key);
    let are_acts = items.first().is_some_and(is_act);
    items.retain(|item| is_act(item) == are_acts);
    let newest = items.iter().map(|item| item.created_at).max().filter(|_| are_acts);
    newest.map(|newest| newest.saturating_add(RECORDS_KEPT))
}

impl LedgerJob {
    /// Seals what waits of some tenants; the others have their turn next time.
    pub(super) async fn seal_items(&mut self) -> Result<()> {
        if !self.app.seals_records() {
            return Ok(());
        }
        let tx = self.app.0.store.read_platform(&self.app.job(jobs::LEDGER)).await?;
        let tenants = tx.ledger_items_tenants(self.items_after, TENANTS_AT_ONCE).await?;
        drop(tx);
        let is_whole = (tenants.len() as u64) < TENANTS_AT_ONCE;
        self.items_after = tenants.last().copied().filter(|_| !is_whole);
        // Behind what is in their builders.
        self.seal_all(self.with_open_batch(&tenants)).await?;
        let mut on_way = OnWay::new();
        let mut outcome = Ok(());
        let mut tenants = tenants.into_iter();
        loop {
            while outcome.is_ok() && on_way.len() < LEAVES_AT_ONCE {
                let Some(tenant) = tenants.next() else { break };
                match self.items_of(tenant).await {
                    Ok(None) => {}
                    Ok(Some((leaf, batch))) => on_way.send(&self.app, leaf, batch),
                    Err(error) => outcome = self.failed(tenant, self.lanes.here, error).await,
                }
            }
            let Some(arrived) = on_way.next().await else { return outcome };
            let (leaf, answer, batch) = match arrived {
                Ok(arrived) => arrived,
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    continue;
                }
            };
            let taken = answer.and_then(|appended| self.taken(&leaf, &appended));
            let noted = match taken {
                Ok(index) => self.app.note_batch(leaf.tenant, batch, index).await,
                Err(error) => Err(error),
            };
            if let Err(error) = noted {
                let failed = self.failed(leaf.tenant, self.lanes.here, error).await;
                outcome = outcome.and(failed);
            }
        }
    }

    /// Those of the tenants whose builder holds something.
    fn with_open_batch(&self, tenants: &[TenantId]) -> Vec<TenantId> {
        let is_open = |tenant: &&TenantId| {
            let log = self.lanes.tenants.get(*tenant);
            log.is_some_and(|log| !log.builder.is_empty())
        };
        tenants.iter().filter(is_open).copied().collect()
    }

    /// The next records of a tenant as a leaf, and its batch, whose id they bear from now on. None
    /// where there are none, or nothing can be sealed now.
    async fn items_of(&mut self, tenant: TenantId) -> Result<Option<(Outgoing, BatchId)>> {
        if self.lanes.held().contains(tenant) {
            return Ok(None);
        }
        if is_nobodys(tenant) || self.gone.contains(&tenant) {
            return self.app.drop_items(tenant).await.map(|()| None);
        }
        if !self.lanes.tenants.contains_key(&tenant) {
            let log = self.open(tenant, false).await?;
            self.lanes.tenants.insert(tenant, log);
        }
        let context = self.app.job_in(jobs::LEDGER, tenant);
        let tx = self.app.0.store.read(&context).await?;
        let mut items = tx.ledger_items_waiting(ITEMS_AT_ONCE).await?;
        drop(tx);
        if items.is_empty() {
            return Ok(None);
        }
        let is_subscribed = self.lanes.tenants.get(&tenant).is_some_and(|log| log.subscribed);
        let ends_at = if is_subscribed { None } else { of_one_time(&mut items) };
        let log = self.lanes.tenants.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        if !log.builder.is_empty() {
            // That goes first, and these have their turn next time.
            return Ok(None);
        }
        let mut builder = BatchBuilder::new(BatchLimits::default(), log.previous.as_ref());
        let first = builder.next_sequence();
        let mut ids = Vec::with_capacity(items.len());
        for item in &items {
            let (at, bytes) = (item.created_at, item_bytes(item)?);
            if !ids.is_empty() && builder.bytes() + bytes.len() > ITEMS_BYTES_MAX {
                break;
            }
            let sequence = builder.next_sequence();
            builder
                .push(RecordBytes { sequence, events_from: at, events_to: at, bytes })
                .map_err(|error| Error::Internal(format!("ledger record: {error}")))?;
            ids.push(item.id);
        }
        let (sealed, kept) = log
            .with_signer(&self.app, tenant, |previous, sealed_at, signer| {
                if is_subscribed {
                    let sealed = builder.seal(Act::Evidence, previous, sealed_at, signer);
                    return sealed.map(|sealed| (sealed, None));
                }
                let sealed = builder.seal_digest(previous, sealed_at, signer);
                sealed.map(|(sealed, kept)| (sealed, Some(kept)))
            })?
            .map_err(|error| Error::Internal(format!("ledger records: {error}")))?;
        let (batch, reached) = (sealed.leaf.batch, log.reached);
        let tx = self.app.0.store.begin(&context).await?;
        let kept = kept.as_deref().map(|kept| (kept, ends_at));
        tx.ledger_items_taken((&ids, first), batch, kept).await?;
        tx.commit().await?;
        Ok(Some((self.outgoing(tenant, sealed, reached)?, batch)))
    }
}

impl App {
    /// Notes which leaf a batch of records is.
    async fn note_batch(&self, tenant: TenantId, batch: BatchId, index: u64) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.ledger_batch_sealed(batch, index).await?;
        Ok(tx.commit().await?)
    }

    /// Settles what a crash left open: whether the archive has the last batch of records. Nothing
    /// else was appended behind it, since every leaf is waited for.
    /// The answer is where the bundles begin whose times are not noted.
    pub(super) async fn settle_items(&self, tenant: TenantId, summary: &LogSummary) -> Result<u64> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.read(&context).await?;
        let open = tx.ledger_batches_open().await?;
        let indexed = tx.ledger_bundles_end().await?.max(summary.minimum_index / TILE_WIDTH);
        drop(tx);
        if open.is_empty() {
            return Ok(indexed);
        }
        let last = summary.last_entry.as_deref().and_then(|entry| Leaf::decode(entry).ok());
        let last = last.map(|leaf| leaf.batch);
        let tx = self.0.store.begin(&context).await?;
        for batch in open {
            if last == Some(batch) {
                tx.ledger_batch_sealed(batch, summary.size.saturating_sub(1)).await?;
            } else {
                tx.ledger_batch_lost(batch).await?;
            }
        }
        tx.commit().await?;
        Ok(indexed)
    }

    /// What checks did in tenants of nobody is not sealed, nor what is told of a tenant that is
    /// gone: there is no log, or no key, to seal it under.
    async fn drop_items(&self, tenant: TenantId) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.ledger_items_drop().await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_sealed_apart_from_what_stays_longer() {
        let item = |number: u8, kind| LedgerItem {
            id: LedgerItemId::from_bytes([number; 16]),
            kind,
            about: None,
            body: Vec::new(),
            created_at: Timestamp::from_micros(i64::from(number)),
        };
        let all = [
            item(1, LedgerKind::Activity),
            item(2, LedgerKind::Consent),
            item(3, LedgerKind::Key),
            item(4, LedgerKind::Mail),
        ];
        let ids = |items: &[LedgerItem]| -> Vec<u8> {
            items.iter().map(|item| item.id.as_bytes()[0]).collect()
        };
        let mut acts = all.to_vec();
        let end = Timestamp::from_micros(3).saturating_add(RECORDS_KEPT);
        assert_eq!(of_one_time(&mut acts), Some(end));
        assert_eq!(ids(&acts), [1, 3]);
        let mut others = all[1..].to_vec();
        assert_eq!(of_one_time(&mut others), None);
        assert_eq!(ids(&others), [2, 4]);
    }

    #[test]
    fn a_damaged_record_is_sealed_as_one() {
        let sealed = |body: &[u8]| {
            let item = LedgerItem {
                id: LedgerItemId::from_bytes([7; 16]),
                kind: LedgerKind::Alert,
                about: None,
                body: body.to_vec(),
                created_at: Timestamp::EPOCH,
            };
            let bytes = item_bytes(&item).expect("its form");
            let sealed: SealedItem = serde_json::from_slice(&bytes).expect("its form");
            sealed.body.to_string()
        };
        assert_eq!(sealed(br#"{"event":"raised"}"#), r#"{"event":"raised"}"#);
        assert_eq!(sealed(b""), r#"{"damaged":true}"#);
        assert_eq!(sealed(b"{"), r#"{"damaged":true}"#);
    }
}
