//! Sessions that wait for their client: they end in their time or by a bound, and what is lost
//! with them is on record.

use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{IngestLimits, ManualClock, SeededRng, Timestamp};
use veritwin_ingest::mqtt::{
    Broker, BrokerParts, DEVICE_DETACHED_SESSIONS_MAX, SESSION_SECONDS_MAX,
};
use veritwin_ingest::{Refusal, Sink, SinkEntry};

use crate::platform::{Client, DEVICE, Door, NOW_MICROS, Store, connect, publish, subscribe};

struct World {
    broker: Arc<Broker>,
    store: Arc<Store>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(Store::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS)));
        let broker = Broker::new(BrokerParts {
            login: Arc::new(Door),
            sink: Arc::clone(&store) as Arc<dyn Sink>,
            clock: Arc::clone(&clock) as _,
            rng: Arc::new(SeededRng::new(1)),
            limits: IngestLimits::default(),
        });
        Self { broker, store, clock }
    }

    /// A client that keeps its session; `present` when there is one.
    async fn open(&self, client_id: &str, present: u8) -> Client {
        let mut client = Client::open(&self.broker);
        client.send(&connect(4, 0, client_id, "token")).await;
        client.expect(&[0x20, 2, present, 0]).await;
        client
    }

    /// A client that has subscribed, and is away.
    async fn park(&self, client_id: &str) {
        let mut client = self.open(client_id, 0).await;
        client.send(&subscribe(4, 1, &[("plant/+", 1)])).await;
        client.expect(&[0x90, 3, 0, 1, 1]).await;
        client.leave().await;
    }

    /// Another client publishes.
    async fn tell(&self, count: u8) {
        let mut other = Client::open(&self.broker);
        other.send(&connect(4, 2, "c2", "other")).await;
        other.expect(&[0x20, 2, 0, 0]).await;
        for id in 1..=count {
            other.send(&publish(4, 1, id.into(), "plant/a", b"x")).await;
            other.expect(&[0x40, 2, 0, id]).await;
        }
        other.leave().await;
    }

    fn refusals(&self) -> Vec<Refusal> {
        let entries = self.store.entries().into_iter();
        let refusals = entries.filter_map(|entry| match entry {
            SinkEntry::Refusal(refusal) => Some(refusal),
            _ => None,
        });
        refusals.collect()
    }
}

#[tokio::test]
async fn sessions_end_in_their_time() {
    let world = World::new();
    world.park("c1").await;
    world.tell(3).await;
    world.clock.advance(Duration::from_secs(u64::from(SESSION_SECONDS_MAX) - 1));
    world.broker.end_sessions().await;
    assert!(world.refusals().is_empty());
    world.clock.advance(Duration::from_secs(1));
    world.broker.end_sessions().await;
    let refusals = world.refusals();
    let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!((refusal.device, refusal.limit), (DEVICE, Some("session_expiry")));
    assert!(refusal.detail.contains("3 messages were lost"), "{refusal:?}");
    assert_eq!(refusal.credential.as_bytes(), &[0; 16]);
    // Nothing listens any more.
    world.tell(2).await;
    world.broker.end_sessions().await;
    assert_eq!(world.refusals().len(), 1);
    world.open("c1", 0).await.leave().await;
}

#[tokio::test]
async fn a_device_keeps_so_many_sessions() {
    let world = World::new();
    world.park("0").await;
    world.tell(1).await;
    for number in 1..=DEVICE_DETACHED_SESSIONS_MAX {
        // The one that ends first goes.
        world.clock.advance(Duration::from_secs(1));
        world.park(&number.to_string()).await;
    }
    world.broker.end_sessions().await;
    let refusals = world.refusals();
    let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(refusal.limit, Some("device_detached_sessions_max"));
    assert!(refusal.detail.contains("1 messages were lost"), "{refusal:?}");
    world.open("0", 0).await.leave().await;
}
