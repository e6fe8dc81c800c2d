//! Registers: each its tenant's own, changed by one at a time, personal details under its own key.

use veritwin_domain::RegisterEntryId;
use veritwin_metastore::{Error, RegisterEntry, RegisterKind, RegisterState};

use crate::world::{START, everywhere};

#[tokio::test]
async fn an_entry_is_its_tenants_own_and_changed_by_one_at_a_time() {
    everywhere(async |world| {
        let entry = |kind: RegisterKind| RegisterEntry {
            id: RegisterEntryId::generate(START, world.rng.as_ref()),
            kind,
            state: RegisterState::InForce,
            body: b"what it says".to_vec(),
            book: None,
            review_at: Some(START),
            version: 1,
            created_at: START,
        };
        let (flow, person) = (entry(RegisterKind::Flow), entry(RegisterKind::OptIn));
        let tx = world.begin().await;
        tx.register_entry_create(&flow).await.expect("written");
        tx.register_entry_create(&person).await.expect("written");
        tx.commit().await.expect("commit");
        let kinds = [RegisterKind::Flow, RegisterKind::OptIn];
        let all = world.platform().await.register_entries_of_all(&kinds).await.expect("read");
        assert_eq!(all, [(world.tenant, flow.clone())], "details are not read for all");
        let due = async |at| {
            let tx = world.platform().await;
            tx.register_entries_due(RegisterKind::Flow, at, 10).await.expect("read")
        };
        assert_eq!(due(START).await, [(world.tenant, flow.id)]);
        let earlier = START.saturating_sub(std::time::Duration::from_secs(1));
        assert!(due(earlier).await.is_empty());
        let tx = world.platform().await;
        let later = START.saturating_add(std::time::Duration::from_secs(1));
        tx.register_entry_postpone((world.tenant, flow.id), later).await.expect("postponed");
        let waiting = tx.register_entries_due(RegisterKind::Flow, START, 10).await.expect("read");
        assert!(waiting.is_empty());
        drop(tx);

        let tx = world.begin_in(world.other).await;
        assert!(tx.register_entries(RegisterKind::Flow).await.expect("none").is_empty());
        assert!(matches!(tx.register_entry(flow.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.register_entry_update(&flow).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.register_entry_delete(flow.id).await, Err(Error::NotFound { .. })));
        drop(tx);

        let ended = RegisterEntry {
            state: RegisterState::Ended,
            book: Some(b"noted".to_vec()),
            ..flow.clone()
        };
        let tx = world.begin().await;
        tx.register_entry_update(&ended).await.expect("written");
        assert!(matches!(tx.register_entry_update(&ended).await, Err(Error::Conflict { .. })));
        tx.register_entry_delete(person.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        let found = tx.register_entries(RegisterKind::Flow).await.expect("read");
        assert_eq!(found, [RegisterEntry { version: 2, ..ended }]);
        let (of, in_force) = (RegisterKind::Flow, RegisterState::InForce);
        assert!(tx.register_entries_in(of, in_force).await.expect("read").is_empty());
        assert_eq!(tx.register_entries_in(of, RegisterState::Ended).await.expect("read"), found);
        assert!(tx.register_entries(RegisterKind::OptIn).await.expect("read").is_empty());
    })
    .await;
}
