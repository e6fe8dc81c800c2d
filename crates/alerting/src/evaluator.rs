//! The evaluator of one tenant: feeds committed batches and ticks to every watched series and
//! hands out transitions in a fixed order. Batches at or before the last one are ignored, so a
//! replay never doubles.
//!
//! Store the snapshot together with the transitions, at least whenever there are any: readings
//! come again out of the log, ticks do not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{DeviceBatch, DeviceId, Key, Quality, Reading, RuleId, SiteId, Timestamp};

use crate::device_clock::{DeviceClock, is_untrue, shifted};
use crate::judge::Judged;
use crate::pending::Pending;
use crate::rule::{Condition, Rule, RuleError, RuleLimits};
use crate::series::{Reason, Sample, SeriesId, SeriesState, Tick, Transition};

/// Upper bounds of one evaluator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluatorLimits {
    /// Bounds of each rule.
    pub rule: RuleLimits,
    /// Most rules.
    pub rules_max: usize,
    /// Most devices.
    pub devices_max: usize,
    /// Most watched series; further ones are not watched, and counted.
    pub series_max: usize,
    /// A reading that is further ahead of its receipt raises nothing until its device is known to
    /// go on like that. For a silence it counts like any other.
    pub ahead_seconds_max: u32,
}

impl Default for EvaluatorLimits {
    fn default() -> Self {
        Self {
            rule: RuleLimits::default(),
            rules_max: 1_000,
            devices_max: 100_000,
            series_max: 200_000,
            ahead_seconds_max: 300,
        }
    }
}

/// What the evaluator has to know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The device.
    pub device: DeviceId,
    /// Its type; empty when it has none.
    pub device_type: String,
    /// The twin it is bound to.
    pub twin: Option<SiteId>,
    /// From when on its silence counts: when it was created, or later.
    pub since: Timestamp,
    /// Rules that may not watch it, whatever their scope.
    pub withheld: Arc<BTreeSet<RuleId>>,
}

/// Why a rule or device is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluatorError {
    /// The rule itself is wrong.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A bound was passed.
    #[error("limit {name} exceeded: at most {max}")]
    Limit {
        /// The bound's name, as in [`EvaluatorLimits`].
        name: &'static str,
        /// The bound.
        max: usize,
    },
}

/// Evaluates the rules of one tenant.
#[derive(Debug)]
pub struct Evaluator {
    pub(crate) limits: EvaluatorLimits,
    pub(crate) rules: BTreeMap<RuleId, Rule>,
    pub(crate) devices: BTreeMap<DeviceId, DeviceFacts>,
    /// What the series of each enabled rule were judged by, also before a restart.
    pub(crate) judged: BTreeMap<RuleId, Judged>,
    /// The state was stored by a version that did not say what its series were judged by.
    pub(crate) is_judged_unknown: bool,
    /// Clocks of devices that seem wrong.
    pub(crate) clocks: BTreeMap<DeviceId, DeviceClock>,
    pub(crate) unjudged_rules: BTreeSet<RuleId>,
    pub(crate) unjudged_devices: BTreeSet<DeviceId>,
    pub(crate) unjudged_pairs: BTreeSet<(RuleId, DeviceId)>,
    /// The platform itself was away until then.
    resumed_at: Timestamp,
    /// Enabled rules that cover a device; made when first asked for, dropped when anything
    /// changes.
    covering: HashMap<DeviceId, Vec<RuleId>>,
    pub(crate) series: BTreeMap<SeriesId, SeriesState>,
    pub(crate) position: Option<u64>,
    pub(crate) ticked_at: Timestamp,
    /// Rules or devices changed since the series of silent devices were last completed.
    coverage_changed: bool,
    unwatched: BTreeSet<SeriesId>,
}

impl Evaluator {
    /// An evaluator without rules and devices.
    pub fn new(limits: EvaluatorLimits) -> Self {
        Self {
            limits,
            rules: BTreeMap::new(),
            devices: BTreeMap::new(),
            judged: BTreeMap::new(),
            is_judged_unknown: false,
            clocks: BTreeMap::new(),
            unjudged_rules: BTreeSet::new(),
            unjudged_devices: BTreeSet::new(),
            unjudged_pairs: BTreeSet::new(),
            resumed_at: Timestamp::EPOCH,
            covering: HashMap::new(),
            series: BTreeMap::new(),
            position: None,
            ticked_at: Timestamp::MIN,
            coverage_changed: true,
            unwatched: BTreeSet::new(),
        }
    }

    /// Position of the last batch that was applied; none before the first. Replay from the next.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// Series that are not watched since the bound is reached, as far as they were counted.
    pub fn unwatched_count(&self) -> usize {
        self.unwatched.len()
    }

    /// Series with a state, also of rules and devices that were not put in since a restart.
    pub fn watched(&self) -> impl Iterator<Item = &SeriesId> {
        self.series.keys()
    }

