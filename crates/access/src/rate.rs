//! Rates: how often one party may do something. The generic cell rate algorithm (ITU-T I.371,
//! annex A), which is a token bucket that keeps one number a party. A pure state machine over
//! monotonic time with bounded memory; a bucket is forgotten only when it is full again.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use veritwin_domain::IdState;

/// Parties that one limiter remembers.
pub const RATE_PARTIES_MAX: usize = 65_536;
/// Longest debt of a party that is counted after the fact.
pub const RATE_DEBT_MAX: Duration = Duration::from_secs(10);
/// When there is no room, full buckets are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// So many a second in the long run, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

impl Rate {
    /// A rate; both numbers are at least one.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let burst = if burst == 0 { 1 } else { burst };
        Self { per_second, burst }
    }

    /// Another number a second, with a burst in the same proportion.
    pub fn scaled_to(self, per_second: u32) -> Self {
        let burst = u64::from(self.burst) * u64::from(per_second) / u64::from(self.per_second);
        Self::new(per_second, u32::try_from(burst).unwrap_or(u32::MAX))
    }

    fn time_of(self, count: u32) -> Duration {
        let nanos = u64::from(count) * NANOS_PER_SECOND / u64::from(self.per_second);
        Duration::from_nanos(nanos)
    }
}

/// A rate was passed: its name, the rate, and when the next one fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "limit {name} exceeded: at most {} a second and {} at once; try again in {} s",
    rate.per_second, rate.burst, retry_after.as_millis().div_ceil(1000).max(1)
)]
pub struct RateExceeded {
    /// The limit's name, as the documents have it.
    pub name: &'static str,
    /// The rate.
    pub rate: Rate,
    /// The wait, for `Retry-After`.
    pub retry_after: Duration,
}

/// The buckets of one limit, by party. Callers hold it behind a lock.
#[derive(Debug)]
pub struct RateLimiter<K, S = RandomState> {
    name: &'static str,
    /// When each bucket will be full again.
    full_at: HashMap<K, Duration, S>,
    parties_max: usize,
    /// The one bucket of all who come when there is no room: nobody is forgotten for them.
    others_full_at: Duration,
    swept_at: Option<Duration>,
}

impl<K: Hash + Eq> RateLimiter<K> {
    /// Full buckets for everybody.
    pub fn new(name: &'static str) -> Self {
        Self::with_capacity(name, RATE_PARTIES_MAX)
    }

    /// The same for at most `parties_max` parties (at least one).
    pub fn with_capacity(name: &'static str, parties_max: usize) -> Self {
        Self::made(name, parties_max)
    }
}

impl<K: Hash + Eq> RateLimiter<K, IdState> {
    /// Full buckets for everybody; the parties are known by their ids.
    pub fn by_id(name: &'static str) -> Self {
        Self::made(name, RATE_PARTIES_MAX)
    }
}

impl<K: Hash + Eq, S: BuildHasher + Default> RateLimiter<K, S> {
    fn made(name: &'static str, parties_max: usize) -> Self {
        Self {
            name,
            full_at: HashMap::default(),
            parties_max: parties_max.max(1),
            others_full_at: Duration::ZERO,
            swept_at: None,
        }
    }

    /// Takes `count` out of a party's bucket, or nothing when they are not there. More than the
    /// burst at once counts as the burst.
    pub fn take(
        &mut self,
        party: K,
        count: u32,
        rate: Rate,
        now: Duration,
    ) -> Result<(), RateExceeded> {
        let name = self.name;
        let full_at = self.bucket(party, now);
        let after = (*full_at).max(now) + rate.time_of(count.min(rate.burst));
        let wait = (after - now).saturating_sub(rate.time_of(rate.burst));
        if !wait.is_zero() {
            return Err(RateExceeded { name, rate, retry_after: wait });
        }
        *full_at = after;
        Ok(())
    }

    /// Takes all of `count`, however much it is, unless the party is in debt: what its bucket did
    /// not hold is a debt that refuses everything until it is paid. Nothing, asked for, only looks.
    pub fn owe(
        &mut self,
        party: K,
        count: u32,
        rate: Rate,
        now: Duration,
    ) -> Result<(), RateExceeded> {
        let name = self.name;
        let full_at = self.bucket(party, now);
        let known = (*full_at).max(now);
        let debt = (known - now).saturating_sub(rate.time_of(rate.burst));
        if !debt.is_zero() {
            return Err(RateExceeded { name, rate, retry_after: debt });
        }
        *full_at = known + rate.time_of(count);
        Ok(())
    }

    /// Counts what has happened already, as a debt of at most [`RATE_DEBT_MAX`]. The answer is how
    /// long the party has to be held back until its bucket holds something again, at most as long.
    pub fn charge(&mut self, party: K, count: u32, rate: Rate, now: Duration) -> Duration {
        let full_at = self.bucket(party, now);
        let burst = rate.time_of(rate.burst);
        let after = (*full_at).max(now) + rate.time_of(count);
        // What is owed for something else stays owed.
        *full_at = after.min(now + burst + RATE_DEBT_MAX).max(*full_at);
        full_at.saturating_sub(now + burst).min(RATE_DEBT_MAX)
    }

