//! Risks with their field of five by five, and tasks.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{HeatSquare, RiskContent, RiskFacts, TaskContent};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::governed::{NoFactsBody, fields, governed};
use super::holds::MadeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_risks, create_risk))
        .routes(routes!(heat_map))
        .routes(routes!(replace_risk))
        .routes(routes!(accept))
        .routes(routes!(close_risk))
        .routes(routes!(list_tasks, create_task))
        .routes(routes!(replace_task))
        .routes(routes!(mark_task))
}

fields! {
    /// A risk.
    RiskFields of RiskContent {
        title: String,
        text: String,
        /// Who answers for it.
        owner: String,
        /// 1 to 5, without anything done.
        likelihood: u64,
        /// 1 to 5, without anything done.
        impact: u64,
        /// 1 to 5, with what is done.
        residual_likelihood: u64,
        /// 1 to 5, with what is done.
        residual_impact: u64,
        #[schema(schema_with = words::treatment)]
        treatment: String,
        /// Ids of the controls that help.
        controls: Vec<String>,
        review_at: Option<String>,
    }
}

/// How a risk stands.
#[derive(Serialize, ToSchema)]
struct RiskFactsBody {
    accepted_by: Option<String>,
    accepted_until: Option<String>,
    reason: Option<String>,
}

impl From<RiskFacts> for RiskFactsBody {
    fn from(facts: RiskFacts) -> Self {
        Self {
            accepted_by: facts.accepted_by,
            accepted_until: facts.accepted_until.map(body::time),
            reason: facts.reason,
        }
    }
}

governed! {
    /// A risk. Its state is `open`, `accepted` or `closed`.
    RiskBody of RiskContent as RiskFields with RiskFacts as RiskFactsBody
}

fields! {
    /// Something that somebody has to do.
    TaskFields of TaskContent {
        title: String,
        text: String,
        /// Who.
        owner: String,
        due_at: Option<String>,
        /// The id of the thing it is about.
        about: Option<String>,
    }
}

governed! {
    /// A task. Its state is `open` or `done`.
    TaskBody of TaskContent as TaskFields with () as NoFactsBody
}

/// A square of the field.
#[derive(Serialize, ToSchema)]
struct HeatSquareBody {
    likelihood: u64,
    impact: u64,
    /// Ids of the risks that stand here without anything done.
    inherent: Vec<String>,
    /// Ids of the risks that stand here with what is done.
    residual: Vec<String>,
}

impl From<HeatSquare> for HeatSquareBody {
    fn from(square: HeatSquare) -> Self {
        Self {
            likelihood: square.likelihood,
            impact: square.impact,
            inherent: square.inherent.iter().map(ToString::to_string).collect(),
            residual: square.residual.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Lists the risks, newest first.
#[utoipa::path(get, path = "/v1/risks", tag = "governance", params(PageQuery),
    responses((status = 200, body = ListBody<RiskBody>), (status = 400), (status = 403)))]
async fn list_risks(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<RiskBody>>> {
    let listed = api.app.list_risks(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, RiskBody::from)))
}

/// Writes a new risk.
#[utoipa::path(post, path = "/v1/risks", tag = "governance", request_body = RiskFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn create_risk(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<RiskFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.create_risk(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Where the risks that are not closed stand: 25 squares.
#[utoipa::path(get, path = "/v1/risks/heat-map", tag = "governance",
    responses((status = 200, body = ListBody<HeatSquareBody>), (status = 403)))]
async fn heat_map(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<HeatSquareBody>>> {
    let squares = api.app.risk_heat_map(&context).await?;
    Ok(axum::Json(ListBody::whole(squares.into_iter().map(HeatSquareBody::from).collect())))
}

/// Changes a risk; an acceptance of before counts no more.
#[utoipa::path(put, path = "/v1/risks/{id}", tag = "governance", params(("id" = String, Path)),
    request_body = RiskFields,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn replace_risk(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<RiskFields>,
) -> Answer<StatusCode> {
    let version = body::if_match(&headers)?;
    api.app.replace_risk(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An acceptance of a risk.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct AcceptanceBody {
    /// When it ends, within 366 days.
    until: Option<String>,
    /// Why it is accepted.
    reason: String,
}

/// Accepts a risk for a time; never by whoever wrote it last.
#[utoipa::path(post, path = "/v1/risks/{id}/accept", tag = "governance",
    params(("id" = String, Path)), request_body = AcceptanceBody,
    responses((status = 204), (status = 400), (status = 403), (status = 404), (status = 409)))]
async fn accept(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<AcceptanceBody>,
) -> Answer<StatusCode> {
    let until = body.until.map(|text| body::parse_time("until", &text)).transpose()?;
    api.app.accept_risk(&context, body::id(&id)?, until, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes a risk that is none any more.
#[utoipa::path(post, path = "/v1/risks/{id}/close", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404), (status = 409)))]
async fn close_risk(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.close_risk(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the tasks, newest first.
#[utoipa::path(get, path = "/v1/tasks", tag = "governance", params(PageQuery),
    responses((status = 200, body = ListBody<TaskBody>), (status = 400), (status = 403)))]
async fn list_tasks(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<TaskBody>>> {
    let listed = api.app.list_tasks(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, TaskBody::from)))
}

/// Writes a new task.
#[utoipa::path(post, path = "/v1/tasks", tag = "governance", request_body = TaskFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn create_task(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<TaskFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.create_task(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Changes a task.
#[utoipa::path(put, path = "/v1/tasks/{id}", tag = "governance", params(("id" = String, Path)),
    request_body = TaskFields,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn replace_task(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<TaskFields>,
) -> Answer<StatusCode> {
    let version = body::if_match(&headers)?;
    api.app.replace_task(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a task is done.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct DoneBody {
    done: bool,
}

/// Says that a task is done, or that it is not after all.
#[utoipa::path(post, path = "/v1/tasks/{id}/done", tag = "governance",
    params(("id" = String, Path)), request_body = DoneBody,
    responses((status = 204), (status = 404)))]
async fn mark_task(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<DoneBody>,
) -> Answer<StatusCode> {
    api.app.mark_task(&context, body::id(&id)?, body.done).await?;
    Ok(StatusCode::NO_CONTENT)
}
