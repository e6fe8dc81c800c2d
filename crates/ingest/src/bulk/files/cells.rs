//! Cells of a table, and how a row of them becomes readings: one way for CSV and Parquet.

use std::collections::HashSet;

use veritwin_domain::{Key, LimitExceeded, Quality, Reading, Value};

use super::write::unguarded;
use super::{DeviceFrom, FILE_COLUMNS_MAX, FileForm, FileMapping, TimeForm, ValueKind, ValuesFrom};
use crate::bulk::{BulkError, QUALITIES, Rows};
use crate::payload::check_json;

/// A value of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bulk) enum Cell<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a str),
    /// Microseconds since 1970.
    Moment(i64),
    /// Microseconds since 1970 on a clock of an unknown time zone.
    Wall(i64),
    /// Bytes that are no text.
    Foreign,
}

/// Which columns mean what.
#[derive(Debug)]
pub(in crate::bulk) struct Plan {
    device: Whose,
    time: usize,
    form: TimeForm,
    values: Values,
    quality: Option<usize>,
    /// Its cells have types: a text is one, whatever it looks like.
    is_typed: bool,
    /// Texts stand as an export writes them, so that none is a formula.
    is_guarded: bool,
}

#[derive(Debug)]
enum Whose {
    Named(String),
    Column(usize),
}

#[derive(Debug)]
enum Values {
    Columns(Vec<(usize, String, ValueKind)>),
    Pairs { key: usize, values: Vec<usize>, kind: Option<usize> },
}

/// Most bytes of texts of one row: a word of a dictionary may stand in all of its columns.
const ROW_BYTES_MAX: usize = 1024 * 1024;
/// Words that stand for no value.
const NOTHING: [&str; 4] = ["", "null", "nan", "na"];

fn found(columns: &[String], name: &str) -> Result<usize, BulkError> {
    columns.iter().position(|column| column == name).ok_or_else(|| {
        let listed: Vec<&str> = columns.iter().take(20).map(String::as_str).collect();
        let detail = format!("no column {name:?}: expected one of {}", listed.join(", "));
        BulkError::new(1, 1, detail)
    })
}

impl Plan {
    /// What a mapping means for a table of these columns.
    pub(in crate::bulk) fn new(
        mapping: &FileMapping,
        columns: &[String],
    ) -> Result<Self, BulkError> {
        let (max, actual) = (FILE_COLUMNS_MAX, columns.len());
        if actual > max {
            let limit = LimitExceeded { name: "file_columns_max", max, actual };
            return Err(BulkError::of_limit(1, 1, limit));
        }
        let mut names = HashSet::new();
        if let Some(twice) = columns.iter().find(|column| !names.insert(column.as_str())) {
            let detail = format!("two columns are called {twice:?}: expected a name for each");
            return Err(BulkError::new(1, 1, detail));
        }
        let device = match &mapping.device {
            DeviceFrom::Named(name) => Whose::Named(name.clone()),
            DeviceFrom::Column(column) => Whose::Column(found(columns, column)?),
        };
        let time = found(columns, &mapping.time_column)?;
        let quality = mapping.quality_column.as_deref().map(|column| found(columns, column));
        let quality = quality.transpose()?;
        let values = match &mapping.values {
            ValuesFrom::Columns(chosen) => {
                let place = |one: &super::ValueColumn| {
                    Ok((found(columns, &one.column)?, one.key.clone(), one.kind))
                };
                Values::Columns(chosen.iter().map(place).collect::<Result<_, BulkError>>()?)
            }
            ValuesFrom::Pairs { key, values, kind } => {
                let kind = kind.as_deref().map(|column| found(columns, column)).transpose()?;
                let values = values.iter().map(|column| found(columns, column));
                let values = values.collect::<Result<Vec<_>, BulkError>>()?;
                Values::Pairs { key: found(columns, key)?, values, kind }
            }
            ValuesFrom::Others => {
                let is_taken = |index: &usize| {
                    *index == time
                        || Some(*index) == quality
                        || matches!(device, Whose::Column(column) if column == *index)
                };
                let others = (0..columns.len()).filter(|index| !is_taken(index));
                let named = |index: usize| (index, columns[index].clone(), ValueKind::Auto);
                Values::Columns(others.map(named).collect())
            }
        };
        let is_empty = match &values {
            Values::Columns(columns) => columns.is_empty(),
            Values::Pairs { values, .. } => values.is_empty(),
        };
        if is_empty {
            let detail = "no column of values: expected one beside those of time and device";
            return Err(BulkError::new(1, 1, detail));
        }
        let is_typed = mapping.form == FileForm::Parquet;
        let is_told = matches!(values, Values::Pairs { kind: Some(_), .. });
        let is_guarded = is_told && !is_typed;
        let form = mapping.time.clone();
        Ok(Self { device, time, form, values, quality, is_typed, is_guarded })
    }

    /// The column of the times.
    pub(in crate::bulk) const fn time_column(&self) -> usize {
        self.time
    }

