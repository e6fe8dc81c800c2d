//! What a role denies, and who lifts it: nobody who does not hold it, an owner's nobody but an
//! owner, and from an owner nobody takes anything.

use serde_json::{Value, json};

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
