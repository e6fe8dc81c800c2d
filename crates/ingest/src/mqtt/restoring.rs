//! Sessions after a restart: where the last round left them, then everything again that became
//! durable since, in its order. What the client had is told apart from what it has yet to get.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{RelayMessage, SessionNote, TenantId, Timestamp};

use super::broker::Broker;
use super::keeping::WillFate;
use super::note::{Held, Kept, Note, WHOLE};
use super::outbox::Delivery;
use super::relay::{READ_AGAIN, Report, TenantRelay};
use super::session::{Session, SessionKey, SharedState, Subscription, Unacknowledged};
use super::sessions::Registered;
use super::settled::Settled;
use super::topic::FilterKind;
use super::wills::WaitingWill;
use crate::link::DeviceLink;
use crate::model::{DeviceSession, Transport};

/// Puts sessions into a broker that has none yet. Everything from a position on is read twice:
/// first for [`Restoring::look`], then for [`Restoring::message`] and [`Restoring::note`].
pub struct Restoring {
    broker: Arc<Broker>,
    from: u64,
    told: HashMap<SessionKey, Told>,
    /// Places of messages that a session is done with since the round, in their order.
    settled: Settled,
    /// Names filters in less than their length.
    names: RandomState,
    sessions: HashMap<SessionKey, SharedState>,
    /// Sessions that are told whole, of which what waits follows.
    whole: HashSet<SessionKey>,
    /// Of tenants with a session.
    relays: HashMap<TenantId, Arc<TenantRelay>>,
}

impl std::fmt::Debug for Restoring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restoring").field("from", &self.from).finish_non_exhaustive()
    }
}

/// What the first reading has found of a session.
#[derive(Default)]
struct Told {
    /// Where the round has left it.
    kept: Option<Box<Kept>>,
    waits: Vec<Delivery>,
    /// The first turn since then with which it begins anew.
    begins: Option<u64>,
    /// Whether the first thing since then about a filter is that it is a new one.
    filters: HashMap<u64, bool>,
}

impl Told {
    /// With this turn it begins anew.
    fn begins_with(&mut self, turn: u64) {
        self.begins = Some(self.begins.map_or(turn, |first| first.min(turn)));
    }
}

impl Restoring {
    /// Begins to restore the sessions whose last round was for the position `from`.
    pub fn new(broker: Arc<Broker>, from: u64) -> Self {
        Self {
            broker,
            from,
            told: HashMap::new(),
            settled: Settled::default(),
            names: RandomState::new(),
            sessions: HashMap::new(),
            whole: HashSet::new(),
            relays: HashMap::new(),
        }
    }

    /// Takes a note of the first reading.
    pub fn look(&mut self, note: &SessionNote) {
        let Some((key, note)) = Note::read(note) else { return };
        let told = self.told.entry(key.clone()).or_default();
        match note {
            Note::Kept(kept) if kept.round == self.from => {
                told.kept = Some(kept);
                told.waits.clear();
            }
            Note::Waits(round, delivery) if round == self.from => told.waits.push(delivery),
            Note::Held(held) if held.clean => told.begins_with(held.turn),
            Note::Kept(kept) if kept.round == WHOLE => told.begins_with(kept.held.turn),
            Note::Subscribed(all) => {
                for (subscription, is_new) in all {
                    let name = self.names.hash_one(subscription.filter.as_str());
                    told.filters.entry(name).or_insert(is_new);
                }
            }
            Note::Unsubscribed(filters) => {
                for filter in filters {
                    let name = self.names.hash_one(filter.as_str());
                    told.filters.entry(name).or_insert(false);
                }
            }
            Note::Settled(places) => self.settled.add(&key, places),
            _ => {}
        }
    }

    /// The first reading is over: the sessions are as they were at the position.
    pub fn begin(&mut self) {
        for (key, told) in std::mem::take(&mut self.told) {
            let Told { kept, waits, begins, filters } = told;
            // One that began since then is built from its own notes: what was noted of another
            // with its name is not for it.
            let is_older = |kept: &Kept| begins.is_none_or(|first| first > kept.held.turn);
            let Some(kept) = kept.filter(|kept| is_older(kept)) else { continue };
            let Kept { held, subscriptions, received, released, .. } = *kept;
            let session = self.put(&key, held);
            for subscription in subscriptions {
                // One that is new since then has to wait for its place among the messages.
                let name = self.names.hash_one(subscription.filter.as_str());
                if filters.get(&name) != Some(&true) {
                    subscribe(&session, subscription);
                }
            }
            session.lock().received.restore(&received);
            let is_before = |place: u64| (place >> 1) < self.from;
            for place in released.into_iter().filter(|place| is_before(*place)) {
                release(&session, place);
            }
            for delivery in waits {
                // What is not before comes again.
                if delivery.place.is_some_and(is_before) {
                    wait_again(&session, delivery);
                }
            }
        }
    }

