//! Sessions that outlive the process: what becomes of them is told the sink as notes, what waits
//! for a client with it at once, the rest each second. From time to time all is told anew, so that
//! what is before it may go.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use veritwin_domain::{CredentialId, DeviceId, TenantId, Timestamp};

use super::broker::Broker;
use super::device::Device;
use super::encode::PUBREC;
use super::frame::Version;
use super::note::{Held, Kept, KeptWill, Note};
use super::pending::Ack;
use super::session::{Session, SessionKey, SessionState, SharedState};
use super::sessions::{NO_CREDENTIAL, Sessions};
use crate::link::DeviceLink;
use crate::model::{DeviceSession, Origin, SinkEntry};
use crate::traits::SubmitError;

/// So often everything is told anew, at most.
pub const SESSION_ROUND_SECONDS_MIN: u64 = 10;
/// So much of it is told in a second, on average: a large round is followed by a longer pause.
pub const SESSION_ROUND_BYTES_PER_SECOND_MAX: usize = 1024 * 1024;
/// A round that failed is tried again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// So many notes, and bytes of them, are told in one submission.
const NOTES_AT_ONCE: usize = 256;
const NOTE_BYTES_AT_ONCE: usize = 1024 * 1024;
/// Of so many tenants notes are told at once: one whose notes are slow holds up no others.
const TENANTS_AT_ONCE: usize = 8;
/// Most notes that wait to be told; further ones are lost, and the next round makes up for them.
const NOTES_MAX: usize = 100_000;

/// The link of no connection.
const NOBODY: u64 = 0;

/// When everything is told anew.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The one that has begun: the position it is for, and what was under way before.
    open: Option<(u64, Weak<()>)>,
    next_at: Duration,
}

/// How a connection's will fares when the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WillFate {
    /// It waits to be published.
    Waits,
    /// Nobody wants it.
    Gone,
}

impl Sessions {
    /// Held by who puts messages before their subscribers.
    pub(super) fn epoch(&self) -> Arc<()> {
        Arc::clone(&self.epoch.lock())
    }

    pub(super) fn tell(&self, key: SessionKey, note: Note) {
        let mut notes = self.notes.lock();
        if notes.len() < NOTES_MAX {
            notes.push((key, note));
        }
    }

    /// A session is over.
    pub(super) fn tell_ended(&self, session: &Session) {
        if let Some(key) = session.kept() {
            let turn = session.lock().turn();
            self.tell(key.clone(), Note::Ended(turn));
        }
    }

    /// The sessions of a device that have no connection.
    fn parked_of(&self, tenant: TenantId, device: DeviceId) -> Vec<(SessionKey, SharedState)> {
        let table = self.table.lock();
        let keys = table.parked.of(tenant, device).into_iter();
        let found = keys.filter_map(|key| {
            let state = Arc::clone(&table.sessions.get(&key)?.state);
            Some((key, state))
        });
        found.collect()
    }

    /// Takes a session out of the table, unless it has a connection again.
    fn take_parked(&self, key: &SessionKey, state: &SharedState) -> bool {
        let mut table = self.table.lock();
        let known = table.sessions.get(key).filter(|known| Arc::ptr_eq(&known.state, state));
        let Some(place) = known.and_then(|known| known.place) else { return false };
        table.parked.remove(place);
        let gone = table.sessions.remove(key);
        // Nobody speaks for it any more: a will that waits is not published.
        state.set_last_link(NOBODY);
        drop(table);
        gone.is_some()
    }

    /// A session has no connection any more since `at`.
    pub(super) fn tell_away(
        &self,
        session: &Session,
        (keep_seconds, at): (u32, Timestamp),
        will: WillFate,
    ) {
        let Some(key) = session.kept() else { return };
        let mut state = session.lock();
        // Somebody has it again, or it is over, which is told.
        if state.holder != 0 || state.is_over() {
            return;
        }
        let turn = state.turn();
        let Some(held) = &mut state.held else { return };
        (held.turn, held.keep_seconds, held.away_at) = (turn, keep_seconds, Some(at));
        held.clean = false;
        if will == WillFate::Gone {
            held.will = None;
        }
        let note = Note::Held(held.clone());
        drop(state);
        self.tell(key.clone(), note);
    }

