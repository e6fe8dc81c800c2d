//! Down-sampling: one walk upwards over a series, one bucket under way at a time. A chunk that lies
//! in one bucket is taken by its summary wherever that says as much as its readings.

use std::ops::ControlFlow;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Timestamp, Value};

use crate::TelemetryError;
use crate::aggregate::Summary;
use crate::aggregate_fill::{Fill, Grid};
use crate::aggregate_state::{Aggregate, BucketRow, BucketState, Needs, PERCENTILE_MAX, Sample};
use crate::budget::Budget;
use crate::calendar::Buckets;
use crate::directory::Chunk;
use crate::engine::Engine;
use crate::query::{QualityFilter, Series, TimeRange};
use crate::query_walk::Span;
use crate::sweep::Sink;
use crate::values::ColumnRef;

/// Most aggregates in one query.
pub const AGGREGATES_MAX: usize = 16;

/// How to take readings together.
#[derive(Debug, Clone, PartialEq)]
pub struct Downsample {
    /// The stretch of time.
    pub range: TimeRange,
    /// The buckets; of the first and the last one only what lies in the range counts.
    pub buckets: Buckets,
    /// What is asked of each bucket: at least one and at most [`AGGREGATES_MAX`].
    pub aggregates: Vec<Aggregate>,
    /// For changes and rates: the number counts upwards, and where it falls it began at zero again.
    pub is_counter: bool,
    /// What stands in buckets without readings.
    pub fill: Fill,
    /// Which readings count.
    pub quality: QualityFilter,
}

/// Some buckets of a series, and where to go on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BucketPage {
    /// The buckets, earliest first.
    pub rows: Vec<BucketRow>,
    /// Where the bucket after them begins; none when they are the last ones. The same question from
    /// there on goes on as if it had never been cut.
    pub next: Option<Timestamp>,
}

impl Downsample {
    fn check(&self) -> Result<(), TelemetryError> {
        let refuse = |name, expected: String, actual: String| {
            Err(TelemetryError::Argument { name, expected, actual })
        };
        if let Buckets::Fixed { width_micros, .. } = &self.buckets
            && *width_micros <= 0
        {
            let actual = format!("{width_micros} microseconds");
            return refuse("bucket width", "at least 1 microsecond".to_owned(), actual);
        }
        let count = self.aggregates.len();
        if count == 0 || count > AGGREGATES_MAX {
            return refuse("aggregates", format!("1 to {AGGREGATES_MAX}"), count.to_string());
        }
        for aggregate in &self.aggregates {
            if let Aggregate::Percentile(thousandths) = aggregate
                && *thousandths > PERCENTILE_MAX
            {
                let actual = format!("{thousandths} thousandths of a percent");
                return refuse("percentile", "0 to 100 percent".to_owned(), actual);
            }
        }
        Ok(())
    }
}

impl Engine {
    /// The buckets of a series that hold readings of the range, and with a fill mode all others
    /// of the range; earliest first. What they take is taken from the budget.
    #[boxed]
    pub async fn downsample(
        &self,
        series: &Series,
        query: &Downsample,
        budget: &Budget,
    ) -> Result<Vec<BucketRow>, TelemetryError> {
        query.check()?;
        let Some(range) = query.range.bounds() else { return Ok(Vec::new()) };
        Ok(self.buckets_in(series, query, (range, None), budget).await?.rows)
    }

    /// The same, at most so many of them, and where the next one begins. What stands in a bucket
    /// without readings must not depend on those before or behind it.
    #[boxed]
    pub async fn downsample_page(
        &self,
        series: &Series,
        query: &Downsample,
        rows_max: usize,
        budget: &Budget,
    ) -> Result<BucketPage, TelemetryError> {
        query.check()?;
        if matches!(query.fill, Fill::Previous | Fill::Linear) {
            return Err(TelemetryError::Argument {
                name: "fill",
                expected: "nothing or a number where buckets come in pages".to_owned(),
                actual: "what stands in other buckets".to_owned(),
            });
        }
        let Some(range) = query.range.bounds() else { return Ok(BucketPage::default()) };
        let rows_max = rows_max.min(self.inner.limits.query_points_max).max(1);
        if query.fill == Fill::None {
            return self.buckets_in(series, query, (range, Some(rows_max)), budget).await;
        }
        // Every bucket has a row: the page ends with the last one that has room.
        let mut end = query.buckets.bounds(range.0, range).1;
        for _ in 1..rows_max {
            let Some(next) = end.checked_add(1).filter(|next| *next <= range.1) else { break };
            end = query.buckets.bounds(next, range).1;
            tokio::task::consume_budget().await;
        }
        let next = end.checked_add(1).filter(|next| *next <= range.1);
        let part = (range.0, end.min(range.1));
        let page = self.buckets_in(series, query, (part, None), budget).await?;
        Ok(BucketPage { next: next.map(Timestamp::from_micros), ..page })
    }

