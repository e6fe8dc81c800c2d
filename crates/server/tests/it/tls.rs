//! No port speaks plaintext or an old protocol: raw bytes, hand-made handshakes, and OpenSSL's
//! own client where it is installed.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::mqtt::{Version, connect_packet};
use crate::skipped::skipped;

/// Record type of a TLS alert.
const ALERT: u8 = 0x15;
/// Record type of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

fn listeners(platform: &Platform) -> [(&'static str, String); 3] {
    let ports = platform.ports();
    assert!(!ports.archive.is_empty(), "run.json names the archive: {}", platform.run());
    [("https", ports.https), ("mqtts", ports.mqtts), ("archive", ports.archive)]
}

/// By when bytes are refused that are no TLS handshake. Were they taken and waited upon, it would
/// be the 10 s after which whoever says nothing is closed, or never.
const REFUSED_WITHIN: Duration = Duration::from_secs(9);

/// What comes back for bytes that are no TLS handshake, up to the end of the connection.
#[track_caller]
fn answer_to(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(REFUSED_WITHIN)).unwrap();
    let began = Instant::now();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // A reset is a refusal like any other; to be kept waiting is none.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{address}: {error}"),
    }
    let took = began.elapsed();
    assert!(took < REFUSED_WITHIN, "{address}: open for {took:?}");
    answer
}

#[test]
fn plaintext_is_refused_on_every_port() {
    let platform = Platform::shared();
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mqtt = connect_packet(Version::V311, "plain", "token");
    let mqtt5 = connect_packet(Version::V5, "plain", "token");
    let inputs: [(&str, &[u8]); 4] = [
        ("HTTP", request),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("MQTT 3.1.1", &mqtt),
        ("MQTT 5.0", &mqtt5),
    ];
    for (name, address) in listeners(platform) {
        for (what, bytes) in inputs {
            let answer = answer_to(&address, bytes);
            let is_alert = answer.first() == Some(&ALERT);
            assert!(answer.is_empty() || is_alert, "{name}, {what}: {answer:02x?}");
        }
    }
}

/// Ports on which a process listens (proc(5)); none where nobody may look.
fn listening(pid: u32) -> Option<Vec<u16>> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut sockets = Vec::new();
    for file in files {
        // A connection may have ended meanwhile.
        let Ok(target) = fs::read_link(file.ok()?.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // 0A is LISTEN.
            if fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]) {
                let (_, port) = fields[1].rsplit_once(':').unwrap();
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports.sort_unstable();
    Some(ports)
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn serve_cannot_be_made_to_listen_without_tls() {
    for (section, key) in [
        ("MQTT", "PLAIN"),
        ("MQTT", "PLAIN_PORT"),
        ("MQTT", "PLAIN_BIND"),
        ("MQTT", "TLS"),
        ("TLS", "ENABLED"),
        ("HTTP", "PLAIN_PORT"),
    ] {
        let name = format!("VERITWIN__{section}__{key}");
        let platform = Platform::new(Mode::Serve, Options::default().environment(&name, "true"));
        let output = platform.cli(&["serve"]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        assert!(output.stderr.contains("unknown key"), "{name}: {output:?}");
    }
    let platform = Platform::serve();
    assert!(platform.run()["mqtt_plain"].is_null(), "{}", platform.run());
    let ports = platform.ports();
    let mut expect = vec![port(&ports.https), port(&ports.mqtts)];
    expect.sort_unstable();
    // A process that cannot be dumped shows its files to root only.
    match listening(platform.pid()) {
        Some(found) => assert_eq!(found, expect, "further listeners"),
        None => skipped("the files of the process may not be looked at"),
    }
}

#[test]
fn a_benchmarks_platform_is_new_and_ends_with_the_benchmark() {
    let platform = Platform::new(Mode::Serve, Options::default());
    let command = || {
        let mut command = platform.command();
        // Whatever the other tests keep their records in.
        command.env_remove("VERITWIN__DATABASE__URL").env_remove("VERITWIN__DATABASE__OWNER_URL");
        command.args(["bench-platform", "--data"]).arg(platform.data()).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let mut child = command().spawn().unwrap();
    let run: Value = wait_for("run.json", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended at its start");
        serde_json::from_slice(&fs::read(platform.data().join("run.json")).ok()?).ok()
    });
    let plain = run["mqtt_plain"].as_str().unwrap();
    assert!(plain.starts_with("127.0.0.1:"), "{plain}");
    let mut stream = TcpStream::connect(plain).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&connect_packet(Version::V311, "plain", "wrong")).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..3], [0x20, 2, 0], "CONNACK");
    assert!(answer[3] > 0, "a wrong token is refused there too");
    // Its standard input ends, as it does when the benchmark has gone.
    drop(child.stdin.take());
    assert!(wait_for("its end", || child.try_wait().unwrap()).success());
    let refused = |mut command: Command, what: &str| {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(what), "{text}");
    };
    refused(command(), "is there already");
    let mut elsewhere = command();
    elsewhere.env("VERITWIN__DATABASE__URL", "postgres://records.example/veritwin");
    refused(elsewhere, "in a directory of its own");
}

