//! Grants over parts of a tenant, roles of a tenant's own, and keys that are never worth more than
//! whoever made them: what is out of reach answers like what never was, and changes count at once.

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::harness::{Platform, link_token};
use crate::http::{Answer, Request};
use crate::tenant::{Device, Tenant};

/// A person with a session.
pub(crate) struct Person<'a> {
    platform: &'a Platform,
    pub(crate) id: String,
    cookie: String,
}

impl<'a> Person<'a> {
    pub(crate) fn new(platform: &'a Platform, tenant: &Tenant, name: &str, role: &str) -> Self {
        Self::of(platform, tenant.member(name, role))
    }

    /// Somebody who came in already, by id and session.
    pub(crate) fn of(platform: &'a Platform, (id, cookie): (String, String)) -> Self {
        Self { platform, id, cookie }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        self.platform.http().request(method, path).header("cookie", &self.cookie)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send()
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path).json(body).send()
    }
}

pub(crate) fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(id).collect()
}

/// A list shows one thing.
#[track_caller]
fn only(list: &Value, one: &str) {
    assert_eq!(ids(list), [one]);
}

#[track_caller]
fn grant(tenant: &Tenant, user: &str, role: &str, scope: Value) -> String {
    let body = json!({"user_id": user, "role": role, "scope": scope});
    id(&tenant.post("/v1/grants", &body).expect(201))
}

