//! Malformed input of every kind: nothing changes, and the error says what and where.

use proptest::prelude::*;
use veritwin_domain::IngestLimits;

use crate::platform::{
    Client, TELEMETRY, broker, config, connect, connected, packet, publish, subscribe, text,
};

#[tokio::test]
async fn refused_messages_are_told_in_version_5_and_recorded_in_version_3() {
    let long = format!("{{\"{}\":1}}", "k".repeat(300));
    let many = format!("{{{}}}", vec!["\"k\":1"; 1025].join(","));
    let deep = format!("{{\"k\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let large = format!("{{\"k\":\"{}\"}}", "x".repeat(70_000));
    let topic = "v1/devices/me/telemetry";
    let table: Vec<(&str, &[u8], u8, &str)> = vec![
        (topic, b"", 0x99, "byte 0: expected an object or an array"),
        (topic, b"{\"a\":1", 0x99, "byte 6: expected ',' or '}', found the end"),
        (topic, b"{\"a\":1}x", 0x99, "byte 7: expected the end of the payload, found a letter"),
        (
            topic,
            b"{\"a\":NaN}",
            0x99,
            "byte 5: expected a value (number, string, true, false, null",
        ),
        (topic, b"{\"a\":NaN}", 0x99, "found NaN, which JSON does not have"),
        (topic, b"{\"a\":-Infinity}", 0x99, "byte 6: expected a digit, found Infinity"),
        (topic, b"{\"a\":1e999}", 0x99, "byte 5: number out of range"),
        (topic, b"{\"a\":9223372036854775808}", 0x99, "byte 5: integer out of range"),
        (topic, b"{\"a\":01}", 0x99, "byte 5: a number may not have leading zeros"),
        (topic, b"{a:1}", 0x99, "byte 1: expected a key in double quotes, found a letter"),
        (topic, b"{'a':1}", 0x99, "byte 1: expected a key in double quotes, found a single quote"),
        (topic, b"{\"a\":\"\xff\"}", 0x99, "byte 6: not UTF-8"),
        (topic, b"{\"a\":\"\\ud800\"}", 0x99, "half a surrogate pair"),
        (topic, b"{\"\":1}", 0x99, "byte 1: key length must be 1 to 256 bytes, got 0"),
        (topic, b"{\"a\\u0007\":1}", 0x99, "byte 1: key holds a control character"),
        (topic, b"[{\"a\":1},2]", 0x99, "byte 9: expected an object with keys and values"),
        (topic, b"{\"ts\":1,\"values\":{},\"x\":2}", 0x99, "byte 20: unexpected key"),
        (topic, b"{\"ts\":9223372036854775807,\"values\":{\"a\":1}}", 0x99, "time out of range"),
        (topic, long.as_bytes(), 0x97, "limit key_bytes_max exceeded: at most 256, got 300"),
        (
            topic,
            many.as_bytes(),
            0x97,
            "limit keys_per_message_max exceeded: at most 1024, got 1025",
        ),
        (topic, deep.as_bytes(), 0x97, "limit nesting_max exceeded: at most 32"),
        (topic, large.as_bytes(), 0x97, "limit value_bytes_max exceeded: at most 65536, got 70000"),
        (topic, b"{\"forbidden\":1}", 0x87, "policy deny-list"),
        ("v1/devices/me/telemetri", b"{\"a\":1}", 0x90, "unknown topic: devices publish to"),
        ("v1/devices/me/rpc/response/x", b"{}", 0x90, "expected a number"),
        ("v1/gateway/telemetry", b"{}", 0x87, "this device is none until"),
        ("v1/devices/me/attributes", b"[]", 0x99, "byte 0: expected an object with keys"),
        ("v1/devices/me/attributes/request/1", b"{\"x\":\"\"}", 0x99, "expected clientKeys"),
        ("v1/devices/me/rpc/request/1", b"{}", 0x99, "expected a key \"method\""),
    ];
    let (broker, store) = broker(IngestLimits::default());
    let mut told = connected(&broker, 5).await;
    for (topic, payload, code, part) in &table {
        told.send(&publish(5, 1, 7, topic, payload)).await;
        let answer = told.packet().await;
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let code_at = answer.iter().position(|byte| *byte == 7).expect("packet id") + 1;
        assert_eq!((answer[0], answer[code_at]), (0x40, *code), "{shown}");
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(store.entries().is_empty(), "nothing is stored");

    let mut recorded = connected(&broker, 4).await;
    for (index, (topic, payload, _, part)) in table.iter().enumerate() {
        recorded.send(&publish(4, 1, 7, topic, payload)).await;
        recorded.expect(&[0x40, 2, 0, 7]).await;
        let refusals = store.refusals();
        assert_eq!(refusals.len(), index + 1);
        assert!(refusals[index].contains(part), "{part}: {}", refusals[index]);
    }
    assert!(store.readings().is_empty());
}

#[tokio::test]
async fn a_payload_over_the_limit() {
    let (broker, store) = broker(IngestLimits::default());
    let payload = vec![b'x'; 10 * 1024 * 1024];
    let client = connected(&broker, 5).await;
    let large = publish(5, 1, 7, TELEMETRY, &payload);
    let (answer, ()) = {
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let mut answer = Vec::new();
        let send = async {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &large).await;
        };
        let read = async {
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer).await;
        };
        let ((), ()) = tokio::join!(read, send);
        (answer, ())
    };
    assert_eq!((answer[0], answer[2]), (0xe0, 0x95));
    let shown = String::from_utf8_lossy(&answer);
    assert!(shown.contains("limit packet_bytes_max exceeded: at most 1048576"), "{shown}");
    assert!(store.entries().is_empty());

    // 3.1.1: refused, recorded, acknowledged, and the connection goes on.
    let mut client = connected(&broker, 4).await;
    client.send(&publish(4, 1, 7, TELEMETRY, &payload)).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    assert!(store.refusals()[0].contains("limit packet_bytes_max"));
    client.send(&publish(4, 1, 8, TELEMETRY, b"{\"a\":1}")).await;
    client.expect(&[0x40, 2, 0, 8]).await;
    assert_eq!(store.readings().len(), 1);
}

#[tokio::test]
async fn broken_packets_end_the_connection() {
    let topic_alias = {
        let mut body = text("");
        body.extend_from_slice(&[0, 1, 3, 0x23, 0, 17]);
        packet(0x32, &body)
    };
    let table: Vec<(&str, Vec<u8>, u8)> = vec![
        ("remaining length of five bytes", b"\x32\xff\xff\xff\xff\x01".to_vec(), 0x81),
        ("QoS 3", packet(0x36, b"\x00\x01a\x00\x01\x00"), 0x81),
        ("packet id 0", packet(0x32, b"\x00\x01a\x00\x00\x00"), 0x81),
        ("topic longer than the packet", packet(0x32, b"\x00\xffa"), 0x81),
        ("topic is not UTF-8", packet(0x32, b"\x00\x01\xff\x00\x01\x00"), 0x81),
        ("subscribe without filters", packet(0x82, b"\x00\x01\x00"), 0x82),
        ("subscribe with wrong flags", packet(0x80, b"\x00\x01\x00\x00\x01a\x00"), 0x81),
        ("second CONNECT", connect(5, 2, "c1", "token"), 0x82),
        ("CONNACK from a client", packet(0x20, b"\x00\x00\x00"), 0x82),
        ("topic alias over the maximum", topic_alias, 0x94),
        ("unknown property", packet(0x32, b"\x00\x01a\x00\x01\x02\x7f\x00"), 0x81),
    ];
    for (what, bytes, code) in table {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, 5).await;
        client.send(&bytes).await;
        let goodbye = client.rest().await;
        assert_eq!((goodbye[0], goodbye[2]), (0xe0, code), "{what}: {goodbye:02x?}");
        assert!(store.entries().is_empty(), "{what}");

        let mut client = connected(&broker, 4).await;
        if !matches!(
            what,
            "topic alias over the maximum" | "unknown property" | "subscribe without filters"
        ) {
            client.send(&bytes).await;
            assert_eq!(client.rest().await, b"", "{what}");
        }
    }
}

