//! Published attacks on what was let out, played as games whose chance is known: whose sequence was
//! it (sequence match), was somebody in it (membership), what is the difference of two groups. What
//! is attacked left a collector, as everything does that leaves a zone, of zones with the largest
//! costs that may be set.

use std::collections::BTreeSet;

use veritwin_domain::{DeviceId, Key, KeyError, Quality, Reading, Rng, Timestamp, Value};

use crate::release::capped_sum;
use crate::{
    BUDGET_MILLI_PER_DAY_MAX, Book, Collector, EPSILON_MILLI_MAX, GROUP_MIN, Measure, MeasureKind,
    Noise, Outcome, Release, ZoneConfig,
};

/// The key that the sources of an attacked zone send.
const KEY: &str = "did";
/// Sources that an attacked group has beside the victim.
const OTHERS: usize = 19;
/// Sources that are in each of two states.
const IN_A_STATE: u64 = 30;
/// Windows of a day, each of which costs as much as a number may: the largest budget of a day.
const WINDOWS: u32 = BUDGET_MILLI_PER_DAY_MAX / EPSILON_MILLI_MAX;
const DAY_MINUTES: u32 = 1440;
/// Largest amount of a source in a window, in steps.
const STEPS_MAX: u32 = 1000;
/// Attacks whose attacker has much to compute are played this much less often.
const SELDOM: u64 = 4;
/// How far luck takes a score above what was to be expected: once in 30,000 times further.
const DEVIATIONS: f64 = 4.0;

/// How an attack went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Its name.
    pub attack: &'static str,
    /// How often it was tried.
    pub rounds: u64,
    /// How often it was right.
    pub right: u64,
    /// What the numbers cost that it saw, in thousandths of epsilon.
    pub epsilon_milli: u32,
}

impl Score {
    /// How often it was right, in thousandths.
    pub const fn right_milli(self) -> u64 {
        match (self.right * 1000).checked_div(self.rounds) {
            Some(milli) => milli,
            None => 0,
        }
    }

    /// How often any attack on these numbers is right at most, of one time: `e^eps / (1 + e^eps)`.
    fn bound(self) -> f64 {
        1.0 / (1.0 + (-f64::from(self.epsilon_milli) / 1000.0).exp())
    }

    /// The same in thousandths.
    pub fn bound_milli(self) -> u64 {
        (self.bound() * 1000.0).round() as u64
    }

    /// Whether it was right no more often than the bound and luck allow. Being wrong more often
    /// would be a way, too.
    pub fn is_kept(self) -> bool {
        if self.rounds == 0 {
            return false;
        }
        let (bound, rounds) = (self.bound(), self.rounds as f64);
        let luck = DEVIATIONS * (bound * (1.0 - bound) / rounds).sqrt();
        (self.right as f64 / rounds - 0.5).abs() <= bound + luck - 0.5
    }
}

/// Plays every attack, most of them so many times.
pub fn play(noise: Noise<'_>, rounds: u64, rng: &dyn Rng) -> Result<Vec<Score>, KeyError> {
    let table = Table { amounts: Site::of_amounts()?, states: Site::of_states()?, noise, rng };
    let (number, day) = (EPSILON_MILLI_MAX, BUDGET_MILLI_PER_DAY_MAX);
    let seldom = rounds.div_ceil(SELDOM);
    let games: [(&'static str, Game<'_>, u32, u64); 6] = [
        // The numbers of two places are seen.
        ("sequence_match", Table::sequence_match, day * 2, seldom),
        ("membership", Table::membership, number, seldom),
        ("membership_worst_case", Table::worst_case, number, rounds),
        ("membership_whole_day", Table::whole_day, day, rounds),
        ("state_worst_case", Table::state, number, rounds),
        ("differencing", Table::differencing, number, seldom),
    ];
    let scores = games.into_iter().map(|(attack, game, epsilon_milli, rounds)| {
        let right = (0..rounds).filter(|_| game(&table)).count();
        Score { attack, rounds, right: u64::try_from(right).unwrap_or(u64::MAX), epsilon_milli }
    });
    Ok(scores.collect())
}

/// A game; whether the attacker was right.
type Game<'a> = fn(&Table<'a>) -> bool;
/// What each source does in a window: steps of an amount, or the place of its word.
type Window = Vec<u64>;

/// A zone that is attacked.
struct Site {
    config: ZoneConfig,
    key: Key,
    /// The keys of its numbers.
    numbers: Vec<String>,
}

