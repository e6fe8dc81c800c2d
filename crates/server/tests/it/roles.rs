//! Every endpoint with each of the ten roles, as a person and as an API key, of a customer, a
//! partner and the platform itself: the answers are what the matrix says that is printed from the
//! policies. An endpoint that names no action fails.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Platform, link_token};
use crate::http::Request;
use crate::tenant::Tenant;

const ROLES: [&str; 10] = [
    "owner",
    "administrator",
    "operator",
    "analyst",
    "viewer",
    "auditor",
    "privacy_officer",
    "security_lead",
    "integrator",
    "support",
];

/// Who may do what, out of the printed document: action to role to `yes`, `people`, or nothing.
fn printed() -> BTreeMap<String, Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/roles.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(|line| {
        let mut row = cells(line);
        let action = row.remove(0).trim_matches('`').to_owned();
        assert_eq!(row.len(), ROLES.len(), "{line}");
        (action, row)
    })
    .collect()
}

/// What is asked about the session that asks.
const OWN_SESSION: [&str; 4] = [
    "GET /v1/session",
    "DELETE /v1/session",
    "POST /v1/session/confirm",
    "DELETE /v1/support-desk/session",
];

/// An id of nothing.
const NEVER: &str = "00000000-0000-7000-8000-000000000000";

/// A path to nothing.
fn filled(path: &str) -> String {
    let path = path.replace("{index}", "0").replace("/v1/promises/{id}", "/v1/promises/none");
    let ids = ["{id}", "{credential}", "{device}", "{call}", "{edge_key}"];
    let path = ids.iter().fold(path, |path, name| path.replace(name, NEVER));
    path.replace("{host}", "nowhere.invalid")
}

fn condition() -> Value {
    json!({"kind": "no_data", "after_seconds": 600})
}

