//! Evidence and statements that somebody waits for: a digest as a leaf of its own, and what is said
//! of leaves before, such as that their payloads were destroyed.

use tokio::sync::oneshot;
use veritwin_domain::Timestamp;
use veritwin_ledger::seal_statement;

use super::{Act, Error, LedgerJob, RecordBytes, Result, TenantId};

/// What waits for its leaf.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "few wait at once")]
pub(crate) enum Pending {
    /// A digest of evidence.
    Digest([u8; 32]),
    /// A statement about leaves before.
    Statement(Act),
}

/// Evidence that waits for its leaf.
pub(crate) struct PendingEvidence {
    pub(crate) tenant: TenantId,
    pub(crate) what: Pending,
    pub(crate) at: Timestamp,
    pub(crate) answer: oneshot::Sender<Option<u64>>,
}

impl LedgerJob {
    /// Seals evidence into a tenant's or the platform's own log; while that is held it waits, but
    /// for what ends or destroys something.
    pub(super) async fn seal_evidence(&mut self, pending: PendingEvidence) -> Result<()> {
        let tenant = pending.tenant;
        if self.lanes.held().contains(tenant) {
            return self.seal_ending(pending).await;
        }
        match self.try_evidence(&pending).await {
            Ok(index) => {
                // Whoever asked may be gone; the leaf stands.
                let _ = pending.answer.send(Some(index));
                Ok(())
            }
            // The archive may not want a prefix to end yet: nothing is wrong with the log, whose
            // batch was sealed before, and it is opened anew when it is needed.
            Err(Error::Conflict(reason)) if self.is_refused(&pending) => {
                tracing::warn!(%tenant, %reason, "the archive refuses a statement");
                self.lanes.tenants.remove(&tenant);
                Ok(())
            }
            Err(error) => {
                self.failed(tenant, self.lanes.here, error).await?;
                self.seal_ending(pending).await
            }
        }
    }

    /// What ends or destroys something goes in front of what a held tenant has waiting: a log that
    /// is full takes nothing else. It speaks of leaves that stand already, and nothing of what
    /// waits was signed into a leaf that stands; all of that is read again and goes behind it.
    async fn seal_ending(&mut self, pending: PendingEvidence) -> Result<()> {
        let tenant = pending.tenant;
        let ends =
            matches!(pending.what, Pending::Statement(Act::Retention { .. } | Act::Shred { .. }));
        if !ends || !self.lanes.held().contains(tenant) {
            return Ok(());
        }
        // What it has had on its way back would name another leaf before it than the last.
        self.lanes.tenants.remove(&tenant);
        self.app.0.ledger.unsealed.lock().open.remove(&tenant);
        let sealed = self.try_evidence(&pending).await;
        self.lanes.tenants.remove(&tenant);
        match sealed {
            Ok(index) => {
                let _ = pending.answer.send(Some(index));
                Ok(())
            }
            Err(error) => {
                if self.app.is_ledger_away().await {
                    return Err(error);
                }
                tracing::debug!(%tenant, %error, "a statement about a held log waits");
                Ok(())
            }
        }
    }

    /// Whether it was a statement that failed, and not the batch before it.
    fn is_refused(&self, pending: &PendingEvidence) -> bool {
        let log = self.lanes.tenants.get(&pending.tenant);
        matches!(pending.what, Pending::Statement(_))
            && log.is_some_and(|log| log.waiting_from.is_none())
    }

    async fn try_evidence(&mut self, pending: &PendingEvidence) -> Result<u64> {
        let tenant = pending.tenant;
        if !self.lanes.tenants.contains_key(&tenant) {
            let log = self.open(tenant, false).await?;
            self.lanes.tenants.insert(tenant, log);
        }
        if self.lanes.tenants.get(&tenant).is_some_and(|log| !log.builder.is_empty()) {
            self.seal(tenant, Act::Batch).await?;
        }
        let log = self.lanes.tenants.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        let digest = match pending.what {
            Pending::Digest(digest) => digest,
            Pending::Statement(act) => {
                let sealed = log
                    .with_signer(&self.app, tenant, |previous, sealed_at, signer| {
                        seal_statement(act, previous, sealed_at, signer)
                    })?
                    .map_err(|error| Error::Internal(format!("ledger statement: {error}")))?;
                let reached = log.reached;
                return self.append(tenant, sealed, reached).await;
            }
        };
        let (sequence, at) = (log.builder.next_sequence(), pending.at);
        let record =
            RecordBytes { sequence, events_from: at, events_to: at, bytes: digest.to_vec() };
        log.builder
            .push(record)
            .map_err(|error| Error::Internal(format!("ledger evidence: {error}")))?;
        self.seal(tenant, Act::Evidence).await
    }
}
