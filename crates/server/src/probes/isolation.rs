//! P31: an administrator of one tenant asks every endpoint for another tenant's things and for
//! things that never were. Both get the same answer, byte for byte: 404. The things belong to two
//! tenants of nobody, so that a broken wall harms no customer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use veritwin_app::{App, Error, IsolationFixture, ProbeAnswer};
use veritwin_domain::DeviceId;

use super::Wiring;
use super::kinds::kind;
use super::walk::{Answered, Ask, Walk, ask};
use super::words;

const PROMISE: u8 = 31;
/// Ids in these paths are no tenant's: a promise's number, an index in one's own log, the
/// platform's plans, a person's own sessions, passkeys and requests, which programs do not reach at
/// all, and what only the platform's own staff may ask for.
const NOBODYS: [&str; 6] = [
    "/v1/promises/{id}",
    "/v1/ledger/entries/{index}",
    "/v1/plans/{id}",
    "/v1/account/",
    "/v1/requests/own/",
    "/v1/support-desk/break-glass/{id}",
];

/// Stands for the id that is asked for.
const ID: &str = "ID";

/// Ids by kind of thing.
type Things = BTreeMap<&'static str, String>;

pub(super) struct Isolation {
    app: App,
    router: Router,
}

/// One operation of the document with the kinds of its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Operation {
    method: Method,
    path: String,
    /// Parameter and kind, in the order of the path.
    kinds: Vec<(String, &'static str)>,
}

/// Operations that take ids, and those whose ids are nobody's.
#[derive(Debug, Default)]
struct Operations {
    owned: Vec<Operation>,
    nobodys: usize,
}

fn parameters(path: &str) -> Vec<String> {
    let opened = path.split('{').skip(1);
    opened.filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// Every operation of the OpenAPI document that takes an id in its path.
fn operations(document: &Value) -> Result<Operations, String> {
    let mut found = Operations::default();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let parameters = parameters(path);
        if parameters.is_empty() {
            continue;
        }
        for verb in item.as_object().into_iter().flatten().map(|(verb, _)| verb) {
            let Ok(method) = Method::from_bytes(verb.to_uppercase().as_bytes()) else { continue };
            if !["get", "put", "post", "delete", "patch"].contains(&verb.as_str()) {
                continue;
            }
            if NOBODYS.iter().any(|nobodys| path.starts_with(nobodys)) {
                found.nobodys += 1;
                continue;
            }
            let kinds = parameters
                .iter()
                .map(|name| kind(path, name).map(|kind| (name.clone(), kind)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| format!("{method} {path}: the probe has no id to ask with"))?;
            found.owned.push(Operation { method, path: path.clone(), kinds });
        }
    }
    Ok(found)
}

/// A body that the operation would take, if the thing were one's own.
fn sample(operation: &Operation) -> (&'static str, Vec<u8>) {
    const JSON: &str = "application/json";
    if matches!(operation.method, Method::GET | Method::DELETE) {
        return ("", Vec::new());
    }
    let path = operation.path.as_str();
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "invitations" => json!({"email": "probe@customer.invalid"}),
        "hosts" => json!({"hosts": []}),
        "domains" => json!({"domains": []}),
        "edge-keys" => json!({"public_key": "0".repeat(64)}),
        "rpc" => json!({"method": "probe", "params": {}, "timeout_ms": 100}),
        "withdraw" => json!({"purpose": "sms_alerts"}),
        "notes" | "close" => json!({"text": "probe"}),
        "steps" => json!({"step": "note", "text": "probe"}),
        "commands" => json!({"metric": "probe", "value": 1}),
        "grants" => json!({"areas": ["devices"], "hours": 1}),
        "source" => return ("application/octet-stream", b"ISO-10303-21;".to_vec()),
        "geometry" => return ("model/gltf-binary", smallest_glb()),
        _ if path.starts_with("/v1/collection-zones/") => json!({
            "name": "probe", "window_minutes": 60, "budget_milli_per_day": 400,
            "measures": [{
                "key": "probe", "epsilon_milli": 100, "kind": "amount", "step": 1.0,
                "steps_max": 1,
            }],
            "output_device_id": "00000000-0000-7000-8000-000000000000", "device_ids": [],
        }),
        _ if path.starts_with("/v1/certificates/") => json!({"chain": "", "private_key": ""}),
        _ if path.starts_with("/v1/rules/") => json!({
            "name": "probe", "severity": "low", "enabled": false,
            "condition": {"kind": "no_data", "after_seconds": 86_400},
        }),
        _ if path.starts_with("/v1/route-") => super::roles::of_routing(path),
        _ if path.starts_with("/v1/users/") => json!({"roles": ["viewer"]}),
        _ if path.starts_with("/v1/roles/") => json!({"name": "probe", "denies": ["device.list"]}),
        "revocation-list" => return ("application/pkix-crl", b"nothing".to_vec()),
        _ if path.starts_with("/v1/device-authorities/") => json!({"name": "probe"}),
        _ if path.starts_with("/v1/groups/") || path.starts_with("/v1/workspaces/") => {
            json!({"name": "probe"})
        }
        _ => json!({}),
    };
    (JSON, body.to_string().into_bytes())
}

