//! A whole tenant from one platform to another: everything is compared, nothing secret is in the
//! folder, the same command again changes nothing, and a folder that was touched is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::harness::{Platform, files_below};
use crate::kill::T0;
use crate::tenant::{Device, Tenant};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// A tenant with one of everything that an import takes.
fn filled(tenant: &Tenant) -> Vec<Device> {
    let model = demo_ifc();
    let twin =
        tenant.request("POST", "/v1/twins?name=Hall").body("application/x-step", model.as_bytes());
    let twin = text(&twin.send().expect(201)["twin"]["id"]);
    let storeys = tenant.get(&format!("/v1/twins/{twin}/model")).expect(200);
    let space = text(&storeys["spaces"][0]["id"]);
    let devices: Vec<Device> = ["North", "South"].iter().map(|name| tenant.device(name)).collect();
    let path = format!("/v1/twins/{twin}/bindings/{}", devices[0].id);
    tenant.put(&path, &json!({"space_id": space})).expect(204);
    let path = format!("/v1/devices/{}", devices[1].id);
    let units = json!({"units": {"t": "°C"}, "is_gateway": true});
    tenant.patch(&path, &units).expect(200);
    let attributes = json!({"shared": {"limit": 5}, "server": {"owner": "hall"}});
    tenant.patch(&format!("{path}/attributes"), &attributes).expect(200);
    let workspace = json!({"name": "Ground", "twin_ids": [twin]});
    let workspace = text(&tenant.post("/v1/workspaces", &workspace).expect(201)["id"]);
    let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
    let group = json!({"name": "All", "workspace_id": workspace, "device_ids": ids});
    tenant.post("/v1/groups", &group).expect(201);
    let profile =
        json!({"name": "Bytes", "source": "#{t: payload.len()}", "device_types": ["raw"]});
    tenant.post("/v1/device-profiles", &profile).expect(201);
    let rule = json!({"device_type": "test", "key": "note", "declaration": "non_personal"});
    tenant.post("/v1/stream-rules", &rule).expect(201);
    let condition = json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": 1_000_000});
    let rule = json!({
        "name": "Hot", "severity": "low", "condition": condition,
        "scope": {"device_id": devices[1].id}, "what_helps": "Open a window",
    });
    tenant.post("/v1/rules", &rule).expect(201);
    for (index, device) in devices.iter().enumerate() {
        for row in 0..300 {
            let at = T0 + row * 1_000;
            let values =
                json!({"t": (row + index as i64) as f64 / 8.0, "note": format!("n, {row}")});
            tenant.send(device, &json!({"ts": at, "values": values})).expect(200);
        }
    }
    devices
}

/// What is to be the same, without ids, times and what counts changes.
fn compared(tenant: &Tenant) -> Value {
    fn bare(value: &mut Value) {
        const OWN: [&str; 14] = [
            "id",
            "ids",
            "created_at",
            "updated_at",
            "last_seen_at",
            "declared_at",
            "declared_by",
            "version",
            "online",
            "twin_id",
            "device_id",
            "workspace_id",
            "active_alerts",
            "clock_slow_seconds",
        ];
        match value {
            Value::Object(members) => {
                members.retain(|name, _| !OWN.contains(&name.as_str()));
                members.values_mut().for_each(bare);
            }
            Value::Array(items) => items.iter_mut().for_each(bare),
            _ => {}
        }
    }
    let devices = tenant.get("/v1/devices?limit=500").expect(200);
    let name_of = |id: &Value| -> Value {
        let all = devices["items"].as_array().unwrap();
        all.iter().find(|one| one["id"] == *id).map_or(Value::Null, |one| one["name"].clone())
    };
    let mut found = json!({});
    for list in [
        "twins",
        "devices?limit=500",
        "workspaces",
        "groups",
        "device-profiles",
        "stream-rules",
        "rules",
        "streams?state=all",
    ] {
        let mut items = tenant.get(&format!("/v1/{list}")).expect(200)["items"].take();
        for item in items.as_array_mut().unwrap() {
            // By name instead: ids are the platform's own.
            if let Some(ids) = item["device_ids"].as_array().cloned() {
                let mut names: Vec<String> = ids.iter().map(|id| name_of(id).to_string()).collect();
                names.sort();
                item["device_ids"] = json!(names);
            }
            if let Some(ids) = item["twin_ids"].as_array().map(Vec::len) {
                item["twin_ids"] = json!(ids);
            }
            if item["scope"].is_object() {
                item["scope"]["device"] = name_of(&item["scope"]["device_id"]);
            }
            item["was_placed"] = json!(item["twin_id"].is_string());
            if let Some(rule) = item.get_mut("rule_id") {
                *rule = json!(rule.is_string());
            }
            bare(item);
        }
        let mut items: Vec<Value> = items.as_array().unwrap().clone();
        items.sort_by_key(|item| item.to_string());
        found[list] = json!(items);
    }
    found
}

fn same_device(tenant: &Tenant, name: &str) -> Device {
    let devices = tenant.get("/v1/devices?limit=500").expect(200);
    let items = devices["items"].as_array().unwrap();
    let found = items.iter().find(|one| one["name"] == name).unwrap();
    Device { id: text(&found["id"]), name: name.to_owned(), token: String::new() }
}

