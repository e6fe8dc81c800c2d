//! The shredding drill: one key, one device, one person, one month and one tenant are destroyed.
//! Everything else still reads, the certificates are right, and a backup of before that is restored
//! afterwards holds none of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, files_below, wait_for};
use crate::tenant::{Device, Tenant};

/// 2025-01-15, in the month that is destroyed.
const JANUARY_MS: i64 = 1_736_899_200_000;
/// 2025-03-01, in one that stays.
const MARCH_MS: i64 = 1_740_787_200_000;
const PERSON: &str = "Ada of the drill";

struct Drill {
    tenant: Tenant,
    /// Destroyed whole.
    gone: Device,
    /// Loses one key and one month.
    kept: Device,
    /// Of a person.
    personal: Device,
}

fn at(ms: i64, values: &Value) -> Value {
    json!({"ts": ms, "values": values})
}

impl Drill {
    fn new(platform: &Platform) -> Self {
        let tenant = platform.tenant();
        let [gone, kept, personal] = ["gone", "kept", "personal"].map(|name| tenant.device(name));
        let subject = json!({"kind": "device", "person": PERSON});
        let targets = json!([{"device_id": personal.id}]);
        let body = json!({"targets": targets, "declaration": "personal", "subject": subject});
        let declared = tenant.person("POST", "/v1/stream-declarations").json(&body).send();
        assert!(declared.status < 300, "{}", declared.text());
        for device in [&gone, &kept, &personal] {
            for ms in [JANUARY_MS, MARCH_MS, MARCH_MS + 1000] {
                tenant.send(device, &at(ms, &json!({"t": 1.5, "k": 7}))).expect(200);
            }
        }
        Self { tenant, gone, kept, personal }
    }

    fn count(&self, device: &Device, key: &str) -> u64 {
        let body = json!({"series": [{"device_id": device.id, "key": key}]});
        let found = self.tenant.person("POST", "/v1/telemetry/stats").json(&body).send();
        found.expect(200)["series"][0]["count"].as_u64().unwrap()
    }

    /// Of `gone`, `kept` and `personal`: readings of `t` and of `k`.
    fn counts(&self) -> [(u64, u64); 3] {
        [&self.gone, &self.kept, &self.personal]
            .map(|device| (self.count(device, "t"), self.count(device, "k")))
    }

    fn preview(&self, scope: &Value) -> Value {
        let path = "/v1/destructions/preview";
        self.tenant.person("POST", path).json(&json!({"scope": scope})).send().expect(200)
    }

    /// Looks, destroys and waits for the end; the id.
    fn destroy(&self, scope: &Value) -> String {
        let confirm = self.preview(scope)["confirm"].clone();
        let asked = json!({"scope": scope, "reason": "drill", "confirm": confirm});
        let made = self.tenant.person("POST", "/v1/destructions").json(&asked).send();
        let id = made.expect(202)["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/destructions/{id}");
        wait_for("the end of a destruction", || {
            let one = self.tenant.person("GET", &path).send().expect(200);
            (one["state"] == "done").then_some(())
        });
        id
    }
}

pub(crate) fn elsewhere(original: &Platform) -> Platform {
    let platform = Platform::new(Mode::Serve, Options::default());
    std::fs::create_dir_all(platform.key_dir()).unwrap();
    for key in files_below(&original.key_dir()) {
        std::fs::copy(&key, platform.key_dir().join(key.file_name().unwrap())).unwrap();
    }
    platform
}

fn check_certificate(platform: &Platform, drill: &Drill, id: &str) {
    let path = format!("/v1/destructions/{id}/certificate");
    let text = drill.tenant.person("GET", &path).send().text();
    let file = platform.scratch("certificate.json");
    std::fs::write(&file, &text).unwrap();
    let verify = |key: Option<&str>| {
        let mut arguments = vec!["purge", "--verify", file.to_str().unwrap(), "--json"];
        arguments.extend(key.into_iter().flat_map(|key| ["--key", key]));
        platform.cli(&arguments)
    };
    let facts = verify(None).json();
    let statement = &facts["statement"];
    assert_eq!((&statement["id"], &statement["tenant"]), (&json!(id), &json!(drill.tenant.id)));
    assert!(!statement["keys"].as_array().unwrap().is_empty(), "{statement}");
    assert!(statement["proves"].as_str().unwrap().contains("not that no copy"), "{statement}");
    let key = facts["public_key"].as_str().unwrap().to_owned();
    assert_eq!(verify(Some(&key)).code, 0);
    assert_eq!(verify(Some(&"0".repeat(64))).code, 12);
    // Its digest is a leaf of the tenant's own ledger.
    let one = drill.tenant.person("GET", &format!("/v1/destructions/{id}")).send().expect(200);
    let leaf = one["ledger_index"].as_u64().expect("a leaf");
    drill.tenant.get(&format!("/v1/ledger/entries/{leaf}/proof")).expect(200);
    std::fs::write(&file, text.replacen("drill", "drilL", 1)).unwrap();
    assert_eq!(verify(None).code, 10);
}

