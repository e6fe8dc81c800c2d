//! QoS 2 of sessions that outlive the broker, both ways: once, whenever it ends and whatever of it
//! was durable by then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{SinkEntry, SubmitError};

use crate::mqtt_kept::{Journal, begin_anew, message, nothing_waits, open, park, tell};
use crate::packets::connect_for_hours;
use crate::platform::{Client, TELEMETRY, connect, publish, subscribe};

fn again(message: &[u8]) -> Vec<u8> {
    let mut again = message.to_vec();
    again[0] |= 8;
    again
}

/// A client of 5.0 whose session is there.
async fn resume(broker: &Arc<Broker>, client_id: &str) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect_for_hours(client_id, 0x80)).await;
    let acknowledged = client.packet().await;
    assert_eq!((acknowledged[0], acknowledged[2], acknowledged[3]), (0x20, 1, 0));
    client
}

async fn begin(broker: &Arc<Broker>, client_id: &str) -> Client {
    let mut client = Client::open(broker);
    client.send(&begin_anew(client_id)).await;
    let acknowledged = client.packet().await;
    assert_eq!((acknowledged[0], acknowledged[2], acknowledged[3]), (0x20, 0, 0));
    client
}

impl Journal {
    /// Nothing becomes durable until permits are added.
    fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    fn batches(&self) -> usize {
        let is_batch = |entry: &SinkEntry| matches!(entry, SinkEntry::Readings(_));
        self.entries.lock().iter().filter(|(_, entry)| is_batch(entry)).count()
    }

    /// Waits until so many submissions have begun.
    async fn begun(&self, count: usize) {
        self.started.subscribe().wait_for(|begun| *begun >= count).await.expect("begun");
    }
}

#[tokio::test]
async fn an_id_that_could_not_be_freed_is_not_called_free() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 0).await;
    client.send(&publish(4, 2, 5, "plant/a", b"one")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    *journal.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
    client.send(&[0x62, 2, 0, 5]).await;
    assert!(client.rest().await.is_empty(), "it is not completed");
    *journal.failure.lock() = None;
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&[0x62, 2, 0, 5]).await;
    client.expect(&[0x70, 2, 0, 5]).await;
    // The next message with the id is a message of its own, also where the broker ends before it
    // has it.
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&again(&publish(4, 2, 5, "plant/a", b"two"))).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 2);
}

#[tokio::test]
async fn whoever_asks_twice_is_told_when_it_is_durable() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 0).await;
    client.send(&publish(4, 2, 5, "plant/a", b"one")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    let gate = journal.hold();
    client.send(&[0x62, 2, 0, 5]).await;
    client.send(&[0x62, 2, 0, 5, 0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    gate.add_permits(2);
    client.expect(&[0x70, 2, 0, 5]).await;
    *journal.gate.lock() = None;
    nothing_else_is_open(&journal).await;
}

/// After a restart the id 5 is free.
async fn nothing_else_is_open(journal: &Arc<Journal>) {
    let before = journal.relayed();
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&publish(4, 2, 5, "plant/a", b"next")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), before + 1);
}

#[tokio::test]
async fn a_refusal_is_told_when_it_is_durable_that_the_id_is_free() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = begin(&broker, "c1").await;
    nothing_waits(&mut client).await;
    let (gate, begun) = (journal.hold(), *journal.started.borrow());
    gate.add_permits(1);
    client.send(&publish(5, 2, 5, "v1/devices/me/attributes", b"{\"over\":1}")).await;
    journal.begun(begun + 2).await;
    client.send(&[0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    gate.add_permits(1);
    let refused = client.packet().await;
    assert_eq!((refused[0], refused[4]), (0x50, 0x97), "{refused:02x?}");
    *journal.gate.lock() = None;
    // The next one with the id is taken, whenever the broker ends.
    let broker = journal.start();
    let mut client = resume(&broker, "c1").await;
    client.send(&again(&publish(5, 2, 5, "plant/a", b"two"))).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 1);
    // A broker that ends before the refusal was told has it on record.
    let is_refusal = |entry: &SinkEntry| matches!(entry, SinkEntry::Refusal(_));
    assert!(journal.entries.lock().iter().any(|(_, entry)| is_refusal(entry)));
}

