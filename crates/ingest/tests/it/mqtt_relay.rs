//! Relaying between clients beyond the standards' statements: whose topics are whose, what must not
//! be kept, and clients that read slowly.

use veritwin_domain::IngestLimits;
use veritwin_ingest::{Downlink, Refusal, RefusalReason, RpcRequest, SinkEntry};

use crate::platform::{
    CREDENTIAL, Client, DEVICE, OTHER, broker, connect, connected, packet, publish, subscribe, text,
};

/// A second client, of another device.
async fn other(broker: &std::sync::Arc<veritwin_ingest::mqtt::Broker>, level: u8) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect(level, 2, "c2", "other")).await;
    assert_eq!(client.packet().await[0], 0x20);
    client
}

/// The reason code of a PUBACK of version 5.
fn code(answer: &[u8]) -> u8 {
    let header_bytes = if answer[1] < 0x80 { 2 } else { 3 };
    assert_eq!(answer[0], 0x40, "{answer:02x?}");
    answer[header_bytes + 2]
}

async fn listen(client: &mut Client, level: u8, filter: &str, qos: u8) {
    client.send(&subscribe(level, 1, &[(filter, qos)])).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer.last()), (0x90, Some(&qos)), "{answer:02x?}");
}

#[tokio::test]
async fn own_topics_are_the_devices_own() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut other) = (connected(&broker, 5).await, other(&broker, 5).await);
    let (mine, theirs) = (format!("devices/{DEVICE}/state"), format!("devices/{OTHER}/state"));
    listen(&mut other, 5, "#", 0).await;
    listen(&mut client, 5, "devices/+/state", 0).await;
    client.send(&subscribe(5, 2, &[(&*theirs, 0), (&*mine, 0)])).await;
    let answer = client.packet().await;
    assert!(answer.ends_with(&[0x87, 0]), "{answer:02x?}");

    client.send(&publish(5, 1, 7, &theirs, b"x")).await;
    let answer = client.packet().await;
    let shown = String::from_utf8_lossy(&answer);
    assert!(code(&answer) == 0x87 && shown.contains("devices/ID/"), "{shown}");
    client.send(&publish(5, 1, 7, &mine, b"on")).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    // Once, although two filters match.
    client.expect(&publish(5, 0, 0, &mine, b"on")).await;
    client.send(&publish(5, 1, 8, "for/all", b"x")).await;
    client.expect(&[0x40, 2, 0, 8]).await;
    other.expect(&publish(5, 0, 0, "for/all", b"x")).await;

    let mut old = connected(&broker, 4).await;
    old.send(&publish(4, 1, 7, &theirs, b"x")).await;
    old.expect(&[0x40, 2, 0, 7]).await;
    let is_recorded = |entry: &SinkEntry| match entry {
        SinkEntry::Refusal(refusal) => refusal.reason == RefusalReason::NotAllowed,
        _ => false,
    };
    assert_eq!(store.entries().iter().filter(|entry| is_recorded(entry)).count(), 1);
}

#[tokio::test]
async fn what_must_not_be_kept_is_not_relayed() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut other) = (connected(&broker, 5).await, other(&broker, 5).await);
    listen(&mut other, 5, "#", 0).await;
    for payload in [&b"4111111111111111"[..], b"{\"pan\":\"4111 1111 1111 1111\"}"] {
        client.send(&publish(5, 1, 7, "till/1", payload)).await;
        let answer = client.packet().await;
        let shown = String::from_utf8_lossy(&answer);
        assert!(code(&answer) == 0x87 && shown.contains("card_number"), "{shown}");
        assert!(!shown.contains("4111"), "{shown}");
    }
    client.send(&publish(5, 1, 7, "till/1", b"closed")).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    other.expect(&publish(5, 0, 0, "till/1", b"closed")).await;
    let relayed = |entry: &SinkEntry| matches!(entry, SinkEntry::Relay { .. });
    assert_eq!(store.entries().iter().filter(|entry| relayed(entry)).count(), 1);
}

