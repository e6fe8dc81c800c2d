//! The JSON commands of `/v1/ws`, without the socket: what a client may say, and the answers to
//! publishing. Subscriptions themselves belong to the application.

use serde::Deserialize;
use serde_json::value::RawValue;
use veritwin_domain::{DeviceBatch, IngestLimits, LimitExceeded, Reading, Secret, Timestamp};

use crate::model::{DeviceSession, SinkEntry};
use crate::payload::{KeyTable, MessageContext, PayloadError, check_json, parse_values};

/// Most devices one subscription names.
pub const DEVICES_PER_SUBSCRIPTION_MAX: usize = 1000;

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
        id: u64,
        /// The readings.
        readings: Vec<Reading>,
    },
}

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Latest values.
    Latest,
    /// Alerts.
    Alerts,
    /// Changes of twins.
    Twins,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CommandError {
    /// The command's number, if it could be read.
    pub id: Option<u64>,
    /// What was wrong and what would be right.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Authenticate { token: String },
    Subscribe { id: u64, topic: Topic, twin_id: Option<String>, device_ids: Option<Vec<String>> },
    Unsubscribe { id: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish<'a> {
    #[serde(rename = "op")]
    _op: &'a str,
    id: u64,
    ts: Option<i64>,
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Deserialize)]
struct Head {
    op: Option<String>,
    id: Option<u64>,
}

/// Parses one text frame. `received_at` is the time of readings without `ts`.
pub fn parse(
    text: &str,
    received_at: Timestamp,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Command, CommandError> {
    let (max, actual) = (limits.body_bytes_max, text.len());
    if actual > max {
        let limit = LimitExceeded { name: "body_bytes_max", max, actual };
        return Err(CommandError { id: None, detail: limit.to_string() });
    }
    check_json(text.as_bytes())
        .map_err(|error| CommandError { id: None, detail: error.to_string() })?;
    let head: Head = serde_json::from_str(text).map_err(|_| CommandError {
        id: None,
        detail: "expected an object with \"op\" and, but for authenticate, \"id\"".to_owned(),
    })?;
    let refuse = |detail: &str| CommandError { id: head.id, detail: detail.to_owned() };
    match head.op.as_deref() {
        Some("publish") => publish(text, received_at, limits, keys)
            .map_err(|detail| CommandError { id: head.id, detail }),
        Some("authenticate" | "subscribe" | "unsubscribe") => {
            let wire: Wire = serde_json::from_str(text).map_err(|_| {
                refuse(
                    "expected {\"op\":\"authenticate\",\"token\":..}, {\"op\":\"subscribe\",\
                     \"id\":..,\"topic\":\"latest\"|\"alerts\"|\"twins\",\"twin_id\"?,\
                     \"device_ids\"?} or {\"op\":\"unsubscribe\",\"id\":..}",
                )
            })?;
            command(wire)
        }
        _ => Err(refuse("unknown op: expected authenticate, subscribe, unsubscribe or publish")),
    }
}

fn command(wire: Wire) -> Result<Command, CommandError> {
    Ok(match wire {
        Wire::Authenticate { token } => Command::Authenticate { token: Secret::new(token) },
        Wire::Unsubscribe { id } => Command::Unsubscribe { id },
        Wire::Subscribe { id, topic, twin_id, device_ids } => {
            let (max, actual) =
                (DEVICES_PER_SUBSCRIPTION_MAX, device_ids.as_ref().map_or(0, Vec::len));
            if actual > max {
                let limit = LimitExceeded { name: "devices_per_subscription_max", max, actual };
                return Err(CommandError { id: Some(id), detail: limit.to_string() });
            }
            Command::Subscribe { id, topic, twin_id, device_ids }
        }
    })
}

fn publish(
    text: &str,
    received_at: Timestamp,
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Command, String> {
    let wire: Publish<'_> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "line {line}, column {column}: expected id, ts (milliseconds, optional) and values, \
             nothing else"
        )
    })?;
    let received_at = match wire.ts {
        Some(millis) => Timestamp::from_millis(millis).map_err(|error| error.to_string())?,
        None => received_at,
    };
    let values = wire.values.get();
    let offset = (values.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let mut readings = Vec::new();
    parse_values(values.as_bytes(), MessageContext { received_at, limits }, keys, &mut readings)
        .map_err(|error: PayloadError| error.moved_by(offset).to_string())?;
    Ok(Command::Publish { id: wire.id, readings })
}

/// The sink entry of published readings; `None` when there are none.
pub fn entry(
    session: &DeviceSession,
    received_at: Timestamp,
    readings: Vec<Reading>,
) -> Option<SinkEntry> {
    if readings.is_empty() {
        return None;
    }
    let DeviceSession { tenant, device, credential, .. } = *session;
    Some(SinkEntry::Readings(DeviceBatch { tenant, device, credential, received_at, readings }))
}

/// The answer to a command that was carried out; for `publish`, sent once the data is durable.
pub fn done(id: u64) -> String {
    serde_json::json!({ "type": "done", "id": id }).to_string()
}

/// The answer to a command that was not.
pub fn error(id: Option<u64>, detail: &str) -> String {
    serde_json::json!({ "type": "error", "id": id, "detail": detail }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Command, CommandError> {
        parse(text, Timestamp::EPOCH, &IngestLimits::default(), &mut KeyTable::default())
    }

    #[test]
    fn commands() {
        assert!(matches!(
            check(r#"{"op":"subscribe","id":1,"topic":"latest","twin_id":"x"}"#),
            Ok(Command::Subscribe { id: 1, topic: Topic::Latest, .. })
        ));
        assert!(matches!(
            check(r#"{"op":"unsubscribe","id":1}"#),
            Ok(Command::Unsubscribe { id: 1 })
        ));
        assert!(matches!(
            check(r#"{"op":"authenticate","token":"t"}"#),
            Ok(Command::Authenticate { .. })
        ));
        let Ok(Command::Publish { id: 9, readings }) =
            check(r#"{"op":"publish","id":9,"ts":5,"values":{"a":1,"b":null}}"#)
        else {
            panic!("publish");
        };
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].at, Timestamp::from_micros(5000));
    }

    #[test]
    fn mistakes_are_named() {
        let bad = |text: &str, id, part: &str| {
            let error = check(text).expect_err(text);
            assert_eq!(error.id, id, "{text}");
            assert!(error.detail.contains(part), "{text}: {}", error.detail);
        };
        bad("", None, "byte 0: expected a value");
        bad("[]", None, "expected an object");
        bad(r#"{"op":"fly","id":3}"#, Some(3), "unknown op");
        bad(r#"{"op":"subscribe","id":3,"topic":"x"}"#, Some(3), "expected");
        bad(r#"{"op":"publish","id":3,"values":{"a":01}}"#, None, "byte 37: a number may not");
        bad(r#"{"op":"publish","id":3,"values":{"":1}}"#, Some(3), "byte 33: key length");
        bad(r#"{"op":"publish","id":3,"values":[]}"#, Some(3), "byte 32");
    }
}
