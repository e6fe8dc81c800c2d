//! Rules, devices and batches for tests. Times are whole seconds after a fixed moment.

use std::sync::Arc;

use veritwin_alerting::{
    Condition, DeviceFacts, Evaluator, EvaluatorLimits, Operator, Rule, Scope, Severity,
    Transition, TransitionKind,
};
use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, RuleId, TenantId, Timestamp, Value,
};

pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
pub(crate) const RULE: RuleId = RuleId::from_bytes([2; 16]);

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

pub(crate) fn seconds_of(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000 - 1_700_000_000
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn rule(condition: Condition) -> Rule {
    Rule {
        id: RULE,
        name: "Supply too warm".into(),
        severity: Severity::High,
        enabled: true,
        scope: Scope::All,
        condition,
        notify_emails: vec!["ops@example.org".into()],
        what_helps: "Check the pump".into(),
        sees_closed: None,
        sees_closed_anywhere: false,
        sees_closed_twin: None,
    }
}

/// Above 10, back at 8.
pub(crate) fn above(for_seconds: u32) -> Condition {
    over(10.0, for_seconds)
}

/// Above a threshold, back 2 below it.
pub(crate) fn over(threshold: f64, for_seconds: u32) -> Condition {
    let operator = Operator::Greater;
    Condition::Threshold { key: key("t"), operator, threshold, hysteresis: 2.0, for_seconds }
}

pub(crate) fn silence(key: Option<Key>) -> Condition {
    Condition::NoData { key, after_seconds: 60 }
}

pub(crate) fn device(id: DeviceId) -> DeviceFacts {
    let (device_type, withheld) = ("chiller".into(), Arc::default());
    DeviceFacts { device: id, device_type, twin: None, since: at(0), withheld }
}

pub(crate) fn evaluator(condition: Condition) -> Evaluator {
    let mut evaluator = Evaluator::new(EvaluatorLimits::default());
    assert_eq!(evaluator.put_device(device(DEVICE), at(0)), Ok(Vec::new()));
    assert_eq!(evaluator.put_rule(rule(condition), at(0)), Ok(Vec::new()));
    evaluator
}

pub(crate) fn reading(name: &str, seconds: i64, value: f64) -> Reading {
    let value = Value::Double(value);
    Reading { key: key(name), at: at(seconds), value, quality: Quality::Good }
}

pub(crate) fn batch(received: i64, readings: Vec<Reading>) -> DeviceBatch {
    DeviceBatch {
        tenant: TenantId::from_bytes([3; 16]),
        device: DEVICE,
        credential: CredentialId::from_bytes([4; 16]),
        received_at: at(received),
        readings,
    }
}

/// The transitions of one reading of `t`, received when it was measured.
pub(crate) fn feed(
    evaluator: &mut Evaluator,
    position: u64,
    seconds: i64,
    value: f64,
) -> Vec<Transition> {
    evaluator.apply(position, &batch(seconds, vec![reading("t", seconds, value)]))
}

/// Kind, seconds and number of each transition.
pub(crate) fn short(transitions: &[Transition]) -> Vec<(char, i64, u64)> {
    let letter = |kind| if kind == TransitionKind::Raised { 'R' } else { 'C' };
    transitions.iter().map(|t| (letter(t.kind), seconds_of(t.at), t.id.number)).collect()
}