/// A glTF 2.0 binary with nothing in it (Khronos, glTF 2.0, section 4.4).
fn smallest_glb() -> Vec<u8> {
    let mut chunk = br#"{"asset":{"version":"2.0"}}"#.to_vec();
    while !chunk.len().is_multiple_of(4) {
        chunk.push(b' ');
    }
    let length = u32::try_from(chunk.len()).unwrap_or(0);
    let mut glb = b"glTF".to_vec();
    for word in [2, 20 + length, length] {
        glb.extend_from_slice(&u32::to_le_bytes(word));
    }
    glb.extend_from_slice(b"JSON");
    glb.extend_from_slice(&chunk);
    glb
}

/// Headers that some operations need besides.
const HEADERS: &[(&str, &str)] =
    &[("x-source-sha256", "0000000000000000000000000000000000000000000000000000000000000000")];

fn fill(operation: &Operation, ids: &[&str]) -> String {
    let mut path = operation.path.clone();
    for ((name, _), id) in operation.kinds.iter().zip(ids) {
        path = path.replace(&format!("{{{name}}}"), id);
    }
    path
}

/// What is wrong with the answers about another tenant's thing and about none.
enum Verdict {
    Same,
    Differs(String),
    NotAsked(String),
}

fn judge(foreign: Answered, unknown: Answered) -> Verdict {
    let (foreign, unknown) = (foreign.without_varying(), unknown.without_varying());
    if foreign.status.is_success() {
        return Verdict::Differs(format!("answered {} with content", foreign.status.as_u16()));
    }
    if foreign.status != unknown.status {
        return Verdict::Differs(format!(
            "answered {}, and {} for a thing that never was",
            foreign.status.as_u16(),
            unknown.status.as_u16()
        ));
    }
    if foreign.headers != unknown.headers || foreign.body != unknown.body {
        return Verdict::Differs("the two answers differ in headers or body".to_owned());
    }
    if foreign.status != StatusCode::NOT_FOUND {
        return Verdict::NotAsked(format!(
            "the probe's request was refused with {} before an id mattered",
            foreign.status.as_u16()
        ));
    }
    Verdict::Same
}

/// Counts of a walk, and the first wall with a hole.
#[derive(Debug, Default)]
pub(super) struct Walked {
    operations: usize,
    pairs: usize,
    nobodys: usize,
    hole: Option<(String, String)>,
}

