//! Several databases on one PostgreSQL server: nobody gets from one into another, a database of an
//! older build goes on, and a copy is not open to whoever the original is.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};
use veritwin_metastore::{Database, Metastore, PostgresConfig, WallGap};

use crate::postgres::server;
use crate::postgres_server::{OWNER, RUNTIME, Server};
use crate::world::World;

const COUNT: &str = "SELECT count(*) AS n FROM tenants";

/// A database whose runtime role no other test uses.
async fn database_of(server: &Server, runtime: &str) -> (String, World) {
    let make = format!("CREATE ROLE {runtime} LOGIN NOINHERIT");
    server.sql("postgres", "postgres", &make).expect("a role");
    let (name, config) = server.config_of(runtime);
    (name, World::on(Database::Postgres(config), "postgres").await)
}

async fn gaps(world: &World) -> Vec<WallGap> {
    WallGap::look(&world.database).await.expect("a look").expect("PostgreSQL")
}

fn as_platform(server: &Server, role: &str, database: &str, of: &str) -> Result<String, String> {
    let enter = format!("SET ROLE {}; {COUNT}", server.group("platform", of));
    server.sql(role, database, &enter)
}

#[tokio::test]
async fn the_runtime_role_of_one_database_gets_into_no_other() {
    let Some(server) = server() else { return };
    let (first, one) = database_of(server, "runtime_first").await;
    let (second, other) = database_of(server, "runtime_second").await;
    let pairs = [("runtime_first", &first, &second), ("runtime_second", &second, &first)];
    for (role, own, foreign) in pairs {
        assert_eq!(as_platform(server, role, own, own).as_deref(), Ok("2"), "{role}");
        let refused = as_platform(server, role, foreign, foreign).expect_err("another database");
        assert!(refused.contains("permission denied for database"), "{refused}");
        // Let in by hand, it still cannot act there.
        let let_in = format!("GRANT CONNECT ON DATABASE {foreign} TO {role}");
        server.sql("postgres", "postgres", &let_in).expect("let in");
        for of in [own, foreign] {
            let refused = as_platform(server, role, foreign, of).expect_err("no rights");
            assert!(refused.contains("permission denied"), "{refused}");
        }
        assert!(server.sql(role, foreign, COUNT).is_err(), "{role}");
    }
    for world in [&one, &other] {
        assert_eq!(gaps(world).await, []);
    }

    let open = format!("GRANT CONNECT ON DATABASE {first} TO PUBLIC");
    server.sql("postgres", "postgres", &open).expect("open to all");
    let join = format!("GRANT {} TO runtime_first", server.group("platform", &second));
    server.sql("postgres", "postgres", &join).expect("a member");
    assert_eq!(gaps(&one).await, [WallGap::AnybodyConnects, WallGap::OtherDatabases(1)]);
    // The next opening with the owner's address closes the door again.
    Metastore::open(one.config()).await.expect("opened");
    assert_eq!(gaps(&one).await, [WallGap::OtherDatabases(1)]);
}

/// Gives a database the roles that a build before schema 13 gave it.
fn set_back(server: &Server, name: &str) {
    let (tenant, platform) = (server.group("tenant", name), server.group("platform", name));
    let sql = format!(
        "CREATE ROLE veritwin_tenant NOLOGIN NOINHERIT; \
         CREATE ROLE veritwin_platform NOLOGIN NOINHERIT; \
         GRANT veritwin_tenant, veritwin_platform TO {RUNTIME}; \
         DO $do$ DECLARE one record; shared text; BEGIN \
         FOR one IN SELECT tablename, policyname FROM pg_policies LOOP \
         shared := CASE one.policyname WHEN 'platform_rows' THEN 'veritwin_platform' \
         ELSE 'veritwin_tenant' END; \
         EXECUTE format('ALTER POLICY %I ON %I TO %I', one.policyname, one.tablename, shared); \
         EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', \
         one.tablename, shared); \
         END LOOP; END $do$; \
         DROP OWNED BY {tenant}, {platform}; DROP ROLE {tenant}; DROP ROLE {platform}; \
         GRANT CONNECT ON DATABASE {name} TO PUBLIC"
    );
    server.sql("postgres", name, &sql).expect("an older database");
}

