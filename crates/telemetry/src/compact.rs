//! Merging sections: small ones of one window into one, overlays into one. Only runs of
//! generations that nothing foreign interrupts are merged, so that the later reading still wins.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::MutexGuard;
use veritwin_domain::{DeviceId, FileId, TenantId};
use veritwin_keys::{DekId, KeyError};

use crate::TelemetryError;
use crate::catalog::{Catalog, Section, Window, month_of};
use crate::commit::{commit, put_pack};
use crate::engine::{Engine, EngineLimits};
use crate::flush::latest_scope;
use crate::merged::merge_sections;

/// Most compactions in one call of [`Engine::maintain`].
const COMPACTIONS_PER_CALL_MAX: usize = 8;
/// Sections read at once.
const READS_AT_ONCE: usize = 4;
/// A finished window is merged early when the rest weighs this part of its largest section.
const LATE_DATA_DIVISOR: u64 = 8;
/// A month is merged when it has been over for so many days: late data has mostly come.
const MONTH_WAIT_DAYS: i64 = 7;

/// What [`Engine::maintain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Whether memory was flushed.
    pub flushed: bool,
    /// How many groups of sections were merged.
    pub compactions: usize,
    /// How many sections were dropped because their keys are destroyed.
    pub sections_dropped: usize,
}

/// Sections to merge into one.
#[derive(Debug)]
struct Plan {
    tenant: TenantId,
    window: Window,
    /// Whose own key seals them, if not the tenant's.
    device: Option<DeviceId>,
    inputs: Vec<Arc<Section>>,
}

/// How often sections are checked for destroyed keys.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60);

type SectionId = (FileId, u64);

