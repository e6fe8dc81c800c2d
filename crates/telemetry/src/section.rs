//! Writing sections into a pack. Series of a device whose times are equal share one time chunk;
//! every chunk is sealed by itself, so that one series can be read without its neighbours.

use std::collections::HashMap;
use std::sync::Arc;

use veritwin_domain::{DeviceId, Key, TenantId};
use veritwin_keys::{Aad, DataClass, FileHeader, FileKey, FileSealer};

use crate::TelemetryError;
use crate::aggregate::{Summary, simulated};
use crate::catalog::{LatestPlace, Pack, Section, Window};
use crate::codec::Encoder;
use crate::directory::{DirectoryWriter, SUMMARY_COUNT_MIN};
use crate::memory::Latest;
use crate::pace::Pace;
use crate::values::{ColumnRef, Kind, ValuesRef};
use crate::wire::{Cursor, WireError, put_bytes, put_varint};

/// Most points in one chunk: a read of 2,000 points decodes little it does not need.
pub(crate) const CHUNK_POINTS_MAX: usize = 8192;
/// Most bytes of text in one chunk, before compression; one longer value still gets its chunk.
pub(crate) const CHUNK_TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
const VERSION: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
/// Most bytes of a directory or of a tenant's latest values, decompressed.
pub(crate) const DIRECTORY_BYTES_MAX: usize = 1 << 30;

/// What a sealed frame is; part of its associated data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Times,
    Values(Kind),
    Directory,
    Latest,
}

/// Fills `context` with the associated data of a frame; tenant and class are added by the keys
/// crate.
pub(crate) fn frame_context(
    context: &mut Vec<u8>,
    role: Role,
    device: DeviceId,
    t_min: i64,
    key: &str,
) {
    let role = match role {
        Role::Times => 16,
        Role::Directory => 17,
        Role::Latest => 18,
        Role::Values(kind) => kind.as_u8(),
    };
    context.clear();
    context.extend_from_slice(&[VERSION, role]);
    context.extend_from_slice(device.as_bytes());
    context.extend_from_slice(&t_min.to_le_bytes());
    context.extend_from_slice(key.as_bytes());
}

/// Frames that belong to a whole section carry no device.
pub(crate) const NO_DEVICE: DeviceId = DeviceId::from_bytes([0; 16]);

struct Group<'a> {
    at: &'a [i64],
    columns: Vec<(&'a Key, ColumnRef<'a>)>,
}

/// Writes one section at the end of a pack.
pub(crate) struct SectionWriter<'p> {
    out: &'p mut Vec<u8>,
    encoder: &'p mut Encoder,
    tenant: TenantId,
    offset: usize,
    sealer: FileSealer,
    directory: DirectoryWriter,
    plain: Vec<u8>,
    context: Vec<u8>,
    t_min: i64,
    t_max: i64,
    points: u64,
}

impl<'p> SectionWriter<'p> {
    /// Begins a section at the end of `out`; `key` belongs to this section alone.
    pub(crate) fn begin(
        out: &'p mut Vec<u8>,
        encoder: &'p mut Encoder,
        tenant: TenantId,
        key: FileKey,
    ) -> Self {
        let offset = out.len();
        FileHeader::new(&key).write(out);
        Self {
            out,
            encoder,
            tenant,
            offset,
            sealer: FileSealer::new(key),
            directory: DirectoryWriter::default(),
            plain: Vec::new(),
            context: Vec::new(),
            t_min: i64::MAX,
            t_max: i64::MIN,
            points: 0,
        }
    }