impl Site {
    fn new(kind: MeasureKind, numbers: &[String]) -> Result<Self, KeyError> {
        let measure = Measure { key: KEY.to_owned(), epsilon_milli: EPSILON_MILLI_MAX, kind };
        let config = ZoneConfig {
            name: "attacked".to_owned(),
            window_minutes: DAY_MINUTES / WINDOWS,
            budget_milli_per_day: BUDGET_MILLI_PER_DAY_MAX,
            measures: vec![measure],
        };
        Ok(Self { config, key: Key::new(KEY)?, numbers: numbers.to_vec() })
    }

    fn of_amounts() -> Result<Self, KeyError> {
        let kind = MeasureKind::Amount { step: 1.0, steps_max: STEPS_MAX };
        Self::new(kind, &[format!("{KEY}.sum")])
    }

    fn of_states() -> Result<Self, KeyError> {
        let words: Vec<String> = (0..2).map(|word| word.to_string()).collect();
        let numbers: Vec<String> = words.iter().map(|word| format!("{KEY}.{word}")).collect();
        Self::new(MeasureKind::Status { words }, &numbers)
    }

    fn is_of_states(&self) -> bool {
        self.numbers.len() > 1
    }

    /// What leaves of a day's first windows.
    fn leaves(&self, windows: &[Window], noise: Noise<'_>) -> Vec<Release> {
        let count = windows.first().map_or(0, Vec::len) as u128;
        let source = |number: u128| DeviceId::from_bytes(number.to_be_bytes());
        let sources: BTreeSet<DeviceId> = (0..count).map(source).collect();
        let (mut at, mut book) = (Timestamp::EPOCH, Book::default());
        let mut collector = Collector::new(&self.config, at);
        let mut left = Vec::new();
        for window in windows {
            for (source, did) in sources.iter().zip(window) {
                let value = Value::Integer(i64::try_from(*did).unwrap_or(i64::MAX));
                let reading = Reading { key: self.key.clone(), at, value, quality: Quality::Good };
                collector.take(*source, &[reading], (at, &sources));
            }
            at = Timestamp::from_micros(at.as_micros() + self.config.window_micros());
            if let Some(turn) = collector.settle(&book, (at, &sources), noise) {
                left.extend(turn.releases);
                book = turn.book.done();
            }
        }
        left
    }

    /// The numbers of a window that was let out. A state that is not said has no group.
    fn seen(&self, release: &Release) -> Vec<Option<f64>> {
        let Outcome::Released { numbers, .. } = &release.outcome else { return Vec::new() };
        let few = self.is_of_states().then_some((GROUP_MIN - 1) as f64);
        let number = |key: &String| {
            let said = numbers.iter().find(|(known, _)| known == key);
            said.and_then(|(_, value)| value.as_f64()).or(few)
        };
        self.numbers.iter().map(number).collect()
    }

    /// The same without noise, of what sources did.
    fn exact(&self, window: &[u64]) -> Vec<f64> {
        if !self.is_of_states() {
            return vec![capped_sum(window, u64::from(STEPS_MAX)) as f64];
        }
        let count = |word: u64| window.iter().filter(|did| **did == word).count() as f64;
        (0..self.numbers.len() as u64).map(count).collect()
    }
}

/// What the sources of a zone may have done, window by window: in the one way, or in the other.
struct Question<'a> {
    site: &'a Site,
    ways: [Vec<Window>; 2],
}

/// Where it is played.
struct Table<'a> {
    amounts: Site,
    states: Site,
    noise: Noise<'a>,
    rng: &'a dyn Rng,
}

