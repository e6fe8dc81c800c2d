//! Every way in, and the values asked back through every question; attributes and calls both
//! ways; and a reading that was acknowledged right before the process was killed.

use serde_json::{Value, json};

use crate::harness::{Platform, now_ms, wait_for};
use crate::mqtt::{Mqtt, Packet, Version};
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
/// 2026-01-01T00:00:00Z in milliseconds.
const T0: i64 = 1_767_225_600_000;

/// Asks back what was sent in every way there is: `expected` is (milliseconds, value), in order.
#[track_caller]
fn asked_back(tenant: &Tenant, device: &Device, key: &str, expected: &[(i64, f64)]) {
    let points: Vec<(i64, f64)> = tenant
        .points(device, key)
        .into_iter()
        .map(|(at, value)| (at, value.as_f64().unwrap()))
        .collect();
    assert_eq!(points, expected, "{key}: query");
    let last = expected.last().unwrap().1;
    assert_eq!(tenant.latest(device, key).as_f64(), Some(last), "{key}: latest");
    let values = expected.iter().map(|(_, value)| *value);
    let min = values.clone().fold(f64::INFINITY, f64::min);
    let max = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let stats = tenant.stats(device, key);
    assert_eq!(stats, (expected.len() as u64, Some(min), Some(max)), "{key}: stats");
    let buckets = tenant
        .post(
            "/v1/telemetry/query",
            &json!({
                "series": [{"device_id": device.id, "key": key}],
                "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z",
                "bucket_ms": 86_400_000, "shape": "columns",
            }),
        )
        .expect(200);
    let one = &buckets["series"][0];
    assert_eq!(one["count"], json!([expected.len()]), "{key}: buckets {one}");
    assert_eq!(one["sum"][0].as_f64(), Some(values.sum()), "{key}: buckets {one}");
}

/// Equal times of one key would be one reading, and each door hears of the others' nothing.
#[test]
fn readings_without_a_time_of_parallel_senders_are_all_kept() {
    const EACH: usize = 1_000;
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("busy");
    let http = tenant.http();
    let shapes = |one: &str| vec![one; EACH].join(",");
    let (list, rows) = (format!("[{}]", shapes("{\"t\":1}")), "{\"t\":1}\n".repeat(EACH));
    let named = "{\"device\":\"busy\",\"values\":{\"t\":1}}\n".repeat(EACH);
    let path = format!("/api/v1/{}/telemetry", device.token);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = platform.mqtt(Version::V5, &device.token);
                let sent = (0..EACH).map(|_| client.send(TELEMETRY, b"{\"t\":1}").unwrap()).count();
                for _ in 0..sent {
                    assert!(matches!(client.read().unwrap(), Packet::PubAck(..)));
                }
            });
            scope.spawn(|| {
                http.post(&path).body("application/json", list.as_bytes()).send().expect(200)
            });
            scope.spawn(|| {
                let own = http.post("/v1/telemetry/write").bearer(&device.token);
                own.body("application/x-ndjson", rows.as_bytes()).send().expect(200)
            });
            scope.spawn(|| tenant.write("", "application/x-ndjson", &named).expect(200));
            scope.spawn(|| {
                let mut socket = WebSocket::authenticated(http, &device.token);
                for id in 0..EACH {
                    socket.send(&json!({"op": "publish", "id": id, "values": {"t": 1}}));
                    assert_eq!(socket.receive()["type"], "done");
                }
            });
        }
    });
    assert_eq!(tenant.stats(&device, "t").0, 10 * EACH as u64);
}

#[test]
fn mqtt_3_and_5_in_every_shape() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    for version in [Version::V311, Version::V5] {
        let device = tenant.device(&format!("mqtt {version:?}"));
        let mut client = platform.mqtt(version, &device.token);
        let before = now_ms();
        let shapes = [
            json!({"ts": T0, "values": {"a": 1, "b": 2.5}}),
            json!([{"ts": T0 + 1000, "values": {"a": 2}}, {"ts": T0 + 2000, "values": {"a": -3}}]),
            json!({"now": 7}),
            json!([{"now_too": 8.25}, {"text": "ÄÖ", "flag": false, "json": {"x": [1, 2]}}]),
        ];
        for shape in shapes {
            let (code, reason) = client.publish(TELEMETRY, shape.to_string().as_bytes());
            assert_eq!((code, reason.as_str()), (0, ""), "{version:?}: {shape}");
        }
        let after = now_ms();
        asked_back(&tenant, &device, "a", &[(T0, 1.0), (T0 + 1000, 2.0), (T0 + 2000, -3.0)]);
        asked_back(&tenant, &device, "b", &[(T0, 2.5)]);
        let now = tenant.points(&device, "now");
        assert!(now.len() == 1 && (before..=after).contains(&now[0].0), "server time: {now:?}");
        assert_eq!(tenant.latest(&device, "now_too"), 8.25);
        assert_eq!(tenant.latest(&device, "text"), "ÄÖ");
        assert_eq!(tenant.latest(&device, "flag"), false);
        assert_eq!(tenant.latest(&device, "json"), json!({"x": [1, 2]}));
        // The later of two readings with one time stamp counts.
        client.publish(TELEMETRY, format!(r#"{{"ts":{T0},"values":{{"b":9}}}}"#).as_bytes());
        asked_back(&tenant, &device, "b", &[(T0, 9.0)]);
        let listed = tenant.get(&format!("/v1/devices/{}", device.id)).expect(200);
        assert_eq!(listed["online"], true, "{listed}");
    }
}

#[test]
fn http_device_api_with_the_token_in_header_and_path() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("http");
    tenant.send(&device, &json!({"ts": T0, "values": {"t": 20}})).expect(200);
    let path = format!("/api/v1/{}/telemetry", device.token);
    let body = json!({"ts": T0 + 1, "values": {"t": 21.5}});
    tenant.http().post(&path).json(&body).send().expect(200);
    asked_back(&tenant, &device, "t", &[(T0, 20.0), (T0 + 1, 21.5)]);
}

