//! A small MQTT client over TLS, 3.1.1 and 5.0, from raw packets: what it sends is exactly what a
//! test says, also when that is wrong.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use crate::http::{Http, Tls, connect};

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Return code of 3.1.1, reason code of 5.0.
    ConnAck(u8),
    /// Packet id, reason code (0 in 3.1.1) and reason string.
    PubAck(u16, u8, String),
    SubAck(u16, Vec<u8>),
    Publish {
        topic: String,
        payload: Vec<u8>,
        id: Option<u16>,
    },
    Disconnect(u8),
    Other(u8),
}

/// One connection.
pub(crate) struct Mqtt {
    stream: Tls,
    version: Version,
    next_id: u16,
    inbox: VecDeque<(String, Vec<u8>)>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("a short text");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A packet with its header.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).expect("below 128");
        length /= 128;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// A CONNECT with the token as user name.
pub(crate) fn connect_packet(version: Version, client: &str, token: &str) -> Vec<u8> {
    connect_with(version, 0x82, client, token)
}

/// User name, and clean session where the flags say so; keep-alive of a minute.
fn connect_with(version: Version, flags: u8, client: &str, token: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    body.extend_from_slice(&[flags, 0, 60]);
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, client);
    text(&mut body, token);
    packet(0x10, &body)
}

/// A CONNECT of 3.1.1 that keeps its session and has a will of QoS 1.
pub(crate) fn mortal_packet(
    keep_alive_seconds: u8,
    client: &str,
    token: &str,
    (topic, message): (&str, &str),
) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 0x8c, 0, keep_alive_seconds]);
    for part in [client, topic, message, token] {
        text(&mut body, part);
    }
    packet(0x10, &body)
}

/// Reads a variable byte integer; its value and length.
fn variable(bytes: &[u8]) -> (usize, usize) {
    let (mut value, mut length) = (0usize, 0usize);
    for byte in bytes {
        value |= usize::from(byte & 0x7f) << (7 * length);
        length += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value, length)
}

/// The reason string (property 0x1f) among the properties of an acknowledgement, which hold
/// nothing else but user properties (0x26).
fn reason_string(mut properties: &[u8]) -> String {
    let take = |bytes: &mut &[u8]| {
        let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let text = String::from_utf8_lossy(&bytes[2..2 + length]).into_owned();
        *bytes = &bytes[2 + length..];
        text
    };
    while let Some((kind, rest)) = properties.split_first() {
        properties = rest;
        let first = take(&mut properties);
        match kind {
            0x1f => return first,
            0x26 => drop(take(&mut properties)),
            other => panic!("property {other:#x} in an acknowledgement"),
        }
    }
    String::new()
}

impl Mqtt {
    /// Connects; the error is the CONNACK's code, or 255 when there was none.
    pub(crate) fn connect(http: &Http, version: Version, token: &str) -> Result<Self, u8> {
        let stream = connect(&http.ports().mqtts, http.tls()).map_err(|_| 255)?;
        Self::connect_on(stream, version, token)
    }

    /// Connects on a stream of any origin; the error is as above.
    pub(crate) fn connect_on(stream: Tls, version: Version, token: &str) -> Result<Self, u8> {
        let mut client = Self { stream, version, next_id: 0, inbox: VecDeque::new() };
        client.write(&connect_packet(version, "", token)).map_err(|_| 255)?;
        match client.read().map_err(|_| 255)? {
            Packet::ConnAck(0) => Ok(client),
            Packet::ConnAck(code) => Err(code),
            other => panic!("the first packet is {other:?}"),
        }
    }

    /// Connects with 3.1.1 as a client whose session is kept; whether it was there. What comes is
    /// read by [`Mqtt::read_raw`].
    pub(crate) fn connect_kept(http: &Http, client: &str, token: &str) -> (Self, bool) {
        Self::connect_raw(http, &connect_with(Version::V311, 0x80, client, token))
    }

    /// The same with a will of QoS 1.
    pub(crate) fn connect_mortal(
        http: &Http,
        client: &str,
        token: &str,
        will: (&str, &str),
    ) -> (Self, bool) {
        Self::connect_raw(http, &mortal_packet(60, client, token, will))
    }

    fn connect_raw(http: &Http, packet: &[u8]) -> (Self, bool) {
        Self::try_raw(http, packet).expect("a connection")
    }

    /// As [`Mqtt::connect_kept`]; none where the connection is refused or cut.
    pub(crate) fn try_kept(http: &Http, client: &str, token: &str) -> Option<(Self, bool)> {
        Self::try_raw(http, &connect_with(Version::V311, 0x80, client, token))
    }