    /// How many parties are remembered.
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }

    fn bucket(&mut self, party: K, now: Duration) -> &mut Duration {
        let has_room = self.full_at.len() < self.parties_max;
        if !has_room && !self.full_at.contains_key(&party) && !self.sweep(now) {
            return &mut self.others_full_at;
        }
        self.full_at.entry(party).or_default()
    }

    /// Forgets the buckets that are full again, which changes nothing for anybody.
    fn sweep(&mut self, now: Duration) -> bool {
        if self.swept_at.is_some_and(|at| now.saturating_sub(at) < SWEEP_INTERVAL) {
            return false;
        }
        self.swept_at = Some(now);
        self.full_at.retain(|_, full_at| *full_at > now);
        self.full_at.len() < self.parties_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(10, 20);

    fn at(millis: u64) -> Duration {
        Duration::from_secs(1) + Duration::from_millis(millis)
    }

    fn taken(limiter: &mut RateLimiter<u32>, party: u32, tries: u32, now: Duration) -> u32 {
        (0..tries).map(|_| u32::from(limiter.take(party, 1, RATE, now).is_ok())).sum()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = RateLimiter::new("requests");
        assert_eq!(taken(&mut limiter, 1, 100, at(0)), 20);
        let refused = limiter.take(1, 1, RATE, at(0)).expect_err("empty");
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        let text = "limit requests exceeded: at most 10 a second and 20 at once; try again in 1 s";
        assert_eq!(refused.to_string(), text);
        assert_eq!(taken(&mut limiter, 1, 100, at(99)), 0);
        assert_eq!(taken(&mut limiter, 1, 100, at(100)), 1);
        assert_eq!(taken(&mut limiter, 1, 100, at(1100)), 10);
        assert_eq!(taken(&mut limiter, 2, 100, at(1100)), 20, "another party");
        assert_eq!(taken(&mut limiter, 1, 100, at(100_000)), 20, "no more than a burst");
    }

    #[test]
    fn refused_tries_cost_nothing_and_more_than_a_burst_is_a_burst() {
        let mut limiter = RateLimiter::new("requests");
        assert!(limiter.take(1, 21, RATE, at(0)).is_ok());
        for _ in 0..1000 {
            assert!(limiter.take(1, 21, RATE, at(1000)).is_err());
        }
        assert!(limiter.take(1, 21, RATE, at(2000)).is_ok());
    }

    #[test]
    fn what_has_happened_is_paid_for_by_waiting() {
        let mut limiter = RateLimiter::new("messages");
        assert_eq!(limiter.charge(1, 20, RATE, at(0)), Duration::ZERO);
        assert_eq!(limiter.charge(1, 5, RATE, at(0)), Duration::from_millis(500));
        assert_eq!(limiter.charge(1, 0, RATE, at(400)), Duration::from_millis(100));
        assert_eq!(limiter.charge(1, 0, RATE, at(500)), Duration::ZERO);
        assert_eq!(limiter.charge(1, u32::MAX, RATE, at(500)), RATE_DEBT_MAX);
        assert!(limiter.take(1, 1, RATE, at(500)).is_err());
    }

    #[test]
    fn what_is_large_is_taken_whole_and_paid_for_before_anything_else() {
        let mut limiter = RateLimiter::new("readings");
        assert!(limiter.owe(1, 15, RATE, at(0)).is_ok());
        assert!(limiter.owe(1, 1_005, RATE, at(0)).is_ok(), "the bucket is not empty");
        let refused = limiter.owe(1, 0, RATE, at(0)).expect_err("100 s are owed");
        assert_eq!(refused.retry_after, Duration::from_secs(100));
        assert!(limiter.owe(1, 1, RATE, at(99_999)).is_err());
        // What is counted afterwards takes nothing off the debt.
        assert_eq!(limiter.charge(1, 1, RATE, at(0)), RATE_DEBT_MAX);
        assert!(limiter.owe(1, 1, RATE, at(99_999)).is_err());
        assert!(limiter.owe(1, 1, RATE, at(100_000)).is_ok());
        assert!(limiter.owe(1, 0, RATE, at(100_099)).is_err());
        assert!(limiter.owe(1, 0, RATE, at(100_100)).is_ok());
        assert!(limiter.owe(2, 1, RATE, at(0)).is_ok(), "another party");
    }

    #[test]
    fn a_flood_of_parties_frees_nobody() {
        let mut limiter = RateLimiter::with_capacity("requests", 100);
        for attacker in 0..100 {
            assert_eq!(taken(&mut limiter, attacker, 50, at(0)), 20);
        }
        let newcomers = (1000..50_000).map(|party| taken(&mut limiter, party, 1, at(1)));
        assert_eq!(newcomers.sum::<u32>(), 20, "they share one bucket");
        assert_eq!(limiter.len(), 100);
        for attacker in 0..100 {
            assert_eq!(taken(&mut limiter, attacker, 50, at(50)), 0, "{attacker}");
        }
        // Once their buckets are full, forgetting them changes nothing.
        assert_eq!(taken(&mut limiter, 1000, 50, at(2000)), 20);
        assert_eq!(limiter.len(), 1);
    }

    #[test]
    fn rates_scale_with_their_burst() {
        assert_eq!(RATE.scaled_to(100), Rate::new(100, 200));
        assert_eq!(RATE.scaled_to(0), Rate::new(1, 1));
    }
}
