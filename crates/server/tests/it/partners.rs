//! Partners on a real platform: two of them with two customers each, three levels deep. Whoever is
//! not directly above sees nothing, and whoever is sees figures only.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Platform, link_token};
use crate::http::{Answer, Request};
use crate::websocket::WebSocket;

/// Far below the 30 s after which a socket asks again by itself.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Somebody who administers a tenant, by session cookie.
pub(crate) struct Person {
    pub(crate) tenant: String,
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) cookie: String,
}

impl Person {
    pub(crate) fn welcome(platform: &Platform, link: &str, email: &str) -> Self {
        let password = format!("correct horse {email}");
        let body = json!({
            "token": link_token(link), "email": email, "password": password, "attested": true,
        });
        let answer = platform.http().post("/v1/welcome").json(&body).send();
        let session = answer.expect(201);
        Self {
            tenant: session["tenant"]["id"].as_str().unwrap().to_owned(),
            email: email.to_owned(),
            password,
            cookie: answer.cookie().expect("a cookie"),
        }
    }

    pub(crate) fn ask(&self, platform: &Platform, method: &str, path: &str) -> Request {
        platform.http().request(method, path).header("cookie", &self.cookie)
    }

    #[track_caller]
    pub(crate) fn get(&self, platform: &Platform, path: &str) -> Answer {
        self.ask(platform, "GET", path).send()
    }

    #[track_caller]
    pub(crate) fn send(
        &self,
        platform: &Platform,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        self.ask(platform, method, path).json(body).send()
    }

    /// Makes a tenant below, and its first administrator.
    #[track_caller]
    pub(crate) fn below(&self, platform: &Platform, kind: &str, name: &str) -> Self {
        let made = self.send(platform, "POST", "/v1/tenants", &json!({"name": name, "kind": kind}));
        let id = made.expect(201)["id"].as_str().unwrap().to_owned();
        let email = format!("{}@partners.example", name.to_lowercase().replace(' ', "-"));
        let path = format!("/v1/tenants/{id}/invitations");
        let invited = self.send(platform, "POST", &path, &json!({"email": email})).expect(201);
        let person = Self::welcome(platform, invited["link"].as_str().unwrap(), &email);
        assert_eq!(person.tenant, id);
        person
    }

    pub(crate) fn path(&self) -> String {
        format!("/v1/tenants/{}", self.tenant)
    }
}

