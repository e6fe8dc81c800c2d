//! People over REST: sign-up, invitations by link, mail and CSV, second factors, sessions, a
//! forgotten password, and the proof that destructive acts ask for.

use std::time::Duration;

use serde_json::{Value, json};
use veritwin_keys::totp;

use crate::harness::{Mode, Options, Platform, link_token, now_ms};
use crate::http::Answer;
use crate::smtp::smtp_server;
use crate::tenant::Tenant;

const PASSWORD: &str = "correct horse battery";
const MAIL_WAIT: Duration = Duration::from_secs(60);

/// A browser: its session cookie follows what the platform sets.
pub(crate) struct Browser<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn of(platform: &'a Platform, answer: &Answer) -> Self {
        Self { platform, cookie: answer.cookie().expect("a session") }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.platform.http().request(method, path).header("cookie", &self.cookie);
        let answer = request.json(body).send();
        if let Some(cookie) = answer.cookie() {
            self.cookie = cookie;
        }
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> Value {
        self.send("GET", path, &json!({})).expect(200)
    }
}

fn invited(tenant: &Tenant, email: &str, role: &str) -> String {
    let link = tenant.post("/v1/users", &json!({"email": email, "role": role})).expect(201);
    link_token(link["link"].as_str().unwrap()).to_owned()
}

fn welcome(platform: &Platform, token: &str, attested: bool) -> Answer {
    let body = json!({"token": token, "password": PASSWORD, "attested": attested});
    platform.http().post("/v1/welcome").json(&body).send()
}

pub(crate) fn decode(base32: &str) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for letter in base32.bytes() {
        let value = if letter.is_ascii_digit() { letter - b'2' + 26 } else { letter - b'A' };
        bits = (bits << 5) | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    out
}

pub(crate) fn code_now(secret: &[u8], steps_later: u64) -> String {
    let now = u64::try_from(now_ms() / 1000).unwrap();
    totp::code(secret, now / totp::TOTP_STEP_S + steps_later)
}

#[test]
fn sign_up_needs_the_attestation_and_nothing_optional() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let token = invited(&tenant, "grace@people.example", "viewer");
    let refused = welcome(platform, &token, false).problem(400);
    assert_eq!(refused["position"], "attested");
    let mut grace = Browser::of(platform, &welcome(platform, &token, true));
    let account = grace.get("/v1/account");
    assert!(account["attested_at"].is_string() && account["email_verified_at"].is_null());
    grace.send("PATCH", "/v1/account", &json!({"name": "Grace"})).expect(204);
    let id = grace.get("/v1/session")["user"]["id"].as_str().unwrap().to_owned();
    // Flagged as a child's, the account is gone at once.
    let done = tenant.post(&format!("/v1/users/{id}/underage"), &json!({})).expect(200);
    assert!(!done["keys"].as_array().unwrap().is_empty(), "{done}");
    assert_eq!(grace.send("GET", "/v1/account", &json!({})).status, 401);
    platform.sign_in("grace@people.example", PASSWORD).problem(401);
}

#[test]
fn the_last_owner_and_ones_own_account_are_not_destroyed() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mut owner = Browser::of(platform, &platform.sign_in(&tenant.email, &tenant.password));
    let own = owner.get("/v1/session")["user"]["id"].as_str().unwrap().to_owned();
    let underage = |id: &str| format!("/v1/users/{id}/underage");
    owner.send("POST", &underage(&own), &json!({})).problem(403);
    let (second, cookie) = tenant.member("second", "administrator");
    let mut second = (second, Browser { platform, cookie });
    // Administrators do not unmake owners, and an owner not the last administrator.
    second.1.send("POST", &underage(&own), &json!({})).problem(403);
    let other = json!({"roles": ["owner"]});
    owner.send("PATCH", &format!("/v1/users/{}", second.0), &other).expect(200);
    second.1.send("POST", &underage(&own), &json!({})).problem(409);
    owner.get("/v1/users");
    owner.send("POST", &underage(&second.0), &json!({})).expect(200);
    assert_eq!(second.1.send("GET", "/v1/users", &json!({})).status, 401);
    // A program does none of this.
    let path = underage(&second.0);
    platform.http().post(&path).bearer(&tenant.api_key).json(&json!({})).send().problem(403);
}

