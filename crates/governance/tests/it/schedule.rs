//! What is due when.

use veritwin_governance::{Register, Schedule};

use crate::fixture::{at, could_not_run, evidence, failed, id, passed};

#[test]
fn checks_come_due() {
    let register = Register::built_in().unwrap();
    let mut schedule = Schedule::new(["P22", "P23", "P31"].map(id));
    // At first everything is due at once.
    assert_eq!(schedule.due(&register, at(0)), ["P22", "P23", "P31"].map(id));
    schedule.ran(&evidence("P22", passed(), 1));
    schedule.ran(&evidence("P23", passed(), 2));
    schedule.ran(&evidence("P31", failed(), 3));
    assert_eq!(schedule.due(&register, at(4)), []);
    assert_eq!(schedule.next_check_at(&register, id("P23"), at(4)), Some(at(3_602)));
    // A failed check is tried again soon, an hourly one after its hour, the daily one tomorrow.
    assert_eq!(schedule.due(&register, at(303)), [id("P31")]);
    assert_eq!(schedule.due(&register, at(3_602)), [id("P31"), id("P23")]);
    assert_eq!(schedule.due(&register, at(86_401)).len(), 3);
    // Old runs, read from the store in any order, change nothing.
    schedule.ran(&evidence("P31", passed(), 400));
    schedule.ran(&evidence("P31", could_not_run(), 10));
    assert_eq!(schedule.next_check_at(&register, id("P31"), at(400)), Some(at(4_000)));
}

#[test]
fn a_check_that_could_not_run_is_tried_again_soon_and_then_less_often() {
    let register = Register::built_in().unwrap();
    let mut schedule = Schedule::new([id("P22")]);
    let mut at_second = 0;
    for wait in [15, 30, 60, 120, 240, 300, 300] {
        schedule.ran(&evidence("P22", could_not_run(), at_second));
        let next = schedule.next_check_at(&register, id("P22"), at(at_second));
        assert_eq!(next, Some(at(at_second + wait)));
        at_second += wait;
    }
    // What ran in between begins anew.
    schedule.ran(&evidence("P22", failed(), at_second));
    assert_eq!(schedule.due(&register, at(at_second + 299)), []);
    schedule.ran(&evidence("P22", could_not_run(), at_second + 300));
    assert_eq!(schedule.due(&register, at(at_second + 315)), [id("P22")]);
}

#[test]
fn checks_can_be_asked_for() {
    let register = Register::built_in().unwrap();
    let mut schedule = Schedule::new([id("P22"), id("P23")]);
    assert!(!schedule.ask(id("P01")));
    assert_eq!(schedule.next_check_at(&register, id("P01"), at(0)), None);
    schedule.ran(&evidence("P22", passed(), 0));
    assert!(schedule.ask(id("P22")));
    assert_eq!(schedule.due(&register, at(1)), [id("P22"), id("P23")]);
    schedule.ran(&evidence("P22", passed(), 2));
    assert_eq!(schedule.due(&register, at(3)), [id("P23")]);
    // A clock that went back makes the check due again, after the one that never ran.
    assert_eq!(schedule.due(&register, at(-5)), [id("P23"), id("P22")]);
}
