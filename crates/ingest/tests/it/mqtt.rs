//! Conformance of what the broker does, as raw bytes, for both versions.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use veritwin_domain::{IngestLimits, Key, LimitExceeded, Value};
use veritwin_ingest::{CloseReason, Downlink, LinkError, RpcRequest, SinkEntry, SubmitError};

use crate::platform::{
    Client, DEVICE, TELEMETRY, TENANT, broker, connect, connected, packet, publish, subscribe, text,
};

#[tokio::test]
async fn connect_answers() {
    let (broker, _) = broker(IngestLimits::default());
    // (what, CONNECT, start of the answer, text in the answer)
    let mut with_auth = text("MQTT");
    with_auth.extend_from_slice(&[5, 2, 0, 0, 4, 0x15, 0, 1, b'x']);
    with_auth.extend(text("c"));
    let mut password = text("MQTT");
    password.extend_from_slice(&[4, 0xc2, 0, 0]);
    password.extend([text("c1"), text("user"), text("secret")].concat());
    let mut wrong_password = password.clone();
    wrong_password.pop();
    let shorter = wrong_password.len() - 6;
    wrong_password[shorter] = 5;
    let mut no_credential = text("MQTT");
    no_credential.extend_from_slice(&[4, 2, 0, 0]);
    no_credential.extend(text("c"));
    let mut level_6 = text("MQTT");
    level_6.extend_from_slice(&[6, 2, 0, 0, 0, 0, 0]);
    let mut will = text("MQTT");
    will.extend_from_slice(&[5, 0x86, 0, 0, 0]);
    will.extend([text("c"), vec![0], text("$SYS/a"), text("gone"), text("token")].concat());
    let table: Vec<(&str, Vec<u8>, &[u8], &str)> = vec![
        ("3.1.1 token", connect(4, 2, "a", "token"), &[0x20, 2, 0, 0], ""),
        ("3.1.1 password", packet(0x10, &password), &[0x20, 2, 0, 0], ""),
        ("3.1.1 wrong password", packet(0x10, &wrong_password), &[0x20, 2, 0, 4], ""),
        ("3.1.1 no credential", packet(0x10, &no_credential), &[0x20, 2, 0, 4], ""),
        ("3.1.1 unknown token", connect(4, 2, "a", "x"), &[0x20, 2, 0, 4], ""),
        ("3.1.1 disabled", connect(4, 2, "a", "disabled"), &[0x20, 2, 0, 5], ""),
        ("3.1.1 busy", connect(4, 2, "a", "busy"), &[0x20, 2, 0, 3], ""),
        ("3.1.1 empty id, kept session", connect(4, 0, "", "token"), &[0x20, 2, 0, 2], ""),
        ("3.1.1 empty id, clean", connect(4, 2, "", "token"), &[0x20, 2, 0, 0], ""),
        ("3.1.1 long id", connect(4, 2, &"i".repeat(300), "token"), &[0x20, 2, 0, 2], ""),
        ("level 6", packet(0x10, &level_6), &[0x20, 2, 0, 1], ""),
        ("5.0 unknown token", connect(5, 2, "a", "x"), &[0x20], "unknown credential"),
        ("5.0 disabled", connect(5, 2, "a", "disabled"), &[0x20], "disabled"),
        ("5.0 busy", connect(5, 2, "a", "busy"), &[0x20], "attempts_max"),
        ("5.0 enhanced auth", packet(0x10, &with_auth), &[0x20], "enhanced authentication"),
        ("5.0 foreign will", packet(0x10, &will), &[0x20], "will: unknown topic"),
    ];
    for (what, bytes, start, part) in table {
        let mut client = Client::open(&broker);
        client.send(&bytes).await;
        let answer = client.packet().await;
        assert!(answer.starts_with(start), "{what}: {answer:02x?}");
        assert!(String::from_utf8_lossy(&answer).contains(part), "{what}: {answer:02x?}");
    }
}

