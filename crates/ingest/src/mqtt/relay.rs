//! Relaying inside a tenant: each has a tree of subscriptions of its own, so that no message can
//! leave it. What is handed to it is durable already.

use std::cmp::Reverse;
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
        let relay = Arc::new(TenantRelay { tree: RwLock::default(), bytes });
        known.tenants.insert(tenant, Arc::downgrade(&relay));
        relay
    }
}

/// The relay of one tenant.
#[derive(Debug)]
pub(super) struct TenantRelay {
    tree: RwLock<Tree>,
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
    /// Whose turn it is in the share.
    turn: Option<Arc<AtomicUsize>>,
}

/// What came of putting messages before their subscribers.
#[derive(Default)]
pub(super) struct Report {
    pub(super) dropped: Vec<Dropped>,
    pub(super) deliveries: usize,
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
            turn: None,
        };
        self.tree.write().insert(filter, key, leaf);
    }

    pub(super) fn remove(&self, number: u64, filter: &str) {
        let (key, filter) = subscriber(filter, number);
        self.tree.write().remove(filter, &key);
    }

    /// Begins to put a message of the session `from` before every client that has subscribed to
    /// it: once each, at the highest QoS of its filters (MQTT-3.3.4-2), and to one member of each
    /// share.
    pub(super) fn begin(&self, message: Arc<RelayMessage>, from: u64) -> Fanout {
        let (mut found, shares) = self.matches(&message, from);
        found.sort_by_key(|one| Reverse(one.number));
        Fanout { message, found, shares: shares.into_values().collect() }
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
            let (options, id, turn) = (leaf.options, leaf.id, leaf.turn.clone());
            let one = Match { session, number: *number, options, id, turn };
            match share {
                None => found.push(one),
                Some(share) => shares.entry(Arc::clone(share)).or_default().push(one),
            }
        });
        drop(tree);
        (found, shares)
    }
}

/// A message on its way to who has subscribed to it.
pub(super) struct Fanout {
    message: Arc<RelayMessage>,
    /// The subscriptions of each session are together; the next one's are last.
    found: Vec<Match>,
    /// The members of each share.
    shares: Vec<Vec<Match>>,
}

impl Fanout {
    /// How many subscriptions are still to be looked at.
    pub(super) fn len(&self) -> usize {
        self.found.len() + self.shares.iter().map(Vec::len).sum::<usize>()
    }

    pub(super) const fn is_done(&self) -> bool {
        self.found.is_empty() && self.shares.is_empty()
    }

    /// Puts the message before sessions until so many subscriptions are looked at, and the last
    /// session's or share's are; gives how many were.
    pub(super) fn go_on(&mut self, max: usize, report: &mut Report) -> usize {
        let mut visits = 0;
        while visits < max {
            if let Some(number) = self.found.last().map(|one| one.number) {
                let other = self.found.iter().rposition(|one| one.number != number);
                let from = other.map_or(0, |at| at + 1);
                report.dropped.extend(offer(&self.message, &self.found[from..]));
                visits += self.found.len() - from;
                self.found.truncate(from);
            } else if let Some(members) = self.shares.pop() {
                report.dropped.extend(offer_share(&self.message, &members));
                visits += members.len();
            } else {
                break;
            }
            report.deliveries += 1;
        }
        visits
    }
}

/// Offers a message to a session, whose subscriptions all match it.
fn offer(message: &RelayMessage, of_session: &[Match]) -> Option<Dropped> {
    let session = &of_session.first()?.session;
    let limit = session.offer(delivery(message, of_session))?;
    Some((session.device(), limit))
}

/// Offers a message to a member of a share, in turn: who is connected before who is not. It is lost
/// when no connected member can take it.
fn offer_share(message: &RelayMessage, members: &[Match]) -> Option<Dropped> {
    let turn =
        members.first()?.turn.as_ref().map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed));
    let (before, from) = members.split_at(turn % members.len());
    let in_turn = || from.iter().chain(before);
    let connected = || in_turn().filter(|one| one.session.is_connected());
    let accepts = |one: &Match| {
        let of_one = std::slice::from_ref(one);
        one.session.accept(delivery(message, of_one)).is_ok()
    };
    if connected().any(accepts) {
        return None;
    }
    let member = connected().next().or_else(|| in_turn().next())?;
    offer(message, std::slice::from_ref(member))
}

