//! Entries of the edge's log become batches: what is in one, its statement, and what is given up
//! when there is no room any more. The same entries always give the same bytes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use veritwin_domain::{Clock, DeviceId, Timestamp};
use veritwin_ingest::payload::{EdgeContent, EdgeLine, push_edge_line};
use veritwin_keys::{DestructionMethod, KeyService, SigningKey};
use veritwin_log::{Entry, FileLog, Record};
use veritwin_verify::{Digest, EdgeFields, EdgeKind, EdgeStatement, sha256};

use super::devices::Devices;
use super::journal::Journal;
use super::reading::Reading;
use super::{EdgeError, WhenFull};

/// While so many statements wait, batches are closed by their size only.
const STATEMENTS_WAITING_MAX: usize = 50_000;
/// While nothing comes in, because nothing fits, it is looked for room this often.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);
/// When a statement is written again for which there was no place.
const STATED_AGAIN: Duration = Duration::from_secs(1);
/// Of what waits, this part is given up at once when the disk is full.
const GIVEN_UP_PART: usize = 8;

/// What the edge states with, and where.
pub(super) struct Stating {
    pub(super) gateway: DeviceId,
    pub(super) log: FileLog,
    pub(super) devices: Arc<Devices>,
    pub(super) keys: KeyService,
    pub(super) signing: SigningKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) journal: Mutex<Journal>,
    /// Where the content of the last batch ended in the log.
    pub(super) reading: Mutex<Option<Reading>>,
    /// Counter of the statement that is on its way.
    pub(super) on_its_way: Mutex<Option<u64>>,
    pub(super) clock_offset_us: Mutex<Option<i64>>,
    /// Something was stated.
    pub(super) stated: Notify,
    pub(super) batch_bytes_max: usize,
    pub(super) batch_age: Duration,
    pub(super) disk_bytes_max: u64,
    pub(super) when_full: WhenFull,
}

/// A batch that is being filled.
#[derive(Debug, Default)]
struct Open {
    content: String,
    first: Option<u64>,
    last: u64,
    entries: u64,
    events: Option<(Timestamp, Timestamp)>,
}

impl Open {
    fn add(&mut self, position: u64, (line, from, to): (&str, Timestamp, Timestamp)) {
        self.content.push_str(line);
        self.first.get_or_insert(position);
        self.last = position;
        self.entries += 1;
        let (earliest, latest) = self.events.unwrap_or((from, to));
        self.events = Some((earliest.min(from), latest.max(to)));
    }
}

/// The line of an entry with the span of its event times; none for what is not sent.
fn line_of(
    entry: &Entry,
    devices: &Devices,
) -> Result<Option<(String, Timestamp, Timestamp)>, EdgeError> {
    let (device, received_at, content, span) = match &entry.record {
        Record::Readings(batch) => {
            let times = || batch.readings.iter().map(|reading| reading.at);
            let Some(span) = times().min().zip(times().max()) else { return Ok(None) };
            let content = EdgeContent::Readings(batch.readings.clone());
            (batch.device, batch.received_at, content, span)
        }
        Record::Attributes(update) => {
            let set = update.entries.iter();
            let set = set.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            let (at, content) = (update.received_at, EdgeContent::Attributes(set.collect()));
            (update.device, at, content, (at, at))
        }
        Record::Unreadable(_) => {
            let detail = "an entry of the edge's log cannot be read: its key is not there";
            return Err(EdgeError::Damaged(detail.to_owned()));
        }
        _ => return Ok(None),
    };
    let name = devices.name(device).ok_or_else(|| {
        EdgeError::Damaged(format!("devices.json does not know device {device} any more"))
    })?;
    let mut text = String::new();
    push_edge_line(&mut text, &EdgeLine { device: name, received_at, content });
    Ok(Some((text, span.0, span.1)))
}

impl Stating {
    /// States what becomes durable, for ever. Ends when the log is closed.
    pub(super) async fn run(&self) -> Result<(), EdgeError> {
        let from = self.journal.lock().stated_to().max(self.log.first_position());
        let mut consumer = self.log.consumer(from)?;
        let mut open = Open::default();
        let mut due = self.clock.monotonic();
        loop {
            let wait = due.saturating_sub(self.clock.monotonic());
            let committed = tokio::select! {
                next = consumer.next() => next?,
                () = tokio::time::sleep(wait), if open.entries > 0 => {
                    let waiting = self.journal.lock().waiting_count();
                    if waiting < STATEMENTS_WAITING_MAX {
                        self.state(&mut open).await?;
                    } else {
                        due = self.clock.monotonic() + self.batch_age;
                    }
                    continue;
                }
            };
            let Some(committed) = committed else { return Ok(()) };
            for (position, entry) in committed.iter() {
                let Some((line, from, to)) = line_of(entry, &self.devices)? else { continue };
                let is_full = open.content.len() + line.len() > self.batch_bytes_max;
                if is_full && open.entries > 0 {
                    self.state(&mut open).await?;
                }
                if open.entries == 0 {
                    due = self.clock.monotonic() + self.batch_age;
                }
                open.add(position, (line.as_str(), from, to));
            }
            self.make_room()?;
        }
    }

