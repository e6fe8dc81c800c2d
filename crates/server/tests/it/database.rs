//! The records on PostgreSQL, under the running platform: the second wall, the roles, the schema's
//! steps. What both databases do alike is tested by the whole suite, which runs on either
//! (`VERITWIN_TEST_DATABASE=postgres`).

use std::process::Stdio;

use serde_json::{Value, json};

use crate::device_claims::{SECRET, World};
use crate::harness::{Mode, Options, Platform, pause, wait_for};
use crate::http::Answer;
use crate::partners::administration;
use crate::postgres_server::{self, OWNER, RUNTIME};

/// Moments at which a migration is killed, in milliseconds after its start.
const KILLED_AFTER_MS: [u64; 12] = [1, 5, 10, 15, 20, 30, 40, 60, 80, 120, 180, 260];

fn postgres() -> Option<Platform> {
    Options::postgres().map(|options| Platform::start(Mode::Serve, options))
}

/// Answers about another tenant's device and about one's own rules while every statement forgets
/// its tenant.
fn reach_across(platform: &Platform) -> (Answer, Answer) {
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let device = theirs.device("theirs");
    let path = format!("/v1/devices/{}/credentials", device.id);
    mine.get(&path).problem(404);
    platform.control("forget_tenant_filter", json!({"on": true})).unwrap();
    let answer = mine.get(&path);
    let listed = mine.get("/v1/rules");
    platform.control("forget_tenant_filter", json!({"on": false})).unwrap();
    mine.get(&path).problem(404);
    (answer, listed)
}

/// The answer to a claim while every statement forgets its tenant. The claim goes from one tenant
/// into the other in one transaction, and a third one, who had the device before, knows it by the
/// same origin.
fn claim_across(platform: &Platform) -> Answer {
    let partner = administration(platform).below(platform, "partner", "Integrator");
    let [former, next] = ["Former", "Next"].map(|name| partner.below(platform, "customer", name));
    let world = World::of(platform, [partner, former, next]);
    let offer = || world.offer(&json!({"secretKey": SECRET})).expect(200);
    offer();
    let had = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    let claim = format!("/v1/devices/{}/claim", had["device_id"].as_str().unwrap());
    world.customer.ask(platform, "DELETE", &claim).send().expect(204);
    offer();
    platform.control("forget_tenant_filter", json!({"on": true})).unwrap();
    let answer = world.claim(&world.stranger, "pump-8", SECRET);
    platform.control("forget_tenant_filter", json!({"on": false})).unwrap();
    answer
}

/// Every statement forgets its tenant. On PostgreSQL row-level security refuses all the same; on
/// SQLite only the keys do, and not as if nothing were there: this test can fail.
#[test]
fn row_level_security_stands_when_the_queries_forget_their_tenant() {
    let rule = |platform: &Platform| {
        let condition = json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": 0});
        let rule = json!({"name": "theirs", "severity": "low", "condition": condition});
        platform.tenant().post("/v1/rules", &rule).expect(201);
    };
    if let Some(platform) = postgres() {
        rule(&platform);
        let (device, rules) = reach_across(&platform);
        device.problem(404);
        assert_eq!(rules.expect(200)["items"], json!([]));
        claim_across(&platform).expect(201);
    }
    if std::env::var("VERITWIN_TEST_DATABASE").is_err() {
        let platform = Platform::serve();
        rule(&platform);
        let (_, rules) = reach_across(&platform);
        let sees_nothing = rules.status == 200 && rules.expect(200)["items"] == json!([]);
        assert!(!sees_nothing, "without the filter the database of SQLite is no wall");
        assert_ne!(claim_across(&platform).status, 201, "it takes the row of who had it before");
    }
}

#[test]
fn the_role_of_a_running_platform_owns_nothing_and_every_table_is_walled() {
    let Some(platform) = postgres() else { return };
    let (server, name) = (postgres_server::server().unwrap(), platform.database().unwrap());
    platform.tenant().device("boiler");
    let ask = |role: &str, sql: &str| server.sql(role, name, sql);
    let unwalled = "SELECT count(*) FROM pg_class WHERE relkind = 'r' \
                    AND relnamespace = 'public'::regnamespace AND relname <> 'schema_versions' \
                    AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(ask("postgres", unwalled).unwrap(), "0");
    let owned = "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
                 WHERE r.rolname = 'runtime_role'";
    assert_eq!(ask("postgres", owned).unwrap(), "0");
    // Neither the runtime role by itself nor the owner sees a row.
    let refused = ask(RUNTIME, "SELECT count(*) FROM devices").unwrap_err();
    assert!(refused.contains("permission denied"), "{refused}");
    assert_eq!(ask(OWNER, "SELECT count(*) FROM devices").unwrap(), "0");
    let connected = "SELECT DISTINCT usename FROM pg_stat_activity \
                     WHERE application_name LIKE 'veritwin schema %' \
                     AND datname = current_database()";
    assert_eq!(ask("postgres", connected).unwrap(), RUNTIME);
}

