//! Retained messages of MQTT: kept in the records under the tenant's key, and in memory while the
//! tenant makes use of them. They are changed by one submission of a tenant at a time.

mod draft;
mod form;
mod shelf;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, MessageId, RelayMessage, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekScope};
use veritwin_metastore::{RetainedMessage, TenantTx};

use crate::error::found;
use crate::{App, Result};
pub(crate) use draft::RetainedDraft;
use draft::is_expired;
use form::{decode, encode};
use shelf::{Change, Kept, Turn};
pub(crate) use shelf::{RetainedBook, Shelf};

/// Most retained messages of a tenant.
pub const RETAINED_MESSAGES_MAX: usize = 10_000;
/// Most bytes of a tenant's retained messages: topics, properties and payloads.
pub const RETAINED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest retained message, topic and properties included, in bytes.
pub const RETAINED_MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Which part of the retained messages is asked for, in the order of their topics.
#[derive(Debug, Clone)]
pub struct RetainedPage {
    /// The topic after which it begins.
    pub after: Option<Arc<str>>,
    /// Most messages.
    pub messages_max: usize,
    /// Most bytes of topics, properties and payloads; one message may be larger.
    pub bytes_max: usize,
}

/// What is written of a draft, and not committed yet.
pub(crate) struct RetainedWritten {
    shelf: Arc<Shelf>,
    changes: Vec<Change>,
    is_stored: bool,
    _turn: Turn,
}

impl Drop for RetainedWritten {
    fn drop(&mut self) {
        if !self.is_stored {
            self.shelf.empty();
        }
    }
}

impl App {
    /// Those of a tenant's retained messages whose topics match that are on a page.
    #[boxed]
    pub async fn retained(
        &self,
        tenant: TenantId,
        matches: &(dyn Fn(&str) -> bool + Send + Sync),
        page: RetainedPage,
    ) -> Result<Vec<Arc<RelayMessage>>> {
        self.refuse_unserved(tenant)?;
        self.check_retained_key(tenant)?;
        let kept = match self.0.retained.shelf(tenant).kept() {
            Some(kept) => kept,
            None => self.retained_draft(tenant).await?.kept,
        };
        let now = self.clock().now();
        let is_wanted = |one: &RelayMessage| matches(&one.topic) && !is_expired(one, now);
        Ok(kept.page(&page, is_wanted))
    }

    /// What devices of a tenant have published, and what their own topics have.
    pub(crate) async fn retained_of(
        &self,
        tenant: TenantId,
        devices: &[DeviceId],
    ) -> Result<Vec<Arc<RelayMessage>>> {
        let own: Vec<String> = devices.iter().map(|id| format!("devices/{id}/")).collect();
        let draft = self.retained_draft(tenant).await?;
        let all = draft.kept.messages.values().map(|(_, one)| one);
        let is_theirs = |one: &&Arc<RelayMessage>| {
            devices.contains(&one.device) || own.iter().any(|topic| one.topic.starts_with(topic))
        };
        Ok(all.filter(is_theirs).cloned().collect())
    }

    /// Fails when the tenant's keys are withdrawn or gone, also for what is in memory.
    fn check_retained_key(&self, tenant: TenantId) -> Result<()> {
        self.0.keys.dek(&DekScope::tenant(tenant, DataClass::Record))?;
        Ok(())
    }

    /// Takes the tenant's turn to change its retained messages. `Error::Crowded` where it does not
    /// come in time.
    pub(crate) async fn retained_draft(&self, tenant: TenantId) -> Result<RetainedDraft> {
        let shelf = self.0.retained.shelf(tenant);
        let turn = shelf.turn_in_time().await?;
        self.check_retained_key(tenant)?;
        let kept = match shelf.kept() {
            Some(kept) => kept,
            None => self.fill_shelf(tenant, &shelf).await?,
        };
        Ok(RetainedDraft::new(shelf, turn, kept, self.clock().now()))
    }

