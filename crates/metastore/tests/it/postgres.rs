//! A private PostgreSQL server on a Unix socket in a temporary directory, and what only
//! PostgreSQL has: row-level security under the queries, roles, refusals.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use veritwin_domain::Secret;
use veritwin_metastore::{Config, Database, Error, Metastore, PostgresConfig};

use crate::world::{World, device};

/// Starts the server, waits until it answers, prints its directory, and stops it when its input
/// ends, which is when this process does.
const SCRIPT: &str = r#"
set -e
cd /
dir=$(mktemp -d /tmp/veritwin-pg.XXXXXX)
"$1/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
"$1/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "-k $dir -c listen_addresses='' -c fsync=off \
  -c synchronous_commit=off -c full_page_writes=off -c max_connections=200" start >/dev/null
echo "$dir"
cat >/dev/null
"$1/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
rm -rf "$dir"
"#;

pub(crate) struct Server {
    pub(crate) directory: String,
    _watch: Child,
}

/// The server, or none where PostgreSQL is not installed (said once).
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref()
}

fn bin() -> Option<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(debian.into_iter().rev());
    places.find(|place| place.join("initdb").exists()).map(|place| place.display().to_string())
}

fn start() -> Option<Server> {
    let Some(bin) = bin() else {
        // Past the test harness's capture, so that a run without PostgreSQL shows it.
        let _ = writeln!(std::io::stderr(), "SKIPPED on PostgreSQL: it is not installed");
        return None;
    };
    let root = Command::new("id").arg("-u").output().expect("id").stdout.starts_with(b"0\n");
    // The server refuses to run as root.
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut watch = command
        .args(["-c", SCRIPT, "sh", &bin])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let output = watch.stdout.as_mut().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
    let directory = line.trim().to_owned();
    assert!(!directory.is_empty(), "PostgreSQL did not start");
    Some(Server { directory, _watch: watch })
}

impl Server {
    pub(crate) fn url(&self, role: &str, database: &str) -> Secret<String> {
        Secret::new(format!("postgres://{role}@localhost/{database}?host={}", self.directory))
    }

    pub(crate) async fn connect(&self, role: &str, database: &str) -> PgConnection {
        let options: PgConnectOptions = self.url(role, database).expose().parse().expect("a URL");
        PgConnection::connect_with(&options).await.expect("a connection")
    }

    /// A new database with its owner and runtime roles.
    pub(crate) async fn database(&self) -> (String, PostgresConfig) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static ROLES: tokio::sync::Mutex<bool> = tokio::sync::Mutex::const_new(false);
        let name = format!("records_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.connect("postgres", "postgres").await;
        let mut made = ROLES.lock().await;
        if !*made {
            let roles = "CREATE ROLE owner_role LOGIN CREATEROLE; \
                         CREATE ROLE runtime_role LOGIN NOINHERIT";
            admin.execute(roles).await.expect("roles");
            *made = true;
        }
        let create = format!("CREATE DATABASE {name} OWNER owner_role");
        admin.execute(AssertSqlSafe(create)).await.expect("a database");
        let config = PostgresConfig {
            url: self.url("runtime_role", &name),
            owner_url: Some(self.url("owner_role", &name)),
            demo: false,
        };
        (name, config)
    }
}

#[tokio::test]
async fn row_level_security_holds_when_a_query_forgets_the_tenant() {
    let Some(server) = server() else { return };
    let (name, config) = server.database().await;
    let world = World::on(Database::Postgres(config), "postgres").await;
    for tenant in [world.tenant, world.other] {
        let tx = world.begin_in(tenant).await;
        tx.device_create(&device(&world, "pump")).await.expect("a device");
        tx.commit().await.expect("commit");
    }
    let mut raw = server.connect("runtime_role", &name).await;
    let count = "SELECT count(*) AS n FROM devices";
    assert!(raw.fetch_one(count).await.is_err(), "no rights outside a transaction's role");

    let hex = |id: veritwin_domain::TenantId| id.to_string().replace('-', "");
    let enter = format!(
        "BEGIN; SET LOCAL ROLE veritwin_tenant; SET LOCAL veritwin.tenant = '{}'",
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

    raw.execute("BEGIN; SET LOCAL ROLE veritwin_tenant").await.expect("enter");
    let seen: i64 = raw.fetch_one(count).await.expect("count").get("n");
    assert_eq!(seen, 0, "without a tenant there are no rows");
}

#[tokio::test]
async fn a_superuser_or_owner_is_refused_as_runtime_role() {
    let Some(server) = server() else { return };
    let (name, config) = server.database().await;
    let world = World::on(Database::Postgres(config.clone()), "postgres").await;
    let refusal = async |role: &str, demo: bool| {
        let config = PostgresConfig { url: server.url(role, &name), owner_url: None, demo };
        let database = Database::Postgres(config);
        let config = Config { database, ..world.config() };
        Metastore::open(config).await.err().map(|error| error.to_string())
    };
    let superuser = refusal("postgres", false).await.expect("refused");
    assert!(superuser.contains("superuser"), "{superuser}");
    let owner = refusal("owner_role", false).await.expect("refused");
    assert!(owner.contains("owns tables"), "{owner}");
    assert_eq!(refusal("postgres", true).await, None, "a demo may");
    assert_eq!(refusal("runtime_role", false).await, None);
}

#[tokio::test]
async fn an_empty_database_is_refused_without_its_owner() {
    let Some(server) = server() else { return };
    let (_, config) = server.database().await;
    let mut admin = server.connect("postgres", "postgres").await;
    admin.execute("CREATE DATABASE empty OWNER owner_role").await.expect("a database");
    let world = World::on(Database::Postgres(config), "postgres").await;
    let empty =
        PostgresConfig { url: server.url("runtime_role", "empty"), owner_url: None, demo: false };
    let config = Config { database: Database::Postgres(empty), ..world.config() };
    let refused = Metastore::open(config).await.expect_err("refused");
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_sealed_value_does_not_open_in_another_row() {
    let Some(server) = server() else { return };
    let (name, config) = server.database().await;
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
async fn columns_in_the_database_are_those_of_the_catalogue() {
    let Some(server) = server() else { return };
    let (name, config) = server.database().await;
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
