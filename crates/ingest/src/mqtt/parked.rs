//! Sessions without a connection, in the order in which they end: of all, of each tenant and of
//! each device. Over a bound the session that ends first goes, of whoever is over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use veritwin_domain::{DeviceId, TenantId};

use super::session::SessionKey;

/// Most sessions that are kept without a connection. Over it the tenant with most gives one up.
pub const DETACHED_SESSIONS_MAX: usize = 50_000;
/// The same of one tenant.
pub const TENANT_DETACHED_SESSIONS_MAX: usize = 25_000;
/// The same of one device.
pub const DEVICE_DETACHED_SESSIONS_MAX: usize = 16;

/// When a session ends, on the monotonic clock, and its number.
pub(super) type Place = (Duration, u64);

/// All sessions without a connection.
#[derive(Debug, Default)]
pub(super) struct Parked {
    all: BTreeMap<Place, SessionKey>,
    tenants: HashMap<TenantId, BTreeSet<Place>>,
    devices: HashMap<(TenantId, DeviceId), BTreeSet<Place>>,
    /// Every tenant by how many it has.
    by_count: BTreeSet<(usize, TenantId)>,
}

impl Parked {
    pub(super) fn insert(&mut self, key: &SessionKey, place: Place) {
        if self.all.insert(place, key.clone()).is_some() {
            return;
        }
        self.devices.entry((key.tenant, key.device)).or_default().insert(place);
        let of_tenant = self.tenants.entry(key.tenant).or_default();
        of_tenant.insert(place);
        let count = of_tenant.len();
        self.by_count.remove(&(count - 1, key.tenant));
        self.by_count.insert((count, key.tenant));
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<SessionKey> {
        let key = self.all.remove(&place)?;
        let device = (key.tenant, key.device);
        if let Some(places) = self.devices.get_mut(&device) {
            places.remove(&place);
            if places.is_empty() {
                self.devices.remove(&device);
            }
        }
        if let Some(places) = self.tenants.get_mut(&key.tenant) {
            self.by_count.remove(&(places.len(), key.tenant));
            places.remove(&place);
            if places.is_empty() {
                self.tenants.remove(&key.tenant);
            } else {
                self.by_count.insert((places.len(), key.tenant));
            }
        }
        Some(key)
    }

    /// Those of one device.
    pub(super) fn of(&self, tenant: TenantId, device: DeviceId) -> Vec<SessionKey> {
        let places = self.devices.get(&(tenant, device)).into_iter().flatten();
        places.filter_map(|place| self.all.get(place).cloned()).collect()
    }

    /// Takes out a session that has ended by now.
    pub(super) fn take_ended(&mut self, now: Duration) -> Option<SessionKey> {
        let place = *self.all.first_key_value()?.0;
        if now < place.0 { None } else { self.remove(place) }
    }

    /// Takes out the session that has to go because `key` was put in, with the bound.
    pub(super) fn take_over_bound(
        &mut self,
        key: &SessionKey,
    ) -> Option<(SessionKey, &'static str)> {
        let over = |places: Option<&BTreeSet<Place>>, max: usize| {
            places.filter(|places| places.len() > max)?.first().copied()
        };
        let of_device = self.devices.get(&(key.tenant, key.device));
        let of_tenant = self.tenants.get(&key.tenant);
        let (place, limit) = if let Some(place) = over(of_device, DEVICE_DETACHED_SESSIONS_MAX) {
            (place, "device_detached_sessions_max")
        } else if let Some(place) = over(of_tenant, TENANT_DETACHED_SESSIONS_MAX) {
            (place, "tenant_detached_sessions_max")
        } else if self.all.len() > DETACHED_SESSIONS_MAX {
            let (_, largest) = self.by_count.last()?;
            (*self.tenants.get(largest)?.first()?, "detached_sessions_max")
        } else {
            return None;
        };
        self.remove(place).map(|key| (key, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: u8, device: u16, client_id: &str) -> SessionKey {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&device.to_be_bytes());
        SessionKey {
            tenant: TenantId::from_bytes([tenant; 16]),
            device: DeviceId::from_bytes(bytes),
            client_id: client_id.to_owned(),
        }
    }

    /// Puts a session in, and gives who goes.
    fn put(parked: &mut Parked, number: u64, key: &SessionKey) -> Option<(u8, &'static str)> {
        parked.insert(key, (Duration::from_secs(number), number));
        let gone = parked.take_over_bound(key);
        gone.map(|(key, limit)| (key.tenant.as_bytes()[0], limit))
    }

    #[test]
    fn whoever_is_over_a_bound_gives_up_a_session() {
        let (mut parked, mut numbers) = (Parked::default(), 1u64..);
        let mut next = || numbers.next().unwrap();
        for _ in 0..DEVICE_DETACHED_SESSIONS_MAX {
            assert_eq!(put(&mut parked, next(), &key(1, 0, "c")), None);
        }
        let gone = put(&mut parked, next(), &key(1, 0, "c"));
        assert_eq!(gone, Some((1, "device_detached_sessions_max")));
        let of_one = u16::try_from(TENANT_DETACHED_SESSIONS_MAX).unwrap();
        for device in 1..=of_one - 16 {
            assert_eq!(put(&mut parked, next(), &key(1, device, "c")), None, "{device}");
        }
        let gone = put(&mut parked, next(), &key(1, of_one, "c"));
        assert_eq!(gone, Some((1, "tenant_detached_sessions_max")));
        for device in 0..of_one - 1 {
            assert_eq!(put(&mut parked, next(), &key(2, device, "c")), None, "{device}");
        }
        assert_eq!(put(&mut parked, next(), &key(3, 0, "c")), None);
        // The largest tenant gives one up, not the one that came last.
        let gone = put(&mut parked, next(), &key(3, 1, "c"));
        assert_eq!(gone, Some((1, "detached_sessions_max")));
        assert_eq!(parked.all.len(), DETACHED_SESSIONS_MAX);
    }

    #[test]
    fn the_sessions_of_one_device_are_found() {
        let mut parked = Parked::default();
        for number in 0..6u16 {
            let key = key(1, number % 2, &number.to_string());
            parked.insert(&key, (Duration::ZERO, u64::from(number)));
        }
        let (tenant, device) = (key(1, 1, "").tenant, key(1, 1, "").device);
        let own = |parked: &Parked| -> Vec<String> {
            parked.of(tenant, device).into_iter().map(|key| key.client_id).collect()
        };
        assert_eq!(own(&parked), ["1", "3", "5"]);
        parked.remove((Duration::ZERO, 3));
        assert_eq!(own(&parked), ["1", "5"]);
        assert!(parked.of(key(2, 1, "").tenant, device).is_empty());
    }

    #[test]
    fn sessions_end_in_their_order_and_leave_nothing_behind() {
        let mut parked = Parked::default();
        let at = |number: u64| (Duration::from_secs(number % 3), number);
        for number in 0..6 {
            parked.insert(&key(1, 7, &number.to_string()), at(number));
        }
        assert!(parked.remove(at(0)).is_some());
        assert!(parked.remove(at(0)).is_none());
        let mut ended = Vec::new();
        while let Some(key) = parked.take_ended(Duration::from_secs(1)) {
            ended.push(key.client_id);
        }
        assert_eq!(ended, ["3", "1", "4"]);
        while parked.take_ended(Duration::from_secs(2)).is_some() {}
        assert!(parked.all.is_empty() && parked.tenants.is_empty());
        assert!(parked.devices.is_empty() && parked.by_count.is_empty());
    }
}
