//! Keys that customers bring or hold, with the key proxy as a process of its own: revoked, away,
//! destroyed. What was acknowledged while it was away is there afterwards, and nothing of it is
//! readable before.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Mode, Options, Platform, files_below, wait_for};
use crate::mqtt::Version;
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const T0: i64 = 1_700_000_000_000;
const TTL_S: u64 = 2;
const NOT_AUTHORIZED: u8 = 0x87;
const QUOTA_EXCEEDED: u8 = 0x97;
const CANARY: &str = "Kanarienvogel-spool-q7x9";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A customer's key proxy, with one key and one credential.
struct Proxy {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    service: Value,
}

impl Proxy {
    fn new(port: u16, platform: &Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let text = format!(
            "directory = \"{place}/proxy\"\nroot_key = \"{place}/root.key\"\n\
             listen = \"127.0.0.1:{port}\"\nnames = [\"localhost\"]\n"
        );
        fs::write(folder.path().join("keyproxy.toml"), text).unwrap();
        let mut proxy = Self { folder, port, child: None, service: Value::Null };
        let made = proxy.ask(platform, &["init", "--json"]);
        proxy.ask(platform, &["key", "add", "building-7", "--json"]);
        let credential = proxy.ask(platform, &["credential", "add", "platform", "--json"]);
        let trust = fs::read_to_string(made["certificate"].as_str().unwrap()).unwrap();
        proxy.service = json!({
            "kind": "xks",
            "address": format!("https://localhost:{port}"),
            "key": "building-7",
            "user": credential["access_key"],
            "credential": credential["secret_access_key"],
            "trust": trust,
            "ttl_s": TTL_S,
        });
        proxy.start(platform);
        proxy
    }

