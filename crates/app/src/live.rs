//! The in-process bus from committed log entries to open connections. It is lossy on purpose: a
//! subscriber that falls behind is told so and takes a new snapshot; nothing waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::broadcast;
use veritwin_domain::{AlertId, SiteId, TenantId};
use veritwin_log::Entry;

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
    Entry(Arc<Entry>),
    /// An alert was raised, cleared or acknowledged.
    Alert(AlertId),
    /// A twin changed.
    Twin(SiteId, TwinChange),
}

/// One channel per tenant that somebody listens to.
#[derive(Debug, Default)]
pub struct LiveBus {
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
