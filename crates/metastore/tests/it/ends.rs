//! Ends of organisations and mailboxes for requests: one of a tenant, its own, changed by one at a
//! time; what a tenant had goes, and what tells of its end stays.

use std::time::Duration;

use veritwin_domain::{CaseId, Timestamp};
use veritwin_metastore::{
    CaseKind, CaseSource, CaseState, Error, MailRank, MailboxProblem, NewMail, Page, RightsMailbox,
    StoredCase, StoredTenantEnd, TenantEndState, tenant_tables,
};

use crate::world::{START, World, everywhere};

fn later(seconds: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(seconds))
}

fn end() -> StoredTenantEnd {
    StoredTenantEnd {
        state: TenantEndState::Asked,
        body: b"who, and why".to_vec(),
        asked_at: START,
        due_at: Some(later(60)),
        version: 1,
    }
}

async fn case(world: &World) -> CaseId {
    let id = CaseId::generate(START, world.rng.as_ref());
    let case = StoredCase {
        id,
        kind: CaseKind::Access,
        state: CaseState::Open,
        source: CaseSource::Mail,
        address: None,
        user: None,
        mail: Some([9; 32]),
        body: b"what".to_vec(),
        received_at: START,
        answer_by: START,
        next_at: None,
        closed_at: None,
        version: 1,
    };
    let tx = world.begin().await;
    tx.case_create(&case).await.expect("written");
    tx.commit().await.expect("commit");
    id
}

#[tokio::test]
async fn an_end_is_its_tenants_own_and_changed_by_one_at_a_time() {
    everywhere(async |world| {
        let tx = world.begin().await;
        assert!(tx.tenant_end().await.expect("none").is_none());
        tx.tenant_end_create(&end()).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.tenant_end_create(&end()).await.is_err(), "there is one");
        drop(tx);

        let tx = world.begin_in(world.other).await;
        assert!(tx.tenant_end().await.expect("none").is_none());
        assert!(matches!(tx.tenant_end_update(&end()).await, Err(Error::Conflict { .. })));
        assert!(matches!(tx.tenant_end_delete().await, Err(Error::NotFound { .. })));
        drop(tx);

        let tx = world.platform().await;
        assert!(!tx.tenant_ends_due(later(59)).await.expect("read").contains(&world.tenant));
        assert!(tx.tenant_ends_due(later(60)).await.expect("read").contains(&world.tenant));
        tx.tenant_end_postpone(world.tenant, later(120)).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let read = tx.tenant_end().await.expect("read").expect("one");
        assert_eq!(read, StoredTenantEnd { due_at: Some(later(120)), ..end() });
        let done = StoredTenantEnd { state: TenantEndState::Done, due_at: None, ..read };
        tx.tenant_end_update(&done).await.expect("written");
        assert!(matches!(tx.tenant_end_update(&done).await, Err(Error::Conflict { .. })));
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert!(!tx.tenant_ends_due(later(999)).await.expect("read").contains(&world.tenant));
        let all = tx.tenant_ends().await.expect("read");
        let own = all.into_iter().find(|(tenant, _)| *tenant == world.tenant).expect("listed");
        assert_eq!(own.1, StoredTenantEnd { version: 2, ..done });
    })
    .await;
}

#[tokio::test]
async fn what_a_tenant_had_goes_and_what_tells_of_its_end_stays() {
    everywhere(async |world| {
        let id = case(world).await;
        let tx = world.begin().await;
        tx.tenant_end_create(&end()).await.expect("written");
        tx.commit().await.expect("commit");
        assert!(tenant_tables().contains(&"rights_cases"));
        for table in tenant_tables() {
            let tx = world.platform().await;
            tx.tenant_empty(world.tenant, table).await.expect(table);
            assert!(!tx.tenant_has_any(world.tenant, table).await.expect(table), "{table}");
            tx.commit().await.expect("commit");
        }
        let tx = world.platform().await;
        let mail = NewMail::new(MailRank::Account, "over", b"it is over");
        assert!(tx.outbox_add(mail, Some(world.tenant)).await.expect("queued"));
        assert!(tx.outbox_waits_for(world.tenant).await.expect("read"));
        assert!(!tx.outbox_waits_for(world.other).await.expect("read"));
        assert!(tx.outbox_written_for(world.other).await.expect("none").is_empty());
        assert_eq!(tx.outbox_written_for(world.tenant).await.expect("read").len(), 1);
        assert_eq!(tx.outbox_forget(world.other).await.expect("none"), 0);
        assert_eq!(tx.outbox_forget(world.tenant).await.expect("deleted"), 1);
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        assert!(matches!(tx.case(id).await, Err(Error::NotFound { .. })));
        assert!(tx.tenant_end().await.expect("read").is_some());
        assert!(tx.tenant().await.is_ok(), "its name goes with its key");
    })
    .await;
}

#[tokio::test]
async fn a_mailbox_is_its_tenants_own_and_read_on_from_where_it_was() {
    everywhere(async |world| {
        let made = RightsMailbox {
            body: b"server, user, password".to_vec(),
            numbering: 0,
            read_to: 0,
            read_at: None,
            problem: None,
            next_at: START,
            version: 1,
        };
        let tx = world.begin().await;
        tx.mailbox_put(&made, 0).await.expect("written");
        assert!(matches!(tx.mailbox_put(&made, 0).await, Err(Error::Conflict { .. })));
        assert_eq!(tx.mailbox().await.expect("read"), Some(made.clone()));
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.other).await;
        assert!(tx.mailbox().await.expect("none").is_none());
        assert!(matches!(tx.mailbox_delete().await, Err(Error::NotFound { .. })));
        drop(tx);
        let tx = world.platform().await;
        assert!(tx.mailboxes_due(START).await.expect("read").contains(&world.tenant));
        tx.mailbox_postpone(world.tenant, later(60)).await.expect("written");
        tx.commit().await.expect("commit");
        let read = RightsMailbox {
            numbering: 7,
            read_to: 11,
            read_at: Some(START),
            problem: Some(MailboxProblem::Full),
            next_at: later(300),
            ..made.clone()
        };
        let tx = world.begin().await;
        tx.mailbox_read(&read).await.expect("written");
        assert_eq!(tx.mailbox().await.expect("read"), Some(read.clone()));
        // What was changed meanwhile is read from its own beginning.
        tx.mailbox_put(&made, 1).await.expect("written");
        tx.mailbox_read(&read).await.expect("nothing of that version");
        let now = tx.mailbox().await.expect("read").expect("one");
        assert_eq!((now.version, now.numbering, now.problem), (2, 0, None));
        tx.mailbox_delete().await.expect("deleted");
        tx.commit().await.expect("commit");
        assert!(world.read().await.mailbox().await.expect("none").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_mail_opens_one_case() {
    everywhere(async |world| {
        let id = case(world).await;
        let tx = world.begin().await;
        let found = tx.case_of_mail([9; 32]).await.expect("read").expect("one");
        assert_eq!(found.id, id);
        // Which right it is may be said later.
        let named = StoredCase { kind: CaseKind::Erasure, ..found };
        tx.case_update(&named).await.expect("written");
        let all = tx.cases(true, &Page::first(10)).await.expect("read").items;
        assert_eq!(all[0].kind, CaseKind::Erasure);
        drop(tx);
        let tx = world.begin_in(world.other).await;
        assert!(tx.case_of_mail([9; 32]).await.expect("none").is_none());
    })
    .await;
}