#[tokio::test]
async fn a_slow_client_loses_messages_by_name_and_the_loss_is_recorded() {
    const SENT: u16 = 1_100;
    /// 32 on their way and 1,000 in the queue.
    const TAKEN: usize = 1_032;
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut slow) = (connected(&broker, 4).await, other(&broker, 4).await);
    listen(&mut slow, 4, "plant/+", 1).await;
    for id in 1..=SENT {
        client.send(&publish(4, 1, id, "plant/a", b"x")).await;
        let [high, low] = id.to_be_bytes();
        client.expect(&[0x40, 2, high, low]).await;
    }
    let lost = || {
        let entries = store.entries().into_iter().filter_map(|entry| match entry {
            SinkEntry::Refusal(refusal) => {
                let Refusal { device, limit, detail, credential, .. } = refusal;
                Some((device, limit, detail, credential))
            }
            _ => None,
        });
        entries.collect::<Vec<_>>()
    };
    while lost().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..TAKEN {
        let message = slow.packet().await;
        assert_eq!(message[0], 0x32);
        let id = &message[11..13];
        slow.send(&[0x40, 2, id[0], id[1]]).await;
    }
    while lost().len() < 2 {
        tokio::task::yield_now().await;
    }
    let lost = lost();
    let limit = Some("relay_queue_messages_max");
    assert!(lost.iter().all(|one| one.0 == OTHER && one.1 == limit), "{lost:?}");
    assert!(lost[0].2.contains("from this one on"), "{lost:?}");
    assert_ne!(lost[0].3, CREDENTIAL, "the publisher's is not the subscriber's");
    let count = usize::from(SENT) - TAKEN;
    assert!(lost[1].2.contains(&format!("{count} messages were not delivered")), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_let_go_and_that_is_recorded() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut stalled) = (connected(&broker, 4).await, other(&broker, 4).await);
    listen(&mut stalled, 4, "plant/+", 0).await;
    let start = tokio::time::Instant::now();
    for id in 1..=64u16 {
        client.send(&publish(4, 1, id, "plant/a", &[b'x'; 1024])).await;
        let [high, low] = id.to_be_bytes();
        client.expect(&[0x40, 2, high, low]).await;
    }
    assert!(start.elapsed().as_secs() < 1, "nobody waits for it");
    // It does not hang up either.
    let Client { stream, server } = stalled;
    server.await.expect("served");
    assert!((30..60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    drop(stream);
    let limits = store.entries().into_iter().filter_map(|entry| match entry {
        SinkEntry::Refusal(refusal) if refusal.device == OTHER => refusal.limit,
        _ => None,
    });
    assert_eq!(limits.collect::<Vec<_>>(), ["write_seconds_max"]);
    assert_eq!((broker.connections(), store.links.lock().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_large_packet_that_is_never_whole_ends_its_connection_by_name() {
    let (broker, store) = broker(IngestLimits::default());
    let mut slow = other(&broker, 5).await;
    let whole = publish(5, 1, 7, "plant/a", &vec![b'x'; 200_000]);
    let start = tokio::time::Instant::now();
    slow.send(&whole[..40_000]).await;
    // It sends a little from time to time, so that its keep-alive does not end it.
    let mut sent = 40_000;
    while start.elapsed().as_secs() < 110 {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        slow.send(&whole[sent..sent + 10]).await;
        sent += 10;
    }
    let goodbye = slow.rest().await;
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x97), "{goodbye:02x?}");
    assert!(String::from_utf8_lossy(&goodbye).contains("packet_seconds_max"));
    let limits = store.entries().into_iter().filter_map(|entry| match entry {
        SinkEntry::Refusal(refusal) if refusal.device == OTHER => refusal.limit,
        _ => None,
    });
    assert_eq!(limits.collect::<Vec<_>>(), ["packet_seconds_max"]);
    // One that is whole in time is taken.
    let mut client = connected(&broker, 4).await;
    let whole = publish(4, 1, 8, "plant/a", &vec![b'x'; 200_000]);
    client.send(&whole[..100_000]).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    client.send(&whole[100_000..]).await;
    client.expect(&[0x40, 2, 0, 8]).await;
}

#[tokio::test]
async fn calls_and_messages_of_others_take_turns_in_a_window_of_one() {
    let (broker, store) = broker(IngestLimits::default());
    let mut other = other(&broker, 4).await;
    let mut client = Client::open(&broker);
    // Receive Maximum 1.
    let mut hello = text("MQTT");
    hello.extend_from_slice(&[5, 0x82, 0, 60, 3, 0x21, 0, 1]);
    hello.extend([text("c1"), text("token")].concat());
    client.send(&packet(0x10, &hello)).await;
    assert_eq!(client.packet().await[0], 0x20);
    listen(&mut client, 5, "plant/+", 1).await;
    listen(&mut client, 5, "v1/devices/me/rpc/request/+", 1).await;
    for id in 1..=3u8 {
        other.send(&publish(4, 1, id.into(), "plant/a", &[id])).await;
        other.expect(&[0x40, 2, 0, id]).await;
    }
    let link = store.link(|link| link.wants_rpc()).await;
    for id in 7..=8 {
        let request = RpcRequest { id, method: "m".to_owned(), params: String::new() };
        link.send(Downlink::Rpc(request)).expect("sent");
    }
    client.expect(&publish(5, 1, 1, "plant/a", &[1])).await;
    for (id, request) in [(1, "/request/7"), (3, "/request/8")] {
        client.send(&[0x40, 2, 0, id]).await;
        let called = client.packet().await;
        let shown = String::from_utf8_lossy(&called);
        assert!(shown.contains(request), "{shown}");
        client.send(&[0x40, 2, 0, id + 1]).await;
        let next = id / 2 + 2;
        client.expect(&publish(5, 1, u16::from(id) + 2, "plant/a", &[next])).await;
    }
}

#[tokio::test]
async fn every_delivery_counts_in_the_rate() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut other) = (connected(&broker, 5).await, other(&broker, 5).await);
    listen(&mut other, 5, "plant/+", 0).await;
    listen(&mut client, 5, "plant/+", 0).await;
    // A look for retained messages counts, whatever it finds.
    while *store.paced.lock() != [2_048, 2_048] {
        tokio::task::yield_now().await;
    }
    store.paced.lock().clear();
    client.send(&publish(5, 1, 7, "plant/a", b"x")).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    other.expect(&publish(5, 0, 0, "plant/a", b"x")).await;
    // The message that was read, then its two deliveries.
    assert_eq!(*store.paced.lock(), [1, 2]);
}

