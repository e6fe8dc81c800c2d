//! The JSON commands of `/v1/ws`, without the socket: what a client may say. A mistake is named
//! with its byte in the frame and what would be right, and nothing the client wrote is quoted.

use std::ops::Range;

use serde::Deserialize;
use veritwin_domain::{DeviceBatch, IngestLimits, LimitExceeded, Reading, Secret, Timestamp};

use crate::arrivals::{Arrivals, UNTIMED};
use crate::model::{DeviceSession, SinkEntry};
use crate::payload::{Cursor, KeyTable, MessageContext, Number, PayloadError, parse_values};

/// Largest command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;
/// Most devices one subscription names.
pub const DEVICES_PER_SUBSCRIPTION_MAX: usize = 1000;
/// Longest token or id in a command, in bytes.
const WORD_BYTES_MAX: usize = 1024;

/// What a client asks for.
#[derive(Debug)]
pub enum Command {
    /// Shows an API key or a device token.
    Authenticate {
        /// The key or token.
        token: Secret<String>,
    },
    /// Starts a subscription.
    Subscribe {
        /// The client's number for it.
        id: u64,
        /// What of.
        topic: Topic,
        /// Only this twin (an id).
        twin_id: Option<String>,
        /// Only these devices (ids).
        device_ids: Option<Vec<String>>,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// Its number.
        id: u64,
    },
    /// Readings of the device whose token was shown.
    Publish {
        /// The client's number, which the answer carries.
        id: Option<u64>,
        /// The readings.
        readings: Vec<Reading>,
    },
}

impl Command {
    /// The client's number for it.
    pub const fn id(&self) -> Option<u64> {
        match self {
            Self::Authenticate { .. } => None,
            Self::Subscribe { id, .. } | Self::Unsubscribe { id } => Some(*id),
            Self::Publish { id, .. } => *id,
        }
    }
}

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Latest values.
    Latest,
    /// Alerts.
    Alerts,
    /// Changes of twins.
    Twins,
    /// What one device does, as it happens.
    Traffic,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CommandError {
    /// The command's number, if it could be read.
    pub id: Option<u64>,
    /// What was wrong, where, and what would be right.
    pub detail: String,
}

/// Which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Authenticate,
    Subscribe,
    Unsubscribe,
    Publish,
}

impl Op {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "authenticate" => Self::Authenticate,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "publish" => Self::Publish,
            _ => return None,
        })
    }

    /// The members it takes beside `op`.
    const fn takes(self) -> &'static [Member] {
        match self {
            Self::Authenticate => &[Member::Token],
            Self::Subscribe => &[Member::Id, Member::Topic, Member::TwinId, Member::DeviceIds],
            Self::Unsubscribe => &[Member::Id],
            Self::Publish => &[Member::Id, Member::Ts, Member::Values],
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate takes token, nothing else",
            Self::Subscribe => {
                "subscribe takes id, topic, twin_id (optional) and device_ids (optional), nothing \
                 else"
            }
            Self::Unsubscribe => "unsubscribe takes id, nothing else",
            Self::Publish => {
                "publish takes values, id (optional) and ts (milliseconds, optional), nothing else"
            }
        }
    }
}

/// The members of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Op,
    Id,
    Token,
    Topic,
    TwinId,
    DeviceIds,
    Ts,
    Values,
}

impl Member {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "op" => Self::Op,
            "id" => Self::Id,
            "token" => Self::Token,
            "topic" => Self::Topic,
            "twin_id" => Self::TwinId,
            "device_ids" => Self::DeviceIds,
            "ts" => Self::Ts,
            "values" => Self::Values,
            _ => return None,
        })
    }
}

/// The members as they were found, not yet judged against the command.
#[derive(Default)]
struct Members {
    op: Option<Op>,
    id: Option<u64>,
    token: Option<String>,
    topic: Option<Topic>,
    twin_id: Option<String>,
    device_ids: Option<Vec<String>>,
    ts: Option<Timestamp>,
    values: Option<Range<usize>>,
    /// Every member but `op` that was there, and where; `None` is one no command takes.
    found: Vec<(Option<Member>, usize)>,
}

/// Parses one text frame. Readings without `ts` get their time by [`entry`].
pub fn parse(
    text: &str,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Command, CommandError> {
    let mut members = Members::default();
    let context = MessageContext { received_at: UNTIMED, limits };
    members.read(text).and_then(|end| members.command(text, end, context, keys)).map_err(|error| {
        CommandError { id: members.id.or_else(|| number_of(text)), detail: error.to_string() }
    })
}

/// The number of a command that is wrong before its number.
fn number_of(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        id: u64,
    }
    serde_json::from_str::<Head>(text).ok().map(|head| head.id)
}

