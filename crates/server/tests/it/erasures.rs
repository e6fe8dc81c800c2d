//! The erasure of a person over REST, to its certificate, and from a backup of before that is
//! restored; a copy whose readings a real import takes; what people limited stays out of files.

use std::fs;

use serde_json::{Value, json};

use crate::alerts::rule;
use crate::destructions::{back_up, elsewhere, restore};
use crate::harness::{Platform, wait_for};
use crate::http::Answer;
use crate::rights::{Person, id};
use crate::tenant::{Device, Tenant};

const T0: i64 = 1_740_787_200_000;
const PERSON: &str = "Ada of the erasure";
const NUMBER: &str = "+447700900123";
const WORD: &str = "a word that nobody else writes";
const RULE: &str = "Fever of the erased";
const DUTY: &str = "duty@site.example";
const INVITED: &str = "Ada as she was invited";
const WORN: &str = "on the left wrist";

fn say(tenant: &Tenant, path: &str, body: &Value) -> Answer {
    tenant.person("POST", path).json(body).send()
}

fn wear(tenant: &Tenant, device: &Device, person: &str) {
    let subject = json!({"kind": "device", "person": person});
    let targets = json!([{"device_id": device.id}]);
    let body = json!({"targets": targets, "declaration": "personal", "subject": subject});
    let declared = say(tenant, "/v1/stream-declarations", &body);
    assert!(declared.status < 300, "{}", declared.text());
}

fn count(tenant: &Tenant, device: &Device) -> u64 {
    let body = json!({"series": [{"device_id": device.id, "key": "t"}]});
    let found = say(tenant, "/v1/telemetry/stats", &body).expect(200);
    found["series"][0]["count"].as_u64().unwrap()
}

fn is_listed(tenant: &Tenant, user: &str) -> bool {
    let people = tenant.person("GET", "/v1/users").send().expect(200);
    people["items"].as_array().unwrap().iter().any(|one| one["id"] == *user)
}

/// Somebody agrees to text messages to a number, and writes a word of their own.
fn leave_words(tenant: &Tenant, cookie: &str, (number, word): (&str, &str)) {
    let send = |path: &str, body: &Value| {
        tenant.http().post(path).header("cookie", cookie).json(body).send()
    };
    let consent = json!({"purpose": "sms_alerts", "version": 1, "value": number});
    let given = send("/v1/account/consents", &consent);
    assert!(given.status < 300, "{}", given.text());
    let asked = json!({"kind": "rectification", "text": word});
    let made = id(&send("/v1/requests/own", &asked).expect(201));
    let path = format!("/v1/requests/own/{made}");
    tenant.http().request("DELETE", &path).header("cookie", cookie).send().expect(204);
}

/// A copy of what is kept of somebody, as an officer takes it; the request is answered.
fn copy_of(tenant: &Tenant, asked: &Value) -> String {
    let path = known_request(tenant, asked);
    let copy = say(tenant, &format!("{path}/copy"), &json!({}));
    assert_eq!(copy.status, 200, "{}", copy.text());
    let answer = json!({"step": "answer", "text": "Here it is."});
    say(tenant, &format!("{path}/steps"), &answer).expect(200);
    String::from_utf8_lossy(&copy.body).into_owned()
}

/// Somebody stands where nothing is theirs: in a rule that mails them beside somebody else, in an
/// invitation, and in an attribute of their device. The path of the rule.
fn stand_elsewhere(tenant: &Tenant, device: &Device, address: &str) -> String {
    let condition = json!({
        "kind": "threshold", "key": "t", "op": "gt", "threshold": 99.0, "hysteresis": 1.0,
        "for_seconds": 0,
    });
    let mut new = rule(RULE, condition);
    new["notify_emails"] = json!([DUTY, address]);
    let made = id(&tenant.post("/v1/rules", &new).expect(201));
    let invitee = json!({"email": address, "role": "viewer", "name": INVITED});
    tenant.post("/v1/users", &invitee).expect(201);
    let attributes = json!({"server": {"note": WORN}});
    let path = format!("/v1/devices/{}/attributes", device.id);
    tenant.person("PATCH", &path).json(&attributes).send().expect(200);
    format!("/v1/rules/{made}")
}

/// The rule mails whom it mailed beside somebody who was erased, and nobody else is invited.
fn assert_nowhere(tenant: &Tenant, device: &Device, rule: &str) {
    let left = tenant.person("GET", rule).send().expect(200);
    assert_eq!((&left["notify_emails"], &left["name"]), (&json!([DUTY]), &json!(RULE)), "{left}");
    let open = tenant.person("GET", "/v1/invitations").send().expect(200);
    assert_eq!(open["items"], json!([]), "{open}");
    let path = format!("/v1/devices/{}/attributes", device.id);
    let held = tenant.person("GET", &path).send().expect(200);
    assert!(!held.to_string().contains(WORN), "{held}");
}

