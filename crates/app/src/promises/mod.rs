//! The promise board: every promise of the register with its state, derived from what probes
//! found. Every run is stored and its digest sealed into the platform's own log; a state cannot
//! be set by hand.

mod access;
mod canary;
mod consents;
mod customer_keys;
mod destruction;
mod egress;
mod ends;
mod erased;
mod filled;
mod fingerprints;
mod fixture;
mod governance;
mod governed_things;
mod inventory;
mod journey;
mod laws;
mod ledger_end;
mod limited;
mod mailbox;
mod mailed;
mod moved;
mod neutral_archive;
mod newcomers;
mod nobody;
mod notices;
mod outside;
mod partners;
mod passwords;
mod policies;
mod probe;
mod purged;
mod refused;
mod regions;
mod registers;
mod requests;
mod restored;
mod retention;
mod rights;
mod run;
#[cfg(feature = "test-controls")]
mod sabotage;
mod sealing;
mod search;
mod search_bucket;
mod sign_up;
mod spent;
mod stated;
mod streams;
mod subscribers;
#[cfg(test)]
pub(crate) mod tests;
mod things;
mod told;
mod walked;
mod workspace;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use veritwin_access::{Action, Kind};
use veritwin_domain::{EvidenceId, OpContext, PlatformContext, Timestamp};
use veritwin_governance::{
    CHECKS_AT_ONCE_MAX, CheckOutcome, Evidence, History, OutcomeKind, Polarity, Promise, PromiseId,
    Register, Schedule, State, StateKind,
};

use crate::model::PromiseView;
use crate::{App, Error, Result};

pub use access::{AccessFixture, ProbePerson};
pub use probe::{PlatformProbe, ProbeAnswer};

pub use fixture::{IsolationFixture, RoleFixture};
pub(crate) use nobody::{PROBE_CUSTOMER, PROBE_KEYS, PROBE_PARTNER, PROBE_TENANT};
pub use refused::{RefusedFixture, SearchedFiles};
pub(crate) use sealing::is_listed;
pub(crate) use stated::StatedPromise;
pub use streams::StreamFixture;
pub(crate) use workspace::CheckedEvidence;

/// Most checks that people may be waiting for at once.
const ASKED_MAX: usize = 16;
/// A check that passed within this part of its interval is not run again for who asks, each run
/// of which costs time, and of some a line that is kept for ever.
const ASKED_AGAIN_PARTS: u32 = 96;
/// But after this.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Most evidence records that wait in memory for the ledger; what is over it is taken up from the
/// records once there is room again.
const UNSEALED_MAX: usize = 4096;

/// A run and the leaf that holds its digest.
#[derive(Debug, Clone)]
struct Run {
    evidence: Evidence,
    ledger_index: Option<u64>,
}

/// What is known of a promise: its newest run, and the newest that came to a conclusion.
#[derive(Debug, Clone, Default)]
struct Found {
    latest: Option<Run>,
    conclusive: Option<Run>,
    /// The newest leaf of a run that came to the same conclusion.
    leaf: Option<u64>,
    /// Runs are read back newest first, and one came to another: what is older shows nothing of
    /// what holds now.
    is_cut: bool,
}

impl Found {
    fn take(&mut self, run: Run) {
        let is_newer = |known: &Option<Run>| {
            let known = known.as_ref().map(|known| known.evidence.finished_at());
            known.is_none_or(|at| at <= run.evidence.finished_at())
        };
        let kind = run.evidence.outcome().kind();
        let is_other = kind != OutcomeKind::CouldNotRun && self.concluded() != Some(kind);
        if kind != OutcomeKind::CouldNotRun && is_newer(&self.conclusive) {
            self.leaf = self.leaf.filter(|_| !is_other);
            self.is_cut = false;
            self.conclusive = Some(run.clone());
        } else {
            self.is_cut |= is_other;
        }
        if !self.is_cut {
            self.sealed(kind, run.ledger_index);
        }
        if is_newer(&self.latest) {
            self.latest = Some(run);
        }
    }

    fn concluded(&self) -> Option<OutcomeKind> {
        self.conclusive.as_ref().map(|run| run.evidence.outcome().kind())
    }

    /// A run of this kind has a leaf, or none.
    fn sealed(&mut self, kind: OutcomeKind, leaf: Option<u64>) {
        if self.concluded() == Some(kind) {
            self.leaf = self.leaf.max(leaf);
        }
    }

    fn ledgered(&mut self, (id, kind): (EvidenceId, OutcomeKind), index: u64) {
        self.sealed(kind, Some(index));
        for run in [&mut self.latest, &mut self.conclusive].into_iter().flatten() {
            if run.evidence.id() == id {
                run.ledger_index = Some(index);
            }
        }
    }
}

