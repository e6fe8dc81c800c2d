//! Searches the objects of a bucket for a text in clear, newest first, up to a bound: where
//! segments of readings are there, no file of the data directory holds them.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::search::{BUCKET, Hit, Needles, Searched};
use super::spent::blocking;
use crate::segments::{SEGMENTS, failed};
use crate::{Error, Result};

/// Most bytes read in one search; the newest are those of the search's own flush.
const BUCKET_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most objects looked at.
const OBJECTS_MAX: usize = 2_000_000;

pub(super) async fn search_bucket(
    store: &Arc<dyn ObjectStore>,
    needles: &Arc<Needles>,
) -> Result<Searched> {
    let listed: Vec<_> =
        store.list(None).take(OBJECTS_MAX).try_collect().await.map_err(failed("list", SEGMENTS))?;
    let mut objects = listed;
    objects.sort_by_key(|object| std::cmp::Reverse(object.last_modified));
    let mut searched = Searched::default();
    for meta in objects {
        let name = meta.location.to_string();
        if searched.bytes.saturating_add(meta.size) > BUCKET_BYTES_MAX {
            searched.left_out += 1;
            continue;
        }
        let found = match store.get(&meta.location).await {
            // It was merged meanwhile.
            Err(object_store::Error::NotFound { .. }) => continue,
            found => found.map_err(failed("read", &name))?,
        };
        let bytes = found.bytes().await.map_err(failed("read", &name))?;
        searched.files += 1;
        searched.bytes += meta.size;
        let needles = Arc::clone(needles);
        let hit = blocking(move || needles.find(&bytes))
            .await
            .map_err(|_| Error::Internal("the search stopped".to_owned()))?;
        if let Some((form, at)) = hit
            && searched.hit.is_none()
        {
            let file = Path::new(BUCKET).join(&name);
            searched.hit = Some(Hit { file, form, offset: at as u64 });
        }
    }
    Ok(searched)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;

    use super::*;

    #[tokio::test]
    async fn an_object_with_the_text_is_found_and_told_from_a_file() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let text = "vcanaryabcdefghijklmnop";
        let needles = Arc::new(Needles::of(text));
        let put = async |name: &str, content: String| {
            let bytes = bytes::Bytes::from(content);
            store.put(&ObjectPath::from(name), bytes.into()).await.expect("put");
        };
        put("segments/a", "sealed".to_owned()).await;
        let searched = search_bucket(&store, &needles).await.expect("searched");
        assert_eq!((searched.files, searched.bytes, searched.hit), (1, 6, None));
        put("segments/b", format!("before{text}")).await;
        let searched = search_bucket(&store, &needles).await.expect("searched");
        let hit = searched.hit.expect("it is there");
        assert_eq!((hit.form, hit.offset), ("UTF-8", 6));
        assert_eq!(hit.file, Path::new("bucket:/segments/b"));
        assert_eq!(hit.place(), "an object of the bucket of segments");
    }
}