/// An account that somebody made for another person's address, with an authenticator of theirs.
fn planted(platform: &Platform, tenant: &Tenant, email: &str) -> (String, Vec<u8>) {
    let answer = welcome(platform, &invited(tenant, email, "viewer"), true);
    let id = answer.expect(201)["user"]["id"].as_str().unwrap().to_owned();
    let mut thief = Browser::of(platform, &answer);
    let made = thief.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    let secret = decode(made["secret"].as_str().unwrap());
    let code = json!({"code": code_now(&secret, 0)});
    thief.send("PUT", "/v1/account/authenticator", &code).expect(204);
    thief.send("PATCH", "/v1/account", &json!({"name": "Thief"})).expect(204);
    (id, secret)
}

#[test]
fn nothing_that_was_planted_in_an_account_comes_to_whoever_is_invited_later() {
    let platform = Platform::shared();
    let (thief, tenant) = (platform.tenant(), platform.tenant());
    let redeem = |email: &str| {
        let token = invited(&tenant, email, "administrator");
        let body = json!({"token": token, "password": "the victims own words", "attested": true});
        platform.http().post("/v1/welcome").json(&body).send()
    };
    for (removed, email) in [(true, "gone@victims.example"), (false, "kept@victims.example")] {
        let (id, _) = planted(platform, &thief, email);
        if removed {
            assert_eq!(thief.delete(&format!("/v1/users/{id}")).status, 204);
        }
        let victim = redeem(email);
        assert_ne!(victim.expect(201)["user"]["id"], id.as_str(), "{email}");
        let mut victim = Browser::of(platform, &victim);
        let account = victim.get("/v1/account");
        assert_eq!(account["name"], Value::Null, "{email}: {account}");
        assert!(account["email_verified_at"].is_null(), "a link that was shown verifies nothing");
        // No second factor is asked for: the planted one is not this account's.
        let body = json!({
            "email": email, "password": "the victims own words", "organisation": tenant.id,
        });
        let session = platform.http().post("/v1/session").json(&body).send();
        assert_eq!(session.expect(200)["tenant"]["id"], tenant.id.as_str(), "{email}");
        let own = Browser::of(platform, &session).get("/v1/session/tenants");
        assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
        platform.sign_in(email, PASSWORD).problem(401);
    }
}

#[test]
fn an_authenticator_is_set_up_asked_for_and_used_once_per_code() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let signed_in = platform.sign_in(&tenant.email, &tenant.password);
    let mut person = Browser::of(platform, &signed_in);
    let first_cookie = person.cookie.clone();
    let made = person.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    assert!(made["uri"].as_str().unwrap().starts_with("otpauth://totp/"));
    let secret = decode(made["secret"].as_str().unwrap());
    let wrong = json!({"code": "000000"});
    person.send("PUT", "/v1/account/authenticator", &wrong).problem(400);
    let code = code_now(&secret, 0);
    let right = json!({"code": code});
    person.send("PUT", "/v1/account/authenticator", &right).expect(204);
    assert_ne!(person.cookie, first_cookie, "the session goes on under a new token");
    let mut old = Browser { platform, cookie: first_cookie };
    assert_eq!(old.send("GET", "/v1/account", &json!({})).status, 401);
    let recovery = person.send("POST", "/v1/account/recovery-codes", &json!({})).expect(200);
    assert_eq!(recovery["codes"].as_array().unwrap().len(), 10);

    let sign_in = |code: Option<&str>| {
        let body = json!({"email": tenant.email, "password": tenant.password, "code": code});
        platform.http().post("/v1/session").json(&body).send()
    };
    assert_eq!(sign_in(None).problem(401)["type"], "/problems/second-factor");
    assert_eq!(sign_in(Some(&code)).problem(401)["type"], "/problems/unauthenticated", "replay");
    let next = code_now(&secret, 1);
    sign_in(Some(&next)).expect(200);
    sign_in(Some(&next)).problem(401);
    let spare = recovery["codes"][3].as_str().unwrap().to_lowercase().replace('-', " ");
    sign_in(Some(&spare)).expect(200);
    sign_in(Some(&spare)).problem(401);
    assert_eq!(person.get("/v1/account")["recovery_codes"], 9);
}

