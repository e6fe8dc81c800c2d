//! Files of every format that was ever written, kept in `tests/golden`: what is read out of them
//! stays the same. `VERITWIN_GOLDEN_WRITE=v2` writes those of today's format into a new folder;
//! one that is there is never written again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use tempfile::TempDir;
use veritwin_domain::{
    Clock, DeviceBatch, ManualClock, Quality, Reading, SeededRng, Timestamp, Value,
};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_log::{Entry, FileLog, LogConfig};
use veritwin_telemetry::{Engine, EngineConfig};

use crate::simulation::model::Model;
use crate::support::{DAY, HOUR_MICROS, Setup, TODAY, batch, reading, runtime, tenant};

const NOW: Timestamp = Timestamp::from_micros(TODAY + DAY / 2);
const WRITE: &str = "VERITWIN_GOLDEN_WRITE";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("golden")
}

/// Every kind of value, and each form that a series can have.
fn first_day() -> Vec<Reading> {
    (0..300)
        .flat_map(|i| {
            let at = TODAY + i * 10_000_000;
            let wave = 20.0 + ((i * 7) % 40) as f64 / 4.0;
            let quality = if i % 50 == 7 { Quality::Uncertain } else { Quality::Good };
            [
                Reading { quality, ..reading("temperature", at, Value::Double(wave)) },
                reading("count", at, Value::Integer(i * i - 500)),
                reading("on", at + i % 3, Value::Boolean(i % 5 < 2)),
                reading(
                    "state",
                    at,
                    Value::Text(["idle", "busy", "空調", ""][i as usize % 4].into()),
                ),
                reading("detail", at, Value::Json(format!("{{\"n\":{}}}", i % 6).into())),
            ]
        })
        .collect()
}

/// More days than a flush has windows for, and kinds that change.
fn late() -> Vec<Reading> {
    (0..60)
        .map(|i| {
            let value = match i % 3 {
                0 => Value::Double(i as f64 / 4.0),
                1 => Value::Integer(i),
                _ => Value::Text("mixed".into()),
            };
            reading("mixed", TODAY - i * DAY / 6 + i, value)
        })
        .collect()
}

/// What is written over what was there.
fn again(round: i64) -> Vec<Reading> {
    let one = |i: i64| {
        let value = Value::Double((round * 100 + i) as f64 / 4.0);
        reading("temperature", TODAY + i * 10_000_000 * round, value)
    };
    (0..40).map(one).collect()
}

/// What is in the log and in no segment.
fn waiting() -> Vec<Reading> {
    let bad =
        |at| Reading { quality: Quality::Bad, ..reading("edge", at, Value::Integer(at >> 8)) };
    vec![
        bad(i64::MIN),
        bad(-400 * 365 * DAY),
        bad(-1),
        bad(TODAY + HOUR_MICROS),
        bad(i64::MAX),
        reading("temperature", TODAY + 3 * HOUR_MICROS, Value::Double(-0.25)),
    ]
}

/// Groups of batches: after each but the last memory is flushed.
fn groups() -> Vec<Vec<DeviceBatch>> {
    vec![
        vec![batch(0, 0, first_day()), batch(1, 1, late())],
        vec![batch(0, 0, late())],
        vec![batch(0, 0, again(1))],
        vec![batch(0, 0, again(2)), batch(0, 1, again(1))],
        vec![batch(0, 0, again(3))],
        vec![batch(0, 0, waiting()), batch(1, 0, again(4))],
    ]
}

fn log_config(directory: &Path, keys: &KeyService, clock: Arc<dyn Clock>, seed: u64) -> LogConfig {
    let rng = Arc::new(SeededRng::new(seed));
    let mut config = LogConfig::new(directory.join("log"), keys.clone(), clock, rng);
    config.file_bytes_max = 2000;
    config
}

