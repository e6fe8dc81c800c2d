//! The log's front: opening, appending, reading back, truncating, closing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_domain::{Reading, TenantId};
use veritwin_keys::{DekId, KeyService};

use crate::codec;
use crate::files::{self, Truncation};
use crate::shared::{Request, Shared};
use crate::ship;
use crate::thin::{self, Thinned};
use crate::writer::{ActiveFile, Writer};
use crate::{
    AppendedRange, CommitObserver, Consumer, Entry, LogCheck, LogConfig, LogError, LogPart,
    LogReader, MomentBounds, MomentCut, PartPlace, Record,
};

/// What an entry costs in memory beside its readings.
const ENTRY_MEMORY_BYTES: usize = 256;

/// The durable log. Cloning shares it; dropping the last clone writes what is queued and closes.
#[derive(Clone)]
pub struct FileLog(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Holds the directory's lock.
    _lock: File,
}

impl FileLog {
    /// Opens the log: checks what is there, cuts an unfinished write off its end, begins a new
    /// file. `observers` see everything that is appended from now on, not what is there; read
    /// that with [`Self::read_from`] before the first append.
    pub fn open(
        config: LogConfig,
        observers: Vec<Box<dyn CommitObserver>>,
    ) -> Result<Self, LogError> {
        check_bounds(&config)?;
        files::create_directory(&config.directory)?;
        let lock = lock(&config.directory)?;
        let found = files::find(&config.directory)?;
        // A process that was killed before its fdatasync leaves a group that is read and that a
        // power loss would still take away, from under what is appended behind it.
        if let Some(last) = found.files.0.last() {
            let synced = config.storage.sync_existing(&last.path);
            synced.map_err(|source| LogError::io("make durable log file", &last.path, source))?;
        }
        let day = config.clock.now().day().max(found.day);
        let (active, info) = ActiveFile::create(&config, found.tail, day)?;
        let mut list = found.files;
        list.0.push(info);
        // Only now that another file says where the log stands may the empty ones go.
        for path in &found.empty {
            std::fs::remove_file(path)
                .map_err(|source| LogError::io("delete empty log file", path, source))?;
        }
        if !found.empty.is_empty() {
            files::sync_directory(&config.directory)?;
        }
        let directory = config.directory.clone();
        let shared = Arc::new(Shared::new(config, list, found.tail));
        let writer = Writer::new(Arc::clone(&shared), observers, active);
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| LogError::io("start the writing thread of", &directory, source))?;
        Ok(Self(Arc::new(Handle { shared, thread: Mutex::new(Some(thread)), _lock: lock })))
    }

    /// Reads every file of a log that nobody has open, to the last checksum, and changes nothing:
    /// an error names the damage.
    pub fn check(directory: &Path) -> Result<LogCheck, LogError> {
        files::look(directory)
    }

    /// Cuts a log that nobody has open where a moment had passed: before the first group with an
    /// entry that was received after it.
    pub fn cut_at(
        directory: &Path,
        keys: &KeyService,
        bounds: MomentBounds,
    ) -> Result<MomentCut, LogError> {
        ship::cut_at(directory, keys, bounds)
    }

    /// The next durable part of the files after a place, of about `bytes_max` bytes and at least
    /// one group, every checksum checked; none when there is nothing more yet. Without a place it
    /// is the beginning of the oldest file. Blocks while it reads.
    pub fn part_after(
        &self,
        after: Option<PartPlace>,
        bytes_max: usize,
    ) -> Result<Option<LogPart>, LogError> {
        ship::part_after(&self.0.shared, after, bytes_max)
    }

    /// Appends entries, all or none, next to each other, and returns once they are durable and
    /// every observer has seen them. They count as the first one's tenant's: its appends stay in
    /// their order, and take turns with other tenants'. Waits while the queue, or the tenant's
    /// share of it, is full. If the future is dropped the
    /// entries may still be appended.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<AppendedRange, LogError> {
        let shared = &self.0.shared;
        let config = &shared.config;
        let Some(tenant) = entries.first().map(|entry| entry.tenant) else {
            let reason = "expected at least one entry".into();
            return Err(LogError::Entry { index: 0, reason });
        };
        let mut plain = Vec::with_capacity(entries.iter().map(plain_bytes).sum());
        let mut ends = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            codec::encode(entry, &mut plain).map_err(|reason| LogError::Entry { index, reason })?;
            ends.push(plain.len());
            if plain.len() > config.append_bytes_max {
                return Err(LogError::TooLarge {
                    actual_bytes: plain.len(),
                    max_bytes: config.append_bytes_max,
                });
            }
        }
        let memory_bytes = plain.len() + entries.iter().map(memory_bytes).sum::<usize>();
        // What alone exceeds the queue waits until the queue is empty.
        let room_bytes = u32::try_from(memory_bytes.min(config.queue_bytes_max));
        let room_bytes = room_bytes.unwrap_or(u32::MAX);
        let share_bytes = u32::try_from(shared.share_bytes_max()).unwrap_or(u32::MAX);
        let share = shared.share(tenant).acquire_many_owned(room_bytes.min(share_bytes)).await;
        let room = Arc::clone(&shared.room).acquire_many_owned(room_bytes).await;
        let room = [share.map_err(|_| shared.refusal())?, room.map_err(|_| shared.refusal())?];
        let (reply, answer) = oneshot::channel();
        let entries = entries.into_iter().map(Arc::new).collect();
        shared.push(Request { entries, plain, ends, memory_bytes, tenant, room, reply })?;
        answer.await.unwrap_or_else(|_| Err(shared.refusal()))
    }

    /// A position such that the keys of every entry at or behind it are asked for after this call
    /// began: what a key sealed that is retired before the call stands before that position.
    pub async fn mark(&self, tenant: TenantId) -> Result<u64, LogError> {
        let shared = &self.0.shared;
        let share = shared.share(tenant).acquire_many_owned(0).await;
        let room = Arc::clone(&shared.room).acquire_many_owned(0).await;
        let room = [share.map_err(|_| shared.refusal())?, room.map_err(|_| shared.refusal())?];
        let (reply, answer) = oneshot::channel();
        let (entries, plain, ends) = (Vec::new(), Vec::new(), Vec::new());
        shared.push(Request { entries, plain, ends, memory_bytes: 0, tenant, room, reply })?;
        answer.await.unwrap_or_else(|_| Err(shared.refusal())).map(|range| range.first)
    }

    /// The position of the first entry that is still there (or of the next, if there is none).
    pub fn first_position(&self) -> u64 {
        self.0.shared.files.lock().first_position()
    }

    /// The position that the next append will get.
    pub fn tail_position(&self) -> u64 {
        self.0.shared.tail()
    }

    /// The day of the file that is being written, and the keys that seal any file: a key of an
    /// earlier day that is not among them seals nothing more.
    pub fn keys_in_use(&self) -> (i64, BTreeSet<DekId>) {
        let files = self.0.shared.files.lock();
        let day = files.0.last().map_or(i64::MIN, |file| file.header.day);
        (day, files.0.iter().flat_map(|file| file.deks.iter().copied()).collect())
    }

    /// Bytes of the files from the one on that holds `position`, as far as they can be asked.
    pub fn bytes_from(&self, position: u64) -> u64 {
        let paths: Vec<_> = {
            let files = self.0.shared.files.lock();
            let ends = files.0.iter().skip(1).map(|file| file.header.first_position);
            let ends = ends.chain([u64::MAX]);
            let held = files.0.iter().zip(ends).filter(|(_, end)| *end > position);
            held.map(|(file, _)| file.path.clone()).collect()
        };
        paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()).sum()
    }

    /// Bytes of the files, as far as they can be asked.
    pub fn size_bytes(&self) -> u64 {
        let paths: Vec<_> =
            self.0.shared.files.lock().0.iter().map(|file| file.path.clone()).collect();
        paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()).sum()
    }

    /// True after a failed write: nothing can be appended until the log is opened again.
    pub fn is_poisoned(&self) -> bool {
        self.0.shared.is_poisoned()
    }

    /// Why appends are refused for now, while the disk is full. It ends by itself when there is
    /// space, also when nothing is appended.
    pub fn full(&self) -> Option<String> {
        self.0.shared.full()
    }

    /// About how much memory the appends take that are not yet durable; at most
    /// `queue_bytes_max`.
    pub fn queued_bytes(&self) -> usize {
        let shared = &self.0.shared;
        shared.config.queue_bytes_max.saturating_sub(shared.room.available_permits())
    }

    /// Bytes that wait in the log for a tenant's key, as far as this process has written or met
    /// them; of one that waits for something else, what thinned files keep of it.
    pub fn spooled_bytes(&self, tenant: TenantId) -> u64 {
        self.0.shared.spooled_bytes(tenant).max(self.0.shared.kept_bytes(tenant))
    }

    /// Drops the recent entries from memory, so that consumers read the files, where entries of a
    /// tenant whose keys were withdrawn are unreadable. Call it after a withdrawal.
    pub fn forget_recent(&self) {
        self.0.shared.recent.lock().clear();
    }

    /// Reads what is durable now, from a position on.
    pub fn read_from(&self, position: u64) -> Result<LogReader, LogError> {
        self.check_position(position)?;
        Ok(LogReader::new(Arc::clone(&self.0.shared), position))
    }

    /// Reads what is durable now from a position on, then what is appended from then on.
    pub fn consumer(&self, position: u64) -> Result<Consumer, LogError> {
        self.check_position(position)?;
        Ok(Consumer::new(Arc::clone(&self.0.shared), position))
    }

    /// Deletes the files that hold nothing at or after `position`. The file being written stays.
    pub fn truncate_before(&self, position: u64) -> Result<Truncation, LogError> {
        let shared = &self.0.shared;
        shared.files.lock().truncate_before(shared.directory(), position)
    }

    /// Thins files that hold nothing at or after `front`: only what tenants stays that need
    /// entries from a position of their own on. Everybody else has to have had all of it, so that
    /// it had a lasting effect. Some files at a time, the oldest first. Blocks.
    pub fn thin_before(
        &self,
        front: u64,
        needs: &BTreeMap<TenantId, u64>,
    ) -> Result<Thinned, LogError> {
        thin::thin_before(&self.0.shared, front, needs)
    }

    /// The thinned files.
    pub fn thinned_files(&self) -> Vec<PathBuf> {
        self.0.shared.files.lock().thinned()
    }

    /// Reads a thinned file to its last checksum; says how long it is. Blocks.
    pub fn check_thinned(path: &Path) -> Result<u64, LogError> {
        thin::check(path)
    }

    /// Bytes that thinned files keep, as far as this process has counted them.
    pub fn kept_bytes(&self) -> u64 {
        self.0.shared.kept_bytes_total()
    }

    /// Writes what is queued, then ends. Further appends fail. Blocks until that is done.
    pub fn close(&self) {
        self.0.close();
    }

    fn check_position(&self, requested: u64) -> Result<(), LogError> {
        let (first, tail) = (self.first_position(), self.tail_position());
        if requested < first {
            return Err(LogError::Truncated { requested, first });
        }
        if requested > tail {
            return Err(LogError::BeyondTail { requested, tail });
        }
        Ok(())
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileLog({})", self.0.shared.directory().display())
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // An observer that holds the last clone closes from within the thread itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

fn check_bounds(config: &LogConfig) -> Result<(), LogError> {
    let refuse = |reason: &str| Err(LogError::Configuration(reason.into()));
    let bytes_max = 1024 * 1024 * 1024;
    if config.queue_bytes_max == 0 || config.queue_bytes_max > bytes_max {
        return refuse("queue_bytes_max must be 1 byte to 1 GiB");
    }
    if config.append_bytes_max == 0 || config.append_bytes_max > bytes_max {
        return refuse("append_bytes_max must be 1 byte to 1 GiB");
    }
    if config.group_bytes_max == 0 || config.group_bytes_max > bytes_max {
        return refuse("group_bytes_max must be 1 byte to 1 GiB");
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File, LogError> {
    let handle = File::open(directory)
        .map_err(|source| LogError::io("open log directory", directory, source))?;
    rustix::fs::flock(&handle, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| LogError::Locked(directory.to_path_buf()))?;
    Ok(handle)
}

/// About how long the binary form of an entry is.
fn plain_bytes(entry: &Entry) -> usize {
    match &entry.record {
        Record::Readings(batch) => 128 + batch.readings.len() * 12,
        _ => 128,
    }
}

/// About what an entry holds in memory while it waits and while it is recent.
fn memory_bytes(entry: &Entry) -> usize {
    let items = match &entry.record {
        Record::Readings(batch) => batch.readings.len(),
        Record::Attributes(attributes) => attributes.entries.len(),
        Record::Relay(message) => return ENTRY_MEMORY_BYTES + message.content_bytes(),
        Record::Note(note) => return ENTRY_MEMORY_BYTES + note.body.len(),
        Record::Edge(edge) => return ENTRY_MEMORY_BYTES + edge.statement.len(),
        Record::Session(_) | Record::Refusal(_) | Record::Unreadable(_) => 0,
    };
    ENTRY_MEMORY_BYTES + items * size_of::<Reading>()
}
