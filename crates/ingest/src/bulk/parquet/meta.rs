//! The footer of a Parquet file: its columns, and where each row group keeps them.

use std::ops::Range;

use super::codec::Codec;
use super::thrift::{BOOLEAN_TRUE, Fault, Reader};
use super::{COLUMNS_MAX, PARQUET_CHUNKS_MAX, PARQUET_GROUPS_MAX};
use crate::bulk::files::COLUMN_BYTES_MAX;

const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";

/// The form of a column's values on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    Fixed(usize),
}

/// What the values mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    /// As they are.
    Itself,
    /// Without a sign.
    Unsigned,
    /// So many of these since 1970.
    Moment(Unit),
    /// The same on a clock that hangs nobody says where.
    Wall(Unit),
    /// Days since 1970, nobody says where.
    Date,
    /// To be divided by this.
    Decimal(f64),
    /// Nothing that a reading can be made of.
    Other,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) physical: Physical,
    pub(super) meaning: Meaning,
    pub(super) is_optional: bool,
}

/// Where a row group keeps a column.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) range: Range<usize>,
    pub(super) codec: Codec,
    pub(super) values: usize,
}

/// Some rows, column by column.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) rows: usize,
    pub(super) chunks: Vec<Chunk>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) columns: Vec<Column>,
    pub(super) groups: Vec<Group>,
}