/// The platform's own administrator.
pub(crate) fn administration(platform: &Platform) -> Person {
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    Person::welcome(platform, link["link"].as_str().unwrap(), "platform@partners.example")
}

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.expect(200)["items"].as_array().cloned().unwrap();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// Suspends a tenant: the live views of whoever is in it or below it end at once, another goes on.
fn suspended(
    platform: &Platform,
    (above, tenant): (&Person, &Person),
    watching: &[&Person],
    mut kept: WebSocket,
) {
    let of = |one: &&Person| WebSocket::of_session(platform.http(), &one.cookie);
    let watched: Vec<WebSocket> = watching.iter().map(of).collect();
    let began = Instant::now();
    let suspend = json!({"state": "suspended"});
    above.send(platform, "PATCH", &tenant.path(), &suspend).expect(200);
    for mut socket in watched {
        assert_eq!(socket.closed().0, 1008);
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    kept.send(&json!({"op": "unsubscribe", "id": 1}));
    assert_eq!(kept.receive(), json!({"type": "done", "id": 1}));
}

#[test]
fn everybody_sees_what_is_directly_below_and_nothing_else() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partners = ["North", "South"].map(|name| root.below(platform, "partner", name));
    let [north, south] = &partners;
    let inner = north.below(platform, "partner", "Inner");
    let deep = inner.below(platform, "customer", "Deep");
    let customers = [
        north.below(platform, "customer", "North one"),
        north.below(platform, "customer", "North two"),
        south.below(platform, "customer", "South one"),
        south.below(platform, "customer", "South two"),
    ];
    assert_eq!(names(&root.get(platform, "/v1/tenants")), ["Platform", "North", "South"]);
    assert_eq!(
        names(&north.get(platform, "/v1/tenants")),
        ["North", "Inner", "North one", "North two"]
    );
    assert_eq!(names(&deep.get(platform, "/v1/tenants")), ["Deep"]);

    let all: Vec<&Person> =
        partners.iter().chain([&root, &inner, &deep]).chain(&customers).collect();
    let is_above = |above: &Person, below: &Person| {
        [(&root, north), (&root, south), (north, &inner), (&inner, &deep)]
            .into_iter()
            .chain(
                customers
                    .iter()
                    .map(|one| (if one.email.starts_with("north") { north } else { south }, one)),
            )
            .any(|(one, two)| one.tenant == above.tenant && two.tenant == below.tenant)
    };
    for one in &all {
        for other in &all {
            let what = format!("{} asks for {}", one.email, other.email);
            let seen = one.get(platform, &other.path());
            let expect = one.tenant == other.tenant || is_above(one, other);
            assert_eq!(seen.status, if expect { 200 } else { 404 }, "{what}");
            if !expect {
                let put = |what: &str, body: Value| {
                    one.send(platform, "PUT", &format!("{}/{what}", other.path()), &body)
                };
                let answers = [
                    one.send(platform, "PATCH", &other.path(), &json!({"state": "suspended"})),
                    one.send(
                        platform,
                        "POST",
                        &format!("{}/invitations", other.path()),
                        &json!({"email": "thief@partners.example"}),
                    ),
                    put("hosts", json!({"hosts": ["thief.example"]})),
                    put("domains", json!({"domains": ["thief.example"]})),
                ];
                for answer in answers {
                    answer.problem(404);
                }
            }
            // Going there needs a membership, whoever is above.
            if one.tenant != other.tenant {
                let body = json!({"tenant_id": other.tenant});
                one.send(platform, "POST", "/v1/session/tenants", &body).problem(404);
            }
        }
    }
    // A customer makes nothing below itself, and only the administration makes plans.
    let below = json!({"name": "x"});
    deep.send(platform, "POST", "/v1/tenants", &below).problem(403);
    north.send(platform, "POST", "/v1/plans", &json!({"name": "x", "limits": {}})).problem(403);

    // What a customer keeps stays its own: its partner asks for it as for what never was.
    let device = json!({"name": "pump", "type": "pump", "declaration": "non_personal"});
    let made = customers[0].send(platform, "POST", "/v1/devices", &device).expect(201);
    let device = format!("/v1/devices/{}", made["device"]["id"].as_str().unwrap());
    customers[0].get(platform, &device).expect(200);
    for stranger in [&root, north, south, &inner, &customers[1]] {
        stranger.get(platform, &device).problem(404);
    }
    let figures = north.get(platform, &customers[0].path()).expect(200);
    assert_eq!(figures["usage"]["devices"], 1, "{figures}");
    assert!(!figures.to_string().contains("pump"), "{figures}");
    assert_eq!(root.get(platform, &north.path()).expect(200)["usage"]["tenants"], 4);

    // Suspending a partner stops everything below it, and nothing else.
    let kept = WebSocket::of_session(platform.http(), &south.cookie);
    suspended(platform, (&root, north), &[north, &deep, &customers[1]], kept);
    for stopped in [north, &inner, &deep, &customers[0]] {
        assert_eq!(stopped.get(platform, "/v1/tenants").status, 401, "{}", stopped.email);
        assert_eq!(platform.sign_in(&stopped.email, &stopped.password).status, 401);
    }
    south.get(platform, "/v1/tenants").expect(200);
    customers[2].get(platform, "/v1/devices").expect(200);
    root.send(platform, "PATCH", &north.path(), &json!({"state": "active"})).expect(200);
    deep.get(platform, "/v1/devices").expect(200);
}

