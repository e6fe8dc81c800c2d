//! Relaying inside a tenant: each has a tree of subscriptions of its own, so that no message can
//! leave it. What is handed to it is durable already.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use veritwin_domain::{DeviceId, RelayMessage, TenantId};

use super::outbox::{Bytes, Delivery};
use super::session::{Session, Subscription};
use super::topic;
use super::tree::{Leaf, Subscriber, Tree};

/// Below so many tenants nothing is swept.
const SWEEP_MIN: usize = 64;
/// So many sessions of a tenant may wait for messages that are under way. While there are more, a
/// message is put before all of its subscribers at once.
const UNDER_WAY_MAX: usize = 256 * 1024;
/// So many subscription identifiers take as much memory as a session that waits.
const IDS_OF_ONE: usize = 16;
/// The number of no session: what comes from it is read again after a restart.
pub(super) const READ_AGAIN: u64 = 0;
/// The number of no session: what the platform says itself.
pub(super) const NOBODY: u64 = u64::MAX;
/// So many members of a share that were matched count in the rates as a delivery.
const MEMBERS_OF_ONE: usize = 16;

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
        let relay = Arc::new(TenantRelay {
            tree: RwLock::default(),
            bytes: Bytes::new(Arc::clone(&self.bytes)),
            under_way: AtomicUsize::new(0),
            waiting_wills: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
        });
        known.tenants.insert(tenant, Arc::downgrade(&relay));
        relay
    }
}

/// The relay of one tenant.
#[derive(Debug)]
pub(super) struct TenantRelay {
    tree: RwLock<Tree>,
    bytes: Arc<Bytes>,
    /// How many sessions the messages wait for that are under way.
    under_way: AtomicUsize,
    /// Wills that wait for their delay.
    pub(super) waiting_wills: AtomicUsize,
    /// Bytes on their way to the log, beyond what each connection has for itself.
    pub(super) in_flight_bytes: AtomicUsize,
}

/// A device to which a message was not delivered, the first one of a row, and the bound.
pub(super) type Dropped = (DeviceId, &'static str);

/// A session that a message is for, by all of its subscriptions that match, or as a member of a
/// share.
struct Match {
    session: Arc<Session>,
    /// The highest of its subscriptions (MQTT-3.3.4-2).
    qos: u8,
    as_published: bool,
    /// Subscription Identifiers.
    ids: Vec<u32>,
    /// Whose turn it is in the share.
    turn: Option<Arc<AtomicUsize>>,
}

impl Match {
    /// A session is not let go before the tree is: its end takes it out of the tree.
    fn of(leaf: &Leaf) -> Option<Self> {
        let session = leaf.session.upgrade()?;
        let turn = leaf.turn.clone();
        let mut one = Self { session, qos: 0, as_published: false, ids: Vec::new(), turn };
        one.add(leaf);
        Some(one)
    }

    fn add(&mut self, leaf: &Leaf) {
        self.qos = self.qos.max(leaf.options.qos);
        self.as_published |= leaf.options.retain_as_published;
        self.ids.extend(leaf.id);
    }

    fn delivery(&self, message: &RelayMessage, place: Option<u64>) -> Delivery {
        let retain = message.retain && self.as_published;
        let delivery = Delivery::of(message, self.qos, retain, self.ids.clone());
        Delivery { place: place.filter(|_| delivery.qos > 0), ..delivery }
    }
}

/// Whom a message is for.
#[derive(Default)]
struct Matches {
    /// By the session's number.
    found: BTreeMap<u64, Match>,
    /// The members of each share.
    shares: BTreeMap<Arc<str>, Vec<Match>>,
    subscriptions: usize,
    /// Subscription Identifiers.
    ids: usize,
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

    /// The sessions that are members of a share, which is named by its whole filter.
    pub(super) fn members(&self, share: &str) -> Vec<Arc<Session>> {
        let (_, filter) = topic::share(share);
        let mut members = Vec::new();
        self.tree.read().at(filter, &mut |(of, _), leaf| {
            if of.as_deref() == Some(share) {
                members.extend(leaf.session.upgrade());
            }
        });
        members
    }

    /// Begins to put a message of the session `from` before every client that has subscribed to
    /// it: once each, at the highest QoS of its filters (MQTT-3.3.4-2), and to one member of each
    /// share.
    pub(super) fn begin(self: &Arc<Self>, message: Arc<RelayMessage>, from: u64) -> Fanout {
        let Matches { found, shares, subscriptions, ids } = self.matches(&message, from);
        let found: Vec<Match> = found.into_values().rev().collect();
        let shares: Vec<(Arc<str>, Vec<Match>)> = shares.into_iter().collect();
        let members = shares.iter().map(|(_, members)| members.len());
        let sessions = found.len() + members.sum::<usize>();
        let counted = sessions + ids / IDS_OF_ONE;
        self.under_way.fetch_add(counted, Ordering::Relaxed);
        let (relay, position) = (Arc::clone(self), None);
        Fanout { relay, message, position, found, shares, subscriptions, counted }
    }

    /// Whether what is begun is to be finished at once.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > UNDER_WAY_MAX
    }

    fn matches(&self, message: &RelayMessage, from: u64) -> Matches {
        let is_own = topic::owner(&message.topic).is_some();
        let mut matches = Matches::default();
        let tree = self.tree.read();
        tree.matching(&message.topic, &mut |(share, number), leaf| {
            let is_foreign = is_own && leaf.device != message.device;
            // Which of its sessions a device has published from is not known after a restart.
            let is_local = *number == from || (from == READ_AGAIN && leaf.device == message.device);
            if is_foreign || (leaf.options.no_local && is_local) {
                return;
            }
            matches.subscriptions += 1;
            matches.ids += usize::from(leaf.id.is_some());
            if share.is_none()
                && let Some(known) = matches.found.get_mut(number)
            {
                known.add(leaf);
                return;
            }
            let Some(one) = Match::of(leaf) else { return };
            match share {
                None => drop(matches.found.insert(*number, one)),
                Some(share) => matches.shares.entry(Arc::clone(share)).or_default().push(one),
            }
        });
        drop(tree);
        matches
    }
}

