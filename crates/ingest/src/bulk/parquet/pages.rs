//! A column of a row group, value by value: one page of it is open at a time.

use std::ops::Range;

use bytes::Bytes;

use super::bits::{Delta, Hybrid};
use super::meta::{Chunk, Column, Meaning, Physical, Unit};
use super::thrift::{BOOLEAN_TRUE, Fault, Reader};
use super::{PARQUET_PAGE_BYTES_MAX, PARQUET_PAGE_VALUES_MAX};
use crate::bulk::files::Cell;

const DAY_MICROS: i64 = 86_400_000_000;
/// The Julian day of 1970-01-01.
const JULIAN_EPOCH: i64 = 2_440_588;

fn cut() -> Fault {
    Fault::new("a page that ends within its values")
}

/// The value that a column stands at.
#[derive(Debug, Clone, Default)]
enum Current {
    #[default]
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Moment(i64),
    Wall(i64),
    /// Text in the page.
    Page(Range<usize>),
    /// Text in the dictionary.
    Word(Range<usize>),
    /// Text that was put together.
    Joined,
}

/// How the values of the open page are written.
enum Decoder {
    Plain(usize),
    Bits(usize),
    Words(Hybrid),
    Flags(Hybrid),
    Delta(Delta),
    /// Lengths first, then the texts.
    Lengths {
        lengths: Vec<i64>,
        next: usize,
        at: usize,
    },
    /// What each text shares with the one before it, and how long the rest is.
    Prefixes {
        prefixes: Vec<i64>,
        lengths: Vec<i64>,
        next: usize,
        at: usize,
    },
    /// The first bytes of all values, then the second ones.
    Split {
        at: usize,
        count: usize,
        next: usize,
    },
}

struct Page {
    buffer: Vec<u8>,
    left: usize,
    levels: Option<Hybrid>,
    decoder: Decoder,
}

#[derive(Default)]
struct Dictionary {
    buffer: Vec<u8>,
    /// Where each text is; none of them for numbers, which are `wide` bytes each.
    places: Vec<(u32, u32)>,
}

#[derive(Default)]
struct Header {
    kind: i64,
    opened: usize,
    packed: usize,
    values: usize,
    encoding: i64,
    level_encoding: i64,
    level_bytes: usize,
    repeat_bytes: usize,
    is_plain: bool,
}

/// A column of a row group.
pub(super) struct ColumnReader {
    file: Bytes,
    range: Range<usize>,
    column: Column,
    codec: super::codec::Codec,
    page: Option<Page>,
    dictionary: Dictionary,
    has_dictionary: bool,
    joined: Vec<u8>,
    current: Current,
}

