//! The same rules inside a JSON text: names of members, texts, and integers where they may be
//! written numbers. What is found is named by its place.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use super::named::Named;
use super::{JsonOptions, Rule, Screening, is_free};
use crate::LimitExceeded;

/// Deepest nesting that is looked into. What is deeper is refused: a parser may step over it where
/// it asks for nothing (serde_json's own bound of 128 does not hold inside unknown members).
const NESTING_MAX: usize = 128;
/// That bound's name in refusals.
const NESTING_NAME: &str = "json_nesting_max";

/// What of the text broke a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonPart {
    /// The name of a member.
    Name,
    /// A text or number.
    Value,
}

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFound {
    /// The rule.
    pub rule: Rule,
    /// What broke it.
    pub part: JsonPart,
    /// A JSON Pointer (RFC 6901) to the value; to the object around it when a name is refused.
    pub pointer: String,
    /// The same by count, with no name in it: `member 2, item 1`. Empty for the whole text.
    pub path: String,
}

/// An object or array that is open.
struct Open<'a> {
    is_object: bool,
    /// Its member or item that is being read, from 1.
    count: usize,
    /// That member's name.
    name: Option<Named<'a>>,
}

struct Walk<'a> {
    screening: Screening,
    text: &'a str,
    key: Option<Named<'a>>,
    options: JsonOptions<'a>,
    open: Vec<Open<'a>>,
    /// Whether the text of the member that is being read is not looked at.
    passes: bool,
}

pub(super) fn find(
    screening: Screening,
    text: &str,
    key: Option<&str>,
    options: JsonOptions<'_>,
) -> Result<Option<JsonFound>, LimitExceeded> {
    if screening.is_none() {
        return Ok(None);
    }
    let key = key.map(|key| Named::new(key.into()));
    let mut walk = Walk { screening, text, key, options, open: Vec::new(), passes: false };
    walk.run()
}

/// Where a string that begins after its quote at `from` has its closing quote.
fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The text of a string as it is written (RFC 8259, section 7).
fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut chars = rest.chars();
        let plain = match chars.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (c, length) = unicode(&rest[1..]);
                out.push(c);
                rest = rest.get(1 + length..).unwrap_or_default();
                continue;
            }
            Some(c) => c,
            None => break,
        };
        out.push(plain);
        rest = chars.as_str();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of `XXXX` or of a pair `XXXX\uXXXX`, and how long that is.
