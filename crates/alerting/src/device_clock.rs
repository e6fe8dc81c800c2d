//! How far a device's clock is off, told from what it sends. Messages that go on at the pace of
//! life are live, whatever time they carry; a backlog comes faster or slower than it was measured
//! and tells nothing of the clock.

use veritwin_domain::Timestamp;

use crate::series::LATE_AFTER_SECONDS;

const SECOND_MICROS: i64 = 1_000_000;

/// So many messages that go on tell a clock.
const MESSAGES_MIN: u32 = 5;
/// They come over at least this time.
const SPAN_MICROS_MIN: i64 = 3 * SECOND_MICROS;
/// A clock that is off by less needs no attention.
const OFF_MICROS_MIN: i64 = 5 * SECOND_MICROS;
/// In step, the delay varies by one part in so many of the time over which they came.
const SPAN_PARTS: i64 = 4;
/// In step, the delay never varies by more than this.
const STEP_MICROS_MAX: i64 = 60 * SECOND_MICROS;
/// A delay that goes up and down, and stays within this, is live too.
const WANDER_MICROS_MAX: i64 = 300 * SECOND_MICROS;
/// It has gone down so often.
const TURNS_MIN: u32 = 3;
/// A change of the delay that is none.
const TURN_MICROS_MIN: i64 = SECOND_MICROS;

/// What is further behind than a day is an archive that is played back, unless the device was
/// live before and has sent nothing else for this long.
const FAR_MICROS_MIN: i64 = 24 * 3_600 * SECOND_MICROS;
const FAR_SPAN_MICROS_MIN: i64 = 300 * SECOND_MICROS;

/// What is further ahead is no time of a measurement.
const AHEAD_MICROS_MAX: i64 = 300 * SECOND_MICROS;
/// 2001-01-01. Clocks that nobody has set begin at 1970, 1980 or 2000.
const UNSET_BEFORE: Timestamp = Timestamp::from_micros(978_307_200 * SECOND_MICROS);

/// What is known of one device's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceClock {
    /// The delay that was last told by messages that went on.
    pub(crate) slow_micros: Option<i64>,
    /// That delay goes up and down.
    pub(crate) wanders: bool,
    /// The device has sent something that was not late.
    pub(crate) was_live: bool,
    /// Messages that may turn out to go on.
    pub(crate) messages: u32,
    /// The delay of the first of them.
    pub(crate) first_slow_micros: i64,
    /// When the first of them came.
    pub(crate) first_received_at: Timestamp,
    /// The delay of the last of them.
    pub(crate) last_slow_micros: i64,
    /// How often the delay went down among them.
    pub(crate) turns: u32,
}

/// What a time can be.
#[derive(PartialEq, Eq)]
enum Kind {
    Measured,
    /// It lies before anybody set the clock.
    Unset,
    Ahead,
}

impl Kind {
    fn of(slow_micros: i64, received_at: Timestamp) -> Self {
        let at = received_at.as_micros().saturating_sub(slow_micros);
        if slow_micros < -AHEAD_MICROS_MAX {
            Self::Ahead
        } else if at < UNSET_BEFORE.as_micros() && slow_micros > FAR_MICROS_MIN {
            Self::Unset
        } else {
            Self::Measured
        }
    }
}

impl DeviceClock {
    /// The clock of a device of which only that much is known.
    pub(crate) fn of(was_live: bool) -> Self {
        Self { was_live, ..Self::default() }
    }