/// A ClientHello of one protocol version without extensions (RFC 5246, section 7.4.1.2).
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend_from_slice(&[7; 32]);
    hello.push(0);
    // ECDHE with RSA and ECDSA and AES-128-CBC-SHA, RSA with AES-128-CBC-SHA.
    hello.extend_from_slice(&[0, 6, 0xc0, 0x13, 0xc0, 0x09, 0x00, 0x2f]);
    hello.extend_from_slice(&[1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut handshake = vec![1, 0, 0, length];
    handshake.extend(hello);
    let length = u8::try_from(handshake.len()).unwrap();
    let mut record = vec![HANDSHAKE, 3, 1, 0, length];
    record.extend(handshake);
    record
}

#[test]
fn handshakes_older_than_tls_1_2_are_answered_with_an_alert() {
    let platform = Platform::shared();
    for (name, address) in listeners(platform) {
        for (what, version) in [("TLS 1.1", [3, 2]), ("TLS 1.0", [3, 1]), ("SSL 3.0", [3, 0])] {
            let answer = answer_to(&address, &client_hello(version));
            assert!(answer.first() != Some(&HANDSHAKE), "{name}, {what}: {answer:02x?}");
            assert_eq!(answer.first(), Some(&ALERT), "{name}, {what}: {answer:02x?}");
            // Fatal: protocol_version, or handshake_failure.
            assert!(matches!(answer[5..], [2, 70 | 40]), "{name}, {what}: {answer:02x?}");
        }
    }
}

/// Runs OpenSSL's client with one version; whether a session came about, and what it said.
fn openssl(platform: &Platform, address: &str, version: &str) -> Option<(bool, String)> {
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, version, "-servername", "localhost"])
        // Otherwise it is OpenSSL's own policy that refuses old versions, not the server.
        .args(["-cipher", "ALL:@SECLEVEL=0", "-verify_return_error", "-CAfile"])
        .arg(ca)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let connected = output.status.success() && !text.contains("Cipher is (NONE)");
    Some((connected, text))
}

#[test]
fn openssl_connects_with_tls_1_2_and_1_3_only() {
    let platform = Platform::shared();
    for (name, address) in listeners(platform) {
        for version in ["-tls1", "-tls1_1"] {
            let Some((connected, text)) = openssl(platform, &address, version) else {
                skipped("openssl is not installed");
                return;
            };
            assert!(!connected, "{name} accepts {version}: {text}");
            assert!(text.contains("alert") || text.contains("no protocols"), "{name}: {text}");
        }
        if name == "archive" {
            // It has a certificate of its own and asks for its one client's; see below.
            continue;
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let (connected, text) = openssl(platform, &address, version).unwrap();
            assert!(connected, "{name} refuses {version}: {text}");
            assert!(text.contains("Verify return code: 0 (ok)"), "{name} {version}: {text}");
        }
    }
}

#[test]
fn the_archive_knows_nobody_without_its_client_certificate() {
    let platform = Platform::shared();
    let address = platform.ports().archive;
    let mut child = match Command::new("openssl")
        .args(["s_client", "-connect", &address, "-tls1_3", "-quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(_) => {
            skipped("openssl is not installed");
            return;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("HTTP/1.1"), "{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("certificate required"), "{errors}");
}

#[test]
fn a_silent_connection_does_not_hold_up_others() {
    let platform = Platform::shared();
    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(platform.ports().https).unwrap()).collect();
    let answer = platform.http().get("/healthz").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    let mut one = &silent[0];
    one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(one.read(&mut [0]).is_err(), "nothing is said before a handshake");
}
