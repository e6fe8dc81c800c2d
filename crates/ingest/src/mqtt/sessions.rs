//! The table of all sessions: who is connected, take-over, and who goes when its time is over or a
//! bound is reached. Nothing waits, and nothing is let go, while the table is locked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;
use veritwin_domain::{CredentialId, DeviceId, TenantId};

use super::broker::Broker;
use super::parked::{Parked, Place};
use super::relay::{Relays, TenantRelay};
use super::rounds::Rounds;
use super::session::{Session, SessionKey, SharedState};
use super::telling::Untold;
use crate::link::DeviceLink;
use crate::model::{CloseReason, DeviceSession, Origin, Refusal, RefusalReason, SinkEntry};

/// So often sessions are looked for whose time is over.
pub(super) const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// So many of them end at once.
const ENDED_MAX: usize = 256;
/// Most losses that wait to be recorded; further ones are only counted. A tenant has no more than
/// it leaves free.
const LOSSES_MAX: usize = 10_000;
/// Of so many tenants losses are recorded at once: one whose records are slow holds up no others.
const RECORDED_TENANTS_MAX: usize = 64;
/// What nobody's credential has sent.
pub(super) const NO_CREDENTIAL: CredentialId = crate::sparkplug::NO_CREDENTIAL;

#[derive(Debug)]
pub(super) struct Registered {
    pub(super) state: SharedState,
    /// The live connection.
    pub(super) link: Option<DeviceLink>,
    /// Its place among the sessions without a connection.
    pub(super) place: Option<Place>,
    /// Dropped when the session is attached to again, or ends. Of one whose will waits.
    pub(super) waited_for: Option<watch::Sender<()>>,
}

/// Messages that were thrown away with a session, and why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loss {
    tenant: TenantId,
    device: DeviceId,
    messages: u64,
    limit: &'static str,
}

/// Losses that wait to be recorded.
#[derive(Debug, Default)]
struct Losses {
    tenants: BTreeMap<TenantId, Vec<Loss>>,
    count: usize,
}

impl Losses {
    fn push(&mut self, loss: Loss) {
        let own = self.tenants.entry(loss.tenant).or_default();
        if own.len() < LOSSES_MAX.saturating_sub(self.count) {
            own.push(loss);
            self.count += 1;
        }
    }
}

/// All sessions of a broker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(super) table: Mutex<Table>,
    pub(super) relays: Relays,
    losses: Mutex<Losses>,
    /// What became of sessions that outlive the process, and is not told yet.
    pub(super) untold: Arc<Mutex<Untold>>,
    /// Held by who puts messages before their subscribers; a new one for each round.
    pub(super) epoch: Mutex<Arc<()>>,
    pub(super) rounds: Mutex<Rounds>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) sessions: HashMap<SessionKey, Registered>,
    pub(super) parked: Parked,
    /// Counts attaching and detaching, so that the last word on a session holds.
    pub(super) turn: u64,
}

