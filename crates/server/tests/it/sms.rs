//! Alerts by SMS through a real HTTPS gateway on this machine: to people who agreed, for what is
//! urgent, without values; a withdrawal stops them, and a gateway that the policy does not name
//! gets nothing.

use serde_json::json;

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::tenant::{Device, Tenant};
use crate::webhooks::Endpoint;

const ANN: &str = "+447700900101";
const CLEO: &str = "+447700900103";

fn platform(gateway: &Endpoint, provider: &str) -> Platform {
    let options = Options::default()
        .environment("VERITWIN__OUTBOUND__AUTHORITIES", &gateway.authority)
        .environment("VERITWIN__SMS__URL", &gateway.url())
        .environment("VERITWIN__SMS__PROVIDER", provider)
        .environment("VERITWIN__SMS__SENDER", "Veritwin")
        .environment("VERITWIN__SMS__AUTHORIZATION", "Bearer of-the-gateway")
        .environment("VERITWIN__OPERATOR__SUB_PROCESSORS", "Gateway Ltd | SMS | UK | signed");
    Platform::start(Mode::Serve, options)
}

fn agree(platform: &Platform, cookie: &str, number: &str) {
    let body = json!({"purpose": "sms_alerts", "version": 1, "value": number});
    let request = platform.http().post("/v1/account/consents").header("cookie", cookie);
    request.json(&body).send().expect(204);
}

fn watch(tenant: &Tenant, device: &Device, severity: &str, people: &[&str]) {
    let condition = json!({
        "kind": "threshold", "key": "t", "op": "gt", "threshold": 10, "hysteresis": 0,
        "for_seconds": 0,
    });
    let address = |name: &&str| format!("{name}-{}@tenant.example", &tenant.id[24..]);
    let rule = json!({
        "name": format!("Too warm: {}", device.name), "severity": severity,
        "scope": {"device_id": device.id}, "condition": condition, "what_helps": "",
        "notify_emails": people.iter().map(address).collect::<Vec<_>>(),
    });
    tenant.post("/v1/rules", &rule).expect(201);
}

#[test]
fn who_agreed_is_told_until_they_take_it_back() {
    let gateway = Endpoint::start();
    let platform = platform(&gateway, "Gateway Ltd");
    let tenant = platform.tenant();
    let (_, ann) = tenant.member("ann", "viewer");
    tenant.member("ben", "viewer");
    let (_, cleo) = tenant.member("cleo", "viewer");
    agree(&platform, &ann, ANN);
    let people = ["ann", "ben", "cleo"];
    let first = tenant.device("first");
    watch(&tenant, &first, "critical", &people);
    tenant.send(&first, &json!({"t": 21.5})).expect(200);
    let arrived = gateway.next();
    assert_eq!(arrived.headers["authorization"], "Bearer of-the-gateway");
    let told = arrived.json();
    assert_eq!((&told["to"], &told["from"]), (&json!(ANN), &json!("Veritwin")));
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("[critical] Too warm: first") && !text.contains("21.5"), "{text}");
    // What is not urgent is for the mailbox; and who took it back is told nothing more.
    agree(&platform, &cleo, CLEO);
    let request = platform.http().post("/v1/account/consents/withdraw").header("cookie", &ann);
    request.json(&json!({"purpose": "sms_alerts"})).send().expect(204);
    let (low, second) = (tenant.device("low"), tenant.device("second"));
    watch(&tenant, &low, "low", &people);
    tenant.send(&low, &json!({"t": 21.5})).expect(200);
    wait_for("the alert of the low rule", || {
        let all = tenant.get("/v1/alerts?filter=all").expect(200);
        (all["items"].as_array()?.len() == 2).then_some(())
    });
    watch(&tenant, &second, "high", &people);
    tenant.send(&second, &json!({"t": 21.5})).expect(200);
    // A message about the first that was not looked at before she agreed goes to her as well.
    let told = loop {
        let told = gateway.next().json();
        assert_eq!(told["to"], CLEO);
        if !told["text"].as_str().unwrap().contains(": first") {
            break told;
        }
    };
    assert!(told["text"].as_str().unwrap().starts_with("[high] Too warm: second"), "{told}");
    assert!(gateway.try_next().is_none());
}

#[test]
fn a_gateway_that_the_policy_does_not_name_gets_nothing() {
    let gateway = Endpoint::start();
    let platform = platform(&gateway, "Somebody Else");
    let tenant = platform.tenant();
    let (_, ann) = tenant.member("ann", "viewer");
    agree(&platform, &ann, ANN);
    let device = tenant.device("first");
    watch(&tenant, &device, "critical", &["ann"]);
    tenant.send(&device, &json!({"t": 21.5})).expect(200);
    wait_for("the refusal in the log", || {
        platform.stderr().contains("not sent before the policy names their gateway").then_some(())
    });
    assert!(gateway.try_next().is_none());
}
