//! A database as it is found, before a build works with it: what its schema lacks, a copy of its
//! rows, and the missing steps. Nobody else may have it open meanwhile.

use async_recursion::async_recursion as boxed;
use sea_orm::DatabaseConnection;
use tokio::io::AsyncWrite;
use veritwin_domain::Timestamp;

use crate::dump::{self, DumpSummary};
use crate::migrate::On;
use crate::open::{self, Database};
use crate::schema::GroupRoles;
use crate::store::{Config, DATABASE_KEY_LABEL};
use crate::{Error, Result, migrate, schema, walls};

/// A step that a database does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStep {
    /// Its number.
    pub version: i64,
    /// Its SQL on SQLite.
    pub sqlite: Vec<String>,
    /// Its SQL on PostgreSQL.
    pub postgres: Vec<String>,
}

/// A database that is looked at before a build works with it.
pub struct Upgrade {
    config: Config,
    connection: DatabaseConnection,
    current: i64,
    /// Of a database that is not PostgreSQL, those that one would have with the number 0.
    roles: GroupRoles,
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Upgrade {
    /// The newest schema version of this build.
    pub const NEWEST: i64 = schema::VERSION;

    /// Opens the database without changing it. A schema of a newer build is refused.
    #[boxed]
    pub async fn open(config: Config) -> Result<Self> {
        let connection = match &config.database {
            Database::Sqlite(file) => {
                let key = config.keys.platform_subkey(DATABASE_KEY_LABEL);
                let key = key.map_err(|error| Error::from_key(error, "database key"))?;
                open::sqlite(file, &key, 1).await?
            }
            Database::Postgres(postgres) => {
                open::postgres(open::postgres_options(&postgres.url)?, 1).await?
            }
        };
        let current = migrate::current(&connection).await?;
        let roles = match &config.database {
            Database::Sqlite(_) => GroupRoles::of_database(0),
            Database::Postgres(_) => walls::own(&connection).await?,
        };
        Ok(Self { config, connection, current, roles })
    }

    pub(crate) const fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Its schema version; 0 when it has none yet.
    pub const fn current(&self) -> i64 {
        self.current
    }

    /// Whether it is PostgreSQL.
    pub const fn is_postgres(&self) -> bool {
        matches!(self.config.database, Database::Postgres(_))
    }

    /// The steps it lacks, up to the step `target`, with their SQL on either database.
    pub fn pending(&self, target: i64) -> Vec<PendingStep> {
        let pending = |on| migrate::pending(self.current, target, on);
        pending(On::Sqlite)
            .into_iter()
            .zip(pending(On::Postgres(&self.roles)))
            .map(|((version, sqlite), (_, postgres))| PendingStep { version, sqlite, postgres })
            .collect()
    }

    /// Writes a copy of its rows, in the form of [`crate::Metastore::export`].
    pub async fn export(
        &self,
        at: Timestamp,
        out: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<DumpSummary> {
        dump::export(&self.connection, &self.config.keys, at, self.current, out).await
    }

    /// Applies the missing steps up to `target`, each in a transaction of its own.
    #[boxed]
    pub async fn apply(&self, at: Timestamp, target: i64) -> Result<()> {
        let Database::Postgres(postgres) = &self.config.database else {
            return migrate::run(&self.connection, None, at, target).await;
        };
        let Some(owner_url) = &postgres.owner_url else {
            return Err(Error::Refused(
                "the schema belongs to the database's owner: set database.owner_url".to_owned(),
            ));
        };
        let runtime_role = open::postgres_options(&postgres.url)?.get_username().to_owned();
        let owner = open::postgres_options(owner_url)?;
        let role = (owner.get_username() != runtime_role).then_some(runtime_role);
        let connection = open::postgres(owner, 1).await?;
        let migrated = migrate::run(&connection, role.as_deref(), at, target).await;
        // A failed close changes nothing: the connection is not used again.
        let _ = connection.close().await;
        migrated
    }

    /// Closes the connection.
    #[boxed]
    pub async fn close(self) {
        // A failed close changes nothing: the connection is not used again.
        let _ = self.connection.close().await;
    }
}
