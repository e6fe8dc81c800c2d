//! The in-process bus from committed log entries to open connections. It is lossy on purpose: a
//! subscriber that falls behind is told so and takes a new snapshot; nothing waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::broadcast;
use veritwin_domain::{
    AlertId, DeviceId, Key, OpContext, Quality, Reading, SiteId, TenantId, Timestamp, Value,
};
use veritwin_log::{CommitObserver, Committed, Entry, Record};

use crate::App;

/// Events a subscriber may be behind before it has to take a new snapshot.
const EVENTS_MAX: usize = 1024;

/// What changed in a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwinChange {
    /// The model was imported again.
    Model,
    /// The geometry was converted.
    Geometry,
    /// A device was bound or released.
    Bindings,
    /// The twin is gone.
    Deleted,
}

impl TwinChange {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Geometry => "geometry",
            Self::Bindings => "bindings",
            Self::Deleted => "deleted",
        }
    }
}

/// Something that happened in a tenant.
#[derive(Debug, Clone)]
pub enum LiveEvent {
    /// A durable log entry.
    Entry(LiveEntry),
    /// An alert was raised, cleared or acknowledged.
    Alert(AlertId),
    /// A twin changed.
    Twin(SiteId, TwinChange),
    /// Devices changed: what may be read of them has possibly changed too.
    Devices,
    /// Somebody's rights changed: ask again who is who.
    Access,
    /// A session or access of support ended: ask again whether one's own goes on.
    Sessions,
}

/// One channel per tenant that somebody listens to.
#[derive(Debug, Default)]
pub(crate) struct LiveBus {
    tenants: RwLock<HashMap<TenantId, broadcast::Sender<LiveEvent>>>,
}

impl LiveBus {
    /// Listens to a tenant's events from now on.
    pub(crate) fn subscribe(&self, tenant: TenantId) -> broadcast::Receiver<LiveEvent> {
        let mut tenants = self.tenants.write();
        tenants.retain(|_, sender| sender.receiver_count() > 0);
        tenants.entry(tenant).or_insert_with(|| broadcast::channel(EVENTS_MAX).0).subscribe()
    }

    /// Hands an event to whoever listens; free when nobody does.
    pub(crate) fn publish(&self, tenant: TenantId, event: impl FnOnce() -> LiveEvent) {
        if let Some(sender) = self.tenants.read().get(&tenant) {
            // An error only says that the last listener just left.
            let _ = sender.send(event());
        }
    }
}

/// One reading of a live entry.
#[derive(Debug, Clone)]
pub struct LiveReading<'a> {
    /// The device.
    pub device: DeviceId,
    /// The series.
    pub key: &'a Key,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: &'a Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// A durable entry, as listeners see it.
#[derive(Debug, Clone)]
pub struct LiveEntry(Arc<Entry>);

impl LiveEntry {
    /// Its readings; empty for other records.
    pub fn readings(&self) -> Vec<LiveReading<'_>> {
        let Record::Readings(batch) = &self.0.record else { return Vec::new() };
        batch
            .readings
            .iter()
            .map(|Reading { key, at, value, quality }| LiveReading {
                device: batch.device,
                key,
                at: *at,
                value,
                quality: *quality,
            })
            .collect()
    }
}

/// Hands durable readings to the bus.
pub(crate) struct LiveObserver(Arc<LiveBus>);

impl LiveObserver {
    pub(crate) fn new(bus: Arc<LiveBus>) -> Self {
        Self(bus)
    }
}

impl CommitObserver for LiveObserver {
    fn committed(&mut self, batch: &Arc<Committed>) {
        for entry in &batch.entries {
            if matches!(entry.record, Record::Readings(_)) {
                self.0.publish(entry.tenant, || LiveEvent::Entry(LiveEntry(Arc::clone(entry))));
            }
        }
    }
}

impl App {
    /// Listens to the tenant's events from now on. What a listener may see of them is decided
    /// where they are converted.
    pub fn subscribe(&self, context: &OpContext) -> broadcast::Receiver<LiveEvent> {
        self.0.live.subscribe(context.tenant)
    }
}
