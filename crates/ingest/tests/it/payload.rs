//! The JSON parser against its shapes, against serde_json, and against arbitrary bytes.

use proptest::prelude::*;
use veritwin_domain::{IngestLimits, Reading, Timestamp, Value};
use veritwin_ingest::payload::{
    KEYS_INTERNED_MAX, KeyTable, MessageContext, PayloadError, parse_attributes, parse_json_text,
    parse_telemetry,
};

use crate::platform::config;

const NOW: i64 = 5000;

fn parse(payload: &[u8]) -> Result<Vec<Reading>, PayloadError> {
    let mut out = Vec::new();
    let limits = IngestLimits::default();
    let context =
        MessageContext { received_at: Timestamp::from_micros(NOW * 1000), limits: &limits };
    parse_telemetry(payload, context, &mut KeyTable::default(), &mut out).map(|_| out)
}

fn plain(payload: &str) -> Vec<(String, i64, Value)> {
    let readings = parse(payload.as_bytes()).expect(payload).into_iter();
    readings
        .map(|reading| (reading.key.to_string(), reading.at.as_millis(), reading.value))
        .collect()
}

#[test]
fn shapes() {
    let check = |payload: &str, expect: &[(&str, i64, Value)]| {
        let expect: Vec<_> =
            expect.iter().map(|(key, at, value)| ((*key).to_owned(), *at, value.clone())).collect();
        assert_eq!(plain(payload), expect, "{payload}");
    };
    let int = Value::Integer;
    check("{}", &[]);
    check("[]", &[]);
    check(" { \"k\" : 1 } ", &[("k", NOW, int(1))]);
    check("[{\"k\":1},{\"k\":2.0}]", &[("k", NOW, int(1)), ("k", NOW, Value::Double(2.0))]);
    check("{\"ts\":7,\"values\":{\"k\":1,\"l\":null}}", &[("k", 7, int(1))]);
    check("{\"values\":{\"k\":1},\"ts\":7}", &[("k", 7, int(1))]);
    check("{\"ts\":-7,\"values\":{}}", &[]);
    check(
        "[{\"ts\":7,\"values\":{\"k\":true}},{\"m\":\"\\u00e9\\n\"}]",
        &[("k", 7, Value::Boolean(true)), ("m", NOW, Value::Text("é\n".into()))],
    );
    check("{\"ts\":7}", &[("ts", NOW, int(7))]);
    check("{\"ts\":7.5,\"k\":1}", &[("ts", NOW, Value::Double(7.5)), ("k", NOW, int(1))]);
    check("{\"values\":{\"k\":1}}", &[("values", NOW, Value::Json("{\"k\":1}".into()))]);
    check("{\"values\":3}", &[("values", NOW, int(3))]);
    check(
        "{\"k\":[1, {\"a\" : null}], \"e\":1e3, \"z\":-0}",
        &[
            ("k", NOW, Value::Json("[1,{\"a\":null}]".into())),
            ("e", NOW, Value::Double(1000.0)),
            ("z", NOW, int(0)),
        ],
    );
    check(
        "{\"max\":9223372036854775807,\"min\":-9223372036854775808}",
        &[("max", NOW, int(i64::MAX)), ("min", NOW, int(i64::MIN))],
    );
    check("{\"\\u006b\":\"\\ud83d\\ude00\"}", &[("k", NOW, Value::Text("😀".into()))]);
}

#[test]
fn an_envelope_needs_a_whole_time() {
    for text in ["now", "1.5", "null", "{}"] {
        let ts = if text == "now" { "\"now\"" } else { text };
        for payload in [
            format!("{{\"ts\":{ts},\"values\":{{\"k\":1}}}}"),
            format!("{{\"values\":{{\"k\":1}},\"ts\":{ts}}}"),
        ] {
            let error = parse(payload.as_bytes()).expect_err(&payload).to_string();
            assert!(error.contains("must be an integer"), "{payload}: {error}");
        }
    }
}

#[test]
fn objects_without_a_time_have_times_of_their_own() {
    let check = |payload: &str, expect: &[i64]| {
        let readings = parse(payload.as_bytes()).expect(payload);
        let after = |reading: Reading| reading.at.as_micros() - NOW * 1000;
        assert_eq!(readings.into_iter().map(after).collect::<Vec<_>>(), expect, "{payload}");
    };
    check("{\"a\":1,\"b\":2}", &[0, 0]);
    check("[{\"a\":1,\"b\":2},{\"a\":1},{},{\"a\":1}]", &[0, 0, 1, 2]);
    check(
        "[{\"ts\":5000,\"values\":{}},{\"a\":1},{\"ts\":5001,\"values\":{\"a\":1}},{\"a\":2}]",
        &[0, 1000, 1],
    );
}

#[test]
fn readings_per_message_are_bounded() {
    let limits = IngestLimits { readings_per_message_max: 2, ..IngestLimits::default() };
    let context = MessageContext { received_at: Timestamp::EPOCH, limits: &limits };
    let mut out = parse(b"{\"before\":1}").expect("valid");
    let payload = b"[{\"a\":1},{\"a\":1},{\"a\":1}]";
    let error = parse_telemetry(payload, context, &mut KeyTable::default(), &mut out);
    assert_eq!(
        error.expect_err("bounded").limit.map(|limit| limit.name),
        Some("readings_per_message_max")
    );
    assert_eq!(out.len(), 1, "what was there before stays, nothing is added");
}

#[test]
fn keys_are_shared_and_bounded() {
    let mut keys = KeyTable::default();
    let first = keys.key("a").expect("key");
    assert!(std::ptr::eq(&*first, &*keys.key("a").expect("key")));
    for number in 0..KEYS_INTERNED_MAX + 10 {
        assert_eq!(&*keys.key(&number.to_string()).expect("key"), number.to_string());
    }
    assert!(std::ptr::eq(&*first, &*keys.key("a").expect("key")));
}

/// JSON values without integers beyond 64 bits, which readings refuse.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Double(number) => (*number).into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Text(text) => (&**text).into(),
        Value::Json(text) => serde_json::from_str(text).expect("minified JSON"),
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse_attributes(&bytes, &IngestLimits::default(), &mut KeyTable::default());
    }

    #[test]
    fn almost_json_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\.eE+ -]{0,80}") {
        let accepted = parse_json_text(text.as_bytes(), &IngestLimits::default());
        let oracle = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(accepted.is_ok(), oracle.is_ok(), "{}", text);
    }

    #[test]
    fn valid_json_is_read_as_serde_json_reads_it(
        map in proptest::collection::btree_map("[a-z]{1,8}", json(), 0..8),
        pretty in any::<bool>(),
    ) {
        let map = map.into_iter().filter(|(key, _)| key != "ts" && key != "values");
        let object: serde_json::Map<_, _> = map.collect();
        let value = serde_json::Value::Object(object.clone());
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let readings = parse(text.as_bytes()).expect("valid");
        let expected = object.iter().filter(|(_, value)| !value.is_null());
        prop_assert_eq!(readings.len(), expected.clone().count());
        for (reading, (key, value)) in readings.iter().zip(expected) {
            prop_assert_eq!(&*reading.key, key.as_str());
            prop_assert_eq!(&to_json(&reading.value), value);
        }
        let minified = parse_json_text(text.as_bytes(), &IngestLimits::default()).expect("valid");
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&minified).expect("JSON"), value);
    }
}
