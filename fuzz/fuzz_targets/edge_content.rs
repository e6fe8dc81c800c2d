//! Calls `veritwin_ingest::fuzzing::edge_content`, where it is said what has to hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| veritwin_ingest::fuzzing::edge_content(data));
