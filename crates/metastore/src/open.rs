//! Opens the databases. SQLite is always encrypted; PostgreSQL is refused when the runtime role
//! could step over row-level security, and over the network without verified TLS.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, SqlxPostgresConnector, SqlxSqliteConnector,
    Statement,
};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use veritwin_domain::Secret;
use veritwin_keys::SecretKey;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// How long a statement waits for another process's lock on the SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an operation waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the records are.
#[derive(Debug, Clone)]
pub enum Database {
    /// One encrypted file; made when it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL database, version 15 or later.
    Postgres(PostgresConfig),
}

/// A PostgreSQL database.
///
/// Two roles of its own that cannot log in, `veritwin_tenant_N` and `veritwin_platform_N`, hold the
/// rights (N is the database's number); the
/// runtime role is a member of both, owns nothing and inherits nothing, so that a statement
/// outside a transaction of this crate may do nothing at all. An administrator makes the roles:
///
/// ```sql
/// CREATE ROLE veritwin_owner LOGIN CREATEROLE PASSWORD '...';
/// CREATE ROLE veritwin_runtime LOGIN NOINHERIT PASSWORD '...';
/// CREATE DATABASE veritwin OWNER veritwin_owner;
/// ```
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://` address of the runtime role.
    pub url: Secret<String>,
    /// `postgres://` address of the owner. When given, missing schema versions are applied as
    /// the owner before the runtime role connects; without it an old schema is refused.
    pub owner_url: Option<Secret<String>>,
    /// Accepts a superuser as runtime role and lets it apply the schema: for a demo only.
    pub demo: bool,
}

pub(crate) fn db(error: sqlx::Error) -> Error {
    let error = sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into()));
    Error::from_db(error, "records database")
}

pub(crate) async fn sqlite(
    file: &Path,
    key: &SecretKey,
    connections_max: u32,
) -> Result<DatabaseConnection> {
    create_private(file)?;
    let hex = Zeroizing::new(hex::encode(key.expose()));
    // A raw key (x'...') instead of a passphrase: no key derivation on each connection.
    let pragma = format!("\"x'{}'\"", hex.as_str());
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .pragma("key", pragma)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(connections_max.max(1))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(db)?;
    let cipher: Option<String> =
        sqlx::query_scalar("PRAGMA cipher_version").fetch_optional(&pool).await.map_err(db)?;
    if cipher.is_none_or(|version| version.is_empty()) {
        return Err(Error::Refused("this build's SQLite has no encryption".to_owned()));
    }
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// The file is there for its owner only before anything is written; SQLite gives its journal the
/// same mode.
fn create_private(file: &Path) -> Result<()> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    opened.map(drop).map_err(|error| {
        Error::Refused(format!("cannot open records database {}: {error}", file.display()))
    })
}

pub(crate) fn postgres_options(url: &Secret<String>) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(|_| {
        Error::Refused("database.url is not of the form postgres://ROLE@HOST/DATABASE".to_owned())
    })?;
    let loopback = matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
    let socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    let mode = if loopback || socket { PgSslMode::Prefer } else { PgSslMode::VerifyFull };
    let name = format!("{}{}", crate::migrate::NODE_NAME, crate::schema::VERSION);
    Ok(options.ssl_mode(mode).application_name(&name).disable_statement_logging())
}

pub(crate) async fn postgres(
    options: PgConnectOptions,
    connections_max: u32,
) -> Result<DatabaseConnection> {
    let pool = PgPoolOptions::new()
        .max_connections(connections_max.max(1))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(db)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Refuses a runtime role that row-level security would not bind.
pub(crate) async fn check_runtime_role(connection: &DatabaseConnection) -> Result<()> {
    let sql = "SELECT rolsuper OR rolbypassrls AS above, rolinherit AS inherits, \
               EXISTS (SELECT 1 FROM pg_class WHERE relowner = r.oid) AS owns \
               FROM pg_roles r WHERE rolname = current_user";
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let failed = |error| Error::from_db(error, "role");
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    let row = row.ok_or(Error::Corrupt { what: "role" })?;
    let flag = |name: &str| row.try_get_by::<bool, _>(name).map_err(failed);
    let reason = if flag("above")? {
        "is a superuser or bypasses row-level security"
    } else if flag("owns")? {
        "owns tables; migrations run as a separate owner"
    } else if flag("inherits")? {
        "inherits the rights of its groups; make it NOINHERIT"
    } else {
        return Ok(());
    };
    Err(Error::Refused(format!("the PostgreSQL runtime role {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_elsewhere_is_reached_over_verified_tls_only() {
        let check = |url: &str, verified: bool| {
            let options = postgres_options(&Secret::new(url.to_owned())).expect("a URL");
            let is_verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull);
            assert_eq!(is_verified, verified, "{url}");
        };
        check("postgres://role@db.example.org/records", true);
        check("postgres://role@db.example.org/records?sslmode=disable", true);
        check("postgres://role@localhost.example.org/records?sslmode=prefer", true);
        check("postgres://role@192.0.2.7/records", true);
        check("postgres://role@localhost/records", false);
        check("postgres://role@127.0.0.1/records", false);
        check("postgres://role@localhost/records?host=/run/postgresql", false);
        assert!(postgres_options(&Secret::new("not an address".to_owned())).is_err());
    }
}
