//! One walk over a series in the order of time, through memory and every overlapping section. Of
//! equal times the highest generation wins. Chunks are opened when the walk reaches them, so memory
//! stays bounded by how many overlap; runs that nobody contests are handed on whole.
//!
//! Times become walk coordinates by `at ^ mask`: mask 0 walks up, mask -1 (which reverses the order
//! of all 64-bit numbers) walks down.

use std::ops::ControlFlow;
use std::sync::Arc;

use veritwin_domain::{DeviceId, FileId, Key};

use crate::TelemetryError;
use crate::aggregate::Summary;
use crate::directory::Chunk;
use crate::reader::{Fetched, OpenSection, Reader};
use crate::values::{Column, ColumnRef};

/// Most chunks read ahead in one go.
const READ_AHEAD_CHUNKS_MAX: usize = 32;

/// Takes what the walk finds, in its order.
pub(crate) trait Sink {
    /// Takes a run of readings; breaks off when it has enough.
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()>;

    /// Takes a whole chunk by its summary, or declines. Only asked while walking up.
    fn summary(&mut self, _chunk: &Chunk, _summary: &Summary) -> bool {
        false
    }

    /// The same of a chunk without a summary, of which only times and number are known.
    fn counted(&mut self, _chunk: &Chunk) -> bool {
        false
    }

    /// How many readings the sink still wants, to bound reading ahead; 0 once it has enough.
    fn wanted(&self) -> usize {
        usize::MAX
    }
}

/// Where readings of the series may be.
#[derive(Debug)]
pub(crate) enum Body {
    Memory(Column),
    Sealed(Arc<OpenSection>, Chunk),
}

/// One column that the walk may meet.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) generation: u64,
    pub(crate) body: Body,
}

impl Source {
    fn extent(&self) -> (i64, i64) {
        match &self.body {
            Body::Memory(column) => (column.at[0], column.at[column.at.len() - 1]),
            Body::Sealed(_, chunk) => (chunk.t_min, chunk.t_max),
        }
    }
}

/// What a walk covers and may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) device: DeviceId,
    pub(crate) key: &'a Key,
    /// First and last time, both inside.
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) descending: bool,
    /// Most points decoded at once.
    pub(crate) open_points_max: usize,
    /// Most points decoded in all.
    pub(crate) scan_points_max: usize,
    /// Points decoded before, for other parts of the same question.
    pub(crate) scanned: usize,
}

/// A source with its place on the walk.
struct Placed {
    start: i64,
    end: i64,
    source: Source,
}

struct Opened {
    generation: u64,
    column: Column,
    next: usize,
    /// Decoded for this walk; rows copied out of memory are bounded by the memory table.
    is_decoded: bool,
}

impl Opened {
    fn is_done(&self) -> bool {
        self.next == self.column.at.len()
    }
}

impl Walk<'_> {
    const fn mask(&self) -> i64 {
        if self.descending { -1 } else { 0 }
    }

    /// Sources in the order in which the walk meets them.
    fn place(&self, sources: Vec<Source>) -> Vec<Placed> {
        let mask = self.mask();
        let mut placed: Vec<Placed> = sources
            .into_iter()
            .map(|source| {
                let (t_min, t_max) = source.extent();
                let (t_min, t_max) = (t_min.max(self.low), t_max.min(self.high));
                let (start, end) =
                    if self.descending { (t_max ^ mask, t_min ^ mask) } else { (t_min, t_max) };
                Placed { start, end, source }
            })
            .filter(|placed| placed.start <= placed.end)
            .collect();
        placed.sort_unstable_by_key(|placed| placed.start);
        placed
    }
}

/// Walks over `sources` and hands everything inside the walk's bounds to `sink`; answers how many
/// points were decoded in all.
pub(crate) async fn sweep<S: Sink>(
    reader: &Reader,
    walk: Walk<'_>,
    sources: Vec<Source>,
    sink: &mut S,
) -> Result<usize, TelemetryError> {
    let mask = walk.mask();
    let mut placed = walk.place(sources);
    let mut fetched = Fetched::new();
    let mut opened: Vec<Opened> = Vec::new();
    let mut scanned = walk.scanned;
    let mut next = 0usize;
    loop {
        opened.retain(|opened| !opened.is_done());
        if opened.is_empty() {
            if next == placed.len() {
                return Ok(scanned);
            }
            if take_summary(&walk, &placed, next, sink) {
                if sink.wanted() == 0 {
                    return Ok(scanned);
                }
                next += 1;
                tokio::task::consume_budget().await;
                continue;
            }
        }
        let heads = opened.iter().map(|opened| opened.column.at[opened.next] ^ mask);
        let reach = heads.min().unwrap_or_else(|| placed[next].start);
        while placed.get(next).is_some_and(|placed| placed.start <= reach) {
            read_ahead(reader, &placed[next..], sink.wanted(), &mut fetched).await?;
            let source = &mut placed[next].source;
            let is_decoded = matches!(source.body, Body::Sealed(..));
            let column = open(&walk, &mut source.body, &mut fetched)?;
            scanned += column.at.len();
            let generation = source.generation;
            opened.push(Opened { generation, column, next: 0, is_decoded });
            check_bounds(&walk, &opened, scanned)?;
            next += 1;
            // Decoding is work of its own: let other tasks have their turn between chunks.
            tokio::task::consume_budget().await;
        }
        opened.retain(|opened| !opened.is_done());
        let unopened = placed.get(next).map(|placed| placed.start);
        if step(&mut opened, unopened, mask, sink).is_break() {
            return Ok(scanned);
        }
    }
}

