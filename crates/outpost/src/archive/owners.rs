//! Whose a log is: an archive that serves several platforms lets each append to and read only the
//! logs that it made. One durable file for each log, written before the log is, names the owner by
//! the SHA-256 of its certificate.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use veritwin_domain::{LimitExceeded, LogId};
use veritwin_ledger::{Act, Append, Appended, Archive, CreateLog, Leaf, LedgerError, LogSummary};

use super::shares::Shares;
use super::tls::{ClientTrust, write};
use super::{ClientLimits, ServeError, tls};

/// Bytes beyond its share that a client may still fill with statements that end a prefix: those
/// make room.
const ENDINGS_BYTES_MAX: u64 = 64 << 20;

/// Who is at the other end of a connection: SHA-256 over the certificate that it proved to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer(pub(super) [u8; 32]);

/// The owners of an archive's logs.
pub(super) struct Owners(Option<Each>);

/// Every certificate is a party of its own.
struct Each {
    directory: PathBuf,
    limits: ClientLimits,
    /// What the leaves and payloads of each take, those on their way included.
    used: Mutex<HashMap<Peer, u64>>,
    owners: RwLock<HashMap<LogId, Peer>>,
    /// One log is made at a time.
    creating: tokio::sync::Mutex<()>,
}

impl Owners {
    /// Reads them. The certificates of one file that a platform handed over are that platform's,
    /// today's and tomorrow's: then all logs are its own, and nothing is noted.
    pub(super) fn open(
        directory: &Path,
        clients: &ClientTrust,
        limits: ClientLimits,
    ) -> Result<Self, ServeError> {
        if matches!(clients, ClientTrust::CertificateFile(_)) {
            return Ok(Self(None));
        }
        let directory = directory.join("owners");
        std::fs::create_dir_all(&directory).map_err(ServeError::io(directory.display()))?;
        sync_parent(&directory).map_err(ServeError::io(directory.display()))?;
        let mut owners = HashMap::new();
        let entries = std::fs::read_dir(&directory);
        for entry in entries.map_err(ServeError::io(directory.display()))? {
            let path = entry.map_err(ServeError::io(directory.display()))?.path();
            // A write that was cut off had not been answered.
            if path.extension().is_some() {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(log) = name.and_then(|name| name.parse::<LogId>().ok()) else {
                tracing::warn!(path = %path.display(), "a file among the owners of logs is none");
                continue;
            };
            owners.insert(log, read(&path).map_err(ServeError::io(path.display()))?);
        }
        let (owners, creating) = (RwLock::new(owners), tokio::sync::Mutex::new(()));
        let used = Mutex::default();
        Ok(Self(Some(Each { directory, limits, used, owners, creating })))
    }

    /// Counts what each party's logs take, once the archive is open.
    pub(super) fn count(&self, archive: &Archive) {
        let Some(each) = &self.0 else { return };
        let mut used = HashMap::new();
        for (log, peer) in each.owners.read().iter() {
            let bytes = archive.stored_bytes(*log).unwrap_or(0);
            let of_peer: &mut u64 = used.entry(*peer).or_default();
            *of_peer = of_peer.saturating_add(bytes);
        }
        *each.used.lock() = used;
    }

    /// Appends a leaf to a log that is the peer's, within what it may have. Where the peer goes
    /// away before the answer, what it sent stays counted.
    pub(super) async fn append(
        &self,
        archive: &Archive,
        append: Append,
        peer: Peer,
    ) -> Result<Appended, LedgerError> {
        let Some(each) = &self.0 else { return archive.append(append).await };
        let (log, bytes) = (append.log, each.reserve(&append, peer)?);
        let appended = archive.append(append).await;
        if !matches!(&appended, Ok(appended) if !appended.duplicate) {
            each.change(peer, |used| used.saturating_sub(bytes));
        }
        let lost = archive.take_lost_bytes(log);
        each.change(peer, |used| used.saturating_add(lost));
        appended
    }

    /// Notes what went with leaves that a statement ended.
    pub(super) fn freed(&self, log: LogId, bytes: u64) {
        let Some(each) = &self.0 else { return };
        if let Some(peer) = each.owner(log) {
            each.change(peer, |used| used.saturating_sub(bytes));
        }
    }

    /// What each party may take at once of `all`: where there are several, a half.
    pub(super) fn shares(&self, all: usize) -> Shares {
        Shares::new(if self.0.is_some() { all / 2 } else { all })
    }

    /// Refuses a log that is not the peer's as one that there is not.
    pub(super) fn check(&self, log: LogId, peer: Peer) -> Result<(), LedgerError> {
        let Some(each) = &self.0 else { return Ok(()) };
        if each.owner(log) == Some(peer) { Ok(()) } else { Err(LedgerError::UnknownLog(log)) }
    }

    /// How many of the archive's logs are the peer's.
    pub(super) fn logs(&self, archive: &Archive, peer: Peer) -> usize {
        let logs = archive.logs();
        logs.into_iter().filter(|log| self.check(*log, peer).is_ok()).count()
    }

    /// Makes a log for the peer.
    pub(super) async fn create(
        &self,
        archive: &Archive,
        create: CreateLog,
        peer: Peer,
    ) -> Result<LogSummary, LedgerError> {
        let Some(each) = &self.0 else { return archive.create_log(create).await };
        let log = create.log;
        let _turn = each.creating.lock().await;
        match each.owner(log) {
            Some(owner) if owner == peer => return archive.create_log(create).await,
            None if matches!(archive.summary(log), Err(LedgerError::UnknownLog(_))) => {}
            _ => return Err(LedgerError::UnknownLog(log)),
        }
        each.check_room(peer)?;
        let path = each.directory.join(log.to_string());
        let noted = path.clone();
        let note = move || note(&noted, peer);
        let written = tokio::task::spawn_blocking(note).await;
        let written = written.map_err(|error| LedgerError::Stopped(error.to_string()))?;
        written.map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        each.owners.write().insert(log, peer);
        let created = archive.create_log(create).await;
        if matches!(created, Err(LedgerError::Invalid(_) | LedgerError::Limit(_))) {
            // Nothing was made, so that nothing is owned.
            each.owners.write().remove(&log);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an owner of no log stays noted");
            }
        }
        created
    }
}

