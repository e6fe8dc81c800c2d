//! The evaluator by example.

use veritwin_alerting::{
    Condition, Evaluator, EvaluatorError, EvaluatorLimits, Operator, Reason, Rule, Scope,
    SnapshotError,
};
use veritwin_domain::{DeviceId, Quality, Value};

use crate::fixture::{
    DEVICE, RULE, above, at, batch, device, evaluator, feed, key, over, reading, rule, short,
    silence,
};

/// Feeds (seconds, value) pairs and compares all transitions.
fn check(for_seconds: u32, readings: &[(i64, f64)], expect: &[(char, i64, u64)]) {
    let mut evaluator = evaluator(above(for_seconds));
    let mut found = Vec::new();
    for (position, (seconds, value)) in readings.iter().enumerate() {
        found.extend(feed(&mut evaluator, position as u64, *seconds, *value));
    }
    assert_eq!(short(&found), expect, "{readings:?}");
}

#[test]
fn thresholds_with_hysteresis_and_duration() {
    check(0, &[(1, 10.0), (2, 10.1), (3, 9.0), (4, 8.1), (5, 8.0)], &[('R', 2, 1), ('C', 5, 2)]);
    check(30, &[(1, 11.0), (20, 12.0), (31, 11.0)], &[('R', 31, 1)]);
    // A dip below the threshold starts the duration again.
    check(30, &[(1, 11.0), (20, 9.0), (31, 11.0), (60, 11.0), (61, 11.0)], &[('R', 61, 1)]);
    // Late data, older than what was seen, is ignored.
    check(0, &[(10, 5.0), (9, 50.0), (11, 5.0)], &[]);
}

/// The store keeps the last of equal times; so does the evaluator.
#[test]
fn of_equal_times_the_later_arrival_counts() {
    check(0, &[(10, 5.0), (10, 50.0)], &[('R', 10, 1)]);
    check(0, &[(10, 50.0), (10, 5.0)], &[('R', 10, 1), ('C', 10, 2)]);
    check(0, &[(10, 50.0), (10, 50.0), (10, 51.0)], &[('R', 10, 1)]);
    // What was not so does not last, and what is so lasts from its own time.
    check(30, &[(10, 50.0), (10, 5.0), (40, 50.0), (70, 50.0)], &[('R', 70, 1)]);
    check(30, &[(10, 5.0), (10, 50.0), (40, 50.0)], &[('R', 40, 1)]);
    // In one message.
    let of = |values: [f64; 2]| {
        let readings = values.map(|value| reading("t", 10, value)).to_vec();
        short(&evaluator(above(0)).apply(0, &batch(10, readings)))
    };
    assert_eq!(of([1.0, 99.0]), [('R', 10, 1)]);
    assert_eq!(of([99.0, 1.0]), [('R', 10, 1), ('C', 10, 2)]);
}

#[test]
fn every_operator_raises_and_clears_on_its_side() {
    let check = |operator: Operator, raising: f64, in_band: f64, clearing: f64| {
        let mut condition = above(0);
        if let Condition::Threshold { operator: own, .. } = &mut condition {
            *own = operator;
        }
        let mut evaluator = evaluator(condition);
        assert_eq!(short(&feed(&mut evaluator, 0, 1, raising)), [('R', 1, 1)], "{operator:?}");
        assert_eq!(short(&feed(&mut evaluator, 1, 2, in_band)), [], "{operator:?}");
        assert_eq!(short(&feed(&mut evaluator, 2, 3, clearing)), [('C', 3, 2)], "{operator:?}");
    };
    check(Operator::Greater, 10.5, 8.5, 8.0);
    check(Operator::GreaterOrEqual, 10.0, 8.0, 7.9);
    check(Operator::Less, 9.5, 11.5, 12.0);
    check(Operator::LessOrEqual, 10.0, 12.0, 12.1);
}

#[test]
fn a_value_that_is_not_followed_by_others_counts_on() {
    let mut evaluator = evaluator(above(60));
    assert_eq!(feed(&mut evaluator, 0, 5, 11.0), []);
    assert_eq!(evaluator.tick(at(64)), []);
    let raised = evaluator.tick(at(66));
    assert_eq!(short(&raised), [('R', 65, 1)]);
    assert_eq!((raised[0].since, raised[0].value), (at(5), Some(11.0)));
    // Not for a backlog that arrives an hour late: that is history.
    let mut evaluator = crate::fixture::evaluator(above(60));
    evaluator.apply(0, &batch(3_700, vec![reading("t", 5, 11.0)]));
    assert_eq!(evaluator.tick(at(9_000)), []);
    let late = evaluator.apply(1, &batch(9_001, vec![reading("t", 70, 11.0)]));
    assert!(late[0].late);
}

