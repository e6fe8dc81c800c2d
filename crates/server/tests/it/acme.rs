//! Certificates by ACME against Pebble, a real ACME server, with TLS-ALPN-01 on the platform's own
//! port. Where Pebble is not installed the tests say that they are skipped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::{Person, administration, answers, ask, partner};
use crate::harness::{Mode, Options, Platform, patiently, wait_for};
use crate::http::client_tls;

const PEBBLE: &str = "/usr/bin/pebble";
const NAMES: &str = "/usr/bin/pebble-challtestsrv";
const HOST: &str = "north.hosts.example";
const PATH: &str = "/v1/certificates/north.hosts.example";
const FETCH: &str = "/v1/certificates/north.hosts.example/acme";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with this value, or with the test's own process.
struct Helper(Child);

impl Helper {
    fn start(log: &Path, environment: &[(&str, &str)], program: &str, arguments: &[&str]) -> Self {
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        let child = Command::new("sh")
            .args(["-c", "\"$@\" & read line; kill $!", "sh", program])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// An authority's place on this machine: nobody is there before it is opened.
struct Authority {
    folder: TempDir,
    tls: String,
    port: u16,
    management: u16,
    running: Vec<Helper>,
}

impl Authority {
    /// None where Pebble is not installed.
    fn new() -> Option<Self> {
        if !Path::new(PEBBLE).exists() || !Path::new(NAMES).exists() {
            println!("skipped: {PEBBLE} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let tls = root.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&tls, &key).unwrap();
        let own = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
        for (name, text) in
            [("ca.pem", tls.clone()), ("tls.pem", leaf.pem()), ("tls.key", own.serialize_pem())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (port, management) = (free_port(), free_port());
        Some(Self { folder, tls, port, management, running: Vec::new() })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn options(&self) -> Options {
        let directory = format!("https://127.0.0.1:{}/dir", self.port);
        Options::default()
            .environment("VERITWIN__ACME__DIRECTORY", &directory)
            .environment("VERITWIN__ACME__TERMS_AGREED", "true")
            .environment("VERITWIN__ACME__CONTACT", "operator@hosts.example")
            .environment("VERITWIN__ACME__CA_FILE", &self.file("ca.pem"))
            // The same after a restart: the authority knocks there.
            .environment("VERITWIN__HTTP__PORT", &free_port().to_string())
    }

    /// Opens it: challenges are looked at on this port of this machine, whatever the name.
    fn open(&mut self, challenge_port: u16) {
        let names = format!("127.0.0.1:{}", free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.file("tls.pem"), "privateKey": self.file("tls.key"),
            "httpPort": free_port(), "tlsPort": challenge_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        std::fs::write(self.file("config.json"), config.to_string()).unwrap();
        let log = self.folder.path().join("log");
        let own = ["-dns01", &names, "-defaultIPv6", "", "-http01", "", "-https01", ""];
        let own = [&own[..], &["-tlsalpn01", "", "-management", ""]].concat();
        let pebble = ["-config", &self.file("config.json"), "-dnsserver", &names, "-strict"];
        self.running.push(Helper::start(&log, &[], NAMES, &own));
        let quick = [("PEBBLE_VA_NOSLEEP", "1")];
        self.running.push(Helper::start(&log, &quick, PEBBLE, &pebble));
        let address = format!("127.0.0.1:{}", self.management);
        wait_for("the authority", || TcpStream::connect(&address).ok());
    }

    /// The root that its certificates come from.
    fn root(&self) -> String {
        let tls = client_tls(self.tls.as_bytes());
        let stream = TcpStream::connect(("127.0.0.1", self.management)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(tls, name).unwrap(), stream);
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn port_of(platform: &Platform) -> u16 {
    platform.ports().https.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn listed(platform: &Platform, person: &Person) -> Value {
    ask(platform, person, "GET", "/v1/certificates", &json!({})).expect(200)["items"][0].clone()
}

/// Waits until it stands like this with the host name. A refusal that is not waited for ends the
/// wait: the next try is later than anybody here is patient.
fn until(platform: &Platform, person: &Person, state: &str) -> Value {
    let mut last = Value::Null;
    let found = patiently(|| {
        let before = std::mem::replace(&mut last, listed(platform, person));
        let now = &last["acme"]["state"];
        // Seen twice: an order may end between the look at its row and the look at who is on
        // the way.
        let is_refused = now == "refused" && before == last;
        (now == state || is_refused).then(|| last.clone())
    });
    let told = platform.stderr();
    let found = found.unwrap_or_else(|| panic!("no {state} in time, but {last}\n{told}"));
    assert_eq!(found["acme"]["state"], state, "{found}\n{told}");
    found
}

/// Whether a handshake succeeds that wants to see the answer to a challenge.
fn shows_a_challenge(platform: &Platform, authority: &str, name: &str) -> bool {
    let mut tls = (*client_tls(authority.as_bytes())).clone();
    tls.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let mut stream = TcpStream::connect(platform.ports().https).unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(tls), server).unwrap();
    connection.complete_io(&mut stream).is_ok()
}

#[test]
fn a_certificate_is_fetched_and_outlives_kills() {
    let Some(mut authority) = Authority::new() else { return };
    let mut platform = Platform::start(Mode::Serve, authority.options());
    let root = administration(&platform);
    let (north, south) = (partner(&platform, &root, "north"), partner(&platform, &root, "south"));
    assert_eq!(listed(&platform, &north)["acme"]["state"], "off");
    let nothing = json!({});
    ask(&platform, &south, "POST", FETCH, &nothing).problem(404);
    ask(&platform, &root, "POST", FETCH, &nothing).problem(404);

    // Nobody is there yet: said, and what was counted outlives a kill.
    ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
    let refused = until(&platform, &north, "refused");
    assert_eq!(refused["acme"]["refusal"]["kind"], "unreachable", "{refused}");
    platform.kill();
    platform.start_again();
    assert_eq!(listed(&platform, &north), refused, "the same after a kill");

    authority.open(port_of(&platform));
    ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
    let kept = until(&platform, &north, "kept");
    assert!(kept["acme"]["refusal"].is_null() && kept["not_after"].is_string(), "{kept}");
    let (next, end) = (kept["acme"]["next_try"].as_str(), kept["not_after"].as_str());
    assert!(next < end, "renewed before its end: {kept}");
    let trust = authority.root();
    wait_for("the new leaf", || answers(&platform, &trust, HOST).then_some(()));
    assert!(!answers(&platform, &trust, "south.hosts.example"));
    for name in [HOST, "south.hosts.example", "localhost"] {
        assert!(!shows_a_challenge(&platform, &trust, name), "{name}: no order is under way");
    }
    // Wished again it stays as it is.
    let again = ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
    assert_eq!(again["acme"], kept["acme"]);

    platform.kill();
    platform.start_again();
    assert_eq!(listed(&platform, &north), kept);
    assert!(answers(&platform, &trust, HOST));
    // Taken away and fetched again, with the account of before.
    assert_eq!(ask(&platform, &north, "DELETE", PATH, &nothing).status, 204);
    assert_eq!(listed(&platform, &north)["acme"]["state"], "off");
    ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
    until(&platform, &north, "kept");
    let log = authority.log();
    assert!(log.contains("now 1 accounts") && !log.contains("now 2 accounts"), "{log}");
    let activity = ask(&platform, &north, "GET", "/v1/activity", &nothing).expect(200).to_string();
    assert!(activity.contains("job:acme") && activity.contains("failed"), "{activity}");
}

#[test]
fn a_refusal_is_said_and_tries_are_bounded() {
    let Some(mut authority) = Authority::new() else { return };
    let platform = Platform::start(Mode::Serve, authority.options());
    let root = administration(&platform);
    let north = partner(&platform, &root, "north");
    // The authority knocks where nobody is.
    authority.open(free_port());
    let nothing = json!({});
    let mut first = None;
    for tried in 1..=5 {
        ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
        let refused = wait_for("a refusal", || {
            let item = listed(&platform, &north);
            let is_new = first.as_ref() != Some(&item["acme"]["next_try"]);
            (item["acme"]["state"] == "refused" && is_new).then_some(item)
        });
        // Pebble says `unauthorized` where RFC 8555 has `connection`; its text says which.
        let refusal = &refused["acme"]["refusal"];
        assert_eq!(refusal["kind"], "wrong_answer", "{tried}: {refused}");
        assert!(refusal["detail"].as_str().unwrap().contains("Failed to connect"), "{refused}");
        assert!(refused["not_after"].is_null());
        first = Some(refused["acme"]["next_try"].clone());
    }
    // The day's tries are used up: a further wish waits for the next day.
    let last = first.unwrap();
    let wished = ask(&platform, &north, "POST", FETCH, &nothing).expect(200);
    assert_eq!(wished["acme"]["state"], "refused", "{wished}");
    assert_eq!(wished["acme"]["next_try"], last, "{wished}");
    assert_eq!(platform.http().get("/healthz").send().status, 200);
    let told = platform.stderr();
    assert!(told.contains("no certificate was fetched") && !told.contains("PRIVATE"), "{told}");
}
