//! The governance workspace from outside: a policy's life by two people, a risk whose acceptance
//! ends, evidence as OSCAL, the 72 hours of a breach on the simulated clock, and whom it is told to
//! in which language.

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::python::interpreter;
use crate::smtp::smtp_server;
use crate::tenant::Tenant;

const START: &str = "2027-01-10T00:00:00Z";

fn platform() -> Platform {
    let arguments = vec!["--simulated-clock".to_owned(), START.to_owned()];
    Platform::start(Mode::Serve, Options { arguments, ..Options::default() })
}

fn made(tenant: &Tenant, path: &str, body: &Value) -> String {
    tenant.person("POST", path).json(body).send().expect(201)["id"].as_str().unwrap().to_owned()
}

fn item(tenant: &Tenant, list: &str, id: &str) -> Value {
    let all = tenant.get(list).expect(200);
    let mut items = all["items"].as_array().unwrap().iter();
    items.find(|one| one["id"] == id).cloned().unwrap_or_else(|| panic!("{id}: {all}"))
}

fn actions(tenant: &Tenant, id: &str) -> Vec<String> {
    let history = tenant.get(&format!("/v1/governance/{id}/history")).expect(200);
    let items = history["items"].as_array().unwrap().iter();
    items.map(|change| change["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_is_approved_by_somebody_else() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (_, second) = tenant.member("approver", "security_lead");
    let (_, reader) = tenant.member("reader", "viewer");
    let id = made(&tenant, "/v1/policies", &json!({"title": "Access", "text": "Least rights."}));
    let path = format!("/v1/policies/{id}");
    let step = |step: &str| {
        let body = json!({"step": step});
        tenant.person("POST", &format!("{path}/steps")).json(&body).send().status
    };
    let http = tenant.http();
    let by = |cookie: &str, act: &str| {
        http.post(&format!("{path}/{act}")).header("cookie", cookie).send().status
    };
    assert_eq!(http.get(&path).header("cookie", &reader).send().status, 404);
    assert_eq!(step("publish"), 409);
    assert_eq!(step("review"), 204);
    assert_eq!(by(&tenant.cookie, "approve"), 409, "whoever wrote it does not approve it");
    assert_eq!(by(&second, "approve"), 204);
    assert_eq!(step("publish"), 204);
    assert_eq!(by(&reader, "attest"), 204);
    let seen = tenant.get(&path).expect(200);
    assert_eq!((&seen["state"], &seen["facts"]["attested"]), (&json!("published"), &json!(1)));
    let expect = ["attested", "published", "approved", "sent_to_review", "made"];
    assert_eq!(actions(&tenant, &id), expect);
}

#[test]
fn what_a_key_wrote_is_its_makers() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let key = json!({"name": "k", "role": "administrator"});
    let key = tenant.person("POST", "/v1/api-keys").json(&key).send().expect(201);
    let secret = key["secret"].as_str().unwrap();
    let policy = json!({"title": "Access", "text": "Everybody may everything."});
    let http = tenant.http();
    let made = http.post("/v1/policies").bearer(secret).json(&policy).send().expect(201);
    let path = format!("/v1/policies/{}", made["id"].as_str().unwrap());
    let review = json!({"step": "review"});
    let request = tenant.person("POST", &format!("{path}/steps"));
    assert_eq!(request.json(&review).send().status, 204);
    let approve = format!("{path}/approve");
    assert_eq!(tenant.person("POST", &approve).send().status, 409);
    let (_, second) = tenant.member("approver", "security_lead");
    assert_eq!(http.post(&approve).header("cookie", &second).send().status, 204);
}

#[test]
fn nothing_counts_as_told_that_cannot_be_sent() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mut breach = json!({
        "title": "Lost laptop", "role": "controller", "risk": "risk", "nature": "n",
        "contact": "c", "consequences": "c", "measures": "m", "authority": "a",
        "authority_email": "no address",
    });
    let open = |breach: &Value| tenant.person("POST", "/v1/breaches").json(breach).send();
    assert_eq!(open(&breach).status, 400);
    breach["authority_email"] = json!("authority@example.test");
    let id = open(&breach).expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/breaches/{id}");
    let notice = json!({"to": "authority", "phase": "first"});
    // This platform has no mail server.
    let request = tenant.person("POST", &format!("{path}/notices"));
    assert_eq!(request.json(&notice).send().status, 409);
    let seen = tenant.get(&path).expect(200);
    assert_eq!((&seen["state"], &seen["facts"]["notices"]), (&json!("open"), &json!([])));
}

