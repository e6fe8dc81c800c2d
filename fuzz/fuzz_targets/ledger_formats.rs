//! Calls `veritwin_verify::fuzzing::ledger_formats`, where it is said what has to hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| veritwin_verify::fuzzing::ledger_formats(data));
