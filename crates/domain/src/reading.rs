//! Readings as they travel from the wire to the log: a key, a time, a value, a quality.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::{CredentialId, DeviceId, TenantId, Timestamp};

/// The name of one series of a device. 1 to 256 bytes of UTF-8 without control characters.
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or longer than 256 bytes.
    #[error("key length must be 1 to 256 bytes, got {0}")]
    Length(usize),
    /// Holds a control character.
    #[error("key holds a control character at byte {0}")]
    Control(usize),
}

impl Key {
    /// Longest key, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// Checks and takes a key.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(KeyError::Length(text.len()));
        }
        if let Some((position, _)) = crate::find_unseen(text) {
            return Err(KeyError::Control(position));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl Deref for Key {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("number is not finite: NaN and infinities cannot be stored")]
pub struct ValueError;

/// The value of a reading. Doubles are always finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// IEEE 754 double, finite.
    Double(f64),
    /// 64-bit signed integer.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// UTF-8 text.
    Text(Arc<str>),
    /// A JSON object or array, as its canonical text.
    Json(Arc<str>),
}

impl Value {
    /// A double, if it is finite.
    pub fn double(number: f64) -> Result<Self, ValueError> {
        if number.is_finite() { Ok(Self::Double(number)) } else { Err(ValueError) }
    }

    /// The value as a number; booleans count as 0 and 1, text and JSON as none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            Self::Boolean(flag) => Some(f64::from(u8::from(*flag))),
            Self::Text(_) | Self::Json(_) => None,
        }
    }

    /// Bytes of a text or JSON value; none of any other.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Double(_) | Self::Integer(_) | Self::Boolean(_) => 0,
        }
    }
}

/// How far a reading can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Quality {
    /// As measured.
    #[default]
    Good,
    /// The device doubts it.
    Uncertain,
    /// Not usable.
    Bad,
    /// Made up by a simulation of the device. Said by the platform, and by no device.
    Simulated,
}

impl Quality {
    /// The stored form.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Uncertain => 1,
            Self::Bad => 2,
            Self::Simulated => 3,
        }
    }

    /// From the stored form.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Good),
            1 => Some(Self::Uncertain),
            2 => Some(Self::Bad),
            3 => Some(Self::Simulated),
            _ => None,
        }
    }

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
            Self::Simulated => "simulated",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Good, Self::Uncertain, Self::Bad, Self::Simulated]
            .into_iter()
            .find(|quality| quality.as_str() == text)
    }
}

/// What the customer says of a stream's personal data (promise P04). An undeclared stream is
/// treated as personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Declaration {
    /// Nothing said yet: accepted, sealed, visible to administrators only.
    #[default]
    Undeclared,
    /// No personal data.
    NonPersonal,
    /// Personal data.
    Personal,
}

impl Declaration {
    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::NonPersonal => "non_personal",
            Self::Personal => "personal",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Undeclared, Self::NonPersonal, Self::Personal]
            .into_iter()
            .find(|declaration| declaration.as_str() == text)
    }
}

/// One reading of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The series.
    pub key: Key,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// So many bytes of text weigh as much as a reading.
const TEXT_BYTES: usize = 1024;

/// What readings count for in a rate: each as one, and as one more for each whole KiB of its text.
pub fn count_readings(readings: &[Reading]) -> u32 {
    count_values(readings.iter().map(|reading| &reading.value))
}

/// What attributes count for in the rates of readings: as readings do.
pub fn count_attributes(attributes: &[(Key, Value)]) -> u32 {
    count_values(attributes.iter().map(|(_, value)| value))
}

/// What so many bytes of text count for in the rates of readings.
pub fn count_text_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes / TEXT_BYTES).unwrap_or(u32::MAX)
}

/// Time and value of a reading, without a text's own bytes.
const READING_BYTES: u64 = 16;

/// About how many bytes readings take: text counts by its length.
pub fn stored_bytes(readings: &[Reading]) -> u64 {
    readings.iter().map(|reading| READING_BYTES + reading.value.text_bytes() as u64).sum()
}

fn count_values<'a>(values: impl Iterator<Item = &'a Value>) -> u32 {
    let counts = values.map(|value| 1u32.saturating_add(count_text_bytes(value.text_bytes())));
    counts.fold(0, u32::saturating_add)
}

/// Readings of one device that arrived together and become durable together.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceBatch {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The credential that sent them.
    pub credential: CredentialId,
    /// When the platform received them.
    pub received_at: Timestamp,
    /// The readings, in the order they were sent.
    pub readings: Vec<Reading>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        assert!(Key::new("temperature").is_ok());
        assert!(Key::new("溫度").is_ok());
        assert_eq!(Key::new(""), Err(KeyError::Length(0)));
        assert_eq!(Key::new(&"k".repeat(257)), Err(KeyError::Length(257)));
        assert_eq!(Key::new("a\u{7}b"), Err(KeyError::Control(1)));
    }

    #[test]
    fn long_text_counts_as_several_readings() {
        let check = |value: Value, expect: u32| {
            let reading = Reading {
                key: Key::new("k").expect("a key"),
                at: Timestamp::EPOCH,
                value,
                quality: Quality::Good,
            };
            let attribute = (reading.key.clone(), reading.value.clone());
            assert_eq!(count_attributes(&[attribute.clone(), attribute]), 2 * expect);
            let bytes = 2 * (16 + reading.value.text_bytes() as u64);
            assert_eq!(stored_bytes(&[reading.clone(), reading.clone()]), bytes);
            assert_eq!(count_readings(&[reading.clone(), reading]), 2 * expect);
        };
        check(Value::Integer(1), 1);
        check(Value::Text("x".repeat(1_023).into()), 1);
        check(Value::Json("x".repeat(64 * 1_024).into()), 65);
        assert_eq!(count_readings(&[]), 0);
    }

    #[test]
    fn doubles_are_finite() {
        assert_eq!(Value::double(f64::NAN), Err(ValueError));
        assert_eq!(Value::double(f64::INFINITY), Err(ValueError));
        assert_eq!(Value::double(-0.5), Ok(Value::Double(-0.5)));
    }
}
