//! Messages to places outside, through the running platform: signed, in order, only what may
//! leave; nothing is lost by a kill; what is not wanted is parked and sent again; and nothing goes
//! to anybody who was not registered.

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::tenant::Tenant;
use crate::webhooks::Endpoint;

/// A platform that may call this machine, an endpoint, and a tenant.
struct Stage {
    platform: Platform,
    endpoint: Endpoint,
    tenant: Tenant,
}

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

fn place(url: &str) -> Value {
    json!({
        "name": "hook", "kind": "webhook", "recipient": "House Ltd", "purpose": "billing",
        "url": url, "instructed": true,
    })
}

impl Stage {
    fn new() -> Self {
        let endpoint = Endpoint::start();
        let options = Options::default()
            .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
            .environment("VERITWIN__OUTBOUND__PORTS", &endpoint.port.to_string())
            .environment("VERITWIN__OUTBOUND__AUTHORITIES", &endpoint.authority);
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Self { platform, endpoint, tenant }
    }

    /// The id and the secret of a place that leads to the endpoint.
    fn place(&self) -> (String, String) {
        let made = self.tenant.post("/v1/route-destinations", &place(&self.endpoint.url()));
        let made = made.expect(201);
        (id(&made["destination"]), made["secret"].as_str().unwrap().to_owned())
    }

    fn rule(&self, place: &str, matches: Value, expression: Option<&str>) -> String {
        let rule = json!({
            "name": "r", "matches": matches, "expression": expression, "destination_ids": [place],
        });
        id(&self.tenant.post("/v1/route-rules", &rule).expect(201))
    }

    fn counts(&self) -> Value {
        self.tenant.get("/v1/route-counts").expect(200)["items"][0].clone()
    }
}

