//! Which checks are due. A check that never ran is due at once, so that a fresh installation, and
//! the demo, show evidence from the first moment on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use veritwin_domain::Timestamp;

use crate::evidence::Evidence;
use crate::probe::OutcomeKind;
use crate::promise::PromiseId;
use crate::register::Register;

/// Most checks that should run at the same time.
pub const CHECKS_AT_ONCE_MAX: usize = 4;

/// A check that failed is tried again after this, if its interval is not shorter: a red row should
/// turn as soon as its cause is gone.
pub const RETRY_AFTER: Duration = Duration::from_secs(300);

/// A check that could not run is tried again after this, then after twice as long each time, up to
/// [`RETRY_AFTER`]: most came only too early.
pub const FIRST_RETRY_AFTER: Duration = Duration::from_secs(15);

/// When each check is due. Holds the last run of each; the caller tells it of every run.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    probed: BTreeSet<PromiseId>,
    last: BTreeMap<PromiseId, Run>,
    asked: BTreeSet<PromiseId>,
}

/// The newest run of a check.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: Timestamp,
    kind: OutcomeKind,
    /// How often the check could not run, one time after the other.
    misses: u32,
}

impl Run {
    fn wait(self, interval: Duration) -> Duration {
        match self.kind {
            OutcomeKind::Passed | OutcomeKind::NotApplicable => interval,
            OutcomeKind::Failed => interval.min(RETRY_AFTER),
            OutcomeKind::CouldNotRun => {
                let doubled = 1u32.checked_shl(self.misses.saturating_sub(1)).unwrap_or(u32::MAX);
                FIRST_RETRY_AFTER.saturating_mul(doubled).min(RETRY_AFTER).min(interval)
            }
        }
    }
}

impl Schedule {
    /// A schedule for the promises that have a probe.
    pub fn new(probed: impl IntoIterator<Item = PromiseId>) -> Self {
        Self { probed: probed.into_iter().collect(), ..Self::default() }
    }

    /// Takes note of a run, an old one at start or a new one. Older runs than the newest known
    /// change nothing.
    pub fn ran(&mut self, evidence: &Evidence) {
        let (at, kind) = (evidence.finished_at(), evidence.outcome().kind());
        let newest = self.last.entry(evidence.promise()).or_insert(Run { at, kind, misses: 0 });
        if newest.at <= at {
            let misses =
                if kind == OutcomeKind::CouldNotRun { newest.misses.saturating_add(1) } else { 0 };
            *newest = Run { at, kind, misses };
        }
        self.asked.remove(&evidence.promise());
    }

    /// Somebody asks for a check now; false when the promise has no probe.
    pub fn ask(&mut self, id: PromiseId) -> bool {
        self.probed.contains(&id) && {
            self.asked.insert(id);
            true
        }
    }

    /// When the next check of a promise is due; none when it has no probe.
    pub fn next_check_at(
        &self,
        register: &Register,
        id: PromiseId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if !self.probed.contains(&id) {
            return None;
        }
        match self.last.get(&id) {
            _ if self.asked.contains(&id) => Some(now),
            None => Some(now),
            // A run from the future means that the clock went back: check again.
            Some(run) if run.at > now => Some(now),
            Some(run) => Some(run.at.saturating_add(run.wait(register.get(id).interval))),
        }
    }

    /// Checks that are due at `now`: those that were asked for, then the ones that never ran,
    /// then the longest overdue.
    pub fn due(&self, register: &Register, now: Timestamp) -> Vec<PromiseId> {
        let mut due: Vec<(u8, Timestamp, PromiseId)> = self
            .probed
            .iter()
            .filter_map(|id| Some((*id, self.next_check_at(register, *id, now)?)))
            .filter(|(_, at)| *at <= now)
            .map(|(id, at)| {
                let class = match (self.asked.contains(&id), self.last.contains_key(&id)) {
                    (true, _) => 0,
                    (false, false) => 1,
                    (false, true) => 2,
                };
                (class, at, id)
            })
            .collect();
        due.sort();
        due.into_iter().map(|(_, _, id)| id).collect()
    }
}