#[test]
fn unusable_values_are_ignored_and_doubts_are_told() {
    let mut evaluator = evaluator(above(0));
    let mut bad = reading("t", 1, 50.0);
    bad.quality = Quality::Bad;
    let mut text = reading("t", 2, 0.0);
    text.value = Value::Text("50".into());
    assert_eq!(evaluator.apply(0, &batch(2, vec![bad, text, reading("u", 2, 50.0)])), []);
    let mut doubted = reading("t", 3, 50.0);
    doubted.quality = Quality::Uncertain;
    let raised = evaluator.apply(1, &batch(3, vec![doubted]));
    assert_eq!(raised[0].quality, Quality::Uncertain);
}

#[test]
fn silence_counts_by_receive_time() {
    let mut evaluator = evaluator(silence(None));
    // It never sent anything: silence counts from its creation.
    assert_eq!(evaluator.tick(at(59)), []);
    let raised = evaluator.tick(at(61));
    assert_eq!(short(&raised), [('R', 60, 1)]);
    assert_eq!((raised[0].reason, raised[0].since), (Reason::Silence, at(0)));
    assert_eq!(evaluator.tick(at(500)), []);
    // Old data that arrives now ends the silence now.
    let cleared = evaluator.apply(0, &batch(510, vec![reading("any", 3, 1.0)]));
    assert_eq!(short(&cleared), [('C', 510, 2)]);
    assert_eq!(evaluator.tick(at(569)), []);
    assert_eq!(short(&evaluator.tick(at(570))), [('R', 570, 3)]);
    // A tick that steps back is ignored.
    assert_eq!(evaluator.tick(at(0)), []);
}

/// A replayed archive is no device that fell silent; once live, it may become one.
#[test]
fn whoever_only_handed_in_late_readings_is_not_silent() {
    const DAY: i64 = 86_400;
    let mut evaluator = evaluator(silence(None));
    let late = |received| batch(received, vec![reading("t", received - DAY, 1.0)]);
    assert_eq!(evaluator.apply(0, &late(10)), []);
    assert_eq!(evaluator.tick(at(500)), []);
    assert_eq!(evaluator.apply(1, &late(600)), []);
    assert_eq!(evaluator.tick(at(5_000)), []);
    // Neither a restart nor a changed rule forgets it.
    let bytes = evaluator.snapshot().unwrap();
    evaluator = Evaluator::new(EvaluatorLimits::default());
    evaluator.restore(&bytes).unwrap();
    evaluator.put_device(device(DEVICE), at(5_001)).unwrap();
    evaluator.put_rule(rule(silence(None)), at(5_001)).unwrap();
    let longer = Condition::NoData { key: None, after_seconds: 90 };
    evaluator.put_rule(rule(longer), at(5_002)).unwrap();
    assert_eq!(evaluator.tick(at(6_000)), []);
    // Live once, and from then on its silence counts; what is late does not end it.
    assert_eq!(feed(&mut evaluator, 2, 6_010, 1.0), []);
    assert_eq!(evaluator.apply(3, &late(6_050)), []);
    assert_eq!(short(&evaluator.tick(at(6_100))), [('R', 6_100, 1)]);
    assert_eq!(evaluator.apply(4, &late(6_200)), []);
    assert_eq!(evaluator.tick(at(6_300)), []);
    assert_eq!(short(&feed(&mut evaluator, 5, 6_310, 1.0)), [('C', 6_310, 2)]);
}

#[test]
fn silence_of_one_key_is_not_ended_by_another() {
    let mut evaluator = evaluator(silence(Some(key("t"))));
    assert_eq!(evaluator.apply(0, &batch(50, vec![reading("u", 50, 1.0)])), []);
    assert_eq!(short(&evaluator.tick(at(60))), [('R', 60, 1)]);
    assert_eq!(evaluator.apply(1, &batch(61, vec![reading("u", 61, 1.0)])), []);
    assert_eq!(short(&feed(&mut evaluator, 2, 62, 1.0)), [('C', 62, 2)]);
}

#[test]
fn the_platforms_own_absence_is_no_silence() {
    let mut evaluator = evaluator(silence(None));
    feed(&mut evaluator, 0, 10, 1.0);
    evaluator.resume(at(5_000));
    assert_eq!(evaluator.tick(at(5_059)), []);
    assert_eq!(short(&evaluator.tick(at(5_060))), [('R', 5_060, 1)]);
}

