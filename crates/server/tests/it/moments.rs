//! Back to a moment: a backup, the log that was shipped since, a kill, and a restore elsewhere.
//! What was acknowledged by the moment is there, nothing that came later is, and it goes on.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use veritwin_domain::{Clock, SystemClock, Timestamp};

use crate::backup::{elsewhere, hand_over_archive, settled};
use crate::harness::{Mode, Options, Output, Platform, files_below, wait_for};
use crate::kill::T0;
use crate::tenant::{Device, Tenant};

/// A platform that ships its log every second, and where to.
struct Shipping {
    platform: Platform,
    tenant: Tenant,
    device: Device,
    ships: TempDir,
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// The moment now, once the clock has left it.
fn moment() -> Timestamp {
    let at = now();
    wait_for("the clock to go on", || (now() > at).then_some(()));
    at
}

impl Shipping {
    fn start() -> Self {
        let ships = TempDir::new().unwrap();
        let url = format!("file://{}", ships.path().display());
        let options = Options::default()
            .environment("VERITWIN__BACKUP__SHIP_URL", &url)
            .environment("VERITWIN__BACKUP__SHIP_SECONDS", "1")
            .environment("VERITWIN__BACKUP__RECORDS_SECONDS", "1");
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        let device = tenant.device("meter");
        Self { platform, tenant, device, ships }
    }

    fn url(&self) -> String {
        format!("file://{}", self.ships.path().display())
    }

    fn write(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let reading = json!({"ts": T0 + number, "values": {"k": number}});
            self.tenant.send(&self.device, &reading).expect(200);
        }
    }

    fn status(&self) -> Value {
        self.platform.control("backup_status", json!({})).unwrap()
    }

    /// Waits until a time of the status lies behind a moment.
    fn shipped(&self, what: &str, moment: Timestamp) {
        wait_for(what, || {
            let status = self.status();
            let at = status["shipping"][what].as_str()?;
            (Timestamp::parse_rfc3339(at).unwrap() > moment).then_some(())
        });
    }

    fn back_up(&self) -> PathBuf {
        let out = self.platform.scratch("base");
        self.platform.cli(&["backup", out.to_str().unwrap()]).done();
        out
    }

    fn copy_keyring(&self) -> PathBuf {
        let folder = self.platform.scratch("keyrings");
        let copied =
            self.platform.cli(&["backup", "--keyring", folder.to_str().unwrap(), "--json"]);
        copied.json()["out"].as_str().unwrap().into()
    }

    fn restore(&self, to: &Platform, base: &Path, keyring: &Path, at: &str) -> Output {
        let (base, keyring) = (base.to_str().unwrap(), keyring.to_str().unwrap());
        let url = self.url();
        let front = ["restore", base, "--keyring", keyring, "--json"];
        to.cli(&[&front[..], &["--at", at, "--from", &url]].concat())
    }

    /// The numbers of the readings that are there.
    fn numbers(&self, platform: &Platform) -> Vec<i64> {
        let tenant = self.tenant.at(platform.http());
        let points = tenant.points(&self.device, "k");
        points
            .into_iter()
            .map(|(at, value)| {
                assert_eq!(value, at - T0, "each reading has its value");
                at - T0
            })
            .collect()
    }
}

