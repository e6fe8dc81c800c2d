//! Writing packs, and the manifest that puts them in force. What a manifest that failed may name is
//! kept until one above it is there. Whoever finds one above its own stops: it was overtaken.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use veritwin_domain::FileId;

use crate::catalog::{Catalog, Pack};
use crate::engine::{Commits, Engine, Inner};
use crate::{TelemetryError, epoch, manifest};

/// Most packs of failed manifests that are kept, for flushes and compactions together.
const UNSURE_PACKS_MAX: usize = 8;

/// Stores a pack, refusing to replace one.
pub(crate) async fn put_pack(
    inner: &Inner,
    pack: &Pack,
    bytes: Vec<u8>,
) -> Result<(), TelemetryError> {
    let path = Pack::path_of(pack.file);
    let put = create(&inner.reader.store, &path, Bytes::from(bytes)).await;
    put.map(drop).map_err(|source| TelemetryError::store("write", &path, source))
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
/// finds its own first attempt: no two writers ever seal the same bytes. The answer is the version
/// that it got, of a store that has them.
pub(crate) async fn create(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Bytes,
) -> Result<Option<String>, object_store::Error> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(path, PutPayload::from(bytes.clone()), options).await {
        Err(error @ object_store::Error::AlreadyExists { .. }) => {
            let found = store.get(path).await?;
            let version = found.meta.version.clone();
            if found.bytes().await? == bytes { Ok(version) } else { Err(error) }
        }
        other => other.map(|put| put.version),
    }
}

/// Makes `next` the manifest in force. After a failure it is unknown whether the manifest exists;
/// its number is not used again, and whichever is the highest describes a correct state. Another
/// engine may have passed this one and deleted the manifests between: then the number was free, and
/// what was written under it is in force nowhere.
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
    let passed = match create(&inner.reader.store, &path, Bytes::from(sealed)).await {
        Ok(_) => passed_by(inner, commits.epoch, next.number).await,
        Err(object_store::Error::AlreadyExists { .. }) => Ok(Some(next.number)),
        Err(source) => Err(TelemetryError::store("write", &path, source)),
    };
    match passed {
        Ok(None) => {}
        Ok(Some(number)) => {
            commits.conflict = Some(number);
            return Err(TelemetryError::Conflict(number));
        }
        Err(error) => {
            commits.superseded.push(next.number);
            commits.unsure.extend(new_packs.into_iter().map(|pack| (next.number, pack)));
            discard_oldest_unsure(inner, commits).await;
            return Err(error);
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

/// The manifest above this engine's own, if somebody else has written one or has claimed to.
async fn passed_by(
    inner: &Inner,
    epoch: Option<u32>,
    own: u64,
) -> Result<Option<u64>, TelemetryError> {
    if let Some(epoch) = epoch {
        return epoch::passed_by(&inner.reader.store, epoch).await;
    }
    let numbers = manifest_numbers(&inner.reader.store).await?;
    Ok(numbers.into_iter().max().filter(|newest| *newest > own))
}

/// A store that refuses one manifest after the other, done or not, must not fill up with their
/// packs: of the oldest the manifest goes first, so that none that is there names what is gone. The
/// manifest in force is there and the log is not cut.
async fn discard_oldest_unsure(inner: &Inner, commits: &mut Commits) {
    let surplus = commits.unsure.len().saturating_sub(UNSURE_PACKS_MAX);
    let oldest: Vec<(u64, Arc<Pack>)> = commits.unsure.drain(..surplus).collect();
    for (number, pack) in oldest {
        let gone = match inner.reader.store.delete(&manifest::path_of(number)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => match commits.epoch {
                // Who claims the store after this look does not find the manifest any more.
                Some(epoch) => epoch::passed_by(&inner.reader.store, epoch).await.ok(),
                None => Some(None),
            },
            Err(_) => None,
        };
        match gone {
            Some(None) => discard(inner, &pack).await,
            // Whoever came may have found it, and then needs what it names.
            Some(Some(passed)) => commits.conflict = Some(passed),
            None => commits.unsure.push((number, pack)),
        }
    }
}

/// The numbers of all manifests.
pub(crate) async fn manifest_numbers(
    store: &Arc<dyn ObjectStore>,
) -> Result<Vec<u64>, TelemetryError> {
    let prefix = Path::from(manifest::PREFIX);
    store
        .list(Some(&prefix))
        .try_filter_map(|meta| async move { Ok(manifest::number_of(&meta.location)) })
        .try_collect()
        .await
        .map_err(|source| TelemetryError::store("list", &prefix, source))
}

/// Deletes packs of flushes and compactions that were cut off before their manifest. What cannot
/// be deleted now is tried again at the next opening. Whoever writes at the same time may be about
/// to name them: a manifest that came meanwhile is noticed first.
pub(crate) async fn delete_orphans(
    store: &Arc<dyn ObjectStore>,
    named: &HashSet<FileId>,
    newest: Option<u64>,
) -> Result<(), TelemetryError> {
    let orphans = orphans_of(store, named).await;
    if orphans.is_empty() {
        return Ok(());
    }
    if let Some(number) = manifest_numbers(store).await?.into_iter().max()
        && Some(number) > newest
    {
        return Err(TelemetryError::Conflict(number));
    }
    delete_all(store, &orphans).await;
    Ok(())
}

/// Packs that nothing names.
async fn orphans_of(store: &Arc<dyn ObjectStore>, named: &HashSet<FileId>) -> Vec<Path> {
    let is_orphan = |path: &Path| {
        let file = path.filename().and_then(|name| name.parse::<FileId>().ok());
        file.is_some_and(|file| !named.contains(&file))
    };
    let listed: Result<Vec<_>, _> = store.list(Some(&Path::from(Pack::PREFIX))).try_collect().await;
    match listed {
        Ok(all) => all.into_iter().map(|meta| meta.location).filter(is_orphan).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list segments to find orphans");
            Vec::new()
        }
    }
}

async fn delete_all(store: &Arc<dyn ObjectStore>, orphans: &[Path]) {
    for object in orphans {
        if let Err(error) = store.delete(object).await {
            tracing::warn!(%object, %error, "cannot delete an orphan");
        }
    }
}

impl Engine {
    /// Puts a manifest of its own in force in a store that was claimed, and deletes orphans then:
    /// one of an epoch before that comes late may name them, and is in force nowhere any more.
    pub(crate) async fn take_over(&self) -> Result<(), TelemetryError> {
        let inner = &self.inner;
        let mut commits = inner.commits.lock().await;
        let base = Arc::clone(&inner.memory.read().catalog);
        let named: HashSet<FileId> = base.packs().into_keys().collect();
        let orphans = orphans_of(&inner.reader.store, &named).await;
        let catalog = commit(inner, &mut commits, (*base).clone(), Vec::new()).await?;
        inner.memory.write().catalog = catalog;
        drop(base);
        delete_all(&inner.reader.store, &orphans).await;
        self.collect_garbage(&mut commits).await;
        Ok(())
    }
}
