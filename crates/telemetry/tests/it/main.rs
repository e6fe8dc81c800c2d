//! The engine from outside: against a naive model, across crashes, with real keys and a real log.

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
mod queries;
mod queries_model;
mod scrub;
mod secrecy;
mod simulation;
mod support;
mod tenants;
