//! Consents from outside: optional fields with consent only, every way of taking one back, signed
//! records that verify without a platform, the published texts, and who may publish a version.

use serde_json::{Value, json};

use crate::harness::{Options, Platform, wait_for};
use crate::http::Request;
use crate::smtp::smtp_server;

const PHONE: &str = "+447700900123";

fn as_person(platform: &Platform, method: &str, path: &str, cookie: &str) -> Request {
    platform.http().request(method, path).header("cookie", cookie)
}

fn consent(platform: &Platform, cookie: &str, purpose: &str) -> Value {
    let found = as_person(platform, "GET", "/v1/account/privacy", cookie).send().expect(200);
    let mut all = found["consents"].as_array().unwrap().iter();
    all.find(|one| one["purpose"]["id"] == purpose).unwrap().clone()
}

fn agree(platform: &Platform, cookie: &str) {
    let body = json!({"purpose": "sms_alerts", "version": 1, "value": PHONE});
    as_person(platform, "POST", "/v1/account/consents", cookie).json(&body).send().expect(204);
    let given = consent(platform, cookie, "sms_alerts");
    assert_eq!((&given["state"], &given["value"]), (&json!("given"), &json!(PHONE)));
}

#[test]
fn an_optional_field_needs_its_consent_and_goes_with_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (id, cookie) = tenant.member("ann", "viewer");
    let put = |field: &str, value: &str| {
        let body = json!({"field": field, "value": value});
        as_person(platform, "PUT", "/v1/account/fields", &cookie).json(&body).send()
    };
    put("phone", PHONE).expect(409);
    put("shoes", "43").expect(400);
    let begun = consent(platform, &cookie, "sms_alerts");
    assert_eq!((&begun["state"], &begun["value"]), (&json!("none"), &Value::Null));
    let wrong = json!({"purpose": "advertising", "version": 1, "value": PHONE});
    as_person(platform, "POST", "/v1/account/consents", &cookie).json(&wrong).send().expect(400);
    let early = json!({"purpose": "sms_alerts", "version": 7, "value": PHONE});
    as_person(platform, "POST", "/v1/account/consents", &cookie).json(&early).send().expect(409);
    let gone = |way: &str| {
        let now = consent(platform, &cookie, "sms_alerts");
        assert_eq!((&now["state"], &now["value"]), (&json!("withdrawn"), &Value::Null), "{way}");
        assert_eq!(now["channel"], way);
    };
    agree(platform, &cookie);
    // What another purpose rests on stays.
    let letters = json!({"purpose": "postal_correspondence", "version": 1, "value": "1 Lane"});
    as_person(platform, "POST", "/v1/account/consents", &cookie).json(&letters).send().expect(204);
    put("phone", "+44 7700 900 456").expect(204);
    assert_eq!(consent(platform, &cookie, "sms_alerts")["value"], "+447700900456");
    put("phone", "").expect(204);
    gone("field_deleted");
    agree(platform, &cookie);
    let purpose = json!({"purpose": "sms_alerts"});
    let own = "/v1/account/consents/withdraw";
    as_person(platform, "POST", own, &cookie).json(&purpose).send().expect(204);
    as_person(platform, "POST", own, &cookie).json(&purpose).send().expect(204);
    gone("settings");
    let path = format!("/v1/users/{id}/consents/withdraw");
    agree(platform, &cookie);
    tenant.person("POST", &path).json(&purpose).send().expect(204);
    gone("officer");
    agree(platform, &cookie);
    let key = tenant.post("/v1/api-keys", &json!({"name": "hr", "role": "privacy_officer"}));
    let key = key.expect(201)["secret"].as_str().unwrap().to_owned();
    platform.http().post(&path).bearer(&key).json(&purpose).send().expect(204);
    gone("api");
    assert_eq!(consent(platform, &cookie, "postal_correspondence")["state"], "given");
    // The organisation sees that there is a consent, and uses the address for letters alone.
    let seen = tenant.get(&format!("/v1/users/{id}/consents")).expect(200);
    assert!(seen["items"].as_array().unwrap().iter().all(|one| one["value"].is_null()), "{seen}");
    let address = format!("/v1/users/{id}/address");
    assert_eq!(tenant.person("GET", &address).send().expect(200)["address"], "1 Lane");
    put("address", "").expect(204);
    tenant.person("GET", &address).send().expect(409);
}

#[test]
fn records_verify_without_a_platform_and_a_changed_one_does_not() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (_, cookie) = tenant.member("ben", "viewer");
    agree(platform, &cookie);
    let records = as_person(platform, "GET", "/v1/account/consents", &cookie).send().expect(200);
    let record = records["items"][0]["record"].as_str().unwrap();
    assert!(!record.contains(PHONE) && record.contains("ISO/IEC TS 27560:2023"), "{record}");
    let check = |name: &str, text: &str| {
        let path = platform.scratch(name);
        std::fs::write(&path, text).unwrap();
        platform.cli(&["consent-check", path.to_str().unwrap()])
    };
    let right = check("right.json", record);
    assert_eq!(right.code, 0, "{}{}", right.stdout, right.stderr);
    assert!(right.stdout.contains("dpv:ConsentGiven"), "{}", right.stdout);
    assert_eq!(check("changed.json", &record.replace("explicit", "implicit")).code, 10);
}

