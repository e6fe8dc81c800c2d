//! Parts of log files for a copy elsewhere: durable, whole groups only, each checked on the way.
//! And the way back: a log that was put together again is cut where a moment had passed.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use veritwin_domain::{FileId, Timestamp};
use veritwin_keys::KeyService;

use crate::files::{self, cut_to};
use crate::format::{GroupHeader, LogFileHeader};
use crate::opening::Opener;
use crate::reader::{FileReader, Step};
use crate::shared::Shared;
use crate::{LogError, Record, Unreadable};

const BUFFER_BYTES: usize = 256 * 1024;

/// A place between two groups of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlace {
    /// The file.
    pub file: FileId,
    /// Bytes of it that lie before the place.
    pub offset: u64,
    /// The position of the entry that follows.
    pub position: u64,
}

/// Whole groups of one log file, as they lie on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// The file's name in the log's directory.
    pub name: String,
    /// Where in it the part begins.
    pub from: PartPlace,
    /// Where it ends.
    pub to: PartPlace,
    /// The bytes: of a part that begins a file, its header too.
    pub bytes: Vec<u8>,
    /// Whether the file has another behind it and nothing more in it.
    pub ends_file: bool,
}

/// One file of the list, without what only the log itself needs.
struct Listed {
    path: PathBuf,
    header: LogFileHeader,
    is_newest: bool,
}

/// The next durable part after a place, of about `bytes_max` bytes and at least one group; none
/// when there is nothing more. Without a place it is the beginning of the oldest file. Thinned
/// files have no parts: what they hold was there before.
pub(crate) fn part_after(
    shared: &Shared,
    after: Option<PartPlace>,
    bytes_max: usize,
) -> Result<Option<LogPart>, LogError> {
    let tail = shared.tail();
    let files = listed(shared);
    let (mut index, mut place) = match after {
        None => (0, None),
        Some(place) => match files.iter().position(|file| file.header.file == place.file) {
            Some(index) => (index, Some(place)),
            None => (following(&files, place.position)?, None),
        },
    };
    while let Some(file) = files.get(index) {
        let from = place.take().unwrap_or(PartPlace {
            file: file.header.file,
            offset: 0,
            position: file.header.first_position,
        });
        if let Some(part) = read_part(file, from, tail, bytes_max)? {
            return Ok(Some(part));
        }
        index += 1;
    }
    Ok(None)
}

fn listed(shared: &Shared) -> Vec<Listed> {
    let files = shared.files.lock();
    let newest = files.0.len().saturating_sub(1);
    let listed = |(index, file): (usize, &files::FileInfo)| Listed {
        path: file.path.clone(),
        header: file.header,
        is_newest: index == newest,
    };
    let whole = files.0.iter().enumerate();
    whole.filter(|(_, file)| file.header.end_position.is_none()).map(listed).collect()
}

/// The file that begins at a position, after the one before it was deleted.
fn following(files: &[Listed], position: u64) -> Result<usize, LogError> {
    let first = files.first().map_or(0, |file| file.header.first_position);
    let found = files.iter().position(|file| file.header.first_position == position);
    found.ok_or(LogError::Truncated { requested: position, first })
}

fn read_part(
    file: &Listed,
    from: PartPlace,
    tail: u64,
    bytes_max: usize,
) -> Result<Option<LogPart>, LogError> {
    let path = &file.path;
    let io = |source| LogError::io("read log file", path, source);
    let damaged = |offset, reason: &str| LogError::Damaged {
        path: path.clone(),
        offset,
        reason: reason.to_owned(),
    };
    let mut opened = File::open(path).map_err(io)?;
    let length = opened.metadata().map_err(io)?.len();
    match LogFileHeader::read(&mut opened) {
        Some(header) if header == file.header => {}
        // Thinned between the look-up and the opening.
        Some(LogFileHeader { end_position: Some(end), .. }) if end <= from.position => {
            return Ok(None);
        }
        Some(LogFileHeader { end_position: Some(end), .. }) => {
            return Err(LogError::Truncated { requested: from.position, first: end });
        }
        _ => return Err(damaged(0, "expected a log file header")),
    }
    let mut input = BufReader::with_capacity(BUFFER_BYTES, opened);
    let mut bytes = Vec::new();
    if from.offset == 0 {
        bytes = file.header.encode();
    } else {
        input.seek(SeekFrom::Start(from.offset)).map_err(io)?;
    }
    let mut position = from.position;
    while position < tail && bytes.len() < bytes_max {
        let at = from.offset + bytes.len() as u64;
        if at + GroupHeader::BYTES as u64 > length {
            break;
        }
        let mut front = [0u8; GroupHeader::BYTES];
        input.read_exact(&mut front).map_err(io)?;
        let header = GroupHeader::decode(file.header.file, &front)
            .ok_or_else(|| damaged(at, "a group header does not match its checksum"))?;
        if header.first_position != position {
            return Err(damaged(at, "a group begins at another position"));
        }
        let start = bytes.len() + GroupHeader::BYTES;
        bytes.extend_from_slice(&front);
        bytes.resize(start + header.payload_bytes as usize, 0);
        input.read_exact(&mut bytes[start..]).map_err(io)?;
        if crc32fast::hash(&bytes[start..]) != header.payload_checksum {
            return Err(damaged(at, "a group does not match its checksum"));
        }
        position = header.end();
    }
    if position == from.position {
        return Ok(None);
    }
    let offset = from.offset + bytes.len() as u64;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let ends_file = !file.is_newest && offset == length;
    let to = PartPlace { file: from.file, offset, position };
    Ok(Some(LogPart { name, from, to, bytes, ends_file }))
}