    /// Writes the columns of one device, each with strictly rising times; once per device.
    pub(crate) fn device<'c>(
        &mut self,
        device: DeviceId,
        columns: impl Iterator<Item = (&'c Key, ColumnRef<'c>)>,
        pace: &mut Pace<'_>,
    ) -> Result<(), TelemetryError> {
        let groups = group(columns);
        if groups.is_empty() {
            return Ok(());
        }
        self.directory.device(device, groups.len());
        for group in &groups {
            self.group(device, group, pace)?;
        }
        Ok(())
    }

    fn group(
        &mut self,
        device: DeviceId,
        group: &Group<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<(), TelemetryError> {
        let (first, last) = (group.at[0], group.at[group.at.len() - 1]);
        self.t_min = self.t_min.min(first);
        self.t_max = self.t_max.max(last);
        self.plain.clear();
        let damaged = TelemetryError::wire("being written");
        if let Err(error) = self.encoder.times(group.at, &mut self.plain) {
            return Err(damaged(error));
        }
        let times_bytes = self.seal(Role::Times, device, first, "")?;
        self.directory.group(group.at, times_bytes, group.columns.len());
        for (key, column) in &group.columns {
            pace.step();
            self.plain.clear();
            self.encoder
                .values(*column, &mut self.plain)
                .map_err(TelemetryError::wire("being written"))?;
            let kind = column.values.kind();
            let values_bytes = self.seal(Role::Values(kind), device, first, key)?;
            // A bucket says how many of its readings are made up: they are looked at one by one.
            let is_whole = column.at.len() >= SUMMARY_COUNT_MIN && simulated(column.quality) == 0;
            let summary = if is_whole { Summary::of(column.values) } else { None };
            self.directory.column(key, kind, values_bytes, summary.as_ref());
            self.points += column.at.len() as u64;
        }
        Ok(())
    }

    /// Seals `self.plain` as the next frame and returns its length.
    fn seal(
        &mut self,
        role: Role,
        device: DeviceId,
        t_min: i64,
        key: &str,
    ) -> Result<usize, TelemetryError> {
        let start = self.out.len();
        frame_context(&mut self.context, role, device, t_min, key);
        let aad = Aad::new(self.tenant, DataClass::Segment, &self.context);
        self.sealer
            .seal_next(aad, &self.plain, self.out)
            .map_err(TelemetryError::keys("seal a segment"))?;
        Ok(self.out.len() - start)
    }

    /// True while nothing was written.
    pub(crate) const fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Writes the directory and says where everything is.
    pub(crate) fn finish(
        mut self,
        pack: &Arc<Pack>,
        generation: u64,
        (window, device): (Window, Option<DeviceId>),
    ) -> Result<Section, TelemetryError> {
        let plain = std::mem::take(&mut self.directory).finish();
        self.plain.clear();
        compress(&plain, &mut self.plain).map_err(TelemetryError::wire("being written"))?;
        let directory_offset = self.out.len() as u64;
        frame_context(&mut self.context, Role::Directory, NO_DEVICE, 0, "");
        let aad = Aad::new(self.tenant, DataClass::Segment, &self.context);
        let frames = self
            .sealer
            .seal_next(aad, &self.plain, self.out)
            .map_err(TelemetryError::keys("seal a directory"))?;
        let too_many = || TelemetryError::Damaged {
            object: "being written".to_owned(),
            reason: "one section holds more than fits: flush more often".to_owned(),
        };
        Ok(Section {
            pack: Arc::clone(pack),
            dek: self.sealer.key().dek().id(),
            offset: self.offset as u64,
            directory_offset,
            directory_bytes: u32::try_from(self.out.len() as u64 - directory_offset)
                .map_err(|_| too_many())?,
            frames: u32::try_from(frames).map_err(|_| too_many())?,
            generation,
            window,
            device,
            t_min: self.t_min,
            t_max: self.t_max,
            points: self.points,
        })
    }
}

fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    put_varint(out, plain.len() as u64);
    let compressed =
        zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(|_| WireError::Compressed("directory"))?;
    out.extend_from_slice(&compressed);
    Ok(())
}

/// Cuts columns into chunks and puts those with equal times together.
fn group<'c>(columns: impl Iterator<Item = (&'c Key, ColumnRef<'c>)>) -> Vec<Group<'c>> {
    let mut groups: Vec<Group<'c>> = Vec::new();
    let mut by_shape: HashMap<(usize, i64, i64), Vec<usize>> = HashMap::new();
    for (key, column) in columns {
        let mut start = 0;
        while start < column.at.len() {
            let end = chunk_end(column, start);
            let chunk = column.slice(start, end);
            start = end;
            let shape = (chunk.at.len(), chunk.at[0], chunk.at[chunk.at.len() - 1]);
            let places = by_shape.entry(shape).or_default();
            match places.iter().find(|place| groups[**place].at == chunk.at) {
                Some(place) => groups[*place].columns.push((key, chunk)),
                None => {
                    places.push(groups.len());
                    groups.push(Group { at: chunk.at, columns: vec![(key, chunk)] });
                }
            }
        }
    }
    groups
}

fn chunk_end(column: ColumnRef<'_>, start: usize) -> usize {
    let end = (start + CHUNK_POINTS_MAX).min(column.at.len());
    let (ValuesRef::Text(texts) | ValuesRef::Json(texts)) = column.values else { return end };
    let mut bytes = 0;
    let fitting = texts[start..end]
        .iter()
        .take_while(|text| {
            bytes += text.len();
            bytes <= CHUNK_TEXT_BYTES_MAX
        })
        .count();
    start + fitting.max(1)
}

