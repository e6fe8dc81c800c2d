//! The files of a log: found and checked at opening, listed while it runs, deleted whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use veritwin_domain::TenantId;
use veritwin_keys::{DekId, tail};

use crate::LogError;
use crate::format::{LogFileHeader, is_log_file};
use crate::reader::{FileReader, Step};
use crate::thin;

/// One log file.
#[derive(Debug, Clone)]
pub(crate) struct FileInfo {
    pub(crate) path: PathBuf,
    pub(crate) header: LogFileHeader,
    /// The tenant keys that seal it.
    pub(crate) deks: BTreeSet<DekId>,
    /// Of a thinned file: bytes of each tenant; none until they were counted.
    pub(crate) kept: Option<BTreeMap<TenantId, u64>>,
}

/// The files in the order of their positions; the last is the one being written.
#[derive(Debug, Default)]
pub(crate) struct FileList(pub(crate) Vec<FileInfo>);

impl FileList {
    pub(crate) fn first_position(&self) -> u64 {
        self.0.first().map_or(0, |file| file.header.first_position)
    }

    /// The file that holds `position`, given that it is not before the first.
    pub(crate) fn holding(&self, position: u64) -> Option<&FileInfo> {
        let after = self.0.partition_point(|file| file.header.first_position <= position);
        self.0.get(after.checked_sub(1)?)
    }

    /// Deletes whole files that end at or before `position`, oldest first.
    pub(crate) fn truncate_before(
        &mut self,
        directory: &Path,
        position: u64,
    ) -> Result<Truncation, LogError> {
        let mut truncation = Truncation { files_deleted: 0, deks_unused: Vec::new() };
        let mut candidates = HashSet::new();
        while self.0.len() > 1 && self.0[1].header.first_position <= position {
            let path = &self.0[0].path;
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(LogError::io("delete log file", path, error));
                }
                _ => {}
            }
            // One at a time, so that a crash cannot leave a hole between two files.
            sync_directory(directory)?;
            let deleted = self.0.remove(0);
            truncation.files_deleted += 1;
            self.give_up(&mut candidates, &deleted);
        }
        truncation.deks_unused = self.unused(candidates);
        Ok(truncation)
    }

    /// Notes the keys of a file that is gone, or was another before. Today's may be wanted again
    /// by the file that is being written.
    pub(crate) fn give_up(&self, candidates: &mut HashSet<DekId>, file: &FileInfo) {
        let today = self.0.last().map_or(i64::MAX, |file| file.header.day);
        if file.header.day < today {
            candidates.extend(file.deks.iter().copied());
        }
    }

    /// Those of the keys that seal nothing more, in their order.
    pub(crate) fn unused(&self, mut candidates: HashSet<DekId>) -> Vec<DekId> {
        candidates.retain(|dek| !self.0.iter().any(|file| file.deks.contains(dek)));
        let mut unused: Vec<DekId> = candidates.into_iter().collect();
        unused.sort_unstable();
        unused
    }
}

/// What a truncation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// How many files were deleted.
    pub files_deleted: usize,
    /// Keys of past days that sealed only deleted files: ready to be destroyed.
    pub deks_unused: Vec<DekId>,
}

/// What was found at opening.
pub(crate) struct Found {
    pub(crate) files: FileList,
    /// Files without entries, to be deleted once their successor stands.
    pub(crate) empty: Vec<PathBuf>,
    pub(crate) tail: u64,
    pub(crate) day: i64,
    /// Where an unfinished write begins that was only looked at.
    unfinished: Option<(PathBuf, u64)>,
}

pub(crate) fn create_directory(directory: &Path) -> Result<(), LogError> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(LogError::io("create log directory", directory, error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| LogError::io("make durable log directory", directory, source))
}

/// How files are gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The last in full, an unfinished write is cut off its end; of the others only what says
    /// where their groups stand. The rest is checked when it is read.
    Open,
    /// All in full, and nothing is changed.
    Look,
}

/// Finds the files, checks that they follow each other, checks the last in full and cuts an
/// unfinished write off its end. The others' contents are checked when they are read.
pub(crate) fn find(directory: &Path) -> Result<Found, LogError> {
    let mut paths = list(directory)?;
    thin::remove_unfinished(directory)?;
    for path in take_unfinished(&mut paths)? {
        tracing::warn!(path = %path.display(), "removed a log file whose creation was unfinished");
        std::fs::remove_file(&path)
            .map_err(|source| LogError::io("delete unfinished log file", &path, source))?;
    }
    go_over(paths, Manner::Open)
}

/// What a look at a log that nobody has open has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheck {
    /// How many files there are.
    pub files: usize,
    /// Where an unfinished write begins that the next opening cuts off.
    pub unfinished: Option<(PathBuf, u64)>,
}

pub(crate) fn look(directory: &Path) -> Result<LogCheck, LogError> {
    let mut paths = list(directory)?;
    let files = paths.len();
    let unfinished = take_unfinished(&mut paths)?.pop().map(|path| (path, 0));
    let found = go_over(paths, Manner::Look)?;
    Ok(LogCheck { files, unfinished: unfinished.or(found.unfinished) })
}

