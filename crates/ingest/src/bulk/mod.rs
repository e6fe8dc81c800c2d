//! Bulk writes: many readings of one or several devices in one text or table. All of it is parsed
//! before anything is stored, and what is wrong is named with its line, or row, and column.

mod arrow;
mod files;
mod line_protocol;
mod ndjson;
mod parquet;
mod senml;

use std::collections::{HashMap, HashSet};
use std::fmt;

use veritwin_domain::{
    IngestLimits, Key, LimitExceeded, Quality, Reading, Rule, Screening, Timestamp, Value,
};

use crate::payload::{Kept, KeyTable, PayloadError, RefusedValue, check_value};

pub use self::parquet::{
    PARQUET_CHUNKS_MAX, PARQUET_GROUP_BYTES_MAX, PARQUET_GROUP_VALUES_MAX, PARQUET_GROUPS_MAX,
    PARQUET_HELD_BYTES_MAX, PARQUET_PAGE_BYTES_MAX, PARQUET_PAGE_VALUES_MAX,
};
pub use arrow::{ARROW_CELLS_MAX, ARROW_COLUMNS_MAX, ARROW_DICTIONARY_VALUES_MAX, ARROW_ROWS_MAX};
pub use files::{
    COLUMN_BYTES_MAX, DeviceFrom, ExportedRow, FILE_COLUMNS_MAX, FileForm, FileMapping, FileRules,
    FileWriter, Piece, PieceReader, RefusedRow, STEP_READINGS_MAX, STEP_REFUSED_MAX, Step,
    TimeForm, ValueColumn, ValueKind, ValuesFrom, columns_of, cut_of, lines_of,
};
pub use line_protocol::Precision;

/// Most devices in one bulk write.
pub const DEVICES_PER_WRITE_MAX: usize = 10_000;

/// How far whoever writes for others may say that a value can be trusted: all that there is, so
/// that what was exported comes back as it was.
const QUALITIES: [Quality; 4] =
    [Quality::Good, Quality::Uncertain, Quality::Bad, Quality::Simulated];

/// The form of a bulk write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// InfluxDB line protocol.
    LineProtocol(Precision),
    /// One JSON object per line.
    NdJson,
    /// SenML JSON (RFC 8428).
    SenMl,
    /// Arrow IPC stream.
    Arrow,
}

impl Format {
    /// What a mistake is found by.
    pub const fn place(self) -> Place {
        match self {
            Self::LineProtocol(_) | Self::NdJson | Self::SenMl => Place::Line,
            Self::Arrow => Place::Row,
        }
    }
}

/// What the line and the column of a mistake are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of the text, and a byte in it, both from 1.
    Line,
    /// A row of the table and a column, both from 1; 0 is none of them.
    Row,
    /// No line: a byte of the body, from 0.
    Byte,
}

/// What a bulk write takes from outside its text.
#[derive(Debug, Clone, Copy)]
pub struct BulkContext<'a> {
    /// The time of readings that carry none.
    pub received_at: Timestamp,
    /// The time of the first reading of a device that carries none.
    pub untimed_at: Timestamp,
    /// The bounds.
    pub limits: &'a IngestLimits,
    /// The writer is one device; rows may then not name another.
    pub one_device: bool,
    /// The rules on what must not be kept.
    pub screening: Screening,
}

/// Why a bulk write is refused. The text holds nothing of the writer's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkError {
    /// What the line and the column are.
    pub place: Place,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// What was wrong and what would be right.
    pub detail: String,
    /// The limit that was passed, if that is the reason.
    pub limit: Option<LimitExceeded>,
    /// The rule on what must not be kept that was broken, if that is the reason.
    pub rule: Option<Rule>,
}

impl fmt::Display for BulkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, detail, .. } = self;
        match (self.place, line, column) {
            (Place::Line, _, _) => write!(f, "line {line}, column {column}: {detail}"),
            (Place::Byte, _, _) => write!(f, "byte {column}: {detail}"),
            (Place::Row, 0, 0) => write!(f, "{detail}"),
            (Place::Row, 0, _) => write!(f, "column {column}: {detail}"),
            (Place::Row, _, 0) => write!(f, "row {line}: {detail}"),
            (Place::Row, _, _) => write!(f, "row {line}, column {column}: {detail}"),
        }
    }
}

impl std::error::Error for BulkError {}

impl BulkError {
    fn new(line: usize, column: usize, detail: impl Into<String>) -> Self {
        let (place, detail) = (Place::Line, detail.into());
        Self { place, line, column, detail, limit: None, rule: None }
    }

    fn of_payload(line: usize, error: PayloadError) -> Self {
        let PayloadError { position, detail, limit, rule } = error;
        Self { limit, rule, ..Self::new(line, position + 1, detail) }
    }

    fn of_limit(line: usize, column: usize, limit: LimitExceeded) -> Self {
        let text = limit.to_string();
        Self { limit: Some(limit), ..Self::new(line, column, text) }
    }

    fn at_byte(byte: usize, detail: &'static str) -> Self {
        Self { place: Place::Byte, ..Self::new(0, byte, detail) }
    }

    /// The same in a table, of which rows are counted and not lines.
    fn of_table(self) -> Self {
        let place = if self.place == Place::Line { Place::Row } else { self.place };
        Self { place, ..self }
    }
}

/// The readings of one device in a bulk write.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRows {
    /// The device's name, `None` for the writer itself.
    pub device: Option<String>,
    /// The line, or row, that named it first.
    pub line: usize,
    /// Its readings, in their order.
    pub readings: Vec<Reading>,
}