#[test]
fn superusers_owners_and_newer_schemas_are_refused_at_the_start() {
    let Some(mut platform) = postgres() else { return };
    let (server, name) =
        (postgres_server::server().unwrap(), platform.database().unwrap().to_owned());
    platform.stop();
    let refusal = |environment: &[(&str, String)]| {
        let output = platform
            .command()
            .arg("serve")
            .arg("--data")
            .arg(platform.data())
            .envs(environment.iter().map(|(key, value)| (*key, value.as_str())))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let url = |role: &str| vec![("VERITWIN__DATABASE__URL", server.url(role, &name))];
    let superuser = refusal(&url("postgres"));
    assert!(superuser.contains("is a superuser"), "{superuser}");
    let owner = refusal(&url(OWNER));
    assert!(owner.contains("owns tables"), "{owner}");
    let newer = "INSERT INTO schema_versions VALUES (999, 0)";
    server.sql("postgres", &name, newer).unwrap();
    let refused = refusal(&[]);
    assert!(refused.contains("newer build"), "{refused}");
    let migrate = platform.cli(&["migrate", "--dry-run"]);
    assert_eq!(migrate.code, 1);
    assert!(migrate.stderr.contains("newer build"), "{}", migrate.stderr);
}

fn migration_survives_kills(options: Options) {
    let mut platform = Platform::new(Mode::Serve, options);
    platform.cli(&["migrate", "--to", "1"]).done();
    let shown = platform.cli(&["migrate", "--dry-run"]).done();
    assert!(shown.contains("-- step 2") && shown.contains("ALTER TABLE tenants ADD"), "{shown}");
    let facts = platform.cli(&["migrate", "--dry-run", "--json"]).json();
    assert_eq!((&facts["from"], &facts["applied"]), (&json!(1), &json!(false)));
    for kind in ["sqlite", "postgres"] {
        assert!(!facts["steps"][0][kind].as_array().unwrap().is_empty(), "{facts}");
    }
    for after in KILLED_AFTER_MS {
        let mut child = platform
            .command()
            .args(["migrate", "--data"])
            .arg(platform.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        pause(std::time::Duration::from_millis(after));
        let _ = child.kill();
        child.wait().unwrap();
        let facts = platform.cli(&["migrate", "--dry-run", "--json"]).json();
        let (from, newest) = (facts["from"].as_u64().unwrap(), facts["to"].as_u64().unwrap());
        assert!((1..=newest).contains(&from), "{facts}");
    }
    platform.cli(&["migrate"]).done();
    let facts = platform.cli(&["migrate", "--json"]).json();
    assert_eq!((&facts["steps"], &facts["applied"]), (&json!([]), &json!(false)));
    platform.start_again();
    platform.tenant().device("boiler");
}

#[test]
fn a_migration_goes_on_after_a_kill_at_any_moment() {
    migration_survives_kills(Options::default());
    if let Some(options) = Options::postgres() {
        migration_survives_kills(options);
    }
}

#[test]
fn an_older_schema_is_backed_up_before_a_start_changes_it() {
    let mut platform = Platform::new(Mode::Serve, Options::default());
    platform.cli(&["migrate", "--to", "1"]).done();
    platform.start_again();
    let backups = platform.data().join("backups");
    let names = wait_for("the automatic backup", || {
        let entries = std::fs::read_dir(&backups).ok()?;
        Some(entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>())
    });
    assert_eq!(names.len(), 1, "{names:?}");
    let manifest = std::fs::read(backups.join(&names[0]).join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["schema"], 1);
}

#[test]
fn doctor_names_what_stands_open_to_other_databases() {
    let Some(platform) = postgres() else { return };
    let (server, name) = (postgres_server::server().unwrap(), platform.database().unwrap());
    let open = "every role of the server may connect";
    let said = || platform.cli(&["doctor"]).stdout;
    assert!(!said().contains(open), "{}", said());
    let grant = format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC");
    server.sql("postgres", name, &grant).unwrap();
    assert!(said().contains(open), "{}", said());
    // The owner's address is configured here: a step that has nothing to do closes the door.
    let mut platform = platform;
    platform.stop();
    platform.cli(&["migrate"]).done();
    assert!(!platform.cli(&["doctor"]).stdout.contains(open));
}
