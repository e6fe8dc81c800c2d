//! What over tenants below is done by people alone, and that nobody becomes the platform's staff by
//! a side door.

use serde_json::{Value, json};

use crate::harness::Platform;
use crate::partners::{Person, administration};

#[test]
fn what_decides_over_a_tenant_is_done_by_people() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let partner = root.below(platform, "partner", "Reseller");
    let customer = partner.below(platform, "customer", "Customer");
    let key = |who: &Person| {
        let body = json!({"name": "k", "role": "administrator"});
        let made = who.send(platform, "POST", "/v1/api-keys", &body).expect(201);
        let id = made["api_key"]["id"].as_str().unwrap().to_owned();
        (id, made["secret"].as_str().unwrap().to_owned())
    };
    let ask = |secret: &str, method: &str, path: &str, body: &Value| {
        platform.http().request(method, path).bearer(secret).json(body).send()
    };
    let (id, secret) = key(&partner);
    let path = customer.path();
    let (hosts, invitations) = (format!("{path}/hosts"), format!("{path}/invitations"));
    let suspend = json!({"state": "suspended"});
    let wanted = json!({"hosts": ["a.reseller.example"]});
    let email = json!({"email": "first@partners.example"});
    let asked =
        [("PATCH", &path, &suspend), ("PUT", &hosts, &wanted), ("POST", &invitations, &email)];
    for (method, path, body) in asked {
        let refused = ask(&secret, method, path, body).problem(403);
        assert_eq!(refused["type"], "/problems/forbidden", "{method} {path}: {refused}");
    }
    let plan = json!({"name": "x", "limits": {}});
    let (_, platforms) = key(&root);
    ask(&platforms, "POST", "/v1/plans", &plan).problem(403);
    customer.get(platform, "/v1/devices").expect(200);
    // It makes tenants, and what a role of the partner's own names.
    let made = json!({"name": "By key", "kind": "customer"});
    ask(&secret, "POST", "/v1/tenants", &made).expect(201);
    let role = json!({"name": "names them", "allows": ["tenant.update_below"]});
    let role = partner.send(platform, "POST", "/v1/roles", &role).expect(201);
    let grant = json!({"api_key_id": id, "custom_role_id": role["id"], "scope": {}});
    partner.send(platform, "POST", "/v1/grants", &grant).expect(201);
    ask(&secret, "PATCH", &path, &json!({"name": "Renamed"})).expect(200);
}

#[test]
fn nobody_becomes_staff_by_an_invitation_over_a_part() {
    let platform = &Platform::serve();
    let root = administration(platform);
    let group = json!({"name": "Lobby", "device_ids": []});
    let group = root.send(platform, "POST", "/v1/groups", &group).expect(201);
    let invite = |scope: Value| {
        let email = "cleaner@partners.example";
        let body = json!({"email": email, "role": "viewer", "scope": scope});
        root.send(platform, "POST", "/v1/users", &body)
    };
    let refused = invite(json!({"group_id": group["id"]})).problem(400);
    assert_eq!(refused["position"], "scope", "{refused}");
    let file = "email,role,scope\ncleaner@partners.example,viewer,group:Lobby\n";
    let request = root.ask(platform, "POST", "/v1/users/import");
    let refused = request.body("text/csv", file.as_bytes()).send().problem(400);
    assert_eq!(refused["position"], "scope", "{refused}");
    // Over the whole of it a role is what it says, and no desk.
    let link = invite(json!({})).expect(201);
    let viewer =
        Person::welcome(platform, link["link"].as_str().unwrap(), "cleaner@partners.example");
    viewer.get(platform, "/v1/support-desk").problem(403);
    let open = root.get(platform, "/v1/invitations").expect(200);
    assert_eq!(open["items"].as_array().unwrap().len(), 0, "{open}");
}
