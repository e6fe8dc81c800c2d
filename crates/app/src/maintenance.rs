//! Background work: segments and log truncation, presence, activity records, purges, the
//! clock's high-water mark. Each round is bounded and a failure waits for the next round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use veritwin_access::{SESSION_IDLE_MAX, jobs};
use veritwin_domain::{TenantId, Timestamp};
use veritwin_metastore::HoldScope;

use crate::job_board::{Job, JobWatch};
use crate::log_cut::LogCut;
use crate::retention::Holds;
use crate::{App, Result};

const SEGMENTS_INTERVAL: Duration = Duration::from_secs(1);
/// The log is cut every so many of them, also where nothing was flushed.
const CUT_TICKS: u32 = 10;
const MERGE_INTERVAL: Duration = Duration::from_secs(10);
const RECORDS_INTERVAL: Duration = Duration::from_secs(2);
const PURGE_TICKS: u32 = 150;
/// How often what tenants used is written down.
const USAGE_TICKS: u32 = 15;
/// A clock that moved on by more than this has a purge come due at once.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// Activity records and sent mails are kept this long (promise P53).
pub(crate) const RECORDS_KEPT: Duration = Duration::from_secs(90 * 86_400);

impl App {
    pub(crate) fn start_maintenance(&self) {
        let (app, watch) = (self.clone(), self.watch_job(Job::Segments));
        let merges = Arc::new(AtomicBool::new(true));
        let of_segments = Arc::clone(&merges);
        self.0.tasks.spawn(async move { app.keep_segments(&watch, &of_segments).await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_merged(&merges).await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_catching_up().await });
        let (app, watch) = (self.clone(), self.watch_job(Job::Records));
        self.0.tasks.spawn(async move { app.keep_records(&watch).await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_activity().await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_ledger_mail().await });
        let (app, watch) = (self.clone(), self.watch_job(Job::Governance));
        self.0.tasks.spawn(async move { app.keep_governance(&watch).await });
        if self.0.mailer.is_some() {
            let (app, watch) = (self.clone(), self.watch_job(Job::Mail));
            self.0.tasks.spawn(async move { app.keep_mail(&watch).await });
        }
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_mailboxes().await });
        if self.0.sms.is_on() {
            let app = self.clone();
            self.0.tasks.spawn(async move { app.keep_sms().await });
        }
    }

    /// Waits for the next round; false when the platform stops.
    pub(crate) async fn next_round(&self, interval: &mut tokio::time::Interval) -> bool {
        tokio::select! {
            () = self.0.stop.cancelled() => false,
            _ = interval.tick() => true,
        }
    }

    /// Readings that were left in the log come in beside everything else: it may be much.
    async fn keep_catching_up(&self) {
        let mut interval = tokio::time::interval(SEGMENTS_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.next_round(&mut interval).await {
            if let Err(error) = self.0.engine.catch_up(&self.0.log).await {
                tracing::warn!(%error, "readings stay in the log; trying again");
            }
        }
    }

    /// Flushes, and cuts the log behind what is flushed. A turn counts while merges work as well.
    async fn keep_segments(&self, watch: &JobWatch, merges: &AtomicBool) {
        let mut interval = tokio::time::interval(SEGMENTS_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0u32;
        let mut cut = LogCut::default();
        while self.next_round(&mut interval).await {
            rounds = rounds.wrapping_add(1);
            let is_cut_due = rounds.is_multiple_of(CUT_TICKS);
            if is_cut_due {
                self.read_declarations().await;
            }
            match self.0.engine.flush_if_due().await {
                Ok(flushed) if flushed || is_cut_due => {
                    self.note_room("segments", None);
                    if self.cut_log(&mut cut).await && merges.load(Ordering::Relaxed) {
                        watch.turned();
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.note_room("segments", Some(&error));
                    let error = crate::store_check::describe(&error);
                    tracing::warn!(error, "segments were not written; trying again");
                }
            }
        }
    }

    /// Merges segments, in a task of its own: merges rest in between, and flushes do not wait for
    /// them.
    async fn keep_merged(&self, works: &AtomicBool) {
        let mut interval = tokio::time::interval(MERGE_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.next_round(&mut interval).await {
            let outcome = self.0.engine.maintain().await;
            works.store(outcome.is_ok(), Ordering::Relaxed);
            if let Err(error) = outcome {
                tracing::warn!(%error, "segments were not merged; trying again");
            }
        }
    }

    async fn keep_records(&self, watch: &JobWatch) {
        let mut interval = tokio::time::interval(RECORDS_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0u32;
        let mut purged_at = self.clock().now();
        // What failed is tried again in the next round and does not count as a turn.
        let mut purge_is_due = true;
        // Writing years anew without what ends takes long: nothing else here waits for it.
        let mut ending: Option<JoinHandle<Result<()>>> = None;
        let mut ends_next = None;
        while self.next_round(&mut interval).await {
            rounds = rounds.wrapping_add(1);
            let mut done = self.flush_activity().await;
            if rounds.is_multiple_of(USAGE_TICKS) {
                done &= self.flush_usage().await;
            }
            if rounds.is_multiple_of(10) {
                self.flush_presence().await;
                self.tend_cases().await;
                self.tend_ends().await;
                self.renew_trust_pages().await;
                self.tell_of_versions().await;
                if let Err(error) = self.tend_calls().await {
                    tracing::warn!(%error, "calls to devices were not ended; trying again");
                }
                self.0.geo.reload();
            }
            let now = self.clock().now();
            let moved_on = now.since(purged_at) > PURGE_INTERVAL;
            purge_is_due |= rounds.is_multiple_of(PURGE_TICKS) || moved_on;
            if let Some(ended) = ending.take_if(|ending| ending.is_finished())
                && let Ok(Err(error)) = ended.await
            {
                tracing::warn!(%error, "readings past their time stay; trying again");
                (purge_is_due, done) = (true, false);
            }
            if purge_is_due {
                match self.purge_old().await {
                    Ok(ends) => {
                        purge_is_due = false;
                        purged_at = now;
                        ends_next = Some(ends);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "old records were not purged; trying again");
                        done = false;
                    }
                }
            }
            if ending.is_none()
                && let Some((trusted, holds)) = ends_next.take()
            {
                let app = self.clone();
                let end = async move { app.end_readings(trusted, &holds).await };
                ending = Some(self.0.tasks.spawn(end));
            }
            if done {
                watch.turned();
            }
        }
        self.flush_presence().await;
        self.flush_usage().await;
    }

    /// Deletes and destroys what is past its time and notes the clock.
    pub(crate) async fn purge_records(&self) -> Result<()> {
        let (trusted, holds) = self.purge_old().await?;
        self.end_readings(trusted, &holds).await
    }

    /// Deletes records that are past their time and notes the clock; answers the moment up to which
    /// things may end, and the holds of then.
    async fn purge_old(&self) -> Result<(Timestamp, Vec<(TenantId, HoldScope)>)> {
        // What was gathered is as old as what is stored: written later it would outlive this purge.
        self.flush_activity().await;
        let context = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        let trusted = self.trusted(context.at, tx.clock_high_water().await?);
        tx.clock_raise(trusted).await?;
        tx.sessions_purge(trusted, trusted.saturating_sub(SESSION_IDLE_MAX)).await?;
        let before = trusted.saturating_sub(RECORDS_KEPT);
        tx.links_purge(before).await?;
        let holds = tx.holds_in_force(trusted).await?;
        if !self.is_purge_broken() {
            tx.activity_purge(before, &holds).await?;
        }
        tx.key_makers_purge(before).await?;
        tx.evidence_purge(before).await?;
        tx.outbox_purge(before).await?;
        tx.sent_mails_purge(before, &holds).await?;
        tx.ledger_kept_purge(trusted, &holds).await?;
        tx.connections_purge(before).await?;
        tx.route_messages_purge(trusted.saturating_sub(crate::route_queue::PARKED_KEPT)).await?;
        self.purge_usage(&tx, trusted).await?;
        tx.calls_purge(trusted.saturating_sub(Self::calls_kept())).await?;
        tx.imports_purge(trusted.saturating_sub(RECORDS_KEPT)).await?;
        for (kind, states, kept) in crate::governance::ENDED_KEPT {
            tx.governance_purge(kind, states, trusted.saturating_sub(kept)).await?;
        }
        tx.cases_purge(trusted.saturating_sub(crate::cases::CASES_KEPT)).await?;
        tx.idempotency_purge(trusted.saturating_sub(crate::idempotency::KEPT)).await?;
        tx.commit().await?;
        self.tell_untold();
        self.warn_of_certificates().await;
        self.destroy_all_of_nobody().await?;
        self.expire_retained(trusted).await;
        Ok((trusted, holds))
    }

    /// Destroys readings, what the ledger sealed and log keys that are past their time.
    async fn end_readings(&self, trusted: Timestamp, holds: &Holds) -> Result<()> {
        let readings = self.expire_readings(trusted, holds).await;
        let own = self.keep_retention(trusted, holds).await;
        self.expire_ledger(trusted, holds).await?;
        self.forget_periods(trusted).await?;
        self.expire_log_keys(trusted).await;
        readings.and(own)
    }

    /// A clock that jumped ahead must not destroy anything: what is kept is measured from the
    /// earlier of now and a day after the highest time ever noted.
    pub(crate) fn trusted(&self, now: Timestamp, high_water: Option<Timestamp>) -> Timestamp {
        let ceiling = high_water.map(|at| at.saturating_add(Duration::from_secs(86_400)));
        // A simulated clock only moves when somebody moves it.
        let ceiling = ceiling.filter(|_| !self.0.config.simulated);
        ceiling.map_or(now, |ceiling| now.min(ceiling))
    }

    #[cfg(feature = "test-controls")]
    fn is_purge_broken(&self) -> bool {
        self.0.promises.keeps_everything()
    }

    #[cfg(not(feature = "test-controls"))]
    const fn is_purge_broken(&self) -> bool {
        false
    }
}
