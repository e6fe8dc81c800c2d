//! People of a tenant: list, invite, remove; and the tenant itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::UserView;
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, invite))
        .routes(routes!(remove, change))
        .routes(routes!(tenants))
}

/// An account as a member of the tenant.
#[derive(Serialize, ToSchema)]
struct UserBody {
    id: String,
    email: String,
    name: String,
    #[schema(schema_with = words::roles)]
    roles: Vec<&'static str>,
    created_at: String,
}

impl From<UserView> for UserBody {
    fn from(view: UserView) -> Self {
        Self {
            id: view.id.to_string(),
            email: view.email.into_exposed(),
            name: view.name.into_exposed(),
            roles: view.roles.iter().map(|role| role.as_str()).collect(),
            created_at: body::time(view.created_at),
        }
    }
}

/// Lists the people of the tenant.
#[utoipa::path(get, path = "/v1/users", tag = "users",
    responses((status = 200, body = ListBody<UserBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<UserBody>>> {
    let users = api.app.list_users(&context).await?;
    Ok(axum::Json(ListBody::whole(users.into_iter().map(UserBody::from).collect())))
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
struct InviteBody {
    email: String,
    /// Optional.
    name: Option<String>,
    /// A built-in role.
    #[schema(schema_with = words::role)]
    role: String,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
struct InvitedBody {
    /// The one-time link to hand over; shown once.
    link: String,
}

/// Invites a person: makes a one-time link.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = InviteBody,
    responses((status = 201, body = InvitedBody), (status = 400), (status = 403)))]
async fn invite(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<InviteBody>,
) -> Answer<impl IntoResponse> {
    let role = words::parsed_role(&body.role)?;
    let token = api
        .app
        .invite_user(
            &context,
            &Secret::new(body.email),
            &Secret::new(body.name.unwrap_or_default()),
            role,
        )
        .await?;
    let link = api.facts.link(&token);
    Ok((StatusCode::CREATED, axum::Json(InvitedBody { link })))
}

/// Removes a person from the tenant; their sessions end at once.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 204), (status = 404), (status = 409)))]
async fn remove(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.remove_user(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A person's roles.
#[derive(Deserialize, ToSchema)]
struct ChangeUserBody {
    /// All of them, over the whole tenant; at least one.
    #[schema(schema_with = words::roles)]
    roles: Vec<String>,
}

/// Changes a person's roles over the whole tenant. Nobody changes their own; only owners make and
/// unmake owners; the last owner and the last administrator stay.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", request_body = ChangeUserBody,
    params(("id" = String, Path)),
    responses((status = 200, body = UserBody), (status = 403), (status = 404), (status = 409)))]
async fn change(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<ChangeUserBody>,
) -> Answer<axum::Json<UserBody>> {
    let roles =
        input.roles.iter().map(|role| words::parsed_role(role)).collect::<Result<Vec<_>, _>>()?;
    let user = api.app.update_user(&context, body::id(&id)?, &roles).await?;
    Ok(axum::Json(user.into()))
}

/// A tenant.
#[derive(Serialize, ToSchema)]
struct TenantBody {
    id: String,
    name: String,
    /// Whether readings are sealed into the ledger archive.
    archive_subscribed: bool,
    created_at: String,
}

/// Lists the tenants of this account: its own.
#[utoipa::path(get, path = "/v1/tenants", tag = "users",
    responses((status = 200, body = ListBody<TenantBody>)))]
async fn tenants(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<TenantBody>>> {
    let tenant = api.app.own_tenant(&context).await?;
    Ok(axum::Json(ListBody::whole(vec![TenantBody {
        id: tenant.id.to_string(),
        name: tenant.name,
        archive_subscribed: tenant.archive_subscribed,
        created_at: body::time(tenant.created_at),
    }])))
}
