//! How far a device's clock is off, told from what it sends: messages that come in step with
//! their own time stamps, always the same time behind them, are live and their clock is slow. A
//! backlog comes faster or slower than it was measured, and tells nothing of the clock.

use veritwin_domain::Timestamp;

/// So many messages in step tell a clock.
const MESSAGES_MIN: u32 = 3;
/// They come over at least this time.
const SPAN_MICROS_MIN: i64 = 1_000_000;
/// The delay may vary by one part in so many of the time over which they came.
const SPAN_PARTS: i64 = 4;
/// The delay never varies by more than this.
const OFF_MICROS_MAX: i64 = 60_000_000;

/// What is further behind than a day is an archive that is played back, not a clock.
const SLOW_MICROS_MAX: i64 = 24 * 3_600 * 1_000_000;

/// What is known of one device's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceClock {
    /// The delay that was last told by messages in step.
    pub(crate) slow_micros: Option<i64>,
    /// Messages that may turn out to be in step.
    pub(crate) messages: u32,
    /// The delay of the first of them.
    pub(crate) first_slow_micros: i64,
    /// When the first of them came.
    pub(crate) first_received_at: Timestamp,
}

impl DeviceClock {
    /// A message came whose newest reading was measured at `at`.
    pub fn hear(&mut self, at: Timestamp, received_at: Timestamp) {
        let slow = received_at.as_micros().saturating_sub(at.as_micros());
        let off = |from: i64| slow.saturating_sub(from).saturating_abs();
        if slow > SLOW_MICROS_MAX {
            self.messages = 0;
            return;
        }
        if self.slow_micros.is_some_and(|known| off(known) <= OFF_MICROS_MAX) {
            self.messages = 0;
            return;
        }
        if self.messages == 0 || off(self.first_slow_micros) > OFF_MICROS_MAX {
            self.messages = 1;
            self.first_slow_micros = slow;
            self.first_received_at = received_at;
            return;
        }
        self.messages = self.messages.saturating_add(1);
        let first_at = self.first_received_at.as_micros();
        let span = received_at.as_micros().saturating_sub(first_at);
        let is_in_step =
            span >= SPAN_MICROS_MIN && off(self.first_slow_micros) <= span / SPAN_PARTS;
        if self.messages >= MESSAGES_MIN && is_in_step {
            self.slow_micros = Some(slow);
            self.messages = 0;
        }
    }

    /// By how much the clock is slow, in microseconds; negative when it is fast, none as long as
    /// nothing tells.
    pub const fn slow_micros(&self) -> Option<i64> {
        self.slow_micros
    }
}
