//! Readings at their end: their days' keys are destroyed and they are gone, across an opening too;
//! held days, other tenants and what is younger stay.

use veritwin_domain::Value;
use veritwin_telemetry::{Engine, Expired, Expiry, TimeRange};

use crate::support::{
    DAY, History, Setup, TODAY, batch, objects, reading, runtime, series, tenant,
};

fn expiry(held: Vec<(i64, i64)>) -> Expiry {
    Expiry { tenant: tenant(0), first_day: TODAY / DAY - 30, held }
}

fn days_ago(tenant_number: u8, days: &[i64]) -> veritwin_domain::DeviceBatch {
    let one = |day: &i64| reading("n", TODAY - day * DAY, Value::Integer(*day));
    batch(tenant_number, 0, days.iter().map(one).collect())
}

async fn count(engine: &Engine, tenant_number: u8) -> u64 {
    let stats = engine.stats(&series(tenant_number, 0, "n"), TimeRange::ALL).await;
    stats.expect("answers").count
}

fn destroyed(setup: &Setup) -> usize {
    setup.keys.status(Some(tenant(0))).expect("its keys").destroyed_count
}

#[test]
fn readings_end_by_whole_days_with_their_keys() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.flush_windows_max = 3;
        let engine = setup.open().await;
        let mut history = History::default();
        history.commit(&engine, days_ago(0, &[40, 31]));
        history.commit(&engine, days_ago(1, &[40]));
        engine.flush().await.expect("flushes");
        history.commit(&engine, days_ago(0, &[30, 29]));
        engine.flush().await.expect("flushes");
        // More days than a flush has windows for: one overlay.
        history.commit(&engine, days_ago(0, &[50, 49, 48, 47]));
        engine.flush().await.expect("flushes");
        // Still in memory.
        history.commit(&engine, days_ago(0, &[60]));
        assert_eq!((count(&engine, 0).await, count(&engine, 1).await), (9, 1));

        let held = vec![(TODAY / DAY - 35, TODAY / DAY - 31)];
        let due = engine.expiring(&expiry(held.clone()));
        assert_eq!((due.sections, due.points, due.held_sections), (2, 5, 1));
        assert_eq!(engine.expiring(&expiry(Vec::new())).sections, 3);
        assert_eq!((count(&engine, 0).await, destroyed(&setup)), (9, 0), "only looked at");

        let done = engine.expire(&[expiry(held.clone())]).await.expect("expires");
        assert_eq!(done[&tenant(0)], due);
        assert_eq!((count(&engine, 0).await, count(&engine, 1).await), (4, 1));
        assert_eq!(destroyed(&setup), 1, "the key of the one day; the overlay's goes on");
        let manifest = engine.status().manifest;
        assert!(engine.expire(&[expiry(held)]).await.expect("nothing to do").is_empty());
        assert_eq!(engine.status().manifest, manifest);
        drop(engine);

        let engine = setup.open().await;
        history.replay(&engine);
        assert_eq!((count(&engine, 0).await, count(&engine, 1).await), (4, 1));
        engine.flush().await.expect("flushes");
        // A backfill of a day whose key is gone is taken, and ends with the next run.
        history.commit(&engine, days_ago(0, &[40]));
        let soon = |held| engine.expiring_soon(&expiry(held)).points;
        let sealed = engine.expiring(&expiry(Vec::new())).points;
        assert_eq!(soon(Vec::new()), sealed + 1, "what waits in memory is counted");
        let day = TODAY / DAY - 40;
        let sealed = engine.expiring(&expiry(vec![(day, day)])).points;
        assert_eq!(soon(vec![(day, day)]), sealed, "but not what is held");
        engine.flush().await.expect("flushes");
        assert_eq!(count(&engine, 0).await, 5);
        let done = engine.expire(&[expiry(Vec::new())]).await.expect("expires");
        let Expired { sections, points, held_sections, .. } = done[&tenant(0)];
        assert_eq!((sections, points, held_sections), (3, 3, 0));
        assert_eq!((count(&engine, 0).await, count(&engine, 1).await), (2, 1));
        let stored = objects(&setup.store).await;
        engine.maintain().await.expect("maintains");
        assert!(objects(&setup.store).await.len() <= stored.len());
        assert_eq!((count(&engine, 0).await, count(&engine, 1).await), (2, 1));
    });
}
