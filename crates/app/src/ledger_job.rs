//! Seals what is durable: per tenant, one batch a second or 4 MiB, in log order. The position up
//! to which a log is sealed is stored by the archive with the leaf itself, so that a replay after
//! a crash neither doubles nor skips. While the archive is away nothing is read ahead; a tenant
//! that alone cannot be sealed is held by itself and comes back on a lane of its own.

mod edge;
mod evidence;
mod index;
mod items;
mod send;

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId, Timestamp};
use veritwin_keys::SigningKey;
use veritwin_ledger::{
    Act, BatchBuilder, BatchLimits, BatchSigner, Leaf, LeafReference, RecordBytes,
};
use veritwin_log::{Committed, Consumer, Entry, Record, Unreadable};

use crate::held::key_withdrawn;
use crate::job_board::{Job, JobWatch};
use crate::lanes::{LaneJob, Lanes};
use crate::ledger_head::Heads;
use crate::ledger_open::OpenedLog;
use crate::ledger_record::record;
use crate::{App, Error, Result};
pub(crate) use evidence::{Pending, PendingEvidence};
pub(crate) use items::SealedItem;

const TICK: Duration = Duration::from_millis(250);
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Between tries while the archive is away.
const RETRY: Duration = Duration::from_secs(1);
/// The offset of the whole log is written this often.
const SAVE_TICKS: u32 = 20;
/// Records that wait in the store are looked for this often.
const ITEMS_TICKS: u32 = 8;

/// The sealing state of one tenant's log.
struct TenantLog {
    log: LogId,
    origin: String,
    key: SigningKey,
    subscribed: bool,
    size: u64,
    previous: Option<LeafReference>,
    /// A leaf is never sealed before the one in front of it, whatever the clock says.
    sealed_at: Timestamp,
    builder: BatchBuilder,
    opened_at: Duration,
    /// Position of the first entry in the builder; stays until the archive has it.
    waiting_from: Option<u64>,
    /// One past the last entry that is sealed or in the builder.
    reached: u64,
    /// One past the last bundle whose times are noted.
    indexed: u64,
    /// For how long the archive keeps its leaves.
    kept: Duration,
    /// It is behind the others, on its way back to them.
    late: bool,
}

struct LedgerJob {
    app: App,
    lanes: Lanes<TenantLog>,
    heads: Heads,
    /// Tenants whose row is gone or whose keys are destroyed: nothing of them can be sealed.
    gone: HashSet<TenantId>,
    /// The tenant behind which records are looked for next.
    items_after: Option<TenantId>,
}

impl App {
    pub(crate) fn start_ledger(&self) {
        self.start_publishing();
        let Some(evidence) = self.0.ledger.evidence_queue.lock().take() else { return };
        let watch = self.watch_job(Job::Ledger);
        let lanes = Lanes::new(self, jobs::LEDGER, |app| {
            (&app.0.jobs.ledger_held, &app.0.ledger.saved_position)
        });
        let (heads, gone) = (Heads::default(), HashSet::new());
        let mut job = LedgerJob { app: self.clone(), lanes, heads, gone, items_after: None };
        self.0.tasks.spawn(async move {
            job.run(evidence, &watch).await;
            if let Err(error) = job.heads.save(&job.app, true).await {
                tracing::warn!(%error, "the last ledger checkpoints are not written down");
            }
        });
    }
}

impl TenantLog {
    /// Gives what signs the next leaf to whoever seals it, with the leaf in front of it and the
    /// time.
    fn with_signer<R>(
        &mut self,
        app: &App,
        tenant: TenantId,
        seal: impl FnOnce(Option<&LeafReference>, Timestamp, &BatchSigner<'_>) -> R,
    ) -> Result<R> {
        self.sealed_at = self.sealed_at.max(app.clock().now());
        let dek = app.payload_dek(tenant, self.sealed_at)?;
        let signer = BatchSigner {
            tenant,
            dek: &dek,
            origin: &self.origin,
            key: &self.key,
            rng: app.0.rng.as_ref(),
        };
        Ok(seal(self.previous.as_ref(), self.sealed_at, &signer))
    }
}

#[async_trait]
impl LaneJob for LedgerJob {
    type Tenant = TenantLog;
    type Stop = Error;

