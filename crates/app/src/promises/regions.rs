//! P38: the same checks run in every region of the platform, and their results are the same. Where
//! a platform has one region, that is the one that is looked at, and the answer says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use veritwin_governance::{OutcomeKind, PromiseId};

use super::run::{InApp, Why};
use super::{PlatformProbe, ProbeAnswer};
use crate::{App, Result};

const PROMISE: u8 = 38;
const VERSION: u32 = 1;
/// What protects data wherever it is: sealing at rest, TLS, rights, tenants apart, passwords.
const PROTECTIONS: [u8; 5] = [22, 23, 30, 31, 32];

/// What the checks of a region have found: outcome and version of each.
type Results = BTreeMap<u8, (OutcomeKind, u32)>;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_regions().await })
}

impl App {
    async fn check_regions(&self) -> Result<ProbeAnswer> {
        for number in PROTECTIONS {
            let Ok(id) = PromiseId::new(number) else { continue };
            let is_known = {
                let board = self.0.promises.board.lock();
                board.found.get(&id).is_some_and(|found| found.conclusive.is_some())
            };
            if !is_known {
                // What is under way is waited for. It takes a place of its own among the checks
                // that run at once; there is more than one.
                self.run_check(id, Why::Due).await;
            }
        }
        #[cfg_attr(not(feature = "test-controls"), expect(unused_mut))]
        let mut regions = self.region_results();
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(PROMISE)
            && let Some(results) = regions.values_mut().next()
        {
            results.insert(PROTECTIONS[0], (OutcomeKind::Failed, VERSION));
        }
        Ok(judge(&regions))
    }

    /// What is known of each region. A platform keeps everything in one data directory: one region.
    fn region_results(&self) -> BTreeMap<String, Results> {
        let board = self.0.promises.board.lock();
        let result = |number: u8| {
            let id = PromiseId::new(number).ok()?;
            let evidence = &board.found.get(&id)?.conclusive.as_ref()?.evidence;
            Some((number, (evidence.outcome().kind(), evidence.probe_version())))
        };
        let results = PROTECTIONS.into_iter().filter_map(result).collect();
        BTreeMap::from([("this installation".to_owned(), results)])
    }
}

/// The same everywhere, and everywhere kept.
fn judge(regions: &BTreeMap<String, Results>) -> ProbeAnswer {
    let mut facts = vec![
        ("regions".to_owned(), regions.len().to_string()),
        ("checks in each".to_owned(), PROTECTIONS.len().to_string()),
    ];
    for (region, results) in regions {
        let passed = results.values().filter(|(kind, _)| *kind == OutcomeKind::Passed).count();
        facts.push((format!("passed in {region}"), passed.to_string()));
    }
    if regions.values().any(|results| results.len() < PROTECTIONS.len()) {
        let reason = "not every protection has been checked in every region yet";
        return ProbeAnswer::CouldNotRun(reason.to_owned());
    }
    let first = regions.values().next();
    let differs = |results: &Results| {
        Some(results) != first || results.values().any(|(kind, _)| *kind != OutcomeKind::Passed)
    };
    match regions.iter().find(|(_, results)| differs(results)) {
        Some((region, _)) => ProbeAnswer::Failed {
            summary: "A protection does not hold in a region as it does in the others.".to_owned(),
            facts,
            place: region.clone(),
        },
        None => {
            let summary = match regions.len() {
                1 => "There is one region, and every protection holds in it.",
                _ => "The same protections hold in every region.",
            };
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_compared() {
        let all = |kind: OutcomeKind| -> Results {
            PROTECTIONS.into_iter().map(|number| (number, (kind, 1))).collect()
        };
        let of = |results: &[Results]| -> BTreeMap<String, Results> {
            let names = (1..).map(|number: usize| number.to_string());
            names.zip(results.iter().cloned()).collect()
        };
        let good = all(OutcomeKind::Passed);
        assert!(matches!(judge(&of(std::slice::from_ref(&good))), ProbeAnswer::Passed { .. }));
        assert!(matches!(judge(&of(&[good.clone(), good.clone()])), ProbeAnswer::Passed { .. }));
        let mut other = good.clone();
        other.insert(PROTECTIONS[1], (OutcomeKind::Failed, 1));
        let judged = judge(&of(&[good.clone(), other]));
        assert!(matches!(judged, ProbeAnswer::Failed { place, .. } if place == "2"));
        let mut older = good.clone();
        older.insert(PROTECTIONS[1], (OutcomeKind::Passed, 2));
        assert!(matches!(judge(&of(&[good.clone(), older])), ProbeAnswer::Failed { .. }));
        let mut young = good;
        young.remove(&PROTECTIONS[2]);
        assert!(matches!(judge(&of(&[young])), ProbeAnswer::CouldNotRun(_)));
    }
}
