//! Mails of checkpoints and what is kept of sent mail: due across tenants, read by their own alone,
//! gone with them.

use veritwin_domain::{MailingId, SentMailId};
use veritwin_metastore::{LedgerMailing, Page, SentMail};

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
async fn sent_mail_is_sealed_once_and_purged_by_age() {
    everywhere(async |world| {
        let mail = |seconds| SentMail {
            id: SentMailId::generate(later(seconds), world.rng.as_ref()),
            sent_at: later(seconds),
            body: format!("mail {seconds}").into_bytes(),
            leaf: None,
        };
        let (first, second) = (mail(1), mail(2));
        let tx = world.platform().await;
        tx.sent_mail_add(world.tenant, &first).await.expect("written");
        tx.sent_mail_add(world.tenant, &second).await.expect("written");
        tx.sent_mail_add(world.other, &mail(3)).await.expect("written");
        let unsealed = tx.sent_mails_unsealed(later(2), 10).await.expect("read");
        let ids: Vec<_> = unsealed.iter().map(|one| (one.tenant, one.id)).collect();
        assert_eq!(ids, [(world.tenant, first.id), (world.tenant, second.id)]);
        assert_eq!(unsealed[0].mail.as_ref(), Some(&first), "{}", world.label);
        let key = (world.tenant, first.id);
        tx.sent_mail_sealed(key, Some(7), later(9)).await.expect("noted");
        tx.sent_mail_sealed(key, Some(8), later(9)).await.expect("no more");
        tx.sent_mail_sealed((world.tenant, second.id), None, later(9)).await.expect("later");
        assert!(tx.sent_mails_unsealed(later(2), 10).await.expect("read").is_empty());
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        let listed = tx.sent_mails(&Page { limit: 1, after: None }).await.expect("read");
        assert_eq!(listed.items, [second.clone()]);
        let page = Page { limit: 5, after: listed.next };
        let listed = tx.sent_mails(&page).await.expect("read");
        assert_eq!(listed.items, [SentMail { leaf: Some(7), ..first }]);
        drop(tx);

        let tx = world.platform().await;
        assert_eq!(tx.sent_mails_purge(later(1)).await.expect("purged"), 1);
        tx.tenant_delete(world.tenant).await.expect("deleted");
        let left = tx.sent_mails_unsealed(later(99), 10).await.expect("read");
        assert!(left.iter().all(|one| one.tenant == world.other), "gone with the tenant");
        tx.commit().await.expect("commit");
    })
    .await;
}
