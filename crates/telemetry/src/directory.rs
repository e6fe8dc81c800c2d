//! A section's directory: which chunks hold which series, and their summaries. It is sealed like
//! the chunks, since names of devices and keys are customer content.

mod packed;

use std::collections::HashMap;

use veritwin_domain::{DeviceId, Key};
use veritwin_keys::FileHeader;

pub(crate) use self::packed::Packed;
use crate::aggregate::Summary;
use crate::values::Kind;
use crate::wire::{Cursor, WireError, put_bytes, put_varint};

const VERSION: u8 = 1;
const SUMMARY_FLAG: u8 = 0x80;
/// Chunks below this many points carry no summary: decoding them costs less than reading it.
pub(crate) const SUMMARY_COUNT_MIN: usize = 16;

/// One sealed stretch of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) counter: u32,
    pub(crate) bytes: u32,
    pub(crate) offset: u64,
}

/// One column of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    pub(crate) t_min: i64,
    pub(crate) t_max: i64,
    pub(crate) times: Frame,
    pub(crate) values: Frame,
    pub(crate) summary: Option<Summary>,
}

/// The chunks of one series.
#[derive(Debug)]
pub(crate) struct SeriesEntry {
    pub(crate) key: Key,
    pub(crate) chunks: Vec<Chunk>,
}

/// Everything in one section.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) devices: HashMap<DeviceId, Vec<SeriesEntry>>,
    /// About how much memory it takes.
    pub(crate) memory_bytes: usize,
}

impl Directory {
    pub(crate) fn chunks(&self, device: DeviceId, key: &Key) -> &[Chunk] {
        let series = self.devices.get(&device).into_iter().flatten();
        series.into_iter().find(|entry| entry.key == *key).map_or(&[], |entry| &entry.chunks)
    }

    /// Reads a directory; frames lie one after the other behind the header at `section_offset`.
    pub(crate) fn decode(plain: &[u8], section_offset: u64) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(plain);
        let key_count = decode_head(&mut cursor)?;
        let keys = (0..key_count)
            .map(|_| Key::new(cursor.text()?).map_err(|_| WireError::Field("key")))
            .collect::<Result<Vec<Key>, WireError>>()?;
        let mut key_of = |place: usize| keys.get(place).cloned().ok_or(WireError::Field("key"));
        let mut frames = FrameWalk::of(section_offset);
        let mut directory = Self::default();
        while !cursor.is_empty() {
            let device = DeviceId::from_bytes(cursor.array()?);
            let key_of: KeyOf<'_> = &mut key_of;
            let series = decode_device(&mut cursor, &mut frames, key_count, Some(key_of))?;
            directory.add(device, series);
        }
        Ok(directory)
    }

    fn add(&mut self, device: DeviceId, series: Vec<SeriesEntry>) {
        let chunk_count: usize = series.iter().map(|entry| entry.chunks.len()).sum();
        self.memory_bytes += 96 + series.len() * 64 + chunk_count * size_of::<Chunk>();
        self.devices.insert(device, series);
    }
}

/// Reads up to the keys' names; answers how many there are.
fn decode_head(cursor: &mut Cursor<'_>) -> Result<usize, WireError> {
    if cursor.u8()? != VERSION {
        return Err(WireError::Field("directory version"));
    }
    cursor.length(cursor.rest().len())
}

/// Finds the key of a place.
type KeyOf<'k> = &'k mut dyn FnMut(usize) -> Result<Key, WireError>;

/// Where the next frame is.
#[derive(Debug, Clone, Copy)]
struct FrameWalk {
    counter: u32,
    offset: u64,
}

impl FrameWalk {
    /// The first frame of a section.
    const fn of(section_offset: u64) -> Self {
        Self { counter: 0, offset: section_offset + FileHeader::BYTES as u64 }
    }

