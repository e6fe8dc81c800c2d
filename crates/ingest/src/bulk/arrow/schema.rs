//! What the columns of an Arrow stream are: the one of devices, the one of times, and values under
//! their keys. Types that are no values of ours are refused by their column.

use std::collections::HashSet;

use veritwin_domain::{Key, LimitExceeded};

use super::flat::{Fault, Table};
use crate::bulk::{BulkError, Rows};

/// Most columns of an Arrow stream, devices and times included.
pub const ARROW_COLUMNS_MAX: usize = 1_024;

/// The columns with a meaning of their own.
const DEVICE: &str = "device";
const TIME: &str = "ts";

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) role: Role,
    /// Of its values, or of what its dictionary holds.
    pub(super) form: Form,
    pub(super) indices: Option<Indices>,
}

/// What a column is for.
#[derive(Debug)]
pub(super) enum Role {
    Device,
    Time,
    Value(Key),
}

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing but nulls.
    Null,
    Boolean,
    Integer(Integer),
    Float,
    Double,
    /// Offsets of 64 bits rather than 32.
    Text {
        is_large: bool,
    },
    /// Texts, or where they are: how Polars has them.
    View,
    Moment(Unit),
}

/// An integer of 1, 2, 4 or 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Integer {
    pub(super) bytes: usize,
    pub(super) is_signed: bool,
}

/// What a moment is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// Numbers of words in a dictionary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indices {
    pub(super) dictionary: i64,
    pub(super) of: Integer,
}

/// Reads the columns. A key that must not be kept is refused here, once.
pub(super) fn read(schema: Table<'_>, rows: &mut Rows<'_>) -> Result<Vec<Column>, BulkError> {
    if schema.short(0)? != 0 {
        return Err(schema.fault("numbers in big-endian order: expected little-endian").into());
    }
    let Some(fields) = schema.vector(1, 4)? else {
        return Err(schema.fault("a schema without fields: expected columns").into());
    };
    let (max, actual) = (ARROW_COLUMNS_MAX, fields.len());
    if actual > max {
        let limit = LimitExceeded { name: "arrow_columns_max", max, actual };
        return Err(BulkError::of_limit(0, 0, limit));
    }
    let (mut columns, mut names) = (Vec::with_capacity(fields.len()), HashSet::new());
    for index in 0..fields.len() {
        let (field, number) = (fields.table(index)?, index + 1);
        let name = field.text(0)?.unwrap_or_default();
        if !names.insert(name) {
            return Err(BulkError::new(0, number, "a second column with this name"));
        }
        columns.push(column(field, name, number, rows)?);
    }
    let has_device = names.contains(DEVICE);
    if rows.context.one_device && has_device {
        let detail = "a device writes for itself only: expected no column device";
        return Err(BulkError::new(0, 0, detail));
    }
    if !rows.context.one_device && !has_device {
        let detail = "expected a column device with the names of devices";
        return Err(BulkError::new(0, 0, detail));
    }
    Ok(columns)
}

fn column(
    field: Table<'_>,
    name: &str,
    number: usize,
    rows: &mut Rows<'_>,
) -> Result<Column, BulkError> {
    let wrong = |detail: &str| BulkError::new(0, number, detail);
    let form = form(field)?;
    let indices = indices(field)?;
    if indices.is_some() && !matches!(form, Some(Form::Text { .. } | Form::View)) {
        return Err(wrong("a dictionary of something else than texts: expected one of texts"));
    }
    let (role, form) = match (name, form) {
        (DEVICE, Some(form @ (Form::Text { .. } | Form::View))) => (Role::Device, form),
        (DEVICE, _) => {
            return Err(wrong("the column device: expected utf8, or a dictionary of it"));
        }
        (TIME, Some(form @ Form::Moment(_))) => (Role::Time, form),
        (TIME, _) => {
            return Err(wrong("the column ts: expected a timestamp with a time zone, such as UTC"));
        }
        (_, Some(Form::Moment(_))) => {
            return Err(wrong("a timestamp as a value: expected it in the column ts"));
        }
        (name, Some(form)) => (Role::Value(rows.key(name, 0, number)?), form),
        (_, None) => {
            return Err(wrong(
                "a type that is no value: expected float32, float64, int8 to int64, uint8 to \
                 uint64, bool, utf8, large_utf8, utf8_view or a dictionary of texts",
            ));
        }
    };
    Ok(Column { role, form, indices })
}

/// How the values of a field are laid out; none of types that are not taken.
fn form(field: Table<'_>) -> Result<Option<Form>, Fault> {
    // The numbers are those of the union Type in Arrow's Schema.fbs.
    let kind = field.byte(2)?;
    let Some(of) = field.table(3)? else {
        return Err(field.fault("a field without a type"));
    };
    Ok(match kind {
        1 => Some(Form::Null),
        2 => integer(of)?.map(Form::Integer),
        3 => match of.short(0)? {
            1 => Some(Form::Float),
            2 => Some(Form::Double),
            _ => None,
        },
        5 => Some(Form::Text { is_large: false }),
        6 => Some(Form::Boolean),
        10 => moment(of)?,
        20 => Some(Form::Text { is_large: true }),
        24 => Some(Form::View),
        _ => None,
    })
}

fn integer(of: Table<'_>) -> Result<Option<Integer>, Fault> {
    let bytes = match of.int(0)? {
        8 => 1,
        16 => 2,
        32 => 4,
        64 => 8,
        _ => return Ok(None),
    };
    Ok(Some(Integer { bytes, is_signed: of.flag(1)? }))
}

/// Without a time zone nobody knows when it was.
fn moment(of: Table<'_>) -> Result<Option<Form>, Fault> {
    let unit = match of.short(0)? {
        0 => Unit::Seconds,
        1 => Unit::Milliseconds,
        2 => Unit::Microseconds,
        3 => Unit::Nanoseconds,
        _ => return Ok(None),
    };
    let has_zone = of.text(1)?.is_some_and(|zone| !zone.is_empty());
    Ok(has_zone.then_some(Form::Moment(unit)))
}

fn indices(field: Table<'_>) -> Result<Option<Indices>, Fault> {
    let Some(encoding) = field.table(4)? else { return Ok(None) };
    let of = match encoding.table(1)? {
        None => Some(Integer { bytes: 4, is_signed: true }),
        Some(of) => integer(of)?,
    };
    let Some(of) = of.filter(|_| encoding.short(3) == Ok(0)) else {
        return Err(encoding.fault("a dictionary of another kind: expected a dense one"));
    };
    Ok(Some(Indices { dictionary: encoding.long(0)?, of }))
}
