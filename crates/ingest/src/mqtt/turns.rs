//! Turns of a tenant: of all its busy connections, so many are read and parsed at once as there
//! are processors. The others wait among themselves, and not before the connections of others.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;
use veritwin_domain::TenantId;

/// Below so many tenants nothing is swept.
const SWEEP_MIN: usize = 64;

/// What each tenant with a connection has of something, in permits.
pub(super) struct Shares {
    known: Mutex<Known>,
    permits: usize,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<TenantId, Weak<Semaphore>>,
    /// Tenants without a connection are taken out when so many are known.
    sweep_at: usize,
}

impl Shares {
    pub(super) fn new(permits: usize) -> Self {
        Self { known: Mutex::default(), permits }
    }

    pub(super) fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut known = self.known.lock();
        if let Some(share) = known.tenants.get(&tenant).and_then(Weak::upgrade) {
            return share;
        }
        if known.tenants.len() >= known.sweep_at.max(SWEEP_MIN) {
            known.tenants.retain(|_, share| share.strong_count() > 0);
            known.sweep_at = known.tenants.len() * 2;
        }
        let share = Arc::new(Semaphore::new(self.permits));
        known.tenants.insert(tenant, Arc::downgrade(&share));
        share
    }
}

/// The turns of every tenant with a connection.
pub(super) struct Turns(Shares);

impl Default for Turns {
    fn default() -> Self {
        Self(Shares::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)))
    }
}

impl Turns {
    /// A connection's place in its tenant's queue. To be held over work that waits for nothing.
    pub(super) fn of(&self, tenant: TenantId) -> PollSemaphore {
        PollSemaphore::new(self.0.of(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn connections_of_one_tenant_share_their_turns_and_nobody_elses() {
        let turns = Turns::default();
        let (one, same, other) = (turns.of(tenant(1)), turns.of(tenant(1)), turns.of(tenant(2)));
        let all = u32::try_from(one.available_permits()).unwrap();
        let held = one.clone_inner().try_acquire_many_owned(all).unwrap();
        assert_eq!(same.available_permits(), 0);
        assert!(other.available_permits() > 0);
        drop(held);
        assert!(same.available_permits() > 0);
    }

    #[test]
    fn tenants_without_a_connection_are_forgotten() {
        let turns = Turns::default();
        let kept = turns.of(tenant(0));
        for number in 1..10_000 {
            drop(turns.of(tenant(number)));
        }
        let known = turns.0.known.lock();
        assert!(known.tenants.len() <= SWEEP_MIN, "{}", known.tenants.len());
        assert!(known.tenants.contains_key(&tenant(0)));
        drop((known, kept));
    }
}