fn is_of_newcomers(path: &str) -> bool {
    let prefixes = ["/v1/device-authorities", "/v1/device-claims", "/v1/provision-profiles"];
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// How devices come in by themselves.
fn fill_newcomers(request: Request, path: &str) -> Request {
    match path {
        "/v1/device-authorities" => {
            request.json(&json!({"certificate": "", "proof": "", "settings": {"name": ""}}))
        }
        "/v1/device-claims/settings" => request.json(&json!({"by_name_alone": false})),
        "/v1/device-authorities/code" => request.json(&json!({"certificate": ""})),
        "/v1/device-authorities/{id}/revocation-list" => {
            request.body("application/pkix-crl", b"nothing")
        }
        "/v1/provision-profiles" => {
            request.json(&json!({"name": "", "strategy": "create_new", "devices_max": 1}))
        }
        _ => request.json(&json!({"name": ""})),
    }
}

/// Which messages go to which places outside.
fn fill_routing(request: Request, path: &str) -> Request {
    match path {
        "/v1/route-destinations" | "/v1/route-destinations/{id}" => request.json(&json!({
            "name": "", "kind": "webhook", "recipient": "", "purpose": "", "url": "",
        })),
        "/v1/route-rules" | "/v1/route-rules/{id}" => {
            let matches = json!({"kind": "messages", "topic": ""});
            request.json(&json!({"name": "", "matches": matches, "destination_ids": []}))
        }
        _ => request.json(&json!({"rule_id": NEVER})),
    }
}

/// A path to nothing that is read, with what it has to be asked with.
fn asked(path: &str, filled: String) -> String {
    match path {
        "/v1/access/explain" => format!("{filled}?user_id={NEVER}&action=device.read"),
        "/v1/ledger/papers" => format!("{filled}?device_id={NEVER}&key=t"),
        "/v1/ledger/lookup" => format!("{filled}?record={NEVER}"),
        _ => filled,
    }
}

fn is_of_ends(path: &str) -> bool {
    path.starts_with("/v1/destructions") || path == "/v1/retention"
}

/// A destruction of a device that never was; a time that keeps nothing.
fn of_ends(path: &str) -> Value {
    let scope = json!({"kind": "device", "device_id": NEVER});
    match path {
        "/v1/retention" => json!({"readings_days": 0}),
        "/v1/destructions/preview" => json!({"scope": scope}),
        _ => json!({"scope": scope, "reason": "", "confirm": ""}),
    }
}

/// Paths that have one body for all of them: what one does not know, it leaves aside.
fn words(path: &str) -> Option<Value> {
    let is_below = |front: &str| path.starts_with(front);
    Some(if is_below("/v1/keys") {
        // None is right, and a door that is closed by it stays open.
        json!({
            "kind": "xks", "address": "", "key": "", "ttl_s": 0, "confirm": "",
            "id": "", "wrapping": "rsa_aes_kwp", "wrapped_key": "",
        })
    } else if is_below("/v1/support") {
        json!({
            "subject": "", "text": "", "reason": "", "tenant_id": NEVER,
            "areas": ["devices"], "hours": 0,
        })
    } else if is_below("/v1/requests") {
        json!({"kind": "", "step": "note", "text": "", "server": "", "user": ""})
    } else if is_below("/v1/collection-zones") || is_below("/v1/opt-ins") {
        json!({
            "name": "", "window_minutes": 0, "budget_milli_per_day": 0, "measures": [],
            "output_device_id": NEVER, "device_ids": [],
            "consent": false, "how": "", "text": "", "details": {},
        })
    } else if is_below("/v1/register-entries") {
        json!({"kind": "", "fields": {}})
    } else if is_below("/v1/trust-pages") {
        json!({"confirm": ""})
    } else if is_below("/v1/incidents") {
        json!({"title": "", "severity": "none", "text": ""})
    } else if is_below("/v1/legal") {
        json!({"version": 0, "summary": "", "effective_at": "2026-01-01T00:00:00Z"})
    } else if is_below("/v1/account") {
        json!({
            "name": "", "email": "", "code": "", "password": "", "new_password": "",
            "client_data": "", "attestation": "", "purpose": "", "version": 0, "field": "phone",
            "value": "",
        })
    } else {
        return None;
    })
}

/// A request that is understood and finds nothing, or is wrong in what it says.
fn fill(request: impl Fn(&str, &str) -> Request, method: &str, path: &str) -> Request {
    let filled = filled(path);
    let series = json!([{"device_id": NEVER, "key": "t"}]);
    let query =
        json!({"series": series, "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"});
    match (method, path) {
        ("GET", path) => request(method, &asked(path, filled)),
        ("DELETE", _) => request(method, &filled),
        (_, path) if path.starts_with("/v1/packages") => package(request, method, &filled),
        (_, "/v1/users/import" | "/v1/devices/import" | "/v1/twins" | "/v1/twins/{id}/source") => {
            request(method, &filled).body("application/octet-stream", b"nothing")
        }
        (_, path) if is_of_newcomers(path) => fill_newcomers(request(method, &filled), path),
        (_, "/v1/certificates/{host}") => {
            request(method, &filled).json(&json!({"chain": "", "private_key": ""}))
        }
        (_, "/v1/identity-provider") => request(method, &filled).json(&json!({
            "name": "", "issuer": "", "client_id": "", "domains": [], "enabled": false,
        })),
        (_, "/v1/networks") => {
            request(method, &filled).json(&json!({"people": ["nowhere"], "devices": []}))
        }
        (_, "/v1/frameworks/import") => {
            let catalogue = json!({"catalog": {"uuid": "", "metadata": {"title": ""}}});
            request(method, &filled).json(&catalogue)
        }
        (_, "/v1/brand/logo") => request(method, &filled).body("image/png", b"nothing"),
        (_, "/v1/brand") => request(method, &filled).json(&json!({"light": "none"})),
        (_, "/v1/contact/done") => request(method, &filled).json(&json!({"id": NEVER})),
        (_, "/v1/session/join" | "/v1/session/leave" | "/v1/session/tenants") => {
            request(method, &filled).json(&json!({"token": "", "tenant_id": NEVER}))
        }
        (_, "/v1/plans" | "/v1/plans/{id}") => {
            request(method, &filled).json(&json!({"name": "", "limits": {}}))
        }
        (_, "/v1/tenants/{id}/hosts") => request(method, &filled).json(&json!({"hosts": []})),
        (_, "/v1/tenants/{id}/domains") => request(method, &filled).json(&json!({"domains": []})),
        (_, "/v1/tenants/{id}/invitations") => request(method, &filled).json(&json!({"email": ""})),
        (_, "/v1/twins/{id}/geometry") => request(method, &filled)
            .header("x-source-sha256", &"0".repeat(64))
            .body("model/gltf-binary", b"nothing"),
        (_, "/v1/alerts/acknowledge") => request(method, &filled).json(&json!({"ids": [NEVER]})),
        (_, path) if path.starts_with("/v1/devices/{id}/") => {
            request(method, &filled).json(&for_device(path))
        }
        (_, "/v1/api-keys" | "/v1/grants") => {
            request(method, &filled).json(&json!({"name": "", "user_id": NEVER, "role": "viewer"}))
        }
        (_, path) if path.starts_with("/v1/route-") => fill_routing(request(method, &filled), path),
        (_, "/v1/rules" | "/v1/rules/{id}") => {
            let rule = json!({"name": "", "severity": "none", "condition": condition()});
            request(method, &filled).json(&rule)
        }
        (_, "/v1/twins/{id}/bindings/{device}") => request(method, &filled).json(&json!({})),
        (_, "/v1/telemetry/query" | "/v1/telemetry/stats") => request(method, &filled).json(&query),
        (_, "/v1/telemetry/sql") => request(method, &filled).json(&json!({"query": ""})),
        (_, path) if words(path).is_some() => {
            request(method, &filled).json(&words(path).unwrap_or_default())
        }
        (_, "/v1/holds") => {
            let at = "2026-01-01T00:00:00Z";
            let hold = json!({"scope": {}, "reason": "fraud", "note": "", "expires_at": at});
            request(method, &filled).json(&hold)
        }
        (_, path) if is_of_ends(path) => request(method, &filled).json(&of_ends(path)),
        (_, "/v1/stream-declarations") => {
            request(method, &filled).json(&json!({"targets": [], "declaration": "non_personal"}))
        }
        (_, "/v1/stream-rules") => {
            request(method, &filled).json(&json!({"declaration": "non_personal"}))
        }
        (_, "/v1/streams/subject") => request(method, &filled).json(&json!({"person": ""})),
        (_, "/v1/tenants/sign-in") => {
            request(method, &filled).json(&json!({"second_factor_required": false}))
        }
        (_, "/v1/users") => request(method, &filled).json(&json!({"email": "", "role": "viewer"})),
        (_, "/v1/users/{id}/consents/withdraw") => {
            request(method, &filled).json(&json!({"purpose": ""}))
        }
        (_, "/v1/users/{id}") => request(method, &filled).json(&json!({"roles": ["viewer"]})),
        _ => request(method, &filled).json(&json!({"name": ""})),
    }
}

/// What one device is asked.
fn for_device(path: &str) -> Value {
    match path {
        "/v1/devices/{id}/sparkplug/commands" => json!({"metric": "m", "value": 1}),
        "/v1/devices/{id}/edge-keys" => json!({"public_key": ""}),
        "/v1/devices/{id}/rpc" => json!({"method": "m", "params": {}, "timeout_ms": 100}),
        _ => json!({"name": ""}),
    }
}

/// What packages are asked.
fn package(request: impl Fn(&str, &str) -> Request, method: &str, filled: &str) -> Request {
    if filled != "/v1/packages" {
        return request(method, filled).json(&json!({"device_ids": [NEVER]}));
    }
    let path = format!("{filled}?kind=firmware&title=&version=");
    request(method, &path).body("application/octet-stream", b"nothing")
}

const UNPROVEN: &str = "/problems/confirm-identity";

/// Whoever is refused so often is asked who they are before what needs a fresh proof: what is asked
/// here is what their role may.
fn prove_again(platform: &Platform, cookie: &mut String) {
    let proof = json!({"password": "a password of a colleague"});
    let request = platform.http().post("/v1/session/confirm").header("cookie", cookie.as_str());
    let proven = request.json(&proof).send();
    assert_eq!(proven.status, 204, "{}", proven.text());
    *cookie = proven.cookie().expect("a session cookie");
}

/// Whose people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Customer,
    Partner,
    Platform,
}

