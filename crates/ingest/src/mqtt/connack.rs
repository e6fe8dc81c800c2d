//! CONNACK: the answer to a CONNECT, in the form of the client's version. No answer is larger than
//! the client takes: a reason string is left out first, then the answer is (MQTT-3.1.2-24).

use bytes::{BufMut, BytesMut};
use veritwin_domain::IngestLimits;

use super::alias::TOPIC_ALIAS_MAXIMUM;
use super::connect::Hello;
use super::encode::{packet_bytes, put_reason_string, put_variable_length};
use super::frame::Version;
use super::wire::{Fault, PROTOCOL_ERROR};
use crate::traits::LoginError;

const CONNACK: u8 = 0x20;

const SESSION_EXPIRY: u8 = 0x11;
const ASSIGNED_CLIENT_ID: u8 = 0x12;
const SERVER_KEEP_ALIVE: u8 = 0x13;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM_PROPERTY: u8 = 0x22;
const RETAIN_AVAILABLE: u8 = 0x25;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;
const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;

/// Why a connection is refused.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// Which form of CONNACK the client understands; `None`: close without one.
    version: Option<Version>,
    v5_code: u8,
    v3_code: u8,
    pub(crate) text: String,
    /// The client's Maximum Packet Size, as far as it was read.
    packet_bytes_max: usize,
}

impl Rejection {
    /// `v3_code` 0: version 3 has no code for it and the connection closes without an answer.
    pub(crate) fn new(version: Version, v5_code: u8, v3_code: u8, text: impl Into<String>) -> Self {
        let (version, text) = (Some(version), text.into());
        Self { version, v5_code, v3_code, text, packet_bytes_max: usize::MAX }
    }

    /// Closes without an answer: it is not known which one the client understands.
    pub(crate) fn without_answer(text: impl Into<String>) -> Self {
        let (v5_code, text) = (PROTOCOL_ERROR, text.into());
        Self { version: None, v5_code, v3_code: 0, text, packet_bytes_max: usize::MAX }
    }

    /// A CONNECT that breaks the standard. Version 3 closes without CONNACK (3.1.1, MQTT-3.1.4-1).
    pub(crate) fn of_fault(version: Version, fault: &Fault) -> Self {
        Self::new(version, fault.code, 0, format!("CONNECT: {}", fault.text))
    }

    pub(crate) fn of_login(version: Version, error: &LoginError) -> Self {
        let (v5_code, v3_code) = match error {
            LoginError::Unknown => (0x86, 4),
            LoginError::Denied(_) => (0x87, 5),
            LoginError::Busy { .. } => (0x97, 3),
            LoginError::Unavailable(_) => (0x88, 3),
        };
        Self::new(version, v5_code, v3_code, error.to_string())
    }

    /// For a client that takes packets of so many bytes.
    #[must_use]
    pub(crate) fn within(self, packet_bytes_max: usize) -> Self {
        Self { packet_bytes_max, ..self }
    }

    /// The bytes to send before the connection closes, which may be none.
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::new();
        match self.version {
            Some(Version::V3) if self.v3_code != 0 => out.put_slice(&[CONNACK, 2, 0, self.v3_code]),
            Some(Version::V5) => {
                for text in [Some(&*self.text), None] {
                    let mut body = BytesMut::new();
                    body.put_slice(&[0, self.v5_code]);
                    put_reason_string(&mut body, text);
                    if packet_bytes(body.len()) <= self.packet_bytes_max {
                        put_packet(&mut out, &body);
                        return out;
                    }
                }
            }
            _ => {}
        }
        out
    }
}

/// The CONNACK of an accepted connection, or why it cannot be said.
pub(crate) fn accepted(
    hello: &Hello,
    assigned: Option<&str>,
    limits: &IngestLimits,
) -> Result<Accepted, Rejection> {
    let mut body = BytesMut::new();
    body.put_slice(&[0, 0]);
    if hello.version == Version::V5 {
        let mut properties = BytesMut::new();
        if hello.session_seconds != hello.session_seconds_asked {
            properties.put_u8(SESSION_EXPIRY);
            properties.put_u32(hello.session_seconds);
        }
        if hello.keep_alive_seconds != hello.keep_alive_seconds_asked {
            properties.put_u8(SERVER_KEEP_ALIVE);
            properties.put_u16(hello.keep_alive_seconds);
        }
        properties.put_u8(RECEIVE_MAXIMUM);
        properties.put_u16(limits.receive_maximum.max(1));
        properties.put_slice(&[RETAIN_AVAILABLE, 1]);
        properties.put_u8(MAXIMUM_PACKET_SIZE);
        properties.put_u32(u32::try_from(limits.packet_bytes_max).unwrap_or(u32::MAX).max(1));
        if let Some(assigned) = assigned {
            properties.put_u8(ASSIGNED_CLIENT_ID);
            properties.put_u16(u16::try_from(assigned.len()).unwrap_or(0));
            properties.put_slice(assigned.as_bytes());
        }
        properties.put_u8(TOPIC_ALIAS_MAXIMUM_PROPERTY);
        properties.put_u16(TOPIC_ALIAS_MAXIMUM);
        properties.put_slice(&[SHARED_SUBSCRIPTION_AVAILABLE, 1]);
        put_variable_length(&mut body, properties.len());
        body.put_slice(&properties);
    }
    let (max, actual) = (hello.packet_bytes_max, packet_bytes(body.len()));
    if actual > max {
        let text = format!("maximum packet size: expected at least {actual} bytes for CONNACK");
        return Err(Rejection::new(hello.version, 0x95, 0, text).within(max));
    }
    Ok(Accepted(body))
}

/// The body of a CONNACK that lacks only whether there was a session.
#[derive(Debug)]
pub(crate) struct Accepted(BytesMut);

impl Accepted {
    /// The whole packet.
    pub(crate) fn encode(mut self, session_present: bool) -> BytesMut {
        if let Some(flags) = self.0.first_mut() {
            *flags = u8::from(session_present);
        }
        let mut out = BytesMut::with_capacity(packet_bytes(self.0.len()));
        put_packet(&mut out, &self.0);
        out
    }
}

fn put_packet(out: &mut BytesMut, body: &[u8]) {
    out.put_u8(CONNACK);
    put_variable_length(out, body.len());
    out.put_slice(body);
}
