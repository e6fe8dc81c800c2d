//! Public zones and the registers, as people use them: what sources say is nowhere, a source stays
//! one, details need consent, and what opens a way out needs a second person.

use serde_json::json;

use crate::harness::{Mode, Options, Platform, wait_for};

fn person(tenant: &crate::tenant::Tenant, role: &str) -> String {
    tenant.member(role, role).1
}

#[test]
fn what_a_source_says_is_kept_nowhere_and_a_source_stays_one() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let output = tenant.device("square");
    let sources: Vec<_> = (0..3).map(|number| tenant.device(&format!("post-{number}"))).collect();
    let ids: Vec<&str> = sources.iter().map(|one| one.id.as_str()).collect();
    let zone = |ids: &[&str]| {
        json!({
            "name": "square", "window_minutes": 60, "budget_milli_per_day": 400,
            "measures": [{
                "key": "used", "epsilon_milli": 100, "kind": "amount",
                "step": 1.0, "steps_max": 100,
            }],
            "output_device_id": output.id, "device_ids": ids,
        })
    };
    let made = tenant.post("/v1/collection-zones", &zone(&ids)).expect(201);
    assert!(made["statement"].as_str().unwrap().contains("share_max_percent 15\n"));
    tenant.send(&sources[0], &json!({"used": 5, "who": "canary"})).expect(200);
    assert!(tenant.latest(&sources[0], "used").is_null());
    assert!(tenant.points(&sources[0], "who").is_empty());
    // Too short a window, another zone with the same device, a source that is let out.
    let short = json!({"window_minutes": 20});
    let mut bad = zone(&ids);
    bad["window_minutes"] = short["window_minutes"].clone();
    tenant.post("/v1/collection-zones", &bad).problem(400);
    let mut other = zone(&ids);
    other["name"] = json!("other");
    tenant.post("/v1/collection-zones", &other).problem(409);
    // Costs above what may be known of one source.
    let mut dear = zone(&ids);
    dear["measures"][0]["epsilon_milli"] = json!(201);
    tenant.post("/v1/collection-zones", &dear).problem(400);
    dear = zone(&ids);
    dear["budget_milli_per_day"] = json!(401);
    tenant.post("/v1/collection-zones", &dear).problem(400);
    let path = format!("/v1/collection-zones/{}", made["id"].as_str().unwrap());
    tenant.put(&path, &zone(&ids[1..])).problem(409);
    assert_eq!(tenant.delete(&path).status, 409);
    // It becomes no gateway that speaks for others, and the numbers' device stays.
    let source = format!("/v1/devices/{}", ids[1]);
    tenant.patch(&source, &json!({"is_gateway": true})).problem(409);
    assert_eq!(tenant.delete(&format!("/v1/devices/{}", output.id)).status, 409);
    assert_eq!(tenant.delete(&format!("/v1/devices/{}", ids[0])).status, 204);
    tenant.put(&path, &zone(&ids[1..])).expect(200);
}

#[test]
fn details_need_consent_and_are_gone_when_it_is_taken_back() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let details = json!({"email": "a@b.example"});
    let given = |consent: bool| {
        json!({
            "consent": consent, "how": "in_writing", "text": "I agree.", "details": details,
        })
    };
    tenant.post("/v1/opt-ins", &given(false)).problem(400);
    let mut unsaid = given(true);
    unsaid["how"] = json!("");
    tenant.post("/v1/opt-ins", &unsaid).problem(400);
    let mut named = given(true);
    named["text"] = json!("I am a@b.example and agree.");
    tenant.post("/v1/opt-ins", &named).problem(400);
    let one = tenant.post("/v1/opt-ins", &given(true)).expect(201);
    let other = tenant.post("/v1/opt-ins", &given(true)).expect(201);
    assert_ne!(one["identity"], other["identity"]);
    let path = format!("/v1/opt-ins/{}", one["id"].as_str().unwrap());
    assert_eq!(tenant.delete(&path).status, 204);
    let list = tenant.person("GET", "/v1/opt-ins").send().expect(200);
    let [kept, gone] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&kept["id"], &kept["withdrawn_at"]), (&other["id"], &json!(null)));
    // The consent stays proven, and holds no detail.
    assert!(gone["withdrawn_at"].is_string() && gone["details"]["email"].is_null());
    assert!(!gone.to_string().contains("a@b.example"));
    let record = gone["consent_record"].as_str().unwrap();
    assert!(record.contains("dpv:ConsentGiven") && record.contains("dpv:ConsentWithdrawn"));
    assert_eq!(tenant.delete(&path).status, 404);
}

