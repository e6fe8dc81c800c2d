//! Backup of a platform while it runs, and of its keyring, which has a backup of its own with a
//! published horizon. One cut: segments pinned, then records, then the log, then the ledger
//! archive, so that each later part holds at least what the earlier ones refer to.

pub(crate) mod files;
mod keyring;
mod manifest;
mod moment;
mod restore;
mod review;
mod segments;
mod status;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_recursion::async_recursion as boxed;
use object_store::ObjectStore;
use parking_lot::Mutex;
use veritwin_access::{Action, jobs};
use veritwin_domain::{PlatformContext, Timestamp};
use veritwin_keys::KeyService;
use veritwin_metastore::{DumpSummary, Metastore, Upgrade};
use veritwin_telemetry::Engine;

use crate::backup::files::{create_private, instance_of, io, plain_files};
use crate::backup::manifest::{Kind, Manifest};
use crate::backup::writer::Writer;
use crate::segments::{SEGMENTS, open_segments};
use crate::shipping::pace::Pace;
use crate::{App, Config, Error, Result};

pub use keyring::{KEYRING_HORIZON, KeyringSummary};
pub use moment::{Moment, MomentSummary};
pub use restore::{RestorePlan, RestoreSummary, backup_instance, restore};
pub use review::{AccessReview, RestoredKey, RestoredTenant};
pub use status::{BackupMade, BackupStatus};

/// The copy of the records in a backup.
const RECORDS: &str = "records.copy";
/// The folder of the data directory that automatic backups go to; never backed up itself.
pub(crate) const BACKUPS: &str = "backups";
/// The folder of the data directory in which a check of the promises restores a platform of nobody.
pub(crate) const SCRATCH: &str = "scratch";
/// Entries of a data directory that are not copied as they stand: they are copied in their own
/// way, excluded on purpose, or mean nothing elsewhere.
const OWN_WAY: [&str; 18] = [
    "archive",
    BACKUPS,
    status::FILE,
    "control.sock",
    "keyring",
    "lock",
    "log",
    "objects",
    "records.db",
    "records.db-journal",
    "records.db-shm",
    "records.db-wal",
    "restoring",
    "run.json",
    SCRATCH,
    crate::scrub::FILE,
    crate::shipping::COPY,
    crate::shipping::FILE,
];

/// What to back up, and where to.
#[derive(Debug, Clone)]
pub struct BackupPlan {
    /// A new folder; its name with `.partial` behind it holds what is unfinished.
    pub out: PathBuf,
    /// Copies the ledger archive of a standalone platform too.
    pub archive: bool,
}

/// What a backup holds.
#[derive(Debug, Clone)]
pub struct BackupSummary {
    /// Where it is.
    pub out: PathBuf,
    /// The moment of its cut.
    pub taken_at: Timestamp,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that an earlier attempt had copied.
    pub resumed_files: u64,
    /// Rows of the records.
    pub rows: u64,
    /// The log's end at the cut; unknown of a platform that was not open.
    pub log_position: Option<u64>,
}

/// How far a backup is.
#[derive(Debug, Default)]
pub struct BackupProgress {
    running: AtomicBool,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    pace: Mutex<Pace>,
}

impl BackupProgress {
    /// Whether one is being made, bytes done, and bytes in all as far as they are known.
    pub fn get(&self) -> (bool, u64, u64) {
        let done = self.bytes_done.load(Ordering::Relaxed);
        let total = self.bytes_total.load(Ordering::Relaxed).max(done);
        (self.running.load(Ordering::Relaxed), done, total)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expect(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was written is read back at the same pace, and counts as nothing more.
    fn read_back(&self) -> Self {
        Self { pace: Mutex::new(*self.pace.lock()), ..Self::default() }
    }

    /// Waits as long as reading so many bytes may take.
    fn pace(&self, bytes: u64) {
        self.pace.lock().wait_here(bytes);
    }

    fn begin(&self, bytes_per_second: u64) {
        *self.pace.lock() = Pace::new(bytes_per_second);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.bytes_total.store(0, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
    }
}

/// What waits while a backup reads: the log is not cut and no object deleted.
#[derive(Debug, Default)]
pub(crate) struct BackupHold {
    one: tokio::sync::Mutex<()>,
    /// Taken to cut or thin the log. A backup reads one file after the other: of two files the
    /// newer must not be thin where the older was whole.
    pub(crate) cutting: tokio::sync::Mutex<()>,
    deletions: Mutex<Vec<String>>,
    pub(crate) progress: Arc<BackupProgress>,
}

impl BackupHold {
    /// Whether a backup reads now.
    pub(crate) fn is_on(&self) -> bool {
        self.progress.running.load(Ordering::SeqCst)
    }

    /// Keeps objects until the backup is done; false when none is being made.
    pub(crate) fn put_off(&self, paths: &[String]) -> bool {
        let mut deletions = self.deletions.lock();
        let held = self.is_on();
        if held {
            deletions.extend_from_slice(paths);
        }
        held
    }
}

struct Held<'a>(&'a BackupHold);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.progress.running.store(false, Ordering::SeqCst);
    }
}

/// Where the rows come from.
pub(crate) enum Records<'a> {
    /// A platform that is open.
    Open(&'a Metastore, &'a PlatformContext),
    /// A database that no build works with yet.
    Found(&'a Upgrade),
}

/// What a backup reads.
pub(crate) struct Cut<'a> {
    pub(crate) config: &'a Config,
    pub(crate) keys: &'a KeyService,
    pub(crate) records: Records<'a>,
    /// The engine that writes segments meanwhile; none when nobody does.
    pub(crate) engine: Option<&'a Engine>,
    /// The bucket that segments are in; none where they are in the data directory.
    pub(crate) segments: Option<Arc<dyn ObjectStore>>,
    pub(crate) log_tail: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    pub(crate) at: Timestamp,
    pub(crate) progress: Arc<BackupProgress>,
}

