//! What waits to be written, in turn by tenant: deficit round robin (Shreedhar and Varghese,
//! 1995), by bytes. One tenant's appends stay in their order; those of different tenants do not
//! wait for each other's backlog.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use veritwin_domain::{IdMap, TenantId};

/// What a tenant may take at its turn, in bytes.
const TURN_BYTES: usize = 64 * 1024;
/// The most of one tenant in one group, in bytes, unless a single append is larger.
pub(crate) const TENANT_GROUP_BYTES_MAX: usize = 1024 * 1024;
/// The same while several tenants append: a group that is short to write is what keeps the others'
/// wait short.
pub(crate) const SHARED_GROUP_BYTES_MAX: usize = 128 * 1024;
/// For so many groups after another tenant's append it counts as several.
const SHARED_GROUPS: u32 = 64;

struct Backlog<T> {
    items: VecDeque<(usize, T)>,
    /// Bytes that it may take, saved up for an item that is larger than a turn.
    credit: usize,
}

/// The queue. Its bound is whoever's who pushes.
pub(crate) struct FairQueue<T> {
    backlogs: IdMap<TenantId, Backlog<T>>,
    /// The tenants that wait, in the order of their turns.
    turns: VecDeque<TenantId>,
    bytes: usize,
    /// Whose append came last.
    latest: Option<TenantId>,
    /// Groups that are still kept short.
    shared_groups: u32,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            backlogs: IdMap::default(),
            turns: VecDeque::new(),
            bytes: 0,
            latest: None,
            shared_groups: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, tenant: TenantId, bytes: usize, item: T) {
        self.bytes += bytes;
        if self.latest.replace(tenant).is_some_and(|latest| latest != tenant) {
            self.shared_groups = SHARED_GROUPS;
        }
        let backlog = match self.backlogs.entry(tenant) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.turns.push_back(tenant);
                new.insert(Backlog { items: VecDeque::new(), credit: 0 })
            }
        };
        backlog.items.push_back((bytes, item));
    }

    /// Everything that is left.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        self.bytes = 0;
        let backlogs = std::mem::take(&mut self.backlogs).into_values();
        backlogs.flat_map(|backlog| backlog.items).map(|(_, item)| item).collect()
    }

    /// The next group: about `bytes_max`, in turns.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Vec<T> {
        let is_shared = self.shared_groups > 0;
        self.shared_groups = self.shared_groups.saturating_sub(1);
        let tenant_bytes_max =
            if is_shared { SHARED_GROUP_BYTES_MAX } else { TENANT_GROUP_BYTES_MAX };
        let mut group = Vec::new();
        let mut group_bytes = 0;
        let mut taken: IdMap<TenantId, usize> = IdMap::default();
        // Tenants that had their share of this group keep their turn for the next one.
        let mut served = VecDeque::new();
        while group_bytes < bytes_max {
            let Some(tenant) = self.turns.pop_front() else { break };
            let Some(backlog) = self.backlogs.get_mut(&tenant) else { continue };
            let of_tenant = taken.entry(tenant).or_default();
            backlog.credit += TURN_BYTES;
            while let Some((bytes, _)) = backlog.items.front()
                && *bytes <= backlog.credit
                && *of_tenant < tenant_bytes_max
                && group_bytes < bytes_max
                && let Some((bytes, item)) = backlog.items.pop_front()
            {
                backlog.credit -= bytes;
                *of_tenant += bytes;
                group_bytes += bytes;
                self.bytes -= bytes;
                group.push(item);
            }
            if backlog.items.is_empty() {
                self.backlogs.remove(&tenant);
            } else if *of_tenant >= tenant_bytes_max {
                // Credit is not saved up for what was not let through.
                backlog.credit = 0;
                served.push_back(tenant);
            } else {
                self.turns.push_back(tenant);
            }
        }
        self.turns.append(&mut served);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(seed: u8) -> TenantId {
        TenantId::from_bytes([seed; 16])
    }

    #[test]
    fn a_flood_does_not_make_the_others_wait() {
        let mut queue = FairQueue::default();
        for number in 0..10_000 {
            queue.push(tenant(1), 1000, (1, number));
        }
        queue.push(tenant(2), 100, (2, 0));
        queue.push(tenant(3), 100, (3, 0));
        let group = queue.take(8 << 20);
        let of = |seed: u8| group.iter().filter(|(from, _)| *from == seed).count();
        assert_eq!((of(2), of(3)), (1, 1), "in the first group");
        let flood = of(1) * 1000;
        let bound = SHARED_GROUP_BYTES_MAX..SHARED_GROUP_BYTES_MAX + 1000;
        assert!(bound.contains(&flood), "{flood}");
        // Whoever comes during the flood is in the next group.
        queue.push(tenant(2), 100, (2, 1));
        assert!(queue.take(8 << 20).contains(&(2, 1)));
        // Alone for a while, the flood gets larger groups again.
        let sizes: Vec<usize> = (0..SHARED_GROUPS).map(|_| queue.take(8 << 20).len()).collect();
        assert_eq!((sizes[0], sizes.last()), (132, Some(&1049)));
    }

    #[test]
    fn a_tenants_own_order_stays_and_nothing_is_lost() {
        let mut queue = FairQueue::default();
        let mut pushed = 0;
        for number in 0..3000usize {
            let seed = u8::try_from(number % 3).expect("small");
            let bytes = 1 + (number * 7919) % 40_000;
            pushed += bytes;
            queue.push(tenant(seed), bytes, (seed, number));
        }
        assert_eq!(queue.bytes(), pushed);
        let mut last = [None; 3];
        let mut count = 0;
        while !queue.is_empty() {
            for (seed, number) in queue.take(100_000) {
                let last = &mut last[usize::from(seed)];
                assert!(last.is_none_or(|last| last < number));
                *last = Some(number);
                count += 1;
            }
        }
        assert_eq!((count, queue.bytes()), (3000, 0));
    }

    #[test]
    fn turns_are_shared_by_bytes() {
        let mut queue = FairQueue::default();
        for _ in 0..100 {
            queue.push(tenant(1), 20_000, 1);
            queue.push(tenant(2), 2_000, 2);
            queue.push(tenant(2), 2_000, 2);
        }
        let group: Vec<i32> = (0..3).flat_map(|_| queue.take(600_000)).collect();
        let bytes =
            |seed: i32, size: usize| group.iter().filter(|one| **one == seed).count() * size;
        let (large, small) = (bytes(1, 20_000), bytes(2, 2_000));
        assert!(large.abs_diff(small) <= 2 * TURN_BYTES, "{large} and {small}");
    }

    #[test]
    fn an_append_larger_than_everything_gets_through() {
        let mut queue = FairQueue::default();
        queue.push(tenant(1), 9 << 20, "large");
        queue.push(tenant(2), 10, "small");
        assert_eq!(queue.take(8 << 20), ["small", "large"]);
        assert!(queue.is_empty());
        queue.push(tenant(1), 1, "left");
        assert_eq!(queue.drain(), ["left"]);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
