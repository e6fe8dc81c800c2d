//! The promise board.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::PromiseView;

use super::auth::Caller;
use super::body::{self, ListBody, Path};
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(check))
}

/// What the last run found.
#[derive(Serialize, ToSchema)]
struct EvidenceBody {
    summary: String,
    /// Facts as name and value.
    details: Vec<(String, String)>,
    /// The leaf of the platform's log that holds the evidence's digest, or that of the day's list
    /// which names it; until it has one, the newest leaf of a run that found the same.
    ledger_index: Option<u64>,
    /// Whether that leaf is of an earlier run: it does not hold the digest of this one.
    is_leaf_earlier: bool,
}

/// A promise with its live state.
#[derive(Serialize, ToSchema)]
struct PromiseBody {
    /// `P01` to `P62`.
    id: String,
    text: String,
    /// The sentence of the published policy.
    source: String,
    feature: String,
    /// `proven`, `failing`, `stale`, `not_evidenced` or `not_applicable`.
    #[schema(schema_with = words::promise_state)]
    state: &'static str,
    evidence: Option<EvidenceBody>,
    checked_at: Option<String>,
    next_check_at: Option<String>,
    /// Why it is not proven, or what a proof cannot show.
    reason: Option<String>,
    /// Who must act when it is red.
    owner: String,
    /// What a check looks at: what it makes itself in organisations of nobody, the platform, or
    /// also what is kept of everybody.
    #[schema(schema_with = words::check_scope)]
    scope: &'static str,
    /// How often it is checked.
    interval_seconds: u64,
    /// A check that takes longer could not run.
    timeout_seconds: u64,
    /// A check that takes more processor time could not run.
    cpu_seconds_max: u64,
    /// A check that reads and writes more bytes could not run; a statement counts as 4 KiB.
    io_bytes_max: u64,
    /// Processor time of the newest run, in milliseconds, since the platform started.
    last_cpu_ms: Option<u64>,
    /// Bytes that it read and wrote.
    last_io_bytes: Option<u64>,
}

impl From<PromiseView> for PromiseBody {
    fn from(view: PromiseView) -> Self {
        let (details, ledger_index, is_leaf_earlier) =
            (view.facts, view.ledger_index, view.is_leaf_earlier);
        let evidence = |summary| EvidenceBody { summary, details, ledger_index, is_leaf_earlier };
        Self {
            id: view.id,
            text: view.text,
            source: view.source,
            feature: view.feature,
            state: view.state,
            evidence: view.summary.map(evidence),
            checked_at: view.checked_at.map(body::time),
            next_check_at: view.next_check_at.map(body::time),
            reason: view.reason,
            owner: view.owner,
            scope: view.scope,
            interval_seconds: view.interval.as_secs(),
            timeout_seconds: view.timeout.as_secs(),
            cpu_seconds_max: view.cpu_max.as_secs(),
            io_bytes_max: view.io_bytes_max,
            last_cpu_ms: view.spent.and_then(|(cpu, _)| u64::try_from(cpu.as_millis()).ok()),
            last_io_bytes: view.spent.map(|(_, bytes)| bytes),
        }
    }
}

/// Lists every promise with its live state.
#[utoipa::path(get, path = "/v1/promises", tag = "promises",
    responses((status = 200, body = ListBody<PromiseBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<PromiseBody>>> {
    let promises = api.app.list_promises(&context).await?;
    Ok(axum::Json(ListBody::whole(promises.into_iter().map(PromiseBody::from).collect())))
}

/// Runs a promise's check now. Of one that passed within a 96th of its interval, but a minute at
/// least, what it found is told again.
#[utoipa::path(post, path = "/v1/promises/{id}/check", tag = "promises",
    params(("id" = String, Path)),
    responses((status = 200, body = PromiseBody), (status = 404), (status = 409)))]
async fn check(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<PromiseBody>> {
    Ok(axum::Json(api.app.check_promise(&context, &id).await?.into()))
}
