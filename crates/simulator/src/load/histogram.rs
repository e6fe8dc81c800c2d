//! A histogram of durations: logarithmic buckets, so that its size is fixed and its error about
//! three parts in a hundred.

use std::time::Duration;

/// Sub-buckets per power of two: a resolution of about 3 %.
const SUB_BUCKETS: usize = 32;
const BUCKETS: usize = 40 * SUB_BUCKETS;

/// Counts of durations in logarithmic buckets of microseconds.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    /// How many durations were counted.
    pub(super) count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, duration: Duration) {
        self.record_many(duration, 1);
    }

    /// The same duration, so many times.
    pub(super) fn record_many(&mut self, duration: Duration, times: u64) {
        let micros = usize::try_from(duration.as_micros()).unwrap_or(usize::MAX);
        let bucket = if micros < SUB_BUCKETS {
            micros
        } else {
            // The highest bit gives the power, the next five the place inside it.
            let power = (usize::BITS - 1 - micros.leading_zeros()) as usize - 5;
            (power + 1) * SUB_BUCKETS + ((micros >> power) - SUB_BUCKETS)
        };
        self.buckets[bucket.min(BUCKETS - 1)] += times;
        self.count += times;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The upper edge of the bucket that holds the quantile.
    pub(super) fn quantile_micros(&self, quantile: f64) -> u64 {
        let wanted = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                let (power, place) = (bucket / SUB_BUCKETS, bucket % SUB_BUCKETS);
                return match power {
                    0 => place as u64,
                    power => ((SUB_BUCKETS + place + 1) as u64) << (power - 1),
                };
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, expect) in [(0.5, 5000.0), (0.99, 9900.0)] {
            let found = histogram.quantile_micros(quantile) as f64;
            assert!((found / expect - 1.0).abs() < 0.05, "{quantile}: {found}");
        }
        assert_eq!(Histogram::default().quantile_micros(0.5), 0);
    }
}
