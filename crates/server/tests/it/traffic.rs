//! What a device does, seen as it happens: by those who may, without what was refused, bounded,
//! and with a record of who looked. And what is known afterwards: its connections, its last error.

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::mqtt::Version;
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

const TELEMETRY: &str = "v1/devices/me/telemetry";
/// A Visa number that nobody else's tests use.
const CARD: &str = "4556737586899855";

fn follow(tenant: &Tenant, cookie: &str, device: &Device) -> WebSocket {
    let mut socket = WebSocket::of_session(tenant.http(), cookie);
    let ids = [device.id.as_str()];
    socket.send(&json!({"op": "subscribe", "id": 1, "topic": "traffic", "device_ids": ids}));
    // Commands are carried out in their order: this answer says that the device is watched.
    socket.send(&json!({"op": "unsubscribe", "id": 9}));
    assert_eq!(socket.receive(), json!({"type": "done", "id": 9}));
    socket
}

/// The next event of a kind; others are passed over.
#[track_caller]
fn next(socket: &mut WebSocket, waiting: &mut Vec<Value>, kind: &str) -> Value {
    loop {
        while !waiting.is_empty() {
            let item = waiting.remove(0);
            if item["kind"] == kind {
                return item;
            }
        }
        let message = socket.receive();
        assert_eq!(message["type"], "traffic", "{message}");
        waiting.extend(message["items"].as_array().unwrap().iter().cloned());
    }
}

#[test]
fn what_a_device_does_is_seen_as_it_happens() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("watched");
    let (mut socket, mut rest) = (follow(&tenant, &tenant.cookie, &device), Vec::new());

    let mut client = platform.mqtt(Version::V5, &device.token);
    let event = next(&mut socket, &mut rest, "connected");
    assert_eq!(event["way"], "mqtt5", "{event}");
    assert_eq!(client.publish(TELEMETRY, br#"{"t":21.5}"#).0, 0);
    let event = next(&mut socket, &mut rest, "message");
    let facts = [&event["way"], &event["topic"], &event["qos"], &event["payload_bytes"]];
    assert_eq!(facts, [&json!("mqtt5"), &json!("telemetry"), &json!(1), &json!(10)], "{event}");
    let event = next(&mut socket, &mut rest, "readings");
    let value = &event["values"][0];
    assert_eq!((&value["key"], &value["value"]), (&json!("t"), &json!(21.5)), "{event}");
    assert!(event["stored_ms"].is_u64() && event["count"] == 1, "{event}");

    // What is refused is told with its reason and never with what it held: P05, P06.
    let card = json!({"note": CARD}).to_string();
    assert_eq!(client.publish(TELEMETRY, card.as_bytes()).0, 0x87);
    let event = next(&mut socket, &mut rest, "refused");
    assert!(event["reason"] == "policy" && !event.to_string().contains(CARD), "{event}");
    assert_eq!(tenant.send(&device, &json!({"note": CARD})).status, 422);
    let event = next(&mut socket, &mut rest, "refused");
    assert!(event["reason"] == "policy" && !event.to_string().contains(CARD), "{event}");
    tenant.send(&device, &json!({"t": 22})).expect(200);
    let event = next(&mut socket, &mut rest, "readings");
    assert_eq!(event["way"], "http", "{event}");

    client.subscribe("v1/devices/me/attributes");
    client.subscribe("v1/devices/me/rpc/request/+");
    let path = format!("/v1/devices/{}/attributes", device.id);
    tenant.patch(&path, &json!({"shared": {"limit": 5}})).expect(200);
    assert_eq!(next(&mut socket, &mut rest, "attributes_sent")["count"], 1);
    let path = format!("/v1/devices/{}/rpc", device.id);
    tenant.post(&path, &json!({"method": "blink", "one_way": true})).expect(200);
    assert_eq!(next(&mut socket, &mut rest, "call")["method"], "blink");
    drop(client);
    let event = next(&mut socket, &mut rest, "disconnected");
    assert_eq!(event["ended_by"], "network", "{event}");

    let records = wait_for("the record of who looked", || {
        let found = tenant.get("/v1/activity?action=device.watch").expect(200);
        (!found["items"].as_array().unwrap().is_empty()).then_some(found)
    });
    assert!(records["items"][0]["resource"].as_str().unwrap().contains(&device.id), "{records}");
}

#[test]
fn the_last_error_and_the_last_connections_stay_known() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (device, other) = (tenant.device("erring"), tenant.device("fine"));
    let path = format!("/v1/devices/{}", device.id);
    assert_eq!(tenant.get(&path).expect(200)["last_refusal"], Value::Null);
    assert_eq!(tenant.send(&device, &json!([1])).status, 400);
    let refusal = tenant.get(&path).expect(200)["last_refusal"].clone();
    assert_eq!(refusal["reason"], "payload", "{refusal}");
    let listed = tenant.get("/v1/devices?has_refusals=true").expect(200);
    let items = listed["items"].as_array().unwrap();
    assert!(items.len() == 1 && items[0]["id"] == device.id.as_str(), "{listed}");
    tenant.send(&other, &json!({"t": 1})).expect(200);

    drop(platform.mqtt(Version::V311, &device.token));
    let connections = format!("{path}/connections");
    let ended = wait_for("the end of a connection", || {
        let found = tenant.get(&connections).expect(200);
        found["items"].get(0).filter(|one| one["ended_at"].is_string()).cloned()
    });
    assert_eq!((&ended["protocol"], &ended["ended_by"]), (&json!("mqtt3"), &json!("network")));
    assert!(ended["address"].is_string() && ended["keep_alive_seconds"].is_u64(), "{ended}");
    let mut socket = WebSocket::authenticated(tenant.http(), &device.token);
    socket.send(&json!({"op": "publish", "id": 1, "values": {"t": 2}}));
    assert_eq!(socket.receive()["type"], "done");
    let open = tenant.get(&connections).expect(200)["items"][0].clone();
    assert_eq!((&open["protocol"], &open["ended_at"]), (&json!("websocket"), &Value::Null));
    drop(socket);
    wait_for("the end of a socket", || {
        let newest = tenant.get(&connections).expect(200)["items"][0].clone();
        (newest["ended_by"] == "network").then_some(())
    });
    // Where it came from is told to those who may read the records of access.
    let (_, viewer) = tenant.member("reads", "viewer");
    let seen = tenant.http().get(&connections).header("cookie", &viewer).send().expect(200);
    assert_eq!(seen["items"][0]["address"], Value::Null, "{seen}");
    assert_eq!(seen["items"][1]["protocol"], "mqtt3", "{seen}");
}