    /// The columns that are read at all.
    pub(in crate::bulk) fn columns(&self) -> Vec<usize> {
        let mut columns = vec![self.time];
        if let Whose::Column(column) = self.device {
            columns.push(column);
        }
        columns.extend(self.quality);
        match &self.values {
            Values::Columns(chosen) => columns.extend(chosen.iter().map(|(index, ..)| *index)),
            Values::Pairs { key, values, kind } => {
                columns.push(*key);
                columns.extend(values);
                columns.extend(*kind);
            }
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Takes a row: its readings, or why it is refused; then nothing of it is among them. Gives
    /// the place of its device, how many readings it has and how many bytes of text; none of a row
    /// without a value.
    pub(in crate::bulk) fn take<'c>(
        &self,
        cell: impl Fn(usize) -> Cell<'c>,
        rows: &mut Rows<'_>,
        scratch: &mut Vec<(Key, Value)>,
    ) -> Result<Option<(usize, usize, usize)>, BulkError> {
        scratch.clear();
        let line = 0;
        let cell = |index: usize| match cell(index) {
            Cell::Text(text) if self.is_guarded => Cell::Text(unguarded(text)),
            other => other,
        };
        match &self.values {
            Values::Columns(chosen) => {
                for (index, key, kind) in chosen {
                    let column = index + 1;
                    let (cell, kind) = (cell(*index), (*kind, self.is_typed, self.is_typed));
                    let Some(value) = value_of(kind, cell, column, rows)? else {
                        continue;
                    };
                    let key = rows.key(key, line, column)?;
                    rows.check(&key, &value, line, column)?;
                    scratch.push((key, value));
                }
            }
            Values::Pairs { key, values, kind } => {
                let is_told = kind.is_some() || self.is_typed;
                let kind =
                    kind.map_or(Ok(ValueKind::Auto), |index| kind_of(&cell(index), index))?;
                let kind = (kind, self.is_typed, is_told);
                for index in values {
                    let Some(value) = value_of(kind, cell(*index), index + 1, rows)? else {
                        continue;
                    };
                    let Cell::Text(text) = cell(*key) else {
                        return Err(BulkError::new(line, key + 1, "expected a key, as a text"));
                    };
                    let named = rows.key(text.trim(), line, key + 1)?;
                    rows.check(&named, &value, line, index + 1)?;
                    scratch.push((named, value));
                    break;
                }
            }
        }
        if scratch.is_empty() {
            return Ok(None);
        }
        let bytes: usize = scratch.iter().map(|(_, value)| value.text_bytes()).sum();
        if bytes > ROW_BYTES_MAX {
            let limit = LimitExceeded { name: "row_bytes_max", max: ROW_BYTES_MAX, actual: bytes };
            return Err(BulkError::of_limit(line, 0, limit));
        }
        let device = self.device_of(&cell)?;
        let quality = self.quality_of(&cell)?;
        let at = self.form.read(&cell(self.time));
        let at = at.map_err(|detail| BulkError::new(line, self.time + 1, detail))?;
        let place = rows.device(Some(device), line)?;
        let readings = scratch.len();
        if let Some(device) = rows.devices.get_mut(place) {
            let reading = |(key, value)| Reading { key, at, value, quality };
            device.readings.extend(scratch.drain(..).map(reading));
        }
        Ok(Some((place, readings, bytes)))
    }

    fn device_of<'x, 'c: 'x>(
        &'x self,
        cell: &impl Fn(usize) -> Cell<'c>,
    ) -> Result<&'x str, BulkError> {
        match &self.device {
            Whose::Named(name) => Ok(name),
            Whose::Column(index) => match cell(*index) {
                Cell::Text(text) if !text.trim().is_empty() => Ok(text.trim()),
                _ => {
                    let detail = "no device: expected the name or id of one, as a text";
                    Err(BulkError::new(0, index + 1, detail))
                }
            },
        }
    }

    fn quality_of<'c>(&self, cell: &impl Fn(usize) -> Cell<'c>) -> Result<Quality, BulkError> {
        let Some(index) = self.quality else { return Ok(Quality::Good) };
        let found = match cell(index) {
            Cell::Null => Some(Quality::Good),
            Cell::Text(text) if text.trim().is_empty() => Some(Quality::Good),
            Cell::Text(text) => {
                QUALITIES.into_iter().find(|quality| quality.as_str() == text.trim())
            }
            Cell::Integer(number) => u8::try_from(number).ok().and_then(Quality::from_u8),
            Cell::Boolean(_)
            | Cell::Double(_)
            | Cell::Moment(_)
            | Cell::Wall(_)
            | Cell::Foreign => None,
        };
        found.ok_or_else(|| {
            BulkError::new(0, index + 1, "expected good, uncertain, bad or simulated")
        })
    }
}

