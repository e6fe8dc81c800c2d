//! `Idempotency-Key` on creating requests: the answer of the first time is kept and given again,
//! without what is shown once. Large uploads are excluded; they are recognised by their content.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use veritwin_domain::LimitExceeded;

use super::auth::Caller;
use super::{Api, BODY_BYTES_MAX, Problem};

const HEADER: &str = "idempotency-key";
/// Members of answers that are secrets.
const SHOWN_ONCE: [&str; 3] = ["secret", "token", "link"];

#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: String,
    body: String,
}

/// The requests that create something and answer in little space. Imports are recognised by their
/// content; questions and sign-ins create nothing to repeat.
const CREATING: [&str; 19] = [
    "/v1/users",
    "/v1/api-keys",
    "/v1/devices",
    "/v1/device-profiles",
    "/v1/rules",
    "/v1/holds",
    "/v1/incidents",
    "/v1/breaches",
    "/v1/evidence",
    "/v1/notices",
    "/v1/policies",
    "/v1/risks",
    "/v1/tasks",
    "/v1/stream-declarations",
    "/v1/stream-rules",
    "/v1/support-tickets",
    "/v1/requests",
    "/v1/requests/own",
    "/v1/tenant-end",
];

pub(super) async fn layer(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_creating = request.method() == Method::POST && CREATING.contains(&request.uri().path());
    if !is_creating || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    run(api, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn run(api: Api, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // Who cannot be told cannot have an earlier answer: the handler says what is missing.
    let Ok(Caller(context)) = Caller::from_request_parts(&mut parts, &api).await else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let key = parts.headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let route = format!("{} {}", parts.method, parts.uri);
    let bytes = read(body, BODY_BYTES_MAX).await?;
    let repeated = api.app.idempotent(&context, key, &route, &bytes)?;
    if let Some(kept) = repeated.answer(&context).await? {
        return Ok(restore(&kept));
    }
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let bytes = read(body, BODY_BYTES_MAX).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let kept = Kept {
        status: head.status.as_u16(),
        content_type: content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        body: without_secrets(&bytes),
    };
    // What was done is done: an answer that cannot be kept is still given.
    if let Ok(answer) = serde_json::to_vec(&kept)
        && let Err(error) = repeated.keep(&context, &answer).await
    {
        tracing::warn!(%error, "an answer was not kept for repetition");
    }
    Ok(Response::from_parts(head, Body::from(bytes)))
}

async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    to_bytes(body, max).await.map_err(|_| {
        let actual = LimitExceeded::MORE;
        LimitExceeded { name: "body_bytes_max", max, actual }.into()
    })
}

/// An answer whose secrets are null: who lost them makes new ones.
fn without_secrets(body: &[u8]) -> String {
    let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::new();
    };
    if let Some(members) = body.as_object_mut() {
        for name in SHOWN_ONCE {
            if let Some(secret) = members.get_mut(name) {
                *secret = serde_json::Value::Null;
            }
        }
    }
    body.to_string()
}

fn restore(kept: &[u8]) -> Response {
    let Ok(kept) = serde_json::from_slice::<Kept>(kept) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, kept.body).into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&kept.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}