#[test]
fn everybody_needs_a_second_factor_when_the_tenant_says_so() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mut admin = Browser::of(platform, &platform.sign_in(&tenant.email, &tenant.password));
    let ask = json!({"second_factor_required": true});
    admin.send("PUT", "/v1/tenants/sign-in", &ask).problem(409);
    let made = admin.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    let secret = decode(made["secret"].as_str().unwrap());
    let code = json!({"code": code_now(&secret, 0)});
    admin.send("PUT", "/v1/account/authenticator", &code).expect(204);
    admin.send("PUT", "/v1/tenants/sign-in", &ask).expect(204);
    let lin = json!({"email": format!("lin@{}.example", tenant.id), "role": "operator"});
    let link = admin.send("POST", "/v1/users", &lin).expect(201);
    let token = link_token(link["link"].as_str().unwrap()).to_owned();
    let mut lin = Browser::of(platform, &welcome(platform, &token, true));
    assert_eq!(lin.get("/v1/session")["lacks_second_factor"], true);
    let refused = lin.send("GET", "/v1/devices", &json!({})).problem(403);
    assert_eq!(refused["type"], "/problems/second-factor-missing");
    let made = lin.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    let secret = decode(made["secret"].as_str().unwrap());
    let code = json!({"code": code_now(&secret, 0)});
    lin.send("PUT", "/v1/account/authenticator", &code).expect(204);
    lin.get("/v1/devices");
    admin.get("/v1/devices");
}

#[test]
fn sessions_are_listed_and_ended_by_their_owner_only() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let other = platform.tenant();
    let sign_in =
        |tenant: &Tenant| Browser::of(platform, &platform.sign_in(&tenant.email, &tenant.password));
    let (mut here, mut there, mut stranger) = (sign_in(&tenant), sign_in(&tenant), sign_in(&other));
    let sessions = here.get("/v1/account/sessions");
    let all = sessions["items"].as_array().unwrap();
    assert!(all.len() >= 2, "{sessions}");
    let is_current = |one: &&Value| one["current"] == true;
    assert_eq!(all.iter().filter(is_current).count(), 1);
    let own = there.get("/v1/account/sessions");
    let own = own["items"].as_array().unwrap().iter().find(is_current).unwrap();
    let path = format!("/v1/account/sessions/{}", own["id"].as_str().unwrap());
    stranger.send("DELETE", &path, &json!({})).problem(404);
    there.get("/v1/account");
    here.send("DELETE", &path, &json!({})).expect(204);
    assert_eq!(there.send("GET", "/v1/account", &json!({})).status, 401);
    let mut third = sign_in(&tenant);
    here.send("DELETE", "/v1/account/sessions", &json!({})).expect(204);
    assert_eq!(third.send("GET", "/v1/account", &json!({})).status, 401);
    // A session that a browser brings along to a sign-in ends with it.
    let body = json!({"email": tenant.email, "password": tenant.password});
    let answer = here.send("POST", "/v1/session", &body);
    answer.expect(200);
    let fixed = Browser { platform, cookie: here.cookie.clone() };
    assert_eq!(fixed.cookie, answer.cookie().unwrap());
}

#[test]
fn invitations_by_file_are_all_or_none() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let send = |file: &str| {
        tenant.request("POST", "/v1/users/import").body("text/csv", file.as_bytes()).send()
    };
    let wrong = send("email,role\nada@csv.example,king\nnobody,viewer\n").problem(400);
    let places: Vec<&str> = wrong["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["position"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["line 2, column role", "line 3, column email"], "{wrong}");
    let made = send("email,name,role\nada@csv.example,Ada,auditor\nbo@csv.example,,viewer\n");
    let made = made.expect(201);
    let token = link_token(made["items"][0]["link"].as_str().unwrap()).to_owned();
    let session = welcome(platform, &token, true).expect(201);
    assert_eq!(session["user"]["roles"], json!(["auditor"]));
    assert_eq!(session["user"]["name"], "Ada");
}

