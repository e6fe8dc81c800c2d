//! Holds: whose records they keep, also when an API key did the deed, and who places and ends them.

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform};
use crate::records::{FIREFOX, Person};

fn platform() -> Platform {
    let options = Options {
        arguments: vec!["--simulated-clock".to_owned(), "2026-01-10T08:00:00Z".to_owned()],
        ..Options::default()
    };
    Platform::start(Mode::Serve, options)
}

/// Asks for a hold; answers its path.
#[track_caller]
fn ask(person: &Person<'_>, scope: &Value) -> String {
    let hold = json!({
        "scope": scope, "reason": "fraud", "note": "Meters turned back",
        "expires_at": "2027-01-01T00:00:00Z",
    });
    let made = person.post("/v1/holds", &hold).expect(201);
    format!("/v1/holds/{}", made["id"].as_str().unwrap())
}

#[test]
fn what_a_key_did_is_its_makers() {
    let platform = &platform();
    let tenant = platform.tenant();
    let by_operator = || Person::by_operator(platform, &tenant.id);
    let (maker, second, third) = (by_operator(), by_operator(), by_operator());
    let key = maker.post("/v1/api-keys", &json!({"name": "k", "role": "administrator"}));
    let key = key.expect(201);
    let (id, secret) = (key["api_key"]["id"].clone(), key["secret"].as_str().unwrap());
    let device = json!({"name": "by key", "type": "test", "declaration": "non_personal"});
    platform.http().post("/v1/devices").bearer(secret).json(&device).send().expect(201);
    let record = second.records("action=device.create")[0]["id"].clone();
    let holds = [json!({"actor": id}), json!({"records": [record]})].map(|scope| {
        let path = ask(&second, &scope);
        assert_eq!(third.post(&format!("{path}/approve"), &json!({})).status, 204);
        path
    });
    let refused = || {
        for path in &holds {
            let refused = maker.delete(path).problem(409);
            let detail = refused["detail"].as_str().unwrap();
            assert!(detail.starts_with("neither whose records"), "{detail}");
        }
        let shown = maker.get("/v1/holds").expect(200);
        let shown = shown["items"].as_array().unwrap();
        assert!(shown.iter().all(|hold| hold["is_held"] == true), "{shown:?}");
    };
    refused();
    let revoked = maker.delete(&format!("/v1/api-keys/{}", id.as_str().unwrap()));
    assert_eq!(revoked.status, 204);
    refused();
    for path in &holds {
        assert_eq!(second.delete(path).status, 202);
        assert_eq!(third.delete(path).status, 204);
    }
}

#[test]
fn two_of_a_small_customer_place_a_hold() {
    let platform = &platform();
    let tenant = platform.tenant();
    let owner = Person::sign_in(&tenant, platform, [127, 0, 0, 1], FIREFOX);
    let (ann, bo) = (owner.colleague("administrator"), owner.colleague("administrator"));
    let of = |person: &Person<'_>, member: &str| {
        let session = person.get("/v1/session").expect(200);
        session["user"][member].as_str().unwrap().to_owned()
    };
    let approve =
        |person: &Person<'_>, hold: &str| person.post(&format!("{hold}/approve"), &json!({}));
    let refused = |answer: crate::http::Answer, begins: &str| {
        let detail = answer.problem(409)["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(begins), "{detail}");
        assert!(
            detail.ends_with(
                "whoever answers for your organisation has somebody of yours \
            brought in by the operator"
            ),
            "{detail}"
        );
    };
    // Whom the owner has just brought in may be the owner.
    let soon = ask(&ann, &json!({"action": "device."}));
    refused(approve(&bo, &soon), "the same person brought both of you in");
    let about = ask(&ann, &json!({"actor": of(&bo, "id")}));
    refused(approve(&bo, &about), "the same person brought both of you in");
    let own = ask(&owner, &json!({"action": "rule."}));
    refused(approve(&ann, &own), "one of you brought the other in");
    let emails = [&ann, &bo].map(|person| of(person, "email"));
    platform.control("clock_advance", json!({"micros": 8u64 * 86_400 * 1_000_000})).unwrap();
    let [ann, bo] = [ann.again(&emails[0]), bo.again(&emails[1])];
    assert_eq!(approve(&bo, &soon).status, 204);
    assert_eq!(approve(&ann, &own).status, 204);
    // Ending one stays strict.
    assert_eq!(ann.delete(&own).status, 202);
    refused(owner.again(&tenant.email).delete(&own), "one of you brought the other in");
}
