//! Devices whose clock is wrong, beside archives that are handed in.

use proptest::prelude::*;
use veritwin_alerting::{Condition, DeviceClock, Evaluator, EvaluatorLimits, Reason, Transition};

use crate::fixture::{DEVICE, above, at, batch, device, evaluator, reading, rule, short, silence};

const MINUTE: i64 = 60;

/// Hears messages of (received, measured) milliseconds and tells by how many seconds it is slow.
fn slow(messages: &[(i64, i64)]) -> Option<i64> {
    let mut clock = DeviceClock::default();
    for (received, measured) in messages {
        let millis = |millis: i64| at(0).saturating_add_millis(millis);
        clock.hear(millis(*measured), millis(*received));
    }
    clock.slow_micros().map(|micros| micros / 1_000_000)
}

trait Millis {
    fn saturating_add_millis(self, millis: i64) -> Self;
}

impl Millis for veritwin_domain::Timestamp {
    fn saturating_add_millis(self, millis: i64) -> Self {
        Self::from_micros(self.as_micros() + millis * 1_000)
    }
}

/// Five messages in four seconds, at so many times the pace of life.
fn paced(lag: i64, pace: f64) -> Option<i64> {
    let sent = |index: i64| (index * 1_000, (index as f64 * 1_000.0 * pace) as i64 - lag);
    slow(&(0..5).map(sent).collect::<Vec<_>>())
}

#[test]
fn a_clock_is_told_by_messages_that_go_on() {
    const LAG: i64 = 1_200_000;
    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    let in_step = |index: i64| (index * 750, index * 750 - LAG);
    assert_eq!(slow(&(0..4).map(in_step).collect::<Vec<_>>()), None, "four are not enough");
    assert_eq!(slow(&(0..5).map(in_step).collect::<Vec<_>>()), Some(1_200));
    let fast = |index: i64| (index * 700, index * 700 - LAG);
    assert_eq!(slow(&(0..5).map(fast).collect::<Vec<_>>()), None, "they come too fast");
    assert_eq!((paced(LAG, 1.0), paced(-LAG, 1.0)), (Some(1_200), Some(-1_200)));
    // Faster than life, slower than life, standing still, backwards.
    for pace in [4.0, 1.5, 0.5, 0.0, -1.0, -40.0] {
        assert_eq!(paced(LAG, pace), None, "{pace}");
    }
    // A day behind may be a clock; what is further behind is an archive that is played back.
    assert_eq!((paced(23 * HOUR, 1.0), paced(25 * HOUR, 1.0)), (Some(23 * 3_600), None));
    // Nothing was measured before clocks were set, or will be: no pace is an archive's.
    let unset = 53 * YEAR;
    for pace in [1.0, 0.0, -40.0] {
        assert!(paced(unset, pace).is_some_and(|seconds| seconds >= unset / 1_000), "{pace}");
        assert!(paced(-YEAR, pace).is_some_and(|seconds| seconds < -30_000_000), "{pace}");
    }
    assert_eq!(paced(unset, 40.0), None, "an old archive");
    // A mended clock is known at once.
    let mended: Vec<_> = (0..5).map(in_step).chain([(5_000, 5_000)]).collect();
    assert_eq!(slow(&mended), None);
}

/// A device sends a value of 99 every second from second 11 on, so late; before that it may have
/// sent 1, at the right time.
fn sends(
    condition: Condition,
    was_live: bool,
    seconds: i64,
    lag: impl Fn(i64) -> i64,
) -> Vec<Transition> {
    let mut evaluator = evaluator(condition.clone());
    let mut found = Vec::new();
    if was_live {
        found.extend(evaluator.apply(0, &batch(10, vec![reading("t", 10, 1.0)])));
    }
    for now in 11..11 + seconds {
        let message = batch(now, vec![reading("t", now - lag(now), 99.0)]);
        found.extend(evaluator.apply(now as u64, &message));
        found.extend(evaluator.tick(at(now)));
        // It goes on the same after a restart.
        let bytes = evaluator.snapshot().unwrap();
        evaluator = Evaluator::new(EvaluatorLimits::default());
        evaluator.restore(&bytes).unwrap();
        evaluator.put_device(device(DEVICE), at(0)).unwrap();
        evaluator.put_rule(rule(condition.clone()), at(0)).unwrap();
    }
    found
}

