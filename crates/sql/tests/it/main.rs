//! Tests of statements against readings in memory.

mod sql;
