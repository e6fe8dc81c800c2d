//! Accounts over their whole life, on platforms that send mail: what a link that somebody else
//! asked for is worth later.

use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, link_token, wait_for};
use crate::http::Answer;
use crate::partners::{Person, administration};
use crate::people::{Browser, code_now, decode};
use crate::smtp::{Mail, smtp_server};
use crate::tenant::Tenant;

const PASSWORD: &str = "correct horse battery";
const MAIL_WAIT: Duration = Duration::from_secs(60);

/// A platform that sends mail, with its mailboxes.
pub(crate) struct Post {
    pub(crate) platform: Platform,
    arriving: Mutex<(Receiver<Mail>, Vec<Mail>)>,
}

impl Post {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let (port, mails) = smtp_server();
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let options = Options { arguments, ..Options::default() }
            .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
            .environment("VERITWIN__SMTP__FROM", "accounts@veritwin.example");
        let platform = Platform::start(Mode::Serve, options);
        Self { platform, arriving: Mutex::new((mails, Vec::new())) }
    }

    /// The next mail to an address that was not taken yet.
    #[track_caller]
    pub(crate) fn mail(&self, to: &str) -> String {
        let mut arriving = self.arriving.lock().unwrap();
        loop {
            let (mails, kept) = &mut *arriving;
            if let Some(at) = kept.iter().position(|mail| mail.to.contains(to)) {
                return kept.remove(at).text.replace("=\n", "").replace("=3D", "=");
            }
            kept.push(mails.recv_timeout(MAIL_WAIT).expect("a mail"));
        }
    }

    /// Whether a mail to an address has come that was not taken.
    pub(crate) fn has_mail(&self, to: &str) -> bool {
        let mut arriving = self.arriving.lock().unwrap();
        let (mails, kept) = &mut *arriving;
        kept.extend(mails.try_iter());
        kept.iter().any(|mail| mail.to.contains(to))
    }

    #[track_caller]
    pub(crate) fn token(&self, to: &str) -> String {
        token_in(&self.mail(to))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.platform.http().post(path).json(body).send()
    }

    fn welcome(&self, token: &str, email: &str, password: &str) -> Answer {
        let body = json!({
            "token": token, "email": email, "password": password, "attested": true,
        });
        self.post("/v1/welcome", &body)
    }

    /// A person of a tenant whose address a mail has shown.
    pub(crate) fn member(&self, tenant: &Tenant, email: &str, role: &str) -> Browser<'_> {
        tenant.post("/v1/users", &json!({"email": email, "role": role})).expect(201);
        let answer = self.welcome(&self.token(email), email, PASSWORD);
        answer.expect(201);
        Browser::of(&self.platform, &answer)
    }

    /// A person of the platform's own administration.
    pub(crate) fn root(&self) -> Browser<'_> {
        let link = self.platform.control("admin_link", json!({"platform": true})).unwrap();
        let token = link_token(link["link"].as_str().unwrap());
        let answer = self.welcome(token, "root@platform.example", PASSWORD);
        answer.expect(201);
        Browser::of(&self.platform, &answer)
    }

    pub(crate) fn sign_in(&self, email: &str, password: &str) -> Browser<'_> {
        let answer = self.platform.sign_in(email, password);
        answer.expect(200);
        Browser::of(&self.platform, &answer)
    }

    /// An account that somebody of `tenant` made for another person's address.
    pub(crate) fn planted(&self, tenant: &Tenant, email: &str) -> Browser<'_> {
        let link = self.platform.control("admin_link", json!({"tenant": tenant.id})).unwrap();
        let answer = self.welcome(link_token(link["link"].as_str().unwrap()), email, PASSWORD);
        answer.expect(201);
        Browser::of(&self.platform, &answer)
    }

    /// Asks to move the account of a session, and takes the link out of the mailbox.
    pub(crate) fn moving(&self, session: &mut Browser<'_>, to: &str) -> String {
        session.send("POST", "/v1/account/email", &json!({"email": to})).expect(202);
        self.token(to)
    }

    fn confirm(&self, session: &mut Browser<'_>, token: &str) -> Answer {
        session.send("POST", "/v1/email-confirmation", &json!({"token": token}))
    }

    pub(crate) fn reset(&self, email: &str, password: &str) {
        self.post("/v1/password-reset", &json!({"email": email})).expect(202);
        self.set_password(&self.token(email), password);
    }

    pub(crate) fn set_password(&self, token: &str, password: &str) {
        let body = json!({"token": token, "password": password});
        let request = self.platform.http().request("PUT", "/v1/password-reset");
        request.json(&body).send().expect(204);
    }
}

