//! The three tables: their columns, and batches of their rows. A batch holds the columns that were
//! asked for, and no others are made.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use veritwin_domain::Value;

use crate::source::{DeviceRow, Point};

/// The time zone of times.
pub(crate) const ZONE: &str = "UTC";

/// A batch is handed on with so many rows, or so many bytes of texts.
const ROWS_MAX: usize = 4_096;
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Readings,
    Latest,
    Devices,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    DeviceId,
    Device,
    Key,
    At,
    Kind,
    Number,
    Integer,
    Text,
    Quality,
    DeviceKind,
    TwinId,
}

impl Table {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Latest => "latest",
            Self::Devices => "devices",
        }
    }

    pub(crate) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Readings | Self::Latest => &[
                Column::DeviceId,
                Column::Device,
                Column::Key,
                Column::At,
                Column::Kind,
                Column::Number,
                Column::Integer,
                Column::Text,
                Column::Quality,
            ],
            Self::Devices => {
                &[Column::DeviceId, Column::Device, Column::DeviceKind, Column::TwinId]
            }
        }
    }
}

impl Column {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeviceId => "device_id",
            Self::Device => "device",
            Self::Key => "key",
            Self::At => "at",
            Self::Kind | Self::DeviceKind => "type",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Text => "text",
            Self::Quality => "quality",
            Self::TwinId => "twin_id",
        }
    }

    fn field(self) -> Field {
        let kind = match self {
            Self::At => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            Self::Number => DataType::Float64,
            Self::Integer => DataType::Int64,
            _ => DataType::Utf8,
        };
        let may_be_null = matches!(self, Self::Number | Self::Integer | Self::Text | Self::TwinId);
        Field::new(self.name(), kind, may_be_null)
    }

    fn builder(self) -> Builder {
        match self {
            Self::At => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone(ZONE)),
            Self::Number => Builder::Double(Float64Builder::new()),
            Self::Integer => Builder::Integer(Int64Builder::new()),
            _ => Builder::Text(StringBuilder::new()),
        }
    }
}

pub(crate) fn schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field()).collect::<Vec<_>>()))
}

/// A row, as far as its table has what is in it.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) device: &'a DeviceRow,
    /// The device's id as a text, made once for many rows.
    pub(crate) device_id: &'a str,
    pub(crate) reading: Option<(&'a str, &'a Point)>,
}

impl Row<'_> {
    fn value(&self) -> Option<&Value> {
        self.reading.map(|(_, point)| &point.value)
    }
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Double(Float64Builder),
    Integer(Int64Builder),
}

impl Builder {
    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// Rows that become a batch.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<(Column, Builder)>,
    rows: usize,
    text_bytes: usize,
}

impl Rows {
    pub(crate) fn new(columns: &[Column], schema: &SchemaRef) -> Self {
        Self {
            schema: Arc::clone(schema),
            columns: columns.iter().map(|column| (*column, column.builder())).collect(),
            rows: 0,
            text_bytes: 0,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.text_bytes >= TEXT_BYTES_MAX
    }

    pub(crate) fn push(&mut self, row: &Row<'_>) {
        self.rows += 1;
        self.text_bytes += row.value().map_or(0, Value::text_bytes);
        for (column, builder) in &mut self.columns {
            match builder {
                Builder::Text(texts) => push_text(texts, *column, row),
                Builder::Time(times) => {
                    times.append_option(row.reading.map(|(_, point)| point.at.as_micros()));
                }
                Builder::Double(numbers) => {
                    numbers.append_option(row.value().and_then(Value::as_f64));
                }
                Builder::Integer(numbers) => numbers.append_option(match row.value() {
                    Some(Value::Integer(number)) => Some(*number),
                    _ => None,
                }),
            }
        }
    }

    pub(crate) fn finish(self) -> Result<RecordBatch, ArrowError> {
        // A batch without columns, for `count(*)`, has rows all the same.
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let arrays = self.columns.into_iter().map(|(_, builder)| builder.finish()).collect();
        RecordBatch::try_new_with_options(self.schema, arrays, &options)
    }
}

fn push_text(texts: &mut StringBuilder, column: Column, row: &Row<'_>) {
    match column {
        Column::DeviceId => texts.append_value(row.device_id),
        Column::Device => texts.append_value(&row.device.name),
        Column::DeviceKind => texts.append_value(&row.device.kind),
        Column::TwinId => texts.append_option(row.device.twin.map(|twin| twin.to_string())),
        Column::Key => texts.append_option(row.reading.map(|(key, _)| key)),
        Column::Kind => texts.append_option(row.value().map(kind_of)),
        Column::Text => texts.append_option(match row.value() {
            Some(Value::Text(text) | Value::Json(text)) => Some(text),
            _ => None,
        }),
        Column::Quality => {
            texts.append_option(row.reading.map(|(_, point)| point.quality.as_str()));
        }
        Column::At | Column::Number | Column::Integer => texts.append_null(),
    }
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Double(_) => "double",
        Value::Integer(_) => "integer",
        Value::Boolean(_) => "boolean",
        Value::Text(_) => "text",
        Value::Json(_) => "json",
    }
}
