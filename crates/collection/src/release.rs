//! From what the sources of a window did to what is let out: amounts capped so that no source makes
//! more than its share, counts of states, both with noise. No decision hangs on what anybody did.

use std::sync::Arc;

use veritwin_domain::{Key, Quality, Reading, Timestamp, Value};

use crate::noise::Noise;
use crate::zone::{GROUP_MIN, Measure, MeasureKind, SHARE_MAX_PERCENT, ZoneConfig};

/// How many times a source's largest amount the capped sum can change by one source. Were `c` the
/// cap, at most six sources lie above it (each makes 15 % of the sum), so that the cap takes no
/// more than six times the largest amount off; the source itself adds one.
pub const SHARE_SENSITIVITY: u64 = 7;
/// One source of another state changes two counts by one.
pub const STATUS_SENSITIVITY: u64 = 2;
const HUNDRED: u64 = 100;

/// What one source did in a window, measure by measure. In memory only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contribution(Vec<Held>);

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Held {
    #[default]
    Nothing,
    Amount(f64),
    Status(usize),
}

impl Contribution {
    /// Takes a reading; what no measure names leaves nothing.
    pub fn take(&mut self, config: &ZoneConfig, reading: &Reading) {
        let named = config.measures.iter().position(|one| one.key == *reading.key);
        let Some((at, measure)) = named.and_then(|at| Some((at, config.measures.get(at)?))) else {
            return;
        };
        self.0.resize(config.measures.len(), Held::Nothing);
        let Some(held) = self.0.get_mut(at) else { return };
        match &measure.kind {
            MeasureKind::Amount { .. } => {
                let before = if let Held::Amount(sum) = held { *sum } else { 0.0 };
                if let Some(number) = reading.value.as_f64() {
                    *held = Held::Amount(before + number);
                }
            }
            MeasureKind::Status { words } => {
                let said = match &reading.value {
                    Value::Text(text) => text.to_string(),
                    Value::Boolean(flag) => flag.to_string(),
                    Value::Integer(number) => number.to_string(),
                    Value::Double(_) | Value::Json(_) => return,
                };
                if let Some(word) = words.iter().position(|word| *word == said) {
                    *held = Held::Status(word);
                }
            }
        }
    }

    fn steps(&self, at: usize, step: f64, steps_max: u32) -> u64 {
        match self.0.get(at) {
            // Not a number counts as nothing, and what is larger than the bound as the bound.
            Some(Held::Amount(sum)) => (sum / step).round().clamp(0.0, f64::from(steps_max)) as u64,
            _ => 0,
        }
    }

    fn is_in(&self, at: usize, word: usize) -> bool {
        self.0.get(at) == Some(&Held::Status(word))
    }
}

/// Why a window's numbers are not let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The zone had fewer sources than a group has, which is known of it anyway.
    SmallGroup,
    /// The budget of the day is used up.
    BudgetUsedUp,
    /// The budget of the year is used up.
    YearUsedUp,
    /// The gateway has not seen all of it.
    Gap,
}

impl Withheld {
    /// The word that readings and documents have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SmallGroup => "small_group",
            Self::BudgetUsedUp => "budget_used_up",
            Self::YearUsedUp => "year_used_up",
            Self::Gap => "gap",
        }
    }
}

/// What is let out of a window.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Numbers with noise.
    Released {
        /// The sources of the zone: known without what they did.
        sources: usize,
        /// By key.
        numbers: Vec<(String, Value)>,
    },
    /// None.
    Withheld(Withheld),
}

/// A window as it leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// What is let out.
    pub outcome: Outcome,
}

impl Release {
    /// As readings of the zone, all of them at the window's end.
    pub fn readings(&self) -> Vec<Reading> {
        let minutes = self.to.since(self.from).as_secs() / 60;
        let minutes = Value::Integer(i64::try_from(minutes).unwrap_or(i64::MAX));
        let mut said = vec![("window_minutes".to_owned(), minutes)];
        match &self.outcome {
            Outcome::Released { sources, numbers } => {
                let sources = i64::try_from(*sources).unwrap_or(i64::MAX);
                said.push(("sources".to_owned(), Value::Integer(sources)));
                said.extend(numbers.iter().cloned());
            }
            Outcome::Withheld(why) => {
                said.push(("withheld".to_owned(), Value::Text(Arc::from(why.as_str()))));
            }
        }
        let (at, quality) = (self.to, Quality::Good);
        let read = |(key, value): (String, Value)| {
            // A key that is too long cannot be: the zone was checked.
            let key = Key::new(&key).ok()?;
            Some(Reading { key, at, value, quality })
        };
        said.into_iter().filter_map(read).collect()
    }
}

