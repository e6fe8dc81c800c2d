//! Access as the customer can read it: records with origin and change, search and export, holds
//! over the ninetieth day, anomalous access, support by grant and by break-glass.
//! tidy: long file because the same people act in every test.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use veritwin_keys::totp;
use veritwin_simulator::geo;

use crate::harness::{Mode, Options, Platform, link_token, now_ms, wait_for};
use crate::http::Answer;
use crate::people::decode;
use crate::tenant::Tenant;
use crate::websocket::WebSocket;

pub(crate) const FIREFOX: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";

/// A signed-in person.
pub(crate) struct Person<'a> {
    platform: &'a Platform,
    cookie: String,
    password: String,
}

impl<'a> Person<'a> {
    /// An administrator of the tenant, from an address of this machine.
    pub(crate) fn sign_in(
        tenant: &Tenant,
        platform: &'a Platform,
        from: [u8; 4],
        agent: &str,
    ) -> Self {
        let body = json!({"email": tenant.email, "password": tenant.password});
        let request = platform.http().post("/v1/session").header("user-agent", agent);
        let answer = request.from(Ipv4Addr::from(from)).json(&body).send();
        answer.expect(200);
        let password = tenant.password.clone();
        Self { platform, cookie: answer.cookie().expect("a session"), password }
    }

    /// Redeems a one-time link.
    fn redeem(platform: &'a Platform, token: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let password = format!("correct horse {number} battery");
        let body = json!({
            "token": token, "email": format!("person-{number}@people.example"),
            "password": password, "attested": true,
        });
        let answer = platform.http().post("/v1/welcome").json(&body).send();
        answer.expect(201);
        Self { platform, cookie: answer.cookie().expect("a session"), password }
    }

    pub(crate) fn colleague(&self, role: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let body = json!({"email": format!("colleague-{number}@people.example"), "role": role});
        let link = self.post("/v1/users", &body).expect(201)["link"].as_str().unwrap().to_owned();
        Self::redeem(self.platform, link_token(&link))
    }

    /// An administrator of a tenant whom the operator brought in.
    pub(crate) fn by_operator(platform: &'a Platform, tenant: &str) -> Self {
        let link = platform.control("admin_link", json!({"tenant": tenant})).unwrap();
        Self::redeem(platform, link_token(link["link"].as_str().unwrap()))
    }

    /// The same person, signed in again.
    pub(crate) fn again(&self, email: &str) -> Self {
        let answer = self.platform.sign_in(email, &self.password);
        answer.expect(200);
        let cookie = answer.cookie().expect("a session");
        Self { platform: self.platform, cookie, password: self.password.clone() }
    }

    fn staff(platform: &'a Platform) -> Self {
        let link = platform.control("admin_link", json!({"support": true})).unwrap();
        Self::redeem(platform, link_token(link["link"].as_str().unwrap()))
    }

    /// Sets a second factor up and proves it.
    fn secured(self) -> Self {
        let now = u64::try_from(now_ms() / 1000).unwrap();
        self.secured_at(now)
    }

