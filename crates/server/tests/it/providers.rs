//! Sign-in through a tenant's own provider, against a real one: who gets in and who does not, what
//! such a sign-in reaches, and where the platform calls for it.
//! tidy: long file because every test plays on the same stage.

use serde_json::{Value, json};
use veritwin_domain::Timestamp;

use crate::harness::{Mode, Options, Platform, link_token, now_ms};
use crate::http::Answer;
use crate::identity::Identity;
use crate::people::{Browser, code_now, decode};
use crate::tenant::Tenant;

const PASSWORD: &str = "correct horse battery";
const ADA: &str = "ada@people.example";
const NOT_CONNECTED: &str = "is not connected";

/// A platform that may call this machine, a provider, and a tenant.
struct Stage {
    platform: Platform,
    identity: Identity,
    tenant: Tenant,
    redirect_uri: String,
}

/// A sign-in on its way.
struct Begun {
    address: String,
    secret: String,
}

impl Stage {
    fn new() -> Option<Self> {
        let identity = Identity::start()?;
        let options = Options::default()
            .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
            .environment("VERITWIN__OUTBOUND__PORTS", &identity.port.to_string())
            .environment("VERITWIN__OUTBOUND__AUTHORITIES", &identity.authority);
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        let redirect_uri = format!("https://{}/sign-in/return", platform.ports().https);
        identity.configure(&redirect_uri, &json!({}));
        Some(Self { platform, identity, tenant, redirect_uri })
    }

    fn input(&self) -> Value {
        json!({
            "name": "House of people", "issuer": self.identity.issuer,
            "client_id": self.identity.client_id, "client_secret": self.identity.client_secret,
            "domains": ["People.example"], "enabled": true,
        })
    }

    fn set(&self, change: Value) -> Answer {
        let mut input = self.input();
        for (name, value) in change.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        self.tenant.put("/v1/identity-provider", &input)
    }

    fn invite(&self, email: &str, role: &str) -> Answer {
        let body = json!({"email": email, "role": role});
        let link = self.tenant.post("/v1/users", &body).expect(201);
        let token = link_token(link["link"].as_str().unwrap()).to_owned();
        let body = json!({"token": token, "password": PASSWORD, "attested": true});
        self.platform.http().post("/v1/welcome").json(&body).send()
    }

    fn begin(&self, more: Value) -> Begun {
        let mut body = json!({"organisation": self.tenant.id});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let begun = self.platform.http().post("/v1/session/provider").json(&body).send();
        let begun = begun.expect(200);
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        Begun { address: text("address"), secret: text("secret") }
    }

    /// Signs in with the account's own password, then through the provider in the same browser.
    fn connect(&self, login: &str, email: &str) -> Answer {
        let held = self.platform.sign_in(email, PASSWORD);
        let begun = self.begin(json!({}));
        let mut body = self.identity.walk(&begun.address, login);
        body["secret"] = json!(begun.secret);
        self.ask(&held, "POST", "/v1/session/provider/finish", &body)
    }

    fn finish(&self, begun: &Begun, back: &Value) -> Answer {
        let mut body = back.clone();
        body["secret"] = json!(begun.secret);
        self.platform.http().post("/v1/session/provider/finish").json(&body).send()
    }

    fn sign_in(&self, login: &str, more: Value) -> Answer {
        let begun = self.begin(more);
        let back = self.identity.walk(&begun.address, login);
        self.finish(&begun, &back)
    }

    fn ask(&self, signed_in: &Answer, method: &str, path: &str, body: &Value) -> Answer {
        let cookie = signed_in.cookie().expect("a session");
        self.platform.http().request(method, path).header("cookie", &cookie).json(body).send()
    }
}

#[track_caller]
fn refused(answer: &Answer, part: &str) {
    let problem = answer.problem(401);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(part), "{detail}, expected {part}");
    assert!(answer.cookie().is_none(), "no session");
}

