//! Destruction of chosen readings: sections that hold them are written anew without them under a
//! new key, or dropped whole; the old keys are retired by the act, and whoever asked destroys them
//! once that is written down. Cut off at any step, the same call goes on from there.

mod reseal;
mod rewrite;

use std::collections::HashSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, FileId, Key, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekId, DekSummary, DestructionMethod, FileKey, KeyError};

use crate::TelemetryError;
use crate::catalog::{Catalog, Pack, Section, Window};
use crate::codec::Encoder;
use crate::commit::{commit, discard, put_pack};
use crate::engine::Engine;
use crate::flush::{latest_scope, latest_values, new_file, out_of_reach};
use crate::memory::Latest;
use crate::query::{Order, RangeQuery, Series, TimeRange};
use crate::reader::OpenSection;
use crate::section::write_latest;
use crate::selection::{Rewritten, Selected, Selection};
use rewrite::rewrite_section;

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
        for (device, series) in &open.directory.devices {
            for entry in series {
                let meant = self.selection.meant(*device, &entry.key);
                let may_take = |times| self.selection.may_take(&meant, section.window, times);
                let chunks = entry.chunks.iter();
                let chunks = chunks.filter(|chunk| may_take((chunk.t_min, chunk.t_max)));
                let points: u64 = chunks.map(|chunk| u64::from(chunk.count)).sum();
                if points > 0 {
                    each(*device, &entry.key, points);
                }
            }
        }
    }

    /// One section less. Hours of figures are no readings.
    fn note_dropped(&mut self, section: &Section) {
        self.done.dropped += 1;
        self.done.points += readings_of(section);
    }
}

fn readings_of(section: &Section) -> u64 {
    if matches!(section.window, Window::Figures(_)) { 0 } else { section.points }
}

impl Engine {
    /// What [`Engine::destroy`] would destroy now; what is still in memory is counted there.
    #[boxed]
    pub async fn selected(&self, selection: &Selection) -> Result<Selected, TelemetryError> {
        let (catalog, waiting) = {
            let memory = self.inner.memory.read();
            (Arc::clone(&memory.catalog), memory.meant_waiting(selection))
        };
        let act = self.act(selection, [0; 16], &catalog);
        let (mut found, mut devices, mut series) =
            (Selected::default(), HashSet::new(), HashSet::new());
        for (device, key, points) in waiting {
            found.points += points;
            devices.insert(device);
            series.insert((device, key));
        }
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
        let _alone = self.alone().await;
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
            let _alone = engine.alone().await;
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
        let _alone = self.alone().await;
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
        match self.inner.reader.section(tenant, section, None).await {
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
        loop {
            let deks = self.met_keys(act, is_asked).await?;
            if deks.is_empty() {
                return Ok(());
            }
            for dek in deks {
                self.rewrite_key(act, dek).await?;
            }
        }
    }

    /// The keys with sections that hold something that is meant, or that the act has retired, each
    /// once.
    async fn met_keys(&self, act: &Act<'_>, is_asked: Asked) -> Result<Vec<DekId>, TelemetryError> {
        let keys = &self.inner.reader.keys;
        let tenant = act.selection.tenant;
        let retired: HashSet<DekId> = keys.retired_by(act.id).iter().map(|one| one.id).collect();
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let sections: Vec<Arc<Section>> = all(&catalog, tenant).cloned().collect();
        drop(catalog);
        let (mut known, mut met) = (HashSet::new(), Vec::new());
        for section in &sections {
            if known.contains(&section.dek) {
                continue;
            }
            if retired.contains(&section.dek) {
                known.insert(section.dek);
                met.push(section.dek);
                continue;
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
                known.insert(section.dek);
                met.push(section.dek);
            }
        }
        Ok(met)
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
                act.note_dropped(input);
                continue;
            }
            let whole = inner.reader.whole(input).await?;
            let (engine, selection) = (Arc::clone(inner), act.selection.clone());
            let section = Arc::clone(input);
            let rewrite = move || rewrite_section(&engine, &selection, &section, &whole);
            let task = tokio::task::spawn_blocking(rewrite);
            match task.await.map_err(|_| TelemetryError::Stopped)?? {
                None => act.note_dropped(input),
                Some((pack, section, bytes)) => {
                    packs.push(Arc::clone(&pack));
                    put_pack(inner, &pack, bytes).await?;
                    act.done.sections += 1;
                    act.done.points += readings_of(input).saturating_sub(readings_of(&section));
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
        let mut before = Vec::new();
        let meant = inner.memory.read().meant_latest(selection);
        for (device, key) in meant.iter().cloned() {
            let series = Series { tenant, device, key };
            let order = Order::Descending;
            let query = RangeQuery { range: TimeRange::ALL, order, limit: 1, after: None };
            let Some(point) = self.range(&series, query).await?.points.pop() else { continue };
            let (at, value, quality) = (point.at, point.value, point.quality);
            before.push((device, Latest { key: series.key, at, value, quality }));
        }
        {
            // In one go, once nothing can fail: nobody finds a series without its latest value.
            let mut memory = inner.memory.write();
            if memory.lacks_latest(tenant) {
                return Err(out_of_reach(tenant));
            }
            memory.replace_latest(selection, &meant, before);
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
