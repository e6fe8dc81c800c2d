//! The ThingsBoard telemetry shapes: `{"k":1}`, `{"ts":1451649600512,"values":{"k":1}}`, and
//! arrays of both. An object is the second shape when it has `ts` and an object `values`; it may
//! then hold nothing else. Null values are no readings.

use veritwin_domain::{IngestLimits, Key, LimitExceeded, Quality, Reading, Timestamp, Value};

use super::cursor::{Cursor, Number};
use super::gateway::child_name;
use super::{Kept, KeyTable, PayloadError, check_value};

/// What a message's readings take from outside the payload.
#[derive(Debug, Clone, Copy)]
pub struct MessageContext<'a> {
    /// The time of readings that carry none. Each further object of a message that carries none
    /// is a microsecond later: equal times of one key would be one reading.
    pub received_at: Timestamp,
    /// The bounds.
    pub limits: &'a IngestLimits,
}

/// Parses one telemetry message and appends its readings to `out`; gives the first time of receipt
/// that it left unused. On an error `out` is as before.
pub fn parse_telemetry(
    payload: &[u8],
    context: MessageContext<'_>,
    keys: &mut KeyTable,
    out: &mut Vec<Reading>,
) -> Result<Timestamp, PayloadError> {
    run(payload, context, keys, out, |parser| {
        parser.cursor.skip_whitespace();
        match parser.cursor.peek() {
            Some(b'{') => parser.object(0),
            Some(b'[') => parser.array(),
            _ => Err(parser.cursor.unexpected("an object or an array of objects")),
        }
    })
}

/// Readings of several devices, each with its name.
pub type ChildrenReadings = Vec<(String, Vec<Reading>)>;

/// Parses `{"device":[...],...}`: after each name what a device itself would send. Gives the first
/// time of receipt that it left unused.
pub fn parse_children_telemetry(
    payload: &[u8],
    context: MessageContext<'_>,
    keys: &mut KeyTable,
) -> Result<(ChildrenReadings, Timestamp), PayloadError> {
    let (mut readings, mut starts) = (Vec::new(), Vec::new());
    let unused = run(payload, context, keys, &mut readings, |parser| parser.children(&mut starts))?;
    let mut children = ChildrenReadings::with_capacity(starts.len());
    while let Some((name, start)) = starts.pop() {
        children.push((name, readings.split_off(start)));
    }
    children.reverse();
    Ok((children, unused))
}

/// Parses one flat object of keys and values, all at one time, and appends its readings.
pub fn parse_values(
    payload: &[u8],
    context: MessageContext<'_>,
    keys: &mut KeyTable,
    out: &mut Vec<Reading>,
) -> Result<(), PayloadError> {
    let at = context.received_at;
    run(payload, context, keys, out, |parser| parser.map(at, 1)).map(|_| ())
}

fn run<'a>(
    payload: &'a [u8],
    context: MessageContext<'a>,
    keys: &mut KeyTable,
    out: &mut Vec<Reading>,
    shape: impl FnOnce(&mut Parser<'a, '_>) -> Result<(), PayloadError>,
) -> Result<Timestamp, PayloadError> {
    let first = out.len();
    let cursor = Cursor::new(payload)?;
    let mut parser = Parser { cursor, context, keys, first, out };
    let result = shape(&mut parser).and_then(|()| parser.cursor.end());
    let result = result.map(|()| parser.context.received_at);
    if result.is_err() {
        out.truncate(first);
    }
    result
}

struct Parser<'a, 'o> {
    cursor: Cursor<'a>,
    context: MessageContext<'a>,
    keys: &'o mut KeyTable,
    first: usize,
    out: &'o mut Vec<Reading>,
}

/// What an object turned out to hold beside plain keys.
#[derive(Default)]
struct Envelope {
    /// The time, and where it was written.
    ts: Option<(i64, usize)>,
    /// Where a `ts` is that is no integer.
    ts_malformed: Option<usize>,
    /// Where the object `values` starts, when it came before the time.
    values: Option<usize>,
    /// The readings of `values` were taken already, with the time that came before.
    values_taken: bool,
    /// Where the first other key is.
    other: Option<usize>,
}