#[test]
fn connections_outlive_the_platform() {
    let mut platform = Platform::start(Mode::Serve, Options::default());
    let tenant = platform.tenant();
    let device = tenant.device("kept");
    let path = format!("/v1/devices/{}/connections", device.id);
    drop(platform.mqtt(Version::V5, &device.token));
    wait_for("the end of a connection", || {
        let found = tenant.get(&path).expect(200);
        found["items"].get(0).filter(|one| one["ended_at"].is_string()).map(|_| ())
    });
    let open = platform.mqtt(Version::V5, &device.token);
    assert_eq!(tenant.get(&path).expect(200)["items"][0]["ended_at"], Value::Null);
    platform.stop();
    drop(open);
    platform.start_again();
    let listed = tenant.get(&path).expect(200);
    let ends: Vec<_> = [0usize, 1].map(|at| listed["items"][at]["ended_by"].clone()).into();
    assert_eq!(ends, [json!("platform"), json!("network")], "{listed}");
    assert_eq!(listed["items"][0]["reason_code"], 0x8b, "{listed}");
    tenant.delete(&format!("/v1/devices/{}", device.id)).expect(204);
    tenant.get(&path).problem(404);
}

#[test]
fn nobody_sees_what_they_may_not() {
    let platform = Platform::shared();
    let (tenant, theirs) = (platform.tenant(), platform.tenant());
    let (device, foreign) = (tenant.device("own"), theirs.device("foreign"));
    let mut socket = WebSocket::of_session(tenant.http(), &tenant.cookie);
    let wrong = [
        (json!({"device_ids": [foreign.id]}), "not found"),
        (json!({"device_ids": ["0190c7a2-0000-7000-8000-000000000001"]}), "not found"),
        (json!({}), "one id"),
        (json!({"device_ids": [device.id, device.id]}), "one id"),
    ];
    for (filter, part) in wrong {
        let mut command = json!({"op": "subscribe", "id": 1, "topic": "traffic"});
        command.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        socket.send(&command);
        let answer = socket.receive();
        assert!(answer["type"] == "error" && answer.to_string().contains(part), "{answer}");
    }

    // A personal stream is not shown to who may not read it, and its count is.
    let (_, viewer) = tenant.member("reads", "viewer");
    let (mut socket, mut rest) = (follow(&tenant, &viewer, &device), Vec::new());
    let path = format!("/v1/devices/{}", device.id);
    tenant.patch(&path, &json!({"declaration": "personal"})).expect(200);
    wait_for("the declaration to count", || {
        tenant.send(&device, &json!({"steps": 47110815})).expect(200);
        let event = next(&mut socket, &mut rest, "readings");
        (event["hidden"] == 1 && !event.to_string().contains("47110815")).then_some(())
    });

    // It ends by itself when there is nothing to see any more.
    tenant.delete(&path).expect(204);
    let ended = std::iter::repeat_with(|| socket.receive()).find(|one| one["type"] == "error");
    assert_eq!(ended.map(|one| one["id"].clone()), Some(json!(1)));
}

