//! Devices that are looked at again from a time on: because what is on its way to them is over
//! then, or because something could not be done. Bounded, fair by tenant, and found by time: who is
//! not due costs nothing.

use std::collections::{BTreeSet, HashMap};

use veritwin_domain::{TenantId, Timestamp};

use super::calls::Note;
use super::devices::Owned;

/// Most devices that are looked at again. A tenant takes no more than it leaves free.
const LATER_MAX: usize = 200_000;
/// So many are woken at once; the others at the next look.
const WOKEN_MAX: usize = 4_096;

/// When, and why.
#[derive(Debug, Default)]
struct Entry {
    /// The call on its way is over, which has this number.
    over_at: Option<(Timestamp, u32)>,
    /// What could not be done is tried again.
    retry: Option<(Timestamp, Note)>,
}

impl Entry {
    fn retry_at(&self) -> Option<Timestamp> {
        self.retry.as_ref().map(|(at, _)| *at)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Later {
    devices: HashMap<Owned, Entry>,
    by_time: BTreeSet<(Timestamp, Owned)>,
    of_tenants: HashMap<TenantId, usize>,
    max: usize,
}

impl Default for Later {
    fn default() -> Self {
        Self::with_room(LATER_MAX)
    }
}

impl Later {
    fn with_room(max: usize) -> Self {
        let (devices, of_tenants) = (HashMap::new(), HashMap::new());
        Self { devices, by_time: BTreeSet::new(), of_tenants, max }
    }

    /// The entry of a device, if there is room for it.
    fn of(&mut self, device: Owned) -> Option<&mut Entry> {
        if !self.devices.contains_key(&device) {
            let free = self.max.saturating_sub(self.devices.len());
            let own = self.of_tenants.entry(device.0).or_default();
            if *own >= free {
                return None;
            }
            *own += 1;
        }
        Some(self.devices.entry(device).or_default())
    }

    /// The call on its way to a device is over at a time. One at a time is.
    pub(super) fn over_at(&mut self, device: Owned, (at, number): (Timestamp, u32)) -> bool {
        let Some(entry) = self.of(device) else { return false };
        let before = entry.over_at.replace((at, number)).map(|(before, _)| before);
        let before = before.filter(|before| entry.retry_at() != Some(*before));
        self.move_time(device, before, at);
        true
    }

    /// What could not be done for a device is tried again at a time.
    pub(super) fn retry_at(&mut self, device: Owned, at: Timestamp, note: Note) -> bool {
        let Some(entry) = self.of(device) else { return false };
        let over_at = entry.over_at.map(|(over_at, _)| over_at);
        let before = entry.retry_at().filter(|before| over_at != Some(*before));
        let known = entry.retry.take().map(|(_, known)| known).unwrap_or_default();
        entry.retry = Some((at, known.and(note)));
        self.move_time(device, before, at);
        true
    }

    fn move_time(&mut self, device: Owned, before: Option<Timestamp>, at: Timestamp) {
        if let Some(before) = before.filter(|before| *before != at) {
            self.by_time.remove(&(before, device));
        }
        self.by_time.insert((at, device));
    }

    /// Nothing is on its way to a device any more, or not the call with this number.
    pub(super) fn nothing_on_its_way(&mut self, device: Owned, number: Option<u32>) {
        let Some(entry) = self.devices.get_mut(&device) else { return };
        let is_it = |(_, own): &(Timestamp, u32)| number.is_none_or(|number| number == *own);
        let Some((at, _)) = entry.over_at.take_if(|over_at| is_it(over_at)) else { return };
        if entry.retry_at() != Some(at) {
            self.by_time.remove(&(at, device));
        }
        self.forget_empty(device);
    }

    fn forget_empty(&mut self, device: Owned) {
        let is_empty = |entry: &Entry| entry.over_at.is_none() && entry.retry.is_none();
        if self.devices.get(&device).is_some_and(is_empty) {
            self.devices.remove(&device);
            if let Some(own) = self.of_tenants.get_mut(&device.0) {
                *own -= 1;
                if *own == 0 {
                    self.of_tenants.remove(&device.0);
                }
            }
        }
    }

    /// Takes out some of what is due by now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<(Owned, Note)> {
        let mut due = Vec::new();
        while due.len() < WOKEN_MAX
            && let Some((at, device)) = self.by_time.first().copied()
            && at <= now
        {
            self.by_time.remove(&(at, device));
            let Some(entry) = self.devices.get_mut(&device) else { continue };
            entry.over_at = entry.over_at.filter(|(over_at, _)| *over_at > at);
            let note = match entry.retry.take() {
                Some((retry_at, note)) if retry_at <= at => note,
                not_yet => {
                    entry.retry = not_yet;
                    Note::default()
                }
            };
            self.forget_empty(device);
            due.push((device, note));
        }
        due
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::DeviceId;

    use super::*;

    fn owned(tenant: u8, device: u32) -> Owned {
        let device = DeviceId::from_bytes(u128::from(device).to_be_bytes());
        (TenantId::from_bytes([tenant; 16]), device)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn again() -> Note {
        Note { again: true, ..Note::default() }
    }

    #[test]
    fn a_device_is_woken_for_each_reason_in_its_time() {
        let mut later = Later::default();
        let device = owned(1, 1);
        assert!(later.over_at(device, (at(60), 1)) && later.retry_at(device, at(5), again()));
        assert!(later.take_due(at(4)).is_empty());
        let due = later.take_due(at(5));
        assert!(due.len() == 1 && due[0].1.again);
        // Another call is on its way by then.
        assert!(later.over_at(device, (at(90), 2)));
        assert!(later.take_due(at(89)).is_empty());
        assert_eq!(later.take_due(at(90)).len(), 1);
        assert_eq!((later.len(), later.by_time.len(), later.of_tenants.len()), (0, 0, 0));
        // At the same time it is woken once.
        assert!(later.over_at(device, (at(7), 3)) && later.retry_at(device, at(7), again()));
        assert!(later.over_at(device, (at(8), 4)));
        let due = later.take_due(at(7));
        assert!(due.len() == 1 && due[0].1.again && later.len() == 1);
    }

    #[test]
    fn what_is_not_on_its_way_any_more_is_forgotten() {
        let mut later = Later::default();
        assert!(later.over_at(owned(1, 1), (at(60), 5)));
        assert!(later.over_at(owned(1, 2), (at(60), 5)));
        assert!(later.retry_at(owned(1, 2), at(60), again()));
        later.nothing_on_its_way(owned(1, 1), Some(4));
        assert_eq!(later.len(), 2);
        later.nothing_on_its_way(owned(1, 1), Some(5));
        later.nothing_on_its_way(owned(1, 2), None);
        assert_eq!((later.len(), later.by_time.len()), (1, 1));
        assert_eq!(later.take_due(at(60)).len(), 1);
        assert_eq!(later.len(), 0);
    }

    #[test]
    fn a_tenant_leaves_room_for_others_and_few_are_woken_at_once() {
        let mut later = Later::with_room(10_000);
        let mut put = |tenant: u8, device: u32| later.over_at(owned(tenant, device), (at(1), 1));
        assert_eq!((0..20_000).filter(|device| put(1, *device)).count(), 5_000);
        assert!(put(2, 1) && put(1, 7), "one that is known has its place");
        assert_eq!(later.take_due(at(1)).len(), WOKEN_MAX);
        assert_eq!(later.len(), 5_001 - WOKEN_MAX);
    }
}
