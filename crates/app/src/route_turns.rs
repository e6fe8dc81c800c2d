//! Which messages are on their way to places outside: one at a time to each place of a tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::{RouteDestinationId, TenantId};

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    busy: Mutex<HashSet<(TenantId, RouteDestinationId)>>,
    /// Until when a tenant is left alone, on the monotonic clock.
    resting: Mutex<HashMap<TenantId, Duration>>,
    /// Tenants whose lanes all wait for places that are busy.
    served: Mutex<HashSet<TenantId>>,
}

/// A delivery's place; given back when it is dropped.
pub(crate) struct Turn {
    all: Arc<UnderWay>,
    pub(crate) key: (TenantId, RouteDestinationId),
}

impl Turn {
    /// Leaves the tenant alone until then.
    pub(crate) fn rest(&self, until: Duration) {
        self.all.rest(self.key.0, until);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.all.busy.lock().remove(&self.key);
        self.all.served.lock().remove(&self.key.0);
    }
}

impl UnderWay {
    pub(crate) fn turn(self: &Arc<Self>, key: (TenantId, RouteDestinationId)) -> Option<Turn> {
        let is_free = self.busy.lock().insert(key);
        is_free.then(|| Turn { all: Arc::clone(self), key })
    }

    pub(crate) fn count(&self) -> usize {
        self.busy.lock().len()
    }

    pub(crate) fn count_of(&self, tenant: TenantId) -> usize {
        self.busy.lock().iter().filter(|(whose, _)| *whose == tenant).count()
    }

    pub(crate) fn rest(&self, tenant: TenantId, until: Duration) {
        self.resting.lock().insert(tenant, until);
    }

    /// Nothing more of a tenant can be sent before a message of it came back, or a while passed.
    pub(crate) fn set_served(&self, tenant: TenantId) {
        self.served.lock().insert(tenant);
    }

    /// A while passed.
    pub(crate) fn ask_again(&self) {
        self.served.lock().clear();
    }

    /// Whether a tenant may be asked for lanes.
    pub(crate) fn may_ask(&self, tenant: TenantId, now: Duration) -> bool {
        let mut resting = self.resting.lock();
        resting.retain(|_, until| *until > now);
        !resting.contains_key(&tenant) && !self.served.lock().contains(&tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_asked_again_when_one_of_its_messages_came_back() {
        let (all, tenant) = (Arc::new(UnderWay::default()), TenantId::from_bytes([1; 16]));
        let key = (tenant, RouteDestinationId::from_bytes([2; 16]));
        let now = Duration::from_secs(1);
        let turn = all.turn(key).expect("free");
        assert!(all.turn(key).is_none() && all.may_ask(tenant, now));
        all.set_served(tenant);
        assert!(!all.may_ask(tenant, now));
        drop(turn);
        assert!(all.may_ask(tenant, now) && all.count() == 0);
        all.set_served(tenant);
        all.ask_again();
        let turn = all.turn(key).expect("free again");
        turn.rest(Duration::from_secs(5));
        assert!(!all.may_ask(tenant, now) && all.count_of(tenant) == 1);
        assert!(all.may_ask(tenant, Duration::from_secs(5)));
    }
}
