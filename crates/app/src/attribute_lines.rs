//! Who decides and stores a device's attributes next: the writers of one device come one after the
//! other, in the order of their arrival, and a few devices of a tenant at once. Refuses to let
//! anybody wait beyond a bound, by its name.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use veritwin_domain::{DeviceId, LimitExceeded, TenantId};

use crate::{Error, Result, Submission};

/// Most submissions of a tenant whose attributes are decided and stored at once: each holds a
/// scope in memory, and all writers of the tenant share its turns at the records.
const TENANT_WRITES_MAX: usize = 4;
/// How long a submission waits for the others of its tenant.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Below so many lines nothing is swept.
const SWEEP_MIN: usize = 64;

type Owned = (TenantId, DeviceId);

/// A place at the head of a device's line.
pub(crate) type Place = OwnedMutexGuard<()>;

/// The lines of devices and tenants whose attributes are on their way.
#[derive(Default)]
pub(crate) struct AttributeLines {
    devices: Known<Owned, Line<()>>,
    tenants: Known<TenantId, Semaphore>,
}

/// What a submission holds until its attributes are stored.
pub(crate) struct Turn {
    _places: Vec<Place>,
    _permit: OwnedSemaphorePermit,
}

impl AttributeLines {
    /// Waits until nobody else writes attributes of these devices, and for one of the tenant's
    /// places.
    pub(crate) async fn turn(
        &self,
        tenant: TenantId,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<Turn> {
        let mut places = Vec::with_capacity(devices.len());
        // Always in the order of the ids: two submissions never wait for each other.
        for device in devices {
            places.push(self.devices.of((tenant, *device), || Line::new(())).lock_owned().await);
        }
        let max = TENANT_WRITES_MAX;
        let permits = self.tenants.of(tenant, || Semaphore::new(max));
        match tokio::time::timeout(TURN_WAIT_MAX, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _places: places, _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(Error::Crowded(LimitExceeded {
                name: "tenant_attribute_writes_max",
                max,
                actual: LimitExceeded::MORE,
            })),
        }
    }

    /// Waits behind what the device sent before, if attributes are on their way there: the log has
    /// what one connection sends in its order.
    pub(crate) async fn behind(&self, tenant: TenantId, device: DeviceId) -> Option<Place> {
        let line = self.devices.known(&(tenant, device))?;
        Some(line.lock_owned().await)
    }
}

/// The devices whose attributes these write.
pub(crate) fn devices_written(submissions: &[Submission]) -> BTreeSet<DeviceId> {
    let devices = submissions.iter().filter_map(|one| match one {
        Submission::ClientAttributes { device, .. } => Some(*device),
        _ => None,
    });
    devices.collect()
}

/// The device that all of these are of. A program's writes for many have no order to keep.
pub(crate) fn only_device(submissions: &[Submission]) -> Option<DeviceId> {
    let mut devices = submissions.iter().map(|one| match one {
        Submission::Readings(batch) => batch.device,
        Submission::ClientAttributes { device, .. } | Submission::Refusal { device, .. } => *device,
        Submission::Relay { message, .. } => message.device,
    });
    let first = devices.next()?;
    devices.all(|device| device == first).then_some(first)
}

/// What is shared by everybody who holds it, and forgotten when nobody does.
struct Known<K, V>(Mutex<Table<K, V>>);

struct Table<K, V> {
    shared: HashMap<K, Weak<V>>,
    /// What nobody holds is taken out when so many are known.
    sweep_at: usize,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Table { shared: HashMap::new(), sweep_at: 0 }))
    }
}

impl<K: Eq + Hash, V> Known<K, V> {
    fn of(&self, key: K, new: impl FnOnce() -> V) -> Arc<V> {
        let mut table = self.0.lock();
        if let Some(shared) = table.shared.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        if table.shared.len() >= table.sweep_at.max(SWEEP_MIN) {
            table.shared.retain(|_, shared| shared.strong_count() > 0);
            table.sweep_at = table.shared.len() * 2;
        }
        let shared = Arc::new(new());
        table.shared.insert(key, Arc::downgrade(&shared));
        shared
    }

    fn known(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().shared.get(key).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, pin_mut, poll};

    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn device(number: usize) -> DeviceId {
        DeviceId::from_bytes((number as u128).to_be_bytes())
    }

    fn now(lines: &AttributeLines, tenant: TenantId, number: usize) -> Option<Turn> {
        let devices = BTreeSet::from([device(number)]);
        lines.turn(tenant, &devices).now_or_never().map(|turn| turn.expect("a turn"))
    }

    #[tokio::test]
    async fn one_device_waits_for_itself_and_a_tenant_for_its_own() {
        let lines = AttributeLines::default();
        let first = now(&lines, TENANT, 0).expect("free");
        assert!(now(&lines, TENANT, 0).is_none(), "one after the other");
        let mut held: Vec<Turn> =
            (1..TENANT_WRITES_MAX).map(|number| now(&lines, TENANT, number).unwrap()).collect();
        assert!(now(&lines, TENANT, TENANT_WRITES_MAX).is_none(), "the tenant's places are taken");
        let other = TenantId::from_bytes([2; 16]);
        assert!(now(&lines, other, 0).is_some());
        held.pop();
        assert!(now(&lines, TENANT, TENANT_WRITES_MAX).is_some());
        drop(first);
        assert!(now(&lines, TENANT, 0).is_some());
    }

    #[tokio::test]
    async fn readings_stay_behind_the_attributes_before_them() {
        let lines = AttributeLines::default();
        assert!(lines.behind(TENANT, device(0)).await.is_none(), "nothing is on its way");
        let first = now(&lines, TENANT, 0).expect("free");
        let devices = BTreeSet::from([device(0)]);
        let (second, third) = (lines.turn(TENANT, &devices), lines.behind(TENANT, device(0)));
        pin_mut!(second, third);
        assert!(poll!(second.as_mut()).is_pending() && poll!(third.as_mut()).is_pending());
        assert!(lines.behind(TENANT, device(1)).await.is_none());
        drop(first);
        assert!(poll!(third.as_mut()).is_pending(), "after the second");
        drop(second.await);
        assert!(third.await.is_some());
        assert!(lines.behind(TENANT, device(0)).await.is_none(), "forgotten");
    }

    #[test]
    fn lines_that_nobody_stands_in_are_forgotten() {
        let lines = AttributeLines::default();
        let kept = lines.devices.of((TENANT, device(0)), || Line::new(()));
        for number in 1..10_000 {
            drop(lines.devices.of((TENANT, device(number)), || Line::new(())));
        }
        assert!(lines.devices.0.lock().shared.len() <= SWEEP_MIN);
        assert!(lines.devices.known(&(TENANT, device(0))).is_some());
        drop(kept);
    }
}
