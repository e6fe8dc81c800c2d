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

use super::files::{create_folder, digest, io, sync_file_system, sync_folder};
use super::keyring::KEYRING_HORIZON;
use super::manifest::{Kind, Manifest};
use super::review::{AccessReview, end_access};
use super::verify::{each_file, verify};
use super::writer::DATA;
use super::{BackupProgress, RECORDS, blocking};
use crate::lineage::Lineage;
use crate::open::database;
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
    let (checked, watched) = (plan.clone(), Arc::clone(&progress));
    let manifest = blocking(move || check(&checked, now, &watched)).await?;
    let staging = data.join(RESTORING);
    let staged = stage(config, &plan, &staging, &manifest).await;
    let (rows, access) = match staged {
        Ok(staged) => staged,
        Err(error) => {
            // What was begun is of no use; the reason counts.
            let _ = fs::remove_dir_all(&staging);
            return Err(error);
        }
    };
    blocking(move || publish(&data, &staging)).await?;
    Ok(RestoreSummary {
        taken_at: manifest.taken_at(),
        files: manifest.files,
        bytes: manifest.bytes,
        rows,
        archive_copied: manifest.archive_copied,
        access,
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

async fn stage(
    config: &Config,
    plan: &RestorePlan,
    staging: &Path,
    manifest: &Manifest,
) -> Result<(u64, AccessReview)> {
    create_folder(staging)?;
    copy_files(&plan.keyring, staging)?;
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let root = crate::root_key::open_root(config, &rng, true)?;
    let keys = KeyService::open(
        root,
        &staging.join("keyring"),
        Arc::clone(&config.clock),
        Arc::new(SystemRng),
    )?;
    manifest.authenticate(&keys)?;
    Manifest::read(&plan.keyring)?.authenticate(&keys)?;
    let (source, target) = (plan.source.clone(), staging.to_owned());
    blocking(move || copy_files(&source, &target)).await?;
    let instance = super::files::instance_of(&staging.join(IDENTITY))?;
    if instance != manifest.instance {
        let detail = format!("names platform {instance}, not {}", manifest.instance);
        return Err(Error::invalid_at(IDENTITY, detail));
    }
    let records = veritwin_metastore::Config {
        database: database(&Config { data: staging.to_owned(), ..config.clone() })?,
        connections_max: 2,
        keys: keys.clone(),
        clock: Arc::clone(&config.clock),
    };
    let path = plan.source.join(RECORDS);
    let mut copy = tokio::fs::File::open(&path).await.map_err(io("read", &path))?;
    let imported = veritwin_metastore::import(&records, config.clock.now(), &mut copy).await?;
    if imported.rows != manifest.rows || imported.schema != manifest.schema {
        let detail = format!("holds {} rows, expected {}", imported.rows, manifest.rows);
        return Err(Error::invalid_at(RECORDS, detail));
    }
    let store = veritwin_metastore::Metastore::open(records).await?;
    let asked = (manifest.taken_at(), plan.revoke_keys);
    let access = end_access(&store, &config.clock, asked).await;
    store.close().await?;
    Lineage::note_restore(staging, config.clock.now())?;
    Ok((imported.rows, access?))
}

/// Copies the files of a verified backup, checking again what is written.
fn copy_files(source: &Path, staging: &Path) -> Result<()> {
    each_file(source, |listed| {
        let Some(name) = listed.path.strip_prefix(DATA).and_then(|rest| rest.strip_prefix('/'))
        else {
            return Ok(());
        };
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
