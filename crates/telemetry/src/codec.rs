//! Chunks to bytes and back: times and numbers by pco level 4, booleans and quality by run
//! lengths, text and JSON by zstd. Counts come from the directory; bytes that do not give exactly
//! that many values are refused.

use std::sync::Arc;

use pco::standalone::{simple_compress_into, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};
use veritwin_domain::Quality;

use crate::values::{Column, ColumnRef, Kind, Values, ValuesRef};
use crate::wire::{Cursor, WireError, put_bytes, put_varint};

/// pco's level: 4 loses a few percent of size against 8 and is about twice as fast.
const PCO_LEVEL: usize = 4;
/// zstd's level for text.
const ZSTD_LEVEL: i32 = 3;
/// Below this many numbers pco's own tables cost more than they save.
const RAW_COUNT_MAX: usize = 8;
/// Most bytes one text chunk may decompress to; a chunk holds fewer by construction.
pub(crate) const TEXT_CHUNK_BYTES_MAX: usize = 64 * 1024 * 1024;

const RAW: u8 = 0;
const PCO: u8 = 1;
const CONSTANT: u8 = 2;
const REGULAR: u8 = 3;

/// Keeps compressor settings and scratch space between chunks.
pub(crate) struct Encoder {
    times_config: ChunkConfig,
    numbers_config: ChunkConfig,
    scaled: Vec<i64>,
    text: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let level = ChunkConfig::default().with_compression_level(PCO_LEVEL);
        Self {
            // Times rise: first differences always pay, so pco need not try the others.
            times_config: level
                .clone()
                .with_mode_spec(ModeSpec::Classic)
                .with_delta_spec(DeltaSpec::TryConsecutive(1)),
            numbers_config: level,
            scaled: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Appends the encoded times.
    pub(crate) fn times(&mut self, at: &[i64], out: &mut Vec<u8>) -> Result<(), WireError> {
        if let Some(step) = regular_step(at) {
            out.push(REGULAR);
            out.extend_from_slice(&at[0].to_le_bytes());
            out.extend_from_slice(&step.to_le_bytes());
            return Ok(());
        }
        if at.len() <= RAW_COUNT_MAX {
            out.push(RAW);
            at.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
            return Ok(());
        }
        out.push(PCO);
        // Devices count in milliseconds: dividing here saves pco the search for the factor.
        let millis = at.iter().all(|at| at % 1000 == 0);
        out.push(u8::from(millis));
        let source = if millis {
            self.scaled.clear();
            self.scaled.extend(at.iter().map(|at| at / 1000));
            self.scaled.as_slice()
        } else {
            at
        };
        compress(source, &self.times_config, out)
    }

    /// Appends the encoded values and qualities of a column.
    pub(crate) fn values(
        &mut self,
        column: ColumnRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        put_quality(column.quality, out);
        match column.values {
            ValuesRef::Double(numbers) => {
                self.numbers(numbers, f64::to_bits, out)?;
            }
            ValuesRef::Integer(numbers) => {
                self.numbers(numbers, |number| number as u64, out)?;
            }
            ValuesRef::Boolean(flags) => put_booleans(flags, out),
            ValuesRef::Text(texts) | ValuesRef::Json(texts) => self.texts(texts, out)?,
        }
        Ok(())
    }

    fn numbers<T: pco::data_types::Number>(
        &self,
        numbers: &[T],
        bits: impl Fn(T) -> u64,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let first = numbers.first().map_or(0, |number| bits(*number));
        if numbers.iter().all(|number| bits(*number) == first) {
            out.push(CONSTANT);
            out.extend_from_slice(&first.to_le_bytes());
            return Ok(());
        }
        if numbers.len() <= RAW_COUNT_MAX {
            out.push(RAW);
            numbers.iter().for_each(|n| out.extend_from_slice(&bits(*n).to_le_bytes()));
            return Ok(());
        }
        out.push(PCO);
        compress(numbers, &self.numbers_config, out)
    }

    fn texts(&mut self, texts: &[Arc<str>], out: &mut Vec<u8>) -> Result<(), WireError> {
        self.text.clear();
        texts.iter().for_each(|text| put_bytes(&mut self.text, text.as_bytes()));
        put_varint(out, self.text.len() as u64);
        let compressed = zstd::bulk::compress(&self.text, ZSTD_LEVEL)
            .map_err(|_| WireError::Compressed("text"))?;
        out.extend_from_slice(&compressed);
        Ok(())
    }
}

fn compress<T: pco::data_types::Number>(
    numbers: &[T],
    config: &ChunkConfig,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    simple_compress_into(numbers, config, out)
        .map(|_| ())
        .map_err(|_| WireError::Compressed("numbers"))
}

/// Decompresses the first `count` of `total` numbers.
fn decompress<T: pco::data_types::Number + Default>(
    bytes: &[u8],
    count: usize,
    total: usize,
) -> Result<Vec<T>, WireError> {
    let mut numbers = vec![T::default(); count];
    let progress = simple_decompress_into(bytes, &mut numbers)
        .map_err(|_| WireError::Compressed("numbers"))?;
    let is_whole = progress.finished || count < total;
    if progress.n_processed == count && is_whole {
        Ok(numbers)
    } else {
        Err(WireError::Compressed("numbers"))
    }
}

/// The step of times that are evenly spaced; none where a difference overflows.
fn regular_step(at: &[i64]) -> Option<i64> {
    let (first, second) = (*at.first()?, at.get(1).copied());
    let step = second.map_or(Some(0), |second| second.checked_sub(first))?;
    let even = at.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step));
    even.then_some(step)
}

