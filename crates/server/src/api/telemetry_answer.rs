//! History as a table: JSON, CSV or an Arrow stream, written series by series. What is in memory is
//! one series in its own form and as it is written.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use serde::Serialize;
use utoipa::ToSchema;
use veritwin_app::HistoryReader;
use veritwin_app::model::{
    Aggregate, BucketRow, BucketView, HistoryData, HistorySeries, PointView,
};
use veritwin_domain::{Timestamp, Value};

use super::activity::csv_field;
use super::arrow_stream::{self, Column, Field, Kind};
use super::body;
use super::telemetry_query::Shape;

/// Most rows of a record batch.
const BATCH_ROWS_MAX: usize = 8_192;
/// More rows are written on a thread of their own: they would hold up what else is sent.
const INLINE_ROWS_MAX: usize = 2_000;

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
    Csv,
    Arrow,
}

impl Form {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
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

/// The answer as a body; a mistake on the way breaks it off.
pub(super) fn stream(reader: HistoryReader, sheet: Sheet) -> Body {
    let begin = (reader, Arc::new(sheet), Stage::Head);
    Body::from_stream(futures::stream::try_unfold(begin, |(mut reader, sheet, stage)| async move {
        let (piece, stage) = match stage {
            Stage::Done => return Ok(None),
            Stage::Head => (sheet.head(), Stage::Series { is_first: true }),
            Stage::Series { is_first } => match reader.next_series().await {
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
        Ok(Some((Bytes::from(piece), (reader, sheet, stage))))
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

    fn head(&self) -> Vec<u8> {
        match self.form {
            Form::Json(_) => self.shell().0.into_bytes(),
            Form::Csv => {
                let names: Vec<String> =
                    self.fields().into_iter().map(|field| field.name).collect();
                format!("{}\r\n", names.join(",")).into_bytes()
            }
            Form::Arrow => arrow_stream::schema(&self.fields()),
        }
    }

    fn tail(&self) -> Vec<u8> {
        match self.form {
            Form::Json(_) => self.shell().1.into_bytes(),
            // Nothing ends a CSV; an empty piece is no mistake.
            Form::Csv => Vec::new(),
            Form::Arrow => arrow_stream::end(),
        }
    }

    fn series(&self, series: &HistorySeries, is_first: bool) -> Vec<u8> {
        match self.form {
            Form::Json(shape) => {
                let mut out = if is_first { Vec::new() } else { vec![b','] };
                self.json(series, shape, &mut out);
                out
            }
            Form::Csv => self.csv(series).into_bytes(),
            Form::Arrow => self.arrow(series),
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

    /// The columns of a table, in CSV and Arrow.
    fn fields(&self) -> Vec<Field> {
        let field = |name: &str, kind| Field { name: name.to_owned(), kind };
        let mut fields = vec![field("device_id", Kind::Text), field("key", Kind::Text)];
        if self.aggregates.is_empty() {
            fields.push(field("at", Kind::Time));
            if self.form == Form::Csv {
                fields.push(field("value", Kind::Text));
            } else {
                fields.push(field("type", Kind::Text));
                fields.push(field("number", Kind::Double));
                fields.push(field("integer", Kind::Integer));
                fields.push(field("text", Kind::Text));
            }
            fields.push(field("quality", Kind::Text));
            return fields;
        }
        fields.push(field("from", Kind::Time));
        fields.push(field("to", Kind::Time));
        for aggregate in &self.aggregates {
            let name = name_of(*aggregate);
            let kind = if *aggregate == Aggregate::Count { Kind::Integer } else { Kind::Double };
            fields.push(field(&name, kind));
            if self.form == Form::Arrow && may_be_text(*aggregate) {
                fields.push(field(&format!("{name}_text"), Kind::Text));
            }
        }
        fields
    }

    fn csv(&self, series: &HistorySeries) -> String {
        let head = format!("{},{}", series.series.device, csv_field(&series.series.key));
        let mut out = String::new();
        let mut line = |fields: &[String]| {
            out.push_str(&head);
            for field in fields {
                out.push(',');
                out.push_str(field);
            }
            out.push_str("\r\n");
        };
        match &series.data {
            HistoryData::Points(points) => {
                for one in points {
                    let (at, value) = (body::time(one.at), csv_value(&one.value));
                    line(&[at, value, one.quality.as_str().to_owned()]);
                }
            }
            HistoryData::Rows(rows) => {
                for row in rows {
                    let mut fields = vec![body::time(row.from), body::time(row.to)];
                    let text = |value: &Option<Value>| value.as_ref().map(csv_value);
                    let values = row.values.iter();
                    fields.extend(values.map(|value| text(value).unwrap_or_default()));
                    line(&fields);
                }
            }
            // A table is asked in detail.
            HistoryData::Buckets { .. } => {}
        }
        out
    }

    fn arrow(&self, series: &HistorySeries) -> Vec<u8> {
        let fields = self.fields();
        let mut out = Vec::new();
        let names = [series.series.device.to_string(), series.series.key.to_string()];
        let mut add = |rows: usize, fill: &dyn Fn(usize, &mut Cells<'_>)| {
            let mut columns: Vec<Column> = fields.iter().map(|_| Column::default()).collect();
            for row in 0..rows {
                let mut cells = Cells { columns: &mut columns, next: 0 };
                names.iter().for_each(|name| cells.text(Some(name.as_str())));
                fill(row, &mut cells);
            }
            out.extend(arrow_stream::batch(&fields, &columns));
        };
        match &series.data {
            HistoryData::Points(points) => {
                for part in points.chunks(BATCH_ROWS_MAX) {
                    add(part.len(), &|row, cells| cells.point(&part[row]));
                }
            }
            HistoryData::Rows(rows) => {
                for part in rows.chunks(BATCH_ROWS_MAX) {
                    add(part.len(), &|row, cells| cells.bucket(&part[row], &self.aggregates));
                }
            }
            HistoryData::Buckets { .. } => {}
        }
        out
    }
}

/// The cells of one row, from left to right.
struct Cells<'a> {
    columns: &'a mut [Column],
    next: usize,
}

impl Cells<'_> {
    fn column(&mut self) -> &mut Column {
        self.next += 1;
        &mut self.columns[self.next - 1]
    }

    fn text(&mut self, text: Option<&str>) {
        self.column().push_text(text);
    }

    fn time(&mut self, at: Timestamp) {
        self.column().push_integer(Some(at.as_micros()));
    }

    fn point(&mut self, point: &PointView) {
        let (kind, integer) = match &point.value {
            Value::Double(_) => ("double", None),
            Value::Integer(number) => ("integer", Some(*number)),
            Value::Boolean(_) => ("boolean", None),
            Value::Text(_) => ("text", None),
            Value::Json(_) => ("json", None),
        };
        self.time(point.at);
        self.text(Some(kind));
        self.column().push_double(point.value.as_f64());
        self.column().push_integer(integer);
        self.text(text_of(Some(&point.value)));
        self.text(Some(point.quality.as_str()));
    }

    fn bucket(&mut self, row: &BucketRow, aggregates: &[Aggregate]) {
        self.time(row.from);
        self.time(row.to);
        for (aggregate, value) in aggregates.iter().zip(&row.values) {
            match value {
                Some(Value::Integer(count)) if *aggregate == Aggregate::Count => {
                    self.column().push_integer(Some(*count));
                }
                _ if *aggregate == Aggregate::Count => self.column().push_integer(None),
                value => self.column().push_double(value.as_ref().and_then(Value::as_f64)),
            }
            if may_be_text(*aggregate) {
                self.text(text_of(value.as_ref()));
            }
        }
    }
}

fn text_of(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Text(text) | Value::Json(text)) => Some(text),
        _ => None,
    }
}

const fn may_be_text(aggregate: Aggregate) -> bool {
    matches!(aggregate, Aggregate::First | Aggregate::Last)
}

/// What an aggregate is called in questions and answers.
pub(super) fn name_of(aggregate: Aggregate) -> String {
    let word = match aggregate {
        Aggregate::Count => "count",
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
    out.push(b'}');
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => csv_field(text),
        other => body::value(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
