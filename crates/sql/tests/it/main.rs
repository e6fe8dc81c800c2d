//! Tests of statements against readings in memory.

#[cfg(feature = "engine")]
mod sql;