/// A session that is out of the table, with the bound that it went for.
pub(super) type Gone = (SessionKey, SharedState, &'static str);

impl Table {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn take_ended(&mut self, now: Duration) -> Vec<Gone> {
        let mut gone = Vec::new();
        while gone.len() < ENDED_MAX
            && let Some(key) = self.parked.take_ended(now)
        {
            if let Some(registered) = self.sessions.remove(&key) {
                gone.push((key, registered.state, "session_expiry"));
            }
        }
        gone
    }
}

impl Sessions {
    /// Makes `link` the connection of the session, closing an older one. Gives the session's
    /// state and whether it was present already.
    pub(crate) fn attach(
        &self,
        key: SessionKey,
        clean_start: bool,
        link: &DeviceLink,
        now: Duration,
    ) -> (SharedState, bool) {
        let mut table = self.table.lock();
        let mut gone = table.take_ended(now);
        let (mut kept, mut ended) = (None, None);
        if let Some(old) = table.sessions.remove(&key) {
            // A session may have ended that was not taken out yet.
            let is_over = old.place.is_some_and(|(ends_at, _)| ends_at <= now);
            if let Some(place) = old.place {
                table.parked.remove(place);
            }
            if let Some(older) = old.link {
                older.close(CloseReason::TakenOver);
            }
            if is_over {
                gone.push((key.clone(), old.state, "session_expiry"));
            } else if clean_start {
                ended = Some(old.state);
            } else {
                kept = Some(old.state);
            }
        }
        let present = kept.is_some();
        let state = kept.unwrap_or_else(|| Session::new(key.device, self.relays.of(key.tenant)));
        state.set_last_link(link.id());
        let registered = Registered {
            state: Arc::clone(&state),
            link: Some(link.clone()),
            place: None,
            waited_for: None,
        };
        table.sessions.insert(key, registered);
        let turn = table.next_turn();
        drop(table);
        if let Some(ended) = ended {
            self.tell_ended(&ended);
            ended.end();
        }
        state.hold(turn, link.id());
        self.end(gone);
        (state, present)
    }

    /// The connection with this link is over; its session stays for `keep_seconds`. False when
    /// another connection has taken the session over.
    pub(crate) fn detach(
        &self,
        key: &SessionKey,
        link: &DeviceLink,
        keep_seconds: u32,
        now: Duration,
    ) -> bool {
        let mut table = self.table.lock();
        let Some(registered) = table.sessions.get_mut(key) else { return false };
        if registered.link.as_ref().map(DeviceLink::id) != Some(link.id()) {
            return false;
        }
        let state = Arc::clone(&registered.state);
        if keep_seconds == 0 {
            table.sessions.remove(key);
            drop(table);
            self.tell_ended(&state);
            state.end();
            return true;
        }
        let place = (now + Duration::from_secs(u64::from(keep_seconds)), state.number());
        registered.link = None;
        registered.place = Some(place);
        table.parked.insert(key, place);
        let mut gone = table.take_ended(now);
        if let Some((key, limit)) = table.parked.take_over_bound(key)
            && let Some(registered) = table.sessions.remove(&key)
        {
            gone.push((key, registered.state, limit));
        }
        let turn = table.next_turn();
        drop(table);
        state.hold(turn, 0);
        self.end(gone);
        true
    }

    /// Whether the session has had another connection since the one with this link. One that ended
    /// for a clean start has not.
    pub(super) fn is_resumed(&self, session: &Session, link: &DeviceLink) -> bool {
        let _table = self.table.lock();
        session.last_link() != link.id()
    }

    /// Ends when the session is attached to again, or ends itself; `None` when it has.
    pub(super) fn wait_for(
        &self,
        key: &SessionKey,
        link: &DeviceLink,
    ) -> Option<watch::Receiver<()>> {
        let mut table = self.table.lock();
        let registered = table.sessions.get_mut(key)?;
        if registered.state.last_link() != link.id() || registered.link.is_some() {
            return None;
        }
        let sender = registered.waited_for.get_or_insert_with(|| watch::Sender::new(()));
        Some(sender.subscribe())
    }

    /// Where messages of a tenant are relayed.
    pub(super) fn relay_of(&self, tenant: TenantId) -> Arc<TenantRelay> {
        self.relays.of(tenant)
    }

    /// The sessions that outlive the process.
    pub(super) fn all_kept(&self) -> Vec<SharedState> {
        let table = self.table.lock();
        let states = table.sessions.values().map(|session| &session.state);
        states.filter(|state| state.kept().is_some()).map(Arc::clone).collect()
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        for session in self.table.lock().sessions.values() {
            if let Some(link) = &session.link {
                link.close(reason);
            }
        }
    }

    /// Ends some sessions whose time is over; whether there may be more.
    fn end_some(&self, now: Duration) -> bool {
        let gone = self.table.lock().take_ended(now);
        let is_full = gone.len() == ENDED_MAX;
        self.end(gone);
        is_full
    }

    /// Ends sessions that are out of the table. What is thrown away with them is counted.
    pub(super) fn end(&self, gone: Vec<Gone>) {
        for (key, state, limit) in gone {
            self.tell_ended(&state);
            let messages = state.end();
            if messages == 0 {
                continue;
            }
            metrics::counter!("veritwin_ingest_relay_dropped_total", "limit" => limit)
                .increment(messages);
            let loss = Loss { tenant: key.tenant, device: key.device, messages, limit };
            self.losses.lock().push(loss);
        }
    }
}

impl Broker {
    /// Ends sessions in their time, until every connection is closed. Records are made meanwhile.
    pub async fn tend_sessions(self: Arc<Self>) {
        let ending = async {
            while self.is_tending().await {
                self.end_in_time().await;
            }
        };
        let recording = async {
            while self.is_tending().await {
                self.record_all_losses().await;
            }
        };
        let rounds = async {
            while self.is_tending().await {
                self.tend_round().await;
            }
        };
        tokio::join!(ending, recording, self.tend_notes(), rounds);
    }

    /// Waits for the next time; whether there is one.
    async fn is_tending(&self) -> bool {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = sleep(TEND_INTERVAL) => true,
            _ = closing.wait_for(|is_closing| *is_closing) => false,
        }
    }

    /// Ends the sessions without a connection whose time is over, and records what was thrown away
    /// with them and with those that a bound has ended.
    pub async fn end_sessions(&self) {
        self.end_in_time().await;
        self.record_all_losses().await;
    }

    async fn end_in_time(&self) {
        while self.sessions.end_some(self.clock.monotonic()) {
            tokio::task::yield_now().await;
        }
    }

    async fn record_all_losses(&self) {
        let losses = std::mem::take(&mut *self.sessions.losses.lock());
        let of_tenants = stream::iter(losses.tenants.into_values());
        let record = |losses| self.record_of_tenant(losses);
        of_tenants.for_each_concurrent(RECORDED_TENANTS_MAX, record).await;
    }

    async fn record_of_tenant(&self, losses: Vec<Loss>) {
        let mut rest = losses.as_slice();
        while !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(ENDED_MAX));
            if !self.record_losses(some).await {
                break;
            }
            rest = others;
        }
        // One that is not let in now is not waited for again and again.
        if !rest.is_empty() {
            let mut again = self.sessions.losses.lock();
            rest.iter().for_each(|loss| again.push(loss.clone()));
        }
    }

    /// Makes records of losses of one tenant; whether there is nothing left to be done for them.
    async fn record_losses(&self, losses: &[Loss]) -> bool {
        let Some(Loss { tenant, device, .. }) = losses.first() else { return true };
        let session = DeviceSession::new(*tenant, *device, NO_CREDENTIAL);
        let received_at = self.clock.now();
        let record = |loss: &Loss| {
            let Loss { messages, limit, .. } = loss;
            let detail = format!("the session ended ({limit}): {messages} messages were lost");
            SinkEntry::Refusal(Refusal {
                tenant: loss.tenant,
                device: loss.device,
                credential: NO_CREDENTIAL,
                received_at,
                reason: RefusalReason::Limit,
                detail,
                position: None,
                limit: Some(loss.limit),
                payload_bytes: 0,
            })
        };
        let entries = losses.iter().map(record).collect();
        let Err(error) = self.sink.submit(Origin::Device(&session), entries).await else {
            return true;
        };
        tracing::warn!(%tenant, %error, "messages lost with sessions are not on record");
        error.is_final()
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Timestamp;

    use super::super::keeping::WillFate;
    use super::super::note::Held;
    use super::super::outbox::Delivery;
    use super::super::relay::tests::message as relayed;
    use super::*;
    use crate::model::Transport;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn key(number: usize) -> SessionKey {
        let device = DeviceId::from_bytes((number as u128).to_be_bytes());
        SessionKey { tenant: TENANT, device, client_id: "c".to_owned() }
    }

    fn link() -> DeviceLink {
        DeviceLink::new(Transport::Mqtt5).0
    }

    fn message() -> Delivery {
        Delivery::of(&relayed("a"), 1, false, Vec::new())
    }

    #[test]
    fn what_ends_with_a_session_is_counted_however_it_ends() {
        let sessions = Sessions::default();
        let links: Vec<DeviceLink> = (0..=ENDED_MAX).map(|_| link()).collect();
        for (number, link) in links.iter().enumerate() {
            let (state, _) = sessions.attach(key(number), false, link, Duration::ZERO);
            assert_eq!(state.offer(message()), None);
            assert!(sessions.detach(&key(number), link, 1, Duration::ZERO));
        }
        // One more than are taken out at once: the client is back before it is.
        let now = Duration::from_secs(1);
        let (_, present) = sessions.attach(key(ENDED_MAX), false, &link(), now);
        assert!(!present);
        assert_eq!(sessions.losses.lock().count, ENDED_MAX + 1);
        // A clean start is the client's own wish.
        let (state, _) = sessions.attach(key(0), false, &link(), now);
        assert_eq!(state.offer(message()), None);
        sessions.attach(key(0), true, &link(), now);
        assert_eq!(sessions.losses.lock().count, ENDED_MAX + 1);
    }

    #[test]
    fn nothing_is_told_of_a_session_behind_its_end() {
        for is_over in [false, true] {
            let (sessions, link) = (Sessions::default(), link());
            let (state, _) = sessions.attach(key(1), false, &link, Duration::ZERO);
            state.keep_for(link.id(), &key(1), |turn, _| {
                let (credential, away_at) = (NO_CREDENTIAL, None);
                Held { turn, credential, keep_seconds: 60, away_at, clean: true, will: None }
            });
            assert!(sessions.detach(&key(1), &link, 60, Duration::ZERO));
            if is_over {
                sessions.tell_ended(&state);
            }
            sessions.tell_away(&state, (60, Timestamp::EPOCH), WillFate::Gone);
            assert_eq!(sessions.untold.lock().len(), 1, "{is_over}");
        }
    }

    #[test]
    fn losses_of_a_tenant_leave_room_for_those_of_others() {
        let mut losses = Losses::default();
        let loss = |tenant: u8| Loss {
            tenant: TenantId::from_bytes([tenant; 16]),
            device: DeviceId::from_bytes([tenant; 16]),
            messages: 1,
            limit: "session_expiry",
        };
        (0..LOSSES_MAX).for_each(|_| losses.push(loss(1)));
        assert_eq!(losses.count, LOSSES_MAX / 2);
        losses.push(loss(2));
        assert_eq!(losses.count, LOSSES_MAX / 2 + 1);
    }

    #[test]
    fn a_session_that_is_had_again_is_resumed_and_one_begun_anew_is_not() {
        for (clean_start, resumed) in [(false, true), (true, false)] {
            let (sessions, first, second) = (Sessions::default(), link(), link());
            let (state, _) = sessions.attach(key(1), false, &first, Duration::ZERO);
            assert!(!sessions.is_resumed(&state, &first));
            assert!(sessions.detach(&key(1), &first, 60, Duration::ZERO));
            let waiting = sessions.wait_for(&key(1), &first).expect("nobody has it");
            sessions.attach(key(1), clean_start, &second, Duration::ZERO);
            assert!(waiting.has_changed().is_err(), "it does not wait any longer");
            assert_eq!(sessions.is_resumed(&state, &first), resumed);
            assert!(sessions.wait_for(&key(1), &first).is_none());
            // What becomes of it later does not change that.
            assert!(sessions.detach(&key(1), &second, 0, Duration::ZERO));
            assert_eq!(sessions.is_resumed(&state, &first), resumed);
        }
    }
}
