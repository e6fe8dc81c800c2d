//! The archive: opens its directory, replays the journal, and takes appends. Two processes cannot
//! have one directory open.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use veritwin_domain::{Clock, LimitExceeded, LogId, Rng};
use veritwin_keys::{KeyService, SigningKey};
use veritwin_verify::{Digest, Leaf, LeafReference, SignedCheckpoint, Signers, VerifierKey};

use crate::commit::{Committer, Ready, Request, key_aad};
use crate::journal;
use crate::objects::{Objects, log_scope};
use crate::prepare::{check_origin, ends_prefix, prepare};
use crate::replay::journal_paths;
use crate::sink::Sink;
use crate::state::LogState;
use crate::{Bucket, Disk, LedgerError, SystemDisk};

/// Bounds of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most logs.
    pub logs_max: usize,
    /// Largest sealed payload, in bytes.
    pub payload_bytes_max: usize,
    /// Most appends that wait for the writer; more have to wait outside.
    pub queue_max: usize,
    /// Most leaves and other requests in one group.
    pub group_leaves_max: usize,
    /// Leaf bytes after which a group is closed.
    pub group_bytes_max: usize,
    /// Journal bytes after which a new file is begun.
    pub journal_bytes_max: u64,
    /// Every leaf is kept at least so long after it came in, whatever its submitter states. A log
    /// may have a longer time of its own: see [`Archive::keep_for`].
    pub period_min: Duration,
    /// Most bytes of the leaves and payloads of one log.
    pub log_bytes_max: u64,
}

/// The longest period: as the longest audit period of a plan.
const PERIOD_MAX: Duration = Duration::from_secs(36_500 * 86_400);

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            logs_max: 100_000,
            payload_bytes_max: (8 << 20) + 4096,
            queue_max: 4096,
            group_leaves_max: 8192,
            group_bytes_max: 8 << 20,
            journal_bytes_max: 64 << 20,
            period_min: Duration::ZERO,
            log_bytes_max: 1 << 40,
        }
    }
}

/// How to open an archive.
#[derive(Debug)]
pub struct ArchiveConfig {
    /// Its directory; made if absent, its parent has to exist.
    pub directory: PathBuf,
    /// Its own keys, of no other party.
    pub keys: KeyService,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub rng: Arc<dyn Rng>,
    /// Its bounds.
    pub limits: ArchiveLimits,
}

/// A log to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateLog {
    /// Its id.
    pub log: LogId,
    /// Its origin, for ever: `HOST/ledger/LOG`.
    pub origin: String,
    /// The Ed25519 public key of the only submitter.
    pub submitter: [u8; 32],
}

/// A leaf to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// The tree size that the submitter believes the log to have.
    pub expected_size: u64,
    /// The submitter's own resume position, given back by [`Archive::summary`]; not in the log.
    pub cursor: u64,
    /// The leaf, encoded.
    pub entry: Vec<u8>,
    /// The payload that the leaf names.
    pub payload: Option<Vec<u8>>,
}

/// A durable append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The leaf's index.
    pub index: u64,
    /// The tree size, at least one more than the index.
    pub size: u64,
    /// A signed checkpoint that covers the leaf.
    pub checkpoint: String,
    /// True when the batch had been appended before.
    pub duplicate: bool,
}

/// Where a log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// Its id.
    pub log: LogId,
    /// Its origin.
    pub origin: String,
    /// Its verifier key.
    pub vkey: String,
    /// Its tree size.
    pub size: u64,
    /// Its root hash.
    pub root: Digest,
    /// Its signed checkpoint.
    pub checkpoint: String,
    /// The last leaf, encoded: the submitter checks its own signature on it before going on.
    pub last_entry: Option<Vec<u8>>,
    /// The cursor given with the last leaf.
    pub cursor: u64,
    /// The submitter key in force.
    pub submitter: [u8; 32],
    /// Leaves below this index were ended by a retention statement and are not served.
    pub minimum_index: u64,
    /// How long each of its leaves is kept at least: the archive's own period, or the log's where
    /// that is longer.
    pub period_min: Duration,
}

impl LogSummary {
    /// What the submitter's next leaf has to follow, after checking that the archive's answer can
    /// be believed: checkpoint signed by the key `vkey` that was noted when the log was made, last
    /// leaf signed by the submitter itself. None for an empty log.
    pub fn resume(
        &self,
        vkey: &str,
        submitter: &[u8; 32],
    ) -> Result<Option<LeafReference>, LedgerError> {
        let vkey: VerifierKey = vkey.parse().map_err(LedgerError::invalid)?;
        let signed = SignedCheckpoint::parse(self.checkpoint.as_bytes());
        let signed = signed.map_err(LedgerError::invalid)?;
        let checkpoint = signed.verify(&vkey).map_err(LedgerError::invalid)?;
        if checkpoint.size != self.size || (self.size == 0) != self.last_entry.is_none() {
            return Err(LedgerError::invalid("the archive's answer contradicts its checkpoint"));
        }
        let Some(entry) = &self.last_entry else { return Ok(None) };
        let leaf = Leaf::decode(entry).map_err(LedgerError::invalid)?;
        if leaf.submitter != *submitter {
            return Err(LedgerError::invalid("the last leaf is signed by another submitter"));
        }
        leaf.verify_signature(vkey.name()).map_err(LedgerError::invalid)?;
        Ok(Some(leaf.reference()))
    }
}

