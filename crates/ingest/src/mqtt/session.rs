//! A session by (tenant, device, client id): what outlives a connection (subscriptions, messages
//! that wait or are unacknowledged, QoS 2 ids). Bounded; one that is kept tells what becomes of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use veritwin_domain::{DeviceId, TenantId};

use super::note::{Held, Note, WHOLE};
use super::outbox::{Delivery, Outbox};
use super::packet::Options;
use super::receipts::Receipts;
use super::relay::TenantRelay;
use super::retained::AllWanted;
use super::short;
use super::topic::{self, FilterKind};
use crate::link::DeviceLink;

/// Longest time a session outlives its connection.
pub const SESSION_SECONDS_MAX: u32 = 86_400;
/// Most unacknowledged messages to one session.
pub(crate) const UNACKNOWLEDGED_MAX: usize = 32;

/// Ids of QoS 2 messages follow from their places, so that a message has its id after a restart as
/// well, also to a client whose session is kept only later. Other messages to such a client have
/// higher ids.
const PLACED_IDS: u16 = 60_000;
/// Most of what is told of one session at once.
const TOLD_MAX: usize = 1000;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) kind: FilterKind,
    pub(crate) options: Options,
    pub(crate) id: Option<u32>,
}

/// A QoS 1 or 2 message that the client has not acknowledged.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) packet_id: u16,
    /// QoS 2: PUBREC has come, and PUBCOMP is waited for.
    pub(super) is_received: bool,
    /// That is durable, of a session that is kept.
    pub(super) is_told: bool,
    pub(super) delivery: Delivery,
}

/// What a session remembers.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(super) unacknowledged: VecDeque<Unacknowledged>,
    pub(super) outbox: Outbox,
    pub(super) retained: AllWanted,
    /// QoS 2 messages that wait for their PUBREL.
    pub(crate) received: Receipts,
    /// The link of the connection that has the session, 0 without one.
    pub(super) holder: u64,
    /// Counts who has it, of [`Session::hold`].
    turn: u64,
    /// It is out of the table: nothing is kept for it any more.
    is_over: bool,
    last_packet_id: u16,
    /// A message with an id of its own has come.
    has_own_ids: bool,
    /// Who has it, of a session that outlives the process.
    pub(super) held: Option<Held>,
    /// Places of messages that are done with, and that is not told yet.
    settled: Vec<u64>,
    /// Ids of QoS 2 messages among them: another message may have one when it is durable that the
    /// first is done with, or after a restart the first one's PUBREL would be taken for its own.
    unsettled_ids: BTreeSet<u16>,
    /// The same of what was told the last time, and may not be durable yet.
    telling_ids: BTreeSet<u16>,
    /// Messages of shares, and which: taken by this session, or (true) by one that is not kept.
    taken: Vec<(u64, Arc<str>, bool)>,
}

impl SessionState {
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// It is over from now on; the turn that it had last.
    pub(super) const fn close(&mut self) -> u64 {
        self.is_over = true;
        self.turn
    }

    /// The granted QoS and the subscription ids for a topic; `None` without a subscription.
    pub(crate) fn matching(&self, name: &str) -> Option<(u8, Vec<u32>)> {
        let mut found = None;
        for subscription in &self.subscriptions {
            if topic::matches(&subscription.filter, name) {
                let (qos, ids) = found.get_or_insert((0u8, Vec::new()));
                *qos = (*qos).max(subscription.options.qos);
                ids.extend(subscription.id);
            }
        }
        found
    }

    /// What the device listens to: attribute updates, calls.
    fn interests(&self) -> (bool, bool) {
        let is_wanted = |name: &str| {
            let is_short = |name: String| self.matching(&name).is_some();
            self.matching(name).is_some() || short::short_of(name).is_some_and(is_short)
        };
        let call = format!("{}1", topic::RPC_REQUEST);
        (is_wanted(topic::ATTRIBUTES), is_wanted(&call))
    }

    /// What a gateway listens to for the devices behind it: attribute updates, calls.
    fn child_interests(&self) -> (bool, bool) {
        let attributes = self.matching(topic::GATEWAY_ATTRIBUTES).is_some();
        (attributes, self.wants_child_rpc())
    }

    /// Whether a gateway listens to calls to the devices behind it.
    pub(crate) fn wants_child_rpc(&self) -> bool {
        self.matching(topic::GATEWAY_RPC).is_some()
    }

    /// States to a link what the device listens to.
    pub(crate) fn state_interests(&self, link: &DeviceLink, is_gateway: bool) {
        let (attributes, rpc) = self.interests();
        link.set_interests(attributes, rpc);
        if is_gateway {
            let (attributes, rpc) = self.child_interests();
            link.set_child_interests(attributes, rpc);
        }
    }

    pub(super) const fn turn(&self) -> u64 {
        self.turn
    }

    /// There is nothing to say of it yet.
    fn is_new(&self) -> bool {
        self.subscriptions.is_empty()
            && self.unacknowledged.is_empty()
            && self.outbox.len() == 0
            && self.received.stored_ids().is_empty()
    }