/// Merges columns that are all in memory; of equal times the highest generation wins.
pub(crate) fn merge<S: Sink>(columns: Vec<(u64, Column)>, sink: &mut S) {
    let mut opened: Vec<Opened> = columns
        .into_iter()
        .map(|(generation, column)| Opened { generation, column, next: 0, is_decoded: true })
        .collect();
    loop {
        opened.retain(|opened| !opened.is_done());
        if opened.is_empty() || step(&mut opened, None, 0, sink).is_break() {
            return;
        }
    }
}

/// Hands on the run of the winner at the lowest head, up to where another column begins.
fn step<S: Sink>(
    opened: &mut [Opened],
    unopened: Option<i64>,
    mask: i64,
    sink: &mut S,
) -> ControlFlow<()> {
    let head_of = |opened: &Opened| opened.column.at[opened.next] ^ mask;
    let Some(head) = opened.iter().map(head_of).min() else { return ControlFlow::Continue(()) };
    let winner = opened
        .iter()
        .enumerate()
        .filter(|(_, candidate)| head_of(candidate) == head)
        .max_by_key(|(_, candidate)| candidate.generation)
        .map_or(0, |(place, _)| place);
    let mut bound = unopened;
    for (place, other) in opened.iter_mut().enumerate() {
        if place == winner {
            continue;
        }
        if head_of(other) == head {
            other.next += 1;
        }
        if !other.is_done() {
            let other_head = head_of(other);
            bound = Some(bound.map_or(other_head, |bound| bound.min(other_head)));
        }
    }
    let winner = &mut opened[winner];
    let at = &winner.column.at[winner.next..];
    let count = bound.map_or(at.len(), |bound| run_length(at, bound, mask));
    let run = winner.column.as_ref().slice(winner.next, winner.next + count);
    winner.next += count;
    sink.run(run)
}

/// How many times lie before `bound`: by doubling steps, since contested runs are mostly short.
fn run_length(at: &[i64], bound: i64, mask: i64) -> usize {
    let mut reach = 1;
    while reach < at.len() && at[reach] ^ mask < bound {
        reach *= 2;
    }
    let (from, to) = (reach / 2, reach.min(at.len()));
    from + at[from..to].partition_point(|at| *at ^ mask < bound)
}

/// Offers what is known of the next chunk if the walk covers the whole of it and nothing else
/// overlaps it.
fn take_summary<S: Sink>(walk: &Walk<'_>, placed: &[Placed], next: usize, sink: &mut S) -> bool {
    let Body::Sealed(_, chunk) = &placed[next].source.body else { return false };
    let alone = placed.get(next + 1).is_none_or(|other| other.start > placed[next].end);
    let covered = walk.low <= chunk.t_min && chunk.t_max <= walk.high;
    if walk.descending || !alone || !covered {
        return false;
    }
    match &chunk.summary {
        Some(summary) => sink.summary(chunk, summary),
        None => sink.counted(chunk),
    }
}

async fn read_ahead(
    reader: &Reader,
    placed: &[Placed],
    wanted: usize,
    fetched: &mut Fetched,
) -> Result<(), TelemetryError> {
    let frames = |placed: &Placed| match &placed.source.body {
        Body::Memory(_) => None,
        Body::Sealed(section, chunk) => Some((section.file, *chunk)),
    };
    let is_there = |(file, chunk): (FileId, Chunk)| {
        [chunk.times, chunk.values].iter().all(|frame| fetched.contains_key(&(file, frame.offset)))
    };
    if placed.first().and_then(frames).is_none_or(is_there) {
        return Ok(());
    }
    let mut points = 0usize;
    let ahead = placed
        .iter()
        .filter_map(frames)
        .take_while(|(_, chunk)| {
            let is_wanted = points < wanted;
            points = points.saturating_add(chunk.count as usize);
            is_wanted
        })
        .take(READ_AHEAD_CHUNKS_MAX)
        .collect::<Vec<_>>();
    reader.fetch(ahead.into_iter(), fetched).await
}

/// Opens one source and cuts it to the walk's bounds.
fn open(walk: &Walk<'_>, body: &mut Body, fetched: &mut Fetched) -> Result<Column, TelemetryError> {
    let mut column = match body {
        Body::Memory(column) => {
            let kind = column.values.kind();
            std::mem::replace(column, Column::empty(kind))
        }
        Body::Sealed(section, chunk) => {
            let mut frame = |offset| fetched.remove(&(section.file, offset)).unwrap_or_default();
            let (times, values) = (frame(chunk.times.offset), frame(chunk.values.offset));
            section.decode(walk.device, walk.key, chunk, [&times, &values], walk.high)?
        }
    };
    column.clip(walk.low, walk.high);
    if walk.descending {
        column.reverse();
    }
    Ok(column)
}

fn check_bounds(walk: &Walk<'_>, opened: &[Opened], scanned: usize) -> Result<(), TelemetryError> {
    let decoded = opened.iter().filter(|opened| opened.is_decoded);
    let open_points: usize = decoded.map(|opened| opened.column.at.len()).sum();
    if open_points > walk.open_points_max {
        let (name, max) = ("query_open_points_max", walk.open_points_max);
        return Err(TelemetryError::Limit { name, max });
    }
    if scanned > walk.scan_points_max {
        let (name, max) = ("query_scan_points_max", walk.scan_points_max);
        return Err(TelemetryError::Limit { name, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths() {
        let at = [1, 3, 5, 7, 9];
        for (bound, count) in [(2, 1), (3, 1), (4, 2), (9, 4), (10, 5), (99, 5)] {
            assert_eq!(run_length(&at, bound, 0), count, "up to {bound}");
        }
        let falling = [9, 7, 5];
        assert_eq!(run_length(&falling, 6 ^ -1, -1), 2);
        assert_eq!(run_length(&falling, 5 ^ -1, -1), 2);
    }
}
