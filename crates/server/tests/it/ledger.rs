//! Export and offline verification through the command line: from a running and from a stopped
//! platform, with the key and without, and after a byte of each kind of file was changed.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use veritwin_verify::{Digest, Leaf, RecordProof};

use crate::harness::{Platform, files_below, wait_for};
use crate::tenant::Tenant;

const TAMPERED: i32 = 10;
const MISSING: i32 = 11;

/// A platform with a few sealed batches.
fn filled() -> (Platform, Tenant) {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("sealed");
    let mut size = 0;
    for value in 0..3 {
        tenant.send(&device, &json!({"t": value})).expect(200);
        size = tenant.sealed(size + 1);
    }
    (platform, tenant)
}

fn export(platform: &Platform, tenant: &Tenant, name: &str) -> PathBuf {
    let out = platform.scratch(name);
    let arguments = ["ledger", "export", out.to_str().unwrap(), "--tenant", &tenant.id, "--json"];
    let facts = platform.cli(&arguments).json();
    assert_eq!(facts["payloads_absent"], 0, "{facts}");
    out
}

/// Exit code and findings of a verification.
fn verify(platform: &Platform, log: &Path, vkey: Option<&str>) -> (i32, String) {
    let mut arguments = vec!["ledger", "verify", log.to_str().unwrap()];
    if let Some(vkey) = vkey {
        arguments.extend(["--vkey", vkey]);
    }
    let output = platform.cli(&arguments);
    (output.code, output.stdout + &output.stderr)
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// One file of each kind of an export, by its path inside.
fn kinds(log: &Path) -> Vec<String> {
    let mut kinds: Vec<(String, String)> = Vec::new();
    for file in files_below(log) {
        let name = file.strip_prefix(log).unwrap().to_str().unwrap().to_owned();
        let kind = match name.split('/').collect::<Vec<_>>().as_slice() {
            ["tile", level, ..] => format!("tile {level}"),
            [folder, _, ..] => (*folder).to_owned(),
            _ => name.clone(),
        };
        if !kinds.iter().any(|(known, _)| *known == kind) {
            kinds.push((kind, name));
        }
    }
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    for expected in ["checkpoint", "log.vkey", "payload", "tile 0", "tile entries"] {
        assert!(names.contains(&expected), "no {expected} in {names:?}");
    }
    kinds.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn exports_verify_and_any_change_is_found_and_named() {
    let (mut platform, tenant) = filled();
    let ledger = tenant.get("/v1/ledger").expect(200);
    // Where the archive listens is nothing that a tenant reads.
    let archive = platform.run()["archive"].as_str().unwrap().to_owned();
    assert!(archive.contains(':') && !ledger.to_string().contains(&archive), "{ledger}");
    let vkey = ledger["vkey"].as_str().unwrap().to_owned();
    let running = export(&platform, &tenant, "running");
    let (code, text) = verify(&platform, &running, Some(&vkey));
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("not authenticated"), "{text}");
    let (code, text) = verify(&platform, &running, None);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("not authenticated"), "{text}");
    let checkpoint = fs::read_to_string(running.join("checkpoint")).unwrap();
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    assert!(size >= ledger["tree_size"].as_u64().unwrap());

    every_change_is_found(&platform, &running, &vkey);

    let other = platform.tenant().get("/v1/ledger");
    if other.status == 200 {
        let other = other.expect(200)["vkey"].as_str().unwrap().to_owned();
        let (code, text) = verify(&platform, &running, Some(&other));
        assert_ne!(code, 0, "another log's key: {text}");
    }

    let old = platform.scratch("old.checkpoint");
    fs::write(&old, &checkpoint).unwrap();
    let device = tenant.device("later");
    tenant.send(&device, &json!({"t": 1})).expect(200);
    tenant.sealed(size + 1);
    platform.stop();
    let stopped = export(&platform, &tenant, "stopped");
    let (code, text) = verify(&platform, &stopped, Some(&vkey));
    assert_eq!(code, 0, "{text}");
    let known = [old.to_str().unwrap(), stopped.to_str().unwrap()];
    let extends =
        platform.cli(&["ledger", "consistency", known[1], "--old", known[0], "--vkey", &vkey]);
    assert_eq!(extends.code, 0, "{extends:?}");
    let audit = platform.cli(&["ledger", "audit", known[1], "--known", known[0], "--json"]).json();
    assert!(audit["gaps"].is_object(), "{audit}");
    proofs(&platform, &stopped, &vkey);
    platform.start_again();
    let after = tenant.get("/v1/ledger").expect(200);
    assert_eq!(after["vkey"], ledger["vkey"], "the same log after a restart");
}