fn put_quality(quality: &[u8], out: &mut Vec<u8>) {
    if quality.iter().all(|byte| *byte == Quality::Good.as_u8()) {
        put_varint(out, 0);
        return;
    }
    let mut runs = Vec::new();
    for run in quality.chunk_by(|a, b| a == b) {
        runs.push(run[0]);
        put_varint(&mut runs, run.len() as u64);
    }
    put_bytes(out, &runs);
}

fn put_booleans(flags: &[bool], out: &mut Vec<u8>) {
    out.push(u8::from(flags.first().copied().unwrap_or_default()));
    flags.chunk_by(|a, b| a == b).for_each(|run| put_varint(out, run.len() as u64));
}

/// Reads `count` times.
pub(crate) fn decode_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, WireError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.u8()? {
        RAW => (0..count).map(|_| cursor.i64()).collect(),
        REGULAR => {
            let (start, step) = (cursor.i64()?, cursor.i64()?);
            let mut next = start;
            Ok((0..count)
                .map(|_| {
                    let at = next;
                    next = next.wrapping_add(step);
                    at
                })
                .collect())
        }
        PCO => {
            let millis = cursor.u8()? == 1;
            let mut times = decompress::<i64>(cursor.rest(), count, count)?;
            if millis {
                times.iter_mut().for_each(|at| *at = at.wrapping_mul(1000));
            }
            Ok(times)
        }
        _ => Err(WireError::Field("times encoding")),
    }
}

/// Reads the values and qualities that belong to `at`: the first `at.len()` of the `total` that the
/// chunk holds, so that nothing behind the end of a query is decoded.
pub(crate) fn decode_values(
    bytes: &[u8],
    kind: Kind,
    at: Vec<i64>,
    total: usize,
) -> Result<Column, WireError> {
    let count = at.len();
    let mut cursor = Cursor::new(bytes);
    let mut quality = decode_quality(cursor.bytes()?, total)?;
    quality.truncate(count);
    let values = match kind {
        Kind::Double => Values::Double(decode_numbers(&mut cursor, count, total, f64::from_bits)?),
        Kind::Integer => {
            Values::Integer(decode_numbers(&mut cursor, count, total, |bits| bits as i64)?)
        }
        Kind::Boolean => Values::Boolean(decode_booleans(&mut cursor, count)?),
        Kind::Text => Values::Text(decode_texts(&mut cursor, count)?),
        Kind::Json => Values::Json(decode_texts(&mut cursor, count)?),
    };
    Ok(Column { at, values, quality })
}

fn decode_numbers<T: pco::data_types::Number + Default>(
    cursor: &mut Cursor<'_>,
    count: usize,
    total: usize,
    from_bits: impl Fn(u64) -> T,
) -> Result<Vec<T>, WireError> {
    match cursor.u8()? {
        RAW => (0..count).map(|_| cursor.u64().map(&from_bits)).collect(),
        CONSTANT => Ok(vec![from_bits(cursor.u64()?); count]),
        PCO => decompress(cursor.rest(), count, total),
        _ => Err(WireError::Field("number encoding")),
    }
}

fn decode_quality(runs: &[u8], count: usize) -> Result<Vec<u8>, WireError> {
    let mut quality = Vec::new();
    let mut cursor = Cursor::new(runs);
    while !cursor.is_empty() {
        let byte = cursor.u8()?;
        Quality::from_u8(byte).ok_or(WireError::Field("quality"))?;
        let length = cursor.length(count - quality.len())?;
        quality.resize(quality.len() + length, byte);
    }
    if quality.is_empty() || quality.len() == count {
        Ok(quality)
    } else {
        Err(WireError::Field("quality runs"))
    }
}