#[test]
fn destructive_acts_ask_for_a_fresh_proof() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let mut admin = Browser::of(&platform, &platform.sign_in(&tenant.email, &tenant.password));
    let device = tenant.device("boiler");
    let path = format!("/v1/devices/{}", device.id);
    platform.cli(&["clock", "advance", "11m"]).done();
    let refused = admin.send("DELETE", &path, &json!({})).problem(403);
    assert_eq!(refused["type"], "/problems/confirm-identity");
    let wrong = json!({"password": "not the password"});
    admin.send("POST", "/v1/session/confirm", &wrong).problem(403);
    let before = admin.cookie.clone();
    let right = json!({"password": tenant.password});
    admin.send("POST", "/v1/session/confirm", &right).expect(204);
    assert_ne!(admin.cookie, before, "a new token");
    admin.send("DELETE", &path, &json!({})).expect(204);
}

/// An id of nothing: what is asked before anything is looked for.
const NEVER: &str = "00000000-0000-7000-8000-000000000000";

#[test]
fn letting_somebody_in_asks_for_a_fresh_proof() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let mut admin = Browser::of(&platform, &platform.sign_in(&tenant.email, &tenant.password));
    let ticket = json!({"subject": "Chart is empty", "text": "Since this morning."});
    let ticket = admin.send("POST", "/v1/support-tickets", &ticket).expect(201);
    let grants = format!("/v1/support-tickets/{}/grants", ticket["id"].as_str().unwrap());
    let areas = json!({"areas": ["devices"], "hours": 1});
    let granted = admin.send("POST", &grants, &areas).expect(201);
    let link = platform.control("admin_link", json!({"support": true})).unwrap();
    let body = json!({
        "token": link_token(link["link"].as_str().unwrap()), "email": "desk@people.example",
        "password": PASSWORD, "attested": true,
    });
    let mut desk = Browser::of(&platform, &platform.http().post("/v1/welcome").json(&body).send());
    platform.cli(&["clock", "advance", "11m"]).done();

    let owner = json!({"email": "thief@people.example", "role": "owner"});
    let viewer = json!({"email": "guest@people.example", "role": "viewer"});
    let hold = format!("/v1/holds/{NEVER}");
    let approve_hold = format!("{hold}/approve");
    let asked = [
        ("POST", "/v1/users", &owner),
        ("POST", "/v1/users", &viewer),
        ("POST", approve_hold.as_str(), &Value::Null),
        ("DELETE", hold.as_str(), &Value::Null),
        ("POST", grants.as_str(), &areas),
    ];
    for (method, path, body) in asked {
        let refused = admin.send(method, path, body).problem(403);
        assert_eq!(refused["type"], "/problems/confirm-identity", "{method} {path}: {refused}");
    }
    let file = "email,role\nthief@people.example,owner\n";
    let request = platform.http().post("/v1/users/import").header("cookie", &admin.cookie);
    let refused = request.body("text/csv", file.as_bytes()).send().problem(403);
    assert_eq!(refused["type"], "/problems/confirm-identity");
    let glass = json!({"tenant_id": tenant.id, "areas": ["devices"], "reason": "urgent"});
    let approve_glass = format!("/v1/support-desk/break-glass/{NEVER}/approve");
    let none = json!({});
    let enter = json!({"tenant_id": tenant.id});
    let asked = [
        ("/v1/support-desk/break-glass", &glass),
        (approve_glass.as_str(), &none),
        ("/v1/support-desk/session", &enter),
    ];
    for (path, body) in asked {
        let refused = desk.send("POST", path, body).problem(403);
        assert_eq!(refused["type"], "/problems/confirm-identity", "{path}: {refused}");
    }
    // Taking support back is always open.
    let granted = format!("/v1/support-grants/{}", granted["id"].as_str().unwrap());
    admin.send("DELETE", &granted, &json!({})).expect(204);
    let right = json!({"password": tenant.password});
    admin.send("POST", "/v1/session/confirm", &right).expect(204);
    admin.send("POST", "/v1/users", &viewer).expect(201);
}

