//! Published attacks on what was let out, played as games whose chance is known: whose sequence was
//! it (sequence match), was somebody in it (membership), what is the difference of two groups.

use veritwin_domain::Rng;

/// Sources that an attacked group has beside the victim.
const OTHERS: usize = 19;
/// Windows of a sequence.
const WINDOWS: usize = 24;
/// Largest amount of a source in a window, in steps.
pub const ATTACK_STEPS_MAX: u64 = 1000;
/// How far from chance a score may be, in thousandths: what the budget allows, and luck.
const SLACK_MILLI: u64 = 30;
/// Of games that are played few times, luck is larger: about four standard deviations.
const LUCK_MILLI: u64 = 2000;

/// How an attack went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Its name.
    pub attack: &'static str,
    /// How often it was tried.
    pub rounds: u64,
    /// How often it was right.
    pub right: u64,
}

impl Score {
    /// How often it was right, in thousandths.
    pub const fn right_milli(self) -> u64 {
        match (self.right * 1000).checked_div(self.rounds) {
            Some(milli) => milli,
            None => 0,
        }
    }

    /// How far it may be from 500 and still be chance, in thousandths.
    pub const fn slack_milli(self) -> u64 {
        SLACK_MILLI + LUCK_MILLI / self.rounds.isqrt().saturating_add(1)
    }

    /// Whether a coin would have done as well. Guessing wrong too often would be a way, too.
    pub const fn is_chance(self) -> bool {
        self.right_milli().abs_diff(500) <= self.slack_milli()
    }
}

/// What lets a number out of the amounts of a group.
pub type Mechanism<'a> = &'a dyn Fn(&[u64]) -> i64;

/// Plays every attack so many times.
pub fn play(mechanism: Mechanism<'_>, rounds: u64, rng: &dyn Rng) -> Vec<Score> {
    let games: [(&'static str, Game); 4] = [
        ("sequence_match", sequence_match),
        ("membership", membership),
        ("membership_worst_case", worst_case),
        ("differencing", differencing),
    ];
    let play = |(attack, game): (&'static str, Game)| {
        let right = (0..rounds).filter(|_| game(mechanism, rng)).count();
        Score { attack, rounds, right: u64::try_from(right).unwrap_or(u64::MAX) }
    };
    games.into_iter().map(play).collect()
}

/// A game; whether the attacker was right.
type Game = fn(Mechanism<'_>, &dyn Rng) -> bool;

fn coin(rng: &dyn Rng) -> bool {
    rng.next_u64() % 2 == 1
}

fn amount(rng: &dyn Rng) -> u64 {
    rng.next_u64() % (ATTACK_STEPS_MAX + 1)
}

fn others(rng: &dyn Rng) -> Vec<u64> {
    (0..OTHERS).map(|_| amount(rng)).collect()
}

/// The attacker knows what the victim used in each of a day's windows, and sees the sequences of
/// two places: in which of them was the victim?
fn sequence_match(mechanism: Mechanism<'_>, rng: &dyn Rng) -> bool {
    let victim: Vec<u64> = (0..WINDOWS).map(|_| amount(rng)).collect();
    let is_first = coin(rng);
    let (mut first, mut second) = (0.0f64, 0.0f64);
    let mean = ATTACK_STEPS_MAX as f64 / 2.0;
    for known in &victim {
        let (mut with, mut without) = (others(rng), others(rng));
        with.push(*known);
        without.push(amount(rng));
        let (with, without) = (mechanism(&with) as f64, mechanism(&without) as f64);
        let weight = *known as f64 - mean;
        let (here, there) = if is_first { (with, without) } else { (without, with) };
        first += weight * here;
        second += weight * there;
    }
    (first > second) == is_first
}

/// The attacker knows what everybody else used: did the victim use anything?
fn membership(mechanism: Mechanism<'_>, rng: &dyn Rng) -> bool {
    guess(mechanism, rng, &others(rng))
}

/// The group in which one source changes most: six that use all they can, and the rest nothing.
fn worst_case(mechanism: Mechanism<'_>, rng: &dyn Rng) -> bool {
    let mut others = vec![0; OTHERS];
    others.iter_mut().take(6).for_each(|one| *one = ATTACK_STEPS_MAX);
    guess(mechanism, rng, &others)
}

fn guess(mechanism: Mechanism<'_>, rng: &dyn Rng, others: &[u64]) -> bool {
    let was_there = coin(rng);
    let of = |used: u64| -> Vec<u64> { others.iter().copied().chain([used]).collect() };
    let seen = mechanism(&of(if was_there { ATTACK_STEPS_MAX } else { 0 }));
    let exact = |used: u64| {
        let sum = crate::capped_sum(&of(used), ATTACK_STEPS_MAX);
        i64::try_from(sum).unwrap_or(i64::MAX)
    };
    let middle = i64::midpoint(exact(0), exact(ATTACK_STEPS_MAX));
    (seen > middle) == was_there
}

/// Two groups that differ by the victim alone are both let out: their difference is what the victim
/// used, much or nothing.
fn differencing(mechanism: Mechanism<'_>, rng: &dyn Rng) -> bool {
    let others = others(rng);
    let used_much = coin(rng);
    let mut with = others.clone();
    with.push(if used_much { ATTACK_STEPS_MAX } else { 0 });
    let difference = mechanism(&with).saturating_sub(mechanism(&others));
    let half = i64::try_from(ATTACK_STEPS_MAX / 2).unwrap_or(i64::MAX);
    (difference > half) == used_much
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;
    use crate::noisy_amount;

    /// The scores that docs/reference/public-deployments.md quotes.
    #[test]
    fn attacks_are_no_better_than_a_coin() {
        let rng = SeededRng::new(2026);
        let mechanism = |steps: &[u64]| noisy_amount(steps, ATTACK_STEPS_MAX, 100, &rng);
        for score in play(&mechanism, 4_000, &rng) {
            println!("{} {} of 1000", score.attack, score.right_milli());
            assert!(score.is_chance(), "{score:?}");
        }
    }

    #[test]
    fn attacks_succeed_without_noise() {
        let rng = SeededRng::new(2027);
        let bare = |steps: &[u64]| {
            let sum = crate::capped_sum(steps, ATTACK_STEPS_MAX);
            i64::try_from(sum).unwrap_or(i64::MAX)
        };
        for score in play(&bare, 500, &rng) {
            assert!(!score.is_chance(), "{score:?}");
            assert!(score.right_milli() > 700, "{score:?}");
        }
    }
}
