//! Notices of the service, the steps of beginning, and the history of what is in the workspace.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{GovernanceChangeView, NoticeContent, NoticeFacts, OnboardingStep};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::governed::{fields, governed};
use super::holds::MadeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_notices, publish))
        .routes(routes!(onboarding))
        .routes(routes!(history))
}

fields! {
    /// A notice of the service.
    NoticeFields of NoticeContent {
        #[schema(schema_with = words::notice_kind)]
        kind: String,
        title: String,
        text: String,
        /// From when it counts.
        from: Option<String>,
        until: Option<String>,
    }
}

/// Whose notice it is.
#[derive(Serialize, ToSchema)]
struct NoticeFactsBody {
    from_whom: String,
    /// How many organisations were told by mail.
    told: u64,
}

impl From<NoticeFacts> for NoticeFactsBody {
    fn from(facts: NoticeFacts) -> Self {
        Self { from_whom: facts.from_whom, told: facts.told }
    }
}

governed! {
    /// A notice.
    NoticeBody of NoticeContent as NoticeFields with NoticeFacts as NoticeFactsBody
}

/// Lists the notices of one's organisation and of those above it, newest first.
#[utoipa::path(get, path = "/v1/notices", tag = "governance",
    responses((status = 200, body = ListBody<NoticeBody>), (status = 403)))]
async fn list_notices(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<NoticeBody>>> {
    let all = api.app.list_notices(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(NoticeBody::from).collect())))
}

/// Writes a notice to one's own people and to every organisation below.
#[utoipa::path(post, path = "/v1/notices", tag = "governance", request_body = NoticeFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn publish(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<NoticeFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.publish_notice(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// A step of beginning with the service.
#[derive(Serialize, ToSchema)]
struct OnboardingStepBody {
    #[schema(schema_with = words::onboarding_step)]
    step: &'static str,
    is_done: bool,
}

impl From<OnboardingStep> for OnboardingStepBody {
    fn from(step: OnboardingStep) -> Self {
        Self { step: step.step, is_done: step.is_done }
    }
}

/// What of beginning with the service is done: seen from what there is.
#[utoipa::path(get, path = "/v1/onboarding", tag = "governance",
    responses((status = 200, body = ListBody<OnboardingStepBody>), (status = 403)))]
async fn onboarding(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<OnboardingStepBody>>> {
    let steps = api.app.onboarding(&context).await?;
    Ok(axum::Json(ListBody::whole(steps.into_iter().map(OnboardingStepBody::from).collect())))
}

/// A change of a thing of the workspace.
#[derive(Serialize, ToSchema)]
struct GovernanceChangeBody {
    action: String,
    /// Null for a program or the platform.
    by: Option<String>,
    at: String,
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
}

impl From<GovernanceChangeView> for GovernanceChangeBody {
    fn from(view: GovernanceChangeView) -> Self {
        Self {
            action: view.action,
            by: view.by,
            at: body::time(view.at),
            before: view.before,
            after: view.after,
        }
    }
}

/// The history of a policy, risk, control, task, certificate, piece of evidence or breach: the
/// newest 500 changes, newest first.
#[utoipa::path(get, path = "/v1/governance/{id}/history", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<GovernanceChangeBody>), (status = 404)))]
async fn history(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<GovernanceChangeBody>>> {
    let changes = api.app.governance_history(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(changes.into_iter().map(GovernanceChangeBody::from).collect())))
}
