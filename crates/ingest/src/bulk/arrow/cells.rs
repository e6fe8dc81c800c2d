//! The buffers of a record batch, or of a dictionary, as cells: looked at where they are, never
//! beyond the message's own body.

use super::Message;
use super::flat::{Fault, Table, Vector};
use super::schema::{Form, Integer};

const SHORT: &str = "a buffer shorter than the rows of its batch";
const OUTSIDE: &str = "a text outside of its buffer";
/// A view is a length, and either so many bytes of text or where they are.
const VIEW_BYTES: usize = 16;
const VIEW_TEXT_BYTES_MAX: usize = 12;

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a str),
}

/// The words of a dictionary, of which any may be null.
pub(super) type Words<'a> = Vec<Option<&'a str>>;

/// What is left of a batch: its columns come one after the other.
pub(super) struct Parts<'a> {
    nodes: Option<Vector<'a>>,
    buffers: Option<Vector<'a>>,
    /// How many buffers of text each column of views has.
    counts: Option<Vector<'a>>,
    body: &'a [u8],
    /// Of its message.
    at: usize,
    next_node: usize,
    next_buffer: usize,
    next_count: usize,
    /// What the views of the columns so far say, however often it is the same.
    pub(super) view_bytes: usize,
}

/// The rows of one column.
pub(super) struct Cells<'a, 'd> {
    /// A bit for each row; empty where none is null.
    validity: &'a [u8],
    values: Values<'a, 'd>,
}

enum Values<'a, 'd> {
    Nulls,
    Bits(&'a [u8]),
    Integers(&'a [u8], Integer),
    Floats(&'a [u8]),
    Doubles(&'a [u8]),
    Texts { offsets: &'a [u8], of: Integer, data: &'a [u8] },
    Views { views: &'a [u8], buffers: Vec<&'a [u8]> },
    Words { indices: &'a [u8], of: Integer, words: &'d [Option<&'a str>] },
}

/// How many rows a batch has, and its parts.
pub(super) fn parts<'a>(
    batch: Table<'a>,
    message: &Message<'a>,
) -> Result<(usize, Parts<'a>), Fault> {
    if batch.table(3)?.is_some() {
        let text = "compressed buffers: expected plain ones, and the request as a whole compressed \
            (Content-Encoding)";
        return Err(batch.fault(text));
    }
    let rows = usize::try_from(batch.long(0)?);
    let rows = rows.map_err(|_| batch.fault("a negative number of rows"))?;
    let parts = Parts {
        nodes: batch.vector(1, 16)?,
        buffers: batch.vector(2, 16)?,
        counts: batch.vector(4, 8)?,
        body: message.body,
        at: message.at,
        next_node: 0,
        next_buffer: 0,
        next_count: 0,
        view_bytes: 0,
    };
    Ok((rows, parts))
}

impl<'a> Parts<'a> {
    const fn fault(&self, text: &'static str) -> Fault {
        Fault { at: self.at, text }
    }

    /// How many nulls the next column has.
    fn node(&mut self, rows: usize) -> Result<i64, Fault> {
        let index = self.next_node;
        self.next_node += 1;
        let Some(nodes) = self.nodes.filter(|nodes| index < nodes.len()) else {
            return Err(self.fault("a batch of fewer columns than its schema has"));
        };
        if usize::try_from(nodes.long(index, 0)?) != Ok(rows) {
            return Err(self.fault("a column of another length than its batch"));
        }
        nodes.long(index, 1)
    }

    fn buffer(&mut self, bytes_min: usize) -> Result<&'a [u8], Fault> {
        let index = self.next_buffer;
        self.next_buffer += 1;
        let Some(buffers) = self.buffers.filter(|buffers| index < buffers.len()) else {
            return Err(self.fault("a batch of fewer buffers than its columns have"));
        };
        let (from, length) = (buffers.long(index, 0)?, buffers.long(index, 1)?);
        let range = usize::try_from(from).ok().zip(usize::try_from(length).ok());
        let range = range.and_then(|(from, length)| Some(from..from.checked_add(length)?));
        let Some(found) = range.and_then(|range| self.body.get(range)) else {
            return Err(self.fault("a buffer outside of its message"));
        };
        if found.len() < bytes_min { Err(self.fault(SHORT)) } else { Ok(found) }
    }

    /// The next column. Where it has a dictionary, with its indices and its words.
    pub(super) fn cells<'d>(
        &mut self,
        form: Form,
        dictionary: Option<(Integer, &'d [Option<&'a str>])>,
        rows: usize,
    ) -> Result<Cells<'a, 'd>, Fault> {
        let nulls = self.node(rows)?;
        if form == Form::Null {
            return Ok(Cells { validity: &[], values: Values::Nulls });
        }
        let validity = self.buffer(0)?;
        let is_short = validity.len() < rows.div_ceil(8);
        if is_short && (!validity.is_empty() || nulls != 0) {
            return Err(self.fault(SHORT));
        }
        let values = match (dictionary, form) {
            (Some((of, words)), _) => {
                Values::Words { indices: self.buffer(rows * of.bytes)?, of, words }
            }
            (None, Form::Null) => Values::Nulls,
            (None, Form::Boolean) => Values::Bits(self.buffer(rows.div_ceil(8))?),
            (None, Form::Integer(of)) => Values::Integers(self.buffer(rows * of.bytes)?, of),
            (None, Form::Moment(_)) => {
                Values::Integers(self.buffer(rows * 8)?, Integer { bytes: 8, is_signed: true })
            }
            (None, Form::Float) => Values::Floats(self.buffer(rows * 4)?),
            (None, Form::Double) => Values::Doubles(self.buffer(rows * 8)?),
            (None, Form::Text { is_large }) => self.texts(is_large, rows)?,
            (None, Form::View) => self.views(validity, rows)?,
        };
        Ok(Cells { validity, values })
    }

    /// Texts of which none begins before another one ends: together they are no longer than their
    /// buffer, nulls or not.
    fn texts<'d>(&mut self, is_large: bool, rows: usize) -> Result<Values<'a, 'd>, Fault> {
        let of = Integer { bytes: if is_large { 8 } else { 4 }, is_signed: true };
        // Of no rows there may be no offset at all.
        let count = if rows == 0 { 0 } else { rows + 1 };
        let offsets = self.buffer(count * of.bytes)?;
        let data = self.buffer(0)?;
        let mut before = 0;
        for index in 0..count {
            let offset = of.at(offsets, index).map_err(|text| self.fault(text))?;
            let is_within = usize::try_from(offset).is_ok_and(|offset| offset <= data.len());
            if offset < before || !is_within {
                return Err(self.fault("a text outside of its buffer, or before the one before it"));
            }
            before = offset;
        }
        Ok(Values::Texts { offsets, of, data })
    }

    /// Texts that are in their view, or where it says, which may be the same place for all of them:
    /// how much they say together is counted before one is read.
    fn views<'d>(&mut self, validity: &[u8], rows: usize) -> Result<Values<'a, 'd>, Fault> {
        let views = self.buffer(rows * VIEW_BYTES)?;
        let index = self.next_count;
        self.next_count += 1;
        let Some(counts) = self.counts.filter(|counts| index < counts.len()) else {
            return Err(self.fault("a column of views without the number of its buffers"));
        };
        let count = usize::try_from(counts.long(index, 0)?);
        let count = count.map_err(|_| self.fault("a negative number of buffers"))?;
        // As many as there are: what is counted is not believed.
        let buffers = (0..count).map(|_| self.buffer(0)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..rows {
            if !validity.is_empty() && !bit(validity, row) {
                continue;
            }
            let text = view(views, &buffers, row).ok_or_else(|| self.fault(OUTSIDE))?;
            self.view_bytes = self.view_bytes.saturating_add(text.len());
        }
        Ok(Values::Views { views, buffers })
    }
}

/// The bytes of a view's text.
fn view<'a>(views: &'a [u8], buffers: &[&'a [u8]], row: usize) -> Option<&'a [u8]> {
    let view: &'a [u8] = views.get(row * VIEW_BYTES..(row + 1) * VIEW_BYTES)?;
    let number = |at: usize| {
        let bytes: [u8; 4] = view.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(i32::from_le_bytes(bytes)).ok()
    };
    let bytes = number(0)?;
    if bytes <= VIEW_TEXT_BYTES_MAX {
        return view.get(4..4 + bytes);
    }
    let (buffer, from) = (buffers.get(number(8)?).copied()?, number(12)?);
    buffer.get(from..from.checked_add(bytes)?)
}

fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8: expected text in UTF-8")
}

fn bit(bytes: &[u8], row: usize) -> bool {
    bytes.get(row / 8).is_some_and(|byte| (byte >> (row % 8)) & 1 == 1)
}

fn array<const N: usize>(bytes: &[u8], row: usize) -> Result<[u8; N], &'static str> {
    let found = bytes.get(row * N..(row + 1) * N);
    found.and_then(|found| found.try_into().ok()).ok_or(SHORT)
}