    /// The same by a clock that says so many seconds since the epoch.
    pub(crate) fn secured_at(mut self, now: u64) -> Self {
        let made = self.post("/v1/account/authenticator", &json!({})).expect(200);
        let secret = decode(made["secret"].as_str().unwrap());
        let code_at = |step: u64| totp::code(&secret, now / totp::TOTP_STEP_S + step);
        let code = json!({"code": code_at(0)});
        let put = self.ask("PUT", "/v1/account/authenticator", &code);
        assert_eq!(put.status, 204);
        self.cookie = put.cookie().unwrap_or(self.cookie);
        let proof = json!({"password": self.password, "code": code_at(1)});
        let proven = self.post("/v1/session/confirm", &proof);
        assert_eq!(proven.status, 204, "{}", proven.text());
        self.cookie = proven.cookie().unwrap();
        self
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.platform.http().request(method, path).header("cookie", &self.cookie);
        if body.is_null() { request.send() } else { request.json(body).send() }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &Value::Null)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body)
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &Value::Null)
    }

    /// The records that fit.
    #[track_caller]
    pub(crate) fn records(&self, query: &str) -> Vec<Value> {
        let found = self.get(&format!("/v1/activity?{query}")).expect(200);
        found["items"].as_array().unwrap().clone()
    }

    fn ticket(&self) -> String {
        let body = json!({"subject": "Chart is empty", "text": "Since this morning."});
        self.post("/v1/support-tickets", &body).expect(201)["id"].as_str().unwrap().to_owned()
    }

    fn grant(&self, ticket: &str, areas: &[&str]) -> String {
        let path = format!("/v1/support-tickets/{ticket}/grants");
        let body = json!({"areas": areas, "hours": 2});
        self.post(&path, &body).expect(201)["id"].as_str().unwrap().to_owned()
    }

    fn enter(&self, tenant: &str) -> Answer {
        self.post("/v1/support-desk/session", &json!({"tenant_id": tenant}))
    }
}

/// With a file that would know this machine's own addresses.
fn with_locations() -> Platform {
    let folder = tempfile::tempdir().unwrap().keep();
    let file = folder.join("places.mmdb");
    let mut known = geo::sample();
    known.push(geo::Location {
        network: Ipv4Addr::new(127, 0, 0, 0).into(),
        bits: 8,
        country: "GB".to_owned(),
        city: "London".to_owned(),
        coordinates: None,
    });
    std::fs::write(&file, geo::database(&known)).unwrap();
    let options = Options::default().environment("VERITWIN__GEO__DATABASE", file.to_str().unwrap());
    Platform::start(Mode::Serve, options)
}

#[test]
fn a_record_says_who_what_from_where_and_what_changed() {
    let platform = with_locations();
    let tenant = platform.tenant();
    let person = Person::sign_in(&tenant, &platform, [127, 0, 1, 7], FIREFOX);
    let session = person.get("/v1/session").expect(200);
    let user = session["user"]["id"].as_str().unwrap().to_owned();
    let device = tenant.device("Pump 1");
    let path = format!("/v1/devices/{}", device.id);
    person.ask("PATCH", &path, &json!({"name": "Pump 2"})).expect(200);
    let attributes = json!({"shared": {"wifi_password": "hunter2", "floor": 3}});
    person.ask("PATCH", &format!("{path}/attributes"), &attributes).expect(200);

    let sign_ins = person.records(&format!("actor={user}&action=session.create"));
    let last = &sign_ins[0];
    assert_eq!(last["browser"], "Firefox", "{last}");
    assert_eq!((&last["system"], &last["address"]), (&json!("Linux"), &json!("127.0.1.7")));
    // This machine is in no place, whatever the file says.
    assert_eq!((&last["country"], &last["city"]), (&Value::Null, &Value::Null));
    assert!(last["session_id"].as_str().is_some_and(|id| id.len() == 36), "{last}");
    let renamed = &person.records("action=device.update")[0];
    assert_eq!(renamed["before"]["name"], "Pump 1", "{renamed}");
    assert_eq!(renamed["after"]["name"], "Pump 2");
    let written = &person.records("action=attribute.write")[0];
    assert_eq!(written["after"]["shared"]["wifi_password"], "[redacted]", "{written}");
    assert_eq!(written["after"]["shared"]["floor"], 3);

    // What is not there, or somebody else's, leaves the same record of the asking.
    let stranger = platform.tenant().device("theirs");
    person.get(&format!("/v1/devices/{}", stranger.id)).problem(404);
    let missing = &person.records("outcome=not_found")[0];
    assert!(missing["resource"].as_str().unwrap().contains(&stranger.id), "{missing}");
    assert!(!platform.stderr().contains("hunter2"));

    // Reads that repeat are counted, not lost.
    for _ in 0..5 {
        tenant.get("/v1/rules").expect(200);
    }
    assert_eq!(person.records("action=rule.list").len(), 1);
    assert_eq!(person.records("q=pump%202").len(), 1);
    assert_eq!(person.records("q=nowhere%20to%20be%20found").len(), 0);
    person.get("/v1/activity?outcome=perhaps").problem(400);
    person.get("/v1/activity?action=Robert'%3B").problem(400);
    let first = person.get("/v1/activity?limit=2").expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = person.get(&format!("/v1/activity?limit=2&cursor={cursor}")).expect(200);
    assert_ne!(first["items"][1]["id"], second["items"][0]["id"]);

    let csv = person.get("/v1/activity/export?format=csv&action=device.");
    assert_eq!(csv.status, 200);
    assert!(csv.text().starts_with("at,actor,actor_id,action,"), "{}", csv.text());
    assert!(csv.text().contains("device.update"));
    let json = person.get("/v1/activity/export?format=json&action=device.").expect(200);
    assert!(json.as_array().unwrap().len() >= 2);
    let exports = person.records("action=activity.export");
    assert_eq!(exports.len(), 2, "{exports:?}");
    let operator = person.colleague("operator");
    operator.get("/v1/activity").problem(403);
    operator.get("/v1/activity/export").problem(403);
}

