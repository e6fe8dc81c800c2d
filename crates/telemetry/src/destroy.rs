//! Destruction of chosen readings: sections that hold them are written anew without them under a
//! new key, or dropped whole; the old keys are retired by the act, and whoever asked destroys them
//! once that is written down. Cut off at any step, the same call goes on from there.

mod reseal;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use veritwin_domain::{DeviceId, FileId, Key, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekId, DekSummary, DestructionMethod, FileKey, KeyError};

use crate::TelemetryError;
use crate::catalog::{Catalog, Pack, Section, Window};
use crate::codec::Encoder;
use crate::commit::{commit, discard, put_pack};
use crate::compact::merge_device;
use crate::engine::{Engine, Inner};
use crate::flush::{latest_scope, latest_values, new_file, out_of_reach, section_scope};
use crate::memory::Latest;
use crate::query::{Order, RangeQuery, Series, TimeRange};
use crate::reader::OpenSection;
use crate::section::{SectionWriter, write_latest};
use crate::selection::{Meant, Rewritten, Selected, Selection};
use crate::values::Column;

type SectionId = (FileId, u64);
/// Which sections an act looks at.
type Asked = fn(&Section) -> bool;

/// One call of [`Engine::destroy`].
struct Act<'s> {
    selection: &'s Selection,
    id: [u8; 16],
    /// Readings of flushes from this generation on came after the act began, and stay.
    generation_end: u64,
    /// What was written by this call.
    written: HashSet<SectionId>,
    done: Rewritten,
}

impl Act<'_> {
    /// How many readings of a section may be meant, with their series.
    fn meets(
        &self,
        section: &Section,
        open: &OpenSection,
        mut each: impl FnMut(DeviceId, &Key, u64),
    ) {
        let (low, high) = self.selection.bounds(section.window);
        for (device, series) in &open.directory.devices {
            for entry in series {
                let points: u64 = entry
                    .chunks
                    .iter()
                    .filter(|chunk| chunk.t_min <= high && low <= chunk.t_max)
                    .map(|chunk| u64::from(chunk.count))
                    .sum();
                if points > 0 && !matches!(self.selection.meant(*device, &entry.key), Meant::No) {
                    each(*device, &entry.key, points);
                }
            }
        }
    }
}

impl Engine {
    /// What [`Engine::destroy`] would destroy now. What is in memory is written out first, so that
    /// it is counted.
    #[boxed]
    pub async fn selected(&self, selection: &Selection) -> Result<Selected, TelemetryError> {
        self.flush().await?;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let act = self.act(selection, [0; 16], &catalog);
        let (mut found, mut devices, mut series) =
            (Selected::default(), HashSet::new(), HashSet::new());
        let sections: Vec<Arc<Section>> = all(&catalog, selection.tenant).cloned().collect();
        for section in &sections {
            if !selection.may_touch(section) {
                continue;
            }
            let Some(open) = self.open_if_live(selection.tenant, section).await? else { continue };
            let is_readings = !matches!(section.window, Window::Figures(_));
            let mut points = 0;
            act.meets(section, &open, |device, key, count| {
                points += count;
                devices.insert(device);
                series.insert((device, key.clone()));
            });
            if points > 0 {
                found.sections += 1;
                found.bytes += section.bytes();
                found.points += if is_readings { points } else { 0 };
            }
        }
        found.devices = devices.len() as u64;
        found.series = series.len() as u64;
        Ok(found)
    }

