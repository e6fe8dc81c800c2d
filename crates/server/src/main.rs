//! The veritwin binary.
fn main() {}
