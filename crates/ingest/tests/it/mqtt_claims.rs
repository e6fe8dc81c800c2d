//! Devices that let themselves be claimed, over MQTT, and gateways that ask it for them.

use std::time::Duration;

use veritwin_domain::IngestLimits;

use crate::platform::{Client, broker, connect, publish};

#[tokio::test]
async fn a_device_lets_itself_be_claimed_and_is_told_why_not() {
    let topic = "v1/devices/me/claim";
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = Client::open(&broker);
        client.send(&connect(level, 2, "c1", "token")).await;
        client.packet().await;
        let payload = br#"{"secretKey":"a secret","durationMs":60000}"#;
        client.send(&publish(level, 1, 7, topic, payload)).await;
        client.expect(&[0x40, 2, 0, 7]).await;
        client.send(&publish(level, 1, 8, topic, b"")).await;
        client.expect(&[0x40, 2, 0, 8]).await;
        let millis = Some(Duration::from_millis(60_000));
        let claims = store.claims.lock().clone();
        assert_eq!(claims, [("a secret".to_owned(), millis), (String::new(), None)]);
        // Its acknowledgement says it, or where that cannot a record; the connection stays.
        for (payload, code, part) in [
            (&br#"{"secretKey":"refused"}"#[..], 0x87, "not this one"),
            (&b"7"[..], 0x99, "secretKey (text)"),
        ] {
            client.send(&publish(level, 1, 9, topic, payload)).await;
            let answer = client.packet().await;
            if level == 5 {
                // A long text takes two bytes of length.
                let at = 4 + usize::from(answer[1] >= 0x80);
                assert_eq!((answer[0], answer[at]), (0x40, code), "{answer:02x?}");
                assert!(String::from_utf8_lossy(&answer).contains(part), "{answer:02x?}");
            } else {
                assert_eq!(answer, [0x40, 2, 0, 9]);
                let refusals = store.refusals();
                assert!(refusals.last().is_some_and(|one| one.contains(part)), "{refusals:?}");
            }
        }
        assert!(store.readings().is_empty());
    }
}

#[tokio::test]
async fn a_gateway_asks_for_devices_behind_it_and_each_is_refused_by_itself() {
    let topic = "v1/gateway/claim";
    for level in [4, 5] {
        let (broker, store) = broker(IngestLimits::default());
        let mut client = Client::open(&broker);
        client.send(&connect(level, 2, "g1", "gateway")).await;
        client.packet().await;
        let payload = br#"{"a":{"secretKey":"a secret","durationMs":60000},"b":{}}"#;
        client.send(&publish(level, 1, 7, topic, payload)).await;
        client.expect(&[0x40, 2, 0, 7]).await;
        let millis = Some(Duration::from_millis(60_000));
        let asked = [("a secret".to_owned(), millis), (String::new(), None)];
        assert_eq!(*store.claims.lock(), asked);
        for (payload, code, part) in [
            (
                &br#"{"a":{"secretKey":"refused"},"b":{}}"#[..],
                0x87,
                "1 of 2 devices refused, the others may be claimed: not allowed: not this one",
            ),
            (&br#"{"foreign":{},"b":{}}"#[..], 0x87, "1 of 2 devices refused"),
            (&br#"{"a":7}"#[..], 0x99, "devices' names"),
        ] {
            client.send(&publish(level, 1, 9, topic, payload)).await;
            let answer = client.packet().await;
            if level == 5 {
                let at = 4 + usize::from(answer[1] >= 0x80);
                assert_eq!((answer[0], answer[at]), (0x40, code), "{answer:02x?}");
                assert!(String::from_utf8_lossy(&answer).contains(part), "{answer:02x?}");
            } else {
                assert_eq!(answer, [0x40, 2, 0, 9]);
                let refusals = store.refusals();
                assert!(refusals.last().is_some_and(|one| one.contains(part)), "{refusals:?}");
            }
        }
        // Those beside the ones that were refused wait.
        assert_eq!(store.claims.lock().len(), 4);
        // It is no gateway's.
        let mut device = Client::open(&broker);
        device.send(&connect(5, 2, "c1", "token")).await;
        device.packet().await;
        device.send(&publish(5, 1, 3, topic, payload)).await;
        let answer = device.packet().await;
        assert!(String::from_utf8_lossy(&answer).contains("for gateways"), "{answer:02x?}");
        assert_eq!(store.claims.lock().len(), 4);
    }
}
