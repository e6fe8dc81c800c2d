//! Sessions outlive the broker where the sink keeps what is told of them: one that ends without a
//! word is followed by another that reads the same journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use veritwin_domain::{IngestLimits, ManualClock, SeededRng, SessionNote, TenantId, Timestamp};
use veritwin_ingest::mqtt::{Broker, BrokerParts, Restoring, WaitingWill};
use veritwin_ingest::{
    Arrivals, EntryRefused, Login, Origin, Placed, Sink, SinkEntry, SubmitError,
};

use crate::packets::connect_for_hours;
use crate::platform::{
    API_KEY, CREDENTIAL, Client, DEVICE, Door, NOW_MICROS, TENANT, connect, packet, publish,
    refuse_wide, subscribe, text,
};

/// Keeps everything with its position.
#[derive(Default)]
pub(crate) struct Journal {
    arrivals: Arrivals,
    pub(crate) entries: Mutex<Vec<(u64, SinkEntry)>>,
    /// From where everything is told.
    pub(crate) from: watch::Sender<u64>,
    /// So much later the next broker starts.
    pub(crate) later_micros: Mutex<i64>,
    /// When set, nothing becomes durable.
    pub(crate) failure: Mutex<Option<SubmitError>>,
    /// When set, each submission takes one permit before it is durable.
    pub(crate) gate: Mutex<Option<Arc<Semaphore>>>,
    /// The same of one with readings, before it is known that they are durable.
    pub(crate) told_later: Mutex<Option<Arc<Semaphore>>>,
    /// Submissions that have begun.
    pub(crate) started: watch::Sender<usize>,
    /// Who has a will is a host application of Sparkplug now.
    is_of_hosts: AtomicBool,
    /// Tenants whose notes of sessions do not get in: they never come back, or with an error.
    pub(crate) held_up: Mutex<HashMap<TenantId, Option<SubmitError>>>,
    /// How often notes of sessions came.
    pub(crate) tellings: watch::Sender<usize>,
}

async fn pass(gate: &Mutex<Option<Arc<Semaphore>>>) {
    let gate = gate.lock().clone();
    if let Some(gate) = gate {
        gate.acquire().await.expect("gate").forget();
    }
}

#[async_trait]
impl Sink for Journal {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        self.submit_placed(origin, entries).await.map(|(refused, _)| refused)
    }

    async fn submit_placed(
        &self,
        _: Origin<'_>,
        mut entries: Vec<SinkEntry>,
    ) -> Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError> {
        self.started.send_modify(|count| *count += 1);
        pass(&self.gate).await;
        if let Some(error) = self.failure.lock().clone() {
            return Err(error);
        }
        let refused = refuse_wide(&mut entries);
        let is_told_later = entries.iter().any(|entry| matches!(entry, SinkEntry::Readings(_)));
        let entries = entries.into_iter().enumerate();
        let placed = entries.map(|(index, entry)| (index, self.put(entry))).collect();
        if is_told_later {
            pass(&self.told_later).await;
        }
        Ok((refused, placed))
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    async fn tell_sessions(
        &self,
        tenant: TenantId,
        notes: Vec<SessionNote>,
    ) -> Result<(), SubmitError> {
        let held_up = self.held_up.lock().get(&tenant).cloned();
        self.tellings.send_modify(|count| *count += 1);
        match held_up {
            Some(Some(error)) => Err(error),
            Some(None) => std::future::pending().await,
            None => {
                for note in notes {
                    self.put(SinkEntry::Note(note));
                }
                Ok(())
            }
        }
    }

    fn log_tail(&self) -> u64 {
        self.entries.lock().last().map_or(0, |(last, _)| last + 1)
    }

    async fn sessions_kept_from(&self, position: u64) -> Result<(), SubmitError> {
        self.from.send_replace(position);
        Ok(())
    }
}

const fn is_relay(entry: &SinkEntry) -> bool {
    matches!(entry, SinkEntry::Relay { .. })
}

impl Journal {
    /// Puts an entry in; its position.
    pub(crate) fn put(&self, entry: SinkEntry) -> u64 {
        let mut all = self.entries.lock();
        let position = all.last().map_or(0, |(last, _)| last + 1);
        all.push((position, entry));
        position
    }

    /// A broker that goes on where the last one was.
    pub(crate) fn start(self: &Arc<Self>) -> Arc<Broker> {
        self.start_without(|_| false)
    }

