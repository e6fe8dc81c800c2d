//! The packets that a connected client may send, PUBLISH aside, read in place. Packets of servers,
//! a second CONNECT, and reason codes that a client must not use are refused.

use super::frame::{Header, Version};
use super::properties::{self, Holder};
use super::topic;
use super::wire::{Fault, Reader};

/// A packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// PUBACK. A reason of 0x80 or more acknowledges as well (MQTT-4.4.0-2).
    Acknowledged(u16),
    /// PUBREC with its reason code.
    Received(u16, u8),
    /// PUBREL.
    Release(u16),
    /// PUBCOMP.
    Complete(u16),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Ping,
    Disconnect(Disconnect),
}

/// SUBSCRIBE.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) packet_id: u16,
    /// Well-formed filters, at least one, each with what is asked for.
    pub(crate) filters: Vec<(&'a str, Options)>,
    /// Subscription Identifier.
    pub(crate) id: Option<u32>,
}

/// Subscription Options (MQTT 5.0, 3.8.3.1); version 3 has the QoS only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// 0 to 2.
    pub(crate) qos: u8,
    /// Not what this client published itself.
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// 0 to 2.
    pub(crate) retain_handling: u8,
}

/// UNSUBSCRIBE.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsubscribe<'a> {
    pub(crate) packet_id: u16,
    /// Well-formed filters, at least one.
    pub(crate) filters: Vec<&'a str>,
}

/// DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnect {
    /// 0: the will is not wanted.
    pub(crate) reason: u8,
    pub(crate) session_expiry_seconds: Option<u32>,
}

/// Reads a whole packet that is no PUBLISH.
pub(crate) fn read(version: Version, header: Header, packet: &[u8]) -> Result<Packet<'_>, Fault> {
    let (kind, flags) = (header.first_byte >> 4, header.first_byte & 0x0f);
    check_flags(version, kind, flags)?;
    let mut reader = Reader::new(packet, header.header_bytes);
    match kind {
        4 => {
            acknowledgement(version, &mut reader, "PUBACK").map(|(id, _)| Packet::Acknowledged(id))
        }
        5 => {
            let (id, reason) = acknowledgement(version, &mut reader, "PUBREC")?;
            Ok(Packet::Received(id, reason))
        }
        6 => acknowledgement(version, &mut reader, "PUBREL").map(|(id, _)| Packet::Release(id)),
        7 => acknowledgement(version, &mut reader, "PUBCOMP").map(|(id, _)| Packet::Complete(id)),
        8 => subscribe(version, &mut reader).map(Packet::Subscribe),
        10 => unsubscribe(version, &mut reader).map(Packet::Unsubscribe),
        12 => reader.finish("PINGREQ").map(|()| Packet::Ping),
        14 => disconnect(version, &mut reader).map(Packet::Disconnect),
        1 => Err(Fault::protocol(0, "a second CONNECT: expected one in a connection")),
        15 => {
            let text = "AUTH is not expected: no authentication method was agreed on";
            Err(Fault::protocol(0, text))
        }
        other => Err(Fault::protocol(
            0,
            format_args!("packet type {other} is sent by servers, never by clients"),
        )),
    }
}

/// MQTT-2.1.3-1 (3.1.1: MQTT-2.2.2-1, MQTT-2.2.2-2).
fn check_flags(version: Version, kind: u8, flags: u8) -> Result<(), Fault> {
    if kind == 0 || (kind == 15 && version == Version::V3) {
        return Err(Fault::malformed(0, format_args!("packet type {kind} is reserved")));
    }
    let expect = if matches!(kind, 6 | 8 | 10) { 0b0010 } else { 0 };
    if flags != expect {
        let text = format_args!("flags of packet type {kind}: expected {expect}, found {flags}");
        return Err(Fault::malformed(0, text));
    }
    Ok(())
}

/// The packet id and reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP.
fn acknowledgement(
    version: Version,
    reader: &mut Reader<'_>,
    name: &'static str,
) -> Result<(u16, u8), Fault> {
    let packet_id = reader.packet_id()?;
    let mut reason = 0;
    if version == Version::V5 && !reader.is_at_end() {
        let at = reader.at();
        reason = reader.byte("reason code")?;
        let is_known = match name {
            "PUBACK" | "PUBREC" => is_puback_reason(reason),
            _ => matches!(reason, 0 | 0x92),
        };
        if !is_known {
            let text = format_args!("reason code 0x{reason:02x} is not one of {name}");
            return Err(Fault::protocol(at, text));
        }
        if !reader.is_at_end() {
            properties::read(reader, Holder::Acknowledgement)?;
        }
    }
    reader.finish(name)?;
    Ok((packet_id, reason))
}

