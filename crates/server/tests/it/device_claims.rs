//! Claiming through the running platform: a device that a partner prepared becomes a customer's own
//! by its name and secret, comes in as before, and nothing of what it was goes with it.

use serde_json::{Value, json};

use crate::device_ca::Ca;
use crate::device_credentials::{borrowed, gets_in, is_out, mosquitto, stays, with_certificate};
use crate::harness::{Mode, Options, Platform, link_token, wait_for};
use crate::http::Answer;
use crate::mqtt::Version;
use crate::partners::{Person, administration};
use crate::python::{Script, interpreter};
use crate::tenant::{Device, Tenant};

const CLAIM: &str = "v1/devices/me/claim";
const TELEMETRY: &str = "v1/devices/me/telemetry";
pub(crate) const SECRET: &str = "on the label";

/// A partner with a device, a customer below it, and one that has nothing to do with them.
pub(crate) struct World<'a> {
    platform: &'a Platform,
    partner: Person,
    pub(crate) customer: Person,
    pub(crate) stranger: Person,
    device: String,
    token: String,
}

impl<'a> World<'a> {
    fn new(platform: &'a Platform) -> Self {
        let root = administration(platform);
        let partner = root.below(platform, "partner", "Integrator");
        let customer = partner.below(platform, "customer", "Customer");
        let stranger = root.below(platform, "customer", "Stranger");
        Self::of(platform, [partner, customer, stranger])
    }

    /// The first has a device.
    pub(crate) fn of(platform: &'a Platform, [partner, customer, stranger]: [Person; 3]) -> Self {
        let body = json!({"name": "pump-8", "type": "prepared", "declaration": "non_personal"});
        let made = partner.send(platform, "POST", "/v1/devices", &body).expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (device, token) = (text(&made["device"]["id"]), text(&made["token"]));
        Self { platform, partner, customer, stranger, device, token }
    }

    #[track_caller]
    pub(crate) fn claim(&self, who: &Person, name: &str, secret: &str) -> Answer {
        let body = json!({"name": name, "secret": secret});
        who.send(self.platform, "POST", "/v1/device-claims", &body)
    }

    /// The device lets itself be claimed, over HTTP.
    #[track_caller]
    pub(crate) fn offer(&self, body: &Value) -> Answer {
        self.platform.http().post("/api/v1/claim").bearer(&self.token).json(body).send()
    }

    #[track_caller]
    fn send(&self, key: &str) {
        let post = self.platform.http().post("/api/v1/telemetry").bearer(&self.token);
        post.json(&json!({key: 1})).send().expect(200);
    }

    /// The latest value that somebody reads of a device.
    #[track_caller]
    fn latest(&self, who: &Person, device: &str, key: &str) -> Value {
        let body = json!({"device_ids": [device], "keys": [key]});
        let found = who.send(self.platform, "POST", "/v1/telemetry/latest", &body);
        if found.status != 200 {
            return Value::Null;
        }
        found.expect(200)["items"].get(0).map_or(Value::Null, |item| item["value"].clone())
    }

    fn list(&self) -> Value {
        self.partner.get(self.platform, "/v1/device-claims").expect(200)
    }
}

