//! What must not be kept, at every door: it is refused with its place and its rule, nothing of it
//! is quoted, and nothing of the message is kept.

use proptest::prelude::*;
use veritwin_domain::{IngestLimits, JsonOptions, Screening, Timestamp};
use veritwin_ingest::bulk::{self, BulkContext, Format, Precision};
use veritwin_ingest::payload::{KeyTable, MessageContext, parse_attributes, parse_telemetry};
use veritwin_ingest::{RefusalReason, SinkEntry, ws};

use crate::platform::{TELEMETRY, broker, config, connected, publish};

const CARD: &str = "4111111111111111";
/// What numbers and JSON are made of.
const SIGNS: &str = "[A-Fa-fXYZ0-9 _.+\\\\\"{}\\[\\],:u\u{ff10}-\u{ff19}-]{0,80}";

fn told(error: &str, rule: &str) {
    assert!(error.contains(&format!("(rule {rule})")), "{error}");
    assert!(error.contains("expected"), "{error}");
    for word in ["4111", "heart", "secret", "A1234"] {
        assert!(!error.contains(word), "{error}");
    }
}

#[test]
fn messages() {
    let limits = IngestLimits::default();
    let context = MessageContext { received_at: Timestamp::EPOCH, limits: &limits };
    let check = |payload: &str, expect: Option<(usize, &str)>| {
        let payload = payload.replace("CARD", CARD);
        let mut readings = Vec::new();
        let mut keys = KeyTable::default();
        let found = parse_telemetry(payload.as_bytes(), context, &mut keys, &mut readings);
        match (found, expect) {
            (Ok(_), None) => assert!(!readings.is_empty(), "{payload}"),
            (Err(error), Some((position, rule))) => {
                assert_eq!((error.position, readings.len()), (position, 0), "{payload}");
                assert_eq!(error.rule.map(|rule| rule.code()), Some(rule));
                told(&error.to_string(), rule);
            }
            (found, _) => panic!("{payload}: {found:?}"),
        }
    };
    check(r#"{"t":1,"note":"CARD"}"#, Some((7, "card_number")));
    check(r#"{"note":"4111 1111 1111 1111"}"#, Some((1, "card_number")));
    check(r#"{"ts":7,"values":{"note":"CARD"}}"#, Some((18, "card_number")));
    check(r#"{"values":{"note":"CARD"},"ts":7}"#, Some((11, "card_number")));
    check(r#"[{"t":1},{"more":{"secret":[1,{"x":"CARD"}]}}]"#, Some((10, "card_number")));
    check(r#"{"t":1,"heart_rate":80}"#, Some((7, "health")));
    check(r#"{"more":{"heartRate":80}}"#, Some((1, "health")));
    check(r#"{"card_CARD":1}"#, Some((1, "card_number")));
    check(r#"{"who":"身分證 A123456789"}"#, Some((1, "national_id_tw")));
    check(r#"{"serial":"A123456789","lot":"261129-3000123","part":"SN123456A"}"#, None);
    check(r#"{"SP-O2":21,"sp_o2":20.9}"#, None);
    check(r#"{"my_number":"123456789018"}"#, Some((1, "national_id_jp")));
    // Measured numbers, times, declared numbers of equipment, words of machines.
    check(r#"{"energy":CARD,"more":{"pan":CARD}}"#, None);
    check(r#"{"ts":1451649600512,"values":{"sent":"1451649600512"}}"#, None);
    check(r#"{"imei":"378282246310005","modem":{"IMEI":"378282246310005"}}"#, None);
    check(r#"{"heart_beat":1,"number":"123456789018","heart":"heart_rate"}"#, None);
}

#[test]
fn the_same_key_is_refused_every_time_and_never_kept() {
    let limits = IngestLimits::default();
    let context = MessageContext { received_at: Timestamp::EPOCH, limits: &limits };
    let mut keys = KeyTable::default();
    for _ in 0..3 {
        let mut readings = Vec::new();
        let payload = br#"{"temperature":1,"heart_rate":80}"#;
        let error = parse_telemetry(payload, context, &mut keys, &mut readings);
        assert_eq!(error.expect_err("refused").position, 17);
        assert!(readings.is_empty());
        assert!(
            parse_telemetry(br#"{"temperature":1}"#, context, &mut keys, &mut readings).is_ok()
        );
    }
}

#[test]
fn attributes_are_held_to_written_numbers_too() {
    let limits = IngestLimits::default();
    let check = |payload: &str, expect: Option<&str>| {
        let payload = payload.replace("CARD", CARD);
        let found = parse_attributes(payload.as_bytes(), &limits, &mut KeyTable::default());
        let rule = found.as_ref().err().and_then(|error| error.rule).map(|rule| rule.code());
        assert_eq!(rule, expect, "{payload}: {found:?}");
    };
    check(r#"{"serial":"CARD"}"#, Some("card_number"));
    check(r#"{"serial":CARD}"#, Some("card_number"));
    check(r#"{"more":{"pan":CARD}}"#, Some("card_number"));
    check(r#"{"religion":"none"}"#, Some("religion"));
    check(r#"{"imei":CARD,"sim_iccid":"6304000000000000000","since":1451649600512}"#, None);
}

#[test]
fn bulk_writes() {
    let limits = IngestLimits::default();
    let (received_at, one_device) = (Timestamp::from_micros(1), true);
    let context = BulkContext {
        received_at,
        untimed_at: received_at,
        limits: &limits,
        one_device,
        screening: Screening::ALL,
    };
    let check = |format: Format, text: &str, expect: Option<(usize, usize, &str)>| {
        let text = text.replace("CARD", CARD);
        for one_device in [true, false] {
            let context = BulkContext { one_device, ..context };
            let text = match (format, one_device) {
                (Format::NdJson, false) => {
                    text.replace("{\"t\"", "{\"device\":\"d\",\"values\":{\"t\"").replace('}', "}}")
                }
                (Format::SenMl, false) => text.replace("\"n\":\"", "\"n\":\"d/"),
                _ => text.clone(),
            };
            let found = bulk::parse(format, text.as_bytes(), context);
            let Some((line, column, rule)) = expect else {
                assert!(found.is_ok(), "{text}: {found:?}");
                continue;
            };
            let error = found.expect_err("refused");
            assert_eq!(error.rule.map(|rule| rule.code()), Some(rule), "{text}: {error}");
            assert_eq!(error.line, line, "{text}: {error}");
            if one_device {
                assert_eq!(error.column, column, "{text}: {error}");
            }
            told(&error.to_string(), rule);
        }
    };
    let lines = Format::LineProtocol(Precision::Milliseconds);
    check(lines, "m t=1 1\nm t=2,note=\"CARD\" 2", Some((2, 7, "card_number")));
    check(lines, "m t=1 1\nm heart_rate=80 2", Some((2, 3, "health")));
    check(lines, "m t=CARDi,u=CARD 1", None);
    check(Format::NdJson, "{\"t\":1}\n{\"t\":1,\"note\":\"CARD\"}", Some((2, 8, "card_number")));
    check(Format::NdJson, "{\"t\":1}\n{\"t\":1,\"ssn\":1}", Some((2, 8, "national_id")));
    check(Format::NdJson, "{\"t\":CARD}", None);
    check(
        Format::SenMl,
        "[{\"n\":\"t\",\"v\":1},\n{\"n\":\"x\",\"vs\":\"CARD\"}]",
        Some((2, 1, "card_number")),
    );
    check(Format::SenMl, "[{\"n\":\"dna_test\",\"v\":1}]", Some((1, 2, "genetic")));
    check(Format::SenMl, "[{\"n\":\"t\",\"v\":CARD}]", None);
}

#[test]
fn websocket_commands() {
    let limits = IngestLimits::default();
    let check = |text: &str, expect: Option<&str>| {
        let text = text.replace("CARD", CARD);
        match (ws::parse(&text, &limits, &mut KeyTable::default()), expect) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                assert!(error.detail.contains(part), "{}", error.detail);
                assert!(!error.detail.contains("4111"), "{}", error.detail);
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    };
    check(r#"{"op":"publish","values":{"note":"CARD"}}"#, Some("byte 26: the value of this key"));
    check(r#"{"op":"publish","values":{"ssn":1}}"#, Some("(rule national_id)"));
    check(r#"{"op":"publish","values":{"note":CARD}}"#, None);
}

#[tokio::test]
async fn version_5_gets_a_reason_and_version_3_a_record() {
    let payload = br#"{"t":1,"note":"4111 1111 1111 1111"}"#;
    let attributes = "v1/devices/me/attributes";
    for topic in [TELEMETRY, attributes] {
        let (broker_5, store) = broker(IngestLimits::default());
        let mut client = connected(&broker_5, 5).await;
        client.send(&publish(5, 1, 7, topic, payload)).await;
        let answer = client.packet().await;
        // The length takes two bytes.
        assert_eq!((answer[0], &answer[3..6]), (0x40, &[0, 7, 0x87][..]), "{answer:02x?}");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("byte 7") && text.contains("(rule card_number)"), "{text}");
        assert!(!text.contains("1111"), "{text}");
        assert!(store.entries().is_empty());

        let (broker_4, store) = broker(IngestLimits::default());
        let mut client = connected(&broker_4, 4).await;
        client.send(&publish(4, 1, 7, topic, payload)).await;
        client.expect(&[0x40, 2, 0, 7]).await;
        let entries = store.entries();
        let [SinkEntry::Refusal(refusal)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((refusal.reason, refusal.position), (RefusalReason::Policy, Some(7)));
        assert!(refusal.detail.contains("(rule card_number)"), "{}", refusal.detail);
        assert!(!refusal.detail.contains("1111"), "{}", refusal.detail);
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn arbitrary_texts_never_panic(text in SIGNS) {
        let options = JsonOptions { integers: true, passed: &["password"] };
        let _ = Screening::ALL.text(Some(&text), &text);
        let _ = Screening::ALL.key(&text);
        let _ = Screening::ALL.json(&text, Some(&text), options);
    }

    #[test]
    fn a_card_number_is_found_wherever_it_stands(
        before in "[a-z äß会,;:()/]{0,20}",
        after in "[a-z äß会,;:()/]{0,20}",
        deep in 0usize..30,
    ) {
        let text = serde_json::json!(format!("{before} {CARD} {after}"));
        let json = format!("{}{text}{}", "[".repeat(deep), "]".repeat(deep));
        let found = Screening::ALL.json(&json, None, JsonOptions::default());
        let found = found.expect("within the bound").expect("found");
        prop_assert_eq!(found.rule.code(), "card_number");
        prop_assert_eq!(found.pointer, "/0".repeat(deep));
    }
}
