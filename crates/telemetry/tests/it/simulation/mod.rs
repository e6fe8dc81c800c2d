//! The engine and its log on a disk and an object store that fail, with crashes at every step and a
//! clock that jumps, against an ordered map. One seed is one run: `VERITWIN_SEED` repeats it,
//! `VERITWIN_SIMULATION_SEEDS` says how many there are.

mod cases;
pub(crate) mod disk;
pub(crate) mod model;
pub(crate) mod objects;
mod steps;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::ObjectStore;
use parking_lot::Mutex;
use tempfile::TempDir;
use veritwin_domain::{Clock, DeviceBatch, Rng, SeededRng};
use veritwin_log::{AppendedRange, FileLog, LogConfig, LogError};
use veritwin_telemetry::{Engine, TelemetryError, TimeRange};

use self::disk::{DISK_FAULTS, Disk, DiskView};
use self::model::Model;
use self::objects::{Objects, STORE_FAULTS};
use self::steps::KEYS;
use crate::support::{Setup, device, runtime, series, tenant};

/// Seeds of a usual test run; `cargo xtask soak` asks for 10,000.
const SEEDS: u64 = 200;
const STEPS_MIN: u64 = 10;
const STEPS_MORE: u64 = 21;
/// The tenant whose keys may be destroyed.
const DOOMED: u8 = 2;
/// How often an opening may be cut off before it has to succeed.
const OPENINGS_CUT_OFF_MAX: u64 = 2;

