//! The evaluator of one tenant: feeds committed batches and ticks to every watched series and
//! hands out transitions in a fixed order. Batches at or before the last one are ignored, so a
//! replay never doubles.
//!
//! Store the snapshot together with the transitions, at least whenever there are any: readings
//! come again out of the log, ticks do not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use veritwin_domain::{DeviceBatch, DeviceId, Key, Quality, Reading, RuleId, SiteId, Timestamp};

use crate::rule::{Condition, Rule, RuleError, RuleLimits, Scope};
use crate::series::{Reason, Sample, SeriesId, SeriesState, Transition};

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
}

impl Default for EvaluatorLimits {
    fn default() -> Self {
        Self {
            rule: RuleLimits::default(),
            rules_max: 1_000,
            devices_max: 100_000,
            series_max: 200_000,
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
    limits: EvaluatorLimits,
    rules: BTreeMap<RuleId, Rule>,
    devices: BTreeMap<DeviceId, DeviceFacts>,
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

    /// Adds or replaces a rule. Active alerts of a rule that changed what it watches, or that is
    /// off, are cleared; a new name, severity, address or advice leaves them alone.
    pub fn put_rule(
        &mut self,
        rule: Rule,
        now: Timestamp,
    ) -> Result<Vec<Transition>, EvaluatorError> {
        rule.validate(&self.limits.rule)?;
        let known = self.rules.get(&rule.id);
        if known.is_none() && self.rules.len() == self.limits.rules_max {
            let max = self.limits.rules_max;
            return Err(EvaluatorError::Limit { name: "rules_max", max });
        }
        let watches_the_same = known.is_some_and(|known| {
            (known.enabled, &known.condition) == (rule.enabled, &rule.condition)
        });
        let is_restored = known.is_none() && rule.enabled;
        let (id, condition) = (rule.id, rule.condition.clone());
        self.rules.insert(id, rule);
        self.covering.clear();
        self.coverage_changed = true;
        // A rule that comes from the store after a restart finds its restored series as they are.
        if is_restored || watches_the_same {
            return Ok(self.close_uncovered(id, now));
        }
        let mut transitions = Vec::new();
        for (series, state) in self.series.range_mut(first_of(id)..) {
            if series.rule != id {
                break;
            }
            transitions.extend(state.close(series, Reason::RuleChanged, now));
            state.reset(&condition, now);
        }
        Ok(transitions)
    }

    /// Removes a rule; its active alerts are cleared and its series forgotten.
    pub fn remove_rule(&mut self, id: RuleId, now: Timestamp) -> Vec<Transition> {
        self.rules.remove(&id);
        self.covering.clear();
        self.coverage_changed = true;
        self.forget(Reason::RuleChanged, now, |series| series.rule == id)
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
        let known = self.devices.insert(id, facts);
        self.covering.remove(&id);
        self.coverage_changed = true;
        let mut transitions = Vec::new();
        if known.is_some() {
            for rule in self.rules.keys().copied().collect::<Vec<_>>() {
                transitions.extend(self.close_uncovered(rule, now));
            }
        }
        Ok(transitions)
    }

    /// Removes a device; its active alerts are cleared and its series forgotten.
    pub fn remove_device(&mut self, id: DeviceId, now: Timestamp) -> Vec<Transition> {
        self.devices.remove(&id);
        self.covering.remove(&id);
        self.coverage_changed = true;
        self.forget(Reason::DeviceRemoved, now, |series| series.device == id)
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
        for rule in self.rules_covering(batch.device) {
            let Some(condition) = self.rules.get(&rule).map(|rule| rule.condition.clone()) else {
                continue;
            };
            let id = |key: Option<Key>| SeriesId { rule, device: batch.device, key };
            match &condition {
                Condition::NoData { key, .. } => {
                    let arrived = |reading: &Reading| {
                        key.as_ref().is_none_or(|wanted| *wanted == reading.key)
                    };
                    let arrived = batch.readings.iter().filter(|reading| arrived(reading));
                    if let Some(newest_at) = arrived.map(|reading| reading.at).max() {
                        let id = id(key.clone());
                        let state = self.state_of(&id);
                        transitions
                            .extend(state.and_then(|state| {
                                state.arrival(&id, newest_at, batch.received_at)
                            }));
                    }
                }
                Condition::Threshold { key, .. } => {
                    let id = id(Some(key.clone()));
                    for sample in samples(batch, key) {
                        let state = self.state_of(&id);
                        transitions
                            .extend(state.and_then(|state| state.value(&id, &condition, sample)));
                    }
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
                transitions.extend(state.tick(id, &rule.condition, now));
            }
        }
        transitions
    }

    /// The platform itself was away until `at`: silence counts from here, since nobody could
    /// have been heard before.
    pub fn resume(&mut self, at: Timestamp) {
        for device in self.devices.values_mut() {
            device.since = device.since.max(at);
        }
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
    fn state_of(&mut self, id: &SeriesId) -> Option<&mut SeriesState> {
        if !self.series.contains_key(id) {
            if self.series.len() >= self.limits.series_max {
                if self.unwatched.len() < self.limits.series_max {
                    self.unwatched.insert(id.clone());
                }
                return None;
            }
            let since = self.devices.get(&id.device).map_or(Timestamp::EPOCH, |facts| facts.since);
            self.series.insert(id.clone(), SeriesState::new(since));
        }
        self.series.get_mut(id)
    }

    fn rules_covering(&mut self, device: DeviceId) -> Vec<RuleId> {
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

    /// Clears alerts of devices that `rule` no longer covers.
    fn close_uncovered(&mut self, id: RuleId, now: Timestamp) -> Vec<Transition> {
        let Some(rule) = self.rules.get(&id) else { return Vec::new() };
        let mut transitions = Vec::new();
        for (series, state) in self.series.range_mut(first_of(id)..) {
            if series.rule != id {
                break;
            }
            let facts = self.devices.get(&series.device);
            // A device that is not known yet may still be on its way in after a restart.
            if facts.is_some_and(|facts| !covers(rule, facts)) {
                transitions.extend(state.close(series, Reason::RuleChanged, now));
                state.reset(&rule.condition, now);
            }
        }
        transitions
    }

    fn forget(
        &mut self,
        reason: Reason,
        now: Timestamp,
        gone: impl Fn(&SeriesId) -> bool,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        self.series.retain(|id, state| {
            if gone(id) {
                transitions.extend(state.close(id, reason, now));
                return false;
            }
            true
        });
        self.unwatched.retain(|id| !gone(id));
        transitions
    }
}

/// A bound that sorts before or at the first series of a rule.
fn first_of(rule: RuleId) -> SeriesId {
    SeriesId { rule, device: DeviceId::from_bytes([0; 16]), key: None }
}

fn covers(rule: &Rule, device: &DeviceFacts) -> bool {
    match &rule.scope {
        Scope::All => true,
        Scope::Device(id) => *id == device.device,
        Scope::DeviceType(device_type) => *device_type == device.device_type,
        Scope::Twin(twin) => device.twin == Some(*twin),
    }
}

/// Readings of `key` that a threshold can judge. Bad quality and text are no measure of anything.
fn samples<'b>(batch: &'b DeviceBatch, key: &'b Key) -> impl Iterator<Item = Sample> + 'b {
    let usable = |reading: &&Reading| reading.key == *key && reading.quality != Quality::Bad;
    batch.readings.iter().filter(usable).filter_map(|reading| {
        Some(Sample {
            at: reading.at,
            received_at: batch.received_at,
            value: reading.value.as_f64()?,
            quality: reading.quality,
        })
    })
}
