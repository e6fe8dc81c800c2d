//! What the background jobs say of themselves: when each last got through its work, whether it
//! still runs, and which tenants it holds up. Readiness and metrics read it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_domain::TenantId;

use crate::App;
use crate::held::{HeldTenant, HeldTenants};
use crate::model::HeldView;

/// A background job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Evaluates alert rules.
    Alerts,
    /// Puts what routing rules want on its way.
    Routes,
    /// Seals what is durable into the ledger.
    Ledger,
    /// Asks customers' key services.
    Keys,
    /// Writes segments and cuts the log.
    Segments,
    /// Writes activity and presence down, deletes what is past its time.
    Records,
    /// Sends mail.
    Mail,
    /// Checks promises.
    Promises,
    /// Seals the evidence of promises.
    Evidence,
    /// The ledger archive, as far as it is this platform's own process.
    Archive,
    /// Ships the log.
    Shipping,
    /// Reads everything that is stored and compares.
    Scrub,
    /// Tells of what is due in the governance workspace, and of breaches.
    Governance,
}

impl Job {
    /// The name in metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Routes => "routes",
            Self::Ledger => "ledger",
            Self::Keys => "keys",
            Self::Segments => "segments",
            Self::Records => "records",
            Self::Mail => "mail",
            Self::Promises => "promises",
            Self::Evidence => "evidence",
            Self::Archive => "archive",
            Self::Shipping => "shipping",
            Self::Scrub => "scrub",
            Self::Governance => "governance",
        }
    }

    /// Longest time between two turns that readiness accepts.
    pub const fn turn_max(self) -> Duration {
        match self {
            Self::Alerts | Self::Routes | Self::Keys | Self::Ledger | Self::Archive => {
                Duration::from_secs(60)
            }
            Self::Segments | Self::Records | Self::Promises => Duration::from_secs(120),
            // One mail server that does not answer holds a round for minutes.
            Self::Mail | Self::Evidence | Self::Governance => Duration::from_secs(600),
            // A copy of large records is paced, and so is reading everything.
            Self::Shipping | Self::Scrub => Duration::from_secs(6 * 3600),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// On the monotonic clock.
    turned: Duration,
    has_ended: bool,
}

/// The jobs that were started.
#[derive(Debug, Default)]
pub(crate) struct JobBoard {
    jobs: Mutex<BTreeMap<Job, State>>,
    pub(crate) alerts_held: HeldTenants,
    pub(crate) routes_held: HeldTenants,
    pub(crate) ledger_held: HeldTenants,
    pub(crate) effects: crate::effects::Effects,
}

impl JobBoard {
    fn set(&self, job: Job, state: State) {
        self.jobs.lock().insert(job, state);
    }

    fn ended(&self, job: Job) {
        if let Some(state) = self.jobs.lock().get_mut(&job) {
            state.has_ended = true;
        }
    }

    /// Jobs that ended or are late at `now`, in words; none when all is well.
    fn problem(&self, now: Duration) -> Option<String> {
        let jobs = self.jobs.lock();
        let problems: Vec<String> = jobs
            .iter()
            .filter_map(|(job, state)| {
                let age = now.saturating_sub(state.turned);
                if state.has_ended {
                    return Some(format!("the job {} has ended", job.as_str()));
                }
                (age > job.turn_max()).then(|| {
                    let (age, most) = (age.as_secs(), job.turn_max().as_secs());
                    format!(
                        "the job {} is stuck: no turn for {age} s, at most {most}",
                        job.as_str()
                    )
                })
            })
            .collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    fn held(&self) -> [(Job, &HeldTenants); 3] {
        [
            (Job::Alerts, &self.alerts_held),
            (Job::Routes, &self.routes_held),
            (Job::Ledger, &self.ledger_held),
        ]
    }
}

/// Held by a job while it runs. When it is dropped before the platform stops, by a return or a
/// panic, the job counts as ended.
pub struct JobWatch {
    app: App,
    job: Job,
}

impl std::fmt::Debug for JobWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JobWatch({})", self.job.as_str())
    }
}