#[derive(Default)]
struct Board {
    probes: BTreeMap<PromiseId, Arc<dyn PlatformProbe>>,
    schedule: Schedule,
    found: BTreeMap<PromiseId, Found>,
    running: BTreeSet<PromiseId>,
    told: told::Told,
    /// What the newest run of each check spent.
    spent: BTreeMap<PromiseId, spent::Spent>,
    unsealed: BTreeMap<EvidenceId, sealing::Unsealed>,
    /// More of it is stored, which found no room there.
    has_more: bool,
}

impl Board {
    /// Runs of an older version of a probe do not count: that check is due at once.
    fn reschedule(&mut self) {
        self.schedule = Schedule::new(self.probes.keys().copied());
        for (id, probe) in &self.probes {
            let latest = self.found.get(id).and_then(|found| found.latest.as_ref());
            if let Some(run) = latest
                && run.evidence.probe_version() == probe.version()
            {
                self.schedule.ran(&run.evidence);
            }
        }
    }

    fn took(&mut self, run: Run) {
        self.schedule.ran(&run.evidence);
        self.found.entry(run.evidence.promise()).or_default().take(run);
    }
}

/// The register, the probes and what they found.
pub(crate) struct PromiseBoard {
    register: Register,
    board: Mutex<Board>,
    /// One check of a promise at a time.
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Held by a check until its task is over, which may be after it was given up.
    lanes: Vec<Arc<tokio::sync::Mutex<()>>>,
    slots: Semaphore,
    /// Checks that come round again run one after the other, behind whatever else there is to do.
    routine: Semaphore,
    asked: Arc<Semaphore>,
    /// The probes' tenant is made once, whichever check is first.
    tenant_turn: tokio::sync::Mutex<()>,
    /// What the platform's own data subject found.
    journey: journey::Journey,
    /// A probe was added, or a check ended.
    changed: Notify,
    /// A platform of nobody beside this one, one at a time.
    scratch: tokio::sync::Mutex<()>,
    /// There is evidence to seal.
    to_seal: Notify,
    /// One leaf of evidence at a time.
    sealing: tokio::sync::Mutex<()>,
    #[cfg(feature = "test-controls")]
    sabotage: sabotage::Sabotage,
}

impl PromiseBoard {
    /// A board without evidence and without probes.
    pub(crate) fn new() -> Result<Self> {
        let register = Register::built_in().map_err(|error| Error::Internal(error.to_string()))?;
        let turns = register.promises().iter().map(|_| tokio::sync::Mutex::default()).collect();
        let lanes = register.promises().iter().map(|_| Arc::default()).collect();
        Ok(Self {
            register,
            board: Mutex::default(),
            turns,
            lanes,
            slots: Semaphore::new(CHECKS_AT_ONCE_MAX),
            routine: Semaphore::new(1),
            asked: Arc::new(Semaphore::new(ASKED_MAX)),
            tenant_turn: tokio::sync::Mutex::default(),
            journey: journey::Journey::default(),
            changed: Notify::new(),
            scratch: tokio::sync::Mutex::default(),
            to_seal: Notify::new(),
            sealing: tokio::sync::Mutex::default(),
            #[cfg(feature = "test-controls")]
            sabotage: sabotage::Sabotage::default(),
        })
    }

    fn add(&self, probe: Arc<dyn PlatformProbe>) -> Result<()> {
        let number = probe.promise();
        let id = PromiseId::new(number)
            .map_err(|error| Error::Internal(format!("probe of promise {number}: {error}")))?;
        let mut board = self.board.lock();
        board.probes.insert(id, probe);
        board.reschedule();
        drop(board);
        self.changed.notify_one();
        Ok(())
    }

    fn probe(&self, id: PromiseId) -> Option<Arc<dyn PlatformProbe>> {
        self.board.lock().probes.get(&id).cloned()
    }

    /// Whether a check passed so lately that what it found is told to who asks for another. What
    /// is broken or could not run is tried whenever somebody asks.
    fn has_passed_lately(&self, id: PromiseId, now: Timestamp) -> bool {
        let lately = (self.register.get(id).interval / ASKED_AGAIN_PARTS).max(ASKED_AGAIN_AFTER);
        let board = self.board.lock();
        let version = board.probes.get(&id).map(|probe| probe.version());
        let latest = board.found.get(&id).and_then(|found| found.latest.as_ref());
        latest.is_some_and(|run| {
            let (kind, at) = (run.evidence.outcome().kind(), run.evidence.finished_at());
            matches!(kind, OutcomeKind::Passed | OutcomeKind::NotApplicable)
                && Some(run.evidence.probe_version()) == version
                && at <= now
                && now.since(at) < lately
        })
    }

