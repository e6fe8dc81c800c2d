//! What the statements of edges in a log add up to: which counters are there, which were given up
//! by the edge itself, which were never submitted, and which were stated twice and differently.

use std::collections::{BTreeMap, VecDeque};

use veritwin_domain::DeviceId;

use crate::{Digest, EdgeKind, EdgeStatement};

/// Most keys of edges that are followed in one log.
pub const EDGES_MAX: usize = 10_000;
/// Most ranges that are kept of one key.
const RANGES_MAX: usize = 1_000;
/// Stands for the edge of a key that the log does not know.
const UNKNOWN: DeviceId = DeviceId::from_bytes([0; 16]);
/// Statements whose hashes are remembered of one key.
const RECENT_MAX: usize = 1_000;

/// What one edge stated under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EdgeReport {
    /// The edge's id, in text form; `unknown` when the log holds no statement of it.
    pub edge: String,
    /// Its public key.
    pub key: [u8; 32],
    /// The lowest counter that is there.
    pub first: u64,
    /// The highest one.
    pub last: u64,
    /// Statements that are there.
    pub statements: u64,
    /// Entries in them, those that were given up not counted.
    pub entries: u64,
    /// Counters that are not there and that the edge has stated it gave up, because its disk was
    /// full.
    pub given_up: Vec<(u64, u64)>,
    /// Counters that are not there, and nobody said why: never submitted.
    pub missing: Vec<(u64, u64)>,
    /// Statements that are there once more, word for word; they count once.
    pub repeated: u64,
    /// Counters that were stated once more with another content.
    pub forks: Vec<u64>,
    /// Counters whose statement does not name the one before it that is there.
    pub breaks: Vec<u64>,
    /// Statements whose signature does not verify; they count for nothing else.
    pub unsigned: u64,
}

impl EdgeReport {
    /// Whether something is missing without a word.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether statements contradict each other, or are not the edge's.
    pub fn is_contradicted(&self) -> bool {
        self.unsigned > 0 || !self.forks.is_empty() || !self.breaks.is_empty()
    }
}

#[derive(Default)]
struct Track {
    report: EdgeReport,
    declared: Vec<(u64, u64)>,
    recent: VecDeque<(u64, Digest)>,
}

/// Follows the statements of a log in its order.
#[derive(Default)]
pub(crate) struct EdgeGaps {
    tracks: BTreeMap<(DeviceId, [u8; 32]), Track>,
    truncated: bool,
}

fn push<T>(list: &mut Vec<T>, one: T, truncated: &mut bool) {
    if list.len() < RANGES_MAX {
        list.push(one);
    } else {
        *truncated = true;
    }
}

impl Track {
    fn note(&mut self, statement: &EdgeStatement, truncated: &mut bool) {
        let (counter, hash) = (statement.counter(), statement.hash());
        let report = &mut self.report;
        if statement.verify().is_err() {
            report.unsigned += 1;
            return;
        }
        let fields = statement.fields();
        if report.statements > 0 && counter <= report.last {
            let known = self.recent.iter().find(|(known, _)| *known == counter);
            if known.is_some_and(|(_, known)| *known == hash) {
                report.repeated += 1;
            } else if !report.forks.contains(&counter) {
                push(&mut report.forks, counter, truncated);
            }
            return;
        }
        if report.statements == 0 {
            report.first = counter;
        } else if counter > report.last + 1 {
            push(&mut report.missing, (report.last + 1, counter - 1), truncated);
        } else if self.recent.back().is_some_and(|(_, last)| *last != fields.previous) {
            push(&mut report.breaks, counter, truncated);
        }
        report.last = counter;
        report.statements += 1;
        match fields.kind {
            EdgeKind::Batch => report.entries = report.entries.saturating_add(fields.entries),
            EdgeKind::DiskFull { first, last } => {
                push(&mut self.declared, (first, last), truncated);
            }
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((counter, hash));
    }

    fn finish(mut self, from_the_first: bool) -> EdgeReport {
        let first = self.report.first;
        if from_the_first && first > 1 {
            self.report.missing.insert(0, (1, first - 1));
        }
        self.declared.sort_unstable();
        let missing = std::mem::take(&mut self.report.missing);
        for (mut from, to) in missing {
            for (first, last) in &self.declared {
                if *last < from || *first > to || from > to {
                    continue;
                }
                if *first > from {
                    self.report.missing.push((from, *first - 1));
                }
                let last = (*last).min(to);
                self.report.given_up.push((from.max(*first), last));
                from = last + 1;
            }
            if from <= to {
                self.report.missing.push((from, to));
            }
        }
        self.report
    }
}

impl EdgeGaps {
    pub(crate) fn note(&mut self, statement: &EdgeStatement) {
        let fields = statement.fields();
        let of = (fields.edge, fields.key);
        if !self.tracks.contains_key(&of) && self.tracks.len() >= EDGES_MAX {
            self.truncated = true;
            return;
        }
        let track = self.tracks.entry(of).or_default();
        track.note(statement, &mut self.truncated);
    }

