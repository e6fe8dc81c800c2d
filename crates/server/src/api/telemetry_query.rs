//! The history question: what may be asked together, and in which form it is answered.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    Aggregate, BucketQuery, Buckets, CalendarUnit, Fill, HistoryQuery, POINTS_PER_SERIES_MAX,
    QualityFilter, Weekday, Zone,
};
use veritwin_domain::Timestamp;

use super::auth::{Again, Caller};
use super::body::{self, Json};
use super::telemetry::{SeriesBody, parse_series};
use super::telemetry_answer::{
    AGGREGATES, Form, QueryAnswer, Sheet, aggregate_of, form_of, stream,
};
use super::{Answer, Api, Problem};

/// Where to go on, for answers that are tables.
const NEXT_CURSOR: &str = "veritwin-next-cursor";
/// Fewest points of a line.
const LINE_POINTS_MIN: usize = 3;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(query))
}

/// How answers are laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// One object a point.
    #[default]
    Points,
    /// One array a column; times in milliseconds since 1970.
    Columns,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BucketWord {
    /// From `from` to `to`.
    Range,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WeekdayWord {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<WeekdayWord> for Weekday {
    fn from(word: WeekdayWord) -> Self {
        match word {
            WeekdayWord::Monday => Self::Monday,
            WeekdayWord::Tuesday => Self::Tuesday,
            WeekdayWord::Wednesday => Self::Wednesday,
            WeekdayWord::Thursday => Self::Thursday,
            WeekdayWord::Friday => Self::Friday,
            WeekdayWord::Saturday => Self::Saturday,
            WeekdayWord::Sunday => Self::Sunday,
        }
    }
}

/// What stands in buckets without readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FillWord {
    /// They are left out.
    #[default]
    None,
    /// `null`.
    Null,
    /// What stood there before.
    Previous,
    /// On the line between the numbers before and after.
    Linear,
    /// The number in `fill_value`.
    Value,
}

/// Which readings count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum QualityWord {
    #[default]
    Any,
    /// All but `bad` ones; those that are made up are among them.
    NotBad,
    Good,
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
    /// Width of buckets in milliseconds; raw points when neither it nor `bucket` is given.
    bucket_ms: Option<u64>,
    /// RFC 3339: a time at which a bucket of `bucket_ms` begins; 1970 when not given.
    bucket_origin: Option<String>,
    /// Buckets by the calendar, or one for the whole range.
    bucket: Option<BucketWord>,
    /// Whose calendar: a name of the IANA database; `UTC` when not given.
    time_zone: Option<String>,
    /// The first day of a week; `monday` when not given.
    week_starts: Option<WeekdayWord>,
    /// What is asked of each bucket, at most 16 of `count`, `simulated`, `min`, `max`, `avg`,
    /// `sum`, `first`, `last`, `delta`, `rate`, `time_weighted_avg`, and percentiles from `p0` to
    /// `p100`, with up to three decimals. The first eight when not given.
    aggregates: Option<Vec<String>>,
    /// For `delta` and `rate`: the number counts upwards, and where it falls it began at zero.
    #[serde(default)]
    counter: bool,
    #[serde(default)]
    fill: FillWord,
    /// With `"fill":"value"`.
    fill_value: Option<f64>,
    #[serde(default)]
    quality: QualityWord,
    /// At most so many raw points, from 3 to 100,000, chosen so that a line through them looks like
    /// one through all (largest triangle three buckets).
    lttb: Option<usize>,
    /// With raw points: more than this many turn into buckets that fit.
    points_max: Option<usize>,
    /// Raw points of a series in one answer, or buckets of a single series; at most 100,000.
    limit: Option<usize>,
    /// `asc` (the default) or `desc`.
    order: Option<String>,
    /// As given by the answer before; needs a single series.
    cursor: Option<String>,
    #[serde(default)]
    shape: Shape,
}