fn header(reader: &mut Reader<'_>) -> Result<Header, Fault> {
    let mut header = Header { level_encoding: 3, ..Header::default() };
    reader.fields(|reader, id, of| {
        match id {
            1 => header.kind = reader.long()?,
            2 => header.opened = reader.count()?,
            3 => header.packed = reader.count()?,
            5 | 7 => reader.fields(|reader, id, of| {
                match id {
                    1 => header.values = reader.count()?,
                    2 => header.encoding = reader.long()?,
                    3 if of != BOOLEAN_TRUE && of != BOOLEAN_TRUE + 1 => {
                        header.level_encoding = reader.long()?;
                    }
                    _ => reader.skip(of)?,
                }
                Ok(())
            })?,
            8 => reader.fields(|reader, id, of| {
                match id {
                    1 => header.values = reader.count()?,
                    4 => header.encoding = reader.long()?,
                    5 => header.level_bytes = reader.count()?,
                    6 => header.repeat_bytes = reader.count()?,
                    7 => header.is_plain = of != BOOLEAN_TRUE,
                    _ => reader.skip(of)?,
                }
                Ok(())
            })?,
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    if header.values > PARQUET_PAGE_VALUES_MAX {
        let detail =
            format!("limit parquet_page_values_max exceeded: at most {PARQUET_PAGE_VALUES_MAX}");
        return Err(Fault::new(detail));
    }
    Ok(header)
}

impl ColumnReader {
    pub(super) fn new(file: &Bytes, column: &Column, chunk: &Chunk) -> Self {
        Self {
            file: file.clone(),
            range: chunk.range.clone(),
            column: column.clone(),
            codec: chunk.codec,
            page: None,
            dictionary: Dictionary::default(),
            has_dictionary: false,
            joined: Vec::new(),
            current: Current::Null,
        }
    }

    /// Bytes that are held for it.
    pub(super) fn held(&self) -> usize {
        let page = self.page.as_ref().map_or(0, |page| {
            let lengths = match &page.decoder {
                Decoder::Lengths { lengths, .. } => lengths.len(),
                Decoder::Prefixes { prefixes, lengths, .. } => prefixes.len() + lengths.len(),
                _ => 0,
            };
            page.buffer.len() + 8 * lengths
        });
        let words = self.dictionary.buffer.len() + 8 * self.dictionary.places.len();
        page + words + self.joined.capacity()
    }

    /// Whether the next value is on a page that is not open yet.
    pub(super) fn needs_page(&self) -> bool {
        self.page.as_ref().is_none_or(|page| page.left == 0)
    }

    /// Opens the next page that holds values, and gives how many bytes that made.
    pub(super) fn open_page(&mut self) -> Result<usize, Fault> {
        self.page = None;
        let mut opened = 0;
        while self.needs_page() {
            let file = self.file.clone();
            let rest = file.get(self.range.clone()).filter(|rest| !rest.is_empty());
            let rest = rest.ok_or_else(|| Fault::new("a column of fewer values than its rows"))?;
            let mut reader = Reader::new(rest);
            let header = header(&mut reader)?;
            let start = reader.position();
            let end = start.checked_add(header.packed).ok_or_else(cut)?;
            let body = rest.get(start..end).ok_or_else(cut)?;
            self.range.start += end;
            match header.kind {
                // What holds no value is not opened.
                0 | 3 if header.values == 0 => continue,
                0 => self.page = Some(self.page_of(body, &header)?),
                2 if self.has_dictionary => {
                    return Err(Fault::new("a column with two dictionaries in a row group"));
                }
                2 => {
                    self.has_dictionary = true;
                    self.dictionary = self.dictionary_of(body, &header)?;
                }
                3 => self.page = Some(self.page_with_levels(body, &header)?),
                _ => continue,
            }
            opened += header.opened;
        }
        Ok(opened)
    }

    fn dictionary_of(&self, body: &[u8], header: &Header) -> Result<Dictionary, Fault> {
        let buffer = self.codec.open(body, header.opened)?;
        let mut places = Vec::new();
        if self.column.physical == Physical::Bytes {
            let mut at = 0;
            while at < buffer.len() && places.len() < header.values {
                let range = text_at(&buffer, &mut at)?;
                let place = |at: usize| u32::try_from(at).map_err(|_| cut());
                places.push((place(range.start)?, place(range.end)?));
            }
        }
        Ok(Dictionary { buffer, places })
    }

    /// A page whose levels are compressed with it.
    fn page_of(&self, body: &[u8], header: &Header) -> Result<Page, Fault> {
        let buffer = self.codec.open(body, header.opened)?;
        let (mut at, mut levels) = (0, None);
        if self.column.is_optional {
            if header.level_encoding != 3 {
                return Err(Fault::new("levels that are not in RLE"));
            }
            let length = buffer.get(..4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            let length = u32::from_le_bytes(length.ok_or_else(cut)?);
            let end = usize::try_from(length).ok().and_then(|length| length.checked_add(4));
            at = end.filter(|end| *end <= buffer.len()).ok_or_else(cut)?;
            levels = Some(Hybrid::new((4, at), 1)?);
        }
        let decoder = self.decoder(&buffer, at, header)?;
        Ok(Page { buffer, left: header.values, levels, decoder })
    }

    /// A page of the second version, whose levels stand before it and are not compressed.
    fn page_with_levels(&self, body: &[u8], header: &Header) -> Result<Page, Fault> {
        let before = header.level_bytes.checked_add(header.repeat_bytes).ok_or_else(cut)?;
        let (levels_in, values) = body.split_at_checked(before).ok_or_else(cut)?;
        let opened = header.opened.checked_sub(before).ok_or_else(cut)?;
        // Levels are bound by the piece itself, values by what a page may have.
        let mut buffer = levels_in.to_vec();
        if header.is_plain {
            buffer.extend_from_slice(values);
        } else if opened > 0 {
            buffer.extend_from_slice(&self.codec.open(values, opened)?);
        }
        if buffer.len() > 2 * PARQUET_PAGE_BYTES_MAX {
            return Err(cut());
        }
        let range = (header.repeat_bytes, before);
        let levels = self.column.is_optional.then(|| Hybrid::new(range, 1)).transpose()?;
        let decoder = self.decoder(&buffer, before, header)?;
        Ok(Page { buffer, left: header.values, levels, decoder })
    }

    fn decoder(&self, buffer: &[u8], at: usize, header: &Header) -> Result<Decoder, Fault> {
        let is_text = self.column.physical == Physical::Bytes;
        match (header.encoding, self.column.physical) {
            (0, Physical::Boolean) => Ok(Decoder::Bits(8 * at)),
            (0, _) => Ok(Decoder::Plain(at)),
            (2 | 8, _) => match buffer.get(at) {
                Some(width) => {
                    let range = (at + 1, buffer.len());
                    Ok(Decoder::Words(Hybrid::new(range, usize::from(*width))?))
                }
                // Of nulls alone there is no index.
                None => Ok(Decoder::Words(Hybrid::new((at, at), 0)?)),
            },
            (3, Physical::Boolean) => {
                let start = at.saturating_add(4).min(buffer.len());
                Ok(Decoder::Flags(Hybrid::new((start, buffer.len()), 1)?))
            }
            (5, Physical::Int32 | Physical::Int64) => Ok(Decoder::Delta(Delta::new(buffer, at)?)),
            (6, _) if is_text => {
                let (lengths, at) = numbers(buffer, at)?;
                Ok(Decoder::Lengths { lengths, next: 0, at })
            }
            (7, _) if is_text => {
                let (prefixes, at) = numbers(buffer, at)?;
                let (lengths, at) = numbers(buffer, at)?;
                Ok(Decoder::Prefixes { prefixes, lengths, next: 0, at })
            }
            (9, physical) if width_of(physical).is_some() => {
                let width = width_of(physical).unwrap_or(1);
                let count = buffer.len().saturating_sub(at) / width;
                Ok(Decoder::Split { at, count, next: 0 })
            }
            _ => Err(Fault::new(format!(
                "the column {:?} is encoded in a way that is not known here",
                self.column.name
            ))),
        }
    }

    /// Goes to the next value. A page is open.
    pub(super) fn advance(&mut self) -> Result<(), Fault> {
        let Some(page) = &mut self.page else { return Err(cut()) };
        page.left = page.left.checked_sub(1).ok_or_else(cut)?;
        if let Some(levels) = &mut page.levels
            && levels.next(&page.buffer)? == 0
        {
            self.current = Current::Null;
            return Ok(());
        }
        let column = &self.column;
        self.current = match &mut page.decoder {
            Decoder::Bits(bit) => {
                let byte = page.buffer.get(*bit / 8).copied().ok_or_else(cut)?;
                let is_set = byte >> (*bit % 8) & 1 == 1;
                *bit += 1;
                Current::Boolean(is_set)
            }
            Decoder::Flags(hybrid) => Current::Boolean(hybrid.next(&page.buffer)? == 1),
            Decoder::Plain(at) if column.physical == Physical::Bytes => {
                Current::Page(text_at(&page.buffer, at)?)
            }
            Decoder::Plain(at) => {
                let width = wide(column.physical)?;
                let bytes = page.buffer.get(*at..*at + width).ok_or_else(cut)?;
                *at += width;
                number(column, bytes)?
            }
            Decoder::Words(hybrid) => {
                let index = usize::try_from(hybrid.next(&page.buffer)?).map_err(|_| cut())?;
                self.dictionary.get(column, index)?
            }
            Decoder::Delta(delta) => integer(column, delta.next(&page.buffer)?),
            Decoder::Lengths { lengths, next, at } => {
                let length = length_of(lengths, *next)?;
                *next += 1;
                let range = range_of(&page.buffer, *at, length)?;
                *at = range.end;
                Current::Page(range)
            }
            Decoder::Prefixes { prefixes, lengths, next, at } => {
                let (shared, length) = (length_of(prefixes, *next)?, length_of(lengths, *next)?);
                *next += 1;
                let range = range_of(&page.buffer, *at, length)?;
                *at = range.end;
                if shared > self.joined.len() || shared + length > PARQUET_PAGE_BYTES_MAX {
                    return Err(cut());
                }
                self.joined.truncate(shared);
                self.joined.extend_from_slice(page.buffer.get(range).unwrap_or_default());
                Current::Joined
            }
            Decoder::Split { at, count, next } => {
                let width = wide(column.physical)?;
                let mut bytes = [0; 8];
                for (index, byte) in bytes.iter_mut().take(width).enumerate() {
                    let place = *at + index * *count + *next;
                    *byte = page.buffer.get(place).copied().ok_or_else(cut)?;
                }
                *next += 1;
                number(column, bytes.get(..width).unwrap_or_default())?
            }
        };
        Ok(())
    }

    /// The value that it stands at.
    pub(super) fn cell(&self) -> Cell<'_> {
        let bytes = match &self.current {
            Current::Null => return Cell::Null,
            Current::Boolean(flag) => return Cell::Boolean(*flag),
            Current::Integer(number) => return Cell::Integer(*number),
            Current::Double(number) => return Cell::Double(*number),
            Current::Moment(micros) => return Cell::Moment(*micros),
            Current::Wall(micros) => return Cell::Wall(*micros),
            Current::Page(range) => {
                self.page.as_ref().and_then(|page| page.buffer.get(range.clone()))
            }
            Current::Word(range) => self.dictionary.buffer.get(range.clone()),
            Current::Joined => Some(self.joined.as_slice()),
        };
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.map_or(Cell::Foreign, Cell::Text)
    }
}

impl Dictionary {
    fn get(&self, column: &Column, index: usize) -> Result<Current, Fault> {
        let wrong = || Fault::new("an index that the dictionary does not have");
        if column.physical == Physical::Bytes {
            let (from, to) = self.places.get(index).copied().ok_or_else(wrong)?;
            let place = |at: u32| usize::try_from(at).map_err(|_| cut());
            return Ok(Current::Word(place(from)?..place(to)?));
        }
        let width = wide(column.physical)?;
        let from = index.checked_mul(width).ok_or_else(wrong)?;
        number(column, self.buffer.get(from..from + width).ok_or_else(wrong)?)
    }
}

/// All numbers of a part of a page, and where it ends.
fn numbers(buffer: &[u8], at: usize) -> Result<(Vec<i64>, usize), Fault> {
    let mut delta = Delta::new(buffer, at)?;
    let mut numbers = Vec::new();
    while delta.left() > 0 {
        numbers.push(delta.next(buffer)?);
    }
    Ok((numbers, delta.end()))
}

fn length_of(lengths: &[i64], index: usize) -> Result<usize, Fault> {
    let length = lengths.get(index).copied().ok_or_else(cut)?;
    usize::try_from(length).map_err(|_| cut())
}

fn range_of(buffer: &[u8], at: usize, length: usize) -> Result<Range<usize>, Fault> {
    let end = at.checked_add(length).filter(|end| *end <= buffer.len()).ok_or_else(cut)?;
    Ok(at..end)
}

/// A text behind its length.
fn text_at(buffer: &[u8], at: &mut usize) -> Result<Range<usize>, Fault> {
    let length = buffer.get(*at..*at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let length = u32::from_le_bytes(length.ok_or_else(cut)?);
    let range = range_of(buffer, *at + 4, usize::try_from(length).map_err(|_| cut())?)?;
    *at = range.end;
    Ok(range)
}

const fn width_of(physical: Physical) -> Option<usize> {
    match physical {
        Physical::Int32 | Physical::Float => Some(4),
        Physical::Int64 | Physical::Double => Some(8),
        Physical::Boolean | Physical::Int96 | Physical::Bytes | Physical::Fixed(_) => None,
    }
}

/// The width of a value that is not a text.
fn wide(physical: Physical) -> Result<usize, Fault> {
    match physical {
        Physical::Int96 => Ok(12),
        Physical::Fixed(width) => Ok(width),
        other => width_of(other).ok_or_else(cut),
    }
}

/// A value of so many bytes as its column has.
fn number(column: &Column, bytes: &[u8]) -> Result<Current, Fault> {
    let four = || <[u8; 4]>::try_from(bytes).map_err(|_| cut());
    let eight = || <[u8; 8]>::try_from(bytes).map_err(|_| cut());
    match column.physical {
        Physical::Int32 if column.meaning == Meaning::Unsigned => {
            Ok(Current::Integer(u32::from_le_bytes(four()?).into()))
        }
        Physical::Int32 => Ok(integer(column, i32::from_le_bytes(four()?).into())),
        Physical::Int64 => Ok(integer(column, i64::from_le_bytes(eight()?))),
        Physical::Float => Ok(Current::Double(f32::from_le_bytes(four()?).into())),
        Physical::Double => Ok(Current::Double(f64::from_le_bytes(eight()?))),
        Physical::Int96 => {
            let (nanos, day) = bytes.split_at_checked(8).ok_or_else(cut)?;
            let nanos = <[u8; 8]>::try_from(nanos).map_err(|_| cut())?;
            let day = <[u8; 4]>::try_from(day).map_err(|_| cut())?;
            let day = i64::from(u32::from_le_bytes(day)) - JULIAN_EPOCH;
            let within = i64::from_le_bytes(nanos).div_euclid(1_000);
            Ok(Current::Moment(day.saturating_mul(DAY_MICROS).saturating_add(within)))
        }
        Physical::Boolean | Physical::Bytes | Physical::Fixed(_) => Err(cut()),
    }
}

const fn micros(unit: Unit, number: i64) -> i64 {
    match unit {
        Unit::Millis => number.saturating_mul(1_000),
        Unit::Micros => number,
        Unit::Nanos => number.div_euclid(1_000),
    }
}

fn integer(column: &Column, number: i64) -> Current {
    match column.meaning {
        Meaning::Moment(unit) => Current::Moment(micros(unit, number)),
        Meaning::Wall(unit) => Current::Wall(micros(unit, number)),
        Meaning::Date => Current::Wall(number.saturating_mul(DAY_MICROS)),
        Meaning::Decimal(by) => Current::Double(number as f64 / by),
        Meaning::Unsigned if number < 0 => Current::Double(number as u64 as f64),
        Meaning::Unsigned | Meaning::Itself | Meaning::Other => Current::Integer(number),
    }
}
