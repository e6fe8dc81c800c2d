//! Device names in memory, one index per tenant, built when a list or search first needs it:
//! names are sealed in the database and cannot be searched there. Bounded, and dropped on
//! request, such as when the tenant's key is denied. It follows this process's commits only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use veritwin_domain::{DeviceId, SiteId, TenantId};

/// Most tenants whose names are in memory; beyond it the least recently used one goes.
pub const NAME_INDEX_TENANTS_MAX: usize = 256;
/// Most names of one tenant; a tenant with more is listed by age and cannot search.
pub const NAME_INDEX_NAMES_MAX: usize = 100_000;

/// Counters that tell whether a tenant's names changed while an index was built; tenants share
/// them, which at worst builds an index once more.
const GENERATIONS: usize = 256;

/// How a name is compared: without surrounding blanks, without case.
pub(crate) fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A committed change of names.
pub(crate) enum NameChange {
    /// A device's new name and twin.
    Put { tenant: TenantId, device: DeviceId, name: String, twin: Option<SiteId> },
    /// A device is gone.
    Remove { tenant: TenantId, device: DeviceId },
    /// Too much changed to follow.
    Forget(TenantId),
}

impl NameChange {
    const fn tenant(&self) -> TenantId {
        match self {
            Self::Put { tenant, .. } | Self::Remove { tenant, .. } | Self::Forget(tenant) => {
                *tenant
            }
        }
    }
}

/// The sorted names of one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameIndex {
    order: BTreeMap<(String, DeviceId), Option<SiteId>>,
    names: HashMap<DeviceId, String>,
}

/// Which devices are wanted.
pub(crate) struct NameQuery<'a> {
    pub(crate) search: Option<&'a str>,
    pub(crate) twin: Option<SiteId>,
    pub(crate) among: Option<&'a HashSet<DeviceId>>,
}

impl NameIndex {
    pub(crate) fn put(&mut self, device: DeviceId, name: &str, twin: Option<SiteId>) {
        self.remove(device);
        let name = fold(name);
        self.order.insert((name.clone(), device), twin);
        self.names.insert(device, name);
    }

    fn remove(&mut self, device: DeviceId) {
        if let Some(name) = self.names.remove(&device) {
            self.order.remove(&(name, device));
        }
    }

    /// At most `limit` devices in the order of their names, with their ranks, after the device
    /// at a rank. If that device is gone, the list goes on at its rank.
    pub(crate) fn find(
        &self,
        query: &NameQuery<'_>,
        after: Option<(u32, DeviceId)>,
        limit: usize,
    ) -> Vec<(u32, DeviceId)> {
        let search = query.search.map(fold).filter(|search| !search.is_empty());
        let matches = |name: &str, twin: &Option<SiteId>| {
            search.as_ref().is_none_or(|search| name.contains(search.as_str()))
                && query.twin.is_none_or(|wanted| *twin == Some(wanted))
        };
        let (rank, start) = match after {
            None => (0, None),
            Some((rank, device)) => {
                let key = self.names.get(&device).map(|name| (name.clone(), device));
                (rank, key)
            }
        };
        let skip = if after.is_some() && start.is_none() { rank } else { 0 };
        let lower = start.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self
            .order
            .range((lower, Bound::Unbounded))
            .filter(|((name, device), twin)| {
                query.among.is_none_or(|among| among.contains(device)) && matches(name, twin)
            })
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(limit);
        let ranks = rank.saturating_add(1)..;
        ranks.zip(found.map(|((_, device), _)| *device)).collect()
    }
}

struct Entry {
    index: Arc<NameIndex>,
    last_used: u64,
}

/// The indexes of all tenants.
pub(crate) struct NameIndexes {
    tenants: Mutex<HashMap<TenantId, Entry>>,
    generations: Vec<AtomicU64>,
    uses: AtomicU64,
}

impl NameIndexes {
    pub(crate) fn new() -> Self {
        Self {
            tenants: Mutex::new(HashMap::new()),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            uses: AtomicU64::new(0),
        }
    }

