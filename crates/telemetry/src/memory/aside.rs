//! Tenants whose key is out of reach: what leaves memory, what stays in the log, and how far it was
//! read again.

use veritwin_domain::{TenantId, Value};

use super::{LatestSize, Memory, Slot, TenantTable};

impl Slot {
    /// Overwrites what was measured.
    fn wipe(&mut self) {
        self.latest.value = Value::Boolean(false);
        self.rows.wipe();
    }
}

impl TenantTable {
    /// Whether something of the tenant is still to be read from the log.
    const fn is_behind(&self) -> bool {
        self.is_aside || self.unread_position.is_some()
    }
}

impl Memory {
    /// Whether something of a tenant is still to be read from the log; none when nothing of it is
    /// in memory.
    pub(crate) fn is_behind(&self, tenant: TenantId) -> Option<bool> {
        self.tenants.get(&tenant).map(TenantTable::is_behind)
    }

    /// Tenants with entries that were left in the log, and where the first of them is.
    pub(crate) fn left_in_log(&self) -> Vec<(TenantId, u64)> {
        let left = self.tenants.iter();
        let left = left.filter(|(_, table)| table.is_behind());
        let place = |table: &TenantTable| table.unread_position.unwrap_or(self.next_position);
        left.map(|(id, table)| (*id, place(table))).collect()
    }

    /// From where on the log is needed: by those whose key is out of reach, or was at the last
    /// flush, each from a position of its own on; and by everybody else.
    pub(crate) fn log_needs(&self) -> (u64, Vec<(TenantId, u64)>) {
        let mut front = self.gap_position.unwrap_or(self.next_position);
        let mut apart = Vec::new();
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.tenants.keys());
        for tenant in frozen.filter(|tenant| !self.tenants.contains_key(*tenant)) {
            front = front.min(self.stored_to(*tenant));
        }
        for (tenant, table) in &self.tenants {
            let position = self.stored_to(*tenant);
            if table.is_behind() || table.held_bytes > 0 {
                apart.push((*tenant, position));
            } else {
                front = front.min(position);
            }
        }
        (front, apart)
    }

    /// Whether a tenant was set aside and its stored latest values are not back in memory: what is
    /// there must not replace them.
    pub(crate) fn lacks_latest(&self, tenant: TenantId) -> bool {
        let table = self.tenants.get(&tenant);
        let is_unread = table.is_some_and(|table| table.is_aside && table.latest_unread);
        let stored = self.catalog.tenants.get(&tenant);
        is_unread && stored.is_some_and(|entry| entry.latest.is_some())
    }

    /// Whether nothing of a tenant is left in the log before a position. It is again once the
    /// tenant was set aside, or a flush of what was read from there failed.
    pub(crate) fn is_read_to(&self, tenant: TenantId, position: u64) -> bool {
        let table = self.tenants.get(&tenant);
        table.is_some_and(|table| table.unread_position.is_none_or(|unread| unread >= position))
    }

    /// The entries of a tenant before this position were read, all of them: see
    /// [`Self::is_read_to`].
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
        self.latest.change(table.latest, LatestSize::default());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use veritwin_domain::{CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, Timestamp};

    use super::*;
    use crate::catalog::Catalog;

    fn batch(value: i64) -> DeviceBatch {
        let reading = Reading {
            key: Key::new("n").expect("a key"),
            at: Timestamp::from_micros(value),
            value: Value::Integer(value),
            quality: Quality::Good,
        };
        DeviceBatch {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: Timestamp::EPOCH,
            readings: vec![reading],
        }
    }

    /// A tenant of which entries 0 and 1 were left in the log, and 0 was read again.
    fn half_read() -> (Memory, TenantId) {
        let mut memory = Memory::new(Arc::new(Catalog::default()));
        let tenant = batch(0).tenant;
        memory.set_aside(tenant);
        memory.leave_in_log(tenant, 0);
        memory.leave_in_log(tenant, 1);
        assert_eq!(memory.left_in_log(), [(tenant, 0)]);
        memory.apply_late(0, &batch(1), Duration::ZERO);
        memory.read_up_to(tenant, 1);
        assert_eq!(memory.left_in_log(), [(tenant, 1)]);
        assert!(memory.is_read_to(tenant, 1));
        (memory, tenant)
    }

    #[test]
    fn what_was_read_and_wiped_again_is_still_to_be_read() {
        let (mut memory, tenant) = half_read();
        memory.set_aside(tenant);
        assert!(!memory.is_read_to(tenant, 1), "whoever was reading begins again");
        assert_eq!(memory.left_in_log(), [(tenant, 0)]);
    }

    #[test]
    fn a_tenant_without_its_key_needs_the_log_for_itself() {
        let mut memory = Memory::new(Arc::new(Catalog::default()));
        let (away, other) = (batch(0).tenant, TenantId::from_bytes([2; 16]));
        memory.apply(0, &batch(1), Duration::ZERO);
        memory.apply(1, &DeviceBatch { tenant: other, ..batch(2) }, Duration::ZERO);
        memory.skip(2);
        assert_eq!(memory.log_needs(), (0, Vec::new()));
        memory.set_aside(away);
        assert_eq!(memory.log_needs(), (1, vec![(away, 0)]), "the other is not stored yet");
        memory.freeze(|_| false);
        assert_eq!(memory.log_needs(), (1, vec![(away, 0)]), "nor while it is on its way");
        memory.frozen = None;
        assert_eq!(memory.log_needs(), (3, vec![(away, 0)]));
        memory.forget(away);
        assert_eq!(memory.log_needs(), (3, Vec::new()));
    }

    #[test]
    fn what_is_left_in_memory_for_its_key_needs_the_log_for_itself() {
        let mut memory = Memory::new(Arc::new(Catalog::default()));
        let tenant = batch(0).tenant;
        memory.apply(0, &batch(1), Duration::ZERO);
        memory.skip(1);
        memory.freeze(|_| true);
        assert_eq!(memory.log_needs(), (2, vec![(tenant, 0)]));
        memory.freeze(|_| false);
        memory.frozen = None;
        assert_eq!(memory.log_needs(), (2, Vec::new()));
    }

    #[test]
    fn what_was_read_and_could_not_be_flushed_is_still_to_be_read() {
        let (mut memory, tenant) = half_read();
        let frozen = memory.freeze(|_| false);
        assert_eq!((frozen.tenants.len(), frozen.end_position), (1, 1));
        assert!(memory.is_read_to(tenant, 1));
        memory.thaw(&frozen, Duration::ZERO);
        assert!(!memory.is_read_to(tenant, 1));
        assert_eq!(memory.left_in_log(), [(tenant, 0)]);
    }
}
