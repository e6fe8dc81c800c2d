//! Messages that wait for their decoder: what they become, their order, what is refused, and what
//! is not acknowledged.

use std::sync::Arc;

use async_trait::async_trait;
use veritwin_domain::{IngestLimits, Value};
use veritwin_ingest::{DecodeError, Decoding, RawPayload};

use crate::platform::{Client, TELEMETRY, broker, connect, publish};

/// Gives the first byte as a reading; 255 it refuses, 254 it cannot decode now, and JSON is as it
/// came.
pub(crate) struct FirstByte;

#[async_trait]
impl Decoding for FirstByte {
    fn is_on(&self) -> bool {
        true
    }

    fn wants(&self, topic: &str, _: Option<&str>, _: &[u8]) -> bool {
        topic == TELEMETRY || topic.starts_with("up/")
    }

    async fn decode(&self, raw: RawPayload) -> Result<Option<String>, DecodeError> {
        // Others are polled meanwhile.
        tokio::task::yield_now().await;
        match raw.bytes.first() {
            Some(255) => Err(DecodeError::Refused {
                detail: "line 1, column 2: no".to_owned(),
                line: Some(1),
                column: Some(2),
            }),
            Some(254) => Err(DecodeError::Unavailable("later".to_owned())),
            Some(b'{') | None => Ok(None),
            Some(byte) => Ok(Some(format!(r#"[{{"n":{byte}}}]"#))),
        }
    }
}

async fn decoding(level: u8) -> (Client, Arc<crate::platform::Store>) {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = Client::open(&broker);
    client.send(&connect(level, 2, "c1", "bytes")).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
    (client, store)
}

fn numbers(store: &crate::platform::Store) -> Vec<i64> {
    let number = |value: Value| match value {
        Value::Integer(number) => number,
        other => panic!("{other:?}"),
    };
    store.readings().into_iter().map(|(_, _, value)| number(value)).collect()
}

#[tokio::test]
async fn messages_stay_in_their_order_and_a_refused_one_is_told() {
    let (mut client, store) = decoding(5).await;
    let payloads: [&[u8]; 5] = [&[1], &[255], br#"{"n":2}"#, &[3], b"x"];
    let mut all = Vec::new();
    for (id, payload) in (1..).zip(payloads) {
        all.extend(publish(5, 1, id, TELEMETRY, payload));
    }
    client.send(&all).await;
    client.expect(&[0x40, 2, 0, 1]).await;
    let refused = client.packet().await;
    assert_eq!((refused[0], &refused[2..5]), (0x40, &[0, 2, 0x99][..]), "{refused:02x?}");
    let text = String::from_utf8_lossy(&refused);
    assert!(text.contains("decoder: line 1, column 2: no"), "{text}");
    client.expect(&[0x40, 2, 0, 3, 0x40, 2, 0, 4, 0x40, 2, 0, 5]).await;
    assert_eq!(numbers(&store), [1, 2, 3, i64::from(b'x')]);
    client.leave().await;
}

#[tokio::test]
async fn a_version_without_a_word_for_it_has_a_record() {
    let (mut client, store) = decoding(4).await;
    let mut all = publish(4, 1, 1, TELEMETRY, &[255]);
    all.extend(publish(4, 1, 2, "up/a", &[7]));
    client.send(&all).await;
    client.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]).await;
    assert_eq!(store.refusals(), ["decoder: line 1, column 2: no"]);
    assert_eq!(numbers(&store), [7]);
    client.leave().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_now_is_not_acknowledged() {
    let (mut client, store) = decoding(4).await;
    let mut all = publish(4, 1, 1, TELEMETRY, &[1]);
    all.extend(publish(4, 1, 2, TELEMETRY, &[254]));
    all.extend(publish(4, 1, 3, TELEMETRY, &[2]));
    client.send(&all).await;
    assert_eq!(client.rest().await, [0x40, 2, 0, 1]);
    assert_eq!(numbers(&store), [1]);
}