fn go_over(paths: Vec<PathBuf>, manner: Manner) -> Result<Found, LogError> {
    let mut found = Found {
        files: FileList::default(),
        empty: Vec::new(),
        tail: 0,
        day: i64::MIN,
        unfinished: None,
    };
    let last = paths.len().saturating_sub(1);
    for (index, path) in paths.into_iter().enumerate() {
        let (info, end) = check_file(&path, index == last, manner, &mut found.unfinished)?;
        let expected = found.tail;
        if index > 0 && info.header.first_position != expected {
            return Err(LogError::Damaged {
                path,
                offset: 0,
                reason: format!(
                    "it begins at position {}, expected {expected}: a file before it is missing",
                    info.header.first_position
                ),
            });
        }
        found.tail = end;
        found.day = found.day.max(info.header.day);
        if end == info.header.first_position {
            found.empty.push(path);
        } else {
            found.files.0.push(info);
        }
    }
    Ok(found)
}

/// The files in the order of their positions.
pub(crate) fn list(directory: &Path) -> Result<Vec<PathBuf>, LogError> {
    let io = |source| LogError::io("list log directory", directory, source);
    let mut paths = Vec::new();
    for item in std::fs::read_dir(directory).map_err(io)? {
        let path = item.map_err(io)?.path();
        if is_log_file(&path) {
            paths.push(path);
        }
    }
    // Names begin with the padded position.
    paths.sort();
    Ok(paths)
}

/// Files whose header never became durable hold nothing that was acknowledged. They are among those
/// with the highest position; their ids tell the newest only where no clock was set back, and there
/// are several where a power loss undid a removal.
fn take_unfinished(paths: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>, LogError> {
    let highest = paths.last().and_then(|path| position_text(path)).map(str::to_owned);
    let mut unfinished = Vec::new();
    for index in (0..paths.len()).rev() {
        let path = &paths[index];
        if position_text(path) != highest.as_deref() {
            break;
        }
        if is_unfinished(path)? && closed_at(path)?.is_none() {
            unfinished.push(paths.remove(index));
        }
    }
    Ok(unfinished)
}

/// The part of a name that says where the file begins.
fn position_text(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.split('-').next()
}

fn is_unfinished(path: &Path) -> Result<bool, LogError> {
    let mut front = Vec::new();
    let limit = LogFileHeader::BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut front))
        .map_err(|source| LogError::io("read log file", path, source))?;
    Ok(front.len() < LogFileHeader::BYTES
        || (front.len() == LogFileHeader::BYTES && tail::is_lost_block(&front, 0)))
}

fn closed_at(path: &Path) -> Result<Option<u64>, LogError> {
    tail::closed_at(path).map_err(|source| LogError::io("read closing mark of", path, source))
}

/// The file's facts and the position after its last entry.
fn check_file(
    path: &Path,
    is_last: bool,
    manner: Manner,
    unfinished: &mut Option<(PathBuf, u64)>,
) -> Result<(FileInfo, u64), LogError> {
    let damaged = |offset, reason| LogError::Damaged { path: path.to_path_buf(), offset, reason };
    let mut reader = FileReader::open(path)?;
    let mut payload = Vec::new();
    // What was closed with nothing open has no unfinished write at its end.
    let is_thinned = reader.header().end_position.is_some();
    let closed = if is_last && !is_thinned { closed_at(path)? } else { None };
    let length = reader.length()?;
    if let Some(bytes) = closed.filter(|bytes| length < *bytes) {
        let reason = format!("it was closed with {bytes} bytes: its end is missing");
        return Err(damaged(length, reason));
    }
    let in_full = is_last || manner == Manner::Look;
    loop {
        match reader.step(|_| in_full, &mut payload)? {
            Step::Group(_) => {}
            Step::End => break,
            Step::Bad { offset, reason, is_short } => {
                // A thinned file has its name only once all of it is durable.
                let is_whole = closed.is_some() || is_thinned;
                if !is_last || is_whole || reader.has_group_after(offset)? {
                    return Err(damaged(offset, reason));
                }
                match manner {
                    Manner::Open => cut(path, offset, &reason, is_short)?,
                    Manner::Look => *unfinished = Some((path.to_path_buf(), offset)),
                }
                break;
            }
        }
    }
    let deks = reader.tenant_keys().iter().map(|key| key.header.dek).collect();
    let info = FileInfo { path: path.to_path_buf(), header: *reader.header(), deks, kept: None };
    Ok((info, reader.position()))
}

/// Ends a file after its last durable group.
pub(crate) fn cut_to(path: &Path, bytes: u64) -> Result<(), LogError> {
    let io = |source| LogError::io("cut log file", path, source);
    let file = File::options().write(true).open(path).map_err(io)?;
    file.set_len(bytes).and_then(|()| file.sync_all()).map_err(io)
}

/// Cuts what a crash left at the end; the bytes are kept beside the file. A power loss may leave a
/// last group that is long enough and wrong: it was never acknowledged. Damage looks the same, so
/// that is told louder.
fn cut(path: &Path, offset: u64, reason: &str, is_short: bool) -> Result<(), LogError> {
    let cut =
        tail::cut(path, offset).map_err(|source| LogError::io("cut log file", path, source))?;
    let (path, kept, cut_bytes) = (path.display(), cut.kept.display(), cut.bytes);
    if is_short {
        tracing::warn!(
            %path, offset, cut_bytes, %kept, reason,
            "cut an unfinished write off the end of a log file"
        );
    } else {
        tracing::error!(
            %path, offset, cut_bytes, %kept, reason,
            "cut a last group that is wrong off a log file: unless the machine lost its power, \
             acknowledged readings are in what was cut"
        );
    }
    Ok(())
}
