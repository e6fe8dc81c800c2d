//! A test that cannot run here says so, and is not counted as passed: `cargo xtask test` reads
//! what was said. The integration tests of other crates share this file.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes that the test on this thread did not run, and why. The note is a line of the file that
/// `VERITWIN_TEST_SKIPPED` names.
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
    let Some(file) = std::env::var_os("VERITWIN_TEST_SKIPPED") else { return };
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    let written = OpenOptions::new().append(true).create(true).open(file);
    written
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the list of skipped tests");
}
