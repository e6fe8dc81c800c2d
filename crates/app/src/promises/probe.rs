//! What a probe is to the platform, and how it becomes a probe of the governance crate: it runs
//! in a task of its own, so that a panic or a caller that gives up cannot stop its tidying up.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_governance::{CheckOutcome, Facts, Probe, ProbeFuture, PromiseId};

use super::spent::{Meter, metered};
use super::walked::Walked;
use crate::{Error, Result};

/// Checks one promise against the running platform.
#[async_trait]
pub trait PlatformProbe: Send + Sync {
    /// The number of the promise it checks.
    fn promise(&self) -> u8;

    /// Counts up whenever the probe checks something else than before.
    fn version(&self) -> u32;

    /// Runs the check. It leaves nothing behind.
    async fn check(&self) -> ProbeAnswer;
}

/// What a check found. Every tenant reads it: no text may hold personal data or secrets, name a
/// tenant or anything of one, or quote an error. What the operator has to know goes to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The promise held.
    Passed {
        /// One sentence.
        summary: String,
        /// What was seen, by name.
        facts: Vec<(String, String)>,
    },
    /// The promise was broken.
    Failed {
        /// One sentence.
        summary: String,
        /// What was seen, by name.
        facts: Vec<(String, String)>,
        /// The file, listener, endpoint or table to look at.
        place: String,
    },
    /// The promise has no object in this installation.
    NotApplicable(String),
    /// The check itself failed: nothing is known.
    CouldNotRun(String),
}

impl ProbeAnswer {
    /// What every reader of the promises may know of an error: a fixed sentence. The error itself
    /// may name files, addresses and other tenants' things; it goes to the log.
    pub fn told(error: &Error) -> String {
        Self::instead(public_words(error), error)
    }

    /// The same of whatever else a check meets: `public` stands in its place.
    pub fn instead(public: &str, error: &dyn Display) -> String {
        tracing::warn!(%error, public, "a promise's check met an error");
        public.to_owned()
    }
}

/// A fixed sentence for each kind of error, whatever the error says.
pub(super) const fn public_words(error: &Error) -> &'static str {
    match error {
        Error::Unauthenticated(_)
        | Error::SecondFactor
        | Error::NotProven(_)
        | Error::SecondFactorMissing
        | Error::Forbidden(_)
        | Error::Outside(_) => "the check was refused what it asked for",
        Error::NotFound(_) => "something that the check asked for was not there",
        Error::Destroyed(_) | Error::KeyDestroyed(_) => {
            "something that the check asked for was destroyed"
        }
        Error::KeyRevoked => "a key that the check needed is revoked",
        Error::KeySilent => "a key service that the check needed does not answer",
        Error::Conflict(_) | Error::Changed(_) => {
            "something else changed what the check was working with"
        }
        Error::Invalid { .. } | Error::InvalidRows(_) => {
            "the check asked for something that is not valid"
        }
        Error::Limit(_)
        | Error::StorageFull(_)
        | Error::Rate(_)
        | Error::Busy { .. }
        | Error::Crowded(_) => "a limit of the platform left the check no room",
        Error::Unavailable(_) => {
            "a part of the platform does not answer; the log of the platform says more"
        }
        Error::Internal(_) => "something inside broke; the log of the platform says more",
    }
}

impl From<Error> for ProbeAnswer {
    fn from(error: Error) -> Self {
        Self::CouldNotRun(Self::told(&error))
    }
}

impl From<Result<Self>> for ProbeAnswer {
    fn from(answer: Result<Self>) -> Self {
        answer.unwrap_or_else(Self::from)
    }
}

impl From<ProbeAnswer> for CheckOutcome {
    fn from(answer: ProbeAnswer) -> Self {
        let named = |facts: Vec<(String, String)>| facts.into_iter().collect::<Facts>();
        match answer {
            ProbeAnswer::Passed { summary, facts } => Self::Passed { summary, facts: named(facts) },
            ProbeAnswer::Failed { summary, facts, place } => {
                Self::Failed { summary, facts: named(facts), place }
            }
            ProbeAnswer::NotApplicable(reason) => Self::NotApplicable { reason },
            ProbeAnswer::CouldNotRun(reason) => Self::CouldNotRun { reason },
        }
    }
}

/// A platform probe as governance runs it.
pub(super) struct Adapted {
    pub(super) promise: PromiseId,
    pub(super) probe: Arc<dyn PlatformProbe>,
    /// A check that takes longer could not run.
    pub(super) timeout: Duration,
    /// One that spends more could not run either.
    pub(super) meter: Arc<Meter>,
    /// Whose task is not over yet is not begun a second time.
    pub(super) lane: Arc<tokio::sync::Mutex<()>>,
    /// The daily journey, where it touches the promise.
    pub(super) walked: Option<Arc<Walked>>,
}

impl Probe for Adapted {
    fn promise(&self) -> PromiseId {
        self.promise
    }

    fn version(&self) -> u32 {
        self.probe.version()
    }

