//! Where the groups of an open archive are written, each durable before it is answered: a file
//! that is synced, or objects of a bucket. Both begin with a snapshot of every log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::FileId;

use crate::archive::Shared;
use crate::item::Item;
use crate::parts::Parts;
use crate::replay::{journal_paths, remove_unfinished, replay};
use crate::{LedgerError, journal};

/// Plain bytes of one snapshot frame.
const SNAPSHOT_FRAME_BYTES: usize = 1 << 20;

/// The journal of an open archive.
pub(crate) enum Sink {
    File(Box<JournalFile>),
    Parts(Parts),
}

impl Sink {
    /// Brings every log back, and begins a new journal in the place of the old one.
    pub(crate) fn open(shared: &Shared) -> Result<Self, LedgerError> {
        match &shared.bucket {
            None => JournalFile::open(shared).map(|file| Self::File(Box::new(file))),
            Some(bucket) => Parts::open(shared, bucket).map(Self::Parts),
        }
    }

    /// Writes a group; it is durable then.
    pub(crate) fn write(&mut self, shared: &Shared, frame: &[u8]) -> Result<(), LedgerError> {
        match self {
            Self::File(file) => {
                file.writer.write(frame)?;
                file.writer.sync()
            }
            Self::Parts(parts) => parts.write(shared, frame),
        }
    }

    /// What the journal takes so far, its snapshot included.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.writer.bytes(),
            Self::Parts(parts) => parts.bytes(),
        }
    }

    /// Begins a new journal with a snapshot, once all objects are durable.
    pub(crate) fn rotate(&mut self, shared: &Shared) -> Result<(), LedgerError> {
        match self {
            Self::File(file) => file.rotate(shared),
            Self::Parts(parts) => parts.begin(shared),
        }
    }

    /// Says how long the journal is, so that the next opening takes a wrong end for damage.
    pub(crate) fn mark_closed(&self) {
        let Self::File(file) = self else { return };
        let (path, bytes) = (&file.path, file.writer.bytes());
        if let Err(error) = veritwin_keys::tail::mark_closed(path, bytes) {
            tracing::warn!(path = %path.display(), %error, "ledger journal: closed without its mark");
        }
    }
}

/// One journal file.
pub(crate) struct JournalFile {
    writer: journal::Writer,
    path: PathBuf,
    number: u64,
}

impl JournalFile {
    fn open(shared: &Shared) -> Result<Self, LedgerError> {
        remove_unfinished(shared)?;
        let files = journal_paths(&shared.journal_directory())?;
        if let Some((_, newest)) = files.last() {
            let logs = replay(newest, shared)?;
            *shared.logs.write() = logs;
        }
        shared.objects.sync_all()?;
        let number = files.last().map_or(0, |(number, _)| *number) + 1;
        let file = Self::start(shared, number)?;
        for (_, old) in files {
            shared.disk.remove(&old).map_err(LedgerError::io("remove", &old))?;
        }
        Ok(file)
    }

    /// Writes a new file that begins with a snapshot of every log. It gets its name only when it is
    /// durable.
    fn start(shared: &Shared, number: u64) -> Result<Self, LedgerError> {
        let directory = shared.journal_directory();
        let path = directory.join(format!("{number:016}.journal"));
        let temporary = directory.join(format!("{number:016}.tmp"));
        remove_if_there(shared, &temporary)?;
        let id = FileId::generate(shared.clock.now(), shared.rng.as_ref());
        let disk = Arc::clone(&shared.disk);
        let mut writer = journal::Writer::create(&temporary, (&shared.keys, id), disk)?;
        snapshot(shared, |frame| writer.write(frame))?;
        writer.sync()?;
        shared.disk.rename(&temporary, &path).map_err(LedgerError::io("rename", &path))?;
        shared.disk.sync_path(&directory).map_err(LedgerError::io("sync", &directory))?;
        writer.renamed(&path);
        Ok(Self { writer, path, number })
    }

    fn rotate(&mut self, shared: &Shared) -> Result<(), LedgerError> {
        shared.objects.sync_all()?;
        let next = Self::start(shared, self.number + 1)?;
        let old = std::mem::replace(self, next).path;
        shared.disk.remove(&old).map_err(LedgerError::io("remove", &old))
    }
}

/// The frames of a snapshot of every log.
pub(crate) fn snapshot(
    shared: &Shared,
    mut write: impl FnMut(&[u8]) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut frame = Vec::new();
    let logs: Vec<_> = shared.logs.read().values().cloned().collect();
    for log in &logs {
        for item in log.lock().snapshot() {
            item.write(&mut frame);
            if frame.len() >= SNAPSHOT_FRAME_BYTES {
                write(&frame)?;
                frame.clear();
            }
        }
    }
    Item::SnapshotEnd { logs: logs.len() as u64 }.write(&mut frame);
    write(&frame)
}

fn remove_if_there(shared: &Shared, path: &Path) -> Result<(), LedgerError> {
    match shared.disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