    /// The will of a session that nobody has had since is published.
    pub(super) fn tell_will_done(&self, session: &Session) {
        let Some(key) = session.kept() else { return };
        let mut state = session.lock();
        let Some(held) = &mut state.held else { return };
        if held.away_at.is_none() {
            return;
        }
        held.will = None;
        let turn = held.turn;
        drop(state);
        self.tell(key.clone(), Note::WillDone(turn));
    }
}

impl Session {
    /// All that there is to say of the session.
    fn all_notes(&self, round: u64) -> Vec<Note> {
        let state = self.lock();
        let Some(held) = state.held.clone().filter(|_| !state.is_over()) else { return Vec::new() };
        state.all_notes(round, held)
    }
}

impl SessionState {
    /// All that there is to say of it, as it is held.
    pub(super) fn all_notes(&self, round: u64, held: Held) -> Vec<Note> {
        let (done, open): (Vec<_>, Vec<_>) =
            self.unacknowledged.iter().partition(|message| message.is_received);
        let kept = Kept {
            round,
            held,
            subscriptions: self.subscriptions.clone(),
            received: self.received.stored_ids(),
            released: done.iter().filter_map(|message| message.delivery.place).collect(),
        };
        let open = open.into_iter().map(|message| &message.delivery);
        let waiting = open.chain(self.outbox.iter()).filter(|one| one.place.is_some());
        let waits = waiting.map(|one| Note::Waits(round, one.told()));
        std::iter::once(Note::Kept(Box::new(kept))).chain(waits).collect()
    }
}

/// Notes of one tenant that are told together.
#[derive(Default)]
struct Batch {
    entries: Vec<SinkEntry>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, key: &SessionKey, note: &Note) {
        let note = note.of(key);
        self.bytes += note.body.len();
        self.entries.push(SinkEntry::Note(note));
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= NOTES_AT_ONCE || self.bytes >= NOTE_BYTES_AT_ONCE
    }
}

impl Broker {
    /// Tells what has become of sessions since the last time. Call it before the end, when every
    /// connection is gone.
    pub async fn flush_sessions(&self) {
        let mut tenants: BTreeMap<TenantId, Vec<(SessionKey, Note)>> = BTreeMap::new();
        let notes = std::mem::take(&mut *self.sessions.notes.lock());
        for (key, note) in notes {
            tenants.entry(key.tenant).or_default().push((key, note));
        }
        for session in self.sessions.all_kept() {
            let Some(key) = session.kept() else { continue };
            let notes = session.take_notes();
            for note in notes {
                tenants.entry(key.tenant).or_default().push((key.clone(), note));
            }
        }
        let tell = |(tenant, notes)| self.tell_notes(tenant, notes);
        stream::iter(tenants).for_each_concurrent(TENANTS_AT_ONCE, tell).await;
    }

    async fn tell_notes(&self, tenant: TenantId, notes: Vec<(SessionKey, Note)>) {
        let mut batch = Batch::default();
        for (key, note) in notes {
            batch.push(&key, &note);
            if batch.is_full() {
                self.tell_batch(tenant, std::mem::take(&mut batch)).await;
            }
        }
        self.tell_batch(tenant, batch).await;
    }

    async fn tell_batch(&self, tenant: TenantId, batch: Batch) {
        // What is not told is done again after a restart, at worst.
        if let Err(error) = self.submit_notes(tenant, batch).await {
            tracing::warn!(%tenant, %error, "what became of sessions is not on record");
        }
    }

    async fn submit_notes(&self, tenant: TenantId, batch: Batch) -> Result<(), SubmitError> {
        let Some(SinkEntry::Note(first)) = batch.entries.first() else { return Ok(()) };
        let session = DeviceSession::new(tenant, first.device, NO_CREDENTIAL);
        self.sink.submit(Origin::Device(&session), batch.entries).await.map(drop)
    }

