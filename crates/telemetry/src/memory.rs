//! The memory table: what was committed and is not in a segment yet, and the latest value of every
//! series. Entries are taken in log order, each once; nothing here waits or does input or output.

mod aside;
mod held;
mod meant;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{DeviceBatch, DeviceId, Key, Quality, Reading, TenantId, Timestamp, Value};

pub(crate) use self::held::LatestOfAll;
pub use self::held::LatestSize;
use crate::catalog::{Catalog, LatestPlace};
use crate::series::SeriesRows;

/// The latest reading of a series: the one with the highest time, of equal times the last to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The series.
    pub key: Key,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl Latest {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.text_bytes()
    }
}

#[derive(Debug)]
struct Slot {
    latest: Latest,
    rows: SeriesRows,
}

/// The series of one device.
#[derive(Debug, Default)]
pub(crate) struct DeviceTable {
    slots: Vec<Slot>,
    by_key: HashMap<Key, usize>,
    /// Where the next reading's series probably is: devices repeat their keys in one order.
    guess: usize,
    dirty: bool,
    /// Bytes of the keys and of the texts among the latest values.
    latest_bytes: usize,
}

impl DeviceTable {
    fn push(&mut self, reading: &Reading) -> usize {
        let guessed = self.slots.get(self.guess).is_some_and(|slot| slot.latest.key == reading.key);
        let place = if guessed { Some(self.guess) } else { self.by_key.get(&reading.key).copied() };
        let place = place.unwrap_or_else(|| self.add(latest_of(reading)));
        self.guess = if place + 1 == self.slots.len() { 0 } else { place + 1 };
        self.dirty = true;
        let slot = &mut self.slots[place];
        if reading.at >= slot.latest.at {
            let (more, less) = (reading.value.text_bytes(), slot.latest.value.text_bytes());
            self.latest_bytes = self.latest_bytes + more - less;
            slot.latest.at = reading.at;
            slot.latest.value = reading.value.clone();
            slot.latest.quality = reading.quality;
        }
        slot.rows.push(reading)
    }

    fn add(&mut self, latest: Latest) -> usize {
        self.latest_bytes += latest.bytes();
        self.by_key.insert(latest.key.clone(), self.slots.len());
        self.slots.push(Slot { latest, rows: SeriesRows::default() });
        self.slots.len() - 1
    }

    fn size(&self) -> LatestSize {
        LatestSize { series: self.slots.len(), bytes: self.latest_bytes }
    }

    pub(crate) fn latest(&self) -> impl Iterator<Item = &Latest> {
        self.slots.iter().map(|slot| &slot.latest)
    }

    pub(crate) fn latest_of(&self, key: &Key) -> Option<&Latest> {
        self.by_key.get(key).map(|place| &self.slots[*place].latest)
    }

    fn rows(&self, key: &Key) -> Option<&SeriesRows> {
        self.by_key.get(key).map(|place| &self.slots[*place].rows).filter(|rows| !rows.is_empty())
    }
}

fn latest_of(reading: &Reading) -> Latest {
    Latest {
        key: reading.key.clone(),
        at: reading.at,
        value: reading.value.clone(),
        quality: reading.quality,
    }
}

/// What one tenant has in memory.
#[derive(Debug, Default)]
pub(crate) struct TenantTable {
    pub(crate) devices: HashMap<DeviceId, DeviceTable>,
    /// Position of the earliest reading that is not in a segment.
    first_position: Option<u64>,
    /// Position of the earliest entry that could not be read and may be readable later.
    unread_position: Option<u64>,
    /// Its key is, or was a moment ago, out of reach: what comes is left in the log.
    is_aside: bool,
    /// The stored latest values could not be read: a flush must not replace them unseen.
    latest_unread: bool,
    /// What the latest values of all devices take.
    latest: LatestSize,
    bytes: usize,
    /// Of them, those that the last flush left here because the keys are withdrawn.
    held_bytes: usize,
}

/// One tenant's readings on their way into a segment.
#[derive(Debug)]
pub(crate) struct FrozenTenant {
    pub(crate) devices: HashMap<DeviceId, Vec<(Key, SeriesRows)>>,
    first_position: Option<u64>,
    bytes: usize,
}

/// Readings on their way into segments; still read by queries until the manifest names them.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) tenants: HashMap<TenantId, FrozenTenant>,
    /// Everything before this position is here or in a segment.
    pub(crate) end_position: u64,
    pub(crate) bytes: usize,
}

