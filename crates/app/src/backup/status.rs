//! When the platform and its keyring were last backed up, and how far the shipped log is.

use std::path::PathBuf;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::Action;
use veritwin_domain::{PlatformContext, Timestamp};

use super::files::{read_small, write_whole};
use super::{BackupSummary, KEYRING_HORIZON, KeyringSummary, blocking};
use crate::{App, Error, Result, ShipStatus};

/// Where the last backups are noted.
pub(crate) const FILE: &str = "backups.json";

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    folder: PathBuf,
    taken_at_us: i64,
    bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Notes {
    platform: Option<Noted>,
    keyring: Option<Noted>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    /// Its folder, as it was named.
    pub folder: PathBuf,
    /// The moment of its cut.
    pub taken_at: Timestamp,
    /// Its bytes.
    pub bytes: u64,
}

/// What there is to go back to.
#[derive(Debug, Clone, Default)]
pub struct BackupStatus {
    /// The newest backup.
    pub platform: Option<BackupMade>,
    /// The newest copy of the keyring, and until when a restore takes it.
    pub keyring: Option<(BackupMade, Timestamp)>,
    /// The shipped log.
    pub shipping: ShipStatus,
}

impl App {
    /// What there is to go back to. For whoever holds the data directory.
    #[boxed]
    pub async fn backup_status(&self, context: &PlatformContext) -> Result<BackupStatus> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        self.own_backup_status().await
    }

    /// The same for the platform's own pages and gauges.
    pub(crate) async fn own_backup_status(&self) -> Result<BackupStatus> {
        let notes = self.backup_notes().await?;
        let made = |noted: Noted| BackupMade {
            folder: noted.folder,
            taken_at: Timestamp::from_micros(noted.taken_at_us),
            bytes: noted.bytes,
        };
        let keyring = notes.keyring.map(made).map(|made| {
            let until = made.taken_at.saturating_add(KEYRING_HORIZON);
            (made, until)
        });
        let platform = notes.platform.map(made);
        Ok(BackupStatus { platform, keyring, shipping: self.ship_status() })
    }

    /// When the newest backup was made.
    pub(crate) async fn last_backup_at(&self) -> Result<Option<Timestamp>> {
        let newest = self.backup_notes().await?.platform;
        Ok(newest.map(|noted| Timestamp::from_micros(noted.taken_at_us)))
    }

    pub(super) async fn note_backup(&self, made: &BackupSummary) -> Result<()> {
        let noted = Noted {
            folder: made.out.clone(),
            taken_at_us: made.taken_at.as_micros(),
            bytes: made.bytes,
        };
        self.note_made(move |notes| notes.platform = Some(noted)).await?;
        self.0.upkeep.ships.backed_up(made.taken_at);
        Ok(())
    }

    pub(super) async fn note_keyring_copy(&self, made: &KeyringSummary) -> Result<()> {
        let noted = Noted {
            folder: made.folder.clone(),
            taken_at_us: made.taken_at.as_micros(),
            bytes: made.bytes,
        };
        self.note_made(move |notes| notes.keyring = Some(noted)).await
    }

    async fn backup_notes(&self) -> Result<Notes> {
        let path = self.0.config.data.join(FILE);
        blocking(move || {
            if !path.exists() {
                return Ok(Notes::default());
            }
            // It only informs: one that does not read is as good as none.
            Ok(serde_json::from_slice(&read_small(&path)?).unwrap_or_default())
        })
        .await
    }

    async fn note_made(&self, change: impl FnOnce(&mut Notes) + Send) -> Result<()> {
        let mut notes = self.backup_notes().await?;
        change(&mut notes);
        let bytes =
            serde_json::to_vec_pretty(&notes).map_err(|e| Error::Internal(e.to_string()))?;
        let path = self.0.config.data.join(FILE);
        blocking(move || write_whole(&path, &bytes)).await
    }
}
