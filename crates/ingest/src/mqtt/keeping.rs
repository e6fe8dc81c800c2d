//! Sessions that outlive the process: what becomes of them is told the sink as notes, what a client
//! waits for with everything else of its read, the rest each second (`telling`).

use std::sync::Arc;

use veritwin_domain::{CredentialId, DeviceId, TenantId, Timestamp};

use super::broker::Broker;
use super::device::Device;
use super::encode::PUBREC;
use super::frame::Version;
use super::note::{Held, Kept, KeptWill, Note};
use super::pending::Ack;
use super::session::{Session, SessionKey, SessionState, SharedState};
use super::sessions::Sessions;
use super::telling::{NOTE_BYTES_AT_ONCE, NOTES_AT_ONCE};
use crate::link::DeviceLink;
use crate::model::SinkEntry;

/// The link of no connection.
const NOBODY: u64 = 0;

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
        let note = note.of(&key);
        self.untold.lock().push(note);
    }

    /// A session is over. Nothing is told of it behind that: it would be taken for another one's.
    pub(super) fn tell_ended(&self, session: &Session) {
        if let Some(key) = session.kept() {
            let mut state = session.lock();
            let turn = state.close();
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
        // The state is locked: that it is over is told behind this.
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
    pub(super) fn all_notes(&self, round: u64) -> Vec<Note> {
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
        let (mut count, mut bytes) = (0, 0);
        for note in notes {
            let note = note.of(key);
            (count, bytes) = (count + 1, bytes + note.body.len());
            self.pending.push(&self.session, self.received_at, SinkEntry::Note(note));
            if count >= NOTES_AT_ONCE || bytes >= NOTE_BYTES_AT_ONCE {
                self.submit_kept();
                (count, bytes) = (0, 0);
            }
        }
        if count > 0 {
            self.submit_kept();
        }
    }

    /// Without it nothing that is noted later would be anybody's: the connection ends.
    fn submit_kept(&mut self) {
        self.pending.is_vital = true;
        self.submit_pending();
    }
}

impl Broker {
    /// Whose the sessions are that outlive the process: each device, with the credential that had
    /// the session last.
    pub fn owners_of_kept(&self) -> Vec<(TenantId, DeviceId, CredentialId)> {
        let owner = |state: &SharedState| {
            let key = state.kept()?;
            let credential = state.lock().held.as_ref()?.credential;
            Some((key.tenant, key.device, credential))
        };
        self.sessions.all_kept().iter().filter_map(owner).collect()
    }

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
