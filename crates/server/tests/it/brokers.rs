//! Messages to customers' own brokers: a real mosquitto and a real NATS server on this machine,
//! with TLS and a password.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::http::{Tls, client_tls, secured};
use crate::tenant::Tenant;
use crate::webhooks::Papers;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";
const NATS: &str = "/usr/sbin/nats-server";

/// A broker, a platform that may call it, and a tenant.
struct Stage {
    _platform: Platform,
    tenant: Tenant,
    papers: Papers,
    folder: TempDir,
    port: u16,
    broker: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

impl Stage {
    /// None where the program is not installed (said).
    fn new(program: &str, command: impl FnOnce(&Path, u16) -> Command) -> Option<Self> {
        if !Path::new(program).exists() {
            println!("skipped: {program} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let papers = Papers::new();
        for (name, text) in [
            ("authority.pem", &papers.authority),
            ("certificate.pem", &papers.certificate),
            ("key.pem", &papers.key),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(folder.path(), port);
        let broker = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
        let authority = folder.path().join("authority.pem");
        let options = Options::default()
            .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
            .environment("VERITWIN__OUTBOUND__PORTS", &port.to_string())
            .environment("VERITWIN__OUTBOUND__AUTHORITIES", authority.to_str().unwrap());
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Some(Self { _platform: platform, tenant, papers, folder, port, broker })
    }

    fn place(&self, kind: &str, scheme: &str, password: &str) -> Value {
        json!({
            "name": "broker", "kind": kind, "recipient": "House Ltd", "purpose": "billing",
            "url": format!("{scheme}://localhost:{}", self.port), "topic": "site.out",
            "user": "veritwin", "password": password, "instructed": true,
        })
    }

    /// Registers the broker, and sees that only the right password is let in.
    fn register(&self, kind: &str, scheme: &str) -> String {
        let wrong = self.place(kind, scheme, "wrong");
        let made = self.tenant.post("/v1/route-destinations", &wrong).expect(201);
        assert_eq!(made["secret"], Value::Null);
        let id = made["destination"]["id"].as_str().unwrap().to_owned();
        let sample = self.sample(&id);
        assert_eq!(sample["delivered"], false, "{sample}");
        assert!(sample["problem"].as_str().unwrap().contains("did not let"), "{sample}");
        let path = format!("/v1/route-destinations/{id}");
        let right = self.place(kind, scheme, "correct horse");
        let shown = self.tenant.put(&path, &right).expect(200);
        assert!(!shown.to_string().contains("correct horse"), "{shown}");
        // An address that is another is not handed the password that is known.
        let mut elsewhere = right.clone();
        elsewhere["topic"] = json!("site.other");
        elsewhere.as_object_mut().unwrap().remove("password");
        self.tenant.put(&path, &elsewhere).problem(400);
        id
    }

    fn sample(&self, id: &str) -> Value {
        self.tenant.post(&format!("/v1/route-destinations/{id}/test"), &json!({})).expect(200)
    }

    /// A reading that goes there by a rule.
    fn send(&self, id: &str) {
        let rule = json!({
            "name": "r", "matches": {"kind": "readings"}, "destination_ids": [id],
        });
        self.tenant.post("/v1/route-rules", &rule).expect(201);
        let pump = self.tenant.device("pump");
        self.tenant.send(&pump, &json!({"t": 21})).expect(200);
    }
}

fn read_21(text: &str) {
    let said: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(said["data"]["readings"][0]["values"], json!({"t": 21}));
}

#[test]
fn another_mqtt_broker_gets_messages() {
    let Some(stage) = Stage::new(MOSQUITTO, |folder, port| {
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let passwords = at("passwords");
        let mut made = Command::new("mosquitto_passwd");
        made.args(["-b", "-c", &passwords, "veritwin", "correct horse"]);
        assert!(made.status().unwrap().success());
        // Started by root it would change its user, who cannot read our key.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let (certificate, key) = (at("certificate.pem"), at("key.pem"));
        let text = format!(
            "{user}listener {port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n\
             allow_anonymous false\npassword_file {passwords}\npersistence false\n"
        );
        fs::write(folder.join("mosquitto.conf"), text).unwrap();
        let mut command = Command::new(MOSQUITTO);
        command.arg("-c").arg(folder.join("mosquitto.conf"));
        command
    }) else {
        return;
    };
    let place = stage.register("mqtt", "mqtts");
    let authority = stage.folder.path().join("authority.pem");
    let mut listening = Command::new("mosquitto_sub")
        .args(["-h", "localhost", "-p", &stage.port.to_string(), "-t", "site.out", "-q", "1"])
        .args(["-u", "veritwin", "-P", "correct horse", "--cafile"])
        .arg(authority)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(listening.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // Until it has subscribed nobody keeps a sample.
    wait_for("a sample", || {
        assert_eq!(stage.sample(&place)["delivered"], true);
        lines.try_recv().ok()
    });
    stage.send(&place);
    let line = wait_for("readings", || {
        let line = lines.try_recv().ok()?;
        line.contains("readings").then_some(line)
    });
    read_21(&line);
    let _ = listening.kill();
    let _ = listening.wait();
}

fn line(stream: &mut BufReader<Tls>) -> String {
    let mut line = String::new();
    assert!(stream.read_line(&mut line).unwrap() > 0, "the server closed");
    line
}

#[test]
fn a_nats_server_gets_messages() {
    let Some(stage) = Stage::new(NATS, |folder, port| {
        let mut command = Command::new(NATS);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--tls", "--tlscert"]);
        command.arg(folder.join("certificate.pem")).arg("--tlskey").arg(folder.join("key.pem"));
        command.args(["--user", "veritwin", "--pass", "correct horse"]);
        command
    }) else {
        return;
    };
    let place = stage.register("nats", "nats");
    let address = format!("localhost:{}", stage.port);
    let mut plain = TcpStream::connect(&address).unwrap();
    // What the server says before TLS.
    let mut byte = [0];
    while byte != [b'\n'] {
        plain.read_exact(&mut byte).unwrap();
    }
    let tls = client_tls(stage.papers.authority.as_bytes());
    let mut stream = BufReader::new(secured(plain, &address, &tls).unwrap());
    let options = json!({
        "verbose": false, "tls_required": true, "user": "veritwin", "pass": "correct horse",
        "headers": true,
    });
    let hello = format!("CONNECT {options}\r\nSUB site.out 1\r\nPING\r\n");
    stream.get_mut().write_all(hello.as_bytes()).unwrap();
    while !line(&mut stream).starts_with("PONG") {}
    stage.send(&place);
    loop {
        let line = line(&mut stream);
        if line.starts_with("PING") {
            stream.get_mut().write_all(b"PONG\r\n").unwrap();
        }
        if !line.starts_with("HMSG site.out 1 ") {
            continue;
        }
        let mut counts = line.split_whitespace().skip(3).map(|text| text.parse().unwrap());
        let (headers, all): (usize, usize) = (counts.next().unwrap(), counts.next().unwrap());
        let mut said = vec![0; all];
        stream.read_exact(&mut said).unwrap();
        let (headers, body) = said.split_at(headers);
        assert!(String::from_utf8_lossy(headers).contains("Nats-Msg-Id: "));
        read_21(&String::from_utf8_lossy(body));
        return;
    }
}