/// A request at the desk of which it is known who asks; its path.
fn known_request(tenant: &Tenant, asked: &Value) -> String {
    let path = format!("/v1/requests/{}", id(&say(tenant, "/v1/requests", asked).expect(201)));
    let known = json!({"step": "verify", "how": "document"});
    say(tenant, &format!("{path}/steps"), &known).expect(200);
    path
}

#[test]
fn whoever_was_erased_is_gone_also_from_a_backup_of_before() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let (user, cookie) = tenant.member("leaver", "viewer");
    let (_, other) = tenant.member("stayer", "viewer");
    leave_words(&tenant, &cookie, (NUMBER, WORD));
    leave_words(&tenant, &other, ("+447700900199", "somebody else's word"));
    let band = tenant.device("band");
    for ms in [T0, T0 + 1000] {
        tenant.send(&band, &json!({"ts": ms, "values": {"t": 36.6}})).expect(200);
    }
    wear(&tenant, &band, PERSON);
    assert_eq!(count(&tenant, &band), 2);
    let address = format!("leaver-{}@tenant.example", &tenant.id[24..]);
    let mailing = stand_elsewhere(&tenant, &band, &address);
    let copy = copy_of(&tenant, &json!({"kind": "access", "user_id": user, "person": PERSON}));
    for theirs in [WORD, "leaver-", PERSON, "36.6", "sms_alerts", RULE, INVITED, WORN] {
        assert!(copy.contains(theirs), "a copy lacks {theirs}");
    }
    assert!(!copy.contains("stayer-") && !copy.contains("somebody else's word"));
    let (out, keyring) = back_up(&platform);

    let asked = json!({"kind": "erasure", "user_id": user, "person": PERSON});
    let path = known_request(&tenant, &asked);
    tenant.person("GET", &format!("{path}/certificate")).send().problem(409);
    say(&tenant, &format!("{path}/fulfil"), &json!({})).expect(204);
    say(&tenant, &format!("{path}/fulfil"), &json!({})).problem(409);
    let erased = wait_for("an erasure", || {
        let seen = tenant.person("GET", &path).send().expect(200);
        (seen["request"]["state"] == "answered").then_some(seen)
    });
    assert_eq!((count(&tenant, &band), is_listed(&tenant, &user)), (0, false));
    assert_nowhere(&tenant, &band, &mailing);
    assert!(!erased.to_string().contains(PERSON), "{erased}");
    let leaf = erased["ledger_index"].as_u64().expect("a leaf");
    tenant.get(&format!("/v1/ledger/entries/{leaf}/proof")).expect(200);
    let text = tenant.person("GET", &format!("{path}/certificate")).send().text();
    assert!(!text.contains(PERSON), "{text}");
    let file = platform.scratch("erasure.json");
    fs::write(&file, &text).unwrap();
    let facts = platform.cli(&["purge", "--verify", file.to_str().unwrap(), "--json"]).json();
    let statement = &facts["statement"];
    assert_eq!(statement["type"], "veritwin certificate of erasure", "{statement}");
    assert!(statement["destruction"]["certificate_sha256"].is_string(), "{statement}");
    platform.kill();

    let mut restored = elsewhere(&platform);
    restore(&mut restored, &out, &keyring);
    // A restored platform knows no session.
    let session = restored.sign_in(&tenant.email, &tenant.password);
    session.expect(200);
    let mut back = tenant.at(restored.http());
    back.cookie = session.cookie().unwrap();
    assert_eq!((count(&back, &band), is_listed(&back, &user)), (0, false));
    assert_nowhere(&back, &band, &mailing);
    let again = back.person("GET", &path).send().expect(200);
    assert_eq!(again["request"]["state"], "answered", "{again}");
    assert_eq!(back.person("GET", &format!("{path}/certificate")).send().status, 200);
    // Whoever asks with the same name and address finds what they ask now, and nothing of before.
    let copy = copy_of(&back, &json!({"kind": "access", "email": address, "person": PERSON}));
    for gone in [WORD, NUMBER, "36.6", "sms_alerts", RULE, INVITED, WORN] {
        assert!(!copy.contains(gone), "a restored backup has {gone}");
    }
}

#[test]
fn one_who_asked_themselves_is_erased_by_a_privacy_officer() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let officer = Person::new(platform, &tenant, "eraser", "privacy_officer");
    let gone = Person::new(platform, &tenant, "erased", "viewer");
    let made = id(&gone.post("/v1/requests/own", &json!({"kind": "erasure"})).expect(201));
    let path = format!("/v1/requests/{made}");
    // Nobody says that it is done who has not done it.
    let done = json!({"step": "answer", "text": "It is done."});
    officer.post(&format!("{path}/steps"), &done).problem(409);
    gone.post(&format!("{path}/fulfil"), &json!({})).problem(403);
    officer.post(&format!("{path}/fulfil"), &json!({})).expect(204);
    let erased = wait_for("an erasure", || {
        let seen = officer.get(&path).expect(200);
        let steps = seen["steps"].as_array().unwrap().clone();
        steps.iter().any(|step| step["name"] == "forgotten").then_some(seen)
    });
    assert_eq!(erased["has_certificate"], true, "{erased}");
    assert_eq!(erased["request"]["subject"], gone.id, "{erased}");
    assert!(!erased.to_string().contains("erased-"), "{erased}");
    gone.get("/v1/requests/own").problem(401);
    assert!(!is_listed(&tenant, &gone.id));
}

