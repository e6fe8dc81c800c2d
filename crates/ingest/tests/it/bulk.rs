//! The bulk formats: what they mean, and where mistakes are.

use proptest::prelude::*;
use veritwin_domain::{IngestLimits, Screening, Timestamp, Value};
use veritwin_ingest::bulk::{BulkContext, BulkError, DeviceRows, Format, Precision, parse};

use crate::platform::config;

const LINE: Format = Format::LineProtocol(Precision::Milliseconds);
const NOW: i64 = 1_700_000_000_000;

fn run(format: Format, body: &[u8], one_device: bool) -> Result<Vec<DeviceRows>, BulkError> {
    let limits = IngestLimits::default();
    let received_at = Timestamp::from_micros(NOW * 1000);
    let untimed_at = received_at;
    let screening = Screening::ALL;
    let context = BulkContext { received_at, untimed_at, limits: &limits, one_device, screening };
    parse(format, body, context)
}

type Plain = (Option<String>, String, i64, Value);

fn plain(format: Format, body: &str, one_device: bool) -> Vec<Plain> {
    let rows = run(format, body.as_bytes(), one_device).expect(body);
    rows.into_iter()
        .flat_map(|rows| {
            let device = rows.device;
            rows.readings.into_iter().map(move |reading| {
                (device.clone(), reading.key.to_string(), reading.at.as_millis(), reading.value)
            })
        })
        .collect()
}

fn row(device: &str, key: &str, at: i64, value: Value) -> Plain {
    ((!device.is_empty()).then(|| device.to_owned()), key.to_owned(), at, value)
}

