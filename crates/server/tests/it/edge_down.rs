//! The way down through an edge: calls and attributes of the platform get to devices of another
//! site, and what these answer and ask gets back.

use serde_json::{Value, json};

use crate::edge::{Edge, gateway, register};
use crate::harness::{Platform, wait_for};
use crate::mqtt::Mqtt;

/// The next message of the platform to a device of the site.
fn next(client: &mut Mqtt) -> (String, Value) {
    let (topic, payload) = client.message();
    (topic, serde_json::from_slice(&payload).unwrap())
}

#[test]
fn calls_and_attributes_come_down_through_an_edge() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "way-down");
    let mqtts = platform.ports().mqtts;
    let (_, port) = mqtts.rsplit_once(':').unwrap();
    let mut edge = Edge::new(platform, &site, &format!("platform_mqtt = \"localhost:{port}\"\n"));
    register(&tenant, &site, &edge.key);
    let token = edge.device(platform, "damper");
    edge.start(platform);
    wait_for("the way down", || (edge.status(platform)["hears_platform"] == true).then_some(()));
    let mut client = edge.mqtt(&token);
    for filter in ["rpc/request/+", "attributes", "attributes/response/+"] {
        client.subscribe(&format!("v1/devices/me/{filter}"));
    }
    // It is there at the platform as soon as it listens, and before it has sent anything.
    let id = wait_for("the device at the platform", || {
        let found = tenant.get("/v1/devices?search=damper").expect(200)["items"][0].clone();
        (found["online"] == true).then(|| found["id"].as_str().unwrap().to_owned())
    });
    let path = format!("/v1/devices/{id}");
    let shared = |value: Value| {
        let change = json!({"shared": {"limit": value}});
        tenant.patch(&format!("{path}/attributes"), &change).expect(200);
    };
    shared(json!(3));
    let told = ("v1/devices/me/attributes".to_owned(), json!({"limit": 3}));
    assert_eq!(next(&mut client), told);
    let ask = br#"{"sharedKeys":"limit"}"#;
    assert_eq!(client.publish("v1/devices/me/attributes/request/7", ask).0, 0);
    let answer =
        ("v1/devices/me/attributes/response/7".to_owned(), json!({"shared": {"limit": 3}}));
    assert_eq!(next(&mut client), answer);
    // What ThingsBoard's clients ask when they connect the edge answers itself.
    client.subscribe("v1/devices/me/rpc/response/+");
    let ask = br#"{"method":"getSessionLimits","params":{}}"#;
    assert_eq!(client.publish("v1/devices/me/rpc/request/9", ask).0, 0);
    let (topic, limits) = next(&mut client);
    assert_eq!(topic, "v1/devices/me/rpc/response/9");
    assert_eq!(limits["maxPayloadSize"], 1_048_576);
    shared(Value::Null);
    assert_eq!(next(&mut client).1, json!({"deleted": ["limit"]}));

    let call = json!({"method": "set", "params": {"open": 40}, "timeout_ms": 60_000});
    let rpc = format!("{path}/rpc");
    let answered = std::thread::scope(|scope| {
        let calling = scope.spawn(|| tenant.post(&rpc, &call).expect(200));
        let (topic, asked) = next(&mut client);
        assert_eq!(asked, json!({"method": "set", "params": {"open": 40}}));
        let reply = topic.replace("request", "response");
        assert_eq!(client.publish(&reply, br#"{"done":true}"#).0, 0);
        // Once is once: nobody waits for it any more.
        assert_eq!(client.publish(&reply, br#"{"done":false}"#).0, 0);
        calling.join().unwrap()
    });
    assert_eq!(answered["result"], json!({"done": true}));

    // Who does not listen any more is not there, and is not called.
    drop(client);
    wait_for("it to be gone", || {
        let short = json!({"method": "m", "timeout_ms": 100});
        (tenant.post(&rpc, &short).status == 503).then_some(())
    });
}
