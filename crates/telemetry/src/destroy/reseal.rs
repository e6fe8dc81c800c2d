//! Sealing a tenant's readings anew, after somebody may have got hold of data keys: section after
//! section is written under new keys, and the old ones are retired by the act. Nothing is left out.
//! Cut off at any step, the same call goes on from there.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::{DekId, KeyService};

use super::all;
use crate::TelemetryError;
use crate::engine::Engine;
use crate::flush::latest_scope;
use crate::selection::{Selection, Which};

impl Engine {
    /// Writes what one old key of a tenant sealed anew under a new key, and answers how many keys
    /// that were made before `before` still seal something. Once it is none, latest values are
    /// under a new key too, and the caller may destroy what the act has retired.
    #[boxed]
    pub async fn reseal_step(
        &self,
        tenant: TenantId,
        act: [u8; 16],
        before: Timestamp,
    ) -> Result<usize, TelemetryError> {
        let engine = self.clone();
        // A task of its own: a caller that gives up must not stop between manifest and memory.
        let task = tokio::spawn(async move { engine.reseal_now(tenant, act, before).await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn reseal_now(
        &self,
        tenant: TenantId,
        id: [u8; 16],
        before: Timestamp,
    ) -> Result<usize, TelemetryError> {
        self.flush().await?;
        let _alone = self.alone().await;
        // Nothing of it is meant to go.
        let nothing = Selection::of(tenant, Which::Devices(Arc::new(BTreeSet::new())));
        let keys = &self.inner.reader.keys;
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let used: BTreeSet<DekId> = all(&catalog, tenant).map(|section| section.dek).collect();
        let old = made_before(keys, tenant, before);
        let left: Vec<DekId> = used.into_iter().filter(|dek| old.contains(dek)).collect();
        let mut act = self.act(&nothing, id, &catalog);
        drop(catalog);
        if let Some(dek) = left.first() {
            self.rewrite_key(&mut act, *dek).await?;
            return Ok(left.len());
        }
        let shared = keys.dek(&latest_scope(tenant));
        let shared = shared.map_err(TelemetryError::keys("find the key of latest values"))?.id();
        if old.contains(&shared) {
            // A flush since may have sealed overlays under it.
            self.rewrite_key(&mut act, shared).await?;
        }
        self.rewrite_latest(&nothing).await?;
        let mut commits = self.inner.commits.lock().await;
        self.collect_garbage(&mut commits).await;
        Ok(0)
    }
}

fn made_before(keys: &KeyService, tenant: TenantId, at: Timestamp) -> BTreeSet<DekId> {
    let own = keys.list(Some(tenant)).into_iter();
    own.filter(|one| one.created_at < at).map(|one| one.id).collect()
}