/// Seconds from the fixture's time back to 1970, where a clock without a battery begins.
const TO_1970: i64 = 1_700_000_000 - 1_000;

/// Jitter of four minutes.
fn jitter(now: i64) -> i64 {
    960 + now * 7 % 5 * 60
}

#[test]
fn whoever_goes_on_is_judged_by_receipt() {
    // Whether live before, by how much the clock is slow; the first message that is judged.
    let check = |lag: &dyn Fn(i64) -> i64, judged_at: i64| {
        let raised = sends(above(0), true, judged_at + 20, lag);
        assert_eq!(short(&raised), [('R', judged_at, 1)], "{}", lag(0));
        assert_eq!((raised[0].late, raised[0].since), (false, at(judged_at)), "{}", lag(0));
    };
    for lag in [6, 300, 1_200, 7_200, 86_000, TO_1970, -360, -7_200, -400 * 86_400] {
        check(&|_| lag, 15);
    }
    // Ahead by less, it counts as of its receipt from the first.
    check(&|_| -250, 11);
    // A clock that stands still where it begins, and one that comes and goes.
    check(&|now| TO_1970 + now, 15);
    check(&|now| TO_1970 + now * 37 % 11, 15);
    check(&jitter, 20);
    // A day and more back: only when nothing else has come for five minutes.
    check(&|_| 30 * 3_600, 311);
    // A second step, back or ahead, before the first was told.
    for second in [1_170, 1_240, 1_500, 1_700] {
        let judged_at = if second == 1_240 || second == 1_500 { 18 } else { 17 };
        check(&|now| if now < 13 { 1_200 } else { second }, judged_at);
    }
}

#[test]
fn a_clock_that_is_set_again_and_again_is_followed() {
    let mut evaluator = evaluator(above(0));
    // Five messages by each clock, the value at its end: what is judged of them.
    let mut check = |from: i64, lag: i64, value: f64, expect: &[(char, i64, u64)]| {
        let sent = |now| batch(now, vec![reading("t", now - lag, value)]);
        let apply = |now| evaluator.apply(now as u64, &sent(now));
        let made: Vec<_> = (from..from + 6).flat_map(apply).collect();
        assert_eq!(short(&made), expect, "{from} {lag}");
    };
    check(10, 0, 11.0, &[('R', 10, 1)]);
    check(20, 1_200, 1.0, &[('C', 24, 2)]);
    check(30, 1_230, 11.0, &[('R', 34, 3)]);
    check(40, TO_1970, 1.0, &[('C', 44, 4)]);
    check(50, 7_200, 11.0, &[('R', 54, 5)]);
    check(60, -600, 1.0, &[('C', 64, 6)]);
    check(70, 0, 11.0, &[('R', 70, 7)]);
    check(80, 300, 1.0, &[('C', 84, 8)]);
    check(90, 0, 11.0, &[('R', 90, 9)]);
}

#[test]
fn old_times_that_are_no_clock_are_no_news() {
    const YEAR: i64 = 365 * 86_400;
    let shifts: [&dyn Fn(i64) -> i64; 6] = [
        &|_| 3 * YEAR,               // a table at its own speed
        &|now| 40_000 - now * 60,    // store and forward, an hour in a minute
        &|now| 40_000 - now / 2,     // half as fast again
        &|now| 40_000 + now * 60,    // the newest first
        &|now| 40_000 + now * 3 / 4, // slower than life
        &|now| 26 * YEAR - now * 60, // of the last century
    ];
    for (index, lag) in shifts.iter().enumerate() {
        assert_eq!(short(&sends(above(0), true, 120, lag)), [], "{index}");
        let silent = sends(silence(None), true, 120, lag);
        assert_eq!(short(&silent), [('R', 70, 1)], "{index}");
        let made = sends(above(0), false, 120, lag);
        assert!(made.iter().all(|made| made.late && made.at < at(-7_200)), "{index} {made:?}");
        assert_eq!(short(&sends(silence(None), false, 120, lag)), [], "{index}");
    }
    // All at once, in one message or many.
    let mut evaluator = evaluator(above(0));
    evaluator.apply(0, &batch(10, vec![reading("t", 10, 1.0)]));
    for position in 1..100 {
        let old = batch(11, vec![reading("t", position * 60 - 40_000, 99.0)]);
        assert_eq!(evaluator.apply(position as u64, &old), []);
    }
    // A live device hands in its table beside: what is live is judged, what is old is not.
    for now in 20..60 {
        let table = batch(now, vec![reading("t", now - 7_200, 99.0)]);
        assert_eq!(evaluator.apply(now as u64 * 10, &table), []);
        assert_eq!(
            evaluator.apply(now as u64 * 10 + 1, &batch(now, vec![reading("t", now, 1.0)])),
            []
        );
    }
}

