//! Topics that are none of the platform's own, through the running platform: mosquitto's clients
//! talk to one another, tenants do not, and what was retained outlives a kill.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use veritwin_domain::SeededRng;

use crate::harness::{Platform, files_below, now_ms};
use crate::kill::{below, number};
use crate::mqtt::{Mqtt, Packet, Version, packet};

/// One of mosquitto's clients, which is to connect as a device.
pub(crate) fn mosquitto(platform: &Platform, program: &str, version: &str, token: &str) -> Command {
    let mut command = nameless_mosquitto(platform, program, version);
    command.args(["-u", token]);
    command
}

/// The same, without a credential.
pub(crate) fn nameless_mosquitto(platform: &Platform, program: &str, version: &str) -> Command {
    let ports = platform.ports();
    let (host, port) = ports.mqtts.split_once(':').unwrap();
    let mut command = Command::new(program);
    command.args(["-h", host, "-p", port, "-V", version, "--cafile"]);
    command.arg(platform.data().join(platform.run()["ca"].as_str().unwrap()));
    command
}

#[test]
fn clients_of_a_real_library_talk_to_one_another() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (speaker, listener) = (tenant.device("speaker"), tenant.device("listener"));
    for version in ["mqttv311", "mqttv5"] {
        let topic = format!("talk/{version}/a");
        let say = |qos: &str, text: &str, more: &[&str]| {
            let mut command = mosquitto(platform, "mosquitto_pub", version, &speaker.token);
            command.args(["-t", &topic, "-q", qos, "-m", text]).args(more);
            assert!(command.status().unwrap().success(), "{version} {text}");
        };
        // It is there at once, and says with it that the listener has subscribed.
        say("1", "retained", &["-r"]);
        let mut listening = mosquitto(platform, "mosquitto_sub", version, &listener.token)
            .args(["-t", "talk/#", "-q", "2", "-C", "4", "-W", "60", "-F", "%t %q %r %p|%P|%C"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(listening.stdout.take().unwrap()).lines();
        let mut next = |expect: String| {
            let line = lines.next().expect("a line").unwrap();
            assert_eq!(line, expect, "{version}");
        };
        next(format!("{topic} 1 1 retained||"));
        for qos in ["0", "1"] {
            say(qos, "plain", &[]);
            next(format!("{topic} {qos} 0 plain||"));
        }
        if version == "mqttv5" {
            let content_type = ["-D", "publish", "content-type", "text/plain"];
            let user = ["-D", "publish", "user-property", "b", "2"];
            say("2", "rich", &[&content_type[..], &user[..]].concat());
            next(format!("{topic} 2 0 rich|b:2|text/plain"));
        } else {
            say("2", "twice", &[]);
            next(format!("{topic} 2 0 twice||"));
        }
        assert!(listening.wait().unwrap().success(), "{version}");
        say("1", "", &["-r"]);
    }
}

/// A PUBLISH with RETAIN and QoS 1 in 3.1.1.
fn retain(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    packet(0x33, &[&length[..], topic.as_bytes(), &id.to_be_bytes(), payload].concat())
}

#[test]
fn tenants_do_not_hear_one_another() {
    let platform = Platform::shared();
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let (mut here, mut there) = (
        platform.mqtt(Version::V5, &mine.device("here").token),
        platform.mqtt(Version::V311, &theirs.device("there").token),
    );
    there.subscribe("#");
    assert_eq!(here.publish("same/topic", b"live"), (0, String::new()));
    let mut retaining = platform.mqtt(Version::V311, &mine.device("retaining").token);
    retaining.write(&retain("same/topic", 1, b"retained")).unwrap();
    assert_eq!(retaining.read().unwrap(), Packet::PubAck(1, 0, String::new()));
    let mut later = platform.mqtt(Version::V311, &theirs.device("later").token);
    later.subscribe("+/topic");
    assert_eq!(there.publish("same/topic", b"theirs").0, 0);
    let expect = ("same/topic".to_owned(), b"theirs".to_vec());
    assert_eq!(there.message(), expect);
    assert_eq!(later.message(), expect);
    here.subscribe("same/#");
    assert_eq!(here.message(), ("same/topic".to_owned(), b"retained".to_vec()));
}

/// Retained messages that the platform has acknowledged, and the last that was on its way.
#[derive(Default)]
struct Kept {
    acknowledged: BTreeMap<String, Option<u64>>,
    open: BTreeMap<String, Option<u64>>,
}

impl Kept {
    /// Writes until the platform is killed, so many messages ahead; tells every acknowledgement.
    fn write(&mut self, mut client: Mqtt, from: u64, told: &std::sync::mpsc::Sender<()>) {
        const AHEAD: u64 = 8;
        let (mut sent, mut heard) = (from, from);
        loop {
            while sent - heard < AHEAD {
                let topic = format!("kept-openly/{}", sent % 50);
                // Every seventh one removes what there was.
                let value = (sent % 7 != 0).then_some(sent);
                let payload = value.map(|value| value.to_string()).unwrap_or_default();
                let id = u16::try_from(sent % 60_000 + 1).unwrap();
                self.open.insert(topic.clone(), value);
                if client.write(&retain(&topic, id, payload.as_bytes())).is_err() {
                    return;
                }
                sent += 1;
            }
            let Ok(Packet::PubAck(id, 0, _)) = client.read() else { return };
            assert_eq!(u64::from(id), heard % 60_000 + 1, "in order");
            let value = (heard % 7 != 0).then_some(heard);
            self.acknowledged.insert(format!("kept-openly/{}", heard % 50), value);
            heard += 1;
            let _ = told.send(());
        }
    }

    /// What there is now is what was acknowledged last, or what was on its way.
    fn check(&self, found: &BTreeMap<String, u64>) {
        for (topic, expect) in &self.acknowledged {
            let value = found.get(topic).copied();
            let open = self.open[topic];
            let is_newer = open != *expect && value == open;
            assert!(value == *expect || is_newer, "{topic}: {value:?}, expected {expect:?}");
        }
    }
}

#[test]
fn acknowledged_retained_messages_outlive_a_kill_and_are_sealed() {
    let rounds = number("VERITWIN_KILL_ROUNDS", 5);
    let seed = number("VERITWIN_SEED", now_ms().unsigned_abs());
    println!("seed {seed}: repeat with VERITWIN_SEED={seed}");
    let rng = SeededRng::new(seed);
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let (writer, reader) = (tenant.device("writer"), tenant.device("reader"));
    let mut kept = Kept::default();
    for round in 0..rounds {
        let client = platform.mqtt(Version::V311, &writer.token);
        let until = 1 + below(&rng, 300);
        let (told, heard) = channel();
        std::thread::scope(|scope| {
            let kept = &mut kept;
            scope.spawn(move || kept.write(client, round * 10_000, &told));
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
        let mut client = platform.mqtt(Version::V311, &reader.token);
        client.subscribe("kept-openly/+");
        // What is published after it comes after it.
        assert_eq!(client.publish("kept-openly/end", b"0").0, 0);
        let mut found = BTreeMap::new();
        loop {
            let (topic, payload) = client.message();
            if topic == "kept-openly/end" {
                break;
            }
            found.insert(topic, String::from_utf8(payload).unwrap().parse().unwrap());
        }
        kept.check(&found);
        kept.open = found.into_iter().map(|(topic, value)| (topic, Some(value))).collect();
        for topic in kept.acknowledged.keys() {
            kept.open.entry(topic.clone()).or_default();
        }
        kept.acknowledged.clone_from(&kept.open);
    }
    platform.stop();
    for file in files_below(&platform.data()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(11).any(|window| window == b"kept-openly");
        assert!(!found, "a topic stands in {}", file.display());
    }
}
