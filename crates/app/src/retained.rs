//! Retained messages of MQTT: kept in the records under the tenant's key, and in memory while the
//! tenant makes use of them. They are changed by one submission of a tenant at a time.

mod form;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, LimitExceeded, MessageId, RelayMessage, TenantId, Timestamp};
use veritwin_metastore::{RetainedMessage, TenantTx};

use crate::{App, Error, Result};
use form::{decode, encode};

/// Most retained messages of a tenant.
pub const RETAINED_MESSAGES_MAX: usize = 10_000;
/// Most bytes of a tenant's retained messages: topics, properties and payloads.
pub const RETAINED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest retained message, topic and properties included, in bytes.
pub const RETAINED_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that are held in memory; above it tenants that have not used theirs for longest give
/// way, and theirs are read again when they are needed.
const CACHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What a message takes in memory besides its content.
const MESSAGE_BYTES: usize = 256;

type Stored = (MessageId, Arc<RelayMessage>);

/// Which part of the retained messages is asked for, in the order of their topics.
#[derive(Debug, Clone)]
pub struct RetainedPage {
    /// The topic after which it begins.
    pub after: Option<Arc<str>>,
    /// Most messages.
    pub messages_max: usize,
    /// Most bytes of topics, properties and payloads; one message may be larger.
    pub bytes_max: usize,
}

/// A tenant's retained messages by topic.
#[derive(Default)]
struct Kept {
    messages: BTreeMap<Arc<str>, Stored>,
    bytes: usize,
}

