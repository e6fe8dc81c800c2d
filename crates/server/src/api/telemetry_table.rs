//! Readings and buckets as a table: CSV, or an Arrow stream. A row is a reading or a bucket of one
//! series; the columns of a table follow from what is asked of buckets, if they are.

use veritwin_app::model::{Aggregate, BucketRow, LatestView};
use veritwin_domain::{DeviceId, Quality, Timestamp, Value};

use super::activity::csv_field;
use super::arrow_stream::{self, Column, Field, Kind};
use super::body;
use super::telemetry_answer::name_of;

/// Most rows of a record batch.
const BATCH_ROWS_MAX: usize = 8_192;

/// In which form a table is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableForm {
    Csv,
    Arrow,
}

impl TableForm {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// What a row tells.
pub(super) enum Part<'a> {
    Reading { at: Timestamp, value: &'a Value, quality: Quality },
    Bucket(&'a BucketRow),
}

/// A row.
pub(super) struct Row<'a> {
    pub(super) device: DeviceId,
    pub(super) key: &'a str,
    pub(super) part: Part<'a>,
}

/// A table of readings, or of buckets with these aggregates.
pub(super) struct Table<'a> {
    pub(super) form: TableForm,
    pub(super) aggregates: &'a [Aggregate],
}

/// Latest values as a whole table.
pub(super) fn of_latest(form: TableForm, items: &[LatestView]) -> Vec<u8> {
    let table = Table { form, aggregates: &[] };
    let rows: Vec<Row<'_>> = items
        .iter()
        .map(|one| {
            let part = Part::Reading { at: one.at, value: &one.value, quality: one.quality };
            Row { device: one.device, key: &one.key, part }
        })
        .collect();
    [table.head(), table.rows(&rows), table.tail()].concat()
}

impl Table<'_> {
    pub(super) fn head(&self) -> Vec<u8> {
        let fields = self.fields();
        match self.form {
            TableForm::Csv => {
                let names: Vec<String> = fields.into_iter().map(|field| field.name).collect();
                format!("{}\r\n", names.join(",")).into_bytes()
            }
            TableForm::Arrow => arrow_stream::schema(&fields),
        }
    }

    pub(super) fn tail(&self) -> Vec<u8> {
        match self.form {
            // Nothing ends a CSV; an empty piece is no mistake.
            TableForm::Csv => Vec::new(),
            TableForm::Arrow => arrow_stream::end(),
        }
    }

    pub(super) fn rows(&self, rows: &[Row<'_>]) -> Vec<u8> {
        match self.form {
            TableForm::Csv => rows.iter().map(csv_line).collect::<String>().into_bytes(),
            TableForm::Arrow => {
                let fields = self.fields();
                let batches = rows.chunks(BATCH_ROWS_MAX);
                batches.flat_map(|part| self.batch(&fields, part)).collect()
            }
        }
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &str, kind| Field { name: name.to_owned(), kind };
        let mut fields = vec![field("device_id", Kind::Text), field("key", Kind::Text)];
        if self.aggregates.is_empty() {
            fields.push(field("at", Kind::Time));
            if self.form == TableForm::Csv {
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
        for aggregate in self.aggregates {
            let name = name_of(*aggregate);
            let kind = if is_count(*aggregate) { Kind::Integer } else { Kind::Double };
            fields.push(field(&name, kind));
            if self.form == TableForm::Arrow && is_reading(*aggregate) {
                fields.push(field(&format!("{name}_type"), Kind::Text));
                fields.push(field(&format!("{name}_integer"), Kind::Integer));
                fields.push(field(&format!("{name}_text"), Kind::Text));
            }
        }
        fields
    }

    fn batch(&self, fields: &[Field], rows: &[Row<'_>]) -> Vec<u8> {
        let mut columns: Vec<Column> = fields.iter().map(|_| Column::default()).collect();
        for row in rows {
            let mut cells = Cells { columns: &mut columns, next: 0 };
            cells.text(Some(&row.device.to_string()));
            cells.text(Some(row.key));
            match &row.part {
                Part::Reading { at, value, quality } => cells.reading(*at, value, *quality),
                Part::Bucket(bucket) => cells.bucket(bucket, self.aggregates),
            }
        }
        arrow_stream::batch(fields, &columns)
    }
}

fn csv_line(row: &Row<'_>) -> String {
    let mut line = format!("{},{}", row.device, csv_field(row.key));
    let mut field = |text: &str| {
        line.push(',');
        line.push_str(text);
    };
    match &row.part {
        Part::Reading { at, value, quality } => {
            field(&body::time(*at));
            field(&csv_value(value));
            field(quality.as_str());
        }
        Part::Bucket(bucket) => {
            field(&body::time(bucket.from));
            field(&body::time(bucket.to));
            for value in &bucket.values {
                field(&value.as_ref().map(csv_value).unwrap_or_default());
            }
        }
    }
    line.push_str("\r\n");
    line
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => csv_field(text),
        other => body::value(other).to_string(),
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

    fn reading(&mut self, at: Timestamp, value: &Value, quality: Quality) {
        self.time(at);
        self.text(Some(type_of(value)));
        self.column().push_double(value.as_f64());
        self.column().push_integer(integer_of(Some(value)));
        self.text(text_of(Some(value)));
        self.text(Some(quality.as_str()));
    }

    fn bucket(&mut self, row: &BucketRow, aggregates: &[Aggregate]) {
        self.time(row.from);
        self.time(row.to);
        for (aggregate, value) in aggregates.iter().zip(&row.values) {
            match value {
                Some(Value::Integer(count)) if is_count(*aggregate) => {
                    self.column().push_integer(Some(*count));
                }
                _ if is_count(*aggregate) => self.column().push_integer(None),
                value => self.column().push_double(value.as_ref().and_then(Value::as_f64)),
            }
            if is_reading(*aggregate) {
                self.text(value.as_ref().map(type_of));
                self.column().push_integer(integer_of(value.as_ref()));
                self.text(text_of(value.as_ref()));
            }
        }
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Double(_) => "double",
        Value::Integer(_) => "integer",
        Value::Boolean(_) => "boolean",
        Value::Text(_) => "text",
        Value::Json(_) => "json",
    }
}

/// Integers beyond what a double holds stay exact beside it.
const fn integer_of(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn text_of(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Text(text) | Value::Json(text)) => Some(text),
        _ => None,
    }
}

const fn is_count(aggregate: Aggregate) -> bool {
    matches!(aggregate, Aggregate::Count | Aggregate::Simulated)
}

/// Whether it is one of the readings, in that reading's type.
const fn is_reading(aggregate: Aggregate) -> bool {
    matches!(aggregate, Aggregate::First | Aggregate::Last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_csv_are_no_formulas() {
        let device = DeviceId::from_bytes([7; 16]);
        let check = |value: Value, expect: &str| {
            let at = Timestamp::EPOCH;
            let part = Part::Reading { at, value: &value, quality: Quality::Bad };
            let line = csv_line(&Row { device, key: "k,1", part });
            assert_eq!(line, format!("{device},\"k,1\",1970-01-01T00:00:00Z,{expect},bad\r\n"));
        };
        check(Value::Double(-1.5), "-1.5");
        check(Value::Boolean(true), "true");
        check(Value::Text("=1+1".into()), "'=1+1");
        check(Value::Json("{\"a\":1}".into()), "\"{\"\"a\"\":1}\"");
    }
}
