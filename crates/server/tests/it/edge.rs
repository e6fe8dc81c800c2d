//! Store-and-forward edges: the real program beside a real platform. Nothing that was acknowledged
//! at the site is lost, nothing comes twice, and the ledger says what never came.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use veritwin_domain::{DeviceId, Timestamp};
use veritwin_keys::{SecretKey, SigningKey};
use veritwin_verify::{Digest, EDGE_STATEMENT_BYTES, EdgeFields, EdgeKind, EdgeStatement, sha256};

use crate::harness::{Platform, Ports, wait_for};
use crate::http::{Answer, Http, client_tls, connect};
use crate::mqtt::{Mqtt, Packet, Version};
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const T0: i64 = 1_767_225_600_000;

pub(crate) fn gateway(tenant: &Tenant, name: &str) -> Device {
    let device = tenant.device(name);
    let path = format!("/v1/devices/{}", device.id);
    tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
    device
}

pub(crate) fn register(tenant: &Tenant, gateway: &Device, key: &str) -> Value {
    let path = format!("/v1/devices/{}/edge-keys", gateway.id);
    tenant.post(&path, &json!({"public_key": key, "name": "site"})).expect(201)
}

fn keys(tenant: &Tenant, gateway: &Device) -> Value {
    tenant.get(&format!("/v1/devices/{}/edge-keys", gateway.id)).expect(200)["items"].clone()
}

/// A port that was free a moment ago: the platform comes back where its edges look for it.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A platform that keeps its port.
fn platform() -> Platform {
    let port = free_port().to_string();
    crate::guard::start(&[("VERITWIN__HTTP__PORT", port.as_str())])
}

/// An edge as a process of its own.
pub(crate) struct Edge {
    folder: TempDir,
    child: Option<Child>,
    pub(crate) key: String,
}

