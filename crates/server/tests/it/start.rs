//! Starting and stopping: the first administrator, the second start, what the commands about a
//! running platform say, and what the process does to itself.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, link_token, now_ms, wait_for};
use crate::tenant::Tenant;

fn link_of(stdout: &str) -> Option<&str> {
    stdout.lines().find(|line| line.contains("/welcome#"))
}

/// Resident memory, as the kernel counts it.
fn resident(platform: &Platform) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", platform.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.trim_start_matches("VmRSS:").trim().to_owned()
}

#[test]
fn first_start_makes_an_administrator_and_second_start_keeps_the_data() {
    let mut platform = Platform::serve();
    let resident_at_start = resident(&platform);
    println!("cold start of `serve`, new directory: {:?}", platform.start_time());
    println!("resident memory of `serve`, idle, this build: {resident_at_start}");
    let stdout = wait_for("the link on standard output", || {
        let stdout = platform.stdout();
        stdout.lines().any(|line| line.contains("/welcome#")).then_some(stdout)
    });
    let token = link_token(link_of(&stdout).unwrap());
    let inspect = json!({"token": token});
    let facts = platform.http().post("/v1/welcome/inspect").json(&inspect).send().expect(200);
    let expect = json!({
        "kind": "first_administrator", "email": null, "organisation": null, "has_account": false,
        "may_begin_anew": false,
    });
    assert_eq!(facts, expect);

    let tenant = Tenant::redeem(platform.http(), token, 0);
    let again = json!({"token": token, "organisation": "Two", "email": "b@x.example",
        "password": "correct horse battery", "attested": true});
    platform.http().post("/v1/welcome").json(&again).send().problem(404);

    let device = tenant.device("boiler");
    let at = now_ms();
    tenant.send(&device, &json!({"ts": at, "values": {"temperature": 21.5}})).expect(200);
    tenant.send(&device, &json!({"ts": at + 1, "values": {"on": true}})).expect(200);
    platform.stop();
    assert!(!platform.data().join("run.json").exists(), "run.json of a stopped platform");

    platform.start_again();
    println!("start of `serve`, known directory: {:?}", platform.start_time());
    platform.sign_in(&tenant.email, &tenant.password).expect(200);
    platform.sign_in(&tenant.email, "not the password").problem(401);
    assert_eq!(tenant.latest(&device, "temperature"), 21.5);
    assert_eq!(tenant.latest(&device, "on"), true);
    assert_eq!(tenant.points(&device, "temperature"), [(at, json!(21.5))]);
    tenant.send(&device, &json!({"temperature": 22})).expect(200);
    assert_eq!(link_of(&platform.stdout()), None, "no further link");
    assert!(!platform.stderr().contains('\x1b'), "logs in a file have no colours");
    let session = platform.http().get("/v1/session").header("cookie", &tenant.cookie).send();
    assert_eq!(session.expect(200)["user"]["email"], tenant.email, "sessions outlive a restart");
}

#[test]
fn core_dumps_are_disabled_and_private_files_are_private() {
    let platform = Platform::shared();
    let pid = platform.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(fields[4..6], ["0", "0"], "{core}");

    let mode = |path: std::path::PathBuf| {
        fs::metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(platform.data()), 0o700);
    assert_eq!(mode(platform.data().join("run.json")), 0o600);
    assert_eq!(mode(platform.data().join("control.sock")), 0o600);
    for key in crate::harness::files_below(&platform.key_dir()) {
        assert_eq!(mode(key.clone()), 0o600, "{}", key.display());
    }
    assert!(platform.run().get("demo").is_none(), "serve writes no credential anywhere");
}

#[test]
fn the_authority_is_exported_and_its_fingerprint_is_the_same_everywhere() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let exported = platform.cli(&["ca", "export"]).done();
    let file = platform.run()["ca"].as_str().unwrap();
    let file = fs::read_to_string(platform.data().join(file)).unwrap();
    assert_eq!(exported.trim(), file.trim());

    let printed = platform.cli(&["ca", "fingerprint"]).done();
    let json = platform.cli(&["ca", "fingerprint", "--json"]).json();
    assert_eq!(json["sha256"], printed.trim());
    let system = tenant.get("/v1/system").expect(200);
    assert_eq!(system["certificates"][0]["fingerprint"], printed.trim());
    assert!(platform.stdout().contains(printed.trim()), "shown at the start");
    assert!(!exported.contains("PRIVATE KEY"));
}

#[test]
fn doctor_finds_nothing_wrong_and_names_what_is() {
    let platform = Platform::shared();
    let healthy = platform.cli(&["doctor", "--json"]);
    assert_eq!(healthy.code, 0, "{healthy:?}");
    let facts: Value = serde_json::from_str(&healthy.stdout).unwrap();
    assert!(!facts.to_string().contains("\"error\""), "{facts}");

    let missing = platform.scratch("nothing-here");
    let output = platform.cli(&["doctor", "--data", missing.to_str().unwrap()]);
    assert!(output.stdout.contains("nothing-here"), "it names the directory: {output:?}");
}