fn token_in(text: &str) -> String {
    let token = text.split_once("#vtl_").expect("a link with a token").1;
    let is_token = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
    format!("vtl_{}", token.chars().take_while(is_token).collect::<String>())
}

/// Something that makes the account of an address safe again.
type Way<'w> = &'w dyn Fn(&mut Browser<'_>, &str);

#[test]
fn what_makes_an_account_safe_ends_the_links_that_others_asked_for() {
    let post = &Post::start();
    let tenant = post.platform.tenant();
    let new = "a new horse battery";
    let by_password = |own: &mut Browser<'_>, _: &str| {
        let body = json!({"password": PASSWORD, "new_password": new});
        own.send("POST", "/v1/account/password", &body).expect(204);
    };
    let by_end_of_sessions = |own: &mut Browser<'_>, _: &str| {
        own.send("DELETE", "/v1/account/sessions", &json!({})).expect(204);
    };
    let by_reset = |_: &mut Browser<'_>, email: &str| post.reset(email, new);
    let by_removal = |own: &mut Browser<'_>, _: &str| {
        let id = own.get("/v1/session")["user"]["id"].as_str().unwrap().to_owned();
        assert_eq!(tenant.delete(&format!("/v1/users/{id}")).status, 204);
    };
    let by_change = |own: &mut Browser<'_>, email: &str| {
        let token = post.moving(own, &format!("own.{email}"));
        post.confirm(own, &token).expect(204);
    };
    let ways: [(&str, Way<'_>); 5] = [
        ("password", &by_password),
        ("sessions", &by_end_of_sessions),
        ("reset", &by_reset),
        ("removal", &by_removal),
        ("change", &by_change),
    ];
    for (way, make_safe) in ways {
        let email = format!("{way}@safe.example");
        let mut own = post.member(&tenant, &email, "administrator");
        let mut stolen = post.sign_in(&email, PASSWORD);
        let token = post.moving(&mut stolen, &format!("{way}@thief.example"));
        make_safe(&mut own, &email);
        post.confirm(&mut stolen, &token).problem(404);
    }
}

#[test]
fn a_planted_account_cannot_be_moved_once_its_person_came() {
    let post = &Post::start();
    let (thief, tenant) = (post.platform.tenant(), post.platform.tenant());
    let email = "victim@taken.example";
    let mut planted = post.planted(&thief, email);
    let token = post.moving(&mut planted, "planter@taken.example");
    let mut victim = post.member(&tenant, email, "administrator");
    post.confirm(&mut planted, &token).problem(404);
    assert_eq!(victim.get("/v1/session")["user"]["email"], email);
    // Nothing of the planter's tenant came along; it keeps an account of its own.
    let own = |session: &mut Browser<'_>| session.get("/v1/session/tenants")["items"].clone();
    let found = own(&mut post.sign_in(email, PASSWORD));
    assert_eq!((found.as_array().unwrap().len(), &found[0]["id"]), (1, &json!(tenant.id)));
    assert_eq!(planted.get("/v1/account")["organisation"], thief.id.as_str());
    let body = json!({"email": email, "password": PASSWORD, "organisation": thief.id});
    let answer = post.post("/v1/session", &body);
    assert_eq!(answer.expect(200)["tenant"]["id"], thief.id.as_str());
    let found = own(&mut Browser::of(&post.platform, &answer));
    assert_eq!((found.as_array().unwrap().len(), &found[0]["id"]), (1, &json!(thief.id)));
}

#[test]
fn moving_an_account_asks_for_the_second_factor_it_has() {
    let post = &Post::start();
    let tenant = post.platform.tenant();
    let email = "factor@moved.example";
    let mut before = post.member(&tenant, email, "viewer");
    let mut own = post.sign_in(email, PASSWORD);
    let made = own.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    let secret = decode(made["secret"].as_str().unwrap());
    let code = json!({"code": code_now(&secret, 0)});
    own.send("PUT", "/v1/account/authenticator", &code).expect(204);
    let to = json!({"email": "elsewhere@moved.example"});
    // The other session is as fresh, and never showed the factor.
    let refused = before.send("POST", "/v1/account/email", &to).problem(403);
    assert_eq!(refused["type"], "/problems/confirm-identity");
    let proof = json!({"password": PASSWORD, "code": code_now(&secret, 1)});
    before.send("POST", "/v1/session/confirm", &proof).expect(204);
    for session in [&mut before, &mut own] {
        session.send("POST", "/v1/account/email", &to).expect(202);
    }
}

