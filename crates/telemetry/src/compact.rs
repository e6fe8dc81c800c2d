//! Merging sections: small ones of one window into one, overlays into one. Only runs of
//! generations that nothing foreign interrupts are merged, so that the later reading still wins.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use veritwin_domain::{DeviceId, FileId, Key, TenantId};
use veritwin_keys::{FileKey, KeyError};

use crate::TelemetryError;
use crate::catalog::{Catalog, Pack, Section};
use crate::codec::Encoder;
use crate::engine::{Engine, EngineLimits, Inner};
use crate::flush::{commit, new_file, put_pack, section_scope};
use crate::pace::Pace;
use crate::reader::OpenSection;
use crate::section::SectionWriter;
use crate::sweep::{Sink, merge};
use crate::values::{Column, ColumnRef};

/// Most compactions in one call of [`Engine::maintain`].
const COMPACTIONS_PER_CALL_MAX: usize = 8;
/// Sections read at once.
const READS_AT_ONCE: usize = 4;
/// A finished window is merged early when the rest weighs this part of its largest section.
const LATE_DATA_DIVISOR: u64 = 8;

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
    window: Option<i64>,
    inputs: Vec<Arc<Section>>,
}

/// How often sections are checked for destroyed keys.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60);

type SectionId = (FileId, u64);

