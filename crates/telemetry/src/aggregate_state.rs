//! The readings of one bucket on their way to its aggregates. Counts and ends take readings of any
//! type; everything else takes numbers, with booleans as 0 and 1, and passes texts and JSON by.

use veritwin_domain::{Timestamp, Value};

use crate::aggregate::Summary;
use crate::directory::Chunk;
use crate::quantiles::Quantiles;
use crate::values::{ColumnRef, Kind};

/// What is asked of the readings of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// How many readings there are, of any type.
    Count,
    /// The smallest number.
    Min,
    /// The largest number.
    Max,
    /// The arithmetic mean of the numbers.
    Avg,
    /// The sum of the numbers.
    Sum,
    /// The earliest reading, of any type.
    First,
    /// The latest reading, of any type.
    Last,
    /// How far the number went since the last one before the bucket, or else since its first.
    Delta,
    /// The same for each second between those two readings.
    Rate,
    /// The mean of the numbers by how long each held: up to the next one.
    TimeWeighted,
    /// The number below which a part of them lies, in thousandths of a percent.
    Percentile(u32),
}

/// The highest percentile: a hundred percent.
pub const PERCENTILE_MAX: u32 = 100_000;

/// What a walk has to look at for its aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) ends: bool,
    pub(crate) change: bool,
    pub(crate) holding: bool,
    pub(crate) percentiles: bool,
    /// The number counts upwards; where it falls it began at zero again.
    pub(crate) is_counter: bool,
}

impl Needs {
    pub(crate) fn of(aggregates: &[Aggregate], is_counter: bool) -> Self {
        let asks = |one: &dyn Fn(&Aggregate) -> bool| aggregates.iter().any(one);
        Self {
            ends: asks(&|one| matches!(one, Aggregate::First | Aggregate::Last)),
            change: asks(&|one| matches!(one, Aggregate::Delta | Aggregate::Rate)),
            holding: asks(&|one| matches!(one, Aggregate::TimeWeighted)),
            percentiles: asks(&|one| matches!(one, Aggregate::Percentile(_))),
            is_counter,
        }
    }

    /// Whether the number before the first bucket matters.
    pub(crate) const fn carries(self) -> bool {
        self.change || self.holding
    }

    /// Whether a summary says as much of a chunk as its readings would.
    pub(crate) fn are_met_by(self, kind: Kind, summary: &Summary) -> bool {
        // Up to here every integer is a double of its own.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let is_exact = |number: f64| kind != Kind::Integer || number.abs() < EXACT_MAX;
        let is_constant = summary.min == summary.max;
        let steps_matter = self.holding || (self.change && self.is_counter);
        !self.percentiles
            && (!steps_matter || is_constant)
            && (!self.ends || (is_exact(summary.first) && is_exact(summary.last)))
    }
}

/// A number and when it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at: i64,
    pub(crate) number: f64,
}

/// One bucket under way. Readings come in the order of time.
#[derive(Debug)]
pub(crate) struct BucketState {
    needs: Needs,
    /// First and last microsecond that count: of the bucket and of the range.
    window: (i64, i64),
    count: u64,
    first: Option<Value>,
    last: Option<Value>,
    numbers: u64,
    sum: f64,
    min: f64,
    max: f64,
    /// Where its change begins.
    base: Option<Sample>,
    /// The last number so far, also of a bucket before.
    carried: Option<Sample>,
    /// How far a counter went.
    gained: f64,
    /// Number times microseconds, and over how many.
    area: f64,
    covered_micros: f64,
    quantiles: Quantiles,
}

impl BucketState {
    pub(crate) const fn new(needs: Needs, window: (i64, i64), carried: Option<Sample>) -> Self {
        Self {
            needs,
            window,
            count: 0,
            first: None,
            last: None,
            numbers: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            base: carried,
            carried,
            gained: 0.0,
            area: 0.0,
            covered_micros: 0.0,
            quantiles: Quantiles::new(),
        }
    }

    /// The last number so far.
    pub(crate) const fn carried(&self) -> Option<Sample> {
        self.carried
    }

    /// Adds a later stretch of readings, all of which count.
    pub(crate) fn add(&mut self, run: ColumnRef<'_>) {
        let Some(last) = run.at.len().checked_sub(1) else { return };
        self.count += run.at.len() as u64;
        if self.needs.ends {
            self.first.get_or_insert_with(|| run.values.get(0));
            self.last = Some(run.values.get(last));
        }
        let Some(summary) = Summary::of(run.values) else { return };
        let looks_at_each = self.needs.holding
            || self.needs.percentiles
            || (self.needs.change && self.needs.is_counter);
        if looks_at_each {
            for (index, at) in run.at.iter().enumerate() {
                let Some(number) = run.values.number_at(index) else { continue };
                if self.needs.percentiles {
                    self.quantiles.push(number);
                }
                self.step(Sample { at: *at, number });
            }
        } else {
            self.step(Sample { at: run.at[0], number: summary.first });
            self.step(Sample { at: run.at[last], number: summary.last });
        }
        self.add_numbers(run.at.len() as u64, &summary);
    }

