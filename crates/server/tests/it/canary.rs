//! Canaries in everything a customer can write: after the platform has stopped, no file below its
//! data directory holds one of them in any common encoding, and neither do its logs.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;
use veritwin_simulator::building::{DEMO_BUILDING_NAME, demo_ifc};

use crate::harness::{Mode, Options, Platform, files_below};
use crate::mqtt::Version;

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

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Names of the encodings in which `bytes` hold one of the canaries.
fn found_in(bytes: &[u8], canaries: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for canary in canaries {
        for (form, needle) in encodings(canary) {
            if find(bytes, &needle) {
                found.push(format!("{canary} ({form})"));
            }
        }
    }
    found
}

#[test]
fn the_search_finds_what_is_there() {
    let canaries = [canary("self")];
    for (form, bytes) in encodings(&canaries[0]) {
        let file = [b"before".to_vec(), bytes, b"after".to_vec()].concat();
        assert!(!found_in(&file, &canaries).is_empty(), "{form}");
    }
    let base64 = STANDARD_NO_PAD.encode(format!("xy{}z", canaries[0]));
    assert!(!found_in(base64.as_bytes(), &canaries).is_empty());
    assert!(found_in(b"nothing", &canaries).is_empty());
}

#[test]
fn nothing_readable_stays_on_disk_or_in_the_logs() {
    // A small memory table, so that segments are written as well.
    let options = Options::default()
        .environment("VERITWIN__TELEMETRY__MEMORY_BYTES_MAX", "1048576")
        .environment("VERITWIN_LOG", "debug,sqlx=warn,hyper=info,h2=info,rustls=info");
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let places = [
        "text",
        "json",
        "key",
        "device",
        "type",
        "unit",
        "mail",
        "person",
        "label",
        "space",
        "attribute",
        "shared",
        "server",
        "rule",
        "helps",
        "recipient",
        "apikey",
        "refused",
        "wrongmail",
        "path",
    ];
    let canaries: Vec<String> = places.iter().map(|place| canary(place)).collect();
    let [
        text,
        json_text,
        key,
        device_name,
        kind,
        unit,
        mail,
        person,
        label,
        space,
        attribute,
        shared,
        server,
        rule,
        helps,
        recipient,
        api_key,
        refused,
        wrong_mail,
        path,
    ] = <[String; 20]>::try_from(canaries.clone()).unwrap();

    let device = json!({"name": device_name, "type": kind, "units": {"t": unit}});
    let made = tenant.post("/v1/devices", &device).expect(201);
    let id = made["device"]["id"].as_str().unwrap();
    let token = made["token"].as_str().unwrap();
    let mut client = platform.mqtt(Version::V311, token);
    let telemetry = "v1/devices/me/telemetry";
    let reading = json!({"note": text, "more": {"inner": json_text}, key.as_str(): 1});
    assert_eq!(client.publish(telemetry, reading.to_string().as_bytes()).0, 0);
    client.publish(telemetry, format!("{{\"{refused}\":NaN}}").as_bytes());
    client.publish(&format!("v1/{refused}"), b"{}");
    client.publish("v1/devices/me/attributes", json!({"a": attribute}).to_string().as_bytes());
    let attributes = json!({"shared": {"s": shared}, "server": {"v": server}});
    tenant.patch(&format!("/v1/devices/{id}/attributes"), &attributes).expect(200);

    let address = format!("{mail}@veritwin.example");
    let invited = json!({"email": address, "name": person, "role": "operator"});
    let link = tenant.post("/v1/users", &invited).expect(201);
    let token = crate::harness::link_token(link["link"].as_str().unwrap()).to_owned();
    let welcome = json!({"token": token, "password": "correct horse battery"});
    platform.http().post("/v1/welcome").json(&welcome).send().expect(201);
    platform.sign_in(&address, "correct horse battery").expect(200);
    platform.sign_in(&format!("{wrong_mail}@x.example"), "no such person").problem(401);
    let _ = tenant.get(&format!("/v1/devices?search={path}"));
    let _ = tenant.get(&format!("/v1/{path}"));
    tenant.post("/v1/api-keys", &json!({"name": api_key, "role": "operator"})).expect(201);

    let model = demo_ifc().replace(DEMO_BUILDING_NAME, &label).replacen("Lobby", &space, 1);
    assert!(model.contains(&label), "the model has a label");
    let upload = tenant.request("POST", &format!("/v1/twins?name={label}"));
    upload.body("application/x-step", model.as_bytes()).send().expect(201);
    let condition = json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": 0});
    let rule = json!({"name": rule, "severity": "low", "condition": condition,
        "what_helps": helps, "notify_emails": [format!("{recipient}@veritwin.example")]});
    tenant.post("/v1/rules", &rule).expect(201);
    client.publish(telemetry, br#"{"t":1}"#);

    // Enough readings that the memory table is written out.
    let rows: Vec<String> =
        (0..40_000).map(|at| format!("{{\"ts\":{at},\"values\":{{\"filler\":{at}}}}}")).collect();
    let write = platform.http().post("/v1/telemetry/write");
    let write = write.bearer(made["token"].as_str().unwrap());
    write.body("application/x-ndjson", rows.join("\n").as_bytes()).send().expect(200);
    crate::harness::wait_for("segments on disk", || {
        let files = files_below(&platform.data());
        files.iter().any(|file| file.to_string_lossy().contains("segments/segments/")).then_some(())
    });
    tenant.sealed(1);
    // Everything can be asked back while it runs: the canaries are really inside.
    let listed = tenant.get(&format!("/v1/devices/{id}")).expect(200);
    assert_eq!(listed["name"], device_name);
    platform.stop();

    let files = files_below(&platform.data());
    assert!(files.len() > 10, "{files:?}");
    let mut bytes_searched = 0;
    for file in &files {
        let bytes = fs::read(file).unwrap();
        bytes_searched += bytes.len();
        let found = found_in(&bytes, &canaries);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
        let name = file.to_string_lossy();
        assert!(!canaries.iter().any(|canary| name.contains(canary.as_str())), "{name}");
    }
    println!("{} files with {bytes_searched} bytes searched", files.len());
    let found = found_in(platform.stderr().as_bytes(), &canaries);
    assert!(found.is_empty(), "logs: {found:?}");
    let secrets = [tenant.api_key.clone(), tenant.password.clone(), token];
    for secret in secrets {
        assert!(!platform.stderr().contains(&secret), "a secret is in the logs");
        let held = files.iter().find(|file| find(&fs::read(file).unwrap(), secret.as_bytes()));
        assert_eq!(held, None, "a secret is on disk");
    }
}