    /// Tells everything anew when it is time, and when what was under way before is done.
    pub(super) async fn tend_round(&self) {
        if !self.sink.keeps_sessions() {
            return;
        }
        let Some(from) = self.open_round() else { return };
        let told = self.tell_all(from).await;
        let now = self.clock.monotonic();
        let mut rounds = self.sessions.rounds.lock();
        match told {
            Ok(bytes) => {
                let pause = (bytes / SESSION_ROUND_BYTES_PER_SECOND_MAX) as u64;
                let pause = Duration::from_secs(pause.max(SESSION_ROUND_SECONDS_MIN));
                *rounds = Rounds { open: None, next_at: now + pause };
            }
            Err(error) => {
                tracing::warn!(%error, "where sessions stand was not told anew; trying again");
                *rounds = Rounds { open: None, next_at: now + RETRY_AFTER };
            }
        }
    }

    /// The position that a round is for, once every message before it is put before who has
    /// subscribed.
    fn open_round(&self) -> Option<u64> {
        let mut rounds = self.sessions.rounds.lock();
        if rounds.open.is_none() {
            if self.clock.monotonic() < rounds.next_at {
                return None;
            }
            // What joins the new epoch becomes durable after this.
            let from = self.sink.log_tail();
            let before = std::mem::take(&mut *self.sessions.epoch.lock());
            rounds.open = Some((from, Arc::downgrade(&before)));
        }
        let (from, before) = rounds.open.as_ref()?;
        (before.strong_count() == 0).then_some(*from)
    }

    /// Tells where every session stands; how many bytes that were.
    async fn tell_all(&self, from: u64) -> Result<usize, SubmitError> {
        let mut tenants: BTreeMap<TenantId, Vec<SharedState>> = BTreeMap::new();
        for session in self.sessions.all_kept() {
            if let Some(tenant) = session.kept().map(|key| key.tenant) {
                tenants.entry(tenant).or_default().push(session);
            }
        }
        let tell = |(tenant, sessions)| self.tell_tenant(from, tenant, sessions);
        let mut told = stream::iter(tenants).map(tell).buffer_unordered(TENANTS_AT_ONCE);
        let mut bytes = 0;
        while let Some(of_tenant) = told.next().await {
            bytes += of_tenant?;
        }
        self.sink.sessions_kept_from(from).await?;
        Ok(bytes)
    }

    async fn tell_tenant(
        &self,
        from: u64,
        tenant: TenantId,
        sessions: Vec<SharedState>,
    ) -> Result<usize, SubmitError> {
        let (mut bytes, mut batch) = (0, Batch::default());
        for session in sessions {
            let Some(key) = session.kept() else { continue };
            for note in session.all_notes(from) {
                batch.push(key, &note);
                if batch.is_full() {
                    bytes += self.tell_some(tenant, std::mem::take(&mut batch)).await?;
                }
            }
        }
        Ok(bytes + self.tell_some(tenant, batch).await?)
    }

