//! Notes come back as they were told, and damage is seen.

use veritwin_domain::{DeviceId, TenantId};

use super::*;

fn key() -> SessionKey {
    let (tenant, device) = (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
    SessionKey { tenant, device, client_id: "client-ä".to_owned() }
}

fn held() -> Held {
    let will = KeptWill {
        credential: CredentialId::from_bytes([3; 16]),
        is_v5: true,
        topic: "gone".to_owned(),
        payload: b"yes"[..].into(),
        qos: 1,
        retain: true,
        properties: b"\x00"[..].into(),
        delay_seconds: 9,
    };
    let away_at = Some(Timestamp::from_micros(-5));
    let credential = CredentialId::from_bytes([4; 16]);
    Held { turn: 7, credential, keep_seconds: 60, away_at, clean: true, will: Some(will) }
}

fn notes() -> Vec<Note> {
    let options = Options { qos: 2, no_local: true, ..Options::default() };
    let kind = FilterKind::Relay;
    let subscription = Subscription { filter: "a/#".to_owned(), kind, options, id: Some(4) };
    let delivery = Delivery {
        topic: "a/b".into(),
        payload: b"\0\xff"[..].into(),
        properties: Arc::default(),
        expires_at: None,
        qos: 2,
        retain: false,
        ids: vec![4, 5],
        reserved: None,
        place: Some(81),
        again: true,
    };
    let kept = Kept {
        round: 3,
        held: held(),
        subscriptions: vec![subscription.clone()],
        received: vec![1, 65_535],
        released: vec![40],
    };
    vec![
        Note::Held(held()),
        Note::Held(Held { will: None, away_at: None, ..held() }),
        Note::Ended(5),
        Note::Subscribed(vec![(subscription, true)]),
        Note::Unsubscribed(vec!["a/#".to_owned()]),
        Note::Arrived(vec![3]),
        Note::Freed(vec![3, 4]),
        Note::Released(vec![8]),
        Note::Settled(vec![u64::MAX - 1, 0]),
        Note::Taken { place: 9, share: "$share/g/a".to_owned(), elsewhere: true },
        Note::WillDone(6),
        Note::Kept(Box::new(kept)),
        Note::Waits(3, delivery),
    ]
}

#[test]
fn notes_come_back_and_damage_is_seen() {
    for note in notes() {
        let told = note.of(&key());
        let (found, read) = Note::read(&told).expect("a note");
        assert_eq!(found, key());
        assert_eq!(format!("{read:?}"), format!("{note:?}"));
        assert_eq!(read.of(&key()), told);
        for end in 0..told.body.len() {
            let body = told.body[..end].into();
            assert!(Note::read(&SessionNote { body, ..told.clone() }).is_none(), "{note:?}");
        }
    }
}
