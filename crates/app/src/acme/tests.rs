//! When orders are due, and how many there may be.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(hours: u32) -> Timestamp {
    Timestamp::EPOCH.saturating_add(DAY * 365).saturating_add(HOUR * hours)
}

fn order(known: Option<HostOrder>, now: Timestamp) -> HostOrder {
    wanted(known, (TenantId::from_bytes([1; 16]), "a.example"), false, now)
}

#[test]
fn a_wall_of_refusals_is_tried_a_few_times_a_day() {
    let refusal = Refusal::new(RefusalKind::Connection, "nobody there");
    let mut order = order(None, at(0));
    let mut tries: Vec<Timestamp> = Vec::new();
    while order.next_at < at(24 * 10) {
        let now = order.next_at;
        let (next, may) = counted(order, now);
        assert!(next.next_at > now, "a try that ends nowhere is not made again at once");
        order = next;
        if may {
            tries.push(now);
            order = refused(order, &refusal, now);
        }
    }
    assert!(tries.len() >= 12, "{} tries in ten days", tries.len());
    for first in &tries {
        let day = first.saturating_add(DAY);
        let within = tries.iter().filter(|one| *one >= first && **one < day).count();
        assert!(within as u64 <= ORDERS_PER_DAY_MAX, "{within} tries in a day");
    }
    assert_eq!(refusal_of(&order), Some(refusal));
}

#[test]
fn wishing_again_does_not_pass_the_bound_of_the_day() {
    let refusal = Refusal::new(RefusalKind::Dns, "no such name");
    let mut known = order(None, at(0));
    for _ in 0..ORDERS_PER_DAY_MAX {
        assert_eq!(known.next_at, at(0), "a wish is tried at once");
        let (next, may) = counted(known, at(0));
        assert!(may);
        // Taken back and wished again, what was counted stays.
        let off = HostOrder { is_automatic: false, ..refused(next, &refusal, at(0)) };
        known = order(Some(off), at(0));
    }
    assert_eq!(known.next_at, at(24));
    assert!(!counted(known.clone(), at(1)).1);
    assert!(counted(known, at(24)).1);
}

#[test]
fn an_authority_that_had_enough_is_left_alone_for_a_day() {
    let refusal = Refusal::new(RefusalKind::RateLimited, "too many");
    let limited = refused(counted(order(None, at(0)), at(0)).0, &refusal, at(0));
    assert_eq!(limited.next_at, at(24));
    assert_eq!(order(Some(limited.clone()), at(1)).next_at, at(24), "nor by a wish");
    assert_eq!(order(Some(limited), at(30)).next_at, at(30));
}

#[test]
fn a_first_stumble_is_tried_again_soon() {
    let check = |kind: RefusalKind, refusals: u64, expect: Duration| {
        let known = HostOrder { refusals, ..counted(order(None, at(0)), at(0)).0 };
        let after = refused(known, &Refusal::new(kind, "no answer in time"), at(0));
        assert_eq!(after.next_at, at(0).saturating_add(expect), "{kind:?} {refusals}");
    };
    check(RefusalKind::Unreachable, 0, WAIT_STUMBLED);
    check(RefusalKind::TooSlow, 0, WAIT_STUMBLED);
    check(RefusalKind::WrongAnswer, 0, WAIT_FIRST);
    // Whoever stays away is not knocked at more often than one who refuses.
    check(RefusalKind::Unreachable, 1, WAIT_FIRST * 4);
}