    /// Adds a later chunk by its summary, which has to meet the needs.
    pub(crate) fn add_summary(&mut self, chunk: &Chunk, summary: &Summary) {
        self.count += u64::from(chunk.count);
        if self.needs.ends {
            self.first.get_or_insert_with(|| value_of(chunk.kind, summary.first));
            self.last = Some(value_of(chunk.kind, summary.last));
        }
        self.step(Sample { at: chunk.t_min, number: summary.first });
        self.step(Sample { at: chunk.t_max, number: summary.last });
        self.add_numbers(u64::from(chunk.count), summary);
    }

    /// Adds a later chunk of which nothing but the number of readings is asked.
    pub(crate) fn add_count(&mut self, count: u32) {
        self.count += u64::from(count);
    }

    fn add_numbers(&mut self, count: u64, summary: &Summary) {
        self.numbers += count;
        self.sum += summary.sum;
        self.min = self.min.min(summary.min);
        self.max = self.max.max(summary.max);
    }

    fn step(&mut self, next: Sample) {
        if let Some(held) = self.carried {
            self.hold(held, next.at);
            let is_reset = next.number < held.number;
            self.gained += if is_reset { next.number } else { next.number - held.number };
        }
        self.base.get_or_insert(next);
        self.carried = Some(next);
    }

    /// A number held until a moment; what of it lies in the window counts.
    fn hold(&mut self, held: Sample, until: i64) {
        let from = held.at.max(self.window.0);
        if until > from {
            let micros = (i128::from(until) - i128::from(from)) as f64;
            self.area += held.number * micros;
            self.covered_micros += micros;
        }
    }

    /// The aggregates in the order they are asked in. The last number holds to the end of the
    /// window, but not beyond `now` unless it was measured later.
    pub(crate) fn finish(mut self, aggregates: &[Aggregate], now: i64) -> Finished {
        if let Some(held) = self.carried {
            let end = self.window.1.saturating_add(1);
            self.hold(held, end.min(now.max(held.at)));
        }
        let shares: Vec<f64> = aggregates.iter().filter_map(share_of).collect();
        let mut percentiles = self.quantiles.at(&shares).into_iter();
        let values = aggregates
            .iter()
            .map(|aggregate| match aggregate {
                Aggregate::Count => Some(Value::Integer(i64::try_from(self.count).ok()?)),
                Aggregate::First => self.first.clone(),
                Aggregate::Last => self.last.clone(),
                Aggregate::Percentile(_) => percentiles.next().flatten().map(Value::Double),
                other => self.number(*other).and_then(|number| Value::double(number).ok()),
            })
            .collect();
        Finished { count: self.count, values }
    }

    fn number(&self, aggregate: Aggregate) -> Option<f64> {
        if self.numbers == 0 {
            return None;
        }
        match aggregate {
            Aggregate::Min => Some(self.min),
            Aggregate::Max => Some(self.max),
            Aggregate::Avg => Some(self.sum / self.numbers as f64),
            Aggregate::Sum => Some(self.sum),
            Aggregate::Delta => self.delta(),
            Aggregate::Rate => self.rate(),
            Aggregate::TimeWeighted if self.covered_micros > 0.0 => {
                Some((self.area / self.covered_micros).clamp(f64::MIN, f64::MAX))
            }
            // Measured in its very last microsecond, it held for nothing: it is all there is.
            Aggregate::TimeWeighted => self.carried.map(|last| last.number),
            Aggregate::Count | Aggregate::First | Aggregate::Last | Aggregate::Percentile(_) => {
                None
            }
        }
    }

    fn delta(&self) -> Option<f64> {
        let (base, last) = (self.base?, self.carried?);
        Some(if self.needs.is_counter { self.gained } else { last.number - base.number })
    }

    fn rate(&self) -> Option<f64> {
        let (base, last) = (self.base?, self.carried?);
        let micros = i128::from(last.at) - i128::from(base.at);
        let seconds = micros as f64 / 1e6;
        self.delta().filter(|_| micros > 0).map(|delta| delta / seconds)
    }
}

/// The aggregates of one bucket.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) count: u64,
    pub(crate) values: Vec<Option<Value>>,
}

fn share_of(aggregate: &Aggregate) -> Option<f64> {
    match aggregate {
        Aggregate::Percentile(thousandths) => {
            Some(f64::from(*thousandths) / f64::from(PERCENTILE_MAX))
        }
        _ => None,
    }
}

