//! Thinning: of a file that only some tenants still need, what is theirs stays, sealed as it was
//! and at its positions; everything else goes. The thin file takes the name of the one that it
//! replaces in one step. Oldest files first: what is left out is always the front of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use veritwin_domain::{FileId, TenantId};
use veritwin_keys::DekId;

use crate::LogError;
use crate::files::{FileInfo, FileList, sync_directory};
use crate::format::{FRAME_HEADER_BYTES, GroupHeader, LogFileHeader, TenantKey, take_frame};
use crate::reader::{FileReader, Step};
use crate::shared::Shared;
use crate::storage::LogWrite;

/// Name of a thin file while it is written.
const UNFINISHED: &str = "thinned.new";
/// Files that are thinned in one call: the next flush, and a backup that begins, wait for it.
const FILES_AT_ONCE: usize = 4;
/// A run of entries is written in groups of about this length.
const RUN_BYTES: usize = 1024 * 1024;

/// What a thinning did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thinned {
    /// How many files were thinned.
    pub files: usize,
    /// Keys of past days that seal nothing more: ready to be destroyed.
    pub deks_unused: Vec<DekId>,
}

/// Whether a file of a log is a thinned one; false where it cannot be read.
pub fn is_thinned(path: &Path) -> bool {
    let header = File::open(path).ok().and_then(|mut file| LogFileHeader::read(&mut file));
    header.is_some_and(|header| header.end_position.is_some())
}

/// Removes what a thinning left that did not come to its end; the file it read is still there.
pub(crate) fn remove_unfinished(directory: &Path) -> Result<(), LogError> {
    let path = directory.join(UNFINISHED);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LogError::io("delete unfinished thin file", &path, error))
        }
        _ => Ok(()),
    }
}

