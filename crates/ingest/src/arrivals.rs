//! Times of receipt that are told apart, for readings that carry no time: equal times of one key
//! would be one reading.

use std::sync::atomic::{AtomicI64, Ordering};

use veritwin_domain::Timestamp;

/// Gives each request a time of its own, however many come in one microsecond.
#[derive(Debug)]
pub(crate) struct Arrivals(AtomicI64);

impl Default for Arrivals {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Arrivals {
    /// Now, or the next moment that nobody has.
    pub(crate) fn take(&self, now: Timestamp) -> Timestamp {
        let now = now.as_micros();
        let taken = |next: i64| Some(next.max(now).saturating_add(1));
        let before = match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken) {
            Ok(before) | Err(before) => before,
        };
        Timestamp::from_micros(before.max(now))
    }

    /// Everything before `next` was given to readings.
    pub(crate) fn used(&self, next: Timestamp) {
        self.0.fetch_max(next.as_micros(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_given_twice() {
        let (arrivals, at) = (Arrivals::default(), Timestamp::from_micros);
        let given = [5, 5, 4, 9].map(|now| arrivals.take(at(now)));
        assert_eq!(given, [5, 6, 7, 9].map(at));
        arrivals.used(at(20));
        arrivals.used(at(12));
        assert_eq!(arrivals.take(at(10)), at(20));
    }
}