/// Somebody who signs in and finds nothing of before but what is held, once it is so.
fn purged<'a>(tenant: &'a Tenant, platform: &'a Platform, before: &str) -> Option<Person<'a>> {
    let person = Person::sign_in(tenant, platform, [127, 0, 0, 1], FIREFOX);
    if !person.records("action=rule.write").is_empty() {
        return None;
    }
    let is_held = |row: &Value| row["action"].as_str().unwrap().starts_with("device.");
    if person.records(before).iter().all(is_held) {
        return Some(person);
    }
    // What was noted while the clock moved is taken by the next purge.
    platform.control("clock_advance", json!({"micros": 2u64 * 3_600 * 1_000_000})).unwrap();
    None
}

#[test]
fn on_day_91_only_what_is_held_is_left() {
    let options = Options {
        arguments: vec!["--simulated-clock".to_owned(), "2026-01-10T08:00:00Z".to_owned()],
        ..Options::default()
    };
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let person = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    tenant.device("kept");
    let rule = json!({"name": "r", "severity": "low",
        "condition": {"kind": "no_data", "after_seconds": 600}});
    tenant.post("/v1/rules", &rule).expect(201);
    assert_eq!(person.records("action=rule.write").len(), 1);
    let hold = json!({
        "scope": {"action": "device."}, "reason": "incident", "note": "Break-in at the plant",
        "expires_at": "2027-01-01T00:00:00Z",
    });
    let unbounded = json!({
        "scope": {}, "reason": "incident", "note": "all", "expires_at": "2027-01-01T00:00:00Z",
    });
    person.post("/v1/holds", &unbounded).problem(400);
    let id = person.post("/v1/holds", &hold).expect(201)["id"].as_str().unwrap().to_owned();
    let approve = format!("/v1/holds/{id}/approve");
    person.post(&approve, &json!({})).problem(409);
    let by_key = platform.http().post(&approve).bearer(&tenant.api_key).json(&json!({}));
    by_key.send().problem(403);
    // Whom the asking one brought in is not a second person.
    let puppet = person.colleague("privacy_officer");
    let refused = puppet.post(&approve, &json!({})).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("one of you brought the other in"), "{detail}");
    let second = Person::by_operator(&platform, &tenant.id);
    assert_eq!(second.post(&approve, &json!({})).status, 204);
    assert_eq!(second.get("/v1/holds").expect(200)["items"][0]["state"], "in_force");
    // Whose records are held does not end it.
    let own = person.get("/v1/session").expect(200)["user"]["id"].clone();
    let about = json!({
        "scope": {"actor": own}, "reason": "fraud", "note": "Meters turned back",
        "expires_at": "2026-02-01T00:00:00Z",
    });
    let about = person.post("/v1/holds", &about).expect(201)["id"].as_str().unwrap().to_owned();
    let approved = second.post(&format!("/v1/holds/{about}/approve"), &json!({}));
    assert_eq!(approved.status, 204);
    let about = format!("/v1/holds/{about}");
    person.delete(&about).problem(409);
    // It takes two others: the second cannot be the first, nor whose records they are.
    let third = Person::by_operator(&platform, &tenant.id);
    // Nor whom they brought in: two puppets end nothing.
    puppet.delete(&about).problem(409);
    assert_eq!(second.delete(&about).status, 202);
    let shown = second.get("/v1/holds").expect(200)["items"][0].clone();
    assert_eq!(
        (&shown["state"], &shown["is_own_release"]),
        (&json!("release_asked"), &json!(true))
    );
    assert_eq!(person.get("/v1/holds").expect(200)["items"][0]["is_held"], true);
    second.delete(&about).problem(409);
    person.delete(&about).problem(409);
    assert_eq!(third.delete(&about).status, 204);
    let ended = person.records("action=hold.release");
    assert_eq!((&ended[0]["after"]["state"], ended.len()), (&json!("released"), 2));
    // A release that nobody confirms is asked for no more, and the hold goes on.
    assert_eq!(third.delete(&format!("/v1/holds/{id}")).status, 202);
    // Single records name whose they are, too.
    let own = person.records("action=device.create")[0]["id"].clone();
    let single = json!({
        "scope": {"records": [own]}, "reason": "fraud", "note": "One act",
        "expires_at": "2026-02-01T00:00:00Z",
    });
    let single = second.post("/v1/holds", &single).expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(third.post(&format!("/v1/holds/{single}/approve"), &json!({})).status, 204);
    assert_eq!(second.delete(&format!("/v1/holds/{single}")).status, 202);

    platform.control("clock_advance", json!({"micros": 91u64 * 86_400 * 1_000_000})).unwrap();
    let before = "to=2026-03-01T00:00:00Z";
    let later = wait_for("the purge", || purged(&tenant, &platform, before));
    assert_eq!(later.records("action=device.create").len(), 1, "held");
    // Released, the next purge takes the rest.
    let path = format!("/v1/holds/{id}");
    assert_eq!(later.delete(&path).status, 202, "what was asked for before is over");
    let other = later.colleague("privacy_officer");
    other.delete(&path).problem(409);
    let other = Person::by_operator(&platform, &tenant.id);
    assert_eq!(other.delete(&path).status, 204);
    platform.control("clock_advance", json!({"micros": 2u64 * 3_600 * 1_000_000})).unwrap();
    wait_for("the rest to go", || {
        let person = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
        person.records(before).is_empty().then_some(())
    });
}

