//! Sessions by (tenant, device, client id): who is connected, take-over, and what outlives a connection
//! (subscriptions, messages that wait or are unacknowledged, QoS 2 ids). In memory, bounded, gone
//! at a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use veritwin_domain::{DeviceId, TenantId};

use super::outbox::{Delivery, Outbox};
use super::packet::Options;
use super::receipts::Receipts;
use super::relay::{Relays, TenantRelay};
use super::topic::{self, FilterKind};
use crate::link::DeviceLink;
use crate::model::CloseReason;

/// Longest time a session outlives its connection.
pub const SESSION_SECONDS_MAX: u32 = 86_400;
/// Most sessions that are kept without a connection; the one that ends first goes first.
pub const DETACHED_SESSIONS_MAX: usize = 10_000;
/// Most unacknowledged messages to one session.
pub(crate) const UNACKNOWLEDGED_MAX: usize = 32;

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
    pub(super) delivery: Delivery,
}

/// What a session remembers.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(super) unacknowledged: VecDeque<Unacknowledged>,
    pub(super) outbox: Outbox,
    /// QoS 2 messages that wait for their PUBREL.
    pub(crate) received: Receipts,
    /// The link of the connection that has the session, 0 without one.
    pub(super) holder: u64,
    last_packet_id: u16,
}

impl SessionState {
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
    pub(crate) fn interests(&self) -> (bool, bool) {
        let call = format!("{}1", topic::RPC_REQUEST);
        (self.matching(topic::ATTRIBUTES).is_some(), self.matching(&call).is_some())
    }

    /// A packet id that is not in use.
    pub(crate) fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = self.last_packet_id;
            if self.unacknowledged.iter().all(|message| message.packet_id != id) {
                return id;
            }
        }
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
    state: Mutex<SessionState>,
}

impl Session {
    fn new(device: DeviceId, relay: Arc<TenantRelay>) -> Arc<Self> {
        Arc::new(Self {
            number: NEXT_SESSION.fetch_add(1, Ordering::Relaxed),
            device,
            relay,
            wake: Notify::new(),
            is_connected: AtomicBool::new(false),
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

    pub(super) const fn wake(&self) -> &Notify {
        &self.wake
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// The connection with this link has the session now; with 0 none has.
    fn hold(&self, link: u64) {
        self.state.lock().holder = link;
        self.is_connected.store(link != 0, Ordering::Relaxed);
    }

    /// Takes a message for the client. Of a row of messages that it cannot take, the first one
    /// gives the bound; all are counted. QoS 0 is not kept for a client that is away.
    pub(super) fn offer(&self, delivery: Delivery) -> Option<&'static str> {
        let mut state = self.state.lock();
        if state.holder == 0 && delivery.qos == 0 {
            return None;
        }
        let is_first = !state.outbox.has_dropped();
        let limit = state.outbox.push(delivery, self.relay.bytes()).err();
        drop(state);
        let Some(limit) = limit else {
            self.wake.notify_one();
            return None;
        };
        metrics::counter!("veritwin_ingest_relay_dropped_total", "limit" => limit).increment(1);
        is_first.then_some(limit)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for subscription in &self.state.get_mut().subscriptions {
            if subscription.kind == FilterKind::Relay {
                self.relay.remove(self.number, &subscription.filter);
            }
        }
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

#[derive(Debug)]
struct Registered {
    state: SharedState,
    /// The live connection.
    link: Option<DeviceLink>,
    /// The link of the last connection.
    last_link: u64,
    /// When a session without connection ends, on the monotonic clock.
    expires_at: Duration,
}

/// All sessions of a broker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    relays: Relays,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionKey, Registered>,
    /// How many of them have no connection.
    detached: usize,
}

impl Table {
    /// Makes room: ended sessions go, then the one that would end first.
    fn prune(&mut self, now: Duration) {
        self.sessions.retain(|_, session| session.link.is_some() || now < session.expires_at);
        let detached = |session: &Registered| session.link.is_none();
        self.detached = self.sessions.values().filter(|session| detached(session)).count();
        if self.detached <= DETACHED_SESSIONS_MAX {
            return;
        }
        let first_to_end = self
            .sessions
            .iter()
            .filter(|(_, session)| detached(session))
            .min_by_key(|(_, session)| session.expires_at)
            .map(|(key, _)| key.clone());
        if let Some(key) = first_to_end {
            self.sessions.remove(&key);
            self.detached -= 1;
        }
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
        let mut kept = None;
        if let Some(old) = table.sessions.remove(&key) {
            let is_live = old.link.is_some();
            table.detached -= usize::from(!is_live);
            if let Some(older) = old.link {
                older.close(CloseReason::TakenOver);
            }
            if !clean_start && (is_live || now < old.expires_at) {
                kept = Some(old.state);
            }
        }
        let present = kept.is_some();
        let state = kept.unwrap_or_else(|| Session::new(key.device, self.relays.of(key.tenant)));
        state.hold(link.id());
        let registered = Registered {
            state: Arc::clone(&state),
            link: Some(link.clone()),
            last_link: link.id(),
            expires_at: Duration::ZERO,
        };
        table.sessions.insert(key, registered);
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
        if keep_seconds == 0 {
            registered.state.hold(0);
            table.sessions.remove(key);
            return true;
        }
        registered.link = None;
        registered.state.hold(0);
        registered.expires_at = now + Duration::from_secs(u64::from(keep_seconds));
        table.detached += 1;
        if table.detached > DETACHED_SESSIONS_MAX {
            table.prune(now);
        }
        true
    }

    /// Whether the session has had another connection since the one with this link.
    pub(crate) fn is_resumed(&self, key: &SessionKey, link: &DeviceLink) -> bool {
        let table = self.table.lock();
        table.sessions.get(key).is_some_and(|session| session.last_link != link.id())
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        for session in self.table.lock().sessions.values() {
            if let Some(link) = &session.link {
                link.close(reason);
            }
        }
    }
}