fn every_change_is_found(platform: &Platform, log: &Path, vkey: &str) {
    for (number, name) in kinds(log).into_iter().enumerate() {
        let changed = platform.scratch(&format!("changed-{number}"));
        copy(log, &changed);
        let file = changed.join(&name);
        let mut bytes = fs::read(&file).unwrap();
        // The signature or hash at the end of a text is as good a place as any in the middle.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let (code, text) = verify(platform, &changed, None);
        assert_eq!(code, TAMPERED, "{name} changed: {text}");
        assert!(text.contains(&name), "{name} changed, and the output does not name it: {text}");
        let (code, text) = verify(platform, &changed, Some(vkey));
        if name == "log.vkey" {
            // The key that was given counts; the one that came with the log is not needed.
            assert!(matches!(code, 0 | TAMPERED), "{name}: {text}");
        } else {
            assert_eq!(code, TAMPERED, "{name} changed: {text}");
        }

        fs::remove_file(&file).unwrap();
        let (code, text) = verify(platform, &changed, None);
        assert_eq!(code, MISSING, "{name} deleted: {text}");
        assert!(text.contains(&name), "{name} deleted, and the output does not name it: {text}");
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(verify(platform, &changed, Some(vkey)).0, 0, "{name} is whole again");
    }
}

fn proofs(platform: &Platform, log: &Path, vkey: &str) {
    let log = log.to_str().unwrap();
    let proof = platform.cli(&["ledger", "proof", log, "--index", "1", "--vkey", vkey]).done();
    let file = platform.scratch("1.proof");
    fs::write(&file, &proof).unwrap();
    let path = file.to_str().unwrap();
    let checked =
        platform.cli(&["ledger", "proof", "--check", path, "--vkey", vkey, "--json"]).json();
    assert_eq!((&checked["exit"], &checked["index"]), (&json!("verified"), &json!(1)));
    let mut changed = proof.into_bytes();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&file, changed).unwrap();
    let output = platform.cli(&["ledger", "proof", "--check", path, "--vkey", vkey]);
    assert_eq!(output.code, TAMPERED, "{output:?}");
    let beyond = platform.cli(&["ledger", "proof", log, "--index", "99999", "--vkey", vkey]);
    assert_ne!(beyond.code, 0, "{beyond:?}");
}

#[test]
fn the_public_side_serves_hashes_and_hides_entries() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("public");
    tenant.send(&device, &json!({"t": 1})).expect(200);
    tenant.sealed(1);
    let ledger = tenant.get("/v1/ledger").expect(200);
    let log = ledger["log_id"].as_str().unwrap();
    let get = |path: &str| platform.http().get(path).send();
    let checkpoint = get(&format!("/ledger/{log}/checkpoint"));
    assert_eq!(checkpoint.status, 200);
    let checkpoint = checkpoint.text();
    assert!(checkpoint.starts_with(ledger["origin"].as_str().unwrap()), "{checkpoint}");
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(get(&format!("/ledger/{log}/tile/0/000.p/{size}")).status, 200);
    let entries = get(&format!("/ledger/{log}/tile/entries/000.p/{size}"));
    assert_eq!(entries.status, 404, "entry bundles need a right of their own");
    let unknown = get("/ledger/00000000000000000000000000000000/checkpoint");
    assert_eq!((unknown.status, &unknown.body), (404, &entries.body), "the common 404");

    let papers = format!("/v1/ledger/papers?device_id={}&key=t", device.id);
    let papers: Value = wait_for("the reading to be sealed", || {
        let papers = tenant.get(&papers).expect(200);
        papers["leaf"].is_object().then_some(papers)
    });
    let payload = papers["batch"]["payload_sha256"].as_str().unwrap();
    payloads_are_for_their_own(platform, &tenant, (log, payload));
    let index = papers["leaf"]["index"].as_u64().unwrap();
    let proof = tenant.get(&format!("/v1/ledger/entries/{index}/proof")).expect(200);
    assert_eq!(proof["leaf_hash"], papers["leaf"]["leaf_hash"]);
    assert_eq!(proof["vkey"], ledger["vkey"]);
    let shown = &papers["record"];
    let record = RecordProof {
        sequence: shown["sequence"].as_u64().unwrap(),
        salt: decode(&shown["salt"]).try_into().unwrap(),
        record: decode(&shown["record"]),
        path: shown["path"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| Digest::from_base64(hash.as_str().unwrap()).unwrap())
            .collect(),
    };
    let leaf = Leaf::decode(&decode(&proof["leaf"])).unwrap();
    record.verify(&leaf).expect("the record lies under the leaf's records root");
    let text: Value = serde_json::from_slice(&record.record).unwrap();
    assert_eq!(text["device"], device.id.as_str(), "{text}");
    assert_eq!(text["readings"][0][2], json!(1), "{text}");
    let altered = RecordProof { record: text.to_string().replace('1', "2").into(), ..record };
    assert!(altered.verify(&leaf).is_err(), "an altered record does not");
    tenant.get("/v1/ledger/entries/99999999/proof").problem(404);
}

