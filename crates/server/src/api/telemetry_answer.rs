//! History as a table: JSON, CSV or an Arrow stream, written series by series. What is in memory is
//! one series in its own form and as it is written.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;
use veritwin_app::HistoryReader;
use veritwin_app::model::{
    Aggregate, BucketRow, BucketView, HistoryData, HistorySeries, PERCENTILE_MAX, PointView,
};

use super::Api;
use super::auth::Again;
use super::body;
use super::telemetry_query::Shape;
use super::telemetry_table::{Part, Row, Table, TableForm};

/// More rows are written on a thread of their own: they would hold up what else is sent.
const INLINE_ROWS_MAX: usize = 2_000;

/// What is asked of buckets when nothing is named.
pub(super) const AGGREGATES: [Aggregate; 8] = [
    Aggregate::Count,
    Aggregate::Simulated,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Avg,
    Aggregate::Sum,
    Aggregate::First,
    Aggregate::Last,
];

/// One series of an answer: `points`, or columns.
#[derive(Serialize, ToSchema)]
pub(super) struct SeriesAnswer {
    device_id: String,
    key: String,
    unit: Option<String>,
    /// Width of the buckets; null for raw points and for buckets by the calendar.
    bucket_ms: Option<i64>,
    #[serde(flatten)]
    data: serde_json::Value,
}

/// An answer.
#[derive(Serialize, ToSchema)]
pub(super) struct QueryAnswer {
    series: Vec<SeriesAnswer>,
    /// Where to go on, when `limit` cut a single series.
    next_cursor: Option<String>,
}

/// In which form an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json(Shape),
    Table(TableForm),
}

impl Form {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Table(form) => form.content_type(),
        }
    }
}

/// The first form of those in `Accept` that there is; JSON when none of them is.
pub(super) fn form_of(headers: &HeaderMap, shape: Shape) -> Form {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let texts = accepted.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut forms = texts.filter_map(|one| {
        let name = one.split(';').next().unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "text/csv" => Some(Form::Table(TableForm::Csv)),
            "application/vnd.apache.arrow.stream" => Some(Form::Table(TableForm::Arrow)),
            "application/json" | "application/*" | "*/*" => Some(Form::Json(shape)),
            _ => None,
        }
    });
    forms.next().unwrap_or(Form::Json(shape))
}

/// How an answer is laid out.
pub(super) struct Sheet {
    pub(super) form: Form,
    /// Of buckets in detail: what is asked of each. Points have none.
    pub(super) aggregates: Vec<Aggregate>,
    /// The width of buckets that have one.
    pub(super) width_ms: Option<i64>,
    pub(super) next_cursor: Option<String>,
}

enum Stage {
    Head,
    Series { is_first: bool },
    Done,
}

/// An answer under way.
struct Under {
    reader: HistoryReader,
    sheet: Arc<Sheet>,
    api: Api,
    again: Again,
}

impl Under {
    /// The next series. Before it is read, whoever asked is asked for again.
    async fn next(&mut self) -> veritwin_app::Result<Option<HistorySeries>> {
        if self.reader.reads_next() {
            let context = self.again.context(&self.api).await?;
            self.reader.go_on_as(context)?;
        }
        self.reader.next_series().await
    }
}

/// The answer as a body; a mistake on the way breaks it off.
pub(super) fn stream(reader: HistoryReader, sheet: Sheet, (api, again): (Api, Again)) -> Body {
    let under = Under { reader, sheet: Arc::new(sheet), api, again };
    let begin = (under, Stage::Head);
    Body::from_stream(futures::stream::try_unfold(begin, |(mut under, stage)| async move {
        let sheet = Arc::clone(&under.sheet);
        let (piece, stage) = match stage {
            Stage::Done => return Ok(None),
            Stage::Head => (sheet.head(), Stage::Series { is_first: true }),
            Stage::Series { is_first } => match under.next().await {
                Ok(Some(series)) => {
                    let piece = written(&sheet, series, is_first).await?;
                    (piece, Stage::Series { is_first: false })
                }
                Ok(None) => (sheet.tail(), Stage::Done),
                Err(error) => {
                    tracing::warn!(%error, "a history under way is broken off");
                    return Err(io::Error::other("the answer is broken off"));
                }
            },
        };
        Ok(Some((Bytes::from(piece), (under, stage))))
    }))
}

