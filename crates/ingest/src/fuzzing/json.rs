//! JSON of devices: the doors agree with one another and with `serde_json`, and what is written
//! down again is read as the same.

use veritwin_domain::{IngestLimits, Key, Reading, Screening, Timestamp, Value};

use super::check_screened;
use crate::bulk::{self, BulkContext, Format};
use crate::model::RpcRequest;
use crate::payload::{
    KeyTable, MessageContext, check_json, entries_json, parse_attributes, parse_attributes_request,
    parse_client_rpc, parse_json_text, parse_telemetry, parse_values, rpc_json,
};
use crate::ws::{self, Command, DEVICES_PER_SUBSCRIPTION_MAX};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A payload at each of the doors that take one.
pub fn device_json(data: &[u8]) {
    let limits = IngestLimits::default();
    check_grammar(data);
    check_telemetry(data, &limits);
    let values = values_of(data, &limits);
    check_attributes(data, &limits, values.as_ref().ok());
    check_other_doors(data, &limits, &values);
    if let Ok(request) = parse_attributes_request(data, &limits) {
        let count = request.client.map_or(0, |keys| keys.len());
        assert!(count <= limits.keys_per_message_max);
    }
    if let Ok(call) = parse_client_rpc(data) {
        let (method, params) = (call.method.clone(), call.params.clone());
        let text = rpc_json(&RpcRequest { id: 7, method, params }, true);
        assert_eq!(parse_client_rpc(text.as_bytes()), Ok(call));
    }
    if let Ok(text) = parse_json_text(data, &limits) {
        assert_eq!(parse_json_text(text.as_bytes(), &limits).as_deref(), Ok(&*text));
    }
}

/// What our grammar takes `serde_json` takes, and means the same without its blanks.
fn check_grammar(data: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(data);
    match check_json(data) {
        Ok(text) => {
            let again = serde_json::from_str::<serde_json::Value>(&text);
            let theirs = theirs.as_ref().map_err(ToString::to_string);
            assert_eq!(theirs, again.as_ref().map_err(ToString::to_string), "minified");
            assert!(theirs.is_ok(), "taken by us only: {theirs:?}");
        }
        Err(error) => {
            assert!(error.position <= data.len(), "{error}");
            let is_bound = error.limit.is_some();
            assert!(theirs.is_err() || is_bound, "refused by us only: {error}");
        }
    }
}

fn check_telemetry(data: &[u8], limits: &IngestLimits) {
    let context = MessageContext { received_at: NOW, limits };
    let mut out = Vec::new();
    let mut keys = KeyTable::new(Screening::ALL);
    let Ok(next) = parse_telemetry(data, context, &mut keys, &mut out) else {
        assert!(out.is_empty(), "a refused message left readings");
        return;
    };
    assert!(next >= NOW && out.len() <= limits.readings_per_message_max);
    check_screened(&out);
    let mut freely = Vec::new();
    let taken = parse_telemetry(data, context, &mut KeyTable::new(Screening::NONE), &mut freely);
    assert_eq!(taken.as_ref(), Ok(&next));
    assert_eq!(freely, out, "the screening changes readings");
    for reading in out {
        let entry = [(reading.key, reading.value)];
        let again = values_of(entries_json(&entry).as_bytes(), limits);
        assert_eq!(again.as_deref(), Ok(&entry[..]), "written again");
    }
}

type Entries = Vec<(Key, Value)>;

fn entries(readings: Vec<Reading>) -> Entries {
    readings.into_iter().map(|reading| (reading.key, reading.value)).collect()
}

fn values_of(data: &[u8], limits: &IngestLimits) -> Result<Entries, String> {
    let context = MessageContext { received_at: NOW, limits };
    let mut out = Vec::new();
    parse_values(data, context, &mut KeyTable::new(Screening::ALL), &mut out)
        .map_err(|error| error.to_string())?;
    check_screened(&out);
    Ok(entries(out))
}

/// Attributes are held to stricter rules than readings.
fn check_attributes(data: &[u8], limits: &IngestLimits, values: Option<&Entries>) {
    let mut keys = KeyTable::new(Screening::ALL);
    let Ok(found) = parse_attributes(data, limits, &mut keys) else { return };
    assert_eq!(Some(&found), values, "attributes that are no readings");
    for (key, value) in &found {
        assert_eq!(Screening::ALL.value(key, value, true), Ok(None), "a refused attribute");
    }
    let again = parse_attributes(entries_json(&found).as_bytes(), limits, &mut keys);
    assert_eq!(again, Ok(found), "written again");
}

/// The same values in a bulk line and in a command of the WebSocket.
fn check_other_doors(data: &[u8], limits: &IngestLimits, values: &Result<Entries, String>) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Another member behind the object is another question.
    if check_json(data).is_err() || text.contains('\n') {
        return;
    }
    let command = format!(r#"{{"op":"publish","values":{text}}}"#);
    let ws = match ws::parse(&command, limits, &mut KeyTable::new(Screening::ALL)) {
        Ok(Command::Publish { readings, .. }) => Ok(entries(readings)),
        Ok(other) => panic!("another command: {other:?}"),
        Err(error) => Err(error.detail),
    };
    let line = format!(r#"{{"device":"d","values":{text}}}"#);
    let context = BulkContext {
        received_at: NOW,
        untimed_at: NOW,
        limits,
        one_device: false,
        screening: Screening::ALL,
    };
    let line = match bulk::parse(Format::NdJson, line.as_bytes(), context) {
        Ok(rows) => Ok(rows.into_iter().flat_map(|row| entries(row.readings)).collect()),
        Err(error) => Err(error.detail),
    };
    for (door, found) in [("WebSocket", ws), ("NDJSON", line)] {
        match (values, &found) {
            (Ok(values), Ok(found)) => assert_eq!(found, values, "{door}"),
            (Err(_), Err(_)) => {}
            // One more object is around the values.
            (Ok(_), Err(text)) if text.contains("nesting_max") => {}
            _ => panic!("{door}: {found:?}, MQTT: {values:?}"),
        }
    }
}

/// A text frame of `/v1/ws`.
pub fn ws_command(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = IngestLimits::default();
    match ws::parse(text, &limits, &mut KeyTable::new(Screening::ALL)) {
        Err(error) => {
            let at = error.detail.strip_prefix("byte ").and_then(|rest| rest.split_once(':'));
            let at: Option<usize> = at.and_then(|(number, _)| number.parse().ok());
            assert!(at.is_some_and(|at| at <= text.len()), "{}", error.detail);
        }
        Ok(command) => {
            let theirs = serde_json::from_str::<serde_json::Value>(text);
            let theirs = theirs.unwrap_or_else(|error| panic!("taken by us only: {error}"));
            assert_eq!(command.id(), theirs["id"].as_u64(), "the number");
            match command {
                Command::Publish { readings, .. } => {
                    check_screened(&readings);
                    let values = theirs["values"].as_object().map_or(0, serde_json::Map::len);
                    let at = readings.first().map(|reading| reading.at);
                    assert!(readings.iter().all(|reading| Some(reading.at) == at));
                    let distinct: std::collections::BTreeSet<_> =
                        readings.iter().map(|reading| &*reading.key).collect();
                    assert!(distinct.len() <= values);
                }
                Command::Subscribe { device_ids, .. } => {
                    let count = device_ids.map_or(0, |ids| ids.len());
                    assert!(count <= DEVICES_PER_SUBSCRIPTION_MAX);
                }
                Command::Authenticate { .. } | Command::Unsubscribe { .. } => {}
            }
        }
    }
}