#[test]
fn the_texts_are_there_for_anybody_and_the_notice_is_kept_as_told() {
    let platform = Platform::shared();
    let documents =
        ["privacy", "terms", "dpa", "cookies", "roles", "sub-processors", "jurisdictions"];
    for document in documents {
        for language in ["en", "zh-Hant", "ja", "ko"] {
            let path = format!("/v1/legal?document={document}&language={language}");
            let text = platform.http().get(&path).send().expect(200);
            assert_eq!(text["language"], language);
            assert_eq!(text["blocks"][0]["kind"], "title", "{text}");
        }
    }
    platform.http().get("/v1/legal?document=none").send().expect(400);
    let tenant = platform.tenant();
    let (_, cookie) = tenant.member("cleo", "viewer");
    let told = as_person(platform, "GET", "/v1/account/privacy", &cookie).send().expect(200);
    let text = told["notice"]["text"].as_str().unwrap();
    assert!(text.starts_with("# Privacy policy\n"), "{text}");
    assert_eq!(told["notice"]["version"], 1);
    // Only the platform's own people publish; everybody may read which versions there are.
    let versions = tenant.get("/v1/legal/versions").expect(200);
    assert_eq!(versions["items"][0]["in_force"], true);
    let input = json!({
        "summary": "Other words.", "material": true, "effective_at": "2199-01-01T00:00:00Z",
    });
    tenant.person("POST", "/v1/legal/versions").json(&input).send().expect(403);
}

#[test]
fn the_link_of_a_receipt_takes_a_consent_back_without_a_sign_in() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "veritwin@example.com");
    let platform = Platform::start(crate::harness::Mode::Serve, options);
    let tenant = platform.tenant();
    let (_, cookie) = tenant.member_by_mail(&mails, ("dora", "viewer"));
    agree(&platform, &cookie);
    let link = wait_for("the receipt", || {
        let mail = mails.try_recv().ok().filter(|mail| mail.subject().contains("You agreed"))?;
        let words = mail.words();
        let link = words.split_whitespace().find(|word| word.contains("/withdraw#"))?;
        Some(link.to_owned())
    });
    let token = link.split_once('#').unwrap().1.to_owned();
    let send = |token: &str| {
        platform.http().post("/v1/consent-withdrawal").json(&json!({"token": token})).send()
    };
    send("00").expect(404);
    let mut forged = token.clone();
    let last = if forged.ends_with('0') { '1' } else { '0' };
    forged.pop();
    forged.push(last);
    send(&forged).expect(404);
    send(&token).expect(200);
    send(&token).expect(200);
    assert_eq!(consent(&platform, &cookie, "sms_alerts")["channel"], "mail_link");
}

#[test]
fn everybody_is_told_of_a_version_in_their_language_and_who_comes_in_later_too() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "veritwin@example.com");
    let platform = Platform::start(crate::harness::Mode::Serve, options);
    let tenant = platform.tenant();
    let (_, cookie) = tenant.member_by_mail(&mails, ("early", "viewer"));
    let japanese = json!({"language": "ja"});
    as_person(&platform, "PATCH", "/v1/account", &cookie).json(&japanese).send().expect(204);
    let wrong = json!({"language": "fr"});
    as_person(&platform, "PATCH", "/v1/account", &cookie).json(&wrong).send().expect(400);
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let token = crate::harness::link_token(link["link"].as_str().unwrap()).to_owned();
    let welcome = json!({
        "token": token, "email": "operator@platform.example", "attested": true,
        "password": "a password of the operator",
    });
    let operator = platform.http().post("/v1/welcome").json(&welcome).send();
    operator.expect(201);
    let operator = operator.cookie().expect("a session");
    let input = json!({
        "summary": "Other words.", "material": true, "effective_at": "2199-01-01T00:00:00Z",
    });
    let publish = as_person(&platform, "POST", "/v1/legal/versions", &operator).json(&input);
    assert_eq!(publish.send().expect(201)["version"], 2);
    let mut told = Vec::new();
    // A subject in Japanese is an encoded word (RFC 2047).
    let mut look = |whom: &str, words: &str| {
        wait_for("a notice", || {
            while let Ok(mail) = mails.try_recv() {
                told.push(mail);
            }
            let is_it = |mail: &&crate::smtp::Mail| {
                mail.to.contains(whom) && mail.words().to_lowercase().contains(words)
            };
            told.iter().find(is_it).map(|_| ())
        });
    };
    look("admin-", "takes effect");
    look("early-", "subject: =?utf-8?b?");
    tenant.member_by_mail(&mails, ("late", "viewer"));
    look("late-", "takes effect");
}