/// Tables 3-4 and 3-5.
const fn is_puback_reason(reason: u8) -> bool {
    matches!(reason, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
}

/// What a client may say in DISCONNECT (table 3-10, sent by client).
const fn is_client_disconnect_reason(reason: u8) -> bool {
    matches!(reason, 0 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
}

fn subscribe<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Subscribe<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    let id = match version {
        Version::V3 => None,
        Version::V5 => properties::read(reader, Holder::Subscribe)?.subscription_id,
    };
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        let filter = filter(version, reader)?;
        filters.push((filter, subscription_options(version, filter, reader)?));
    }
    if filters.is_empty() {
        let text = "SUBSCRIBE without a filter: expected at least one";
        return Err(Fault::protocol(reader.at(), text));
    }
    Ok(Subscribe { packet_id, filters, id })
}

fn subscription_options(
    version: Version,
    filter: &str,
    reader: &mut Reader<'_>,
) -> Result<Options, Fault> {
    let at = reader.at();
    let options = reader.byte("subscription options")?;
    let reserved = if version == Version::V3 { 0b1111_1100 } else { 0b1100_0000 };
    if options & reserved != 0 {
        return Err(Fault::malformed(at, "subscription options: the reserved bits are not 0"));
    }
    if options & 0b11 == 3 {
        return Err(Fault::protocol(at, "subscription options: QoS 3: expected 0, 1 or 2"));
    }
    if options & 0b0011_0000 == 0b0011_0000 {
        return Err(Fault::protocol(
            at,
            "subscription options: retain handling 3: expected 0 to 2",
        ));
    }
    // MQTT-3.8.3-4.
    let no_local = options & 0b0100 != 0;
    if no_local && filter.starts_with(topic::SHARED) {
        let text = "subscription options: no local is not allowed with a shared subscription";
        return Err(Fault::protocol(at, text));
    }
    Ok(Options {
        qos: options & 0b11,
        no_local,
        retain_as_published: options & 0b1000 != 0,
        retain_handling: (options & 0b0011_0000) >> 4,
    })
}

fn unsubscribe<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Unsubscribe<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        properties::read(reader, Holder::Unsubscribe)?;
    }
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        filters.push(filter(version, reader)?);
    }
    if filters.is_empty() {
        let text = "UNSUBSCRIBE without a filter: expected at least one";
        return Err(Fault::protocol(reader.at(), text));
    }
    Ok(Unsubscribe { packet_id, filters })
}

fn filter<'a>(version: Version, reader: &mut Reader<'a>) -> Result<&'a str, Fault> {
    let start = reader.at() + 2;
    let filter = reader.text("topic filter")?;
    // Version 3 knows no shared subscriptions: there `$share` is a level like any other.
    match topic::filter_fault(filter, version == Version::V5) {
        None => Ok(filter),
        Some(text) => Err(Fault::malformed(start, format_args!("topic filter {text}"))),
    }
}

fn disconnect(version: Version, reader: &mut Reader<'_>) -> Result<Disconnect, Fault> {
    let mut found = Disconnect { reason: 0, session_expiry_seconds: None };
    if version == Version::V5 && !reader.is_at_end() {
        let at = reader.at();
        found.reason = reader.byte("reason code")?;
        if !is_client_disconnect_reason(found.reason) {
            let text = format_args!(
                "reason code 0x{:02x} is not one that a client disconnects with",
                found.reason
            );
            return Err(Fault::protocol(at, text));
        }
        if !reader.is_at_end() {
            let properties = properties::read(reader, Holder::Disconnect)?;
            found.session_expiry_seconds = properties.session_expiry_seconds;
        }
    }
    reader.finish("DISCONNECT")?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every first byte is either a packet of clients or refused, with any short body, and no
    /// reader goes past its end.
    #[test]
    fn any_first_byte_and_body() {
        let bodies: [&[u8]; 5] = [&[], &[0, 1], &[0, 1, 0], &[0, 1, 0, 0], &[0xff; 8]];
        for first_byte in 0..=255u8 {
            for body in bodies {
                let packet = [&[first_byte, u8::try_from(body.len()).unwrap()], body].concat();
                let header = Header {
                    first_byte,
                    header_bytes: 2,
                    body_bytes: body.len(),
                    is_padded: false,
                };
                for version in [Version::V3, Version::V5] {
                    let kind = first_byte >> 4;
                    let read = read(version, header, &packet);
                    let is_ours = matches!(kind, 4..=8 | 10 | 12 | 14);
                    assert!(is_ours || read.is_err(), "{first_byte:02x}: {read:?}");
                }
            }
        }
    }
}
