//! The engine: opens a store, takes committed entries, and holds what flush, compaction and
//! queries share. It is the only reader of its store's manifest while it is open.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use veritwin_domain::{Clock, DeviceId, FileId, Key, Rng, TenantId};
use veritwin_keys::{KeyError, KeyService};
use veritwin_log::{CommitObserver, Committed, FileLog, Record, Unreadable};

use crate::TelemetryError;
use crate::budget::Pool;
use crate::catalog::{LatestPlace, Pack};
use crate::commit::delete_orphans;
use crate::epoch::Found;
use crate::memory::{Latest, LatestOfAll, LatestSize, Memory};
use crate::pace::Hurry;
use crate::reader::Reader;
use crate::room::{RoomQueues, Taken, bytes_of};

/// Tenants whose latest values are read at once when the engine opens.
const TENANTS_AT_ONCE: usize = 16;
/// Most that the bounds of latest values may be: those of a tenant are one sealed value, which is
/// read at the start, and one longer than a gigabyte would not be.
const SERIES_MOST: usize = 8_000_000;
const LATEST_BYTES_MOST: usize = 512 * 1024 * 1024;
/// Entries applied during a replay before other tasks have their turn.
const REPLAY_BYTES_MIN: usize = 1024 * 1024;

/// The engine's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Bytes of readings in memory above which [`Engine::room`] holds back new ones; a
    /// tenant has a part of them.
    pub memory_bytes_max: usize,
    /// Series of all tenants above which [`Engine::latest_room`] refuses new ones: each has its
    /// latest value in memory. A tenant has a part of them.
    pub series_max: usize,
    /// Bytes of all series' keys and of the texts that they said last, above which
    /// [`Engine::latest_room`] refuses more. A tenant has a part of them.
    pub latest_bytes_max: usize,
    /// Bytes of readings in memory from which [`Engine::maintain`] flushes.
    pub flush_bytes_min: usize,
    /// Age of the oldest reading in memory from which [`Engine::maintain`] flushes.
    pub flush_age: Duration,
    /// A flush of one tenant that touches more UTC days writes one overlay instead.
    pub flush_windows_max: usize,
    /// Bytes of directories kept.
    pub directory_cache_bytes_max: usize,
    /// Bytes of sealed chunks kept.
    pub frame_cache_bytes_max: usize,
    /// Most points in a page and most buckets in an answer.
    pub query_points_max: usize,
    /// Most points of overlapping chunks that one query decodes at once.
    pub query_open_points_max: usize,
    /// Most points that one query decodes in all.
    pub query_scan_points_max: usize,
    /// Most bytes of an answer that one query holds.
    pub query_memory_bytes_max: usize,
    /// Most bytes of answers that all queries hold; a tenant's at most three times what is free.
    pub queries_memory_bytes_max: usize,
    /// Sections of one window, or overlays, that make a compaction due.
    pub compaction_sections_min: usize,
    /// Most sealed bytes that one compaction reads.
    pub compaction_bytes_max: u64,
    /// The part of one core that compactions, and writing anew what a destruction or an end leaves,
    /// take, in percent; they take all of it while memory fills up.
    pub compaction_core_percent: u32,
    /// The same of flushes that [`Engine::maintain`] and [`Engine::flush_if_due`] begin.
    pub flush_core_percent: u32,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 * 1024 * 1024,
            series_max: 2_000_000,
            latest_bytes_max: 256 * 1024 * 1024,
            flush_bytes_min: 96 * 1024 * 1024,
            flush_age: Duration::from_secs(3600),
            flush_windows_max: 64,
            directory_cache_bytes_max: 64 * 1024 * 1024,
            frame_cache_bytes_max: 64 * 1024 * 1024,
            query_points_max: 100_000,
            query_open_points_max: 2 * 1024 * 1024,
            query_scan_points_max: 500_000_000,
            query_memory_bytes_max: 64 * 1024 * 1024,
            queries_memory_bytes_max: 256 * 1024 * 1024,
            compaction_sections_min: 8,
            compaction_bytes_max: 32 * 1024 * 1024,
            compaction_core_percent: 25,
            flush_core_percent: 50,
        }
    }
}

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where sealed objects go; in production a local file system with fsync, or S3.
    pub store: Arc<dyn ObjectStore>,
    /// Others can open the store too, as a bucket, while nobody else opens a folder under a lock:
    /// whoever opens it takes it over from who was there.
    pub is_shared: bool,
    /// Whose keys seal them.
    pub keys: KeyService,
    /// For ages and days.
    pub clock: Arc<dyn Clock>,
    /// For file ids.
    pub rng: Arc<dyn Rng>,
    /// The bounds.
    pub limits: EngineLimits,
}

