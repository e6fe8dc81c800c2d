//! However often a value goes to and fro, a few transitions of it wait to be written.

use veritwin_alerting::{Pending, SERIES_TRANSITIONS_MAX, Transition, TransitionKind};

use crate::fixture::{above, batch, evaluator, feed, reading, seconds_of, short};

/// Number, seconds, and how many were left out just before it.
fn counted(transitions: &[Transition]) -> Vec<(u64, i64, u64)> {
    transitions.iter().map(|one| (one.id.number, seconds_of(one.at), one.left_out)).collect()
}

#[test]
fn one_message_of_a_value_that_flaps_makes_the_first_and_the_newest() {
    let flapping = |count: i64| {
        let value = |second: i64| if second % 2 == 1 { 11.0 } else { 1.0 };
        batch(count, (1..=count).map(|second| reading("t", second, value(second))).collect())
    };
    let of = |count: i64| evaluator(above(0)).apply(0, &flapping(count));
    assert_eq!(short(&of(4)), [('R', 1, 1), ('C', 2, 2), ('R', 3, 3), ('C', 4, 4)]);
    assert_eq!(counted(&of(5)), [(1, 1, 0), (2, 2, 0), (5, 5, 2)]);
    assert_eq!(counted(&of(99)), [(1, 1, 0), (2, 2, 0), (99, 99, 96)]);
    assert_eq!(counted(&of(100)), [(1, 1, 0), (2, 2, 0), (99, 99, 96), (100, 100, 0)]);
    assert_eq!(of(99).last().map(|one| one.kind), Some(TransitionKind::Raised));
}

#[test]
fn what_waits_is_bounded_over_many_messages() {
    let mut evaluator = evaluator(above(0));
    let mut pending = Pending::default();
    for second in 1..=1_001 {
        let value = if second % 2 == 1 { 11.0 } else { 1.0 };
        pending.extend(feed(&mut evaluator, second as u64, second, value));
        assert!(pending.iter().count() <= SERIES_TRANSITIONS_MAX);
    }
    let all: Vec<Transition> = pending.iter().cloned().collect();
    assert_eq!(counted(&all), [(1, 1, 0), (2, 2, 0), (1_001, 1_001, 998)]);
    assert!(!pending.is_empty());
    pending.clear();
    assert!(pending.is_empty() && pending.into_vec().is_empty());
}
