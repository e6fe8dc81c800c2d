//! The few MQTT 3.1.1 packets that a load generator writes, and the frames of those it reads.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Stream;
use super::{LoadError, Qos};

/// Digits of the counter in a payload.
const COUNTER_DIGITS: usize = 7;
/// Counters are written as this and more, so that the number never starts with a zero.
const COUNTER_MIN: u64 = 1_000_000;
/// Different counters.
const COUNTERS: u64 = 9_000_000;
const START: &str = "{\"ts\":";
const MILLIS: &str = "1000000000000";
const MIDDLE: &str = ",\"values\":{\"temperature\":21.57,\"humidity\":45.2,\"co2\":";
const COUNTER: &str = "1000000";

/// One packet at the front of what has been read.
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) body_at: usize,
    pub(super) end: usize,
}

/// The first packet, if all of it is there.
pub(super) fn frame(input: &[u8]) -> Result<Option<Frame>, LoadError> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0;
    for (place, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let body_at = place + 2;
            let end = body_at + length;
            return Ok((input.len() >= end).then_some(Frame { first, body_at, end }));
        }
    }
    if rest.len() < 4 {
        return Ok(None);
    }
    Err(LoadError::broken("the length of a packet cannot be read"))
}

/// The packet id of an acknowledgement; 0 where it has none.
pub(super) fn packet_id(body: &[u8]) -> Result<u16, LoadError> {
    match *body {
        [high, low] => Ok(u16::from_be_bytes([high, low])),
        [] => Ok(0),
        _ => Err(LoadError::broken("an acknowledgement is too long")),
    }
}

/// An acknowledgement of any step.
pub(super) fn put_answer(out: &mut Vec<u8>, first_byte: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first_byte, 2, high, low]);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_packet(out: &mut Vec<u8>, first_byte: u8, body: &[u8]) {
    out.push(first_byte);
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

/// A clean CONNECT, with the token as user name.
pub(super) fn connect(client_id: &str, token: Option<&str>, keep_alive_seconds: u16) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    let user_flag = if token.is_some() { 0x80 } else { 0 };
    body.extend_from_slice(&[4, 0x02 | user_flag]);
    body.extend_from_slice(&keep_alive_seconds.to_be_bytes());
    put_text(&mut body, client_id);
    if let Some(token) = token {
        put_text(&mut body, token);
    }
    let mut out = Vec::new();
    put_packet(&mut out, 0x10, &body);
    out
}

/// A SUBSCRIBE with packet id 1.
pub(super) fn subscribe(filter: &str, qos: Qos) -> Vec<u8> {
    let mut body = vec![0, 1];
    put_text(&mut body, filter);
    body.push(qos.number());
    let mut out = Vec::new();
    put_packet(&mut out, 0x82, &body);
    out
}

/// What a SUBACK says.
pub(super) fn subscribed(body: &[u8]) -> Result<(), LoadError> {
    match *body {
        [_, _, 0..=2] => Ok(()),
        _ => Err(LoadError::broken("the subscription was refused")),
    }
}

/// A retained PUBLISH at QoS 1.
pub(super) fn put_retained(out: &mut Vec<u8>, topic: &str, packet_id: u16, payload: &[u8]) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    put_text(&mut body, topic);
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.extend_from_slice(payload);
    put_packet(out, 0x33, &body);
}

/// A message that came.
pub(super) struct Delivery<'a> {
    pub(super) qos: u8,
    pub(super) packet_id: u16,
    pub(super) payload: &'a [u8],
}

/// Reads the body of a PUBLISH.
pub(super) fn delivery(first: u8, body: &[u8]) -> Result<Delivery<'_>, LoadError> {
    let short = || LoadError::broken("a PUBLISH is too short");
    let qos = (first >> 1) & 3;
    let [high, low, rest @ ..] = body else { return Err(short()) };
    let topic_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    let rest = rest.get(topic_bytes..).ok_or_else(short)?;
    match (qos, rest) {
        (0, payload) => Ok(Delivery { qos, packet_id: 0, payload }),
        (_, [high, low, payload @ ..]) => {
            Ok(Delivery { qos, packet_id: u16::from_be_bytes([*high, *low]), payload })
        }
        _ => Err(short()),
    }
}

/// Answers what a subscriber has to answer at once.
pub(super) fn put_delivery_answer(out: &mut Vec<u8>, qos: u8, packet_id: u16) {
    match qos {
        1 => put_answer(out, 0x40, packet_id),
        2 => put_answer(out, 0x50, packet_id),
        _ => {}
    }
}

/// Reads more, at least one byte. Cancelling it loses nothing.
pub(super) async fn read_more(stream: &mut Stream, input: &mut BytesMut) -> Result<(), LoadError> {
    input.reserve(4096);
    match stream.read_buf(input).await {
        Ok(0) => Err(LoadError::broken("the server closed the connection")),
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::broken(error)),
    }
}

