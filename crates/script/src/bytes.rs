//! Bytes as scripts see them: read only, shared, with the readers of numbers, bits and texts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rhai::{Dynamic, Engine};

use crate::convert::from_json;
use crate::error::{Answer, stop, stop_at_limit};
use crate::{PAYLOAD_BYTES_MAX, STRING_BYTES_MAX};

/// Most digits of a binary-coded decimal that fit into a number.
const BCD_BYTES_MAX: usize = 9;
/// Most bits that are read as one number.
const BITS_MAX: i64 = 63;

/// A piece of a payload. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    all: Arc<[u8]>,
    from: usize,
    to: usize,
}

impl Bytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { all: Arc::from(bytes), from: 0, to: bytes.len() }
    }

    fn get(&self) -> &[u8] {
        self.all.get(self.from..self.to).unwrap_or_default()
    }

    /// `count` bytes from `at`.
    fn part(&self, at: i64, count: usize) -> Answer<&[u8]> {
        let part = usize::try_from(at)
            .ok()
            .and_then(|at| Some(at..at.checked_add(count)?))
            .and_then(|range| self.get().get(range));
        match part {
            Some(part) => Ok(part),
            None => stop(format!(
                "read beyond the end: there are {} bytes, counted from 0",
                self.get().len()
            )),
        }
    }

    fn read<const N: usize>(&self, at: i64) -> Answer<[u8; N]> {
        match self.part(at, N)?.try_into() {
            Ok(array) => Ok(array),
            Err(_) => stop("read beyond the end"),
        }
    }

    fn slice(&self, at: i64, count: i64) -> Answer<Self> {
        let Ok(count) = usize::try_from(count) else {
            return stop("slice(at, count): expected a count from 0");
        };
        self.part(at, count)?;
        let from = self.from + usize::try_from(at).unwrap_or_default();
        Ok(Self { all: Arc::clone(&self.all), from, to: from + count })
    }

    /// A number of `count` bits, from the bit `first` on: bit 0 is the highest of the first byte.
    fn bits(&self, first: i64, count: i64) -> Answer<i64> {
        let fits = (1..=BITS_MAX).contains(&count) && first >= 0;
        let Some(end) = first.checked_add(count).filter(|_| fits) else {
            return stop("bits(first, count): expected a first bit from 0 and 1 to 63 bits");
        };
        let mut number = 0_i64;
        for bit in first..end {
            let [byte] = self.read::<1>(bit / 8)?;
            number = (number << 1) | i64::from((byte >> (7 - bit % 8)) & 1);
        }
        Ok(number)
    }

    /// Two decimal digits a byte.
    fn bcd(&self, at: i64, count: i64) -> Answer<i64> {
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= BCD_BYTES_MAX)
        else {
            return stop("bcd(at, count): expected a count of 0 to 9 bytes");
        };
        let mut number = 0_i64;
        for byte in self.part(at, count)? {
            let (high, low) = (byte >> 4, byte & 15);
            if high > 9 || low > 9 {
                return stop("bcd(at, count): expected decimal digits");
            }
            number = number * 100 + i64::from(high) * 10 + i64::from(low);
        }
        Ok(number)
    }

    fn hex(&self) -> Answer<String> {
        if self.get().len() > STRING_BYTES_MAX / 2 {
            return stop_at_limit("hex()", STRING_BYTES_MAX / 2, "bytes");
        }
        Ok(hex::encode(self.get()))
    }

    fn base64(&self) -> Answer<String> {
        if self.get().len() > STRING_BYTES_MAX / 2 {
            return stop_at_limit("base64()", STRING_BYTES_MAX / 2, "bytes");
        }
        Ok(STANDARD.encode(self.get()))
    }

    fn text(&self) -> Answer<String> {
        if self.get().len() > STRING_BYTES_MAX {
            return stop_at_limit("text()", STRING_BYTES_MAX, "bytes");
        }
        match std::str::from_utf8(self.get()) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => stop(format!("text(): expected UTF-8 (byte {})", error.valid_up_to())),
        }
    }

    fn json(&self) -> Answer<Dynamic> {
        from_json(self.get())
    }
}

fn from_hex(text: &str) -> Answer<Bytes> {
    if text.len() > PAYLOAD_BYTES_MAX * 2 {
        return stop_at_limit("from_hex(text)", PAYLOAD_BYTES_MAX * 2, "digits");
    }
    match hex::decode(text) {
        Ok(bytes) => Ok(Bytes::new(&bytes)),
        Err(_) => stop("from_hex(text): expected an even count of hexadecimal digits"),
    }
}

