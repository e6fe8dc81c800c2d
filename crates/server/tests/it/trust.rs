//! The trust page from outside: people publish it, anybody reads it, a file of it is checked
//! without a platform, a changed one is found, and a withdrawn one was never there.

use serde_json::json;

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::smtp::smtp_server;

#[test]
fn a_page_is_published_checked_offline_and_withdrawn() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    platform.control("promise_check", json!({"id": "P32"})).expect("a check");
    wait_for("evidence in the ledger", || {
        let facts = platform.control("promises", json!({})).ok()?;
        let mut all = facts["items"].as_array()?.iter();
        let one = all.find(|item| item["id"] == "P32")?;
        one["evidence"]["ledger_index"].is_u64().then_some(())
    });
    let list = || tenant.get("/v1/trust-pages").expect(200)["items"].clone();
    assert_eq!(list(), json!([]));
    tenant.post("/v1/trust-pages/withdraw", &json!({})).problem(409);
    tenant.post("/v1/trust-pages", &json!({"confirm": "another"})).problem(400);
    let session = tenant.person("GET", "/v1/session").send().expect(200);
    let name = session["tenant"]["name"].as_str().expect("a name").to_owned();
    let made = tenant.post("/v1/trust-pages", &json!({"confirm": name})).expect(201);
    assert_eq!((&made["published"], &list()[0]["sha256"]), (&json!(true), &made["sha256"]));
    let path = made["path"].as_str().expect("a path").to_owned();
    let answer = platform.http().get(&path).send();
    assert_eq!(answer.status, 200);
    let page = answer.text();
    assert!(page.contains("P32") && page.contains(&name), "{page}");
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let check = |name: &str, text: &str, more: &[&str]| {
        let file = platform.scratch(name);
        std::fs::write(&file, text).unwrap();
        let mut arguments = vec!["verify", file.to_str().unwrap(), "--json"];
        arguments.extend(more);
        platform.cli(&arguments)
    };
    let right = check("trust.html", &page, &[]);
    assert_eq!(right.code, 0, "{}{}", right.stdout, right.stderr);
    let found = right.json();
    assert_eq!(found["key_authenticated"], false);
    assert!(found["in_log"].as_u64().is_some_and(|count| count > 0), "{found}");
    let key = found["log_vkey"].as_str().expect("a key").to_owned();
    assert_eq!(check("trust.html", &page, &["--vkey", &key]).code, 0);
    let other = tenant.get("/v1/ledger").expect(200)["vkey"].as_str().unwrap().to_owned();
    assert_eq!(check("trust.html", &page, &["--vkey", &other]).code, 10);
    let changed = page.replacen("not evidenced", "proven", 1);
    assert_ne!(changed, page);
    assert_eq!(check("changed.html", &changed, &[]).code, 10);
    tenant.post("/v1/trust-pages/withdraw", &json!({})).expect(204);
    assert_eq!(platform.http().get(&path).send().status, 404);
    assert_eq!(list()[0]["published"], false);
}

#[test]
fn a_transfer_of_the_business_is_told_to_everybody_in_their_language() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "veritwin@example.com");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let (_, officer) = tenant.member_by_mail(&mails, ("officer", "privacy_officer"));
    let (_, viewer) = tenant.member_by_mail(&mails, ("viewer", "viewer"));
    let japanese = platform.http().request("PATCH", "/v1/account").header("cookie", &viewer);
    assert_eq!(japanese.json(&json!({"language": "ja"})).send().status, 204);
    let transfer = json!({"kind": "business_transfer", "fields": {
        "acquirer": "Buyer", "effective_at": "2199-01-01T00:00:00Z", "notice": "We are sold.",
    }});
    let made = tenant.post("/v1/register-entries", &transfer).expect(201);
    let path = format!("/v1/register-entries/{}", made["id"].as_str().unwrap());
    let approve = platform.http().post(&format!("{path}/approve")).header("cookie", &officer);
    assert_eq!(approve.send().status, 204);
    let mut told = std::collections::BTreeSet::new();
    wait_for("a mail to each of three people", || {
        while let Ok(mail) = mails.try_recv() {
            if mail.to.contains("viewer-") {
                // A subject in Japanese is an encoded word (RFC 2047), its text is encoded too.
                if mail.subject().to_lowercase().contains("=?utf-8?b?") {
                    told.insert(mail.to.clone());
                }
            } else if mail.subject().contains("Transfer of the business to Buyer") {
                assert!(mail.words().contains("We are sold."), "{}", mail.words());
                told.insert(mail.to.clone());
            }
        }
        (told.len() == 3).then_some(())
    });
    tenant.post(&format!("{path}/carry-out"), &json!({})).problem(409);
    let notices = tenant.get("/v1/notices").expect(200);
    assert_eq!(notices["items"][0]["content"]["kind"], "transfer");
    // Nobody writes one by hand.
    let by_hand = json!({"kind": "transfer", "title": "t", "text": "t"});
    let answer = tenant.person("POST", "/v1/notices").json(&by_hand).send();
    assert_eq!(answer.status, 400, "{}", answer.text());
}
