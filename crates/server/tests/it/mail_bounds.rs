//! How many mails go to an address that did not ask for them, and what names may stand in them.

use serde_json::{Value, json};

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
fn accounts_that_others_made_keep_no_mail_away() {
    let post = &Post::start();
    let email = "oscar@others.example";
    for _ in 0..5 {
        post.planted(&post.platform.tenant(), email);
    }
    let own = post.platform.tenant();
    post.planted(&own, email);
    let ask = |organisation: &Value| {
        let body = json!({"email": email, "organisation": organisation});
        post.post("/v1/password-reset", &body).expect(202);
    };
    for _ in 0..3 {
        ask(&Value::Null);
        assert!(!post.mail(email).contains(&own.id), "the oldest five");
    }
    ask(&Value::Null);
    // Those who made the others have used up the mails that list them, and no others.
    ask(&json!(own.id));
    let mail = post.mail(email);
    let first_link = &mail[..mail.find("#vtl_").expect("a link")];
    assert!(first_link.ends_with(&format!("/reset?organisation={}", own.id)), "{mail}");
    assert!(!post.has_mail(email));
}

#[test]
fn names_that_stand_in_mails_are_no_addresses() {
    let post = &Post::start();
    let mut root = post.root();
    let addresses = [
        "https://evil.example/login",
        "WWW.evil.example",
        "Go to www.evil.example/login now",
        "evil.example/login",
        "mailto:x@evil.example",
        "https:/evil.example",
        "http:\\\\evil.example",
        "Pay at \u{ff37}\u{ff37}\u{ff37}.evil.example",
        "hxxps\u{ff1a}//evil",
    ];
    for name in addresses {
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
    // A name stands in quotes, so that it passes for no words of the platform's own.
    let tenant = post.platform.tenant();
    let path = format!("/v1/tenants/{}", tenant.id);
    root.send("PATCH", &path, &json!({"name": "Pay now"})).expect(200);
    let email = "kim@names.example";
    tenant.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
    let mail = post.mail(email);
    assert!(mail.contains("\"Pay now\""), "{mail}");
}

#[test]
fn who_asked_for_none_gets_few_mails_from_one_sender() {
    let post = &Post::start();
    let tenant = post.platform.tenant();
    let (email, other) = ("grace@few.example", "heidi@few.example");
    let invite = || tenant.post("/v1/users", &json!({"email": email, "role": "viewer"}));
    let open = || {
        let listed = tenant.get("/v1/invitations").expect(200);
        listed["items"].as_array().unwrap().len()
    };
    for _ in 0..3 {
        invite().expect(201);
        post.mail(email);
    }
    let refused = invite().problem(413);
    assert_eq!(refused["limit"], "address_mails_per_day_max", "{refused}");
    // A file is all or none, and says which line.
    let file = format!("email,role\n{other},viewer\n{email},viewer\n");
    let import = tenant.request("POST", "/v1/users/import").body("text/csv", file.as_bytes());
    let refused = import.send().problem(400);
    assert!(refused.to_string().contains("line 3, column email"), "{refused}");
    assert!(refused.to_string().contains("address_mails_per_day_max"), "{refused}");
    assert_eq!(open(), 3);

    // Whoever asks to move their account to an address of somebody else's, too.
    let mut ivan = post.member(&tenant, "ivan@few.example", "viewer");
    let to = json!({"email": other});
    for _ in 0..3 {
        ivan.send("POST", "/v1/account/email", &to).expect(202);
        post.mail(other);
    }
    let refused = ivan.send("POST", "/v1/account/email", &to).problem(413);
    assert_eq!(refused["limit"], "address_mails_per_day_max", "{refused}");
    // What was refused spent nothing of anybody's.
    tenant.post("/v1/users", &json!({"email": other, "role": "viewer"})).expect(201);
    post.mail(other);
    assert!(!post.has_mail(email) && !post.has_mail(other));
    // What strangers send keeps no organisation from inviting.
    for _ in 0..4 {
        let stranger = post.platform.tenant();
        for _ in 0..3 {
            stranger.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
            post.mail(email);
        }
    }
}

#[test]
fn a_plan_that_goes_to_and_fro_is_told_once() {
    let post = &Post::start();
    let tenant = post.platform.tenant();
    let mut root = post.root();
    let plan = json!({"name": "Short", "limits": {"retention_days": 5}});
    let plan = root.send("POST", "/v1/plans", &plan).expect(201)["id"].clone();
    let path = format!("/v1/tenants/{}", tenant.id);
    for _ in 0..3 {
        root.send("PATCH", &path, &json!({"plan_id": plan})).expect(200);
        root.send("PATCH", &path, &json!({"plan_id": null})).expect(200);
    }
    let refused = root.send("PATCH", &path, &json!({"plan_id": plan})).problem(413);
    assert_eq!(refused["limit"], "retention_shortenings_per_day_max", "{refused}");
    assert_eq!(tenant.get(&path).expect(200)["plan"], json!(null), "nothing half done");
    assert!(post.mail(&tenant.email).contains("kept 5 days instead"));
    let next = "judy@few.example";
    tenant.post("/v1/users", &json!({"email": next, "role": "viewer"})).expect(201);
    post.mail(next);
    assert!(!post.has_mail(&tenant.email), "one mail");
}