fn from_base64(text: &str) -> Answer<Bytes> {
    let engine = if text.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
    match engine.decode(text) {
        Ok(bytes) => Ok(Bytes::new(&bytes)),
        Err(_) => stop("from_base64(text): expected Base64"),
    }
}

/// Readers of numbers of one width: the number at a byte, from 0.
macro_rules! numbers {
    ($engine:expr, $($name:literal: $kind:ident $from:ident $bytes:literal to $to:ident;)*) => {$(
        $engine.register_fn($name, |bytes: Bytes, at: i64| -> Answer<$to> {
            Ok($to::from($kind::$from(bytes.read::<$bytes>(at)?)))
        });
    )*};
}

pub(crate) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Bytes>("Bytes");
    numbers! { engine,
        "u8": u8 from_be_bytes 1 to i64;
        "i8": i8 from_be_bytes 1 to i64;
        "u16be": u16 from_be_bytes 2 to i64;
        "u16le": u16 from_le_bytes 2 to i64;
        "i16be": i16 from_be_bytes 2 to i64;
        "i16le": i16 from_le_bytes 2 to i64;
        "u32be": u32 from_be_bytes 4 to i64;
        "u32le": u32 from_le_bytes 4 to i64;
        "i32be": i32 from_be_bytes 4 to i64;
        "i32le": i32 from_le_bytes 4 to i64;
        "f32be": f32 from_be_bytes 4 to f64;
        "f32le": f32 from_le_bytes 4 to f64;
    }
    engine.register_fn("i64be", |bytes: Bytes, at: i64| -> Answer<i64> {
        Ok(i64::from_be_bytes(bytes.read(at)?))
    });
    engine.register_fn("i64le", |bytes: Bytes, at: i64| -> Answer<i64> {
        Ok(i64::from_le_bytes(bytes.read(at)?))
    });
    engine.register_fn("u64be", |bytes: Bytes, at: i64| -> Answer<i64> {
        signed(u64::from_be_bytes(bytes.read(at)?))
    });
    engine.register_fn("u64le", |bytes: Bytes, at: i64| -> Answer<i64> {
        signed(u64::from_le_bytes(bytes.read(at)?))
    });
    engine.register_fn("f64be", |bytes: Bytes, at: i64| -> Answer<f64> {
        Ok(f64::from_be_bytes(bytes.read(at)?))
    });
    engine.register_fn("f64le", |bytes: Bytes, at: i64| -> Answer<f64> {
        Ok(f64::from_le_bytes(bytes.read(at)?))
    });
    engine.register_fn("u24be", |bytes: Bytes, at: i64| -> Answer<i64> {
        let [high, middle, low] = bytes.read(at)?;
        Ok(i64::from(u32::from_be_bytes([0, high, middle, low])))
    });
    engine.register_fn("u24le", |bytes: Bytes, at: i64| -> Answer<i64> {
        let [low, middle, high] = bytes.read(at)?;
        Ok(i64::from(u32::from_be_bytes([0, high, middle, low])))
    });
    engine.register_indexer_get(|bytes: &mut Bytes, at: i64| -> Answer<i64> {
        let [byte] = bytes.read(at)?;
        Ok(i64::from(byte))
    });
    register_texts(engine);
}

fn register_texts(engine: &mut Engine) {
    let len = |bytes: Bytes| i64::try_from(bytes.get().len()).unwrap_or(i64::MAX);
    engine.register_fn("len", len);
    engine.register_fn("is_empty", |bytes: Bytes| bytes.get().is_empty());
    engine.register_fn("slice", |bytes: Bytes, at: i64, count: i64| -> Answer<Bytes> {
        bytes.slice(at, count)
    });
    engine.register_fn("bits", |bytes: Bytes, first: i64, count: i64| -> Answer<i64> {
        bytes.bits(first, count)
    });
    engine.register_fn("bcd", |bytes: Bytes, at: i64, count: i64| -> Answer<i64> {
        bytes.bcd(at, count)
    });
    engine.register_fn("hex", |bytes: Bytes| -> Answer<String> { bytes.hex() });
    engine.register_fn("base64", |bytes: Bytes| -> Answer<String> { bytes.base64() });
    engine.register_fn("text", |bytes: Bytes| -> Answer<String> { bytes.text() });
    engine.register_fn("json", |bytes: Bytes| -> Answer<Dynamic> { bytes.json() });
    engine.register_fn("from_hex", |text: &str| -> Answer<Bytes> { from_hex(text) });
    engine.register_fn("from_base64", |text: &str| -> Answer<Bytes> { from_base64(text) });
}

fn signed(number: u64) -> Answer<i64> {
    match i64::try_from(number) {
        Ok(number) => Ok(number),
        Err(_) => stop("a number does not fit: expected at most 63 bits"),
    }
}
