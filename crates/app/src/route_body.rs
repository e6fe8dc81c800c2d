//! What messages to places outside say: JSON in the form of Standard Webhooks, `type`, `timestamp`
//! and `data`. Of readings, only what may leave is in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use veritwin_domain::{DeviceBatch, DeviceId, RelayMessage, RouteRuleId, Timestamp, Value};
use veritwin_metastore::Device;

use crate::{Error, Result};

/// Largest message, in bytes; readings of more are several messages.
pub(crate) const ROUTE_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// What everything but the readings of a message may take of that.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Deepest JSON that is sent as such; deeper is sent as its text. Whoever reads a message has a
/// bound of this kind, and a message adds some levels.
const JSON_LEVELS_MAX: usize = 64;
/// What a row of readings weighs besides its keys and values.
const ROW_BYTES: usize = 48;
/// What a value weighs besides its key and text.
const VALUE_BYTES: usize = 32;

/// A thing by its id and name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NamedRule {
    pub(crate) id: RouteRuleId,
    pub(crate) name: String,
}

/// The device that a message is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NamedDevice {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// Readings of one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReadingsRow {
    pub(crate) at: String,
    pub(crate) values: BTreeMap<String, Json>,
}

/// What a message is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RouteData {
    pub(crate) rule: NamedRule,
    pub(crate) device: NamedDevice,
    /// The readings are made up by a simulation of the device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) simulated: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) readings: Vec<ReadingsRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    /// A payload that is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Json>,
    /// One that is other text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// One that is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RouteBody {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) timestamp: String,
    pub(crate) data: RouteData,
    /// How often rules have passed it on; never sent.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(crate) hops: u8,
}

/// Serde hands a reference.
const fn is_first(hops: &u8) -> bool {
    *hops == 0
}

impl RouteBody {
    /// As it was stored.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = |_| Error::Internal("a routed message is damaged".to_owned());
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// As it is stored and sent.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Takes out readings that may not leave; false if nothing is left to say.
    pub(crate) fn keep(&mut self, is_open: impl Fn(Option<&str>) -> bool) -> bool {
        if self.data.topic.is_some() {
            return is_open(None);
        }
        for row in &mut self.data.readings {
            row.values.retain(|key, _| is_open(Some(key.as_str())));
        }
        self.data.readings.retain(|row| !row.values.is_empty());
        !self.data.readings.is_empty()
    }
}

fn is_deeper(json: &Json, levels: usize) -> bool {
    let Some(inside) = levels.checked_sub(1) else { return json.is_array() || json.is_object() };
    match json {
        Json::Array(all) => all.iter().any(|one| is_deeper(one, inside)),
        Json::Object(all) => all.values().any(|one| is_deeper(one, inside)),
        _ => false,
    }
}

/// A text that is JSON, and not too deep to be read again.
fn json_in(text: &str) -> Option<Json> {
    let json = serde_json::from_str(text).ok();
    json.filter(|json| !is_deeper(json, JSON_LEVELS_MAX))
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Double(number) => Json::from(*number),
        Value::Integer(number) => Json::from(*number),
        Value::Boolean(flag) => Json::from(*flag),
        Value::Text(text) => Json::from(&**text),
        Value::Json(text) => json_in(text).unwrap_or_else(|| Json::from(&**text)),
    }
}

/// Readings of a batch by their moment, earliest first.
pub(crate) type Rows<'a> = BTreeMap<Timestamp, BTreeMap<&'a str, &'a Value>>;

/// The readings of a batch that may leave and are wanted.
pub(crate) fn rows_of(batch: &DeviceBatch, is_wanted: impl Fn(&str) -> bool) -> Rows<'_> {
    let mut rows = Rows::new();
    for reading in batch.readings.iter().filter(|reading| is_wanted(&reading.key)) {
        rows.entry(reading.at).or_default().insert(&reading.key, &reading.value);
    }
    rows
}

fn weight(values: &BTreeMap<&str, &Value>) -> usize {
    let of = |(key, value): (&&str, &&Value)| key.len() + value.text_bytes() + VALUE_BYTES;
    ROW_BYTES + values.iter().map(of).sum::<usize>()
}

