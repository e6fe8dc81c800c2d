//! A plan's audit period and key level through the API: shown before, told, waited for; then what
//! the ledger sealed is destroyed, and the log is proven as before.

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::smtp::smtp_server;
use crate::storage::{MAIL_WAIT, World};

const DAY_HOURS: u64 = 24;

#[test]
fn levels_and_times_that_are_not_offered_are_refused_by_place() {
    let world = World::on(Platform::serve(), &json!({"audit_days": 30, "key_level": "platform"}));
    let refused = |limits: Value, place: &str, expected: &str| {
        let plan = json!({"name": "Wrong", "limits": limits});
        let problem = world.operator.person("POST", "/v1/plans").json(&plan).send().problem(400);
        assert_eq!(problem["position"], place, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(expected), "{problem}");
    };
    for days in [0, 36_501] {
        refused(json!({"audit_days": days}), "limits.audit_days", "expected 1 to 36500 days");
    }
    for level in ["Held", "any"] {
        let expected = "expected \"platform\" or \"brought\" or \"held\"";
        refused(json!({"key_level": level}), "limits.key_level", expected);
    }
    let path = format!("/v1/plans/{}/expiring?audit_days=0", world.plan);
    assert_eq!(world.operator.get(&path).problem(400)["position"], "limits.audit_days");
    let own = world.tenant.get(&format!("/v1/tenants/{}", world.tenant.id)).expect(200);
    assert_eq!(own["key_level"], "platform");
    assert_eq!(own["plan"]["limits"]["audit_days"], 30);
    // Without a plan it is the platform's as well.
    let other = world.platform.tenant();
    let shown = other.get(&format!("/v1/tenants/{}", other.id)).expect(200);
    assert_eq!((&shown["key_level"], &shown["plan"]), (&json!("platform"), &Value::Null));
}

#[test]
fn an_audit_period_is_shown_told_waited_for_and_kept() {
    let (port, mails) = smtp_server();
    let options = Options {
        arguments: vec!["--simulated-clock".to_owned(), "2026-03-10T08:00:00Z".to_owned()],
        ..Options::default()
    };
    let options = options
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "plans@veritwin.example");
    let world = World::on(Platform::start(Mode::Serve, options), &json!({"audit_days": 30}));
    let (platform, tenant, operator) = (&world.platform, &world.tenant, &world.operator);
    // Sessions end while the days go by.
    let act = |method: &str, path: &str, body: &Value| {
        let session = platform.sign_in(&operator.email, &operator.password);
        let cookie = session.cookie().expect("a session");
        platform.http().request(method, path).header("cookie", &cookie).json(body).send()
    };
    let advance = |hours: u64| {
        platform.control("clock_advance", json!({"micros": hours * 3_600_000_000})).unwrap();
    };
    let path = format!("/v1/tenants/{}", tenant.id);
    let wait = || tenant.get(&path).expect(200)["audit_wait"].clone();
    assert_eq!(wait()["audit_days"], Value::Null, "there was no plan before");
    advance(8 * DAY_HOURS);
    assert_eq!(wait(), Value::Null);

    let device = tenant.device("meter");
    let sent = |value: i64| {
        let before = tenant.get("/v1/ledger").expect(200)["tree_size"].as_u64().unwrap();
        tenant.send(&device, &json!({"n": value})).expect(200);
        tenant.sealed(before + 1);
        let series = format!("device_id={}&key=n", device.id);
        let papers = wait_for("the papers", || {
            let papers = tenant.get(&format!("/v1/ledger/papers?{series}")).expect(200);
            papers["leaf"].is_object().then_some(papers)
        });
        let at = papers["reading"]["at"].as_str().unwrap();
        (format!("/v1/ledger/papers?{series}&at={at}"), papers["leaf"]["index"].clone())
    };
    let (old, leaf) = sent(1);
    advance(3 * DAY_HOURS);
    let (new, _) = sent(2);

    // Shown before it is given, of one tenant and of all who have a plan.
    let short = json!({"name": "Short", "limits": {"audit_days": 1}});
    let short = act("POST", "/v1/plans", &short).expect(201);
    let short = short["id"].as_str().unwrap();
    let due = operator.get(&format!("{path}/expiring?plan_id={short}")).expect(200);
    // The day of the tenant's first reading, and that on which it was made.
    let days = due["ledger_days"].as_u64().unwrap();
    assert!((1..=2).contains(&days), "{due}");
    assert!(due["audit_not_before"].is_string() && due["not_before"].is_null(), "{due}");
    let all = format!("/v1/plans/{}/expiring", world.plan);
    let none = operator.get(&all).expect(200);
    assert_eq!((&none["ledger_tenants"], &none["ledger_days"]), (&json!(0), &json!(0)), "{none}");
    let due = operator.get(&format!("{all}?audit_days=1")).expect(200);
    assert_eq!((&due["ledger_tenants"], &due["ledger_days"]), (&json!(1), &json!(days)), "{due}");

    // Given, it is told and waits.
    let given = act("PATCH", &path, &json!({"plan_id": short})).expect(200);
    assert_eq!(given["audit_wait"]["audit_days"], 30, "{given}");
    assert_eq!(given["retention_wait"], Value::Null, "{given}");
    loop {
        let mail = mails.recv_timeout(MAIL_WAIT).expect("a mail to the administrators");
        let text = mail.text.replace("=\n", "");
        if mail.to.contains(&tenant.email) && text.contains("opened 1 day instead of 30 days") {
            break;
        }
    }
    for _ in 0..6 {
        advance(2);
        tenant.get(&old).expect(200);
    }

    // Then it is kept: the old payload is gone, its leaf is proven, and sealing goes on.
    advance(7 * DAY_HOURS);
    let (newest, _) = sent(3);
    let problem = wait_for("the end of the old payload", || {
        let answer = tenant.get(&old);
        (answer.status == 410).then(|| answer.problem(410))
    });
    assert_eq!(problem["type"], "/problems/destroyed", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("its leaves stay"), "{problem}");
    tenant.get(&new).problem(410);
    tenant.get(&newest).expect(200);
    assert_eq!(wait(), Value::Null);
    tenant.get(&format!("/v1/ledger/entries/{leaf}/proof")).expect(200);
    let out = platform.scratch("exported");
    let export = ["ledger", "export", out.to_str().unwrap(), "--tenant", &tenant.id];
    platform.cli(&export).done();
    assert_eq!(platform.cli(&["ledger", "verify", out.to_str().unwrap()]).code, 0);
    let records = tenant.get("/v1/activity?action=ledger.maintain").expect(200);
    assert!(records["items"][0]["before"]["ledger_days"].as_u64().unwrap() >= 2, "{records}");
}
