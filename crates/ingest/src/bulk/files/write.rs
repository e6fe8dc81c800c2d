//! Files of readings, written as they are read: what is written of them is taken from a buffer, so
//! that whoever receives it sets the pace. What is written here, an import takes back.

use std::borrow::Cow;
use std::io;

use veritwin_domain::{Quality, Timestamp, Value};

use super::FileForm;
use crate::bulk::parquet::ParquetWriter;
use crate::payload::{push_text, push_value};

/// A reading as it leaves.
#[derive(Debug, Clone, Copy)]
pub struct ExportedRow<'a> {
    /// The device's id.
    pub device_id: &'a str,
    /// Its name.
    pub device: &'a str,
    /// The series.
    pub key: &'a str,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: &'a Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl ExportedRow<'_> {
    /// Which kind of value it has.
    pub(in crate::bulk) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Double(_) => "double",
            Value::Integer(_) => "integer",
            Value::Boolean(_) => "boolean",
            Value::Text(_) => "text",
            Value::Json(_) => "json",
        }
    }
}

/// Writes one file.
pub struct FileWriter {
    form: FileForm,
    parquet: Option<Box<ParquetWriter>>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("form", &self.form).finish_non_exhaustive()
    }
}

/// A field of CSV, in quotes where it has to be.
fn push_field(out: &mut String, field: &str) {
    if field.contains(['"', ',', '\n', '\r']) || field.starts_with(' ') || field.ends_with(' ') {
        out.push('"');
        out.push_str(&field.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(field);
    }
}

/// What a spreadsheet would take for a formula. What stands behind an apostrophe is among it, so
/// that the one that is put before it can be told.
const FORMULAS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// A text that no spreadsheet takes for a formula.
fn guarded(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULAS) { format!("'{text}").into() } else { text.into() }
}

/// The text as it was.
pub(super) fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| rest.starts_with(FORMULAS)).unwrap_or(text)
}

fn csv_line(row: &ExportedRow<'_>) -> String {
    let mut value = String::new();
    match row.value {
        Value::Text(text) | Value::Json(text) => value.push_str(&guarded(text)),
        other => push_value(&mut value, other),
    }
    let mut line = String::with_capacity(160);
    let at = row.at.to_string();
    let (device, key) = (guarded(row.device), guarded(row.key));
    for field in [row.device_id, &device, &key, &at, &value, row.kind()] {
        push_field(&mut line, field);
        line.push(',');
    }
    line.push_str(row.quality.as_str());
    line.push('\n');
    line
}

fn json_line(row: &ExportedRow<'_>) -> String {
    let mut line = String::from("{\"device\":");
    push_text(&mut line, row.device_id);
    line.push_str(",\"ts_us\":");
    line.push_str(&row.at.as_micros().to_string());
    line.push_str(",\"values\":{");
    push_text(&mut line, row.key);
    line.push(':');
    push_value(&mut line, row.value);
    line.push('}');
    if row.quality != Quality::Good {
        line.push_str(",\"quality\":");
        push_text(&mut line, row.quality.as_str());
    }
    line.push_str("}\n");
    line
}

/// A name of line protocol: what would end it stands behind a backslash.
fn push_name(out: &mut String, name: &str) {
    for letter in name.chars() {
        if matches!(letter, ',' | ' ' | '=' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
}

/// The key is the measurement, so that the field is called `value`. A break of lines in a text has
/// no form here: two letters stand for it.
fn protocol_line(row: &ExportedRow<'_>) -> String {
    let mut line = String::with_capacity(128);
    for letter in row.key.chars() {
        if matches!(letter, ',' | ' ' | '\\') {
            line.push('\\');
        }
        line.push(letter);
    }
    line.push_str(",device=");
    push_name(&mut line, row.device_id);
    line.push_str(" value=");
    match row.value {
        Value::Double(_) => push_value(&mut line, row.value),
        Value::Integer(_) => {
            push_value(&mut line, row.value);
            line.push('i');
        }
        Value::Boolean(flag) => line.push_str(if *flag { "true" } else { "false" }),
        Value::Text(text) | Value::Json(text) => {
            line.push('"');
            for letter in text.chars() {
                match letter {
                    '"' | '\\' => line.extend(['\\', letter]),
                    '\n' => line.push_str("\\\\n"),
                    '\r' => line.push_str("\\\\r"),
                    other => line.push(other),
                }
            }
            line.push('"');
        }
    }
    line.push(' ');
    line.push_str(&row.at.as_micros().to_string());
    line.push('\n');
    line
}

impl FileWriter {
    /// A file of a form; what it begins with goes to `out`.
    pub fn new(form: FileForm, out: &mut Vec<u8>) -> Self {
        let parquet = match form {
            FileForm::Parquet => {
                let mut writer = Box::<ParquetWriter>::default();
                writer.begin(out);
                Some(writer)
            }
            FileForm::Csv => {
                out.extend_from_slice(b"device_id,device,key,time,value,type,quality\n");
                None
            }
            FileForm::NdJson | FileForm::LineProtocol => None,
        };
        Self { form, parquet }
    }

    /// Writes a reading.
    pub fn push(&mut self, row: &ExportedRow<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(parquet) = &mut self.parquet {
            return parquet.push(row, out);
        }
        let line = match self.form {
            FileForm::Csv => csv_line(row),
            FileForm::LineProtocol => protocol_line(row),
            FileForm::NdJson | FileForm::Parquet => json_line(row),
        };
        out.extend_from_slice(line.as_bytes());
        Ok(())
    }

    /// Writes what the file ends with.
    pub fn end(self, out: &mut Vec<u8>) -> io::Result<()> {
        self.parquet.map_or(Ok(()), |mut parquet| parquet.end(out))
    }
}
