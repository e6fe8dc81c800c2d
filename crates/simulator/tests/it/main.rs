//! The simulator's clients against a listener that speaks MQTT over TLS.

mod broker;
mod devices;
mod replay;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod twin;