#[test]
fn a_refusal_can_be_taken_back() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let asked = json!({"kind": "access", "email": "somebody@elsewhere.example"});
    let path = known_request(&tenant, &asked);
    let step = |body: Value| say(&tenant, &format!("{path}/steps"), &body);
    step(json!({"step": "reopen", "text": "why not"})).problem(409);
    let no = json!({"step": "refuse", "reason": "unfounded", "text": "", "jurisdiction": "GB"});
    step(no).expect(200);
    step(json!({"step": "reopen", "text": ""})).problem(400);
    let open = step(json!({"step": "reopen", "text": "We were wrong."})).expect(200);
    assert_eq!(open["request"]["state"], "open", "{open}");
    assert_eq!(open["request"]["refusal"], json!(null), "{open}");
    let list = tenant.person("GET", "/v1/requests?state=open").send().expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    step(json!({"step": "answer", "text": "Here it is."})).expect(200);
    let list = tenant.person("GET", "/v1/requests?state=open").send().expect(200);
    assert_eq!(list["items"], json!([]), "{list}");
    tenant.person("GET", "/v1/requests?state=closed").send().problem(400);
}

#[test]
fn an_export_says_what_people_keep_out_of_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (band, pump) = (tenant.device("band"), tenant.device("pump"));
    for device in [&band, &pump] {
        tenant.send(device, &json!({"ts": T0, "values": {"t": 7.25}})).expect(200);
    }
    wear(&tenant, &band, "Grace");
    let taken = || {
        let answer = say(&tenant, "/v1/telemetry/export", &json!({"format": "csv"}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let name = "veritwin-series-restricted";
        let said = answer.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        (said.map(|(_, value)| value.clone()), answer.text().matches("7.25").count())
    };
    assert_eq!(taken(), (Some("0".to_owned()), 2));
    let path = known_request(&tenant, &json!({"kind": "restriction", "person": "Grace"}));
    say(&tenant, &format!("{path}/fulfil"), &json!({})).expect(204);
    assert_eq!(taken(), (Some("1".to_owned()), 1));
}

/// The content of a file that a ZIP file holds as it is.
fn unzipped(zip: &[u8], name: &str) -> Vec<u8> {
    let number = |at: usize, length: usize| {
        zip[at..at + length].iter().rev().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let mut at = 0;
    while zip[at..].starts_with(b"PK\x03\x04") {
        let (size, length) = (number(at + 18, 4), number(at + 26, 2));
        let from = at + 30 + length;
        if &zip[at + 30..from] == name.as_bytes() {
            return zip[from..from + size].to_vec();
        }
        at = from + size;
    }
    panic!("no {name} in the copy");
}

#[test]
fn the_readings_of_a_copy_are_imported_elsewhere_as_they_were() {
    let platform = Platform::shared();
    let (from, to) = (platform.tenant(), platform.tenant());
    let band = from.device("Band");
    for row in 0..20 {
        let values = json!({
            "flow": f64::from(row) / 4.0, "count": row, "on": row % 2 == 0,
            "note": format!("=a \"b\", {row}"),
        });
        from.send(&band, &json!({"ts": T0 + i64::from(row) * 1_000, "values": values})).expect(200);
    }
    let of = |tenant: &Tenant, device: &Device| {
        ["flow", "count", "on", "note"].map(|key| tenant.points(device, key))
    };
    let before = of(&from, &band);
    wear(&from, &band, "Hedy");
    let path = known_request(&from, &json!({"kind": "portability", "person": "Hedy"}));
    let copy = say(&from, &format!("{path}/copy"), &json!({}));
    assert_eq!(copy.status, 200, "{}", copy.text());
    let data: Value = serde_json::from_slice(&unzipped(&copy.body, "data.json")).unwrap();
    let schema: Value = serde_json::from_slice(&unzipped(&copy.body, "schema.json")).unwrap();
    for name in schema["required"].as_array().unwrap() {
        assert!(!data[name.as_str().unwrap()].is_null(), "{name}");
    }
    let file = platform.scratch("copy.csv");
    fs::write(&file, unzipped(&copy.body, "readings.csv")).unwrap();
    let again = to.device("Band");
    let columns = [
        "--device-column",
        "device",
        "--key-column",
        "key",
        "--value-column",
        "value",
        "--kind-column",
        "type",
        "--quality-column",
        "quality",
    ];
    let common = ["readings", "import", file.to_str().unwrap(), "--json", "--api-key", &to.api_key];
    platform.cli(&[&common[..], &columns].concat()).done();
    assert_eq!(before, of(&to, &again));
}
