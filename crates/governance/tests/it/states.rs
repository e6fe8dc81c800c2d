//! States out of outcomes and their age.

use veritwin_governance::{CheckOutcome, Evidence, Facts, History, Register, State, StateKind};

use crate::fixture::{at, could_not_run, evidence, failed, id, not_applicable, passed};

const HOUR: i64 = 3_600;

/// P23 is checked hourly: evidence counts for two hours.
fn state(conclusive: Option<&Evidence>, latest: Option<&Evidence>, now: i64) -> State {
    let register = Register::built_in().unwrap();
    let history = History { latest, latest_conclusive: conclusive };
    State::derive(register.get(id("P23")), history, at(now))
}

#[test]
fn one_run_and_its_age() {
    let check = |outcome: CheckOutcome, now: i64, expect: StateKind, reason: &str| {
        let run = evidence("P23", outcome, 0);
        let state = state(Some(&run), Some(&run), now);
        assert_eq!((state.kind(), state.reason()), (expect, reason));
    };
    check(passed(), 0, StateKind::Proven, "no canary found");
    check(passed(), 2 * HOUR, StateKind::Proven, "no canary found");
    check(passed(), 2 * HOUR + 1, StateKind::Stale, "last passed 2 hours ago");
    check(failed(), HOUR, StateKind::Failing, "canary found");
    check(failed(), 999 * HOUR, StateKind::Failing, "canary found");
    check(not_applicable(), HOUR, StateKind::NotApplicable, "no such listener");
    check(not_applicable(), 72 * HOUR, StateKind::NotEvidenced, "last checked 3 days ago");
    // A run that could not run proves nothing, even when it is passed off as conclusive.
    let reason = "the check could not run: the port is closed";
    check(could_not_run(), 1, StateKind::NotEvidenced, reason);
    // Evidence from the future counts as none.
    // Nor is it said that none ran: what older versions found is shown to nobody.
    let reason = "no check of this version has come to a conclusion";
    check(passed(), -1, StateKind::NotEvidenced, reason);
}

#[test]
fn what_is_missing_is_said() {
    let register = Register::built_in().unwrap();
    let check = |promise: &str, reason: &str| {
        let state = State::derive(register.get(id(promise)), History::default(), at(0));
        assert_eq!(state.kind(), StateKind::NotEvidenced, "{promise}");
        assert!(state.reason().starts_with(reason), "{promise}: {}", state.reason());
    };
    check("P23", "no check of this version has come to a conclusion");
    check("P25", "the operator has to bring evidence: The validation certificate");
    check("P28", "there is nothing to check: This version has no licences");
}

#[test]
fn a_stumble_leaves_the_last_conclusion_until_it_is_stale() {
    let good = evidence("P23", passed(), 0);
    let stumble = evidence("P23", could_not_run(), 60);
    assert_eq!(state(Some(&good), Some(&stumble), 120).kind(), StateKind::Proven);
    let stale = state(Some(&good), Some(&stumble), 3 * HOUR);
    let expect = "last passed 3 hours ago; since then: the port is closed";
    assert_eq!((stale.kind(), stale.reason()), (StateKind::Stale, expect));
    let bad = evidence("P23", failed(), 0);
    let failing = state(Some(&bad), Some(&stumble), 120);
    let expect = "canary found; since then: the port is closed";
    assert_eq!((failing.kind(), failing.reason()), (StateKind::Failing, expect));
    let without = evidence("P23", not_applicable(), 0);
    assert_eq!(state(Some(&without), Some(&stumble), 120).reason(), "no such listener");
    let stale = state(Some(&without), Some(&stumble), 72 * HOUR);
    let expect = "last checked 3 days ago; since then: the port is closed";
    assert_eq!((stale.kind(), stale.reason()), (StateKind::NotEvidenced, expect));
}

#[test]
fn a_summary_that_is_a_sentence_is_gone_on_with() {
    let failed = CheckOutcome::Failed {
        summary: "A canary was found.".into(),
        facts: Facts::new(),
        place: "a file".into(),
    };
    let bad = evidence("P23", failed, 0);
    assert_eq!(state(Some(&bad), Some(&bad), 120).reason(), "A canary was found.");
    let stumble = evidence("P23", could_not_run(), 60);
    let told = state(Some(&bad), Some(&stumble), 120);
    assert_eq!(told.reason(), "A canary was found; since then: the port is closed");
}

#[test]
fn nothing_and_the_evidence_of_others() {
    assert_eq!(state(None, None, 0).kind(), StateKind::NotEvidenced);
    let other = evidence("P22", passed(), 0);
    assert_eq!(state(Some(&other), Some(&other), 0).kind(), StateKind::NotEvidenced);
    let register = Register::built_in().unwrap();
    let state = State::derive(register.get(id("P36")), History::default(), at(0));
    assert!(state.reason().starts_with("the operator has to bring evidence: The certificates"));
    assert_eq!(state.kind().as_str(), "not_evidenced");
}
