//! What those who need it at the same time share, such as a line to wait in for each tenant.

use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::IdMap;

/// Below so many keys nothing is swept.
const SWEEP_MIN: usize = 64;

/// One value for each key, an id or some, shared by everybody who holds it and forgotten when
/// nobody does.
#[derive(Debug)]
pub struct Shared<K, V>(Mutex<Table<K, V>>);

#[derive(Debug)]
struct Table<K, V> {
    values: IdMap<K, Weak<V>>,
    /// What nobody holds is taken out when so many are known.
    sweep_at: usize,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Table { values: IdMap::default(), sweep_at: 0 }))
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    /// The key's value: the one that others hold, otherwise a new one.
    pub fn of(&self, key: K, new: impl FnOnce() -> V) -> Arc<V> {
        let mut table = self.0.lock();
        if let Some(value) = table.values.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        if table.values.len() >= table.sweep_at.max(SWEEP_MIN) {
            table.values.retain(|_, value| value.strong_count() > 0);
            table.sweep_at = table.values.len() * 2;
        }
        let value = Arc::new(new());
        table.values.insert(key, Arc::downgrade(&value));
        value
    }

    /// The key's value, if somebody holds it.
    pub fn known(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().values.get(key).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let shared = Shared::default();
        let kept = shared.of(0, || 'a');
        for key in 1..10_000 {
            drop(shared.of(key, || 'b'));
        }
        assert!(shared.0.lock().values.len() <= SWEEP_MIN);
        assert!(shared.known(&1).is_none());
        assert!(Arc::ptr_eq(&kept, &shared.of(0, || 'c')));
    }
}
