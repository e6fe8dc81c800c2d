//! The storage of a plan: every way in is refused by the limit's name before anything is taken,
//! and other tenants go on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::http::Answer;
use crate::mqtt::Version;
use crate::smtp::smtp_server;
use crate::tenant::Tenant;
use crate::websocket::WebSocket;

/// Until a mail is there.
pub(crate) const MAIL_WAIT: Duration = Duration::from_secs(60);
const LIMIT: &str = "plan_storage_bytes_max";
const TELEMETRY: &str = "v1/devices/me/telemetry";
/// A building with one storey.
pub(crate) const MODEL: &str = "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\n\
    FILE_NAME('','',(''),(''),'','','');\nFILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n\
    #1=IFCPROJECT('000000000000000000000P',$,'B',$,$,$,$,$,#2);\n#2=IFCUNITASSIGNMENT((#3));\n\
    #3=IFCSIUNIT(*,.LENGTHUNIT.,$,.METRE.);\n\
    #4=IFCBUILDING('000000000000000000000B',$,'B',$,$,$,$,$,$,$,$,$);\n\
    #5=IFCBUILDINGSTOREY('000000000000000000000S',$,'S',$,$,$,$,$,$,0.);\n\
    #6=IFCRELAGGREGATES('000000000000000000000R',$,$,$,#4,(#5));\nENDSEC;\nEND-ISO-10303-21;\n";

pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) operator: Tenant,
    pub(crate) tenant: Tenant,
    pub(crate) plan: String,
}

impl World {
    /// A tenant with a plan of so many bytes.
    fn new(bytes: u64) -> Self {
        Self::on(Platform::serve(), &json!({"storage_bytes": bytes}))
    }

    /// A tenant with a plan of these limits.
    pub(crate) fn on(platform: Platform, limits: &Value) -> Self {
        let link = platform.control("admin_link", json!({"platform": true})).unwrap();
        let token = crate::harness::link_token(link["link"].as_str().unwrap());
        let operator = Tenant::redeem(platform.http(), token, 900);
        let tenant = platform.tenant();
        let plan = json!({"name": "Small", "limits": limits});
        let made = operator.person("POST", "/v1/plans").json(&plan).send().expect(201);
        for (name, value) in limits.as_object().unwrap() {
            assert_eq!(&made["limits"][name], value);
        }
        let plan = made["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/tenants/{}", tenant.id);
        let given = operator.person("PATCH", &path).json(&json!({"plan_id": plan})).send();
        given.expect(200);
        Self { platform, operator, tenant, plan }
    }

    fn bound(&self, bytes: u64) {
        let plan = json!({"name": "Small", "limits": {"storage_bytes": bytes}});
        let path = format!("/v1/plans/{}", self.plan);
        self.operator.person("PUT", &path).json(&plan).send().expect(200);
    }

    /// What the tenant has stored, as whoever answers for it sees it.
    fn used(&self) -> u64 {
        let path = format!("/v1/tenants/{}", self.tenant.id);
        let shown = self.operator.person("GET", &path).send().expect(200);
        let own = self.tenant.get(&path).expect(200);
        assert_eq!(shown["usage"], own["usage"]);
        own["usage"]["storage_bytes"].as_u64().unwrap()
    }
}

#[track_caller]
fn refused(answer: &Answer) {
    let problem = answer.problem(507);
    assert_eq!(problem["limit"], LIMIT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("at most"), "{problem}");
}

/// Text that a segment stores in half its length, and no shorter: sealing must not make room for
/// another one.
fn hexadecimal(chars: usize) -> String {
    let mut state = 1u64;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from_digit((state >> 60) as u32, 16).unwrap()
    };
    (0..chars).map(|_| digit()).collect()
}

