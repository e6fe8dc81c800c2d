//! The papers of one reading: which credential sent it, when it became durable, which batch and
//! leaf hold it, which checkpoint covers it. Found by the times that bundles of leaves hold.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::{CredentialId, DeviceId, Key, LogId, OpContext, TenantId, Timestamp};
use veritwin_keys::KeyError;
use veritwin_ledger::{Act, Leaf, open_payload, payload_dek_id};
use veritwin_log::{Record, Unreadable};
use veritwin_telemetry::{Order, RangeQuery, TimeRange};
use veritwin_verify::RecordProof;

use crate::ledger::entry_view;
use crate::ledger_record::LedgerRecord;
use crate::model::{LatestView, PapersCredential, PapersView, SeriesId};
use crate::sight::SeenSeries;
use crate::{App, Error, Result};

/// Payloads opened for one reading's papers.
const PAPERS_PAYLOADS_MAX: usize = 64;
/// Entries of the log looked through for a reading that is not sealed yet.
const PAPERS_LOG_ENTRIES_MAX: u64 = 200_000;

/// What a payload holds of a reading.
enum Looked {
    Found(Box<(LedgerRecord, RecordProof)>),
    Nothing,
    /// Its key is not known here.
    Unknown,
    /// Its key was destroyed then.
    Destroyed(Timestamp),
}

fn destroyed(at: Option<Timestamp>) -> Result<()> {
    Err(Error::Destroyed(match at {
        Some(at) => format!(
            "what the ledger sealed of this time was destroyed at {at}, at the end of the audit \
             period or because it was asked for; its leaves stay and are proven as before"
        ),
        None => {
            "what the ledger sealed of this time is past its audit period: payloads and leaves \
                 were removed, and the rest of the log is proven as before"
                .to_owned()
        }
    }))
}

/// Whether an entry of the log holds a reading, as far as it can be read.
fn may_hold(record: &Record, reading: &LatestView) -> bool {
    match record {
        Record::Readings(batch) => {
            batch.device == reading.device
                && batch.readings.iter().any(|one| {
                    (&one.key, one.at, &one.value) == (&reading.key, reading.at, &reading.value)
                })
        }
        // Sealed once its key is back.
        Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => true,
        _ => false,
    }
}

impl App {
    /// The papers of a reading: of the latest one, or of the one measured at `at`.
    #[boxed]
    pub async fn papers(
        &self,
        context: &OpContext,
        device: DeviceId,
        key: &Key,
        at: Option<Timestamp>,
    ) -> Result<PapersView> {
        let series = SeriesId { device, key: key.clone() };
        // Both rights before anything about the series shows.
        self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let (devices, seen) = self.authorize_reading(context, &series).await?;
        let reading = self.find_reading(&seen, &series, at).await?;
        let status = self.0.keys.status(Some(context.tenant))?;
        let mut papers = PapersView {
            device_name: Self::device_name(&devices, device),
            reading,
            credential: None,
            received_at: None,
            position: None,
            entry: None,
            record: None,
            checkpoint: None,
            kek_version: status.kek_version,
        };
        // Without the archive the rest of the papers is still good.
        match self.find_in_ledger(context, &mut papers).await {
            Ok(()) | Err(Error::Unavailable(_) | Error::NotFound(_)) => Ok(papers),
            Err(error) => Err(error),
        }
    }

    async fn find_reading(
        &self,
        seen: &SeenSeries,
        series: &SeriesId,
        at: Option<Timestamp>,
    ) -> Result<LatestView> {
        let found = match at {
            None => {
                let newest = self.read_newest(seen).await?;
                newest.map(|latest| (latest.at, latest.value, latest.quality))
            }
            Some(at) => {
                // Pages know milliseconds: the latest reading of that millisecond is meant.
                let to = Timestamp::from_micros(at.as_micros().saturating_add(1000));
                let query = RangeQuery {
                    range: TimeRange { from: at, to },
                    order: Order::Descending,
                    limit: 1,
                    after: None,
                };
                let page = self.read_range(seen, query).await?;
                page.points.into_iter().next().map(|point| (point.at, point.value, point.quality))
            }
        };
        let (at, value, quality) = found.ok_or(Error::NotFound("reading"))?;
        let (device, key) = (series.device, series.key.clone());
        Ok(LatestView { device, key, at, value, quality })
    }