/// Writes a tenant's latest values at the end of a pack.
pub(crate) fn write_latest<'l>(
    out: &mut Vec<u8>,
    encoder: &mut Encoder,
    tenant: TenantId,
    key: FileKey,
    pack: &Arc<Pack>,
    latest: impl Iterator<Item = (DeviceId, &'l Latest)>,
) -> Result<LatestPlace, TelemetryError> {
    let wire = |error| TelemetryError::wire("being written")(error);
    let offset = out.len() as u64;
    let mut plain = vec![VERSION];
    for (device, latest) in latest {
        plain.extend_from_slice(device.as_bytes());
        put_bytes(&mut plain, latest.key.as_bytes());
        let kind = Kind::of(&latest.value);
        plain.push(kind.as_u8());
        plain.extend_from_slice(&latest.at.as_micros().to_le_bytes());
        let mut column = crate::values::Column::empty(kind);
        column.push(latest.at.as_micros(), &latest.value, latest.quality);
        let mut value = Vec::new();
        encoder.values(column.as_ref(), &mut value).map_err(wire)?;
        put_bytes(&mut plain, &value);
    }
    let mut body = Vec::new();
    compress(&plain, &mut body).map_err(wire)?;
    FileHeader::new(&key).write(out);
    let mut context = Vec::new();
    frame_context(&mut context, Role::Latest, NO_DEVICE, 0, "");
    key.seal(0, Aad::new(tenant, DataClass::Segment, &context), &body, out)
        .map_err(TelemetryError::keys("seal latest values"))?;
    let bytes = u32::try_from(out.len() as u64 - offset)
        .map_err(|_| wire(WireError::Field("length of latest values")))?;
    Ok(LatestPlace { pack: Arc::clone(pack), offset, bytes })
}

/// Reads what [`write_latest`] wrote.
pub(crate) fn read_latest(plain: &[u8]) -> Result<Vec<(DeviceId, Latest)>, WireError> {
    let mut cursor = Cursor::new(plain);
    if cursor.u8()? != VERSION {
        return Err(WireError::Field("version of latest values"));
    }
    let mut latest = Vec::new();
    while !cursor.is_empty() {
        let device = DeviceId::from_bytes(cursor.array()?);
        let key = Key::new(cursor.text()?).map_err(|_| WireError::Field("key"))?;
        let kind = Kind::from_u8(cursor.u8()?).ok_or(WireError::Field("kind"))?;
        let at = cursor.i64()?;
        let column = crate::codec::decode_values(cursor.bytes()?, kind, vec![at], 1)?;
        latest.push((
            device,
            Latest {
                key,
                at: veritwin_domain::Timestamp::from_micros(at),
                value: column.values.as_ref().get(0),
                quality: column.as_ref().quality_at(0),
            },
        ));
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Values;

    #[test]
    fn equal_times_share_a_group_and_long_columns_are_cut() {
        let at: Vec<i64> = (0..CHUNK_POINTS_MAX as i64 + 5).collect();
        let other: Vec<i64> = at.iter().map(|at| at * 2).collect();
        let values = Values::Integer(vec![1; at.len()]);
        let column = |at| ColumnRef { at, values: values.as_ref(), quality: &[] };
        let names = ["a", "b", "c"].map(|name| Key::new(name).expect("a key"));
        let columns =
            [(&names[0], column(&at)), (&names[1], column(&other)), (&names[2], column(&at))];
        let groups = group(columns.into_iter());
        let shape: Vec<(usize, usize)> =
            groups.iter().map(|group| (group.at.len(), group.columns.len())).collect();
        assert_eq!(shape, [(CHUNK_POINTS_MAX, 2), (5, 2), (CHUNK_POINTS_MAX, 1), (5, 1)]);
    }

    #[test]
    fn long_texts_are_cut_by_bytes() {
        let text: Arc<str> = "x".repeat(CHUNK_TEXT_BYTES_MAX / 2 + 1).into();
        let texts = vec![text; 3];
        let at = [1, 2, 3];
        let column = ColumnRef { at: &at, values: ValuesRef::Text(&texts), quality: &[] };
        assert_eq!((chunk_end(column, 0), chunk_end(column, 1)), (1, 2));
    }
}