fn objects(directory: &Path) -> Arc<LocalFileSystem> {
    let folder = directory.join("objects");
    fs::create_dir_all(&folder).expect("a folder");
    Arc::new(LocalFileSystem::new_with_prefix(&folder).expect("a store"))
}

/// Writes the files of today's format.
async fn write(version: &str) {
    let target = golden().join(version);
    assert!(!target.exists(), "{} is there: the files of a version stay", target.display());
    let mut setup = Setup::new();
    setup.limits.flush_windows_max = 4;
    setup.limits.compaction_sections_min = 3;
    let directory = setup.directory.path();
    setup.store = objects(directory);
    let engine = setup.open().await;
    let config = log_config(directory, &setup.keys, setup.clock.clone(), 43);
    let log = FileLog::open(config, vec![engine.observer()]).expect("the log opens");
    let groups = groups();
    let last = groups.len() - 1;
    for (number, group) in groups.into_iter().enumerate() {
        log.append(group.into_iter().map(Entry::from).collect()).await.expect("appends");
        if number < last {
            engine.flush().await.expect("flushes");
        }
        if number == last - 1 {
            engine.maintain().await.expect("maintains");
            log.truncate_before(engine.persisted_position()).expect("cuts the log");
        }
    }
    drop(log);
    copy(setup.directory.path(), &target);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for item in fs::read_dir(from).expect("a folder") {
        let item = item.expect("an item");
        let target = to.join(item.file_name());
        if item.file_type().expect("a kind").is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).expect("copies");
        }
    }
}

/// Reads the files of one version with today's code.
async fn read(folder: &Path) {
    let name = folder.display();
    let directory = TempDir::new().expect("a temporary directory");
    copy(folder, directory.path());
    let root = directory.path().join("root.key");
    // What is checked out has no private mode.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).expect("a private file");
    let clock = Arc::new(ManualClock::new(NOW));
    let rng = Arc::new(SeededRng::new(77));
    let root = PlatformFile::open(&root, rng.clone()).expect("the root key opens");
    let ring = directory.path().join("keyring");
    let keys = KeyService::open(Box::new(root), &ring, clock.clone(), rng.clone());
    let keys = keys.expect("the keyring opens");
    let store = objects(directory.path());
    let config = EngineConfig::new(store, keys.clone(), clock.clone(), rng);
    let engine = Engine::open(config).await.expect("the engine opens");
    let persisted = engine.persisted_position();
    assert!(persisted > 0 && engine.status().sections >= 4, "{name}: {:?}", engine.status());
    let config = log_config(directory.path(), &keys, clock, 78);
    let log = FileLog::open(config, vec![engine.observer()]).expect("the log opens");
    assert!(log.tail_position() > persisted, "{name}: the log holds what no segment does");
    engine.recover(&log).await.expect("recovers");

    let mut model = Model::default();
    groups().iter().flatten().for_each(|batch| model.take(batch));
    model.check(&engine, NOW).await;
    // Old files and new ones work together.
    let more = batch(0, 0, again(5));
    model.take(&more);
    log.append(vec![Entry::from(more)]).await.expect("appends");
    engine.flush().await.expect("flushes");
    while engine.maintain().await.expect("maintains").compactions > 0 {}
    model.check(&engine, NOW).await;
    assert_eq!(engine.tenants(), [tenant(0), tenant(1)], "{name}");
}

#[test]
fn every_version_is_read_and_written_on() {
    runtime().block_on(async {
        if let Ok(version) = std::env::var(WRITE) {
            write(&version).await;
        }
        let mut versions: Vec<PathBuf> = fs::read_dir(golden())
            .unwrap_or_else(|_| panic!("no golden files: {WRITE}=v1 writes them"))
            .map(|item| item.expect("an item").path())
            .collect();
        versions.sort();
        assert!(!versions.is_empty(), "no golden files: {WRITE}=v1 writes them");
        for version in versions {
            read(&version).await;
        }
    });
}