impl Engine {
    /// Waits until nothing merges, and then nothing does until the answer is dropped; what merges
    /// does not rest meanwhile.
    pub(crate) async fn alone(&self) -> MutexGuard<'_, ()> {
        let _hurried = self.inner.hurry.begin();
        self.inner.compaction.lock().await
    }

    /// What has to be done from time to time: flushes when memory is large or old, merges sections,
    /// deletes what is no longer referred to. Call it every few seconds.
    #[boxed]
    pub async fn maintain(&self) -> Result<Maintained, TelemetryError> {
        let engine = self.clone();
        let task = tokio::spawn(async move { engine.maintain_now().await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn maintain_now(&self) -> Result<Maintained, TelemetryError> {
        let mut done = Maintained::default();
        self.inner.reader.forget_denied();
        self.retry_latest().await?;
        done.flushed = self.flush_if_due().await?;
        // A destruction may take hours: the next call merges, and flushes go on until then.
        let Ok(_alone) = self.inner.compaction.try_lock() else { return Ok(done) };
        done.sections_dropped = self.drop_destroyed(false).await?;
        let mut passed_by = HashSet::new();
        while done.compactions < COMPACTIONS_PER_CALL_MAX {
            let catalog = Arc::clone(&self.inner.memory.read().catalog);
            let today = self.inner.clock.now().day();
            let due = Due { today, limits: &self.inner.limits };
            let by_days = self.inner.kept_by_days.read().clone();
            let Some(plan) = plan(&catalog, due, by_days.as_ref(), &passed_by) else { break };
            drop(catalog);
            match self.compact(&plan).await {
                Ok(()) => {
                    done.compactions += 1;
                    // A merge takes seconds: memory may have filled up meanwhile.
                    done.flushed |= self.flush_if_due().await?;
                }
                Err(error) if error.is_withheld() => {
                    let dropped = self.drop_destroyed(true).await?;
                    done.sections_dropped += dropped;
                    if dropped == 0 {
                        passed_by.insert(plan.tenant);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let mut commits = self.inner.commits.lock().await;
        self.collect_garbage(&mut commits).await;
        Ok(done)
    }

    /// Flushes when memory is large or old; says whether it did. It does not wait for compactions,
    /// so call it in a task of its own, every second.
    #[boxed]
    pub async fn flush_if_due(&self) -> Result<bool, TelemetryError> {
        let is_due = self.is_flush_due();
        if is_due {
            self.flush_at(self.inner.limits.flush_core_percent).await?;
        }
        Ok(is_due)
    }

    fn is_flush_due(&self) -> bool {
        let memory = self.inner.memory.read();
        let limits = &self.inner.limits;
        let now = self.inner.clock.monotonic();
        memory.frozen.is_some()
            || memory.bytes_flushable() >= limits.flush_bytes_min
            || memory
                .oldest_applied
                .is_some_and(|oldest| now.saturating_sub(oldest) >= limits.flush_age)
    }

    async fn compact(&self, plan: &Plan) -> Result<(), TelemetryError> {
        let inner = &self.inner;
        let reads: Vec<_> = plan.inputs.iter().map(|input| inner.reader.whole(input)).collect();
        let read: Vec<Bytes> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let inputs: Vec<(Arc<Section>, Bytes)> = plan.inputs.iter().cloned().zip(read).collect();
        let (engine, tenant) = (Arc::clone(inner), plan.tenant);
        let place = (plan.window, plan.device);
        let merge = move || merge_sections(&engine, tenant, place, &inputs);
        let (pack, section, bytes) =
            tokio::task::spawn_blocking(merge).await.map_err(|_| TelemetryError::Stopped)??;
        put_pack(inner, &pack, bytes).await?;
        let removed = ids(&plan.inputs);
        let mut commits = inner.commits.lock().await;
        let mut next = (*inner.memory.read().catalog).clone();
        let entry = next.tenant_mut(plan.tenant);
        entry.retain(|section| !removed.contains(&section.id()));
        entry.add(section);
        let catalog = commit(inner, &mut commits, next, vec![pack]).await?;
        inner.memory.write().catalog = Arc::clone(&catalog);
        if matches!(plan.window, Window::Month(_)) {
            self.retire_days(plan, &catalog);
        }
        Ok(())
    }

    /// The keys of days that were merged into a month and seal no section any more: they stay for
    /// a while, since backups of before need them. Under the lock of `commits`, so that no flush
    /// is about to use one.
    fn retire_days(&self, plan: &Plan, catalog: &Catalog) {
        let used: HashSet<DekId> =
            catalog.sections(plan.tenant).iter().map(|section| section.dek).collect();
        let unused: Vec<DekId> =
            plan.inputs.iter().map(|input| input.dek).filter(|dek| !used.contains(dek)).collect();
        if let Err(error) = self.inner.reader.keys.retire(&unused, None) {
            tracing::warn!(tenant = %plan.tenant, %error, "keys of merged days go on in use");
        }
    }

    /// Drops sections whose keys were destroyed and tenants that lost all of theirs; returns how
    /// many sections. Looks only once in a while unless `now`.
    async fn drop_destroyed(&self, now: bool) -> Result<usize, TelemetryError> {
        let inner = &self.inner;
        let clock = inner.clock.monotonic();
        {
            let mut checked = inner.expiry_checked.lock();
            let is_due = checked.is_none_or(|at| clock.saturating_sub(at) >= EXPIRY_CHECK_INTERVAL);
            if !is_due && !now {
                return Ok(0);
            }
            *checked = Some(clock);
        }
        let mut commits = inner.commits.lock().await;
        let base = Arc::clone(&inner.memory.read().catalog);
        let mut next = (*base).clone();
        let mut dropped = 0;
        for (tenant, entry) in &base.tenants {
            let is_gone = matches!(
                inner.reader.keys.dek(&latest_scope(*tenant)),
                Err(KeyError::TenantDestroyed { .. })
            );
            if is_gone {
                dropped += entry.all().count();
                next.tenants.remove(tenant);
                inner.memory.write().forget(*tenant);
                inner.room.notify_waiters();
                continue;
            }
            let is_destroyed =
                |section: &Section| inner.reader.keys.destruction(section.dek).is_some();
            let count = entry.all().filter(|section| is_destroyed(section)).count();
            if count > 0 {
                dropped += count;
                next.tenant_mut(*tenant).retain(|section| !is_destroyed(section));
            }
        }
        if next.tenants.len() < base.tenants.len() || dropped > 0 {
            let catalog = commit(inner, &mut commits, next, Vec::new()).await?;
            inner.memory.write().catalog = catalog;
        }
        Ok(dropped)
    }
}

fn ids(sections: &[Arc<Section>]) -> HashSet<SectionId> {
    sections.iter().map(|section| section.id()).collect()
}

/// By what a merge is due.
#[derive(Clone, Copy)]
struct Due<'l> {
    today: i64,
    limits: &'l EngineLimits,
}

/// Where a section belongs once merged: days of a month that is over belong to the month.
fn group_of(section: &Section, months_before: Option<i64>) -> Window {
    match section.window {
        Window::Day(day) if months_before.is_some_and(|month| month_of(day) < month) => {
            Window::Month(month_of(day))
        }
        window => window,
    }
}

/// Finds sections that should be merged. Days of tenants that are `by_days` stay days; without
/// that list, everybody's do.
fn plan(
    catalog: &Catalog,
    due: Due<'_>,
    by_days: Option<&HashSet<TenantId>>,
    passed_by: &HashSet<TenantId>,
) -> Option<Plan> {
    let mut tenants: Vec<_> =
        catalog.tenants.iter().filter(|(tenant, _)| !passed_by.contains(tenant)).collect();
    tenants.sort_unstable_by_key(|(tenant, _)| **tenant);
    let over = month_of(due.today.saturating_sub(MONTH_WAIT_DAYS));
    for (tenant, entry) in tenants {
        let months = by_days.is_some_and(|by_days| !by_days.contains(tenant)).then_some(over);
        // Sections of other keys' units hold other series, but for those whose declaration changed
        // in between.
        let mut units: BTreeMap<Option<DeviceId>, Vec<Arc<Section>>> = BTreeMap::new();
        for section in &entry.sections {
            units.entry(section.device).or_default().push(Arc::clone(section));
        }
        for (device, all) in units {
            if let Some((window, inputs)) = plan_unit(&all, months, due) {
                return Some(Plan { tenant: *tenant, window, device, inputs });
            }
        }
    }
    None
}

/// Finds sections of one unit that should be merged, and what they become.
fn plan_unit(
    all: &[Arc<Section>],
    months: Option<i64>,
    due: Due<'_>,
) -> Option<(Window, Vec<Arc<Section>>)> {
    let mut groups: BTreeMap<Window, Vec<Arc<Section>>> = BTreeMap::new();
    for section in all {
        groups.entry(group_of(section, months)).or_default().push(Arc::clone(section));
    }
    for (window, mut sections) in groups {
        if sections.len() < 2 {
            continue;
        }
        sections.sort_by_key(|section| section.generation);
        for mut run in runs(&sections, all, months) {
            while !run.is_empty() {
                let fitting = fitting(run, due.limits.compaction_bytes_max);
                if is_due(fitting, window, due) {
                    return Some((window, fitting.to_vec()));
                }
                run = &run[..run.len() - fitting.len().max(1)];
            }
        }
    }
    None
}

/// Cuts one group's sections where the generation of a foreign, overlapping section lies between.
fn runs<'s>(
    sections: &'s [Arc<Section>],
    all: &'s [Arc<Section>],
    months: Option<i64>,
) -> impl Iterator<Item = &'s [Arc<Section>]> {
    let low = sections.iter().map(|section| section.t_min).min().unwrap_or(i64::MAX);
    let high = sections.iter().map(|section| section.t_max).max().unwrap_or(i64::MIN);
    sections.chunk_by(move |left, right| {
        let own = group_of(left, months);
        !all.iter().any(|other| {
            group_of(other, months) != own
                && other.overlaps(low, high)
                && (left.generation..right.generation).contains(&other.generation)
        })
    })
}

/// The longest stretch from the newest end that fits into one compaction.
fn fitting(run: &[Arc<Section>], bytes_max: u64) -> &[Arc<Section>] {
    let mut bytes = 0u64;
    let count = run
        .iter()
        .rev()
        .take_while(|section| {
            bytes = bytes.saturating_add(section.bytes());
            bytes <= bytes_max
        })
        .count();
    &run[run.len() - count..]
}

fn is_due(sections: &[Arc<Section>], window: Window, due: Due<'_>) -> bool {
    if sections.len() < 2 {
        return false;
    }
    if sections.len() >= due.limits.compaction_sections_min {
        return true;
    }
    let is_over = match window {
        Window::Day(day) => day < due.today,
        // Merged months alone are left as they are.
        Window::Month(_) => sections.iter().any(|one| matches!(one.window, Window::Day(_))),
        Window::All | Window::Figures(_) => false,
    };
    let total: u64 = sections.iter().map(|section| section.bytes()).sum();
    let largest = sections.iter().map(|section| section.bytes()).max().unwrap_or(0);
    is_over && (total - largest).saturating_mul(LATE_DATA_DIVISOR) >= largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Pack;

    fn section(generation: u64, window: Window, times: (i64, i64)) -> Arc<Section> {
        Arc::new(Section {
            pack: Arc::new(Pack { file: FileId::from_bytes([generation as u8; 16]) }),
            dek: DekId::from_bytes([0; 16]),
            offset: 0,
            directory_offset: 1000,
            directory_bytes: 24,
            frames: 2,
            generation,
            window,
            device: None,
            t_min: times.0,
            t_max: times.1,
            points: 10,
        })
    }

    #[test]
    fn runs_break_where_a_foreign_section_lies_between() {
        let day: Vec<_> = [1, 2, 4, 5].map(|g| section(g, Window::Day(0), (0, 100))).into();
        let lengths = |overlay: Arc<Section>| {
            let mut all = day.clone();
            all.push(overlay);
            runs(&day, &all, None).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(section(3, Window::All, (50, 900))), [2, 2]);
        assert_eq!(lengths(section(3, Window::All, (101, 900))), [4]);
        assert_eq!(lengths(section(9, Window::All, (0, 900))), [4]);
        assert_eq!(lengths(section(1, Window::All, (0, 900))), [1, 3]);
    }

    #[test]
    fn what_is_due() {
        let limits = EngineLimits::default();
        let due = |today| Due { today, limits: &limits };
        let day = Window::Day;
        let many: Vec<_> = (0..8).map(|g| section(g, day(10), (0, 1))).collect();
        assert!(is_due(&many, day(10), due(10)));
        assert!(!is_due(&many[..7], day(10), due(10)));
        assert!(is_due(&many[..2], day(9), due(10)));
        assert!(!is_due(&many[..2], Window::All, due(10)));
        assert!(is_due(&many[..2], Window::Month(0), due(10)));
        let months: Vec<_> = (0..3).map(|g| section(g, Window::Month(0), (0, 1))).collect();
        assert!(!is_due(&months, Window::Month(0), due(99)), "merged already");
        assert_eq!(fitting(&many, 3 * 1024).len(), 3);
        assert_eq!(fitting(&many, 3 * 1024)[2].generation, 7);
    }

    #[test]
    fn days_of_a_month_that_is_over_are_merged_unless_readings_end_by_days() {
        let limits = EngineLimits { compaction_bytes_max: 3 * 1024, ..EngineLimits::default() };
        let tenant = TenantId::from_bytes([1; 16]);
        let mut catalog = Catalog::default();
        let end = |day: i64| day * veritwin_domain::DAY_MICROS;
        for day in 0..5 {
            let one = section(day as u64, Window::Day(day), (end(day), end(day) + 9));
            catalog.tenant_mut(tenant).sections.push(one);
        }
        let look = |today: i64, by_days: Option<&HashSet<TenantId>>| {
            plan(&catalog, Due { today, limits: &limits }, by_days, &HashSet::new())
        };
        let (none, own) = (HashSet::new(), HashSet::from([tenant]));
        assert!(look(99, None).is_none() && look(99, Some(&own)).is_none());
        assert!(look(31 + 6, Some(&none)).is_none(), "late data has its time");
        let found = look(31 + 7, Some(&none)).expect("a plan");
        assert_eq!((found.window, found.inputs.len()), (Window::Month(0), 3));
        assert_eq!(found.inputs[0].window, Window::Day(2), "the newest that fit");
    }
}
