//! The activity record.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::ActivityView;

use super::auth::Caller;
use super::body::{self, ListBody, PageQuery, Query};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Who did what.
#[derive(Serialize, ToSchema)]
struct ActivityBody {
    id: String,
    at: String,
    actor: String,
    action: String,
    resource: String,
    /// `done`, `denied` or `failed`.
    outcome: String,
    request_id: String,
}

/// Lists the activity record, newest first.
#[utoipa::path(get, path = "/v1/activity", tag = "activity", params(PageQuery),
    responses((status = 200, body = ListBody<ActivityBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<ActivityBody>>> {
    let page = api.app.list_activity(&context, &query.into()).await?;
    let convert = |view: ActivityView| ActivityBody {
        id: view.id.to_string(),
        at: body::time(view.at),
        actor: view.actor,
        action: view.action,
        resource: view.resource,
        outcome: view.outcome,
        request_id: view.request.to_string(),
    };
    Ok(axum::Json(ListBody::of(page, convert)))
}
