//! Arrow IPC streams as Arrow's own writer makes them: what they mean, where mistakes are, and what
//! they may not cost.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float32Array, Float64Array,
    Int16Array, Int64Array, LargeStringArray, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use veritwin_domain::{IngestLimits, Screening, Timestamp, Value};
use veritwin_ingest::bulk::{
    ARROW_COLUMNS_MAX, ARROW_DICTIONARY_VALUES_MAX, ARROW_ROWS_MAX, BulkContext, BulkError,
    DeviceRows, Format, Place, parse,
};

const NOW: i64 = 1_700_000_000_000_000;
const CARD: &str = "4111 1111 1111 1111";

type Columns<'a> = Vec<(&'a str, ArrayRef)>;

/// A stream of these batches, which have the same columns.
fn stream(batches: Vec<Columns<'_>>) -> Vec<u8> {
    let batch = |columns: Columns<'_>| {
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    };
    let batches: Vec<RecordBatch> = batches.into_iter().map(batch).collect();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
    for batch in &batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("written");
    drop(writer);
    bytes
}

fn run(body: &[u8], one_device: bool) -> Result<Vec<DeviceRows>, BulkError> {
    let limits = IngestLimits::default();
    let received_at = Timestamp::from_micros(NOW);
    let (untimed_at, screening) = (received_at, Screening::ALL);
    let context = BulkContext { received_at, untimed_at, limits: &limits, one_device, screening };
    parse(Format::Arrow, body, context)
}

fn of(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn texts(texts: &[&str]) -> ArrayRef {
    of(StringArray::from(texts.to_vec()))
}

fn doubles(numbers: &[f64]) -> ArrayRef {
    of(Float64Array::from(numbers.to_vec()))
}

/// Milliseconds after [`NOW`].
fn times(after: &[i64]) -> ArrayRef {
    let millis: Vec<i64> = after.iter().map(|after| NOW / 1000 + after).collect();
    of(TimestampMillisecondArray::from(millis).with_timezone("UTC"))
}

/// Device, key, microseconds after [`NOW`], value.
type Plain = (String, String, i64, Value);

fn plain(body: &[u8], one_device: bool) -> Vec<Plain> {
    let rows = run(body, one_device).unwrap_or_else(|error| panic!("{error}"));
    let mut found = Vec::new();
    for DeviceRows { device, readings, .. } in rows {
        let device = device.unwrap_or_default();
        for one in readings {
            let after = one.at.as_micros() - NOW;
            found.push((device.clone(), one.key.to_string(), after, one.value));
        }
    }
    found
}

fn row(device: &str, key: &str, after: i64, value: Value) -> Plain {
    (device.to_owned(), key.to_owned(), after, value)
}

#[test]
fn every_type_of_value() {
    let body = stream(vec![vec![
        ("ts", times(&[0, 1])),
        ("double", doubles(&[1.5, -2.0])),
        ("float", of(Float32Array::from(vec![Some(0.5), None]))),
        ("integer", of(Int64Array::from(vec![i64::MIN, i64::MAX]))),
        ("short", of(Int16Array::from(vec![-300, 300]))),
        ("byte", of(UInt8Array::from(vec![255, 0]))),
        ("unsigned", of(UInt64Array::from(vec![None, Some(i64::MAX.cast_unsigned())]))),
        ("flag", of(BooleanArray::from(vec![Some(true), None]))),
        ("text", of(StringArray::from(vec![Some("é"), None]))),
        ("large", of(LargeStringArray::from(vec!["", "x"]))),
        ("none", of(NullArray::new(2))),
    ]]);
    let (double, integer) = (Value::Double, Value::Integer);
    let text = |text: &str| Value::Text(text.into());
    let expect = [
        row("", "double", 0, double(1.5)),
        row("", "float", 0, double(0.5)),
        row("", "integer", 0, integer(i64::MIN)),
        row("", "short", 0, integer(-300)),
        row("", "byte", 0, integer(255)),
        row("", "flag", 0, Value::Boolean(true)),
        row("", "text", 0, text("é")),
        row("", "large", 0, text("")),
        row("", "double", 1000, double(-2.0)),
        row("", "integer", 1000, integer(i64::MAX)),
        row("", "short", 1000, integer(300)),
        row("", "byte", 1000, integer(0)),
        row("", "unsigned", 1000, integer(i64::MAX)),
        row("", "large", 1000, text("x")),
    ];
    assert_eq!(plain(&body, true), expect);
}

#[test]
fn every_unit_of_time() {
    let check = |times: ArrayRef, expect: i64| {
        let body = stream(vec![vec![("ts", times), ("t", doubles(&[1.0]))]]);
        assert_eq!(plain(&body, true), [row("", "t", expect, Value::Double(1.0))]);
    };
    let seconds = NOW / 1_000_000;
    check(of(TimestampSecondArray::from(vec![seconds + 1]).with_timezone("UTC")), 1_000_000);
    check(times(&[1]), 1000);
    let micros = TimestampMicrosecondArray::from(vec![NOW + 1]);
    // A moment is one wherever it is shown.
    check(of(micros.with_timezone("Asia/Taipei")), 1);
    let nanos = TimestampNanosecondArray::from(vec![NOW * 1000 + 1999]);
    check(of(nanos.with_timezone("+08:00")), 1);
}

#[test]
fn devices_by_name_and_rows_of_several_batches() {
    let batch = |devices: &[&str], after: &[i64], values: &[f64]| -> Columns<'static> {
        vec![("device", texts(devices)), ("ts", times(after)), ("t", doubles(values))]
    };
    let body = stream(vec![
        batch(&["pump", "valve"], &[0, 0], &[1.0, 2.0]),
        batch(&["pump"], &[1], &[3.0]),
    ]);
    let expect = [
        row("pump", "t", 0, Value::Double(1.0)),
        row("pump", "t", 1000, Value::Double(3.0)),
        row("valve", "t", 0, Value::Double(2.0)),
    ];
    assert_eq!(plain(&body, false), expect);

    // In dictionaries, which later batches replace.
    let batch = |devices: &[&str]| -> Columns<'static> {
        let devices: DictionaryArray<Int8Type> = devices.iter().copied().collect();
        vec![("device", of(devices.clone())), ("note", of(devices))]
    };
    let body = stream(vec![batch(&["a", "b", "a"]), batch(&["c"])]);
    let note = |device: &str, after| row(device, "note", after, Value::Text(device.into()));
    // Without a time each row of a device has its own.
    assert_eq!(plain(&body, false), [note("a", 0), note("a", 1), note("b", 0), note("c", 0)]);
}

