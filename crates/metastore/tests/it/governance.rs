//! Things of the governance workspace: read page by page, and gone with their changes once they are
//! over for long enough.

use std::time::Duration;

use veritwin_domain::GovernanceId;
use veritwin_metastore::{GovernanceChange, GovernanceItem, GovernanceKind, LedgerKind, Page};

use crate::world::{START, everywhere};

#[tokio::test]
async fn what_is_over_ends_and_pages_hold_each_thing_once() {
    everywhere(async |world| {
        let thing = |kind: GovernanceKind, state: &str, hours: u64| {
            let at = START.saturating_add(Duration::from_secs(hours * 3600));
            GovernanceItem {
                id: GovernanceId::generate(at, world.rng.as_ref()),
                kind,
                parent: None,
                state: state.to_owned(),
                body: b"{}".to_vec(),
                due_at: None,
                version: 1,
                created_at: at,
                updated_at: at,
            }
        };
        let evidence = GovernanceKind::Evidence;
        let (old, kept, late) = (
            thing(evidence, "expired", 0),
            thing(evidence, "current", 1),
            thing(evidence, "expired", 2),
        );
        let tx = world.begin().await;
        for one in [&old, &kept, &late] {
            tx.governance_create(one).await.expect("written");
        }
        let change = GovernanceChange {
            action: "made".to_owned(),
            by: None,
            at: START,
            body: b"{}".to_vec(),
        };
        tx.governance_change_add(old.id, [7; 16], &change).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        let sealed = tx.ledger_places_about(*old.id.as_bytes()).await.expect("places");
        let kinds: Vec<LedgerKind> = sealed.iter().map(|place| place.kind).collect();
        assert_eq!(kinds, [LedgerKind::Governance]);
        let first = tx.governance_page(evidence, &Page::first(2)).await.expect("a page");
        let ids = |items: &[GovernanceItem]| items.iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(&first.items), [late.id, kept.id]);
        let page = Page { after: first.next, ..Page::first(2) };
        let rest = tx.governance_page(evidence, &page).await.expect("a page");
        assert_eq!((ids(&rest.items), rest.next.is_none()), (vec![old.id], true));
        drop(tx);
        let tx = world.platform().await;
        let before = START.saturating_add(Duration::from_secs(3600));
        let gone = tx.governance_purge(evidence, &["expired"], before).await.expect("purged");
        tx.commit().await.expect("commit");
        assert_eq!(gone, 1);
        let tx = world.read().await;
        assert!(tx.governance_changes(old.id).await.expect("read").is_empty());
        assert_eq!(tx.governance_count(evidence).await.expect("a count"), 2);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_no_time_is_found_and_given_one_once() {
    everywhere(async |world| {
        let breach = |byte: u8, state: &str, due_at| GovernanceItem {
            id: GovernanceId::from_bytes([byte; 16]),
            kind: GovernanceKind::Breach,
            parent: None,
            state: state.to_owned(),
            body: b"{}".to_vec(),
            due_at,
            version: 1,
            created_at: START,
            updated_at: START,
        };
        let due = START.saturating_add(Duration::from_secs(3600));
        let all = [
            breach(1, "open", None),
            breach(2, "closed", None),
            breach(3, "told", None),
            breach(4, "open", Some(due)),
        ];
        let tx = world.begin().await;
        for one in &all {
            tx.governance_create(one).await.expect("written");
        }
        tx.commit().await.expect("commit");
        let timeless = async |behind: Option<GovernanceId>| {
            let (tx, kind) = (world.platform().await, GovernanceKind::Breach);
            let found = tx.governance_timeless(kind, &["open", "told"], behind, 1).await;
            found.expect("read").into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(timeless(None).await, [all[0].id]);
        assert_eq!(timeless(Some(all[0].id)).await, [all[2].id]);
        assert!(timeless(Some(all[2].id)).await.is_empty());
        let tx = world.begin().await;
        // Of another version, and one that has its time: both stay as they are.
        tx.governance_await(all[2].id, 2, due).await.expect("written");
        tx.governance_await(all[3].id, 1, START).await.expect("written");
        tx.governance_await(all[0].id, 1, due).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        for (one, expect) in [(&all[0], Some(due)), (&all[2], None), (&all[3], Some(due))] {
            let found = tx.governance_any(one.id).await.expect("read");
            assert_eq!((found.due_at, found.version), (expect, 1));
        }
    })
    .await;
}