/// Everything that is asked about one device.
fn questions(device: &Device) -> Vec<(&'static str, String, Value)> {
    let of = |rest: &str| format!("/v1/devices/{}{rest}", device.id);
    let series = json!([{"device_id": device.id, "key": "t"}]);
    let query =
        json!({"series": series, "from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
    vec![
        ("GET", of(""), Value::Null),
        ("GET", of("/attributes"), Value::Null),
        ("POST", "/v1/telemetry/query".to_owned(), query.clone()),
        ("POST", "/v1/telemetry/stats".to_owned(), json!({"series": series})),
        ("POST", "/v1/telemetry/latest".to_owned(), json!({"device_ids": [device.id]})),
        ("PATCH", of(""), json!({"type": "changed"})),
        ("GET", of("/credentials"), Value::Null),
    ]
}

#[test]
fn a_grant_over_a_group_shows_the_group_and_nothing_else() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (inside, outside) = (tenant.device("inside"), tenant.device("outside"));
    for device in [&inside, &outside] {
        tenant.send(device, &json!({"t": 1})).expect(200);
    }
    let group = json!({"name": "north", "device_ids": [inside.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let person = Person::new(platform, &tenant, "north", "support");
    person.get("/v1/devices").problem(403);
    let given = grant(&tenant, &person.id, "integrator", json!({"group_id": group}));
    // A grant counts at once, for the group.
    only(&person.get("/v1/devices").expect(200), &inside.id);
    for (query, total) in [
        (String::new(), 1),
        ("search=side".to_owned(), 1),
        ("search=outside".to_owned(), 0),
        (format!("ids={},{}", inside.id, outside.id), 1),
        (format!("ids={}", outside.id), 0),
    ] {
        let page = person.get(&format!("/v1/devices?{query}")).expect(200);
        assert_eq!(page["total"], total, "{query}: {page}");
        assert_eq!(page["items"].as_array().unwrap().len() as u64, total, "{query}");
    }
    let never = Device { id: "00000000-0000-7000-8000-000000000000".into(), ..outside.clone() };
    let ask = |method: &str, path: &str, body: &Value| {
        let request = person.request(method, path);
        if body.is_null() { request.send() } else { request.json(body).send() }
    };
    for ((method, path, body), (_, never, absent)) in
        questions(&outside).into_iter().zip(questions(&never))
    {
        let hidden = ask(method, &path, &body);
        hidden.problem(404);
        let absent = ask(method, &never, &absent);
        assert_eq!(hidden.text(), absent.text(), "{method} {path}");
    }
    for (method, path, body) in questions(&inside) {
        ask(method, &path, &body).expect(200);
    }
    let latest = person.post("/v1/telemetry/latest", &json!({})).expect(200);
    assert_eq!(latest["items"].as_array().unwrap().len(), 1, "{latest}");
    let own = person.get("/v1/session/rights").expect(200);
    let may =
        |list: &str, action: &str| own[list].as_array().unwrap().iter().any(|one| one == action);
    assert!(may("parts", "device.read") && !may("whole", "device.read"), "{own}");
    assert!(may("whole", "session.read") && !may("parts", "user.list"), "{own}");
    assert!(!may("whole", "support.serve"), "a customer has no desk: {own}");
    // What belongs to the whole tenant is not in it.
    for path in ["/v1/users", "/v1/api-keys", "/v1/keys", "/v1/activity", "/v1/ledger"] {
        person.get(path).problem(403);
    }
    person.post("/v1/devices", &json!({"name": "elsewhere"})).problem(403);
    // The group changes, and what is shown with it; then the grant goes.
    let moved = json!({"name": "north", "device_ids": [outside.id]});
    tenant.put(&format!("/v1/groups/{group}"), &moved).expect(200);
    only(&person.get("/v1/devices").expect(200), &outside.id);
    tenant.delete(&format!("/v1/grants/{given}")).expect(204);
    person.get("/v1/devices").problem(403);
}

#[test]
fn a_grant_over_a_branch_shows_what_is_placed_there() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let model = demo_ifc();
    let twin = tenant.request("POST", "/v1/twins").body("application/x-step", model.as_bytes());
    let twin = id(&twin.send().expect(201)["twin"]);
    let model = tenant.get(&format!("/v1/twins/{twin}/model")).expect(200);
    let space = &model["spaces"][0];
    let storey = space["storey_id"].as_str().unwrap();
    let elsewhere = model["spaces"].as_array().unwrap().iter();
    let elsewhere = elsewhere.filter(|one| one["storey_id"] != storey).map(|one| &one["id"]).next();
    let elsewhere = elsewhere.expect("a second storey").clone();
    let place = |name: &str, space: &Value| {
        let body = json!({
            "name": name, "type": "t", "declaration": "non_personal",
            "twin_id": twin, "space_id": space,
        });
        id(&tenant.post("/v1/devices", &body).expect(201)["device"])
    };
    let (here, there) = (place("here", &space["id"]), place("there", &elsewhere));
    let person = Person::new(platform, &tenant, "storey", "support");
    grant(&tenant, &person.id, "viewer", json!({"twin_id": twin, "node_id": storey}));
    only(&person.get("/v1/devices").expect(200), &here);
    person.get(&format!("/v1/devices/{there}")).problem(404);
    // The building itself can be looked at; it counts what is shown.
    let twins = person.get("/v1/twins").expect(200);
    only(&twins, &twin);
    assert_eq!(twins["items"][0]["counts"]["devices"], 1, "{twins}");
    // A workspace with the twin shows all of it.
    let space = json!({"name": "tower", "twin_ids": [twin]});
    let space = id(&tenant.post("/v1/workspaces", &space).expect(201));
    grant(&tenant, &person.id, "viewer", json!({"workspace_id": space}));
    let mut both = ids(&person.get("/v1/devices").expect(200));
    both.sort();
    let mut expect = vec![here, there];
    expect.sort();
    assert_eq!(both, expect);
    tenant.delete(&format!("/v1/workspaces/{space}")).expect(204);
    assert_eq!(ids(&person.get("/v1/devices").expect(200)).len(), 1);
}

#[test]
fn what_a_role_denies_wins_and_is_explained() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (kept, denied) = (tenant.device("kept"), tenant.device("denied"));
    let person = Person::new(platform, &tenant, "denied", "integrator");
    let role = json!({"name": "hands off", "denies": ["device.update"]});
    let role = id(&tenant.post("/v1/roles", &role).expect(201));
    let group = json!({"name": "plant", "device_ids": [denied.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let body = json!({"user_id": person.id, "custom_role_id": role, "scope": {"group_id": group}});
    tenant.post("/v1/grants", &body).expect(201);
    let change = |device: &Device| {
        let path = format!("/v1/devices/{}", device.id);
        person.request("PATCH", &path).json(&json!({"type": "x"})).send()
    };
    change(&kept).expect(200);
    change(&denied).problem(404);
    person.get(&format!("/v1/devices/{}", denied.id)).expect(200);
    let why = |device: &Device, action: &str| {
        let query = format!("user_id={}&action={action}&device_id={}", person.id, device.id);
        tenant.get(&format!("/v1/access/explain?{query}")).expect(200)
    };
    let no = why(&denied, "device.update");
    assert_eq!(no["allowed"], false, "{no}");
    let rights = no["rights"].as_array().unwrap();
    assert_eq!(rights[0]["says"], "permits", "{no}");
    assert_eq!(rights[0]["policies"], json!(["set-up"]), "{no}");
    assert_eq!(rights[1]["says"], "denies", "{no}");
    assert_eq!(rights[1]["policies"], json!(["own-role.denies"]), "{no}");
    assert_eq!(why(&kept, "device.update")["allowed"], true);
    // A change of the role counts at once.
    let now = json!({"name": "hands off", "denies": ["device.delete"]});
    tenant.put(&format!("/v1/roles/{role}"), &now).expect(200);
    change(&denied).expect(200);
    tenant.delete(&format!("/v1/roles/{role}")).problem(409);
    // Nobody takes anything from an owner.
    let session = tenant.person("GET", "/v1/session").send().expect(200);
    let body = json!({"user_id": id(&session["user"]), "custom_role_id": role});
    let administrator = Person::new(platform, &tenant, "admin", "administrator");
    let refused = administrator.post("/v1/grants", &body).problem(400);
    assert_eq!(refused["position"], "user_id", "{refused}");
    tenant.person("DELETE", &format!("/v1/devices/{}", denied.id)).send().expect(204);
    // A role that permits something adds it.
    let more = json!({"name": "reads records", "allows": ["activity.read"]});
    let more = id(&tenant.post("/v1/roles", &more).expect(201));
    person.get("/v1/activity").problem(403);
    let body = json!({"user_id": person.id, "custom_role_id": more});
    tenant.post("/v1/grants", &body).expect(201);
    person.get("/v1/activity").expect(200);
}

#[test]
fn a_repeated_request_never_shows_a_secret_again() {
    let tenant = Platform::shared().tenant();
    let body = json!({"name": "k", "role": "viewer"});
    let make = || {
        let request = tenant.person("POST", "/v1/api-keys").header("idempotency-key", "once");
        request.json(&body).send().expect(201)
    };
    let (first, again) = (make(), make());
    assert!(first["secret"].is_string() && again["secret"].is_null(), "{again}");
    assert_eq!(first["api_key"], again["api_key"]);
}

#[test]
fn nobody_gives_more_than_they_hold_or_changes_what_they_hold() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let administrator = Person::new(platform, &tenant, "admin", "administrator");
    let viewer = Person::new(platform, &tenant, "viewer", "viewer");
    let owner = id(&tenant.person("GET", "/v1/session").send().expect(200)["user"]);
    let roles = |who: &Person<'_>, user: &str, roles: Value| {
        let path = format!("/v1/users/{user}");
        who.request("PATCH", &path).json(&json!({"roles": roles})).send()
    };
    // Owners stand above administrators.
    roles(&administrator, &viewer.id, json!(["owner"])).problem(403);
    roles(&administrator, &owner, json!(["viewer"])).problem(403);
    administrator.request("DELETE", &format!("/v1/users/{owner}")).send().problem(403);
    let invite = json!({"email": "o@tenant.example", "role": "owner"});
    administrator.post("/v1/users", &invite).problem(403);
    administrator.post("/v1/api-keys", &json!({"name": "k", "role": "owner"})).problem(403);
    roles(&administrator, &viewer.id, json!(["operator", "auditor"])).expect(200);
    roles(&administrator, &administrator.id, json!(["viewer"])).problem(403);
    roles(&viewer, &viewer.id, json!(["administrator"])).problem(403);
    roles(&administrator, &viewer.id, json!([])).problem(400);
    // Somebody has to be left.
    tenant.delete(&format!("/v1/users/{owner}")).problem(409);
    let key = json!({"name": "k", "role": "administrator"});
    let key = tenant.post("/v1/api-keys", &key).expect(201);
    let by_key = |method: &str, path: &str, body: &Value| {
        let secret = key["secret"].as_str().unwrap();
        platform.http().request(method, path).bearer(secret).json(body).send()
    };
    // A key gives no rights, unless a role says so.
    by_key("POST", "/v1/api-keys", &json!({"name": "child", "role": "viewer"})).problem(403);
    by_key("POST", "/v1/users", &json!({"email": "x@y.example", "role": "viewer"})).problem(403);
    let makes_keys = json!({"name": "makes keys", "allows": ["api_key.create"]});
    let role = id(&tenant.post("/v1/roles", &makes_keys).expect(201));
    let body = json!({"api_key_id": id(&key["api_key"]), "custom_role_id": role});
    tenant.post("/v1/grants", &body).expect(201);
    let child = |role: &str, expires_at: &Value| {
        let body = json!({"name": "child", "role": role, "expires_at": expires_at});
        by_key("POST", "/v1/api-keys", &body)
    };
    let end = &key["api_key"]["expires_at"];
    child("owner", end).problem(403);
    let made = child("viewer", end).expect(201);
    // No later end than its own, which is also what counts when none is given.
    let usual = child("viewer", &Value::Null).expect(201);
    assert_eq!(&usual["api_key"]["expires_at"], end);
    let later = json!({"name": "later", "role": "viewer"});
    let later = tenant.post("/v1/api-keys", &later).expect(201);
    child("viewer", &later["api_key"]["expires_at"]).problem(400);
    let secret = made["secret"].as_str().unwrap();
    platform.http().get("/v1/devices").bearer(secret).send().expect(200);
    // It goes with the key that made it.
    tenant.delete(&format!("/v1/api-keys/{}", id(&key["api_key"]))).expect(204);
    platform.http().get("/v1/devices").bearer(secret).send().problem(401);
}

#[test]
fn a_key_is_worth_what_its_maker_is_now() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("one");
    let other = tenant.device("two");
    let maker = Person::new(platform, &tenant, "maker", "administrator");
    let key = maker.post("/v1/api-keys", &json!({"name": "k", "role": "integrator"})).expect(201);
    let secret = key["secret"].as_str().unwrap().to_owned();
    let ask = |secret: &str, path: &str| platform.http().get(path).bearer(secret).send();
    ask(&secret, "/v1/devices").expect(200);
    let roles = |roles: Value| {
        tenant.patch(&format!("/v1/users/{}", maker.id), &json!({"roles": roles})).expect(200)
    };
    roles(json!(["auditor"]));
    ask(&secret, "/v1/devices").problem(403);
    roles(json!(["viewer"]));
    ask(&secret, "/v1/devices").expect(200);
    ask(&secret, &format!("/v1/devices/{}/credentials", device.id)).problem(403);
    // A key over a group, from one network.
    let group = json!({"name": "g", "device_ids": [device.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let make = |addresses: Value| {
        let body = json!({
            "name": "k", "role": "viewer", "scope": {"group_id": group}, "addresses": addresses,
        });
        tenant.post("/v1/api-keys", &body)
    };
    make(json!(["nowhere"])).problem(400);
    let near = make(json!(["127.0.0.0/8", "::1"])).expect(201);
    let near = near["secret"].as_str().unwrap();
    only(&ask(near, "/v1/devices").expect(200), &device.id);
    ask(near, &format!("/v1/devices/{}", other.id)).problem(404);
    let far = make(json!(["192.0.2.0/24"])).expect(201);
    ask(far["secret"].as_str().unwrap(), "/v1/devices").problem(401);
    let listed = tenant.get("/v1/api-keys").expect(200);
    let one = listed["items"].as_array().unwrap().iter();
    let one = one.clone().find(|one| one["addresses"][0] == "127.0.0.0/8").expect("the key");
    assert_eq!(one["last_used_from"], "loopback", "{one}");
    assert_eq!(one["scope"]["group_id"], group.as_str(), "{one}");
    // Whoever is gone takes their keys along.
    tenant.delete(&format!("/v1/users/{}", maker.id)).expect(204);
    ask(&secret, "/v1/devices").problem(401);
}

/// Takes an invitation up; answers the session.
fn taken_up(platform: &Platform, link: &Value) -> Answer {
    let token = link_token(link["link"].as_str().unwrap());
    let body = json!({"token": token, "password": "a password of a colleague", "attested": true});
    platform.http().post("/v1/welcome").json(&body).send()
}

#[test]
fn an_invitation_over_a_part_gives_just_that() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (inside, _outside) = (tenant.device("inside"), tenant.device("outside"));
    let group = json!({"name": "North / roof", "device_ids": [inside.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let scope = json!({"group_id": group});
    let invite = |email: &str, role: &str, scope: &Value| {
        tenant.post("/v1/users", &json!({"email": email, "role": role, "scope": scope}))
    };
    let owner = invite("o@part.example", "owner", &scope).problem(400);
    assert_eq!(owner["position"], "role");
    let nowhere = json!({"group_id": "00000000-0000-7000-8000-000000000000"});
    let nowhere = invite("n@part.example", "viewer", &nowhere).problem(400);
    assert_eq!(nowhere["position"], "scope.group_id");
    let link = invite("north@part.example", "integrator", &scope).expect(201);
    let answer = taken_up(platform, &link);
    let session = answer.expect(201);
    assert_eq!(session["user"]["roles"], json!(["support"]), "nothing over the whole tenant");
    let user = id(&session["user"]);
    let person = Person { platform, id: user.clone(), cookie: answer.cookie().unwrap() };
    only(&person.get("/v1/devices").expect(200), &inside.id);
    person.get("/v1/users").problem(403);
    let grants = tenant.get("/v1/grants").expect(200);
    let grant = &grants["items"][0];
    assert_eq!((&grant["user_id"], &grant["role"]), (&json!(user), &json!("integrator")));
    assert_eq!(grant["scope"], scope);
    // A file names parts by their names.
    let send = |file: &str| {
        tenant.request("POST", "/v1/users/import").body("text/csv", file.as_bytes()).send()
    };
    let wrong =
        send("email,role,scope\na@part.example,viewer,group:South\nb@part.example,viewer,x\n");
    let wrong = wrong.problem(400);
    assert_eq!(wrong["errors"][0]["position"], "line 2, column scope");
    assert_eq!(wrong["errors"][1]["position"], "line 3, column scope");
    let file =
        "email,role,scope\nc@part.example,viewer,group:North / roof\nd@part.example,viewer,\n";
    let made = send(file).expect(201);
    assert_eq!(taken_up(platform, &made["items"][1]).expect(201)["user"]["roles"][0], "viewer");
    // What an invitation is about may be gone when it is taken up.
    tenant.delete(&format!("/v1/groups/{group}")).expect(204);
    taken_up(platform, &made["items"][0]).problem(409);
}

#[test]
fn an_invitation_over_a_storey_is_found_by_its_name() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let ifc = demo_ifc();
    let request = tenant.request("POST", "/v1/twins?name=Tower");
    let twin = request.body("application/x-step", ifc.as_bytes()).send();
    let twin = id(&twin.expect(201)["twin"]);
    let model = tenant.get(&format!("/v1/twins/{twin}/model")).expect(200);
    let storey = &model["storeys"][0];
    let name = storey["name"].as_str().unwrap();
    let file = format!("email,role,scope\ns@storey.example,viewer,twin:Tower/{name}\n");
    let made = tenant.request("POST", "/v1/users/import").body("text/csv", file.as_bytes()).send();
    taken_up(platform, &made.expect(201)["items"][0]).expect(201);
    let grants = tenant.get("/v1/grants").expect(200);
    let expect = json!({"twin_id": twin, "node_id": storey["id"]});
    assert_eq!(grants["items"][0]["scope"], expect);
}

#[test]
fn rights_are_told_for_one_thing_and_stale_changes_are_refused() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let (inside, outside) = (tenant.device("inside"), tenant.device("outside"));
    let group = json!({"name": "hall", "device_ids": [inside.id]});
    let group = tenant.post("/v1/groups", &group).expect(201);
    let (group, version) = (id(&group), group["version"].as_i64().unwrap());
    let person = Person::new(platform, &tenant, "hall", "viewer");
    grant(&tenant, &person.id, "integrator", json!({"group_id": group}));
    let here = |device: &Device| {
        let path = format!("/v1/session/rights?device_id={}", device.id);
        let rights = person.get(&path).expect(200);
        let mut here = rights["here"].as_array().unwrap().iter();
        here.any(|one| one == "device.update")
    };
    assert!(here(&inside) && !here(&outside));
    let never = "00000000-0000-7000-8000-000000000000";
    person.get(&format!("/v1/session/rights?device_id={never}")).problem(404);
    person.get(&format!("/v1/session/rights?device_id={never}&twin_id={never}")).problem(400);

    let change = |name: &str, version: i64| {
        let request = tenant.request("PUT", &format!("/v1/groups/{group}"));
        request.header("if-match", &format!("\"{version}\"")).json(&json!({"name": name})).send()
    };
    change("first", version).expect(200);
    assert_eq!(change("late", version).problem(409)["type"], "/problems/changed");
    let role = tenant.post("/v1/roles", &json!({"name": "r", "denies": ["device.delete"]}));
    let role = role.expect(201);
    let put = |version: i64| {
        let request = tenant.request("PUT", &format!("/v1/roles/{}", id(&role)));
        let body = json!({"name": "r", "denies": ["device.update"]});
        request.header("if-match", &format!("\"{version}\"")).json(&body).send()
    };
    let version = role["version"].as_i64().unwrap();
    put(version).expect(200);
    assert_eq!(put(version).problem(409)["type"], "/problems/changed");
    let listed = tenant.get("/v1/roles").expect(200);
    assert_eq!(listed["custom"][0]["version"], version + 1);
}