/// The kinds of the security alerts, each with an open incident of its own kind.
pub(crate) fn found(person: &Person<'_>, kind: &str) -> Option<Value> {
    let alerts = person.get("/v1/security-alerts").expect(200);
    let alert = alerts["items"].as_array()?.iter().find(|alert| alert["kind"] == kind)?.clone();
    let path = format!("/v1/incidents/{}", alert["incident_id"].as_str()?);
    let incident = person.get(&path).expect(200);
    assert_eq!(incident["kind"], kind);
    Some(json!({"alert": alert, "incident": incident}))
}

/// A session that something was found about takes nothing away and does nothing that needs a proof,
/// however fresh its own is, until its person proves themselves again; others of theirs go on.
fn doubted(platform: &Platform, mut person: Person<'_>, tenant: &Tenant) {
    const EXPORT: &str = "/v1/activity/export?action=rule.";
    const UNPROVEN: &str = "/problems/confirm-identity";
    let refused = wait_for("the session to be doubted", || {
        let answer = person.get(EXPORT);
        (answer.status == 403).then_some(answer)
    });
    assert_eq!(refused.problem(403)["type"], UNPROVEN);
    let key = json!({"name": "mine", "role": "viewer"});
    assert_eq!(person.post("/v1/api-keys", &key).problem(403)["type"], UNPROVEN);
    person.get("/v1/activity").expect(200);
    let other = Person::sign_in(tenant, platform, [127, 0, 0, 1], FIREFOX);
    other.get(EXPORT).expect(200);
    let proof = json!({"password": tenant.password});
    let proven = person.post("/v1/session/confirm", &proof);
    assert_eq!(proven.status, 204, "{}", proven.text());
    person.cookie = proven.cookie().unwrap();
    person.get(EXPORT).expect(200);
    person.post("/v1/api-keys", &key).expect(201);
}

