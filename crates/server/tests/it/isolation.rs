//! Walks the OpenAPI document: every operation without a credential, and every operation that
//! takes an id with another tenant's. What belongs to others answers exactly as what never was.
//! tidy: long file because every kind of id has its case in one place.

mod bodies;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use veritwin_domain::Timestamp;
use veritwin_simulator::building::demo_ifc;

use crate::device_ca::Ca;
use crate::harness::{Platform, now_ms, wait_for};
use crate::http::{Answer, Request};
use crate::tenant::Tenant;

/// Operations that anybody may call: they take a secret in their body.
const PUBLIC: [&str; 14] = [
    "GET /v1/legal",
    "POST /v1/consent-withdrawal",
    "POST /v1/contact",
    "POST /v1/email-confirmation",
    "POST /v1/password-reset",
    "POST /v1/requests/form",
    "POST /v1/requests/form/confirm",
    "POST /v1/requests/form/copy",
    "POST /v1/session",
    "POST /v1/session/provider",
    "POST /v1/session/provider/finish",
    "POST /v1/welcome",
    "POST /v1/welcome/inspect",
    "PUT /v1/password-reset",
];
/// What a sign-in page shows of its host name before anybody signs in.
const FACE: &str = "GET /v1/face";
/// A challenge for nobody in particular.
const CHALLENGE: &str = "POST /v1/session/passkey";
/// What a sign-in page offers: nothing where nobody set anything.
const OFFER: &str = "GET /v1/session/provider";
/// Asking who one is answers 204 for nobody, and tells nothing.
const WHO_AM_I: &str = "GET /v1/session";
/// Paths with a parameter that names nothing of a tenant's, with why.
const NO_TENANT_ID: [(&str, &str); 9] = [
    ("/v1/certificates/{host}", "a host name that is not the caller's is none, see certificates"),
    ("/v1/certificates/{host}/acme", "the same"),
    ("/v1/plans/{id}", "plans are the platform's"),
    ("/v1/plans/{id}/expiring", "the same"),
    ("/v1/promises/{id}/check", "promises are the platform's"),
    ("/v1/ledger/entries/{index}/proof", "an index counts inside the caller's own log"),
    ("/v1/route-messages/{id}", "parked after a minute of tries: the platform's own check has one"),
    ("/v1/route-messages/{id}/replay", "the same"),
    ("/v1/support-desk/break-glass/{id}/approve", "only the platform's own staff may ask"),
];

/// What a person is answered and a key is not, whatever its role, beside what a tenant's requests
/// are sent with a session for.
const PEOPLES: [&str; 6] = [
    "/v1/breaches/{id}/notices",
    "/v1/opt-ins",
    "/v1/policies/{id}/approve",
    "/v1/policies/{id}/attest",
    "/v1/risks/{id}/accept",
    "/v1/users/{id}/address",
];

/// A glTF 2.0 binary of its header only.
const EMPTY_GLB: &[u8] = b"glTF\x02\0\0\0\x0c\0\0\0";

/// A request for a path that was filled in, with a credential that is answered.
fn request_of(caller: &Tenant, method: &str, (path, filled): (&str, &str)) -> Request {
    if PEOPLES.contains(&path) {
        caller.person(method, filled)
    } else {
        caller.request(method, filled)
    }
}

/// `METHOD /path` of every operation of the document.
fn operations(platform: &Platform) -> Vec<(String, String)> {
    let document = platform.http().get("/v1/openapi.json").send().expect(200);
    let printed = platform.cli(&["openapi"]).json();
    assert_eq!(document, printed, "served and printed documents are the same");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                operations.push((method.to_ascii_uppercase(), path.clone()));
            }
        }
    }
    assert!(operations.len() > 40, "{} operations", operations.len());
    operations
}

/// Everything of one tenant that has an id.
struct Owned {
    tenant: Tenant,
    device: String,
    credential: String,
    call: String,
    edge_key: String,
    package: String,
    import: String,
    mailing: String,
    twin: String,
    rule: String,
    alert: String,
    user: String,
    invitation: String,
    api_key: String,
    access: Access,
    cases: Cases,
}

/// What says who may do what.
#[derive(Clone)]
struct Access {
    role: String,
    group: String,
    workspace: String,
    grant: String,
    stream_rule: String,
    stream_act: String,
    authority: String,
    profile: String,
    device_profile: String,
    route_destination: String,
    route_rule: String,
}

/// A place outside that is switched off.
fn place_outside() -> Value {
    json!({
        "name": "p", "kind": "webhook", "recipient": "r", "purpose": "p",
        "url": "https://hooks.example/", "instructed": true, "enabled": false,
    })
}

