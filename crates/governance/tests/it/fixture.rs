//! A probe with a set outcome, run on a manual clock. Futures here never wait.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use veritwin_domain::{Clock, EvidenceId, ManualClock, Timestamp};
use veritwin_governance::{CheckOutcome, Evidence, Facts, Probe, ProbeFuture, PromiseId, run};

struct Fixed {
    promise: PromiseId,
    outcome: CheckOutcome,
}

impl Probe for Fixed {
    fn promise(&self) -> PromiseId {
        self.promise
    }

    fn version(&self) -> u32 {
        3
    }

    fn check(&self) -> ProbeFuture<'_> {
        Box::pin(std::future::ready(self.outcome.clone()))
    }
}

pub(crate) fn id(text: &str) -> PromiseId {
    text.parse().unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

pub(crate) fn passed() -> CheckOutcome {
    let facts = Facts::from([("files".into(), "12".into()), ("bytes".into(), "4096".into())]);
    CheckOutcome::Passed { summary: "no canary found".into(), facts }
}

pub(crate) fn failed() -> CheckOutcome {
    CheckOutcome::Failed {
        summary: "canary found".into(),
        facts: Facts::new(),
        place: "segments/1".into(),
    }
}

pub(crate) fn not_applicable() -> CheckOutcome {
    CheckOutcome::NotApplicable { reason: "no such listener".into() }
}

pub(crate) fn could_not_run() -> CheckOutcome {
    CheckOutcome::CouldNotRun { reason: "the port is closed".into() }
}

/// Evidence of a run that ended at `seconds`.
pub(crate) fn evidence(promise: &str, outcome: CheckOutcome, seconds: i64) -> Evidence {
    let clock = ManualClock::new(at(seconds));
    assert_eq!(clock.now(), at(seconds));
    let probe = Fixed { promise: id(promise), outcome };
    let future = pin!(run(&probe, EvidenceId::from_bytes([7; 16]), &clock));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(evidence) => evidence,
        Poll::Pending => panic!("a ready future waited"),
    }
}
