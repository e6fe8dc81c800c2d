//! CSV, read record by record: quoted fields may hold breaks and delimiters. The header is checked
//! against what the import was made with.

use std::io::Cursor;

use bytes::Bytes;
use csv::{ByteRecord, Reader, ReaderBuilder};

use super::cells::{Cell, Plan};
use super::{COLUMN_BYTES_MAX, FILE_COLUMNS_MAX, FileMapping, FileRules, Piece, Step, Taking};
use crate::bulk::BulkError;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A piece of CSV.
pub(super) struct CsvSource {
    reader: Reader<Cursor<Bytes>>,
    plan: Plan,
    columns: usize,
    before: u64,
    record: ByteRecord,
}

fn reader(delimiter: u8, body: Bytes) -> Reader<Cursor<Bytes>> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    builder.from_reader(Cursor::new(body))
}

fn without_mark(body: &Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.slice(BYTE_ORDER_MARK.len()..)
    } else {
        body.clone()
    }
}

fn wrong(line: u64, detail: impl Into<String>) -> BulkError {
    BulkError::new(usize::try_from(line).unwrap_or(usize::MAX), 1, detail)
}

/// The names of a header.
fn names_of(record: &ByteRecord) -> Result<Vec<String>, BulkError> {
    if record.len() > FILE_COLUMNS_MAX {
        return Err(wrong(
            1,
            format!("limit file_columns_max exceeded: at most {FILE_COLUMNS_MAX}"),
        ));
    }
    let name = |(index, field): (usize, &[u8])| {
        let text = std::str::from_utf8(field).map(str::trim).ok();
        let text = text.filter(|text| !text.is_empty() && text.len() <= COLUMN_BYTES_MAX);
        text.map(str::to_owned).ok_or_else(|| {
            let column = index + 1;
            let detail = format!(
                "column {column} of the header: expected a name of at most {COLUMN_BYTES_MAX} \
                 bytes, in UTF-8"
            );
            BulkError::new(1, column, detail)
        })
    };
    record.iter().enumerate().map(name).collect()
}

/// The columns that the first line of a CSV file names.
pub(super) fn header_of(delimiter: u8, body: &[u8]) -> Result<Vec<String>, BulkError> {
    let mut reader = reader(delimiter, without_mark(&Bytes::copy_from_slice(body)));
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => names_of(&record),
        _ => Err(wrong(1, "no header: expected the names of the columns in the first line")),
    }
}

impl CsvSource {
    pub(super) fn open(mapping: &FileMapping, piece: Piece) -> Result<Self, BulkError> {
        let plan = Plan::new(mapping, &piece.header)?;
        let body = if piece.is_first { without_mark(&piece.body) } else { piece.body };
        let mut source = Self {
            reader: reader(mapping.delimiter, body),
            plan,
            columns: piece.header.len(),
            before: piece.before,
            record: ByteRecord::new(),
        };
        if piece.is_first {
            source.advance()?;
            if names_of(&source.record)? != piece.header {
                let detail = "another header than the one that the import was made with";
                return Err(wrong(1, detail));
            }
        }
        for _ in 0..piece.rows_taken {
            if !source.advance()? {
                break;
            }
        }
        Ok(source)
    }

    /// Reads the next record, if there is one.
    fn advance(&mut self) -> Result<bool, BulkError> {
        let line = self.before + self.reader.position().line();
        self.reader
            .read_byte_record(&mut self.record)
            .map_err(|_| wrong(line, "not CSV: expected fields with the delimiter between them"))
    }

    pub(super) fn step(&mut self, rules: &FileRules) -> Result<Step, BulkError> {
        let mut taking = Taking::new(rules);
        while taking.goes_on() {
            if !self.advance()? {
                return Ok(taking.done(true));
            }
            let line = self.record.position().map_or(1, csv::Position::line);
            let row = self.before + line;
            if self.record.len() != self.columns {
                let detail = format!("{} fields: expected {}", self.record.len(), self.columns);
                taking.refuse(&BulkError::new(0, 0, detail), row);
                continue;
            }
            let mut texts = Vec::with_capacity(self.columns);
            let bad = self.record.iter().position(|field| {
                let text = std::str::from_utf8(field);
                texts.push(text.unwrap_or_default());
                text.is_err()
            });
            if let Some(column) = bad {
                let error = BulkError::new(0, column + 1, "not UTF-8: expected text in UTF-8");
                taking.refuse(&error, row);
                continue;
            }
            let cell = |index: usize| texts.get(index).map_or(Cell::Null, |text| Cell::Text(text));
            taking.take(&self.plan, row, cell);
        }
        Ok(taking.done(false))
    }
}
