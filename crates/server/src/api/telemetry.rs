//! Latest values, history and exact figures.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    HistoryData, HistoryQuery, HistorySeries, LatestFilter, POINTS_PER_SERIES_MAX, SeriesId,
};
use veritwin_domain::{Key, Timestamp};

use super::auth::Caller;
use super::body::{self, Json, ListBody};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(latest)).routes(routes!(query)).routes(routes!(stats))
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

/// Latest value of each series.
#[utoipa::path(post, path = "/v1/telemetry/latest", tag = "telemetry", request_body = LatestBody,
    responses((status = 200, body = ListBody<LatestItem>)))]
async fn latest(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<LatestBody>,
) -> Answer<axum::Json<ListBody<LatestItem>>> {
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
    };
    let items = api.app.latest(&context, &filter).await?;
    let convert = |view: veritwin_app::model::LatestView| LatestItem {
        device_id: view.device.to_string(),
        key: view.key.to_string(),
        at: body::time(view.at),
        value: body::value(&view.value),
        quality: view.quality.as_str(),
    };
    Ok(axum::Json(ListBody::whole(items.into_iter().map(convert).collect())))
}

/// One series of one device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
struct SeriesBody {
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

fn parse_series(series: &[SeriesBody]) -> Result<Vec<SeriesId>, Problem> {
    series.iter().enumerate().map(|(index, one)| one.parse(index)).collect()
}

/// How answers are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    /// One object a point.
    #[default]
    Points,
    /// One array a column; times in milliseconds since 1970.
    Columns,
}

/// A history question.
#[derive(Deserialize, ToSchema)]
struct QueryBody {
    /// At most 128 series.
    series: Vec<SeriesBody>,
    /// RFC 3339, inclusive.
    from: String,
    /// RFC 3339, exclusive.
    to: String,
    /// Width of buckets in milliseconds; raw points when not given.
    bucket_ms: Option<u64>,
    /// With raw points: more than this many turn into buckets that fit.
    points_max: Option<usize>,
    /// Raw points of a series in one answer, at most 100,000.
    limit: Option<usize>,
    /// `asc` (the default) or `desc`.
    order: Option<String>,
    /// As given by the answer before; needs a single series.
    cursor: Option<String>,
    #[serde(default)]
    shape: Shape,
}

/// One series of an answer: `points`, or columns.
#[derive(Serialize, ToSchema)]
struct SeriesAnswer {
    device_id: String,
    key: String,
    unit: Option<String>,
    /// Width of the buckets; null for raw points.
    bucket_ms: Option<i64>,
    #[serde(flatten)]
    data: serde_json::Value,
}

/// An answer.
#[derive(Serialize, ToSchema)]
struct QueryAnswer {
    series: Vec<SeriesAnswer>,
    /// Where to go on, when `limit` cut a single series.
    next_cursor: Option<String>,
}

fn data(data: &HistoryData, shape: Shape) -> serde_json::Value {
    use serde_json::json;
    match (data, shape) {
        (HistoryData::Points(points), Shape::Points) => json!({
            "points": points.iter().map(|point| json!({
                "at": body::time(point.at),
                "value": body::value(&point.value),
                "quality": point.quality.as_str(),
            })).collect::<Vec<_>>()
        }),
        (HistoryData::Points(points), Shape::Columns) => json!({
            "at_ms": points.iter().map(|point| point.at.as_millis()).collect::<Vec<_>>(),
            "value": points.iter().map(|point| body::value(&point.value)).collect::<Vec<_>>(),
            "quality": points.iter().map(|point| point.quality.as_str()).collect::<Vec<_>>(),
        }),
        (HistoryData::Buckets { buckets, .. }, Shape::Points) => json!({
            "points": buckets.iter().map(|bucket| json!({
                "at": body::time(bucket.at), "count": bucket.count, "min": bucket.min,
                "max": bucket.max, "avg": bucket.sum / bucket.count.max(1) as f64,
                "sum": bucket.sum, "first": bucket.first, "last": bucket.last,
                "simulated": bucket.simulated,
            })).collect::<Vec<_>>()
        }),
        (HistoryData::Buckets { buckets, .. }, Shape::Columns) => {
            let column = |of: &dyn Fn(&veritwin_app::model::BucketView) -> f64| {
                buckets.iter().map(of).collect::<Vec<_>>()
            };
            json!({
                "at_ms": buckets.iter().map(|bucket| bucket.at.as_millis()).collect::<Vec<_>>(),
                "count": buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(),
                "min": column(&|bucket| bucket.min),
                "max": column(&|bucket| bucket.max),
                "avg": column(&|bucket| bucket.sum / bucket.count.max(1) as f64),
                "sum": column(&|bucket| bucket.sum),
                "first": column(&|bucket| bucket.first),
                "last": column(&|bucket| bucket.last),
                "simulated": buckets.iter().map(|bucket| bucket.simulated).collect::<Vec<_>>(),
            })
        }
    }
}

fn answer(series: &HistorySeries, shape: Shape) -> SeriesAnswer {
    let bucket_ms = match &series.data {
        HistoryData::Points(_) => None,
        HistoryData::Buckets { width_micros, .. } => Some(width_micros / 1000),
    };
    SeriesAnswer {
        device_id: series.series.device.to_string(),
        key: series.series.key.to_string(),
        unit: series.unit.clone(),
        bucket_ms,
        data: data(&series.data, shape),
    }
}

/// Raw points with their quality, or buckets with count, min, max, avg, sum, first, last and how
/// many of their readings are simulated.
#[utoipa::path(post, path = "/v1/telemetry/query", tag = "telemetry", request_body = QueryBody,
    responses((status = 200, body = QueryAnswer), (status = 400), (status = 404)))]
async fn query(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<QueryBody>,
) -> Answer<axum::Json<QueryAnswer>> {
    let descending = match body.order.as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(Problem::invalid("order must be asc or desc").at("order")),
    };
    let (mut from, mut to) =
        (body::parse_time("from", &body.from)?, body::parse_time("to", &body.to)?);
    if let Some(cursor) = &body.cursor {
        if body.series.len() != 1 {
            return Err(Problem::invalid("a cursor needs a single series").at("cursor"));
        }
        let micros: i64 = cursor
            .parse()
            .map_err(|_| Problem::invalid("not a cursor of this answer").at("cursor"))?;
        if descending {
            to = to.min(Timestamp::from_micros(micros));
        } else {
            from = from.max(Timestamp::from_micros(micros.saturating_add(1)));
        }
    }
    let bucket_micros = match body.bucket_ms {
        None => None,
        Some(0) => {
            return Err(Problem::invalid("bucket_ms must be at least 1").at("bucket_ms"));
        }
        Some(width) => Some(i64::try_from(width).unwrap_or(i64::MAX).saturating_mul(1000)),
    };
    let query = HistoryQuery {
        series: parse_series(&body.series)?,
        from,
        to,
        bucket_micros,
        points_max: body.points_max,
        limit: body.limit.unwrap_or(POINTS_PER_SERIES_MAX).clamp(1, POINTS_PER_SERIES_MAX),
        descending,
    };
    let found = api.app.history(&context, &query).await?;
    let next_cursor = match found.as_slice() {
        [one] => one.next.map(|at| at.as_micros().to_string()),
        _ => None,
    };
    let series = found.iter().map(|one| answer(one, body.shape)).collect();
    Ok(axum::Json(QueryAnswer { series, next_cursor }))
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
