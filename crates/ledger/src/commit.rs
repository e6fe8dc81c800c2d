//! The one writer: takes appends of all logs from a bounded queue, checks them against the state,
//! writes one journal frame for the group, syncs once, and only then shows and acknowledges them.

use std::collections::{HashMap, hash_map};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use veritwin_domain::{BatchId, LogId};
use veritwin_verify::{Act, Digest, Leaf};

use crate::archive::{Appended, Shared};
use crate::item::Item;
use crate::prune::{EndedAt, Pruned, check_period};
use crate::sink::Sink;
use crate::state::{Entry, Head, LogState};
use crate::{LedgerError, objects};

/// A leaf whose form and signature were checked and whose payload was written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) log: LogId,
    pub(crate) expected_size: u64,
    pub(crate) leaf: Leaf,
    pub(crate) entry: Entry,
    pub(crate) payload: Option<PathBuf>,
    /// What [`check_period`] has to know of a statement.
    pub(crate) ended_at: Option<EndedAt>,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

#[derive(Debug)]
pub(crate) enum Request {
    Append(Box<Ready>, Reply<Appended>),
    Create(Box<LogState>, Reply<()>),
    /// Every leaf of a log is kept at least so long.
    Keep(LogId, Duration, Reply<()>),
    /// Everything of a log below a leaf is gone from the disk.
    Pruned(Pruned, Reply<()>),
    Stop(Reply<()>),
}

/// The writer's own state.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    journal: Sink,
    /// Length of the snapshot that the journal begins with.
    snapshot_bytes: u64,
    stopped: Option<String>,
}

/// One group on its way.
#[derive(Default)]
struct Group {
    /// What changes, as the journal takes it.
    frame: Vec<u8>,
    payloads: Vec<PathBuf>,
    logs: HashMap<LogId, Staged>,
    /// Log, index, whom to tell once the group is durable.
    appends: Vec<(LogId, u64, Reply<Appended>)>,
    creates: Vec<(LogState, Reply<()>)>,
    periods: Vec<(LogId, Duration, Reply<()>)>,
    pruned: Vec<(Pruned, Reply<()>)>,
    /// Resent batches, told in the same way.
    repeats: Vec<(LogId, u64, Reply<Appended>)>,
    bytes: usize,
    /// Everything that was taken in, whatever became of it: who sends what is refused or known does
    /// not keep the group open.
    requests: usize,
}

/// A log that a group speaks of.
struct Staged {
    log: Arc<Mutex<LogState>>,
    /// Where the log stands behind the group.
    head: Head,
    /// Its new leaves.
    entries: Vec<Entry>,
    /// Their batches: leaf hash and index.
    batches: HashMap<BatchId, (Digest, u64)>,
    /// The checkpoint over all of them.
    checkpoint: String,
}

