//! Slows down guessing of passwords and tokens. A pure state machine over monotonic time with
//! bounded memory; the caller names subjects by keyed digests, never by address or e-mail.

use std::collections::HashMap;
use std::time::Duration;

/// Failures that cost nothing, so that a typing mistake is not punished.
pub const THROTTLE_FREE_FAILURES: u32 = 5;
/// The delay after the first failure that counts; it doubles with each further one.
pub const THROTTLE_DELAY_FIRST: Duration = Duration::from_secs(2);
/// The longest delay.
pub const THROTTLE_DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// A subject without a failure for this long is forgotten.
pub const THROTTLE_MEMORY: Duration = Duration::from_secs(3600);
/// Most subjects remembered at once.
pub const THROTTLE_SUBJECTS_MAX: usize = 65_536;

/// Who is being guessed at, or who guesses: a keyed digest of the account or the address. The
/// same answer for accounts that exist and those that do not keeps them indistinguishable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleSubject {
    /// An account, by its blind index.
    Account([u8; 32]),
    /// A network address, by its keyed digest.
    Address([u8; 32]),
}

/// Too many failures: how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts: try again in {} s", retry_after.as_secs().max(1))]
pub struct Throttled {
    /// The wait, for `Retry-After`.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Duration,
    blocked_until: Duration,
}

/// The failures seen lately. One per process; callers hold it behind a lock.
#[derive(Debug)]
pub struct Throttle {
    subjects: HashMap<ThrottleSubject, Failures>,
    subjects_max: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::with_capacity(THROTTLE_SUBJECTS_MAX)
    }
}

impl Throttle {
    /// An empty memory for at most `subjects_max` subjects (at least one).
    pub fn with_capacity(subjects_max: usize) -> Self {
        Self { subjects: HashMap::new(), subjects_max: subjects_max.max(1) }
    }

    /// Whether an attempt may be made at `now` (monotonic). Ask before checking the secret.
    pub fn check(&self, subject: &ThrottleSubject, now: Duration) -> Result<(), Throttled> {
        match self.subjects.get(subject) {
            Some(failures) if failures.blocked_until > now => {
                Err(Throttled { retry_after: failures.blocked_until - now })
            }
            _ => Ok(()),
        }
    }

    /// Notes a failed attempt.
    pub fn failed(&mut self, subject: ThrottleSubject, now: Duration) {
        if !self.subjects.contains_key(&subject) && self.subjects.len() >= self.subjects_max {
            self.make_room(now);
        }
        let failures = self.subjects.entry(subject).or_insert(Failures {
            count: 0,
            last: now,
            blocked_until: Duration::ZERO,
        });
        if now.saturating_sub(failures.last) >= THROTTLE_MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.blocked_until = now + delay_after(failures.count);
    }

    /// Notes a success: the account's failures are forgotten. An address keeps its own, otherwise
    /// one valid account would let it guess at all the others.
    pub fn succeeded(&mut self, subject: &ThrottleSubject) {
        if matches!(subject, ThrottleSubject::Account(_)) {
            self.subjects.remove(subject);
        }
    }

    /// How many subjects are remembered.
    pub fn len(&self) -> usize {
        self.subjects.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// Forgets what is past its time; when that is not enough, the quarter with the fewest
    /// failures, oldest first: a flood of new subjects cannot wash out a blocked one.
    fn make_room(&mut self, now: Duration) {
        self.subjects.retain(|_, failures| now.saturating_sub(failures.last) < THROTTLE_MEMORY);
        if self.subjects.len() < self.subjects_max {
            return;
        }
        let mut order: Vec<_> = self
            .subjects
            .iter()
            .map(|(subject, failures)| (failures.count, failures.last, *subject))
            .collect();
        order.sort_by_key(|(count, last, _)| (*count, *last));
        for (_, _, subject) in order.iter().take((self.subjects_max / 4).max(1)) {
            self.subjects.remove(subject);
        }
    }
}

fn delay_after(count: u32) -> Duration {
    if count <= THROTTLE_FREE_FAILURES {
        return Duration::ZERO;
    }
    let doublings = (count - THROTTLE_FREE_FAILURES - 1).min(16);
    (THROTTLE_DELAY_FIRST * 2u32.pow(doublings)).min(THROTTLE_DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u32) -> ThrottleSubject {
        let mut digest = [0u8; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        ThrottleSubject::Account(digest)
    }

    #[test]
    fn delays_double_up_to_their_bound_and_are_forgotten() {
        let mut throttle = Throttle::default();
        let mut now = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..16 {
            throttle.failed(account(1), now);
            let wait =
                throttle.check(&account(1), now).err().map_or(0, |t| t.retry_after.as_secs());
            waits.push(wait);
            now += Duration::from_secs(wait);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(throttle.check(&account(2), now), Ok(()));
        throttle.failed(account(1), now + THROTTLE_MEMORY);
        assert_eq!(throttle.check(&account(1), now + THROTTLE_MEMORY), Ok(()));
    }

    #[test]
    fn a_success_clears_the_account_and_not_the_address() {
        let mut throttle = Throttle::default();
        let now = Duration::from_secs(1);
        let address = ThrottleSubject::Address([7; 32]);
        for _ in 0..=THROTTLE_FREE_FAILURES {
            throttle.failed(account(1), now);
            throttle.failed(address, now);
        }
        throttle.succeeded(&account(1));
        throttle.succeeded(&address);
        assert_eq!(throttle.check(&account(1), now), Ok(()));
        assert!(throttle.check(&address, now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_a_blocked_subject_survives_a_flood() {
        let mut throttle = Throttle::with_capacity(100);
        let now = Duration::from_secs(1);
        for _ in 0..20 {
            throttle.failed(account(0), now);
        }
        for number in 1..10_000 {
            throttle.failed(account(number), now);
            assert!(throttle.len() <= 100);
        }
        assert!(throttle.check(&account(0), now).is_err());
    }
}