/// The kind that a row says its value is of.
fn kind_of(cell: &Cell<'_>, index: usize) -> Result<ValueKind, BulkError> {
    let kind = match cell {
        Cell::Null | Cell::Text("") => Some(ValueKind::Auto),
        Cell::Text(text) => ValueKind::parse(text.trim()),
        _ => None,
    };
    kind.ok_or_else(|| {
        let detail = "expected auto, double, integer, boolean, text or json";
        BulkError::new(0, index + 1, detail)
    })
}

/// The value of a cell; none where it holds none. A text of a typed table is one; and where it is
/// told that there is a text, it may be empty.
fn value_of(
    (kind, is_typed, is_told): (ValueKind, bool, bool),
    cell: Cell<'_>,
    column: usize,
    rows: &Rows<'_>,
) -> Result<Option<Value>, BulkError> {
    let wrong = |expected: &str| BulkError::new(0, column, format!("expected {expected}"));
    let value = match (kind, cell) {
        (_, Cell::Null) => return Ok(None),
        (_, Cell::Foreign) => return Err(wrong("text in UTF-8")),
        // A double that is none is how tables write nothing.
        (_, Cell::Double(number)) if number.is_nan() => return Ok(None),
        (ValueKind::Text, Cell::Text("")) if !is_told => return Ok(None),
        (ValueKind::Text, Cell::Text(text)) => rows.text(text, 0, column)?,
        (ValueKind::Auto, Cell::Text(text)) if is_typed => rows.text(text, 0, column)?,
        (_, Cell::Text(text)) => {
            let bare = text.trim();
            if NOTHING.iter().any(|word| bare.eq_ignore_ascii_case(word)) {
                return Ok(None);
            }
            return text_value(kind, bare, text, column, rows).map(Some);
        }
        (ValueKind::Json, _) => return Err(wrong("JSON as a text")),
        (ValueKind::Text, Cell::Boolean(flag)) => Value::Text(flag.to_string().into()),
        (ValueKind::Text, Cell::Integer(number) | Cell::Moment(number) | Cell::Wall(number)) => {
            Value::Text(number.to_string().into())
        }
        (ValueKind::Text, Cell::Double(number)) => Value::Text(number.to_string().into()),
        (ValueKind::Auto | ValueKind::Boolean, Cell::Boolean(flag)) => Value::Boolean(flag),
        (ValueKind::Auto | ValueKind::Integer, Cell::Integer(number)) => Value::Integer(number),
        (ValueKind::Auto | ValueKind::Integer, Cell::Moment(micros) | Cell::Wall(micros)) => {
            Value::Integer(micros)
        }
        (ValueKind::Double, Cell::Integer(number) | Cell::Moment(number) | Cell::Wall(number)) => {
            Value::Double(number as f64)
        }
        (ValueKind::Auto | ValueKind::Double, Cell::Double(number)) => {
            Value::double(number).map_err(|error| wrong(&format!("a finite number ({error})")))?
        }
        (ValueKind::Integer, _) => return Err(wrong("an integer, such as 21")),
        (ValueKind::Double, _) => return Err(wrong("a number, such as 21.5")),
        (ValueKind::Boolean, _) => return Err(wrong("true or false")),
    };
    Ok(Some(value))
}

fn text_value(
    kind: ValueKind,
    bare: &str,
    text: &str,
    column: usize,
    rows: &Rows<'_>,
) -> Result<Value, BulkError> {
    let wrong = |expected: &str| BulkError::new(0, column, format!("expected {expected}"));
    match kind {
        ValueKind::Integer => {
            bare.parse().map(Value::Integer).map_err(|_| wrong("an integer, such as 21"))
        }
        ValueKind::Double => number(bare).ok_or_else(|| wrong("a number, such as 21.5")),
        ValueKind::Boolean => flag(bare).ok_or_else(|| wrong("true or false")),
        ValueKind::Json => json(bare, column, rows),
        ValueKind::Auto | ValueKind::Text => {
            let looks = bare.parse().ok().map(Value::Integer);
            let looks = looks.or_else(|| number(bare)).or_else(|| flag(bare));
            looks.map_or_else(|| rows.text(text, 0, column), Ok)
        }
    }
}

/// An object or an array, without insignificant white space.
fn json(text: &str, column: usize, rows: &Rows<'_>) -> Result<Value, BulkError> {
    let (max, actual) = (rows.context.limits.value_bytes_max, text.len());
    if actual > max {
        let limit = LimitExceeded { name: "value_bytes_max", max, actual };
        return Err(BulkError::of_limit(0, column, limit));
    }
    let wrong = || BulkError::new(0, column, "expected a JSON object or array");
    let json = check_json(text.as_bytes()).map_err(|_| wrong())?;
    if json.starts_with(['{', '[']) { Ok(Value::Json(json.into())) } else { Err(wrong()) }
}

fn number(text: &str) -> Option<Value> {
    let plain =
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|_| plain).and_then(|number| Value::double(number).ok())
}

fn flag(text: &str) -> Option<Value> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    (is("true") || is("false")).then(|| Value::Boolean(is("true")))
}
