//! Percentiles of the numbers of one bucket: exact up to a bound, beyond it out of bins whose width
//! is a fixed part of the number. Nothing here is random: the same numbers give the same answer.

use std::collections::BTreeMap;

/// Numbers of one bucket up to which its percentiles are exact.
pub const PERCENTILE_EXACT_MAX: usize = 65_536;
/// Bits of a double's fraction that the bins tell apart at first: they are 1/256 wide.
const FRACTION_BITS: u32 = 8;
/// Bins above which every two become one, which doubles their width.
const BINS_MAX: usize = 8_192;
const SIGN: u64 = 1 << 63;

/// The numbers of a bucket.
#[derive(Debug, Clone)]
pub(crate) enum Quantiles {
    Exact(Vec<f64>),
    Binned(Bins),
}

impl Quantiles {
    pub(crate) const fn new() -> Self {
        Self::Exact(Vec::new())
    }

    pub(crate) fn push(&mut self, number: f64) {
        if let Self::Exact(numbers) = self {
            if numbers.len() < PERCENTILE_EXACT_MAX {
                numbers.push(number);
                return;
            }
            let mut bins = Bins::new();
            numbers.iter().for_each(|number| bins.push(*number));
            *self = Self::Binned(bins);
        }
        if let Self::Binned(bins) = self {
            bins.push(number);
        }
    }

    /// The number below which a share of the numbers lies, each share between 0 and 1: between two
    /// numbers the share divides the way from one to the other. Answers in the order of `shares`.
    pub(crate) fn at(&mut self, shares: &[f64]) -> Vec<Option<f64>> {
        match self {
            Self::Exact(numbers) => {
                numbers.sort_unstable_by(f64::total_cmp);
                let count = numbers.len();
                shares.iter().map(|share| between(*share, count, |rank| numbers[rank])).collect()
            }
            Self::Binned(bins) => shares
                .iter()
                .map(|share| between(*share, bins.count, |rank| bins.ranked(rank)))
                .collect(),
        }
    }
}

fn between(share: f64, count: usize, ranked: impl Fn(usize) -> f64) -> Option<f64> {
    let last = count.checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let low = (place.floor() as usize).min(last);
    let high = (low + 1).min(last);
    let (below, above, part) = (ranked(low), ranked(high), place - low as f64);
    // Not "below + part * (above - below)", which may overflow.
    Some(if part == 0.0 { below } else { below * (1.0 - part) + above * part })
}

/// How often numbers of each bin came.
#[derive(Debug, Clone)]
pub(crate) struct Bins {
    /// Low bits of a number that its bin leaves out.
    shift: u32,
    bins: BTreeMap<u64, u64>,
    count: usize,
    min: f64,
    max: f64,
}

impl Bins {
    const fn new() -> Self {
        let shift = f64::MANTISSA_DIGITS - 1 - FRACTION_BITS;
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { shift, bins: BTreeMap::new(), count: 0, min, max }
    }

    fn push(&mut self, number: f64) {
        *self.bins.entry(ordered(number) >> self.shift).or_default() += 1;
        self.count += 1;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        while self.bins.len() > BINS_MAX {
            self.shift += 1;
            let mut wider: BTreeMap<u64, u64> = BTreeMap::new();
            for (bin, count) in &self.bins {
                *wider.entry(bin >> 1).or_default() += count;
            }
            self.bins = wider;
        }
    }

    /// About the number of a rank, from 0: the middle of its bin.
    fn ranked(&self, rank: usize) -> f64 {
        let mut left = rank as u64;
        let found = self.bins.iter().find(|(_, count)| {
            let is_here = left < **count;
            left = left.saturating_sub(**count);
            is_here
        });
        let Some((bin, _)) = found else { return self.max };
        let middle = (bin << self.shift) | (1 << (self.shift - 1));
        number_of(middle).clamp(self.min, self.max)
    }
}

/// The bits of a double in the order of the numbers.
fn ordered(number: f64) -> u64 {
    // Adding zero makes -0 and 0 one.
    let bits = (number + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn number_of(ordered: u64) -> f64 {
    f64::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered & !SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_two_numbers() {
        let mut quantiles = Quantiles::new();
        assert_eq!(quantiles.at(&[0.5]), [None]);
        [40.0, 10.0, 30.0, 20.0].into_iter().for_each(|number| quantiles.push(number));
        assert_eq!(
            quantiles.at(&[0.0, 0.5, 1.0, 0.25]),
            [Some(10.0), Some(25.0), Some(40.0), Some(17.5)]
        );
    }

    #[test]
    fn many_numbers_are_told_within_a_part_of_them() {
        let count = 3 * PERCENTILE_EXACT_MAX;
        let number = |i: usize| (i as f64 - count as f64 / 3.0) * 0.37;
        let mut quantiles = Quantiles::new();
        // In an order that is not theirs; 7919 is prime and no divisor of the count.
        (0..count).for_each(|i| quantiles.push(number(i * 7919 % count)));
        assert!(matches!(quantiles, Quantiles::Binned(_)));
        for share in [0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0] {
            let expect = number(0) + share * (number(count - 1) - number(0));
            let found = quantiles.at(&[share])[0].expect("a number");
            let error = (found - expect).abs() / expect.abs().max(1.0);
            assert!(error <= 1.0 / 256.0, "{share}: {found}, not {expect}");
        }
    }

    #[test]
    fn bins_stay_few_and_keep_their_order() {
        let mut bins = Bins::new();
        for exponent in -300..300 {
            for step in 0..64 {
                let number = 10f64.powi(exponent) * (1.0 + f64::from(step) / 64.0);
                bins.push(number);
                bins.push(-number);
            }
        }
        assert!(bins.bins.len() <= BINS_MAX);
        let ranked: Vec<f64> = (0..bins.count).step_by(997).map(|rank| bins.ranked(rank)).collect();
        assert!(ranked.is_sorted());
        assert_eq!(number_of(ordered(-1.5)), -1.5);
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
