//! Chosen readings are destroyed: one key, one device, one month, single moments. Everything else
//! still reads, older copies of the store hold none of it, and a crash at any step is gone on from.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use veritwin_domain::{Clock, DeviceId, Key, TenantId, Timestamp, Value};
use veritwin_keys::{DataClass, DekId, DestructionMethod, KeyService};
use veritwin_telemetry::{
    Engine, Expiry, Meant, OwnKeys, Rewritten, Selection, TelemetryError, TimeRange, Units, Which,
};

use crate::crash::{Fault, FaultyStore};
use crate::support::{DAY, History, Setup, TODAY, batch, device, reading, runtime, series, tenant};

const ACT: [u8; 16] = [7; 16];

fn selection(which: Which) -> Selection {
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    Selection { tenant: tenant(0), which, from, to, held: Vec::new() }
}

fn of_device(number: u8) -> Which {
    Which::Devices(Arc::new(BTreeSet::from([device(number)])))
}

fn of_key(name: &'static str) -> Which {
    Which::Series(Arc::new(
        move |_: DeviceId, key: &Key| {
            if &**key == name { Meant::All } else { Meant::No }
        },
    ))
}

async fn count(engine: &Engine, place: (u8, u8, &str)) -> u64 {
    let stats = engine.stats(&series(place.0, place.1, place.2), TimeRange::ALL).await;
    stats.expect("answers").count
}

/// As the platform does: the engine first, then the keys.
async fn destroy(
    engine: &Engine,
    keys: &KeyService,
    selection: &Selection,
) -> Result<Rewritten, TelemetryError> {
    let done = engine.destroy(selection, ACT).await?;
    for one in keys.retired_by(ACT) {
        keys.destroy(&[one.id], selection.method(&one.scope)).expect("destroys");
    }
    Ok(done)
}

/// Two tenants, two devices, two keys; three days and an overlay.
async fn filled(setup: &mut Setup) -> (Engine, History) {
    setup.limits.flush_windows_max = 3;
    let engine = setup.open().await;
    let mut history = History::default();
    fill(&engine, &mut history).await.expect("fills");
    (engine, history)
}

async fn fill(engine: &Engine, history: &mut History) -> Result<(), TelemetryError> {
    for (tenant_number, device_number) in [(0, 0), (0, 1), (1, 0)] {
        let rows = |day: i64| {
            let at = TODAY - day * DAY;
            [reading("a", at, Value::Integer(day)), reading("b", at, Value::Text("b".into()))]
        };
        let days = (0..3).flat_map(rows).collect();
        history.commit(engine, batch(tenant_number, device_number, days));
    }
    engine.flush().await?;
    let rows = (10..20).map(|day| reading("a", TODAY - day * DAY, Value::Double(0.5))).collect();
    history.commit(engine, batch(0, 0, rows));
    engine.flush().await.map(drop)
}

/// What of the copy of a store can be read with the keys as they are now.
async fn copied(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    let copy: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for name in crate::support::objects(store).await {
        let path = name.as_str().into();
        let bytes = store.get(&path).await.expect("there").bytes().await.expect("read");
        copy.put(&path, bytes.into()).await.expect("written");
    }
    copy
}

