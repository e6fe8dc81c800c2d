//! Nothing readable in the store, and keys that are withdrawn or destroyed take effect.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use veritwin_domain::{Clock, Value};
use veritwin_keys::{DataClass, DestructionMethod, Epoch, NewAbove, SecretKey};
use veritwin_log::{Entry, FileLog, LogConfig, Record};
use veritwin_telemetry::{Engine, TimeRange};

use crate::support::{
    DAY, HOUR_MICROS, History, Setup, TODAY, batch, device, reading, runtime, series, tenant,
};

const MINUTE: Duration = Duration::from_secs(60);
const CANARY_KEY: &str = "canary-key-7f3a";
const CANARY_TEXT: &str = "canary text of somebody's bedroom";

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn no_object_holds_names_values_or_device_ids() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let folder = setup.directory.path().join("objects");
        std::fs::create_dir(&folder).expect("a folder");
        let local = LocalFileSystem::new_with_prefix(&folder).expect("a store").with_fsync(true);
        setup.store = Arc::new(local);
        setup.limits.compaction_sections_min = 3;
        let engine = setup.open().await;
        let mut history = History::default();
        for round in 0..4 {
            let readings = vec![
                reading(CANARY_KEY, TODAY + round, Value::Text(CANARY_TEXT.into())),
                reading(CANARY_KEY, TODAY + 9 + round, Value::Integer(0x0123_4567_89ab_cdef)),
            ];
            history.commit(&engine, batch(0, 0, readings));
            engine.flush().await.expect("flushes");
            if round == 2 {
                engine.maintain().await.expect("maintains");
            }
        }
        assert_eq!(engine.status().sections, 2);
        let names = crate::support::objects(&setup.store).await;
        assert!(names.len() >= 3, "{names:?}");
        let mut bytes = Vec::new();
        for name in &names {
            bytes.extend(std::fs::read(folder.join(name)).expect("an object"));
        }
        for needle in [
            CANARY_KEY.as_bytes(),
            CANARY_TEXT.as_bytes(),
            device(0).as_bytes(),
            tenant(0).as_bytes(),
            &0x0123_4567_89ab_cdef_i64.to_le_bytes(),
            &TODAY.to_le_bytes(),
        ] {
            assert!(!holds(&bytes, needle), "found {needle:?}");
        }
        drop(engine);
        let reopened = setup.open().await;
        let latest = reopened.latest(tenant(0), device(0), None).await.expect("answers");
        assert_eq!(latest[0].at.as_micros(), TODAY + 12);
        let stats =
            reopened.stats(&series(0, 0, CANARY_KEY), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.numbers), (8, 4));
    });
}

#[test]
fn altered_and_swapped_objects_are_refused() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        let folder = setup.directory.path().join("objects");
        std::fs::create_dir(&folder).expect("a folder");
        setup.store = Arc::new(LocalFileSystem::new_with_prefix(&folder).expect("a store"));
        let engine = setup.open().await;
        let readings = (0..50).map(|i| reading("n", TODAY + i * i, Value::Integer(i * 37 % 11)));
        History::default().commit(&engine, batch(0, 0, readings.collect()));
        engine.flush().await.expect("flushes");
        drop(engine);
        let names = crate::support::objects(&setup.store).await;
        let packs: Vec<_> = names.iter().filter(|name| name.starts_with("segments/")).collect();
        assert_eq!(packs.len(), 2, "sections and latest values");
        for pack in packs {
            every_altered_byte_is_noticed(&setup, &folder.join(pack)).await;
        }
        let manifests = folder.join("manifests");
        let number = |number: u64| manifests.join(format!("{number:020}"));
        std::fs::copy(number(1), number(2)).expect("copies");
        assert!(open(&setup).await.is_err(), "a manifest does not open under another number");
        std::fs::remove_file(number(2)).expect("removes");
        open(&setup).await.expect("the sound store opens");
    });
}

