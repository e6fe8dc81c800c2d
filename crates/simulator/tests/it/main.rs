//! The simulator's clients against a listener that speaks MQTT over TLS.
#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

mod broker;
mod devices;
mod replay;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod twin;
