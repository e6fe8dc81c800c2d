//! Reading sealed sections: directories and frames, with caches that hold frames only in their
//! sealed form. Each use of a section asks the key service first, so that a withdrawn key takes
//! effect at once.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use tokio::sync::Semaphore;
use veritwin_domain::{DeviceId, FileId, Key, TenantId};
use veritwin_keys::{Aad, DataClass, DekId, FileHeader, FileKey, KeyService};

use crate::TelemetryError;
use crate::cache::ByteCache;
use crate::catalog::{LatestPlace, Pack, Section};
use crate::codec::{decode_times, decode_values};
use crate::directory::{Chunk, Directory, Frame};
use crate::manifest::decompress;
use crate::memory::Latest;
use crate::section::{DIRECTORY_BYTES_MAX, NO_DEVICE, Role, frame_context, read_latest};
use crate::values::Column;
use crate::wire::Cursor;

/// Bytes of a directory, uncompressed, above which a question about one device takes no more of it
/// than what it says of that: in memory it is many times as large.
const WHOLE_DIRECTORY_BYTES_MAX: usize = 1024 * 1024;
/// Sealed bytes from which a directory counts as a large one, and how many of those are opened at
/// once.
const LARGE_DIRECTORY_BYTES_MIN: u32 = 256 * 1024;
const LARGE_DIRECTORIES_AT_ONCE: usize = 2;

/// A section whose directory is in memory: all of it, or what it says of one device.
#[derive(Debug)]
pub(crate) struct OpenSection {
    pub(crate) tenant: TenantId,
    pub(crate) file: FileId,
    pub(crate) directory: Directory,
    /// None when all of the directory is there.
    only: Option<DeviceId>,
    dek: DekId,
    key: FileKey,
}

/// Sealed bytes by pack and offset, fetched for one query.
pub(crate) type Fetched = HashMap<(FileId, u64), Bytes>;

/// Pack, offset, and the device if only its part is there.
type OpenId = ((FileId, u64), Option<DeviceId>);

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) keys: KeyService,
    sections: ByteCache<OpenId, Arc<OpenSection>>,
    /// Taken to open a large directory.
    large: Semaphore,
    frames: ByteCache<(FileId, u64), Bytes>,
}

