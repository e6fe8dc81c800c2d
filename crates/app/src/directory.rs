//! The devices of a tenant in memory: for names, places, declarations and rights on the hot
//! paths. Bounded; a change drops the tenant's copy and the next use reads it again.

use std::collections::HashMap;
use std::sync::Arc;

use veritwin_domain::{DeviceId, OpContext};
use veritwin_metastore::{Device, DeviceFilter, every_row};

use crate::kept::Kept;
use crate::{App, Result};

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

/// The devices of recently used tenants.
pub(crate) type Directory = Kept<TenantDevices>;

impl App {
    /// The devices of the context's tenant.
    pub(crate) async fn tenant_devices(&self, context: &OpContext) -> Result<Arc<TenantDevices>> {
        let ticket = match self.0.directory.get(context.tenant) {
            Ok(devices) => return Ok(devices),
            Err(ticket) => ticket,
        };
        let (tx, filter) = (&self.0.store.read(context).await?, &DeviceFilter::default());
        let mut devices = TenantDevices::default();
        for device in every_row(|page| async move { tx.devices(filter, &page).await }).await? {
            devices.by_name.insert(device.name.to_lowercase(), device.id);
            devices.by_id.insert(device.id, Arc::new(device));
        }
        let devices = Arc::new(devices);
        self.0.directory.put(ticket, &devices);
        Ok(devices)
    }
}