impl Members {
    /// Reads every member; gives where the object ends.
    fn read(&mut self, text: &str) -> Result<usize, PayloadError> {
        let mut cursor = Cursor::new(text.as_bytes())?;
        cursor.expect(b'{', "an object with \"op\"")?;
        if !cursor.take(b'}') {
            loop {
                cursor.skip_whitespace();
                let at = cursor.position;
                let name = cursor.string("a key in double quotes")?;
                cursor.expect(b':', "':' after a key")?;
                cursor.skip_whitespace();
                self.member(&mut cursor, Member::named(&name), at)?;
                if cursor.take(b'}') {
                    break;
                }
                cursor.expect(b',', "',' or '}'")?;
            }
        }
        cursor.end()?;
        Ok(cursor.position)
    }

    fn member(
        &mut self,
        cursor: &mut Cursor<'_>,
        member: Option<Member>,
        at: usize,
    ) -> Result<(), PayloadError> {
        let is_again = match member {
            None => false,
            Some(Member::Op) => self.op.is_some(),
            known => self.found.iter().any(|(found, _)| *found == known),
        };
        if is_again {
            return Err(PayloadError::new(at, "this member is there twice: expected it once"));
        }
        if member != Some(Member::Op) && self.found.len() <= Op::Subscribe.takes().len() {
            self.found.push((member, at));
        }
        let from = cursor.position;
        match member {
            Some(Member::Op) => self.op = Some(op(cursor)?),
            Some(Member::Id) => self.id = number(cursor)?,
            Some(Member::Token) => self.token = word(cursor)?,
            Some(Member::Topic) => self.topic = Some(topic(cursor)?),
            Some(Member::TwinId) => self.twin_id = word(cursor)?,
            Some(Member::DeviceIds) => self.device_ids = words(cursor)?,
            Some(Member::Ts) => self.ts = time(cursor)?,
            Some(Member::Values) => {
                cursor.minify(&mut String::new(), 1)?;
                self.values = Some(from..cursor.position);
            }
            None => cursor.minify(&mut String::new(), 1)?,
        }
        Ok(())
    }

    fn command(
        &mut self,
        text: &str,
        end: usize,
        context: MessageContext<'_>,
        keys: &mut KeyTable,
    ) -> Result<Command, PayloadError> {
        let op = self.op.ok_or_else(|| PayloadError::new(end, OPS))?;
        let takes = |member: &Member| op.takes().contains(member);
        if let Some((_, at)) =
            self.found.iter().find(|(member, _)| !member.as_ref().is_some_and(takes))
        {
            return Err(PayloadError::new(*at, format!("unknown member: {}", op.form())));
        }
        let missing = |member: &str| PayloadError::new(end, format!("no {member}: {}", op.form()));
        Ok(match op {
            Op::Authenticate => {
                let token = self.token.take().ok_or_else(|| missing("token"))?;
                Command::Authenticate { token: Secret::new(token) }
            }
            Op::Subscribe => Command::Subscribe {
                id: self.id.ok_or_else(|| missing("id"))?,
                topic: self.topic.ok_or_else(|| missing("topic"))?,
                twin_id: self.twin_id.take(),
                device_ids: self.device_ids.take(),
            },
            Op::Unsubscribe => Command::Unsubscribe { id: self.id.ok_or_else(|| missing("id"))? },
            Op::Publish => {
                let values = self.values.clone().ok_or_else(|| missing("values"))?;
                let received_at = self.ts.unwrap_or(context.received_at);
                let (from, part) = (values.start, text.get(values).unwrap_or_default());
                let mut readings = Vec::new();
                let context = MessageContext { received_at, ..context };
                parse_values(part.as_bytes(), context, keys, &mut readings)
                    .map_err(|error| error.moved_by(from))?;
                Command::Publish { id: self.id, readings }
            }
        })
    }
}

const OPS: &str = "expected op: authenticate, subscribe, unsubscribe or publish";
const TOPICS: &str = "unknown topic: expected latest, alerts, twins or traffic";

fn op(cursor: &mut Cursor<'_>) -> Result<Op, PayloadError> {
    let at = cursor.position;
    Op::named(&cursor.string("op as text")?)
        .ok_or_else(|| PayloadError::new(at, format!("unknown op: {OPS}")))
}

