//! Every bound is refused by its name, and memory pressure is felt at the entrance.

use futures::FutureExt;
use veritwin_domain::{Reading, Timestamp, Value};
use veritwin_telemetry::{
    LatestSize, Order, QualityFilter, Question, RangeQuery, TelemetryError, TimeRange,
};

use crate::support::{DAY, History, Setup, TODAY, batch, device, reading, runtime, series, tenant};

const WHOLE: RangeQuery =
    RangeQuery { range: TimeRange::ALL, order: Order::Ascending, limit: 10, after: None };

fn limit_name(error: TelemetryError) -> &'static str {
    match error {
        TelemetryError::Limit { name, .. } | TelemetryError::Argument { name, .. } => name,
        other => panic!("not a limit: {other}"),
    }
}

#[test]
fn every_kind_of_answer_is_held_by_a_budget() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.query_memory_bytes_max = 4_000;
        let engine = setup.open().await;
        let mut history = History::default();
        let (n, text) = (series(0, 0, "n"), series(0, 0, "text"));
        let numbers = (0..90).map(|i| reading("n", TODAY + i * 1_000, Value::Integer(i)));
        let long = reading("text", TODAY, Value::Text("x".repeat(300).into()));
        history.commit(&engine, batch(0, 0, numbers.chain([long]).collect()));
        let name = "query_memory_bytes_max";

        let many = vec![text; 30];
        let as_of = Question::AsOf(Timestamp::from_micros(TODAY + DAY), QualityFilter::Any);
        let all = engine.ask_all(&many, &as_of, &engine.budget(tenant(0))).await;
        assert_eq!(limit_name(all.expect_err("long texts")), name);
        let first = engine.ask_many(&many, &as_of).await.expect("as many as fit").answers.len();
        assert!((1..30).contains(&first), "{first}");

        let budget = engine.budget(tenant(0));
        let line = || engine.triangles(&n, TimeRange::ALL, 60, QualityFilter::Any, &budget);
        assert_eq!(line().await.expect("one fits").len(), 60);
        assert_eq!(limit_name(line().await.expect_err("two do not")), name);

        let buckets = engine.buckets(&n, TimeRange::ALL, 1_000).await;
        assert_eq!(limit_name(buckets.expect_err("90 buckets")), name);
    });
}

#[test]
fn queries_name_the_bound_they_meet() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.query_points_max = 20;
        setup.limits.query_scan_points_max = 500;
        setup.limits.query_open_points_max = 250;
        let engine = setup.open().await;
        let mut history = History::default();
        let n = series(0, 0, "n");
        for round in 0..3 {
            let readings =
                (0..100).map(|i| reading("n", TODAY + i * 1000 + round, Value::Integer(i)));
            history.commit(&engine, batch(0, 0, readings.collect()));
            engine.flush().await.expect("flushes");
        }
        let refused = |limit| RangeQuery { limit, ..WHOLE };
        let error = engine.range(&n, refused(0)).await.expect_err("nothing is asked for");
        assert_eq!(limit_name(error), "limit");
        let error = engine.range(&n, refused(21)).await.expect_err("too many are asked for");
        assert_eq!(limit_name(error), "limit");
        let error = engine.buckets(&n, TimeRange::ALL, 0).await.expect_err("no width");
        assert_eq!(limit_name(error), "bucket width");
        let error = engine.stats(&n, TimeRange::ALL).await.expect_err("three overlap");
        assert_eq!(limit_name(error), "query_open_points_max");

        let late = |round: i64| {
            (0..100).map(move |i| reading("n", TODAY - round * DAY + i, Value::Integer(i)))
        };
        setup.limits.query_open_points_max = 1000;
        setup.limits.query_scan_points_max = 350;
        let engine = setup.open().await;
        history.replay(&engine);
        let error = engine.buckets(&n, TimeRange::ALL, 1).await.expect_err("too many buckets");
        assert_eq!(limit_name(error), "query_points_max");
        history.commit(&engine, batch(0, 0, late(1).collect()));
        let few = TimeRange { to: Timestamp::from_micros(TODAY - 1), ..TimeRange::ALL };
        assert_eq!(engine.stats(&n, few).await.expect("answers").count, 100);
        let error = engine.stats(&n, TimeRange::ALL).await.expect_err("too many points");
        assert_eq!(limit_name(error), "query_scan_points_max");
    });
}

