//! The tenants a person belongs to: list, go to another one, take up an invitation. Each change
//! makes a new session token; the old one ends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::SignedIn;
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, ListBody, SecretJson, Secrets};
use super::session::{SessionBody, no_cookie, set_cookie};
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, switch)).routes(routes!(join)).routes(routes!(leave))
}

/// A tenant the person belongs to.
#[derive(Serialize, ToSchema)]
struct BelongingBody {
    id: String,
    name: String,
    #[schema(schema_with = words::roles)]
    roles: Vec<&'static str>,
    /// The session is in it.
    current: bool,
}

/// The tenants the person belongs to.
#[utoipa::path(get, path = "/v1/session/tenants", tag = "session",
    responses((status = 200, body = ListBody<BelongingBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<BelongingBody>>> {
    let found = api.app.belongings(&context).await?;
    let items = found.into_iter().map(|one| BelongingBody {
        id: one.id.to_string(),
        name: one.name,
        roles: one.roles.iter().map(|role| role.as_str()).collect(),
        current: one.current,
    });
    Ok(axum::Json(ListBody::whole(items.collect())))
}

/// Where to go, or what to leave.
#[derive(Deserialize, ToSchema)]
struct SwitchBody {
    tenant_id: String,
}

/// Goes to another tenant the person belongs to.
#[utoipa::path(post, path = "/v1/session/tenants", tag = "session", request_body = SwitchBody,
    responses((status = 200, body = SessionBody), (status = 404)))]
async fn switch(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<SwitchBody>,
) -> Answer<impl IntoResponse> {
    let tenant = body::id(&input.tenant_id)?;
    let SignedIn { token, session } = api.app.switch_tenant(&context, tenant).await?;
    Ok((set_cookie(&token), axum::Json(SessionBody::from(session))))
}

/// An invitation's token.
#[derive(Deserialize, ToSchema)]
struct JoinBody {
    /// What follows `#` in the link.
    token: String,
}

impl Secrets for JoinBody {
    const NAMES: &'static [&'static str] = &["token"];
}

/// Takes up an invitation to one's own address, and goes there.
#[utoipa::path(post, path = "/v1/session/join", tag = "session", request_body = JoinBody,
    responses((status = 200, body = SessionBody), (status = 404)))]
async fn join(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(input): SecretJson<JoinBody>,
) -> Answer<impl IntoResponse> {
    let token = Secret::new(input.token);
    let SignedIn { token, session } = api.app.join_tenant(&context, &token).await?;
    Ok((set_cookie(&token), axum::Json(SessionBody::from(session))))
}

/// Leaves the organisation of the session, which ends. An account that belongs to no other is
/// destroyed. The last owner and the last administrator stay.
#[utoipa::path(post, path = "/v1/session/leave", tag = "session", request_body = SwitchBody,
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn leave(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<SwitchBody>,
) -> Answer<impl IntoResponse> {
    api.app.leave_tenant(&context, body::id(&input.tenant_id)?).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()))
}
