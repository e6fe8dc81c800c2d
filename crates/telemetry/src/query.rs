//! Questions and answers: points of a range, buckets, statistics. Every query has
//! bounds with names; a query that needs more is refused, never cut short in silence.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_recursion::async_recursion as boxed;
use futures::stream::{self, StreamExt, TryStreamExt};
use veritwin_domain::{DeviceId, Key, Quality, TenantId, Timestamp, Value};
use veritwin_keys::{DataClass, DekScope, KeyError};

use crate::TelemetryError;
use crate::aggregate::{Bucket, Stats, Summary};
use crate::catalog::Section;
use crate::directory::Chunk;
use crate::engine::Engine;
use crate::reader::OpenSection;
use crate::sweep::{Body, Sink, Source, Walk, sweep};
use crate::values::ColumnRef;

/// Directories opened at once by one query.
const DIRECTORIES_AT_ONCE: usize = 16;

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Series {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The key.
    pub key: Key,
}

/// A stretch of time: `from` is inside, `to` is not, except that [`Timestamp::MAX`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment inside.
    pub from: Timestamp,
    /// The first moment outside; the last representable moment is inside.
    pub to: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: Timestamp::MIN, to: Timestamp::MAX };

    /// First and last microsecond inside; none when the range is empty.
    fn bounds(self) -> Option<(i64, i64)> {
        let low = self.from.as_micros();
        let high = match self.to.as_micros() {
            i64::MAX => i64::MAX,
            to => to.checked_sub(1)?,
        };
        (low <= high).then_some((low, high))
    }
}

/// In which direction of time points are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Earliest first.
    #[default]
    Ascending,
    /// Latest first.
    Descending,
}

/// Which points to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeQuery {
    /// The stretch of time.
    pub range: TimeRange,
    /// The direction.
    pub order: Order,
    /// Most points to return.
    pub limit: usize,
    /// The last time of the previous page; points up to it in the query's direction are left out.
    pub after: Option<Timestamp>,
}

/// One reading of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// A page of points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The points, in the query's direction.
    pub points: Vec<Point>,
    /// What to pass as `after` for the next page; none after the last.
    pub next: Option<Timestamp>,
}

struct Gathered {
    /// Newest tables first come with the highest generations.
    sources: Vec<Source>,
    sections: Vec<Arc<Section>>,
}

/// Bounds of one walk over a series.
#[derive(Clone, Copy)]
struct Span {
    low: i64,
    high: i64,
    descending: bool,
    /// How many points the caller can use at most.
    wanted: usize,
}

impl Engine {
    /// A page of a series' points.
    #[boxed]
    pub async fn range(&self, series: &Series, query: RangeQuery) -> Result<Page, TelemetryError> {
        let limit_max = self.inner.limits.query_points_max;
        if query.limit == 0 || query.limit > limit_max {
            return Err(TelemetryError::Argument {
                name: "limit",
                expected: format!("1 to {limit_max} points per page"),
                actual: query.limit.to_string(),
            });
        }
        let descending = query.order == Order::Descending;
        let Some((mut low, mut high)) = query.range.bounds() else { return Ok(Page::default()) };
        if let Some(after) = query.after.map(Timestamp::as_micros) {
            let edge = if descending { after.checked_sub(1) } else { after.checked_add(1) };
            let Some(edge) = edge else { return Ok(Page::default()) };
            (low, high) = if descending { (low, high.min(edge)) } else { (low.max(edge), high) };
        }
        // One more than asked for tells whether there is a next page.
        let wanted = query.limit + 1;
        let mut sink = PointSink { points: Vec::new(), wanted };
        self.walk(series, Span { low, high, descending, wanted }, &mut sink).await?;
        let mut points = sink.points;
        let is_more = points.len() > query.limit;
        points.truncate(query.limit);
        let next = if is_more { points.last().map(|point| point.at) } else { None };
        Ok(Page { points, next })
    }