#[test]
fn a_full_memory_table_holds_back_the_entrance_until_a_flush() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.memory_bytes_max = 1000;
        setup.limits.flush_bytes_min = 500;
        let engine = setup.open().await;
        let none: [&[Reading]; 0] = [];
        assert!(engine.room(tenant(0), &none).now_or_never().is_some());
        let readings = (0..100).map(|i| reading("n", TODAY + i, Value::Integer(i)));
        History::default().commit(&engine, batch(0, 0, readings.collect()));
        assert!(engine.status().memory_bytes >= 1000);
        assert!(engine.room(tenant(0), &none).now_or_never().is_none());
        let waiting = tokio::spawn({
            let engine = engine.clone();
            async move { drop(engine.room(tenant(0), &[]).await) }
        });
        tokio::task::yield_now().await;
        assert!(engine.maintain().await.expect("maintains").flushed);
        waiting.await.expect("room came free");
        assert_eq!(engine.status().memory_bytes, 0);
    });
}

#[test]
fn whoever_fills_the_memory_table_leaves_room_for_others() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.memory_bytes_max = 16_000;
        setup.limits.flush_bytes_min = 8_000;
        let engine = setup.open().await;
        let mut history = History::default();
        let some = |from: i64, count: i64| -> Vec<_> {
            (0..count).map(|i| reading("n", TODAY + from + i, Value::Integer(i))).collect()
        };
        // What is on its way counts as what is there.
        let parts = [some(0, 250), some(250, 250), some(500, 250)];
        let [first, second, third] = &parts;
        let rooms = parts.each_ref().map(|part| engine.try_room(tenant(0), &[part]).expect("room"));
        let refused = engine.try_room(tenant(0), &[&some(0, 1)]).err();
        let refused = refused.expect("three quarters are a tenant's");
        assert_eq!((refused.name, refused.actual), ("tenant_memory_bytes_max", 12_016));
        drop(engine.try_room(tenant(1), &[&some(0, 100)]).expect("there is room for others"));

        // Taken over by the table, and counted once; dropped, free again.
        history.commit(&engine, batch(0, 0, first.clone()));
        history.commit(&engine, batch(0, 0, second.clone()));
        let [one, two, dropped] = rooms;
        one.filled();
        two.filled();
        drop(dropped);
        assert_eq!(engine.status().memory_bytes, 8_000);
        let again = engine.try_room(tenant(0), &[third]).expect("what was dropped");
        history.commit(&engine, batch(0, 0, third.clone()));
        again.filled();
        assert!(engine.try_room(tenant(0), &[&some(0, 1)]).is_err());

        // Others share what is left, and there is always some for whoever has nothing.
        for number in 1..=2 {
            let part = some(0, 30);
            let room = engine.try_room(tenant(number), &[&part]).expect("room");
            history.commit(&engine, batch(number, 0, part));
            room.filled();
        }
        let greedy = engine.try_room(tenant(1), &[&some(0, 200)]).err().expect("more than a part");
        assert_eq!(greedy.name, "tenant_memory_bytes_max");
        drop(engine.try_room(tenant(5), &[&some(0, 100)]).expect("room"));

        let waiting = tokio::spawn({
            let engine = engine.clone();
            async move { drop(engine.room(tenant(0), &[&some(0, 100)]).await) }
        });
        tokio::task::yield_now().await;
        assert!(engine.maintain().await.expect("maintains").flushed);
        waiting.await.expect("room came free");
        assert_eq!(engine.status().memory_bytes, 0);
    });
}

#[test]
fn what_came_later_does_not_pass_what_waits_for_room() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.memory_bytes_max = 16_000;
        let engine = setup.open().await;
        let some = |count: i64| -> Vec<_> {
            (0..count).map(|i| reading("n", TODAY + i, Value::Integer(i))).collect()
        };
        let (large, small) = (some(300), some(1));
        let (large, small) = ([large.as_slice()], [small.as_slice()]);
        let held = engine.try_room(tenant(0), &[&some(687)]).expect("room");
        drop(engine.try_room(tenant(0), &small).expect("there would be room for it"));

        let mut first = std::pin::pin!(engine.room(tenant(0), &large));
        let mut second = std::pin::pin!(engine.room(tenant(0), &small));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none(), "behind the first");
        drop(engine.room(tenant(1), &small).now_or_never().expect("another's queue"));
        drop(held);
        assert!((&mut second).now_or_never().is_none(), "still behind the first");
        drop(first.now_or_never().expect("room came free"));
        drop(second.now_or_never().expect("the first has gone in"));

        // Whoever leaves the queue holds nobody up.
        let held = engine.try_room(tenant(0), &[&some(687)]).expect("room");
        {
            let gone = std::pin::pin!(engine.room(tenant(0), &large));
            assert!(gone.now_or_never().is_none());
        }
        drop(engine.room(tenant(0), &small).now_or_never().expect("nobody waits"));
        drop(held);
    });
}

