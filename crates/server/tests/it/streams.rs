//! Declarations of streams (promise P04): what nobody declared is taken and hidden by every way of
//! reading, a declaration opens it whole, and is taken back; rules, presumptions, and who may.

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::http::{Answer, Request};
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

const ACTS: &str = "/v1/stream-declarations";
const RULES: &str = "/v1/stream-rules";

/// A device of a type that nobody declared.
fn device(tenant: &Tenant, name: &str, kind: &str) -> Device {
    let made = tenant.post("/v1/devices", &json!({"name": name, "type": kind})).expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Device { id: text(&made["device"]["id"]), name: name.into(), token: text(&made["token"]) }
}

/// A member who asks with a session.
struct Member<'a> {
    tenant: &'a Tenant,
    cookie: String,
}

impl<'a> Member<'a> {
    fn new(tenant: &'a Tenant, role: &str) -> Self {
        Self { tenant, cookie: tenant.member(role, role).1 }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        self.tenant.http().request(method, path).header("cookie", &self.cookie)
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path).json(body).send()
    }

    fn declare(&self, device: &Device, key: Option<&str>, declaration: &str) -> Answer {
        let subject = (declaration == "personal").then(|| json!({"kind": "device"}));
        let target = json!({"device_id": device.id, "key": key});
        let body = json!({"targets": [target], "declaration": declaration, "subject": subject});
        self.post(ACTS, &body)
    }

    /// Status of the history of a stream, and how many readings it has.
    fn history(&self, device: &Device, key: &str) -> (u16, usize) {
        let body = json!({
            "series": [{"device_id": device.id, "key": key}],
            "from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z",
        });
        let answer = self.post("/v1/telemetry/query", &body);
        let points = |answer: &Value| answer["series"][0]["points"].as_array().map_or(0, Vec::len);
        let count = if answer.status == 200 { points(&answer.expect(200)) } else { 0 };
        (answer.status, count)
    }

    fn latest(&self, device: &Device) -> Vec<String> {
        let body = json!({"device_ids": [device.id]});
        let found = self.post("/v1/telemetry/latest", &body).expect(200);
        keys_of(&found["items"])
    }

    fn known(&self, device: &Device) -> Value {
        self.get(&format!("/v1/devices/{}", device.id)).expect(200)
    }
}

fn keys_of(items: &Value) -> Vec<String> {
    let mut keys: Vec<String> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    keys
}

#[track_caller]
fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

