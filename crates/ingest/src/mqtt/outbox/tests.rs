//! What waits is bounded, and what is restored was within the bounds.

use super::*;

fn delivery(payload_bytes: usize) -> Delivery {
    Delivery {
        topic: "a".into(),
        payload: vec![0; payload_bytes].into(),
        properties: Vec::new().into(),
        expires_at: Some(Timestamp::from_micros(2_500_000)),
        qos: 0,
        retain: false,
        ids: Vec::new(),
        reserved: None,
        place: None,
        again: false,
    }
}

#[test]
fn what_is_restored_may_have_been_sent_and_is_found_by_its_place() {
    let bytes = Bytes::new(Arc::default());
    let mut outbox = Outbox::default();
    outbox.begin_restoring(Arc::default(), false);
    for place in 0..RELAY_QUEUE_MESSAGES_MAX as u64 + 1 {
        let one = Delivery { place: Some(place), ..delivery(0) };
        assert_eq!(outbox.push(one, true, &bytes), Ok(()));
    }
    assert!(outbox.take(3).is_some() && outbox.take(3).is_none());
    outbox.end_restoring();
    assert!(outbox.iter().all(|delivery| delivery.again));
    assert_eq!(outbox.len(), RELAY_QUEUE_MESSAGES_MAX);
    // As before those that were under way do not count, until they are sent again.
    for _ in 0..UNACKNOWLEDGED_MAX {
        assert_eq!(outbox.push(delivery(0), true, &bytes), Ok(()));
    }
    assert_eq!(outbox.push(delivery(0), true, &bytes), Err("relay_queue_messages_max"));
    for _ in 0..UNACKNOWLEDGED_MAX {
        assert!(outbox.pop().is_some());
        assert_eq!(outbox.push(delivery(0), true, &bytes), Err("relay_queue_messages_max"));
    }
    assert!(outbox.pop().is_some());
    assert_eq!(outbox.push(delivery(0), true, &bytes), Ok(()));
}

#[test]
fn what_was_within_the_bounds_is_restored_whoever_else_is() {
    const MIB: usize = 1024 * 1024;
    let all: Arc<AtomicUsize> = Arc::default();
    let bytes = Bytes::new(Arc::clone(&all));
    // Others have all that there is: they are read first.
    let others = bytes.reserve_again(2 * RELAY_BYTES_MAX);
    let large = |place: u64| Delivery { place: Some(place), ..delivery(MIB) };
    let under_way = UNACKNOWLEDGED_MAX as u64;
    for is_connected in [false, true] {
        let mut outbox = Outbox::default();
        outbox.begin_restoring(Arc::default(), is_connected);
        // What is under way counts for nobody, and three of a MiB wait within the bound.
        for place in 0..under_way + 3 {
            assert_eq!(outbox.push(large(place), true, &bytes), Ok(()), "{place}");
        }
        outbox.end_restoring();
        assert_eq!(outbox.len() as u64, under_way + 3, "{is_connected}");
        let refused = outbox.push(large(99), true, &bytes);
        assert_eq!(refused, Err("relay_queue_bytes_max"));
    }
    drop(others);
    assert_eq!(all.load(Ordering::Relaxed), 0);
}

#[test]
fn what_comes_while_a_client_is_away_has_room_beside_what_it_had() {
    let bytes = Bytes::new(Arc::default());
    let mut outbox = Outbox::default();
    outbox.begin_restoring(Arc::default(), true);
    let mut places = 0..;
    let mut put = |outbox: &mut Outbox| {
        let one = Delivery { place: places.next(), ..delivery(0) };
        outbox.push(one, true, &bytes)
    };
    // More than are kept of those that it has had.
    for _ in 0..2 * RELAY_QUEUE_MESSAGES_MAX * RESTORING_TIMES {
        assert_eq!(put(&mut outbox), Ok(()));
    }
    outbox.restore_as(false);
    let first = outbox.front().and_then(|first| first.place);
    for _ in 0..RELAY_QUEUE_MESSAGES_MAX {
        assert_eq!(put(&mut outbox), Ok(()), "acknowledged while it was away");
    }
    assert_eq!(outbox.front().and_then(|first| first.place), first);
}

#[test]
fn what_a_client_has_had_takes_no_room_while_its_session_is_restored() {
    let bytes = Bytes::new(Arc::default());
    let max = (RELAY_QUEUE_MESSAGES_MAX * RESTORING_TIMES + UNACKNOWLEDGED_MAX) as u64;
    let put = |outbox: &mut Outbox, place: u64| {
        outbox.push(Delivery { place: Some(place), ..delivery(0) }, true, &bytes)
    };
    let mut outbox = Outbox::default();
    outbox.begin_restoring((0..max).collect(), false);
    for place in 0..2 * max {
        assert_eq!(put(&mut outbox, place), Ok(()), "{place}");
    }
    assert_eq!(outbox.front().and_then(|first| first.place), Some(max));
    // Who was away has the first ones, who was connected the last ones.
    assert_eq!(put(&mut outbox, 2 * max), Err("relay_queue_messages_max"));
    outbox.restore_as(true);
    assert_eq!(put(&mut outbox, 2 * max), Ok(()));
    assert_eq!(outbox.front().and_then(|first| first.place), Some(max + 1));
    assert_eq!(outbox.len() as u64, max);
}

