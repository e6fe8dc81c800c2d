//! The last messages of each device that were refused where the protocol cannot say so (MQTT 3.1.1,
//! QoS 0): what was wrong, where, which limit, and nothing the device wrote. Bounded and in memory;
//! the durable record of each is in the log.

use std::collections::{HashMap, HashSet, VecDeque};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::Action;
use veritwin_domain::{DeviceId, OpContext, TenantId, Timestamp};

use crate::model::RefusalView;
use crate::{App, Result};

/// Most refusals that are remembered of one device.
const REFUSALS_PER_DEVICE_MAX: usize = 20;
/// Most devices whose refusals are remembered; the one that was refused longest ago makes room.
const DEVICES_MAX: usize = 5_000;

type Owned = (TenantId, DeviceId);

/// The last refusals by device, the newest first.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Owned, VecDeque<RefusalView>>>);

impl Refusals {
    pub(crate) fn note(&self, owned: Owned, refusal: RefusalView) {
        let mut known = self.0.lock();
        if known.len() >= DEVICES_MAX && !known.contains_key(&owned) {
            let newest = |(_, list): &(&Owned, &VecDeque<RefusalView>)| {
                list.front().map_or(Timestamp::MIN, |refusal| refusal.at)
            };
            if let Some(oldest) = known.iter().min_by_key(newest).map(|(owned, _)| *owned) {
                known.remove(&oldest);
            }
        }
        let list = known.entry(owned).or_default();
        list.truncate(REFUSALS_PER_DEVICE_MAX - 1);
        list.push_front(refusal);
    }

    /// The newest one of a device.
    pub(crate) fn newest(&self, owned: Owned) -> Option<RefusalView> {
        self.0.lock().get(&owned).and_then(VecDeque::front).cloned()
    }

    /// The devices of a tenant that have any.
    pub(crate) fn devices_of(&self, tenant: TenantId) -> HashSet<DeviceId> {
        let known = self.0.lock();
        known.keys().filter(|(of, _)| *of == tenant).map(|(_, device)| *device).collect()
    }

    pub(crate) fn forget(&self, owned: Owned) {
        self.0.lock().remove(&owned);
    }

    pub(crate) fn of(&self, owned: Owned) -> Vec<RefusalView> {
        self.0.lock().get(&owned).map(|list| list.iter().cloned().collect()).unwrap_or_default()
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
        for number in 1..=DEVICES_MAX {
            refusals.note(device(number), refusal(100 + number));
        }
        assert_eq!(refusals.of(device(0)), [], "refused longest ago");
        assert_eq!(refusals.of(device(1)).len(), 1);
        assert_eq!(refusals.newest(device(1)).map(|refusal| refusal.detail), Some("101".into()));
        assert_eq!(refusals.devices_of(tenant).len(), DEVICES_MAX);
        assert!(refusals.devices_of(TenantId::from_bytes([2; 16])).is_empty());
        refusals.forget(device(1));
        assert_eq!(refusals.newest(device(1)), None);
    }
}