#[test]
fn a_platform_goes_back_to_a_moment_and_goes_on() {
    let mut own = Shipping::start();
    own.write(0..40);
    let early = moment();
    let base = own.back_up();
    own.write(40..80);
    // Made after the backup: it is in a later copy of the records only.
    let late = own.tenant.device("late");
    own.tenant.send(&late, &json!({"ts": T0, "values": {"k": 1}})).expect(200);
    own.shipped("records_at", moment());
    own.write(80..100);
    let at = moment();
    own.write(100..140);
    own.shipped("reached_at", moment());
    let keyring = own.copy_keyring();
    let status = own.platform.cli(&["backup", "status"]).done();
    assert!(status.contains("complete up to") && status.contains("base"), "{status}");
    own.platform.kill();

    let mut restored = elsewhere(&own.platform, Options::default());
    let facts = own.restore(&restored, &base, &keyring, &at.to_string()).json();
    assert_eq!(facts["moment"]["at"], at.to_string(), "{facts}");
    let newest = facts["moment"]["newest"].as_str().unwrap();
    assert!(Timestamp::parse_rfc3339(newest).unwrap() <= at, "{facts}");
    assert_eq!(facts["moment"]["closed"], 0, "{facts}");
    hand_over_archive(&own.platform, &restored);
    restored.start_again();
    assert_eq!(own.numbers(&restored), (0..100).collect::<Vec<_>>());
    let tenant = own.tenant.at(restored.http());
    assert_eq!(tenant.points(&late, "k").len(), 1, "the device and its reading are there");
    let found = settled(&restored, &tenant);
    tenant.send(&own.device, &json!({"ts": T0 + 500, "values": {"k": 500}})).expect(200);
    assert_eq!(settled(&restored, &tenant), found + 1, "new records are sealed, once");
    restored.kill();
    restored.start_again();
    assert_eq!(own.numbers(&restored).len(), 101, "a restart changes nothing");
    restored.kill();

    let newest = elsewhere(&own.platform, Options::default());
    own.restore(&newest, &base, &keyring, "latest").json();
    let check = |at: &str, expected: &str| {
        let target = elsewhere(&own.platform, Options::default());
        let refused = own.restore(&target, &base, &keyring, at);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(expected), "{at}: {}", refused.stderr);
        let data = target.data();
        let left = if data.exists() { files_below(&data) } else { Vec::new() };
        assert!(left.iter().all(|file| file.ends_with("lock")), "{left:?}");
    };
    check(&early.to_string(), "lies before the backup");
    check("2099-01-01T00:00:00Z", "lies behind what was shipped");
    let parts = || {
        let all = files_below(own.ships.path()).into_iter();
        all.filter(|file| file.to_string_lossy().contains("/log/")).collect::<Vec<_>>()
    };
    let part = parts().into_iter().max().unwrap();
    let mut bytes = std::fs::read(&part).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    check("latest", "was altered");
    // What was shipped last and was taken away is missed.
    for part in parts() {
        std::fs::remove_file(part).unwrap();
    }
    check("latest", "which were shipped");
    let keyrings = own.ships.path();
    let names = files_below(keyrings);
    assert!(names.iter().all(|file| !file.to_string_lossy().contains("keyring")), "{names:?}");
}

#[test]
fn shipping_goes_on_after_a_kill_and_without_its_note() {
    let mut own = Shipping::start();
    let base = own.back_up();
    for round in 0..3 {
        own.write(round * 20..round * 20 + 20);
        own.shipped("reached_at", moment());
        own.platform.kill();
        if round == 1 {
            std::fs::remove_file(own.platform.data().join("shipping.json")).unwrap();
        }
        own.platform.start_again();
    }
    own.shipped("reached_at", moment());
    let keyring = own.copy_keyring();
    own.platform.kill();
    let mut restored = elsewhere(&own.platform, Options::default());
    own.restore(&restored, &base, &keyring, "latest").json();
    hand_over_archive(&own.platform, &restored);
    restored.start_again();
    assert_eq!(own.numbers(&restored), (0..60).collect::<Vec<_>>());
}

#[test]
fn a_place_that_is_not_there_is_said_and_used_when_it_is() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("ships");
    let url = format!("file://{}", place.display());
    let options = Options::default()
        .environment("VERITWIN__BACKUP__SHIP_URL", &url)
        .environment("VERITWIN__BACKUP__SHIP_SECONDS", "1");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    tenant.send(&device, &json!({"k": 1})).expect(200);
    let status = || platform.control("backup_status", json!({})).unwrap()["shipping"].clone();
    wait_for("the problem", || {
        let problem = status()["problem"].as_str()?.to_owned();
        assert!(problem.contains("is not a folder that is there"), "{problem}");
        Some(())
    });
    assert_eq!(platform.cli(&["backup", "status"]).code, 1, "a timer sees it");
    std::fs::create_dir(&place).unwrap();
    wait_for("the shipped log", || {
        let status = status();
        (status["problem"].is_null() && !status["reached_at"].is_null()).then_some(())
    });
    assert!(!files_below(&place).is_empty());
}