impl Kept {
    fn insert(&mut self, id: MessageId, message: Arc<RelayMessage>) {
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

    fn page(
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

/// A tenant's retained messages, once they are read. Whoever has them has the tenant's turn.
struct Shelf {
    kept: Arc<Turns<Option<Kept>>>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

/// The retained messages of the tenants that make use of them.
#[derive(Default)]
pub(crate) struct RetainedBook {
    shelves: Mutex<HashMap<TenantId, Arc<Shelf>>>,
    uses: AtomicU64,
}

impl RetainedBook {
    fn shelf(&self, tenant: TenantId) -> Arc<Shelf> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut shelves = self.shelves.lock();
        let shelf = shelves.entry(tenant).or_insert_with(|| {
            let bytes = AtomicUsize::new(0);
            Arc::new(Shelf { kept: Arc::default(), bytes, used: AtomicU64::new(0) })
        });
        shelf.used.store(used, Ordering::Relaxed);
        Arc::clone(shelf)
    }

    /// Makes room in memory. Nobody has a turn, nor waits for one, at a shelf that gives way.
    fn make_room(&self) {
        let mut shelves = self.shelves.lock();
        let bytes = |shelf: &Shelf| shelf.bytes.load(Ordering::Relaxed);
        let mut all: usize = shelves.values().map(|shelf| bytes(shelf)).sum();
        while all > CACHED_BYTES_MAX {
            let idle = shelves.iter().filter(|(_, shelf)| {
                Arc::strong_count(shelf) == 1 && Arc::strong_count(&shelf.kept) == 1
            });
            let oldest = idle.min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
            let Some(tenant) = oldest.map(|(tenant, _)| *tenant) else { return };
            all -= shelves.remove(&tenant).map_or(0, |shelf| bytes(&shelf));
        }
    }
}

/// What a submission changes of a tenant's retained messages. It has the tenant's turn.
pub(crate) struct RetainedDraft {
    shelf: Arc<Shelf>,
    kept: OwnedMutexGuard<Option<Kept>>,
    /// The new message of a topic, or none any more.
    changes: BTreeMap<Arc<str>, Option<Arc<RelayMessage>>>,
    count: usize,
    bytes: usize,
    now: Timestamp,
}

impl RetainedDraft {
    fn new(shelf: Arc<Shelf>, kept: OwnedMutexGuard<Option<Kept>>, now: Timestamp) -> Self {
        let (count, bytes) = kept.as_ref().map_or((0, 0), |kept| (kept.messages.len(), kept.bytes));
        Self { shelf, kept, changes: BTreeMap::new(), count, bytes, now }
    }

    /// Retains a message, or forgets the topic's if its payload is empty (MQTT 5.0, 3.3.1.3). Gives
    /// the bound that it would pass; then nothing is changed.
    pub(crate) fn take(&mut self, message: &Arc<RelayMessage>) -> Option<LimitExceeded> {
        if message.payload.is_empty() {
            self.change(&message.topic, None);
            return None;
        }
        let size = message.content_bytes();
        if let Some(limit) = over("retained_message_bytes_max", RETAINED_MESSAGE_BYTES_MAX, size) {
            return Some(limit);
        }
        if self.limit(&message.topic, size).is_some() {
            self.forget_expired();
            let limit = self.limit(&message.topic, size);
            if limit.is_some() {
                return limit;
            }
        }
        self.change(&message.topic, Some(Arc::clone(message)));
        None
    }

    /// What the topic has now.
    fn now_of(&self, topic: &str) -> Option<&Arc<RelayMessage>> {
        match self.changes.get(topic) {
            Some(change) => change.as_ref(),
            None => {
                let kept = self.kept.as_ref()?;
                kept.messages.get(topic).map(|(_, message)| message)
            }
        }
    }

    fn limit(&self, topic: &str, size: usize) -> Option<LimitExceeded> {
        let old = self.now_of(topic);
        let count = self.count + usize::from(old.is_none());
        let bytes = self.bytes - old.map_or(0, |old| old.content_bytes()) + size;
        let of_count = || over("retained_messages_max", RETAINED_MESSAGES_MAX, count);
        over("retained_bytes_max", RETAINED_BYTES_MAX, bytes).or_else(of_count)
    }

    fn change(&mut self, topic: &Arc<str>, message: Option<Arc<RelayMessage>>) {
        if let Some(old) = self.now_of(topic) {
            self.bytes -= old.content_bytes();
            self.count -= 1;
        }
        if let Some(new) = &message {
            self.bytes += new.content_bytes();
            self.count += 1;
        }
        self.changes.insert(Arc::clone(topic), message);
    }

    fn forget_expired(&mut self) {
        let now = self.now;
        self.forget(|one| is_expired(one, now));
    }

    /// Forgets what a device has published, and what its own topics have.
    pub(crate) fn forget_device(&mut self, device: DeviceId) {
        let own = format!("devices/{device}/");
        self.forget(|one| one.device == device || one.topic.starts_with(&own));
    }

    fn forget(&mut self, is_over: impl Fn(&RelayMessage) -> bool) {
        let Some(kept) = self.kept.as_ref() else { return };
        let over = kept.messages.values().filter(|(_, one)| is_over(one));
        let topics: Vec<Arc<str>> = over.map(|(_, one)| Arc::clone(&one.topic)).collect();
        for topic in topics {
            // One that this submission has changed already is a newer one.
            if !self.changes.contains_key(&topic) {
                self.change(&topic, None);
            }
        }
    }
}

/// What is written of a draft, and not committed yet.
pub(crate) struct RetainedWritten {
    draft: RetainedDraft,
    kept: Kept,
}

fn over(name: &'static str, max: usize, actual: usize) -> Option<LimitExceeded> {
    (actual > max).then_some(LimitExceeded { name, max, actual })
}

fn is_expired(message: &RelayMessage, now: Timestamp) -> bool {
    message.expires_at.is_some_and(|expires_at| expires_at <= now)
}

impl App {
    /// Those of a tenant's retained messages whose topics match that are on a page.
    #[boxed]
    pub async fn retained(
        &self,
        tenant: TenantId,
        matches: &(dyn Fn(&str) -> bool + Send + Sync),
        page: RetainedPage,
    ) -> Result<Vec<Arc<RelayMessage>>> {
        self.refuse_unserved(tenant)?;
        let (_, kept) = self.shelf(tenant).await?;
        let now = self.clock().now();
        let is_wanted = |one: &RelayMessage| matches(&one.topic) && !is_expired(one, now);
        Ok(kept.as_ref().map_or_else(Vec::new, |kept| kept.page(&page, is_wanted)))
    }

    /// Takes the tenant's turn to change its retained messages.
    pub(crate) async fn retained_draft(&self, tenant: TenantId) -> Result<RetainedDraft> {
        let (shelf, kept) = self.shelf(tenant).await?;
        Ok(RetainedDraft::new(shelf, kept, self.clock().now()))
    }

    /// Stores what is durable in the log already, in one transaction.
    pub(crate) async fn store_retained(
        &self,
        tenant: TenantId,
        draft: RetainedDraft,
    ) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::INGEST, tenant)).await?;
        let written = self.write_retained(&tx, draft).await?;
        tx.commit().await?;
        self.retained_stored(written);
        Ok(())
    }

