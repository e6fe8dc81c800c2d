//! What auditors search and take away: records that are sealed, found by looking through the
//! leaves, and bundles with everything that proves them. A record is shown where each of its
//! streams may be seen; what was destroyed is counted, and nothing more.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, Key, OpContext, Timestamp};
use veritwin_ledger::{Act, Leaf, LogSummary};
use veritwin_metastore::PublishedCheckpoint;
use veritwin_verify::{
    CheckpointError, EVIDENCE_FILE, EVIDENCE_PAGE, EVIDENCE_READ_ME, EVIDENCE_READ_ME_FILE,
    EVIDENCE_TABLE_FILE, Evidence, EvidenceEntry, EvidenceRecord, RecordProof, SignedCheckpoint,
    StampedCheckpoint, VerifyOptions, evidence_page, evidence_table, zip_stored,
};

use crate::directory::TenantDevices;
use crate::ledger_mail_files::Standing;
use crate::ledger_record::LedgerRecord;
use crate::model::{
    EvidenceBundle, EvidenceHit, EvidenceInput, EvidencePage, EvidenceQuery, PageRequest,
};
use crate::publish::stamped_under;
use crate::sight::Sight;
use crate::transfers::FlowWay;
use crate::tree::over;
use crate::{App, Error, Result};

/// Leaves looked through in one answer; the next page goes on.
const LEAVES_MAX: u64 = 20_000;
/// Payloads opened in one answer.
const PAYLOADS_MAX: usize = 64;
/// Most records of a bundle.
const EVIDENCE_RECORDS_MAX: usize = 500;
/// Most entries of a bundle.
const EVIDENCE_ENTRIES_MAX: usize = 200;
/// Most bytes of a bundle's records together.
const EVIDENCE_BYTES_MAX: usize = 8 << 20;
/// Answers of a search that a bundle is put together from.
const ROUNDS_MAX: usize = 20;
/// Bundles that are put together at the same time; others wait.
static BUNDLES_AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Where a search goes on: in this leaf, from this record on.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: u64,
    sequence: u64,
}

impl Place {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid_at("cursor", "not a cursor of this list");
        let (index, sequence) = text.split_once('.').ok_or_else(wrong)?;
        let index = index.parse().map_err(|_| wrong())?;
        Ok(Self { index, sequence: sequence.parse().map_err(|_| wrong())? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.sequence)
    }
}

/// What is searched for, and by whom.
struct Search<'a> {
    query: &'a EvidenceQuery,
    device: Option<String>,
    from: Timestamp,
    to: Timestamp,
    devices: &'a TenantDevices,
    sight: &'a Sight,
}

/// A record that was found.
struct Hit {
    index: u64,
    sealed_at: Timestamp,
    record: LedgerRecord,
    proof: RecordProof,
}

/// What a round found.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    next: Option<Place>,
    /// Batches whose key was destroyed.
    destroyed: u64,
}

impl Search<'_> {
    fn covers(&self, leaf: &Leaf) -> bool {
        matches!(leaf.act, Act::Batch) && leaf.events_from <= self.to && leaf.events_to >= self.from
    }

    fn wants(&self, record: &LedgerRecord) -> bool {
        if self.device.as_ref().is_some_and(|device| *device != record.device) {
            return false;
        }
        let within = (self.from.as_micros(), self.to.as_micros());
        record.is_within(self.query.key.as_ref(), within) && self.may_show(record)
    }

    fn may_show(&self, record: &LedgerRecord) -> bool {
        let device = record.device.parse::<DeviceId>().ok();
        let Some(device) = device.and_then(|id| self.devices.get(id)) else {
            // What a device that is gone was said to send nobody says any more.
            return self.sight.sees_everything();
        };
        let mut keys = record.keys().peekable();
        if keys.peek().is_none() {
            return self.sight.shows(device, None);
        }
        keys.all(|key| self.sight.shows(device, Some(key)))
    }
}

impl App {
    /// What is sealed of a time, of a device or a series, newest entries first.
    #[boxed]
    pub async fn search_evidence(
        &self,
        context: &OpContext,
        query: &EvidenceQuery,
        at: &PageRequest,
    ) -> Result<EvidencePage> {
        let resource = self.authorize_all(context, Action::LedgerEvidence, Kind::Ledger)?;
        let start = at.cursor.as_deref().map(Place::parse).transpose()?;
        let devices = self.tenant_devices(context).await?;
        let found = self.look_for(context, query, (&devices, start, at.rows())).await?;
        self.watch_taken(context, found.hits.len() as u64, false);
        self.note(context, Action::LedgerEvidence, &resource, "done");
        let items = found.hits.into_iter().map(|hit| shown(hit, &devices)).collect();
        Ok(EvidencePage {
            items,
            destroyed: found.destroyed,
            next_cursor: found.next.map(|next| next.to_string()),
        })
    }