impl App {
    /// Backs the platform up while it runs, and reads back what was written. The keyring is not
    /// in it: see [`App::backup_keyring`].
    #[boxed]
    pub async fn backup(
        &self,
        context: &PlatformContext,
        plan: BackupPlan,
    ) -> Result<BackupSummary> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let hold = &self.0.upkeep.backup;
        let Ok(_one) = hold.one.try_lock() else {
            return Err(Error::Conflict("another backup is being made".to_owned()));
        };
        self.make_submitters().await?;
        hold.progress.begin(self.0.config.disk_bytes_per_second);
        let held = Held(hold);
        // What was being cut is done, and from now on nothing is.
        drop(hold.cutting.lock().await);
        let log = self.0.log.clone();
        let cut = Cut {
            config: &self.0.config,
            keys: &self.0.keys,
            records: Records::Open(&self.0.store, context),
            engine: Some(&self.0.engine),
            segments: open_segments(&self.0.config, &self.0.egress)?,
            log_tail: Some(Box::new(move || log.tail_position())),
            at: context.at,
            progress: Arc::clone(&hold.progress),
        };
        let outcome = cut.take(plan).await;
        drop(held);
        let put_off = std::mem::take(&mut *hold.deletions.lock());
        self.delete_objects(put_off).await;
        let summary = outcome?;
        self.note_backup(&summary).await?;
        let tx = self.0.store.begin_platform(context).await?;
        self.record_platform(&tx, context, Action::SystemMaintain, None, "done").await?;
        tx.commit().await?;
        Ok(summary)
    }

    /// How far the backup is that is being made.
    pub fn backup_progress(&self) -> (bool, u64, u64) {
        self.0.upkeep.backup.progress.get()
    }

    /// Each tenant has the key that signs its leaves before the cut, so that a restored platform
    /// goes on with the same one.
    async fn make_submitters(&self) -> Result<()> {
        for tenant in self.all_tenants(&self.job(jobs::LEDGER)).await? {
            match self.submitter_key(tenant.id).await {
                // A tenant whose key is withdrawn has nothing to seal.
                Ok(_) => {}
                Err(error) if error.is_withheld() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Cut<'_> {
    /// Copies everything into the plan's folder.
    pub(crate) async fn take(&self, plan: BackupPlan) -> Result<BackupSummary> {
        let data = &self.config.data;
        let instance = instance_of(&data.join("instance.json"))?;
        let out = plan.out.clone();
        let progress = Arc::clone(&self.progress);
        let mut writer = blocking(move || Writer::open(&out, progress)).await?;
        let pinned = match self.engine {
            Some(engine) => Some(engine.pin().await?),
            None => None,
        };
        let records = self.copy_records(&writer.path(RECORDS)).await?;
        let log_position = self.log_tail.as_ref().map(|tail| tail());
        let cut_at = self.config.clock.now();
        let mut list = plain_files(data, Path::new("log"))?;
        let objects = Path::new("objects");
        match &pinned {
            None => list.extend(plain_files(data, objects)?),
            Some(pinned) => {
                list.extend(plain_files(data, &objects.join("twins"))?);
                if self.segments.is_none() {
                    let segments = Path::new(SEGMENTS);
                    list.extend(pinned.packs.iter().map(|path| segments.join(path)));
                }
            }
        }
        if let Some(store) = &self.segments {
            writer = segments::copy(store, pinned.as_ref(), writer).await?;
        }
        let (root, archive) = (data.clone(), plan.archive);
        let manifest_object = pinned.as_ref().and_then(|pinned| pinned.manifest.clone());
        let writer = blocking(move || {
            writer.note_file(RECORDS)?;
            if archive {
                writer.copy_archive(&root)?;
            }
            writer.expect(&root, &list);
            for path in &list {
                writer.copy(&root, path)?;
            }
            if let Some((path, bytes)) = manifest_object {
                writer.put(&Path::new(SEGMENTS).join(path), &bytes)?;
            }
            for path in top_level(&root)? {
                writer.copy(&root, &path)?;
            }
            Ok(writer)
        })
        .await?;
        drop(pinned);
        let mut manifest = Manifest::new(Kind::Platform, instance, self.at);
        manifest.set_cut_at(cut_at);
        manifest.schema = records.schema;
        manifest.rows = records.rows;
        manifest.log_position = log_position;
        manifest.archive_copied = plan.archive;
        let keys = self.keys.clone();
        let written = blocking(move || writer.finish(manifest, &keys)).await?;
        Ok(BackupSummary {
            out: plan.out,
            taken_at: self.at,
            files: written.files,
            bytes: written.bytes,
            resumed_files: written.resumed_files,
            rows: records.rows,
            log_position,
        })
    }

    async fn copy_records(&self, path: &Path) -> Result<DumpSummary> {
        let mut file = tokio::fs::File::from_std(create_private(path)?);
        let copied = match &self.records {
            Records::Open(store, context) => store.export(context, &mut file).await,
            Records::Found(upgrade) => upgrade.export(self.at, &mut file).await,
        };
        file.sync_all().await.map_err(io("make durable", path))?;
        Ok(copied?)
    }
}

/// Files of the data directory that are copied as they stand.
fn top_level(data: &Path) -> Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(data).map_err(io("list", data))? {
        let name = entry.map_err(io("list", data))?.file_name();
        if OWN_WAY.iter().all(|own| *own != name) {
            list.extend(plain_files(data, Path::new(&name))?);
        }
    }
    Ok(list)
}

/// Runs work that waits for the disk away from the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Internal("the backup stopped".to_owned()))?
}