/// Thins files that end at or before `front`, for tenants that need entries from a position of
/// their own on. The file that is written stays as it is.
pub(crate) fn thin_before(
    shared: &Shared,
    front: u64,
    needs: &BTreeMap<TenantId, u64>,
) -> Result<Thinned, LogError> {
    let _one = shared.thinning.lock();
    let due = shared.files.lock().to_thin(front, needs);
    let mut candidates = HashSet::new();
    let mut thinned = Thinned::default();
    let mut outcome = Ok(());
    for (before, end) in due {
        match thin(shared, &before, end, needs) {
            Ok(false) => {}
            Ok(true) => {
                thinned.files += 1;
                shared.files.lock().give_up(&mut candidates, &before);
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let files = shared.files.lock();
    shared.set_kept(files.kept_bytes());
    thinned.deks_unused = files.unused(candidates);
    outcome.map(|()| thinned)
}

/// Reads a thinned file to its end, to the last checksum; says how long it is.
pub(crate) fn check(path: &Path) -> Result<u64, LogError> {
    let mut reader = FileReader::open(path)?;
    let mut payload = Vec::new();
    loop {
        match reader.step(|_| true, &mut payload)? {
            Step::Group(_) => {}
            Step::End => return Ok(reader.offset()),
            Step::Bad { offset, reason, .. } => return Err(reader.damaged(offset, reason)),
        }
    }
}

impl FileList {
    /// The files to thin, each with the position at which it ends: those that were not thinned
    /// yet, or whose tenants do not all need them any more.
    fn to_thin(&self, front: u64, needs: &BTreeMap<TenantId, u64>) -> Vec<(FileInfo, u64)> {
        let ends = self.0.iter().skip(1).map(|next| next.header.first_position);
        let over = self.0.iter().zip(ends).take_while(|(_, end)| *end <= front);
        let is_due = |file: &FileInfo, end: u64| {
            let is_needed = |tenant: &TenantId| needs.get(tenant).is_some_and(|from| *from < end);
            file.kept.as_ref().is_none_or(|kept| !kept.keys().all(is_needed))
        };
        let due = over.filter(|(file, end)| is_due(file, *end));
        due.take(FILES_AT_ONCE).map(|(file, end)| (file.clone(), end)).collect()
    }

    /// Bytes of each tenant in thinned files.
    fn kept_bytes(&self) -> BTreeMap<TenantId, u64> {
        let mut sum = BTreeMap::new();
        for (tenant, bytes) in self.0.iter().filter_map(|file| file.kept.as_ref()).flatten() {
            *sum.entry(*tenant).or_default() += *bytes;
        }
        sum
    }

    /// The thinned files.
    pub(crate) fn thinned(&self) -> Vec<PathBuf> {
        let thinned = self.0.iter().filter(|file| file.header.end_position.is_some());
        thinned.map(|file| file.path.clone()).collect()
    }
}

/// Puts a thin file in the place of one; false if that was cut meanwhile.
fn thin(
    shared: &Shared,
    before: &FileInfo,
    end: u64,
    needs: &BTreeMap<TenantId, u64>,
) -> Result<bool, LogError> {
    let directory = shared.directory();
    remove_unfinished(directory)?;
    let path = directory.join(UNFINISHED);
    let written = write(shared, &path, before, end, needs);
    let after = match written {
        Ok(after) => after,
        Err(error) => {
            // It only takes space; the next opening removes it too.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
    };
    let mut files = shared.files.lock();
    let file = before.header.file;
    let Some(known) = files.0.iter_mut().find(|known| known.header.file == file) else {
        remove_unfinished(directory)?;
        return Ok(false);
    };
    std::fs::rename(&path, &known.path)
        .map_err(|source| LogError::io("put a thin file in place of", &known.path, source))?;
    // One at a time, so that a crash cannot leave an older file whole behind a thin one.
    sync_directory(directory)?;
    *known = after;
    Ok(true)
}

/// Writes the thin file, durable when this returns.
fn write(
    shared: &Shared,
    path: &Path,
    before: &FileInfo,
    end: u64,
    needs: &BTreeMap<TenantId, u64>,
) -> Result<FileInfo, LogError> {
    let io = |source| LogError::io("write thin file", path, source);
    let header = LogFileHeader { end_position: Some(end), ..before.header };
    let mut reader = FileReader::open(&before.path)?;
    let mut output = shared.config.storage.create(path).map_err(io)?;
    output.write_all(&header.encode()).map_err(io)?;
    let mut thinner = Thinner::new(header.file, needs, output);
    let mut payload = Vec::new();
    loop {
        let offset = reader.offset();
        match reader.step(|_| true, &mut payload)? {
            Step::Group(group) => {
                let keys = reader.tenant_keys();
                let is_whole = thinner.group(&group, keys, &mut payload).map_err(io)?;
                if !is_whole {
                    return Err(reader.damaged(offset, "a group is not whole frames of known keys"));
                }
            }
            Step::End if reader.position() == end => break,
            Step::End => return Err(reader.damaged(offset, "entries at its end are missing")),
            Step::Bad { offset, reason, .. } => return Err(reader.damaged(offset, reason)),
        }
    }
    thinner.end_run().map_err(io)?;
    thinner.write_out().map_err(io)?;
    thinner.output.sync_data().map_err(io)?;
    let Thinner { deks, kept, .. } = thinner;
    Ok(FileInfo { path: before.path.clone(), header, deks, kept: Some(kept) })
}

/// Entries next to each other that stay.
struct Run {
    first: u64,
    count: u32,
    keys: Vec<u8>,
    frames: Vec<u8>,
}

struct Thinner<'a> {
    file: FileId,
    needs: &'a BTreeMap<TenantId, u64>,
    output: Box<dyn LogWrite>,
    /// What is not written yet.
    buffer: Vec<u8>,
    run: Option<Run>,
    /// Numbers of the keys in the thin file, by those in the file that is read.
    numbers: HashMap<usize, u32>,
    deks: BTreeSet<DekId>,
    kept: BTreeMap<TenantId, u64>,
}

impl<'a> Thinner<'a> {
    fn new(file: FileId, needs: &'a BTreeMap<TenantId, u64>, output: Box<dyn LogWrite>) -> Self {
        Self {
            file,
            needs,
            output,
            buffer: Vec::new(),
            run: None,
            numbers: HashMap::new(),
            deks: BTreeSet::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Keeps what is needed of a group; false if it is not in the form of one.
    fn group(
        &mut self,
        group: &GroupHeader,
        keys: &[TenantKey],
        payload: &mut [u8],
    ) -> std::io::Result<bool> {
        let Some(mut frames) = payload.get_mut(group.tenant_bytes as usize..) else {
            return Ok(false);
        };
        for position in group.first_position..group.end() {
            let Some((number, sealed)) = take_frame(&mut frames) else { return Ok(false) };
            let Some(key) = keys.get(number) else { return Ok(false) };
            if self.needs.get(&key.tenant).is_some_and(|from| *from <= position) {
                self.keep(position, (number, key), sealed)?;
            }
        }
        Ok(frames.is_empty())
    }

    fn keep(
        &mut self,
        position: u64,
        (number, key): (usize, &TenantKey),
        sealed: &[u8],
    ) -> std::io::Result<()> {
        let goes_on = self.run.as_ref().is_some_and(|run| {
            run.first + u64::from(run.count) == position && run.frames.len() < RUN_BYTES
        });
        if !goes_on {
            self.end_run()?;
        }
        let new_run = || Run { first: position, count: 0, keys: Vec::new(), frames: Vec::new() };
        let run = self.run.get_or_insert_with(new_run);
        let next = u32::try_from(self.numbers.len()).map_err(std::io::Error::other)?;
        let own = *self.numbers.entry(number).or_insert_with(|| {
            key.encode(&mut run.keys);
            next
        });
        self.deks.insert(key.header.dek);
        let sealed_bytes = u32::try_from(sealed.len()).map_err(std::io::Error::other)?;
        run.frames.extend_from_slice(&own.to_le_bytes());
        run.frames.extend_from_slice(&sealed_bytes.to_le_bytes());
        run.frames.extend_from_slice(sealed);
        run.count += 1;
        let bytes = FRAME_HEADER_BYTES as u64 + u64::from(sealed_bytes);
        *self.kept.entry(key.tenant).or_default() += bytes;
        Ok(())
    }

    /// The run becomes a group.
    fn end_run(&mut self) -> std::io::Result<()> {
        let Some(Run { first, count, mut keys, frames }) = self.run.take() else { return Ok(()) };
        let tenant_bytes = u32::try_from(keys.len()).map_err(std::io::Error::other)?;
        keys.extend_from_slice(&frames);
        let payload = keys;
        let header = GroupHeader {
            payload_bytes: u32::try_from(payload.len()).map_err(std::io::Error::other)?,
            first_position: first,
            entry_count: count,
            tenant_bytes,
            payload_checksum: crc32fast::hash(&payload),
        };
        self.buffer.extend_from_slice(&header.encode(self.file));
        self.buffer.extend_from_slice(&payload);
        if self.buffer.len() >= RUN_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            self.output.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
