//! Apache Parquet, read row by row and written, by our own code: flat tables, every encoding that
//! is written today, uncompressed or with snappy, gzip, zstd or lz4. Of each column one page and
//! one dictionary are held, each bounded before it is opened, and all of them together.

mod bits;
mod codec;
mod meta;
mod pages;
mod thrift;
mod write;

use bytes::Bytes;
use veritwin_domain::LimitExceeded;

use super::BulkError;
use super::files::{Cell, FILE_COLUMNS_MAX, FileMapping, FileRules, Piece, Plan, Step, Taking};
use meta::{Column, Footer, Group, Meaning};
use pages::ColumnReader;
use thrift::Fault;

pub(super) use write::ParquetWriter;

const COLUMNS_MAX: usize = FILE_COLUMNS_MAX;
/// Most row groups of a file.
pub const PARQUET_GROUPS_MAX: usize = 10_000;
/// Most parts of columns in all row groups of a file.
pub const PARQUET_CHUNKS_MAX: usize = 1_000_000;
/// Most values of the columns that are read of one row group.
pub const PARQUET_GROUP_VALUES_MAX: usize = 256 * 1024 * 1024;
/// Most bytes of pages and dictionaries that are decompressed of one row group.
pub const PARQUET_GROUP_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Longest page once it is decompressed, in bytes.
pub const PARQUET_PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most values of a page.
pub const PARQUET_PAGE_VALUES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of decompressed pages and dictionaries of one file that are held at once.
pub const PARQUET_HELD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Decompressed bytes behind which a step ends: few rows may take many.
const STEP_OPENED_BYTES: usize = 512 * 1024 * 1024;

/// A whole Parquet file, row by row.
pub(super) struct ParquetSource {
    file: Bytes,
    footer: Footer,
    plan: Plan,
    /// The columns that are read.
    chosen: Vec<usize>,
    /// Of each column of the table, its place among those that are read.
    places: Vec<Option<usize>>,
    group: usize,
    /// Rows of the present group that are left.
    left: usize,
    open: Vec<ColumnReader>,
    /// Bytes that were decompressed of the present group, and in the present step.
    opened: usize,
    opened_in_step: usize,
    /// Rows of the file before this one.
    row: u64,
    before: u64,
}

fn refused(Fault(detail): Fault) -> BulkError {
    BulkError::new(0, 0, detail).of_table()
}

/// The names of the columns.
pub(super) fn columns_of(file: &[u8]) -> Result<Vec<String>, BulkError> {
    let footer = Footer::of(file).map_err(refused)?;
    Ok(footer.columns.into_iter().map(|column| column.name).collect())
}

impl ParquetSource {
    pub(super) fn open(mapping: &FileMapping, piece: Piece) -> Result<Self, BulkError> {
        let footer = Footer::of(&piece.body).map_err(refused)?;
        let names: Vec<String> = footer.columns.iter().map(|column| column.name.clone()).collect();
        let plan = Plan::new(mapping, &names).map_err(BulkError::of_table)?;
        let chosen = plan.columns();
        let mut read = chosen.iter().filter_map(|index| footer.columns.get(*index));
        if let Some(column) = read.find(|one| one.meaning == Meaning::Other) {
            let detail = format!(
                "the column {:?} holds what no reading can be made of: choose the columns that are \
                 numbers, integers, booleans, texts or times",
                column.name
            );
            return Err(BulkError::new(0, 0, detail).of_table());
        }
        let time = footer.columns.get(plan.time_column());
        let is_wall = |one: &&Column| matches!(one.meaning, Meaning::Wall(_) | Meaning::Date);
        if let Some(column) = time.filter(is_wall)
            && !mapping.time.is_local()
        {
            let detail = format!(
                "the times of the column {:?} are of no time zone: expected the form local, and \
                 the time zone in which they were written, such as Europe/Berlin or UTC",
                column.name
            );
            return Err(BulkError::new(0, 0, detail).of_table());
        }
        let values_of = |group: &Group| group.rows.saturating_mul(chosen.len());
        if let Some(actual) =
            footer.groups.iter().map(values_of).find(|values| *values > PARQUET_GROUP_VALUES_MAX)
        {
            let max = PARQUET_GROUP_VALUES_MAX;
            let limit = LimitExceeded { name: "parquet_group_values_max", max, actual };
            return Err(BulkError::of_limit(0, 0, limit).of_table());
        }
        let mut places = vec![None; names.len()];
        for (place, index) in chosen.iter().enumerate() {
            if let Some(slot) = places.get_mut(*index) {
                *slot = Some(place);
            }
        }
        let mut source = Self {
            file: piece.body,
            footer,
            plan,
            chosen,
            places,
            group: 0,
            left: 0,
            open: Vec::new(),
            opened: 0,
            opened_in_step: 0,
            row: 0,
            before: piece.before,
        };
        source.skip(piece.rows_taken).map_err(refused)?;
        Ok(source)
    }

