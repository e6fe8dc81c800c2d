//! Sealed objects in the object store: sources, models and geometry of twins. Each is one file
//! under a key of its own, written whole before anything names it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Line, Semaphore};
use veritwin_domain::{FileId, Shared, TenantId};
use veritwin_keys::{Aad, DataClass, DekScope, FileHeader};
use veritwin_metastore::Twin;
use veritwin_twin::TwinModel;

use crate::{App, Error, Result};

/// Plaintext bytes sealed at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
const TAG_BYTES: usize = 16;
/// Opened chunks of objects that are read piece by piece, which are kept: of all, and of a tenant.
const CHUNKS_KEPT_MAX: usize = 32;
const TENANT_CHUNKS_KEPT_MAX: usize = 8;
/// Chunks that are opened at once; of a tenant it is one.
const CHUNKS_OPENED_MAX: usize = 4;
/// Models that are kept decoded.
const MODELS_MAX: usize = 16;

/// Models that were used a moment ago, by tenant and object.
pub(crate) type ModelCache = Mutex<Vec<(ModelName, Arc<TwinModel>)>>;
type ModelName = (TenantId, String);
/// A chunk by tenant, object and number.
type ChunkName = (TenantId, String, u64);

/// Chunks that were used a moment ago.
pub(crate) struct ChunkCache {
    /// The one used last stands last.
    kept: Mutex<Vec<(ChunkName, Bytes)>>,
    /// Where those of a tenant wait that want one opened: most of them want the same one.
    lines: Shared<TenantId, Line<()>>,
    opening: Semaphore,
}

impl Default for ChunkCache {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            lines: Shared::default(),
            opening: Semaphore::new(CHUNKS_OPENED_MAX),
        }
    }
}

impl ChunkCache {
    fn find(&self, name: &ChunkName) -> Option<Bytes> {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|(known, _)| known == name)?;
        let found = kept.remove(at);
        let chunk = found.1.clone();
        kept.push(found);
        Some(chunk)
    }

    /// Drops what is kept of a tenant.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.kept.lock().retain(|((owner, ..), _)| *owner != tenant);
    }

    /// Keeps a chunk in the place of the tenant's oldest one, or of the oldest one of who has most.
    fn keep(&self, name: ChunkName, chunk: Bytes) {
        let mut kept = self.kept.lock();
        let owners: Vec<TenantId> = kept.iter().map(|((owner, ..), _)| *owner).collect();
        let count = |tenant: TenantId| owners.iter().filter(|owner| **owner == tenant).count();
        let gives_way = if count(name.0) >= TENANT_CHUNKS_KEPT_MAX {
            Some(name.0)
        } else if owners.len() >= CHUNKS_KEPT_MAX {
            // Of several, the one whose oldest was used longest ago.
            owners.iter().rev().copied().max_by_key(|owner| count(*owner))
        } else {
            None
        };
        let oldest = gives_way.and_then(|tenant| owners.iter().position(|one| *one == tenant));
        if let Some(oldest) = oldest {
            kept.remove(oldest);
        }
        kept.push((name, chunk));
    }
}

impl App {
    /// Seals and stores an object; answers its path. The bytes are durable when this returns.
    pub(crate) async fn put_object(
        &self,
        tenant: TenantId,
        kind: &str,
        bytes: Bytes,
    ) -> Result<String> {
        let file = FileId::generate(self.clock().now(), self.rng());
        let path = format!("twins/{tenant}/{kind}-{file}");
        let app = self.clone();
        let sealed = tokio::task::spawn_blocking(move || app.seal_object(tenant, file, &bytes))
            .await
            .map_err(|_| Error::Internal("sealing stopped".to_owned()))??;
        self.0.objects.put(&Path::from(path.as_str()), sealed.into()).await?;
        Ok(path)
    }

    fn seal_object(&self, tenant: TenantId, file: FileId, bytes: &[u8]) -> Result<Bytes> {
        let scope = DekScope::tenant(tenant, DataClass::Twin);
        let (key, header) = self.0.keys.create_file(&scope, file)?;
        let mut out = Vec::with_capacity(bytes.len() + FileHeader::BYTES + 1024);
        header.write(&mut out);
        let count = bytes.len().div_ceil(CHUNK_BYTES).max(1) as u64;
        out.extend_from_slice(&count.to_le_bytes());
        for number in 0..count {
            let start = usize::try_from(number).unwrap_or(usize::MAX) * CHUNK_BYTES;
            let chunk = &bytes[start.min(bytes.len())..bytes.len().min(start + CHUNK_BYTES)];
            // The count is in the associated data, so that a shortened object does not open.
            let context = count.to_le_bytes();
            key.seal(number, Aad::new(tenant, DataClass::Twin, &context), chunk, &mut out)?;
        }
        Ok(out.into())
    }

