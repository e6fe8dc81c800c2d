//! An edge node of a real library (pysparkplug) through the running platform: birth, data by alias,
//! a gap and the new birth it is asked for, commands, and a death by kill. The platform is killed
//! too: what was there is there, and the node is born again.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::mqtt::Version;
use crate::python::{Script, interpreter};
use crate::rights::{Person, id};
use crate::tenant::{Device, Tenant};

/// A running edge node.
fn edge_node(platform: &Platform, python: &Path, token: &str) -> Script {
    Script::start(platform, python, "sparkplug_node.py", &[token, "plant", "line-1"])
}

#[track_caller]
fn hears(node: &Script, expect: &Value) {
    let heard: Value = serde_json::from_str(&node.line()).unwrap();
    for (key, value) in expect.as_object().unwrap() {
        assert_eq!(&heard[key], value, "{heard}");
    }
}

fn view(tenant: &Tenant, device: &str) -> Value {
    let path = format!("/v1/devices/{device}/sparkplug");
    tenant.request("GET", &path).send().expect(200)["node"].clone()
}

fn gateway(tenant: &Tenant) -> Device {
    let device = tenant.device("edge node");
    let path = format!("/v1/devices/{}", device.id);
    tenant.person("PATCH", &path).json(&json!({"is_gateway": true})).send().expect(200);
    device
}

/// The device behind the node, once it is there.
fn pump(tenant: &Tenant) -> Device {
    wait_for("the device behind the node", || {
        let found = tenant.request("GET", "/v1/devices?search=pump").send().expect(200);
        let id = found["items"].get(0)?["id"].as_str()?.to_owned();
        Some(Device { id, name: "plant/line-1/pump".to_owned(), token: String::new() })
    })
}

#[track_caller]
fn arrives(tenant: &Tenant, device: &Device, key: &str, value: f64) {
    wait_for(key, || (tenant.latest(device, key).as_f64() == Some(value)).then_some(()));
}

#[test]
fn an_edge_node_of_a_real_library() {
    let Some(python) = interpreter("sparkplug") else { return };
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = gateway(&tenant);
    let mut node = edge_node(&platform, &python, &device.token);
    hears(&node, &json!({"born": true}));
    arrives(&tenant, &device, "line/speed", 1.5);
    let pump = pump(&tenant);
    let declared = json!({"declaration": "non_personal"});
    let path = format!("/v1/devices/{}", pump.id);
    tenant.person("PATCH", &path).json(&declared).send().expect(200);
    arrives(&tenant, &pump, "flow", 2.5);
    node.tell("data 3.25");
    node.tell("flow 4.5");
    arrives(&tenant, &device, "line/speed", 3.25);
    arrives(&tenant, &pump, "flow", 4.5);
    let listed = tenant.request("GET", &format!("{path}/connections")).send().expect(200);
    assert_eq!(listed["items"][0]["is_relayed"], true, "{listed}");
    let known = view(&tenant, &device.id);
    assert_eq!((&known["online"], &known["gaps"]), (&json!(true), &json!(0)), "{known}");
    let speed = known["metrics"].as_array().unwrap().iter().find(|one| one["name"] == "line/speed");
    assert_eq!(speed.unwrap()["type"], "Double");

    node.tell("gap");
    node.tell("data 5.5");
    hears(&node, &json!({"name": "Node Control/Rebirth", "value": true}));
    hears(&node, &json!({"born": true}));
    arrives(&tenant, &device, "line/speed", 1.5);
    let known = view(&tenant, &device.id);
    assert_eq!((&known["gaps"], &known["births"]), (&json!(1), &json!(2)), "{known}");

    let write = |id: &str, metric: &str, value: Value| {
        let body = json!({"metric": metric, "value": value});
        tenant.post(&format!("/v1/devices/{id}/sparkplug/commands"), &body)
    };
    assert_eq!(write(&device.id, "line/speed", json!(7.5)).status, 202);
    hears(&node, &json!({"device": null, "alias": 1, "value": 7.5}));
    wait_for("the pump's new birth", || (view(&tenant, &pump.id)["online"] == true).then_some(()));
    assert_eq!(write(&pump.id, "flow", json!(8.5)).status, 202);
    hears(&node, &json!({"device": "pump", "alias": 2, "value": 8.5}));
    assert_eq!(write(&pump.id, "flow", json!("much")).status, 400);
    assert_eq!(write(&pump.id, "unknown", json!(1)).status, 400);

    node.kill();
    wait_for("the death", || (view(&tenant, &device.id)["online"] == false).then_some(()));
    let known = view(&tenant, &pump.id);
    assert!(known["metrics"][0]["stale"] == true && known["online"] == false, "{known}");
    assert_eq!(write(&device.id, "line/speed", json!(1)).status, 503);
    drop(node);

    platform.kill();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    let known = view(&tenant, &pump.id);
    assert!(known["online"] == false && known["metrics"][0]["name"] == "flow", "{known}");
    assert_eq!(tenant.latest(&device, "line/speed"), 1.5);
    // The certificates are there for who subscribes later.
    let mut late = platform.mqtt(Version::V311, &tenant.device("host").token);
    late.subscribe("$sparkplug/certificates/#");
    let topics = [late.message().0, late.message().0];
    assert!(topics.iter().any(|topic| topic.ends_with("/DBIRTH/line-1/pump")), "{topics:?}");
    assert!(topics.iter().any(|topic| topic.ends_with("/NBIRTH/line-1")), "{topics:?}");
    let node = edge_node(&platform, &python, &device.token);
    hears(&node, &json!({"born": true}));
    wait_for("the birth", || (view(&tenant, &device.id)["online"] == true).then_some(()));
}

