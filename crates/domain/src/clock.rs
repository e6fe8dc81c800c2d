//! Where time comes from. Everything that reads a clock takes it through [`Clock`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::Timestamp;

/// A source of time: wall time for records, monotonic time for durations.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time now.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary fixed moment; never steps back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Timestamp::EPOCH.saturating_add(after),
            Err(before) => Timestamp::EPOCH.saturating_sub(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug)]
pub struct ManualClock {
    started_micros: i64,
    now_micros: AtomicI64,
    /// How far somebody has set the wall clock off.
    jumped_micros: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        Self {
            started_micros: at.as_micros(),
            now_micros: AtomicI64::new(at.as_micros()),
            jumped_micros: AtomicI64::new(0),
        }
    }

    /// Moves the clock ahead.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock ahead or back; the monotonic one goes on.
    pub fn jump(&self, micros: i64) {
        self.jumped_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let jumped = self.jumped_micros.load(Ordering::SeqCst);
        Timestamp::from_micros(self.now_micros.load(Ordering::SeqCst).saturating_add(jumped))
    }

    fn monotonic(&self) -> Duration {
        let now = Timestamp::from_micros(self.now_micros.load(Ordering::SeqCst));
        now.since(Timestamp::from_micros(self.started_micros))
    }
}
