//! The last messages of each device that were refused where the protocol cannot say so (MQTT 3.1.1,
//! QoS 0): what was wrong, where, which limit, and nothing the device wrote. Bounded and in memory;
//! the durable record of each is in the log.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::Action;
use veritwin_domain::{DeviceId, OpContext, TenantId};

use crate::model::RefusalView;
use crate::{App, Result};

/// Most refusals that are remembered of one device.
const REFUSALS_PER_DEVICE_MAX: usize = 20;
/// Most devices whose refusals are remembered. A tenant takes no more than it leaves free; beyond
/// that its own device that was refused longest ago makes room, or else that of all.
const DEVICES_MAX: usize = 5_000;

type Owned = (TenantId, DeviceId);

/// Those of one device, the newest first.
struct Listed {
    /// Its place among all in the order of the newest.
    turn: u64,
    list: VecDeque<RefusalView>,
}

#[derive(Default)]
struct Known {
    by_device: HashMap<Owned, Listed>,
    /// The devices of each tenant in the order of their newest refusal. None is empty.
    turns_of: HashMap<TenantId, BTreeMap<u64, DeviceId>>,
    turns: BTreeMap<u64, Owned>,
    last_turn: u64,
}

impl Known {
    fn remove(&mut self, owned: Owned) -> Option<Listed> {
        let listed = self.by_device.remove(&owned)?;
        self.turns.remove(&listed.turn);
        if let Some(own) = self.turns_of.get_mut(&owned.0) {
            own.remove(&listed.turn);
            if own.is_empty() {
                self.turns_of.remove(&owned.0);
            }
        }
        Some(listed)
    }

    /// Makes room for one more device of a tenant, if there is none.
    fn make_room(&mut self, tenant: TenantId) {
        let own = self.turns_of.get(&tenant);
        let free = DEVICES_MAX.saturating_sub(self.by_device.len());
        if own.map_or(0, BTreeMap::len) < free {
            return;
        }
        let oldest = match own.and_then(BTreeMap::first_key_value) {
            Some((_, device)) => Some((tenant, *device)),
            None => self.turns.first_key_value().map(|(_, owned)| *owned),
        };
        if let Some(oldest) = oldest {
            self.remove(oldest);
        }
    }

    fn list(&self, owned: Owned) -> Option<&VecDeque<RefusalView>> {
        self.by_device.get(&owned).map(|listed| &listed.list)
    }
}

/// The last refusals by device.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Known>);

impl Refusals {
    pub(crate) fn note(&self, owned: Owned, refusal: RefusalView) {
        let mut guard = self.0.lock();
        let known = &mut *guard;
        let mut list = match known.remove(owned) {
            Some(listed) => listed.list,
            None => {
                known.make_room(owned.0);
                VecDeque::new()
            }
        };
        list.truncate(REFUSALS_PER_DEVICE_MAX - 1);
        list.push_front(refusal);
        known.last_turn += 1;
        let turn = known.last_turn;
        known.by_device.insert(owned, Listed { turn, list });
        known.turns_of.entry(owned.0).or_default().insert(turn, owned.1);
        known.turns.insert(turn, owned);
    }

    /// The newest one of a device.
    pub(crate) fn newest(&self, owned: Owned) -> Option<RefusalView> {
        self.0.lock().list(owned).and_then(VecDeque::front).cloned()
    }

    /// The devices of a tenant that have any.
    pub(crate) fn devices_of(&self, tenant: TenantId) -> HashSet<DeviceId> {
        let known = self.0.lock();
        known.turns_of.get(&tenant).into_iter().flat_map(BTreeMap::values).copied().collect()
    }

    pub(crate) fn forget(&self, owned: Owned) {
        self.0.lock().remove(owned);
    }

    pub(crate) fn of(&self, owned: Owned) -> Vec<RefusalView> {
        self.0.lock().list(owned).map(|list| list.iter().cloned().collect()).unwrap_or_default()
    }
}

