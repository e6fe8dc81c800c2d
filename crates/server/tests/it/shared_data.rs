//! Real buildings and recordings, which lie beside the repository in `../shared/data` (or where
//! `VERITWIN_SHARED` says) and are never copied into it. Without them these tests say so and end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Output, Platform};
use crate::skipped::skipped;
use crate::tenant::{Device, Tenant};

fn shared(what: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("VERITWIN_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join("data").join(what);
    if !path.exists() {
        skipped(&format!("../shared not there (no {})", path.display()));
        return None;
    }
    Some(path)
}

fn import(platform: &Platform, tenant: &Tenant, file: &Path) -> Output {
    platform.cli(&["import", file.to_str().unwrap(), "--tenant", &tenant.id, "--json"])
}

/// Imports a file by command line and by REST; both have to find the same.
fn check_model(name: &str, storeys: u64, spaces: u64, sensors: u64) {
    let Some(file) = shared(&format!("ifc/{name}")) else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let by_command = import(platform, &tenant, &file).json();
    let bytes = fs::read(&file).unwrap();
    let upload = tenant.request("POST", "/v1/twins").body("application/x-step", &bytes);
    let by_rest = upload.send().expect(201);
    let counts = &by_rest["twin"]["counts"];
    for (what, expected) in [("storeys", storeys), ("spaces", spaces), ("sensors", sensors)] {
        assert_eq!(by_command[what], expected, "{name}: {what} by command line: {by_command}");
        assert_eq!(counts[what], expected, "{name}: {what} by REST: {counts}");
    }
    let id = by_rest["twin"]["id"].as_str().unwrap();
    let model = tenant.get(&format!("/v1/twins/{id}/model")).expect(200);
    let list = |key: &str| model[key].as_array().unwrap().clone();
    assert_eq!(list("spaces").len() as u64, spaces, "{name}");
    let sensors_found =
        list("elements").iter().filter(|element| element["class"] == "IfcSensor").count();
    assert_eq!(sensors_found as u64, sensors, "{name}");
    let storey_ids: Vec<Value> = list("storeys").iter().map(|one| one["id"].clone()).collect();
    for space in list("spaces") {
        assert!(storey_ids.contains(&space["storey_id"]), "{name}: {space}");
        let corners = space["polygon"].as_array().unwrap().len();
        assert!(corners >= 3, "{name}: {space}");
    }
    let source = tenant.get(&format!("/v1/twins/{id}/source"));
    assert_eq!(source.body, bytes, "{name}: the source is given back as it came");
    let first_space = list("spaces")[0]["id"].as_str().unwrap().to_owned();
    let device = tenant.device("bound");
    let binding = json!({"space_id": first_space});
    tenant.put(&format!("/v1/twins/{id}/bindings/{}", device.id), &binding).expect(204);
    let query = format!("/v1/twins/{id}/graph?subject={}&relation=isPointOf", device.id);
    let point = tenant.get(&query).expect(200);
    let located = tenant.get(&query.replace("isPointOf", "hasLocation")).expect(200);
    let objects = format!("{point}{located}");
    assert!(objects.contains(&first_space), "{name}: the device is in the graph: {objects}");
}

#[test]
fn duplex_has_21_spaces() {
    check_model("duplex.ifc", 4, 21, 0);
}

#[test]
fn the_tower_has_100_spaces_and_500_sensors() {
    check_model("synthetic_tower_500sensors.ifc", 5, 100, 500);
}

#[test]
fn an_inventory_binds_devices_to_spaces_of_the_model() {
    let Some(file) = shared("ifc/duplex.ifc") else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let twin = import(platform, &tenant, &file).json();
    let id = twin["twin_id"].as_str().unwrap();
    let model = tenant.get(&format!("/v1/twins/{id}/model")).expect(200);
    let spaces = model["spaces"].as_array().unwrap();
    let mut rows = String::from("name,type,space,key,unit,declaration\n");
    for (index, space) in spaces.iter().enumerate() {
        let space = space["id"].as_str().unwrap();
        rows += &format!("sensor-{index},room,{space},temperature,°C,non_personal\n");
    }
    let csv = platform.scratch("duplex-devices.csv");
    fs::write(&csv, rows).unwrap();
    let arguments = ["import", csv.to_str().unwrap(), "--tenant", &tenant.id, "--json"];
    let outcome = platform.cli(&arguments).json();
    assert_eq!((&outcome["created"], &outcome["updated"]), (&json!(21), &json!(0)));
    assert_eq!(outcome["tokens"].as_array().unwrap().len(), 21);
    let again = platform.cli(&arguments).json();
    assert_eq!((&again["created"], &again["updated"]), (&json!(0), &json!(21)));
    let devices = tenant.get(&format!("/v1/devices?twin_id={id}&limit=500")).expect(200);
    let devices = devices["items"].as_array().unwrap();
    assert_eq!(devices.len(), 21);
    let is_complete = |device: &Value| {
        device["space_id"].is_string() && device["units"] == json!({"temperature": "°C"})
    };
    assert!(devices.iter().all(is_complete), "{devices:?}");
    let token = outcome["tokens"][0]["token"].as_str().unwrap();
    let post = platform.http().post("/api/v1/telemetry").bearer(token);
    post.json(&json!({"temperature": 21})).send().expect(200);
    let twin = tenant.get(&format!("/v1/twins/{id}")).expect(200);
    assert_eq!(twin["counts"]["devices"], 21, "{twin}");
}

/// What a file holds, computed here: of rows with one time stamp the last counts, as it does in
/// the platform. (The files of both buildings have no such rows; the count would show it.)
struct Expected {
    rows: usize,
    count: u64,
    min: f64,
    max: f64,
    first_ms: i64,
    last_ms: i64,
}

fn expected(file: &Path) -> Expected {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("date,value"), "{}", file.display());
    let mut values: BTreeMap<i64, f64> = BTreeMap::new();
    let mut rows = 0;
    for line in lines {
        let (seconds, value) = line.split_once(',').expect("two columns");
        values.insert(seconds.parse().unwrap(), value.parse().unwrap());
        rows += 1;
    }
    Expected {
        rows,
        count: values.len() as u64,
        min: values.values().copied().fold(f64::INFINITY, f64::min),
        max: values.values().copied().fold(f64::NEG_INFINITY, f64::max),
        first_ms: values.keys().next().unwrap() * 1000,
        last_ms: values.keys().next_back().unwrap() * 1000,
    }
}

