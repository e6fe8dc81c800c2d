//! Integration tests of the ledger over real files and buckets: appending and refusing, crashes,
//! records, runs from a seed, and the tamper matrix against `veritwin-verify`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "a test that cannot run here says so")]

mod bucket;
mod crash;
mod engine;
mod fixture;
mod measure;
mod moto;
mod records;
mod simulation;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod tamper;
mod tamper_matrix;
mod tamper_others;