#[tokio::test]
async fn a_packet_cut_off_changes_nothing() {
    let (broker, store) = broker(IngestLimits::default());
    let whole = publish(4, 1, 7, TELEMETRY, b"{\"a\":1}");
    for cut in 0..whole.len() {
        let mut client = connected(&broker, 4).await;
        client.send(&whole[..cut]).await;
        client.leave().await;
    }
    assert!(store.entries().is_empty());
}

#[tokio::test]
async fn what_came_before_a_broken_packet_is_kept_and_acknowledged() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    let mut bytes = publish(4, 1, 7, TELEMETRY, b"{\"a\":1}");
    bytes.extend_from_slice(b"\x32\xff\xff\xff\xff\x01");
    client.send(&bytes).await;
    assert_eq!(client.rest().await, &[0x40, 2, 0, 7]);
    assert_eq!(store.readings().len(), 1);
}

#[tokio::test]
async fn subscription_limits_are_named() {
    let limits = IngestLimits { subscriptions_max: 1, ..IngestLimits::default() };
    let (broker, _) = broker(limits);
    let mut client = connected(&broker, 5).await;
    client.send(&subscribe(5, 1, &[("v1/devices/me/a", 0), ("v1/devices/me/b", 0)])).await;
    let answer = client.packet().await;
    assert!(answer.ends_with(&[0, 0x97]));
    assert!(String::from_utf8_lossy(&answer).contains("limit subscriptions_max"));
}