impl Edge {
    pub(crate) fn new(platform: &Platform, gateway: &Device, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
        let (ca, platform_at) = (ca.display(), platform.run()["https"].as_str().unwrap());
        fs::write(folder.path().join("token"), &gateway.token).unwrap();
        let id = &gateway.id;
        let text = format!(
            "directory = \"{place}/edge\"\nroot_key = \"{place}/root.key\"\n\
             listen = \"127.0.0.1:0\"\nplatform = \"{platform_at}\"\nplatform_ca = \"{ca}\"\n\
             gateway = \"{id}\"\ntoken_file = \"{place}/token\"\nbatch_seconds = 1\n{more}"
        );
        fs::write(folder.path().join("edge.toml"), text).unwrap();
        let mut edge = Self { folder, child: None, key: String::new() };
        edge.key = edge.ask(platform, &["init", "--json"])["public_key"].as_str().unwrap().into();
        edge
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, platform: &Platform, arguments: &[&str]) -> Command {
        let mut command = platform.command();
        command.arg("edge").args(arguments).arg("--config").arg(self.path("edge.toml"));
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, platform: &Platform, arguments: &[&str]) -> Value {
        let output = self.command(platform, arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn device(&self, platform: &Platform, name: &str) -> String {
        let made = self.ask(platform, &["device", "add", name, "--json"]);
        made["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn start(&mut self, platform: &Platform) {
        let log = File::options().append(true).create(true).open(self.path("stderr")).unwrap();
        let mut command = self.command(platform, &["run"]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let pid = child.id();
        self.child = Some(child);
        wait_for("the edge's run.json", || (self.run()?["pid"] == pid).then_some(()));
    }

    fn run(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.path("edge/run.json")).ok()?).ok()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn status(&self, platform: &Platform) -> Value {
        self.ask(platform, &["status", "--json"])
    }

    /// Waits until the platform has everything that was acknowledged.
    pub(crate) fn drained(
        &self,
        platform: &Platform,
        entries: u64,
        (tenant, of): (&Tenant, &Device),
    ) {
        wait_for("everything to be handed over", || {
            let taken = keys(tenant, of)[0]["entries"].as_u64()?;
            (taken == entries && self.status(platform)["waiting_batches"] == 0).then_some(())
        });
    }

    pub(crate) fn mqtt(&self, token: &str) -> Mqtt {
        let run = self.run().unwrap();
        let port = run["mqtts"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        let tls = client_tls(&fs::read(self.path("edge/certificate.pem")).unwrap());
        let stream = connect(&format!("localhost:{port}"), &tls).unwrap();
        Mqtt::connect_on(stream, Version::V5, token).expect("the device may connect")
    }

    /// The edge's own HTTP side.
    pub(crate) fn http(&self) -> Http {
        let run = self.run().unwrap();
        let port = run["https"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        let ports = Ports { https: format!("localhost:{port}"), ..Ports::default() };
        let tls = client_tls(&fs::read(self.path("edge/certificate.pem")).unwrap());
        Http::new(Arc::new(Mutex::new(ports)), tls)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn publish(client: &mut Mqtt, range: std::ops::Range<i64>) {
    for at in range {
        let reading = json!({"ts": T0 + at, "values": {"t": at}}).to_string();
        assert_eq!(client.publish(TELEMETRY, reading.as_bytes()), (0, String::new()));
    }
}

pub(crate) fn child(tenant: &Tenant, name: &str) -> Device {
    let found = tenant.get(&format!("/v1/devices?search={name}")).expect(200);
    let id = found["items"][0]["id"].as_str().expect("it is there").to_owned();
    Device { id, name: name.to_owned(), token: String::new() }
}

/// What an outsider sees of the edges in the exported ledger, and the exit code.
fn gaps(platform: &Platform, tenant: &Tenant, name: &str) -> (i32, Value) {
    tenant.sealed(1);
    let out = platform.scratch(name);
    let out = out.to_str().unwrap();
    platform.cli(&["ledger", "export", out, "--tenant", &tenant.id]).done();
    assert_eq!(platform.cli(&["ledger", "verify", out]).code, 0, "the log verifies");
    let output = platform.cli(&["ledger", "gaps", out, "--json"]);
    (output.code, serde_json::from_str(&output.stdout).unwrap())
}

#[test]
fn what_was_acknowledged_at_the_site_comes_once_whoever_is_killed() {
    let mut platform = platform();
    let tenant = platform.tenant();
    let gateway = gateway(&tenant, "site");
    let mut edge = Edge::new(&platform, &gateway, "");
    register(&tenant, &gateway, &edge.key);
    let token = edge.device(&platform, "pump");

    // Nobody can be reached, and the edge is killed.
    platform.kill();
    edge.start(&platform);
    publish(&mut edge.mqtt(&token), 0..40);
    edge.kill();
    edge.start(&platform);
    publish(&mut edge.mqtt(&token), 40..60);
    platform.start_again();
    edge.drained(&platform, 60, (&tenant, &gateway));
    let pump = child(&tenant, "pump");
    let expect = |count: i64| (0..count).map(|at| (T0 + at, json!(at))).collect::<Vec<_>>();
    assert_eq!(tenant.points(&pump, "t"), expect(60), "with their own times");

    // The platform is killed while it is handed batches, and so is the edge.
    for round in 0..4 {
        let from = 60 + round * 10;
        publish(&mut edge.mqtt(&token), from..from + 10);
        platform.kill();
        if round % 2 == 0 {
            edge.kill();
            edge.start(&platform);
        }
        platform.start_again();
    }
    edge.drained(&platform, 100, (&tenant, &gateway));
    assert_eq!(tenant.points(&pump, "t"), expect(100));
    let (code, found) = gaps(&platform, &tenant, "kills");
    let stated = &found["edges"][0];
    assert_eq!((code, found["edges"].as_array().unwrap().len()), (0, 1), "{found}");
    assert_eq!((&stated["key"], &stated["first"]), (&json!(edge.key), &json!(1)));
    assert_eq!((&stated["entries"], &stated["repeated"]), (&json!(100), &json!(0)), "{found}");
    assert_eq!(stated["never_submitted"], json!([]));
}

#[test]
fn what_was_given_up_is_said_and_seen() {
    let mut platform = platform();
    let tenant = platform.tenant();
    let gateway = gateway(&tenant, "full");
    let more = "disk_bytes_max = 16777216\nwhen_full = \"drop_oldest\"\nbatch_bytes_max = 262144\n";
    let mut edge = Edge::new(&platform, &gateway, more);
    register(&tenant, &gateway, &edge.key);
    let token = edge.device(&platform, "camera");
    platform.kill();
    edge.start(&platform);
    let mut client = edge.mqtt(&token);
    let text = "wide open door ".repeat(4_000);
    wait_for("batches to be given up", || {
        for _ in 0..50 {
            let reading = json!({"note": text}).to_string();
            // A moment's refusal is one that the device is told of.
            let (code, _) = client.publish(TELEMETRY, reading.as_bytes());
            assert!(code == 0 || code == 0x97, "{code:#x}");
        }
        let status = edge.status(&platform);
        assert!(status["disk_bytes"].as_u64() <= Some(16_777_216 + 1_048_576), "{status}");
        (status["given_up_batches"].as_u64() > Some(0)).then_some(())
    });
    platform.start_again();
    wait_for("the rest to be handed over", || {
        let given_up = keys(&tenant, &gateway)[0]["given_up"].as_array()?.len();
        let waiting = edge.status(&platform)["waiting_batches"].as_u64()?;
        (given_up > 0 && waiting == 0).then_some(())
    });
    let (code, found) = gaps(&platform, &tenant, "full");
    let stated = &found["edges"][0];
    assert_eq!(code, 0, "it is stated: {found}");
    assert_eq!((&stated["never_submitted"], &stated["forks"]), (&json!([]), &json!([])));
    assert_eq!(stated["given_up"][0]["first"], 1, "{found}");
    let text = platform.cli(&["ledger", "gaps", platform.scratch("full").to_str().unwrap()]);
    assert!(text.done().contains("given up by the edge, its disk was full"));
}

#[test]
fn a_full_edge_refuses_and_loses_nothing() {
    let mut platform = platform();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "refuses");
    let mut edge = Edge::new(&platform, &site, "disk_bytes_max = 16777216\n");
    register(&tenant, &site, &edge.key);
    let token = edge.device(&platform, "camera");
    platform.kill();
    edge.start(&platform);
    let mut client = edge.mqtt(&token);
    let reading = json!({"note": "wide open door ".repeat(4_000)}).to_string();
    let mut publish = || client.publish(TELEMETRY, reading.as_bytes()).0;
    let mut taken = 0;
    let refused = wait_for("the disk to be full", || match publish() {
        0 => {
            taken += 1;
            None
        }
        code => Some(code),
    });
    assert_eq!((refused, publish()), (0x97, 0x97), "until there is room");
    assert_eq!(edge.status(&platform)["given_up_batches"], 0);
    platform.start_again();
    edge.drained(&platform, taken, (&tenant, &site));
    wait_for("room", || (publish() == 0).then_some(()));
    let (code, found) = gaps(&platform, &tenant, "refuses");
    assert_eq!((code, &found["edges"][0]["never_submitted"]), (0, &json!([])), "{found}");
}

#[test]
fn an_older_copy_of_an_edge_is_refused_and_seen() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "copied");
    let mut edge = Edge::new(platform, &site, "");
    register(&tenant, &site, &edge.key);
    let token = edge.device(platform, "pump");
    let copy = |edge: &Edge, from: &str, to: &str| {
        let copied = Command::new("cp").arg("-a").args([edge.path(from), edge.path(to)]).status();
        assert!(copied.unwrap().success());
    };
    edge.start(platform);
    publish(&mut edge.mqtt(&token), 0..3);
    edge.drained(platform, 3, (&tenant, &site));
    edge.kill();
    copy(&edge, "edge", "older");
    edge.start(platform);
    publish(&mut edge.mqtt(&token), 3..6);
    edge.drained(platform, 6, (&tenant, &site));
    edge.kill();

    fs::remove_dir_all(edge.path("edge")).unwrap();
    copy(&edge, "older", "edge");
    edge.start(platform);
    publish(&mut edge.mqtt(&token), 6..9);
    wait_for("its batch to be refused", || {
        (edge.status(platform)["refused"] == true).then_some(())
    });
    let known = &keys(&tenant, &site)[0];
    assert!(known["forks"].as_u64() > Some(0) && known["entries"] == 6, "{known}");
    assert_eq!(tenant.stats(&child(&tenant, "pump"), "t").0, 6, "nothing of it is kept");
    let (code, found) = gaps(platform, &tenant, "edge-copied");
    assert_eq!(code, 10, "{found}");
    assert_eq!(found["edges"][0]["forks"].as_array().unwrap().len(), 1, "{found}");
}

#[test]
fn a_token_that_was_replaced_lets_nobody_stay() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "replaced");
    let mut edge = Edge::new(platform, &site, "");
    let stolen = edge.device(platform, "pump");
    edge.start(platform);
    let mut thief = edge.mqtt(&stolen);
    publish(&mut thief, 0..1);
    let token = edge.device(platform, "pump");
    let end = thief.read();
    assert!(matches!(end, Ok(Packet::Disconnect(_))), "{end:?}");
    publish(&mut edge.mqtt(&token), 1..2);
}

/// Batches as an edge would make them, and as it never would.
struct Maker {
    signing: SigningKey,
    gateway: DeviceId,
}

impl Maker {
    fn new(gateway: &Device, seed: u8) -> Self {
        let signing = SigningKey::from_seed(SecretKey::from_bytes([seed; 32]));
        Self { signing, gateway: gateway.id.parse().unwrap() }
    }

    fn key(&self) -> String {
        hex::encode(self.signing.public_bytes())
    }

    fn state(&self, counter: u64, previous: Digest, content: &str) -> EdgeStatement {
        let at = Timestamp::from_micros(T0 * 1000);
        let fields = EdgeFields {
            kind: EdgeKind::Batch,
            edge: self.gateway,
            key: self.signing.public_bytes(),
            counter,
            previous,
            first_position: counter,
            last_position: counter,
            entries: 1,
            events_from: at,
            events_to: at,
            made_at: at,
            clock_offset_us: None,
            content: sha256(content.as_bytes()),
        };
        EdgeStatement::signed(&fields, |message| self.signing.sign(message)).unwrap()
    }
}

fn content(value: i64) -> String {
    let at = T0 * 1000 + value;
    let reading = format!(r#"["t",{at},{value},"good"]"#);
    format!(r#"{{"device":"meter","received_at_us":{at},"readings":[{reading}]}}"#) + "\n"
}

fn send(tenant: &Tenant, token: &str, statement: &[u8], content: &str) -> Answer {
    let length = u16::try_from(statement.len()).unwrap().to_be_bytes();
    let body = [length.as_slice(), statement, content.as_bytes()].concat();
    let request = tenant.http().post("/v1/edge/batches").bearer(token);
    request.body("application/octet-stream", &body).send()
}

#[test]
fn a_batch_is_its_edges_own_and_counts_once() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (mine, theirs) = (gateway(&tenant, "own"), gateway(&other, "theirs"));
    let (maker, foreign) = (Maker::new(&mine, 1), Maker::new(&theirs, 2));
    let one = maker.state(1, Digest::ZERO, &content(1));
    let ask = |statement: &EdgeStatement, content: &str| {
        send(&tenant, &mine.token, statement.as_bytes(), content)
    };
    // Not before the key is registered, and not without a gateway's credential.
    assert!(ask(&one, &content(1)).problem(403)["detail"].to_string().contains("not registered"));
    let registered = register(&tenant, &mine, &maker.key());
    register(&other, &theirs, &foreign.key());
    let path = format!("/v1/devices/{}/edge-keys", mine.id);
    tenant.post(&path, &json!({"public_key": maker.key()})).problem(409);
    tenant.post(&path, &json!({"public_key": "zz"})).problem(400);
    assert_eq!(send(&tenant, "vtw_nobody", one.as_bytes(), &content(1)).status, 401);

    // Tampered with: the content, the statement; another tenant's key; another edge's statement.
    ask(&one, &content(9)).problem(400);
    let mut bytes = *one.as_bytes();
    bytes[EDGE_STATEMENT_BYTES - 1] ^= 1;
    send(&tenant, &mine.token, &bytes, &content(1)).problem(400);
    let stranger = Maker { gateway: maker.gateway, ..Maker::new(&theirs, 2) };
    ask(&stranger.state(1, Digest::ZERO, &content(1)), &content(1)).problem(403);
    ask(&foreign.state(1, Digest::ZERO, &content(1)), &content(1)).problem(403);
    assert_eq!(keys(&tenant, &mine)[0]["last_counter"], 0, "nothing was taken");

    // Once, however often it comes.
    let kept = ask(&one, &content(1)).expect(200);
    assert_eq!((&kept["outcome"], &kept["refused"]), (&json!("kept"), &json!(0)), "{kept}");
    let two = maker.state(2, one.hash(), &content(2));
    assert_eq!(ask(&two, &content(2)).expect(200)["outcome"], "kept");
    for (statement, value) in [(&one, 1), (&two, 2)] {
        assert_eq!(ask(statement, &content(value)).expect(200)["outcome"], "known");
    }
    let meter = child(&tenant, "meter");
    assert_eq!(tenant.stats(&meter, "t").0, 2);

    // A fork is refused, whichever way it contradicts.
    let fork = maker.state(2, one.hash(), &content(5));
    let answer = ask(&fork, &content(5));
    assert!(answer.status == 409 && answer.text().contains("\"fork\""), "{}", answer.text());
    let aside = maker.state(3, fork.hash(), &content(6));
    assert_eq!(ask(&aside, &content(6)).status, 409);
    // A gap is taken, and what it left out is taken no more.
    let five = maker.state(5, two.hash(), &content(7));
    assert_eq!(ask(&five, &content(7)).expect(200)["outcome"], "kept");
    let late = ask(&maker.state(4, two.hash(), &content(8)), &content(8));
    assert!(late.status == 409 && late.text().contains("\"passed\""), "{}", late.text());
    assert_eq!(tenant.stats(&meter, "t").0, 3);
    let known = &keys(&tenant, &mine)[0];
    assert_eq!(known["missing"], json!([{"first": 3, "last": 4}]));
    assert_eq!((&known["forks"], &known["last_counter"]), (&json!(2), &json!(5)));

    let (code, found) = gaps(platform, &tenant, "forks");
    let stated = &found["edges"][0];
    assert_eq!((code, &stated["forks"]), (10, &json!([2])), "{found}");
    assert_eq!(stated["never_submitted"], json!([{"first": 3, "last": 4}]));
    assert_eq!(stated["statements"], 3);

    // A key that was revoked takes nothing with it.
    let id = registered["id"].as_str().unwrap();
    tenant.delete(&format!("{path}/{id}")).expect(204);
    tenant.delete(&format!("{path}/{id}")).problem(404);
    ask(&maker.state(6, five.hash(), &content(9)), &content(9)).problem(403);
    assert_eq!(tenant.stats(&meter, "t").0, 3);
}

#[test]
fn a_line_that_must_not_be_kept_is_refused_by_itself() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mine = gateway(&tenant, "lines");
    let maker = Maker::new(&mine, 3);
    register(&tenant, &mine, &maker.key());
    let card = content(1).replace(",1,\"good\"", ",\"4111 1111 1111 1111\",\"good\"");
    let both = format!("{card}{}nothing\n", content(2));
    let statement = maker.state(1, Digest::ZERO, &both);
    let kept = send(&tenant, &mine.token, statement.as_bytes(), &both).expect(200);
    assert_eq!((&kept["outcome"], &kept["refused"]), (&json!("kept"), &json!(2)), "{kept}");
    assert_eq!(tenant.stats(&child(&tenant, "meter"), "t").0, 1);
}