    fn check(&self) -> ProbeFuture<'_> {
        let probe = Arc::clone(&self.probe);
        let (number, walked) = (self.promise.number(), self.walked.clone());
        let (timeout, meter) = (self.timeout, Arc::clone(&self.meter));
        let lane = Arc::clone(&self.lane).try_lock_owned();
        Box::pin(async move {
            let Ok(lane) = lane else {
                let reason = "an earlier run of the check, which was given up, is not over yet";
                return CheckOutcome::CouldNotRun { reason: reason.to_owned() };
            };
            let counted = Arc::clone(&meter);
            let work = async move {
                let _lane = lane;
                probe.check().await
            };
            let task = tokio::spawn(metered(counted, work));
            let answer = tokio::select! {
                biased;
                answer = tokio::time::timeout(timeout, task) => answer,
                // It goes on and tidies up, as one that takes too long.
                part = meter.overspent() => {
                    return CheckOutcome::CouldNotRun { reason: part.to_owned() };
                }
            };
            match answer {
                Ok(Ok(answer)) => match walked {
                    Some(walked) => walked.beside(number, answer).into(),
                    None => answer.into(),
                },
                Ok(Err(_)) => {
                    CheckOutcome::CouldNotRun { reason: "the check stopped in the middle".into() }
                }
                Err(_) => {
                    let reason = format!("no answer within {} s", timeout.as_secs());
                    CheckOutcome::CouldNotRun { reason }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_governance::Budget;
    use veritwin_keys::KeyError;
    use veritwin_outbound::archive::ArchiveError;
    use veritwin_telemetry::TelemetryError;

    struct Panics;

    /// Does not come to an end, and keeps a processor busy.
    struct Spins;

    #[async_trait]
    impl PlatformProbe for Spins {
        fn promise(&self) -> u8 {
            32
        }
        fn version(&self) -> u32 {
            1
        }
        async fn check(&self) -> ProbeAnswer {
            loop {
                tokio::task::yield_now().await;
            }
        }
    }

    fn meter(cpu: Duration) -> Arc<Meter> {
        Meter::new(Budget { cpu, io_bytes: 1 << 20 })
    }

    #[tokio::test]
    async fn a_check_over_its_budget_could_not_run() {
        let promise = PromiseId::new(32).expect("a promise");
        let lane = Arc::<tokio::sync::Mutex<()>>::default();
        let reason = async || {
            let (timeout, meter) = (Duration::from_secs(60), meter(Duration::from_millis(5)));
            let (probe, lane) = (Arc::new(Spins), Arc::clone(&lane));
            let adapted = Adapted { promise, probe, timeout, meter, lane, walked: None };
            match adapted.check().await {
                CheckOutcome::CouldNotRun { reason } => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason().await, "the check took more processor time than it may");
        // It spins on: there is no second one beside it.
        assert!(reason().await.contains("is not over yet"));
    }

    #[async_trait]
    impl PlatformProbe for Panics {
        fn promise(&self) -> u8 {
            32
        }
        fn version(&self) -> u32 {
            1
        }
        async fn check(&self) -> ProbeAnswer {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_probe_that_breaks_proves_nothing() {
        let promise = PromiseId::new(32).expect("a promise");
        let timeout = Duration::from_secs(60);
        let meter = meter(timeout);
        let (probe, lane) = (Arc::new(Panics), Arc::default());
        let adapted = Adapted { promise, probe, timeout, meter, lane, walked: None };
        let outcome = adapted.check().await;
        assert_eq!(outcome.summary(), "the check stopped in the middle");
        assert!(matches!(outcome, CheckOutcome::CouldNotRun { .. }));
        let answer = ProbeAnswer::from(Err(Error::Unavailable("the archive".to_owned())));
        assert!(matches!(answer, ProbeAnswer::CouldNotRun(_)));
    }

    #[test]
    fn no_reader_is_told_what_an_error_says() {
        const SECRETS: [&str; 5] =
            ["/var/lib", "secret-host", "1234", "https:", "01890a5d-ac96-774b-bcce-b302099a8057"];
        let said = "/var/lib/x secret-host:1234 https://kms.secret-host/k \
                    01890a5d-ac96-774b-bcce-b302099a8057";
        let text = || said.to_owned();
        let unreachable = ArchiveError::Unreachable { address: text(), problem: text() };
        let answered = ArchiveError::Answer { status: 502, problem: text() };
        let errors: Vec<Error> = vec![
            Error::Internal(text()),
            Error::Unavailable(text()),
            Error::Conflict(text()),
            Error::Forbidden(text()),
            Error::Destroyed(text()),
            Error::KeyDestroyed(text()),
            Error::invalid_at(said, said),
            KeyError::RootUnavailable(text()).into(),
            KeyError::Locked(said.into()).into(),
            unreachable.into(),
            answered.into(),
            TelemetryError::Damaged { object: text(), reason: text() }.into(),
        ];
        for error in errors {
            let kind = format!("{error:?}");
            let ProbeAnswer::CouldNotRun(told) = ProbeAnswer::from(Err(error)) else {
                panic!("{kind}");
            };
            assert!(!told.is_empty() && !told.ends_with('.'), "{told}");
            for secret in SECRETS {
                assert!(!told.contains(secret), "{kind}: {told}");
            }
        }
    }
}
