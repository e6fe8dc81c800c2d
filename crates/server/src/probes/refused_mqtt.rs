//! P05 and P06 over MQTT: the same samples as readings, attributes and messages to others, and in
//! each part of a birth of Sparkplug B. A connection to the broker without a socket in between.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use veritwin_domain::Secret;
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{PeerInfo, Transport};

use super::words;

/// Each message is answered within this time.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// So much of a direction waits to be read.
const PIPE_BYTES: usize = 64 * 1024;
/// Longest answer that is read.
const PACKET_BYTES_MAX: usize = 64 * 1024;
const CONNACK: u8 = 2;
const PUBACK: u8 = 4;
/// PUBACK, not authorised: how a rule on what must not be kept is told.
pub(super) const REFUSED: u8 = 0x87;
const NBIRTH: &str = "spBv1.0/probe/NBIRTH/node";
/// Data types of Sparkplug B.
const INT64: u64 = 4;
const UINT64: u64 = 8;
const STRING: u64 = 12;
const TEMPLATE: u64 = 19;

/// A message to publish.
pub(super) struct Letter {
    pub(super) name: &'static str,
    topic: &'static str,
    payload: Vec<u8>,
}

/// What a PUBACK says.
pub(super) struct Told {
    /// 0: taken.
    pub(super) code: u8,
    pub(super) text: String,
}

/// Every way in for a sample.
pub(super) fn letters(key: &str, text: &str) -> Vec<Letter> {
    let plain = json!({key: text}).to_string().into_bytes();
    let letter = |name, topic, payload| Letter { name, topic, payload };
    let inner = bytes(18, &metric(key, STRING, &bytes(15, text.as_bytes())));
    let null = [number(7, 1), inner.clone()].concat();
    let value = [number(1, STRING), bytes(8, text.as_bytes())].concat();
    let set = [bytes(1, key.as_bytes()), bytes(2, &value)].concat();
    let property = [number(11, 1), bytes(9, &set)].concat();
    vec![
        letter("MQTT, telemetry", "v1/devices/me/telemetry", plain.clone()),
        letter("MQTT, client attributes", "v1/devices/me/attributes", plain.clone()),
        letter("MQTT, message to others", "probe/refused", plain),
        birth("Sparkplug B, metric", key, text),
        letter("Sparkplug B, template", NBIRTH, node(&metric("t", TEMPLATE, &inner))),
        letter("Sparkplug B, null", NBIRTH, node(&metric("t", TEMPLATE, &null))),
        letter("Sparkplug B, property", NBIRTH, node(&metric("p", INT64, &property))),
    ]
}

/// A birth of Sparkplug B with a metric of this name and value.
pub(super) fn birth(name: &'static str, key: &str, text: &str) -> Letter {
    let payload = node(&metric(key, STRING, &bytes(15, text.as_bytes())));
    Letter { name, topic: NBIRTH, payload }
}

/// The payload of an NBIRTH with one metric besides its number.
fn node(metric: &[u8]) -> Vec<u8> {
    let number_of_birth = self::metric("bdSeq", UINT64, &number(11, 0));
    [&number_of_birth[..], metric, &number(3, 0)[..]].concat()
}

/// A metric of a payload or a template; the value comes with its field.
fn metric(name: &str, datatype: u64, value: &[u8]) -> Vec<u8> {
    let name = bytes(1, name.as_bytes());
    bytes(2, &[&name[..], &number(4, datatype)[..], value].concat())
}

/// A number as MQTT and Protocol Buffers write it: seven bits a byte.
fn varint(mut rest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = rest.to_le_bytes()[0] & 0x7f;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [&varint((field << 3) | 2)[..], &varint(content.len() as u64)[..], content].concat()
}

/// Publishes messages as a device, one after the other; what is said to each.
pub(super) async fn tell(
    broker: &Arc<Broker>,
    token: &Secret<String>,
    letters: &[Letter],
) -> Result<Vec<Told>, String> {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let peer = PeerInfo::new(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), Transport::Mqtt5);
    let serving = Box::pin(broker.serve_connection(theirs, peer));
    // The connection ends with its client, and leaves no will.
    let (_will, told) = tokio::join!(serving, talk(ours, token.expose(), letters));
    told
}

