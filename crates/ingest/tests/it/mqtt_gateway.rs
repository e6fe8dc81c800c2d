//! Gateways: what they say for others becomes entries of one submission, is refused name by name,
//! and comes back down by name.

use std::sync::Arc;

use veritwin_domain::{DeviceId, IngestLimits, Key, Value};
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{CloseReason, Downlink, RpcRequest, SinkEntry, SubmitError};

use crate::platform::{Client, broker, child_of, connect, packet, publish, subscribe, text};

async fn gateway(broker: &Arc<Broker>, level: u8) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect(level, 2, "g1", "gateway")).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
    client
}

fn devices(entries: &[SinkEntry]) -> Vec<DeviceId> {
    let device = |entry: &SinkEntry| match entry {
        SinkEntry::Readings(batch) => batch.device,
        SinkEntry::Attributes(update) => update.device,
        SinkEntry::Refusal(refusal) => refusal.device,
        SinkEntry::Relay { message, .. } => message.device,
        SinkEntry::Note(note) => note.device,
    };
    entries.iter().map(device).collect()
}

#[tokio::test]
async fn readings_of_several_devices_are_one_submission() {
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = gateway(&broker, level).await;
        let payload = br#"{"a":[{"ts":5,"values":{"t":1}},{"t":2}],"b":{"t":3}}"#;
        client.send(&publish(level, 1, 7, "v1/gateway/telemetry", payload)).await;
        client.expect(&[0x40, 2, 0, 7]).await;
        assert_eq!(store.submissions.lock().len(), 1);
        assert_eq!(devices(&store.entries()), [child_of("a"), child_of("b")]);
        let values: Vec<Value> = store.readings().into_iter().map(|one| one.2).collect();
        assert_eq!(values, [Value::Integer(1), Value::Integer(2), Value::Integer(3)]);
        // Both are connected through it, and are not when it is gone.
        assert_eq!(store.links.lock().len(), 3);
        client.leave().await;
        assert!(store.links.lock().is_empty());
    }
}

#[tokio::test]
async fn a_device_that_goes_while_it_speaks_is_looked_for_and_not_made_anew() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = gateway(&broker, 5).await;
    let payload = br#"{"a":{"t":1},"gone":{"t":2}}"#;
    client.send(&publish(5, 1, 7, "v1/gateway/telemetry", payload)).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    assert_eq!(devices(&store.entries()), [child_of("a"), child_of("gone")]);
    assert_eq!(store.links.lock().len(), 2, "the gateway and a");
}

#[tokio::test]
async fn each_name_is_refused_by_itself() {
    let payload = br#"{"foreign":{"t":1},"a":{"t":2}}"#;
    let part = "1 of 2 devices refused, the others are taken";
    let (five, store) = broker(IngestLimits::default());
    let mut told = gateway(&five, 5).await;
    told.send(&publish(5, 1, 7, "v1/gateway/telemetry", payload)).await;
    let answer = told.packet().await;
    assert_eq!((answer[0], answer[4]), (0x40, 0x87), "{answer:02x?}");
    assert!(String::from_utf8_lossy(&answer).contains(part), "{answer:02x?}");
    assert_eq!(devices(&store.entries()), [child_of("a")]);

    let (three, store) = broker(IngestLimits::default());
    let mut recorded = gateway(&three, 4).await;
    recorded.send(&publish(4, 1, 7, "v1/gateway/telemetry", payload)).await;
    recorded.expect(&[0x40, 2, 0, 7]).await;
    assert!(store.refusals()[0].contains(part), "{:?}", store.refusals());
    assert_eq!(store.readings().len(), 1);
}

/// What is told of the others has to be true: nothing is taken before it is durable.
#[tokio::test]
async fn a_message_that_is_refused_in_part_and_not_stored_is_not_called_taken() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = gateway(&broker, 5).await;
    *store.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
    let payload = br#"{"foreign":{"t":1},"a":{"t":2}}"#;
    client.send(&publish(5, 1, 7, "v1/gateway/telemetry", payload)).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer[4]), (0x40, 0x80), "{answer:02x?}");
    assert!(!String::from_utf8_lossy(&answer).contains("taken"), "{answer:02x?}");
    assert!(store.entries().is_empty());
}

