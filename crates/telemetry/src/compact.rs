//! Merging sections: small ones of one window into one, overlays into one. Only runs of
//! generations that nothing foreign interrupts are merged, so that the later reading still wins.
//! Many tenants' merges become one pack and one manifest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::MutexGuard;
use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{DekId, KeyError};

use crate::TelemetryError;
use crate::catalog::{Catalog, Section, Window};
use crate::commit::{commit, put_pack};
use crate::engine::Engine;
use crate::flush::latest_scope;
use crate::merge_plan::{Due, Plan, plan};
use crate::merged::{Group, Whole, merge_groups};

/// Most merges in one call of [`Engine::maintain`]: each writes a pack and a manifest.
const MERGES_PER_CALL_MAX: usize = 8;
/// Sections read at once.
const READS_AT_ONCE: usize = 4;

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
        let (mut passed_by, mut failed) = (HashSet::new(), None);
        let mut merges = 0;
        while merges < MERGES_PER_CALL_MAX {
            let catalog = Arc::clone(&self.inner.memory.read().catalog);
            let today = self.inner.clock.now().day();
            let due = Due { today, limits: &self.inner.limits };
            let by_days = self.inner.kept_by_days.read().clone();
            let plans = plan(&catalog, due, by_days.as_ref(), &passed_by);
            drop(catalog);
            if plans.is_empty() {
                break;
            }
            let left = self.compact(&plans).await?;
            if left.len() < plans.len() {
                merges += 1;
                done.compactions += plans.len() - left.len();
                // A merge takes seconds: memory may have filled up meanwhile.
                done.flushed |= self.flush_if_due().await?;
            }
            let (withheld, damaged): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, error)| error.is_withheld());
            if !withheld.is_empty() {
                let dropped = self.drop_destroyed(true).await?;
                done.sections_dropped += dropped;
                if dropped == 0 {
                    passed_by.extend(withheld.into_iter().map(|(tenant, _)| tenant));
                }
            }
            // One tenant's damage keeps nobody else's sections as they are.
            for (tenant, error) in damaged {
                tracing::warn!(%tenant, %error, "sections stay as they are");
                passed_by.insert(tenant);
                failed = failed.or(Some(error));
            }
        }
        let mut commits = self.inner.commits.lock().await;
        self.collect_garbage(&mut commits).await;
        failed.map_or(Ok(done), Err)
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

    /// Merges the sections of several tenants into one pack. Answers whose stay as they are since
    /// something of that tenant is in the way; whatever else fails leaves all as they are.
    async fn compact(
        &self,
        plans: &[Plan],
    ) -> Result<Vec<(TenantId, TelemetryError)>, TelemetryError> {
        let inner = &self.inner;
        let (mut left, mut read, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for plan in plans {
            match self.read_inputs(plan).await {
                Ok(group) => {
                    read.push(plan);
                    groups.push(group);
                }
                Err(error) if is_of_one(&error) => left.push((plan.tenant, error)),
                Err(error) => return Err(error),
            }
        }
        let engine = Arc::clone(inner);
        let merge = move || merge_groups(&engine, &groups);
        let merged =
            tokio::task::spawn_blocking(merge).await.map_err(|_| TelemetryError::Stopped)?;
        let mut done = Vec::with_capacity(read.len());
        for (plan, section) in read.into_iter().zip(merged.sections) {
            match section {
                Ok(section) => done.push((plan, section)),
                Err(error) if is_of_one(&error) => left.push((plan.tenant, error)),
                Err(error) => return Err(error),
            }
        }
        if done.is_empty() {
            return Ok(left);
        }
        put_pack(inner, &merged.pack, merged.bytes).await?;
        let mut commits = inner.commits.lock().await;
        let mut next = (*inner.memory.read().catalog).clone();
        let mut months = Vec::new();
        for (plan, section) in done {
            let removed = ids(&plan.inputs);
            let entry = next.tenant_mut(plan.tenant);
            entry.retain(|section| !removed.contains(&section.id()));
            entry.add(section);
            if matches!(plan.window, Window::Month(_)) {
                months.push(plan);
            }
        }
        let catalog = commit(inner, &mut commits, next, vec![merged.pack]).await?;
        inner.memory.write().catalog = Arc::clone(&catalog);
        self.retire_days(&months, &catalog);
        Ok(left)
    }

    async fn read_inputs(&self, plan: &Plan) -> Result<Group, TelemetryError> {
        let reader = &self.inner.reader;
        let reads: Vec<_> = plan.inputs.iter().map(|input| reader.whole(input)).collect();
        let read: Vec<Bytes> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let inputs: Vec<Whole> = plan.inputs.iter().cloned().zip(read).collect();
        Ok(Group { tenant: plan.tenant, place: (plan.window, plan.device), inputs })
    }

    /// The keys of days that were merged into months and seal no section any more: they stay for
    /// a while, since backups of before need them. Under the lock of `commits`, so that no flush
    /// is about to use one. All in one write of the keyring, or tenant by tenant if one of them is
    /// in the way.
    fn retire_days(&self, months: &[&Plan], catalog: &Catalog) {
        let unused_of = |plan: &Plan| {
            let used: HashSet<DekId> =
                catalog.sections(plan.tenant).iter().map(|section| section.dek).collect();
            let deks = plan.inputs.iter().map(|input| input.dek);
            deks.filter(|dek| !used.contains(dek)).collect::<Vec<DekId>>()
        };
        let unused: Vec<Vec<DekId>> = months.iter().copied().map(unused_of).collect();
        let keys = &self.inner.reader.keys;
        if keys.retire(&unused.concat(), None).is_ok() {
            return;
        }
        for (plan, unused) in months.iter().zip(unused) {
            if let Err(error) = keys.retire(&unused, None) {
                tracing::warn!(tenant = %plan.tenant, %error, "keys of merged days go on in use");
            }
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

/// Whether an error is about what one tenant has, and says nothing of others.
fn is_of_one(error: &TelemetryError) -> bool {
    let is_lost =
        matches!(error, TelemetryError::Store { source: object_store::Error::NotFound { .. }, .. });
    error.is_withheld() || is_lost || matches!(error, TelemetryError::Damaged { .. })
}
