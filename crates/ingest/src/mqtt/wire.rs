//! The fields of MQTT packets, read in place and strictly (MQTT 5.0 and 3.1.1, section 1.5): what
//! the standards forbid is a fault that says which byte it is and what would be right. A fault
//! never holds what a client wrote.

use std::fmt::Display;

use super::topic;

/// Cannot be read as the standard says (MQTT 5.0, 4.13.1).
pub(crate) const MALFORMED: u8 = 0x81;
/// Can be read, and is not allowed here (MQTT 5.0, 4.13.1).
pub(crate) const PROTOCOL_ERROR: u8 = 0x82;

/// Why a packet is not accepted. The connection ends (MQTT 5.0, 4.13.1; MQTT 3.1.1, 4.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The version 5 reason code; version 3 has none.
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Fault {
    /// A packet that breaks the format at byte `at`, the fixed header's first byte being byte 0.
    #[cold]
    pub(crate) fn malformed(at: usize, text: impl Display) -> Self {
        Self { code: MALFORMED, text: format!("malformed packet, byte {at}: {text}") }
    }

    /// A packet that holds at byte `at` what is not allowed there.
    #[cold]
    pub(crate) fn protocol(at: usize, text: impl Display) -> Self {
        Self { code: PROTOCOL_ERROR, text: format!("protocol error, byte {at}: {text}") }
    }
}

/// A packet, or a part of it, that is read field by field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `packet` from byte `at` on.
    pub(crate) const fn new(packet: &'a [u8], at: usize) -> Self {
        Self { bytes: packet, at }
    }

    /// The byte that is read next.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The packet has to end here.
    pub(crate) fn finish(&self, packet: &'static str) -> Result<(), Fault> {
        if self.is_at_end() {
            return Ok(());
        }
        let more = self.rest().len();
        Err(Fault::malformed(self.at, format_args!("{packet} ends here, found {more} more bytes")))
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Fault> {
        self.array(what).map(|[byte]| byte)
    }

    /// Two Byte Integer (1.5.2).
    pub(crate) fn two(&mut self, what: &'static str) -> Result<u16, Fault> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Four Byte Integer (1.5.3).
    pub(crate) fn four(&mut self, what: &'static str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Variable Byte Integer, in the fewest bytes (MQTT-1.5.5-1).
    pub(crate) fn variable(&mut self, what: &'static str) -> Result<u32, Fault> {
        let start = self.at;
        let mut value = 0;
        for index in 0..4 {
            let byte = self.byte(what)?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte == 0 && index > 0 {
                return Err(Fault::malformed(
                    start,
                    format_args!("{what}: more bytes than needed"),
                ));
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::malformed(start, format_args!("{what}: expected at most four bytes")))
    }

    /// Binary Data (1.5.6).
    pub(crate) fn binary(&mut self, what: &'static str) -> Result<&'a [u8], Fault> {
        let length = self.two(what)?;
        self.take(usize::from(length), what)
    }

    /// UTF-8 Encoded String (MQTT-1.5.4-1, MQTT-1.5.4-2). A byte order mark stays in it.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Fault> {
        let bytes = self.binary(what)?;
        let start = self.at - bytes.len();
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = start + error.valid_up_to();
            Fault::malformed(at, format_args!("{what}: expected UTF-8"))
        })?;
        if bytes.contains(&0) {
            let at = start + text.find('\0').unwrap_or(0);
            let text = format!("{what} holds U+0000, which MQTT forbids");
            return Err(Fault::malformed(at, text));
        }
        Ok(text)
    }

    /// A topic name: at least one character, no wildcard (MQTT-4.7.3-1, MQTT-4.7.0-1).
    pub(crate) fn topic_name(&mut self, what: &'static str) -> Result<&'a str, Fault> {
        let start = self.at + 2;
        let name = self.text(what)?;
        match topic::name_fault(name) {
            None => Ok(name),
            Some(text) => Err(Fault::malformed(start, format_args!("{what} {text}"))),
        }
    }

    /// A property or similar that says yes or no.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, Fault> {
        let at = self.at;
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                Err(Fault::protocol(at, format_args!("{what}: expected 0 or 1, found {other}")))
            }
        }
    }

    /// Packet Identifier, never 0 (MQTT 5.0, MQTT-2.2.1-3; MQTT 3.1.1, MQTT-2.3.1-1).
    pub(crate) fn packet_id(&mut self) -> Result<u16, Fault> {
        let at = self.at;
        match self.two("packet id")? {
            0 => Err(Fault::malformed(at, "packet id: expected 1 to 65535, found 0")),
            id => Ok(id),
        }
    }

    /// The next `count` bytes, to be read by themselves.
    pub(crate) fn part(&mut self, count: usize, what: &'static str) -> Result<Self, Fault> {
        let start = self.at;
        self.take(count, what)?;
        Ok(Self { bytes: self.bytes.get(..self.at).unwrap_or_default(), at: start })
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Fault> {
        let Some((taken, _)) = self.rest().split_at_checked(count) else {
            return Err(self.short(count, what));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Fault> {
        let Some(taken) = self.rest().first_chunk::<N>() else { return Err(self.short(N, what)) };
        self.at += N;
        Ok(*taken)
    }

    #[cold]
    fn short(&self, count: usize, what: &'static str) -> Fault {
        let left = self.rest().len();
        let text = format!("{what}: expected {count} bytes, found {left}");
        Fault::malformed(self.at, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers() {
        let check = |bytes: &[u8], expect: Result<u32, &str>| {
            let found = Reader::new(bytes, 0).variable("length").map_err(|fault| fault.text);
            assert_eq!(found, expect.map_err(str::to_owned), "{bytes:02x?}");
        };
        check(&[0], Ok(0));
        check(&[0x7f], Ok(127));
        check(&[0x80, 1], Ok(128));
        check(&[0xff, 0xff, 0xff, 0x7f], Ok(268_435_455));
        check(&[0x80, 0], Err("malformed packet, byte 0: length: more bytes than needed"));
        check(
            &[0xff, 0xff, 0xff, 0xff, 1],
            Err("malformed packet, byte 0: length: expected at most four bytes"),
        );
        check(&[0x80], Err("malformed packet, byte 1: length: expected 1 bytes, found 0"));
    }

    #[test]
    fn texts() {
        let check = |bytes: &[u8], expect: Result<&str, &str>| {
            let found = Reader::new(bytes, 0).text("name").map_err(|fault| fault.text);
            assert_eq!(found, expect.map_err(str::to_owned), "{bytes:02x?}");
        };
        check(b"\x00\x01a", Ok("a"));
        check(b"\x00\x03\xef\xbb\xbf", Ok("\u{feff}"));
        check(b"\x00\x02a", Err("malformed packet, byte 2: name: expected 2 bytes, found 1"));
        check(b"\x00\x02a\xff", Err("malformed packet, byte 3: name: expected UTF-8"));
        check(b"\x00\x03\xed\xa0\x80", Err("malformed packet, byte 2: name: expected UTF-8"));
        check(
            b"\x00\x02a\x00",
            Err("malformed packet, byte 3: name holds U+0000, which MQTT forbids"),
        );
    }
}
