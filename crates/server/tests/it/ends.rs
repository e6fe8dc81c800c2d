//! The end of an organisation: two people decide it, it can be taken back, and after its time
//! nothing of it is left but the certificate. And what ends when.

use serde_json::{Value, json};
use veritwin_domain::Timestamp;

use crate::certificates::{self, administration};
use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::http::Answer;
use crate::records::{FIREFOX, Person};
use crate::smtp::smtp_server;

const END: &str = "/v1/tenant-end";
/// Where the clock of these tests begins.
const START: &str = "2027-01-10T08:00:00Z";
const HOUR_MICROS: u64 = 3_600 * 1_000_000;
const DAY_MICROS: u64 = 24 * HOUR_MICROS;

fn options() -> Options {
    Options {
        arguments: vec!["--simulated-clock".to_owned(), START.to_owned()],
        ..Options::default()
    }
}

fn platform() -> Platform {
    Platform::start(Mode::Serve, options())
}

fn advance(platform: &Platform, micros: u64) {
    platform.control("clock_advance", json!({"micros": micros})).unwrap();
}

fn ask(person: &Person<'_>) -> Answer {
    person.post(END, &json!({"reason": "We move elsewhere"}))
}

fn approve(person: &Person<'_>) -> Answer {
    person.post(&format!("{END}/approve"), &json!({}))
}

#[test]
fn two_people_decide_and_one_takes_it_back() {
    let platform = &platform();
    let tenant = platform.tenant();
    let (one, other) =
        (Person::by_operator(platform, &tenant.id), Person::by_operator(platform, &tenant.id));
    let looker = crate::rights::Person::new(platform, &tenant, "looker", "viewer");
    looker.post(END, &json!({"reason": "no"})).problem(403);
    one.post(END, &json!({"reason": " "})).problem(400);
    approve(&other).problem(404);
    let asked = ask(&one).expect(201);
    assert_eq!((&asked["state"], &asked["is_sole"]), (&json!("asked"), &json!(false)), "{asked}");
    ask(&other).problem(409);
    approve(&one).problem(409);
    let decided = approve(&other).expect(200);
    assert_eq!(decided["state"], "decided", "{decided}");
    assert!(decided["ends_at"].as_str().unwrap().starts_with("2027-02-09T08:0"), "{decided}");
    approve(&other).problem(409);
    // Everybody sees it, and everything is still there.
    assert_eq!(looker.get(END).expect(200)["end"]["state"], "decided");
    tenant.device("still here");
    assert_eq!(one.delete(END).status, 204);
    assert_eq!(looker.get(END).expect(200)["end"], Value::Null);
    one.delete(END).problem(404);
}

#[test]
fn what_nobody_agrees_to_lapses() {
    let platform = &platform();
    let tenant = platform.tenant();
    let one = Person::by_operator(platform, &tenant.id);
    ask(&one).expect(201);
    advance(platform, 8 * DAY_MICROS);
    wait_for("the lapse", || tenant.get(END).expect(200)["end"].is_null().then_some(()));
}

#[test]
fn one_alone_waits_with_a_second_factor() {
    let platform = &platform();
    let tenant = platform.tenant();
    let owner = Person::sign_in(&tenant, platform, [127, 0, 0, 1], FIREFOX);
    let refused = ask(&owner).problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("second factor"), "{refused}");
    // What the clock says now: when this session was made.
    let sessions = owner.get("/v1/account/sessions").expect(200);
    let made = sessions["items"][0]["created_at"].as_str().unwrap().to_owned();
    let now = Timestamp::parse_rfc3339(&made).unwrap().as_micros() / 1_000_000;
    let owner = owner.secured_at(u64::try_from(now).unwrap());
    let asked = ask(&owner).expect(201);
    assert_eq!(asked["is_sole"], true, "{asked}");
    assert!(asked["decided_by"].as_str().unwrap().starts_with("2027-01-13T08:0"), "{asked}");
    approve(&owner).problem(409);
    let state = || tenant.get(END).expect(200)["end"].clone();
    advance(platform, 3 * DAY_MICROS - HOUR_MICROS);
    assert_eq!(state()["state"], "asked");
    advance(platform, 2 * HOUR_MICROS);
    let decided = wait_for("the decision", || (state()["state"] == "decided").then(state));
    assert!(decided["ends_at"].as_str().unwrap().starts_with("2027-02-12T09:0"), "{decided}");
}

