//! Who has a session says how it is kept, and an id has one message at a time.

use veritwin_domain::CredentialId;

use super::super::relay::Relays;
use super::super::relay::tests::{DEVICE, message};
use super::*;

fn key() -> SessionKey {
    let tenant = TenantId::from_bytes([1; 16]);
    SessionKey { tenant, device: DEVICE, client_id: "c".to_owned() }
}

fn session() -> Arc<Session> {
    Session::new(DEVICE, Relays::default().of(key().tenant))
}

fn held(turn: u64) -> Held {
    let (credential, away_at) = (CredentialId::from_bytes([3; 16]), None);
    Held { turn, credential, keep_seconds: 60, away_at, clean: true, will: None }
}

#[test]
fn whoever_has_it_says_how_it_is_kept() {
    let session = session();
    session.hold(1, 7);
    session.hold(2, 8);
    let late = session.keep_for(7, &key(), |turn, _| held(turn));
    assert!(late.is_empty() && session.kept().is_none() && session.lock().held.is_none());
    let notes = session.keep_for(8, &key(), |turn, is_untold| {
        assert!(is_untold);
        held(turn)
    });
    assert!(matches!(&notes[..], [Note::Held(Held { turn: 2, .. })]), "{notes:?}");
    let late = session.keep_for(7, &key(), |_, _| held(1));
    assert!(late.is_empty());
    assert_eq!(session.lock().held.as_ref().map(|held| held.turn), Some(2));
}

#[test]
fn one_that_is_kept_only_later_is_told_whole() {
    let session = session();
    session.hold(1, 7);
    let delivery = |place| Delivery {
        place: Some(place),
        ..Delivery::of(&message("a"), 1, false, Vec::new())
    };
    for place in [4, 6] {
        assert_eq!(session.offer(delivery(place)), None);
    }
    let notes = session.keep_for(7, &key(), |turn, _| held(turn));
    let whole = matches!(&notes[0], Note::Kept(kept) if kept.round == WHOLE);
    assert!(whole, "{notes:?}");
    let waits = |note: &Note| match note {
        Note::Waits(WHOLE, delivery) => delivery.place,
        _ => None,
    };
    let places: Vec<u64> = notes.iter().filter_map(waits).collect();
    assert_eq!(places, [4, 6]);
    // Told once.
    let notes = session.keep_for(7, &key(), |turn, _| held(turn));
    assert!(matches!(&notes[..], [Note::Held(_)]), "{notes:?}");
}

/// Another message has the id of one that is done with when that is durable.
#[test]
fn an_id_is_taken_until_it_is_told_that_its_message_is_done_with() {
    let session = session();
    session.hold(1, 7);
    session.keep_for(7, &key(), |turn, _| held(turn));
    let delivery = |place| Delivery {
        place: Some(place),
        qos: 2,
        ..Delivery::of(&message("a"), 2, false, Vec::new())
    };
    let mut state = session.lock();
    let id = state.packet_id_of(&delivery(5));
    state.settle_id(id, Some(5));
    let next = delivery(5 + u64::from(PLACED_IDS));
    assert!(!state.has_id_for(&next) && state.has_id_for(&delivery(6)));
    drop(state);
    // Taken to be told, and told when the next ones are taken.
    assert!(matches!(&session.take_notes()[..], [Note::Settled(places)] if places == &[5]));
    assert!(!session.lock().has_id_for(&next));
    assert!(session.take_notes().is_empty());
    assert!(session.lock().has_id_for(&next));
}
