//! Brings a database to a schema version, one transaction for each step, so that whatever ends the
//! process leaves whole steps behind and the next run goes on. A database of a newer build is
//! refused.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait,
};
use veritwin_domain::Timestamp;

use crate::schema::{self, Contraction, GroupRoles, Migration};
use crate::{Error, Result, walls};

/// Serialises migrations of several nodes (`pg_advisory_xact_lock`): "veritwin" in ASCII.
const ADVISORY_LOCK: i64 = 0x7665_7269_7477_696e;

const FAILED: &str = "schema";

/// What a PostgreSQL connection calls itself before the schema version its build knows, so that
/// a step that takes something away sees the builds that still use it.
pub(crate) const NODE_NAME: &str = "veritwin schema ";

/// Applies what is missing up to the step `target`. `connection` is a pool of one;
/// `runtime_role` is the PostgreSQL role that gets the rights.
pub(crate) async fn run(
    connection: &DatabaseConnection,
    runtime_role: Option<&str>,
    at: Timestamp,
    target: i64,
) -> Result<()> {
    run_steps(connection, runtime_role, at, Steps::published(target)).await
}

/// The database that SQL is for; on PostgreSQL with its group roles.
#[derive(Clone, Copy)]
pub(crate) enum On<'a> {
    Sqlite,
    Postgres(&'a GroupRoles),
}

/// The steps that a run goes through, in the order of their versions.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) migrations: &'static [Migration],
    pub(crate) contractions: &'static [Contraction],
    pub(crate) target: i64,
}

impl Steps {
    const fn published(target: i64) -> Self {
        Self { migrations: schema::MIGRATIONS, contractions: schema::CONTRACTIONS, target }
    }

    fn versions(self) -> Vec<i64> {
        let expanding = self.migrations.iter().map(|step| step.version);
        let contracting = self.contractions.iter().map(|step| step.version);
        let mut versions: Vec<i64> =
            expanding.chain(contracting).filter(|version| *version <= self.target).collect();
        versions.sort_unstable();
        versions
    }

    /// The SQL of one step.
    fn statements(self, version: i64, on: On<'_>) -> Vec<String> {
        let expand = self.migrations.iter().filter(|step| step.version == version);
        let contract = self.contractions.iter().filter(|step| step.version == version);
        let expand = expand.flat_map(|step| statements(step, on));
        expand.chain(contract.flat_map(schema::contraction_statements)).collect()
    }
}

async fn run_steps(
    connection: &DatabaseConnection,
    runtime_role: Option<&str>,
    at: Timestamp,
    steps: Steps,
) -> Result<()> {
    let failed = |error| Error::from_db(error, FAILED);
    let roles = match connection.get_database_backend() {
        DbBackend::Postgres => Some(walls::own(connection).await?),
        _ => None,
    };
    let on = roles.as_ref().map_or(On::Sqlite, On::Postgres);
    let transaction = connection.begin().await.map_err(failed)?;
    prepare(&transaction, on, runtime_role).await?;
    let current = version(&transaction).await?;
    transaction.commit().await.map_err(failed)?;
    for step in steps.versions().into_iter().filter(|step| *step > current) {
        let transaction = connection.begin().await.map_err(failed)?;
        lock(&transaction).await?;
        // Another node may have been here between the two transactions.
        if version(&transaction).await? < step {
            for contraction in steps.contractions.iter().filter(|known| known.version == step) {
                refuse_while_used(&transaction, contraction).await?;
            }
            for statement in steps.statements(step, on) {
                execute(&transaction, &statement).await?;
            }
            let at = at.as_micros();
            let note =
                format!("INSERT INTO schema_versions (version, applied_at) VALUES ({step}, {at})");
            execute(&transaction, &note).await?;
        }
        transaction.commit().await.map_err(failed)?;
    }
    if let On::Postgres(roles) = on
        && steps.target >= schema::OWN_ROLES_SINCE
    {
        let transaction = connection.begin().await.map_err(failed)?;
        lock(&transaction).await?;
        let version = version(&transaction).await?;
        walls::raise(&transaction, roles, version).await?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// The steps after `current` up to `target` with their SQL.
pub(crate) fn pending(current: i64, target: i64, on: On<'_>) -> Vec<(i64, Vec<String>)> {
    let steps = Steps::published(target);
    let missing = steps.versions().into_iter().filter(|version| *version > current);
    missing.map(|version| (version, steps.statements(version, on))).collect()
}

/// The version of a database; 0 when it has no schema yet.
pub(crate) async fn current(connection: &impl ConnectionTrait) -> Result<i64> {
    let sql = match connection.get_database_backend() {
        DbBackend::Postgres => "SELECT to_regclass('schema_versions') IS NOT NULL AS found",
        _ => "SELECT count(*) > 0 AS found FROM sqlite_master WHERE name = 'schema_versions'",
    };
    let failed = |error| Error::from_db(error, FAILED);
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    let row = row.ok_or(Error::Corrupt { what: FAILED })?;
    if row.try_get_by::<bool, _>("found").map_err(failed)? {
        version(connection).await
    } else {
        Ok(0)
    }
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
    let sql = "SELECT coalesce(max(version), 0) AS number FROM schema_versions";
    let version = number(connection, sql).await?;
    if version > schema::VERSION {
        return Err(Error::Refused(format!(
            "the database has schema {version}, written by a newer build; this one knows {}",
            schema::VERSION
        )));
    }
    Ok(version)
}

async fn number(connection: &impl ConnectionTrait, sql: &str) -> Result<i64> {
    let failed = |error| Error::from_db(error, FAILED);
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    row.ok_or(Error::Corrupt { what: FAILED })?.try_get_by("number").map_err(failed)
}

async fn execute(transaction: &DatabaseTransaction, sql: &str) -> Result<()> {
    let done = transaction.execute_unprepared(sql).await;
    done.map(|_| ()).map_err(|error| Error::from_db(error, FAILED))
}

async fn lock(transaction: &DatabaseTransaction) -> Result<()> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        execute(transaction, &format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")).await?;
    }
    Ok(())
}

async fn prepare(
    transaction: &DatabaseTransaction,
    on: On<'_>,
    runtime_role: Option<&str>,
) -> Result<()> {
    lock(transaction).await?;
    let table = "CREATE TABLE IF NOT EXISTS schema_versions \
                 (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)";
    match on {
        On::Sqlite => execute(transaction, &(table.replace("BIGINT", "INTEGER") + " STRICT")).await,
        On::Postgres(roles) => {
            walls::prepare(transaction, roles, runtime_role).await?;
            execute(transaction, table).await?;
            execute(transaction, "GRANT SELECT ON schema_versions TO PUBLIC").await
        }
    }
}

/// The SQL of a step that adds: tables, columns, indexes, and on PostgreSQL the walls.
fn statements(migration: &Migration, on: On<'_>) -> Vec<String> {
    let (table, column): (fn(&_) -> _, fn(&_) -> _) = match on {
        On::Sqlite => (schema::sqlite_table, schema::sqlite_column),
        On::Postgres(_) => (schema::postgres_table, schema::postgres_column),
    };
    let mut all: Vec<String> = migration.tables.iter().flat_map(table).collect();
    all.extend(migration.added.iter().flat_map(column));
    if let On::Postgres(roles) = on {
        let tables = migration.tables.iter();
        all.extend(tables.flat_map(|table| schema::postgres_walls(table, roles)));
    }
    all
}

/// How many connections of nodes there are whose builds know less than a schema version.
pub(crate) async fn older_nodes(transaction: &DatabaseTransaction, version: i64) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) AS number FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name LIKE '{NODE_NAME}%' \
         AND substring(application_name FROM '[0-9]+$')::bigint < {version}"
    );
    number(transaction, &sql).await
}