#[test]
fn a_device_is_claimed_comes_in_as_the_customers_and_goes_back() {
    let platform = &Platform::serve();
    let world = World::new(platform);
    world.send("before");
    let mut client = platform.mqtt(Version::V311, &world.token);
    let ask = json!({"secretKey": SECRET, "durationMs": 600_000}).to_string();
    assert_eq!(client.publish(CLAIM, ask.as_bytes()).0, 0);
    let waiting = world.list();
    assert_eq!(waiting["waiting"][0]["name"], "pump-8");
    assert_eq!(waiting["waiting"][0]["by_name_alone"], false);

    // A wrong secret, an unknown name and another's tree are answered alike.
    let wrong = world.claim(&world.customer, "pump-8", "on the table").problem(404);
    let unknown = world.claim(&world.customer, "pump-9", SECRET).problem(404);
    let elsewhere = world.claim(&world.stranger, "pump-8", SECRET).problem(404);
    for other in [unknown, elsewhere] {
        assert_eq!((&other["title"], &other["detail"]), (&wrong["title"], &wrong["detail"]));
    }
    let claimed = world.claim(&world.customer, "PUMP-8", SECRET).expect(201);
    let own = claimed["device_id"].as_str().unwrap().to_owned();
    assert_ne!(own, world.device);
    // Its connection is closed, and comes back as the customer's.
    while client.read_raw().is_ok() {}
    let mut client = platform.mqtt(Version::V5, &world.token);
    assert_eq!(client.publish(TELEMETRY, br#"{"after":2}"#).0, 0);
    wait_for("the customer's reading", || {
        (world.latest(&world.customer, &own, "after") == 2).then_some(())
    });
    // What was before stays where it was, and what comes is nobody else's.
    assert_eq!(world.latest(&world.customer, &own, "before"), Value::Null);
    assert_eq!(world.latest(&world.partner, &world.device, "before"), 1);
    assert_eq!(world.latest(&world.partner, &world.device, "after"), Value::Null);
    let path = format!("/v1/devices/{own}");
    let device = world.customer.get(platform, &path).expect(200);
    assert_eq!(
        (&device["name"], &device["type"], &device["declaration"]),
        (&json!("PUMP-8"), &json!(""), &json!("undeclared"))
    );
    let former = format!("/v1/devices/{}", world.device);
    world.customer.get(platform, &former).problem(404);
    world.partner.get(platform, &path).problem(404);
    let known = world.partner.get(platform, &format!("{former}/claim")).expect(200);
    assert_eq!((&known["state"], &known["organisation"]), (&json!("away"), &json!("Customer")));
    let list = world.list();
    assert_eq!(list["waiting"], json!([]));
    assert_eq!(list["claimed"][0]["organisation"], "Customer");
    let more = json!({});
    world.partner.send(platform, "POST", &format!("{former}/credentials"), &more).problem(409);
    // Both tenants' records say it.
    for who in [&world.partner, &world.customer] {
        let records = who.get(platform, "/v1/activity").expect(200).to_string();
        assert!(records.contains("device.claim"), "{records}");
    }
    // Once is once.
    world.claim(&world.customer, "pump-8", SECRET).problem(404);

    let claim = format!("{path}/claim");
    assert_eq!(world.customer.get(platform, &claim).expect(200)["state"], "here");
    world.customer.ask(platform, "DELETE", &claim).send().expect(204);
    while client.read_raw().is_ok() {}
    world.customer.ask(platform, "DELETE", &claim).send().problem(409);
    world.send("again");
    wait_for("the partner's reading", || {
        (world.latest(&world.partner, &world.device, "again") == 1).then_some(())
    });
    assert_eq!(world.latest(&world.customer, &own, "after"), 2, "what it was stays");
    // The same customer finds it as it was, if that has a place for what it brings.
    let added = format!("{path}/credentials");
    let add = || world.customer.send(platform, "POST", &added, &json!({})).expect(201);
    let all: Vec<Value> = (0..16).map(|_| add()).collect();
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    world.claim(&world.customer, "pump-8", SECRET).problem(409);
    let one = format!("{added}/{}", all[0]["credential"]["id"].as_str().unwrap());
    world.customer.ask(platform, "DELETE", &one).send().expect(204);
    let again = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    assert_eq!(again["device_id"], own.as_str());
}

#[test]
fn what_may_be_claimed_is_said_precisely() {
    let platform = &Platform::serve();
    let world = World::new(platform);
    for (body, status, part) in [
        (json!({"secretKey": "short"}), 400, "8 characters"),
        (json!({"secretKey": SECRET, "durationMs": 604_800_001_u64}), 400, "durationMs"),
        (json!({}), 403, "by their names alone"),
        (json!({"secretKey": 7}), 400, "secretKey (text)"),
    ] {
        let problem = world.offer(&body).expect(status);
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let settings = json!({"by_name_alone": true});
    let put = world.partner.send(platform, "PUT", "/v1/device-claims/settings", &settings);
    put.expect(204);
    let path = format!("/api/v1/{}/claim", world.token);
    platform.http().post(&path).send().expect(200);
    assert_eq!(world.list()["waiting"][0]["by_name_alone"], true);
    // What waits by its name does so only while names are enough.
    let without = json!({"by_name_alone": false});
    world.partner.send(platform, "PUT", "/v1/device-claims/settings", &without).expect(204);
    assert_eq!(world.list()["waiting"], json!([]));
    world.claim(&world.customer, "pump-8", "").problem(404);
    world.partner.send(platform, "PUT", "/v1/device-claims/settings", &settings).expect(204);
    // A name that is taken; then it is free.
    let taken = json!({"name": "pump-8"});
    let taken = world.customer.send(platform, "POST", "/v1/devices", &taken).expect(201);
    world.claim(&world.customer, "pump-8", "").problem(409);
    let taken = format!("/v1/devices/{}", taken["device"]["id"].as_str().unwrap());
    world.customer.ask(platform, "DELETE", &taken).send().expect(204);
    // Devices behind a gateway do not move with it, nor by themselves.
    let former = format!("/v1/devices/{}", world.device);
    // Nor does a Sparkplug host, with whose credentials a stranger would command.
    let host = |is_host: bool| {
        let body = json!({"is_sparkplug_host": is_host});
        world.partner.send(platform, "PATCH", &former, &body).expect(200);
    };
    let says_host = |refused: &Value| refused["detail"].to_string().contains("Sparkplug host");
    host(true);
    let refused = world.claim(&world.customer, "pump-8", "").problem(409);
    assert!(says_host(&refused), "{refused}");
    host(false);
    let gateway = json!({"is_gateway": true});
    world.partner.send(platform, "PATCH", &former, &gateway).expect(200);
    let child = json!({"name": "meter"});
    let child = world.partner.send(platform, "POST", "/v1/devices", &child).expect(201);
    let behind = format!("/v1/devices/{}", child["device"]["id"].as_str().unwrap());
    let put = json!({"gateway_id": world.device});
    world.partner.send(platform, "PATCH", &behind, &put).expect(200);
    let refused = world.claim(&world.customer, "pump-8", "").problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("behind this gateway"), "{refused}");
    let token = child["token"].as_str().unwrap();
    let own = platform.http().post("/api/v1/claim").bearer(token);
    let problem = own.json(&json!({"secretKey": SECRET})).send().expect(403);
    assert!(problem["detail"].as_str().unwrap().contains("through a gateway"), "{problem}");
    world.partner.ask(platform, "DELETE", &behind).send().expect(204);
    // Nor does one go for which an edge signs.
    let keys = format!("{former}/edge-keys");
    let key = json!({"public_key": "ab".repeat(32)});
    let key = world.partner.send(platform, "POST", &keys, &key).expect(201);
    let refused = world.claim(&world.customer, "pump-8", "").problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("an edge signs"), "{refused}");
    let key = format!("{keys}/{}", key["id"].as_str().unwrap());
    world.partner.ask(platform, "DELETE", &key).send().expect(204);
    let claimed = world.claim(&world.customer, "pump-8", "").expect(201);
    let own = format!("/v1/devices/{}", claimed["device_id"].as_str().unwrap());
    assert_eq!(world.customer.get(platform, &own).expect(200)["is_gateway"], true);
    // What the customer gave it comes back to no host.
    let claim = format!("{own}/claim");
    host(true);
    let refused = world.customer.ask(platform, "DELETE", &claim).send().problem(409);
    assert!(says_host(&refused), "{refused}");
    host(false);
    world.customer.ask(platform, "DELETE", &claim).send().expect(204);
}

#[test]
fn a_device_behind_a_gateway_is_claimed_when_its_gateway_asks() {
    let platform = &Platform::serve();
    let world = World::new(platform);
    let former = format!("/v1/devices/{}", world.device);
    world.partner.send(platform, "PATCH", &former, &json!({"is_gateway": true})).expect(200);
    let mut gateway = platform.mqtt(Version::V5, &world.token);
    let say = "v1/gateway/telemetry";
    assert_eq!(gateway.publish(say, br#"{"meter":{"t":1},"valve":{"t":1}}"#).0, 0);
    world.claim(&world.customer, "meter", SECRET).problem(404);
    let ask = json!({"meter": {"secretKey": SECRET}, "valve": {"secretKey": "short"}}).to_string();
    let (code, why) = gateway.publish("v1/gateway/claim", ask.as_bytes());
    assert_eq!(code, 0x99, "{why}");
    assert!(why.contains("1 of 2 devices refused") && why.contains("8 characters"), "{why}");
    world.claim(&world.customer, "valve", "short").problem(404);
    // What the gateway asks is over when the device is not its own any more, or it is shut out.
    let list = world.partner.get(platform, "/v1/devices?search=meter").expect(200);
    let meter = list["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/devices/{meter}");
    let put = |gateway: Value| {
        let put = json!({"gateway_id": gateway});
        world.partner.send(platform, "PATCH", &path, &put).expect(200);
    };
    put(json!(""));
    assert_eq!(world.list()["waiting"], json!([]));
    world.claim(&world.customer, "meter", SECRET).problem(404);
    put(json!(world.device));
    let ask = json!({"meter": {"secretKey": SECRET}}).to_string();
    assert_eq!(gateway.publish("v1/gateway/claim", ask.as_bytes()).0, 0);
    let more = world.partner.send(platform, "POST", &format!("{former}/credentials"), &json!({}));
    let more = more.expect(201)["credential"]["id"].as_str().unwrap().to_owned();
    let more = format!("{former}/credentials/{more}");
    world.partner.ask(platform, "DELETE", &more).send().expect(204);
    assert_eq!(world.list()["waiting"], json!([]));

    gateway.subscribe("v1/gateway/disconnect");
    assert_eq!(gateway.publish(say, br#"{"meter":{"t":2}}"#).0, 0);
    assert_eq!(gateway.publish("v1/gateway/claim", ask.as_bytes()).0, 0);
    let claimed = world.claim(&world.customer, "meter", SECRET).expect(201);
    let own = format!("/v1/devices/{}", claimed["device_id"].as_str().unwrap());
    assert_eq!(world.customer.get(platform, &own).expect(200)["gateway_id"], Value::Null);
    assert_eq!(state(platform, &world.partner, &meter), "away");
    // Its gateway is told, and speaks for it no longer; for the others it does.
    let (_, gone) = gateway.message();
    assert!(String::from_utf8_lossy(&gone).contains("meter"));
    let (code, why) = gateway.publish(say, br#"{"meter":{"t":3},"valve":{"t":3}}"#);
    assert!(code == 0x87 && why.contains("not behind this gateway"), "{code:#x} {why}");
    assert_eq!(gateway.publish("v1/gateway/claim", ask.as_bytes()).0, 0x87);
}

/// Where somebody sees a device.
#[track_caller]
fn state(platform: &Platform, who: &Person, device: &str) -> Value {
    let found = who.get(platform, &format!("/v1/devices/{device}/claim"));
    found.expect(200)["state"].clone()
}

#[test]
fn a_device_goes_from_hand_to_hand_and_all_the_way_back() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let maker = root.below(platform, "partner", "Maker");
    let integrator = maker.below(platform, "partner", "Integrator");
    let customer = integrator.below(platform, "customer", "Customer");
    let world = World::of(platform, [maker, integrator, customer]);
    let id = |answer: Answer| answer.expect(201)["device_id"].as_str().unwrap().to_owned();
    let back = |who: &Person, device: &str| {
        who.ask(platform, "DELETE", &format!("/v1/devices/{device}/claim")).send()
    };
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    let middle = id(world.claim(&world.customer, "pump-8", SECRET));
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    let last = id(world.claim(&world.stranger, "pump-8", SECRET));
    assert_eq!(state(platform, &world.partner, &world.device), "away");
    assert_eq!(state(platform, &world.customer, &middle), "away");
    assert_eq!(state(platform, &world.stranger, &last), "here");
    // Who does not have it gives nothing back, and whoever has it gives it to the one before.
    back(&world.customer, &middle).problem(409);
    back(&world.stranger, &last).expect(204);
    assert_eq!(state(platform, &world.customer, &middle), "here");
    back(&world.customer, &middle).expect(204);
    assert_eq!(state(platform, &world.partner, &world.device), "back");
    world.send("again");
    wait_for("the maker's reading", || {
        (world.latest(&world.partner, &world.device, "again") == 1).then_some(())
    });
}

#[test]
fn who_prepared_a_device_takes_it_back_and_lets_it_in_anew() {
    let platform = &Platform::serve();
    let world = World::new(platform);
    let take = |who: &Person, device: &str| {
        let path = format!("/v1/devices/{device}/claim/take-back");
        who.ask(platform, "POST", &path).send()
    };
    // What nobody claimed is not taken back, and what is another's is not known.
    take(&world.partner, &world.device).problem(409);
    take(&world.stranger, &world.device).problem(404);
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    let claimed = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    let own = claimed["device_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/devices/{own}");
    let mut client = platform.mqtt(Version::V5, &world.token);
    assert_eq!(client.publish(TELEMETRY, br#"{"theirs":2}"#).0, 0);
    // Whoever has it has nothing to take, and the partner does not know it by that id.
    take(&world.customer, &own).problem(409);
    take(&world.partner, &own).problem(404);
    // What depends on it there keeps it there; what that is, is not said.
    let send =
        |method: &str, path: &str, body: &Value| world.customer.send(platform, method, path, body);
    send("PATCH", &path, &json!({"is_gateway": true})).expect(200);
    let child = send("POST", "/v1/devices", &json!({"name": "meter"})).expect(201);
    let behind = format!("/v1/devices/{}", child["device"]["id"].as_str().unwrap());
    send("PATCH", &behind, &json!({"gateway_id": own})).expect(200);
    let refused = take(&world.partner, &world.device).problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("depends on it") && !detail.contains("gateway"), "{refused}");
    send("PATCH", &behind, &json!({"gateway_id": ""})).expect(200);

    take(&world.partner, &world.device).expect(204);
    while client.read_raw().is_ok() {}
    take(&world.partner, &world.device).problem(409);
    assert_eq!(state(platform, &world.partner, &world.device), "back");
    assert_eq!(state(platform, &world.customer, &own), "given_back");
    assert_eq!(world.list()["claimed"], json!([]));
    assert_eq!(world.latest(&world.customer, &own, "theirs"), 2, "what it was stays");
    // Nothing that it came in with lets it in, at neither.
    world.offer(&json!({"secretKey": SECRET})).expect(401);
    for who in [&world.partner, &world.customer] {
        let records = who.get(platform, "/v1/activity").expect(200).to_string();
        assert!(records.contains("device.return"), "{records}");
    }
    let made = format!("/v1/devices/{}/credentials", world.device);
    let made = world.partner.send(platform, "POST", &made, &json!({})).expect(201);
    let token = made["token"].as_str().unwrap().to_owned();
    let world = World { token, ..world };
    world.send("ours");
    wait_for("the partner's reading", || {
        (world.latest(&world.partner, &world.device, "ours") == 1).then_some(())
    });
    assert_eq!(world.latest(&world.customer, &own, "ours"), Value::Null);
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    let again = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    assert_eq!(again["device_id"], own.as_str());
    // What the customer deleted is taken back as well.
    world.customer.ask(platform, "DELETE", &path).send().expect(204);
    take(&world.partner, &world.device).expect(204);
    assert_eq!(state(platform, &world.partner, &world.device), "back");
}

#[test]
fn what_its_customer_deleted_may_come_in_again_and_what_is_shut_out_waits_no_longer() {
    let platform = &Platform::serve();
    let world = World::new(platform);
    let former = format!("/v1/devices/{}/credentials", world.device);
    let add = || world.partner.send(platform, "POST", &former, &json!({"name": "Shelf 4"}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let more = text(&add().expect(201)["credential"]["id"]);
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    assert_eq!(world.list()["waiting"].as_array().unwrap().len(), 1);
    let path = format!("{former}/{more}");
    world.partner.ask(platform, "DELETE", &path).send().expect(204);
    assert_eq!(world.list()["waiting"], json!([]));
    world.claim(&world.customer, "pump-8", SECRET).problem(404);

    add().expect(201);
    world.offer(&json!({"secretKey": SECRET})).expect(200);
    let claimed = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    let own = format!("/v1/devices/{}", claimed["device_id"].as_str().unwrap());
    // What the partner's people called its credentials is not told.
    let credentials = world.customer.get(platform, &format!("{own}/credentials")).expect(200);
    assert!(!credentials.to_string().contains("Shelf"), "{credentials}");
    add().problem(409);
    world.customer.ask(platform, "DELETE", &own).send().expect(204);
    let token = text(&add().expect(201)["token"]);
    let post = platform.http().post("/api/v1/telemetry").bearer(&token);
    post.json(&json!({"anew": 1})).send().expect(200);
    let offer = platform.http().post("/api/v1/claim").bearer(&token);
    offer.json(&json!({"secretKey": SECRET})).send().expect(200);
    world.claim(&world.customer, "pump-8", SECRET).expect(201);
}

#[test]
fn guessing_is_slowed_down_and_a_window_ends() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = &Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let world = World::new(platform);
    world.offer(&json!({"secretKey": SECRET, "durationMs": 60_000})).expect(200);
    let guesses = (0..20).filter(|number| {
        world.claim(&world.customer, "pump-8", &format!("guess number {number}")).status == 404
    });
    assert!(guesses.count() <= 6);
    world.claim(&world.customer, "pump-8", SECRET).problem(429);
    // Whoever else is not held to it; nor is the guesser after a while, but the window is over.
    world.claim(&world.stranger, "pump-8", SECRET).problem(404);
    platform.cli(&["clock", "advance", "61m"]).done();
    let late = world.customer.ask(platform, "POST", "/v1/device-claims");
    let late = late.json(&json!({"name": "pump-8", "secret": SECRET})).send();
    assert!(matches!(late.status, 401 | 404 | 429), "{}", late.text());
}

/// A tenant with an API key below another, by what makes one there.
fn tenant_below(
    platform: &Platform,
    (kind, number): (&str, u32),
    send: impl Fn(&str, &Value) -> Answer,
) -> Tenant {
    let made = send("/v1/tenants", &json!({"name": format!("Tenant {number}"), "kind": kind}));
    let path = format!("/v1/tenants/{}/invitations", made.expect(201)["id"].as_str().unwrap());
    let email = format!("admin-{number}@tenant.example");
    let invited = send(&path, &json!({"email": email})).expect(201);
    Tenant::redeem(platform.http(), link_token(invited["link"].as_str().unwrap()), number)
}

#[test]
fn what_the_partners_authority_vouches_for_goes_on_at_the_customers() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let send = |path: &str, body: &Value| root.send(platform, "POST", path, body);
    let partner = tenant_below(platform, ("partner", 901), send);
    let send = |path: &str, body: &Value| partner.post(path, body);
    let customer = tenant_below(platform, ("customer", 902), send);
    let ca = Ca::new();
    let settings = json!({"name": "Works", "creates": true, "device_name": "works-*"});
    let authority = ca.register(&partner, &settings).expect(201);
    let held = ca.leaf("one", 1, 30);
    let arguments = with_certificate(platform, &held, "claimed");
    let ask = json!({"secretKey": SECRET}).to_string();
    let mut command = mosquitto(platform, "mosquitto_pub");
    command.args(["-t", CLAIM, "-q", "1", "-m", &ask]).args(borrowed(&arguments));
    assert!(command.status().unwrap().success());
    let claim = json!({"name": "works-one", "secret": SECRET});
    let claimed = customer.post("/v1/device-claims", &claim).expect(201);
    let id = claimed["device_id"].as_str().unwrap().to_owned();
    let own = Device { id, name: "works-one".to_owned(), token: String::new() };
    assert!(gets_in(platform, &borrowed(&arguments)));
    wait_for("the customer's reading", || (customer.latest(&own, "t") == 1).then_some(()));
    // Its authority is the partner's still, and what it revokes is out.
    let child = stays(platform, &customer, &own.id, &borrowed(&arguments));
    let id = authority["id"].as_str().unwrap();
    let path = format!("/v1/device-authorities/{id}/revocation-list");
    let put = partner.request("PUT", &path).body("application/pkix-crl", &ca.list(&[1]));
    put.send().expect(200);
    is_out(child);
    assert!(!gets_in(platform, &borrowed(&arguments)));
}

#[test]
fn thingsboards_own_client_lets_itself_be_claimed() {
    let Some(python) = interpreter("thingsboard") else { return };
    let platform = &Platform::serve();
    let world = World::new(platform);
    let script = Script::start(platform, &python, "claiming.py", &[&world.token, SECRET]);
    assert_eq!(script.line(), "asked");
    wait_for("its window", || (world.list()["waiting"][0]["name"] == "pump-8").then_some(()));
    let claimed = world.claim(&world.customer, "pump-8", SECRET).expect(201);
    let own = claimed["device_id"].as_str().unwrap();
    // It connects again by itself, and speaks as the customer's.
    wait_for("the customer's reading", || {
        (world.latest(&world.customer, own, "temperature") == 21.5).then_some(())
    });
}