    fn lanes(&mut self) -> &mut Lanes<TenantLog> {
        &mut self.lanes
    }

    fn late(log: &mut TenantLog) -> &mut bool {
        &mut log.late
    }

    async fn take(&mut self, batch: &Committed, late: bool) -> Result<()> {
        for (position, entry) in batch.iter() {
            if let Err(error) = self.take_entry(position, entry, late).await {
                self.failed(entry.tenant, position, error).await?;
            }
        }
        self.publish_pending();
        Ok(())
    }

    async fn take_in(&mut self, tenant: TenantId, position: u64, late: bool) -> Result<()> {
        match self.open(tenant, late).await {
            Ok(log) => drop(self.lanes.tenants.insert(tenant, log)),
            Err(error) => self.failed(tenant, position, error).await?,
        }
        Ok(())
    }

    /// Not before its archive took it.
    async fn may_join(&mut self, tenant: TenantId) -> Result<bool> {
        self.seal_or_hold(tenant).await?;
        Ok(true)
    }

    fn lost(&mut self, error: Error) -> Result<()> {
        Err(error)
    }
}

impl LedgerJob {
    /// Reads on only while everything read so far is sealed, in a builder, or of a held tenant.
    /// When the archive or the records are away, what was in memory is dropped and read again from
    /// the stored offset: the archive knows what it has. What fails for one tenant alone holds
    /// that tenant; the offset never passes what it has not had.
    async fn run(&mut self, mut evidence: mpsc::Receiver<PendingEvidence>, watch: &JobWatch) {
        let stop = self.app.0.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            match self.begin().await {
                Ok(consumer) => {
                    match self.follow(consumer, &mut evidence, &mut tick, watch).await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(%error, "sealing goes on from the archive's last leaf");
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "the ledger waits for its archive"),
            }
            self.lanes.clear();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Seals until the platform stops, or until the first error that concerns everybody.
    async fn follow(
        &mut self,
        mut front: Consumer,
        evidence: &mut mpsc::Receiver<PendingEvidence>,
        tick: &mut tokio::time::Interval,
        watch: &JobWatch,
    ) -> Result<()> {
        let stop = self.app.0.stop.clone();
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                next = self.lanes.next(&mut front) => match next? {
                    Some(next) => self.serve(next).await?,
                    None => break,
                },
                Some(pending) = evidence.recv() => self.seal_evidence(pending).await?,
                _ = tick.tick() => {
                    ticks += 1;
                    self.seal_due(false).await?;
                    self.retry().await?;
                    if ticks.is_multiple_of(ITEMS_TICKS) {
                        self.seal_items().await?;
                    }
                    if ticks.is_multiple_of(SAVE_TICKS) {
                        self.index_bundles().await;
                        self.lengthen_periods().await;
                        self.save().await?;
                        watch.turned();
                    }
                }
            }
        }
        self.seal_due(true).await?;
        self.save().await
    }

    /// Where to read from: the stored offset.
    async fn begin(&mut self) -> Result<Consumer> {
        self.app.archive()?;
        self.lanes.begin(0).await?;
        // What the last turn had in memory is read again from here.
        self.app.0.ledger.unsealed.lock().taken_to = self.lanes.here;
        Ok(self.app.0.log.consumer(self.lanes.here)?)
    }

