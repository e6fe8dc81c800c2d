//! Client attributes and retained messages are durable in the log before they are in the records.
//! Where the records fail, or the process ends in between, they are put in from the log: whoever
//! sent them has its answer, and is never asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, Key, TenantId, Value};
use veritwin_log::{AttributeScope, Committed, Entry, FileLog, Record, Unreadable};

use crate::attributes::ClientDrafts;
use crate::held::LogNeeds;
use crate::retained::RetainedDraft;
use crate::{App, Error, Result};

const CONSUMER: &str = "records";
const TICK: Duration = Duration::from_secs(1);
/// How far everything is in the records is noted this often.
const SAVE_TICKS: u32 = 5;
/// A tenant that is behind is tried again after so long, twice as long each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A start puts in for so long; of the rest everybody is behind, and it is put in afterwards.
const START_MAX: Duration = Duration::from_secs(20);
/// Entries that are put in at once.
const ENTRIES_AT_ONCE: usize = 256;

/// A tenant of which the log holds what the records do not.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// Everything of the tenant before this position is in the records, or under way.
    from: u64,
    tries: u32,
    /// On the monotonic clock.
    retry_at: Duration,
}

#[derive(Debug, Default)]
struct Open {
    /// Submissions that are under way, by number, each with a position that is not behind its own.
    under_way: BTreeMap<u64, u64>,
    count: u64,
    behind: BTreeMap<TenantId, Behind>,
    /// Tenants that are being put in, with where they began.
    mending: BTreeMap<TenantId, u64>,
}

/// What is in the log and not in the records yet.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    open: Mutex<Open>,
    saved_position: Mutex<u64>,
}

impl Effects {
    /// Everything before this position is in the records, and will be after a crash.
    pub(crate) fn saved_position(&self) -> u64 {
        *self.saved_position.lock()
    }

    /// Everything of a tenant before this position is in the records, where the log ends at `tail`.
    pub(crate) fn position_of(&self, tenant: TenantId, tail: u64) -> u64 {
        let open = self.open.lock();
        let behind = open.behind.get(&tenant).map(|one| one.from);
        let own = [behind, open.mending.get(&tenant).copied()].into_iter().flatten();
        open.under_way.values().copied().chain(own).fold(tail, u64::min)
    }

    /// From where on the log is needed for the records.
    pub(crate) fn log_needs(&self, log: &FileLog) -> LogNeeds {
        let open = self.open.lock();
        let front = open.under_way.values().copied().fold(log.tail_position(), u64::min);
        let behind = open.behind.iter().map(|(tenant, one)| (*tenant, one.from));
        let mending = open.mending.iter().map(|(tenant, from)| (*tenant, *from));
        (front, behind.chain(mending).collect())
    }

    /// How many tenants are behind.
    pub(crate) fn behind(&self) -> usize {
        let open = self.open.lock();
        open.behind.len() + open.mending.len()
    }
}

impl Open {
    /// One that is behind already keeps its time: what fails meanwhile neither hastens its next try
    /// nor puts it off.
    fn fall_behind(&mut self, tenant: TenantId, from: u64, tries: u32, now: Duration) {
        let wait = RETRY_MIN.saturating_mul(2u32.saturating_pow(tries)).min(RETRY_MAX);
        let retry_at = now.saturating_add(wait);
        let known = self.behind.entry(tenant).or_insert(Behind { from, tries, retry_at });
        known.from = known.from.min(from);
        if tries > known.tries {
            (known.tries, known.retry_at) = (tries, retry_at);
        }
    }

    fn take_due(&mut self, now: Duration) -> BTreeMap<TenantId, Behind> {
        let due = self.behind.iter().filter(|(_, one)| one.retry_at <= now);
        let taken: BTreeMap<_, _> = due.map(|(tenant, one)| (*tenant, *one)).collect();
        for (tenant, one) in &taken {
            self.behind.remove(tenant);
            self.mending.insert(*tenant, one.from);
        }
        taken
    }