#[test]
fn a_session_is_bounded_by_messages_and_bytes() {
    let all = Arc::default();
    let bytes = Bytes::new(Arc::clone(&all));
    let mut outbox = Outbox::default();
    for _ in 0..RELAY_QUEUE_MESSAGES_MAX {
        assert_eq!(outbox.push(delivery(0), false, &bytes), Ok(()));
    }
    assert_eq!(outbox.push(delivery(0), false, &bytes), Err("relay_queue_messages_max"));
    while outbox.pop().is_some() {}
    assert_eq!(all.load(Ordering::Relaxed), 0, "what is sent gives its place back");
    let mib = 1024 * 1024;
    for _ in 0..3 {
        assert_eq!(outbox.push(delivery(mib), false, &bytes), Ok(()));
    }
    assert_eq!(outbox.push(delivery(mib), false, &bytes), Err("relay_queue_bytes_max"));
    assert!(outbox.lose("relay_queue_messages_max") && !outbox.lose("relay_queue_bytes_max"));
    assert_eq!(outbox.take_dropped(), Some((2, "relay_queue_bytes_max")));
    assert_eq!(outbox.take_dropped(), None);
    drop(outbox);
    assert_eq!(all.load(Ordering::Relaxed), 0);
}

#[test]
fn a_tenant_is_bounded_and_so_are_all() {
    let all: Arc<AtomicUsize> = Arc::default();
    let bytes = Bytes::new(Arc::clone(&all));
    let most = bytes.reserve(RELAY_TENANT_BYTES_MAX, Claim::Behind).unwrap();
    assert_eq!(bytes.reserve(1, Claim::Behind).err(), Some("relay_tenant_bytes_max"));
    let other = Bytes::new(Arc::clone(&all));
    all.fetch_add(RELAY_BYTES_MAX - RELAY_TENANT_BYTES_MAX, Ordering::Relaxed);
    assert_eq!(other.reserve(1, Claim::Behind).err(), Some("relay_bytes_max"));
    drop(most);
    assert!(other.reserve(1, Claim::Behind).is_ok());
}

#[test]
fn who_is_away_leaves_room_to_the_others() {
    const TENANT: usize = RELAY_TENANT_BYTES_MAX;
    const ALL: usize = RELAY_BYTES_MAX;
    let own = Some("relay_tenant_bytes_max");
    let check =
        |used: usize, of_others: usize, bytes: usize, claim: Claim, expect: Option<&str>| {
            let all: Arc<AtomicUsize> = Arc::new(AtomicUsize::new(used + of_others));
            let place = Arc::new(Bytes { tenant: AtomicUsize::new(used), all });
            let found = place.reserve(bytes, claim).err();
            assert_eq!(found, expect, "{used} {of_others} {bytes} {claim:?}");
        };
    check(TENANT / 2 - 1, 0, 1, Claim::Away, None);
    check(TENANT / 2, 0, 1, Claim::Away, own);
    check(TENANT / 2, 0, 1, Claim::Behind, None);
    check(TENANT, 0, 1, Claim::Behind, own);
    check(TENANT, 0, 1, Claim::Next, None);
    check(TENANT + TENANT / 4, 0, 1, Claim::Next, own);
    // Where little is free a tenant has less, and one without anything still gets some.
    check(4000, ALL - 5000, 1, Claim::Behind, own);
    check(0, ALL - 5000, 4000, Claim::Behind, None);
    check(0, ALL - 5000, 5001, Claim::Behind, Some("relay_bytes_max"));
    check(0, ALL / 2, 1, Claim::Away, Some("relay_bytes_max"));
}

#[test]
fn what_waits_for_nobody_yet_has_room_beside_those_who_are_away() {
    let place = |used: usize, of_others: usize| {
        let all: Arc<AtomicUsize> = Arc::new(AtomicUsize::new(used + of_others));
        Arc::new(Bytes { tenant: AtomicUsize::new(used), all }).place(1).is_some()
    };
    assert!(place(RELAY_TENANT_BYTES_MAX / 2, 0));
    assert!(place(0, RELAY_BYTES_MAX / 2), "four tenants do not take it from the others");
    assert!(!place(RELAY_TENANT_BYTES_MAX, 0));
    assert!(!place(0, RELAY_BYTES_MAX));
}

#[test]
fn what_is_kept_has_one_place() {
    let all: Arc<AtomicUsize> = Arc::default();
    let bytes = Bytes::new(Arc::clone(&all));
    let mut kept = delivery(1000);
    assert!(kept.take_place(&bytes, true) && kept.take_place(&bytes, true));
    assert_eq!(all.load(Ordering::Relaxed), kept.bytes());
    all.fetch_add(RELAY_BYTES_MAX, Ordering::Relaxed);
    assert!(delivery(0).take_place(&bytes, true), "the next one passes by a quarter");
    assert!(!delivery(0).take_place(&bytes, false), "no room behind others");
    all.fetch_add(RELAY_BYTES_MAX / 4, Ordering::Relaxed);
    assert!(!delivery(0).take_place(&bytes, true), "no room");
    drop(kept);
    assert_eq!(all.load(Ordering::Relaxed), RELAY_BYTES_MAX + RELAY_BYTES_MAX / 4);
}

#[test]
fn the_expiry_is_lessened() {
    let left = |micros| delivery(0).seconds_left(Timestamp::from_micros(micros));
    assert_eq!(left(0), Ok(Some(3)));
    assert_eq!(left(1_500_000), Ok(Some(1)));
    assert_eq!(left(2_500_000), Err(()));
}