#[test]
fn line_protocol() {
    let check = |body: &str, one_device: bool, expect: &[Plain]| {
        assert_eq!(plain(LINE, body, one_device), expect, "{body}");
    };
    let double = Value::Double;
    check(
        "# comment\n\nm t=1,n=2i 7\r\n",
        true,
        &[row("", "t", 7, double(1.0)), row("", "n", 7, Value::Integer(2))],
    );
    check("pump t=-1.5e1", false, &[row("pump", "t", NOW, double(-15.0))]);
    check(
        "temp,device=pump,floor=3 value=1,raw=f 7",
        false,
        &[row("pump", "temp", 7, double(1.0)), row("pump", "raw", 7, Value::Boolean(false))],
    );
    check(
        r#"a\ b\,c k\=1="say \"hi\", \\ ok"  "#,
        false,
        &[row("a b,c", "k=1", NOW, Value::Text(r#"say "hi", \ ok"#.into()))],
    );
    let nanoseconds = Format::LineProtocol(Precision::Nanoseconds);
    let rows = run(nanoseconds, b"m t=1 1700000000123456789", true).expect("valid");
    assert_eq!(rows[0].readings[0].at.as_micros(), 1_700_000_000_123_456);
}

#[test]
fn ndjson() {
    let body = "{\"device\":\"pump\",\"ts\":7,\"values\":{\"t\":1}}\n\n\
        {\"device\":\"valve\",\"values\":{\"open\":true}}\n\
        {\"device\":\"pump\",\"ts\":8,\"values\":{\"t\":2.5}}";
    assert_eq!(
        plain(Format::NdJson, body, false),
        [
            row("pump", "t", 7, Value::Integer(1)),
            row("pump", "t", 8, Value::Double(2.5)),
            row("valve", "open", NOW, Value::Boolean(true)),
        ]
    );
    let own = "{\"t\":1}\n{\"ts\":7,\"values\":{\"t\":2}}\n";
    assert_eq!(
        plain(Format::NdJson, own, true),
        [row("", "t", NOW, Value::Integer(1)), row("", "t", 7, Value::Integer(2)),]
    );
}

#[test]
fn rows_without_a_time_have_times_of_their_own() {
    let check = |format: Format, body: &str, one_device: bool, expect: &[i64]| {
        let rows = run(format, body.as_bytes(), one_device).expect(body).into_iter();
        let readings = rows.flat_map(|rows| rows.readings);
        let after: Vec<i64> = readings.map(|one| one.at.as_micros() - NOW * 1000).collect();
        assert_eq!(after, expect, "{body}");
    };
    check(LINE, "a t=1,u=1\nb t=1\na t=2\na t=3 1700000000000\na t=4", false, &[0, 0, 1, 0, 2, 0]);
    check(Format::NdJson, "{\"t\":1}\n[{\"t\":2},{\"t\":3}]\n{\"t\":4}", true, &[0, 1, 2, 3]);
    let named = "{\"device\":\"a\",\"values\":{\"t\":1}}\n{\"device\":\"a\",\"values\":{\"t\":2}}";
    check(Format::NdJson, named, false, &[0, 1]);
    let pack =
        r#"[{"n":"t","v":1},{"n":"u","v":1},{"n":"t","v":2},{"n":"u","v":2},{"n":"u","v":3}]"#;
    check(Format::SenMl, pack, true, &[0, 0, 1, 1, 2]);
}

#[test]
fn senml() {
    let body = r#"[{"bn":"pump/","bt":1700000000,"bu":"A","n":"current","v":1.5,"t":-1},
        {"n":"on","vb":true},{"n":"mode","vs":"eco"},{"bn":"valve:","bv":10,"n":"count","v":2}]"#;
    assert_eq!(
        plain(Format::SenMl, body, false),
        [
            row("pump", "current", NOW - 1000, Value::Double(1.5)),
            row("pump", "on", NOW, Value::Boolean(true)),
            row("pump", "mode", NOW, Value::Text("eco".into())),
            row("valve", "count", NOW, Value::Integer(12)),
        ]
    );
    let own = r#"[{"n":"urn:dev:t","v":20},{"n":"h","v":40,"t":-2}]"#;
    assert_eq!(
        plain(Format::SenMl, own, true),
        [
            row("", "urn:dev:t", NOW, Value::Integer(20)),
            row("", "h", NOW - 2000, Value::Integer(40)),
        ]
    );
}

#[test]
fn mistakes_are_named_by_line_and_column() {
    let bad = |format, body: &str, one_device, line, column, part: &str| {
        let error = run(format, body.as_bytes(), one_device).expect_err(body);
        assert_eq!((error.line, error.column), (line, column), "{body}: {error}");
        assert!(error.detail.contains(part), "{body}: {error}");
    };
    bad(LINE, "m t=1\nm", true, 2, 2, "expected a space and fields");
    bad(LINE, "m t=1\nm t", true, 2, 4, "expected a field");
    bad(LINE, "m t=abc", true, 1, 5, "expected a finite number");
    bad(LINE, "m t=NaN", true, 1, 5, "expected a finite number");
    bad(LINE, "m t=1e999", true, 1, 5, "expected a finite number");
    bad(LINE, "m t=9223372036854775808i", true, 1, 5, "expected an integer");
    bad(LINE, "m t=\"open", true, 1, 10, "closing quote");
    bad(LINE, "m t=1 soon", true, 1, 7, "expected a time");
    bad(LINE, " t=1", true, 1, 1, "expected a measurement");
    bad(LINE, "m,floor t=1", true, 1, 8, "expected a tag");
    bad(LINE, "m,device=x t=1", true, 1, 3, "a device writes for itself only");
    bad(Format::NdJson, "{\"t\":1}\n{\"t\":}", true, 2, 6, "expected a value");
    bad(Format::NdJson, "{\"device\":\"a\",\"values\":{\"t\":NaN}}", false, 1, 29, "found NaN");
    bad(Format::NdJson, "{\"device\":\"a\",\"values\":{\"\":1}}", false, 1, 25, "key length");
    bad(Format::NdJson, "{\"values\":{}}", false, 1, 13, "expected an object with device");
    bad(Format::SenMl, "{}", true, 1, 1, "expected a SenML pack");
    bad(
        Format::SenMl,
        "[{\"n\":\"a\",\"v\":1},\n {\"n\":\"b\"}]",
        true,
        2,
        2,
        "one of v, vs and vb",
    );
    bad(Format::SenMl, "[{\"n\":\"a\",\"v\":1}]", false, 1, 2, "DEVICE/KEY");
    let error = run(LINE, b"m t=1\nm \xff=1", true).expect_err("UTF-8");
    assert_eq!((error.line, error.column), (2, 3));
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [LINE, Format::NdJson, Format::SenMl] {
            let _ = run(format, &bytes, true);
            let _ = run(format, &bytes, false);
        }
    }

    #[test]
    fn almost_line_protocol_never_panics(text in "[a-z=, \\\\\"0-9i.\n-]{0,80}") {
        let _ = run(LINE, text.as_bytes(), false);
    }
}
