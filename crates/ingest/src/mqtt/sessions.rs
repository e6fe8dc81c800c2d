//! The table of all sessions: who is connected, take-over, and who goes when its time is over or a
//! bound is reached. Nothing waits, and nothing is let go, while the table is locked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;
use veritwin_domain::{CredentialId, DeviceId, TenantId};

use super::broker::Broker;
use super::parked::{Parked, Place};
use super::relay::Relays;
use super::session::{Session, SessionKey, SharedState};
use crate::link::DeviceLink;
use crate::model::{CloseReason, DeviceSession, Origin, Refusal, RefusalReason, SinkEntry};

/// So often sessions are looked for whose time is over.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// So many of them end at once.
const ENDED_MAX: usize = 256;
/// Most losses that wait to be recorded; further ones are only counted.
const LOSSES_MAX: usize = 10_000;
/// What nobody's credential has sent.
pub(super) const NO_CREDENTIAL: CredentialId = CredentialId::from_bytes([0; 16]);

#[derive(Debug)]
struct Registered {
    state: SharedState,
    /// The live connection.
    link: Option<DeviceLink>,
    /// The link of the last connection.
    last_link: u64,
    /// Its place among the sessions without a connection.
    place: Option<Place>,
    /// Dropped when the session is attached to again, or ends. Of one whose will waits.
    waited_for: Option<watch::Sender<()>>,
}

/// Messages that were thrown away with a session, and why it ended.
#[derive(Debug, PartialEq, Eq)]
struct Loss {
    tenant: TenantId,
    device: DeviceId,
    messages: u64,
    limit: &'static str,
}

/// All sessions of a broker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    relays: Relays,
    losses: Mutex<Vec<Loss>>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionKey, Registered>,
    parked: Parked,
    /// Counts attaching and detaching, so that the last word on a session holds.
    turn: u64,
}

/// A session that is out of the table, with the bound that it went for.
type Gone = (SessionKey, SharedState, &'static str);

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
        let gone = table.take_ended(now);
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
            let of_old = if clean_start || is_over { &mut ended } else { &mut kept };
            *of_old = Some(old.state);
        }
        let present = kept.is_some();
        let state = kept.unwrap_or_else(|| Session::new(key.device, self.relays.of(key.tenant)));
        let registered = Registered {
            state: Arc::clone(&state),
            link: Some(link.clone()),
            last_link: link.id(),
            place: None,
            waited_for: None,
        };
        table.sessions.insert(key, registered);
        let turn = table.next_turn();
        drop(table);
        if let Some(ended) = ended {
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

    /// Whether the session has had another connection since the one with this link.
    pub(crate) fn is_resumed(&self, key: &SessionKey, link: &DeviceLink) -> bool {
        let table = self.table.lock();
        table.sessions.get(key).is_some_and(|session| session.last_link != link.id())
    }

    /// Ends when the session is attached to again, or ends itself; `None` when it has.
    pub(super) fn wait_for(
        &self,
        key: &SessionKey,
        link: &DeviceLink,
    ) -> Option<watch::Receiver<()>> {
        let mut table = self.table.lock();
        let registered = table.sessions.get_mut(key)?;
        if registered.last_link != link.id() || registered.link.is_some() {
            return None;
        }
        let sender = registered.waited_for.get_or_insert_with(|| watch::Sender::new(()));
        Some(sender.subscribe())
    }

    /// The session, or a new one that nobody else has where it is over: for its last word.
    pub(super) fn of_will(&self, key: &SessionKey) -> SharedState {
        let known = self.table.lock().sessions.get(key).map(|known| Arc::clone(&known.state));
        known.unwrap_or_else(|| Session::new(key.device, self.relays.of(key.tenant)))
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
    fn end(&self, gone: Vec<Gone>) {
        for (key, state, limit) in gone {
            let messages = state.end();
            if messages == 0 {
                continue;
            }
            metrics::counter!("veritwin_ingest_relay_dropped_total", "limit" => limit)
                .increment(messages);
            let mut losses = self.losses.lock();
            if losses.len() < LOSSES_MAX {
                losses.push(Loss { tenant: key.tenant, device: key.device, messages, limit });
            }
        }
    }
}

impl Broker {
    /// Ends sessions in their time, until every connection is closed.
    pub async fn tend_sessions(self: Arc<Self>) {
        let mut closing = self.closing.subscribe();
        loop {
            tokio::select! {
                () = sleep(TEND_INTERVAL) => {}
                _ = closing.wait_for(|is_closing| *is_closing) => return,
            }
            self.end_sessions().await;
        }
    }

    /// Ends the sessions without a connection whose time is over, and records what was thrown away
    /// with them and with those that a bound has ended.
    pub async fn end_sessions(&self) {
        while self.sessions.end_some(self.clock.monotonic()) {
            tokio::task::yield_now().await;
        }
        let mut losses = std::mem::take(&mut *self.sessions.losses.lock());
        losses.sort_by_key(|loss| loss.tenant);
        for of_tenant in losses.chunk_by(|left, right| left.tenant == right.tenant) {
            for some in of_tenant.chunks(ENDED_MAX) {
                self.record_losses(some).await;
            }
        }
    }

    /// Makes records of losses of one tenant.
    async fn record_losses(&self, losses: &[Loss]) {
        let Some(Loss { tenant, device, .. }) = losses.first() else { return };
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
        if let Err(error) = self.sink.submit(Origin::Device(&session), entries).await {
            tracing::warn!(%tenant, %error, "messages lost with sessions are not on record");
        }
    }
}
