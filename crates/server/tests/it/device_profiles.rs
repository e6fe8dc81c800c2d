//! Payloads of devices' own make through the running platform: decoded over MQTT and HTTP, refused
//! precisely, by the decoder that counts at that moment, and no tenant waits for another's.

use serde_json::{Value, json};

use crate::harness::Platform;
use crate::mqtt::{Mqtt, Version};
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const SOURCE: &str = "#{ t: payload.i16be(0) / 10.0, port: topic }";

fn make(tenant: &Tenant, profile: &Value) -> String {
    let made = tenant.post("/v1/device-profiles", profile).expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn of_type(source: &str) -> Value {
    json!({
        "name": "Meter", "source": source, "device_types": ["test"],
        "topics": [TELEMETRY, "up/+"],
    })
}

fn values(tenant: &Tenant, device: &Device, key: &str) -> Vec<Value> {
    tenant.points(device, key).into_iter().map(|(_, value)| value).collect()
}

fn profile(tenant: &Tenant, id: &str) -> Value {
    tenant.get(&format!("/v1/device-profiles/{id}")).expect(200)
}

#[test]
fn bytes_become_readings_over_every_door() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let mut early = platform.mqtt(Version::V5, &device.token);
    assert_eq!(early.publish(TELEMETRY, &[0, 215]).0, 0x99, "no decoder yet");

    let id = make(&tenant, &of_type(SOURCE));
    // A connection of before has it, too.
    assert_eq!(early.publish(TELEMETRY, &[0, 215]), (0, String::new()));
    let mut silent = platform.mqtt(Version::V311, &device.token);
    assert_eq!(silent.publish(TELEMETRY, &[0, 216]).0, 0);
    let post = |content_type: &str, body: &[u8]| {
        let request = platform.http().post("/api/v1/telemetry").bearer(&device.token);
        request.body(content_type, body).send()
    };
    assert_eq!(post("application/octet-stream", &[0, 217]).status, 200);
    // JSON is taken as it comes; bytes may begin like it.
    assert_eq!(early.publish(TELEMETRY, b"[\x01").0, 0);
    tenant.send(&device, &json!({"t": 21.8})).expect(200);
    assert_eq!(early.publish(TELEMETRY, br#"{"t":21.9}"#).0, 0);
    let bytes = f64::from(i16::from_be_bytes(*b"[\x01")) / 10.0;
    let expect: Vec<Value> = [21.5, 21.6, 21.7, bytes, 21.8, 21.9].map(Value::from).to_vec();
    assert_eq!(values(&tenant, &device, "t"), expect);

    // A topic of its own is decoded, and relayed as it came.
    let listener = tenant.device("listener");
    let mut listener = platform.mqtt(Version::V5, &listener.token);
    listener.subscribe("up/#");
    assert_eq!(early.publish("up/7", &[0, 220]).0, 0);
    assert_eq!(listener.message(), ("up/7".to_owned(), vec![0, 220]));
    assert_eq!(values(&tenant, &device, "port").last(), Some(&json!("up/7")));
    let read = profile(&tenant, &id);
    assert_eq!((&read["decoded"], &read["refused"]), (&json!(5), &json!(0)));
}

#[test]
fn what_a_decoder_refuses_is_told_precisely_and_without_the_payload() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let source =
        "let n = payload.u8(0);\nif n > 100 { throw \"bad \" + payload.text(); }\n#{ n: n }";
    let id = make(&tenant, &of_type(source));
    let mut client = platform.mqtt(Version::V5, &device.token);
    let (code, why) = client.publish(TELEMETRY, b"secret");
    assert_eq!(code, 0x99, "{why}");
    assert!(why.contains("decoder: line 2") && !why.contains("secret"), "{why}");
    let mut silent = platform.mqtt(Version::V311, &device.token);
    assert_eq!(silent.publish(TELEMETRY, b"secret").0, 0);
    let refusals = tenant.get(&format!("/v1/devices/{}/refusals", device.id)).expect(200);
    assert_eq!(refusals["items"][0]["reason"], "payload", "{refusals}");
    assert!(!refusals.to_string().contains("secret"), "{refusals}");
    let request = platform.http().post("/api/v1/telemetry").bearer(&device.token);
    let told = request.body("application/octet-stream", b"secret").send().problem(400);
    assert_eq!((&told["line"], told["column"].is_u64()), (&json!(2), true), "{told}");
    let read = profile(&tenant, &id);
    assert_eq!((&read["refused"], &read["decoded"]), (&json!(3), &json!(0)));
    assert_eq!(read["last_refusal"]["device_id"], json!(device.id), "{read}");
    assert!(!read["last_refusal"].to_string().contains("secret"), "{read}");

    // What it gives is held to what any message is held to.
    let profiles = format!("/v1/device-profiles/{id}");
    tenant.put(&profiles, &of_type("#{ note: payload.text() }")).expect(200);
    let (code, why) = client.publish(TELEMETRY, b"4111 1111 1111 1111");
    assert!(code == 0x87 && why.contains("decoded readings"), "{code:#x} {why}");
    assert_eq!(client.publish(TELEMETRY, b"nothing special"), (0, String::new()));
}

#[test]
fn a_change_counts_from_the_next_payload_and_can_be_taken_back() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let id = make(&tenant, &of_type("#{ n: 1 }"));
    let path = format!("/v1/device-profiles/{id}");
    let mut client = platform.mqtt(Version::V5, &device.token);
    let mut last = |expect: i64| {
        assert_eq!(client.publish(TELEMETRY, b"x"), (0, String::new()));
        assert_eq!(values(&tenant, &device, "n").last(), Some(&json!(expect)));
    };
    last(1);
    let changed = tenant.put(&path, &of_type("#{ n: 2 }")).expect(200);
    assert_eq!(changed["version"], 2);
    last(2);
    let stale = tenant.request("PUT", &path).header("if-match", "\"1\"");
    stale.json(&of_type("#{ n: 3 }")).send().problem(409);
    tenant.post(&format!("{path}/restore"), &json!({"version": 1})).expect(200);
    last(1);
    let versions = tenant.get(&format!("{path}/versions")).expect(200);
    let numbers: Vec<&Value> =
        versions["items"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
    assert_eq!(numbers, [3, 2, 1]);
    tenant.post(&format!("{path}/restore"), &json!({"version": 9})).problem(404);

    // A profile of the device's own goes before that of its type.
    let own = make(&tenant, &json!({"name": "Own", "source": "#{ n: 7 }"}));
    let devices = format!("/v1/device-profiles/{own}/devices");
    tenant.post(&devices, &json!({"device_ids": [device.id]})).expect(204);
    last(7);
    assert_eq!(tenant.get(&devices).expect(200)["device_ids"], json!([device.id]));
    let release = format!("/v1/device-profiles/{own}/release");
    tenant.post(&release, &json!({"device_ids": [device.id]})).expect(204);
    last(1);

    // Without one that is on, bytes are not JSON again.
    tenant.delete(&path).expect(204);
    assert_eq!(client.publish(TELEMETRY, b"x").0, 0x99);
    let records = tenant.person("GET", "/v1/activity?action=decoder.write").send().expect(200);
    let done = &records["items"].as_array().unwrap()[0];
    assert_eq!(done["before"]["name"], "Meter", "{done}");
}

#[test]
fn a_profile_is_checked_and_its_decoder_tried_before_it_counts() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let refused = |profile: Value, at: &str| {
        let told = tenant.post("/v1/device-profiles", &profile).problem(400);
        assert_eq!(told["position"], json!(at), "{told}");
    };
    refused(json!({"name": "", "source": "#{}"}), "name");
    refused(json!({"name": "n", "source": "let"}), "source");
    refused(json!({"name": "n", "source": "#{}", "topics": ["a/#/b"]}), "topics[0]");
    refused(json!({"name": "n", "source": "#{}", "topics": ["v1/gateway/x"]}), "topics[0]");
    refused(
        json!({"name": "n", "source": "#{}", "samples": [{"format": "x"}]}),
        "samples[0].format",
    );
    make(&tenant, &of_type("#{}"));
    refused(of_type("#{}"), "device_types[0]");
    let asked = json!({"source": SOURCE, "samples": [
        {"name": "a", "format": "hex", "data": "00d7", "expected": "{\"t\": 21.5}"},
        {"name": "b", "format": "text", "data": "x"},
    ]});
    let results = tenant.post("/v1/device-profiles/test", &asked).expect(200);
    let results = results["items"].as_array().unwrap();
    let decoded: Value = serde_json::from_str(results[0]["decoded"].as_str().unwrap()).unwrap();
    assert_eq!(decoded[0]["t"], 21.5);
    assert_eq!(results[0]["matches"], false, "the port came out, too");
    assert_eq!(results[1]["fault"]["line"], 1);
    let endless = json!({"source": "loop { }"});
    let told = tenant.post("/v1/device-profiles/test", &endless).expect(200);
    assert_eq!(told["items"][0]["fault"]["kind"], "limit");
    // What grows in a variable is one step each time.
    let growing = "let b = []; for i in 0..200 { b.push(i); }
        let m = #{}; let i = 0; loop { m[\"k\" + i] = b; i += 1; }";
    let told = tenant.post("/v1/device-profiles/test", &json!({"source": growing})).expect(200);
    assert_eq!(told["items"][0]["fault"]["kind"], "limit");
}