#[test]
fn it_goes_on_when_nobody_takes_its_log_lines() {
    let options = Options::default()
        .environment("VERITWIN__HTTP__EXTRA_NAMES", "2001:DB8::1, Twin.Example")
        .environment("VERITWIN_LOG", "debug");
    let platform = Platform::new(Mode::Serve, options);
    let mut child = platform
        .command()
        .args(["serve", "--data"])
        .arg(platform.data())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::options().write(true).open("/dev/full").unwrap())
        .spawn()
        .unwrap();
    let started = wait_for("run.json", || {
        let ended = child.try_wait().unwrap();
        (ended.is_some() || platform.data().join("run.json").exists()).then_some(ended)
    });
    assert_eq!(started, None, "it ended");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_directory_has_one_platform() {
    let platform = Platform::shared();
    let second = platform.cli(&["serve"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("another Veritwin process"), "{}", second.stderr);
    let run = fs::read_to_string(platform.data().join("run.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&run).unwrap(), *platform.run(), "run.json stays");
}

#[test]
fn the_demo_says_what_scripts_need_and_goes_on_with_the_same_devices() {
    let mut platform = Platform::start(Mode::Demo, Options::default());
    println!("cold start of `demo`, new directory: {:?}", platform.start_time());
    let demo = platform.run()["demo"].clone();
    let text = |key: &str| demo[key].as_str().unwrap_or_else(|| panic!("{key}: {demo}")).to_owned();
    for key in ["tenant", "user", "password", "api_key", "device_token"] {
        assert!(!text(key).is_empty(), "{key}");
    }
    assert_eq!(text("ledger_vkey").splitn(3, '+').count(), 3, "NAME+HEX+BASE64");
    assert!(platform.run()["archive"].is_string());
    let session = platform.sign_in(&text("user"), &text("password")).expect(200);
    assert_eq!(session["tenant"]["simulated"], true);

    let tenant = platform.demo_tenant();
    let twins = tenant.get("/v1/twins").expect(200);
    assert_eq!(twins["items"][0]["geometry"], "glb", "{twins}");
    let sent = json!({"canary": 7});
    let post = platform.http().post("/api/v1/telemetry").bearer(&text("device_token"));
    post.json(&sent).send().expect(200);
    let devices = tenant.get("/v1/devices?limit=500").expect(200);
    let count = devices["items"].as_array().unwrap().len();
    assert!(count > 10, "{count} devices");
    wait_for("readings of the simulated devices", || {
        let latest = tenant.post("/v1/telemetry/latest", &json!({})).expect(200);
        (latest["items"].as_array().unwrap().len() > count).then_some(())
    });

    platform.stop();
    platform.start_again();
    println!("start of `demo`, known directory: {:?}", platform.start_time());
    assert_eq!(platform.run()["demo"], demo, "the same credentials");
    let after = tenant.get("/v1/devices?limit=500").expect(200);
    assert_eq!(after["items"].as_array().unwrap().len(), count);
}

#[test]
fn bad_arguments_end_with_2_and_say_what_is_right() {
    let platform = Platform::shared();
    let check = |arguments: &[&str], expected: &str| {
        let output = platform.cli(arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(expected), "{arguments:?}: {}", output.stderr);
    };
    check(&["clock", "advance", "soon"], "36h");
    check(&["ledger", "verify", "/no/such/folder"], "not a folder");
    check(&["import", "/no/such/file.ifc"], "cannot read");
    check(&["replay", "--csv", "/no/such/file.csv"], "cannot read");
    check(&["bench", "everything"], "mqtt");
    let refused = platform.cli(&["clock", "advance", "1h"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("--simulated-clock"), "{}", refused.stderr);
}

#[test]
fn an_unknown_key_of_the_configuration_names_the_nearest_known_one() {
    let platform = Platform::shared();
    let file = platform.scratch("misspelt.toml");
    fs::write(&file, "[http]\nprot = 8443\n").unwrap();
    let data = platform.scratch("unused");
    let output = platform.cli(&[
        "serve",
        "--config",
        file.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("prot") && output.stderr.contains("port"), "{output:?}");
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_simulated_clock_moves_and_marks_its_directory() {
    let mut platform = Platform::start(
        Mode::Serve,
        Options {
            arguments: vec!["--simulated-clock".to_owned(), "2027-03-01T08:00:00Z".to_owned()],
            ..Options::default()
        },
    );
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    tenant.send(&device, &json!({"energy": 1})).expect(200);
    let advanced = platform.cli(&["clock", "advance", "36h", "--json"]).json();
    assert!(advanced["now"].as_str().unwrap().starts_with("2027-03-02T20:0"), "{advanced}");
    tenant.send(&device, &json!({"energy": 2})).expect(200);
    let points = tenant.points(&device, "energy");
    let apart_hours = (points[1].0 - points[0].0) / 3_600_000;
    assert_eq!((points.len(), apart_hours), (2, 36), "{points:?}");
    tenant.sealed(1);
    let ledger = tenant.get("/v1/ledger").expect(200);
    assert!(ledger["origin"].as_str().unwrap().ends_with("/simulated"), "{ledger}");
    platform.stop();
    platform.start_again();
    let system = tenant.get("/v1/system").expect(200);
    assert_eq!(system["simulated_clock"], true);
    assert!(system["now"].as_str().unwrap().starts_with("2027-03-02T20:"), "{system}");
}
