//! Retained messages go with their device, and are deleted when they have expired.

use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{CredentialId, RelayMessage};

use super::{Customer, World};
use crate::{RetainedPage, Submission};

impl World {
    /// A device of the customer retains a message, which may expire.
    async fn retain(&self, customer: &Customer, topic: &str, expiry: Option<Duration>) {
        let received_at = self.app.clock().now();
        let message = Arc::new(RelayMessage {
            tenant: customer.tenant(),
            device: customer.device,
            credential: CredentialId::from_bytes([1; 16]),
            received_at,
            expires_at: expiry.map(|expiry| received_at.saturating_add(expiry)),
            topic: topic.into(),
            properties: Arc::default(),
            payload: b"on".as_slice().into(),
            qos: 1,
            retain: true,
        });
        let part = Submission::Relay { message, refusal_recorded: false };
        let refused = self.app.submit(customer.tenant(), vec![part]).await.expect("durable");
        assert!(refused.is_empty());
    }

    async fn retained(&self, customer: &Customer) -> Vec<String> {
        let page = RetainedPage { after: None, messages_max: 9, bytes_max: 9_000 };
        let found = self.app.retained(customer.tenant(), &|_: &str| true, page).await;
        found.expect("read").iter().map(|one| one.topic.to_string()).collect()
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
    world.app.delete_device(&customer.context, customer.device).await.expect("deleted");
    assert!(world.retained(&customer).await.is_empty());
    assert_eq!(world.stored(&customer).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_ones_are_deleted() {
    let world = World::new().await;
    let customer = world.customer("passing").await;
    world.retain(&customer, "short", Some(Duration::from_secs(60))).await;
    world.retain(&customer, "long", None).await;
    let now = world.app.clock().now();
    world.app.expire_retained(now).await;
    assert_eq!(world.stored(&customer).await, 2);
    world.app.expire_retained(now.saturating_add(Duration::from_secs(60))).await;
    assert_eq!(world.stored(&customer).await, 1);
    assert_eq!(world.retained(&customer).await, ["long"]);
}