impl Access {
    fn new(tenant: &Tenant, user: &str) -> Self {
        let id = |value: Value| value["id"].as_str().unwrap().to_owned();
        let role = json!({"name": "r", "allows": ["device.list"]});
        let role = id(tenant.post("/v1/roles", &role).expect(201));
        let group = id(tenant.post("/v1/groups", &json!({"name": "g"})).expect(201));
        let workspace = id(tenant.post("/v1/workspaces", &json!({"name": "w"})).expect(201));
        let grant = json!({"user_id": user, "custom_role_id": role, "scope": {"group_id": group}});
        let grant = id(tenant.post("/v1/grants", &grant).expect(201));
        let rule = json!({"device_type": "none of these", "declaration": "non_personal"});
        let stream_rule = id(tenant.post("/v1/stream-rules", &rule).expect(201));
        let stream_act = id(tenant.get("/v1/stream-declarations").expect(200)["items"][0].clone());
        let authority = id(Ca::new().register(tenant, &json!({"name": "a"})).expect(201));
        let profile = json!({"name": "p", "strategy": "create_new", "devices_max": 1});
        let profile = tenant.post("/v1/provision-profiles", &profile).expect(201);
        let profile = id(profile["profile"].clone());
        let decoder = json!({"name": "d", "source": "#{}"});
        let device_profile = id(tenant.post("/v1/device-profiles", &decoder).expect(201));
        let place = tenant.post("/v1/route-destinations", &place_outside()).expect(201);
        let route_destination = id(place["destination"].clone());
        let matches = json!({"kind": "messages", "topic": "t"});
        let rule = json!({"name": "r", "matches": matches, "destination_ids": [route_destination]});
        let route_rule = id(tenant.post("/v1/route-rules", &rule).expect(201));
        Self {
            role,
            group,
            workspace,
            grant,
            stream_rule,
            stream_act,
            authority,
            profile,
            device_profile,
            route_destination,
            route_rule,
        }
    }

    fn absent(&self) -> Self {
        Self {
            role: other(&self.role),
            group: other(&self.group),
            workspace: other(&self.workspace),
            grant: other(&self.grant),
            stream_rule: other(&self.stream_rule),
            stream_act: other(&self.stream_act),
            authority: other(&self.authority),
            profile: other(&self.profile),
            device_profile: other(&self.device_profile),
            route_destination: other(&self.route_destination),
            route_rule: other(&self.route_rule),
        }
    }
}

/// An id that never was.
fn other(id: &str) -> String {
    let last = if id.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &id[..id.len() - 1])
}

/// A public zone without a source.
fn zone(output: &str) -> Value {
    json!({
        "name": "square", "window_minutes": 60, "budget_milli_per_day": 400,
        "measures": [{
            "key": "used", "epsilon_milli": 100, "kind": "amount", "step": 1.0, "steps_max": 100,
        }],
        "output_device_id": output, "device_ids": [],
    })
}

/// Details with consent.
fn opt_in() -> Value {
    json!({
        "consent": true, "how": "in_writing", "text": "I agree.", "details": {"name": "Somebody"},
    })
}

fn instruction() -> Value {
    json!({"kind": "instruction", "fields": {"given_by": "somebody", "text": "keep it"}})
}

/// A destruction of nothing.
fn destruction(tenant: &Tenant) -> String {
    let post = |path: &str, body: &Value| {
        tenant.http().post(path).header("cookie", &tenant.cookie).json(body).send()
    };
    let scope = json!({"kind": "key", "key": "never sent"});
    let seen = post("/v1/destructions/preview", &json!({"scope": scope})).expect(200);
    let asked = json!({"scope": scope, "reason": "r", "confirm": seen["confirm"]});
    post("/v1/destructions", &asked).expect(202)["id"].as_str().unwrap().to_owned()
}

/// Ids of what people make around access: holds, incidents, support.
#[derive(Clone)]
struct Cases {
    hold: String,
    destruction: String,
    request: String,
    incident: String,
    security_alert: String,
    ticket: String,
    grant: String,
    governed: Governed,
    zone: String,
    opt_in: String,
    register_entry: String,
}