#[test]
fn stuffing_a_new_device_and_a_bulk_export_raise_alert_and_incident() {
    let platform = with_locations();
    let tenant = platform.tenant();
    let person = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);

    let guess = |email: &str| {
        let body = json!({"email": email, "password": "not the right one"});
        let request = platform.http().post("/v1/session");
        request.from(Ipv4Addr::new(127, 0, 0, 66)).json(&body).send().status
    };
    assert_eq!(guess(&tenant.email), 401);
    for number in 0..11 {
        assert_eq!(guess(&format!("guess-{number}@people.example")), 401);
    }
    let stuffing = wait_for("stuffing", || found(&person, "credential_stuffing"));
    assert_eq!(stuffing["alert"]["severity"], "critical");
    assert!(stuffing["alert"]["seen"].to_string().contains("127.0.0.66"), "{stuffing}");
    // Another tenant hears nothing of it.
    let other = platform.tenant();
    let bystander = Person::sign_in(&other, &platform, [127, 0, 0, 1], FIREFOX);
    assert!(found(&bystander, "credential_stuffing").is_none());

    let far = Person::sign_in(&tenant, &platform, [127, 0, 1, 9], SAFARI);
    wait_for("a new device", || found(&far, "new_device"));
    // Local addresses are nowhere, so nobody travelled; the promise check of P34 does.
    assert!(found(&far, "impossible_travel").is_none());

    for _ in 0..21 {
        assert_eq!(person.get("/v1/activity/export?action=rule.").status, 200);
    }
    let export = wait_for("a bulk export", || found(&person, "bulk_export"));
    doubted(&platform, person, &tenant);
    let person = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let incident = export["incident"]["id"].as_str().unwrap();
    let noted = json!({"text": "It was the yearly audit."});
    person.post(&format!("/v1/incidents/{incident}/notes"), &noted).expect(201);
    let closed = person.post(&format!("/v1/incidents/{incident}/close"), &noted).expect(200);
    assert!(closed["closed_at"].is_string());
    assert!(closed["notes"].as_array().unwrap().len() >= 4, "{closed}");
    person.post(&format!("/v1/incidents/{incident}/close"), &noted).problem(409);
    let alert = export["alert"]["id"].as_str().unwrap();
    let acknowledge = format!("/v1/security-alerts/{alert}/acknowledge");
    assert_eq!(person.post(&acknowledge, &json!({})).status, 204);
    let own = json!({"title": "Lost badge", "severity": "low", "text": "Found again."});
    person.post("/v1/incidents", &own).expect(201);
}

