//! Bounded counts of what is connected, by whom it belongs to. An owner is remembered while
//! something of its is connected.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::LimitExceeded;

/// How much of each owner is connected, and how much may be.
#[derive(Debug)]
pub(crate) struct Seats<K> {
    name: &'static str,
    max: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One that is connected; given up when dropped.
#[derive(Debug)]
pub(crate) struct Seat<K: Copy + Eq + Hash> {
    of: Arc<Seats<K>>,
    owner: K,
}

impl<K: Copy + Eq + Hash> Seats<K> {
    /// `name` is the limit's, as the documents say it.
    pub(super) fn new(name: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self { name, max: max.max(1), taken: Mutex::new(HashMap::new()) })
    }

    /// Counts one more of an owner.
    pub(super) fn take(self: &Arc<Self>, owner: K) -> Result<Seat<K>, LimitExceeded> {
        let mut taken = self.taken.lock();
        let count = taken.entry(owner).or_default();
        if *count >= self.max {
            let actual = *count + 1;
            return Err(LimitExceeded { name: self.name, max: self.max, actual });
        }
        *count += 1;
        Ok(Seat { of: Arc::clone(self), owner })
    }
}

impl<K: Copy + Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        if let Some(count) = taken.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}
