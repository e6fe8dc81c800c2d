//! Integration tests: our hashing, proofs, paths and notes against `tlog_tiles` and `signed_note`,
//! two implementations that are not ours.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod hostile;
mod oracle;
mod policy;