    /// Buckets of `width_micros`, aligned to the epoch; only those that hold readings of the range.
    #[boxed]
    pub async fn buckets(
        &self,
        series: &Series,
        range: TimeRange,
        width_micros: i64,
    ) -> Result<Vec<Bucket>, TelemetryError> {
        if width_micros <= 0 {
            return Err(TelemetryError::Argument {
                name: "bucket width",
                expected: "at least 1 microsecond".to_owned(),
                actual: format!("{width_micros} microseconds"),
            });
        }
        let Some((low, high)) = range.bounds() else { return Ok(Vec::new()) };
        let buckets_max = self.inner.limits.query_points_max;
        let mut sink = BucketSink { width_micros, buckets: Vec::new(), end: 0, buckets_max };
        let span = Span { low, high, descending: false, wanted: usize::MAX };
        self.walk(series, span, &mut sink).await?;
        if sink.buckets.len() > buckets_max {
            return Err(TelemetryError::Limit { name: "query_points_max", max: buckets_max });
        }
        Ok(sink.buckets)
    }

    /// [`Self::buckets`] of several series, worked on by all processors; answers in their order.
    #[boxed]
    pub async fn buckets_many(
        &self,
        series: &[Series],
        range: TimeRange,
        width_micros: i64,
    ) -> Result<Vec<Vec<Bucket>>, TelemetryError> {
        let tasks_max = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let next = Arc::new(AtomicUsize::new(0));
        let shared: Arc<[Series]> = Arc::from(series);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..tasks_max.min(series.len()) {
            let (engine, series, next) = (self.clone(), Arc::clone(&shared), Arc::clone(&next));
            tasks.spawn(async move {
                let mut answers = Vec::new();
                while let Some((place, series)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    series.get(place).map(|series| (place, series))
                } {
                    answers.push((place, engine.buckets(series, range, width_micros).await?));
                }
                Ok::<_, TelemetryError>(answers)
            });
        }
        let mut answers = vec![Vec::new(); series.len()];
        while let Some(done) = tasks.join_next().await {
            for (place, buckets) in done.map_err(|_| TelemetryError::Stopped)?? {
                answers[place] = buckets;
            }
        }
        Ok(answers)
    }

    /// Exact count, extremes and ends of a series over a range.
    #[boxed]
    pub async fn stats(&self, series: &Series, range: TimeRange) -> Result<Stats, TelemetryError> {
        let mut sink = StatsSink { stats: Stats::default() };
        if let Some((low, high)) = range.bounds() {
            let span = Span { low, high, descending: false, wanted: usize::MAX };
            self.walk(series, span, &mut sink).await?;
        }
        Ok(sink.stats)
    }

    /// Fails when the tenant's keys are withdrawn or gone, also for what is still in memory.
    pub(crate) fn check_readable(&self, tenant: TenantId) -> Result<(), TelemetryError> {
        if !self.inner.memory.read().tenants.contains_key(&tenant) {
            return Ok(());
        }
        self.inner
            .reader
            .keys
            .dek(&DekScope::tenant(tenant, DataClass::Segment))
            .map(|_| ())
            .map_err(TelemetryError::keys("read telemetry"))
    }

    async fn walk<S: Sink>(
        &self,
        series: &Series,
        span: Span,
        sink: &mut S,
    ) -> Result<(), TelemetryError> {
        self.check_readable(series.tenant)?;
        let Gathered { mut sources, sections } = self.gather(series, span);
        let opening: Vec<_> = sections
            .iter()
            .map(|section| self.open_unless_destroyed(series.tenant, section))
            .collect();
        let opened: Vec<Option<Arc<OpenSection>>> =
            stream::iter(opening).buffered(DIRECTORIES_AT_ONCE).try_collect().await?;
        for (section, open) in sections.iter().zip(opened) {
            let Some(open) = open else { continue };
            for chunk in open.directory.chunks(series.device, &series.key) {
                if chunk.t_min <= span.high && span.low <= chunk.t_max {
                    let body = Body::Sealed(Arc::clone(&open), *chunk);
                    sources.push(Source { generation: section.generation, body });
                }
            }
        }
        let walk = Walk {
            device: series.device,
            key: &series.key,
            low: span.low,
            high: span.high,
            descending: span.descending,
            open_points_max: self.inner.limits.query_open_points_max,
            scan_points_max: self.inner.limits.query_scan_points_max,
        };
        // `sections` stays until the end: it keeps compaction from deleting what is being read.
        sweep(&self.inner.reader, walk, sources, sink).await
    }