/// The numbers of a group. A source that did nothing stands in it with nothing, and a number for
/// which there is no noise is none.
pub(crate) fn outcome(
    config: &ZoneConfig,
    sources: usize,
    contributions: &[Contribution],
    noise: Noise<'_>,
) -> Outcome {
    if sources < GROUP_MIN {
        return Outcome::Withheld(Withheld::SmallGroup);
    }
    let mut numbers = Vec::new();
    for (at, measure) in config.measures.iter().enumerate() {
        match &measure.kind {
            MeasureKind::Amount { step, steps_max } => {
                let steps: Vec<u64> =
                    contributions.iter().map(|one| one.steps(at, *step, *steps_max)).collect();
                let steps_max = u64::from(*steps_max);
                let noisy = noisy_amount(&steps, steps_max, (measure.epsilon_milli, noise));
                // What is below nothing is noise alone.
                let sum = noisy.and_then(|noisy| Value::double(noisy.max(0) as f64 * step).ok());
                numbers.extend(sum.map(|sum| (format!("{}.sum", measure.key), sum)));
            }
            MeasureKind::Status { words } => {
                for (word, text) in words.iter().enumerate() {
                    numbers.extend(count(measure, (at, word, text), contributions, noise));
                }
            }
        }
    }
    Outcome::Released { sources, numbers }
}

/// How many sources are in a state, where that is a group by the noisy count itself.
fn count(
    measure: &Measure,
    (at, word, text): (usize, usize, &str),
    contributions: &[Contribution],
    noise: Noise<'_>,
) -> Option<(String, Value)> {
    let count = contributions.iter().filter(|one| one.is_in(at, word)).count();
    let drawn = noise.of(STATUS_SENSITIVITY, measure.epsilon_milli)?;
    let noisy = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(drawn);
    let group = i64::try_from(GROUP_MIN).unwrap_or(i64::MAX);
    (noisy >= group).then(|| (format!("{}.{text}", measure.key), Value::Integer(noisy)))
}

