//! The engine from outside: against a naive model, across crashes, with real keys and a real log.

mod concurrency;
mod crash;
mod expire;
mod latest;
mod limits;
mod log;
mod model;
mod scrub;
mod secrecy;
mod support;