#[test]
fn changes_of_rules_and_devices_close_what_they_end() {
    let mut evaluator = evaluator(above(0));
    feed(&mut evaluator, 0, 1, 11.0);
    // A new name changes nothing.
    let mut renamed = rule(above(0));
    renamed.name = "Other".into();
    assert_eq!(evaluator.put_rule(renamed, at(2)), Ok(Vec::new()));
    // A condition that no longer holds does; the count goes on.
    let closed = evaluator.put_rule(rule(over(20.0, 30)), at(3)).unwrap();
    assert_eq!(short(&closed), [('C', 3, 2)]);
    assert_eq!(closed[0].reason, Reason::RuleChanged);
    // It holds again by a third: known, and raised at once.
    assert_eq!(short(&evaluator.put_rule(rule(above(0)), at(4)).unwrap()), [('R', 4, 3)]);
    // A scope that no longer covers the device.
    let mut elsewhere = rule(above(0));
    elsewhere.scope = Scope::DeviceType("boiler".into());
    assert_eq!(short(&evaluator.put_rule(elsewhere.clone(), at(6)).unwrap()), [('C', 6, 4)]);
    assert_eq!(feed(&mut evaluator, 2, 7, 11.0), []);
    // The device becomes one that it covers, and is removed.
    let mut boiler = device(DEVICE);
    boiler.device_type = "boiler".into();
    assert_eq!(evaluator.put_device(boiler, at(8)), Ok(Vec::new()));
    assert_eq!(short(&feed(&mut evaluator, 3, 9, 11.0)), [('R', 9, 5)]);
    let removed = evaluator.remove_device(DEVICE, at(10));
    assert_eq!((short(&removed), removed[0].reason), (vec![('C', 10, 6)], Reason::DeviceRemoved));
    assert_eq!(evaluator.remove_rule(RULE, at(11)), []);
}

#[test]
fn a_removed_device_takes_its_series_and_nobody_elses() {
    let mut evaluator = evaluator(above(0));
    let neighbour = DeviceId::from_bytes([0xff; 16]);
    evaluator.put_device(device(neighbour), at(0)).unwrap();
    for number in [0, 1, 0xff] {
        let id = veritwin_domain::RuleId::from_bytes([number; 16]);
        evaluator.put_rule(Rule { id, ..rule(above(0)) }, at(0)).unwrap();
    }
    feed(&mut evaluator, 0, 1, 11.0);
    let mut of_neighbour = batch(1, vec![reading("t", 1, 11.0)]);
    of_neighbour.device = neighbour;
    assert_eq!(evaluator.apply(1, &of_neighbour).len(), 4);
    for (device, seconds) in [(DEVICE, 2), (neighbour, 3)] {
        let cleared = evaluator.remove_device(device, at(seconds));
        assert_eq!(cleared.len(), 4, "under each rule");
        assert!(cleared.iter().all(|one| one.id.series.device == device));
        assert_eq!(evaluator.remove_device(device, at(seconds)), []);
    }
}

#[test]
fn bounds_are_named() {
    let limits =
        EvaluatorLimits { rules_max: 1, devices_max: 1, series_max: 1, ..Default::default() };
    let mut evaluator = Evaluator::new(limits);
    let other = DeviceId::from_bytes([9; 16]);
    evaluator.put_device(device(DEVICE), at(0)).unwrap();
    let limit = |name| EvaluatorError::Limit { name, max: 1 };
    assert_eq!(evaluator.put_device(device(other), at(0)), Err(limit("devices_max")));
    evaluator.put_rule(rule(above(0)), at(0)).unwrap();
    let mut second = rule(above(0));
    second.id = veritwin_domain::RuleId::from_bytes([8; 16]);
    assert_eq!(evaluator.put_rule(second, at(0)), Err(limit("rules_max")));
    feed(&mut evaluator, 0, 1, 1.0);
    evaluator.remove_device(DEVICE, at(2));
    assert_eq!(evaluator.unwatched_count(), 0);
}

#[test]
fn snapshots_of_other_versions_are_refused() {
    let mut evaluator = Evaluator::new(EvaluatorLimits::default());
    assert!(matches!(evaluator.restore(b"{\"v\":2}"), Err(SnapshotError::Version(2))));
    assert!(matches!(evaluator.restore(b"x"), Err(SnapshotError::Format(_))));
}