impl EngineConfig {
    /// A set-up with the usual bounds.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        keys: KeyService,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, is_shared: false, keys, clock, rng, limits: EngineLimits::default() }
    }
}

/// Whether a series of one tenant is sealed under its device's own key.
pub type OwnKeys = Box<dyn Fn(DeviceId, &Key) -> bool + Send + Sync>;

/// Which series have a key of their device's own, so that destroying it destroys them.
pub trait Units: fmt::Debug + Send + Sync {
    /// Of a tenant, as it is from now on; asked once for each flush. None: no series has.
    fn own_keys(&self, tenant: TenantId) -> Option<OwnKeys>;
}

/// The time-series engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) limits: EngineLimits,
    pub(crate) reader: Reader,
    pub(crate) memory: RwLock<Memory>,
    /// What latest values of all tenants take of it.
    pub(crate) latest: Arc<LatestOfAll>,
    /// Taken to change the manifest; one flush or compaction commits at a time.
    pub(crate) commits: tokio::sync::Mutex<Commits>,
    /// Taken to compact; flushes go on meanwhile.
    pub(crate) compaction: tokio::sync::Mutex<()>,
    /// Every pack that exists. One that nothing else refers to can be deleted.
    pub(crate) packs: Mutex<Vec<Arc<Pack>>>,
    /// What the answers of queries under way hold.
    pub(crate) query_memory: Arc<Pool>,
    pub(crate) room: Notify,
    /// Who waits for it, tenant by tenant.
    pub(crate) room_queues: RoomQueues,
    /// Locked after `memory`.
    pub(crate) taken: Mutex<Taken>,
    /// When sections were last checked for destroyed keys, on the monotonic clock.
    pub(crate) expiry_checked: Mutex<Option<Duration>>,
    pub(crate) hurry: Hurry,
    /// None: all series are sealed under their tenants' keys.
    pub(crate) units: RwLock<Option<Arc<dyn Units>>>,
    /// Tenants whose days are not merged into months; none while nobody has said, and then no
    /// tenant's are.
    pub(crate) kept_by_days: RwLock<Option<HashSet<TenantId>>>,
    /// Tenants whose keys went away under a flush, and until when their readings stay in the log,
    /// on the monotonic clock.
    pub(crate) resting: Mutex<HashMap<TenantId, Duration>>,
}

/// The state of writing manifests.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) number_next: u64,
    /// The epoch that its numbers are of, where others can open the store.
    pub(crate) epoch: Option<u32>,
    pub(crate) superseded: Vec<u64>,
    pub(crate) conflict: Option<u64>,
    /// Packs of manifests whose writing failed, with those manifests' numbers: such a manifest may
    /// be there, or come late, and would be in force after a crash.
    pub(crate) unsure: Vec<(u64, Arc<Pack>)>,
}

/// What the engine holds, for status pages and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStatus {
    /// Everything in the log before this position is in segments.
    pub persisted_position: u64,
    /// The position of the next entry to apply.
    pub next_position: u64,
    /// Bytes of readings that are not in segments yet.
    pub memory_bytes: usize,
    /// What latest values take.
    pub latest: LatestSize,
    /// Number of the current manifest.
    pub manifest: u64,
    /// Sealed sections of all tenants.
    pub sections: usize,
    /// Points in them; a time that stands in several sections counts in each.
    pub section_points: u64,
    /// Sealed bytes of them.
    pub section_bytes: u64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("status", &self.status()).finish()
    }
}

