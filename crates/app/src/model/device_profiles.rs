//! Profiles of devices: how their payloads are decoded.

use veritwin_domain::{DeviceId, DeviceProfileId, Timestamp};

/// What is set of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceProfileInput {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether payloads are decoded by it.
    pub enabled: bool,
    /// The decoder.
    pub source: String,
    /// Filters of the topics it is for.
    pub topics: Vec<String>,
    /// Whether JSON, too, is decoded.
    pub decodes_json: bool,
    /// The types whose devices have it unless they have one of their own.
    pub device_types: Vec<String>,
    /// Payloads to try it on.
    pub samples: Vec<SamplePayload>,
}

/// A payload to try a decoder on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SamplePayload {
    /// Its name.
    pub name: String,
    /// `hex`, `base64` or `text`.
    pub format: String,
    /// The payload in this format.
    pub data: String,
    /// The topic; that of telemetry if empty.
    pub topic: String,
    /// What should come out, as JSON text.
    pub expected: Option<String>,
}

/// What a decoder made of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleResult {
    /// The sample's name.
    pub name: String,
    /// The readings as JSON text, or what is wrong.
    pub result: Result<String, DecoderFault>,
    /// Whether it is what should come out; none: nobody said what should.
    pub matches: Option<bool>,
}

/// What is wrong with a decoder, or with a payload for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderFault {
    /// `source`, `limit`, `run`, `result`, or `sample` when the sample itself cannot be read.
    pub kind: &'static str,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// What, and what would be right.
    pub detail: String,
    /// What the decoder threw.
    pub thrown: Option<String>,
}

/// What a decoder refused last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderRefusal {
    /// When.
    pub at: Timestamp,
    /// Of which device.
    pub device: DeviceId,
    /// Why, without anything of the payload.
    pub detail: String,
}

/// What a decoder did since the platform started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecoderFigures {
    /// Payloads that became readings.
    pub decoded: u64,
    /// Payloads that it refused.
    pub refused: u64,
    /// The last of these.
    pub last_refusal: Option<DecoderRefusal>,
}

/// A profile.
#[derive(Debug, Clone)]
pub struct DeviceProfileView {
    /// The profile.
    pub id: DeviceProfileId,
    /// What is set of it.
    pub input: DeviceProfileInput,
    /// How many devices have it as their own.
    pub devices: u64,
    /// What it did.
    pub figures: DecoderFigures,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// What a profile was.
#[derive(Debug, Clone)]
pub struct DeviceProfileVersionView {
    /// The version.
    pub version: i64,
    /// Since when.
    pub at: Timestamp,
    /// Who made it so.
    pub by: String,
    /// What was set of it.
    pub input: DeviceProfileInput,
}

/// A payload of a device's own make.
#[derive(Debug, Clone, Default)]
pub struct PayloadToDecode {
    /// The topic it was published on.
    pub topic: String,
    /// The type it was said to be of.
    pub content_type: String,
    /// What else was said of it.
    pub meta: Vec<(String, String)>,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// Which of a device's messages have a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderRule {
    /// Filters of the topics.
    pub topics: Vec<String>,
    /// Whether JSON, too, is decoded.
    pub decodes_json: bool,
}

/// Why a payload was not decoded.
#[derive(Debug)]
pub enum NotDecoded {
    /// The decoder refused it, and would again.
    Refused(DecoderFault),
    /// It could not be tried.
    Failed(crate::Error),
}
