//! Thrift's compact protocol, as far as Parquet's metadata needs it, read in place and written.
//! Nothing is believed: every length is looked for within the bytes that there are.

/// What is wrong with a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

pub(super) const BOOLEAN_TRUE: u8 = 1;
const BOOLEAN_FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
const DOUBLE: u8 = 7;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
/// Deepest nesting that is skipped.
const DEPTH_MAX: usize = 16;

/// Reads metadata.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn cut() -> Fault {
    Fault::new("the metadata leads out of its place: expected Apache Parquet")
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(cut)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift < 64 {
                number |= u64::from(byte & 0x7f) << shift;
            }
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(cut())
    }

    /// A number with a sign, of any width.
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that counts something.
    pub(super) fn count(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.long()?).map_err(|_| cut())
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| cut())?;
        let end = self.at.checked_add(length).ok_or_else(cut)?;
        let found = self.bytes.get(self.at..end).ok_or_else(cut)?;
        self.at = end;
        Ok(found)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?);
        text.map_err(|_| Fault::new("a name that is not UTF-8"))
    }

    /// The elements of a list, each of which takes a byte at least.
    pub(super) fn list(
        &mut self,
        mut each: impl FnMut(&mut Self, u8) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let head = self.byte()?;
        let of = head & 0x0f;
        let count = match head >> 4 {
            15 => self.varint()?,
            small => u64::from(small),
        };
        for _ in 0..count {
            each(self, of)?;
        }
        Ok(())
    }

    /// The fields of a struct: `each` reads the value of each, or skips it.
    pub(super) fn fields(
        &mut self,
        mut each: impl FnMut(&mut Self, i64, u8) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut id = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            let delta = i64::from(head >> 4);
            id = if delta == 0 { self.long()? } else { id.saturating_add(delta) };
            each(self, id, head & 0x0f)?;
        }
    }

    pub(super) fn skip(&mut self, of: u8) -> Result<(), Fault> {
        self.skip_within(of, DEPTH_MAX)
    }

    fn skip_within(&mut self, of: u8, depth: usize) -> Result<(), Fault> {
        if depth == 0 {
            return Err(Fault::new("metadata that is nested too deeply"));
        }
        match of {
            BOOLEAN_TRUE | BOOLEAN_FALSE => Ok(()),
            BYTE => self.byte().map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => (0..8).try_for_each(|_| self.byte().map(drop)),
            BINARY => self.binary().map(drop),
            LIST | SET => self.list(|reader, of| reader.skip_element(of, depth - 1)),
            MAP => self.skip_map(depth - 1),
            STRUCT => self.fields(|reader, _, of| reader.skip_within(of, depth - 1)),
            _ => Err(cut()),
        }
    }

    /// In a list a boolean has a byte of its own.
    fn skip_element(&mut self, of: u8, depth: usize) -> Result<(), Fault> {
        match of {
            BOOLEAN_TRUE | BOOLEAN_FALSE => self.byte().map(drop),
            _ => self.skip_within(of, depth),
        }
    }

    fn skip_map(&mut self, depth: usize) -> Result<(), Fault> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        let of = self.byte()?;
        for _ in 0..count {
            self.skip_element(of >> 4, depth)?;
            self.skip_element(of & 0x0f, depth)?;
        }
        Ok(())
    }
}

/// Writes metadata.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    /// The number of the last field of each struct that is open.
    last: Vec<u8>,
}

impl Writer {
    /// The outermost struct.
    pub(super) fn root() -> Self {
        Self { bytes: Vec::new(), last: vec![0] }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn head(&mut self, id: u8, of: u8) {
        if let Some(last) = self.last.last_mut() {
            let delta = id.saturating_sub(*last);
            *last = id;
            self.bytes.push(delta << 4 | of);
        }
    }

    fn zigzag(&mut self, number: i64) {
        self.varint(((number << 1) ^ (number >> 63)) as u64);
    }

    pub(super) fn boolean(&mut self, id: u8, is_true: bool) {
        self.head(id, if is_true { BOOLEAN_TRUE } else { BOOLEAN_FALSE });
    }

    pub(super) fn int(&mut self, id: u8, number: i32) {
        self.head(id, I32);
        self.zigzag(number.into());
    }

    pub(super) fn long(&mut self, id: u8, number: i64) {
        self.head(id, I64);
        self.zigzag(number);
    }

    pub(super) fn binary(&mut self, id: u8, bytes: &[u8]) {
        self.head(id, BINARY);
        self.element(bytes);
    }

    /// A text in a list.
    pub(super) fn element(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A number in a list.
    pub(super) fn int_element(&mut self, number: i32) {
        self.zigzag(number.into());
    }

    pub(super) fn list(&mut self, id: u8, of: u8, count: usize) {
        self.head(id, LIST);
        if count < 15 {
            self.bytes.push((count as u8) << 4 | of);
        } else {
            self.bytes.push(0xf0 | of);
            self.varint(count as u64);
        }
    }

    /// A struct in a field; [`Self::end`] closes it.
    pub(super) fn begin(&mut self, id: u8) {
        self.head(id, STRUCT);
        self.last.push(0);
    }

    /// A struct in a list.
    pub(super) fn begin_element(&mut self) {
        self.last.push(0);
    }

    pub(super) fn end(&mut self) {
        self.bytes.push(0);
        self.last.pop();
    }
}
