//! P30: every endpoint is asked with every built-in role and has to answer as the published matrix
//! says: 403 where the role does not permit it, anything else where it does. The asking keys
//! belong to a tenant of nobody, and every request is one that changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use veritwin_app::{App, Error, ProbeAnswer, RoleFixture};
use veritwin_domain::{DeviceId, Role};

use super::Wiring;
use super::walk::{Ask, Walk, ask};
use super::words;
use crate::api;

const PROMISE: u8 = 30;
/// A question that the platform had no time for is asked so often, so long after the last time.
const TRIES: u32 = 5;
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Roles {
    app: App,
    router: Router,
}

/// One endpoint with what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    method: Method,
    path: String,
    actions: &'static [&'static str],
    /// Whether the tenant of nobody is refused whatever the role: see `x-access`.
    is_of_others: bool,
}

/// Every endpoint of the document that needs a right.
fn endpoints(document: &Value) -> Result<Vec<Endpoint>, String> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for verb in ["get", "put", "post", "delete", "patch"] {
            if item.get(verb).is_none() {
                continue;
            }
            let name = verb.to_uppercase();
            let actions = api::actions(&name, path)
                .ok_or_else(|| format!("{name} {path}: no action is stated for it"))?;
            let method = Method::from_bytes(name.as_bytes())
                .map_err(|error| ProbeAnswer::instead("a method is none", &error))?;
            if !actions.is_empty() {
                let is_of_others = api::tenants(&name, path).is_some();
                found.push(Endpoint { method, path: path.clone(), actions, is_of_others });
            }
        }
    }
    Ok(found)
}

/// A body of routing that is understood, and wrong in what it says.
pub(super) fn of_routing(path: &str) -> Value {
    match path {
        "/v1/route-destinations" | "/v1/route-destinations/{id}" => json!({
            "name": "", "kind": "webhook", "recipient": "", "purpose": "", "url": "",
        }),
        "/v1/route-rules" | "/v1/route-rules/{id}" => json!({
            "name": "", "matches": {"kind": "messages", "topic": ""}, "destination_ids": [],
        }),
        // Of a rule that there is not: everything of everybody would be sent again.
        _ => json!({"rule_id": "00000000-0000-7000-8000-000000000000"}),
    }
}

