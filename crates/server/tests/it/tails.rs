//! One wrong byte at the end of a file, and other things that an operator finds at a start: named
//! by `serve` and `doctor`, and nothing is destroyed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Output, Platform, files_below, now_ms, wait_for};
use crate::tenant::{Device, Tenant};

fn send(tenant: &Tenant, device: &Device, count: i64) {
    let at = now_ms();
    for number in 0..count {
        let reading = json!({"ts": at + number, "values": {"n": number}});
        tenant.send(device, &reading).expect(200);
    }
}

/// The newest file with this ending in a folder.
fn newest(folder: &Path, ending: &str) -> PathBuf {
    let mut files = files_below(folder);
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files.pop().unwrap_or_else(|| panic!("no {ending} in {}", folder.display()))
}

/// Changes the last byte; answers what the file holds now.
fn spoil(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, &bytes).unwrap();
    bytes
}

fn findings(platform: &Platform, level: &str) -> Vec<String> {
    let output = platform.cli(&["doctor", "--json"]);
    let all: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let all = all.as_array().unwrap().iter().filter(|one| one["level"] == level);
    all.map(|one| format!("{}: {}", one["finding"], one["advice"])).collect()
}

fn refused(platform: &Platform, says: &str) -> Output {
    let output = platform.cli(&["serve"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(says), "{says}: {}", output.stderr);
    assert!(!output.stderr.contains("internal error"), "{}", output.stderr);
    output
}

#[test]
fn a_wrong_last_byte_is_named_and_the_file_left_as_it_is() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    send(&tenant, &device, 3);
    platform.stop();
    assert_eq!(findings(&platform, "error"), [""; 0]);
    let data = platform.data();
    let check = |path: PathBuf, is_needed: bool| {
        let name = path.strip_prefix(&data).unwrap().display().to_string();
        let right = fs::read(&path).unwrap();
        let wrong = spoil(&path);
        let found = findings(&platform, "error");
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].contains(&name) && found[0].contains("at byte"), "{name}: {found:?}");
        if is_needed {
            refused(&platform, &name);
        }
        assert_eq!(fs::read(&path).unwrap(), wrong, "{name} is left as it was");
        fs::write(&path, right).unwrap();
    };
    check(data.join("keyring/keyring.journal"), true);
    check(newest(&data.join("log"), ".vtlog"), true);
    check(data.join("archive/keyring/keyring.journal"), false);
    check(newest(&data.join("archive/archive/journal"), ".journal"), false);
    assert_eq!(findings(&platform, "error"), [""; 0]);
    platform.start_again();
    assert_eq!(tenant.latest(&device, "n"), 2);
}

#[test]
fn what_a_start_cuts_off_the_log_is_kept_and_told() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    send(&tenant, &device, 20);
    platform.kill();
    let path = newest(&platform.data().join("log"), ".vtlog");
    let wrong = spoil(&path);
    platform.start_again();
    let kept = PathBuf::from(format!("{}.cut-1", path.display()));
    let cut = fs::read(&kept).unwrap();
    assert!(wrong.ends_with(&cut) && !cut.is_empty());
    let told = platform.stderr();
    let line = told.lines().find(|line| line.contains("ERROR")).unwrap_or_else(|| panic!("{told}"));
    for part in ["acknowledged readings", &kept.display().to_string(), "offset"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let name = kept.file_name().unwrap().to_string_lossy().into_owned();
    let is_told = || findings(&platform, "warning").iter().any(|finding| finding.contains(&name));
    assert!(is_told());
    fs::rename(&kept, platform.scratch("looked-at")).unwrap();
    assert!(!is_told());
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for path in files_below(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, &target).unwrap();
    }
}

/// Whether the check could not run, such as where a busy machine's archive comes late: the verdict
/// is then an earlier one with what came in between, or none.
fn stumbled(promise: &Value) -> bool {
    let reason = promise["reason"].as_str().unwrap_or_default();
    reason.contains("could not run") || reason.contains("; since then: ")
}

