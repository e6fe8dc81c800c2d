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
        let is_left = |table: &TenantTable| table.is_aside || table.unread_position.is_some();
        let left = left.filter(|(_, table)| is_left(table));
        let place = |table: &TenantTable| table.unread_position.unwrap_or(self.next_position);
        left.map(|(id, table)| (*id, place(table))).collect()
    }

    /// Whether a tenant was set aside and its stored latest values are not back in memory: what is
    /// there must not replace them.
    pub(crate) fn lacks_latest(&self, tenant: TenantId) -> bool {
        let table = self.tenants.get(&tenant);
        let is_unread = table.is_some_and(|table| table.is_aside && table.latest_unread);
        let stored = self.catalog.tenants.get(&tenant);
        is_unread && stored.is_some_and(|entry| entry.latest.is_some())
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
            table.is_aside = false;
        }
        is_all
    }

    /// Drops what is in memory of a tenant whose key is out of reach: readings are read from the
    /// log again, latest values from where they are stored. What is on its way into a segment goes
    /// on, or comes back by [`Self::thaw`].
    pub(crate) fn set_aside(&mut self, tenant: TenantId) {
        let table = self.tenants.entry(tenant).or_default();
        let positions = [table.unread_position, table.first_position];
        let unread_position = positions.into_iter().flatten().min();
        self.bytes -= table.bytes;
        self.held_bytes = self.held_bytes.saturating_sub(table.held_bytes);
        for device in table.devices.values_mut() {
            device.slots.iter_mut().for_each(Slot::wipe);
        }
        *table = TenantTable {
            unread_position,
            is_aside: true,
            latest_unread: true,
            ..TenantTable::default()
        };
    }

    /// Whether rows that come back are left in the log instead: the tenant was set aside, and all
    /// that is not in a segment is read again from there on.
    pub(super) fn leave_frozen(&mut self, tenant: TenantId, first_position: Option<u64>) -> bool {
        let Some(table) = self.tenants.get_mut(&tenant) else { return false };
        if !table.is_aside && table.unread_position.is_none() {
            return false;
        }
        let positions = [table.unread_position, first_position];
        table.unread_position = positions.into_iter().flatten().min();
        true
    }
}