    async fn look_for(
        &self,
        context: &OpContext,
        query: &EvidenceQuery,
        (devices, start, rows): (&TenantDevices, Option<Place>, usize),
    ) -> Result<Found> {
        let (log, _) = self.log_of(context).await?;
        let summary = match self.summary_of(log).await {
            Err(Error::NotFound(_)) => return Ok(Found::default()),
            other => other?,
        };
        let sight = self.sight(context).await?;
        let search = Search {
            query,
            device: query.device.map(|device| device.to_string()),
            from: query.from.unwrap_or(Timestamp::from_micros(i64::MIN)),
            to: query.to.unwrap_or(Timestamp::from_micros(i64::MAX)),
            devices,
            sight: &sight,
        };
        let last = summary.size.saturating_sub(1);
        let start = start.unwrap_or(Place { index: last, sequence: 0 });
        if summary.size == 0 || start.index > last {
            return Ok(Found::default());
        }
        self.look_through(context, &summary, &search, (start, rows)).await
    }

    async fn look_through(
        &self,
        context: &OpContext,
        summary: &LogSummary,
        search: &Search<'_>,
        (start, rows): (Place, usize),
    ) -> Result<Found> {
        let mut found = Found::default();
        let (mut looked, mut opened) = (0u64, 0usize);
        for index in (summary.minimum_index..=start.index).rev() {
            if looked >= LEAVES_MAX || opened >= PAYLOADS_MAX {
                found.next = Some(Place { index, sequence: 0 });
                return Ok(found);
            }
            looked += 1;
            let leaf = self.leaf(summary.log, index, summary.size).await?.leaf;
            if !search.covers(&leaf) {
                continue;
            }
            opened += 1;
            let Some(batch) = self.records_of((context.tenant, summary), &leaf).await? else {
                found.destroyed += 1;
                continue;
            };
            let from = if index == start.index { start.sequence } else { 0 };
            for (bytes, sequence) in batch.records().iter().zip(batch.first_sequence()..) {
                if sequence < from {
                    continue;
                }
                let Ok(record) = serde_json::from_slice::<LedgerRecord>(bytes) else { continue };
                if !search.wants(&record) {
                    continue;
                }
                if found.hits.len() >= rows {
                    found.next = Some(Place { index, sequence });
                    return Ok(found);
                }
                let Some(proof) = batch.prove(sequence) else { continue };
                found.hits.push(Hit { index, sealed_at: leaf.sealed_at, record, proof });
            }
        }
        Ok(found)
    }

    /// A bundle of what a search finds, with the proofs of further entries if some are named.
    #[boxed]
    pub async fn take_evidence(
        &self,
        context: &OpContext,
        input: EvidenceInput,
    ) -> Result<EvidenceBundle> {
        let resource = self.authorize_all(context, Action::LedgerEvidence, Kind::Ledger)?;
        self.check_flow_to(context, FlowWay::Export)?;
        let EvidenceInput { query, entries } = input;
        if query.device.is_none() && entries.is_empty() {
            let detail = "name a device, or entries of the ledger";
            return Err(Error::invalid_at("device_id", detail));
        }
        // It is never closed.
        let _seat = BUNDLES_AT_ONCE.acquire().await;
        let devices = self.tenant_devices(context).await?;
        let mut hits = Vec::new();
        if query.device.is_some() {
            hits = self.gather_evidence(context, &query, &devices).await?;
        }
        let mut chosen: BTreeMap<u64, Vec<RecordProof>> =
            entries.into_iter().map(|index| (index, Vec::new())).collect();
        for hit in hits {
            chosen.entry(hit.index).or_default().push(hit.proof);
        }
        if chosen.len() > EVIDENCE_ENTRIES_MAX {
            let (max, count) = (EVIDENCE_ENTRIES_MAX as u64, chosen.len() as u64);
            return Err(over("evidence_entries_max", max, count));
        }
        let about = about(&query, &devices);
        let (log, _) = self.log_of(context).await?;
        let vkey = self.summary_of(log).await?.vkey;
        let stamped = self.newest_stamped(context).await?;
        let (source, at) = (self.archive()?.source(log), context.at);
        let records: u64 = chosen.values().map(|records| records.len() as u64).sum();
        let bytes = tokio::task::spawn_blocking(move || {
            pack(&prove(&source, (vkey, stamped), (at, about), chosen)?)
        })
        .await
        .map_err(|_| Error::Internal("putting evidence together stopped".to_owned()))??;
        self.watch_taken(context, records, true);
        self.note(context, Action::LedgerEvidence, &resource, "done");
        let day: String = context.at.to_string().chars().take(10).collect();
        Ok(EvidenceBundle { name: format!("evidence-{day}.zip"), bytes })
    }