    async fn open(&mut self, tenant: TenantId, late: bool) -> Result<TenantLog> {
        let opened = self.app.open_log(tenant).await?;
        self.heads.open(&self.app, tenant, &opened).await?;
        let indexed = self.app.settle_items(tenant, &opened.summary).await?;
        let OpenedLog { row, key, origin, summary, vkey } = opened;
        let last = summary
            .last_entry
            .as_deref()
            .map(Leaf::decode)
            .transpose()
            .map_err(|error| Error::Internal(format!("last leaf: {error}")))?;
        let previous = summary
            .resume(&vkey, &key.public_bytes())
            .map_err(|error| Error::Conflict(format!("ledger archive: {error}")))?;
        let reached = self.app.0.lineage.position(summary.cursor)?;
        Ok(TenantLog {
            log: row.log_id,
            origin,
            key,
            subscribed: row.archive_subscribed,
            size: summary.size,
            builder: BatchBuilder::new(BatchLimits::default(), previous.as_ref()),
            previous,
            sealed_at: last.map_or(Timestamp::MIN, |leaf| leaf.sealed_at),
            opened_at: Duration::ZERO,
            waiting_from: None,
            reached,
            indexed,
            kept: summary.period_min,
            late,
        })
    }

    /// Something failed for a tenant: it is held with everything from `position` on, unless the
    /// failure is everybody's, which is handed back.
    async fn failed(&mut self, tenant: TenantId, position: u64, error: Error) -> Result<()> {
        let known = self.lanes.tenants.remove(&tenant);
        if !self.lanes.is_gone(tenant, &error) && self.app.is_ledger_away().await {
            return Err(error);
        }
        let from = known.and_then(|log| log.waiting_from).map_or(position, |at| at.min(position));
        if !self.lanes.hold(tenant, from, &error) {
            self.gone.insert(tenant);
            self.heads.forget(tenant);
        }
        // Not before it is held: in between it would look sealed.
        self.app.0.ledger.unsealed.lock().open.remove(&tenant);
        Ok(())
    }

    async fn take_entry(&mut self, position: u64, entry: &Entry, late: bool) -> Result<()> {
        let tenant = entry.tenant;
        if !self.lanes.tenants.contains_key(&tenant) {
            if late || self.lanes.held().contains(tenant) || self.gone.contains(&tenant) {
                return Ok(());
            }
            let log = self.open(tenant, false).await?;
            self.lanes.tenants.insert(tenant, log);
        }
        let Some(log) = self.lanes.tenants.get(&tenant) else { return Ok(()) };
        let is_sealed = log.subscribed;
        #[cfg(feature = "test-controls")]
        let is_sealed = is_sealed || self.app.0.promises.seals_everybody();
        if log.late != late || position < log.reached || !is_sealed {
            return Ok(());
        }
        if let Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) =
            &entry.record
        {
            return Err(key_withdrawn());
        }
        if let Record::Edge(edge) = &entry.record {
            return self.seal_edge(tenant, position, edge).await;
        }
        let Some((record, events_from, events_to)) = record(position, entry) else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
        if !log.builder.fits(bytes.len()) {
            self.seal(tenant, Act::Batch).await?;
        }
        let now = self.app.clock().monotonic();
        let Some(log) = self.lanes.tenants.get_mut(&tenant) else { return Ok(()) };
        if log.builder.is_empty() {
            log.opened_at = now;
        }
        let sequence = log.builder.next_sequence();
        log.builder
            .push(RecordBytes { sequence, events_from, events_to, bytes })
            .map_err(|error| Error::Internal(format!("ledger batch: {error}")))?;
        log.waiting_from.get_or_insert(position);
        log.reached = position + 1;
        Ok(())
    }

    fn publish_pending(&self) {
        let mut unsealed = self.app.0.ledger.unsealed.lock();
        unsealed.taken_to = self.lanes.here;
        for (tenant, log) in &self.lanes.tenants {
            unsealed.open.insert(*tenant, (log.builder.len() as u64, log.waiting_from));
        }
    }

    /// Writes how far the whole log is sealed: up to the oldest entry that still waits, in a
    /// builder or for a held tenant.
    async fn save(&mut self) -> Result<()> {
        self.heads.save(&self.app, false).await?;
        let waiting = self.lanes.tenants.values().filter_map(|log| log.waiting_from).min();
        Ok(self.lanes.advance(waiting).await?)
    }
}
