//! `veritwin keyproxy` as a process: it is made and managed by its commands, asked over HTTPS, and
//! killed at random moments. What it wrapped it unwraps afterwards, and its record is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

use serde_json::{Value, json};
use tempfile::TempDir;
use veritwin_domain::{Clock, Secret, SeededRng, SystemClock};
use veritwin_keys::{
    SIGV4_DATE_HEADER, SigV4Request, SigV4Scope, sigv4_authorization, sigv4_moment,
};

use crate::harness::wait_for;
use crate::http::{Connection, client_tls, connect};
use crate::kill::{below, number};
use crate::skipped::skipped;

/// 32 bytes in Base64: what is wrapped.
const KEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A key proxy in a folder of its own.
struct Proxy {
    folder: TempDir,
    softhsm: Option<PathBuf>,
    child: Option<Child>,
    access_key: String,
    secret: Secret<String>,
}

/// A caller of a proxy that listens.
#[derive(Clone)]
struct Caller {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    access_key: String,
    secret: Secret<String>,
}

impl Proxy {
    fn new(more: &str, softhsm: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let text = format!(
            "directory = \"{place}/proxy\"\nroot_key = \"{place}/root.key\"\n\
             listen = \"127.0.0.1:0\"\nnames = [\"localhost\"]\n{more}"
        );
        fs::write(folder.path().join("keyproxy.toml"), text).unwrap();
        let (access_key, secret) = (String::new(), Secret::new(String::new()));
        let mut proxy = Self { folder, softhsm, child: None, access_key, secret };
        proxy.ask(&["init"]);
        let made = proxy.ask(&["credential", "add", "the platform"]);
        made["access_key"].as_str().unwrap().clone_into(&mut proxy.access_key);
        proxy.secret = Secret::new(made["secret_access_key"].as_str().unwrap().to_owned());
        proxy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let binary = std::env::var_os("VERITWIN_TEST_BINARY");
        let mut command =
            Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_veritwin").into()));
        command.arg("keyproxy").args(arguments).arg("--config").arg(self.path("keyproxy.toml"));
        if let Some(config) = &self.softhsm {
            command.env("SOFTHSM2_CONF", config);
        }
        command.stdin(Stdio::null());
        command
    }

