//! Restores a backup into an empty directory, offline. Everything is verified before anything is
//! written; the directory becomes a platform with its last file only, so that whatever cuts a
//! restore off leaves nothing that would start. What lets somebody in without asking again is ended
//! before that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Rng, Timestamp};
use veritwin_keys::{KeyService, SystemRng};
use veritwin_metastore::Metastore;

use super::files::{create_folder, digest, io, sync_file_system, sync_folder};
use super::keyring::KEYRING_HORIZON;
use super::manifest::{Kind, Manifest};
use super::moment::{Base, Moment, MomentSummary, RecordsCopy};
use super::review::{AccessReview, end_access};
use super::verify::{each_file, verify};
use super::writer::DATA;
use super::{BackupProgress, RECORDS, blocking};
use crate::lineage::Lineage;
use crate::open::database;
use crate::segments::open_segments;
use crate::shred_journal::ShredJournal;
use crate::{Config, Error, Result};

const RESTORING: &str = "restoring";
const IDENTITY: &str = "instance.json";

/// What to restore.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// A platform's backup.
    pub source: PathBuf,
    /// A keyring's backup, made after it.
    pub keyring: PathBuf,
    /// Revokes every API key: what was revoked since the backup does not work again.
    pub revoke_keys: bool,
    /// The moment to bring it to; none: as the backup is.
    pub moment: Option<Moment>,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct RestoreSummary {
    /// The moment the platform is back at.
    pub taken_at: Timestamp,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of the records.
    pub rows: u64,
    /// Whether the ledger archive came with it; else its folder has to be put in place.
    pub archive_copied: bool,
    /// What was ended, and what is in force again.
    pub access: AccessReview,
    /// The moment it was brought to.
    pub moment: Option<MomentSummary>,
}

/// The platform that a backup was taken from.
pub fn backup_instance(source: &Path) -> Result<String> {
    Ok(Manifest::read(source)?.instance)
}

/// Restores into the data directory of `config`, which the caller has checked to be nobody's.
#[boxed]
pub async fn restore(
    config: &Config,
    plan: RestorePlan,
    progress: Arc<BackupProgress>,
) -> Result<RestoreSummary> {
    let data = config.data.clone();
    refuse_occupied(&data)?;
    let now = config.clock.now();
    let segments = open_segments(config, &Arc::default())?;
    if let Some(store) = &segments {
        super::segments::refuse_used(store).await?;
    }
    let (checked, watched) = (plan.clone(), Arc::clone(&progress));
    let manifest = blocking(move || check(&checked, now, &watched)).await?;
    let staging = data.join(RESTORING);
    let staged = match stage(config, &plan, &staging, &manifest).await {
        Ok(staged) => match &segments {
            Some(store) => super::segments::put_back(store, &staging).await.map(|()| staged),
            None => Ok(staged),
        },
        Err(error) => Err(error),
    };
    let staged = match staged {
        Ok(staged) => staged,
        Err(error) => {
            // What was begun is of no use; the reason counts.
            let _ = fs::remove_dir_all(&staging);
            return Err(error);
        }
    };
    blocking(move || publish(&data, &staging)).await?;
    Ok(RestoreSummary {
        taken_at: staged.back_at,
        files: manifest.files,
        bytes: manifest.bytes,
        rows: staged.rows,
        archive_copied: takes_archive(&plan, &manifest),
        access: staged.access,
        moment: staged.moment,
    })
}