    /// Adds or replaces a rule. What is known of its series is judged by what it has become: an
    /// alert whose condition still holds goes on, any other is cleared, and so is every alert of
    /// a rule that is off. What is not known here is asked for by [`Evaluator::take_unjudged`].
    pub fn put_rule(
        &mut self,
        rule: Rule,
        now: Timestamp,
    ) -> Result<Vec<Transition>, EvaluatorError> {
        rule.validate(&self.limits.rule)?;
        let is_known = self.rules.contains_key(&rule.id);
        if !is_known && self.rules.len() == self.limits.rules_max {
            let max = self.limits.rules_max;
            return Err(EvaluatorError::Limit { name: "rules_max", max });
        }
        let (id, judged) = (rule.id, Judged::by(&rule));
        let before = if rule.enabled {
            self.judged.insert(id, judged.clone())
        } else {
            self.judged.remove(&id)
        };
        // Its series come out of a store that does not say what they were judged by.
        let is_taken_over = self.is_judged_unknown && !is_known && self.has_series(id);
        let before = before.or_else(|| is_taken_over.then(|| judged.clone()));
        let is_as_it_was = rule.enabled && before.as_ref() == Some(&judged);
        self.rules.insert(id, rule);
        self.covering.clear();
        self.coverage_changed = true;
        let of = |series: &SeriesId| series.rule == id;
        let mut transitions = self.close_uncovered(id, now, (first_of(id), of));
        if !is_as_it_was {
            transitions.extend(self.rejudge(id, before.as_ref(), now));
        }
        Ok(transitions)
    }

    fn has_series(&self, rule: RuleId) -> bool {
        self.series.range(first_of(rule)..).next().is_some_and(|(series, _)| series.rule == rule)
    }

    /// Removes a rule; its active alerts are cleared and its series forgotten.
    pub fn remove_rule(&mut self, id: RuleId, now: Timestamp) -> Vec<Transition> {
        self.rules.remove(&id);
        self.judged.remove(&id);
        self.covering.clear();
        self.coverage_changed = true;
        self.forget(Reason::RuleChanged, now, (first_of(id), |series: &SeriesId| series.rule == id))
    }

    /// Adds or replaces a device. Alerts of rules that no longer cover it are cleared.
    pub fn put_device(
        &mut self,
        facts: DeviceFacts,
        now: Timestamp,
    ) -> Result<Vec<Transition>, EvaluatorError> {
        let id = facts.device;
        if !self.devices.contains_key(&id) && self.devices.len() == self.limits.devices_max {
            let max = self.limits.devices_max;
            return Err(EvaluatorError::Limit { name: "devices_max", max });
        }
        let place = (facts.device_type.clone(), facts.twin);
        let withheld = Arc::clone(&facts.withheld);
        let known = self.devices.insert(id, facts);
        self.covering.remove(&id);
        self.coverage_changed = true;
        let Some(known) = known else { return Ok(Vec::new()) };
        let has_moved = (known.device_type, known.twin) != place;
        if has_moved {
            self.unjudged_devices.insert(id);
        } else {
            let room = self.limits.series_max.saturating_sub(self.unjudged_pairs.len());
            let shown = known.withheld.difference(&withheld).take(room);
            self.unjudged_pairs.extend(shown.map(|rule| (*rule, id)));
        }
        if !has_moved && known.withheld == withheld {
            return Ok(Vec::new());
        }
        let changed: Vec<RuleId> = if has_moved {
            self.rules.keys().copied().collect()
        } else {
            withheld.difference(&known.withheld).copied().collect()
        };
        let mut transitions = Vec::new();
        for rule in changed {
            let first = SeriesId { rule, device: id, key: None };
            let of = |series: &SeriesId| series.rule == rule && series.device == id;
            transitions.extend(self.close_uncovered(rule, now, (first, of)));
        }
        Ok(transitions)
    }

    /// Removes a device; its active alerts are cleared and its series forgotten.
    pub fn remove_device(&mut self, id: DeviceId, now: Timestamp) -> Vec<Transition> {
        self.devices.remove(&id);
        self.clocks.remove(&id);
        self.covering.remove(&id);
        self.coverage_changed = true;
        let mut transitions = Vec::new();
        for rule in self.rules_of_series() {
            let first = SeriesId { rule, device: id, key: None };
            let of = |series: &SeriesId| series.rule == rule && series.device == id;
            transitions.extend(self.forget(Reason::DeviceRemoved, now, (first, of)));
        }
        transitions
    }

