//! API keys: list, create (the secret is shown once), revoke.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::ApiKeyView;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, words};

/// How long a key works when nothing is said.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(90 * 86_400);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
struct ApiKeyBody {
    id: String,
    name: String,
    #[schema(schema_with = words::role)]
    role: &'static str,
    created_at: String,
    expires_at: String,
    last_used_at: Option<String>,
}

impl From<ApiKeyView> for ApiKeyBody {
    fn from(view: ApiKeyView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name,
            role: view.role.as_str(),
            created_at: body::time(view.created_at),
            expires_at: body::time(view.expires_at),
            last_used_at: view.last_used_at.map(body::time),
        }
    }
}

/// Lists API keys, never their secrets.
#[utoipa::path(get, path = "/v1/api-keys", tag = "api keys",
    responses((status = 200, body = ListBody<ApiKeyBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ApiKeyBody>>> {
    let keys = api.app.list_api_keys(&context).await?;
    Ok(axum::Json(ListBody::whole(keys.into_iter().map(ApiKeyBody::from).collect())))
}

/// A new key.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateApiKeyBody)]
struct CreateBody {
    /// What it is for.
    name: String,
    /// `administrator` or `operator`.
    #[schema(schema_with = words::role)]
    role: String,
    /// RFC 3339; 90 days from now when not given, at most a year.
    expires_at: Option<String>,
}

/// A key with its secret, shown once.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedApiKeyBody)]
struct CreatedBody {
    api_key: ApiKeyBody,
    /// Send it as `Authorization: Bearer ...`.
    secret: String,
}

/// Creates an API key.
#[utoipa::path(post, path = "/v1/api-keys", tag = "api keys", request_body = CreateBody,
    responses((status = 201, body = CreatedBody), (status = 400), (status = 403)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<CreateBody>,
) -> Answer<impl IntoResponse> {
    let role = words::parsed_role(&body.role)?;
    let expires_at = match &body.expires_at {
        Some(text) => body::parse_time("expires_at", text)?,
        None => context.at.saturating_add(LIFETIME_DEFAULT),
    };
    let (key, secret) = api.app.create_api_key(&context, &body.name, role, expires_at).await?;
    let created = CreatedBody { api_key: key.into(), secret: secret.into_exposed() };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Revokes an API key at once.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "api keys",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn revoke(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.revoke_api_key(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
