//! Files of readings for a backfill, read piece by piece: CSV, NDJSON, InfluxDB line protocol and
//! Parquet. Every reading has a time of its own. What is wrong with a row is said with its place
//! and costs that row alone; how much is held at once is bounded whatever the file says.

mod cells;
mod lines;
mod table;
mod times;
mod write;

use bytes::Bytes;
use veritwin_domain::{IngestLimits, Key, Screening, Value};

use super::{BulkContext, BulkError, DeviceRows, Precision, Rows, parquet};
use crate::arrivals::UNTIMED;

pub(super) use cells::{Cell, Plan};
pub use times::TimeForm;
pub use write::{ExportedRow, FileWriter};

/// Most readings that are taken out of a piece in one step.
pub const STEP_READINGS_MAX: usize = 20_000;
/// Bytes of text behind which a step ends: few bytes of a file may say them again and again.
const STEP_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Most rows that are looked at in one step: rows may hold nothing.
const STEP_ROWS_MAX: u64 = 50_000;
/// Most devices of one step: behind them it ends.
const STEP_DEVICES_MAX: usize = 5_000;
/// Most rows of one step that are refused: behind them the step ends.
pub const STEP_REFUSED_MAX: usize = 1_000;
/// Most columns of a table.
pub const FILE_COLUMNS_MAX: usize = 1_024;
/// Longest name of a column, in bytes.
pub const COLUMN_BYTES_MAX: usize = 512;

/// What a file of readings is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileForm {
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object a line.
    NdJson,
    /// InfluxDB line protocol.
    LineProtocol,
    /// Apache Parquet, flat.
    Parquet,
}

impl FileForm {
    /// Every form there is.
    pub const ALL: [Self; 4] = [Self::Csv, Self::NdJson, Self::LineProtocol, Self::Parquet];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::NdJson => "ndjson",
            Self::LineProtocol => "line_protocol",
            Self::Parquet => "parquet",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == text)
    }

    /// What a written file is served as.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::NdJson => "application/x-ndjson",
            Self::LineProtocol => "text/plain; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// How a file's name ends.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::NdJson => "ndjson",
            Self::LineProtocol => "lp",
            Self::Parquet => "parquet",
        }
    }
}

/// Whose the rows of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFrom {
    /// All of one device: its name or id.
    Named(String),
    /// Of the device that this column names.
    Column(String),
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueKind {
    /// As they look: an integer, a number, true or false, or else a text.
    #[default]
    Auto,
    /// Numbers.
    Double,
    /// Integers.
    Integer,
    /// True or false.
    Boolean,
    /// Texts, whatever they look like.
    Text,
    /// JSON objects and arrays, as texts.
    Json,
}

impl ValueKind {
    /// Every kind there is.
    pub const ALL: [Self; 6] =
        [Self::Auto, Self::Double, Self::Integer, Self::Boolean, Self::Text, Self::Json];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Double => "double",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueColumn {
    /// Its name.
    pub column: String,
    /// The key of its series.
    pub key: String,
    /// What it holds.
    pub kind: ValueKind,
}

/// Where the values of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuesFrom {
    /// In every column that is nothing else, under the column's name.
    Others,
    /// In these columns.
    Columns(Vec<ValueColumn>),
    /// One value a row, and its key in a column beside it.
    Pairs {
        /// The column of the keys.
        key: String,
        /// The columns of the values: the first that holds one counts.
        values: Vec<String>,
        /// The column that says which kind each value is of.
        kind: Option<String>,
    },
}

/// How a file is to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct FileMapping {
    /// What it is written in.
    pub form: FileForm,
    /// What stands between the columns of a CSV file.
    pub delimiter: u8,
    /// Whose the rows of a table are; lines name their devices themselves.
    pub device: DeviceFrom,
    /// The column of the times of a table.
    pub time_column: String,
    /// How times are written.
    pub time: TimeForm,
    /// Where the values of a table are.
    pub values: ValuesFrom,
    /// The column of a table that says how far a value can be trusted.
    pub quality_column: Option<String>,
    /// The unit of the times in line protocol.
    pub precision: Precision,
}

