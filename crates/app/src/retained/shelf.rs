//! A tenant's retained messages in memory: whoever looks at them takes what is there now, and who
//! changes them has the tenant's turn.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, Semaphore, SemaphorePermit};
use veritwin_domain::{MessageId, RelayMessage, TenantId};

use super::RetainedPage;
use crate::Result;
use crate::attribute_lines::{TURN_WAIT_MAX, crowded};
use crate::submit::{Queue, Waiting};

/// Most bytes that are held in memory; above it tenants that have not used theirs for longest give
/// way, and theirs are read again when they are needed.
const CACHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What a message takes in memory besides its content.
const MESSAGE_BYTES: usize = 256;
/// Of a tenant, so many change them at once.
const WRITES_MAX: usize = 1;
/// Of so many tenants they are read at once.
const LOADS_MAX: usize = 2;

type Stored = (MessageId, Arc<RelayMessage>);

/// What a topic has from now on.
pub(super) type Change = (Arc<str>, Option<Stored>);

/// The turn to decide and store what a tenant retains.
pub(super) type Turn = OwnedMutexGuard<()>;

/// A tenant's retained messages by topic.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) messages: BTreeMap<Arc<str>, Stored>,
    pub(super) bytes: usize,
}

impl Kept {
    pub(super) fn insert(&mut self, id: MessageId, message: Arc<RelayMessage>) {
        self.bytes += message.content_bytes();
        if let Some((_, old)) = self.messages.insert(Arc::clone(&message.topic), (id, message)) {
            self.bytes -= old.content_bytes();
        }
    }

    fn remove(&mut self, topic: &str) {
        if let Some((_, old)) = self.messages.remove(topic) {
            self.bytes -= old.content_bytes();
        }
    }

    pub(super) fn page(
        &self,
        page: &RetainedPage,
        is_wanted: impl Fn(&RelayMessage) -> bool,
    ) -> Vec<Arc<RelayMessage>> {
        let from = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (_, message) in
            self.messages.range::<str, _>((from, Bound::Unbounded)).map(|(_, one)| one)
        {
            if !is_wanted(message) {
                continue;
            }
            bytes += message.content_bytes();
            let is_full = found.len() >= page.messages_max || bytes > page.bytes_max;
            if is_full && !found.is_empty() {
                break;
            }
            found.push(Arc::clone(message));
        }
        found
    }

    fn memory_bytes(&self) -> usize {
        self.bytes + self.messages.len() * MESSAGE_BYTES
    }
}

/// A tenant's retained messages, once they are read.
#[derive(Default)]
pub(crate) struct Shelf {
    /// Submissions that wait for the turn.
    pub(crate) waiting: Queue<Waiting>,
    turn: Arc<Turns<()>>,
    kept: Mutex<Option<Arc<Kept>>>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

impl Shelf {
    /// Waits for the tenant's turn.
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Waits for the tenant's turn, and for no longer than submissions wait for each other.
    pub(super) async fn turn_in_time(&self) -> Result<Turn> {
        let late = |_| crowded("tenant_retained_writes_max", WRITES_MAX);
        tokio::time::timeout(TURN_WAIT_MAX, self.turn()).await.map_err(late)
    }

    /// What is there now, if it is read: it does not change any more.
    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        self.kept.lock().clone()
    }

    /// They are read. For who has the turn.
    pub(super) fn fill(&self, kept: Arc<Kept>) {
        self.bytes.store(kept.memory_bytes(), Ordering::Relaxed);
        *self.kept.lock() = Some(kept);
    }

    /// They have to be read again: nobody knows what is stored.
    pub(super) fn empty(&self) {
        *self.kept.lock() = None;
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// These changes are stored. For who has the turn.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        let mut kept = self.kept.lock();
        let Some(kept) = kept.as_mut() else { return };
        // Who looks at them meanwhile keeps what they were.
        let kept = Arc::make_mut(kept);
        for (topic, change) in changes {
            match change {
                Some((id, message)) => kept.insert(id, message),
                None => kept.remove(&topic),
            }
        }
        self.bytes.store(kept.memory_bytes(), Ordering::Relaxed);
    }
}