    /// The same, and some of what is in the journal is not read.
    fn start_without(self: &Arc<Self>, is_withheld: impl Fn(&SinkEntry) -> bool) -> Arc<Broker> {
        let now = Timestamp::from_micros(NOW_MICROS + *self.later_micros.lock());
        let clock = Arc::new(ManualClock::new(now));
        self.start_with(Arc::new(Door), clock, is_withheld)
    }

    /// The same, with who may come in and the time.
    pub(crate) fn start_with(
        self: &Arc<Self>,
        login: Arc<dyn Login>,
        clock: Arc<ManualClock>,
        is_withheld: impl Fn(&SinkEntry) -> bool,
    ) -> Arc<Broker> {
        let (broker, wills) = self.restore(login, clock, is_withheld);
        for will in wills {
            tokio::spawn(will.publish());
        }
        broker
    }

    /// The same; nobody has looked at the wills yet.
    pub(crate) fn restore(
        self: &Arc<Self>,
        login: Arc<dyn Login>,
        clock: Arc<ManualClock>,
        is_withheld: impl Fn(&SinkEntry) -> bool,
    ) -> (Arc<Broker>, Vec<WaitingWill>) {
        let broker = Broker::new(BrokerParts {
            login,
            sink: Arc::clone(self) as Arc<dyn Sink>,
            clock,
            rng: Arc::new(SeededRng::new(1)),
            limits: IngestLimits::default(),
        });
        let from = *self.from.borrow();
        let mut restoring = Restoring::new(Arc::clone(&broker), from);
        let entries = self.entries.lock().clone();
        let read = || entries.iter().filter(|(at, one)| *at >= from && !is_withheld(one));
        for (_, entry) in read() {
            if let SinkEntry::Note(note) = entry {
                restoring.look(note);
            }
        }
        restoring.begin();
        for (position, entry) in read() {
            match entry {
                SinkEntry::Note(note) => restoring.note(note),
                SinkEntry::Relay { message, .. } => restoring.message(*position, message),
                _ => {}
            }
        }
        let is_of_hosts = self.is_of_hosts.load(Ordering::SeqCst);
        let of_host = |will: WaitingWill| if is_of_hosts { will.of_sparkplug_host() } else { will };
        (broker, restoring.finish().into_iter().map(of_host).collect())
    }

    pub(crate) fn relayed(&self) -> usize {
        self.entries.lock().iter().filter(|(_, entry)| is_relay(entry)).count()
    }
}

/// A client that keeps its session; `present` when there is one.
pub(crate) async fn open(
    broker: &Arc<Broker>,
    client_id: &str,
    token: &str,
    present: u8,
) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect(4, 0, client_id, token)).await;
    client.expect(&[0x20, 2, present, 0]).await;
    client
}

/// A client that has subscribed, and is away.
pub(crate) async fn park(broker: &Arc<Broker>) {
    let mut client = open(broker, "c1", "token", 0).await;
    client.send(&subscribe(4, 1, &[("plant/+", 2)])).await;
    client.expect(&[0x90, 3, 0, 1, 2]).await;
    client.leave().await;
}

/// Another client publishes.
pub(crate) async fn tell(broker: &Arc<Broker>, qos: u8, texts: &[&str]) {
    let mut other = Client::open(broker);
    other.send(&connect(4, 2, "c2", "other")).await;
    other.expect(&[0x20, 2, 0, 0]).await;
    for text in texts {
        other.send(&publish(4, qos, 1, "plant/a", text.as_bytes())).await;
        if qos == 1 {
            other.expect(&[0x40, 2, 0, 1]).await;
        } else {
            other.expect(&[0x50, 2, 0, 1]).await;
            other.send(&[0x62, 2, 0, 1]).await;
            other.expect(&[0x70, 2, 0, 1]).await;
        }
    }
    other.leave().await;
}

/// Nothing waits for the client, and it was heard.
pub(crate) async fn nothing_waits(client: &mut Client) {
    client.send(&[0xc0, 0]).await;
    client.expect(&[0xd0, 0]).await;
}

/// A message, with its first byte; its packet id.
pub(crate) async fn message(client: &mut Client, first: u8, text: &str) -> [u8; 2] {
    let message = client.packet().await;
    assert_eq!(message[0], first, "{message:02x?}");
    assert!(message.ends_with(text.as_bytes()), "{message:02x?}, expected {text}");
    [message[11], message[12]]
}

