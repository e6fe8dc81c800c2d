//! The access crate from outside: the role and action matrix, isolation, decision speed.

mod decisions;
mod matrix;
