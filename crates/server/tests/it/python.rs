//! Clients of Python that others wrote, unchanged: ThingsBoard's device, over MQTT and HTTP, and
//! gateway, Eclipse Paho, and elsewhere a node of Sparkplug. `cargo xtask test` installs them below
//! `target/python`; where they are not the tests say that they are skipped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Platform, wait_for};
use crate::skipped::skipped;
use crate::tenant::{Device, Tenant};

/// The interpreter with these packages; none where they are not installed.
pub(crate) fn interpreter(packages: &str) -> Option<PathBuf> {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let found = target.join("python").join(packages).join("bin/python3");
    if found.exists() {
        return Some(found);
    }
    skipped(&format!("the Python packages {packages} are not installed (cargo xtask test does)"));
    None
}

/// A script that talks, a line at a time.
pub(crate) struct Script {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Script {
    pub(crate) fn start(
        platform: &Platform,
        python: &Path,
        name: &str,
        arguments: &[&str],
    ) -> Self {
        let ports = platform.ports();
        let (host, port) = ports.mqtts.split_once(':').unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
        let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
        let mut child = Command::new(python)
            .arg(script)
            .args([host, port])
            .arg(ca)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Self { child, input, lines }
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// The next line that begins with this word; what follows it.
    #[track_caller]
    fn hear(&self, word: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {word}"));
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").unwrap();
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    fn end(mut self) {
        self.hear("over");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shared(tenant: &Tenant, device: &str, attributes: &Value) {
    let path = format!("/v1/devices/{device}/attributes");
    tenant.patch(&path, &json!({"shared": attributes})).expect(200);
}

fn call(tenant: &Tenant, device: &str, params: &Value) -> Value {
    let body = json!({"method": "m", "params": params, "timeout_ms": 60_000});
    tenant.post(&format!("/v1/devices/{device}/rpc"), &body).expect(200)["result"].clone()
}

#[test]
fn thingsboards_own_device_client() {
    let Some(python) = interpreter("thingsboard") else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("of thingsboard");
    shared(&tenant, &device.id, &json!({"limit": 3}));
    let mut script = Script::start(platform, &python, "device.py", &[&device.token]);
    let asked: Value = serde_json::from_str(&script.hear("attributes")).unwrap();
    assert_eq!(asked, json!({"client": {"serial": "A-7"}, "shared": {"limit": 3}}));
    assert_eq!(tenant.latest(&device, "temperature"), 21.5);
    shared(&tenant, &device.id, &json!({"limit": 4}));
    assert_eq!(script.hear("updated"), r#"{"limit": 4}"#);
    assert_eq!(call(&tenant, &device.id, &json!([1])), json!({"echo": [1]}));

    let bytes: Vec<u8> = (0..10_500u32).map(|number| (number % 251) as u8).collect();
    let upload = tenant
        .request("POST", "/v1/packages?kind=firmware&title=Pump&version=2")
        .body("application/octet-stream", &bytes);
    let package = upload.send().expect(201);
    let id = package["id"].as_str().unwrap();
    let path = format!("/v1/packages/{id}/devices");
    tenant.post(&path, &json!({"device_ids": [device.id]})).expect(200);
    script.tell("update");
    let checksum = package["checksum"].as_str().unwrap();
    assert_eq!(script.hear("firmware"), format!("2 {checksum}"));
    let state = || (tenant.latest(&device, "fw_state") == "VERIFIED").then_some(());
    wait_for("the state", state);
    script.end();
}

#[test]
fn thingsboards_own_http_client() {
    let Some(python) = interpreter("thingsboard") else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("of thingsboard over http");
    shared(&tenant, &device.id, &json!({"limit": 3}));
    let ports = platform.ports();
    let mut script =
        Script::start(platform, &python, "http_device.py", &[&device.token, &ports.https]);
    let asked: Value = serde_json::from_str(&script.hear("attributes")).unwrap();
    assert_eq!(asked, json!({"client": {"serial": "H-1"}, "shared": {"limit": 3}}));
    assert_eq!(tenant.latest(&device, "temperature"), 21.5);
    script.hear("listening");
    let body = json!({"method": "m", "params": [1], "timeout_ms": 60_000});
    let path = format!("/v1/devices/{}/rpc", device.id);
    // Between two polls nobody listens.
    let answered = wait_for("an answer", || {
        let answer = tenant.post(&path, &body);
        (answer.status == 200).then(|| answer.expect(200))
    });
    let expected = json!({"method": "done", "params": {"echo": [1]}});
    assert_eq!(answered["result"], expected);

    // It asks for all at once, which is more than a piece.
    let bytes: Vec<u8> = (0..1_300_000u32).map(|number| (number % 251) as u8).collect();
    let upload = tenant
        .request("POST", "/v1/packages?kind=firmware&title=Pump&version=3")
        .body("application/octet-stream", &bytes);
    let package = upload.send().expect(201);
    let path = format!("/v1/packages/{}/devices", package["id"].as_str().unwrap());
    tenant.post(&path, &json!({"device_ids": [device.id]})).expect(200);
    script.tell("update");
    assert_eq!(script.hear("firmware"), package["checksum"].as_str().unwrap());
    script.end();
}

#[test]
fn thingsboards_own_gateway_client() {
    let Some(python) = interpreter("thingsboard") else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let gateway = tenant.device("gateway of thingsboard");
    tenant.patch(&format!("/v1/devices/{}", gateway.id), &json!({"is_gateway": true})).expect(200);
    let mut script = Script::start(platform, &python, "gateway.py", &[&gateway.token]);
    let asked: Value = serde_json::from_str(&script.hear("attributes")).unwrap();
    assert_eq!(
        (&asked["device"], &asked["values"]),
        (&json!("Meter A"), &json!({"serial": "M-1"}))
    );
    let child = |name: &str| {
        let path = format!("/v1/devices?search={}", name.replace(' ', "%20"));
        let found = tenant.get(&path).expect(200)["items"][0].clone();
        assert_eq!(found["gateway_id"], json!(gateway.id), "{found}");
        let id = found["id"].as_str().unwrap().to_owned();
        (Device { id, name: name.to_owned(), token: String::new() }, found)
    };
    let (first, found) = child("Meter A");
    assert_eq!((&found["type"], &found["online"]), (&json!("meter"), &json!(true)));
    let (second, _) = child("Meter B");
    assert_eq!(tenant.latest(&first, "power"), 7);
    assert_eq!(tenant.latest(&second, "power"), 9.5, "two at one time: the later one counts");
    shared(&tenant, &first.id, &json!({"limit": 5}));
    let updated: Value = serde_json::from_str(&script.hear("updated")).unwrap();
    assert_eq!(updated, json!({"device": "Meter A", "data": {"limit": 5}}));
    assert_eq!(call(&tenant, &second.id, &json!({})), json!({"ok": "Meter B"}));
    script.tell("on");
    script.hear("gone");
    let body = json!({"method": "m", "timeout_ms": 100});
    let path = format!("/v1/devices/{}/rpc", second.id);
    wait_for("it to be gone", || (tenant.post(&path, &body).status == 503).then_some(()));
    let claim = format!("/v1/devices/{}/claim", first.id);
    let waits = || tenant.get(&claim).expect(200)["waits_until"].is_string().then_some(());
    wait_for("the first one to wait for its owner", waits);
    script.tell("on");
    script.end();
}

#[test]
fn pahos_client_in_both_versions() {
    let Some(python) = interpreter("paho") else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (speaker, listener) = (tenant.device("paho a"), tenant.device("paho b"));
    let tokens = [speaker.token.as_str(), listener.token.as_str()];
    Script::start(platform, &python, "relay.py", &tokens).end();
}
