//! Integration tests of governance: the register as shipped, states, evidence and schedule.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod evidence;
mod fixture;
mod published;
mod purposes;
mod register;
mod schedule;
mod states;
mod streams;
