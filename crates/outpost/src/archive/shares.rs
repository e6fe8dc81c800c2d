//! What each party may take at once of what all of an archive's parties share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::owners::Peer;

/// A semaphore for each party; there are as many as the archive admits certificates.
pub(super) struct Shares {
    each: usize,
    of: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

impl Shares {
    /// So many for each.
    pub(super) fn new(each: usize) -> Self {
        Self { each, of: Mutex::default() }
    }

    /// The party's own; it is never closed.
    pub(super) fn of(&self, peer: Peer) -> Arc<Semaphore> {
        let mut of = self.of.lock();
        let own = of.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_leaves_room_for_another() {
        let shares = Shares::new(1);
        let (one, other) = (Peer([1; 32]), Peer([2; 32]));
        let taken = shares.of(one).try_acquire_owned();
        assert!(taken.is_ok() && shares.of(one).try_acquire_owned().is_err());
        assert!(shares.of(other).try_acquire_owned().is_ok());
        drop(taken);
        assert!(shares.of(one).try_acquire_owned().is_ok());
    }
}
