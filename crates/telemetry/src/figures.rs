//! Hourly figures: what is kept of readings longer than these. They are made of sections that are
//! about to end, once for each hour, and stand in sections of their own, one for each month and
//! key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, Key, Quality, TenantId, Timestamp, Value};
use veritwin_keys::{DestructionMethod, FileKey};

use crate::TelemetryError;
use crate::aggregate::Bucket;
use crate::budget::Budget;
use crate::catalog::{Pack, Section, Window, month_of};
use crate::codec::Encoder;
use crate::commit::{commit, put_pack};
use crate::engine::{Engine, Inner};
use crate::expire::Expiry;
use crate::flush::{new_file, section_scope};
use crate::merged::{Whole, merge_device};
use crate::pace::Pace;
use crate::query::{Series, TimeRange};
use crate::reader::OpenSection;
use crate::section::SectionWriter;
use crate::sweep::{Body, Sink, Source, Walk, sweep};
use crate::values::{Column, ColumnRef, Kind, ValuesRef};

/// The width of a bucket of figures, in microseconds.
pub const FIGURES_MICROS: i64 = HOUR_MICROS;
pub(crate) const HOUR_MICROS: i64 = 3_600_000_000;

/// Sections of one month and key.
type GroupId = (i64, Option<DeviceId>);
/// Of one device: the figures of each series by hour.
type Hours = BTreeMap<Key, BTreeMap<i64, Bucket>>;

impl Engine {
    /// Hourly buckets of a series that were kept when its readings ended, with hours that begin
    /// within the range. Of readings that are still there, ask [`Engine::buckets`].
    #[boxed]
    pub async fn figures(
        &self,
        series: &Series,
        range: TimeRange,
    ) -> Result<Vec<Bucket>, TelemetryError> {
        self.check_readable(series.tenant)?;
        let (low, high) = (range.from.as_micros(), range.to.as_micros());
        let high = if range.to == Timestamp::MAX { high } else { high.saturating_sub(1) };
        if low > high {
            return Ok(Vec::new());
        }
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let sections = catalog.tenants.get(&series.tenant).map(|entry| entry.figures.clone());
        let mut sections = sections.unwrap_or_default();
        sections.retain(|one| one.may_hold(series.device, low, high));
        let mut sources = Vec::new();
        for section in &sections {
            let open = self.open_if_live(series.tenant, section).await?;
            let Some(open) = open else { continue };
            for chunk in open.directory.chunks(series.device, &series.key) {
                let body = Body::Sealed(Arc::clone(&open), *chunk);
                sources.push(Source { generation: section.generation, body });
            }
        }
        let walk = Walk {
            device: series.device,
            key: &series.key,
            low,
            high,
            descending: false,
            open_points_max: self.inner.limits.query_open_points_max,
            scan_points_max: self.inner.limits.query_scan_points_max,
            scanned: 0,
        };
        let buckets_max = self.inner.limits.query_points_max;
        let mut sink = HourSink { hours: Vec::new(), wanted: buckets_max + 1 };
        sweep(&self.inner.reader, walk, sources, &mut sink).await?;
        if sink.hours.len() > buckets_max {
            return Err(TelemetryError::Limit { name: "query_points_max", max: buckets_max });
        }
        let damaged = || TelemetryError::Damaged {
            object: "figures".to_owned(),
            reason: "an hour cannot be read".to_owned(),
        };
        let hours = sink.hours.into_iter();
        hours.map(|(at, value)| read_hour(at, &value).ok_or_else(damaged)).collect()
    }