#[test]
fn what_nobody_declared_is_hidden_by_every_way_of_reading_and_released_whole() {
    let tenant = Platform::shared().tenant();
    let pump = device(&tenant, "pump", "pump");
    let condition = json!({"kind": "threshold", "key": "flow", "op": "gt", "threshold": 100});
    let rule = json!({"name": "high", "severity": "low", "condition": condition});
    tenant.post("/v1/rules", &rule).expect(201);
    for number in 0..30 {
        let body = json!({"ts": 1_700_000_000_000_i64 + number * 1000, "values": {"flow": number}});
        tenant.send(&pump, &body).expect(200);
    }
    tenant.send(&pump, &json!({"flow": 47110815, "power": 1})).expect(200);
    let officer = Member::new(&tenant, "privacy_officer");
    let operator = Member::new(&tenant, "operator");
    let mut socket = WebSocket::of_session(tenant.http(), &operator.cookie);
    socket.send(&json!({"op": "subscribe", "id": 1, "topic": "latest"}));
    assert_eq!(socket.receive()["items"], json!([]));
    let alert = || {
        let alerts = operator.get("/v1/alerts").expect(200);
        alerts["items"].get(0).cloned()
    };
    let hidden = wait_for("an alert", alert);
    assert!(!hidden.to_string().contains("47110815"), "{hidden}");
    assert_eq!((&hidden["key"], &hidden["value"]), (&Value::Null, &Value::Null));

    assert_eq!(operator.history(&pump, "flow"), (404, 0));
    assert_eq!(operator.latest(&pump), [""; 0]);
    let known = operator.known(&pump);
    assert_eq!((&known["keys"], &known["streams_hidden"]), (&json!([]), &json!(2)));
    assert_eq!(known["counts_as"], "undeclared");
    let series = json!({"series": [{"device_id": pump.id, "key": "flow"}]});
    operator.post("/v1/telemetry/stats", &series).problem(404);
    operator.get(&format!("/v1/ledger/papers?device_id={}&key=flow", pump.id)).problem(404);
    operator.get(&format!("/v1/devices/{}/attributes", pump.id)).problem(403);
    operator.get("/v1/streams").problem(403);
    operator.declare(&pump, Some("flow"), "non_personal").problem(403);

    assert_eq!(officer.history(&pump, "flow"), (200, 31));
    let listed = officer.get(&format!("/v1/streams?device_id={}", pump.id)).expect(200);
    assert_eq!(keys_of(&listed["items"]), ["flow", "power"]);
    assert_eq!(listed["items"][0]["ground"], "nothing");
    assert_eq!(listed["counts"], json!({"waiting": 2, "personal": 0, "non_personal": 0}));

    let act = officer.declare(&pump, Some("flow"), "non_personal").expect(201);
    let shown = socket.receive();
    assert_eq!(keys_of(&shown["items"]), ["flow"], "{shown}");
    assert_eq!(operator.history(&pump, "flow"), (200, 31), "whole");
    assert_eq!(operator.history(&pump, "power"), (404, 0));
    assert_eq!(operator.latest(&pump), ["flow"]);
    assert_eq!(operator.known(&pump)["streams_hidden"], 1);
    assert!(alert().unwrap().to_string().contains("47110815"));
    // A stream that begins later waits like the others.
    tenant.send(&pump, &json!({"flow": 2, "heat": 3})).expect(200);
    let shown = socket.receive();
    assert_eq!(keys_of(&shown["items"]), ["flow"], "{shown}");

    officer.post(&format!("{ACTS}/{}/undo", id(&act)), &json!({})).expect(200);
    assert_eq!(operator.history(&pump, "flow"), (404, 0));
    assert_eq!(socket.receive()["items"], json!([]));
    officer.post(&format!("{ACTS}/{}/undo", id(&act)), &json!({})).problem(409);
    // The device as a whole, in one act with another.
    let other = device(&tenant, "other", "pump");
    let targets = json!([{"device_id": pump.id}, {"device_id": other.id}]);
    let body = json!({"targets": targets, "declaration": "non_personal"});
    assert_eq!(officer.post(ACTS, &body).expect(201)["count"], 2);
    assert_eq!(operator.latest(&pump), ["flow", "heat", "power"]);
    assert_eq!(operator.known(&other)["declaration"], "non_personal");
}

