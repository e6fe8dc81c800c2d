//! The binary form round-trips, whatever the record, and never trusts its input.

use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = Key> {
    // Few names, so that they repeat; more than the linear table takes.
    prop_oneof![4 => 0..4u32, 1 => 0..60u32].prop_map(|n| Key::new(&format!("k{n}")).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::Double),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(|text| Value::Text(text.into())),
        Just(Value::Json("{\"a\":1}".into())),
    ]
}

fn reading() -> impl Strategy<Value = Reading> {
    let at = prop_oneof![Just(0), 0..5i64, any::<i64>()];
    (key(), at, value(), 0..3u8).prop_map(|(key, at, value, quality)| Reading {
        key,
        at: Timestamp::from_micros(at),
        value,
        quality: Quality::from_u8(quality).unwrap(),
    })
}

fn record() -> impl Strategy<Value = Record> {
    let device = DeviceId::from_bytes([2; 16]);
    let credential = CredentialId::from_bytes([3; 16]);
    let readings = prop::collection::vec(reading(), 0..80);
    let entries = prop::collection::vec((key(), prop::option::of(value())), 0..9);
    prop_oneof![
        4 => (any::<i64>(), readings).prop_map(move |(at, readings)| {
            let tenant = TenantId::from_bytes([1; 16]);
            let received_at = Timestamp::from_micros(at);
            Record::Readings(DeviceBatch { tenant, device, credential, received_at, readings })
        }),
        1 => (any::<i64>(), entries).prop_map(move |(at, entries)| {
            let received_at = Timestamp::from_micros(at);
            let scope = AttributeScope::Server;
            Record::Attributes(Attributes { device, scope, received_at, entries })
        }),
        1 => any::<i64>().prop_map(move |at| {
            let (kind, at) = (SessionEventKind::Lost, Timestamp::from_micros(at));
            Record::Session(SessionEvent { device, credential, kind, at })
        }),
        1 => (any::<i64>(), prop::option::of(key())).prop_map(move |(at, key)| {
            let at = Timestamp::from_micros(at);
            Record::Refusal(Refusal { device, credential, at, key, reason: "deny_list".into() })
        }),
        1 => (
            (any::<i64>(), prop::option::of(any::<i64>())),
            (0..3u8, any::<bool>(), any::<u8>()),
        ).prop_map(move |((at, expires_at), (qos, retain, hops))| {
            Record::Relay(Arc::new(RelayMessage {
                tenant: TenantId::from_bytes([1; 16]),
                device,
                credential,
                received_at: Timestamp::from_micros(at),
                expires_at: expires_at.map(Timestamp::from_micros),
                topic: "plant/line".into(),
                properties: b"\x01\x01"[..].into(),
                payload: b"\0\xff"[..].into(),
                qos,
                retain,
                hops,
            }))
        }),
        1 => prop::collection::vec(any::<u8>(), 0..99).prop_map(move |body| {
            let tenant = TenantId::from_bytes([1; 16]);
            Record::Note(SessionNote { tenant, device, body: body.into() })
        }),
    ]
}

#[test]
fn records_round_trip_and_cut_or_changed_bytes_do_no_harm() {
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() };
    let input = (record(), any::<prop::sample::Index>(), any::<u8>());
    let tenant = TenantId::from_bytes([1; 16]);
    let shared = std::cell::RefCell::new(Decoder::default());
    proptest!(config, |((record, at, byte) in input)| {
        let mut decoder = shared.borrow_mut();
        let entry = Entry { tenant, record };
        let mut bytes = Vec::new();
        encode(&entry, &mut bytes).unwrap();
        prop_assert_eq!(decoder.decode(tenant, &bytes), Some(entry.record));
        let at = at.index(bytes.len());
        prop_assert_eq!(decoder.decode(tenant, &bytes[..at]), None);
        bytes[at] = byte;
        let _ = decoder.decode(tenant, &bytes);
    });
}

#[test]
fn a_regular_message_costs_nine_bytes_a_reading() {
    let tenant = TenantId::from_bytes([1; 16]);
    let keys: Vec<Key> = (0..10).map(|n| Key::new(&format!("key{n}")).unwrap()).collect();
    let readings = (0..1000).map(|n| Reading {
        key: keys[n % 10].clone(),
        at: Timestamp::from_micros(1_800_000_000_000_000 + n as i64 / 10 * 1_000_000),
        value: Value::Double(n as f64 * 0.1),
        quality: Quality::Good,
    });
    let batch = DeviceBatch {
        tenant,
        device: DeviceId::from_bytes([2; 16]),
        credential: CredentialId::from_bytes([3; 16]),
        received_at: Timestamp::from_micros(1_800_000_000_000_000),
        readings: readings.collect(),
    };
    let mut bytes = Vec::new();
    encode(&batch.into(), &mut bytes).unwrap();
    assert!(bytes.len() < 9500, "{}", bytes.len());
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    let tenant = TenantId::from_bytes([1; 16]);
    let check = |record, expected: &str| {
        let reason = encode(&Entry { tenant, record }, &mut Vec::new()).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
    };
    check(Record::Unreadable(crate::Unreadable::KeyRevoked), "never appended");
    check(
        Record::Readings(DeviceBatch {
            tenant: TenantId::from_bytes([9; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: Timestamp::EPOCH,
            readings: Vec::new(),
        }),
        "of tenant",
    );
    let refusal = Refusal {
        device: DeviceId::from_bytes([2; 16]),
        credential: CredentialId::from_bytes([3; 16]),
        at: Timestamp::EPOCH,
        key: None,
        reason: "x".repeat(REASON_BYTES_MAX + 1).into(),
    };
    check(Record::Refusal(refusal), "longer than 256");
}
