//! Calls `veritwin_twin::fuzzing::inventory`, where it is said what has to hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| veritwin_twin::fuzzing::inventory(data));