#[test]
fn one_device_is_destroyed_and_its_neighbours_stay() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, mut history) = filled(&mut setup).await;
        let before = copied(&setup.store).await;
        let chosen = selection(of_device(0));
        let found = engine.selected(&chosen).await.expect("looks");
        assert_eq!((found.devices, found.series, found.points), (1, 2, 16));
        let done = destroy(&engine, &setup.keys, &chosen).await.expect("destroys");
        assert_eq!(done.points, 16);
        assert_eq!((count(&engine, (0, 0, "a")).await, count(&engine, (0, 0, "b")).await), (0, 0));
        assert!(engine.keys(tenant(0), device(0)).expect("answers").is_empty());
        assert!(engine.latest(tenant(0), device(0), None).await.expect("answers").is_empty());
        for place in [(0, 1, "a"), (0, 1, "b"), (1, 0, "a"), (1, 0, "b")] {
            assert_eq!(count(&engine, place).await, 3, "{place:?}");
        }
        assert_eq!(engine.latest(tenant(0), device(1), None).await.expect("answers").len(), 2);
        assert_eq!(engine.selected(&chosen).await.expect("looks").points, 0);
        let again = destroy(&engine, &setup.keys, &chosen).await.expect("does nothing more");
        assert_eq!(again, Rewritten::default());
        // The device goes on sending.
        history.commit(&engine, batch(0, 0, vec![reading("a", TODAY + 1, Value::Integer(1))]));
        engine.flush().await.expect("flushes");
        drop(engine);

        let engine = setup.open().await;
        history.replay(&engine);
        assert_eq!((count(&engine, (0, 0, "a")).await, count(&engine, (0, 1, "a")).await), (1, 3));
        drop(engine);
        let old = setup.open_on(before).await;
        assert_eq!(count(&old, (0, 0, "a")).await, 0, "of an older copy nothing can be read");
        assert!(old.latest(tenant(0), device(0), None).await.expect("answers").is_empty());
        assert_eq!(count(&old, (1, 0, "a")).await, 3, "another tenant's reads");
    });
}

#[test]
fn a_look_counts_what_is_in_memory_and_writes_nothing() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, mut history) = filled(&mut setup).await;
        let sections = engine.status().sections;
        let late = vec![reading("a", TODAY + 5, Value::Integer(1))];
        history.commit(&engine, batch(0, 0, late.clone()));
        history.commit(&engine, batch(0, 1, late));
        let found = engine.selected(&selection(of_device(0))).await.expect("looks");
        assert_eq!((found.devices, found.series, found.points), (1, 2, 17));
        assert_eq!(engine.status().sections, sections, "nobody else pays for a look");
        let mut early = selection(of_device(0));
        early.to = Timestamp::from_micros(TODAY);
        assert_eq!(engine.selected(&early).await.expect("looks").points, 16);
    });
}

#[test]
fn flushes_go_on_while_something_is_destroyed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    runtime.expect("a runtime").block_on(async {
        let mut setup = Setup::new();
        setup.limits.flush_bytes_min = 1;
        let (engine, mut history) = filled(&mut setup).await;
        let (begins, begun) = std::sync::mpsc::channel::<()>();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = parking_lot::Mutex::new(released);
        let test = move |_: DeviceId, _: &Key| {
            // It waits in the middle until the other end is dropped.
            let _ = begins.send(());
            let _ = released.lock().recv();
            Meant::No
        };
        let chosen = selection(Which::Series(Arc::new(test)));
        let other = engine.clone();
        let destroying = tokio::spawn(async move { other.destroy(&chosen, ACT).await });
        begun.recv().expect("it begins");
        let late = vec![reading("a", TODAY + 5, Value::Integer(1))];
        history.commit(&engine, batch(0, 1, late));
        let done = engine.maintain().await.expect("maintains");
        assert!(done.flushed, "memory does not fill up");
        assert_eq!(done.compactions, 0, "merges wait");
        drop(release);
        destroying.await.expect("a task").expect("ends");
        assert_eq!(count(&engine, (0, 1, "a")).await, 4);
    });
}

#[test]
fn what_waits_for_anothers_key_is_not_waited_for() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, mut history) = filled(&mut setup).await;
        let before = engine.persisted_position();
        let late = || vec![reading("a", TODAY + 5, Value::Integer(1))];
        history.commit(&engine, batch(1, 0, late()));
        history.commit(&engine, batch(0, 0, late()));
        setup.keys.revoke(tenant(1)).expect("revokes");
        engine.flush().await.expect("flushes");
        assert_eq!(engine.persisted_position(), before, "the log is kept for the other");
        assert_eq!(engine.persisted_position_of(tenant(1)), before);
        assert_eq!(engine.persisted_position_of(tenant(0)), before + 2);
        destroy(&engine, &setup.keys, &selection(of_device(0))).await.expect("destroys");
        assert_eq!(count(&engine, (0, 0, "a")).await, 0);
    });
}

