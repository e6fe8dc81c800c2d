//! Writing, flushing, compacting and reading at the same time: every answer is one consistent state
//! that holds at least what was applied before the question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use veritwin_domain::Value;
use veritwin_telemetry::{Engine, Order, RangeQuery, TimeRange};

use crate::support::{History, Setup, TODAY, batch, reading, series};

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