/// What failed may be durable nevertheless: its id would be taken for the next message's.
#[tokio::test]
async fn a_failure_is_not_told_where_the_id_cannot_be_freed() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = begin(&broker, "c1").await;
    nothing_waits(&mut client).await;
    *journal.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
    let message = publish(5, 2, 5, "plant/a", b"one");
    client.send(&message).await;
    let end = client.rest().await;
    assert_eq!((end[0], end[2]), (0xe0, 0x80), "{end:02x?}");
    *journal.failure.lock() = None;
    let mut client = resume(&broker, "c1").await;
    client.send(&again(&message)).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 1);
}

#[tokio::test]
async fn a_message_that_the_client_refused_does_not_come_again() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = begin(&broker, "c1").await;
    client.send(&subscribe(5, 1, &[("plant/+", 2)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    tell(&broker, 2, &["one"]).await;
    let id = message(&mut client, 0x34, "one").await;
    client.send(&[0x50, 3, id[0], id[1], 0x97, 0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    nothing_waits(&mut client).await;
    // Nobody was told of it apart from the read.
    let broker = journal.start();
    nothing_waits(&mut resume(&broker, "c1").await).await;
}

#[tokio::test]
async fn a_message_is_released_on_another_connection_when_that_is_durable() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 2, &["one"]).await;
    let mut first = open(&broker, "c1", "token", 1).await;
    let id = message(&mut first, 0x34, "one").await;
    let (gate, begun) = (journal.hold(), *journal.started.borrow());
    first.send(&[0x50, 2, id[0], id[1]]).await;
    journal.begun(begun + 1).await;
    let mut second = open(&broker, "c1", "token", 1).await;
    nothing_waits(&mut second).await;
    gate.add_permits(16);
    second.expect(&[0x62, 2, id[0], id[1]]).await;
    *journal.gate.lock() = None;
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.expect(&[0x62, 2, id[0], id[1]]).await;
}

/// A round that is told while a message is durable and its client's session does not know of it:
/// what is before the round is not read again.
#[tokio::test(start_paused = true)]
async fn a_reading_is_stored_once_across_a_round_and_a_restart() {
    let gateways = ("gateway", "v1/gateway/telemetry", &b"{\"a\":{\"t\":1}}"[..]);
    for (token, topic, payload) in [("token", TELEMETRY, &b"{\"t\":1}"[..]), gateways] {
        let journal = Arc::new(Journal::default());
        let broker = journal.start();
        let mut client = open(&broker, "c1", token, 0).await;
        nothing_waits(&mut client).await;
        *journal.told_later.lock() = Some(Arc::new(Semaphore::new(0)));
        let reading = publish(4, 2, 5, topic, payload);
        client.send(&reading).await;
        while journal.batches() == 0 {
            tokio::task::yield_now().await;
        }
        let tending = tokio::spawn(Arc::clone(&broker).tend_sessions());
        let mut from = journal.from.subscribe();
        let round = timeout(Duration::from_secs(60), from.wait_for(|from| *from > 0)).await;
        assert!(round.is_err(), "it is not told before the session knows what came");
        drop(round);
        tending.abort();
        *journal.told_later.lock() = None;
        let broker = journal.start();
        let mut client = open(&broker, "c1", token, 1).await;
        client.send(&again(&reading)).await;
        client.expect(&[0x50, 2, 0, 5]).await;
        assert_eq!(journal.batches(), 1, "{topic}");
    }
}

#[tokio::test]
async fn a_session_that_is_kept_from_a_later_connection_on_is_told_whole() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut first = Client::open(&broker);
    first.send(&connect(4, 2, "c1", "token")).await;
    first.expect(&[0x20, 2, 0, 0]).await;
    first.send(&subscribe(4, 1, &[("plant/+", 2)])).await;
    first.expect(&[0x90, 3, 0, 1, 2]).await;
    let own = publish(4, 2, 9, "elsewhere", b"own");
    first.send(&own).await;
    first.expect(&[0x50, 2, 0, 9]).await;
    tell(&broker, 2, &["released", "open"]).await;
    tell(&broker, 1, &["three"]).await;
    let released = message(&mut first, 0x34, "released").await;
    let unreleased = message(&mut first, 0x34, "open").await;
    message(&mut first, 0x32, "three").await;
    first.send(&[0x50, 2, released[0], released[1]]).await;
    first.expect(&[0x62, 2, released[0], released[1]]).await;
    let mut second = open(&broker, "c1", "token", 1).await;
    nothing_waits_but(&mut second, &[released, unreleased]).await;
    let told = journal.relayed();
    // What it was before is there, as it was.
    let broker = journal.start();
    let mut third = open(&broker, "c1", "token", 1).await;
    nothing_waits_but(&mut third, &[released, unreleased]).await;
    third.send(&again(&own)).await;
    third.expect(&[0x50, 2, 0, 9]).await;
    assert_eq!(journal.relayed(), told, "it came before");
}

/// The first is released again, the second is sent again, and so is one of QoS 1.
async fn nothing_waits_but(client: &mut Client, [released, unreleased]: &[[u8; 2]; 2]) {
    let (mut has_released, mut messages) = (false, Vec::new());
    while !has_released || messages.len() < 2 {
        let packet = client.packet().await;
        if packet[0] == 0x62 {
            assert_eq!(&packet[2..4], released);
            has_released = true;
        } else {
            assert_eq!(packet[0] & 0xf9, 0x38, "with DUP: {packet:02x?}");
            messages.push(packet);
        }
    }
    assert!(messages[0].ends_with(b"open") && messages[1].ends_with(b"three"), "{messages:02x?}");
    assert_eq!(&messages[0][11..13], unreleased, "it has its id");
    nothing_waits(client).await;
}

/// Alive what is under way to a client takes no room from what waits for it.
#[tokio::test]
async fn large_messages_that_are_under_way_are_there_after_a_restart() {
    const MESSAGES: usize = 24;
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 0).await;
    client.send(&subscribe(4, 1, &[("plant/+", 1)])).await;
    client.expect(&[0x90, 3, 0, 1, 1]).await;
    let mut other = Client::open(&broker);
    other.send(&connect(4, 2, "c2", "other")).await;
    other.expect(&[0x20, 2, 0, 0]).await;
    let payload = |number: usize| {
        let mut payload = vec![b'x'; 900 * 1024];
        payload.extend_from_slice(number.to_string().as_bytes());
        payload
    };
    for number in 0..MESSAGES {
        other.send(&publish(4, 1, 1, "plant/a", &payload(number))).await;
        other.expect(&[0x40, 2, 0, 1]).await;
        assert!(client.packet().await.ends_with(&payload(number)));
    }
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    for number in 0..MESSAGES {
        assert!(client.packet().await.ends_with(&payload(number)), "{number} is lost");
    }
    nothing_waits(&mut client).await;
}

#[tokio::test]
async fn what_goes_with_a_session_that_ended_before_the_start_is_on_record() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 1, &["one", "two"]).await;
    broker.flush_sessions().await;
    *journal.later_micros.lock() = 25 * 3_600_000_000;
    let broker = journal.start();
    // It is tried again when it does not get in.
    *journal.failure.lock() = Some(SubmitError::Unavailable("away".to_owned()));
    broker.end_sessions().await;
    *journal.failure.lock() = None;
    broker.end_sessions().await;
    let detail = |entry: &SinkEntry| match entry {
        SinkEntry::Refusal(refusal) => Some(refusal.detail.clone()),
        _ => None,
    };
    let records: Vec<_> =
        journal.entries.lock().iter().filter_map(|(_, entry)| detail(entry)).collect();
    assert_eq!(records, ["the session ended (session_expiry): 2 messages were lost"]);
    open(&broker, "c1", "token", 0).await;
}