/// A request that is understood, asks for the right, and then finds nothing or is invalid.
fn harmless(endpoint: &Endpoint, never: &str) -> (String, &'static str, Vec<u8>) {
    const JSON: &str = "application/json";
    let mut uri =
        endpoint.path.replace("{index}", "0").replace("/v1/promises/{id}", "/v1/promises/none");
    for name in ["{id}", "{credential}", "{device}", "{call}", "{edge_key}"] {
        uri = uri.replace(name, never);
    }
    uri = uri.replace("{host}", "nowhere.invalid");
    let series = json!([{"device_id": never, "key": "value"}]);
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let body = match (endpoint.method.as_str(), endpoint.path.as_str()) {
        ("GET", "/v1/access/explain") => {
            uri = format!("{uri}?user_id={never}&action=device.list");
            return (uri, "", Vec::new());
        }
        ("GET", "/v1/ledger/papers") => {
            uri = format!("{uri}?device_id={never}&key=value");
            return (uri, "", Vec::new());
        }
        ("GET", "/v1/ledger/lookup") => {
            uri = format!("{uri}?record={never}");
            return (uri, "", Vec::new());
        }
        ("GET" | "DELETE", _) => return (uri, "", Vec::new()),
        (_, "/v1/packages") => {
            uri = format!("{uri}?kind=firmware&title=&version=");
            return (uri, "application/octet-stream", b"nothing".to_vec());
        }
        (_, "/v1/packages/{id}/devices" | "/v1/packages/{id}/release") => {
            json!({"device_ids": [never]})
        }
        (_, "/v1/devices/import" | "/v1/users/import") => {
            return (uri, "text/csv", b"nothing".to_vec());
        }
        (_, "/v1/twins" | "/v1/twins/{id}/source") => {
            return (uri, "application/octet-stream", b"nothing".to_vec());
        }
        (_, "/v1/twins/{id}/geometry") => return (uri, "model/gltf-binary", b"nothing".to_vec()),
        (_, "/v1/brand/logo") => return (uri, "image/png", b"nothing".to_vec()),
        (_, path) if path.starts_with("/v1/account") => account(path),
        (_, path) if of_partners(path) => partners(path, never),
        (_, "/v1/alerts/acknowledge") => json!({"ids": [never]}),
        (_, "/v1/api-keys") => json!({"name": "", "role": "viewer"}),
        (_, path) if path.starts_with("/v1/device") => of_devices(path),
        (_, "/v1/grants") => json!({"user_id": never, "role": "viewer"}),
        (_, "/v1/groups" | "/v1/groups/{id}" | "/v1/workspaces" | "/v1/workspaces/{id}") => {
            json!({"name": ""})
        }
        (_, "/v1/holds") => json!({"scope": {}, "reason": "fraud", "note": "", "expires_at": to}),
        (_, "/v1/retention") => json!({"readings_days": 0}),
        (_, path) if path.starts_with("/v1/destructions") => destruction(path, never),
        (_, "/v1/incidents") => json!({"title": "", "severity": "none", "text": ""}),
        (_, "/v1/incidents/{id}/notes" | "/v1/incidents/{id}/close") => json!({"text": ""}),
        (_, "/v1/frameworks/import") => json!({"catalog": {"uuid": "", "metadata": {"title": ""}}}),
        (_, "/v1/certificates/{host}") => json!({"chain": "", "private_key": ""}),
        (_, "/v1/identity-provider") => json!({
            "name": "", "issuer": "", "client_id": "", "domains": [], "enabled": false,
        }),
        (_, "/v1/networks") => json!({"people": ["nowhere"], "devices": []}),
        (_, "/v1/provision-profiles") => {
            json!({"name": "", "strategy": "create_new", "devices_max": 1})
        }
        (_, "/v1/roles" | "/v1/roles/{id}") => json!({"name": ""}),
        // One body for all of them: none is right, and nothing is taken away by it.
        (_, path) if path.starts_with("/v1/keys") => json!({
            "kind": "xks", "address": "", "key": "", "confirm": "",
            "id": "", "wrapping": "rsa_aes_kwp", "wrapped_key": "",
        }),
        (_, path) if path.starts_with("/v1/route-") => of_routing(path),
        (_, "/v1/rules" | "/v1/rules/{id}") => json!({
            "name": "", "severity": "none", "condition": {"kind": "no_data", "after_seconds": 600},
        }),
        (_, "/v1/session/confirm") => json!({"password": ""}),
        (_, "/v1/stream-declarations") => json!({"targets": [], "declaration": "non_personal"}),
        (_, "/v1/streams/subject") => json!({"person": ""}),
        (_, "/v1/stream-rules") => json!({"declaration": "non_personal"}),
        (_, "/v1/support-desk/break-glass") => {
            json!({"tenant_id": never, "areas": ["devices"], "reason": ""})
        }
        (_, "/v1/support-desk/session") => json!({"tenant_id": never}),
        (_, "/v1/support-tickets") => json!({"subject": "", "text": ""}),
        (_, "/v1/support-tickets/{id}/grants") => json!({"areas": ["devices"], "hours": 0}),
        (_, "/v1/tenants/sign-in") => json!({"second_factor_required": false}),
        (_, "/v1/telemetry/query") => json!({"series": series, "from": from, "to": to}),
        (_, "/v1/telemetry/sql") => json!({"query": ""}),
        (_, "/v1/telemetry/stats") => json!({"series": series}),
        (_, "/v1/users") => json!({"email": "", "role": "viewer"}),
        (_, "/v1/users/{id}") => json!({"roles": ["viewer"]}),
        (_, path) => of_privacy(path, never, from),
    };
    (uri, JSON, body.to_string().into_bytes())
}

/// A body about what people agreed to and asked for, public zones and registers; empty of others.
fn of_privacy(path: &str, never: &str, at: &str) -> Value {
    match path {
        "/v1/requests" => json!({"kind": ""}),
        "/v1/requests/{id}/steps" => json!({"step": "note"}),
        "/v1/collection-zones" | "/v1/collection-zones/{id}" => zone(never),
        "/v1/opt-ins" => json!({"consent": false, "how": "", "text": "", "details": {}}),
        "/v1/register-entries" => json!({"kind": "", "fields": {}}),
        "/v1/trust-pages" => json!({"confirm": ""}),
        "/v1/legal/seen" | "/v1/legal/versions" => {
            json!({"version": 0, "summary": "", "effective_at": at})
        }
        "/v1/users/{id}/consents/withdraw" => json!({"purpose": ""}),
        _ => json!({}),
    }
}

