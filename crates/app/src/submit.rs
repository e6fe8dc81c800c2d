//! The one place where what devices send becomes durable. What passes a bound of the records is
//! refused by name before any of it is in the log; the rest of a submission is taken.

mod joined;

use std::collections::BTreeSet;
use std::task::Poll;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{CredentialId, DeviceId, LimitExceeded, Reading, TenantId, Timestamp};
use veritwin_log::{AttributeScope, Attributes, Entry, Record, Refusal};
use veritwin_telemetry::Room;

use crate::attribute_lines::{devices_written, only_device};
use crate::attributes::ClientDrafts;
use crate::model::RefusalView;
use crate::retained::RetainedDraft;
use crate::zones::Diverted;
use crate::{App, Error, Placed, RefusedPart, Result, Submission};
pub(crate) use joined::{Queue, Waiting};

/// How long a submission waits for room in memory before the sender is told to come back.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest reason in a record of the log, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// The reason and its detail, as long as a record takes.
fn reason_of(refusal: &RefusalView) -> String {
    let mut text = format!("{}: {}", refusal.reason, refusal.detail);
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

/// Refusals that are listed once they are durable.
type Refused = (DeviceId, RefusalView);

/// What of a submission goes into the log, and what does not.
#[derive(Default)]
struct Decided {
    entries: Vec<Entry>,
    refused: Vec<Refused>,
    parts: Vec<RefusedPart>,
    /// Messages and notes, each with its place among the entries.
    placed: Vec<Placed>,
}

/// What became of a submission that is durable.
type Submitted = (Vec<RefusedPart>, Vec<Placed>);

/// Places in the log of what stands there from a position on.
fn placed_from(first: u64, mut placed: Vec<Placed>) -> Vec<Placed> {
    for (_, at) in &mut placed {
        *at += first;
    }
    placed
}

impl Decided {
    /// Of an entry that is put in next.
    fn place(&mut self, index: usize) {
        self.placed.push((index, self.entries.len() as u64));
    }

    fn push(&mut self, tenant: TenantId, record: Record) {
        self.entries.push(Entry { tenant, record });
    }

    fn push_refusal(&mut self, tenant: TenantId, credential: CredentialId, refused: Refused) {
        let (device, refusal) = &refused;
        let (device, at, reason) = (*device, refusal.at, reason_of(refusal).into());
        self.push(tenant, Record::Refusal(Refusal { device, credential, at, key: None, reason }));
        self.refused.push(refused);
    }
}

/// Decides what becomes of each part, before any of it is in the log.
fn decide(
    tenant: TenantId,
    submissions: Vec<Submission>,
    drafts: &mut ClientDrafts,
    mut retained: Option<&mut RetainedDraft>,
) -> Result<Decided> {
    let mut decided = Decided::default();
    for (index, submission) in submissions.into_iter().enumerate() {
        match submission {
            Submission::Readings(batch) if batch.tenant != tenant => {
                return Err(Error::NotFound("device"));
            }
            Submission::Readings(batch) => decided.push(tenant, Record::Readings(batch)),
            Submission::Refusal { device, credential, refusal } => {
                decided.push_refusal(tenant, credential, (device, refusal));
            }
            Submission::Relay { message, .. } if message.tenant != tenant => {
                return Err(Error::NotFound("device"));
            }
            Submission::Relay { message, refusal_recorded } => {
                let kept = retained.as_mut().filter(|_| message.retain);
                let Some(limit) = kept.and_then(|kept| kept.take(&message)) else {
                    decided.place(index);
                    decided.push(tenant, Record::Relay(message));
                    continue;
                };
                if refusal_recorded {
                    let bytes = message.payload.len() as u64;
                    let refusal = refusal_over(&limit, message.received_at, bytes);
                    decided.push_refusal(tenant, message.credential, (message.device, refusal));
                }
                decided.parts.push(RefusedPart { index, limit });
            }
            Submission::Note(note) if note.tenant != tenant => {
                return Err(Error::NotFound("device"));
            }
            Submission::Note(note) => {
                decided.place(index);
                decided.push(tenant, Record::Note(note));
            }
            Submission::Edge(edge) => decided.push(tenant, Record::Edge(edge)),
            Submission::ClientAttributes {
                device,
                credential,
                received_at,
                entries,
                payload_bytes,
                refusal_recorded,
            } => {
                let Some(limit) = drafts.take(device, &entries)? else {
                    let entries =
                        entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
                    let scope = AttributeScope::Client;
                    let attributes = Attributes { device, scope, received_at, entries };
                    decided.push(tenant, Record::Attributes(attributes));
                    continue;
                };
                if refusal_recorded {
                    let refusal = refusal_over(&limit, received_at, payload_bytes);
                    decided.push_refusal(tenant, credential, (device, refusal));
                }
                decided.parts.push(RefusedPart { index, limit });
            }
        }
    }
    Ok(decided)
}

/// Whether the records say something else once it is stored.
fn changes_records(submission: &Submission) -> bool {
    match submission {
        Submission::ClientAttributes { .. } => true,
        Submission::Relay { message, .. } => message.retain,
        Submission::Readings(_)
        | Submission::Refusal { .. }
        | Submission::Note(_)
        | Submission::Edge(_) => false,
    }
}

/// The devices whose messages are to be retained.
fn devices_retaining(submissions: &[Submission]) -> BTreeSet<DeviceId> {
    let devices = submissions.iter().filter_map(|one| match one {
        Submission::Relay { message, .. } if message.retain => Some(message.device),
        _ => None,
    });
    devices.collect()
}

fn refusal_over(limit: &LimitExceeded, at: Timestamp, payload_bytes: u64) -> RefusalView {
    RefusalView {
        at,
        reason: "limit",
        detail: limit.to_string(),
        position: None,
        limit: Some(limit.name),
        payload_bytes,
    }
}

fn readings_of(entry: &Entry) -> Option<&[Reading]> {
    match &entry.record {
        Record::Readings(batch) => Some(&batch.readings),
        _ => None,
    }
}

impl App {
    /// Makes what a device sent durable. `Ok` means: on disk, but for the parts that it names,
    /// which pass a bound and would pass it again. After an error nothing may be assumed stored.
    #[boxed]
    pub async fn submit(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
    ) -> Result<Vec<RefusedPart>> {
        self.submit_placed(tenant, submissions).await.map(|(refused, _)| refused)
    }

    /// The same, and where messages and notes stand in the log.
    #[boxed]
    pub async fn submit_placed(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
    ) -> Result<(Vec<RefusedPart>, Vec<Placed>)> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(18) {
            return self.submit_kept(tenant, submissions).await;
        }
        let Diverted { kept, places, mut refused } =
            self.0.zones.divert(tenant, submissions, || self.clock().now());
        let (parts, placed) = self.submit_kept(tenant, kept).await?;
        let Some(places) = places else { return Ok((parts, placed)) };
        // As the sender counts them.
        let place = |index: usize| places.get(index).copied().unwrap_or(index);
        let parts = parts.into_iter();
        refused.extend(parts.map(|part| RefusedPart { index: place(part.index), ..part }));
        Ok((refused, placed.into_iter().map(|(index, at)| (place(index), at)).collect()))
    }

    /// What no public zone takes.
    async fn submit_kept(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
    ) -> Result<Submitted> {
        // Where sessions stand is said of a tenant that is suspended, too.
        if !submissions.iter().all(|one| matches!(one, Submission::Note(_))) {
            self.refuse_unserved(tenant)?;
            let batches = submissions.iter().filter_map(|one| match one {
                Submission::Readings(batch) => Some((batch.device, batch.readings.as_slice())),
                _ => None,
            });
            // Of devices it was asked before; a program writes for many.
            self.check_series(tenant, &self.plan_limits(tenant), batches)?;
        }
        // Nearly all that comes is readings.
        if submissions.iter().any(changes_records) {
            let written = devices_written(&submissions);
            let retaining = devices_retaining(&submissions);
            if written.is_empty() && joined::is_of_messages(&submissions) {
                return self.submit_joined(tenant, submissions, retaining).await;
            }
            return self.submit_stored(tenant, submissions, written, retaining).await;
        }
        let place = match only_device(&submissions) {
            Some(device) => self.0.attribute_lines.behind(tenant, device).await?,
            None => None,
        };
        let mut decided = decide(tenant, submissions, &mut ClientDrafts::default(), None)?;
        let parts = std::mem::take(&mut decided.parts);
        let placed = std::mem::take(&mut decided.placed);
        let mut appending = std::pin::pin!(self.append(tenant, decided));
        if let Some(place) = place {
            // Its place in the log's queue is taken when it is first polled.
            if let Poll::Ready(appended) = futures::poll!(appending.as_mut()) {
                return appended.map(|first| (parts, placed_from(first, placed)));
            }
            drop(place);
        }
        appending.await.map(|first| (parts, placed_from(first, placed)))
    }

    /// The attributes and what is to be retained are decided first, so that nothing over a bound is
    /// in the log. Whoever waits for the answer may go away in between: what is in the log is
    /// stored all the same, and so it is where the records fail behind it.
    async fn submit_stored(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
        written: BTreeSet<DeviceId>,
        retaining: BTreeSet<DeviceId>,
    ) -> Result<Submitted> {
        let (devices, writes) = (&written | &retaining, !written.is_empty());
        let turn = self.0.attribute_lines.turn(tenant, &devices, writes).await?;
        let mut drafts = if written.is_empty() {
            ClientDrafts::default()
        } else {
            self.client_drafts(tenant, written).await?
        };
        let mut retained =
            if retaining.is_empty() { None } else { Some(self.retained_draft(tenant).await?) };
        if let Some(retained) = &mut retained {
            self.leave_out_gone(tenant, retained, &retaining).await?;
        }
        let mut decided = decide(tenant, submissions, &mut drafts, retained.as_mut())?;
        for (device, bytes) in drafts.rewritten() {
            self.count_rewritten(tenant, device, bytes);
        }
        let parts = std::mem::take(&mut decided.parts);
        let placed = std::mem::take(&mut decided.placed);
        let app = self.clone();
        let storing = self.0.tasks.spawn(async move {
            let appending = app.append(tenant, decided);
            let stored = app.with_effects(tenant, appending, &drafts, retained).await;
            drop(turn);
            stored
        });
        let stored = storing.await;
        let stored =
            stored.map_err(|_| Error::Internal("storing attributes stopped".to_owned()))?;
        Ok((parts, placed_from(stored?, placed)))
    }

    /// The position of the first entry.
    async fn append(&self, tenant: TenantId, decided: Decided) -> Result<u64> {
        let Decided { entries, refused, .. } = decided;
        if entries.is_empty() {
            return Ok(0);
        }
        let room = self.room_for(tenant, &entries).await?;
        let appended = self.0.log.append(entries).await?;
        // What waits for its tenant's key takes no room in memory.
        if appended.is_shown {
            room.filled();
        }
        for (device, refusal) in refused {
            self.0.refusals.note((tenant, device), refusal);
        }
        Ok(appended.first)
    }

    /// Room in memory for entries of a tenant, or the bound that stays in the way.
    async fn room_for(&self, tenant: TenantId, entries: &[Entry]) -> Result<Room> {
        let readings: Vec<&[Reading]> = entries.iter().filter_map(readings_of).collect();
        let engine = &self.0.engine;
        // Nearly always there is some: then no timer is made.
        if let Some(room) = engine.room_at_once(tenant, &readings) {
            return Ok(room);
        }
        let waited = tokio::time::timeout(ROOM_TIMEOUT, engine.room(tenant, &readings)).await;
        waited.or_else(|_| engine.try_room(tenant, &readings)).map_err(Error::Crowded)
    }
}