    /// How far everything is in the records, where the log ends at `tail`.
    fn position(&self, tail: u64) -> u64 {
        let open = self.under_way.values().chain(self.mending.values()).copied();
        open.chain(self.behind.values().map(|one| one.from)).fold(tail, u64::min)
    }
}

/// A submission whose effects are not in the records yet. One that ends without having said that
/// they are is put in from the log, if it is there.
struct UnderWay {
    app: App,
    tenant: TenantId,
    number: u64,
    is_owed: bool,
}

impl UnderWay {
    /// It is in the log.
    fn appended(&mut self) {
        self.is_owed = true;
    }

    /// It is in the records.
    fn stored(mut self) {
        self.is_owed = false;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.app.clock().monotonic();
        let mut open = self.app.0.jobs.effects.open.lock();
        if let Some(from) = open.under_way.remove(&self.number)
            && self.is_owed
        {
            open.fall_behind(self.tenant, from, 0, now);
        }
    }
}

/// What of a batch goes into the records: of all tenants, or of some, each from its own position.
#[derive(Default)]
struct Wanted<'a> {
    of: Option<&'a BTreeMap<TenantId, u64>>,
    /// Until when it is read, on the monotonic clock.
    until: Option<Duration>,
    /// Where that ended it.
    left_at: Option<u64>,
    /// Tenants of which something did not get in, with its position.
    failed: BTreeMap<TenantId, u64>,
}

type Said = BTreeMap<TenantId, Vec<(u64, Arc<Entry>)>>;

impl Wanted<'_> {
    /// Where the next entry may be that somebody wants, from a position on; none where nobody does.
    fn goes_on_at(&self, at: u64) -> Option<u64> {
        let Some(of) = self.of else { return Some(at) };
        let open = of.iter().filter(|(tenant, _)| !self.failed.contains_key(*tenant));
        open.map(|(_, from)| at.max(*from)).min()
    }

    fn is_wanted(&self, tenant: TenantId, position: u64) -> bool {
        let is_of =
            |of: &BTreeMap<TenantId, u64>| of.get(&tenant).is_some_and(|from| *from <= position);
        !self.failed.contains_key(&tenant) && self.of.is_none_or(is_of)
    }

    fn sort(&mut self, batch: &Committed) -> Said {
        let mut said = Said::new();
        for (position, entry) in batch.iter() {
            if !self.is_wanted(entry.tenant, position) {
                continue;
            }
            let is_said = match &entry.record {
                Record::Attributes(one) => one.scope == AttributeScope::Client,
                Record::Relay(message) => message.retain,
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    // What came before it in this batch is read again with it.
                    let waits = said.remove(&entry.tenant).unwrap_or_default();
                    let from = waits.first().map_or(position, |(first, _)| *first);
                    self.failed.insert(entry.tenant, from);
                    false
                }
                _ => false,
            };
            if is_said {
                said.entry(entry.tenant).or_default().push((position, Arc::clone(entry)));
            }
        }
        said
    }
}

impl App {
    fn effects_under_way(&self, tenant: TenantId) -> UnderWay {
        let mut open = self.0.jobs.effects.open.lock();
        let number = open.count;
        open.count += 1;
        // Asked under the lock: what is saved is never ahead of it.
        open.under_way.insert(number, self.0.log.tail_position());
        UnderWay { app: self.clone(), tenant, number, is_owed: false }
    }

