//! Requests of data subjects over REST: one's own, an officer's steps through to the answer, and
//! the form without an account, which tells nobody whose address is held.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::harness::Platform;
use crate::rights::{Person, id};

#[test]
fn an_officer_takes_a_request_through_to_its_answer() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let officer = Person::new(platform, &tenant, "officer", "privacy_officer");
    let viewer = Person::new(platform, &tenant, "looker", "viewer");
    let asked = json!({"kind": "access", "email": "somebody@elsewhere.example"});
    let path = format!("/v1/requests/{}", id(&officer.post("/v1/requests", &asked).expect(201)));
    viewer.get(&path).problem(403);
    let step = |body: Value| officer.post(&format!("{path}/steps"), &body);
    // Nothing is handed over before it is known who asks.
    officer.post(&format!("{path}/copy"), &json!({})).problem(409);
    officer.post(&format!("{path}/fulfil"), &json!({})).problem(409);
    step(json!({"step": "nothing"})).problem(400);
    // Nobody was asked, so no clock stands.
    let seen = officer.get(&path).expect(200);
    assert_eq!(seen["request"]["is_paused"], false, "{seen}");
    let seen = step(json!({"step": "verify", "how": "document"})).expect(200);
    assert_eq!(seen["request"]["is_paused"], false, "{seen}");
    let copy = officer.request("POST", &format!("{path}/copy")).json(&json!({})).send();
    assert_eq!(copy.status, 200, "{}", copy.text());
    assert!(copy.body.starts_with(b"PK"), "a ZIP file");
    officer.post(&format!("{path}/fulfil"), &json!({})).expect(204);
    let seen = officer.get(&path).expect(200);
    assert_eq!(seen["request"]["state"], "answered", "{seen}");
    step(json!({"step": "answer", "text": "again"})).problem(409);
}

#[test]
fn a_refusal_names_the_authority() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let officer = Person::new(platform, &tenant, "refuser", "privacy_officer");
    let asked = json!({"kind": "erasure", "email": "somebody@elsewhere.example"});
    let path = format!("/v1/requests/{}", id(&officer.post("/v1/requests", &asked).expect(201)));
    let no = json!({"step": "refuse", "reason": "unfounded", "text": "", "jurisdiction": "GB"});
    let seen = officer.post(&format!("{path}/steps"), &no).expect(200);
    let authority = seen["request"]["authority"].as_str().unwrap_or_default();
    assert!(authority.contains("Information Commissioner"), "{seen}");
}

#[test]
fn ones_own_requests_are_ones_own() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (one, other) = (
        Person::new(platform, &tenant, "one", "viewer"),
        Person::new(platform, &tenant, "other", "viewer"),
    );
    let asked = json!({"kind": "rectification", "text": "My name is spelt otherwise."});
    let made = id(&one.post("/v1/requests/own", &asked).expect(201));
    let path = format!("/v1/requests/own/{made}");
    other.request("DELETE", &path).send().problem(404);
    assert_eq!(other.get("/v1/requests/own").expect(200)["items"], json!([]));
    one.request("DELETE", &path).send().expect(204);
    let own = one.get("/v1/requests/own").expect(200);
    assert_eq!(own["items"][0]["state"], "withdrawn", "{own}");
}

#[test]
fn the_form_answers_the_same_whether_an_address_is_held() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    // Each from an address of its own: the form is slowed down by address.
    let post = |path: &str, from: u8, body: &Value| {
        let from = Ipv4Addr::new(127, 55, 0, from);
        platform.http().post(path).from(from).json(body).send()
    };
    let send = |email: &str, from: u8| {
        let body = json!({"kind": "access", "email": email, "organisation": tenant.id});
        post("/v1/requests/form", from, &body)
    };
    let (known, unknown) = (send(&tenant.email, 1), send("nobody@elsewhere.example", 2));
    let names = |answer: &Value| -> Vec<String> {
        answer.as_object().expect("an object").keys().cloned().collect()
    };
    let (known, unknown) = (known.expect(202), unknown.expect(202));
    assert_eq!(names(&known), names(&unknown));
    // A code that was not mailed, of either, and of a request that never was.
    let never = "00000000-0000-7000-8000-000000000000".to_owned();
    let wrong = |(id, from): (String, u8), path: &str| {
        let body = json!({"id": id, "code": "00000000"});
        let answer = post(path, from, &body);
        answer.problem(401);
        answer.text()
    };
    for path in ["/v1/requests/form/confirm", "/v1/requests/form/copy"] {
        let texts = [(id(&known), 3), (id(&unknown), 4), (never.clone(), 5)];
        let texts = texts.map(|asked| wrong(asked, path));
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }
}

