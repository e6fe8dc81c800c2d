//! The wire format of Protocol Buffers (protobuf.dev/programming-guides/encoding), as far as
//! Sparkplug needs it: fields are read in place, each with its byte, and written one by one.

use crate::payload::PayloadError;

/// Longest number, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Reads the fields of a message. It knows where the message is in the payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the next byte is in the payload.
    at: usize,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// Its number in the message.
    pub(super) number: u64,
    /// Where it begins in the payload.
    pub(super) at: usize,
    content: Content<'a>,
    /// Where its content begins in the payload.
    content_at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next byte is in the payload.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Whether there is no further byte.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PayloadError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            let text = "the payload ends inside a field: expected a whole protobuf message";
            return Err(PayloadError::new(self.at, text));
        };
        (self.bytes, self.at) = (rest, self.at + count);
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A number of up to 64 bits, seven of them a byte.
    pub(super) fn varint(&mut self) -> Result<u64, PayloadError> {
        let from = self.at;
        let mut number = 0u64;
        for index in 0..VARINT_BYTES_MAX {
            let [byte] = self.take_array::<1>()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if index == VARINT_BYTES_MAX - 1 && part > 1 {
                break;
            }
            number |= part << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(PayloadError::new(from, "a number of more than 64 bits: expected a protobuf varint"))
    }

    /// The next field, or none at the end of the message.
    pub(super) fn next_field(&mut self) -> Result<Option<Field<'a>>, PayloadError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(PayloadError::new(at, "field number 0: expected a protobuf message"));
        }
        let mut content_at = self.at;
        let content = match tag & 7 {
            0 => Content::Number(self.varint()?),
            1 => Content::Eight(self.take_array()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                content_at = self.at;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Four(self.take_array()?),
            _ => {
                let text = "a field of an unknown wire type: expected 0, 1, 2 or 5";
                return Err(PayloadError::new(at, text));
            }
        };
        Ok(Some(Field { number, at, content, content_at }))
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &str) -> PayloadError {
        let number = self.number;
        PayloadError::new(self.at, format!("field {number}: expected {expected}"))
    }

    pub(super) fn number(&self) -> Result<u64, PayloadError> {
        match self.content {
            Content::Number(number) => Ok(number),
            _ => Err(self.wrong("a number")),
        }
    }

    /// A number of 32 bits. Longer ones are cut, as the format says.
    pub(super) fn number_32(&self) -> Result<u32, PayloadError> {
        let low = self.number()? & u64::from(u32::MAX);
        Ok(u32::try_from(low).unwrap_or(u32::MAX))
    }

    pub(super) fn flag(&self) -> Result<bool, PayloadError> {
        Ok(self.number()? != 0)
    }

    pub(super) fn float(&self) -> Result<f32, PayloadError> {
        match self.content {
            Content::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong("a float")),
        }
    }

    pub(super) fn double(&self) -> Result<f64, PayloadError> {
        match self.content {
            Content::Eight(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.wrong("a double")),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], PayloadError> {
        match self.content {
            Content::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("bytes")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, PayloadError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let at = self.content_at + error.valid_up_to();
            PayloadError::new(at, "a string is not UTF-8")
        })
    }

    pub(super) fn message(&self) -> Result<Reader<'a>, PayloadError> {
        match self.content {
            Content::Bytes(bytes) => Ok(Reader { bytes, at: self.content_at }),
            _ => Err(self.wrong("a message")),
        }
    }

    /// One of a row of 32-bit numbers, or several packed into one field.
    pub(super) fn numbers_32(&self, out: &mut Vec<u32>) -> Result<(), PayloadError> {
        if let Content::Number(_) = self.content {
            out.push(self.number_32()?);
            return Ok(());
        }
        let mut packed = self.message()?;
        while !packed.is_empty() {
            let at = packed.at();
            let number = u32::try_from(packed.varint()?);
            out.push(number.map_err(|_| PayloadError::new(at, "expected a number of 32 bits"))?);
        }
        Ok(())
    }
}

/// Writes a message, field by field.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or_default();
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    fn tag(&mut self, number: u64, wire_type: u64) {
        self.varint((number << 3) | wire_type);
    }

    pub(super) fn number(&mut self, field: u64, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    pub(super) fn double(&mut self, field: u64, number: f64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn float(&mut self, field: u64, number: f32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Fields that are written already.
    pub(super) fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            writer.number(1, number);
        }
        writer.float(2, 1.5);
        writer.double(3, -2.5);
        writer.bytes(16, "溫度".as_bytes());
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let mut next = || reader.next_field().expect("well formed").expect("a field");
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            assert_eq!(next().number(), Ok(number));
        }
        assert_eq!(next().float(), Ok(1.5));
        assert_eq!(next().double(), Ok(-2.5));
        let text = next();
        assert_eq!((text.number, text.text()), (16, Ok("溫度")));
        assert!(reader.next_field().expect("the end").is_none());
    }

    #[test]
    fn what_is_not_well_formed_is_named_with_its_byte() {
        let check = |bytes: &[u8], position: usize, part: &str| {
            let mut reader = Reader::new(bytes);
            let error = loop {
                match reader.next_field() {
                    Ok(Some(field)) => {
                        if let Err(error) = field.text() {
                            break error;
                        }
                    }
                    Ok(None) => panic!("{bytes:02x?} is well formed"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.position, position, "{bytes:02x?} {error}");
            assert!(error.detail.contains(part), "{error}");
        };
        check(&[0x0a], 1, "ends inside");
        check(&[0x0a, 5, b'a'], 2, "ends inside");
        check(&[0x00, 0], 0, "field number 0");
        check(&[0x0b], 0, "wire type");
        check(&[0x0a, 2, b'a', 0xff], 3, "UTF-8");
        check(&[0x08, 1], 0, "field 1: expected bytes");
        check(&[&[0x08][..], &[0xff; 10]].concat(), 1, "64 bits");
        check(&[&[0x08][..], &[0xff; 9], &[2]].concat(), 1, "64 bits");
    }

    #[test]
    fn rows_of_numbers_may_be_packed() {
        let check = |bytes: &[u8], expect: &[u32]| {
            let (mut reader, mut found) = (Reader::new(bytes), Vec::new());
            while let Some(field) = reader.next_field().expect("well formed") {
                field.numbers_32(&mut found).expect("numbers");
            }
            assert_eq!(found, expect);
        };
        check(&[0x08, 1, 0x08, 2], &[1, 2]);
        check(&[0x0a, 3, 1, 0xac, 2], &[1, 300]);
    }
}
