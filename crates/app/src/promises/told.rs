//! Alerts of the operator about promises that are kept no more: one when a promise breaks, and
//! none for what stays broken or comes and goes within a day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::Finding;
use veritwin_domain::Timestamp;
use veritwin_governance::{Evidence, OutcomeKind, PromiseId};

use crate::App;
use crate::provision::PLATFORM_TENANT;
use crate::security::{Found, fact};

/// A promise that breaks again within this time is not told of again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(86_400);

/// Of which breaks the operator was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: BTreeMap<PromiseId, Timestamp>,
    /// Breaks whose alert could not be written.
    missed: BTreeSet<PromiseId>,
}

impl Told {
    /// Whether a break has to be told of.
    fn is_news(&self, id: PromiseId, was_broken: bool, now: Timestamp) -> bool {
        if self.missed.contains(&id) {
            return true;
        }
        let is_lately = |at: &Timestamp| now.since(*at) < TOLD_AGAIN_AFTER;
        !was_broken && !self.at.get(&id).is_some_and(is_lately)
    }

    fn note(&mut self, id: PromiseId, was_written: bool, now: Timestamp) {
        if was_written {
            self.missed.remove(&id);
            self.at.insert(id, now);
        } else {
            self.missed.insert(id);
        }
    }
}

impl App {
    fn is_break_news(&self, id: PromiseId, now: Timestamp) -> bool {
        let board = self.0.promises.board.lock();
        let known = board.found.get(&id).and_then(|found| found.conclusive.as_ref());
        let was_broken =
            known.is_some_and(|run| run.evidence.outcome().kind() == OutcomeKind::Failed);
        board.told.is_news(id, was_broken, now)
    }

    /// Raises an alert of the operator where a promise was kept until now. It is written before
    /// the evidence: a crash in between has it told twice rather than never.
    #[boxed]
    pub(super) async fn tell_of_break(&self, id: PromiseId, evidence: &Evidence) {
        let now = evidence.finished_at();
        if !self.is_break_news(id, now) {
            return;
        }
        let facts = vec![fact("promise", id), fact("found", evidence.outcome().summary())];
        let kind = Finding::PromiseBroken;
        let found = Found { tenant: PLATFORM_TENANT, kind, facts, session: None };
        let written = self.raise_finding(&found).await;
        if let Err(error) = &written {
            tracing::error!(%error, promise = %id, "nobody was told that a promise is broken");
        }
        self.0.promises.board.lock().told.note(id, written.is_ok(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_is_told_once_a_day_and_what_was_missed_again() {
        let id = PromiseId::new(22).expect("a promise");
        let at = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let mut told = Told::default();
        assert!(told.is_news(id, false, at(0)));
        told.note(id, false, at(0));
        assert!(told.is_news(id, true, at(1)), "nobody was told");
        told.note(id, true, at(1));
        assert!(!told.is_news(id, true, at(30)), "it is still broken");
        assert!(!told.is_news(id, false, at(24)), "it comes and goes");
        assert!(told.is_news(id, false, at(25)));
    }
}