fn retain(mut message: Vec<u8>) -> Vec<u8> {
    message[0] |= 1;
    message
}

#[tokio::test]
async fn retained_messages_go_on_where_the_connection_ended() {
    /// More than a page, and than may be on their way.
    const COUNT: usize = 70;
    let topics: Vec<String> = (0..COUNT).map(|number| format!("plant/{number:02}")).collect();
    let (broker, _) = broker(IngestLimits::default());
    let mut speaker = other(&broker, 4).await;
    for topic in &topics {
        speaker.send(&retain(publish(4, 1, 7, topic, b"x"))).await;
        speaker.expect(&[0x40, 2, 0, 7]).await;
    }
    let mut client = Client::open(&broker);
    client.send(&connect(4, 0, "c1", "token")).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    listen(&mut client, 4, "plant/+", 1).await;
    for (topic, id) in topics[..32].iter().zip(1u16..) {
        client.expect(&retain(publish(4, 1, id, topic, b"x"))).await;
    }
    client.leave().await;
    let mut client = Client::open(&broker);
    client.send(&connect(4, 0, "c1", "token")).await;
    client.expect(&[0x20, 2, 1, 0]).await;
    for (topic, id) in topics.iter().zip(1u16..) {
        let mut expect = retain(publish(4, 1, id, topic, b"x"));
        if id <= 32 {
            expect[0] |= 8;
        }
        client.expect(&expect).await;
        let [high, low] = id.to_be_bytes();
        client.send(&[0x40, 2, high, low]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retained_messages_that_cannot_be_read_are_asked_for_again() {
    for (failures, first_byte) in [(3, 0x31), (4, 0xe0)] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = connected(&broker, 5).await;
        *store.retained_failures.lock() = failures;
        client.send(&retain(publish(5, 1, 7, "plant/a", b"x"))).await;
        client.expect(&[0x40, 2, 0, 7]).await;
        listen(&mut client, 5, "plant/+", 0).await;
        let answer = client.packet().await;
        assert_eq!(answer[0], first_byte, "{failures}: {answer:02x?}");
    }
}

#[tokio::test]
async fn a_failed_commit_relays_nothing() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut other) = (connected(&broker, 5).await, other(&broker, 5).await);
    listen(&mut other, 5, "plant/+", 1).await;
    let failure = veritwin_ingest::SubmitError::Unavailable("disk full".to_owned());
    *store.failure.lock() = Some(failure);
    client.send(&publish(5, 1, 7, "plant/a", b"lost")).await;
    assert_eq!(code(&client.packet().await), 0x80);
    *store.failure.lock() = None;
    client.send(&publish(5, 1, 7, "plant/a", b"kept")).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    other.expect(&publish(5, 1, 1, "plant/a", b"kept")).await;
}

#[tokio::test]
async fn nothing_is_relayed_before_it_is_durable() {
    let (broker, store) = broker(IngestLimits::default());
    let (mut client, mut other) = (connected(&broker, 4).await, other(&broker, 4).await);
    listen(&mut other, 4, "plant/+", 0).await;
    let gate = store.hold();
    client.send(&publish(4, 0, 0, "plant/a", b"x")).await;
    let mut started = store.started.subscribe();
    started.wait_for(|count| *count == 1).await.expect("a submission");
    other.send(&[0xc0, 0]).await;
    other.expect(&[0xd0, 0]).await;
    gate.add_permits(1);
    other.expect(&publish(4, 0, 0, "plant/a", b"x")).await;
}
