//! Devices: inventory, attributes, commands.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AttributesChange, AttributesView, DeviceChange, DeviceInput, DeviceView, GatewayChange,
    Placement, RefusalView,
};
use veritwin_domain::{Declaration, Key, Value};

use super::auth::Caller;
use super::body::{self, File, Json, ListBody, Path, Query};
use super::{Answer, Api, Problem, device_list, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(device_list::list, create))
        .routes(routes!(import))
        .routes(routes!(read, update, delete))
        .routes(routes!(attributes, change_attributes))
        .routes(routes!(refusals))
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceBody {
    id: String,
    name: String,
    /// What kind of device.
    #[serde(rename = "type")]
    kind: String,
    twin_id: Option<String>,
    /// IFC GlobalId.
    space_id: Option<String>,
    /// IFC GlobalId.
    element_id: Option<String>,
    /// Metres, Z up.
    position: Option<[f64; 3]>,
    /// `undeclared`, `non_personal` or `personal`.
    #[schema(schema_with = words::declaration)]
    declaration: &'static str,
    /// What counts for its streams where nothing else is declared of one: its own declaration, a
    /// rule for its type, or what is presumed of it.
    #[schema(schema_with = words::declaration)]
    counts_as: &'static str,
    /// Whether it may speak for other devices.
    is_gateway: bool,
    /// Whether it is a host application of Sparkplug B: it commands the tenant's edge nodes over
    /// MQTT.
    is_sparkplug_host: bool,
    /// The gateway that speaks for it.
    gateway_id: Option<String>,
    created_at: String,
    last_seen_at: Option<String>,
    /// By how many seconds its clock is slow; negative: fast. None: right within two minutes, or
    /// no live message tells.
    clock_slow_seconds: Option<i64>,
    online: bool,
    /// Its newest refused message since the platform started, whether it was told or not.
    last_refusal: Option<RefusalBody>,
    /// Its series that you may read.
    keys: Vec<String>,
    /// How many series it has besides: personal ones, and those that wait for a declaration.
    streams_hidden: usize,
    /// Unit of each series.
    units: BTreeMap<String, String>,
}

impl From<DeviceView> for DeviceBody {
    fn from(view: DeviceView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name.to_string(),
            kind: view.kind.to_string(),
            twin_id: view.placement.twin_id.map(|id| id.to_string()),
            space_id: view.placement.space_id,
            element_id: view.placement.element_id,
            position: view.placement.position,
            declaration: view.declaration.as_str(),
            counts_as: view.counts_as.as_str(),
            is_gateway: view.is_gateway,
            is_sparkplug_host: view.is_sparkplug_host,
            gateway_id: view.gateway.map(|id| id.to_string()),
            created_at: body::time(view.created_at),
            last_seen_at: view.last_seen_at.map(body::time),
            clock_slow_seconds: view.clock_slow_seconds,
            online: view.online,
            last_refusal: view.last_refusal.map(RefusalBody::from),
            keys: view.keys.iter().map(ToString::to_string).collect(),
            streams_hidden: view.streams_hidden,
            units: view.units,
        }
    }
}

fn declaration(text: Option<&str>) -> Result<Option<Declaration>, Problem> {
    text.map(|text| {
        Declaration::parse(text).ok_or_else(|| {
            Problem::invalid("declaration must be undeclared, non_personal or personal")
                .at("declaration")
        })
    })
    .transpose()
}

/// A new device.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateDeviceBody)]
struct CreateBody {
    /// Unique in the tenant.
    name: String,
    /// What kind of device.
    #[serde(rename = "type")]
    kind: Option<String>,
    twin_id: Option<String>,
    space_id: Option<String>,
    element_id: Option<String>,
    position: Option<[f64; 3]>,
    /// `undeclared` (the default), `non_personal` or `personal`.
    #[schema(schema_with = words::declaration, required = false)]
    declaration: Option<String>,
    /// Unit of each series.
    units: Option<BTreeMap<String, String>>,
}

/// A new device with its access token.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedDeviceBody)]
struct CreatedBody {
    device: DeviceBody,
    /// The device's access token; shown once.
    token: String,
}