#[test]
fn members_get_in_and_nobody_else_does() {
    let Some(stage) = Stage::new() else { return };
    let offer = format!("/v1/session/provider?organisation={}", stage.tenant.id);
    let offered = || stage.platform.http().get(&offer).send();
    assert_eq!(offered().status, 204, "nothing is set yet");
    let set = stage.set(json!({})).expect(200);
    assert!(!set.to_string().contains(&stage.identity.client_secret), "{set}");
    assert_eq!(set["redirect_uris"][0], stage.redirect_uri.as_str());
    assert_eq!(offered().expect(200)["name"], "House of people");
    // The only customer there is, at a host name that was given to nobody.
    let here = stage.platform.http().get("/v1/session/provider").send().expect(200);
    assert_eq!(here["organisation"], stage.tenant.id.as_str());
    for nobody in ["00000000-0000-7000-8000-00000000ffff", "what"] {
        let path = format!("/v1/session/provider?organisation={nobody}");
        assert_eq!(stage.platform.http().get(&path).send().status, 204, "{nobody}");
    }

    let not_yet = "ask an administrator for an invitation";
    refused(&stage.sign_in("ada", json!({})), not_yet);
    let ada = stage.invite("ada@people.example", "operator").expect(201);
    // An address alone does not make the provider's person an account's.
    refused(&stage.sign_in("ada", json!({})), NOT_CONNECTED);
    let session = stage.connect("ada", ADA).expect(200);
    assert_eq!(session["user"]["id"], ada["user"]["id"]);
    assert_eq!(session["tenant"]["id"], stage.tenant.id.as_str());
    stage.sign_in("ada", json!({})).expect(200);
    // The address was given to somebody else there.
    refused(&stage.sign_in("again", json!({})), NOT_CONNECTED);
    refused(&stage.connect("again", ADA), not_yet);
    stage.invite("lin@people.example", "viewer").expect(201);
    for (login, part) in [
        ("unverified", "has not verified your address"),
        ("silent", "has not verified your address"),
        ("foreign", "of this domain are not accepted"),
        ("below", "of this domain are not accepted"),
        ("stranger", not_yet),
        ("nobody", "did not confirm"),
    ] {
        refused(&stage.sign_in(login, json!({})), part);
    }
    refused(&stage.connect("lin", ADA), NOT_CONNECTED);
    stage.connect("lin", "lin@people.example").expect(200);
    stage.sign_in("lin", json!({})).expect(200);

    // The record says how, and that others were refused.
    let records = stage.tenant.get("/v1/activity?action=session.create&limit=50").expect(200);
    let text = records.to_string();
    assert!(text.contains("\"method\":\"provider\""), "{text}");
    assert!(text.contains("\"denied\""), "{text}");

    // Whoever is taken out of the tenant does not come back in.
    let id = ada["user"]["id"].as_str().unwrap();
    let out = stage.tenant.delete(&format!("/v1/users/{id}"));
    assert_eq!(out.status, 204, "{}", out.text());
    refused(&stage.sign_in("ada", json!({})), not_yet);
}

#[test]
fn an_answer_counts_once_in_its_own_page_for_its_own_sign_in() {
    let Some(stage) = Stage::new() else { return };
    stage.set(json!({})).expect(200);
    stage.invite("ada@people.example", "operator").expect(201);
    stage.connect("ada", ADA).expect(200);
    let (one, two) = (stage.begin(json!({})), stage.begin(json!({})));
    let first = stage.identity.walk(&one.address, "ada");
    // Somebody else's page, and another sign-in's code.
    refused(&stage.finish(&two, &first), "another browser");
    let second = stage.identity.walk(&two.address, "ada");
    let mut mixed = second.clone();
    mixed["code"] = first["code"].clone();
    refused(&stage.finish(&two, &mixed), "did not confirm");
    // What the provider did not confirm is not used up.
    stage.finish(&two, &second).expect(200);
    refused(&stage.finish(&two, &second), "has ended");
    stage.finish(&one, &first).expect(200);
    refused(&stage.finish(&one, &first), "has ended");
    // A code that was used, with a new sign-in's state.
    let three = stage.begin(json!({}));
    let mut used = stage.identity.walk(&three.address, "ada");
    used["code"] = first["code"].clone();
    refused(&stage.finish(&three, &used), "did not confirm");

    // A token for another nonce; an answer of another issuer, or of none.
    let four = stage.begin(json!({}));
    let (head, tail) = four.address.split_once("&nonce=").unwrap();
    let (_, tail) = tail.split_once('&').unwrap();
    let other = format!("{head}&nonce=another&{tail}");
    refused(&stage.finish(&four, &stage.identity.walk(&other, "ada")), "did not confirm");
    for issuer in [json!("https://elsewhere.example"), Value::Null] {
        let begun = stage.begin(json!({}));
        let mut back = stage.identity.walk(&begun.address, "ada");
        back["iss"] = issuer;
        refused(&stage.finish(&begun, &back), "did not confirm");
    }
    // Without PKCE's verifier the provider gives nothing: another challenge is another verifier.
    let five = stage.begin(json!({}));
    let (head, tail) = five.address.split_once("&code_challenge=").unwrap();
    let (_, tail) = tail.split_once('&').unwrap();
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let other = format!("{head}&code_challenge={challenge}&{tail}");
    refused(&stage.finish(&five, &stage.identity.walk(&other, "ada")), "did not confirm");
}

