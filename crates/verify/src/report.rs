//! What verification found: precise findings, counts, and the exit class of the command line.
//! Findings are bounded; what passes the bound is counted.

use std::fmt;

use serde::Serialize;

use crate::{Digest, LeafPlace, TimeStamp};

/// Most findings kept one by one.
pub(crate) const FINDINGS_MAX: usize = 1000;

/// The exit codes of `veritwin ledger`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitClass {
    /// Everything holds; lawful pruning and missing witnesses are stated.
    Verified,
    /// Something was altered.
    Tampered,
    /// Something is missing without a statement that explains it.
    Missing,
    /// A required witness policy is unmet.
    WitnessPolicyUnmet,
    /// The requested entry was pruned.
    Pruned,
    /// The requested entry's payload was shredded.
    Shredded,
}

impl ExitClass {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Tampered => 10,
            Self::Missing => 11,
            Self::WitnessPolicyUnmet => 12,
            Self::Pruned => 13,
            Self::Shredded => 14,
        }
    }

    /// One word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Tampered => "tampered",
            Self::Missing => "missing",
            Self::WitnessPolicyUnmet => "witness policy unmet",
            Self::Pruned => "pruned",
            Self::Shredded => "shredded",
        }
    }
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A resource is not there.
    Missing,
    /// A resource is there and cannot be read.
    Unreadable,
    /// A resource is not in its format.
    Malformed,
    /// A signature is missing or does not verify.
    Signature,
    /// A hash differs from what it has to be.
    Hash,
    /// The root differs from the checkpoint's.
    Root,
    /// The chain of batches, or the sequence of records, is broken.
    Chain,
    /// Sequences overlap.
    Overlap,
    /// A payload's bytes are not those that were sealed.
    Payload,
    /// The log is behind a checkpoint that was seen earlier.
    Rewind,
    /// The log contradicts a checkpoint that was seen earlier.
    Fork,
    /// A leaf says that it was sealed after a time stamp that covers it.
    Time,
    /// Names or keys of another log.
    Identity,
    /// A file among the log's own that is no part of it.
    Extra,
}

impl FindingKind {
    /// The exit class that a finding of this kind leads to.
    pub const fn class(self) -> ExitClass {
        match self {
            Self::Missing | Self::Unreadable => ExitClass::Missing,
            _ => ExitClass::Tampered,
        }
    }
}

/// One thing that is wrong: where, and what was expected and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The resource, in the C2SP layout.
    pub file: String,
    /// The leaf, when it concerns one.
    pub leaf: Option<LeafPlace>,
    /// What is wrong, in words.
    pub problem: String,
    /// What was expected, if it can be named.
    pub expected: Option<String>,
    /// What was found, if it can be named.
    pub found: Option<String>,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, file: impl ToString, problem: impl ToString) -> Self {
        Self {
            kind,
            file: file.to_string(),
            leaf: None,
            problem: problem.to_string(),
            expected: None,
            found: None,
        }
    }

    pub(crate) fn at(mut self, leaf: LeafPlace) -> Self {
        self.leaf = Some(leaf);
        self
    }

    pub(crate) fn values(mut self, expected: impl ToString, found: impl ToString) -> Self {
        self.expected = Some(expected.to_string());
        self.found = Some(found.to_string());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(leaf) = &self.leaf {
            write!(f, "{leaf}: ")?;
        }
        f.write_str(&self.problem)?;
        if let (Some(expected), Some(found)) = (&self.expected, &self.found) {
            write!(f, ": expected {expected}, found {found}")?;
        }
        Ok(())
    }
}

/// Whether the key that verified the checkpoint came from the reader or from the log itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTrust {
    /// The reader brought it.
    Authenticated(String),
    /// It came with the log: it proves that the log agrees with itself, not who made it.
    NotAuthenticated(String),
    /// There was none.
    None,
}

/// The witness policy's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WitnessState {
    /// The quorum that the policy requires; none when it requires nothing.
    pub required: Option<String>,
    /// Witnesses that the policy names.
    pub known: usize,
    /// Those of them that have cosigned.
    pub cosigned: Vec<String>,
    /// True when the policy is satisfied.
    pub met: bool,
}

/// How far the witnesses that are known have seen the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed {
    /// The tree size that they have cosigned.
    pub size: u64,
    /// Leaves after that.
    pub unwitnessed: u64,
}

/// A time stamp of a published checkpoint that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampSeen {
    /// The checkpoint's tree size.
    pub size: u64,
    /// What the authority says.
    pub stamp: TimeStamp,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainCounts {
    /// Leaves read and hashed.
    pub leaves: u64,
    /// Records that they hold.
    pub records: u64,
    /// Submitter signatures verified one by one.
    pub signatures: u64,
    /// Hash tiles compared.
    pub tiles: u64,
    /// Payload files whose hash was checked.
    pub payloads: u64,
    /// Bytes of them.
    pub payload_bytes: u64,
    /// Leaves that are lawfully no longer published.
    pub pruned: u64,
    /// Payloads that were lawfully destroyed or replaced.
    pub shredded: u64,
}

