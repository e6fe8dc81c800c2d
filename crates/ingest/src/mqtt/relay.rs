//! Relaying inside a tenant: each has a tree of subscriptions of its own, so that no message can
//! leave it. What is handed to it is durable already.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use veritwin_domain::{DeviceId, RelayMessage, TenantId};

use super::outbox::{Bytes, Delivery};
use super::packet::Options;
use super::session::{Session, Subscription};
use super::topic;
use super::tree::{Leaf, Subscriber, Tree};

/// Below so many tenants nothing is swept.
const SWEEP_MIN: usize = 64;

/// The trees of every tenant with a session.
#[derive(Debug, Default)]
pub(super) struct Relays {
    known: Mutex<Known>,
    /// Bytes that wait for clients, of all tenants.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<TenantId, Weak<TenantRelay>>,
    /// Tenants without a session are taken out when so many are known.
    sweep_at: usize,
}

impl Relays {
    pub(super) fn of(&self, tenant: TenantId) -> Arc<TenantRelay> {
        let mut known = self.known.lock();
        if let Some(relay) = known.tenants.get(&tenant).and_then(Weak::upgrade) {
            return relay;
        }
        if known.tenants.len() >= known.sweep_at.max(SWEEP_MIN) {
            known.tenants.retain(|_, relay| relay.strong_count() > 0);
            known.sweep_at = known.tenants.len() * 2;
        }
        let bytes = Bytes::new(Arc::clone(&self.bytes));
        let (tree, turn) = (RwLock::default(), AtomicUsize::new(0));
        let relay = Arc::new(TenantRelay { tree, turn, bytes });
        known.tenants.insert(tenant, Arc::downgrade(&relay));
        relay
    }
}

/// The relay of one tenant.
#[derive(Debug)]
pub(super) struct TenantRelay {
    tree: RwLock<Tree>,
    /// Whose turn it is in a share.
    turn: AtomicUsize,
    bytes: Arc<Bytes>,
}

/// A device to which a message was not delivered, the first one of a row, and the bound.
pub(super) type Dropped = (DeviceId, &'static str);

/// A subscription that matches a message.
struct Match {
    session: Arc<Session>,
    number: u64,
    options: Options,
    id: Option<u32>,
}

fn subscriber(filter: &str, number: u64) -> (Subscriber, &str) {
    let (share, rest) = topic::share(filter);
    ((share.map(|_| filter.into()), number), rest)
}

impl TenantRelay {
    pub(super) const fn bytes(&self) -> &Arc<Bytes> {
        &self.bytes
    }

    pub(super) fn insert(&self, session: &Arc<Session>, subscription: &Subscription) {
        let (key, filter) = subscriber(&subscription.filter, session.number());
        let leaf = Leaf {
            session: Arc::downgrade(session),
            device: session.device(),
            options: subscription.options,
            id: subscription.id,
        };
        self.tree.write().insert(filter, key, leaf);
    }

    pub(super) fn remove(&self, number: u64, filter: &str) {
        let (key, filter) = subscriber(filter, number);
        self.tree.write().remove(filter, &key);
    }

    /// Puts a message of the session `from` before every client that has subscribed to it: once
    /// each, at the highest QoS of its filters (MQTT-3.3.4-2), and to one member of each share.
    /// Gives whom it could not be put before.
    pub(super) fn relay(&self, message: &RelayMessage, from: u64) -> Vec<Dropped> {
        let (mut found, shares) = self.matches(message, from);
        let mut dropped = Vec::new();
        found.sort_by_key(|one| one.number);
        for of_session in found.chunk_by(|left, right| left.number == right.number) {
            dropped.extend(offer(message, of_session));
        }
        for members in shares.into_values() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % members.len();
            let in_turn = || members[turn..].iter().chain(&members[..turn]);
            let member = in_turn().find(|one| one.session.is_connected());
            if let Some(member) = member.or_else(|| in_turn().next()) {
                dropped.extend(offer(message, std::slice::from_ref(member)));
            }
        }
        dropped
    }

    fn matches(
        &self,
        message: &RelayMessage,
        from: u64,
    ) -> (Vec<Match>, BTreeMap<Arc<str>, Vec<Match>>) {
        let is_own = topic::owner(&message.topic).is_some();
        let mut found = Vec::new();
        let mut shares: BTreeMap<Arc<str>, Vec<Match>> = BTreeMap::new();
        let tree = self.tree.read();
        tree.matching(&message.topic, &mut |(share, number), leaf| {
            let is_foreign = is_own && leaf.device != message.device;
            if is_foreign || (leaf.options.no_local && *number == from) {
                return;
            }
            // A session is not let go before the tree is: its end takes it out of the tree.
            let Some(session) = leaf.session.upgrade() else { return };
            let one = Match { session, number: *number, options: leaf.options, id: leaf.id };
            match share {
                None => found.push(one),
                Some(share) => shares.entry(Arc::clone(share)).or_default().push(one),
            }
        });
        drop(tree);
        (found, shares)
    }
}

/// Offers a message to a session, whose subscriptions all match it.
fn offer(message: &RelayMessage, of_session: &[Match]) -> Option<Dropped> {
    let session = &of_session.first()?.session;
    let qos = of_session.iter().map(|one| one.options.qos).max().unwrap_or(0);
    let as_published = of_session.iter().any(|one| one.options.retain_as_published);
    let ids = of_session.iter().filter_map(|one| one.id).collect();
    let retain = message.retain && as_published;
    let limit = session.offer(Delivery::of(message, qos, retain, ids))?;
    Some((session.device(), limit))
}
