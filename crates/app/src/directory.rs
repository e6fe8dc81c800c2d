//! The devices of a tenant in memory: for names, places, declarations and rights on the hot
//! paths. Bounded; a change drops the tenant's copy and the next use reads it again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::{DeviceId, OpContext, TenantId};
use veritwin_metastore::{Device, DeviceFilter, every_row};

use crate::{App, Result};

/// Most tenants whose devices are kept.
const TENANTS_MAX: usize = 1024;

/// A tenant's devices.
#[derive(Debug, Default)]
pub(crate) struct TenantDevices {
    by_id: HashMap<DeviceId, Arc<Device>>,
    by_name: HashMap<String, DeviceId>,
}

impl TenantDevices {
    pub(crate) fn get(&self, id: DeviceId) -> Option<&Arc<Device>> {
        self.by_id.get(&id)
    }

    pub(crate) fn named(&self, name: &str) -> Option<DeviceId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.by_id.values()
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    devices: Option<Arc<TenantDevices>>,
}

/// The devices of recently used tenants.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tenants: Mutex<HashMap<TenantId, Slot>>,
}

impl Directory {
    /// Drops a tenant's copy: something changed.
    pub(crate) fn changed(&self, tenant: TenantId) {
        let mut tenants = self.tenants.lock();
        let slot = tenants.entry(tenant).or_default();
        slot.generation += 1;
        slot.devices = None;
    }

    fn get(&self, tenant: TenantId) -> (u64, Option<Arc<TenantDevices>>) {
        let mut tenants = self.tenants.lock();
        if tenants.len() >= TENANTS_MAX && !tenants.contains_key(&tenant) {
            tenants.values_mut().for_each(|slot| slot.devices = None);
        }
        let slot = tenants.entry(tenant).or_default();
        (slot.generation, slot.devices.clone())
    }

    fn put(&self, tenant: TenantId, generation: u64, devices: &Arc<TenantDevices>) {
        if let Some(slot) = self.tenants.lock().get_mut(&tenant)
            && slot.generation == generation
        {
            slot.devices = Some(Arc::clone(devices));
        }
    }
}

impl App {
    /// The devices of the context's tenant.
    pub(crate) async fn tenant_devices(&self, context: &OpContext) -> Result<Arc<TenantDevices>> {
        let (generation, kept) = self.0.directory.get(context.tenant);
        if let Some(devices) = kept {
            return Ok(devices);
        }
        let (tx, filter) = (&self.0.store.read(context).await?, &DeviceFilter::default());
        let mut devices = TenantDevices::default();
        for device in every_row(|page| async move { tx.devices(filter, &page).await }).await? {
            devices.by_name.insert(device.name.to_lowercase(), device.id);
            devices.by_id.insert(device.id, Arc::new(device));
        }
        let devices = Arc::new(devices);
        self.0.directory.put(context.tenant, generation, &devices);
        Ok(devices)
    }
}
