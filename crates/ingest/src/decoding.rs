//! Payloads of a device's own make: the application says which messages it has a decoder for, and
//! makes of them what the device could have written in JSON. From there on they are held to all
//! that any message is held to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

/// A message before it is decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawPayload {
    /// The topic it was published on; of HTTP that of telemetry.
    pub topic: String,
    /// The type it was said to be of; empty if none.
    pub content_type: String,
    /// What else was said of it: user properties of MQTT 5.
    pub meta: Vec<(String, String)>,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// Why a message was not decoded. The texts reach the device and hold nothing of the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The decoder does not take it, now or later. MQTT 5 0x99, HTTP 400; 3.1.1 and QoS 0: a
    /// durable refusal record, then the acknowledgement.
    #[error("decoder: {detail}")]
    Refused {
        /// What was wrong, and where.
        detail: String,
        /// The line of the decoder.
        line: Option<usize>,
        /// The column of the decoder.
        column: Option<usize>,
    },
    /// Not now. MQTT closes without acknowledging; HTTP 429.
    #[error("payloads wait to be decoded: try again in {retry_after:?}")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// Cannot be done now. MQTT closes without acknowledging; HTTP 503.
    #[error("not decoded: {0}")]
    Unavailable(String),
}

/// The decoder of one device, as it stands at each moment.
#[async_trait]
pub trait Decoding: Send + Sync {
    /// Whether there may be a decoder at all. Asked for every message, so it must cost next to
    /// nothing.
    fn is_on(&self) -> bool;

    /// Whether a message is to be decoded: one of telemetry, or one that is relayed.
    fn wants(&self, topic: &str, content_type: Option<&str>, payload: &[u8]) -> bool;

    /// The readings as a device would write them, in JSON; none: the message is taken as it came.
    async fn decode(&self, raw: RawPayload) -> Result<Option<String>, DecodeError>;
}

/// A [`Decoding`] that a session holds.
#[derive(Clone)]
pub struct PayloadDecoder(Arc<dyn Decoding>);

impl PayloadDecoder {
    /// Takes one.
    pub fn new(decoding: Arc<dyn Decoding>) -> Self {
        Self(decoding)
    }
}

impl std::ops::Deref for PayloadDecoder {
    type Target = dyn Decoding;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for PayloadDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadDecoder")
    }
}