#[test]
fn acts_are_recorded_and_taken_back_only_where_nothing_else_was_said_since() {
    let tenant = Platform::shared().tenant();
    let badge = device(&tenant, "gate", "gateway");
    tenant.send(&badge, &json!({"badge": "b", "holder": "h", "load": 1})).expect(200);
    let officer = Member::new(&tenant, "privacy_officer");
    let operator = Member::new(&tenant, "operator");
    let act = officer.declare(&badge, Some("load"), "non_personal").expect(201);
    let record = tenant.get("/v1/activity?action=stream.declare&limit=1").expect(200);
    let record = &record["items"][0];
    assert_eq!(record["before"]["said"][0]["declaration"], "undeclared", "{record}");
    assert_eq!(record["after"]["said"][0]["declaration"], "non_personal");
    // A name may say what is closed: it is recorded of what was open before, and is.
    assert_eq!(
        (&record["after"]["count"], &record["after"]["said"][0]["streams"]),
        (&json!(1), &json!(1))
    );
    assert!(!record.to_string().contains("\"load\""), "{record}");
    officer.declare(&badge, Some("load"), "personal").expect(201);
    officer.post(&format!("{ACTS}/{}/undo", id(&act)), &json!({})).problem(409);
    assert_eq!(operator.history(&badge, "load"), (404, 0));

    // Whose data it is: refused without, kept with.
    let ask = |declaration: &str, subject: Value| {
        let target = json!({"device_id": badge.id, "key": "badge"});
        let body = json!({"targets": [target], "declaration": declaration, "subject": subject});
        officer.post(ACTS, &body)
    };
    let field = |name: &str| json!({"kind": "field", "field": name});
    for (declaration, subject) in [
        ("personal", Value::Null),
        ("non_personal", field("holder")),
        ("undeclared", field("holder")),
        ("personal", field("badge")),
        ("personal", field("")),
        ("personal", json!({"kind": "device", "person": " "})),
    ] {
        let answer = ask(declaration, subject.clone());
        assert_eq!(answer.status, 400, "{declaration} {subject}: {}", answer.text());
    }
    ask("personal", field("holder")).expect(201);
    let personal = || {
        let listed = officer.get(&format!("/v1/streams?device_id={}&state=personal", badge.id));
        let listed = listed.expect(200)["items"].as_array().unwrap().clone();
        listed.into_iter().find(|one| one["key"] == "badge").unwrap()
    };
    let found = personal();
    assert_eq!((&found["subject"], &found["ground"]), (&field("holder"), &json!("stream")));
    // Their rights reach single readings.
    let load = |person: &str| {
        let found = officer.post("/v1/streams/subject", &json!({"person": person}));
        let found = found.expect(200);
        let rows = found["items"].as_array().unwrap().iter();
        rows.map(|row| (row["key"].clone(), row["readings"].clone())).collect::<Vec<_>>()
    };
    tenant.send(&badge, &json!({"badge": "b2", "holder": "g"})).expect(200);
    tenant.send(&badge, &json!({"badge": "b3", "holder": "h"})).expect(200);
    assert_eq!(load("h"), [(json!("badge"), json!(2))]);
    assert_eq!(load("nobody"), []);
    operator.post("/v1/streams/subject", &json!({"person": "h"})).problem(403);
    ask("personal", json!({"kind": "device", "person": "A. Person"})).expect(201);
    assert_eq!(load("A. Person"), [(json!("badge"), json!(3)), (json!("load"), json!(1))]);
    let mut body = json!({"person": "A. Person", "limit": 1});
    for key in ["badge", "load"] {
        let found = officer.post("/v1/streams/subject", &body).expect(200);
        assert_eq!(
            (keys_of(&found["items"]), &found["items"][0]["truncated"]),
            (vec![key.to_owned()], &json!(false))
        );
        body["cursor"] = found["next_cursor"].clone();
    }
    let rest = officer.post("/v1/streams/subject", &body).expect(200);
    assert_eq!((&rest["items"], &rest["next_cursor"]), (&json!([]), &Value::Null), "{rest}");
    body["cursor"] = json!("elsewhere");
    officer.post("/v1/streams/subject", &body).problem(400);
    assert_eq!(personal()["subject"], json!({"kind": "device", "person": "A. Person"}));
    ask("undeclared", Value::Null).expect(201);
    assert_eq!(personal()["ground"], "presumed", "a badge is presumed to be personal");
    let none = json!({"targets": [], "declaration": "non_personal"});
    officer.post(ACTS, &none).problem(400);
    let listed = officer.get(ACTS).expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 5);
    assert_eq!(listed["items"][4]["steps"][0]["device_name"], "gate");
}

