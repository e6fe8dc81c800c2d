//! Faults of what is below the platform and between it and its devices: disks, clocks, sockets.
//! Nothing that was acknowledged is lost, and what is refused or ended says why.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::backup::copy_folder;
use crate::harness::{Mode, Options, Platform, wait_for};
use crate::kill::T0;
use crate::mqtt::{Mqtt, Packet, Version, mortal_packet, packet};
use crate::skipped::skipped;
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";

fn reading(number: i64) -> Value {
    json!({"ts": T0 + number, "values": {"t": number}})
}

/// The numbers of the readings that are there.
fn stored(tenant: &Tenant, device: &Device) -> Vec<i64> {
    tenant.points(device, "t").into_iter().map(|(at, _)| at - T0).collect()
}

fn ready(platform: &Platform) -> (u16, String) {
    let answer = platform.http().get("/readyz").send();
    (answer.status, answer.text())
}

/// A file system in memory, mounted until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None where that is not allowed.
    fn over(path: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={megabytes}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        skipped("no file system can be mounted here");
        None
    }

    /// Mounts it anew, once nobody writes to it.
    fn remount(&self, how: &str) {
        wait_for("nobody to write", || {
            let mut mount = Command::new("mount");
            mount.args(["-o", &format!("remount,{how}")]).arg(&self.0).stderr(Stdio::null());
            mount.status().unwrap().success().then_some(())
        });
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes what is left of a file system.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [64 * 1024, 1] {
        let part = vec![0u8; bytes];
        while file.write_all(&part).is_ok() {}
    }
}

#[test]
fn a_full_file_system_takes_nothing_and_loses_nothing() {
    let mut platform = Platform::new(Mode::Serve, Options::default());
    let Some(_mounted) = Mounted::over(&platform.data(), 128) else { return };
    platform.start_again();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let mut client = platform.mqtt(Version::V5, &device.token);
    let mut publish =
        |number: i64| client.publish(TELEMETRY, reading(number).to_string().as_bytes());
    assert_eq!(publish(0).0, 0);
    let ballast = platform.data().join("ballast");
    fill(&ballast);
    // What finds room in the last page of the log's file is taken all the same.
    let mut acknowledged = vec![0];
    let (code, reason) = wait_for("a refusal", || {
        let number = acknowledged.len() as i64;
        let refused = publish(number);
        if refused.0 == 0 {
            acknowledged.push(number);
            return None;
        }
        Some(refused)
    });
    assert!(code == 0x80 && reason.contains("the platform's disk is full"), "{code} {reason}");
    let (status, text) = ready(&platform);
    assert!(status == 503 && text.contains("the log's disk is full"), "{status} {text}");
    std::fs::remove_file(ballast).unwrap();
    wait_for("space", || (ready(&platform).0 == 200).then_some(()));
    assert_eq!(publish(100_000).0, 0, "the connection is still there");
    acknowledged.push(100_000);
    platform.kill();
    platform.start_again();
    assert_eq!(stored(&tenant, &device), acknowledged);
}

/// A figure of the whole platform.
fn gauge(platform: &Platform, key: &Value, line: &str) -> Option<f64> {
    let secret = key["secret"].as_str().unwrap();
    let text = platform.http().get("/metrics").bearer(secret).send().text();
    let found = text.lines().find(|one| one.starts_with(line))?;
    found.split(' ').next_back()?.parse().ok()
}

#[test]
fn where_segments_and_backups_find_no_room_they_wait_and_nothing_is_lost() {
    let options = Options::default().environment("VERITWIN__TELEMETRY__MEMORY_BYTES_MAX", "262144");
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    platform.stop();
    let objects = platform.data().join("objects");
    let aside = platform.scratch("aside");
    std::fs::create_dir_all(&objects).unwrap();
    copy_folder(&objects, &aside);
    let Some(_mounted) = Mounted::over(&objects, 16) else { return };
    if aside.exists() {
        copy_folder(&aside, &objects);
    }
    platform.start_again();
    let key = platform.control("metrics_key", json!({})).unwrap();
    let is_full = || gauge(&platform, &key, "veritwin_disk_full{part=\"segments\"}") == Some(1.0);
    let ballast = objects.join("ballast");
    fill(&ballast);
    let mut acknowledged = 0;
    wait_for("segments to find no room", || {
        let text = "x".repeat(200);
        let many: Vec<Value> = (acknowledged..acknowledged + 100)
            .map(|number| json!({"ts": T0 + number, "values": {"t": number, "text": text}}))
            .collect();
        if tenant.send(&device, &Value::from(many)).status == 200 {
            acknowledged += 100;
        }
        is_full().then_some(())
    });
    assert_eq!(stored(&tenant, &device), (0..acknowledged).collect::<Vec<_>>(), "reading goes on");
    // A backup says where it found no room, keeps what it had, and is taken up again.
    let other = platform.scratch("small");
    let Some(_small) = Mounted::over(&other, 1) else { return };
    let filled = other.join("ballast");
    fill(&filled);
    let out = other.join("backup");
    let refused = platform.cli(&["backup", out.to_str().unwrap()]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
    assert!(!out.exists(), "an unfinished backup has no name");
    std::fs::remove_file(ballast).unwrap();
    wait_for("segments to find room", || (!is_full()).then_some(()));
    platform.kill();
    platform.start_again();
    assert_eq!(stored(&tenant, &device), (0..acknowledged).collect::<Vec<_>>());
}

#[test]
fn on_a_read_only_file_system_it_does_not_start_and_says_why() {
    let mut platform = Platform::new(Mode::Serve, Options::default());
    let Some(mounted) = Mounted::over(&platform.data(), 128) else { return };
    platform.start_again();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    tenant.send(&device, &reading(0)).expect(200);
    platform.stop();
    mounted.remount("ro");
    let mut command = platform.command();
    command.arg("serve").arg("--data").arg(platform.data());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let status = wait_for("the end of the start", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!status.success() && said.contains("Read-only file system"), "{status} {said}");
    mounted.remount("rw");
    platform.start_again();
    assert_eq!(stored(&tenant, &device), [0]);
    tenant.send(&device, &reading(1)).expect(200);
}

#[test]
fn a_disk_that_can_only_be_read_takes_nothing_until_a_restart_and_loses_nothing() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let mut old = platform.mqtt(Version::V311, &device.token);
    assert_eq!(old.publish(TELEMETRY, reading(0).to_string().as_bytes()).0, 0);
    platform.control("disk_read_only", json!({})).unwrap();
    // Version 3.1.1 has no way to refuse a message but to close.
    old.send(TELEMETRY, reading(1).to_string().as_bytes()).unwrap();
    assert!(old.read().is_err());
    let mut new = platform.mqtt(Version::V5, &device.token);
    let (code, reason) = new.publish(TELEMETRY, reading(2).to_string().as_bytes());
    let why = "nothing is taken until the platform starts again";
    assert!(code == 0x80 && reason.contains(why), "{code} {reason}");
    let (status, text) = ready(&platform);
    assert!(status == 503 && text.contains("the log cannot be written"), "{status} {text}");
    assert_eq!(stored(&tenant, &device), [0], "reading goes on");
    platform.kill();
    platform.start_again();
    assert_eq!(stored(&tenant, &device), [0]);
    assert_eq!(tenant.send(&device, &reading(3)).status, 200);
}

