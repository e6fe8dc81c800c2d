//! Devices as edge nodes of Sparkplug B, or behind one: birth certificates, commands, new births.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::Error;
use veritwin_app::model::DeviceView;
use veritwin_domain::Key;
use veritwin_ingest::mqtt::CommandError;
use veritwin_ingest::sparkplug::{MetricView, SparkplugView};

use super::auth::Caller;
use super::body::{self, Json, Path};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(sparkplug))
        .routes(routes!(sparkplug_write))
        .routes(routes!(sparkplug_rebirth))
}

/// A device in the world of Sparkplug.
#[derive(Serialize, ToSchema)]
struct SparkplugAnswer {
    /// None of a device that was never born so.
    node: Option<SparkplugBody>,
}

/// An edge node, or a device behind one: since the platform started, or as its birth certificate
/// has it when it was not born since.
#[derive(Serialize, ToSchema)]
struct SparkplugBody {
    group: String,
    /// The edge node.
    node: String,
    /// Its name behind the node; none for the node itself.
    device: Option<String>,
    /// Born, and not dead since.
    online: bool,
    /// The number of the node's last birth.
    bd_seq: Option<u64>,
    /// The sequence number of the node's last message.
    seq: Option<u8>,
    born_at: Option<String>,
    births: u64,
    deaths: u64,
    /// Gaps in the node's sequence numbers.
    gaps: u64,
    /// Times the node was asked for a new birth.
    rebirths: u64,
    /// What was wrong last, and what would be right.
    last_error: Option<String>,
    last_error_at: Option<String>,
    /// Devices that were born behind the node.
    devices: usize,
    devices_online: usize,
    /// Of its birth certificate the metrics that you may read.
    metrics: Vec<MetricBody>,
    /// How many metrics it has besides.
    metrics_hidden: usize,
}

/// A metric of a birth certificate.
#[derive(Serialize, ToSchema)]
struct MetricBody {
    name: String,
    /// The data type, as the specification names it.
    #[serde(rename = "type")]
    kind: &'static str,
    alias: Option<u64>,
    /// The unit that the birth gave (`engUnit`).
    unit: Option<String>,
    at: Option<String>,
    /// The last value; null also of long texts.
    #[schema(value_type = serde_json::Value)]
    value: Option<serde_json::Value>,
    /// Its node or device is dead.
    stale: bool,
    /// It is about the node itself, and no reading.
    control: bool,
}

impl From<MetricView> for MetricBody {
    fn from(view: MetricView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: view.datatype,
            alias: view.alias,
            unit: view.unit,
            at: view.at.map(body::time),
            value: view.value.as_ref().map(body::value),
            stale: view.is_stale,
            control: view.is_control,
        }
    }
}

impl SparkplugBody {
    /// Names of metrics are names of series: they may tell as much as values.
    fn of(view: SparkplugView, device: &DeviceView) -> Self {
        let keys: HashSet<&Key> = device.keys.iter().collect();
        let is_seen = |one: &MetricView| one.is_control || keys.contains(&one.name);
        let all = view.metrics.len();
        let metrics: Vec<MetricBody> =
            view.metrics.into_iter().filter(is_seen).map(MetricBody::from).collect();
        let (last_error_at, last_error) = view.last_error.unzip();
        Self {
            group: view.group,
            node: view.node,
            device: view.device,
            online: view.is_online,
            bd_seq: view.bd_seq,
            seq: view.seq,
            born_at: view.born_at.map(body::time),
            births: view.births,
            deaths: view.deaths,
            gaps: view.gaps,
            rebirths: view.rebirths,
            last_error,
            last_error_at: last_error_at.map(body::time),
            devices: view.devices.0,
            devices_online: view.devices.1,
            metrics_hidden: all - metrics.len(),
            metrics,
        }
    }
}

/// Reads what is known of a device as an edge node of Sparkplug B, or behind one.
#[utoipa::path(get, path = "/v1/devices/{id}/sparkplug", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = SparkplugAnswer), (status = 404)))]
async fn sparkplug(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<SparkplugAnswer>> {
    let device = api.app.device(&context, body::id(&id)?).await?;
    let view = api.broker.sparkplug_known(context.tenant, device.id).await;
    let node = view.map(|view| SparkplugBody::of(view, &device));
    Ok(axum::Json(SparkplugAnswer { node }))
}

/// A value for a metric.
#[derive(Deserialize, ToSchema)]
struct MetricCommandBody {
    /// The metric's name, as the birth gave it.
    metric: String,
    /// A value of the metric's type.
    #[schema(value_type = serde_json::Value)]
    value: serde_json::Value,
}

fn command_error(error: CommandError) -> Error {
    let text = error.to_string();
    match error {
        CommandError::Unknown => Error::Conflict(text),
        CommandError::Invalid(_) => Error::invalid(text),
        CommandError::Offline(_) => Error::Unavailable(text),
    }
}

/// Writes a metric (NCMD, DCMD) in the type that its birth gave. 202 says that it was sent, and not
/// that it was carried out: the device reports the new value.
#[utoipa::path(post, path = "/v1/devices/{id}/sparkplug/commands", tag = "devices",
    params(("id" = String, Path)), request_body = MetricCommandBody,
    responses((status = 202), (status = 400), (status = 404), (status = 409), (status = 503)))]
async fn sparkplug_write(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<MetricCommandBody>,
) -> Answer<StatusCode> {
    let MetricCommandBody { metric, value } = body;
    let id = body::id(&id)?;
    let command = api.app.authorize_metric(&context, id, &metric, &value).await?;
    api.broker
        .sparkplug_write(command.tenant, command.device, &metric, &value)
        .map_err(command_error)?;
    Ok(StatusCode::ACCEPTED)
}

/// Asks an edge node for a new birth, or the one that the device is behind.
#[utoipa::path(post, path = "/v1/devices/{id}/sparkplug/rebirth", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 202), (status = 404), (status = 409), (status = 503)))]
async fn sparkplug_rebirth(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = body::id(&id)?;
    let command = api.app.authorize_command(&context, id, "rebirth").await?;
    api.broker.sparkplug_rebirth(command.tenant, command.device).map_err(command_error)?;
    Ok(StatusCode::ACCEPTED)
}
