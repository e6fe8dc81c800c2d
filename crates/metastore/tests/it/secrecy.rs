//! What lies on disk: nothing readable, nothing without the key, everything after a crash.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use veritwin_domain::{SeededRng, StreamRuleId};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_metastore::{
    Alert, AlertEvent, AlertEventKind, AlertState, AttributeScope, Config, Database, Device, Error,
    Metastore, Page, Placement, Rule, StreamAct, StreamRule, StreamStatements, schema,
};

use crate::accounts::user;
use crate::alerting::{alert, mail, rule};
use crate::devices::twin;
use crate::platform::record;
use crate::streams::act;
use crate::world::{START, World, device};

const CANARY: &str = "kanarienvogel";

/// Puts the canary wherever a person or customer can write.
async fn fill(world: &World) -> Device {
    let text = |rest: &str| format!("{CANARY} {rest}");
    let json = |rest: &str| format!(r#"{{"text":"{CANARY} {rest}"}}"#).into_bytes();
    let tx = world.platform().await;
    let email = format!("{CANARY}@example.org");
    let person = veritwin_metastore::User { name: Some(text("name")), ..user(world, &email) };
    tx.user_create(&person).await.expect("an account");
    tx.outbox_add(mail(CANARY, &json("platform mail")), None).await.expect("mail");
    tx.setting_put("mail", &json("platform setting"), None).await.expect("a setting");
    tx.commit().await.expect("commit");
    let tx = world.begin().await;
    let mut own = tx.tenant().await.expect("own");
    own.name = text("tenant");
    tx.tenant_update(&own, None).await.expect("named");
    let mut pump = device(world, &text("device"));
    pump.kind = text("kind");
    pump.placement = Some(Placement { space_id: Some(text("space")), ..Placement::default() });
    tx.device_create(&pump).await.expect("a device");
    let server = AttributeScope::Server;
    tx.attributes_put(pump.id, server, &json("attribute"), None).await.expect("attributes");
    let mut home = twin(world, &text("twin"));
    home.detail = json("twin");
    tx.twin_create(&home).await.expect("a twin");
    tx.rule_create(&Rule { body: json("rule"), ..rule(world) }).await.expect("a rule");
    let said = StreamStatements { device: pump.id, body: json("statement") };
    tx.stream_statements_put(&said).await.expect("a statement");
    let rule = StreamRuleId::generate(START, world.rng.as_ref());
    let rule = StreamRule { id: rule, body: json("stream rule"), created_at: START };
    tx.stream_rule_create(&rule).await.expect("a stream rule");
    let head = Some(json("head"));
    let declared = StreamAct { head, body: json("act"), ..act(world, 0) };
    tx.stream_act_create(&declared).await.expect("an act");
    let raised = alert(world, AlertState::ActiveUnacknowledged, 0);
    let raised = Alert { detail: json("alert"), ..raised };
    tx.alert_create(&raised).await.expect("an alert");
    let comment = Some(text("comment"));
    let event = AlertEvent { at: START, kind: AlertEventKind::Commented, by: None, comment };
    tx.alert_event_add(raised.id, &event).await.expect("an event");
    let record = veritwin_metastore::Activity {
        envelope: json("envelope"),
        details: Some(json("details")),
        ..record(world, 1)
    };
    tx.activity_add(&record).await.expect("a record");
    tx.setting_put("mail", &json("setting"), None).await.expect("a setting");
    tx.outbox_add(mail("mail", &json("mail"))).await.expect("mail");
    tx.commit().await.expect("commit");
    pump
}

/// Every file under a directory that holds the text, in any case.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let grep = Command::new("grep").args(["-rliaF", "--", text]).arg(directory).output();
    let found = String::from_utf8(grep.expect("grep").stdout).expect("file names");
    found.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn nothing_is_readable_in_the_sqlite_files() {
    let world = World::sqlite().await;
    fill(&world).await;
    let directory = world.directory.path();
    let Database::Sqlite(file) = &world.database else { panic!("not SQLite") };
    let wal = directory.join("records.db-wal");
    assert!(wal.metadata().expect("a write-ahead log").len() > 0);
    for text in [CANARY, "sqlite format 3", "create table", "memberships", "operator"] {
        assert_eq!(holding(directory, text), Vec::<String>::new(), "{text}");
    }
    for path in [file.as_path(), &wal, &directory.join("records.db-shm")] {
        let mode = path.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    world.store.close().await.expect("closed");
    assert_eq!(holding(directory, CANARY), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_of_a_customer_is_readable_in_postgresql() {
    let Some(server) = crate::postgres::server() else { return };
    let (name, config) = server.config();
    let world = World::on(Database::Postgres(config), "postgres").await;
    fill(&world).await;
    let mut admin = server.connect("postgres", &name).await;
    sqlx::Executor::execute(&mut admin, "CHECKPOINT").await.expect("a checkpoint");
    let data = Path::new(server.directory()).join("data");
    assert_eq!(holding(&data, CANARY), Vec::<String>::new());
    // The search sees what is there.
    assert!(!holding(&data, "memberships").is_empty());
}

#[tokio::test]
async fn another_key_does_not_open_the_file() {
    let world = World::sqlite().await;
    fill(&world).await;
    world.store.close().await.expect("closed");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let rng = Arc::new(SeededRng::new(99));
    let root = PlatformFile::open_or_create(&elsewhere.path().join("root"), rng.clone());
    let keyring = elsewhere.path().join("keyring");
    let root = Box::new(root.expect("a root key"));
    let keys = KeyService::open(root, &keyring, world.clock.clone(), rng).expect("a keyring");
    let refused = Metastore::open(Config { keys, ..world.config() }).await.expect_err("refused");
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
    assert!(Metastore::open(world.config()).await.is_ok());
}

#[tokio::test]
async fn committed_rows_survive_a_crash_and_others_do_not() {
    let world = World::sqlite().await;
    let pump = fill(&world).await;
    let unfinished = world.begin().await;
    let lost = device(&world, "lost");
    unfinished.device_create(&lost).await.expect("a device");
    // The files as a crash at this moment leaves them: the log not yet merged.
    let copy = tempfile::tempdir().expect("a directory");
    for file in ["records.db", "records.db-wal"] {
        let from = world.directory.path().join(file);
        std::fs::copy(from, copy.path().join(file)).expect("a copy");
    }
    let database = Database::Sqlite(copy.path().join("records.db"));
    let store = Metastore::open(Config { database, ..world.config() }).await.expect("opened");
    let tx = store.read(&world.context(world.tenant)).await.expect("a transaction");
    assert_eq!(tx.device(pump.id).await.expect("kept"), pump);
    assert!(matches!(tx.device(lost.id).await, Err(Error::NotFound { .. })));
    assert_eq!(tx.rules(&Page::whole()).await.expect("kept").items.len(), 1);
}

#[tokio::test]
async fn a_tenants_rows_need_its_key_and_the_platforms_do_not() {
    let world = World::sqlite().await;
    let pump = fill(&world).await;
    world.keys.revoke(world.tenant).expect("revoked");
    let tx = world.read().await;
    assert!(matches!(tx.device(pump.id).await, Err(Error::KeyDenied(_))));
    assert!(matches!(tx.rules(&Page::whole()).await, Err(Error::KeyDenied(_))));
    assert!(tx.tenant().await.is_ok());
}

#[test]
fn no_column_can_hold_readable_text() {
    let columns = schema::columns();
    assert!(columns.len() > 100);
    for column in &columns {
        let written_by_people =
            ["name", "email", "body", "detail", "details", "comment", "payload", "profile"]
                .contains(&column.column);
        if written_by_people && !column.table.starts_with("clock") {
            let fits = matches!(column.kind, schema::ColumnKind::Sealed)
                || (column.column == "name" && column.table.ends_with("settings"));
            assert!(fits, "{column:?}");
        }
    }
}
