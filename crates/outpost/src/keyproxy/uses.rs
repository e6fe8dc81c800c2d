//! The record of each use of a key: one line of JSON, durable before the answer leaves, each with
//! the SHA-256 of the line before. A line that a crash cut short belongs to no answer and is cut
//! off; a use that cannot be recorded is refused.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_keys::sha256;

use super::KeyProxyError;

pub(super) const USE_FILE: &str = "use.log";
/// A file of the record is closed when it is this large, and the next one is begun.
pub const USE_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest text of one field that is kept, in characters.
const TEXT_CHARS_MAX: usize = 256;
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One use, or an attempt at one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// When, RFC 3339.
    pub at: String,
    /// `encrypt`, `decrypt` or `metadata`.
    pub operation: String,
    /// `ok`, or the name of the error that was answered.
    pub outcome: String,
    /// Which key.
    pub key: String,
    /// For which tenant, as the caller said under its signature.
    pub tenant: String,
    /// Why.
    pub purpose: String,
    /// On whose behalf.
    pub actor: String,
    /// The caller's name for the request.
    pub request: String,
    /// The credential that it was signed with.
    pub credential: String,
    /// From which address.
    pub from: String,
    /// SHA-256 of the line before, in hexadecimal.
    pub previous: String,
}

/// A text of somebody else's, as it is kept.
pub(super) fn kept(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(TEXT_CHARS_MAX).collect()
}

struct Open {
    file: File,
    bytes: u64,
    last: String,
    /// After a failure that could not be undone nothing is appended to a line that is half there.
    is_broken: bool,
}

/// The record.
pub(super) struct Uses {
    directory: PathBuf,
    open: Mutex<Open>,
    file_bytes_max: u64,
}

fn hash(line: &[u8]) -> String {
    hex::encode(sha256(line))
}

fn closed(directory: &Path) -> Result<Vec<PathBuf>, KeyProxyError> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.map_err(KeyProxyError::io(directory.display()))?;
    let is_closed = |name: &str| {
        name.strip_prefix("use.").and_then(|rest| rest.strip_suffix(".log")).is_some_and(|number| {
            number.len() == 8 && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(KeyProxyError::io(directory.display()))?;
        if entry.file_name().to_str().is_some_and(is_closed) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The number of a closed file.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("use.")?.strip_suffix(".log")?.parse().ok()
}

/// The last whole line of a file and where it ends.
fn tail(file: &mut File) -> std::io::Result<(Option<Vec<u8>>, u64)> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(2 * LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        if from > 0 {
            // No line is so long: nothing is cut off a file that is damaged.
            return Err(std::io::Error::other("its end is no line of a record"));
        }
        return Ok((None, 0));
    };
    let line = bytes.get(..end).unwrap_or_default();
    let start = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = line.get(start..).unwrap_or_default().to_vec();
    Ok((Some(whole), from + end as u64 + 1))
}

fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).open(path)
}

impl Uses {
    /// Opens the record, and cuts off a line that is not whole.
    pub(super) fn open(directory: &Path, file_bytes_max: u64) -> Result<Self, KeyProxyError> {
        let path = directory.join(USE_FILE);
        let error = || KeyProxyError::io(path.display());
        let mut file = open_file(&path).map_err(error())?;
        let (line, end) = tail(&mut file).map_err(error())?;
        file.set_len(end).map_err(error())?;
        file.sync_all().map_err(error())?;
        let last = match line {
            Some(line) => hash(&line),
            None => match closed(directory)?.last() {
                Some(before) => {
                    let mut before = File::open(before).map_err(error())?;
                    let (line, _) = tail(&mut before).map_err(error())?;
                    line.map_or_else(|| NOTHING.to_owned(), |line| hash(&line))
                }
                None => NOTHING.to_owned(),
            },
        };
        sync_directory(directory).map_err(error())?;
        let open = Mutex::new(Open { file, bytes: end, last, is_broken: false });
        Ok(Self { directory: directory.to_path_buf(), open, file_bytes_max })
    }

    /// Appends a use; durable when this returns.
    pub(super) fn append(&self, mut one: KeyUse) -> std::io::Result<()> {
        let mut open = self.open.lock();
        if open.is_broken {
            return Err(std::io::Error::other("an earlier write failed: a restart is needed"));
        }
        if open.bytes >= self.file_bytes_max {
            self.begin_next(&mut open)?;
        }
        one.previous.clone_from(&open.last);
        let mut line = serde_json::to_vec(&one)?;
        if line.len() >= LINE_BYTES_MAX {
            return Err(std::io::Error::other("a use has too long a line"));
        }
        let last = hash(&line);
        line.push(b'\n');
        let written = open.file.write_all(&line).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            let undone = open.file.set_len(open.bytes).and_then(|()| open.file.sync_data());
            open.is_broken = undone.is_err();
            return Err(error);
        }
        open.bytes += line.len() as u64;
        open.last = last;
        Ok(())
    }

    /// Whether uses can be recorded, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        !self.open.lock().is_broken
    }

    fn begin_next(&self, open: &mut Open) -> std::io::Result<()> {
        // Behind the last one, also where older ones were moved away: none is ever written over.
        let closed = closed(&self.directory).map_err(std::io::Error::other)?;
        let last = closed.last().and_then(|path| number(path)).unwrap_or(0);
        let path = self.directory.join(USE_FILE);
        std::fs::rename(&path, self.directory.join(format!("use.{:08}.log", last + 1)))?;
        open.file = open_file(&path)?;
        open.bytes = 0;
        sync_directory(&self.directory)
    }
}

fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What the record of a directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UseSummary {
    /// How many lines.
    pub uses: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// The first moment.
    pub first_at: Option<String>,
    /// The last moment.
    pub last_at: Option<String>,
    /// The first line that does not follow from the one before, as `FILE:LINE`.
    pub broken_at: Option<String>,
}

/// Reads the record from its first line, and checks that each follows from the one before.
pub(super) fn verify(directory: &Path) -> Result<UseSummary, KeyProxyError> {
    let mut files = closed(directory)?;
    let current = directory.join(USE_FILE);
    if current.exists() {
        files.push(current);
    }
    let (mut summary, mut last) = (UseSummary::default(), NOTHING.to_owned());
    for path in files {
        let file = File::open(&path).map_err(KeyProxyError::io(path.display()))?;
        for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.map_err(KeyProxyError::io(path.display()))?;
            let one = serde_json::from_slice::<KeyUse>(&line).ok();
            let Some(one) = one.filter(|one| one.previous == last) else {
                summary.broken_at = Some(format!("{}:{}", path.display(), number + 1));
                return Ok(summary);
            };
            last = hash(&line);
            summary.uses += 1;
            summary.refused += u64::from(one.outcome != "ok");
            summary.first_at.get_or_insert_with(|| one.at.clone());
            summary.last_at = Some(one.at);
        }
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(outcome: &str) -> KeyUse {
        let at = "2026-03-01T08:00:00Z".to_owned();
        KeyUse { at, outcome: outcome.to_owned(), ..KeyUse::default() }
    }

    #[test]
    fn lines_follow_from_each_other_over_files_and_crashes() {
        let place = tempfile::tempdir().expect("folder");
        let open = || Uses::open(place.path(), 400).expect("opened");
        let uses = open();
        for outcome in ["ok", "AccessDeniedException", "ok", "ok"] {
            uses.append(one(outcome)).expect("kept");
        }
        drop(uses);
        assert_eq!(closed(place.path()).expect("files").len(), 1, "two lines are one file");
        let path = place.path().join(USE_FILE);
        // A crash in the middle of a line.
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("file");
        file.write_all(b"{\"at\":\"2026").expect("torn");
        open().append(one("ok")).expect("kept");
        let summary = verify(place.path()).expect("read");
        assert_eq!((summary.uses, summary.refused, summary.broken_at), (5, 1, None));
        // A line that was altered, and one that was taken out.
        let first = place.path().join("use.00000001.log");
        let text = std::fs::read_to_string(&first).expect("text");
        std::fs::write(&first, text.replacen("ok", "no", 1)).expect("altered");
        let broken = verify(place.path()).expect("read").broken_at.expect("broken");
        assert!(broken.ends_with("use.00000001.log:2"), "{broken}");
        let rest = text.split_once('\n').expect("lines").1;
        std::fs::write(&first, rest).expect("taken out");
        assert!(verify(place.path()).expect("read").broken_at.is_some());
    }

    #[test]
    fn a_new_file_goes_on_from_the_last_one() {
        let place = tempfile::tempdir().expect("folder");
        Uses::open(place.path(), 1).expect("opened").append(one("ok")).expect("kept");
        // The next line begins the next file; a crash right after leaves an empty one.
        let path = place.path().join(USE_FILE);
        std::fs::rename(&path, place.path().join("use.00000001.log")).expect("closed");
        let uses = Uses::open(place.path(), 1).expect("opened");
        assert!(uses.is_well());
        uses.append(one("ok")).expect("kept");
        uses.append(one("ok")).expect("kept");
        let summary = verify(place.path()).expect("read");
        assert_eq!((summary.uses, summary.broken_at), (3, None));
    }

    #[test]
    fn no_file_is_written_over_when_older_ones_were_moved_away() {
        let place = tempfile::tempdir().expect("folder");
        let uses = Uses::open(place.path(), 1).expect("opened");
        for _ in 0..4 {
            uses.append(one("ok")).expect("kept");
        }
        let path = |number: u64| place.path().join(format!("use.{number:08}.log"));
        let third = std::fs::read(path(3)).expect("three are closed");
        for number in [1, 2] {
            std::fs::remove_file(path(number)).expect("moved away");
        }
        for _ in 0..3 {
            uses.append(one("ok")).expect("kept");
        }
        assert_eq!(std::fs::read(path(3)).expect("still there"), third);
        let numbers: Vec<_> =
            closed(place.path()).expect("files").iter().map(|it| number(it)).collect();
        assert_eq!(numbers, [Some(3), Some(4), Some(5), Some(6)]);
    }
}
