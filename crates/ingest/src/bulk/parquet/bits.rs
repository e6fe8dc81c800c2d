//! Numbers packed into bits: the hybrid of runs and packed groups, and deltas in blocks
//! (apache/parquet-format, `Encodings.md`).

use super::thrift::Fault;

fn cut() -> Fault {
    Fault::new("a page that ends within its values")
}

fn varint(buffer: &[u8], at: &mut usize) -> Result<u64, Fault> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = buffer.get(*at).copied().ok_or_else(cut)?;
        *at += 1;
        if shift < 64 {
            number |= u64::from(byte & 0x7f) << shift;
        }
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(cut())
}

fn zigzag(buffer: &[u8], at: &mut usize) -> Result<i64, Fault> {
    let number = varint(buffer, at)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

/// The number of `width` bits at a bit, the least significant first.
fn packed(buffer: &[u8], bit: usize, width: usize) -> Result<u64, Fault> {
    let mut number = 0u128;
    let (first, last) = (bit / 8, (bit + width).div_ceil(8));
    let bytes = buffer.get(first..last).ok_or_else(cut)?;
    for (index, byte) in bytes.iter().enumerate() {
        number |= u128::from(*byte) << (8 * index);
    }
    let mask = if width >= 64 { u64::MAX } else { (1u64 << width) - 1 };
    Ok((number >> (bit % 8)) as u64 & mask)
}

/// Runs of one number, and groups of eight packed ones, in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hybrid {
    at: usize,
    end: usize,
    width: usize,
    /// Of the present run.
    left: u64,
    value: u64,
    /// Where the next packed number is; none in a run of one number.
    bit: Option<usize>,
}

impl Hybrid {
    /// In these bytes of a buffer, numbers of so many bits.
    pub(super) fn new((at, end): (usize, usize), width: usize) -> Result<Self, Fault> {
        if width > 32 {
            return Err(Fault::new("indices of more than 32 bits"));
        }
        Ok(Self { at, end, width, left: 0, value: 0, bit: None })
    }

    pub(super) fn next(&mut self, buffer: &[u8]) -> Result<u64, Fault> {
        let buffer = buffer.get(..self.end).ok_or_else(cut)?;
        while self.left == 0 {
            let head = varint(buffer, &mut self.at)?;
            let bytes = self.width.div_ceil(8);
            if head & 1 == 0 {
                self.left = head >> 1;
                self.value = packed(buffer, self.at * 8, bytes * 8)?;
                self.at += bytes;
                self.bit = None;
            } else {
                let groups = usize::try_from(head >> 1).map_err(|_| cut())?;
                let length = groups.checked_mul(self.width).ok_or_else(cut)?;
                self.left = (head >> 1).saturating_mul(8);
                self.bit = Some(self.at * 8);
                // The last group may be cut short, where nothing of it is needed any more.
                self.at = self.at.saturating_add(length).min(self.end);
            }
        }
        self.left -= 1;
        match &mut self.bit {
            None => Ok(self.value),
            Some(bit) => {
                let found = packed(buffer, *bit, self.width)?;
                *bit += self.width;
                Ok(found)
            }
        }
    }
}

/// Integers by their differences, in blocks.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    at: usize,
    per_mini: usize,
    minis: usize,
    left: usize,
    value: i64,
    is_first: bool,
    least: i64,
    widths: Vec<u8>,
    mini: usize,
    in_mini: usize,
    bit: usize,
}

/// Most numbers of a block.
const BLOCK_VALUES_MAX: u64 = 1 << 20;

impl Delta {
    /// From here on in a buffer.
    pub(super) fn new(buffer: &[u8], mut at: usize) -> Result<Self, Fault> {
        let block = varint(buffer, &mut at)?;
        let minis = varint(buffer, &mut at)?;
        let left = varint(buffer, &mut at)?;
        let value = zigzag(buffer, &mut at)?;
        let is_sound = (1..=BLOCK_VALUES_MAX).contains(&block)
            && (1..=512).contains(&minis)
            && block % minis == 0
            && left <= super::PARQUET_PAGE_VALUES_MAX as u64;
        if !is_sound {
            return Err(Fault::new("a block of differences that is none, or one over its bound"));
        }
        let number = |number: u64| usize::try_from(number).map_err(|_| cut());
        let (per_mini, minis, left) = (number(block / minis)?, number(minis)?, number(left)?);
        Ok(Self {
            at,
            per_mini,
            minis,
            left,
            value,
            is_first: true,
            least: 0,
            widths: Vec::new(),
            mini: 0,
            in_mini: 0,
            bit: 0,
        })
    }

    /// How many numbers there are still.
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Behind the last number, once all are read.
    pub(super) const fn end(&self) -> usize {
        self.at
    }

    pub(super) fn next(&mut self, buffer: &[u8]) -> Result<i64, Fault> {
        self.left = self.left.checked_sub(1).ok_or_else(cut)?;
        if self.is_first {
            self.is_first = false;
            return Ok(self.value);
        }
        if self.in_mini == 0 {
            self.open_mini(buffer)?;
        }
        let width = usize::from(self.widths.get(self.mini).copied().ok_or_else(cut)?);
        let delta = packed(buffer, self.bit, width)? as i64;
        self.bit += width;
        self.in_mini -= 1;
        if self.in_mini == 0 {
            self.mini += 1;
        }
        self.value = self.value.wrapping_add(self.least).wrapping_add(delta);
        Ok(self.value)
    }

    fn open_mini(&mut self, buffer: &[u8]) -> Result<(), Fault> {
        if self.mini >= self.widths.len() {
            self.least = zigzag(buffer, &mut self.at)?;
            let end = self.at + self.minis;
            self.widths = buffer.get(self.at..end).ok_or_else(cut)?.to_vec();
            self.at = end;
            self.mini = 0;
        }
        let width = usize::from(self.widths.get(self.mini).copied().ok_or_else(cut)?);
        if width > 64 {
            return Err(Fault::new("differences of more than 64 bits"));
        }
        self.bit = self.at * 8;
        self.in_mini = self.per_mini;
        // Miniblocks stand there whole, even where the last one is not needed in full.
        self.at = self.at.saturating_add((self.per_mini * width).div_ceil(8));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_groups_are_read_in_turn() {
        // Four times 5, then 0 to 7 in three bits (the example of the specification).
        let buffer = [4 << 1, 5, (1 << 1) | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let mut hybrid = Hybrid::new((0, buffer.len()), 3).expect("a width");
        let read: Vec<u64> = (0..12).map(|_| hybrid.next(&buffer).expect("a number")).collect();
        assert_eq!(read, [5, 5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(hybrid.next(&buffer).is_err());
    }

    #[test]
    fn differences_are_added_up() {
        // 1 to 5: the first, and differences of 1 in a block of 128 with four miniblocks.
        let buffer = [0x80, 1, 4, 5, 2, 2, 0, 0, 0, 0];
        let mut delta = Delta::new(&buffer, 0).expect("a header");
        let read: Vec<i64> = (0..5).map(|_| delta.next(&buffer).expect("a number")).collect();
        assert_eq!(read, [1, 2, 3, 4, 5]);
        assert_eq!((delta.left(), delta.end()), (0, buffer.len()));
        assert!(delta.next(&buffer).is_err());
    }
}
