//! The first start of `demo`, killed at random moments: the next start completes it. The seed is
//! printed and `VERITWIN_SEED` repeats it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use veritwin_domain::SeededRng;

use crate::harness::{Mode, Options, Platform, now_ms, pause, wait_for};
use crate::kill::{below, number};

/// What a complete demo holds, in figures and names that are the same in each.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    tenants: usize,
    twins: Vec<String>,
    devices: BTreeSet<String>,
    rules: Vec<String>,
    api_keys: Vec<String>,
    people: usize,
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    let mut names: Vec<String> =
        items.iter().map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

fn contents(platform: &Platform) -> Contents {
    let demo = &platform.run()["demo"];
    let text = |key: &str| demo[key].as_str().unwrap_or_else(|| panic!("{key}: {demo}")).to_owned();
    platform.sign_in(&text("user"), &text("password")).expect(200);
    let post = platform.http().post("/api/v1/telemetry").bearer(&text("device_token"));
    post.json(&json!({"canary": 7})).send().expect(200);
    assert_eq!(text("ledger_vkey").splitn(3, '+').count(), 3, "NAME+HEX+BASE64");
    let tenant = platform.demo_tenant();
    let devices = names(&tenant.get("/v1/devices?limit=500").expect(200), "name");
    wait_for("readings of every simulated device", || {
        let latest = tenant.post("/v1/telemetry/latest", &json!({})).expect(200);
        let heard: BTreeSet<&str> = latest["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["key"] != "canary")
            .filter_map(|item| item["device_id"].as_str())
            .collect();
        (heard.len() == devices.len()).then_some(())
    });
    let twins = tenant.get("/v1/twins").expect(200);
    Contents {
        tenants: platform.control("status", json!({})).unwrap()["tenants"]
            .as_array()
            .unwrap()
            .len(),
        twins: names(&twins, "geometry"),
        devices: devices.into_iter().collect(),
        rules: names(&tenant.get("/v1/rules").expect(200), "name"),
        api_keys: names(&tenant.get("/v1/api-keys").expect(200), "name"),
        people: names(&tenant.get("/v1/users").expect(200), "email").len(),
    }
}

/// Sessions of the demo's person, with the one that asks.
fn open_sessions(platform: &Platform) -> usize {
    let demo = &platform.run()["demo"];
    let text = |key: &str| demo[key].as_str().unwrap_or_else(|| panic!("{key}: {demo}"));
    let cookie = platform.sign_in(text("user"), text("password")).cookie().expect("a session");
    let request = platform.http().get("/v1/account/sessions").header("cookie", &cookie);
    request.send().expect(200)["items"].as_array().unwrap().len()
}

#[test]
fn a_first_start_that_is_killed_anywhere_is_completed_by_the_next() {
    let rounds = number("VERITWIN_KILL_ROUNDS", 8);
    let seed = number("VERITWIN_SEED", now_ms().unsigned_abs());
    println!("seed {seed}: repeat with VERITWIN_SEED={seed} VERITWIN_KILL_ROUNDS={rounds}");
    let rng = SeededRng::new(seed);
    let whole = Platform::start(Mode::Demo, Options::default());
    let start_ms = u64::try_from(whole.start_time().as_millis()).unwrap();
    assert_eq!(open_sessions(&whole), 1, "the set-up leaves no session behind");
    let expect = contents(&whole);
    assert_eq!((expect.tenants, expect.twins.len(), expect.api_keys.len()), (1, 1, 1));
    let rules = whole.demo_tenant().get("/v1/rules").expect(200);
    let items = rules["items"].as_array().unwrap().iter();
    for rule in items.filter(|rule| rule["name"].as_str().unwrap().starts_with("Room ")) {
        assert_eq!(rule["scope"]["device_type"], "room_sensor", "of rooms only: {rule}");
    }
    drop(whole);
    for round in 0..rounds {
        let mut platform = Platform::new(Mode::Demo, Options::default());
        let mut moments = Vec::new();
        for _ in 0..=below(&rng, 3) {
            let moment = Duration::from_millis(below(&rng, start_ms + 1));
            platform.spawn();
            pause(moment);
            platform.kill();
            moments.push(moment);
        }
        platform.start_again();
        println!("round {round}: killed after {moments:?}, then up in {:?}", platform.start_time());
        assert_eq!(contents(&platform), expect, "round {round}, killed after {moments:?}");
    }
}
