//! What a device does, as it happens, for people who watch it. Nothing is done for a device that
//! nobody watches; each watcher has a short queue of its own, and what finds no place is counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use veritwin_app::WatchedDevice;
use veritwin_domain::{DeviceId, Key, LimitExceeded, Quality, TenantId, Timestamp, Value};
use veritwin_ingest::{
    EntryRefused, Origin, Placed, Refusal, SeenMessage, SinkEntry, SubmitError, Transport,
};

use super::super::body;
use super::caps::Party;
use super::devices::Owned;
use super::protocol::{TrafficItem, TrafficValue};
use super::seats::{Seat, Seats};

/// Most people and programs of one tenant that watch devices at once.
const TENANT_WATCHERS_MAX: usize = 50;
/// Most that watch one device at once.
const DEVICE_WATCHERS_MAX: usize = 10;
/// Most that one person or program watches at once.
const PERSON_WATCHERS_MAX: usize = 5;
/// Most events that a watcher is shown in a second; the others are counted.
const EVENTS_PER_SECOND_MAX: usize = 50;
/// Most events that wait for a watcher; the others are counted.
const EVENTS_MAX: usize = 100;
/// Most values of one event that are shown.
const VALUES_MAX: usize = 20;
/// Longest text of a value that is shown, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// Whose words the values of an event are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Readings,
    Attributes,
}

/// Something that happened, with values that not everybody may see.
#[derive(Debug)]
pub(super) struct Event {
    item: TrafficItem,
    values: Option<(Words, Vec<(Key, TrafficValue)>)>,
}

/// A value as it is shown; a long text is cut.
fn shown(key: &Key, measured: Option<(Timestamp, Quality)>, value: &Value) -> (Key, TrafficValue) {
    let cut = |text: &str| match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => serde_json::Value::from(format!("{}…", &text[..end])),
        None => body::value(value),
    };
    let value = match value {
        Value::Text(text) | Value::Json(text) => cut(text),
        _ => body::value(value),
    };
    let at_ms = measured.map(|(at, _)| at.as_millis());
    let quality = measured.filter(|(_, quality)| *quality != Quality::Good);
    let quality = quality.map(|(_, quality)| quality.as_str());
    (key.clone(), TrafficValue { key: key.to_string(), at_ms, value, quality })
}

impl Event {
    /// An event of a kind, without values.
    pub(super) fn new(at: Timestamp, kind: &'static str) -> Self {
        let item = TrafficItem { at_ms: at.as_millis(), kind, ..TrafficItem::default() };
        Self { item, values: None }
    }

    /// The same with more said of it.
    pub(super) fn with(mut self, say: impl FnOnce(&mut TrafficItem)) -> Self {
        say(&mut self.item);
        self
    }

    fn of_message(at: Timestamp, seen: SeenMessage) -> Self {
        Self::new(at, "message").with(|item| {
            item.way = Some(seen.transport.as_str());
            item.topic = Some(seen.topic);
            let has_qos = matches!(seen.transport, Transport::Mqtt3 | Transport::Mqtt5);
            item.qos = has_qos.then_some(seen.qos);
            item.retained = seen.is_retained;
            item.payload_bytes = u64::try_from(seen.payload_bytes).ok();
        })
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        Self::new(refusal.received_at, "refused").with(|item| {
            item.reason = Some(refusal.reason.as_str());
            item.detail = Some(refusal.detail.clone());
            item.position = refusal.position;
            item.limit = refusal.limit;
            // Over WebSocket the size is not known.
            item.payload_bytes = Some(refusal.payload_bytes).filter(|bytes| *bytes > 0);
        })
    }

    /// An entry that is about to be stored, and its device.
    fn of_entry(origin: Origin<'_>, entry: &SinkEntry) -> Option<(DeviceId, Self)> {
        let (device, event) = match entry {
            SinkEntry::Readings(batch) => {
                let readings = batch.readings.iter().take(VALUES_MAX);
                let values =
                    readings.map(|one| shown(&one.key, Some((one.at, one.quality)), &one.value));
                let mut event = Self::new(batch.received_at, "readings");
                event.item.count = Some(batch.readings.len());
                event.values = Some((Words::Readings, values.collect()));
                (batch.device, event)
            }
            SinkEntry::Attributes(update) => {
                let entries = update.entries.iter().take(VALUES_MAX);
                let values = entries.map(|(key, value)| shown(key, None, value));
                let mut event = Self::new(update.received_at, "attributes");
                event.item.count = Some(update.entries.len());
                event.item.payload_bytes = Some(update.payload_bytes);
                event.values = Some((Words::Attributes, values.collect()));
                (update.device, event)
            }
            SinkEntry::Refusal(refusal) => (refusal.device, Self::of_refusal(refusal)),
            SinkEntry::Relay { .. } | SinkEntry::Note(_) => return None,
        };
        let way = way_of(origin, device);
        Some((device, event.with(|item| item.way = Some(way))))
    }

