//! Devices behind gateways that were looked up a moment ago, by the names that the gateways use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as Line;
use veritwin_access::RateLimiter;
use veritwin_domain::{DeviceId, Shared, TenantId};

/// How long a device behind a gateway is believed to be there without asking again.
const CHILD_TTL: Duration = Duration::from_secs(300);
/// Most names of one gateway that are remembered.
const GATEWAY_CHILDREN_KEPT_MAX: usize = 10_000;
/// Most names of all gateways that are remembered.
const CHILDREN_KEPT_MAX: usize = 262_144;

pub(crate) type Gateway = (TenantId, DeviceId);

#[derive(Debug)]
struct Known {
    device: DeviceId,
    until: Duration,
}

#[derive(Debug, Default)]
struct Names {
    by_gateway: HashMap<Gateway, HashMap<Box<str>, Known>>,
    /// Which gateway knows a device by a name.
    of_device: HashMap<DeviceId, Gateway>,
    count: usize,
}

impl Names {
    fn drop_gateway(&mut self, gateway: &Gateway) {
        if let Some(gone) = self.by_gateway.remove(gateway) {
            self.count -= gone.len();
            for known in gone.values() {
                self.of_device.remove(&known.device);
            }
        }
    }

    /// Drops one device's names. Nothing is looked through but its gateway's.
    fn drop_device(&mut self, device: DeviceId) {
        let Some(gateway) = self.of_device.remove(&device) else { return };
        let Some(names) = self.by_gateway.get_mut(&gateway) else { return };
        let before = names.len();
        names.retain(|_, known| known.device != device);
        self.count -= before - names.len();
        if names.is_empty() {
            self.by_gateway.remove(&gateway);
        }
    }

    fn drop_old(&mut self, now: Duration) {
        let mut left = HashMap::new();
        self.by_gateway.retain(|gateway, names| {
            names.retain(|_, known| known.until > now);
            left.extend(names.values().map(|known| (known.device, *gateway)));
            !names.is_empty()
        });
        self.of_device = left;
        self.count = self.by_gateway.values().map(HashMap::len).sum();
    }
}

/// Devices behind gateways that were looked up a moment ago.
#[derive(Debug)]
pub(crate) struct ChildCache {
    names: Mutex<Names>,
    /// Counts changes: what was read before one is not kept after it.
    pub(crate) changes: AtomicU64,
    pub(crate) made: Mutex<RateLimiter<Gateway>>,
    /// Of each tenant, held while devices are made: two that name the same one make it once.
    making: Shared<TenantId, Line<()>>,
}

impl Default for ChildCache {
    fn default() -> Self {
        Self {
            names: Mutex::default(),
            changes: AtomicU64::new(0),
            made: Mutex::new(RateLimiter::new("gateway_devices_made_per_second")),
            making: Shared::default(),
        }
    }
}