impl Reader {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        keys: KeyService,
        directory_cache_bytes_max: usize,
        frame_cache_bytes_max: usize,
    ) -> Self {
        Self {
            store,
            keys,
            sections: ByteCache::new(directory_cache_bytes_max),
            large: Semaphore::new(LARGE_DIRECTORIES_AT_ONCE),
            frames: ByteCache::new(frame_cache_bytes_max),
        }
    }

    /// Opens a section's directory, or finds it in the cache. Of a large one no more is there than
    /// what it says of `device`, if one is asked about.
    pub(crate) async fn section(
        &self,
        tenant: TenantId,
        section: &Section,
        device: Option<DeviceId>,
    ) -> Result<Arc<OpenSection>, TelemetryError> {
        let known = self.sections.get(&(section.id(), None));
        let known = known.or_else(|| self.sections.get(&(section.id(), Some(device?))));
        if let Some(open) = known {
            if let Err(source) = self.keys.dek_by_id(open.dek) {
                self.sections.retain(|(id, _), _| *id != section.id());
                return Err(TelemetryError::Keys { action: "read a segment", source });
            }
            return Ok(open);
        }
        let is_large = section.directory_bytes >= LARGE_DIRECTORY_BYTES_MIN;
        let _turn = if is_large { self.large.acquire().await.ok() } else { None };
        let header = section.offset..section.offset + FileHeader::BYTES as u64;
        let end = section.directory_offset + u64::from(section.directory_bytes);
        let ranges = [header, section.directory_offset..end];
        let parts = self.ranges(section.pack.file, &ranges).await?;
        let sealed = (&parts[0][..], &parts[1][..]);
        let open = Arc::new(self.open_section(tenant, section, sealed, device)?);
        let bytes = open.directory.memory_bytes;
        self.sections.insert((section.id(), open.only), Arc::clone(&open), bytes);
        if self.keys.dek_by_id(open.dek).is_err() {
            // The key went away while it was opened: what was wiped stays so.
            self.sections.retain(|(id, _), _| *id != section.id());
        }
        Ok(open)
    }

    /// Opens a section that was read as a whole.
    pub(crate) fn open_whole(
        &self,
        tenant: TenantId,
        section: &Section,
        whole: &Bytes,
    ) -> Result<OpenSection, TelemetryError> {
        let split = usize::try_from(section.directory_offset - section.offset)
            .ok()
            .filter(|split| *split <= whole.len())
            .ok_or_else(|| damaged(section.pack.file, "shorter than its manifest entry"))?;
        self.open_section(tenant, section, (&whole[..split], &whole[split..]), None)
    }

    fn open_section(
        &self,
        tenant: TenantId,
        section: &Section,
        (header, sealed): (&[u8], &[u8]),
        device: Option<DeviceId>,
    ) -> Result<OpenSection, TelemetryError> {
        let keys_error = |source| TelemetryError::Keys { action: "open a segment", source };
        let header = FileHeader::read(header).map_err(keys_error)?;
        let dek = self.keys.dek_by_id(header.dek).map_err(keys_error)?;
        let key = header.open(&dek).map_err(keys_error)?;
        let (mut context, mut body) = (Vec::new(), Vec::new());
        frame_context(&mut context, Role::Directory, NO_DEVICE, 0, "");
        let aad = Aad::new(tenant, DataClass::Segment, &context);
        key.open(u64::from(section.frames), aad, sealed, &mut body).map_err(keys_error)?;
        let wire = |error| TelemetryError::wire(Pack::path_of(section.pack.file))(error);
        let plain = decompress(&mut Cursor::new(&body), DIRECTORY_BYTES_MAX).map_err(wire)?;
        let only = device.filter(|_| plain.len() > WHOLE_DIRECTORY_BYTES_MAX);
        let directory = Directory::decode(&plain, section.offset, only).map_err(wire)?;
        Ok(OpenSection { tenant, file: section.pack.file, directory, only, dek: header.dek, key })
    }

    /// Reads a tenant's latest values as they were at the last flush.
    pub(crate) async fn latest(
        &self,
        tenant: TenantId,
        place: &LatestPlace,
    ) -> Result<Vec<(DeviceId, Latest)>, TelemetryError> {
        let range = place.offset..place.offset + u64::from(place.bytes);
        let sealed = self.ranges(place.pack.file, &[range]).await?.remove(0);
        let keys_error = |source| TelemetryError::Keys { action: "open latest values", source };
        let header = FileHeader::read(&sealed).map_err(keys_error)?;
        let dek = self.keys.dek_by_id(header.dek).map_err(keys_error)?;
        let key = header.open(&dek).map_err(keys_error)?;
        let (mut context, mut body) = (Vec::new(), Vec::new());
        frame_context(&mut context, Role::Latest, NO_DEVICE, 0, "");
        let aad = Aad::new(tenant, DataClass::Segment, &context);
        key.open(0, aad, &sealed[FileHeader::BYTES..], &mut body).map_err(keys_error)?;
        decompress(&mut Cursor::new(&body), DIRECTORY_BYTES_MAX)
            .and_then(|plain| read_latest(&plain))
            .map_err(TelemetryError::wire(Pack::path_of(place.pack.file)))
    }

    /// Reads a whole section.
    pub(crate) async fn whole(&self, section: &Section) -> Result<Bytes, TelemetryError> {
        let range = section.offset..section.offset + section.bytes();
        Ok(self.ranges(section.pack.file, &[range]).await?.remove(0))
    }

    async fn ranges(
        &self,
        file: FileId,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, TelemetryError> {
        let path = Pack::path_of(file);
        let parts = self
            .store
            .get_ranges(&path, ranges)
            .await
            .map_err(|source| TelemetryError::store("read", &path, source))?;
        let complete = parts.len() == ranges.len()
            && parts.iter().zip(ranges).all(|(part, r)| part.len() as u64 == r.end - r.start);
        if complete { Ok(parts) } else { Err(damaged(file, "shorter than its manifest entry")) }
    }

    /// Gets the sealed frames of chunks, out of the cache or the store, into `fetched`.
    pub(crate) async fn fetch(
        &self,
        chunks: impl Iterator<Item = (FileId, Chunk)>,
        fetched: &mut Fetched,
    ) -> Result<(), TelemetryError> {
        let mut missing: HashMap<FileId, Vec<Frame>> = HashMap::new();
        let mut seen: HashSet<(FileId, u64)> = HashSet::new();
        for (file, chunk) in chunks {
            for frame in [chunk.times, chunk.values] {
                let id = (file, frame.offset);
                if fetched.contains_key(&id) || !seen.insert(id) {
                    continue;
                }
                match self.frames.get(&id) {
                    Some(bytes) => drop(fetched.insert(id, bytes)),
                    None => missing.entry(file).or_default().push(frame),
                }
            }
        }
        for (file, frames) in missing {
            let ranges: Vec<Range<u64>> = frames
                .iter()
                .map(|frame| frame.offset..frame.offset + u64::from(frame.bytes))
                .collect();
            let parts = self.ranges(file, &ranges).await?;
            for (frame, part) in frames.iter().zip(parts) {
                // A copy, so that a small frame does not keep a large read alive.
                let part = Bytes::copy_from_slice(&part);
                self.frames.insert((file, frame.offset), part.clone(), part.len() + 96);
                fetched.insert((file, frame.offset), part);
            }
        }
        Ok(())
    }

    /// Forgets everything about packs that no longer exist.
    pub(crate) fn forget(&self, files: &HashSet<FileId>) {
        // Going through the caches holds up whoever reads.
        if files.is_empty() {
            return;
        }
        self.sections.retain(|((file, _), _), _| !files.contains(file));
        self.frames.retain(|(file, _), _| !files.contains(file));
    }

    /// Forgets directories and file keys whose data key cannot be had any more.
    pub(crate) fn forget_denied(&self) {
        self.sections.retain(|_, open| self.keys.dek_by_id(open.dek).is_ok());
    }
}