    /// Tells notes of a tenant. One whose keys are withdrawn has no sessions after a restart; nor
    /// does what is refused for good hold up the others.
    async fn tell_some(&self, tenant: TenantId, batch: Batch) -> Result<usize, SubmitError> {
        let bytes = batch.bytes;
        match self.submit_notes(tenant, batch).await {
            Ok(()) => Ok(bytes),
            Err(SubmitError::Denied(_) | SubmitError::NotFound(_)) => Ok(0),
            Err(error) if error.is_final() => {
                tracing::warn!(%tenant, %error, "where some sessions stand is not on record");
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

impl Device {
    /// Whether the session outlives the process. One that is over does not: what was noted of it
    /// would be taken for a note of the one that has its name now.
    pub(super) fn is_kept(&self) -> bool {
        self.state.kept().is_some() && !self.state.lock().is_over()
    }

    /// Makes a note of the session durable with everything else of the read; false where the
    /// session does not outlive the process.
    pub(super) fn note(&mut self, note: &Note) -> bool {
        if !self.is_kept() {
            return false;
        }
        let Some(told) = self.state.kept().map(|key| note.of(key)) else { return false };
        let (session, at) = (Arc::clone(&self.session), self.received_at);
        self.pending.push(&session, at, SinkEntry::Note(told));
        true
    }

    /// The client has the QoS 2 message with this place: that is noted with the read, as above.
    pub(super) fn note_released(&mut self, place: u64) -> bool {
        let is_kept = self.is_kept();
        if is_kept {
            self.pending.released.push(place);
        }
        is_kept
    }

    /// Notes what the read came to for QoS 2 messages: whose ids are free, which ones the client
    /// has, and which came, so that they are taken once after a restart, too.
    pub(super) fn note_read(&mut self) {
        if self.state.kept().is_none() {
            return;
        }
        if !self.pending.freed.is_empty() {
            let note = Note::Freed(self.pending.freed.clone());
            self.note(&note);
        }
        self.pending.released.sort_unstable();
        self.pending.released.dedup();
        if !self.pending.released.is_empty() {
            let note = Note::Released(self.pending.released.clone());
            self.note(&note);
        }
        let is_new =
            |ack: &Ack| ack.packet_type == PUBREC && !ack.is_repeat && ack.answer.reason < 0x80;
        if !self.pending.acks.iter().any(is_new) {
            return;
        }
        let of_replies = self.pending.of_replies();
        let state = self.state.lock();
        // One whose PUBREL is in the same read does not come again.
        let is_it = |(at, ack): &(usize, &Ack)| {
            is_new(ack) && !of_replies.contains(at) && state.received.is_arriving(ack.packet_id)
        };
        let all = self.pending.acks.iter().enumerate();
        let ids: Vec<u16> = all.filter(is_it).map(|(_, ack)| ack.packet_id).collect();
        drop(state);
        if ids.is_empty() {
            return;
        }
        let told = ids.clone();
        if self.note(&Note::Arrived(ids)) && self.encoder.version == Version::V5 {
            self.pending.arrived = Some((Arc::clone(&self.state), told));
        }
    }

    /// A connection has its session: one that outlives its connection outlives the process as
    /// well, where the sink keeps it.
    pub(super) fn keep_session(&mut self, key: &SessionKey, present: bool) {
        let outlives = self.session_seconds > 0 && self.broker.sink.keeps_sessions();
        if !outlives && self.state.kept().is_none() {
            return;
        }
        let (version, credential) = (self.encoder.version, self.session.credential);
        let will = self.will.as_ref().map(|will| KeptWill::of(will, version, credential));
        let (keep_seconds, away_at) = (self.session_seconds, None);
        // One that was not kept before is told whole: for who reads this it begins here.
        let notes = self.state.keep_for(self.link.id(), key, |turn, is_untold| {
            let clean = !present || is_untold;
            Held { turn, credential, keep_seconds, away_at, clean, will }
        });
        self.receive();
        let mut batch = Batch::default();
        for note in notes {
            batch.push(key, &note);
            if batch.is_full() {
                self.submit_kept(std::mem::take(&mut batch));
            }
        }
        self.submit_kept(batch);
    }

    /// Without it nothing that is noted later would be anybody's: the connection ends.
    fn submit_kept(&mut self, batch: Batch) {
        if batch.entries.is_empty() {
            return;
        }
        let (session, at) = (Arc::clone(&self.session), self.received_at);
        for entry in batch.entries {
            self.pending.push(&session, at, entry);
        }
        self.pending.is_vital = true;
        self.submit_pending();
    }
}

impl Broker {
    /// A device is gone, or one of its credentials lets nobody in any more: its sessions without a
    /// connection, or those that this credential had last, are over, and so is what waits for them.
    /// Those of its connections end with these.
    pub fn end_sessions_of(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: Option<CredentialId>,
    ) {
        let is_its = |state: &Session| match (&state.lock().held, credential) {
            (Some(held), Some(credential)) => held.credential == credential,
            (_, credential) => credential.is_none(),
        };
        for (key, state) in self.sessions.parked_of(tenant, device) {
            if is_its(&state) && self.sessions.take_parked(&key, &state) {
                self.sessions.tell_ended(&state);
                state.end();
            }
        }
    }

    /// What is told of a connection that is gone.
    pub(super) fn tell_gone(
        &self,
        state: &SharedState,
        link: &DeviceLink,
        keep_seconds: u32,
        will: WillFate,
    ) {
        if state.last_link() == link.id() && keep_seconds > 0 {
            self.sessions.tell_away(state, (keep_seconds, self.clock.now()), will);
        }
    }
}
