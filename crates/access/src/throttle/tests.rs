//! Guesses, doors and those who own the accounts.

use super::*;

fn digest(number: u32) -> [u8; 32] {
    let mut digest = [0u8; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

fn attempt(account: u32, address: u32) -> Attempt {
    Attempt::new(digest(account), Some(digest(address)))
}

fn wait(throttle: &mut Throttle, attempt: Attempt, now: Duration) -> u64 {
    throttle.attempt(&attempt, now).err().map_or(0, |throttled| throttled.retry_after.as_secs())
}

#[test]
fn delays_double_up_to_their_bound_and_are_forgotten() {
    let mut throttle = Throttle::default();
    let mut now = Duration::from_secs(1);
    let (mut waits, mut free) = (Vec::new(), 0);
    // An attempt that has to wait is not counted; after its wait it is let through.
    while waits.len() < 11 {
        let next = wait(&mut throttle, attempt(1, 1), now);
        now += Duration::from_secs(next);
        if next > 0 {
            waits.push(next);
        } else if waits.is_empty() {
            free += 1;
        }
    }
    assert_eq!(free, THROTTLE_FREE_FAILURES + 1);
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    assert_eq!(wait(&mut throttle, attempt(2, 2), now), 0);
    assert_eq!(wait(&mut throttle, attempt(1, 1), now + THROTTLE_MEMORY), 0);
}

#[test]
fn an_attacker_does_not_lock_the_owner_out() {
    let mut throttle = Throttle::default();
    let now = Duration::from_secs(1);
    let owner = attempt(1, 1);
    assert_eq!(wait(&mut throttle, owner, now), 0);
    throttle.succeeded(&owner, now);
    // One attacker is stopped by its own address; very many together by the account.
    let guesses = (0..1000).filter(|_| wait(&mut throttle, attempt(1, 9), now) == 0).count();
    assert_eq!(guesses, THROTTLE_FREE_FAILURES as usize + 1);
    let guesses = (10..1000).filter(|from| wait(&mut throttle, attempt(1, *from), now) == 0);
    assert!(guesses.count() <= THROTTLE_ACCOUNT_FREE_FAILURES as usize);
    assert!(wait(&mut throttle, attempt(1, 5000), now) > 0, "a stranger waits");
    assert_eq!(wait(&mut throttle, owner, now), 0, "the owner does not");
    assert!(throttle.is_known(&owner) && !throttle.is_known(&attempt(1, 9)));
    assert!(!throttle.is_known(&attempt(2, 1)), "nor is another account from there");
}

#[test]
fn an_account_of_the_same_name_behind_a_door_opens_no_other() {
    let mut throttle = Throttle::default();
    let now = Duration::from_secs(1);
    let at_door = |from| attempt(1, from).at_door(digest(77));
    // Somebody signs in to an account of that name at a door of their own from everywhere.
    for from in 1..=200 {
        assert_eq!(wait(&mut throttle, at_door(from), now), 0);
        throttle.succeeded(&at_door(from), now);
    }
    assert!(throttle.is_known(&at_door(1)) && !throttle.is_known(&attempt(1, 1)));
    // None of it gives more guesses at the platform's account, with sign-ins in between.
    let mut judged = 0;
    for from in 1..=200 {
        for _ in 0..THROTTLE_FREE_FAILURES {
            judged += u64::from(wait(&mut throttle, attempt(1, from), now) == 0);
        }
        if wait(&mut throttle, at_door(from), now) == 0 {
            throttle.succeeded(&at_door(from), now);
        }
    }
    assert!(judged <= u64::from(THROTTLE_ACCOUNT_FREE_FAILURES) + 1, "{judged} guesses");
    // At the door, where its account is gone by now, the platform's is tried: no more there.
    assert_eq!(wait(&mut throttle, at_door(150), now), 0, "known at the door");
    assert!(throttle.goes_on(&at_door(150), now).is_err());
    // The owner of the door's account still gets in from where they were.
    assert_eq!(wait(&mut throttle, at_door(151), now), 0);
    // Mistakes there are forgiven by a sign-in there.
    let mut throttle = Throttle::default();
    for _ in 0..20 {
        for _ in 0..THROTTLE_FREE_FAILURES {
            assert_eq!(wait(&mut throttle, at_door(1), now), 0);
        }
        throttle.succeeded(&at_door(1), now);
    }
    // Where many guessed, whoever waited may try, wherever they come from.
    let later = now + THROTTLE_DELAY_MAX;
    for from in 0..300 {
        let _ = throttle.attempt(&attempt(5, from), now);
    }
    assert!(wait(&mut throttle, attempt(5, 900), now) > 0);
    assert_eq!(wait(&mut throttle, attempt(5, 900), later), 0);
    assert!(throttle.goes_on(&attempt(5, 900), later).is_ok(), "its own attempt blocks none");
}

#[test]
fn what_names_no_account_counts_for_its_address() {
    let mut throttle = Throttle::default();
    let now = Duration::from_secs(1);
    for _ in 0..1000 {
        throttle.attempt_from(digest(9), now).expect("what succeeds costs nothing");
        throttle.withdrawn_from(digest(9));
    }
    let mut waits = || throttle.attempt_from(digest(9), now).is_err();
    let tried = (0..1000).filter(|_| !waits()).count();
    assert_eq!(tried, THROTTLE_ADDRESS_FREE_FAILURES as usize + 1);
    assert_eq!(wait(&mut throttle, attempt(1, 8), now), 0, "another address");
    assert!(wait(&mut throttle, attempt(1, 9), now) > 0, "passwords from there wait too");
}

#[test]
fn what_was_not_looked_at_is_no_guess_and_forgives_none() {
    let mut throttle = Throttle::default();
    let now = Duration::from_secs(1);
    for _ in 0..1000 {
        assert_eq!(wait(&mut throttle, attempt(1, 1), now), 0, "the platform was busy");
        throttle.withdrawn(&attempt(1, 1));
    }
    let guesses = (0..1000).filter(|_| wait(&mut throttle, attempt(1, 1), now) == 0).count();
    assert_eq!(guesses, THROTTLE_FREE_FAILURES as usize + 1);
    // One that was under way with those ends: theirs still count.
    let mut throttle = Throttle::default();
    assert_eq!(wait(&mut throttle, attempt(1, 1), now), 0);
    for _ in 0..=THROTTLE_FREE_FAILURES {
        throttle.failed(attempt(1, 1).pair(), now);
    }
    throttle.withdrawn(&attempt(1, 1));
    assert!(wait(&mut throttle, attempt(1, 1), now) > 0);
}

#[test]
fn one_valid_account_does_not_open_the_others() {
    let mut throttle = Throttle::default();
    let now = Duration::from_secs(1);
    let mut guesses = 0;
    for account in 1..1000 {
        guesses += u32::from(wait(&mut throttle, attempt(account, 7), now) == 0);
        let own = attempt(0, 7);
        if wait(&mut throttle, own, now) == 0 {
            throttle.succeeded(&own, now);
        }
    }
    assert!(guesses <= THROTTLE_ADDRESS_FREE_FAILURES + 1, "{guesses}");
}

#[test]
fn memory_is_bounded_and_a_blocked_subject_survives_a_flood() {
    let mut throttle = Throttle::with_capacity(100);
    let now = Duration::from_secs(1);
    for _ in 0..20 {
        let _ = wait(&mut throttle, attempt(0, 0), now);
    }
    for number in 1..10_000 {
        let _ = wait(&mut throttle, attempt(number, number), now);
        assert!(throttle.len() <= 100);
    }
    assert!(wait(&mut throttle, attempt(0, 0), now) > 0);
}

#[test]
fn room_is_made_of_the_oldest_and_its_indexes_agree() {
    let mut throttle = Throttle::with_capacity(100);
    let second = |number: u32| Duration::from_secs(number.into());
    for number in 0..1_000 {
        let one = attempt(number, number);
        assert_eq!(wait(&mut throttle, one, second(number)), 0);
        throttle.succeeded(&one, second(number));
    }
    let Throttle { subjects, known, .. } = &throttle;
    let remembered = subjects.all.len();
    assert!(remembered > 90 && remembered <= 100, "{remembered}");
    assert_eq!((subjects.by_count.len(), subjects.by_age.len()), (remembered, remembered));
    assert_eq!((known.all.len(), known.by_age.len()), (100, 100));
    assert!(known.all.contains_key(&attempt(999, 999).pair()));
    assert!(!known.all.contains_key(&attempt(899, 899).pair()));
    // What is past its time goes first, however many failures it has.
    for _ in 0..9 {
        let _ = wait(&mut throttle, attempt(1_000, 1_000), second(1_000));
    }
    let blocked = attempt(1_000, 1_000).pair();
    assert!(throttle.subjects.all.contains_key(&blocked));
    let later = second(1_000) + THROTTLE_MEMORY;
    for number in 2_000..2_100 {
        let _ = wait(&mut throttle, attempt(number, number), later);
    }
    assert!(!throttle.subjects.all.contains_key(&blocked));
}
