//! The record of one run of a probe. It can be made by running a probe, or read back from its
//! canonical bytes, whose SHA-256 goes into the ledger; there is no other way to one.

use veritwin_domain::{EvidenceId, Timestamp};

use crate::probe::{CheckOutcome, Facts, OutcomeKind, Probe};
use crate::promise::PromiseId;

/// Version of the canonical form.
pub const EVIDENCE_VERSION: u8 = 1;

/// Opens the canonical form, so that its digest can be taken for nothing else.
const MAGIC: &[u8; 8] = b"VTEVID\0\x01";
/// Longest summary, reason or place, in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 2_000;
/// Most facts; further ones are left out.
const FACTS_MAX: usize = 200;

/// Why bytes are not evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Not the canonical form, or another version of it.
    #[error("not an evidence record of version {EVIDENCE_VERSION}")]
    Magic,
    /// Cut off, or longer than it should be.
    #[error("evidence record has the wrong length")]
    Length,
    /// A field is malformed.
    #[error("evidence record: {0} is malformed")]
    Field(&'static str),
}

/// What one run of a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    promise: PromiseId,
    id: EvidenceId,
    started_at: Timestamp,
    finished_at: Timestamp,
    probe_version: u32,
    outcome: CheckOutcome,
}

impl Evidence {
    pub(crate) fn of_run(
        probe: &dyn Probe,
        id: EvidenceId,
        started_at: Timestamp,
        finished_at: Timestamp,
        outcome: CheckOutcome,
    ) -> Self {
        let probe_version = probe.version();
        let outcome = bounded(outcome);
        Self { promise: probe.promise(), id, started_at, finished_at, probe_version, outcome }
    }

    /// The promise that was checked.
    pub const fn promise(&self) -> PromiseId {
        self.promise
    }

    /// The run.
    pub const fn id(&self) -> EvidenceId {
        self.id
    }

    /// When the run began.
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// When it ended; its age counts from here.
    pub const fn finished_at(&self) -> Timestamp {
        self.finished_at
    }

    /// Version of the probe that ran.
    pub const fn probe_version(&self) -> u32 {
        self.probe_version
    }

    /// What was found.
    pub const fn outcome(&self) -> &CheckOutcome {
        &self.outcome
    }

    /// The canonical bytes, to be hashed with SHA-256 and stored: magic, promise, run, times in
    /// microseconds, probe version, outcome, texts, facts in the order of their names. Integers
    /// are big-endian, texts UTF-8 with a 32-bit length before them.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.push(self.promise.number());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.started_at.as_micros().to_be_bytes());
        out.extend_from_slice(&self.finished_at.as_micros().to_be_bytes());
        out.extend_from_slice(&self.probe_version.to_be_bytes());
        out.push(kind_byte(self.outcome.kind()));
        push_text(&mut out, self.outcome.summary());
        let place = match &self.outcome {
            CheckOutcome::Failed { place, .. } => place.as_str(),
            _ => "",
        };
        push_text(&mut out, place);
        let facts = self.outcome.facts();
        let count = facts.map_or(0, |facts| facts.len());
        out.extend_from_slice(&length(count).to_be_bytes());
        for (name, value) in facts.into_iter().flatten() {
            push_text(&mut out, name);
            push_text(&mut out, value);
        }
        out
    }

    /// Reads the canonical bytes.
    pub fn from_canonical_bytes(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut reader = Reader(bytes);
        if reader.take::<8>()? != *MAGIC {
            return Err(EvidenceError::Magic);
        }
        let [promise] = reader.take::<1>()?;
        let promise = PromiseId::new(promise).map_err(|_| EvidenceError::Field("promise"))?;
        let id = EvidenceId::from_bytes(reader.take()?);
        let started_at = Timestamp::from_micros(i64::from_be_bytes(reader.take()?));
        let finished_at = Timestamp::from_micros(i64::from_be_bytes(reader.take()?));
        let probe_version = u32::from_be_bytes(reader.take()?);
        let [kind] = reader.take::<1>()?;
        let kind = OutcomeKind::ALL.into_iter().find(|known| kind_byte(*known) == kind);
        let kind = kind.ok_or(EvidenceError::Field("outcome"))?;
        let (summary, place) = (reader.text()?, reader.text()?);
        let count = u32::from_be_bytes(reader.take()?);
        let mut facts = Facts::new();
        for _ in 0..count {
            let (name, value) = (reader.text()?, reader.text()?);
            // Canonical means in order and without repetition.
            if facts.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(EvidenceError::Field("facts"));
            }
            facts.insert(name, value);
        }
        if !reader.0.is_empty() {
            return Err(EvidenceError::Length);
        }
        let has_facts = matches!(kind, OutcomeKind::Passed | OutcomeKind::Failed);
        if (!has_facts && count > 0) || (kind != OutcomeKind::Failed && !place.is_empty()) {
            return Err(EvidenceError::Field("outcome"));
        }
        let outcome = match kind {
            OutcomeKind::Passed => CheckOutcome::Passed { summary, facts },
            OutcomeKind::Failed => CheckOutcome::Failed { summary, facts, place },
            OutcomeKind::NotApplicable => CheckOutcome::NotApplicable { reason: summary },
            OutcomeKind::CouldNotRun => CheckOutcome::CouldNotRun { reason: summary },
        };
        Ok(Self { promise, id, started_at, finished_at, probe_version, outcome })
    }
}

/// Cuts what a probe says to the bounds of a record.
fn bounded(outcome: CheckOutcome) -> CheckOutcome {
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text
    };
    let cut_facts = |facts: Facts| {
        facts.into_iter().take(FACTS_MAX).map(|(name, value)| (cut(name), cut(value))).collect()
    };
    match outcome {
        CheckOutcome::Passed { summary, facts } => {
            CheckOutcome::Passed { summary: cut(summary), facts: cut_facts(facts) }
        }
        CheckOutcome::Failed { summary, facts, place } => CheckOutcome::Failed {
            summary: cut(summary),
            facts: cut_facts(facts),
            place: cut(place),
        },
        CheckOutcome::NotApplicable { reason } => {
            CheckOutcome::NotApplicable { reason: cut(reason) }
        }
        CheckOutcome::CouldNotRun { reason } => CheckOutcome::CouldNotRun { reason: cut(reason) },
    }
}

const fn kind_byte(kind: OutcomeKind) -> u8 {
    match kind {
        OutcomeKind::Passed => 1,
        OutcomeKind::Failed => 2,
        OutcomeKind::NotApplicable => 3,
        OutcomeKind::CouldNotRun => 4,
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length(text.len()).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EvidenceError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EvidenceError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<String, EvidenceError> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(EvidenceError::Length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| EvidenceError::Field("text"))
    }
}
