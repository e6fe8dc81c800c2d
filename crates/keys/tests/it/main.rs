//! Tests of the keys crate against real files. Keys come from seeded randomness, so that every
//! failure repeats.

#![expect(clippy::unwrap_used, reason = "a step that fails is to end its test")]

mod customers;
mod keyring;
mod lifecycle;
mod root;
mod sealing;
mod support;
