//! The lookup index: which leaf holds a reading (device, key, time) or a record (its id, or what it
//! is about), with the proof of that one record. Nothing of the other records of its leaf shows.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{ActivityId, DeviceId, Key, LedgerItemId, OpContext, TenantId, Timestamp};
use veritwin_keys::KeyError;
use veritwin_ledger::{
    Act, Leaf, LogSummary, OpenedPayload, is_plain, open_kept, open_payload, open_plain,
    payload_dek_id,
};
use veritwin_metastore::{LedgerKind, LedgerPlace};
use veritwin_verify::{RecordProof, TILE_WIDTH};

use crate::error::found;
use crate::ledger::entry_view;
use crate::ledger_erased::Erased;
use crate::ledger_job::SealedItem;
use crate::ledger_record::LedgerRecord;
use crate::model::{LedgerPlaceView, SeriesId};
use crate::{App, Error, Result};

/// Bundles looked through for one reading: of those whose times are noted, and of the newest.
const BUNDLES_MAX: u64 = 80;
/// Payloads opened for one reading.
const PAYLOADS_MAX: usize = 64;
/// Places that are told of one reading: it may have been sent more than once.
const PLACES_MAX: usize = 8;
/// Pages know milliseconds.
const MILLISECOND_MICROS: i64 = 1000;

impl App {
    /// The leaves that may hold readings of a moment, newest first: those of bundles whose times
    /// cover it, and of bundles whose times are not noted yet.
    pub(crate) async fn covering_leaves(
        &self,
        context: &OpContext,
        summary: &LogSummary,
        at: Timestamp,
    ) -> Result<Vec<u64>> {
        let tx = self.0.store.read(context).await?;
        let noted = tx.ledger_bundles_end().await?;
        let covering = tx.ledger_bundles_at(at, BUNDLES_MAX).await?;
        drop(tx);
        let (first, size) = (summary.minimum_index / TILE_WIDTH, summary.size);
        let fresh = (noted.max(first)..size.div_ceil(TILE_WIDTH)).rev();
        let most = usize::try_from(BUNDLES_MAX).unwrap_or(usize::MAX);
        let covering = covering.into_iter().filter(|bundle| *bundle >= first);
        let bundles = fresh.take(most).chain(covering);
        let leaves = bundles.flat_map(|bundle| {
            let begin = bundle * TILE_WIDTH;
            (begin..size.min(begin + TILE_WIDTH)).rev()
        });
        Ok(leaves.collect())
    }

    async fn log_to_look_in(&self, context: &OpContext) -> Result<LogSummary> {
        let (log, _) = self.log_of(context).await?;
        self.summary_of(log).await
    }

    /// The records of a leaf; none when they were destroyed, or are known to nobody here.
    pub(crate) async fn records_of(
        &self,
        (tenant, log): (TenantId, &LogSummary),
        leaf: &Leaf,
    ) -> Result<Option<OpenedPayload>> {
        // Of who was not subscribed salt and records stayed here, sealed in the same way.
        let is_kept = leaf.payload_bytes == 0;
        let sealed = if is_kept {
            let tx = self.0.store.read(&self.job_in(jobs::LEDGER, tenant)).await?;
            tx.ledger_kept(leaf.batch).await?.map(Bytes::from)
        } else {
            self.payload(log.log, leaf).await?
        };
        let Some(sealed) = sealed else { return Ok(None) };
        let damaged = |error: &dyn std::fmt::Display| Error::Internal(format!("payload: {error}"));
        if is_kept && is_plain(&sealed) {
            // What earlier versions kept stays as it is until its leaf ends.
            return open_plain(&sealed, leaf).map(Some).map_err(|error| damaged(&error));
        }
        let id = payload_dek_id(&sealed).map_err(|error| damaged(&error))?;
        let dek = match self.0.keys.dek_by_id(id) {
            Err(KeyError::Destroyed { .. } | KeyError::UnknownDek(_)) => return Ok(None),
            other => other?,
        };
        let open = if is_kept { open_kept } else { open_payload };
        let opened = open(&sealed, leaf, &log.origin, (tenant, &dek));
        opened.map(Some).map_err(|error| damaged(&error))
    }

    /// Where a reading was sealed; more than once, if it was sent more than once.
    #[boxed]
    pub async fn find_sealed_reading(
        &self,
        context: &OpContext,
        series: &SeriesId,
        at: Timestamp,
    ) -> Result<Vec<LedgerPlaceView>> {
        self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let (devices, _) = self.authorize_reading(context, series).await?;
        let sight = self.sight(context).await?;
        // A device's message may hold streams besides this one that are not theirs to see.
        let sees_all = |record: &LedgerRecord| {
            let device = devices.get(series.device);
            device.is_some_and(|device| record.keys().all(|key| sight.shows(device, Some(key))))
        };
        let log = self.log_to_look_in(context).await?;
        let end = Timestamp::from_micros(at.as_micros().saturating_add(MILLISECOND_MICROS - 1));
        let (mut places, mut opened, mut destroyed) = (Vec::new(), 0, false);
        for index in self.covering_leaves(context, &log, at).await? {
            let leaf = self.leaf(log.log, index, log.size).await?.leaf;
            let covers =
                matches!(leaf.act, Act::Batch) && leaf.events_from <= end && at <= leaf.events_to;
            if !covers {
                continue;
            }
            if opened >= PAYLOADS_MAX || places.len() >= PLACES_MAX {
                break;
            }
            opened += 1;
            let Some(records) = self.records_of((context.tenant, &log), &leaf).await? else {
                destroyed = true;
                continue;
            };
            let found = sealed_in(&records, (series.device, &series.key), (at, end));
            if let Some((sequence, record)) = found {
                let received_at = Timestamp::from_micros(record.received_at_us);
                places.push(LedgerPlaceView {
                    kind: "readings",
                    id: None,
                    about: None,
                    state: "sealed",
                    recorded_at: received_at,
                    sequence: Some(sequence),
                    proof: records.prove(sequence).filter(|_| sees_all(&record)),
                    entry: Some(entry_view(index, &leaf)),
                    unchanged: None,
                    erased: None,
                });
            }
        }
        self.note(context, Action::LedgerRead, &resource, "done");
        if places.is_empty() && destroyed {
            return Err(Error::Destroyed(
                "what the ledger sealed of this time was destroyed; its leaves are proven as before"
                    .to_owned(),
            ));
        }
        if places.is_empty() {
            return Err(Error::NotFound("sealed reading"));
        }
        Ok(places)
    }