#[test]
fn a_breach_names_who_stands_in_the_registers() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let cloud = json!({"kind": "subprocessor", "fields": {
        "name": "Cloud", "service": "cloud", "jurisdiction": "GB", "agreement": "signed",
        "data": "all of it",
    }});
    tenant.post("/v1/register-entries", &cloud).expect(201);
    let open = |recipients: Value| {
        let breach = json!({
            "title": "Lost disk", "role": "controller", "risk": "risk", "is_drill": true,
            "nature": "n", "contact": "c", "consequences": "c", "measures": "m",
            "authority": "a", "authority_email": "authority@example.test",
            "recipients": recipients, "regions": ["GB"],
        });
        tenant.person("POST", "/v1/breaches").json(&breach).send()
    };
    open(json!(["Somebody else"])).problem(400);
    let id = open(json!(["Cloud"])).expect(201)["id"].as_str().unwrap().to_owned();
    let seen = tenant.get(&format!("/v1/breaches/{id}")).expect(200);
    assert_eq!(seen["content"]["recipients"], json!(["Cloud"]));
    assert_eq!(seen["facts"]["known_recipients"], json!(["Cloud"]));
    assert_eq!(seen["facts"]["known_regions"], json!(["GB"]));
}

#[test]
fn the_clock_of_a_breach_runs_for_72_hours() {
    let platform = platform();
    let tenant = platform.tenant();
    let breach = json!({"title": "Drill", "role": "controller", "risk": "risk", "is_drill": true});
    let id = made(&tenant, "/v1/breaches", &breach);
    let path = format!("/v1/breaches/{id}");
    let alarms = || tenant.get(&path).expect(200)["facts"]["alarms"].clone();
    assert_eq!(alarms(), json!([]));
    platform.cli(&["clock", "advance", "47h"]).done();
    wait_for("the alarm of 24 hours", || (alarms() == json!([24])).then_some(()));
    platform.cli(&["clock", "advance", "26h"]).done();
    wait_for("every alarm", || (alarms() == json!([24, 48, 60, 66, 70, 72])).then_some(()));
    let missing = tenant.get(&path).expect(200)["facts"]["missing"].clone();
    assert!(missing.as_array().unwrap().contains(&json!("late_reason")), "{missing}");
    let register = tenant.get("/v1/breach-register");
    assert!(register.text().contains("drill"), "{}", register.text());
}

/// A breach of high risk of which everything is known.
fn whole_breach() -> Value {
    json!({
        "title": "Lost list", "role": "controller", "risk": "high",
        "risk_reason": "Passwords were in clear", "nature": "n", "subjects": 12, "records": 120,
        "contact": "c", "consequences": "c", "measures": "m", "authority": "a",
        "authority_email": "authority@example.test",
    })
}

#[test]
fn a_high_risk_closes_once_people_were_told_or_a_ground_is_stated() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mut breach = whole_breach();
    breach["is_drill"] = json!(true);
    let id = made(&tenant, "/v1/breaches", &breach);
    let path = format!("/v1/breaches/{id}");
    let post =
        |act: &str, body: Value| tenant.person("POST", &format!("{path}/{act}")).json(&body).send();
    let tell = |phase: &str| post("notices", json!({"to": "authority", "phase": phase})).status;
    let stays_open = |why: &str| {
        let refused = post("close", json!({"text": "It is over."})).problem(409);
        assert!(refused["detail"].as_str().unwrap().contains(why), "{refused}");
    };
    assert_eq!(tell("first"), 204);
    stays_open("the last notice to the authority is not a final one");
    assert_eq!(tell("final"), 204);
    stays_open("the people concerned have not been told");
    assert_eq!(tenant.get(&path).expect(200)["facts"]["owed"], json!(["subjects"]));
    let ground = [
        ("not_told_ground", "disproportionate", "why_not_subjects"),
        ("why_not_subjects", "Ten million addresses", "public_notice"),
    ];
    let put = |breach: &Value| tenant.person("PUT", &path).json(breach).send();
    for (field, said, lacks) in ground {
        breach[field] = json!(said);
        assert_eq!(put(&breach).problem(400)["position"], lacks);
    }
    breach["public_notice"] = json!("https://customer.example/notice");
    assert_eq!(put(&breach).status, 204);
    assert_eq!(tenant.get(&path).expect(200)["facts"]["owed"], json!([]));
    assert_eq!(post("close", json!({"text": "It is over."})).status, 204);
    let register = tenant.get("/v1/breach-register");
    assert!(register.text().contains("disproportionate,Ten million"), "{}", register.text());
}

