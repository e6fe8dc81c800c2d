//! Follows the chain of leaves: form, previous batch and hash, sequence, sealing time, submitter.
//! A submitter's signature covers the hash of the leaf before, so that the last signature of a key
//! vouches for every leaf before it as long as the chain holds.

use std::collections::HashMap;

use veritwin_domain::{BatchId, Timestamp};

use crate::report::{Finding, FindingKind, Report};
use crate::{Act, Digest, Leaf};

/// Most ranges and reseals remembered from statements.
const STATEMENTS_MAX: usize = 100_000;
/// Most submitter keys listed in a report.
const SUBMITTERS_MAX: usize = 16;

/// What statement leaves say about leaves before them.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    pub(crate) minimum_index: u64,
    shredded: Vec<(u64, u64)>,
    reseals: HashMap<u64, (Digest, Digest)>,
}

impl Statements {
    /// Takes note of a leaf's act; an act that reaches past its own leaf is a finding.
    pub(crate) fn note(&mut self, index: u64, leaf: &Leaf) -> Result<(), &'static str> {
        match leaf.act {
            Act::Shred { to, .. } if to > index => Err("it destroys payloads of later leaves"),
            Act::Retention { minimum_index, .. } if minimum_index > index => {
                Err("it prunes later leaves")
            }
            Act::Reseal { index: old, .. } if old >= index => Err("it reseals a later leaf"),
            Act::Shred { from, to, .. } if self.shredded.len() < STATEMENTS_MAX => {
                self.shredded.push((from, to));
                Ok(())
            }
            Act::Retention { minimum_index, .. } => {
                self.minimum_index = self.minimum_index.max(minimum_index);
                Ok(())
            }
            Act::Reseal { index: old, old_payload, .. } if self.reseals.len() < STATEMENTS_MAX => {
                self.reseals.insert(old, (old_payload, leaf.records_root));
                Ok(())
            }
            Act::Shred { .. } | Act::Reseal { .. } => Err("too many statements to follow"),
            Act::Batch | Act::Evidence | Act::SubmitterKey { .. } | Act::Edge(_) => Ok(()),
        }
    }

    /// Orders and joins the ranges, once every statement is known and before they are asked for.
    pub(crate) fn join_ranges(&mut self) {
        self.shredded.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (from, to) in self.shredded.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if *end >= from => *end = to.max(*end),
                _ => joined.push((from, to)),
            }
        }
        self.shredded = joined;
    }

    /// True when a statement says that the payload of leaf `index` was destroyed.
    pub(crate) fn is_shredded(&self, index: u64) -> bool {
        let after = self.shredded.partition_point(|(from, _)| *from <= index);
        let covering = after.checked_sub(1).and_then(|at| self.shredded.get(at));
        index < self.minimum_index || covering.is_some_and(|(_, to)| index < *to)
    }

    /// Old payload and records root that a reseal of leaf `index` names.
    pub(crate) fn reseal(&self, index: u64) -> Option<(Digest, Digest)> {
        self.reseals.get(&index).copied()
    }
}

/// Leaves behind the first of a bundle that follow each other, with signatures that were verified
/// where every one is.
pub(crate) struct Followed {
    pub(crate) last: Leaf,
    /// How many they are.
    pub(crate) leaves: u64,
    /// Records that they hold.
    pub(crate) records: u64,
    /// The bundle's name.
    pub(crate) file: String,
}

struct Previous {
    hash: Digest,
    known: Option<(BatchId, u64, Timestamp)>,
}