    /// Looks for room while nothing comes in, because nothing fits; for ever. By itself: a reader
    /// of a large file is not called off for it again and again.
    pub(super) async fn keep_room(&self) -> Result<(), EdgeError> {
        let mut room = tokio::time::interval(ROOM_INTERVAL);
        room.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            room.tick().await;
            self.make_room()?;
        }
    }

    /// Signs a batch and makes its statement durable; while the disk has no place for it, again
    /// and again.
    async fn state(&self, open: &mut Open) -> Result<(), EdgeError> {
        let Open { content, first, last, entries, events } = std::mem::take(open);
        let Some((first, events)) = first.zip(events) else { return Ok(()) };
        let (content, range) = (sha256(content.as_bytes()), (first, last, entries));
        loop {
            match self.sign(EdgeKind::Batch, range, events, content) {
                Err(error @ EdgeError::Io { .. }) => {
                    tracing::warn!(%error, "a batch cannot be stated now");
                    tokio::time::sleep(STATED_AGAIN).await;
                }
                other => return other,
            }
        }
    }

    fn sign(
        &self,
        kind: EdgeKind,
        (first_position, last_position, entries): (u64, u64, u64),
        (events_from, events_to): (Timestamp, Timestamp),
        content: Digest,
    ) -> Result<(), EdgeError> {
        let clock_offset_us = *self.clock_offset_us.lock();
        let mut journal = self.journal.lock();
        let (counter, previous) = journal.next();
        let fields = EdgeFields {
            kind,
            edge: self.gateway,
            key: self.signing.public_bytes(),
            counter,
            previous,
            first_position,
            last_position,
            entries,
            events_from,
            events_to,
            made_at: self.clock.now(),
            clock_offset_us,
            content,
        };
        let statement = EdgeStatement::signed(&fields, |message| self.signing.sign(message))
            .map_err(|error| EdgeError::Damaged(format!("a statement: {error}")))?;
        journal.append(statement)?;
        drop(journal);
        self.stated.notify_one();
        Ok(())
    }

    /// The content of a stated batch, as the log holds it. Blocks.
    pub(super) fn content(&self, statement: &EdgeStatement) -> Result<String, EdgeError> {
        let fields = statement.fields();
        if fields.kind != EdgeKind::Batch {
            return Ok(String::new());
        }
        let known = self.reading.lock().take();
        let known = known.filter(|reading| reading.goes_on_at(fields.first_position));
        // What a reader saw of a write that failed may be another one now: only a new one decides.
        if let Some(reading) = known
            && let Ok(Some(content)) = self.read(reading, &fields)
        {
            return Ok(content);
        }
        let reading = Reading::at(&self.log, fields.first_position)?;
        self.read(reading, &fields)?.ok_or_else(|| {
            let counter = fields.counter;
            let detail = format!("the log does not hold what batch {counter} was signed for");
            EdgeError::Damaged(detail)
        })
    }

    /// The content, if it is what was signed.
    fn read(&self, mut reading: Reading, fields: &EdgeFields) -> Result<Option<String>, EdgeError> {
        let mut content = String::new();
        reading.each((fields.first_position, fields.last_position), |entry| {
            if let Some((line, ..)) = line_of(entry, &self.devices)? {
                content.push_str(&line);
            }
            Ok::<_, EdgeError>(())
        })?;
        if sha256(content.as_bytes()) != fields.content {
            return Ok(None);
        }
        *self.reading.lock() = Some(reading);
        Ok(Some(content))
    }

    /// Cuts the log where everything was taken or given up. What fails is tried again with the next
    /// batch.
    pub(super) fn cut(&self) {
        let position = self.journal.lock().needed_from();
        let unused = match self.log.truncate_before(position) {
            Ok(truncation) => {
                if truncation.files_deleted > 0 {
                    // A file that is held open takes its room.
                    *self.reading.lock() = None;
                }
                truncation.deks_unused
            }
            Err(error) => {
                tracing::warn!(%error, "the edge's log was not cut");
                return;
            }
        };
        if unused.is_empty() {
            return;
        }
        if let Err(error) = self.keys.destroy(&unused, DestructionMethod::KeyDestroyed) {
            tracing::warn!(%error, "keys of cut log files were not destroyed");
        }
    }

    /// Gives up the oldest batches while the log is larger than it may be, and says so in a
    /// statement before anything of them is gone.
    fn make_room(&self) -> Result<(), EdgeError> {
        if self.when_full == WhenFull::Refuse {
            return Ok(());
        }
        // Devices are refused at the bound itself: room is made before.
        let bound = self.disk_bytes_max / 10 * 9;
        while self.log.size_bytes() > bound {
            let before = self.log.size_bytes();
            // The oldest may be taken at this moment; its entries hold the log in any case.
            if self.on_its_way.lock().is_some() {
                break;
            }
            let oldest = {
                let journal = self.journal.lock();
                journal.oldest(journal.waiting_count().div_ceil(GIVEN_UP_PART))
            };
            let fields: Vec<EdgeFields> = oldest.iter().map(EdgeStatement::fields).collect();
            let (Some(first), Some(last)) = (fields.first(), fields.last()) else { break };
            let kind = EdgeKind::DiskFull { first: first.counter, last: last.counter };
            let entries: u64 = fields.iter().map(|one| one.entries).sum();
            let from = fields.iter().map(|one| one.events_from).min();
            let to = fields.iter().map(|one| one.events_to).max();
            let events = from.zip(to).unwrap_or((first.events_from, last.events_to));
            let range = (first.first_position, last.last_position, entries);
            tracing::warn!(
                first = first.counter,
                last = last.counter,
                entries,
                "the edge's disk is full: its oldest batches are given up"
            );
            match self.sign(kind, range, events, Digest::ZERO) {
                Err(error @ EdgeError::Io { .. }) => {
                    tracing::warn!(%error, "nothing can be given up now");
                    break;
                }
                stated => stated?,
            }
            self.cut();
            // Files go whole: with none gone nothing is won by giving up more.
            if self.log.size_bytes() >= before {
                break;
            }
        }
        Ok(())
    }
}
