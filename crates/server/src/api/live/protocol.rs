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
