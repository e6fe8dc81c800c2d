//! The pace of work in the background. Flushes and merges take a part of one core: after a few
//! milliseconds of work they rest in proportion, so that acknowledgements do not wait for them.
//! They never rest while they hold a lock that readings or queries need, nor while memory fills up,
//! nor while somebody waits for them.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::engine::{Engine, Inner};

/// A whole core: work that never rests.
pub(crate) const CORE_PERCENT_MAX: u32 = 100;
/// So much work is done before a rest.
const WORK_MIN: Duration = Duration::from_millis(4);
/// The longest rest, however long one step of work took.
const REST_MAX: Duration = Duration::from_millis(100);
/// While it rests it looks so often at whether memory fills up.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Who waits for work that goes on in the background.
#[derive(Debug, Default)]
pub(crate) struct Hurry {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Hurry {
    /// Nobody rests until the answer is dropped.
    pub(crate) fn begin(&self) -> Hurried<'_> {
        self.begin_for_good();
        Hurried(self)
    }

    fn begin_for_good(&self) {
        *self.waiting.lock() += 1;
        self.changed.notify_all();
    }

    /// Waits until somebody is in a hurry, at most so long; says whether somebody is.
    fn wait(&self, time: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        if *waiting == 0 {
            self.changed.wait_for(&mut waiting, time);
        }
        *waiting > 0
    }
}

/// Somebody who waits.
#[must_use]
pub(crate) struct Hurried<'h>(&'h Hurry);

impl Drop for Hurried<'_> {
    fn drop(&mut self) {
        *self.0.waiting.lock() -= 1;
    }
}

/// One piece of work and its pace.
pub(crate) struct Pace<'e> {
    inner: &'e Inner,
    percent: u32,
    /// When it last began to work, on the monotonic clock.
    since: Duration,
}

impl<'e> Pace<'e> {
    /// Work that begins now and takes such a part of one core.
    pub(crate) fn new(inner: &'e Inner, percent: u32) -> Self {
        Self { inner, percent, since: inner.clock.monotonic() }
    }

    /// Between two steps of the work: rests if it is time for it.
    pub(crate) fn step(&mut self) {
        if self.percent >= CORE_PERCENT_MAX {
            return;
        }
        let worked = self.inner.clock.monotonic().saturating_sub(self.since);
        if worked < WORK_MIN {
            return;
        }
        let mut left = rest_after(worked, self.percent);
        while !left.is_zero() && !self.is_memory_filling() {
            let part = left.min(LOOK_INTERVAL);
            if self.inner.hurry.wait(part) {
                break;
            }
            left = left.saturating_sub(part);
        }
        self.since = self.inner.clock.monotonic();
    }

    /// Whether so much waits for its segment that readings might soon have to wait for room.
    fn is_memory_filling(&self) -> bool {
        let due = self.inner.limits.flush_bytes_min;
        self.inner.memory.read().bytes_bounded() > due.saturating_add(due / 4)
    }
}

/// How long to rest after so much work.
fn rest_after(worked: Duration, percent: u32) -> Duration {
    let percent = percent.clamp(1, CORE_PERCENT_MAX);
    (worked.saturating_mul(CORE_PERCENT_MAX - percent) / percent).min(REST_MAX)
}

impl Engine {
    /// From now on nothing in the background rests any more: the platform stops and waits for what
    /// is under way.
    pub fn stop_resting(&self) {
        self.inner.hurry.begin_for_good();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_are_in_proportion_and_bounded() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(ms(4), 25), ms(12));
        assert_eq!(rest_after(ms(4), 50), ms(4));
        assert_eq!(rest_after(ms(4), 100), ms(0));
        assert_eq!(rest_after(ms(4), 400), ms(0));
        assert_eq!(rest_after(ms(5), 0), REST_MAX);
        assert_eq!(rest_after(Duration::MAX, 50), REST_MAX);
    }

    #[test]
    fn nobody_rests_while_somebody_waits() {
        let hurry = Hurry::default();
        let long = Duration::from_secs(3600);
        let (first, second) = (hurry.begin(), hurry.begin());
        assert!(hurry.wait(long));
        drop(first);
        assert!(hurry.wait(long), "the second one waits still");
        drop(second);
        assert!(!hurry.wait(Duration::ZERO));
        hurry.begin_for_good();
        assert!(hurry.wait(long));
    }

    #[test]
    fn who_comes_ends_a_rest() {
        let hurry = Hurry::default();
        std::thread::scope(|scope| {
            let resting = scope.spawn(|| while !hurry.wait(Duration::from_secs(3600)) {});
            let waiting = hurry.begin();
            resting.join().expect("ends");
            drop(waiting);
        });
    }
}