    /// Reads and opens an object.
    pub(crate) async fn get_object(&self, tenant: TenantId, path: &str) -> Result<Bytes> {
        // A path of another tenant would not open either: the tenant is in the associated data.
        if !path.starts_with(&format!("twins/{tenant}/")) {
            return Err(Error::NotFound("object"));
        }
        let sealed = self.0.objects.get(&Path::from(path)).await?.bytes().await?;
        let app = self.clone();
        tokio::task::spawn_blocking(move || app.open_object(tenant, &sealed))
            .await
            .map_err(|_| Error::Internal("opening stopped".to_owned()))?
    }

    fn open_object(&self, tenant: TenantId, sealed: &[u8]) -> Result<Bytes> {
        let damaged = || Error::Internal("a stored object is damaged".to_owned());
        let header = FileHeader::read(sealed)?;
        let key = self.0.keys.open_file(&header)?;
        let rest = sealed.get(FileHeader::BYTES..).ok_or_else(damaged)?;
        let (context, mut rest) = rest.split_at_checked(8).ok_or_else(damaged)?;
        let count = u64::from_le_bytes(context.try_into().map_err(|_| damaged())?);
        let mut out = Vec::with_capacity(rest.len());
        for number in 0..count {
            let is_last = number + 1 == count;
            let bytes = if is_last { rest.len() } else { CHUNK_BYTES + TAG_BYTES };
            let (chunk, after) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
            key.open(number, Aad::new(tenant, DataClass::Twin, context), chunk, &mut out)?;
            rest = after;
        }
        Ok(out.into())
    }

    /// Reads a part of an object, within its length, and opens no more of it than that is in; how
    /// many bytes had to be opened for it comes with it.
    pub(crate) async fn get_object_part(
        &self,
        tenant: TenantId,
        path: &str,
        part: Range<u64>,
    ) -> Result<(Vec<u8>, usize)> {
        let chunk_bytes = CHUNK_BYTES as u64;
        let (mut out, mut opened) = (Vec::new(), 0);
        let mut at = part.start;
        while at < part.end {
            let number = at / chunk_bytes;
            let (chunk, is_opened) = self.get_object_chunk(tenant, path, number).await?;
            opened += if is_opened { chunk.len() } else { 0 };
            let from = usize::try_from(at - number * chunk_bytes).unwrap_or(usize::MAX);
            let to = usize::try_from(part.end - number * chunk_bytes).unwrap_or(usize::MAX);
            let some = chunk.get(from..to.min(chunk.len())).unwrap_or_default();
            if some.is_empty() {
                return Err(Error::Internal("a stored object is damaged".to_owned()));
            }
            out.extend_from_slice(some);
            at += some.len() as u64;
        }
        Ok((out, opened))
    }

    /// A chunk, and whether it had to be opened.
    async fn get_object_chunk(
        &self,
        tenant: TenantId,
        path: &str,
        number: u64,
    ) -> Result<(Bytes, bool)> {
        if !path.starts_with(&format!("twins/{tenant}/")) {
            return Err(Error::NotFound("object"));
        }
        self.check_objects_key(tenant)?;
        let (cache, name) = (&self.0.chunks, (tenant, path.to_owned(), number));
        if let Some(chunk) = cache.find(&name) {
            return Ok((chunk, false));
        }
        let line = cache.lines.of(tenant, Line::default);
        let _turn = line.lock().await;
        // A fleet that is updated wants the same one at the same time.
        if let Some(chunk) = cache.find(&name) {
            return Ok((chunk, false));
        }
        // Never closed: there is always a permit to come.
        let _permit = cache.opening.acquire().await.ok();
        let head_bytes = FileHeader::BYTES as u64 + 8;
        let sealed_bytes = (CHUNK_BYTES + TAG_BYTES) as u64;
        let start = head_bytes + number * sealed_bytes;
        let path = Path::from(path);
        let head = self.0.objects.get_range(&path, 0..head_bytes).await?;
        let sealed = self.0.objects.get_range(&path, start..start + sealed_bytes).await?;
        let app = self.clone();
        let opened =
            tokio::task::spawn_blocking(move || app.open_chunk(tenant, &head, number, &sealed));
        let chunk = opened.await.map_err(|_| Error::Internal("opening stopped".to_owned()))??;
        cache.keep(name, chunk.clone());
        if self.0.keys.check(tenant).is_err() {
            // The key went away while it was opened: what was wiped stays so.
            cache.forget(tenant);
        }
        Ok((chunk, true))
    }