pub(crate) fn back_up(platform: &Platform) -> (std::path::PathBuf, std::path::PathBuf) {
    let (out, keyrings) = (platform.scratch("backup"), platform.scratch("keyrings"));
    platform.cli(&["backup", out.to_str().unwrap(), "--archive"]).done();
    let copied = platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    (out, copied.json()["out"].as_str().unwrap().into())
}

pub(crate) fn restore(platform: &mut Platform, out: &Path, keyring: &Path) {
    let (out, keyring) = (out.to_str().unwrap(), keyring.to_str().unwrap());
    platform.cli(&["restore", out, "--keyring", keyring]).done();
    platform.start_again();
}

#[test]
fn what_is_destroyed_is_gone_also_from_a_backup_of_before() {
    let mut platform = Platform::serve();
    let drill = Drill::new(&platform);
    let other = platform.tenant();
    let others_device = other.device("theirs");
    other.send(&others_device, &json!({"t": 1})).expect(200);
    assert_eq!(drill.counts(), [(3, 3); 3]);
    let (out, keyring) = back_up(&platform);

    let device = json!({"kind": "device", "device_id": drill.gone.id});
    let seen = drill.preview(&device);
    assert_eq!((&seen["counts"]["devices"], &seen["counts"]["readings"]), (&json!(1), &json!(6)));
    let ids = [
        drill.destroy(&device),
        drill.destroy(&json!({"kind": "key", "key": "k", "device_id": drill.kept.id})),
        drill.destroy(&json!({"kind": "subject", "person": PERSON})),
        drill.destroy(&json!({"kind": "month", "month": "2025-01"})),
    ];
    let left = [(0, 0), (2, 0), (0, 0)];
    assert_eq!(drill.counts(), left);
    assert_eq!(drill.tenant.latest(&drill.kept, "t"), json!(1.5));
    ids.iter().for_each(|id| check_certificate(&platform, &drill, id));

    // A whole tenant, by the operator.
    let arguments =
        ["purge", "--scope", "tenant", "--tenant", &other.id, "--reason", "ended", "--yes"];
    platform.cli(&arguments).done();
    let listed = || platform.cli(&["purge", "--list", "--tenant", &other.id, "--json"]).json();
    let destroyed = wait_for("the end of a tenant's keys", || {
        let items = listed()["items"].clone();
        (items[0]["state"] == "done").then(|| items[0].clone())
    });
    let id = destroyed["id"].as_str().unwrap();
    let printed = platform.cli(&["purge", "--certificate", id, "--tenant", &other.id]);
    assert!(printed.done().contains("tenant_keys_destroyed"));
    assert!(other.get("/v1/devices").status >= 400, "nothing of it can be opened");
    assert_eq!(drill.counts(), left);

    platform.kill();
    platform.start_again();
    let after = Drill { tenant: drill.tenant.at(platform.http()), ..drill };
    assert_eq!(after.counts(), left, "a crash brings nothing back");
    platform.kill();

    let mut restored = elsewhere(&platform);
    restore(&mut restored, &out, &keyring);
    // A restored platform knows no session.
    let session = restored.sign_in(&after.tenant.email, &after.tenant.password);
    session.expect(200);
    let mut tenant = after.tenant.at(restored.http());
    tenant.cookie = session.cookie().unwrap();
    let back = Drill { tenant, ..after };
    assert_eq!(back.counts(), left, "what the shred journal says was carried out again");
    assert_eq!(back.tenant.latest(&back.kept, "t"), json!(1.5));
    assert!(other.at(restored.http()).get("/v1/devices").status >= 400);
    let certificate = format!("/v1/destructions/{}/certificate", ids[0]);
    assert_eq!(back.tenant.person("GET", &certificate).send().status, 200, "it came with it");
    let stderr = restored.stderr();
    assert!(!stderr.contains(PERSON), "no log names anybody");
}

#[test]
fn a_destruction_needs_what_was_seen_and_no_hold_in_the_way() {
    let platform = Platform::serve();
    let drill = Drill::new(&platform);
    let month = json!({"kind": "month", "month": "2025-01"});
    let ask = |scope: &Value, confirm: &Value| {
        let asked = json!({"scope": scope, "reason": "drill", "confirm": confirm});
        drill.tenant.person("POST", "/v1/destructions").json(&asked).send()
    };
    let confirm = drill.preview(&month)["confirm"].clone();
    ask(&json!({"kind": "month", "month": "2025-03"}), &confirm).problem(400);
    ask(&month, &json!("1-00")).problem(400);
    ask(&json!({"kind": "tenant"}), &confirm).problem(403);
    let unknown = json!({"kind": "device", "device_id": "00000000-0000-7000-8000-000000000000"});
    let path = "/v1/destructions/preview";
    drill.tenant.person("POST", path).json(&json!({"scope": unknown})).send().problem(404);
    let (_, viewer) = drill.tenant.member("viewer", "viewer");
    let asked = json!({"scope": month, "reason": "drill", "confirm": confirm});
    let http = drill.tenant.http();
    http.post("/v1/destructions").header("cookie", &viewer).json(&asked).send().problem(403);
    assert_eq!(drill.counts(), [(3, 3); 3]);
}