    fn code(&self, arguments: &[&str]) -> i32 {
        self.command(arguments).output().unwrap().status.code().unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn start(&mut self) -> Caller {
        let log = File::options().append(true).create(true).open(self.path("stderr")).unwrap();
        let child = self.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let pid = child.id();
        self.child = Some(child);
        let run = wait_for("the proxy's run.json", || {
            let bytes = fs::read(self.path("proxy/run.json")).ok()?;
            let run: Value = serde_json::from_slice(&bytes).ok()?;
            (run["pid"] == pid).then_some(run)
        });
        let port = run["keyproxy"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        Caller {
            address: format!("localhost:{port}"),
            tls: client_tls(&fs::read(self.path("proxy/certificate.pem")).unwrap()),
            access_key: self.access_key.clone(),
            secret: self.secret.clone(),
        }
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

impl Caller {
    /// Status and body of a signed request; none when the proxy is gone.
    fn ask(&self, path: &str, mut body: Value) -> Option<(u16, Value)> {
        body["requestMetadata"] = json!({
            "awsPrincipalArn": "a", "kmsOperation": "x", "kmsRequestId": "1",
            "veritwinTenant": "", "veritwinPurpose": "ingest_routing", "veritwinActor": "job:x",
        });
        let body = body.to_string();
        let path = format!("/kms/xks/v1/{path}");
        let now = SystemClock::new().now();
        let moment = sigv4_moment(now);
        let headers = [
            ("host".to_owned(), self.address.clone()),
            (SIGV4_DATE_HEADER.to_owned(), moment.clone()),
        ];
        let request =
            SigV4Request { method: "POST", path: &path, headers: &headers, body: body.as_bytes() };
        let scope = SigV4Scope { region: "eu-1".to_owned(), service: "kms-xks-proxy".to_owned() };
        let signed = sigv4_authorization(&self.access_key, &self.secret, &scope, now, &request);
        let (host, length) = (&self.address, body.len());
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {moment}\r\n\
             Authorization: {signed}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let stream = connect(&self.address, &self.tls).ok()?;
        let answer = Connection::of_stream(stream).send_raw(text.as_bytes()).ok()?;
        Some((answer.status, serde_json::from_slice(&answer.body).ok()?))
    }

    fn encrypt(&self, key: &str) -> Option<(u16, Value)> {
        let body = json!({"plaintext": KEK, "encryptionAlgorithm": "AES_GCM"});
        self.ask(&format!("keys/{key}/encrypt"), body)
    }

    fn decrypt(&self, key: &str, sealed: &Value) -> (u16, Value) {
        let mut body = sealed.clone();
        body["encryptionAlgorithm"] = json!("AES_GCM");
        self.ask(&format!("keys/{key}/decrypt"), body).expect("an answer")
    }
}

#[test]
fn commands_reach_a_proxy_that_runs() {
    let mut proxy = Proxy::new("", None);
    let id = proxy.ask(&["key", "add"])["id"].as_str().unwrap().to_owned();
    let caller = proxy.start();
    let (status, sealed) = caller.encrypt(&id).unwrap();
    assert_eq!(status, 200, "{sealed}");
    assert_eq!(caller.decrypt(&id, &sealed), (200, json!({"plaintext": KEK})));

    proxy.ask(&["key", "disable", &id]);
    let (status, said) = caller.decrypt(&id, &sealed);
    assert_eq!((status, said["errorName"].as_str()), (400, Some("InvalidStateException")));
    proxy.ask(&["key", "enable", &id]);
    assert_eq!(caller.decrypt(&id, &sealed).0, 200);
    let said = proxy.ask(&["status"]);
    assert_eq!(said["keys"][0]["state"], "enabled");

    // Whoever destroys says so twice.
    assert_eq!(proxy.code(&["key", "destroy", &id, "--confirm", "x"]), 2);
    proxy.ask(&["key", "destroy", &id, "--confirm", &id]);
    let (status, said) = caller.decrypt(&id, &sealed);
    assert_eq!((status, said["errorName"].as_str()), (404, Some("KeyNotFoundException")));
    let text = fs::read_to_string(proxy.path("proxy/keys.json")).unwrap();
    assert!(text.contains("destroyed") && !text.contains(proxy.secret.expose()));

    proxy.ask(&["credential", "remove", &proxy.access_key]);
    assert_eq!(caller.decrypt(&id, &sealed).0, 401);
    proxy.kill();
    // The record: five uses, two of them refused; whoever changes a line is found out.
    let log = proxy.ask(&["log"]);
    assert_eq!((&log["uses"], &log["refused"]), (&json!(5), &json!(2)));
    let path = proxy.path("proxy/use.log");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"decrypt\"", "\"encrypt\"", 1)).unwrap();
    assert_eq!(proxy.code(&["log"]), 1);
}

/// The specification's own way to try a proxy, over HTTP/1.1 and HTTP/2.
#[test]
fn curl_signs_as_the_proxy_expects() {
    let mut proxy = Proxy::new("", None);
    proxy.ask(&["key", "add", "k"]);
    let caller = proxy.start();
    let address = format!("https://{}/kms/xks/v1/keys/k/metadata", caller.address);
    let ask = |version: &str, secret: &str| {
        let user = format!("{}:{secret}", proxy.access_key);
        let output = Command::new("curl")
            .args(["--silent", version, "--max-time", "60", "--cacert"])
            .arg(proxy.path("proxy/certificate.pem"))
            .args(["--aws-sigv4", "aws:amz:us-east-1:kms-xks-proxy", "--user", &user])
            .args(["--header", "Content-Type: application/json", "--data"])
            .arg(r#"{"requestMetadata":{"kmsRequestId":"1","kmsOperation":"DescribeKey"}}"#)
            .arg(&address)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
    };
    for version in ["--http1.1", "--http2"] {
        let said = ask(version, proxy.secret.expose());
        assert_eq!(said["keyStatus"], "ENABLED", "{version}: {said}");
        let said = ask(version, &"A".repeat(43));
        assert_eq!(said["errorName"], "AuthenticationFailedException", "{version}: {said}");
    }
}

#[test]
fn what_was_wrapped_opens_whenever_the_proxy_was_killed() {
    let seed = number("VERITWIN_SEED", 7);
    println!("VERITWIN_SEED={seed}");
    let rng = SeededRng::new(seed);
    let mut proxy = Proxy::new("requests_per_second = 100000\n", None);
    proxy.ask(&["key", "add", "k"]);
    let mut kept: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let caller = proxy.start();
        for sealed in &kept {
            assert_eq!(caller.decrypt("k", sealed).0, 200);
        }
        let (tell, told) = channel();
        let writer = std::thread::spawn(move || {
            while let Some((200, sealed)) = caller.encrypt("k") {
                if tell.send(sealed).is_err() {
                    break;
                }
            }
        });
        for _ in 0..=below(&rng, 20) {
            kept.push(told.recv().expect("it wraps"));
        }
        proxy.kill();
        writer.join().unwrap();
        kept.extend(told.try_iter());
        let log = proxy.ask(&["log"]);
        assert_eq!(log["broken_at"], Value::Null);
        assert!(log["uses"].as_u64().unwrap() >= kept.len() as u64, "each answer has its line");
    }
    let caller = proxy.start();
    for sealed in &kept {
        assert_eq!(caller.decrypt("k", sealed), (200, json!({"plaintext": KEK})));
    }
}

#[test]
fn keys_may_stay_in_a_token() {
    let folders = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm"];
    let mut modules = folders.iter().map(|folder| Path::new(folder).join("libsofthsm2.so"));
    let Some(module) = modules.find(|module| module.exists()) else {
        skipped("SoftHSM is not installed (cargo xtask test does)");
        return;
    };
    let token = tempfile::tempdir().unwrap();
    let place = token.path().display();
    fs::create_dir(token.path().join("tokens")).unwrap();
    let config = token.path().join("softhsm2.conf");
    fs::write(&config, format!("directories.tokendir = {place}/tokens\n")).unwrap();
    let made = Command::new("softhsm2-util")
        .env("SOFTHSM2_CONF", &config)
        .args(["--init-token", "--free", "--label", "veritwin", "--so-pin", "9876"])
        .args(["--pin", "4321"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pin = token.path().join("pin");
    fs::write(&pin, "4321\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&pin, mode).unwrap();
    let (module, pin) = (module.display(), pin.display());
    let more =
        format!("[pkcs11]\nmodule = \"{module}\"\ntoken = \"veritwin\"\npin_file = \"{pin}\"\n");
    let mut proxy = Proxy::new(&more, Some(config));
    assert_eq!(proxy.ask(&["key", "add", "k"])["label"], "k");
    let caller = proxy.start();
    // A busy machine may not answer in the time that a token has.
    let sealed = wait_for("a wrapped key", || match caller.encrypt("k")? {
        (200, sealed) => Some(sealed),
        _ => None,
    });
    let opened = wait_for("the key again", || match caller.decrypt("k", &sealed) {
        (200, opened) => Some(opened),
        _ => None,
    });
    assert_eq!(opened, json!({"plaintext": KEK}));
    let mut altered = sealed.clone();
    altered["authenticationTag"] = json!("AAAAAAAAAAAAAAAAAAAAAA==");
    let (status, said) = caller.decrypt("k", &altered);
    assert_eq!((status, said["errorName"].as_str()), (400, Some("InvalidCiphertextException")));
    let (status, health) = caller.ask("health", json!({})).unwrap();
    assert_eq!((status, &health["ekmVendor"]), (200, &json!("PKCS#11")));
    assert_eq!(health["ekmFleetDetails"][0]["healthStatus"], "ACTIVE");
    proxy.ask(&["key", "destroy", "k", "--confirm", "k"]);
    assert_eq!(caller.decrypt("k", &sealed).0, 404);
    // It is out of the token too: its label is free again.
    assert_eq!(proxy.ask(&["key", "add", "next"])["label"], "next");
    assert_eq!(proxy.code(&["key", "add", "other", "--label", "k"]), 1);
}