fn topic(cursor: &mut Cursor<'_>) -> Result<Topic, PayloadError> {
    let at = cursor.position;
    Ok(match &*cursor.string("topic as text")? {
        "latest" => Topic::Latest,
        "alerts" => Topic::Alerts,
        "twins" => Topic::Twins,
        "traffic" => Topic::Traffic,
        _ => return Err(PayloadError::new(at, TOPICS)),
    })
}

fn is_null(cursor: &mut Cursor<'_>) -> Result<bool, PayloadError> {
    if cursor.peek() != Some(b'n') {
        return Ok(false);
    }
    cursor.word("null").map(|()| true)
}

fn integer(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<i64, PayloadError> {
    let at = cursor.position;
    if !matches!(cursor.peek(), Some(b'-' | b'0'..=b'9')) {
        return Err(cursor.unexpected(expected));
    }
    match cursor.number()? {
        Number::Integer(number) => Ok(number),
        Number::Double(_) => {
            Err(PayloadError::new(at, format!("expected {expected}, found a fraction or exponent")))
        }
    }
}

fn number(cursor: &mut Cursor<'_>) -> Result<Option<u64>, PayloadError> {
    const EXPECTED: &str = "id as a whole number, 0 or more";
    if is_null(cursor)? {
        return Ok(None);
    }
    let at = cursor.position;
    u64::try_from(integer(cursor, EXPECTED)?)
        .map(Some)
        .map_err(|_| PayloadError::new(at, format!("expected {EXPECTED}, found a negative number")))
}

fn time(cursor: &mut Cursor<'_>) -> Result<Option<Timestamp>, PayloadError> {
    if is_null(cursor)? {
        return Ok(None);
    }
    let at = cursor.position;
    let millis = integer(cursor, "ts as whole milliseconds since 1970")?;
    let time = Timestamp::from_millis(millis);
    time.map(Some).map_err(|error| PayloadError::new(at, error.to_string()))
}

fn word(cursor: &mut Cursor<'_>) -> Result<Option<String>, PayloadError> {
    if is_null(cursor)? {
        return Ok(None);
    }
    let at = cursor.position;
    let text = cursor.string("text")?;
    let (max, actual) = (WORD_BYTES_MAX, text.len());
    if actual > max {
        let limit = LimitExceeded { name: "word_bytes_max", max, actual };
        return Err(PayloadError::limit(at, limit));
    }
    Ok(Some(text.into_owned()))
}

fn words(cursor: &mut Cursor<'_>) -> Result<Option<Vec<String>>, PayloadError> {
    if is_null(cursor)? {
        return Ok(None);
    }
    let at = cursor.position;
    let mut words = Vec::new();
    cursor.expect(b'[', "device_ids as an array of text")?;
    if cursor.take(b']') {
        return Ok(Some(words));
    }
    loop {
        cursor.skip_whitespace();
        let one_at = cursor.position;
        words.push(word(cursor)?.ok_or_else(|| PayloadError::new(one_at, "expected text"))?);
        let (max, actual) = (DEVICES_PER_SUBSCRIPTION_MAX, words.len());
        if actual > max {
            let limit = LimitExceeded { name: "devices_per_subscription_max", max, actual };
            return Err(PayloadError::limit(at, limit));
        }
        if cursor.take(b']') {
            return Ok(Some(words));
        }
        cursor.expect(b',', "',' or ']'")?;
    }
}

/// The sink entry of published readings; `None` when there are none.
pub fn entry(
    arrivals: &Arrivals,
    session: &DeviceSession,
    received_at: Timestamp,
    readings: Vec<Reading>,
) -> Option<SinkEntry> {
    if readings.is_empty() {
        return None;
    }
    let DeviceSession { tenant, device, credential, .. } = *session;
    let mut batch = DeviceBatch { tenant, device, credential, received_at, readings };
    arrivals.settle(&mut batch);
    Some(SinkEntry::Readings(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Command, CommandError> {
        parse(text, &IngestLimits::default(), &mut KeyTable::default())
    }

    #[test]
    fn commands() {
        assert!(matches!(
            check(r#"{"op":"subscribe","id":1,"topic":"latest","twin_id":"x","device_ids":null}"#),
            Ok(Command::Subscribe { id: 1, topic: Topic::Latest, device_ids: None, .. })
        ));
        assert!(matches!(
            check(r#"{"id":1,"device_ids":["a","b"],"topic":"twins","op":"subscribe"}"#),
            Ok(Command::Subscribe { device_ids: Some(ids), .. }) if ids == ["a", "b"]
        ));
        assert!(matches!(
            check(r#"{"op":"unsubscribe","id":1}"#),
            Ok(Command::Unsubscribe { id: 1 })
        ));
        assert!(matches!(
            check(r#"{"op":"authenticate","token":"t"}"#),
            Ok(Command::Authenticate { .. })
        ));
        let Ok(Command::Publish { id: Some(9), readings }) =
            check(r#"{"op":"publish","id":9,"ts":5,"values":{"a":1,"b":null}}"#)
        else {
            panic!("publish");
        };
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].at, Timestamp::from_micros(5000));
        assert!(matches!(
            check(r#"{"values":{"a":1},"op":"publish"}"#),
            Ok(Command::Publish { id: None, .. })
        ));
    }

    #[test]
    fn mistakes_are_named() {
        let bad = |text: &str, id, part: &str| {
            let error = check(text).expect_err(text);
            assert_eq!(error.id, id, "{text}");
            assert!(error.detail.contains(part), "{text}: {}", error.detail);
        };
        bad("", None, "byte 0: expected an object");
        bad("[]", None, "byte 0: expected an object");
        bad("{", None, "byte 1: expected a key");
        bad("{}", None, "byte 2: expected op");
        bad(r#"{"op":"fly","id":3}"#, Some(3), "byte 6: unknown op");
        bad(r#"{"op":1,"id":3}"#, Some(3), "byte 6: expected op as text, found a number");
        bad(r#"{"op":"subscribe","id":3,"topic":"x"}"#, Some(3), "byte 33: unknown topic");
        bad(r#"{"op":"subscribe","id":3}"#, Some(3), "byte 25: no topic");
        bad(r#"{"op":"unsubscribe","id":-3}"#, None, "byte 25: expected id");
        bad(r#"{"op":"authenticate"}"#, None, "byte 21: no token");
        bad(r#"{"op":"publish","id":3,"values":{"a":01}}"#, Some(3), "byte 37: a number may not");
        bad(r#"{"op":"publish","id":3,"values":{"":1}}"#, Some(3), "byte 33: key length");
        bad(r#"{"op":"publish","id":3,"values":[]}"#, Some(3), "byte 32");
        bad(r#"{"op":"publish","id":3}"#, Some(3), "byte 23: no values");
        bad(r#"{"op":"publish","ts":"x","id":3,"values":{}}"#, Some(3), "byte 21: expected ts");
        bad(r#"{"op":"publish","ts":1.5,"values":{}}"#, None, "byte 21: expected ts");
        bad(r#"{"op":"publish","tss":1,"id":3,"values":{}}"#, Some(3), "byte 16: unknown member");
        bad(r#"{"op":"publish","topic":"latest","values":{}}"#, None, "byte 16: unknown member");
        bad(r#"{"op":"publish","ts":1,"ts":2,"values":{}}"#, None, "byte 23: this member is there");
        bad(r#"{"op":"publish","values":{}} x"#, None, "byte 29: expected the end");
    }

    #[test]
    fn bounds_carry_their_names() {
        let bad = |text: &str, part: &str| {
            let error = check(text).expect_err("refused");
            assert!(error.detail.contains(part), "{}", error.detail);
        };
        let ids = vec!["\"a\""; DEVICES_PER_SUBSCRIPTION_MAX + 1].join(",");
        let many = format!(r#"{{"op":"subscribe","id":1,"topic":"latest","device_ids":[{ids}]}}"#);
        bad(&many, "devices_per_subscription_max exceeded: at most 1000, got 1001");
        let long = "x".repeat(WORD_BYTES_MAX + 1);
        bad(&format!(r#"{{"op":"authenticate","token":"{long}"}}"#), "word_bytes_max");
        let deep = "[".repeat(40);
        bad(&format!(r#"{{"op":"publish","values":{{"a":{deep}"#), "nesting_max");
        let limits = IngestLimits { keys_per_message_max: 1, ..IngestLimits::default() };
        let two = r#"{"op":"publish","values":{"a":1,"b":2}}"#;
        let detail = parse(two, &limits, &mut KeyTable::default()).expect_err("refused").detail;
        assert!(detail.contains("keys_per_message_max exceeded: at most 1, got 2"), "{detail}");
    }
}
