//! Commands to devices and their answers: waited for at once, or kept until the device comes.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{CallInput, CallView};
use veritwin_domain::OpContext;

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api};

/// How long a call is kept when nothing is said.
const LASTS_MS_DEFAULT: u64 = 24 * 3600 * 1000;
/// How often a call is sent again when nothing is said.
const RETRIES_DEFAULT: u32 = 5;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(calls, rpc)).routes(routes!(call, withdraw))
}

/// A command to a device.
#[derive(Deserialize, ToSchema)]
struct RpcBody {
    method: String,
    #[schema(value_type = serde_json::Value)]
    params: Option<Box<RawValue>>,
    /// How long to wait for the answer; 10 s when not given, at most 60 s. Not of a kept call.
    timeout_ms: Option<u64>,
    /// No answer is waited for.
    #[serde(default)]
    one_way: bool,
    /// It is kept until the device has it, or has answered it, or its time is over.
    #[serde(default)]
    persistent: bool,
    /// How long it is kept: a day when not given, at most 30 days.
    expires_in_ms: Option<u64>,
    /// How often it is sent again when the connection was lost; 5 when not given, at most 100.
    retries: Option<u32>,
}

/// A device's answer, or the call that is kept.
#[derive(Serialize, ToSchema)]
struct RpcAnswer {
    /// Null of a kept call and of one that is not answered.
    result: serde_json::Value,
    /// The call, if it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<CallBody>,
}

/// A kept call and what became of it.
#[derive(Serialize, ToSchema)]
struct CallBody {
    id: String,
    device_id: String,
    /// `queued`, `sent`, `delivered`, `successful`, `timeout`, `expired`, `failed` or `deleted`.
    state: &'static str,
    method: String,
    params: serde_json::Value,
    one_way: bool,
    /// The device's answer.
    result: Option<serde_json::Value>,
    /// Why there is none.
    error: Option<String>,
    /// How often it was sent.
    attempts: u64,
    retries: u32,
    expires_at: String,
    created_at: String,
    updated_at: String,
}

fn json_of(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

impl From<CallView> for CallBody {
    fn from(view: CallView) -> Self {
        Self {
            id: view.id.to_string(),
            device_id: view.device.to_string(),
            state: view.state,
            method: view.method,
            params: json_of(view.params),
            one_way: !view.two_way,
            result: view.answer.map(json_of),
            error: view.error,
            attempts: view.attempts,
            retries: view.retries,
            expires_at: body::time(view.expires_at),
            created_at: body::time(view.created_at),
            updated_at: body::time(view.updated_at),
        }
    }
}

/// Sends a command to a connected device and waits for its answer; or, when it is persistent, keeps
/// it for the device.
#[utoipa::path(post, path = "/v1/devices/{id}/rpc", tag = "devices",
    params(("id" = String, Path)), request_body = RpcBody,
    responses((status = 200, body = RpcAnswer), (status = 404), (status = 503)))]
async fn rpc(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<RpcBody>,
) -> Answer<axum::Json<RpcAnswer>> {
    if body.persistent {
        let call = keep(&api, &context, &id, body).await?;
        let result = serde_json::Value::Null;
        return Ok(axum::Json(RpcAnswer { result, call: Some(call.into()) }));
    }
    let id = body::id(&id)?;
    let call = api.app.authorize_command(&context, id, &body.method).await?;
    let params = params_of(body.params);
    if body.one_way {
        api.live.tell_device(&call, (body.method, params))?;
        return Ok(axum::Json(RpcAnswer { result: serde_json::Value::Null, call: None }));
    }
    let timeout_ms = body.timeout_ms.unwrap_or(10_000).clamp(100, 60_000);
    let timeout = Duration::from_millis(timeout_ms);
    let answer = api.live.call_device(&call, (body.method, params), timeout).await?;
    Ok(axum::Json(RpcAnswer { result: json_of(answer), call: None }))
}

fn params_of(params: Option<Box<RawValue>>) -> String {
    params.map_or_else(|| "null".to_owned(), |params| params.get().to_owned())
}

async fn keep(api: &Api, context: &OpContext, id: &str, body: RpcBody) -> Answer<CallView> {
    let id = body::id(id)?;
    let input = CallInput {
        method: body.method,
        params: params_of(body.params),
        two_way: !body.one_way,
        lasts: Duration::from_millis(body.expires_in_ms.unwrap_or(LASTS_MS_DEFAULT)),
        retries: body.retries.unwrap_or(RETRIES_DEFAULT),
    };
    let call = api.app.keep_call(context, id, input).await?;
    api.live.call_waits(context.tenant, id);
    Ok(call)
}

/// Lists the kept calls to a device, newest first; those that ended for a week.
#[utoipa::path(get, path = "/v1/devices/{id}/rpc", tag = "devices",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = ListBody<CallBody>), (status = 404)))]
async fn calls(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<CallBody>>> {
    let page = api.app.calls(&context, body::id(&id)?, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, CallBody::from)))
}

/// Reads a kept call.
#[utoipa::path(get, path = "/v1/devices/{id}/rpc/{call}", tag = "devices",
    params(("id" = String, Path), ("call" = String, Path)),
    responses((status = 200, body = CallBody), (status = 404)))]
async fn call(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, call)): Path<(String, String)>,
) -> Answer<axum::Json<CallBody>> {
    let call = api.app.call(&context, body::id(&id)?, body::id(&call)?).await?;
    Ok(axum::Json(call.into()))
}

/// Withdraws a kept call of which something can still become. What the device has, it has.
#[utoipa::path(delete, path = "/v1/devices/{id}/rpc/{call}", tag = "devices",
    params(("id" = String, Path), ("call" = String, Path)),
    responses((status = 204), (status = 404), (status = 409)))]
async fn withdraw(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, call)): Path<(String, String)>,
) -> Answer<StatusCode> {
    api.app.withdraw_call(&context, body::id(&id)?, body::id(&call)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