impl Integer {
    fn at(self, bytes: &[u8], row: usize) -> Result<i64, &'static str> {
        let start = row * self.bytes;
        let part = bytes.get(start..start + self.bytes).ok_or(SHORT)?;
        let is_negative = self.is_signed && part.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let number = i64::from_le_bytes(wide);
        if number < 0 && !self.is_signed {
            return Err("integer out of range: expected at most 9223372036854775807");
        }
        Ok(number)
    }
}

impl<'a> Cells<'a, '_> {
    /// Whether there can be any value.
    pub(super) const fn is_of_nulls(&self) -> bool {
        matches!(self.values, Values::Nulls)
    }

    /// The value of a row; none where it is null.
    pub(super) fn at(&self, row: usize) -> Result<Option<Cell<'a>>, &'static str> {
        if !self.validity.is_empty() && !bit(self.validity, row) {
            return Ok(None);
        }
        Ok(Some(match &self.values {
            Values::Nulls => return Ok(None),
            Values::Bits(bytes) => Cell::Boolean(bit(bytes, row)),
            Values::Integers(bytes, of) => Cell::Integer(of.at(bytes, row)?),
            Values::Floats(bytes) => Cell::Double(f32::from_le_bytes(array(bytes, row)?).into()),
            Values::Doubles(bytes) => Cell::Double(f64::from_le_bytes(array(bytes, row)?)),
            Values::Texts { offsets, of, data } => {
                let (from, to) = (of.at(offsets, row)?, of.at(offsets, row + 1)?);
                let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
                let found = range.and_then(|(from, to)| data.get(from..to)).ok_or(SHORT)?;
                Cell::Text(text(found)?)
            }
            Values::Views { views, buffers } => {
                Cell::Text(text(view(views, buffers, row).ok_or(OUTSIDE)?)?)
            }
            Values::Words { indices, of, words } => {
                let index = usize::try_from(of.at(indices, row)?).ok();
                let word = index.and_then(|index| words.get(index)).copied();
                match word.ok_or("an index beyond its dictionary")? {
                    Some(word) => Cell::Text(word),
                    None => return Ok(None),
                }
            }
        }))
    }

    /// The text of a row, of a column of texts.
    pub(super) fn text(&self, row: usize) -> Result<Option<&'a str>, &'static str> {
        match self.at(row)? {
            Some(Cell::Text(text)) => Ok(Some(text)),
            _ => Ok(None),
        }
    }
}