#[test]
fn keys_change_and_every_accepted_algorithm_works() {
    let Some(stage) = Stage::new() else { return };
    stage.set(json!({})).expect(200);
    stage.invite("ada@people.example", "operator").expect(201);
    stage.connect("ada", ADA).expect(200);
    stage.identity.rotate();
    stage.sign_in("ada", json!({})).expect(200);
    // Looked for again only after a while.
    stage.identity.rotate();
    refused(&stage.sign_in("ada", json!({})), "did not confirm");
    for (algorithm, method) in [
        ("PS256", "client_secret_post"),
        ("ES256", "client_secret_basic"),
        ("EdDSA", "client_secret_basic"),
    ] {
        let more = json!({"algorithm": algorithm, "method": method});
        stage.identity.configure(&stage.redirect_uri, &more);
        stage.set(json!({})).expect(200);
        stage.sign_in("ada", json!({})).expect(200);
    }
}

#[test]
fn such_a_sign_in_does_not_reach_the_account() {
    let Some(stage) = Stage::new() else { return };
    stage.set(json!({})).expect(200);
    let own = stage.invite("ada@people.example", "administrator");
    let other = stage.platform.tenant();
    let body = json!({"email": "ada@people.example", "role": "viewer"});
    let link = other.post("/v1/users", &body).expect(201);
    let token = json!({"token": link_token(link["link"].as_str().unwrap())});
    let own = stage.ask(&own, "POST", "/v1/session/join", &token);
    own.expect(200);
    let both = stage.ask(&own, "GET", "/v1/session/tenants", &json!({})).expect(200);
    assert_eq!(both["items"].as_array().unwrap().len(), 2);

    let connected = stage.connect("ada", ADA);
    connected.expect(200);
    let left = stage.ask(&connected, "DELETE", "/v1/session", &json!({}));
    assert_eq!(left.status, 204, "{}", left.text());
    let ada = stage.sign_in("ada", json!({}));
    ada.expect(200);
    let shown = stage.ask(&ada, "GET", "/v1/session/tenants", &json!({})).expect(200);
    assert_eq!(shown["items"].as_array().unwrap().len(), 1, "{shown}");
    let sessions = stage.ask(&ada, "GET", "/v1/account/sessions", &json!({})).expect(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");
    let go = json!({"tenant_id": other.id});
    let none = json!({});
    for (method, path, body) in [
        ("POST", "/v1/session/tenants", &go),
        ("POST", "/v1/session/join", &token),
        ("POST", "/v1/account/authenticator", &none),
        ("POST", "/v1/account/recovery-codes", &none),
        ("PATCH", "/v1/account", &json!({"name": "Eve"})),
    ] {
        let refused = stage.ask(&ada, method, path, body).problem(403);
        assert_eq!(refused["type"], "/problems/confirm-identity", "{method} {path}: {refused}");
    }
    // It did not say when it asked: acts that want a recent proof wait until it asks again.
    let key = json!({"name": "k", "role": "viewer"});
    let waits = stage.ask(&ada, "POST", "/v1/api-keys", &key).problem(403);
    assert_eq!(waits["type"], "/problems/confirm-identity");
    let ada = stage.sign_in("ada", json!({"fresh": true}));
    stage.ask(&ada, "POST", "/v1/api-keys", &key).expect(201);
    // With the account's own password it is the account's session.
    let proof = json!({"password": PASSWORD});
    let own = stage.ask(&ada, "POST", "/v1/session/confirm", &proof);
    assert_eq!(own.status, 204, "{}", own.text());
    stage.ask(&own, "POST", "/v1/session/tenants", &go).expect(200);

    // Without its provider nobody stays in by it.
    let ada = stage.sign_in("ada", json!({"fresh": true}));
    ada.expect(200);
    stage.ask(&ada, "GET", "/v1/devices", &none).expect(200);
    let gone = stage.tenant.delete("/v1/identity-provider");
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(stage.ask(&ada, "GET", "/v1/devices", &none).status, 401);
    stage.tenant.delete("/v1/identity-provider").problem(404);
}

#[test]
fn people_are_made_only_where_that_is_set_and_they_attest() {
    let Some(stage) = Stage::new() else { return };
    for role in ["administrator", "owner", "security_lead", "support"] {
        let problem = stage.set(json!({"role_of_new": role})).problem(400);
        assert_eq!(problem["position"], "role_of_new");
    }
    stage.set(json!({"role_of_new": "viewer", "counts_as_second_factor": true})).expect(200);
    let problem = stage.sign_in("stranger", json!({})).problem(400);
    assert_eq!(problem["position"], "attested");
    let made = stage.sign_in("stranger", json!({"attested": true})).expect(200);
    assert_eq!(made["user"]["roles"], json!(["viewer"]));
    assert_eq!(made["user"]["name"], "Stranger");
    stage.sign_in("stranger", json!({})).expect(200);
    // Accounts of other organisations are not told of, not touched and not kept away: whoever the
    // provider brings has an account that this tenant alone knows, and so has whoever another
    // tenant invites by an address that the provider has used.
    let other = stage.platform.tenant();
    let invite = |email: &str| {
        let body = json!({"email": email, "role": "viewer"});
        let link = other.post("/v1/users", &body).expect(201);
        let token = link_token(link["link"].as_str().unwrap());
        let body = json!({"token": token, "password": PASSWORD, "attested": true});
        stage.platform.http().post("/v1/welcome").json(&body).send().expect(201)
    };
    let ada = invite(ADA);
    let here = stage.sign_in("ada", json!({"attested": true})).expect(200);
    assert_ne!(here["user"]["id"], ada["user"]["id"]);
    let there = invite("stranger@people.example");
    assert_ne!(there["user"]["id"], made["user"]["id"]);
    for email in [ADA, "stranger@people.example"] {
        let session = stage.platform.sign_in(email, PASSWORD).expect(200);
        assert_eq!(session["tenant"]["id"], other.id.as_str(), "{email}");
    }
    stage.sign_in("stranger", json!({})).expect(200);
    // Known elsewhere or not, an invitation by link is answered alike.
    let third = stage.platform.tenant();
    for email in [ADA, "nobody-yet@people.example"] {
        let body = json!({"email": email, "role": "viewer"});
        let link = third.post("/v1/users", &body).expect(201);
        let token = link_token(link["link"].as_str().unwrap());
        let body = json!({"token": token, "password": "another horse battery", "attested": true});
        stage.platform.http().post("/v1/welcome").json(&body).send().expect(201);
    }
    let body = json!({
        "email": ADA, "password": "another horse battery", "organisation": third.id,
    });
    let session = stage.platform.http().post("/v1/session").json(&body).send();
    assert_eq!(session.expect(200)["tenant"]["id"], third.id.as_str());
    let proof = json!({"password": "another horse battery"});
    assert_eq!(stage.ask(&session, "POST", "/v1/session/confirm", &proof).status, 204);
    // Another tenant's people are not this one's.
    let path = format!("/v1/session/provider?organisation={}", other.id);
    assert_eq!(stage.platform.http().get(&path).send().status, 204);
}

#[test]
fn only_an_owner_in_person_sets_it_and_no_address_makes_an_owner() {
    let Some(stage) = Stage::new() else { return };
    let ada = stage.invite(ADA, "administrator");
    let id = ada.expect(201)["user"]["id"].as_str().unwrap().to_owned();
    let put = || stage.platform.http().request("PUT", "/v1/identity-provider").json(&stage.input());
    put().bearer(&stage.tenant.api_key).send().problem(403);
    put().header("cookie", &ada.cookie().unwrap()).send().problem(403);
    let role = json!({"name": "Provider", "allows": ["identity_provider.write"], "denies": []});
    stage.tenant.post("/v1/roles", &role).problem(400);
    stage.set(json!({})).expect(200);
    let roles = json!({"roles": ["owner", "administrator"]});
    stage.tenant.patch(&format!("/v1/users/{id}"), &roles).expect(200);
    refused(&stage.sign_in("ada", json!({})), NOT_CONNECTED);
    stage.connect("ada", ADA).expect(200);
}

#[test]
fn its_second_factor_goes_to_no_other_tenant() {
    let Some(stage) = Stage::new() else { return };
    stage.set(json!({"counts_as_second_factor": true})).expect(200);
    let own = stage.invite(ADA, "viewer");
    let other = stage.platform.tenant();
    let link = other.post("/v1/users", &json!({"email": ADA, "role": "viewer"})).expect(201);
    let token = json!({"token": link_token(link["link"].as_str().unwrap())});
    stage.ask(&own, "POST", "/v1/session/join", &token).expect(200);
    let mut admin =
        Browser::of(&stage.platform, &stage.platform.sign_in(&other.email, &other.password));
    let made = admin.send("POST", "/v1/account/authenticator", &json!({})).expect(200);
    let code = code_now(&decode(made["secret"].as_str().unwrap()), 0);
    admin.send("PUT", "/v1/account/authenticator", &json!({"code": code})).expect(204);
    let ask = json!({"second_factor_required": true});
    admin.send("PUT", "/v1/tenants/sign-in", &ask).expect(204);

    let mut ada = Browser::of(&stage.platform, &stage.connect("ada", ADA));
    ada.send("POST", "/v1/session/confirm", &json!({"password": PASSWORD})).expect(204);
    let there = ada.send("POST", "/v1/session/tenants", &json!({"tenant_id": other.id}));
    assert_eq!(there.expect(200)["lacks_second_factor"], true);
    let refused = ada.send("GET", "/v1/devices", &json!({})).problem(403);
    assert_eq!(refused["type"], "/problems/second-factor-missing");
}

#[test]
fn only_public_addresses_are_called_and_nothing_is_stored_of_others() {
    // A platform that nobody allowed anything.
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let input = |issuer: &str| {
        json!({
            "name": "n", "issuer": issuer, "client_id": "c", "domains": ["people.example"],
            "enabled": true,
        })
    };
    for (issuer, part) in [
        ("http://id.example", "only https"),
        ("https://user:secret@id.example", "user or password"),
        ("https://id.example/?x=1", "behind `?`"),
        ("https://id.example:22", "port 22 is not allowed"),
        ("https://127.0.0.1", "a loopback address"),
        ("https://[::1]", "a loopback address"),
        ("https://[::ffff:127.0.0.1]", "a loopback address"),
        ("https://localhost", "a loopback address"),
        ("https://10.1.2.3", "a private address"),
        ("https://192.168.0.1:8443", "a private address"),
        ("https://169.254.169.254", "a cloud metadata address"),
        ("https://169.254.1.1", "a link-local address"),
        ("https://[fd00:ec2::254]", "a cloud metadata address"),
        ("https://0.0.0.0", "address, which is refused"),
        ("https://no-such-name.invalid", "no such name"),
    ] {
        let problem = tenant.put("/v1/identity-provider", &input(issuer)).problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{issuer}: {detail}, expected {part}");
    }
    assert_eq!(tenant.get("/v1/identity-provider").expect(200)["issuer"], "");
    for (field, value) in [
        ("domains", json!([])),
        ("domains", json!(["people"])),
        ("client_id", json!("")),
        ("client_id", json!(" a")),
        ("client_id", json!("\u{e9}")),
        ("name", json!("")),
    ] {
        let mut wrong = input("https://id.example");
        wrong[field] = value;
        let problem = tenant.put("/v1/identity-provider", &wrong).problem(400);
        assert!(problem["position"].as_str().unwrap().starts_with(field), "{problem}");
    }
}

#[test]
fn what_a_description_names_is_guarded_too() {
    let Some(stage) = Stage::new() else { return };
    for (lie, part) in [
        (json!({"redirect": "https://169.254.169.254/"}), "redirects are not followed"),
        (json!({"description": {"issuer": "https://elsewhere.example"}}), "issuer is another"),
        (json!({"description": {"jwks_uri": "https://169.254.169.254/"}}), "port 443"),
        (json!({"description": {"jwks_uri": "http://localhost/jwks"}}), "only https"),
        (json!({"description": {"token_endpoint": "https://10.0.0.1/token"}}), "port 443"),
        (json!({"description": {"token_endpoint": "file:///etc/passwd"}}), "cannot be called"),
        (json!({"description": {"authorization_endpoint": "javascript:alert(1)"}}), "be called"),
        (json!({"description": {"jwks_uri": stage.at("10.0.0.1")}}), "a private address"),
        (json!({"description": {"jwks_uri": stage.at("169.254.169.254")}}), "a cloud metadata"),
        (json!({"description": {"token_endpoint": stage.at("192.168.1.1")}}), "a private address"),
        (json!({"description": {"token_endpoint": stage.at("[fe80::1]")}}), "a link-local"),
    ] {
        stage.identity.pretend(&lie);
        let problem = stage.set(json!({})).problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{lie}: {detail}, expected {part}");
        assert_eq!(problem["position"], "issuer");
    }
    stage.identity.configure(&stage.redirect_uri, &json!({}));
    stage.set(json!({})).expect(200);
    // A secret that is there stays with its issuer and client.
    let kept = stage.set(json!({"client_secret": null, "name": "Other"})).expect(200);
    assert_eq!(kept["has_secret"], true);
    let moved = stage.set(json!({"client_secret": null, "client_id": "another"})).expect(200);
    assert_eq!(moved["has_secret"], false);
}

impl Stage {
    /// An address on the port that may be called.
    fn at(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.identity.port)
    }
}

