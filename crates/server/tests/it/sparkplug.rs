//! An edge node of a real library (pysparkplug) through the running platform: birth, data by alias,
//! a gap and the new birth it is asked for, commands, and a death by kill. The platform is killed
//! too: what was there is there, and the node is born again.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::mqtt::Version;
use crate::skipped::skipped;
use crate::tenant::{Device, Tenant};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The interpreter with the library in it, at the versions and digests of the list; none where it
/// cannot be installed.
fn python() -> Option<PathBuf> {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let folder = target.join("python/sparkplug");
    let (interpreter, done) = (folder.join("bin/python3"), folder.join("installed.txt"));
    if done.exists() {
        return Some(interpreter);
    }
    let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let is_made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
    // paho-mqtt comes as source at the version that the library needs.
    let is_installed = |list: &str| {
        let list = format!("{FOLDER}/{list}.txt");
        let install = ["-m", "pip", "install", "-q", "--no-build-isolation"];
        let pinned = ["--require-hashes", "-r", &list];
        run(Command::new(&interpreter).args(install).args(pinned))
    };
    if is_made && is_installed("sparkplug-build") && is_installed("sparkplug") {
        std::fs::write(&done, "").unwrap();
        return Some(interpreter);
    }
    skipped("the Python package pysparkplug cannot be installed");
    None
}

/// A running edge node.
struct Node {
    child: Child,
    input: ChildStdin,
    heard: Receiver<Value>,
}

impl Node {
    fn start(platform: &Platform, python: &Path, token: &str) -> Self {
        let ports = platform.ports();
        let (host, port) = ports.mqtts.split_once(':').unwrap();
        let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
        let mut child = Command::new(python)
            .arg(format!("{FOLDER}/sparkplug_node.py"))
            .args([host, port])
            .arg(ca)
            .args([token, "plant", "line-1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (told, heard) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = told.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, input, heard }
    }

    #[track_caller]
    fn hears(&self, expect: &Value) {
        let heard = self.heard.recv_timeout(ANSWER_MAX).expect("something");
        for (key, value) in expect.as_object().unwrap() {
            assert_eq!(&heard[key], value, "{heard}");
        }
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let Some(python) = python() else { return };
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = gateway(&tenant);
    let mut node = Node::start(&platform, &python, &device.token);
    node.hears(&json!({"born": true}));
    arrives(&tenant, &device, "line/speed", 1.5);
    let pump = pump(&tenant);
    let declared = json!({"declaration": "non_personal"});
    let path = format!("/v1/devices/{}", pump.id);
    tenant.person("PATCH", &path).json(&declared).send().expect(200);
    arrives(&tenant, &pump, "flow", 2.5);
    node.says("data 3.25");
    node.says("flow 4.5");
    arrives(&tenant, &device, "line/speed", 3.25);
    arrives(&tenant, &pump, "flow", 4.5);
    let known = view(&tenant, &device.id);
    assert_eq!((&known["online"], &known["gaps"]), (&json!(true), &json!(0)), "{known}");
    let speed = known["metrics"].as_array().unwrap().iter().find(|one| one["name"] == "line/speed");
    assert_eq!(speed.unwrap()["type"], "Double");

    node.says("gap");
    node.says("data 5.5");
    node.hears(&json!({"name": "Node Control/Rebirth", "value": true}));
    node.hears(&json!({"born": true}));
    arrives(&tenant, &device, "line/speed", 1.5);
    let known = view(&tenant, &device.id);
    assert_eq!((&known["gaps"], &known["births"]), (&json!(1), &json!(2)), "{known}");

    let write = |id: &str, metric: &str, value: Value| {
        let body = json!({"metric": metric, "value": value});
        tenant.post(&format!("/v1/devices/{id}/sparkplug/commands"), &body)
    };
    assert_eq!(write(&device.id, "line/speed", json!(7.5)).status, 202);
    node.hears(&json!({"device": null, "alias": 1, "value": 7.5}));
    wait_for("the pump's new birth", || (view(&tenant, &pump.id)["online"] == true).then_some(()));
    assert_eq!(write(&pump.id, "flow", json!(8.5)).status, 202);
    node.hears(&json!({"device": "pump", "alias": 2, "value": 8.5}));
    assert_eq!(write(&pump.id, "flow", json!("much")).status, 400);
    assert_eq!(write(&pump.id, "unknown", json!(1)).status, 400);

    node.child.kill().unwrap();
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
    let node = Node::start(&platform, &python, &device.token);
    node.hears(&json!({"born": true}));
    wait_for("the birth", || (view(&tenant, &device.id)["online"] == true).then_some(()));
}
