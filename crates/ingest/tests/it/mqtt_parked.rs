//! Sessions that wait for their client: they end in their time or by a bound, and what is lost
//! with them is on record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use veritwin_domain::{IngestLimits, ManualClock, Secret, SeededRng, Timestamp};
use veritwin_ingest::mqtt::{
    Broker, BrokerParts, DEVICE_DETACHED_SESSIONS_MAX, SESSION_SECONDS_MAX,
};
use veritwin_ingest::{
    Credential, DeviceSession, Login, LoginError, PeerInfo, Place, Refusal, Sink, SinkEntry,
    Writer, WriterSession,
};

use crate::platform::{
    Client, DEVICE, Door, NOW_MICROS, Store, TELEMETRY, TENANT, connect, packet, publish,
    subscribe, text,
};

struct World {
    broker: Arc<Broker>,
    store: Arc<Store>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self::with(Arc::new(Door))
    }

    fn with(login: Arc<dyn Login>) -> Self {
        let store = Arc::new(Store::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS)));
        let broker = Broker::new(BrokerParts {
            login,
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

    /// A client is cut off, and its will waits; who waits for that.
    async fn cut_off(&self) -> JoinHandle<()> {
        let mut client = Client::open(&self.broker);
        client.send(&mortal()).await;
        assert_eq!(client.packet().await[0], 0x20);
        let Client { stream, server } = client;
        drop(stream);
        while !self.store.links.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        server
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

/// A client whose will waits for an hour at the end of a session of two hours.
fn mortal() -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend_from_slice(&[5, 0x84, 0, 60, 5, 0x11, 0, 0, 0x1c, 0x20]);
    body.extend(text("c1"));
    body.extend_from_slice(&[5, 0x18, 0, 0, 0x0e, 0x10]);
    body.extend([text(TELEMETRY), text("{\"on\":false}"), text("token")].concat());
    packet(0x10, &body)
}

#[tokio::test(start_paused = true)]
async fn a_will_that_waits_ends_with_its_reason() {
    // The client is back.
    let world = World::new();
    let (server, start) = (world.cut_off().await, Instant::now());
    let client = world.open("c1", 1).await;
    server.await.expect("served");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(world.store.readings().is_empty());
    drop(client);

    // It is back, and begins anew: the session of the will is over.
    let world = World::new();
    let (server, start) = (world.cut_off().await, Instant::now());
    let mut client = Client::open(&world.broker);
    client.send(&connect(4, 2, "c1", "token")).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    server.await.expect("served");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(world.store.readings().len(), 1);
    drop(client);

    // Its session is over before the delay is.
    let world = World::new();
    let server = world.cut_off().await;
    world.clock.advance(Duration::from_secs(7_200));
    world.broker.end_sessions().await;
    server.await.expect("served");
    assert_eq!(world.store.readings().len(), 1);

    // Nobody speaks for it any more.
    let world = World::new();
    let (server, start) = (world.cut_off().await, Instant::now());
    world.broker.end_sessions_of(TENANT, DEVICE, None);
    server.await.expect("served");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(world.store.readings().is_empty());
}

/// The first session holds this for the application.
struct Placing(Mutex<Option<watch::Sender<()>>>);

#[async_trait]
impl Login for Placing {
    async fn authenticate(
        &self,
        credential: Credential,
        peer: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        let session = Door.authenticate(credential, peer).await?;
        let place = self.0.lock().take().map(Place::new).unwrap_or_default();
        Ok(Arc::new(DeviceSession { place, ..(*session).clone() }))
    }

    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        Door.authenticate_writer(token, peer).await
    }

    async fn devices_by_name(
        &self,
        session: &WriterSession,
        names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        Door.devices_by_name(session, names).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_that_waits_holds_no_place_of_a_connection() {
    let (held, mut place) = watch::channel(());
    let world = World::with(Arc::new(Placing(Mutex::new(Some(held)))));
    let (server, start) = (world.cut_off().await, Instant::now());
    assert!(place.changed().await.is_err(), "given up");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(world.store.readings().is_empty());
    server.await.expect("served");
    assert_eq!(world.store.readings().len(), 1);
}
