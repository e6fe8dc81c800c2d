//! Device names in memory, one index per tenant, built when a list or search first needs it:
//! names are sealed in the database and cannot be searched there. Bounded, and dropped on
//! request, such as when the tenant's key is denied. It follows this process's commits only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use veritwin_domain::{DeviceId, Shared, SiteId, TenantId};

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
    /// What a device is called now, what it is, and its twin.
    Put { tenant: TenantId, device: DeviceId, name: String, kind: String, twin: Option<SiteId> },
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

/// What a device is looked for by beside its name.
#[derive(Debug, Clone)]
struct Known {
    kind: String,
    twin: Option<SiteId>,
}

/// The sorted names of one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameIndex {
    order: BTreeMap<(String, DeviceId), Known>,
    names: HashMap<DeviceId, String>,
}

/// Which devices are wanted.
pub(crate) struct NameQuery {
    /// Each a part of the name or of the kind.
    words: Vec<String>,
    twin: Option<SiteId>,
    among: Option<Arc<HashSet<DeviceId>>>,
}

impl NameIndex {
    pub(crate) fn put(&mut self, device: DeviceId, name: &str, kind: &str, twin: Option<SiteId>) {
        self.remove(device);
        let name = fold(name);
        self.order.insert((name.clone(), device), Known { kind: fold(kind), twin });
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
        query: &NameQuery,
        after: Option<(u32, DeviceId)>,
        limit: usize,
    ) -> Vec<(u32, DeviceId)> {
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
            .filter(|((name, device), known)| query.finds(name, *device, known))
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(limit);
        let ranks = rank.saturating_add(1)..;
        ranks.zip(found.map(|((_, device), _)| *device)).collect()
    }

    /// The first devices as [`NameIndex::find`] gives them, and how many there are: every name is
    /// looked at once.
    pub(crate) fn find_first(
        &self,
        query: &NameQuery,
        limit: usize,
    ) -> (Vec<(u32, DeviceId)>, usize) {
        if query.is_of_all() {
            return (self.find(query, None, limit), self.order.len());
        }
        let (mut first, mut total) = (Vec::new(), 0);
        for ((name, device), known) in &self.order {
            if !query.finds(name, *device, known) {
                continue;
            }
            total += 1;
            if first.len() < limit {
                first.push((u32::try_from(total).unwrap_or(u32::MAX), *device));
            }
        }
        (first, total)
    }
}

impl NameQuery {
    pub(crate) fn new(
        search: Option<&str>,
        twin: Option<SiteId>,
        among: Option<Arc<HashSet<DeviceId>>>,
    ) -> Self {
        let folded = search.map(fold).unwrap_or_default();
        Self { words: words(&folded), twin, among }
    }

    /// Whether every name is wanted: then none has to be looked at.
    pub(crate) const fn is_of_all(&self) -> bool {
        self.words.is_empty() && self.twin.is_none() && self.among.is_none()
    }

    fn finds(&self, name: &str, device: DeviceId, known: &Known) -> bool {
        self.twin.is_none_or(|wanted| known.twin == Some(wanted))
            && self.among.as_ref().is_none_or(|among| among.contains(&device))
            && self.words.iter().all(|word| name.contains(&**word) || known.kind.contains(&**word))
    }
}

/// The words that have to be looked for: the longest, which fewest names have, first, and none
/// that is part of another, as it is found with that.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        if !kept.iter().any(|longer| longer.contains(word)) {
            kept.push(word.to_owned());
        }
    }
    kept
}

/// A tenant's turn to look through its names; none is needed for a list of all.
#[must_use]
pub struct NamesTurn(pub(crate) Option<OwnedSemaphorePermit>);

impl std::fmt::Debug for NamesTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NamesTurn").field(&self.0.is_some()).finish()
    }
}

/// The turns of all tenants: one of each at a time.
#[derive(Default)]
pub(crate) struct NamesTurns(Shared<TenantId, Semaphore>);