impl Cases {
    /// Made by the tenant's administrator; a bulk export raises the security alert.
    fn new(tenant: &Tenant) -> Self {
        let post = |path: &str, body: &Value| {
            let request = tenant.http().post(path).header("cookie", &tenant.cookie);
            request.json(body).send().expect(201)["id"].as_str().unwrap().to_owned()
        };
        let tomorrow = Timestamp::from_millis(now_ms() + 86_400_000).unwrap();
        let hold = json!({
            "scope": {"action": "device."}, "reason": "fraud", "note": "n",
            "expires_at": tomorrow.to_string(),
        });
        let request = json!({"kind": "access", "email": "somebody@elsewhere.example"});
        let ticket = post("/v1/support-tickets", &json!({"subject": "s", "text": "t"}));
        let path = format!("/v1/support-tickets/{ticket}/grants");
        for _ in 0..21 {
            assert_eq!(tenant.get("/v1/activity/export").status, 200);
        }
        let security_alert = wait_for("a security alert", || {
            let alerts = tenant.get("/v1/security-alerts").expect(200);
            Some(alerts["items"].get(0)?["id"].as_str()?.to_owned())
        });
        Self {
            hold: post("/v1/holds", &hold),
            destruction: destruction(tenant),
            request: post("/v1/requests", &request),
            incident: post("/v1/incidents", &json!({"title": "i", "severity": "low", "text": "t"})),
            security_alert,
            grant: post(&path, &json!({"areas": ["devices"], "hours": 1})),
            zone: post("/v1/collection-zones", &zone(&tenant.device("zone").id)),
            opt_in: post("/v1/opt-ins", &opt_in()),
            register_entry: post("/v1/register-entries", &instruction()),
            ticket,
            governed: Governed::new(tenant),
        }
    }

    fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self {
            hold: change(&self.hold),
            destruction: change(&self.destruction),
            request: change(&self.request),
            incident: change(&self.incident),
            security_alert: change(&self.security_alert),
            ticket: change(&self.ticket),
            grant: change(&self.grant),
            governed: self.governed.map(&change),
            zone: change(&self.zone),
            opt_in: change(&self.opt_in),
            register_entry: change(&self.register_entry),
        }
    }
}

/// Ids of what stands in the governance workspace.
#[derive(Clone)]
struct Governed {
    policy: String,
    risk: String,
    task: String,
    framework: String,
    control: String,
    certificate: String,
    breach: String,
}

impl Governed {
    fn new(tenant: &Tenant) -> Self {
        let post = |path: &str, body: &Value| {
            let request = tenant.http().post(path).header("cookie", &tenant.cookie);
            request.json(body).send().expect(201)["id"].as_str().unwrap().to_owned()
        };
        let framework = post("/v1/frameworks", &json!({"reference": "nist-csf-2"}));
        let controls = tenant.get(&format!("/v1/frameworks/{framework}/controls")).expect(200);
        Self {
            policy: post("/v1/policies", &json!({"title": "p", "text": "t"})),
            risk: post("/v1/risks", &risk()),
            task: post("/v1/tasks", &json!({"title": "t"})),
            control: controls["items"][0]["id"].as_str().unwrap().to_owned(),
            framework,
            certificate: post(
                "/v1/certificate-register",
                &json!({
                    "standard": "other", "holder": "h", "relation": "supplier", "scope": "s",
                    "issuer": "i", "sha256": "0".repeat(64), "expires_at": "2100-01-01T00:00:00Z",
                }),
            ),
            breach: post("/v1/breaches", &breach()),
        }
    }

    fn map(&self, change: &impl Fn(&str) -> String) -> Self {
        Self {
            policy: change(&self.policy),
            risk: change(&self.risk),
            task: change(&self.task),
            framework: change(&self.framework),
            control: change(&self.control),
            certificate: change(&self.certificate),
            breach: change(&self.breach),
        }
    }
}

fn risk() -> Value {
    json!({
        "title": "r", "likelihood": 1, "impact": 2, "residual_likelihood": 1,
        "residual_impact": 1, "treatment": "mitigate",
    })
}

fn breach() -> Value {
    json!({"title": "b", "role": "controller", "risk": "unknown", "is_drill": true})
}

