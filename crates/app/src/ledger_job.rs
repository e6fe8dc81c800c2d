//! Seals what is durable: per tenant, one batch a second or 4 MiB, in log order. The position up
//! to which a log is sealed is stored by the archive with the leaf itself, so that a replay after
//! a crash neither doubles nor skips. While the archive is away nothing is read ahead.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId, Timestamp, Value};
use veritwin_keys::{Aad, DataClass, SigningKey};
use veritwin_ledger::{
    Act, Append, BatchBuilder, BatchLimits, BatchSigner, CreateLog, Leaf, LeafReference,
    LedgerError, LogSummary, RecordBytes, origin_of,
};
use veritwin_log::{Committed, Consumer, Entry, LogError, Record};
use veritwin_metastore::Tenant;
use veritwin_outbound::archive::ArchiveError;

use crate::model::LatestView;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const CONSUMER: &str = "ledger";
const SUBMITTER_SETTING: &str = "ledger_submitter";
const VKEY_SETTING: &str = "ledger_vkey";
const TICK: Duration = Duration::from_millis(250);
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Between tries while the archive is away.
const RETRY: Duration = Duration::from_secs(1);
/// The offset of the whole log is written this often.
const SAVE_TICKS: u32 = 20;

/// Evidence that waits for its leaf.
pub(crate) struct PendingEvidence {
    pub(crate) digest: [u8; 32],
    pub(crate) at: Timestamp,
    pub(crate) answer: oneshot::Sender<Option<u64>>,
}

/// One record of a batch: what one log entry held. The canonical form is this JSON with its
/// fields in this order; `docs/reference/ledger.md` describes it for auditors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LedgerRecord {
    v: u8,
    kind: String,
    /// Position in the durable log.
    pub(crate) position: u64,
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) credential: String,
    pub(crate) received_at_us: i64,
    /// Key, event time in microseconds, value, quality.
    #[serde(default)]
    readings: Vec<(String, i64, serde_json::Value, String)>,
    /// Attribute names and values; null deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(String, serde_json::Value)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl LedgerRecord {
    /// Whether this record holds the reading.
    pub(crate) fn holds(&self, reading: &LatestView) -> bool {
        self.readings.iter().any(|(key, at, value, _)| {
            key == &*reading.key && *at == reading.at.as_micros() && *value == json(&reading.value)
        })
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Double(number) => serde_json::Value::from(*number),
        Value::Integer(number) => serde_json::Value::from(*number),
        Value::Boolean(flag) => serde_json::Value::from(*flag),
        Value::Text(text) | Value::Json(text) => serde_json::Value::from(&**text),
    }
}

/// The record of an entry with the span of its event times; none for what is not sealed.
fn record(position: u64, entry: &Entry) -> Option<(LedgerRecord, Timestamp, Timestamp)> {
    let mut record = LedgerRecord {
        v: 1,
        kind: String::new(),
        position,
        device: String::new(),
        credential: String::new(),
        received_at_us: 0,
        readings: Vec::new(),
        attributes: Vec::new(),
        detail: String::new(),
    };
    let (from, to) = match &entry.record {
        Record::Readings(batch) => {
            record.kind = "readings".to_owned();
            record.device = batch.device.to_string();
            record.credential = batch.credential.to_string();
            record.received_at_us = batch.received_at.as_micros();
            record.readings = batch
                .readings
                .iter()
                .map(|reading| {
                    let quality = reading.quality.as_str().to_owned();
                    let at = reading.at.as_micros();
                    (reading.key.to_string(), at, json(&reading.value), quality)
                })
                .collect();
            let times = batch.readings.iter().map(|reading| reading.at);
            (times.clone().min()?, times.max()?)
        }
        Record::Attributes(update) => {
            record.kind = "attributes".to_owned();
            record.device = update.device.to_string();
            record.received_at_us = update.received_at.as_micros();
            record.attributes = update
                .entries
                .iter()
                .map(|(key, value)| {
                    (key.to_string(), value.as_ref().map_or(serde_json::Value::Null, json))
                })
                .collect();
            (update.received_at, update.received_at)
        }
        Record::Session(event) => {
            record.kind = "session".to_owned();
            record.device = event.device.to_string();
            record.credential = event.credential.to_string();
            record.received_at_us = event.at.as_micros();
            record.detail = format!("{:?}", event.kind).to_lowercase();
            (event.at, event.at)
        }
        Record::Refusal(refusal) => {
            record.kind = "refusal".to_owned();
            record.device = refusal.device.to_string();
            record.credential = refusal.credential.to_string();
            record.received_at_us = refusal.at.as_micros();
            record.detail = refusal.reason.to_string();
            (refusal.at, refusal.at)
        }
        Record::Unreadable(_) => return None,
    };
    Some((record, from, to))
}

