//! Runs of ASCII letters and digits in a text: what may be a number, or a part of one.

/// Where the run that begins at `start` ends; `start` itself where none begins.
pub(super) fn run_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    start + rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len())
}

/// Where each run begins and ends.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(u8::is_ascii_alphanumeric)?;
        at = run_end(bytes, start);
        Some((start, at))
    })
}
