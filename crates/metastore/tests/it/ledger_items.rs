//! Records that wait for the ledger: taken, sealed or lost with their batch, seen by their tenant
//! alone, gone with it.

use veritwin_domain::{BatchId, LedgerItemId, Timestamp};
use veritwin_metastore::{HoldScope, LedgerItem, LedgerKind};

use crate::world::{START, everywhere, later};

fn item(number: u8) -> LedgerItem {
    LedgerItem {
        id: LedgerItemId::from_bytes([number; 16]),
        kind: LedgerKind::Consent,
        about: Some([9; 16]),
        body: br#"{"n":1}"#.to_vec(),
        created_at: Timestamp::from_micros(START.as_micros() + i64::from(number)),
    }
}

#[tokio::test]
async fn records_are_taken_sealed_or_lost_with_their_batch() {
    everywhere(async |world| {
        let tx = world.begin().await;
        for number in 1..4 {
            tx.ledger_item_add(&item(number)).await.expect("added");
        }
        tx.commit().await.expect("commit");
        let (sent, lost) = (BatchId::from_bytes([1; 16]), BatchId::from_bytes([2; 16]));
        let ids: Vec<_> = (1..4).map(|number| item(number).id).collect();
        let tx = world.begin().await;
        assert_eq!(tx.ledger_items_waiting(10).await.expect("read"), [item(1), item(2), item(3)]);
        tx.ledger_items_taken((&ids[..2], 5), sent, Some((&b"salt"[..], None)))
            .await
            .expect("taken");
        tx.ledger_items_taken((&ids[2..], 9), lost, None).await.expect("taken");
        assert!(tx.ledger_items_waiting(10).await.expect("read").is_empty());
        let mut open = tx.ledger_batches_open().await.expect("read");
        open.sort();
        assert_eq!(open, [sent, lost], "{}", world.label);
        tx.ledger_batch_sealed(sent, 300).await.expect("sealed");
        tx.ledger_batch_lost(lost).await.expect("lost");
        assert_eq!(tx.ledger_items_waiting(10).await.expect("read"), [item(3)]);
        assert_eq!(tx.ledger_kept(sent).await.expect("read").as_deref(), Some(&b"salt"[..]));
        let place = tx.ledger_place(ids[1]).await.expect("read").expect("known");
        assert_eq!((place.sealed, place.kind), (Some((300, 6)), LedgerKind::Consent));
        let about = tx.ledger_places_about([9; 16]).await.expect("read");
        let sealed: Vec<_> = about.iter().map(|place| place.sealed).collect();
        assert_eq!(sealed, [None, Some((300, 6)), Some((300, 5))]);
        let times = (START, Timestamp::from_micros(START.as_micros() + 10));
        tx.ledger_bundle_put(0, times).await.expect("noted");
        tx.ledger_bundle_put(1, times).await.expect("noted");
        assert_eq!(tx.ledger_bundles_end().await.expect("read"), 2);
        assert_eq!(tx.ledger_bundles_at(times.1, 9).await.expect("read"), [1, 0]);
        tx.commit().await.expect("commit");

        let other = world.begin_in(world.other).await;
        assert_eq!(other.ledger_place(ids[1]).await.expect("read"), None);
        assert_eq!(other.ledger_kept(sent).await.expect("read"), None);
        assert!(other.ledger_items_waiting(10).await.expect("read").is_empty());
        assert!(other.ledger_bundles_at(START, 9).await.expect("read").is_empty());
        drop(other);
        let waiting = world.platform().await.ledger_items_tenants(None, 9).await.expect("read");
        assert_eq!(waiting, [world.tenant]);

        let tx = world.begin().await;
        tx.ledger_places_end(300).await.expect("nothing is below");
        assert!(tx.ledger_kept(sent).await.expect("read").is_some());
        tx.ledger_places_end(301).await.expect("ended");
        assert_eq!(tx.ledger_place(ids[1]).await.expect("read"), None);
        assert_eq!(tx.ledger_kept(sent).await.expect("read"), None);
        assert_eq!(tx.ledger_bundles_at(START, 9).await.expect("read"), [1]);
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        tx.tenant_delete(world.tenant).await.expect("deleted");
        tx.commit().await.expect("commit");
        let waiting = world.platform().await.ledger_items_tenants(None, 9).await.expect("read");
        assert!(waiting.is_empty(), "gone with the tenant");
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_of_acts_ends_at_its_time_unless_there_is_a_hold() {
    everywhere(async |world| {
        let (acts, others) = (BatchId::from_bytes([3; 16]), BatchId::from_bytes([4; 16]));
        let ids = [item(1).id, item(2).id];
        let tx = world.begin().await;
        for number in 1..3 {
            tx.ledger_item_add(&item(number)).await.expect("added");
        }
        let until = Some((&b"salt"[..], Some(later(90))));
        tx.ledger_items_taken((&ids[..1], 1), acts, until).await.expect("taken");
        let whole = Some((&b"salt"[..], None));
        tx.ledger_items_taken((&ids[1..], 2), others, whole).await.expect("taken");
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert_eq!(tx.ledger_kept_purge(later(89), &[]).await.expect("too early"), 0);
        let hold = [(world.tenant, HoldScope::default())];
        assert_eq!(tx.ledger_kept_purge(later(90), &hold).await.expect("held"), 0);
        let beside = [(world.other, HoldScope::default())];
        assert_eq!(tx.ledger_kept_purge(later(90), &beside).await.expect("ended"), 1);
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert_eq!(tx.ledger_kept(acts).await.expect("read"), None);
        assert!(tx.ledger_kept(others).await.expect("read").is_some());
        tx.ledger_batch_sealed(acts, 1).await.expect("sealed");
        tx.ledger_batch_sealed(others, 2).await.expect("sealed");
        tx.ledger_places_end(3).await.expect("ended");
        tx.commit().await.expect("commit");
    })
    .await;
}
