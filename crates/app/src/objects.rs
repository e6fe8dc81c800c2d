//! Sealed objects in the object store: sources, models and geometry of twins. Each is one file
//! under a key of its own, written whole before anything names it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path};
use parking_lot::Mutex;
use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{Aad, DataClass, DekScope, FileHeader};
use veritwin_metastore::Twin;
use veritwin_twin::TwinModel;

use crate::{App, Error, Result};

/// Plaintext bytes sealed at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
const TAG_BYTES: usize = 16;
/// Opened chunks of objects that are read piece by piece, which are kept.
const CHUNKS_KEPT_MAX: usize = 16;
/// Models that are kept decoded.
const MODELS_MAX: usize = 16;

/// Models that were used a moment ago, by tenant and object.
pub(crate) type ModelCache = Mutex<Vec<(ModelName, Arc<TwinModel>)>>;
type ModelName = (TenantId, String);
/// Chunks that were used a moment ago, by tenant, object and number.
pub(crate) type ChunkCache = Mutex<Vec<((TenantId, String, u64), Bytes)>>;

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

    /// Reads a part of an object, within its length, and opens no more of it than that is in.
    pub(crate) async fn get_object_part(
        &self,
        tenant: TenantId,
        path: &str,
        part: Range<u64>,
    ) -> Result<Vec<u8>> {
        let chunk_bytes = CHUNK_BYTES as u64;
        let mut out = Vec::new();
        let mut at = part.start;
        while at < part.end {
            let number = at / chunk_bytes;
            let chunk = self.get_object_chunk(tenant, path, number).await?;
            let from = usize::try_from(at - number * chunk_bytes).unwrap_or(usize::MAX);
            let to = usize::try_from(part.end - number * chunk_bytes).unwrap_or(usize::MAX);
            let some = chunk.get(from..to.min(chunk.len())).unwrap_or_default();
            if some.is_empty() {
                return Err(Error::Internal("a stored object is damaged".to_owned()));
            }
            out.extend_from_slice(some);
            at += some.len() as u64;
        }
        Ok(out)
    }

    async fn get_object_chunk(&self, tenant: TenantId, path: &str, number: u64) -> Result<Bytes> {
        if !path.starts_with(&format!("twins/{tenant}/")) {
            return Err(Error::NotFound("object"));
        }
        let name = (tenant, path.to_owned(), number);
        let kept = self.0.chunks.lock().iter().find(|(known, _)| *known == name).cloned();
        if let Some((_, chunk)) = kept {
            // What was opened before the key was withdrawn is not given out after it.
            let _dek = self.0.keys.dek(&DekScope::tenant(tenant, DataClass::Twin))?;
            return Ok(chunk);
        }
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
        let mut chunks = self.0.chunks.lock();
        if chunks.len() >= CHUNKS_KEPT_MAX {
            chunks.remove(0);
        }
        chunks.push((name, chunk.clone()));
        Ok(chunk)
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
        if self.0.backup.put_off(&paths) {
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
        Ok(model)
    }
}
