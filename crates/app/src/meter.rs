//! What each tenant uses on a day: counted as the log commits it and as questions are answered,
//! written down once a minute together with the position in the log up to which it is counted. What
//! a crash leaves unwritten is counted again out of the log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, LimitExceeded, Reading, TenantId, Timestamp};
use veritwin_log::{CommitObserver, Committed, Entry, Record};
use veritwin_metastore::{UsageCounts, UsageLevels, usage_day};
use veritwin_telemetry::LatestSize;

use crate::model::PlanLimits;
use crate::storage::refuse_over;
use crate::{App, Error, Result};

/// The consumer of the log, in the records.
const CONSUMER: &str = "usage";
/// Levels of a tenant are looked at this often.
const LEVELS_AGE: Duration = Duration::from_secs(20);
/// Tenants whose levels are looked at in one go.
const LEVELS_AT_ONCE: usize = 200;
/// Days that usage is kept.
pub(crate) const USAGE_DAYS_KEPT: i64 = 800;
/// Time and value of a reading, without a text's own bytes.
const READING_BYTES: u64 = 16;
const POINTS_PER_DAY: &str = "plan_points_per_day_max";
const SERIES: &str = "plan_series_max";

/// Counters since they were last written.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    open: Mutex<Open>,
    /// Held while they go from here into the records: a figure is in one of the two.
    written: tokio::sync::RwLock<()>,
}

type Counts = BTreeMap<(TenantId, i64), UsageCounts>;

#[derive(Debug, Default)]
struct Open {
    counts: Counts,
    /// Readings of late, those that are written included.
    points: HashMap<(TenantId, i64), u64>,
    /// Everything before this position of the log is counted.
    position: u64,
    /// Everything before this position is written.
    saved: u64,
    /// When a tenant's levels were last looked at, on the monotonic clock.
    looked: HashMap<TenantId, Duration>,
    /// Whose levels are to be looked at: there was something of them.
    active: HashSet<TenantId>,
}

impl Open {
    fn add(&mut self, tenant: TenantId, day: i64, more: &UsageCounts) {
        add(self.counts.entry((tenant, day)).or_default(), more);
        if more.points > 0 {
            *self.points.entry((tenant, day)).or_default() += more.points;
        }
        self.active.insert(tenant);
    }

    /// Counts a batch; what was counted before is passed by.
    fn batch(&mut self, batch: &Committed) {
        // Entries of one tenant mostly stand together: they are looked up once.
        let mut run: Option<(TenantId, i64, UsageCounts)> = None;
        for (position, entry) in batch.iter() {
            if position < self.position {
                continue;
            }
            let Some((day, counts)) = counts_of(entry) else { continue };
            match &mut run {
                Some((tenant, on, sum)) if *tenant == entry.tenant && *on == day => {
                    add(sum, &counts);
                }
                _ => {
                    if let Some((tenant, on, sum)) = run.replace((entry.tenant, day, counts)) {
                        self.add(tenant, on, &sum);
                    }
                }
            }
        }
        if let Some((tenant, on, sum)) = run {
            self.add(tenant, on, &sum);
        }
        self.position = self.position.max(batch.end());
    }
}

fn add(counts: &mut UsageCounts, more: &UsageCounts) {
    counts.points += more.points;
    counts.messages += more.messages;
    counts.bytes_in += more.bytes_in;
    counts.bytes_out += more.bytes_out;
    counts.queries += more.queries;
    counts.requests += more.requests;
}

/// What an entry of the log counts for, and on which day.
fn counts_of(entry: &Entry) -> Option<(i64, UsageCounts)> {
    let (points, bytes) = match &entry.record {
        Record::Readings(batch) => {
            let text: usize = batch.readings.iter().map(|one| one.value.text_bytes()).sum();
            let points = batch.readings.len() as u64;
            (points, points * READING_BYTES + text as u64)
        }
        Record::Attributes(attributes) => {
            let values = attributes.entries.iter().filter_map(|(_, value)| value.as_ref());
            let text: usize = values.map(veritwin_domain::Value::text_bytes).sum();
            (0, attributes.entries.len() as u64 * READING_BYTES + text as u64)
        }
        Record::Relay(message) => (0, message.content_bytes() as u64),
        Record::Edge(_)
        | Record::Session(_)
        | Record::Refusal(_)
        | Record::Note(_)
        | Record::Unreadable(_) => return None,
    };
    let day = usage_day(entry.record.received_at()?);
    let counts = UsageCounts { points, messages: 1, bytes_in: bytes, ..UsageCounts::default() };
    Some((day, counts))
}

/// What readings add to what latest values take if each begins a series.
fn most_of<'r>(batches: impl IntoIterator<Item = (DeviceId, &'r [Reading])>) -> LatestSize {
    let mut most = LatestSize::default();
    for reading in batches.into_iter().flat_map(|(_, readings)| readings) {
        most.series += 1;
        most.bytes += reading.key.len() + reading.value.text_bytes();
    }
    most
}

impl Meter {
    /// Up to where what the log holds is written down.
    pub(crate) fn saved_position(&self) -> u64 {
        self.open.lock().saved
    }