#[test]
fn nobody_of_another_organisation_is_in_a_request() {
    let platform = Platform::shared();
    let (here, there) = (platform.tenant(), platform.tenant());
    let officer = Person::new(platform, &here, "desk", "privacy_officer");
    let (stranger, _) = there.member("stranger", "viewer");
    for email in [json!(null), json!("desk@elsewhere.example")] {
        let asked = json!({"kind": "access", "user_id": stranger, "email": email});
        officer.post("/v1/requests", &asked).problem(404);
    }
    // An address that is not the account's would get the account's copy.
    let (colleague, _) = here.member("colleague", "viewer");
    let asked = json!({"kind": "access", "user_id": colleague, "email": "desk@elsewhere.example"});
    officer.post("/v1/requests", &asked).problem(400);
}

#[test]
fn a_limit_counts_once_and_a_copy_is_fetched_by_oneself() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let one = Person::new(platform, &tenant, "limiter", "viewer");
    let asked = json!({"kind": "restriction"});
    let made = id(&one.post("/v1/requests/own", &asked).expect(201));
    one.post("/v1/requests/own", &asked).problem(409);
    let own = one.get("/v1/requests/own").expect(200);
    assert_eq!(own["items"][0]["state"], "answered", "{own}");
    one.request("DELETE", &format!("/v1/requests/own/{made}")).send().expect(204);
    one.post("/v1/requests/own", &asked).expect(201);
    // What is in it is theirs, from every store that has something, and nobody else's.
    Person::new(platform, &tenant, "bystander", "viewer");
    let consent = json!({"purpose": "sms_alerts", "version": 1, "value": "+447700900123"});
    let given = one.post("/v1/account/consents", &consent);
    assert!(given.status < 300, "{}", given.text());
    let copy = one.request("POST", "/v1/requests/own/export").json(&json!({})).send();
    assert_eq!(copy.status, 200, "{}", copy.text());
    assert!(copy.body.starts_with(b"PK"), "a ZIP file");
    let holds = |text: &str| copy.body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("limiter-") && holds("+447700900123") && holds(&made));
    assert!(!holds("bystander-"));
}

#[test]
fn an_account_that_is_gone_is_named_in_no_request_any_more() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let officer = Person::new(platform, &tenant, "keeper", "privacy_officer");
    let gone = Person::new(platform, &tenant, "leaver", "viewer");
    let limit = id(&gone.post("/v1/requests/own", &json!({"kind": "restriction"})).expect(201));
    let asked = json!({"kind": "rectification", "text": "My name is spelt Leaver."});
    let open = id(&gone.post("/v1/requests/own", &asked).expect(201));
    tenant.person("POST", &format!("/v1/users/{}/underage", gone.id)).send().expect(200);
    let seen = |id: &str| officer.get(&format!("/v1/requests/{id}")).expect(200)["request"].clone();
    let ended = seen(&limit);
    assert_eq!(ended["state"], "withdrawn", "{ended}");
    assert_eq!(ended["subject"], gone.id, "{ended}");
    // What is open is answered all the same, and names nobody from then on.
    let version = seen(&open)["version"].as_u64().unwrap();
    let path = format!("/v1/requests/{open}/steps");
    let answer = json!({"step": "answer", "text": "It is written as you asked."});
    let step = |tag: &str| {
        let request = officer.request("POST", &path).header("if-match", tag);
        request.json(&answer).send()
    };
    step("\"99\"").problem(409);
    step(&format!("\"{version}\"")).expect(200);
    let answered = seen(&open);
    assert_eq!(answered["state"], "answered", "{answered}");
    assert_eq!(answered["text"], "", "{answered}");
    assert_eq!(answered["subject"], gone.id, "{answered}");
}
