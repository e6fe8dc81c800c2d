//! From memory to sealed segments. Order: pack objects, then manifest, then the switch in memory.
//! A crash between any two steps leaves the older manifest in force and the log uncut, so the
//! readings are applied again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use object_store::ObjectStoreExt;
use veritwin_domain::{DAY_MICROS, DeviceId, FileId, Key, TenantId};
use veritwin_keys::{DataClass, Dek, DekScope, Epoch, FileKey, KeyError, ShredUnit};

use crate::catalog::{LatestPlace, Pack, Section, Window};
use crate::codec::Encoder;
use crate::commit::{commit, put_packs};
use crate::engine::{Commits, Engine, Inner};
use crate::memory::{Frozen, FrozenTenant, Latest, Memory, TenantTable};
use crate::pace::{CORE_PERCENT_MAX, Pace};
use crate::section::{SectionWriter, write_latest};
use crate::series::{Resolved, SeriesRows};
use crate::values::ColumnRef;
use crate::{TelemetryError, manifest};

/// Most devices of a tenant whose series get sections of their own in one flush; those of more
/// stand in the tenant's, from which they are destroyed by rewriting.
const OWN_PARTS_MAX: usize = 512;

/// Devices whose latest values are copied under one lock.
const DEVICES_AT_ONCE: usize = 256;

/// Two packs that no manifest names yet. Latest values have one of their own: those of a tenant
/// that falls silent stay for ever and must not keep the sections around them alive.
struct Built {
    pack: Arc<Pack>,
    bytes: Vec<u8>,
    sections: Vec<(TenantId, Section)>,
    latest_pack: Arc<Pack>,
    latest_bytes: Vec<u8>,
    latest: Vec<(TenantId, LatestPlace)>,
}

type LatestOfTenant = HashMap<TenantId, Vec<(DeviceId, Latest)>>;

impl Engine {
    /// Writes everything in memory to segments and returns the position up to which the log may be
    /// cut. Readings of tenants whose keys are withdrawn stay in memory and hold that position.
    #[boxed]
    pub async fn flush(&self) -> Result<u64, TelemetryError> {
        // Somebody waits for it, and for a flush in the background that was first.
        let _hurried = self.inner.hurry.begin();
        self.flush_at(CORE_PERCENT_MAX).await
    }

