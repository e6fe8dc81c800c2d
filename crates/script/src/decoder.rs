//! Decoders: a payload becomes readings.

use std::fmt;

use rhai::{AST, Dynamic, Map, Scope};

use crate::bytes::Bytes;
use crate::convert::to_decoded;
use crate::engine::{compile, run};
use crate::{PAYLOAD_BYTES_MAX, ScriptError};

/// What a device sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Payload<'a> {
    /// The bytes: `payload` in the script.
    pub bytes: &'a [u8],
    /// The topic it was published on, or the path it was posted to: `topic`.
    pub topic: &'a str,
    /// The type it was said to be of; empty if none: `content_type`.
    pub content_type: &'a str,
    /// What else was said of it, such as user properties of MQTT 5: the map `meta`.
    pub meta: &'a [(String, String)],
}

/// A value of a reading.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A text.
    Text(String),
}

/// Readings of one point of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Milliseconds since 1970; none: when the message arrived.
    pub ts: Option<i64>,
    /// Keys and values, in the order of the keys.
    pub values: Vec<(String, Scalar)>,
}

/// A compiled decoder. It can be run by many threads at once.
pub struct Decoder {
    ast: AST,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// Compiles a script whose last expression is the readings.
    pub fn compile(source: &str) -> Result<Self, ScriptError> {
        let scope = scope(&Payload::default());
        compile(source, &scope).map(|ast| Self { ast })
    }

    /// Runs it on one payload.
    pub fn run(&self, payload: &Payload<'_>) -> Result<Vec<Decoded>, ScriptError> {
        if payload.bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(ScriptError::limit("the payload", PAYLOAD_BYTES_MAX as u64, "bytes"));
        }
        let mut scope = scope(payload);
        to_decoded(run(&self.ast, &mut scope)?)
    }
}

fn scope(payload: &Payload<'_>) -> Scope<'static> {
    let mut meta = Map::new();
    for (name, value) in payload.meta {
        meta.insert(name.as_str().into(), Dynamic::from(value.clone()));
    }
    let mut scope = Scope::new();
    scope.push("payload", Bytes::new(payload.bytes));
    scope.push("topic", payload.topic.to_owned());
    scope.push("content_type", payload.content_type.to_owned());
    scope.push("meta", meta);
    scope
}

/// The readings as a device would write them in JSON: an array of `{"ts":...,"values":{...}}`,
/// or of `{...}` where there is no time.
pub fn decoded_json(decoded: &[Decoded]) -> String {
    let points = decoded.iter().map(|point| {
        let values = point.values.iter().map(|(key, value)| (key.clone(), json_of(value)));
        let values = serde_json::Value::Object(values.collect());
        match point.ts {
            Some(ts) => serde_json::json!({ "ts": ts, "values": values }),
            None => values,
        }
    });
    serde_json::Value::Array(points.collect()).to_string()
}

fn json_of(value: &Scalar) -> serde_json::Value {
    match value {
        Scalar::Integer(number) => (*number).into(),
        Scalar::Number(number) => (*number).into(),
        Scalar::Boolean(flag) => (*flag).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}