#[derive(Default)]
struct Element {
    physical: Option<i64>,
    length: i64,
    repetition: i64,
    name: String,
    children: i64,
    converted: Option<i64>,
    scale: i64,
    logical: Option<Logical>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Logical {
    Text,
    Decimal,
    Date,
    Moment(Unit),
    Wall(Unit),
    Integer { is_signed: bool },
    Other,
}

fn no_parquet() -> Fault {
    Fault::new("no Parquet file: expected it to begin and to end with PAR1, all of it in one piece")
}

impl Footer {
    /// Reads the footer at the end of a whole file.
    pub(super) fn of(file: &[u8]) -> Result<Self, Fault> {
        if file.ends_with(ENCRYPTED) {
            return Err(Fault::new("an encrypted Parquet file: expected a plain one"));
        }
        if file.len() < 12 || !file.starts_with(MAGIC) || !file.ends_with(MAGIC) {
            return Err(no_parquet());
        }
        let end = file.len() - 8;
        let length = file.get(end..end + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let length = u32::from_le_bytes(length.ok_or_else(no_parquet)?);
        let start = usize::try_from(length).ok().and_then(|length| end.checked_sub(length));
        let metadata = start.and_then(|start| file.get(start..end)).ok_or_else(no_parquet)?;
        let mut reader = Reader::new(metadata);
        let (mut elements, mut groups, mut chunks) = (Vec::new(), Vec::new(), 0);
        reader.fields(|reader, id, of| match id {
            2 => reader.list(|reader, _| {
                // A root, and a column each.
                if elements.len() > COLUMNS_MAX {
                    let detail = format!("limit file_columns_max exceeded: at most {COLUMNS_MAX}");
                    return Err(Fault::new(detail));
                }
                elements.push(element(reader)?);
                Ok(())
            }),
            4 => reader.list(|reader, _| {
                if groups.len() >= PARQUET_GROUPS_MAX {
                    let detail =
                        format!("limit parquet_groups_max exceeded: at most {PARQUET_GROUPS_MAX}");
                    return Err(Fault::new(detail));
                }
                let group = group(reader, start.unwrap_or_default())?;
                chunks += group.chunks.len();
                if chunks > PARQUET_CHUNKS_MAX {
                    return Err(Fault::new(format!(
                        "limit parquet_chunks_max exceeded: at most {PARQUET_CHUNKS_MAX} parts of \
                         columns in all row groups"
                    )));
                }
                groups.push(group);
                Ok(())
            }),
            8 => Err(Fault::new("an encrypted Parquet file: expected a plain one")),
            _ => reader.skip(of),
        })?;
        let columns = columns(elements)?;
        if groups.iter().any(|group| group.chunks.len() != columns.len()) {
            return Err(Fault::new("a row group of another number of columns than the schema has"));
        }
        let is_nested = |group: &Group| group.chunks.iter().any(|one| one.values != group.rows);
        if groups.iter().any(is_nested) {
            return Err(Fault::new("a column of another number of values than its group has rows"));
        }
        Ok(Self { columns, groups })
    }
}

fn columns(elements: Vec<Element>) -> Result<Vec<Column>, Fault> {
    let mut elements = elements.into_iter();
    let root = elements.next().ok_or_else(|| Fault::new("no schema"))?;
    let columns = elements.map(column).collect::<Result<Vec<_>, _>>()?;
    if usize::try_from(root.children) != Ok(columns.len()) {
        return Err(Fault::new("nested columns: expected a flat table"));
    }
    Ok(columns)
}

fn column(element: Element) -> Result<Column, Fault> {
    let nested = || Fault::new(format!("the column {:?} is nested or a list", element.name));
    if element.children != 0 || element.repetition == 2 {
        return Err(nested());
    }
    let physical = match element.physical.ok_or_else(nested)? {
        0 => Physical::Boolean,
        1 => Physical::Int32,
        2 => Physical::Int64,
        3 => Physical::Int96,
        4 => Physical::Float,
        5 => Physical::Double,
        6 => Physical::Bytes,
        7 => {
            let length = usize::try_from(element.length).ok().filter(|length| *length > 0);
            Physical::Fixed(length.ok_or_else(|| Fault::new("a column of no width"))?)
        }
        _ => return Err(Fault::new("a column of an unknown type")),
    };
    let meaning = meaning(physical, &element);
    let is_optional = element.repetition == 1;
    Ok(Column { name: element.name, physical, meaning, is_optional })
}

fn meaning(physical: Physical, element: &Element) -> Meaning {
    let scale = i32::try_from(element.scale.clamp(0, 38)).unwrap_or_default();
    let decimal = Meaning::Decimal(10f64.powi(scale));
    let said = element.logical.or(match element.converted {
        None => None,
        Some(0 | 4 | 19) => Some(Logical::Text),
        Some(5) => Some(Logical::Decimal),
        Some(6) => Some(Logical::Date),
        Some(9) => Some(Logical::Moment(Unit::Millis)),
        Some(10) => Some(Logical::Moment(Unit::Micros)),
        Some(11..=14) => Some(Logical::Integer { is_signed: false }),
        Some(7 | 8 | 15..=18) => Some(Logical::Integer { is_signed: true }),
        Some(_) => Some(Logical::Other),
    });
    match (physical, said) {
        (Physical::Int96, _) => Meaning::Moment(Unit::Nanos),
        (Physical::Int32 | Physical::Int64, Some(Logical::Decimal)) => decimal,
        (Physical::Int32, Some(Logical::Date)) => Meaning::Date,
        (Physical::Int64, Some(Logical::Moment(unit))) => Meaning::Moment(unit),
        (Physical::Int64, Some(Logical::Wall(unit))) => Meaning::Wall(unit),
        (Physical::Int32 | Physical::Int64, Some(Logical::Integer { is_signed: false })) => {
            Meaning::Unsigned
        }
        (Physical::Fixed(_), _) | (_, Some(Logical::Other | Logical::Decimal)) => Meaning::Other,
        _ => Meaning::Itself,
    }
}

fn element(reader: &mut Reader<'_>) -> Result<Element, Fault> {
    let mut element = Element::default();
    reader.fields(|reader, id, of| {
        match id {
            1 => element.physical = Some(reader.long()?),
            2 => element.length = reader.long()?,
            3 => element.repetition = reader.long()?,
            4 => {
                let name = reader.text()?;
                if name.len() > COLUMN_BYTES_MAX {
                    let detail = format!("a column's name has at most {COLUMN_BYTES_MAX} bytes");
                    return Err(Fault::new(detail));
                }
                name.clone_into(&mut element.name);
            }
            5 => element.children = reader.long()?,
            6 => element.converted = Some(reader.long()?),
            7 => element.scale = reader.long()?,
            10 => element.logical = Some(logical(reader, &mut element.scale)?),
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    Ok(element)
}

fn logical(reader: &mut Reader<'_>, scale: &mut i64) -> Result<Logical, Fault> {
    let mut found = Logical::Other;
    reader.fields(|reader, id, of| {
        match id {
            1 | 4 | 12 => {
                found = Logical::Text;
                reader.skip(of)?;
            }
            5 => {
                found = Logical::Decimal;
                reader.fields(|reader, id, of| match id {
                    1 => reader.long().map(|number| *scale = number),
                    _ => reader.skip(of),
                })?;
            }
            6 => {
                found = Logical::Date;
                reader.skip(of)?;
            }
            7 => {
                found = Logical::Integer { is_signed: true };
                reader.skip(of)?;
            }
            8 => found = moment(reader)?,
            10 => {
                let mut is_signed = true;
                reader.fields(|reader, id, of| {
                    if id == 2 {
                        is_signed = of == BOOLEAN_TRUE;
                    }
                    reader.skip(of)
                })?;
                found = Logical::Integer { is_signed };
            }
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// A time of a unit, and whether its file says that it is one of UTC.
fn moment(reader: &mut Reader<'_>) -> Result<Logical, Fault> {
    let (mut unit, mut is_of_utc) = (Unit::Micros, true);
    reader.fields(|reader, id, of| match id {
        1 => {
            is_of_utc = of == BOOLEAN_TRUE;
            reader.skip(of)
        }
        2 => reader.fields(|reader, id, of| {
            unit = match id {
                1 => Unit::Millis,
                2 => Unit::Micros,
                _ => Unit::Nanos,
            };
            reader.skip(of)
        }),
        _ => reader.skip(of),
    })?;
    Ok(if is_of_utc { Logical::Moment(unit) } else { Logical::Wall(unit) })
}

/// A row group, whose chunks stand before the footer.
fn group(reader: &mut Reader<'_>, end: usize) -> Result<Group, Fault> {
    let mut group = Group { rows: 0, chunks: Vec::new() };
    reader.fields(|reader, id, of| match id {
        1 => reader.list(|reader, _| {
            if group.chunks.len() >= COLUMNS_MAX {
                let detail = format!("limit file_columns_max exceeded: at most {COLUMNS_MAX}");
                return Err(Fault::new(detail));
            }
            group.chunks.push(chunk(reader, end)?);
            Ok(())
        }),
        3 => reader.count().map(|rows| group.rows = rows),
        _ => reader.skip(of),
    })?;
    Ok(group)
}

fn chunk(reader: &mut Reader<'_>, end: usize) -> Result<Chunk, Fault> {
    let mut found = None;
    reader.fields(|reader, id, of| match id {
        1 => Err(Fault::new("a column in another file: expected one file with everything")),
        3 => column_chunk(reader, end).map(|chunk| found = Some(chunk)),
        8 | 9 => Err(Fault::new("an encrypted column: expected a plain file")),
        _ => reader.skip(of),
    })?;
    found.ok_or_else(|| Fault::new("a column without a place"))
}

fn column_chunk(reader: &mut Reader<'_>, end: usize) -> Result<Chunk, Fault> {
    let (mut codec, mut values, mut bytes) = (0, 0, 0);
    let (mut data, mut dictionary) = (0, 0);
    reader.fields(|reader, id, of| {
        match id {
            4 => codec = reader.long()?,
            5 => values = reader.count()?,
            7 => bytes = reader.count()?,
            9 => data = reader.count()?,
            11 => dictionary = reader.count()?,
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    // Some writers say 0 where there is no dictionary.
    let start = if dictionary > 0 { data.min(dictionary) } else { data };
    let range = start..start.saturating_add(bytes);
    if range.start < MAGIC.len() || range.end > end {
        return Err(Fault::new("a column outside of the file"));
    }
    Ok(Chunk { range, codec: Codec::of(codec)?, values })
}