#[tokio::test]
async fn version_5_connack_states_what_is_offered() {
    let (broker, _) = broker(IngestLimits::default());
    let mut client = Client::open(&broker);
    client.send(&connect(5, 0, "", "token")).await;
    let answer = client.packet().await;
    assert_eq!(&answer[2..4], &[0, 0], "no session, success");
    // Receive Maximum 1024, Retain Available 1, Maximum Packet Size 1 MiB, an assigned id of 32
    // characters, Shared Subscription Available 1.
    let has = |part: &[u8]| answer.windows(part.len()).any(|window| window == part);
    assert!(has(&[0x21, 4, 0]) && has(&[0x25, 1]) && has(&[0x27, 0, 0x10, 0, 0]), "{answer:02x?}");
    assert!(has(&[0x12, 0, 32]) && has(&[0x2a, 1]), "{answer:02x?}");
}

#[tokio::test]
async fn quality_1_is_acknowledged_only_when_durable_and_pings_do_not_wait() {
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, level).await;
        let gate = store.hold();
        client.send(&publish(level, 1, 7, TELEMETRY, br#"{"t":21.5}"#)).await;
        store.started.subscribe().wait_for(|count| *count == 1).await.expect("started");
        client.send(&publish(level, 1, 8, TELEMETRY, br#"{"t":22}"#)).await;
        store.started.subscribe().wait_for(|count| *count == 2).await.expect("pipelined");
        client.send(&[0xc0, 0]).await;
        client.expect(&[0xd0, 0]).await;
        assert!(store.readings().is_empty());
        gate.add_permits(2);
        client.expect(&[0x40, 2, 0, 7, 0x40, 2, 0, 8]).await;
        let readings = store.readings();
        assert_eq!(readings[0], ("t".to_owned(), 1_700_000_000_000, Value::Double(21.5)));
        assert_eq!(readings[1].2, Value::Integer(22));
    }
}

#[tokio::test]
async fn one_read_is_one_submission_with_everything_in_order() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    let mut bytes = Vec::new();
    let mut acks = Vec::new();
    for id in 1..=20u16 {
        let payload = format!("{{\"ts\":{id},\"values\":{{\"k\":{id}}}}}");
        bytes.extend(publish(4, 1, id, TELEMETRY, payload.as_bytes()));
        acks.extend_from_slice(&[0x40, 2, 0, u8::try_from(id).expect("small")]);
    }
    bytes.extend(publish(4, 0, 0, "v1/devices/me/attributes", br#"{"fw":"1.2"}"#));
    client.send(&bytes).await;
    client.expect(&acks).await;
    let submissions = store.submissions.lock().clone();
    assert_eq!(submissions.len(), 1);
    let [SinkEntry::Readings(batch), SinkEntry::Attributes(update)] = &submissions[0][..] else {
        panic!("{submissions:?}");
    };
    assert_eq!((batch.tenant, batch.device, batch.readings.len()), (TENANT, DEVICE, 20));
    assert_eq!(update.entries, [(Key::new("fw").expect("key"), Value::Text("1.2".into()))]);
}

const ATTRIBUTES: &str = "v1/devices/me/attributes";

#[tokio::test]
async fn attributes_that_the_sink_refuses_leave_the_rest_of_a_read_alone() {
    // (protocol, QoS of the refused message, whether the client is told)
    for (level, qos, is_told) in [(4, 1, false), (5, 1, true), (4, 0, false), (5, 0, false)] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, level).await;
        let bytes = [
            publish(level, 1, 1, TELEMETRY, b"{\"t\":7}"),
            publish(level, qos, 2, ATTRIBUTES, b"{\"over\":1}"),
            publish(level, 1, 3, ATTRIBUTES, b"{\"fw\":1}"),
            publish(level, 1, 4, TELEMETRY, b"{\"t\":8}"),
        ];
        client.send(&bytes.concat()).await;
        client.expect(&[0x40, 2, 0, 1]).await;
        if is_told {
            let answer = client.packet().await;
            assert_eq!((answer[0], &answer[2..5]), (0x40, &[0, 2, 0x97][..]), "{answer:02x?}");
            assert!(String::from_utf8_lossy(&answer).contains("limit attributes_max exceeded"));
        } else if qos > 0 {
            client.expect(&[0x40, 2, 0, 2]).await;
        }
        client.expect(&[0x40, 2, 0, 3, 0x40, 2, 0, 4]).await;
        assert_eq!(store.readings().len(), 2, "{level} {qos}");
        let refusals = store.refusals();
        assert_eq!(refusals.len(), usize::from(!is_told), "{refusals:?}");
        let stored = |entry: &SinkEntry| matches!(entry, SinkEntry::Attributes(_));
        assert_eq!(store.entries().iter().filter(|entry| stored(entry)).count(), 1);
    }
}

#[tokio::test]
async fn what_the_sink_refuses_for_good_is_not_sent_for_ever() {
    let limit = || LimitExceeded { name: "append_bytes_max", max: 1, actual: 2 };
    for (level, error, code) in [
        (4, SubmitError::Limit(limit()), 0),
        (4, SubmitError::Invalid("expected less".to_owned()), 0),
        (5, SubmitError::Limit(limit()), 0x97),
        (5, SubmitError::Invalid("expected less".to_owned()), 0x99),
    ] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, level).await;
        *store.failure.lock() = Some(error.clone());
        client.send(&publish(level, 1, 1, TELEMETRY, b"{\"t\":7}")).await;
        let answer = client.packet().await;
        assert_eq!(&answer[2..4], &[0, 1]);
        assert_eq!(answer.get(4).copied().unwrap_or_default(), code, "{answer:02x?}");
        assert_eq!((store.readings().len(), store.refusals()), (0, vec![error.to_string()]));
        *store.failure.lock() = None;
        client.send(&publish(level, 1, 2, TELEMETRY, b"{\"t\":7}")).await;
        client.expect(&[0x40, 2, 0, 2]).await;
    }
}

