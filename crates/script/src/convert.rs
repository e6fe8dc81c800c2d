//! Between JSON and the values of scripts, within the bounds of both.

use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::Value;

use crate::budget::take;
use crate::error::{Answer, ScriptError, stop, stop_at_limit};
use crate::{
    ARRAY_ITEMS_MAX, DECODED_MAX, Decoded, JSON_DEPTH_MAX, MAP_KEYS_MAX, STRING_BYTES_MAX, Scalar,
};

/// Reads JSON for a script. A mistake is at a line and column, and nothing of the text is said.
pub(crate) fn from_json(bytes: &[u8]) -> Answer<Dynamic> {
    take(bytes.len())?;
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => {
            let (mut items, mut keys) = (0, 0);
            from_value(value, 1, &mut items, &mut keys)
        }
        Err(error) => stop(format!(
            "json(): the payload is not JSON (its line {}, column {})",
            error.line(),
            error.column()
        )),
    }
}

fn from_value(value: Value, depth: usize, items: &mut usize, keys: &mut usize) -> Answer<Dynamic> {
    if depth > JSON_DEPTH_MAX {
        return stop_at_limit("json()", JSON_DEPTH_MAX, "levels");
    }
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => Dynamic::from(flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Dynamic::from(number),
            (None, Some(number)) => Dynamic::from(number),
            (None, None) => return stop("json(): expected numbers of 64 bits"),
        },
        Value::String(text) if text.len() > STRING_BYTES_MAX => {
            return stop_at_limit("json(), a text", STRING_BYTES_MAX, "bytes");
        }
        Value::String(text) => Dynamic::from(text),
        Value::Array(values) => {
            *items += values.len();
            if *items > ARRAY_ITEMS_MAX {
                return stop_at_limit("json()", ARRAY_ITEMS_MAX, "items of arrays");
            }
            let mut array = Array::with_capacity(values.len());
            for value in values {
                array.push(from_value(value, depth + 1, items, keys)?);
            }
            Dynamic::from(array)
        }
        Value::Object(values) => {
            *keys += values.len();
            if *keys > MAP_KEYS_MAX {
                return stop_at_limit("json()", MAP_KEYS_MAX, "keys of objects");
            }
            let mut map = Map::new();
            for (key, value) in values {
                map.insert(key.as_str().into(), from_value(value, depth + 1, items, keys)?);
            }
            Dynamic::from(map)
        }
    })
}

/// A value for a script.
pub(crate) fn from_scalar(value: &Scalar) -> Dynamic {
    match value {
        Scalar::Integer(number) => Dynamic::from(*number),
        Scalar::Number(number) => Dynamic::from(*number),
        Scalar::Boolean(flag) => Dynamic::from(*flag),
        Scalar::Text(text) => Dynamic::from(text.clone()),
    }
}

/// What a decoder gave, as readings.
pub(crate) fn to_decoded(result: Dynamic) -> Result<Vec<Decoded>, ScriptError> {
    if result.is::<()>() {
        return Ok(Vec::new());
    }
    if let Some(array) = result.clone().try_cast::<Array>() {
        if array.len() > DECODED_MAX {
            return Err(ScriptError::limit("the result", DECODED_MAX as u64, "points of time"));
        }
        return array.into_iter().map(to_point).collect();
    }
    Ok(vec![to_point(result)?])
}

fn to_point(value: Dynamic) -> Result<Decoded, ScriptError> {
    let Some(mut map) = value.try_cast::<Map>() else {
        return Err(ScriptError::result(
            "the result is not readings: expected a map #{ key: value }, or an array of \
             #{ ts: milliseconds, values: #{ ... } }",
        ));
    };
    let is_timed = map.get("values").is_some_and(|values| values.is::<Map>())
        && map.keys().all(|key| matches!(key.as_str(), "ts" | "values"));
    if !is_timed {
        return Ok(Decoded { ts: None, values: to_values(map)? });
    }
    let ts = match map.remove("ts") {
        Some(ts) if !ts.is::<()>() => match ts.as_int() {
            Ok(ts) => Some(ts),
            Err(_) => {
                let detail = "ts is not a time: expected whole milliseconds since 1970";
                return Err(ScriptError::result(detail));
            }
        },
        _ => None,
    };
    let values = map.remove("values").and_then(Dynamic::try_cast::<Map>).unwrap_or_default();
    Ok(Decoded { ts, values: to_values(values)? })
}

/// Values of nothing are left out.
fn to_values(map: Map) -> Result<Vec<(String, Scalar)>, ScriptError> {
    let mut values = Vec::with_capacity(map.len());
    for (index, (key, value)) in map.into_iter().enumerate() {
        if let Some(value) = to_scalar(value, index + 1)? {
            values.push((key.as_str().to_owned(), value));
        }
    }
    Ok(values)
}

/// `number` is the place of the key, in the order of the keys.
fn to_scalar(value: Dynamic, number: usize) -> Result<Option<Scalar>, ScriptError> {
    if value.is::<()>() {
        return Ok(None);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Some(Scalar::Boolean(flag)));
    }
    if let Ok(integer) = value.as_int() {
        return Ok(Some(Scalar::Integer(integer)));
    }
    if let Ok(double) = value.as_float() {
        if !double.is_finite() {
            return Err(ScriptError::result(format!(
                "the value of key {number} of the result is no finite number"
            )));
        }
        return Ok(Some(Scalar::Number(double)));
    }
    match value.try_cast::<ImmutableString>() {
        Some(text) => Ok(Some(Scalar::Text(text.as_str().to_owned()))),
        None => Err(ScriptError::result(format!(
            "the value of key {number} of the result, in the order of the keys: expected a \
             number, a text, true or false, or ()"
        ))),
    }
}
