//! The engine from outside: against a naive model, across crashes, with real keys and a real log.
#![allow(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod concurrency;
mod crash;
mod destroy;
mod epochs;
mod expire;
mod golden;
mod latest;
mod limits;
mod log;
mod model;
mod months;
mod moto;
mod moto_server;
mod queries;
mod queries_model;
mod scrub;
mod secrecy;
mod simulation;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod support;
mod tenants;
