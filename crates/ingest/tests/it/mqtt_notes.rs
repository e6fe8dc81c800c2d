//! What became of sessions is told of each tenant by itself: one whose notes do not get in holds up
//! nobody's, makes nobody else's be told again and again, and loses none.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_domain::{CredentialId, DeviceId, ManualClock, Secret, TenantId, Timestamp};
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{
    Credential, DeviceSession, Login, LoginError, PeerInfo, SinkEntry, SubmitError, Writer,
    WriterSession,
};

use crate::mqtt_kept::{Journal, message, nothing_waits, open, tell};
use crate::platform::{Client, Door, NOW_MICROS, TENANT, connect, subscribe};

const THEIRS: TenantId = TenantId::from_bytes([8; 16]);
const THEIR_DEVICE: DeviceId = DeviceId::from_bytes([9; 16]);

/// The door of two tenants: the token "theirs" is the other one's.
struct Doors;

#[async_trait]
impl Login for Doors {
    async fn authenticate(
        &self,
        credential: Credential,
        peer: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        let is_theirs =
            matches!(&credential, Credential::Token(token) if token.expose() == "theirs");
        if is_theirs {
            let credential = CredentialId::from_bytes([10; 16]);
            return Ok(Arc::new(DeviceSession::new(THEIRS, THEIR_DEVICE, credential)));
        }
        Door.authenticate(credential, peer).await
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

struct World {
    journal: Arc<Journal>,
    clock: Arc<ManualClock>,
    broker: Arc<Broker>,
}

impl World {
    /// Both tenants have a session without a connection.
    async fn new() -> Self {
        let journal = Arc::new(Journal::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS)));
        let broker = journal.start_with(Arc::new(Doors), Arc::clone(&clock), |_| false);
        for token in ["token", "theirs"] {
            let mut client = Client::open(&broker);
            client.send(&connect(4, 0, "c1", token)).await;
            client.expect(&[0x20, 2, 0, 0]).await;
            client.send(&subscribe(4, 1, &[("plant/+", 1)])).await;
            client.expect(&[0x90, 3, 0, 1, 1]).await;
            client.leave().await;
        }
        Self { journal, clock, broker }
    }

    fn hold_up(&self, error: Option<SubmitError>) {
        self.journal.held_up.lock().insert(THEIRS, error);
    }

    fn let_in(&self) {
        self.journal.held_up.lock().clear();
    }

    fn notes_of(&self, tenant: TenantId) -> usize {
        let entries = self.journal.entries.lock();
        let notes = entries
            .iter()
            .filter(|(_, entry)| matches!(entry, SinkEntry::Note(note) if note.tenant == tenant));
        notes.count()
    }

    /// Until notes came so many further times.
    async fn tellings(&self, more: usize) {
        let mut tellings = self.journal.tellings.subscribe();
        let goal = *tellings.borrow() + more;
        let heard = tellings.wait_for(|count| *count >= goal);
        let heard = tokio::time::timeout(Duration::from_secs(600), heard).await;
        heard.expect("notes came in time").expect("the journal is there");
    }
}

fn busy() -> SubmitError {
    let retry_after = Duration::from_secs(5);
    SubmitError::Busy { detail: "a flood".to_owned(), limit: None, retry_after }
}

