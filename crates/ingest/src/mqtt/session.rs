//! Sessions by (tenant, client id): who is connected, take-over, and what outlives a connection
//! (subscriptions, unacknowledged downlinks, QoS 2 ids). In memory, bounded, gone at a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::{DeviceId, TenantId};

use super::receipts::Receipts;
use super::topic;
use crate::link::DeviceLink;
use crate::model::CloseReason;

/// Longest time a session outlives its connection.
pub const SESSION_SECONDS_MAX: u32 = 86_400;
/// Most sessions that are kept without a connection; the one that ends first goes first.
pub const DETACHED_SESSIONS_MAX: usize = 10_000;
/// Most unacknowledged downlinks of one session.
pub(crate) const UNACKNOWLEDGED_MAX: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    /// 0 or 1.
    pub(crate) qos: u8,
    pub(crate) id: Option<u32>,
}

/// A QoS 1 message that the client has not acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Unacknowledged {
    pub(crate) packet_id: u16,
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// What a session remembers.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) unacknowledged: VecDeque<Unacknowledged>,
    /// QoS 2 messages that wait for their PUBREL.
    pub(crate) received: Receipts,
    last_packet_id: u16,
}

impl SessionState {
    /// The granted QoS and the subscription ids for a topic; `None` without a subscription.
    pub(crate) fn matching(&self, name: &str) -> Option<(u8, Vec<u32>)> {
        let mut found = None;
        for subscription in &self.subscriptions {
            if topic::matches(&subscription.filter, name) {
                let (qos, ids) = found.get_or_insert((0u8, Vec::new()));
                *qos = (*qos).max(subscription.qos);
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

pub(crate) type SharedState = Arc<Mutex<SessionState>>;
pub(crate) type SessionKey = (TenantId, String);

#[derive(Debug)]
struct Registered {
    device: DeviceId,
    state: SharedState,
    /// The live connection.
    link: Option<DeviceLink>,
    /// When a session without connection ends, on the monotonic clock.
    expires_at: Duration,
}

/// All sessions of a broker.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Table>);

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
    /// state and whether it was present already. A session is never handed to another device.
    pub(crate) fn attach(
        &self,
        key: SessionKey,
        device: DeviceId,
        clean_start: bool,
        link: &DeviceLink,
        now: Duration,
    ) -> (SharedState, bool) {
        let mut table = self.0.lock();
        let mut kept = None;
        if let Some(old) = table.sessions.remove(&key) {
            let is_live = old.link.is_some();
            table.detached -= usize::from(!is_live);
            if let Some(older) = old.link {
                older.close(CloseReason::TakenOver);
            }
            if !clean_start && old.device == device && (is_live || now < old.expires_at) {
                kept = Some(old.state);
            }
        }
        let present = kept.is_some();
        let state = kept.unwrap_or_default();
        let registered = Registered {
            device,
            state: Arc::clone(&state),
            link: Some(link.clone()),
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
        let mut table = self.0.lock();
        let Some(registered) = table.sessions.get_mut(key) else { return false };
        if registered.link.as_ref().map(DeviceLink::id) != Some(link.id()) {
            return false;
        }
        if keep_seconds == 0 {
            table.sessions.remove(key);
            return true;
        }
        registered.link = None;
        registered.expires_at = now + Duration::from_secs(u64::from(keep_seconds));
        table.detached += 1;
        if table.detached > DETACHED_SESSIONS_MAX {
            table.prune(now);
        }
        true
    }

    /// Whether a connection holds the session now.
    pub(crate) fn is_live(&self, key: &SessionKey) -> bool {
        self.0.lock().sessions.get(key).is_some_and(|session| session.link.is_some())
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        for session in self.0.lock().sessions.values() {
            if let Some(link) = &session.link {
                link.close(reason);
            }
        }
    }
}