/// What a session is sent, whose subscriptions all match the message.
fn delivery(message: &RelayMessage, of_session: &[Match]) -> Delivery {
    let qos = of_session.iter().map(|one| one.options.qos).max().unwrap_or(0);
    let as_published = of_session.iter().any(|one| one.options.retain_as_published);
    let ids = of_session.iter().filter_map(|one| one.id).collect();
    Delivery::of(message, qos, message.retain && as_published, ids)
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, Timestamp};

    use super::super::outbox::RELAY_QUEUE_MESSAGES_MAX;
    use super::super::topic::FilterKind;
    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);

    fn relay() -> Arc<TenantRelay> {
        Relays::default().of(TenantId::from_bytes([1; 16]))
    }

    fn message(topic: &str) -> Arc<RelayMessage> {
        Arc::new(RelayMessage {
            tenant: TenantId::from_bytes([1; 16]),
            device: DEVICE,
            credential: CredentialId::from_bytes([3; 16]),
            received_at: Timestamp::EPOCH,
            expires_at: None,
            topic: topic.into(),
            properties: Vec::new().into(),
            payload: Vec::new().into(),
            qos: 1,
            retain: false,
        })
    }

    /// A connected session that has subscribed to these filters.
    fn session(relay: &Arc<TenantRelay>, filters: &[&str]) -> Arc<Session> {
        let session = Session::new(DEVICE, Arc::clone(relay));
        session.hold(1, 1);
        for filter in filters {
            let options = Options { qos: 1, ..Options::default() };
            let (filter, kind) = ((*filter).to_owned(), FilterKind::Relay);
            let subscription = Subscription { filter, kind, options, id: None };
            relay.insert(&session, &subscription);
            session.lock().subscriptions.push(subscription);
        }
        session
    }

    #[test]
    fn a_message_is_put_before_its_subscribers_in_turns() {
        let relay = relay();
        let sessions: Vec<_> = (0..5).map(|_| session(&relay, &["#", "a"])).collect();
        let mut fanout = relay.begin(message("a"), 0);
        let (mut report, mut turns) = (Report::default(), Vec::new());
        while !fanout.is_done() {
            turns.push(fanout.go_on(3, &mut report));
        }
        assert_eq!(turns, [4, 4, 2]);
        assert!(report.dropped.is_empty());
        assert_eq!(report.deliveries, 5);
        assert!(sessions.iter().all(|session| session.lock().outbox.len() == 1));
    }

    #[test]
    fn a_session_that_is_over_is_out_of_the_tree_while_somebody_holds_it() {
        let relay = relay();
        let session = session(&relay, &["#", "a", "$share/g/a"]);
        let mut fanout = relay.begin(message("a"), 0);
        assert_eq!(fanout.len(), 3);
        session.end();
        fanout.go_on(usize::MAX, &mut Report::default());
        assert_eq!(session.lock().outbox.len(), 0);
        assert!(relay.begin(message("a"), 0).is_done());
    }

    /// Puts a message before its subscribers; whom it could not be put before.
    fn tell(relay: &TenantRelay, topic: &str) -> Vec<Dropped> {
        let mut report = Report::default();
        relay.begin(message(topic), 0).go_on(usize::MAX, &mut report);
        report.dropped
    }

    #[test]
    fn each_share_has_turns_of_its_own() {
        let relay = relay();
        let filters = ["$share/g/a", "$share/h/b"];
        let members = [session(&relay, &filters), session(&relay, &filters)];
        for topic in ["a", "b", "a", "b"] {
            assert!(tell(&relay, topic).is_empty());
        }
        for member in members {
            let mut state = member.lock();
            let mut topics = Vec::new();
            while let Some(delivery) = state.outbox.pop() {
                topics.push(delivery.topic);
            }
            let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
            assert_eq!(topics, ["a", "b"]);
        }
    }

    #[test]
    fn a_member_that_is_full_gives_way_to_the_next() {
        let relay = relay();
        let full = session(&relay, &["full", "$share/g/a"]);
        let other = session(&relay, &["$share/g/a"]);
        for _ in 0..RELAY_QUEUE_MESSAGES_MAX {
            assert!(tell(&relay, "full").is_empty());
        }
        for _ in 0..RELAY_QUEUE_MESSAGES_MAX {
            assert!(tell(&relay, "a").is_empty());
        }
        assert_eq!(full.lock().outbox.take_dropped(), None);
        assert_eq!(other.lock().outbox.len(), RELAY_QUEUE_MESSAGES_MAX);
        assert_eq!(tell(&relay, "a"), [(DEVICE, "relay_queue_messages_max")]);
    }
}