    /// What one who watches sees of it.
    fn seen_by(&self, watched: &WatchedDevice) -> TrafficItem {
        let mut item = self.item.clone();
        item.method = item.method.filter(|_| watched.shows_calls());
        let Some((words, values)) = &self.values else { return item };
        let may_see = |(key, _): &&(Key, TrafficValue)| match words {
            Words::Readings => watched.shows(key),
            Words::Attributes => watched.shows_attributes(),
        };
        item.values = values.iter().filter(may_see).map(|(_, value)| value.clone()).collect();
        item.hidden = values.len() - item.values.len();
        item
    }
}

/// The way in; what another one sends for a device comes over its connection.
fn way_of(origin: Origin<'_>, device: DeviceId) -> &'static str {
    match origin {
        Origin::Writer(_) => "write",
        Origin::Device(session) if session.device != device => "gateway",
        Origin::Device(session) => session.transport.map_or("platform", Transport::as_str),
    }
}

/// What waits for one watcher.
#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    left_out: u64,
    /// The second that is counted, and how many events came in it.
    second: u64,
    in_second: usize,
}

impl Queue {
    fn push(&mut self, event: Arc<Event>, now: Duration) {
        if now.as_secs() != self.second {
            (self.second, self.in_second) = (now.as_secs(), 0);
        }
        if self.in_second >= EVENTS_PER_SECOND_MAX || self.events.len() >= EVENTS_MAX {
            self.left_out += 1;
            return;
        }
        self.in_second += 1;
        self.events.push_back(event);
    }
}

/// The watchers of devices.
pub(super) struct Traffic {
    /// How many there are: nothing is looked up while there are none.
    watchers: AtomicUsize,
    queues: RwLock<HashMap<Owned, Vec<Arc<Mutex<Queue>>>>>,
    of_tenants: Arc<Seats<TenantId>>,
    of_devices: Arc<Seats<Owned>>,
    of_people: Arc<Seats<Party>>,
}

impl Traffic {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            watchers: AtomicUsize::new(0),
            queues: RwLock::default(),
            of_tenants: Seats::new("tenant_watchers_max", TENANT_WATCHERS_MAX),
            of_devices: Seats::new("device_watchers_max", DEVICE_WATCHERS_MAX),
            of_people: Seats::new("person_watchers_max", PERSON_WATCHERS_MAX),
        })
    }

    /// Watches a device from now on. Whoever asks has been authorised.
    pub(super) fn watch(
        self: &Arc<Self>,
        device: Owned,
        party: Party,
    ) -> Result<Watching, LimitExceeded> {
        let own = self.of_people.take(party)?;
        let seats = (own, self.of_tenants.take(device.0)?, self.of_devices.take(device)?);
        let queue = Arc::default();
        self.queues.write().entry(device).or_default().push(Arc::clone(&queue));
        self.watchers.fetch_add(1, Ordering::Release);
        Ok(Watching { of: Arc::clone(self), device, queue, _seats: seats })
    }

    /// Whether somebody watches a device.
    pub(super) fn is_watched(&self, device: Owned) -> bool {
        self.watchers.load(Ordering::Acquire) > 0 && self.queues.read().contains_key(&device)
    }

    /// Shows what happened to whoever watches the device; it is made for them alone.
    pub(super) fn show(&self, device: Owned, now: Duration, event: impl FnOnce() -> Event) {
        if self.watchers.load(Ordering::Acquire) == 0 {
            return;
        }
        let queues = self.queues.read();
        let Some(watching) = queues.get(&device) else { return };
        let event = Arc::new(event());
        for queue in watching {
            queue.lock().push(Arc::clone(&event), now);
        }
    }

    /// Shows a message as it came.
    pub(super) fn show_message(
        &self,
        device: Owned,
        now: (Timestamp, Duration),
        seen: SeenMessage,
    ) {
        self.show(device, now.1, || Event::of_message(now.0, seen));
    }

    /// Shows that a message was refused.
    pub(super) fn show_refusal(&self, now: Duration, refusal: &Refusal) {
        self.show((refusal.tenant, refusal.device), now, || Event::of_refusal(refusal));
    }

    /// What of a submission is to be shown once it is stored; none when nobody watches.
    pub(super) fn before(
        &self,
        origin: Origin<'_>,
        entries: &[SinkEntry],
        now: impl FnOnce() -> Duration,
    ) -> Option<Box<Submitted>> {
        if self.watchers.load(Ordering::Acquire) == 0 {
            return None;
        }
        let tenant = origin.tenant();
        let queues = self.queues.read();
        let (mut events, mut counts) = (Vec::new(), BTreeMap::<DeviceId, usize>::new());
        for (index, entry) in entries.iter().enumerate() {
            let Some(device) = device_of(entry) else { continue };
            if !queues.contains_key(&(tenant, device)) {
                continue;
            }
            let count = counts.entry(device).or_default();
            *count += 1;
            // More than are shown in a second are not made, however many come at a time.
            if *count <= EVENTS_PER_SECOND_MAX
                && let Some((device, event)) = Event::of_entry(origin, entry)
            {
                events.push((index, device, event));
            }
        }
        (!events.is_empty()).then(|| Box::new(Submitted { tenant, began: now(), events, counts }))
    }

    /// Counts events that were not made.
    fn leave_out(&self, device: Owned, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let queues = self.queues.read();
        for queue in queues.get(&device).into_iter().flatten() {
            queue.lock().left_out += count;
        }
    }

    /// Shows a submission with what became of it.
    pub(super) fn after(
        &self,
        submitted: Submitted,
        now: Duration,
        outcome: &Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError>,
    ) {
        let Submitted { tenant, began, events, counts } = submitted;
        let took = now.saturating_sub(began);
        for (index, device, event) in events {
            let refused = match outcome {
                Ok((refused, _)) => refused
                    .iter()
                    .find(|one| one.index == index)
                    .map(|one| ("limit", Some(one.limit.name), one.limit.to_string())),
                Err(error) => Some(why(error)),
            };
            let event = match refused {
                None if event.item.kind == "refused" => event,
                None => event.with(|item| item.stored_ms = u64::try_from(took.as_millis()).ok()),
                // Never with what was refused.
                Some((reason, limit, detail)) => Event { values: None, ..event }.with(|item| {
                    item.kind = "refused";
                    item.reason = Some(reason);
                    item.detail = Some(detail);
                    item.limit = limit;
                }),
            };
            self.show((tenant, device), now, || event);
        }
        for (device, count) in counts {
            let more = count.saturating_sub(EVENTS_PER_SECOND_MAX);
            if more > 0 {
                self.leave_out((tenant, device), more);
            }
        }
    }
}