/// A body about devices, and how they come in.
fn of_devices(path: &str) -> Value {
    match path {
        "/v1/device-authorities" => {
            json!({"certificate": "", "proof": "", "settings": {"name": ""}})
        }
        "/v1/device-authorities/code" => json!({"certificate": ""}),
        "/v1/device-claims/settings" => json!({"by_name_alone": false}),
        "/v1/devices/{id}/edge-keys" => json!({"public_key": ""}),
        "/v1/devices/{id}/sparkplug/commands" => json!({"metric": "probe", "value": 1}),
        "/v1/devices/{id}/rpc" => json!({"method": "probe", "params": {}, "timeout_ms": 100}),
        path if path == "/v1/devices" || path.starts_with("/v1/device-") => json!({"name": ""}),
        _ => json!({}),
    }
}

/// A public zone of nothing.
fn zone(never: &str) -> Value {
    json!({
        "name": "", "window_minutes": 0, "budget_milli_per_day": 0, "measures": [],
        "output_device_id": never, "device_ids": [],
    })
}

/// A destruction of a device that never was.
fn destruction(path: &str, never: &str) -> Value {
    let scope = json!({"kind": "device", "device_id": never});
    match path {
        "/v1/destructions/preview" => json!({"scope": scope}),
        _ => json!({"scope": scope, "reason": "", "confirm": ""}),
    }
}

/// What one's own account is asked, which keys are always refused.
fn account(path: &str) -> Value {
    match path.rsplit('/').next().unwrap_or_default() {
        "authenticator" => json!({"code": ""}),
        "consents" => json!({"purpose": "", "version": 0}),
        "email" => json!({"email": ""}),
        "fields" => json!({"field": "phone", "value": ""}),
        "withdraw" => json!({"purpose": ""}),
        "passkeys" => json!({"name": "", "client_data": "", "attestation": ""}),
        "password" => json!({"new_password": "", "password": ""}),
        _ => json!({"name": ""}),
    }
}

fn of_partners(path: &str) -> bool {
    const PLACES: [&str; 6] = [
        "/v1/brand",
        "/v1/contact",
        "/v1/plans",
        "/v1/session/join",
        "/v1/session/leave",
        "/v1/session/tenants",
    ];
    let is_tenants = path.starts_with("/v1/tenants") && path != "/v1/tenants/sign-in";
    is_tenants || PLACES.iter().any(|place| path.starts_with(place))
}

/// What is said about tenants below, brands and the way from one tenant to another.
fn partners(path: &str, never: &str) -> Value {
    match path {
        "/v1/brand" => json!({"light": "none"}),
        "/v1/contact/done" => json!({"id": never}),
        "/v1/session/join" => json!({"token": ""}),
        "/v1/session/leave" | "/v1/session/tenants" => json!({"tenant_id": never}),
        "/v1/tenants/{id}/hosts" => json!({"hosts": []}),
        "/v1/tenants/{id}/domains" => json!({"domains": []}),
        "/v1/tenants/{id}/invitations" => json!({"email": ""}),
        "/v1/plans" | "/v1/plans/{id}" => json!({"name": "", "limits": {}}),
        _ => json!({"name": ""}),
    }
}

/// Headers that some endpoints need besides.
const HEADERS: &[(&str, &str)] =
    &[("x-source-sha256", "0000000000000000000000000000000000000000000000000000000000000000")];

/// Whether an answer says no more than that there was no time for another.
const fn is_too_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What is wrong with an answer; none when it is as the matrix says.
fn judge(is_permitted: bool, status: StatusCode) -> Option<String> {
    match (is_permitted, status) {
        (_, StatusCode::UNAUTHORIZED) => Some("was not let in at all".to_owned()),
        (true, StatusCode::FORBIDDEN) => Some("was refused what the matrix permits".to_owned()),
        (false, StatusCode::FORBIDDEN) => None,
        (false, status) => {
            Some(format!("was answered {} where the matrix says no", status.as_u16()))
        }
        (true, status) if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE => {
            Some(format!("met an error ({})", status.as_u16()))
        }
        (true, _) => None,
    }
}

/// Counts of a walk, and the first answer that is not as the matrix says.
#[derive(Debug, Default)]
pub(super) struct Walked {
    endpoints: usize,
    asked: usize,
    permitted: usize,
    actions: BTreeSet<&'static str>,
    difference: Option<(String, String)>,
}

