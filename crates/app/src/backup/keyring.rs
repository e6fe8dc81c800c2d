//! The keyring's own backup. A copy of a keyring keeps destroyed keys alive, so copies live for a
//! published horizon only: older ones are deleted with the next, and refused by a restore.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::Action;
use veritwin_domain::{PlatformContext, Timestamp};

use super::files::{create_folder, instance_of, io};
use super::manifest::{Kind, Manifest};
use super::writer::Writer;
use super::{BackupProgress, blocking};
use crate::{App, Result};

/// How long a copy of a keyring is kept, and believed.
pub const KEYRING_HORIZON: Duration = Duration::from_secs(7 * 86_400);

const JOURNAL: &str = "keyring/keyring.journal";
/// What was destroyed on purpose: a restore carries it out again.
const SHREDS: &str = "keyring/shred.journal";
const ARCHIVE_JOURNAL: &str = "archive/keyring/keyring.journal";
const PREFIX: &str = "keyring-";

/// A copy of a keyring.
#[derive(Debug, Clone)]
pub struct KeyringSummary {
    /// Its folder.
    pub folder: PathBuf,
    /// When it was made.
    pub taken_at: Timestamp,
    /// Until when it is believed.
    pub expires_at: Timestamp,
    /// Its bytes.
    pub bytes: u64,
    /// Older copies that were deleted.
    pub deleted: u64,
}

impl App {
    /// Copies the keyring, and that of a standalone platform's ledger archive, into a folder of
    /// its own below `out`, and deletes the copies there that are past the horizon.
    #[boxed]
    pub async fn backup_keyring(
        &self,
        context: &PlatformContext,
        out: &Path,
    ) -> Result<KeyringSummary> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let (data, keys, at) = (self.0.config.data.clone(), self.0.keys.clone(), context.at);
        let out = out.to_owned();
        let name: String =
            at.to_string().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let folder = out.join(format!("{PREFIX}{name}"));
        let written = folder.clone();
        let (bytes, deleted) = blocking(move || {
            create_folder(&out)?;
            let instance = instance_of(&data.join("instance.json"))?;
            let mut writer = Writer::open(&written, Arc::new(BackupProgress::default()))?;
            writer.copy(&data, Path::new(JOURNAL))?;
            if data.join(SHREDS).exists() {
                writer.copy(&data, Path::new(SHREDS))?;
            }
            if data.join(ARCHIVE_JOURNAL).exists() {
                writer.copy(&data, Path::new(ARCHIVE_JOURNAL))?;
            }
            let manifest = Manifest::new(Kind::Keyring, instance.clone(), at);
            let written = writer.finish(manifest, &keys)?;
            Ok((written.bytes, delete_old(&out, &instance, at)?))
        })
        .await?;
        let tx = self.0.store.begin_platform(context).await?;
        self.record_platform(&tx, context, Action::SystemMaintain, None, "done").await?;
        tx.commit().await?;
        let expires_at = at.saturating_add(KEYRING_HORIZON);
        let summary = KeyringSummary { folder, taken_at: at, expires_at, bytes, deleted };
        self.note_keyring_copy(&summary).await?;
        Ok(summary)
    }
}

/// Deletes this platform's copies of before the horizon; answers how many.
fn delete_old(out: &Path, instance: &str, now: Timestamp) -> Result<u64> {
    let mut deleted = 0;
    for entry in fs::read_dir(out).map_err(io("list", out))? {
        let entry = entry.map_err(io("list", out))?;
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Some(manifest) = Manifest::read(&entry.path()).ok().filter(|_| ours) else { continue };
        let is_old = now.since(manifest.taken_at()) > KEYRING_HORIZON;
        if manifest.kind == Kind::Keyring && manifest.instance == instance && is_old {
            fs::remove_dir_all(entry.path()).map_err(io("delete", entry.path()))?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
