//! Integration tests of alerting: rules, the evaluator by example and by property, the states,
//! the wording.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod bounded;
mod clocks;
mod evaluator;
mod fixture;
mod present;
mod properties;
mod rules;
mod states;
mod wording;
