//! Carries destructions out, step by step: log keys out of use, whoever reads the log past them,
//! readings out of segments and latest values, shred journal, keys, certificate, leaf. Each step is
//! written down when it is done and may be done again, so that `kill -9` ends none half done.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use veritwin_access::{Action, jobs};
use veritwin_domain::{Declaration, DestructionId, DeviceId, Key, OpContext, TenantId, Timestamp};
use veritwin_keys::{
    DataClass, DekId, DekSummary, DestructionMethod, KeyError, KeyService, KeyState,
};
use veritwin_metastore::{DestructionState, StoredDestruction};
use veritwin_telemetry::{Selection, Units};

use crate::change::Change;
use crate::destruction_certificate::{DestroyedKey, destroyed_key};
use crate::destruction_scope::StoredScope;
use crate::destructions::{Body, is_held};
use crate::error::found;
use crate::open::Inner;
use crate::provision::PLATFORM_TENANT;
use crate::retention_rules::RetentionRuns;
use crate::shred_journal::{ShredEntry, ShredJournal};
use crate::{App, Config, Error, Result};

/// Between looks at what a destruction waits for.
const TICK: Duration = Duration::from_secs(1);
/// Tenants whose declarations are read for the next flush in one go.
const DECLARATIONS_AT_ONCE: usize = 64;

/// What wakes the job, what was destroyed, and whose declarations the next flush would like to
/// know.
#[derive(Debug)]
pub(crate) struct DestructionBoard {
    woken: Notify,
    unread: Mutex<HashSet<TenantId>>,
    pub(crate) shreds: ShredJournal,
    pub(crate) runs: RetentionRuns,
    /// Tenants that end all their readings by days themselves.
    pub(crate) by_days: Mutex<HashSet<TenantId>>,
}

impl DestructionBoard {
    pub(crate) fn open(config: &Config, keys: &KeyService) -> Result<Self> {
        Ok(Self {
            woken: Notify::default(),
            unread: Mutex::default(),
            shreds: ShredJournal::open(&config.data, &config.root_key_dir, keys)?,
            runs: RetentionRuns::default(),
            by_days: Mutex::default(),
        })
    }

    /// There is one more.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }
}

/// Personal streams have keys of their devices' own. Of a tenant whose declarations are not in
/// memory they stand under the tenant's until these were read.
pub(crate) struct PersonalStreams(pub(crate) Weak<Inner>);

impl std::fmt::Debug for PersonalStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonalStreams")
    }
}

impl Units for PersonalStreams {
    fn has_own_key(&self, tenant: TenantId, device: DeviceId, key: &Key) -> bool {
        let Some(inner) = self.0.upgrade() else { return false };
        let (Ok(book), Ok(devices)) = (inner.stream_books.get(tenant), inner.directory.get(tenant))
        else {
            inner.destructions.unread.lock().insert(tenant);
            return false;
        };
        let device = devices.get(device);
        // Whether it is open is kept, what counts for it is worked out.
        device.is_some_and(|device| {
            !book.is_open(device, Some(key))
                && book.verdict(device, Some(key)).declaration == Declaration::Personal
        })
    }
}