/// Creates a device.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", request_body = CreateBody,
    responses((status = 201, body = CreatedBody), (status = 400), (status = 409)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<CreateBody>,
) -> Answer<impl IntoResponse> {
    let input = DeviceInput {
        name: body.name,
        kind: body.kind.unwrap_or_default(),
        placement: Placement {
            twin_id: body.twin_id.map(|id| body::id_at("twin_id", &id)).transpose()?,
            space_id: body.space_id,
            element_id: body.element_id,
            position: body.position,
        },
        declaration: declaration(body.declaration.as_deref())?.unwrap_or_default(),
        units: body.units.unwrap_or_default(),
    };
    let (device, token) = api.app.create_device(&context, input).await?;
    let version = device.version;
    let created = CreatedBody { device: device.into(), token: token.into_exposed() };
    Ok((StatusCode::CREATED, body::etag(version), axum::Json(created)))
}

/// Reads a device.
#[utoipa::path(get, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = DeviceBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let device = api.app.device(&context, body::id(&id)?).await?;
    Ok((body::etag(device.version), axum::Json(DeviceBody::from(device))))
}

/// A change: only what is given changes; a place is replaced as a whole.
#[derive(Deserialize, ToSchema)]
struct UpdateBody {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// `undeclared`, `non_personal` or `personal`.
    declaration: Option<String>,
    units: Option<BTreeMap<String, String>>,
    /// Whether it may speak for other devices; alone, without `gateway_id`.
    is_gateway: Option<bool>,
    /// The gateway that speaks for it; empty: none.
    gateway_id: Option<String>,
    /// Whether it is a host application of Sparkplug B. To make it one takes the right to command
    /// devices in the whole tenant.
    is_sparkplug_host: Option<bool>,
}

fn gateway(body: &UpdateBody) -> Result<Option<GatewayChange>, Problem> {
    match (body.is_gateway, body.gateway_id.as_deref()) {
        (None, None) => Ok(None),
        (Some(is_gateway), None) => Ok(Some(GatewayChange::Speaks(is_gateway))),
        (None, Some("")) => Ok(Some(GatewayChange::Alone)),
        (None, Some(id)) => Ok(Some(GatewayChange::Behind(body::id_at("gateway_id", id)?))),
        (Some(_), Some(_)) => {
            Err(Problem::invalid("send is_gateway or gateway_id, not both").at("gateway_id"))
        }
    }
}

/// Changes a device. `If-Match` refuses the change when somebody else was first.
#[utoipa::path(patch, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    request_body = UpdateBody,
    responses((status = 200, body = DeviceBody), (status = 404), (status = 409)))]
async fn update(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<UpdateBody>,
) -> Answer<impl IntoResponse> {
    let gateway = gateway(&body)?;
    let change = DeviceChange {
        name: body.name,
        kind: body.kind,
        placement: None,
        declaration: declaration(body.declaration.as_deref())?,
        units: body.units,
        gateway,
        is_sparkplug_host: body.is_sparkplug_host,
        if_version: body::if_match(&headers)?,
    };
    let id = body::id(&id)?;
    let device = api.app.update_device(&context, id, change).await?;
    if gateway.is_some() || body.is_sparkplug_host.is_some() {
        // Its sessions were let in as what it was.
        api.live.disconnect(context.tenant, id, None);
    }
    Ok((body::etag(device.version), axum::Json(DeviceBody::from(device))))
}

/// Deletes a device and its credentials; its history stays until its time is over.
#[utoipa::path(delete, path = "/v1/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = body::id(&id)?;
    api.app.delete_device(&context, id).await?;
    api.live.disconnect(context.tenant, id, None);
    Ok(StatusCode::NO_CONTENT)
}

/// The twin an inventory belongs to.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ImportQuery {
    /// Spaces and elements are looked up in this twin.
    twin_id: Option<String>,
}

/// A new device's name and token.
#[derive(Serialize, ToSchema)]
struct ImportedToken {
    device: String,
    /// Shown once.
    token: String,
}

/// What an import did.
#[derive(Serialize, ToSchema)]
struct ImportedBody {
    created: usize,
    updated: usize,
    tokens: Vec<ImportedToken>,
}

/// Imports an inventory CSV; the same file completes an import that was cut off.
#[utoipa::path(post, path = "/v1/devices/import", tag = "devices", params(ImportQuery),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = ImportedBody), (status = 400), (status = 409), (status = 413),
        (status = 503)))]