/// How far verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Leaves done.
    pub leaves: u64,
    /// Leaves in all.
    pub leaves_total: u64,
    /// Payloads hashed.
    pub payloads: u64,
    /// Payloads that the leaves up to here name.
    pub payloads_total: u64,
}

/// The outcome of verifying a log.
#[derive(Debug, Clone)]
pub struct Report {
    /// The log's origin, when a checkpoint could be read.
    pub origin: Option<String>,
    /// Its tree size.
    pub size: u64,
    /// Its root hash.
    pub root: Option<Digest>,
    /// Whether the key is authenticated.
    pub key: KeyTrust,
    /// Public keys of submitters whose leaves it holds, in hexadecimal (at most 16).
    pub submitters: Vec<String>,
    /// The witness policy's outcome; none without a policy.
    pub witnesses: Option<WitnessState>,
    /// How far it is witnessed; none when it is not, or when no policy was given.
    pub witnessed: Option<Witnessed>,
    /// Time stamps that hold, by tree size.
    pub stamps: Vec<StampSeen>,
    /// Time stamps of an authority that is none of those given.
    pub stamps_untrusted: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many things are wrong, beyond those listed too.
    pub findings_total: u64,
    /// What a reader should know although nothing is wrong.
    pub notes: Vec<String>,
    /// How much was checked.
    pub counts: ChainCounts,
    /// The worst class of any finding.
    pub exit: ExitClass,
}

impl Report {
    pub(crate) fn empty() -> Self {
        Self {
            origin: None,
            size: 0,
            root: None,
            key: KeyTrust::None,
            submitters: Vec::new(),
            witnesses: None,
            witnessed: None,
            stamps: Vec::new(),
            stamps_untrusted: 0,
            findings: Vec::new(),
            findings_total: 0,
            notes: Vec::new(),
            counts: ChainCounts::default(),
            exit: ExitClass::Verified,
        }
    }

    /// Says what the time stamps come to. The first and the last say the most: what was there, and
    /// since when at the latest.
    pub(crate) fn note_stamps(&mut self) {
        if self.stamps_untrusted > 0 {
            let count = self.stamps_untrusted;
            self.notes.push(format!("{count} time stamps of other authorities were not counted"));
        }
        let first = self.stamps.iter().min_by_key(|one| one.size);
        let last = self.stamps.iter().max_by_key(|one| one.size);
        let (Some(first), Some(last)) = (first, last) else { return };
        let said = format!(
            "time stamps: {} in all; {} leaves were there at {}, {} leaves at {} ({})",
            self.stamps.len(),
            first.size,
            first.stamp.at,
            last.size,
            last.stamp.at,
            last.stamp.signer
        );
        let open = self.stamps.iter().any(|one| !one.stamp.is_authenticated);
        self.notes.push(said);
        if open {
            self.notes.push(
                "the authority of the time stamps is not authenticated: pass its certificates as \
                 --authorities"
                    .to_owned(),
            );
        }
    }

    /// Ends as this class where nothing else is wrong.
    pub(crate) fn end_as(&mut self, class: ExitClass) {
        if self.exit == ExitClass::Verified {
            self.exit = class;
        }
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        let class = finding.kind.class();
        // "Tampered" outweighs "missing", which outweighs an unmet policy.
        if self.exit == ExitClass::Verified || class < self.exit {
            self.exit = class;
        }
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(origin), Some(root)) = (&self.origin, &self.root) {
            writeln!(f, "log {origin}: {} leaves, root {root}", self.size)?;
        }
        match &self.key {
            KeyTrust::Authenticated(key) => writeln!(f, "key {key} (given by you)")?,
            KeyTrust::NotAuthenticated(key) => writeln!(
                f,
                "key {key} came with the log and is not authenticated: pass the key that you were \
                 given as --vkey"
            )?,
            KeyTrust::None => writeln!(f, "no key")?,
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let more = self.findings_total - self.findings.len() as u64;
        if more > 0 {
            writeln!(f, "and {more} findings more")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let counts = &self.counts;
        writeln!(
            f,
            "checked {} leaves, {} records, {} tiles, {} payloads ({} bytes)",
            counts.leaves, counts.records, counts.tiles, counts.payloads, counts.payload_bytes
        )?;
        write!(f, "{}", self.exit.as_str())
    }
}

/// What a system leaves in a folder that somebody looks into.
pub(crate) fn is_litter(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.starts_with('.') || matches!(last, "Thumbs.db" | "desktop.ini")
}