/// A sealed payload is handed to those of its tenant who may take the ledger away.
fn payloads_are_for_their_own(platform: &Platform, tenant: &Tenant, (log, hash): (&str, &str)) {
    let path = format!("/ledger/{log}/payload/{hash}");
    assert_eq!(tenant.get(&path).status, 200);
    assert_eq!(platform.http().get(&path).send().status, 404, "without a credential");
    let other = platform.tenant();
    assert_eq!(other.get(&path).status, 404, "another tenant");
    let own = other.get("/v1/ledger").expect(200);
    let beside = format!("/ledger/{}/payload/{hash}", own["log_id"].as_str().unwrap());
    assert_eq!(other.get(&beside).status, 404, "another tenant's payload under one's own log");
    let (_, cookie) = tenant.member("looks-on", "viewer");
    let viewer = tenant.http().get(&path).header("cookie", &cookie).send().status;
    assert!(matches!(viewer, 403 | 404), "{viewer}");
    for wrong in ["payload/0", "payload/..%2Fcheckpoint", "tile/entries/x", "published/index"] {
        let status = tenant.get(&format!("/ledger/{log}/{wrong}")).status;
        assert_eq!(status, 404, "{wrong}");
    }
}

#[test]
fn a_reading_and_a_record_are_found_with_their_proof() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("sought");
    let at = "2026-01-01T00:00:00Z";
    let reading = json!({"ts": 1_767_225_600_000_i64, "values": {"t": 4}});
    tenant.send(&device, &reading).expect(200);
    let found = |path: String| {
        wait_for("a sealed place", || {
            let answer = tenant.get(&path);
            let place = (answer.status == 200).then(|| answer.expect(200)["items"][0].clone())?;
            (place["state"] == "sealed").then_some(place)
        })
    };
    let proven = |place: &Value| {
        let index = place["entry"]["index"].as_u64().unwrap();
        let proof = tenant.get(&format!("/v1/ledger/entries/{index}/proof")).expect(200);
        let shown = &place["record"];
        let path = shown["path"].as_array().unwrap().iter();
        let record = RecordProof {
            sequence: shown["sequence"].as_u64().unwrap(),
            salt: decode(&shown["salt"]).try_into().unwrap(),
            record: decode(&shown["record"]),
            path: path.map(|hash| Digest::from_base64(hash.as_str().unwrap()).unwrap()).collect(),
        };
        let leaf = Leaf::decode(&decode(&proof["leaf"])).unwrap();
        record.verify(&leaf).expect("the record lies under the leaf's records root");
        serde_json::from_slice::<Value>(&record.record).unwrap()
    };
    let series = format!("device_id={}&key=t", device.id);
    let place = found(format!("/v1/ledger/lookup?{series}&at={at}"));
    let record = proven(&place);
    assert_eq!((&record["device"], &record["readings"][0][2]), (&json!(device.id), &json!(4)));
    tenant.get(&format!("/v1/ledger/lookup?{series}&at=2026-01-01T00:00:01Z")).problem(404);
    tenant.get(&format!("/v1/ledger/lookup?{series}")).problem(400);

    let made = tenant.get("/v1/activity?action=device.create").expect(200)["items"][0].clone();
    let id = made["id"].as_str().unwrap();
    let place = found(format!("/v1/ledger/lookup?record={id}"));
    assert_eq!((&place["kind"], &place["unchanged"]), (&json!("activity"), &json!(true)));
    let record = proven(&place);
    assert_eq!((&record["id"], &record["body"]["action"]), (&json!(id), &json!("device.create")));
    assert!(!record.to_string().contains("sought"), "{record}");
}

#[test]
fn a_byte_changed_in_the_archive_is_named_by_export_and_verification() {
    let (platform, tenant) = filled();
    let ledger = tenant.get("/v1/ledger").expect(200);
    let vkey = ledger["vkey"].as_str().unwrap().to_owned();
    let log = ledger["origin"].as_str().unwrap().rsplit('/').next().unwrap();
    let sealed = files_below(&platform.data().join("archive/archive/logs").join(log));
    let sealed = sealed.iter().find(|path| path.to_str().unwrap().contains("/payload/")).unwrap();
    let mut bytes = fs::read(sealed).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(sealed, bytes).unwrap();
    let out = platform.scratch("damaged");
    let arguments = ["ledger", "export", out.to_str().unwrap(), "--tenant", &tenant.id];
    let exported = platform.cli(&arguments);
    let payload = sealed.file_name().unwrap().to_str().unwrap();
    assert_eq!(exported.code, TAMPERED, "{exported:?}");
    assert!(exported.stdout.contains(&format!("payload/{payload}: leaf ")), "{exported:?}");
    assert!(exported.stdout.contains("the archive's copy is damaged"), "{exported:?}");
    let (code, text) = verify(&platform, &out, Some(&vkey));
    assert_eq!(code, TAMPERED, "{text}");
    assert!(text.contains(&format!("payload/{payload}: leaf ")), "{text}");
}

fn decode(base64: &Value) -> Vec<u8> {
    STANDARD.decode(base64.as_str().unwrap()).unwrap()
}
