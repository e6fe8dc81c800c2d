//! Devices that come in by themselves, over MQTT and HTTP: once, as many as their profile lets in,
//! and into no other tenant than the profile's.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::device_credentials::mosquitto;
use crate::harness::{Platform, wait_for};
use crate::mqtt::{Packet, Version};
use crate::tenant::Tenant;

/// A profile with its key and secret.
fn profile(tenant: &Tenant, strategy: &str, devices_max: u64) -> Value {
    let body = json!({"name": "line 1", "strategy": strategy, "devices_max": devices_max});
    tenant.post("/v1/provision-profiles", &body).expect(201)
}

fn request(profile: &Value, name: &str, more: &Value) -> Value {
    let mut body = json!({
        "deviceName": name,
        "provisionDeviceKey": profile["key"],
        "provisionDeviceSecret": profile["secret"],
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn ask(platform: &Platform, body: &Value) -> Value {
    platform.http().post("/api/v1/provision").json(body).send().expect(200)
}

#[track_caller]
fn refused(answer: &Value, part: &str) {
    assert_eq!(answer["status"], "FAILURE", "{answer}");
    assert!(answer["errorMsg"].as_str().unwrap().contains(part), "{answer}");
}

fn works(platform: &Platform, token: &Value) -> bool {
    let post = platform.http().post("/api/v1/telemetry").bearer(token.as_str().unwrap());
    post.json(&json!({"t": 1})).send().status == 200
}

#[test]
fn a_new_device_comes_in_once_and_as_many_as_may() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let profile = profile(&tenant, "create_new", 2);
    let first = ask(platform, &request(&profile, "a", &json!({})));
    assert_eq!(
        (&first["status"], &first["credentialsType"]),
        (&json!("SUCCESS"), &json!("ACCESS_TOKEN"))
    );
    assert!(works(platform, &first["credentialsValue"]));
    refused(&ask(platform, &request(&profile, "a", &json!({}))), "already");
    // One that brings its own secret may ask again when the answer was lost.
    let token = format!("own-token-{}", tenant.id);
    let own = request(&profile, "b", &json!({"token": token}));
    for _ in 0..2 {
        assert_eq!(ask(platform, &own)["credentialsValue"], json!(token));
    }
    assert!(works(platform, &json!(token)));
    refused(&ask(platform, &request(&profile, "b", &json!({"token": "another-token"}))), "already");
    refused(&ask(platform, &request(&profile, "c", &json!({}))), "as many");
    let mut wrong = request(&profile, "d", &json!({}));
    wrong["provisionDeviceSecret"] = json!("vtq_guess");
    refused(&ask(platform, &wrong), "unknown");
    let id = profile["profile"]["id"].as_str().unwrap();
    let path = format!("/v1/provision-profiles/{id}");
    tenant.patch(&path, &json!({"disabled": true, "devices_max": 9})).expect(200);
    refused(&ask(platform, &request(&profile, "c", &json!({}))), "disabled");
    tenant.delete(&path).expect(204);
    refused(&ask(platform, &request(&profile, "c", &json!({}))), "unknown");
    let list = tenant.get("/v1/devices").expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_device_that_was_made_before_gets_its_credential_once() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    tenant.device("waiting");
    other.device("theirs");
    let running = tenant.device("running");
    tenant.send(&running, &json!({"t": 1})).expect(200);
    wait_for("the device to be heard of", || {
        let device = tenant.get(&format!("/v1/devices/{}", running.id)).expect(200);
        (device["last_seen_at"] != Value::Null).then_some(())
    });
    let host = tenant.device("scada");
    let is_host = json!({"is_sparkplug_host": true});
    tenant.patch(&format!("/v1/devices/{}", host.id), &is_host).expect(200);
    let narrow = json!({
        "name": "valves", "strategy": "pre_provisioned", "devices_max": 9, "type": "valve",
    });
    let narrow = tenant.post("/v1/provision-profiles", &narrow).expect(201);
    let profile = profile(&tenant, "pre_provisioned", 9);
    // Whoever has the secret of a lot opens no device of others, of another type, in use or a host.
    let shut =
        [(&profile, "theirs"), (&profile, "running"), (&profile, "scada"), (&narrow, "waiting")];
    for (profile, name) in shut {
        refused(&ask(platform, &request(profile, name, &json!({}))), "no device");
    }
    let more = json!({"credentialsType": "MQTT_BASIC", "username": format!("w-{}", tenant.id)});
    let answer = ask(platform, &request(&profile, "waiting", &more));
    assert_eq!(answer["credentialsType"], "MQTT_BASIC", "{answer}");
    let value = &answer["credentialsValue"];
    let mut publish = mosquitto(platform, "mosquitto_pub");
    publish.args(["-t", "v1/devices/me/telemetry", "-q", "1", "-m", r#"{"t":1}"#]);
    publish.args(["-u", value["userName"].as_str().unwrap()]);
    publish.args(["-P", value["password"].as_str().unwrap()]);
    assert!(publish.status().unwrap().success());
    refused(&ask(platform, &request(&profile, "waiting", &json!({}))), "already");
}

#[test]
fn a_client_of_a_real_library_comes_in_and_may_do_nothing_else() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let profile = profile(&tenant, "create_new", 9);
    let body = request(&profile, "by mqtt", &json!({})).to_string();
    let output = mosquitto(platform, "mosquitto_rr")
        .args(["-u", "provision", "-t", "/provision/request", "-e", "/provision/response"])
        .args(["-q", "1", "-W", "30", "-m", &body])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(answer["status"], "SUCCESS", "{answer}");
    assert!(works(platform, &answer["credentialsValue"]));
    for topic in ["v1/devices/me/telemetry", "a/topic/of/others"] {
        let mut client = platform.mqtt(Version::V5, "provision");
        client.send(topic, b"{}").unwrap();
        assert_eq!(client.read().unwrap(), Packet::Disconnect(0x87), "{topic}");
    }
}
