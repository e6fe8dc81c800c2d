//! What can be said about a file before any record is read: is it STEP text at all, is it whole,
//! which schema does it declare. Other containers are named, so that the reader knows what to do.

use ifc_lite_core::SchemaVersion;
use ifc_lite_core::parser::header::declared_schemas_bounded;

use super::error::{IfcError, IfcLimits};

const MAGIC: &[u8] = b"ISO-10303-21;";
const END: &[u8] = b"END-ISO-10303-21;";
/// How far from the end the end marker is looked for: some tools append comments or blanks.
const TAIL_BYTES: usize = 64 * 1024;
/// How far from the start the opening marker is looked for: some tools prepend blanks or comments.
const HEAD_BYTES: usize = 4 * 1024;

/// The declared schema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) label: String,
}

/// Checks the frame of a file.
pub(super) fn check(bytes: &[u8], limits: &IfcLimits) -> Result<Schema, IfcError> {
    let file_bytes_max = limits.file_bytes_max.min(u32::MAX as usize - 1);
    if bytes.len() > file_bytes_max {
        return Err(IfcError::Limit {
            name: "file_bytes_max",
            max: file_bytes_max as u64,
            actual: bytes.len() as u64,
        });
    }
    check_start(bytes)?;
    check_end(bytes)?;
    schema(bytes)
}

fn check_start(bytes: &[u8]) -> Result<(), IfcError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head = &text[..text.len().min(HEAD_BYTES)];
    if head.trim_ascii_start().starts_with(MAGIC) {
        return Ok(());
    }
    let commented = head.trim_ascii_start().starts_with(b"/*");
    if commented && head.windows(MAGIC.len()).any(|window| window == MAGIC) {
        return Ok(());
    }
    let what = match head {
        [] => "the file is empty: expected an IFC file that starts with ISO-10303-21;",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            "this is a ZIP archive (ifcZIP): unpack it first and import the .ifc inside"
        }
        [0x1f, 0x8b, ..] => "this is a gzip archive: unpack it first and import the .ifc inside",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "this is UTF-16 text: an IFC file is plain ASCII text that starts with ISO-10303-21;"
        }
        [b'g', b'l', b'T', b'F', ..] => "this is a binary glTF model (GLB), not an IFC file",
        _ if is_xml(head) => {
            "this is XML (ifcXML or another format): export the building as IFC-SPF (.ifc)"
        }
        _ if head.starts_with(b"{") => {
            "this is JSON (ifcJSON or another format): export the building as IFC-SPF (.ifc)"
        }
        _ => "not an IFC file: expected text that starts with ISO-10303-21;",
    };
    Err(IfcError::NotIfc(what.to_owned()))
}

fn is_xml(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    head.starts_with(b"<?xml") || head.starts_with(b"<ifc") || head.starts_with(b"<!DOCTYPE")
}

fn check_end(bytes: &[u8]) -> Result<(), IfcError> {
    let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    if tail.windows(END.len()).any(|window| window == END) {
        return Ok(());
    }
    Err(IfcError::Truncated {
        byte: bytes.len(),
        line: line_of(bytes, bytes.len()),
        last_record: last_record(bytes)
            .map_or(String::new(), |id| format!(", after record #{id},")),
    })
}

/// The number of the last record that is whole, for the message.
fn last_record(bytes: &[u8]) -> Option<String> {
    let whole = bytes.iter().rposition(|byte| *byte == b';')?;
    let start = bytes[..whole].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let digits: Vec<u8> = bytes[start..whole]
        .strip_prefix(b"#")?
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    String::from_utf8(digits).ok().filter(|digits| !digits.is_empty() && digits.len() <= 10)
}

fn schema(bytes: &[u8]) -> Result<Schema, IfcError> {
    let declared = declared_schemas_bounded(bytes);
    let known = declared.iter().find(|label| SchemaVersion::from_file_schema(label).is_some());
    match (known, declared.first()) {
        (Some(label), _) => Ok(Schema { label: label.to_ascii_uppercase() }),
        (None, Some(label)) => {
            Err(IfcError::Schema(label.chars().filter(|c| !c.is_control()).take(64).collect()))
        }
        (None, None) => Err(IfcError::Schema("(none declared)".to_owned())),
    }
}

/// The line, counted from 1, that holds byte `at`.
pub(super) fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}
