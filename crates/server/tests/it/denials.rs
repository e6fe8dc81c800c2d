//! What a role denies, and who lifts it: nobody who does not hold it, an owner's nobody but an
//! owner, and from an owner nobody takes anything.

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::harness::Platform;
use crate::rights::{Person, id};
use crate::tenant::Device;

fn given(user: &str, role: &str, scope: &Value) -> Value {
    json!({"user_id": user, "custom_role_id": role, "scope": scope})
}

#[test]
fn lifting_what_is_denied_is_giving_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let [inside, other] = ["inside", "other"].map(|name| tenant.device(name));
    let [one, two] =
        ["one", "two"].map(|name| Person::new(platform, &tenant, name, "administrator"));
    let send = |who: &Person<'_>, method: &str, path: &str, body: &Value| {
        who.request(method, path).json(body).send()
    };
    let none = json!({});
    let role = |denies: Value| json!({"name": "no personal", "denies": denies});
    // What an owner denies, no administrator lifts: not a grant, not the role, not the part.
    let owners = role(json!(["telemetry.read_personal"]));
    let owners = id(&tenant.post("/v1/roles", &owners).expect(201));
    let group = |devices: &[&Device]| {
        let devices: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
        json!({"name": "rooms", "device_ids": devices})
    };
    let rooms = id(&tenant.post("/v1/groups", &group(&[&inside, &other])).expect(201));
    let rooms_path = format!("/v1/groups/{rooms}");
    let scope = json!({"group_id": rooms});
    let over_all = id(&tenant.post("/v1/grants", &given(&one.id, &owners, &none)).expect(201));
    let over_part = id(&tenant.post("/v1/grants", &given(&one.id, &owners, &scope)).expect(201));
    let role_path = format!("/v1/roles/{owners}");
    let widened = json!({"name": "no personal", "allows": ["device.list"]});
    for (method, path, body) in [
        ("DELETE", format!("/v1/grants/{over_all}"), &none),
        ("DELETE", format!("/v1/grants/{over_part}"), &none),
        ("PUT", role_path.clone(), &widened),
        ("PUT", rooms_path.clone(), &group(&[&inside])),
        ("DELETE", rooms_path.clone(), &none),
    ] {
        let refused = send(&two, method, &path, body).problem(403);
        assert!(refused["detail"].to_string().contains("only an owner lifts"), "{refused}");
    }
    // More may be denied, and more put where it is.
    let more = role(json!(["telemetry.read_personal", "device.delete"]));
    send(&two, "PUT", &role_path, &more).expect(200);
    send(&two, "PUT", &role_path, &role(json!(["telemetry.read_personal"]))).problem(403);
    tenant.put(&role_path, &role(json!(["telemetry.read_personal"]))).expect(200);
    tenant.delete(&format!("/v1/grants/{over_all}")).expect(204);
    tenant.person("PUT", &rooms_path).json(&group(&[&inside])).send().expect(200);
    tenant.delete(&format!("/v1/grants/{over_part}")).expect(204);
    // What an administrator denied is lifted by who holds it, and by nobody else.
    let theirs = send(&two, "POST", "/v1/roles", &role(json!(["activity.read"]))).expect(201);
    let theirs = id(&theirs);
    let first = send(&two, "POST", "/v1/grants", &given(&one.id, &theirs, &none)).expect(201);
    let third = Person::new(platform, &tenant, "three", "viewer");
    let path = format!("/v1/grants/{}", id(&first));
    let manages = json!({"name": "gives", "allows": ["grant.write"]});
    let manages = id(&tenant.post("/v1/roles", &manages).expect(201));
    tenant.post("/v1/grants", &given(&third.id, &manages, &none)).expect(201);
    let refused = third.request("DELETE", &path).send().problem(403);
    let detail = refused["detail"].to_string();
    assert!(detail.contains("lifting the denial of activity.read"), "{detail}");
    send(&two, "DELETE", &path, &none).expect(204);
    // Given by an owner, it is an owner's.
    let body = given(&one.id, &theirs, &none);
    let again = id(&tenant.post("/v1/grants", &body).expect(201));
    send(&two, "DELETE", &format!("/v1/grants/{again}"), &none).problem(403);
    // Nobody drops out from under it to come again without it, except by an owner.
    let user = format!("/v1/users/{}", one.id);
    let underage = format!("{user}/underage");
    let leave = json!({"tenant_id": tenant.id});
    for (who, method, path, body) in [
        (&two, "DELETE", user.as_str(), &none),
        (&two, "POST", underage.as_str(), &none),
        (&one, "POST", "/v1/session/leave", &leave),
    ] {
        let refused = send(who, method, path, body).problem(403);
        assert!(refused["detail"].to_string().contains("only an owner takes"), "{refused}");
    }
    tenant.delete(&user).expect(204);
}

