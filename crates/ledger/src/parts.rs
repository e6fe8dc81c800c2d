//! A journal of objects in a bucket. One sequence of numbers runs through every opening; each part
//! is put under the next number on condition that nothing has it, and counts when no later part is
//! there. So a second archive on the same bucket, or one that was cut off and goes on, cannot sign
//! beside the first: its number is taken, or was taken and is free again, with later ones behind
//! it. What this host wrote last is noted beside its keys: a bucket that lost it is refused.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use veritwin_domain::FileId;
use veritwin_keys::{DataClass, DekScope};

use crate::archive::Shared;
use crate::objects::{open_whole, seal_whole};
use crate::replay::Replay;
use crate::sink::snapshot;
use crate::{Bucket, LedgerError};

/// Parts that are read at once.
const READ_AT_ONCE: usize = 16;
/// What a part counts at least, so that many small ones end a journal too: it is read one by one.
const PART_BYTES_MIN: u64 = 16 << 10;
const FOLDER: &str = "journal";
/// The note of the last number that this host wrote.
const WRITTEN_FILE: &str = "written";

/// What a part holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A journal begins; its snapshot follows.
    Begin = 1,
    /// A frame of the snapshot.
    Snapshot = 2,
    /// A group.
    Group = 3,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Begin),
            2 => Some(Self::Snapshot),
            3 => Some(Self::Group),
            _ => None,
        }
    }
}

/// The writer of one opening.
pub(crate) struct Parts {
    bucket: Bucket,
    /// The number of the next part.
    next: u64,
    /// The number at which the journal in force begins.
    begin: u64,
    bytes: u64,
}

impl Parts {
    /// Reads what there is, and begins a journal of its own.
    pub(crate) fn open(shared: &Shared, bucket: &Bucket) -> Result<Self, LedgerError> {
        let mut numbers: Vec<_> = bucket.list(FOLDER)?.iter().filter_map(|at| number(at)).collect();
        numbers.sort_unstable();
        let last = numbers.last().copied().unwrap_or(0);
        let written = written(&shared.directory);
        if written > last {
            return Err(corrupt(bucket, last + 1, "it was written by this host and is gone"));
        }
        if let Some(replay) = read(shared, bucket, &numbers)? {
            let logs = replay.finish(shared)?;
            *shared.logs.write() = logs;
        }
        let mut parts = Self { bucket: bucket.clone(), next: last + 1, begin: last + 1, bytes: 0 };
        parts.begin(shared)?;
        parts.check_names(shared)?;
        parts.bucket.forget(numbers.into_iter().map(name).collect());
        Ok(parts)
    }

    /// What the journal in force takes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a group.
    pub(crate) fn write(&mut self, shared: &Shared, frame: &[u8]) -> Result<(), LedgerError> {
        self.put(shared, Kind::Group, frame)
    }

    /// Begins a journal with a snapshot in the place of the one before. Its first part claims the
    /// bucket, and shows whether the bucket keeps locks.
    pub(crate) fn begin(&mut self, shared: &Shared) -> Result<(), LedgerError> {
        let (before, begin) = (self.begin, self.next);
        self.bytes = 0;
        let until = shared.clock.now().saturating_add(shared.limits.period_min);
        self.put(shared, Kind::Begin, &[])?;
        self.bucket.check_lock(&name(begin), until)?;
        snapshot(shared, |frame| self.put(shared, Kind::Snapshot, frame))?;
        self.begin = begin;
        self.bucket.forget((before..begin).map(name).collect());
        Ok(())
    }

    /// Refuses a bucket that gives one name twice, or does not list what it has taken: nothing
    /// would keep two archives apart there. What it takes here says the same as what is there.
    fn check_names(&self, shared: &Shared) -> Result<(), LedgerError> {
        let number = self.begin;
        let sealed = sealed(shared, number, (Kind::Begin, &[]))?;
        let until = shared.clock.now().saturating_add(shared.limits.period_min);
        if self.bucket.put_new(&name(number), sealed, until)? {
            return Err(LedgerError::invalid(format!(
                "{}: the bucket took a name that was taken: its server has to know If-None-Match",
                self.bucket.at(&name(number)).display()
            )));
        }
        if !self.bucket.list_behind(FOLDER, Some(&name(number - 1)))?.contains(&name(number)) {
            return Err(LedgerError::invalid(format!(
                "{}: the bucket does not list what was put just now",
                self.bucket.at(&name(number)).display()
            )));
        }
        Ok(())
    }

    /// True when somebody else put a part behind a number. Names of old parts are free again, and
    /// each was taken away after a later part was there, which goes only after the next one is: so
    /// whoever is given a name a second time finds a later one, whatever goes on meanwhile.
    fn is_overtaken(&self, own: u64) -> Result<bool, LedgerError> {
        let behind = self.bucket.list_behind(FOLDER, Some(&name(own)))?;
        Ok(behind.iter().filter_map(|at| number(at)).any(|other| other > own))
    }

    fn put(&mut self, shared: &Shared, kind: Kind, frame: &[u8]) -> Result<(), LedgerError> {
        let number = self.next;
        let sealed = sealed(shared, number, (kind, frame))?;
        let bytes = sealed.len() as u64;
        let until = shared.clock.now().saturating_add(shared.limits.period_min);
        let is_put = self.bucket.put_new(&name(number), sealed, until)?;
        // What lies there then is nobody's, and is not acknowledged: a later journal begins with
        // all that counts.
        if !is_put || self.is_overtaken(number)? {
            return Err(LedgerError::Locked(self.bucket.at(&name(number))));
        }
        self.next = number + 1;
        self.bytes += bytes.max(PART_BYTES_MIN);
        note(&shared.directory, number);
        Ok(())
    }
}

