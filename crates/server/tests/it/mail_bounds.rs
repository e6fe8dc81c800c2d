//! How many mails go to an address that did not ask for them, and what names may stand in them.

use serde_json::json;

use crate::accounts::Post;
use crate::harness::wait_for;

#[test]
fn nobody_uses_up_the_mails_of_an_address() {
    let post = &Post::with(&["--simulated-clock", "2026-03-10T08:00:00Z"]);
    let tenant = post.platform.tenant();
    let (email, other) = ("ellen@few.example", "frank@few.example");
    post.member(&tenant, email, "viewer");
    post.member(&tenant, other, "viewer");
    let ask = |email: &str| post.post("/v1/password-reset", &json!({"email": email})).expect(202);
    let advance = |minutes: u64| {
        let micros = json!({"micros": minutes * 60_000_000});
        post.platform.control("clock_advance", micros).unwrap();
    };
    for _ in 0..2 {
        ask(email);
        post.mail(email);
    }
    ask(email);
    let last = post.token(email);
    // The next is answered alike, and there is no mail: the next that comes is somebody else's.
    ask(email);
    let mut root = post.root();
    wait_for("the refused ask", || {
        let path = "/v1/activity?action=account.recover&outcome=denied";
        let found = root.get(path)["items"].as_array().is_some_and(|items| !items.is_empty());
        found.then_some(())
    });
    ask(other);
    post.mail(other);
    assert!(!post.has_mail(email), "a fourth mail at once");
    // Whoever has the mailbox is in all the same, by the last mail or, soon, by a new one.
    advance(29);
    post.set_password(&last, "the words of the last one");
    advance(1);
    post.reset(email, "the words of a new one");
    post.sign_in(email, "the words of a new one");
}

#[test]
fn names_that_stand_in_mails_are_no_addresses() {
    let post = &Post::start();
    let mut root = post.root();
    for name in ["https://evil.example/login", "WWW.evil.example", "See http://x.example"] {
        let body = json!({"name": name, "kind": "customer"});
        let refused = root.send("POST", "/v1/tenants", &body).problem(400);
        assert_eq!(refused["position"], "name", "{refused}");
        let brand = root.send("PUT", "/v1/brand", &json!({"product": name})).problem(400);
        assert_eq!(brand["position"], "product", "{brand}");
    }
    let fine = json!({"name": "Wwworks & Co.", "kind": "customer"});
    let made = root.send("POST", "/v1/tenants", &fine).expect(201);
    let path = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    root.send("PATCH", &path, &json!({"name": "www.evil.example"})).problem(400);
}