async fn written(sheet: &Arc<Sheet>, series: HistorySeries, is_first: bool) -> io::Result<Vec<u8>> {
    let rows = match &series.data {
        HistoryData::Points(points) => points.len(),
        HistoryData::Buckets { buckets, .. } => buckets.len(),
        HistoryData::Rows(rows) => rows.len(),
    };
    if rows <= INLINE_ROWS_MAX {
        return Ok(sheet.series(&series, is_first));
    }
    let sheet = Arc::clone(sheet);
    let writing = tokio::task::spawn_blocking(move || sheet.series(&series, is_first));
    writing.await.map_err(io::Error::other)
}

impl Sheet {
    /// The answer around its series, in JSON.
    fn shell(&self) -> (String, String) {
        let answer = QueryAnswer { series: Vec::new(), next_cursor: self.next_cursor.clone() };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        let (head, tail) = text.split_once("[]").unwrap_or_default();
        (format!("{head}["), format!("]{tail}"))
    }

    const fn table(&self, form: TableForm) -> Table<'_> {
        Table { form, aggregates: self.aggregates.as_slice() }
    }

    fn head(&self) -> Vec<u8> {
        match self.form {
            Form::Json(_) => self.shell().0.into_bytes(),
            Form::Table(form) => self.table(form).head(),
        }
    }

    fn tail(&self) -> Vec<u8> {
        match self.form {
            Form::Json(_) => self.shell().1.into_bytes(),
            Form::Table(form) => self.table(form).tail(),
        }
    }

    fn series(&self, series: &HistorySeries, is_first: bool) -> Vec<u8> {
        match self.form {
            Form::Json(shape) => {
                let mut out = if is_first { Vec::new() } else { vec![b','] };
                self.json(series, shape, &mut out);
                out
            }
            Form::Table(form) => self.table(form).rows(&rows_of(series)),
        }
    }

    fn json(&self, series: &HistorySeries, shape: Shape, out: &mut Vec<u8>) {
        let bucket_ms = match &series.data {
            HistoryData::Points(_) => None,
            HistoryData::Buckets { width_micros, .. } => Some(width_micros / 1000),
            HistoryData::Rows(_) => self.width_ms,
        };
        let answer = SeriesAnswer {
            device_id: series.series.device.to_string(),
            key: series.series.key.to_string(),
            unit: series.unit.clone(),
            bucket_ms,
            data: serde_json::json!({}),
        };
        put(out, &answer);
        // The data is written out rather than built up, in place of the closing brace.
        out.pop();
        match (&series.data, shape) {
            (HistoryData::Points(points), Shape::Points) => list(out, points, put_point),
            (HistoryData::Points(points), Shape::Columns) => {
                column(out, "at_ms", points, |one| one.at.as_millis());
                column(out, "value", points, |one| body::value(&one.value));
                column(out, "quality", points, |one| one.quality.as_str());
            }
            (HistoryData::Buckets { buckets, .. }, Shape::Points) => {
                list(out, buckets, put_bucket);
            }
            (HistoryData::Buckets { buckets, .. }, Shape::Columns) => {
                column(out, "at_ms", buckets, |one| one.at.as_millis());
                column(out, "count", buckets, |one| one.count);
                column(out, "min", buckets, |one| one.min);
                column(out, "max", buckets, |one| one.max);
                column(out, "avg", buckets, mean);
                column(out, "sum", buckets, |one| one.sum);
                column(out, "first", buckets, |one| one.first);
                column(out, "last", buckets, |one| one.last);
                column(out, "simulated", buckets, |one| one.simulated);
            }
            (HistoryData::Rows(rows), Shape::Points) => {
                list(out, rows, |out, row| self.put_row(out, row));
            }
            (HistoryData::Rows(rows), Shape::Columns) => {
                column(out, "at_ms", rows, |row| row.from.as_millis());
                column(out, "to_ms", rows, |row| row.to.as_millis());
                for (place, aggregate) in self.aggregates.iter().enumerate() {
                    column(out, &name_of(*aggregate), rows, |row| json_of(row, place));
                }
            }
        }
        out.push(b'}');
    }

    fn put_row(&self, out: &mut Vec<u8>, row: &BucketRow) {
        member(out, b'{', "at", &body::time(row.from));
        member(out, b',', "to", &body::time(row.to));
        for (place, aggregate) in self.aggregates.iter().enumerate() {
            member(out, b',', &name_of(*aggregate), &json_of(row, place));
        }
        out.push(b'}');
    }
}

/// The rows of a table.
fn rows_of(series: &HistorySeries) -> Vec<Row<'_>> {
    let row = |part| Row { device: series.series.device, key: &series.series.key, part };
    match &series.data {
        HistoryData::Points(points) => points
            .iter()
            .map(|one| row(Part::Reading { at: one.at, value: &one.value, quality: one.quality }))
            .collect(),
        HistoryData::Rows(rows) => rows.iter().map(|one| row(Part::Bucket(one))).collect(),
        // A table is asked in detail.
        HistoryData::Buckets { .. } => Vec::new(),
    }
}

