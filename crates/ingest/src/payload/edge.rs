//! What is in a batch of a store-and-forward edge: one JSON object a line, each of one device, in
//! one form only, so that the same entries have the same bytes. A line is refused by itself.

use std::fmt::Write as _;

use veritwin_domain::{IngestLimits, Key, LimitExceeded, Quality, Reading, Timestamp, Value};

use super::cursor::{Cursor, Number};
use super::encode::{push_text, push_value};
use super::gateway::child_name;
use super::telemetry::checked_key;
use super::{Kept, KeyTable, PayloadError, check_json, check_value};

/// Most lines of one batch.
pub const EDGE_LINES_MAX: usize = 100_000;

/// What a line holds.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeContent {
    /// Readings.
    Readings(Vec<Reading>),
    /// Client attributes.
    Attributes(Vec<(Key, Value)>),
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeLine {
    /// The device's name behind the edge.
    pub device: String,
    /// When the edge received it, by its own clock.
    pub received_at: Timestamp,
    /// What it sent.
    pub content: EdgeContent,
}

/// Appends a line.
pub fn push_edge_line(out: &mut String, line: &EdgeLine) {
    out.push_str("{\"device\":");
    push_text(out, &line.device);
    let _ = write!(out, ",\"received_at_us\":{}", line.received_at.as_micros());
    match &line.content {
        EdgeContent::Readings(readings) => {
            out.push_str(",\"readings\":[");
            for (index, reading) in readings.iter().enumerate() {
                out.push_str(if index == 0 { "[" } else { ",[" });
                push_text(out, &reading.key);
                let _ = write!(out, ",{},", reading.at.as_micros());
                push_one_line(out, &reading.value);
                out.push(',');
                push_text(out, reading.quality.as_str());
                out.push(']');
            }
        }
        EdgeContent::Attributes(attributes) => {
            out.push_str(",\"attributes\":[");
            for (index, (key, value)) in attributes.iter().enumerate() {
                out.push_str(if index == 0 { "[" } else { ",[" });
                push_text(out, key);
                out.push(',');
                push_one_line(out, value);
                out.push(']');
            }
        }
    }
    out.push_str("]}\n");
}

/// JSON that came in over several lines is written in one.
fn push_one_line(out: &mut String, value: &Value) {
    match value {
        Value::Json(json) if json.contains(['\n', '\r']) => match check_json(json.as_bytes()) {
            Ok(minified) => out.push_str(&minified),
            Err(_) => push_text(out, json),
        },
        _ => push_value(out, value),
    }
}

/// Reads the lines of a batch, each by itself: positions count from the start of its own line.
pub fn parse_edge_content(
    content: &[u8],
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Vec<Result<EdgeLine, PayloadError>>, LimitExceeded> {
    let mut lines = Vec::new();
    for text in content.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        let (max, actual) = (EDGE_LINES_MAX, lines.len() + 1);
        if actual > max {
            return Err(LimitExceeded { name: "edge_lines_max", max, actual });
        }
        lines.push(parse_line(text, limits, keys));
    }
    Ok(lines)
}