#[test]
fn whoever_is_above_invites_the_first_and_nobody_after() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partner = root.below(platform, "partner", "Reseller");
    let made = json!({"name": "Customer", "kind": "customer"});
    let made = partner.send(platform, "POST", "/v1/tenants", &made).expect(201);
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/tenants/{id}/invitations");
    let invite = |email: &str| partner.send(platform, "POST", &path, &json!({"email": email}));
    let link = |email: &str| invite(email).expect(201)["link"].as_str().unwrap().to_owned();
    let (own, first) = (link(&partner.email), link("carol@partners.example"));
    let (again, other) = (link(&partner.email), link("late@partners.example"));
    let carol = Person::welcome(platform, &first, "carol@partners.example");
    // The first is an owner, so that the tenant answers for itself.
    let people = carol.get(platform, "/v1/users").expect(200);
    assert!(people["items"][0]["roles"].to_string().contains("owner"), "{people}");
    // From now on nobody comes in from above: not by a new link, not by one that is left.
    let detail = invite(&partner.email).problem(409)["detail"].to_string();
    assert!(detail.contains("has people of its own"), "{detail}");
    for link in [&own, &again] {
        let token = json!({"token": link_token(link)});
        partner.send(platform, "POST", "/v1/session/join", &token).problem(409);
    }
    let body = json!({
        "token": link_token(&other), "password": "correct horse late", "attested": true,
    });
    platform.http().post("/v1/welcome").json(&body).send().problem(409);
    let people = carol.get(platform, "/v1/users").expect(200);
    assert_eq!(people["items"].as_array().unwrap().len(), 1);
    // Nor while the operator's own link is open, nor by the platform's administration.
    let made = json!({"name": "Next", "kind": "customer"});
    let next = root.send(platform, "POST", "/v1/tenants", &made).expect(201);
    let next = next["id"].as_str().unwrap();
    let operators = platform.control("admin_link", json!({"tenant": next})).unwrap();
    let path = format!("/v1/tenants/{next}/invitations");
    let email = json!({"email": root.email});
    root.send(platform, "POST", &path, &email).problem(409);
    Person::welcome(platform, operators["link"].as_str().unwrap(), "nell@partners.example");
    root.send(platform, "POST", &path, &email).problem(409);
}

#[test]
fn plans_bound_what_is_made_and_partners_give_up_to_their_own() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let plan = |name: &str, limits: Value| {
        let body = json!({"name": name, "limits": limits});
        let made = root.send(platform, "POST", "/v1/plans", &body).expect(201);
        made["id"].as_str().unwrap().to_owned()
    };
    let large = plan("Large", json!({"devices": 100, "users": 9, "api_keys": 9, "tenants": 2}));
    let small = plan("Small", json!({"devices": 1, "users": 1, "api_keys": 1, "tenants": 0}));
    let boundless = plan("Boundless", json!({}));
    let partner = root.below(platform, "partner", "Partner");
    let give = |id: &str| json!({"plan_id": id});
    root.send(platform, "PATCH", &partner.path(), &give(&large)).expect(200);
    assert_eq!(names(&partner.get(platform, "/v1/plans")), ["Large", "Small"]);

    let customer = partner.below(platform, "customer", "Customer");
    // Without a plan in the request it is the partner's own.
    assert_eq!(names(&customer.get(platform, "/v1/plans")), ["Large"]);
    let other = partner.send(platform, "PATCH", &customer.path(), &give(&boundless));
    assert_eq!(other.problem(400)["position"], "plan_id");
    partner.send(platform, "PATCH", &customer.path(), &json!({"plan_id": null})).problem(400);
    partner.send(platform, "PATCH", &customer.path(), &give(&small)).expect(200);
    assert_eq!(names(&customer.get(platform, "/v1/plans")), ["Small"]);

    let over = |answer: Answer, limit: &str| assert_eq!(answer.problem(413)["limit"], limit);
    let device = |name: &str| {
        let body = json!({"name": name, "declaration": "non_personal"});
        customer.send(platform, "POST", "/v1/devices", &body)
    };
    device("one").expect(201);
    over(device("two"), "plan_devices_max");
    let invite = json!({"email": "two@partners.example", "role": "viewer"});
    over(customer.send(platform, "POST", "/v1/users", &invite), "plan_users_max");
    let key = json!({"name": "k", "role": "viewer"});
    customer.send(platform, "POST", "/v1/api-keys", &key).expect(201);
    over(customer.send(platform, "POST", "/v1/api-keys", &key), "plan_api_keys_max");
    partner.below(platform, "customer", "Second");
    let third = json!({"name": "Third"});
    over(partner.send(platform, "POST", "/v1/tenants", &third), "plan_tenants_max");
    let used = root.ask(platform, "DELETE", &format!("/v1/plans/{small}")).send();
    used.problem(409);
    root.ask(platform, "DELETE", &format!("/v1/plans/{boundless}")).send().expect(204);
}