impl App {
    pub(crate) fn start_destructions(&self) {
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_destroying().await });
    }

    async fn keep_destroying(&self) {
        loop {
            let open = match self.advance_destructions().await {
                Ok(open) => open > 0,
                Err(error) => {
                    tracing::warn!(%error, "destructions wait");
                    true
                }
            };
            let next = async {
                if open {
                    tokio::time::sleep(TICK).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.destructions.woken.notified() => {}
                () = next => {}
            }
        }
    }

    /// Brings every destruction as far as it gets; answers how many are not over.
    async fn advance_destructions(&self) -> Result<usize> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let open = tx.destructions_open().await?;
        drop(tx);
        let mut left = 0;
        for (tenant, mut stored) in open {
            loop {
                match self.step(tenant, &stored).await {
                    Ok(Some(moved)) => stored = moved,
                    Ok(None) => break,
                    Err(error) => {
                        let id = stored.id;
                        tracing::warn!(%tenant, %id, %error, "a destruction waits");
                        break;
                    }
                }
            }
            left += usize::from(stored.state != DestructionState::Done);
        }
        Ok(left)
    }

    /// One step; none when it has to wait, or is over.
    pub(crate) async fn step(
        &self,
        tenant: TenantId,
        stored: &StoredDestruction,
    ) -> Result<Option<StoredDestruction>> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let mut body = Body::read(&stored.body)?;
        let id = stored.id;
        let next = match stored.state {
            DestructionState::Asked => self.begin_destruction(&context, id, &mut body).await?,
            DestructionState::Waiting => self.take_out(&context, id, &mut body).await?,
            DestructionState::Destroying => self.shred(&context, id, &mut body).await?,
            DestructionState::Certifying => self.seal_certificate(&context, id, &mut body).await?,
            DestructionState::Done => None,
        };
        let Some(state) = next else { return Ok(None) };
        let moved = StoredDestruction { state, body: body.to_store()?, ..stored.clone() };
        let tx = self.0.store.begin(&context).await?;
        tx.destruction_update(&moved).await?;
        tx.commit().await?;
        if state == DestructionState::Done {
            self.record_destruction(&context, &body).await?;
        }
        Ok(Some(StoredDestruction { version: moved.version + 1, ..moved }))
    }

    /// From here on the log seals what comes under new keys.
    async fn begin_destruction(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        if is_held(&body.scope, &self.own_holds(context).await?) {
            return Ok(None);
        }
        let (keys, tenant) = (&self.0.keys, context.tenant);
        if body.scope == StoredScope::Tenant {
            let method = DestructionMethod::TenantKeysDestroyed;
            let all = keys.list(Some(tenant));
            body.keys = all.iter().map(|one| destroyed_key(one, method)).collect();
            return Ok(Some(DestructionState::Destroying));
        }
        let is_log = |one: &DekSummary| one.scope.class == DataClass::Log;
        let log: Vec<DekId> =
            keys.list(Some(tenant)).iter().filter(|one| is_log(one)).map(|one| one.id).collect();
        keys.retire(&log, Some(*id.as_bytes()))?;
        body.log_mark = Some(self.0.log.mark(tenant).await?);
        Ok(Some(DestructionState::Waiting))
    }

    /// Who still has to read the log up to a position; segments are written when it is their turn.
    fn reads_before(&self, mark: u64) -> Option<&'static str> {
        let mut positions = self.consumer_positions().into_iter();
        let slow = positions.find(|(name, position)| *name != "segments" && *position < mark);
        slow.map(|(name, _)| name)
    }

    /// What a destruction waits for, as people see it.
    pub(crate) fn waits_for(&self, state: DestructionState, body: &Body) -> Option<&'static str> {
        match state {
            DestructionState::Asked => Some("start"),
            DestructionState::Waiting => body.log_mark.and_then(|mark| self.reads_before(mark)),
            DestructionState::Certifying => Some("ledger"),
            DestructionState::Destroying | DestructionState::Done => None,
        }
    }

    /// Once the log has been read past its old keys, the readings leave segments, figures, latest
    /// values and, where asked, attributes.
    async fn take_out(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        let mark = body.log_mark.unwrap_or(0);
        let is_read = self.reads_before(mark).is_none() && self.edges_position().await? >= mark;
        if !is_read || is_held(&body.scope, &self.own_holds(context).await?) {
            return Ok(None);
        }
        let selection = self.selection(context, &body.scope).await?;
        let done = self.0.engine.destroy(&selection, *id.as_bytes()).await?;
        body.done.readings += done.points;
        body.done.rewritten += done.sections;
        body.done.dropped += done.dropped;
        if self.0.engine.persisted_position() < mark {
            return Ok(None);
        }
        self.destroy_attributes(context, (&body.scope, body.attributes)).await?;
        let retired = self.0.keys.retired_by(*id.as_bytes());
        let key = |one: &DekSummary| destroyed_key(one, method(&selection, one));
        body.keys = retired.iter().map(key).collect();
        Ok(Some(DestructionState::Destroying))
    }

    async fn destroy_attributes(
        &self,
        context: &OpContext,
        (scope, is_asked): (&StoredScope, bool),
    ) -> Result<()> {
        let StoredScope::Device { device } = scope else { return Ok(()) };
        if is_asked {
            let tx = self.0.store.begin(context).await?;
            tx.attributes_delete(*device).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// First what is to be destroyed is written down where no backup reaches; then the keys go, and
    /// what was done is signed.
    async fn shred(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        let tenant = context.tenant;
        if !self.0.destructions.shreds.entries()?.iter().any(|entry| entry.id == id) {
            self.0.destructions.shreds.append(&shred_entry(tenant, id, (&*body, false))?)?;
        }
        self.destroy_shredded(tenant, &body.scope, &body.keys)?;
        let at = self.clock().now();
        body.destroyed_at = Some(at.as_micros());
        body.certificate = Some(self.certify(tenant, (id.to_string().as_str(), at), body).await?);
        if body.scope == StoredScope::Tenant {
            // What is asked of the tenant from now on is answered with it.
            self.0.keys.note_certificate(tenant, &id.to_string())?;
        }
        Ok(Some(DestructionState::Certifying))
    }

    #[cfg(feature = "test-controls")]
    fn is_shredding_broken(&self) -> bool {
        self.0.promises.is_sabotaged(51)
    }

    #[cfg(not(feature = "test-controls"))]
    const fn is_shredding_broken(&self) -> bool {
        false
    }

    /// Destroys those keys of a destruction that are still there.
    pub(crate) fn destroy_shredded(
        &self,
        tenant: TenantId,
        scope: &StoredScope,
        all: &[DestroyedKey],
    ) -> Result<()> {
        if self.is_shredding_broken() {
            return Ok(());
        }
        let keys = &self.0.keys;
        if *scope == StoredScope::Tenant {
            match keys.status(Some(tenant)).map(|status| status.state) {
                Ok(KeyState::Destroyed { .. }) | Err(KeyError::UnknownTenant(_)) => {}
                Ok(
                    KeyState::Active
                    | KeyState::Revoked { .. }
                    | KeyState::Silent { .. }
                    | KeyState::Gone { .. },
                ) => {
                    keys.destroy_tenant(tenant)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let by_key = DestructionMethod::KeyDestroyed;
        for method in [by_key, DestructionMethod::RewrittenThenKeyDestroyed] {
            let of_method = all.iter().filter(|key| key.method == method.as_str());
            let ids: Vec<DekId> = of_method.filter_map(|key| key.id.parse().ok()).collect();
            let live = keys.live(&ids);
            if !live.is_empty() {
                keys.destroy(&live, method)?;
            }
        }
        // What is kept of the log in memory was sealed under them.
        self.0.log.forget_recent();
        if *scope == StoredScope::Tenant {
            self.0.directory.changed(tenant);
            self.0.stream_books.changed(tenant);
        }
        Ok(())
    }

    /// The certificate's digest becomes a leaf of the ledger whose key signed it.
    async fn seal_certificate(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        let Some(certificate) = &body.certificate else {
            return Err(Error::Internal("a destruction has no certificate".to_owned()));
        };
        let tenant = context.tenant;
        let log = if body.scope == StoredScope::Tenant { PLATFORM_TENANT } else { tenant };
        let sealed = self.seal_evidence_of(log, certificate.digest(), context.at).await?;
        let Some(index) = sealed else { return Ok(None) };
        body.ledger_index = Some(index);
        self.0.destructions.shreds.append(&shred_entry(tenant, id, (&*body, true))?)?;
        Ok(Some(DestructionState::Done))
    }

    async fn record_destruction(&self, context: &OpContext, body: &Body) -> Result<()> {
        let change = Change::from(json!({
            "scope": body.scope.kind(),
            "readings": body.done.readings,
            "keys": body.keys.len(),
            "ledger_index": body.ledger_index,
        }));
        let platform = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&platform).await?;
        // Nothing can be sealed for a tenant whose keys are gone.
        let tenant = (body.scope != StoredScope::Tenant).then_some(context.tenant);
        let written = (Action::TelemetryMaintain, "done", change);
        self.record_platform_change(&tx, &platform, tenant, written).await?;
        Ok(tx.commit().await?)
    }

    /// Carries out again what the shred journal says and these stores do not know: they are of a
    /// backup of before. Nobody is listened to yet.
    pub(crate) async fn replay_shreds(&self) -> Result<usize> {
        let mut replayed = 0;
        for entry in self.0.destructions.shreds.entries()? {
            let context = self.job_in(jobs::RETENTION, entry.tenant);
            let tx = self.0.store.read(&context).await?;
            let is_known = found(tx.destruction(entry.id).await)?.is_some();
            let is_there = found(tx.tenant().await)?.is_some();
            drop(tx);
            // One that is known goes on by itself; of a tenant that is not there nothing is.
            if is_known || !is_there {
                continue;
            }
            match self.replay(&context, &entry).await {
                Ok(()) => replayed += 1,
                // Nothing of the tenant is shown before it is.
                Err(reason) if reason.is_withheld() => {
                    let tenant = entry.tenant;
                    tracing::error!(%tenant, %reason, "a destruction is not carried out again yet");
                    self.0.key_board.close_until_replayed(tenant);
                }
                Err(error) => return Err(error),
            }
        }
        if replayed > 0 {
            tracing::warn!(
                replayed,
                "a backup of before held what was destroyed since: it is gone"
            );
        }
        Ok(replayed)
    }

    async fn replay(&self, context: &OpContext, entry: &ShredEntry) -> Result<()> {
        let keys = &self.0.keys;
        let body = Body::read(entry.body.as_bytes())?;
        let act = *entry.id.as_bytes();
        if entry.scope != StoredScope::Tenant {
            // What these keys seal is written anew, without what was destroyed.
            let listed: Vec<DekId> = entry.keys.iter().filter_map(|key| key.parse().ok()).collect();
            keys.retire(&keys.live(&listed), Some(act))?;
            let selection = self.selection(context, &entry.scope).await?;
            self.0.engine.destroy(&selection, act).await?;
            self.destroy_attributes(context, (&entry.scope, entry.attributes)).await?;
            let retired = keys.retired_by(act);
            let again: Vec<DestroyedKey> =
                retired.iter().map(|one| destroyed_key(one, method(&selection, one))).collect();
            self.destroy_shredded(entry.tenant, &entry.scope, &again)?;
        } else {
            self.destroy_shredded(entry.tenant, &entry.scope, &[])?;
        }
        let state = if entry.done { DestructionState::Done } else { DestructionState::Destroying };
        let stored = StoredDestruction {
            id: entry.id,
            state,
            body: entry.body.clone().into_bytes(),
            version: 1,
            requested_at: Timestamp::from_micros(body.requested_at),
        };
        let tx = self.0.store.begin(context).await?;
        tx.destruction_create(&stored).await?;
        Ok(tx.commit().await?)
    }

    /// Reads declarations that the last flush would have liked to know.
    pub(crate) async fn read_declarations(&self) {
        let wanted: Vec<TenantId> = {
            let mut unread = self.0.destructions.unread.lock();
            let some: Vec<TenantId> = unread.iter().copied().take(DECLARATIONS_AT_ONCE).collect();
            unread.retain(|tenant| !some.contains(tenant));
            some
        };
        for tenant in wanted {
            let context = self.job_in(jobs::RETENTION, tenant);
            let book = self.stream_book(&context).await.map(drop);
            if let Err(error) = book.and(self.tenant_devices(&context).await.map(drop)) {
                tracing::debug!(%tenant, %error, "declarations were not read for the next flush");
            }
        }
    }
}

/// How a key's content goes: that of the log was read to its end, and stays where it was put.
fn method(selection: &Selection, key: &DekSummary) -> DestructionMethod {
    if key.scope.class == DataClass::Log {
        DestructionMethod::RewrittenThenKeyDestroyed
    } else {
        selection.method(&key.scope)
    }
}

fn shred_entry(
    tenant: TenantId,
    id: DestructionId,
    (body, done): (&Body, bool),
) -> Result<ShredEntry> {
    let text = String::from_utf8(body.to_store()?);
    Ok(ShredEntry {
        id,
        tenant,
        scope: body.scope.clone(),
        attributes: body.attributes,
        at: body.destroyed_at.unwrap_or(body.requested_at),
        keys: body.keys.iter().map(|key| key.id.clone()).collect(),
        body: text.map_err(|error| Error::Internal(error.to_string()))?,
        done,
    })
}
