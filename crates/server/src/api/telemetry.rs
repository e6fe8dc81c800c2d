//! Latest values, values as of a time, and exact figures.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{LatestFilter, SeriesId};
use veritwin_domain::{Key, Timestamp};

use super::auth::Caller;
use super::body::{self, Json, ListBody};
use super::telemetry_answer::Form;
use super::telemetry_query::{self, Shape, form_of};
use super::{Answer, Api, Problem, telemetry_table, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    let routes = OpenApiRouter::new().routes(routes!(latest)).routes(routes!(stats));
    routes.merge(telemetry_query::routes())
}

/// Which latest values are wanted; everything given must hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct LatestBody {
    /// Devices; all when not given.
    device_ids: Option<Vec<String>>,
    /// Devices of one twin.
    twin_id: Option<String>,
    /// Series; all when not given.
    keys: Option<Vec<String>>,
    /// RFC 3339: what each series said then, its last value at or before that time; of at most
    /// 10,000 series. Now when not given.
    at: Option<String>,
}

/// A latest value.
#[derive(Serialize, ToSchema)]
struct LatestItem {
    device_id: String,
    key: String,
    at: String,
    value: serde_json::Value,
    /// `good`, `uncertain`, `bad` or `simulated`.
    #[schema(schema_with = words::quality)]
    quality: &'static str,
}

fn key_at(field: &str, text: &str) -> Result<Key, Problem> {
    Key::new(text).map_err(|error| Problem::invalid(error.to_string()).at(field))
}

/// Latest value of each series, or its value as of a time. JSON, or by `Accept` a table:
/// `text/csv` or `application/vnd.apache.arrow.stream`.
#[utoipa::path(post, path = "/v1/telemetry/latest", tag = "telemetry", request_body = LatestBody,
    responses((status = 200, body = ListBody<LatestItem>), (status = 400), (status = 413)))]
async fn latest(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(body): Json<LatestBody>,
) -> Answer<Response> {
    let devices = body
        .device_ids
        .map(|ids| ids.iter().map(|id| body::id_at("device_ids", id)).collect())
        .transpose()?;
    let keys =
        body.keys.map(|keys| keys.iter().map(|key| key_at("keys", key)).collect()).transpose()?;
    let filter = LatestFilter {
        devices,
        twin: body.twin_id.map(|id| body::id_at("twin_id", &id)).transpose()?,
        keys,
        at: body.at.map(|at| body::parse_time("at", &at)).transpose()?,
    };
    let items = api.app.latest(&context, &filter).await?;
    let vary = [(header::VARY, "accept")];
    if let Form::Table(form) = form_of(&headers, Shape::Points) {
        let writing = tokio::task::spawn_blocking(move || telemetry_table::of_latest(form, &items));
        let table = writing.await.map_err(|_| Problem::broken())?;
        let kind = [(header::CONTENT_TYPE, form.content_type())];
        return Ok((vary, kind, table).into_response());
    }
    let convert = |view: veritwin_app::model::LatestView| LatestItem {
        device_id: view.device.to_string(),
        key: view.key.to_string(),
        at: body::time(view.at),
        value: body::value(&view.value),
        quality: view.quality.as_str(),
    };
    let items = ListBody::whole(items.into_iter().map(convert).collect());
    Ok((vary, axum::Json(items)).into_response())
}

/// One series of one device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct SeriesBody {
    device_id: String,
    key: String,
}

impl SeriesBody {
    fn parse(&self, index: usize) -> Result<SeriesId, Problem> {
        Ok(SeriesId {
            device: body::id_at(&format!("series[{index}].device_id"), &self.device_id)?,
            key: key_at(&format!("series[{index}].key"), &self.key)?,
        })
    }
}

pub(super) fn parse_series(series: &[SeriesBody]) -> Result<Vec<SeriesId>, Problem> {
    series.iter().enumerate().map(|(index, one)| one.parse(index)).collect()
}

/// Which figures are wanted.
#[derive(Deserialize, ToSchema)]
struct StatsBody {
    /// At most 128 series.
    series: Vec<SeriesBody>,
    /// RFC 3339, inclusive; since ever when not given.
    from: Option<String>,
    /// RFC 3339, exclusive; until ever when not given.
    to: Option<String>,
}

/// Exact figures of one series.
#[derive(Serialize, ToSchema)]
struct StatsItem {
    device_id: String,
    key: String,
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    first_at: Option<String>,
    last_at: Option<String>,
}

/// Figures of each series.
#[derive(Serialize, ToSchema)]
struct StatsAnswer {
    series: Vec<StatsItem>,
}

/// Exact row count, minimum, maximum and extent of series.
#[utoipa::path(post, path = "/v1/telemetry/stats", tag = "telemetry", request_body = StatsBody,
    responses((status = 200, body = StatsAnswer), (status = 400), (status = 404)))]
async fn stats(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<StatsBody>,
) -> Answer<axum::Json<StatsAnswer>> {
    let from = match &body.from {
        Some(text) => body::parse_time("from", text)?,
        None => Timestamp::MIN,
    };
    let to = match &body.to {
        Some(text) => body::parse_time("to", text)?,
        None => Timestamp::MAX,
    };
    let found = api.app.stats(&context, &parse_series(&body.series)?, from, to).await?;
    let convert = |view: veritwin_app::model::StatsView| StatsItem {
        device_id: view.series.device.to_string(),
        key: view.series.key.to_string(),
        count: view.count,
        min: view.min,
        max: view.max,
        first_at: view.first_at.map(body::time),
        last_at: view.last_at.map(body::time),
    };
    Ok(axum::Json(StatsAnswer { series: found.into_iter().map(convert).collect() }))
}