#[test]
fn readings_go_out_signed_in_order_and_only_what_may_leave() {
    let stage = Stage::new();
    let (place, secret) = stage.place();
    let sample = stage.tenant.post(&format!("/v1/route-destinations/{place}/test"), &json!({}));
    assert_eq!(sample.expect(200)["delivered"], true);
    let arrived = stage.endpoint.next();
    assert!(arrived.is_signed_with(&secret) && arrived.json()["type"] == "sample");

    let pump = stage.tenant.device("pump");
    let closed = json!({"name": "closed", "type": "test"});
    let closed = stage.tenant.post("/v1/devices", &closed).expect(201);
    let closed = closed["token"].as_str().unwrap();
    let matches = json!({"kind": "readings", "keys": ["t"]});
    let rule = stage.rule(&place, matches, Some("values.t > 10"));
    let undeclared = stage.platform.http().post("/api/v1/telemetry").bearer(closed);
    undeclared.json(&json!({"t": 99})).send().expect(200);
    for value in [11, 5, 12, 13] {
        stage.tenant.send(&pump, &json!({"t": value, "other": 1})).expect(200);
    }
    let mut ids = Vec::new();
    for expect in [11, 12, 13] {
        let arrived = stage.endpoint.next();
        assert!(arrived.is_signed_with(&secret));
        let said = arrived.json();
        assert_eq!(said["type"], "readings");
        assert_eq!(said["data"]["device"]["name"], "pump", "open streams only: {said}");
        assert_eq!(said["data"]["readings"][0]["values"], json!({"t": expect}));
        ids.push(arrived.id().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    wait_for("the counts", || {
        let counts = stage.counts();
        (counts["delivered"] == 3 && counts["next_at"].is_null()).then_some(())
    });
    assert_eq!(stage.counts()["rule_id"], rule.as_str());

    // Messages to topics, as bytes, text or JSON.
    let matches = json!({"kind": "messages", "topic": "site/+/state"});
    stage.rule(&place, matches, None);
    let mut speaker = stage.platform.mqtt(crate::mqtt::Version::V5, &pump.token);
    speaker.publish("site/a/state", br#"{"on":true}"#);
    speaker.publish("site/a/else", b"no");
    let said = stage.endpoint.next().json();
    assert_eq!(
        (&said["type"], &said["data"]["topic"]),
        (&json!("message"), &json!("site/a/state"))
    );
    assert_eq!(said["data"]["payload"], json!({"on": true}));
}

#[test]
fn only_devices_with_the_attributes_that_a_rule_asks_for_are_heard() {
    let stage = Stage::new();
    let (place, _) = stage.place();
    let asked = |scope: &str, name: &str, equals: Value| {
        json!({"kind": "readings", "attributes": [
            {"scope": scope, "name": name, "equals": equals},
            {"scope": "client", "name": "ready", "equals": true},
        ]})
    };
    stage.rule(&place, asked("server", "floor", json!(3)), None);
    let (pump, other) = (stage.tenant.device("pump"), stage.tenant.device("other"));
    let says = |floor: Value| {
        let path = format!("/v1/devices/{}/attributes", pump.id);
        stage.tenant.patch(&path, &json!({"server": {"floor": floor}})).expect(200);
    };
    let ready = |is_ready: bool| {
        let said = stage.platform.http().post("/api/v1/attributes").bearer(&pump.token);
        said.json(&json!({"ready": is_ready})).send().expect(200);
    };
    // What the other device says goes out in any case: when it has, what the pump said before it
    // was looked at.
    stage.rule(&place, json!({"kind": "readings", "device_ids": [other.id]}), None);
    let mut of_pump = Vec::new();
    let mut round = |value: u32| {
        stage.tenant.send(&pump, &json!({"t": value})).expect(200);
        stage.tenant.send(&other, &json!({"t": value})).expect(200);
        loop {
            let said = stage.endpoint.next().json()["data"].clone();
            if said["device"]["name"] == "other" {
                break;
            }
            of_pump.push(said["readings"][0]["values"]["t"].clone());
        }
    };
    says(json!("3"));
    ready(true);
    round(1);
    says(json!(3));
    round(2);
    ready(false);
    round(3);
    ready(true);
    round(4);
    says(Value::Null);
    round(5);
    says(json!(3.0));
    round(6);
    while of_pump.len() < 3 {
        let said = stage.endpoint.next().json();
        of_pump.push(said["data"]["readings"][0]["values"]["t"].clone());
    }
    assert_eq!(of_pump, [json!(2), json!(4), json!(6)]);

    let wrong = json!({
        "name": "r", "matches": asked("nobody", "floor", json!(3)), "destination_ids": [place],
    });
    let problem = stage.tenant.post("/v1/route-rules", &wrong).problem(400);
    assert!(problem.to_string().contains("server, shared or client"), "{problem}");
    let shown = stage.tenant.get("/v1/route-rules").expect(200);
    assert_eq!(shown["items"][0]["matches"]["attributes"][0]["equals"], 3);
}

/// A place that is another topic of the tenant.
fn topic(tenant: &Tenant, template: &str) -> String {
    let body = json!({
        "name": template, "kind": "topic", "recipient": "our panels", "purpose": "showing",
        "topic": template,
    });
    let made = tenant.post("/v1/route-destinations", &body).expect(201);
    assert_eq!(made["secret"], Value::Null);
    id(&made["destination"])
}

#[test]
fn messages_go_to_another_topic_of_the_tenant_and_around_in_circles_three_times_only() {
    let stage = Stage::new();
    let (tenant, pump) = (&stage.tenant, stage.tenant.device("pump 1/a"));
    let panel = tenant.device("panel");
    let stranger = stage.platform.tenant();
    let spy = stranger.device("spy");
    let mut screen = stage.platform.mqtt(crate::mqtt::Version::V5, &panel.token);
    screen.subscribe("#");
    let mut elsewhere = stage.platform.mqtt(crate::mqtt::Version::V5, &spy.token);
    elsewhere.subscribe("#");

    let out = topic(tenant, "out/{type}/{device}");
    stage.rule(&out, json!({"kind": "readings"}), None);
    tenant.send(&pump, &json!({"t": 21})).expect(200);
    let (name, payload) = screen.message();
    assert_eq!(name, "out/test/pump 1_a");
    let said: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["data"]["readings"][0]["values"], json!({"t": 21}));
    assert_eq!((&said["data"]["device"]["id"], &said["hops"]), (&json!(pump.id), &Value::Null));

    // A rule that feeds itself.
    let circle = topic(tenant, "circle");
    stage.rule(&circle, json!({"kind": "messages", "topic": "circle"}), None);
    let mut speaker = stage.platform.mqtt(crate::mqtt::Version::V5, &pump.token);
    speaker.publish("circle", b"1");
    for _ in 0..4 {
        assert_eq!(screen.message().0, "circle");
    }
    let parked = wait_for("a parked message", || {
        let parked = tenant.get("/v1/route-messages").expect(200);
        parked["items"].get(0).cloned()
    });
    assert_eq!(parked["reason"], "looped");

    for wrong in ["v1/devices/me/telemetry", "spBv1.0/g/NCMD/n", "$SYS/x", "a/#", "{name}"] {
        let mut body = place("");
        (body["kind"], body["topic"]) = (json!("topic"), json!(wrong));
        tenant.post("/v1/route-destinations", &body).problem(400);
    }
    // Whoever is of another tenant heard nothing of it.
    let mut other = stage.platform.mqtt(crate::mqtt::Version::V5, &spy.token);
    other.publish("last", b"1");
    assert_eq!(elsewhere.message().0, "last");
}

#[test]
fn nothing_is_lost_by_a_kill_and_what_is_not_wanted_is_parked_and_sent_again() {
    let mut stage = Stage::new();
    let (place, _) = stage.place();
    stage.rule(&place, json!({"kind": "readings"}), None);
    let pump = stage.tenant.device("pump");
    stage.endpoint.answer(503);
    for value in 1..=3 {
        stage.tenant.send(&pump, &json!({"t": value})).expect(200);
    }
    let first = stage.endpoint.next();
    wait_for("three messages on their way", || (stage.counts()["matched"] == 3).then_some(()));
    stage.platform.kill();
    stage.endpoint.answer(204);
    stage.platform.start_again();
    // Tries of before may have come twice; each message comes at last, in its order.
    let mut seen = Vec::new();
    while seen.last() != Some(&json!(3)) {
        let arrived = stage.endpoint.next();
        let value = arrived.json()["data"]["readings"][0]["values"]["t"].clone();
        if value == json!(1) {
            assert_eq!(arrived.id(), first.id(), "the same for every try");
        }
        seen.push(value);
    }
    seen.dedup();
    assert_eq!(seen, [json!(1), json!(2), json!(3)]);
    wait_for("the counts", || (stage.counts()["delivered"] == 3).then_some(()));

    stage.endpoint.answer(422);
    stage.tenant.send(&pump, &json!({"t": 4})).expect(200);
    let parked = wait_for("a parked message", || {
        let parked = stage.tenant.get("/v1/route-messages").expect(200);
        parked["items"].get(0).cloned()
    });
    assert_eq!((&parked["reason"], &parked["status"]), (&json!("refused"), &json!(422)));
    while stage.endpoint.try_next().is_some() {}
    let path = format!("/v1/route-messages/{}", id(&parked));
    let opened = stage.tenant.get(&path).expect(200);
    assert_eq!(opened["message"]["data"]["readings"][0]["values"]["t"], 4);
    let stranger = stage.platform.tenant();
    stranger.get(&path).problem(404);
    stranger.post(&format!("{path}/replay"), &json!({})).problem(404);
    stage.endpoint.answer(204);
    let again = stage.tenant.post(&format!("{path}/replay"), &json!({})).expect(200);
    assert_eq!(again["replayed"], 1);
    let arrived = stage.endpoint.next();
    assert_eq!(arrived.id(), id(&parked), "the same as before it was parked");
    wait_for("no parked message", || {
        let parked = stage.tenant.get("/v1/route-messages").expect(200);
        parked["items"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn nothing_goes_to_anybody_who_was_not_registered() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let refused = |body: Value, at: &str, part: &str| {
        let problem = tenant.post("/v1/route-destinations", &body).problem(400);
        assert!(problem.to_string().contains(part), "{at}: {problem}");
    };
    for (url, part) in [
        ("https://127.0.0.1/", "a loopback"),
        ("https://169.254.169.254/latest", "a cloud metadata"),
        ("https://10.0.0.1/", "a private"),
        ("http://hooks.example/", "https"),
        ("https://hooks.example:22/", "port 22"),
    ] {
        refused(place(url), "url", part);
    }
    let mut unsaid = place("https://hooks.example/");
    unsaid["instructed"] = json!(false);
    refused(unsaid, "instructed", "instructed");
    let (stranger, _) = other.member("stranger", "viewer");
    for (people, part) in [(json!([]), "1 to 10 people"), (json!([stranger]), "no such thing")] {
        let mut mail = place("");
        (mail["kind"], mail["user_ids"]) = (json!("mail"), people);
        refused(mail, "user_ids", part);
    }
    let mut fax = place("https://hooks.example/");
    fax["kind"] = json!("fax");
    refused(fax, "kind", "kind must be");
    for (kind, url, topic, part) in [
        ("mqtt", "mqtt://broker.example", "a", "mqtts://host:port"),
        ("mqtt", "mqtts://broker.example:443", "a/#", "without wildcards"),
        ("mqtt", "mqtts://127.0.0.1:443", "a", "a loopback"),
        ("nats", "nats://10.0.0.1:443", "a", "a private"),
        ("nats", "nats://broker.example:443", "a b", "without wildcards"),
        ("nats", "nats://broker.example", "a", "port 4222"),
    ] {
        let mut broker = place(url);
        (broker["kind"], broker["topic"]) = (json!(kind), json!(topic));
        refused(broker, url, part);
    }

    let theirs = other.post("/v1/route-destinations", &place("https://hooks.example/"));
    let theirs = id(&theirs.expect(201)["destination"]);
    let matches = json!({"kind": "readings"});
    let rule = json!({"name": "r", "matches": matches, "destination_ids": [theirs]});
    let problem = tenant.post("/v1/route-rules", &rule).problem(400);
    assert!(problem.to_string().contains("destination_ids"), "{problem}");
    let mine = tenant.post("/v1/route-destinations", &place("https://hooks.example/"));
    let mine = id(&mine.expect(201)["destination"]);
    let wrong = json!({
        "name": "r", "matches": {"kind": "readings"}, "expression": "values.t >",
        "destination_ids": [mine],
    });
    let problem = tenant.post("/v1/route-rules", &wrong).problem(400);
    assert!(problem.to_string().contains("expression"), "{problem}");
    let rule = json!({"name": "r", "matches": {"kind": "readings"}, "destination_ids": [mine]});
    tenant.post("/v1/route-rules", &rule).expect(201);
    tenant.delete(&format!("/v1/route-destinations/{mine}")).problem(409);
}

#[test]
fn a_password_goes_nowhere_else_and_whoever_needs_none_is_not_asked() {
    let tenant = Platform::shared().tenant();
    let broker = |url: &str, more: Value| {
        let mut body = place(url);
        (body["kind"], body["topic"]) = (json!("mqtt"), json!("site"));
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let (here, there) = ("mqtts://here.example:443", "mqtts://there.example:443");
    let made = |body: Value| {
        let made = tenant.post("/v1/route-destinations", &body).expect(201);
        format!("/v1/route-destinations/{}", id(&made["destination"]))
    };
    let open = made(broker(here, json!({})));
    tenant.put(&open, &broker(there, json!({}))).expect(200);
    let alone = broker(here, json!({"password": "correct horse"}));
    let problem = tenant.post("/v1/route-destinations", &alone).problem(400);
    assert!(problem.to_string().contains("user"), "{problem}");
    let named = made(broker(here, json!({"user": "us", "password": "correct horse"})));
    let problem = tenant.put(&named, &broker(there, json!({"user": "us"}))).problem(400);
    assert!(problem.to_string().contains("password"), "{problem}");
    tenant.put(&named, &broker(here, json!({"user": "us"}))).expect(200);
    // Without a user the password is gone, and is not there for the next user.
    tenant.put(&named, &broker(there, json!({}))).expect(200);
    tenant.put(&named, &broker(there, json!({"user": "them"}))).expect(200);
}

#[test]
fn the_path_of_an_address_is_for_those_who_send_there() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let url = "https://hooks.example/services/correct-horse";
    tenant.post("/v1/route-destinations", &place(url)).expect(201);
    let path = "/v1/route-destinations";
    assert_eq!(tenant.get(path).expect(200)["items"][0]["url"], url);
    let (_, cookie) = tenant.member("auditor", "auditor");
    let seen = platform.http().request("GET", path).header("cookie", &cookie).send().expect(200);
    assert_eq!(seen["items"][0]["url"], "https://hooks.example/…");
    let records = tenant.get("/v1/activity?action=route.write").expect(200).to_string();
    assert!(records.contains("https://hooks.example/…"), "{records}");
    assert!(!records.contains("correct-horse"), "{records}");
}

#[test]
fn a_plan_bounds_destinations_rules_and_deliveries_in_a_minute() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let limits = json!({
        "route_destinations": 1, "route_rules": 1, "route_deliveries_per_minute": 2,
    });
    let world = crate::storage::World::on(platform, &limits);
    let tenant = &world.tenant;
    let inside = || {
        let mut body = place("");
        (body["kind"], body["topic"]) = (json!("topic"), json!("out/{device}"));
        body
    };
    let made = tenant.post("/v1/route-destinations", &inside()).expect(201);
    let destination = id(&made["destination"]);
    let over = tenant.post("/v1/route-destinations", &inside()).problem(413);
    assert_eq!(over["limit"], "plan_route_destinations_max", "{over}");
    let rule = json!({
        "name": "r", "matches": {"kind": "readings", "keys": ["t"]},
        "destination_ids": [destination],
    });
    tenant.post("/v1/route-rules", &rule).expect(201);
    let over = tenant.post("/v1/route-rules", &rule).problem(413);
    assert_eq!(over["limit"], "plan_route_rules_max", "{over}");

    let pump = tenant.device("pump");
    let counts = || tenant.get("/v1/route-counts").expect(200)["items"][0].clone();
    for value in 0..3 {
        tenant.send(&pump, &json!({"t": value})).expect(200);
    }
    wait_for("all of them to be looked at", || (counts()["matched"] == 3).then_some(()));
    wait_for("as many as the plan says", || (counts()["delivered"] == 2).then_some(()));
    let waits = counts();
    assert_eq!(
        (&waits["parked"], &waits["dropped"], &waits["retried"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(waits["next_at"].is_string(), "{waits}");
    world.platform.cli(&["clock", "advance", "2m"]).done();
    wait_for("the rest in the next minute", || (counts()["delivered"] == 3).then_some(()));
}