impl Parser<'_, '_> {
    /// Notes with each name where its readings start.
    fn children(&mut self, starts: &mut Vec<(String, usize)>) -> Result<(), PayloadError> {
        self.cursor.expect(b'{', "an object with devices' names and readings")?;
        if self.cursor.take(b'}') {
            return Ok(());
        }
        loop {
            let name = child_name(&mut self.cursor, starts.len())?;
            starts.push((name, self.out.len()));
            self.cursor.expect(b':', "':' after a name")?;
            self.cursor.skip_whitespace();
            match self.cursor.peek() {
                Some(b'{') => self.object(1)?,
                Some(b'[') => self.array()?,
                _ => return Err(self.cursor.unexpected("an object or an array of objects")),
            }
            if self.cursor.take(b'}') {
                return Ok(());
            }
            self.cursor.expect(b',', "',' or '}'")?;
        }
    }

    fn array(&mut self) -> Result<(), PayloadError> {
        self.cursor.expect(b'[', "'['")?;
        if self.cursor.take(b']') {
            return Ok(());
        }
        loop {
            self.cursor.skip_whitespace();
            if self.cursor.peek() != Some(b'{') {
                return Err(self.cursor.unexpected("an object with keys and values"));
            }
            self.object(1)?;
            if self.cursor.take(b']') {
                return Ok(());
            }
            self.cursor.expect(b',', "',' or ']'")?;
        }
    }

    /// One object of either shape.
    fn object(&mut self, depth: usize) -> Result<(), PayloadError> {
        let start = self.out.len();
        let opened_at = self.cursor.position;
        self.cursor.expect(b'{', "'{'")?;
        if self.cursor.take(b'}') {
            return Ok(());
        }
        let mut envelope = Envelope::default();
        loop {
            self.cursor.skip_whitespace();
            let key_at = self.cursor.position;
            let key = self.cursor.string("a key in double quotes")?;
            self.cursor.expect(b':', "':' after a key")?;
            match &*key {
                "ts" => self.ts(key_at, start, depth, &mut envelope)?,
                "values" => self.values(key_at, start, depth, &mut envelope)?,
                text => {
                    envelope.other.get_or_insert(key_at);
                    self.reading(text, key_at, start, depth)?;
                }
            }
            if self.cursor.take(b'}') {
                break;
            }
            self.cursor.expect(b',', "',' or '}'")?;
        }
        self.close(start, opened_at, depth, envelope)?;
        let received_at = &mut self.context.received_at;
        if self.out.get(start).is_some_and(|reading| reading.at == *received_at) {
            *received_at = received_at.just_after();
        }
        Ok(())
    }

    /// The key `ts`: the time of an envelope when an integer, a plain reading otherwise.
    fn ts(
        &mut self,
        key_at: usize,
        start: usize,
        depth: usize,
        envelope: &mut Envelope,
    ) -> Result<(), PayloadError> {
        self.cursor.skip_whitespace();
        let value_at = self.cursor.position;
        if let Some(b'-' | b'0'..=b'9') = self.cursor.peek()
            && envelope.ts.is_none()
        {
            if let Number::Integer(millis) = self.cursor.number()? {
                envelope.ts = Some((millis, value_at));
                return Ok(());
            }
            self.cursor.position = value_at;
        }
        envelope.ts_malformed.get_or_insert(value_at);
        envelope.other.get_or_insert(key_at);
        self.reading("ts", key_at, start, depth)
    }

    /// The key `values`: the readings of an envelope when an object.
    fn values(
        &mut self,
        key_at: usize,
        start: usize,
        depth: usize,
        envelope: &mut Envelope,
    ) -> Result<(), PayloadError> {
        self.cursor.skip_whitespace();
        let is_object = self.cursor.peek() == Some(b'{');
        if !is_object || envelope.values.is_some() || envelope.values_taken {
            envelope.other.get_or_insert(key_at);
            return self.reading("values", key_at, start, depth);
        }
        if let (Some((millis, ts_at)), None) = (envelope.ts, envelope.other) {
            envelope.values_taken = true;
            let at = millis_to_time(millis, ts_at)?;
            return self.map(at, depth + 1);
        }
        // Read again when the time is known, at the end of the object.
        envelope.values = Some(self.cursor.position);
        self.cursor.minify(&mut String::new(), depth + 1)
    }