/// Writes everything and empties `output`. Not to be cancelled.
pub(super) async fn write_all(stream: &mut Stream, output: &mut Vec<u8>) -> Result<(), LoadError> {
    if output.is_empty() {
        return Ok(());
    }
    stream.write_all(output).await.map_err(LoadError::broken)?;
    output.clear();
    stream.flush().await.map_err(LoadError::broken)
}

/// A PUBLISH with places for packet id, time and counter.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    millis_at: usize,
    counter_at: usize,
}

impl Template {
    /// The payload is `{"ts":..,"values":{..}}` of exactly `payload_bytes`, if that is enough.
    pub(super) fn new(topic: &str, payload_bytes: usize, qos: Qos) -> Self {
        let fixed = START.len() + MILLIS.len() + MIDDLE.len() + COUNTER.len() + "}}".len();
        let padding_frame = ",\"p\":\"\"".len();
        let mut payload = format!("{START}{MILLIS}{MIDDLE}{COUNTER}");
        if payload_bytes >= fixed + padding_frame {
            let padding = "x".repeat(payload_bytes - fixed - padding_frame);
            payload.push_str(&format!(",\"p\":\"{padding}\""));
        }
        payload.push_str("}}");

        let mut body = Vec::new();
        put_text(&mut body, topic);
        let has_id = qos != Qos::AtMostOnce;
        if has_id {
            body.extend_from_slice(&[0, 0]);
        }
        body.extend_from_slice(payload.as_bytes());
        let mut bytes = Vec::new();
        put_packet(&mut bytes, 0x30 | (qos.number() << 1), &body);
        let payload_at = bytes.len() - payload.len();
        Self {
            packet_id_at: has_id.then_some(payload_at - 2),
            millis_at: payload_at + START.len(),
            counter_at: payload_at + START.len() + MILLIS.len() + MIDDLE.len(),
            bytes,
        }
    }

    pub(super) fn put(&mut self, out: &mut Vec<u8>, packet_id: u16, millis: u64, counter: u64) {
        if let Some(at) = self.packet_id_at {
            self.bytes[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        put_digits(&mut self.bytes[self.millis_at..self.millis_at + MILLIS.len()], millis);
        let counter = COUNTER_MIN + counter % COUNTERS;
        put_digits(&mut self.bytes[self.counter_at..self.counter_at + COUNTER_DIGITS], counter);
        out.extend_from_slice(&self.bytes);
    }
}

/// The counter in a payload that a [`Template`] wrote.
pub(super) fn counter(payload: &[u8]) -> Option<u64> {
    let at = START.len() + MILLIS.len() + MIDDLE.len();
    let digits = payload.get(at..at + COUNTER_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?.checked_sub(COUNTER_MIN)
}

fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size_and_are_json() {
        for bytes in [100, 120, 1000] {
            let mut template = Template::new("t", bytes, Qos::AtLeastOnce);
            let mut out = Vec::new();
            template.put(&mut out, 0x1234, 1_700_000_000_123, 42);
            let payload = &out[out.len() - bytes..];
            let json: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
            assert_eq!(json["ts"], 1_700_000_000_123u64);
            assert_eq!(json["values"]["co2"], 1_000_042);
            assert_eq!(counter(payload), Some(42));
            let at = template.packet_id_at.expect("QoS 1 has a packet id");
            assert_eq!(out[at..at + 2], [0x12, 0x34]);
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (qos, first, id) in
            [(Qos::AtMostOnce, 0x30, 0), (Qos::AtLeastOnce, 0x32, 7), (Qos::ExactlyOnce, 0x34, 7)]
        {
            let mut out = Vec::new();
            Template::new("a/topic", 200, qos).put(&mut out, 7, 1_700_000_000_123, 99);
            let frame = frame(&out).expect("a frame").expect("a whole one");
            assert_eq!((frame.first, frame.end), (first, out.len()));
            let read = delivery(frame.first, &out[frame.body_at..frame.end]).expect("a message");
            assert_eq!((read.qos, read.packet_id), (qos.number(), id));
            assert_eq!((read.payload.len(), counter(read.payload)), (200, Some(99)));
        }
    }

    #[test]
    fn frames_come_in_pieces() {
        let check = |input: &[u8], expect: Option<(usize, usize)>| {
            let found = frame(input).expect("no fault");
            assert_eq!(found.map(|frame| (frame.body_at, frame.end)), expect, "{input:?}");
        };
        check(&[], None);
        check(&[0x40], None);
        check(&[0x40, 2, 0], None);
        check(&[0x40, 2, 0, 1, 0x40], Some((2, 4)));
        check(&[0xd0, 0], Some((2, 2)));
        check(&[0x30, 0x80], None);
        check(&[&[0x30, 0x80, 1][..], &[0; 128]].concat(), Some((3, 131)));
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(delivery(0x32, &[0, 1, b't', 0]).is_err());
        assert!(packet_id(&[1, 2, 3]).is_err());
        assert!(subscribed(&[0, 1, 0x80]).is_err());
    }
}
