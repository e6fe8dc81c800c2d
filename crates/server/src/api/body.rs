//! Pieces that several resources share: lists, ids in paths, times, values, entity tags.

use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRef, FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use veritwin_app::model::{Page, PageRequest};
use veritwin_domain::{
    JsonFound, JsonOptions, JsonPart, LimitExceeded, Screening, Timestamp, Value,
};

use super::{Api, Problem};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListBody<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// Opaque; null on the last page.
    pub(crate) next_cursor: Option<String>,
}

impl<T> ListBody<T> {
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }

    pub(crate) fn of<V>(page: Page<V>, convert: impl FnMut(V) -> T) -> Self {
        Self { items: page.items.into_iter().map(convert).collect(), next_cursor: page.next_cursor }
    }
}

/// Which page is wanted.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub(crate) struct PageQuery {
    /// As given by the page before.
    pub(crate) cursor: Option<String>,
    /// Rows of a page, at most 500.
    pub(crate) limit: Option<usize>,
}

impl From<PageQuery> for PageRequest {
    fn from(query: PageQuery) -> Self {
        Self { cursor: query.cursor, limit: query.limit }
    }
}

/// JSON bodies with problem documents for mistakes: what, where, what would be right. Everything
/// that people and programs write in one is held here to the rules on what must not be kept.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// As [`Json`], for a body that has secrets among its members.
#[derive(Debug)]
pub(crate) struct SecretJson<T>(pub(crate) T);

/// A body whose type says which of its own members are secrets. Their texts are kept as digests or
/// sealed, are shown to nobody, and are not held to the rules on what must not be kept.
pub(crate) trait Secrets {
    /// The members' names.
    const NAMES: &'static [&'static str];
}

/// Takes a body; the texts of the members named in `secrets` are not looked at.
async fn take<S, T>(request: Request, state: &S, secrets: &[&str]) -> Result<T, Problem>
where
    S: Send + Sync,
    T: DeserializeOwned,
    Api: FromRef<S>,
{
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let File(bytes) = File::from_request(whole, state).await?;
    screen(&bytes, Api::from_ref(state).app.screening(), secrets)?;
    let request = Request::from_parts(parts, Body::from(bytes));
    let axum::Json(body) = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await?;
    Ok(body)
}

impl<S, T> FromRequest<S> for SecretJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Secrets,
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        take(request, state, T::NAMES).await.map(Self)
    }
}

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        take(request, state, &[]).await.map(Self)
    }
}

/// A body that may be left out, with its content type.
impl<S, T> OptionalFromRequest<S> for SecretJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Secrets,
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        take(request, state, T::NAMES).await.map(Self).map(Some)
    }
}

/// Refuses a body that holds what must not be kept, or that cannot be looked at to its end: the
/// parser steps over what it does not ask for. Other mistakes are left to it.
fn screen(body: &[u8], screening: Screening, secrets: &[&str]) -> Result<(), Problem> {
    let options = JsonOptions { integers: true, passed: secrets };
    let found = match std::str::from_utf8(body) {
        Ok(text) => screening.json(text, None, options).map_err(|limit| {
            let name = limit.name;
            Problem::invalid(limit.to_string()).of_limit(name)
        }),
        Err(error) => Err(Problem::invalid("not UTF-8: expected JSON in UTF-8")
            .at(format!("byte {}", error.valid_up_to()))),
    };
    match found {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(refused(found)),
        // With a rule left out on purpose the holes are open too: a check has to see them.
        Err(_) if !screening.is_whole() => Ok(()),
        Err(problem) => Err(problem),
    }
}

fn refused(found: JsonFound) -> Problem {
    let detail = match found.part {
        JsonPart::Value => found.rule.refusal("this value"),
        JsonPart::Name => found.rule.refusal(&format!("the name of {}", found.path)),
    };
    Problem::refused_data(detail).at(found.pointer)
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return too_large(None);
        }
        // The parser's text names field, line and column; values are cut out of it, since a body
        // may hold a password.
        Self::invalid(without_values(&rejection.body_text()))
    }
}

/// A body as it came: a file.
#[derive(Debug)]
pub(crate) struct File(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for File {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let told = request.headers().get(header::CONTENT_LENGTH);
        let told = told.and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(told),
            _ => Problem::invalid(rejection.body_text()),
        })
    }
}

