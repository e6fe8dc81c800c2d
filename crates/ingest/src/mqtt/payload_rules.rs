//! Looks for what must not be kept in a payload of unknown form: JSON by names and texts, also
//! several values in a row or one a line; other text as a whole; in other bytes what reads as text.

use serde::de::IgnoredAny;
use veritwin_domain::{JsonOptions, LimitExceeded, Rule, Screening};

/// Shorter runs of text between other bytes hold no number that is looked for.
const RUN_BYTES_MIN: usize = 6;

/// What a look at a text as JSON says.
enum Json {
    /// It is none, or not all of it.
    No,
    Free,
    Breaks(Rule),
}

/// The rule that a payload breaks. Numbers in JSON are measured values, as in readings. `Err` where
/// JSON nests deeper than it can be looked into.
pub(super) fn broken(screening: Screening, payload: &[u8]) -> Result<Option<Rule>, LimitExceeded> {
    if let Ok(text) = std::str::from_utf8(payload) {
        return of_text(screening, text);
    }
    let is_printable = |byte: &u8| (b' '..=b'~').contains(byte);
    for run in payload.split(|byte| !is_printable(byte)) {
        if run.len() < RUN_BYTES_MIN {
            continue;
        }
        let Ok(text) = std::str::from_utf8(run) else { continue };
        let rule = of_text(screening, text)?;
        if rule.is_some() {
            return Ok(rule);
        }
    }
    Ok(None)
}

fn of_text(screening: Screening, text: &str) -> Result<Option<Rule>, LimitExceeded> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match of_json(screening, text)? {
        Json::Free => return Ok(None),
        Json::Breaks(rule) => return Ok(Some(rule)),
        Json::No => {}
    }
    // Lines that are no JSON are one text as far as they follow one another.
    let (mut plain_from, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        match of_json(screening, line)? {
            Json::No => {}
            Json::Free => {
                let before = text.get(plain_from..at).unwrap_or_default();
                if let Some(rule) = screening.text(None, before) {
                    return Ok(Some(rule));
                }
                plain_from = end;
            }
            Json::Breaks(rule) => return Ok(Some(rule)),
        }
        at = end;
    }
    Ok(screening.text(None, text.get(plain_from..).unwrap_or_default()))
}

/// Looks at a text that is one JSON value or several in a row.
fn of_json(screening: Screening, text: &str) -> Result<Json, LimitExceeded> {
    let begins = |text: &str| text.trim_start().starts_with(['{', '[', '"']);
    if !begins(text) {
        return Ok(Json::No);
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut from = 0;
    while let Some(value) = values.next() {
        let end = values.byte_offset();
        let value_text = text.get(from..end).unwrap_or_default();
        if value.is_err() || !begins(value_text) {
            return Ok(Json::No);
        }
        if let Some(found) = screening.json(value_text, None, JsonOptions::default())? {
            return Ok(Json::Breaks(found.rule));
        }
        from = end;
    }
    Ok(Json::Free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_every_form_are_looked_into() {
        let check = |payload: &[u8], expect: bool| {
            let found = broken(Screening::ALL, payload).expect("within the bound");
            assert_eq!(found.is_some(), expect, "{}", String::from_utf8_lossy(payload));
        };
        check(b"hello", false);
        check(b"4111 1111 1111 1111", true);
        check(b"{4111111111111111", true);
        check(b"{\"religion\":1}", true);
        check(b"\xef\xbb\xbf{\"religion\":1}", true);
        check(b"\xef\xbb\xbf {\"count\":4111111111111111}", false);
        // A text at the root, with its digits escaped.
        check(b"\"\\u0034111111111111111\"", true);
        // One value a line, or in a row; numbers are measured values in all of them.
        check(b"{\"a\":1}\n{\"religion\":1}\n", true);
        check(b"{\"count\":4111111111111111}\n{\"b\":2}\r\n", false);
        check(b"{\"a\":1}{\"pan\":\"4111111111111111\"}", true);
        check(b"{\"a\":1} 4111111111111111", true);
        check(b"# log\n{\"religion\":1}\n", true);
        check(b"# log\n{\"count\":4111111111111111}\nend", false);
        check(b"4111 1111 1111 1111\n{\"a\":1}\n", true);
        check(b"{\"a\":1}\n4111 1111 1111 1111", true);
        // Between bytes that are no text.
        check(b"\xff\x004111111111111111", true);
        check(b"\xff\x02{\"religion\":1}\x03", true);
        check(b"\xffhello\xffthere 1\xff", false);
    }

    #[test]
    fn nesting_over_the_bound_is_an_error() {
        for around in [&b""[..], b"\xff\x00", b"text\n"] {
            let deep = [around, &b"[".repeat(200), &b"]".repeat(200)].concat();
            let limit = broken(Screening::ALL, &deep).expect_err("too deep");
            assert_eq!(limit.name, "json_nesting_max");
        }
    }

    #[test]
    fn a_payload_is_looked_into_in_linear_time() {
        // Each line would be the start of a value that goes on to the end.
        let payload = b"[\n".repeat(500_000);
        assert_eq!(broken(Screening::ALL, &payload), Ok(None));
    }
}