#[test]
fn who_has_an_account_is_led_to_sign_in_and_joins() {
    let post = &Post::start();
    let (first, second) = (post.platform.tenant(), post.platform.tenant());
    let inspect = |token: &str| post.post("/v1/welcome/inspect", &json!({"token": token}));
    let email = "bob@both.example";
    let invite = |tenant: &Tenant| {
        tenant.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
        post.token(email)
    };
    let token = invite(&first);
    let facts = inspect(&token).expect(200);
    assert_eq!(
        (&facts["has_account"], &facts["organisation"]["id"]),
        (&json!(false), &json!(first.id))
    );
    post.welcome(&token, email, PASSWORD).expect(201);
    let token = invite(&second);
    let facts = inspect(&token).expect(200);
    assert_eq!(
        (&facts["has_account"], &facts["organisation"]["id"]),
        (&json!(true), &json!(second.id))
    );
    post.welcome(&token, email, PASSWORD).problem(409);
    let body = json!({"email": email, "password": PASSWORD, "organisation": second.id});
    let mut bob = Browser::of(&post.platform, &post.post("/v1/session", &body));
    let joined = bob.send("POST", "/v1/session/join", &json!({"token": token})).expect(200);
    assert_eq!(joined["tenant"]["id"], second.id.as_str());
    assert_eq!(facts["may_begin_anew"], false);
    // One that nobody has proven may be signed in with as well, or left where it is.
    let unproven = "unproven@both.example";
    let mut own = post.planted(&first, unproven);
    second.post("/v1/users", &json!({"email": unproven, "role": "viewer"})).expect(201);
    let token = json!({"token": post.token(unproven)});
    let facts = post.post("/v1/welcome/inspect", &token).expect(200);
    assert_eq!((&facts["has_account"], &facts["may_begin_anew"]), (&json!(true), &json!(true)));
    own.send("POST", "/v1/session/join", &token).expect(200);
    let account = own.get("/v1/account");
    assert!(account["email_verified_at"].is_string(), "joining proves the address: {account}");
}

#[test]
fn an_invitation_takes_nobody_out_of_a_tenant() {
    let post = &Post::start();
    let mut root = post.root();
    let mut made = |name: &str| {
        let made = root.send("POST", "/v1/tenants", &json!({"name": name, "kind": "customer"}));
        let made = made.expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    let (owned, other) = (made("Owned"), made("Other"));
    let first = |by: &mut Browser<'_>, id: &str, email: &str| {
        let path = format!("/v1/tenants/{id}/invitations");
        let link = by.send("POST", &path, &json!({"email": email})).expect(201);
        link_token(link["link"].as_str().unwrap()).to_owned()
    };
    let email = "owner@owned.example";
    let token = first(&mut root, &owned, email);
    let answer = post.welcome(&token, email, PASSWORD);
    answer.expect(201);
    let mut owner = Browser::of(&post.platform, &answer);
    // The same person in a second tenant, by a link that somebody else saw.
    let accomplice = "accomplice@owned.example";
    let token = first(&mut root, &other, accomplice);
    let answer = post.welcome(&token, accomplice, PASSWORD);
    answer.expect(201);
    let mut accomplice = Browser::of(&post.platform, &answer);
    let invite = json!({"email": email, "role": "viewer"});
    accomplice.send("POST", "/v1/users", &invite).expect(201);
    let again = "another password of theirs";
    let answer = post.welcome(&post.token(email), email, again);
    assert_eq!(answer.expect(201)["tenant"]["id"], other.as_str());
    // Nothing has ended: the account is the owner's as before, and is told where it signs in.
    let session = owner.get("/v1/session");
    assert_eq!(session["user"]["roles"], json!(["administrator", "owner"]), "{session}");
    let told = post.mail(email);
    assert!(told.contains(&format!("/sign-in?organisation={owned}")), "{told}");
    let records = owner.get("/v1/activity?action=account.recover");
    assert_eq!(records["items"][0]["after"]["organisation"], owned.as_str(), "{records}");
    let door = |password: &str| {
        let body = json!({"email": email, "password": password, "organisation": owned});
        post.post("/v1/session", &body)
    };
    assert_eq!(door(PASSWORD).expect(200)["tenant"]["id"], owned.as_str());
    door(again).problem(401);
    // Whoever is above lets nobody in any more.
    let path = format!("/v1/tenants/{owned}/invitations");
    root.send("POST", &path, &json!({"email": "above@owned.example"})).problem(409);
}

