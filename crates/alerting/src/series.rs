//! One watched series: its state, the step it makes for each reading or tick, and the transition
//! that comes of it. Everything here is a pure function of state and input.

use std::fmt;

use veritwin_domain::{DeviceId, Key, Quality, RuleId, Timestamp};

use crate::rule::Condition;

/// A reading that is this much older than its receipt is late: its transitions are recorded, but
/// nobody should be woken for them.
pub const LATE_AFTER_SECONDS: u32 = 900;

const SECOND_MICROS: i64 = 1_000_000;

/// A series under a rule. The key is none for a silence of the whole device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    /// The rule.
    pub rule: RuleId,
    /// The device.
    pub device: DeviceId,
    /// The key.
    pub key: Option<Key>,
}

/// Which way a series went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransitionKind {
    /// The alert became active.
    Raised,
    /// The alert is no longer active.
    Cleared,
}

/// Why it went there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A value passed the threshold, and stayed.
    Value,
    /// Nothing arrived.
    Silence,
    /// Something arrived again.
    DataReturned,
    /// The rule was changed, disabled or removed, or no longer covers the device.
    RuleChanged,
    /// The device was removed.
    DeviceRemoved,
}

impl Reason {
    /// The name used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Silence => "silence",
            Self::DataReturned => "data_returned",
            Self::RuleChanged => "rule_changed",
            Self::DeviceRemoved => "device_removed",
        }
    }
}

/// Names one transition for ever: whoever stores or delivers it a second time can see that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey {
    /// The series.
    pub series: SeriesId,
    /// Counts the transitions of the series from 1.
    pub number: u64,
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SeriesId { rule, device, key } = &self.series;
        // The key comes last: it is the only part that may hold a colon.
        write!(f, "{rule}:{device}:{}:", self.number)?;
        match key {
            Some(key) => write!(f, "={key}"),
            None => f.write_str("*"),
        }
    }
}

/// A series went into or out of alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Its name for ever.
    pub id: IdempotencyKey,
    /// Which way it went.
    pub kind: TransitionKind,
    /// Why.
    pub reason: Reason,
    /// When: event time for values, receive time for silence.
    pub at: Timestamp,
    /// Since when the condition has held; the same as `at` for what cleared.
    pub since: Timestamp,
    /// The value that decided, for a threshold.
    pub value: Option<f64>,
    /// How far that value can be trusted.
    pub quality: Quality,
    /// It concerns data that arrived late: record it, notify nobody.
    pub late: bool,
}

/// What is remembered of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeriesState {
    /// Transitions made so far.
    pub(crate) transitions: u64,
    /// Whether the alert is active.
    pub(crate) active: bool,
    /// Event time of the newest reading that counted; of a silence, of the newest that arrived.
    pub(crate) last_at: Option<Timestamp>,
    /// Receive time of that reading, or the time from which silence counts.
    pub(crate) last_received_at: Timestamp,
    /// The value and quality of that reading.
    pub(crate) last_value: Option<(f64, Quality)>,
    /// Since when the value has been on the alarming side without having raised; of a silence, when
    /// something first arrived that was not late.
    pub(crate) pending_since: Option<Timestamp>,
}

impl SeriesState {
    pub(crate) fn new(watched_since: Timestamp) -> Self {
        Self {
            transitions: 0,
            active: false,
            last_at: None,
            last_received_at: watched_since,
            last_value: None,
            pending_since: None,
        }
    }

    /// Forgets what was seen, for a rule that changed; the count of transitions goes on, so that
    /// no transition ever takes the name of an earlier one.
    /// A silence keeps whether the device was ever live: that does not hang on the rule.
    pub(crate) fn reset(&mut self, condition: &Condition, now: Timestamp) {
        let fresh = Self { transitions: self.transitions, ..Self::new(now) };
        let was_silence = self.last_value.is_none();
        *self = match condition {
            Condition::NoData { .. } if was_silence => {
                Self { last_at: self.last_at, pending_since: self.pending_since, ..fresh }
            }
            _ => fresh,
        };
    }

