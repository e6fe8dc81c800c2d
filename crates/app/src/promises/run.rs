//! Running checks: those that are due, those that somebody asked for, and keeping what they found.
//! Nothing here decides a state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{EvidenceId, Timestamp};
use veritwin_governance::{Evidence, OutcomeKind, PromiseId};
use veritwin_metastore::{EvidenceState, Page, PromiseEvidence};

use super::probe::Adapted;
use super::sealing::{Unsealed, changes};
use super::spent::{Meter, metered};
use super::{Board, Run, UNSEALED_MAX};
use crate::job_board::{Job, JobWatch};
use crate::{App, Result};

/// Longest wait before the schedule is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Newest runs of a promise that are read back at start.
pub(super) const LOADED_MAX: u32 = 16;
/// Promises whose checks named people, logs, files or errors before this version of them, told of
/// others, or passed what they should not have: what those runs found stays stored and sealed, and
/// is shown to nobody.
const SHOWN_SINCE: [(u8, u32); 7] = [(5, 4), (6, 4), (9, 2), (14, 2), (22, 3), (25, 3), (26, 3)];

/// Whether every tenant may read what a run found.
fn is_shown(evidence: &Evidence) -> bool {
    let (promise, version) = (evidence.promise().number(), evidence.probe_version());
    SHOWN_SINCE.iter().all(|(known, since)| *known != promise || version >= *since)
}

impl Board {
    /// Takes a promise's stored runs, newest first. What is older than a conclusion that is hidden
    /// is not the newest any more, and nothing of it is taken.
    fn load(&mut self, runs: Vec<PromiseEvidence>) {
        let mut is_hidden = false;
        for stored in runs {
            let Ok(evidence) = Evidence::from_canonical_bytes(&stored.summary) else {
                tracing::warn!(evidence = %stored.id, "an evidence record is damaged");
                continue;
            };
            if evidence.outcome().kind() == OutcomeKind::CouldNotRun {
                continue;
            }
            is_hidden |= !is_shown(&evidence);
            if !is_hidden {
                let run = Run { evidence, ledger_index: stored.ledger_index };
                self.found.entry(run.evidence.promise()).or_default().take(run);
            }
        }
    }
}

/// Why a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time has come; passed by when another run came first.
    Due,
    /// Somebody wants to know now.
    Asked,
    /// Another check builds on it; passed by when a run came that began since a moment.
    Needed {
        /// The moment.
        since: Timestamp,
    },
}

pub(super) const fn stored_state(kind: OutcomeKind) -> EvidenceState {
    match kind {
        OutcomeKind::Passed => EvidenceState::Proven,
        OutcomeKind::Failed => EvidenceState::Failing,
        OutcomeKind::NotApplicable => EvidenceState::NotApplicable,
        OutcomeKind::CouldNotRun => EvidenceState::NotEvidenced,
    }
}

/// Whether checks wait until somebody asks for them. They take most of a young platform's time,
/// which tests of anything else can do without.
#[cfg(feature = "test-controls")]
fn only_when_asked() -> bool {
    std::env::var_os("VERITWIN_TEST_CHECKS").is_some_and(|when| when == "asked")
}

#[cfg(not(feature = "test-controls"))]
const fn only_when_asked() -> bool {
    false
}