impl Owned {
    fn new(platform: &Platform) -> Self {
        let tenant = platform.tenant();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        let device = tenant.device("theirs");
        let credentials = tenant.get(&format!("/v1/devices/{}/credentials", device.id)).expect(200);
        let path = format!("/v1/devices/{}", device.id);
        tenant.patch(&path, &json!({"is_gateway": true})).expect(200);
        let edge_key = json!({"public_key": "ab".repeat(32)});
        let edge_key = tenant.post(&format!("{path}/edge-keys"), &edge_key).expect(201);
        let call = json!({"method": "m", "persistent": true});
        let call = tenant.post(&format!("/v1/devices/{}/rpc", device.id), &call).expect(200);
        let package = tenant
            .request("POST", "/v1/packages?kind=firmware&title=t&version=1")
            .body("application/octet-stream", b"theirs");
        let package = package.send().expect(201);
        let import = json!({"name": "theirs", "digest": "f", "plan": {"format": "ndjson"}});
        let import = tenant.post("/v1/imports", &import).expect(201);
        let model = demo_ifc();
        let twin = tenant.request("POST", "/v1/twins").body("application/x-step", model.as_bytes());
        let twin = twin.send().expect(201);
        let condition = json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": 0});
        let rule = json!({"name": "r", "severity": "low", "condition": condition});
        let rule = tenant.post("/v1/rules", &rule).expect(201);
        tenant.send(&device, &json!({"t": 1})).expect(200);
        let alert =
            wait_for("an alert", || tenant.get("/v1/alerts").expect(200)["items"].get(0).cloned());
        let users = tenant.get("/v1/users").expect(200);
        let keys = tenant.get("/v1/api-keys").expect(200);
        let (colleague, _) = tenant.member("colleague", "viewer");
        let place = json!({
            "name": "Auditors", "kind": "mail", "recipient": "auditors", "instructed": true,
            "purpose": "to know", "user_ids": [colleague],
        });
        let place = tenant.post("/v1/route-destinations", &place).expect(201);
        let mailing = json!({"destination_id": place["destination"]["id"], "every": "never"});
        let mailing = tenant.post("/v1/ledger/mailings", &mailing).expect(201);
        let guest = format!("guest-{}@tenant.example", &tenant.id[24..]);
        let guest = json!({"email": guest, "role": "viewer"});
        tenant.post("/v1/users", &guest).expect(201);
        let invitations = tenant.get("/v1/invitations").expect(200);
        Self {
            access: Access::new(&tenant, &colleague),
            device: device.id,
            credential: text(&credentials["items"][0]["id"]),
            call: text(&call["call"]["id"]),
            edge_key: text(&edge_key["id"]),
            package: text(&package["id"]),
            import: text(&import["id"]),
            mailing: text(&mailing["id"]),
            twin: text(&twin["twin"]["id"]),
            rule: text(&rule["id"]),
            alert: text(&alert["id"]),
            user: text(&users["items"][0]["id"]),
            invitation: text(&invitations["items"][0]["id"]),
            api_key: text(&keys["items"][0]["id"]),
            cases: Cases::new(&tenant),
            tenant,
        }
    }

    /// The same places, with ids that never were.
    fn absent(&self) -> Ids {
        Ids {
            device: other(&self.device),
            credential: other(&self.credential),
            call: other(&self.call),
            edge_key: other(&self.edge_key),
            package: other(&self.package),
            import: other(&self.import),
            mailing: other(&self.mailing),
            twin: other(&self.twin),
            rule: other(&self.rule),
            alert: other(&self.alert),
            user: other(&self.user),
            invitation: other(&self.invitation),
            api_key: other(&self.api_key),
            own: other(&self.tenant.id),
            access: self.access.absent(),
            cases: self.cases.map(other),
        }
    }

    fn ids(&self) -> Ids {
        Ids {
            device: self.device.clone(),
            credential: self.credential.clone(),
            call: self.call.clone(),
            edge_key: self.edge_key.clone(),
            package: self.package.clone(),
            import: self.import.clone(),
            mailing: self.mailing.clone(),
            twin: self.twin.clone(),
            rule: self.rule.clone(),
            alert: self.alert.clone(),
            user: self.user.clone(),
            invitation: self.invitation.clone(),
            api_key: self.api_key.clone(),
            own: self.tenant.id.clone(),
            access: self.access.clone(),
            cases: self.cases.clone(),
        }
    }

    /// Everything there is, to see that nothing changed.
    fn state(&self) -> Vec<Value> {
        let lists = [
            "devices",
            "twins",
            "rules",
            "users",
            "alerts?filter=all",
            "holds",
            "incidents",
            "security-alerts",
            "support",
            "roles",
            "groups",
            "workspaces",
            "grants",
            "invitations",
            "streams?state=all",
            "stream-rules",
            "stream-declarations",
            "device-profiles",
            "imports",
            "ledger/mailings",
            "policies",
            "risks",
            "tasks",
            "frameworks",
            "certificate-register",
            "breaches",
            "tenant-end",
            "requests/mailbox",
        ];
        let mut state: Vec<Value> =
            lists.iter().map(|list| self.tenant.get(&format!("/v1/{list}")).expect(200)).collect();
        let device = format!("/v1/devices/{}", self.device);
        let mut credentials = self.tenant.get(&format!("{device}/credentials")).expect(200);
        for credential in credentials["items"].as_array_mut().unwrap() {
            // When its own device came in last is noted later.
            credential["last_used_at"] = Value::Null;
        }
        state.push(credentials);
        state.push(self.tenant.get(&format!("{device}/edge-keys")).expect(200));
        state.push(self.tenant.get(&format!("{device}/attributes")).expect(200));
        let keys = self.tenant.get("/v1/api-keys").expect(200);
        state.push(json!(keys["items"].as_array().unwrap().len()));
        state
    }
}

struct Ids {
    device: String,
    credential: String,
    call: String,
    edge_key: String,
    package: String,
    import: String,
    mailing: String,
    twin: String,
    rule: String,
    alert: String,
    user: String,
    invitation: String,
    api_key: String,
    own: String,
    access: Access,
    cases: Cases,
}

