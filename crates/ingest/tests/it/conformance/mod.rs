//! Conformance by statement: each case names the statements of MQTT 5.0 or 3.1.1 that it shows,
//! the bytes that are sent, and what must come back. The document is held to the cases.

mod bytes;
mod connecting;
mod document;
mod faults;
mod publishing;
mod relaying;
mod sessions;
mod subscribing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use veritwin_domain::{IngestLimits, Key, ManualClock, SeededRng, Timestamp, Value};
use veritwin_ingest::mqtt::{Broker, BrokerParts};
use veritwin_ingest::{Downlink, RpcRequest, Sink};

use crate::platform::{Client, Door, NOW_MICROS, Store};

/// What a case shows, and how.
pub(crate) struct Case {
    /// 4 for 3.1.1, 5 for 5.0.
    level: u8,
    /// Numbers of the level's standard, without `MQTT-`.
    statements: &'static [&'static str],
    what: &'static str,
    steps: Vec<Step>,
}

/// One step of a case.
pub(crate) enum Step {
    /// A new connection sends this; later steps are about it.
    Open(Vec<u8>),
    Send(Vec<u8>),
    /// Exactly these bytes come.
    Expect(Vec<u8>),
    /// One packet comes, with this first byte, and this at the start of its body.
    Answer(u8, Vec<u8>),
    /// The packet that came last holds these bytes somewhere.
    Holds(Vec<u8>),
    /// The packet that came last does not.
    Lacks(Vec<u8>),
    /// Nothing comes and the connection is closed.
    Closed,
    /// The connection is closed. 5.0 is told why by a DISCONNECT with this code and no session
    /// expiry, after which nothing comes; 3.1.1 is not told.
    Refused(u8),
    /// As `Refused`, after so many seconds of silence.
    RefusedAfter(u64, u8),
    /// The client is gone without a word, and the server has noticed.
    Leave,
    /// The client is gone without a word.
    Drop,
    /// Time passes.
    Wait(u64),
    /// The shared attribute `limit` has changed.
    Attribute(i64),
    /// The device is called: `m` with the parameter 1.
    Call(u32),
    /// So many readings are stored.
    Stored(usize),
    /// So many refusals are on record.
    Recorded(usize),
    /// A second client, which connects at its first word, sends this.
    Peer(Vec<u8>),
    /// Exactly these bytes come to it.
    PeerExpect(Vec<u8>),
}

/// A case of one standard.
fn case(
    level: u8,
    statements: &'static [&'static str],
    what: &'static str,
    steps: Vec<Step>,
) -> Case {
    Case { level, statements, what, steps }
}

/// The same behaviour under both standards.
fn both(
    v5: &'static [&'static str],
    v3: &'static [&'static str],
    what: &'static str,
    steps: fn(u8) -> Vec<Step>,
) -> [Case; 2] {
    [case(5, v5, what, steps(5)), case(4, v3, what, steps(4))]
}

fn all() -> Vec<Case> {
    let parts = [
        connecting::cases(),
        faults::cases(),
        publishing::cases(),
        subscribing::cases(),
        sessions::cases(),
        relaying::cases(),
    ];
    parts.into_iter().flatten().collect()
}