/// Every log as the parts tell of it. None while nothing was begun.
fn read(shared: &Shared, bucket: &Bucket, numbers: &[u64]) -> Result<Option<Replay>, LedgerError> {
    let mut reading = Reading { shared, bucket, whole: None, part: None, problem: None };
    let mut wanted = numbers.first().copied().unwrap_or(1);
    for some in numbers.chunks(READ_AT_ONCE) {
        let names: Vec<_> = some.iter().map(|number| name(*number)).collect();
        let sealed = bucket.get_all(&names)?;
        for (number, sealed) in some.iter().copied().zip(sealed) {
            if number != wanted {
                reading.wrong(wanted, "it is not there, and later ones are");
            }
            wanted = number + 1;
            match sealed {
                Some(sealed) => reading.take(number, &sealed)?,
                None => reading.wrong(number, "it was taken away just now"),
            }
        }
    }
    let Reading { whole, problem, .. } = reading;
    match (problem, whole, numbers.first()) {
        (Some(problem), _, _) => Err(problem),
        // But where the first opening of all was cut off before its snapshot was complete.
        (None, None, Some(first)) if *first > 1 => {
            Err(corrupt(bucket, *first, "no complete snapshot is there"))
        }
        (None, whole, _) => Ok(whole),
    }
}

/// How far the parts were read.
struct Reading<'a> {
    shared: &'a Shared,
    bucket: &'a Bucket,
    /// What the newest complete snapshot and the groups behind it tell.
    whole: Option<Replay>,
    /// A snapshot that is not complete yet.
    part: Option<Replay>,
    /// What does not fit. The next complete snapshot makes it good: what lies before one is on its
    /// way out, and may be gone in part.
    problem: Option<LedgerError>,
}

impl Reading<'_> {
    fn wrong(&mut self, number: u64, problem: &str) {
        (self.whole, self.part) = (None, None);
        self.problem.get_or_insert_with(|| corrupt(self.bucket, number, problem));
    }

    fn take(&mut self, number: u64, sealed: &[u8]) -> Result<(), LedgerError> {
        let path = self.bucket.at(&name(number));
        let plain = open_whole((&self.shared.keys, &path), &context(number), sealed);
        let plain = match plain {
            Ok(plain) => plain,
            Err(error @ LedgerError::Corrupt { .. }) => {
                (self.whole, self.part) = (None, None);
                self.problem.get_or_insert(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let parts = plain.split_first().and_then(|(kind, rest)| Some((Kind::of(*kind)?, rest)));
        let problem = match parts {
            None => Some("its form is unknown".to_owned()),
            Some((Kind::Begin, _)) => {
                self.part = Some(Replay::default());
                return Ok(());
            }
            Some((Kind::Snapshot, frame)) => take_into(self.part.as_mut(), frame, self.shared)?,
            // Who begins a journal takes the number that a group would have had.
            Some((Kind::Group, frame)) => {
                let whole = self.whole.as_mut().filter(|_| self.part.is_none());
                take_into(whole, frame, self.shared)?
            }
        };
        if let Some(problem) = problem {
            self.wrong(number, &problem);
        } else if let Some(whole) = self.part.take_if(|part| part.is_whole()) {
            self.problem = None;
            if let Some(before) = self.whole.replace(whole) {
                // What it wrote again of pruned bundles goes again.
                before.finish(self.shared)?;
            }
        }
        Ok(())
    }
}

/// The answer is what does not fit.
fn take_into(
    replay: Option<&mut Replay>,
    frame: &[u8],
    shared: &Shared,
) -> Result<Option<String>, LedgerError> {
    let Some(replay) = replay else {
        return Ok(Some("the snapshot before it is not complete".to_owned()));
    };
    match replay.take(frame, shared) {
        Ok(()) => Ok(None),
        Err(LedgerError::Invalid(problem)) => Ok(Some(problem)),
        Err(error) => Err(error),
    }
}

/// A part as it is put.
fn sealed(
    shared: &Shared,
    number: u64,
    (kind, frame): (Kind, &[u8]),
) -> Result<Bytes, LedgerError> {
    let id = FileId::generate(shared.clock.now(), shared.rng.as_ref());
    let plain = [[kind as u8].as_slice(), frame].concat();
    let scope = DekScope::platform(DataClass::Archive);
    seal_whole((&shared.keys, id), &scope, &context(number), &plain).map(Bytes::from)
}

fn name(number: u64) -> String {
    format!("{FOLDER}/{number:020}")
}

fn number(name: &str) -> Option<u64> {
    name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
}

fn context(number: u64) -> Vec<u8> {
    [b"veritwin archive journal part v1\n".as_slice(), &number.to_be_bytes()].concat()
}

fn corrupt(bucket: &Bucket, number: u64, problem: &str) -> LedgerError {
    let file = bucket.at(&name(number));
    LedgerError::Corrupt { file, offset: 0, problem: problem.to_owned() }
}

/// The number that this host noted; 0 when it noted none.
fn written(directory: &Path) -> u64 {
    let text = std::fs::read_to_string(directory.join(WRITTEN_FILE)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Notes a number. Not synced: after a crash of the host an older one stands there, or none.
fn note(directory: &Path, number: u64) {
    let path: PathBuf = directory.join(WRITTEN_FILE);
    let temporary = path.with_extension("tmp");
    let noted = std::fs::write(&temporary, format!("{number}\n"));
    if let Err(error) = noted.and_then(|()| std::fs::rename(&temporary, &path)) {
        tracing::warn!(%error, path = %path.display(), "what was written last is not noted");
    }
}
