//! Arrow IPC streams as answers (arrow.apache.org/docs/format/Columnar.html): a schema, and record
//! batches of texts, times, doubles and integers. Four layouts and two messages are all there is.

/// Version 5 of the format.
const VERSION: i16 = 4;
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Kinds of messages.
const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;
/// Types of columns.
const INT: u8 = 2;
const FLOATING_POINT: u8 = 3;
const UTF8: u8 = 5;
const TIMESTAMP: u8 = 10;
const DOUBLE_PRECISION: i16 = 2;
const MICROSECONDS: i16 = 2;

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Microseconds since 1970, UTC.
    Time,
    Double,
    Integer,
}

/// A column of the schema; any row of it may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The rows of a column in one batch.
#[derive(Debug, Default)]
pub(super) struct Column {
    rows: usize,
    nulls: usize,
    /// A bit a row, set where there is a value.
    validity: Vec<u8>,
    /// Numbers of eight bytes, or the bytes of texts.
    values: Vec<u8>,
    /// Where texts end; empty for numbers.
    ends: Vec<i32>,
}

impl Column {
    pub(super) fn push_integer(&mut self, value: Option<i64>) {
        self.push(value.is_some());
        self.values.extend_from_slice(&value.unwrap_or_default().to_le_bytes());
    }

    pub(super) fn push_double(&mut self, value: Option<f64>) {
        self.push(value.is_some());
        self.values.extend_from_slice(&value.unwrap_or_default().to_le_bytes());
    }

    pub(super) fn push_text(&mut self, value: Option<&str>) {
        self.push(value.is_some());
        self.values.extend_from_slice(value.unwrap_or_default().as_bytes());
        // What one query holds is far below what an offset can say.
        self.ends.push(i32::try_from(self.values.len()).unwrap_or(i32::MAX));
    }

    fn push(&mut self, is_there: bool) {
        if self.rows.is_multiple_of(8) {
            self.validity.push(0);
        }
        if let Some(byte) = self.validity.last_mut()
            && is_there
        {
            *byte |= 1 << (self.rows % 8);
        }
        self.nulls += usize::from(!is_there);
        self.rows += 1;
    }

    /// Its buffers one after the other: validity, for texts the offsets, values.
    fn write(&self, kind: Kind, body: &mut Vec<u8>, buffers: &mut Vec<[i64; 2]>) {
        let mut buffer = |bytes: &[u8]| {
            buffers.push([long(body.len()), long(bytes.len())]);
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(8), 0);
        };
        buffer(if self.nulls == 0 { &[] } else { &self.validity });
        if kind == Kind::Text {
            let ends = std::iter::once(&0i32).chain(&self.ends);
            let offsets: Vec<u8> = ends.flat_map(|end| end.to_le_bytes()).collect();
            buffer(&offsets);
        }
        buffer(&self.values);
    }
}

fn long(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The beginning of a stream.
pub(super) fn schema(fields: &[Field]) -> Vec<u8> {
    message(SCHEMA, &[], |flat, header| {
        let schema = flat.table(header, &[Slot::Short(0), Slot::Place]);
        let places = flat.places(schema[1], fields.len());
        for (field, place) in fields.iter().zip(places) {
            let kind = match field.kind {
                Kind::Text => UTF8,
                Kind::Time => TIMESTAMP,
                Kind::Double => FLOATING_POINT,
                Kind::Integer => INT,
            };
            let nullable = Slot::Byte(1);
            let slots =
                [Slot::Place, nullable, Slot::Byte(kind), Slot::Place, Slot::Nothing, Slot::Place];
            let table = flat.table(place, &slots);
            flat.text(table[0], &field.name);
            match field.kind {
                Kind::Text => drop(flat.table(table[3], &[])),
                Kind::Double => drop(flat.table(table[3], &[Slot::Short(DOUBLE_PRECISION)])),
                Kind::Integer => drop(flat.table(table[3], &[Slot::Int(64), Slot::Byte(1)])),
                Kind::Time => {
                    let time = flat.table(table[3], &[Slot::Short(MICROSECONDS), Slot::Place]);
                    flat.text(time[1], "UTC");
                }
            }
            // Some readers insist on the list of columns within a column.
            flat.places(table[5], 0);
        }
    })
}

/// Rows of a stream: of each field one column, all of one length.
pub(super) fn batch(fields: &[Field], columns: &[Column]) -> Vec<u8> {
    let (mut body, mut buffers) = (Vec::new(), Vec::new());
    for (field, column) in fields.iter().zip(columns) {
        column.write(field.kind, &mut body, &mut buffers);
    }
    let nodes: Vec<[i64; 2]> =
        columns.iter().map(|column| [long(column.rows), long(column.nulls)]).collect();
    let rows = columns.first().map_or(0, |column| column.rows);
    message(RECORD_BATCH, &body, |flat, header| {
        let table = flat.table(header, &[Slot::Long(long(rows)), Slot::Place, Slot::Place]);
        flat.pairs(table[1], &nodes);
        flat.pairs(table[2], &buffers);
    })
}

/// The end of a stream.
pub(super) fn end() -> Vec<u8> {
    [CONTINUATION, [0; 4]].concat()
}

fn message(kind: u8, body: &[u8], header: impl FnOnce(&mut Flat, usize)) -> Vec<u8> {
    let mut flat = Flat { bytes: vec![0; 4] };
    let slots = [Slot::Short(VERSION), Slot::Byte(kind), Slot::Place, Slot::Long(long(body.len()))];
    let root = flat.table(0, &slots);
    header(&mut flat, root[2]);
    flat.align(8);
    let mut out = Vec::with_capacity(8 + flat.bytes.len() + body.len());
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&short_length(flat.bytes.len()).to_le_bytes());
    out.extend_from_slice(&flat.bytes);
    out.extend_from_slice(body);
    out
}

