//! The archive's HTTP interface: make a log, append, read. Bodies are bounded before they are read,
//! and so is the number of appends whose bodies are in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Semaphore;
use veritwin_domain::LogId;
use veritwin_ledger::wire::{
    AboutBody, AppendQuery, AppendedBody, CreateLogBody, LogSummaryBody, PeriodBody, ProblemBody,
    decode_append,
};
use veritwin_ledger::{Archive, LedgerError};

use super::owners::{Peer, SharedOwners};
use super::shares::Shares;

/// Largest JSON body.
const JSON_BYTES_MAX: usize = 4096;
/// Most appends with their payloads in memory.
const APPENDS_MAX: usize = 32;
/// Longest time that one request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest leaf with its length.
const LEAF_BYTES_MAX: usize = 2 + u16::MAX as usize;

#[derive(Clone)]
struct Served {
    archive: Archive,
    owners: SharedOwners,
    appends: Arc<Semaphore>,
    /// Of those, for each party.
    shares: Arc<Shares>,
}

struct Problem(ProblemBody);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let problem = ProblemBody::of(&error);
        if problem.status() >= 500 {
            tracing::error!(%error, "ledger archive request failed");
        }
        Self(problem)
    }
}

/// Each request has to come with its [`Peer`].
pub(super) fn router(archive: Archive, owners: SharedOwners) -> Router {
    let shares = Arc::new(owners.shares(APPENDS_MAX));
    let appends = Arc::new(Semaphore::new(APPENDS_MAX));
    let served = Served { archive, owners, appends, shares };
    Router::new()
        .route("/v1/archive", get(about))
        .route("/v1/logs", post(create))
        .route("/v1/logs/{log}", get(summary))
        .route("/v1/logs/{log}/leaves", post(append))
        .route("/v1/logs/{log}/period", post(keep))
        .route("/v1/logs/{log}/files/{*name}", get(file))
        .fallback(|| async { Problem(ProblemBody::invalid("no such path")) })
        .layer(from_fn(in_time))
        .with_state(served)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem(ProblemBody::unavailable("the request took too long")).into_response(),
    }
}

fn log_id(text: &str) -> Result<LogId, Problem> {
    text.parse().map_err(|_| Problem(ProblemBody::invalid("the log id is not an id")))
}

async fn body(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => {
            let detail = format!("body of at most {bytes_max} bytes expected: {error}");
            Err(Problem(ProblemBody::invalid(detail)))
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => Problem(ProblemBody::unavailable("the answer has no form")).into_response(),
    }
}

async fn about(State(served): State<Served>, Extension(peer): Extension<Peer>) -> Response {
    let logs = served.owners.logs(&served.archive, peer) as u64;
    json(&AboutBody::of_this_process(env!("CARGO_PKG_VERSION"), logs))
}

async fn create(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = body(request.into_body(), JSON_BYTES_MAX).await?;
    let create: CreateLogBody =
        serde_json::from_slice(&bytes).map_err(|error| Problem(ProblemBody::invalid(error)))?;
    let create = create.try_into().map_err(|error| Problem(ProblemBody::invalid(error)))?;
    let summary = served.owners.create(&served.archive, create, peer).await?;
    Ok(json(&LogSummaryBody::from(summary)))
}

async fn summary(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path(log): Path<String>,
) -> Result<Response, Problem> {
    let log = log_id(&log)?;
    served.owners.check(log, peer)?;
    let summary = served.archive.summary(log)?;
    Ok(json(&LogSummaryBody::from(summary)))
}

/// Lengthens the time for which a log's leaves are kept; it is never shortened.
async fn keep(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path(log): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let log = log_id(&log)?;
    served.owners.check(log, peer)?;
    let bytes = body(request.into_body(), JSON_BYTES_MAX).await?;
    let PeriodBody { period_seconds } =
        serde_json::from_slice(&bytes).map_err(|error| Problem(ProblemBody::invalid(error)))?;
    let kept = served.archive.keep_for(log, Duration::from_secs(period_seconds)).await?;
    Ok(json(&LogSummaryBody::from(kept)))
}

async fn append(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    #[cfg(feature = "test-controls")] Extension(flaw): Extension<super::flaw::Flaw>,
    Path(log): Path<String>,
    Query(query): Query<AppendQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let log = log_id(&log)?;
    served.owners.check(log, peer)?;
    // The semaphores are never closed.
    let share = served.shares.of(peer);
    let _share = share.acquire().await;
    let _room = served.appends.acquire().await;
    let bytes_max = LEAF_BYTES_MAX + served.archive.limits().payload_bytes_max;
    let bytes = body(request.into_body(), bytes_max).await?;
    let append =
        decode_append(log, query, &bytes).map_err(|error| Problem(ProblemBody::invalid(error)))?;
    drop(bytes);
    #[cfg(feature = "test-controls")]
    let sent = append.clone();
    let appended = served.owners.append(&served.archive, append, peer).await;
    #[cfg(feature = "test-controls")]
    let appended = flaw.acknowledged(&served.archive, (&sent, appended));
    Ok(json(&AppendedBody::from(appended?)))
}

async fn file(
    State(served): State<Served>,
    Extension(peer): Extension<Peer>,
    Path((log, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let log = log_id(&log)?;
    served.owners.check(log, peer)?;
    let wanted = name.clone();
    let read = tokio::task::spawn_blocking(move || served.archive.read(log, &wanted)).await;
    let read = read.map_err(|error| LedgerError::Stopped(error.to_string()))??;
    let bytes = read.ok_or_else(|| Problem(ProblemBody::absent(&name)))?;
    let text = matches!(name.as_str(), "checkpoint" | "log.vkey");
    let kind = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}
