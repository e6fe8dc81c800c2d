//! Every address that a tenant names and the platform calls: none leads inside. A field of a
//! request that sounds like an address and is in neither list fails, so that none is forgotten.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::Platform;
use crate::openapi::body_fields;
use crate::rights::id;
use crate::tenant::Tenant;

/// Fields with an address that is called, by their operations.
const CALLED: [(&str, &str, &str); 6] = [
    ("PUT", "/v1/identity-provider", "issuer"),
    ("POST", "/v1/route-destinations", "url"),
    ("PUT", "/v1/route-destinations/{id}", "url"),
    ("POST", "/v1/keys/customer/test", "address"),
    ("PUT", "/v1/keys/customer", "address"),
    ("PUT", "/v1/requests/mailbox", "server"),
];

/// Fields that sound like one and are never called, with what they are.
const NOT_CALLED: [(&str, &str); 7] = [
    ("is_sparkplug_host", "yes or no"),
    ("addresses", "networks that a key is taken from"),
    ("contact_address", "shown on a brand's pages"),
    ("hosts", "host names that lead to the platform"),
    ("PATCH /v1/devices/{id}/attributes server", "attributes of a scope"),
    ("POST /v1/opt-ins address", "where a person lives"),
    ("POST /v1/certificate-register issuer", "the name of whoever gave a certificate"),
];

const SOUNDS: [&str; 6] = ["url", "address", "issuer", "endpoint", "host", "server"];

/// What nobody may have called, as it is written where a host stands.
const IPV4: [&str; 10] = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "224.0.0.1",
];
const IPV6: [&str; 6] = [
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
];

#[test]
fn every_field_that_sounds_like_an_address_is_known() {
    let document = Platform::shared().http().get("/v1/openapi.json").send().expect(200);
    let mut met = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let names = body_fields(&document, operation);
            for name in names.iter().filter(|name| SOUNDS.iter().any(|part| name.contains(part))) {
                let method = method.to_ascii_uppercase();
                let whole = format!("{method} {path} {name}");
                let is_known = |known: &str| known == name || known == whole;
                let is_called = CALLED.contains(&(method.as_str(), path.as_str(), name.as_str()));
                let is_none = NOT_CALLED.iter().any(|(known, _)| is_known(known));
                assert!(is_called || is_none, "{whole} is in no list");
                met.insert(whole);
            }
        }
    }
    for (method, path, name) in CALLED {
        assert!(met.contains(&format!("{method} {path} {name}")), "{method} {path}: {name}");
    }
}

/// The request that names a host in one of those fields.
fn naming(operation: (&str, &str), kind: &str, host: &str) -> Value {
    match operation {
        (_, "/v1/identity-provider") => json!({
            "name": "n", "issuer": format!("https://{host}"), "client_id": "c",
            "domains": ["people.example"], "enabled": true,
        }),
        (_, "/v1/route-destinations" | "/v1/route-destinations/{id}") => {
            let url = match kind {
                "mqtt" => format!("mqtts://{host}:443"),
                "nats" => format!("nats://{host}:443"),
                _ => format!("https://{host}/"),
            };
            let mut place = json!({
                "name": "n", "kind": kind, "recipient": "House Ltd", "purpose": "billing",
                "url": url, "instructed": true,
            });
            if kind != "webhook" {
                place["topic"] = json!("a");
            }
            place
        }
        (_, "/v1/keys/customer" | "/v1/keys/customer/test") => json!({
            "kind": "xks", "address": format!("https://{host}"), "key": "k",
            "user": "A".repeat(20), "credential": "c".repeat(43), "ttl_s": 60,
        }),
        (_, "/v1/requests/mailbox") => {
            json!({"server": format!("{host}:443"), "user": "privacy", "password": "p"})
        }
        (method, path) => panic!("{method} {path} has no case"),
    }
}

#[test]
fn no_address_that_a_tenant_names_leads_inside() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let outside = naming(("POST", "/v1/route-destinations"), "webhook", "hooks.example");
    let made = tenant.post("/v1/route-destinations", &outside).expect(201);
    let made = id(&made["destination"]);
    for (method, path, field) in CALLED {
        let kinds: &[&str] = match (method, field) {
            ("POST", "url") => &["webhook", "mqtt", "nats"],
            ("PUT", "url") => &["webhook"],
            _ => &[""],
        };
        for kind in kinds {
            let is_broker = matches!(*kind, "mqtt" | "nats");
            let hosts = IPV4.iter().chain(IPV6.iter().filter(|_| !is_broker));
            for host in hosts {
                refused(&tenant, (method, path), &made, &naming((method, path), kind, host));
            }
        }
    }
    // Nothing of it was stored.
    assert_eq!(tenant.get("/v1/identity-provider").expect(200)["issuer"], "");
    let kept = tenant.get("/v1/route-destinations").expect(200);
    assert_eq!(kept["items"].as_array().unwrap().len(), 1, "{kept}");
    assert!(kept["items"][0]["url"].as_str().unwrap().contains("hooks.example"), "{kept}");
}

#[track_caller]
fn refused(tenant: &Tenant, (method, path): (&str, &str), made: &str, body: &Value) {
    let request = tenant.person(method, &path.replace("{id}", made));
    let request = match path {
        "/v1/requests/mailbox" => request.header("if-match", "\"0\""),
        _ => request,
    };
    let problem = request.json(body).send().problem(400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("which is refused"), "{method} {path} {body}: {detail}");
}