impl Asks {
    /// Whether an endpoint is these people's, whatever their role.
    fn may(self, operation: &Value) -> bool {
        match operation["x-access"]["tenants"].as_str() {
            None => true,
            Some("partner") => self != Self::Customer,
            Some("platform") => self == Self::Platform,
            Some(other) => panic!("{other}: whose is it?"),
        }
    }
}

/// A tenant with a session and a key of each role.
struct Everybody<'a> {
    platform: &'a Platform,
    people: Vec<String>,
    keys: Vec<String>,
    asks: Asks,
    matrix: BTreeMap<String, Vec<String>>,
}

impl<'a> Everybody<'a> {
    fn of(platform: &'a Platform, tenant: &Tenant, asks: Asks) -> Self {
        let person = |role: &&str| match *role {
            // An owner is made of a member, by an owner.
            "owner" => {
                let (id, cookie) = tenant.member("owner", "administrator");
                let path = format!("/v1/users/{id}");
                tenant.patch(&path, &json!({"roles": ["owner"]})).expect(200);
                cookie
            }
            role => tenant.member(role, role).1,
        };
        let key = |role: &&str| {
            let key = tenant.post("/v1/api-keys", &json!({"name": role, "role": role}));
            key.expect(201)["secret"].as_str().unwrap().to_owned()
        };
        let people = ROLES.iter().map(person).collect();
        let keys = ROLES.iter().map(key).collect();
        Self { platform, people, keys, asks, matrix: printed() }
    }

