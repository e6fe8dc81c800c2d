//! Destructions that are carried out again: a backup of before was restored, and the shred journal
//! says what was destroyed since. Nobody is listened to until that is done.

use std::collections::HashSet;

use veritwin_access::jobs;
use veritwin_domain::{OpContext, TenantId, Timestamp};
use veritwin_keys::{DekId, KeyError, KeyState};
use veritwin_metastore::{DestructionState, StoredDestruction};

use crate::destruction_scope::StoredScope;
use crate::destructions::Body;
use crate::error::found;
use crate::shred_journal::ShredEntry;
use crate::{App, Error, Result};

impl App {
    /// Carries out again what the shred journal says and these stores do not know, or of which keys
    /// are there again; of one tenant, or of all. A backup that was being made meanwhile may know
    /// that a destruction was asked for, or that it is over, and hold what it destroyed.
    pub(crate) async fn replay_shreds(&self, of: Option<TenantId>) -> Result<usize> {
        let mut replayed = 0;
        for entry in self.0.destructions.shreds.entries(of)? {
            let context = self.job_in(jobs::RETENTION, entry.tenant);
            let tx = self.0.store.read(&context).await?;
            let known = found(tx.destruction(entry.id).await)?;
            let is_there = found(tx.tenant().await)?.is_some();
            drop(tx);
            if let Some(erased) = &entry.erased {
                if is_there {
                    let again = self.replay_erasure(&context, (&entry, erased.as_ref())).await;
                    replayed += usize::from(self.noted_again(entry.tenant, again)?);
                }
                continue;
            }
            let is_over = known.as_ref().is_some_and(|one| {
                matches!(one.state, DestructionState::Certifying | DestructionState::Done)
            });
            // Of a tenant that is not there nothing is.
            if !is_there || (is_over && !self.has_keys_again(&entry)) {
                continue;
            }
            let again = self.replay(&context, &entry, known).await.map(|()| true);
            replayed += usize::from(self.noted_again(entry.tenant, again)?);
        }
        if replayed > 0 {
            tracing::warn!(
                replayed,
                "what was destroyed, or was about to be, was here: it is gone"
            );
        }
        Ok(replayed)
    }

    /// Whether something was carried out again. Of a tenant whose key is away nothing is shown
    /// before it is.
    fn noted_again(&self, tenant: TenantId, again: Result<bool>) -> Result<bool> {
        match again {
            Err(reason) if reason.is_withheld() => {
                tracing::error!(%tenant, %reason, "a destruction is not carried out again yet");
                self.0.key_board.close_until_replayed(tenant);
                Ok(false)
            }
            other => other,
        }
    }

    /// Whether keys that an act has destroyed can be used: they are of an older copy.
    fn has_keys_again(&self, entry: &ShredEntry) -> bool {
        let keys = &self.0.keys;
        if entry.scope == StoredScope::Tenant {
            let state = keys.status(Some(entry.tenant)).map(|status| status.state);
            let is_gone =
                matches!(state, Ok(KeyState::Destroyed { .. }) | Err(KeyError::UnknownTenant(_)));
            return !is_gone;
        }
        !keys.live(&listed(entry)).is_empty()
    }

    async fn replay(
        &self,
        context: &OpContext,
        entry: &ShredEntry,
        known: Option<StoredDestruction>,
    ) -> Result<()> {
        let keys = &self.0.keys;
        let body = Body::read(entry.body.as_bytes())?;
        let act = *entry.id.as_bytes();
        if entry.scope.takes_out() {
            // What they sealed in the log first becomes segments.
            self.0.engine.catch_up(&self.0.log).await?;
            if self.0.engine.is_behind(entry.tenant) {
                return Err(Error::KeySilent);
            }
            // What these keys seal is written anew, without what was destroyed.
            keys.retire(&keys.live(&listed(entry)), Some(act))?;
            let (_, retired) = self.take_readings(context, &entry.scope, act).await?;
            self.destroy_attributes(context, (&entry.scope, entry.attributes)).await?;
            let mut all = body.keys.clone();
            let named: HashSet<String> = all.iter().map(|key| key.id.clone()).collect();
            all.extend(retired.into_iter().filter(|key| !named.contains(&key.id)));
            self.destroy_shredded(entry.tenant, &entry.scope, &all)?;
        } else if matches!(entry.scope, StoredScope::Ledger { .. }) {
            self.destroy_shredded(entry.tenant, &entry.scope, &body.keys)?;
        } else {
            self.destroy_shredded(entry.tenant, &entry.scope, &[])?;
            self.forget_key_book(entry.tenant).await?;
        }
        let state = if entry.done { DestructionState::Done } else { DestructionState::Destroying };
        let stored = StoredDestruction {
            id: entry.id,
            state,
            body: entry.body.clone().into_bytes(),
            version: known.as_ref().map_or(1, |known| known.version),
            requested_at: Timestamp::from_micros(body.requested_at),
        };
        let tx = self.0.store.begin(context).await?;
        match known {
            Some(_) => tx.destruction_update(&stored).await?,
            None => tx.destruction_create(&stored).await?,
        }
        tx.commit().await?;
        if body.is_end { self.end_again(context, entry.id).await } else { Ok(()) }
    }
}

/// The keys that a line names.
fn listed(entry: &ShredEntry) -> Vec<DekId> {
    entry.keys.iter().filter_map(|key| key.parse().ok()).collect()
}
