//! Parquet of readings, one row each: written group by group, so that no more than a group is held.

use super::thrift::{BINARY, I32, STRUCT, Writer};
use crate::bulk::files::ExportedRow;
use veritwin_domain::Value;

const MAGIC: &[u8] = b"PAR1";
/// Most rows of a group.
const GROUP_ROWS_MAX: usize = 50_000;
/// Bytes at which a group is written, however few its rows are.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
const ZSTD_LEVEL: i32 = 3;

const INT64: i32 = 2;
const DOUBLE: i32 = 5;
const BYTE_ARRAY: i32 = 6;
const BOOLEAN: i32 = 0;
const ZSTD: i32 = 6;

/// A column that is written.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    physical: i32,
    is_optional: bool,
}

const fn column(name: &'static str, physical: i32, is_optional: bool) -> Column {
    Column { name, physical, is_optional }
}

/// The columns, in their order.
const COLUMNS: [Column; 10] = [
    column("device_id", BYTE_ARRAY, false),
    column("device", BYTE_ARRAY, false),
    column("key", BYTE_ARRAY, false),
    column("time", INT64, false),
    column("double", DOUBLE, true),
    column("integer", INT64, true),
    column("boolean", BOOLEAN, true),
    column("text", BYTE_ARRAY, true),
    column("type", BYTE_ARRAY, false),
    column("quality", BYTE_ARRAY, false),
];
const TIME: usize = 3;
const DOUBLES: usize = 4;
const INTEGERS: usize = 5;
const BOOLEANS: usize = 6;
const TEXTS: usize = 7;
const KIND: usize = 8;
const QUALITY: usize = 9;

/// The values of a column so far.
#[derive(Default)]
struct Values {
    bytes: Vec<u8>,
    /// Booleans, before they are packed.
    flags: Vec<bool>,
    /// Of each row, whether it has one.
    present: Vec<bool>,
}

/// Where a chunk stands.
struct Placed {
    offset: i64,
    opened: i64,
    packed: i64,
}

struct WrittenGroup {
    rows: i64,
    bytes: i64,
    chunks: Vec<Placed>,
}

/// Writes Parquet into a buffer that is taken from it as it fills.
pub(in crate::bulk) struct ParquetWriter {
    columns: [Values; COLUMNS.len()],
    rows: usize,
    groups: Vec<WrittenGroup>,
    total: i64,
    /// Bytes that were written before what is in `out`.
    offset: i64,
}

