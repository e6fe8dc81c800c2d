//! Pieces that several resources share: lists, ids in paths, times, values, entity tags.

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use veritwin_app::model::{Page, PageRequest};
use veritwin_domain::{LimitExceeded, Timestamp, Value};

use super::Problem;

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

/// JSON bodies with problem documents for mistakes: what, where, what would be right.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(crate) struct Json<T>(pub(crate) T);

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
    fn entity_tags() {
        let mut headers = HeaderMap::new();
        assert_eq!(if_match(&headers).ok(), Some(None));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"7\""));
        assert_eq!(if_match(&headers).ok(), Some(Some(7)));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"x\""));
        assert!(if_match(&headers).is_err());
    }
}
