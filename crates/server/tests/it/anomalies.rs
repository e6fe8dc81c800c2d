//! Access that looks unlike its owner, beside what [`crate::records`] shows: refusals of one
//! person, keys that are none, and hours of the day. Each raises an alert and opens an incident.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::certificates::{administration, ask};
use crate::harness::{Mode, Options, Platform, wait_for};
use crate::records::{FIREFOX, Person, found};
use crate::rights;

/// Earlier sign-ins that are compared before an hour can be odd.
const SIGN_INS: usize = 20;
/// More than an actor may be refused, and more keys than an address may try, in five minutes.
const REFUSED: usize = 31;

#[test]
fn refusals_keys_that_are_none_and_odd_hours_raise_alert_and_incident() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-03-01T10:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let mut tenant = platform.tenant();
    let sign_in = || Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    for _ in 1..SIGN_INS {
        sign_in();
    }
    let at_ten = sign_in();
    assert!(found(&at_ten, "odd_hours").is_none());
    platform.control("clock_advance", json!({"micros": 8u64 * 3_600 * 1_000_000})).unwrap();
    let at_six = sign_in();
    let odd = wait_for("an odd hour", || found(&at_six, "odd_hours"));
    assert_eq!(odd["alert"]["severity"], "low", "{odd}");

    // The first session was idle for too long.
    let again = platform.sign_in(&tenant.email, &tenant.password);
    tenant.cookie = again.cookie().expect("a session");
    let viewer = rights::Person::new(&platform, &tenant, "curious", "viewer");
    let secure = || viewer.post("/v1/account/authenticator", &json!({}));
    secure().expect(200);
    for number in 0..REFUSED {
        viewer.post("/v1/groups", &json!({"name": format!("g{number}")})).problem(403);
    }
    let spike = wait_for("a spike of refusals", || found(&at_six, "denied_spike"));
    assert_eq!(spike["alert"]["severity"], "medium", "{spike}");
    let refused = wait_for("the session to be doubted", || {
        let answer = secure();
        (answer.status == 403).then_some(answer)
    });
    assert_eq!(refused.problem(403)["type"], "/problems/confirm-identity");

    // Whose key it would be nobody knows: it is told to the platform's own people.
    for number in 0..REFUSED {
        let mut key = tenant.api_key.clone();
        key.truncate(key.len() - 4);
        let request = platform.http().get("/v1/devices").bearer(&format!("{key}{number:04}"));
        request.from(Ipv4Addr::new(127, 0, 0, 77)).send().problem(401);
    }
    let root = administration(&platform);
    let alerts = || ask(&platform, &root, "GET", "/v1/security-alerts", &json!({})).expect(200);
    let told: Value = wait_for("refused keys", || {
        let alerts = alerts();
        let is_it = |alert: &&Value| alert["kind"] == "refused_keys";
        alerts["items"].as_array()?.iter().find(is_it).cloned()
    });
    assert!(told["incident_id"].is_string(), "{told}");
    assert!(told["seen"].to_string().contains("127.0.0.77"), "{told}");
    assert!(found(&at_six, "refused_keys").is_none(), "the tenant hears nothing of it");
}