    fn next(&mut self, bytes: u64) -> Result<Frame, WireError> {
        let bytes = u32::try_from(bytes).map_err(|_| WireError::Field("frame length"))?;
        let frame = Frame { counter: self.counter, bytes, offset: self.offset };
        self.counter = self.counter.checked_add(1).ok_or(WireError::Field("frame count"))?;
        self.offset += u64::from(bytes);
        Ok(frame)
    }
}

/// The series of a device; none where nobody asks for keys and it is only passed over.
fn decode_device(
    cursor: &mut Cursor<'_>,
    frames: &mut FrameWalk,
    key_count: usize,
    mut keys: Option<KeyOf<'_>>,
) -> Result<Vec<SeriesEntry>, WireError> {
    let mut series: Vec<SeriesEntry> = Vec::new();
    let mut by_key: HashMap<usize, usize> = HashMap::new();
    let group_count = cursor.length(cursor.rest().len())?;
    for _ in 0..group_count {
        let count = u32::try_from(cursor.varint()?).map_err(|_| WireError::Field("count"))?;
        let t_min = cursor.i64()?;
        let t_max = t_min.wrapping_add(cursor.varint()? as i64);
        let times = frames.next(cursor.varint()?)?;
        let column_count = cursor.length(cursor.rest().len())?;
        for _ in 0..column_count {
            let key_place = cursor.length(key_count.saturating_sub(1))?;
            let tag = cursor.u8()?;
            let kind = Kind::from_u8(tag & !SUMMARY_FLAG).ok_or(WireError::Field("kind"))?;
            let values = frames.next(cursor.varint()?)?;
            let summary =
                if tag & SUMMARY_FLAG == 0 { None } else { Some(Summary::decode(cursor)?) };
            let Some(key_of) = keys.as_deref_mut() else { continue };
            let place = match by_key.get(&key_place) {
                Some(place) => *place,
                None => {
                    let key = key_of(key_place)?;
                    // Most series have one chunk in a section, and there are many series.
                    series.push(SeriesEntry { key, chunks: Vec::with_capacity(1) });
                    by_key.insert(key_place, series.len() - 1);
                    series.len() - 1
                }
            };
            let chunk = Chunk { kind, count, t_min, t_max, times, values, summary };
            series[place].chunks.push(chunk);
        }
    }
    Ok(series)
}

/// Writes a directory while its section is written.
#[derive(Debug, Default)]
pub(crate) struct DirectoryWriter {
    keys: HashMap<Key, u64>,
    names: Vec<u8>,
    body: Vec<u8>,
}

impl DirectoryWriter {
    pub(crate) fn device(&mut self, device: DeviceId, group_count: usize) {
        self.body.extend_from_slice(device.as_bytes());
        put_varint(&mut self.body, group_count as u64);
    }

    pub(crate) fn group(&mut self, at: &[i64], times_bytes: usize, column_count: usize) {
        let (first, last) = (at[0], at[at.len() - 1]);
        put_varint(&mut self.body, at.len() as u64);
        self.body.extend_from_slice(&first.to_le_bytes());
        put_varint(&mut self.body, last.wrapping_sub(first) as u64);
        put_varint(&mut self.body, times_bytes as u64);
        put_varint(&mut self.body, column_count as u64);
    }

    pub(crate) fn column(
        &mut self,
        key: &Key,
        kind: Kind,
        values_bytes: usize,
        summary: Option<&Summary>,
    ) {
        let place = match self.keys.get(key) {
            Some(place) => *place,
            None => {
                put_bytes(&mut self.names, key.as_bytes());
                let place = self.keys.len() as u64;
                self.keys.insert(key.clone(), place);
                place
            }
        };
        put_varint(&mut self.body, place);
        self.body.push(kind.as_u8() | if summary.is_some() { SUMMARY_FLAG } else { 0 });
        put_varint(&mut self.body, values_bytes as u64);
        if let Some(summary) = summary {
            summary.encode(&mut self.body);
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.keys.len() as u64);
        out.extend_from_slice(&self.names);
        out.extend_from_slice(&self.body);
        out
    }
}
