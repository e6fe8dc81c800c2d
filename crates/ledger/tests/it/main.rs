//! Integration tests of the ledger over real files and buckets: appending and refusing, crashes,
//! records, runs from a seed, and the tamper matrix against `veritwin-verify`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bucket;
mod crash;
mod engine;
mod fixture;
mod measure;
mod records;
mod simulation;
mod tamper;
mod tamper_matrix;
mod tamper_others;