impl Engine {
    /// Opens the engine on its store: reads the newest manifest and every tenant's latest values,
    /// and deletes objects that no manifest names. A shared store is taken over first.
    #[boxed]
    pub async fn open(config: EngineConfig) -> Result<Self, TelemetryError> {
        let EngineConfig { store, is_shared, keys, clock, rng, mut limits } = config;
        limits.series_max = limits.series_max.min(SERIES_MOST);
        limits.latest_bytes_max = limits.latest_bytes_max.min(LATEST_BYTES_MOST);
        let reader = Reader::new(
            store,
            keys,
            limits.directory_cache_bytes_max,
            limits.frame_cache_bytes_max,
        );
        let found = if is_shared {
            Found::claim(&reader, clock.as_ref(), rng.as_ref()).await?
        } else {
            Found::read(&reader).await?
        };
        let packs = found.catalog.packs();
        if !is_shared {
            let named: HashSet<FileId> = packs.keys().copied().collect();
            delete_orphans(&reader.store, &named, found.newest).await?;
        }
        let commits = Commits {
            number_next: found.number_next(),
            epoch: found.epoch,
            superseded: found.superseded,
            conflict: None,
            unsure: Vec::new(),
        };
        let memory = Memory::new(Arc::new(found.catalog));
        let inner = Inner {
            clock,
            rng,
            limits,
            reader,
            latest: Arc::clone(&memory.latest),
            memory: RwLock::new(memory),
            commits: tokio::sync::Mutex::new(commits),
            compaction: tokio::sync::Mutex::new(()),
            packs: Mutex::new(packs.into_values().collect()),
            query_memory: Arc::new(Pool::new(limits.queries_memory_bytes_max)),
            room: Notify::new(),
            room_queues: RoomQueues::default(),
            taken: Mutex::new(Taken::default()),
            expiry_checked: Mutex::new(None),
            hurry: Hurry::default(),
            units: RwLock::new(None),
            kept_by_days: RwLock::new(None),
            resting: Mutex::default(),
        };
        let engine = Self { inner: Arc::new(inner) };
        if is_shared {
            engine.take_over().await?;
        }
        engine.restore_latest().await?;
        Ok(engine)
    }

    async fn restore_latest(&self) -> Result<(), TelemetryError> {
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let places = catalog
            .tenants
            .iter()
            .filter_map(|(tenant, entry)| Some((*tenant, entry.latest.clone()?)))
            .collect();
        self.read_latest(places).await
    }

    /// Tries again to read the latest values of tenants whose keys were out of reach.
    pub(crate) async fn retry_latest(&self) -> Result<(), TelemetryError> {
        let unread = self.inner.memory.read().latest_unread();
        self.read_latest(unread).await
    }

    async fn read_latest(
        &self,
        places: Vec<(TenantId, LatestPlace)>,
    ) -> Result<(), TelemetryError> {
        // Futures first, then the stream: a closure inside it would tie this to one lifetime.
        let reads: Vec<_> = places
            .iter()
            .map(|(tenant, place)| self.latest_unless_denied(*tenant, place))
            .collect();
        let mut tenants = stream::iter(reads).buffer_unordered(TENANTS_AT_ONCE);
        while let Some((tenant, latest)) = tenants.try_next().await? {
            let is_read = latest.as_ref().is_some_and(|latest| !latest.is_empty());
            let mut memory = self.inner.memory.write();
            memory.restore_latest(tenant, latest);
            if is_read && self.inner.reader.keys.check(tenant).is_err() {
                // The key went away while they were read: what was wiped stays so.
                memory.set_aside(tenant);
            }
        }
        Ok(())
    }

    async fn latest_unless_denied(
        &self,
        tenant: TenantId,
        place: &LatestPlace,
    ) -> Result<(TenantId, Option<Vec<(DeviceId, Latest)>>), TelemetryError> {
        match self.inner.reader.latest(tenant, place).await {
            // They are gone for ever; waiting for them would wait for ever.
            Err(TelemetryError::Keys { source: KeyError::Destroyed { .. }, .. }) => {
                Ok((tenant, Some(Vec::new())))
            }
            Err(error) if error.is_withheld() => {
                tracing::debug!(%tenant, %error, "latest values stay closed");
                Ok((tenant, None))
            }
            other => other.map(|latest| (tenant, Some(latest))),
        }
    }