#[test]
fn what_polars_and_pandas_write_by_themselves_is_read() {
    // Behind the byte that says who writes.
    let polars = &include_bytes!("../../../../fuzz/corpus/arrow/polars")[1..];
    let text = |text: &str| Value::Text(text.into());
    let expect = [
        row("pump", "t", 0, Value::Double(1.5)),
        row("pump", "note", 0, text("short")),
        row("pump", "state", 0, text("open")),
        row("pump", "t", 1, Value::Double(2.0)),
        row("pump", "note", 1, text("a text of more than twelve bytes")),
        row("pump", "state", 1, text("open")),
        row("valve-behind-the-boiler", "state", 0, text("shut")),
    ];
    assert_eq!(plain(polars, false), expect);
    let pandas = &include_bytes!("../../../../fuzz/corpus/arrow/pandas")[1..];
    let expect = [
        row("pump", "t", 0, Value::Double(1.5)),
        row("pump", "state", 0, text("open")),
        row("pump", "n", 0, Value::Integer(1)),
        row("valve", "state", 0, text("shut")),
        row("valve", "n", 0, Value::Integer(2)),
    ];
    assert_eq!(plain(pandas, false), expect);
}

#[test]
fn mistakes_are_named_by_row_and_column() {
    let check = |columns: Columns<'_>, one_device: bool, row: usize, column: usize, part: &str| {
        let error = run(&stream(vec![columns]), one_device).expect_err(part);
        assert_eq!((error.place, error.line, error.column), (Place::Row, row, column), "{error}");
        assert!(error.detail.contains(part), "{error}");
    };
    let t = || ("t", doubles(&[1.0, 2.0]));
    check(vec![t()], false, 0, 0, "expected a column device");
    check(vec![("device", texts(&["a", "b"])), t()], true, 0, 0, "for itself only");
    let named = |device: ArrayRef| vec![("device", device), t()];
    check(named(doubles(&[1.0, 2.0])), false, 0, 1, "expected utf8");
    let null = StringArray::from(vec![Some("a"), None]);
    check(named(of(null)), false, 2, 1, "expected the name of a device");
    let zoneless = TimestampMillisecondArray::from(vec![0, 0]);
    check(vec![("ts", of(zoneless)), t()], true, 0, 1, "a time zone");
    check(vec![t(), ("ts", texts(&["2026", "2026"]))], true, 0, 2, "expected a timestamp");
    check(vec![t(), ("at", times(&[0, 0]))], true, 0, 2, "in the column ts");
    let late = TimestampSecondArray::from(vec![0, i64::MAX]).with_timezone("UTC");
    check(vec![("ts", of(late)), t()], true, 2, 1, "time out of range");
    let bytes = BinaryArray::from(vec![&b"a"[..], b"b"]);
    check(vec![t(), ("b", of(bytes))], true, 0, 2, "a type that is no value");
    check(vec![t(), ("t\n", doubles(&[1.0, 2.0]))], true, 0, 2, "key");
    check(vec![("t", doubles(&[1.0, f64::NAN]))], true, 2, 1, "expected a finite number");
    let unsigned = UInt64Array::from(vec![0, u64::MAX]);
    check(vec![("u", of(unsigned))], true, 2, 1, "integer out of range");
}