    /// Takes a message of the second reading.
    pub fn message(&mut self, position: u64, message: &Arc<RelayMessage>) {
        if message.qos == 0 {
            return;
        }
        let Some(relay) = self.relays.get(&message.tenant) else { return };
        let fanout = relay.begin(Arc::clone(message), READ_AGAIN);
        // Nobody is told of what finds no room: it was told, or will be when it is counted.
        fanout.at(Some(position)).go_on(usize::MAX, &mut Report::default());
    }

    /// Takes a note of the second reading.
    pub fn note(&mut self, note: &SessionNote) {
        let Some((key, note)) = Note::read(note) else { return };
        let note = match note {
            Note::Held(held) => return self.hold(&key, held),
            Note::Kept(kept) if kept.round == WHOLE => return self.put_whole(&key, *kept),
            note => note,
        };
        let Some(session) = self.sessions.get(&key) else { return };
        match note {
            Note::Waits(WHOLE, delivery) if self.whole.contains(&key) => {
                wait_again(session, delivery);
            }
            Note::Ended(turn) => {
                if turn_of(session) <= turn {
                    session.end();
                    self.sessions.remove(&key);
                }
            }
            Note::Subscribed(all) => {
                all.into_iter().for_each(|(subscription, _)| subscribe(session, subscription));
            }
            Note::Unsubscribed(filters) => {
                filters.iter().for_each(|filter| unsubscribe(session, filter));
            }
            Note::Arrived(ids) => session.lock().received.restore(&ids),
            Note::Freed(ids) => {
                let mut state = session.lock();
                for id in ids {
                    state.received.forget(id);
                }
            }
            Note::Released(places) => {
                places.into_iter().for_each(|place| release(session, place));
            }
            Note::Settled(places) => {
                places.into_iter().for_each(|place| drop(session.lock().take(place)));
            }
            Note::Taken { place, share, elsewhere } => take(session, place, &share, elsewhere),
            Note::WillDone(turn) => {
                let mut state = session.lock();
                if let Some(held) = state.held.as_mut().filter(|held| held.turn <= turn) {
                    held.will = None;
                }
            }
            Note::Held(_) | Note::Kept(_) | Note::Waits(..) => {}
        }
    }

    fn put(&mut self, key: &SessionKey, held: Held) -> SharedState {
        let relay = self.broker.sessions.relays.of(key.tenant);
        self.relays.insert(key.tenant, Arc::clone(&relay));
        let session = Session::new(key.device, relay);
        let (is_connected, settled) = (held.away_at.is_none(), self.settled.of(key));
        session.keep(key, held);
        session.lock().outbox.begin_restoring(settled, is_connected);
        if let Some(older) = self.sessions.insert(key.clone(), Arc::clone(&session)) {
            older.end();
        }
        session
    }

    /// A session that was not kept before is told whole. Who has had it since is told already where
    /// that came to the log first.
    fn put_whole(&mut self, key: &SessionKey, kept: Kept) {
        let Kept { held, subscriptions, received, released, .. } = kept;
        let session = match self.sessions.get(key) {
            Some(known) if turn_of(known) > held.turn => {
                let begins_anew = known.lock().held.as_ref().is_some_and(|held| held.clean);
                if begins_anew {
                    return;
                }
                Arc::clone(known)
            }
            _ => self.put(key, held),
        };
        self.whole.insert(key.clone());
        subscriptions.into_iter().for_each(|subscription| subscribe(&session, subscription));
        session.lock().received.restore(&received);
        released.into_iter().for_each(|place| release(&session, place));
    }

    fn hold(&mut self, key: &SessionKey, held: Held) {
        if held.clean {
            self.whole.remove(key);
        }
        match self.sessions.get(key) {
            Some(session) if turn_of(session) > held.turn => {}
            Some(session) if !held.clean => {
                let mut state = session.lock();
                state.outbox.restore_as(held.away_at.is_none());
                state.held = Some(held);
            }
            _ => drop(self.put(key, held)),
        }
    }

