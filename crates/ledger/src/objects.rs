//! Sealed files beside the journal: full bundles, full hash tiles above level 0, payloads. Written
//! under a temporary name and renamed, so that a name always stands for a whole file; or objects of
//! a bucket, each put once.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use veritwin_domain::{Clock, FileId, LogId, Rng, Timestamp};
use veritwin_keys::{Aad, DataClass, DekScope, FileHeader, KeyError, KeyService, ShredUnit};
use veritwin_verify::{Digest, TilePath};

use crate::{Bucket, Disk, LedgerError};

/// Up to this many payloads of a group are synced one by one; more by one sync of the file system.
const SYNC_EACH_MAX: usize = 8;

/// Where the content of a file is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// In the journal as well, until everything was synced.
    InJournal,
    /// In the file alone.
    HereAlone,
}

/// The archive's object files.
#[derive(Debug)]
pub(crate) struct Objects {
    directory: PathBuf,
    keys: KeyService,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    disk: Arc<dyn Disk>,
    temporary: AtomicU64,
    /// In place of the directory, with the time for which each object is locked.
    bucket: Option<(Bucket, Duration)>,
}

/// The key scope of one log's objects: each log can be destroyed on its own.
pub(crate) fn log_scope(log: LogId) -> DekScope {
    DekScope::platform(DataClass::Archive).with_unit(ShredUnit::Subject(*log.as_bytes()))
}

impl Objects {
    pub(crate) fn new(
        directory: PathBuf,
        keys: KeyService,
        clock: Arc<dyn Clock>,
        (rng, disk): (Arc<dyn Rng>, Arc<dyn Disk>),
        bucket: Option<(Bucket, Duration)>,
    ) -> Self {
        Self { directory, keys, clock, rng, disk, temporary: AtomicU64::new(0), bucket }
    }

    fn path(&self, log: LogId, name: &str) -> PathBuf {
        self.directory.join(log.to_string()).join(name)
    }

    /// The path of a payload, spread over 256 directories.
    fn payload_name(payload: &Digest) -> String {
        let text = payload.to_string();
        format!("payload/{}/{text}", &text[..2])
    }

    /// Writes a full tile or bundle; not yet synced, since the journal still holds its content. A
    /// bucket locks it for the log's period, where that is longer than the archive's own.
    pub(crate) fn write_tile(
        &self,
        own: (LogId, Duration),
        tile: TilePath,
        plain: &[u8],
    ) -> Result<(), LedgerError> {
        self.write(own, &tile.to_string(), (plain, Held::InJournal)).map(|_| ())
    }

    pub(crate) fn read_tile(
        &self,
        log: LogId,
        tile: TilePath,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(log, &tile.to_string())
    }

    /// The same, with the moment at which it was written by this archive's clock, to the
    /// millisecond. It stands in the file's id, of which its key is made.
    pub(crate) fn read_tile_written(
        &self,
        log: LogId,
        tile: TilePath,
    ) -> Result<Option<(Vec<u8>, Timestamp)>, LedgerError> {
        let name = tile.to_string();
        let Some((sealed, path)) = self.read_sealed(log, &name)? else { return Ok(None) };
        let plain = open_whole((&self.keys, &path), &context(log, &name), &sealed)?;
        Ok(Some((plain, made_at(FileHeader::read(&sealed)?.file))))
    }

    /// Writes a payload unless it is there. The answer is the path to sync.
    pub(crate) fn write_payload(
        &self,
        own: (LogId, Duration),
        payload: &Digest,
        bytes: &[u8],
    ) -> Result<PathBuf, LedgerError> {
        // An existing file may be one that a crash tore, so that it is written again.
        self.write(own, &Self::payload_name(payload), (bytes, Held::HereAlone))
    }

    pub(crate) fn read_payload(
        &self,
        log: LogId,
        payload: &Digest,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(log, &Self::payload_name(payload))
    }

    fn write(
        &self,
        (log, kept): (LogId, Duration),
        name: &str,
        (plain, held): (&[u8], Held),
    ) -> Result<PathBuf, LedgerError> {
        // Replaying the journal gives what is there, which stays with the time of its writing.
        if self.bucket.is_none() && held == Held::InJournal && self.has(log, name, plain) {
            return Ok(self.path(log, name));
        }
        let id = FileId::generate(self.clock.now(), self.rng.as_ref());
        let sealed = seal_whole((&self.keys, id), &log_scope(log), &context(log, name), plain)?;
        match &self.bucket {
            Some((bucket, period)) => {
                let until = self.clock.now().saturating_add(kept.max(*period));
                let object = object_name(log, name);
                let sealed = Bytes::from(sealed);
                // Replaying the journal, or a batch that is sent again, gives what is there.
                if !bucket.put_new(&object, sealed.clone(), until)? && !self.has(log, name, plain) {
                    bucket.put(&object, sealed, until)?;
                }
                Ok(bucket.at(&object))
            }
            None => {
                let path = self.path(log, name);
                self.write_file(&path, &sealed, held)?;
                Ok(path)
            }
        }
    }