fn decode_booleans(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<bool>, WireError> {
    let mut flag = cursor.u8()? == 1;
    let mut flags = Vec::with_capacity(count);
    while flags.len() < count {
        let length = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
        flags.resize(flags.len() + length.min(count - flags.len()), flag);
        flag = !flag;
    }
    Ok(flags)
}

fn decode_texts(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Arc<str>>, WireError> {
    let length = cursor.length(TEXT_CHUNK_BYTES_MAX)?;
    let plain =
        zstd::bulk::decompress(cursor.rest(), length).map_err(|_| WireError::Compressed("text"))?;
    let mut cursor = Cursor::new(&plain);
    let mut texts: Vec<Arc<str>> = Vec::with_capacity(count.min(plain.len()));
    for _ in 0..count {
        let text = cursor.text()?;
        // A state is often said again: its text is there once.
        let known = texts.last().filter(|last| ***last == *text);
        let text = known.map_or_else(|| Arc::from(text), Arc::clone);
        texts.push(text);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(column: &Column) {
        let mut encoder = Encoder::new();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        encoder.times(&column.at, &mut times).expect("times encode");
        encoder.values(column.as_ref(), &mut values).expect("values encode");
        let (total, kind) = (column.at.len(), column.values.kind());
        let at = decode_times(&times, total).expect("times decode");
        let decoded = decode_values(&values, kind, at, total).expect("values decode");
        assert_eq!(&decoded, column);
        for count in [0, 1, total / 2, total - 1] {
            let at = column.at[..count.min(total)].to_vec();
            let front = decode_values(&values, kind, at, total).expect("the front decodes");
            let expect = column.as_ref().slice(0, count.min(total));
            assert_eq!(front.as_ref(), expect, "first {count} of {total}");
        }
        for cut in [0, values.len() / 2] {
            let _ = decode_values(&values[..cut], kind, column.at.clone(), total);
        }
    }

    fn column(at: Vec<i64>, values: Values) -> Column {
        Column { at, values, quality: Vec::new() }
    }

    #[test]
    fn every_kind_round_trips() {
        for count in [1usize, 2, 7, 8, 9, 300, 5000] {
            let even: Vec<i64> = (0..count as i64).map(|i| i * 10_000_000 - 55).collect();
            let odd: Vec<i64> = (0..count as i64).map(|i| i * 1_000_000 + (i * i) % 977).collect();
            let millis: Vec<i64> = odd.iter().map(|at| at * 1000).collect();
            let doubles = (0..count).map(|i| 20.0 + ((i * 37) % 11) as f64 / 10.0).collect();
            check(&column(even.clone(), Values::Double(doubles)));
            let integers = (0..count).map(|i| (i as i64 * 7919) % 1013 - 500).collect();
            check(&column(odd.clone(), Values::Integer(integers)));
            check(&column(millis, Values::Integer(vec![i64::MIN; count])));
            let flags = (0..count).map(|i| (i / 5) % 3 == 0).collect();
            check(&column(even.clone(), Values::Boolean(flags)));
            let texts: Vec<Arc<str>> =
                (0..count).map(|i| format!("state {}", i % 4).into()).collect();
            check(&column(odd.clone(), Values::Text(texts.clone())));
            let mut with_quality = column(odd, Values::Json(texts));
            with_quality.quality = (0..count).map(|i| u8::from(i % 9 == 0)).collect();
            check(&with_quality);
        }
    }

    #[test]
    fn the_ends_of_time_and_number_round_trip() {
        let ends = vec![i64::MIN, -1, 0, i64::MAX - 1, i64::MAX];
        check(&column(ends.clone(), Values::Double(vec![f64::MAX, f64::MIN, -0.0, 0.0, 5e-324])));
        check(&column(ends, Values::Integer(vec![i64::MIN, i64::MAX, 0, -1, 1])));
        let wide: Vec<i64> = (-20i64..20).map(|i| i.wrapping_mul(i64::MAX / 21)).collect();
        check(&column(wide.clone(), Values::Integer(wide)));
    }

    #[test]
    fn realistic_readings_take_about_a_byte() {
        let count = 8192usize;
        let at: Vec<i64> =
            (0..count as i64).map(|i| i * 10_000_000 + (i * 7919 % 13) * 1000).collect();
        let values: Vec<f64> =
            (0..count).map(|i| (200.0 + (i as f64 / 300.0).sin() * 30.0).round() / 10.0).collect();
        let (mut times, mut numbers) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::new();
        encoder.times(&at, &mut times).expect("encodes");
        let column = column(at, Values::Double(values));
        encoder.values(column.as_ref(), &mut numbers).expect("encodes");
        assert!(numbers.len() < count, "values: {} bytes for {count} points", numbers.len());
        assert!(times.len() < count, "times: {} bytes for {count} points", times.len());
    }
}
