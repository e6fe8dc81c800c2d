//! The trust page from outside: people publish it, anybody reads it, a file of it is checked
//! without a platform, a changed one is found, and a withdrawn one was never there.

use serde_json::json;

use crate::harness::{Platform, wait_for};

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