/// Where a log is cut for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MomentBounds {
    /// The moment.
    pub at: Timestamp,
    /// Entries before this position stay in any case.
    pub keep: u64,
    /// Entries from this position on are opened.
    pub open_from: u64,
}

/// What a cut at a moment left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MomentCut {
    /// The position after the last entry that stayed.
    pub end_position: u64,
    /// When the newest entry that stayed was received.
    pub newest: Option<Timestamp>,
    /// When the first entry that went was received; none when everything stayed.
    pub next: Option<Timestamp>,
    /// Entries that stayed and that no key opens: it was destroyed or withdrawn, or does not
    /// answer.
    pub closed: u64,
}

/// Cuts a log that nobody has open where a moment had passed: before the first group with an
/// entry that was received after it. What became durable together stays or goes together, so
/// everything that was acknowledged by then stays. Groups before position `keep` stay whatever
/// they say. An entry whose key is in no keyring is an error: it would be missing without a word.
pub(crate) fn cut_at(
    directory: &Path,
    keys: &KeyService,
    bounds: MomentBounds,
) -> Result<MomentCut, LogError> {
    let mut opener = Opener::new(keys.clone());
    let mut cut = MomentCut { end_position: 0, newest: None, next: None, closed: 0 };
    let paths = without_empty(files::list(directory)?)?;
    let last = paths.len().saturating_sub(1);
    for (index, path) in paths.iter().enumerate() {
        if cut.next.is_some() {
            remove(path)?;
            continue;
        }
        let mut file = FileReader::open(path)?;
        if index > 0 && file.header().first_position != cut.end_position {
            let (found, expected) = (file.header().first_position, cut.end_position);
            let reason = format!(
                "it begins at position {found}, expected {expected}: a file before it is missing"
            );
            return Err(LogError::Damaged { path: path.clone(), offset: 0, reason });
        }
        cut.end_position = file.header().first_position;
        cut_file(&mut file, &mut opener, bounds, index == last, &mut cut)?;
    }
    files::sync_directory(directory)?;
    Ok(cut)
}

/// A file that was being begun when it was copied may lie beside the one that was begun in its
/// place after a restart, at the same position: the empty one goes.
fn without_empty(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, LogError> {
    let position = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split('-').next().unwrap_or_default().to_owned()
    };
    let mut kept: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        let has_twin = kept.last().is_some_and(|before| position(before) == position(&path));
        if has_twin && is_empty(&path)? {
            remove(&path)?;
            continue;
        }
        if has_twin && let Some(before) = kept.pop_if(|before| matches!(is_empty(before), Ok(true)))
        {
            remove(&before)?;
        }
        kept.push(path);
    }
    // One whose header never became durable holds nothing.
    if kept.len() > 1
        && let Some(last) = kept.pop_if(|last| is_torn(last))
    {
        remove(&last)?;
    }
    Ok(kept)
}

fn is_torn(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|facts| facts.len() < LogFileHeader::BYTES as u64)
}

fn is_empty(path: &Path) -> Result<bool, LogError> {
    let facts = std::fs::metadata(path);
    let facts = facts.map_err(|source| LogError::io("inspect log file", path, source))?;
    Ok(facts.len() <= LogFileHeader::BYTES as u64)
}

fn cut_file(
    file: &mut FileReader,
    opener: &mut Opener,
    bounds: MomentBounds,
    is_last: bool,
    cut: &mut MomentCut,
) -> Result<(), LogError> {
    let path = file.path().to_owned();
    let mut payload = Vec::new();
    let from = bounds.open_from.min(bounds.keep);
    loop {
        let offset = file.offset();
        let header = match file.step(|header| header.end() > from, &mut payload)? {
            Step::Group(header) => header,
            Step::End => {
                // What a thinned file has left out at its end belongs to it.
                cut.end_position = cut.end_position.max(file.position());
                return Ok(());
            }
            // A copy of a file that was being written may end inside a group.
            Step::Bad { offset, is_short: true, .. } if is_last => return cut_to(&path, offset),
            Step::Bad { offset, reason, .. } => {
                return Err(LogError::Damaged { path, offset, reason });
            }
        };
        if header.end() > from {
            let damaged = |reason| LogError::Damaged { path: path.clone(), offset, reason };
            let group = file.group(header);
            let batch = opener.open(&group, &mut payload, from).map_err(damaged)?;
            opener.forget_spooled();
            let mut newest: Option<Timestamp> = None;
            let mut closed = 0u64;
            for (position, entry) in batch.iter() {
                if entry.record == Record::Unreadable(Unreadable::KeyUnavailable)
                    && opener.lacks_key(&group, entry.tenant)
                {
                    let tenant = entry.tenant;
                    return Err(damaged(format!(
                        "the key of position {position}, tenant {tenant}, is not in the keyring: \
                         take a copy of the keyring that was made later, or an earlier moment"
                    )));
                }
                closed += u64::from(matches!(entry.record, Record::Unreadable(_)));
                newest = newest.max(entry.record.received_at());
            }
            if header.end() > bounds.keep
                && let Some(next) = newest.filter(|newest| *newest > bounds.at)
            {
                cut.next = Some(next);
                return cut_to(&path, offset);
            }
            cut.newest = cut.newest.max(newest);
            cut.closed += closed;
        }
        cut.end_position = header.end();
    }
}

fn remove(path: &Path) -> Result<(), LogError> {
    std::fs::remove_file(path).map_err(|source| LogError::io("delete log file", path, source))
}
