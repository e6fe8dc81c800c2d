//! Credentials of devices through the running platform: mosquitto's clients come in with password
//! and with certificate, are changed over, and are out when what let them in ends.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::device_ca::{Ca, Held, own_proof};
use crate::harness::{Mode, Options, Platform, wait_for};
use crate::mqtt::Mqtt;
use crate::relay::nameless_mosquitto;
use crate::tenant::{Device, Tenant};

/// One of mosquitto's clients, quietly.
pub(crate) fn mosquitto(platform: &Platform, program: &str) -> Command {
    let mut command = nameless_mosquitto(platform, program, "mqttv5");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether a client with these arguments gets a reading in.
pub(crate) fn gets_in(platform: &Platform, arguments: &[&str]) -> bool {
    let mut command = mosquitto(platform, "mosquitto_pub");
    command.args(["-t", "v1/devices/me/telemetry", "-q", "1", "-m", r#"{"t":1}"#]).args(arguments);
    command.status().unwrap().success()
}

/// A client that stays, once it is there.
pub(crate) fn stays(
    platform: &Platform,
    tenant: &Tenant,
    device: &str,
    arguments: &[&str],
) -> Child {
    let mut command = mosquitto(platform, "mosquitto_sub");
    command.args(["-t", "v1/devices/me/attributes", "-q", "1"]).args(arguments);
    let child = command.spawn().unwrap();
    wait_for("the device to be there", || {
        let device = tenant.get(&format!("/v1/devices/{device}")).expect(200);
        (device["online"] == true).then_some(())
    });
    child
}

/// It is put out: by itself it would stay for ever.
pub(crate) fn is_out(mut child: Child) {
    wait_for("the end of the client", || child.try_wait().unwrap());
}

fn path(device: &Device) -> String {
    format!("/v1/devices/{}/credentials", device.id)
}

fn made(tenant: &Tenant, device: &Device, body: &Value) -> Value {
    tenant.post(&path(device), body).expect(201)
}

#[test]
fn a_password_is_bound_to_its_names_and_is_changed_over() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    let user = format!("pump-{}", device.id);
    let chosen = json!({
        "kind": "basic", "name": "first", "client_id": "c1", "user": user,
        "password": "correct horse battery",
    });
    let first = made(&tenant, &device, &chosen);
    assert_eq!(first["password"], Value::Null, "one that was chosen is not shown");
    let with = |client: &str, password: &str| {
        gets_in(platform, &["-i", client, "-u", &user, "-P", password])
    };
    assert!(with("c1", "correct horse battery"));
    assert!(with("c1", "correct horse battery"), "remembered as well");
    assert!(!with("c2", "correct horse battery"), "another client id");
    assert!(!with("c1", "correct horse batterx"));
    // The same names are nobody else's.
    let other = platform.tenant();
    let theirs = other.device("pump");
    other.post(&path(&theirs), &chosen).problem(409);
    // Another password, made here, while the first goes on for a while.
    let id = first["credential"]["id"].as_str().unwrap();
    let second = json!({
        "kind": "basic", "user": user, "replaces": {"id": id, "until": "2199-01-01T00:00:00Z"},
    });
    let second = made(&tenant, &device, &second);
    let password = second["password"].as_str().unwrap();
    assert!(with("c2", password) && with("c1", "correct horse battery"));
    // Disabled it is out at once, and in again when it is enabled.
    let second = format!("{}/{}", path(&device), second["credential"]["id"].as_str().unwrap());
    let child = stays(platform, &tenant, &device.id, &["-i", "c3", "-u", &user, "-P", password]);
    tenant.patch(&second, &json!({"disabled": true})).expect(200);
    is_out(child);
    assert!(!with("c2", password));
    tenant.patch(&second, &json!({"disabled": false})).expect(200);
    assert!(with("c2", password));
    // What was revoked is free again.
    tenant.delete(&format!("{}/{id}", path(&device))).expect(204);
    assert!(!with("c1", "correct horse battery"));
    made(&tenant, &device, &chosen);
}

#[test]
fn nobody_hides_anothers_credential_behind_narrower_names() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (device, theirs) = (tenant.device("pump"), other.device("pump"));
    let user = format!("pump-{}", device.id);
    let chosen = |password: &str| json!({"kind": "basic", "user": user, "password": password});
    made(&tenant, &device, &chosen("correct horse battery"));
    // Another organisation takes the same user name, with the client id that the device uses.
    let mut narrower = chosen("another horse battery");
    narrower["client_id"] = json!("c1");
    made(&other, &theirs, &narrower);
    let arguments = |password: &str| ["-i", "c1", "-u", &user, "-P", password].map(str::to_owned);
    let stays_as = |password: &str, tenant: &Tenant, device: &Device| {
        let arguments = arguments(password);
        let mut child = stays(platform, tenant, &device.id, &borrowed(&arguments));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    for _ in 0..2 {
        stays_as("correct horse battery", &tenant, &device);
        stays_as("another horse battery", &other, &theirs);
    }
    assert!(!gets_in(platform, &borrowed(&arguments("no horse battery"))));
    assert!(gets_in(platform, &borrowed(&arguments("correct horse battery"))));
}

#[test]
fn a_password_that_is_made_here_stands_beside_others_of_its_names() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (device, theirs) = (tenant.device("pump"), other.device("pump"));
    let user = format!("pump-{}", device.id);
    let names = json!({"kind": "basic", "client_id": "c1", "user": user});
    let first = made(&tenant, &device, &names);
    // Another organisation uses the same names, is told nothing, and its device is its own.
    let elsewhere = made(&other, &theirs, &names);
    let with = |made: &Value| -> Vec<String> {
        let password = made["password"].as_str().unwrap();
        ["-i", "c1", "-u", &user, "-P", password].map(str::to_owned).to_vec()
    };
    let mut child = stays(platform, &other, &theirs.id, &borrowed(&with(&elsewhere)));
    child.kill().unwrap();
    child.wait().unwrap();
    // The device itself is changed over without another name.
    let mut second = names.clone();
    second["replaces"] = json!({"id": first["credential"]["id"], "until": "2199-01-01T00:00:00Z"});
    let second = made(&tenant, &device, &second);
    for made in [&first, &second, &elsewhere] {
        assert!(gets_in(platform, &borrowed(&with(made))));
    }
    // What ends before is not prolonged by being changed over.
    let mut third = names.clone();
    third["valid_until"] = json!("2150-01-01T00:00:00Z");
    let third = made(&tenant, &device, &third);
    let mut fourth = names.clone();
    fourth["replaces"] = json!({"id": third["credential"]["id"], "until": "2199-01-01T00:00:00Z"});
    made(&tenant, &device, &fourth);
    let all = tenant.get(&path(&device)).expect(200);
    let ends = |one: &&Value| one["id"] == third["credential"]["id"];
    let kept = all["items"].as_array().unwrap().iter().find(ends).unwrap();
    assert!(kept["valid_until"].as_str().unwrap().starts_with("2150-"), "{kept}");
}

#[test]
fn what_is_shut_out_leaves_no_session_without_a_connection() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("keeper");
    let list = tenant.get(&path(&device)).expect(200);
    let first = format!("{}/{}", path(&device), list["items"][0]["id"].as_str().unwrap());
    let second = made(&tenant, &device, &json!({}));
    let token = second["token"].as_str().unwrap();
    let second = format!("{}/{}", path(&device), second["credential"]["id"].as_str().unwrap());
    // Whether the session was there; it is kept when the client has gone.
    let was_there = |token: &str| {
        let (mut client, was_there) = Mqtt::connect_kept(platform.http(), "kept", token);
        client.write(&[0xe0, 0]).unwrap();
        assert!(client.read_raw().is_err());
        was_there
    };
    assert!(!was_there(&device.token));
    assert!(was_there(token), "it is the device's, whatever it shows");
    tenant.delete(&first).expect(204);
    assert!(was_there(token), "the first one did not have it last");
    tenant.patch(&second, &json!({"disabled": true})).expect(200);
    tenant.patch(&second, &json!({"disabled": false})).expect(200);
    assert!(!was_there(token));
}