#[test]
fn a_clock_that_jumps_ahead_ends_what_is_over_and_nothing_else() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-03-01T08:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let (speaker, listener) = (tenant.device("speaker"), tenant.device("listener"));
    let mut stays = platform.mqtt(Version::V5, &speaker.token);
    let (mut client, _) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    client.write(&packet(0x82, &[&[0, 1, 0, 7][..], b"plant/#", &[1]].concat())).unwrap();
    assert_eq!(client.read_raw().unwrap(), (0x90, vec![0, 1, 1]));
    // Goodbye, so that it is away from here on.
    client.write(&[0xe0, 0]).unwrap();
    drop(client);
    let mut publish = |text: &str| stays.publish("plant/a", text.as_bytes()).0 < 0x80;
    assert!(publish("kept"));
    platform.cli(&["clock", "advance", "23h"]).done();
    assert!(publish("later"), "a connection stays");
    let (mut client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    assert!(present);
    for text in ["kept", "later"] {
        let (first, body) = client.read_raw().unwrap();
        assert_eq!(first & 0xf6, 0x32);
        assert!(body.ends_with(text.as_bytes()), "{body:?}");
    }
    client.write(&[0xe0, 0]).unwrap();
    drop(client);
    wait_for("the client to be away", || {
        let device = tenant.get(&format!("/v1/devices/{}", listener.id)).expect(200);
        (device["online"] == false).then_some(())
    });
    platform.cli(&["clock", "advance", "25h"]).done();
    let (_client, present) = Mqtt::connect_kept(platform.http(), "reader", &listener.token);
    assert!(!present, "a session lasts a day");
    assert!(publish("still here"));
}

#[test]
fn who_vanishes_without_a_word_is_gone_for_everybody() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (reader, mortal) = (tenant.device("reader"), tenant.device("mortal"));
    let mut listener = platform.mqtt(Version::V311, &reader.token);
    listener.subscribe("gone/+");
    // The socket stays open, and nobody is there: keep-alive of one second.
    let hello = mortal_packet(1, "mortal", &mortal.token, ("gone/a", "without a word"));
    let (mut vanished, _) = Mqtt::try_raw(platform.http(), &hello).expect("it may connect");
    let online = || {
        let device = tenant.get(&format!("/v1/devices/{}", mortal.id)).expect(200);
        device["online"] == true
    };
    assert_eq!(listener.message(), ("gone/a".to_owned(), b"without a word".to_vec()));
    wait_for("it to be gone", || (!online()).then_some(()));
    assert!(vanished.read().is_err(), "closed from here");
    // Its session waits for it.
    let (_client, present) = Mqtt::connect_kept(platform.http(), "mortal", &mortal.token);
    assert!(present);
}

#[test]
fn what_a_slow_client_loses_its_tenant_can_see() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (speaker, slow) = (tenant.device("speaker"), tenant.device("slow"));
    let theirs = other.device("theirs");
    let (mut client, _) = Mqtt::connect_kept(platform.http(), "slow", &slow.token);
    client.write(&packet(0x82, &[&[0, 1, 0, 7][..], b"plant/#", &[1]].concat())).unwrap();
    assert_eq!(client.read_raw().unwrap(), (0x90, vec![0, 1, 1]));
    // It acknowledges nothing. 32 are on their way to it, 1,000 wait.
    let mut loud = platform.mqtt(Version::V311, &speaker.token);
    let (mut sent, mut told) = (0, 0);
    while told < 1_100 {
        while sent < 1_100 && sent - told < 64 {
            loud.send("plant/a", b"x").unwrap();
            sent += 1;
        }
        match loud.read().unwrap() {
            Packet::PubAck(..) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    let path = format!("/v1/devices/{}/refusals", slow.id);
    let refusals = wait_for("the record", || {
        let refusals = tenant.get(&path).expect(200);
        let is_there = refusals.to_string().contains("relay_queue_messages_max");
        is_there.then_some(refusals)
    });
    assert!(refusals.to_string().contains("were not delivered"), "{refusals}");
    // Others are served, and see nothing of it.
    other.send(&theirs, &reading(0)).expect(200);
    assert_eq!(other.get(&path).status, 404);
}