/// A message on its way to who has subscribed to it.
pub(super) struct Fanout {
    relay: Arc<TenantRelay>,
    message: Arc<RelayMessage>,
    /// Where it stands among all that is durable, if that is known.
    position: Option<u64>,
    /// The next one is last.
    found: Vec<Match>,
    /// The members of each share.
    shares: Vec<(Arc<str>, Vec<Match>)>,
    subscriptions: usize,
    /// What of the tenant's bound it takes.
    counted: usize,
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.relay.under_way.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl Fanout {
    /// The message stands at a position among all that is durable.
    pub(super) fn at(mut self, position: Option<u64>) -> Self {
        self.position = position;
        self
    }

    /// How many subscriptions match.
    pub(super) const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Whether a session of such a device is among those that it is for, and connected.
    pub(super) fn reaches(&self, is_such: impl Fn(DeviceId) -> bool) -> bool {
        let members = self.shares.iter().flat_map(|(_, members)| members);
        let mut all = self.found.iter().chain(members).map(|one| &one.session);
        all.any(|session| is_such(session.device()) && session.is_connected())
    }

    pub(super) const fn is_done(&self) -> bool {
        self.found.is_empty() && self.shares.is_empty()
    }

    /// Puts the message before so many sessions, and before the rest of the last one's share;
    /// gives how many were looked at.
    pub(super) fn go_on(&mut self, max: usize, report: &mut Report) -> usize {
        let mut visits = 0;
        while visits < max {
            let place = self.position.map(|position| position << 1);
            if let Some(one) = self.found.pop() {
                report.dropped.extend(offer(&self.message, &one, place));
                visits += 1;
                report.deliveries += 1;
            } else if let Some((share, members)) = self.shares.pop() {
                let place = place.map(|place| place | 1);
                report.dropped.extend(offer_share(&self.message, (&share, &members[..]), place));
                visits += members.len();
                report.deliveries += 1 + members.len() / MEMBERS_OF_ONE;
            } else {
                break;
            }
        }
        visits
    }
}

fn offer(message: &RelayMessage, one: &Match, place: Option<u64>) -> Option<Dropped> {
    let limit = one.session.offer(one.delivery(message, place))?;
    Some((one.session.device(), limit))
}

/// Offers a message to a member of a share, in turn: to those that are connected, or to all where
/// none is. It is lost when none of these can take it.
fn offer_share(
    message: &RelayMessage,
    (share, members): (&Arc<str>, &[Match]),
    place: Option<u64>,
) -> Option<Dropped> {
    let turn =
        members.first()?.turn.as_ref().map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed));
    let (before, from) = members.split_at(turn % members.len());
    let in_turn = || from.iter().chain(before);
    let connected = || in_turn().filter(|one| one.session.is_connected());
    let accepts = |one: &&Match| one.session.accept(one.delivery(message, place)).is_ok();
    let taker = match connected().next() {
        Some(_) => connected().find(accepts),
        None => in_turn().find(accepts),
    };
    if let Some(taker) = taker {
        if let Some(place) = place.filter(|_| message.qos > 0) {
            note_taken(taker, (share, members), place);
        }
        return None;
    }
    offer(message, connected().next().or_else(|| in_turn().next())?, place)
}