impl Staged {
    fn new(log: Arc<Mutex<LogState>>) -> Self {
        let (head, checkpoint) = {
            let log = log.lock();
            (log.head.clone(), log.checkpoint.clone())
        };
        Self { log, head, entries: Vec::new(), batches: HashMap::new(), checkpoint }
    }
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, journal: Sink) -> Self {
        let snapshot_bytes = journal.bytes();
        Self { shared, journal, snapshot_bytes, stopped: None }
    }

    /// Runs until it is told to stop or every handle is gone.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = Group::default();
            let mut next = Some(first);
            let limits = self.shared.limits;
            while let Some(request) = next.take() {
                if let Request::Stop(reply) = request {
                    self.commit(group);
                    self.mark_closed();
                    // The receiver may have stopped waiting; there is no one else to tell.
                    let _ = reply.send(Ok(()));
                    return;
                }
                self.stage(request, &mut group);
                group.requests += 1;
                let full = group.requests >= limits.group_leaves_max
                    || group.bytes >= limits.group_bytes_max;
                if !full {
                    next = requests.try_recv().ok();
                }
            }
            self.commit(group);
        }
        self.mark_closed();
    }

    fn mark_closed(&self) {
        if self.stopped.is_none() {
            self.journal.mark_closed();
        }
    }

    fn stage(&self, request: Request, group: &mut Group) {
        match request {
            Request::Append(ready, reply) => {
                let log = ready.log;
                match self.stage_append(*ready, group) {
                    Ok(Place::New(index)) => group.appends.push((log, index, reply)),
                    Ok(Place::Repeat(index)) => group.repeats.push((log, index, reply)),
                    Err(refused) => {
                        let _ = reply.send(Err(refused));
                    }
                }
            }
            Request::Create(log, reply) => {
                let known = self.shared.logs.read().contains_key(&log.id)
                    || group.creates.iter().any(|(other, _)| other.id == log.id);
                if known {
                    let refused = LedgerError::invalid("the log was made by somebody else");
                    let _ = reply.send(Err(refused));
                    return;
                }
                // A new log's snapshot is its creation and its first checkpoint.
                for item in log.snapshot().filter(|item| !matches!(item, Item::Base { .. })) {
                    item.write(&mut group.frame);
                }
                group.creates.push((*log, reply));
            }
            Request::Keep(log, period, reply) => {
                Item::Period { log, seconds: period.as_secs() }.write(&mut group.frame);
                group.periods.push((log, period, reply));
            }
            Request::Pruned(pruned, reply) => {
                let Pruned { log, to, bytes } = pruned;
                Item::Pruned { log, minimum_index: to, pruned: to }.write(&mut group.frame);
                Item::Freed { log, bytes }.write(&mut group.frame);
                group.pruned.push((pruned, reply));
            }
            Request::Stop(_) => {}
        }
    }

    fn stage_append(&self, ready: Ready, group: &mut Group) -> Result<Place, LedgerError> {
        if let Some(reason) = &self.stopped {
            return Err(LedgerError::Stopped(reason.clone()));
        }
        let Ready { log: id, expected_size, leaf, entry, payload, ended_at } = ready;
        let staged = match group.logs.entry(id) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => new.insert(Staged::new(self.shared.log(id)?)),
        };
        let hash = entry.reference.hash;
        let known = staged.batches.get(&leaf.batch).copied();
        let known = known.or_else(|| staged.log.lock().recent(leaf.batch));
        if let Some((known, index)) = known {
            if known != hash {
                let problem = "the batch id is taken by another leaf";
                return Err(staged.log.lock().head.conflict(problem));
            }
            // Its payload may have been written anew just now.
            group.payloads.extend(payload);
            return Ok(Place::Repeat(index));
        }
        staged.head.check_next(&leaf, expected_size)?;
        if let Act::Retention { minimum_index, .. } = leaf.act {
            check_period(&self.shared, id, (&staged.head, minimum_index), ended_at)?;
        }
        let index = staged.head.size();
        staged.head.push(&entry);
        staged.batches.insert(leaf.batch, (hash, index));
        group.bytes += entry.bytes.len();
        group.payloads.extend(payload);
        Item::write_leaf(id, (index, entry.cursor), &entry.bytes, &mut group.frame);
        staged.entries.push(entry);
        Ok(Place::New(index))
    }

    fn commit(&mut self, mut group: Group) {
        let outcome = self.write(&mut group).map_err(|error| error.to_string());
        if let Err(reason) = &outcome
            && self.stopped.is_none()
        {
            tracing::error!(%reason, "ledger archive stopped writing");
            self.stopped = Some(reason.clone());
        }
        match outcome {
            Ok(()) => self.acknowledge(group),
            Err(reason) => {
                let stopped = || LedgerError::Stopped(reason.clone());
                for (_, _, reply) in group.appends {
                    let _ = reply.send(Err(stopped()));
                }
                for (_, reply) in group.creates {
                    let _ = reply.send(Err(stopped()));
                }
                for (_, _, reply) in group.periods {
                    let _ = reply.send(Err(stopped()));
                }
                for (_, reply) in group.pruned {
                    let _ = reply.send(Err(stopped()));
                }
                for (_, _, reply) in group.repeats {
                    let _ = reply.send(Err(stopped()));
                }
            }
        }
    }

    /// Payloads durable, then the journal with leaves and checkpoints, then the state.
    fn write(&mut self, group: &mut Group) -> Result<(), LedgerError> {
        if let Some(reason) = &self.stopped {
            return Err(LedgerError::Stopped(reason.clone()));
        }
        self.shared.objects.sync_payloads(&group.payloads)?;
        if group.frame.is_empty() {
            return Ok(());
        }
        for (id, staged) in &mut group.logs {
            // A log without new leaves was only looked at, by a repeat or a refused append.
            if staged.entries.is_empty() {
                continue;
            }
            let (size, note) = (staged.head.size(), staged.log.lock().sign(&staged.head));
            staged.checkpoint.clone_from(&note);
            Item::Checkpoint { log: *id, size, note }.write(&mut group.frame);
        }
        self.journal.write(&self.shared, &group.frame)?;
        for staged in group.logs.values_mut() {
            if staged.entries.is_empty() {
                continue;
            }
            // Under one lock, so that nobody sees leaves without their checkpoint.
            let mut log = staged.log.lock();
            for entry in staged.entries.drain(..) {
                log.apply(entry, &self.shared.objects)?;
            }
            log.checkpoint.clone_from(&staged.checkpoint);
        }
        Ok(())
    }

    fn acknowledge(&mut self, group: Group) {
        let Group { logs, appends, creates, periods, pruned, repeats, .. } = group;
        for (log, reply) in creates {
            self.shared.logs.write().insert(log.id, Arc::new(Mutex::new(log)));
            let _ = reply.send(Ok(()));
        }
        for (log, period, reply) in periods {
            let _ = reply.send(self.shared.log(log).map(|log| log.lock().keep_for(period)));
        }
        for (Pruned { log, to, bytes }, reply) in pruned {
            let noted = self.shared.log(log).map(|log| {
                let mut log = log.lock();
                log.prune_to(to, to);
                log.free(bytes);
            });
            let _ = reply.send(noted);
        }
        let answer = |log: LogId, index, duplicate| {
            let staged = logs.get(&log).ok_or(LedgerError::UnknownLog(log))?;
            let (size, checkpoint) = (staged.head.size(), staged.checkpoint.clone());
            Ok(Appended { index, size, checkpoint, duplicate })
        };
        for (log, index, reply) in appends {
            let _ = reply.send(answer(log, index, false));
        }
        for (log, index, reply) in repeats {
            let _ = reply.send(answer(log, index, true));
        }
        // Never sooner than the snapshot's own length, so that rewriting it stays a small share.
        let room = self.shared.limits.journal_bytes_max.max(self.snapshot_bytes);
        if self.journal.bytes() > self.snapshot_bytes + room
            && let Err(error) = self.rotate()
        {
            tracing::error!(%error, "ledger archive stopped writing: journal not rotated");
            self.stopped = Some(error.to_string());
        }
    }

    /// Starts a new journal with a snapshot.
    fn rotate(&mut self) -> Result<(), LedgerError> {
        self.journal.rotate(&self.shared)?;
        self.snapshot_bytes = self.journal.bytes();
        Ok(())
    }
}

/// The index of a leaf.
enum Place {
    New(u64),
    Repeat(u64),
}

/// The context that a log's signing key is sealed under.
pub(crate) fn key_aad(log: &LogId) -> veritwin_keys::Aad<'_> {
    veritwin_keys::Aad::new(None, objects::log_scope(*log).class, log.as_bytes())
}
