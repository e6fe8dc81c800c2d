//! Maps whose keys are ids: looked into several times for every message, with a hash that costs a
//! multiplication for an id. It is keyed anew in every map, so that ids that somebody chose fall no
//! closer together than others. Texts and addresses keep the usual maps.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by ids.
pub type IdMap<K, V> = HashMap<K, V, IdState>;

/// The keys of one map's hash.
#[derive(Clone)]
pub struct IdState([u64; 2]);

impl Default for IdState {
    fn default() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0u8), random.hash_one(1u8)])
    }
}

impl fmt::Debug for IdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdState")
    }
}

impl BuildHasher for IdState {
    type Hasher = IdHasher;

    #[inline]
    fn build_hasher(&self) -> IdHasher {
        let [state, key] = self.0;
        IdHasher { state, key }
    }
}

/// Hashes one id, or a few.
pub struct IdHasher {
    state: u64,
    key: u64,
}

impl fmt::Debug for IdHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdHasher")
    }
}

/// Both halves of a product, one over the other: every bit of it depends on all of the factors.
#[inline]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for IdHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            let pair = u128::from_le_bytes(*pair);
            let (low, high) = (pair as u64, (pair >> 64) as u64);
            self.state = folded(self.state ^ low, self.key ^ high).rotate_left(23);
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.state = folded(self.state ^ number, self.key | 1).rotate_left(23);
    }

    /// The length of an id's bytes, which is always the same.
    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.state = self.state.wrapping_add(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        folded(self.state, self.key | 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{DeviceId, TenantId};

    fn device(number: u128) -> DeviceId {
        DeviceId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn a_map_by_ids_is_a_map() {
        let tenant = TenantId::from_bytes([1; 16]);
        let mut map: IdMap<(TenantId, DeviceId), u128> = IdMap::default();
        for number in 0..10_000 {
            assert_eq!(map.insert((tenant, device(number)), number), None);
        }
        for number in 0..10_000 {
            assert_eq!(map.get(&(tenant, device(number))), Some(&number));
        }
        assert_eq!(map.get(&(TenantId::from_bytes([2; 16]), device(1))), None);
        assert_eq!(format!("{:?}", map.hasher()), "IdState");
    }

    #[test]
    fn ids_that_differ_little_fall_apart() {
        let state = IdState::default();
        // Ids that count up, at either end, and such with one bit.
        let ids = (0..4096u128).chain((1..4096).map(|high| high << 112));
        let ids: HashSet<u128> = ids.chain((0..128).map(|bit| 1 << bit)).collect();
        let hashes: Vec<u64> = ids.iter().map(|id| state.hash_one(device(*id))).collect();
        let distinct: HashSet<u64> = hashes.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
        // A table looks at the lowest bits, and at the highest seven.
        for shift in [0, 57] {
            let mut counts = [0usize; 128];
            hashes.iter().for_each(|hash| counts[(hash >> shift) as usize % 128] += 1);
            let expect = hashes.len() / 128;
            assert!(counts.iter().all(|count| (1..expect * 3).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn every_map_has_keys_of_its_own() {
        let hash = |state: &IdState| state.hash_one(device(1));
        assert_ne!(hash(&IdState::default()), hash(&IdState::default()));
    }
}