fn parse_line(
    text: &[u8],
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<EdgeLine, PayloadError> {
    let mut cursor = Cursor::new(text)?;
    cursor.expect(b'{', "an object with \"device\"")?;
    member(&mut cursor, "device", "the member \"device\"")?;
    let device = child_name(&mut cursor, 0)?;
    cursor.expect(b',', "','")?;
    member(&mut cursor, "received_at_us", "the member \"received_at_us\"")?;
    let received_at = time(&mut cursor)?;
    cursor.expect(b',', "','")?;
    let at = cursor.position;
    let name = cursor.string("the member \"readings\" or \"attributes\"")?;
    cursor.expect(b':', "':'")?;
    let content = match &*name {
        "readings" => EdgeContent::Readings(list(&mut cursor, limits, |cursor| {
            reading(cursor, limits, keys)
        })?),
        "attributes" => EdgeContent::Attributes(list(&mut cursor, limits, |cursor| {
            attribute(cursor, limits, keys)
        })?),
        _ => return Err(PayloadError::new(at, "expected readings or attributes")),
    };
    cursor.expect(b'}', "'}'")?;
    cursor.end()?;
    Ok(EdgeLine { device, received_at, content })
}

fn member(cursor: &mut Cursor<'_>, name: &str, expected: &'static str) -> Result<(), PayloadError> {
    let at = cursor.position;
    if cursor.string(expected)? != name {
        return Err(PayloadError::new(at, format!("expected {expected}")));
    }
    cursor.expect(b':', "':'")
}

fn time(cursor: &mut Cursor<'_>) -> Result<Timestamp, PayloadError> {
    cursor.skip_whitespace();
    let at = cursor.position;
    let bad = |detail: String| PayloadError::new(at, detail);
    match cursor.number()? {
        Number::Integer(micros) => {
            Timestamp::measured(micros).map_err(|error| bad(error.to_string()))
        }
        Number::Double(_) => Err(bad("expected whole microseconds".to_owned())),
    }
}

fn list<T>(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<T, PayloadError>,
) -> Result<Vec<T>, PayloadError> {
    let mut all = Vec::new();
    cursor.expect(b'[', "'['")?;
    if cursor.take(b']') {
        return Ok(all);
    }
    loop {
        let (max, actual) = (limits.readings_per_message_max, all.len() + 1);
        if actual > max {
            let limit = LimitExceeded { name: "readings_per_message_max", max, actual };
            return Err(PayloadError::limit(cursor.position, limit));
        }
        all.push(item(cursor)?);
        if cursor.take(b']') {
            return Ok(all);
        }
        cursor.expect(b',', "',' or ']'")?;
    }
}

fn key(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Key, PayloadError> {
    cursor.expect(b'[', "'['")?;
    cursor.skip_whitespace();
    let at = cursor.position;
    let text = cursor.string("a key in double quotes")?;
    let key = checked_key(&text, at, limits, keys)?;
    cursor.expect(b',', "','")?;
    Ok(key)
}

fn value(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    (keys, key, kept): (&KeyTable, &str, Kept),
) -> Result<Value, PayloadError> {
    cursor.skip_whitespace();
    let at = cursor.position;
    // As deep as a device may send it: what the edge has taken is not refused here for its depth.
    let value = cursor.value(limits.value_bytes_max, 1)?;
    let value = value.ok_or_else(|| PayloadError::new(at, "expected a value, found null"))?;
    check_value(keys.screening(), key, &value, kept)
        .map_err(|refused| PayloadError::refused_value(at, refused))?;
    Ok(value)
}

fn reading(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Reading, PayloadError> {
    let key = key(cursor, limits, keys)?;
    let at = time(cursor)?;
    cursor.expect(b',', "','")?;
    let value = value(cursor, limits, (&*keys, &*key, Kept::Telemetry))?;
    cursor.expect(b',', "','")?;
    let position = cursor.position;
    let name = cursor.string("a quality in double quotes")?;
    let quality = (0..=2).filter_map(Quality::from_u8).find(|one| one.as_str() == name);
    let quality =
        quality.ok_or_else(|| PayloadError::new(position, "expected good, uncertain or bad"))?;
    cursor.expect(b']', "']'")?;
    Ok(Reading { key, at, value, quality })
}

fn attribute(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<(Key, Value), PayloadError> {
    let key = key(cursor, limits, keys)?;
    let value = value(cursor, limits, (&*keys, &*key, Kept::Attribute))?;
    cursor.expect(b']', "']'")?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Screening;

    use super::super::NESTING_MAX;
    use super::*;

    fn parse(content: &str) -> Vec<Result<EdgeLine, PayloadError>> {
        let mut keys = KeyTable::new(Screening::ALL);
        parse_edge_content(content.as_bytes(), &IngestLimits::default(), &mut keys).unwrap()
    }

    fn line(content: EdgeContent) -> EdgeLine {
        let received_at = Timestamp::from_micros(1_767_225_600_000_001);
        EdgeLine { device: "pump \"1\"".to_owned(), received_at, content }
    }

    #[test]
    fn what_is_written_is_read() {
        let key = |text: &str| Key::new(text).unwrap();
        let values = [
            Value::Double(21.0),
            Value::Double(1e-7),
            Value::Integer(-3),
            Value::Boolean(true),
            Value::Text("a\nb".into()),
            Value::Json("{\"a\":[1,null]}".into()),
        ];
        let readings = values.iter().enumerate().map(|(index, value)| Reading {
            key: key(&format!("k{index}")),
            at: Timestamp::from_micros(1_767_225_600_000_000 + index as i64),
            value: value.clone(),
            quality: Quality::Uncertain,
        });
        let attributes = vec![(key("fw"), Value::Text("1".into()))];
        let lines = [
            line(EdgeContent::Readings(readings.collect())),
            line(EdgeContent::Attributes(attributes)),
        ];
        let mut text = String::new();
        lines.iter().for_each(|line| push_edge_line(&mut text, line));
        assert_eq!(text.lines().count(), 2);
        let read: Vec<_> = parse(&text).into_iter().map(Result::unwrap).collect();
        assert_eq!(read, lines);
    }

    #[test]
    fn what_a_device_may_nest_comes_through() {
        let mut keys = KeyTable::new(Screening::ALL);
        let mut parse_nested = |levels: usize| {
            let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let reading = format!(r#"["k",0,{value},"good"]"#);
            let text = format!(r#"{{"device":"a","received_at_us":0,"readings":[{reading}]}}"#);
            let content = parse_edge_content(text.as_bytes(), &IngestLimits::default(), &mut keys);
            content.unwrap().remove(0).is_ok()
        };
        assert!(parse_nested(NESTING_MAX - 1) && !parse_nested(NESTING_MAX));
    }

    #[test]
    fn a_line_is_refused_by_itself() {
        let mut text = String::from("{\"device\":\"a\"}\n");
        push_edge_line(&mut text, &line(EdgeContent::Readings(Vec::new())));
        text.push_str("[]\n");
        let read = parse(&text);
        let are_read: Vec<_> = read.iter().map(Result::is_ok).collect();
        assert_eq!(are_read, [false, true, false]);
    }

    #[test]
    fn what_must_not_be_kept_is_refused() {
        let reading = r#"["k",0,"4111 1111 1111 1111","good"]"#;
        let text = format!(r#"{{"device":"a","received_at_us":0,"readings":[{reading}]}}"#);
        let error = parse(&text).remove(0).unwrap_err();
        assert!(error.rule.is_some(), "{error}");
    }
}
