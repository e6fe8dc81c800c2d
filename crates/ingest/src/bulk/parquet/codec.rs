//! What pages are compressed with. No page comes out longer than its header says, and none may say
//! more than the bound.

use std::io::Read;

use super::PARQUET_PAGE_BYTES_MAX;
use super::thrift::Fault;

/// How the pages of a column are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Snappy,
    Gzip,
    Zstd,
    Lz4Raw,
}

fn damaged() -> Fault {
    Fault::new("a page that cannot be decompressed")
}

impl Codec {
    pub(super) fn of(number: i64) -> Result<Self, Fault> {
        match number {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Snappy),
            2 => Ok(Self::Gzip),
            6 => Ok(Self::Zstd),
            7 => Ok(Self::Lz4Raw),
            _ => Err(Fault::new(
                "an unknown compression: expected none, snappy, gzip, zstd or lz4_raw",
            )),
        }
    }

    /// A page as it was, `length` bytes of it.
    pub(super) fn open(self, page: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
        if length > PARQUET_PAGE_BYTES_MAX {
            return Err(Fault::new(format!(
                "limit parquet_page_bytes_max exceeded: at most {PARQUET_PAGE_BYTES_MAX}, got \
                 {length}"
            )));
        }
        let opened = match self {
            Self::Plain => page.to_vec(),
            Self::Snappy => snappy(page, length)?,
            Self::Gzip => {
                let mut opened = Vec::new();
                let more = length as u64 + 1;
                let decoder = flate2::read::MultiGzDecoder::new(page);
                decoder.take(more).read_to_end(&mut opened).map_err(|_| damaged())?;
                opened
            }
            Self::Zstd => zstd::bulk::decompress(page, length).map_err(|_| damaged())?,
            Self::Lz4Raw => lz4(page, length)?,
        };
        if opened.len() == length { Ok(opened) } else { Err(damaged()) }
    }
}

/// Copies what stands `back` bytes before the end to the end; it may overlap.
fn repeat(out: &mut Vec<u8>, back: usize, count: usize, length: usize) -> Result<(), Fault> {
    if back == 0 || back > out.len() || out.len() + count > length {
        return Err(damaged());
    }
    let from = out.len() - back;
    if back >= count {
        out.extend_from_within(from..from + count);
        return Ok(());
    }
    for index in from..from + count {
        let byte = out.get(index).copied().ok_or_else(damaged)?;
        out.push(byte);
    }
    Ok(())
}

fn literal<'a>(
    out: &mut Vec<u8>,
    rest: &'a [u8],
    (count, length): (usize, usize),
) -> Result<&'a [u8], Fault> {
    let Some((taken, rest)) = rest.split_at_checked(count) else { return Err(damaged()) };
    if out.len() + count > length {
        return Err(damaged());
    }
    out.extend_from_slice(taken);
    Ok(rest)
}

fn little(bytes: &[u8], count: usize) -> Result<usize, Fault> {
    let bytes = bytes.get(..count).ok_or_else(damaged)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Snappy's raw format (google/snappy, `format_description.txt`).
fn snappy(page: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let ends = page.iter().position(|byte| byte & 0x80 == 0).filter(|at| *at < 5);
    let mut rest = page.get(ends.ok_or_else(damaged)? + 1..).unwrap_or_default();
    let mut out = Vec::with_capacity(length);
    while let Some((tag, after)) = rest.split_first() {
        let (tag, upper) = (*tag, usize::from(*tag >> 2));
        rest = match tag & 3 {
            0 if upper < 60 => literal(&mut out, after, (upper + 1, length))?,
            0 => {
                let width = upper - 59;
                let count = little(after, width)? + 1;
                literal(&mut out, &after[width..], (count, length))?
            }
            1 => {
                let back = usize::from(tag >> 5) << 8 | little(after, 1)?;
                repeat(&mut out, back, (upper & 7) + 4, length)?;
                &after[1..]
            }
            2 => {
                repeat(&mut out, little(after, 2)?, upper + 1, length)?;
                &after[2..]
            }
            _ => {
                repeat(&mut out, little(after, 4)?, upper + 1, length)?;
                &after[4..]
            }
        };
    }
    Ok(out)
}

/// A length of LZ4 that goes on for as long as its bytes are full.
fn extended(mut rest: &[u8], nibble: usize) -> Result<(usize, &[u8]), Fault> {
    let mut count = nibble;
    if nibble == 15 {
        loop {
            let (byte, after) = rest.split_first().ok_or_else(damaged)?;
            rest = after;
            count += usize::from(*byte);
            if *byte != 255 {
                break;
            }
        }
    }
    Ok((count, rest))
}

/// LZ4's block format (lz4/lz4, `lz4_Block_format.md`).
fn lz4(page: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(length);
    let mut rest = page;
    while let Some((token, after)) = rest.split_first() {
        let (count, after) = extended(after, usize::from(*token >> 4))?;
        rest = literal(&mut out, after, (count, length))?;
        if rest.is_empty() {
            break;
        }
        let back = little(rest, 2)?;
        let (count, after) = extended(&rest[2..], usize::from(*token & 15))?;
        repeat(&mut out, back, count + 4, length)?;
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snappy_and_lz4_are_read_and_never_beyond_their_length() {
        // "abcabcabcabc": a literal of three, and nine bytes from three before.
        let packed = [12, 2 << 2, b'a', b'b', b'c', (9 - 4) << 2 | 1, 3];
        assert_eq!(Codec::Snappy.open(&packed, 12).as_deref(), Ok(&b"abcabcabcabc"[..]));
        assert!(Codec::Snappy.open(&packed, 11).is_err());
        assert!(Codec::Snappy.open(&packed[..4], 12).is_err());
        let block = [3 << 4 | (9 - 4), b'a', b'b', b'c', 3, 0];
        assert_eq!(Codec::Lz4Raw.open(&block, 12).as_deref(), Ok(&b"abcabcabcabc"[..]));
        assert!(Codec::Lz4Raw.open(&[0x0f, 0, 0, 255, 255], 4096).is_err());
    }

    #[test]
    fn a_page_that_says_too_much_is_refused() {
        let error = Codec::Zstd.open(&[], PARQUET_PAGE_BYTES_MAX + 1).expect_err("too long");
        assert!(error.0.contains("parquet_page_bytes_max"), "{error:?}");
        assert!(Codec::of(4).is_err());
    }
}