impl QueryBody {
    /// Refuses what says nothing in this question: it would be taken for something else.
    fn check(&self, form: Form) -> Result<(), Problem> {
        let calendar = self.bucket.filter(|bucket| *bucket != BucketWord::Range);
        let (has_buckets, is_page) = (self.has_buckets(), self.is_page());
        let is_value = self.fill == FillWord::Value;
        let is_any = self.quality == QualityWord::Any;
        let is_json = matches!(form, Form::Json(_));
        let fits = [
            (self.bucket.is_none() || self.bucket_ms.is_none(), "bucket", "or bucket_ms, not both"),
            (
                self.bucket_origin.is_none() || self.bucket_ms.is_some(),
                "bucket_origin",
                "needs bucket_ms",
            ),
            (
                self.time_zone.is_none() || calendar.is_some(),
                "time_zone",
                "needs a bucket by the calendar",
            ),
            (
                self.week_starts.is_none() || calendar == Some(BucketWord::Week),
                "week_starts",
                "needs weeks as buckets",
            ),
            (self.aggregates.is_none() || has_buckets, "aggregates", "needs bucket or bucket_ms"),
            (!self.counter || has_buckets, "counter", "needs bucket or bucket_ms"),
            (self.fill == FillWord::None || has_buckets, "fill", "needs bucket or bucket_ms"),
            (is_value == self.fill_value.is_some(), "fill_value", "goes with \"fill\":\"value\""),
            (self.lttb.is_none() || !has_buckets, "lttb", "is for raw points, not for buckets"),
            (
                self.lttb.is_none() || (self.limit.is_none() && self.cursor.is_none()),
                "lttb",
                "chooses from the whole range: without limit and cursor",
            ),
            (self.lttb.is_none() || self.points_max.is_none(), "lttb", "or points_max, not both"),
            (
                self.lttb
                    .is_none_or(|most| (LINE_POINTS_MIN..=POINTS_PER_SERIES_MAX).contains(&most)),
                "lttb",
                "must be 3 to 100000",
            ),
            (is_any || self.points_max.is_none(), "quality", "does not go with points_max"),
            (
                is_json || self.points_max.is_none(),
                "points_max",
                "is for JSON: a table takes bucket_ms, bucket or lttb",
            ),
            (
                self.limit.is_none() || !has_buckets || self.series.len() == 1,
                "limit",
                "of buckets needs a single series",
            ),
            (
                !is_page || self.bucket != Some(BucketWord::Range),
                "bucket",
                "of the whole range is one: without limit and cursor",
            ),
            (
                !is_page || !matches!(self.fill, FillWord::Previous | FillWord::Linear),
                "fill",
                "from other buckets needs the whole range: without limit and cursor",
            ),
            (
                !is_page || self.order.as_deref() != Some("desc"),
                "order",
                "of buckets in pages is asc",
            ),
            (self.points_max.is_none() || self.bucket.is_none(), "points_max", "or bucket"),
        ];
        match fits.into_iter().find(|(fits, ..)| !fits) {
            Some((_, field, why)) => Err(Problem::invalid(format!("{field} {why}")).at(field)),
            None => Ok(()),
        }
    }

    const fn has_buckets(&self) -> bool {
        self.bucket.is_some() || self.bucket_ms.is_some()
    }

    /// Buckets from the earliest on, some at a time.
    const fn is_page(&self) -> bool {
        self.has_buckets() && (self.limit.is_some() || self.cursor.is_some())
    }

    fn descending(&self) -> Result<bool, Problem> {
        match self.order.as_deref() {
            None | Some("asc") => Ok(false),
            Some("desc") => Ok(true),
            Some(_) => Err(Problem::invalid("order must be asc or desc").at("order")),
        }
    }

    /// From and to, with what the cursor has left.
    fn span(&self, descending: bool) -> Result<(Timestamp, Timestamp), Problem> {
        let from = body::parse_time("from", &self.from)?;
        let to = body::parse_time("to", &self.to)?;
        let Some(cursor) = &self.cursor else { return Ok((from, to)) };
        if self.series.len() != 1 {
            return Err(Problem::invalid("a cursor needs a single series").at("cursor"));
        }
        let micros: i64 = cursor
            .parse()
            .map_err(|_| Problem::invalid("not a cursor of this answer").at("cursor"))?;
        Ok(if self.has_buckets() {
            // It names the bucket that comes next.
            (from.max(Timestamp::from_micros(micros)), to)
        } else if descending {
            (from, to.min(Timestamp::from_micros(micros)))
        } else {
            (from.max(Timestamp::from_micros(micros.saturating_add(1))), to)
        })
    }

    fn width_micros(&self) -> Result<Option<i64>, Problem> {
        match self.bucket_ms {
            None => Ok(None),
            Some(0) => Err(Problem::invalid("bucket_ms must be at least 1").at("bucket_ms")),
            Some(width) => Ok(Some(i64::try_from(width).unwrap_or(i64::MAX).saturating_mul(1000))),
        }
    }

