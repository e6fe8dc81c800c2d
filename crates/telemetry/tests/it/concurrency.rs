//! Writing, flushing, compacting and reading at the same time: every answer is one consistent state
//! that holds at least what was applied before the question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use veritwin_domain::{Clock, Timestamp, Value};
use veritwin_telemetry::{Engine, EngineConfig, Order, RangeQuery, TimeRange};

use crate::support::{DAY, History, Setup, TODAY, batch, reading, runtime, series};

const BATCHES: i64 = 400;

/// Applies batches; each has one new time and overwrites one old.
fn write(engine: &Engine, applied: &AtomicI64) {
    let mut history = History::default();
    for number in 0..BATCHES {
        let readings = vec![
            reading("n", TODAY + number * 1000, Value::Integer(number)),
            reading("n", TODAY + number / 2 * 1000, Value::Integer(number)),
        ];
        history.commit(engine, batch(0, 0, readings));
        applied.store(number + 1, Ordering::SeqCst);
        if number % 8 == 0 {
            std::thread::yield_now();
        }
    }
}

async fn read(engine: Engine, applied: Arc<AtomicI64>, done: Arc<AtomicBool>) -> u64 {
    let n = series(0, 0, "n");
    let mut questions = 0;
    loop {
        let is_last = done.load(Ordering::SeqCst);
        let before = applied.load(Ordering::SeqCst);
        let stats = engine.stats(&n, TimeRange::ALL).await.expect("answers");
        let after = applied.load(Ordering::SeqCst) + 1;
        let count = stats.count as i64;
        assert!((before..=after).contains(&count), "{before} <= {count} <= {after}");
        let order = Order::Descending;
        let query = RangeQuery { range: TimeRange::ALL, order, limit: 1000, after: None };
        let page = engine.range(&n, query).await.expect("answers");
        assert!(page.points.len() as i64 >= count);
        assert!(page.points.windows(2).all(|pair| pair[0].at > pair[1].at));
        questions += 1;
        if is_last {
            return questions;
        }
        tokio::task::yield_now().await;
    }
}

async fn keep_up(engine: Engine, done: Arc<AtomicBool>) -> usize {
    let mut compactions = 0;
    while !done.load(Ordering::SeqCst) {
        engine.flush().await.expect("flushes");
        compactions += engine.maintain().await.expect("maintains").compactions;
    }
    compactions
}

#[test]
fn answers_are_consistent_while_everything_moves() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut setup = Setup::new();
        setup.limits.compaction_sections_min = 2;
        let engine = setup.open().await;
        let (applied, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let readers = [(), ()]
            .map(|()| tokio::spawn(read(engine.clone(), Arc::clone(&applied), Arc::clone(&done))));
        let keeper = tokio::spawn(keep_up(engine.clone(), Arc::clone(&done)));
        let writer = {
            let (engine, applied) = (engine.clone(), Arc::clone(&applied));
            tokio::task::spawn_blocking(move || write(&engine, &applied))
        };
        writer.await.expect("writes");
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.await.expect("reads") > 0);
        }
        keeper.await.expect("keeps up");
        engine.flush().await.expect("flushes");
        let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count as i64, stats.last), (BATCHES, Some((BATCHES - 1) as f64)));
        assert_eq!(stats.first, Some(1.0));
    });
}

/// A clock on which every look at it takes a millisecond.
#[derive(Debug, Default)]
struct LookedAt(AtomicU64);

impl Clock for LookedAt {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(TODAY + DAY / 2)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn work_that_rests_between_its_steps_writes_the_same() {
    runtime().block_on(async {
        let setup = Setup::new();
        let (store, keys) = (Arc::clone(&setup.store), setup.keys.clone());
        let clock = Arc::new(LookedAt::default());
        let mut config = EngineConfig::new(store, keys, clock, setup.rng.clone());
        config.limits.flush_age = Duration::from_millis(1);
        config.limits.compaction_sections_min = 3;
        config.limits.flush_core_percent = 80;
        config.limits.compaction_core_percent = 80;
        let engine = Engine::open(config).await.expect("opens");
        let mut history = History::default();
        for round in 0..3 {
            for number in 0..8 {
                let readings = ["a", "b", "c"]
                    .map(|name| reading(name, TODAY + round, Value::Integer(round)))
                    .to_vec();
                history.commit(&engine, batch(0, number, readings));
            }
            assert!(engine.flush_if_due().await.expect("flushes"));
        }
        assert_eq!(engine.status().sections, 3);
        assert_eq!(engine.maintain().await.expect("merges").compactions, 1);
        engine.stop_resting();
        history.commit(&engine, batch(0, 0, vec![reading("a", TODAY + 3, Value::Integer(3))]));
        assert!(engine.flush_if_due().await.expect("flushes"));
        for number in 0..8 {
            let stats = engine.stats(&series(0, number, "a"), TimeRange::ALL).await;
            let count = if number == 0 { 4 } else { 3 };
            assert_eq!(stats.expect("answers").count, count);
        }
    });
}
