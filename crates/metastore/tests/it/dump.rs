//! Copies of the records: the same rows from and into either database, sealed, one consistent
//! state; and the schema before a build works with it.

use std::path::Path;

use veritwin_domain::SessionId;
use veritwin_metastore::{
    Config, Database, DumpSummary, Error, Metastore, Page, Realm, Session, SessionMethod, Upgrade,
    User, import,
};

use crate::accounts::user;
use crate::postgres;
use crate::world::{START, World, device, everywhere, later};

const DIGEST: [u8; 32] = [9; 32];

async fn export(world: &World, path: &Path) -> DumpSummary {
    let mut file = tokio::fs::File::create(path).await.expect("a file");
    let context = world.platform_context();
    let summary = world.store.export(&context, &mut file).await.expect("a copy");
    file.sync_all().await.expect("durable");
    summary
}

fn session(world: &World, user: &User) -> Session {
    Session {
        id: SessionId::generate(START, world.rng.as_ref()),
        tenant: world.tenant,
        user: user.id,
        created_at: START,
        expires_at: later(60),
        last_seen_at: START,
        proved_at: later(3),
        doubted_at: Some(later(4)),
        second_factor: true,
        method: SessionMethod::Provider,
        browser: Some("firefox".to_owned()),
        system: Some("linux".to_owned()),
    }
}

/// Rows of every kind of column in some tables, more than one page of them.
async fn fill(world: &World) {
    let tx = world.begin().await;
    for number in 0..600 {
        tx.device_create(&device(world, &format!("d{number}"))).await.expect("a device");
    }
    tx.setting_put("mail", b"7", None).await.expect("a setting");
    tx.commit().await.expect("commit");
    let tx = world.platform().await;
    let ada = user(world, "ada@example.org");
    tx.user_create(&ada).await.expect("an account");
    tx.session_create(&session(world, &ada), DIGEST).await.expect("a session");
    tx.offset_advance("alerts", 5).await.expect("an offset");
    tx.clock_raise(later(9)).await.expect("a mark");
    tx.commit().await.expect("commit");
}

async fn restored(world: &World, database: Database, path: &Path) -> Metastore {
    let config = Config { database, ..world.config() };
    let mut file = tokio::fs::File::open(path).await.expect("a file");
    let summary = import(&config, START, &mut file).await.expect("restored");
    assert!(summary.rows > 600);
    let mut file = tokio::fs::File::open(path).await.expect("a file");
    let refused = import(&config, START, &mut file).await.expect_err("not empty").to_string();
    assert!(refused.contains("empty"), "{refused}");
    Metastore::open(config).await.expect("a store")
}

async fn has_everything(world: &World, store: &Metastore) {
    let context = world.context(world.tenant);
    let tx = store.read(&context).await.expect("a transaction");
    assert_eq!(tx.device_counts().await.expect("counts").0, 600);
    let found = tx.device_by_name("d599").await.expect("look-up").expect("there");
    assert_eq!(found.name, "d599");
    assert_eq!(tx.setting("mail").await.expect("read").expect("set").body, b"7");
    drop(tx);
    let tx = store.read_platform(&world.platform_context()).await.expect("a transaction");
    assert_eq!(tx.tenants(&Page::whole()).await.expect("tenants").items.len(), 2);
    let ada = tx.user_by_email(Realm::PLATFORM, "ada@example.org").await.expect("look-up");
    let ada = ada.expect("there");
    assert_eq!(ada, User { id: ada.id, ..user(world, "ada@example.org") });
    let known = tx.session_by_digest(DIGEST).await.expect("look-up").expect("there");
    assert_eq!(known, Session { id: known.id, ..session(world, &ada) });
    assert_eq!(tx.clock_high_water().await.expect("read"), Some(later(9)));
    assert_eq!(tx.offset("alerts").await.expect("read"), Some(5));
    drop(tx);
}

#[tokio::test]
async fn a_copy_of_either_database_is_read_into_either() {
    everywhere(async |world| {
        fill(world).await;
        let path = world.directory.path().join("copy");
        let summary = export(world, &path).await;
        assert_eq!(summary.schema, Upgrade::NEWEST);
        let bytes = std::fs::read(&path).expect("its bytes");
        assert!(!bytes.windows(6).any(|window| window == b"tenant"), "it is sealed");
        let file = world.directory.path().join("other.db");
        let store = restored(world, Database::Sqlite(file), &path).await;
        has_everything(world, &store).await;
        if let Some(server) = postgres::server() {
            let (_, config) = server.config();
            let store = restored(world, Database::Postgres(config), &path).await;
            has_everything(world, &store).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_damaged_copy_leaves_no_row() {
    let world = World::sqlite().await;
    fill(&world).await;
    let path = world.directory.path().join("copy");
    export(&world, &path).await;
    let whole = std::fs::read(&path).expect("its bytes");
    let check = async |what: &str, bytes: Vec<u8>| {
        let database = Database::Sqlite(world.directory.path().join(what));
        let config = Config { database, ..world.config() };
        let refused = import(&config, START, &mut bytes.as_slice()).await.expect_err(what);
        assert!(matches!(refused, Error::Corrupt { .. }), "{what}: {refused:?}");
        let store = Metastore::open(config).await.expect("a store");
        let tx = store.read_platform(&world.platform_context()).await.expect("a transaction");
        assert!(tx.tenants(&Page::whole()).await.expect("none").items.is_empty(), "{what}");
    };
    check("cut", whole[..whole.len() - 1].to_vec()).await;
    check("cut-at-a-frame", whole[..whole.len() / 2].to_vec()).await;
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    check("altered", altered).await;
    check("longer", [whole, vec![0; 4]].concat()).await;
}

#[tokio::test]
async fn the_schema_is_brought_up_step_by_step_and_goes_on_after_a_cut() {
    let world = World::sqlite().await;
    let mut databases = vec![Database::Sqlite(world.directory.path().join("steps.db"))];
    databases.extend(postgres::server().map(|server| Database::Postgres(server.config().1)));
    for database in databases {
        let config = Config { database, ..world.config() };
        let found = Upgrade::open(config.clone()).await.expect("opens");
        assert_eq!((found.current(), found.pending(1).len()), (0, 1));
        found.apply(START, 1).await.expect("one step");
        found.close().await;
        let found = Upgrade::open(config.clone()).await.expect("opens");
        assert_eq!(found.current(), 1);
        let pending = found.pending(Upgrade::NEWEST);
        assert_eq!(pending.first().map(|step| step.version), Some(2));
        let path = world.directory.path().join("older");
        let mut file = tokio::fs::File::create(&path).await.expect("a file");
        assert_eq!(found.export(START, &mut file).await.expect("a copy").schema, 1);
        // A run that is cut off inside a step has done nothing of that step.
        let cut = found.apply(START, Upgrade::NEWEST);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(300), cut).await;
        found.close().await;
        let found = Upgrade::open(config.clone()).await.expect("opens");
        found.apply(START, Upgrade::NEWEST).await.expect("the rest");
        found.close().await;
        let found = Upgrade::open(config.clone()).await.expect("opens");
        assert!(found.pending(Upgrade::NEWEST).is_empty());
        found.close().await;
        Metastore::open(config).await.expect("a store");
    }
}