#[tokio::test]
async fn what_cannot_be_decided_now_is_not_acknowledged() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = gateway(&broker, 4).await;
    client
        .send(&publish(4, 1, 7, "v1/gateway/telemetry", br#"{"a":{"t":1},"later":{"t":1}}"#))
        .await;
    assert!(client.rest().await.is_empty(), "closed without an acknowledgement");
    assert!(store.entries().is_empty());
}

#[tokio::test]
async fn downlinks_carry_the_devices_name() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = gateway(&broker, 4).await;
    client.send(&subscribe(4, 1, &[("v1/gateway/+", 0)])).await;
    client.expect(&[0x90, 3, 0, 1, 0]).await;
    let own = *store.links.lock().keys().next().expect("its own link");
    client.send(&publish(4, 1, 7, "v1/gateway/connect", br#"{"device":"a","type":"x"}"#)).await;
    client.expect(&[0x40, 2, 0, 7]).await;
    let links = store.links.lock().clone();
    let link = links.iter().find(|(id, _)| **id != own).expect("the device's").1.clone();
    let expected = |topic: &str, payload: &str| {
        packet(0x30, &[text(topic), payload.as_bytes().to_vec()].concat())
    };
    let key = Key::new("k").expect("a key");
    link.send(Downlink::AttributesUpdated(vec![(key, Value::Integer(3))])).expect("sent");
    client.expect(&expected("v1/gateway/attributes", r#"{"device":"a","data":{"k":3}}"#)).await;
    let request = RpcRequest { id: 4, method: "m".to_owned(), params: "[1]".to_owned() };
    link.send(Downlink::Rpc(request)).expect("sent");
    let payload = r#"{"device":"a","data":{"id":4,"method":"m","params":[1]}}"#;
    client.expect(&expected("v1/gateway/rpc", payload)).await;
    let reply = br#"{"device":"a","id":4,"data":{"ok":true}}"#;
    client.send(&publish(4, 1, 8, "v1/gateway/rpc", reply)).await;
    client.expect(&[0x40, 2, 0, 8]).await;
    assert_eq!(store.replies.lock()[0].body, r#"{"ok":true}"#);
    link.close(CloseReason::Revoked);
    let payload = r#"{"device":"a","reason":152}"#;
    client.expect(&expected("v1/gateway/disconnect", payload)).await;
    // The gateway's own connection goes on.
    client.send(&[0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    // What is over takes nothing more; named again the device is connected anew.
    let request = RpcRequest { id: 5, method: "m".to_owned(), params: "[1]".to_owned() };
    assert!(link.send(Downlink::Rpc(request)).is_err());
    client.send(&publish(4, 1, 9, "v1/gateway/connect", br#"{"device":"a"}"#)).await;
    client.expect(&[0x40, 2, 0, 9]).await;
    let links = store.links.lock();
    assert!(links.len() == 2 && !links.contains_key(&link.id()), "{links:?}");
}

/// A message of QoS 2 that is refused in part, and whose refusal gets lost, would be sent again and
/// stored twice.
#[tokio::test]
async fn a_message_of_the_highest_quality_is_refused_as_a_whole_or_on_record() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = gateway(&broker, 5).await;
    let payload = br#"{"foreign":{"t":1},"a":{"t":2}}"#;
    let message = publish(5, 2, 7, "v1/gateway/telemetry", payload);
    for _ in 0..2 {
        client.send(&message).await;
        client.expect(&[0x50, 2, 0, 7]).await;
    }
    assert_eq!(store.readings().len(), 1);
    assert!(store.refusals()[0].contains("1 of 2 devices refused"), "{:?}", store.refusals());
    let payload = br#"{"foreign":{"t":1}}"#;
    client.send(&publish(5, 2, 8, "v1/gateway/telemetry", payload)).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer[4]), (0x50, 0x87), "{answer:02x?}");
    assert_eq!(store.readings().len(), 1);
}

#[tokio::test]
async fn an_answer_that_fails_does_not_fail_what_others_have_said() {
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        *store.reply_failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
        let mut client = gateway(&broker, level).await;
        let readings = publish(level, 2, 7, "v1/gateway/telemetry", br#"{"a":{"t":1}}"#);
        let reply = br#"{"device":"a","id":4,"data":{"ok":true}}"#;
        let reply = publish(level, 2, 8, "v1/gateway/rpc", reply);
        client.send(&[readings, reply].concat()).await;
        client.expect(&[0x50, 2, 0, 7]).await;
        if level == 4 {
            assert!(client.rest().await.is_empty(), "the answer is not acknowledged");
        } else {
            let refused = client.packet().await;
            assert_eq!((refused[0], refused[4]), (0x50, 0x80), "{refused:02x?}");
            // Its id is free, and the other one's is not.
            *store.reply_failure.lock() = None;
            let again = publish(5, 2, 8, "v1/gateway/rpc", br#"{"device":"a","id":4,"data":1}"#);
            client.send(&again).await;
            client.expect(&[0x50, 2, 0, 8]).await;
            assert_eq!(store.replies.lock().len(), 1);
            client.send(&[0x62, 2, 0, 7]).await;
            client.expect(&[0x70, 2, 0, 7]).await;
        }
        assert_eq!(store.readings().len(), 1);
    }
}