#[test]
fn support_sees_what_was_granted_while_it_was_granted() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let customer = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let device = tenant.device("Pump");
    // Only who proved a second factor of their own comes in, whatever was granted.
    Person::staff(&platform).enter(&tenant.id).problem(409);
    let mut staff = Person::staff(&platform).secured();
    staff.get("/v1/devices").problem(403);
    customer.get("/v1/support-desk").problem(403);
    staff.enter(&tenant.id).problem(404);
    staff.enter("no id").problem(404);
    let ticket = customer.ticket();
    staff.enter(&tenant.id).problem(403);
    assert_eq!(staff.get("/v1/support-desk").expect(200)["items"], json!([]));
    let grant = customer.grant(&ticket, &["devices", "twin"]);
    let desk = staff.get("/v1/support-desk").expect(200);
    assert_eq!(desk["items"][0]["subject"], "Chart is empty");

    let entered = staff.enter(&tenant.id);
    assert_eq!(entered.expect(201)["support"]["areas"], json!(["devices", "twin"]));
    let inside =
        Person { platform: &platform, cookie: entered.cookie().unwrap(), password: String::new() };
    assert_eq!(inside.get("/v1/session").expect(200)["tenant"]["id"], tenant.id.as_str());
    assert_eq!(inside.get("/v1/devices").expect(200)["items"][0]["name"], "Pump");
    inside.get("/v1/twins").expect(200);
    let device = format!("/v1/devices/{}", device.id);
    for (method, path) in [
        ("GET", "/v1/users"),
        ("GET", "/v1/alerts"),
        ("GET", "/v1/activity"),
        ("GET", "/v1/api-keys"),
        ("GET", "/v1/support"),
        ("GET", "/v1/incidents"),
        ("DELETE", device.as_str()),
    ] {
        inside.ask(method, path, &Value::Null).problem(403);
    }
    inside.post("/v1/devices", &json!({"name": "x"})).problem(403);
    let steps = customer.records(&format!("actor={grant}"));
    let has = |action: &str, outcome: &str| {
        steps.iter().any(|row| row["action"] == action && row["outcome"] == outcome)
    };
    assert!(has("support.serve", "done") && has("device.list", "done"), "{steps:?}");
    assert!(has("user.list", "denied") && has("device.delete", "denied"), "{steps:?}");
    assert!(steps.iter().all(|row| row["actor"].as_str().unwrap().starts_with("Support")));

    // Leaving gives the own session back under a new token; entering again works.
    let left = inside.delete("/v1/support-desk/session");
    assert_eq!(left.status, 204);
    staff.get("/v1/support-desk").problem(401);
    staff.cookie = left.cookie().unwrap();
    let again = staff.enter(&tenant.id);
    let inside =
        Person { platform: &platform, cookie: again.cookie().unwrap(), password: String::new() };
    inside.get("/v1/devices").expect(200);
    let mut stream = WebSocket::of_session(platform.http(), &inside.cookie);
    let taken_back = Instant::now();
    assert_eq!(customer.delete(&format!("/v1/support-grants/{grant}")).status, 204);
    assert_eq!(stream.closed(), (1008, "the session has ended".to_owned()));
    assert!(taken_back.elapsed() < Duration::from_secs(10), "{:?}", taken_back.elapsed());
    inside.get("/v1/devices").problem(401);
    staff.enter(&tenant.id).problem(403);
    assert_eq!(customer.delete(&format!("/v1/support-tickets/{ticket}")).status, 204);
    let late = json!({"areas": ["devices"], "hours": 1});
    customer.post(&format!("/v1/support-tickets/{ticket}/grants"), &late).problem(409);
    let wrong = json!({"areas": ["everything"], "hours": 1});
    customer.post(&format!("/v1/support-tickets/{ticket}/grants"), &wrong).problem(400);
}