/// Rows put together into parts that each fit into a message.
pub(crate) fn parts_of(rows: Rows<'_>) -> Vec<Vec<ReadingsRow>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (at, values) in rows {
        let more = weight(&values);
        if bytes + more > ROUTE_MESSAGE_BYTES_MAX - HEAD_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), json_of(value)));
        part.push(ReadingsRow { at: at.to_string(), values: values.collect() });
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// The beginning of a message of a device by a rule.
pub(crate) fn body_of(
    kind: &str,
    received_at: Timestamp,
    (rule, name): (RouteRuleId, &str),
    device: &Device,
) -> RouteBody {
    RouteBody {
        kind: kind.to_owned(),
        timestamp: received_at.to_string(),
        data: RouteData {
            rule: NamedRule { id: rule, name: name.to_owned() },
            device: NamedDevice {
                id: device.id,
                name: device.name.clone(),
                kind: device.kind.clone(),
            },
            simulated: false,
            readings: Vec::new(),
            topic: None,
            payload: None,
            text: None,
            base64: None,
        },
        hops: 0,
    }
}

/// Puts what a device said to a topic into a message.
pub(crate) fn put_payload(data: &mut RouteData, message: &RelayMessage) {
    data.topic = Some(message.topic.to_string());
    match std::str::from_utf8(&message.payload) {
        Ok(text) => match json_in(text) {
            Some(json) => data.payload = Some(json),
            None => data.text = Some(text.to_owned()),
        },
        Err(_) => data.base64 = Some(STANDARD.encode(&message.payload)),
    }
}

/// What a place is sent to see whether it works.
pub(crate) fn sample_body(at: Timestamp) -> Result<Bytes> {
    let sample = serde_json::json!({
        "type": "sample",
        "timestamp": at.to_string(),
        "data": { "text": "A sample of Veritwin: this destination is reached." },
    });
    let bytes = serde_json::to_vec(&sample).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, Key, Quality, Reading, TenantId};

    use super::*;

    fn batch(readings: &[(&str, i64, Value)]) -> DeviceBatch {
        let reading = |(key, at, value): &(&str, i64, Value)| Reading {
            key: Key::new(key).expect("a key"),
            at: Timestamp::from_micros(*at),
            value: value.clone(),
            quality: Quality::default(),
        };
        DeviceBatch {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: Timestamp::from_micros(9),
            readings: readings.iter().map(reading).collect(),
        }
    }

    #[test]
    fn readings_stand_by_their_moment_and_only_what_is_wanted() {
        let batch = batch(&[
            ("t", 2, Value::Integer(5)),
            ("hidden", 2, Value::Integer(6)),
            ("t", 1, Value::Boolean(true)),
        ]);
        let parts = parts_of(rows_of(&batch, |key| key != "hidden"));
        let part = parts.first().expect("one");
        let values: Vec<_> = part.iter().map(|row| row.values.get("t")).collect();
        assert_eq!(values, [Some(&Json::from(true)), Some(&Json::from(5))]);
        assert!(part.iter().all(|row| row.values.len() == 1));
    }

    #[test]
    fn much_is_several_messages() {
        let text = Value::Text("x".repeat(100_000).into());
        let batch = batch(&[("t", 1, text.clone()), ("t", 2, text.clone()), ("t", 3, text)]);
        let parts = parts_of(rows_of(&batch, |_| true));
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn deep_json_goes_as_its_text_and_every_message_can_be_read_again() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for levels in [1, JSON_LEVELS_MAX, JSON_LEVELS_MAX + 1, 126, 127, 1000] {
            let text = nested(levels);
            let json = json_of(&Value::Json(text.as_str().into()));
            assert_eq!(json.is_string(), levels > JSON_LEVELS_MAX, "{levels}");
            let row = ReadingsRow { at: String::new(), values: [("t".to_owned(), json)].into() };
            let mut body = empty();
            body.data.payload = json_in(&text);
            body.data.readings = vec![row];
            let bytes = body.bytes().expect("bytes");
            assert!(RouteBody::read(&bytes).is_ok(), "{levels}");
        }
    }

    fn empty() -> RouteBody {
        serde_json::from_value(serde_json::json!({
            "type": "readings", "timestamp": "", "data": {
                "rule": { "id": "01890000-0000-7000-8000-000000000001", "name": "r" },
                "device": { "id": "01890000-0000-7000-8000-000000000002", "name": "d", "type": "" },
            }
        }))
        .expect("a body")
    }

    #[test]
    fn what_was_closed_meanwhile_is_taken_out() {
        let row = |keys: &[&str]| ReadingsRow {
            at: String::new(),
            values: keys.iter().map(|key| ((*key).to_owned(), Json::from(1))).collect(),
        };
        let mut body = empty();
        body.data.readings = vec![row(&["a", "b"]), row(&["b"])];
        assert!(body.keep(|key| key == Some("a")));
        assert_eq!(body.data.readings.len(), 1);
        assert!(!body.keep(|_| false));
    }
}
