//! Requests of data subjects: each its tenant's own, found by account, address and clock; what is
//! purged leaves those whose limit still counts.

use std::time::Duration;

use veritwin_domain::{CaseId, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, Error, Page, StoredCase, StoredLimit};

use crate::world::{START, World, everywhere};

fn case(world: &World, kind: CaseKind, user: Option<UserId>) -> StoredCase {
    StoredCase {
        id: CaseId::generate(START, world.rng.as_ref()),
        kind,
        state: CaseState::Open,
        source: CaseSource::Account,
        address: Some([7; 32]),
        user,
        mail: None,
        body: b"who, and what".to_vec(),
        received_at: START,
        answer_by: START,
        next_at: Some(START),
        closed_at: None,
        version: 1,
    }
}

#[tokio::test]
async fn a_case_is_its_tenants_own_and_changed_by_one_at_a_time() {
    everywhere(async |world| {
        let user = UserId::generate(START, world.rng.as_ref());
        let made = case(world, CaseKind::Access, Some(user));
        let tx = world.begin().await;
        tx.case_create(&made).await.expect("written");
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        assert_eq!(tx.case(made.id).await.expect("read"), made);
        assert_eq!(tx.cases_of(user).await.expect("read"), [made.clone()]);
        assert_eq!(tx.cases_of_address([7; 32]).await.expect("read"), [made.clone()]);
        assert_eq!(tx.cases_open(None).await.expect("counted"), 1);
        assert_eq!(tx.cases_open(Some(CaseSource::Form)).await.expect("counted"), 0);
        drop(tx);
        let tx = world.platform().await;
        assert_eq!(tx.tenant_of_case(made.id).await.expect("read"), Some(world.tenant));
        let whose = (world.tenant, made.id);
        assert!(tx.cases_due(START).await.expect("read").contains(&whose));
        assert_eq!(tx.cases_of_account(user).await.expect("read"), [whose]);
        drop(tx);

        let tx = world.begin_in(world.other).await;
        assert!(matches!(tx.case(made.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.case_update(&made).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.case_delete(made.id).await, Err(Error::NotFound { .. })));
        assert!(tx.cases_of(user).await.expect("none").is_empty());
        assert!(tx.cases_of_address([7; 32]).await.expect("none").is_empty());
        drop(tx);

        let closed = StoredCase {
            state: CaseState::Answered,
            next_at: None,
            closed_at: Some(START),
            ..made.clone()
        };
        let tx = world.begin().await;
        tx.case_update(&closed).await.expect("written");
        assert!(matches!(tx.case_update(&closed).await, Err(Error::Conflict { .. })));
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        assert!(tx.cases(true, &Page::first(10)).await.expect("read").items.is_empty());
        let all = tx.cases(false, &Page::first(10)).await.expect("read").items;
        assert_eq!(all, [StoredCase { version: 2, ..closed }]);
    })
    .await;
}

#[tokio::test]
async fn a_limit_outlives_the_time_that_its_case_is_kept() {
    everywhere(async |world| {
        let long_ago = START.saturating_sub(Duration::from_secs(86_400));
        let closed = |kind, state| StoredCase {
            state,
            next_at: None,
            closed_at: Some(long_ago),
            ..case(world, kind, None)
        };
        let counts = closed(CaseKind::Restriction, CaseState::Answered);
        let ended = closed(CaseKind::Restriction, CaseState::Withdrawn);
        let other = closed(CaseKind::Access, CaseState::Answered);
        let limit = StoredLimit {
            id: counts.id,
            user: None,
            address: Some([7; 32]),
            purpose: None,
            body: b"which streams".to_vec(),
            since: long_ago,
        };
        let tx = world.begin().await;
        for one in [&counts, &ended, &other] {
            tx.case_create(one).await.expect("written");
        }
        tx.limit_add(&limit).await.expect("written");
        let wider = StoredLimit { body: b"more streams".to_vec(), ..limit.clone() };
        tx.limit_add(&wider).await.expect("written again");
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert!(tx.cases_purge(long_ago).await.expect("purged") >= 2);
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        assert!(tx.case(counts.id).await.is_ok());
        for gone in [ended.id, other.id] {
            assert!(matches!(tx.case(gone).await, Err(Error::NotFound { .. })));
        }
        assert_eq!(tx.limits().await.expect("read"), [wider]);
        drop(tx);
        let tx = world.begin_in(world.other).await;
        assert!(tx.limits().await.expect("none").is_empty());
        tx.limit_delete(counts.id).await.expect("nothing there");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert_eq!(tx.limits().await.expect("read").len(), 1);
        tx.limit_delete(counts.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        assert!(world.read().await.limits().await.expect("none").is_empty());
    })
    .await;
}