    /// Looks through the newest leaves whose event times cover the reading. It was destroyed when
    /// nothing is left that can hold it: neither an entry that waits for its batch, nor a payload
    /// whose key is not known here.
    async fn find_in_ledger(&self, context: &OpContext, papers: &mut PapersView) -> Result<()> {
        let (log, _) = self.log_of(context).await?;
        // Asked first: what is sealed meanwhile is looked for in both places, not in neither.
        let sealed_to = self.sealed_position_of(context.tenant);
        let summary = self.summary_of(log).await?;
        let at = papers.reading.at;
        let (mut opened, mut destroyed_at, mut is_whole) = (0usize, None, true);
        for index in self.covering_leaves(context, &summary, at).await? {
            let found = self.leaf(log, index, summary.size).await?;
            let covers = matches!(found.leaf.act, Act::Batch)
                && found.leaf.events_from <= at
                && at <= found.leaf.events_to;
            if !covers {
                continue;
            }
            if opened >= PAPERS_PAYLOADS_MAX {
                break;
            }
            opened += 1;
            let record =
                self.find_record(context.tenant, log, &summary.origin, &found.leaf, papers);
            match record.await? {
                Looked::Nothing => {}
                Looked::Unknown => is_whole = false,
                Looked::Destroyed(at) => {
                    destroyed_at.get_or_insert(at);
                }
                Looked::Found(found_here) => {
                    let (record, proof) = *found_here;
                    papers.record = Some(proof);
                    papers.credential = self.papers_credential(context, &record).await?;
                    papers.received_at = Some(Timestamp::from_micros(record.received_at_us));
                    papers.position = Some(record.position);
                    papers.entry = Some(entry_view(index, &found.leaf));
                    papers.checkpoint = Some((summary.size, *summary.root.as_bytes()));
                    return Ok(());
                }
            }
        }
        let is_gone = destroyed_at.is_some() || summary.minimum_index > 0;
        if !is_gone || !is_whole {
            return Ok(());
        }
        if self.may_wait(context.tenant, sealed_to, &papers.reading).await {
            return Ok(());
        }
        destroyed(destroyed_at)
    }

    /// Whether a reading may be durable and not sealed yet: whether it is in the log at or after
    /// `from`. Payloads that were destroyed were sealed before. What cannot be looked through may
    /// hold it.
    async fn may_wait(&self, tenant: TenantId, from: u64, reading: &LatestView) -> bool {
        let end = self.0.log.tail_position();
        if end.saturating_sub(from) > PAPERS_LOG_ENTRIES_MAX {
            return true;
        }
        let Ok(mut consumer) = self.0.log.consumer(from) else { return true };
        while consumer.position() < end {
            let Ok(Some(batch)) = consumer.next().await else { return true };
            let mut own = batch.iter().filter(|(_, entry)| entry.tenant == tenant);
            if own.any(|(_, entry)| may_hold(&entry.record, reading)) {
                return true;
            }
        }
        false
    }

    async fn papers_credential(
        &self,
        context: &OpContext,
        record: &LedgerRecord,
    ) -> Result<Option<PapersCredential>> {
        let Ok(id) = record.credential.parse::<CredentialId>() else { return Ok(None) };
        let Ok(device) = record.device.parse::<DeviceId>() else { return Ok(None) };
        let tx = self.0.store.read(context).await?;
        let known = tx.credentials(device).await?;
        let kind = known.iter().find(|one| one.id == id).map_or("api_key", |one| one.kind.as_str());
        Ok(Some(PapersCredential { id, kind }))
    }

    async fn find_record(
        &self,
        tenant: TenantId,
        log: LogId,
        origin: &str,
        leaf: &Leaf,
        papers: &PapersView,
    ) -> Result<Looked> {
        let Some(payload) = self.payload(log, leaf).await? else { return Ok(Looked::Nothing) };
        let damaged = |error: &dyn std::fmt::Display| Error::Internal(format!("payload: {error}"));
        let id = payload_dek_id(&payload).map_err(|error| damaged(&error))?;
        let dek = match self.0.keys.dek_by_id(id) {
            Err(KeyError::Destroyed { at, .. }) => return Ok(Looked::Destroyed(at)),
            // Sealed on a day after the copy of the keyring that a restore brought back.
            Err(KeyError::UnknownDek(_)) => return Ok(Looked::Unknown),
            other => other?,
        };
        let opened = open_payload(&payload, leaf, origin, (tenant, &dek))
            .map_err(|error| damaged(&error))?;
        let wanted = papers.reading.device.to_string();
        for (bytes, sequence) in opened.records().iter().zip(opened.first_sequence()..) {
            let Ok(record) = serde_json::from_slice::<LedgerRecord>(bytes) else { continue };
            if record.device == wanted && record.holds(&papers.reading) {
                let proof = opened.prove(sequence);
                let found = proof.map(|proof| Looked::Found(Box::new((record, proof))));
                return Ok(found.unwrap_or(Looked::Nothing));
            }
        }
        Ok(Looked::Nothing)
    }
}