    /// Asks an endpoint with each role, as a person and as a key; how many were let in.
    fn ask(&mut self, (method, path): (&str, &str), operation: &Value, needed: &[&str]) -> u32 {
        let may = self.asks.may(operation);
        let mut permitted = 0;
        for (index, role) in ROLES.iter().enumerate() {
            let cell = |action: &&str| {
                let row = self.matrix.get(*action).unwrap_or_else(|| panic!("{action}: no row"));
                row[index].as_str()
            };
            let as_person = may && needed.iter().all(|one| matches!(cell(one), "yes" | "people"));
            let as_key = may && needed.iter().all(|one| cell(one) == "yes");
            let http = self.platform.http();
            let with = |cookie: String| {
                move |method: &str, path: &str| http.request(method, path).header("cookie", &cookie)
            };
            let mut of_person = fill(with(self.people[index].clone()), method, path).send();
            if of_person.status == 403 && of_person.text().contains(UNPROVEN) {
                prove_again(self.platform, &mut self.people[index]);
                of_person = fill(with(self.people[index].clone()), method, path).send();
            }
            let program =
                |method: &str, path: &str| http.request(method, path).bearer(&self.keys[index]);
            let answers = [
                ("a person", as_person, of_person),
                ("a key", as_key, fill(program, method, path).send()),
            ];
            for (who, is_permitted, answer) in answers {
                let of = self.asks;
                let text = answer.text();
                let what = format!("{method} {path} as {who} of a {of:?} with {role}: {text}");
                assert_ne!(answer.status, 401, "{what}");
                assert_eq!(answer.status != 403, is_permitted, "{what}");
                assert!(answer.status < 500 || answer.status == 503, "{what}");
                permitted += u32::from(is_permitted);
            }
        }
        permitted
    }

    /// Asks every endpoint.
    fn walk(&mut self) {
        let document = self.platform.http().get("/v1/openapi.json").send().expect(200);
        let (mut asked, mut permitted, mut actions) = (0, 0, BTreeSet::new());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                let method = verb.to_ascii_uppercase();
                let name = format!("{method} {path}");
                let needed = operation["x-access"]["actions"].as_array();
                let needed = needed.unwrap_or_else(|| panic!("{name} names no action: add it"));
                // Anybody may call it; or it is about the caller's own session, which it would end
                // or prove anew.
                if needed.is_empty() || OWN_SESSION.contains(&name.as_str()) {
                    continue;
                }
                let needed: Vec<&str> = needed.iter().map(|one| one.as_str().unwrap()).collect();
                permitted += self.ask((&method[..], path.as_str()), operation, &needed);
                asked += 2 * ROLES.len();
                actions.extend(needed);
            }
        }
        println!("{asked} questions, {permitted} permitted, {} actions", actions.len());
        assert!(asked > 1200, "{asked}");
    }
}

#[test]
fn every_endpoint_answers_every_role_as_the_matrix_says() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mut everybody = Everybody::of(platform, &tenant, Asks::Customer);
    everybody.walk();
    let listed: Value = tenant.get("/v1/roles").expect(200);
    for (index, role) in listed["built_in"].as_array().unwrap().iter().enumerate() {
        assert_eq!(role["role"], ROLES[index]);
        for action in role["actions"].as_array().unwrap() {
            let cell = &everybody.matrix[action.as_str().unwrap()][index];
            assert!(!cell.is_empty(), "{action} of {}", ROLES[index]);
        }
    }
}

/// Where nobody is refused for the tenant they are of, what is left is what their role may.
#[test]
fn the_matrix_holds_where_partners_and_the_platforms_own_people_may() {
    let platform = &Platform::serve();
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let root = Tenant::redeem(platform.http(), link_token(link["link"].as_str().unwrap()), 901);
    let made = root.post("/v1/tenants", &json!({"name": "Integrator", "kind": "partner"}));
    let path = format!("/v1/tenants/{}/invitations", made.expect(201)["id"].as_str().unwrap());
    let link = root.post(&path, &json!({"email": "first@partners.example"})).expect(201);
    let partner = Tenant::redeem(platform.http(), link_token(link["link"].as_str().unwrap()), 902);
    for (tenant, asks) in [(&partner, Asks::Partner), (&root, Asks::Platform)] {
        Everybody::of(platform, tenant, asks).walk();
    }
}