impl NamesTurns {
    /// The tenant's turn, once those who asked before have had theirs.
    pub(crate) async fn turn(&self, tenant: TenantId) -> NamesTurn {
        let gate = self.0.of(tenant, || Semaphore::new(1));
        // Never closed: there is always a permit to come.
        NamesTurn(gate.acquire_owned().await.ok())
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
                NameChange::Put { device, name, kind, twin, .. } => {
                    index.put(device, &name, &kind, twin);
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
            index.put(device(number), name, "AHU", None);
        }
        let all = NameQuery::new(None, None, None);
        let first = index.find(&all, None, 2);
        assert_eq!(first, [(1, device(2)), (2, device(1))]);
        assert_eq!(index.find(&all, Some(first[1]), 9), [(3, device(3)), (4, device(4))]);
        index.remove(device(1));
        assert_eq!(index.find(&all, Some((1, device(1))), 9), [(2, device(3)), (3, device(4))]);
        let search = NameQuery::new(Some("OO"), None, None);
        assert_eq!(index.find(&search, None, 9), [(1, device(4))]);
    }

    #[test]
    fn a_device_is_found_among_as_many_as_there_may_be() {
        let mut index = NameIndex::default();
        let id = |number: usize| {
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
            DeviceId::from_bytes(bytes)
        };
        for number in 0..NAME_INDEX_NAMES_MAX {
            let kind = if number % 2 == 0 { "Temperature sensor" } else { "Meter" };
            index.put(id(number), &format!("Floor {} Z{number:06}", number % 50), kind, None);
        }
        let check = |search: &str, count: usize, first: Option<usize>| {
            let query = NameQuery::new(Some(search), None, None);
            let (found, total) = index.find_first(&query, 1);
            assert_eq!(total, count, "{search:?}");
            assert_eq!(found, index.find(&query, None, 1), "{search:?}");
            let found = found.first().map(|(_, device)| *device);
            assert_eq!(found, first.map(id), "{search:?}");
        };
        check("z099999", 1, Some(99_999));
        check("Z0999", 100, Some(99_900));
        check("z0999 meter", 50, Some(99_901));
        check("  floor 49   sensor z09994 ", 0, None);
        check("", NAME_INDEX_NAMES_MAX, Some(0));
        let among = Arc::new(HashSet::from([id(7), id(8)]));
        let query = NameQuery::new(Some("meter"), None, Some(among));
        assert_eq!(index.find_first(&query, 9), (vec![(1, id(7))], 1));
    }

    #[test]
    fn words_are_looked_for_once_and_the_longest_first() {
        let check = |search: &str, expect: &[&str]| {
            assert_eq!(NameQuery::new(Some(search), None, None).words, expect, "{search:?}");
        };
        check("a A  a", &["a"]);
        check("or Sensor floor sens 7", &["sensor", "floor", "7"]);
        check(" \t", &[]);
    }

    #[tokio::test]
    async fn a_tenant_looks_through_its_names_once_at_a_time() {
        use futures::FutureExt as _;
        let turns = NamesTurns::default();
        let tenant = |number: usize| {
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
            TenantId::from_bytes(bytes)
        };
        let first = turns.turn(tenant(0)).await;
        let mut second = Box::pin(turns.turn(tenant(0)));
        assert!(second.as_mut().now_or_never().is_none());
        // Nobody else waits for it, and what is in use is not forgotten.
        for number in 1..=NAME_INDEX_TENANTS_MAX {
            let _turn = turns.turn(tenant(number)).await;
        }
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn an_index_built_beside_a_commit_is_not_kept() {
        let indexes = NameIndexes::new();
        let tenant = TenantId::from_bytes([1; 16]);
        let generation = indexes.generation(tenant);
        let name = "new".to_owned();
        indexes.apply(vec![NameChange::Put {
            tenant,
            device: device(1),
            name,
            kind: String::new(),
            twin: None,
        }]);
        indexes.keep(tenant, generation, &Arc::new(NameIndex::default()));
        assert!(indexes.get(tenant).is_none());
        indexes.keep(tenant, indexes.generation(tenant), &Arc::new(NameIndex::default()));
        assert!(indexes.get(tenant).is_some());
        indexes.forget(tenant);
        assert!(indexes.get(tenant).is_none());
    }
}
