//! Runs that found something once, step by step.

use std::sync::Arc;

use object_store::ObjectStore;
use veritwin_domain::{DeviceBatch, Value};
use veritwin_log::{Entry, FileLog, LogConfig};
use veritwin_telemetry::{Engine, TimeRange};

use super::disk::{Disk, DiskFault, DiskView};
use super::fast_directory;
use super::objects::{Objects, StoreFault};
use crate::support::{History, Setup, TODAY, batch, reading, runtime, series};

fn one(number: i64) -> DeviceBatch {
    batch(0, 0, vec![reading("n", TODAY + number, Value::Integer(number))])
}

fn open_log(setup: &Setup, disk: &Arc<Disk>) -> FileLog {
    let folder = setup.directory.path().join("log");
    let (keys, clock, rng) = (setup.keys.clone(), setup.clock.clone(), setup.rng.clone());
    let mut config = LogConfig::new(folder, keys, clock, rng);
    config.storage = Arc::new(DiskView(Arc::clone(disk)));
    disk.start();
    FileLog::open(config, Vec::new()).expect("the log opens")
}

#[test]
fn what_a_killed_process_left_outlives_the_power_loss_after_it() {
    runtime().block_on(async {
        for seed in 0..12 {
            let setup = Setup::seeded(fast_directory(), seed);
            let disk = Arc::new(Disk::new(seed));
            let log = open_log(&setup, &disk);
            log.append(vec![Entry::from(one(0))]).await.expect("appends");
            disk.plan(DiskFault::StopsBeforeSync, 0);
            log.append(vec![Entry::from(one(1))]).await.expect_err("nobody is told");
            drop(log);
            disk.after_a_kill();

            let log = open_log(&setup, &disk);
            assert_eq!(log.tail_position(), 2, "seed {seed}: what was written is read");
            log.append(vec![Entry::from(one(2))]).await.expect("appends");
            disk.stop();
            drop(log);
            disk.after_a_power_loss();

            let log = open_log(&setup, &disk);
            assert_eq!(log.tail_position(), 3, "seed {seed}: nothing before it is gone");
            let read = log.read_from(0).expect("reads").map(|group| group.expect("is whole"));
            let count: usize = read.map(|group| group.entries.len()).sum();
            assert_eq!(count, 3, "seed {seed}");
        }
    });
}

async fn count(engine: &Engine) -> u64 {
    engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers").count
}

/// A flush of two packs and a manifest, with a fault at the manifest.
async fn flushed_with(fault: StoreFault) -> (Setup, Arc<Objects>, History, bool) {
    let mut setup = Setup::new();
    let objects = Arc::new(Objects::new());
    setup.store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
    let engine = setup.open().await;
    let mut history = History::default();
    (0..5).for_each(|number| history.commit(&engine, one(number)));
    objects.plan(fault, 2);
    let is_done = engine.flush().await.is_ok();
    objects.settle();
    assert_eq!(count(&engine).await, 5);
    (setup, objects, history, is_done)
}

#[test]
fn a_manifest_that_comes_after_the_end_of_its_process_finds_its_packs() {
    runtime().block_on(async {
        let (setup, objects, history, is_done) = flushed_with(StoreFault::Late).await;
        assert!(!is_done);
        objects.land(|| true).await;
        let engine = setup.open().await;
        assert_eq!(engine.persisted_position(), 5);
        history.replay(&engine);
        assert_eq!(count(&engine).await, 5);
    });
}

#[test]
fn a_store_that_asks_again_by_itself_is_no_other_engine() {
    runtime().block_on(async {
        let (setup, _, history, is_done) = flushed_with(StoreFault::Twice).await;
        assert!(is_done);
        let engine = setup.open().await;
        history.replay(&engine);
        assert_eq!((engine.persisted_position(), count(&engine).await), (5, 5));
    });
}

#[test]
fn packs_of_failed_manifests_are_bounded_and_go_with_the_next() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let objects = Arc::new(Objects::new());
        setup.store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
        let engine = setup.open().await;
        let mut history = History::default();
        history.commit(&engine, one(0));
        for _ in 0..10 {
            objects.plan(StoreFault::FailsBefore, 2);
            engine.flush().await.expect_err("the manifest is refused");
            objects.settle();
        }
        let stored = crate::support::objects(&setup.store).await;
        assert_eq!(stored.len(), 8, "{stored:?}");
        engine.flush().await.expect("flushes");
        let stored = crate::support::objects(&setup.store).await;
        assert_eq!(stored.len(), 3, "sections, latest values, manifest: {stored:?}");
    });
}

#[test]
fn a_flush_that_cannot_store_a_pack_leaves_none() {
    runtime().block_on(async {
        for fault in [StoreFault::FailsBefore, StoreFault::FailsAfter] {
            for requests_before in 0..2 {
                let mut setup = Setup::new();
                let objects = Arc::new(Objects::new());
                setup.store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
                let engine = setup.open().await;
                History::default().commit(&engine, one(0));
                objects.plan(fault, requests_before);
                engine.flush().await.expect_err("a pack is refused");
                let stored = crate::support::objects(&setup.store).await;
                assert!(stored.is_empty(), "{fault:?}, {requests_before}: {stored:?}");
                engine.flush().await.expect("flushes");
                assert_eq!(count(&engine).await, 1);
            }
        }
    });
}
