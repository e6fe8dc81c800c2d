//! Arrow IPC streams (arrow.apache.org/docs/format/Columnar.html): a table with a row for each
//! moment of a device. The column `device` names it, `ts` has the moment, and every other column is
//! a key. A device leaves `device` out. Read in place, and no further than the bounds allow.

mod cells;
mod flat;
mod schema;

use std::collections::HashMap;

use veritwin_domain::{Key, LimitExceeded, Timestamp, Value};

use super::{BulkError, Rows};
use cells::{Cell, Cells, Words, parts};
use flat::{Fault, Metadata, Table};
use schema::{Column, Form, Role, Unit};

pub use schema::ARROW_COLUMNS_MAX;

/// Most rows of an Arrow stream.
pub const ARROW_ROWS_MAX: usize = 100_000;
/// Most cells of an Arrow stream, nulls included.
pub const ARROW_CELLS_MAX: usize = 4_000_000;
/// Most words of all dictionaries of an Arrow stream.
pub const ARROW_DICTIONARY_VALUES_MAX: usize = 100_000;

/// Longest name of a device, as everywhere: a dictionary says a longer one in a byte, row by row.
const NAME_BYTES_MAX: usize = 256;
/// The oldest version of the format that is read: V4, of Arrow 0.8.
const VERSION_MIN: i16 = 3;
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Kinds of messages.
const SCHEMA: u8 = 1;
const DICTIONARY_BATCH: u8 = 2;
const RECORD_BATCH: u8 = 3;

impl From<Fault> for BulkError {
    fn from(fault: Fault) -> Self {
        Self::at_byte(fault.at, fault.text)
    }
}

/// A message of the stream.
struct Message<'a> {
    /// Where it begins in the body of the request.
    at: usize,
    kind: u8,
    header: Table<'a>,
    /// What its buffers are in.
    body: &'a [u8],
}

impl Message<'_> {
    const fn fault(&self, text: &'static str) -> Fault {
        Fault { at: self.at, text }
    }
}

struct Stream<'a> {
    bytes: &'a [u8],
    /// Where the next byte is.
    at: usize,
}

impl<'a> Stream<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count);
        let Some((end, taken)) = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?)))
        else {
            let text = "the stream ends inside a message: expected all of it";
            return Err(Fault { at: self.bytes.len(), text });
        };
        self.at = end;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next message, or none at the end.
    fn message(&mut self) -> Result<Option<Message<'a>>, Fault> {
        let at = self.at;
        if at == self.bytes.len() {
            return Ok(None);
        }
        let fault = |text| Fault { at, text };
        if self.take_array::<4>()? != CONTINUATION {
            return Err(fault(
                "expected an Arrow IPC stream, each message of which begins with FF FF FF FF \
                 (what begins with ARROW1 is a file)",
            ));
        }
        let negative = "a negative length";
        let length = usize::try_from(i32::from_le_bytes(self.take_array()?));
        let length = length.map_err(|_| fault(negative))?;
        if length == 0 {
            let is_end = self.at == self.bytes.len();
            return if is_end {
                Ok(None)
            } else {
                Err(fault("bytes behind the end of the stream"))
            };
        }
        let metadata_at = self.at;
        let metadata = Metadata::new(self.take(length)?, metadata_at).root()?;
        if metadata.short(0)? < VERSION_MIN {
            return Err(fault("an old version of the format: expected V4 or V5"));
        }
        let kind = metadata.byte(1)?;
        let header = metadata.table(2)?.ok_or(fault("a message without a header"))?;
        let length = usize::try_from(metadata.long(3)?).map_err(|_| fault(negative))?;
        Ok(Some(Message { at, kind, header, body: self.take(length)? }))
    }
}

/// What was taken so far.
struct Taken<'a> {
    columns: Vec<Column>,
    dictionaries: HashMap<i64, Words<'a>>,
    words: usize,
    rows: usize,
    cells: usize,
    text_bytes: usize,
    view_bytes: usize,
}