fn short_length(count: usize) -> u32 {
    // Headers are a few kilobytes.
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A member of a table.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Nothing,
    Byte(u8),
    Short(i16),
    Int(i32),
    Long(i64),
    /// Says how far on something else begins; filled in once that is known.
    Place,
}

/// A FlatBuffer, written from its root on: whatever is referred to lies behind who refers to it.
struct Flat {
    bytes: Vec<u8>,
}

impl Flat {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// Fills in a place: what it refers to begins here.
    fn refer(&mut self, place: usize) {
        let distance = short_length(self.bytes.len() - place);
        self.bytes[place..place + 4].copy_from_slice(&distance.to_le_bytes());
    }

    fn set_short(&mut self, at: usize, count: usize) {
        let short = u16::try_from(count).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&short.to_le_bytes());
    }

    /// A table with the list of where its members are before it; answers where they are.
    fn table(&mut self, place: usize, slots: &[Slot]) -> Vec<usize> {
        self.align(2);
        let list = self.bytes.len();
        self.bytes.resize(list + 4 + 2 * slots.len(), 0);
        self.align(8);
        let table = self.bytes.len();
        self.refer(place);
        self.bytes.extend_from_slice(&short_length(table - list).to_le_bytes());
        let mut places = Vec::with_capacity(slots.len());
        for (index, slot) in slots.iter().enumerate() {
            let (size, bytes) = match slot {
                Slot::Nothing => {
                    places.push(0);
                    continue;
                }
                Slot::Byte(value) => (1, i64::from(*value)),
                Slot::Short(value) => (2, i64::from(*value)),
                Slot::Int(value) => (4, i64::from(*value)),
                Slot::Long(value) => (8, *value),
                Slot::Place => (4, 0),
            };
            self.align(size);
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&bytes.to_le_bytes()[..size]);
            self.set_short(list + 4 + 2 * index, at - table);
            places.push(at);
        }
        self.set_short(list, 4 + 2 * slots.len());
        self.set_short(list + 2, self.bytes.len() - table);
        places
    }

    fn text(&mut self, place: usize, text: &str) {
        self.align(4);
        self.refer(place);
        self.bytes.extend_from_slice(&short_length(text.len()).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// A list of places.
    fn places(&mut self, place: usize, count: usize) -> Vec<usize> {
        self.align(4);
        self.refer(place);
        self.bytes.extend_from_slice(&short_length(count).to_le_bytes());
        let first = self.bytes.len();
        self.bytes.resize(first + 4 * count, 0);
        (0..count).map(|index| first + 4 * index).collect()
    }

    /// A list of pairs, which begin at multiples of eight bytes.
    fn pairs(&mut self, place: usize, pairs: &[[i64; 2]]) {
        self.align(8);
        self.bytes.extend_from_slice(&[0; 4]);
        self.refer(place);
        self.bytes.extend_from_slice(&short_length(pairs.len()).to_le_bytes());
        for number in pairs.as_flattened() {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
    use arrow_array::{Array, PrimitiveArray, RecordBatch, StringArray};
    use arrow_ipc::reader::StreamReader;

    use super::*;

    fn read(stream: Vec<u8>) -> Vec<RecordBatch> {
        let reader = StreamReader::try_new(Cursor::new(stream), None).expect("a stream");
        reader.map(|batch| batch.expect("a batch")).collect()
    }

    #[test]
    fn arrows_own_reader_reads_it() {
        let field = |name: &str, kind| Field { name: name.to_owned(), kind };
        let fields = [
            field("key", Kind::Text),
            field("at", Kind::Time),
            field("double", Kind::Double),
            field("integer", Kind::Integer),
        ];
        let mut stream = schema(&fields);
        for rows in [11usize, 0, 1] {
            let mut columns: Vec<Column> = fields.iter().map(|_| Column::default()).collect();
            for row in 0..rows {
                let text = format!("key {row}");
                columns[0].push_text((row != 2).then_some(text.as_str()));
                columns[1].push_integer(Some(row as i64 * 1_000_000));
                columns[2].push_double((row % 3 != 0).then_some(row as f64 / 4.0));
                columns[3].push_integer((row != 9).then_some(i64::MAX - row as i64));
            }
            stream.extend(batch(&fields, &columns));
        }
        stream.extend(end());
        let batches = read(stream);
        let lengths: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(lengths, [11, 0, 1]);
        let batch = &batches[0];
        let schema = batch.schema();
        let types: Vec<String> =
            schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(types[0], "Utf8");
        assert!(types[1].contains("UTC"), "{types:?}");
        let texts = batch.column(0).as_any().downcast_ref::<StringArray>().expect("texts");
        assert_eq!((texts.value(10), texts.is_null(2), texts.null_count()), ("key 10", true, 1));
        let times = batch.column(1).as_any();
        let times = times.downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>();
        assert_eq!(times.expect("times").value(10), 10_000_000);
        let doubles = batch.column(2).as_any();
        let doubles = doubles.downcast_ref::<PrimitiveArray<Float64Type>>().expect("doubles");
        assert_eq!((doubles.value(5), doubles.is_null(6), doubles.null_count()), (1.25, true, 4));
        let integers = batch.column(3).as_any();
        let integers = integers.downcast_ref::<PrimitiveArray<Int64Type>>().expect("integers");
        assert_eq!((integers.value(10), integers.is_null(9)), (i64::MAX - 10, true));
    }
}
