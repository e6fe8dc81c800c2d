//! How long a connection may be silent.

use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::device::Close;

/// The client's keep-alive: one and a half times the interval it gave (MQTT 5.0, 3.1.2.10).
pub(super) struct KeepAlive {
    interval: Option<Duration>,
    pub(super) heard_at: Instant,
}

impl KeepAlive {
    pub(super) fn new(seconds: u16) -> Self {
        let interval = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1500));
        Self { interval, heard_at: Instant::now() }
    }

    pub(super) fn timer(&self) -> Sleep {
        sleep_until(self.heard_at + self.interval.unwrap_or(Duration::from_secs(3600)))
    }

    /// Ends a connection that was silent for too long. While we do not read, or without an
    /// interval, silence says nothing.
    pub(super) fn check(&mut self, is_read: bool) -> Result<(), Close> {
        if is_read && self.is_over() {
            return Err(Close::new(0x8d, "keep-alive: nothing was heard in time"));
        }
        if !is_read || self.interval.is_none() {
            self.heard_at = Instant::now();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.interval.is_some_and(|interval| self.heard_at.elapsed() >= interval)
    }
}
