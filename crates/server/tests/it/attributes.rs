//! Attributes that devices write over a bound, on every way in: refused by name, and the rest of
//! what was sent with them is stored. What they make the platform rewrite counts in the rates.

use serde_json::{Map, Value, json};

use crate::guard::{names_its_limit, start};
use crate::harness::{Platform, wait_for};
use crate::mqtt::{Packet, Version};
use crate::tenant::{Device, Tenant};

const ATTRIBUTES: &str = "v1/devices/me/attributes";
const TELEMETRY: &str = "v1/devices/me/telemetry";

fn save(tenant: &Tenant, device: &Device, attributes: &Value) -> crate::http::Answer {
    let request = tenant.http().post("/api/v1/attributes").bearer(&device.token);
    request.json(attributes).send()
}

fn texts(numbers: std::ops::Range<usize>) -> Value {
    let pairs = numbers.map(|number| (format!("k{number}"), json!("y".repeat(60_000))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// The forms of ThingsBoard's device API: what is asked for is there, what is not there is left
/// out, an empty list asks for nothing, and nothing of the server's own is told to a device.
#[test]
fn scopes_keys_and_updates_are_those_of_thingsboards_api() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("scopes");
    let path = format!("/v1/devices/{}", device.id);
    let attributes = format!("{path}/attributes");
    let write = |change: Value| tenant.patch(&attributes, &change).expect(200);
    save(&tenant, &device, &json!({"own": 1})).expect(200);
    write(json!({"shared": {"a": 1, "b": 2}, "server": {"hidden": 3, "kept": "x"}}));
    let all = json!({"client": {"own": 1}, "shared": {"a": 1, "b": 2}});
    let cases = [
        ("", all.clone()),
        ("?clientKeys=&sharedKeys=", all.clone()),
        ("?clientKeys=", all.clone()),
        ("?client_keys=own", all),
        ("?sharedKeys=a,absent,hidden,own", json!({"shared": {"a": 1}})),
        ("?clientKeys=absent&sharedKeys=", json!({"client": {}})),
    ];
    let mut client = platform.mqtt(Version::V5, &device.token);
    client.subscribe("v1/devices/me/attributes/response/+");
    for (query, expected) in cases {
        let asked = tenant.http().get(&format!("/api/v1/attributes{query}"));
        assert_eq!(asked.bearer(&device.token).send().expect(200), expected, "{query}");
    }
    for (payload, expected) in [
        (r#"{"clientKeys":"","sharedKeys":"b"}"#, json!({"shared": {"b": 2}})),
        (r#"{"clientKeys":"own, hidden"}"#, json!({"client": {"own": 1}})),
    ] {
        client.publish("v1/devices/me/attributes/request/4", payload.as_bytes());
        let answer: Value = serde_json::from_slice(&client.message().1).unwrap();
        assert_eq!(answer, expected, "{payload}");
    }

    // The short names of the same topics.
    let mut short = platform.mqtt(Version::V5, &device.token);
    for filter in ["v2/a", "v2/a/res/+", "v2/r/req/+"] {
        short.subscribe(filter);
    }
    assert_eq!(short.publish("v2/t", br#"{"t":1}"#).0, 0);
    assert_eq!(short.publish("v2/a", br#"{"own":2}"#).0, 0);
    short.publish("v2/a/req/5", br#"{"clientKeys":"own"}"#);
    let (topic, payload) = short.message();
    let answer: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((topic.as_str(), answer), ("v2/a/res/5", json!({"client": {"own": 2}})));
    write(json!({"shared": {"a": 7}}));
    assert_eq!(short.message(), ("v2/a".to_owned(), br#"{"a":7}"#.to_vec()));
    let call = json!({"method": "m", "persistent": true, "one_way": true});
    tenant.post(&format!("{path}/rpc"), &call).expect(200);
    assert!(short.message().0.starts_with("v2/r/req/"));
    wait_for("the call to be had", || {
        let calls = tenant.get(&format!("{path}/rpc")).expect(200);
        (calls["items"][0]["state"] == "successful").then_some(())
    });

    // Who waits hears of shared attributes only, and of all that one change does to them.
    let waits = tenant.device("waits");
    let path = format!("/v1/devices/{}", waits.id);
    let attributes = format!("{path}/attributes");
    let write = |change: Value| tenant.patch(&attributes, &change).expect(200);
    write(json!({"shared": {"b": 2, "c": 3}, "server": {"hidden": 3, "kept": "x"}}));
    let poll = tenant.http().get("/api/v1/attributes/updates?timeout=60000").bearer(&waits.token);
    let poll = std::thread::spawn(move || poll.send().expect(200));
    wait_for("the device to wait", || {
        (tenant.get(&path).expect(200)["online"] == true).then_some(())
    });
    let after = write(json!({"server": {"hidden": null, "absent": null}}));
    assert_eq!(after["server"], json!({"kept": "x"}));
    let after = write(json!({"shared": {"a": 5, "b": null, "absent": null}}));
    assert_eq!(after["shared"], json!({"a": 5, "c": 3}));
    let told = poll.join().unwrap();
    assert_eq!(told["a"], 5, "{told}");
    let mut deleted: Vec<_> = told["deleted"].as_array().unwrap().clone();
    deleted.sort_by_key(ToString::to_string);
    assert_eq!(deleted, ["absent", "b"], "{told}");
}

#[test]
fn attributes_over_a_bound_are_refused_by_name_and_nothing_else_is() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let numbers: Map<_, _> = (0..1_024).map(|number| (format!("k{number}"), json!(1))).collect();
    let cases = [
        ("attributes_max", Value::Object(numbers), json!({"more": 1})),
        ("attributes_bytes_max", texts(0..17), texts(17..19)),
    ];
    for (limit, full, over) in cases {
        let device = tenant.device(limit);
        save(&tenant, &device, &full).expect(200);
        let refused = save(&tenant, &device, &over).problem(413);
        assert_eq!(refused["limit"], limit, "{refused}");

        let over = over.to_string();
        let mut told = platform.mqtt(Version::V5, &device.token);
        let (code, text) = told.publish(ATTRIBUTES, over.as_bytes());
        assert!(code == 0x97 && text.contains(limit), "{code:#x} {text}");

        let mut silent = platform.mqtt(Version::V311, &device.token);
        let messages = [(TELEMETRY, "{\"t\":7}"), (ATTRIBUTES, over.as_str())];
        for (topic, payload) in messages.into_iter().chain([(TELEMETRY, "{\"t\":8}")]) {
            silent.send(topic, payload.as_bytes()).unwrap();
        }
        for id in 1..=3 {
            assert_eq!(silent.read().unwrap(), Packet::PubAck(id, 0, String::new()));
        }
        assert_eq!(tenant.stats(&device, "t"), (2, Some(7.0), Some(8.0)), "{limit}");
        let listed = tenant.get(&format!("/v1/devices/{}/refusals", device.id)).expect(200);
        let items = listed["items"].as_array().unwrap();
        assert!(items.len() == 1 && items[0]["limit"] == limit, "{listed}");

        let path = format!("/v1/devices/{}/attributes", device.id);
        let count = full.as_object().unwrap().len();
        let stored = tenant.get(&path).expect(200);
        assert_eq!(stored["client"].as_object().unwrap().len(), count, "{limit}");
        assert_eq!(told.publish(ATTRIBUTES, b"{\"k1\":2}").0, 0, "one that is there");
    }
}

#[test]
fn attributes_cost_what_they_make_the_platform_rewrite() {
    let platform = start(&[("VERITWIN__LIMITS__DEVICE_READINGS_PER_SECOND", "10")]);
    let tenant = platform.tenant();
    let (small, large) = (tenant.device("small"), tenant.device("large"));
    // The bucket of 20 holds the message's 16; what is stored for it counts as 15 more.
    save(&tenant, &large, &json!({"a": "y".repeat(15 * 1024)})).expect(200);
    let refused = save(&tenant, &large, &json!({"b": 1}));
    let limit = "device_readings_per_second";
    names_its_limit(&refused, limit, "at most 10 a second and 20 at once");
    for number in 0..5 {
        save(&tenant, &small, &json!({"b": number})).expect(200);
    }
}
