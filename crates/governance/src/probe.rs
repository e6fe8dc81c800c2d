//! What a probe is and what comes of running one. [`run`] is the only way from a probe to
//! evidence.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use veritwin_domain::{Clock, EvidenceId};

use crate::evidence::Evidence;
use crate::promise::PromiseId;

/// Facts of a check by name. Names sort, so that the same facts give the same digest.
pub type Facts = BTreeMap<String, String>;

/// The future a check runs in.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = CheckOutcome> + Send + 'a>>;

/// Checks one promise against the running product.
pub trait Probe: Send + Sync {
    /// The promise it checks.
    fn promise(&self) -> PromiseId;

    /// Counts up whenever the probe checks something else than before; part of the evidence.
    fn version(&self) -> u32;

    /// Runs the check. It bounds its own time and answers [`CheckOutcome::CouldNotRun`] when that
    /// is over; it never leaves anything behind.
    fn check(&self) -> ProbeFuture<'_>;
}

/// What a check found. No fact may hold personal data or secrets: evidence is shown and sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The promise held.
    Passed {
        /// One sentence.
        summary: String,
        /// What was seen.
        facts: Facts,
    },
    /// The promise was broken.
    Failed {
        /// One sentence.
        summary: String,
        /// What was seen.
        facts: Facts,
        /// Where: the file, listener, endpoint or table to look at.
        place: String,
    },
    /// The promise has no object in this installation.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// The check itself failed: nothing is known.
    CouldNotRun {
        /// Why.
        reason: String,
    },
}

/// The kind of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeKind {
    /// The promise held.
    Passed,
    /// The promise was broken.
    Failed,
    /// The promise has no object here.
    NotApplicable,
    /// Nothing is known.
    CouldNotRun,
}

impl OutcomeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::NotApplicable, Self::CouldNotRun];

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
            Self::CouldNotRun => "could_not_run",
        }
    }
}

impl CheckOutcome {
    /// Its kind.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Passed { .. } => OutcomeKind::Passed,
            Self::Failed { .. } => OutcomeKind::Failed,
            Self::NotApplicable { .. } => OutcomeKind::NotApplicable,
            Self::CouldNotRun { .. } => OutcomeKind::CouldNotRun,
        }
    }

    /// The sentence or the reason.
    pub fn summary(&self) -> &str {
        match self {
            Self::Passed { summary, .. } | Self::Failed { summary, .. } => summary,
            Self::NotApplicable { reason } | Self::CouldNotRun { reason } => reason,
        }
    }

    /// What was seen; none for outcomes without facts.
    pub fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Passed { facts, .. } | Self::Failed { facts, .. } => Some(facts),
            Self::NotApplicable { .. } | Self::CouldNotRun { .. } => None,
        }
    }
}

/// Runs a probe and makes its evidence, under the run id that the caller generated.
pub async fn run(probe: &dyn Probe, id: EvidenceId, clock: &dyn Clock) -> Evidence {
    let started_at = clock.now();
    let outcome = probe.check().await;
    Evidence::of_run(probe, id, started_at, clock.now().max(started_at), outcome)
}