impl Isolation {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        let router = wiring.router.clone();
        Self { app: app.clone(), router }
    }

    /// What names a thing of this kind that never was.
    fn unknown_of(&self, kind: &str) -> String {
        let id = self.unknown();
        if kind == "host" { format!("{id}.invalid") } else { id }
    }

    fn unknown(&self) -> String {
        DeviceId::generate(self.app.clock().now(), self.app.rng()).to_string()
    }

    async fn ask_all(&self, token: &str, own: &Things, foreign: &Things) -> Result<Walked, String> {
        let document = words::openapi()?;
        let operations = operations(&document)?;
        let mut walked = Walked { nobodys: operations.nobodys, ..Walked::default() };
        self.own_things_answer(token, own).await?;
        for operation in &operations.owned {
            walked.operations += 1;
            for first_is_own in [false, true] {
                if first_is_own && operation.kinds.len() < 2 {
                    continue;
                }
                let (theirs, nobodys) = self.ids(operation, own, foreign, first_is_own)?;
                let theirs = self.request(operation, token, &theirs).await?;
                let nobodys = self.request(operation, token, &nobodys).await?;
                walked.pairs += 1;
                let place = format!("{} {}", operation.method, operation.path);
                match judge(theirs, nobodys) {
                    Verdict::Same => {}
                    Verdict::Differs(problem) => {
                        walked.hole = Some((place, problem));
                        return Ok(walked);
                    }
                    Verdict::NotAsked(problem) => return Err(format!("{place}: {problem}")),
                }
            }
        }
        self.walk_bodies(token, foreign, &mut walked).await?;
        Ok(walked)
    }

    /// Ids of another tenant's things, and of none, for each parameter.
    fn ids(
        &self,
        operation: &Operation,
        own: &Things,
        foreign: &Things,
        first_is_own: bool,
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let (mut theirs, mut nobodys) = (Vec::new(), Vec::new());
        for (position, (_, kind)) in operation.kinds.iter().enumerate() {
            let missing = || format!("the probe has no {kind}");
            if position == 0 && first_is_own {
                let id = own.get(kind).cloned().ok_or_else(missing)?;
                theirs.push(id.clone());
                nobodys.push(id);
            } else {
                theirs.push(foreign.get(kind).cloned().ok_or_else(missing)?);
                nobodys.push(self.unknown_of(kind));
            }
        }
        Ok((theirs, nobodys))
    }

    async fn request(
        &self,
        operation: &Operation,
        token: &str,
        ids: &[String],
    ) -> Result<Answered, String> {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let uri = fill(operation, &ids);
        let (content_type, body) = sample(operation);
        let question = Ask {
            method: operation.method.clone(),
            uri: &uri,
            token: Some(token),
            content_type,
            body,
            headers: HEADERS,
            ..Ask::get(&uri)
        };
        ask(&self.router, question).await
    }

    /// The same request for one's own thing is answered: the walk does reach things.
    async fn own_things_answer(&self, token: &str, own: &Things) -> Result<(), String> {
        for (collection, kind) in [("devices", "device"), ("twins", "twin"), ("rules", "rule")] {
            let id = own.get(kind).ok_or_else(|| format!("the probe has no {kind}"))?;
            let uri = format!("/v1/{collection}/{id}");
            let answer = ask(&self.router, Ask { token: Some(token), ..Ask::get(&uri) }).await?;
            if answer.status != StatusCode::OK {
                let status = answer.status.as_u16();
                return Err(format!("GET /v1/{collection}/{{id}}: {status} for an own {kind}"));
            }
        }
        Ok(())
    }

    /// Ids in bodies and queries: the answers are the same once the id asked for is taken out.
    async fn walk_bodies(
        &self,
        token: &str,
        foreign: &Things,
        walked: &mut Walked,
    ) -> Result<(), String> {
        let missing = |kind: &str| format!("the probe has no {kind}");
        let device = foreign.get("device").ok_or_else(|| missing("device"))?;
        let alert = foreign.get("alert").ok_or_else(|| missing("alert"))?;
        let twin = foreign.get("twin").ok_or_else(|| missing("twin"))?;
        let latest = ("/v1/telemetry/latest", json!({"device_ids": [ID]}));
        let series = json!([{"device_id": ID, "key": "value"}]);
        let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let query = json!({"series": series, "from": from, "to": to});
        let forms = [
            (latest, device),
            (("/v1/telemetry/latest", json!({"twin_id": ID})), twin),
            (("/v1/telemetry/query", query), device),
            (("/v1/telemetry/stats", json!({"series": series})), device),
            (("/v1/alerts/acknowledge", json!({"ids": [ID]})), alert),
            (("/v1/devices?twin_id=ID", Value::Null), twin),
            (("/v1/devices?ids=ID", Value::Null), device),
            (("/v1/alerts?filter=all&device_id=ID", Value::Null), device),
        ];
        for ((path, body), id) in forms {
            walked.operations += 1;
            walked.pairs += 1;
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let theirs = self.with_body(token, path, &body, id).await?;
            let nobodys = self.with_body(token, path, &body, &self.unknown()).await?;
            if theirs != nobodys {
                let problem = "the two answers differ".to_owned();
                walked.hole = Some((path.to_owned(), problem));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks with `ID` in path and body replaced; in the answer the id becomes `ID` again.
    async fn with_body(
        &self,
        token: &str,
        path: &str,
        body: &str,
        id: &str,
    ) -> Result<(StatusCode, String), String> {
        let uri = path.replace(ID, id);
        let question = Ask {
            method: if body.is_empty() { Method::GET } else { Method::POST },
            uri: &uri,
            token: Some(token),
            content_type: if body.is_empty() { "" } else { "application/json" },
            body: body.replace(ID, id).into_bytes(),
            ..Ask::get(&uri)
        };
        let answer = ask(&self.router, question).await?;
        if answer.status == StatusCode::BAD_REQUEST || answer.status.is_server_error() {
            let status = answer.status.as_u16();
            return Err(format!("{path}: the probe's request was refused with {status}"));
        }
        let text = String::from_utf8_lossy(&answer.body).replace(id, ID);
        Ok((answer.status, text))
    }
}

fn answer(walked: &Walked) -> ProbeAnswer {
    let facts = vec![
        ("endpoints asked".to_owned(), walked.operations.to_string()),
        ("pairs of answers compared".to_owned(), walked.pairs.to_string()),
        ("endpoints whose ids are nobody's".to_owned(), walked.nobodys.to_string()),
        ("asked as".to_owned(), "administrator of another tenant".to_owned()),
        ("compared".to_owned(), "status, headers, body; not the time it took".to_owned()),
    ];
    match &walked.hole {
        None => ProbeAnswer::Passed {
            summary: format!(
                "{} endpoints answer for another tenant's things as for things that never were.",
                walked.operations
            ),
            facts,
        },
        Some((place, problem)) => ProbeAnswer::Failed {
            summary: format!("An endpoint tells another tenant's thing from none: {problem}."),
            facts,
            place: place.clone(),
        },
    }
}

#[async_trait]
impl Walk for Isolation {
    type Fixture = IsolationFixture;
    type Walked = Walked;

    const VERSION: u32 = 3;

    fn promise(&self) -> u8 {
        PROMISE
    }

    async fn open(&self) -> Result<IsolationFixture, Error> {
        self.app.open_isolation_fixture().await
    }

    async fn walk(&self, fixture: &IsolationFixture) -> Result<Walked, String> {
        let token = fixture.api_key().expose();
        self.ask_all(token, &fixture.own, &fixture.foreign).await
    }

    async fn close(&self, fixture: IsolationFixture) -> Result<(), Error> {
        self.app.close_isolation_fixture(fixture).await
    }

    fn answer(walked: Walked) -> ProbeAnswer {
        answer(&walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use axum::http::HeaderMap;

    #[test]
    fn the_whole_document_can_be_walked() {
        let document = words::openapi().expect("document");
        let found = operations(&document).expect("every id has a kind");
        assert!(found.owned.len() > 20, "{}", found.owned.len());
        let binding = found.owned.iter().find(|one| one.path.contains("bindings"));
        let kinds: Vec<&str> =
            binding.expect("bindings").kinds.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds, ["twin", "device"]);
        assert_eq!(fill(binding.expect("bindings"), &["T", "D"]), "/v1/twins/T/bindings/D");
    }

    #[test]
    fn a_new_kind_of_id_is_said() {
        let document = json!({"paths": {"/v1/unheard-of/{id}": {"get": {}}}});
        let error = operations(&document).expect_err("no id for it");
        assert_eq!(error, "GET /v1/unheard-of/{id}: the probe has no id to ask with");
    }

    #[test]
    fn answers_are_judged() {
        let answered = |status: u16, body: &'static str| Answered {
            status: StatusCode::from_u16(status).expect("status"),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let check = |foreign, unknown, expect: &str| {
            let said = match judge(foreign, unknown) {
                Verdict::Same => "same".to_owned(),
                Verdict::Differs(problem) | Verdict::NotAsked(problem) => problem,
            };
            assert!(said.contains(expect), "{said}");
        };
        check(answered(404, "x"), answered(404, "x"), "same");
        check(answered(403, "x"), answered(404, "x"), "answered 403, and 404");
        check(answered(200, "x"), answered(404, "x"), "with content");
        check(answered(404, "x"), answered(404, "y"), "differ");
        check(answered(400, "x"), answered(400, "x"), "before an id mattered");
    }
}
