//! A destruction that is cut off after each of its steps, and whose steps are done again as if
//! nobody had written down that they were: it ends once, and nothing of it is left.

use veritwin_domain::DestructionId;
use veritwin_metastore::{DestructionState, StoredDestruction};
use veritwin_telemetry::Expiry;

use super::*;
use crate::check_certificate;
use crate::destructions::Body;
use crate::model::{DestructionInput, DestructionScope};

impl World {
    /// Everything that reads the log, until it is told to stop.
    pub(super) async fn jobs(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = CancellationToken::new();
        let served = self.archive_until(stop.clone()).await;
        self.app.start_alerts().await.expect("started");
        self.app.start_routes().await.expect("started");
        self.app.start_ledger();
        (stop, served)
    }

    pub(super) async fn destruction(
        &self,
        customer: &Customer,
        id: DestructionId,
    ) -> StoredDestruction {
        let tx = self.app.0.store.read(&customer.context).await.expect("records");
        tx.destruction(id).await.expect("a destruction")
    }

    /// Does the next step, as soon as it can be done.
    pub(super) async fn step_of(
        &self,
        customer: &Customer,
        id: DestructionId,
    ) -> StoredDestruction {
        self.until("a step", async || {
            let stored = self.destruction(customer, id).await;
            self.app.step(customer.tenant(), &stored).await.expect("a step")
        })
        .await
    }

    async fn ask(&self, customer: &Customer) -> DestructionId {
        let context = self.app.local_operator_in(customer.tenant());
        let scope = DestructionScope::Device(customer.device);
        let input = DestructionInput { scope, attributes: true };
        let seen = self.app.preview_destruction(&context, &input).await.expect("looked at");
        assert_eq!(seen.counts.readings, 3);
        let said = ("ended", seen.confirm.as_str());
        self.app.request_destruction(&context, &input, said).await.expect("asked for")
    }

    async fn left(&self, customer: &Customer) -> usize {
        let all = self.app.0.engine.tenants().contains(&customer.tenant());
        let keys = self.app.streams_of(customer.tenant(), customer.device).expect("answers");
        if all { keys.len() } else { 0 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destruction_ends_once_wherever_it_is_cut_off() {
    let mut world = World::new().await;
    let (customer, other) = (world.customer("One").await, world.customer("Other").await);
    world.send_all(&customer, &[1.0, 2.0, 3.0]).await;
    world.send_all(&other, &[4.0]).await;
    let id = world.ask(&customer).await;
    let mut states = Vec::new();
    loop {
        let (stop, served) = world.jobs().await;
        let before = world.destruction(&customer, id).await;
        let first = world.step_of(&customer, id).await;
        // As if the crash came before it was written down.
        let again = StoredDestruction { version: first.version, ..before };
        let tx = world.app.0.store.begin(&customer.context).await.expect("records");
        tx.destruction_update(&again).await.expect("written");
        tx.commit().await.expect("written");
        let second = world.step_of(&customer, id).await;
        assert_eq!(second.state, first.state);
        states.push(second.state);
        stop.cancel();
        served.await.expect("a clean end");
        world = world.reopen().await;
        if second.state == DestructionState::Done {
            break;
        }
    }
    let expected = [
        DestructionState::Waiting,
        DestructionState::Destroying,
        DestructionState::Certifying,
        DestructionState::Done,
    ];
    assert_eq!(states, expected);
    assert_eq!((world.left(&customer).await, world.left(&other).await), (0, 1));
    let body = Body::read(&world.destruction(&customer, id).await.body).expect("a body");
    let ids: Vec<veritwin_keys::DekId> =
        body.keys.iter().map(|key| key.id.parse().expect("a key")).collect();
    assert!(ids.len() >= 3, "log, day, and what has no day: {}", ids.len());
    assert!(world.app.0.keys.live(&ids).is_empty());
    assert!(body.ledger_index.is_some());
    let context = world.app.local_operator_in(customer.tenant());
    let text = world.app.destruction_certificate(&context, id).await.expect("a certificate");
    let checked = check_certificate(text.as_bytes(), None).expect("right");
    assert!(checked.statement.contains(&id.to_string()), "{}", checked.statement);

    // The records of a backup of before do not know it: it is carried out again, once.
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.destruction_delete(id).await.expect("deleted");
    tx.commit().await.expect("written");
    let world = world.reopen().await;
    assert_eq!(world.destruction(&customer, id).await.state, DestructionState::Done);
    assert_eq!(world.app.replay_shreds(None).await.expect("nothing to do"), 0);
    // Those of one that was being made meanwhile know that it was asked for: that does not keep it
    // from being carried out before anybody is listened to.
    let known = world.destruction(&customer, id).await;
    let asked = StoredDestruction { state: DestructionState::Asked, ..known };
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.destruction_update(&asked).await.expect("written");
    tx.commit().await.expect("written");
    let world = world.reopen().await;
    assert_eq!(world.destruction(&customer, id).await.state, DestructionState::Done);
    assert_eq!(world.left(&other).await, 1);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_end_whoever_has_withdrawn_a_key() {
    let world = World::new().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    world.send_all(&bad, &[1.0]).await;
    world.send_all(&good, &[2.0]).await;
    let (engine, keys) = (&world.app.0.engine, &world.app.0.keys);
    engine.flush().await.expect("flushes");
    keys.revoke(bad.tenant()).expect("revokes");
    let first_day = world.app.clock().now().day() + 1;
    let expiry = |one: &Customer| Expiry { tenant: one.tenant(), first_day, held: Vec::new() };
    assert_eq!(engine.expiring(&expiry(&good)).points, 1);
    let all = vec![expiry(&bad), expiry(&good)];
    world.app.expire_readings_of(all).await.expect("one tenant's key is its own trouble");
    assert!(engine.expiring(&expiry(&good)).is_empty());
    world.app.close().await;
}