    /// One consistent state of memory and sections, as far as it concerns the series.
    fn gather(&self, series: &Series, span: Span) -> Gathered {
        let memory = self.inner.memory.read();
        let mut sources = Vec::new();
        let tables = memory.rows(series.tenant, series.device, &series.key);
        for (rows, generation) in tables.into_iter().zip([u64::MAX, u64::MAX - 1]) {
            let Some(rows) = rows else { continue };
            let columns = rows.copy_between(span.low, span.high, span.descending, span.wanted);
            sources.extend(
                columns.into_iter().map(|column| Source { generation, body: Body::Memory(column) }),
            );
        }
        let sections = memory.catalog.sections(series.tenant).iter();
        let sections = sections
            .filter(|one| one.may_hold(series.device, span.low, span.high))
            .cloned()
            .collect();
        Gathered { sources, sections }
    }

    /// A section whose own key was destroyed has expired: it is as if it were not there.
    async fn open_unless_destroyed(
        &self,
        tenant: TenantId,
        section: &Section,
    ) -> Result<Option<Arc<OpenSection>>, TelemetryError> {
        match self.inner.reader.section(tenant, section).await {
            Err(TelemetryError::Keys { source: KeyError::Destroyed { .. }, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(open) => Ok(Some(open)),
        }
    }
}

struct PointSink {
    points: Vec<Point>,
    wanted: usize,
}

impl Sink for PointSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let count = run.at.len().min(self.wanted - self.points.len());
        self.points.extend((0..count).map(|index| Point {
            at: Timestamp::from_micros(run.at[index]),
            value: run.values.get(index),
            quality: run.quality_at(index),
        }));
        if self.points.len() == self.wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn wanted(&self) -> usize {
        self.wanted - self.points.len()
    }
}

struct BucketSink {
    width_micros: i64,
    buckets: Vec<Bucket>,
    /// Last microsecond of the last bucket.
    end: i64,
    buckets_max: usize,
}

impl BucketSink {
    /// First and last microsecond of the bucket around `at`, held at the ends of time.
    fn bounds(&self, at: i64) -> (i64, i64) {
        let width = i128::from(self.width_micros);
        let start = i128::from(at).div_euclid(width) * width;
        let hold = |at: i128| i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX });
        (hold(start), hold(start + width - 1))
    }

    /// The bucket around `at`, which never lies before the last one.
    fn bucket(&mut self, at: i64) -> &mut Bucket {
        if self.buckets.is_empty() || at > self.end {
            let (start, end) = self.bounds(at);
            self.end = end;
            self.buckets.push(Bucket::empty(Timestamp::from_micros(start)));
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last]
    }
}

impl Sink for BucketSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let mut start = 0;
        while start < run.at.len() {
            let at = run.at[start];
            self.bucket(at);
            let end = self.end;
            let count = run.at[start..].partition_point(|at| *at <= end);
            self.bucket(at).add(run.slice(start, start + count));
            start += count;
        }
        if self.buckets.len() > self.buckets_max {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn summary(&mut self, chunk: &Chunk, summary: &Summary) -> bool {
        if chunk.t_max > self.bounds(chunk.t_min).1 {
            return false;
        }
        self.bucket(chunk.t_min).add_summary(u64::from(chunk.count), summary);
        true
    }
}

struct StatsSink {
    stats: Stats,
}

impl StatsSink {
    fn extend(&mut self, t_min: i64, t_max: i64, count: u64) {
        self.stats.count += count;
        self.stats.first_at.get_or_insert(Timestamp::from_micros(t_min));
        self.stats.last_at = Some(Timestamp::from_micros(t_max));
    }

    fn add(&mut self, count: u64, summary: &Summary) {
        let stats = &mut self.stats;
        stats.numbers += count;
        stats.min = Some(stats.min.map_or(summary.min, |min| min.min(summary.min)));
        stats.max = Some(stats.max.map_or(summary.max, |max| max.max(summary.max)));
        stats.first.get_or_insert(summary.first);
        stats.last = Some(summary.last);
    }
}

impl Sink for StatsSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        if let (Some(first), Some(last)) = (run.at.first(), run.at.last()) {
            let count = run.at.len() as u64;
            self.extend(*first, *last, count);
            if let Some(summary) = Summary::of(run.values) {
                self.add(count, &summary);
            }
        }
        ControlFlow::Continue(())
    }

    fn summary(&mut self, chunk: &Chunk, summary: &Summary) -> bool {
        let count = u64::from(chunk.count);
        self.extend(chunk.t_min, chunk.t_max, count);
        self.add(count, summary);
        true
    }
}