pub(crate) type Logs = HashMap<LogId, Arc<Mutex<LogState>>>;

/// What the writer and the readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) keys: KeyService,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) limits: ArchiveLimits,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) logs: RwLock<Logs>,
    pub(crate) objects: Objects,
    /// Verifies the leaves' signatures.
    pub(crate) signers: Signers,
    /// In place of the directory for everything that grows.
    pub(crate) bucket: Option<Bucket>,
    /// Held as long as the archive is open.
    _lock: File,
}

impl Shared {
    pub(crate) fn log(&self, log: LogId) -> Result<Arc<Mutex<LogState>>, LedgerError> {
        self.logs.read().get(&log).cloned().ok_or(LedgerError::UnknownLog(log))
    }

    pub(crate) fn journal_directory(&self) -> PathBuf {
        self.directory.join("journal")
    }
}

/// An open archive. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Archive {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    writer: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Archive {
    /// Opens the directory and replays its journal.
    pub fn open(config: ArchiveConfig) -> Result<Self, LedgerError> {
        Self::open_on(config, Arc::new(SystemDisk))
    }

    /// The same with files that are changed through `disk`.
    pub fn open_on(config: ArchiveConfig, disk: Arc<dyn Disk>) -> Result<Self, LedgerError> {
        Self::open_with(config, disk, None)
    }

    /// The same with journal, tiles and payloads in a bucket; in the directory is the lock of this
    /// host and a note of what was written last.
    pub fn open_in(config: ArchiveConfig, bucket: Bucket) -> Result<Self, LedgerError> {
        if bucket.is_locked() && config.limits.period_min.is_zero() {
            return Err(LedgerError::invalid("objects are locked for a period, and there is none"));
        }
        Self::open_with(config, Arc::new(SystemDisk), Some(bucket))
    }

    fn open_with(
        config: ArchiveConfig,
        disk: Arc<dyn Disk>,
        bucket: Option<Bucket>,
    ) -> Result<Self, LedgerError> {
        let directory = config.directory;
        for path in [directory.clone(), directory.join("journal"), directory.join("logs")] {
            match fs::create_dir(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(LedgerError::io("create", path)(error));
                }
                _ => {}
            }
        }
        let lock = lock(&directory)?;
        let sync = |path: &Path| disk.sync_path(path).map_err(LedgerError::io("sync", path));
        sync(&directory)?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        let objects = Objects::new(
            directory.join("logs"),
            config.keys.clone(),
            Arc::clone(&config.clock),
            (Arc::clone(&config.rng), Arc::clone(&disk)),
            bucket.clone().map(|bucket| (bucket, config.limits.period_min)),
        );
        let shared = Arc::new(Shared {
            directory,
            keys: config.keys,
            clock: config.clock,
            rng: config.rng,
            limits: config.limits,
            disk,
            logs: RwLock::new(Logs::new()),
            objects,
            signers: Signers::default(),
            bucket,
            _lock: lock,
        });
        let journal = Sink::open(&shared)?;
        let (requests, receiver) = mpsc::channel(shared.limits.queue_max);
        let committer = Committer::new(Arc::clone(&shared), journal);
        let writer = std::thread::Builder::new()
            .name("ledger-commit".to_owned())
            .spawn(move || committer.run(receiver))
            .map_err(LedgerError::io("start writer of", shared.directory.as_path()))?;
        Ok(Self { shared, requests, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Goes over the checksums of the journal in a directory that nobody has open, and changes
    /// nothing: an error names the damage. The answer is where an unfinished write begins, which
    /// the next opening leaves out.
    pub fn check(directory: &Path) -> Result<Option<(PathBuf, u64)>, LedgerError> {
        let files = journal_paths(&directory.join("journal"))?;
        let Some((_, newest)) = files.last() else { return Ok(None) };
        Ok(journal::check(newest)?.map(|offset| (newest.clone(), offset)))
    }

    /// The ids of its logs.
    pub fn logs(&self) -> Vec<LogId> {
        self.shared.logs.read().keys().copied().collect()
    }

    /// The bounds it was opened with.
    pub fn limits(&self) -> &ArchiveLimits {
        &self.shared.limits
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Makes a log; the same request again gives the same log.
    #[boxed]
    pub async fn create_log(&self, create: CreateLog) -> Result<LogSummary, LedgerError> {
        if let Ok(log) = self.shared.log(create.log) {
            let log = log.lock();
            if log.origin == create.origin && log.first_submitter == create.submitter {
                return Ok(log.summary(self.shared.limits.period_min));
            }
            return Err(LedgerError::invalid("the log exists with another origin or submitter"));
        }
        let logs = self.shared.logs.read().len();
        let max = self.shared.limits.logs_max;
        if logs >= max {
            return Err(LimitExceeded { name: "logs_max", max, actual: logs + 1 }.into());
        }
        check_origin(&create)?;
        let key = SigningKey::generate(self.shared.rng.as_ref());
        let dek = self.shared.keys.dek(&log_scope(create.log))?;
        let sealed = key.seal(&dek, key_aad(&create.log))?;
        let log = LogState::new(create.log, create.origin, create.submitter, (key, sealed))?;
        let summary = log.summary(self.shared.limits.period_min);
        self.send(|reply| Request::Create(Box::new(log), reply)).await?;
        Ok(summary)
    }

    /// Keeps every leaf of a log at least so long, in whole seconds, those that lie there as well.
    /// It is never shortened: a shorter time than the one in force changes nothing.
    #[boxed]
    pub async fn keep_for(&self, log: LogId, period: Duration) -> Result<LogSummary, LedgerError> {
        if period > PERIOD_MAX {
            return Err(LedgerError::invalid("the period is longer than 36500 days"));
        }
        let is_longer = self.shared.log(log)?.lock().period < period;
        if is_longer {
            self.send(|reply| Request::Keep(log, period, reply)).await?;
        }
        self.summary(log)
    }

    /// Appends a leaf; returns when it, its payload and a checkpoint over it are durable.
    #[boxed]
    pub async fn append(&self, append: Append) -> Result<Appended, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let ready = if append.payload.is_some() || ends_prefix(&append.entry) {
            let prepare = move || prepare(&shared, append);
            let prepared = tokio::task::spawn_blocking(prepare).await;
            prepared.map_err(|error| LedgerError::Stopped(error.to_string()))??
        } else {
            prepare(&shared, append)?
        };
        let (id, written) = (ready.log, ready.payload.as_ref().map(|_| ready.leaf.payload_bytes));
        let appended = self.send(|reply| Request::Append(Box::new(ready), reply)).await;
        if let (Err(_), Some(bytes)) = (&appended, written) {
            // The payload stays, and no leaf names it.
            let log = self.shared.log(id)?;
            let mut log = log.lock();
            log.lost_bytes = log.lost_bytes.saturating_add(bytes);
        }
        appended
    }

    /// What a log's leaves and their payloads take, in bytes.
    pub fn stored_bytes(&self, log: LogId) -> Result<u64, LedgerError> {
        Ok(self.shared.log(log)?.lock().stored_bytes)
    }

    /// What payloads take whose leaves were refused after they were written, since it was asked.
    pub fn take_lost_bytes(&self, log: LogId) -> u64 {
        self.shared.log(log).map_or(0, |log| std::mem::take(&mut log.lock().lost_bytes))
    }

    /// Hands an append without payload to the writer and does not wait, so that a submitter may
    /// have several leaves of one log on their way in order. [`Self::answer`] waits.
    #[boxed]
    pub async fn submit(&self, append: Append) -> Result<PendingAppend, LedgerError> {
        if append.payload.is_some() {
            return Err(LedgerError::invalid("a payload is not submitted without waiting"));
        }
        if ends_prefix(&append.entry) {
            return Err(LedgerError::invalid("an end is not submitted without waiting"));
        }
        self.hand_over(prepare(&self.shared, append)?).await
    }

    /// Hands the writer what was prepared.
    pub(crate) async fn hand_over(&self, ready: Ready) -> Result<PendingAppend, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Append(Box::new(ready), reply);
        self.requests.send(request).await.map_err(|_| closed())?;
        Ok(PendingAppend(answer))
    }

    /// Waits until a submitted append is durable.
    #[boxed]
    pub async fn answer(&self, pending: PendingAppend) -> Result<Appended, LedgerError> {
        pending.0.await.map_err(|_| closed())?
    }

    /// Where a log stands.
    pub fn summary(&self, log: LogId) -> Result<LogSummary, LedgerError> {
        Ok(self.shared.log(log)?.lock().summary(self.shared.limits.period_min))
    }

    /// Finishes what is queued and stops writing. Reading goes on; the directory can be opened
    /// anew once every handle is gone.
    #[boxed]
    pub async fn close(&self) -> Result<(), LedgerError> {
        self.send(Request::Stop).await?;
        let writer = self.writer.lock().take();
        let joined = tokio::task::spawn_blocking(move || writer.map(|writer| writer.join())).await;
        match joined {
            Ok(None | Some(Ok(()))) => Ok(()),
            _ => Err(LedgerError::Stopped("its writer broke off".to_owned())),
        }
    }

    pub(crate) async fn send<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> LedgerError {
    LedgerError::Stopped("it was closed".to_owned())
}

/// An append on its way to the writer.
#[derive(Debug)]
pub struct PendingAppend(oneshot::Receiver<Result<Appended, LedgerError>>);

fn lock(directory: &Path) -> Result<File, LedgerError> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(LedgerError::io("open", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| LedgerError::Locked(directory.to_owned()))?;
    Ok(file)
}
