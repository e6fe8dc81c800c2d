//! What decoders and conditions do, and what the engine does with scripts that mean harm.

use super::*;

/// Runs on a thread with the stack that scripts are promised.
fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
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
    check("let n = 0; for c in topic { n += 1; } #{ a: n }", b"", r#"[{"a":4}]"#);
    check("#{ a: topic.split(\"/\")[1], b: meta.port }", b"", r#"[{"a":"7","b":"5"}]"#);
    check("#{ a: 2 in [1, 2], b: \"x\" in #{ x: 1 } }", b"", r#"[{"a":true,"b":true}]"#);
}

#[test]
fn what_devices_send_is_decoded() {
    let registers = "#{
        voltage: payload.u16be(0) / 10.0,
        current: payload.i32be(2) / 1000.0,
        energy: payload.u32be(6)
    }";
    let bytes = [0x08, 0xfc, 0, 0, 0x05, 0xdc, 0, 0x01, 0x86, 0xa0];
    check(registers, &bytes, r#"[{"current":1.5,"energy":100000,"voltage":230.0}]"#);
    let channels = "
        let out = #{};
        let at = 0;
        while at + 2 <= payload.len() {
            let channel = payload.u8(at);
            let kind = payload.u8(at + 1);
            at += 2;
            if channel == 0x01 && kind == 0x75 {
                out.battery = payload.u8(at);
                at += 1;
            } else if channel == 0x03 && kind == 0x67 {
                out.temperature = payload.i16le(at) / 10.0;
                at += 2;
            } else {
                throw \"a channel that is not known\";
            }
        }
        out";
    let bytes = [0x01, 0x75, 0x64, 0x03, 0x67, 0x10, 0x01];
    check(channels, &bytes, r#"[{"battery":100,"temperature":27.2}]"#);
    let flattening = "
        let message = payload.json();
        let out = #{};
        for name in message.sensors.keys() {
            out[name] = message.sensors[name].value;
        }
        #{ ts: message.time, values: out }";
    let text = br#"{"time":1000,"sensors":{"t":{"value":21.5},"h":{"value":40}}}"#;
    check(flattening, text, r#"[{"ts":1000,"values":{"h":40,"t":21.5}}]"#);
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
    let error = run("fn f() { payload.u8(0) } f()", b"").unwrap_err();
    assert!(error.to_string().contains("payload"), "{error}");
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

/// What the engine's own bounds do not see: it looks at what a call gives back, not at variables.
#[test]
fn what_grows_in_a_variable_reaches_a_bound() {
    let limit = ScriptErrorKind::Limit;
    let many = ",".repeat(4_000);
    let items = "let b = payload.text().split(\",\");";
    for (growing, expect) in [
        ("let m = #{}; let i = 0; loop { m[\"k\" + i] = b; i += 1; }", "too large"),
        (
            "let a = [[], [], [], [], [], [], [], []]; for i in 0..8 { a[i].push(b); } a",
            "too large",
        ),
        ("let m = #{ a: #{} }; let i = 0; loop { m.a[\"k\" + i] = b; i += 1; }", "too large"),
        ("fn f(x) { 0 } loop { f(b); }", "too much"),
        ("fn f(x, y, z) { 0 } loop { f(b, b, b); }", "too much"),
        ("let a = [b]; loop { a.contains(b); }", "too much"),
        ("loop { let c = b; }", "too much"),
    ] {
        check_error(&format!("{items} {growing}"), many.as_bytes(), limit, expect);
    }
    let long = "x".repeat(8_000);
    let keys = "let t = payload.text(); let m = #{}; let i = 0; loop { m[t + i] = 1; i += 1; }";
    check_error(keys, long.as_bytes(), limit, "too large");
    let json = format!("[{}1]", "1,".repeat(2_000));
    check_error("loop { payload.json(); }", json.as_bytes(), limit, "too much");
    let shown = "let b = payload.text().split(\",\"); loop { b.to_string(); `${b}`; }";
    check_error(shown, ",".repeat(1_900).as_bytes(), limit, "too much");
    let caught = "loop { try { loop { payload.json(); } } catch { } }";
    check_error(caught, json.as_bytes(), limit, "too much");
    check_error("fn f() { this } let a = 1; a.f()", b"", ScriptErrorKind::Source, "this");
}

/// A part of a chain may be a level of the stack, and each call begins another chain.
#[test]
fn long_chains_do_not_leave_the_stack() {
    let limit = ScriptErrorKind::Limit;
    let sums = format!("fn f(n) {{ f(n){} }} f(0)", " + 1".repeat(3_900));
    check_error(&sums, b"", limit, "");
    let slices = format!("fn f(b) {{ f(b){} }} f(payload)", ".slice(0, 1)".repeat(1_300));
    check_error(&slices, b"xx", limit, "");
    check(&format!("#{{ a: 0{} }}", " + 1".repeat(20)), b"", r#"[{"a":20}]"#);
    for chain in [
        format!("let m = #{{}}; m{}", ".a".repeat(8_000)),
        format!("let m = [0]; m{}", "[0]".repeat(5_000)),
    ] {
        assert!(run(&chain, b"").is_err());
    }
}

#[test]
fn what_a_run_costs_is_told_once() {
    let cost = |source: &str| {
        let source = source.to_owned();
        deep(move || {
            let decoder = Decoder::compile(&source).unwrap();
            take_work();
            let _ = decoder.run(&Payload::default());
            let cost = take_work();
            assert_eq!(take_work(), 0);
            cost
        })
    };
    let (quick, slow) = (cost("#{ a: payload.len() }"), cost("loop { }"));
    assert!((1..1_000).contains(&quick), "{quick}");
    assert!(slow >= OPERATIONS_MAX, "{slow}");
    assert_eq!(slow, cost("loop { }"));
}

#[test]
fn a_reason_is_no_longer_than_its_bound() {
    let error = run(&format!("no_such({})", vec!["1"; 4_000].join(", ")), b"").unwrap_err();
    assert!(error.detail.len() < 600, "{}", error.detail.len());
    let error = run("throw payload.text()", &[b'x'; 8_000]).unwrap_err();
    assert_eq!(error.thrown.map(|thrown| thrown.len()), Some(1_000));
}

#[test]
fn what_is_said_of_a_payload_is_bounded() {
    let kind = |meta: Vec<(String, String)>| {
        deep(move || {
            let payload = Payload { meta: &meta, ..Payload::default() };
            Decoder::compile("#{}").unwrap().run(&payload).map_err(|error| error.kind)
        })
    };
    let entry = |text: &str| ("k".to_owned(), text.to_owned());
    assert!(kind(vec![entry("v"); META_KEYS_MAX]).is_ok());
    assert_eq!(kind(vec![entry("v"); META_KEYS_MAX + 1]), Err(ScriptErrorKind::Limit));
    assert_eq!(kind(vec![entry(&"v".repeat(STRING_BYTES_MAX))]), Err(ScriptErrorKind::Limit));
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
        "let c = topic.chars(); #{}",
        "let c = topic.chars; #{}",
        "let c = topic.chars(1); #{}",
        "let c = topic.chars(0, 1); #{}",
        "let c = topic.chars(0..1); #{}",
        "let c = topic.chars(0..=1); #{}",
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