    /// Writes what a draft changes. Until it is stored ([`App::retained_stored`]) nothing is in
    /// memory: after a failure it is read again.
    pub(crate) async fn write_retained(
        &self,
        tx: &TenantTx,
        mut draft: RetainedDraft,
    ) -> Result<RetainedWritten> {
        let Some(mut kept) = draft.kept.take() else {
            return Err(Error::Internal("retained messages were not read".to_owned()));
        };
        for (topic, change) in std::mem::take(&mut draft.changes) {
            let known = kept.messages.get(&topic).map(|(id, _)| *id);
            match (change, known) {
                (Some(message), known) => {
                    let generate = || MessageId::generate(self.clock().now(), self.rng());
                    let id = known.unwrap_or_else(generate);
                    let (body, expires_at) = (encode(&message)?, message.expires_at);
                    tx.retained_put(&RetainedMessage { id, body, expires_at }).await?;
                    kept.insert(id, message);
                }
                (None, Some(id)) => {
                    tx.retained_delete(id).await?;
                    kept.remove(&topic);
                }
                (None, None) => {}
            }
        }
        Ok(RetainedWritten { draft, kept })
    }

    /// What was written is committed.
    pub(crate) fn retained_stored(&self, written: RetainedWritten) {
        let RetainedWritten { mut draft, kept } = written;
        draft.shelf.bytes.store(kept.memory_bytes(), Ordering::Relaxed);
        *draft.kept = Some(kept);
        drop(draft);
        self.0.retained.make_room();
    }

    /// Deletes the retained messages of every tenant that have expired at a trusted moment. One
    /// whose keys are withdrawn keeps its own.
    pub(crate) async fn expire_retained(&self, now: Timestamp) {
        let tenants: Vec<TenantId> = self.0.tree.read().ids().collect();
        for tenant in tenants {
            if let Err(error) = self.expire_retained_of(tenant, now).await {
                tracing::warn!(%tenant, %error, "retained messages past their time stay");
            }
        }
    }