#[test]
fn figures_are_no_readings_of_a_destruction() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, _) = filled(&mut setup).await;
        let first_day = TODAY / DAY;
        let expiry = Expiry { tenant: tenant(0), first_day, held: Vec::new() };
        assert!(engine.keep_figures(&expiry).await.expect("kept") > 0);
        let done = destroy(&engine, &setup.keys, &selection(of_device(0))).await.expect("ends");
        assert_eq!(done.points, 16, "hours are not counted");
        let left = engine.figures(&series(0, 0, "a"), TimeRange::ALL).await.expect("answers");
        assert!(left.is_empty(), "but they are gone");
    });
}

#[test]
fn one_key_and_single_moments_are_destroyed() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, _) = filled(&mut setup).await;
        let done = destroy(&engine, &setup.keys, &selection(of_key("b"))).await.expect("destroys");
        assert_eq!(done.points, 6);
        for (number, a) in [(0, 13), (1, 3)] {
            assert_eq!(count(&engine, (0, number, "b")).await, 0);
            assert_eq!(count(&engine, (0, number, "a")).await, a);
        }
        assert_eq!(count(&engine, (1, 0, "b")).await, 3);
        let times = Arc::new(BTreeSet::from([TODAY, TODAY - 15 * DAY]));
        let test = move |id: DeviceId, _: &Key| {
            if id == device(0) { Meant::At(Arc::clone(&times)) } else { Meant::No }
        };
        let mut chosen = selection(Which::Series(Arc::new(test)));
        chosen.held = vec![(TODAY / DAY - 15, TODAY / DAY - 15)];
        engine.destroy(&chosen, [8; 16]).await.expect("destroys");
        assert_eq!(count(&engine, (0, 0, "a")).await, 12, "one moment, the other is held");
        let latest = engine.latest(tenant(0), device(0), None).await.expect("answers");
        assert_eq!(latest[0].at.as_micros(), TODAY - DAY, "the one before is the latest");
    });
}

#[test]
fn a_whole_month_goes_with_its_keys_alone() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, _) = filled(&mut setup).await;
        let mut chosen = selection(Which::All);
        // 2026-01, to which the three days and the overlay belong; the clock stands in it.
        chosen.from = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        chosen.to = Timestamp::parse_rfc3339("2026-01-31T23:59:59.999999Z").expect("a time");
        engine.destroy(&chosen, ACT).await.expect("destroys");
        let retired = setup.keys.retired_by(ACT);
        let by_key = retired
            .iter()
            .filter(|one| chosen.method(&one.scope) == DestructionMethod::KeyDestroyed)
            .count();
        assert_eq!((retired.len(), by_key), (4, 3), "three days, and the key of overlays");
        assert_eq!((count(&engine, (0, 0, "a")).await, count(&engine, (1, 0, "a")).await), (0, 3));
    });
}

#[derive(Debug)]
struct OneSeries;

impl Units for OneSeries {
    fn own_keys(&self, _: TenantId) -> Option<OwnKeys> {
        Some(Box::new(|id: DeviceId, key: &Key| id == device(0) && &**key == "a"))
    }
}

#[test]
fn a_personal_series_has_its_devices_own_key() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.flush_windows_max = 3;
        let engine = setup.open().await;
        engine.set_units(Arc::new(OneSeries));
        fill(&engine, &mut History::default()).await.expect("fills");
        assert_eq!((count(&engine, (0, 0, "a")).await, count(&engine, (0, 1, "a")).await), (13, 3));
        let chosen = selection(of_device(0));
        engine.destroy(&chosen, ACT).await.expect("destroys");
        let retired = setup.keys.retired_by(ACT);
        let own = retired
            .iter()
            .filter(|one| chosen.method(&one.scope) == DestructionMethod::KeyDestroyed);
        assert_eq!(own.count(), 3, "its days; overlays have no day");
        assert_eq!((count(&engine, (0, 0, "a")).await, count(&engine, (0, 1, "a")).await), (0, 3));
        drop(engine);
        let engine = setup.open().await;
        assert_eq!(count(&engine, (0, 1, "b")).await, 3);
    });
}

