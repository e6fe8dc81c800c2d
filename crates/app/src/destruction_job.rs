//! Carries destructions out, step by step: log keys out of use, whoever reads the log past them,
//! readings out of segments and latest values, shred journal, keys, certificate, leaf. Each step is
//! written down when it is done and may be done again, so that `kill -9` ends none half done.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use veritwin_access::{Action, jobs};
use veritwin_domain::{Declaration, DestructionId, DeviceId, Key, OpContext, TenantId, Timestamp};
use veritwin_keys::{
    DataClass, DekId, DekSummary, DestructionMethod, KeyError, KeyService, KeyState,
};
use veritwin_metastore::{DestructionState, StoredDestruction};
use veritwin_telemetry::{OwnKeys, Units};

use crate::change::Change;
use crate::destruction_certificate::{DestroyedKey, destroyed_key};
use crate::destruction_scope::StoredScope;
use crate::destructions::{Body, is_held};
use crate::ledger_end::reason_of;
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
    /// Acts whose readings were taken out since this process began.
    taken: Mutex<HashSet<DestructionId>>,
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
            taken: Mutex::default(),
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
    fn own_keys(&self, tenant: TenantId) -> Option<OwnKeys> {
        let inner = self.0.upgrade()?;
        // A flush is of all tenants: it must not drive out what the hot paths use.
        let (Some(book), Some(devices)) =
            (inner.stream_books.peek(tenant), inner.directory.peek(tenant))
        else {
            inner.destructions.unread.lock().insert(tenant);
            return None;
        };
        Some(Box::new(move |device: DeviceId, key: &Key| {
            // Whether it is open is kept, what counts for it is worked out.
            devices.get(device).is_some_and(|device| {
                !book.is_open(device, Some(key))
                    && book.verdict(device, Some(key)).declaration == Declaration::Personal
            })
        }))
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
        let (mut left, mut after) = (0, None);
        loop {
            let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
            let open = tx.destructions_open(after).await?;
            drop(tx);
            let Some((_, last)) = open.last() else { return Ok(left) };
            after = Some((last.requested_at, last.id));
            for (tenant, stored) in open {
                left += usize::from(!self.advance_destruction(tenant, stored).await);
            }
        }
    }

    /// Brings a destruction as far as it gets; whether it is over.
    async fn advance_destruction(&self, tenant: TenantId, mut stored: StoredDestruction) -> bool {
        loop {
            match self.step(tenant, &stored).await {
                Ok(Some(moved)) => stored = moved,
                Ok(None) => return stored.state == DestructionState::Done,
                Err(error) => {
                    let id = stored.id;
                    tracing::warn!(%tenant, %id, %error, "a destruction waits");
                    return false;
                }
            }
        }
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
            DestructionState::Waiting => self.await_readers(&context, &body).await?,
            DestructionState::Destroying => self.shred(&context, id, &mut body).await?,
            DestructionState::Certifying => self.seal_certificate(&context, id, &mut body).await?,
            DestructionState::Done => None,
        };
        let Some(state) = next else { return Ok(None) };
        if state == DestructionState::Done {
            // Rather twice than never, should this end in between.
            self.record_destruction(&context, &body).await?;
        }
        let moved = StoredDestruction { state, body: body.to_store()?, ..stored.clone() };
        let tx = self.0.store.begin(&context).await?;
        tx.destruction_update(&moved).await?;
        tx.commit().await?;
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
        if let StoredScope::Ledger { before } = body.scope {
            return self.retire_ledger(tenant, (id, before), body);
        }
        if body.scope == StoredScope::Tenant {
            let method = DestructionMethod::TenantKeysDestroyed;
            let all = keys.list(Some(tenant));
            body.keys = all.iter().map(|one| destroyed_key(one, method)).collect();
            return Ok(Some(DestructionState::Destroying));
        }
        // Without its key service no new keys can be made for what its devices send.
        if keys.silent_since(tenant).is_some() {
            return Ok(None);
        }
        let own = keys.list(Some(tenant)).into_iter();
        let log: Vec<DekSummary> = own.filter(|one| one.scope.class == DataClass::Log).collect();
        let ids: Vec<DekId> = log.iter().map(|one| one.id).collect();
        keys.retire(&ids, Some(*id.as_bytes()))?;
        // Also those that an act of before has retired, which may wait for long: what they sealed
        // stands before the mark, too.
        let method = DestructionMethod::RewrittenThenKeyDestroyed;
        body.keys = log.iter().map(|one| destroyed_key(one, method)).collect();
        body.log_mark = Some(self.0.log.mark(tenant).await?);
        Ok(Some(DestructionState::Waiting))
    }

    /// Who still has to read a tenant's part of the log up to a position; segments are written
    /// when it is their turn.
    fn reads_before(&self, tenant: TenantId, mark: u64) -> Option<&'static str> {
        let mut positions = self.consumer_positions_of(tenant).into_iter();
        positions.find(|(_, position)| *position < mark).map(|(name, _)| name)
    }

    /// What a destruction waits for, as people see it.
    pub(crate) fn waits_for(
        &self,
        tenant: TenantId,
        (state, body): (DestructionState, &Body),
    ) -> Option<&'static str> {
        match state {
            DestructionState::Asked => Some("start"),
            DestructionState::Waiting => {
                body.log_mark.and_then(|mark| self.reads_before(tenant, mark))
            }
            DestructionState::Certifying => Some("ledger"),
            DestructionState::Destroying | DestructionState::Done => None,
        }
    }

    /// Whether everything of a tenant in the log before a position was read, and is in segments.
    async fn is_read(&self, tenant: TenantId, mark: u64) -> Result<bool> {
        let is_waiting = self.reads_before(tenant, mark).is_some()
            || self.edges_position(Some(tenant)).await? < mark;
        if is_waiting {
            return Ok(false);
        }
        let engine = &self.0.engine;
        if engine.persisted_position_of(tenant) < mark && !engine.is_behind(tenant) {
            engine.flush().await?;
        }
        Ok(engine.persisted_position_of(tenant) >= mark)
    }

    /// Once the log has been read past its old keys, and no hold is in the way, nothing stops it.
    async fn await_readers(
        &self,
        context: &OpContext,
        body: &Body,
    ) -> Result<Option<DestructionState>> {
        let is_read = self.is_read(context.tenant, body.log_mark.unwrap_or(0)).await?;
        if !is_read || is_held(&body.scope, &self.own_holds(context).await?) {
            return Ok(None);
        }
        Ok(Some(DestructionState::Destroying))
    }

    /// The readings leave segments, figures, latest values and, where asked, attributes. False
    /// while some of them are in the log alone.
    #[boxed]
    async fn readings_out(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<bool> {
        // Asked again: after a restart the log has given back what its keys still open.
        if !self.is_read(context.tenant, body.log_mark.unwrap_or(0)).await? {
            return Ok(false);
        }
        let act = *id.as_bytes();
        let (done, retired) = self.take_readings(context, &body.scope, act).await?;
        body.done.readings += done.points;
        body.done.rewritten += done.sections;
        body.done.dropped += done.dropped;
        self.destroy_attributes(context, (&body.scope, body.attributes)).await?;
        let known: HashSet<String> = body.keys.iter().map(|key| key.id.clone()).collect();
        body.keys.extend(retired.into_iter().filter(|key| !known.contains(&key.id)));
        Ok(true)
    }

    /// The readings are taken out. Then what is to be destroyed is written down where no backup
    /// reaches; then the keys go, and what was done is signed.
    async fn shred(
        &self,
        context: &OpContext,
        id: DestructionId,
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        let tenant = context.tenant;
        let board = &self.0.destructions;
        let known = board.shreds.entry(id)?;
        if let Some(known) = &known {
            *body = Body::read(known.body.as_bytes())?;
        }
        let is_taken = known.is_some()
            && (!body.scope.takes_out()
                || board.taken.lock().contains(&id)
                || self.0.keys.live(&ids_of(&body.keys)).is_empty());
        if !is_taken {
            if body.scope.takes_out() && !self.readings_out(context, id, body).await? {
                return Ok(None);
            }
            let entry = shred_entry(tenant, id, (&*body, false))?;
            // What ends with a period ends again by itself where older keys are put back; a line
            // of each tenant and day would fill the journal.
            if !body.is_period && known.as_ref() != Some(&entry) {
                board.shreds.append(&entry)?;
            }
            board.taken.lock().insert(id);
        }
        self.destroy_shredded(tenant, &body.scope, &body.keys)?;
        let at = self.clock().now();
        body.destroyed_at = Some(at.as_micros());
        body.certificate = Some(self.certify(tenant, (id.to_string().as_str(), at), body).await?);
        if body.scope == StoredScope::Tenant {
            // What is asked of the tenant from now on is answered with it.
            self.0.keys.note_certificate(tenant, &id.to_string())?;
            self.forget_key_book(tenant).await?;
        }
        board.taken.lock().remove(&id);
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
            let live = keys.live(&ids_of(of_method));
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
        let (tenant, digest) = (context.tenant, certificate.digest());
        let log = if body.scope == StoredScope::Tenant { PLATFORM_TENANT } else { tenant };
        if let StoredScope::Ledger { before } = body.scope
            && body.stated_at.is_none()
        {
            let before = Timestamp::from_micros(before);
            if !self.state_end(context, (before, reason_of(body))).await? {
                return Ok(None);
            }
            // Written down before the certificate's leaf, for which a log that is full has no room
            // yet: each further try would be told to the log again.
            body.stated_at = Some(self.clock().now().as_micros());
            return Ok(Some(DestructionState::Certifying));
        }
        let sealed = self.seal_evidence_of(log, digest, context.at).await?;
        let Some(index) = sealed else { return Ok(None) };
        body.ledger_index = Some(index);
        if !body.is_period {
            self.0.destructions.shreds.append(&shred_entry(tenant, id, (&*body, true))?)?;
        }
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

/// The ids of keys as certificates name them.
pub(crate) fn ids_of<'k>(keys: impl IntoIterator<Item = &'k DestroyedKey>) -> Vec<DekId> {
    keys.into_iter().filter_map(|key| key.id.parse().ok()).collect()
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
        erased: None,
    })
}