impl App {
    /// Starts the checks and the sealing of evidence.
    pub(crate) fn start_promises(&self) {
        let in_app = [
            super::passwords::probe(self),
            super::fingerprints::probe(self),
            super::canary::probe(self),
            super::customer_keys::held_probe(self),
            super::customer_keys::module_probe(self),
            super::egress::probe(self),
            super::partners::probe(self),
            super::retention::probe(self),
            super::destruction::probe(self),
            super::purged::probe(self),
            super::ledger_end::probe(self),
            super::neutral_archive::probe(self),
            super::regions::probe(self),
            super::requests::complaint_probe(self),
            super::requests::clock_probe(self),
            super::mailbox::probe(self),
            super::ends::who_probe(self),
            super::ends::gone_probe(self),
            super::sign_up::optional_probe(self),
            super::sign_up::attestation_probe(self),
            super::subscribers::probe(self),
            super::consents::basis_probe(self),
            super::consents::separate_probe(self),
            super::consents::record_probe(self),
            super::consents::withdrawal_probe(self),
            super::consents::use_probe(self),
            super::policies::notice_probe(self),
            super::policies::publication_probe(self),
            super::policies::pages_probe(self),
            super::governance::certificates_probe(self),
            super::governance::history_probe(self),
            super::notices::breach_probe(self),
            super::notices::messages_probe(self),
            super::zones::public_probe(self),
            super::zones::opt_in_probe(self),
            super::inventory::probe(self),
            super::laws::probe(self),
        ];
        let of_rights = super::rights::probes(self).into_iter();
        let of_rights = of_rights.chain(super::limited::probes(self));
        let of_rights = of_rights.chain([super::erased::probe(self)]);
        for probe in in_app.into_iter().chain(super::registers::probes(self)).chain(of_rights) {
            if let Err(error) = self.register_probe(probe) {
                tracing::error!(%error, "a promise's probe");
            }
        }
        let (app, watch) = (self.clone(), self.watch_job(Job::Promises));
        self.0.tasks.spawn(async move {
            if let Err(error) = app.load_evidence().await {
                tracing::warn!(%error, "earlier evidence could not be read: everything is due");
            }
            app.run_due_checks(&watch).await;
            // Probes may hold the platform; it must not hold itself.
            app.0.promises.board.lock().probes.clear();
        });
        let (app, watch) = (self.clone(), self.watch_job(Job::Evidence));
        self.0.tasks.spawn(async move { app.seal_as_it_comes(&watch).await });
    }

    /// Reads back what earlier runs concluded. One that could not run concludes nothing, and older
    /// versions quoted errors in it.
    pub(super) async fn load_evidence(&self) -> Result<()> {
        let context = self.job(jobs::PROMISES);
        let tx = self.0.store.read_platform(&context).await?;
        let mut runs = Vec::new();
        for id in PromiseId::all() {
            let stored = tx.evidence(&id.to_string(), &Page::first(LOADED_MAX)).await?;
            runs.push(stored.items);
        }
        let unsealed = tx.evidence_unsealed(UNSEALED_MAX as u64).await?;
        drop(tx);
        let mut changed = BTreeSet::new();
        for of_promise in &runs {
            let read = |run: &PromiseEvidence| Evidence::from_canonical_bytes(&run.summary).ok();
            let read: Vec<Evidence> = of_promise.iter().filter_map(read).collect();
            changed.extend(changes(&read));
        }
        let mut board = self.0.promises.board.lock();
        board.load_unsealed(unsealed, &changed);
        for of_promise in runs {
            board.load(of_promise);
        }
        board.reschedule();
        drop(board);
        self.0.promises.to_seal.notify_one();
        Ok(())
    }

