//! What a restart meets that nobody planned: clients that are back before anybody has looked at
//! their wills, and a clock that stands elsewhere.

use std::sync::Arc;

use veritwin_domain::{ManualClock, Timestamp};

use crate::mqtt_kept::{Journal, message, nothing_waits, open, park, tell};
use crate::platform::{CREDENTIAL, Client, DEVICE, Door, NOW_MICROS, TENANT, packet, text};

#[tokio::test]
async fn the_will_of_a_client_that_is_back_first_is_not_published() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut hello = text("MQTT");
    hello.extend_from_slice(&[4, 0x8c, 0, 60]);
    hello.extend([text("c3"), text("plant/b"), text("gone"), text("other")].concat());
    let mortal = packet(0x10, &hello);
    let mut client = Client::open(&broker);
    client.send(&mortal).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    nothing_waits(&mut client).await;
    let clock = || Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS)));
    let (broker, wills) = journal.restore(Arc::new(Door), clock(), |_| false);
    // It is back before anybody has looked at its will, which has no delay.
    let mut client = Client::open(&broker);
    client.send(&mortal).await;
    client.expect(&[0x20, 2, 1, 0]).await;
    nothing_waits(&mut client).await;
    assert_eq!(wills.len(), 1);
    for will in wills {
        will.publish().await;
    }
    assert_eq!(journal.relayed(), 0);
    // That of its new connection is another one.
    let (_broker, wills) = journal.restore(Arc::new(Door), clock(), |_| false);
    for will in wills {
        will.publish().await;
    }
    assert_eq!(journal.relayed(), 1);
}

/// What is there when the platform starts again with its clock elsewhere.
async fn check_clock(moved_seconds: i64, present: u8) {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 1, &["one"]).await;
    broker.flush_sessions().await;
    let now = NOW_MICROS + moved_seconds * 1_000_000;
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(now)));
    let broker = journal.start_with(Arc::new(Door), clock, |_| false);
    let mut client = open(&broker, "c1", "token", present).await;
    if present == 1 {
        message(&mut client, 0x3a, "one").await;
    }
    nothing_waits(&mut client).await;
}

#[tokio::test]
async fn a_clock_that_jumps_ends_sessions_early_by_no_more_than_it_jumped() {
    // A session lasts a day.
    check_clock(0, 1).await;
    check_clock(86_000, 1).await;
    check_clock(86_400, 0).await;
    // Set back, it takes nothing away.
    check_clock(-86_400, 1).await;
    check_clock(-10 * 365 * 86_400, 1).await;
}

#[tokio::test]
async fn whose_sessions_are_kept_is_known_after_a_restart() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    assert!(broker.owners_of_kept().is_empty());
    park(&broker).await;
    tell(&broker, 1, &["one"]).await;
    // The session of who only published ended with its connection.
    let broker = journal.start();
    assert_eq!(broker.owners_of_kept(), [(TENANT, DEVICE, CREDENTIAL)]);
    broker.end_sessions_of(TENANT, DEVICE, Some(CREDENTIAL));
    assert!(broker.owners_of_kept().is_empty());
    broker.flush_sessions().await;
    let broker = journal.start();
    assert!(broker.owners_of_kept().is_empty(), "for good");
}