    /// Of these devices, those that are gone retain nothing: nobody would ever take it back.
    pub(crate) async fn leave_out_gone(
        &self,
        tenant: TenantId,
        draft: &mut RetainedDraft,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<()> {
        // A device is deleted by who has the turn, as the draft has: nothing changes meanwhile.
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        for device in devices {
            if found(tx.device(*device).await)?.is_none() {
                draft.gone.insert(*device);
            }
        }
        Ok(())
    }

    /// Stores what is durable in the log already, in one transaction.
    pub(crate) async fn store_retained(
        &self,
        tenant: TenantId,
        draft: RetainedDraft,
    ) -> Result<()> {
        if draft.is_unchanged() {
            return Ok(());
        }
        let tx = self.0.store.begin(&self.job_in(jobs::INGEST, tenant)).await?;
        let written = self.write_retained(&tx, draft).await?;
        tx.commit().await?;
        self.retained_stored(written);
        Ok(())
    }

    /// Writes what a draft changes. In memory it is once it is stored ([`App::retained_stored`]);
    /// where that is not told they are read again.
    pub(crate) async fn write_retained(
        &self,
        tx: &TenantTx,
        draft: RetainedDraft,
    ) -> Result<RetainedWritten> {
        let RetainedDraft { shelf, turn, kept, changes, .. } = draft;
        let room = Vec::with_capacity(changes.len());
        // From here on what is in memory counts as stale, whatever fails.
        let mut written = RetainedWritten { shelf, changes: room, is_stored: false, _turn: turn };
        for (topic, change) in changes {
            let known = kept.messages.get(&topic).map(|(id, _)| *id);
            match (change, known) {
                (Some(message), known) => {
                    let generate = || MessageId::generate(self.clock().now(), self.rng());
                    let id = known.unwrap_or_else(generate);
                    let (body, expires_at) = (encode(&message)?, message.expires_at);
                    tx.retained_put(&RetainedMessage { id, body, expires_at }).await?;
                    written.changes.push((topic, Some((id, message))));
                }
                (None, Some(id)) => {
                    tx.retained_delete(id).await?;
                    written.changes.push((topic, None));
                }
                (None, None) => {}
            }
        }
        Ok(written)
    }

    /// What was written is committed.
    pub(crate) fn retained_stored(&self, mut written: RetainedWritten) {
        written.shelf.apply(std::mem::take(&mut written.changes));
        written.is_stored = true;
        drop(written);
        self.0.retained.make_room();
    }

    /// Deletes the retained messages of every tenant that have expired at a trusted moment. One
    /// whose keys are withdrawn keeps its own.
    pub(crate) async fn expire_retained(&self, now: Timestamp) {
        let tenants: Vec<TenantId> = self.0.tree.read().ids().collect();
        for tenant in tenants {
            if let Err(error) = self.expire_retained_of(tenant, now).await {
                tracing::warn!(%tenant, %error, "retained messages past their time stay");
            }
        }
    }

    async fn expire_retained_of(&self, tenant: TenantId, now: Timestamp) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let expired = tx.retained_expired(now).await?;
        drop(tx);
        if expired == 0 {
            return Ok(());
        }
        let mut draft = self.retained_draft(tenant).await?;
        draft.now = now;
        draft.forget_expired();
        let tx = self.0.store.begin(&self.job_in(jobs::INGEST, tenant)).await?;
        let written = self.write_retained(&tx, draft).await?;
        // Those that are damaged are not in memory.
        tx.retained_delete_expired(now).await?;
        tx.commit().await?;
        self.retained_stored(written);
        Ok(())
    }

    /// Reads them. One that is damaged, or does not open and comes empty, is left out and told: it
    /// is no reason to lose the others.
    async fn fill_shelf(&self, tenant: TenantId, shelf: &Shelf) -> Result<Arc<Kept>> {
        let _place = self.0.retained.load().await;
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let mut kept = Kept::default();
        for stored in tx.retained_messages().await? {
            match decode(tenant, &stored) {
                Some(message) => kept.insert(stored.id, Arc::new(message)),
                None => tracing::error!(%tenant, id = %stored.id, "a retained message is damaged"),
            }
        }
        let kept = Arc::new(kept);
        shelf.fill(Arc::clone(&kept));
        self.0.retained.make_room();
        Ok(kept)
    }
}
