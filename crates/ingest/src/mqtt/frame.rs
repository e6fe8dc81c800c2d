//! Packets in the read buffer: where the next one ends, and PUBLISH decoded in place. Everything
//! but a PUBLISH without properties is decoded by `rmqtt-codec`.

use bytes::BytesMut;
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::Publish;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;

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
}

impl Header {
    pub(crate) const fn packet_bytes(self) -> usize {
        self.header_bytes + self.body_bytes
    }

    pub(crate) const fn is_publish(self) -> bool {
        self.first_byte >> 4 == 3
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
            let first_byte = bytes[0];
            return Ok(Some(Header { first_byte, header_bytes: index + 1, body_bytes }));
        }
    }
    Err(BadRemainingLength)
}

/// A PUBLISH, borrowed from the read buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) payload: &'a [u8],
    pub(crate) has_topic_alias: bool,
}

/// A PUBLISH's view of its body, or `None` when it has properties and the codec has to read it.
pub(crate) fn publish_view(
    version: Version,
    first_byte: u8,
    body: &[u8],
) -> Result<Option<PublishView<'_>>, DecodeError> {
    let (dup, retain) = (first_byte & 0b1000 != 0, first_byte & 1 != 0);
    let qos = (first_byte >> 1) & 0b11;
    if qos == 3 || (qos == 0 && dup) {
        return Err(DecodeError::MalformedPacket);
    }
    let [high, low, rest @ ..] = body else { return Err(DecodeError::InvalidLength) };
    let topic_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    let (topic, rest) = rest.split_at_checked(topic_bytes).ok_or(DecodeError::InvalidLength)?;
    let topic = std::str::from_utf8(topic).map_err(|_| DecodeError::Utf8Error)?;
    let (packet_id, rest) = match (qos, rest) {
        (0, rest) => (0, rest),
        (_, [high, low, rest @ ..]) => (u16::from_be_bytes([*high, *low]), rest),
        _ => return Err(DecodeError::InvalidLength),
    };
    if qos > 0 && packet_id == 0 {
        return Err(DecodeError::MalformedPacket);
    }
    let payload = match (version, rest) {
        (Version::V3, rest) => rest,
        (Version::V5, [0, rest @ ..]) => rest,
        (Version::V5, []) => return Err(DecodeError::InvalidLength),
        (Version::V5, _) => return Ok(None),
    };
    let has_topic_alias = false;
    Ok(Some(PublishView { topic, qos, retain, packet_id, payload, has_topic_alias }))
}

/// The view of a PUBLISH that the codec has read.
pub(crate) fn view_of(publish: &Publish) -> PublishView<'_> {
    PublishView {
        topic: &publish.topic,
        qos: publish.qos.value(),
        retain: publish.retain,
        packet_id: publish.packet_id.map_or(0, Into::into),
        payload: &publish.payload,
        has_topic_alias: publish.properties.as_ref().is_some_and(|all| all.topic_alias.is_some()),
    }
}

/// A packet of either version.
#[derive(Debug)]
pub(crate) enum Packet {
    V3(v3::Packet),
    V5(v5::Packet),
}

/// Decodes one whole packet, header included.
pub(crate) fn decode(version: Version, packet: &[u8]) -> Result<Packet, DecodeError> {
    let mut bytes = BytesMut::from(packet);
    let decoded = match version {
        Version::V3 => v3::Codec::new(0).decode(&mut bytes)?.map(|(p, _)| Packet::V3(p)),
        Version::V5 => v5::Codec::new(0, 0).decode(&mut bytes)?.map(|(p, _)| Packet::V5(p)),
    };
    decoded.ok_or(DecodeError::InvalidLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let whole = |first_byte, header_bytes, body_bytes| {
            Ok(Some(Header { first_byte, header_bytes, body_bytes }))
        };
        assert_eq!(header(b""), Ok(None));
        assert_eq!(header(b"\xc0"), Ok(None));
        assert_eq!(header(b"\xc0\x00"), whole(0xc0, 2, 0));
        assert_eq!(header(b"\x30\x80"), Ok(None));
        assert_eq!(header(b"\x30\xff\xff\xff\x7f"), whole(0x30, 5, 268_435_455));
        assert_eq!(header(b"\x30\xff\xff\xff\xff\x01"), Err(BadRemainingLength));
    }
}