#[test]
fn rules_release_groups_and_presumptions_hold_against_wide_ones() {
    let tenant = Platform::shared().tenant();
    let (north, door) =
        (device(&tenant, "north", "Climate"), device(&tenant, "door", "Door Reader"));
    tenant.send(&north, &json!({"temperature": 20, "badge": "b"})).expect(200);
    tenant.send(&door, &json!({"state": 1})).expect(200);
    let officer = Member::new(&tenant, "privacy_officer");
    let operator = Member::new(&tenant, "operator");
    let rule = |body: Value| officer.post(RULES, &body);
    rule(json!({"declaration": "non_personal"})).problem(400);
    rule(json!({"key": "t*", "declaration": "undeclared"})).problem(400);
    rule(json!({"key": "t*", "declaration": "personal"})).problem(400);
    operator.post(RULES, &json!({"key": "*", "declaration": "non_personal"})).problem(403);

    let wide = rule(json!({"key": "*", "declaration": "non_personal"})).expect(201);
    assert_eq!(wide["streams"], 1, "{wide}");
    assert_eq!(operator.latest(&north), ["temperature"]);
    assert_eq!(operator.latest(&door), [""; 0]);
    rule(json!({"key": "*", "declaration": "non_personal"})).problem(409);
    let doors = json!({"device_type": "door reader", "declaration": "non_personal"});
    let doors = rule(doors).expect(201);
    assert_eq!(operator.latest(&door), ["state"]);
    assert_eq!(operator.known(&door)["counts_as"], "non_personal");
    // What comes later comes under the rule.
    let south = device(&tenant, "south", "climate");
    tenant.send(&south, &json!({"temperature": 20})).expect(200);
    assert_eq!(operator.latest(&south), ["temperature"]);

    let rules = officer.get(RULES).expect(200);
    let order = |at: usize| id(&rules["items"][at]);
    assert_eq!((order(0), order(1)), (id(&doors), id(&wide)), "the most specific first");
    officer.request("DELETE", &format!("{RULES}/{}", id(&doors))).send().expect(204);
    assert_eq!(operator.latest(&door), [""; 0]);
    // Taking a rule away is an act too.
    let acts = officer.get(ACTS).expect(200);
    let undo = format!("{ACTS}/{}/undo", id(&acts["items"][0]));
    officer.post(&undo, &json!({})).expect(200);
    assert_eq!(operator.latest(&door), ["state"]);
}

#[test]
fn nobody_opens_streams_by_changing_their_device() {
    let tenant = Platform::shared().tenant();
    let wearable = device(&tenant, "watch", "wearable");
    tenant.send(&wearable, &json!({"steps": 20})).expect(200);
    let officer = Member::new(&tenant, "privacy_officer");
    let integrator = Member::new(&tenant, "integrator");
    let climate = json!({"device_type": "climate", "declaration": "non_personal"});
    officer.post(RULES, &climate).expect(201);
    let path = format!("/v1/devices/{}", wearable.id);
    let change =
        |member: &Member<'_>, body: Value| member.request("PATCH", &path).json(&body).send();
    change(&integrator, json!({"type": "climate"})).problem(403);
    change(&integrator, json!({"declaration": "non_personal"})).problem(403);
    change(&integrator, json!({"name": "another name"})).expect(200);
    assert_eq!(integrator.latest(&wearable), [""; 0]);
    change(&integrator, json!({"type": "phone"})).expect(200);
    let by_administrator = tenant.patch(&path, &json!({"type": "climate"}));
    by_administrator.expect(200);
    assert_eq!(integrator.latest(&wearable), ["steps"]);
}