#[test]
fn bulk_write_by_key_and_by_device() {
    let tenant = Platform::shared().tenant();
    let (one, two) = (tenant.device("bulk one"), tenant.device("bulk-two"));
    let lines = format!(
        "temperature,device=bulk\\ one,room=x value=20.5 {T0}000000\n\
         temperature,device=bulk\\ one value=21.5 {}000000\n\
         bulk-two co2=400i,open=t {T0}000000\n",
        T0 + 60_000
    );
    let written = tenant.write("", "text/plain", &lines).expect(200);
    assert_eq!(written, json!({"devices": 2, "readings": 4}));
    asked_back(&tenant, &one, "temperature", &[(T0, 20.5), (T0 + 60_000, 21.5)]);
    asked_back(&tenant, &two, "co2", &[(T0, 400.0)]);
    assert_eq!(tenant.latest(&two, "open"), true);

    let rows = format!(
        "{{\"device\":\"bulk one\",\"ts\":{T0},\"values\":{{\"n\":1}}}}\n\
         {{\"device\":\"bulk-two\",\"ts\":{T0},\"values\":{{\"n\":2,\"m\":3}}}}\n"
    );
    let written = tenant.write("", "application/x-ndjson", &rows).expect(200);
    assert_eq!(written, json!({"devices": 2, "readings": 3}));
    asked_back(&tenant, &one, "n", &[(T0, 1.0)]);
    asked_back(&tenant, &two, "m", &[(T0, 3.0)]);

    let path = "/v1/telemetry/write?precision=ms";
    let own = tenant.http().post(path).bearer(&one.token);
    let line = format!("anything k=1.5 {T0}\nanything k=2.5 {}\n", T0 + 5);
    own.body("text/plain", line.as_bytes()).send().expect(200);
    asked_back(&tenant, &one, "k", &[(T0, 1.5), (T0 + 5, 2.5)]);

    let senml =
        format!(r#"[{{"bn":"bulk-two/","bt":{},"n":"humidity","u":"%RH","v":45.5}}]"#, T0 / 1000);
    tenant.write("", "application/senml+json", &senml).expect(200);
    asked_back(&tenant, &two, "humidity", &[(T0, 45.5)]);
}

#[test]
fn websocket_publishes_and_tells_subscribers() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("socket");
    let mut watcher = WebSocket::authenticated(tenant.http(), &tenant.api_key);
    watcher.send(&json!({"op": "subscribe", "id": 4, "topic": "latest"}));
    let mut publisher = WebSocket::authenticated(tenant.http(), &device.token);
    for (id, at, value) in [(1, T0, 1.25), (2, T0 + 1, 2.25)] {
        let values = json!({"w": value});
        publisher.send(&json!({"op": "publish", "id": id, "ts": at, "values": values}));
        assert_eq!(publisher.receive(), json!({"type": "done", "id": id}));
    }
    asked_back(&tenant, &device, "w", &[(T0, 1.25), (T0 + 1, 2.25)]);
    let seen = wait_for("the subscriber to hear of it", || {
        let message = watcher.receive();
        let items = message["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|item| item["key"] == "w" && item["value"] == 2.25)
    });
    assert_eq!((&seen["device_id"], seen["at_ms"].as_i64()), (&json!(device.id), Some(T0 + 1)));
}

#[test]
fn attributes_go_both_ways() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("attributes");
    let path = format!("/v1/devices/{}/attributes", device.id);
    for version in [Version::V311, Version::V5] {
        let mut client = platform.mqtt(version, &device.token);
        client.subscribe(ATTRIBUTES);
        client.subscribe("v1/devices/me/attributes/response/+");
        let own = json!({"firmware": format!("{version:?}"), "uptime": 12});
        assert_eq!(client.publish(ATTRIBUTES, own.to_string().as_bytes()).0, 0);
        let shared = json!({"shared": {"interval": 30}, "server": {"note": "cellar"}});
        let all = tenant.patch(&path, &shared).expect(200);
        assert_eq!(all["client"], own, "{version:?}");
        assert_eq!(all["server"], json!({"note": "cellar"}));
        let (topic, payload) = client.message();
        assert_eq!(topic, ATTRIBUTES);
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), json!({"interval": 30}));

        let wanted = br#"{"clientKeys":"uptime","sharedKeys":"interval,absent"}"#;
        client.publish("v1/devices/me/attributes/request/17", wanted);
        let (topic, payload) = client.message();
        assert_eq!(topic, "v1/devices/me/attributes/response/17");
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        let expected = json!({"client": {"uptime": 12}, "shared": {"interval": 30}});
        assert_eq!(answer, expected, "{version:?}");
        let gone = tenant.patch(&path, &json!({"shared": {"interval": null}})).expect(200);
        assert_eq!(gone["shared"], json!({}));
        let (_, payload) = client.message();
        assert_eq!(
            serde_json::from_slice::<Value>(&payload).unwrap(),
            json!({"deleted": ["interval"]})
        );
    }
    let over_http = tenant.http().get("/api/v1/attributes?clientKeys=uptime");
    let answer = over_http.bearer(&device.token).send().expect(200);
    assert_eq!(answer["client"], json!({"uptime": 12}));
}

