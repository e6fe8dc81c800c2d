//! Tests of the log against real files and real keys: crashes, damage, back-pressure, consumers.

#![expect(clippy::unwrap_used, reason = "a step that fails is to end its test")]

mod append;
mod consume;
mod crash;
mod failure;
mod golden;
mod recovery;
mod ship;
mod support;
mod thin;
