//! Writing packs, and the manifest that puts them in force. What a manifest that failed may name is
//! kept until one above it is there.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::catalog::{Catalog, Pack};
use crate::engine::{Commits, Inner};
use crate::{TelemetryError, manifest};

/// Most packs of failed manifests that are kept, for flushes and compactions together.
const UNSURE_PACKS_MAX: usize = 8;

/// Stores a pack, refusing to replace one.
pub(crate) async fn put_pack(
    inner: &Inner,
    pack: &Pack,
    bytes: Vec<u8>,
) -> Result<(), TelemetryError> {
    let path = Pack::path_of(pack.file);
    let put = create(inner, &path, Bytes::from(bytes)).await;
    put.map_err(|source| TelemetryError::store("write", &path, source))
}

/// Stores the packs of a flush. If one cannot be stored the others go again: the next attempt makes
/// its own, and a disk that is full must not be kept full by those of failed ones.
pub(crate) async fn put_packs(
    inner: &Inner,
    packs: &[Arc<Pack>],
    contents: [Vec<u8>; 2],
) -> Result<(), TelemetryError> {
    for (pack, bytes) in packs.iter().zip(contents) {
        if let Err(error) = put_pack(inner, pack, bytes).await {
            for pack in packs {
                discard(inner, pack).await;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Deletes a pack that no manifest names, if it is there.
pub(crate) async fn discard(inner: &Inner, pack: &Pack) {
    let path = Pack::path_of(pack.file);
    match inner.reader.store.delete(&path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => {
            tracing::warn!(object = %path, %error, "cannot delete the pack of a failed flush");
        }
    }
}

/// Stores an object that must not exist yet. A store that lost an answer and tried again by itself
/// finds its own first attempt: no two writers ever seal the same bytes.
async fn create(inner: &Inner, path: &Path, bytes: Bytes) -> Result<(), object_store::Error> {
    let store = &inner.reader.store;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(path, PutPayload::from(bytes.clone()), options).await {
        Err(error @ object_store::Error::AlreadyExists { .. }) => {
            let there = async { store.get(path).await?.bytes().await };
            if there.await? == bytes { Ok(()) } else { Err(error) }
        }
        other => other.map(|_| ()),
    }
}

/// Makes `next` the manifest in force. After a failure it is unknown whether the manifest exists;
/// its number is not used again, and whichever is the highest describes a correct state.
pub(crate) async fn commit(
    inner: &Inner,
    commits: &mut Commits,
    mut next: Catalog,
    new_packs: Vec<Arc<Pack>>,
) -> Result<Arc<Catalog>, TelemetryError> {
    if let Some(number) = commits.conflict {
        return Err(TelemetryError::Conflict(number));
    }
    let superseded = next.number;
    next.number = commits.number_next;
    commits.number_next += 1;
    let sealed =
        manifest::seal(&next, &inner.reader.keys, inner.clock.as_ref(), inner.rng.as_ref())?;
    let path = manifest::path_of(next.number);
    match create(inner, &path, Bytes::from(sealed)).await {
        Ok(()) => {}
        Err(object_store::Error::AlreadyExists { .. }) => {
            commits.conflict = Some(next.number);
            return Err(TelemetryError::Conflict(next.number));
        }
        Err(source) => {
            commits.superseded.push(next.number);
            commits.unsure.extend(new_packs.into_iter().map(|pack| (next.number, pack)));
            discard_oldest_unsure(inner, commits).await;
            return Err(TelemetryError::store("write", &path, source));
        }
    }
    if superseded > 0 {
        commits.superseded.push(superseded);
    }
    // Whatever the failed manifests are, this one is above them.
    let unsure = std::mem::take(&mut commits.unsure).into_iter().map(|(_, pack)| pack);
    inner.packs.lock().extend(new_packs.into_iter().chain(unsure));
    Ok(Arc::new(next))
}

/// A store that refuses one manifest after the other, done or not, must not fill up with their
/// packs: of the oldest the manifest goes first, so that none that is there names what is gone. The
/// manifest in force is there and the log is not cut.
async fn discard_oldest_unsure(inner: &Inner, commits: &mut Commits) {
    let surplus = commits.unsure.len().saturating_sub(UNSURE_PACKS_MAX);
    let oldest: Vec<(u64, Arc<Pack>)> = commits.unsure.drain(..surplus).collect();
    for (number, pack) in oldest {
        match inner.reader.store.delete(&manifest::path_of(number)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => discard(inner, &pack).await,
            Err(_) => commits.unsure.push((number, pack)),
        }
    }
}