/// The state after the leaves so far.
pub(crate) struct Chain<'a> {
    origin: &'a str,
    allowed: &'a [[u8; 32]],
    every_signature: bool,
    previous: Option<Previous>,
    submitter: Option<[u8; 32]>,
    /// The key that was listed last in the report.
    listed: Option<[u8; 32]>,
    unverified: Option<(u64, Leaf, String)>,
    /// Set when a signature of the chain failed, so that a second pass has to name the leaf.
    pub(crate) tail_failed: bool,
    pub(crate) statements: Statements,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(origin: &'a str, allowed: &'a [[u8; 32]], every_signature: bool) -> Self {
        Self {
            origin,
            allowed,
            every_signature,
            previous: Some(Previous {
                hash: Digest::ZERO,
                known: Some((BatchId::from_bytes([0; 16]), 0, Timestamp::MIN)),
            }),
            submitter: None,
            listed: None,
            unverified: None,
            tail_failed: false,
            statements: Statements::default(),
        }
    }

    /// Leaves are not available here; only the hash of the last of them may be known.
    pub(crate) fn hole(&mut self, last_hash: Option<Digest>, report: &mut Report) {
        self.settle(report);
        self.previous = last_hash.map(|hash| Previous { hash, known: None });
    }

    /// Checks one leaf and moves on.
    pub(crate) fn leaf(
        &mut self,
        (index, entry, hash): (u64, &[u8], Digest),
        file: &str,
        report: &mut Report,
    ) -> Option<Leaf> {
        let leaf = match Leaf::decode(entry) {
            Ok(leaf) => leaf,
            Err(error) => {
                let place = crate::LeafPlace { index, batch: None, records: None };
                report.add(Finding::new(FindingKind::Malformed, file, error).at(place));
                self.settle(report);
                self.previous = Some(Previous { hash, known: None });
                return None;
            }
        };
        self.check_links(index, &leaf, file, report);
        self.check_submitter(index, &leaf, file, report);
        if let Err(problem) = self.statements.note(index, &leaf) {
            report.add(Finding::new(FindingKind::Chain, file, problem).at(leaf.place(index)));
        }
        report.counts.records += u64::from(leaf.count);
        let known = Some((leaf.batch, leaf.last_sequence(), leaf.sealed_at));
        self.previous = Some(Previous { hash, known });
        if let Act::SubmitterKey { next } = leaf.act {
            self.settle(report);
            self.submitter = Some(next);
        }
        Some(leaf)
    }

    /// Moves on behind leaves of the same submitter that are known to follow each other, of which
    /// the first was just checked here: to the last of them.
    pub(crate) fn follow(
        &mut self,
        (index, hash): (u64, Digest),
        run: Followed,
        report: &mut Report,
    ) {
        let Followed { last, leaves, records, file } = run;
        report.counts.records += records;
        let known = Some((last.batch, last.last_sequence(), last.sealed_at));
        self.previous = Some(Previous { hash, known });
        if self.every_signature {
            report.counts.signatures += leaves;
        } else {
            self.unverified = Some((index, last, file));
        }
    }

    fn check_links(&self, index: u64, leaf: &Leaf, file: &str, report: &mut Report) {
        let Some(previous) = &self.previous else { return };
        let place = leaf.place(index);
        let mut add = |kind, problem: &str, expected: String, found: String| {
            report.add(Finding::new(kind, file, problem).at(place).values(expected, found));
        };
        let mut linked = true;
        if leaf.previous_hash != previous.hash {
            linked = false;
            let problem = "its previous-leaf hash is not that of the leaf before it";
            let (expected, found) = (previous.hash.to_string(), leaf.previous_hash.to_string());
            add(FindingKind::Chain, problem, expected, found);
        }
        let Some((batch, last_sequence, sealed_at)) = previous.known else { return };
        if leaf.batch == batch {
            let problem = "the batch appears twice in a row";
            add(FindingKind::Chain, problem, "another batch".to_owned(), batch.to_string());
        } else if leaf.previous_batch != batch {
            linked = false;
            let problem = "its previous batch is not the batch before it";
            let (expected, found) = (batch.to_string(), leaf.previous_batch.to_string());
            add(FindingKind::Chain, problem, expected, found);
        }
        let wanted = last_sequence.saturating_add(1);
        let sequences = || (wanted.to_string(), leaf.first_sequence.to_string());
        if leaf.first_sequence < wanted {
            let problem = "its records overlap those before it: first sequence";
            let (expected, found) = sequences();
            add(FindingKind::Overlap, problem, expected, found);
        } else if leaf.first_sequence > wanted {
            let missing = leaf.first_sequence - 1;
            let problem = format!("records {wanted}-{missing} are missing before it");
            let kind = if linked { FindingKind::Missing } else { FindingKind::Chain };
            let (expected, found) = sequences();
            add(kind, &problem, expected, found);
        }
        if leaf.sealed_at < sealed_at {
            let problem = "it was sealed earlier than the leaf before it";
            let expected = format!("{sealed_at} or later");
            add(FindingKind::Chain, problem, expected, leaf.sealed_at.to_string());
        }
    }

    fn check_submitter(&mut self, index: u64, leaf: &Leaf, file: &str, report: &mut Report) {
        if self.submitter != Some(leaf.submitter) {
            let listed = self.allowed.is_empty() || self.allowed.contains(&leaf.submitter);
            let follows = self.submitter.is_none();
            if !follows || !listed {
                let expected = match (self.submitter, follows) {
                    (Some(key), false) => hex::encode(key),
                    _ => "one of the submitter keys given".to_owned(),
                };
                let problem = "it is signed with another submitter key";
                let finding = Finding::new(FindingKind::Identity, file, problem);
                let found = hex::encode(leaf.submitter);
                report.add(finding.at(leaf.place(index)).values(expected, found));
            }
            self.settle(report);
            self.submitter = Some(leaf.submitter);
        }
        if self.listed != Some(leaf.submitter) {
            self.listed = Some(leaf.submitter);
            let key = hex::encode(leaf.submitter);
            if !report.submitters.contains(&key) && report.submitters.len() < SUBMITTERS_MAX {
                report.submitters.push(key);
            }
        }
        if self.every_signature {
            verify(self.origin, (index, leaf), file, report);
        } else {
            self.unverified = Some((index, leaf.clone(), file.to_owned()));
        }
    }

    /// Verifies the last signature of the key in use, which vouches for the leaves before it.
    pub(crate) fn settle(&mut self, report: &mut Report) {
        let Some((index, leaf, file)) = self.unverified.take() else { return };
        if !verify(self.origin, (index, &leaf), &file, report) {
            self.tail_failed = true;
        }
    }
}

fn verify(origin: &str, (index, leaf): (u64, &Leaf), file: &str, report: &mut Report) -> bool {
    report.counts.signatures += 1;
    match leaf.verify_signature(origin) {
        Ok(()) => true,
        Err(error) => {
            let finding = Finding::new(FindingKind::Signature, file, error);
            report.add(finding.at(leaf.place(index)));
            false
        }
    }
}
