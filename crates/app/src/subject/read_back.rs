//! `readings.csv` of a copy, read again: rows of RFC 4180 with the header that copies have. What is
//! no such row is refused whole.

use veritwin_domain::{DeviceId, Key, Quality, Timestamp, Value};
use veritwin_telemetry::Point;
use veritwin_verify::FORMULAS;

/// The header.
const HEADER: [&str; 7] = ["device_id", "device", "key", "time", "value", "type", "quality"];

/// The fields of each row.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            other => field.push(other),
        }
    }
    rows
}

/// A text without the apostrophe that keeps spreadsheets from taking it for a formula.
fn unguarded(text: &str) -> &str {
    let rest = text.strip_prefix('\'');
    rest.filter(|rest| rest.starts_with(FORMULAS)).unwrap_or(text)
}

fn value(text: &str, kind: &str) -> Option<Value> {
    Some(match kind {
        "double" => Value::Double(text.parse().ok()?),
        "integer" => Value::Integer(text.parse().ok()?),
        "boolean" => Value::Boolean(text.parse().ok()?),
        "text" => Value::Text(unguarded(text).into()),
        "json" => Value::Json(unguarded(text).into()),
        _ => return None,
    })
}

/// The readings of a copy, as an import takes them; none if a row is wrong.
pub(crate) fn readings_of(csv: &str) -> Option<Vec<(DeviceId, Key, Point)>> {
    let mut rows = rows(csv).into_iter();
    if rows.next()? != HEADER {
        return None;
    }
    let read = |row: Vec<String>| {
        let [device, _, key, at, text, kind, quality] = row.as_slice() else { return None };
        let point = Point {
            at: Timestamp::parse_rfc3339(at).ok()?,
            value: value(text, kind)?,
            quality: Quality::parse(quality)?,
        };
        Some((device.parse().ok()?, Key::new(unguarded(key)).ok()?, point))
    };
    rows.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let header = HEADER.join(",");
        let device = "01010101-0101-0101-0101-010101010101";
        let row = format!("{device},\"'=pump, \"\"new\"\"\",who,1970-01-01T00:00:01.500Z,'-a,text");
        let read = readings_of(&format!("{header}\n{row},good\n")).expect("readings");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].0.to_string(), device);
        assert_eq!(read[0].2.value, Value::Text("-a".into()));
        assert_eq!(read[0].2.at, Timestamp::from_micros(1_500_000));
        assert_eq!(readings_of(&format!("{header}\n")), Some(Vec::new()));
        assert_eq!(readings_of("device_id\n"), None);
        assert_eq!(readings_of(&format!("{header}\n{row},splendid\n")), None);
    }
}
