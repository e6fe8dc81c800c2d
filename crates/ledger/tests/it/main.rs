//! Integration tests of the ledger over real files: appending and refusing, crashes, records, and
//! the tamper matrix against `veritwin-verify`.

mod crash;
mod engine;
mod fixture;
mod records;
mod tamper;