#[test]
fn after_its_time_nothing_is_left_but_the_certificate() {
    let platform = &platform();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    tenant.send(&device, &json!({"t": 21})).expect(200);
    let (one, other) =
        (Person::by_operator(platform, &tenant.id), Person::by_operator(platform, &tenant.id));
    ask(&one).expect(201);
    approve(&other).expect(200);
    advance(platform, 29 * DAY_MICROS);
    assert_eq!(platform.sign_in(&tenant.email, &tenant.password).status, 200, "a day is left");
    advance(platform, DAY_MICROS + HOUR_MICROS);
    let listed = || platform.cli(&["purge", "--list", "--tenant", &tenant.id, "--json"]).json();
    let done = wait_for("the destruction", || {
        let listed = listed();
        let one = listed["items"].as_array()?.first()?.clone();
        (one["state"] == "done").then_some(one)
    });
    assert_eq!(done["scope"], "tenant", "{done}");
    let id = done["id"].as_str().unwrap();
    let printed = platform.cli(&["purge", "--certificate", id, "--tenant", &tenant.id]);
    assert!(printed.done().contains("tenant_keys_destroyed"));
    // The account of its owner belongs nowhere else.
    wait_for("the end of accounts", || {
        (platform.sign_in(&tenant.email, &tenant.password).status == 401).then_some(())
    });
    assert_ne!(tenant.send(&device, &json!({"t": 22})).status, 200, "no device gets in");
    for promise in ["P49", "P50"] {
        let checked = platform.control("promise_check", json!({"id": promise})).unwrap();
        assert_eq!(checked["state"], "proven", "{checked}");
    }
    assert_eq!(listed()["items"].as_array().unwrap().len(), 1, "destroyed once");
}

#[test]
fn the_platform_keeps_no_record_of_the_last_mails() {
    let (port, mails) = smtp_server();
    let options = options()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "platform@veritwin.example");
    let platform = &Platform::start(Mode::Serve, options);
    let (tenant, stays) = (platform.tenant(), platform.tenant());
    let (one, other) =
        (Person::by_operator(platform, &tenant.id), Person::by_operator(platform, &tenant.id));
    ask(&one).expect(201);
    approve(&other).expect(200);
    advance(platform, 30 * DAY_MICROS + HOUR_MICROS);
    let mut over = 0;
    while over < 3 {
        // Their owner and the two administrators.
        let mail = mails.recv_timeout(PATIENCE).expect("a mail");
        over += usize::from(mail.subject().contains("has ended"));
    }
    let forgotten = json!({"email": stays.email});
    platform.http().post("/v1/password-reset").json(&forgotten).send().expect(202);
    while !mails.recv_timeout(PATIENCE).expect("a mail").to.contains(&stays.email) {}
    let root = administration(platform);
    let items = |path: &str| {
        let found = certificates::ask(platform, &root, "GET", path, &json!({})).expect(200);
        found["items"].as_array().unwrap().clone()
    };
    wait_for("the end", || {
        let is_it = |row: &Value| row["action"] == "tenant.delete" && row["outcome"] == "done";
        items("/v1/activity").iter().any(is_it).then_some(())
    });
    let to_people = |mail: &Value| mail["to"].as_str().unwrap().ends_with("@people.example");
    let kept = wait_for("the record of the other mail", || {
        let kept = items("/v1/ledger/mails");
        kept.iter().any(|mail| !to_people(mail)).then_some(kept)
    });
    assert!(!kept.iter().any(to_people), "{kept:?}");
}

#[test]
fn what_ends_when_is_what_acts() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let rows = || tenant.get("/v1/retention/schedule").expect(200);
    let seconds = |rows: &Value, class: &str| {
        let found = rows["items"].as_array().unwrap().iter().find(|row| row["class"] == class);
        found.unwrap_or_else(|| panic!("{class}: {rows}"))["seconds"].clone()
    };
    let before = rows();
    assert_eq!(seconds(&before, "records"), 90 * 86_400);
    assert_eq!(seconds(&before, "cases"), 731 * 86_400);
    assert_eq!(seconds(&before, "ended_organisation"), 30 * 86_400);
    assert_eq!(seconds(&before, "organisation"), Value::Null);
    let rule = json!({"profile_id": null, "key": "occupancy*", "days": 3});
    let kept = json!({"readings_days": 40, "figures_days": null, "rules": [rule]});
    tenant
        .person("PUT", "/v1/retention")
        .header("if-match", "\"0\"")
        .json(&kept)
        .send()
        .expect(200);
    let after = rows();
    assert_eq!(seconds(&after, "own_readings"), 40 * 86_400);
    assert_eq!(seconds(&after, "readings_by_rule"), 3 * 86_400);
    let printed = platform.cli(&["ends", "--tenant", &tenant.id, "--json"]).json();
    assert_eq!(seconds(&printed, "own_readings"), 40 * 86_400);
}
