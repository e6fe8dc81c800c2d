//! Brings a database to the newest schema, one transaction for each version, and refuses one that
//! a newer build has written.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait,
};
use veritwin_domain::Timestamp;

use crate::schema::{self, Migration, PLATFORM_ROLE, TENANT_ROLE};
use crate::{Error, Result};

/// Serialises migrations of several nodes (`pg_advisory_xact_lock`): "veritwin" in ASCII.
const ADVISORY_LOCK: i64 = 0x7665_7269_7477_696e;

const FAILED: &str = "schema";

/// Applies what is missing. `runtime_role` is the PostgreSQL role that gets the rights.
pub(crate) async fn run(
    connection: &DatabaseConnection,
    runtime_role: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    let failed = |error| Error::from_db(error, FAILED);
    let transaction = connection.begin().await.map_err(failed)?;
    prepare(&transaction, runtime_role).await?;
    let current = version(&transaction).await?;
    for migration in schema::MIGRATIONS.iter().filter(|step| step.version > current) {
        apply(&transaction, migration, at).await?;
    }
    transaction.commit().await.map_err(failed)
}

/// Refuses a schema that is not the newest.
pub(crate) async fn check(connection: &DatabaseConnection) -> Result<()> {
    let found = version(connection).await.map_err(|error| match error {
        Error::Unavailable(_) => Error::Refused(
            "the database has no Veritwin schema; run `veritwin migrate` with its owner".to_owned(),
        ),
        other => other,
    })?;
    if found < schema::VERSION {
        return Err(Error::Refused(format!(
            "database schema {found} is older than {}; run `veritwin migrate` with its owner",
            schema::VERSION
        )));
    }
    Ok(())
}

async fn version(connection: &impl ConnectionTrait) -> Result<i64> {
    let failed = |error| Error::from_db(error, FAILED);
    let sql = "SELECT coalesce(max(version), 0) AS version FROM schema_versions";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    let row = row.ok_or(Error::Corrupt { what: FAILED })?;
    let version: i64 = row.try_get_by("version").map_err(failed)?;
    if version > schema::VERSION {
        return Err(Error::Refused(format!(
            "the database has schema {version}, written by a newer build; this one knows {}",
            schema::VERSION
        )));
    }
    Ok(version)
}

async fn execute(transaction: &DatabaseTransaction, sql: &str) -> Result<()> {
    let done = transaction.execute_unprepared(sql).await;
    done.map(|_| ()).map_err(|error| Error::from_db(error, FAILED))
}

async fn prepare(transaction: &DatabaseTransaction, runtime_role: Option<&str>) -> Result<()> {
    let postgres = transaction.get_database_backend() == DbBackend::Postgres;
    if postgres {
        execute(transaction, &format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
        for role in [TENANT_ROLE, PLATFORM_ROLE] {
            execute(transaction, &create_role(role)).await?;
        }
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_versions \
                 (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)";
    let strict = table.replace("BIGINT", "INTEGER") + " STRICT";
    execute(transaction, if postgres { table } else { &strict }).await?;
    if postgres {
        execute(transaction, "GRANT SELECT ON schema_versions TO PUBLIC").await?;
    }
    if let Some(role) = runtime_role {
        for group in [TENANT_ROLE, PLATFORM_ROLE] {
            execute(transaction, &grant_role(group, role)).await?;
        }
    }
    Ok(())
}

/// Roles belong to the server, not to the database: another database may have made them.
fn create_role(role: &str) -> String {
    format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN \
         CREATE ROLE {role} NOLOGIN NOINHERIT; END IF; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
}

fn grant_role(group: &str, member: &str) -> String {
    let (name, text) = (member.replace('"', "\"\""), member.replace('\'', "''"));
    format!(
        "DO $do$ BEGIN IF NOT pg_has_role('{text}', '{group}', 'MEMBER') THEN \
         GRANT {group} TO \"{name}\"; END IF; END $do$"
    )
}

async fn apply(
    transaction: &DatabaseTransaction,
    migration: &Migration,
    at: Timestamp,
) -> Result<()> {
    let postgres = transaction.get_database_backend() == DbBackend::Postgres;
    for table in migration.tables {
        let statements =
            if postgres { schema::postgres_table(table) } else { schema::sqlite_table(table) };
        for statement in statements {
            execute(transaction, &statement).await?;
        }
    }
    for added in migration.added {
        let statements =
            if postgres { schema::postgres_column(added) } else { schema::sqlite_column(added) };
        for statement in statements {
            execute(transaction, &statement).await?;
        }
    }
    if postgres {
        for statement in migration.tables.iter().flat_map(schema::postgres_walls) {
            execute(transaction, &statement).await?;
        }
    }
    let (version, at) = (migration.version, at.as_micros());
    let note =
        format!("INSERT INTO schema_versions (version, applied_at) VALUES ({version}, {at})");
    execute(transaction, &note).await
}
