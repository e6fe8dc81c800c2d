//! Attributes that devices write over a bound, on every way in: refused by name, and the rest of
//! what was sent with them is stored. What they make the platform rewrite counts in the rates.

use serde_json::{Map, Value, json};

use crate::guard::{names_its_limit, start};
use crate::harness::Platform;
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