/// The encoded words of a subject (RFC 2047).
fn decoded(subject: &str) -> String {
    let words = subject.split("=?utf-8?b?").skip(1);
    let bytes = words.flat_map(|word| STANDARD.decode(word.split("?=").next().unwrap()).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

#[test]
fn people_are_told_of_a_breach_in_their_language_and_the_authority_in_the_one_picked() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "veritwin@example.com");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let (_, reader) = tenant.member_by_mail(&mails, ("reader", "viewer"));
    let account = platform.http().request("PATCH", "/v1/account").header("cookie", &reader);
    assert_eq!(account.json(&json!({"language": "ja"})).send().status, 204);
    let id = made(&tenant, "/v1/breaches", &whole_breach());
    let path = format!("/v1/breaches/{id}");
    let tell = |notice: &Value| {
        tenant.person("POST", &format!("{path}/notices")).json(notice).send().status
    };
    let reader = format!("Reader-{}@tenant.example", &tenant.id[24..]);
    let mut people = json!({
        "to": "subjects", "phase": "first", "language": "ko",
        "recipients": [reader, "guest@elsewhere.example"],
    });
    assert_eq!(tell(&people), 204);
    assert_eq!(tell(&json!({"to": "authority", "phase": "final", "language": "zh-Hant"})), 204);
    people["language"] = json!("de");
    assert_eq!(tell(&people), 400);
    let expect = [
        ("Reader-", "個人データ侵害："),
        ("guest@", "개인정보침해:"),
        ("authority@", "個資外洩："),
    ];
    let mut told = BTreeMap::new();
    wait_for("the three notices", || {
        while let Ok(mail) = mails.try_recv() {
            for (to, begins) in expect {
                if mail.to.contains(to) {
                    let subject = decoded(&mail.subject()).replace(' ', "");
                    assert!(subject.starts_with(begins), "{to}: {subject}");
                    told.insert(to, subject);
                }
            }
        }
        (told.len() == expect.len()).then_some(())
    });
    let notices = tenant.get(&path).expect(200)["facts"]["notices"].clone();
    let languages = |notice: usize| -> Vec<&str> {
        let texts = notices[notice]["texts"].as_array().unwrap().iter();
        texts.map(|text| text["language"].as_str().unwrap()).collect()
    };
    assert_eq!(languages(0), ["ko", "en", "zh-Hant", "ja"]);
    assert_eq!(languages(1), ["zh-Hant"]);
}

#[test]
fn the_lists_of_the_workspace_are_read_a_page_at_a_time() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let title = |number: usize| json!({"title": format!("Task {number}")});
    let ids: Vec<String> = (0..5).map(|one| made(&tenant, "/v1/tasks", &title(one))).collect();
    let mut found = Vec::new();
    let mut path = "/v1/tasks?limit=2".to_owned();
    loop {
        let page = tenant.get(&path).expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        found.extend(items.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/tasks?limit=2&cursor={cursor}");
    }
    found.reverse();
    assert_eq!(found, ids, "newest first, each once");
    for list in ["/v1/tasks", "/v1/risks", "/v1/policies", "/v1/breaches"] {
        tenant.get(&format!("{list}?cursor=none")).problem(400);
        assert!(tenant.get(&format!("{list}?limit=1")).expect(200)["items"].is_array());
    }
}

#[test]
fn an_acceptance_ends_by_itself() {
    let platform = platform();
    let tenant = platform.tenant();
    let (_, second) = tenant.member("accepter", "privacy_officer");
    let risk = json!({
        "title": "Flood", "likelihood": 2, "impact": 5, "residual_likelihood": 1,
        "residual_impact": 5, "treatment": "accept",
    });
    let id = made(&tenant, "/v1/risks", &risk);
    let accept = json!({"until": "2027-01-12T00:00:00Z", "reason": "rare"});
    let path = format!("/v1/risks/{id}/accept");
    assert_eq!(tenant.person("POST", &path).json(&accept).send().status, 409);
    let request = tenant.http().post(&path).header("cookie", &second);
    assert_eq!(request.json(&accept).send().status, 204);
    assert_eq!(item(&tenant, "/v1/risks", &id)["state"], "accepted");
    platform.cli(&["clock", "advance", "49h"]).done();
    wait_for("the end of the acceptance", || {
        (item(&tenant, "/v1/risks", &id)["state"] == "open").then_some(())
    });
    assert_eq!(actions(&tenant, &id)[0], "acceptance_ended");
}

#[test]
fn evidence_is_sealed_and_leaves_as_oscal() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let framework = made(&tenant, "/v1/frameworks", &json!({"reference": "iso-27001-2022"}));
    let path = format!("/v1/frameworks/{framework}");
    let controls = tenant.get(&format!("{path}/controls")).expect(200);
    let control = controls["items"][0]["id"].as_str().unwrap().to_owned();
    let decided = json!({"applies": "applicable", "implementation": "in_place"});
    assert_eq!(tenant.put(&format!("/v1/controls/{control}"), &decided).status, 204);
    let evidence = json!({
        "title": "Backups read back", "source": "backup host", "sha256": "ab".repeat(32),
        "collected_at": "2026-01-01T00:00:00Z", "result": "passed", "controls": [control],
    });
    let id = made(&tenant, "/v1/evidence", &evidence);
    wait_for("a leaf of the ledger", || {
        item(&tenant, "/v1/evidence", &id)["facts"]["ledger_index"].as_u64()
    });
    let statement = tenant.get(&format!("{path}/statement"));
    assert_eq!(statement.text().lines().count(), 94);
    let results = tenant.get(&format!("{path}/assessment-results"));
    let Some(python) = interpreter("oscal") else { return };
    let file = platform.scratch("assessment-results.json");
    std::fs::write(&file, results.text()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/oscal.py");
    let arguments = [script, "-", "-", file.to_str().unwrap()];
    let read = Command::new(python).args(arguments).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(String::from_utf8_lossy(&read.stdout).starts_with("findings 1 "));
}