#[tokio::test]
async fn attributes_count_as_readings_do() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    let long = format!("{{\"a\":\"{}\",\"b\":1}}", "y".repeat(60 * 1024));
    client.send(&publish(4, 1, 1, ATTRIBUTES, long.as_bytes())).await;
    client.expect(&[0x40, 2, 0, 1]).await;
    assert_eq!(store.paced.lock().iter().sum::<u32>(), 62);
}

#[tokio::test]
async fn messages_without_a_time_are_told_apart() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    // The clock stands still, between the two reads as well.
    for read in 0..2u16 {
        let (mut bytes, mut acks) = (Vec::new(), Vec::new());
        for id in read * 50 + 1..=read * 50 + 50 {
            bytes.extend(publish(4, 1, id, TELEMETRY, b"[{\"t\":1},{\"t\":1}]"));
            acks.extend_from_slice(&[0x40, 2, 0, u8::try_from(id).expect("small")]);
        }
        client.send(&bytes).await;
        client.expect(&acks).await;
    }
    let batches = store.entries().into_iter().filter_map(|entry| match entry {
        SinkEntry::Readings(batch) => Some(batch.readings),
        _ => None,
    });
    let times: Vec<i64> = batches.flatten().map(|reading| reading.at.as_micros()).collect();
    let expect: Vec<i64> = (0..200).map(|after| crate::platform::NOW_MICROS + after).collect();
    assert_eq!(times, expect);
}

#[tokio::test]
async fn quality_0_before_the_end_of_the_connection_is_kept() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    client.send(&publish(4, 0, 0, TELEMETRY, b"{\"a\":true}")).await;
    client.send(&[0xe0, 0]).await;
    client.leave().await;
    assert_eq!(store.readings().len(), 1);
    assert!(store.links.lock().is_empty());
}

