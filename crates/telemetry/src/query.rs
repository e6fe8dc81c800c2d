//! Questions and answers: points of a range, buckets, statistics. Every query has
//! bounds with names; a query that needs more is refused, never cut short in silence.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, Key, Quality, TenantId, Timestamp, Value};

use crate::TelemetryError;
use crate::aggregate::{Bucket, Stats, Summary};
use crate::budget::{Budget, value_bytes};
use crate::calendar::fixed_bounds;
use crate::directory::Chunk;
use crate::engine::Engine;
use crate::query_walk::Span;
use crate::sweep::Sink;
use crate::values::ColumnRef;

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
    pub(crate) fn bounds(self) -> Option<(i64, i64)> {
        let low = self.from.as_micros();
        let high = match self.to.as_micros() {
            i64::MAX => i64::MAX,
            to => to.checked_sub(1)?,
        };
        (low <= high).then_some((low, high))
    }
}

/// Which readings count, by their quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QualityFilter {
    /// All.
    #[default]
    Any,
    /// All but bad ones.
    NotBad,
    /// Good ones.
    Good,
}

impl QualityFilter {
    /// Whether readings of a quality count.
    pub const fn passes(self, quality: Quality) -> bool {
        match self {
            Self::Any => true,
            Self::NotBad => !matches!(quality, Quality::Bad),
            Self::Good => matches!(quality, Quality::Good),
        }
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

impl Engine {
    /// A page of a series' points.
    #[boxed]
    pub async fn range(&self, series: &Series, query: RangeQuery) -> Result<Page, TelemetryError> {
        self.range_filtered(series, query, QualityFilter::Any, &self.budget(series.tenant)).await
    }

    /// A page of those of a series' points that a filter lets through; what it holds is taken from
    /// the budget.
    #[boxed]
    pub async fn range_filtered(
        &self,
        series: &Series,
        query: RangeQuery,
        filter: QualityFilter,
        budget: &Budget,
    ) -> Result<Page, TelemetryError> {
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
        let mut sink = PointSink::new(wanted, filter, budget.clone());
        let rows_wanted = if filter == QualityFilter::Any { wanted } else { usize::MAX };
        let span = Span { low, high, descending, wanted: rows_wanted, is_partial: true };
        self.walk(series, span, &mut sink).await?;
        let mut points = sink.finish()?;
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
        self.buckets_within(series, range, width_micros, &self.budget(series.tenant)).await
    }

    /// [`Self::buckets`], taken from the budget.
    #[boxed]
    pub(crate) async fn buckets_within(
        &self,
        series: &Series,
        range: TimeRange,
        width_micros: i64,
        budget: &Budget,
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
        let span = Span::whole((low, high));
        self.walk(series, span, &mut sink).await?;
        if sink.buckets.len() > buckets_max {
            return Err(TelemetryError::Limit { name: "query_points_max", max: buckets_max });
        }
        budget.take(sink.buckets.len() * size_of::<Bucket>())?;
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
            let span = Span::whole((low, high));
            self.walk(series, span, &mut sink).await?;
        }
        Ok(sink.stats)
    }
}

/// Gathers points up to a number.
pub(crate) struct PointSink {
    points: Vec<Point>,
    wanted: usize,
    filter: QualityFilter,
    budget: Budget,
    failed: Option<TelemetryError>,
}

impl PointSink {
    pub(crate) const fn new(wanted: usize, filter: QualityFilter, budget: Budget) -> Self {
        Self { points: Vec::new(), wanted, filter, budget, failed: None }
    }

    pub(crate) fn finish(self) -> Result<Vec<Point>, TelemetryError> {
        match self.failed {
            None => Ok(self.points),
            Some(error) => Err(error),
        }
    }

    fn take(&mut self, run: ColumnRef<'_>) -> Result<(), TelemetryError> {
        let before = self.points.len();
        for index in 0..run.at.len() {
            let quality = run.quality_at(index);
            if !self.filter.passes(quality) {
                continue;
            }
            let at = Timestamp::from_micros(run.at[index]);
            self.points.push(Point { at, value: run.values.get(index), quality });
            if self.points.len() == self.wanted {
                break;
            }
        }
        let taken = &self.points[before..];
        self.budget.take(taken.iter().map(|point| value_bytes(&point.value)).sum())
    }
}

impl Sink for PointSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        if let Err(error) = self.take(run) {
            self.failed = Some(error);
        }
        if self.wanted() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn wanted(&self) -> usize {
        if self.failed.is_some() { 0 } else { self.wanted - self.points.len() }
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
    /// The bucket around `at`, which never lies before the last one.
    fn bucket(&mut self, at: i64) -> &mut Bucket {
        if self.buckets.is_empty() || at > self.end {
            let (start, end) = fixed_bounds(at, self.width_micros, 0);
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
        if self.wanted() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn wanted(&self) -> usize {
        if self.buckets.len() > self.buckets_max { 0 } else { usize::MAX }
    }

    fn summary(&mut self, chunk: &Chunk, summary: &Summary) -> bool {
        if chunk.t_max > fixed_bounds(chunk.t_min, self.width_micros, 0).1 {
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

    fn counted(&mut self, chunk: &Chunk) -> bool {
        let is_counted = !chunk.kind.is_number();
        if is_counted {
            self.extend(chunk.t_min, chunk.t_max, u64::from(chunk.count));
        }
        is_counted
    }
}