    fn buckets(&self, width_micros: Option<i64>) -> Result<Option<Buckets>, Problem> {
        if let Some(width_micros) = width_micros {
            let origin = self.bucket_origin.as_deref();
            let origin = origin.map(|at| body::parse_time("bucket_origin", at)).transpose()?;
            let origin_micros = origin.map_or(0, Timestamp::as_micros);
            return Ok(Some(Buckets::Fixed { width_micros, origin_micros }));
        }
        let unit = match self.bucket {
            None => return Ok(None),
            Some(BucketWord::Range) => return Ok(Some(Buckets::Whole)),
            Some(BucketWord::Hour) => CalendarUnit::Hour,
            Some(BucketWord::Day) => CalendarUnit::Day,
            Some(BucketWord::Week) => {
                CalendarUnit::Week(self.week_starts.map(Weekday::from).unwrap_or_default())
            }
            Some(BucketWord::Month) => CalendarUnit::Month,
            Some(BucketWord::Quarter) => CalendarUnit::Quarter,
            Some(BucketWord::Year) => CalendarUnit::Year,
        };
        let zone = match self.time_zone.as_deref() {
            None => Zone::UTC,
            Some(name) => Zone::named(name).ok_or_else(|| {
                let detail = "no time zone of this name: expected one such as Europe/Berlin";
                Problem::invalid(detail).at("time_zone")
            })?,
        };
        Ok(Some(Buckets::Calendar { unit, zone }))
    }

    fn aggregates(&self) -> Result<Vec<Aggregate>, Problem> {
        let Some(names) = &self.aggregates else { return Ok(AGGREGATES.to_vec()) };
        let mut aggregates = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let at = || format!("aggregates[{index}]");
            let Some(aggregate) = aggregate_of(name) else {
                let detail = "expected count, simulated, min, max, avg, sum, first, last, delta, \
                              rate, time_weighted_avg, or p0 to p100";
                return Err(Problem::invalid(detail).at(at()));
            };
            if aggregates.contains(&aggregate) {
                return Err(Problem::invalid("is named twice").at(at()));
            }
            aggregates.push(aggregate);
        }
        Ok(aggregates)
    }

    fn fill(&self) -> Fill {
        match self.fill {
            FillWord::None => Fill::None,
            FillWord::Null => Fill::Null,
            FillWord::Previous => Fill::Previous,
            FillWord::Linear => Fill::Linear,
            FillWord::Value => Fill::Value(self.fill_value.unwrap_or_default()),
        }
    }

    /// Buckets of a width alone, in JSON, are answered as they ever were.
    fn is_plain(&self, form: Form) -> bool {
        matches!(form, Form::Json(_))
            && self.bucket.is_none()
            && self.bucket_origin.is_none()
            && !self.is_page()
            && self.aggregates.is_none()
            && !self.counter
            && self.fill == FillWord::None
            && self.quality == QualityWord::Any
    }

    fn parse(&self, form: Form) -> Result<HistoryQuery, Problem> {
        self.check(form)?;
        let descending = self.descending()?;
        let (from, to) = self.span(descending)?;
        let width_micros = self.width_micros()?;
        let is_plain = self.is_plain(form);
        let limit = self.limit.unwrap_or(POINTS_PER_SERIES_MAX).clamp(1, POINTS_PER_SERIES_MAX);
        let down = match self.buckets(width_micros)? {
            Some(buckets) if !is_plain => Some(BucketQuery {
                buckets,
                aggregates: self.aggregates()?,
                is_counter: self.counter,
                fill: self.fill(),
                rows_max: self.is_page().then_some(limit),
            }),
            _ => None,
        };
        Ok(HistoryQuery {
            series: parse_series(&self.series)?,
            from,
            to,
            bucket_micros: width_micros.filter(|_| down.is_none()),
            points_max: self.points_max,
            limit,
            descending,
            down,
            line_points_max: self.lttb,
            quality: match self.quality {
                QualityWord::Any => QualityFilter::Any,
                QualityWord::NotBad => QualityFilter::NotBad,
                QualityWord::Good => QualityFilter::Good,
            },
        })
    }
}