    /// Takes what the log has committed, in order; queries see it when this returns. Entries that
    /// were applied or persisted before are passed by.
    pub fn apply(&self, committed: &Committed) {
        let now = self.inner.clock.monotonic();
        let mut memory = self.inner.memory.write();
        for (position, entry) in committed.iter() {
            match &entry.record {
                Record::Readings(batch) => {
                    memory.apply(position, batch, now);
                    let bytes = bytes_of(&batch.readings);
                    self.inner.taken.lock().give_back(entry.tenant, bytes);
                }
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    memory.leave_in_log(entry.tenant, position);
                }
                _ => memory.skip(position),
            }
        }
    }

    /// Asks from the next flush on which series have keys of their devices' own.
    pub fn set_units(&self, units: Arc<dyn Units>) {
        *self.inner.units.write() = Some(units);
    }

    /// Says whose readings end by days: theirs stay in sections by days, while those of everybody
    /// else are merged into months once these are over.
    pub fn keep_by_days(&self, tenants: HashSet<TenantId>) {
        *self.inner.kept_by_days.write() = Some(tenants);
    }

    /// The engine as an observer of the log.
    pub fn observer(&self) -> Box<dyn CommitObserver> {
        Box::new(Observer(self.clone()))
    }

    /// Applies what the log holds beyond the segments, flushing whenever memory fills up; call it
    /// after opening both and before anything is appended.
    #[boxed]
    pub async fn recover(&self, log: &FileLog) -> Result<(), TelemetryError> {
        let (first, next) = (log.first_position(), log.tail_position());
        let persisted = self.persisted_position();
        if first > persisted || next < persisted {
            return Err(TelemetryError::LogMismatch { first, next, persisted });
        }
        let mut bytes_before = 0;
        for chunk in log.read_from(persisted).map_err(TelemetryError::Log)? {
            let chunk = chunk.map_err(TelemetryError::Log)?;
            self.inner.memory.write().pass_to(chunk.first);
            self.apply(&chunk);
            self.inner.memory.write().pass_to(chunk.end());
            let bytes = self.inner.memory.read().bytes_flushable();
            if bytes >= self.inner.limits.flush_bytes_min {
                self.flush().await?;
                bytes_before = 0;
            } else if bytes.saturating_sub(bytes_before) >= REPLAY_BYTES_MIN {
                bytes_before = bytes;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Everything in the log before this position is in segments; the log may be cut there, and a
    /// replay starts there.
    pub fn persisted_position(&self) -> u64 {
        self.inner.memory.read().catalog.persisted_position
    }

    /// Everything of a tenant in the log before this position is in a segment, also while others'
    /// readings wait for their keys. After a restart the log gives back what is at or behind
    /// [`Self::persisted_position`].
    pub fn persisted_position_of(&self, tenant: TenantId) -> u64 {
        self.inner.memory.read().stored_to(tenant)
    }

    /// Everything of everybody in the log before the position answered is in segments; but for the
    /// tenants named, whose keys are or were out of reach: each needs the log from a position of
    /// its own on.
    pub fn log_needs(&self) -> (u64, Vec<(TenantId, u64)>) {
        self.inner.memory.read().log_needs()
    }

    /// What the engine holds.
    pub fn status(&self) -> EngineStatus {
        let memory = self.inner.memory.read();
        let sections = || memory.catalog.tenants.values().flat_map(|tenant| &tenant.sections);
        EngineStatus {
            persisted_position: memory.catalog.persisted_position,
            next_position: memory.next_position,
            memory_bytes: memory.bytes_total(),
            latest: memory.latest.size(),
            manifest: memory.catalog.number,
            sections: sections().count(),
            section_points: sections().map(|section| section.points).sum(),
            section_bytes: sections().map(|section| section.bytes()).sum(),
        }
    }

    /// Bytes that a tenant's readings take: sealed ones as they are stored, those that wait for
    /// their segment as they are in memory.
    pub fn tenant_bytes(&self, tenant: TenantId) -> u64 {
        self.inner.memory.read().bytes_of(tenant)
    }

    /// How many series the tenant's devices have.
    pub fn series_count(&self, tenant: TenantId) -> u64 {
        self.inner.memory.read().latest_size(tenant).series as u64
    }

    /// Tenants with anything stored or in memory.
    pub fn tenants(&self) -> Vec<TenantId> {
        let memory = self.inner.memory.read();
        let mut tenants: Vec<TenantId> =
            memory.catalog.tenants.keys().chain(memory.tenants.keys()).copied().collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }
}

struct Observer(Engine);

impl CommitObserver for Observer {
    fn committed(&mut self, batch: &Arc<Committed>) {
        self.0.apply(batch);
    }
}

pub(crate) async fn read_object(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<bytes::Bytes, TelemetryError> {
    let read = async { store.get(path).await?.bytes().await };
    read.await.map_err(|source| TelemetryError::store("read", path, source))
}
