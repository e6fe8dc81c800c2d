//! What a destruction means of what is in memory: readings that are not in a segment yet, and
//! latest values.

use std::collections::HashSet;

use veritwin_domain::{DeviceId, Key, Quality, TenantId, Timestamp, Value};

use super::{DeviceTable, Latest, LatestSize, Memory};
use crate::catalog::Window;
use crate::selection::{Meant, Selection};
use crate::series::SeriesRows;

/// A row with its time in microseconds.
type Row = (i64, Value, Quality);

fn is_meant(selection: &Selection, device: DeviceId, latest: &Latest) -> bool {
    let meant = selection.meant(device, &latest.key);
    selection.takes(&meant, Window::All, latest.at.as_micros())
}

impl DeviceTable {
    /// Takes latest values away that are meant; of a series with rows that arrived since, here or
    /// on their way into a segment, the newest is its latest instead.
    fn forget_latest(
        &mut self,
        is_meant: impl Fn(&Latest) -> bool,
        under_way: impl Fn(&Key) -> Option<Row>,
    ) {
        let before = self.slots.len();
        self.slots.retain_mut(|slot| {
            if !is_meant(&slot.latest) {
                return true;
            }
            let newest = slot.rows.newest().or_else(|| under_way(&slot.latest.key));
            let Some((at, value, quality)) = newest else { return false };
            slot.latest.at = Timestamp::from_micros(at);
            (slot.latest.value, slot.latest.quality) = (value, quality);
            true
        });
        self.latest_bytes = self.slots.iter().map(|slot| slot.latest.bytes()).sum();
        if self.slots.len() < before {
            let places = self.slots.iter().enumerate();
            let places = places.map(|(place, slot)| (slot.latest.key.clone(), place));
            self.by_key = places.collect();
            self.guess = 0;
        }
    }
}

impl Memory {
    /// How many readings that are not in a segment yet are meant, by series; a series may come
    /// twice.
    pub(crate) fn meant_waiting(&self, selection: &Selection) -> Vec<(DeviceId, Key, u64)> {
        let mut found = Vec::new();
        let mut note = |device: DeviceId, key: &Key, rows: &SeriesRows| {
            let meant = selection.meant(device, key);
            if matches!(meant, Meant::No) {
                return;
            }
            let times = rows.times().filter(|at| selection.takes(&meant, Window::All, *at));
            let points = times.count() as u64;
            if points > 0 {
                found.push((device, key.clone(), points));
            }
        };
        if let Some(table) = self.tenants.get(&selection.tenant) {
            for (id, device) in &table.devices {
                device.slots.iter().for_each(|slot| note(*id, &slot.latest.key, &slot.rows));
            }
        }
        let frozen = self.frozen.as_ref().and_then(|all| all.tenants.get(&selection.tenant));
        for (id, series) in frozen.into_iter().flat_map(|table| &table.devices) {
            series.iter().for_each(|(key, rows)| note(*id, key, rows));
        }
        found
    }

    /// The series whose latest values are meant.
    pub(crate) fn meant_latest(&self, selection: &Selection) -> HashSet<(DeviceId, Key)> {
        let mut found = HashSet::new();
        let Some(table) = self.tenants.get(&selection.tenant) else { return found };
        for (id, device) in &table.devices {
            let meant = device.latest().filter(|latest| is_meant(selection, *id, latest));
            found.extend(meant.map(|latest| (*id, latest.key.clone())));
        }
        found
    }

    /// Takes latest values of these series away that are meant, and puts in what was before them.
    pub(crate) fn replace_latest(
        &mut self,
        selection: &Selection,
        series: &HashSet<(DeviceId, Key)>,
        before: Vec<(DeviceId, Latest)>,
    ) {
        let frozen = self.frozen.clone();
        let frozen = frozen.as_ref().and_then(|all| all.tenants.get(&selection.tenant));
        let Some(table) = self.tenants.get_mut(&selection.tenant) else { return };
        let mut after = LatestSize::default();
        for (id, device) in &mut table.devices {
            let goes = |latest: &Latest| {
                is_meant(selection, *id, latest) && series.contains(&(*id, latest.key.clone()))
            };
            let under_way = |key: &Key| {
                let mut rows = frozen?.devices.get(id)?.iter();
                rows.find(|(name, _)| name == key)?.1.newest()
            };
            device.forget_latest(goes, under_way);
            after.change(LatestSize::default(), device.size());
        }
        self.latest.change(table.latest, after);
        table.latest = after;
        let is_unread = table.latest_unread;
        self.restore_latest(selection.tenant, Some(before));
        if let Some(table) = self.tenants.get_mut(&selection.tenant) {
            table.latest_unread = is_unread;
            table.devices.retain(|_, device| !device.slots.is_empty());
        }
    }

    /// Everything of a tenant in the log before this position is stored, whatever waits for the
    /// keys of others.
    pub(crate) fn stored_to(&self, tenant: TenantId) -> u64 {
        let table = self.tenants.get(&tenant).into_iter();
        let waiting = table.flat_map(|table| [table.first_position, table.unread_position]);
        let frozen = self.frozen.as_ref().and_then(|all| all.tenants.get(&tenant));
        let frozen = frozen.and_then(|table| table.first_position);
        let open = waiting.chain([frozen, self.gap_position]).flatten();
        open.fold(self.next_position, u64::min)
    }
}