/// A part of a file: whole rows of text, or a whole Parquet file.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its bytes.
    pub body: Bytes,
    /// The header of the CSV file, as it stands in its first piece; empty in other forms.
    pub header: Vec<String>,
    /// Whether it begins the file, so that a CSV header is its first row.
    pub is_first: bool,
    /// Lines, or rows, of the file before it.
    pub before: u64,
    /// Rows of it that were taken already.
    pub rows_taken: u64,
}

/// A row that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// The line of the text, or the row of the table, from 1.
    pub row: u64,
    /// The column: a byte of a line, or the number of a table's column, from 1; 0 is none.
    pub column: u64,
    /// What is wrong and what would be right. It holds nothing of the row.
    pub detail: String,
}

/// What one step took out of a piece.
#[derive(Debug, Default)]
pub struct Step {
    /// The readings by device.
    pub devices: Vec<DeviceRows>,
    /// Of each row that was taken: its device's place, and where it stands in the file.
    pub rows_of: Vec<(usize, u64)>,
    /// Rows that are refused.
    pub refused: Vec<RefusedRow>,
    /// Rows that were looked at, refused ones and empty ones too.
    pub rows: u64,
    /// Whether the piece ends here.
    pub is_end: bool,
}

/// The bounds and rules that rows are held to.
#[derive(Debug, Clone, Copy)]
pub struct FileRules {
    limits: IngestLimits,
    screening: Screening,
}

impl FileRules {
    /// Those of readings. How many of them come together is bounded by the step instead.
    pub const fn new(limits: IngestLimits, screening: Screening) -> Self {
        Self { limits: IngestLimits { readings_per_message_max: usize::MAX, ..limits }, screening }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(BulkContext {
            received_at: UNTIMED,
            untimed_at: UNTIMED,
            limits: &self.limits,
            one_device: false,
            screening: self.screening,
        })
    }
}

enum Source {
    Csv(Box<table::CsvSource>),
    Lines(lines::LineSource),
    Parquet(Box<parquet::ParquetSource>),
}

/// Reads a piece step by step.
pub struct PieceReader {
    mapping: FileMapping,
    rules: FileRules,
    source: Source,
}

impl std::fmt::Debug for PieceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceReader").field("form", &self.mapping.form).finish_non_exhaustive()
    }
}

impl PieceReader {
    /// Opens a piece; what is wrong with it as a whole is said here.
    pub fn open(mapping: FileMapping, rules: FileRules, piece: Piece) -> Result<Self, BulkError> {
        let source = match mapping.form {
            FileForm::Csv => Source::Csv(Box::new(table::CsvSource::open(&mapping, piece)?)),
            FileForm::NdJson | FileForm::LineProtocol => {
                Source::Lines(lines::LineSource::open(&mapping, piece)?)
            }
            FileForm::Parquet => {
                Source::Parquet(Box::new(parquet::ParquetSource::open(&mapping, piece)?))
            }
        };
        Ok(Self { mapping, rules, source })
    }

    /// The next rows. An error is one of the whole piece: nothing behind it can be read.
    pub fn step(&mut self) -> Result<Step, BulkError> {
        match &mut self.source {
            Source::Csv(source) => source.step(&self.rules),
            Source::Lines(source) => source.step(&self.rules),
            Source::Parquet(source) => source.step(&self.rules),
        }
    }
}

/// How many lines a piece of text has.
pub fn lines_of(body: &[u8]) -> u64 {
    let breaks = body.iter().filter(|byte| **byte == b'\n').count();
    let is_open = body.last().is_some_and(|byte| *byte != b'\n');
    breaks as u64 + u64::from(is_open)
}