    /// The buckets of a stretch of time; of a page, which has a bound, the first ones.
    async fn buckets_in(
        &self,
        series: &Series,
        query: &Downsample,
        (range, page): ((i64, i64), Option<usize>),
        budget: &Budget,
    ) -> Result<BucketPage, TelemetryError> {
        let needs = Needs::of(&query.aggregates, query.is_counter);
        let carried = if needs.carries() {
            self.number_before(series, range.0, query.quality).await?
        } else {
            None
        };
        let rows_max = self.inner.limits.query_points_max;
        let mut sink = DownsampleSink {
            query,
            range,
            needs,
            now: self.inner.clock.now().as_micros(),
            budget,
            rows_max: page.unwrap_or(rows_max),
            is_page: page.is_some(),
            next: None,
            rows: Vec::new(),
            current: None,
            carried,
            failed: None,
        };
        let span = Span { is_partial: page.is_some(), ..Span::whole(range) };
        self.walk(series, span, &mut sink).await?;
        let next = sink.next.map(Timestamp::from_micros);
        let rows = sink.finish()?;
        let opening = match (query.fill, range.0.checked_sub(1)) {
            (Fill::Previous, Some(before)) => {
                self.as_of(series, Timestamp::from_micros(before), query.quality, budget).await?
            }
            _ => None,
        };
        let opening = opening.map(|point| point.value);
        let rows = Grid { query, range, rows_max, budget }.fill(rows, opening.as_ref()).await?;
        Ok(BucketPage { rows, next })
    }

    /// The last number of a series before a moment.
    async fn number_before(
        &self,
        series: &Series,
        at: i64,
        filter: QualityFilter,
    ) -> Result<Option<Sample>, TelemetryError> {
        let Some(high) = at.checked_sub(1) else { return Ok(None) };
        let mut sink = NumberSink { filter, found: None };
        // Rows in memory are of one type, or all of them come: the nearest one tells.
        let wanted = if filter == QualityFilter::Any { 1 } else { usize::MAX };
        let span = Span { low: i64::MIN, high, descending: true, wanted, is_partial: true };
        self.walk(series, span, &mut sink).await?;
        Ok(sink.found)
    }
}

/// The stretches of a run whose readings a filter lets through.
pub(crate) fn passing(
    filter: QualityFilter,
    run: ColumnRef<'_>,
) -> impl Iterator<Item = ColumnRef<'_>> {
    let count = run.at.len();
    let takes_all = filter == QualityFilter::Any || run.quality.is_empty();
    let passes = move |index: usize| takes_all || filter.passes(run.quality_at(index));
    let mut next = 0;
    std::iter::from_fn(move || {
        let from = (next..count).find(|index| passes(*index))?;
        next = if takes_all {
            count
        } else {
            (from..count).find(|index| !passes(*index)).unwrap_or(count)
        };
        Some(run.slice(from, next))
    })
}

/// Finds the first number on its way.
struct NumberSink {
    filter: QualityFilter,
    found: Option<Sample>,
}

impl Sink for NumberSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        let found = (0..run.at.len()).find_map(|index| {
            let number = run.values.number_at(index)?;
            let passes = self.filter.passes(run.quality_at(index));
            passes.then_some(Sample { at: run.at[index], number })
        });
        self.found = found;
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What holds no numbers is passed by.
    fn counted(&mut self, chunk: &Chunk) -> bool {
        !chunk.kind.is_number()
    }

    fn wanted(&self) -> usize {
        usize::from(self.found.is_none())
    }
}

struct Current {
    /// First and last microsecond of the bucket.
    bounds: (i64, i64),
    state: BucketState,
}

struct DownsampleSink<'q> {
    query: &'q Downsample,
    range: (i64, i64),
    needs: Needs,
    now: i64,
    budget: &'q Budget,
    rows_max: usize,
    /// More rows than those are for another page, and no mistake.
    is_page: bool,
    /// Where the first bucket of the next page begins, once it was met.
    next: Option<i64>,
    rows: Vec<BucketRow>,
    current: Option<Current>,
    carried: Option<Sample>,
    failed: Option<TelemetryError>,
}