#[tokio::test]
async fn what_waits_for_a_client_is_there_after_a_restart_in_order() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 1, &["one", "two"]).await;
    let broker = journal.start();
    tell(&broker, 1, &["three"]).await;
    let mut client = open(&broker, "c1", "token", 1).await;
    for (first, text) in [(0x3a, "one"), (0x3a, "two"), (0x32, "three")] {
        let id = message(&mut client, first, text).await;
        client.send(&[0x40, 2, id[0], id[1]]).await;
    }
    nothing_waits(&mut client).await;
    broker.flush_sessions().await;
    // What was acknowledged, and told, does not come again.
    let broker = journal.start();
    nothing_waits(&mut open(&broker, "c1", "token", 1).await).await;
}

#[tokio::test]
async fn what_is_withheld_does_not_come() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 1, &["one"]).await;
    let broker = journal.start_without(is_relay);
    nothing_waits(&mut open(&broker, "c1", "token", 1).await).await;
    let broker = journal.start_without(|entry| matches!(entry, SinkEntry::Note(_)));
    open(&broker, "c1", "token", 0).await.leave().await;
}

#[tokio::test]
async fn a_message_of_the_highest_quality_comes_once() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 2, &["one"]).await;
    let mut client = open(&broker, "c1", "token", 1).await;
    let id = message(&mut client, 0x34, "one").await;
    // Without PUBREC it comes again, with its id.
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    assert_eq!(message(&mut client, 0x3c, "one").await, id);
    client.send(&[0x50, 2, id[0], id[1]]).await;
    client.expect(&[0x62, 2, id[0], id[1]]).await;
    // Without PUBCOMP it is released again.
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.expect(&[0x62, 2, id[0], id[1]]).await;
    client.send(&[0x70, 2, id[0], id[1]]).await;
    nothing_waits(&mut client).await;
    broker.flush_sessions().await;
    let broker = journal.start();
    nothing_waits(&mut open(&broker, "c1", "token", 1).await).await;
}

#[tokio::test]
async fn a_message_that_came_before_a_restart_is_taken_once() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 0).await;
    client.send(&publish(4, 2, 5, "plant/a", b"one")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    let mut again = publish(4, 2, 5, "plant/a", b"one");
    again[0] |= 0x08;
    client.send(&again).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 1);
    client.send(&[0x62, 2, 0, 5]).await;
    client.expect(&[0x70, 2, 0, 5]).await;
    // Its id is free, also after another restart.
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&again).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_before_a_round_is_not_needed_any_more() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    tell(&broker, 1, &["one"]).await;
    let tending = tokio::spawn(Arc::clone(&broker).tend_sessions());
    let mut from = journal.from.subscribe();
    let position = *from.wait_for(|from| *from > 0).await.expect("a round");
    tending.abort();
    journal.entries.lock().retain(|(at, _)| *at >= position);
    assert_eq!(journal.relayed(), 0);
    let broker = journal.start();
    tell(&broker, 1, &["two"]).await;
    let mut client = open(&broker, "c1", "token", 1).await;
    for (first, text) in [(0x3a, "one"), (0x32, "two")] {
        message(&mut client, first, text).await;
    }
}

#[tokio::test]
async fn the_will_of_a_connection_that_a_restart_cut_is_published() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    let mut mortal = Client::open(&broker);
    let mut hello = text("MQTT");
    // User name, and a will of QoS 1.
    hello.extend_from_slice(&[4, 0x8c, 0, 60]);
    hello.extend([text("c3"), text("plant/b"), text("gone"), text("other")].concat());
    mortal.send(&packet(0x10, &hello)).await;
    mortal.expect(&[0x20, 2, 0, 0]).await;
    nothing_waits(&mut mortal).await;
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    message(&mut client, 0x32, "gone").await;
}

#[tokio::test]
async fn a_hosts_will_says_after_a_restart_that_it_is_gone() {
    const STATE: &str = "spBv1.0/STATE/scada";
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 0).await;
    client.send(&subscribe(4, 1, &[(STATE, 1)])).await;
    client.expect(&[0x90, 3, 0, 1, 1]).await;
    client.leave().await;
    let mut host = Client::open(&broker);
    let mut hello = text("MQTT");
    hello.extend_from_slice(&[4, 0x8c, 0, 60]);
    hello.extend([text("c3"), text(STATE), text("gone"), text("scada")].concat());
    host.send(&packet(0x10, &hello)).await;
    host.expect(&[0x20, 2, 0, 0]).await;
    nothing_waits(&mut host).await;
    journal.is_of_hosts.store(true, Ordering::SeqCst);
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    message(&mut client, 0x32, "gone").await;
}