    /// Applies one committed batch of a known device. A batch at or before the last position
    /// changes nothing; readings of an unknown device move the position only.
    pub fn apply(&mut self, position: u64, batch: &DeviceBatch) -> Vec<Transition> {
        if self.position.is_some_and(|last| position <= last) {
            return Vec::new();
        }
        self.position = Some(position);
        let mut transitions = Vec::new();
        if !self.devices.contains_key(&batch.device) {
            return transitions;
        }
        let rules = self.rules_covering(batch.device);
        let newest_at = batch.readings.iter().map(|reading| reading.at).max();
        let Some(newest_at) = newest_at.filter(|_| !rules.is_empty()) else { return transitions };
        self.hear_clock((batch.device, &rules), newest_at, batch.received_at);
        let shift = self.shift_micros(batch.device, newest_at, batch.received_at);
        let ahead = Duration::from_secs(self.limits.ahead_seconds_max.into());
        for rule in rules {
            let Some(condition) = self.rules.get(&rule).map(|rule| rule.condition.clone()) else {
                continue;
            };
            let id = SeriesId { rule, device: batch.device, key: condition.key().cloned() };
            match &condition {
                Condition::NoData { key, .. } => {
                    let arrived = |reading: &&Reading| {
                        key.as_ref().is_none_or(|wanted| *wanted == reading.key)
                    };
                    let arrived = batch.readings.iter().filter(arrived);
                    let Some(at) = arrived.map(|reading| reading.at).max() else { continue };
                    let at = shifted(at, shift).min(batch.received_at);
                    let state = self.state_of(&id);
                    let made = state.and_then(|state| state.arrival(&id, at, batch.received_at));
                    transitions.extend(made);
                }
                Condition::Threshold { key, .. } => {
                    let end = batch.received_at.saturating_add(ahead);
                    let mut made = Pending::default();
                    for sample in in_order(batch, key, shift, end) {
                        let Some(state) = self.state_of(&id) else { break };
                        made.extend(state.retell(&id, &condition, &sample));
                        made.extend(state.value(&id, &condition, sample));
                    }
                    transitions.extend(made.into_vec());
                }
            }
        }
        transitions
    }

    /// Moves the position over log entries that hold no readings of this tenant.
    pub fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(Some(position));
    }

    /// Time is `now`: silences and pending values may have become long enough. A tick that goes
    /// back in time changes nothing.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Transition> {
        if now <= self.ticked_at {
            return Vec::new();
        }
        let tick = Tick { last: self.ticked_at, now };
        self.ticked_at = now;
        if std::mem::take(&mut self.coverage_changed) {
            self.watch_silences();
        }
        let mut transitions = Vec::new();
        for (id, state) in &mut self.series {
            let rule = self.rules.get(&id.rule).filter(|rule| rule.enabled);
            let device = self.devices.get(&id.device);
            let (Some(rule), Some(device)) = (rule, device) else { continue };
            if covers(rule, device) && rule.condition.key() == id.key.as_ref() {
                transitions.extend(state.tick(id, &rule.condition, tick));
            }
        }
        transitions
    }

    /// The platform itself was away until `at`: silence counts from here, since nobody could
    /// have been heard before.
    pub fn resume(&mut self, at: Timestamp) {
        self.resumed_at = self.resumed_at.max(at);
        for (id, state) in &mut self.series {
            let rule = self.rules.get(&id.rule);
            if rule.is_none_or(|rule| matches!(rule.condition, Condition::NoData { .. })) {
                state.last_received_at = state.last_received_at.max(at);
            }
        }
    }

    /// Makes sure that every device under a rule for silence has a series: one that never sent
    /// anything is silent too.
    fn watch_silences(&mut self) {
        let wanted: Vec<SeriesId> = self
            .rules
            .values()
            .filter(|rule| rule.enabled)
            .filter_map(|rule| match &rule.condition {
                Condition::NoData { key, .. } => Some((rule, key)),
                Condition::Threshold { .. } => None,
            })
            .flat_map(|(rule, key)| {
                let covered = self.devices.values().filter(|device| covers(rule, device));
                covered.map(|device| SeriesId {
                    rule: rule.id,
                    device: device.device,
                    key: key.clone(),
                })
            })
            .filter(|id| !self.series.contains_key(id))
            .collect();
        for id in wanted {
            self.state_of(&id);
        }
    }

    /// The state of a series, made when it is new; none past the bound.
    pub(crate) fn state_of(&mut self, id: &SeriesId) -> Option<&mut SeriesState> {
        if !self.series.contains_key(id) {
            if self.series.len() >= self.limits.series_max {
                if self.unwatched.len() < self.limits.series_max {
                    self.unwatched.insert(id.clone());
                }
                return None;
            }
            let since = self.devices.get(&id.device).map_or(Timestamp::EPOCH, |facts| facts.since);
            self.series.insert(id.clone(), SeriesState::new(since.max(self.resumed_at)));
        }
        self.series.get_mut(id)
    }

    pub(crate) fn rules_covering(&mut self, device: DeviceId) -> Vec<RuleId> {
        if let Some(known) = self.covering.get(&device) {
            return known.clone();
        }
        let Some(facts) = self.devices.get(&device) else { return Vec::new() };
        let covering: Vec<RuleId> = self
            .rules
            .values()
            .filter(|rule| rule.enabled && covers(rule, facts))
            .map(|rule| rule.id)
            .collect();
        self.covering.insert(device, covering.clone());
        covering
    }

    /// Clears alerts of devices that a rule no longer covers, from `first` on for as long as the
    /// series are `of` what changed.
    fn close_uncovered(
        &mut self,
        id: RuleId,
        now: Timestamp,
        (first, of): (SeriesId, impl Fn(&SeriesId) -> bool),
    ) -> Vec<Transition> {
        let Some(rule) = self.rules.get(&id) else { return Vec::new() };
        let mut transitions = Vec::new();
        for (series, state) in self.series.range_mut(first..) {
            if !of(series) {
                break;
            }
            let facts = self.devices.get(&series.device);
            // A device that is not known yet may still be on its way in after a restart.
            if facts.is_some_and(|facts| !covers(rule, facts)) {
                transitions.extend(state.close(series, Reason::RuleChanged, now));
                state.reset(&rule.condition, facts.map_or(now, |facts| facts.since));
            }
        }
        transitions
    }

    /// Forgets the series from `first` on for as long as they are `of` what is gone.
    fn forget(
        &mut self,
        reason: Reason,
        now: Timestamp,
        (first, of): (SeriesId, impl Fn(&SeriesId) -> bool),
    ) -> Vec<Transition> {
        let known = self.series.range(first.clone()..).map(|(id, _)| id);
        let gone: Vec<SeriesId> = known.take_while(|id| of(id)).cloned().collect();
        let mut transitions = Vec::new();
        for id in &gone {
            if let Some(mut state) = self.series.remove(id) {
                transitions.extend(state.close(id, reason, now));
            }
        }
        let unwatched = self.unwatched.range(first..).take_while(|id| of(id));
        for id in unwatched.cloned().collect::<Vec<_>>() {
            self.unwatched.remove(&id);
        }
        transitions
    }

    /// The rules of all series, watched or not, without walking each series.
    fn rules_of_series(&self) -> BTreeSet<RuleId> {
        let mut rules = BTreeSet::new();
        let mut from = first_of(RuleId::from_bytes([0; 16]));
        loop {
            let watched = self.series.range(from.clone()..).next().map(|(id, _)| id);
            let unwatched = self.unwatched.range(from..).next();
            let Some(rule) = watched.into_iter().chain(unwatched).map(|id| id.rule).min() else {
                return rules;
            };
            rules.insert(rule);
            let after = u128::from_be_bytes(*rule.as_bytes()).checked_add(1);
            let Some(after) = after else { return rules };
            from = first_of(RuleId::from_bytes(after.to_be_bytes()));
        }
    }
}

