//! Holds on activity records: asked for by one person, approved by another.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{HoldInput, HoldScope, HoldView};

use super::activity::{any_id, parsed_id};
use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, request))
        .routes(routes!(approve))
        .routes(routes!(release))
}

/// Which records are held; every part that is given has to fit, and one of actor, action, both
/// times or records has to be there.
#[derive(Serialize, Deserialize, ToSchema)]
struct HoldScopeBody {
    /// The id of an account, API key, device or support grant.
    actor: Option<String>,
    /// What the action begins with, such as `device.`.
    action: Option<String>,
    /// From this time on.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// Ids of single records, at most 200.
    #[serde(default)]
    records: Vec<String>,
}

impl HoldScopeBody {
    fn parse(self) -> Result<HoldScope, Problem> {
        let time = |field: &str, text: Option<String>| {
            text.map(|text| body::parse_time(field, &text)).transpose()
        };
        let record = |text: &String| body::id_at("scope.records", text);
        Ok(HoldScope {
            actor: self.actor.map(|text| parsed_id("scope.actor", &text)).transpose()?,
            action: self.action,
            from: time("scope.from", self.from)?,
            to: time("scope.to", self.to)?,
            records: self.records.iter().map(record).collect::<Result<_, _>>()?,
        })
    }
}

/// A hold to ask for.
#[derive(Deserialize, ToSchema)]
struct HoldRequestBody {
    scope: HoldScopeBody,
    #[schema(schema_with = words::hold_reason)]
    reason: String,
    /// Why, in words.
    note: String,
    /// Its end, at most two years from now.
    expires_at: String,
}

/// A hold.
#[derive(Serialize, ToSchema)]
struct HoldBody {
    id: String,
    scope: HoldScopeBody,
    #[schema(schema_with = words::hold_reason)]
    reason: &'static str,
    note: String,
    #[schema(schema_with = words::hold_state)]
    state: &'static str,
    requested_by: String,
    requested_at: String,
    /// Whoever asks now asked for it, and so cannot approve it.
    is_own: bool,
    approved_by: Option<String>,
    approved_at: Option<String>,
    expires_at: String,
    /// Who asked to end it before its time: a second person confirms.
    release_asked_by: Option<String>,
    /// Whoever asks now asked for that, and so cannot confirm it.
    is_own_release: bool,
    /// It keeps records of whoever asks now, or of somebody in their line, so that they cannot end
    /// it.
    is_held: bool,
    released_at: Option<String>,
}

impl From<HoldView> for HoldBody {
    fn from(view: HoldView) -> Self {
        Self {
            id: view.id.to_string(),
            scope: HoldScopeBody {
                actor: view.scope.actor.map(any_id),
                action: view.scope.action,
                from: view.scope.from.map(body::time),
                to: view.scope.to.map(body::time),
                records: view.scope.records.iter().map(ToString::to_string).collect(),
            },
            reason: view.reason,
            note: view.note,
            state: view.state,
            requested_by: view.requested_by,
            requested_at: body::time(view.requested_at),
            is_own: view.is_own,
            approved_by: view.approved_by,
            approved_at: view.approved_at.map(body::time),
            expires_at: body::time(view.expires_at),
            release_asked_by: view.release_asked_by,
            is_own_release: view.is_own_release,
            is_held: view.is_held,
            released_at: view.released_at.map(body::time),
        }
    }
}

/// The id of what was made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeBody {
    pub(super) id: String,
}

/// Lists the holds, newest first.
#[utoipa::path(get, path = "/v1/holds", tag = "holds",
    responses((status = 200, body = ListBody<HoldBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<HoldBody>>> {
    let holds = api.app.list_holds(&context).await?;
    Ok(axum::Json(ListBody::whole(holds.into_iter().map(HoldBody::from).collect())))
}

/// Asks for a hold. It keeps nothing until somebody else approves it.
#[utoipa::path(post, path = "/v1/holds", tag = "holds", request_body = HoldRequestBody,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403)))]
async fn request(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<HoldRequestBody>,
) -> Answer<impl IntoResponse> {
    let input = HoldInput {
        scope: body.scope.parse()?,
        reason: body.reason,
        note: body.note,
        expires_at: body::parse_time("expires_at", &body.expires_at)?,
    };
    let id = api.app.request_hold(&context, input).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Approves a hold that somebody else asked for.
#[utoipa::path(post, path = "/v1/holds/{id}/approve", tag = "holds",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn approve(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.approve_hold(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a hold before its time. The first person asks (202), a second one confirms within seven
/// days (204); neither is whose records it keeps. What is past its time goes with the next purge. A
/// hold that nobody approved is taken back at once.
#[utoipa::path(delete, path = "/v1/holds/{id}", tag = "holds", params(("id" = String, Path)),
    responses((status = 202), (status = 204), (status = 403), (status = 404), (status = 409)))]
async fn release(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let is_over = api.app.release_hold(&context, body::id(&id)?).await?;
    Ok(if is_over { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}