/// Nothing is taken away while a row or a node of a build that uses it is there.
async fn refuse_while_used(
    transaction: &DatabaseTransaction,
    contraction: &Contraction,
) -> Result<()> {
    for (table, column) in contraction.filled {
        let sql = format!("SELECT count(*) AS number FROM {table} WHERE {column} IS NULL");
        let rows = number(transaction, &sql).await?;
        if rows > 0 {
            return Err(Error::Refused(format!(
                "schema step {} would take away what {rows} rows of {table} still need: an older \
                 build wrote them, and {column} is not filled in yet",
                contraction.version
            )));
        }
    }
    if transaction.get_database_backend() != DbBackend::Postgres {
        // The directory's lock says that no other process has the file.
        return Ok(());
    }
    let nodes = older_nodes(transaction, contraction.unused_since).await?;
    if nodes > 0 {
        return Err(Error::Refused(format!(
            "schema step {} would take away what {nodes} connections of an older build still use: \
             stop or replace those nodes first",
            contraction.version
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sea_orm::SqlxSqliteConnector;

    use super::*;
    use crate::schema::{Category, ColumnDef, ColumnKind, Rows, TableDef};

    const fn column(name: &'static str, nullable: bool) -> ColumnDef {
        ColumnDef { name, kind: ColumnKind::Integer, nullable, category: Category::Operation }
    }

    const TABLE: TableDef = TableDef {
        name: "things",
        rows: Rows::Platform,
        columns: &[column("id", false), column("old", true), column("new", true)],
        primary_key: &["id"],
        unique: &[],
        indexes: &[],
        references: &[],
    };
    const EXPAND: &[Migration] = &[Migration { version: 1, tables: &[TABLE], added: &[] }];
    const CONTRACT: &[Contraction] = &[Contraction {
        version: 2,
        dropped: &[("things", "old")],
        filled: &[("things", "new")],
        unused_since: 1,
    }];

    async fn migrate(connection: &DatabaseConnection, target: i64) -> Result<()> {
        let steps = Steps { migrations: EXPAND, contractions: CONTRACT, target };
        run_steps(connection, None, Timestamp::EPOCH, steps).await
    }

    #[tokio::test]
    async fn nothing_is_taken_away_while_rows_of_an_older_build_need_it() {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.expect("a database");
        let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        migrate(&connection, 1).await.expect("expanded");
        let insert = "INSERT INTO things (id, old) VALUES (7, 1)";
        connection.execute_unprepared(insert).await.expect("a row of an older build");
        let refused = migrate(&connection, 2).await.expect_err("refused").to_string();
        assert!(refused.contains("1 rows of things"), "{refused}");
        assert_eq!(current(&connection).await.expect("a version"), 1, "nothing happened");
        connection.execute_unprepared("UPDATE things SET new = old").await.expect("filled in");
        migrate(&connection, 2).await.expect("contracted");
        assert_eq!(current(&connection).await.expect("a version"), 2);
        let gone = connection.execute_unprepared("SELECT old FROM things").await;
        assert!(gone.is_err(), "the column is gone");
        migrate(&connection, 2).await.expect("nothing left to do");
    }

    #[test]
    fn every_published_step_has_sql_for_both_databases() {
        let roles = GroupRoles::of_database(5);
        for on in [On::Sqlite, On::Postgres(&roles)] {
            let steps = pending(0, schema::VERSION, on);
            assert_eq!(steps.last().map(|step| step.0), Some(schema::VERSION));
            assert!(steps.iter().all(|(_, sql)| !sql.is_empty()));
        }
        assert!(pending(schema::VERSION, schema::VERSION, On::Sqlite).is_empty());
    }
}
