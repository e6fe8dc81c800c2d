//! Work for `veritwin bench`: a store of its own with real keys, a real log and real segments on
//! disk. The caller states the machine. Not used by the product's own paths.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use object_store::local::LocalFileSystem;
use veritwin_domain::{Clock, DeviceBatch, Rng, TenantId};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_log::{Entry, FileLog, LogConfig};

use crate::{Engine, EngineConfig, Room};

/// Whatever went wrong while measuring.
pub type MeasureError = Box<dyn std::error::Error + Send + Sync>;

/// An engine behind a log, in a directory of its own.
#[derive(Debug)]
pub struct MeasuredStore {
    /// The engine.
    pub engine: Engine,
    /// The tenants that exist.
    pub tenants: Vec<TenantId>,
    log: FileLog,
    place: Place,
}

/// What outlives the engine.
#[derive(Debug, Clone)]
struct Place {
    directory: PathBuf,
    keys: KeyService,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Place {
    fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }
}

impl MeasuredStore {
    /// Makes a store with `tenants` tenants in an empty directory.
    #[boxed]
    pub async fn open(
        directory: &Path,
        tenants: usize,
        (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
    ) -> Result<Self, MeasureError> {
        let root = PlatformFile::open_or_create(&directory.join("root.key"), Arc::clone(&rng))?;
        let ring = directory.join("keyring");
        let keys = KeyService::open(Box::new(root), &ring, Arc::clone(&clock), Arc::clone(&rng))?;
        let tenants: Vec<TenantId> =
            (0..tenants).map(|_| TenantId::generate(clock.now(), rng.as_ref())).collect();
        for tenant in &tenants {
            keys.create_tenant(*tenant)?;
        }
        let place = Place { directory: directory.to_owned(), keys, clock, rng };
        std::fs::create_dir(place.objects())?;
        Self::start(place, tenants).await
    }

    async fn start(place: Place, tenants: Vec<TenantId>) -> Result<Self, MeasureError> {
        let Place { directory, keys, clock, rng } = place.clone();
        let store = LocalFileSystem::new_with_prefix(place.objects())?.with_fsync(true);
        let config =
            EngineConfig::new(Arc::new(store), keys.clone(), Arc::clone(&clock), Arc::clone(&rng));
        let engine = Engine::open(config).await?;
        let log = LogConfig::new(directory.join("log"), keys, clock, rng);
        let log = FileLog::open(log, vec![engine.observer()])?;
        engine.recover(&log).await?;
        Ok(Self { engine, tenants, log, place })
    }

    /// The same store after a restart: nothing is cached, only the system's own cache of files is
    /// as it was.
    #[boxed]
    pub async fn reopened(self) -> Result<Self, MeasureError> {
        let Self { engine, tenants, log, place } = self;
        log.close();
        drop((engine, log));
        Self::start(place, tenants).await
    }

    /// Appends batches to the log, durable and sealed; queries see them when this returns. Memory
    /// that has filled up is written to segments on the way, as in a running platform.
    #[boxed]
    pub async fn ingest(&self, batches: Vec<DeviceBatch>) -> Result<(), MeasureError> {
        let mut rooms = Vec::with_capacity(batches.len());
        for batch in &batches {
            rooms.push(self.engine.room(batch.tenant, &[&batch.readings]).await);
        }
        self.log.append(batches.into_iter().map(Entry::from).collect()).await?;
        rooms.into_iter().for_each(Room::filled);
        if self.engine.flush_if_due().await? {
            self.log.truncate_before(self.engine.persisted_position())?;
        }
        Ok(())
    }

    /// Writes everything to segments and merges them until nothing is left to merge.
    #[boxed]
    pub async fn settle(&self) -> Result<(), MeasureError> {
        self.engine.flush().await?;
        while self.engine.maintain().await?.compactions > 0 {}
        self.log.truncate_before(self.engine.persisted_position())?;
        Ok(())
    }

    /// Bytes of all sealed objects on disk, index and manifest included.
    pub fn object_bytes(&self) -> std::io::Result<u64> {
        bytes_below(&self.place.objects())
    }
}

/// Bytes of all files below a directory.
fn bytes_below(directory: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() { bytes_below(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}
