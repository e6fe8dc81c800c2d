//! The one writer: takes appends of all logs from a bounded queue, checks them against the state,
//! writes one journal frame for the group, syncs once, and only then shows and acknowledges them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use veritwin_domain::LogId;
use veritwin_verify::{Act, Leaf};

use crate::archive::{Appended, Shared};
use crate::item::Item;
use crate::prune::{Pruned, check_period};
use crate::sink::Sink;
use crate::state::{Head, LogState};
use crate::{LedgerError, objects};

/// A leaf whose form and signature were checked and whose payload was written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) log: LogId,
    pub(crate) expected_size: u64,
    pub(crate) cursor: u64,
    pub(crate) leaf: Leaf,
    pub(crate) entry: Vec<u8>,
    pub(crate) payload: Option<PathBuf>,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

#[derive(Debug)]
pub(crate) enum Request {
    Append(Box<Ready>, Reply<Appended>),
    Create(Box<LogState>, Reply<()>),
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
    items: Vec<Item>,
    payloads: Vec<PathBuf>,
    heads: HashMap<LogId, Head>,
    appends: Vec<(Ready, u64, Reply<Appended>)>,
    creates: Vec<(LogState, Reply<()>)>,
    pruned: Vec<(Pruned, Reply<()>)>,
    /// Resent batches: log, index, whom to tell once the group is durable.
    repeats: Vec<(LogId, u64, Reply<Appended>)>,
    batches: HashMap<(LogId, veritwin_domain::BatchId), (veritwin_verify::Digest, u64)>,
    bytes: usize,
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
                let full = group.appends.len() + group.creates.len() >= limits.group_leaves_max
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
                let refused = match self.stage_append(&ready, group) {
                    Ok(Staged::New(index)) => {
                        group.appends.push((*ready, index, reply));
                        return;
                    }
                    Ok(Staged::Repeat(index)) => {
                        // Its payload may have been written anew just now.
                        group.payloads.extend(ready.payload);
                        group.repeats.push((ready.log, index, reply));
                        return;
                    }
                    Err(error) => error,
                };
                let _ = reply.send(Err(refused));
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
                group
                    .items
                    .extend(log.snapshot().filter(|item| !matches!(item, Item::Base { .. })));
                group.creates.push((*log, reply));
            }
            Request::Pruned(pruned, reply) => {
                let Pruned { log, to, bytes } = pruned;
                group.items.push(Item::Pruned { log, minimum_index: to, pruned: to });
                group.items.push(Item::Freed { log, bytes });
                group.pruned.push((pruned, reply));
            }
            Request::Stop(_) => {}
        }
    }

    fn stage_append(&self, ready: &Ready, group: &mut Group) -> Result<Staged, LedgerError> {
        if let Some(reason) = &self.stopped {
            return Err(LedgerError::Stopped(reason.clone()));
        }
        let log = self.shared.log(ready.log)?;
        let batch = ready.leaf.batch;
        let recent = group.batches.get(&(ready.log, batch)).copied();
        let recent = recent.or_else(|| log.lock().recent(batch));
        if let Some((hash, index)) = recent {
            return if hash == veritwin_verify::leaf_hash(&ready.entry) {
                Ok(Staged::Repeat(index))
            } else {
                Err(log.lock().head.conflict("the batch id is taken by another leaf"))
            };
        }
        let head = group.heads.entry(ready.log).or_insert_with(|| log.lock().head.clone());
        head.check_next(&ready.leaf, ready.expected_size)?;
        if let Act::Retention { minimum_index, .. } = ready.leaf.act {
            check_period(&self.shared, ready.log, (&*head, minimum_index))?;
        }
        let index = head.size();
        let hash = head.push(ready.leaf.clone(), ready.entry.clone(), ready.cursor);
        group.batches.insert((ready.log, batch), (hash, index));
        group.bytes += ready.entry.len();
        group.payloads.extend(ready.payload.clone());
        group.items.push(Item::Leaf {
            log: ready.log,
            index,
            cursor: ready.cursor,
            entry: ready.entry.clone(),
        });
        Ok(Staged::New(index))
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
        if group.items.is_empty() {
            return Ok(());
        }
        let mut notes = HashMap::with_capacity(group.heads.len());
        for (id, head) in &group.heads {
            let log = self.shared.log(*id)?;
            let log = log.lock();
            // A head without new leaves was only looked at by a refused append.
            if head.size() > log.head.size() {
                let note = log.sign(head);
                let (log, size) = (*id, head.size());
                group.items.push(Item::Checkpoint { log, size, note: note.clone() });
                notes.insert(*id, (note, Vec::new()));
            }
        }
        let mut frame = Vec::with_capacity(group.bytes + 1024);
        group.items.iter().for_each(|item| item.write(&mut frame));
        self.journal.write(&self.shared, &frame)?;
        for (ready, _, _) in &mut group.appends {
            if let Some((_, leaves)) = notes.get_mut(&ready.log) {
                leaves.push((std::mem::take(&mut ready.entry), ready.cursor));
            }
        }
        for (id, (note, leaves)) in notes {
            // Under one lock, so that nobody sees leaves without their checkpoint.
            let log = self.shared.log(id)?;
            let mut log = log.lock();
            for (entry, cursor) in leaves {
                log.apply(entry, cursor, &self.shared.objects)?;
            }
            log.checkpoint = note;
        }
        Ok(())
    }

    fn acknowledge(&mut self, group: Group) {
        for (log, reply) in group.creates {
            self.shared.logs.write().insert(log.id, Arc::new(Mutex::new(log)));
            let _ = reply.send(Ok(()));
        }
        for (Pruned { log, to, bytes }, reply) in group.pruned {
            let noted = self.shared.log(log).map(|log| {
                let mut log = log.lock();
                log.prune_to(to, to);
                log.free(bytes);
            });
            let _ = reply.send(noted);
        }
        let answer = |log: LogId, index, duplicate| {
            let log = self.shared.log(log)?;
            let log = log.lock();
            let (size, checkpoint) = (log.head.size(), log.checkpoint.clone());
            Ok(Appended { index, size, checkpoint, duplicate })
        };
        for (ready, index, reply) in group.appends {
            let _ = reply.send(answer(ready.log, index, false));
        }
        for (log, index, reply) in group.repeats {
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

enum Staged {
    New(u64),
    Repeat(u64),
}

/// The context that a log's signing key is sealed under.
pub(crate) fn key_aad(log: &LogId) -> veritwin_keys::Aad<'_> {
    veritwin_keys::Aad::new(None, objects::log_scope(*log).class, log.as_bytes())
}