async fn talk(stream: DuplexStream, token: &str, letters: &[Letter]) -> Result<Vec<Told>, String> {
    let mut client = Client { stream };
    let mut told = Vec::with_capacity(letters.len());
    let late = |name: &str| format!("{name}: no answer in time");
    let connected = timeout(ANSWER_MAX, client.connect(token)).await;
    connected.map_err(|_| late("CONNECT"))??;
    for letter in letters {
        let answered = timeout(ANSWER_MAX, client.publish(letter)).await;
        told.push(answered.map_err(|_| late(letter.name))??);
    }
    Ok(told)
}

struct Client {
    stream: DuplexStream,
}

impl Client {
    async fn connect(&mut self, token: &str) -> Result<(), String> {
        let mut body = text("MQTT")?;
        // Version 5, a new session, a user name; a minute, no properties, no client id.
        body.extend_from_slice(&[5, 0x82, 0, 60, 0, 0, 0]);
        body.extend(text(token)?);
        self.send(0x10, &body).await?;
        match self.read(CONNACK).await?.get(1) {
            Some(0) => Ok(()),
            code => Err(format!("CONNECT was answered {code:?}")),
        }
    }

    async fn publish(&mut self, letter: &Letter) -> Result<Told, String> {
        let mut body = text(letter.topic)?;
        // Packet id 1, no properties.
        body.extend_from_slice(&[0, 1, 0]);
        body.extend_from_slice(&letter.payload);
        self.send(0x32, &body).await?;
        let answer = self.read(PUBACK).await?;
        // Behind the packet id, and left out of a success.
        let code = answer.get(2).copied().unwrap_or_default();
        let text = String::from_utf8_lossy(answer.get(3..).unwrap_or_default()).into_owned();
        Ok(Told { code, text })
    }

    async fn send(&mut self, first: u8, body: &[u8]) -> Result<(), String> {
        let packet = [&[first][..], &varint(body.len() as u64)[..], body].concat();
        self.stream.write_all(&packet).await.map_err(|error| words::io("MQTT", &error))
    }

    /// The next packet of this kind, without its fixed header.
    async fn read(&mut self, kind: u8) -> Result<Vec<u8>, String> {
        let broken = |error: std::io::Error| words::io("MQTT", &error);
        loop {
            let first = self.stream.read_u8().await.map_err(broken)?;
            let (mut length, mut shift) = (0usize, 0);
            loop {
                let byte = self.stream.read_u8().await.map_err(broken)?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 21 {
                    return Err("a packet without a length".to_owned());
                }
            }
            if length > PACKET_BYTES_MAX {
                return Err(format!("an answer of {length} bytes"));
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.map_err(broken)?;
            if first >> 4 == kind {
                return Ok(body);
            }
        }
    }
}

/// A text behind its length.
fn text(text: &str) -> Result<Vec<u8>, String> {
    let length = u16::try_from(text.len()).map_err(|_| "a text is too long".to_owned())?;
    Ok([&length.to_be_bytes()[..], text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_births_are_written_as_the_format_says() {
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(bytes(18, b"x"), [0x92, 1, 1, b'x']);
        assert_eq!(metric("a", STRING, &bytes(15, b"b")), b"\x12\x08\x0a\x01a\x20\x0c\x7a\x01b");
        let birth = birth("birth", "a", "b");
        assert!(birth.payload.starts_with(b"\x12\x0b\x0a\x05bdSeq\x20\x08\x58\x00"));
        assert!(birth.payload.ends_with(b"\x7a\x01b\x18\x00"));
    }

    #[test]
    fn every_letter_holds_the_sample() {
        for letter in letters("religion", "sample") {
            for part in [&b"religion"[..], b"sample"] {
                let found = letter.payload.windows(part.len()).any(|window| window == part);
                assert!(found, "{}", letter.name);
            }
        }
    }
}
