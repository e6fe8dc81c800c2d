//! A cache bounded by bytes, with second-chance eviction (CLOCK): what was used since the hand last
//! passed stays for another round.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use parking_lot::Mutex;

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: bool,
}

#[derive(Debug)]
struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Every key of `entries` once; keys that were removed stay until the hand meets them.
    hand: VecDeque<K>,
    bytes: usize,
}

/// Shared values, at most `bytes_max` bytes of them.
#[derive(Debug)]
pub(crate) struct ByteCache<K, V> {
    bytes_max: usize,
    state: Mutex<State<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> ByteCache<K, V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let state = State { entries: HashMap::new(), hand: VecDeque::new(), bytes: 0 };
        Self { bytes_max, state: Mutex::new(state) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(key)?;
        entry.used = true;
        Some(entry.value.clone())
    }

    /// Keeps a value unless it alone is above a quarter of the bound.
    pub(crate) fn insert(&self, key: K, value: V, bytes: usize) {
        if bytes > self.bytes_max / 4 {
            return;
        }
        let mut state = self.state.lock();
        let entry = Entry { value, bytes, used: false };
        match state.entries.insert(key.clone(), entry) {
            Some(replaced) => state.bytes -= replaced.bytes,
            None => state.hand.push_back(key),
        }
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some(key) = state.hand.pop_front() else { break };
            let Some(entry) = state.entries.get_mut(&key) else { continue };
            if std::mem::take(&mut entry.used) {
                state.hand.push_back(key);
            } else {
                let bytes = entry.bytes;
                state.entries.remove(&key);
                state.bytes -= bytes;
            }
        }
    }

    /// Drops what `keep` does not want.
    pub(crate) fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
        let mut state = self.state.lock();
        let State { entries, hand, bytes } = &mut *state;
        entries.retain(|key, entry| {
            let kept = keep(key, &entry.value);
            if !kept {
                *bytes -= entry.bytes;
            }
            kept
        });
        hand.retain(|key| entries.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_used_entries_stay() {
        let cache = ByteCache::new(100);
        for key in 0..4 {
            cache.insert(key, key, 25);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.insert(9, 9, 25);
        assert_eq!(cache.get(&0), Some(0), "used entries get a second chance");
        assert_eq!(cache.get(&1), None);
        cache.insert(7, 7, 26);
        assert_eq!(cache.get(&7), None, "too large to keep");
        cache.retain(|key, _| *key == 0);
        assert_eq!((cache.get(&0), cache.get(&9)), (Some(0), None));
        assert_eq!(cache.state.lock().bytes, 25);
    }
}
