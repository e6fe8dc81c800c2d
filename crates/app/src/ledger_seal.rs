//! Sealing a record of one's own: written in the transaction of what it tells of, sealed in the
//! tenant's ledger a moment later. Nothing in it may be about a person. Digests and statements are
//! sealed at once.

use std::sync::atomic::Ordering;

use async_recursion::async_recursion as boxed;
use serde_json::Value;
use tokio::sync::oneshot;
use veritwin_domain::{LedgerItemId, OpContext, TenantId, Timestamp};
use veritwin_ledger::Act;
use veritwin_metastore::{LedgerItem, LedgerKind, TenantTx};

use crate::ledger_job::{Pending, PendingEvidence};
use crate::provision::PLATFORM_TENANT;
use crate::rights::bounded;
use crate::{App, Error, Result};

/// Largest record, in bytes of compact JSON.
const RECORD_BYTES_MAX: usize = 16 * 1024;

impl App {
    /// Seals a record about something (a case, a consent, a mail: 16 bytes of its id) with what
    /// `tx` does: both are durable, or neither. `body` is sealed as it is and outlives what it is
    /// about, so that it holds ids, words of closed lists, times and salted digests, and nothing
    /// that tells who somebody is. The answer is the id under which it is found.
    #[boxed]
    pub async fn seal_record(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (kind, about): (LedgerKind, Option<[u8; 16]>),
        body: &Value,
    ) -> Result<LedgerItemId> {
        if !body.is_object() {
            return Err(Error::Internal("a sealed record is an object".to_owned()));
        }
        let body = body.to_string().into_bytes();
        bounded("ledger_record_bytes_max", RECORD_BYTES_MAX, body.len())?;
        let id = LedgerItemId::generate(context.at, self.rng());
        tx.ledger_item_add(&LedgerItem { id, kind, about, body, created_at: context.at }).await?;
        Ok(id)
    }

    /// Seals the digest of a promise's evidence into the platform's log; answers the leaf's
    /// index, or none while the archive is away.
    pub(crate) async fn seal_evidence(
        &self,
        digest: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<u64>> {
        self.seal_evidence_of(PLATFORM_TENANT, digest, at).await
    }

    /// The same into a tenant's own log.
    pub(crate) async fn seal_evidence_of(
        &self,
        tenant: TenantId,
        digest: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<u64>> {
        self.seal_pending(tenant, Pending::Digest(digest), at).await
    }

    /// Seals a statement into a tenant's own log; none while the archive is away, or where it
    /// refuses the statement.
    pub(crate) async fn seal_act(
        &self,
        tenant: TenantId,
        act: Act,
        at: Timestamp,
    ) -> Result<Option<u64>> {
        self.seal_pending(tenant, Pending::Statement(act), at).await
    }

    async fn seal_pending(
        &self,
        tenant: TenantId,
        what: Pending,
        at: Timestamp,
    ) -> Result<Option<u64>> {
        if self.archive().is_err() {
            return Ok(None);
        }
        let (answer, waiting) = oneshot::channel();
        let pending = PendingEvidence { tenant, what, at, answer };
        if self.0.ledger.evidence.try_send(pending).is_err() {
            return Ok(None);
        }
        Ok(waiting.await.unwrap_or(None))
    }

    /// From here on records that wait are sealed.
    pub(crate) fn start_sealing_records(&self) {
        self.0.ledger.seals_records.store(true, Ordering::Relaxed);
    }

    pub(crate) fn seals_records(&self) -> bool {
        self.0.ledger.seals_records.load(Ordering::Relaxed)
    }
}
