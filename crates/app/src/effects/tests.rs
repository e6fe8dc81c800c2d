//! Who is behind, when it is tried again, and how far everything is in the records.

use super::*;

const ONE: TenantId = TenantId::from_bytes([1; 16]);
const TWO: TenantId = TenantId::from_bytes([2; 16]);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn nothing_is_saved_that_is_not_in_the_records() {
    let mut open = Open::default();
    assert_eq!(open.position(9), 9);
    open.under_way.insert(0, 5);
    assert_eq!(open.position(9), 5);
    open.under_way.remove(&0);
    open.fall_behind(ONE, 7, 0, seconds(0));
    // Another one of it that began before.
    open.fall_behind(ONE, 6, 0, seconds(0));
    open.fall_behind(ONE, 8, 0, seconds(0));
    open.fall_behind(TWO, 8, 0, seconds(5));
    assert_eq!(open.position(9), 6);
    assert!(open.take_due(Duration::ZERO).is_empty(), "not yet");
    let taken = open.take_due(seconds(1));
    assert_eq!(taken.keys().collect::<Vec<_>>(), [&ONE]);
    assert_eq!(open.position(9), 6, "it is being put in");
    open.mending.clear();
    assert_eq!(open.position(9), 8);
}

#[test]
fn what_fails_meanwhile_does_not_put_the_next_try_off() {
    let mut open = Open::default();
    open.fall_behind(ONE, 9, 0, seconds(0));
    open.fall_behind(ONE, 8, 0, Duration::from_millis(900));
    assert_eq!(open.take_due(seconds(1))[&ONE].from, 8);
    open.fall_behind(ONE, 12, 0, seconds(2));
    // What was tried did not get in, after more tries than the new one had.
    open.fall_behind(ONE, 8, 3, seconds(2));
    assert!(open.take_due(seconds(9)).is_empty());
    open.fall_behind(ONE, 20, 0, seconds(9));
    let due = open.take_due(seconds(10))[&ONE];
    assert_eq!((due.from, due.tries), (8, 3));
}

#[test]
fn only_what_somebody_wants_is_read() {
    let of = BTreeMap::from([(ONE, 5), (TWO, 900)]);
    let mut wanted = Wanted { of: Some(&of), ..Wanted::default() };
    assert_eq!((wanted.goes_on_at(5), wanted.goes_on_at(7)), (Some(5), Some(7)));
    wanted.failed.insert(ONE, 5);
    assert_eq!((wanted.goes_on_at(7), wanted.goes_on_at(950)), (Some(900), Some(950)));
    wanted.failed.insert(TWO, 901);
    assert_eq!(wanted.goes_on_at(950), None);
    assert_eq!(Wanted::default().goes_on_at(3), Some(3));
}

#[test]
fn tries_come_less_often_up_to_a_bound() {
    for (tries, wait_s) in [(0, 1), (1, 2), (5, 32), (6, 60), (u32::MAX, 60)] {
        let mut open = Open::default();
        open.fall_behind(ONE, 0, tries, seconds(10));
        assert_eq!(open.behind[&ONE].retry_at, seconds(10 + wait_s), "{tries}");
    }
}