#[test]
fn silence_ends_for_whoever_goes_on() {
    let check = |lag: &dyn Fn(i64) -> i64| {
        let mut evaluator = evaluator(silence(None));
        evaluator.apply(0, &batch(10, vec![reading("t", 10, 1.0)]));
        assert_eq!(short(&evaluator.tick(at(70))), [('R', 70, 1)]);
        let mut made = Vec::new();
        for now in 100..120 {
            let sent = batch(now, vec![reading("t", now - lag(now), 1.0)]);
            made.extend(evaluator.apply(now as u64, &sent));
        }
        assert_eq!((made.len(), made[0].reason), (1, Reason::DataReturned), "{}", lag(0));
        assert_eq!(evaluator.tick(at(178)), [], "{}", lag(0));
        assert_eq!(short(&evaluator.tick(at(180))), [('R', 179, 3)]);
    };
    for lag in [0, 300, 1_200, 7_200, TO_1970, -360] {
        check(&|_| lag);
    }
    check(&jitter);
}

/// What was raised out of old data, before anybody knew the clock, is told once it is known.
#[test]
fn what_nobody_was_told_of_is_told_when_it_is_live() {
    let raised = sends(above(0), false, 30, |_| 7_200);
    assert_eq!(short(&raised), [('R', 11 - 7_200, 1), ('C', 15, 2), ('R', 15, 3)]);
    assert_eq!(raised.iter().map(|one| one.late).collect::<Vec<_>>(), [true, true, false]);
    // A time that cannot be true raises nothing before that.
    assert_eq!(short(&sends(above(0), false, 30, |_| TO_1970)), [('R', 15, 1)]);
    // An archive, and then the device.
    let mut evaluator = evaluator(above(0));
    let old = batch(10, vec![reading("t", -86_400, 11.0)]);
    assert_eq!(short(&evaluator.apply(0, &old)), [('R', -86_400, 1)]);
    let live = batch(20, vec![reading("t", 20, 12.0)]);
    assert_eq!(short(&evaluator.apply(1, &live)), [('C', 20, 2), ('R', 20, 3)]);
    assert_eq!(evaluator.apply(2, &batch(21, vec![reading("t", 21, 12.0)])), []);
}

#[test]
fn silence_of_a_slow_clock_is_judged_by_arrival() {
    let mut evaluator = evaluator(silence(None));
    let sent = |received: i64| batch(received, vec![reading("t", received - 20 * MINUTE, 1.0)]);
    for (position, received) in [0, 5, 10, 15, 20].into_iter().enumerate() {
        assert_eq!(evaluator.apply(position as u64, &sent(received)), []);
    }
    // The same after a restart.
    let bytes = evaluator.snapshot().unwrap();
    evaluator = Evaluator::new(EvaluatorLimits::default());
    evaluator.restore(&bytes).unwrap();
    evaluator.put_device(device(DEVICE), at(21)).unwrap();
    evaluator.put_rule(rule(silence(None)), at(21)).unwrap();
    assert_eq!(evaluator.snapshot().unwrap(), bytes);
    assert_eq!(evaluator.tick(at(79)), []);
    assert_eq!(short(&evaluator.tick(at(81))), [('R', 80, 1)]);
    // A backlog of last month does not end it; what is as slow as ever does.
    let old = batch(90, vec![reading("t", -30 * 86_400, 1.0)]);
    assert_eq!(evaluator.apply(5, &old), []);
    assert_eq!(short(&evaluator.apply(6, &sent(100))), [('C', 100, 2)]);
    assert_eq!(short(&evaluator.tick(at(160))), [('R', 160, 3)]);
}

