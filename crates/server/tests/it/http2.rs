//! A writer of raw HTTP/2 frames (RFC 9113) over TLS, for frames that no client sends. Header
//! blocks are HPACK (RFC 7541) without Huffman coding.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::http::{Http, Tls, plain, secured};

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// The initial size of a stream's window, among settings.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A string of a header block: an integer of seven bits, then the bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap() | 0x80);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap());
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The header block of `GET path`.
pub(crate) fn get(path: &str) -> Vec<u8> {
    // `:method: GET`, `:scheme: https`, `:path`, `:authority`, by their numbers in the static table.
    let mut block = vec![0x82, 0x87, 0x04];
    block.extend_from_slice(&text(path));
    block.push(0x01);
    block.extend_from_slice(&text("localhost"));
    block
}

/// A connection whose other side knows that it speaks HTTP/2.
pub(crate) struct Http2 {
    stream: Tls,
}

impl Http2 {
    /// Connects from one of this machine's own addresses, with settings as (number, value).
    pub(crate) fn connect(http: &Http, source: Ipv4Addr, settings: &[(u16, u32)]) -> Self {
        let address = http.ports().https;
        let stream = plain(source, &address).unwrap();
        let mut stream = secured(stream, &address, http.tls()).unwrap();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(number, value)| {
                [number.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat()
            })
            .collect();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &payload)).unwrap();
        stream.flush().unwrap();
        Self { stream }
    }

    /// Writes bytes; an error means that the other side reads no more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// A read fails when nothing comes for this long.
    pub(crate) fn wait_at_most(&mut self, time: Duration) {
        self.stream.sock.set_read_timeout(Some(time)).unwrap();
    }

    /// A write that is not taken fails after this long.
    pub(crate) fn give_up_after(&mut self, time: Duration) {
        self.stream.sock.set_write_timeout(Some(time)).unwrap();
    }

    /// The next frame.
    pub(crate) fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0u8; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], payload })
    }

    /// Reads to the end of the connection: every frame, and how it ended.
    pub(crate) fn rest(mut self) -> (Vec<Frame>, io::Error) {
        let mut frames = Vec::new();
        loop {
            match self.read() {
                Ok(frame) => frames.push(frame),
                Err(error) => return (frames, error),
            }
        }
    }
}
