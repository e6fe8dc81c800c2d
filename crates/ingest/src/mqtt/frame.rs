//! Packets in the read buffer: where the next one ends, and PUBLISH read in place, without an
//! allocation.

use super::properties::{self, Holder};
use super::topic;
use super::wire::{Fault, Reader};

/// The version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1 and 3.1.1.
    V3,
    /// 5.0.
    V5,
}

/// The fixed header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) first_byte: u8,
    pub(crate) header_bytes: usize,
    pub(crate) body_bytes: usize,
    /// The remaining length has more bytes than it needs, which version 5 forbids.
    pub(crate) is_padded: bool,
}

impl Header {
    pub(crate) const fn packet_bytes(self) -> usize {
        self.header_bytes + self.body_bytes
    }

    pub(crate) const fn is_publish(self) -> bool {
        self.first_byte >> 4 == 3
    }

    /// MQTT-1.5.5-1, for the remaining length.
    pub(crate) fn check_length(self, version: Version) -> Result<(), Fault> {
        if self.is_padded && version == Version::V5 {
            return Err(Fault::malformed(1, "remaining length: more bytes than needed"));
        }
        Ok(())
    }
}

/// The remaining length has more than four bytes (MQTT 5.0, 1.5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRemainingLength;

/// The header at the start of `bytes`, if it is whole.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, BadRemainingLength> {
    let mut body_bytes = 0usize;
    for index in 1..=4 {
        let Some(byte) = bytes.get(index) else { return Ok(None) };
        body_bytes |= usize::from(byte & 0x7f) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            let (first_byte, is_padded) = (bytes[0], *byte == 0 && index > 1);
            let header_bytes = index + 1;
            return Ok(Some(Header { first_byte, header_bytes, body_bytes, is_padded }));
        }
    }
    Err(BadRemainingLength)
}

/// A PUBLISH, borrowed from the read buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishView<'a> {
    /// Empty when only the alias names it.
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    /// What it is relayed with: a will has a QoS, and nobody who is answered.
    pub(crate) relay_qos: u8,
    pub(crate) retain: bool,
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) payload: &'a [u8],
    pub(crate) topic_alias: Option<u16>,
    /// Property length and properties; may be empty when there are none.
    pub(crate) properties: &'a [u8],
}

/// A PUBLISH's view of its packet. `packet` may end early, then the payload does too.
pub(crate) fn publish_view(
    version: Version,
    header: Header,
    packet: &[u8],
) -> Result<PublishView<'_>, Fault> {
    let (dup, retain) = (header.first_byte & 0b1000 != 0, header.first_byte & 1 != 0);
    let qos = (header.first_byte >> 1) & 0b11;
    if qos == 3 {
        return Err(Fault::malformed(0, "QoS 3: expected 0, 1 or 2"));
    }
    if qos == 0 && dup {
        return Err(Fault::malformed(0, "DUP with QoS 0: expected DUP 0"));
    }
    let mut reader = Reader::new(packet, header.header_bytes);
    let topic = topic_of(version, &mut reader)?;
    let packet_id = if qos == 0 { 0 } else { reader.packet_id()? };
    let (mut topic_alias, mut raw) = (None, &[][..]);
    if version == Version::V5 {
        // Most messages have no properties.
        if reader.rest().first() == Some(&0) {
            reader.byte("property length")?;
        } else {
            let rest = reader.rest();
            topic_alias = properties::read(&mut reader, Holder::Publish)?.topic_alias;
            raw = rest.get(..rest.len() - reader.rest().len()).unwrap_or_default();
        }
        if topic.is_empty() && topic_alias.is_none() {
            let text = "topic name: expected at least one character, or a topic alias";
            return Err(Fault::protocol(header.header_bytes, text));
        }
    }
    let payload = reader.rest();
    let (relay_qos, properties) = (qos, raw);
    Ok(PublishView { topic, qos, relay_qos, retain, packet_id, payload, topic_alias, properties })
}

#[inline]
fn topic_of<'a>(version: Version, reader: &mut Reader<'a>) -> Result<&'a str, Fault> {
    let mut name = *reader;
    match name.binary("topic name")? {
        // Nearly every message goes there: its name needs no second look.
        bytes if bytes == topic::TELEMETRY.as_bytes() => {
            *reader = name;
            Ok(topic::TELEMETRY)
        }
        [] if version == Version::V5 => {
            *reader = name;
            Ok("")
        }
        _ => reader.topic_name("topic name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let whole = |first_byte, header_bytes, body_bytes, is_padded| {
            Ok(Some(Header { first_byte, header_bytes, body_bytes, is_padded }))
        };
        assert_eq!(header(b""), Ok(None));
        assert_eq!(header(b"\xc0"), Ok(None));
        assert_eq!(header(b"\xc0\x00"), whole(0xc0, 2, 0, false));
        assert_eq!(header(b"\xc0\x80\x00"), whole(0xc0, 3, 0, true));
        assert_eq!(header(b"\x30\x80"), Ok(None));
        assert_eq!(header(b"\x30\xff\xff\xff\x7f"), whole(0x30, 5, 268_435_455, false));
        assert_eq!(header(b"\x30\xff\xff\xff\xff\x01"), Err(BadRemainingLength));
    }
}
