//! Malformed input of every kind through every door: a precise error (what, where, what would be
//! right), and nothing changed.

use std::fs;

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::harness::{Mode, Options, Platform};
use crate::mqtt::{Mqtt, Packet, Version, packet};
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const LARGE_BYTES: usize = 10 * 1024 * 1024;

/// A tenant with a device, and everything that must stay as it is.
struct World {
    platform: &'static Platform,
    tenant: Tenant,
    device: Device,
    before: Vec<Value>,
}

impl World {
    fn new() -> Self {
        let platform = Platform::shared();
        let tenant = platform.tenant();
        let device = tenant.device("meter");
        tenant.send(&device, &json!({"ts": 1000, "values": {"t": 1}})).expect(200);
        let before = Self::state(&tenant);
        Self { platform, tenant, device, before }
    }

    fn state(tenant: &Tenant) -> Vec<Value> {
        let lists = ["devices", "twins", "rules", "users", "alerts"];
        let mut state: Vec<Value> =
            lists.iter().map(|list| tenant.get(&format!("/v1/{list}")).expect(200)).collect();
        // A connection changes whether and when a device was seen, and a mistake what was refused
        // of it last, not what is known of it.
        for device in state[0]["items"].as_array_mut().unwrap() {
            device["online"] = Value::Null;
            device["last_seen_at"] = Value::Null;
            device["last_refusal"] = Value::Null;
        }
        let keys = tenant.get("/v1/api-keys").expect(200);
        state.push(json!(keys["items"].as_array().unwrap().len()));
        state.push(tenant.post("/v1/telemetry/latest", &json!({})).expect(200));
        state
    }

    #[track_caller]
    fn unchanged(&self) {
        assert_eq!(Self::state(&self.tenant), self.before);
    }
}

