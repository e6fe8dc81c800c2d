//! What stands when a rule begins to watch: the series whose present value is asked for, and how
//! the answer is judged. Rules and devices that stay as they are ask for nothing.

use std::collections::BTreeSet;

use veritwin_domain::{DeviceId, Quality, RuleId, Timestamp};

use crate::device_clock::{DeviceClock, is_off, is_untrue, shifted};
use crate::evaluator::{Evaluator, covers, first_of};
use crate::rule::{Condition, Rule, Scope};
use crate::series::{Reason, Sample, SeriesId, SeriesState, Transition};

/// What the series of a rule were judged by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) scope: Scope,
    pub(crate) condition: Condition,
}

impl Judged {
    pub(crate) fn by(rule: &Rule) -> Self {
        Self { scope: rule.scope.clone(), condition: rule.condition.clone() }
    }
}

/// The newest reading of a series that is known, or of a device for a silence of all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Present {
    /// When it was measured, put right as far as the device's clock is known.
    pub at: Timestamp,
    /// When it arrived, as far as that is known.
    pub received_at: Timestamp,
    /// Its value, and how far that can be trusted; none for what a threshold cannot judge.
    pub value: Option<(f64, Quality)>,
}

impl Evaluator {
    /// The series that are watched since something changed and whose present value is not known
    /// here. Each is named once; answer with [`Evaluator::present`] before the next tick.
    pub fn take_unjudged(&mut self) -> Vec<SeriesId> {
        let rules = std::mem::take(&mut self.unjudged_rules);
        let devices = std::mem::take(&mut self.unjudged_devices);
        let pairs = std::mem::take(&mut self.unjudged_pairs);
        let mut unjudged = BTreeSet::new();
        for rule in rules.iter().filter_map(|id| self.rules.get(id)) {
            for device in self.devices.values().filter(|device| covers(rule, device)) {
                if unjudged.len() >= self.limits.series_max {
                    break;
                }
                unjudged.insert(series_of(rule, device.device));
            }
        }
        for device in devices {
            for id in self.rules_covering(device) {
                if unjudged.len() < self.limits.series_max
                    && let Some(rule) = self.rules.get(&id)
                {
                    unjudged.insert(series_of(rule, device));
                }
            }
        }
        // A rule that is off, or gone, is withheld from nothing and asks for nothing.
        for (id, device) in pairs {
            let rule = self.rules.get(&id).filter(|rule| rule.enabled);
            let facts = self.devices.get(&device);
            let (Some(rule), Some(facts)) = (rule, facts) else { continue };
            if covers(rule, facts) && unjudged.len() < self.limits.series_max {
                unjudged.insert(series_of(rule, device));
            }
        }
        unjudged.into_iter().collect()
    }

    /// By how much a device's clock is slow, as far as that is known here, in microseconds;
    /// negative when it is fast.
    pub fn clock_slow_micros(&self, device: DeviceId) -> Option<i64> {
        self.clocks.get(&device).and_then(DeviceClock::slow_micros)
    }

    /// Judges what is known of a series that was asked for. What a later reading has overtaken
    /// changes nothing.
    pub fn present(
        &mut self,
        id: &SeriesId,
        present: Present,
        now: Timestamp,
    ) -> Option<Transition> {
        let rule = self.rules.get(&id.rule).filter(|rule| rule.enabled)?;
        let device = self.devices.get(&id.device)?;
        let condition = rule.condition.clone();
        if !covers(rule, device) || condition.key() != id.key.as_ref() {
            return None;
        }
        let Present { at, received_at, value } = present;
        let shift = self.shift_micros(id.device, at, received_at);
        let at = shifted(at, shift).min(received_at);
        match &condition {
            Condition::NoData { .. } => {
                self.state_of(id)?.heard(at, received_at);
                None
            }
            Condition::Threshold { .. } => {
                let (value, quality) = value.filter(|(_, quality)| *quality != Quality::Bad)?;
                if is_untrue(at, received_at) {
                    return None;
                }
                let sample = Sample { at, received_at, value, quality };
                self.state_of(id)?.present(id, &condition, sample, now)
            }
        }
    }

    /// Judges the series of a rule by what it has become. Its series of another key, or of
    /// another kind of condition, end with their alerts.
    pub(crate) fn rejudge(
        &mut self,
        id: RuleId,
        before: Option<&Judged>,
        now: Timestamp,
    ) -> Vec<Transition> {
        let Some(rule) = self.rules.get(&id) else { return Vec::new() };
        let new = &rule.condition;
        let old = before.filter(|old| {
            let is_same_kind =
                std::mem::discriminant(&old.condition) == std::mem::discriminant(new);
            rule.enabled && is_same_kind && old.condition.key() == new.key()
        });
        let is_asked = rule.enabled && before.is_none_or(|old| *old != Judged::by(rule));
        let mut transitions = Vec::new();
        for (series, state) in self.series.range_mut(first_of(id)..) {
            if series.rule != id {
                break;
            }
            if let Some(old) = old.filter(|_| series.key.as_ref() == new.key()) {
                transitions.extend(state.rejudge(series, (&old.condition, new), now));
            } else {
                transitions.extend(state.close(series, Reason::RuleChanged, now));
                let facts = self.devices.get(&series.device);
                state.reset(new, facts.map_or(now, |facts| facts.since));
            }
        }
        if is_asked {
            self.unjudged_rules.insert(id);
        }
        transitions
    }

    /// What puts the times of a device's message right.
    pub(crate) fn shift_micros(
        &self,
        device: DeviceId,
        newest_at: Timestamp,
        received_at: Timestamp,
    ) -> i64 {
        let clock = self.clocks.get(&device);
        clock.map_or(0, |clock| clock.shift_micros(newest_at, received_at))
    }

    /// Hears a device's clock. Only of those that seem wrong anything is kept.
    pub(crate) fn hear_clock(
        &mut self,
        (device, rules): (DeviceId, &[RuleId]),
        at: Timestamp,
        received_at: Timestamp,
    ) {
        if !self.clocks.contains_key(&device) && !is_off(at, received_at) {
            return;
        }
        let was_live = || {
            rules.iter().filter_map(|id| self.rules.get(id)).any(|rule| {
                let state = self.series.get(&series_of(rule, device));
                state.is_some_and(SeriesState::was_live)
            })
        };
        let known = self.clocks.remove(&device);
        let mut clock = known.unwrap_or_else(|| DeviceClock::of(was_live()));
        clock.hear(at, received_at);
        if !clock.is_right() {
            self.clocks.insert(device, clock);
        }
    }
}

fn series_of(rule: &Rule, device: DeviceId) -> SeriesId {
    SeriesId { rule: rule.id, device, key: rule.condition.key().cloned() }
}
