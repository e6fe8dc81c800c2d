//! Bytes of packets, right and wrong.

use super::Step;
use crate::platform::{packet, publish, text};

pub(super) const ATTRIBUTES: &str = "v1/devices/me/attributes";
pub(super) const CALLS: &str = "v1/devices/me/rpc/request/+";
pub(super) const READING: &[u8] = b"{\"a\":1}";

/// A packet without its fixed header. Nothing follows it.
pub(super) fn body(packet: &[u8]) -> &[u8] {
    let end = packet[1..].iter().position(|byte| byte & 0x80 == 0).expect("a length") + 2;
    let (header, body) = packet.split_at(end);
    let length = header[1..].iter().rev().fold(0, |all, byte| all << 7 | usize::from(byte & 0x7f));
    assert_eq!(length, body.len(), "{packet:02x?}");
    body
}

/// The parts of a CONNECT.
#[derive(Clone)]
pub(super) struct Connect {
    name: Vec<u8>,
    level: u8,
    flags: u8,
    keep_alive: u16,
    properties: Vec<u8>,
    payload: Vec<u8>,
}

/// A clean start of the client `c1` with a token, every 60 s a word.
pub(super) fn connect(level: u8) -> Connect {
    Connect {
        name: text("MQTT"),
        level,
        flags: 0x82,
        keep_alive: 60,
        properties: Vec::new(),
        payload: [text("c1"), text("token")].concat(),
    }
}

impl Connect {
    pub(super) fn name(self, name: &str) -> Self {
        Self { name: text(name), ..self }
    }

    pub(super) fn level(self, level: u8) -> Self {
        Self { level, ..self }
    }

    pub(super) fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub(super) fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    pub(super) fn properties(self, properties: &[u8]) -> Self {
        Self { properties: properties.to_vec(), ..self }
    }

    pub(super) fn payload(self, payload: &[Vec<u8>]) -> Self {
        Self { payload: payload.concat(), ..self }
    }

    /// A session that outlives the connection by a minute, and is resumed.
    pub(super) fn kept(self) -> Self {
        let kept = self.flags(0x80);
        if kept.level == 5 { kept.properties(&[0x11, 0, 0, 0, 60]) } else { kept }
    }

    /// With a will that stores a reading.
    pub(super) fn will(self, flags: u8, properties: &[u8]) -> Self {
        let mut payload = vec![text("c1")];
        if self.level == 5 {
            payload.push(property_block(properties));
        }
        let will = [text(crate::platform::TELEMETRY), text("{\"gone\":1}"), text("token")];
        self.flags(flags).payload(&[payload, will.to_vec()].concat())
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut body = self.name;
        body.extend([self.level, self.flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level >= 5 {
            body.extend(property_block(&self.properties));
        }
        body.extend(self.payload);
        packet(0x10, &body)
    }
}

/// Properties behind their length.
pub(super) fn property_block(properties: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(properties.len()).expect("short")];
    out.extend(properties);
    out
}

/// Nothing in 3.1.1, the properties in 5.0.
pub(super) fn with_properties(level: u8, properties: &[u8]) -> Vec<u8> {
    if level == 5 { property_block(properties) } else { Vec::new() }
}

/// A string field of any bytes.
pub(super) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// A PUBLISH with QoS 1 and the packet id 1 to a topic of any bytes.
pub(super) fn publish_to(level: u8, topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let properties = with_properties(level, properties);
    packet(0x32, &[field(topic), vec![0, 1], properties, READING.to_vec()].concat())
}

/// A SUBSCRIBE with the packet id 1 and one filter of any bytes.
pub(super) fn subscribe_to(level: u8, filter: &[u8], options: u8) -> Vec<u8> {
    let properties = with_properties(level, &[]);
    packet(0x82, &[vec![0, 1], properties, field(filter), vec![options]].concat())
}

/// An UNSUBSCRIBE with the packet id 1.
pub(super) fn unsubscribe(level: u8, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|filter| text(filter)).collect();
    packet(0xa2, &[vec![0, 1], with_properties(level, &[]), filters].concat())
}

/// What comes down for [`Step::Call`].
pub(super) fn call(level: u8, qos: u8, packet_id: u16, id: u32) -> Vec<u8> {
    let topic = format!("v1/devices/me/rpc/request/{id}");
    publish(level, qos, packet_id, &topic, b"{\"method\":\"m\",\"params\":1}")
}

/// What comes down for [`Step::Attribute`].
pub(super) fn attribute(level: u8, qos: u8, packet_id: u16, value: i64) -> Vec<u8> {
    let payload = format!("{{\"limit\":{value}}}");
    publish(level, qos, packet_id, ATTRIBUTES, payload.as_bytes())
}

/// The same message, sent again.
pub(super) fn again(mut message: Vec<u8>) -> Vec<u8> {
    message[0] |= 0b1000;
    message
}

/// A CONNECT that is accepted, without a session.
pub(super) fn opened(connect: Connect) -> Vec<Step> {
    vec![Step::Open(connect.encode()), Step::Answer(0x20, vec![0, 0])]
}

/// A plain connection, then more.
pub(super) fn connected(level: u8, more: Vec<Step>) -> Vec<Step> {
    opened(connect(level)).into_iter().chain(more).collect()
}

/// A ping that is answered: the connection lives.
pub(super) fn alive() -> [Step; 2] {
    [Step::Send(vec![0xc0, 0]), Step::Expect(vec![0xd0, 0])]
}
