//! What stands when a rule is made, changed or enabled again.

use std::sync::Arc;

use veritwin_alerting::{
    Condition, Evaluator, EvaluatorLimits, Present, Reason, Rule, Scope, SeriesId, Transition,
};
use veritwin_domain::{Quality, RuleId};

use crate::fixture::{
    DEVICE, RULE, above, at, batch, device, evaluator, feed, key, over, reading, rule, short,
    silence,
};

const DAY: i64 = 86_400;

/// A value measured and received at these seconds.
fn known(measured: i64, received: i64, value: f64) -> Present {
    let value = Some((value, Quality::Good));
    Present { at: at(measured), received_at: at(received), value }
}

/// Puts a rule and answers what is asked with the same value for every series.
fn put(evaluator: &mut Evaluator, rule: Rule, now: i64, present: Present) -> Vec<Transition> {
    let mut transitions = evaluator.put_rule(rule, at(now)).unwrap();
    for id in evaluator.take_unjudged() {
        transitions.extend(evaluator.present(&id, present, at(now)));
    }
    transitions
}

fn fresh() -> Evaluator {
    let mut evaluator = Evaluator::new(EvaluatorLimits::default());
    evaluator.put_device(device(DEVICE), at(0)).unwrap();
    evaluator
}

fn restarted(evaluator: &Evaluator, rule: Rule, now: i64) -> (Evaluator, Vec<Transition>) {
    let bytes = evaluator.snapshot().unwrap();
    let mut again = Evaluator::new(EvaluatorLimits::default());
    again.restore(&bytes).unwrap();
    again.put_device(device(DEVICE), at(now)).unwrap();
    let transitions = again.put_rule(rule, at(now)).unwrap();
    (again, transitions)
}

#[test]
fn a_rule_that_is_made_judges_the_value_that_stands() {
    // (for_seconds, measured, received, value) known at 1000, and the transitions by 2000.
    let check = |for_seconds, (measured, received, value), expect: &[(char, i64, u64)]| {
        let mut evaluator = fresh();
        let present = known(measured, received, value);
        let mut found = put(&mut evaluator, rule(above(for_seconds)), 1_000, present);
        evaluator.tick(at(1_000)).into_iter().for_each(|made| found.push(made));
        for now in (1_001..2_000).step_by(10) {
            found.extend(evaluator.tick(at(now)));
        }
        assert_eq!(short(&found), expect, "{for_seconds} {measured} {received} {value}");
    };
    check(0, (990, 990, 11.0), &[('R', 1_000, 1)]);
    check(0, (990, 990, 10.0), &[]);
    // It counts from when the value came.
    check(600, (990, 990, 11.0), &[('R', 1_590, 1)]);
    check(600, (100, 100, 11.0), &[('R', 1_000, 1)]);
    check(0, (-DAY, -DAY, 11.0), &[('R', 1_000, 1)]);
    // Out of an archive: recorded as of then, and never made news by time.
    check(0, (-DAY, 900, 11.0), &[('R', -DAY, 1)]);
    check(600, (-DAY, 900, 11.0), &[]);
    let mut evaluator = fresh();
    let raised = put(&mut evaluator, rule(above(0)), 1_000, known(990, 990, 11.0));
    assert_eq!((raised[0].since, raised[0].value, raised[0].late), (at(990), Some(11.0), false));
    // The reading itself may still be on its way through the log.
    assert_eq!(feed(&mut evaluator, 0, 990, 11.0), []);
    assert_eq!(short(&feed(&mut evaluator, 1, 1_001, 8.0)), [('C', 1_001, 2)]);
}

#[test]
fn nothing_is_made_of_what_cannot_be_judged() {
    let mut evaluator = fresh();
    let unusable = Present { value: None, ..known(990, 990, 0.0) };
    assert_eq!(put(&mut evaluator, rule(above(0)), 1_000, unusable), []);
    let mut evaluator = fresh();
    let bad = Present { value: Some((50.0, Quality::Bad)), ..unusable };
    assert_eq!(put(&mut evaluator, rule(above(0)), 1_000, bad), []);
}