    /// The id that a message has to have.
    fn own_id(&self, delivery: &Delivery) -> Option<u16> {
        let place = delivery.place.filter(|_| delivery.qos == 2)?;
        u16::try_from(place % u64::from(PLACED_IDS)).ok().map(|id| id + 1)
    }

    fn is_free(&self, id: u16) -> bool {
        self.unacknowledged.iter().all(|message| message.packet_id != id)
            && !self.unsettled_ids.contains(&id)
            && !self.telling_ids.contains(&id)
    }

    /// Whether a message can have an id now.
    pub(super) fn has_id_for(&self, delivery: &Delivery) -> bool {
        self.own_id(delivery).is_none_or(|id| self.is_free(id))
    }

    /// The packet id of a message that is sent.
    pub(super) fn packet_id_of(&mut self, delivery: &Delivery) -> u16 {
        self.own_id(delivery).unwrap_or_else(|| self.next_packet_id())
    }

    /// A packet id that is not in use.
    fn next_packet_id(&mut self) -> u16 {
        let is_apart = self.held.is_some() || self.has_own_ids;
        let first = if is_apart { PLACED_IDS + 1 } else { 1 };
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(first).max(first);
            let id = self.last_packet_id;
            if self.is_free(id) {
                return id;
            }
        }
    }

    /// The client has a message, or it is not for it any more.
    pub(super) fn settle(&mut self, place: Option<u64>) {
        if let Some(place) = place
            && self.held.is_some()
        {
            self.settled.push(place);
        }
    }

    /// The same of a QoS 2 message, whose id is free when that is durable.
    pub(super) fn settle_id(&mut self, id: u16, place: Option<u64>) {
        self.settle(place);
        self.hold_id(id, place);
    }

    /// The id of a message that is done with is free when that is durable.
    pub(super) fn hold_id(&mut self, id: u16, place: Option<u64>) {
        if place.is_some() && self.held.is_some() {
            self.unsettled_ids.insert(id);
        }
    }

    /// It is durable that the client has the messages with these places, which are in their order.
    pub(super) fn note_told(&mut self, places: &[u64]) {
        let is_told = |place: u64| places.binary_search(&place).is_ok();
        for message in &mut self.unacknowledged {
            message.is_told |= message.delivery.place.is_some_and(is_told);
        }
    }

    /// The client has done its part for these; gives the last of them.
    pub(super) fn done_with(
        &mut self,
        is_it: impl Fn(&Unacknowledged) -> bool,
    ) -> Option<Unacknowledged> {
        let mut last = None;
        while let Some(at) = self.unacknowledged.iter().position(&is_it) {
            let done = self.unacknowledged.remove(at)?;
            self.settle(done.delivery.place);
            last = Some(done);
        }
        last
    }

    /// Takes out a message that waits or is unacknowledged.
    pub(super) fn take(&mut self, place: u64) -> Option<Delivery> {
        if let Some(delivery) = self.outbox.take(place) {
            return Some(delivery);
        }
        let is_it = |kept: &Unacknowledged| kept.delivery.place == Some(place);
        let at = self.unacknowledged.iter().position(is_it)?;
        self.unacknowledged.remove(at).map(|kept| kept.delivery)
    }

    /// It is restored. Who has taken what of shares is said already.
    pub(super) fn end_restoring(&mut self) {
        self.outbox.end_restoring();
        self.taken.clear();
    }

    /// A message of a share was taken by this session, or by one that is not kept.
    pub(super) fn note_taken(&mut self, place: u64, share: &Arc<str>, elsewhere: bool) {
        self.taken.push((place, Arc::clone(share), elsewhere));
    }

    /// What has become of its messages since the last time.
    fn take_notes(&mut self) -> Vec<Note> {
        self.telling_ids = std::mem::take(&mut self.unsettled_ids);
        let taken = std::mem::take(&mut self.taken).into_iter();
        let of_one = |(place, share, elsewhere): (u64, Arc<str>, bool)| Note::Taken {
            place,
            share: share.as_ref().to_owned(),
            elsewhere,
        };
        let mut notes: Vec<Note> = taken.map(of_one).collect();
        let settled = std::mem::take(&mut self.settled);
        notes.extend(settled.chunks(TOLD_MAX).map(|some| Note::Settled(some.to_vec())));
        notes
    }
}

/// A session of a client, connected or not. Its last owner's end takes its subscriptions out of the
/// tenant's tree.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique in this process.
    number: u64,
    device: DeviceId,
    relay: Arc<TenantRelay>,
    /// Tells the connection that something waits in the outbox.
    wake: Notify,
    is_connected: AtomicBool,
    /// The link of the last connection. It changes while the table of sessions is locked.
    last_link: AtomicU64,
    /// Of one that is kept beyond the process.
    kept: OnceLock<SessionKey>,
    state: Mutex<SessionState>,
}

