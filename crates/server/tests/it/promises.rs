//! The promise board of a real platform: every check holds, and each turns red when its
//! feature is broken. The second half needs a build with the feature `test-controls`.

use serde_json::{Value, json};

use crate::harness::{Platform, now_ms, wait_for};

/// The promises that are kept and checked now.
const CHECKED: [&str; 58] = [
    "P01", "P02", "P03", "P04", "P05", "P06", "P07", "P08", "P09", "P10", "P11", "P12", "P13",
    "P14", "P15", "P16", "P17", "P18", "P19", "P20", "P21", "P22", "P23", "P24", "P26", "P27",
    "P29", "P30", "P31", "P32", "P33", "P34", "P35", "P37", "P38", "P40", "P41", "P42", "P43",
    "P44", "P45", "P46", "P47", "P48", "P49", "P50", "P51", "P52", "P53", "P54", "P55", "P56",
    "P57", "P58", "P59", "P60", "P61", "P62",
];

fn states(platform: &Platform) -> Vec<(String, String)> {
    let facts = platform.control("promises", json!({})).expect("promises");
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let items = facts["items"].as_array().expect("a list").iter();
    items.map(|item| (text(item, "id"), text(item, "state"))).collect()
}

fn state(platform: &Platform, id: &str) -> String {
    let states = states(platform);
    states.into_iter().find(|(known, _)| known == id).map(|(_, state)| state).expect(id)
}

/// Why each of these is not proven.
fn reasons(platform: &Platform, open: &[(String, String)]) -> Vec<(String, String)> {
    let facts = platform.control("promises", json!({})).expect("promises");
    let items = facts["items"].as_array().expect("a list").iter();
    let reason = |item: &Value| (item["id"].to_string(), item["reason"].to_string());
    let is_open = |item: &&Value| open.iter().any(|(id, _)| item["id"] == *id);
    items.filter(is_open).map(reason).collect()
}

/// The first round of all checks takes as long as it takes: patience is with each of them.
fn wait_until_proven(platform: &Platform) {
    let open = || {
        let mut open = states(platform);
        open.retain(|(id, state)| CHECKED.contains(&id.as_str()) && state != "proven");
        open
    };
    let mut left = open();
    while !left.is_empty() {
        println!("not proven yet: {:?}", reasons(platform, &left));
        left = wait_for("one more proven promise", || {
            Some(open()).filter(|open| open.len() < left.len())
        });
    }
}

#[test]
fn what_is_kept_is_proven_and_the_rest_is_not_claimed() {
    let platform = Platform::checking();
    wait_until_proven(&platform);
    let states = states(&platform);
    assert_eq!(states.len(), 62);
    for (id, state) in &states {
        let expect = if CHECKED.contains(&id.as_str()) { "proven" } else { "not_evidenced" };
        assert_eq!(state, expect, "{id}");
    }
    // What is missing for the others is printed.
    let printed = platform.cli(&["promises"]);
    let printed = printed.done();
    for id in ["P25", "P28", "P36", "P39"] {
        assert!(printed.contains(&format!("\n{id} is not evidenced: ")), "{id}: {printed}");
    }
    // Each run's digest is a leaf of the platform's log.
    wait_for("evidence in the ledger", || {
        let facts = platform.control("promises", json!({})).ok()?;
        let mut checked = facts["items"]
            .as_array()?
            .iter()
            .filter(|item| item["id"].as_str().is_some_and(|id| CHECKED.contains(&id)));
        checked.all(|item| item["evidence"]["ledger_index"].is_u64()).then_some(())
    });
}

#[test]
fn a_neighbour_that_revokes_its_keys_turns_nothing_red_and_is_not_named() {
    let platform = Platform::serve();
    let (tenant, neighbour) = (platform.tenant(), platform.tenant());
    let device = tenant.device("pump");
    tenant.send(&device, &json!({"ts": now_ms(), "values": {"n": 1}})).expect(200);
    tenant.sealed(1);
    let other = neighbour.device("pump");
    neighbour.send(&other, &json!({"ts": now_ms(), "values": {"n": 1}})).expect(200);
    neighbour.sealed(1);
    // One that is asked for may have begun before: the second one has not.
    let check = || {
        let run = || {
            wait_for("a check that could run", || {
                let row = tenant.post("/v1/promises/P26/check", &json!({})).expect(200);
                (row["state"] != "not_evidenced").then_some(row)
            })
        };
        run();
        run()
    };
    let fact = |row: &Value, name: &str| {
        let details = row["evidence"]["details"].as_array().unwrap();
        let fact = details.iter().find(|fact| fact[0] == name).unwrap();
        fact[1].as_str().unwrap().parse::<u64>().unwrap()
    };
    let looked_at =
        |row: &Value| fact(row, "logs") + fact(row, "logs left out, whose keys are withheld");
    let before = looked_at(&check());
    assert!(before >= 2, "the tenant's and the neighbour's: {before}");
    let confirm = json!({"confirm": "revoke"});
    neighbour.person("POST", "/v1/keys/revoke").json(&confirm).send().expect(204);
    let row = check();
    assert_eq!(row["state"], "proven", "{row}");
    // Its log is read or counted, and none drops out unseen.
    assert!(looked_at(&row) >= before, "{before} before: {row}");
    assert!(!row.to_string().contains(&neighbour.id), "{row}");
}

#[cfg(feature = "test-controls")]
#[test]
fn each_check_has_a_sabotage_that_turns_it_red() {
    let platform = Platform::checking();
    wait_until_proven(&platform);
    for id in CHECKED {
        let number: u8 = id[1..].parse().expect("a number");
        let switch = |on: bool| {
            platform.control("sabotage", json!({"promise": number, "on": on})).expect("sabotage");
            platform.control("promise_check", json!({"id": id})).expect("check")
        };
        let broken = switch(true);
        assert_eq!(broken["state"], "failing", "{broken}");
        assert_eq!(state(&platform, id), "failing");
        assert_eq!(platform.cli(&["promises"]).code, 1);
        let mended = switch(false);
        assert_eq!(mended["state"], "proven", "{mended}");
    }
}