async fn every_altered_byte_is_noticed(setup: &Setup, path: &std::path::Path) {
    let sound = std::fs::read(path).expect("the pack");
    for place in 0..sound.len() {
        let mut altered = sound.clone();
        altered[place] ^= 1;
        std::fs::write(path, &altered).expect("writes");
        let opened = open(setup).await;
        let Ok(engine) = opened else { continue };
        let whole = veritwin_telemetry::RangeQuery {
            range: TimeRange::ALL,
            order: Default::default(),
            limit: 100,
            after: None,
        };
        let read = engine.range(&series(0, 0, "n"), whole).await;
        assert!(read.is_err(), "byte {place} of {} altered", sound.len());
    }
    std::fs::write(path, &sound).expect("writes");
}

async fn open(
    setup: &Setup,
) -> Result<Engine, veritwin_telemetry::TelemetryError> {
    let store: Arc<dyn ObjectStore> = Arc::clone(&setup.store);
    Engine::open(veritwin_telemetry::EngineConfig::new(
        store,
        setup.keys.clone(),
        setup.clock.clone(),
        setup.rng.clone(),
    ))
    .await
}

#[test]
fn a_withdrawn_tenant_is_closed_and_holds_up_no_other() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        history.commit(&engine, batch(0, 0, vec![reading("n", TODAY, Value::Integer(1))]));
        engine.flush().await.expect("flushes");
        history.commit(&engine, batch(0, 0, vec![reading("n", TODAY + 1, Value::Integer(2))]));
        history.commit(&engine, batch(1, 0, vec![reading("n", TODAY + 1, Value::Integer(3))]));
        setup.keys.revoke(tenant(0)).expect("revokes");
        let closed = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await;
        assert!(closed.is_err_and(|error| error.is_denied()));
        let latest = engine.latest(tenant(0), device(0), None).await;
        assert!(latest.is_err_and(|error| error.is_denied()));
        assert_eq!(engine.flush().await.expect("others go on"), 1, "the log has to keep the rest");
        drop(engine);

        let engine = setup.open().await;
        history.replay(&engine);
        let other = engine.stats(&series(1, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!(other.count, 1);
        setup.keys.restore(tenant(0)).expect("restores");
        assert_eq!(engine.flush().await.expect("flushes"), 3);
        engine.maintain().await.expect("maintains");
        let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.last), (2, Some(2.0)));
        let latest = engine.latest(tenant(0), device(0), None).await.expect("answers");
        assert_eq!(latest[0].value, Value::Integer(2));
    });
}

#[test]
fn an_expired_day_is_gone_and_the_rest_stays() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        let readings = (0..4).map(|i| reading("n", TODAY + i * DAY / 2, Value::Integer(i)));
        history.commit(&engine, batch(0, 0, readings.collect()));
        engine.flush().await.expect("flushes");
        assert_eq!(engine.status().sections, 2, "one section for each day");
        let today = TODAY / DAY;
        let day: Vec<_> = setup
            .keys
            .list(Some(tenant(0)))
            .into_iter()
            .filter(|dek| dek.scope.class == DataClass::Segment)
            .filter(|dek| dek.scope.epoch == Epoch::Day(today))
            .map(|dek| dek.id)
            .collect();
        assert_eq!(day.len(), 1);
        setup.keys.destroy(&day, DestructionMethod::KeyDestroyed).expect("destroys");
        let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.first), (2, Some(2.0)));
        // Late data of the expired day comes under a new key.
        let late = vec![reading("n", TODAY + HOUR_MICROS, Value::Integer(9))];
        history.commit(&engine, batch(0, 0, late));
        engine.flush().await.expect("flushes");
        setup.advance(2 * DAY);
        let done = engine.maintain().await.expect("maintains");
        assert_eq!(done.sections_dropped, 1);
        let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.first), (3, Some(9.0)));
    });
}