#[test]
fn what_is_no_secret_is_refused() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    for (body, at) in [
        (json!({"kind": "basic", "client_id": "c", "password": "short"}), "password"),
        (json!({"kind": "basic", "password": "correct horse battery"}), "user"),
        (json!({"token": "short"}), "token"),
        (json!({"kind": "x509"}), "certificate"),
        (json!({"valid_until": "2001-01-01T00:00:00Z"}), "valid_until"),
    ] {
        let problem = tenant.post(&path(&device), &body).problem(400);
        assert!(problem.to_string().contains(at), "{problem}");
    }
}

pub(crate) fn with_certificate(platform: &Platform, held: &Held, name: &str) -> [String; 4] {
    let (certificate, key) = held.files(platform, name);
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    ["--cert".to_owned(), text(certificate), "--key".to_owned(), text(key)]
}

pub(crate) fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn a_certificate_is_registered_by_whoever_holds_its_key() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (device, theirs) = (tenant.device("pump"), other.device("pump"));
    let held = Ca::new().leaf("pump", 7, 30);
    let arguments = with_certificate(platform, &held, &format!("leaf-{}", device.id));
    assert!(!gets_in(platform, &borrowed(&arguments)), "nobody knows it");
    let proof = own_proof(&tenant, &held);
    let body =
        |proof: &str| json!({"kind": "x509", "certificate": held.certificate, "proof": proof});
    // A proof for another tenant's code is none: seeing a certificate does not give its devices.
    other.post(&path(&theirs), &body(&proof)).problem(400);
    let stranger = Ca::new().leaf("pump", 7, 30);
    tenant.post(&path(&device), &body(&own_proof(&tenant, &stranger))).problem(400);
    let made = made(&tenant, &device, &body(&proof));
    assert!(gets_in(platform, &borrowed(&arguments)));
    let child = stays(platform, &tenant, &device.id, &borrowed(&arguments));
    let id = made["credential"]["id"].as_str().unwrap();
    tenant.delete(&format!("{}/{id}", path(&device))).expect(204);
    is_out(child);
}

