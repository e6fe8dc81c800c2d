//! What the tests share: real keys in a temporary directory, an engine, committed entries.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;
use veritwin_domain::{
    Clock, CredentialId, DeviceBatch, DeviceId, Key, ManualClock, Quality, Reading, SeededRng,
    TenantId, Timestamp, Value,
};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_log::{Committed, Entry};
use veritwin_telemetry::{Engine, EngineConfig, EngineLimits, Series};

pub(crate) const HOUR_MICROS: i64 = 3_600_000_000;
pub(crate) const DAY: i64 = 24 * HOUR_MICROS;
/// 2026-01-31T00:00:00Z.
pub(crate) const TODAY: i64 = 1_769_817_600_000_000;

/// Keys, clock and store of one test.
pub(crate) struct Setup {
    pub(crate) keys: KeyService,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rng: Arc<SeededRng>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) limits: EngineLimits,
    /// Whoever opens the store takes it over.
    pub(crate) is_shared: bool,
    pub(crate) directory: TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::seeded(tempfile::tempdir().expect("a temporary directory"), 42)
    }

    /// In a directory of the caller's, with randomness of the caller's.
    pub(crate) fn seeded(directory: TempDir, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(TODAY + DAY / 2)));
        let rng = Arc::new(SeededRng::new(seed));
        let root = PlatformFile::open_or_create(&directory.path().join("root.key"), rng.clone())
            .expect("a root key");
        let ring = directory.path().join("keyring");
        let keys =
            KeyService::open(Box::new(root), &ring, clock.clone(), rng.clone()).expect("a keyring");
        for number in 0..3 {
            keys.create_tenant(tenant(number)).expect("tenant keys");
        }
        Self {
            keys,
            clock,
            rng,
            store: Arc::new(InMemory::new()),
            limits: EngineLimits::default(),
            is_shared: false,
            directory,
        }
    }

    pub(crate) async fn open(&self) -> Engine {
        self.open_on(Arc::clone(&self.store)).await
    }

    pub(crate) async fn open_on(&self, store: Arc<dyn ObjectStore>) -> Engine {
        Engine::open(self.config(store)).await.expect("the engine opens")
    }

    pub(crate) fn config(&self, store: Arc<dyn ObjectStore>) -> EngineConfig {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let mut config = EngineConfig::new(store, self.keys.clone(), clock, self.rng.clone());
        config.limits = self.limits;
        config.is_shared = self.is_shared;
        config
    }

    pub(crate) fn advance(&self, micros: i64) {
        self.clock.advance(Duration::from_micros(micros as u64));
    }
}

pub(crate) fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([100 + number; 16])
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([200 + number; 16])
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("a key")
}

pub(crate) fn series(tenant_number: u8, device_number: u8, name: &str) -> Series {
    Series { tenant: tenant(tenant_number), device: device(device_number), key: key(name) }
}

pub(crate) fn reading(name: &str, at: i64, value: Value) -> Reading {
    Reading { key: key(name), at: Timestamp::from_micros(at), value, quality: Quality::Good }
}

pub(crate) fn batch(tenant_number: u8, device_number: u8, readings: Vec<Reading>) -> DeviceBatch {
    DeviceBatch {
        tenant: tenant(tenant_number),
        device: device(device_number),
        credential: CredentialId::from_bytes([1; 16]),
        received_at: Timestamp::from_micros(TODAY),
        readings,
    }
}

/// Committed entries kept like a log keeps them, for replays.
#[derive(Default)]
pub(crate) struct History {
    batches: Vec<Committed>,
    next: u64,
}

impl History {
    /// Commits a batch and applies it.
    pub(crate) fn commit(&mut self, engine: &Engine, batch: DeviceBatch) {
        let entries = vec![Arc::new(Entry::from(batch))];
        let committed = Committed { first: self.next, entries, passed: 0 };
        self.next += 1;
        engine.apply(&committed);
        self.batches.push(committed);
    }

    /// Applies again everything the engine has not persisted.
    pub(crate) fn replay(&self, engine: &Engine) {
        let persisted = engine.persisted_position();
        assert!(persisted <= self.next, "segments are never ahead of the log");
        for committed in self.batches.iter().filter(|batch| batch.end() > persisted) {
            engine.apply(committed);
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The names of all stored objects.
pub(crate) async fn objects(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    use futures::TryStreamExt;
    let listed: Vec<_> = store.list(None).try_collect().await.expect("lists");
    listed.into_iter().map(|meta| meta.location.to_string()).collect()
}

impl History {
    /// Leaves out what another history has committed.
    pub(crate) const fn skip(&mut self) {
        self.next += 1;
    }

    /// How many batches were committed.
    pub(crate) const fn len(&self) -> i64 {
        self.next as i64
    }
}