#[test]
fn an_address_is_proven_early_and_in_one_hand() {
    let post = &Post::start();
    let tenant = post.platform.tenant();
    let email = "early@proven.example";
    let mut own = post.planted(&tenant, email);
    let token = post.moving(&mut own, email);
    // Whoever reads the mail and is not signed in proves nothing, and the link stays good.
    post.post("/v1/email-confirmation", &json!({"token": token})).problem(401);
    let mut other = post.planted(&post.platform.tenant(), "other@proven.example");
    post.confirm(&mut other, &token).problem(401);
    assert!(own.get("/v1/account")["email_verified_at"].is_null());
    post.confirm(&mut own, &token).expect(204);
    assert!(own.get("/v1/account")["email_verified_at"].is_string());
    // From now on the address is theirs: an invitation elsewhere is theirs to take up.
    let second = post.platform.tenant();
    second.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
    post.welcome(&post.token(email), email, "another password of theirs").problem(409);
}

#[test]
fn recovery_and_changes_of_address_stand_in_the_records_of_each_tenant() {
    let post = &Post::start();
    let (first, second) = (post.platform.tenant(), post.platform.tenant());
    let email = "carol@records.example";
    post.member(&first, email, "viewer");
    let mut carol = post.sign_in(email, PASSWORD);
    second.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
    let token = post.token(email);
    carol.send("POST", "/v1/session/join", &json!({"token": token})).expect(200);
    post.reset(email, "a new horse battery");
    let mut carol = post.sign_in(email, "a new horse battery");
    let token = post.moving(&mut carol, "moved@records.example");
    post.confirm(&mut carol, &token).expect(204);
    for tenant in [&first, &second] {
        let records = tenant.get("/v1/activity?action=account.recover").expect(200);
        let after = |member: &str| {
            let items = records["items"].as_array().unwrap();
            items.iter().filter(|item| !item["after"][member].is_null()).count()
        };
        for member in ["asked_for", "sessions_ended", "address_digest"] {
            assert_eq!(after(member), 1, "{member}: {records}");
        }
        assert!(!records.to_string().contains("records.example"), "{records}");
    }
    // What is of no tenant is the platform's own administration's to read.
    let nobody = json!({"email": "nobody@records.example"});
    post.post("/v1/password-reset", &nobody).expect(202);
    post.platform.sign_in("nobody@records.example", PASSWORD).problem(401);
    let link = post.platform.control("admin_link", json!({"platform": true})).unwrap();
    let token = link_token(link["link"].as_str().unwrap());
    let answer = post.welcome(token, "root@records.example", PASSWORD);
    answer.expect(201);
    let mut root = Browser::of(&post.platform, &answer);
    for action in ["session.create", "account.recover"] {
        wait_for(&format!("a record of {action}"), || {
            let path = format!("/v1/activity?action={action}&outcome=denied");
            let found = root.get(&path)["items"].as_array().is_some_and(|items| !items.is_empty());
            found.then_some(())
        });
    }
}

#[test]
fn one_mail_lists_the_accounts_of_an_address() {
    let post = &Post::start();
    let (first, second) = (post.platform.tenant(), post.platform.tenant());
    let email = "dora@two.example";
    let mut elsewhere = post.member(&first, email, "viewer");
    assert_eq!(elsewhere.get("/v1/account")["organisation"], Value::Null);
    let mut own = post.planted(&second, email);
    assert_eq!(own.get("/v1/account")["organisation"], second.id.as_str());
    // However many others were made for the address: the mails are one for each ask, and few.
    for _ in 0..6 {
        post.planted(&post.platform.tenant(), email);
    }
    let ask = |organisation: &Value| {
        let body = json!({"email": email, "organisation": organisation});
        post.post("/v1/password-reset", &body).expect(202);
        post.mail(email)
    };
    let mail = ask(&Value::Null);
    assert_eq!(mail.matches("#vtl_").count(), 5, "{mail}");
    let proven = mail.find("/reset#vtl_").expect("the account of the platform");
    assert_eq!(mail.find("#vtl_"), Some(proven + "/reset".len()), "the proven one is first");
    let own = format!("/reset?organisation={}", second.id);
    let at_second = ask(&json!(second.id));
    let first_link = &at_second[..at_second.find("#vtl_").expect("a link")];
    assert!(first_link.ends_with(&own), "{at_second}");
    assert!(at_second.contains(&format!("/sign-in?organisation={}", second.id)), "{at_second}");
    for (mail, new) in [(mail, "the words of the first"), (at_second, "the words of the second")] {
        let body = json!({"token": token_in(&mail), "password": new});
        let request = post.platform.http().request("PUT", "/v1/password-reset");
        request.json(&body).send().expect(204);
    }
    let sign_in = |password: &str, organisation: &Value| {
        let body = json!({"email": email, "password": password, "organisation": organisation});
        post.post("/v1/session", &body).expect(200)["tenant"]["id"].clone()
    };
    assert_eq!(sign_in("the words of the first", &Value::Null), first.id.as_str());
    assert_eq!(sign_in("the words of the second", &json!(second.id)), second.id.as_str());
}