impl App {
    /// A message was refused and its sender was told why: the last ones are remembered, too.
    pub fn note_told(&self, tenant: TenantId, device: DeviceId, refusal: RefusalView) {
        self.0.told.note((tenant, device), refusal);
    }

    /// The newest refusal of a device since the platform started, told or not.
    pub(crate) fn last_refusal(&self, owned: Owned) -> Option<RefusalView> {
        let (untold, told) = (self.0.refusals.newest(owned), self.0.told.newest(owned));
        [untold, told].into_iter().flatten().max_by_key(|refusal| refusal.at)
    }

    /// The last refusals of a device since the platform started, the newest first.
    #[boxed]
    pub async fn refusals(&self, context: &OpContext, id: DeviceId) -> Result<Vec<RefusalView>> {
        let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
        self.0.store.read(context).await?.device(id).await?;
        self.note(context, Action::DeviceRead, &resource, "done");
        Ok(self.0.refusals.of((context.tenant, id)))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Timestamp;

    use super::*;

    fn refusal(number: usize) -> RefusalView {
        RefusalView {
            at: Timestamp::from_micros(i64::try_from(number).expect("small")),
            reason: "payload",
            detail: number.to_string(),
            position: None,
            limit: None,
            payload_bytes: 1,
        }
    }

    #[test]
    fn the_last_ones_of_each_device_are_kept() {
        let tenant = TenantId::from_bytes([1; 16]);
        let device = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&u64::try_from(number).expect("small").to_be_bytes());
            (tenant, DeviceId::from_bytes(bytes))
        };
        let refusals = Refusals::default();
        for number in 0..=REFUSALS_PER_DEVICE_MAX {
            refusals.note(device(0), refusal(number));
        }
        let kept = refusals.of(device(0));
        assert_eq!(kept.len(), REFUSALS_PER_DEVICE_MAX);
        assert_eq!((kept[0].detail.as_str(), kept[19].detail.as_str()), ("20", "1"));
        assert_eq!(refusals.of((TenantId::from_bytes([2; 16]), device(0).1)), []);
        // A tenant leaves others as much as it takes.
        let most = DEVICES_MAX / 2;
        for number in 1..=most {
            refusals.note(device(number), refusal(100 + number));
        }
        assert_eq!(refusals.of(device(0)), [], "refused longest ago");
        assert_eq!(refusals.of(device(1)).len(), 1);
        assert_eq!(refusals.newest(device(1)).map(|refusal| refusal.detail), Some("101".into()));
        assert_eq!(refusals.devices_of(tenant).len(), most);
        refusals.note(device(1), refusal(9_000));
        refusals.note(device(most + 1), refusal(9_001));
        assert_eq!((refusals.of(device(1)).len(), refusals.of(device(2)).len()), (2, 0));
        let other = TenantId::from_bytes([2; 16]);
        assert!(refusals.devices_of(other).is_empty());
        refusals.note((other, device(1).1), refusal(9_002));
        assert_eq!(
            (refusals.devices_of(other).len(), refusals.devices_of(tenant).len()),
            (1, most)
        );
        refusals.forget(device(1));
        assert_eq!(refusals.newest(device(1)), None);
        let known = refusals.0.into_inner();
        assert_eq!((known.by_device.len(), known.turns.len()), (most, most));
    }

    #[test]
    fn where_all_is_taken_a_tenant_with_nothing_finds_room() {
        let owned = |number: usize| {
            let bytes = (number as u128).to_be_bytes();
            (TenantId::from_bytes(bytes), DeviceId::from_bytes(bytes))
        };
        let refusals = Refusals::default();
        for number in 0..=DEVICES_MAX {
            refusals.note(owned(number), refusal(number));
        }
        assert_eq!(refusals.newest(owned(0)), None, "refused longest ago");
        assert!(refusals.newest(owned(DEVICES_MAX)).is_some());
        assert_eq!(refusals.0.into_inner().by_device.len(), DEVICES_MAX);
    }
}