    /// [`Engine::buckets`], and, where these are whole hours, what figures say of readings that
    /// ended, taken from the budget. A reading that came after its hour had ended counts beside
    /// that hour's figures.
    #[boxed]
    pub async fn buckets_with_figures(
        &self,
        series: &Series,
        range: TimeRange,
        width_micros: i64,
        budget: &Budget,
    ) -> Result<Vec<Bucket>, TelemetryError> {
        let buckets = self.buckets_within(series, range, width_micros, budget).await?;
        if width_micros % HOUR_MICROS != 0 {
            return Ok(buckets);
        }
        let hours = self.figures(series, range).await?;
        if hours.is_empty() {
            return Ok(buckets);
        }
        budget.take(hours.len() * size_of::<Bucket>())?;
        let mut joined: BTreeMap<i64, Bucket> = BTreeMap::new();
        // Figures are of earlier times than what is still there.
        for bucket in hours.into_iter().chain(buckets) {
            let at = bucket.at.as_micros().div_euclid(width_micros).saturating_mul(width_micros);
            let empty = Bucket::empty(Timestamp::from_micros(at));
            join(joined.entry(at).or_insert(empty), &bucket);
        }
        let buckets_max = self.inner.limits.query_points_max;
        if joined.len() > buckets_max {
            return Err(TelemetryError::Limit { name: "query_points_max", max: buckets_max });
        }
        Ok(joined.into_values().collect())
    }

