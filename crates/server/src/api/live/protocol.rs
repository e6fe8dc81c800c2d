//! The messages of `/v1/ws`; its commands are parsed by the ingest crate.

use serde::Serialize;
use serde_json::Value;

use super::super::alerts::AlertBody;

/// A changed latest value.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LatestDelta {
    pub(super) device_id: String,
    pub(super) key: String,
    pub(super) at_ms: i64,
    pub(super) value: Value,
    pub(super) quality: &'static str,
}

/// A value that a device sent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TrafficValue {
    pub(super) key: String,
    /// When it was measured; none of an attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_ms: Option<i64>,
    pub(super) value: Value,
    /// Unless it is good; none of an attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quality: Option<&'static str>,
}

/// Something that a device did, or that was done to it. What does not apply is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct TrafficItem {
    pub(super) at_ms: i64,
    /// `message`, `readings`, `attributes`, `refused`, `connected`, `disconnected`,
    /// `attributes_sent`, `call` or `answer`.
    pub(super) kind: &'static str,
    /// The way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) way: Option<&'static str>,
    /// What the topic of a message is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) qos: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) retained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload_bytes: Option<u64>,
    /// After how long it was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stored_ms: Option<u64>,
    /// How many values there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<usize>,
    /// The first of them, as far as they may be seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<TrafficValue>,
    /// How many of the first may not be seen.
    #[serde(skip_serializing_if = "is_none")]
    pub(super) hidden: usize,
    /// Why it was refused, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    /// Why it was refused, or the connection ended, in words of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// Where, in bytes from the start of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<&'static str>,
    /// The number and the method of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keep_alive_seconds: Option<u16>,
    /// Who ended the connection, and with which reason code of MQTT 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u8>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What the server says. `Missed`: events of the subscription were dropped; read the list again.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage {
    Ready { seq: u64 },
    Latest { id: u64, seq: u64, items: Vec<LatestDelta> },
    Alert { id: u64, seq: u64, alert: Box<AlertBody> },
    Twin { id: u64, seq: u64, twin_id: String, change: &'static str },
    Traffic { id: u64, seq: u64, items: Vec<TrafficItem>, left_out: u64 },
    Missed { id: u64, seq: u64 },
    Done { id: Option<u64> },
    Error { id: Option<u64>, detail: String },
}

impl ServerMessage {
    pub(super) fn error(id: Option<u64>, detail: String) -> Self {
        Self::Error { id, detail }
    }
}