/// What a node of an older build sees.
async fn old_node_counts(node: &mut PgConnection) -> i64 {
    node.execute("BEGIN; SET LOCAL ROLE veritwin_platform").await.expect("its role");
    let seen = node.fetch_one(COUNT).await.expect("rows").get("n");
    node.execute("ROLLBACK").await.expect("rollback");
    seen
}

#[tokio::test]
async fn a_database_of_an_older_build_goes_on_and_then_gets_its_wall() {
    let Some(server) = server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    world.store.close().await.expect("closed");
    set_back(server, &name);
    let old: PgConnectOptions = server.url(RUNTIME, &name).parse().expect("a URL");
    let old = old.application_name("veritwin schema 12");
    let mut node = PgConnection::connect_with(&old).await.expect("an older node");
    assert_eq!(old_node_counts(&mut node).await, 2);

    let store = Metastore::open(world.config()).await.expect("brought up to date");
    let tenants = async |store: &Metastore| {
        let tx = store.read_platform(&world.platform_context()).await.expect("a transaction");
        tx.tenant(world.tenant).await.expect("a tenant").id
    };
    assert_eq!(tenants(&store).await, world.tenant);
    assert_eq!(old_node_counts(&mut node).await, 2, "the older node goes on");
    assert!(gaps(&world).await.contains(&WallGap::SharedRoles));

    store.close().await.expect("closed");
    node.close().await.expect("closed");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = \
                'veritwin schema 12'";
    while server.sql("postgres", "postgres", left).as_deref() != Ok("0") {
        tokio::task::yield_now().await;
    }
    let store = Metastore::open(world.config()).await.expect("opened");
    assert_eq!(tenants(&store).await, world.tenant);
    assert!(!gaps(&world).await.contains(&WallGap::SharedRoles));
    assert!(!gaps(&world).await.contains(&WallGap::AnybodyConnects));
    let shared = "SELECT count(*) FROM pg_roles WHERE rolname IN \
                  ('veritwin_tenant', 'veritwin_platform')";
    assert_eq!(server.sql("postgres", "postgres", shared).as_deref(), Ok("0"));
}

#[tokio::test]
async fn a_copied_database_gets_roles_of_its_own() {
    let Some(server) = server() else { return };
    let (name, world) = database_of(server, "runtime_copied").await;
    world.store.close().await.expect("closed");
    let copy = format!("{name}_copy");
    let sql = format!("CREATE DATABASE {copy} TEMPLATE {name} OWNER {OWNER}");
    while let Err(error) = server.sql("postgres", "postgres", &sql) {
        assert!(error.contains("being accessed"), "{error}");
    }
    server.sql("postgres", "postgres", "CREATE ROLE runtime_copy LOGIN NOINHERIT").expect("role");
    let let_in = format!("GRANT CONNECT ON DATABASE {copy} TO runtime_copy");
    server.sql("postgres", "postgres", &let_in).expect("let in");
    let mut config = world.config();
    let mut place = PostgresConfig {
        url: server.secret_url("runtime_copy", &copy),
        owner_url: None,
        demo: false,
    };
    config.database = Database::Postgres(place.clone());
    let refused = Metastore::open(config.clone()).await.expect_err("not its roles").to_string();
    assert!(refused.contains("veritwin migrate"), "{refused}");
    place.owner_url = Some(server.secret_url(OWNER, &copy));
    config.database = Database::Postgres(place);
    let store = Metastore::open(config).await.expect("opened");
    let tx = store.read_platform(&world.platform_context()).await.expect("a transaction");
    assert_eq!(tx.tenant(world.tenant).await.expect("a tenant").id, world.tenant);
    let admin = format!("GRANT CONNECT ON DATABASE {copy} TO runtime_copied");
    server.sql("postgres", "postgres", &admin).expect("let in");
    let refused = as_platform(server, "runtime_copied", &copy, &name).expect_err("no rights");
    assert!(refused.contains("permission denied"), "{refused}");
}