#[test]
fn a_storm_is_counted_and_not_shown() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("storm");
    let mut socket = follow(&tenant, &tenant.cookie, &device);
    let mut client = Platform::shared().mqtt(Version::V311, &device.token);
    let (mut shown, mut left_out) = (0, 0);
    for round in 0..400 {
        client.send(TELEMETRY, format!("{{\"t\":{round}}}").as_bytes()).unwrap();
    }
    while left_out == 0 {
        let message = socket.receive();
        assert_eq!(message["type"], "traffic", "{message}");
        shown += message["items"].as_array().unwrap().len();
        left_out += message["left_out"].as_u64().unwrap();
    }
    assert!(shown > 0, "{left_out} left out");
}

/// What a simulation made up says so, and what the device itself sent (`t`) does not.
#[track_caller]
fn told_apart(tenant: &Tenant, device: &str) {
    let latest = tenant.post("/v1/telemetry/latest", &json!({"device_ids": [device]})).expect(200);
    for item in latest["items"].as_array().unwrap() {
        let expect = if item["key"] == "t" { "good" } else { "simulated" };
        assert_eq!(item["quality"], expect, "{item}");
    }
    for (key, is_made_up) in [("temperature", true), ("t", false)] {
        let ask = |bucket_ms: Value| {
            let body = json!({
                "series": [{"device_id": device, "key": key}], "bucket_ms": bucket_ms,
                "from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z",
            });
            let answer = tenant.post("/v1/telemetry/query", &body).expect(200);
            answer["series"][0]["points"].as_array().unwrap().clone()
        };
        for point in ask(Value::Null) {
            assert_eq!(point["quality"] == "simulated", is_made_up, "{point}");
        }
        for bucket in ask(json!(1_000_000_000)) {
            let expect = if is_made_up { bucket["count"].clone() } else { json!(0) };
            assert_eq!(bucket["simulated"], expect, "{bucket}");
        }
    }
}

#[test]
fn a_silent_device_is_simulated_for_a_while() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("made up");
    let path = format!("/v1/devices/{}/simulation", device.id);
    assert_eq!(tenant.get(&path).expect(200)["simulation"], Value::Null);
    let wrong = [
        (json!({"profile": "rocket"}), "profile"),
        (json!({"interval_seconds": 0}), "interval_seconds"),
        (json!({"minutes": 11}), "minutes"),
    ];
    for (body, at) in wrong {
        assert_eq!(tenant.post(&path, &body).problem(400)["position"], at);
    }
    let plan = json!({"profile": "co2", "interval_seconds": 1});
    let begun = tenant.post(&path, &plan).expect(201);
    assert!(begun["running"] == true && begun["profile"] == "co2", "{begun}");
    tenant.post(&path, &plan).problem(409);
    wait_for("simulated readings", || tenant.latest(&device, "co2").is_number().then_some(()));
    let attributes = tenant.get(&format!("/v1/devices/{}/attributes", device.id)).expect(200);
    assert_eq!(attributes["client"]["simulated"], true, "{attributes}");

    // Who may only read begins and ends none; nobody sees another tenant's.
    let (_, viewer) = tenant.member("reads", "viewer");
    for method in ["POST", "DELETE"] {
        tenant.http().request(method, &path).header("cookie", &viewer).send().problem(403);
    }
    platform.tenant().get(&path).problem(404);

    tenant.delete(&path).expect(204);
    wait_for("the end", || {
        let now = tenant.get(&path).expect(200);
        (now["simulation"]["running"] == false).then_some(())
    });
    let credentials = tenant.get(&format!("/v1/devices/{}/credentials", device.id)).expect(200);
    assert!(!credentials.to_string().contains("Simulation"), "{credentials}");
    let attributes = tenant.get(&format!("/v1/devices/{}/attributes", device.id)).expect(200);
    assert_eq!(attributes["client"]["simulated"], false, "{attributes}");
    // Once more, since nothing real was heard; and not once something was.
    wait_for("the next one", || (tenant.post(&path, &json!({})).status == 201).then_some(()));
    tenant.delete(&path).expect(204);

    // When the device itself comes, nothing is made up beside it, and not again within the day.
    let both = tenant.device("both");
    let path = format!("/v1/devices/{}/simulation", both.id);
    tenant.post(&path, &json!({"interval_seconds": 1})).expect(201);
    wait_for("made-up readings", || tenant.latest(&both, "temperature").is_number().then_some(()));
    tenant.send(&both, &json!({"t": 1})).expect(200);
    let over = wait_for("the end of what is made up", || {
        let now = tenant.get(&path).expect(200)["simulation"].clone();
        (now["running"] == false).then_some(now)
    });
    assert!(over["failure"].as_str().unwrap().contains("itself was heard"), "{over}");
    told_apart(&tenant, &both.id);
    tenant.post(&path, &json!({})).problem(409);

    let real = tenant.device("real");
    tenant.send(&real, &json!({"t": 1})).expect(200);
    let refused = format!("/v1/devices/{}/simulation", real.id);
    let problem = tenant.post(&refused, &json!({})).problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("last day"), "{problem}");
}