    fn group(&self) -> Option<&Group> {
        self.footer.groups.get(self.group)
    }

    /// Goes over rows that were taken already: whole groups of them are not opened.
    fn skip(&mut self, mut rows: u64) -> Result<(), Fault> {
        while let Some(group) = self.group() {
            let of_group = group.rows as u64;
            if of_group > rows {
                break;
            }
            rows -= of_group;
            self.row += of_group;
            self.group += 1;
        }
        for _ in 0..rows {
            if !self.advance()? {
                break;
            }
        }
        Ok(())
    }

    /// Goes to the next row, if there is one.
    fn advance(&mut self) -> Result<bool, Fault> {
        while self.left == 0 {
            let Some(group) = self.group() else { return Ok(false) };
            let columns = self.chosen.iter().filter_map(|index| {
                let column = self.footer.columns.get(*index)?;
                Some(ColumnReader::new(&self.file, column, group.chunks.get(*index)?))
            });
            let (open, left) = (columns.collect(), group.rows);
            (self.open, self.left) = (open, left);
            self.opened = 0;
            self.group += 1;
        }
        for place in 0..self.open.len() {
            self.prepare(place)?;
            if let Some(column) = self.open.get_mut(place) {
                column.advance()?;
            }
        }
        self.left -= 1;
        self.row += 1;
        Ok(true)
    }

    /// Sees to it that a column has a page open, and that all of them are within their bound.
    fn prepare(&mut self, place: usize) -> Result<(), Fault> {
        let Some(column) = self.open.get_mut(place).filter(|column| column.needs_page()) else {
            return Ok(());
        };
        let opened = column.open_page()?;
        self.opened = self.opened.saturating_add(opened);
        self.opened_in_step = self.opened_in_step.saturating_add(opened);
        if self.opened > PARQUET_GROUP_BYTES_MAX {
            return Err(Fault::new(format!(
                "limit parquet_group_bytes_max exceeded: at most {PARQUET_GROUP_BYTES_MAX} bytes \
                 of a row group once it is decompressed: write the file with smaller groups"
            )));
        }
        let held: usize = self.open.iter().map(ColumnReader::held).sum();
        if held > PARQUET_HELD_BYTES_MAX {
            return Err(Fault::new(format!(
                "limit parquet_held_bytes_max exceeded: at most {PARQUET_HELD_BYTES_MAX} bytes of \
                 open pages of all columns, got {held}: write the file with smaller pages, or \
                 choose fewer columns"
            )));
        }
        Ok(())
    }

    pub(super) fn step(&mut self, rules: &FileRules) -> Result<Step, BulkError> {
        let mut taking = Taking::new(rules);
        self.opened_in_step = 0;
        while taking.goes_on() && self.opened_in_step < STEP_OPENED_BYTES {
            if !self.advance().map_err(refused)? {
                return Ok(taking.done(true));
            }
            let cell = |index: usize| {
                let place = self.places.get(index).copied().flatten();
                let column = place.and_then(|place| self.open.get(place));
                column.map_or(Cell::Null, ColumnReader::cell)
            };
            taking.take(&self.plan, self.before + self.row, cell);
        }
        Ok(taking.done(false))
    }
}

#[cfg(test)]
mod tests;
