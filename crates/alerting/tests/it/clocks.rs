//! Devices whose clock is wrong, beside archives that are handed in.

use proptest::prelude::*;
use veritwin_alerting::{DeviceClock, Evaluator, EvaluatorLimits};

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

#[test]
fn a_clock_is_told_by_messages_in_step() {
    const LAG: i64 = 1_200_000;
    assert_eq!(slow(&[(0, -LAG), (500, 500 - LAG)]), None, "two are not enough");
    assert_eq!(slow(&[(0, -LAG), (500, 500 - LAG), (1_010, 1_000 - LAG)]), Some(1_200));
    assert_eq!(slow(&[(0, LAG), (500, 500 + LAG), (1_010, 1_000 + LAG)]), Some(-1_199), "fast");
    // Faster than life, slower than life, backwards, standing still.
    assert_eq!(slow(&[(0, -LAG), (500, 2_000 - LAG), (1_010, 4_000 - LAG)]), None);
    assert_eq!(slow(&[(0, -LAG), (2_000, 200 - LAG), (4_000, 400 - LAG)]), None);
    assert_eq!(slow(&[(0, -LAG), (500, -500 - LAG), (1_010, -1_000 - LAG)]), None);
    assert_eq!(slow(&[(0, -LAG), (500, -LAG), (1_010, -LAG)]), None);
    // A day behind may be a clock; what is further behind is an archive that is played back.
    let played = |hours: i64| {
        let lag = hours * 3_600_000;
        slow(&[(0, -lag), (500, 500 - lag), (1_010, 1_000 - lag)])
    };
    assert_eq!((played(23), played(25)), (Some(23 * 3_600), None));
    // A mended clock is told in the same way.
    let mended = [(0, -LAG), (600, 600 - LAG), (1_200, 1_200 - LAG), (2_000, 2_000)];
    assert_eq!(slow(&mended), Some(1_200));
    assert_eq!(slow(&[mended.as_slice(), &[(2_600, 2_600), (3_200, 3_200)]].concat()), Some(0));
}

#[test]
fn silence_of_a_slow_clock_is_judged_by_arrival() {
    let mut evaluator = evaluator(silence(None));
    let sent = |received: i64| batch(received, vec![reading("t", received - 20 * MINUTE, 1.0)]);
    for (position, received) in [10, 15, 20].into_iter().enumerate() {
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
    assert_eq!(evaluator.apply(3, &old), []);
    assert_eq!(short(&evaluator.apply(4, &sent(100))), [('C', 100, 2)]);
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

/// What a slow clock measured is news like any other, not history.
#[test]
fn a_value_of_a_slow_clock_is_not_late() {
    let mut evaluator = evaluator(above(0));
    let sent =
        |received: i64, value| batch(received, vec![reading("t", received - 20 * MINUTE, value)]);
    for (position, received) in [10, 15, 20].into_iter().enumerate() {
        assert_eq!(evaluator.apply(position as u64, &sent(received, 1.0)), []);
    }
    assert!(!evaluator.apply(3, &sent(25, 11.0))[0].late);
}

proptest! {
    #![proptest_config(crate::properties::config(200))]

    /// An archive that comes at least twice as fast as it was measured is never taken for a live
    /// device, whatever its pace and however irregular.
    #[test]
    fn a_backlog_is_never_a_slow_clock(
        steps in prop::collection::vec((1i64..2_000, 2i64..600), 1..80),
    ) {
        let (mut received, mut measured) = (0, -23 * 3_600_000);
        let mut messages = Vec::new();
        for (wait, times) in steps {
            received += wait;
            measured += wait * times;
            messages.push((received, measured));
        }
        prop_assert_eq!(slow(&messages), None);
    }
}