#[test]
fn an_authority_lets_in_until_it_revokes() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let mut ca = Ca::new();
    let settings = json!({"name": "Works", "creates": true, "device_name": "works-*"});
    let authority = ca.register(&tenant, &settings).expect(201);
    ca.register(&other, &settings).problem(409);
    // Without its key nobody registers it.
    let proof = Ca::new().proof(&crate::device_ca::code(&other, &ca.certificate));
    let body = json!({"certificate": ca.certificate, "proof": proof, "settings": settings});
    other.post("/v1/device-authorities", &body).problem(400);

    let (one, two) = (ca.leaf("one", 1, 30), ca.leaf("two", 2, 30));
    let first = with_certificate(platform, &one, &format!("one-{}", tenant.id));
    let second = with_certificate(platform, &two, &format!("two-{}", tenant.id));
    assert!(gets_in(platform, &borrowed(&first)) && gets_in(platform, &borrowed(&second)));
    // One of the same name with another key is a stranger.
    let forged = Ca::new().leaf("one", 1, 30);
    let forged = with_certificate(platform, &forged, &format!("forged-{}", tenant.id));
    assert!(!gets_in(platform, &borrowed(&forged)));
    let list = tenant.get("/v1/devices?search=works-").expect(200);
    let devices = list["items"].as_array().unwrap();
    assert_eq!(devices.len(), 2, "each made once: {list}");
    let named = |name: &str| {
        let found = devices.iter().find(|device| device["name"] == name);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let child = stays(platform, &tenant, &named("works-one"), &borrowed(&first));
    let path =
        format!("/v1/device-authorities/{}/revocation-list", authority["id"].as_str().unwrap());
    let put =
        |bytes: &[u8]| tenant.request("PUT", &path).body("application/pkix-crl", bytes).send();
    put(&Ca::new().list(&[1])).problem(400);
    assert_eq!(put(&ca.list(&[1])).expect(200)["revoked"], 1);
    is_out(child);
    assert!(!gets_in(platform, &borrowed(&first)) && gets_in(platform, &borrowed(&second)));
    put(b"").expect(200);
    assert!(gets_in(platform, &borrowed(&first)));
    // Its certificate is renewed with the same key: what it let in stays.
    ca.renew(2000);
    let others = json!({"name": "Other", "creates": false, "device_name": "*", "disabled": true});
    let renewed = ca.register(&tenant, &others).expect(201);
    assert_eq!(renewed["id"], authority["id"]);
    for set in ["name", "creates", "device_name", "disabled"] {
        assert_eq!(renewed[set], authority[set], "what was set stays");
    }
    assert_ne!(renewed["valid_until"], authority["valid_until"]);
    assert_eq!(renewed["made"], 2);
    assert!(gets_in(platform, &borrowed(&first)));
    tenant.delete(path.trim_end_matches("/revocation-list")).expect(204);
    assert!(!gets_in(platform, &borrowed(&second)));
}

#[test]
fn sessions_end_with_what_let_them_in() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    let body = json!({"kind": "basic", "user": "pump", "valid_until": "2027-01-10T01:00:00Z"});
    let made = made(&tenant, &device, &body);
    let password = made["password"].as_str().unwrap();
    let by_password = stays(&platform, &tenant, &device.id, &["-u", "pump", "-P", password]);
    let ca = Ca::at(OffsetDateTime::from_unix_timestamp(1_799_539_200).unwrap());
    let settings = json!({"name": "Works", "creates": true});
    ca.register(&tenant, &settings).expect(201);
    let held = ca.leaf("valve", 1, 2);
    let arguments = with_certificate(&platform, &held, "valve");
    assert!(gets_in(&platform, &borrowed(&arguments)));
    let list = tenant.get("/v1/devices?search=valve").expect(200);
    let valve = list["items"][0]["id"].as_str().unwrap().to_owned();
    platform.cli(&["clock", "advance", "61m"]).done();
    is_out(by_password);
    let by_certificate = stays(&platform, &tenant, &valve, &borrowed(&arguments));
    platform.cli(&["clock", "advance", "48h"]).done();
    is_out(by_certificate);
}

#[test]
fn sessions_end_with_an_authority_that_is_renewed_for_less() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let mut ca = Ca::at(OffsetDateTime::from_unix_timestamp(1_799_539_200).unwrap());
    let settings = json!({"name": "Works", "creates": true});
    ca.register(&tenant, &settings).expect(201);
    let held = ca.leaf("valve", 1, 30);
    let arguments = with_certificate(&platform, &held, "valve");
    assert!(gets_in(&platform, &borrowed(&arguments)));
    let list = tenant.get("/v1/devices?search=valve").expect(200);
    let valve = list["items"][0]["id"].as_str().unwrap().to_owned();
    let child = stays(&platform, &tenant, &valve, &borrowed(&arguments));
    ca.renew(2);
    ca.register(&tenant, &settings).expect(201);
    // The certificate is looked at again within a second; its authority ends before it does.
    platform.cli(&["clock", "advance", "49h"]).done();
    is_out(child);
}