fn unicode(rest: &str) -> (char, usize) {
    let unit =
        |from: usize| rest.get(from..from + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let Some(high) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if let Some(c) = char::from_u32(high.into()) {
        return (c, 4);
    }
    let low = (rest.get(4..6) == Some("\\u")).then(|| unit(6)).flatten();
    let pair = low.and_then(|low| char::decode_utf16([high, low]).next()?.ok());
    pair.map_or((char::REPLACEMENT_CHARACTER, 4), |c| (c, 10))
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> Result<Option<JsonFound>, LimitExceeded> {
        let text = self.text;
        let bytes = text.as_bytes();
        let (mut at, mut names) = (0, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => {
                    if self.open.len() == NESTING_MAX {
                        let (name, max, actual) = (NESTING_NAME, NESTING_MAX, NESTING_MAX + 1);
                        return Err(LimitExceeded { name, max, actual });
                    }
                    names = *byte == b'{';
                    self.passes = false;
                    self.open.push(Open { is_object: names, count: 1, name: None });
                    at += 1;
                }
                b'}' | b']' => {
                    self.open.pop();
                    (names, self.passes) = (false, false);
                    at += 1;
                }
                b',' => {
                    let Some(open) = self.open.last_mut() else { return Ok(None) };
                    open.count += 1;
                    (names, self.passes) = (open.is_object, false);
                    at += 1;
                }
                b'"' => {
                    let Some(end) = string_end(bytes, at + 1) else { return Ok(None) };
                    let found =
                        if names { self.name(at + 1..end) } else { self.string(at + 1..end) };
                    if found.is_some() {
                        return Ok(found);
                    }
                    names = false;
                    at = end + 1;
                }
                b'-' | b'0'..=b'9' => {
                    let length = bytes[at..].iter().position(|byte| {
                        !matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E')
                    });
                    let end = length.map_or(bytes.len(), |length| at + length);
                    let found = self.number(at..end);
                    if found.is_some() {
                        return Ok(found);
                    }
                    at = end;
                }
                _ => at += 1,
            }
        }
        Ok(None)
    }

    fn name(&mut self, raw: Range<usize>) -> Option<JsonFound> {
        let text = self.text;
        // A name is unescaped once; a megabyte of values may bear it.
        let name = unescaped(text.get(raw)?);
        let is_named = self.options.passed.contains(&&*name);
        let rule = self.screening.key(&name);
        self.passes = is_named && self.open.len() == 1;
        self.open.last_mut()?.name = Some(Named::new(name));
        Some(self.found(rule?, JsonPart::Name))
    }

    fn string(&self, raw: Range<usize>) -> Option<JsonFound> {
        if self.passes {
            return None;
        }
        let text = unescaped(self.text.get(raw)?);
        self.value(&text)
    }

    fn number(&self, raw: Range<usize>) -> Option<JsonFound> {
        if !self.options.integers {
            return None;
        }
        let digits = self.text.get(raw)?.trim_start_matches('-');
        // What has a fraction or exponent was measured.
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| self.value(digits)).flatten()
    }

    fn value(&self, text: &str) -> Option<JsonFound> {
        if is_free(text) {
            return None;
        }
        let names = self.open.iter().rev().filter_map(|open| open.name.as_ref());
        let name = names.chain(&self.key).find(|name| !name.text().is_empty());
        let rule = self.screening.numbers(name, text)?;
        Some(self.found(rule, JsonPart::Value))
    }

    fn found(&self, rule: Rule, part: JsonPart) -> JsonFound {
        let (mut pointer, mut path) = (String::new(), String::new());
        for (depth, open) in self.open.iter().enumerate() {
            let kind = if open.is_object { "member" } else { "item" };
            let comma = if path.is_empty() { "" } else { ", " };
            // Writing into a text does not fail.
            let _ = write!(path, "{comma}{kind} {}", open.count);
            let is_last = depth + 1 == self.open.len();
            if is_last && part == JsonPart::Name {
                break;
            }
            if open.is_object {
                let name = open.name.as_ref().map_or("", Named::text);
                let _ = write!(pointer, "/{}", name.replace('~', "~0").replace('/', "~1"));
            } else {
                let _ = write!(pointer, "/{}", open.count - 1);
            }
        }
        JsonFound { rule, part, pointer, path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "4111111111111111";

    fn found(text: &str, integers: bool) -> Option<(&'static str, JsonPart, String, String)> {
        let options = JsonOptions { integers, passed: &["password"] };
        let found = Screening::ALL.json(text, None, options).expect("within the bound")?;
        Some((found.rule.code(), found.part, found.pointer, found.path))
    }

    #[test]
    fn places_are_named() {
        use JsonPart::{Name, Value};
        let check = |text: &str, rule: &str, part: JsonPart, pointer: &str, path: &str| {
            let text = text.replace("CARD", CARD);
            let expect = Some((rule, part, pointer.to_owned(), path.to_owned()));
            let seen = found(&text, true);
            let seen = seen
                .as_ref()
                .map(|(rule, part, pointer, path)| (*rule, *part, pointer.clone(), path.clone()));
            assert_eq!(seen, expect, "{text}");
        };
        check(r#""CARD""#, "card_number", Value, "", "");
        check(r#"{"a":"CARD"}"#, "card_number", Value, "/a", "member 1");
        check(
            r#"{"a":1,"b":[{}, {"c/d~":"x CARD"}]}"#,
            "card_number",
            Value,
            "/b/1/c~1d~0",
            "member 2, item 2, member 1",
        );
        check(r#"{"a":{"b":CARD}}"#, "card_number", Value, "/a/b", "member 1, member 1");
        check(r#"{"a":[1,2,CARD]}"#, "card_number", Value, "/a/2", "member 1, item 3");
        check(r#"{"a":{"x":1,"heart_rate":80}}"#, "health", Name, "/a", "member 1, member 2");
        check(r#"{"religion":null}"#, "religion", Name, "", "member 1");
        check(r#"{"no":"\u0034111111111111111"}"#, "card_number", Value, "/no", "member 1");
        check(r#"{"\u0073sn":1}"#, "national_id", Name, "", "member 1");
        check(r#"{"a":"\"","b":"CARD"}"#, "card_number", Value, "/b", "member 2");
        check(
            r#"{"pesel_no":{"ids":["x"]},"my_number":["123456789018"]}"#,
            "national_id",
            Name,
            "",
            "member 1",
        );
        check(
            r#"{"my_number":["123456789018"]}"#,
            "national_id_jp",
            Value,
            "/my_number/0",
            "member 1, item 1",
        );
        check(r#"{"password":"CARD","a":"CARD"}"#, "card_number", Value, "/a", "member 2");
        // Only texts of the outermost object are secrets.
        check(r#"{"password":CARD}"#, "card_number", Value, "/password", "member 1");
        check(r#"{"password":["CARD"]}"#, "card_number", Value, "/password/0", "member 1, item 1");
        check(
            r#"{"password":"x","a":{"password":"CARD"}}"#,
            "card_number",
            Value,
            "/a/password",
            "member 2, member 1",
        );
        check(
            r#"{"password":{"religion":1}}"#,
            "religion",
            Name,
            "/password",
            "member 1, member 1",
        );
        check(r#"[{"password":"CARD"}]"#, "card_number", Value, "/0/password", "item 1, member 1");
    }

    #[test]
    fn what_is_not_refused() {
        for text in [
            r#"{"a":"b","c":[1,2.5e3,true,null]}"#,
            r#"{"ts":1451649600512,"values":{"t":21.5}}"#,
            r#"{"a":0.4111111111111111,"b":4.111111111111111e15}"#,
            r#"{"password":"4111111111111111"}"#,
            r#"{"imei":"378282246310005","modem":{"imei":["378282246310005"]}}"#,
            r#"{"value":"heart_rate"}"#,
            "",
            "{",
            "\"",
            "\"\\",
            "]]]],,,",
        ] {
            assert_eq!(found(text, true), None, "{text}");
        }
        assert_eq!(found(r#"{"a":4111111111111111}"#, false), None);
        let deep = "[".repeat(NESTING_MAX);
        assert!(found(&format!("{deep}\"{CARD}\""), true).is_some());
    }

    #[test]
    fn what_is_too_deep_is_an_error() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(NESTING_MAX + 1);
            for text in
                [deep.clone(), format!("{deep}\"{CARD}\""), format!("{{\"b\":1,\"c\":{deep}")]
            {
                let found = Screening::ALL.json(&text, None, JsonOptions::default());
                let limit = found.expect_err(&text);
                assert_eq!((limit.name, limit.max, limit.actual), (NESTING_NAME, 128, 129));
                let value = crate::Value::Json(text.into());
                assert!(Screening::ALL.value("k", &value, false).is_err());
            }
        }
    }

    #[test]
    fn the_work_is_linear_in_the_text() {
        // 64 KiB of name, as much of values that bear it. Reading the name again for every value
        // would take gigabytes for each of the texts.
        let half = 1usize << 16;
        let names = ["\\n", "\\u006dy_number_", "imei."];
        let values = ["1", "\"x\"", "123456", "123456789", "\"12345678901234\"", "\"123-45\\n67\""];
        for name in names {
            let name = name.repeat(half / name.len());
            for value in values {
                let value = format!("{value},").repeat(half / value.len());
                for text in [
                    format!(r#"{{"{name}":[{value}0]}}"#),
                    format!("{}{{\"{name}\":{}{value}0", "[".repeat(60), "[".repeat(60)),
                    format!(r#"{{"{name}":{{"":[{value}0]}}}}"#),
                ] {
                    assert_eq!(found(&text, true), None);
                }
            }
        }
    }

    #[test]
    fn escapes_are_read() {
        let check = |raw: &str, expect: &str| assert_eq!(unescaped(raw), expect, "{raw}");
        check("plain", "plain");
        check(r"\u0041\u00df", "Aß");
        check(r"\ud83c\udf21!", "🌡!");
        check(r"\ud83c!", "\u{fffd}!");
        check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r"\u00", "\u{fffd}00");
        check("\\", "");
    }
}
