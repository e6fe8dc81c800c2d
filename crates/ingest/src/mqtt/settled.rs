//! Messages that clients are done with, as the log tells them while sessions are restored. Bounded:
//! over the bound the tenant that has most forgets the first half of its own.

use std::collections::HashMap;
use std::sync::Arc;

use veritwin_domain::TenantId;

use super::session::SessionKey;

/// So many messages are remembered that clients are done with since the last round. Of those that
/// are forgotten that is known only when it is read again, and meanwhile they wait like any other.
const SETTLED_MAX: usize = 16 * 1024 * 1024;

/// The places of these messages, by session.
#[derive(Debug)]
pub(super) struct Settled {
    sessions: HashMap<SessionKey, Vec<u64>>,
    /// Those that were asked for, in their order.
    sorted: HashMap<SessionKey, Arc<[u64]>>,
    tenants: HashMap<TenantId, usize>,
    count: usize,
    max: usize,
}

impl Default for Settled {
    fn default() -> Self {
        Self::with_room(SETTLED_MAX)
    }
}

impl Settled {
    fn with_room(max: usize) -> Self {
        let (sessions, sorted, tenants) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { sessions, sorted, tenants, count: 0, max }
    }

    pub(super) fn add(&mut self, key: &SessionKey, places: Vec<u64>) {
        self.count += places.len();
        *self.tenants.entry(key.tenant).or_default() += places.len();
        match self.sessions.get_mut(key) {
            Some(known) => known.extend(places),
            None => {
                self.sessions.insert(key.clone(), places);
            }
        }
        while self.count > self.max && self.forget_some() {}
    }

    /// Whether there was anything to forget.
    fn forget_some(&mut self) -> bool {
        let largest = self.tenants.iter().max_by_key(|(_, count)| **count);
        let Some(tenant) = largest.map(|(tenant, _)| *tenant) else { return false };
        let mut forgotten = 0;
        for (_, places) in self.sessions.iter_mut().filter(|(key, _)| key.tenant == tenant) {
            let half = places.len().div_ceil(2);
            places.drain(..half);
            places.shrink_to_fit();
            forgotten += half;
        }
        self.count -= forgotten;
        if let Some(own) = self.tenants.get_mut(&tenant) {
            *own -= forgotten;
        }
        forgotten > 0
    }

    /// What a session is done with, in its order. Nothing is added for it any more.
    pub(super) fn of(&mut self, key: &SessionKey) -> Arc<[u64]> {
        if let Some(sorted) = self.sorted.get(key) {
            return Arc::clone(sorted);
        }
        let Some(mut places) = self.sessions.remove(key) else { return Arc::default() };
        places.sort_unstable();
        let sorted: Arc<[u64]> = places.into();
        self.sorted.insert(key.clone(), Arc::clone(&sorted));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::DeviceId;

    use super::*;

    fn key(tenant: u8, device: u8) -> SessionKey {
        let (tenant, device) =
            (TenantId::from_bytes([tenant; 16]), DeviceId::from_bytes([device; 16]));
        SessionKey { tenant, device, client_id: String::new() }
    }

    #[test]
    fn over_the_bound_the_tenant_that_has_most_forgets() {
        let mut settled = Settled::with_room(1_000);
        for from in (0..5_000).step_by(100) {
            settled.add(&key(1, 1), (from..from + 100).collect());
            assert!(settled.count <= 1_000);
        }
        settled.add(&key(1, 2), vec![2, 1]);
        for tenant in 2..=9 {
            settled.add(&key(tenant, 1), (0..50).rev().collect());
        }
        assert!(settled.count <= 1_000);
        for tenant in 2..=9 {
            assert_eq!(settled.of(&key(tenant, 1))[..], (0..50).collect::<Vec<u64>>()[..]);
        }
        let first = settled.of(&key(1, 1));
        assert!(!first.is_empty() && first.last() == Some(&4_999), "the last ones stay");
        assert!(settled.of(&key(3, 7)).is_empty());
    }
}