impl JobWatch {
    /// The job got through its work once more.
    pub fn turned(&self) {
        let turned = self.app.clock().monotonic();
        self.app.0.jobs.set(self.job, State { turned, has_ended: false });
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        if !self.app.0.stop.is_cancelled() {
            tracing::error!(
                job = self.job.as_str(),
                "a background job ended: restart the platform"
            );
            self.app.0.jobs.ended(self.job);
        }
    }
}

fn view(job: Job, tenant: TenantId, held: HeldTenant) -> HeldView {
    HeldView { job: job.as_str(), tenant, since: held.since, reason: held.reason }
}

impl App {
    /// Watches a job from now on.
    pub fn watch_job(&self, job: Job) -> JobWatch {
        let watch = JobWatch { app: self.clone(), job };
        watch.turned();
        watch
    }

    /// Jobs that ended or are stuck, in words.
    pub(crate) fn job_problem(&self) -> Option<String> {
        self.0.jobs.problem(self.clock().monotonic())
    }

    /// Tenants that a job waits for while the others go on. For whoever holds the data directory.
    pub fn held_tenants(&self) -> Vec<HeldView> {
        let held = self.0.jobs.held();
        held.into_iter()
            .flat_map(|(job, held)| {
                held.all().into_iter().map(move |(tenant, held)| view(job, tenant, held))
            })
            .collect()
    }

    /// Whether sealing waits for a tenant.
    pub(crate) fn ledger_held_up(&self, tenant: TenantId) -> Option<HeldView> {
        let held = self.0.jobs.ledger_held.of(tenant)?;
        Some(view(Job::Ledger, tenant, held))
    }

    /// Sets the gauges about jobs.
    pub(crate) fn record_job_gauges(&self) {
        let now = self.clock().monotonic();
        for (job, state) in self.0.jobs.jobs.lock().iter() {
            let age = now.saturating_sub(state.turned).as_secs_f64();
            metrics::gauge!("veritwin_job_turn_age_seconds", "job" => job.as_str()).set(age);
            let running = f64::from(u8::from(!state.has_ended));
            metrics::gauge!("veritwin_job_running", "job" => job.as_str()).set(running);
        }
        for (job, held) in self.0.jobs.held() {
            let count = held.count() as f64;
            metrics::gauge!("veritwin_tenants_held_up", "job" => job.as_str()).set(count);
        }
        let behind = self.0.jobs.effects.behind() as f64;
        metrics::gauge!("veritwin_tenants_held_up", "job" => "effects").set(behind);
    }

    /// Whether a part that every tenant needs is away: then no single tenant is to blame.
    pub(crate) async fn is_database_away(&self) -> bool {
        self.0.log.is_poisoned() || self.0.store.ping().await.is_err()
    }

    /// Whether the archive or the records are away.
    pub(crate) async fn is_ledger_away(&self) -> bool {
        !self.archive_answers().await || self.is_database_away().await
    }

    /// Whether the ledger archive answers.
    #[boxed]
    pub async fn archive_answers(&self) -> bool {
        match self.archive() {
            Ok(client) => client.about().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Whether every key of a tenant was destroyed, or the one above them where it was held:
    /// nothing of it is ever read or written again.
    pub(crate) fn is_tenant_destroyed(&self, tenant: TenantId) -> bool {
        use veritwin_keys::KeyError;
        let checked = self.0.keys.check(tenant);
        matches!(checked, Err(KeyError::TenantDestroyed { .. } | KeyError::Gone { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_or_ended_job_is_named() {
        let board = JobBoard::default();
        let at = Duration::from_secs;
        assert_eq!(board.problem(at(1_000_000)), None);
        for job in [Job::Alerts, Job::Mail] {
            board.set(job, State { turned: at(100), has_ended: false });
        }
        assert_eq!(board.problem(at(160)), None);
        let late = board.problem(at(161)).expect("alerts are late");
        assert_eq!(late, "the job alerts is stuck: no turn for 61 s, at most 60");
        board.set(Job::Alerts, State { turned: at(161), has_ended: false });
        assert_eq!(board.problem(at(161)), None);
        board.ended(Job::Mail);
        assert_eq!(board.problem(at(161)).as_deref(), Some("the job mail has ended"));
    }
}