/// Parses a whole bulk write: the readings by device. What carries no time and comes again for the
/// same device is a microsecond later, as equal times of one key would be one reading.
pub fn parse(
    format: Format,
    body: &[u8],
    context: BulkContext<'_>,
) -> Result<Vec<DeviceRows>, BulkError> {
    let mut rows = Rows::new(context);
    match format {
        Format::LineProtocol(precision) => {
            line_protocol::parse(text_of(body)?, precision, &mut rows)?;
        }
        Format::NdJson => ndjson::parse(text_of(body)?, &mut rows)?,
        Format::SenMl => senml::parse(text_of(body)?, &mut rows)?,
        Format::Arrow => arrow::parse(body, &mut rows).map_err(BulkError::of_table)?,
    }
    Ok(rows.devices)
}

fn text_of(body: &[u8]) -> Result<&str, BulkError> {
    std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let (line, column) = line_and_column(before, before.len());
        BulkError::new(line, column, "not UTF-8: expected text in UTF-8")
    })
}

/// Line and column, both from 1, of a byte position.
fn line_and_column(body: &[u8], position: usize) -> (usize, usize) {
    let before = &body[..position.min(body.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (line, before.len() - start + 1)
}

/// The readings of one device that carry no time.
struct Untimed {
    /// The time of the next row.
    next_at: Timestamp,
    /// The keys of the present moment, where a row is one reading.
    keys: HashSet<Key>,
}

/// The rows so far.
struct Rows<'a> {
    context: BulkContext<'a>,
    keys: KeyTable,
    devices: Vec<DeviceRows>,
    /// For each of the devices.
    untimed: Vec<Untimed>,
    index: HashMap<Option<String>, usize>,
    /// The place that was asked for last.
    last: usize,
    readings: usize,
}

impl<'a> Rows<'a> {
    fn new(context: BulkContext<'a>) -> Self {
        let keys = KeyTable::new(context.screening);
        let (devices, untimed) = (Vec::new(), Vec::new());
        let index = HashMap::new();
        Self { context, keys, devices, untimed, index, last: 0, readings: 0 }
    }

    /// The place for a device's readings.
    fn device(&mut self, name: Option<&str>, line: usize) -> Result<usize, BulkError> {
        if let Some(last) = self.devices.get(self.last)
            && last.device.as_deref() == name
        {
            return Ok(self.last);
        }
        let key = name.map(str::to_owned);
        if let Some(place) = self.index.get(&key) {
            self.last = *place;
            return Ok(*place);
        }
        let (max, actual) = (DEVICES_PER_WRITE_MAX, self.devices.len() + 1);
        if actual > max {
            let limit = LimitExceeded { name: "devices_per_write_max", max, actual };
            return Err(BulkError::of_limit(line, 1, limit));
        }
        let place = self.devices.len();
        self.devices.push(DeviceRows { device: key.clone(), line, readings: Vec::new() });
        let next_at = self.context.untimed_at;
        self.untimed.push(Untimed { next_at, keys: HashSet::new() });
        self.index.insert(key, place);
        self.last = place;
        Ok(place)
    }

    /// The time of a row that carries none.
    fn moment(&mut self, place: usize) -> Timestamp {
        let Some(untimed) = self.untimed.get_mut(place) else { return self.context.untimed_at };
        let at = untimed.next_at;
        untimed.next_at = at.just_after();
        at
    }

    /// The time of one reading that carries none: that of the readings before it, unless its key
    /// is among them.
    fn moment_of(&mut self, place: usize, key: &Key) -> Timestamp {
        let Some(untimed) = self.untimed.get_mut(place) else { return self.context.untimed_at };
        if untimed.keys.is_empty() || !untimed.keys.insert(key.clone()) {
            untimed.keys.clear();
            untimed.keys.insert(key.clone());
            untimed.next_at = untimed.next_at.just_after();
        }
        Timestamp::from_micros(untimed.next_at.as_micros() - 1)
    }

    /// Counts `more` readings against the bound.
    fn count(&mut self, more: usize, line: usize, column: usize) -> Result<(), BulkError> {
        self.readings += more;
        let (max, actual) = (self.context.limits.readings_per_message_max, self.readings);
        if actual <= max {
            return Ok(());
        }
        let limit = LimitExceeded { name: "readings_per_message_max", max, actual };
        Err(BulkError::of_limit(line, column, limit))
    }

    fn key(&mut self, text: &str, line: usize, column: usize) -> Result<Key, BulkError> {
        let max = self.context.limits.key_bytes_max;
        if text.len() > max {
            let limit = LimitExceeded { name: "key_bytes_max", max, actual: text.len() };
            return Err(BulkError::of_limit(line, column, limit));
        }
        self.keys.key(text).map_err(|error| {
            let (detail, rule) = error.told();
            BulkError { rule, ..BulkError::new(line, column, detail) }
        })
    }

    /// Refuses a value that must not be kept.
    fn check(&self, key: &Key, value: &Value, line: usize, column: usize) -> Result<(), BulkError> {
        let checked = check_value(self.context.screening, key, value, Kept::Telemetry);
        checked.map_err(|refused| {
            let RefusedValue { rule, limit, detail } = refused;
            BulkError { rule, limit, ..BulkError::new(line, column, detail) }
        })
    }

    /// A text value within its bound.
    fn text(&self, text: &str, line: usize, column: usize) -> Result<Value, BulkError> {
        let (max, actual) = (self.context.limits.value_bytes_max, text.len());
        if actual > max {
            let limit = LimitExceeded { name: "value_bytes_max", max, actual };
            return Err(BulkError::of_limit(line, column, limit));
        }
        Ok(Value::Text(text.into()))
    }

    fn push(&mut self, place: usize, key: Key, at: Timestamp, value: Value) {
        if let Some(rows) = self.devices.get_mut(place) {
            rows.readings.push(Reading { key, at, value, quality: Quality::Good });
        }
    }
}