    /// Sends a CONNECT of 3.1.1; whether a session was there.
    pub(crate) fn try_raw(http: &Http, packet: &[u8]) -> Option<(Self, bool)> {
        let stream = connect(&http.ports().mqtts, http.tls()).ok()?;
        let version = Version::V311;
        let mut kept = Self { stream, version, next_id: 0, inbox: VecDeque::new() };
        kept.write(packet).ok()?;
        let (first, body) = kept.read_raw().ok()?;
        ((first, body[1]) == (0x20, 0)).then_some((kept, body[0] == 1))
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn take_id(&mut self) -> u16 {
        self.next_id = if self.next_id == u16::MAX { 1 } else { self.next_id + 1 };
        self.next_id
    }

    /// Sends a publication at QoS 1 without waiting; its packet id.
    pub(crate) fn send(&mut self, topic: &str, payload: &[u8]) -> io::Result<u16> {
        let id = self.take_id();
        let mut body = Vec::with_capacity(payload.len() + topic.len() + 8);
        text(&mut body, topic);
        body.extend_from_slice(&id.to_be_bytes());
        if self.version == Version::V5 {
            body.push(0);
        }
        body.extend_from_slice(payload);
        self.write(&packet(0x32, &body))?;
        Ok(id)
    }

    /// Publishes at QoS 1 and waits: reason code and reason string of the PUBACK.
    #[track_caller]
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) -> (u8, String) {
        let id = self.send(topic, payload).expect("a PUBLISH");
        loop {
            match self.read().expect("a PUBACK") {
                Packet::PubAck(acknowledged, code, reason) => {
                    assert_eq!(acknowledged, id);
                    return (code, reason);
                }
                Packet::Publish { topic, payload, .. } => self.inbox.push_back((topic, payload)),
                other => panic!("expected a PUBACK, got {other:?}"),
            }
        }
    }

    /// Subscribes at QoS 1 and waits for the consent.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str) {
        let id = self.take_id();
        let mut body = id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(1);
        self.write(&packet(0x82, &body)).expect("a SUBSCRIBE");
        loop {
            match self.read().expect("a SUBACK") {
                Packet::SubAck(answered, codes) => {
                    assert_eq!((answered, codes), (id, vec![1]));
                    return;
                }
                Packet::Publish { topic, payload, .. } => self.inbox.push_back((topic, payload)),
                other => panic!("expected a SUBACK, got {other:?}"),
            }
        }
    }

    /// The next message of a subscribed topic.
    #[track_caller]
    pub(crate) fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return message;
            }
            if let Packet::Publish { topic, payload, .. } = self.read().expect("a message") {
                self.inbox.push_back((topic, payload));
            }
        }
    }

    /// Reads one packet; a publication at QoS 1 is acknowledged.
    pub(crate) fn read(&mut self) -> io::Result<Packet> {
        let (first, body) = self.read_raw()?;
        let packet = self.decode(first, &body);
        if let Packet::Publish { id: Some(id), .. } = &packet {
            self.write(&[0x40, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]])?;
        }
        Ok(packet)
    }

    /// Reads one packet as it is: its first byte, and what follows its length.
    pub(crate) fn read_raw(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0u8; 1];
        self.stream.read_exact(&mut byte)?;
        let first = byte[0];
        let (mut length, mut shift) = (0usize, 0);
        loop {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0u8; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }

    fn decode(&self, first: u8, body: &[u8]) -> Packet {
        let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        match first >> 4 {
            2 => Packet::ConnAck(body[1]),
            3 => {
                let end = 2 + usize::from(number(0));
                let topic = String::from_utf8_lossy(&body[2..end]).into_owned();
                let has_id = first & 0x06 != 0;
                let mut rest = if has_id { end + 2 } else { end };
                if self.version == Version::V5 {
                    let (properties, length) = variable(&body[rest..]);
                    rest += length + properties;
                }
                let id = has_id.then(|| number(end));
                Packet::Publish { topic, payload: body[rest..].to_vec(), id }
            }
            4 => {
                let code = body.get(2).copied().unwrap_or(0);
                let (length, start) = variable(body.get(3..).unwrap_or_default());
                let properties = body.get(3 + start..3 + start + length).unwrap_or_default();
                Packet::PubAck(number(0), code, reason_string(properties))
            }
            9 => {
                let start = match self.version {
                    Version::V311 => 2,
                    Version::V5 => {
                        let (properties, length) = variable(&body[2..]);
                        2 + length + properties
                    }
                };
                Packet::SubAck(number(0), body[start..].to_vec())
            }
            14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
            other => Packet::Other(other),
        }
    }
}
