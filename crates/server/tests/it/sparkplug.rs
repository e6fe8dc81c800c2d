//! An edge node of a real library (pysparkplug) through the running platform: birth, data by alias,
//! a gap and the new birth it is asked for, commands, and a death by kill. The platform is killed
//! too: what was there is there, and the node is born again.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::mqtt::Version;
use crate::python::{Script, interpreter};
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