#[test]
fn series_have_a_bound_and_whoever_begins_many_leaves_some_for_others() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.series_max = 16;
        let engine = setup.open().await;
        let mut history = History::default();
        let some = |from: i64, count: i64| -> Vec<_> {
            let one = |i: i64| reading(&format!("k{}", from + i), TODAY + i, Value::Integer(i));
            (0..count).map(one).collect()
        };
        let size = |series| LatestSize { series, bytes: 0 };
        assert!(engine.has_spare_latest(size(8)) && !engine.has_spare_latest(size(9)));
        let refused = |number: u8, more: usize| {
            let limit = engine.latest_room(tenant(number), size(more)).err()?;
            Some((limit.name, limit.max, limit.actual))
        };
        assert_eq!(refused(0, 12), None);
        assert_eq!(refused(0, 17), Some(("series_max", 16, 17)));
        history.commit(&engine, batch(0, 0, some(0, 6)));
        history.commit(&engine, batch(0, 1, some(0, 6)));
        history.commit(&engine, batch(0, 1, some(2, 4)));
        assert_eq!(engine.series_count(tenant(0)), 12);
        assert!(!engine.has_spare_latest(size(0)));
        assert_eq!(refused(0, 0), None, "what is there goes on");
        assert_eq!(refused(0, 1), Some(("tenant_series_max", 9, 13)));
        assert_eq!(refused(1, 4), None, "there are some for others");
        assert_eq!(refused(1, 5), Some(("series_max", 16, 17)));
        history.commit(&engine, batch(1, 0, some(0, 2)));
        assert_eq!(refused(1, 1), None);
        assert_eq!(refused(1, 2), Some(("tenant_series_max", 0, 4)));

        // Kept over a restart, out of segments and the log, and free again when a tenant is gone.
        engine.flush().await.expect("flushes");
        history.commit(&engine, batch(1, 1, some(0, 1)));
        drop(engine);
        let engine = setup.open().await;
        history.replay(&engine);
        assert_eq!([0, 1].map(|number| engine.series_count(tenant(number))), [12, 3]);
        assert!(engine.latest_room(tenant(2), size(2)).is_err());
        setup.keys.destroy_tenant(tenant(0)).expect("destroys");
        history.commit(&engine, batch(0, 0, some(0, 1)));
        engine.flush().await.expect("flushes");
        assert_eq!(engine.series_count(tenant(0)), 0);
        assert!(engine.latest_room(tenant(2), size(13)).is_ok());
    });
}

#[test]
fn a_large_directory_is_read_device_by_device() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        // Names of seven bytes: more than a megabyte of directory.
        for (number, front) in [(0, "a"), (1, "b")] {
            let one = |i: i64| reading(&format!("{front}{i:06}"), TODAY, Value::Integer(i));
            history.commit(&engine, batch(0, number, (0..60_000).map(one).collect()));
        }
        engine.flush().await.expect("flushes");
        drop(engine);
        let engine = setup.open().await;
        for _ in 0..2 {
            for (number, name, expect) in [(0, "a", 1), (1, "b", 1), (0, "b", 0), (1, "a", 0)] {
                let asked = series(0, number, &format!("{name}000077"));
                let stats = engine.stats(&asked, TimeRange::ALL).await.expect("answers");
                assert_eq!(stats.count, expect, "{name} of {number}");
            }
        }
        let last = series(0, 1, "b059999");
        let page = engine.range(&last, WHOLE).await.expect("answers");
        assert_eq!(page.points[0].value, Value::Integer(59_999));
    });
}