fn long(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn packed(flags: &[bool]) -> Vec<u8> {
    let byte = |some: &[bool]| {
        some.iter().enumerate().fold(0u8, |byte, (at, flag)| byte | u8::from(*flag) << at)
    };
    flags.chunks(8).map(byte).collect()
}

/// Levels of one bit, as one run of packed groups behind their length.
fn levels(present: &[bool]) -> Vec<u8> {
    let groups = present.len().div_ceil(8);
    let mut head = (groups as u64) << 1 | 1;
    let mut run = Vec::with_capacity(groups + 5);
    while head >= 0x80 {
        run.push(head as u8 | 0x80);
        head >>= 7;
    }
    run.push(head as u8);
    run.extend(packed(present));
    let mut levels = u32::try_from(run.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    levels.extend(run);
    levels
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    // A text of a reading is never near the bound of its length.
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

impl Default for ParquetWriter {
    fn default() -> Self {
        let columns = std::array::from_fn(|_| Values::default());
        Self { columns, rows: 0, groups: Vec::new(), total: 0, offset: 0 }
    }
}

impl ParquetWriter {
    /// What a file begins with.
    pub(in crate::bulk) fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        self.offset = long(MAGIC.len());
    }

    /// Takes a row; a group that is full goes to `out`.
    pub(in crate::bulk) fn push(
        &mut self,
        row: &ExportedRow<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let texts = [row.device_id, row.device, row.key];
        for (column, text) in self.columns.iter_mut().zip(texts) {
            push_text(&mut column.bytes, text);
        }
        self.columns[TIME].bytes.extend_from_slice(&row.at.as_micros().to_le_bytes());
        match row.value {
            Value::Double(number) => {
                self.columns[DOUBLES].bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Integer(number) => {
                self.columns[INTEGERS].bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Boolean(flag) => self.columns[BOOLEANS].flags.push(*flag),
            Value::Text(text) | Value::Json(text) => {
                push_text(&mut self.columns[TEXTS].bytes, text);
            }
        }
        let place = match row.value {
            Value::Double(_) => DOUBLES,
            Value::Integer(_) => INTEGERS,
            Value::Boolean(_) => BOOLEANS,
            Value::Text(_) | Value::Json(_) => TEXTS,
        };
        for column in DOUBLES..=TEXTS {
            self.columns[column].present.push(column == place);
        }
        push_text(&mut self.columns[KIND].bytes, row.kind());
        push_text(&mut self.columns[QUALITY].bytes, row.quality.as_str());
        self.rows += 1;
        let held: usize = self.columns.iter().map(|column| column.bytes.len()).sum();
        if self.rows >= GROUP_ROWS_MAX || held >= GROUP_BYTES {
            self.flush(out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = WrittenGroup {
            rows: long(self.rows),
            bytes: 0,
            chunks: Vec::with_capacity(COLUMNS.len()),
        };
        for (index, described) in COLUMNS.iter().enumerate() {
            let values = std::mem::take(&mut self.columns[index]);
            let mut page = Vec::new();
            if described.is_optional {
                page.extend(levels(&values.present));
            }
            page.extend(packed(&values.flags));
            page.extend(values.bytes);
            let compressed = zstd::bulk::compress(&page, ZSTD_LEVEL)?;
            let head = page_header(page.len(), compressed.len(), self.rows);
            let packed_bytes = long(head.len() + compressed.len());
            let opened = long(head.len() + page.len());
            out.extend_from_slice(&head);
            out.extend_from_slice(&compressed);
            group.chunks.push(Placed { offset: self.offset, opened, packed: packed_bytes });
            group.bytes += opened;
            self.offset += packed_bytes;
        }
        self.total += group.rows;
        self.groups.push(group);
        self.rows = 0;
        Ok(())
    }

    /// What a file ends with.
    pub(in crate::bulk) fn end(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        self.flush(out)?;
        let footer = self.footer();
        out.extend_from_slice(&footer);
        out.extend_from_slice(&u32::try_from(footer.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(MAGIC);
        Ok(())
    }

    fn footer(&self) -> Vec<u8> {
        let mut meta = Writer::root();
        meta.int(1, 1);
        meta.list(2, STRUCT, COLUMNS.len() + 1);
        meta.begin_element();
        meta.binary(4, b"readings");
        meta.int(5, i32::try_from(COLUMNS.len()).unwrap_or(i32::MAX));
        meta.end();
        for (index, column) in COLUMNS.iter().enumerate() {
            schema(&mut meta, index, *column);
        }
        meta.long(3, self.total);
        meta.list(4, STRUCT, self.groups.len());
        for group in &self.groups {
            meta.begin_element();
            meta.list(1, STRUCT, group.chunks.len());
            for (column, chunk) in COLUMNS.iter().zip(&group.chunks) {
                column_chunk(&mut meta, *column, chunk, group.rows);
            }
            meta.long(2, group.bytes);
            meta.long(3, group.rows);
            meta.end();
        }
        meta.binary(6, b"veritwin");
        meta.end();
        meta.bytes
    }
}

fn schema(meta: &mut Writer, index: usize, column: Column) {
    meta.begin_element();
    meta.int(1, column.physical);
    meta.int(3, i32::from(column.is_optional));
    meta.binary(4, column.name.as_bytes());
    if column.physical == BYTE_ARRAY {
        // UTF8, in both of the ways in which that is said.
        meta.int(6, 0);
        meta.begin(10);
        meta.begin(1);
        meta.end();
        meta.end();
    } else if index == TIME {
        // TIMESTAMP(isAdjustedToUTC, MICROS).
        meta.int(6, 10);
        meta.begin(10);
        meta.begin(8);
        meta.boolean(1, true);
        meta.begin(2);
        meta.begin(2);
        meta.end();
        meta.end();
        meta.end();
        meta.end();
    }
    meta.end();
}

fn column_chunk(meta: &mut Writer, column: Column, chunk: &Placed, rows: i64) {
    meta.begin_element();
    meta.long(2, chunk.offset);
    meta.begin(3);
    meta.int(1, column.physical);
    // PLAIN values, RLE levels.
    meta.list(2, I32, 2);
    meta.int_element(0);
    meta.int_element(3);
    meta.list(3, BINARY, 1);
    meta.element(column.name.as_bytes());
    meta.int(4, ZSTD);
    meta.long(5, rows);
    meta.long(6, chunk.opened);
    meta.long(7, chunk.packed);
    meta.long(9, chunk.offset);
    meta.end();
    meta.end();
}

fn page_header(opened: usize, packed: usize, rows: usize) -> Vec<u8> {
    let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut head = Writer::root();
    head.int(1, 0);
    head.int(2, int(opened));
    head.int(3, int(packed));
    head.begin(5);
    head.int(1, int(rows));
    head.int(2, 0);
    head.int(3, 3);
    head.int(4, 3);
    head.end();
    head.end();
    head.bytes
}
