//! Destructions: each its tenant's own, changed by one at a time, found while they are open.

use veritwin_domain::{DestructionId, Timestamp};
use veritwin_metastore::{DestructionState, Error, StoredDestruction};

use crate::world::{START, everywhere};

#[tokio::test]
async fn destructions_are_their_tenants_own_and_open_until_they_are_done() {
    everywhere(async |world| {
        let one = StoredDestruction {
            id: DestructionId::generate(START, world.rng.as_ref()),
            state: DestructionState::Asked,
            body: b"of one device".to_vec(),
            version: 1,
            requested_at: START,
        };
        let tx = world.begin().await;
        tx.destruction_create(&one).await.expect("written");
        tx.commit().await.expect("commit");
        let open = world.platform().await.destructions_open(None).await.expect("read");
        assert_eq!(open, [(world.tenant, one.clone())]);

        let tx = world.begin_in(world.other).await;
        assert!(tx.destructions().await.expect("none").is_empty());
        assert!(matches!(tx.destruction(one.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.destruction_update(&one).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.destruction_delete(one.id).await, Err(Error::NotFound { .. })));
        drop(tx);

        let done = StoredDestruction {
            state: DestructionState::Done,
            body: b"with its certificate".to_vec(),
            ..one.clone()
        };
        let tx = world.begin().await;
        tx.destruction_update(&done).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(matches!(tx.destruction_update(&done).await, Err(Error::Conflict { .. })));
        drop(tx);
        let found = world.read().await.destructions().await.expect("read");
        assert_eq!(found, [StoredDestruction { version: 2, ..done }]);
        let open = world.platform().await.destructions_open(None).await.expect("read");
        assert!(open.is_empty());
        let us = |by: i64| Timestamp::from_micros(START.as_micros() + by);
        let tx = world.platform().await;
        let over = tx.destructions_over((us(-1), us(1)), None).await.expect("read");
        assert_eq!(
            over.iter().map(|(of, it)| (*of, it.id)).collect::<Vec<_>>(),
            [(world.tenant, one.id)]
        );
        let behind = Some((START, one.id));
        assert!(tx.destructions_over((us(-1), us(1)), behind).await.expect("read").is_empty());
        assert!(tx.destructions_over((us(-1), us(0)), None).await.expect("read").is_empty());
        assert!(tx.destructions_over((us(0), us(1)), None).await.expect("read").is_empty());
        tx.destruction_forget(world.other, one.id).await.expect("not theirs");
        assert_eq!(tx.destructions_over((us(-1), us(1)), None).await.expect("read").len(), 1);
        tx.destruction_forget(world.tenant, one.id).await.expect("forgotten");
        tx.commit().await.expect("commit");
        assert!(world.read().await.destructions().await.expect("read").is_empty());
    })
    .await;
}

#[tokio::test]
async fn however_many_wait_the_last_is_found() {
    everywhere(async |world| {
        let ids: Vec<DestructionId> =
            (0..70).map(|_| DestructionId::generate(START, world.rng.as_ref())).collect();
        let tx = world.begin().await;
        for id in &ids {
            let body = Vec::new();
            let state = DestructionState::Waiting;
            let one = StoredDestruction { id: *id, state, body, version: 1, requested_at: START };
            tx.destruction_create(&one).await.expect("written");
        }
        tx.commit().await.expect("commit");
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let open = world.platform().await.destructions_open(after).await.expect("read");
            let Some((_, last)) = open.last() else { break };
            after = Some((last.requested_at, last.id));
            assert!(open.len() < ids.len(), "a bounded number at once");
            found.extend(open.iter().map(|(_, one)| one.id));
        }
        let mut expected = ids;
        expected.sort_unstable();
        assert_eq!(found, expected);
        let tx = world.begin().await;
        for id in &expected {
            tx.destruction_delete(*id).await.expect("deleted");
        }
        tx.commit().await.expect("commit");
    })
    .await;
}