    /// At an object's end: what `ts` and `values` meant.
    fn close(
        &mut self,
        start: usize,
        opened_at: usize,
        depth: usize,
        envelope: Envelope,
    ) -> Result<(), PayloadError> {
        let is_envelope = envelope.values_taken || envelope.values.is_some();
        let resume_at = self.cursor.position;
        if let (true, Some(ts_at)) = (is_envelope, envelope.ts_malformed) {
            return Err(PayloadError::new(
                ts_at,
                "ts beside values must be an integer: milliseconds since 1970",
            ));
        }
        match (envelope.ts, is_envelope) {
            (Some((millis, ts_at)), true) => {
                if let Some(other) = envelope.other {
                    return Err(PayloadError::new(
                        other,
                        "unexpected key: an object with ts and values holds nothing else",
                    ));
                }
                if let Some(values_at) = envelope.values {
                    self.cursor.position = values_at;
                    self.map(millis_to_time(millis, ts_at)?, depth + 1)?;
                    self.cursor.position = resume_at;
                }
            }
            (Some((millis, ts_at)), false) => {
                self.push("ts", Value::Integer(millis), self.context.received_at, ts_at, start)?;
            }
            (None, true) => {
                let values_at = envelope.values.unwrap_or(opened_at);
                self.cursor.position = values_at;
                self.reading("values", values_at, start, depth)?;
                self.cursor.position = resume_at;
            }
            (None, false) => {}
        }
        Ok(())
    }

    /// `{"k":v,...}`, all at one time.
    fn map(&mut self, at: Timestamp, depth: usize) -> Result<(), PayloadError> {
        let start = self.out.len();
        self.cursor.expect(b'{', "an object with keys and values")?;
        if self.cursor.take(b'}') {
            return Ok(());
        }
        loop {
            self.cursor.skip_whitespace();
            let key_at = self.cursor.position;
            let key = self.cursor.string("a key in double quotes")?;
            self.cursor.expect(b':', "':' after a key")?;
            let value = self.cursor.value(self.context.limits.value_bytes_max, depth)?;
            if let Some(value) = value {
                self.push(&key, value, at, key_at, start)?;
            }
            if self.cursor.take(b'}') {
                return Ok(());
            }
            self.cursor.expect(b',', "',' or '}'")?;
        }
    }

    fn reading(
        &mut self,
        key: &str,
        key_at: usize,
        start: usize,
        depth: usize,
    ) -> Result<(), PayloadError> {
        let value = self.cursor.value(self.context.limits.value_bytes_max, depth + 1)?;
        match value {
            Some(value) => self.push(key, value, self.context.received_at, key_at, start),
            None => Ok(()),
        }
    }

    #[inline]
    fn push(
        &mut self,
        key: &str,
        value: Value,
        at: Timestamp,
        key_at: usize,
        object_start: usize,
    ) -> Result<(), PayloadError> {
        let limits = self.context.limits;
        let key = checked_key(key, key_at, limits, self.keys)?;
        check_value(self.keys.screening(), &key, &value, Kept::Telemetry)
            .map_err(|refused| PayloadError::refused_value(key_at, refused))?;
        let keys_now = self.out.len() - object_start + 1;
        bounded("keys_per_message_max", limits.keys_per_message_max, keys_now, key_at)?;
        let readings_now = self.out.len() - self.first + 1;
        bounded("readings_per_message_max", limits.readings_per_message_max, readings_now, key_at)?;
        let value = self.keys.shared(value);
        self.out.push(Reading { key, at, value, quality: Quality::Good });
        Ok(())
    }
}

fn bounded(
    name: &'static str,
    max: usize,
    actual: usize,
    position: usize,
) -> Result<(), PayloadError> {
    if actual <= max {
        return Ok(());
    }
    Err(PayloadError::limit(position, LimitExceeded { name, max, actual }))
}

#[inline]
pub(super) fn checked_key(
    text: &str,
    position: usize,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Key, PayloadError> {
    let max = limits.key_bytes_max.min(Key::BYTES_MAX);
    bounded("key_bytes_max", max, text.len(), position)?;
    keys.key(text).map_err(|error| PayloadError::refused_key(position, error))
}

fn millis_to_time(millis: i64, position: usize) -> Result<Timestamp, PayloadError> {
    Timestamp::from_millis(millis).map_err(|error| PayloadError::new(position, error.to_string()))
}