    /// The second reading is over: the sessions are there, without a connection, and those whose
    /// time is over are gone. Gives the wills of connections that are lost.
    pub fn finish(self) -> Vec<WaitingWill> {
        let (mut wills, mut count) = (Vec::new(), 0u64);
        let now = self.broker.clock.now();
        let monotonic = self.broker.clock.monotonic();
        for (key, session) in self.sessions {
            let mut state = session.lock();
            state.end_restoring();
            let Some(held) = state.held.clone() else { continue };
            drop(state);
            let keep_seconds = seconds_left(held.keep_seconds, held.away_at, now);
            let link = DeviceLink::new(Transport::Mqtt5).0;
            session.set_last_link(link.id());
            session.hold(held.turn, 0);
            let place = (monotonic + Duration::from_secs(keep_seconds.into()), session.number());
            let sessions = &self.broker.sessions;
            let mut table = sessions.table.lock();
            table.turn = table.turn.max(held.turn);
            if keep_seconds > 0 {
                let state = Arc::clone(&session);
                let registered =
                    Registered { state, link: None, place: Some(place), waited_for: None };
                table.sessions.insert(key.clone(), registered);
                table.parked.insert(&key, place);
                count += 1;
            }
            drop(table);
            if keep_seconds == 0 {
                // What is thrown away with it is on record, as of one that ends later.
                sessions.end(vec![(key.clone(), Arc::clone(&session), "session_expiry")]);
            } else if held.away_at.is_none() {
                sessions.tell_away(&session, (held.keep_seconds, now), WillFate::Waits);
            }
            let Some(kept) = &held.will else { continue };
            let delay_seconds = seconds_left(kept.delay_seconds, held.away_at, now);
            let (will, version, credential) = kept.to_will(delay_seconds);
            let own = Arc::new(DeviceSession::new(key.tenant, key.device, credential));
            wills.push(WaitingWill {
                broker: Arc::clone(&self.broker),
                session: own,
                version,
                will,
                state: session,
                key,
                link,
                keep_seconds,
                is_restored: true,
            });
        }
        tracing::info!(sessions = count, wills = wills.len(), "MQTT sessions are restored");
        wills
    }
}

/// What is left of a time that began with a connection's end, or begins now.
fn seconds_left(seconds: u32, away_at: Option<Timestamp>, now: Timestamp) -> u32 {
    let gone = away_at.map_or(0, |at| now.as_micros().saturating_sub(at.as_micros()) / 1_000_000);
    seconds.saturating_sub(u32::try_from(gone.max(0)).unwrap_or(u32::MAX))
}

fn turn_of(session: &Session) -> u64 {
    session.lock().held.as_ref().map_or(0, |held| held.turn)
}

fn subscribe(session: &SharedState, subscription: Subscription) {
    if subscription.kind == FilterKind::Relay {
        session.relay().insert(session, &subscription);
    }
    let mut state = session.lock();
    let known = state.subscriptions.iter().position(|one| one.filter == subscription.filter);
    match known.and_then(|at| state.subscriptions.get_mut(at)) {
        Some(known) => *known = subscription,
        None => state.subscriptions.push(subscription),
    }
}

fn unsubscribe(session: &Session, filter: &str) {
    session.relay().remove(session.number(), filter);
    session.lock().subscriptions.retain(|known| known.filter != filter);
}

/// A message waits for the client, as it has waited before. One that finds no room is counted, and
/// on record when the client is back.
fn wait_again(session: &Session, delivery: Delivery) {
    if let Some(limit) = session.offer(delivery) {
        tracing::warn!(device = %session.device(), limit, "a message that waited found no room");
    }
}

/// The client has a QoS 2 message, and has to complete it: its id is all that is needed.
fn release(session: &Session, place: u64) {
    let mut state = session.lock();
    let is_known = |one: &Unacknowledged| one.is_received && one.delivery.place == Some(place);
    if state.unacknowledged.iter().any(is_known) {
        return;
    }
    state.take(place);
    let delivery = Delivery::completed(place);
    let packet_id = state.packet_id_of(&delivery);
    let (is_received, is_told) = (true, true);
    state.unacknowledged.push_back(Unacknowledged { packet_id, is_received, is_told, delivery });
}

/// Who has a message of a share is told: of the others none has it.
fn take(taker: &SharedState, place: u64, share: &str, elsewhere: bool) {
    let members = taker.relay().members(share);
    let others = members.iter().filter(|one| elsewhere || one.number() != taker.number());
    let taken: Vec<Delivery> = others.filter_map(|one| one.lock().take(place)).collect();
    let has_it = || taker.lock().outbox.iter().any(|one| one.place == Some(place));
    if let Some(delivery) = taken.into_iter().next()
        && !elsewhere
        && !has_it()
    {
        wait_again(taker, Delivery { reserved: None, ..delivery });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_while_the_platform_does_not() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let check = |away: Option<i64>, now: i64, expect: u32| {
            assert_eq!(seconds_left(60, away.map(at), at(now)), expect, "{away:?} {now}");
        };
        check(None, 1000, 60);
        check(Some(1000), 1000, 60);
        check(Some(1000), 1059, 1);
        check(Some(1000), 1060, 0);
        check(Some(1000), 9999, 0);
        // A clock that was set back takes nothing away.
        check(Some(1000), 0, 60);
    }
}
