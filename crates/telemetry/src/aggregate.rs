//! Down-sampling: counts, sums, extremes and ends of runs of values. Every value counts; only
//! doubles, integers and booleans (0 and 1) are numbers. Readings of bad quality are not left out:
//! the caller sees their quality in the points. Of made-up ones each bucket says how many there
//! are.

use veritwin_domain::{Quality, Timestamp};

use crate::values::{ColumnRef, ValuesRef};
use crate::wire::{Cursor, WireError};

/// The numbers of one chunk, taken together; each value of the chunk is a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: f64,
    pub(crate) last: f64,
}

/// How many readings of a stretch a simulation has made up.
pub(crate) fn simulated(quality: &[u8]) -> u64 {
    quality.iter().filter(|byte| **byte == Quality::Simulated.as_u8()).count() as u64
}

impl Summary {
    /// The summary of a stretch of values; none for text and JSON.
    pub(crate) fn of(values: ValuesRef<'_>) -> Option<Self> {
        match values {
            ValuesRef::Double(numbers) => Self::over(numbers, |number| number),
            ValuesRef::Integer(numbers) => Self::over(numbers, |number| number as f64),
            ValuesRef::Boolean(flags) => Self::over(flags, |flag| f64::from(u8::from(flag))),
            ValuesRef::Text(_) | ValuesRef::Json(_) => None,
        }
    }

    fn over<T: Copy>(values: &[T], number: impl Fn(T) -> f64) -> Option<Self> {
        let (first, last) = (number(*values.first()?), number(*values.last()?));
        let mut summary = Self { sum: 0.0, min: first, max: first, first, last };
        for value in values {
            let value = number(*value);
            summary.sum += value;
            summary.min = if value < summary.min { value } else { summary.min };
            summary.max = if value > summary.max { value } else { summary.max };
        }
        Some(summary)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.sum, self.min, self.max, self.first, self.last] {
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
        Ok(Self {
            sum: cursor.f64()?,
            min: cursor.f64()?,
            max: cursor.f64()?,
            first: cursor.f64()?,
            last: cursor.f64()?,
        })
    }
}

/// The readings of one time bucket, taken together.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Where the bucket begins: a multiple of its width, counted from the epoch.
    pub at: Timestamp,
    /// Readings in the bucket, of any kind.
    pub count: u64,
    /// Readings that are numbers; booleans count as 0 and 1.
    pub numbers: u64,
    /// Sum of the numbers; 0 when there are none.
    pub sum: f64,
    /// Smallest number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Earliest number.
    pub first: Option<f64>,
    /// Latest number.
    pub last: Option<f64>,
    /// Readings that a simulation has made up.
    pub simulated: u64,
}

impl Bucket {
    pub(crate) const fn empty(at: Timestamp) -> Self {
        let (min, max, first, last) = (None, None, None, None);
        Self { at, count: 0, numbers: 0, sum: 0.0, min, max, first, last, simulated: 0 }
    }

    /// The arithmetic mean of the numbers.
    pub fn avg(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }

    /// Adds a later stretch of readings.
    pub(crate) fn add(&mut self, column: ColumnRef<'_>) {
        self.simulated += simulated(column.quality);
        match Summary::of(column.values) {
            Some(summary) => self.add_summary(column.at.len() as u64, &summary),
            None => self.count += column.at.len() as u64,
        }
    }

    /// Adds a later stretch of readings that is known by its summary: none of it is made up.
    pub(crate) fn add_summary(&mut self, count: u64, summary: &Summary) {
        self.count += count;
        self.numbers += count;
        self.sum += summary.sum;
        self.min = Some(self.min.map_or(summary.min, |min| min.min(summary.min)));
        self.max = Some(self.max.map_or(summary.max, |max| max.max(summary.max)));
        self.first = self.first.or(Some(summary.first));
        self.last = Some(summary.last);
    }
}

/// The readings of a whole range, taken together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Readings in the range, of any kind; each time counts once.
    pub count: u64,
    /// Readings that are numbers; booleans count as 0 and 1.
    pub numbers: u64,
    /// Smallest number, as a double.
    pub min: Option<f64>,
    /// Largest number, as a double.
    pub max: Option<f64>,
    /// Earliest number, as a double.
    pub first: Option<f64>,
    /// Latest number, as a double.
    pub last: Option<f64>,
    /// Time of the earliest reading.
    pub first_at: Option<Timestamp>,
    /// Time of the latest reading.
    pub last_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_parts_equal_buckets_of_the_whole() {
        let numbers = [3.0, -1.0, 4.0, 1.5, -9.25];
        let at = [1, 2, 3, 4, 5];
        let column = ColumnRef { at: &at, values: ValuesRef::Double(&numbers), quality: &[] };
        let mut whole = Bucket::empty(Timestamp::EPOCH);
        whole.add(column);
        let mut parts = Bucket::empty(Timestamp::EPOCH);
        parts.add(column.slice(0, 2));
        parts.add(column.slice(2, 5));
        assert_eq!(whole, parts);
        let quality = [0, 3, 0, 3, 2];
        whole.add(ColumnRef { quality: &quality, ..column });
        assert_eq!((whole.count, whole.simulated), (10, 2));
        whole = parts.clone();
        assert_eq!(whole.avg(), Some(-0.35));
        assert_eq!(
            (whole.min, whole.max, whole.first, whole.last),
            (Some(-9.25), Some(4.0), Some(3.0), Some(-9.25))
        );
    }
}
