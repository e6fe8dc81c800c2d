//! The other messages devices write: attributes, attribute requests, calls and answers.

use veritwin_domain::{IngestLimits, Key, LimitExceeded, Screening, Value};

use super::cursor::{Cursor, check_json};
use super::telemetry::checked_key;
use super::{Kept, KeyTable, PayloadError, check_value};
use crate::model::{AttributesRequest, ClientRpc};

/// Longest method name of a call, in bytes.
const METHOD_BYTES_MAX: usize = 256;

/// Parses `{"key":value,...}`; null values are left out.
pub fn parse_attributes(
    payload: &[u8],
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Vec<(Key, Value)>, PayloadError> {
    let mut cursor = Cursor::new(payload)?;
    let entries = attributes_of(&mut cursor, limits, keys, 1)?;
    cursor.end()?;
    Ok(entries)
}

/// The next object of keys and values. `depth` counts it and what encloses it.
pub(super) fn attributes_of(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    keys: &mut KeyTable,
    depth: usize,
) -> Result<Vec<(Key, Value)>, PayloadError> {
    let mut entries = Vec::new();
    cursor.expect(b'{', "an object with keys and values")?;
    if cursor.take(b'}') {
        return Ok(entries);
    }
    loop {
        cursor.skip_whitespace();
        let key_at = cursor.position;
        let key = cursor.string("a key in double quotes")?;
        cursor.expect(b':', "':' after a key")?;
        if let Some(value) = cursor.value(limits.value_bytes_max, depth)? {
            let key = checked_key(&key, key_at, limits, keys)?;
            check_value(keys.screening(), &key, &value, Kept::Attribute)
                .map_err(|refused| PayloadError::refused_value(key_at, refused))?;
            let (max, actual) = (limits.keys_per_message_max, entries.len() + 1);
            if actual > max {
                let limit = LimitExceeded { name: "keys_per_message_max", max, actual };
                return Err(PayloadError::limit(key_at, limit));
            }
            entries.push((key, value));
        }
        if cursor.take(b'}') {
            return Ok(entries);
        }
        cursor.expect(b',', "',' or '}'")?;
    }
}

/// Parses `{"clientKeys":"a,b","sharedKeys":"c"}`; both may be missing, and an empty list counts
/// as missing.
pub fn parse_attributes_request(
    payload: &[u8],
    limits: &IngestLimits,
) -> Result<AttributesRequest, PayloadError> {
    let mut request = AttributesRequest::default();
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(request);
    }
    let mut cursor = Cursor::new(payload)?;
    cursor.expect(b'{', "an object with clientKeys and sharedKeys")?;
    if !cursor.take(b'}') {
        loop {
            cursor.skip_whitespace();
            let key_at = cursor.position;
            let name = cursor.string("the key clientKeys or sharedKeys")?;
            cursor.expect(b':', "':' after a key")?;
            cursor.skip_whitespace();
            let list_at = cursor.position;
            let list = cursor.string("a string of keys with commas between them")?;
            let keys = key_list(&list, limits)
                .map_err(|error| PayloadError { position: list_at, ..error })?;
            match &*name {
                "clientKeys" => request.client = asked(keys),
                "sharedKeys" => request.shared = asked(keys),
                _ => {
                    let detail = "unknown key: expected clientKeys or sharedKeys";
                    return Err(PayloadError::new(key_at, detail));
                }
            }
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',', "',' or '}'")?;
        }
    }
    cursor.end()?;
    Ok(request)
}

/// An empty list asks for nothing.
pub(crate) fn asked(keys: Vec<Key>) -> Option<Vec<Key>> {
    Some(keys).filter(|keys| !keys.is_empty())
}

/// A list of keys with commas between them, as attribute requests write it.
pub(crate) fn key_list(list: &str, limits: &IngestLimits) -> Result<Vec<Key>, PayloadError> {
    // They are asked for, not kept.
    let mut table = KeyTable::new(Screening::NONE);
    let mut keys = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let (max, actual) = (limits.keys_per_message_max, keys.len() + 1);
        if actual > max {
            let limit = LimitExceeded { name: "keys_per_message_max", max, actual };
            return Err(PayloadError::limit(0, limit));
        }
        keys.push(checked_key(text, 0, limits, &mut table)?);
    }
    Ok(keys)
}

/// Parses `{"method":"name","params":any}`; other keys are left out.
pub fn parse_client_rpc(payload: &[u8]) -> Result<ClientRpc, PayloadError> {
    let mut cursor = Cursor::new(payload)?;
    let (mut method, mut params) = (None, None);
    cursor.expect(b'{', "an object with method and params")?;
    if !cursor.take(b'}') {
        loop {
            let name = cursor.string("a key in double quotes")?;
            cursor.expect(b':', "':' after a key")?;
            cursor.skip_whitespace();
            let value_at = cursor.position;
            if name == "method" {
                let text = cursor.string("a string with the method's name")?;
                let (max, actual) = (METHOD_BYTES_MAX, text.len());
                if actual > max {
                    let limit = LimitExceeded { name: "method_bytes_max", max, actual };
                    return Err(PayloadError::limit(value_at, limit));
                }
                method = Some(text.into_owned());
            } else {
                let mut out = String::new();
                cursor.minify(&mut out, 1)?;
                if name == "params" {
                    params = Some(out);
                }
            }
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',', "',' or '}'")?;
        }
    }
    let end = cursor.position;
    cursor.end()?;
    let method =
        method.ok_or_else(|| PayloadError::new(end, "expected a key \"method\" with its name"))?;
    Ok(ClientRpc { method, params: params.unwrap_or_else(|| "{}".to_owned()) })
}

/// Checks that a payload is one JSON value within the bound and gives its minified text.
pub fn parse_json_text(payload: &[u8], limits: &IngestLimits) -> Result<String, PayloadError> {
    let (max, actual) = (limits.value_bytes_max, payload.len());
    if actual > max {
        return Err(PayloadError::limit(0, LimitExceeded { name: "value_bytes_max", max, actual }));
    }
    check_json(payload)
}