/// The sum of amounts, each of at most `steps_max` steps, capped and with noise.
fn noisy_amount(
    steps: &[u64],
    steps_max: u64,
    (epsilon_milli, noise): (u32, Noise<'_>),
) -> Option<i64> {
    let drawn = noise.of(SHARE_SENSITIVITY.saturating_mul(steps_max), epsilon_milli)?;
    let sum = i64::try_from(capped_sum(steps, steps_max)).unwrap_or(i64::MAX);
    Some(sum.saturating_add(drawn))
}

/// The sum of amounts under the highest cap by which none is more than its share of that sum.
pub(crate) fn capped_sum(steps: &[u64], steps_max: u64) -> u64 {
    let under = |cap: u64| -> u64 { steps.iter().map(|one| (*one).min(cap)).sum() };
    // What is asked of a cap holds from zero on up to one, and of none above it: the sum under a
    // cap grows more slowly the higher it is.
    let keeps =
        |cap: u64| cap.saturating_mul(HUNDRED) <= under(cap).saturating_mul(SHARE_MAX_PERCENT);
    let (mut low, mut high) = (0, steps_max);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if keeps(middle) { low = middle } else { high = middle - 1 }
    }
    // Above the largest amount a cap takes nothing away, but asks the same of it.
    let largest = steps.iter().copied().max().unwrap_or(0);
    if low < steps_max && low < largest { under(low) } else { under(steps_max) }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Rng as _, SeededRng};

    use super::*;
    use crate::zone::tests::zone;

    fn reading(key: &str, value: Value) -> Reading {
        let at = Timestamp::from_micros(0);
        Reading { key: Key::new(key).expect("a key"), at, value, quality: Quality::Good }
    }

    #[test]
    fn no_source_makes_more_than_its_share() {
        let check = |steps: &[u64], expect: u64| {
            let sum = capped_sum(steps, 100);
            assert_eq!(sum, expect, "{steps:?}");
        };
        check(&[10; 20], 200);
        check(&[], 0);
        // Six sources cannot be a group in which each makes 15 %.
        check(&[100, 100, 100, 100, 100, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        check(&[100; 7], 700);
        // One that stands out is taken down to its share: 3.35 of 22.35, in whole steps.
        let mut one = [1u64; 20];
        one[0] = 100;
        check(&one, 22);
    }

    #[test]
    fn one_source_changes_the_sum_by_no_more_than_was_said() {
        let rng = SeededRng::new(11);
        for _ in 0..3_000 {
            let count = 1 + rng.next_u64() % 20;
            let mut steps: Vec<u64> = (0..count)
                .map(|_| if rng.next_u64().is_multiple_of(3) { rng.next_u64() % 101 } else { 0 })
                .collect();
            let before = capped_sum(&steps, 100);
            steps.push(rng.next_u64() % 101);
            let after = capped_sum(&steps, 100);
            assert!(after.abs_diff(before) <= SHARE_SENSITIVITY * 100, "{steps:?}");
        }
    }

    #[test]
    fn what_no_measure_names_is_dropped() {
        let zone = zone();
        let mut one = Contribution::default();
        one.take(&zone, &reading("card", Value::Text(Arc::from("5 1 2"))));
        one.take(&zone, &reading("state", Value::Text(Arc::from("Mrs. Somebody"))));
        assert!(one.0.iter().all(|held| *held == Held::Nothing));
        one.take(&zone, &reading("used", Value::Integer(3)));
        one.take(&zone, &reading("used", Value::Integer(4)));
        one.take(&zone, &reading("state", Value::Text(Arc::from("free"))));
        one.take(&zone, &reading("state", Value::Text(Arc::from("taken"))));
        assert_eq!(one.steps(0, 0.5, 100), 14);
        assert_eq!(one.steps(0, 0.5, 10), 10, "clamped");
        assert!(one.is_in(1, 1) && !one.is_in(1, 0));
        let mut below = Contribution::default();
        below.take(&zone, &reading("used", Value::Integer(-3)));
        assert_eq!(below.steps(0, 0.5, 100), 0);
    }

    #[test]
    fn a_small_group_lets_nothing_out() {
        let (zone, rng) = (zone(), SeededRng::new(3));
        let noise = Noise::Drawn(&rng);
        let small = outcome(&zone, GROUP_MIN - 1, &[], noise);
        assert_eq!(small, Outcome::Withheld(Withheld::SmallGroup));
        let Outcome::Released { sources, numbers } = outcome(&zone, GROUP_MIN, &[], noise) else {
            panic!("a group is let out");
        };
        assert_eq!(sources, GROUP_MIN);
        assert!(numbers.iter().any(|(key, _)| key == "used.sum"));
        assert!(numbers.iter().all(|(_, value)| value.as_f64().is_some()));
    }

    #[test]
    fn a_number_without_noise_is_not_let_out() {
        let (mut zone, rng) = (zone(), SeededRng::new(4));
        zone.measures.iter_mut().for_each(|one| one.epsilon_milli = 0);
        let let_out = outcome(&zone, GROUP_MIN, &[], Noise::Drawn(&rng));
        assert_eq!(let_out, Outcome::Released { sources: GROUP_MIN, numbers: Vec::new() });
        let kind = MeasureKind::Amount { step: 1.0, steps_max: 0 };
        zone.measures = vec![Measure { key: "used".to_owned(), epsilon_milli: 100, kind }];
        let let_out = outcome(&zone, GROUP_MIN, &[], Noise::Drawn(&rng));
        assert_eq!(let_out, Outcome::Released { sources: GROUP_MIN, numbers: Vec::new() });
    }

    #[test]
    fn a_window_leaves_as_readings_at_its_end() {
        let (from, to) = (Timestamp::from_micros(0), Timestamp::from_micros(3_600_000_000));
        let gap = Release { from, to, outcome: Outcome::Withheld(Withheld::Gap) };
        let said = gap.readings();
        assert!(said.iter().all(|one| one.at == to));
        assert_eq!(said[0].value, Value::Integer(60));
        assert_eq!(said[1].value, Value::Text(Arc::from("gap")));
    }
}