    /// A message came whose newest reading was measured at `at`.
    pub fn hear(&mut self, at: Timestamp, received_at: Timestamp) {
        if !is_off(at, received_at) {
            *self = Self::of(true);
            return;
        }
        let slow = delay(at, received_at);
        let kind = Kind::of(slow, received_at);
        let late = i64::from(LATE_AFTER_SECONDS) * SECOND_MICROS;
        self.was_live |= kind != Kind::Ahead && slow <= late;
        if self.is_known(slow, received_at) {
            if kind != Kind::Measured {
                self.slow_micros = Some(slow);
            }
            self.messages = 0;
            return;
        }
        let span = delay(self.first_received_at, received_at);
        let grown = slow.saturating_sub(self.first_slow_micros);
        let varies_max = span / SPAN_PARTS + TURN_MICROS_MIN;
        let changed = slow.saturating_sub(self.last_slow_micros);
        // It stays where it jumped to: it is measured from there.
        let has_jumped = grown > varies_max && changed.saturating_abs() <= TURN_MICROS_MIN;
        let goes_on = self.messages > 0
            && span >= 0
            && kind == Kind::of(self.first_slow_micros, self.first_received_at)
            && grown >= -varies_max
            && (kind != Kind::Measured || (grown <= WANDER_MICROS_MAX && !has_jumped));
        if !goes_on {
            self.messages = 1;
            self.first_slow_micros = slow;
            self.first_received_at = received_at;
            self.last_slow_micros = slow;
            self.turns = 0;
            return;
        }
        self.messages = self.messages.saturating_add(1);
        if changed < -TURN_MICROS_MIN {
            self.turns = self.turns.saturating_add(1);
        }
        self.last_slow_micros = slow;
        let is_far = kind == Kind::Measured && slow > FAR_MICROS_MIN;
        let span_min = if is_far { FAR_SPAN_MICROS_MIN } else { SPAN_MICROS_MIN };
        if self.messages < MESSAGES_MIN || span < span_min || (is_far && !self.was_live) {
            return;
        }
        let is_in_step = grown.saturating_abs() <= (span / SPAN_PARTS).min(STEP_MICROS_MAX);
        let wanders = !is_in_step && self.turns >= TURNS_MIN && self.first_slow_micros > late;
        if kind != Kind::Measured || is_in_step || wanders {
            // The smallest delay is the clock's, what is above it the network's.
            self.slow_micros = Some(slow.min(self.first_slow_micros));
            self.wanders = wanders;
            self.messages = 0;
        }
    }

    /// Whether a delay is what is known of the clock.
    fn is_known(&self, slow: i64, received_at: Timestamp) -> bool {
        let Some(known) = self.slow_micros else { return false };
        let kind = Kind::of(slow, received_at);
        let off_max = if self.wanders { WANDER_MICROS_MAX } else { OFF_MICROS_MIN };
        kind == Kind::of(known, received_at)
            && (kind != Kind::Measured || slow.saturating_sub(known).saturating_abs() <= off_max)
    }

    /// What has to be added to the times of a message whose newest reading was measured at `at`,
    /// so that they are true as far as that is known, in microseconds. A time that cannot be true,
    /// and a delay that goes up and down, say nothing: their newest reading is of its receipt.
    pub(crate) fn shift_micros(&self, at: Timestamp, received_at: Timestamp) -> i64 {
        let Some(known) = self.slow_micros else { return 0 };
        let slow = delay(at, received_at);
        let kind = Kind::of(slow, received_at);
        if kind != Kind::of(known, received_at) {
            0
        } else if kind != Kind::Measured || (self.wanders && self.is_known(slow, received_at)) {
            slow
        } else if slow < known.saturating_sub(WANDER_MICROS_MAX) {
            0
        } else {
            known
        }
    }

    /// By how much the clock is slow, in microseconds; negative when it is fast, none as long as
    /// nothing tells.
    pub const fn slow_micros(&self) -> Option<i64> {
        self.slow_micros
    }

    /// Whether there is nothing to be kept of it: the last message was right.
    pub(crate) const fn is_right(&self) -> bool {
        self.slow_micros.is_none() && self.messages == 0
    }
}

/// Whether a message's clock needs attention.
pub(crate) const fn is_off(at: Timestamp, received_at: Timestamp) -> bool {
    delay(at, received_at).saturating_abs() > OFF_MICROS_MIN
}

/// Whether this cannot be the time of a measurement.
pub(crate) fn is_untrue(at: Timestamp, received_at: Timestamp) -> bool {
    Kind::of(delay(at, received_at), received_at) != Kind::Measured
}

/// A time, so many microseconds later.
pub(crate) const fn shifted(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(micros))
}

const fn delay(at: Timestamp, received_at: Timestamp) -> i64 {
    received_at.as_micros().saturating_sub(at.as_micros())
}
