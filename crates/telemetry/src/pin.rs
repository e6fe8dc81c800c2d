//! A state of the segments that stays whole while others flush and compact: its manifest's bytes
//! and the names of its packs, none of which is deleted while the pin lives.

use std::fmt;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;

use crate::catalog::{Catalog, Pack};
use crate::engine::{Engine, read_object};
use crate::{TelemetryError, manifest};

/// A pinned state.
pub struct Pinned {
    /// Where the manifest stands in the store, and its sealed bytes; none before the first flush.
    pub manifest: Option<(String, bytes::Bytes)>,
    /// Where its packs stand in the store.
    pub packs: Vec<String>,
    /// Everything in the log before this position is in them.
    pub persisted_position: u64,
    // Packs that a catalog refers to are not deleted.
    _catalog: Arc<Catalog>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("packs", &self.packs.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Pins the newest state in the store.
    #[boxed]
    pub async fn pin(&self) -> Result<Pinned, TelemetryError> {
        // Superseded manifests are deleted under this lock only.
        let _commits = self.inner.commits.lock().await;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let manifest = if catalog.number == 0 {
            None
        } else {
            let path = manifest::path_of(catalog.number);
            let bytes = read_object(&self.inner.reader.store, &path).await?;
            Some((path.to_string(), bytes))
        };
        let mut packs: Vec<String> =
            catalog.packs().into_keys().map(|file| Pack::path_of(file).to_string()).collect();
        packs.sort_unstable();
        let persisted_position = catalog.persisted_position;
        Ok(Pinned { manifest, packs, persisted_position, _catalog: catalog })
    }
}