async fn import(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ImportQuery>,
    File(bytes): File,
) -> Answer<axum::Json<ImportedBody>> {
    let twin = query.twin_id.map(|id| body::id_at("twin_id", &id)).transpose()?;
    let outcome = api.app.import_inventory(&context, twin, &bytes).await?;
    Ok(axum::Json(ImportedBody {
        created: outcome.created,
        updated: outcome.updated,
        tokens: outcome
            .tokens
            .into_iter()
            .map(|(device, token)| ImportedToken { device, token: token.into_exposed() })
            .collect(),
    }))
}

/// A message of a device that was refused, without anything that it held.
#[derive(Serialize, ToSchema)]
struct RefusalBody {
    at: String,
    /// `payload`, `topic`, `limit`, `not_allowed`, `policy` or `unsupported`.
    reason: &'static str,
    /// What was wrong, where, and what would be right.
    detail: String,
    /// Where, in bytes from the start of the payload.
    position: Option<usize>,
    /// The limit that was passed.
    limit: Option<&'static str>,
    /// Size of the payload.
    payload_bytes: u64,
}

impl From<RefusalView> for RefusalBody {
    fn from(view: RefusalView) -> Self {
        Self {
            at: body::time(view.at),
            reason: view.reason,
            detail: view.detail,
            position: view.position,
            limit: view.limit,
            payload_bytes: view.payload_bytes,
        }
    }
}

/// The last 20 messages that were refused where the protocol has no way to tell the device: MQTT
/// 3.1.1 and QoS 0. Since the platform started, the newest first.
#[utoipa::path(get, path = "/v1/devices/{id}/refusals", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<RefusalBody>), (status = 404)))]
async fn refusals(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<RefusalBody>>> {
    let refusals = api.app.refusals(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(refusals.into_iter().map(RefusalBody::from).collect())))
}

/// A device's attributes by scope.
#[derive(Serialize, ToSchema)]
struct AttributesBody {
    /// Sent by the device.
    client: BTreeMap<String, serde_json::Value>,
    /// Written here, visible to the device.
    shared: BTreeMap<String, serde_json::Value>,
    /// Written here, hidden from the device.
    server: BTreeMap<String, serde_json::Value>,
}

impl From<AttributesView> for AttributesBody {
    fn from(view: AttributesView) -> Self {
        let convert = |scope: BTreeMap<String, Value>| {
            scope.into_iter().map(|(key, value)| (key, body::value(&value))).collect()
        };
        Self {
            client: convert(view.client),
            shared: convert(view.shared),
            server: convert(view.server),
        }
    }
}

/// Reads a device's attributes.
#[utoipa::path(get, path = "/v1/devices/{id}/attributes", tag = "devices",
    params(("id" = String, Path)), responses((status = 200, body = AttributesBody), (status = 404)))]
async fn attributes(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<AttributesBody>> {
    Ok(axum::Json(api.app.attributes(&context, body::id(&id)?).await?.into()))
}

/// Attributes to write; null deletes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct ChangeAttributesBody {
    shared: BTreeMap<String, serde_json::Value>,
    server: BTreeMap<String, serde_json::Value>,
}

/// Writes shared and server attributes; a connected device hears of shared ones at once.
#[utoipa::path(patch, path = "/v1/devices/{id}/attributes", tag = "devices",
    params(("id" = String, Path)), request_body = ChangeAttributesBody,
    responses((status = 200, body = AttributesBody), (status = 404)))]
async fn change_attributes(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<ChangeAttributesBody>,
) -> Answer<axum::Json<AttributesBody>> {
    let convert = |scope: BTreeMap<String, serde_json::Value>| {
        scope.into_iter().map(|(key, value)| (key, body::from_json(&value))).collect()
    };
    let id = body::id(&id)?;
    let change = AttributesChange { shared: convert(body.shared), server: convert(body.server) };
    let shared: Vec<(Key, Option<Value>)> = change
        .shared
        .iter()
        .filter_map(|(key, value)| Some((Key::new(key).ok()?, value.clone())))
        .collect();
    let after = api.app.change_attributes(&context, id, change).await?;
    api.live.attributes_changed(context.tenant, id, &shared);
    Ok(axum::Json(after.into()))
}
