//! Who decides and stores a device's attributes next: the writers of one device come one after the
//! other, in the order of their arrival, and a few devices of a tenant at once. Refuses to let
//! anybody wait beyond a bound, by its name.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{Mutex as Line, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use veritwin_domain::{DeviceId, LimitExceeded, Shared, TenantId};

use crate::{Error, Result, Submission};

/// Most submissions of a tenant whose attributes are decided and stored at once: each holds a
/// scope in memory, and all writers of the tenant share its turns at the records.
const TENANT_WRITES_MAX: usize = 4;
/// Of a device, one submission is stored at a time that writes attributes or retains messages.
const DEVICE_WRITES_MAX: usize = 1;
/// How long a submission waits for those before it, of its device and of its tenant.
pub(crate) const TURN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The bound of who writes attributes, and the one of who only waits for those who do.
const OF_TENANT: (&str, usize) = ("tenant_attribute_writes_max", TENANT_WRITES_MAX);
const OF_DEVICE: (&str, usize) = ("device_writes_max", DEVICE_WRITES_MAX);

type Owned = (TenantId, DeviceId);

/// A place at the head of a device's line.
pub(crate) type Place = OwnedMutexGuard<()>;

/// The lines of devices and tenants whose attributes are on their way.
#[derive(Default)]
pub(crate) struct AttributeLines {
    devices: Shared<Owned, Line<()>>,
    tenants: Shared<TenantId, Semaphore>,
}

/// What a submission holds until its attributes are stored.
pub(crate) struct Turn {
    _places: Vec<Place>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AttributeLines {
    /// Waits until nobody else writes attributes of these devices or retains messages of theirs,
    /// and, to write attributes, for one of the tenant's places.
    pub(crate) async fn turn(
        &self,
        tenant: TenantId,
        devices: &BTreeSet<DeviceId>,
        writes: bool,
    ) -> Result<Turn> {
        let places = async {
            let mut places = Vec::with_capacity(devices.len());
            // Always in the order of the ids: two submissions never wait for each other.
            for device in devices {
                let line = self.devices.of((tenant, *device), Line::default);
                places.push(line.lock_owned().await);
            }
            if !writes {
                return Turn { _places: places, _permit: None };
            }
            let permits = self.tenants.of(tenant, || Semaphore::new(TENANT_WRITES_MAX));
            // Never closed: there is always a permit to come.
            let permit = permits.acquire_owned().await.ok();
            Turn { _places: places, _permit: permit }
        };
        let (name, max) = if writes { OF_TENANT } else { OF_DEVICE };
        tokio::time::timeout(TURN_WAIT_MAX, places).await.map_err(|_| crowded(name, max))
    }

    /// Waits behind what the device sent before, if attributes are on their way there: the log has
    /// what one connection sends in its order.
    pub(crate) async fn behind(&self, tenant: TenantId, device: DeviceId) -> Result<Option<Place>> {
        let Some(line) = self.devices.known(&(tenant, device)) else { return Ok(None) };
        let place = tokio::time::timeout(TURN_WAIT_MAX, line.lock_owned()).await;
        place.map(Some).map_err(|_| crowded(OF_DEVICE.0, OF_DEVICE.1))
    }
}

/// What is told to who has waited too long behind so many.
pub(crate) fn crowded(name: &'static str, max: usize) -> Error {
    Error::Crowded(LimitExceeded { name, max, actual: LimitExceeded::MORE })
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
        Submission::Note(note) => note.device,
        Submission::Edge(edge) => edge.device,
    });
    let first = devices.next()?;
    devices.all(|device| device == first).then_some(first)
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
        lines.turn(tenant, &devices, true).now_or_never().map(|turn| turn.expect("a turn"))
    }

    #[tokio::test]
    async fn one_device_waits_for_itself_and_a_tenant_for_its_own() {
        let lines = AttributeLines::default();
        let first = now(&lines, TENANT, 0).expect("free");
        assert!(now(&lines, TENANT, 0).is_none(), "one after the other");
        let mut held: Vec<Turn> =
            (1..TENANT_WRITES_MAX).map(|number| now(&lines, TENANT, number).unwrap()).collect();
        assert!(now(&lines, TENANT, TENANT_WRITES_MAX).is_none(), "the tenant's places are taken");
        let devices = BTreeSet::from([device(TENANT_WRITES_MAX)]);
        assert!(lines.turn(TENANT, &devices, false).now_or_never().is_some(), "none is needed");
        let other = TenantId::from_bytes([2; 16]);
        assert!(now(&lines, other, 0).is_some());
        held.pop();
        assert!(now(&lines, TENANT, TENANT_WRITES_MAX).is_some());
        drop(first);
        assert!(now(&lines, TENANT, 0).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let lines = AttributeLines::default();
        let held = now(&lines, TENANT, 0).expect("free");
        let devices = BTreeSet::from([device(0)]);
        let bound = |late: Option<Error>| match late {
            Some(Error::Crowded(limit)) => (limit.name, limit.max),
            other => panic!("{other:?}"),
        };
        let of_device = ("device_writes_max", 1);
        assert_eq!(bound(lines.turn(TENANT, &devices, false).await.err()), of_device);
        assert_eq!(bound(lines.behind(TENANT, device(0)).await.err()), of_device);
        let of_tenant = ("tenant_attribute_writes_max", TENANT_WRITES_MAX);
        assert_eq!(bound(lines.turn(TENANT, &devices, true).await.err()), of_tenant);
        drop(held);
        assert!(lines.turn(TENANT, &devices, true).await.is_ok());
    }

    #[tokio::test]
    async fn readings_stay_behind_the_attributes_before_them() {
        let lines = AttributeLines::default();
        assert!(lines.behind(TENANT, device(0)).await.unwrap().is_none(), "nothing is on its way");
        let first = now(&lines, TENANT, 0).expect("free");
        let devices = BTreeSet::from([device(0)]);
        let (second, third) = (lines.turn(TENANT, &devices, true), lines.behind(TENANT, device(0)));
        pin_mut!(second, third);
        assert!(poll!(second.as_mut()).is_pending() && poll!(third.as_mut()).is_pending());
        assert!(lines.behind(TENANT, device(1)).await.unwrap().is_none());
        drop(first);
        assert!(poll!(third.as_mut()).is_pending(), "after the second");
        drop(second.await);
        assert!(third.await.unwrap().is_some());
        assert!(lines.behind(TENANT, device(0)).await.unwrap().is_none(), "forgotten");
    }
}