/// Whoever set the provider up says who comes by it, and so is in the line of those who do.
#[test]
fn who_set_the_provider_up_and_who_comes_by_it_are_not_two_people() {
    let Some(stage) = Stage::new() else { return };
    let part = json!({"role_of_new": "viewer", "counts_as_second_factor": true});
    stage.set(part).expect(200);
    let roles = json!({"roles": ["privacy_officer"]});
    let link = stage.platform.control("admin_link", json!({"tenant": stage.tenant.id})).unwrap();
    let body = json!({
        "token": link_token(link["link"].as_str().unwrap()), "email": "other@elsewhere.example",
        "password": PASSWORD, "attested": true,
    });
    let other = stage.platform.http().post("/v1/welcome").json(&body).send();
    other.expect(201);
    let come = |login: &str| {
        let made = stage.sign_in(login, json!({"attested": true})).expect(200);
        let path = format!("/v1/users/{}", made["user"]["id"].as_str().unwrap());
        stage.ask(&other, "PATCH", &path, &roles).expect(200);
        stage.sign_in(login, json!({}))
    };
    let stranger = come("stranger");
    let tomorrow = Timestamp::from_millis(now_ms() + 86_400_000).unwrap();
    let hold = json!({
        "scope": {"action": "device."}, "reason": "incident", "note": "Break-in",
        "expires_at": tomorrow.to_string(),
    });
    let made = stage.ask(&stranger, "POST", "/v1/holds", &hold).expect(201);
    let approve = format!("/v1/holds/{}/approve", made["id"].as_str().unwrap());
    let owner = stage.platform.sign_in(&stage.tenant.email, &stage.tenant.password);
    let refused = stage.ask(&owner, "POST", &approve, &json!({})).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("one of you brought the other in"), "{detail}");
}