    /// Appends what `append` does, and puts its effects into the records. Once it is in the log it
    /// is durable, whatever the records say: sent again, it would be stored twice.
    pub(crate) async fn with_effects(
        &self,
        tenant: TenantId,
        append: impl Future<Output = Result<u64>>,
        drafts: &ClientDrafts,
        retained: Option<RetainedDraft>,
    ) -> Result<u64> {
        let mut under_way = self.effects_under_way(tenant);
        let first = append.await?;
        under_way.appended();
        let stored = match self.store_client_attributes(tenant, drafts).await {
            Ok(()) => match retained {
                Some(retained) => self.store_retained(tenant, retained).await,
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => under_way.stored(),
            Err(error) => {
                tracing::warn!(%tenant, %error, "attributes or retained messages are in the log \
                     and not in the records: they are put in from there");
            }
        }
        Ok(first)
    }

    /// Puts in what the last end has left in the log, and goes on with what falls behind.
    pub(crate) async fn start_effects(&self) -> Result<()> {
        self.start_effects_within(START_MAX).await
    }

    /// The same, with so much time for what was left: a tenant that was behind for days must not
    /// keep everybody waiting for a start.
    pub(crate) async fn start_effects_within(&self, most: Duration) -> Result<()> {
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let offset = tx.offset(CONSUMER).await?;
        drop(tx);
        let tail = self.0.log.tail_position();
        // A platform of before answered only when the records had it.
        let from = offset.unwrap_or(tail).clamp(self.0.log.first_position(), tail);
        *self.0.jobs.effects.saved_position.lock() = from;
        if offset.is_none()
            && let Err(error) = self.save_effects(from).await
        {
            tracing::warn!(%error, "from where attributes are in the records was not noted");
        }
        let until = Some(self.clock().monotonic().saturating_add(most));
        let mut wanted = Wanted { until, ..Wanted::default() };
        self.put_in(from, &mut wanted).await?;
        let Wanted { mut failed, left_at, .. } = wanted;
        for tenant in failed.keys() {
            tracing::warn!(%tenant, "attributes or retained messages do not get into the records");
        }
        if let Some(at) = left_at {
            tracing::warn!(
                at,
                tail,
                "what the log holds of attributes and retained messages is \
                 put in while the platform runs"
            );
            let all: Vec<TenantId> = self.0.tree.read().ids().collect();
            for tenant in all {
                failed.entry(tenant).or_insert(at);
            }
        }
        let now = self.clock().monotonic();
        let mut open = self.0.jobs.effects.open.lock();
        for (tenant, from) in failed {
            open.fall_behind(tenant, from, 0, now);
        }
        drop(open);
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_effects().await });
        Ok(())
    }

    async fn keep_effects(&self) {
        let stop = self.0.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.mend_effects().await;
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(SAVE_TICKS) {
                self.advance_effects().await;
            }
        }
        self.advance_effects().await;
    }

    /// Notes how far everything is in the records.
    async fn advance_effects(&self) {
        let position = {
            let open = self.0.jobs.effects.open.lock();
            open.position(self.0.log.tail_position())
        };
        if position <= self.0.jobs.effects.saved_position() {
            return;
        }
        if let Err(error) = self.save_effects(position).await {
            tracing::debug!(%error, "how far attributes are in the records was not noted");
        }
    }

    async fn save_effects(&self, position: u64) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::INGEST)).await?;
        // Records may be ahead of a log that was restored.
        if tx.offset(CONSUMER).await?.is_none_or(|known| known < position) {
            tx.offset_advance(CONSUMER, position).await?;
        }
        tx.commit().await?;
        *self.0.jobs.effects.saved_position.lock() = position;
        Ok(())
    }

    /// Puts in what fell behind, of the tenants whose time has come.
    pub(crate) async fn mend_effects(&self) {
        let taken = self.0.jobs.effects.open.lock().take_due(self.clock().monotonic());
        let Some(first) = taken.values().map(|one| one.from).min() else { return };
        let of: BTreeMap<_, _> = taken.iter().map(|(tenant, one)| (*tenant, one.from)).collect();
        let mut wanted = Wanted { of: Some(&of), ..Wanted::default() };
        let failed = match self.put_in(first, &mut wanted).await {
            Ok(()) => wanted.failed,
            Err(error) => {
                tracing::debug!(%error, "what fell behind was not put in");
                of.clone()
            }
        };
        let now = self.clock().monotonic();
        let mut open = self.0.jobs.effects.open.lock();
        for (tenant, one) in taken {
            open.mending.remove(&tenant);
            match failed.get(&tenant) {
                Some(from) => {
                    open.fall_behind(tenant, *from, one.tries.saturating_add(1), now);
                }
                None => tracing::info!(%tenant, "what a tenant's devices said is in the records"),
            }
        }
    }

    /// Reads the log to its end, or as far as somebody wants something of it. What became durable
    /// before one of these is put in comes before the end: the last word on each attribute and
    /// topic is the last one in the log.
    async fn put_in(&self, from: u64, wanted: &mut Wanted<'_>) -> Result<()> {
        let stopped = || Error::Unavailable("the platform stops".to_owned());
        let mut consumer = self.0.log.consumer(from)?;
        let mut at = from;
        while let Some(next) = wanted.goes_on_at(at) {
            if next >= self.0.log.tail_position() {
                break;
            }
            if self.0.stop.is_cancelled() {
                return Err(stopped());
            }
            if wanted.until.is_some_and(|until| until <= self.clock().monotonic()) {
                wanted.left_at = Some(at);
                break;
            }
            if next > at {
                consumer = self.0.log.consumer(next)?;
            }
            let batch = consumer.next().await?.ok_or_else(stopped)?;
            at = batch.end();
            for (tenant, entries) in wanted.sort(&batch) {
                for some in entries.chunks(ENTRIES_AT_ONCE) {
                    let Err(error) = self.put_in_some(tenant, some).await else { continue };
                    tracing::debug!(%tenant, %error, "what a tenant's devices said did not get in");
                    let is_rowless = matches!(error, Error::NotFound("tenants"));
                    if !is_rowless && !self.is_tenant_destroyed(tenant) {
                        let from = some.first().map_or(at, |(position, _)| *position);
                        wanted.failed.insert(tenant, from);
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Puts entries of a tenant into the records. What passes a bound by now is left out: it was
    /// within it when it was taken, and something that came later has its place.
    #[boxed]
    async fn put_in_some(&self, tenant: TenantId, entries: &[(u64, Arc<Entry>)]) -> Result<()> {
        let (mut written, mut retaining) = (BTreeSet::new(), BTreeSet::new());
        for (_, entry) in entries {
            match &entry.record {
                Record::Attributes(one) => written.insert(one.device),
                Record::Relay(message) => retaining.insert(message.device),
                _ => false,
            };
        }
        let lines = self.0.attribute_lines.turn(tenant, &(&written | &retaining), true).await?;
        self.leave_those_there(tenant, &mut written).await?;
        let mut drafts = self.client_drafts(tenant, written.iter().copied()).await?;
        let mut retained =
            if retaining.is_empty() { None } else { Some(self.retained_draft(tenant).await?) };
        if let Some(retained) = &mut retained {
            self.leave_out_gone(tenant, retained, &retaining).await?;
        }
        for (_, entry) in entries {
            match &entry.record {
                Record::Attributes(one) if written.contains(&one.device) => {
                    let all = one.entries.iter();
                    let all = all.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
                    let _over = drafts.take(one.device, &all.collect::<Vec<(Key, Value)>>())?;
                }
                Record::Relay(message) => {
                    let _over = retained.as_mut().and_then(|retained| retained.take(message));
                }
                _ => {}
            }
        }
        self.store_client_attributes(tenant, &drafts).await?;
        if let Some(retained) = retained {
            self.store_retained(tenant, retained).await?;
        }
        drop(lines);
        Ok(())
    }

    async fn leave_those_there(
        &self,
        tenant: TenantId,
        devices: &mut BTreeSet<DeviceId>,
    ) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let known = tx.devices_by_id(&devices.iter().copied().collect::<Vec<_>>()).await?;
        *devices = known.into_iter().map(|device| device.id).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
