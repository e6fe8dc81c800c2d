//! What the appenders, the writer's thread and the readers share: the bounded queue, the recent
//! batches, the list of files, and how far the log is durable.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use veritwin_domain::{IdMap, TenantId};

use crate::fair::FairQueue;
use crate::files::FileList;
use crate::{AppendedRange, Committed, Entry, LogConfig, LogError};

/// A tenant may take this part of the queue: so many floods at once fill it.
const SHARES: usize = 8;
/// While the disk is full, space is looked for this often even when nothing is appended: whoever
/// waits for the log to be well again need not send anything.
const SPACE_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Shares that are remembered before those that nobody uses are forgotten.
const SHARES_KEPT_MAX: usize = 1024;

/// One append, encoded, on its way to the writer.
pub(crate) struct Request {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The binary forms, one after the other.
    pub(crate) plain: Vec<u8>,
    /// Where each ends in `plain`.
    pub(crate) ends: Vec<usize>,
    /// About how much memory it holds.
    pub(crate) memory_bytes: usize,
    /// Whose turn it takes.
    pub(crate) tenant: TenantId,
    /// Its room in the queue, its tenant's share first; given back when it is done.
    pub(crate) room: [OwnedSemaphorePermit; 2],
    pub(crate) reply: oneshot::Sender<Result<AppendedRange, LogError>>,
}

impl Request {
    /// Gives the room back, then tells the appender (who may have gone away).
    pub(crate) fn answer(self, result: Result<AppendedRange, LogError>) {
        drop(self.room);
        let _ = self.reply.send(result);
    }
}

/// What the writer's thread waits for: for nothing else it is woken.
#[derive(Debug, Clone, Copy, Default)]
enum Awaited {
    /// Nothing: it is at work, or about to be.
    #[default]
    Nothing,
    /// An append.
    Append,
    /// Company for the appends that are there, up to a whole group.
    Group,
}

#[derive(Default)]
struct QueueState {
    requests: FairQueue<Request>,
    closed: bool,
    awaited: Awaited,
}

/// What was written for a tenant while its key was out of reach.
#[derive(Debug, Clone, Copy, Default)]
struct Spooled {
    /// Everything before this position is counted.
    next: u64,
    bytes: u64,
}

/// How far the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The position after the last durable entry that every observer has seen.
    pub(crate) tail: u64,
    pub(crate) open: bool,
}

pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) files: Mutex<FileList>,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) room: Arc<Semaphore>,
    /// What each tenant may take of the room; remembered while something of it is taken.
    shares: Mutex<IdMap<TenantId, Arc<Semaphore>>>,
    /// What waits in the log for its tenant's key.
    spooled: Mutex<IdMap<TenantId, Spooled>>,
    /// Bytes that thinned files hold, by tenant.
    kept: Mutex<BTreeMap<TenantId, u64>>,
    /// Whether there are any.
    keeps: AtomicBool,
    /// Taken to thin files.
    pub(crate) thinning: Mutex<()>,
    queue: Mutex<QueueState>,
    arrived: Condvar,
    poisoned: OnceLock<String>,
    /// Why nothing is taken for now: the disk is full.
    full: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(config: LogConfig, files: FileList, tail: u64) -> Self {
        Self {
            files: Mutex::new(files),
            recent: Mutex::new(Recent::new(config.recent_bytes_max)),
            progress: watch::Sender::new(Progress { tail, open: true }),
            room: Arc::new(Semaphore::new(config.queue_bytes_max)),
            shares: Mutex::default(),
            spooled: Mutex::default(),
            kept: Mutex::default(),
            keeps: AtomicBool::new(false),
            thinning: Mutex::default(),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            poisoned: OnceLock::new(),
            full: Mutex::default(),
            config,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.config.directory
    }

    pub(crate) fn tail(&self) -> u64 {
        self.progress.borrow().tail
    }

    /// Why nothing can be appended any more.
    pub(crate) fn refusal(&self) -> LogError {
        match self.poisoned.get() {
            Some(reason) => LogError::Poisoned(reason.clone()),
            None => LogError::Closed,
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.get().is_some()
    }

    /// Why nothing is taken for now, while the disk is full.
    pub(crate) fn full(&self) -> Option<String> {
        self.full.lock().clone()
    }

    /// Notes that the disk is full, or that there was space. Only the writer's thread calls this.
    pub(crate) fn set_full(&self, reason: Option<String>) {
        let mut full = self.full.lock();
        if full.is_some() && reason.is_none() {
            tracing::info!("the log's disk has space again");
        }
        *full = reason;
    }

    /// The most of the queue that one tenant takes, in bytes: what floods it waits for itself.
    pub(crate) fn share_bytes_max(&self) -> usize {
        (self.config.queue_bytes_max / SHARES).max(1)
    }

    /// A tenant's share of the room.
    pub(crate) fn share(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if shares.len() >= SHARES_KEPT_MAX && !shares.contains_key(&tenant) {
            // Whoever waits for or holds a part of a share holds the share itself.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = || Arc::new(Semaphore::new(self.share_bytes_max()));
        Arc::clone(shares.entry(tenant).or_insert_with(share))
    }

    /// Counts an entry whose tenant's key is out of reach, each position once.
    pub(crate) fn note_spooled(&self, tenant: TenantId, position: u64, bytes: u64) {
        let mut spooled = self.spooled.lock();
        let own = spooled.entry(tenant).or_default();
        if position >= own.next {
            own.next = position + 1;
            own.bytes = own.bytes.saturating_add(bytes);
        }
    }

    /// The tenant's key is within reach again.
    pub(crate) fn forget_spooled(&self, tenant: TenantId) {
        self.spooled.lock().remove(&tenant);
    }

    /// Bytes that wait in the log for a tenant's key.
    pub(crate) fn spooled_bytes(&self, tenant: TenantId) -> u64 {
        self.spooled.lock().get(&tenant).map_or(0, |own| own.bytes)
    }

    /// Bytes of a tenant in thinned files.
    pub(crate) fn kept_bytes(&self, tenant: TenantId) -> u64 {
        // Asked for every append.
        if !self.keeps.load(Ordering::Acquire) {
            return 0;
        }
        self.kept.lock().get(&tenant).copied().unwrap_or(0)
    }

    /// Bytes of all tenants in thinned files.
    pub(crate) fn kept_bytes_total(&self) -> u64 {
        self.kept.lock().values().sum()
    }

    pub(crate) fn set_kept(&self, bytes: BTreeMap<TenantId, u64>) {
        let mut kept = self.kept.lock();
        self.keeps.store(!bytes.is_empty(), Ordering::Release);
        *kept = bytes;
    }

    pub(crate) fn push(&self, request: Request) -> Result<(), LogError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(self.refusal());
        }
        queue.requests.push(request.tenant, request.plain.len(), request);
        let is_awaited = match queue.awaited {
            Awaited::Nothing => false,
            Awaited::Append => true,
            Awaited::Group => queue.requests.bytes() >= self.config.group_bytes_max,
        };
        if is_awaited {
            queue.awaited = Awaited::Nothing;
            drop(queue);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// The appends of the next commit; waits for one. `None` once closed and drained. While the
    /// disk is full the wait ends now and then with none at all.
    pub(crate) fn take_group(&self) -> Option<Vec<Request>> {
        let group_bytes_max = self.config.group_bytes_max;
        let mut queue = self.queue.lock();
        while queue.requests.is_empty() {
            if queue.closed {
                return None;
            }
            queue.awaited = Awaited::Append;
            if self.full.lock().is_none() {
                self.arrived.wait(&mut queue);
            } else if self.arrived.wait_for(&mut queue, SPACE_PROBE_INTERVAL).timed_out() {
                return Some(Vec::new());
            }
        }
        let delay = self.config.group_commit_delay;
        if !delay.is_zero() {
            let wants_more =
                |queue: &mut QueueState| !queue.closed && queue.requests.bytes() < group_bytes_max;
            queue.awaited = Awaited::Group;
            self.arrived.wait_while_for(&mut queue, wants_more, delay);
        }
        queue.awaited = Awaited::Nothing;
        Some(queue.requests.take(group_bytes_max))
    }

    /// No further appends; those in the queue are still written.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.room.close();
        self.arrived.notify_one();
    }

    /// No further appends, and those in the queue fail. Only the writer's thread calls this.
    pub(crate) fn poison(&self, reason: String) {
        tracing::error!(reason, "the log is closed for writing after a failed write");
        let _ = self.poisoned.set(reason);
        self.close();
        let abandoned = self.queue.lock().requests.drain();
        for request in abandoned {
            request.answer(Err(self.refusal()));
        }
    }

    /// Shows a durable batch to the readers. Gives those that are not recent any more: dropping
    /// them takes time, in which nobody has to wait.
    #[must_use]
    pub(crate) fn publish(
        &self,
        batch: Arc<Committed>,
        memory_bytes: usize,
    ) -> Vec<Arc<Committed>> {
        let tail = batch.end();
        let passed = self.recent.lock().push(batch, memory_bytes);
        self.progress.send_modify(|progress| progress.tail = tail);
        passed
    }

    pub(crate) fn finish(&self) {
        self.progress.send_modify(|progress| progress.open = false);
    }
}

/// The newest batches, within a bound of bytes (and always the newest one).
pub(crate) struct Recent {
    batches: VecDeque<(Arc<Committed>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    const fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Gives the batches that made room.
    fn push(&mut self, batch: Arc<Committed>, memory_bytes: usize) -> Vec<Arc<Committed>> {
        self.bytes += memory_bytes;
        self.batches.push_back((batch, memory_bytes));
        let mut passed = Vec::new();
        while self.bytes > self.bytes_max && self.batches.len() > 1 {
            if let Some((batch, freed_bytes)) = self.batches.pop_front() {
                self.bytes -= freed_bytes;
                passed.push(batch);
            }
        }
        passed
    }

    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }

    /// The rest of the batch that holds `position`, if it is still here.
    pub(crate) fn from(&self, position: u64) -> Option<Arc<Committed>> {
        let after = self.batches.partition_point(|(batch, _)| batch.first <= position);
        let (batch, _) = self.batches.get(after.checked_sub(1)?)?;
        if position >= batch.end() {
            return None;
        }
        if batch.first == position {
            return Some(Arc::clone(batch));
        }
        let skip = usize::try_from(position - batch.first).ok()?;
        let entries = batch.entries[skip..].to_vec();
        Some(Arc::new(Committed { first: position, entries, passed: 0 }))
    }
}