    fn write_file(&self, path: &Path, sealed: &[u8], held: Held) -> Result<(), LedgerError> {
        let directory = path.parent().unwrap_or(&self.directory);
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = directory.join(format!("new-{number}.tmp"));
        let mut file = match self.disk.create(&temporary) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(directory).map_err(LedgerError::io("create", directory))?;
                self.disk.create(&temporary)
            }
            other => other,
        }
        .map_err(LedgerError::io("create", &temporary))?;
        let written = self.disk.write(&temporary, &mut file, sealed);
        written.map_err(LedgerError::io("write", &temporary))?;
        // What stands there may be durable and acknowledged: a batch that is sent again while it is
        // being written down. Nothing that is not durable itself takes its place.
        if held == Held::HereAlone && path.exists() {
            let synced = self.disk.sync_data(&temporary, &file);
            synced.map_err(LedgerError::io("sync", &temporary))?;
        }
        drop(file);
        self.disk.rename(&temporary, path).map_err(LedgerError::io("rename", path))
    }

    /// Whether this is there already, whole.
    fn has(&self, log: LogId, name: &str, plain: &[u8]) -> bool {
        matches!(self.read(log, name), Ok(Some(there)) if there == plain)
    }

    fn read(&self, log: LogId, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some((sealed, path)) = self.read_sealed(log, name)? else { return Ok(None) };
        open_whole((&self.keys, &path), &context(log, name), &sealed).map(Some)
    }

    /// A file as it lies there, and where.
    fn read_sealed(
        &self,
        log: LogId,
        name: &str,
    ) -> Result<Option<(Vec<u8>, PathBuf)>, LedgerError> {
        match &self.bucket {
            Some((bucket, _)) => {
                let object = object_name(log, name);
                let Some(sealed) = bucket.get(&object)? else { return Ok(None) };
                Ok(Some((Vec::from(sealed), bucket.at(&object))))
            }
            None => {
                let path = self.path(log, name);
                let mut sealed = Vec::new();
                match File::open(&path) {
                    Ok(mut file) => {
                        file.read_to_end(&mut sealed).map_err(LedgerError::io("read", &path))?;
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(LedgerError::io("open", &path)(error)),
                }
                Ok(Some((sealed, path)))
            }
        }
    }

    /// Makes payload files durable, names included.
    pub(crate) fn sync_payloads(&self, paths: &[PathBuf]) -> Result<(), LedgerError> {
        if self.bucket.is_some() {
            // What a bucket has taken is durable.
            return Ok(());
        }
        if paths.len() > SYNC_EACH_MAX {
            return self.sync_all();
        }
        for path in paths {
            match self.disk.sync_path(path) {
                // A statement of the same log just ended another leaf that names it, which takes it
                // from both, as it would a moment later. The others' leaves do not stop for it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), "a payload was ended as it was written");
                }
                other => other.map_err(LedgerError::io("sync", path))?,
            }
            // A new directory's name is in its parent: payload/xx, payload, the log, the root.
            let mut directory = path.parent();
            for _ in 0..4 {
                let Some(at) = directory else { break };
                self.disk.sync_path(at).map_err(LedgerError::io("sync", at))?;
                directory = at.parent();
            }
        }
        Ok(())
    }

    /// Makes every object durable.
    pub(crate) fn sync_all(&self) -> Result<(), LedgerError> {
        if self.bucket.is_some() {
            return Ok(());
        }
        self.disk.sync_all(&self.directory).map_err(LedgerError::io("sync", &self.directory))
    }

    /// Removes a bundle or tile, if it is there.
    pub(crate) fn remove_tile(&self, log: LogId, tile: TilePath) -> Result<(), LedgerError> {
        self.remove(log, &tile.to_string())
    }

    /// Removes a payload, if it is there.
    pub(crate) fn remove_payload(&self, log: LogId, payload: &Digest) -> Result<(), LedgerError> {
        self.remove(log, &Self::payload_name(payload))
    }

    fn remove(&self, log: LogId, name: &str) -> Result<(), LedgerError> {
        if let Some((bucket, _)) = &self.bucket {
            return bucket.delete(&object_name(log, name));
        }
        let path = self.path(log, name);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(LedgerError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// When a file was made: its id begins with it, in milliseconds.
fn made_at(file: FileId) -> Timestamp {
    let millis = file.as_bytes()[..6].iter().fold(0i64, |all, byte| (all << 8) | i64::from(*byte));
    Timestamp::from_micros(millis.saturating_mul(1000))
}

fn object_name(log: LogId, name: &str) -> String {
    format!("logs/{log}/{name}")
}

fn context(log: LogId, name: &str) -> Vec<u8> {
    [b"veritwin archive object v1\n".as_slice(), log.as_bytes(), name.as_bytes()].concat()
}

/// Header and content of a file that is written once, as a whole. The id must be fresh.
pub(crate) fn seal_whole(
    (keys, id): (&KeyService, FileId),
    scope: &DekScope,
    context: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, LedgerError> {
    let (key, header) = keys.create_file(scope, id)?;
    let mut sealed = Vec::with_capacity(FileHeader::BYTES + plain.len() + 16);
    header.write(&mut sealed);
    key.seal(0, Aad::new(None, DataClass::Archive, context), plain, &mut sealed)?;
    Ok(sealed)
}

/// The content of such a file; `path` names it in errors.
pub(crate) fn open_whole(
    (keys, path): (&KeyService, &Path),
    context: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, LedgerError> {
    let corrupt =
        |problem: String| LedgerError::Corrupt { file: path.to_owned(), offset: 0, problem };
    let header = FileHeader::read(sealed).map_err(|error| corrupt(error.to_string()))?;
    let key = keys.open_file(&header).map_err(|error| match error {
        KeyError::NotAuthentic | KeyError::WrongScope(_) | KeyError::UnknownDek(_) => {
            corrupt(error.to_string())
        }
        other => other.into(),
    })?;
    let mut plain = Vec::new();
    let aad = Aad::new(None, DataClass::Archive, context);
    key.open(0, aad, &sealed[FileHeader::BYTES..], &mut plain)
        .map_err(|error| corrupt(error.to_string()))?;
    Ok(plain)
}
