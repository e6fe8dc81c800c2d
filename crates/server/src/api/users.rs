//! People of a tenant: list, invite, remove.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::INVITATION_FILE_BYTES_MAX;
use veritwin_app::model::{Invited, Invitee, UserView};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, File, Json, ListBody, Path};
use super::rights::ScopeBody;
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, invite))
        .routes(routes!(import))
        .routes(routes!(remove, change))
        .routes(routes!(underage))
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
    /// Where the role counts; left out, over the whole tenant.
    #[serde(default)]
    scope: ScopeBody,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
struct InvitedBody {
    /// Whom it is for.
    email: String,
    /// Whether it was mailed.
    mailed: bool,
    /// The one-time link to hand over when it was not mailed; shown once.
    link: Option<String>,
}

impl From<Invited> for InvitedBody {
    fn from(invited: Invited) -> Self {
        Self {
            email: invited.email.into_exposed(),
            mailed: invited.link.is_none(),
            link: invited.link.map(Secret::into_exposed),
        }
    }
}

/// Invites a person: by mail, or, when the platform sends none, with a one-time link. With a scope
/// the person starts with the role over that part of the tenant, and with nothing else.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = InviteBody,
    responses((status = 201, body = InvitedBody), (status = 400), (status = 403)))]
async fn invite(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<InviteBody>,
) -> Answer<impl IntoResponse> {
    let role = words::parsed_role(&body.role)?;
    let (email, name) = (Secret::new(body.email), body.name.map(Secret::new));
    let invitee = Invitee { email, name, role, scope: body.scope.parse()? };
    let invited = api.app.invite_user(&context, invitee, &api.facts.address).await?;
    Ok((StatusCode::CREATED, axum::Json(InvitedBody::from(invited))))
}

/// Invites everybody of a CSV file with the columns `email`, `role` and, optionally, `name` and
/// `scope`: all of them or, when a line is wrong, nobody. A scope is empty for the whole tenant, or
/// `workspace:NAME`, `group:NAME`, `twin:NAME` or `twin:NAME/STOREY-OR-ROOM`; an id may stand for a
/// name.
#[utoipa::path(post, path = "/v1/users/import", tag = "users",
    request_body(content = String, content_type = "text/csv"),
    responses((status = 201, body = ListBody<InvitedBody>), (status = 400), (status = 413)))]
async fn import(
    State(api): State<Api>,
    Caller(context): Caller,
    File(bytes): File,
) -> Answer<impl IntoResponse> {
    let (max, actual) = (INVITATION_FILE_BYTES_MAX, bytes.len());
    if actual > max {
        let name = "invitation_file_bytes_max";
        return Err(veritwin_domain::LimitExceeded { name, max, actual }.into());
    }
    let file = std::str::from_utf8(&bytes).map_err(|_| Problem::invalid("expected UTF-8 text"))?;
    let invited = api.app.invite_users(&context, file, &api.facts.address).await?;
    let items = invited.into_iter().map(InvitedBody::from).collect();
    Ok((StatusCode::CREATED, axum::Json(ListBody::whole(items))))
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

/// The certificate of an erased account.
#[derive(Serialize, ToSchema)]
struct ErasureBody {
    user: String,
    at: String,
    /// The keys that were destroyed; nothing they sealed can be read again.
    keys: Vec<String>,
}

/// Says that an account is a child's: it is destroyed at once, with its key.
#[utoipa::path(post, path = "/v1/users/{id}/underage", tag = "users",
    params(("id" = String, Path)),
    responses((status = 200, body = ErasureBody), (status = 403), (status = 404)))]
async fn underage(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ErasureBody>> {
    let done = api.app.erase_minor(&context, body::id(&id)?).await?;
    let (user, at) = (done.user.to_string(), body::time(done.at));
    Ok(axum::Json(ErasureBody { user, at, keys: done.keys }))
}
