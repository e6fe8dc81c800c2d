//! What the edge has stated, in the order of the counters: one file of statements, each durable
//! before anybody else sees it. What was taken by the platform is noted in a second file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use veritwin_verify::{Digest, EDGE_STATEMENT_BYTES, EdgeKind, EdgeStatement};

use super::{EdgeError, place};

pub(super) const STATEMENTS_FILE: &str = "statements";
const SENT_FILE: &str = "sent.json";
/// The file is written anew, without what was taken or given up, when it has reached this size and
/// at least half of it is not needed.
const REWRITE_BYTES: u64 = 4 * 1024 * 1024;
/// The note of what was taken always has this length: where the disk is full it is written over.
const SENT_BYTES: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// Counter of the last statement that the platform has taken.
    counter: u64,
}

/// The statements of an edge.
pub(super) struct Journal {
    path: PathBuf,
    sent_path: PathBuf,
    file: File,
    file_bytes: u64,
    last: Option<EdgeStatement>,
    /// The last one of a batch: behind its entries the next one begins.
    last_batch: Option<EdgeStatement>,
    unsent: VecDeque<EdgeStatement>,
    sent: u64,
    given_up: u64,
}

fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> EdgeError {
    EdgeError::Damaged(format!("{}: {detail}", path.display()))
}

/// What is written down of the last statement that was taken.
fn sent_bytes(counter: u64) -> Result<[u8; SENT_BYTES], EdgeError> {
    let text = serde_json::to_vec(&Sent { counter });
    let text = text.map_err(|error| EdgeError::Damaged(error.to_string()))?;
    let mut bytes = [b' '; SENT_BYTES];
    if let Some(start) = bytes.get_mut(..text.len()) {
        start.copy_from_slice(&text);
    }
    Ok(bytes)
}

/// The statements in a file; what an unfinished write left at its end is cut off. After a loss of
/// power that can have the length of a statement and not be one: nobody has seen it, since it was
/// never durable.
fn read(path: &Path) -> Result<Vec<EdgeStatement>, EdgeError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EdgeError::io(path.display())(error)),
    };
    let mut statements: Vec<EdgeStatement> = Vec::new();
    let mut chunks = bytes.chunks_exact(EDGE_STATEMENT_BYTES).peekable();
    while let Some(one) = chunks.next() {
        let statement =
            EdgeStatement::decode(one).and_then(|statement| statement.verify().map(|()| statement));
        match statement {
            Ok(statement) => statements.push(statement),
            Err(error) if chunks.peek().is_none() => {
                tracing::warn!(%error, "an unfinished statement is left out");
            }
            Err(error) => return Err(damaged(path, &error)),
        }
    }
    Ok(statements)
}

impl Journal {
    pub(super) fn open(directory: &Path) -> Result<Self, EdgeError> {
        let (path, sent_path) = (directory.join(STATEMENTS_FILE), directory.join(SENT_FILE));
        let statements = read(&path)?;
        let sent = place::read_json::<Sent>(&sent_path)?.unwrap_or_default().counter;
        let mut options = File::options();
        let file = options.create(true).append(true).open(&path);
        let file = file.map_err(EdgeError::io(path.display()))?;
        let file_bytes = (statements.len() * EDGE_STATEMENT_BYTES) as u64;
        if !sent_path.exists() {
            place::write(&sent_path, &sent_bytes(sent)?)?;
        }
        file.set_len(file_bytes)
            .and_then(|()| file.sync_all())
            .map_err(EdgeError::io(path.display()))?;
        let mut journal = Self {
            path,
            sent_path,
            file,
            file_bytes,
            last: None,
            last_batch: None,
            unsent: VecDeque::new(),
            sent,
            given_up: 0,
        };
        statements.into_iter().for_each(|one| journal.take(one));
        if sent > journal.counters().0 {
            let detail = "statements are missing that the platform has taken";
            return Err(damaged(&journal.path, &detail));
        }
        Ok(journal)
    }

    /// Takes note of a statement that is durable.
    fn take(&mut self, statement: EdgeStatement) {
        match statement.fields().kind {
            EdgeKind::Batch => self.last_batch = Some(statement),
            EdgeKind::DiskFull { first, last } => {
                let is_given_up = |one: &EdgeStatement| {
                    (first..=last).contains(&one.counter()) && one.fields().kind == EdgeKind::Batch
                };
                self.unsent.retain(|one| !is_given_up(one));
                self.given_up += last - first + 1;
            }
        }
        self.last = Some(statement);
        if statement.counter() > self.sent {
            self.unsent.push_back(statement);
        }
    }

    /// Counter of the next statement, and the hash of the one before it.
    pub(super) fn next(&self) -> (u64, Digest) {
        let last = self.last.as_ref();
        last.map_or((1, Digest::ZERO), |last| (last.counter() + 1, last.hash()))
    }

    /// The position in the edge's log from which nothing is stated yet.
    pub(super) fn stated_to(&self) -> u64 {
        self.last_batch.as_ref().map_or(0, |batch| batch.fields().last_position + 1)
    }

