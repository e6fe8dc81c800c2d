//! Sessions of MQTT clients outlive a kill at any moment: what was acknowledged to its publisher
//! reaches a subscriber that was away, or cut off, in order; at QoS 2 once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::json;
use veritwin_domain::SeededRng;

use crate::harness::{Platform, files_below, now_ms};
use crate::kill::{below, number};
use crate::mqtt::{Mqtt, packet};
use crate::relay::mosquitto;
use crate::tenant::Device;

const TOPIC: &str = "kept-in-line/a";
/// Messages that the writer has under way.
const AHEAD: usize = 8;

/// A packet that is an acknowledgement.
fn answer(kind: u8, id: u16) -> Vec<u8> {
    packet(kind, &id.to_be_bytes())
}

fn publish(dup: bool, id: u16, (topic, text): (&str, String)) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let body = [&length[..], topic.as_bytes(), &id.to_be_bytes(), text.as_bytes()].concat();
    packet(if dup { 0x3c } else { 0x34 }, &body)
}

fn id_of(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// A client that publishes at QoS 2, and keeps its session as the standard wants it.
struct Writer {
    /// Its messages, by number.
    message: fn(u64) -> (&'static str, String),
    next: u64,
    /// Without PUBREC, by number.
    open: BTreeMap<u64, u16>,
    /// Without PUBCOMP.
    received: BTreeSet<u16>,
}

impl Writer {
    const fn new(message: fn(u64) -> (&'static str, String)) -> Self {
        Self { message, next: 0, open: BTreeMap::new(), received: BTreeSet::new() }
    }

    fn id(number: u64) -> u16 {
        u16::try_from(number % 60_000 + 1).unwrap()
    }

    /// Publishes until the connection breaks, or up to a number; tells every acknowledgement.
    fn write(&mut self, mut client: Mqtt, until: u64, told: &Sender<()>) {
        for id in &self.received {
            if client.write(&answer(0x62, *id)).is_err() {
                return;
            }
        }
        for (number, id) in &self.open {
            if client.write(&publish(true, *id, (self.message)(*number))).is_err() {
                return;
            }
        }
        loop {
            while self.next < until && self.open.len() + self.received.len() < AHEAD {
                let id = Self::id(self.next);
                self.open.insert(self.next, id);
                if client.write(&publish(false, id, (self.message)(self.next))).is_err() {
                    return;
                }
                self.next += 1;
            }
            if self.open.is_empty() && self.received.is_empty() {
                return;
            }
            let Ok((first, body)) = client.read_raw() else { return };
            let id = id_of(&body);
            match first {
                0x50 => {
                    self.open.retain(|_, open| *open != id);
                    self.received.insert(id);
                    let _ = told.send(());
                    if client.write(&answer(0x62, id)).is_err() {
                        return;
                    }
                }
                0x70 => {
                    self.received.remove(&id);
                }
                other => panic!("packet {other:#x}"),
            }
        }
    }
}

/// A client that listens at QoS 2, and keeps its session as the standard wants it.
#[derive(Default)]
struct Reader {
    unreleased: BTreeSet<u16>,
    numbers: Vec<u64>,
}

impl Reader {
    /// Reads until the connection breaks, or a number has come.
    fn read(&mut self, mut client: Mqtt, last: Option<u64>) {
        loop {
            let is_done = last.is_some_and(|last| self.numbers.last() == Some(&last));
            if is_done && self.unreleased.is_empty() {
                return;
            }
            let Ok((first, body)) = client.read_raw() else { return };
            let answered = match first {
                0x62 => {
                    let id = id_of(&body);
                    self.unreleased.remove(&id);
                    client.write(&answer(0x70, id))
                }
                0x34 | 0x3c => {
                    let start = 2 + usize::from(id_of(&body));
                    let id = id_of(&body[start..]);
                    if self.unreleased.insert(id) {
                        let text = std::str::from_utf8(&body[start + 2..]).unwrap();
                        self.numbers.push(text.parse().unwrap());
                    }
                    client.write(&answer(0x50, id))
                }
                other => panic!("packet {other:#x}"),
            };
            if answered.is_err() {
                return;
            }
        }
    }
}

fn subscribe(client: &mut Mqtt) {
    let filter = b"kept-in-line/#";
    let length = u16::try_from(filter.len()).unwrap().to_be_bytes();
    let body = [&[0, 1][..], &length, filter, &[2]].concat();
    client.write(&packet(0x82, &body)).unwrap();
    assert_eq!(client.read_raw().unwrap(), (0x90, vec![0, 1, 2]));
}

#[test]
fn what_was_acknowledged_comes_once_and_in_order_whenever_the_platform_is_killed() {
    let rounds = number("VERITWIN_KILL_ROUNDS", 6);
    let seed = number("VERITWIN_SEED", now_ms().unsigned_abs());
    println!("seed {seed}: repeat with VERITWIN_SEED={seed}");
    let rng = SeededRng::new(seed);
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let (speaker, listener) = (tenant.device("speaker"), tenant.device("listener"));
    let text = |number: u64| (TOPIC, number.to_string());
    let (mut writer, mut reader) = (Writer::new(text), Reader::default());
    let (mut client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    assert!(!present);
    subscribe(&mut client);
    drop(client);
    for round in 0..rounds {
        let (speaking, _) = Mqtt::connect_kept(platform.http(), "writer", &speaker.token);
        // Every other time the listener is away.
        let listening = (round % 2 == 1).then(|| {
            let (client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
            assert!(present, "round {round}: the session is lost");
            client
        });
        let until = 1 + below(&rng, 300);
        let (told, heard) = channel();
        std::thread::scope(|scope| {
            let (writer, reader) = (&mut writer, &mut reader);
            scope.spawn(move || writer.write(speaking, u64::MAX, &told));
            if let Some(client) = listening {
                scope.spawn(move || reader.read(client, None));
            }
            for _ in 0..until {
                match heard.recv_timeout(Duration::from_secs(60)) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => panic!("no acknowledgement"),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            platform.kill();
        });
        platform.start_again();
    }
    let (speaking, present) = Mqtt::connect_kept(platform.http(), "writer", &speaker.token);
    assert!(present);
    let end = writer.next + 1;
    writer.write(speaking, end, &channel().0);
    let (client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    assert!(present);
    reader.read(client, Some(end - 1));
    let expect: Vec<u64> = (0..end).collect();
    assert!(reader.numbers == expect, "{:?}", differences(&reader.numbers, &expect));
    platform.stop();
    for file in files_below(&platform.data()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(12).any(|window| window == b"kept-in-line");
        assert!(!found, "a topic stands in {}", file.display());
    }
}

/// A reading without a time is one more each time that it is stored.
#[test]
fn what_a_gateway_says_at_the_highest_quality_is_stored_once_whenever_the_platform_is_killed() {
    let rounds = number("VERITWIN_KILL_ROUNDS", 6);
    let seed = number("VERITWIN_SEED", now_ms().unsigned_abs());
    println!("seed {seed}: repeat with VERITWIN_SEED={seed}");
    let rng = SeededRng::new(seed);
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let gateway = tenant.device("gateway");
    let path = format!("/v1/devices/{}", gateway.id);
    tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
    let reading =
        |number: u64| ("v1/gateway/telemetry", format!("{{\"behind\":{{\"k\":{number}}}}}"));
    let mut writer = Writer::new(reading);
    for _ in 0..rounds {
        let (client, _) = Mqtt::connect_kept(platform.http(), "writer", &gateway.token);
        let until = 1 + below(&rng, 300);
        let (told, heard) = channel();
        std::thread::scope(|scope| {
            let writer = &mut writer;
            scope.spawn(move || writer.write(client, u64::MAX, &told));
            for _ in 0..until {
                match heard.recv_timeout(Duration::from_secs(60)) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => panic!("no acknowledgement"),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            platform.kill();
        });
        platform.start_again();
    }
    let (client, present) = Mqtt::connect_kept(platform.http(), "writer", &gateway.token);
    assert!(present);
    let end = writer.next + 1;
    writer.write(client, end, &channel().0);
    let tenant = tenant.at(platform.http());
    let found = tenant.get("/v1/devices?search=behind").expect(200);
    let id = found["items"][0]["id"].as_str().unwrap().to_owned();
    let child = Device { id, name: "behind".to_owned(), token: String::new() };
    assert_eq!(tenant.stats(&child, "k").0, end, "some came twice, or not at all");
}

/// What is missing, what came twice, and what came too late.
fn differences(found: &[u64], expect: &[u64]) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
    let mut seen = BTreeSet::new();
    let twice = found.iter().copied().filter(|number| !seen.insert(*number)).collect();
    let missing = expect.iter().copied().filter(|number| !seen.contains(number)).collect();
    let late = found.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[1]).collect();
    (missing, twice, late)
}

/// A message of QoS 1 to a client that keeps its session, which is acknowledged; its text.
fn hear(client: &mut Mqtt) -> String {
    let (first, body) = client.read_raw().unwrap();
    assert_eq!(first & 0xf6, 0x32, "{first:#x}");
    let start = 2 + usize::from(id_of(&body));
    client.write(&answer(0x40, id_of(&body[start..]))).unwrap();
    String::from_utf8(body[start + 2..].to_vec()).unwrap()
}

#[test]
fn after_a_kill_wills_are_those_of_devices_that_are_still_there() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let listener = tenant.device("listener");
    let (mut client, _) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    client.write(&packet(0x82, &[&[0, 1, 0, 6][..], b"gone/#", &[1]].concat())).unwrap();
    assert_eq!(client.read_raw().unwrap(), (0x90, vec![0, 1, 1]));
    drop(client);
    let mortals = ["stays", "deleted", "revoked"].map(|name| {
        let device = tenant.device(name);
        let will = ("gone/a", name);
        let (mut client, _) = Mqtt::connect_mortal(platform.http(), name, &device.token, will);
        // What was sent before is read before this is answered, and noted.
        client.write(&packet(0x82, &[&[0, 1, 0, 1][..], b"x", &[1]].concat())).unwrap();
        assert_eq!(client.read_raw().unwrap(), (0x90, vec![0, 1, 1]));
        (device, client)
    });
    let [_, (deleted, _), (revoked, _)] = &mortals;
    let credentials = format!("/v1/devices/{}/credentials", revoked.id);
    let listed = tenant.get(&credentials).expect(200);
    let credential = listed["items"][0]["id"].as_str().unwrap().to_owned();
    tenant.delete(&format!("{credentials}/{credential}")).expect(204);
    tenant.delete(&format!("/v1/devices/{}", deleted.id)).expect(204);
    platform.kill();
    drop(mortals);
    platform.start_again();
    let (mut client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    assert!(present);
    assert_eq!(hear(&mut client), "stays");
    let mut command = mosquitto(&platform, "mosquitto_pub", "mqttv311", &listener.token);
    command.args(["-t", "gone/b", "-q", "1", "-m", "after"]);
    assert!(command.status().unwrap().success());
    assert_eq!(hear(&mut client), "after");
}

#[test]
fn a_client_of_a_real_library_has_its_session_after_a_kill() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let (speaker, listener) = (tenant.device("speaker"), tenant.device("listener"));
    let listen = |platform: &Platform, more: &[&str]| {
        let mut command = mosquitto(platform, "mosquitto_sub", "mqttv311", &listener.token);
        command.args(["-c", "-i", "real", "-t", "real/#", "-q", "1"]).args(more);
        command.stdout(Stdio::piped()).output().unwrap()
    };
    assert!(listen(&platform, &["-E"]).status.success());
    for text in ["one", "two"] {
        let mut command = mosquitto(&platform, "mosquitto_pub", "mqttv311", &speaker.token);
        command.args(["-t", "real/a", "-q", "1", "-m", text]);
        assert!(command.status().unwrap().success());
        platform.kill();
        platform.start_again();
    }
    let heard = listen(&platform, &["-C", "2", "-W", "60"]);
    assert!(heard.status.success());
    assert_eq!(String::from_utf8(heard.stdout).unwrap(), "one\ntwo\n");
}
