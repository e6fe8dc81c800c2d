//! Writer epochs of a store that others can open too. Whoever opens it claims the next epoch before
//! it reads the newest manifest, and numbers its own above those of all epochs before; whoever has
//! written a manifest looks for claims above its own. One of the two sees the other, whoever is
//! slower: an earlier engine stops writing, and its log is not cut.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use veritwin_domain::{Clock, FileId, Rng};

use crate::TelemetryError;
use crate::catalog::Catalog;
use crate::commit::{create, manifest_numbers};
use crate::engine::read_object;
use crate::manifest;
use crate::reader::Reader;

const PREFIX: &str = "epochs";
/// Bits of a manifest's number below its epoch.
const NUMBER_BITS: u32 = 32;
/// Numbers that are tried when others claim at the same time.
const CLAIM_TRIES: usize = 8;
/// What a bucket calls the version of an object of which it keeps no others.
const NO_VERSION: &str = "null";

/// What a store holds when it is opened.
pub(crate) struct Found {
    /// The number of the manifest in force.
    pub(crate) newest: Option<u64>,
    /// Those of manifests before it.
    pub(crate) superseded: Vec<u64>,
    pub(crate) catalog: Catalog,
    /// The epoch that was claimed; none of a store that nobody else can open.
    pub(crate) epoch: Option<u32>,
}

impl Found {
    /// Reads the manifest in force.
    pub(crate) async fn read(reader: &Reader) -> Result<Self, TelemetryError> {
        let mut numbers = manifest_numbers(&reader.store).await?;
        numbers.sort_unstable();
        let newest = numbers.pop();
        let catalog = match newest {
            None => Catalog::default(),
            Some(number) => {
                let sealed = read_object(&reader.store, &manifest::path_of(number)).await?;
                manifest::open(number, &sealed, &reader.keys)?
            }
        };
        Ok(Self { newest, superseded: numbers, catalog, epoch: None })
    }

    /// Claims the store's next epoch and reads the manifest in force. It is read before the claim
    /// too: whoever cannot open it has no business here, and stops nobody who does.
    pub(crate) async fn claim(
        reader: &Reader,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Self, TelemetryError> {
        let mut found = Self::read(reader).await?;
        let mark = FileId::generate(clock.now(), rng);
        let epoch = claim(&reader.store, found.newest, mark).await?;
        if manifest_numbers(&reader.store).await?.into_iter().max() != found.newest {
            found = Self::read(reader).await?;
        }
        found.epoch = Some(epoch);
        Ok(found)
    }

    /// The number of the next manifest.
    pub(crate) fn number_next(&self) -> u64 {
        match self.epoch {
            Some(epoch) => first_number(epoch),
            None => self.newest.map_or(1, |number| number + 1),
        }
    }
}

fn path_of(epoch: u32) -> Path {
    Path::from_iter([PREFIX.to_owned(), format!("{epoch:010}")])
}

/// The number of an epoch's first manifest.
pub(crate) fn first_number(epoch: u32) -> u64 {
    (u64::from(epoch) << NUMBER_BITS) | 1
}

fn epoch_of(number: u64) -> u32 {
    u32::try_from(number >> NUMBER_BITS).unwrap_or(u32::MAX)
}

/// The epoch of the claim at `path`, if it is one.
fn claim_at(path: &Path) -> Option<u32> {
    path.filename()?.parse().ok()
}

/// All claims.
async fn claims(store: &Arc<dyn ObjectStore>) -> Result<Vec<u32>, TelemetryError> {
    let prefix = Path::from(PREFIX);
    store
        .list(Some(&prefix))
        .try_filter_map(|meta| async move { Ok(claim_at(&meta.location)) })
        .try_collect()
        .await
        .map_err(|source| TelemetryError::store("list", &prefix, source))
}

/// The first number of an epoch that somebody has claimed after `own`.
pub(crate) async fn passed_by(
    store: &Arc<dyn ObjectStore>,
    own: u32,
) -> Result<Option<u64>, TelemetryError> {
    let newest = claims(store).await?.into_iter().max();
    Ok(newest.filter(|newest| *newest > own).map(first_number))
}

/// Claims the epoch above all others. Claims below it say nothing more and go; one that stays goes
/// with the next.
async fn claim(
    store: &Arc<dyn ObjectStore>,
    newest: Option<u64>,
    mark: FileId,
) -> Result<u32, TelemetryError> {
    let before = claims(store).await?;
    let known = before.iter().copied().chain(newest.map(epoch_of)).max();
    let mut epoch = known.map_or(1, |epoch| epoch.saturating_add(1));
    for _ in 0..CLAIM_TRIES {
        let path = path_of(epoch);
        // No two claims are of the same bytes.
        match create(store, &path, Bytes::copy_from_slice(mark.as_bytes())).await {
            Ok(version) => {
                refuse_versions(version.as_deref())?;
                for older in before {
                    let path = path_of(older);
                    if let Err(error) = store.delete(&path).await {
                        tracing::warn!(object = %path, %error, "cannot delete an older claim");
                    }
                }
                return Ok(epoch);
            }
            Err(object_store::Error::AlreadyExists { .. }) => epoch = epoch.saturating_add(1),
            Err(source) => return Err(TelemetryError::store("claim", &path, source)),
        }
    }
    Err(TelemetryError::Conflict(first_number(epoch)))
}

/// Readings that are destroyed by rewriting would stay in a version that the bucket keeps.
fn refuse_versions(version: Option<&str>) -> Result<(), TelemetryError> {
    if version.is_none_or(|version| version == NO_VERSION) {
        return Ok(());
    }
    let detail =
        "it keeps versions; take one without versioning, so that what is destroyed is gone";
    Err(TelemetryError::Bucket(detail.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_an_epoch_are_above_all_before() {
        assert_eq!(epoch_of(7), 0, "of a store that was opened by one alone");
        assert!(first_number(1) > u64::from(u32::MAX));
        assert_eq!((epoch_of(first_number(3)), epoch_of(first_number(4) - 2)), (3, 3));
        assert_eq!(epoch_of(first_number(u32::MAX)), u32::MAX);
    }

    #[test]
    fn a_bucket_that_keeps_versions_is_refused() {
        assert!(refuse_versions(None).is_ok());
        assert!(refuse_versions(Some("null")).is_ok(), "versioning was suspended");
        assert!(refuse_versions(Some("3HL4kqtJlcpXroDTDmJ")).is_err());
    }
}