/// A CONNECT of 5.0 that begins a session of two hours anew.
pub(crate) fn begin_anew(client_id: &str) -> Vec<u8> {
    connect_for_hours(client_id, 0x82)
}

#[tokio::test(start_paused = true)]
async fn a_session_that_began_anew_has_nothing_of_the_one_before_it() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    open(&broker, "c1", "token", 0).await.leave().await;
    let start = journal.entries.lock().len();
    // One that was there has a message without PUBREL; another begins, and is resumed.
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&publish(4, 2, 5, "plant/a", b"one")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    client.leave().await;
    let mut client = Client::open(&broker);
    client.send(&begin_anew("c1")).await;
    let acknowledged = client.packet().await;
    assert_eq!((acknowledged[0], acknowledged[2]), (0x20, 0), "no session is present");
    client.leave().await;
    open(&broker, "c1", "token", 1).await.leave().await;
    let told: Vec<(u64, SinkEntry)> = journal.entries.lock()[start..].to_vec();
    broker.flush_sessions().await;
    let tending = tokio::spawn(Arc::clone(&broker).tend_sessions());
    let mut from = journal.from.subscribe();
    from.wait_for(|from| *from > 0).await.expect("a round");
    tending.abort();
    // As if all of that had been told while the round was.
    for (_, note) in told.into_iter().filter(|(_, entry)| !is_relay(entry)) {
        journal.put(note);
    }
    let broker = journal.start();
    let mut client = open(&broker, "c1", "token", 1).await;
    client.send(&publish(4, 2, 5, "plant/a", b"two")).await;
    client.expect(&[0x50, 2, 0, 5]).await;
    assert_eq!(journal.relayed(), 2, "the id is the new session's own");
}

#[tokio::test]
async fn a_session_that_is_kept_from_a_later_connection_on_has_its_filters() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    let mut first = Client::open(&broker);
    first.send(&connect(4, 2, "c1", "token")).await;
    first.expect(&[0x20, 2, 0, 0]).await;
    first.send(&subscribe(4, 1, &[("plant/+", 1)])).await;
    first.expect(&[0x90, 3, 0, 1, 1]).await;
    let mut second = open(&broker, "c1", "token", 1).await;
    nothing_waits(&mut second).await;
    let broker = journal.start();
    tell(&broker, 1, &["one"]).await;
    message(&mut open(&broker, "c1", "token", 1).await, 0x32, "one").await;
}

#[tokio::test]
async fn a_clean_start_a_revoked_credential_and_a_deleted_device_leave_nothing() {
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    park(&broker).await;
    let mut client = Client::open(&broker);
    client.send(&connect(4, 2, "c1", "token")).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    broker.flush_sessions().await;
    let broker = journal.start();
    open(&broker, "c1", "token", 0).await.leave().await;
    broker.flush_sessions().await;
    let broker = journal.start();
    // Another credential of the device has not had it.
    broker.end_sessions_of(TENANT, DEVICE, Some(API_KEY));
    open(&broker, "c1", "token", 1).await.leave().await;
    broker.end_sessions_of(TENANT, DEVICE, Some(CREDENTIAL));
    broker.flush_sessions().await;
    let broker = journal.start();
    open(&broker, "c1", "token", 0).await.leave().await;
    broker.end_sessions_of(TENANT, DEVICE, None);
    broker.flush_sessions().await;
    let broker = journal.start();
    open(&broker, "c1", "token", 0).await.leave().await;
}

#[tokio::test]
async fn a_restart_ends_no_session_for_a_bound() {
    const SESSIONS: usize = 2_000;
    let journal = Arc::new(Journal::default());
    let broker = journal.start();
    for number in 0..SESSIONS {
        let mut client = open(&broker, &number.to_string(), "token", 0).await;
        client.send(&subscribe(4, 1, &[("plant/+", 1)])).await;
        client.expect(&[0x90, 3, 0, 1, 1]).await;
        client.leave().await;
    }
    tell(&broker, 1, &["one"]).await;
    // That clients have left was not told: to the journal each is connected.
    let broker = journal.start();
    for number in [0, SESSIONS / 2, SESSIONS - 1] {
        let mut client = open(&broker, &number.to_string(), "token", 1).await;
        message(&mut client, 0x3a, "one").await;
    }
}
