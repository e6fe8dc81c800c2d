//! Requests of data subjects: each its tenant's own, found by account, address and clock; what is
//! purged leaves those whose limit still counts.

use std::time::Duration;

use veritwin_domain::{ActivityId, CaseId, StreamActId, UserId};
use veritwin_metastore::{
    Activity, ActivityFilter, CaseKind, CaseSource, CaseState, Error, LedgerKind, MailRank,
    NewMail, Page, StoredCase, StoredLimit, StreamAct,
};

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
        assert_eq!(tx.cases_of(user).await.expect("read"), std::slice::from_ref(&made));
        assert_eq!(tx.cases_of_address([7; 32]).await.expect("read"), std::slice::from_ref(&made));
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

        let carried = StoredCase { state: CaseState::CarryingOut, ..made.clone() };
        let tx = world.begin().await;
        tx.case_update(&carried).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert!(tx.cases_carried().await.expect("read").contains(&whose));
        drop(tx);
        let closed = StoredCase {
            state: CaseState::Answered,
            next_at: None,
            closed_at: Some(START),
            version: 2,
            ..made.clone()
        };
        let tx = world.begin().await;
        tx.case_update(&closed).await.expect("written");
        assert!(matches!(tx.case_update(&closed).await, Err(Error::Conflict { .. })));
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        assert!(tx.cases(true, &Page::first(10)).await.expect("read").items.is_empty());
        let all = tx.cases(false, &Page::first(10)).await.expect("read").items;
        assert_eq!(all, [StoredCase { version: 3, ..closed }]);
        // Each step is sealed once.
        let sealed = tx.ledger_places_about(*made.id.as_bytes()).await.expect("places");
        let kinds: Vec<LedgerKind> = sealed.iter().map(|place| place.kind).collect();
        assert_eq!(kinds, [LedgerKind::RightsCase; 3]);
        drop(tx);
        let tx = world.platform().await;
        assert!(!tx.cases_carried().await.expect("read").contains(&whose));
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

#[tokio::test]
async fn what_tells_of_somebody_goes_out_of_ones_own_rows_alone() {
    everywhere(async |world| {
        let record = Activity {
            id: ActivityId::generate(START, world.rng.as_ref()),
            at: START,
            actor: Some([9; 16]),
            action: "twin.read".to_owned(),
            outcome: "done".to_owned(),
            envelope: b"from where".to_vec(),
            details: Some(b"who".to_vec()),
        };
        let act = StreamAct {
            id: StreamActId::generate(START, world.rng.as_ref()),
            head: Some(b"head".to_vec()),
            body: b"whose".to_vec(),
            created_at: START,
            undone_at: None,
        };
        let tx = world.begin().await;
        tx.activity_add(&record).await.expect("written");
        tx.stream_act_create(&act).await.expect("written");
        let mail = NewMail::new(MailRank::Notice, "erasure", b"to whom");
        assert!(tx.outbox_add(mail).await.expect("queued"));
        tx.commit().await.expect("commit");
        let less = Activity { envelope: b"nowhere".to_vec(), details: None, ..record.clone() };
        let nameless = StreamAct { head: None, body: b"nobody's".to_vec(), ..act.clone() };
        let filter = ActivityFilter { actor: Some([9; 16]), ..ActivityFilter::default() };
        let mails = world.read().await.outbox_written(None, 10).await.expect("read");
        let [(mail, ..)] = mails.as_slice() else { panic!("one mail, not {}", mails.len()) };

        let tx = world.begin_in(world.other).await;
        tx.activity_scrub(&less).await.expect("nothing there");
        tx.stream_act_scrub(&nameless).await.expect("nothing there");
        tx.outbox_remove(*mail).await.expect("nothing there");
        assert!(!tx.outbox_waits(*mail).await.expect("read"));
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        let kept = tx.activity(&filter, &Page::first(10)).await.expect("read").items;
        assert_eq!(kept, [record]);
        assert_eq!(tx.stream_act(act.id).await.expect("read"), act);
        assert!(tx.outbox_waits(*mail).await.expect("read"));
        drop(tx);
        let tx = world.platform().await;
        let own = tx.outbox_written(None, 10).await.expect("read");
        assert!(own.iter().all(|(id, ..)| id != mail), "it is no mail of the platform's");
        drop(tx);

        let tx = world.begin().await;
        tx.activity_scrub(&less).await.expect("written");
        tx.stream_act_scrub(&nameless).await.expect("written");
        tx.outbox_remove(*mail).await.expect("removed");
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        let left = tx.activity(&filter, &Page::first(10)).await.expect("read").items;
        assert_eq!(left, [less]);
        assert_eq!(tx.stream_act(act.id).await.expect("read"), nameless);
        assert!(tx.outbox_written(None, 10).await.expect("read").is_empty());
    })
    .await;
}