impl ChildCache {
    pub(crate) fn find<'a>(
        &self,
        gateway: Gateway,
        wanted: impl Iterator<Item = &'a str>,
        now: Duration,
    ) -> Vec<Option<DeviceId>> {
        let names = self.names.lock();
        let known = names.by_gateway.get(&gateway);
        let find = |name: &str| {
            let known = known?.get(name)?;
            (known.until > now).then_some(known.device)
        };
        wanted.map(find).collect()
    }

    pub(crate) fn keep(
        &self,
        gateway: Gateway,
        found: &[(&str, DeviceId)],
        now: Duration,
        changes: u64,
    ) {
        let mut names = self.names.lock();
        if self.changes.load(Ordering::SeqCst) != changes {
            return;
        }
        let held = names.by_gateway.get(&gateway).map_or(0, HashMap::len);
        if held + found.len() > GATEWAY_CHILDREN_KEPT_MAX {
            names.drop_gateway(&gateway);
        }
        if names.count + found.len() > CHILDREN_KEPT_MAX {
            names.drop_old(now);
        }
        if names.count + found.len() > CHILDREN_KEPT_MAX {
            return;
        }
        let Names { by_gateway, of_device, count } = &mut *names;
        let of_gateway = by_gateway.entry(gateway).or_default();
        let before = of_gateway.len();
        for (name, device) in found {
            of_gateway.insert((*name).into(), Known { device: *device, until: now + CHILD_TTL });
            of_device.insert(*device, gateway);
        }
        *count += of_gateway.len() - before;
    }

    /// Where those wait that make devices of a tenant: nobody waits for another tenant's.
    pub(crate) fn line(&self, tenant: TenantId) -> Arc<Line<()>> {
        self.making.of(tenant, Line::default)
    }

    /// Forgets a device, as a gateway and behind one.
    pub(crate) fn forget(&self, device: DeviceId) {
        let mut names = self.names.lock();
        self.changes.fetch_add(1, Ordering::SeqCst);
        names.drop_device(device);
        let itself = names.by_gateway.keys().find(|gateway| gateway.1 == device).copied();
        if let Some(gateway) = itself {
            names.drop_gateway(&gateway);
        }
    }

    pub(crate) fn forget_all(&self) {
        let mut names = self.names.lock();
        self.changes.fetch_add(1, Ordering::SeqCst);
        *names = Names::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Gateway = (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));

    fn find(cache: &ChildCache, owner: Gateway, name: &str, seconds: u64) -> Option<DeviceId> {
        cache.find(owner, [name].into_iter(), Duration::from_secs(seconds))[0]
    }

    #[test]
    fn a_name_is_one_gateways_own_and_is_forgotten_in_time() {
        let (cache, device) = (ChildCache::default(), DeviceId::from_bytes([3; 16]));
        cache.keep(OWNER, &[("meter", device)], Duration::ZERO, 0);
        assert_eq!(find(&cache, OWNER, "meter", 1), Some(device));
        let other = (TenantId::from_bytes([9; 16]), OWNER.1);
        assert_eq!(find(&cache, other, "meter", 1), None);
        assert_eq!(find(&cache, OWNER, "meter", 300), None);
        cache.forget(device);
        assert_eq!(find(&cache, OWNER, "meter", 1), None);
        // What was read before the change is not kept after it.
        cache.keep(OWNER, &[("meter", device)], Duration::ZERO, 0);
        assert_eq!(find(&cache, OWNER, "meter", 1), None);
        cache.keep(OWNER, &[("meter", device), (" meter", device)], Duration::ZERO, 1);
        cache.forget(OWNER.1);
        assert_eq!((find(&cache, OWNER, "meter", 1), cache.names.lock().count), (None, 0));
        // By whatever name it was called, and nothing else.
        let other = DeviceId::from_bytes([4; 16]);
        let all = [("meter", device), (" meter", device), ("other", other)];
        cache.keep(OWNER, &all, Duration::ZERO, 2);
        cache.forget(device);
        assert_eq!(find(&cache, OWNER, " meter", 1), None);
        assert_eq!((find(&cache, OWNER, "other", 1), cache.names.lock().count), (Some(other), 1));
        cache.names.lock().drop_old(Duration::from_secs(300));
        let names = cache.names.lock();
        assert_eq!((names.count, names.of_device.len()), (0, 0));
    }

    #[test]
    fn who_makes_devices_holds_up_no_other_tenant() {
        let cache = ChildCache::default();
        let (one, other) = (cache.line(OWNER.0), cache.line(TenantId::from_bytes([9; 16])));
        let held = one.try_lock().expect("free");
        assert!(cache.line(OWNER.0).try_lock().is_err(), "one after the other");
        assert!(other.try_lock().is_ok());
        drop(held);
        assert!(cache.line(OWNER.0).try_lock().is_ok());
    }

    #[test]
    fn names_that_are_remembered_are_bounded() {
        let (cache, device) = (ChildCache::default(), DeviceId::from_bytes([3; 16]));
        for number in 0..=GATEWAY_CHILDREN_KEPT_MAX {
            let name = number.to_string();
            cache.keep(OWNER, &[(name.as_str(), device)], Duration::ZERO, 0);
        }
        assert_eq!(cache.names.lock().count, 1);
    }
}