    /// A reading of a threshold's series. Older readings than the newest one are ignored: what
    /// happened since is already known.
    pub(crate) fn value(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        sample: Sample,
    ) -> Option<Transition> {
        let Condition::Threshold { operator, threshold, hysteresis, for_seconds, .. } = condition
        else {
            return None;
        };
        if self.last_at.is_some_and(|last| sample.at <= last) {
            return None;
        }
        self.last_at = Some(sample.at);
        self.last_received_at = sample.received_at;
        self.last_value = Some((sample.value, sample.quality));
        if self.active {
            let clearing = operator.clearing_threshold(*threshold, *hysteresis);
            return (!operator.holds(sample.value, clearing)).then(|| {
                self.go(id, TransitionKind::Cleared, Reason::Value, sample.at, sample.at)
            });
        }
        if !operator.holds(sample.value, *threshold) {
            self.pending_since = None;
            return None;
        }
        let since = *self.pending_since.get_or_insert(sample.at);
        let held = sample.at.as_micros().saturating_sub(since.as_micros());
        (held >= i64::from(*for_seconds) * SECOND_MICROS)
            .then(|| self.go(id, TransitionKind::Raised, Reason::Value, sample.at, since))
    }

    /// Something of the series, or of the device, arrived, measured at `at` or before: silence is
    /// over.
    pub(crate) fn arrival(
        &mut self,
        id: &SeriesId,
        at: Timestamp,
        received_at: Timestamp,
    ) -> Option<Transition> {
        self.last_received_at = self.last_received_at.max(received_at);
        self.last_at = self.last_at.max(Some(at));
        if seconds_after(at, LATE_AFTER_SECONDS) >= received_at {
            self.pending_since.get_or_insert(received_at);
        }
        self.active.then(|| {
            self.go(id, TransitionKind::Cleared, Reason::DataReturned, received_at, received_at)
        })
    }

    /// Time passed. A silence may have become long enough; a pending value that is not followed
    /// by others counts on as it is, since devices may report only changes.
    pub(crate) fn tick(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        now: Timestamp,
    ) -> Option<Transition> {
        if self.active {
            return None;
        }
        match condition {
            Condition::NoData { after_seconds, .. } => {
                // A device that has only handed in old readings is not expected to go on.
                if self.last_at.is_some() && self.pending_since.is_none() {
                    return None;
                }
                let since = self.last_received_at;
                let due = seconds_after(since, *after_seconds);
                (now >= due)
                    .then(|| self.go(id, TransitionKind::Raised, Reason::Silence, due, since))
            }
            Condition::Threshold { for_seconds, .. } => {
                let (since, last_at) = (self.pending_since?, self.last_at?);
                if self.is_late(last_at) {
                    return None;
                }
                let quiet = now.since(self.last_received_at);
                let held_until = last_at.saturating_add(quiet);
                let due = seconds_after(since, *for_seconds);
                (held_until >= due)
                    .then(|| self.go(id, TransitionKind::Raised, Reason::Value, due, since))
            }
        }
    }

    /// Ends an active alert for a reason outside the data.
    pub(crate) fn close(
        &mut self,
        id: &SeriesId,
        reason: Reason,
        now: Timestamp,
    ) -> Option<Transition> {
        self.active.then(|| self.go(id, TransitionKind::Cleared, reason, now, now))
    }

    fn is_late(&self, at: Timestamp) -> bool {
        seconds_after(at, LATE_AFTER_SECONDS) < self.last_received_at
    }

    fn go(
        &mut self,
        id: &SeriesId,
        kind: TransitionKind,
        reason: Reason,
        at: Timestamp,
        since: Timestamp,
    ) -> Transition {
        self.transitions += 1;
        self.active = kind == TransitionKind::Raised;
        // A silence keeps it: whoever was live once is expected to go on.
        if self.last_value.is_some() {
            self.pending_since = None;
        }
        let (value, quality) = match (reason, self.last_value) {
            (Reason::Value, Some((value, quality))) => (Some(value), quality),
            _ => (None, Quality::Good),
        };
        let late = reason == Reason::Value && self.is_late(at);
        let id = IdempotencyKey { series: id.clone(), number: self.transitions };
        Transition { id, kind, reason, at, since, value, quality, late }
    }
}

/// One reading of a threshold's series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) received_at: Timestamp,
    pub(crate) value: f64,
    pub(crate) quality: Quality,
}

fn seconds_after(at: Timestamp, seconds: u32) -> Timestamp {
    at.saturating_add(std::time::Duration::from_secs(u64::from(seconds)))
}
