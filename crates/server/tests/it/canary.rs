//! Canaries in everything a customer can write: after the platform has stopped, no file below its
//! data directory holds one of them in any common encoding, and neither do its logs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;
use veritwin_simulator::building::{DEMO_BUILDING_NAME, demo_ifc};

use crate::harness::{Mode, Options, Platform, link_token, now_ms, wait_for};
use crate::mqtt::Version;
use crate::tenant::Tenant;

/// As many first bytes of a canary as the search looks at before it compares all of them.
const START_BYTES: usize = 8;
const TELEMETRY: &str = "v1/devices/me/telemetry";

/// A canary that is in no dictionary, for one place.
fn canary(place: &str) -> String {
    format!("Kanarienvogel-{place}-q7x9")
}

/// The bytes to look for: raw, upper and lower case, UTF-16, hexadecimal, and base64 at each of
/// the three alignments, without the characters that depend on what is around.
fn encodings(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![
        ("raw".to_owned(), text.as_bytes().to_vec()),
        ("lower case".to_owned(), text.to_lowercase().into_bytes()),
        ("upper case".to_owned(), text.to_uppercase().into_bytes()),
        ("UTF-16LE".to_owned(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16BE".to_owned(), text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("hexadecimal".to_owned(), hex::encode(text).into_bytes()),
        ("HEXADECIMAL".to_owned(), hex::encode_upper(text).into_bytes()),
    ];
    for shift in 0..3 {
        let shifted = [vec![0u8; shift], text.as_bytes().to_vec()].concat();
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let inner = encoded[4..encoded.len() - 4].to_owned();
            forms.push((format!("base64 at {shift}"), inner.into_bytes()));
        }
    }
    forms
}

/// Every form of every canary, by its first bytes, so that a file is gone through once.
struct Search(HashMap<[u8; START_BYTES], Vec<(String, Vec<u8>)>>);

impl Search {
    fn new(canaries: &[String]) -> Self {
        let mut by_start: HashMap<_, Vec<_>> = HashMap::new();
        for canary in canaries {
            for (form, needle) in encodings(canary) {
                let start = *needle.first_chunk().expect("long enough");
                by_start.entry(start).or_default().push((format!("{canary} ({form})"), needle));
            }
        }
        Self(by_start)
    }

    /// Which canaries are in `bytes`, and in which form.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(START_BYTES - 1) {
            let start: &[u8; START_BYTES] = bytes[at..].first_chunk().expect("in range");
            let Some(needles) = self.0.get(start) else { continue };
            let here = needles.iter().filter(|(_, needle)| bytes[at..].starts_with(needle));
            found.extend(here.map(|(name, _)| name.as_str()));
        }
        found
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let canary = canary("self");
    let search = Search::new(std::slice::from_ref(&canary));
    for (form, bytes) in encodings(&canary) {
        let file = [b"before".to_vec(), bytes, b"after".to_vec()].concat();
        assert!(!search.found_in(&file).is_empty(), "{form}");
    }
    let base64 = STANDARD_NO_PAD.encode(format!("xy{canary}z"));
    assert!(!search.found_in(base64.as_bytes()).is_empty());
    assert!(search.found_in(b"nothing").is_empty() && search.found_in(b"no").is_empty());
}

/// The canaries that were let out.
#[derive(Default)]
struct Canaries(Vec<String>);

impl Canaries {
    fn of(&mut self, place: &str) -> String {
        self.0.push(canary(place));
        canary(place)
    }
}

/// What devices write: good and refused messages, attributes of each scope. Gives the token.
fn write_as_device(platform: &Platform, tenant: &Tenant, canaries: &mut Canaries) -> String {
    let mut of = |place| canaries.of(place);
    let name = of("device");
    let device = json!({"name": name, "type": of("type"), "units": {"t": of("unit")}});
    let made = tenant.post("/v1/devices", &device).expect(201);
    let id = made["device"]["id"].as_str().unwrap();
    let token = made["token"].as_str().unwrap();
    let mut client = platform.mqtt(Version::V311, token);
    let reading = json!({"note": of("text"), "more": {"inner": of("json")}, of("key"): 1});
    assert_eq!(client.publish(TELEMETRY, reading.to_string().as_bytes()).0, 0);
    client.publish(TELEMETRY, format!("{{\"{}\":NaN}}", of("refused")).as_bytes());
    client.publish(&format!("v1/{}", of("topic")), b"{}");
    client.publish("v1/devices/me/attributes", json!({"a": of("client")}).to_string().as_bytes());
    let attributes = json!({"shared": {"s": of("shared")}, "server": {"v": of("server")}});
    tenant.patch(&format!("/v1/devices/{id}/attributes"), &attributes).expect(200);
    // Everything can be asked back while it runs: the canaries are really inside.
    let listed = tenant.get(&format!("/v1/devices/{id}")).expect(200);
    assert_eq!(listed["name"], name);

    // Enough readings that the memory table is written out.
    let began = now_ms() - 40_000;
    let row = |at: i64| format!("{{\"ts\":{},\"values\":{{\"filler\":{at}}}}}", began + at);
    let rows: Vec<String> = (0..40_000).map(row).collect();
    let write = platform.http().post("/v1/telemetry/write").bearer(token);
    write.body("application/x-ndjson", rows.join("\n").as_bytes()).send().expect(200);
    token.to_owned()
}