/// Why nothing of a submission is stored: the kind of reason, the limit, and the text for it.
fn why(error: &SubmitError) -> (&'static str, Option<&'static str>, String) {
    let (reason, limit) = match error {
        SubmitError::Unavailable(_) => ("unavailable", None),
        SubmitError::Busy { limit, .. } => ("limit", *limit),
        SubmitError::Denied(_) | SubmitError::NotFound(_) => ("not_allowed", None),
        SubmitError::Limit(limit) => ("limit", Some(limit.name)),
        SubmitError::Invalid(_) => ("payload", None),
    };
    (reason, limit, error.to_string())
}

const fn device_of(entry: &SinkEntry) -> Option<DeviceId> {
    match entry {
        SinkEntry::Readings(batch) => Some(batch.device),
        SinkEntry::Attributes(update) => Some(update.device),
        SinkEntry::Refusal(refusal) => Some(refusal.device),
        SinkEntry::Relay { .. } | SinkEntry::Note(_) => None,
    }
}

/// A submission under way of which something is watched.
pub(super) struct Submitted {
    tenant: TenantId,
    began: Duration,
    events: Vec<(usize, DeviceId, Event)>,
    /// How many entries there are of each device that is watched.
    counts: BTreeMap<DeviceId, usize>,
}

/// One who watches a device, until this is dropped.
pub(super) struct Watching {
    of: Arc<Traffic>,
    device: Owned,
    queue: Arc<Mutex<Queue>>,
    _seats: (Seat<Party>, Seat<TenantId>, Seat<Owned>),
}

impl Watching {
    /// What happened since the last call, as one sees it who may see so much, and how many events
    /// are not shown.
    pub(super) fn take(&self, watched: &WatchedDevice) -> (Vec<TrafficItem>, u64) {
        let Queue { events, left_out, .. } = {
            let mut queue = self.queue.lock();
            let (second, in_second) = (queue.second, queue.in_second);
            std::mem::replace(&mut *queue, Queue { second, in_second, ..Queue::default() })
        };
        (events.iter().map(|event| event.seen_by(watched)).collect(), left_out)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut queues = self.of.queues.write();
        if let Some(watching) = queues.get_mut(&self.device) {
            watching.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if watching.is_empty() {
                queues.remove(&self.device);
            }
        }
        drop(queues);
        self.of.watchers.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, DeviceBatch};
    use veritwin_ingest::DeviceSession;

    use super::*;

    fn owned(tenant: u8, device: u8) -> Owned {
        (TenantId::from_bytes([tenant; 16]), DeviceId::from_bytes([device; 16]))
    }

