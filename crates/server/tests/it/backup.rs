//! Backup of a platform under load, a kill, and a restore elsewhere: every reading acknowledged
//! before the cut is there, and the ledger goes on where its archive stands, without a record
//! twice and without one missed. What was altered is refused and nothing is written.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, files_below, wait_for};
use crate::kill::{Acknowledged, ROUND_MS, T0, points_between, value_at, write_http, write_mqtt};
use crate::mqtt::{Mqtt, Version};
use crate::tenant::{Device, Tenant};

const WRITERS: usize = 4;
/// Readings acknowledged before the backup begins, and after it ended.
const SOME: usize = 300;

/// What is left of a platform that was backed up while devices wrote, and killed.
struct Original {
    platform: Platform,
    tenant: Tenant,
    devices: Vec<Device>,
    /// Acknowledged before the backup began.
    before: Vec<Acknowledged>,
    out: PathBuf,
    keyring: PathBuf,
}

fn take(heard: &Receiver<Acknowledged>, count: usize) -> Vec<Acknowledged> {
    (0..count).map(|_| heard.recv().expect("an acknowledgement")).collect()
}

/// Records in the tenant's ledger that devices sent.
fn records(tenant: &Tenant) -> u64 {
    let mut count = 0;
    let mut cursor = String::new();
    loop {
        let page = tenant.get(&format!("/v1/ledger/entries?limit=500{cursor}")).expect(200);
        let items = page["items"].as_array().unwrap();
        let batches = items.iter().filter(|entry| entry["kind"] == "batch");
        count += batches.map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

/// Waits until the whole log is sealed, and answers the number of the tenant's records.
pub(crate) fn settled(platform: &Platform, tenant: &Tenant) -> u64 {
    let key = platform.control("metrics_key", json!({})).unwrap();
    let secret = key["secret"].as_str().unwrap();
    wait_for("the whole log to be sealed", || {
        let metrics = platform.http().get("/metrics").bearer(secret).send().text();
        let gauge = |name: &str| {
            let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
            line.split(' ').next_back()?.parse::<f64>().ok()
        };
        let sealed = gauge("veritwin_ledger_sealed_position")?;
        (sealed >= gauge("veritwin_log_tail_position")?).then_some(())
    });
    records(tenant)
}

/// Backs up while devices write; more is written after it.
fn under_load(options: Options, archive: bool) -> Original {
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let devices: Vec<Device> = (0..WRITERS).map(|i| tenant.device(&format!("w{i}"))).collect();
    let (out, keyrings) = (platform.scratch("backup"), platform.scratch("keyrings"));
    let (told, heard) = channel();
    let mut original = Original {
        platform,
        tenant,
        devices,
        before: Vec::new(),
        out: out.clone(),
        keyring: PathBuf::new(),
    };
    std::thread::scope(|scope| {
        for (index, device) in original.devices.iter().enumerate() {
            let (told, http) = (told.clone(), original.platform.http().clone());
            let token = device.token.clone();
            scope.spawn(move || {
                if index % 2 == 0 {
                    let client = Mqtt::connect(&http, Version::V5, &token).unwrap();
                    write_mqtt(client, index, T0, &told);
                } else {
                    write_http(&http, &token, index, T0, &told);
                }
            });
        }
        drop(told);
        // Writers stop when the process does, also when something here fails.
        let done = catch_unwind(AssertUnwindSafe(|| {
            back_up(&mut original, &heard, archive, (&out, &keyrings));
        }));
        original.platform.kill();
        heard.iter().for_each(drop);
        done.unwrap_or_else(|panic| resume_unwind(panic));
    });
    original
}

fn back_up(
    original: &mut Original,
    heard: &Receiver<Acknowledged>,
    archive: bool,
    (out, keyrings): (&Path, &Path),
) {
    original.before = take(heard, SOME);
    original.before.extend(heard.try_iter());
    let mut arguments = vec!["backup", out.to_str().unwrap(), "--json"];
    arguments.extend(archive.then_some("--archive"));
    let made = original.platform.cli(&arguments).json();
    assert_eq!(made["out"], out.to_str().unwrap());
    let copied =
        original.platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    original.keyring = copied.json()["out"].as_str().unwrap().into();
    take(heard, SOME);
}

/// A platform that is not started, with the root keys of another.
pub(crate) fn elsewhere(original: &Platform, options: Options) -> Platform {
    let platform = Platform::new(Mode::Serve, options);
    std::fs::create_dir_all(platform.key_dir()).unwrap();
    for key in files_below(&original.key_dir()) {
        std::fs::copy(&key, platform.key_dir().join(key.file_name().unwrap())).unwrap();
    }
    platform
}

fn restore(platform: &Platform, out: &Path, keyring: &Path) -> crate::harness::Output {
    let (out, keyring) = (out.to_str().unwrap(), keyring.to_str().unwrap());
    platform.cli(&["restore", out, "--keyring", keyring, "--json"])
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

/// Puts the ledger archive of a platform that was killed in the place of the restored one's.
pub(crate) fn hand_over_archive(from: &Platform, to: &Platform) {
    wait_for("the archive's end", || {
        std::net::TcpStream::connect(from.ports().archive).is_err().then_some(())
    });
    copy_folder(&from.data().join("archive"), &to.data().join("archive"));
}

/// Everything acknowledged before the backup is there with its value, nothing that nobody sent,
/// and new readings are sealed once.
fn goes_on(original: &Original, restored: &Platform, sealed: Option<u64>) {
    let tenant = original.tenant.at(restored.http());
    for (index, device) in original.devices.iter().enumerate() {
        let points = points_between(&tenant, device, T0, T0 + ROUND_MS);
        for (at, value) in &points {
            assert_eq!(*value, value_at(*at), "{} at {at}", device.name);
        }
        for (_, at) in original.before.iter().filter(|one| one.0 == index) {
            assert!(points.contains_key(at), "{}: {at} is lost", device.name);
        }
    }
    let found = settled(restored, &tenant);
    if let Some(sealed) = sealed {
        assert_eq!(found, sealed, "nothing is sealed twice");
    }
    let device = tenant.device("after");
    for number in 0..50 {
        let reading = json!({"ts": T0 + number, "values": {"k": number}});
        tenant.send(&device, &reading).expect(200);
    }
    assert_eq!(settled(restored, &tenant), found + 50, "each new record is sealed, once");
    let export = restored.scratch("export");
    let export = export.to_str().unwrap();
    restored.cli(&["ledger", "export", export, "--tenant", &tenant.id]).done();
    let vkey = tenant.get("/v1/ledger").expect(200)["vkey"].as_str().unwrap().to_owned();
    assert_eq!(restored.cli(&["ledger", "verify", export, "--vkey", &vkey]).code, 0);
    restored.cli(&["ledger", "gaps", export]).done();
    restored.sign_in(&tenant.email, &tenant.password).expect(200);
}

/// The archive is another party's: it went on after the cut, and the restored platform goes on
/// behind it.
#[test]
fn a_restored_platform_goes_on_behind_an_archive_that_is_ahead() {
    let mut original = under_load(Options::default(), false);
    // The archive gets what was acknowledged after the cut, too.
    original.platform.start_again();
    let sealed = settled(&original.platform, &original.tenant);
    original.platform.kill();
    let mut restored = elsewhere(&original.platform, Options::default());
    let facts = restore(&restored, &original.out, &original.keyring).json();
    assert_eq!(facts["archive"], "referenced");
    let refused = restored.cli(&["serve"]);
    assert!(refused.stderr.contains("without its ledger archive"), "{}", refused.stderr);
    hand_over_archive(&original.platform, &restored);
    restored.start_again();
    goes_on(&original, &restored, Some(sealed));
    restored.kill();
    restored.start_again();
    let tenant = original.tenant.at(restored.http());
    assert_eq!(settled(&restored, &tenant), sealed + 50, "a restart changes nothing");
}

#[test]
fn a_standalone_platform_is_restored_with_its_archive_on_postgres() {
    let (Some(options), Some(target)) = (Options::postgres(), Options::postgres()) else { return };
    let original = under_load(options, true);
    let mut restored = elsewhere(&original.platform, target);
    let facts = restore(&restored, &original.out, &original.keyring).json();
    assert_eq!(facts["archive"], "copied");
    restored.start_again();
    goes_on(&original, &restored, None);
    // From PostgreSQL into the embedded database.
    let embedded = elsewhere(&original.platform, Options::default());
    let again = restore(&embedded, &original.out, &original.keyring).json();
    assert_eq!(again["rows"], facts["rows"]);
}

#[test]
fn an_altered_backup_is_refused_and_nothing_is_written() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    tenant.send(&tenant.device("boiler"), &json!({"t": 1})).expect(200);
    let early = platform.scratch("early");
    let early = platform.cli(&["backup", "--keyring", early.to_str().unwrap(), "--json"]).json();
    let out = platform.scratch("backup");
    platform.cli(&["backup", out.to_str().unwrap()]).done();
    let again = platform.cli(&["backup", out.to_str().unwrap()]);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    let keyrings = platform.scratch("keyrings");
    let keyring = platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    let keyring = PathBuf::from(keyring.json()["out"].as_str().unwrap());
    for file in files_below(&out) {
        let name = file.strip_prefix(&out).unwrap();
        assert!(!name.to_string_lossy().contains("keyring"), "the keyring is not in a backup");
    }
    let check = |what: &str, expected: &str, alter: &dyn Fn(&Path)| {
        let altered = platform.scratch(&format!("altered {what}"));
        copy_folder(&out, &altered);
        alter(&altered);
        let target = elsewhere(&platform, Options::default());
        let refused = restore(&target, &altered, &keyring);
        assert_eq!(refused.code, 1, "{what}: {refused:?}");
        assert!(refused.stderr.contains(expected), "{what}: {}", refused.stderr);
        let data = target.data();
        let left = if data.exists() { files_below(&data) } else { Vec::new() };
        assert!(left.iter().all(|file| file.ends_with("lock")), "{what}: {left:?}");
    };
    let log = |folder: &Path| files_below(&folder.join("data/log")).remove(0);
    check("cut", "bytes, expected", &|folder| {
        let bytes = std::fs::read(log(folder)).unwrap();
        std::fs::write(log(folder), &bytes[..bytes.len() - 1]).unwrap();
    });
    check("bit", "was altered", &|folder| {
        let mut bytes = std::fs::read(folder.join("records.copy")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(folder.join("records.copy"), bytes).unwrap();
    });
    check("missing", "is missing", &|folder| std::fs::remove_file(log(folder)).unwrap());
    check("stranger", "not in the backup", &|folder| {
        std::fs::write(folder.join("data/stranger"), "x").unwrap();
    });
    check("unfinished", "not a finished backup", &|folder| {
        std::fs::remove_file(folder.join("manifest.json")).unwrap();
    });
    check("forged", "manifest.json", &|folder| {
        let path = folder.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        manifest["taken_at_us"] = json!(manifest["taken_at_us"].as_i64().unwrap() - 1);
        std::fs::write(&path, manifest.to_string()).unwrap();
    });
    let target = elsewhere(&platform, Options::default());
    let early = PathBuf::from(early["out"].as_str().unwrap());
    let refused = restore(&target, &out, &early);
    assert!(refused.stderr.contains("before the backup's cut"), "{}", refused.stderr);
    let occupied = restore(&platform, &out, &keyring);
    assert!(occupied.stderr.contains("a platform runs"), "{}", occupied.stderr);
    restore(&target, &out, &keyring).done();
    let twice = restore(&target, &out, &keyring);
    assert!(twice.stderr.contains("holds a platform"), "{}", twice.stderr);
}

/// What was revoked and removed after a backup is told, and nobody comes in by a session or link of
/// before.
#[test]
fn a_restore_ends_access_and_tells_what_is_in_force_again() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let (user, cookie) = tenant.member("mallory", "administrator");
    let leaked = json!({"name": "leaked", "role": "administrator"});
    let leaked = tenant.post("/v1/api-keys", &leaked).expect(201);
    let secret = leaked["secret"].as_str().unwrap();
    let guest = json!({"email": "guest@restored.example", "role": "viewer"});
    let link = tenant.post("/v1/users", &guest).expect(201)["link"].as_str().unwrap().to_owned();
    let link = json!({"token": crate::harness::link_token(&link)});
    let (out, keyrings) = (platform.scratch("backup"), platform.scratch("keyrings"));
    platform.cli(&["backup", out.to_str().unwrap()]).done();
    let keyring = platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    let keyring = PathBuf::from(keyring.json()["out"].as_str().unwrap());
    let path = format!("/v1/api-keys/{}", leaked["api_key"]["id"].as_str().unwrap());
    tenant.delete(&path).expect(204);
    tenant.delete(&format!("/v1/users/{user}")).expect(204);
    platform.kill();
    for revokes in [false, true] {
        let mut restored = elsewhere(&platform, Options::default());
        let mut arguments = vec!["restore", out.to_str().unwrap()];
        arguments.extend(["--keyring", keyring.to_str().unwrap(), "--json"]);
        arguments.extend(revokes.then_some("--revoke-keys"));
        let facts = restored.cli(&arguments).json();
        assert!(facts["ended"]["sessions"].as_u64() >= Some(2), "{facts}");
        assert!(facts["ended"]["links"].as_u64() > Some(0), "{facts}");
        let review = facts["review"].as_array().unwrap().iter();
        let own = review.clone().find(|one| one["tenant"] == tenant.id.as_str()).unwrap();
        let names: Vec<&str> = own["api_keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"leaked"), "{own}");
        assert!(own["members"].to_string().contains("mallory-"), "{own}");
        hand_over_archive(&platform, &restored);
        restored.start_again();
        let http = restored.http();
        for cookie in [&cookie, &tenant.cookie] {
            http.get("/v1/users").header("cookie", cookie).send().problem(401);
        }
        http.post("/v1/welcome/inspect").json(&link).send().problem(404);
        let by_key = http.get("/v1/users").bearer(secret).send();
        assert_eq!(by_key.status, if revokes { 401 } else { 200 });
        let signed_in = restored.sign_in(&tenant.email, &tenant.password);
        let cookie = signed_in.cookie().expect("a session");
        let records = http.get("/v1/activity?action=system.restore").header("cookie", &cookie);
        let records = records.send().expect(200);
        assert_eq!(records["items"].as_array().unwrap().len(), 1, "{records}");
        assert_eq!(records["items"][0]["after"]["keys_revoked"], revokes);
    }
}

/// Who is behind which gateway, what a device is to have, with its bytes, and the calls that wait
/// for it come back; a call goes out as if nothing had been.
#[test]
fn gateways_packages_and_kept_calls_come_back() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let gateway = tenant.device("gateway");
    let path = format!("/v1/devices/{}", gateway.id);
    tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
    let mut client = platform.mqtt(Version::V5, &gateway.token);
    assert_eq!(client.publish("v1/gateway/telemetry", br#"{"behind":{"t":1}}"#).0, 0);
    let bytes: Vec<u8> = (0..1_100_000u32).map(|number| (number % 249) as u8).collect();
    let package = tenant
        .request("POST", "/v1/packages?kind=firmware&title=Pump&version=7")
        .body("application/octet-stream", &bytes);
    let package = package.send().expect(201);
    let assigned = format!("/v1/packages/{}/devices", package["id"].as_str().unwrap());
    let pump = tenant.device("pump");
    tenant.post(&assigned, &json!({"device_ids": [pump.id]})).expect(200);
    let profile = json!({"name": "Pump", "source": "#{ n: payload.u8(0) }"});
    let profile = tenant.post("/v1/device-profiles", &profile).expect(201);
    let profile = format!("/v1/device-profiles/{}", profile["id"].as_str().unwrap());
    tenant.post(&format!("{profile}/devices"), &json!({"device_ids": [pump.id]})).expect(204);
    let rpc = format!("/v1/devices/{}/rpc", pump.id);
    let call = json!({"method": "restart", "params": {"in": 5}, "persistent": true});
    let call = tenant.post(&rpc, &call).expect(200)["call"].clone();
    let (out, keyrings) = (platform.scratch("backup"), platform.scratch("keyrings"));
    platform.cli(&["backup", out.to_str().unwrap()]).done();
    let keyring = platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    let keyring = PathBuf::from(keyring.json()["out"].as_str().unwrap());
    // What happens afterwards is not in it.
    tenant.delete(&format!("{rpc}/{}", call["id"].as_str().unwrap())).expect(204);
    platform.kill();

    let mut restored = elsewhere(&platform, Options::default());
    restore(&restored, &out, &keyring).done();
    hand_over_archive(&platform, &restored);
    restored.start_again();
    let tenant = tenant.at(restored.http());
    let get = |path: &str| tenant.get(path).expect(200);
    let behind = get("/v1/devices?search=behind")["items"][0].clone();
    assert_eq!(behind["gateway_id"], json!(gateway.id), "{behind}");
    assert_eq!(get(&path)["is_gateway"], true);
    assert_eq!(get(&assigned)["device_ids"], json!([pump.id]));
    assert_eq!(get("/v1/packages")["items"][0]["checksum"], package["checksum"]);
    assert_eq!(get(&profile)["settings"]["source"], "#{ n: payload.u8(0) }");
    assert_eq!(get(&format!("{profile}/devices"))["device_ids"], json!([pump.id]));
    assert_eq!(get(&format!("{profile}/versions"))["items"][0]["version"], 1);
    let url = "/api/v1/firmware?title=Pump&version=7&size=300000&chunk=3";
    let piece = restored.http().get(url).bearer(&pump.token).send();
    assert!(piece.status == 200 && piece.body == bytes[900_000..], "{}", piece.status);
    let kept = get(&format!("{rpc}/{}", call["id"].as_str().unwrap()));
    assert_eq!((&kept["state"], &kept["method"]), (&json!("queued"), &json!("restart")));

    let mut client = restored.mqtt(Version::V5, &pump.token);
    client.subscribe("v1/devices/me/rpc/request/+");
    let (topic, payload) = client.message();
    let asked: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(asked, json!({"method": "restart", "params": {"in": 5}}));
    assert_eq!(client.publish(&topic.replace("request", "response"), b"true").0, 0);
    assert_eq!(get(&rpc)["items"][0]["state"], "successful");
    let mut client = restored.mqtt(Version::V5, &gateway.token);
    assert_eq!(client.publish("v1/gateway/telemetry", br#"{"behind":{"t":2}}"#).0, 0);
}

/// Killed in the middle, the same command goes on and uses what is there.
#[test]
fn a_backup_that_was_cut_off_is_taken_up_again() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("many");
    for body in 0..20 {
        let rows = body * 2000..(body + 1) * 2000;
        let lines: Vec<String> = rows.map(|row| format!("many k={row} {}", T0 + row)).collect();
        tenant.write("?precision=ms", "text/plain", &lines.join("\n")).expect(200);
    }
    let out = platform.scratch("backup");
    let mut child = platform
        .command()
        .arg("backup")
        .arg(&out)
        .arg("--data")
        .arg(platform.data())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let partial = platform.scratch("backup.partial");
    wait_for("its first file", || partial.join("records.copy").exists().then_some(()));
    platform.kill();
    let _ = child.wait();
    platform.start_again();
    assert!(!out.exists() || out.join("manifest.json").exists());
    if !out.exists() {
        platform.cli(&["backup", out.to_str().unwrap()]).done();
    }
    assert!(!partial.exists());
    let keyrings = platform.scratch("keyrings");
    let keyring = platform.cli(&["backup", "--keyring", keyrings.to_str().unwrap(), "--json"]);
    let keyring = PathBuf::from(keyring.json()["out"].as_str().unwrap());
    let mut restored = elsewhere(&platform, Options::default());
    restore(&restored, &out, &keyring).done();
    platform.kill();
    hand_over_archive(&platform, &restored);
    restored.start_again();
    assert_eq!(tenant.at(restored.http()).stats(&device, "k").0, 40_000);
}
