//! API keys: list, create (the secret is shown once), revoke.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ApiKeyView, NewApiKey};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::rights::{ScopeBody, right, role_fields};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
struct ApiKeyBody {
    id: String,
    name: String,
    /// A built-in role; null when it has one of the tenant's own.
    role: Option<&'static str>,
    custom_role_id: Option<String>,
    scope: ScopeBody,
    created_at: String,
    expires_at: String,
    last_used_at: Option<String>,
    /// From what kind of network: `loopback`, `private` or `public`.
    last_used_from: Option<&'static str>,
    /// The person who made it; their rights bound the key's.
    maker_id: Option<String>,
    /// The networks it works from; empty for all.
    addresses: Vec<String>,
}

impl From<ApiKeyView> for ApiKeyBody {
    fn from(view: ApiKeyView) -> Self {
        let (role, custom_role_id) = role_fields(view.right.role);
        Self {
            id: view.id.to_string(),
            name: view.name,
            role,
            custom_role_id,
            scope: (&view.right.scope).into(),
            created_at: body::time(view.created_at),
            expires_at: body::time(view.expires_at),
            last_used_at: view.last_used_at.map(body::time),
            last_used_from: view.last_used_from,
            maker_id: view.maker.map(|id| id.to_string()),
            addresses: view.addresses,
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
    /// A built-in role; or give `custom_role_id`.
    role: Option<String>,
    /// A role of the tenant's own.
    custom_role_id: Option<String>,
    /// Where it counts; the whole tenant when not given.
    #[serde(default)]
    scope: ScopeBody,
    /// Addresses and networks it works from, such as `192.0.2.0/24`; all when not given.
    #[serde(default)]
    addresses: Vec<String>,
    /// RFC 3339, at most a year. When not given 90 days from now, or the end of the key that makes
    /// this one if that is earlier.
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

/// Creates an API key. It may do no more than its maker.
#[utoipa::path(post, path = "/v1/api-keys", tag = "api keys", request_body = CreateBody,
    responses((status = 201, body = CreatedBody), (status = 400), (status = 403)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<CreateBody>,
) -> Answer<impl IntoResponse> {
    let right = right(body.role.as_deref(), body.custom_role_id.as_deref(), body.scope)?;
    let expires_at = body.expires_at.as_deref();
    let expires_at = expires_at.map(|text| body::parse_time("expires_at", text)).transpose()?;
    let new = NewApiKey { name: body.name, right, expires_at, addresses: body.addresses };
    let (key, secret) = api.app.create_api_key(&context, new).await?;
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