/// The retained messages of the tenants that make use of them.
pub(crate) struct RetainedBook {
    shelves: Mutex<HashMap<TenantId, Arc<Shelf>>>,
    uses: AtomicU64,
    loads: Semaphore,
}

impl Default for RetainedBook {
    fn default() -> Self {
        let loads = Semaphore::new(LOADS_MAX);
        Self { shelves: Mutex::default(), uses: AtomicU64::new(0), loads }
    }
}

impl RetainedBook {
    pub(crate) fn shelf(&self, tenant: TenantId) -> Arc<Shelf> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut shelves = self.shelves.lock();
        let shelf = shelves.entry(tenant).or_default();
        shelf.used.store(used, Ordering::Relaxed);
        Arc::clone(shelf)
    }

    /// Waits until few enough others are being read. Never closed: there is always a place to come.
    pub(super) async fn load(&self) -> Option<SemaphorePermit<'_>> {
        self.loads.acquire().await.ok()
    }

    /// Makes room in memory. Nobody has a turn, nor waits for one, at a shelf that gives way.
    pub(super) fn make_room(&self) {
        let mut shelves = self.shelves.lock();
        let bytes = |shelf: &Shelf| shelf.bytes.load(Ordering::Relaxed);
        let mut all: usize = shelves.values().map(|shelf| bytes(shelf)).sum();
        while all > CACHED_BYTES_MAX {
            let idle = shelves.iter().filter(|(_, shelf)| {
                Arc::strong_count(shelf) == 1 && Arc::strong_count(&shelf.turn) == 1
            });
            let oldest = idle.min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
            let Some(tenant) = oldest.map(|(tenant, _)| *tenant) else { return };
            all -= shelves.remove(&tenant).map_or(0, |shelf| bytes(&shelf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::tests::message;
    use super::*;
    use crate::Error;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_turn_for_ever() {
        let shelf = Shelf::default();
        let held = shelf.turn_in_time().await.expect("free");
        let Err(Error::Crowded(limit)) = shelf.turn_in_time().await else { panic!("no bound") };
        assert_eq!((limit.name, limit.max), ("tenant_retained_writes_max", 1));
        drop(held);
        assert!(shelf.turn_in_time().await.is_ok());
    }

    #[test]
    fn who_looks_keeps_what_there_was() {
        let (shelf, id) = (Shelf::default(), MessageId::from_bytes([1; 16]));
        shelf.fill(Arc::default());
        let before = shelf.kept().expect("read");
        shelf.apply(vec![("a".into(), Some((id, message("a", b"1", None))))]);
        let after = shelf.kept().expect("read");
        assert_eq!((before.messages.len(), after.messages.len()), (0, 1));
        drop((before, after));
        shelf.apply(vec![("a".into(), None)]);
        assert_eq!(shelf.kept().expect("read").messages.len(), 0);
        shelf.empty();
        assert!(shelf.kept().is_none(), "to be read again");
    }

    #[test]
    fn pages_go_on_after_a_topic() {
        let mut kept = Kept::default();
        for topic in ["a", "b", "c", "d"] {
            let id = MessageId::from_bytes([topic.as_bytes()[0]; 16]);
            kept.insert(id, message(topic, b"12345", None));
        }
        let size = message("a", b"12345", None).content_bytes();
        let check =
            |after: Option<&str>, messages_max: usize, bytes_max: usize, expect: &[&str]| {
                let page = RetainedPage { after: after.map(Into::into), messages_max, bytes_max };
                let found = kept.page(&page, |one| &*one.topic != "b");
                let topics: Vec<&str> = found.iter().map(|one| &*one.topic).collect();
                assert_eq!(topics, expect, "{page:?}");
            };
        check(None, 9, 9 * size, &["a", "c", "d"]);
        check(None, 2, 9 * size, &["a", "c"]);
        check(Some("a"), 9, 9 * size, &["c", "d"]);
        check(Some("aa"), 9, size, &["c"]);
        check(Some("c"), 9, 1, &["d"]);
        check(Some("d"), 9, 9 * size, &[]);
    }
}