#[test]
fn a_partner_gives_host_names_below_domains_that_were_confirmed() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partner = root.below(platform, "partner", "Partner");
    let inner = partner.below(platform, "partner", "Inner");
    let rival = root.below(platform, "partner", "Rival");
    let customer = inner.below(platform, "customer", "Customer");
    let give = |by: &Person, to: &Person, host: &str| {
        by.send(platform, "PUT", &format!("{}/hosts", to.path()), &json!({"hosts": [host]}))
    };
    let confirm = |by: &Person, of: &Person, domains: &[&str]| {
        let path = format!("{}/domains", of.path());
        by.send(platform, "PUT", &path, &json!({"domains": domains}))
    };
    let refused = |answer: Answer, part: &str| {
        let problem = answer.problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{detail}, expected {part}");
    };
    const UNPROVEN: &str = "none of your confirmed domains";
    // Nothing is confirmed yet, and nobody confirms their own.
    refused(give(&partner, &inner, "in.one.example"), UNPROVEN);
    confirm(&partner, &partner, &["one.example"]).problem(404);
    refused(confirm(&partner, &inner, &["one.example"]), UNPROVEN);
    refused(confirm(&inner, &customer, &[]), "only a partner");
    refused(confirm(&root, &partner, &["example"]), "expected a domain");

    let confirmed = confirm(&root, &partner, &["One.Example."]).expect(200);
    assert_eq!(confirmed["domains"], json!(["one.example"]));
    confirm(&root, &rival, &["x.one.example"]).problem(409);
    confirm(&partner, &inner, &["in.one.example"]).expect(200);
    give(&partner, &inner, "b.one.example").expect(200);
    refused(give(&inner, &customer, "c.one.example"), UNPROVEN);
    refused(give(&inner, &customer, "evilin.one.example"), UNPROVEN);
    refused(give(&inner, &customer, "in.one.example.evil.example"), UNPROVEN);
    give(&inner, &customer, "c.in.one.example").expect(200);
    let face = |host: &str| {
        let face = platform.http().get("/v1/face").header("host", host).send().expect(200);
        face["answered_by"]["platform"].clone()
    };
    inner
        .send(
            platform,
            "PUT",
            "/v1/brand",
            &json!({
                "product": "Inner", "contact_name": "Inner", "contact_email": "help@inner.example",
            }),
        )
        .expect(200);
    assert_eq!(face("c.in.one.example"), false);

    // What is taken back takes everything along that rested on it.
    confirm(&root, &partner, &["two.example"]).expect(200);
    assert_eq!(face("c.in.one.example"), true);
    for (person, hosts) in [(&inner, json!([])), (&customer, json!([]))] {
        let own = person.get(platform, &person.path()).expect(200);
        assert_eq!((&own["hosts"], &own["domains"]), (&hosts, &json!([])));
    }
    refused(give(&inner, &customer, "c.in.one.example"), UNPROVEN);
    confirm(&root, &rival, &["one.example"]).expect(200);
}