    /// What was opened before the key was withdrawn is not given out after it.
    fn check_objects_key(&self, tenant: TenantId) -> Result<()> {
        let _dek = self.0.keys.dek(&DekScope::tenant(tenant, DataClass::Twin))?;
        Ok(())
    }

    fn open_chunk(
        &self,
        tenant: TenantId,
        head: &[u8],
        number: u64,
        sealed: &[u8],
    ) -> Result<Bytes> {
        let key = self.0.keys.open_file(&FileHeader::read(head)?)?;
        let damaged = || Error::Internal("a stored object is damaged".to_owned());
        let context = head.get(FileHeader::BYTES..).ok_or_else(damaged)?;
        let mut out = Vec::with_capacity(sealed.len());
        key.open(number, Aad::new(tenant, DataClass::Twin, context), sealed, &mut out)?;
        Ok(out.into())
    }

    /// Deletes objects that nothing names any more; what a crash leaves is unreadable dead weight.
    pub(crate) async fn delete_objects(&self, paths: Vec<String>) {
        // A backup that is being made may have rows that name them.
        if self.0.upkeep.backup.put_off(&paths) {
            return;
        }
        for path in paths {
            if let Err(error) = self.0.objects.delete(&Path::from(path.as_str())).await {
                tracing::warn!(%error, "an object was not deleted");
            }
        }
    }

    /// The model of a twin.
    pub(crate) async fn load_model(&self, tenant: TenantId, twin: &Twin) -> Result<Arc<TwinModel>> {
        let name = (tenant, twin.model_object.clone());
        let cached = self.0.models.lock().iter().find(|(known, _)| *known == name).cloned();
        if let Some((_, model)) = cached {
            return Ok(model);
        }
        let bytes = self.get_object(tenant, &twin.model_object).await?;
        let model = TwinModel::from_bytes(&bytes)
            .map_err(|error| Error::Internal(format!("stored twin: {error}")))?;
        let model = Arc::new(model);
        let mut models = self.0.models.lock();
        if models.len() >= MODELS_MAX {
            models.remove(0);
        }
        models.push((name, Arc::clone(&model)));
        if self.0.keys.check(tenant).is_err() {
            // As for chunks.
            models.retain(|((owner, _), _)| *owner != tenant);
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tenant: u8, number: u64) -> ChunkName {
        (TenantId::from_bytes([tenant; 16]), "object".to_owned(), number)
    }

    #[test]
    fn no_tenant_drives_out_what_another_uses() {
        let cache = ChunkCache::default();
        cache.keep(name(1, 0), Bytes::from_static(b"one"));
        for number in 0..1_000 {
            cache.keep(name(2, number), Bytes::from_static(b"two"));
        }
        assert_eq!(cache.find(&name(1, 0)), Some(Bytes::from_static(b"one")));
        assert_eq!(cache.kept.lock().len(), 1 + TENANT_CHUNKS_KEPT_MAX);
        assert!(cache.find(&name(2, 999)).is_some() && cache.find(&name(2, 0)).is_none());
        let fill = |tenants: Range<u8>| {
            for tenant in tenants {
                for number in 0..8 {
                    cache.keep(name(tenant, number), Bytes::new());
                }
            }
        };
        fill(3..6);
        assert_eq!(cache.kept.lock().len(), CHUNKS_KEPT_MAX);
        assert!(cache.find(&name(1, 0)).is_some(), "who has most gives way");
        fill(6..100);
        assert_eq!(cache.kept.lock().len(), CHUNKS_KEPT_MAX);
        assert!(cache.find(&name(99, 7)).is_some());
    }
}