    /// Makes a statement durable.
    pub(super) fn append(&mut self, statement: EdgeStatement) -> Result<(), EdgeError> {
        if let Err(error) = self.file.write_all(statement.as_bytes()) {
            // Nothing of it may stay: the next one would stand behind half a statement.
            let cut = self.file.set_len(self.file_bytes);
            cut.map_err(|error| damaged(&self.path, &error))?;
            return Err(EdgeError::io(self.path.display())(error));
        }
        // What a failed synchronisation left is known after the next start only.
        self.file.sync_data().map_err(|error| damaged(&self.path, &error))?;
        self.file_bytes += EDGE_STATEMENT_BYTES as u64;
        self.take(statement);
        self.tidy()
    }

    /// The statement that is to be sent next.
    pub(super) fn front(&self) -> Option<EdgeStatement> {
        self.unsent.front().copied()
    }

    /// Statements that wait, and the entries of them.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let entries = self.unsent.iter().map(EdgeStatement::fields);
        let entries = entries.filter(|fields| fields.kind == EdgeKind::Batch);
        (self.unsent.len(), entries.map(|fields| fields.entries).sum())
    }

    /// How many statements wait.
    pub(super) fn waiting_count(&self) -> usize {
        self.unsent.len()
    }

    /// Counters of the last statement that was made, and of the last that was taken.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.last.as_ref().map_or(0, EdgeStatement::counter), self.sent)
    }

    /// How many batches were given up.
    pub(super) const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The position before which the log is not needed any more.
    pub(super) fn needed_from(&self) -> u64 {
        let mut waiting = self.unsent.iter().map(EdgeStatement::fields);
        let first = waiting.find(|fields| fields.kind == EdgeKind::Batch);
        first.map_or_else(|| self.stated_to(), |fields| fields.first_position)
    }

    /// The oldest batches that wait, without a gap, at most so many.
    pub(super) fn oldest(&self, count_max: usize) -> Vec<EdgeStatement> {
        let is_batch = |one: &&EdgeStatement| one.fields().kind == EdgeKind::Batch;
        let mut oldest: Vec<EdgeStatement> = Vec::new();
        for one in self.unsent.iter().filter(is_batch).take(count_max) {
            if oldest.last().is_some_and(|last| last.counter() + 1 != one.counter()) {
                break;
            }
            oldest.push(*one);
        }
        oldest
    }

    /// The platform has taken the statement with this counter and all before it.
    pub(super) fn note_sent(&mut self, counter: u64) -> Result<(), EdgeError> {
        let bytes = sent_bytes(counter)?;
        if let Err(error) = place::write(&self.sent_path, &bytes) {
            // A full disk has no place for another file, and gets none before this is noted.
            self.write_over_sent(&bytes).map_err(|_| error)?;
        }
        self.sent = self.sent.max(counter);
        while self.unsent.front().is_some_and(|one| one.counter() <= counter) {
            self.unsent.pop_front();
        }
        self.tidy()
    }

    fn write_over_sent(&self, bytes: &[u8]) -> std::io::Result<()> {
        let file = File::options().write(true).open(&self.sent_path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    }

    /// Leaves out what nobody asks for any more, once that is much. Where there is no place for the
    /// new file, the old one goes on.
    fn tidy(&mut self) -> Result<(), EdgeError> {
        let needed = ((self.unsent.len() + 2) * EDGE_STATEMENT_BYTES) as u64;
        if self.file_bytes < REWRITE_BYTES || self.file_bytes / 2 < needed {
            return Ok(());
        }
        match self.rewrite() {
            Err(error @ EdgeError::Io { .. }) => {
                tracing::warn!(%error, "the statements are not written anew");
                Ok(())
            }
            done => done,
        }
    }

    fn rewrite(&mut self) -> Result<(), EdgeError> {
        let mut kept: Vec<EdgeStatement> = self.unsent.iter().copied().collect();
        kept.extend(self.last_batch);
        kept.extend(self.last);
        kept.sort_by_key(EdgeStatement::counter);
        kept.dedup();
        let bytes: Vec<u8> = kept.iter().flat_map(|one| *one.as_bytes()).collect();
        let temporary = self.path.with_extension("tmp");
        let write = || -> std::io::Result<File> {
            let mut options = File::options();
            options.create(true).append(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.set_len(0)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)?;
            Ok(file)
        };
        // From here on statements go into the file that has the name now, whatever else fails.
        self.file = write().map_err(EdgeError::io(self.path.display()))?;
        self.file_bytes = bytes.len() as u64;
        let synced = match self.path.parent() {
            Some(parent) => File::open(parent).and_then(|folder| folder.sync_all()),
            None => Ok(()),
        };
        synced.map_err(|error| damaged(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{DeviceId, Timestamp};
    use veritwin_keys::{SecretKey, SigningKey};
    use veritwin_verify::{EdgeFields, sha256};

    use super::*;

    fn state(journal: &Journal, kind: EdgeKind) -> EdgeStatement {
        let signing = SigningKey::from_seed(SecretKey::from_bytes([7; 32]));
        let (counter, previous) = journal.next();
        let at = journal.stated_to();
        let fields = EdgeFields {
            kind,
            edge: DeviceId::from_bytes([1; 16]),
            key: signing.public_bytes(),
            counter,
            previous,
            first_position: at,
            last_position: at + 1,
            entries: 2,
            events_from: Timestamp::from_micros(0),
            events_to: Timestamp::from_micros(0),
            made_at: Timestamp::from_micros(0),
            clock_offset_us: None,
            content: if kind == EdgeKind::Batch { sha256(b"a") } else { Digest::ZERO },
        };
        EdgeStatement::signed(&fields, |message| signing.sign(message)).expect("signed")
    }

    fn add(journal: &mut Journal, kind: EdgeKind) {
        let statement = state(journal, kind);
        journal.append(statement).expect("written");
    }

    #[test]
    fn counters_have_no_gap_across_starts() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        assert_eq!(journal.next(), (1, Digest::ZERO));
        (0..3).for_each(|_| add(&mut journal, EdgeKind::Batch));
        journal.note_sent(1).expect("noted");
        let next = journal.next();
        drop(journal);
        // An unfinished write.
        let path = place.path().join(STATEMENTS_FILE);
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend_from_slice(&[1; 20]);
        std::fs::write(&path, &bytes).expect("written");
        let mut journal = Journal::open(place.path()).expect("opened");
        assert_eq!((journal.next(), journal.stated_to()), (next, 6));
        assert_eq!(journal.front().expect("waits").counter(), 2);
        assert_eq!((journal.needed_from(), journal.counters()), (2, (3, 1)));
        add(&mut journal, EdgeKind::Batch);
        assert_eq!(Journal::open(place.path()).expect("opened").next().0, 5);
    }

    #[test]
    fn what_was_given_up_is_not_sent() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        (0..5).for_each(|_| add(&mut journal, EdgeKind::Batch));
        let counters = |all: Vec<EdgeStatement>| -> Vec<u64> {
            all.iter().map(EdgeStatement::counter).collect()
        };
        assert_eq!(counters(journal.oldest(2)), [1, 2]);
        add(&mut journal, EdgeKind::DiskFull { first: 2, last: 3 });
        for journal in [&journal, &Journal::open(place.path()).expect("opened")] {
            let waiting: Vec<u64> = journal.unsent.iter().map(EdgeStatement::counter).collect();
            assert_eq!(waiting, [1, 4, 5, 6]);
            assert_eq!((journal.given_up(), journal.stated_to()), (2, 10));
        }
        assert_eq!(counters(journal.oldest(9)), [1]);
    }

    #[test]
    fn half_a_statement_of_full_length_is_left_out() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        (0..2).for_each(|_| add(&mut journal, EdgeKind::Batch));
        let next = journal.next();
        add(&mut journal, EdgeKind::Batch);
        let path = place.path().join(STATEMENTS_FILE);
        let mut bytes = std::fs::read(&path).expect("read");
        let length = bytes.len();
        bytes[length - 100..].fill(0);
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(Journal::open(place.path()).expect("opened").next(), next);
        // One in the middle was durable: nobody goes on over that.
        bytes[10] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert!(Journal::open(place.path()).is_err());
    }

    #[test]
    fn what_was_taken_is_noted_where_no_file_can_be_made() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        (0..3).for_each(|_| add(&mut journal, EdgeKind::Batch));
        // Nothing can be written under the name that a new file has at first.
        std::fs::create_dir(place.path().join("sent.tmp")).expect("in the way");
        journal.note_sent(1).expect("noted");
        journal.note_sent(2).expect("noted");
        assert_eq!(Journal::open(place.path()).expect("opened").counters(), (3, 2));
    }

    #[test]
    fn what_waits_is_kept_when_the_file_is_written_anew() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        (0..6).for_each(|_| add(&mut journal, EdgeKind::Batch));
        journal.note_sent(1).expect("noted");
        add(&mut journal, EdgeKind::DiskFull { first: 2, last: 4 });
        journal.rewrite().expect("rewritten");
        add(&mut journal, EdgeKind::Batch);
        let journal = Journal::open(place.path()).expect("opened");
        let waiting: Vec<u64> = journal.unsent.iter().map(EdgeStatement::counter).collect();
        assert_eq!((waiting, journal.stated_to()), (vec![5, 6, 7, 8], 14));
        assert!(journal.file_bytes < 6 * EDGE_STATEMENT_BYTES as u64);
    }

    #[test]
    fn a_file_that_is_written_anew_goes_on() {
        let place = tempfile::tempdir().expect("folder");
        let mut journal = Journal::open(place.path()).expect("opened");
        (0..3).for_each(|_| add(&mut journal, EdgeKind::Batch));
        add(&mut journal, EdgeKind::DiskFull { first: 1, last: 1 });
        journal.note_sent(4).expect("noted");
        journal.rewrite().expect("rewritten");
        add(&mut journal, EdgeKind::Batch);
        let journal = Journal::open(place.path()).expect("opened");
        assert_eq!((journal.next().0, journal.stated_to()), (6, 8));
        assert_eq!(journal.front().expect("waits").counter(), 5);
    }
}
