//! A customer whose key is away: what it sent waits in a file that holds nothing of anybody else's,
//! through a stop, until the key is back or is destroyed.

use veritwin_log::FileLog;
use veritwin_telemetry::{Series, TimeRange};

use super::*;
use crate::log_cut::LogCut;

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    /// Does the rounds of segments and of the log until that is as it is to be.
    async fn cut_until(&self, what: &str, is_so: impl Fn(&FileLog) -> bool) {
        let (engine, log) = (&self.app.0.engine, &self.app.0.log);
        let mut cut = LogCut::default();
        self.until(what, async || {
            engine.catch_up(log).await.expect("caught up");
            engine.flush().await.expect("flushed");
            self.app.flush_usage().await;
            self.app.cut_log(&mut cut).await;
            is_so(log).then_some(())
        })
        .await;
    }

    /// Everything that the log is kept for.
    async fn readers(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        self.app.start_effects().await.expect("started");
        self.app.recount_usage().await.expect("counted");
        self.jobs().await
    }

    /// Readings of a customer that are answered.
    async fn count(&self, customer: &Customer) -> u64 {
        let key = Key::new(KEY).expect("a key");
        let series = Series { tenant: customer.tenant(), device: customer.device, key };
        self.app.0.engine.stats(&series, TimeRange::ALL).await.expect("answers").count
    }

    /// How many entries of a customer the log holds.
    fn logged(&self, customer: &Customer) -> usize {
        let batches = self.app.0.log.read_from(self.app.0.log.first_position()).expect("reads");
        let batches: Vec<_> = batches.map(|batch| batch.expect("a batch")).collect();
        let entries = batches.iter().flat_map(|batch| &batch.entries);
        entries.filter(|entry| entry.tenant == customer.tenant()).count()
    }
}

/// A customer whose key went away before anything had what it sent, and another; the file of that
/// day is over.
async fn revoked() -> (World, Customer, Customer) {
    let world = World::new().await;
    let (away, other) = (world.customer("Away").await, world.customer("Other").await);
    for _ in 0..3 {
        world.send(&away, 30.0).await;
        world.send(&other, 1.0).await;
    }
    world.app.0.keys.revoke(away.tenant()).expect("revoked");
    world.app.0.log.forget_recent();
    world.app.0.engine.set_aside(away.tenant());
    world.clock.advance(DAY);
    world.send(&other, 2.0).await;
    (world, away, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_key_is_kept_apart_and_everybody_has_it_when_the_key_is_back() {
    let (world, away, other) = revoked().await;
    let (stop, served) = world.readers().await;
    world.cut_until("what others have had is gone", |log| log.thinned_files().len() == 1).await;
    let log = &world.app.0.log;
    assert_eq!((log.first_position(), world.logged(&away), world.logged(&other)), (0, 3, 1));
    assert!(log.spooled_bytes(away.tenant()) > 0);
    assert_eq!(log.spooled_bytes(other.tenant()), 0);
    assert!(world.held().contains(&("alerts", away.tenant())), "{:?}", world.held());
    // A stop, and nobody has the key yet.
    let world = world.reopen().await;
    stop.cancel();
    served.await.expect("a clean end");
    let (_stop, _served) = world.readers().await;
    assert_eq!((world.count(&other).await, world.logged(&away)), (4, 3));
    world.app.0.keys.restore(away.tenant()).expect("restored");
    world.cut_until("the log is cut", |log| log.thinned_files().is_empty()).await;
    assert_eq!((world.count(&away).await, world.count(&other).await), (3, 4));
    world.only_alert(&away, AlertState::ActiveUnacknowledged).await;
    world.until("the leaves", async || (world.sealed(&away).await == 3).then_some(())).await;
    world.until("the others'", async || (world.sealed(&other).await == 4).then_some(())).await;
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_key_that_is_destroyed_goes() {
    let (world, away, other) = revoked().await;
    let (_stop, _served) = world.readers().await;
    world.cut_until("what others have had is gone", |log| log.thinned_files().len() == 1).await;
    world.app.0.keys.destroy_tenant(away.tenant()).expect("destroyed");
    let tenant = away.tenant();
    let is_gone = |log: &FileLog| log.kept_bytes() == 0 && log.spooled_bytes(tenant) == 0;
    world.cut_until("nothing of it is kept", is_gone).await;
    assert_eq!((world.logged(&away), world.count(&other).await), (0, 4));
    world.app.close().await;
}
