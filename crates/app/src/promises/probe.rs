//! What a probe is to the platform, and how it becomes a probe of the governance crate: it runs
//! in a task of its own, so that a panic or a caller that gives up cannot stop its tidying up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_governance::{CheckOutcome, Facts, Probe, ProbeFuture, PromiseId};

use super::walked::Walked;
use crate::Result;

/// A check that takes longer could not run.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(180);

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

/// What a check found. No text may hold personal data or secrets: evidence is shown and sealed.
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

impl From<Result<Self>> for ProbeAnswer {
    fn from(answer: Result<Self>) -> Self {
        answer.unwrap_or_else(|error| Self::CouldNotRun(error.to_string()))
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
        Box::pin(async move {
            let task = tokio::spawn(async move { probe.check().await });
            match tokio::time::timeout(CHECK_TIMEOUT, task).await {
                Ok(Ok(answer)) => match walked {
                    Some(walked) => walked.beside(number, answer).into(),
                    None => answer.into(),
                },
                Ok(Err(_)) => {
                    CheckOutcome::CouldNotRun { reason: "the check stopped in the middle".into() }
                }
                Err(_) => {
                    let reason = format!("no answer within {} s", CHECK_TIMEOUT.as_secs());
                    CheckOutcome::CouldNotRun { reason }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    struct Panics;

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
        let adapted = Adapted { promise, probe: Arc::new(Panics), walked: None };
        let outcome = adapted.check().await;
        assert_eq!(outcome.summary(), "the check stopped in the middle");
        assert!(matches!(outcome, CheckOutcome::CouldNotRun { .. }));
        let answer = ProbeAnswer::from(Err(Error::Unavailable("the archive".to_owned())));
        assert!(matches!(answer, ProbeAnswer::CouldNotRun(_)));
    }
}
