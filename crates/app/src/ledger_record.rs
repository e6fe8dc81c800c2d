//! What is sealed of a log entry: one record per entry, as JSON.

use serde::{Deserialize, Serialize};
use veritwin_domain::{Key, Timestamp, Value};
use veritwin_log::{Entry, Record};

use crate::model::{LatestView, SealedReading};

/// One record of a batch: what one log entry held. The canonical form is this JSON with its
/// fields in this order; `docs/reference/ledger.md` describes it for auditors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LedgerRecord {
    v: u8,
    kind: String,
    /// Position in the durable log.
    pub(crate) position: u64,
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) credential: String,
    pub(crate) received_at_us: i64,
    /// Key, event time in microseconds, value, quality.
    #[serde(default)]
    readings: Vec<(String, i64, serde_json::Value, String)>,
    /// Attribute names and values; null deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<(String, serde_json::Value)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl LedgerRecord {
    /// Whether this record holds the reading.
    pub(crate) fn holds(&self, reading: &LatestView) -> bool {
        self.readings.iter().any(|(key, at, value, _)| {
            key == &*reading.key && *at == reading.at.as_micros() && *value == json(&reading.value)
        })
    }
}

impl LedgerRecord {
    /// `readings`, `attributes`, `session`, `refusal` or `relay`.
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// The keys of its readings.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.readings.iter().map(|(key, ..)| key.as_str())
    }

    /// Whether it says something of a time, from and to inside: of a key where one is wanted.
    pub(crate) fn is_within(&self, key: Option<&Key>, (from, to): (i64, i64)) -> bool {
        let inside = |at: i64| from <= at && at <= to;
        match key {
            Some(key) => {
                self.readings.iter().any(|(one, at, ..)| one.as_str() == &**key && inside(*at))
            }
            None if self.readings.is_empty() => inside(self.received_at_us),
            None => self.readings.iter().any(|(_, at, ..)| inside(*at)),
        }
    }

    /// Its readings.
    pub(crate) fn readings(&self) -> Vec<SealedReading> {
        let shown = |(key, at, value, quality): &(String, i64, serde_json::Value, String)| {
            let at = Timestamp::from_micros(*at);
            SealedReading { key: key.clone(), at, value: value.clone(), quality: quality.clone() }
        };
        self.readings.iter().map(shown).collect()
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Double(number) => serde_json::Value::from(*number),
        Value::Integer(number) => serde_json::Value::from(*number),
        Value::Boolean(flag) => serde_json::Value::from(*flag),
        Value::Text(text) | Value::Json(text) => serde_json::Value::from(&**text),
    }
}

/// The record of an entry with the span of its event times; none for what is not sealed.
pub(crate) fn record(position: u64, entry: &Entry) -> Option<(LedgerRecord, Timestamp, Timestamp)> {
    let mut record = LedgerRecord {
        v: 1,
        kind: String::new(),
        position,
        device: String::new(),
        credential: String::new(),
        received_at_us: 0,
        readings: Vec::new(),
        attributes: Vec::new(),
        detail: String::new(),
    };
    let (from, to) = match &entry.record {
        Record::Readings(batch) => {
            record.kind = "readings".to_owned();
            record.device = batch.device.to_string();
            record.credential = batch.credential.to_string();
            record.received_at_us = batch.received_at.as_micros();
            record.readings = batch
                .readings
                .iter()
                .map(|reading| {
                    let quality = reading.quality.as_str().to_owned();
                    let at = reading.at.as_micros();
                    (reading.key.to_string(), at, json(&reading.value), quality)
                })
                .collect();
            let times = batch.readings.iter().map(|reading| reading.at);
            (times.clone().min()?, times.max()?)
        }
        Record::Attributes(update) => {
            record.kind = "attributes".to_owned();
            record.device = update.device.to_string();
            record.received_at_us = update.received_at.as_micros();
            record.attributes = update
                .entries
                .iter()
                .map(|(key, value)| {
                    (key.to_string(), value.as_ref().map_or(serde_json::Value::Null, json))
                })
                .collect();
            (update.received_at, update.received_at)
        }
        Record::Session(event) => {
            record.kind = "session".to_owned();
            record.device = event.device.to_string();
            record.credential = event.credential.to_string();
            record.received_at_us = event.at.as_micros();
            record.detail = format!("{:?}", event.kind).to_lowercase();
            (event.at, event.at)
        }
        Record::Refusal(refusal) => {
            record.kind = "refusal".to_owned();
            record.device = refusal.device.to_string();
            // Of losses that no credential has caused there is none to name.
            if refusal.credential.as_bytes() != &[0; 16] {
                record.credential = refusal.credential.to_string();
            }
            record.received_at_us = refusal.at.as_micros();
            record.detail = refusal.reason.to_string();
            (refusal.at, refusal.at)
        }
        Record::Relay(message) => {
            record.kind = "relay".to_owned();
            record.device = message.device.to_string();
            // A rule that passes a message on shows no credential.
            if message.credential.as_bytes() != &[0; 16] {
                record.credential = message.credential.to_string();
            }
            record.received_at_us = message.received_at.as_micros();
            // What others were told is theirs: only that something was, and how large it was.
            let (qos, bytes) = (message.qos, message.payload.len());
            let retained = if message.retain { ", retained" } else { "" };
            record.detail = format!("QoS {qos}, {bytes} bytes{retained}");
            (message.received_at, message.received_at)
        }
        // Where a client's session stands is no evidence of anything; an edge's statement has a
        // leaf of its own.
        Record::Note(_) | Record::Edge(_) | Record::Unreadable(_) => return None,
    };
    Some((record, from, to))
}