impl Session {
    pub(super) fn new(device: DeviceId, relay: Arc<TenantRelay>) -> Arc<Self> {
        Arc::new(Self {
            number: NEXT_SESSION.fetch_add(1, Ordering::Relaxed),
            device,
            relay,
            wake: Notify::new(),
            is_connected: AtomicBool::new(false),
            last_link: AtomicU64::new(0),
            kept: OnceLock::new(),
            state: Mutex::default(),
        })
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn device(&self) -> DeviceId {
        self.device
    }

    pub(super) const fn relay(&self) -> &Arc<TenantRelay> {
        &self.relay
    }

    pub(super) fn last_link(&self) -> u64 {
        self.last_link.load(Ordering::Relaxed)
    }

    pub(super) fn set_last_link(&self, link: u64) {
        self.last_link.store(link, Ordering::Relaxed);
    }

    /// Its key, if it is kept beyond the process.
    pub(super) fn kept(&self) -> Option<&SessionKey> {
        self.kept.get()
    }

    /// It is kept beyond the process from now on, and `held` so.
    pub(super) fn keep(&self, key: &SessionKey, held: Held) {
        let _known = self.kept.set(key.clone());
        self.state.lock().held = Some(held);
    }

    /// The same, as the connection with this link has it, unless another one has it by now. Gives
    /// what is to be noted: of one that was not kept before all there is to say.
    pub(super) fn keep_for(
        &self,
        link: u64,
        key: &SessionKey,
        held: impl FnOnce(u64, bool) -> Held,
    ) -> Vec<Note> {
        let mut state = self.state.lock();
        // Another connection has it by now, and notes that.
        if state.holder != link {
            return Vec::new();
        }
        let is_untold = self.kept.set(key.clone()).is_ok();
        let held = held(state.turn, is_untold);
        state.held = Some(held.clone());
        if is_untold && !state.is_new() {
            return state.all_notes(WHOLE, held);
        }
        vec![Note::Held(held)]
    }

    /// What has become of its messages since the last time. What was told then is durable by now:
    /// what waits for an id of it may be sent.
    pub(super) fn take_notes(&self) -> Vec<Note> {
        let mut state = self.state.lock();
        let has_freed = !state.telling_ids.is_empty();
        let notes = state.take_notes();
        drop(state);
        if has_freed {
            self.wake.notify_one();
        }
        notes
    }

    pub(super) const fn wake(&self) -> &Notify {
        &self.wake
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// The connection with this link has the session now; with 0 none has. The last turn holds.
    pub(super) fn hold(&self, turn: u64, link: u64) {
        let mut state = self.state.lock();
        if turn < state.turn || state.is_over {
            return;
        }
        (state.turn, state.holder) = (turn, link);
        self.is_connected.store(link != 0, Ordering::Relaxed);
    }

    /// The session is over: its subscriptions leave the tree, and what waits for the client is
    /// thrown away. Gives how many messages that were.
    pub(super) fn end(&self) -> u64 {
        let mut state = self.state.lock();
        (state.holder, state.is_over) = (0, true);
        self.is_connected.store(false, Ordering::Relaxed);
        let subscriptions = std::mem::take(&mut state.subscriptions);
        let unacknowledged = std::mem::take(&mut state.unacknowledged);
        let outbox = std::mem::take(&mut state.outbox);
        state.retained = AllWanted::default();
        drop(state);
        self.withdraw(&subscriptions);
        (outbox.len() + unacknowledged.len()) as u64
    }

    /// Takes subscriptions out of the tenant's tree.
    fn withdraw(&self, subscriptions: &[Subscription]) {
        for subscription in subscriptions {
            if subscription.kind == FilterKind::Relay {
                self.relay.remove(self.number, &subscription.filter);
            }
        }
    }

    /// Takes a message for the client. Of a row of messages that it cannot take, the first one
    /// gives the bound; all are counted.
    pub(super) fn offer(&self, delivery: Delivery) -> Option<&'static str> {
        let place = delivery.place;
        let limit = self.accept(delivery).err().flatten()?;
        let mut state = self.state.lock();
        state.settle(place);
        let is_first = state.outbox.lose(limit);
        drop(state);
        metrics::counter!("veritwin_ingest_relay_dropped_total", "limit" => limit).increment(1);
        is_first.then_some(limit)
    }

    /// Takes a message for the client, or names the bound that is in the way: it is not lost yet.
    /// No bound keeps it from a session that is over, nor QoS 0 from a client that is away.
    pub(super) fn accept(&self, delivery: Delivery) -> Result<(), Option<&'static str>> {
        let mut state = self.state.lock();
        let is_away = state.holder == 0;
        if state.is_over || (is_away && delivery.qos == 0) {
            return Err(None);
        }
        state.has_own_ids |= delivery.qos == 2 && delivery.place.is_some();
        state.outbox.push(delivery, is_away, self.relay.bytes()).map_err(Some)?;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let subscriptions = std::mem::take(&mut self.state.get_mut().subscriptions);
        self.withdraw(&subscriptions);
    }
}

pub(crate) type SharedState = Arc<Session>;

/// Whose session it is: client ids are a device's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) client_id: String,
}

#[cfg(test)]
mod tests;
