//! The end of an organisation, and what ends when.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{KeptRow, TenantEndView};

use super::auth::Caller;
use super::body::{self, Json, ListBody};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read_end, ask, take_back))
        .routes(routes!(approve))
        .routes(routes!(schedule))
}

/// Why an organisation is to end.
#[derive(Deserialize, ToSchema)]
struct TenantEndRequestBody {
    /// In words, at most 1,000 characters; it stands in the certificate.
    #[serde(default)]
    reason: String,
}

/// The end of an organisation.
#[derive(Serialize, ToSchema)]
struct TenantEndBody {
    /// `asked`, `decided`, `destroying` or `done`.
    state: &'static str,
    requested_by: String,
    requested_at: String,
    /// Whoever asks now asked for it, and so cannot agree to it.
    is_own: bool,
    reason: String,
    /// There was nobody else who could agree: it is decided by itself after a wait.
    is_sole: bool,
    approved_by: Option<String>,
    /// When it is decided by itself, or lapses.
    decided_by: Option<String>,
    /// When everything goes.
    ends_at: Option<String>,
    /// What it waits for although its time has come: `hold` or `tenants_below`.
    waits_for: Option<String>,
    /// The destruction that carries it out.
    destruction_id: Option<String>,
}

impl From<TenantEndView> for TenantEndBody {
    fn from(view: TenantEndView) -> Self {
        Self {
            state: view.state,
            requested_by: view.requested_by,
            requested_at: body::time(view.requested_at),
            is_own: view.is_own,
            reason: view.reason,
            is_sole: view.is_sole,
            approved_by: view.approved_by,
            decided_by: view.decided_by.map(body::time),
            ends_at: view.ends_at.map(body::time),
            waits_for: view.waits_for,
            destruction_id: view.destruction.map(|id| id.to_string()),
        }
    }
}

/// Whether one's own organisation ends.
#[derive(Serialize, ToSchema)]
struct TenantEndAnswerBody {
    /// Null: nobody asked for it.
    end: Option<TenantEndBody>,
}

/// How long one kind of data is kept.
#[derive(Serialize, ToSchema)]
struct KeptBody {
    /// What it is: a name out of a closed list.
    class: &'static str,
    /// Which part of it, of a rule of the organisation's own.
    about: Option<String>,
    /// For so many seconds; null: as long as the organisation is there.
    seconds: Option<u64>,
    /// Counted from what.
    since: &'static str,
    /// What decides: `plan`, `rule` or `fixed`.
    source: &'static str,
    /// Where it is changed in the pages.
    link: Option<&'static str>,
    /// Until then it is kept as before, because a time became shorter.
    waits_until: Option<String>,
    /// A hold keeps some of it beyond its time now.
    is_held: bool,
}

impl From<KeptRow> for KeptBody {
    fn from(row: KeptRow) -> Self {
        Self {
            class: row.class,
            about: row.about,
            seconds: row.seconds,
            since: row.since,
            source: row.source.as_str(),
            link: row.link,
            waits_until: row.waits_until.map(body::time),
            is_held: row.is_held,
        }
    }
}

/// Whether one's own organisation ends, and when.
#[utoipa::path(get, path = "/v1/tenant-end", tag = "tenants",
    responses((status = 200, body = TenantEndAnswerBody), (status = 403)))]
async fn read_end(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<TenantEndAnswerBody>> {
    let end = api.app.tenant_end(&context).await?.map(TenantEndBody::from);
    Ok(axum::Json(TenantEndAnswerBody { end }))
}

/// Asks for the end of one's own organisation; everybody in it is told. Somebody else agrees within
/// 7 days; where nobody else could, it is decided after 72 hours. Then everything is there for 30
/// days and the end can be taken back.
#[utoipa::path(post, path = "/v1/tenant-end", tag = "tenants",
    request_body = TenantEndRequestBody,
    responses((status = 201, body = TenantEndBody), (status = 400), (status = 403),
        (status = 409)))]
async fn ask(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<TenantEndRequestBody>,
) -> Answer<impl IntoResponse> {
    let view = api.app.ask_tenant_end(&context, &input.reason).await?;
    Ok((StatusCode::CREATED, axum::Json(TenantEndBody::from(view))))
}

/// Agrees to the end that somebody else asked for.
#[utoipa::path(post, path = "/v1/tenant-end/approve", tag = "tenants",
    responses((status = 200, body = TenantEndBody), (status = 403), (status = 404),
        (status = 409)))]
async fn approve(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<TenantEndBody>> {
    Ok(axum::Json(api.app.approve_tenant_end(&context).await?.into()))
}

/// Takes the end back, as long as nothing is being destroyed.
#[utoipa::path(delete, path = "/v1/tenant-end", tag = "tenants",
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn take_back(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.take_back_tenant_end(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What ends when: how long each kind of data of the organisation is kept, and what decides.
#[utoipa::path(get, path = "/v1/retention/schedule", tag = "destructions",
    responses((status = 200, body = ListBody<KeptBody>), (status = 403)))]
async fn schedule(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<KeptBody>>> {
    let rows = api.app.what_ends_when(&context).await?;
    Ok(axum::Json(ListBody::whole(rows.into_iter().map(KeptBody::from).collect())))
}