    /// Every record that a search finds, as far as a bundle holds it.
    async fn gather_evidence(
        &self,
        context: &OpContext,
        query: &EvidenceQuery,
        devices: &TenantDevices,
    ) -> Result<Vec<Hit>> {
        let (mut hits, mut start, mut bytes) = (Vec::new(), None, 0usize);
        for _ in 0..ROUNDS_MAX {
            let asked = (devices, start, EVIDENCE_RECORDS_MAX + 1);
            let found = self.look_for(context, query, asked).await?;
            bytes += found.hits.iter().map(|hit| hit.proof.record.len()).sum::<usize>();
            hits.extend(found.hits);
            if hits.len() > EVIDENCE_RECORDS_MAX {
                let (max, count) = (EVIDENCE_RECORDS_MAX as u64, hits.len() as u64);
                return Err(over("evidence_records_max", max, count));
            }
            if bytes > EVIDENCE_BYTES_MAX {
                return Err(over("evidence_bytes_max", EVIDENCE_BYTES_MAX as u64, bytes as u64));
            }
            match found.next {
                Some(next) => start = Some(next),
                None if hits.is_empty() => return Err(Error::NotFound("sealed record")),
                None => return Ok(hits),
            }
        }
        let detail = "too much of the ledger would have to be looked through: choose less time";
        Err(Error::invalid_at("from", detail))
    }
}

fn shown(hit: Hit, devices: &TenantDevices) -> EvidenceHit {
    let device = hit.record.device.parse::<DeviceId>().ok();
    EvidenceHit {
        entry: hit.index,
        sequence: hit.proof.sequence,
        kind: hit.record.kind().to_owned(),
        device_name: device.map(|id| App::device_name(devices, id).to_string()),
        device: hit.record.device.clone(),
        credential: hit.record.credential.clone(),
        received_at: Timestamp::from_micros(hit.record.received_at_us),
        sealed_at: hit.sealed_at,
        readings: hit.record.readings(),
    }
}

/// What was asked for, as the bundle says it.
fn about(query: &EvidenceQuery, devices: &TenantDevices) -> BTreeMap<String, String> {
    let name = |device: DeviceId| App::device_name(devices, device).to_string();
    [
        ("device", query.device.map(|device| device.to_string())),
        ("device name", query.device.map(name)),
        ("key", query.key.as_ref().map(Key::to_string)),
        ("from", query.from.map(|at| at.to_string())),
        ("to", query.to.map(|at| at.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Proves the chosen entries under one checkpoint. Reads the archive.
fn prove<S: veritwin_ledger::Source>(
    log: &S,
    (vkey, stamped): (String, Option<PublishedCheckpoint>),
    (at, about): (Timestamp, BTreeMap<String, String>),
    chosen: BTreeMap<u64, Vec<RecordProof>>,
) -> Result<Evidence> {
    let log = Standing::of(log)?;
    let options = VerifyOptions { skip_payloads: true, ..VerifyOptions::default() };
    let mut entries = Vec::with_capacity(chosen.len());
    for (index, records) in chosen {
        let answer = veritwin_verify::proof(&log, index, &options);
        let proof = answer.proof.ok_or(Error::NotFound("ledger entry"))?;
        let leaf = proof.entry.ok_or(Error::NotFound("ledger entry"))?;
        entries.push(EvidenceEntry {
            index,
            leaf: STANDARD.encode(leaf),
            path: proof.path.iter().map(|hash| hash.to_base64()).collect(),
            records: records.iter().map(EvidenceRecord::of).collect(),
        });
    }
    let checkpoint = log.note()?.to_owned();
    let internal = |error: CheckpointError| Error::Internal(error.to_string());
    let size = SignedCheckpoint::parse(checkpoint.as_bytes()).map_err(internal)?.checkpoint.size;
    let stamped = stamped_under(&log, stamped, size);
    Ok(Evidence {
        format: Evidence::FORMAT.to_owned(),
        made_at: at.to_string(),
        about,
        vkey,
        checkpoint,
        stamped,
        entries,
    })
}

fn pack(evidence: &Evidence) -> Result<Vec<u8>> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    let json = serde_json::to_vec(evidence).map_err(|error| internal(&error))?;
    let mut files = vec![
        (EVIDENCE_PAGE.to_owned(), evidence_page(&json)),
        (EVIDENCE_READ_ME_FILE.to_owned(), EVIDENCE_READ_ME.as_bytes().to_vec()),
        ("checkpoint".to_owned(), evidence.checkpoint.clone().into_bytes()),
        ("log.vkey".to_owned(), format!("{}\n", evidence.vkey).into_bytes()),
        (EVIDENCE_TABLE_FILE.to_owned(), evidence_table(evidence)),
    ];
    for (name, bytes) in evidence.stamped.iter().filter_map(StampedCheckpoint::files).flatten() {
        files.push((name.to_owned(), bytes));
    }
    for entry in &evidence.entries {
        if let Some(proof) = evidence.tlog_proof(entry) {
            let name = format!("entry-{}.tlog-proof", entry.index);
            files.push((name, proof.to_text().into_bytes()));
        }
        for record in &entry.records {
            if let Some(proof) = record.proof() {
                let name = format!("{}-{}.record.json", entry.index, record.sequence);
                files.push((name, proof.to_json().into_bytes()));
            }
        }
    }
    files.push((EVIDENCE_FILE.to_owned(), json));
    zip_stored(&files).map_err(|error| internal(&error))
}