/// The value of a kind that a summary has as a double; see [`Needs::are_met_by`].
fn value_of(kind: Kind, number: f64) -> Value {
    match kind {
        Kind::Integer => Value::Integer(number as i64),
        Kind::Boolean => Value::Boolean(number != 0.0),
        Kind::Double | Kind::Text | Kind::Json => Value::Double(number),
    }
}

/// One bucket of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketRow {
    /// Where the bucket begins.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
    /// Readings in it, of any type; 0 in one that was filled.
    pub count: u64,
    /// The aggregates in the order they are asked in; none where there is nothing to tell.
    pub values: Vec<Option<Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ValuesRef;

    const SECOND: i64 = 1_000_000;

    fn finish(
        aggregates: &[Aggregate],
        (is_counter, carried): (bool, Option<Sample>),
        readings: &[(i64, f64)],
        now: i64,
    ) -> Vec<Option<f64>> {
        let needs = Needs::of(aggregates, is_counter);
        let mut state = BucketState::new(needs, (0, 10 * SECOND - 1), carried);
        let at: Vec<i64> = readings.iter().map(|(at, _)| at * SECOND).collect();
        let numbers: Vec<f64> = readings.iter().map(|(_, number)| *number).collect();
        let values = ValuesRef::Double(&numbers);
        state.add(ColumnRef { at: &at, values, quality: &[] });
        let finished = state.finish(aggregates, now);
        finished.values.iter().map(|value| value.as_ref().and_then(Value::as_f64)).collect()
    }

    #[test]
    fn changes_are_counted_from_the_number_before() {
        let both = [Aggregate::Delta, Aggregate::Rate];
        let before = Some(Sample { at: -2 * SECOND, number: 4.0 });
        let check = |is_counter, carried, readings: &[(i64, f64)], expect: [Option<f64>; 2]| {
            assert_eq!(finish(&both, (is_counter, carried), readings, i64::MAX), expect);
        };
        check(false, before, &[(1, 5.0), (3, 14.0)], [Some(10.0), Some(2.0)]);
        check(false, None, &[(1, 5.0), (3, 14.0)], [Some(9.0), Some(4.5)]);
        check(false, None, &[(1, 5.0)], [Some(0.0), None]);
        check(false, before, &[(3, 2.0)], [Some(-2.0), Some(-0.4)]);
        // A meter that was replaced: 4 to 9, then from nothing to 3.
        check(true, before, &[(1, 9.0), (3, 3.0)], [Some(8.0), Some(1.6)]);
    }

    #[test]
    fn numbers_count_as_long_as_they_hold() {
        let check = |carried: Option<f64>, readings: &[(i64, f64)], now, expect: f64| {
            let carried = carried.map(|number| Sample { at: -SECOND, number });
            let one = [Aggregate::TimeWeighted];
            assert_eq!(finish(&one, (false, carried), readings, now), [Some(expect)]);
        };
        check(Some(10.0), &[(5, 20.0)], i64::MAX, 15.0);
        check(None, &[(5, 20.0)], i64::MAX, 20.0);
        check(None, &[(0, 10.0), (9, 20.0)], i64::MAX, 11.0);
        // At the sixth second nobody knows yet for how long the second number holds.
        check(None, &[(0, 10.0), (5, 22.0)], 6 * SECOND, 12.0);
        check(None, &[(0, 10.0), (5, 22.0)], 2 * SECOND, 10.0);
    }

    #[test]
    fn summaries_stand_for_readings_only_where_they_say_as_much() {
        let summary = |min, max| Summary { sum: 0.0, min, max, first: min, last: max };
        let check = |aggregates: &[Aggregate], is_counter, (min, max), kind, expect| {
            let needs = Needs::of(aggregates, is_counter);
            let met = needs.are_met_by(kind, &summary(min, max));
            assert_eq!(met, expect, "{aggregates:?}");
        };
        let (small, large) = ((1.0, 2.0), (1.0, 1e16));
        check(&[Aggregate::Avg, Aggregate::First], false, small, Kind::Integer, true);
        check(&[Aggregate::Avg, Aggregate::Last], false, large, Kind::Integer, false);
        check(&[Aggregate::Avg, Aggregate::Last], false, large, Kind::Double, true);
        check(&[Aggregate::Delta], false, small, Kind::Double, true);
        check(&[Aggregate::Delta], true, small, Kind::Double, false);
        check(&[Aggregate::TimeWeighted], false, small, Kind::Double, false);
        check(&[Aggregate::TimeWeighted], false, (3.0, 3.0), Kind::Double, true);
        check(&[Aggregate::Percentile(50_000)], false, (3.0, 3.0), Kind::Double, false);
    }
}
