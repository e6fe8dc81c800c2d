//! What a connection sends little by little while something of it is on its way to the log.

use std::time::Duration;

use veritwin_domain::IngestLimits;

use crate::packets::publish;
use crate::platform::{TELEMETRY, broker, connected};

#[tokio::test(start_paused = true)]
async fn what_comes_before_an_answer_is_one_submission() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    let (gate, mut started) = (store.hold(), store.started.subscribe());
    client.send(&publish(4, 1, 1, TELEMETRY, br#"{"t":1}"#)).await;
    started.wait_for(|count| *count == 1).await.expect("started");
    for id in 2..=3 {
        client.send(&publish(4, 1, id, TELEMETRY, br#"{"t":2}"#)).await;
        // The paused clock stands still while somebody has something to do.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*started.borrow(), 1);
    }
    gate.add_permits(2);
    client.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]).await;
    let submissions = store.submissions.lock().len();
    assert_eq!((submissions, store.readings().len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let (broker, store) = broker(IngestLimits::default());
    let mut client = connected(&broker, 4).await;
    let (gate, begun) = (store.hold(), tokio::time::Instant::now());
    for id in 1..=4 {
        client.send(&publish(4, 1, id, TELEMETRY, br#"{"t":1}"#)).await;
        let mut started = store.started.subscribe();
        started.wait_for(|count| *count == usize::from(id)).await.expect("started");
    }
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    gate.add_permits(4);
    client.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3, 0x40, 2, 0, 4]).await;
}
