//! Room for calls on their way: bounded for each tenant, for each branch of tenants, for each place
//! that is called, and for all together, so that one slow place, one tenant or one partner with all
//! its customers cannot take what the others need. Whoever finds no room waits in the tenant's own
//! line, which is bounded too.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use veritwin_domain::{LimitExceeded, TenantId};

use crate::register::Destination;

/// Most requests on their way at once.
pub const CALLS_MAX: usize = 256;
/// Most of them for one tenant; more wait within their own time.
pub const TENANT_CALLS_MAX: usize = 16;
/// Most of a tenant's that wait; more are refused at once.
pub const TENANT_CALLS_WAITING_MAX: usize = 64;
/// Most of them for one branch of tenants; more wait within their own time.
pub const BRANCH_CALLS_MAX: usize = 64;
/// Most of them to one place, whoever asks; more wait within their own time.
pub const DESTINATION_CALLS_MAX: usize = 64;

/// Whom a call is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant at the top of its branch, directly below the platform; itself, if that is it.
    pub branch: TenantId,
}

/// The bound that a call waits at.
pub(super) type Waits = Mutex<Option<LimitExceeded>>;

/// The room for all calls.
pub(super) struct Turns {
    /// None is the platform itself.
    tenants: Places<Option<TenantId>>,
    branches: Places<Option<TenantId>>,
    destinations: Places<Destination>,
    all: Arc<Semaphore>,
}

/// A call's place; given back when it is dropped.
pub(super) struct Turn {
    _all: Option<OwnedSemaphorePermit>,
    _destination: Place<Destination>,
    _branch: Place<Option<TenantId>>,
    _tenant: Place<Option<TenantId>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            tenants: Places::new("tenant_calls_max", TENANT_CALLS_MAX),
            branches: Places::new("branch_calls_max", BRANCH_CALLS_MAX),
            destinations: Places::new("destination_calls_max", DESTINATION_CALLS_MAX),
            all: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }
}

impl Turns {
    /// A place for a call. What it waits at stands in `waits` meanwhile. A tenant waits at its own
    /// bound first, so that no more of its calls than that stand before anybody else's.
    pub(super) async fn take(
        &self,
        caller: Option<Caller>,
        destination: Destination,
        waits: &Waits,
    ) -> Result<Turn, LimitExceeded> {
        let (tenant, branch) = (caller.map(|one| one.tenant), caller.map(|one| one.branch));
        let entered = self.tenants.enter(tenant, Some(TENANT_CALLS_WAITING_MAX))?;
        let tenant = entered.wait(waits).await;
        let branch = self.branches.enter(branch, None)?.wait(waits).await;
        let destination = self.destinations.enter(destination, None)?.wait(waits).await;
        *waits.lock() = Some(full("calls_max", CALLS_MAX));
        // The semaphore is never closed.
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        *waits.lock() = None;
        Ok(Turn { _all: all, _destination: destination, _branch: branch, _tenant: tenant })
    }
}

const fn full(name: &'static str, max: usize) -> LimitExceeded {
    LimitExceeded { name, max, actual: max + 1 }
}

/// Room for each of many parties. A party is remembered while one of its calls is here.
struct Places<K: Hash + Eq> {
    name: &'static str,
    max: usize,
    parties: Arc<Mutex<HashMap<K, Party>>>,
}

struct Party {
    room: Arc<Semaphore>,
    present: usize,
}

/// A call of a party that is here, with a place or without.
struct Presence<K: Hash + Eq> {
    key: K,
    limit: LimitExceeded,
    room: Arc<Semaphore>,
    parties: Arc<Mutex<HashMap<K, Party>>>,
}

struct Place<K: Hash + Eq> {
    _permit: Option<OwnedSemaphorePermit>,
    _presence: Presence<K>,
}

impl<K: Hash + Eq + Clone> Places<K> {
    fn new(name: &'static str, max: usize) -> Self {
        Self { name, max, parties: Arc::default() }
    }

    fn enter(&self, key: K, waiting_max: Option<usize>) -> Result<Presence<K>, LimitExceeded> {
        let mut parties = self.parties.lock();
        let party = parties
            .entry(key.clone())
            .or_insert_with(|| Party { room: Arc::new(Semaphore::new(self.max)), present: 0 });
        if let Some(waiting_max) = waiting_max
            && party.present >= self.max + waiting_max
        {
            return Err(full("tenant_calls_waiting_max", waiting_max));
        }
        party.present += 1;
        let (room, parties) = (Arc::clone(&party.room), Arc::clone(&self.parties));
        Ok(Presence { key, limit: full(self.name, self.max), room, parties })
    }
}

impl<K: Hash + Eq> Presence<K> {
    async fn wait(self, waits: &Waits) -> Place<K> {
        *waits.lock() = Some(self.limit.clone());
        // The semaphore is never closed.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        Place { _permit: permit, _presence: self }
    }
}

impl<K: Hash + Eq> Drop for Presence<K> {
    fn drop(&mut self) {
        let mut parties = self.parties.lock();
        if let Some(party) = parties.get_mut(&self.key) {
            party.present -= 1;
            if party.present == 0 {
                parties.remove(&self.key);
            }
        }
    }
}
