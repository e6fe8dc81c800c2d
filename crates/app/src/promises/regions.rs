//! P38: what protects data wherever it is, is checked anew, and every check has to pass. A platform
//! keeps everything in one place, so that there is one region here, and the answer says so.

use std::sync::Arc;

use futures::future::join_all;
use veritwin_domain::Timestamp;
use veritwin_governance::{OutcomeKind, PromiseId, StateKind};

use super::run::{InApp, Why};
use super::{PlatformProbe, ProbeAnswer};
use crate::{App, Result};

const PROMISE: u8 = 38;
/// With checks that run anew each time.
const VERSION: u32 = 2;
/// What protects data wherever it is: sealing at rest, TLS, rights, tenants apart, passwords.
const PROTECTIONS: [u8; 5] = [22, 23, 30, 31, 32];

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_regions().await })
}

/// How it stands with a protection.
#[derive(Debug, Clone)]
struct Verdict {
    promise: String,
    /// Its row of the board.
    state: &'static str,
    /// What its newest run found, and when.
    newest: Option<(OutcomeKind, Timestamp)>,
}

impl App {
    async fn check_regions(&self) -> Result<ProbeAnswer> {
        let since = self.clock().now();
        let promises: Vec<PromiseId> =
            PROTECTIONS.into_iter().filter_map(|number| PromiseId::new(number).ok()).collect();
        // They take places of their own among the checks that run at once; there is more than one.
        let checks = promises.iter().copied();
        let checks = checks.map(|id| self.run_check(id, Why::Needed { since }));
        join_all(checks).await;
        let verdicts: Vec<Verdict> = promises.into_iter().map(|id| self.verdict(id)).collect();
        Ok(judge(&verdicts, since, self.0.routes.flows.places()))
    }

    fn verdict(&self, id: PromiseId) -> Verdict {
        let state = self.0.promises.view(id, self.clock().now()).state;
        let board = self.0.promises.board.lock();
        let latest = board.found.get(&id).and_then(|found| found.latest.as_ref());
        let newest = latest.map(|run| (run.evidence.outcome().kind(), run.evidence.finished_at()));
        Verdict { promise: id.to_string(), state, newest }
    }
}

/// Every protection was checked since a moment, and holds.
fn judge(verdicts: &[Verdict], since: Timestamp, places: usize) -> ProbeAnswer {
    let mut facts = vec![
        ("regions".to_owned(), "1: this installation".to_owned()),
        ("places that organisations and the operator name".to_owned(), places.to_string()),
    ];
    for Verdict { promise, state, newest } in verdicts {
        let at = newest.map_or_else(|| "never".to_owned(), |(_, at)| at.to_string());
        facts.push((promise.clone(), format!("{state}, checked {at}")));
    }
    let is_broken = |one: &&Verdict| {
        [StateKind::Failing, StateKind::Stale].iter().any(|state| state.as_str() == one.state)
    };
    if let Some(broken) = verdicts.iter().find(is_broken) {
        return ProbeAnswer::Failed {
            summary: "A protection does not hold, or was not shown for too long.".to_owned(),
            facts,
            place: broken.promise.clone(),
        };
    }
    let has_passed = |one: &&Verdict| {
        one.newest.is_some_and(|(kind, at)| kind == OutcomeKind::Passed && at >= since)
    };
    if let Some(open) = verdicts.iter().find(|one| !has_passed(one)) {
        let reason = format!("the check of {} came to no conclusion in this round", open.promise);
        return ProbeAnswer::CouldNotRun(reason);
    }
    let summary = "There is one region, and every protection was checked anew and holds in it.";
    ProbeAnswer::Passed { summary: summary.to_owned(), facts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn what_did_not_pass_just_now_is_not_said_to_hold() {
        const SINCE: i64 = 100;
        let verdict = |state: StateKind, newest: Option<(OutcomeKind, i64)>| Verdict {
            promise: "P31".to_owned(),
            state: state.as_str(),
            newest: newest.map(|(kind, second)| (kind, at(second))),
        };
        let good = verdict(StateKind::Proven, Some((OutcomeKind::Passed, SINCE + 1)));
        let judged = |other: Verdict| judge(&[good.clone(), other], at(SINCE), 1);
        assert!(matches!(judged(good.clone()), ProbeAnswer::Passed { .. }));
        let red = verdict(StateKind::Failing, Some((OutcomeKind::Failed, SINCE + 1)));
        assert!(matches!(judged(red), ProbeAnswer::Failed { place, .. } if place == "P31"));
        let stale = verdict(StateKind::Stale, Some((OutcomeKind::CouldNotRun, SINCE + 1)));
        assert!(matches!(judged(stale), ProbeAnswer::Failed { .. }));
        for open in [
            verdict(StateKind::NotEvidenced, None),
            verdict(StateKind::Proven, Some((OutcomeKind::Passed, SINCE - 1))),
            verdict(StateKind::Proven, Some((OutcomeKind::CouldNotRun, SINCE + 1))),
        ] {
            assert!(matches!(judged(open), ProbeAnswer::CouldNotRun(_)));
        }
    }
}
