//! Invitations over REST: they are worth no more than whoever made them is now, they are listed,
//! and they are withdrawn.

use serde_json::{Value, json};

use crate::harness::{Platform, link_token};
use crate::http::Answer;
use crate::tenant::Tenant;

/// A member with a session of their own.
struct Person<'a> {
    tenant: &'a Tenant,
    id: String,
    cookie: String,
}

impl<'a> Person<'a> {
    fn new(tenant: &'a Tenant, name: &str, role: &str) -> Self {
        let (id, cookie) = tenant.member(name, role);
        Self { tenant, id, cookie }
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.tenant.http().post(path).header("cookie", &self.cookie).json(body).send()
    }

    fn send(&self, method: &str, path: &str) -> Answer {
        self.tenant.http().request(method, path).header("cookie", &self.cookie).send()
    }

    /// The token of an invitation that this person makes.
    fn invites(&self, email: &str, role: &str, scope: &Value) -> String {
        let body = json!({"email": email, "role": role, "scope": scope});
        let link = self.post("/v1/users", &body).expect(201);
        link_token(link["link"].as_str().unwrap()).to_owned()
    }
}

fn welcome(platform: &Platform, token: &str) -> Answer {
    let body = json!({"token": token, "password": "correct horse battery", "attested": true});
    platform.http().post("/v1/welcome").json(&body).send()
}

fn inspect(platform: &Platform, token: &str) -> Answer {
    platform.http().post("/v1/welcome/inspect").json(&json!({"token": token})).send()
}

fn open(tenant: &Tenant) -> Vec<Value> {
    tenant.get("/v1/invitations").expect(200)["items"].as_array().unwrap().clone()
}

/// The open invitation of an address.
fn of(tenant: &Tenant, email: &str) -> Value {
    let mut all = open(tenant).into_iter();
    all.find(|one| one["email"] == email).unwrap_or_else(|| panic!("{email} is not listed"))
}

#[test]
fn an_invitation_is_worth_what_its_maker_is_now() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let roles = |id: &str, roles: &[&str]| {
        tenant.patch(&format!("/v1/users/{id}"), &json!({"roles": roles})).expect(200)
    };
    let maker = Person::new(&tenant, "maker", "administrator");
    let way_back = maker.invites("back@invited.example", "administrator", &json!({}));
    let viewer = maker.invites("viewer@invited.example", "viewer", &json!({}));
    inspect(platform, &way_back).expect(200);
    // Demoted: the maker may no longer invite anybody.
    roles(&maker.id, &["viewer"]);
    for token in [&way_back, &viewer] {
        inspect(platform, token).problem(404);
        welcome(platform, token).problem(404);
    }
    assert_eq!(of(&tenant, "back@invited.example")["valid"], false);
    // With a role of the tenant's own that may invite, what goes beyond it stays dead.
    let allows = [
        "user.invite",
        "alert.list",
        "alert.read",
        "device.list",
        "device.read",
        "promise.read",
        "telemetry.read",
        "tenant.read",
        "twin.list",
        "twin.read",
    ];
    let own = json!({"name": "Host", "allows": allows, "denies": []});
    let own = tenant.person("POST", "/v1/roles").json(&own).send().expect(201);
    let grant = json!({"user_id": maker.id, "custom_role_id": own["id"], "scope": {}});
    tenant.post("/v1/grants", &grant).expect(201);
    welcome(platform, &way_back).problem(404);
    welcome(platform, &viewer).expect(201);
    // Removed: nothing is left, and who was removed does not come back by it.
    tenant.delete(&format!("/v1/users/{}", maker.id)).expect(204);
    welcome(platform, &way_back).problem(404);
    let left = of(&tenant, "back@invited.example");
    assert_eq!((&left["valid"], &left["inviter_id"]), (&json!(false), &json!(maker.id)));
}

#[test]
fn an_invitation_of_a_key_ends_with_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let own = json!({"name": "Door", "allows": ["user.invite"], "denies": []});
    let own = tenant.post("/v1/roles", &own).expect(201);
    let key = json!({"name": "door", "custom_role_id": own["id"]});
    let key = tenant.post("/v1/api-keys", &key).expect(201);
    let secret = key["secret"].as_str().unwrap();
    let body = json!({"email": "keyed@invited.example", "role": "support"});
    let link = platform.http().post("/v1/users").bearer(secret).json(&body).send().expect(201);
    let token = link_token(link["link"].as_str().unwrap()).to_owned();
    let id = key["api_key"]["id"].as_str().unwrap();
    assert_eq!(of(&tenant, "keyed@invited.example")["inviter_key_id"], id);
    inspect(platform, &token).expect(200);
    tenant.delete(&format!("/v1/api-keys/{id}")).expect(204);
    inspect(platform, &token).problem(404);
    welcome(platform, &token).problem(404);
}

#[test]
fn open_invitations_are_listed_and_withdrawn() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    assert!(open(&tenant).is_empty());
    let maker = Person::new(&tenant, "maker", "administrator");
    let group = tenant.post("/v1/groups", &json!({"name": "North"})).expect(201);
    let scope = json!({"group_id": group["id"]});
    let token = maker.invites("north@invited.example", "operator", &scope);
    let used = maker.invites("used@invited.example", "viewer", &json!({}));
    welcome(platform, &used).expect(201);
    let all = open(&tenant);
    assert_eq!(all.len(), 1, "used ones are not open: {all:?}");
    let one = &all[0];
    assert_eq!(one["email"], "north@invited.example");
    assert_eq!((&one["role"], &one["scope"]), (&json!("operator"), &scope));
    assert_eq!((&one["inviter_id"], &one["valid"]), (&json!(maker.id), &json!(true)));
    assert!(one["expires_at"].as_str() > one["created_at"].as_str());
    let text = one.to_string();
    assert!(!text.contains(&token), "the link is not shown again: {text}");
    let path = format!("/v1/invitations/{}", one["id"].as_str().unwrap());
    let viewer = Person::new(&tenant, "viewer", "viewer");
    viewer.send("GET", "/v1/invitations").problem(403);
    viewer.send("DELETE", &path).problem(403);
    let lead = Person::new(&tenant, "lead", "security_lead");
    lead.send("DELETE", &path).expect(204);
    lead.send("DELETE", &path).problem(404);
    inspect(platform, &token).problem(404);
    assert!(open(&tenant).is_empty());
    let query = "/v1/activity?action=invitation.delete";
    let record = tenant.get(query).expect(200)["items"][0].clone();
    assert_eq!(record["before"]["role"], "operator", "{record}");
    assert!(record["after"].is_null());
}