    /// The same with a part of one core, in percent.
    #[boxed]
    pub(crate) async fn flush_at(&self, percent: u32) -> Result<u64, TelemetryError> {
        let engine = self.clone();
        // A task of its own: a caller that gives up must not stop between the manifest and the
        // switch in memory.
        let task = tokio::spawn(async move { engine.flush_now(percent).await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn flush_now(&self, percent: u32) -> Result<u64, TelemetryError> {
        let inner = &self.inner;
        let mut commits = inner.commits.lock().await;
        self.retry_latest().await?;
        let unfinished = inner.memory.read().frozen.clone();
        if let Some(frozen) = unfinished {
            // What an earlier flush could not store; what came behind it is next.
            self.flush_one(&mut commits, &frozen, percent).await?;
        }
        let frozen = self.freeze().await?;
        let outcome = self.flush_one(&mut commits, &frozen, percent).await;
        // Giving back that much memory takes a while, in which no acknowledgement has to wait.
        drop(tokio::task::spawn_blocking(move || drop(frozen)));
        outcome
    }

    async fn flush_one(
        &self,
        commits: &mut Commits,
        frozen: &Arc<Frozen>,
        percent: u32,
    ) -> Result<u64, TelemetryError> {
        let inner = &self.inner;
        let outcome = self.flush_frozen(commits, frozen, percent).await;
        match &outcome {
            // A withdrawn key would fail every retry: the next flush leaves that tenant out.
            Err(error) if error.is_withheld() => {
                self.leave_withheld(frozen, error);
                inner.memory.write().thaw(frozen, inner.clock.monotonic());
            }
            Err(_) => {}
            Ok(_) => inner.room.notify_waiters(),
        }
        outcome
    }

    /// Freezes what can be sealed: tenants without usable keys are left out or, if their keys are
    /// destroyed, forgotten.
    async fn freeze(&self) -> Result<Arc<Frozen>, TelemetryError> {
        let inner = Arc::clone(&self.inner);
        let freeze = move || {
            let tenants = inner.memory.read().dirty_tenants();
            let scopes: Vec<DekScope> =
                tenants.iter().map(|tenant| latest_scope(*tenant)).collect();
            let deks = inner.reader.keys.deks(&scopes);
            let mut held = HashSet::new();
            for (tenant, dek) in tenants.iter().zip(deks) {
                match dek {
                    Ok(_) => {}
                    Err(KeyError::TenantDestroyed { .. } | KeyError::Gone { .. }) => {
                        inner.memory.write().forget(*tenant);
                        inner.room.notify_waiters();
                    }
                    Err(error) if error.is_withheld() => drop(held.insert(*tenant)),
                    Err(source) => {
                        return Err(TelemetryError::Keys { action: "flush a tenant", source });
                    }
                }
            }
            let ready: HashSet<TenantId> = tenants.into_iter().collect();
            // A tenant that came in between is asked about at the next flush.
            let is_held = |tenant| held.contains(&tenant) || !ready.contains(&tenant);
            Ok(inner.memory.write().freeze(is_held))
        };
        tokio::task::spawn_blocking(freeze).await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn flush_frozen(
        &self,
        commits: &mut Commits,
        frozen: &Arc<Frozen>,
        percent: u32,
    ) -> Result<u64, TelemetryError> {
        let inner = &self.inner;
        let position = frozen.end_position;
        let base = Arc::clone(&inner.memory.read().catalog);
        if frozen.tenants.is_empty() && position <= base.persisted_position {
            inner.memory.write().frozen = None;
            return Ok(base.persisted_position);
        }
        // Packs that no manifest can name would only fill the store.
        if let Some(number) = commits.conflict {
            return Err(TelemetryError::Conflict(number));
        }
        let generation = base.generation_next;
        let built = if frozen.tenants.is_empty() {
            None
        } else {
            let latest = self.latest_of(frozen).await?;
            let (engine, frozen) = (Arc::clone(inner), Arc::clone(frozen));
            let build = move || build(&engine, &frozen, &latest, generation, percent);
            let task = tokio::task::spawn_blocking(build);
            Some(task.await.map_err(|_| TelemetryError::Stopped)??)
        };
        let mut new_packs = Vec::new();
        let mut next = (*base).clone();
        if let Some(built) = built {
            new_packs = vec![built.pack, built.latest_pack];
            put_packs(inner, &new_packs, [built.bytes, built.latest_bytes]).await?;
            for (tenant, section) in built.sections {
                next.tenant_mut(tenant).sections.push(Arc::new(section));
            }
            for (tenant, place) in built.latest {
                next.tenant_mut(tenant).latest = Some(place);
            }
        }
        next.generation_next = generation + 1;
        next.persisted_position = position.max(base.persisted_position);
        let catalog = commit(inner, commits, next, new_packs).await?;
        {
            let mut memory = inner.memory.write();
            memory.catalog = Arc::clone(&catalog);
            memory.frozen = None;
        }
        drop(base);
        self.collect_garbage(commits).await;
        Ok(catalog.persisted_position)
    }

    /// Latest values of every tenant that is flushed. They may be ahead of the frozen table; what
    /// they are ahead by is in the log and will be applied again. Some devices at a time, so that
    /// what is committed meanwhile does not wait for a million series.
    async fn latest_of(&self, frozen: &Frozen) -> Result<LatestOfTenant, TelemetryError> {
        let memory = &self.inner.memory;
        let mut latest = LatestOfTenant::new();
        for tenant in frozen.tenants.keys() {
            let Some(devices) = memory.read().tenants.get(tenant).map(devices_of) else { continue };
            let mut values = Vec::new();
            // Also of a tenant without devices it is asked whether it lacks something.
            let mut rest = devices.as_slice();
            loop {
                let (some, others) = rest.split_at(rest.len().min(DEVICES_AT_ONCE));
                {
                    let memory = memory.read();
                    if memory.lacks_latest(*tenant) {
                        return Err(out_of_reach(*tenant));
                    }
                    values.extend(latest_of_devices(&memory, *tenant, some));
                }
                if others.is_empty() {
                    break;
                }
                rest = others;
                tokio::task::consume_budget().await;
            }
            latest.insert(*tenant, values);
        }
        Ok(latest)
    }

    /// Deletes packs that nothing refers to any more and manifests that are superseded. What cannot
    /// be deleted now is tried again later.
    pub(crate) async fn collect_garbage(&self, commits: &mut Commits) {
        let mut files = HashSet::new();
        self.inner.packs.lock().retain(|pack| {
            let is_used = Arc::strong_count(pack) > 1;
            if !is_used {
                files.insert(pack.file);
            }
            is_used
        });
        let store = &self.inner.reader.store;
        self.inner.reader.forget(&files);
        let mut files: Vec<FileId> = files.into_iter().collect();
        files.sort_unstable();
        for file in files {
            match store.delete(&Pack::path_of(file)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%file, %error, "cannot delete a segment that was replaced");
                    self.inner.packs.lock().push(Arc::new(Pack { file }));
                }
            }
        }
        let mut kept = Vec::new();
        for number in std::mem::take(&mut commits.superseded) {
            match store.delete(&manifest::path_of(number)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(number, %error, "cannot delete a superseded manifest");
                    kept.push(number);
                }
            }
        }
        commits.superseded = kept;
    }
}

/// A tenant's latest values, by device.
pub(crate) fn latest_values(memory: &Memory, tenant: TenantId) -> Vec<(DeviceId, Latest)> {
    let devices = memory.tenants.get(&tenant).map(devices_of).unwrap_or_default();
    latest_of_devices(memory, tenant, &devices).collect()
}

/// The devices of a tenant, in their order.
fn devices_of(table: &TenantTable) -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> = table.devices.keys().copied().collect();
    devices.sort_unstable();
    devices
}