impl Ids {
    /// A path with its parameters filled in; none when the kind of id is not known here.
    fn fill(&self, path: &str) -> Option<String> {
        let resource = path.strip_prefix("/v1/")?.split('/').next()?;
        let id = match resource {
            "devices" => &self.device,
            "packages" => &self.package,
            "imports" => &self.import,
            "ledger" => &self.mailing,
            "twins" => &self.twin,
            "rules" => &self.rule,
            "alerts" => &self.alert,
            "users" => &self.user,
            "invitations" => &self.invitation,
            "api-keys" => &self.api_key,
            "tenants" => &self.own,
            "roles" => &self.access.role,
            "groups" => &self.access.group,
            "workspaces" => &self.access.workspace,
            "grants" => &self.access.grant,
            "device-authorities" => &self.access.authority,
            "device-profiles" => &self.access.device_profile,
            "provision-profiles" => &self.access.profile,
            "route-destinations" => &self.access.route_destination,
            "route-rules" => &self.access.route_rule,
            "stream-rules" => &self.access.stream_rule,
            "stream-declarations" => &self.access.stream_act,
            "collection-zones" => &self.cases.zone,
            "opt-ins" => &self.cases.opt_in,
            "register-entries" => &self.cases.register_entry,
            "holds" => &self.cases.hold,
            "destructions" => &self.cases.destruction,
            "requests" => &self.cases.request,
            "incidents" => &self.cases.incident,
            "security-alerts" => &self.cases.security_alert,
            "support-tickets" => &self.cases.ticket,
            "support-grants" => &self.cases.grant,
            "policies" | "governance" => &self.cases.governed.policy,
            "risks" => &self.cases.governed.risk,
            "tasks" => &self.cases.governed.task,
            "frameworks" => &self.cases.governed.framework,
            "controls" => &self.cases.governed.control,
            "certificate-register" => &self.cases.governed.certificate,
            "breaches" => &self.cases.governed.breach,
            _ => return None,
        };
        let filled = path
            .replace("{id}", id)
            .replace("{credential}", &self.credential)
            .replace("{call}", &self.call)
            .replace("{edge_key}", &self.edge_key)
            .replace("{device}", &self.device);
        (!filled.contains('{')).then_some(filled)
    }
}

/// A request that would be right if the id were the caller's own.
fn with_body(request: Request, method: &str, path: &str) -> Request {
    let condition = json!({"kind": "no_data", "after_seconds": 600});
    match (method, path) {
        ("PUT", "/v1/rules/{id}") => {
            request.json(&json!({"name": "r", "severity": "low", "condition": condition}))
        }
        ("PUT", "/v1/policies/{id}") => request.json(&json!({"title": "mine", "text": "t"})),
        ("PUT", "/v1/risks/{id}") => request.json(&risk()),
        ("PUT", "/v1/tasks/{id}") => request.json(&json!({"title": "mine"})),
        ("PUT", "/v1/controls/{id}") => {
            request.json(&json!({"applies": "applicable", "implementation": "planned"}))
        }
        ("PUT", "/v1/breaches/{id}") => request.json(&breach()),
        ("PUT", "/v1/twins/{id}/source") => {
            request.body("application/x-step", demo_ifc().as_bytes())
        }
        ("PUT", "/v1/twins/{id}/geometry") => {
            request.header("x-source-sha256", &"0".repeat(64)).body("model/gltf-binary", EMPTY_GLB)
        }
        ("PUT", "/v1/twins/{id}/bindings/{device}") => request.json(&json!({})),
        ("PUT", "/v1/device-profiles/{id}") => request.json(&json!({"name": "mine", "source": ""})),
        ("POST", "/v1/device-profiles/{id}/restore") => request.json(&json!({"version": 1})),
        ("PUT", "/v1/route-destinations/{id}") => request.json(&place_outside()),
        ("PUT", "/v1/collection-zones/{id}") => {
            request.json(&zone("00000000-0000-7000-8000-000000000000"))
        }
        ("PUT", "/v1/route-rules/{id}") => request.json(&json!({
            "name": "r", "matches": {"kind": "messages", "topic": "t"}, "destination_ids": [],
        })),
        ("PUT", "/v1/device-authorities/{id}") | ("PATCH", "/v1/provision-profiles/{id}") => {
            request.json(&json!({"name": "x"}))
        }
        ("PUT", "/v1/device-authorities/{id}/revocation-list") => {
            request.body("application/pkix-crl", b"nothing")
        }
        ("PATCH", "/v1/devices/{id}/credentials/{credential}") => {
            request.json(&json!({"disabled": true}))
        }
        ("POST", "/v1/devices/{id}/edge-keys") => {
            request.json(&json!({"public_key": "0".repeat(64)}))
        }
        ("PATCH", "/v1/devices/{id}") => request.json(&json!({"name": "mine now"})),
        ("PATCH", "/v1/devices/{id}/attributes") => request.json(&json!({"shared": {"x": 1}})),
        ("POST", "/v1/devices/{id}/sparkplug/commands") => {
            request.json(&json!({"metric": "speed", "value": 1}))
        }
        ("POST", "/v1/devices/{id}/rpc") => {
            request.json(&json!({"method": "reboot", "params": {}, "timeout_ms": 100}))
        }
        ("POST", "/v1/packages/{id}/devices" | "/v1/packages/{id}/release") => {
            request.json(&json!({"device_ids": ["00000000-0000-7000-8000-000000000000"]}))
        }
        ("PATCH", "/v1/tenants/{id}") => request.json(&json!({"state": "suspended"})),
        ("PUT", "/v1/tenants/{id}/hosts") => request.json(&json!({"hosts": ["mine.example"]})),
        ("PUT", "/v1/tenants/{id}/domains") => request.json(&json!({"domains": ["mine.example"]})),
        ("POST", "/v1/tenants/{id}/invitations") => {
            request.json(&json!({"email": "mine@customer.example"}))
        }
        ("POST", "/v1/alerts/{id}/acknowledge") => request.json(&json!({"comment": "mine"})),
        ("PATCH", "/v1/users/{id}") => request.json(&json!({"roles": ["viewer"]})),
        ("PUT", "/v1/roles/{id}") => request.json(&json!({"name": "x", "denies": ["device.list"]})),
        ("PUT", "/v1/groups/{id}" | "/v1/workspaces/{id}") => request.json(&json!({"name": "x"})),
        ("POST", "/v1/users/{id}/consents/withdraw") => {
            request.json(&json!({"purpose": "sms_alerts"}))
        }
        ("POST", "/v1/incidents/{id}/notes" | "/v1/incidents/{id}/close") => {
            request.json(&json!({"text": "mine"}))
        }
        ("POST", "/v1/requests/{id}/steps") => {
            request.json(&json!({"step": "note", "text": "mine"}))
        }
        ("POST", "/v1/support-tickets/{id}/grants") => {
            request.json(&json!({"areas": ["devices"], "hours": 1}))
        }
        ("POST", _) | ("PUT", "/v1/password-reset") => request.json(&json!({})),
        _ => request,
    }
}

