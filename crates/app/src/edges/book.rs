//! What is known of an edge's batches: which were kept, which are missing, and what a new one would
//! be. Pure: nothing is read or written here.

use serde::{Deserialize, Serialize};
use veritwin_metastore::EdgeKey;
use veritwin_verify::{EdgeKind, EdgeStatement};

use crate::model::{EdgeAnswer, EdgeOutcome};
use crate::{Error, Result};

/// Batches whose statements are remembered, to tell one that comes again from another.
const RECENT_MAX: usize = 64;
/// Most ranges of missing or given-up counters that are listed; the ledger has all of them.
const RANGES_MAX: usize = 100;

/// What was submitted under a key, as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Book {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) last: u64,
    pub(super) last_hash: String,
    /// Counter and hash of the last statements.
    pub(super) recent: Vec<(u64, String)>,
    pub(super) missing: Vec<(u64, u64)>,
    pub(super) given_up: Vec<(u64, u64)>,
    pub(super) batches: u64,
    pub(super) entries: u64,
    pub(super) forks: u64,
    /// The ledger has one of them.
    pub(super) fork_stated: bool,
    pub(super) waiting: Option<u64>,
    pub(super) seen_at_us: Option<i64>,
    pub(super) clock_offset_us: Option<i64>,
    /// The statement of a batch that is about to be kept, in hexadecimal.
    pub(super) pending: Option<String>,
}

/// Takes `taken` out of ranges; what was in both goes to `out`.
fn take_out(ranges: &mut Vec<(u64, u64)>, taken: (u64, u64), out: &mut Vec<(u64, u64)>) {
    for (from, to) in std::mem::take(ranges) {
        let (first, last) = (taken.0.max(from), taken.1.min(to));
        if first > last {
            ranges.push((from, to));
            continue;
        }
        if from < first {
            ranges.push((from, first - 1));
        }
        if last < to {
            ranges.push((last + 1, to));
        }
        out.push((first, last));
    }
    ranges.truncate(RANGES_MAX);
    out.truncate(RANGES_MAX);
}

impl Book {
    pub(super) fn of(key: &EdgeKey) -> Result<Self> {
        serde_json::from_slice(&key.body)
            .map_err(|_| Error::Internal("what is stored of an edge is damaged".to_owned()))
    }

    /// What a new batch would be.
    pub(super) fn judge(&self, statement: &EdgeStatement) -> EdgeOutcome {
        let (counter, hash) = (statement.counter(), statement.hash().to_string());
        match self.recent.iter().find(|(known, _)| *known == counter) {
            Some((_, known)) if *known == hash => return EdgeOutcome::Known,
            Some(_) => return EdgeOutcome::Fork,
            None if counter <= self.last => return EdgeOutcome::Passed,
            None => {}
        }
        let follows = counter == self.last + 1 && self.last > 0;
        if follows && statement.fields().previous.to_string() != self.last_hash {
            return EdgeOutcome::Fork;
        }
        EdgeOutcome::Kept
    }

    /// Takes note of a batch that is durable.
    pub(super) fn keep(&mut self, statement: &EdgeStatement) {
        let fields = statement.fields();
        let counter = fields.counter;
        if counter > self.last + 1 && self.missing.len() < RANGES_MAX {
            self.missing.push((self.last + 1, counter - 1));
        }
        match fields.kind {
            EdgeKind::Batch => self.entries = self.entries.saturating_add(fields.entries),
            EdgeKind::DiskFull { first, last } => {
                take_out(&mut self.missing, (first, last), &mut self.given_up);
            }
        }
        self.batches += 1;
        self.last = counter;
        self.last_hash = statement.hash().to_string();
        self.clock_offset_us = fields.clock_offset_us;
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push((counter, self.last_hash.clone()));
    }

    pub(super) fn pending(&self) -> Option<EdgeStatement> {
        let bytes = hex::decode(self.pending.as_deref()?).ok()?;
        EdgeStatement::decode(&bytes).ok()
    }

    pub(super) fn answer(&self, outcome: EdgeOutcome) -> EdgeAnswer {
        EdgeAnswer { outcome, last_counter: self.last }
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{DeviceId, Timestamp};
    use veritwin_keys::{SecretKey, SigningKey, sha256};
    use veritwin_verify::{Digest, EdgeFields};

    use super::*;

    fn state(counter: u64, kind: EdgeKind, previous: Digest, content: &[u8]) -> EdgeStatement {
        let signing = SigningKey::from_seed(SecretKey::from_bytes([7; 32]));
        let is_batch = kind == EdgeKind::Batch;
        let fields = EdgeFields {
            kind,
            edge: DeviceId::from_bytes([1; 16]),
            key: signing.public_bytes(),
            counter,
            previous,
            first_position: 0,
            last_position: 2,
            entries: 3,
            events_from: Timestamp::from_micros(0),
            events_to: Timestamp::from_micros(0),
            made_at: Timestamp::from_micros(0),
            clock_offset_us: Some(5),
            content: if is_batch { Digest::from_bytes(sha256(content)) } else { Digest::ZERO },
        };
        EdgeStatement::signed(&fields, |message| signing.sign(message)).expect("signed")
    }

    #[test]
    fn each_counter_is_kept_once() {
        let mut book = Book::default();
        let one = state(1, EdgeKind::Batch, Digest::ZERO, b"a");
        assert_eq!(book.judge(&one), EdgeOutcome::Kept);
        book.keep(&one);
        assert_eq!(book.judge(&one), EdgeOutcome::Known);
        let other = state(1, EdgeKind::Batch, Digest::ZERO, b"b");
        assert_eq!(book.judge(&other), EdgeOutcome::Fork);
        let two = state(2, EdgeKind::Batch, one.hash(), b"c");
        assert_eq!(book.judge(&two), EdgeOutcome::Kept);
        assert_eq!(book.judge(&state(2, EdgeKind::Batch, other.hash(), b"c")), EdgeOutcome::Fork);
        book.keep(&two);
        assert_eq!((book.last, book.entries, book.batches), (2, 6, 2));
        assert!(book.missing.is_empty());
    }

    #[test]
    fn what_is_missing_is_told_until_the_edge_says_why() {
        let mut book = Book::default();
        let any = Digest::from_bytes([9; 32]);
        book.keep(&state(3, EdgeKind::Batch, any, b"a"));
        book.keep(&state(9, EdgeKind::Batch, any, b"b"));
        assert_eq!(book.missing, [(1, 2), (4, 8)]);
        assert_eq!(book.judge(&state(5, EdgeKind::Batch, any, b"c")), EdgeOutcome::Passed);
        book.keep(&state(10, EdgeKind::DiskFull { first: 2, last: 5 }, any, b""));
        assert_eq!(book.missing, [(1, 1), (6, 8)]);
        assert_eq!(book.given_up, [(2, 2), (4, 5)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut book = Book::default();
        let any = Digest::from_bytes([9; 32]);
        for counter in 1..=u64::try_from(RECENT_MAX).expect("fits") + 5 {
            book.keep(&state(counter * 2, EdgeKind::Batch, any, b"a"));
        }
        assert_eq!(book.recent.len(), RECENT_MAX);
        assert!(book.missing.len() <= RANGES_MAX);
    }
}