#[test]
fn what_must_not_be_kept_is_refused() {
    let check = |columns: Columns<'_>, row: usize, column: usize, rule: &str| {
        let error = run(&stream(vec![columns]), true).expect_err(rule);
        assert_eq!(error.rule.map(|rule| rule.code()), Some(rule), "{error}");
        assert_eq!((error.line, error.column), (row, column), "{error}");
        assert!(!error.to_string().contains("4111") && !error.to_string().contains("none"));
    };
    let t = || ("t", doubles(&[1.0, 2.0]));
    check(vec![t(), ("religion", texts(&["none", "none"]))], 0, 2, "religion");
    check(vec![t(), ("note", texts(&["fine", CARD]))], 2, 2, "card_number");
    let words: DictionaryArray<Int8Type> = ["fine", CARD].into_iter().collect();
    check(vec![("note", of(words)), t()], 2, 1, "card_number");
}

#[test]
fn what_is_no_stream_is_named_by_its_byte() {
    let whole = stream(vec![vec![("ts", times(&[0])), ("t", doubles(&[1.0]))]]);
    let check = |body: &[u8], byte: usize, part: &str| {
        let error = run(body, true).expect_err(part);
        assert_eq!((error.place, error.line, error.column), (Place::Byte, 0, byte), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(b"", 0, "expected a schema");
    check(b"ARROW1\0\0", 0, "is a file");
    check(&[&whole[..], b"\0"].concat(), whole.len() - 8, "behind the end");
    check(&whole[..whole.len() - 9], whole.len() - 9, "ends inside a message");
    let compressed = &include_bytes!("../../../../fuzz/corpus/arrow/compressed")[1..];
    let error = run(compressed, true).expect_err("compressed");
    assert!(error.place == Place::Byte && error.detail.contains("Content-Encoding"), "{error}");
    let back = &include_bytes!("../../../../fuzz/corpus/arrow/offsets_back")[1..];
    assert!(run(back, true).expect_err("back").detail.contains("before the one before it"));
    let outside = &include_bytes!("../../../../fuzz/corpus/arrow/buffer_outside")[1..];
    assert!(run(outside, true).expect_err("outside").detail.contains("outside of its message"));
    // Wherever it is cut or changed it is read or refused, and nothing is beyond it.
    let polars = include_bytes!("../../../../fuzz/corpus/arrow/polars")[1..].to_vec();
    for (whole, one_device) in [(whole, true), (polars, false)] {
        for end in 0..whole.len() {
            let _ = run(&whole[..end], one_device);
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                if let Err(error) = run(&bad, one_device) {
                    assert!(error.place == Place::Row || error.column <= bad.len(), "{error}");
                }
            }
        }
    }
}

#[test]
fn little_that_says_much_is_bounded() {
    let limit = |columns: Columns<'_>| {
        let error = run(&stream(vec![columns]), true).expect_err("too much");
        match &error.limit {
            Some(limit) => limit.name,
            None => panic!("{error}"),
        }
    };
    let nulls = |rows: usize| -> ArrayRef { of(NullArray::new(rows)) };
    let names: Vec<String> = (0..=ARROW_COLUMNS_MAX).map(|number| format!("k{number}")).collect();
    let columns = |count: usize, rows: usize| {
        let named = names.iter().take(count).map(|name| (name.as_str(), nulls(rows)));
        named.collect::<Vec<_>>()
    };
    assert_eq!(limit(columns(ARROW_COLUMNS_MAX + 1, 1)), "arrow_columns_max");
    assert_eq!(limit(columns(1, ARROW_ROWS_MAX + 1)), "arrow_rows_max");
    assert_eq!(limit(columns(ARROW_COLUMNS_MAX, 4_000)), "arrow_cells_max");
    assert!(plain(&stream(vec![columns(ARROW_COLUMNS_MAX, 3_000)]), true).is_empty());
    let word = "x".repeat(60_000);
    let same: DictionaryArray<Int8Type> = std::iter::repeat_n(word.as_str(), 200).collect();
    assert_eq!(limit(vec![("s", of(same.clone()))]), "arrow_text_bytes_max");
    let named = vec![("device", of(same)), ("t", doubles(&[1.0; 200]))];
    let error = run(&stream(vec![named]), false).expect_err("a long name");
    assert_eq!(error.limit.map(|limit| limit.name), Some("device_name_bytes_max"));
    // Views of the same bytes.
    let mut views = StringViewBuilder::new().with_deduplicate_strings();
    (0..200).for_each(|_| views.append_value(&word));
    let views = vec![("s", of(views.finish()))];
    assert!(stream(vec![views.clone()]).len() < 2 * word.len());
    assert_eq!(limit(views), "arrow_text_bytes_max");
    let words: Vec<String> =
        (0..=ARROW_DICTIONARY_VALUES_MAX).map(|number| number.to_string()).collect();
    let many: DictionaryArray<Int32Type> = words.iter().map(String::as_str).collect();
    assert_eq!(limit(vec![("s", of(many))]), "arrow_dictionary_values_max");
    let readings = doubles(&vec![1.0; 60_000]);
    let two = vec![("a", Arc::clone(&readings)), ("b", readings)];
    assert_eq!(limit(two), "readings_per_message_max");
}
