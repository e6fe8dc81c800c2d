//! Tenants whose key is out of reach: what leaves memory, what stays in the log, and how far it was
//! read again.

use veritwin_domain::{TenantId, Value};

use super::{Memory, Slot, TenantTable};

impl Slot {
    /// Overwrites what was measured.
    fn wipe(&mut self) {
        self.latest.value = Value::Boolean(false);
        self.rows.wipe();
    }
}

impl Memory {
    /// Tenants with entries that were left in the log, and where the first of them is.
    pub(crate) fn left_in_log(&self) -> Vec<(TenantId, u64)> {
        let left = self.tenants.iter();
        left.filter_map(|(id, table)| Some((*id, table.unread_position?))).collect()
    }

    /// The entries of a tenant before this position were read.
    pub(crate) fn read_up_to(&mut self, tenant: TenantId, position: u64) {
        if let Some(table) = self.tenants.get_mut(&tenant) {
            table.unread_position = table.unread_position.map(|unread| unread.max(position));
        }
    }

    /// True, and the tenant takes part again, if nothing of it is unread before the next position.
    pub(crate) fn is_caught_up(&mut self, tenant: TenantId, position: u64) -> bool {
        let is_all = position >= self.next_position;
        if let Some(table) = self.tenants.get_mut(&tenant).filter(|_| is_all) {
            table.unread_position = None;
        }
        is_all
    }

    /// Drops what is in memory of a tenant whose key is out of reach: readings are read from the
    /// log again, latest values from where they are stored.
    pub(crate) fn set_aside(&mut self, tenant: TenantId) {
        let is_stored = self.catalog.tenants.get(&tenant).is_some_and(|own| own.latest.is_some());
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.tenants.get(&tenant));
        let frozen = frozen.and_then(|frozen| frozen.first_position);
        let Some(table) = self.tenants.get_mut(&tenant) else { return };
        let positions = [table.unread_position, table.first_position, frozen];
        let unread_position = positions.into_iter().flatten().min();
        self.bytes -= table.bytes;
        self.held_bytes = self.held_bytes.saturating_sub(table.held_bytes);
        for device in table.devices.values_mut() {
            device.slots.iter_mut().for_each(Slot::wipe);
        }
        *table =
            TenantTable { unread_position, latest_unread: is_stored, ..TenantTable::default() };
    }
}