/// Everything queries look at, under one lock, so that they see one state.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) tenants: HashMap<TenantId, TenantTable>,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) next_position: u64,
    pub(crate) bytes: usize,
    /// What latest values of all tenants take.
    pub(crate) latest: Arc<LatestOfAll>,
    pub(crate) oldest_applied: Option<Duration>,
    /// Bytes of tenants whose keys are withdrawn: they wait for their keys, nobody waits for them.
    held_bytes: usize,
    /// First position that was never applied although a later one was.
    gap_position: Option<u64>,
}

impl Memory {
    pub(crate) fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            tenants: HashMap::new(),
            frozen: None,
            next_position: catalog.persisted_position,
            catalog,
            bytes: 0,
            latest: Arc::default(),
            oldest_applied: None,
            held_bytes: 0,
            gap_position: None,
        }
    }

    /// Takes the readings of the entry at `position`; an entry that was taken before is passed by.
    pub(crate) fn apply(&mut self, position: u64, batch: &DeviceBatch, now: Duration) {
        if position < self.next_position {
            return;
        }
        self.skip(position);
        if batch.readings.is_empty() {
            return;
        }
        let tenant = self.tenants.entry(batch.tenant).or_default();
        if tenant.is_aside || tenant.unread_position.is_some() {
            // All of it is read from the log, in its order.
            tenant.unread_position.get_or_insert(position);
            return;
        }
        self.take(position, batch, now);
    }

    /// Takes the readings of an entry that was left in the log.
    pub(crate) fn apply_late(&mut self, position: u64, batch: &DeviceBatch, now: Duration) {
        if !batch.readings.is_empty() {
            self.take(position, batch, now);
        }
    }

    fn take(&mut self, position: u64, batch: &DeviceBatch, now: Duration) {
        let tenant = self.tenants.entry(batch.tenant).or_default();
        tenant.first_position.get_or_insert(position);
        let device = tenant.devices.entry(batch.device).or_default();
        let before = device.size();
        let bytes: usize = batch.readings.iter().map(|reading| device.push(reading)).sum();
        let after = device.size();
        if after != before {
            tenant.latest.change(before, after);
            self.latest.change(before, after);
        }
        tenant.bytes += bytes;
        self.bytes += bytes;
        self.oldest_applied.get_or_insert(now);
    }

    /// Passes by an entry that holds no readings.
    pub(crate) fn skip(&mut self, position: u64) {
        if position > self.next_position && self.gap_position.is_none() {
            let expected = self.next_position;
            tracing::error!(
                expected,
                position,
                "log positions were left out; they stay in the log"
            );
            self.gap_position = Some(expected);
        }
        self.next_position = self.next_position.max(position + 1);
    }

    /// Passes by positions that the log does not hold any more: it was thinned there, once they
    /// were had.
    pub(crate) fn pass_to(&mut self, position: u64) {
        self.next_position = self.next_position.max(position);
    }

    /// Notes an entry whose key is out of reach: the log has to keep it until it can be read.
    pub(crate) fn leave_in_log(&mut self, tenant: TenantId, position: u64) {
        if position >= self.next_position {
            self.tenants.entry(tenant).or_default().unread_position.get_or_insert(position);
        }
        self.skip(position);
    }

    /// Tenants with readings to flush, in the order of their ids: what makes their keys draws
    /// random numbers, and a simulation has to repeat itself.
    pub(crate) fn dirty_tenants(&self) -> Vec<TenantId> {
        let dirty = self.tenants.iter().filter(|(_, table)| table.first_position.is_some());
        let mut dirty: Vec<TenantId> = dirty.map(|(id, _)| *id).collect();
        dirty.sort_unstable();
        dirty
    }

    /// Puts recovered latest values in place, unless what arrived meanwhile is newer; none when
    /// their key is out of reach, to be tried again.
    pub(crate) fn restore_latest(
        &mut self,
        tenant: TenantId,
        latest: Option<Vec<(DeviceId, Latest)>>,
    ) {
        let table = self.tenants.entry(tenant).or_default();
        table.latest_unread = latest.is_none();
        for (device, latest) in latest.into_iter().flatten() {
            let device = table.devices.entry(device).or_default();
            let before = device.size();
            match device.by_key.get(&latest.key) {
                None => drop(device.add(latest)),
                Some(place) => {
                    let slot = &mut device.slots[*place];
                    if slot.latest.at < latest.at {
                        let (more, less) = (latest.bytes(), slot.latest.bytes());
                        device.latest_bytes = device.latest_bytes + more - less;
                        slot.latest = latest;
                    }
                }
            }
            let after = device.size();
            table.latest.change(before, after);
            self.latest.change(before, after);
        }
    }

    /// Tenants whose stored latest values could not be read yet, and where those are.
    pub(crate) fn latest_unread(&self) -> Vec<(TenantId, LatestPlace)> {
        let unread = self.tenants.iter().filter(|(_, table)| table.latest_unread);
        let place = |id| self.catalog.tenants.get(id)?.latest.clone();
        unread.filter_map(|(id, _)| Some((*id, place(id)?))).collect()
    }

    /// Moves the readings of every tenant but the `held` into a frozen table.
    pub(crate) fn freeze(&mut self, held: impl Fn(TenantId) -> bool) -> Arc<Frozen> {
        let mut tenants = HashMap::new();
        let mut end_position = self.gap_position.unwrap_or(self.next_position);
        self.held_bytes = 0;
        for (id, table) in &mut self.tenants {
            end_position = table.unread_position.map_or(end_position, |at| at.min(end_position));
            let Some(first_position) = table.first_position else { continue };
            if held(*id) {
                end_position = end_position.min(first_position);
                table.held_bytes = table.bytes;
                self.held_bytes += table.bytes;
                continue;
            }
            tenants.insert(*id, table.freeze());
        }
        let bytes = tenants.values().map(|tenant: &FrozenTenant| tenant.bytes).sum();
        self.bytes -= bytes;
        self.oldest_applied = None;
        let frozen = Arc::new(Frozen { tenants, end_position, bytes });
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Takes a frozen table back whose flush cannot be finished.
    pub(crate) fn thaw(&mut self, frozen: &Arc<Frozen>, now: Duration) {
        for (id, tenant) in &frozen.tenants {
            if self.leave_frozen(*id, tenant.first_position) {
                continue;
            }
            self.bytes += tenant.bytes;
            let table = self.tenants.entry(*id).or_default();
            table.first_position = tenant.first_position.or(table.first_position);
            table.bytes += tenant.bytes;
            for (device, series) in &tenant.devices {
                let device = table.devices.entry(*device).or_default();
                device.dirty = true;
                for (key, rows) in series {
                    let Some(place) = device.by_key.get(key) else { continue };
                    let mut restored = rows.clone();
                    restored.append(&device.slots[*place].rows, key);
                    device.slots[*place].rows = restored;
                }
            }
        }
        self.oldest_applied = Some(now);
        self.frozen = None;
    }

    /// Drops everything of a tenant whose keys no longer exist.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        if let Some(table) = self.tenants.remove(&tenant) {
            self.bytes -= table.bytes;
            self.latest.change(table.latest, LatestSize::default());
        }
    }

    /// What the latest values of a tenant's devices take.
    pub(crate) fn latest_size(&self, tenant: TenantId) -> LatestSize {
        self.tenants.get(&tenant).map_or_else(LatestSize::default, |table| table.latest)
    }

    /// Bytes of readings that the next flush can write.
    pub(crate) const fn bytes_flushable(&self) -> usize {
        self.bytes.saturating_sub(self.held_bytes)
    }

    /// Bytes that count against the bound of the memory table.
    pub(crate) fn bytes_bounded(&self) -> usize {
        self.bytes_flushable() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// The part of them that is a tenant's.
    pub(crate) fn bytes_bounded_of(&self, tenant: TenantId) -> usize {
        let waiting = self.tenants.get(&tenant).map_or(0, |table| table.bytes - table.held_bytes);
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.tenants.get(&tenant));
        waiting + frozen.map_or(0, |frozen| frozen.bytes)
    }

    /// Bytes of readings that are not in a segment yet.
    pub(crate) fn bytes_total(&self) -> usize {
        self.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// Bytes of a tenant: what is sealed, and its readings that are not in a segment yet.
    pub(crate) fn bytes_of(&self, tenant: TenantId) -> u64 {
        let waiting = self.tenants.get(&tenant).map_or(0, |table| table.bytes);
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.tenants.get(&tenant));
        let waiting = waiting + frozen.map_or(0, |frozen| frozen.bytes);
        self.catalog.tenants.get(&tenant).map_or(0, |stored| stored.bytes()) + waiting as u64
    }

    /// How many of a tenant's readings that are not in a segment yet are of such times.
    pub(crate) fn count_waiting(&self, tenant: TenantId, is_meant: impl Fn(i64) -> bool) -> u64 {
        let active = self.tenants.get(&tenant).into_iter().flat_map(|table| {
            let slots = table.devices.values().flat_map(|device| &device.slots);
            slots.map(|slot| &slot.rows)
        });
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.tenants.get(&tenant));
        let frozen = frozen.into_iter().flat_map(|table| table.devices.values().flatten());
        let rows = active.chain(frozen.map(|(_, rows)| rows));
        rows.flat_map(SeriesRows::times).filter(|at| is_meant(*at)).count() as u64
    }

    pub(crate) fn device(&self, tenant: TenantId, device: DeviceId) -> Option<&DeviceTable> {
        self.tenants.get(&tenant)?.devices.get(&device)
    }

    /// The rows of a series that are not in a segment, the newer table first.
    pub(crate) fn rows(
        &self,
        tenant: TenantId,
        device: DeviceId,
        key: &Key,
    ) -> [Option<&SeriesRows>; 2] {
        let active = self.device(tenant, device).and_then(|device| device.rows(key));
        let frozen = self.frozen.as_ref().and_then(|frozen| {
            let series = frozen.tenants.get(&tenant)?.devices.get(&device)?;
            series.iter().find(|(name, _)| name == key).map(|(_, rows)| rows)
        });
        [active, frozen]
    }
}