#[test]
fn a_changed_rule_keeps_the_alert_that_still_holds() {
    // A value over 10, then the rule's next form: what becomes of the alert.
    let check = |value, next: Condition, expect: &[(char, i64, u64)]| {
        let mut evaluator = evaluator(above(0));
        assert_eq!(short(&feed(&mut evaluator, 0, 1, value)), [('R', 1, 1)]);
        let changed = put(&mut evaluator, rule(next.clone()), 5, known(1, 1, value));
        assert_eq!(short(&changed), expect, "{value} {next:?}");
        assert_eq!(evaluator.tick(at(6)), []);
        // Nor does a restart make anything of it, or of the same change found only then.
        assert_eq!(restarted(&evaluator, rule(next.clone()), 7).1, []);
        let mut before = crate::fixture::evaluator(above(0));
        feed(&mut before, 0, 1, value);
        assert_eq!(short(&restarted(&before, rule(next), 5).1), expect);
    };
    check(20.0, over(15.0, 0), &[]);
    check(20.0, over(15.0, 600), &[]);
    check(20.0, over(20.0, 0), &[('C', 5, 2)]);
    // Below the new line but within its hysteresis: it never was above that line.
    check(14.0, over(15.0, 0), &[('C', 5, 2)]);
    check(20.0, Condition::NoData { key: Some(key("t")), after_seconds: 60 }, &[('C', 5, 2)]);
    let mut other = over(15.0, 0);
    if let Condition::Threshold { key: own, .. } = &mut other {
        *own = key("u");
    }
    // Another series, which here stands at the same value.
    check_other(other);
}

fn check_other(next: Condition) {
    let mut evaluator = evaluator(above(0));
    feed(&mut evaluator, 0, 1, 20.0);
    let changed = put(&mut evaluator, rule(next), 5, known(1, 1, 20.0));
    assert_eq!(short(&changed), [('C', 5, 2), ('R', 5, 1)]);
    assert_eq!(changed[0].reason, Reason::RuleChanged);
}

#[test]
fn a_value_within_the_hysteresis_of_the_same_line_keeps_its_alert() {
    let mut evaluator = evaluator(above(0));
    feed(&mut evaluator, 0, 1, 20.0);
    feed(&mut evaluator, 1, 2, 9.0);
    assert_eq!(put(&mut evaluator, rule(above(30)), 3, known(2, 2, 9.0)), []);
    assert_eq!(short(&feed(&mut evaluator, 2, 4, 8.0)), [('C', 4, 2)]);
}

#[test]
fn a_rule_that_is_enabled_again_judges_anew() {
    let mut evaluator = evaluator(above(0));
    feed(&mut evaluator, 0, 1, 11.0);
    let off = Rule { enabled: false, ..rule(above(0)) };
    assert_eq!(short(&put(&mut evaluator, off, 2, known(1, 1, 11.0))), [('C', 2, 2)]);
    // What came meanwhile is not seen, but known.
    assert_eq!(feed(&mut evaluator, 1, 3, 30.0), []);
    let (mut again, made) = restarted(&evaluator, rule(above(0)), 4);
    assert_eq!(made, []);
    let asked = again.take_unjudged();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        short(&again.present(&asked[0], known(3, 3, 30.0), at(4)).into_iter().collect::<Vec<_>>()),
        [('R', 4, 3)]
    );
    let raised = put(&mut evaluator, rule(above(0)), 4, known(3, 3, 30.0));
    assert_eq!(short(&raised), [('R', 4, 3)]);
    assert_eq!(evaluator.take_unjudged(), []);
}

#[test]
fn a_device_that_comes_under_a_rule_is_judged() {
    let mut evaluator = fresh();
    let mut boilers = rule(above(0));
    boilers.scope = Scope::DeviceType("boiler".into());
    assert_eq!(put(&mut evaluator, boilers, 5, known(1, 1, 11.0)), []);
    let mut boiler = device(DEVICE);
    boiler.device_type = "boiler".into();
    evaluator.put_device(boiler.clone(), at(6)).unwrap();
    let asked = evaluator.take_unjudged();
    let made: Vec<_> =
        asked.iter().filter_map(|id| evaluator.present(id, known(1, 1, 11.0), at(6))).collect();
    assert_eq!(short(&made), [('R', 6, 1)]);
    // A device that stays as it is asks for nothing.
    evaluator.put_device(boiler, at(7)).unwrap();
    assert_eq!(evaluator.take_unjudged(), []);
}

#[test]
fn a_device_that_is_withheld_from_a_rule_is_not_watched_and_its_alerts_end() {
    for condition in [above(0), silence(Some(key("t")))] {
        let mut evaluator = evaluator(condition.clone());
        let is_silence = matches!(condition, Condition::NoData { .. });
        let raise = |evaluator: &mut Evaluator, position: u64, seconds: i64| {
            let mut made = feed(evaluator, position, seconds, 11.0);
            made.extend(evaluator.tick(at(seconds + if is_silence { 61 } else { 0 })));
            short(&made)
        };
        assert_eq!(raise(&mut evaluator, 0, 1).len(), 1, "{condition:?}");
        let mut closed = device(DEVICE);
        closed.withheld = Arc::new([RULE].into());
        let made = evaluator.put_device(closed.clone(), at(70)).unwrap();
        assert_eq!(short(&made), [('C', 70, 2)], "{condition:?}");
        assert_eq!(evaluator.take_unjudged(), [], "{condition:?}");
        assert_eq!(raise(&mut evaluator, 1, 80), [], "{condition:?}");
        let series = SeriesId { rule: RULE, device: DEVICE, key: Some(key("t")) };
        assert_eq!(evaluator.present(&series, known(81, 81, 30.0), at(200)), None);
        // Written anew by somebody else, the rule is still kept off.
        assert_eq!(evaluator.put_rule(rule(condition.clone()), at(201)), Ok(Vec::new()));
        // Open again, it is asked what stands.
        evaluator.put_device(device(DEVICE), at(202)).unwrap();
        assert_eq!(evaluator.take_unjudged(), [series], "{condition:?}");
        // Withheld from another rule, it is watched as before.
        closed.withheld = Arc::new([RuleId::from_bytes([9; 16])].into());
        assert_eq!(evaluator.put_device(closed, at(203)), Ok(Vec::new()));
        assert_eq!(raise(&mut evaluator, 2, 210).len(), 1, "{condition:?}");
    }
}