/// The answer to a body over the bound, with its size where it was told.
fn too_large(told: Option<usize>) -> Problem {
    let (name, max) = ("body_bytes_max", super::BODY_BYTES_MAX);
    let actual = told.unwrap_or(LimitExceeded::MORE);
    LimitExceeded { name, max, actual }.into()
}

impl From<LimitExceeded> for Problem {
    fn from(limit: LimitExceeded) -> Self {
        veritwin_app::Error::Limit(limit).into()
    }
}

/// Cuts `string "..."` out of a parser's message.
fn without_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("string \"") {
        out.push_str(&rest[..start + 6]);
        rest = &rest[start + 8..];
        let end = rest.find("\", expected").or_else(|| rest.rfind('"'));
        rest = end.map_or("", |end| &rest[end + 1..]);
    }
    out.push_str(rest);
    out
}

/// Path parameters; what is not an id is the common 404.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(crate) struct Path<T>(pub(crate) T);

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::not_found()
    }
}

/// Query parameters.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(crate) struct Query<T>(pub(crate) T);

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

/// RFC 3339 in UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// Parses a time of a body or query.
pub(crate) fn parse_time(field: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(text).map_err(|error| Problem::invalid(error.to_string()).at(field))
}

/// A reading's value as JSON.
pub(crate) fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Double(number) => serde_json::Value::from(*number),
        Value::Integer(number) => serde_json::Value::from(*number),
        Value::Boolean(flag) => serde_json::Value::from(*flag),
        Value::Text(text) => serde_json::Value::from(&**text),
        Value::Json(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(&**text))
        }
    }
}

/// A JSON value as a reading's or attribute's value; null has none.
pub(crate) fn from_json(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::Bool(flag) => Some(Value::Boolean(*flag)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Value::Integer(integer)),
            None => number.as_f64().and_then(|double| Value::double(double).ok()),
        },
        serde_json::Value::String(text) => Some(Value::Text(text.as_str().into())),
        json => Some(Value::Json(json.to_string().into())),
    }
}

/// The entity tag of a version.
pub(crate) fn etag(version: i64) -> [(header::HeaderName, HeaderValue); 1] {
    let text = format!("\"{version}\"");
    let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"0\""));
    [(header::ETAG, value)]
}

/// The version in `If-Match`, when the header is there.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_start_matches("W/");
    if text == "*" {
        return Ok(None);
    }
    text.trim_matches('"')
        .parse()
        .map(Some)
        .map_err(|_| Problem::invalid("If-Match must be the ETag this resource was read with"))
}

/// An id out of text; anything else is the common 404.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

/// An id inside a body; anything else is invalid input at that field.
pub(crate) fn id_at<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("not an id: expected 32 hexadecimal digits in the 8-4-4-4-12 form")
            .at(field)
    })
}