    async fn run_due_checks(&self, watch: &JobWatch) {
        let promises = &self.0.promises;
        loop {
            let now = self.clock().now();
            let due = {
                let mut board = promises.board.lock();
                let mut due = board.schedule.due(&promises.register, now);
                due.retain(|id| !only_when_asked() && board.running.insert(*id));
                due
            };
            for id in due {
                let app = self.clone();
                self.0.tasks.spawn(async move {
                    app.run_check(id, Why::Due).await;
                    app.0.promises.board.lock().running.remove(&id);
                    app.0.promises.changed.notify_one();
                });
            }
            watch.turned();
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = promises.changed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether something is known of a promise: its check only comes round again.
    fn has_concluded(&self, id: PromiseId) -> bool {
        let board = self.0.promises.board.lock();
        board.found.get(&id).is_some_and(|found| found.conclusive.is_some())
    }

    /// Whether the newest run of a check began since a moment.
    fn has_run_since(&self, id: PromiseId, since: Timestamp) -> bool {
        let board = self.0.promises.board.lock();
        let latest = board.found.get(&id).and_then(|found| found.latest.as_ref());
        latest.is_some_and(|run| run.evidence.started_at() >= since)
    }

    /// Runs one check and keeps what it found. At most one check of a promise and a bounded number
    /// of checks run at once; those that come round again, one after the other, with a rest after
    /// each by what it spent.
    pub(super) async fn run_check(&self, id: PromiseId, why: Why) {
        let is_routine = why == Why::Due && self.has_concluded(id);
        if !is_routine {
            self.run_in_turn(id, why).await;
            return;
        }
        let Ok(_routine) = self.0.promises.routine.acquire().await else { return };
        if let Some(meter) = self.run_in_turn(id, why).await {
            self.rest_after(meter.spent()).await;
        }
    }

    /// Runs one check when it is its turn, unless another run came first; answers what it spent.
    async fn run_in_turn(&self, id: PromiseId, why: Why) -> Option<Arc<Meter>> {
        let promises = &self.0.promises;
        let place = usize::from(id.number() - 1);
        let _turn = promises.turns.get(place)?.lock().await;
        let _slot = promises.slots.acquire().await.ok()?;
        // Those that waited behind others do not hold up the end of the platform.
        if self.0.stop.is_cancelled() {
            return None;
        }
        let started = self.clock().now();
        let is_due =
            || promises.board.lock().schedule.due(&promises.register, started).contains(&id);
        let is_passed_by = match why {
            Why::Due => !is_due(),
            Why::Asked => false,
            Why::Needed { since } => self.has_run_since(id, since),
        };
        if is_passed_by {
            return None;
        }
        let probe = promises.probe(id)?;
        let run_id = EvidenceId::generate(started, self.rng());
        let promise = promises.register.get(id);
        let meter = Meter::new(promise.budget);
        let walked = metered(Arc::clone(&meter), self.journey_for(id)).await;
        let (timeout, counted) = (promise.timeout, Arc::clone(&meter));
        let lane = Arc::clone(promises.lanes.get(place)?);
        let adapted = Adapted { promise: id, probe, timeout, meter: counted, lane, walked };
        let evidence = veritwin_governance::run(&adapted, run_id, self.clock()).await;
        promises.board.lock().spent.insert(id, meter.spent());
        // What is found while the listeners and stores go away says nothing of the promise.
        if self.0.stop.is_cancelled() {
            return None;
        }
        let outcome = evidence.outcome().kind().as_str();
        metrics::counter!("veritwin_promise_checks_total", "outcome" => outcome).increment(1);
        if evidence.outcome().kind() == OutcomeKind::Failed {
            tracing::warn!(promise = %id, found = evidence.outcome().summary(), "promise broken");
            self.tell_of_break(id, &evidence).await;
        }
        self.keep(evidence, why).await;
        Some(meter)
    }

    /// Whether a check could not run, as the one before it could not, for the same reason.
    fn is_repeated(&self, evidence: &Evidence) -> bool {
        let board = self.0.promises.board.lock();
        let latest = board.found.get(&evidence.promise()).and_then(|found| found.latest.as_ref());
        evidence.outcome().kind() == OutcomeKind::CouldNotRun
            && latest.is_some_and(|run| {
                run.evidence.outcome() == evidence.outcome()
                    && run.evidence.probe_version() == evidence.probe_version()
            })
    }

    async fn keep(&self, evidence: Evidence, why: Why) {
        // What waits for somebody is tried every few minutes: the first try is stored and sealed.
        if self.is_repeated(&evidence) {
            self.0.promises.board.lock().took(Run { evidence, ledger_index: None });
            return;
        }
        let id = evidence.id();
        let bytes = evidence.canonical_bytes();
        let stored = PromiseEvidence {
            id,
            promise: evidence.promise().to_string(),
            state: stored_state(evidence.outcome().kind()),
            at: evidence.finished_at(),
            summary: bytes,
            ledger_index: None,
        };
        let has_leaf = why == Why::Asked || self.0.promises.board.lock().changes_state(&evidence);
        let unsealed = Unsealed::new(&evidence, &stored.summary, !has_leaf);
        let is_stored = match self.store_evidence(&stored).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, promise = %stored.promise, "evidence was not stored");
                false
            }
        };
        let mut board = self.0.promises.board.lock();
        board.took(Run { evidence, ledger_index: None });
        if is_stored {
            board.wait_for_leaf(id, unsealed);
        }
        drop(board);
        self.0.promises.to_seal.notify_one();
    }

    async fn store_evidence(&self, evidence: &PromiseEvidence) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        tx.evidence_add(evidence).await?;
        Ok(tx.commit().await?)
    }
}

