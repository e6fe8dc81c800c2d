//! The guarded client and the clients of key services against real TLS servers on loopback: what
//! they take, and what they refuse.
#![allow(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod guard;
mod key_services;
mod moto;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod softhsm;
mod stand_in;
