//! Alerting, pure: rules and their validation, the evaluator that turns readings and ticks into
//! transitions, the states of an alert (ISA-18.2, IEC 62682), and the wording. It reads no clock,
//! stores nothing and sends nothing.

mod device_clock;
mod evaluator;
mod judge;
mod pending;
mod rule;
mod series;
mod snapshot;
mod state;
mod wire;
mod wording;

pub use device_clock::DeviceClock;
pub use evaluator::{DeviceFacts, Evaluator, EvaluatorError, EvaluatorLimits};
pub use judge::Present;
pub use pending::{Pending, SERIES_TRANSITIONS_MAX};
pub use rule::{Condition, Operator, Rule, RuleError, RuleLimits, Scope, Severity};
pub use series::{
    IdempotencyKey, LATE_AFTER_SECONDS, Reason, SeriesId, Transition, TransitionKind,
};
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError};
pub use state::{AlertEvent, AlertState, StateError};
pub use wire::{RULE_WIRE_VERSION, WireError};
pub use wording::{Message, Names, Phrase};
