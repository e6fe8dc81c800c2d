//! Fewer points that look the same: largest triangle three buckets (Steinarsson, "Downsampling Time
//! Series for Visual Representation", 2013). Of more points than are held at once first the lowest
//! and the highest of even stretches are chosen (MinMaxLTTB, Van Der Donckt et al., 2023).

use std::ops::ControlFlow;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Quality, Timestamp, Value};

use crate::TelemetryError;
use crate::engine::Engine;
use crate::query::{Point, QualityFilter, Series, TimeRange};
use crate::query_downsample::passing;
use crate::query_walk::Span;
use crate::sweep::Sink;
use crate::values::ColumnRef;

/// Points of a series up to which all of them are compared.
pub const TRIANGLES_EXACT_MAX: usize = 262_144;
/// Most stretches of which the lowest and highest points are kept.
const STRETCHES_MAX: usize = 65_536;
/// Fewer points than this have no triangle.
const TRIANGLES_MIN: usize = 3;

impl Engine {
    /// At most `points_max` of a series' numbers, as doubles, so chosen that a line through them
    /// looks like one through all; all of them when there are no more. Texts and JSON are left out.
    #[boxed]
    pub async fn triangles(
        &self,
        series: &Series,
        range: TimeRange,
        points_max: usize,
        filter: QualityFilter,
    ) -> Result<Vec<Point>, TelemetryError> {
        let limit_max = self.inner.limits.query_points_max;
        if points_max < TRIANGLES_MIN || points_max > limit_max {
            return Err(TelemetryError::Argument {
                name: "points_max",
                expected: format!("{TRIANGLES_MIN} to {limit_max}"),
                actual: points_max.to_string(),
            });
        }
        let Some(range) = range.bounds() else { return Ok(Vec::new()) };
        let mut sink = DotSink { filter, dots: Vec::new(), extremes: None };
        self.walk(series, Span::whole(range), &mut sink).await?;
        let dots = match sink.extremes {
            None => sink.dots,
            Some(extremes) => extremes.finish(),
        };
        let point = |dot: &Dot| Point {
            at: Timestamp::from_micros(dot.at),
            value: Value::Double(dot.number),
            quality: dot.quality,
        };
        Ok(largest_triangles(&dots, points_max).iter().map(point).collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Dot {
    at: i64,
    number: f64,
    quality: Quality,
}

struct DotSink {
    filter: QualityFilter,
    dots: Vec<Dot>,
    extremes: Option<Extremes>,
}

impl DotSink {
    fn push(&mut self, dot: Dot) {
        match &mut self.extremes {
            Some(extremes) => extremes.push(dot),
            None if self.dots.len() < TRIANGLES_EXACT_MAX => self.dots.push(dot),
            None => {
                let mut extremes = Extremes::new(self.dots.first().copied().unwrap_or(dot));
                self.dots.iter().for_each(|dot| extremes.push(*dot));
                extremes.push(dot);
                self.dots = Vec::new();
                self.extremes = Some(extremes);
            }
        }
    }
}

impl Sink for DotSink {
    fn run(&mut self, run: ColumnRef<'_>) -> ControlFlow<()> {
        for stretch in passing(self.filter, run) {
            for (index, at) in stretch.at.iter().enumerate() {
                let Some(number) = stretch.values.number_at(index) else { break };
                self.push(Dot { at: *at, number, quality: stretch.quality_at(index) });
            }
        }
        ControlFlow::Continue(())
    }
}

/// The lowest and the highest dot of even stretches, which get longer as time goes on.
struct Extremes {
    first: Dot,
    last: Dot,
    /// Stretches are two to the power of this many microseconds long.
    shift: u32,
    stretches: Vec<Option<(Dot, Dot)>>,
}

impl Extremes {
    const fn new(first: Dot) -> Self {
        Self { first, last: first, shift: 0, stretches: Vec::new() }
    }

    fn stretch_of(&self, at: i64) -> u64 {
        // Dots come in the order of time: the difference is not negative.
        (at.wrapping_sub(self.first.at) as u64) >> self.shift
    }

    fn push(&mut self, dot: Dot) {
        self.last = dot;
        while self.stretch_of(dot.at) >= STRETCHES_MAX as u64 {
            self.shift += 1;
            let joined = self.stretches.chunks(2).map(|pair| {
                let second = pair.get(1).copied().flatten();
                match (pair[0], second) {
                    (Some(one), Some(other)) => Some(wider(one, other)),
                    (one, other) => one.or(other),
                }
            });
            self.stretches = joined.collect();
        }
        let place = self.stretch_of(dot.at) as usize;
        if self.stretches.len() <= place {
            self.stretches.resize(place + 1, None);
        }
        let stretch = &mut self.stretches[place];
        *stretch = Some(stretch.map_or((dot, dot), |known| wider(known, (dot, dot))));
    }

    /// The chosen dots in the order of time, with the first and the last one.
    fn finish(self) -> Vec<Dot> {
        let mut dots = vec![self.first, self.last];
        dots.extend(self.stretches.into_iter().flatten().flat_map(|(low, high)| [low, high]));
        dots.sort_unstable_by_key(|dot| dot.at);
        dots.dedup_by_key(|dot| dot.at);
        dots
    }
}

fn wider(one: (Dot, Dot), other: (Dot, Dot)) -> (Dot, Dot) {
    let low = if other.0.number < one.0.number { other.0 } else { one.0 };
    let high = if other.1.number > one.1.number { other.1 } else { one.1 };
    (low, high)
}

/// The first and the last dot, and of every part between them the one that spans the largest
/// triangle with the dot chosen before and the middle of the part behind.
fn largest_triangles(dots: &[Dot], count: usize) -> Vec<Dot> {
    if dots.len() <= count || count < TRIANGLES_MIN {
        return dots.to_vec();
    }
    let last = dots.len() - 1;
    let every = (dots.len() - 2) as f64 / (count - 2) as f64;
    let edge = |part: usize| ((part as f64 * every) as usize + 1).min(last);
    let mut chosen = vec![dots[0]];
    let mut left = dots[0];
    for part in 0..count - 2 {
        let here = &dots[edge(part)..edge(part + 1)];
        let behind = &dots[edge(part + 1)..edge(part + 2).max(edge(part + 1) + 1)];
        let run = |dot: &Dot| (i128::from(dot.at) - i128::from(left.at)) as f64;
        let share = behind.len() as f64;
        let right_run = behind.iter().map(run).sum::<f64>() / share;
        let right_rise = behind.iter().map(|dot| dot.number / share).sum::<f64>() - left.number;
        let area =
            |dot: &Dot| (right_run * (dot.number - left.number) - run(dot) * right_rise).abs();
        let mut best: Option<(f64, Dot)> = None;
        for dot in here {
            let area = area(dot);
            if best.is_none_or(|(largest, _)| area > largest) {
                best = Some((area, *dot));
            }
        }
        if let Some((_, dot)) = best {
            chosen.push(dot);
            left = dot;
        }
    }
    chosen.push(dots[last]);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(at: i64, number: f64) -> Dot {
        Dot { at, number, quality: Quality::Good }
    }

    #[test]
    fn peaks_stay_and_ends_stay() {
        let dots: Vec<Dot> =
            (0..1000).map(|i| dot(i, if i == 500 { 100.0 } else { (i % 7) as f64 })).collect();
        let chosen = largest_triangles(&dots, 50);
        assert_eq!(chosen.len(), 50);
        assert_eq!((chosen[0], chosen[49]), (dots[0], dots[999]));
        assert!(chosen.contains(&dots[500]), "the peak");
        assert!(chosen.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert_eq!(largest_triangles(&dots, 1000), dots);
    }

    #[test]
    fn of_many_points_the_extremes_stay() {
        let mut sink = DotSink { filter: QualityFilter::Any, dots: Vec::new(), extremes: None };
        let count = 3 * TRIANGLES_EXACT_MAX as i64;
        for i in 0..count {
            let number = if i == 400_003 { -50.0 } else { (i % 11) as f64 };
            sink.push(dot(i * 977, number));
        }
        assert!(sink.dots.is_empty());
        let dots = sink.extremes.expect("too many to keep").finish();
        assert!(dots.len() <= 2 * STRETCHES_MAX + 2);
        assert!(dots.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(dots.contains(&dot(400_003 * 977, -50.0)));
        assert_eq!(dots[0], dot(0, 0.0));
        assert_eq!(dots.last().map(|dot| dot.at), Some((count - 1) * 977));
    }
}