    fn party(number: u8) -> Party {
        (TenantId::from_bytes([1; 16]), [number; 16])
    }

    fn waiting(watching: &Watching) -> (usize, u64) {
        let queue = watching.queue.lock();
        (queue.events.len(), queue.left_out)
    }

    #[test]
    fn only_who_is_watched_is_shown_and_only_while_it_is() {
        let traffic = Traffic::new();
        let now = Duration::from_secs(1);
        let never = || -> Event { panic!("nobody watches") };
        traffic.show(owned(1, 1), now, never);
        let watching = traffic.watch(owned(1, 1), party(1)).expect("a place");
        assert!(traffic.is_watched(owned(1, 1)));
        traffic.show(owned(2, 1), now, never);
        traffic.show(owned(1, 2), now, never);
        traffic.show(owned(1, 1), now, || Event::new(Timestamp::EPOCH, "connected"));
        assert_eq!(waiting(&watching), (1, 0));
        drop(watching);
        assert!(!traffic.is_watched(owned(1, 1)));
        traffic.show(owned(1, 1), now, never);
    }

    #[test]
    fn a_storm_is_counted_and_not_kept() {
        let traffic = Traffic::new();
        let watching = traffic.watch(owned(1, 1), party(1)).expect("a place");
        let event = || Event::new(Timestamp::EPOCH, "connected");
        for _ in 0..1_000 {
            traffic.show(owned(1, 1), Duration::from_secs(1), event);
        }
        assert_eq!(waiting(&watching), (EVENTS_PER_SECOND_MAX, 950));
        for second in 2..1_000 {
            traffic.show(owned(1, 1), Duration::from_secs(second), event);
        }
        assert_eq!(waiting(&watching).0, EVENTS_MAX, "nobody takes them");
    }

    #[test]
    fn what_comes_at_once_beyond_what_is_shown_is_counted() {
        let (traffic, (tenant, device)) = (Traffic::new(), owned(1, 1));
        let watching = traffic.watch((tenant, device), party(1)).expect("a place");
        let credential = CredentialId::from_bytes([3; 16]);
        let session = DeviceSession::new(tenant, device, credential);
        let batch = |device: DeviceId| {
            let (received_at, readings) = (Timestamp::EPOCH, Vec::new());
            SinkEntry::Readings(DeviceBatch { tenant, device, credential, received_at, readings })
        };
        let (_, unwatched) = owned(1, 2);
        let mut entries: Vec<_> = (0..300).map(|_| batch(device)).collect();
        entries.push(batch(unwatched));
        let now = Duration::from_secs(1);
        let submitted = traffic.before(Origin::Device(&session), &entries, || now);
        let submitted = submitted.expect("somebody watches");
        assert_eq!(submitted.events.len(), EVENTS_PER_SECOND_MAX);
        traffic.after(*submitted, now, &Ok((Vec::new(), Vec::new())));
        assert_eq!(waiting(&watching), (EVENTS_PER_SECOND_MAX, 250));
        let of_another = traffic.before(Origin::Device(&session), &[batch(unwatched)], || now);
        assert!(of_another.is_none());
    }

    #[test]
    fn watchers_are_bounded_by_person_by_device_and_by_tenant() {
        let traffic = Traffic::new();
        let limit = |device, person| {
            traffic.watch(owned(1, device), party(person)).map_err(|limit| limit.name)
        };
        let mut held: Vec<_> = (0..5).map(|_| limit(1, 0).expect("a place")).collect();
        assert_eq!(limit(2, 0).err(), Some("person_watchers_max"));
        held.extend((0..5).map(|_| limit(1, 1).expect("a place")));
        assert_eq!(limit(1, 2).err(), Some("device_watchers_max"));
        held.extend((2..42).map(|number| limit(number, number).expect("a place")));
        assert_eq!(limit(99, 99).err(), Some("tenant_watchers_max"));
        let other = (TenantId::from_bytes([2; 16]), [0; 16]);
        assert!(traffic.watch(owned(2, 1), other).is_ok(), "another tenant's");
        held.pop();
        assert!(limit(99, 99).is_ok());
    }

    #[test]
    fn long_texts_are_cut() {
        let key = Key::new("k").expect("a key");
        let (_, value) = shown(&key, None, &Value::Text("ä".repeat(500).into()));
        assert_eq!(value.value.as_str().map(|text| text.chars().count()), Some(201));
        let (_, value) = shown(&key, Some((Timestamp::EPOCH, Quality::Good)), &Value::Integer(7));
        assert_eq!((value.value, value.at_ms), (serde_json::Value::from(7), Some(0)));
        assert_eq!(value.quality, None);
        let (_, value) = shown(&key, Some((Timestamp::EPOCH, Quality::Bad)), &Value::Integer(7));
        assert_eq!(value.quality, Some("bad"));
    }
}