/// As [`id_at`], where there may be none.
pub(crate) fn maybe_id_at<T: std::str::FromStr>(
    field: &str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    text.map(|text| id_at(field, text)).transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn parser_messages_lose_their_values() {
        let text =
            "Failed: password: invalid type: string \"hunter2 \\\" x\", expected u8 at line 1";
        let cut = without_values(text);
        assert!(!cut.contains("hunter2"), "{cut}");
        assert!(cut.contains("expected u8 at line 1"), "{cut}");
        assert_eq!(without_values("missing field `email`"), "missing field `email`");
    }

    #[test]
    fn what_must_not_be_kept_is_named_by_its_place() {
        let check = |body: &str, expect: Option<(&str, &str)>| {
            let problem = screen(body.as_bytes(), Screening::ALL, &["password", "code"]).err();
            let told = problem.map(|problem| serde_json::to_value(&problem).expect("JSON"));
            let Some(told) = told else { return assert_eq!(expect, None, "{body}") };
            let (position, part) = expect.expect(body);
            assert_eq!(told["status"], 422);
            assert_eq!(told["position"], position);
            let detail = told["detail"].as_str().expect("text");
            assert!(detail.contains(part), "{body}: {detail}");
            assert!(!detail.contains("4111") && !detail.contains("religion\""), "{detail}");
        };
        let card = "4111 1111 1111 1111";
        check(&format!(r#"{{"name":"Pump {card}"}}"#), Some(("/name", "card_number")));
        check(r#"{"a":[{"pan":4111111111111111}]}"#, Some(("/a/0/pan", "card_number")));
        check(r#"{"text":"ID card A123456789"}"#, Some(("/text", "national_id_tw")));
        check(
            r#"{"shared":{"floor":1,"religion":"x"}}"#,
            Some(("/shared", "the name of member 1, member 2 names data")),
        );
        check(&format!(r#"{{"password":"{card}","code":"{card}"}}"#), None);
        check(r#"{"from":"2026-01-01T00:00:00Z","at":1764399417000000}"#, None);
        check(
            &format!(r#"{{"server":{{"code":"{card}"}}}}"#),
            Some(("/server/code", "card_number")),
        );
        check(&format!(r#"{{"token":"{card}"}}"#), Some(("/token", "card_number")));
        check(r#"{"password":{"religion":1}}"#, Some(("/password", "member 1, member 1 names")));
        check("not JSON 4111 1111 1111 1111", None);
    }

    #[test]
    fn what_cannot_be_looked_at_is_refused() {
        let check = |body: &[u8], position: serde_json::Value, limit: serde_json::Value| {
            let problem = screen(body, Screening::ALL, &[]).expect_err("refused");
            let told = serde_json::to_value(&problem).expect("JSON");
            assert_eq!(told["status"], 400, "{told}");
            assert_eq!((&told["position"], &told["limit"]), (&position, &limit), "{told}");
            assert!(!told.to_string().contains("4111"), "{told}");
            assert!(screen(body, Screening::ALL.without_cards(), &[]).is_ok(), "{told}");
        };
        let null = serde_json::Value::Null;
        check(b"{\"zz\":\"\xff\",\"note\":\"4111111111111111\"}", "byte 7".into(), null.clone());
        check(b"\xfe", "byte 0".into(), null.clone());
        let deep = ["[".repeat(200), "]".repeat(200)].concat();
        let body = format!(r#"{{"zz":{deep},"note":"4111111111111111"}}"#);
        check(body.as_bytes(), null, "json_nesting_max".into());
    }

    #[test]
    fn a_megabyte_of_names_and_values_is_read_in_one_pass() {
        // By the name for every value this would be tens of thousands of megabytes.
        let half = super::super::BODY_BYTES_MAX / 2 - 64;
        for (name, value) in
            [("\\n", "1,"), ("imei.", "\"12345678901234\","), ("my_number.", "123456789,")]
        {
            let (name, values) = (name.repeat(half / name.len()), value.repeat(half / value.len()));
            let body = format!(r#"{{"email":"a@b.cd","zz":{{"{name}":[{values}1]}}}}"#);
            assert!(screen(body.as_bytes(), Screening::ALL, &["password"]).is_ok());
        }
    }

    /// The names of members that bodies may have, out of the document's schemas.
    fn body_names(document: &serde_json::Value) -> BTreeSet<String> {
        fn walk<'d>(
            document: &'d serde_json::Value,
            part: &'d serde_json::Value,
            seen: &mut BTreeSet<&'d str>,
            names: &mut BTreeSet<String>,
        ) {
            for (name, value) in part.as_object().into_iter().flatten() {
                if let ("$ref", Some(path)) = (name.as_str(), value.as_str()) {
                    if seen.insert(path) {
                        let target = document.pointer(path.trim_start_matches('#'));
                        walk(document, target.expect(path), seen, names);
                    }
                } else if name == "properties" {
                    names.extend(
                        value.as_object().into_iter().flatten().map(|(name, _)| name.clone()),
                    );
                }
                walk(document, value, seen, names);
            }
            for value in part.as_array().into_iter().flatten() {
                walk(document, value, seen, names);
            }
        }
        let (mut seen, mut names) = (BTreeSet::new(), BTreeSet::new());
        let paths = document["paths"].as_object().expect("paths").values();
        for operation in paths.flat_map(|item| item.as_object().expect("operations").values()) {
            walk(document, &operation["requestBody"], &mut seen, &mut names);
        }
        names
    }

    #[test]
    fn no_member_of_a_body_is_on_the_deny_list() {
        let document = serde_json::to_value(crate::api::openapi()).expect("document");
        let names = body_names(&document);
        assert!(names.len() > 80, "{names:?}");
        for name in names {
            assert_eq!(Screening::ALL.key(&name), None, "{name}");
        }
    }

    #[test]
    fn entity_tags() {
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers).ok(), Some(None));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"7\""));
        assert_eq!(if_match(&headers).ok(), Some(Some(7)));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"x\""));
        assert!(if_match(&headers).is_err());
    }
}