/// What an aggregate is called in questions and answers.
pub(super) fn name_of(aggregate: Aggregate) -> String {
    let word = match aggregate {
        Aggregate::Count => "count",
        Aggregate::Simulated => "simulated",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Avg => "avg",
        Aggregate::Sum => "sum",
        Aggregate::First => "first",
        Aggregate::Last => "last",
        Aggregate::Delta => "delta",
        Aggregate::Rate => "rate",
        Aggregate::TimeWeighted => "time_weighted_avg",
        Aggregate::Percentile(thousandths) => {
            let text = format!("p{}.{:03}", thousandths / 1000, thousandths % 1000);
            return text.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
    };
    word.to_owned()
}

/// The aggregate of a name.
pub(super) fn aggregate_of(name: &str) -> Option<Aggregate> {
    AGGREGATES
        .into_iter()
        .chain([Aggregate::Delta, Aggregate::Rate, Aggregate::TimeWeighted])
        .find(|aggregate| name_of(*aggregate) == name)
        .or_else(|| percentile_of(name))
}

fn percentile_of(name: &str) -> Option<Aggregate> {
    let number = name.strip_prefix('p')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(part, 3) {
        return None;
    }
    let thousandths =
        whole.parse::<u32>().ok()? * 1000 + format!("{part:0<3}").parse::<u32>().ok()?;
    (thousandths <= PERCENTILE_MAX).then_some(Aggregate::Percentile(thousandths))
}

fn json_of(row: &BucketRow, place: usize) -> serde_json::Value {
    row.values.get(place).and_then(Option::as_ref).map_or(serde_json::Value::Null, body::value)
}

fn mean(bucket: &BucketView) -> f64 {
    bucket.sum / bucket.count.max(1) as f64
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing to memory does not fail; what is no JSON is nothing.
        out.extend_from_slice(b"null");
    }
}

fn member(out: &mut Vec<u8>, before: u8, name: &str, value: &impl Serialize) {
    out.push(before);
    put(out, &name);
    out.push(b':');
    put(out, value);
}

fn list<T>(out: &mut Vec<u8>, rows: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(b",\"points\":[");
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, row);
    }
    out.push(b']');
}

fn column<T, V: Serialize>(out: &mut Vec<u8>, name: &str, rows: &[T], of: impl Fn(&T) -> V) {
    out.push(b',');
    put(out, &name);
    out.extend_from_slice(b":[");
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        put(out, &of(row));
    }
    out.push(b']');
}

fn put_point(out: &mut Vec<u8>, point: &PointView) {
    member(out, b'{', "at", &body::time(point.at));
    member(out, b',', "value", &body::value(&point.value));
    member(out, b',', "quality", &point.quality.as_str());
    out.push(b'}');
}

fn put_bucket(out: &mut Vec<u8>, bucket: &BucketView) {
    member(out, b'{', "at", &body::time(bucket.at));
    member(out, b',', "count", &bucket.count);
    member(out, b',', "min", &bucket.min);
    member(out, b',', "max", &bucket.max);
    member(out, b',', "avg", &mean(bucket));
    member(out, b',', "sum", &bucket.sum);
    member(out, b',', "first", &bucket.first);
    member(out, b',', "last", &bucket.last);
    member(out, b',', "simulated", &bucket.simulated);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregates_are_read_by_their_names() {
        let check = |name: &str, expect: Option<Aggregate>| assert_eq!(aggregate_of(name), expect);
        check("avg", Some(Aggregate::Avg));
        check("time_weighted_avg", Some(Aggregate::TimeWeighted));
        check("simulated", Some(Aggregate::Simulated));
        check("p50", Some(Aggregate::Percentile(50_000)));
        check("p99.9", Some(Aggregate::Percentile(99_900)));
        check("p0.005", Some(Aggregate::Percentile(5)));
        check("p100", Some(Aggregate::Percentile(100_000)));
        for wrong in ["p100.001", "p", "p.5", "p5.", "p-1", "p1e2", "p99.9999", "mean", "AVG", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn percentiles_are_named_as_they_are_asked() {
        let check = |thousandths, expect: &str| {
            assert_eq!(name_of(Aggregate::Percentile(thousandths)), expect);
        };
        check(50_000, "p50");
        check(99_900, "p99.9");
        check(100_000, "p100");
        check(5, "p0.005");
        check(0, "p0");
    }
}
