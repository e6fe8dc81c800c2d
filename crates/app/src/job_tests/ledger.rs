//! Sealing: one tenant's trouble is its own.

use super::*;
use crate::ledger_open::VKEY_SETTING;

async fn ledger_with(trouble: Trouble) {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    let first = world.send(&bad, 1.0).await;
    world.send(&good, 1.0).await;
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.revoke(bad.tenant()).expect("revoked"),
        Trouble::RecordDamaged => world.setting(&bad, VKEY_SETTING, b"another key").await,
        Trouble::ArchiveConflict => world.foreign_log(&bad).await,
    }
    world.app.start_ledger();
    world.until("the first leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    world.send(&good, 2.0).await;
    world.until("the second leaf", async || (world.sealed(&good).await == 2).then_some(())).await;
    assert_eq!(world.held(), [("ledger", bad.tenant())].into(), "{trouble:?}");
    let kept = world.until("an offset", async || world.offset("ledger").await).await;
    assert!(kept <= first, "{trouble:?}: {kept} is past {first}");
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.restore(bad.tenant()).expect("restored"),
        Trouble::RecordDamaged => {
            let (log, _) = world.app.log_of(&bad.context).await.expect("a log");
            let vkey = world.app.summary_of(log).await.expect("a summary").vkey;
            world.setting(&bad, VKEY_SETTING, vkey.as_bytes()).await;
        }
        Trouble::ArchiveConflict => {
            // Nothing mends this from here: it is told, and it lasts beyond a restart.
            let told = world.app.ledger_held_up(bad.tenant()).expect("told").reason;
            assert!(told.contains("the log exists with another origin or submitter"), "{told}");
            world = world.reopen().await;
            assert!(world.offset("ledger").await.is_some_and(|at| at <= first), "{trouble:?}");
            return world.app.close().await;
        }
    }
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    world.send(&bad, 2.0).await;
    world.until("its leaves", async || (world.sealed(&bad).await == 2).then_some(())).await;
    assert_eq!((world.sealed(&good).await, world.sealed(&bad).await), (2, 2), "{trouble:?}");
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    assert_eq!(world.offset("ledger").await, Some(tail), "{trouble:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_of_the_others_goes_on() {
    for trouble in [Trouble::KeyRevoked, Trouble::RecordDamaged, Trouble::ArchiveConflict] {
        ledger_with(trouble).await;
    }
}

/// Why nothing of a tenant can be sealed any more.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Keys,
    Row,
}

async fn gone(what: Gone) {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    world.send(&bad, 30.0).await;
    world.send(&good, 30.0).await;
    match what {
        Gone::Keys => drop(world.app.0.keys.destroy_tenant(bad.tenant()).expect("destroyed")),
        Gone::Row => {
            let context = world.app.local_operator();
            let tx = world.app.0.store.begin_platform(&context).await.expect("records");
            tx.tenant_delete(bad.tenant()).await.expect("deleted");
            tx.commit().await.expect("written");
        }
    }
    world.app.start_alerts().await.expect("started");
    world.app.start_ledger();
    world.only_alert(&good, AlertState::ActiveUnacknowledged).await;
    world.until("the leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    assert!(world.held().is_empty(), "{what:?}: {:?}", world.held());
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    let offsets = (world.offset("alerts").await, world.offset("ledger").await);
    assert_eq!(offsets, (Some(tail), Some(tail)), "{what:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destroyed_keys_and_rows_that_are_gone_hold_nobody_up() {
    for what in [Gone::Keys, Gone::Row] {
        gone(what).await;
    }
}
