//! Discrete Laplace noise, drawn exactly: with integers only, so that no rounding of a floating
//! point number tells anything. After Canonne, Kamath and Steinke, "The Discrete Gaussian for
//! Differential Privacy", 2020 (arXiv:2004.00010), Algorithms 1 and 2.

use veritwin_domain::Rng;

/// The unit of a budget: a thousandth of epsilon.
const MILLI: u64 = 1000;

/// Where the noise of numbers comes from.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// It is drawn with this.
    Drawn(&'a dyn Rng),
    /// There is none: a zone that is broken on purpose.
    #[cfg(any(test, feature = "test-controls"))]
    LeftOut,
}

impl Noise<'_> {
    /// The noise of one number; none where it has no measure, and then nothing may be let out.
    pub(crate) fn of(self, sensitivity: u64, epsilon_milli: u32) -> Option<i64> {
        match self {
            Self::Drawn(rng) => discrete_laplace(rng, sensitivity, u64::from(epsilon_milli)),
            #[cfg(any(test, feature = "test-controls"))]
            Self::LeftOut => Some(0),
        }
    }
}

/// A number drawn with probability proportional to `exp(-|x| epsilon / sensitivity)`, where epsilon
/// is `epsilon_milli` thousandths. Both have to be above zero: without them there is none.
fn discrete_laplace(rng: &dyn Rng, sensitivity: u64, epsilon_milli: u64) -> Option<i64> {
    if sensitivity == 0 || epsilon_milli == 0 {
        return None;
    }
    // The scale is t / s.
    let (t, s) = (sensitivity.saturating_mul(MILLI), epsilon_milli);
    loop {
        let u = below(rng, t);
        if !happens_exp(rng, u, t) {
            continue;
        }
        let mut v = 0u64;
        while happens_exp(rng, 1, 1) {
            v += 1;
        }
        let x = u.saturating_add(t.saturating_mul(v));
        let size = i64::try_from(x / s).unwrap_or(i64::MAX);
        let is_negative = below(rng, 2) == 1;
        // Zero has one sign.
        if is_negative && size == 0 {
            continue;
        }
        return Some(if is_negative { -size } else { size });
    }
}

/// A uniformly distributed number below `bound`, which is above zero.
fn below(rng: &dyn Rng, bound: u64) -> u64 {
    let whole = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = rng.next_u64();
        if drawn < whole {
            return drawn % bound;
        }
    }
}

/// True with probability `exp(-numerator / denominator)`, for a fraction from 0 to 1.
fn happens_exp(rng: &dyn Rng, numerator: u64, denominator: u64) -> bool {
    let mut k = 1u64;
    loop {
        if below(rng, denominator.saturating_mul(k)) >= numerator {
            return k % 2 == 1;
        }
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;

    #[test]
    fn the_noise_has_its_distribution() {
        let rng = SeededRng::new(7);
        let (rounds, scale) = (40_000, 10.0f64);
        let drawn: Vec<i64> =
            (0..rounds).filter_map(|_| discrete_laplace(&rng, 10, 1000)).collect();
        assert_eq!(drawn.len(), 40_000);
        let part = |is: &dyn Fn(i64) -> bool| {
            drawn.iter().filter(|one| is(**one)).count() as f64 / f64::from(rounds)
        };
        // With d = e^(-1/scale): P(0) = (1 - d) / (1 + d), and P(X >= m) = d^m / (1 + d).
        let decay = (-1.0 / scale).exp();
        let is_near = |seen: f64, right: f64| (seen - right).abs() < 0.01;
        assert!(is_near(part(&|one| one == 0), (1.0 - decay) / (1.0 + decay)));
        for m in [1i32, 10, 30] {
            let right = (-f64::from(m) / scale).exp() / (1.0 + decay);
            assert!(is_near(part(&|one| one >= i64::from(m)), right), "{m}");
            assert!(is_near(part(&|one| one <= -i64::from(m)), right), "-{m}");
        }
    }

    #[test]
    fn there_is_no_number_without_a_measure_of_its_noise() {
        let rng = SeededRng::new(1);
        assert_eq!((discrete_laplace(&rng, 0, 5), discrete_laplace(&rng, 5, 0)), (None, None));
        assert!(discrete_laplace(&rng, 5, 5).is_some());
    }

    #[test]
    fn what_is_certain_happens() {
        let rng = SeededRng::new(2);
        assert!((0..100).all(|_| happens_exp(&rng, 0, 5)));
        assert!((0..100).all(|_| below(&rng, 1) == 0));
    }
}
