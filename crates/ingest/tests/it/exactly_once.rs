//! QoS 2: once in the store, whatever is sent again and on whichever connection.

use veritwin_domain::IngestLimits;
use veritwin_ingest::SubmitError;

use crate::platform::{Client, TELEMETRY, broker, connect, connected, publish};

#[tokio::test]
async fn quality_2_is_stored_once() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 5).await;
    let message = publish(5, 2, 9, TELEMETRY, b"{\"a\":1}");
    let mut again = message.clone();
    again[0] |= 8;
    client.send(&message).await;
    client.expect(&[0x50, 2, 0, 9]).await;
    client.send(&again).await;
    client.expect(&[0x50, 2, 0, 9]).await;
    client.send(&[0x62, 2, 0, 9]).await;
    client.expect(&[0x70, 2, 0, 9]).await;
    client.send(&[0x62, 2, 0, 9]).await;
    client.expect(&[0x70, 4, 0, 9, 0x92, 0]).await;
    assert_eq!(store.readings().len(), 1);
    client.send(&message).await;
    client.expect(&[0x50, 2, 0, 9]).await;
    assert_eq!(store.readings().len(), 2);
}

#[tokio::test]
async fn quality_2_is_acknowledged_on_another_connection_only_when_durable() {
    for (level, fails) in [(4, false), (5, false), (4, true), (5, true)] {
        let (broker, store) = broker(IngestLimits::default());
        let gate = store.hold();
        let message = publish(level, 2, 9, TELEMETRY, b"{\"a\":1}");
        let mut first = connected(&broker, level).await;
        first.send(&message).await;
        store.started.subscribe().wait_for(|count| *count == 1).await.expect("started");
        let mut second = Client::open(&broker);
        second.send(&connect(level, 0, "c1", "token")).await;
        assert_eq!(second.packet().await[2], 1, "the session is there");
        let mut again = message.clone();
        again[0] |= 8;
        second.send(&again).await;
        second.send(&[0xc0, 0]).await;
        second.expect(&[0xd0, 0]).await;
        if fails {
            *store.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
        }
        gate.add_permits(1);
        if fails {
            let end = second.rest().await;
            assert!(end.is_empty() || (end[0], end[2]) == (0xe0, 0x80), "{end:02x?}");
            *store.failure.lock() = None;
            gate.add_permits(1);
            let mut third = Client::open(&broker);
            third.send(&connect(level, 0, "c1", "token")).await;
            third.packet().await;
            third.send(&again).await;
            third.expect(&[0x50, 2, 0, 9]).await;
        } else {
            second.expect(&[0x50, 2, 0, 9]).await;
            second.send(&[0x62, 2, 0, 9]).await;
            second.expect(&[0x70, 2, 0, 9]).await;
        }
        assert_eq!(store.readings().len(), 1);
    }
}

/// A client that keeps its session in memory has sent a reading and an answer to a call in one
/// read, and the answer is not taken: the reading is, and once.
#[tokio::test]
async fn an_answer_that_fails_does_not_fail_what_came_with_it() {
    const RESPONSE: &str = "v1/devices/me/rpc/response/7";
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        *store.reply_failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
        let mut client = Client::open(&broker);
        client.send(&connect(level, 0, "c1", "token")).await;
        client.packet().await;
        let mut reading = publish(level, 2, 9, TELEMETRY, b"{\"a\":1}");
        let mut answer = publish(level, 2, 10, RESPONSE, b"{\"ok\":1}");
        client.send(&[reading.clone(), answer.clone()].concat()).await;
        client.expect(&[0x50, 2, 0, 9]).await;
        if level == 5 {
            let refused = client.packet().await;
            assert_eq!((refused[0], refused[3], refused[4]), (0x50, 10, 0x80), "{refused:02x?}");
        } else {
            assert!(client.rest().await.is_empty(), "the answer is not acknowledged");
            client = Client::open(&broker);
            client.send(&connect(level, 0, "c1", "token")).await;
            client.expect(&[0x20, 2, 1, 0]).await;
            answer[0] |= 8;
        }
        assert!(store.replies.lock().is_empty());
        *store.reply_failure.lock() = None;
        reading[0] |= 8;
        client.send(&reading).await;
        client.expect(&[0x50, 2, 0, 9]).await;
        client.send(&answer).await;
        client.expect(&[0x50, 2, 0, 10]).await;
        assert_eq!(store.replies.lock().len(), 1, "version {level}");
        assert_eq!(store.readings().len(), 1, "version {level}");
    }
}

#[tokio::test]
async fn an_answer_that_is_refused_for_good_is_on_record() {
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        *store.reply_failure.lock() = Some(SubmitError::Invalid("no such answer".to_owned()));
        let mut client = connected(&broker, level).await;
        let reading = publish(level, 1, 9, TELEMETRY, b"{\"a\":1}");
        let answer = publish(level, 1, 10, "v1/devices/me/rpc/response/7", b"1");
        client.send(&[reading, answer].concat()).await;
        client.expect(&[0x40, 2, 0, 9]).await;
        if level == 4 {
            client.expect(&[0x40, 2, 0, 10]).await;
        } else {
            let refused = client.packet().await;
            assert_eq!((refused[0], refused[4]), (0x40, 0x99), "{refused:02x?}");
        }
        assert_eq!(store.readings().len(), 1);
        assert!(store.refusals()[0].contains("no such answer"), "{:?}", store.refusals());
    }
}
