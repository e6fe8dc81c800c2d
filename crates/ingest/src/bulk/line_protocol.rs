//! InfluxDB line protocol: `measurement[,tag=value...] field=value[,field=value...] [time]`.
//! With an API key the tag `device` names the device, or else the measurement does; with a tag
//! `device`, a field called `value` has the measurement as its key. All other keys are the
//! fields' names, all other tags are left out. A device writes for itself, without that tag.

use std::borrow::Cow;
use std::str::FromStr;

use veritwin_domain::{LimitExceeded, Timestamp, Value};

use super::{BulkError, Rows};

/// The unit of the times in a line-protocol text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nanoseconds, kept to the microsecond.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl FromStr for Precision {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ns" | "n" => Ok(Self::Nanoseconds),
            "us" | "u" => Ok(Self::Microseconds),
            "ms" => Ok(Self::Milliseconds),
            "s" => Ok(Self::Seconds),
            _ => Err("unknown precision: expected ns, us, ms or s"),
        }
    }
}

impl Precision {
    fn timestamp(self, number: i64) -> Option<Timestamp> {
        let micros = match self {
            Self::Nanoseconds => Some(number.div_euclid(1000)),
            Self::Microseconds => Some(number),
            Self::Milliseconds => number.checked_mul(1000),
            Self::Seconds => number.checked_mul(1_000_000),
        };
        Timestamp::measured(micros?).ok()
    }
}

pub(super) fn parse(
    text: &str,
    precision: Precision,
    rows: &mut Rows<'_>,
) -> Result<(), BulkError> {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        Line { text: line, number: index + 1, position: 0 }.parse(precision, rows)?;
    }
    Ok(())
}

struct Line<'a> {
    text: &'a str,
    number: usize,
    position: usize,
}

/// A field as it was written.
struct Field<'a> {
    name: Cow<'a, str>,
    value: Value,
    column: usize,
}

impl<'a> Line<'a> {
    fn error(&self, detail: impl Into<String>) -> BulkError {
        BulkError::new(self.number, self.position + 1, detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// Text up to one of `stops`; a backslash takes a stop, or another backslash, as text.
    fn token(&mut self, stops: &[u8]) -> Cow<'a, str> {
        let start = self.position;
        let mut unescaped: Option<String> = None;
        let mut from = start;
        let bytes = self.text.as_bytes();
        while let Some(byte) = self.peek() {
            let next = bytes.get(self.position + 1);
            if byte == b'\\' && next.is_some_and(|next| stops.contains(next) || *next == b'\\') {
                let out = unescaped.get_or_insert_default();
                out.push_str(&self.text[from..self.position]);
                from = self.position + 1;
                self.position += 2;
            } else if stops.contains(&byte) {
                break;
            } else {
                self.position += 1;
            }
        }
        match unescaped {
            None => Cow::Borrowed(&self.text[start..self.position]),
            Some(mut out) => {
                out.push_str(&self.text[from..self.position]);
                Cow::Owned(out)
            }
        }
    }

    fn parse(mut self, precision: Precision, rows: &mut Rows<'_>) -> Result<(), BulkError> {
        let measurement = self.token(b", ");
        if measurement.is_empty() {
            return Err(self.error("expected a measurement before the first ',' or space"));
        }
        let device_tag = self.tags(rows.context.one_device)?;
        if !self.take(b' ') {
            return Err(self.error("expected a space and fields, like temperature=21.5"));
        }
        let fields = self.fields(rows)?;
        let at = self.time(precision)?;
        let name = match &device_tag {
            _ if rows.context.one_device => None,
            Some(device) => Some(&**device),
            None => Some(&*measurement),
        };
        let place = rows.device(name, self.number)?;
        rows.count(fields.len(), self.number, 1)?;
        let at = at.unwrap_or_else(|| rows.moment(place));
        let before = rows.devices[place].readings.len();
        for field in fields {
            let named_by_measurement = device_tag.is_some() && field.name == "value";
            let name = if named_by_measurement { &measurement } else { &field.name };
            let (column, value) = (field.column, field.value);
            let key = rows.key(name, self.number, column);
            let checked = key.and_then(|key| {
                rows.check(&key, &value, self.number, column)?;
                Ok(key)
            });
            match checked {
                Ok(key) => rows.push(place, key, at, value),
                Err(error) => {
                    // Whoever goes on with the next line keeps nothing of this one.
                    rows.devices[place].readings.truncate(before);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Checks all tags and gives `device`.
    fn tags(&mut self, one_device: bool) -> Result<Option<Cow<'a, str>>, BulkError> {
        let mut device = None;
        while self.take(b',') {
            let column = self.position + 1;
            let name = self.token(b",= ");
            if name.is_empty() || !self.take(b'=') {
                return Err(self.error("expected a tag, like floor=3"));
            }
            let value = self.token(b",= ");
            if value.is_empty() {
                return Err(self.error("expected a tag's value after '='"));
            }
            if name == "device" {
                if one_device {
                    let detail = "a device writes for itself only: leave the tag device out, or \
                        use an API key";
                    return Err(BulkError::new(self.number, column, detail));
                }
                device = Some(value);
            }
        }
        Ok(device)
    }

    fn fields(&mut self, rows: &Rows<'_>) -> Result<Vec<Field<'a>>, BulkError> {
        let mut fields = Vec::new();
        loop {
            let column = self.position + 1;
            let name = self.token(b",= ");
            if name.is_empty() || !self.take(b'=') {
                return Err(self.error("expected a field, like temperature=21.5"));
            }
            let value = self.value(rows)?;
            fields.push(Field { name, value, column });
            let (max, actual) = (rows.context.limits.keys_per_message_max, fields.len());
            if actual > max {
                let limit = LimitExceeded { name: "keys_per_message_max", max, actual };
                return Err(BulkError::of_limit(self.number, column, limit));
            }
            if !self.take(b',') {
                return Ok(fields);
            }
        }
    }

    fn value(&mut self, rows: &Rows<'_>) -> Result<Value, BulkError> {
        let column = self.position + 1;
        if self.take(b'"') {
            let text = self.token(b"\"");
            if !self.take(b'"') {
                return Err(self.error("expected the closing quote of a string"));
            }
            return rows.text(&text, self.number, column);
        }
        let token = self.token(b", ");
        number_or_flag(&token).map_err(|detail| BulkError::new(self.number, column, detail))
    }

    fn time(&mut self, precision: Precision) -> Result<Option<Timestamp>, BulkError> {
        while self.take(b' ') {}
        if self.position == self.text.len() {
            return Ok(None);
        }
        let column = self.position + 1;
        let token = self.text[self.position..].trim_end_matches(' ');
        let parsed = token.parse().ok().and_then(|number| precision.timestamp(number));
        let wrong = "expected a time as an integer in the unit of ?precision= (ns by default), \
            or the end of the line";
        parsed.map(Some).ok_or_else(|| BulkError::new(self.number, column, wrong))
    }
}

fn number_or_flag(token: &str) -> Result<Value, &'static str> {
    match token {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Boolean(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Boolean(false)),
        _ => {}
    }
    if let Some(digits) = token.strip_suffix(['i', 'u']) {
        let wrong = "expected an integer before i or u, within 64 bits with sign";
        return digits.parse().map(Value::Integer).map_err(|_| wrong);
    }
    let wrong = "expected a finite number, an integer with i, true, false or a string in quotes";
    let plain =
        token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = token.parse::<f64>().ok().filter(|_| plain).ok_or(wrong)?;
    Value::double(number).map_err(|_| wrong)
}