    /// Takes chosen readings out of every section and out of the latest values, and retires the
    /// keys that sealed them in the name of `act`; they are in [`KeyService::retired_by`] then, and
    /// the caller destroys them. Readings that arrive from the beginning of the call on stay.
    ///
    /// [`KeyService::retired_by`]: veritwin_keys::KeyService::retired_by
    #[boxed]
    pub async fn destroy(
        &self,
        selection: &Selection,
        act: [u8; 16],
    ) -> Result<Rewritten, TelemetryError> {
        let (engine, selection) = (self.clone(), selection.clone());
        // A task of its own: a caller that gives up must not stop between manifest and memory.
        let task = tokio::spawn(async move { engine.destroy_now(&selection, act).await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn destroy_now(
        &self,
        selection: &Selection,
        id: [u8; 16],
    ) -> Result<Rewritten, TelemetryError> {
        let tenant = selection.tenant;
        self.flush().await?;
        let _alone = self.inner.compaction.lock().await;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let mut act = self.act(selection, id, &catalog);
        drop(catalog);
        self.retire_shared(&mut act).await?;
        self.rewrite_meant(&mut act, |_| true).await?;
        self.rewrite_latest(selection).await?;
        // Keys of merged days, which only older copies need, may have sealed what is meant.
        let keys = &self.inner.reader.keys;
        let old = keys.retired_before(Timestamp::MAX).into_iter().filter(|one| {
            let scope = &one.scope;
            let is_own = scope.tenant == Some(tenant) && scope.class == DataClass::Segment;
            is_own && selection.concerns(scope)
        });
        let old: Vec<DekId> = old.map(|one| one.id).collect();
        keys.retire(&old, Some(id)).map_err(TelemetryError::keys("retire keys of merged days"))?;
        let mut commits = self.inner.commits.lock().await;
        self.collect_garbage(&mut commits).await;
        Ok(act.done)
    }

    /// Ends chosen series: sections by days and months are written anew without them, and their old
    /// keys destroyed. Overlays, figures, latest values and what is in memory stay.
    #[boxed]
    pub async fn expire_series(&self, selection: &Selection) -> Result<Rewritten, TelemetryError> {
        let (engine, selection) = (self.clone(), selection.clone());
        let task = tokio::spawn(async move {
            let _alone = engine.inner.compaction.lock().await;
            engine
                .cut(&selection, |one| matches!(one.window, Window::Day(_) | Window::Month(_)))
                .await
        });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    /// Writes months of readings anew without the days that end, and destroys their old keys. The
    /// caller has the lock of compactions.
    pub(crate) async fn cut_months(&self, selection: &Selection) -> Result<u64, TelemetryError> {
        let done = self.cut(selection, |one| matches!(one.window, Window::Month(_))).await?;
        Ok(done.points)
    }

    async fn cut(
        &self,
        selection: &Selection,
        is_asked: Asked,
    ) -> Result<Rewritten, TelemetryError> {
        /// Names the act of expiry in the keyring.
        const EXPIRY: [u8; 16] = *b"veritwin expiry\0";
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let mut act = self.act(selection, EXPIRY, &catalog);
        drop(catalog);
        self.rewrite_meant(&mut act, is_asked).await?;
        let keys = &self.inner.reader.keys;
        let is_own = |one: &DekSummary| one.scope.tenant == Some(selection.tenant);
        let old = keys.retired_by(EXPIRY).into_iter().filter(is_own);
        let old: Vec<DekId> = old.map(|one| one.id).collect();
        if !old.is_empty() {
            let method = DestructionMethod::RewrittenThenKeyDestroyed;
            let destroyed = keys.destroy(&old, method);
            destroyed.map_err(TelemetryError::keys("destroy the key of a month"))?;
        }
        Ok(act.done)
    }

    /// Destroys the keys of days that were merged into months before a moment. Backups of before
    /// that merge cannot be read whole any more.
    #[boxed]
    pub async fn destroy_superseded(&self, before: Timestamp) -> Result<usize, TelemetryError> {
        let _alone = self.inner.compaction.lock().await;
        let _commits = self.inner.commits.lock().await;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let sections = catalog.tenants.values().flat_map(|entry| entry.all());
        let used: HashSet<DekId> = sections.map(|section| section.dek).collect();
        let keys = &self.inner.reader.keys;
        let old = keys.retired_before(before).into_iter();
        let old =
            old.filter(|one| one.scope.class == DataClass::Segment && !used.contains(&one.id));
        let old: Vec<DekId> = old.map(|one| one.id).collect();
        if old.is_empty() {
            return Ok(0);
        }
        keys.destroy(&old, DestructionMethod::RewrittenThenKeyDestroyed)
            .map(|records| records.len())
            .map_err(TelemetryError::keys("destroy keys of merged days"))
    }

    fn act<'s>(&self, selection: &'s Selection, id: [u8; 16], catalog: &Catalog) -> Act<'s> {
        Act {
            selection,
            id,
            generation_end: catalog.generation_next,
            written: HashSet::new(),
            done: Rewritten::default(),
        }
    }

    /// A section whose key was destroyed is as if it were not there.
    pub(crate) async fn open_if_live(
        &self,
        tenant: TenantId,
        section: &Section,
    ) -> Result<Option<Arc<OpenSection>>, TelemetryError> {
        match self.inner.reader.section(tenant, section).await {
            Err(TelemetryError::Keys { source: KeyError::Destroyed { .. }, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Overlays and latest values share a key without an epoch, and older copies of latest values
    /// may hold anything: once for each act it makes room for a new one.
    async fn retire_shared(&self, act: &mut Act<'_>) -> Result<(), TelemetryError> {
        let keys = &self.inner.reader.keys;
        let scope = latest_scope(act.selection.tenant);
        if keys.retired_by(act.id).iter().any(|one| one.scope == scope) {
            return Ok(());
        }
        let shared = keys.dek(&scope).map_err(TelemetryError::keys("find the key of overlays"))?;
        self.rewrite_key(act, shared.id()).await
    }

    /// Writes anew what is sealed under keys that sealed something that is meant, key after key.
    async fn rewrite_meant(
        &self,
        act: &mut Act<'_>,
        is_asked: Asked,
    ) -> Result<(), TelemetryError> {
        while let Some(dek) = self.next_key(act, is_asked).await? {
            self.rewrite_key(act, dek).await?;
        }
        Ok(())
    }

    /// A key with sections that hold something that is meant, or that the act has retired.
    async fn next_key(
        &self,
        act: &Act<'_>,
        is_asked: Asked,
    ) -> Result<Option<DekId>, TelemetryError> {
        let keys = &self.inner.reader.keys;
        let tenant = act.selection.tenant;
        let retired: HashSet<DekId> = keys.retired_by(act.id).iter().map(|one| one.id).collect();
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let sections: Vec<Arc<Section>> = all(&catalog, tenant).cloned().collect();
        drop(catalog);
        for section in &sections {
            if retired.contains(&section.dek) {
                return Ok(Some(section.dek));
            }
            let is_new =
                section.generation >= act.generation_end || act.written.contains(&section.id());
            if is_new || !is_asked(section) || !act.selection.may_touch(section) {
                continue;
            }
            let Some(open) = self.open_if_live(tenant, section).await? else { continue };
            let mut is_met = false;
            act.meets(section, &open, |_, _, _| is_met = true);
            if is_met {
                return Ok(Some(section.dek));
            }
        }
        Ok(None)
    }

    /// Retires one key and writes all it seals anew under another, without what is meant.
    async fn rewrite_key(&self, act: &mut Act<'_>, dek: DekId) -> Result<(), TelemetryError> {
        let (inner, tenant) = (&self.inner, act.selection.tenant);
        let inputs: Vec<Arc<Section>> = {
            // No flush is about to seal something under it.
            let _commits = inner.commits.lock().await;
            let retired = inner.reader.keys.retire(&[dek], Some(act.id));
            retired.map_err(TelemetryError::keys("retire a key"))?;
            let catalog = Arc::clone(&inner.memory.read().catalog);
            all(&catalog, tenant).filter(|section| section.dek == dek).cloned().collect()
        };
        if inputs.is_empty() {
            return Ok(());
        }
        let mut packs = Vec::new();
        let added = match self.write_anew(act, &inputs, &mut packs).await {
            Ok(added) => added,
            Err(error) => {
                // A disk that is full must not be kept full by attempts that failed.
                for pack in &packs {
                    discard(inner, pack).await;
                }
                return Err(error);
            }
        };
        let removed: HashSet<SectionId> = inputs.iter().map(|input| input.id()).collect();
        let mut commits = inner.commits.lock().await;
        let mut next = (*inner.memory.read().catalog).clone();
        let entry = next.tenant_mut(tenant);
        entry.retain(|section| !removed.contains(&section.id()));
        added.into_iter().for_each(|section| entry.add(section));
        let catalog = commit(inner, &mut commits, next, packs).await?;
        inner.memory.write().catalog = catalog;
        Ok(())
    }

    /// Sections without what is meant, in packs that no manifest names yet.
    async fn write_anew(
        &self,
        act: &mut Act<'_>,
        inputs: &[Arc<Section>],
        packs: &mut Vec<Arc<Pack>>,
    ) -> Result<Vec<Section>, TelemetryError> {
        let inner = &self.inner;
        let mut added = Vec::new();
        for input in inputs {
            if act.selection.takes_whole(input) {
                act.done.dropped += 1;
                act.done.points += input.points;
                continue;
            }
            let whole = inner.reader.whole(input).await?;
            let (engine, selection) = (Arc::clone(inner), act.selection.clone());
            let section = Arc::clone(input);
            let rewrite = move || rewrite_section(&engine, &selection, &section, &whole);
            let task = tokio::task::spawn_blocking(rewrite);
            match task.await.map_err(|_| TelemetryError::Stopped)?? {
                None => {
                    act.done.dropped += 1;
                    act.done.points += input.points;
                }
                Some((pack, section, bytes)) => {
                    packs.push(Arc::clone(&pack));
                    put_pack(inner, &pack, bytes).await?;
                    act.done.sections += 1;
                    act.done.points += input.points.saturating_sub(section.points);
                    act.written.insert(section.id());
                    added.push(section);
                }
            }
        }
        Ok(added)
    }

    /// Takes what is meant out of the latest values; what was before it becomes the latest again.
    async fn rewrite_latest(&self, selection: &Selection) -> Result<(), TelemetryError> {
        let (inner, tenant) = (&self.inner, selection.tenant);
        let is_meant = |device: DeviceId, latest: &Latest| {
            let meant = selection.meant(device, &latest.key);
            selection.takes(&meant, Window::All, latest.at.as_micros())
        };
        let gone = inner.memory.write().forget_latest(tenant, is_meant);
        for (device, key) in gone {
            let series = Series { tenant, device, key };
            let order = Order::Descending;
            let query = RangeQuery { range: TimeRange::ALL, order, limit: 1, after: None };
            let Some(point) = self.range(&series, query).await?.points.pop() else { continue };
            let (at, value, quality) = (point.at, point.value, point.quality);
            let latest = Latest { key: series.key, at, value, quality };
            inner.memory.write().restore_latest(tenant, Some(vec![(device, latest)]));
        }
        let mut commits = inner.commits.lock().await;
        let values = {
            let memory = inner.memory.read();
            if memory.lacks_latest(tenant) {
                return Err(out_of_reach(tenant));
            }
            latest_values(&memory, tenant)
        };
        let mut next = (*inner.memory.read().catalog).clone();
        if values.is_empty() && !next.tenants.contains_key(&tenant) {
            return Ok(());
        }
        let engine = Arc::clone(inner);
        let seal = move || {
            let pack = Arc::new(Pack { file: new_file(&engine) });
            let dek = engine.reader.keys.dek(&latest_scope(tenant));
            let dek = dek.map_err(TelemetryError::keys("seal latest values"))?;
            let key = FileKey::derive(&dek, new_file(&engine));
            let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
            let each = values.iter().map(|(device, latest)| (*device, latest));
            let place = write_latest(&mut bytes, &mut encoder, tenant, key, &pack, each)?;
            Ok::<_, TelemetryError>((pack, place, bytes))
        };
        let sealed = tokio::task::spawn_blocking(seal).await;
        let (pack, place, bytes) = sealed.map_err(|_| TelemetryError::Stopped)??;
        put_pack(inner, &pack, bytes).await?;
        next.tenant_mut(tenant).latest = Some(place);
        let catalog = commit(inner, &mut commits, next, vec![pack]).await?;
        inner.memory.write().catalog = catalog;
        Ok(())
    }
}

/// Sections of readings and figures of a tenant.
fn all(catalog: &Catalog, tenant: TenantId) -> impl Iterator<Item = &Arc<Section>> {
    catalog.tenants.get(&tenant).into_iter().flat_map(|entry| entry.all())
}

/// A section without what is meant, under the key that its scope has now; none when nothing is
/// left. Work for a blocking thread.
fn rewrite_section(
    inner: &Inner,
    selection: &Selection,
    section: &Arc<Section>,
    whole: &Bytes,
) -> Result<Option<(Arc<Pack>, Section, Vec<u8>)>, TelemetryError> {
    let tenant = selection.tenant;
    let open = [inner.reader.open_whole(tenant, section, whole)?];
    let input = [(Arc::clone(section), whole.clone())];
    let place = (section.window, section.device);
    let dek = inner.reader.keys.dek(&section_scope(tenant, place));
    let dek = dek.map_err(TelemetryError::keys("seal a section anew"))?;
    let key = FileKey::derive(&dek, new_file(inner));
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    let mut writer = SectionWriter::begin(&mut bytes, &mut encoder, tenant, key);
    let devices: BTreeSet<DeviceId> = open[0].directory.devices.keys().copied().collect();
    for device in devices {
        let mut series = merge_device(device, &input, &open)?;
        for (key, columns) in &mut series {
            let meant = selection.meant(device, key);
            if !matches!(meant, Meant::No) {
                let takes = |at| selection.takes(&meant, section.window, at);
                columns.iter_mut().for_each(|column| *column = without(column, takes));
            }
        }
        let columns = series.iter().flat_map(|(key, columns)| {
            let filled = columns.iter().filter(|column| !column.at.is_empty());
            filled.map(move |column| (key, column.as_ref()))
        });
        writer.device(device, columns)?;
    }
    if writer.is_empty() {
        return Ok(None);
    }
    let section = writer.finish(&pack, section.generation, place)?;
    Ok(Some((pack, section, bytes)))
}

/// The rows of a column that are not taken.
fn without(column: &Column, takes: impl Fn(i64) -> bool) -> Column {
    let whole = column.as_ref();
    let mut left = Column::empty(whole.values.kind());
    let mut from = 0;
    while from < whole.at.len() {
        let start = from + whole.at[from..].iter().take_while(|at| takes(**at)).count();
        let end = start + whole.at[start..].iter().take_while(|at| !takes(**at)).count();
        left.extend(whole.slice(start, end));
        from = end;
    }
    left
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Quality, Value};

    use super::*;
    use crate::values::Kind;

    #[test]
    fn what_is_not_taken_stays_with_its_quality() {
        let mut column = Column::empty(Kind::Integer);
        for at in 0..10 {
            let quality = if at == 7 { Quality::Bad } else { Quality::Good };
            column.push(at, &Value::Integer(at * 10), quality);
        }
        let left = without(&column, |at| at < 2 || (4..7).contains(&at));
        assert_eq!(left.at, [2, 3, 7, 8, 9]);
        assert_eq!(left.as_ref().values.get(2), Value::Integer(70));
        assert_eq!(left.as_ref().quality_at(2), Quality::Bad);
        assert_eq!(left.as_ref().quality_at(3), Quality::Good);
        assert!(without(&column, |_| true).at.is_empty());
    }
}
