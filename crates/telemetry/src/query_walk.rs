//! From a question about one series to its walk through memory and sections. Sections are opened
//! from the walk's beginning on, a few at once, and let go when it is past them; a question that
//! wants a few readings from one end opens no more of them than it needs.

use std::cmp::Reverse;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use veritwin_domain::TenantId;
use veritwin_keys::{DataClass, DekScope, KeyError};

use crate::TelemetryError;
use crate::catalog::Section;
use crate::engine::Engine;
use crate::query::Series;
use crate::reader::OpenSection;
use crate::sweep::{Body, Sink, Source, Walk, sweep};
use crate::values::Column;

/// Directories that one query opens at once; it holds those and what overlaps them.
const DIRECTORIES_AT_ONCE: usize = 16;

/// Bounds of one walk over a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// First and last time, both inside.
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) descending: bool,
    /// How many of the rows in memory the caller can use at most.
    pub(crate) wanted: usize,
    /// The sink will have enough before the end, and says so by wanting no more.
    pub(crate) is_partial: bool,
}

impl Span {
    /// A walk upwards over everything.
    pub(crate) const fn whole((low, high): (i64, i64)) -> Self {
        Self { low, high, descending: false, wanted: usize::MAX, is_partial: false }
    }
}

struct Gathered {
    /// Rows of memory with their generation: the highest ones, newest table first.
    memory: Vec<(u64, Column)>,
    sections: Vec<Arc<Section>>,
}

impl Engine {
    /// Fails when the tenant's keys are withdrawn or gone, also for what is still in memory, and
    /// while what was left in the log is read again: an answer without it would be wrong.
    pub(crate) fn check_readable(&self, tenant: TenantId) -> Result<(), TelemetryError> {
        let Some(is_behind) = self.inner.memory.read().is_behind(tenant) else { return Ok(()) };
        let keys = &self.inner.reader.keys;
        keys.dek(&DekScope::tenant(tenant, DataClass::Segment))
            .map_err(TelemetryError::keys("read telemetry"))?;
        if is_behind { Err(TelemetryError::Behind) } else { Ok(()) }
    }

    /// Hands everything of the series inside the span to the sink, in the span's direction.
    pub(crate) async fn walk<S: Sink>(
        &self,
        series: &Series,
        span: Span,
        sink: &mut S,
    ) -> Result<(), TelemetryError> {
        self.check_readable(series.tenant)?;
        // `sections` stays until the end: it keeps compaction from deleting what is being read.
        let Gathered { mut memory, mut sections } = self.gather(series, span);
        if span.descending {
            sections.sort_by_key(|section| Reverse(section.t_max));
        } else {
            sections.sort_by_key(|section| section.t_min);
        }
        let mut opened: Vec<(Arc<Section>, Arc<OpenSection>)> = Vec::new();
        let mut at_once = if span.is_partial { 1 } else { DIRECTORIES_AT_ONCE };
        let (mut low, mut high) = (span.low, span.high);
        let mut scanned = 0;
        let mut taken = 0;
        loop {
            let more = &sections[taken..(taken + at_once).min(sections.len())];
            taken += more.len();
            at_once = (at_once * 2).min(DIRECTORIES_AT_ONCE);
            self.open_sections(series, more, &mut opened).await?;
            // Before the nearest section that is still closed nothing can be missing.
            let closed = sections.get(taken);
            let part = match closed {
                None => Some((low, high)),
                Some(next) if span.descending => next.t_max.checked_add(1).map(|edge| (edge, high)),
                Some(next) => next.t_min.checked_sub(1).map(|edge| (low, edge.min(high))),
            };
            if let Some((low, high)) = part.filter(|(low, high)| low <= high) {
                let mut sources = sealed_sources(&opened, series, low, high);
                if closed.is_some() {
                    sources.extend(memory_between(&memory, low, high));
                } else {
                    let rows = std::mem::take(&mut memory).into_iter();
                    sources.extend(rows.map(|(generation, column)| Source {
                        generation,
                        body: Body::Memory(column),
                    }));
                }
                let walk = Walk {
                    device: series.device,
                    key: &series.key,
                    low,
                    high,
                    descending: span.descending,
                    open_points_max: self.inner.limits.query_open_points_max,
                    scan_points_max: self.inner.limits.query_scan_points_max,
                    scanned,
                };
                scanned = sweep(&self.inner.reader, walk, sources, sink).await?;
            }
            match closed {
                Some(next) if sink.wanted() > 0 => {
                    if span.descending {
                        high = high.min(next.t_max);
                    } else {
                        low = low.max(next.t_min);
                    }
                    opened.retain(|(section, _)| section.overlaps(low, high));
                }
                _ => return Ok(()),
            }
        }
    }

    /// One consistent state of memory and sections, as far as it concerns the series.
    fn gather(&self, series: &Series, span: Span) -> Gathered {
        let memory = self.inner.memory.read();
        let mut columns = Vec::new();
        let tables = memory.rows(series.tenant, series.device, &series.key);
        for (rows, generation) in tables.into_iter().zip([u64::MAX, u64::MAX - 1]) {
            let Some(rows) = rows else { continue };
            let copies = rows.copy_between(span.low, span.high, span.descending, span.wanted);
            columns.extend(copies.into_iter().map(|column| (generation, column)));
        }
        let sections = memory.catalog.sections(series.tenant).iter();
        let sections = sections
            .filter(|one| one.may_hold(series.device, span.low, span.high))
            .cloned()
            .collect();
        Gathered { memory: columns, sections }
    }

    async fn open_sections(
        &self,
        series: &Series,
        sections: &[Arc<Section>],
        opened: &mut Vec<(Arc<Section>, Arc<OpenSection>)>,
    ) -> Result<(), TelemetryError> {
        // Futures first, then the stream: a closure inside it would tie this to one lifetime.
        let opening: Vec<_> =
            sections.iter().map(|section| self.open_unless_destroyed(series, section)).collect();
        let found: Vec<Option<Arc<OpenSection>>> =
            stream::iter(opening).buffered(DIRECTORIES_AT_ONCE).try_collect().await?;
        for (section, open) in sections.iter().zip(found) {
            opened.extend(open.map(|open| (Arc::clone(section), open)));
        }
        Ok(())
    }

    /// A section whose own key was destroyed has expired: it is as if it were not there.
    async fn open_unless_destroyed(
        &self,
        series: &Series,
        section: &Section,
    ) -> Result<Option<Arc<OpenSection>>, TelemetryError> {
        match self.inner.reader.section(series.tenant, section, Some(series.device)).await {
            Err(TelemetryError::Keys { source: KeyError::Destroyed { .. }, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(open) => Ok(Some(open)),
        }
    }
}

fn sealed_sources(
    opened: &[(Arc<Section>, Arc<OpenSection>)],
    series: &Series,
    low: i64,
    high: i64,
) -> Vec<Source> {
    let mut sources = Vec::new();
    for (section, open) in opened {
        for chunk in open.directory.chunks(series.device, &series.key) {
            if chunk.t_min <= high && low <= chunk.t_max {
                let body = Body::Sealed(Arc::clone(open), *chunk);
                sources.push(Source { generation: section.generation, body });
            }
        }
    }
    sources
}

/// Copies of the rows in memory: a later part of the walk may need those around them.
fn memory_between(memory: &[(u64, Column)], low: i64, high: i64) -> impl Iterator<Item = Source> {
    memory.iter().filter_map(move |(generation, column)| {
        let rows = column.as_ref().between(low, high);
        let body = Body::Memory(rows.to_owned());
        (!rows.at.is_empty()).then_some(Source { generation: *generation, body })
    })
}
