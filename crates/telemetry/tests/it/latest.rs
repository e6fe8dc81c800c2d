//! Readings from the future: stored, and not the latest until their time comes.

use veritwin_domain::{Timestamp, Value};
use veritwin_telemetry::{Engine, LATEST_AHEAD_MAX, Stats, TimeRange};

use crate::support::{
    DAY, HOUR_MICROS, History, Setup, TODAY, batch, device, reading, runtime, series, tenant,
};

const NOW: i64 = TODAY + DAY / 2;

async fn latest(engine: &Engine) -> Vec<(String, i64)> {
    let latest = engine.latest(tenant(0), device(0), None).await.expect("answers");
    latest.into_iter().map(|one| (one.key.to_string(), one.at.as_micros())).collect()
}

async fn check(engine: &Engine, expect: &[(&str, i64)], what: &str) {
    let expect: Vec<(String, i64)> =
        expect.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect();
    assert_eq!(latest(engine).await, expect, "{what}");
}

#[test]
fn a_reading_from_the_future_waits_for_its_time() {
    runtime().block_on(async {
        let setup = Setup::new();
        let mut engine = setup.open().await;
        let mut history = History::default();
        let bound = i64::try_from(LATEST_AHEAD_MAX.as_micros()).expect("in range");
        let mut send = |engine: &Engine, key: &'static str, at: i64| {
            let sent = vec![reading(key, at, Value::Integer(at))];
            history.commit(engine, batch(0, 0, sent));
        };
        send(&engine, "a", NOW - 1);
        send(&engine, "a", NOW + HOUR_MICROS);
        send(&engine, "b", NOW + bound);
        send(&engine, "c", NOW + bound + 1);
        check(&engine, &[("a", NOW - 1), ("b", NOW + bound)], "at the bound and past it").await;
        send(&engine, "a", NOW);
        check(&engine, &[("a", NOW), ("b", NOW + bound)], "the right ones go on").await;
        let keys = engine.keys(tenant(0), device(0)).expect("keys");
        assert_eq!(keys.len(), 3, "a series that only has a future is there");
        let Stats { count, .. } =
            engine.stats(&series(0, 0, "a"), TimeRange::ALL).await.expect("answers");
        assert_eq!(count, 3, "nothing is thrown away");

        engine.flush().await.expect("flushes");
        drop(engine);
        engine = setup.open().await;
        check(&engine, &[("a", NOW), ("b", NOW + bound)], "after a restart").await;
        setup.advance(1);
        let due = [("a", NOW), ("b", NOW + bound), ("c", NOW + bound + 1)];
        check(&engine, &due, "a microsecond later").await;
        setup.advance(HOUR_MICROS);
        let due = [("a", NOW + HOUR_MICROS), ("b", NOW + bound), ("c", NOW + bound + 1)];
        check(&engine, &due, "its time has come").await;
        let keys = [crate::support::key("a"), crate::support::key("a")];
        let named = engine.latest(tenant(0), device(0), Some(&keys)).await.expect("answers");
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].at, Timestamp::from_micros(NOW + HOUR_MICROS));
    });
}
