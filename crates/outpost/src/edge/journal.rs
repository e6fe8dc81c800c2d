//! What the edge has stated, in the order of the counters: one file of statements, each durable
//! before anybody else sees it. What was taken by the platform is noted in a second file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use veritwin_verify::{Digest, EDGE_STATEMENT_BYTES, EdgeKind, EdgeStatement};

use super::{EdgeError, place};

const STATEMENTS_FILE: &str = "statements";
const SENT_FILE: &str = "sent.json";
/// The file is written anew, without what was taken, when it has reached this size and nothing
/// waits.
const REWRITE_BYTES: u64 = 4 * 1024 * 1024;

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

/// The statements in a file; what an unfinished write left at its end is cut off.
fn read(path: &Path) -> Result<Vec<EdgeStatement>, EdgeError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EdgeError::io(path.display())(error)),
    };
    let mut statements: Vec<EdgeStatement> = Vec::new();
    for one in bytes.chunks_exact(EDGE_STATEMENT_BYTES) {
        let statement = EdgeStatement::decode(one).map_err(|error| damaged(path, &error))?;
        statement.verify().map_err(|error| damaged(path, &error))?;
        statements.push(statement);
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
        Ok(())
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
        place::write_json(&self.sent_path, &Sent { counter })?;
        self.sent = self.sent.max(counter);
        while self.unsent.front().is_some_and(|one| one.counter() <= counter) {
            self.unsent.pop_front();
        }
        if self.unsent.is_empty() && self.file_bytes >= REWRITE_BYTES {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Leaves out what nobody asks for any more.
    fn rewrite(&mut self) -> Result<(), EdgeError> {
        let mut kept: Vec<EdgeStatement> = Vec::new();
        kept.extend(self.last_batch);
        kept.extend(self.last.filter(|last| Some(*last) != self.last_batch));
        kept.sort_by_key(EdgeStatement::counter);
        let bytes: Vec<u8> = kept.iter().flat_map(|one| *one.as_bytes()).collect();
        place::write(&self.path, &bytes)?;
        let file = File::options().append(true).open(&self.path);
        self.file = file.map_err(EdgeError::io(self.path.display()))?;
        self.file_bytes = bytes.len() as u64;
        Ok(())
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