pub(super) fn parse(body: &[u8], rows: &mut Rows<'_>) -> Result<(), BulkError> {
    let mut stream = Stream { bytes: body, at: 0 };
    let first = stream.message()?.filter(|message| message.kind == SCHEMA);
    let first = first.ok_or(Fault { at: 0, text: "expected a schema as the first message" })?;
    let mut taken = Taken {
        columns: schema::read(first.header, rows)?,
        dictionaries: HashMap::new(),
        words: 0,
        rows: 0,
        cells: 0,
        text_bytes: 0,
        view_bytes: 0,
    };
    while let Some(message) = stream.message()? {
        match message.kind {
            DICTIONARY_BATCH => taken.dictionary(&message, rows)?,
            RECORD_BATCH => taken.batch(&message, rows)?,
            _ => {
                let text = "a message of another kind: expected dictionaries and record batches";
                return Err(message.fault(text).into());
            }
        }
    }
    Ok(())
}

/// Counts `more` against a bound.
fn count(
    sum: &mut usize,
    more: usize,
    (name, max): (&'static str, usize),
) -> Result<(), LimitExceeded> {
    *sum = sum.saturating_add(more);
    let actual = *sum;
    if actual > max { Err(LimitExceeded { name, max, actual }) } else { Ok(()) }
}

/// The bound of texts, where little can say much: of those that are kept, and of those that are
/// read out of views.
const fn texts_max(rows: &Rows<'_>) -> (&'static str, usize) {
    ("arrow_text_bytes_max", rows.context.limits.body_bytes_max)
}

impl Unit {
    fn moment(self, number: i64) -> Option<Timestamp> {
        let micros = match self {
            Self::Seconds => number.checked_mul(1_000_000),
            Self::Milliseconds => number.checked_mul(1000),
            Self::Microseconds => Some(number),
            Self::Nanoseconds => Some(number.div_euclid(1000)),
        };
        Timestamp::measured(micros?).ok()
    }
}

/// A column of a batch that is read row by row, with its number from 1.
struct Open<'a, 'd, T> {
    number: usize,
    of: T,
    cells: Cells<'a, 'd>,
}

/// The columns of a batch by what they are for.
struct Batch<'a, 'd> {
    device: Option<Open<'a, 'd, ()>>,
    time: Option<Open<'a, 'd, Unit>>,
    values: Vec<Open<'a, 'd, &'d Key>>,
}

impl<'a> Taken<'a> {
    fn dictionary(&mut self, message: &Message<'a>, rows: &Rows<'_>) -> Result<(), BulkError> {
        let id = message.header.long(0)?;
        let mut of_columns = self
            .columns
            .iter()
            .filter(|column| column.indices.is_some_and(|indices| indices.dictionary == id));
        let Some(form) = of_columns.next().map(|column| column.form) else {
            return Err(message.fault("a dictionary of no column").into());
        };
        let data = message.header.table(1)?;
        let data = data.ok_or(message.fault("a dictionary without data"))?;
        let (length, mut parts) = parts(data, message)?;
        let bound = ("arrow_dictionary_values_max", ARROW_DICTIONARY_VALUES_MAX);
        count(&mut self.words, length, bound).map_err(|limit| BulkError::of_limit(0, 0, limit))?;
        let cells = parts.cells(form, None, length)?;
        count(&mut self.view_bytes, parts.view_bytes, texts_max(rows))
            .map_err(|limit| BulkError::of_limit(0, 0, limit))?;
        let words = self.dictionaries.entry(id).or_default();
        // One that is no continuation takes the place of the one before it.
        if !message.header.flag(2)? {
            words.clear();
        }
        words.reserve(length);
        for row in 0..length {
            words.push(cells.text(row).map_err(|text| message.fault(text))?);
        }
        Ok(())
    }

    fn batch(&mut self, message: &Message<'a>, rows: &mut Rows<'_>) -> Result<(), BulkError> {
        let (length, mut parts) = parts(message.header, message)?;
        let before = self.rows;
        let of_limit = |limit| BulkError::of_limit(before + 1, 0, limit);
        count(&mut self.rows, length, ("arrow_rows_max", ARROW_ROWS_MAX)).map_err(of_limit)?;
        let cells = length.saturating_mul(self.columns.len());
        count(&mut self.cells, cells, ("arrow_cells_max", ARROW_CELLS_MAX)).map_err(of_limit)?;
        let Self { columns, dictionaries, text_bytes, view_bytes, .. } = self;
        let (columns, dictionaries) = (&*columns, &*dictionaries);
        let mut batch = Batch { device: None, time: None, values: Vec::new() };
        for (index, column) in columns.iter().enumerate() {
            let dictionary = column.indices.map(|indices| {
                let words = dictionaries.get(&indices.dictionary).map(Vec::as_slice);
                (indices.of, words.unwrap_or_default())
            });
            let cells = parts.cells(column.form, dictionary, length)?;
            let number = index + 1;
            match (&column.role, column.form) {
                (Role::Device, _) => batch.device = Some(Open { number, of: (), cells }),
                (Role::Time, Form::Moment(of)) => batch.time = Some(Open { number, of, cells }),
                // Refused with the schema.
                (Role::Time, _) => {}
                (Role::Value(_), _) if cells.is_of_nulls() => {}
                (Role::Value(of), _) => batch.values.push(Open { number, of, cells }),
            }
        }
        count(view_bytes, parts.view_bytes, texts_max(rows)).map_err(of_limit)?;
        (0..length).try_for_each(|row| take(&batch, row, before + row + 1, text_bytes, rows))
    }
}

/// Takes the readings of one row, which is this one of the stream.
fn take(
    batch: &Batch<'_, '_>,
    row: usize,
    number: usize,
    text_bytes: &mut usize,
    rows: &mut Rows<'_>,
) -> Result<(), BulkError> {
    let wrong = |column: usize, detail: &str| BulkError::new(number, column, detail);
    let device = match &batch.device {
        None => None,
        Some(open) => {
            let name = open.cells.text(row).map_err(|text| wrong(open.number, text))?;
            let missing = || wrong(open.number, "expected the name of a device, and no null");
            let name = name.ok_or_else(missing)?;
            let (max, actual) = (NAME_BYTES_MAX, name.len());
            if actual > max {
                let limit = LimitExceeded { name: "device_name_bytes_max", max, actual };
                return Err(BulkError::of_limit(number, open.number, limit));
            }
            Some(name)
        }
    };
    let place = rows.device(device, number)?;
    let mut at = match &batch.time {
        None => None,
        Some(open) => match open.cells.at(row).map_err(|text| wrong(open.number, text))? {
            Some(Cell::Integer(micros)) => {
                let missing = || wrong(open.number, "time out of range: expected years 1 to 9999");
                Some(open.of.moment(micros).ok_or_else(missing)?)
            }
            _ => None,
        },
    };
    for open in &batch.values {
        let cell = open.cells.at(row).map_err(|text| wrong(open.number, text))?;
        let Some(cell) = cell else { continue };
        rows.count(1, number, open.number)?;
        let value = match cell {
            Cell::Boolean(flag) => Value::Boolean(flag),
            Cell::Integer(integer) => Value::Integer(integer),
            Cell::Double(double) => Value::double(double)
                .map_err(|_| wrong(open.number, "expected a finite number, or null"))?,
            Cell::Text(text) => {
                // A dictionary says a long text in a few bytes, as often as it likes.
                count(text_bytes, text.len(), texts_max(rows))
                    .map_err(|limit| BulkError::of_limit(number, open.number, limit))?;
                rows.text(text, number, open.number)?
            }
        };
        rows.check(open.of, &value, number, open.number)?;
        let at = *at.get_or_insert_with(|| rows.moment(place));
        rows.push(place, open.of.clone(), at, value);
    }
    Ok(())
}