#[test]
fn grants_count_together_and_each_ends_by_itself() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let customer = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let staff = Person::staff(&platform).secured();
    let ticket = customer.ticket();
    let long = json!({"areas": ["devices"], "hours": 3});
    customer.post(&format!("/v1/support-tickets/{ticket}/grants"), &long).expect(201);
    let short = customer.grant(&ticket, &["alerts"]);
    let entered = staff.enter(&tenant.id);
    assert_eq!(entered.expect(201)["support"]["areas"], json!(["devices", "alerts"]));
    let inside =
        Person { platform: &platform, cookie: entered.cookie().unwrap(), password: String::new() };
    inside.get("/v1/alerts").expect(200);
    assert_eq!(customer.delete(&format!("/v1/support-grants/{short}")).status, 204);
    inside.get("/v1/alerts").problem(403);
    inside.get("/v1/devices").expect(200);
    assert_eq!(inside.get("/v1/session").expect(200)["support"]["areas"], json!(["devices"]));
    let entries = customer.records("action=support.serve");
    assert!(entries.iter().any(|row| row["after"]["grants"].to_string().contains(&short)));
}

#[test]
fn support_is_held_to_the_networks_of_the_staff() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let customer = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let staff = Person::staff(&platform).secured();
    customer.grant(&customer.ticket(), &["devices"]);
    let inside = staff.enter(&tenant.id).cookie().unwrap();
    let devices_from = |address: [u8; 4]| {
        let request = platform.http().get("/v1/devices").header("cookie", &inside);
        request.from(Ipv4Addr::from(address)).send()
    };
    devices_from([127, 0, 0, 9]).expect(200);
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let maker = Person::redeem(&platform, link_token(link["link"].as_str().unwrap()));
    let networks = json!({"people": ["127.0.0.1"], "devices": []});
    maker.ask("PUT", "/v1/networks", &networks).expect(200);
    assert_eq!(devices_from([127, 0, 0, 9]).problem(403)["type"], "/problems/network");
    devices_from([127, 0, 0, 1]).expect(200);
}

#[test]
fn the_gate_for_flows_is_asked_at_each_request_of_support() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let customer = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let staff = Person::staff(&platform).secured();
    let grant = customer.grant(&customer.ticket(), &["devices"]);
    let entered = staff.enter(&tenant.id);
    entered.expect(201);
    let inside =
        Person { platform: &platform, cookie: entered.cookie().unwrap(), password: String::new() };
    inside.get("/v1/devices").expect(200);
    let mut stream = WebSocket::of_session(platform.http(), &inside.cookie);
    // Nobody entered where the platform stands: from here nothing leaves a place that is pinned.
    let home = json!({"kind": "residency", "fields": {"jurisdiction": "GB"}});
    tenant.post("/v1/register-entries", &home).expect(201);
    assert_eq!(stream.closed(), (1008, "the session has ended".to_owned()));
    inside.get("/v1/devices").problem(401);
    staff.enter(&tenant.id).problem(403);
    let steps = customer.records(&format!("actor={grant}"));
    let is_refused = |row: &Value| row["action"] == "support.serve" && row["outcome"] == "denied";
    assert!(steps.iter().any(is_refused), "{steps:?}");
}

#[test]
fn break_glass_takes_two_and_is_told() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let customer = Person::sign_in(&tenant, &platform, [127, 0, 0, 1], FIREFOX);
    let ask = json!({"tenant_id": tenant.id, "areas": ["devices"], "reason": "Smoke in hall 3"});
    // Both prove a second factor of their own.
    let bare = Person::staff(&platform);
    bare.post("/v1/support-desk/break-glass", &ask).problem(409);
    let (first, second) = (Person::staff(&platform).secured(), Person::staff(&platform).secured());
    let asked = first.post("/v1/support-desk/break-glass", &ask).expect(201);
    let id = asked["id"].as_str().unwrap();
    let approve = format!("/v1/support-desk/break-glass/{id}/approve");
    first.enter(&tenant.id).problem(404);
    first.post(&approve, &json!({})).problem(409);
    customer.post(&approve, &json!({})).problem(403);
    bare.post(&approve, &json!({})).problem(409);
    second.post(&approve, &json!({})).expect(200);
    let entered = first.enter(&tenant.id);
    assert_eq!(entered.expect(201)["support"]["is_break_glass"], true);
    let seen = customer.get("/v1/support").expect(200);
    let told = &seen["break_glass"][0];
    assert_eq!((&told["state"], &told["reason"]), (&json!("live"), &json!("Smoke in hall 3")));
    assert!(customer.records(&format!("actor={id}")).len() >= 3);
    assert_eq!(customer.delete(&format!("/v1/support-grants/{id}")).status, 204);
    let inside =
        Person { platform: &platform, cookie: entered.cookie().unwrap(), password: String::new() };
    inside.get("/v1/devices").problem(401);
}

