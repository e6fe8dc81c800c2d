//! The schema of a platform that is not open: what it lacks, the automatic backup before it
//! changes, and the change, step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Rng, Secret};
use veritwin_keys::{KeyService, SystemRng};
use veritwin_metastore::{PendingStep, Upgrade, WallGap};

use crate::backup::{BACKUPS, BackupPlan, BackupProgress, BackupSummary, Cut, Records};
use crate::open::{database, database_at, open_keys};
use crate::segments::open_segments;
use crate::{Config, Result};

/// The records of a platform that is not open.
pub struct SchemaUpgrade {
    config: Config,
    keys: KeyService,
    upgrade: Upgrade,
}

impl std::fmt::Debug for SchemaUpgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SchemaUpgrade").field(&self.upgrade).finish()
    }
}

impl SchemaUpgrade {
    /// The newest schema version of this build.
    pub const NEWEST: i64 = Upgrade::NEWEST;

    /// Opens the records of a stopped platform; the caller holds its directory.
    #[boxed]
    pub async fn open(config: &Config) -> Result<Self> {
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let keys = open_keys(config, &rng)?;
        Self::with_keys(config, keys).await
    }

    pub(crate) async fn with_keys(config: &Config, keys: KeyService) -> Result<Self> {
        let upgrade = Upgrade::open(veritwin_metastore::Config {
            database: database(config)?,
            connections_max: 2,
            keys: keys.clone(),
            clock: Arc::clone(&config.clock),
        })
        .await?;
        Ok(Self { config: config.clone(), keys, upgrade })
    }

    /// The schema version of the records; 0 when they have none yet.
    pub const fn current(&self) -> i64 {
        self.upgrade.current()
    }

    /// The steps they lack, up to the step `target`.
    pub fn pending(&self, target: i64) -> Vec<PendingStep> {
        self.upgrade.pending(target)
    }

    /// Whether the records are on PostgreSQL.
    pub const fn is_postgres(&self) -> bool {
        self.upgrade.is_postgres()
    }

    /// Where the automatic backup goes.
    pub fn backup_place(&self, target: i64) -> PathBuf {
        let at: String = self.config.clock.now().to_string();
        let at: String = at.chars().filter(char::is_ascii_alphanumeric).collect();
        self.config.data.join(BACKUPS).join(format!("before-schema-{target}-{at}"))
    }

    /// Backs the whole platform up as it is.
    #[boxed]
    pub async fn backup(&self, out: PathBuf) -> Result<BackupSummary> {
        let cut = Cut {
            config: &self.config,
            keys: &self.keys,
            records: Records::Found(&self.upgrade),
            engine: None,
            segments: open_segments(&self.config, &Arc::default())?,
            log_tail: None,
            at: self.config.clock.now(),
            progress: Arc::new(BackupProgress::default()),
        };
        // Of the same moment as the platform: an older one beside a newer archive is no way back.
        let archive = self.config.data.join("archive").exists();
        cut.take(BackupPlan { out, archive }).await
    }

    /// Applies the missing steps up to `target`, each in a transaction of its own.
    #[boxed]
    pub async fn apply(&self, target: i64) -> Result<()> {
        Ok(self.upgrade.apply(self.config.clock.now(), target).await?)
    }

    /// Where there is no step to apply: puts the wall to other databases of the server up again,
    /// if the owner's address is known.
    #[boxed]
    pub async fn keep_walls(&self) -> Result<()> {
        if self.is_postgres() && self.config.database_owner_url.is_some() {
            self.apply(self.current()).await?;
        }
        Ok(())
    }

    /// Lets the records and keys go.
    #[boxed]
    pub async fn close(self) {
        self.upgrade.close().await;
    }
}

/// What stands open between a database and the others of its server, seen by the runtime role.
/// None when the records are in a file.
#[boxed]
pub async fn database_gaps(url: &Secret<String>) -> Result<Option<Vec<WallGap>>> {
    Ok(WallGap::look(&database_at(url, None, Path::new(""))?).await?)
}

/// Before a build opens the records: an older schema is backed up, so that there is a way back.
/// The steps themselves are applied by the opening.
pub(crate) async fn back_up_older(config: &Config, keys: &KeyService) -> Result<()> {
    if config.database_url.expose() == "sqlite:" && !config.data.join("records.db").exists() {
        return Ok(());
    }
    let found = SchemaUpgrade::with_keys(config, keys.clone()).await?;
    let is_older = found.current() > 0 && !found.pending(SchemaUpgrade::NEWEST).is_empty();
    let outcome = if is_older {
        let out = found.backup_place(SchemaUpgrade::NEWEST);
        tracing::info!(
            from = found.current(),
            to = SchemaUpgrade::NEWEST,
            backup = %out.display(),
            "the schema is brought up to date; the platform as it was is backed up first"
        );
        found.backup(out).await.map(|_| ())
    } else {
        Ok(())
    };
    found.close().await;
    outcome
}