    async fn expire_retained_of(&self, tenant: TenantId, now: Timestamp) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let expired = tx.retained_expired(now).await?;
        drop(tx);
        if expired == 0 {
            return Ok(());
        }
        let mut draft = self.retained_draft(tenant).await?;
        draft.now = now;
        draft.forget_expired();
        self.store_retained(tenant, draft).await
    }

    async fn shelf(&self, tenant: TenantId) -> Result<(Arc<Shelf>, OwnedMutexGuard<Option<Kept>>)> {
        let shelf = self.0.retained.shelf(tenant);
        let mut kept = Arc::clone(&shelf.kept).lock_owned().await;
        if kept.is_none() {
            let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
            let mut read = Kept::default();
            for stored in tx.retained_messages().await? {
                let message = decode(tenant, &stored)
                    .ok_or_else(|| Error::Internal("a retained message is damaged".to_owned()))?;
                read.insert(stored.id, Arc::new(message));
            }
            shelf.bytes.store(read.memory_bytes(), Ordering::Relaxed);
            *kept = Some(read);
            self.0.retained.make_room();
        }
        Ok((shelf, kept))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::CredentialId;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    pub(super) fn message(
        topic: &str,
        payload: &[u8],
        expires_at: Option<i64>,
    ) -> Arc<RelayMessage> {
        Arc::new(RelayMessage {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: NOW,
            expires_at: expires_at.map(Timestamp::from_micros),
            topic: topic.into(),
            properties: b"\x01\x01"[..].into(),
            payload: payload.into(),
            qos: 1,
            retain: true,
        })
    }

    fn draft(kept: Kept) -> RetainedDraft {
        let kept = Arc::new(Turns::new(Some(kept)));
        let (bytes, used) = (AtomicUsize::new(0), AtomicU64::new(0));
        let shelf = Arc::new(Shelf { kept: Arc::clone(&kept), bytes, used });
        RetainedDraft::new(shelf, kept.try_lock_owned().expect("free"), NOW)
    }

    #[test]
    fn bounds_count_what_a_topic_has_once() {
        let mut draft = draft(Kept::default());
        for number in 0..RETAINED_MESSAGES_MAX {
            assert_eq!(draft.take(&message(&format!("t/{number}"), b"1", None)), None);
        }
        let limit = draft.take(&message("more", b"1", None)).expect("over");
        assert_eq!((limit.name, limit.actual), ("retained_messages_max", 10_001));
        assert_eq!(draft.take(&message("t/1", b"22", None)), None, "another one of the same");
        assert_eq!(draft.take(&message("t/1", b"", None)), None, "none any more");
        assert_eq!(draft.take(&message("more", b"1", None)), None);
        let large = vec![b'x'; RETAINED_MESSAGE_BYTES_MAX];
        let limit = draft.take(&message("t/2", &large, None)).expect("over");
        assert_eq!(limit.name, "retained_message_bytes_max");
        let large = vec![b'x'; RETAINED_MESSAGE_BYTES_MAX - 100];
        let limit =
            (2..102).find_map(|number| draft.take(&message(&format!("t/{number}"), &large, None)));
        assert_eq!(limit.expect("over").name, "retained_bytes_max");
    }

    #[test]
    fn a_deleted_device_leaves_nothing_behind() {
        let mut kept = Kept::default();
        let gone = DeviceId::from_bytes([2; 16]);
        let other = DeviceId::from_bytes([9; 16]);
        let own = format!("devices/{gone}/state");
        let messages = [("a", gone), (&*own, other), ("b", other), ("devices/x/state", other)];
        for ((topic, device), number) in messages.into_iter().zip(0u8..) {
            let message = RelayMessage { device, ..(*message(topic, b"1", None)).clone() };
            kept.insert(MessageId::from_bytes([number; 16]), Arc::new(message));
        }
        let mut draft = draft(kept);
        draft.forget_device(gone);
        let changed: Vec<&str> = draft.changes.keys().map(|topic| &**topic).collect();
        assert_eq!(changed, ["a", &own]);
        assert_eq!(draft.count, 2);
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

    #[test]
    fn what_has_expired_makes_room() {
        let mut kept = Kept::default();
        for number in 0..RETAINED_MESSAGES_MAX {
            let expires_at = if number == 7 { 1_000 } else { 1_001 };
            let id = MessageId::from_bytes((number as u128).to_be_bytes());
            kept.insert(id, message(&format!("t/{number}"), b"1", Some(expires_at)));
        }
        let mut draft = draft(kept);
        assert_eq!(draft.take(&message("more", b"1", None)), None);
        assert_eq!(draft.changes.get("t/7"), Some(&None));
        assert!(draft.take(&message("and more", b"1", None)).is_some());
    }
}