/// What people write: accounts, keys, a building, a rule that fires. Gives a link's token.
fn write_as_person(platform: &Platform, tenant: &Tenant, canaries: &mut Canaries) -> String {
    let mut of = |place| canaries.of(place);
    let address = format!("{}@veritwin.example", of("mail"));
    let invited = json!({"email": address, "name": of("person"), "role": "operator"});
    let link = tenant.post("/v1/users", &invited).expect(201);
    let token = link_token(link["link"].as_str().unwrap()).to_owned();
    let welcome = json!({"token": token, "password": "correct horse battery", "attested": true});
    platform.http().post("/v1/welcome").json(&welcome).send().expect(201);
    platform.sign_in(&address, "correct horse battery").expect(200);
    platform.sign_in(&format!("{}@x.example", of("stranger")), "no such person").problem(401);
    let _ = tenant.get(&format!("/v1/devices?search={}", of("search")));
    let _ = tenant.get(&format!("/v1/{}", of("path")));
    tenant.post("/v1/api-keys", &json!({"name": of("api-key"), "role": "operator"})).expect(201);

    let label = of("label");
    let model = demo_ifc().replace(DEMO_BUILDING_NAME, &label).replacen("Lobby", &of("space"), 1);
    assert!(model.contains(&label) && model.contains(&canary("space")), "the model is labelled");
    let upload = tenant.request("POST", &format!("/v1/twins?name={label}"));
    upload.body("application/x-step", model.as_bytes()).send().expect(201);
    let condition = json!({"kind": "threshold", "key": "filler", "op": "gt", "threshold": 0});
    let recipient = format!("{}@veritwin.example", of("recipient"));
    let rule = json!({"name": of("rule"), "severity": "low", "condition": condition,
        "what_helps": of("help"), "notify_emails": [recipient]});
    tenant.post("/v1/rules", &rule).expect(201);
    token
}

/// What is there while everything runs: files come and go.
fn files_now(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

/// Goes through every file below a folder, names too; answers the names.
fn search_below(folder: &Path, what: &str, search: &Search) -> Vec<String> {
    let mut names = Vec::new();
    let mut bytes_searched = 0;
    for file in files_now(folder) {
        // Gone meanwhile.
        let Ok(bytes) = fs::read(&file) else { continue };
        bytes_searched += bytes.len();
        let found = search.found_in(&bytes);
        assert!(found.is_empty(), "{what}, {}: {found:?}", file.display());
        let name = file.to_string_lossy().into_owned();
        let found = search.found_in(name.as_bytes());
        assert!(found.is_empty(), "{what}, {name}: {found:?}");
        names.push(name);
    }
    println!("{what}: {} files with {bytes_searched} bytes searched", names.len());
    names
}

#[test]
fn nothing_readable_stays_on_disk_or_in_the_logs() {
    let temporary = tempfile::tempdir().unwrap();
    // A small memory table, so that segments are written as well.
    let options = Options::default()
        .environment("VERITWIN__TELEMETRY__MEMORY_BYTES_MAX", "1048576")
        .environment("TMPDIR", temporary.path().to_str().unwrap())
        .environment("VERITWIN_LOG", "debug,sqlx=warn,hyper=info,h2=info,rustls=info");
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let mut canaries = Canaries::default();
    let link_token = write_as_person(&platform, &tenant, &mut canaries);
    let device_token = write_as_device(&platform, &tenant, &mut canaries);
    wait_for("segments on disk", || {
        let files = files_now(&platform.data());
        files.iter().any(|file| file.to_string_lossy().contains("segments/segments/")).then_some(())
    });
    wait_for("an alert", || {
        tenant.get("/v1/alerts").expect(200)["items"].get(0).is_some().then_some(())
    });
    tenant.sealed(1);
    let secrets = [tenant.api_key.clone(), tenant.password.clone(), link_token, device_token];
    let search = Search::new(&[canaries.0, secrets.to_vec()].concat());

    // While it runs: the log, the database's own journal, whatever is being written.
    let files = search_below(&platform.data(), "running", &search);
    let is_there = |part: &str| files.iter().any(|name| name.contains(part));
    assert!(is_there(".vtlog") && is_there("segments/manifests/"), "{files:?}");
    assert!(platform.database().is_some() || is_there("-wal"), "{files:?}");
    let (out, keyring) = (platform.scratch("backup"), platform.scratch("keyring-backup"));
    platform.cli(&["backup", out.to_str().unwrap()]).done();
    platform.cli(&["backup", "--keyring", keyring.to_str().unwrap()]).done();
    assert!(search_below(&out, "backup", &search).len() > 5);
    assert!(!search_below(&keyring, "backup of the keyring", &search).is_empty());
    search_below(temporary.path(), "temporary files, running", &search);

    // Killed: nobody has tidied up.
    platform.kill();
    assert!(search_below(&platform.data(), "killed", &search).len() > 10);
    search_below(temporary.path(), "temporary files, killed", &search);
    platform.start_again();
    platform.stop();
    assert!(search_below(&platform.data(), "stopped", &search).len() > 10);
    search_below(temporary.path(), "temporary files, stopped", &search);
    let logs = platform.stderr();
    let found = search.found_in(logs.as_bytes());
    assert!(found.is_empty(), "logs: {found:?}");
}
