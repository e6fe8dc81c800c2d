//! Public zones in memory: which device is a source of which, and what sources did in the windows
//! that are open. A source's readings come here and nowhere else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use veritwin_collection::{Book, Collector, Noise, Turn};
use veritwin_domain::{
    DeviceBatch, DeviceId, LimitExceeded, RegisterEntryId, TenantId, Timestamp, Value,
};

use super::StoredZone;
use crate::{RefusedPart, Submission};

/// A zone that gathers.
pub(crate) struct Zone {
    pub(crate) tenant: TenantId,
    pub(crate) id: RegisterEntryId,
    pub(crate) stored: StoredZone,
    pub(crate) attestation: Value,
    collector: Mutex<Collector>,
    pub(crate) book: Mutex<Book>,
    /// Those of its devices that there are.
    sources: RwLock<Arc<BTreeSet<DeviceId>>>,
    /// After a window that could not be let out: when it is tried again.
    again_at: Mutex<Duration>,
}

impl Zone {
    pub(crate) fn new(
        (tenant, id): (TenantId, RegisterEntryId),
        stored: StoredZone,
        (attestation, book): (Value, Book),
        now: Timestamp,
    ) -> Self {
        let collector = Mutex::new(Collector::new(&stored.config, now));
        let sources = RwLock::new(Arc::new(stored.devices.clone()));
        let (book, again_at) = (Mutex::new(book), Mutex::default());
        Self { tenant, id, stored, attestation, collector, book, sources, again_at }
    }

    fn take(&self, batch: &DeviceBatch, now: Timestamp) {
        let sources = Arc::clone(&self.sources.read());
        self.collector.lock().take(batch.device, &batch.readings, (now, &sources));
    }

    /// Lets it be until then.
    pub(crate) fn wait_until(&self, monotonic: Duration) {
        *self.again_at.lock() = monotonic;
    }

    /// Whether a window is over.
    pub(crate) fn is_due(&self, (now, monotonic): (Timestamp, Duration)) -> bool {
        if monotonic < *self.again_at.lock() {
            return false;
        }
        let settled = self.book.lock().settled_us;
        let length = self.stored.config.window_micros();
        settled.is_none_or(|settled| now.as_micros() >= settled.saturating_add(length))
    }

    /// What is over, for the sources that there are now.
    pub(crate) fn settle(
        &self,
        (now, sources): (Timestamp, BTreeSet<DeviceId>),
        noise: Noise<'_>,
    ) -> Option<Turn> {
        let sources = Arc::new(sources);
        *self.sources.write() = Arc::clone(&sources);
        let before = *self.book.lock();
        self.collector.lock().settle(&before, (now, &sources), noise)
    }
}

/// What of a submission goes on, and what does not.
pub(crate) struct Diverted {
    pub(crate) kept: Vec<Submission>,
    /// Where each part stood; none when all of them go on.
    pub(crate) places: Option<Vec<usize>>,
    pub(crate) refused: Vec<RefusedPart>,
}

/// Every zone that gathers.
#[derive(Default)]
pub(crate) struct ZoneBoard {
    /// Nearly always there is none, and nothing is looked up.
    count: AtomicUsize,
    of: RwLock<HashMap<(TenantId, DeviceId), Arc<Zone>>>,
    /// Zones are set, and windows settled, one at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// The device that a part is from, where it is one's own words.
fn source(one: &Submission) -> Option<DeviceId> {
    match one {
        Submission::Readings(batch) => Some(batch.device),
        Submission::ClientAttributes { device, .. } | Submission::Refusal { device, .. } => {
            Some(*device)
        }
        Submission::Relay { message, .. } => Some(message.device),
        Submission::Note(_) | Submission::Edge(_) => None,
    }
}

impl ZoneBoard {
    /// Puts a zone in place of the one with its id.
    pub(crate) fn put(&self, zone: Arc<Zone>) {
        let mut of = self.of.write();
        of.retain(|_, known| (known.tenant, known.id) != (zone.tenant, zone.id));
        for device in &zone.stored.devices {
            of.insert((zone.tenant, *device), Arc::clone(&zone));
        }
        self.count.store(of.len(), Ordering::Release);
    }

    /// Whether a zone is the one that gathers, and none was put in its place or taken out.
    pub(crate) fn holds(&self, zone: &Arc<Zone>) -> bool {
        self.of.read().values().any(|known| Arc::ptr_eq(known, zone))
    }

    /// Takes a zone out.
    pub(crate) fn remove(&self, tenant: TenantId, id: RegisterEntryId) {
        let mut of = self.of.write();
        of.retain(|_, known| (known.tenant, known.id) != (tenant, id));
        self.count.store(of.len(), Ordering::Release);
    }

    /// Takes every zone of an organisation out, which is not served any more.
    pub(crate) fn forget(&self, tenant: TenantId) {
        let mut of = self.of.write();
        of.retain(|(owner, _), _| *owner != tenant);
        self.count.store(of.len(), Ordering::Release);
    }

    /// The zone that a device is a source of.
    pub(crate) fn of(&self, tenant: TenantId, device: DeviceId) -> Option<Arc<Zone>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.of.read().get(&(tenant, device)).cloned()
    }

    /// Whether a zone's numbers are readings of a device.
    pub(crate) fn is_output(&self, tenant: TenantId, device: DeviceId) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let of = self.of.read();
        of.values().any(|zone| zone.tenant == tenant && zone.stored.output == device)
    }

    /// Every zone, each once.
    pub(crate) fn all(&self) -> Vec<Arc<Zone>> {
        let mut zones: Vec<Arc<Zone>> = self.of.read().values().cloned().collect();
        zones.sort_by_key(|zone| (zone.tenant, zone.id));
        zones.dedup_by_key(|zone| (zone.tenant, zone.id));
        zones
    }

    /// Takes what sources say out of a submission: readings into the open window, and everything
    /// else nowhere.
    pub(crate) fn divert(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
        now: impl FnOnce() -> Timestamp,
    ) -> Diverted {
        let whole = |kept: Vec<Submission>| Diverted { kept, places: None, refused: Vec::new() };
        if self.count.load(Ordering::Acquire) == 0 {
            return whole(submissions);
        }
        let of = self.of.read();
        let zone = |one: &Submission| source(one).and_then(|device| of.get(&(tenant, device)));
        if !submissions.iter().any(|one| zone(one).is_some()) {
            return whole(submissions);
        }
        let now = now();
        let (mut kept, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (index, one) in submissions.into_iter().enumerate() {
            let Some(zone) = zone(&one) else {
                places.push(index);
                kept.push(one);
                continue;
            };
            match one {
                Submission::Readings(batch) => zone.take(&batch, now),
                Submission::Relay { .. } => {
                    let limit =
                        LimitExceeded { name: "public_zone_messages_max", max: 0, actual: 1 };
                    refused.push(RefusedPart { index, limit });
                }
                _ => {}
            }
        }
        Diverted { kept, places: Some(places), refused }
    }
}
