//! Integration tests: our hashing, proofs, paths and notes against `tlog_tiles` and `signed_note`,
//! two implementations that are not ours.

mod oracle;
mod policy;