/// NCMD without a metric: whom it reaches is what counts.
const COMMAND: (&str, &[u8]) = ("spBv1.0/plant/NCMD/line-1", &[0x08, 1]);
const STATE: (&str, &[u8]) = ("spBv1.0/STATE/scada", br#"{"online":true,"timestamp":1}"#);

fn make_host(tenant: &Tenant, device: &Device, is_host: bool) {
    let path = format!("/v1/devices/{}", device.id);
    let made = tenant.patch(&path, &json!({"is_sparkplug_host": is_host})).expect(200);
    assert_eq!(made["is_sparkplug_host"], is_host, "{made}");
}

#[test]
fn hosts_command_the_nodes_of_their_own_tenant_and_nobody_else_does() {
    let platform = Platform::shared();
    let (tenant, elsewhere) = (platform.tenant(), platform.tenant());
    let (scada, plain) = (tenant.device("scada"), tenant.device("thermometer"));
    let mut node = platform.mqtt(Version::V5, &tenant.device("node").token);
    node.subscribe("spBv1.0/plant/NCMD/#");
    // Neither a device like any other nor one that speaks for others.
    let gateway = gateway(&tenant);
    for token in [&scada.token, &plain.token, &gateway.token] {
        let mut thief = platform.mqtt(Version::V5, token);
        for (topic, payload) in [COMMAND, STATE] {
            let (code, why) = thief.publish(topic, payload);
            assert!(code == 0x87 && why.contains("Sparkplug host"), "{topic}: {code:#x} {why}");
        }
    }
    // A host of another tenant is one there.
    let other = elsewhere.device("scada");
    make_host(&elsewhere, &other, true);
    let mut other = platform.mqtt(Version::V5, &other.token);
    assert_eq!(other.publish(COMMAND.0, &[0x08, 2]).0, 0);
    let path = format!("/v1/devices/{}", scada.id);
    elsewhere.patch(&path, &json!({"is_sparkplug_host": true})).problem(404);

    make_host(&tenant, &scada, true);
    let mut host = platform.mqtt(Version::V5, &scada.token);
    host.subscribe("spBv1.0/#");
    assert_eq!(host.publish(STATE.0, STATE.1).0, 0);
    assert_eq!(host.publish(COMMAND.0, COMMAND.1).0, 0);
    // The first that the node hears: nothing of the others.
    assert_eq!(node.message(), (COMMAND.0.to_owned(), COMMAND.1.to_vec()));
    // It commands, and speaks for nobody.
    assert_eq!(host.publish("v1/gateway/telemetry", br#"{"x":{"t":1}}"#).0, 0x87);

    let records = tenant.get("/v1/activity?action=device.update&limit=1").expect(200);
    let record = &records["items"][0];
    let said = (&record["before"]["is_sparkplug_host"], &record["after"]["is_sparkplug_host"]);
    assert_eq!(said, (&json!(false), &json!(true)), "{record}");

    // Taken back it ends what was open, and counts no more.
    make_host(&tenant, &scada, false);
    while host.read().is_ok() {}
    let mut back = platform.mqtt(Version::V5, &scada.token);
    assert_eq!(back.publish(COMMAND.0, COMMAND.1).0, 0x87);
}

#[test]
fn who_may_not_command_all_devices_makes_no_host() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("inside");
    let group = json!({"name": "north", "device_ids": [device.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let person = Person::new(platform, &tenant, "north", "support");
    let scope = json!({"group_id": group});
    let grant = json!({"user_id": person.id, "role": "integrator", "scope": scope});
    tenant.post("/v1/grants", &grant).expect(201);
    let path = format!("/v1/devices/{}", device.id);
    let change = |body: Value| person.request("PATCH", &path).json(&body).send();
    change(json!({"type": "changed"})).expect(200);
    let credentials = format!("{path}/credentials");
    let own = person.request("POST", &credentials).json(&json!({})).send().expect(201);
    let own = format!("{credentials}/{}", own["credential"]["id"].as_str().unwrap());
    let disable = |yes: bool| {
        let body = json!({"disabled": yes});
        person.request("PATCH", &own).json(&body).send()
    };
    disable(true).expect(200);
    let refused = change(json!({"is_sparkplug_host": true})).problem(403);
    assert!(refused["detail"].as_str().unwrap().contains("whole tenant"), "{refused}");
    assert_eq!(tenant.get(&path).expect(200)["is_sparkplug_host"], false);
    // Whose right it is gives it; that it stays as it is anybody may say, and take it back.
    make_host(&tenant, &device, true);
    change(json!({"is_sparkplug_host": true})).expect(200);
    // Nor does anybody come by a credential of it in another way.
    let more = || person.request("POST", &credentials).json(&json!({})).send();
    for refused in [more(), disable(false)] {
        let refused = refused.problem(403);
        assert!(refused["detail"].as_str().unwrap().contains("whole tenant"), "{refused}");
    }
    disable(true).expect(200);
    tenant.post(&credentials, &json!({})).expect(201);
    change(json!({"is_sparkplug_host": false})).expect(200);
    disable(false).expect(200);
    more().expect(201);
}