/// Tells who has taken a message of a share, where that outlives the process.
fn note_taken(taker: &Match, (share, members): (&Arc<str>, &[Match]), place: u64) {
    let is_kept = |one: &&Match| one.session.kept().is_some();
    if is_kept(&taker) {
        taker.session.lock().note_taken(place, share, false);
    } else if let Some(other) = members.iter().find(is_kept) {
        other.session.lock().note_taken(place, share, true);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use veritwin_domain::{CredentialId, Timestamp};

    use super::super::outbox::RELAY_QUEUE_MESSAGES_MAX;
    use super::super::packet::Options;
    use super::super::topic::FilterKind;
    use super::*;

    pub(in crate::mqtt) const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);

    fn relay() -> Arc<TenantRelay> {
        Relays::default().of(TenantId::from_bytes([1; 16]))
    }

    pub(in crate::mqtt) fn message(topic: &str) -> Arc<RelayMessage> {
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
            hops: 0,
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
        assert_eq!(turns, [3, 2]);
        assert!(report.dropped.is_empty());
        assert_eq!(report.deliveries, 5);
        assert!(sessions.iter().all(|session| session.lock().outbox.len() == 1));
    }

    #[test]
    fn what_a_share_has_matched_counts_in_the_rate() {
        let relay = relay();
        let mut members = Vec::new();
        for (count, expect) in [(1, 1), (15, 1), (16, 2), (40, 3)] {
            while members.len() < count {
                members.push(session(&relay, &["$share/g/a"]));
            }
            let mut report = Report::default();
            let visits = relay.begin(message("a"), 0).go_on(usize::MAX, &mut report);
            assert_eq!((visits, report.deliveries), (count, expect));
        }
        members.push(session(&relay, &["a"]));
        let mut report = Report::default();
        relay.begin(message("a"), 0).go_on(usize::MAX, &mut report);
        assert_eq!(report.deliveries, 3 + 1);
    }

    #[test]
    fn a_session_that_is_over_is_out_of_the_tree_while_somebody_holds_it() {
        let relay = relay();
        let session = session(&relay, &["#", "a", "$share/g/a"]);
        let mut fanout = relay.begin(message("a"), 0);
        assert_eq!(fanout.subscriptions(), 3);
        session.end();
        fanout.go_on(usize::MAX, &mut Report::default());
        assert_eq!(session.lock().outbox.len(), 0);
        assert!(relay.begin(message("a"), 0).is_done());
    }

    /// Puts a message before its subscribers; whom it could not be put before.
    fn tell(relay: &Arc<TenantRelay>, topic: &str) -> Vec<Dropped> {
        let mut report = Report::default();
        relay.begin(message(topic), 0).go_on(usize::MAX, &mut report);
        report.dropped
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let relay = relay();
        let sessions: Vec<_> = (0..256).map(|_| session(&relay, &["#", "a"])).collect();
        let mut under_way: Vec<_> = (0..1024).map(|_| relay.begin(message("a"), 0)).collect();
        assert!(!relay.is_busy(), "each session counts once");
        under_way.push(relay.begin(message("a"), 0));
        assert!(relay.is_busy());
        under_way.pop();
        assert!(!relay.is_busy());
        drop(under_way);
        assert_eq!(relay.under_way.load(Ordering::Relaxed), 0);
        drop(sessions);
    }

    #[test]
    fn a_share_goes_on_to_members_that_are_away() {
        let relay = relay();
        let members: Vec<_> = (0..3).map(|_| session(&relay, &["$share/g/a"])).collect();
        members[0].end();
        let gone = relay.begin(message("a"), 0);
        assert_eq!(gone.subscriptions(), 2);
        let mut both = relay.begin(message("a"), 0);
        members[1].end();
        members[2].hold(2, 0);
        // Whose turn it is has ended meanwhile; the other one is away and keeps it.
        both.go_on(usize::MAX, &mut Report::default());
        assert_eq!(members[2].lock().outbox.len(), 1);
        let (mut gone, mut report) = (gone, Report::default());
        members[2].end();
        gone.go_on(usize::MAX, &mut report);
        assert!(report.dropped.is_empty(), "nobody is there to be told");
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