#[test]
fn texts_that_were_said_last_have_a_bound_too() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.latest_bytes_max = 1000;
        let engine = setup.open().await;
        let mut history = History::default();
        let text = |name: &str, bytes: usize| {
            vec![reading(name, TODAY + 1, Value::Text("x".repeat(bytes).into()))]
        };
        let grows = |number: u8, readings: &[Reading]| {
            let LatestSize { series, bytes } =
                engine.latest_growth(tenant(number), device(0), readings);
            (series, bytes)
        };
        let refused = |number: u8, readings: &[Reading]| {
            let more = engine.latest_growth(tenant(number), device(0), readings);
            Some(engine.latest_room(tenant(number), more).err()?.name)
        };
        assert_eq!(grows(0, &text("k", 99)), (1, 100), "a key of one letter and what it says");
        let twice = [text("k", 99), text("k", 49)].concat();
        assert_eq!(grows(0, &twice), (1, 100), "the longer one may be the last");
        history.commit(&engine, batch(0, 0, text("k", 599)));
        assert_eq!(grows(0, &text("k", 500)), (0, 0));
        assert_eq!(grows(0, &text("k", 700)), (0, 101));
        assert_eq!(grows(0, &[reading("k", TODAY, Value::Integer(1))]), (0, 0));
        assert_eq!(refused(0, &text("k", 500)), None);
        assert_eq!(refused(0, &text("m", 499)), Some("latest_bytes_max"));
        assert_eq!(refused(0, &text("m", 199)), Some("tenant_latest_bytes_max"));
        assert_eq!(refused(1, &text("m", 199)), None);

        // The same after a restart; a number takes no more than its key.
        engine.flush().await.expect("flushes");
        drop(engine);
        let engine = setup.open().await;
        let used = |bytes| engine.has_spare_latest(LatestSize { series: 0, bytes });
        assert!(!used(0), "600 of 1,000");
        history.commit(&engine, batch(0, 0, vec![reading("k", TODAY + 2, Value::Integer(1))]));
        assert!(used(499) && !used(500));
    });
}

#[test]
fn a_quiet_engine_flushes_by_age_and_writes_nothing_without_need() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        assert!(!engine.maintain().await.expect("maintains").flushed);
        assert_eq!(engine.flush().await.expect("nothing to do"), 0);
        assert_eq!(engine.status().manifest, 0);
        let readings = vec![reading("n", TODAY, Value::Boolean(true))];
        History::default().commit(&engine, batch(0, 0, readings));
        assert!(!engine.maintain().await.expect("maintains").flushed);
        setup.clock.advance(setup.limits.flush_age);
        assert!(engine.maintain().await.expect("maintains").flushed);
        assert_eq!(engine.status().manifest, 1);
    });
}

#[test]
fn long_series_are_cut_into_chunks_and_read_back() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.query_points_max = 30_000;
        let engine = setup.open().await;
        let readings = (0..20_000).flat_map(|i| {
            let value = 20.0 + f64::from(i % 40) / 10.0;
            [("a", value), ("b", -value)]
                .map(|(name, v)| reading(name, TODAY + i64::from(i) * 1_000_000, Value::Double(v)))
        });
        let mut history = History::default();
        history.commit(&engine, batch(0, 0, readings.collect()));
        engine.flush().await.expect("flushes");
        let status = engine.status();
        assert_eq!(status.section_points, 40_000);
        assert!(status.section_bytes < 40_000, "{} bytes for 40,000 points", status.section_bytes);
        let a = series(0, 0, "a");
        let page = engine.range(&a, RangeQuery { limit: 30_000, ..WHOLE }).await.expect("answers");
        assert_eq!(page.points.len(), 20_000);
        assert_eq!(page.points[12_345].value, Value::Double(20.0 + f64::from(12_345 % 40) / 10.0));
        let last = RangeQuery { order: Order::Descending, ..WHOLE };
        let page = engine.range(&a, last).await.expect("answers");
        assert_eq!(page.points[9].at.as_micros(), TODAY + 19_990 * 1_000_000);
        let hours = engine.buckets(&a, TimeRange::ALL, 3_600_000_000).await.expect("answers");
        let b = series(0, 0, "b");
        let many = engine.buckets_many(&[b, a.clone()], TimeRange::ALL, 3_600_000_000).await;
        let many = many.expect("answers");
        assert_eq!(many[1], hours);
        assert_eq!(many[0][5].min, hours[5].max.map(|max| -max));
        assert_eq!(hours.len(), 6);
        assert_eq!(hours[0].count, 3600);
        assert!(hours[0].avg().is_some_and(|avg| (avg - 21.95).abs() < 1e-9));
    });
}