#[test]
fn another_tenants_decoder_is_not_there_and_not_waited_for() {
    let platform = Platform::shared();
    let (slow, quick) = (platform.tenant(), platform.tenant());
    let id = make(&slow, &of_type("let i = 0; while i < 3000 { i += 1; }\n#{ i: i }"));
    make(&quick, &of_type("#{ n: payload.u8(0) }"));
    quick.get(&format!("/v1/device-profiles/{id}")).problem(404);
    let theirs = slow.device("theirs");
    let own = quick.get("/v1/device-profiles").expect(200)["items"][0]["id"].clone();
    let devices = format!("/v1/device-profiles/{}/devices", own.as_str().unwrap());
    quick.post(&devices, &json!({"device_ids": [theirs.id]})).problem(404);

    let mut busy: Vec<Mqtt> = (0..4)
        .map(|number| {
            let device = slow.device(&format!("slow {number}"));
            platform.mqtt(Version::V5, &device.token)
        })
        .collect();
    for client in &mut busy {
        for _ in 0..50 {
            client.send(TELEMETRY, b"x").unwrap();
        }
    }
    let device = quick.device("quick");
    let mut client = platform.mqtt(Version::V5, &device.token);
    for number in 0..20u8 {
        assert_eq!(client.publish(TELEMETRY, &[number]), (0, String::new()));
    }
    let expect: Vec<Value> = (0..20).map(Value::from).collect();
    assert_eq!(values(&quick, &device, "n"), expect, "in their order");
}

#[test]
fn profiles_outlive_a_kill() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let id = make(&tenant, &of_type("#{ n: payload.u8(0) }"));
    platform.kill();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    assert_eq!(profile(&tenant, &id)["settings"]["name"], "Meter");
    let mut client = platform.mqtt(Version::V311, &device.token);
    assert_eq!(client.publish(TELEMETRY, &[9]).0, 0);
    assert_eq!(values(&tenant, &device, "n"), [json!(9)]);
}