#[test]
fn readings_over_a_plan_are_refused_on_every_way_in() {
    let world = World::new(80_000);
    let (platform, tenant) = (&world.platform, &world.tenant);
    let device = tenant.device("meter");
    let filling = hexadecimal(60_000);
    let text = |tail: char| format!("{filling}{tail}");
    assert_eq!(world.used(), 0);
    tenant.send(&device, &json!({"t": text('1')})).expect(200);
    let used = world.used();
    assert!((30_000..80_000).contains(&used), "{used}");

    refused(&tenant.send(&device, &json!({"t": text('2')})));
    let payload = json!({"t": text('3')}).to_string();
    let (code, reason) =
        platform.mqtt(Version::V5, &device.token).publish(TELEMETRY, payload.as_bytes());
    assert!(code == 0x97 && reason.contains(LIMIT), "{code:#x} {reason}");
    let (code, _) =
        platform.mqtt(Version::V311, &device.token).publish(TELEMETRY, payload.as_bytes());
    assert_eq!(code, 0, "3.1.1 cannot be told");
    let listed = tenant.get(&format!("/v1/devices/{}/refusals", device.id)).expect(200);
    assert_eq!(listed["items"][0]["limit"], LIMIT, "{listed}");
    refused(&tenant.write("", "text/plain", &format!("meter t=\"{}\"", text('4'))));
    let mut socket = WebSocket::authenticated(platform.http(), &device.token);
    socket.send(&json!({"op": "publish", "id": 1, "values": {"t": text('5')}}));
    let said = socket.receive();
    assert!(said["type"] == "error" && said.to_string().contains(LIMIT), "{said}");
    assert_eq!(tenant.latest(&device, "t"), Value::from(text('1')), "nothing of it was taken");

    // What still fits is taken, on the same connections, and others do not notice.
    socket.send(&json!({"op": "publish", "id": 2, "values": {"n": 1}}));
    assert_eq!(socket.receive()["type"], "done");
    let other = platform.tenant();
    let theirs = other.device("meter");
    other.send(&theirs, &json!({"t": text('6')})).expect(200);
    other.send(&theirs, &json!({"t": text('7')})).expect(200);
    world.bound(1_000_000);
    tenant.send(&device, &json!({"t": text('8')})).expect(200);
}

#[test]
fn twins_count_and_uploads_over_a_plan_are_refused() {
    let mut world = World::new(1_000_000);
    let tenant = world.tenant.clone();
    let upload = |model: &str| {
        tenant.request("POST", "/v1/twins").body("application/x-step", model.as_bytes()).send()
    };
    let made = upload(MODEL).expect(201);
    let used = world.used();
    assert!(used as usize > MODEL.len(), "{used}");
    world.bound(used + 100);
    refused(&upload(MODEL));
    let source = format!("/v1/twins/{}/source", made["twin"]["id"].as_str().unwrap());
    let replaced = tenant.request("PUT", &source).body("application/x-step", MODEL.as_bytes());
    refused(&replaced.send());
    let device = tenant.device("meter");
    refused(&tenant.send(&device, &json!({"t": "x".repeat(200)})));
    // Counted again after a start, from the objects themselves.
    world.platform.stop();
    world.platform.start_again();
    assert_eq!(world.used(), used);
    refused(&tenant.send(&device, &json!({"t": "x".repeat(200)})));
    tenant.delete(&source.replace("/source", "")).expect(204);
    assert!(world.used() < used);
    tenant.send(&device, &json!({"t": "x".repeat(200)})).expect(200);
}

#[test]
fn readings_past_their_plans_days_are_destroyed_and_recorded() {
    let options = Options {
        arguments: vec!["--simulated-clock".to_owned(), "2026-03-10T08:00:00Z".to_owned()],
        ..Options::default()
    };
    let world = World::on(Platform::start(Mode::Serve, options), &json!({"retention_days": 30}));
    let (platform, tenant) = (&world.platform, &world.tenant);
    for days in [json!(0), json!(36_501), json!(-1)] {
        let plan = json!({"name": "Wrong", "limits": {"retention_days": days}});
        world.operator.person("POST", "/v1/plans").json(&plan).send().problem(400);
    }
    let device = tenant.device("meter");
    let now_ms = 1_773_129_600_000i64;
    let day_ms = 86_400_000i64;
    let old = |days: i64| json!({"ts": now_ms - days * day_ms, "values": {"n": days}});
    tenant.send(&device, &json!([old(40), old(10), old(0)])).expect(200);
    assert_eq!(tenant.stats(&device, "n").0, 3, "nothing is sealed yet");
    // The plan was given just now: nothing ends for seven days.
    platform.control("clock_advance", json!({"micros": 8 * 86_400_000_000u64})).unwrap();
    let mut looks = 0;
    wait_for("the end of the oldest", || {
        // The first hours let the readings be sealed, later ones let the purge come due again.
        if looks % 50 == 0 {
            platform.control("clock_advance", json!({"micros": 2u64 * 3_600 * 1_000_000})).unwrap();
        }
        looks += 1;
        (tenant.stats(&device, "n").0 == 2).then_some(())
    });
    let path = format!("/v1/plans/{}/expiring", world.plan);
    let due = world.operator.get(&path).expect(200);
    assert_eq!((&due["tenants"], &due["readings"]), (&json!(0), &json!(0)), "{due}");
    let due = world.operator.get(&format!("{path}?retention_days=5")).expect(200);
    assert_eq!((&due["tenants"], &due["readings"]), (&json!(1), &json!(2)), "{due}");
    world.operator.get(&format!("{path}?retention_days=0")).problem(400);
    tenant.get(&path).problem(403);
    assert_eq!(tenant.stats(&device, "n").0, 2, "looking destroys nothing");
    let records = tenant.get("/v1/activity?action=telemetry.maintain").expect(200);
    assert_eq!(records["items"][0]["before"]["readings"], 1, "{records}");
}

