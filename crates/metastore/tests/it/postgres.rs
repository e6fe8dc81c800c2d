//! What only PostgreSQL has: row-level security under the queries, roles, refusals.

use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use veritwin_domain::Secret;
use veritwin_metastore::{Config, Database, Error, Metastore, PostgresConfig};

use crate::devices::authority;
use crate::postgres_server::{OWNER, RUNTIME, Server};
use crate::world::{World, device};

pub(crate) use crate::postgres_server::server;

impl Server {
    pub(crate) fn secret_url(&self, role: &str, database: &str) -> Secret<String> {
        Secret::new(self.url(role, database))
    }

    /// The name of a group role of a database.
    pub(crate) fn group(&self, of: &str, database: &str) -> String {
        let sql = "SELECT oid FROM pg_database WHERE datname = current_database()";
        format!("veritwin_{of}_{}", self.sql("postgres", database, sql).expect("its number"))
    }

    pub(crate) async fn connect(&self, role: &str, database: &str) -> PgConnection {
        let options: PgConnectOptions = self.url(role, database).parse().expect("a URL");
        PgConnection::connect_with(&options).await.expect("a connection")
    }

    /// A new database with its owner and runtime roles.
    pub(crate) fn config(&self) -> (String, PostgresConfig) {
        self.config_of(RUNTIME)
    }

    /// The same with another runtime role.
    pub(crate) fn config_of(&self, runtime: &str) -> (String, PostgresConfig) {
        let name = self.database();
        let config = PostgresConfig {
            url: self.secret_url(runtime, &name),
            owner_url: Some(self.secret_url(OWNER, &name)),
            demo: false,
        };
        (name, config)
    }
}

#[tokio::test]
async fn row_level_security_holds_when_a_query_forgets_the_tenant() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    for tenant in [world.tenant, world.other] {
        let tx = world.begin_in(tenant).await;
        tx.device_create(&device(&world, "pump")).await.expect("a device");
        tx.commit().await.expect("commit");
    }
    let mut raw = server.connect(RUNTIME, &name).await;
    let count = "SELECT count(*) AS n FROM devices";
    assert!(raw.fetch_one(count).await.is_err(), "no rights outside a transaction's role");

    let hex = |id: veritwin_domain::TenantId| id.to_string().replace('-', "");
    let enter = format!(
        "BEGIN; SET LOCAL ROLE {}; SET LOCAL veritwin.tenant = '{}'",
        server.group("tenant", &name),
        hex(world.tenant)
    );
    raw.execute(AssertSqlSafe(enter.clone())).await.expect("enter");
    let seen: i64 = raw.fetch_one(count).await.expect("count").get("n");
    assert_eq!(seen, 1);
    let people = raw.fetch_all("SELECT id FROM users").await.expect("people");
    assert!(people.is_empty());
    let moved = format!("UPDATE devices SET tenant_id = decode('{}', 'hex')", hex(world.other));
    assert!(raw.execute(AssertSqlSafe(moved)).await.is_err(), "no row leaves its tenant");
    raw.execute("ROLLBACK").await.expect("rollback");

    raw.execute(AssertSqlSafe(enter)).await.expect("enter");
    assert!(raw.fetch_all("SELECT * FROM promise_evidence").await.is_err());
    raw.execute("ROLLBACK").await.expect("rollback");

    let enter = format!("BEGIN; SET LOCAL ROLE {}", server.group("tenant", &name));
    raw.execute(AssertSqlSafe(enter)).await.expect("enter");
    let seen: i64 = raw.fetch_one(count).await.expect("count").get("n");
    assert_eq!(seen, 0, "without a tenant there are no rows");
}

#[tokio::test]
async fn a_device_that_is_held_is_changed_by_nobody_else() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    let pump = device(&world, "pump");
    let tx = world.begin().await;
    tx.device_create(&pump).await.expect("a device");
    tx.commit().await.expect("commit");
    let mut raw = server.connect(RUNTIME, &name).await;
    let enter = format!(
        "BEGIN; SET LOCAL ROLE {}; SET LOCAL veritwin.tenant = '{}'; SET LOCAL lock_timeout = 10",
        server.group("tenant", &name),
        world.tenant.to_string().replace('-', "")
    );
    let tx = world.begin().await;
    for is_held in [false, true] {
        if is_held {
            tx.device_held(pump.id).await.expect("held");
        }
        raw.execute(AssertSqlSafe(enter.clone())).await.expect("enter");
        let changed = raw.execute("UPDATE devices SET version = version + 1").await;
        assert_eq!(changed.is_err(), is_held, "{changed:?}");
        raw.execute("ROLLBACK").await.expect("rollback");
    }
}

