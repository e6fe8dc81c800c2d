//! Segments in a bucket: a backup reads them object by object and holds them as those of a data
//! directory, and a restore puts them into a place of the bucket that nothing else is in.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use veritwin_telemetry::Pinned;

use super::blocking;
use super::files::{io, plain_files};
use super::writer::Writer;
use crate::segments::{MANIFESTS, SEGMENTS, failed};
use crate::{Error, Result};

/// Most objects that are listed.
const OBJECTS_MAX: usize = 2_000_000;
const PACKS: &str = "segments";

/// The names of objects and their bytes, in order.
async fn objects(store: &Arc<dyn ObjectStore>) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut all = store.list(None);
    while let Some(meta) = all.try_next().await.map_err(failed("list", PACKS))? {
        if found.len() >= OBJECTS_MAX {
            let detail = format!("limit segment_objects_max exceeded: at most {OBJECTS_MAX}");
            return Err(Error::invalid_at("objects.url", detail));
        }
        found.push((meta.location.to_string(), meta.size));
    }
    found.sort_unstable();
    Ok(found)
}

async fn read(store: &Arc<dyn ObjectStore>, name: &str) -> Result<Bytes> {
    let path = ObjectPath::from(name);
    let found = store.get(&path).await.map_err(failed("read", name))?;
    found.bytes().await.map_err(failed("read", name))
}

fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Copies what is pinned, or of a platform that is not open whatever is there but claims: they
/// say who writes and are no part of a history.
pub(super) async fn copy(
    store: &Arc<dyn ObjectStore>,
    pinned: Option<&Pinned>,
    mut writer: Writer,
) -> Result<Writer> {
    let mut found = objects(store).await?;
    if let Some(pinned) = pinned {
        let wanted: BTreeSet<&str> = pinned.packs.iter().map(String::as_str).collect();
        found.retain(|(name, _)| wanted.contains(name.as_str()));
        if found.len() < wanted.len() {
            let detail = "the bucket lacks segments that its manifest names";
            return Err(Error::invalid_at("objects.url", detail));
        }
    } else {
        found.retain(|(name, _)| is_below(name, PACKS) || is_below(name, MANIFESTS));
    }
    writer.expect_bytes(found.iter().map(|(_, bytes)| bytes).sum());
    for (name, bytes) in found {
        let path = Path::new(SEGMENTS).join(&name);
        let resumed = path.clone();
        let (back, is_there) = blocking(move || {
            let is_there = writer.resume(&resumed, bytes)?;
            Ok((writer, is_there))
        })
        .await?;
        writer = back;
        if is_there {
            continue;
        }
        let content = read(store, &name).await?;
        writer = blocking(move || {
            writer.receive(&path, &content)?;
            Ok(writer)
        })
        .await?;
    }
    Ok(writer)
}

/// Refuses a place that an engine has written to.
pub(super) async fn refuse_used(store: &Arc<dyn ObjectStore>) -> Result<()> {
    refuse_others(store, |name| is_below(name, PACKS) || is_below(name, MANIFESTS)).await
}

async fn refuse_others(
    store: &Arc<dyn ObjectStore>,
    is_own: impl Fn(&str) -> bool + Send,
) -> Result<()> {
    let other = objects(store).await?.into_iter().find(|(name, _)| !is_own(name));
    let Some((name, _)) = other else { return Ok(()) };
    let detail = format!("the bucket holds {name} already: name another s3://BUCKET/FRONT");
    Err(Error::invalid_at("objects.url", detail))
}

/// Puts the segments of a staged backup into a bucket and takes them out of the staging folder.
/// What an attempt before has put there stays, if it is the same.
pub(super) async fn put_back(store: &Arc<dyn ObjectStore>, staging: &Path) -> Result<()> {
    let files = plain_files(staging, Path::new(SEGMENTS))?;
    let front = Path::new(SEGMENTS);
    let names: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.strip_prefix(front).ok()?.to_str().map(str::to_owned))
        .collect();
    refuse_others(store, |name| names.contains(name)).await?;
    // A manifest comes behind the packs that it names, whose folder is behind its own.
    for name in names.iter().rev() {
        let file = staging.join(front).join(name);
        let bytes = tokio::fs::read(&file).await.map_err(io("read", &file))?;
        let (path, bytes) = (ObjectPath::from(name.as_str()), Bytes::from(bytes));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = store.put_opts(&path, PutPayload::from(bytes.clone()), options).await;
        match put {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => {
                if read(store, name).await? != bytes {
                    let detail = format!("the bucket holds another {name}: name another front");
                    return Err(Error::invalid_at("objects.url", detail));
                }
            }
            Err(error) => return Err(failed("write", name)(error)),
        }
    }
    let folder = staging.join(front);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", &folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn filled(names: &[&str]) -> Arc<dyn ObjectStore> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for name in names {
            let bytes = Bytes::from(format!("content of {name}"));
            store.put(&ObjectPath::from(*name), bytes.into()).await.expect("put");
        }
        store
    }

    async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
        objects(store).await.expect("listed").into_iter().map(|(name, _)| name).collect()
    }

    #[tokio::test]
    async fn what_is_copied_comes_back_into_an_empty_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("backup");
        let store = filled(&["epochs/1", "manifests/2", "segments/a", "segments/b"]).await;
        let writer = Writer::open(&out, Arc::default()).expect("a writer");
        let copied = copy(&store, None, writer).await.expect("copied");
        let staging = copied.path("data");
        drop(copied);
        let target = filled(&[]).await;
        for _ in 0..2 {
            // An attempt that was cut off behind the last object finds what it has put.
            let copied = folder.path().join("staging");
            for file in plain_files(&staging, Path::new(SEGMENTS)).expect("files") {
                // A backup that has not come to its end says so in the names of its files.
                let to = copied.join(file.with_extension(""));
                std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
                std::fs::copy(staging.join(&file), to).expect("copied");
            }
            refuse_used(&target).await.expect("nobody has used it");
            put_back(&target, &copied).await.expect("put back");
            assert_eq!(names(&target).await, ["manifests/2", "segments/a", "segments/b"]);
            assert!(!copied.join(SEGMENTS).exists());
        }
        let bytes = read(&target, "segments/b").await.expect("read");
        assert_eq!(bytes, Bytes::from("content of segments/b"));
    }

    #[tokio::test]
    async fn a_place_with_something_else_in_it_is_refused() {
        let staging = tempfile::tempdir().expect("a folder");
        let folder = staging.path().join(SEGMENTS).join(PACKS);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("a"), "other content").expect("written");
        for taken in ["epochs/1", "segments/b", "segments/a"] {
            let store = filled(&[taken]).await;
            let error = put_back(&store, staging.path()).await.expect_err("taken").to_string();
            assert!(error.contains(taken), "{error}");
            assert_eq!(names(&store).await, [taken]);
        }
        assert!(refuse_used(&filled(&["epochs/1"]).await).await.is_err());
    }
}
