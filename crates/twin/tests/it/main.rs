//! Integration tests of the twin: real buildings where they are at hand, small files written here
//! for everything else.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod building;
mod graph;
mod ifc_refusals;
mod ifc_shapes;
mod inventory;
mod shared_data;
mod skipped;