#[test]
fn a_shorter_plan_is_shown_before_told_and_waits() {
    let (port, mails) = smtp_server();
    let options = Options {
        arguments: vec!["--simulated-clock".to_owned(), "2026-03-10T08:00:00Z".to_owned()],
        ..Options::default()
    };
    let options = options
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "plans@veritwin.example");
    let world = World::on(Platform::start(Mode::Serve, options), &json!({"retention_days": 30}));
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
    let wait = || tenant.get(&path).expect(200)["retention_wait"].clone();
    assert_eq!(wait()["retention_days"], Value::Null, "there was no plan before");
    advance(8 * 24);
    assert_eq!(wait(), Value::Null);
    let device = tenant.device("meter");
    let now_ms = 1_773_129_600_000i64 + 8 * 86_400_000;
    let old = |days: i64| json!({"ts": now_ms - days * 86_400_000, "values": {"n": days}});
    tenant.send(&device, &json!([old(10), old(0)])).expect(200);

    // Shown, with what is still in memory, before it is given.
    let short = json!({"name": "Short", "limits": {"retention_days": 1}});
    let short = act("POST", "/v1/plans", &short).expect(201);
    let short = short["id"].as_str().unwrap();
    let due = operator.get(&format!("{path}/expiring?plan_id={short}")).expect(200);
    assert_eq!((&due["retention_days"], &due["readings"]), (&json!(1), &json!(1)), "{due}");
    assert!(due["not_before"].is_string(), "{due}");
    let same = operator.get(&format!("{path}/expiring?plan_id={}", world.plan)).expect(200);
    assert_eq!((&same["not_before"], &same["readings"]), (&Value::Null, &json!(0)), "{same}");
    let none = operator.get(&format!("{path}/expiring")).expect(200);
    assert_eq!(none["retention_days"], Value::Null, "{none}");

    // Given, it is told and waits; taken back, nothing happened.
    let give = |plan: &str| act("PATCH", &path, &json!({"plan_id": plan})).expect(200);
    assert_eq!(give(short)["retention_wait"]["retention_days"], 30);
    assert_eq!(wait()["retention_days"], 30);
    loop {
        let mail = mails.recv_timeout(MAIL_WAIT).expect("a mail to the administrators");
        let text = mail.text.replace("=\n", "");
        if mail.to.contains(&tenant.email) && text.contains("kept 1 day instead of 30 days") {
            // In words: which plan, until when, and whom to ask.
            assert!(text.contains("the plan \"Short\", which is new"), "{text}");
            assert!(text.contains("not before 25 March 2026, 08:"), "{text}");
            assert!(text.contains("ask the operator of this platform."), "{text}");
            break;
        }
    }
    for _ in 0..6 {
        advance(2);
        assert_eq!(tenant.stats(&device, "n").0, 2);
    }
    assert_eq!(give(&world.plan)["retention_wait"], Value::Null);

    // The same when a plan that somebody has is narrowed, and a longer time counts at once.
    let limit = |days: u64| {
        let plan = json!({"name": "Small", "limits": {"retention_days": days}});
        let path = format!("/v1/plans/{}", world.plan);
        act("PUT", &path, &plan).expect(200);
    };
    limit(5);
    assert_eq!(wait()["retention_days"], 30);
    limit(60);
    assert_eq!(wait(), Value::Null);
    limit(5);
    assert_eq!(wait()["retention_days"], 60);
    let mut looks = 0;
    advance(7 * 24);
    wait_for("the end of the wait", || {
        if looks % 50 == 0 {
            advance(2);
        }
        looks += 1;
        (tenant.stats(&device, "n").0 < 2).then_some(())
    });
    assert_eq!(wait(), Value::Null);
}
