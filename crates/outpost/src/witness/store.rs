//! What a witness saw last of each log: one file a log, written whole and made durable before
//! anything is signed. A file that cannot be believed stops the start, not the memory of it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use veritwin_verify::{
    AddCheckpoint, Digest, Frontier, SignedCheckpoint, VerifierKey, sha256, verify_consistency,
};

use super::WitnessError;

/// Most keys of logs.
pub const WITNESS_LOGS_MAX: usize = 10_000;
const LOGS_FOLDER: &str = "logs";
const LOCK_FILE: &str = "witness.lock";
/// Largest file of keys that is read.
const KEYS_BYTES_MAX: u64 = 8 << 20;

/// The last checkpoint of a log that was cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessedLog {
    /// The log's origin.
    pub origin: String,
    /// Its tree size; 0 when nothing was cosigned.
    pub size: u64,
    /// Its root hash.
    pub root: Digest,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is durable: sign it.
    Cosign,
    /// No log of that origin is witnessed.
    Unknown,
    /// No key of that log signed it.
    NotSigned,
    /// The old size is beyond the checkpoint's.
    Beyond,
    /// Another tree size, or another tree of this size, was cosigned last.
    Conflict(u64),
    /// It does not extend what was cosigned last.
    Inconsistent,
    /// What was to be written may not be durable: nothing of this log is signed until the next
    /// start.
    Stopped,
}

#[derive(Debug)]
struct Last {
    size: u64,
    root: Digest,
    is_stopped: bool,
}

#[derive(Debug)]
struct Log {
    keys: RwLock<Vec<VerifierKey>>,
    path: PathBuf,
    last: Mutex<Last>,
}

impl Log {
    /// Whether one of its keys signed a checkpoint.
    fn is_signed(&self, signed: &SignedCheckpoint) -> bool {
        self.keys.read().iter().any(|key| signed.verify(key).is_ok())
    }
}

/// The logs of a witness.
#[derive(Debug)]
pub(super) struct Store {
    logs: RwLock<HashMap<String, Arc<Log>>>,
    folder: PathBuf,
    /// Held as long as the witness runs.
    _lock: File,
}

