//! Commands to devices and their answers.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::{self, Json, Path};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(rpc))
}

/// A command to a device.
#[derive(Deserialize, ToSchema)]
struct RpcBody {
    method: String,
    #[schema(value_type = serde_json::Value)]
    params: Option<Box<RawValue>>,
    /// How long to wait for the answer; 10 s when not given, at most 60 s.
    timeout_ms: Option<u64>,
}

/// A device's answer.
#[derive(Serialize, ToSchema)]
struct RpcAnswer {
    result: serde_json::Value,
}

/// Sends a command to a connected device and waits for its answer.
#[utoipa::path(post, path = "/v1/devices/{id}/rpc", tag = "devices",
    params(("id" = String, Path)), request_body = RpcBody,
    responses((status = 200, body = RpcAnswer), (status = 404), (status = 503)))]
async fn rpc(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<RpcBody>,
) -> Answer<axum::Json<RpcAnswer>> {
    let id = body::id(&id)?;
    let call = api.app.authorize_command(&context, id, &body.method).await?;
    let timeout_ms = body.timeout_ms.unwrap_or(10_000).clamp(100, 60_000);
    let timeout = std::time::Duration::from_millis(timeout_ms);
    let params = body.params.map_or_else(|| "null".to_owned(), |params| params.get().to_owned());
    let answer = api.live.call_device(&call, (body.method, params), timeout).await?;
    let result = serde_json::from_str(&answer).unwrap_or(serde_json::Value::String(answer));
    Ok(axum::Json(RpcAnswer { result }))
}