    fn view(&self, id: PromiseId, now: Timestamp) -> PromiseView {
        let promise = self.register.get(id);
        let board = self.board.lock();
        let found = board.found.get(&id).cloned().unwrap_or_default();
        let spent = board.spent.get(&id).copied();
        let next_check_at = board.schedule.next_check_at(&self.register, id, now);
        drop(board);
        let history = History {
            latest: found.latest.as_ref().map(|run| &run.evidence),
            latest_conclusive: found.conclusive.as_ref().map(|run| &run.evidence),
        };
        let state = State::derive(promise, history, now);
        let shown = found.conclusive.as_ref().or(found.latest.as_ref());
        let facts = shown.map(|run| facts(run.evidence.outcome())).unwrap_or_default();
        let own_leaf = shown.and_then(|run| run.ledger_index);
        PromiseView {
            id: id.to_string(),
            text: promise.text.clone(),
            source: promise.source.clone(),
            feature: promise.feature.clone(),
            state: state.kind().as_str(),
            summary: shown.map(|run| run.evidence.outcome().summary().to_owned()),
            facts,
            ledger_index: own_leaf.or(found.leaf),
            is_leaf_earlier: own_leaf.is_none() && found.leaf.is_some(),
            checked_at: found.latest.as_ref().map(|run| run.evidence.finished_at()),
            next_check_at,
            reason: reason(promise, &state),
            owner: promise.owner.as_str().to_owned(),
            scope: promise.scope.as_str(),
            interval: promise.interval,
            timeout: promise.timeout,
            cpu_max: promise.budget.cpu,
            io_bytes_max: promise.budget.io_bytes,
            spent: spent.map(|spent| (spent.cpu, spent.io_bytes)),
        }
    }

    fn views(&self, now: Timestamp) -> Vec<PromiseView> {
        PromiseId::all().map(|id| self.view(id, now)).collect()
    }
}

/// The facts to show; where a promise was broken stands first.
fn facts(outcome: &CheckOutcome) -> Vec<(String, String)> {
    let place = match outcome {
        CheckOutcome::Failed { place, .. } => Some(("place".to_owned(), place.clone())),
        _ => None,
    };
    let seen = outcome.facts().into_iter().flatten();
    place.into_iter().chain(seen.map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// Why a promise is not proven, or what a proof of it cannot show.
fn reason(promise: &Promise, state: &State) -> Option<String> {
    if state.kind() != StateKind::Proven {
        return Some(state.reason().to_owned());
    }
    let limits = &promise.limits;
    let sampled = (limits.polarity == Polarity::Negative)
        .then_some("A probe samples this; it cannot prove absence.");
    let said = match limits.text.as_deref() {
        Some(text) => Some(text),
        None => sampled,
    };
    let parts: Vec<&str> = said.into_iter().chain(limits.operators_part.as_deref()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

impl App {
    /// Adds a probe that needs more than the stores, such as the listeners.
    pub fn register_probe(&self, probe: Arc<dyn PlatformProbe>) -> Result<()> {
        self.0.promises.add(probe)
    }

    /// Every promise with its live state.
    #[boxed]
    pub async fn list_promises(&self, context: &OpContext) -> Result<Vec<PromiseView>> {
        let resource = self.authorize_all(context, Action::PromiseRead, Kind::Promise)?;
        self.note(context, Action::PromiseRead, &resource, "done");
        Ok(self.0.promises.views(context.at))
    }

    /// Runs a promise's check now, unless it passed lately: then what it found is told again.
    #[boxed]
    pub async fn check_promise(&self, context: &OpContext, id: &str) -> Result<PromiseView> {
        let resource = self.authorize_all(context, Action::PromiseCheck, Kind::Promise)?;
        let known = id.parse::<PromiseId>().ok();
        let lately = known.filter(|id| self.0.promises.has_passed_lately(*id, context.at));
        let view = match lately {
            Some(id) => self.0.promises.view(id, context.at),
            None => self.check_now(id).await?,
        };
        self.note(context, Action::PromiseCheck, &resource, "done");
        Ok(view)
    }

    /// Every promise with its live state, for whoever holds the data directory.
    pub fn promise_states_for_local(&self, context: &PlatformContext) -> Result<Vec<PromiseView>> {
        self.authorize_platform(context, Action::PromiseRead)?;
        Ok(self.0.promises.views(context.at))
    }

    /// Runs a promise's check now, for whoever holds the data directory.
    #[boxed]
    pub async fn check_promise_for_local(
        &self,
        context: &PlatformContext,
        id: &str,
    ) -> Result<PromiseView> {
        self.authorize_platform(context, Action::PromiseCheck)?;
        self.check_now(id).await
    }

    async fn check_now(&self, id: &str) -> Result<PromiseView> {
        let id: PromiseId = id.parse().map_err(|_| Error::NotFound("promise"))?;
        if self.0.promises.probe(id).is_none() {
            let detail = format!("{id} has no check that could be run yet");
            return Err(Error::Conflict(detail));
        }
        let busy = Error::Busy { retry_after: Duration::from_secs(5) };
        let asked = Arc::clone(&self.0.promises.asked).try_acquire_owned().map_err(|_| busy)?;
        // A task of its own: who asked may go away while the check has things to tidy up.
        let app = self.clone();
        let task = self.0.tasks.spawn(async move {
            let _asked = asked;
            app.run_check(id, run::Why::Asked).await;
        });
        task.await.map_err(|_| Error::Internal("a promise check stopped".to_owned()))?;
        Ok(self.0.promises.view(id, self.clock().now()))
    }
}
