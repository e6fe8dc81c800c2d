//! Published checkpoints of ledgers: the tenant's own, thinned out, gone with it.

use veritwin_metastore::PublishedCheckpoint;

use crate::world::everywhere;

fn published(size: u64, stamped: bool) -> PublishedCheckpoint {
    let at = veritwin_domain::Timestamp::from_micros(1_700_000_000_000_000);
    PublishedCheckpoint {
        size,
        met: true,
        cosigned: 2,
        note: vec![1, 2, 3],
        stamp: stamped.then(|| vec![4; 5000]),
        stamped_at: stamped.then_some(at),
        roll: None,
        published_at: at,
    }
}

#[tokio::test]
async fn the_newest_and_the_stamped_stay() {
    everywhere(async |world| {
        let tx = world.begin().await;
        for (size, stamped) in [(3, true), (5, false), (9, true), (12, false)] {
            tx.ledger_published_put(&published(size, stamped)).await.expect("put");
        }
        // A stamp that comes later is added to what is there.
        tx.ledger_published_put(&published(12, true)).await.expect("put again");
        tx.ledger_published_put(&published(15, false)).await.expect("put");
        tx.commit().await.expect("commit");

        let tx = world.begin().await;
        let unmet = PublishedCheckpoint { met: false, cosigned: 0, ..published(17, false) };
        tx.ledger_published_put(&unmet).await.expect("put");
        let met = tx.ledger_published_met().await.expect("read");
        assert_eq!(met, Some(published(15, false)));
        assert_eq!(tx.ledger_published_thin(17, Some(15)).await.expect("thinned"), 1);
        let sizes = tx.ledger_published_sizes(10).await.expect("read");
        assert_eq!(sizes, [3, 9, 12, 15, 17], "{}", world.label);
        assert_eq!(tx.ledger_published_sizes(2).await.expect("read"), [15, 17]);
        tx.ledger_published_put(&published(17, false)).await.expect("met later");
        assert_eq!(tx.ledger_published_thin(17, None).await.expect("thinned"), 1);
        let newest = tx.ledger_published_newest(false, 1).await.expect("read");
        assert_eq!(newest, [published(17, false)]);
        let stamped = tx.ledger_published_newest(true, 1).await.expect("read");
        assert_eq!(stamped, [published(12, true)]);
        assert_eq!(tx.ledger_published(9).await.expect("read"), Some(published(9, true)));
        assert_eq!(tx.ledger_published(10).await.expect("read"), None);
        assert_eq!(tx.ledger_published_cut(9).await.expect("cut"), 2);
        tx.commit().await.expect("commit");

        // Another tenant sees, thins and cuts none of it.
        let other = world.begin_in(world.other).await;
        assert_eq!(other.ledger_published(12).await.expect("read"), None);
        assert_eq!(other.ledger_published_met().await.expect("read"), None);
        assert!(other.ledger_published_sizes(10).await.expect("read").is_empty());
        assert_eq!(other.ledger_published_cut(100).await.expect("cut"), 0);
        other.commit().await.expect("commit");

        let tx = world.platform().await;
        tx.tenant_delete(world.tenant).await.expect("deleted");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.ledger_published_sizes(10).await.expect("read").is_empty(), "gone with it");
    })
    .await;
}
