//! A part of P42: a platform of nobody, in a folder of its own, is backed up with a person in it,
//! erases them, and is restored from the backup of before. Nothing of them may be there. Data of
//! customers is neither copied nor restored for it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use veritwin_access::jobs;
use veritwin_domain::{CaseId, Secret};

use super::rights::{Canary, Found, wrong};
use super::sign_up::fact;
use super::{PROBE_TENANT, spent};
use crate::backup::files::{create_folder, write_whole};
use crate::backup::{BackupPlan, RestorePlan, SCRATCH, restore};
use crate::cases::erasure::Moved;
use crate::error::found;
use crate::{App, Config, Error, Result};

/// The name of the platform of nobody.
const INSTANCE: &[u8] = br#"{"instance":"scratch"}"#;
/// It writes little.
const LOG_FILE_BYTES_MAX: u64 = 1 << 20;
const MEMORY_BYTES_MAX: usize = 8 << 20;
const SPOOL_BYTES_MAX: u64 = 1 << 20;

/// Who was erased after a backup was made, and where the keyring of then is.
struct Erased {
    canary: Canary,
    case: CaseId,
    keyring: PathBuf,
}

/// Removes what an earlier check left.
fn emptied(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::Internal(format!("folder of a check: {error}")))
        }
        _ => Ok(()),
    }
}

impl App {
    /// Backs up, erases, restores and looks. Of two at a time the second could not run.
    #[boxed]
    pub(super) async fn check_restored(&self) -> Result<Found> {
        let Ok(_turn) = self.0.promises.scratch.try_lock() else {
            return Err(Error::Busy { retry_after: Duration::from_secs(60) });
        };
        let folder = self.0.config.data.join(SCRATCH);
        let remove = |folder: PathBuf| spent::blocking(move || emptied(&folder));
        let stopped = |_| Error::Internal("the check stopped".to_owned());
        remove(folder.clone()).await.map_err(stopped)??;
        // What a platform of nobody has to say of itself is no news of this one.
        let quiet = NoSubscriber::default();
        let looked = self.walk_scratch(&folder).with_subscriber(quiet).await;
        remove(folder).await.map_err(stopped)??;
        looked
    }

    #[boxed]
    async fn walk_scratch(&self, folder: &Path) -> Result<Found> {
        match self.erase_in_scratch(folder).await? {
            Ok(erased) => self.look_in_restored(folder, &erased).await,
            Err(wrong) => Ok(Err(wrong)),
        }
    }

    /// How a platform of nobody is opened: with nothing of what leads out of it.
    fn scratch_config(&self, folder: &Path, data: &str) -> Config {
        Config {
            data: folder.join(data),
            root_key_dir: folder.join("key"),
            database_url: Secret::new("sqlite:".to_owned()),
            database_owner_url: None,
            log_file_bytes_max: LOG_FILE_BYTES_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
            spool_bytes_max: SPOOL_BYTES_MAX,
            mail: None,
            sms: None,
            outbound: crate::Outbound::default(),
            acme: None,
            publish: crate::PublishConfig::default(),
            root_passphrase: None,
            key_modules: Vec::new(),
            geo_database: None,
            shipping: None,
            segments: None,
            scrub: crate::ScrubConfig { every: None, bytes_per_second: 0 },
            ..self.0.config.clone()
        }
    }

    /// Makes a platform with a person in it, backs it up, and erases the person.
    #[boxed]
    async fn erase_in_scratch(
        &self,
        folder: &Path,
    ) -> Result<std::result::Result<Erased, (String, String)>> {
        let config = self.scratch_config(folder, "before");
        create_folder(&config.data)?;
        write_whole(&config.data.join("instance.json"), INSTANCE)?;
        let scratch = Self::open(config).await?;
        let erased = scratch.back_up_and_erase(folder).await;
        scratch.close().await;
        erased
    }

    async fn back_up_and_erase(
        &self,
        folder: &Path,
    ) -> Result<std::result::Result<Erased, (String, String)>> {
        // Without a ledger no destruction of readings comes to its end: there are none.
        let canary = self.open_canary_with(false).await?;
        let plan = BackupPlan { out: folder.join("backup"), archive: false };
        self.backup(&self.local_operator(), plan).await?;
        let copy = self.backup_keyring(&self.local_operator(), &folder.join("keyrings")).await?;
        let case = self.ask_for_erasure(&canary).await?;
        while self.erasure_step(PROBE_TENANT, case).await? == Moved::On {}
        if !self.is_journaled(case)? {
            let summary = "A backup of before would bring the person back.".to_owned();
            return Ok(Err((summary, "shred journal".to_owned())));
        }
        Ok(Ok(Erased { canary, case, keyring: copy.folder }))
    }

    /// Restores the backup of before, and looks for whom was erased since.
    #[boxed]
    async fn look_in_restored(&self, folder: &Path, erased: &Erased) -> Result<Found> {
        let config = self.scratch_config(folder, "after");
        let plan = RestorePlan {
            source: folder.join("backup"),
            keyring: erased.keyring.clone(),
            revoke_keys: false,
            moment: None,
        };
        let summary = restore(&config, plan, Arc::default()).await?;
        let restored = Self::open(config).await?;
        let looked = restored.traces_in_restored(erased).await;
        restored.close().await;
        if let Some((what, place)) = looked? {
            return Ok(wrong(&format!("After a restore: {what}"), &place));
        }
        Ok(Ok(vec![fact("rows of the backup that was restored", &summary.rows.to_string())]))
    }

    async fn traces_in_restored(&self, erased: &Erased) -> Result<Option<(&'static str, String)>> {
        let context = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let tx = self.0.store.read(&context).await?;
        let is_known = found(tx.case(erased.case).await)?.is_some();
        drop(tx);
        if !is_known {
            let place = "shred journal".to_owned();
            return Ok(Some(("an erasure was not carried out again.", place)));
        }
        self.traces_of(&erased.canary).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promises::tests::platform;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_was_erased_is_in_no_restored_backup_because_of_the_journal() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        let facts = app.check_restored().await.expect("a check").expect("nothing is found");
        assert!(facts[0].1.parse::<u64>().expect("rows") > 0);
        let folder = app.0.config.data.join(SCRATCH);
        assert!(!folder.exists(), "nothing is left behind");
        // Without the line that no backup reaches, the person is back, and the check says so.
        let erased = app.erase_in_scratch(&folder).await.expect("a platform").expect("erased");
        for entry in std::fs::read_dir(folder.join("key")).expect("the keys") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "journal") {
                std::fs::remove_file(path).expect("removed");
            }
        }
        let looked = app.look_in_restored(&folder, &erased).await.expect("a restore");
        let (summary, place) = looked.expect_err("they are back");
        assert!(summary.starts_with("After a restore: "), "{summary}");
        assert_eq!(place, "shred journal");
        app.close().await;
    }
}
