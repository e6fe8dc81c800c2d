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
use crate::directory::{Chunk, Directory, Frame, Packed};
use crate::manifest::decompress;
use crate::memory::Latest;
use crate::section::{DIRECTORY_BYTES_MAX, NO_DEVICE, Role, frame_context, read_latest};
use crate::values::Column;
use crate::wire::Cursor;

/// Bytes of a directory, uncompressed, above which it is kept as it is stored: decoded it takes
/// many times as much.
const DECODED_DIRECTORY_BYTES_MAX: usize = 1024 * 1024;
/// Sealed bytes from which a directory counts as a large one, and how many of those are opened at
/// once.
const LARGE_DIRECTORY_BYTES_MIN: u32 = 256 * 1024;
const LARGE_DIRECTORIES_AT_ONCE: usize = 2;

/// A section whose directory is in memory, or one device's part of it.
#[derive(Debug)]
pub(crate) struct OpenSection {
    pub(crate) tenant: TenantId,
    pub(crate) file: FileId,
    pub(crate) directory: Directory,
    dek: DekId,
    key: Arc<FileKey>,
}

/// A section whose large directory is in memory as it is stored.
#[derive(Debug)]
struct PackedSection {
    tenant: TenantId,
    file: FileId,
    directory: Packed,
    dek: DekId,
    key: Arc<FileKey>,
}

/// What is kept of a section.
#[derive(Debug, Clone)]
enum Kept {
    Open(Arc<OpenSection>),
    Packed(Arc<PackedSection>),
}

impl Kept {
    fn dek(&self) -> DekId {
        match self {
            Self::Open(open) => open.dek,
            Self::Packed(packed) => packed.dek,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Open(open) => open.directory.memory_bytes,
            Self::Packed(packed) => packed.directory.memory_bytes(),
        }
    }

    /// The section, with what its directory says of a device at least; with all of it if none is
    /// asked about.
    fn open(self, device: Option<DeviceId>) -> Result<Arc<OpenSection>, TelemetryError> {
        let packed = match self {
            Self::Open(open) => return Ok(open),
            Self::Packed(packed) => packed,
        };
        let directory = match device {
            Some(device) => packed.directory.device(device),
            None => packed.directory.whole(),
        };
        let directory = directory.map_err(TelemetryError::wire(Pack::path_of(packed.file)))?;
        let PackedSection { tenant, file, dek, .. } = *packed;
        let key = Arc::clone(&packed.key);
        Ok(Arc::new(OpenSection { tenant, file, directory, dek, key }))
    }
}

/// Sealed bytes by pack and offset, fetched for one query.
pub(crate) type Fetched = HashMap<(FileId, u64), Bytes>;

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) keys: KeyService,
    sections: ByteCache<(FileId, u64), Kept>,
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

    /// Opens a section's directory, or finds it in the cache. Of a large one no more is decoded
    /// than what it says of `device`, if one is asked about.
    pub(crate) async fn section(
        &self,
        tenant: TenantId,
        section: &Section,
        device: Option<DeviceId>,
    ) -> Result<Arc<OpenSection>, TelemetryError> {
        if let Some(kept) = self.sections.get(&section.id()) {
            if let Err(source) = self.keys.dek_by_id(kept.dek()) {
                self.sections.retain(|id, _| *id != section.id());
                return Err(TelemetryError::Keys { action: "read a segment", source });
            }
            return kept.open(device);
        }
        let is_large = section.directory_bytes >= LARGE_DIRECTORY_BYTES_MIN;
        let _turn = if is_large { self.large.acquire().await.ok() } else { None };
        let header = section.offset..section.offset + FileHeader::BYTES as u64;
        let end = section.directory_offset + u64::from(section.directory_bytes);
        let ranges = [header, section.directory_offset..end];
        let parts = self.ranges(section.pack.file, &ranges).await?;
        let sealed = (&parts[0][..], &parts[1][..]);
        let kept = self.keep(tenant, section, sealed)?;
        self.sections.insert(section.id(), kept.clone(), kept.memory_bytes());
        if self.keys.dek_by_id(kept.dek()).is_err() {
            // The key went away while it was opened: what was wiped stays so.
            self.sections.retain(|id, _| *id != section.id());
        }
        kept.open(device)
    }

    fn keep(
        &self,
        tenant: TenantId,
        section: &Section,
        sealed: (&[u8], &[u8]),
    ) -> Result<Kept, TelemetryError> {
        let (plain, dek, key) = self.unseal(tenant, section, sealed)?;
        let file = section.pack.file;
        let wire = |error| TelemetryError::wire(Pack::path_of(file))(error);
        let plain = if plain.len() > DECODED_DIRECTORY_BYTES_MAX {
            match Packed::new(plain, section.offset).map_err(wire)? {
                Ok(directory) => {
                    let packed = PackedSection { tenant, file, directory, dek, key };
                    return Ok(Kept::Packed(Arc::new(packed)));
                }
                Err(plain) => plain,
            }
        } else {
            plain
        };
        let directory = Directory::decode(&plain, section.offset).map_err(wire)?;
        Ok(Kept::Open(Arc::new(OpenSection { tenant, file, directory, dek, key })))
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
        let sealed = (&whole[..split], &whole[split..]);
        let (plain, dek, key) = self.unseal(tenant, section, sealed)?;
        let file = section.pack.file;
        let directory = Directory::decode(&plain, section.offset)
            .map_err(TelemetryError::wire(Pack::path_of(file)))?;
        Ok(OpenSection { tenant, file, directory, dek, key })
    }

    /// The bytes of a section's directory, and the keys above and of its file.
    fn unseal(
        &self,
        tenant: TenantId,
        section: &Section,
        (header, sealed): (&[u8], &[u8]),
    ) -> Result<(Vec<u8>, DekId, Arc<FileKey>), TelemetryError> {
        let keys_error = |source| TelemetryError::Keys { action: "open a segment", source };
        let header = FileHeader::read(header).map_err(keys_error)?;
        let dek = self.keys.dek_by_id(header.dek).map_err(keys_error)?;
        let key = header.open(&dek).map_err(keys_error)?;
        let (mut context, mut body) = (Vec::new(), Vec::new());
        frame_context(&mut context, Role::Directory, NO_DEVICE, 0, "");
        let aad = Aad::new(tenant, DataClass::Segment, &context);
        key.open(u64::from(section.frames), aad, sealed, &mut body).map_err(keys_error)?;
        let plain = decompress(&mut Cursor::new(&body), DIRECTORY_BYTES_MAX)
            .map_err(TelemetryError::wire(Pack::path_of(section.pack.file)))?;
        Ok((plain, header.dek, Arc::new(key)))
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
        self.sections.retain(|(file, _), _| !files.contains(file));
        self.frames.retain(|(file, _), _| !files.contains(file));
    }

    /// Forgets directories and file keys whose data key cannot be had any more.
    pub(crate) fn forget_denied(&self) {
        self.sections.retain(|_, kept| self.keys.dek_by_id(kept.dek()).is_ok());
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