/// The sealing state of one tenant's log.
struct TenantLog {
    log: LogId,
    origin: String,
    key: SigningKey,
    subscribed: bool,
    size: u64,
    previous: Option<LeafReference>,
    /// Everything before this position is sealed.
    cursor: u64,
    /// A leaf is never sealed before the one in front of it, whatever the clock says.
    sealed_at: Timestamp,
    builder: BatchBuilder,
    opened_at: Duration,
    /// One past the last entry in the builder.
    reached: u64,
}

struct Job {
    app: App,
    logs: HashMap<TenantId, TenantLog>,
}

impl App {
    pub(crate) fn start_ledger(&self) {
        let Some(evidence) = self.0.ledger.evidence_queue.lock().take() else { return };
        let app = self.clone();
        self.0.tasks.spawn(async move {
            let mut job = Job { app, logs: HashMap::new() };
            job.run(evidence).await;
        });
    }

    /// The key that signs a tenant's leaves, made at the first use.
    pub(crate) async fn submitter_key(&self, tenant: TenantId) -> Result<SigningKey> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let dek = self.ledger_dek(tenant)?;
        let aad = Aad::new(tenant, DataClass::Ledger, b"submitter");
        let tx = self.0.store.begin(&context).await?;
        if let Some(setting) = tx.setting(SUBMITTER_SETTING).await? {
            return Ok(SigningKey::from_sealed(&dek, aad, &setting.body)?);
        }
        let key = SigningKey::generate(self.0.rng.as_ref());
        tx.setting_put(SUBMITTER_SETTING, &key.seal(&dek, aad)?, Some(0)).await?;
        tx.commit().await?;
        Ok(key)
    }
}

/// A tenant's log as the archive has it.
pub(crate) struct OpenedLog {
    row: Tenant,
    key: SigningKey,
    origin: String,
    pub(crate) summary: LogSummary,
    vkey: String,
}

impl App {
    /// A tenant's log in the archive; made at the first use.
    pub(crate) async fn open_log(&self, tenant: TenantId) -> Result<OpenedLog> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.read(&context).await?;
        let row = tx.tenant().await?;
        drop(tx);
        let key = self.submitter_key(tenant).await?;
        let origin = origin_of(&self.0.config.ledger_host, row.log_id, self.0.config.simulated);
        let create =
            CreateLog { log: row.log_id, origin: origin.clone(), submitter: key.public_bytes() };
        let summary = self.archive()?.create_log(&create).await?;
        let vkey = self.log_key(tenant, &summary.vkey).await?;
        Ok(OpenedLog { row, key, origin, summary, vkey })
    }

    /// The archive's key for a log: learnt when the log was made, believed from then on.
    async fn log_key(&self, tenant: TenantId, shown: &str) -> Result<String> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.begin(&context).await?;
        if let Some(known) = tx.setting(VKEY_SETTING).await? {
            return String::from_utf8(known.body)
                .map_err(|_| Error::Internal("the stored ledger key is damaged".to_owned()));
        }
        tx.setting_put(VKEY_SETTING, shown.as_bytes(), Some(0)).await?;
        tx.commit().await?;
        Ok(shown.to_owned())
    }
}

