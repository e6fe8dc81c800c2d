//! A store that others can open too: whoever opens it takes it over, and who was there before stops
//! before its log is cut; what comes late of it is in force nowhere.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use veritwin_telemetry::{Engine, TelemetryError};

use crate::crash::{Fault, FaultyStore, check, write};
use crate::support::{History, Setup, objects, runtime};

fn shared() -> Setup {
    Setup { is_shared: true, ..Setup::new() }
}

/// A history that goes on behind another one.
fn behind(history: &History) -> History {
    let mut others = History::default();
    for _ in 0..history.len() {
        others.skip();
    }
    others
}

async fn copy(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>) {
    for name in objects(from).await {
        let path = Path::from(name);
        let bytes = read(from, &path).await;
        to.put(&path, PutPayload::from(bytes)).await.expect("writes");
    }
}

async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> bytes::Bytes {
    let found = store.get(path).await.expect("an object");
    found.bytes().await.expect("its bytes")
}

fn named<'n>(names: &'n [String], front: &str) -> Vec<&'n String> {
    names.iter().filter(|name| name.starts_with(front)).collect()
}

#[test]
fn of_two_engines_on_a_shared_store_the_later_goes_on() {
    runtime().block_on(async {
        let setup = shared();
        let one = setup.open().await;
        let mut history = History::default();
        write(&one, &mut history, 0);
        one.flush().await.expect("flushes");
        let two = setup.open().await;
        let kept = one.persisted_position();
        write(&one, &mut history, 1);
        for _ in 0..2 {
            let error = one.flush().await.expect_err("another one has the store");
            assert!(matches!(error, TelemetryError::Conflict(_)), "{error}");
            assert_eq!(one.persisted_position(), kept, "its log is not cut");
        }
        // The other one was given the same log.
        history.replay(&two);
        write(&two, &mut history, 2);
        two.flush().await.expect("flushes");
        two.maintain().await.expect("maintains");
        check(&two, 3, "the later one").await;
        drop((one, two));
        let next = setup.open().await;
        assert_eq!(next.persisted_position(), 3);
        check(&next, 3, "the next one").await;
        let names = objects(&setup.store).await;
        assert_eq!(named(&names, "epochs/").len(), 1, "{names:?}");
        assert_eq!(named(&names, "manifests/").len(), 1, "{names:?}");
    });
}

#[test]
fn a_manifest_that_comes_late_is_in_force_nowhere() {
    runtime().block_on(async {
        let setup = shared();
        let one = setup.open().await;
        let mut history = History::default();
        write(&one, &mut history, 0);
        one.flush().await.expect("flushes");
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        copy(&setup.store, &store).await;
        write(&one, &mut history, 1);
        one.flush().await.expect("flushes");
        // Its host went while the second manifest was on its way: only the packs of it are there.
        let late = objects(&setup.store).await;
        for name in named(&late, "segments/") {
            let path = Path::from(name.as_str());
            let bytes = read(&setup.store, &path).await;
            store.put(&path, PutPayload::from(bytes)).await.expect("writes");
        }
        let two = setup.open_on(Arc::clone(&store)).await;
        assert_eq!(two.persisted_position(), 1);
        let manifest = Path::from(named(&late, "manifests/")[0].as_str());
        let bytes = read(&setup.store, &manifest).await;
        store.put(&manifest, PutPayload::from(bytes)).await.expect("comes late");
        drop(two);
        let three = setup.open_on(Arc::clone(&store)).await;
        assert_eq!(three.persisted_position(), 1);
        history.replay(&three);
        check(&three, 2, "after the late one").await;
        three.flush().await.expect("flushes");
        three.maintain().await.expect("maintains");
        drop(three);
        let names = objects(&store).await;
        assert_eq!(named(&names, "manifests/").len(), 1, "{names:?}");
        check(&setup.open_on(store).await, 2, "the next one").await;
    });
}

#[test]
fn whoever_has_other_keys_stops_nobody() {
    runtime().block_on(async {
        let setup = shared();
        let other = Setup::seeded(tempfile::tempdir().expect("a temporary directory"), 43);
        let other = Setup { is_shared: true, ..other };
        let one = setup.open().await;
        let mut history = History::default();
        write(&one, &mut history, 0);
        one.flush().await.expect("flushes");
        let before = objects(&setup.store).await;
        let config = other.config(Arc::clone(&setup.store));
        let error = Engine::open(config).await.expect_err("the manifest does not open");
        assert!(matches!(error, TelemetryError::Keys { .. }), "{error}");
        assert_eq!(objects(&setup.store).await, before);
        write(&one, &mut history, 1);
        one.flush().await.expect("it goes on");
    });
}

#[test]
fn a_store_of_one_alone_becomes_a_shared_one() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        write(&engine, &mut history, 0);
        engine.flush().await.expect("flushes");
        drop(engine);
        for round in 1..4 {
            setup.is_shared = round % 2 == 1;
            let engine = setup.open().await;
            assert_eq!(engine.persisted_position(), history.len() as u64);
            let mut history_of_it = behind(&history);
            write(&engine, &mut history_of_it, round);
            history.skip();
            engine.flush().await.expect("flushes");
            check(&engine, round + 1, "written on").await;
        }
    });
}

/// Opens a store with a fault at every write of the opening in turn; answers how many there were.
async fn every_cut(fault: Fault) -> i64 {
    for cut in 0.. {
        let what = format!("{fault:?} at write {cut}");
        let setup = shared();
        let inner = Arc::new(InMemory::new());
        let engine = setup.open_on(inner.clone()).await;
        let mut history = History::default();
        write(&engine, &mut history, 0);
        engine.flush().await.expect("flushes");
        drop(engine);
        let faulty = FaultyStore::new(&inner, cut, fault);
        let opened = Engine::open(setup.config(faulty.clone())).await;
        drop(opened);
        let engine = setup.open_on(inner.clone()).await;
        assert_eq!(engine.persisted_position(), 1, "{what}");
        write(&engine, &mut history, 1);
        engine.flush().await.expect("flushes");
        check(&engine, 2, &what).await;
        if !faulty.was_reached() {
            return cut;
        }
    }
    unreachable!("an opening ends")
}

#[test]
fn an_opening_that_is_cut_off_is_made_again() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::OnceBefore, Fault::OnceAfter] {
        // The claim, the one before, the manifest, the one before.
        assert!(runtime().block_on(every_cut(fault)) >= 4, "{fault:?}");
    }
}