#[test]
fn taking_back_leaves_alone_what_was_said_elsewhere_since() {
    let tenant = Platform::shared().tenant();
    let watch = device(&tenant, "watch", "gateway");
    tenant.send(&watch, &json!({"load": 1, "steps": 2})).expect(200);
    let officer = Member::new(&tenant, "privacy_officer");
    let operator = Member::new(&tenant, "operator");
    let undo = |act: &Value| officer.post(&format!("{ACTS}/{}/undo", id(act)), &json!({}));
    // Whose device it is was said with another stream.
    let act = officer.declare(&watch, Some("load"), "non_personal").expect(201);
    let target = json!({"device_id": watch.id, "key": "steps"});
    let subject = json!({"kind": "device", "person": "B. Person"});
    let body = json!({"targets": [target], "declaration": "personal", "subject": subject});
    officer.post(ACTS, &body).expect(201);
    undo(&act).expect(200);
    let found = officer.post("/v1/streams/subject", &json!({"person": "B. Person"})).expect(200);
    assert!(keys_of(&found["items"]).contains(&"steps".to_owned()), "{found}");
    // Of a time only.
    let within = |times: Value| {
        let mut body = json!({"person": "B. Person"});
        body.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        officer.post("/v1/streams/subject", &body)
    };
    let (old, future) = ("2001-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
    let all = within(json!({"from": old, "to": future})).expect(200);
    assert!(keys_of(&all["items"]).contains(&"steps".to_owned()), "{all}");
    assert_eq!(within(json!({"to": old})).expect(200)["items"], json!([]));
    assert_eq!(within(json!({"from": future})).expect(200)["items"], json!([]));
    within(json!({"from": future, "to": old})).problem(400);
    within(json!({"from": "yesterday"})).problem(400);
    // What the device was closed by since is not opened.
    officer.declare(&watch, Some("load"), "non_personal").expect(201);
    let back = officer.declare(&watch, Some("load"), "undeclared").expect(201);
    officer.declare(&watch, None, "personal").expect(201);
    undo(&back).problem(409);
    assert_eq!(operator.history(&watch, "load"), (404, 0));
    // Who may write attributes there but not read them is told what they wrote.
    let path = format!("/v1/devices/{}/attributes", watch.id);
    let kept = json!({"server": {"kept": 1}, "shared": {"kept": 2}});
    tenant.person("PATCH", &path).json(&kept).send().expect(200);
    let integrator = Member::new(&tenant, "integrator");
    integrator.get(&path).problem(403);
    let written = json!({"server": {"own": 3}});
    let told = integrator.request("PATCH", &path).json(&written).send().expect(200);
    assert_eq!((&told["server"], &told["shared"]), (&json!({"own": 3}), &json!({})), "{told}");
    assert_eq!(told["client"], json!({}));
}

#[test]
fn a_rule_of_somebody_who_may_not_read_a_stream_is_kept_off_it() {
    let tenant = Platform::shared().tenant();
    let pump = device(&tenant, "pump", "pump");
    let officer = Member::new(&tenant, "privacy_officer");
    let integrator = Member::new(&tenant, "integrator");
    let condition = json!({"kind": "threshold", "key": "flow", "op": "gt", "threshold": 100});
    let rule = json!({"name": "line", "severity": "low", "condition": condition});
    let seeing = id(&tenant.post("/v1/rules", &rule).expect(201));
    let bound = id(&integrator.post("/v1/rules", &rule).expect(201));
    let states = |rule: &str| -> Vec<String> {
        let alerts = tenant.get("/v1/alerts?filter=all").expect(200);
        let of_rule = |one: &&Value| one["rule_id"] == *rule;
        let found = alerts["items"].as_array().unwrap().iter().filter(of_rule);
        found.map(|one| one["state"].as_str().unwrap().to_owned()).collect()
    };
    let until = |rule: &str, wanted: &str| {
        wait_for(wanted, || states(rule).iter().any(|state| state == wanted).then_some(()));
    };
    tenant.send(&pump, &json!({"flow": 47110815})).expect(200);
    until(&seeing, "active_unacknowledged");
    assert_eq!(states(&bound), [""; 0], "what one write tells, it tells of all rules");
    // What is open is judged as it stands; closed again, the alert is over.
    officer.declare(&pump, Some("flow"), "non_personal").expect(201);
    until(&bound, "active_unacknowledged");
    officer.declare(&pump, Some("flow"), "personal").expect(201);
    until(&bound, "cleared_unacknowledged");
    assert_eq!(states(&seeing), ["active_unacknowledged"]);
    // Who writes it is who asks, and what asks the same asks nothing new.
    let path = format!("/v1/rules/{bound}");
    assert_eq!(integrator.get(&path).expect(200)["sees_closed"], false);
    tenant.person("PUT", &path).json(&rule).send().expect(200);
    until(&bound, "active_unacknowledged");
    let put = |rule: &Value| integrator.request("PUT", &path).json(rule).send();
    let mut changed = rule.clone();
    changed["name"] = json!("another name");
    assert_eq!(put(&changed).expect(200)["sees_closed"], true);
    changed["condition"]["threshold"] = json!(50);
    put(&changed).problem(409);
    assert_eq!(states(&bound), ["active_unacknowledged"], "nothing is lost unasked");
    changed["sees_closed"] = json!(false);
    assert_eq!(put(&changed).expect(200)["sees_closed"], false);
    until(&bound, "cleared_unacknowledged");
}