pub(super) fn below(rng: &SeededRng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A process: the engine and its log.
struct Running {
    engine: Engine,
    log: FileLog,
}

/// Why a process could not start.
type Cut = Box<dyn std::error::Error>;

/// What outlives processes, the process there is, and what it has to know.
struct World {
    rng: SeededRng,
    setup: Setup,
    disk: Arc<Disk>,
    objects: Arc<Objects>,
    running: Option<Running>,
    model: Model,
    /// The position that the next append gets.
    next: u64,
    /// What was committed, to be sent again.
    sent: Vec<DeviceBatch>,
    /// What arrives in the middle of a flush or a merge, and the log's answer.
    arriving: Vec<DeviceBatch>,
    answer: Arc<Mutex<Option<Result<AppendedRange, LogError>>>>,
    /// Nothing goes wrong any more.
    is_calm: bool,
    /// The keys of one tenant are destroyed.
    is_destroyed: bool,
    trace: Vec<(u64, u64, u64)>,
    /// What happened at least once.
    seen: BTreeSet<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut setup = Setup::seeded(fast_directory(), seed);
        // Half of all stores are as a bucket is.
        setup.is_shared = seed % 2 == 1;
        setup.limits.flush_bytes_min = 3000;
        setup.limits.flush_windows_max = 4;
        setup.limits.compaction_sections_min = 3;
        setup.limits.compaction_bytes_max = 200_000;
        setup.limits.directory_cache_bytes_max = 256 * 1024;
        setup.limits.frame_cache_bytes_max = 32 * 1024;
        let objects = Arc::new(Objects::new());
        setup.store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
        Self {
            rng: SeededRng::new(seed ^ 0x5eed_5eed),
            setup,
            disk: Arc::new(Disk::new(seed ^ 0x000d_15c0)),
            objects,
            running: None,
            model: Model::default(),
            next: 0,
            sent: Vec::new(),
            arriving: Vec::new(),
            answer: Arc::default(),
            is_calm: false,
            is_destroyed: false,
            trace: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    fn below(&self, bound: u64) -> u64 {
        below(&self.rng, bound)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a process runs")
    }

    fn saw(&mut self, what: &str) {
        self.seen.insert(what.to_owned());
    }

    /// What the log has taken for good.
    fn committed(&mut self, batches: Vec<DeviceBatch>) {
        self.next += batches.len() as u64;
        for batch in batches {
            self.model.take(&batch);
            self.sent.push(batch);
        }
    }

    async fn check(&self) {
        let engine = &self.running().engine;
        assert!(engine.persisted_position() <= self.next, "segments are never ahead of the log");
        self.model.check(engine, self.setup.clock.now()).await;
        self.check_series_count();
        self.check_destroyed().await;
    }

    /// Series are counted as they come and go.
    fn check_series_count(&self) {
        let engine = &self.running().engine;
        let readable = if self.is_destroyed { DOOMED } else { DOOMED + 1 };
        for number in 0..readable {
            let of = |one| engine.keys(tenant(number), device(one)).expect("keys").len() as u64;
            let count: u64 = (0..2).map(of).sum();
            assert_eq!(engine.series_count(tenant(number)), count, "of tenant {number}");
        }
    }

    /// Nothing answers for a tenant whose keys are destroyed, whatever is still stored of it.
    async fn check_destroyed(&self) {
        if !self.is_destroyed {
            return;
        }
        let engine = &self.running().engine;
        for number in 0..2 {
            match engine.latest(tenant(DOOMED), device(number), None).await {
                Ok(latest) => assert!(latest.is_empty(), "{latest:?}"),
                Err(error) => assert!(error.is_denied(), "{error}"),
            }
            for name in KEYS {
                match engine.stats(&series(DOOMED, number, name), TimeRange::ALL).await {
                    Ok(stats) => assert_eq!(stats.count, 0, "nothing is left of it"),
                    Err(error) => assert!(error.is_denied(), "{error}"),
                }
            }
        }
    }

    /// The process ends as it should, and another one starts.
    async fn restart(&mut self, pending: Vec<DeviceBatch>) {
        self.running = None;
        self.open(pending).await;
    }

    /// The process is killed or the power goes, and another one starts.
    async fn crash(&mut self, pending: Vec<DeviceBatch>) {
        let running = self.running.take();
        self.end(running);
        self.open(pending).await;
    }

    /// Ends a process at once: nothing that it still does has any effect.
    fn end(&mut self, running: Option<Running>) {
        self.disk.stop();
        self.objects.stop();
        // The log marks that it was closed when it is dropped, which nobody does in a crash.
        let mark = self.setup.directory.path().join("log").join("closed");
        let marked = std::fs::read(&mark).ok();
        drop(running);
        match marked {
            Some(bytes) => std::fs::write(&mark, bytes).expect("puts the mark back"),
            None => drop(std::fs::remove_file(&mark)),
        }
        if self.below(2) == 0 {
            self.saw("power loss");
            self.disk.after_a_power_loss();
        } else {
            self.saw("kill");
            self.disk.after_a_kill();
        }
    }

    /// Starts a process. `pending` was appended and never acknowledged: it is there as a whole, or
    /// it is not.
    async fn open(&mut self, pending: Vec<DeviceBatch>) {
        for attempt in 0.. {
            // What a process asked for and did not wait for is done before the next one looks, or
            // never.
            self.objects.land(|| self.below(2) == 0).await;
            self.disk.start();
            self.objects.start();
            let is_cut_off = !self.is_calm && attempt < OPENINGS_CUT_OFF_MAX && self.below(5) == 0;
            if is_cut_off {
                self.disk.plan(DISK_FAULTS[self.below(6) as usize], self.below(2));
                self.objects.plan(STORE_FAULTS[self.below(6) as usize], self.below(9));
            }
            let opened = self.start().await;
            let is_stopped = self.disk.settle() | self.objects.settle();
            match opened {
                Ok(running) if !is_stopped => {
                    self.running = Some(running);
                    break;
                }
                Ok(running) => self.end(Some(running)),
                Err(error) if !is_cut_off => panic!("it does not open: {error}"),
                Err(_) if is_stopped => {
                    self.saw("opening cut off");
                    self.end(None);
                }
                Err(_) => self.saw("opening failed"),
            }
        }
        let tail = self.running().log.tail_position();
        if tail != self.next {
            let whole = self.next + pending.len() as u64;
            assert_eq!(tail, whole, "after {}: all of an append or nothing of it", self.next);
            self.saw("unanswered and kept");
            self.committed(pending);
        } else if !pending.is_empty() {
            self.saw("unanswered and lost");
        }
        let engine = &self.running().engine;
        assert!(engine.persisted_position() <= self.next, "segments are never ahead of the log");
        self.model.check_readings(engine, self.setup.clock.now()).await;
        self.check_destroyed().await;
    }

    async fn start(&self) -> Result<Running, Cut> {
        let Setup { keys, clock, rng, store, directory, .. } = &self.setup;
        let engine = Engine::open(self.setup.config(Arc::clone(store))).await?;
        let folder = directory.path().join("log");
        let mut config = LogConfig::new(folder, keys.clone(), clock.clone(), rng.clone());
        config.file_bytes_max = 4000;
        config.storage = Arc::new(DiskView(Arc::clone(&self.disk)));
        let log = FileLog::open(config, vec![engine.observer()])?;
        engine.recover(&log).await?;
        Ok(Running { engine, log })
    }

    /// Everything works again: what is left to do is done, nothing is lost and nothing is left
    /// behind.
    async fn finish(&mut self) {
        self.is_calm = true;
        self.objects.land(|| true).await;
        // Sections of destroyed keys are looked for once in a while.
        self.setup.advance(61_000_000);
        let Running { engine, log } = self.running();
        let persisted = match engine.flush().await {
            // What failed before may hold readings of the tenant that is gone; the next goes
            // without them.
            Err(error) if self.is_destroyed && error.is_denied() => engine.flush().await,
            other => other,
        };
        let persisted = persisted.expect("flushes");
        assert_eq!(persisted, self.next, "everything is in segments");
        while engine.maintain().await.expect("maintains").compactions > 0 {}
        log.truncate_before(persisted).expect("the log may be cut here");
        let is_left = engine.tenants().contains(&tenant(DOOMED));
        assert!(!(self.is_destroyed && is_left), "a tenant without keys is forgotten");
        self.check().await;
        self.restart(Vec::new()).await;
        self.running().engine.maintain().await.expect("maintains");
        let stored = crate::support::objects(&self.setup.store).await;
        let manifests = stored.iter().filter(|name| name.starts_with("manifests/")).count();
        assert!(manifests <= 1, "one manifest is in force: {stored:?}");
        self.restart(Vec::new()).await;
        let again = crate::support::objects(&self.setup.store).await;
        if self.setup.is_shared {
            // Each opening has a claim and a manifest of its own.
            let packs = |names: &[String]| -> Vec<String> {
                names.iter().filter(|name| name.starts_with("segments/")).cloned().collect()
            };
            assert_eq!((packs(&again), again.len()), (packs(&stored), stored.len()));
        } else {
            assert_eq!(again, stored, "an opening that finds nothing wrong deletes nothing");
        }
    }
}

/// Where fsync costs nothing, if there is such a place: this disk's failures are its own.
fn fast_directory() -> TempDir {
    let fast = tempfile::tempdir_in("/dev/shm");
    fast.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// One run; what it did, step by step, and what happened in it.
async fn play(seed: u64) -> (Vec<(u64, u64, u64)>, BTreeSet<String>) {
    let mut world = World::new(seed);
    world.open(Vec::new()).await;
    for _ in 0..STEPS_MIN + world.below(STEPS_MORE) {
        world.step().await;
    }
    world.finish().await;
    world.seen.extend(world.disk.fired());
    world.seen.extend(world.objects.fired());
    (world.trace, world.seen)
}

fn play_or_name(seed: u64) -> BTreeSet<String> {
    let run = catch_unwind(AssertUnwindSafe(|| runtime().block_on(play(seed))));
    let Ok((_, seen)) = run else {
        panic!("seed {seed} failed: VERITWIN_SEED={seed} repeats it");
    };
    seen
}

/// What has to have happened in a usual test run: one that does nothing proves nothing.
fn everything() -> BTreeSet<String> {
    let others = [
        "power loss",
        "kill",
        "opening cut off",
        "opening failed",
        "unanswered and kept",
        "unanswered and lost",
        "disk full",
        "flushed",
        "merged",
        "work failed",
        "arrived meanwhile",
        "log cut",
        "tenant destroyed",
    ];
    let disk = DISK_FAULTS.map(|fault| format!("{fault:?}"));
    let store = STORE_FAULTS.map(|fault| format!("{fault:?}"));
    others.map(str::to_owned).into_iter().chain(disk).chain(store).collect()
}

#[test]
fn every_seed_equals_its_model() {
    let (first, end) = match number("VERITWIN_SEED") {
        Some(seed) => (seed, seed.saturating_add(1)),
        None => (0, number("VERITWIN_SIMULATION_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let seen = Mutex::new(BTreeSet::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        break;
                    }
                    let of_seed = play_or_name(seed);
                    seen.lock().extend(of_seed);
                }
            });
        }
    });
    if end.saturating_sub(first) >= SEEDS {
        let seen = seen.into_inner();
        let missing: Vec<_> = everything().difference(&seen).cloned().collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let run = || runtime().block_on(play(7)).0;
    assert_eq!(run(), run());
}

/// Whether an error is the failing store's.
fn is_injected(error: &TelemetryError) -> bool {
    matches!(error, TelemetryError::Store { .. })
}
