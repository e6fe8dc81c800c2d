//! A cursor over one JSON text (RFC 8259): tokens, strings, numbers, and whole values checked and
//! minified. It refuses what the grammar does not allow, numbers that are not finite, and nesting
//! deeper than the bound.

use std::borrow::Cow;
use std::sync::Arc;

use veritwin_domain::{LimitExceeded, Value};

use super::{NESTING_MAX, PayloadError};

pub(crate) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pub(crate) position: usize,
}

/// A number as it was written.
pub(crate) enum Number {
    Integer(i64),
    Double(f64),
}

/// Checks that `payload` is one JSON value and gives it without insignificant white space.
pub(crate) fn check_json(payload: &[u8]) -> Result<String, PayloadError> {
    let mut cursor = Cursor::new(payload)?;
    let mut out = String::with_capacity(payload.len());
    cursor.skip_whitespace();
    cursor.minify(&mut out, 0)?;
    cursor.end()?;
    Ok(out)
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let text = std::str::from_utf8(payload).map_err(|error| {
            PayloadError::new(error.valid_up_to(), "not UTF-8: expected JSON in UTF-8")
        })?;
        Ok(Self { text, bytes: payload, position: 0 })
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    /// Takes `byte` if it comes next after white space.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), PayloadError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), PayloadError> {
        self.skip_whitespace();
        if self.position == self.bytes.len() {
            return Ok(());
        }
        Err(self.unexpected("the end of the payload"))
    }

    pub(crate) fn unexpected(&self, expected: &'static str) -> PayloadError {
        let found = match self.peek() {
            None => "the end of the payload",
            Some(b'{') => "'{'",
            Some(b'}') => "'}'",
            Some(b'[') => "'['",
            Some(b']') => "']'",
            Some(b':') => "':'",
            Some(b',') => "','",
            Some(b'"') => "a string",
            Some(b'\'') => "a single quote",
            Some(b'0'..=b'9' | b'-') => "a number",
            Some(b'+' | b'.') => "a sign or point that JSON numbers do not start with",
            Some(_) if self.starts_with("NaN") => "NaN, which JSON does not have",
            Some(_) if self.starts_with("Infinity") => "Infinity, which JSON does not have",
            Some(b'a'..=b'z' | b'A'..=b'Z') => "a letter",
            Some(0..=0x1f | 0x7f) => "a control character",
            Some(_) => "another character",
        };
        PayloadError::new(self.position, format!("expected {expected}, found {found}"))
    }

    fn starts_with(&self, word: &str) -> bool {
        self.bytes.get(self.position..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
    }

    /// A string without its quotes, unescaped.
    #[inline]
    pub(crate) fn string(&mut self, expected: &'static str) -> Result<Cow<'a, str>, PayloadError> {
        self.expect(b'"', expected)?;
        let start = self.position;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.slice(start, self.position);
                    self.position += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped_string(start).map(Cow::Owned),
                Some(0..=0x1f) => return Err(self.unexpected("an escaped control character")),
                Some(_) => self.position += 1,
                None => return Err(self.unexpected("the closing quote of a string")),
            }
        }
    }

    /// The slow path: a string with at least one escape, read on from the first one.
    fn escaped_string(&mut self, start: usize) -> Result<String, PayloadError> {
        let mut out = String::from(self.slice(start, self.position));
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.position += 1;
                    out.push(self.escape()?);
                }
                Some(0..=0x1f) => return Err(self.unexpected("an escaped control character")),
                Some(_) => {
                    let from = self.position;
                    while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                        self.position += 1;
                    }
                    out.push_str(self.slice(from, self.position));
                }
                None => return Err(self.unexpected("the closing quote of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PayloadError> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.unexpected("one of the escapes \" \\ / b f n r t u")),
        };
        self.position += 1;
        Ok(plain)
    }

    /// `uXXXX`, with the second half of a surrogate pair where the first half asks for it.
    fn unicode_escape(&mut self) -> Result<char, PayloadError> {
        let at = self.position;
        let surrogate = || PayloadError::new(at, "half a surrogate pair: expected both halves");
        let first = self.four_hex_digits()?;
        let code = match first {
            0xd800..=0xdbff => {
                if self.peek() != Some(b'\\') {
                    return Err(surrogate());
                }
                self.position += 1;
                if self.peek() != Some(b'u') {
                    return Err(surrogate());
                }
                let second = self.four_hex_digits()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(surrogate());
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(surrogate)
    }

    fn four_hex_digits(&mut self) -> Result<u32, PayloadError> {
        self.position += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
            code = code * 16 + digit;
            self.position += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> Result<usize, PayloadError> {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        match self.position - start {
            0 => Err(self.unexpected("a digit")),
            count => Ok(count),
        }
    }

    /// A number: an integer when it is written without fraction and exponent.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number, PayloadError> {
        let start = self.position;
        self.position += usize::from(self.peek() == Some(b'-'));
        let first = self.peek();
        let count = self.digits()?;
        if first == Some(b'0') && count > 1 {
            return Err(PayloadError::new(start, "a number may not have leading zeros"));
        }
        let mut integral = true;
        if self.peek() == Some(b'.') {
            integral = false;
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integral = false;
            self.position += 1;
            self.position += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = self.slice(start, self.position);
        if integral {
            let number = text.parse().map_err(|_| {
                PayloadError::new(
                    start,
                    "integer out of range: expected -9223372036854775808 to 9223372036854775807",
                )
            })?;
            return Ok(Number::Integer(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Number::Double(number)),
            _ => Err(PayloadError::new(
                start,
                "number out of range: expected a magnitude below 1.8e308",
            )),
        }
    }

    pub(crate) fn word(&mut self, word: &'static str) -> Result<(), PayloadError> {
        if self.starts_with(word) {
            self.position += word.len();
            return Ok(());
        }
        Err(self.unexpected("a value (number, string, true, false, null, object or array)"))
    }

    /// The next value as a reading's; `None` for null. `depth` counts what already encloses it.
    #[inline]
    pub(crate) fn value(
        &mut self,
        bytes_max: usize,
        depth: usize,
    ) -> Result<Option<Value>, PayloadError> {
        self.skip_whitespace();
        let start = self.position;
        let bounded = |actual: usize| {
            let limit = LimitExceeded { name: "value_bytes_max", max: bytes_max, actual };
            if actual > bytes_max { Err(PayloadError::limit(start, limit)) } else { Ok(()) }
        };
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => Ok(Some(match self.number()? {
                Number::Integer(number) => Value::Integer(number),
                Number::Double(number) => Value::Double(number),
            })),
            Some(b'"') => {
                let text = self.string("a string")?;
                bounded(text.len())?;
                Ok(Some(Value::Text(Arc::from(text))))
            }
            Some(b't') => self.word("true").map(|()| Some(Value::Boolean(true))),
            Some(b'f') => self.word("false").map(|()| Some(Value::Boolean(false))),
            Some(b'n') => self.word("null").map(|()| None),
            Some(b'{' | b'[') => {
                let mut out = String::new();
                self.minify(&mut out, depth)?;
                bounded(out.len())?;
                Ok(Some(Value::Json(Arc::from(out))))
            }
            _ => self.word("true").map(|()| None),
        }
    }

    /// Checks the next value and appends it without white space.
    pub(crate) fn minify(&mut self, out: &mut String, depth: usize) -> Result<(), PayloadError> {
        self.skip_whitespace();
        let start = self.position;
        match self.peek() {
            Some(b'{') => self.minify_nested(out, depth, b'}'),
            Some(b'[') => self.minify_nested(out, depth, b']'),
            first => {
                match first {
                    Some(b'"') => drop(self.string("a string")?),
                    Some(b't') => self.word("true")?,
                    Some(b'f') => self.word("false")?,
                    Some(b'n') => self.word("null")?,
                    Some(b'-' | b'0'..=b'9') => self.nested_number()?,
                    _ => self.word("true")?,
                }
                out.push_str(self.slice(start, self.position));
                Ok(())
            }
        }
    }

    /// Inside JSON values integers of any size are kept as text; only the form is checked, and
    /// that a double would be finite.
    fn nested_number(&mut self) -> Result<(), PayloadError> {
        let start = self.position;
        match self.number() {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = self.slice(start, self.position);
                let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
                let has_form = !text.trim_start_matches('-').starts_with("0")
                    && text.ends_with(|last: char| last.is_ascii_digit());
                if is_finite && has_form { Ok(()) } else { Err(error) }
            }
        }
    }

    fn minify_nested(
        &mut self,
        out: &mut String,
        depth: usize,
        closing: u8,
    ) -> Result<(), PayloadError> {
        if depth >= NESTING_MAX {
            let limit =
                LimitExceeded { name: "nesting_max", max: NESTING_MAX, actual: NESTING_MAX + 1 };
            return Err(PayloadError::limit(self.position, limit));
        }
        out.push(if closing == b'}' { '{' } else { '[' });
        self.position += 1;
        if !self.take(closing) {
            loop {
                if closing == b'}' {
                    self.skip_whitespace();
                    let start = self.position;
                    self.string("a key in double quotes")?;
                    out.push_str(self.slice(start, self.position));
                    self.expect(b':', "':' after a key")?;
                    out.push(':');
                }
                self.minify(out, depth + 1)?;
                if self.take(closing) {
                    break;
                }
                let expected = if closing == b'}' { "',' or '}'" } else { "',' or ']'" };
                self.expect(b',', expected)?;
                out.push(',');
            }
        }
        out.push(char::from(closing));
        Ok(())
    }
}
