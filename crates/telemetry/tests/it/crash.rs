//! Every cut between two steps of flush and compaction: the process ends before or right after a
//! write takes effect, or one write fails and the engine goes on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use veritwin_domain::Value;
use veritwin_telemetry::{Engine, TelemetryError, TimeRange};

use crate::support::{DAY, History, Setup, TODAY, batch, reading, runtime, series};

/// How the store fails at the chosen write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The write does not happen and nothing works afterwards.
    CrashBefore,
    /// The write happens, nobody is told, and nothing works afterwards.
    CrashAfter,
    /// The write does not happen; later ones do.
    OnceBefore,
    /// The write happens but is reported as failed; later ones work.
    OnceAfter,
}

/// A store that fails at its n-th write.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<InMemory>,
    writes_left: AtomicI64,
    fault: Fault,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn injected() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "injected".into() }
}

enum Turn {
    Go,
    Fail,
    GoAndFail,
}

impl FaultyStore {
    /// A store that fails at the write after so many.
    pub(crate) fn new(inner: &Arc<InMemory>, writes: i64, fault: Fault) -> Arc<Self> {
        let inner = Arc::clone(inner);
        Arc::new(Self { inner, writes_left: AtomicI64::new(writes), fault })
    }

    fn turn(&self) -> Turn {
        match self.writes_left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => Turn::Go,
            0 => match self.fault {
                Fault::CrashBefore | Fault::OnceBefore => Turn::Fail,
                Fault::CrashAfter | Fault::OnceAfter => Turn::GoAndFail,
            },
            _ => match self.fault {
                Fault::CrashBefore | Fault::CrashAfter => Turn::Fail,
                Fault::OnceBefore | Fault::OnceAfter => Turn::Go,
            },
        }
    }

    pub(crate) fn was_reached(&self) -> bool {
        self.writes_left.load(Ordering::SeqCst) < 0
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, o: PutOptions) -> Result<PutResult> {
        match self.turn() {
            Turn::Go => self.inner.put_opts(at, payload, o).await,
            Turn::Fail => Err(injected()),
            Turn::GoAndFail => {
                self.inner.put_opts(at, payload, o).await?;
                Err(injected())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.turn() {
            Turn::Go => self.inner.delete_stream(locations),
            Turn::Fail => locations.map(|_| Err(injected())).boxed(),
            Turn::GoAndFail => self.inner.delete_stream(locations).map(|_| Err(injected())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const ROUNDS: i64 = 4;

/// Writes, flushes and merges; gives up at the first error, like a process that ends.
async fn scenario(
    engine: &Engine,
    history: &mut History,
) -> std::result::Result<(), TelemetryError> {
    for round in 0..ROUNDS {
        write(engine, history, round);
        engine.flush().await?;
        if round % 2 == 1 {
            engine.maintain().await?;
        }
    }
    Ok(())
}

pub(crate) fn write(engine: &Engine, history: &mut History, round: i64) {
    let readings = (0..30)
        .map(|i| reading("n", TODAY - DAY + (i + 5 * round) * 1_000_000, Value::Integer(round)))
        .chain([reading("text", TODAY + round, Value::Text("on".into()))]);
    history.commit(engine, batch(0, 0, readings.collect()));
}

/// What `rounds` rounds of [`scenario`] leave behind.
pub(crate) async fn check(engine: &Engine, rounds: i64, what: &str) {
    if rounds == 0 {
        return;
    }
    let last = rounds - 1;
    let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
    assert_eq!(stats.count as i64, 30 + 5 * last, "{what}");
    assert_eq!((stats.first, stats.last), (Some(0.0), Some(last as f64)), "{what}");
    let buckets = engine.buckets(&series(0, 0, "n"), TimeRange::ALL, DAY).await.expect("answers");
    let sum: i64 = (0..last).map(|round| 5 * round).sum::<i64>() + 30 * last;
    assert_eq!(buckets.iter().map(|bucket| bucket.sum).sum::<f64>(), sum as f64, "{what}");
    let tenant = crate::support::tenant(0);
    let latest = engine.latest(tenant, crate::support::device(0), None).await.expect("answers");
    assert_eq!(latest.len(), 2, "{what}");
    assert_eq!(latest[1].at.as_micros(), TODAY + last, "{what}");
}

/// Runs the scenario with a fault at every write in turn; returns how many writes there were.
async fn every_cut(fault: Fault) -> i64 {
    for cut in 0.. {
        let what = format!("{fault:?} at write {cut}");
        let mut setup = Setup::new();
        setup.limits.compaction_sections_min = 2;
        let inner = Arc::new(InMemory::new());
        let faulty = FaultyStore::new(&inner, cut, fault);
        let engine = setup.open_on(faulty.clone()).await;
        let mut history = History::default();
        let ended = scenario(&engine, &mut history).await;
        let rounds = history.len();
        check(&engine, rounds, &what).await;
        if matches!(fault, Fault::OnceBefore | Fault::OnceAfter) && ended.is_err() {
            engine.flush().await.expect("the next attempt succeeds");
            engine.maintain().await.expect("the next attempt succeeds");
            check(&engine, rounds, &what).await;
            assert_eq!(engine.persisted_position(), rounds as u64, "{what}");
        }
        drop(engine);
        let reopened = setup.open_on(inner.clone()).await;
        history.replay(&reopened);
        check(&reopened, rounds, &what).await;
        for round in rounds..ROUNDS {
            write(&reopened, &mut history, round);
        }
        reopened.flush().await.expect("flushes");
        reopened.maintain().await.expect("maintains");
        check(&reopened, ROUNDS, &what).await;
        assert_eq!(reopened.persisted_position(), ROUNDS as u64, "{what}");
        if !faulty.was_reached() {
            return cut;
        }
    }
    unreachable!("the scenario ends")
}

#[test]
fn a_crash_before_any_write_loses_nothing() {
    assert!(runtime().block_on(every_cut(Fault::CrashBefore)) > 10);
}

#[test]
fn a_crash_after_any_write_loses_nothing() {
    assert!(runtime().block_on(every_cut(Fault::CrashAfter)) > 10);
}

#[test]
fn a_failed_write_is_retried() {
    assert!(runtime().block_on(every_cut(Fault::OnceBefore)) > 10);
}

#[test]
fn a_write_that_wrongly_seems_failed_is_survived() {
    assert!(runtime().block_on(every_cut(Fault::OnceAfter)) > 10);
}

#[test]
fn whoever_was_passed_by_another_engine_stops_before_the_log_is_cut() {
    runtime().block_on(async {
        let setup = Setup::new();
        let one = setup.open().await;
        let mut history = History::default();
        write(&one, &mut history, 0);
        one.flush().await.expect("flushes");
        let (two, mut others) = (setup.open().await, History::default());
        for _ in 0..history.len() {
            others.skip();
        }
        // Two manifests: the second of them takes the first away, whose number is free again.
        for round in 1..3 {
            write(&two, &mut others, round);
            two.flush().await.expect("flushes");
        }
        let kept = one.persisted_position();
        write(&one, &mut history, 3);
        let error = one.flush().await.expect_err("another one is in force");
        assert!(matches!(error, TelemetryError::Conflict(3)), "{error}");
        assert_eq!(one.persisted_position(), kept, "its log is not cut");
        let error = one.flush().await.expect_err("it stops writing");
        assert!(matches!(error, TelemetryError::Conflict(3)), "{error}");
        let next = setup.open().await;
        assert_eq!(next.persisted_position(), two.persisted_position());
        write(&next, &mut others, 4);
        next.flush().await.expect("what was written in vain is in nobody's way");
    });
}

#[test]
fn a_second_engine_on_the_store_is_noticed() {
    runtime().block_on(async {
        let setup = Setup::new();
        let (one, two) = (setup.open().await, setup.open().await);
        let mut history = History::default();
        write(&one, &mut history, 0);
        one.flush().await.expect("flushes");
        write(&two, &mut History::default(), 0);
        let error = two.flush().await.expect_err("the number is taken");
        assert!(matches!(error, TelemetryError::Conflict(1)), "{error}");
        let error = two.flush().await.expect_err("it stops writing");
        assert!(matches!(error, TelemetryError::Conflict(1)), "{error}");
    });
}
