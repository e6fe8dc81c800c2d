//! The public side of a ledger log, in the C2SP tlog-tiles layout. Whoever holds the log's random
//! id may read checkpoints and hash tiles; entry bundles need a right of their own.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::body::Path;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/ledger/{log}/checkpoint", get(checkpoint))
        .route("/ledger/{log}/log.vkey", get(vkey))
        .route("/ledger/{log}/tile/{*path}", get(tile))
}

async fn checkpoint(State(api): State<Api>, Path(log): Path<String>) -> Answer<Response> {
    let text = api.app.public_checkpoint(&log).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn vkey(State(api): State<Api>, Path(log): Path<String>) -> Answer<Response> {
    let text = api.app.public_vkey(&log).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn tile(
    State(api): State<Api>,
    Path((log, path)): Path<(String, String)>,
) -> Answer<Response> {
    if path.starts_with("entries/") {
        return Err(Problem::not_found());
    }
    let bytes = api.app.public_tile(&log, &format!("tile/{path}")).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}