    fn generation_of(&self, tenant: TenantId) -> &AtomicU64 {
        // The last byte of an id is random.
        &self.generations[usize::from(tenant.as_bytes()[15]) % GENERATIONS]
    }

    /// Taken before a transaction begins; an index read inside it is kept only if this has not
    /// moved.
    pub(crate) fn generation(&self, tenant: TenantId) -> u64 {
        self.generation_of(tenant).load(Ordering::SeqCst)
    }

    pub(crate) fn get(&self, tenant: TenantId) -> Option<Arc<NameIndex>> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut tenants = self.tenants.lock();
        let entry = tenants.get_mut(&tenant)?;
        entry.last_used = used;
        Some(Arc::clone(&entry.index))
    }

    pub(crate) fn keep(&self, tenant: TenantId, generation: u64, index: &Arc<NameIndex>) {
        let last_used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut tenants = self.tenants.lock();
        if self.generation(tenant) != generation {
            return;
        }
        if tenants.len() >= NAME_INDEX_TENANTS_MAX && !tenants.contains_key(&tenant) {
            let oldest = tenants.iter().min_by_key(|(_, entry)| entry.last_used).map(|(id, _)| *id);
            oldest.map(|oldest| tenants.remove(&oldest));
        }
        tenants.insert(tenant, Entry { index: Arc::clone(index), last_used });
    }

    pub(crate) fn apply(&self, changes: Vec<NameChange>) {
        let mut tenants = self.tenants.lock();
        for change in changes {
            let tenant = change.tenant();
            self.generation_of(tenant).fetch_add(1, Ordering::SeqCst);
            let Some(entry) = tenants.get_mut(&tenant) else { continue };
            let index = Arc::make_mut(&mut entry.index);
            let keep = match change {
                NameChange::Put { device, name, twin, .. } => {
                    index.put(device, &name, twin);
                    index.names.len() <= NAME_INDEX_NAMES_MAX
                }
                NameChange::Remove { device, .. } => {
                    index.remove(device);
                    true
                }
                NameChange::Forget(_) => false,
            };
            if !keep {
                tenants.remove(&tenant);
            }
        }
    }

    pub(crate) fn forget(&self, tenant: TenantId) {
        let mut tenants = self.tenants.lock();
        self.generation_of(tenant).fetch_add(1, Ordering::SeqCst);
        tenants.remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    #[test]
    fn pages_go_on_by_name_even_when_the_last_device_is_gone() {
        let mut index = NameIndex::default();
        for (number, name) in [(3, "Chiller"), (1, "boiler"), (2, " Air handler "), (4, "door")] {
            index.put(device(number), name, None);
        }
        let all = NameQuery { search: None, twin: None, among: None };
        let first = index.find(&all, None, 2);
        assert_eq!(first, [(1, device(2)), (2, device(1))]);
        assert_eq!(index.find(&all, Some(first[1]), 9), [(3, device(3)), (4, device(4))]);
        index.remove(device(1));
        assert_eq!(index.find(&all, Some((1, device(1))), 9), [(2, device(3)), (3, device(4))]);
        let search = NameQuery { search: Some("OO"), twin: None, among: None };
        assert_eq!(index.find(&search, None, 9), [(1, device(4))]);
    }

    #[test]
    fn an_index_built_beside_a_commit_is_not_kept() {
        let indexes = NameIndexes::new();
        let tenant = TenantId::from_bytes([1; 16]);
        let generation = indexes.generation(tenant);
        let name = "new".to_owned();
        indexes.apply(vec![NameChange::Put { tenant, device: device(1), name, twin: None }]);
        indexes.keep(tenant, generation, &Arc::new(NameIndex::default()));
        assert!(indexes.get(tenant).is_none());
        indexes.keep(tenant, indexes.generation(tenant), &Arc::new(NameIndex::default()));
        assert!(indexes.get(tenant).is_some());
        indexes.forget(tenant);
        assert!(indexes.get(tenant).is_none());
    }
}
