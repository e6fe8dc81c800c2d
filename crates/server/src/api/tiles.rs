//! The public side of a ledger log, in the C2SP tlog-tiles layout. Whoever holds the log's random
//! id may read checkpoints, with what witnesses said of them, and hash tiles; entry bundles and
//! sealed payloads are for those of the log's own tenant who may take the ledger away, and are not
//! there for anybody else.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::auth::{self, Caller};
use super::body::Path;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/ledger/{log}/checkpoint", get(checkpoint))
        .route("/ledger/{log}/log.vkey", get(vkey))
        .route("/ledger/{log}/tile/{*path}", get(tile))
        .route("/ledger/{log}/payload/{hash}", get(payload))
        .route("/ledger/{log}/published/{name}", get(published))
}

async fn checkpoint(State(api): State<Api>, Path(log): Path<String>) -> Answer<Response> {
    let text = api.app.public_checkpoint(&log).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn vkey(State(api): State<Api>, Path(log): Path<String>) -> Answer<Response> {
    let text = api.app.public_vkey(&log).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Checkpoints that were published, with cosignatures and time stamps.
async fn published(
    State(api): State<Api>,
    Path((log, name)): Path<(String, String)>,
) -> Answer<Response> {
    let bytes = api.app.public_published(&log, &name).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

async fn tile(
    State(api): State<Api>,
    Path((log, path)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let name = format!("tile/{path}");
    if path.starts_with("entries/") {
        return part(&api, request, &log, &name).await;
    }
    let bytes = api.app.public_tile(&log, &name).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

async fn payload(
    State(api): State<Api>,
    Path((log, hash)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    part(&api, request, &log, &format!("payload/{hash}")).await
}

/// What only the log's own tenant is given.
async fn part(api: &Api, request: Request, log: &str, name: &str) -> Answer<Response> {
    let (mut parts, _) = request.into_parts();
    let is_anybody = auth::bearer(&parts.headers).is_none()
        && auth::cookie(&parts.headers, auth::SESSION_COOKIE).is_none();
    if is_anybody {
        return Err(Problem::not_found());
    }
    let Caller(context) = Caller::from_request_parts(&mut parts, api).await?;
    let bytes = api.app.ledger_part(&context, log, name).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}