#[test]
fn a_destroyed_tenant_is_forgotten() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        for number in [0, 1] {
            let readings = vec![reading("n", TODAY, Value::Integer(1))];
            history.commit(&engine, batch(number, 0, readings));
        }
        setup.keys.destroy_tenant(tenant(0)).expect("destroys");
        assert_eq!(engine.flush().await.expect("flushes"), 2);
        assert_eq!(engine.tenants(), [tenant(1)]);
        setup.keys.destroy_tenant(tenant(1)).expect("destroys");
        let done = engine.maintain().await.expect("maintains");
        assert_eq!(done.sections_dropped, 1);
        assert_eq!(engine.tenants(), []);
        let objects = crate::support::objects(&setup.store).await;
        assert_eq!(objects.len(), 1, "only the manifest is left: {objects:?}");
        history.commit(&engine, batch(2, 0, vec![reading("n", TODAY, Value::Integer(1))]));
        assert_eq!(engine.flush().await.expect("flushes"), 3);
        let reopened = setup.open().await;
        let kept = reopened.stats(&series(2, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!(kept.count, 1);
    });
}

fn open_log(setup: &Setup, engine: &Engine) -> FileLog {
    let folder = setup.directory.path().join("log");
    let (keys, clock, rng) = (setup.keys.clone(), setup.clock.clone(), setup.rng.clone());
    let config = LogConfig::new(folder, keys, clock, rng);
    FileLog::open(config, vec![engine.observer()]).expect("a log")
}

fn sent(number: u8, value: i64) -> Entry {
    let readings = vec![reading("n", TODAY + value, Value::Integer(value))];
    let record = Record::Readings(batch(number, 0, readings));
    Entry { tenant: tenant(number), record }
}

/// Holds a tenant's key for a minute; what its service would unwrap.
fn hold(setup: &Setup, number: u8) -> SecretKey {
    let kek = setup.keys.new_kek(tenant(number)).expect("a key");
    let secret = kek.secret().clone();
    let fresh_until = setup.clock.monotonic() + MINUTE;
    let above = NewAbove::Held { wrapped: vec![1], fresh_until };
    setup.keys.install_kek(kek, above).expect("held");
    secret
}

#[test]
fn a_key_that_was_destroyed_where_it_was_held_holds_no_log() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        log.append(vec![sent(0, 1)]).await.expect("taken");
        hold(&setup, 0);
        log.append(vec![sent(1, 2)]).await.expect("taken");
        let version = setup.keys.wrapped_kek(tenant(0)).expect("held").context.version;
        setup.keys.note_gone(tenant(0), version).expect("noted");
        engine.set_aside(tenant(0));
        assert!(engine.is_behind(tenant(0)));
        assert_eq!(engine.catch_up(&log).await.expect("nobody is back"), 0);
        assert!(!engine.is_behind(tenant(0)), "nothing of it comes any more");
        assert_eq!(engine.flush().await.expect("flushes"), 2);
    });
}

#[test]
fn what_is_set_aside_leaves_memory_and_is_read_from_the_log_again() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let log = open_log(&setup, &engine);
        let send = async |number: u8, value: i64| log.append(vec![sent(number, value)]).await;
        send(0, 1).await.expect("taken");
        let secret = hold(&setup, 0);
        send(0, 2).await.expect("taken");
        setup.advance(60_000_000);
        assert_eq!(setup.keys.lapse(), [tenant(0)]);
        engine.set_aside(tenant(0));
        send(0, 3).await.expect("taken without the key");
        send(1, 4).await.expect("taken");
        assert!(engine.latest(tenant(0), device(0), None).await.is_err());
        assert!(engine.is_behind(tenant(0)));
        assert_eq!(engine.flush().await.expect("others go on"), 0, "the log keeps the rest");
        assert_eq!(engine.catch_up(&log).await.expect("nobody is back"), 0);
        let fresh_until = setup.clock.monotonic() + MINUTE;
        assert!(setup.keys.admit(tenant(0), 2, secret, fresh_until).expect("it is back"));
        send(0, 5).await.expect("taken");
        assert_eq!(engine.catch_up(&log).await.expect("reads again"), 1);
        assert!(!engine.is_behind(tenant(0)));
        send(0, 6).await.expect("taken");
        let stats = engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.last), (5, Some(6.0)));
        assert_eq!(engine.flush().await.expect("flushes"), 6);
    });
}