impl Table<'_> {
    fn coin(&self) -> bool {
        self.rng.next_u64() % 2 == 1
    }

    fn amount(&self) -> u64 {
        self.rng.next_u64() % (u64::from(STEPS_MAX) + 1)
    }

    fn others(&self) -> Window {
        (0..OTHERS).map(|_| self.amount()).collect()
    }

    /// The attacker knows what everybody did in either way, and takes the way that makes what they
    /// see the more likely: no attack does better.
    fn is_told(&self, questions: &[Question<'_>]) -> bool {
        let truth = self.coin();
        let mut for_the_other = 0.0;
        for Question { site, ways } in questions {
            let [one, other] = ways;
            let left = site.leaves(if truth { other } else { one }, self.noise);
            for (release, (one, other)) in left.iter().zip(one.iter().zip(other)) {
                let exact = site.exact(one).into_iter().zip(site.exact(other));
                for (seen, (one, other)) in site.seen(release).into_iter().zip(exact) {
                    for_the_other += seen.map_or(0.0, |x| (x - one).abs() - (x - other).abs());
                }
            }
        }
        (for_the_other > 0.0) == truth
    }

    /// Whether the victim is told apart who used nothing, or this, beside what others used.
    fn is_member(&self, windows: &[(Window, u64)]) -> bool {
        let with = |used: bool| -> Vec<Window> {
            let whole = |(others, victim): &(Window, u64)| -> Window {
                let victim = if used { *victim } else { 0 };
                others.iter().copied().chain([victim]).collect()
            };
            windows.iter().map(whole).collect()
        };
        let ways = [with(false), with(true)];
        self.is_told(&[Question { site: &self.amounts, ways }])
    }

    /// In which of two places was the victim, whose amounts of a day are known?
    fn sequence_match(&self) -> bool {
        let (mut with, mut without) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..WINDOWS {
            let victim = self.amount();
            for (with, without) in with.iter_mut().zip(&mut without) {
                let others = self.others();
                with.push(others.iter().copied().chain([victim]).collect());
                without.push(others.into_iter().chain([0]).collect());
            }
        }
        let ([here, there], [not_here, not_there]) = (with, without);
        self.is_told(&[
            Question { site: &self.amounts, ways: [here, not_here] },
            Question { site: &self.amounts, ways: [not_there, there] },
        ])
    }

    /// Did the victim use anything, among others who use what they use?
    fn membership(&self) -> bool {
        self.is_member(&[(self.others(), u64::from(STEPS_MAX))])
    }

    /// The group in which one source changes most: six that use all they can, the rest nothing.
    fn worst() -> (Window, u64) {
        let most = u64::from(STEPS_MAX);
        ((0..OTHERS).map(|other| if other < 6 { most } else { 0 }).collect(), most)
    }

    fn worst_case(&self) -> bool {
        self.is_member(&[Self::worst()])
    }

    /// The same the whole day: a habit.
    fn whole_day(&self) -> bool {
        let day: Vec<(Window, u64)> = (0..WINDOWS).map(|_| Self::worst()).collect();
        self.is_member(&day)
    }

    /// In which of two states is the victim?
    fn state(&self) -> bool {
        let with = |victim: u64| -> Vec<Window> {
            let others = (0..2 * IN_A_STATE).map(|other| other % 2);
            vec![others.chain([victim]).collect()]
        };
        self.is_told(&[Question { site: &self.states, ways: [with(0), with(1)] }])
    }

    /// Two groups that differ by the victim alone are both let out, and what the others used is not
    /// known: the difference is what the victim used, much or nothing.
    fn differencing(&self) -> bool {
        let (others, used_much) = (self.others(), self.coin());
        let victim = if used_much { u64::from(STEPS_MAX) } else { 0 };
        let with = others.iter().copied().chain([victim]).collect();
        let number = |window: Window| {
            let left = self.amounts.leaves(&[window], self.noise);
            left.first().and_then(|one| self.amounts.seen(one).first().copied().flatten())
        };
        let difference = number(with).zip(number(others)).map_or(0.0, |(with, less)| with - less);
        (difference > f64::from(STEPS_MAX) / 2.0) == used_much
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;

    /// The scores that docs/reference/public-deployments.md quotes.
    #[test]
    fn attacks_do_no_better_than_the_budget_allows() {
        let rng = SeededRng::new(2026);
        for score in play(Noise::Drawn(&rng), 6_000, &rng).expect("played") {
            let (right, bound) = (score.right_milli(), score.bound_milli());
            println!("{} {right} of 1000, at most {bound}", score.attack);
            assert!(score.is_kept(), "{score:?}");
        }
    }

    #[test]
    fn attacks_succeed_without_noise() {
        let rng = SeededRng::new(2027);
        for score in play(Noise::LeftOut, 400, &rng).expect("played") {
            assert!(!score.is_kept(), "{score:?}");
            assert!(score.right_milli() > 950, "{score:?}");
        }
    }

    #[test]
    fn a_score_is_held_against_its_bound_and_luck() {
        let score = |right: u64, epsilon_milli: u32| Score {
            attack: "one",
            rounds: 10_000,
            right,
            epsilon_milli,
        };
        let bounds = [100, 200, 400, 1000].map(|epsilon| score(0, epsilon).bound_milli());
        assert_eq!(bounds, [525, 550, 599, 731]);
        // The optimum against one number is `1 - e^(-eps / 2) / 2`: of 0.2, and of half the noise.
        assert!(score(5_476, 200).is_kept() && score(4_524, 200).is_kept());
        assert!(!score(5_906, 200).is_kept() && !score(4_094, 200).is_kept());
        assert!(!Score { rounds: 0, ..score(0, 200) }.is_kept());
    }
}