/// A directory is taken when it is absent, empty, or holds a restore that was cut off.
fn refuse_occupied(data: &Path) -> Result<()> {
    create_folder(data)?;
    let shown = || data.display().to_string();
    let mut names = Vec::new();
    for entry in fs::read_dir(data).map_err(io("list", data))? {
        names.push(entry.map_err(io("list", data))?.file_name());
    }
    let unfinished = names.iter().any(|name| name == RESTORING);
    if names.iter().any(|name| name == IDENTITY) {
        return Err(Error::invalid_at(shown(), "holds a platform: name an empty directory"));
    }
    for name in names.iter().filter(|name| *name != "lock") {
        if !unfinished {
            let detail = format!("is not empty (it holds {}): name an empty one", name.display());
            return Err(Error::invalid_at(shown(), detail));
        }
        let path = data.join(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(io("remove what a restore left at", &path))?;
    }
    Ok(())
}

/// Verifies both backups and that they belong together.
fn check(plan: &RestorePlan, now: Timestamp, progress: &BackupProgress) -> Result<Manifest> {
    let platform = verify(&plan.source, progress)?;
    let keyring = verify(&plan.keyring, progress)?;
    let refuse =
        |path: &Path, detail: String| Err(Error::invalid_at(path.display().to_string(), detail));
    if platform.kind != Kind::Platform {
        return refuse(&plan.source, "is not a platform's backup".to_owned());
    }
    if keyring.kind != Kind::Keyring {
        return refuse(&plan.keyring, "is not a keyring's backup".to_owned());
    }
    if platform.instance != keyring.instance {
        let detail = format!("is of platform {}, not {}", keyring.instance, platform.instance);
        return refuse(&plan.keyring, detail);
    }
    if keyring.taken_at() < platform.taken_at() {
        return refuse(
            &plan.keyring,
            format!(
                "was made at {}, before the backup's cut at {}: keys made in between are not in it",
                keyring.taken_at(),
                platform.taken_at()
            ),
        );
    }
    if now.since(keyring.taken_at()) > KEYRING_HORIZON {
        return refuse(
            &plan.keyring,
            format!(
                "was made at {}, more than 7 days ago: it may hold keys that were destroyed since",
                keyring.taken_at()
            ),
        );
    }
    Ok(platform)
}

/// Whether the ledger archive of the backup is restored: beside records of a later moment it would
/// be an archive that went back.
fn takes_archive(plan: &RestorePlan, manifest: &Manifest) -> bool {
    let keeps_records = plan.moment.as_ref().is_none_or(|moment| moment.records_of_base);
    manifest.archive_copied && keeps_records
}

/// What stands in the staging folder.
struct Staged {
    rows: u64,
    access: AccessReview,
    /// The moment the platform is back at.
    back_at: Timestamp,
    moment: Option<MomentSummary>,
}

async fn stage(
    config: &Config,
    plan: &RestorePlan,
    staging: &Path,
    manifest: &Manifest,
) -> Result<Staged> {
    create_folder(staging)?;
    copy_files(&plan.keyring, staging, |_| true)?;
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let root = crate::root_key::open_root(config, &rng, true)?;
    let keys = KeyService::open(
        root,
        &staging.join("keyring"),
        Arc::clone(&config.clock),
        Arc::new(SystemRng),
    )?;
    manifest.authenticate(&keys)?;
    let keyring = Manifest::read(&plan.keyring)?;
    keyring.authenticate(&keys)?;
    let (source, target) = (plan.source.clone(), staging.to_owned());
    let with_archive = takes_archive(plan, manifest);
    let wanted = move |name: &str| with_archive || !name.starts_with("archive/");
    blocking(move || copy_files(&source, &target, wanted)).await?;
    let instance = super::files::instance_of(&staging.join(IDENTITY))?;
    if instance != manifest.instance {
        let detail = format!("names platform {instance}, not {}", manifest.instance);
        return Err(Error::invalid_at(IDENTITY, detail));
    }
    let mut copy = RecordsCopy::of_base(plan.source.join(RECORDS), manifest);
    let mut moment = None;
    if let Some(wanted) = &plan.moment {
        let base = Base { staging, keys: &keys, manifest, keyring_at: keyring.taken_at() };
        let brought = base.bring_to(wanted, copy).await?;
        copy = brought.0;
        moment = Some(brought.1);
    }
    let store = import_records(config, staging, &keys, &copy).await?;
    let back_at = moment.map_or(manifest.taken_at(), |moment| moment.at);
    // Records may be of before the moment: what ended in between is in force again.
    let restored = Restored { config, staging, keys: &keys, store: &store, back_at: copy.at };
    let access = restored.make_ready(plan.revoke_keys).await;
    store.close().await?;
    Ok(Staged { rows: copy.rows, access: access?, back_at, moment })
}

/// Fills a new database with a copy of the records.
async fn import_records(
    config: &Config,
    staging: &Path,
    keys: &KeyService,
    copy: &RecordsCopy,
) -> Result<Metastore> {
    let records = veritwin_metastore::Config {
        database: database(&Config { data: staging.to_owned(), ..config.clone() })?,
        connections_max: 2,
        keys: keys.clone(),
        clock: Arc::clone(&config.clock),
    };
    let path = &copy.path;
    let mut file = tokio::fs::File::open(path).await.map_err(io("read", path))?;
    let imported = veritwin_metastore::import(&records, config.clock.now(), &mut file).await?;
    if imported.rows != copy.rows || imported.schema != copy.schema {
        let detail = format!("holds {} rows, expected {}", imported.rows, copy.rows);
        return Err(Error::invalid_at(path.display().to_string(), detail));
    }
    drop(file);
    if path.starts_with(staging) {
        fs::remove_file(path).map_err(io("remove", path))?;
    }
    Ok(Metastore::open(records).await?)
}

/// A restored platform that nothing can start on yet: its identity is not in place.
struct Restored<'a> {
    config: &'a Config,
    staging: &'a Path,
    keys: &'a KeyService,
    store: &'a Metastore,
    /// The moment its records are of.
    back_at: Timestamp,
}