    /// Where a record was sealed, with its proof. Of an activity record also whether it still is
    /// what was sealed, and whether an erasure changed it.
    #[boxed]
    pub async fn find_sealed_record(
        &self,
        context: &OpContext,
        id: LedgerItemId,
    ) -> Result<LedgerPlaceView> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let tx = self.0.store.read(context).await?;
        let place = tx.ledger_place(id).await?.ok_or(Error::NotFound("sealed record"))?;
        let activity = match place.kind {
            LedgerKind::Activity | LedgerKind::Key => {
                found(tx.activity_one(ActivityId::from_bytes(*id.as_bytes())).await)?
            }
            _ => None,
        };
        drop(tx);
        let mut view = self.place_view(context, &place, true).await?;
        if let (Some(activity), Some(proof)) = (activity, &view.proof) {
            let digest = hex::encode(activity.digest());
            let is_unchanged = sealed_digest(proof).is_some_and(|sealed| sealed == digest);
            view.unchanged = Some(is_unchanged);
            if !is_unchanged {
                match self.erased(context, (id, &digest)).await? {
                    Erased::No => {}
                    Erased::Waits => view.unchanged = None,
                    Erased::By(erased) => view.erased = Some(erased),
                }
            }
        }
        self.note(context, Action::LedgerRead, &resource, "done");
        Ok(view)
    }

    /// Where the records about something were sealed, newest first.
    #[boxed]
    pub async fn find_sealed_about(
        &self,
        context: &OpContext,
        about: LedgerItemId,
    ) -> Result<Vec<LedgerPlaceView>> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let tx = self.0.store.read(context).await?;
        let places = tx.ledger_places_about(*about.as_bytes()).await?;
        drop(tx);
        let mut views = Vec::with_capacity(places.len());
        for place in &places {
            views.push(self.place_view(context, place, false).await?);
        }
        self.note(context, Action::LedgerRead, &resource, "done");
        Ok(views)
    }

    pub(crate) async fn place_view(
        &self,
        context: &OpContext,
        place: &LedgerPlace,
        with_proof: bool,
    ) -> Result<LedgerPlaceView> {
        let mut view = LedgerPlaceView {
            kind: place.kind.as_str(),
            id: Some(place.id),
            about: place.about.map(LedgerItemId::from_bytes),
            state: "waiting",
            recorded_at: place.created_at,
            sequence: None,
            proof: None,
            entry: None,
            unchanged: None,
            erased: None,
        };
        let Some((index, sequence)) = place.sealed else { return Ok(view) };
        view.sequence = Some(sequence);
        let log = self.log_to_look_in(context).await?;
        if index < log.minimum_index {
            view.state = "ended";
            return Ok(view);
        }
        if index >= log.size {
            view.state = misplaced(place.id);
            return Ok(view);
        }
        let leaf = self.leaf(log.log, index, log.size).await?.leaf;
        view.entry = Some(entry_view(index, &leaf));
        view.state = "sealed";
        if with_proof {
            match self.records_of((context.tenant, &log), &leaf).await? {
                // The index is looked up, not believed.
                Some(records) => match records.prove(sequence) {
                    Some(proof) if is_of(&proof, place) => view.proof = Some(proof),
                    _ => view.state = misplaced(place.id),
                },
                None => view.state = "destroyed",
            }
        }
        Ok(view)
    }
}

/// The record that holds a reading of some moment, and its number.
fn sealed_in(
    records: &OpenedPayload,
    (device, key): (DeviceId, &Key),
    (from, to): (Timestamp, Timestamp),
) -> Option<(u64, LedgerRecord)> {
    let wanted = device.to_string();
    let numbered = records.records().iter().zip(records.first_sequence()..);
    let mut found = numbered.filter_map(|(bytes, sequence)| {
        let record: LedgerRecord = serde_json::from_slice(bytes).ok()?;
        let within = (from.as_micros(), to.as_micros());
        let is_it = record.device == wanted && record.is_within(Some(key), within);
        is_it.then_some((sequence, record))
    });
    found.next()
}

/// The record that a proof shows.
pub(crate) fn sealed_item(proof: &RecordProof) -> Option<SealedItem> {
    serde_json::from_slice(&proof.record).ok()
}

/// Whether a proof shows the record that the index says lies there.
fn is_of(proof: &RecordProof, place: &LedgerPlace) -> bool {
    let item = sealed_item(proof);
    item.is_some_and(|item| item.id == place.id && item.kind == place.kind.as_str())
}

/// The state of a record that does not lie where the index says.
fn misplaced(id: LedgerItemId) -> &'static str {
    tracing::error!(record = %id, "the ledger's lookup index names a leaf that does not hold it");
    "misplaced"
}

/// The digest that a sealed record of the activity gives.
fn sealed_digest(proof: &RecordProof) -> Option<String> {
    sealed_item(proof)?.body.get("sha256")?.as_str().map(str::to_owned)
}
