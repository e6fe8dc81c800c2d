//! The device inventory: a CSV file with one row per device, or several rows per device, each of
//! which adds a key. All or nothing: the first mistake refuses the file with row and column.

mod header;
mod row;

use std::collections::HashMap;

use veritwin_domain::{Declaration, Key, Screening};

use crate::model::{GlobalId, TwinModel};

pub use header::COLUMNS;
pub use row::COORDINATE_M_MAX;

/// Upper bounds of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryLimits {
    /// Largest file, in bytes.
    pub file_bytes_max: usize,
    /// Most rows below the header.
    pub rows_max: usize,
    /// Longest field, in bytes.
    pub field_bytes_max: usize,
    /// Most keys of one device.
    pub keys_per_device_max: usize,
    /// The rules on what must not be kept.
    pub screening: Screening,
}

impl Default for InventoryLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 32 * 1024 * 1024,
            rows_max: 100_000,
            field_bytes_max: 1_024,
            keys_per_device_max: 256,
            screening: Screening::ALL,
        }
    }
}

/// A key of a device and its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryKey {
    /// The series.
    pub key: Key,
    /// Its unit; empty when the file gives none.
    pub unit: String,
}

/// One device of an inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct InventoryDevice {
    /// Its name, unique in the file.
    pub name: String,
    /// Its type; empty when the file gives none.
    pub device_type: String,
    /// The space it is in.
    pub space: Option<GlobalId>,
    /// The element it is, or belongs to.
    pub element: Option<GlobalId>,
    /// Its position in metres.
    pub position: Option<[f64; 3]>,
    /// What the customer says of its personal data.
    pub declaration: Declaration,
    /// Its keys, in the order of the file.
    pub keys: Vec<InventoryKey>,
    /// The row that named it first; 1 is the header.
    pub row: usize,
}

/// Why an inventory was refused. Nothing was taken from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct InventoryError {
    /// The row as a spreadsheet counts it: 1 is the header. 0 when it is about the whole file.
    pub row: usize,
    /// The column's name as the file writes it; empty when it is about the whole row or file.
    pub column: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl InventoryError {
    fn text(&self) -> String {
        match self.row {
            0 => self.problem.clone(),
            _ => format!("{}: {}", self.place(), self.problem),
        }
    }

    /// Where in the file it is.
    pub fn place(&self) -> String {
        match (self.row, self.column.as_str()) {
            (0, _) => "file".to_owned(),
            (row, "") => format!("row {row}"),
            (row, column) => format!("row {row}, column {column}"),
        }
    }

    pub(crate) fn file(problem: impl Into<String>) -> Self {
        Self { row: 0, column: String::new(), problem: problem.into() }
    }

    pub(crate) fn row(row: usize, problem: impl Into<String>) -> Self {
        Self { row, column: String::new(), problem: problem.into() }
    }
}

/// Reads an inventory. Spaces and elements are looked up in `model`; without one those columns
/// have to be empty.
pub fn parse(
    bytes: &[u8],
    model: Option<&TwinModel>,
    limits: &InventoryLimits,
) -> Result<Vec<InventoryDevice>, InventoryError> {
    let text = check_text(bytes, limits)?;
    let delimiter = header::delimiter(text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let broken = |row: usize| InventoryError::row(row, "not CSV: a quoted field is malformed");
    let first = records
        .next()
        .ok_or_else(|| InventoryError::file(header::expectation("the file is empty")))?
        .map_err(|_| broken(1))?;
    let header = header::Header::parse(&first)?;
    let lookup = row::Lookup::new(model);
    let mut devices: Vec<InventoryDevice> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut lines = Lines { text, byte: 0, line: 1 };
    for (index, record) in records.enumerate() {
        if index == limits.rows_max {
            let problem = format!("more than {} rows", limits.rows_max);
            return Err(InventoryError::row(index + 2, problem));
        }
        let record = record.map_err(|_| broken(index + 2))?;
        let byte = record.position().map_or(0, csv::Position::byte);
        let number = lines.line_at(usize::try_from(byte).unwrap_or(usize::MAX));
        if record.iter().all(str::is_empty) {
            continue;
        }
        let row = row::Row::new(&header, &record, number, limits)?;
        let device = row.device(&lookup)?;
        let name = device.name.to_lowercase();
        match by_name.get(&name) {
            None => {
                by_name.insert(name, devices.len());
                devices.push(device);
            }
            Some(at) => row.merge(&mut devices[*at], device, limits)?,
        }
    }
    if devices.is_empty() {
        return Err(InventoryError::file("the file has a header but no device below it"));
    }
    Ok(devices)
}

/// Counts lines as a spreadsheet does: the reader skips empty ones, and says where it began to
/// skip rather than where the record starts.
struct Lines<'t> {
    text: &'t str,
    byte: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the record found from `byte` on; calls go forward only.
    fn line_at(&mut self, byte: usize) -> usize {
        let bytes = self.text.as_bytes();
        let blanks = bytes[byte.min(bytes.len())..]
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let start = (byte + blanks).clamp(self.byte, bytes.len());
        self.line += bytes[self.byte..start].iter().filter(|byte| **byte == b'\n').count();
        self.byte = start;
        self.line
    }
}

fn check_text<'b>(bytes: &'b [u8], limits: &InventoryLimits) -> Result<&'b str, InventoryError> {
    if bytes.len() > limits.file_bytes_max {
        return Err(InventoryError::file(format!(
            "limit file_bytes_max exceeded: at most {}, got {}",
            limits.file_bytes_max,
            bytes.len()
        )));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(InventoryError::file(
            "this is a ZIP archive (an Excel workbook?): save the table as CSV (UTF-8) first",
        ));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(InventoryError::file("this is UTF-16 text: save the table as CSV (UTF-8)"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let row = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        InventoryError::row(row, "not UTF-8 text: save the table as CSV (UTF-8)")
    })
}