impl Restored<'_> {
    /// Everything that has to be true before a listener may open on restored data happens here,
    /// and nowhere else: access that ended stays ended, the log's positions count anew, and the
    /// shred journal has every line of each of its copies, or nothing starts. Opening carries out
    /// again what it says of what came back with the files, before anybody is listened to.
    async fn make_ready(&self, revoke_keys: bool) -> Result<AccessReview> {
        let asked = (self.back_at, revoke_keys);
        let access = end_access(self.store, &self.config.clock, asked).await?;
        let (data, keys) = (self.staging.to_owned(), self.keys.clone());
        let root_key_dir = self.config.root_key_dir.clone();
        blocking(move || ShredJournal::open(&data, &root_key_dir, &keys).map(drop)).await?;
        Lineage::note_restore(self.staging, self.config.clock.now())?;
        Ok(access)
    }
}

/// Copies the wanted files of a verified backup, checking again what is written.
fn copy_files(source: &Path, staging: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    each_file(source, |listed| {
        let Some(name) = listed.path.strip_prefix(DATA).and_then(|rest| rest.strip_prefix('/'))
        else {
            return Ok(());
        };
        if !wanted(name) {
            return Ok(());
        }
        let (from, to) = (source.join(&listed.path), staging.join(name));
        if let Some(folder) = to.parent() {
            create_folder(folder)?;
        }
        fs::copy(&from, &to).map_err(io("write", &to))?;
        let (hash, _) = digest(&to)?;
        if hex::encode(hash) != listed.sha256 {
            let detail = "changed while it was restored";
            return Err(Error::invalid_at(from.display().to_string(), detail));
        }
        Ok(())
    })?;
    sync_file_system(staging)
}

/// Moves everything into place; the identity, without which nothing starts, comes last.
fn publish(data: &Path, staging: &Path) -> Result<()> {
    sync_file_system(staging)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(staging).map_err(io("list", staging))? {
        names.push(entry.map_err(io("list", staging))?.file_name());
    }
    names.sort_by_key(|name| name == IDENTITY);
    for name in names {
        let target = data.join(&name);
        fs::rename(staging.join(&name), &target).map_err(io("put into place", &target))?;
        sync_folder(data)?;
    }
    fs::remove_dir(staging).map_err(io("remove", staging))?;
    sync_folder(data)
}