#[test]
fn two_accounts_of_one_maker_do_not_break_glass() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let maker = Person::redeem(&platform, link_token(link["link"].as_str().unwrap()));
    let one = maker.colleague("support").secured();
    let other = maker.colleague("support").secured();
    let ask = json!({"tenant_id": tenant.id, "areas": ["devices"], "reason": "Just looking"});
    let asked = one.post("/v1/support-desk/break-glass", &ask).expect(201);
    let approve = asked["id"].as_str().unwrap().to_owned();
    let approve = format!("/v1/support-desk/break-glass/{approve}/approve");
    let refused = other.post(&approve, &json!({})).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("the same person brought both of you in"), "{detail}");
    // Nor does whoever brought the other in, with the role themselves.
    let own = maker.get("/v1/session").expect(200)["user"]["id"].as_str().unwrap().to_owned();
    let roles = json!({"roles": ["owner", "administrator", "support"]});
    let owner = maker.colleague("owner");
    owner.ask("PATCH", &format!("/v1/users/{own}"), &roles).expect(200);
    let maker = maker.secured();
    let refused = maker.post(&approve, &json!({})).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("one of you brought the other in"), "{detail}");
    one.enter(&tenant.id).problem(404);
    // Whom the operator brings in is somebody else.
    Person::staff(&platform).secured().post(&approve, &json!({})).expect(200);
    one.enter(&tenant.id).expect(201);
}

/// A role makes somebody of the staff as much as an invitation does.
#[test]
fn whom_one_person_gave_the_role_do_not_break_glass() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let by_operator = || {
        let link = platform.control("admin_link", json!({"platform": true})).unwrap();
        Person::redeem(&platform, link_token(link["link"].as_str().unwrap()))
    };
    let (one_maker, other_maker) = (by_operator(), by_operator());
    let (one, other) = (one_maker.colleague("viewer"), other_maker.colleague("viewer"));
    for member in [&one, &other] {
        let id = member.get("/v1/session").expect(200)["user"]["id"].as_str().unwrap().to_owned();
        let roles = json!({"roles": ["support"]});
        one_maker.ask("PATCH", &format!("/v1/users/{id}"), &roles).expect(200);
    }
    let (one, other) = (one.secured(), other.secured());
    let ask = json!({"tenant_id": tenant.id, "areas": ["devices"], "reason": "Just looking"});
    let asked = one.post("/v1/support-desk/break-glass", &ask).expect(201);
    let approve = asked["id"].as_str().unwrap().to_owned();
    let approve = format!("/v1/support-desk/break-glass/{approve}/approve");
    let refused = other.post(&approve, &json!({})).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("the same person brought both of you in"), "{detail}");
    one.enter(&tenant.id).problem(404);
}

#[test]
fn metrics_are_ones_own() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    tenant.device("one");
    let own = tenant.get("/metrics");
    assert!(own.text().contains("veritwin_tenant_devices 1\n"), "{}", own.text());
    assert!(!own.text().contains("veritwin_http_requests_total"));
    let key = platform.control("metrics_key", json!({})).unwrap();
    let secret = key["secret"].as_str().unwrap();
    let all = platform.http().get("/metrics").bearer(secret).send();
    assert!(all.text().contains("veritwin_http_requests_total"), "{}", all.text());
    platform.http().get("/v1/users").bearer(secret).send().problem(403);
}
