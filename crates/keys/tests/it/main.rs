//! Tests of the keys crate against real files. Keys come from seeded randomness, so that every
//! failure repeats.

mod keyring;
mod lifecycle;
mod root;
mod sealing;
mod support;
