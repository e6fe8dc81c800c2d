//! One watched series: its state, the step it makes for each reading or tick, and the transition
//! that comes of it. Everything here is a pure function of state and input.

use std::fmt;

use veritwin_domain::{DeviceId, Key, Quality, RuleId, Timestamp};

use crate::rule::Condition;

/// A reading that is this much older than its receipt, its clock put right, is late: its
/// transitions are recorded, but nobody should be woken for them.
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
    /// So many transitions just before it were left out: there were too many to keep each.
    pub left_out: u64,
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
    /// Since when the value has been on the alarming side without having raised, or without that
    /// anybody was told, since it came late; of a silence, when something first arrived that was
    /// not late.
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

    /// Forgets what was seen, for a rule that no longer watches; the count of transitions goes on,
    /// so that no transition ever takes the name of an earlier one.
    /// A silence keeps when something was last heard, and whether the device was ever live: that
    /// does not hang on the rule.
    pub(crate) fn reset(&mut self, condition: &Condition, since: Timestamp) {
        let was_silence = self.last_value.is_none();
        if !(was_silence && matches!(condition, Condition::NoData { .. })) {
            *self = Self { transitions: self.transitions, ..Self::new(since) };
        }
        self.active = false;
    }

    /// Ends an alert of old data that nobody was told of, when what is live is still so: then it is
    /// raised anew by [`SeriesState::value`], and told.
    pub(crate) fn retell(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        sample: &Sample,
    ) -> Option<Transition> {
        let Condition::Threshold { operator, threshold, .. } = condition else { return None };
        let is_untold = self.active && self.last_value.is_some() && self.pending_since.is_some();
        let is_new = self.last_at.is_none_or(|last| sample.at >= last);
        let holds = operator.holds(sample.value, *threshold);
        let is_live = !is_late(sample.at, sample.received_at);
        (is_untold && is_new && holds && is_live)
            .then(|| self.go(id, Step::cleared(Reason::Value, sample.at).late(true)))
    }

    /// A reading of a threshold's series. Older readings than the newest one are ignored: what
    /// happened since is already known. Of equal times the later arrival counts, as in the store.
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
        if self.last_at.is_some_and(|last| sample.at < last) {
            return None;
        }
        self.last_at = Some(sample.at);
        self.last_received_at = sample.received_at;
        self.last_value = Some((sample.value, sample.quality));
        let late = is_late(sample.at, sample.received_at);
        if self.active {
            let clearing = operator.clearing_threshold(*threshold, *hysteresis);
            return (!operator.holds(sample.value, clearing))
                .then(|| self.go(id, Step::cleared(Reason::Value, sample.at).late(late)));
        }
        if !operator.holds(sample.value, *threshold) {
            self.pending_since = None;
            return None;
        }
        let since = *self.pending_since.get_or_insert(sample.at);
        let held = sample.at.as_micros().saturating_sub(since.as_micros());
        (held >= i64::from(*for_seconds) * SECOND_MICROS)
            .then(|| self.go(id, Step::raised(Reason::Value, sample.at, since).late(late)))
    }

    /// The value that stands when the rule begins to watch the series: it is judged now, with the
    /// time since it came. One that came late, out of an archive, is judged as when it comes.
    pub(crate) fn present(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        sample: Sample,
        now: Timestamp,
    ) -> Option<Transition> {
        let made = self.value(id, condition, sample);
        match made {
            Some(made) if made.kind == TransitionKind::Raised && !made.late => {
                Some(Transition { at: made.at.max(now), ..made })
            }
            None => self.held_until_now(id, condition, now),
            made => made,
        }
    }

    /// What stands when the rule begins to listen for the series: when it was last heard.
    pub(crate) fn heard(&mut self, at: Timestamp, received_at: Timestamp) {
        self.last_at = self.last_at.max(Some(at));
        if !is_late(at, received_at) {
            self.last_received_at = self.last_received_at.max(received_at);
            self.pending_since.get_or_insert(received_at);
        }
    }

    /// The rule changed: what is known of the series is judged by the new condition. An alert
    /// whose condition still holds goes on as it is.
    pub(crate) fn rejudge(
        &mut self,
        id: &SeriesId,
        (old, new): (&Condition, &Condition),
        now: Timestamp,
    ) -> Option<Transition> {
        match (old, new) {
            (
                Condition::Threshold { operator: old_operator, threshold: old_threshold, .. },
                Condition::Threshold { operator, threshold, hysteresis, .. },
            ) => {
                let (value, _) = self.last_value?;
                let is_same = operator == old_operator && threshold == old_threshold;
                if self.active {
                    let clearing = operator.clearing_threshold(*threshold, *hysteresis);
                    // Between the two lines only one that was above the same line has been there.
                    let line = if is_same { clearing } else { *threshold };
                    return if operator.holds(value, line) {
                        None
                    } else {
                        self.close(id, Reason::RuleChanged, now)
                    };
                }
                if !operator.holds(value, *threshold) {
                    self.pending_since = None;
                } else if !is_same || self.pending_since.is_none() {
                    self.pending_since = self.last_at;
                }
                self.held_until_now(id, new, now)
            }
            (Condition::NoData { .. }, Condition::NoData { after_seconds, .. }) => {
                let is_silent = now >= seconds_after(self.last_received_at, *after_seconds);
                if is_silent { None } else { self.close(id, Reason::RuleChanged, now) }
            }
            _ => None,
        }
    }

    /// Something of the series, or of the device, arrived, measured at `at` or before. What is
    /// live ends a silence. What is late does so only if it was measured after all that came
    /// before it: the device goes on. If it never was live, it is an archive that is handed in,
    /// and nobody waits for more.
    pub(crate) fn arrival(
        &mut self,
        id: &SeriesId,
        at: Timestamp,
        received_at: Timestamp,
    ) -> Option<Transition> {
        let is_news = self.last_at.is_none_or(|last| at > last);
        self.last_at = self.last_at.max(Some(at));
        if is_late(at, received_at) {
            if self.pending_since.is_some() && !is_news {
                return None;
            }
        } else {
            self.pending_since.get_or_insert(received_at);
        }
        self.last_received_at = self.last_received_at.max(received_at);
        self.active.then(|| self.go(id, Step::cleared(Reason::DataReturned, received_at)))
    }

    /// Time passed since the last `tick`. A silence may have become long enough; a pending value
    /// that is not followed by others counts on as it is, since devices may report only changes.
    pub(crate) fn tick(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        Tick { last, now }: Tick,
    ) -> Option<Transition> {
        if self.active {
            return None;
        }
        let Condition::NoData { after_seconds, .. } = condition else {
            let Condition::Threshold { for_seconds, .. } = condition else { return None };
            let due = seconds_after(self.pending_since?, *for_seconds);
            let raised = self.held_until_now(id, condition, now)?;
            // It says when it was due, unless the rule is younger than that.
            return Some(if due > last { Transition { at: due, ..raised } } else { raised });
        };
        // A device that has only handed in old readings is not expected to go on.
        if self.last_at.is_some() && self.pending_since.is_none() {
            return None;
        }
        let since = self.last_received_at;
        let due = seconds_after(since, *after_seconds);
        let at = if due > last { due } else { now };
        (now >= due).then(|| self.go(id, Step::raised(Reason::Silence, at, since)))
    }

    /// Raises a pending value that has lasted long enough by now.
    fn held_until_now(
        &mut self,
        id: &SeriesId,
        condition: &Condition,
        now: Timestamp,
    ) -> Option<Transition> {
        let Condition::Threshold { for_seconds, .. } = condition else { return None };
        let (since, last_at) = (self.pending_since?, self.last_at?);
        if self.active || is_late(last_at, self.last_received_at) {
            return None;
        }
        let held_until = last_at.saturating_add(now.since(self.last_received_at));
        (held_until >= seconds_after(since, *for_seconds))
            .then(|| self.go(id, Step::raised(Reason::Value, now.max(since), since)))
    }

    /// Ends an active alert for a reason outside the data.
    pub(crate) fn close(
        &mut self,
        id: &SeriesId,
        reason: Reason,
        now: Timestamp,
    ) -> Option<Transition> {
        self.active.then(|| self.go(id, Step::cleared(reason, now)))
    }

    /// Whether what is known of the series came when it was measured.
    pub(crate) fn was_live(&self) -> bool {
        match (self.last_value, self.last_at) {
            (Some(_), Some(at)) => !is_late(at, self.last_received_at),
            _ => self.pending_since.is_some(),
        }
    }

    fn go(&mut self, id: &SeriesId, step: Step) -> Transition {
        let Step { kind, reason, at, since, late } = step;
        self.transitions += 1;
        self.active = kind == TransitionKind::Raised;
        // A silence keeps it: whoever was live once is expected to go on.
        if self.last_value.is_some() {
            self.pending_since = (self.active && late).then_some(since);
        }
        let (value, quality) = match (reason, self.last_value) {
            (Reason::Value, Some((value, quality))) => (Some(value), quality),
            _ => (None, Quality::Good),
        };
        let id = IdempotencyKey { series: id.clone(), number: self.transitions };
        Transition { id, kind, reason, at, since, value, quality, late, left_out: 0 }
    }
}

/// What a series does next.
struct Step {
    kind: TransitionKind,
    reason: Reason,
    at: Timestamp,
    since: Timestamp,
    late: bool,
}

impl Step {
    const fn raised(reason: Reason, at: Timestamp, since: Timestamp) -> Self {
        Self { kind: TransitionKind::Raised, reason, at, since, late: false }
    }

    const fn cleared(reason: Reason, at: Timestamp) -> Self {
        Self { kind: TransitionKind::Cleared, reason, at, since: at, late: false }
    }

    const fn late(self, late: bool) -> Self {
        Self { late, ..self }
    }
}

/// Time passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// The tick before this one.
    pub(crate) last: Timestamp,
    pub(crate) now: Timestamp,
}

/// One reading of a threshold's series, its time as a right clock would have said it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) received_at: Timestamp,
    pub(crate) value: f64,
    pub(crate) quality: Quality,
}

/// Whether a reading came later than it should have.
fn is_late(at: Timestamp, received_at: Timestamp) -> bool {
    seconds_after(at, LATE_AFTER_SECONDS) < received_at
}

fn seconds_after(at: Timestamp, seconds: u32) -> Timestamp {
    at.saturating_add(std::time::Duration::from_secs(u64::from(seconds)))
}