/// A probe that reaches the platform without keeping it alive.
pub(super) struct InApp<F> {
    pub(super) promise: u8,
    pub(super) version: u32,
    pub(super) platform: std::sync::Weak<crate::open::Inner>,
    pub(super) check: F,
}

impl<F, Fut> InApp<F>
where
    F: Fn(App) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<super::ProbeAnswer>> + Send + 'static,
{
    pub(super) fn shared(
        app: &App,
        promise: u8,
        version: u32,
        check: F,
    ) -> Arc<dyn super::PlatformProbe> {
        Arc::new(Self { promise, version, platform: Arc::downgrade(&app.0), check })
    }
}

#[async_trait::async_trait]
impl<F, Fut> super::PlatformProbe for InApp<F>
where
    F: Fn(App) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<super::ProbeAnswer>> + Send + 'static,
{
    fn promise(&self) -> u8 {
        self.promise
    }

    fn version(&self) -> u32 {
        self.version
    }

    async fn check(&self) -> super::ProbeAnswer {
        match self.platform.upgrade() {
            Some(inner) => (self.check)(App(inner)).await.into(),
            None => super::ProbeAnswer::CouldNotRun("the platform is stopping".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::promises::tests::{Answers, platform};
    use crate::promises::{PlatformProbe, ProbeAnswer};

    /// Counts how many of its kind run at once.
    struct Busy {
        number: u8,
        running: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    #[async_trait::async_trait]
    impl PlatformProbe for Busy {
        fn promise(&self) -> u8 {
            self.number
        }
        fn version(&self) -> u32 {
            1
        }
        async fn check(&self) -> ProbeAnswer {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            ProbeAnswer::Passed { summary: "Held.".to_owned(), facts: Vec::new() }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn checks_that_come_round_again_run_one_after_the_other() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let numbers = [31, 32, 33];
        for number in numbers {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            app.register_probe(Arc::new(Busy { number, running, most })).expect("a probe");
        }
        let ids = numbers.map(|number| PromiseId::new(number).expect("a promise"));
        for id in ids {
            app.run_check(id, Why::Due).await;
            assert!(app.has_concluded(id));
        }
        most.store(0, Ordering::SeqCst);
        for id in ids {
            assert!(app.0.promises.board.lock().schedule.ask(id));
        }
        let [one, two, three] = ids.map(|id| app.run_check(id, Why::Due));
        tokio::join!(one, two, three);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        app.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_passed_lately_is_not_run_again_for_who_asks() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        let id = PromiseId::new(32).expect("a promise");
        let passed = || ProbeAnswer::Passed { summary: "Held.".to_owned(), facts: Vec::new() };
        let away = ProbeAnswer::CouldNotRun("away".to_owned());
        let after = |seconds| {
            let at = app.clock().now().saturating_add(Duration::from_secs(seconds));
            app.0.promises.has_passed_lately(id, at)
        };
        for (answer, expect) in [(away, false), (passed(), true)] {
            app.register_probe(Arc::new(Answers(answer, 1))).expect("a promise's probe");
            app.run_check(id, Why::Asked).await;
            assert_eq!(after(0), expect);
        }
        assert!(!after(900), "a quarter of an hour of its day");
        app.register_probe(Arc::new(Answers(passed(), 2))).expect("a promise's probe");
        assert!(!after(0), "another version was never run");
        app.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_could_not_run_for_the_same_reason_is_stored_once() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        let promise = PromiseId::new(32).expect("a promise");
        let stored = async || {
            let tx = app.0.store.read_platform(&app.job(jobs::PROMISES)).await.expect("records");
            tx.evidence("P32", &Page::first(100)).await.expect("evidence").items.len()
        };
        let tries = [("away", 1), ("away", 1), ("full", 2), ("away", 3), ("away", 3)];
        for (why, expect) in tries {
            let answer = ProbeAnswer::CouldNotRun(why.to_owned());
            app.register_probe(Arc::new(Answers(answer, 1))).expect("a promise's probe");
            app.run_check(promise, Why::Asked).await;
            assert_eq!(stored().await, expect, "{why}");
        }
        app.close().await;
    }
}