/// The columns of a table as a client shows them before an import.
pub fn columns_of(form: FileForm, delimiter: u8, body: &[u8]) -> Result<Vec<String>, BulkError> {
    match form {
        FileForm::Csv => table::header_of(delimiter, body),
        FileForm::Parquet => parquet::columns_of(body),
        FileForm::NdJson | FileForm::LineProtocol => Ok(Vec::new()),
    }
}

/// Where in a record of CSV something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// A field begins here.
    Begin,
    Field,
    Quotes,
    /// Behind a quote inside of quotes, which ends them unless another one follows.
    Quote,
}

impl Within {
    /// Behind a byte. A quote in the middle of a field is a letter like any other.
    const fn behind(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Begin | Self::Quote, b'"') => Self::Quotes,
            (Self::Quotes, b'"') => Self::Quote,
            (Self::Quotes, _) => Self::Quotes,
            (_, b'\n' | b'\r') => Self::Begin,
            (_, other) if other == delimiter => Self::Begin,
            _ => Self::Field,
        }
    }
}

/// Where a text is to be cut so that a piece of it holds whole rows: behind the last break of a
/// row within `bytes_max`. None where one row is longer than that.
pub fn cut_of(form: FileForm, delimiter: u8, text: &[u8], bytes_max: usize) -> Option<usize> {
    if text.len() <= bytes_max {
        return Some(text.len());
    }
    let (mut cut, mut within) = (None, Within::Begin);
    for (index, byte) in text[..bytes_max].iter().enumerate() {
        if *byte == b'\n' && within != Within::Quotes {
            cut = Some(index + 1);
        }
        if form == FileForm::Csv {
            within = within.behind(*byte, delimiter);
        }
    }
    cut
}

/// A step while it is taken.
pub(super) struct Taking<'a> {
    rows: Rows<'a>,
    step: Step,
    readings: usize,
    text_bytes: usize,
    /// How many readings each device has.
    counts: Vec<usize>,
    scratch: Vec<(Key, Value)>,
}

impl<'a> Taking<'a> {
    pub(super) fn new(rules: &'a FileRules) -> Self {
        let (rows, step, counts, scratch) = (rules.rows(), Step::default(), Vec::new(), Vec::new());
        Self { rows, step, readings: 0, text_bytes: 0, counts, scratch }
    }

    /// How many readings a device has by now, and how many it had when this was asked last.
    fn counted(&mut self, place: usize) -> (usize, usize) {
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        let now = self.rows.devices.get(place).map_or(0, |device| device.readings.len());
        (now, self.counts.get_mut(place).map_or(0, |count| std::mem::replace(count, now)))
    }

    /// Whether there is room for another row.
    pub(super) fn goes_on(&self) -> bool {
        self.readings < STEP_READINGS_MAX
            && self.text_bytes < STEP_TEXT_BYTES
            && self.step.rows < STEP_ROWS_MAX
            && self.step.refused.len() < STEP_REFUSED_MAX
            && self.rows.devices.len() < STEP_DEVICES_MAX
    }

    /// Takes a row of a table that stands here in its file.
    pub(super) fn take<'c>(&mut self, plan: &Plan, row: u64, cell: impl Fn(usize) -> Cell<'c>) {
        self.step.rows += 1;
        match plan.take(cell, &mut self.rows, &mut self.scratch) {
            Ok(Some((place, readings, bytes))) => {
                self.readings += readings;
                self.text_bytes += bytes;
                self.step.rows_of.push((place, row));
            }
            Ok(None) => {}
            Err(error) => self.step.refused.push(RefusedRow::of(&error, row)),
        }
    }

    pub(super) fn refuse(&mut self, error: &BulkError, row: u64) {
        self.step.rows += 1;
        self.step.refused.push(RefusedRow::of(error, row));
    }

    pub(super) fn done(self, is_end: bool) -> Step {
        Step { devices: self.rows.devices, is_end, ..self.step }
    }
}

impl RefusedRow {
    fn of(error: &BulkError, row: u64) -> Self {
        Self { row, column: error.column as u64, detail: error.detail.clone() }
    }
}

#[cfg(test)]
mod tests;