/// The keys in a file, one a line; `log` may stand before one, as in a policy, and what begins with
/// `#` is a comment.
pub(super) fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, WitnessError> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(WitnessError::io(&shown))?;
    file.take(KEYS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(WitnessError::io(&shown))?;
    let refuse = |detail: String| WitnessError::Configuration(format!("{shown}: {detail}"));
    if bytes.len() as u64 > KEYS_BYTES_MAX {
        return Err(refuse(format!("larger than {KEYS_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not text".to_owned()))?;
    let lines = text.lines().map(str::trim).enumerate();
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let key = |(at, line): (usize, &str)| {
        let key = line.strip_prefix("log ").unwrap_or(line).trim();
        key.parse::<VerifierKey>().map_err(|error| refuse(format!("line {}: {error}", at + 1)))
    };
    keys.map(key).collect()
}

/// What a witness with these logs cosigned last of each, by origin. It may run meanwhile.
pub fn witnessed_logs(
    directory: &Path,
    logs: &[VerifierKey],
) -> Result<Vec<WitnessedLog>, WitnessError> {
    let folder = directory.join(LOGS_FOLDER);
    let mut seen: Vec<WitnessedLog> = read_all(&folder, logs)?
        .into_iter()
        .map(|(origin, log)| {
            let last = log.last.into_inner();
            WitnessedLog { origin, size: last.size, root: last.root }
        })
        .collect();
    seen.sort_by(|one, other| one.origin.cmp(&other.origin));
    Ok(seen)
}

fn read_all(folder: &Path, keys: &[VerifierKey]) -> Result<HashMap<String, Log>, WitnessError> {
    let mut logs: HashMap<String, Log> = HashMap::new();
    for key in keys {
        let log = logs.entry(key.name().to_owned()).or_insert_with(|| Log {
            keys: RwLock::default(),
            path: folder.join(sha256(key.name().as_bytes()).to_string()),
            last: Mutex::new(Last { size: 0, root: Frontier::new().root(), is_stopped: false }),
        });
        log.keys.get_mut().push(key.clone());
    }
    for (origin, log) in &mut logs {
        let note = match fs::read(&log.path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(WitnessError::io(log.path.display())(error)),
        };
        let shown = log.path.display();
        let signed = SignedCheckpoint::parse(&note)
            .map_err(|error| WitnessError::Damaged(format!("{shown}: {error}")))?;
        if !log.is_signed(&signed) {
            return Err(WitnessError::Damaged(format!(
                "{shown}: the last checkpoint of {origin} is signed by none of its keys: keep \
                 its earlier keys in the list, or put the file back"
            )));
        }
        let last = log.last.get_mut();
        (last.size, last.root) = (signed.checkpoint.size, signed.checkpoint.root);
    }
    Ok(logs)
}

impl Store {
    /// Reads what was cosigned last. One process at a time.
    pub(super) fn open(directory: &Path, keys: &[VerifierKey]) -> Result<Self, WitnessError> {
        let lock = lock(directory)?;
        let folder = directory.join(LOGS_FOLDER);
        fs::create_dir_all(&folder).map_err(WitnessError::io(folder.display()))?;
        sync(directory).map_err(WitnessError::io(directory.display()))?;
        let logs = read_all(&folder, keys)?.into_iter();
        let logs = logs.map(|(origin, log)| (origin, Arc::new(log))).collect();
        Ok(Self { logs: RwLock::new(logs), folder, _lock: lock })
    }

    /// Takes the logs that are not witnessed yet, and further keys of those that are; answers how
    /// many logs are new.
    pub(super) fn take(&self, keys: &[VerifierKey]) -> Result<usize, WitnessError> {
        let mut new = Vec::new();
        for key in keys {
            let known = self.logs.read().get(key.name()).cloned();
            match known {
                None => new.push(key.clone()),
                Some(log) if log.keys.read().contains(key) => {}
                Some(log) => log.keys.write().push(key.clone()),
            }
        }
        // What was cosigned of one before, when it was in the list, counts.
        let read = read_all(&self.folder, &new)?;
        let count = read.len();
        let mut logs = self.logs.write();
        if logs.len() + count > WITNESS_LOGS_MAX {
            let detail = format!(
                "logs: at most {WITNESS_LOGS_MAX} until the next start, got {}",
                logs.len() + count
            );
            return Err(WitnessError::Configuration(detail));
        }
        logs.extend(read.into_iter().map(|(origin, log)| (origin, Arc::new(log))));
        Ok(count)
    }

    /// Judges a request and, when it is to be cosigned, makes its checkpoint the last one. One at
    /// a time for each log: between the look and the write nobody else comes.
    pub(super) fn judge(&self, request: &AddCheckpoint, signed: &SignedCheckpoint) -> Judged {
        let checkpoint = &signed.checkpoint;
        let log = self.logs.read().get(&checkpoint.origin).cloned();
        let Some(log) = log else { return Judged::Unknown };
        if !log.is_signed(signed) {
            return Judged::NotSigned;
        }
        if request.old_size > checkpoint.size {
            return Judged::Beyond;
        }
        let mut last = log.last.lock();
        if last.is_stopped {
            return Judged::Stopped;
        }
        if request.old_size != last.size {
            return Judged::Conflict(last.size);
        }
        if checkpoint.size == last.size && checkpoint.root != last.root {
            return Judged::Conflict(last.size);
        }
        let (old, new) = ((last.size, last.root), (checkpoint.size, checkpoint.root));
        if verify_consistency(old, new, &request.proof).is_err() {
            return Judged::Inconsistent;
        }
        // Anybody may send once more what is public: it is durable already.
        if new == old {
            return Judged::Cosign;
        }
        if let Err(error) = self.write(&log.path, request.note.as_bytes()) {
            tracing::error!(%error, origin = checkpoint.origin, "a witness could not write");
            last.is_stopped = true;
            return Judged::Stopped;
        }
        (last.size, last.root) = new;
        Judged::Cosign
    }

    /// Durable when it returns: content, then name.
    fn write(&self, path: &Path, note: &[u8]) -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(note)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync(&self.folder)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Of a directory that one process writes in.
pub(super) fn lock(directory: &Path) -> Result<File, WitnessError> {
    let path = directory.join(LOCK_FILE);
    let file = File::create(&path).map_err(WitnessError::io(path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("a witness runs in {} already", directory.display());
            Err(WitnessError::Configuration(detail))
        }
        Err(TryLockError::Error(error)) => Err(WitnessError::io(path.display())(error)),
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;
    use veritwin_keys::SigningKey;
    use veritwin_verify::{Checkpoint, KeyAlgorithm, leaf_hash};

    use super::*;

    /// A log of one leaf: its key, and its first checkpoint.
    fn log(origin: &str) -> (VerifierKey, AddCheckpoint, SignedCheckpoint) {
        let key = SigningKey::generate(&SeededRng::new(5));
        let vkey = VerifierKey::new(origin, KeyAlgorithm::Ed25519, key.public_bytes()).unwrap();
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: 1, root: leaf_hash(b"a") };
        let text = checkpoint.text();
        let note = format!("{text}\n{}", vkey.signature_line(&key.sign(text.as_bytes())));
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        (vkey, AddCheckpoint { old_size: 0, proof: Vec::new(), note }, signed)
    }

    #[test]
    fn a_log_that_is_added_is_witnessed_and_never_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (vkey, request, signed) = log("log.example/a");
        let store = Store::open(folder.path(), &[]).unwrap();
        assert_eq!(store.judge(&request, &signed), Judged::Unknown);
        let all = [vkey];
        assert_eq!(store.take(&all).unwrap(), 1);
        assert_eq!(store.judge(&request, &signed), Judged::Cosign);
        assert_eq!(store.take(&all).unwrap(), 0);
        drop(store);
        let store = Store::open(folder.path(), &[]).unwrap();
        assert_eq!(store.take(&all).unwrap(), 1);
        assert_eq!(store.judge(&request, &signed), Judged::Conflict(1), "it was cosigned before");
    }

    #[test]
    fn files_of_keys_are_read_and_bad_lines_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("logs.txt");
        let (one, other) = (log("log.example/a").0, log("log.example/b").0);
        fs::write(&file, format!("# ours\n{one}\n\nlog {other}\n")).unwrap();
        assert_eq!(read_keys(&file).unwrap(), [one, other]);
        fs::write(&file, "# ours\nno key\n").unwrap();
        let problem = read_keys(&file).unwrap_err().to_string();
        assert!(problem.contains("line 2"), "{problem}");
        assert!(read_keys(&folder.path().join("none")).is_err());
    }
}
