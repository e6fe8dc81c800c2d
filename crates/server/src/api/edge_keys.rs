//! Keys of store-and-forward edges. Only public keys come in and go out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{EdgeKeyInput, EdgeKeyView};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(edge_keys, register_edge_key))
        .routes(routes!(revoke_edge_key))
}

/// Counters from the first to the last.
#[derive(Serialize, ToSchema)]
struct EdgeRangeBody {
    first: u64,
    last: u64,
}

/// A key that an edge signs its batches with, and what was submitted under it.
#[derive(Serialize, ToSchema)]
struct EdgeKeyBody {
    id: String,
    /// What people call it; may be empty.
    name: String,
    /// The Ed25519 public key, in hexadecimal.
    public_key: String,
    /// SHA-256 of the public key, in hexadecimal.
    fingerprint: String,
    created_at: String,
    /// Since when nothing is taken that is signed with it.
    revoked_at: Option<String>,
    /// Counter of the last batch; 0 without one.
    last_counter: u64,
    /// How many batches were kept.
    batches: u64,
    /// How many entries were in them.
    entries: u64,
    /// Counters that were never submitted; at most 100 ranges, the ledger has all of them.
    missing: Vec<EdgeRangeBody>,
    /// Counters that the edge gave up because its disk was full.
    given_up: Vec<EdgeRangeBody>,
    /// How often a counter came once more with another content. Nothing of these is kept.
    forks: u64,
    /// How many entries waited at the edge when it was last heard.
    waiting: Option<u64>,
    /// When the edge was last heard under this key.
    last_seen_at: Option<String>,
    /// The platform's clock minus the edge's, in microseconds, as the edge last stated it.
    clock_offset_us: Option<i64>,
}

fn ranges(all: Vec<(u64, u64)>) -> Vec<EdgeRangeBody> {
    all.into_iter().map(|(first, last)| EdgeRangeBody { first, last }).collect()
}

impl From<EdgeKeyView> for EdgeKeyBody {
    fn from(view: EdgeKeyView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name,
            public_key: view.public_key,
            fingerprint: view.fingerprint,
            created_at: body::time(view.created_at),
            revoked_at: view.revoked_at.map(body::time),
            last_counter: view.last_counter,
            batches: view.batches,
            entries: view.entries,
            missing: ranges(view.missing),
            given_up: ranges(view.given_up),
            forks: view.forks,
            waiting: view.waiting,
            last_seen_at: view.seen_at.map(body::time),
            clock_offset_us: view.clock_offset_us,
        }
    }
}

/// Lists the keys that a gateway signs its batches with, revoked ones included.
#[utoipa::path(get, path = "/v1/devices/{id}/edge-keys", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<EdgeKeyBody>), (status = 404)))]
async fn edge_keys(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<EdgeKeyBody>>> {
    let keys = api.app.edge_keys(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(keys.into_iter().map(EdgeKeyBody::from).collect())))
}

/// A key to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EdgeKeyFields {
    /// The Ed25519 public key: 64 hexadecimal digits, as `veritwin edge init` prints them.
    public_key: String,
    /// What people call it.
    #[serde(default)]
    name: String,
}

/// Registers the key of an edge for a gateway: from now on batches are taken that are signed with
/// it and come with a credential of the gateway's.
#[utoipa::path(post, path = "/v1/devices/{id}/edge-keys", tag = "devices",
    params(("id" = String, Path)), request_body = EdgeKeyFields,
    responses((status = 201, body = EdgeKeyBody), (status = 400), (status = 404),
        (status = 409)))]
async fn register_edge_key(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(fields): Json<EdgeKeyFields>,
) -> Answer<impl IntoResponse> {
    let input = EdgeKeyInput { public_key: fields.public_key, name: fields.name };
    let key = api.app.register_edge_key(&context, body::id(&id)?, input).await?;
    Ok((StatusCode::CREATED, axum::Json(EdgeKeyBody::from(key))))
}

/// Revokes the key of an edge: nothing is taken any more that is signed with it. What was submitted
/// stays.
#[utoipa::path(delete, path = "/v1/devices/{id}/edge-keys/{edge_key}", tag = "devices",
    params(("id" = String, Path), ("edge_key" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn revoke_edge_key(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    api.app.revoke_edge_key(&context, (body::id(&id)?, body::id(&key)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