#[tokio::test]
async fn notes_that_do_not_get_in_wait_and_others_are_told() {
    let world = World::new().await;
    let (mine, theirs) = (world.notes_of(TENANT), world.notes_of(THEIRS));
    for error in [busy(), SubmitError::Unavailable("no key".to_owned())] {
        world.hold_up(Some(error));
        world.broker.flush_sessions().await;
        assert!(world.notes_of(TENANT) > mine);
        assert_eq!(world.notes_of(THEIRS), theirs);
    }
    world.let_in();
    world.broker.flush_sessions().await;
    assert!(world.notes_of(THEIRS) > theirs);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_notes_are_slow_holds_up_no_others() {
    let world = World::new().await;
    world.hold_up(None);
    let tending = tokio::spawn(Arc::clone(&world.broker).tend_sessions());
    world.tellings(2).await;
    // The first round waits for theirs, too.
    world.tellings(2).await;
    let mut client = Client::open(&world.broker);
    client.send(&connect(4, 0, "c1", "token")).await;
    client.expect(&[0x20, 2, 1, 0]).await;
    client.leave().await;
    let mine = world.notes_of(TENANT);
    world.tellings(1).await;
    assert!(world.notes_of(TENANT) > mine);
    tending.abort();
    let _aborted = tending.await;
    world.let_in();
    let theirs = world.notes_of(THEIRS);
    world.broker.flush_sessions().await;
    assert!(world.notes_of(THEIRS) > theirs, "what was on its way waits again");
}

#[tokio::test(start_paused = true)]
async fn a_round_goes_on_without_a_tenant_that_is_busy_and_asks_only_that_one_again() {
    let world = World::new().await;
    world.broker.flush_sessions().await;
    world.hold_up(Some(busy()));
    let mine = world.notes_of(TENANT);
    let tending = tokio::spawn(Arc::clone(&world.broker).tend_sessions());
    world.tellings(2).await;
    let told = world.notes_of(TENANT);
    assert!(told > mine, "the others are told");
    assert_eq!(*world.journal.from.borrow(), 0, "the log is not cut without it");
    world.clock.advance(Duration::from_secs(5));
    world.tellings(1).await;
    assert_eq!(world.notes_of(TENANT), told, "they are not told again");
    world.let_in();
    world.clock.advance(Duration::from_secs(30));
    let mut from = world.journal.from.subscribe();
    let position = *from.wait_for(|from| *from > 0).await.expect("a round");
    assert_eq!(world.notes_of(TENANT), told);
    tending.abort();
    // What is before it is not needed.
    world.journal.entries.lock().retain(|(at, _)| *at >= position);
    let broker = world.journal.start_with(Arc::new(Doors), Arc::clone(&world.clock), |_| false);
    for token in ["token", "theirs"] {
        let mut client = Client::open(&broker);
        client.send(&connect(4, 0, "c1", token)).await;
        client.expect(&[0x20, 2, 1, 0]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_waits_for_its_key_and_fills_its_part_does_not_hold_the_log() {
    let world = World::new().await;
    world.broker.flush_sessions().await;
    let limit = Some("spool_bytes_max");
    let retry_after = Duration::from_secs(5);
    world.hold_up(Some(SubmitError::Busy { detail: "full".to_owned(), limit, retry_after }));
    let theirs = world.notes_of(THEIRS);
    let tending = tokio::spawn(Arc::clone(&world.broker).tend_sessions());
    let mut from = world.journal.from.subscribe();
    from.wait_for(|from| *from > 0).await.expect("a round");
    assert_eq!(world.notes_of(THEIRS), theirs);
    // There is room again, and the next round tells of it.
    world.let_in();
    world.clock.advance(Duration::from_secs(30));
    world.tellings(2).await;
    assert!(world.notes_of(THEIRS) > theirs);
    tending.abort();
}

#[tokio::test(start_paused = true)]
async fn clients_that_come_and_go_keep_nobody_from_being_asked_what_was_had() {
    let world = World::new().await;
    let tending = tokio::spawn(Arc::clone(&world.broker).tend_sessions());
    let mut from = world.journal.from.subscribe();
    from.wait_for(|from| *from > 0).await.expect("a round");
    tell(&world.broker, 1, &["one"]).await;
    let mut client = open(&world.broker, "c1", "token", 1).await;
    let [high, low] = message(&mut client, 0x32, "one").await;
    client.send(&[0x40, 2, high, low]).await;
    nothing_waits(&mut client).await;
    // Somebody goes in each second.
    for present in [0, 1, 1, 1] {
        open(&world.broker, "c3", "token", present).await.leave().await;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    tending.abort();
    let broker = world.journal.start_with(Arc::new(Doors), Arc::clone(&world.clock), |_| false);
    let mut client = open(&broker, "c1", "token", 1).await;
    nothing_waits(&mut client).await;
}
