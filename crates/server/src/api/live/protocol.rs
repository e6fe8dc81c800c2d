//! The commands and messages of `/v1/ws`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::alerts::AlertBody;

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Command {
    /// An API key or a device token.
    Authenticate { token: String },
    /// Changes of one topic from now on, after a snapshot.
    Subscribe { id: u64, topic: Topic, twin_id: Option<String>, device_ids: Option<Vec<String>> },
    /// Ends a subscription.
    Unsubscribe { id: u64 },
    /// Readings of the device that authenticated.
    Publish { id: Option<u64>, ts: Option<i64>, values: serde_json::Map<String, Value> },
}

impl Command {
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::Authenticate { .. } => None,
            Self::Subscribe { id, .. } | Self::Unsubscribe { id } => Some(*id),
            Self::Publish { id, .. } => *id,
        }
    }
}

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Topic {
    Latest,
    Alerts,
    Twins,
}

/// A changed latest value.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LatestDelta {
    pub(super) device_id: String,
    pub(super) key: String,
    pub(super) at_ms: i64,
    pub(super) value: Value,
    pub(super) quality: &'static str,
}

/// What the server says. `Missed`: events of the subscription were dropped; read the list again.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage {
    Ready { seq: u64 },
    Latest { id: u64, seq: u64, items: Vec<LatestDelta> },
    Alert { id: u64, seq: u64, alert: Box<AlertBody> },
    Twin { id: u64, seq: u64, twin_id: String, change: &'static str },
    Missed { id: u64, seq: u64 },
    Done { id: Option<u64> },
    Error { id: Option<u64>, detail: String },
}

impl ServerMessage {
    pub(super) fn error(id: Option<u64>, detail: String) -> Self {
        Self::Error { id, detail }
    }
}

/// The same readings as a device would send them over MQTT, so that one parser checks both.
pub(super) fn telemetry_json(ts: Option<i64>, values: serde_json::Map<String, Value>) -> String {
    let values = Value::Object(values);
    match ts {
        Some(ts) => serde_json::json!({ "ts": ts, "values": values }).to_string(),
        None => values.to_string(),
    }
}
