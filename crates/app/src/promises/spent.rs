//! What a check spends: the processor time of its own tasks, the bytes of files that it reads and
//! the statements that it sends. What others do for it, such as the listeners that it calls, is
//! theirs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use veritwin_governance::Budget;
use veritwin_metastore::count_statements;

use crate::App;

/// As so many bytes a statement counts: a page of the database.
const STATEMENT_BYTES: u64 = 4096;
/// After a check that comes round again the runner rests so many times as long as it took of a
/// processor: together they take a quarter of one, as long as none takes more than a third of the
/// longest rest.
const REST_FACTOR: u32 = 3;
/// After such a check the runner rests until it has read and written no more than this a second.
const IO_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// What a check has spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) cpu: Duration,
    pub(super) io_bytes: u64,
}

impl Spent {
    /// How long the runner leaves the machine to others after it.
    fn rest(self) -> Duration {
        let of_io = Duration::from_millis(self.io_bytes.saturating_mul(1000) / IO_BYTES_PER_SECOND);
        self.cpu.saturating_mul(REST_FACTOR).max(of_io).min(REST_MAX)
    }
}

/// Counts what a check spends, and tells when it is more than its budget.
pub(super) struct Meter {
    budget: Budget,
    cpu_nanos: AtomicU64,
    file_bytes: AtomicU64,
    statements: Arc<AtomicU64>,
    is_over: Notify,
}

impl Meter {
    pub(super) fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self {
            budget,
            cpu_nanos: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            statements: Arc::default(),
            is_over: Notify::new(),
        })
    }

    pub(super) fn spent(&self) -> Spent {
        let statements = self.statements.load(Ordering::Relaxed);
        let files = self.file_bytes.load(Ordering::Relaxed);
        Spent {
            cpu: Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)),
            io_bytes: statements.saturating_mul(STATEMENT_BYTES).saturating_add(files),
        }
    }

    /// Which part of the budget is used up.
    fn over(&self) -> Option<&'static str> {
        let spent = self.spent();
        if spent.cpu > self.budget.cpu {
            Some("the check took more processor time than it may")
        } else if spent.io_bytes > self.budget.io_bytes {
            Some("the check read and wrote more than it may")
        } else {
            None
        }
    }

    /// Waits until the budget is used up; says which part of it.
    pub(super) async fn overspent(&self) -> &'static str {
        loop {
            if let Some(part) = self.over() {
                return part;
            }
            self.is_over.notified().await;
        }
    }

    fn took(&self, since: Duration) {
        let nanos = u64::try_from(thread_time().saturating_sub(since).as_nanos());
        self.cpu_nanos.fetch_add(nanos.unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.over().is_some() {
            self.is_over.notify_one();
        }
    }
}

/// The processor time that this thread has had.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Does `work` and counts what it spends.
pub(super) async fn metered<F: Future>(meter: Arc<Meter>, work: F) -> F::Output {
    let statements = Arc::clone(&meter.statements);
    let counted = METER.scope(Arc::clone(&meter), count_statements(statements, work));
    let mut counted = std::pin::pin!(counted);
    std::future::poll_fn(move |context| {
        let since = thread_time();
        let polled = counted.as_mut().poll(context);
        meter.took(since);
        polled
    })
    .await
}

/// Work that keeps a thread busy, counted to the check that has it done.
pub(super) fn blocking<T, F>(work: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let meter = METER.try_with(Arc::clone).ok();
    tokio::task::spawn_blocking(move || {
        let since = thread_time();
        let done = work();
        if let Some(meter) = meter {
            meter.took(since);
        }
        done
    })
}

/// Notes that files were read.
pub(super) fn read_files(bytes: u64) {
    // Also done where nobody counts.
    let _ = METER.try_with(|meter| meter.file_bytes.fetch_add(bytes, Ordering::Relaxed));
}

impl App {
    /// Leaves the machine to others after a check that came round again.
    pub(super) async fn rest_after(&self, spent: Spent) {
        let rest = spent.rest();
        if rest.is_zero() {
            return;
        }
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(cpu: Duration, io_bytes: u64) -> Arc<Meter> {
        Meter::new(Budget { cpu, io_bytes })
    }

    /// Keeps a processor busy for so long.
    fn toil(long: Duration) {
        let since = thread_time();
        while thread_time().saturating_sub(since) < long {
            std::hint::spin_loop();
        }
    }

    const MILLIS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_check_is_counted_in_its_task_and_where_it_blocks() {
        let known = meter(MILLIS * 1000, 4096);
        let work = async {
            toil(MILLIS * 5);
            tokio::task::yield_now().await;
            blocking(|| toil(MILLIS * 5)).await.expect("a thread");
            read_files(10);
        };
        metered(Arc::clone(&known), work).await;
        let spent = known.spent();
        assert!(spent.cpu >= MILLIS * 10, "{spent:?}");
        assert_eq!((spent.io_bytes, known.over()), (10, None));
        // Nobody counts here.
        read_files(10);
        assert_eq!(known.spent().io_bytes, 10);
    }

    #[tokio::test]
    async fn what_is_over_its_budget_is_told() {
        let slow = meter(MILLIS, 4096);
        metered(Arc::clone(&slow), async { toil(MILLIS * 2) }).await;
        assert_eq!(slow.overspent().await, "the check took more processor time than it may");
        let greedy = meter(MILLIS * 1000, 4096);
        metered(Arc::clone(&greedy), async { read_files(4097) }).await;
        assert_eq!(greedy.overspent().await, "the check read and wrote more than it may");
    }

    #[test]
    fn the_runner_rests_as_long_as_it_was_busy_and_no_longer_than_a_minute() {
        let rest = |cpu, io_bytes| Spent { cpu, io_bytes }.rest();
        assert_eq!(rest(Duration::ZERO, 0), Duration::ZERO);
        assert_eq!(rest(MILLIS * 100, 0), MILLIS * 300);
        assert_eq!(rest(MILLIS, 8 * 1024 * 1024), MILLIS * 500);
        assert_eq!(rest(MILLIS * 90_000, 0), REST_MAX);
    }
}
