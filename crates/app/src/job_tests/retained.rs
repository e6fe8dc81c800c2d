//! Retained messages go with their device, and are deleted when they have expired. They cannot be
//! read without the tenant's key, and a damaged one does not hide the others.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use veritwin_domain::{
    CredentialId, Declaration, DeviceBatch, DeviceId, Key, MessageId, Quality, Reading,
    RelayMessage, Role, Value,
};
use veritwin_log::{AttributeScope, Attributes, Entry, Record};
use veritwin_metastore::RetainedMessage;

use super::{Customer, World};
use crate::model::DeviceInput;
use crate::{Result, RetainedPage, Submission};

impl World {
    /// A device of the customer retains a message, which may expire.
    async fn retain(&self, customer: &Customer, topic: &str, expiry: Option<Duration>) {
        self.retain_of(customer, customer.device, topic, expiry).await;
    }

    async fn retain_of(
        &self,
        customer: &Customer,
        device: DeviceId,
        topic: &str,
        expiry: Option<Duration>,
    ) {
        let message = Arc::new(self.message(customer, device, topic, expiry));
        let part = Submission::Relay { message, refusal_recorded: false };
        let refused = self.app.submit(customer.tenant(), vec![part]).await.expect("durable");
        assert!(refused.is_empty());
    }

    fn message(
        &self,
        customer: &Customer,
        device: DeviceId,
        topic: &str,
        expiry: Option<Duration>,
    ) -> RelayMessage {
        let received_at = self.app.clock().now();
        RelayMessage {
            tenant: customer.tenant(),
            device,
            credential: CredentialId::from_bytes([1; 16]),
            received_at,
            expires_at: expiry.map(|expiry| received_at.saturating_add(expiry)),
            topic: topic.into(),
            properties: Arc::default(),
            payload: b"on".as_slice().into(),
            qos: 1,
            retain: true,
            hops: 0,
        }
    }

    /// What a device says of itself.
    fn said(&self, device: DeviceId, value: i64) -> Attributes {
        let key = Key::new("k").expect("a key");
        let entries = vec![(key, Some(Value::Integer(value)))];
        let received_at = self.app.clock().now();
        Attributes { device, scope: AttributeScope::Client, received_at, entries }
    }

    async fn says(&self, customer: &Customer) -> Option<Value> {
        let credential = CredentialId::from_bytes([1; 16]);
        let view = self.app.device_attributes(customer.tenant(), customer.device, credential).await;
        view.expect("attributes").client.get("k").cloned()
    }

    async fn retained(&self, customer: &Customer) -> Vec<String> {
        self.try_retained(customer).await.expect("read")
    }

    async fn try_retained(&self, customer: &Customer) -> Result<Vec<String>> {
        let page = RetainedPage { after: None, messages_max: 9, bytes_max: 9_000 };
        let found = self.app.retained(customer.tenant(), &|_: &str| true, page).await?;
        Ok(found.iter().map(|one| one.topic.to_string()).collect())
    }

