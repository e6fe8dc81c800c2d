//! Bounded reading and writing: so many bytes in a second, whoever waits for them.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Waits shorter than this are put together.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// The longest single wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A pace; none of 0 bytes in a second, which is without bound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    owed: Duration,
}

impl Pace {
    pub(crate) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, owed: Duration::ZERO }
    }

    /// How long to wait after so many bytes, if it is worth it.
    fn owes(&mut self, bytes: u64) -> Option<Duration> {
        if self.bytes_per_second == 0 {
            return None;
        }
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.owed += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        (self.owed >= WAIT_MIN).then(|| std::mem::take(&mut self.owed).min(WAIT_MAX))
    }

    /// Waits as long as so many bytes take.
    pub(crate) async fn wait(&mut self, bytes: u64) {
        if let Some(wait) = self.owes(bytes) {
            tokio::time::sleep(wait).await;
        }
    }

    /// The same on a thread that may block.
    pub(crate) fn wait_here(&mut self, bytes: u64) {
        if let Some(wait) = self.owes(bytes) {
            let nobody = Mutex::new(());
            Condvar::new().wait_for(&mut nobody.lock(), wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_waits_are_put_together() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.owes(10), None);
        assert_eq!(pace.owes(10), Some(Duration::from_millis(20)));
        assert_eq!(pace.owes(500), Some(Duration::from_millis(500)));
        assert_eq!(pace.owes(10_000_000), Some(WAIT_MAX));
        assert_eq!(Pace::new(0).owes(u64::MAX), None);
    }
}