#[test]
fn a_host_name_shows_a_face_and_opens_nothing() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partner = root.below(platform, "partner", "Partner");
    let customer = partner.below(platform, "customer", "Customer");
    let brand = json!({
        "product": "Northlight", "light": "#1d3f8f", "dark": "#9db8f5",
        "contact_name": "Northlight Buildings", "contact_email": "help@north.example",
        "privacy": "https://north.example/privacy", "imprint": "Northlight Ltd",
    });
    let hosts = json!({"hosts": ["Twin.North.Example"]});
    root.send(platform, "PUT", &format!("{}/hosts", partner.path()), &hosts).expect(200);
    partner.send(platform, "PUT", "/v1/brand", &brand).expect(200);
    let domains = json!({"domains": ["north.example"]});
    root.send(platform, "PUT", &format!("{}/domains", partner.path()), &domains).expect(200);
    let taken = partner.send(platform, "PUT", &format!("{}/hosts", customer.path()), &hosts);
    taken.problem(409);
    // Who did it from above is told by whom they belong to.
    let records = partner.get(platform, "/v1/activity?action=tenant.&outcome=done").expect(200);
    assert_eq!(records["items"][0]["actor_of"], "Platform", "{records}");

    let at = |host: &str, path: &str| platform.http().get(path).header("host", host).send();
    let face = at("twin.north.example:8443", "/v1/face").expect(200);
    assert_eq!(face["product"], "Northlight");
    assert_eq!(face["answered_by"]["name"], "Northlight Buildings");
    assert!(at("twin.north.example", "/theme.css").text().contains("--brand:#1d3f8f"));
    // The sign-in page of one organisation says whose it is, in the nearest brand.
    let face_of = |id: &str| at("localhost", &format!("/v1/face?organisation={id}")).expect(200);
    let own = face_of(&customer.tenant);
    assert_eq!(own["organisation"], json!({"id": customer.tenant, "name": "Customer"}));
    assert_eq!(own["product"], "Northlight");
    let theme_of = |id: &str| at("localhost", &format!("/theme.css?organisation={id}")).text();
    assert!(theme_of(&customer.tenant).contains("--brand:#1d3f8f"), "its colours, too");
    for unknown in ["00000000-0000-7000-8000-00000000abcd", "nothing", ""] {
        let (face, theme) = (face_of(unknown), theme_of(unknown));
        assert_eq!((&face["organisation"], &face["product"]), (&Value::Null, &json!("Veritwin")));
        assert_eq!(theme, "", "{unknown}");
    }
    // A partner's host name names whoever is below it, and nobody else.
    let stranger = root.below(platform, "partner", "Stranger");
    for (id, named) in [(&customer.tenant, json!("Customer")), (&stranger.tenant, Value::Null)] {
        let face = at("twin.north.example", &format!("/v1/face?organisation={id}")).expect(200);
        assert_eq!(
            (&face["organisation"]["name"], &face["product"]),
            (&named, &json!("Northlight"))
        );
        let theme = at("twin.north.example", &format!("/theme.css?organisation={id}")).text();
        assert!(theme.contains("--brand:#1d3f8f"), "{id}");
    }
    for unknown in ["other.example", "localhost", "", "a b", "twin.north.example.evil.example"] {
        let face = at(unknown, "/v1/face").expect(200);
        assert_eq!(
            (&face["product"], &face["answered_by"]["platform"]),
            (&json!("Veritwin"), &json!(true)),
            "{unknown}"
        );
        assert_eq!(at(unknown, "/theme.css").text(), "", "{unknown}");
    }
    // Another tenant's host name widens nothing.
    for host in ["twin.north.example", "other.example"] {
        let stranger = platform.tenant();
        let answer = stranger.request("GET", &partner.path()).header("host", host).send();
        answer.problem(404);
        let seen = stranger.request("GET", "/v1/tenants").header("host", host).send();
        assert!(!seen.text().contains(&partner.tenant), "{}", seen.text());
    }

    // What cannot be read, or is no picture, is refused with its place.
    let refused = |body: Value, field: &str| {
        let answer = partner.send(platform, "PUT", "/v1/brand", &body);
        assert_eq!(answer.problem(400)["position"], field);
    };
    refused(json!({"light": "#ffff00"}), "light");
    refused(json!({"dark": "#101010"}), "dark");
    refused(json!({"light": "red;}*{display:none"}), "light");
    refused(json!({"contact_email": "nobody"}), "contact_email");
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let logo = partner.ask(platform, "PUT", "/v1/brand/logo").body("image/png", svg).send();
    assert_eq!(logo.problem(400)["position"], "logo");
    assert_eq!(at("twin.north.example", "/brand/logo.png").status, 404);
}

#[test]
fn requests_go_to_whoever_answers_and_to_nobody_else() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partner = root.below(platform, "partner", "Partner");
    let customer = partner.below(platform, "customer", "Customer");
    let brand = json!({"contact_name": "Partner Ltd", "contact_email": "help@partner.example"});
    let write = |text: &str| {
        let body = json!({"email": "person@customer.example", "message": text});
        customer.send(platform, "POST", "/v1/contact", &body).expect(202);
    };
    // Until the partner says how to reach it, the platform answers.
    let answered = |person: &Person| {
        let seen = customer.get(platform, &customer.path()).expect(200);
        assert_eq!(seen["answered_by"]["platform"], person.tenant == root.tenant, "{seen}");
    };
    answered(&root);
    partner.send(platform, "PUT", "/v1/brand", &brand).expect(200);
    answered(&partner);
    write("please correct my name");
    let inbox = |person: &Person| person.get(platform, "/v1/contact").expect(200)["items"].clone();
    let found = inbox(&partner);
    assert_eq!(found[0]["message"], "please correct my name");
    assert_eq!(found[0]["from"], "Customer");
    for other in [&root, &customer] {
        assert_eq!(inbox(other), json!([]), "{}", other.email);
        other
            .send(platform, "POST", "/v1/contact/done", &json!({"id": found[0]["id"]}))
            .problem(404);
    }
    let done = json!({"id": found[0]["id"]});
    partner.send(platform, "POST", "/v1/contact/done", &done).expect(204);
    assert_eq!(inbox(&partner), json!([]));
}
