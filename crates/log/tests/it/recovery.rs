//! Reading back when keys are gone: only their own tenant's entries are lost to view.

use std::time::Duration;

use veritwin_domain::Clock;
use veritwin_keys::{DestructionMethod, NewAbove, SecretKey};
use veritwin_log::{FileLog, LogError, Record, Unreadable};

use crate::support::{Fixture, entry, tenant};

#[tokio::test]
async fn missing_keys_make_only_their_own_entries_unreadable() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let all = || vec![entry(1, 0), entry(2, 1), entry(3, 2)];
    log.append(all()).await.unwrap();
    log.append(all()).await.unwrap();
    drop(log);
    fixture.keys.destroy_tenant(tenant(1)).unwrap();
    fixture.keys.revoke(tenant(2)).unwrap();
    let read = || {
        let log = fixture.open();
        let batches = log.read_from(0).unwrap().map(Result::unwrap);
        let records = batches.flat_map(|batch| {
            batch.iter().map(|(at, entry)| (at, (**entry).clone())).collect::<Vec<_>>()
        });
        records.collect::<Vec<_>>()
    };
    let records = read();
    assert_eq!(records.len(), 6);
    for (position, (at, found)) in records.into_iter().enumerate() {
        assert_eq!(at, position as u64);
        match position % 3 {
            0 => assert_eq!(found.record, Record::Unreadable(Unreadable::KeyDestroyed)),
            1 => assert_eq!(found.record, Record::Unreadable(Unreadable::KeyRevoked)),
            _ => assert_eq!(found, entry(3, 2)),
        }
        assert_eq!(found.tenant, tenant(1 + (position % 3) as u8), "the tenant is still known");
    }
    fixture.keys.restore(tenant(2)).unwrap();
    assert_eq!(read()[1].1, entry(2, 1));
}

#[tokio::test]
async fn after_a_withdrawal_nothing_of_the_tenant_is_served_from_memory() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0), entry(2, 1)]).await.unwrap();
    fixture.keys.revoke(tenant(1)).unwrap();
    log.forget_recent();
    let batch = log.consumer(0).unwrap().next().await.unwrap().unwrap();
    assert_eq!(batch.entries[0].record, Record::Unreadable(Unreadable::KeyRevoked));
    assert_eq!(*batch.entries[1], entry(2, 1));
    assert!(log.append(vec![entry(1, 2)]).await.is_err());
}

/// A tenant whose key is held elsewhere, out of reach from now on; what its service would unwrap.
pub(crate) fn silenced(fixture: &Fixture, number: u8) -> SecretKey {
    let kek = fixture.keys.new_kek(tenant(number)).unwrap();
    let secret = kek.secret().clone();
    let fresh_until = fixture.clock.monotonic() + Duration::from_secs(60);
    let above = NewAbove::Held { wrapped: vec![1], fresh_until };
    fixture.keys.install_kek(kek, above).unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.keys.lapse(), [tenant(number)]);
    secret
}

pub(crate) fn give_back(fixture: &Fixture, number: u8, kek: SecretKey) {
    let version = fixture.keys.wrapped_kek(tenant(number)).unwrap().context.version;
    let fresh_until = fixture.clock.monotonic() + Duration::from_secs(60);
    fixture.keys.admit(tenant(number), version, kek, fresh_until).unwrap();
}

#[tokio::test]
async fn what_is_written_in_silence_is_shown_to_nobody_and_read_afterwards() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0)]).await.unwrap();
    let kek = silenced(&fixture, 1);
    log.forget_recent();
    log.append(vec![entry(1, 1), entry(2, 2)]).await.unwrap();
    let read = log.read_from(0).unwrap().map(Result::unwrap);
    let records: Vec<_> = read.flat_map(|batch| batch.entries.clone()).collect();
    for entry in records.iter().filter(|entry| entry.tenant == tenant(1)) {
        assert_eq!(entry.record, Record::Unreadable(Unreadable::KeyUnavailable));
    }
    assert_eq!(*records[2], entry(2, 2));
    let batch = log.consumer(1).unwrap().next().await.unwrap().unwrap();
    assert_eq!(batch.entries[0].record, Record::Unreadable(Unreadable::KeyUnavailable));
    assert!(log.spooled_bytes(tenant(1)) > 0);
    assert_eq!(log.spooled_bytes(tenant(2)), 0);
    drop(log);
    let log = fixture.open();
    log.append(vec![entry(1, 3)]).await.unwrap();
    give_back(&fixture, 1, kek);
    let read = log.read_from(0).unwrap().map(Result::unwrap);
    let records: Vec<_> = read.flat_map(|batch| batch.entries.clone()).collect();
    let records: Vec<_> = records.iter().map(|entry| (**entry).clone()).collect();
    assert_eq!(records, [entry(1, 0), entry(1, 1), entry(2, 2), entry(1, 3)]);
    log.append(vec![entry(1, 4)]).await.unwrap();
    assert_eq!(log.spooled_bytes(tenant(1)), 0);
}

#[tokio::test]
async fn a_spool_has_a_bound_and_others_write_on() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.spool_bytes_max = 2000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    silenced(&fixture, 1);
    let mut taken = 0;
    let refused = loop {
        match log.append(vec![entry(1, taken)]).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1000);
    };
    assert!(matches!(refused, LogError::SpoolFull { max_bytes: 2000, .. }), "{refused}");
    assert!(taken > 5, "{taken}");
    log.append(vec![entry(2, 0)]).await.unwrap();
}

#[tokio::test]
async fn what_a_retired_key_sealed_stands_before_the_mark() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0), entry(2, 1)]).await.unwrap();
    let own = fixture.keys.list(Some(tenant(1)));
    let deks: Vec<_> = own.iter().map(|one| one.id).collect();
    fixture.keys.retire(&deks, Some([1; 16])).unwrap();
    let mark = log.mark(tenant(1)).await.unwrap();
    assert_eq!(mark, 2);
    log.append(vec![entry(1, 2)]).await.unwrap();
    assert_eq!(log.mark(tenant(2)).await.unwrap(), 3, "nothing is written for a mark");
    fixture.keys.destroy(&deks, DestructionMethod::RewrittenThenKeyDestroyed).unwrap();
    log.forget_recent();
    let batches: Vec<_> = log.read_from(0).unwrap().map(Result::unwrap).collect();
    let entries: Vec<_> = batches.iter().flat_map(|batch| &batch.entries).collect();
    assert_eq!(entries[0].record, Record::Unreadable(Unreadable::KeyDestroyed));
    assert_eq!((&**entries[1], &**entries[2]), (&entry(2, 1), &entry(1, 2)));
}

#[tokio::test]
async fn nobody_waits_for_what_a_destroyed_key_sealed() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0)]).await.unwrap();
    silenced(&fixture, 1);
    log.append(vec![entry(1, 1)]).await.unwrap();
    let version = fixture.keys.wrapped_kek(tenant(1)).unwrap().context.version;
    fixture.keys.note_gone(tenant(1), version).unwrap();
    log.forget_recent();
    let batches: Vec<_> = log.read_from(0).unwrap().map(Result::unwrap).collect();
    let entries: Vec<_> = batches.iter().flat_map(|batch| &batch.entries).collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!(entry.record, Record::Unreadable(Unreadable::KeyDestroyed));
    }
    assert!(log.append(vec![entry(1, 2)]).await.is_err());
}
