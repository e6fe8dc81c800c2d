//! Packets that the broker sends, written straight into the output buffer. It never writes a
//! packet larger than the client's Maximum Packet Size: reason strings are left out first, then
//! the packet is (MQTT 5.0, 3.1.2.11.4).

use bytes::{BufMut, BytesMut};

use super::alias::Naming;
use super::frame::Version;

/// Longest reason string we send, in bytes.
const REASON_STRING_BYTES_MAX: usize = 400;
const REASON_STRING: u8 = 0x1f;
const SUBSCRIPTION_ID: u8 = 0x0b;
const TOPIC_ALIAS: u8 = 0x23;
const MESSAGE_EXPIRY: u8 = 0x02;

const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
/// With its reserved flags.
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xb0;
const DISCONNECT: u8 = 0xe0;

/// Writes packets for one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoder {
    pub(crate) version: Version,
    /// The client's Maximum Packet Size.
    pub(crate) packet_bytes_max: usize,
    /// The client takes reason strings (Request Problem Information).
    pub(crate) problem_information: bool,
}

/// A message to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    /// Version 5 only.
    pub(crate) naming: Naming,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    /// `None` for QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    /// Properties that were passed on. Version 5 only, as all that follow.
    pub(crate) properties: &'a [u8],
    pub(crate) expiry_seconds: Option<u32>,
    pub(crate) subscription_ids: &'a [u32],
}

impl Encoder {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[inline]
    pub(crate) fn acknowledge(
        &self,
        out: &mut BytesMut,
        packet_type: u8,
        packet_id: u16,
        reason: u8,
        text: Option<&str>,
    ) {
        let [high, low] = packet_id.to_be_bytes();
        if reason == 0 || self.version == Version::V3 {
            out.put_slice(&[packet_type, 2, high, low]);
            return;
        }
        self.with_reason_string(out, packet_type, text, |body, reason_string| {
            body.put_slice(&[high, low, reason]);
            put_reason_string(body, reason_string);
        });
    }

    pub(crate) fn subscribed(
        &self,
        out: &mut BytesMut,
        packet_id: u16,
        codes: &[u8],
        text: Option<&str>,
    ) {
        self.coded(out, SUBACK, packet_id, codes, text);
    }

    pub(crate) fn unsubscribed(&self, out: &mut BytesMut, packet_id: u16, codes: &[u8]) {
        let codes = if self.version == Version::V3 { &[][..] } else { codes };
        self.coded(out, UNSUBACK, packet_id, codes, None);
    }

    fn coded(
        &self,
        out: &mut BytesMut,
        packet_type: u8,
        packet_id: u16,
        codes: &[u8],
        text: Option<&str>,
    ) {
        self.with_reason_string(out, packet_type, text, |body, reason_string| {
            body.put_u16(packet_id);
            if self.version == Version::V5 {
                put_reason_string(body, reason_string);
            }
            body.put_slice(codes);
        });
    }

    /// DISCONNECT; version 3 has none from the server and just closes.
    pub(crate) fn disconnect(&self, out: &mut BytesMut, reason: u8, text: Option<&str>) {
        if self.version == Version::V5 {
            // A reason string is allowed here whatever Request Problem Information says.
            let encoder = Self { problem_information: true, ..*self };
            encoder.with_reason_string(out, DISCONNECT, text, |body, reason_string| {
                body.put_u8(reason);
                put_reason_string(body, reason_string);
            });
        }
    }

    /// PUBLISH. False when it would be larger than the client takes.
    pub(crate) fn publish(&self, out: &mut BytesMut, message: Outgoing<'_>) -> bool {
        let topic = if message.naming.is_known { "" } else { message.topic };
        let is_v5 = self.version == Version::V5;
        let ids = message.subscription_ids;
        let id_bytes = ids.iter().map(|id| 1 + variable_length_bytes(*id as usize)).sum::<usize>();
        let property_bytes = id_bytes
            + message.properties.len()
            + if message.naming.alias.is_some() { 3 } else { 0 }
            + if message.expiry_seconds.is_some() { 5 } else { 0 };
        let packet_id_bytes = if message.packet_id.is_some() { 2 } else { 0 };
        let mut body_bytes = 2 + topic.len() + packet_id_bytes + message.payload.len();
        if is_v5 {
            body_bytes += variable_length_bytes(property_bytes) + property_bytes;
        }
        if packet_bytes(body_bytes) > self.packet_bytes_max {
            return false;
        }
        out.reserve(packet_bytes(body_bytes));
        let (dup, retain) = (u8::from(message.dup) << 3, u8::from(message.retain));
        out.put_u8(PUBLISH | dup | (message.qos << 1) | retain);
        put_variable_length(out, body_bytes);
        out.put_u16(u16::try_from(topic.len()).unwrap_or(0));
        out.put_slice(topic.as_bytes());
        if let Some(packet_id) = message.packet_id {
            out.put_u16(packet_id);
        }
        if is_v5 {
            put_variable_length(out, property_bytes);
            out.put_slice(message.properties);
            if let Some(seconds) = message.expiry_seconds {
                out.put_u8(MESSAGE_EXPIRY);
                out.put_u32(seconds);
            }
            if let Some(alias) = message.naming.alias {
                out.put_u8(TOPIC_ALIAS);
                out.put_u16(alias);
            }
            for id in ids {
                out.put_u8(SUBSCRIPTION_ID);
                put_variable_length(out, *id as usize);
            }
        }
        out.put_slice(message.payload);
        true
    }

    fn with_reason_string(
        &self,
        out: &mut BytesMut,
        first_byte: u8,
        text: Option<&str>,
        write: impl Fn(&mut BytesMut, Option<&str>),
    ) {
        let mut body = BytesMut::with_capacity(64);
        let text = text.filter(|_| self.problem_information);
        write(&mut body, text);
        if !self.put_packet(out, first_byte, &body) && text.is_some() {
            body.clear();
            write(&mut body, None);
            self.put_packet(out, first_byte, &body);
        }
    }

    fn put_packet(&self, out: &mut BytesMut, first_byte: u8, body: &[u8]) -> bool {
        let fits = packet_bytes(body.len()) <= self.packet_bytes_max;
        if fits {
            out.put_u8(first_byte);
            put_variable_length(out, body.len());
            out.put_slice(body);
        }
        fits
    }
}

/// The size of a packet with a body of so many bytes.
pub(crate) const fn packet_bytes(body_bytes: usize) -> usize {
    1 + variable_length_bytes(body_bytes) + body_bytes
}

const fn variable_length_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// A property length and, if there is one, the reason string.
pub(crate) fn put_reason_string(body: &mut BytesMut, text: Option<&str>) {
    let Some(text) = text else {
        body.put_u8(0);
        return;
    };
    let mut end = text.len().min(REASON_STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text.as_bytes()[..end];
    put_variable_length(body, text.len() + 3);
    body.put_u8(REASON_STRING);
    body.put_u16(u16::try_from(text.len()).unwrap_or(0));
    body.put_slice(text);
}

/// MQTT 5.0, 1.5.5.
pub(crate) fn put_variable_length(out: &mut BytesMut, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}