/// Two answers that nobody can tell apart, dates and request numbers aside.
#[track_caller]
fn same(what: &str, theirs: &Answer, never: &Answer) {
    assert_eq!((theirs.status, theirs.text()), (never.status, never.text()), "{what}");
    let names = |answer: &Answer| -> Vec<String> {
        answer.headers.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(theirs), names(never), "{what}");
}

#[test]
fn every_operation_refuses_strangers() {
    let platform = Platform::shared();
    let owned = Owned::new(platform);
    let before = owned.state();
    let mut public = BTreeSet::new();
    for (method, path) in operations(platform) {
        let filled = owned.ids().fill(&path).unwrap_or_else(|| {
            path.replace("{id}", "P22")
                .replace("{index}", "0")
                .replace("{log}", "0")
                .replace("{host}", "a.example")
        });
        let name = format!("{method} {path}");
        let ask = |request: Request| with_body(request, &method, &path).send();
        let answer = ask(platform.http().request(&method, &filled));
        if PUBLIC.contains(&name.as_str()) {
            assert!(matches!(answer.status, 400 | 422), "{name}: {}", answer.text());
            public.insert(name);
            continue;
        }
        if name == FACE {
            let facts = answer.expect(200).to_string();
            let tells = owned.ids().fill("/v1/tenants/{id}").is_some_and(|id| facts.contains(&id));
            assert!(!tells, "{name}: {facts}");
            continue;
        }
        if name == WHO_AM_I || name == OFFER {
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{name}");
            continue;
        }
        if name == CHALLENGE {
            assert_eq!(answer.status, 200, "{name}");
            continue;
        }
        assert_eq!(answer.status, 401, "{name} without a credential: {}", answer.text());
        answer.problem(401);
        let guessed = ask(platform.http().request(&method, &filled).bearer("vtk_guess"));
        assert_eq!(guessed.status, 401, "{name} with a wrong key: {}", guessed.text());
        let device = owned.tenant.device(&format!("d{}", name.len() * 1000 + filled.len()));
        let as_device = ask(platform.http().request(&method, &filled).bearer(&device.token));
        assert_eq!(as_device.status, 401, "{name} as a device: {}", as_device.text());
        owned.tenant.delete(&format!("/v1/devices/{}", device.id)).expect(204);
    }
    assert_eq!(public.len(), PUBLIC.len(), "{public:?}");
    for path in ["/metrics", "/v1/telemetry/write"] {
        let method = if path == "/metrics" { "GET" } else { "POST" };
        assert_eq!(platform.http().request(method, path).send().status, 401, "{path}");
    }
    assert_eq!(owned.state(), before);
}