fn latest_of_devices<'m>(
    memory: &'m Memory,
    tenant: TenantId,
    devices: &'m [DeviceId],
) -> impl Iterator<Item = (DeviceId, Latest)> + 'm {
    devices.iter().flat_map(move |device| {
        let (device, table) = (*device, memory.device(tenant, *device).into_iter());
        table.flat_map(move |table| table.latest().map(move |latest| (device, latest.clone())))
    })
}

/// A tenant was set aside a moment ago, and its latest values with it.
pub(crate) fn out_of_reach(tenant: TenantId) -> TelemetryError {
    TelemetryError::keys("write latest values")(KeyError::Silent(tenant))
}

/// The scope of what has no day: overlays and latest values.
pub(crate) fn latest_scope(tenant: TenantId) -> DekScope {
    DekScope::tenant(tenant, DataClass::Segment)
}

/// The scope of a section: the tenant's, or that of a device with a key of its own.
pub(crate) fn section_scope(
    tenant: TenantId,
    (window, device): (Window, Option<DeviceId>),
) -> DekScope {
    let epoch = match window {
        Window::All => Epoch::None,
        Window::Day(day) => Epoch::Day(day),
        Window::Month(month) => Epoch::Month(month),
        Window::Figures(month) => Epoch::MonthFigures(month),
    };
    let unit = device.map_or(ShredUnit::Tenant, ShredUnit::Device);
    latest_scope(tenant).with_epoch(epoch).with_unit(unit)
}

type SeriesOf<'f> = Vec<(&'f Key, &'f SeriesRows)>;
type ResolvedDevices<'f> = Vec<(DeviceId, Vec<(&'f Key, Resolved<'f>)>)>;

/// What becomes one section in each of its windows: a tenant's series, or those of a device that
/// have a key of their own.
struct Part<'f> {
    device: Option<DeviceId>,
    devices: Vec<(DeviceId, SeriesOf<'f>)>,
    windows: Vec<Window>,
}

impl<'f> Part<'f> {
    fn new(
        device: Option<DeviceId>,
        devices: Vec<(DeviceId, SeriesOf<'f>)>,
        windows_max: usize,
    ) -> Self {
        let windows = windows_of(&devices, windows_max);
        Self { device, devices, windows }
    }
}

/// The parts of a tenant, each with something in it.
fn parts_of<'f>(inner: &Inner, id: TenantId, tenant: &'f FrozenTenant) -> Vec<Part<'f>> {
    let units = inner.units.read().clone();
    let own_keys = units.and_then(|units| units.own_keys(id));
    let windows_max = inner.limits.flush_windows_max;
    let mut devices: Vec<_> = tenant.devices.iter().collect();
    devices.sort_unstable_by_key(|(device, _)| **device);
    let (mut shared, mut parts) = (Vec::new(), Vec::new());
    for (device, series) in devices {
        let has_room = parts.len() < OWN_PARTS_MAX;
        let has_own =
            |key: &Key| has_room && own_keys.as_ref().is_some_and(|has_own| has_own(*device, key));
        let all = series.iter().map(|(key, rows)| (key, rows));
        let (own, rest): (SeriesOf<'f>, SeriesOf<'f>) = all.partition(|(key, _)| has_own(key));
        if !own.is_empty() {
            parts.push(Part::new(Some(*device), vec![(*device, own)], windows_max));
        }
        if !rest.is_empty() {
            shared.push((*device, rest));
        }
    }
    if !shared.is_empty() {
        parts.push(Part::new(None, shared, windows_max));
    }
    parts
}