#[test]
fn mailed_links_invite_reset_and_move_an_account() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "people@veritwin.example");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let mail_to = |to: &str| -> String {
        loop {
            let mail = mails.recv_timeout(MAIL_WAIT).expect("a mail");
            if !mail.to.contains(to) {
                continue;
            }
            let text = mail.text.replace("=\n", "");
            let token = text.split_once("#vtl_").expect("a link with a token").1;
            let is_token = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
            return format!("vtl_{}", token.chars().take_while(is_token).collect::<String>());
        }
    };
    let invite = json!({"email": "kai@mail.example", "role": "operator"});
    let made = tenant.post("/v1/users", &invite).expect(201);
    assert_eq!((&made["mailed"], &made["link"]), (&json!(true), &Value::Null));
    let mut kai = Browser::of(&platform, &welcome(&platform, &mail_to("kai@mail.example"), true));
    assert!(kai.get("/v1/account")["email_verified_at"].is_string(), "the mail shows the address");

    // What somebody put into an account before its mailbox was shown goes with that proof.
    for by_reset in [true, false] {
        let thief = platform.tenant();
        let email = format!("victim-{by_reset}@mail.example");
        let operators = platform.control("admin_link", json!({"tenant": thief.id})).unwrap();
        let token = link_token(operators["link"].as_str().unwrap()).to_owned();
        let body = json!({
            "token": token, "email": email, "password": PASSWORD, "attested": true,
        });
        let answer = platform.http().post("/v1/welcome").json(&body).send();
        let mut browser = Browser::of(&platform, &answer);
        assert!(browser.get("/v1/account")["email_verified_at"].is_null());
        let made = browser.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
        let secret = decode(made["secret"].as_str().unwrap());
        let code = json!({"code": code_now(&secret, 0)});
        browser.send("PUT", "/v1/account/authenticator", &code).expect(204);
        let own = "the victims own words";
        if by_reset {
            let ask = json!({"email": email});
            platform.http().post("/v1/password-reset").json(&ask).send().expect(202);
            let body = json!({"token": mail_to(&email), "password": own});
            platform.http().request("PUT", "/v1/password-reset").json(&body).send().expect(204);
            assert_eq!(browser.send("GET", "/v1/account", &json!({})).status, 401, "{email}");
        } else {
            tenant.post("/v1/users", &json!({"email": email, "role": "viewer"})).expect(201);
            let body = json!({"token": mail_to(&email), "password": own, "attested": true});
            platform.http().post("/v1/welcome").json(&body).send().expect(201);
            // The thief is left with an account of their own tenant.
            assert_eq!(browser.get("/v1/account")["organisation"], thief.id.as_str());
        }
        platform.sign_in(&email, own).expect(200);
    }

    // Known and unknown addresses are answered alike.
    let ask = |email: &str| {
        platform.http().post("/v1/password-reset").json(&json!({"email": email})).send()
    };
    let (unknown, known) = (ask("nobody@mail.example"), ask("kai@mail.example"));
    assert_eq!((unknown.status, &unknown.body), (202, &known.body));
    let token = mail_to("kai@mail.example");
    let reset = |token: &str| {
        let body = json!({"token": token, "password": "a new horse battery"});
        platform.http().request("PUT", "/v1/password-reset").json(&body).send()
    };
    reset(&token).expect(204);
    reset(&token).problem(404);
    assert_eq!(kai.send("GET", "/v1/account", &json!({})).status, 401, "sessions end");
    platform.sign_in("kai@mail.example", PASSWORD).problem(401);
    let mut kai =
        Browser::of(&platform, &platform.sign_in("kai@mail.example", "a new horse battery"));

    kai.send("POST", "/v1/account/email", &json!({"email": "kai@new.example"})).expect(202);
    let token = mail_to("kai@new.example");
    let confirm = json!({"token": token});
    platform.http().post("/v1/email-confirmation").json(&confirm).send().problem(401);
    kai.send("POST", "/v1/email-confirmation", &confirm).expect(204);
    platform.sign_in("kai@new.example", "a new horse battery").expect(200);
    platform.sign_in("kai@mail.example", "a new horse battery").problem(401);
}