impl Roles {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self { app: app.clone(), router: wiring.router.clone() }
    }

    async fn ask_all(&self, fixture: &RoleFixture) -> Result<Walked, String> {
        let document = words::openapi()?;
        let endpoints = endpoints(&document)?;
        let mut walked = Walked { endpoints: endpoints.len(), ..Walked::default() };
        for endpoint in &endpoints {
            for (role, key) in fixture.keys() {
                let is_permitted = endpoint
                    .actions
                    .iter()
                    .all(|action| self.app.role_permits_program(role, action))
                    && !endpoint.is_of_others;
                let mut status = self.ask_as(endpoint, key.expose()).await?;
                // What stays so is a difference like any other.
                for _ in 1..TRIES {
                    if is_permitted || !is_too_busy(status) {
                        break;
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                    status = self.ask_as(endpoint, key.expose()).await?;
                }
                walked.asked += 1;
                walked.permitted += usize::from(is_permitted);
                walked.actions.extend(endpoint.actions);
                if let Some(problem) = judge(is_permitted, status) {
                    let place = format!("{} {}", endpoint.method, endpoint.path);
                    walked.difference = Some((place, format!("{role} {problem}")));
                    return Ok(walked);
                }
            }
        }
        Ok(walked)
    }

    async fn ask_as(&self, endpoint: &Endpoint, token: &str) -> Result<StatusCode, String> {
        let never = DeviceId::generate(self.app.clock().now(), self.app.rng()).to_string();
        let (uri, content_type, body) = harmless(endpoint, &never);
        let question = Ask {
            method: endpoint.method.clone(),
            uri: &uri,
            token: Some(token),
            content_type,
            body,
            headers: HEADERS,
            ..Ask::get(&uri)
        };
        Ok(ask(&self.router, question).await?.status)
    }
}

fn answer(walked: Walked) -> ProbeAnswer {
    let facts = vec![
        ("endpoints".to_owned(), walked.endpoints.to_string()),
        ("roles".to_owned(), Role::ALL.len().to_string()),
        ("questions asked".to_owned(), walked.asked.to_string()),
        ("of which permitted".to_owned(), walked.permitted.to_string()),
        ("actions covered".to_owned(), walked.actions.len().to_string()),
        ("asked as".to_owned(), "API keys of a tenant of nobody, one for each role".to_owned()),
    ];
    match walked.difference {
        None => ProbeAnswer::Passed {
            summary: format!(
                "{} endpoints answer all {} roles as the published matrix says.",
                walked.endpoints,
                Role::ALL.len()
            ),
            facts,
        },
        Some((place, problem)) => ProbeAnswer::Failed {
            summary: format!("An endpoint differs from the published matrix: {problem}."),
            facts,
            place,
        },
    }
}

#[async_trait]
impl Walk for Roles {
    type Fixture = RoleFixture;
    type Walked = Walked;

    const VERSION: u32 = 1;

    fn promise(&self) -> u8 {
        PROMISE
    }

    async fn open(&self) -> Result<RoleFixture, Error> {
        self.app.open_role_fixture().await
    }

    async fn walk(&self, fixture: &RoleFixture) -> Result<Walked, String> {
        self.ask_all(fixture).await
    }

    async fn close(&self, fixture: RoleFixture) -> Result<(), Error> {
        self.app.close_role_fixture(fixture).await
    }

    fn answer(walked: Walked) -> ProbeAnswer {
        answer(walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_says_what_it_asks_for() {
        let document = serde_json::to_value(api::openapi()).expect("document");
        let found = endpoints(&document).expect("every endpoint is in the catalogue");
        assert!(found.len() > 60, "{}", found.len());
        let never = "00000000-0000-0000-0000-000000000000";
        for endpoint in &found {
            let (uri, ..) = harmless(endpoint, never);
            assert!(!uri.contains('{'), "{uri}");
        }
    }

    #[test]
    fn answers_are_judged() {
        let check = |is_permitted, status: u16, expect: Option<&str>| {
            let status = StatusCode::from_u16(status).expect("status");
            let said = judge(is_permitted, status);
            assert_eq!(said.is_some(), expect.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(expect.unwrap_or_default()));
        };
        check(true, 404, None);
        check(true, 200, None);
        check(true, 403, Some("permits"));
        check(false, 403, None);
        check(false, 404, Some("404 where the matrix says no"));
        check(false, 200, Some("200"));
        check(true, 401, Some("not let in"));
        // Nothing is known of who was sent away before being asked who it is.
        for (status, expect) in [(429, true), (503, true), (404, false), (500, false)] {
            assert_eq!(is_too_busy(StatusCode::from_u16(status).expect("status")), expect);
        }
    }
}