#[test]
fn calls_go_both_ways() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("rpc");
    let path = format!("/v1/devices/{}/rpc", device.id);
    let call = json!({"method": "setValve", "params": {"open": 0.5}, "timeout_ms": 20_000});
    tenant.post(&path, &call).problem(503);

    let mut client = platform.mqtt(Version::V311, &device.token);
    client.subscribe("v1/devices/me/rpc/request/+");
    client.subscribe("v1/devices/me/rpc/response/+");
    let answering = std::thread::spawn(move || {
        let (topic, payload) = client.message();
        let id = topic.strip_prefix("v1/devices/me/rpc/request/").unwrap().to_owned();
        let request: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(request["method"], "setValve");
        assert_eq!(request["params"], json!({"open": 0.5}));
        client.publish(&format!("v1/devices/me/rpc/response/{id}"), br#"{"moved":true}"#);
        client
    });
    let answer = tenant.post(&path, &call).expect(200);
    assert_eq!(answer, json!({"result": {"moved": true}}));

    let mut client = answering.join().unwrap();
    let before = now_ms();
    client.publish("v1/devices/me/rpc/request/5", br#"{"method":"getCurrentTime","params":{}}"#);
    let (topic, payload) = client.message();
    assert_eq!(topic, "v1/devices/me/rpc/response/5");
    let time: i64 = String::from_utf8(payload).unwrap().parse().unwrap();
    assert!((before..=now_ms()).contains(&time), "{time}");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("survivor");
    let mut client = platform.mqtt(Version::V311, &device.token);
    let reading = format!(r#"{{"ts":{T0},"values":{{"t":19.75,"note":"kept"}}}}"#);
    assert_eq!(client.publish(TELEMETRY, reading.as_bytes()).0, 0);
    assert_eq!(client.publish(ATTRIBUTES, br#"{"firmware":"7.1"}"#).0, 0);
    platform.kill();
    assert!(client.read().is_err(), "the connection is gone");
    platform.start_again();
    println!("start after a kill: {:?}", platform.start_time());
    asked_back(&tenant, &device, "t", &[(T0, 19.75)]);
    assert_eq!(tenant.latest(&device, "note"), "kept");
    let attributes = tenant.get(&format!("/v1/devices/{}/attributes", device.id)).expect(200);
    assert_eq!(attributes["client"], json!({"firmware": "7.1"}));
}

#[test]
fn a_revoked_credential_ends_its_connection() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("revoked");
    let mut client = platform.mqtt(Version::V5, &device.token);
    let path = format!("/v1/devices/{}/credentials", device.id);
    let credentials = tenant.get(&path).expect(200);
    let id = credentials["items"][0]["id"].as_str().unwrap().to_owned();
    tenant.delete(&format!("{path}/{id}")).expect(204);
    let ended = wait_for("the end of the connection", || match client.read() {
        Ok(Packet::Disconnect(code)) => Some(code),
        Ok(_) => None,
        Err(_) => Some(0),
    });
    assert_ne!(ended, 0x8e, "not for a session taken over");
    let refused = Mqtt::connect(platform.http(), Version::V5, &device.token).err();
    assert_eq!(refused, Some(0x86), "5.0: bad user name or password");
    let refused = Mqtt::connect(platform.http(), Version::V311, &device.token).err();
    assert!(matches!(refused, Some(4 | 5)), "{refused:?}");
    tenant.send(&device, &json!({"t": 1})).problem(401);
}