#[test]
fn a_flow_counts_once_a_second_person_has_approved_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let home = json!({"kind": "residency", "fields": {"jurisdiction": "GB"}});
    tenant.post("/v1/register-entries", &home).expect(201);
    tenant.post("/v1/register-entries", &home).problem(409);
    let cloud = json!({"kind": "subprocessor", "fields": {
        "name": "Cloud", "service": "cloud", "jurisdiction": "JP", "agreement": "signed",
        "data": "all of it",
    }});
    tenant.post("/v1/register-entries", &cloud).problem(403);
    let flow = json!({"kind": "flow", "review_at": "2199-01-01T00:00:00Z", "fields": {
        "way": "subprocessor", "jurisdiction": "JP", "recipient": "Cloud",
        "mechanism": "idta", "assessment": "made",
    }});
    let flow = tenant.post("/v1/register-entries", &flow).expect(201);
    assert_eq!(flow["state"], "asked");
    let approve = format!("/v1/register-entries/{}/approve", flow["id"].as_str().unwrap());
    tenant.post(&approve, &json!({})).problem(409);
    tenant.post("/v1/register-entries", &cloud).problem(403);
    let officer = person(&tenant, "privacy_officer");
    let answer = platform.http().post(&approve).header("cookie", &officer).send();
    assert_eq!(answer.status, 204, "{}", answer.text());
    tenant.post("/v1/register-entries", &cloud).expect(201);
}

#[test]
fn a_pin_holds_until_two_people_end_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let export = || tenant.person("GET", "/v1/activity/export?format=json").send().status;
    assert_eq!(export(), 200);
    let home = json!({"kind": "residency", "fields": {"jurisdiction": "GB"}});
    let home = tenant.post("/v1/register-entries", &home).expect(201);
    // Where the platform stands is not entered: a network of its own is in no known country.
    assert_eq!(export(), 403);
    let path = format!("/v1/register-entries/{}", home["id"].as_str().unwrap());
    assert_eq!(tenant.delete(&path).status, 204);
    assert_eq!(tenant.delete(&path).status, 409);
    let approve = format!("{path}/approve");
    tenant.post(&approve, &json!({})).problem(409);
    assert_eq!(export(), 403, "one person opens nothing");
    let officer = person(&tenant, "privacy_officer");
    let answer = platform.http().post(&approve).header("cookie", &officer).send();
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(export(), 200);
}

#[test]
fn an_agreement_says_what_article_28_asks_for() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let made = tenant.post("/v1/agreements", &json!({})).expect(201);
    let text = made["text"].as_str().unwrap();
    for letter in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert!(text.contains(&format!("28(3)({letter})")), "{letter}");
    }
    assert_eq!(tenant.get("/v1/agreements").expect(200)["items"][0]["sha256"], made["sha256"]);
    let rows = tenant.get("/v1/processing-records").expect(200);
    assert!(rows["items"].as_array().unwrap().len() > 5);
    let laws = tenant.get("/v1/jurisdictions").expect(200);
    assert_eq!(laws["items"][0]["code"], "GB");
}

#[test]
fn a_whole_window_of_a_group_is_let_out_as_numbers() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let output = tenant.device("square");
    let sources: Vec<_> = (0..16).map(|number| tenant.device(&format!("post-{number}"))).collect();
    let ids: Vec<&str> = sources.iter().map(|one| one.id.as_str()).collect();
    let zone = json!({
        "name": "square", "window_minutes": 60, "budget_milli_per_day": 400,
        "measures": [{
            "key": "used", "epsilon_milli": 100, "kind": "amount", "step": 1.0, "steps_max": 100,
        }],
        "output_device_id": output.id, "device_ids": ids,
    });
    tenant.post("/v1/collection-zones", &zone).expect(201);
    platform.cli(&["clock", "advance", "60m"]).done();
    // The hour in which the zone was set was not seen whole.
    wait_for("a gap", || (tenant.latest(&output, "withheld") == "gap").then_some(()));
    for source in &sources {
        tenant.send(source, &json!({"used": 50, "who": "canary"})).expect(200);
    }
    platform.cli(&["clock", "advance", "60m"]).done();
    wait_for("a window", || (tenant.latest(&output, "sources") == 16).then_some(()));
    assert!(tenant.latest(&output, "used.sum").is_number());
    assert!(tenant.latest(&output, "who").is_null());
    assert!(sources.iter().all(|source| tenant.latest(source, "used").is_null()));
    let zones = tenant.get("/v1/collection-zones").expect(200);
    assert_eq!(zones["items"][0]["spent_milli"], 100);
    assert_eq!(zones["items"][0]["year_spent_squares"], 10_000);
    assert_eq!(zones["items"][0]["year_budget_squares"], 160_000);
}