/// A bound that sorts before or at the first series of a rule.
pub(crate) fn first_of(rule: RuleId) -> SeriesId {
    SeriesId { rule, device: DeviceId::from_bytes([0; 16]), key: None }
}

pub(crate) fn covers(rule: &Rule, device: &DeviceFacts) -> bool {
    !device.withheld.contains(&rule.id)
        && rule.scope.covers(device.device, &device.device_type, device.twin)
}

/// Readings of `key` that a threshold can judge, their times put right. Bad quality and text are no
/// measure of anything, and a time that cannot be true says nothing of what was before it.
fn samples<'b>(
    batch: &'b DeviceBatch,
    key: &'b Key,
    shift: i64,
) -> impl Iterator<Item = Sample> + 'b {
    let usable = |reading: &&Reading| reading.key == *key && reading.quality != Quality::Bad;
    let received_at = batch.received_at;
    let samples = batch.readings.iter().filter(usable).filter_map(move |reading| {
        let at = shifted(reading.at, shift);
        Some(Sample { at, received_at, value: reading.value.as_f64()?, quality: reading.quality })
    });
    samples.filter(move |sample| !is_untrue(sample.at, received_at))
}

/// The samples of a batch, with what is ahead of its receipt as of then, the newest of it: a clock
/// that is fast, or jumped once, must not make what is right look old.
fn in_order<'b>(
    batch: &'b DeviceBatch,
    key: &'b Key,
    shift: i64,
    end: Timestamp,
) -> impl Iterator<Item = Sample> + 'b {
    let received_at = batch.received_at;
    let measured = samples(batch, key, shift).filter(move |sample| sample.at <= received_at);
    let ahead = samples(batch, key, shift)
        .filter(move |sample| sample.at > received_at && sample.at <= end);
    let newest = ahead.max_by_key(|sample| sample.at);
    measured.chain(newest.map(|sample| Sample { at: received_at, ..sample }))
}
