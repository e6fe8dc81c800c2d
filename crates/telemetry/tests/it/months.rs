//! Days of months that are over are merged under the month's key; months end by days where readings
//! end; hourly figures stay when readings are gone.

use std::collections::HashSet;

use veritwin_domain::{Timestamp, Value};
use veritwin_keys::{DataClass, Epoch};
use veritwin_telemetry::{Engine, Expiry, FIGURES_MICROS, TimeRange};

use crate::support::{
    DAY, HOUR_MICROS, History, Setup, TODAY, batch, reading, runtime, series, tenant,
};

/// Days of readings that end with the 20th of December 2025, four in each.
const DAYS: i64 = 10;
const LAST: i64 = TODAY - 42 * DAY;

async fn fill(setup: &Setup) -> Engine {
    let engine = setup.open().await;
    let mut history = History::default();
    for day in 0..DAYS {
        let at = |part: i64| LAST - day * DAY + part * 6 * HOUR_MICROS;
        let rows = (0..4).map(|part| reading("n", at(part), Value::Integer(day))).collect();
        history.commit(&engine, batch(0, 0, rows));
        engine.flush().await.expect("flushes");
    }
    engine
}

async fn count(engine: &Engine) -> u64 {
    engine.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers").count
}

fn epochs(setup: &Setup) -> (usize, usize) {
    let keys = setup.keys.list(Some(tenant(0)));
    let own = || keys.iter().filter(|one| one.scope.class == DataClass::Segment);
    let days = own().filter(|one| matches!(one.scope.epoch, Epoch::Day(_))).count();
    (days, own().filter(|one| matches!(one.scope.epoch, Epoch::Month(_))).count())
}

#[test]
fn days_become_a_month_and_their_keys_go_later() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = fill(&setup).await;
        engine.maintain().await.expect("maintains");
        assert_eq!(engine.status().sections, 10, "nobody has said whose readings end by days");
        engine.keep_by_days(HashSet::from([tenant(0)]));
        engine.maintain().await.expect("maintains");
        assert_eq!(engine.status().sections, 10);
        engine.keep_by_days(HashSet::new());
        engine.maintain().await.expect("maintains");
        assert_eq!((engine.status().sections, count(&engine).await), (1, 40));
        assert_eq!(epochs(&setup), (10, 1), "backups of before need the days' keys");
        let now = setup.keys.retired_before(Timestamp::MAX);
        assert_eq!(now.len(), 10);
        assert_eq!(engine.destroy_superseded(Timestamp::MIN).await.expect("none"), 0);
        assert_eq!(engine.destroy_superseded(Timestamp::MAX).await.expect("destroys"), 10);
        assert_eq!((epochs(&setup), count(&engine).await), ((0, 1), 40));
        drop(engine);
        let engine = setup.open().await;
        assert_eq!(count(&engine).await, 40);
        // Late data gets a key of its day again.
        let late = vec![reading("n", LAST + 1, Value::Integer(1))];
        let mut history = History::default();
        (0..engine.persisted_position()).for_each(|_| history.skip());
        history.commit(&engine, batch(0, 0, late));
        engine.flush().await.expect("flushes");
        assert_eq!((epochs(&setup), count(&engine).await), ((1, 1), 41));
    });
}

#[test]
fn a_month_ends_by_days_too() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = fill(&setup).await;
        engine.keep_by_days(HashSet::new());
        engine.maintain().await.expect("maintains");
        let last = LAST / DAY;
        let expiry =
            |kept: i64, held| Expiry { tenant: tenant(0), first_day: last - kept + 1, held };
        let held = vec![(last - 9, last - 9)];
        assert!(engine.expiring(&expiry(4, held.clone())).is_empty(), "it waits for the hold");
        assert_eq!(engine.expiring(&expiry(4, Vec::new())).cut_sections, 1);
        let done = engine.expire(&[expiry(4, Vec::new())]).await.expect("expires");
        assert_eq!((done[&tenant(0)].points, count(&engine).await), (24, 16));
        assert!(engine.expiring(&expiry(4, Vec::new())).is_empty());
        assert_eq!(epochs(&setup).1, 1, "the old key is destroyed");
        let done = engine.expire(&[expiry(0, Vec::new())]).await.expect("expires");
        assert_eq!((done[&tenant(0)].points, count(&engine).await), (16, 0));
        assert_eq!(epochs(&setup).1, 0);
    });
}

#[test]
fn figures_stay_when_readings_are_gone() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = fill(&setup).await;
        let first_day = LAST / DAY - 3;
        let expiry = Expiry { tenant: tenant(0), first_day, held: Vec::new() };
        let one = series(0, 0, "n");
        let figures = |engine: Engine| async move {
            engine.figures(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers")
        };
        assert!(figures(engine.clone()).await.is_empty());
        assert_eq!(engine.keep_figures(&expiry).await.expect("kept"), 24);
        assert_eq!(engine.keep_figures(&expiry).await.expect("kept"), 0, "once for each hour");
        engine.expire(std::slice::from_ref(&expiry)).await.expect("expires");
        assert_eq!(count(&engine).await, 16, "figures are no readings");
        let kept = figures(engine.clone()).await;
        assert_eq!(kept.len(), 24);
        assert!(kept.iter().all(|hour| hour.at.as_micros() % FIGURES_MICROS == 0));
        assert_eq!((kept[0].count, kept[0].avg()), (1, Some(9.0)));
        let budget = engine.budget(tenant(0));
        let all = |width: i64| engine.buckets_with_figures(&one, TimeRange::ALL, width, &budget);
        let days = all(DAY).await.expect("answers");
        assert_eq!(days.len(), 10);
        assert!(days.iter().all(|day| day.count == 4), "{days:?}");
        let whole = all(365 * DAY).await.expect("answers");
        assert_eq!(whole.iter().map(|year| year.count).sum::<u64>(), 40);
        assert_eq!(all(HOUR_MICROS / 2).await.expect("answers").len(), 16, "figures are by hours");
        drop(engine);
        let engine = setup.open().await;
        assert_eq!(figures(engine.clone()).await, kept);
        let early = Expiry { first_day: LAST / DAY - 30, ..expiry.clone() };
        assert_eq!(engine.expire_figures(&early).await.expect("none yet"), 0);
        assert_eq!(engine.expire_figures(&expiry).await.expect("ends"), 1);
        assert!(figures(engine).await.is_empty());
    });
}