    /// Keeps hourly figures of the readings that [`Engine::expire`] would end now. An hour that has
    /// figures keeps them, whatever has come later. Answers how many hours were added.
    #[boxed]
    pub async fn keep_figures(&self, expiry: &Expiry) -> Result<u64, TelemetryError> {
        let (engine, expiry) = (self.clone(), expiry.clone());
        let task = tokio::spawn(async move { engine.keep_figures_now(&expiry).await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn keep_figures_now(&self, expiry: &Expiry) -> Result<u64, TelemetryError> {
        let _alone = self.alone().await;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let mut groups: BTreeMap<GroupId, Vec<Arc<Section>>> = BTreeMap::new();
        for section in catalog.sections(expiry.tenant) {
            // Of overlays, whose hours lie anywhere, none are kept.
            let Some((first, _)) = section.window.days() else { continue };
            if expiry.ends(section) == Some(true) {
                let group = (month_of(first), section.device);
                groups.entry(group).or_default().push(Arc::clone(section));
            }
        }
        drop(catalog);
        let bytes_max = self.inner.limits.compaction_bytes_max;
        let mut added = 0;
        for (group, sections) in groups {
            for portion in portions(sections, bytes_max) {
                added += self.add_figures(expiry.tenant, group, portion).await?;
            }
        }
        Ok(added)
    }

    async fn add_figures(
        &self,
        tenant: TenantId,
        (month, device): GroupId,
        sections: Vec<Arc<Section>>,
    ) -> Result<u64, TelemetryError> {
        let inner = &self.inner;
        let catalog = Arc::clone(&inner.memory.read().catalog);
        let place = (Window::Figures(month), device);
        let known = catalog.tenants.get(&tenant).into_iter().flat_map(|entry| &entry.figures);
        let known: Vec<Arc<Section>> =
            known.filter(|one| (one.window, one.device) == place).cloned().collect();
        drop(catalog);
        let known_count = known.len();
        let removed: Vec<_> = known.iter().map(|section| section.id()).collect();
        let mut inputs = Vec::with_capacity(known_count + sections.len());
        for section in known.into_iter().chain(sections) {
            let whole = inner.reader.whole(&section).await?;
            inputs.push((section, whole));
        }
        let engine = Arc::clone(inner);
        let build = move || write_figures(&engine, tenant, place, inputs.split_at(known_count));
        let task = tokio::task::spawn_blocking(build);
        let Some(built) = task.await.map_err(|_| TelemetryError::Stopped)?? else { return Ok(0) };
        put_pack(inner, &built.pack, built.bytes).await?;
        let mut commits = inner.commits.lock().await;
        let mut next = (*inner.memory.read().catalog).clone();
        let entry = next.tenant_mut(tenant);
        entry.retain(|section| !removed.contains(&section.id()));
        entry.add(built.section);
        let catalog = commit(inner, &mut commits, next, vec![built.pack]).await?;
        inner.memory.write().catalog = catalog;
        Ok(built.hours)
    }

    /// Ends the figures of months whose first day is before a day, with their keys; months with a
    /// held day stay. Answers how many sections went.
    #[boxed]
    pub async fn expire_figures(&self, expiry: &Expiry) -> Result<usize, TelemetryError> {
        let inner = &self.inner;
        let _alone = self.alone().await;
        let mut commits = inner.commits.lock().await;
        let base = Arc::clone(&inner.memory.read().catalog);
        let ends = |section: &Section| match section.window {
            Window::Figures(_) => section.window.days().is_some_and(|(first, last)| {
                expiry.ends_days(first, first) == Some(true) && !expiry.holds((first, last))
            }),
            Window::All | Window::Day(_) | Window::Month(_) => false,
        };
        let own = base.tenants.get(&expiry.tenant).into_iter().flat_map(|entry| &entry.figures);
        let ending: Vec<Arc<Section>> = own.filter(|section| ends(section)).cloned().collect();
        if ending.is_empty() {
            return Ok(0);
        }
        let deks: Vec<_> = ending.iter().map(|section| section.dek).collect();
        let keys = &inner.reader.keys;
        keys.destroy(&keys.live(&deks), DestructionMethod::KeyDestroyed)
            .map_err(TelemetryError::keys("destroy the keys of figures at their end"))?;
        let mut next = (*base).clone();
        next.tenant_mut(expiry.tenant).retain(|section| !ends(section));
        let catalog = commit(inner, &mut commits, next, Vec::new()).await?;
        inner.memory.write().catalog = catalog;
        Ok(ending.len())
    }
}

/// Sections in portions that are read at once; what shares an hour is in one of them.
fn portions(mut sections: Vec<Arc<Section>>, bytes_max: u64) -> Vec<Vec<Arc<Section>>> {
    sections.sort_by_key(|section| section.t_min);
    let mut portions: Vec<Vec<Arc<Section>>> = Vec::new();
    let (mut bytes, mut end) = (0u64, i64::MIN);
    for section in sections {
        let is_apart = section.t_min.div_euclid(HOUR_MICROS) > end.div_euclid(HOUR_MICROS);
        bytes = bytes.saturating_add(section.bytes());
        end = end.max(section.t_max);
        match portions.last_mut() {
            Some(last) if bytes <= bytes_max || !is_apart => last.push(section),
            _ => {
                bytes = section.bytes();
                portions.push(vec![section]);
            }
        }
    }
    portions
}

/// Takes hours, in their order, up to a number.
struct HourSink {
    hours: Vec<(Timestamp, Value)>,
    wanted: usize,
}

impl Sink for HourSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let count = run.at.len().min(self.wanted - self.hours.len());
        let hour = |row| (Timestamp::from_micros(run.at[row]), run.values.get(row));
        self.hours.extend((0..count).map(hour));
        if self.hours.len() == self.wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// A section of figures that no manifest names yet.
struct Built {
    pack: Arc<Pack>,
    section: Section,
    bytes: Vec<u8>,
    hours: u64,
}

/// Adds a later bucket to one that holds it.
fn join(earlier: &mut Bucket, later: &Bucket) {
    let either =
        |one: Option<f64>, other: Option<f64>, pick: fn(f64, f64) -> f64| match (one, other) {
            (Some(one), Some(other)) => Some(pick(one, other)),
            (one, other) => one.or(other),
        };
    earlier.count += later.count;
    earlier.numbers += later.numbers;
    earlier.sum += later.sum;
    earlier.min = either(earlier.min, later.min, f64::min);
    earlier.max = either(earlier.max, later.max, f64::max);
    earlier.first = earlier.first.or(later.first);
    earlier.last = later.last.or(earlier.last);
    earlier.simulated += later.simulated;
}

/// The figures that are known with those of readings. Work for a blocking thread.
fn write_figures(
    inner: &Inner,
    tenant: TenantId,
    place: (Window, Option<DeviceId>),
    (known, readings): (&[Whole], &[Whole]),
) -> Result<Option<Built>, TelemetryError> {
    let mut pace = Pace::new(inner, inner.limits.compaction_core_percent);
    let open = |all: &[Whole]| {
        let each = all.iter().map(|(one, whole)| inner.reader.open_whole(tenant, one, whole));
        each.collect::<Result<Vec<OpenSection>, TelemetryError>>()
    };
    let (known_open, readings_open) = (open(known)?, open(readings)?);
    let dek = inner.reader.keys.dek(&section_scope(tenant, place));
    let dek = dek.map_err(TelemetryError::keys("seal figures"))?;
    let key = FileKey::derive(&dek, new_file(inner));
    let pack = Arc::new(Pack { file: new_file(inner) });
    let (mut bytes, mut encoder, mut hours) = (Vec::new(), Encoder::new(), 0u64);
    let mut writer = SectionWriter::begin(&mut bytes, &mut encoder, tenant, key);
    let all = known_open.iter().chain(&readings_open);
    let devices: BTreeSet<DeviceId> =
        all.flat_map(|open| open.directory.devices.keys().copied()).collect();
    for device in devices {
        let mut figures = Hours::new();
        for (key, columns) in merge_device(device, readings, &readings_open, &mut pace)? {
            let numbers = columns.iter().filter(|column| !is_text(column));
            let by_hour = figures.entry(key).or_default();
            numbers.for_each(|column| add_hours(column, by_hour));
        }
        hours += figures.values().map(BTreeMap::len).sum::<usize>() as u64;
        for (key, columns) in merge_device(device, known, &known_open, &mut pace)? {
            let by_hour = figures.entry(key).or_default();
            for column in &columns {
                hours = hours.saturating_sub(keep_known(column, by_hour));
            }
        }
        let filled = figures.iter().filter(|(_, by_hour)| !by_hour.is_empty());
        let columns: Vec<(&Key, Column)> =
            filled.map(|(key, by_hour)| (key, column_of(by_hour))).collect();
        let columns = columns.iter().map(|(key, column)| (*key, column.as_ref()));
        writer.device(device, columns, &mut pace)?;
    }
    if writer.is_empty() || hours == 0 {
        return Ok(None);
    }
    let generations = known.iter().chain(readings).map(|(section, _)| section.generation);
    let generation = generations.max().unwrap_or(0);
    let section = writer.finish(&pack, generation, place)?;
    Ok(Some(Built { pack, section, bytes, hours }))
}

fn is_text(column: &Column) -> bool {
    matches!(column.values.kind(), Kind::Text | Kind::Json)
}

/// Adds the numbers of a rising column to the hours they lie in.
fn add_hours(column: &Column, by_hour: &mut BTreeMap<i64, Bucket>) {
    let whole = column.as_ref();
    let mut from = 0;
    while from < whole.at.len() {
        let hour = whole.at[from].div_euclid(HOUR_MICROS);
        let is_same = |at: &i64| at.div_euclid(HOUR_MICROS) == hour;
        let end = from + whole.at[from..].partition_point(is_same);
        let at = hour.saturating_mul(HOUR_MICROS);
        let bucket = by_hour.entry(at).or_insert(Bucket::empty(Timestamp::from_micros(at)));
        bucket.add(whole.slice(from, end));
        from = end;
    }
}

/// Puts known figures in the place of new ones; answers how many it replaced.
fn keep_known(column: &Column, by_hour: &mut BTreeMap<i64, Bucket>) -> u64 {
    let ValuesRef::Text(texts) = column.as_ref().values else { return 0 };
    let mut replaced = 0;
    for (at, text) in column.at.iter().zip(texts) {
        if let Some(bucket) = read_text(Timestamp::from_micros(*at), text) {
            replaced += u64::from(by_hour.insert(*at, bucket).is_some());
        }
    }
    replaced
}

fn column_of(by_hour: &BTreeMap<i64, Bucket>) -> Column {
    let mut column = Column::empty(Kind::Text);
    for (at, bucket) in by_hour {
        let mut text = format!("{},{},{:e}", bucket.count, bucket.numbers, bucket.sum);
        for number in [bucket.min, bucket.max, bucket.first, bucket.last] {
            // Writing to a text cannot fail.
            let _ = write!(text, ",{:e}", number.unwrap_or_default());
        }
        let _ = write!(text, ",{}", bucket.simulated);
        column.push(*at, &Value::Text(text.into()), Quality::Good);
    }
    column
}

fn read_hour(at: Timestamp, value: &Value) -> Option<Bucket> {
    match value {
        Value::Text(text) => read_text(at, text),
        _ => None,
    }
}

fn read_text(at: Timestamp, text: &str) -> Option<Bucket> {
    let mut parts = text.split(',');
    let (count, numbers): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let mut number = || parts.next()?.parse::<f64>().ok();
    let (sum, min, max) = (number()?, number()?, number()?);
    let (first, last) = (number()?, number()?);
    let simulated = parts.next()?.parse().ok()?;
    let ends = |one: f64| (numbers > 0).then_some(one);
    Some(Bucket {
        at,
        count,
        numbers,
        sum,
        min: ends(min),
        max: ends(max),
        first: ends(first),
        last: ends(last),
        simulated,
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::FileId;
    use veritwin_keys::DekId;

    use super::*;

    #[test]
    fn what_shares_an_hour_is_read_at_once_and_a_month_is_not() {
        let section = |from: i64, to: i64| {
            Arc::new(Section {
                pack: Arc::new(Pack { file: FileId::from_bytes([1; 16]) }),
                dek: DekId::from_bytes([0; 16]),
                offset: 0,
                directory_offset: 900,
                directory_bytes: 100,
                frames: 2,
                generation: 1,
                window: Window::Day(0),
                device: None,
                t_min: from * HOUR_MICROS,
                t_max: to * HOUR_MICROS + 1,
                points: 1,
            })
        };
        let all = vec![section(0, 9), section(10, 19), section(19, 22), section(30, 40)];
        let counts = |bytes_max: u64| {
            portions(all.clone(), bytes_max).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts(10_000), [4]);
        assert_eq!(counts(2500), [3, 1], "what shares an hour goes along");
        assert_eq!(counts(100), [1, 2, 1], "one hour is in two of them");
        assert!(portions(Vec::new(), 1).is_empty());
    }

    #[test]
    fn hours_are_written_and_read() {
        let mut column = Column::empty(Kind::Double);
        for (minute, number) in [(0, 1.5), (59, -2.25), (60, 1e300), (61, 0.1)] {
            column.push(minute * 60_000_000, &Value::Double(number), Quality::Good);
        }
        let mut by_hour = BTreeMap::new();
        add_hours(&column, &mut by_hour);
        let written = column_of(&by_hour);
        assert_eq!(written.at, [0, HOUR_MICROS]);
        let read: Vec<Bucket> = written
            .at
            .iter()
            .enumerate()
            .filter_map(|(row, at)| {
                read_hour(Timestamp::from_micros(*at), &written.as_ref().values.get(row))
            })
            .collect();
        assert_eq!(read, by_hour.values().cloned().collect::<Vec<_>>());
        assert_eq!((read[0].count, read[0].sum, read[0].last), (2, -0.75, Some(-2.25)));
        // What is known stays.
        let mut late = BTreeMap::from([(0, Bucket::empty(Timestamp::EPOCH))]);
        assert_eq!(keep_known(&written, &mut late), 1);
        assert_eq!(late.len(), 2);
        assert_eq!(late[&0], read[0]);
        assert!(read_text(Timestamp::EPOCH, "1,1,x").is_none());
    }
}