/// Encodes and seals a frozen table. Work for a blocking thread.
fn build(
    inner: &Inner,
    frozen: &Frozen,
    latest: &LatestOfTenant,
    generation: u64,
    percent: u32,
) -> Result<Built, TelemetryError> {
    let mut pace = Pace::new(inner, percent);
    let mut built = Built {
        pack: Arc::new(Pack { file: new_file(inner) }),
        bytes: Vec::new(),
        sections: Vec::new(),
        latest_pack: Arc::new(Pack { file: new_file(inner) }),
        latest_bytes: Vec::new(),
        latest: Vec::new(),
    };
    let mut encoder = Encoder::new();
    let mut tenants: Vec<_> =
        frozen.tenants.iter().map(|(id, tenant)| (*id, parts_of(inner, *id, tenant))).collect();
    tenants.sort_unstable_by_key(|(id, _)| *id);
    let mut deks = keys_of(inner, &tenants)?.into_iter();
    for (id, parts) in &tenants {
        for part in parts {
            let resolved = resolve(part, &mut pace);
            for (window, dek) in part.windows.iter().zip(&mut deks) {
                let key = FileKey::derive(&dek, new_file(inner));
                let writer = SectionWriter::begin(&mut built.bytes, &mut encoder, *id, key);
                let place = (*window, part.device);
                let of = (&built.pack, generation);
                let section = write_window(writer, &resolved, place, of, &mut pace)?;
                built.sections.push((*id, section));
            }
        }
        if let (Some(values), Some(dek)) = (latest.get(id), deks.next()) {
            let key = FileKey::derive(&dek, new_file(inner));
            let values = values.iter().map(|(device, latest)| (*device, latest));
            let (out, pack) = (&mut built.latest_bytes, &built.latest_pack);
            let place = write_latest(out, &mut encoder, *id, key, pack, values)?;
            built.latest.push((*id, place));
        }
    }
    Ok(built)
}

/// The keys of every part's windows and then of the latest values, tenant by tenant. All new keys
/// become durable in one write of the keyring.
fn keys_of(
    inner: &Inner,
    tenants: &[(TenantId, Vec<Part<'_>>)],
) -> Result<Vec<Dek>, TelemetryError> {
    let mut scopes = Vec::new();
    for (id, parts) in tenants {
        for part in parts {
            let scope = |window: &Window| section_scope(*id, (*window, part.device));
            scopes.extend(part.windows.iter().map(scope));
        }
        scopes.push(latest_scope(*id));
    }
    let deks = inner.reader.keys.deks(&scopes).into_iter().collect::<Result<Vec<Dek>, KeyError>>();
    deks.map_err(TelemetryError::keys("seal segments"))
}

/// The UTC days that readings fall into, or the one overlay when they are too many.
fn windows_of(devices: &[(DeviceId, SeriesOf<'_>)], windows_max: usize) -> Vec<Window> {
    let mut days = BTreeSet::new();
    for (_, rows) in devices.iter().flat_map(|(_, series)| series) {
        rows.note_days(&mut days, windows_max);
    }
    if days.len() > windows_max {
        vec![Window::All]
    } else {
        days.into_iter().map(Window::Day).collect()
    }
}

pub(crate) fn new_file(inner: &Inner) -> FileId {
    FileId::generate(inner.clock.now(), inner.rng.as_ref())
}

fn resolve<'f>(part: &Part<'f>, pace: &mut Pace<'_>) -> ResolvedDevices<'f> {
    let resolved = |(device, series): &(DeviceId, SeriesOf<'f>)| {
        pace.step();
        let each = series.iter().map(|(key, rows)| (*key, rows.resolve()));
        (*device, each.collect::<Vec<_>>())
    };
    part.devices.iter().map(resolved).collect()
}

fn write_window(
    mut writer: SectionWriter<'_>,
    devices: &ResolvedDevices<'_>,
    place: (Window, Option<DeviceId>),
    (pack, generation): (&Arc<Pack>, u64),
    pace: &mut Pace<'_>,
) -> Result<Section, TelemetryError> {
    let (low, high) = match place.0.days() {
        None => (i64::MIN, i64::MAX),
        Some((first, last)) => (day_bounds(first).0, day_bounds(last).1),
    };
    for (device, series) in devices {
        let columns = series.iter().flat_map(|(key, resolved)| {
            let columns = resolved.columns();
            columns.map(move |column| (*key, column.between(low, high)))
        });
        let columns: Vec<(&Key, ColumnRef<'_>)> =
            columns.filter(|(_, column)| !column.at.is_empty()).collect();
        writer.device(*device, columns.into_iter(), pace)?;
    }
    debug_assert!(!writer.is_empty(), "windows come from the readings");
    writer.finish(pack, generation, place)
}

/// First and last microsecond of a UTC day, held at the ends of time.
pub(crate) fn day_bounds(day: i64) -> (i64, i64) {
    let start = i128::from(day) * i128::from(DAY_MICROS);
    let hold = |at: i128| i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX });
    (hold(start), hold(start + i128::from(DAY_MICROS) - 1))
}