fn rfc3339(millis: i64) -> String {
    veritwin_domain::Timestamp::from_millis(millis).unwrap().to_string()
}

fn check_replay(building: &str, series_count: usize) {
    let Some(folder) = shared(&format!("sensors/{building}")) else { return };
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let report = platform
        .cli(&[
            "replay",
            "--csv",
            folder.to_str().unwrap(),
            "--backfill",
            "--tenant",
            &tenant.id,
            "--json",
        ])
        .json();
    let made = &report["devices"][0];
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    let device = Device { id: text("device_id"), name: text("name"), token: text("token") };
    assert_eq!(device.name, building);
    let stored = tenant.get(&format!("/v1/devices/{}", device.id)).expect(200);
    assert_eq!(stored["declaration"], "non_personal", "replay declares its streams");
    let series = report["series"].as_array().unwrap();
    assert_eq!(series.len(), series_count);
    for one in series {
        let key = one["key"].as_str().unwrap();
        let expected = expected(&folder.join(format!("{key}.csv")));
        assert_eq!(one["rows"], expected.rows, "{building}/{key}: {one}");
        assert_eq!(one["acknowledged"], expected.count, "{building}/{key}: {one}");
        let asked = json!({"series": [{"device_id": device.id, "key": key}]});
        let stats = tenant.post("/v1/telemetry/stats", &asked).expect(200);
        assert_eq!(
            stats["series"][0],
            json!({
                "device_id": device.id, "key": key, "count": expected.count,
                "min": expected.min, "max": expected.max,
                "first_at": rfc3339(expected.first_ms), "last_at": rfc3339(expected.last_ms),
            }),
            "{building}/{key}"
        );
        println!("{building}/{key}: {} rows, {} .. {}", expected.count, expected.min, expected.max);
    }
}

#[test]
fn berlin_is_asked_back_as_it_was_recorded() {
    check_replay("berlin", 8);
}

#[test]
fn puerto_natales_is_asked_back_as_it_was_recorded() {
    check_replay("puerto-natales", 7);
}
