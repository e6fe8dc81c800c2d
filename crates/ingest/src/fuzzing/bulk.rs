//! Bulk writes: what one form has taken is taken as the same when it is written down again, in
//! the other forms too, and a mistake is at a place that is there.

use std::fmt::Write as _;

use bytes::Bytes;
use veritwin_domain::{IngestLimits, Reading, Screening, Timestamp, Value};

use super::check_screened;
use crate::bulk::{
    self, ARROW_COLUMNS_MAX, ARROW_ROWS_MAX, BulkContext, BulkError, DeviceFrom, DeviceRows,
    FILE_COLUMNS_MAX, FileForm, FileMapping, FileRules, Format, Piece, PieceReader, Place,
    Precision, STEP_READINGS_MAX, STEP_REFUSED_MAX, TimeForm, ValuesFrom,
};
use crate::payload::entries_json;

/// Steps of a file that are taken.
const STEPS: usize = 4;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Who writes in the first byte, and NDJSON.
pub fn ndjson(data: &[u8]) {
    check(data, |_| Format::NdJson);
}

/// Who writes and the precision in the first byte, and line protocol.
pub fn line_protocol(data: &[u8]) {
    check(data, |first| {
        Format::LineProtocol(match first & 0b110 {
            0 => Precision::Nanoseconds,
            2 => Precision::Microseconds,
            4 => Precision::Milliseconds,
            _ => Precision::Seconds,
        })
    });
}

/// Who writes in the first byte, and SenML.
pub fn senml(data: &[u8]) {
    check(data, |_| Format::SenMl);
}

/// Who writes in the first byte, and an Arrow IPC stream.
pub fn arrow(data: &[u8]) {
    check(data, |_| Format::Arrow);
}

/// A Parquet file with a column `time`. Every other column is of values.
pub fn parquet(data: &[u8]) {
    let mapping = FileMapping {
        form: FileForm::Parquet,
        delimiter: b',',
        device: DeviceFrom::Named("pump".to_owned()),
        time_column: "time".to_owned(),
        time: TimeForm::Milliseconds,
        values: ValuesFrom::Others,
        quality_column: None,
        precision: Precision::default(),
    };
    let piece = Piece {
        body: Bytes::copy_from_slice(data),
        header: Vec::new(),
        is_first: true,
        before: 0,
        rows_taken: 0,
    };
    let rules = FileRules::new(IngestLimits::default(), Screening::ALL);
    let Ok(mut reader) = PieceReader::open(mapping, rules, piece) else { return };
    // A file may have any number of rows: so many steps say enough.
    for _ in 0..STEPS {
        let Ok(step) = reader.step() else { return };
        let readings: usize = step.devices.iter().map(|rows| rows.readings.len()).sum();
        assert!(readings < STEP_READINGS_MAX + FILE_COLUMNS_MAX);
        assert!(step.refused.len() <= STEP_REFUSED_MAX);
        step.devices.iter().for_each(|rows| check_screened(&rows.readings));
        if step.is_end {
            return;
        }
    }
}

fn check(data: &[u8], format: impl Fn(u8) -> Format) {
    let Some((first, body)) = data.split_first() else { return };
    let one_device = first & 1 == 0;
    match parse(format(*first), body, one_device) {
        Err(error) => check_place(&error, body),
        Ok(rows) => {
            let count: usize = rows.iter().map(|row| row.readings.len()).sum();
            assert!(count <= IngestLimits::default().readings_per_message_max);
            for row in &rows {
                check_screened(&row.readings);
                assert_eq!(row.device.is_none(), one_device);
                check_written(row);
            }
        }
    }
}

fn parse(format: Format, body: &[u8], one_device: bool) -> Result<Vec<DeviceRows>, BulkError> {
    let limits = IngestLimits::default();
    let (received_at, untimed_at, screening) = (NOW, NOW, Screening::ALL);
    let context = BulkContext { received_at, untimed_at, limits: &limits, one_device, screening };
    bulk::parse(format, body, context)
}

fn check_place(error: &BulkError, body: &[u8]) {
    match error.place {
        Place::Line => {}
        Place::Row => {
            assert!(error.line <= ARROW_ROWS_MAX + 1, "{error}");
            assert!(error.column <= ARROW_COLUMNS_MAX, "{error}");
            return;
        }
        Place::Byte => {
            assert!(error.line == 0 && error.column <= body.len(), "{error}");
            return;
        }
    }
    let line = error.line.checked_sub(1).and_then(|at| body.split(|byte| *byte == b'\n').nth(at));
    let bytes = line.map(<[u8]>::len);
    let is_there = bytes.is_some_and(|bytes| (1..=bytes + 1).contains(&error.column));
    assert!(is_there, "{error}: the line has {bytes:?} bytes");
}

/// The readings of one device, written in each form that can say them.
fn check_written(row: &DeviceRows) {
    let readings: Vec<&Reading> = row.readings.iter().collect();
    let (whole, finer): (Vec<_>, Vec<_>) =
        readings.into_iter().partition(|reading| reading.at.as_micros() % 1000 == 0);
    let mut lines = String::new();
    for reading in &whole {
        let values = entries_json(&[(reading.key.clone(), reading.value.clone())]);
        let at = reading.at.as_millis();
        let _ = writeln!(lines, r#"{{"device":"d","ts":{at},"values":{values}}}"#);
    }
    expect(Format::NdJson, &lines, &whole);
    let is_sayable = |reading: &&&Reading| match &reading.value {
        Value::Json(_) => false,
        Value::Text(text) => !text.contains('\n'),
        _ => true,
    };
    let sayable = |readings: &[&Reading]| -> Vec<Reading> {
        let found = readings.iter().filter(is_sayable);
        found.filter(|one| !one.key.contains('\n')).map(|one| (*one).clone()).collect()
    };
    let kept = sayable(&[whole, finer].concat());
    let mut lines = String::new();
    for reading in &kept {
        let key = escaped(&reading.key, &[',', ' ', '=']);
        let value = match &reading.value {
            Value::Double(number) => format!("{number:?}"),
            Value::Integer(number) => format!("{number}i"),
            Value::Boolean(flag) => flag.to_string(),
            Value::Text(text) | Value::Json(text) => format!("\"{}\"", escaped(text, &['"'])),
        };
        let _ = writeln!(lines, "value,device=d {key}={value} {}", reading.at.as_micros());
    }
    let kept: Vec<&Reading> = kept.iter().collect();
    expect(Format::LineProtocol(Precision::Microseconds), &lines, &kept);
}

fn escaped(text: &str, stops: &[char]) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character == '\\' || stops.contains(&character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn expect(format: Format, text: &str, readings: &[&Reading]) {
    let again = parse(format, text.as_bytes(), false);
    let again: Vec<Reading> = match again {
        Ok(rows) => rows.into_iter().flat_map(|row| row.readings).collect(),
        Err(error) => panic!("refused when written again as {format:?}: {error}\n{text}"),
    };
    assert!(again.iter().eq(readings.iter().copied()), "{format:?}: {again:?}\n{text}");
}