    /// How many are in the records.
    async fn stored(&self, customer: &Customer) -> usize {
        let tx = self.app.0.store.read(&customer.context).await.expect("records");
        tx.retained_messages().await.expect("read").len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_with_their_device() {
    let world = World::new().await;
    let customer = world.customer("leaving").await;
    let own = format!("devices/{}/state", customer.device);
    for topic in ["a", &own] {
        world.retain(&customer, topic, None).await;
    }
    assert_eq!(world.retained(&customer).await, ["a", &own]);
    let administrator = customer.somebody(Role::Administrator);
    world.app.delete_device(&administrator, customer.device).await.expect("deleted");
    assert!(world.retained(&customer).await.is_empty());
    assert_eq!(world.stored(&customer).await, 0);
    // What it had sent before, and its will, come too late.
    world.retain(&customer, "a", None).await;
    assert!(world.retained(&customer).await.is_empty());
    assert_eq!(world.stored(&customer).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_a_tenant_has_none() {
    let world = World::new().await;
    let customer = world.customer("withdrawn").await;
    world.retain(&customer, "a", None).await;
    assert_eq!(world.retained(&customer).await, ["a"]);
    world.app.0.keys.revoke(customer.tenant()).expect("revoked");
    assert!(world.try_retained(&customer).await.is_err(), "also from memory");
    world.app.0.keys.restore(customer.tenant()).expect("restored");
    assert_eq!(world.retained(&customer).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_one_is_left_out() {
    let world = World::new().await;
    let customer = world.customer("damaged").await;
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    // The second is as one comes whose seal does not open.
    for (number, body) in [(7, b"\xff".as_slice()), (8, b"")] {
        let id = MessageId::from_bytes([number; 16]);
        let damaged = RetainedMessage { id, body: body.to_vec(), expires_at: None };
        tx.retained_put(&damaged).await.expect("written");
    }
    tx.commit().await.expect("committed");
    world.retain(&customer, "a", None).await;
    assert_eq!(world.retained(&customer).await, ["a"]);
    assert_eq!(world.stored(&customer).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_read_again_after_a_write_that_failed() {
    let world = World::new().await;
    let customer = world.customer("healing").await;
    world.retain(&customer, "a", None).await;
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    let stored = tx.retained_messages().await.expect("read");
    tx.retained_delete(stored[0].id).await.expect("deleted");
    tx.commit().await.expect("committed");
    assert_eq!(world.retained(&customer).await, ["a"], "from memory");
    let mut draft = world.app.retained_draft(customer.tenant()).await.expect("the turn");
    draft.forget_device(customer.device);
    assert!(world.app.store_retained(customer.tenant(), draft).await.is_err());
    assert!(world.retained(&customer).await.is_empty());
    world.retain(&customer, "a", None).await;
    assert_eq!((world.retained(&customer).await.len(), world.stored(&customer).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_does_not_wait_for_who_writes() {
    let world = World::new().await;
    let customer = world.customer("busy").await;
    world.retain(&customer, "a", None).await;
    let writing = world.app.retained_draft(customer.tenant()).await.expect("the turn");
    assert_eq!(world.retained(&customer).await, ["a"]);
    drop(writing);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_ones_are_deleted() {
    let world = World::new().await;
    let customer = world.customer("passing").await;
    world.retain(&customer, "short", Some(Duration::from_secs(60))).await;
    world.retain(&customer, "long", None).await;
    let now = world.app.clock().now();
    let expires_at = Some(now.saturating_add(Duration::from_secs(60)));
    let id = MessageId::from_bytes([7; 16]);
    let damaged = RetainedMessage { id, body: b"\xff".to_vec(), expires_at };
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.retained_put(&damaged).await.expect("written");
    tx.commit().await.expect("committed");
    world.app.expire_retained(now).await;
    assert_eq!(world.stored(&customer).await, 3);
    world.app.expire_retained(now.saturating_add(Duration::from_secs(60))).await;
    assert_eq!(world.stored(&customer).await, 1);
    assert_eq!(world.retained(&customer).await, ["long"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_turn_is_stored_together() {
    let world = World::new().await;
    let customer = world.customer("many").await;
    let mut devices = Vec::new();
    for number in 0..5 {
        let input = DeviceInput {
            name: format!("pump {number}"),
            declaration: Declaration::NonPersonal,
            ..DeviceInput::default()
        };
        let made = world.app.create_device(&customer.context, input).await.expect("a device");
        devices.push(made.0.id);
    }
    // One of them is gone: the others' messages are retained all the same.
    let administrator = customer.somebody(Role::Administrator);
    world.app.delete_device(&administrator, devices[4]).await.expect("deleted");
    let turn = world.app.retained_draft(customer.tenant()).await.expect("the turn");
    let topics: Vec<String> = (0..5).map(|number| format!("t/{number}")).collect();
    let retain = |at: usize| world.retain_of(&customer, devices[at], &topics[at], None);
    let shelf = world.app.0.retained.shelf(customer.tenant());
    let all_wait = async {
        world.until("all of them", async || (shelf.waiting.len() == 5).then_some(())).await;
        drop(turn);
    };
    join(join_all((0..5).map(retain)), all_wait).await;
    assert_eq!(world.retained(&customer).await, &topics[..4]);
    assert_eq!(world.stored(&customer).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_records_refuse_is_answered_and_put_in_from_the_log() {
    let world = World::new().await;
    let customer = world.customer("unlucky").await;
    world.app.start_effects().await.expect("started");
    world.retain(&customer, "a", None).await;
    // What is in memory is not in the records any more: to forget it there fails.
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    let stored = tx.retained_messages().await.expect("read");
    tx.retained_delete(stored[0].id).await.expect("deleted");
    tx.commit().await.expect("committed");
    let (tenant, device) = (customer.tenant(), customer.device);
    let credential = CredentialId::from_bytes([1; 16]);
    let now = world.app.clock().now();
    let key = Key::new("t").expect("a key");
    let reading = Reading { key, at: now, value: Value::Double(1.0), quality: Quality::Good };
    let readings = vec![reading];
    let message = world.message(&customer, device, "a", None);
    let parts = vec![
        Submission::Readings(DeviceBatch {
            tenant,
            device,
            credential,
            received_at: now,
            readings,
        }),
        Submission::ClientAttributes {
            device,
            credential,
            received_at: now,
            entries: vec![(Key::new("k").expect("a key"), Value::Integer(7))],
            payload_bytes: 7,
            refusal_recorded: false,
        },
        Submission::Relay {
            message: Arc::new(RelayMessage { payload: Arc::default(), ..message }),
            refusal_recorded: false,
        },
    ];
    let before = world.app.0.log.tail_position();
    let refused = world.app.submit(tenant, parts).await.expect("it is durable");
    assert!(refused.is_empty());
    assert_eq!(world.app.0.log.tail_position() - before, 3, "each once");
    assert_eq!(world.app.0.jobs.effects.behind(), 1);
    world
        .until("the records to have it", async || {
            (world.app.0.jobs.effects.behind() == 0).then_some(())
        })
        .await;
    assert_eq!(world.says(&customer).await, Some(Value::Integer(7)));
    assert!(world.retained(&customer).await.is_empty());
    assert_eq!(world.app.0.log.tail_position() - before, 3, "nothing is stored again");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_in_the_log_is_in_the_records_after_it() {
    let world = World::new().await;
    let customer = world.customer("killed").await;
    let (tenant, device) = (customer.tenant(), customer.device);
    let tx = world.app.0.store.begin_platform(&world.app.local_operator()).await;
    let tx = tx.expect("records");
    let from = world.app.0.log.tail_position();
    tx.offset_advance("records", from).await.expect("an offset");
    tx.commit().await.expect("written");
    // As a process leaves it that ends between the log and the records.
    let strange = DeviceId::from_bytes([9; 16]);
    let shared = Attributes { scope: AttributeScope::Shared, ..world.said(device, 9) };
    let records = vec![
        Record::Attributes(world.said(device, 1)),
        Record::Attributes(world.said(strange, 2)),
        Record::Relay(Arc::new(world.message(&customer, device, "a", None))),
        Record::Relay(Arc::new(world.message(&customer, strange, "b", None))),
        Record::Attributes(world.said(device, 3)),
        Record::Attributes(shared),
    ];
    let entries = records.into_iter().map(|record| Entry { tenant, record }).collect();
    world.app.0.log.append(entries).await.expect("durable");
    assert_eq!(world.says(&customer).await, None);
    let mut world = world;
    for _ in 0..2 {
        world = world.reopen().await;
        world.app.start_effects().await.expect("started");
        assert_eq!(world.says(&customer).await, Some(Value::Integer(3)));
        assert_eq!(world.retained(&customer).await, ["a"]);
        assert_eq!(world.app.0.jobs.effects.behind(), 0);
    }
    world.app.close().await;
}