/// Raw points, points for a line, or buckets of a width or by the calendar. JSON, or by `Accept`
/// a table: `text/csv` or `application/vnd.apache.arrow.stream`.
#[utoipa::path(post, path = "/v1/telemetry/query", tag = "telemetry", request_body = QueryBody,
    responses((status = 200, body = QueryAnswer), (status = 400), (status = 404)))]
async fn query(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(body): Json<QueryBody>,
) -> Answer<Response> {
    let form = form_of(&headers, body.shape);
    let query = body.parse(form)?;
    let aggregates = query.down.as_ref().map(|down| down.aggregates.clone()).unwrap_or_default();
    let width_ms = match query.down.as_ref().map(|down| &down.buckets) {
        Some(Buckets::Fixed { width_micros, .. }) => Some(width_micros / 1000),
        _ => None,
    };
    let again = Again::of(&headers, &context)?;
    let reader = api.app.history(&context, query).await?;
    let next_cursor = reader.next_page().map(|at| at.as_micros().to_string());
    let cursor = next_cursor.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    let body = stream(reader, Sheet { form, aggregates, width_ms, next_cursor }, (api, again));
    let mut response = ([(header::CONTENT_TYPE, form.content_type())], body).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(cursor) = cursor {
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::telemetry_table::TableForm;

    #[test]
    fn the_first_form_that_there_is_counts() {
        let check = |accept: &str, expect: Form| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a value"));
            assert_eq!(form_of(&headers, Shape::Points), expect, "{accept}");
        };
        let json = Form::Json(Shape::Points);
        check("text/csv", Form::Table(TableForm::Csv));
        check("Text/CSV; charset=utf-8, application/json", Form::Table(TableForm::Csv));
        check(
            "text/html, application/vnd.apache.arrow.stream;q=0.9, */*",
            Form::Table(TableForm::Arrow),
        );
        check("application/json, text/csv", json);
        check("text/html", json);
        assert_eq!(form_of(&HeaderMap::new(), Shape::Points), json);
    }

    fn problem(mut fields: serde_json::Value) -> Option<String> {
        let whole = serde_json::json!({
            "series": [], "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z",
        });
        let (Some(given), Some(rest)) = (fields.as_object_mut(), whole.as_object()) else {
            return None;
        };
        given.extend(rest.clone());
        let body: QueryBody = serde_json::from_value(fields).expect("a body");
        let problem = body.parse(Form::Json(Shape::Points)).err()?;
        Some(serde_json::to_value(problem).expect("a problem")["position"].as_str()?.to_owned())
    }

    #[test]
    fn what_says_nothing_is_refused_by_its_name() {
        let check = |fields, expect: &str| assert_eq!(problem(fields).as_deref(), Some(expect));
        use serde_json::json;
        check(json!({"bucket": "day", "bucket_ms": 1000}), "bucket");
        check(json!({"bucket_ms": 1000, "time_zone": "Europe/Berlin"}), "time_zone");
        check(json!({"bucket": "day", "time_zone": "Europe/Atlantis"}), "time_zone");
        check(json!({"bucket": "day", "week_starts": "sunday"}), "week_starts");
        check(json!({"aggregates": ["avg"]}), "aggregates");
        check(json!({"bucket": "day", "aggregates": ["avg", "mean"]}), "aggregates[1]");
        check(json!({"bucket": "day", "aggregates": ["p5", "p5.0"]}), "aggregates[1]");
        check(json!({"counter": true}), "counter");
        check(json!({"bucket": "day", "fill": "value"}), "fill_value");
        check(json!({"fill": "null"}), "fill");
        check(json!({"lttb": 2}), "lttb");
        check(json!({"lttb": 500, "bucket": "day"}), "lttb");
        check(json!({"points_max": 500, "quality": "good"}), "quality");
        check(json!({"points_max": 500, "bucket": "day"}), "points_max");
        check(json!({"limit": 500, "bucket": "day"}), "limit");
        check(json!({"cursor": "5", "bucket": "range"}), "bucket");
        check(json!({"cursor": "5", "bucket_ms": 1000, "fill": "linear"}), "fill");
        check(json!({"cursor": "5", "bucket_ms": 1000, "order": "desc"}), "order");
        check(json!({"cursor": "5", "bucket_ms": 1000}), "cursor");
        assert_eq!(problem(json!({"bucket": "week", "week_starts": "sunday"})), None);
        assert_eq!(problem(json!({"lttb": 500, "quality": "not_bad"})), None);
    }
}