impl Job {
    /// Reads on only while everything read so far is sealed or in a builder. After any error what
    /// was in memory is dropped and read again from the stored offset: the archive knows what it
    /// has. The offset is written only when nothing failed since.
    async fn run(&mut self, mut evidence: mpsc::Receiver<PendingEvidence>) {
        let stop = self.app.0.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            match self.begin().await {
                Ok(consumer) => match self.follow(consumer, &mut evidence, &mut tick).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%error, "sealing goes on from the archive's last leaf");
                    }
                },
                Err(error) => tracing::debug!(%error, "the ledger waits for its archive"),
            }
            self.logs.clear();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Seals until the platform stops, or until the first error.
    async fn follow(
        &mut self,
        mut consumer: Consumer,
        evidence: &mut mpsc::Receiver<PendingEvidence>,
        tick: &mut tokio::time::Interval,
    ) -> Result<()> {
        let stop = self.app.0.stop.clone();
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                next = consumer.next() => match next {
                    Ok(Some(batch)) => self.take(&batch).await?,
                    Ok(None) => break,
                    Err(LogError::Truncated { first, .. }) => self.go_on(&mut consumer, first)?,
                    Err(error) => return Err(error.into()),
                },
                Some(pending) = evidence.recv() => self.seal_evidence(pending).await?,
                _ = tick.tick() => {
                    ticks += 1;
                    self.seal_due(false).await?;
                    if ticks.is_multiple_of(SAVE_TICKS) {
                        self.save(consumer.position()).await?;
                    }
                }
            }
        }
        self.seal_due(true).await?;
        self.save(consumer.position()).await
    }

    fn go_on(&self, consumer: &mut Consumer, first: u64) -> Result<()> {
        *consumer = self.app.0.log.consumer(first)?;
        Ok(())
    }

    /// Where to read from: the stored offset, or the oldest cursor of a log behind it.
    async fn begin(&mut self) -> Result<Consumer> {
        self.app.archive()?;
        let platform = self.app.job(jobs::LEDGER);
        let tx = self.app.0.store.read_platform(&platform).await?;
        let offset = tx.offset(CONSUMER).await?.unwrap_or(0);
        drop(tx);
        let log = &self.app.0.log;
        let start = offset.clamp(log.first_position(), log.tail_position());
        *self.app.0.ledger.saved_position.lock() = start;
        Ok(log.consumer(start)?)
    }

    async fn open(&self, tenant: TenantId) -> Result<TenantLog> {
        let OpenedLog { row, key, origin, summary, vkey } = self.app.open_log(tenant).await?;
        let last = summary
            .last_entry
            .as_deref()
            .map(Leaf::decode)
            .transpose()
            .map_err(|error| Error::Internal(format!("last leaf: {error}")))?;
        let previous = summary
            .resume(&vkey, &key.public_bytes())
            .map_err(|error| Error::Internal(format!("ledger archive: {error}")))?;
        let cursor = self.app.0.lineage.position(summary.cursor)?;
        Ok(TenantLog {
            log: row.log_id,
            origin,
            key,
            subscribed: row.archive_subscribed,
            size: summary.size,
            builder: BatchBuilder::new(BatchLimits::default(), previous.as_ref()),
            previous,
            cursor,
            sealed_at: last.map_or(Timestamp::MIN, |leaf| leaf.sealed_at),
            opened_at: Duration::ZERO,
            reached: cursor,
        })
    }

    async fn log(&mut self, tenant: TenantId) -> Result<()> {
        if !self.logs.contains_key(&tenant) {
            let log = self.open(tenant).await?;
            self.logs.insert(tenant, log);
        }
        Ok(())
    }

    async fn take(&mut self, batch: &Committed) -> Result<()> {
        for (position, entry) in batch.iter() {
            match self.log(entry.tenant).await {
                // Its row is gone, or came after the cut of a backup: nobody has a log for it.
                Err(Error::NotFound("tenants")) => continue,
                opened => opened?,
            }
            let Some(log) = self.logs.get(&entry.tenant) else { continue };
            if position < log.cursor || !log.subscribed {
                continue;
            }
            let Some((record, events_from, events_to)) = record(position, entry) else { continue };
            let bytes = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
            if !log.builder.fits(bytes.len()) {
                self.seal(entry.tenant, Act::Batch).await?;
            }
            let now = self.app.clock().monotonic();
            let Some(log) = self.logs.get_mut(&entry.tenant) else { continue };
            if log.builder.is_empty() {
                log.opened_at = now;
            }
            let sequence = log.builder.next_sequence();
            log.builder
                .push(RecordBytes { sequence, events_from, events_to, bytes })
                .map_err(|error| Error::Internal(format!("ledger batch: {error}")))?;
            log.reached = position + 1;
        }
        self.publish_pending();
        Ok(())
    }

    fn publish_pending(&self) {
        let mut pending = self.app.0.ledger.pending.lock();
        for (tenant, log) in &self.logs {
            pending.insert(*tenant, log.builder.len() as u64);
        }
    }

    async fn seal_due(&mut self, everything: bool) -> Result<()> {
        let now = self.app.clock().monotonic();
        let due: Vec<TenantId> = self
            .logs
            .iter()
            .filter(|(_, log)| {
                let old = now.saturating_sub(log.opened_at) >= BATCH_AGE;
                !log.builder.is_empty() && (everything || old)
            })
            .map(|(tenant, _)| *tenant)
            .collect();
        for tenant in due {
            self.seal(tenant, Act::Batch).await?;
        }
        self.publish_pending();
        Ok(())
    }

    /// Seals the open batch of a log and waits until the archive has it.
    async fn seal(&mut self, tenant: TenantId, act: Act) -> Result<u64> {
        let app = self.app.clone();
        let log = self.logs.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        let dek = app.ledger_dek(tenant)?;
        let signer = BatchSigner {
            tenant,
            dek: &dek,
            origin: &log.origin,
            key: &log.key,
            rng: app.0.rng.as_ref(),
        };
        let previous = log.previous;
        log.sealed_at = log.sealed_at.max(app.clock().now());
        let sealed_at = log.sealed_at;
        let builder = std::mem::replace(
            &mut log.builder,
            BatchBuilder::new(BatchLimits::default(), previous.as_ref()),
        );
        let sealed = builder
            .seal(act, previous.as_ref(), sealed_at, &signer)
            .map_err(|error| Error::Internal(format!("ledger batch: {error}")))?;
        let append = Append {
            log: log.log,
            expected_size: log.size,
            cursor: app.0.lineage.cursor(log.reached),
            entry: sealed.entry.clone(),
            payload: sealed.payload.clone(),
        };
        let appended = send(&app, &append).await?;
        log.size = appended.size;
        log.cursor = log.reached;
        let reference = sealed.reference();
        log.builder = BatchBuilder::new(BatchLimits::default(), Some(&reference));
        log.previous = Some(reference);
        metrics::counter!("veritwin_ledger_leaves_total").increment(1);
        Ok(appended.index)
    }

    async fn seal_evidence(&mut self, pending: PendingEvidence) -> Result<()> {
        self.log(PLATFORM_TENANT).await?;
        let has_batch = self.logs.get(&PLATFORM_TENANT).is_some_and(|log| !log.builder.is_empty());
        if has_batch {
            self.seal(PLATFORM_TENANT, Act::Batch).await?;
        }
        let Some(log) = self.logs.get_mut(&PLATFORM_TENANT) else { return Ok(()) };
        let (sequence, at) = (log.builder.next_sequence(), pending.at);
        let record = RecordBytes {
            sequence,
            events_from: at,
            events_to: at,
            bytes: pending.digest.to_vec(),
        };
        log.builder
            .push(record)
            .map_err(|error| Error::Internal(format!("ledger evidence: {error}")))?;
        let index = self.seal(PLATFORM_TENANT, Act::Evidence).await?;
        // Whoever asked may be gone; the leaf stands.
        let _ = pending.answer.send(Some(index));
        Ok(())
    }

    /// Writes how far the whole log is sealed: up to the oldest entry that still waits.
    async fn save(&self, position: u64) -> Result<()> {
        let waiting =
            self.logs.values().filter(|log| !log.builder.is_empty()).map(|log| log.cursor).min();
        let position = waiting.map_or(position, |oldest| oldest.min(position));
        let platform = self.app.job(jobs::LEDGER);
        let tx = self.app.0.store.begin_platform(&platform).await?;
        if tx.offset(CONSUMER).await?.is_none_or(|known| known < position) {
            tx.offset_advance(CONSUMER, position).await?;
            tx.commit().await?;
        }
        let mut saved = self.app.0.ledger.saved_position.lock();
        *saved = (*saved).max(position);
        Ok(())
    }
}

/// Sends a leaf; a broken connection is tried once more with the same bytes, since the archive
/// recognises the batch.
async fn send(app: &App, append: &Append) -> Result<veritwin_ledger::Appended> {
    let client = app.archive()?;
    match client.append(append).await {
        Err(ArchiveError::Unreachable { .. }) => Ok(client.append(append).await?),
        Err(ArchiveError::Ledger(LedgerError::Conflict { reason, .. })) => {
            Err(Error::Conflict(format!("ledger archive: {reason}")))
        }
        other => Ok(other?),
    }
}