#[test]
fn a_device_is_not_moved_out_of_where_a_role_denies_nor_to_where_one_holds_more() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let import = || {
        let ifc = demo_ifc();
        let twin = tenant.request("POST", "/v1/twins").body("application/x-step", ifc.as_bytes());
        id(&twin.send().expect(201)["twin"])
    };
    let (twin, other) = (import(), import());
    let model = tenant.get(&format!("/v1/twins/{twin}/model")).expect(200);
    let storey = model["storeys"][0]["id"].as_str().unwrap();
    let room = |is_there: bool| {
        let mut spaces = model["spaces"].as_array().unwrap().iter();
        let room = spaces.find(|one| (one["storey_id"] == storey) == is_there).expect("a room");
        json!({"space_id": room["id"]})
    };
    let binding = |twin: &str| format!("/v1/twins/{twin}/bindings/{}", device.id);
    tenant.put(&binding(&twin), &room(true)).expect(204);
    let person = Person::new(platform, &tenant, "moves", "administrator");
    let send = |method: &str, path: &str, body: &Value| {
        let request = person.request(method, path);
        if body.is_null() { request.send() } else { request.json(body).send() }
    };
    let hidden = json!({"name": "no readings", "denies": ["telemetry.read"]});
    let hidden = id(&tenant.post("/v1/roles", &hidden).expect(201));
    let twin_path = format!("/v1/twins/{twin}");
    let ways = [
        ("DELETE", binding(&twin), Value::Null),
        ("PUT", binding(&other), room(true)),
        ("PUT", binding(&twin), room(false)),
        ("DELETE", twin_path, Value::Null),
    ];
    let reads = json!({"device_ids": [device.id], "keys": ["t"]});
    // Over the twin, moving within it takes nothing out of it; over a storey that does.
    for (scope, kept) in
        [(json!({"twin_id": twin}), 2), (json!({"twin_id": twin, "node_id": storey}), 3)]
    {
        let denied = tenant.post("/v1/grants", &given(&person.id, &hidden, &scope)).expect(201);
        for (method, path, body) in ways.iter().take(kept).chain(ways.last()) {
            let refused = send(method, path, body).problem(403);
            assert!(refused["detail"].to_string().contains("only an owner lifts"), "{refused}");
        }
        tenant.delete(&format!("/v1/grants/{}", id(&denied))).expect(204);
    }
    send("PUT", &binding(&twin), &room(false)).expect(204);
    send("DELETE", &binding(&twin), &Value::Null).expect(204);
    person.post("/v1/telemetry/latest", &reads).expect(200);
    // Whoever holds more over a twin does not bring a device there.
    let places = json!({"name": "places", "allows": [
        "twin.bind", "twin.read", "twin.list", "device.read", "device.list", "device.update",
    ]});
    let places = id(&tenant.post("/v1/roles", &places).expect(201));
    let installer = Person::new(platform, &tenant, "installs", "support");
    for (role, scope) in [(&places, json!({})), (&places, json!({"twin_id": other}))] {
        tenant.post("/v1/grants", &given(&installer.id, role, &scope)).expect(201);
    }
    let bind = || installer.request("PUT", &binding(&other)).json(&room(true)).send();
    bind().expect(204);
    tenant.delete(&binding(&other)).expect(204);
    let more = json!({"user_id": installer.id, "role": "viewer", "scope": {"twin_id": other}});
    tenant.post("/v1/grants", &more).expect(201);
    let refused = bind().problem(403);
    assert!(refused["detail"].to_string().contains("their own rights"), "{refused}");
}

#[test]
fn whoever_becomes_an_owner_is_rid_of_what_was_denied() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let person = Person::new(platform, &tenant, "rises", "administrator");
    let hidden = json!({"name": "no people", "denies": ["user.list"]});
    let role = id(&tenant.post("/v1/roles", &hidden).expect(201));
    let shown = json!({"name": "reads records", "allows": ["activity.read"]});
    let reads = id(&tenant.post("/v1/roles", &shown).expect(201));
    for role in [&role, &reads] {
        tenant.post("/v1/grants", &given(&person.id, role, &json!({}))).expect(201);
    }
    person.get("/v1/users").problem(403);
    let path = format!("/v1/users/{}", person.id);
    let roles = |roles: Value| tenant.patch(&path, &json!({"roles": roles})).expect(200);
    roles(json!(["owner", "administrator"]));
    person.get("/v1/users").expect(200);
    let left = tenant.get("/v1/grants").expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left["items"][0]["custom_role_id"], reads.as_str());
    // Nor does the role that an owner holds begin to deny.
    let more = json!({"name": "reads records", "denies": ["device.list"]});
    let refused = tenant.put(&format!("/v1/roles/{reads}"), &more).problem(400);
    assert_eq!(refused["position"], "denies", "{refused}");
    roles(json!(["administrator"]));
    person.get("/v1/users").expect(200);
}