#[test]
fn a_rule_that_is_withheld_no_more_asks_for_its_own_series_only() {
    let other = RuleId::from_bytes([9; 16]);
    // What becomes of the withheld rule in the same turn, and whether it is asked for.
    for (enabled, is_there, asks) in
        [(true, true, true), (false, true, false), (true, false, false)]
    {
        let mut evaluator = evaluator(above(0));
        evaluator.put_rule(Rule { id: other, ..rule(above(0)) }, at(1)).unwrap();
        let mut closed = device(DEVICE);
        closed.withheld = Arc::new([other].into());
        evaluator.put_device(closed, at(2)).unwrap();
        evaluator.take_unjudged();
        evaluator.put_device(device(DEVICE), at(3)).unwrap();
        if is_there {
            let changed = Rule { id: other, enabled, ..rule(above(0)) };
            evaluator.put_rule(changed, at(3)).unwrap();
        } else {
            evaluator.remove_rule(other, at(3));
        }
        let asked: Vec<RuleId> =
            evaluator.take_unjudged().into_iter().map(|series| series.rule).collect();
        assert_eq!(asked, if asks { vec![other] } else { Vec::new() }, "{enabled} {is_there}");
        assert_eq!(evaluator.take_unjudged(), [], "once");
    }
}

#[test]
fn a_silence_is_judged_from_what_was_last_heard() {
    // (measured, received) known at 1000; from then on nothing comes.
    let check = |(measured, received), expect: &[(char, i64, u64)]| {
        let mut evaluator = fresh();
        evaluator.tick(at(999));
        put(&mut evaluator, rule(silence(None)), 1_000, known(measured, received, 1.0));
        let made: Vec<_> = (1_000..1_100).flat_map(|now| evaluator.tick(at(now))).collect();
        assert_eq!(short(&made), expect, "{measured} {received}");
    };
    check((990, 990), &[('R', 1_050, 1)]);
    check((100, 100), &[('R', 1_000, 1)]);
    check((-DAY, 990), &[]);
    // A longer or shorter patience judges the same silence.
    let mut evaluator = evaluator(silence(None));
    feed(&mut evaluator, 0, 10, 1.0);
    assert_eq!(short(&evaluator.tick(at(70))), [('R', 70, 1)]);
    let after = |after_seconds| rule(Condition::NoData { key: None, after_seconds });
    assert_eq!(evaluator.put_rule(after(30), at(80)), Ok(Vec::new()));
    assert_eq!(short(&evaluator.put_rule(after(90), at(81)).unwrap()), [('C', 81, 2)]);
    assert_eq!(short(&evaluator.tick(at(100))), [('R', 100, 3)]);
    // Enabled again, it is still so.
    let off = Rule { enabled: false, ..after(90) };
    assert_eq!(short(&evaluator.put_rule(off, at(110)).unwrap()), [('C', 110, 4)]);
    evaluator.tick(at(119));
    put(&mut evaluator, after(90), 120, known(10, 10, 1.0));
    assert_eq!(short(&evaluator.tick(at(121))), [('R', 121, 5)]);
}

/// A state that was stored before it said what its series were judged by is taken as it is.
#[test]
fn a_state_of_an_earlier_version_is_taken_over() {
    let mut before = evaluator(above(0));
    before.apply(0, &batch(1, vec![reading("t", 1, 11.0)]));
    let text = String::from_utf8(before.snapshot().unwrap()).unwrap();
    let mut stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(stored.as_object_mut().unwrap().remove("judged").is_some());
    let mut evaluator = Evaluator::new(EvaluatorLimits::default());
    evaluator.restore(stored.to_string().as_bytes()).unwrap();
    evaluator.put_device(device(DEVICE), at(2)).unwrap();
    assert_eq!(evaluator.put_rule(rule(above(0)), at(2)), Ok(Vec::new()));
    assert_eq!(evaluator.take_unjudged(), []);
    assert_eq!(short(&feed(&mut evaluator, 1, 3, 1.0)), [('C', 3, 2)]);
}
