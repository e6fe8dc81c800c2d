//! Reading back when keys are gone: only their own tenant's entries are lost to view.

use veritwin_keys::DestructionMethod;
use veritwin_log::{Record, Unreadable};

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
