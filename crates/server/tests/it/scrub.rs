//! Everything that is stored is read and compared: a flipped bit in each kind of file is found,
//! with the file named and the operators told, and nothing is found when it is whole.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, files_below, link_token, wait_for};
use crate::kill::T0;
use crate::storage::MODEL;
use crate::tenant::Tenant;

const CHECK: &str = "stored data";

/// What is said of stored data.
fn scrub(platform: &Platform) -> (i32, Vec<Value>) {
    let output = platform.cli(&["doctor", "--scrub", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let own = findings.into_iter().filter(|one| one["check"] == CHECK).collect();
    (output.code, own)
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    let length = |file: &PathBuf| std::fs::metadata(file).unwrap().len();
    files_below(folder).into_iter().max_by_key(length).unwrap()
}

/// A platform with something in each kind of file.
fn full() -> (Platform, Tenant) {
    let options =
        Options::default().environment("VERITWIN__TELEMETRY__MEMORY_BYTES_MAX", "1048576");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let model = tenant.request("POST", "/v1/twins").body("application/x-step", MODEL.as_bytes());
    model.send().expect(201);
    let device = tenant.device("meter");
    let mut number = 0;
    wait_for("segments", || {
        let readings: Vec<Value> = (number..number + 200)
            .map(|number| json!({"ts": T0 + number, "values": {"k": number, "t": "text"}}))
            .collect();
        number += 200;
        // Held back while memory is full; sent again.
        let _ = tenant.send(&device, &Value::from(readings));
        let segments = platform.data().join("objects/segments/segments");
        (segments.exists() && !files_below(&segments).is_empty()).then_some(())
    });
    tenant.sealed(1);
    (platform, tenant)
}

#[test]
fn a_flipped_bit_in_each_kind_of_file_is_found() {
    let (mut platform, tenant) = full();
    let whole = || {
        let (_, findings) = scrub(&platform);
        assert!(findings.iter().all(|one| one["level"] == "ok"), "{findings:?}");
    };
    whole();
    let data = platform.data();
    let check = |folder: &str, named: &str| {
        let file = largest(&data.join(folder));
        let middle = std::fs::metadata(&file).unwrap().len() / 2;
        flip(&file, middle);
        let (code, findings) = scrub(&platform);
        flip(&file, middle);
        let error = findings.iter().find(|one| one["level"] == "error");
        let error = error.unwrap_or_else(|| panic!("{folder}: {findings:?}"));
        assert_eq!(code, 1, "{folder}");
        let text = error["finding"].as_str().unwrap();
        assert!(text.contains(named), "{folder}: {text}");
        assert!(error["advice"].as_str().is_some_and(|advice| advice.len() > 20), "{error}");
        text.to_owned()
    };
    let text = check("objects/segments/segments", "objects/segments/segments/");
    assert!(text.contains(&tenant.id) && text.contains("byte"), "{text}");
    check("objects/segments/manifests", "objects/segments/manifests/");
    check("objects/twins", "objects/twins/");
    check("keyring", "keyring");
    let logs = data.join("archive/archive/logs");
    let payloads = files_below(&logs).into_iter().find(|file| {
        let text = file.to_string_lossy();
        text.contains("/payload/") && !text.ends_with(".tmp")
    });
    let payload = payloads.unwrap();
    let folder = payload.parent().unwrap().strip_prefix(&data).unwrap().to_owned();
    check(folder.to_str().unwrap(), "/payload/");
    whole();

    // What the records name has to be there.
    let object = largest(&data.join("objects/twins"));
    let aside = platform.scratch("aside");
    std::fs::rename(&object, &aside).unwrap();
    let (_, findings) = scrub(&platform);
    let is_missed = |one: &Value| one["finding"].to_string().contains("it is not there");
    assert!(findings.iter().any(is_missed), "{findings:?}");
    std::fs::rename(&aside, &object).unwrap();

    // The operators are told, and nobody else.
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let token = link_token(link["link"].as_str().unwrap());
    let operator = Tenant::redeem(platform.http(), token, 901);
    let alerts = operator.person("GET", "/v1/security-alerts").send().expect(200);
    let is_damage = |one: &Value| one["kind"] == "storage_damaged";
    assert!(alerts["items"].as_array().unwrap().iter().any(is_damage), "{alerts}");
    let alerts = tenant.get("/v1/security-alerts").expect(200);
    assert!(!alerts["items"].as_array().unwrap().iter().any(is_damage), "{alerts}");
    let shown = operator.person("GET", "/v1/operations").send().expect(200);
    assert_eq!(shown["last"]["findings"][0]["loss"], true, "{shown}");
    tenant.get("/v1/operations").problem(403);

    // Stopped, under the directory's lock; the log too.
    platform.stop();
    let (_, findings) = scrub(&platform);
    assert!(findings.iter().all(|one| one["level"] == "ok"), "{findings:?}");
}

#[test]
fn a_flipped_bit_in_the_log_and_in_the_records_is_found() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    for number in 0..200 {
        let reading = json!({"ts": T0 + number, "values": {"k": number}});
        tenant.send(&device, &reading).expect(200);
    }
    let check = |file: &Path, named: &str| {
        let middle = std::fs::metadata(file).unwrap().len() / 2;
        flip(file, middle);
        let (code, findings) = scrub(&platform);
        flip(file, middle);
        assert_eq!(code, 1, "{named}: {findings:?}");
        let is_named = |one: &Value| one["finding"].as_str().unwrap().contains(named);
        assert!(findings.iter().any(is_named), "{named}: {findings:?}");
    };
    let newest = |file: &PathBuf| file.extension().is_some_and(|end| end == "vtlog");
    let log = files_below(&platform.data().join("log")).into_iter().filter(newest).max().unwrap();
    check(&log, "log/");
    let records = platform.data().join("records.db");
    // On PostgreSQL the pages are the server's.
    if records.exists() {
        check(&records, "records.db");
    }
}
