//! Which messages are on their way to places outside: one at a time to each place of a tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::{RouteDestinationId, TenantId};

const MINUTE: Duration = Duration::from_secs(60);

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    busy: Mutex<HashSet<(TenantId, RouteDestinationId)>>,
    /// Until when a tenant is left alone, on the monotonic clock.
    resting: Mutex<HashMap<TenantId, Duration>>,
    /// Tenants whose lanes all wait for places that are busy.
    served: Mutex<HashSet<TenantId>>,
    /// What was tried of tenants with a limit in the minute that runs for them.
    minutes: Mutex<HashMap<TenantId, Minute>>,
}

/// A tenant's minute. It begins with the first try in it.
#[derive(Debug, Clone, Copy)]
struct Minute {
    /// On the monotonic clock.
    ends_at: Duration,
    tries: u64,
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

    /// Whether one more message of the tenant may be tried, at most so many in a minute. If not, it
    /// is left alone until the next one.
    pub(crate) fn may_try(&self, tries_max: Option<u64>, now: Duration) -> bool {
        let Some(tries_max) = tries_max else { return true };
        let mut minutes = self.all.minutes.lock();
        minutes.retain(|_, minute| minute.ends_at > now);
        let begun = Minute { ends_at: now.saturating_add(MINUTE), tries: 0 };
        let minute = minutes.entry(self.key.0).or_insert(begun);
        if minute.tries >= tries_max {
            self.rest(minute.ends_at);
            return false;
        }
        minute.tries += 1;
        true
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
    fn so_many_are_tried_in_a_minute_and_the_tenant_rests_until_the_next() {
        let (all, tenant) = (Arc::new(UnderWay::default()), TenantId::from_bytes([1; 16]));
        let other = TenantId::from_bytes([3; 16]);
        let place = |number| RouteDestinationId::from_bytes([number; 16]);
        let (one, two) = (all.turn((tenant, place(1))).unwrap(), all.turn((tenant, place(2))));
        let (two, others) = (two.unwrap(), all.turn((other, place(1))).unwrap());
        let at = Duration::from_secs;
        assert!(one.may_try(Some(2), at(10)) && two.may_try(Some(2), at(30)));
        assert!(!one.may_try(Some(2), at(40)), "of all its places together");
        assert!(others.may_try(Some(1), at(40)) && one.may_try(None, at(40)));
        assert!(!all.may_ask(tenant, at(69)) && all.may_ask(other, at(69)));
        assert!(all.may_ask(tenant, at(70)) && one.may_try(Some(2), at(70)));
        assert!(!two.may_try(Some(0), at(71)));
    }

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
