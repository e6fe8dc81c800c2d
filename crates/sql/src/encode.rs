//! Answers as they leave: JSON, CSV or an Arrow stream, a few rows at a time, so that what is
//! written of them is never much larger than what it is written from.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// About so many bytes of a batch are written at once.
const SLICE_BYTES: usize = 256 * 1024;

/// In which form an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"columns":[{"name","type"}],"rows":[{}]}`.
    Json,
    /// With a line of names.
    Csv,
    /// Arrow's IPC stream.
    Arrow,
}

/// Writes an answer.
pub(crate) enum Encoder {
    Json { has_rows: bool },
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    /// An encoder, and what stands before the rows.
    pub(crate) fn begin(format: Format, schema: &Schema) -> Result<(Self, Vec<u8>), ArrowError> {
        Ok(match format {
            Format::Json => (Self::Json { has_rows: false }, json_head(schema)),
            Format::Csv => {
                let names: Vec<String> =
                    schema.fields().iter().map(|field| csv_text(field.name())).collect();
                (Self::Csv, format!("{}\r\n", names.join(",")).into_bytes())
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let head = std::mem::take(writer.get_mut());
                (Self::Arrow(Box::new(writer)), head)
            }
        })
    }

    /// Rows of a batch from a place on, as many as are written at once; and how many these are.
    pub(crate) fn rows(
        &mut self,
        batch: &RecordBatch,
        from: usize,
    ) -> Result<(Vec<u8>, usize), ArrowError> {
        let left = batch.num_rows().saturating_sub(from);
        let row_bytes = (batch.get_array_memory_size() / batch.num_rows().max(1)).max(1);
        let rows = (SLICE_BYTES / row_bytes).max(1).min(left);
        let batch = batch.slice(from, rows);
        let bytes = match self {
            Self::Json { has_rows } => json_rows(&batch, has_rows)?,
            Self::Csv => csv_rows(&batch)?,
            Self::Arrow(writer) => {
                writer.write(&batch)?;
                std::mem::take(writer.get_mut())
            }
        };
        Ok((bytes, rows))
    }

    /// What stands after the rows.
    pub(crate) fn end(self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json { .. } => Ok(b"]}".to_vec()),
            Self::Csv => Ok(Vec::new()),
            Self::Arrow(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

fn json_head(schema: &Schema) -> Vec<u8> {
    let column = |name: &str, kind: &DataType| {
        format!("{{\"name\":{},\"type\":\"{}\"}}", json_text(name), type_name(kind))
    };
    let columns: Vec<String> =
        schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
    format!("{{\"columns\":[{}],\"rows\":[", columns.join(",")).into_bytes()
}

/// A text as JSON has it.
fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// What a column holds, in the words of the tables.
fn type_name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => "integer",
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double",
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => "time",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        _ => "other",
    }
}

fn json_rows(batch: &RecordBatch, has_rows: &mut bool) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    {
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, JsonArray>(&mut out);
        writer.write(batch)?;
        writer.finish()?;
    }
    // One list is made of many: each comes with its brackets.
    let inner = out.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let inner = inner.unwrap_or_default();
    let mut piece = Vec::with_capacity(inner.len() + 1);
    if *has_rows && !inner.is_empty() {
        piece.push(b',');
    }
    *has_rows |= !inner.is_empty();
    piece.extend_from_slice(inner);
    Ok(piece)
}

fn csv_rows(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = batch.schema();
    let is_text: Vec<bool> =
        schema.fields().iter().map(|field| type_name(field.data_type()) == "text").collect();
    let mut out = String::new();
    for row in 0..batch.num_rows() {
        for (place, (column, is_text)) in columns.iter().zip(&is_text).enumerate() {
            if place > 0 {
                out.push(',');
            }
            let text = column.value(row).try_to_string()?;
            if *is_text {
                out.push_str(&csv_text(&text));
            } else {
                out.push_str(&quoted(text));
            }
        }
        out.push_str("\r\n");
    }
    Ok(out.into_bytes())
}

/// A text as CSV has it; never a formula to whoever opens it in a spreadsheet.
fn csv_text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    quoted(if is_formula { format!("'{text}") } else { text.to_owned() })
}

fn quoted(text: String) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_their_form_has_them() {
        assert_eq!(json_text("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
        assert_eq!(csv_text("=1+1"), "'=1+1");
        assert_eq!(csv_text("a,b"), "\"a,b\"");
        assert_eq!(quoted("-1.5".to_owned()), "-1.5");
    }
}