    fn command(&self, platform: &Platform, arguments: &[&str]) -> Command {
        let mut command = platform.command();
        let config = self.folder.path().join("keyproxy.toml");
        command.arg("keyproxy").args(arguments).arg("--config").arg(config);
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, platform: &Platform, arguments: &[&str]) -> Value {
        let output = self.command(platform, arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn start(&mut self, platform: &Platform) {
        let path = self.folder.path().join("stderr");
        let log = File::options().append(true).create(true).open(path).unwrap();
        let mut command = self.command(platform, &["serve"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let address = format!("127.0.0.1:{}", self.port);
        wait_for("the key proxy", || TcpStream::connect(&address).is_ok().then_some(()));
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn options(port: u16) -> Options {
    Options::default()
        .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
        .environment("VERITWIN__OUTBOUND__PORTS", &port.to_string())
        .environment("VERITWIN__LOG__SPOOL_BYTES_MAX", "65536")
}

/// A platform, a tenant whose key is held by a proxy, and a device that has sent something.
struct World {
    platform: Platform,
    proxy: Proxy,
    tenant: Tenant,
    device: Device,
}

impl World {
    fn new() -> Self {
        let port = free_port();
        let platform = Platform::start(Mode::Serve, options(port));
        let proxy = Proxy::new(port, &platform);
        let tenant = platform.tenant();
        let device = tenant.device("boiler");
        tenant.send(&device, &reading(0, json!(1))).expect(200);
        let found = tenant.person("POST", "/v1/keys/customer/test").json(&proxy.service).send();
        assert_eq!(found.expect(200)["key"], "building-7");
        let held = tenant.person("PUT", "/v1/keys/customer").json(&proxy.service).send();
        let held = held.expect(200);
        assert_eq!((&held["level"], &held["state"]), (&json!("held"), &json!("active")));
        assert!(!held.to_string().contains(proxy.service["credential"].as_str().unwrap()));
        tenant.send(&device, &reading(1, json!(2))).expect(200);
        assert_eq!(tenant.latest(&device, "t"), json!(2));
        Self { platform, proxy, tenant, device }
    }

    fn ask(&self) -> crate::http::Answer {
        let body = json!({"device_ids": [self.device.id], "keys": ["t"]});
        self.tenant.post("/v1/telemetry/latest", &body)
    }

    fn state(&self) -> Value {
        // An owner comes in although the key is away.
        self.tenant.person("GET", "/v1/keys/customer").send().expect(200)
    }

    /// Reads until it is refused; no answer may have begun later than the key's time allows.
    fn until_refused(&self, since: Instant, status: u16) -> Value {
        let last = Duration::from_secs(TTL_S);
        wait_for("reading to be refused", || {
            let begun = since.elapsed();
            let answer = self.ask();
            if answer.status == 200 {
                assert!(begun <= last, "something was readable {begun:?} later");
                return None;
            }
            Some(answer.problem(status))
        })
    }
}

fn reading(at: i64, value: Value) -> Value {
    json!({"ts": T0 + at, "values": {"t": value}})
}

/// The latest value once what was left in the log while the key was away has been read.
#[track_caller]
fn latest_again(tenant: &Tenant, device: &Device) -> Value {
    let body = json!({"device_ids": [device.id], "keys": ["t"]});
    wait_for("what was left in the log", || {
        let answer = tenant.post("/v1/telemetry/latest", &body);
        (answer.status != 503).then(|| answer.expect(200)["items"][0]["value"].clone())
    })
}

#[test]
fn a_held_key_that_is_refused_closes_within_its_time_and_opens_by_an_act_only() {
    let world = World::new();
    let (tenant, device) = (&world.tenant, &world.device);
    let mut client = world.platform.mqtt(Version::V5, &device.token);
    world.proxy.ask(&world.platform, &["key", "disable", "building-7", "--json"]);
    let problem = world.until_refused(Instant::now(), 403);
    assert_eq!(problem["type"], "/problems/key-revoked");
    assert_eq!(world.state()["state"], "revoked");
    for path in ["/v1/devices", "/v1/alerts", "/v1/twins", "/v1/rules"] {
        assert_eq!(tenant.get(path).problem(403)["type"], "/problems/key-revoked", "{path}");
    }
    let sent = client.publish(TELEMETRY, reading(2, json!(3)).to_string().as_bytes());
    assert_eq!(sent.0, NOT_AUTHORIZED, "{}", sent.1);
    assert_eq!(tenant.send(device, &reading(2, json!(3))).status, 403);
    // The service gives the key again, and nobody asks it.
    world.proxy.ask(&world.platform, &["key", "enable", "building-7", "--json"]);
    world.ask().problem(403);
    tenant.person("POST", "/v1/keys/restore").send().expect(204);
    assert_eq!(latest_again(tenant, device), json!(2));
    tenant.send(device, &reading(3, json!(4))).expect(200);
    assert_eq!(tenant.latest(device, "t"), json!(4));
}

#[test]
fn what_comes_while_the_key_service_is_away_is_there_afterwards_and_not_before() {
    let mut world = World::new();
    let mut client = world.platform.mqtt(Version::V5, &world.device.token);
    world.proxy.kill();
    let problem = world.until_refused(Instant::now(), 503);
    assert_eq!(problem["type"], "/problems/key-unavailable");
    assert_eq!(world.state()["state"], "silent");
    let mut acknowledged = Vec::new();
    let text = format!("{CANARY}{}", "x".repeat(500));
    let refused = (10..2000).find_map(|at| {
        let payload = reading(at, json!(text)).to_string();
        match client.publish(TELEMETRY, payload.as_bytes()) {
            (0, _) => {
                acknowledged.push(T0 + at);
                None
            }
            (code, reason) => Some((code, reason)),
        }
    });
    let (code, reason) = refused.expect("the spool has a bound");
    assert_eq!(code, QUOTA_EXCEEDED, "{reason}");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let busy = world.tenant.send(&world.device, &reading(3000, json!(1)));
    assert_eq!(busy.status, 429, "{}", busy.text());
    assert!(busy.text().contains("spool_bytes_max"), "{}", busy.text());
    world.ask().problem(503);
    // Killed and started again while the key is away: nothing acknowledged is lost by it.
    world.platform.kill();
    world.platform.start_again();
    world.ask().problem(503);
    for file in files_below(&world.platform.data()) {
        let bytes = fs::read(&file).unwrap();
        let is_there = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        assert!(!is_there, "readable in {}", file.display());
    }
    world.proxy.start(&world.platform);
    let (tenant, device) = (&world.tenant, &world.device);
    wait_for("the key", || (world.state()["state"] == "active").then_some(()));
    wait_for("what waited", || (world.state()["behind"] == false).then_some(()));
    let points: Vec<i64> = tenant.points(device, "t").into_iter().map(|(at, _)| at).collect();
    let all: Vec<i64> = [T0, T0 + 1].into_iter().chain(acknowledged).collect();
    assert_eq!(points, all, "everything, once");
    tenant.sealed(1);
    tenant.send(device, &reading(5000, json!(7))).expect(200);
    assert_eq!(tenant.latest(device, "t"), json!(7));
}

#[test]
fn a_key_that_is_destroyed_takes_everything_with_it_in_backups_too() {
    let mut world = World::new();
    let (out, rings) = (world.platform.scratch("backup"), world.platform.scratch("rings"));
    world.platform.cli(&["backup", out.to_str().unwrap(), "--archive"]).done();
    let keyring = world.platform.cli(&["backup", "--keyring", rings.to_str().unwrap(), "--json"]);
    let keyring = PathBuf::from(keyring.json()["out"].as_str().unwrap());
    let destroy = ["key", "destroy", "building-7", "--confirm", "building-7", "--json"];
    world.proxy.ask(&world.platform, &destroy);
    let problem = world.until_refused(Instant::now(), 410);
    assert!(problem["detail"].as_str().unwrap().contains("certificate"), "{problem}");
    assert_eq!(world.state()["state"], "gone");
    world.tenant.person("POST", "/v1/keys/restore").send().problem(410);
    world.platform.stop();
    let mut restored = Platform::new(Mode::Serve, options(world.proxy.port));
    fs::create_dir_all(restored.key_dir()).unwrap();
    for key in files_below(&world.platform.key_dir()) {
        fs::copy(&key, restored.key_dir().join(key.file_name().unwrap())).unwrap();
    }
    let (out, keyring) = (out.to_str().unwrap(), keyring.to_str().unwrap());
    restored.cli(&["restore", out, "--keyring", keyring, "--json"]).done();
    restored.start_again();
    let body = json!({"device_ids": [world.device.id], "keys": ["t"]});
    let mut cookie = None;
    wait_for("the restored platform to know", || {
        if cookie.is_none() {
            let session = restored.sign_in(&world.tenant.email, &world.tenant.password);
            if session.status == 410 {
                return Some(());
            }
            cookie = session.cookie();
        }
        let request = restored.http().post("/v1/telemetry/latest");
        let answer = request.header("cookie", cookie.as_ref()?).json(&body).send();
        assert_ne!(answer.status, 200, "{}", answer.text());
        (answer.status == 410).then_some(())
    });
}

#[test]
fn a_key_is_brought_taken_away_and_only_the_same_one_gives_it_back() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("boiler");
    tenant.send(&device, &reading(0, json!(1))).expect(200);
    let person =
        |method: &str, path: &str, body: &Value| tenant.person(method, path).json(body).send();
    let bring = |key: &[u8], status: u16| {
        let begun = person("POST", "/v1/keys/imports", &json!({})).expect(201);
        let wrapped = wrapped(begun["public_key"].as_str().unwrap(), key).expect("OpenSSL");
        let wrapping = "rsa_oaep_sha256";
        let body = json!({"id": begun["id"], "wrapping": wrapping, "wrapped_key": wrapped});
        let answer = person("PUT", "/v1/keys/imports", &body);
        assert_eq!(answer.status, status, "{}", answer.text());
        // A wrapping key is good once, whatever came of it.
        person("PUT", "/v1/keys/imports", &body).problem(404);
        answer
    };
    bring(&[7; 31], 400);
    let brought = bring(&[7; 32], 200).expect(200);
    assert_eq!(brought["level"], "brought");
    let fingerprint = brought["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(tenant.latest(&device, "t"), json!(1));
    let wrong = person("POST", "/v1/keys/revoke", &json!({"confirm": "yes"}));
    assert_eq!(wrong.problem(400)["position"], "confirm");
    person("POST", "/v1/keys/revoke", &json!({"confirm": "revoke"})).expect(204);
    tenant.get("/v1/devices").problem(403);
    person("POST", "/v1/keys/restore", &json!({})).problem(409);
    bring(&[8; 32], 409);
    tenant.get("/v1/devices").problem(403);
    bring(&[7; 32], 200);
    let shown = person("GET", "/v1/keys/customer", &Value::Null).expect(200);
    assert_eq!(shown["fingerprint"], fingerprint);
    assert_eq!(latest_again(&tenant, &device), json!(1));
    let rotated = person("POST", "/v1/keys/rotate", &json!({})).expect(200);
    assert!(rotated["rewrapped"].as_u64().unwrap() > 0, "{rotated}");
    let begun = person("POST", "/v1/keys/reseal", &json!({})).expect(202);
    assert!(begun["reseal"].is_object(), "{begun}");
    wait_for("readings to be sealed anew", || {
        let shown = person("GET", "/v1/keys/customer", &Value::Null).expect(200);
        shown["reseal"].is_null().then_some(())
    });
    assert_eq!(tenant.latest(&device, "t"), json!(1));
    let back = tenant.person("DELETE", "/v1/keys/customer").send().expect(200);
    assert_eq!(back["level"], "platform");
    assert_eq!(tenant.latest(&device, "t"), json!(1));
}

/// A key under the public key of an import, RSA-OAEP with SHA-256, in base 64, as OpenSSL wraps it;
/// none where it is not installed.
fn wrapped(pem: &str, key: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("public.pem"), pem).unwrap();
    fs::write(path("key"), key).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-encrypt", "-pubin", "-inkey"]).arg(path("public.pem"));
    for option in ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"] {
        command.args(["-pkeyopt", option]);
    }
    command.arg("-in").arg(path("key")).arg("-out").arg(path("wrapped"));
    let output = command.stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(STANDARD.encode(fs::read(path("wrapped")).unwrap()))
}