#[tokio::test]
async fn a_superuser_or_owner_is_refused_as_runtime_role() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config.clone()), "postgres").await;
    let refusal = async |role: &str, demo: bool| {
        let config = PostgresConfig { url: server.secret_url(role, &name), owner_url: None, demo };
        let database = Database::Postgres(config);
        let config = Config { database, ..world.config() };
        Metastore::open(config).await.err().map(|error| error.to_string())
    };
    let superuser = refusal("postgres", false).await.expect("refused");
    assert!(superuser.contains("superuser"), "{superuser}");
    let owner = refusal(OWNER, false).await.expect("refused");
    assert!(owner.contains("owns tables"), "{owner}");
    assert_eq!(refusal("postgres", true).await, None, "a demo may");
    assert_eq!(refusal(RUNTIME, false).await, None);
}

#[tokio::test]
async fn an_empty_database_is_refused_without_its_owner() {
    let Some(server) = server() else { return };
    let (_, config) = server.config();
    let name = server.database();
    let world = World::on(Database::Postgres(config), "postgres").await;
    let empty =
        PostgresConfig { url: server.secret_url(RUNTIME, &name), owner_url: None, demo: false };
    let config = Config { database: Database::Postgres(empty), ..world.config() };
    let refused = Metastore::open(config).await.expect_err("refused");
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_sealed_value_does_not_open_in_another_row() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    let (first, second) = (device(&world, "first"), device(&world, "second"));
    let tx = world.begin().await;
    tx.device_create(&first).await.expect("first");
    tx.device_create(&second).await.expect("second");
    tx.commit().await.expect("commit");
    let mut admin = server.connect("postgres", &name).await;
    let swap = format!(
        "UPDATE devices SET name = (SELECT name FROM devices WHERE id = decode('{}', 'hex'))",
        second.id.to_string().replace('-', "")
    );
    admin.execute(AssertSqlSafe(swap)).await.expect("swap");
    let tx = world.read().await;
    let found = tx.device(first.id).map(|found| found.map(|_| ())).await;
    assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
    assert!(tx.device(second.id).await.is_ok());
}

#[tokio::test]
async fn a_damaged_authority_is_in_nobody_elses_way() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    let (first, second) = (authority(&world), authority(&world));
    for (tenant, one, key) in [(world.tenant, &first, [1; 32]), (world.other, &second, [2; 32])] {
        let tx = world.begin_in(tenant).await;
        tx.device_authority_create(one, (key, [9; 32])).await.expect("an authority");
        tx.commit().await.expect("commit");
    }
    let mut admin = server.connect("postgres", &name).await;
    let damage = format!(
        "UPDATE device_authorities SET body = '\\x00' WHERE id = decode('{}', 'hex')",
        first.id.to_string().replace('-', "")
    );
    admin.execute(AssertSqlSafe(damage)).await.expect("damaged");
    let tx = world.platform().await;
    let named = tx.device_authorities_named([9; 32], 9).await.expect("the others");
    assert_eq!(named.iter().map(|one| one.tenant).collect::<Vec<_>>(), [world.other]);
}

#[tokio::test]
async fn columns_in_the_database_are_those_of_the_catalogue() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let _world = World::on(Database::Postgres(config), "postgres").await;
    let mut admin = server.connect("postgres", &name).await;
    let sql = "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS d \
               FROM information_schema.columns WHERE table_schema = 'public' \
               AND table_name <> 'schema_versions'";
    let rows = admin.fetch_all(sql).await.expect("columns");
    let mut found: Vec<(String, String, String)> =
        rows.iter().map(|row| (row.get("t"), row.get("c"), row.get("d"))).collect();
    found.sort();
    let mut expected: Vec<_> = veritwin_metastore::schema::columns()
        .into_iter()
        .map(|column| {
            use veritwin_metastore::schema::ColumnKind;
            let kind = match column.kind {
                ColumnKind::Enum => "text",
                ColumnKind::Boolean => "boolean",
                ColumnKind::Time | ColumnKind::Integer => "bigint",
                _ => "bytea",
            };
            (column.table.to_owned(), column.column.to_owned(), kind.to_owned())
        })
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}