impl Each {
    fn change(&self, peer: Peer, change: impl FnOnce(u64) -> u64) {
        let mut used = self.used.lock();
        let of_peer = used.entry(peer).or_default();
        *of_peer = change(*of_peer);
    }

    /// Counts what an append takes, or refuses it.
    fn reserve(&self, append: &Append, peer: Peer) -> Result<u64, LedgerError> {
        let payload = append.payload.as_ref().map_or(0, Vec::len);
        let bytes = (append.entry.len() + payload) as u64;
        let ends =
            Leaf::decode(&append.entry).is_ok_and(|leaf| matches!(leaf.act, Act::Retention { .. }));
        let more = if ends { ENDINGS_BYTES_MAX } else { 0 };
        let max = self.limits.bytes_max.saturating_add(more);
        let mut used = self.used.lock();
        let of_peer = used.entry(peer).or_default();
        let after = of_peer.saturating_add(bytes);
        if after > max {
            let whole = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
            let (name, max, actual) = ("client_bytes_max", whole(max), whole(after));
            return Err(LimitExceeded { name, max, actual }.into());
        }
        *of_peer = after;
        Ok(bytes)
    }

    fn owner(&self, log: LogId) -> Option<Peer> {
        self.owners.read().get(&log).copied()
    }

    /// Refuses one log more than a peer may have.
    fn check_room(&self, peer: Peer) -> Result<(), LedgerError> {
        let logs = self.owners.read().values().filter(|owner| **owner == peer).count();
        let (name, max) = ("client_logs_max", self.limits.logs_max);
        if logs < max { Ok(()) } else { Err(LimitExceeded { name, max, actual: logs + 1 }.into()) }
    }
}

/// Shared by the connections of an archive.
pub(super) type SharedOwners = Arc<Owners>;

fn read(path: &Path) -> std::io::Result<Peer> {
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an owner of a log");
    let text = std::fs::read_to_string(path)?;
    let mut owner = [0; 32];
    hex::decode_to_slice(text.trim(), &mut owner).map_err(|_| broken())?;
    Ok(Peer(owner))
}

/// On disk before the log is made.
fn note(path: &Path, peer: Peer) -> Result<(), ServeError> {
    write(path, format!("{}\n", tls::hexadecimal(&peer.0)).as_bytes())?;
    sync_parent(path).map_err(ServeError::io(path.display()))
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_back_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let clients = ClientTrust::Fingerprints(vec![[1; 32]]);
        let limits = ClientLimits { logs_max: 10, bytes_max: 10 };
        let open = || Owners::open(folder.path(), &clients, limits);
        open().unwrap();
        let log: LogId = "0190a5c0-0000-7000-8000-000000000001".parse().unwrap();
        let path = folder.path().join("owners").join(log.to_string());
        note(&path, Peer([1; 32])).unwrap();
        // A write that was cut off, and what is none of ours.
        std::fs::create_dir(folder.path().join("owners/lost+found")).unwrap();
        std::fs::write(path.with_extension("tmp"), "01").unwrap();
        let owners = open().unwrap();
        owners.check(log, Peer([1; 32])).unwrap();
        assert!(owners.check(log, Peer([2; 32])).is_err());
        std::fs::write(&path, "01").unwrap();
        let problem = open().err().unwrap().to_string();
        assert!(problem.contains(&log.to_string()), "{problem}");
    }

    #[test]
    fn what_a_client_sends_is_counted_before_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let clients = ClientTrust::Fingerprints(vec![[1; 32]]);
        let limits = ClientLimits { logs_max: 1, bytes_max: 10 };
        let owners = Owners::open(folder.path(), &clients, limits).unwrap();
        let each = owners.0.as_ref().unwrap();
        let append = |payload: usize| Append {
            log: "0190a5c0-0000-7000-8000-000000000001".parse().unwrap(),
            expected_size: 0,
            cursor: 0,
            entry: vec![0; 2],
            payload: Some(vec![0; payload]),
        };
        let (one, other) = (Peer([1; 32]), Peer([2; 32]));
        assert_eq!(each.reserve(&append(5), one).unwrap(), 7);
        let refused = each.reserve(&append(2), one).unwrap_err().to_string();
        assert!(refused.contains("client_bytes_max"), "{refused}");
        assert_eq!(each.reserve(&append(2), other).unwrap(), 4, "each has its own");
        each.change(one, |used| used.saturating_sub(7));
        assert_eq!(each.reserve(&append(8), one).unwrap(), 10);
    }
}
