//! Destructions: each its tenant's own, changed by one at a time, found while they are open.

use veritwin_domain::DestructionId;
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
        let open = world.platform().await.destructions_open().await.expect("read");
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
        let open = world.platform().await.destructions_open().await.expect("read");
        assert!(open.is_empty());
        let tx = world.begin().await;
        tx.destruction_delete(one.id).await.expect("deleted");
        tx.commit().await.expect("commit");
    })
    .await;
}