/// Destroys one device with a fault at every write in turn; answers how many writes there were.
async fn every_cut(fault: Fault) -> i64 {
    for cut in 0.. {
        let what = format!("{fault:?} at write {cut}");
        let mut setup = Setup::new();
        setup.limits.flush_windows_max = 3;
        let inner = Arc::new(InMemory::new());
        let mut history = History::default();
        let engine = setup.open_on(inner.clone()).await;
        fill(&engine, &mut history).await.expect("fills");
        drop(engine);
        let faulty = FaultyStore::new(&inner, cut, fault);
        let engine = setup.open_on(faulty.clone()).await;
        let chosen = selection(of_device(0));
        let _ = destroy(&engine, &setup.keys, &chosen).await;
        assert_eq!(count(&engine, (0, 1, "a")).await, 3, "{what}");
        drop(engine);
        let engine = setup.open_on(inner.clone()).await;
        history.replay(&engine);
        assert_eq!(count(&engine, (0, 1, "a")).await, 3, "{what}");
        destroy(&engine, &setup.keys, &chosen).await.expect("goes on");
        assert!(setup.keys.retired_by(ACT).is_empty(), "{what}");
        assert_eq!(count(&engine, (0, 0, "a")).await, 0, "{what}");
        for place in [(0, 1, "a"), (0, 1, "b"), (1, 0, "a"), (1, 0, "b")] {
            assert_eq!(count(&engine, place).await, 3, "{what} {place:?}");
        }
        assert_eq!(engine.latest(tenant(0), device(1), None).await.expect("answers").len(), 2);
        drop(engine);
        let engine = setup.open_on(inner.clone()).await;
        assert_eq!(count(&engine, (0, 1, "b")).await, 3, "{what}");
        if !faulty.was_reached() {
            return cut;
        }
    }
    unreachable!("a destruction ends")
}

#[test]
fn a_destruction_that_is_cut_off_goes_on() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::OnceBefore, Fault::OnceAfter] {
        assert!(runtime().block_on(every_cut(fault)) > 5, "{fault:?}");
    }
}

#[test]
fn everything_is_sealed_anew_and_the_old_keys_are_needed_for_nothing() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let (engine, history) = filled(&mut setup).await;
        let before = copied(&setup.store).await;
        setup.advance(1_000_000);
        let moment = setup.clock.now();
        let known = setup.keys.list(Some(tenant(0))).into_iter();
        let old = known.filter(|one| one.scope.class == DataClass::Segment).map(|one| one.id);
        let mut old: Vec<DekId> = old.collect();
        let mut steps = 0;
        while engine.reseal_step(tenant(0), ACT, moment).await.expect("seals anew") > 0 {
            steps += 1;
        }
        assert!(steps >= 3, "one step for each day: {steps}");
        let retired: Vec<DekId> =
            setup.keys.retired_by(ACT).into_iter().map(|one| one.id).collect();
        old.sort_unstable();
        assert_eq!(retired, old, "every old key, and no other");
        let method = DestructionMethod::RewrittenThenKeyDestroyed;
        setup.keys.destroy(&retired, method).expect("destroys");
        let counts = [((0, 0, "a"), 13), ((0, 0, "b"), 3), ((0, 1, "a"), 3), ((1, 0, "a"), 3)];
        for (place, expected) in counts {
            assert_eq!(count(&engine, place).await, expected, "{place:?}");
        }
        drop(engine);

        let engine = setup.open().await;
        history.replay(&engine);
        for (place, expected) in counts {
            assert_eq!(count(&engine, place).await, expected, "{place:?}, opened again");
        }
        assert_eq!(engine.latest(tenant(0), device(0), None).await.expect("answers").len(), 2);
        drop(engine);
        let copy = setup.open_on(before).await;
        assert_eq!(count(&copy, (0, 0, "a")).await, 0, "an older copy opens with none of them");
        assert_eq!(count(&copy, (1, 0, "a")).await, 3, "another tenant's reads");
    });
}
