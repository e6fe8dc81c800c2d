//! What decoders and conditions do, and what the engine does with scripts that mean harm.

use super::*;

/// Runs on a thread with the stack that scripts are promised.
pub(crate) fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap()
}

fn run(source: &str, bytes: &[u8]) -> Result<Vec<Decoded>, ScriptError> {
    let (source, bytes) = (source.to_owned(), bytes.to_vec());
    deep(move || {
        let meta = [("port".to_owned(), "5".to_owned())];
        let payload = Payload {
            bytes: &bytes,
            topic: "up/7",
            content_type: "application/octet-stream",
            meta: &meta,
        };
        Decoder::compile(&source)?.run(&payload)
    })
}

fn check(source: &str, bytes: &[u8], expect: &str) {
    match run(source, bytes) {
        Ok(decoded) => assert_eq!(decoded_json(&decoded), expect, "{source}"),
        Err(error) => panic!("{source}: {error}"),
    }
}

fn check_error(source: &str, bytes: &[u8], kind: ScriptErrorKind, expect: &str) {
    let error = run(source, bytes).unwrap_err();
    assert_eq!(error.kind, kind, "{source}: {error}");
    assert!(error.to_string().contains(expect), "{source}: {error}");
}

#[test]
fn numbers_are_read_where_they_are() {
    let bytes = [0xff, 0xfe, 0x01, 0x02, 0x42, 0x28, 0x00, 0x00, 0x12, 0x34];
    check("#{ a: payload.u8(0) }", &bytes, r#"[{"a":255}]"#);
    check("#{ a: payload.i8(0) }", &bytes, r#"[{"a":-1}]"#);
    check("#{ a: payload[1] }", &bytes, r#"[{"a":254}]"#);
    check("#{ a: payload.u16be(2) }", &bytes, r#"[{"a":258}]"#);
    check("#{ a: payload.u16le(2) }", &bytes, r#"[{"a":513}]"#);
    check("#{ a: payload.i16be(0) }", &bytes, r#"[{"a":-2}]"#);
    check("#{ a: payload.i16le(0) }", &bytes, r#"[{"a":-257}]"#);
    check("#{ a: payload.u24be(1) }", &bytes, r#"[{"a":16646402}]"#);
    check("#{ a: payload.f32be(4) }", &bytes, r#"[{"a":42.0}]"#);
    check("#{ a: payload.bcd(8, 2) }", &bytes, r#"[{"a":1234}]"#);
    check("#{ a: payload.bits(14, 4) }", &bytes, r#"[{"a":8}]"#);
    check("#{ a: bits_of(0xabcd, 4, 8) }", &bytes, r#"[{"a":188}]"#);
    check("#{ a: bit(5, 2), b: bit(5, 1) }", &bytes, r#"[{"a":true,"b":false}]"#);
    check("#{ a: round(21.456, 1) }", &bytes, r#"[{"a":21.5}]"#);
}

#[test]
fn texts_and_json_are_read() {
    check("#{ a: payload.text() }", b"on", r#"[{"a":"on"}]"#);
    check("#{ a: payload.hex() }", &[1, 0xab], r#"[{"a":"01ab"}]"#);
    check("#{ a: payload.base64() }", &[1, 2, 3], r#"[{"a":"AQID"}]"#);
    check("#{ a: from_base64(\"AQID\").u8(2) }", b"", r#"[{"a":3}]"#);
    check("#{ a: from_hex(\"01ab\").u8(1) }", b"", r#"[{"a":171}]"#);
    check("let j = payload.json(); #{ t: j.d.t }", br#"{"d":{"t":21.5}}"#, r#"[{"t":21.5}]"#);
    check("#{ a: topic.split(\"/\")[1], b: meta.port }", b"", r#"[{"a":"7","b":"5"}]"#);
    check("#{ a: 2 in [1, 2], b: \"x\" in #{ x: 1 } }", b"", r#"[{"a":true,"b":true}]"#);
}

#[test]
fn a_result_is_values_or_points_of_time() {
    check("", b"", "[]");
    check("#{ a: 1, b: (), c: \"x\", d: true }", b"", r#"[{"a":1,"c":"x","d":true}]"#);
    let points =
        "let out = []; for i in 0..2 { out.push(#{ ts: 1000 + i, values: #{ a: i } }); } out";
    check(points, b"", r#"[{"ts":1000,"values":{"a":0}},{"ts":1001,"values":{"a":1}}]"#);
    check_error("42", b"", ScriptErrorKind::Result, "expected a map");
    check_error("#{ a: [1] }", b"", ScriptErrorKind::Result, "key 1");
    check_error("#{ a: 0.0 / 0.0 }", b"", ScriptErrorKind::Result, "no finite number");
    let ts = "#{ ts: \"now\", values: #{ a: 1 } }";
    check_error(ts, b"", ScriptErrorKind::Result, "expected whole milliseconds");
}

#[test]
fn a_mistake_has_its_place_and_nothing_of_the_payload() {
    let error = run("let a = 1;\n#{ a: payload.u16be(1) }", &[77, 78]).unwrap_err();
    assert_eq!((error.line, error.kind), (Some(2), ScriptErrorKind::Run));
    assert!(error.column.is_some());
    assert!(error.to_string().contains("there are 2 bytes"), "{error}");
    check_error("#{ a: b }", b"", ScriptErrorKind::Source, "line 1, column 7: ");
    check_error("#{ a: ", b"", ScriptErrorKind::Source, "line 1");
    check_error("fn f() { payload.u8(0) } f()", b"", ScriptErrorKind::Source, "payload");
    check_error("no_such(1)", b"", ScriptErrorKind::Run, "no_such");
    let error = run("throw \"code \" + payload.text()", b"secret").unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(error.thrown.as_deref(), Some("code secret"));
    for source in ["payload.json()", "let m = #{}; m[payload.text()].x", "payload.text() - 1"] {
        let error = run(source, b"secret").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{source}: {error}");
    }
}

#[test]
fn who_means_harm_reaches_a_bound() {
    let limit = ScriptErrorKind::Limit;
    check_error("loop { }", b"", limit, "steps");
    check_error("let i = 0; while true { i += 1; }", b"", limit, "steps");
    check_error("for i in 0..9000000000 { }", b"", limit, "steps");
    check_error("fn f(n) { f(n + 1) } f(0)", b"", limit, "calls");
    check_error("let s = \"x\"; loop { s += s; }", b"", limit, "too large");
    check_error("let a = [1]; loop { a = [a, a]; }", b"", limit, "too large");
    check_error("let a = []; loop { a = [a]; }", b"", limit, "too large");
    check_error("let m = #{}; loop { m = #{ a: m, b: m }; }", b"", limit, "too large");
    check_error("let a = []; loop { a.push(a); }", b"", limit, "too large");
    let many: String = (0..40).map(|n| format!("let v{n} = 1;")).collect();
    check_error(&many, b"", limit, "variables");
    let nested = format!("{}1{}", "(".repeat(200), ")".repeat(200));
    assert!(run(&nested, b"").is_err());
    let arrays = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(run(&arrays, b"").is_err());
    check_error(&" ".repeat(SOURCE_BYTES_MAX + 1), b"", limit, "bytes");
    check_error("#{}", &vec![0; PAYLOAD_BYTES_MAX + 1], limit, "bytes");
    check_error("payload.text()", &[b'x'; STRING_BYTES_MAX + 1], limit, "bytes");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    check_error("payload.json()", deep.as_bytes(), limit, "levels");
    let long = format!("[{}1]", "1,".repeat(ARRAY_ITEMS_MAX));
    check_error("payload.json()", long.as_bytes(), limit, "items");
}

#[test]
fn numbers_do_not_overflow() {
    for source in [
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "9223372036854775807 * 2",
        "1 / 0",
        "1 % 0",
        "2 ** 100",
        "payload.u64be(0)",
        "payload.u8(-1)",
        "payload.u8(9223372036854775807)",
        "payload.slice(0, -1)",
        "payload.slice(9223372036854775807, 9223372036854775807)",
        "payload.bits(9223372036854775807, 63)",
        "bits_of(1, 60, 62)",
        "bit(1, 64)",
    ] {
        let error = run(source, &[0xff; 8]).unwrap_err();
        assert_eq!(error.kind, ScriptErrorKind::Run, "{source}: {error}");
    }
}

#[test]
fn there_is_nothing_outside() {
    for source in [
        "eval(\"1\")",
        "print(1)",
        "debug(1)",
        "import \"x\" as x;",
        "let f = |x| x; f",
        "let f = Fn(\"g\"); f",
        "let f = 1; f.call()",
        "timestamp()",
        "sleep(1)",
        "rand()",
        "parse_json(\"{}\")",
    ] {
        assert!(run(source, b"").is_err(), "{source} was let through");
    }
}

#[test]
fn conditions_hold_or_not() {
    let check = |source: &str, expect: Option<bool>| {
        let source = source.to_owned();
        let answer = deep(move || {
            let values = [("t".to_owned(), Scalar::Number(21.5))];
            let attributes = [("floor".to_owned(), Scalar::Text("2".to_owned()))];
            let inputs = Inputs {
                topic: "v1/devices/me/telemetry",
                device: "RS-1",
                device_type: "sensor",
                ts: 1_000,
                values: &values,
                attributes: &attributes,
            };
            Predicate::compile(&source)?.holds(&inputs)
        });
        assert_eq!(answer.ok(), expect);
    };
    check("values.t > 20.0", Some(true));
    check("values.t > 20 && device.starts_with(\"XX\")", Some(false));
    check("attributes.floor == \"2\" && device_type == \"sensor\" && ts == 1000", Some(true));
    check("\"h\" in values", Some(false));
    check("values.t", None);
    check("payload", None);
    check("loop { }", None);
}