/// Every operation with an id in its path, with another tenant's ids and with ids of nothing.
fn ask_every_path(platform: &Platform, caller: &Tenant, (theirs, never): (&Ids, &Ids)) {
    let mut walked = 0;
    for (method, path) in operations(platform) {
        if !path.contains('{')
            || path.starts_with("/v1/account/")
            || NO_TENANT_ID.iter().any(|(known, _)| *known == path)
        {
            continue;
        }
        let name = format!("{method} {path}");
        let ask = |ids: &Ids| {
            let filled = ids.fill(&path).unwrap_or_else(|| panic!("no case for {name}: add one"));
            with_body(request_of(caller, &method, (&path, &filled)), &method, &path).send()
        };
        let (foreign, absent) = (ask(theirs), ask(never));
        foreign.problem(404);
        same(&name, &foreign, &absent);
        walked += 1;
    }
    assert!(walked >= 25, "{walked} operations with ids");
}

fn mailed_to(ids: &Ids) -> Value {
    json!({"destination_id": ids.access.route_destination, "every": "day"})
}

/// Method, path and body of a question about somebody's things.
type Question<'a> = &'a dyn Fn(&Ids) -> (&'static str, String, Value);

/// What is sealed, taken away and mailed of another tenant's devices and people.
fn ask_the_ledger(pair: &dyn Fn(Question<'_>)) {
    let get = |start: &str, end: &str| {
        pair(&|ids| {
            ("GET", format!("/v1/ledger/{start}?device_id={}{end}", ids.device), Value::Null)
        });
    };
    get("papers", "&key=t");
    get("lookup", "&key=t&at=2026-01-01T00:00:00Z");
    get("evidence", "");
    let post = |path: &str, body: &dyn Fn(&Ids) -> Value| {
        pair(&|ids| ("POST", path.to_owned(), body(ids)));
    };
    post("/v1/ledger/evidence", &|ids| json!({"device_id": ids.device}));
    post("/v1/ledger/mailings", &|ids| json!({"user_id": ids.user, "every": "day"}));
    post("/v1/ledger/mailings", &mailed_to);
}

#[test]
fn another_tenants_ids_are_ids_that_never_were() {
    let platform = Platform::shared();
    let owned = Owned::new(platform);
    let caller = platform.tenant();
    let before = owned.state();
    let (theirs, never) = (owned.ids(), owned.absent());
    ask_every_path(platform, &caller, (&theirs, &never));

    // Own parent, foreign child.
    let own = caller.device("own");
    let own_twin = caller.request("POST", "/v1/twins");
    let own_twin = own_twin.body("application/x-step", demo_ifc().as_bytes()).send().expect(201);
    let own_twin = own_twin["twin"]["id"].as_str().unwrap();
    let pair = |path: Question<'_>| {
        let ask = |ids: &Ids| {
            let (method, path, body) = path(ids);
            let request = caller.request(method, &path);
            (format!("{method} {path}"), request.json(&body).send())
        };
        let ((name, foreign), (_, absent)) = (ask(&theirs), ask(&never));
        // A filter that matches nothing gives an empty list; all else is refused.
        let is_empty_list = foreign.status == 200 && foreign.text().contains("\"items\":[]");
        let is_refused = (400..500).contains(&foreign.status);
        assert!(is_refused || is_empty_list, "{name}: {}", foreign.text());
        same(&name, &foreign, &absent);
    };
    let none = Value::Null;
    pair(&|ids| {
        let path = format!("/v1/devices/{}/credentials/{}", own.id, ids.credential);
        ("DELETE", path, none.clone())
    });
    pair(&|ids| {
        let path = format!("/v1/devices/{}/edge-keys/{}", own.id, ids.edge_key);
        ("DELETE", path, none.clone())
    });
    pair(&|ids| ("PUT", format!("/v1/twins/{own_twin}/bindings/{}", ids.device), json!({})));
    pair(&|ids| ("PUT", format!("/v1/twins/{}/bindings/{}", ids.twin, own.id), json!({})));
    // Ids in queries and bodies.
    pair(&|ids| ("GET", format!("/v1/devices?twin_id={}", ids.twin), none.clone()));
    pair(&|ids| ("GET", format!("/v1/alerts?filter=all&device_id={}", ids.device), none.clone()));
    pair(&|ids| ("GET", format!("/v1/alerts?filter=all&twin_id={}", ids.twin), none.clone()));
    pair(&|ids| ("GET", format!("/v1/devices?ids={}", ids.device), none.clone()));
    pair(&|ids| ("POST", format!("/v1/devices/import?twin_id={}", ids.twin), none.clone()));
    ask_the_ledger(&pair);
    let post = |path: &'static str, body: &dyn Fn(&Ids) -> Value| {
        pair(&|ids| ("POST", path.to_owned(), body(ids)));
    };
    let series = |ids: &Ids| json!([{"device_id": ids.device, "key": "t"}]);
    let condition = json!({"kind": "no_data", "after_seconds": 600});
    let rule = |scope: Value| json!({"name": "r", "severity": "low", "condition": condition, "scope": scope});
    pair(&|ids| ("GET", format!("/v1/streams?device_id={}", ids.device), none.clone()));
    post(
        "/v1/stream-declarations",
        &|ids| json!({"targets": [{"device_id": ids.device}], "declaration": "non_personal"}),
    );
    post("/v1/devices", &|ids| json!({"name": "x", "twin_id": ids.twin}));
    post("/v1/rules", &|ids| rule(json!({"device_id": ids.device})));
    post("/v1/rules", &|ids| rule(json!({"twin_id": ids.twin})));
    post("/v1/groups", &|ids| json!({"name": "x", "device_ids": [ids.device]}));
    post("/v1/groups", &|ids| json!({"name": "x", "workspace_id": ids.access.workspace}));
    post("/v1/workspaces", &|ids| json!({"name": "x", "twin_ids": [ids.twin]}));
    let (colleague, _) = caller.member("own-colleague", "viewer");
    let grant = |scope: Value| json!({"user_id": colleague, "role": "viewer", "scope": scope});
    post("/v1/grants", &|ids| grant(json!({"group_id": ids.access.group})));
    post("/v1/grants", &|ids| grant(json!({"workspace_id": ids.access.workspace})));
    post("/v1/grants", &|ids| grant(json!({"twin_id": ids.twin})));
    post("/v1/grants", &|ids| json!({"user_id": ids.user, "role": "viewer"}));
    post("/v1/grants", &|ids| json!({"api_key_id": ids.api_key, "role": "viewer"}));
    post("/v1/grants", &|ids| json!({"user_id": colleague, "custom_role_id": ids.access.role}));
    pair(&|ids| {
        let path = format!("/v1/access/explain?action=device.read&user_id={}", ids.user);
        ("GET", path, none.clone())
    });
    pair(&|ids| {
        let query = format!("action=device.read&user_id={colleague}&device_id={}", ids.device);
        ("GET", format!("/v1/access/explain?{query}"), none.clone())
    });
    post("/v1/alerts/acknowledge", &|ids| json!({"ids": [ids.alert]}));
    post("/v1/telemetry/stats", &|ids| json!({"series": series(ids)}));
    post(
        "/v1/telemetry/query",
        &|ids| json!({"series": series(ids), "from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}),
    );
    post("/v1/telemetry/latest", &|ids| json!({"device_ids": [ids.device]}));
    post("/v1/telemetry/latest", &|ids| json!({"twin_id": ids.twin}));
    let line = |id: &str| caller.write("", "text/plain", &format!("{id} t=2"));
    same("bulk write", &line(&theirs.device), &line(&never.device));
    line(&theirs.device).problem(400);
    assert_eq!(owned.state(), before, "nothing of the other tenant changed");
    let latest = owned.tenant.post("/v1/telemetry/latest", &json!({})).expect(200);
    assert_eq!(latest["items"].as_array().unwrap().len(), 1, "{latest}");
}

#[test]
fn lists_hold_only_what_is_ones_own() {
    let platform = Platform::shared();
    let owned = Owned::new(platform);
    let caller = platform.tenant();
    let foreign = owned.ids();
    let ids = [&foreign.device, &foreign.twin, &foreign.rule, &foreign.alert, &foreign.user];
    for (method, path) in operations(platform) {
        // A program has no session and no account, and a customer no desk and no operations.
        let others = [
            "/v1/session",
            "/v1/account",
            "/v1/requests/own",
            "/v1/support-desk",
            "/v1/operations",
        ];
        let is_personal = others.iter().any(|own| path.starts_with(own));
        if method != "GET" || path.contains('{') || is_personal {
            continue;
        }
        let answer = request_of(&caller, &method, (&path, &path)).send();
        // Questions that need parameters, and a ledger that waits for its first leaf.
        assert!(matches!(answer.status, 200 | 400 | 404 | 503), "{path}: {}", answer.text());
        let text = answer.text();
        for id in ids.iter().chain(&[&owned.tenant.id]) {
            assert!(!text.contains(id.as_str()), "{path} shows {id}");
        }
    }
    let latest = caller.post("/v1/telemetry/latest", &json!({})).expect(200);
    assert_eq!(latest["items"], json!([]));
}