fn attributes(tenant: &Tenant, device: &Device) -> Value {
    tenant.get(&format!("/v1/devices/{}/attributes", device.id)).expect(200)
}

/// Files of an export, each with what one list says.
const FILES: [&str; 43] = [
    "twins",
    "devices",
    "workspaces",
    "groups",
    "device-profiles",
    "stream-rules",
    "streams",
    "stream-declarations",
    "rules",
    "alerts",
    "packages",
    "provision-profiles",
    "device-authorities",
    "route-destinations",
    "route-rules",
    "users",
    "invitations",
    "roles",
    "grants",
    "api-keys",
    "networks",
    "collection-zones",
    "register-entries",
    "agreements",
    "holds",
    "retention",
    "destructions",
    "incidents",
    "security-alerts",
    "imports",
    "ledger-mailings",
    "policies",
    "risks",
    "frameworks",
    "evidence",
    "tasks",
    "certificate-register",
    "notices",
    "breaches",
    "requests",
    "activity",
    "attributes",
    "credentials",
];

#[test]
fn a_tenant_moves_to_another_platform() {
    let (from, to) = (Platform::shared(), Platform::serve());
    let (old, new) = (from.tenant(), to.tenant());
    let devices = filled(&old);
    let folder = from.scratch("moved");
    let shown = folder.to_str().unwrap();
    let arguments = ["export", shown, "--json", "--api-key", &old.api_key, "--tenant", &old.id];
    let manifest = from.cli(&arguments).json();
    assert_eq!(manifest["tenant_id"], old.id.as_str());
    let files: Vec<&str> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    for name in FILES {
        let name = format!("{name}.ndjson");
        assert!(files.contains(&name.as_str()), "{name}: {manifest}");
    }
    assert!(files.contains(&"readings.csv"), "{files:?}");
    // No secret of anybody's is in any file.
    let secrets = [&devices[0].token, &devices[1].token, &old.api_key, &old.password];
    for file in files_below(&folder) {
        let bytes = fs::read(&file).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "a secret in {}", file.display());
        }
    }
    assert_eq!(from.cli(&arguments).code, 1, "it is there already");

    let import = |more: &[&str]| {
        let common = ["import", shown, "--json", "--api-key", new.api_key.as_str()];
        to.cli(&[&common[..], more].concat())
    };
    let report = import(&["--tenant", &new.id]);
    assert_eq!(report.code, 0, "{report:?}");
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["kinds"]["device"], json!({"created": 2, "known": 0, "not_taken": 0}));
    assert_eq!(report["readings"], 1_200, "{report}");
    let (before, after) = (compared(&old), compared(&new));
    for (list, expected) in before.as_object().unwrap() {
        assert_eq!(after[list], *expected, "{list}");
    }
    for device in &devices {
        let there = same_device(&new, &device.name);
        for key in ["t", "note"] {
            assert_eq!(old.points(device, key), new.points(&there, key), "{} {key}", device.name);
        }
        assert_eq!(attributes(&old, device), attributes(&new, &there), "{}", device.name);
    }

    // What is changed there stays.
    let south = same_device(&new, "South");
    let changed = json!({"shared": {"limit": 7}});
    new.patch(&format!("/v1/devices/{}/attributes", south.id), &changed).expect(200);
    let again: Value = serde_json::from_str(&import(&[]).stdout).unwrap();
    assert_eq!(attributes(&new, &south)["shared"]["limit"], 7);
    for (kind, counts) in again["kinds"].as_object().unwrap() {
        assert_eq!(counts["created"], 0, "{kind}: {counts}");
    }
    assert_eq!(compared(&new), after, "the same command again changes nothing");
    // Another tenant's key and a wrong tenant are told apart.
    assert_eq!(import(&["--tenant", &old.id]).code, 2);
    touched(&folder, &|| import(&[]).stderr);
}

#[test]
fn who_may_not_export_a_tenant_gets_no_folder() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let key = tenant.post("/v1/api-keys", &json!({"name": "v", "role": "viewer"})).expect(201);
    let key = key["secret"].as_str().unwrap();
    let folder = platform.scratch("none");
    let shown = folder.to_str().unwrap();
    let refused = platform.cli(&["export", shown, "--api-key", key]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("tenant.export"), "{refused:?}");
    assert!(!folder.exists());
    let done = platform.cli(&["export", shown, "--api-key", &tenant.api_key]);
    assert_eq!(done.code, 0, "{done:?}");
    let records = tenant.get("/v1/activity?action=tenant.export&outcome=done").expect(200);
    assert_eq!(records["items"].as_array().unwrap().len(), 1, "{records}");
}

/// A folder that somebody touched is refused, whatever it says.
fn touched(folder: &Path, import: &dyn Fn() -> String) {
    let manifest = folder.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"devices.ndjson\"", "\"../devices.ndjson\"")).unwrap();
    let refused = import();
    assert!(refused.contains("leads out of the export"), "{refused}");
    fs::write(&manifest, text).unwrap();
    let devices = folder.join("devices.ndjson");
    let rows = fs::read_to_string(&devices).unwrap();
    fs::write(&devices, rows.replace("North", "Nörth")).unwrap();
    let refused = import();
    assert!(refused.contains("longer than it was") || refused.contains("changed"), "{refused}");
    fs::remove_file(&devices).unwrap();
    let refused = import();
    assert!(refused.contains("lacks"), "{refused}");
}
