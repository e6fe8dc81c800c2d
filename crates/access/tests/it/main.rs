//! The access crate from outside: the role and action matrix, isolation, decision speed.
#![allow(clippy::print_stdout, reason = "figures are shown with --nocapture")]

mod decisions;
mod matrix;