#[tokio::test]
async fn a_failed_commit_is_not_acknowledged() {
    let table = [
        (SubmitError::Unavailable("disk full".to_owned()), 0x80, "disk full"),
        (SubmitError::Denied("key revoked".to_owned()), 0x87, "key revoked"),
    ];
    for (failure, code, part) in table {
        let (broker, store) = broker(IngestLimits::default());
        *store.failure.lock() = Some(failure);
        let mut client = connected(&broker, 5).await;
        client.send(&publish(5, 1, 7, TELEMETRY, b"{\"a\":1}")).await;
        let answer = client.packet().await;
        assert_eq!((answer[0], answer[4]), (0x40, code));
        assert!(String::from_utf8_lossy(&answer).contains(part));

        let mut client = connected(&broker, 4).await;
        client.send(&publish(4, 1, 7, TELEMETRY, b"{\"a\":1}")).await;
        client.send(&publish(4, 1, 8, TELEMETRY, b"{\"a\":1}")).await;
        assert_eq!(client.rest().await, b"", "3.1.1 closes without acknowledging");
    }
}

#[tokio::test]
async fn subscriptions_and_downlinks() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 5).await;
    let filters = [
        ("v1/devices/me/attributes", 0),
        ("v1/devices/me/rpc/request/+", 2),
        ("v1/devices/me/attributes/response/+", 1),
        ("$share/g/v1/devices/me/rpc", 1),
        ("$SYS/topic", 1),
    ];
    client.send(&subscribe(5, 3, &filters)).await;
    let answer = client.packet().await;
    assert!(answer.ends_with(&[0, 2, 1, 0x9e, 0x87]), "{answer:02x?}");

    let link = store.link(|link| link.wants_rpc()).await;
    let key = Key::new("limit").expect("key");
    link.send(Downlink::AttributesUpdated(vec![(key.clone(), Value::Integer(3))])).expect("sent");
    let message = client.packet().await;
    assert_eq!(message, publish(5, 0, 0, "v1/devices/me/attributes", b"{\"limit\":3}"));

    let request = RpcRequest { id: 12, method: "open".to_owned(), params: "[1]".to_owned() };
    link.send(Downlink::Rpc(request)).expect("sent");
    let message = client.packet().await;
    let expected = b"{\"method\":\"open\",\"params\":[1]}";
    assert_eq!(message, publish(5, 1, 1, "v1/devices/me/rpc/request/12", expected));
    client.send(&[0x40, 2, 0, 1]).await;
    let reply = publish(5, 1, 4, "v1/devices/me/rpc/response/12", b" {\"ok\": true} ");
    client.send(&reply).await;
    client.expect(&[0x40, 2, 0, 4]).await;
    assert_eq!(store.replies.lock()[0].body, "{\"ok\":true}");

    let ask = br#"{"clientKeys":"a","sharedKeys":"b, c"}"#;
    client.send(&publish(5, 0, 0, "v1/devices/me/attributes/request/1", ask)).await;
    let message = client.packet().await;
    let shown = String::from_utf8_lossy(&message);
    assert!(shown.contains(r#"{"client":{"a":2.0},"shared":{"b":2.0,"c":2.0}}"#), "{shown}");

    let mut body = vec![0, 9, 0];
    body.extend(text("v1/devices/me/attributes"));
    body.extend(text("v1/devices/me/unknown"));
    client.send(&packet(0xa2, &body)).await;
    client.expect(&[0xb0, 5, 0, 9, 0, 0, 0x11]).await;
    let refused = link.send(Downlink::AttributesDeleted(vec![key]));
    assert_eq!(refused, Err(LinkError::NotSubscribed));
}

#[tokio::test]
async fn calls_from_the_device_are_answered() {
    let (broker, _) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    client.send(&subscribe(4, 1, &[("v1/devices/me/rpc/response/+", 0)])).await;
    client.expect(&[0x90, 3, 0, 1, 0]).await;
    let call = |payload: &[u8]| publish(4, 0, 0, "v1/devices/me/rpc/request/5", payload);
    let answer = |payload: &[u8]| publish(4, 0, 0, "v1/devices/me/rpc/response/5", payload);
    client.send(&call(br#"{"method":"echo","params":{"x": 1}}"#)).await;
    client.expect(&answer(br#"{"x":1}"#)).await;
    client.send(&call(br#"{"method":"fly"}"#)).await;
    client.expect(&answer(br#"{"error":"not found: no such method"}"#)).await;
}

#[tokio::test]
async fn sessions_are_taken_over_and_resumed() {
    let (broker, store) = broker(IngestLimits::default());
    let mut first = connected(&broker, 5).await;
    let mut second = Client::open(&broker);
    second.send(&connect(4, 0, "c1", "token")).await;
    second.expect(&[0x20, 2, 1, 0]).await;
    let goodbye = first.rest().await;
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8e), "{goodbye:02x?}");

    second.send(&subscribe(4, 1, &[("v1/devices/me/rpc/request/+", 1)])).await;
    second.expect(&[0x90, 3, 0, 1, 1]).await;
    let link = store.link(|link| link.wants_rpc()).await;
    let request = RpcRequest { id: 1, method: "m".to_owned(), params: String::new() };
    link.send(Downlink::Rpc(request)).expect("sent");
    let mut sent = second.packet().await;
    second.leave().await;

    let mut third = Client::open(&broker);
    third.send(&connect(4, 0, "c1", "token")).await;
    third.expect(&[0x20, 2, 1, 0]).await;
    sent[0] |= 8;
    third.expect(&sent).await;
    assert!(store.link(|_| true).await.wants_rpc());
    third.leave().await;

    // Another device of the tenant neither gets the session nor ends it; a clean start does.
    for (flags, token, present) in
        [(0, "other", 0), (0, "token", 1), (2, "token", 0), (0, "token", 0)]
    {
        let mut client = Client::open(&broker);
        client.send(&connect(4, flags, "c1", token)).await;
        client.expect(&[0x20, 2, present, 0]).await;
        client.send(&[0xe0, 0]).await;
        client.leave().await;
    }
}

#[tokio::test]
async fn the_platform_ends_connections_with_a_reason() {
    for (reason, code, part) in [
        (CloseReason::Revoked, 0x98, "the device or its credential was disabled"),
        (CloseReason::CredentialEnded, 0x87, "the credential of this session has ended"),
        (CloseReason::CertificateEnded, 0x87, "the certificate of this session"),
        (CloseReason::CertificateRevoked, 0x98, "does not count any more"),
        (CloseReason::ShuttingDown, 0x8b, ""),
    ] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, 5).await;
        store.link(|_| true).await.close(reason);
        let goodbye = client.rest().await;
        assert_eq!((goodbye[0], goodbye[2]), (0xe0, code));
        assert!(String::from_utf8_lossy(&goodbye).contains(part), "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let (broker, _) = broker(IngestLimits::default());
    let mut client = connected(&broker, 5).await;
    let start = tokio::time::Instant::now();
    tokio::time::sleep(std::time::Duration::from_secs(80)).await;
    client.send(&[0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    let mut goodbye = Vec::new();
    client.stream.read_to_end(&mut goodbye).await.expect("closed");
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8d));
    assert_eq!(start.elapsed().as_secs(), 170);
}

#[tokio::test(start_paused = true)]
async fn who_vanishes_without_a_word_has_a_will_and_holds_nothing() {
    let (broker, store) = broker(IngestLimits::default());
    let mut body = text("MQTT");
    // Keep-alive of ten seconds.
    body.extend_from_slice(&[4, 0x86, 0, 10]);
    body.extend([text("w"), text(TELEMETRY), text("{\"on\":false}"), text("token")].concat());
    let mut client = Client::open(&broker);
    client.send(&packet(0x10, &body)).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    let start = tokio::time::Instant::now();
    // The socket stays open: no FIN says that nobody is there.
    let Client { stream, server } = client;
    server.await.expect("served");
    assert!((15..25).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(store.readings().len(), 1, "the will");
    assert_eq!((broker.connections(), store.links.lock().len()), (0, 0));
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_silence_may_last() {
    let (broker, _) = broker(IngestLimits::default());
    let mut body = text("MQTT");
    body.extend_from_slice(&[4, 0x82, 0, 0]);
    body.extend([text("c"), text("token")].concat());
    let mut client = Client::open(&broker);
    client.send(&packet(0x10, &body)).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    // The paused clock only moves while every task rests: a loop that spins would hang here.
    tokio::time::sleep(std::time::Duration::from_secs(10 * 3600)).await;
    client.send(&[0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_connect_is_closed() {
    let (broker, _) = broker(IngestLimits::default());
    let mut client = Client::open(&broker);
    client.send(&[0x10]).await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(broker.connections(), 0);
}

#[tokio::test]
async fn wills_take_the_durable_path() {
    let (broker, store) = broker(IngestLimits::default());
    let mut body = text("MQTT");
    body.extend_from_slice(&[4, 0x86, 0, 0]);
    body.extend([text("w"), text(TELEMETRY), text("{\"on\":false}"), text("token")].concat());
    for (goodbye, wills) in [(true, 0), (false, 1)] {
        let mut client = Client::open(&broker);
        client.send(&packet(0x10, &body)).await;
        client.expect(&[0x20, 2, 0, 0]).await;
        if goodbye {
            client.send(&[0xe0, 0]).await;
        }
        client.leave().await;
        assert_eq!(store.readings().len(), wills);
    }
}

#[tokio::test]
async fn receive_maximum_holds() {
    let limits = IngestLimits { receive_maximum: 2, ..IngestLimits::default() };
    let (broker, store) = broker(limits);
    let gate = store.hold();
    let mut client = connected(&broker, 5).await;
    for id in 1..=3 {
        client.send(&publish(5, 1, id, TELEMETRY, b"{\"a\":1}")).await;
    }
    gate.add_permits(3);
    client.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]).await;
    let goodbye = client.rest().await;
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x93));
    assert!(String::from_utf8_lossy(&goodbye).contains("limit receive_maximum"));

    // A QoS 2 message counts once, until its PUBCOMP.
    let gate = store.hold();
    let mut client = connected(&broker, 5).await;
    for id in 1..=2 {
        client.send(&publish(5, 2, id, TELEMETRY, b"{\"a\":1}")).await;
    }
    gate.add_permits(3);
    client.expect(&[0x50, 2, 0, 1, 0x50, 2, 0, 2]).await;
    client.send(&[0x62, 2, 0, 1]).await;
    client.expect(&[0x70, 2, 0, 1]).await;
    client.send(&publish(5, 2, 3, TELEMETRY, b"{\"a\":1}")).await;
    client.expect(&[0x50, 2, 0, 3]).await;
    client.send(&publish(5, 2, 4, TELEMETRY, b"{\"a\":1}")).await;
    let goodbye = client.rest().await;
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x93));

    // A 3.1.1 client does not know the bound: it is held back, and nothing is lost.
    let gate = store.hold();
    let mut client = connected(&broker, 4).await;
    for id in 1..=9u16 {
        client.send(&publish(4, 1, id, TELEMETRY, b"{\"a\":1}")).await;
    }
    gate.add_permits(9);
    for id in 1..=9u8 {
        client.expect(&[0x40, 2, 0, id]).await;
    }
}

#[tokio::test]
async fn too_many_connections_are_told_the_limit() {
    let limits = IngestLimits { connections_max: 1, ..IngestLimits::default() };
    let (broker, _) = broker(limits);
    let first = connected(&broker, 5).await;
    let mut second = Client::open(&broker);
    second.send(&connect(5, 2, "c2", "token")).await;
    let answer = second.rest().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0x97));
    assert!(String::from_utf8_lossy(&answer).contains("limit connections_max exceeded: at most 1"));
    first.leave().await;
    let broker = Arc::clone(&broker);
    connected(&broker, 5).await;
}