impl DownsampleSink<'_> {
    fn finish(mut self) -> Result<Vec<BucketRow>, TelemetryError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.close()?;
        Ok(self.rows)
    }

    /// Makes the bucket around `at` the one under way; it never lies before the last one. There is
    /// none under way once the page is full.
    fn open(&mut self, at: i64) -> Result<(), TelemetryError> {
        if self.next.is_some() {
            return Ok(());
        }
        if self.current.as_ref().is_some_and(|current| at <= current.bounds.1) {
            return Ok(());
        }
        self.close()?;
        let bounds = self.query.buckets.bounds(at, self.range);
        if self.is_page && self.rows.len() == self.rows_max {
            self.next = Some(bounds.0);
            return Ok(());
        }
        let window = (bounds.0.max(self.range.0), bounds.1.min(self.range.1));
        let state = BucketState::new(self.needs, window, self.carried);
        self.current = Some(Current { bounds, state });
        Ok(())
    }

    fn close(&mut self) -> Result<(), TelemetryError> {
        let Some(Current { bounds, state }) = self.current.take() else { return Ok(()) };
        self.carried = state.carried();
        let finished = state.finish(&self.query.aggregates, self.now);
        let row = row((bounds.0, bounds.1), finished.count, finished.values);
        if self.rows.len() == self.rows_max {
            let (name, max) = ("query_points_max", self.rows_max);
            return Err(TelemetryError::Limit { name, max });
        }
        self.budget.take(row_bytes(&row))?;
        self.rows.push(row);
        Ok(())
    }

    fn take(&mut self, run: ColumnRef<'_>) -> Result<(), TelemetryError> {
        let mut start = 0;
        while start < run.at.len() {
            self.open(run.at[start])?;
            let Some(current) = &mut self.current else { return Ok(()) };
            let end = current.bounds.1;
            let count = run.at[start..].partition_point(|at| *at <= end);
            current.state.add(run.slice(start, start + count));
            start += count;
        }
        Ok(())
    }

    /// Takes a chunk as a whole, if it lies in one bucket.
    fn whole(&mut self, chunk: &Chunk, add: impl FnOnce(&mut BucketState)) -> bool {
        let end = match &self.current {
            Some(current) if chunk.t_min <= current.bounds.1 => current.bounds.1,
            _ => self.query.buckets.bounds(chunk.t_min, self.range).1,
        };
        if chunk.t_max > end {
            return false;
        }
        match (self.open(chunk.t_min), &mut self.current) {
            (Ok(()), Some(current)) => add(&mut current.state),
            (Ok(()), None) => {}
            (Err(error), _) => self.failed = Some(error),
        }
        true
    }
}

impl Sink for DownsampleSink<'_> {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        for stretch in passing(self.query.quality, run) {
            if let Err(error) = self.take(stretch) {
                self.failed = Some(error);
            }
            if self.wanted() == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn summary(&mut self, chunk: &Chunk, summary: &Summary) -> bool {
        self.query.quality == QualityFilter::Any
            && self.needs.are_met_by(chunk.kind, summary)
            && self.whole(chunk, |state| state.add_summary(chunk, summary))
    }

    fn counted(&mut self, chunk: &Chunk) -> bool {
        self.query.quality == QualityFilter::Any
            && !chunk.kind.is_number()
            && !self.needs.ends
            && !self.needs.marks
            && self.whole(chunk, |state| state.add_count(chunk.count))
    }

    fn wanted(&self) -> usize {
        if self.failed.is_some() || self.next.is_some() { 0 } else { usize::MAX }
    }
}

/// A row of an answer from the first and last microsecond of its bucket.
pub(crate) const fn row(
    (start, end): (i64, i64),
    count: u64,
    values: Vec<Option<Value>>,
) -> BucketRow {
    let (from, to) = (Timestamp::from_micros(start), Timestamp::from_micros(end.saturating_add(1)));
    BucketRow { from, to, count, values }
}

/// What a row takes in an answer.
pub(crate) fn row_bytes(row: &BucketRow) -> usize {
    let text = |value: &Option<Value>| match value {
        Some(Value::Text(text) | Value::Json(text)) => text.len(),
        _ => 0,
    };
    let texts: usize = row.values.iter().map(text).sum();
    size_of::<BucketRow>() + row.values.len() * size_of::<Option<Value>>() + texts
}