#[test]
fn a_fast_clock_is_no_silence() {
    let mut evaluator = evaluator(silence(None));
    let ahead = |received: i64| batch(received, vec![reading("t", received + 3_600, 99.0)]);
    assert_eq!(evaluator.apply(0, &ahead(50)), []);
    assert_eq!(evaluator.tick(at(100)), []);
    assert_eq!(short(&evaluator.tick(at(110))), [('R', 110, 1)]);
    assert_eq!(short(&evaluator.apply(1, &ahead(120))), [('C', 120, 2)]);
    // What claims to be measured later raises nothing.
    let mut evaluator = crate::fixture::evaluator(above(0));
    assert_eq!(evaluator.apply(0, &ahead(50)), []);
    assert_eq!(
        short(&evaluator.apply(1, &batch(51, vec![reading("t", 51, 11.0)]))),
        [('R', 51, 1)]
    );
}

#[test]
fn late_data_that_goes_on_is_no_silence() {
    let mut evaluator = evaluator(silence(None));
    let sent = |received: i64, lag: i64| batch(received, vec![reading("t", received - lag, 1.0)]);
    assert_eq!(evaluator.apply(0, &sent(10, 0)), []);
    assert_eq!(short(&evaluator.tick(at(70))), [('R', 70, 1)]);
    assert_eq!(evaluator.apply(1, &sent(100, 1_000)), [], "older than what is known");
    assert_eq!(short(&evaluator.apply(2, &sent(2_000, 1_000))), [('C', 2_000, 2)]);
    for turn in 1..=20 {
        let received = 2_000 + 25 * turn;
        let lag = if turn % 2 == 0 { 960 } else { 1_200 };
        assert_eq!(evaluator.apply(2 + turn as u64, &sent(received, lag)), []);
        assert_eq!(evaluator.tick(at(received)), []);
    }
    assert_eq!(short(&evaluator.tick(at(2_560))), [('R', 2_560, 3)]);
}

/// Whatever is ahead of its receipt, as far as it counts at all, counts as of then.
#[test]
fn one_jump_ahead_blinds_no_threshold() {
    let mut evaluator = evaluator(above(0));
    let jumped = batch(50, vec![reading("t", 300, 99.0), reading("t", 345, 1.0)]);
    assert_eq!(evaluator.apply(0, &jumped), []);
    let right = batch(52, vec![reading("t", 51, 11.0)]);
    assert_eq!(short(&evaluator.apply(1, &right)), [('R', 51, 1)]);
    let fast = |received: i64, value| batch(received, vec![reading("t", received + 200, value)]);
    assert_eq!(short(&evaluator.apply(2, &fast(60, 1.0))), [('C', 60, 2)]);
    assert_eq!(short(&evaluator.apply(3, &fast(61, 11.0))), [('R', 61, 3)]);
}

/// What a slow clock measured is news like any other, not history.
#[test]
fn a_value_of_a_slow_clock_is_not_late() {
    let mut evaluator = evaluator(above(0));
    let sent =
        |received: i64, value| batch(received, vec![reading("t", received - 20 * MINUTE, value)]);
    for (position, received) in [0, 5, 10, 15, 20].into_iter().enumerate() {
        assert_eq!(evaluator.apply(position as u64, &sent(received, 1.0)), []);
    }
    let raised = evaluator.apply(5, &sent(25, 11.0));
    assert_eq!((short(&raised), raised[0].late), (vec![('R', 25, 1)], false));
}

proptest! {
    #![proptest_config(crate::properties::config(200))]

    /// An archive that comes at least twice as fast as it was measured is never taken for a live
    /// device, whatever its pace and however irregular.
    #[test]
    fn a_backlog_is_never_a_slow_clock(
        steps in prop::collection::vec((1i64..2_000, 2i64..600), 1..80),
        hours in prop::sample::select(&[23, 3 * 8_760, 26 * 8_760]),
    ) {
        let (mut received, mut measured) = (0, -hours * 3_600_000);
        let mut messages = Vec::new();
        for (wait, times) in steps {
            received += wait;
            measured += wait * times;
            messages.push((received, measured));
        }
        prop_assert_eq!(slow(&messages), None);
    }

    /// However a delay goes up and down, it is told within a minute.
    #[test]
    fn a_delay_that_wanders_is_live(
        delays in prop::collection::vec(960_000i64..1_200_000, 120),
    ) {
        let message = |(index, delay): (usize, &i64)| {
            let received = index as i64 * 500;
            (received, received - delay)
        };
        let told = slow(&delays.iter().enumerate().map(message).collect::<Vec<_>>());
        prop_assert!(told.is_some_and(|seconds| (960..1_200).contains(&seconds)), "{told:?}");
    }
}