impl Engine {
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
        let _alone = self.inner.compaction.lock().await;
        done.sections_dropped = self.drop_destroyed(false).await?;
        let mut passed_by = HashSet::new();
        while done.compactions < COMPACTIONS_PER_CALL_MAX {
            let catalog = Arc::clone(&self.inner.memory.read().catalog);
            let today = self.inner.clock.now().day();
            let Some(plan) = plan(&catalog, today, &self.inner.limits, &passed_by) else { break };
            drop(catalog);
            match self.compact(&plan).await {
                Ok(()) => {
                    done.compactions += 1;
                    // A merge takes seconds: memory may have filled up meanwhile.
                    done.flushed |= self.flush_if_due().await?;
                }
                Err(error) if error.is_denied() => {
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
        let (engine, tenant, window) = (Arc::clone(inner), plan.tenant, plan.window);
        let merge = move || merge_sections(&engine, tenant, window, &inputs);
        let (pack, section, bytes) =
            tokio::task::spawn_blocking(merge).await.map_err(|_| TelemetryError::Stopped)??;
        put_pack(inner, &pack, bytes).await?;
        let removed = ids(&plan.inputs);
        let mut commits = inner.commits.lock().await;
        let mut next = (*inner.memory.read().catalog).clone();
        let entry = next.tenant_mut(plan.tenant);
        entry.sections.retain(|section| !removed.contains(&section.id()));
        entry.sections.push(Arc::new(section));
        entry.sections.sort_by_key(|section| section.generation);
        let catalog = commit(inner, &mut commits, next, vec![pack]).await?;
        inner.memory.write().catalog = catalog;
        Ok(())
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
                inner.reader.keys.dek(&section_scope(*tenant, None)),
                Err(KeyError::TenantDestroyed { .. })
            );
            if is_gone {
                dropped += entry.sections.len();
                next.tenants.remove(tenant);
                inner.memory.write().forget(*tenant);
                inner.room.notify_waiters();
                continue;
            }
            let is_destroyed =
                |section: &Arc<Section>| inner.reader.keys.destruction(section.dek).is_some();
            let count = entry.sections.iter().filter(|section| is_destroyed(section)).count();
            if count > 0 {
                dropped += count;
                next.tenant_mut(*tenant).sections.retain(|section| !is_destroyed(section));
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

/// Finds sections that should be merged.
fn plan(
    catalog: &Catalog,
    today: i64,
    limits: &EngineLimits,
    passed_by: &HashSet<TenantId>,
) -> Option<Plan> {
    let mut tenants: Vec<_> =
        catalog.tenants.iter().filter(|(tenant, _)| !passed_by.contains(tenant)).collect();
    tenants.sort_unstable_by_key(|(tenant, _)| **tenant);
    for (tenant, entry) in tenants {
        let mut windows: BTreeMap<Option<i64>, Vec<Arc<Section>>> = BTreeMap::new();
        for section in &entry.sections {
            windows.entry(section.window).or_default().push(Arc::clone(section));
        }
        for (window, mut sections) in windows {
            if sections.len() < 2 {
                continue;
            }
            sections.sort_by_key(|section| section.generation);
            for run in runs(&sections, &entry.sections) {
                let fitting = fitting(run, limits.compaction_bytes_max);
                if is_due(fitting, window, today, limits) {
                    return Some(Plan { tenant: *tenant, window, inputs: fitting.to_vec() });
                }
            }
        }
    }
    None
}

/// Cuts one window's sections where the generation of a foreign, overlapping section lies between.
fn runs<'s>(
    sections: &'s [Arc<Section>],
    all: &'s [Arc<Section>],
) -> impl Iterator<Item = &'s [Arc<Section>]> {
    let low = sections.iter().map(|section| section.t_min).min().unwrap_or(i64::MAX);
    let high = sections.iter().map(|section| section.t_max).max().unwrap_or(i64::MIN);
    sections.chunk_by(move |left, right| {
        !all.iter().any(|other| {
            other.window != left.window
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

fn is_due(
    sections: &[Arc<Section>],
    window: Option<i64>,
    today: i64,
    limits: &EngineLimits,
) -> bool {
    if sections.len() < 2 {
        return false;
    }
    if sections.len() >= limits.compaction_sections_min {
        return true;
    }
    let is_over = window.is_some_and(|day| day < today);
    let total: u64 = sections.iter().map(|section| section.bytes()).sum();
    let largest = sections.iter().map(|section| section.bytes()).max().unwrap_or(0);
    is_over && (total - largest).saturating_mul(LATE_DATA_DIVISOR) >= largest
}

/// Merges sections that were read as a whole. Work for a blocking thread.
fn merge_sections(
    inner: &Inner,
    tenant: TenantId,
    window: Option<i64>,
    inputs: &[(Arc<Section>, Bytes)],
) -> Result<(Arc<Pack>, Section, Vec<u8>), TelemetryError> {
    let mut pace = Pace::new(inner, inner.limits.compaction_core_percent);
    let opened = inputs
        .iter()
        .map(|(section, whole)| {
            pace.step();
            inner.reader.open_whole(tenant, section, whole)
        })
        .collect::<Result<Vec<OpenSection>, TelemetryError>>()?;
    let dek = inner
        .reader
        .keys
        .dek(&section_scope(tenant, window))
        .map_err(TelemetryError::keys("seal a merged segment"))?;
    let key = FileKey::derive(&dek, new_file(inner));
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    let mut writer = SectionWriter::begin(&mut bytes, &mut encoder, tenant, key);
    let devices: BTreeSet<DeviceId> =
        opened.iter().flat_map(|open| open.directory.devices.keys().copied()).collect();
    for device in devices {
        let merged = merge_device(device, inputs, &opened, &mut pace)?;
        let columns = merged
            .iter()
            .flat_map(|(key, columns)| columns.iter().map(move |column| (key, column.as_ref())));
        writer.device(device, columns, &mut pace)?;
    }
    let generation = inputs.iter().map(|(section, _)| section.generation).max().unwrap_or(0);
    let section = writer.finish(&pack, generation, window)?;
    Ok((pack, section, bytes))
}

fn merge_device(
    device: DeviceId,
    inputs: &[(Arc<Section>, Bytes)],
    opened: &[OpenSection],
    pace: &mut Pace<'_>,
) -> Result<Vec<(Key, Vec<Column>)>, TelemetryError> {
    let mut series: HashMap<Key, Vec<(u64, Column)>> = HashMap::new();
    for ((section, whole), open) in inputs.iter().zip(opened) {
        for entry in open.directory.devices.get(&device).into_iter().flatten() {
            for chunk in &entry.chunks {
                pace.step();
                let frame = |offset: u64, bytes: u32| {
                    let start = usize::try_from(offset - section.offset).unwrap_or(usize::MAX);
                    whole.get(start..start.saturating_add(bytes as usize)).unwrap_or_default()
                };
                let times = frame(chunk.times.offset, chunk.times.bytes);
                let values = frame(chunk.values.offset, chunk.values.bytes);
                let column = open.decode(device, &entry.key, chunk, [times, values], i64::MAX)?;
                let columns = series.entry(entry.key.clone()).or_default();
                columns.push((section.generation, column));
            }
        }
    }
    let mut merged: Vec<(Key, Vec<Column>)> = series
        .into_iter()
        .map(|(key, columns)| {
            pace.step();
            (key, merge_columns(columns))
        })
        .collect();
    merged.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(merged)
}

/// One column for each kind. Readings that came in their order give columns that lie behind one
/// another: what those hold is moved, and not copied.
fn merge_columns(columns: Vec<(u64, Column)>) -> Vec<Column> {
    let follows = |pair: &[(u64, Column)]| match pair {
        [(_, one), (_, next)] => one.at.last() < next.at.first(),
        _ => false,
    };
    if !columns.windows(2).all(follows) {
        let mut sink = CollectSink::default();
        merge(columns, &mut sink);
        return sink.columns;
    }
    let mut joined: Vec<Column> = Vec::new();
    for (_, column) in columns.into_iter().filter(|(_, column)| !column.at.is_empty()) {
        let kind = column.values.kind();
        match joined.iter_mut().find(|known| known.values.kind() == kind) {
            Some(known) => known.append(column),
            None => joined.push(column),
        }
    }
    joined
}

/// Collects a merged series into one column for each kind.
#[derive(Default)]
struct CollectSink {
    columns: Vec<Column>,
}

impl Sink for CollectSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let kind = run.values.kind();
        match self.columns.iter_mut().find(|column| column.values.kind() == kind) {
            Some(column) => column.extend(run),
            None => self.columns.push(run.to_owned()),
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    fn section(generation: u64, window: Option<i64>, times: (i64, i64)) -> Arc<Section> {
        Arc::new(Section {
            pack: Arc::new(Pack { file: FileId::from_bytes([generation as u8; 16]) }),
            dek: veritwin_keys::DekId::from_bytes([0; 16]),
            offset: 0,
            directory_offset: 1000,
            directory_bytes: 24,
            frames: 2,
            generation,
            window,
            t_min: times.0,
            t_max: times.1,
            points: 10,
        })
    }

    #[test]
    fn runs_break_where_a_foreign_section_lies_between() {
        let day: Vec<_> = [1, 2, 4, 5].map(|g| section(g, Some(0), (0, 100))).into();
        let lengths = |overlay: Arc<Section>| {
            let mut all = day.clone();
            all.push(overlay);
            runs(&day, &all).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(section(3, None, (50, 900))), [2, 2]);
        assert_eq!(lengths(section(3, None, (101, 900))), [4]);
        assert_eq!(lengths(section(9, None, (0, 900))), [4]);
        assert_eq!(lengths(section(1, None, (0, 900))), [1, 3]);
    }

    #[test]
    fn columns_behind_one_another_are_joined_as_they_would_be_merged() {
        let numbers = |at: &[i64], quality: &[u8]| Column {
            at: at.to_vec(),
            values: Values::Integer(at.iter().map(|at| at * 10).collect()),
            quality: quality.to_vec(),
        };
        let texts = |at: &[i64]| Column {
            at: at.to_vec(),
            values: Values::Text(at.iter().map(|at| at.to_string().into()).collect()),
            quality: Vec::new(),
        };
        let check = |columns: Vec<Column>, count: usize| {
            let columns: Vec<_> = (1..).zip(columns).collect();
            let mut sink = CollectSink::default();
            merge(columns.clone(), &mut sink);
            let merged = merge_columns(columns);
            assert_eq!(merged, sink.columns);
            assert_eq!(merged.iter().map(|column| column.at.len()).sum::<usize>(), count);
        };
        check(vec![], 0);
        check(vec![numbers(&[1, 2], &[]), numbers(&[3], &[]), numbers(&[7, 9], &[])], 5);
        check(vec![numbers(&[1, 2], &[]), numbers(&[3], &[1]), numbers(&[4], &[])], 4);
        check(vec![numbers(&[1], &[2]), texts(&[3, 4]), numbers(&[5], &[]), texts(&[6])], 5);
        check(vec![numbers(&[], &[]), texts(&[3, 4])], 2);
        // These do not: of equal times the later one wins.
        check(vec![numbers(&[1, 3], &[]), numbers(&[3, 4], &[1, 1])], 3);
        check(vec![numbers(&[5], &[]), texts(&[1, 5])], 2);
    }

    #[test]
    fn what_is_due() {
        let limits = EngineLimits::default();
        let many: Vec<_> = (0..8).map(|g| section(g, Some(10), (0, 1))).collect();
        assert!(is_due(&many, Some(10), 10, &limits));
        assert!(!is_due(&many[..7], Some(10), 10, &limits));
        assert!(is_due(&many[..2], Some(9), 10, &limits));
        assert!(!is_due(&many[..2], None, 10, &limits));
        assert_eq!(fitting(&many, 3 * 1024).len(), 3);
        assert_eq!(fitting(&many, 3 * 1024)[2].generation, 7);
    }
}