    pub(crate) const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Takes note of how far edges say that they have stated: public key and last counter. What is
    /// behind the last that is there is missing; of an edge that the log does not know, all is.
    pub(crate) fn expect(&mut self, edges: &[([u8; 32], u64)]) {
        let Self { tracks, truncated } = self;
        for (key, last) in edges.iter().filter(|(_, last)| *last > 0) {
            let known = tracks.iter_mut().filter(|((_, of), _)| of == key).map(|(_, track)| track);
            let track = match known.max_by_key(|track| track.report.last) {
                Some(track) => track,
                None => tracks.entry((UNKNOWN, *key)).or_default(),
            };
            if track.report.last < *last {
                push(&mut track.report.missing, (track.report.last + 1, *last), truncated);
            }
        }
    }

    /// What was found. Counters before the first that is there are missing only where the whole
    /// log could be read.
    pub(crate) fn reports(self, from_the_first: bool) -> Vec<EdgeReport> {
        let name = |edge: DeviceId| match edge {
            UNKNOWN => "unknown".to_owned(),
            known => known.to_string(),
        };
        let finish = |((edge, key), track): ((DeviceId, [u8; 32]), Track)| EdgeReport {
            edge: name(edge),
            key,
            ..track.finish(from_the_first)
        };
        self.tracks.into_iter().map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use veritwin_domain::Timestamp;

    use super::*;
    use crate::{EDGE_STATEMENT_BYTES, EdgeFields, sha256};

    fn state(counter: u64, kind: EdgeKind, previous: Digest, content: &str) -> EdgeStatement {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let fields = EdgeFields {
            kind,
            edge: DeviceId::from_bytes([1; 16]),
            key: pair.public_key().as_ref().try_into().unwrap(),
            counter,
            previous: if counter == 1 { Digest::ZERO } else { previous },
            first_position: counter,
            last_position: counter,
            entries: 1,
            events_from: Timestamp::from_micros(0),
            events_to: Timestamp::from_micros(0),
            made_at: Timestamp::from_micros(0),
            clock_offset_us: None,
            content: match kind {
                EdgeKind::Batch => sha256(content.as_bytes()),
                EdgeKind::DiskFull { .. } => Digest::ZERO,
            },
        };
        EdgeStatement::signed(&fields, |message| pair.sign(message).as_ref().try_into().unwrap())
            .unwrap()
    }

    fn report(statements: &[EdgeStatement]) -> EdgeReport {
        let mut gaps = EdgeGaps::default();
        statements.iter().for_each(|one| gaps.note(one));
        gaps.reports(true).pop().unwrap()
    }

    #[test]
    fn a_whole_chain_has_nothing_to_tell() {
        let one = state(1, EdgeKind::Batch, Digest::ZERO, "a");
        let two = state(2, EdgeKind::Batch, one.hash(), "b");
        let found = report(&[one, two, one, two]);
        assert_eq!((found.first, found.last, found.statements, found.entries), (1, 2, 2, 2));
        assert_eq!(found.repeated, 2);
        assert!(!found.has_missing() && !found.is_contradicted(), "{found:?}");
    }

    #[test]
    fn what_an_edge_says_it_stated_last_is_missed_too() {
        let key = |seed: u8| {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap()
        };
        let found = |edges: &[([u8; 32], u64)]| {
            let mut gaps = EdgeGaps::default();
            gaps.note(&state(1, EdgeKind::Batch, Digest::ZERO, "a"));
            gaps.expect(edges);
            gaps.reports(true)
        };
        assert!(!found(&[(key(7), 1), (key(8), 0)])[0].has_missing());
        assert_eq!(found(&[(key(7), 4)])[0].missing, [(2, 4)]);
        let both = found(&[(key(8), 3)]);
        let unknown = both.iter().find(|one| one.key == key(8)).unwrap();
        assert_eq!((both.len(), unknown.edge.as_str()), (2, "unknown"));
        assert_eq!((unknown.missing.as_slice(), unknown.statements), (&[(1, 3)][..], 0));
    }

    #[test]
    fn what_was_given_up_is_told_from_what_never_came() {
        let other = Digest::from_bytes([3; 32]);
        let two = state(2, EdgeKind::Batch, other, "a");
        let nine = state(9, EdgeKind::Batch, other, "b");
        let ten = state(10, EdgeKind::DiskFull { first: 4, last: 6 }, nine.hash(), "");
        let found = report(&[two, nine, ten]);
        assert_eq!(found.given_up, [(4, 6)]);
        assert_eq!(found.missing, [(1, 1), (3, 3), (7, 8)]);
        assert!(!found.is_contradicted(), "{found:?}");
    }

    #[test]
    fn forks_breaks_and_forgeries_are_told() {
        let one = state(1, EdgeKind::Batch, Digest::ZERO, "a");
        let fork = state(1, EdgeKind::Batch, Digest::ZERO, "other");
        let two = state(2, EdgeKind::Batch, fork.hash(), "b");
        let mut forged = *two.as_bytes();
        forged[EDGE_STATEMENT_BYTES - 1] ^= 1;
        let forged = EdgeStatement::decode(&forged).unwrap();
        let found = report(&[one, fork, fork, two, forged]);
        assert_eq!((found.forks, found.breaks, found.unsigned), (vec![1], vec![2], 1));
    }
}