/// First bytes of packets, most of them right.
fn packet_type() -> impl Strategy<Value = u8> {
    let known =
        [0x10, 0x20, 0x30, 0x32, 0x34, 0x3a, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xa2, 0xb0];
    prop_oneof![8 => proptest::sample::select(known.to_vec()), 1 => any::<u8>()]
}

/// Bodies that look like lengths, properties and short texts.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0u8..6, 2 => 0u8..0x30, 1 => any::<u8>()];
    proptest::collection::vec(byte, 0..48)
}

proptest! {
    #![proptest_config(config(300))]

    /// Packets with a right header and any body, or none that is right.
    #[test]
    fn any_packets_are_survived(
        packets in proptest::collection::vec((packet_type(), body()), 1..6),
        level in 4u8..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()
            .expect("runtime");
        runtime.block_on(async {
            let (broker, _) = broker(IngestLimits::default());
            let mut client = connected(&broker, level).await;
            for (first_byte, body) in packets {
                client.send(&packet(first_byte, &body)).await;
            }
            client.leave().await;
        });
    }

    /// CONNECT with any flags, properties and texts.
    #[test]
    fn any_connect_is_survived(level in 3u8..7, flags in any::<u8>(), rest in body()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()
            .expect("runtime");
        runtime.block_on(async {
            let (broker, _) = broker(IngestLimits::default());
            let mut client = Client::open(&broker);
            let body = [text("MQTT"), vec![level, flags], rest].concat();
            client.send(&packet(0x10, &body)).await;
            client.leave().await;
            assert_eq!(broker.connections(), 0);
        });
    }

    /// Whatever comes, before or after CONNECT, the connection ends in order.
    #[test]
    fn any_bytes_are_survived(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        level in 3u8..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()
            .expect("runtime");
        runtime.block_on(async {
            let (broker, _) = broker(IngestLimits::default());
            let mut client = if level == 3 {
                Client::open(&broker)
            } else {
                connected(&broker, level).await
            };
            client.send(&bytes).await;
            client.leave().await;
        });
    }
}
