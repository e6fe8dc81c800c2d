//! Mails of checkpoints and what is kept of sent mail: due across tenants, read by their own alone,
//! gone with them.

use veritwin_domain::{BatchId, MailingId, SentMailId};
use veritwin_metastore::{HoldScope, LedgerKind, LedgerMailing, Page, SentMail};

use crate::world::{START, everywhere, later};

#[tokio::test]
async fn mailings_are_due_and_moved_on_by_one_at_a_time() {
    everywhere(async |world| {
        let mailing = LedgerMailing {
            id: MailingId::generate(START, world.rng.as_ref()),
            body: b"to an auditor".to_vec(),
            next_at: Some(later(5)),
            version: 1,
            created_at: START,
            updated_at: START,
        };
        let on_demand = LedgerMailing {
            id: MailingId::generate(later(1), world.rng.as_ref()),
            next_at: None,
            ..mailing.clone()
        };
        let tx = world.begin().await;
        tx.ledger_mailing_create(&mailing).await.expect("written");
        tx.ledger_mailing_create(&on_demand).await.expect("written");
        assert_eq!(tx.ledger_mailing_count().await.expect("counted"), 2);
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        assert!(tx.ledger_mailings_due(later(4), 10).await.expect("read").is_empty());
        let due = tx.ledger_mailings_due(later(5), 10).await.expect("read");
        assert_eq!(due, [(world.tenant, mailing.id)], "{}", world.label);
        tx.ledger_mailing_later(world.tenant, mailing.id, later(9)).await.expect("put off");
        tx.commit().await.expect("commit");

        let tx = world.begin().await;
        let stale = tx.ledger_mailing_update(&mailing).await;
        assert!(stale.is_err(), "it was put off since");
        drop(tx);
        let tx = world.begin().await;
        let read = tx.ledger_mailing(mailing.id).await.expect("there");
        assert_eq!((read.next_at, read.version), (Some(later(9)), 2));
        let moved = LedgerMailing { body: b"mailed".to_vec(), next_at: None, ..read };
        tx.ledger_mailing_update(&moved).await.expect("moved");
        tx.commit().await.expect("commit");
        let other = world.begin_in(world.other).await;
        assert!(other.ledger_mailing(mailing.id).await.is_err(), "nobody else's");
        assert!(other.ledger_mailings().await.expect("read").is_empty());
        assert!(other.ledger_mailing_delete(mailing.id).await.is_err());
        drop(other);
        let tx = world.begin().await;
        assert_eq!(tx.ledger_mailings().await.expect("read")[0].body, b"mailed");
        tx.ledger_mailing_delete(mailing.id).await.expect("ended");
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn sent_mail_waits_for_the_ledger_with_its_record_and_is_purged_by_age() {
    everywhere(async |world| {
        let mail = |seconds| SentMail {
            id: SentMailId::generate(later(seconds), world.rng.as_ref()),
            sent_at: later(seconds),
            body: format!("mail {seconds}").into_bytes(),
        };
        let (first, second) = (mail(1), mail(2));
        let sealed = || br#"{"sha256":"00"}"#.to_vec();
        let tx = world.platform().await;
        tx.sent_mail_add(world.tenant, &first, sealed()).await.expect("written");
        tx.sent_mail_add(world.tenant, &second, sealed()).await.expect("written");
        tx.sent_mail_add(world.other, &mail(3), sealed()).await.expect("written");
        tx.commit().await.expect("commit");

        let batch = BatchId::from_bytes([7; 16]);
        let tx = world.begin().await;
        let waiting = tx.ledger_items_waiting(10).await.expect("read");
        let ids: Vec<_> = waiting.iter().map(|item| (item.id, item.kind)).collect();
        let expected = [&first, &second].map(|mail| (mail.sealed_id(), LedgerKind::Mail));
        assert_eq!(ids, expected, "{}", world.label);
        assert_eq!(waiting[0].body, sealed());
        tx.ledger_items_taken((&[first.sealed_id()], 1), batch, None).await.expect("taken");
        tx.ledger_batch_sealed(batch, 7).await.expect("noted");
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        let asked = [first.sealed_id(), second.sealed_id()];
        let leaves = tx.ledger_leaves(&asked).await.expect("read");
        assert_eq!(leaves, [(first.sealed_id(), 7)]);
        assert!(tx.ledger_leaves(&[]).await.expect("read").is_empty());
        let listed = tx.sent_mails(&Page { limit: 1, after: None }).await.expect("read");
        assert_eq!(listed.items, std::slice::from_ref(&second));
        let page = Page { limit: 5, after: listed.next };
        let listed = tx.sent_mails(&page).await.expect("read");
        assert_eq!(listed.items, std::slice::from_ref(&first));
        drop(tx);
        let other = world.begin_in(world.other).await;
        assert!(other.ledger_leaves(&asked).await.expect("read").is_empty(), "nobody else's");
        drop(other);

        let tx = world.platform().await;
        let hold = |tenant, from, to| {
            let scope = HoldScope { from: Some(from), to: Some(to), ..HoldScope::default() };
            [(tenant, scope)]
        };
        let kept = hold(world.tenant, later(1), later(2));
        assert_eq!(tx.sent_mails_purge(later(1), &kept).await.expect("held"), 0);
        let beside = hold(world.other, later(0), later(9));
        assert_eq!(tx.sent_mails_purge(later(1), &beside).await.expect("purged"), 1);
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        let leaves = tx.ledger_leaves(&asked).await.expect("read");
        assert_eq!(leaves.len(), 1, "what was sealed stays");
    })
    .await;
}