impl OpenSection {
    /// Opens one chunk from its sealed frames and decodes what lies up to the time `high`.
    pub(crate) fn decode(
        &self,
        device: DeviceId,
        key: &Key,
        chunk: &Chunk,
        frames: [&[u8]; 2],
        high: i64,
    ) -> Result<Column, TelemetryError> {
        let ([times, values], total) = (frames, chunk.count as usize);
        let mut plain = Vec::with_capacity(times.len().max(values.len()));
        let mut context = Vec::with_capacity(64);
        self.open(Role::Times, device, chunk, "", chunk.times, times, &mut context, &mut plain)?;
        let mut at = decode_times(&plain, total).map_err(TelemetryError::wire(self.file))?;
        at.truncate(at.partition_point(|at| *at <= high));
        plain.clear();
        let role = Role::Values(chunk.kind);
        self.open(role, device, chunk, key, chunk.values, values, &mut context, &mut plain)?;
        decode_values(&plain, chunk.kind, at, total).map_err(TelemetryError::wire(self.file))
    }

    #[expect(clippy::too_many_arguments, reason = "scratch space is lent to save allocations")]
    fn open(
        &self,
        role: Role,
        device: DeviceId,
        chunk: &Chunk,
        key: &str,
        frame: Frame,
        sealed: &[u8],
        context: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> Result<(), TelemetryError> {
        frame_context(context, role, device, chunk.t_min, key);
        let aad = Aad::new(self.tenant, DataClass::Segment, context);
        self.key
            .open(u64::from(frame.counter), aad, sealed, plain)
            .map_err(TelemetryError::keys("open a chunk"))
    }
}

fn damaged(file: FileId, reason: &str) -> TelemetryError {
    TelemetryError::Damaged { object: Pack::path_of(file).to_string(), reason: reason.to_owned() }
}
