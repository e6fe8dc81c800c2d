//! The state of a promise, derived from what its probes found and how long ago. It cannot be set:
//! a [`State`] comes out of [`State::derive`] only.

use std::fmt;
use std::time::Duration;

use veritwin_domain::Timestamp;

use crate::evidence::Evidence;
use crate::probe::{CheckOutcome, OutcomeKind};
use crate::promise::Promise;

/// A passed check counts for this many intervals: one may fall out without the board turning.
const FRESH_INTERVALS: u32 = 2;

/// The names of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// The newest conclusive check passed, recently enough.
    Proven,
    /// The newest conclusive check failed.
    Failing,
    /// A check passed, but too long ago.
    Stale,
    /// No check has come to a conclusion.
    NotEvidenced,
    /// The promise has no object in this installation.
    NotApplicable,
}

impl StateKind {
    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Failing => "failing",
            Self::Stale => "stale",
            Self::NotEvidenced => "not_evidenced",
            Self::NotApplicable => "not_applicable",
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The runs that decide a state.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'e> {
    /// The newest run.
    pub latest: Option<&'e Evidence>,
    /// The newest run that came to a conclusion, that is, every outcome but
    /// [`CheckOutcome::CouldNotRun`].
    pub latest_conclusive: Option<&'e Evidence>,
}

/// The state of a promise and why it is that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    kind: StateKind,
    reason: String,
}

impl State {
    /// The state of `promise` at `now`. Evidence of another promise, or from the future, counts
    /// as none.
    pub fn derive(promise: &Promise, history: History<'_>, now: Timestamp) -> Self {
        let usable = |evidence: &&Evidence| {
            evidence.promise() == promise.id && evidence.finished_at() <= now
        };
        let conclusive = history
            .latest_conclusive
            .filter(usable)
            .filter(|evidence| evidence.outcome().kind() != OutcomeKind::CouldNotRun);
        let latest = history.latest.filter(usable);
        let stumbled = latest.and_then(|evidence| match evidence.outcome() {
            CheckOutcome::CouldNotRun { reason } => Some(reason.as_str()),
            _ => None,
        });
        let Some(evidence) = conclusive else {
            return Self::not_evidenced(promise, stumbled);
        };
        // What was concluded, and why a newer check could not run.
        let told = |concluded: String| match stumbled {
            None => concluded,
            Some(why) => format!("{}; since then: {why}", concluded.trim_end_matches('.')),
        };
        let age = now.since(evidence.finished_at());
        let fresh = age <= Self::fresh_for(promise);
        let summary = evidence.outcome().summary().to_owned();
        match evidence.outcome().kind() {
            OutcomeKind::Passed if fresh => Self { kind: StateKind::Proven, reason: summary },
            OutcomeKind::Passed => {
                Self { kind: StateKind::Stale, reason: told(format!("last passed {}", ago(age))) }
            }
            // A failure stays until a check passes again.
            OutcomeKind::Failed => Self { kind: StateKind::Failing, reason: told(summary) },
            OutcomeKind::NotApplicable if fresh => {
                Self { kind: StateKind::NotApplicable, reason: summary }
            }
            OutcomeKind::NotApplicable | OutcomeKind::CouldNotRun => {
                let reason = told(format!("last checked {}", ago(age)));
                Self { kind: StateKind::NotEvidenced, reason }
            }
        }
    }

    /// For how long a passed check counts.
    pub fn fresh_for(promise: &Promise) -> Duration {
        promise.interval * FRESH_INTERVALS
    }

    /// Which state it is.
    pub const fn kind(&self) -> StateKind {
        self.kind
    }

    /// Why it is that.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn not_evidenced(promise: &Promise, stumbled: Option<&str>) -> Self {
        let limits = &promise.limits;
        let reason = match (stumbled, &limits.needs_operator_evidence, &limits.absent) {
            (Some(reason), ..) => format!("the check could not run: {reason}"),
            (None, Some(needed), _) => format!("the operator has to bring evidence: {needed}"),
            (None, None, Some(absent)) => format!("there is nothing to check: {absent}"),
            (None, None, None) => "no check of this version has come to a conclusion".to_owned(),
        };
        Self { kind: StateKind::NotEvidenced, reason }
    }
}

fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..=119 => format!("{seconds} seconds ago"),
        120..=7_199 => format!("{} minutes ago", seconds / 60),
        7_200..=172_799 => format!("{} hours ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