/// The problem document says all of `parts`, somewhere in detail, position, line or limit.
#[track_caller]
fn says(problem: &Value, parts: &[&str]) {
    let text = problem.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn device_telemetry_over_http() {
    let world = World::new();
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(300));
    let long_value = format!(r#"{{"k":"{}"}}"#, "v".repeat(70_000));
    let cases: [(&str, u16, &[&str]); 10] = [
        (r#"{"t":}"#, 400, &["byte 5", "expected a value"]),
        (r#"{"t":1"#, 400, &["byte 6", "found the end"]),
        (r#"{"t":NaN}"#, 400, &["byte 5", "NaN"]),
        (r#"{"t":1e999}"#, 400, &["byte 5", "number out of range"]),
        ("not json", 400, &["byte 0", "expected an object or an array"]),
        ("", 400, &["byte 0"]),
        (r#"{"ts":9223372036854775807,"values":{"t":1}}"#, 400, &["byte", "time out of range"]),
        (r#"{"ts":253402300800000,"values":{"t":1}}"#, 400, &["byte", "years 1 to 9999"]),
        (&long_key, 413, &["key_bytes_max", "256", "300"]),
        (&long_value, 413, &["value_bytes_max", "65536"]),
    ];
    for (body, status, parts) in cases {
        let request = world.tenant.http().post("/api/v1/telemetry").bearer(&world.device.token);
        let answer = request.body("application/json", body.as_bytes()).send();
        says(&answer.problem(status), parts);
    }
    let large = vec![b' '; LARGE_BYTES];
    let request = world.tenant.http().post("/api/v1/telemetry").bearer(&world.device.token);
    let answer = request.body("application/json", &large).send();
    says(&answer.problem(413), &["body_bytes_max", "at most 8388608, got 10485760"]);
    let zipped = world.tenant.http().post("/api/v1/telemetry").bearer(&world.device.token);
    let zipped = zipped.header("content-encoding", "gzip").body("application/json", b"{}");
    says(&zipped.send().problem(400), &["Content-Encoding"]);
    world.unchanged();
}

#[test]
fn unknown_and_missing_tokens() {
    let world = World::new();
    let reading = json!({"t": 2});
    let (http, unknown) = (world.tenant.http(), "vtd_0000000000000000000000000000000000000000000");
    let with = |token: &str| http.post("/api/v1/telemetry").bearer(token).json(&reading).send();
    says(&with(unknown).problem(401), &["unknown"]);
    with(&world.tenant.api_key).problem(401);
    http.post("/api/v1/telemetry").json(&reading).send().problem(401);
    http.post(&format!("/api/v1/{unknown}/telemetry")).json(&reading).send().problem(401);
    http.get("/v1/devices").bearer(&world.device.token).send().problem(401);
    http.get("/v1/devices").header("cookie", "__Host-session=guess").send().problem(401);
    for (version, codes) in [(Version::V311, [4, 5]), (Version::V5, [0x86, 0x87])] {
        for token in [unknown, "", world.tenant.api_key.as_str()] {
            let code = Mqtt::connect(http, version, token).err();
            assert!(code.is_some_and(|code| codes.contains(&code)), "{version:?}: {code:?}");
        }
    }
    let mut socket = WebSocket::connect(http);
    socket.send(&json!({"op": "authenticate", "token": unknown}));
    assert_eq!(socket.closed(), (1008, "unknown token".to_owned()));
    world.unchanged();
}

#[test]
fn mqtt_payloads_topics_and_sizes() {
    let world = World::new();
    let cases: [(&str, &str, u8, &str); 6] = [
        (TELEMETRY, r#"{"t":}"#, 0x99, "byte 5: expected a value"),
        (TELEMETRY, r#"{"t":NaN}"#, 0x99, "NaN"),
        (TELEMETRY, "hello", 0x99, "byte 0: expected an object or an array"),
        ("v1/devices/me/telemetri", r#"{"t":1}"#, 0x90, "unknown topic"),
        ("v1/gateway/telemetry", r#"{"a":[{"t":1}]}"#, 0x87, "gateway"),
        ("v1/devices/me/attributes", "[]", 0x99, "byte 0: expected an object"),
    ];
    let mut told = world.platform.mqtt(Version::V5, &world.device.token);
    let mut silent = world.platform.mqtt(Version::V311, &world.device.token);
    for (topic, payload, code, part) in cases {
        let (found, reason) = told.publish(topic, payload.as_bytes());
        assert_eq!(found, code, "{topic} {payload}: {reason}");
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
        // 3.1.1 has no reason codes: the refusal is recorded and acknowledged.
        assert_eq!(silent.publish(topic, payload.as_bytes()).0, 0, "{topic} {payload}");
    }
    // 10 MB: 5.0 ends the connection and says why, 3.1.1 reads over it and goes on.
    let large = vec![b'x'; LARGE_BYTES];
    assert_eq!(silent.publish(TELEMETRY, &large).0, 0);
    let _ = told.send(TELEMETRY, &large);
    let ended = std::iter::repeat_with(|| told.read()).find_map(|read| match read {
        Ok(Packet::Disconnect(code)) => Some(Some(code)),
        Ok(_) => None,
        Err(_) => Some(None),
    });
    // A reset may overtake the DISCONNECT, since the rest of the packet is never read.
    assert!(matches!(ended, Some(Some(0x95) | None)), "{ended:?}");
    // What 3.1.1 could not be told is listed, the newest first, without what was sent.
    let path = format!("/v1/devices/{}/refusals", world.device.id);
    let listed = world.tenant.get(&path).expect(200);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), cases.len() + 1, "{listed}");
    let last = |number: usize| &items[cases.len() - number];
    assert_eq!((&last(0)["reason"], &last(0)["position"]), (&json!("payload"), &json!(5)));
    assert!(last(0)["detail"].as_str().unwrap().contains("byte 5: expected a value"), "{listed}");
    assert_eq!(last(3)["reason"], "topic");
    assert_eq!(last(4)["reason"], "not_allowed");
    let size = &items[0];
    assert_eq!((&size["reason"], &size["limit"]), (&json!("limit"), &json!("packet_bytes_max")));
    for sent in ["telemetri", "hello", "xxx"] {
        assert!(!listed.to_string().contains(sent), "{sent}: {listed}");
    }
    let mut broken = world.platform.mqtt(Version::V311, &world.device.token);
    broken.write(&packet(0x36, b"\x00\x01a\x00\x01")).unwrap();
    assert!(broken.read().is_err(), "QoS 3 ends the connection");
    world.unchanged();
}

#[test]
fn bulk_writes_are_stored_whole_or_not_at_all() {
    let world = World::new();
    let lines = "text/plain";
    let rows = "application/x-ndjson";
    let good = "meter u=1 1700000000000000000\n";
    let cases: [(&str, &str, String, u16, &[&str]); 10] = [
        ("", lines, format!("{good}meter u= 1\n"), 400, &["line 2", "column"]),
        ("", lines, format!("{good}meter u=NaN\n"), 400, &["line 2", "column 9"]),
        ("", lines, format!("{good}nobody u=1\n"), 400, &["line 2", "unknown device"]),
        ("", lines, format!("{good}meter u=1 yesterday\n"), 400, &["line 2"]),
        ("?precision=h", lines, good.to_owned(), 400, &["unknown precision", "ns, us, ms or s"]),
        ("", rows, r#"{"device":"meter","values":{"u":}}"#.to_owned(), 400, &["line 1", "column"]),
        ("", rows, r#"{"device":"meter","value":{"u":1}}"#.to_owned(), 400, &["values"]),
        ("", rows, r#"{"values":{"u":1}}"#.to_owned(), 400, &["line 1", "device"]),
        ("", "application/senml+json", r#"[{"n":"meter/u","v":"x"}]"#.to_owned(), 400, &["line 1"]),
        ("", "text/html", "<p>".to_owned(), 415, &["Content-Type", "text/plain"]),
    ];
    for (query, kind, body, status, parts) in cases {
        says(&world.tenant.write(query, kind, &body).problem(status), parts);
    }
    let latin = world.tenant.request("POST", "/v1/telemetry/write");
    let latin = latin.body(lines, b"meter u=1\nmeter k\xe9y=1\n").send();
    says(&latin.problem(400), &["line 2", "column 8", "UTF-8"]);
    let large = " ".repeat(LARGE_BYTES);
    says(&world.tenant.write("", lines, &large).problem(413), &["body_bytes_max", "10485760"]);
    world.unchanged();
}

#[test]
fn websocket_commands() {
    let world = World::new();
    let mut socket = WebSocket::authenticated(world.tenant.http(), &world.device.token);
    let mut refused = |text: &str, part: &str| {
        socket.send_text(text);
        let answer = socket.receive();
        assert_eq!(answer["type"], "error", "{text}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{text}: {detail}");
    };
    refused("{", "byte 1: expected a key");
    refused(r#"{"op":"dance"}"#, "byte 6: unknown op");
    refused(r#"{"op":"publish","tss":1,"values":{"t":1}}"#, "byte 16: unknown member");
    refused(r#"{"op":"publish","ts":"x","values":{"t":1}}"#, "byte 21: expected ts");
    refused(r#"{"op":"subscribe","id":1,"topic":"latest"}"#, "a device may only publish");
    refused(
        r#"{"op":"publish","id":2,"values":{"":1}}"#,
        "byte 33: key length must be 1 to 256 bytes",
    );
    refused(r#"{"op":"publish","id":2,"values":{"t":1e999}}"#, "byte 37: number out of range");
    socket.send_text(&" ".repeat(300 * 1024));
    let reason = "limit command_bytes_max exceeded: at most 262144, got 307200";
    assert_eq!(socket.closed(), (1009, reason.to_owned()));
    world.unchanged();
}

#[test]
fn websockets_of_devices_are_bounded_and_asked_for_a_sign_of_life() {
    let options = Options::default().environment("VERITWIN__HTTP__DEVICE_IDLE_SECONDS_MAX", "10");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let mut open: Vec<WebSocket> =
        (0..16).map(|_| WebSocket::authenticated(tenant.http(), &device.token)).collect();
    let mut one_more = WebSocket::connect(tenant.http());
    one_more.send(&json!({"op": "authenticate", "token": device.token}));
    let reason = "limit device_sockets_max exceeded: at most 16, got 17";
    assert_eq!(one_more.closed(), (1008, reason.to_owned()));
    let reason = "limit device_idle_seconds_max exceeded: at most 10, got 10";
    for socket in &mut open {
        assert_eq!(socket.closed(), (1008, reason.to_owned()));
    }
    // What ended no longer counts.
    WebSocket::authenticated(tenant.http(), &device.token);
}

#[test]
fn building_models() {
    let world = World::new();
    let whole = demo_ifc();
    let cut = &whole.as_bytes()[..whole.len() / 2];
    let no_schema = whole.replacen("FILE_SCHEMA(('IFC4'))", "FILE_SCHEMA(('IFC9'))", 1);
    assert_ne!(no_schema, whole, "the header is as expected");
    let zip = [b"PK\x03\x04".as_slice(), &[0; 64]].concat();
    let cases: [(&str, &[u8], &[&str]); 5] = [
        ("cut.ifc", cut, &["cut off", "byte", "END-ISO-10303-21"]),
        ("zip.ifc", &zip, &["ZIP", "unpack"]),
        ("schema.ifc", no_schema.as_bytes(), &["IFC9", "IFC4"]),
        ("empty.ifc", b"", &["empty"]),
        ("text.ifc", b"hello", &["ISO-10303-21"]),
    ];
    for (name, bytes, parts) in cases {
        let request = world.tenant.request("POST", "/v1/twins");
        let answer = request.body("application/x-step", bytes).send();
        says(&answer.problem(400), parts);
        let file = world.platform.scratch(name);
        fs::write(&file, bytes).unwrap();
        let output =
            world.platform.cli(&["import", file.to_str().unwrap(), "--tenant", &world.tenant.id]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        for part in parts.iter().chain(&[name]) {
            assert!(output.stderr.contains(part), "{part:?} is not in {}", output.stderr);
        }
        assert_eq!(output.stdout, "", "{name}");
    }
    world.unchanged();
}

#[test]
fn device_inventories() {
    let world = World::new();
    let cases: [(&str, &str, &[&str]); 7] = [
        ("header.csv", "nam,type\nx,y\n", &["row 1", "nam", "expected a header out of name,type"]),
        ("twice.csv", "name,name\nx,y\n", &["row 1", "twice"]),
        ("noname.csv", "type,unit\nx,y\n", &["row 1", "name is missing"]),
        ("fields.csv", "name,type\nx,y\nz\n", &["row 3"]),
        ("space.csv", "name,space\nx,Room 9\n", &["row 2", "space"]),
        ("declaration.csv", "name,declaration\nx,secret\n", &["row 2", "declaration"]),
        ("noname2.csv", "name,type\nfirst,t\n,t\n", &["row 3", "name"]),
    ];
    for (name, text, parts) in cases {
        let request = world.tenant.request("POST", "/v1/devices/import");
        let answer = request.body("text/csv", text.as_bytes()).send();
        says(&answer.problem(400), parts);
        let file = world.platform.scratch(name);
        fs::write(&file, text).unwrap();
        let output =
            world.platform.cli(&["import", file.to_str().unwrap(), "--tenant", &world.tenant.id]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "{part:?} is not in {}", output.stderr);
        }
    }
    for path in ["POST /v1/devices/import", "POST /v1/users/import", "PUT /v1/brand/logo"] {
        let (method, path) = path.split_once(' ').unwrap();
        let large = world.tenant.request(method, path).body("text/csv", &vec![b' '; LARGE_BYTES]);
        says(&large.send().problem(413), &["body_bytes_max", "1048576", "10485760"]);
    }
    world.unchanged();
}

#[test]
fn rest_bodies_and_queries() {
    let world = World::new();
    let id = &world.device.id;
    let series = json!([{"device_id": id, "key": "t"}]);
    let day = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let rule = |condition: Value| json!({"name": "r", "severity": "high", "condition": condition});
    let gt = |op: &str| {
        let threshold = json!({"kind": "threshold", "key": "t", "op": op, "threshold": 1});
        rule(threshold)
    };
    let mut bad_mail = gt("gt");
    bad_mail["notify_emails"] = json!(["good@x.example", "nobody"]);
    let mut bad_severity = gt("gt");
    bad_severity["severity"] = json!("dire");
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/v1/devices", json!({"type": "x"}), &["name"]),
        ("/v1/devices", json!({"name": ""}), &["\"position\":\"name\""]),
        ("/v1/devices", json!({"name": "\u{202e}evil"}), &["name", "invisible"]),
        (
            "/v1/devices",
            json!({"name": "x", "declaration": "maybe"}),
            &["non_personal", "position"],
        ),
        ("/v1/devices", json!({"name": "x", "twin_id": "7"}), &["twin_id", "8-4-4-4-12"]),
        ("/v1/devices", json!({"name": "x", "position": [1, 2]}), &["position"]),
        ("/v1/rules", gt("above"), &["gt"]),
        ("/v1/rules", bad_severity, &["severity"]),
        ("/v1/rules", bad_mail, &["notify_emails[1]", "name@host"]),
        ("/v1/rules", rule(json!({"kind": "guess"})), &["threshold", "no_data"]),
        ("/v1/users", json!({"email": "nobody", "role": "operator"}), &["email", "name@host"]),
        ("/v1/users", json!({"email": "a@x.example", "role": "king"}), &["role", "operator"]),
        (
            "/v1/api-keys",
            json!({"name": "k", "role": "operator", "expires_at": "soon"}),
            &["expires_at"],
        ),
        ("/v1/telemetry/query", json!({"series": series, "from": "x", "to": day.1}), &["from"]),
        (
            "/v1/telemetry/query",
            json!({"series": series, "from": day.1, "to": day.0}),
            &["after from"],
        ),
        ("/v1/telemetry/query", json!({"series": [], "from": day.0, "to": day.1}), &["series"]),
        (
            "/v1/telemetry/query",
            json!({"series": series, "from": day.0, "to": day.1, "bucket_ms": 0}),
            &["bucket_ms"],
        ),
        (
            "/v1/telemetry/query",
            json!({"series": series, "from": day.0, "to": day.1, "order": "up"}),
            &["order"],
        ),
        (
            "/v1/telemetry/stats",
            json!({"series": [{"device_id": "x", "key": "t"}]}),
            &["series[0].device_id"],
        ),
        ("/v1/telemetry/latest", json!({"keys": [""]}), &["keys", "1 to 256 bytes"]),
        ("/v1/alerts/acknowledge", json!({"ids": []}), &["ids"]),
    ];
    for (path, body, parts) in cases {
        let answer = world.tenant.post(path, &body);
        assert!(matches!(answer.status, 400 | 422), "{path} {body}: {}", answer.text());
        says(&answer.problem(answer.status), parts);
    }
    let raw = |body: &[u8], kind: &str| {
        world.tenant.request("POST", "/v1/devices").body(kind, body).send()
    };
    says(&raw(b"{\"name\":", "application/json").problem(400), &["line 1"]);
    says(&raw(b"{\"name\":\"x\"}", "text/plain").problem(400), &["application/json"]);
    let size = format!("got {LARGE_BYTES}");
    says(
        &raw(&vec![b' '; LARGE_BYTES], "application/json").problem(413),
        &["body_bytes_max", &size],
    );
    world.tenant.get("/v1/devices/not-an-id").problem(404);
    world.tenant.get("/v1/nothing").problem(404);
    let path = format!("/v1/devices/{id}");
    let stale = world.tenant.request("PATCH", &path).header("if-match", "\"999\"");
    says(&stale.json(&json!({"name": "other"})).send().problem(409), &[]);
    let password = json!({"email": "a@x.example", "password": 7});
    let answer = world.tenant.http().post("/v1/session").json(&password).send();
    says(&answer.problem(answer.status), &["password"]);
    world.unchanged();
}

#[test]
fn rest_queries() {
    let world = World::new();
    let id = &world.device.id;
    says(&world.tenant.get("/v1/alerts?filter=some").problem(400), &["filter", "unacknowledged"]);
    says(&world.tenant.get("/v1/devices?limit=many").problem(400), &["limit"]);
    says(&world.tenant.get("/v1/devices?ids=7").problem(400), &["ids", "8-4-4-4-12"]);
    let many = vec![id.as_str(); 101].join(",");
    let many = format!("/v1/devices?ids={many}");
    says(&world.tenant.get(&many).problem(400), &["ids_max", "100", "101"]);
    let long = format!("/v1/devices?search={}", "x".repeat(257));
    says(&world.tenant.get(&long).problem(400), &["search", "search_chars_max", "256"]);
    let wordy = format!("/v1/devices?search={}", "x%20".repeat(17));
    says(&world.tenant.get(&wordy).problem(400), &["search", "search_words_max", "16"]);
    says(&world.tenant.get("/v1/alerts?severity=high,worst").problem(400), &["severity", "medium"]);
    says(&world.tenant.get("/v1/alerts?order=age").problem(400), &["order", "urgency"]);
    says(&world.tenant.get("/v1/alerts?device_id=7").problem(400), &["device_id", "8-4-4-4-12"]);
    says(
        &world.tenant.get("/v1/alerts?device=7").problem(400),
        &["unknown query parameter", "\"device\"", "device_id", "severity"],
    );
    world.unchanged();
}

/// A filter that is not known would narrow nothing, and nobody would notice.
#[test]
fn lists_refuse_parameters_that_they_do_not_know() {
    let world = World::new();
    let document = world.tenant.http().get("/v1/openapi.json").send().expect(200);
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let read = &item["get"];
        let answers = &read["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let is_list = ["ListBody", "PageBody"]
            .iter()
            .any(|name| answers.as_str().is_some_and(|answers| answers.contains(name)));
        if !is_list || path.contains('{') {
            continue;
        }
        let answer = world.tenant.get(&format!("{path}?colour=blue"));
        // Whoever may not read learns nothing of how to ask.
        if answer.status == 403 || answer.status == 404 {
            continue;
        }
        says(&answer.problem(400), &["unknown query parameter", "\"colour\"", "expected"]);
        asked += 1;
    }
    assert!(asked > 10, "{asked} reads were asked");
    world.tenant.http().get("/v1/alerts?colour=blue").send().problem(401);
    world.unchanged();
}

#[test]
fn recordings() {
    let world = World::new();
    let cases: [(&str, &str, &[&str]); 4] = [
        ("header", "when,value\n1,2\n", &["line 1", "no time column", "date"]),
        ("value", "date,value\n1569888000,20.0\n1569888060,warm\n", &["line 3", "column 2"]),
        ("nan", "date,value\n1569888000,NaN\n", &["line 2", "column 2"]),
        ("time", "date,value\nyesterday,1\n", &["line 2", "column 1", "not a time"]),
    ];
    for (name, text, parts) in cases {
        let file = world.platform.scratch(&format!("recording-{name}.csv"));
        fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let tenant = world.tenant.id.as_str();
        let output =
            world.platform.cli(&["replay", "--backfill", "--tenant", tenant, "--csv", path]);
        assert_ne!(output.code, 0, "{name}: {output:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "{part:?} is not in {}", output.stderr);
        }
    }
    world.unchanged();
}

/// Only heads are sent: whoever waits for the body first never answers.
#[test]
fn large_uploads_are_judged_before_they_are_read() {
    let world = World::new();
    let made = world.tenant.post("/v1/api-keys", &json!({"name": "hand", "role": "operator"}));
    let operator = made.expect(201)["secret"].as_str().unwrap().to_owned();
    let head = |method: &str, path: &str, bytes: usize| {
        let request = world.tenant.http().request(method, path);
        request.header("content-length", &bytes.to_string())
    };
    let twin = format!("/v1/twins/{}", world.device.id);
    for (method, path) in [("POST", "/v1/twins".to_owned()), ("PUT", format!("{twin}/source"))] {
        let refused = head(method, &path, 200_000_000).bearer(&operator).send();
        refused.problem(403);
        let refused = head(method, &path, 200_000_000).send();
        refused.problem(401);
    }
    let upload = head("POST", "/v1/twins", 300_000_000).bearer(&world.tenant.api_key).send();
    says(&upload.problem(413), &["body_bytes_max", "268435456", "300000000"]);
    assert_eq!(world.tenant.get("/v1/twins").expect(200)["items"], json!([]));
}