    /// Until it is let go nothing goes from the counters into the records.
    pub(crate) async fn hold(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.written.read().await
    }

    fn points_on(&self, tenant: TenantId, day: i64) -> u64 {
        self.open.lock().points.get(&(tenant, day)).copied().unwrap_or(0)
    }
}

/// Sees what the log commits.
pub(crate) struct MeterObserver(pub(crate) Arc<Meter>);

impl CommitObserver for MeterObserver {
    fn committed(&mut self, batch: &Arc<Committed>) {
        self.0.open.lock().batch(batch);
    }
}

impl App {
    /// Counts what the log holds and what is not written yet; before anything is appended.
    pub(crate) async fn recount_usage(&self) -> Result<()> {
        let context = self.job(jobs::RETENTION);
        let day = usage_day(context.at);
        let tx = self.0.store.read_platform(&context).await?;
        let (saved, points) = (tx.offset(CONSUMER).await?, tx.usage_points(day).await?);
        drop(tx);
        let (log, meter) = (&self.0.log, &self.0.upkeep.meter);
        let (first, tail) = (log.first_position(), log.tail_position());
        if saved.is_none() {
            // A platform that never counted begins now, and goes on from here after a crash.
            let tx = self.0.store.begin_platform(&context).await?;
            tx.offset_advance(CONSUMER, tail).await?;
            tx.commit().await?;
        }
        let from = saved.unwrap_or(tail).clamp(first.min(tail), tail);
        {
            let mut open = meter.open.lock();
            // What was appended at the start is in the log too.
            open.counts.clear();
            open.points = points.into_iter().map(|(tenant, sum)| ((tenant, day), sum)).collect();
            (open.position, open.saved) = (from, from);
        }
        for batch in log.read_from(from)? {
            let batch = batch?;
            meter.open.lock().batch(&batch);
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    fn meter(&self, tenant: TenantId, more: &UsageCounts) {
        let day = usage_day(self.clock().now());
        self.0.upkeep.meter.open.lock().add(tenant, day, more);
    }

    /// An answer left to somebody of a tenant.
    pub fn count_answer(&self, tenant: TenantId, bytes: u64) {
        self.meter(
            tenant,
            &UsageCounts { bytes_out: bytes, requests: 1, ..UsageCounts::default() },
        );
    }

    /// A question about readings was answered.
    pub(crate) fn count_query(&self, tenant: TenantId) {
        self.meter(tenant, &UsageCounts { queries: 1, ..UsageCounts::default() });
    }

    /// Refuses readings over what a plan gives for the day.
    pub(crate) fn check_points(
        &self,
        tenant: TenantId,
        limits: &PlanLimits,
        more: usize,
    ) -> Result<()> {
        let Some(max) = limits.points_per_day else { return Ok(()) };
        let today = self.0.upkeep.meter.points_on(tenant, usage_day(self.clock().now()));
        refuse_over(POINTS_PER_DAY, max, today + more as u64)
    }

    /// Refuses readings that would begin more series than a plan gives, or for whose series, or
    /// the texts that they say last, there is no room.
    pub(crate) fn check_series<'r>(
        &self,
        tenant: TenantId,
        limits: &PlanLimits,
        batches: impl IntoIterator<Item = (DeviceId, &'r [Reading])> + Clone,
    ) -> std::result::Result<(), LimitExceeded> {
        let engine = &self.0.engine;
        if limits.series.is_none() && engine.has_spare_latest(most_of(batches.clone())) {
            return Ok(());
        }
        let mut growth = LatestSize::default();
        for (device, readings) in batches {
            let more = engine.latest_growth(tenant, device, readings);
            growth.series += more.series;
            growth.bytes += more.bytes;
        }
        engine.latest_room(tenant, growth)?;
        let Some(max) = limits.series.filter(|_| growth.series > 0) else { return Ok(()) };
        let count = engine.series_count(tenant) + growth.series as u64;
        if count <= max {
            return Ok(());
        }
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Err(LimitExceeded { name: SERIES, max: size(max), actual: size(count) })
    }

    /// Writes down what was counted, and the position up to which it was. Whether that went well.
    pub(crate) async fn flush_usage(&self) -> bool {
        let today = usage_day(self.clock().now());
        let alone = self.0.upkeep.meter.written.write().await;
        let (counts, position, saved) = {
            let mut open = self.0.upkeep.meter.open.lock();
            open.points.retain(|(_, day), _| (day - today).abs() <= 1);
            (std::mem::take(&mut open.counts), open.position, open.saved)
        };
        if let Err(error) = self.write_usage(&counts, (position, saved)).await {
            tracing::warn!(%error, "what tenants used was not written; trying again");
            let mut open = self.0.upkeep.meter.open.lock();
            for (key, more) in &counts {
                add(open.counts.entry(*key).or_default(), more);
            }
            return false;
        }
        self.0.upkeep.meter.open.lock().saved = position;
        drop(alone);
        if !self.0.stop.is_cancelled() {
            self.look_at_levels().await;
        }
        true
    }

    async fn write_usage(&self, counts: &Counts, (position, saved): (u64, u64)) -> Result<()> {
        if counts.is_empty() && position == saved {
            return Ok(());
        }
        let known: HashSet<TenantId> = self.0.tree.read().ids().collect();
        let context = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        // In one order, so that two nodes never wait for each other.
        for ((tenant, day), counts) in counts {
            // A tenant that is gone has nothing to be told.
            if known.contains(tenant) {
                tx.usage_add(*tenant, *day, counts).await?;
            }
        }
        if position > saved {
            match tx.offset_advance(CONSUMER, position).await {
                // Restored records are of a later moment than the log: they have counted it.
                Err(veritwin_metastore::Error::Conflict { .. }) => {
                    return Ok(());
                }
                other => other?,
            }
        }
        Ok(tx.commit().await?)
    }

    /// Looks at what there is of tenants that did something, each now and then.
    async fn look_at_levels(&self) {
        let now = self.clock().monotonic();
        let due: Vec<TenantId> = {
            let open = self.0.upkeep.meter.open.lock();
            let is_due = |tenant: &&TenantId| {
                let looked = open.looked.get(*tenant);
                looked.is_none_or(|at| now.saturating_sub(*at) >= LEVELS_AGE)
            };
            let mut due: Vec<TenantId> = open.active.iter().filter(is_due).copied().collect();
            // Who waits longest has its turn first.
            due.sort_by_key(|tenant| open.looked.get(tenant).copied());
            due.truncate(LEVELS_AT_ONCE);
            due
        };
        for tenant in due {
            let looked = self.write_levels(tenant).await;
            let mut open = self.0.upkeep.meter.open.lock();
            open.active.remove(&tenant);
            open.looked.insert(tenant, now);
            drop(open);
            match looked {
                Ok(()) | Err(Error::NotFound(_)) => {}
                // A tenant whose keys are denied or silent is looked at when they are not; one that
                // is gone has nothing to look at.
                Err(error) if error.is_withheld() => {}
                Err(error) => tracing::debug!(%tenant, %error, "what a tenant has was not noted"),
            }
        }
    }

    async fn write_levels(&self, tenant: TenantId) -> Result<()> {
        if !self.0.tree.read().ids().any(|known| known == tenant) {
            return Ok(());
        }
        let levels = self.levels(tenant).await?;
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = self.0.store.begin(&context).await?;
        tx.usage_levels_put(usage_day(context.at), &levels).await?;
        tx.commit().await?;
        self.warn_of_quota(tenant, &levels).await
    }

    /// What there is of a tenant now.
    pub(crate) async fn levels(&self, tenant: TenantId) -> Result<UsageLevels> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let devices = self.0.store.read(&context).await?.usage().await?.devices;
        let stored_bytes = self.storage_bytes(tenant).await?;
        Ok(UsageLevels { stored_bytes, devices, series: self.0.engine.series_count(tenant) })
    }

    /// The readings of a tenant today, as far as they are counted.
    pub(crate) fn points_of_today(&self, tenant: TenantId, now: Timestamp) -> u64 {
        self.0.upkeep.meter.points_on(tenant, usage_day(now))
    }

    /// What was counted of a tenant and is not written yet, by day.
    pub(crate) fn uncounted(&self, tenant: TenantId) -> Vec<(i64, UsageCounts)> {
        let open = self.0.upkeep.meter.open.lock();
        let own = open.counts.range((tenant, i64::MIN)..=(tenant, i64::MAX));
        own.map(|((_, day), counts)| (*day, *counts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, DeviceBatch, Key, Quality, Value};

    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn batch(first: u64, seconds: &[u64]) -> Committed {
        let entry = |seconds: &u64| {
            let received_at = Timestamp::EPOCH.saturating_add(Duration::from_secs(*seconds));
            let reading = Reading {
                key: Key::new("k").expect("a key"),
                at: received_at,
                value: Value::Integer(1),
                quality: Quality::Good,
            };
            Arc::new(Entry::from(DeviceBatch {
                tenant: TENANT,
                device: DeviceId::from_bytes([2; 16]),
                credential: CredentialId::from_bytes([3; 16]),
                received_at,
                readings: vec![reading; 3],
            }))
        };
        Committed { first, entries: seconds.iter().map(entry).collect(), passed: 0 }
    }

    #[test]
    fn each_entry_counts_once_on_its_day() {
        let meter = Meter::default();
        let mut observer = MeterObserver(Arc::new(meter));
        observer.committed(&Arc::new(batch(0, &[10, 86_399, 86_400])));
        observer.committed(&Arc::new(batch(1, &[86_399, 86_400, 90_000])));
        let open = observer.0.open.lock();
        let expect = |points, messages| UsageCounts {
            points,
            messages,
            bytes_in: points * READING_BYTES,
            ..UsageCounts::default()
        };
        assert_eq!(open.counts[&(TENANT, 0)], expect(6, 2));
        assert_eq!(open.counts[&(TENANT, 1)], expect(6, 2));
        assert_eq!(open.position, 4);
        let on = |day| open.points[&(TENANT, day)];
        assert_eq!((on(0), on(1)), (6, 6), "a day does not end the one before");
    }
}