impl TenantTable {
    fn freeze(&mut self) -> FrozenTenant {
        let mut devices = HashMap::new();
        for (id, device) in &mut self.devices {
            if !std::mem::take(&mut device.dirty) {
                continue;
            }
            let series: Vec<(Key, SeriesRows)> = device
                .slots
                .iter_mut()
                .filter(|slot| !slot.rows.is_empty())
                .map(|slot| (slot.latest.key.clone(), std::mem::take(&mut slot.rows)))
                .collect();
            devices.insert(*id, series);
        }
        self.held_bytes = 0;
        FrozenTenant {
            devices,
            first_position: self.first_position.take(),
            bytes: std::mem::take(&mut self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::CredentialId;

    use super::*;

    fn batch(at: i64, value: i64) -> DeviceBatch {
        let reading = Reading {
            key: Key::new("n").expect("a key"),
            at: Timestamp::from_micros(at),
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

    #[test]
    fn a_thawed_table_is_as_if_it_had_never_been_frozen() {
        let mut memory = Memory::new(Arc::new(Catalog::default()));
        for (position, at, value) in [(0, 10, 1), (1, 20, 2)] {
            memory.apply(position, &batch(at, value), Duration::ZERO);
        }
        let bytes = memory.bytes_total();
        let frozen = memory.freeze(|_| false);
        assert_eq!((memory.bytes_flushable(), memory.bytes_bounded()), (0, bytes));
        assert_eq!(memory.bytes_of(batch(0, 0).tenant), bytes as u64);
        assert_eq!(memory.bytes_bounded_of(batch(0, 0).tenant), bytes);
        assert_eq!(memory.bytes_of(TenantId::from_bytes([9; 16])), 0);
        memory.apply(2, &batch(10, 3), Duration::ZERO);
        memory.apply(2, &batch(10, 99), Duration::ZERO);
        memory.thaw(&frozen, Duration::ZERO);
        assert!(memory.frozen.is_none());
        let again = memory.freeze(|_| false);
        assert_eq!((again.end_position, again.bytes > bytes), (3, true));
        let (tenant, device) = (batch(0, 0).tenant, batch(0, 0).device);
        let rows = &again.tenants[&tenant].devices[&device][0].1;
        let columns = rows.copy_between(i64::MIN, i64::MAX, false, usize::MAX);
        assert_eq!(columns[0].at, [10, 20]);
        assert_eq!(columns[0].as_ref().values.get(0), Value::Integer(3));
    }

    #[test]
    fn a_held_tenant_holds_the_position_and_nothing_else() {
        let mut memory = Memory::new(Arc::new(Catalog::default()));
        memory.skip(0);
        memory.apply(1, &batch(10, 1), Duration::ZERO);
        memory.skip(2);
        let frozen = memory.freeze(|_| true);
        assert_eq!((frozen.end_position, frozen.tenants.len()), (1, 0));
        assert_eq!((memory.bytes_flushable(), memory.bytes_bounded()), (0, 0));
        assert_eq!(memory.bytes_bounded_of(batch(0, 0).tenant), 0);
        assert!(memory.bytes_total() > 0);
        memory.frozen = None;
        assert_eq!(memory.freeze(|_| false).end_position, 3);
    }
}