/// What another tenant reads of a ledger that is held up: that there is one, and not whose.
fn nobody_is_told_whose(neighbour: &Tenant, theirs: [&str; 3]) {
    let listed = neighbour.get("/v1/promises").expect(200);
    let row = listed["items"].as_array().unwrap().iter().find(|row| row["id"] == "P26").unwrap();
    assert_eq!(row["state"], "failing", "{row}");
    let details = row["evidence"]["details"].to_string();
    assert!(details.contains("a ledger of this installation"), "{row}");
    assert!(details.contains("what comes in is not sealed for now"), "{row}");
    let told = listed.to_string();
    for one in theirs {
        assert!(!one.is_empty() && !told.contains(one), "{one}: {told}");
    }
}

#[test]
fn an_archive_that_was_set_back_gets_nothing_to_sign() {
    // Checks append leaves of their own: one that ran beside would do so at the older copy.
    let mut platform = Platform::serve();
    let (tenant, neighbour) = (platform.tenant(), platform.tenant());
    let device = tenant.device("pump");
    send(&tenant, &device, 1);
    tenant.sealed(1);
    // Its log is made in time for both copies.
    neighbour.sealed(0);
    platform.stop();
    let (archive, old, new) =
        (platform.data().join("archive"), platform.scratch("old"), platform.scratch("new"));
    copy(&archive, &old);
    platform.start_again();
    let sealed = tenant.sealed(1);
    let log = tenant.get("/v1/ledger").expect(200)["log_id"].as_str().unwrap().to_owned();
    send(&tenant, &device, 1);
    tenant.sealed(sealed + 1);
    // The platform's own log goes on as well: what a check finds later is not sealed in the past.
    platform.control("promise_check", json!({"id": "P32"})).unwrap();
    wait_for("evidence in the ledger", || {
        let all = platform.control("promises", json!({})).ok()?;
        let one = all["items"].as_array()?.iter().find(|one| one["id"] == "P32")?;
        one["evidence"]["ledger_index"].is_u64().then_some(())
    });
    platform.stop();
    copy(&archive, &new);
    copy(&old, &archive);
    platform.start_again();
    send(&tenant, &device, 1);
    let held = "went back behind what it acknowledged";
    let is_held = || findings(&platform, "warning").iter().any(|found| found.contains(held));
    wait_for("the hold", || is_held().then_some(()));
    let check = || platform.control("promise_check", json!({"id": "P26"})).unwrap();
    let failing = check();
    assert_eq!(failing["state"], "failing", "nothing of the tenant gets a fingerprint");
    nobody_is_told_whose(&neighbour, [&log, &tenant.id, held]);
    // The operator reads which it is, and why. The platform's own may be held up as well.
    let told = platform.stderr();
    let has = |words: &[&str]| told.lines().any(|line| words.iter().all(|it| line.contains(it)));
    assert!(has(&["WARN", "a tenant is held up", &log, held]), "{told}");
    assert!(has(&["WARN", "a ledger keeps no promise", " log="]), "{told}");
    platform.stop();
    copy(&new, &archive);
    platform.start_again();
    let check = || platform.control("promise_check", json!({"id": "P26"})).unwrap();
    let found = wait_for("a check that could run", || Some(check()).filter(|one| !stumbled(one)));
    assert_eq!(found["state"], "proven", "{found}");
    let free = "no tenant is held up";
    assert!(findings(&platform, "ok").iter().any(|found| found.contains(free)));
}

#[test]
fn a_mistake_of_the_operator_is_named_as_one() {
    let mut platform = Platform::serve();
    platform.stop();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = platform
        .command()
        .arg("serve")
        .env("VERITWIN_DATA", platform.data())
        .env("VERITWIN__HTTP__PORT", &port)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot listen") && told.contains(&port), "{told}");
    assert!(!told.contains("background job"), "nothing began that could end: {told}");

    let key = platform.key_dir().join("root.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    refused(&platform, "mode is 0644");
    mode(0o600);
    let aside = platform.scratch("root.key");
    fs::rename(&key, &aside).unwrap();
    refused(&platform, "root.key: No such file");
    fs::rename(&aside, &key).unwrap();
    platform.start_again();
}