#[test]
fn people_leave_and_an_account_of_nobody_is_gone() {
    let platform = Platform::shared();
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let leave = |person: &mut Browser<'_>, id: &str| {
        person.send("POST", "/v1/session/leave", &json!({"tenant_id": id}))
    };
    let mut owner = Browser::of(platform, &platform.sign_in(&tenant.email, &tenant.password));
    leave(&mut owner, &tenant.id).problem(409);
    let (id, cookie) = tenant.member("leaver", "viewer");
    let mut leaver = Browser { platform, cookie };
    let email = leaver.get("/v1/session")["user"]["email"].as_str().unwrap().to_owned();
    // Known in two tenants: the account stays until it has left both.
    let made = other.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
    let token = json!({"token": link_token(made["link"].as_str().unwrap())});
    leaver.send("POST", "/v1/session/join", &token).expect(200);
    leave(&mut leaver, &tenant.id).problem(404);
    leave(&mut leaver, &other.id).expect(204);
    assert_eq!(leaver.send("GET", "/v1/account", &json!({})).status, 401);
    let records = tenant.get("/v1/users").expect(200);
    assert!(records.to_string().contains(&id), "still here: {records}");
    assert_eq!(tenant.delete(&format!("/v1/users/{id}")).status, 204);
    // Nothing of it is left: the address is new to everybody.
    let made = other.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
    let body = json!({
        "token": link_token(made["link"].as_str().unwrap()),
        "password": PASSWORD,
        "attested": true,
    });
    let again = platform.http().post("/v1/welcome").json(&body).send();
    assert_ne!(again.expect(201)["user"]["id"], id.as_str());
    let account = Browser::of(platform, &again).get("/v1/account");
    assert_eq!(account["organisation"], Value::Null, "an account of the platform: {account}");
}

#[test]
fn a_person_of_two_tenants_goes_from_one_to_the_other() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let [first, second] = ["First", "Second"].map(|name| root.below(platform, "customer", name));
    let invite = |person: &Person, email: &str| {
        let body = json!({"email": email, "role": "viewer"});
        let link = second.send(platform, "POST", "/v1/users", &body).expect(201);
        let token = link_token(link["link"].as_str().unwrap()).to_owned();
        person.send(platform, "POST", "/v1/session/join", &json!({"token": token}))
    };
    invite(&first, "somebody-else@partners.example").problem(404);
    let joined = invite(&first, &first.email);
    assert_eq!(joined.expect(200)["tenant"]["id"], second.tenant.as_str());
    // The old session ended with the switch.
    assert_eq!(first.get(platform, "/v1/devices").status, 401);
    let there = Person { cookie: joined.cookie().expect("a cookie"), ..first };
    let mine = there.get(platform, "/v1/session/tenants").expect(200);
    assert_eq!(mine["items"].as_array().unwrap().len(), 2, "{mine}");
    let device = json!({"name": "pump", "declaration": "non_personal"});
    there.send(platform, "POST", "/v1/devices", &device).problem(403);
    let back = json!({"tenant_id": there.tenant});
    let back = there.send(platform, "POST", "/v1/session/tenants", &back);
    assert_eq!(back.expect(200)["tenant"]["id"], there.tenant.as_str());
    let here = Person { cookie: back.cookie().expect("a cookie"), ..there };
    here.send(platform, "POST", "/v1/devices", &device).expect(201);
    // Neither learns from its records where else somebody works.
    for one in [&here, &second] {
        let records = one.get(platform, "/v1/activity?action=session.").expect(200);
        let records = records["items"].as_array().unwrap();
        assert!(records.len() >= 2, "{records:?}");
        for record in records {
            assert_eq!(record["actor_of"], json!(null), "{record}");
        }
    }
}
