//! Gateways, kept calls and packages through the running platform: who may speak for whom, what is
//! delivered once a device comes, and what outlives a kill.

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::mqtt::{Mqtt, Version};
use crate::rights::Person;
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/gateway/telemetry";

fn gateway(tenant: &Tenant, name: &str) -> Device {
    let device = tenant.device(name);
    let path = format!("/v1/devices/{}", device.id);
    let made = tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
    assert_eq!(made["is_gateway"], true);
    device
}

fn found(tenant: &Tenant, name: &str) -> Option<Value> {
    let devices = tenant.get(&format!("/v1/devices?search={name}")).expect(200);
    devices["items"].as_array().unwrap().iter().find(|device| device["name"] == name).cloned()
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn message(client: &mut Mqtt) -> (String, Value) {
    let (topic, payload) = client.message();
    (topic, serde_json::from_slice(&payload).unwrap())
}

#[test]
fn a_gateway_speaks_for_its_own_devices_and_for_no_other() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (mine, other) = (gateway(&tenant, "mine"), gateway(&tenant, "other"));
    tenant.device("alone");
    let mut client = platform.mqtt(Version::V5, &mine.token);
    let readings = br#"{"one":[{"ts":1767225600000,"values":{"t":1}}],"two":{"t":2}}"#;
    assert_eq!(client.publish(TELEMETRY, readings), (0, String::new()));
    let one = found(&tenant, "one").unwrap();
    assert_eq!((&one["gateway_id"], &one["online"]), (&json!(mine.id), &json!(true)));
    let child = Device { id: id_of(&one), name: "one".to_owned(), token: String::new() };
    assert_eq!(tenant.points(&child, "t"), [(1_767_225_600_000, json!(1))]);

    // One that is there, one of another gateway, the gateway itself: told, and nothing is stored.
    let mut theirs = platform.mqtt(Version::V5, &other.token);
    for name in ["alone", "one", "mine", "ONE"] {
        let (code, why) =
            theirs.publish(TELEMETRY, format!(r#"{{"{name}":{{"t":9}}}}"#).as_bytes());
        assert_eq!(code, 0x87, "{name}: {why}");
        assert!(why.contains("1 of 1 devices refused") && !why.contains(name), "{why}");
    }
    assert_eq!(tenant.stats(&child, "t").0, 1);
    // What may be is taken all the same.
    let (code, why) = theirs.publish(TELEMETRY, br#"{"alone":{"t":9},"three":{"t":3}}"#);
    assert!(code == 0x87 && why.contains("1 of 2"), "{code:#x} {why}");
    assert!(found(&tenant, "three").is_some());

    // 3.1.1 has no way to be told: a record says it.
    let mut silent = platform.mqtt(Version::V311, &other.token);
    assert_eq!(silent.publish(TELEMETRY, br#"{"alone":{"t":9}}"#).0, 0);
    let refusals = tenant.get(&format!("/v1/devices/{}/refusals", other.id)).expect(200);
    assert_eq!(refusals["items"][0]["reason"], "not_allowed", "{refusals}");

    // Put behind the other one by a person, it is the other one's.
    let path = format!("/v1/devices/{}", child.id);
    tenant.patch(&path, &json!({"gateway_id": other.id})).expect(200);
    assert_eq!(theirs.publish(TELEMETRY, br#"{"one":{"t":4}}"#).0, 0);
    assert_eq!(client.publish(TELEMETRY, br#"{"one":{"t":5}}"#).0, 0x87);

    // Who is no gateway, or no longer one, speaks for none.
    let plain = tenant.device("plain");
    let mut plain = platform.mqtt(Version::V5, &plain.token);
    assert_eq!(plain.publish(TELEMETRY, br#"{"x":{"t":1}}"#).0, 0x87);
    let path = format!("/v1/devices/{}", other.id);
    tenant.patch(&path, &json!({"is_gateway": false})).problem(409);
}

#[test]
fn who_holds_a_part_comes_by_no_credential_of_a_gateway() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mine = tenant.device("gateway in the north");
    // Behind it stands a device of another part, which is not theirs to see.
    let south = tenant.device("south");
    let group = json!({"name": "north", "device_ids": [mine.id]});
    let group = id_of(&tenant.post("/v1/groups", &group).expect(201));
    let person = Person::new(platform, &tenant, "north", "support");
    let grant = json!({
        "user_id": person.id, "role": "administrator", "scope": {"group_id": group},
    });
    tenant.post("/v1/grants", &grant).expect(201);
    let path = format!("/v1/devices/{}", mine.id);
    let credentials = format!("{path}/credentials");
    let more = || person.request("POST", &credentials).json(&json!({})).send();
    let old = more().expect(201)["credential"]["id"].as_str().unwrap().to_owned();
    let change =
        |body: Value| person.request("PATCH", &format!("{credentials}/{old}")).json(&body).send();
    change(json!({"disabled": true})).expect(200);
    person.request("PATCH", &path).json(&json!({"is_gateway": true})).send().problem(403);

    tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
    let behind = format!("/v1/devices/{}", south.id);
    tenant.patch(&behind, &json!({"gateway_id": mine.id})).expect(200);
    person.request("GET", &behind).send().problem(404);
    let key = json!({"public_key": "ab".repeat(32)});
    let key = person.request("POST", &format!("{path}/edge-keys")).json(&key).send();
    let longer = json!({"valid_until": "2100-01-01T00:00:00Z"});
    for refused in [more(), change(json!({"disabled": false})), change(longer), key] {
        let refused = refused.problem(403);
        assert!(refused["detail"].as_str().unwrap().contains("whole tenant"), "{refused}");
    }
    // To shut it out is theirs still, and whose right it is gives one.
    change(json!({"name": "old", "disabled": true})).expect(200);
    tenant.post(&credentials, &json!({})).expect(201);
    tenant.patch(&behind, &json!({"gateway_id": ""})).expect(200);
    tenant.patch(&path, &json!({"is_gateway": false})).expect(200);
    change(json!({"disabled": false})).expect(200);
    more().expect(201);
}

#[test]
fn another_tenants_names_are_not_known() {
    let platform = Platform::shared();
    let (one, two) = (platform.tenant(), platform.tenant());
    one.device("boiler");
    let gateway = gateway(&two, "gateway");
    let mut client = platform.mqtt(Version::V5, &gateway.token);
    assert_eq!(client.publish(TELEMETRY, br#"{"boiler":{"t":1}}"#).0, 0, "a device of its own");
    assert_eq!(found(&two, "boiler").unwrap()["gateway_id"], json!(gateway.id));
    assert_eq!(found(&one, "boiler").unwrap()["gateway_id"], Value::Null);
}

#[test]
fn a_thousand_devices_in_one_message() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let gateway = gateway(&tenant, "large");
    let all: Vec<String> =
        (0..1_000).map(|number| format!("\"child {number}\":{{\"t\":1}}")).collect();
    let mut client = platform.mqtt(Version::V5, &gateway.token);
    let payload = format!("{{{}}}", all.join(","));
    for _ in 0..2 {
        assert_eq!(client.publish(TELEMETRY, payload.as_bytes()), (0, String::new()));
    }
    let listed = tenant.get("/v1/devices?limit=1").expect(200);
    assert_eq!(listed["total"], 1_001, "{listed}");
    let more: Vec<String> = (0..1_025).map(|number| format!("\"{number}\":{{}}")).collect();
    let (code, why) =
        client.publish("v1/gateway/attributes", format!("{{{}}}", more.join(",")).as_bytes());
    assert!(code == 0x97 && why.contains("gateway_names_max"), "{code:#x} {why}");
}

#[test]
fn calls_and_attributes_reach_a_device_through_its_gateway() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let gateway = gateway(&tenant, "between");
    let mut client = platform.mqtt(Version::V5, &gateway.token);
    client.subscribe("v1/gateway/+");
    client.subscribe("v1/gateway/attributes/response");
    assert_eq!(client.publish("v1/gateway/connect", br#"{"device":"a","type":"x"}"#).0, 0);
    let id = id_of(&found(&tenant, "a").unwrap());
    tenant.patch(&format!("/v1/devices/{id}/attributes"), &json!({"shared": {"k": 1}})).expect(200);
    let expected = json!({"device": "a", "data": {"k": 1}});
    assert_eq!(message(&mut client), ("v1/gateway/attributes".to_owned(), expected));
    let listed = tenant.get(&format!("/v1/devices/{id}/connections")).expect(200);
    assert_eq!(listed["items"][0]["is_relayed"], true, "{listed}");
    let ask = br#"{"id":3,"device":"a","client":false,"key":"k"}"#;
    assert_eq!(client.publish("v1/gateway/attributes/request", ask).0, 0);
    let expected = json!({"device": "a", "id": 3, "value": 1});
    assert_eq!(message(&mut client).1, expected);
    assert_eq!(client.publish("v1/gateway/attributes", br#"{"a":{"own":2}}"#).0, 0);
    for (asked, answer) in [
        (json!({"client": false, "keys": ["k"]}), json!({"value": 1})),
        (json!({"client": false, "keys": ["k", "absent"]}), json!({"values": {"k": 1}})),
        (json!({"client": true, "key": "absent"}), json!({})),
        (json!({"client": false, "keys": []}), json!({"values": {"own": 2, "k": 1}})),
        (json!({"client": [], "shared": ["k", "own"]}), json!({"shared": {"k": 1}})),
        (
            json!({"client": ["own"], "shared": ["k"]}),
            json!({"client": {"own": 2}, "shared": {"k": 1}}),
        ),
    ] {
        let with = |mut value: Value| {
            (value["device"], value["id"]) = (json!("a"), json!(9));
            value
        };
        let ask = with(asked.clone()).to_string();
        assert_eq!(client.publish("v1/gateway/attributes/request", ask.as_bytes()).0, 0);
        assert_eq!(message(&mut client).1, with(answer), "{asked}");
    }

    let body = json!({"method": "m", "params": [1], "persistent": true});
    let path = format!("/v1/devices/{id}/rpc");
    let kept = tenant.post(&path, &body).expect(200)["call"].clone();
    let (topic, call) = message(&mut client);
    assert_eq!((topic.as_str(), &call["device"]), ("v1/gateway/rpc", &json!("a")));
    assert_eq!((&call["data"]["method"], &call["data"]["params"]), (&json!("m"), &json!([1])));
    let answer = json!({"device": "a", "id": call["data"]["id"], "data": {"done": true}});
    assert_eq!(client.publish("v1/gateway/rpc", answer.to_string().as_bytes()).0, 0);
    let kept = tenant.get(&format!("{path}/{}", id_of(&kept))).expect(200);
    assert_eq!((&kept["state"], &kept["result"]), (&json!("successful"), &json!({"done": true})));

    tenant.delete(&format!("/v1/devices/{id}")).expect(204);
    let expected = json!({"device": "a", "reason": 152});
    assert_eq!(message(&mut client), ("v1/gateway/disconnect".to_owned(), expected));
}

#[test]
fn kept_calls_come_in_their_order_when_the_device_does_and_outlive_a_kill() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("asleep");
    let path = format!("/v1/devices/{}/rpc", device.id);
    let keep = |method: &str, one_way: bool| {
        let body = json!({"method": method, "persistent": true, "one_way": one_way});
        let call = tenant.post(&path, &body).expect(200)["call"].clone();
        assert_eq!(call["state"], "queued");
        id_of(&call)
    };
    let ids = [keep("first", true), keep("second", false), keep("third", false)];
    tenant.delete(&format!("{path}/{}", ids[2])).expect(204);
    tenant.delete(&format!("{path}/{}", ids[2])).problem(409);
    platform.kill();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    let mut client = platform.mqtt(Version::V5, &device.token);
    client.subscribe("v1/devices/me/rpc/request/+");
    let (_, first) = message(&mut client);
    assert_eq!(first["method"], "first");
    let (topic, second) = message(&mut client);
    assert_eq!(second["method"], "second");
    let state = |id: &str| {
        let call = tenant.get(&format!("{path}/{id}")).expect(200);
        call["state"].as_str().unwrap().to_owned()
    };
    wait_for("the first to be done", || (state(&ids[0]) == "successful").then_some(()));
    // The answer never came: after the kill it is sent again, if it was not noted as delivered.
    platform.kill();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    let mut client = platform.mqtt(Version::V5, &device.token);
    client.subscribe("v1/devices/me/rpc/request/+");
    let answer = topic.replace("request", "response");
    assert_eq!(client.publish(&answer, br#"{"ok":1}"#).0, 0);
    let call = tenant.get(&format!("{path}/{}", ids[1])).expect(200);
    assert_eq!((&call["state"], &call["result"]), (&json!("successful"), &json!({"ok": 1})));
    let all = tenant.get(&path).expect(200);
    let states: Vec<_> = all["items"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["deleted", "successful", "successful"]);
}

/// That a device has a call and that it answers it are written at about the same time: neither
/// undoes the other, and each call is sent once.
#[test]
fn answers_and_acknowledgements_do_not_undo_one_another() {
    const CALLS: usize = 40;
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("quick");
    let path = format!("/v1/devices/{}/rpc", device.id);
    let mut client = platform.mqtt(Version::V5, &device.token);
    client.subscribe("v1/devices/me/rpc/request/+");
    for number in 0..CALLS {
        let body = json!({"method": "m", "params": number, "persistent": true});
        tenant.post(&path, &body).expect(200);
    }
    for number in 0..CALLS {
        let (topic, call) = message(&mut client);
        assert_eq!(call["params"], number, "in their order");
        // Subscribing again is not listening anew: nothing is sent a second time.
        client.subscribe("v1/devices/me/rpc/request/+");
        let answer = topic.replace("request", "response");
        assert_eq!(client.publish(&answer, number.to_string().as_bytes()).0, 0);
    }
    let kept = tenant.get(&format!("{path}?limit=100")).expect(200);
    let kept = kept["items"].as_array().unwrap();
    assert_eq!(kept.len(), CALLS);
    for call in kept {
        assert_eq!((&call["state"], &call["result"]), (&json!("successful"), &call["params"]));
        assert_eq!(call["attempts"], 1, "{call}");
    }
}

#[test]
fn packages_are_told_and_fetched_in_pieces() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("updated");
    let bytes: Vec<u8> = (0..1_200_000u32).map(|number| (number % 253) as u8).collect();
    let keep = |query: &str| {
        let path = format!("/v1/packages?kind=software&title=App&version=1{query}");
        tenant.request("POST", &path).body("application/octet-stream", &bytes).send()
    };
    let wrong = format!("&checksum={}", "0".repeat(64));
    keep(&wrong).problem(400);
    let package = keep("&checksum_algorithm=sha384").expect(201);
    assert_eq!(
        (&package["bytes"], package["checksum"].as_str().unwrap().len()),
        (&json!(1_200_000), 96)
    );
    keep("").problem(409);
    let path = format!("/v1/packages/{}", id_of(&package));
    let targets = json!({"device_ids": [device.id]});
    let mut client = platform.mqtt(Version::V5, &device.token);
    client.subscribe("v1/devices/me/attributes");
    client.subscribe("v2/sw/response/+/chunk/+");
    assert_eq!(tenant.post(&format!("{path}/devices"), &targets).expect(200)["changed"], 1);
    let (_, told) = message(&mut client);
    assert_eq!((&told["sw_title"], &told["sw_version"]), (&json!("App"), &json!("1")));
    assert_eq!(
        (&told["sw_size"], &told["sw_checksum_algorithm"]),
        (&json!(1_200_000), &json!("SHA384"))
    );
    let mut fetched = Vec::new();
    for chunk in 0..4 {
        let topic = format!("v2/sw/request/7/chunk/{chunk}");
        assert_eq!(client.publish(&topic, b"400000").0, 0);
        let (topic, piece) = client.message();
        assert_eq!(topic, format!("v2/sw/response/7/chunk/{chunk}"));
        fetched.extend(piece);
    }
    assert!(fetched == bytes, "{} bytes", fetched.len());
    let (code, why) = client.publish("v2/sw/request/7/chunk/0", b"600000");
    assert!(code == 0x97 && why.contains("chunk_bytes_max"), "{code:#x} {why}");

    let at = |query: &str| {
        let path = format!("/api/v1/{}/software?{query}", device.token);
        platform.http().get(&path).send()
    };
    // Without a size it is all of it, in as many pieces as it takes.
    let whole = at("title=App&version=1");
    assert!(whole.status == 200 && whole.body == bytes, "{} bytes", whole.body.len());
    let piece = at("title=App&version=1&size=100&chunk=2");
    assert_eq!((piece.status, piece.body.as_slice()), (200, &bytes[200..300]));
    assert_eq!(at("title=App&version=2&size=100&chunk=2").status, 404);
    // A group is who is in it now; more than are assigned at a time.
    let rows: String = (0..120).map(|number| format!("fleet {number},pump\n")).collect();
    let sheet = tenant.request("POST", "/v1/devices/import");
    sheet.body("text/csv", format!("name,type\n{rows}").as_bytes()).send().expect(200);
    let fleet = tenant.get("/v1/devices?search=fleet&limit=200").expect(200);
    let fleet = fleet["items"].as_array().unwrap().iter().map(|one| one["id"].clone());
    let group = json!({"name": "fleet", "device_ids": fleet.collect::<Vec<_>>()});
    let group = tenant.post("/v1/groups", &group).expect(201);
    let of_group = json!({"device_ids": [device.id], "group_id": group["id"]});
    assert_eq!(tenant.post(&format!("{path}/devices"), &of_group).expect(200)["changed"], 120);
    assert_eq!(tenant.get("/v1/packages").expect(200)["items"][0]["devices"], 121);
    assert_eq!(tenant.post(&format!("{path}/release"), &of_group).expect(200)["changed"], 121);
    assert_eq!(message(&mut client).1["deleted"].as_array().unwrap().len(), 6);
    assert_eq!(tenant.post(&format!("{path}/devices"), &targets).expect(200)["changed"], 1);
    assert_eq!(message(&mut client).1["sw_title"], "App");

    // Another tenant has none of it.
    let other = platform.tenant();
    other.get(&format!("{path}/devices")).problem(404);
    other.delete(&path).problem(404);
    tenant.delete(&path).problem(409);
    assert_eq!(tenant.post(&format!("{path}/release"), &targets).expect(200)["changed"], 1);
    let (_, gone) = message(&mut client);
    assert_eq!(gone["deleted"].as_array().unwrap().len(), 6);
    tenant.delete(&path).expect(204);
    assert_eq!(at("title=App&version=1&size=100&chunk=2").status, 404);
}