struct World {
    broker: Arc<Broker>,
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    client: Option<Client>,
    peer: Option<Client>,
    last: Vec<u8>,
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
        Self { broker, store, clock, client: None, peer: None, last: Vec::new() }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("a connection")
    }

    async fn peer(&mut self, level: u8) -> &mut Client {
        if self.peer.is_none() {
            let mut peer = Client::open(&self.broker);
            peer.send(&crate::platform::connect(level, 2, "c2", "other")).await;
            assert_eq!(peer.packet().await[0], 0x20);
            self.peer = Some(peer);
        }
        self.peer.as_mut().expect("a connection")
    }

    async fn take(&mut self, level: u8, step: Step) {
        match step {
            Step::Open(bytes) => {
                self.client = Some(Client::open(&self.broker));
                self.client().send(&bytes).await;
            }
            Step::Send(bytes) => self.client().send(&bytes).await,
            Step::Expect(bytes) => self.client().expect(&bytes).await,
            Step::Answer(first_byte, start) => {
                self.last = self.client().packet().await;
                let body = bytes::body(&self.last);
                assert_eq!(self.last[0], first_byte, "{:02x?}", self.last);
                assert!(body.starts_with(&start), "{start:02x?}: {:02x?}", self.last);
            }
            Step::Holds(part) => assert!(self.last_holds(&part), "{:02x?}", self.last),
            Step::Lacks(part) => assert!(!self.last_holds(&part), "{:02x?}", self.last),
            Step::Closed => assert_eq!(self.client().rest().await, b""),
            Step::Refused(code) => self.refused(level, code).await,
            Step::RefusedAfter(seconds, code) => {
                let start = Instant::now();
                // Nobody waits for an end longer than a minute; one that comes early is told by
                // the time below.
                tokio::time::sleep(Duration::from_secs(seconds - 1)).await;
                self.refused(level, code).await;
                assert_eq!(start.elapsed().as_secs(), seconds);
            }
            Step::Leave => self.client.take().expect("a connection").leave().await,
            Step::Drop => drop(self.client.take()),
            Step::Wait(seconds) => {
                let time = Duration::from_secs(seconds);
                self.clock.advance(time);
                tokio::time::sleep(time).await;
            }
            Step::Attribute(value) => {
                let entry = (Key::new("limit").expect("key"), Value::Integer(value));
                let link = self.store.link(|_| true).await;
                let _ = link.send(Downlink::AttributesUpdated(vec![entry]));
            }
            Step::Call(id) => {
                let params = "1".to_owned();
                let request = RpcRequest { id, method: "m".to_owned(), params };
                let _ = self.store.link(|_| true).await.send(Downlink::Rpc(request));
            }
            Step::Peer(bytes) => self.peer(level).await.send(&bytes).await,
            Step::PeerExpect(bytes) => self.peer(level).await.expect(&bytes).await,
            Step::Stored(count) => assert_eq!(self.store.readings().len(), count),
            Step::Recorded(count) => assert_eq!(self.store.refusals().len(), count),
        }
    }

    fn last_holds(&self, part: &[u8]) -> bool {
        self.last.windows(part.len()).any(|window| window == part)
    }

    async fn refused(&mut self, level: u8, code: u8) {
        let rest = self.client().rest().await;
        if level == 4 {
            assert_eq!(rest, b"", "3.1.1 closes");
            return;
        }
        assert_eq!(rest.first(), Some(&0xe0), "{rest:02x?}");
        let body = bytes::body(&rest);
        assert_eq!(body[0], code, "{}", String::from_utf8_lossy(&rest));
        // Of the properties there is at most a reason string, and nothing follows.
        assert!(matches!(body[1..], [] | [0] | [_, 0x1f, ..] | [_, _, 0x1f, ..]), "{rest:02x?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_case_holds() {
    for Case { level, statements, what, steps } in all() {
        let mut world = World::new();
        let count = steps.len();
        for (index, step) in steps.into_iter().enumerate() {
            let at = format!("level {level} {statements:?} {what}: step {} of {count}", index + 1);
            let _shown_on_failure = Place(at);
            world.take(level, step).await;
        }
    }
}

/// Where the cases are. Said when an assertion fails.
struct Place(String);

impl Drop for Place {
    #[expect(clippy::print_stderr, reason = "the test harness shows it with the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// The statements that the cases of a level name.
fn shown(level: u8) -> BTreeSet<&'static str> {
    let cases = all().into_iter().filter(|case| case.level == level);
    cases.flat_map(|case| case.statements).copied().collect()
}

/// A connection is read whatever pieces its bytes come in (4.2.0-1; 3.1.1: 7.1.1-1).
#[tokio::test(start_paused = true)]
async fn packets_may_come_byte_by_byte() {
    for level in [4, 5] {
        let mut world = World::new();
        world.client = Some(Client::open(&world.broker));
        let hello = bytes::connect(level).encode();
        let message =
            crate::platform::publish(level, 1, 7, crate::platform::TELEMETRY, b"{\"a\":1}");
        for byte in hello.iter().chain(&message).chain(&[0xc0, 0]) {
            world.client().stream.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        world.take(level, Step::Answer(0x20, vec![0, 0])).await;
        let mut found = [0; 6];
        world.client().stream.read_exact(&mut found).await.expect("answers");
        let (ack, ping) = ([0x40, 2, 0, 7], [0xd0, 0]);
        let in_order = [&ack[..], &ping[..]].concat();
        let ping_first = [&ping[..], &ack[..]].concat();
        assert!(found == *in_order || found == *ping_first, "{found:02x?}");
    }
}
