//! Sealing batches and sending leaves. One leaf of a log is on its way at a time; those of several
//! tenants are at once, so that the archive makes them durable together.

use tokio::task::JoinSet;
use veritwin_domain::TenantId;
use veritwin_ledger::{
    Act, Append, Appended, BatchBuilder, BatchLimits, LeafReference, SealedBatch,
};
use veritwin_outbound::archive::ArchiveError;

use super::{BATCH_AGE, LedgerJob};
use crate::ledger_open::refused;
use crate::{App, Error, Result};

/// Leaves of different logs on their way at once: as many as an archive takes in at once of one of
/// several platforms.
pub(super) const LEAVES_AT_ONCE: usize = 16;
/// No further leaf goes on its way while those that are hold so many bytes.
const BYTES_AT_ONCE: usize = 8 << 20;
/// Logs whose period is lengthened in one go.
const PERIODS_AT_ONCE: usize = 16;

/// A leaf on its way.
pub(super) struct Outgoing {
    pub(super) tenant: TenantId,
    append: Append,
    reference: LeafReference,
    /// Everything of the tenant before this position is sealed with it.
    reached: u64,
    /// It counts into what the tenant may send: what the platform itself seals does not.
    is_counted: bool,
}

impl Outgoing {
    pub(super) fn bytes(&self) -> usize {
        self.append.entry.len() + self.append.payload.as_ref().map_or(0, Vec::len)
    }
}

/// Leaves on their way, each in a task of its own: whoever sent them may ask the archive something
/// else before they have arrived, and what they hold of the connection is let go of meanwhile.
pub(super) struct OnWay<N>(JoinSet<(Outgoing, Result<Appended>, N)>);

impl<N: Send + 'static> OnWay<N> {
    pub(super) fn new() -> Self {
        Self(JoinSet::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends a leaf, with what is known of it when it has arrived.
    pub(super) fn send(&mut self, app: &App, leaf: Outgoing, note: N) {
        let app = app.clone();
        self.0.spawn(async move {
            let (leaf, answer) = sent(app, leaf).await;
            (leaf, answer, note)
        });
    }

    /// The next that has arrived, or not; none when no more are on their way.
    pub(super) async fn next(&mut self) -> Option<Result<(Outgoing, Result<Appended>, N)>> {
        let joined = self.0.join_next().await?;
        Some(joined.map_err(|error| Error::Internal(format!("a leaf on its way: {error}"))))
    }
}

impl LedgerJob {
    /// Seals the batches that are old enough, or all of them.
    pub(super) async fn seal_due(&mut self, everything: bool) -> Result<()> {
        let now = self.app.clock().monotonic();
        let due: Vec<TenantId> = self
            .lanes
            .tenants
            .iter()
            .filter(|(_, log)| {
                let old = now.saturating_sub(log.opened_at) >= BATCH_AGE;
                !log.builder.is_empty() && (everything || old)
            })
            .map(|(tenant, _)| *tenant)
            .collect();
        self.seal_all(due).await?;
        self.publish_pending();
        Ok(())
    }

    /// Seals what these tenants' builders hold. A tenant whose leaf is refused is held by itself;
    /// where the failure is everybody's, what is on its way is still waited for.
    pub(super) async fn seal_all(&mut self, due: Vec<TenantId>) -> Result<()> {
        let mut due = due.into_iter();
        let mut on_way = OnWay::new();
        let mut bytes = 0;
        let mut outcome = Ok(());
        loop {
            while outcome.is_ok() && on_way.len() < LEAVES_AT_ONCE && bytes < BYTES_AT_ONCE {
                let Some(tenant) = due.next() else { break };
                match self.sealed_batch(tenant, Act::Batch) {
                    Ok(leaf) => {
                        bytes += leaf.bytes();
                        on_way.send(&self.app, leaf, ());
                    }
                    Err(error) => outcome = self.failed(tenant, self.lanes.here, error).await,
                }
            }
            #[cfg(test)]
            self.app.0.ledger.note_on_way(on_way.len());
            let Some(arrived) = on_way.next().await else { return outcome };
            let (leaf, answer, ()) = match arrived {
                Ok(arrived) => arrived,
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    continue;
                }
            };
            bytes -= leaf.bytes();
            if let Err(error) = answer.and_then(|appended| self.taken(&leaf, &appended)) {
                let failed = self.failed(leaf.tenant, self.lanes.here, error).await;
                outcome = outcome.and(failed);
            }
        }
    }

    /// Seals what a tenant's builder holds, or holds the tenant.
    pub(super) async fn seal_or_hold(&mut self, tenant: TenantId) -> Result<()> {
        if self.lanes.tenants.get(&tenant).is_none_or(|log| log.builder.is_empty()) {
            return Ok(());
        }
        self.seal_all(vec![tenant]).await
    }

    /// Seals the open batch of a log and waits until the archive has it.
    pub(super) async fn seal(&mut self, tenant: TenantId, act: Act) -> Result<u64> {
        let leaf = self.sealed_batch(tenant, act)?;
        self.send(leaf).await
    }

    /// Appends a leaf, and waits until the archive has it: everything of the tenant before
    /// `reached` is sealed then.
    pub(super) async fn append(
        &mut self,
        tenant: TenantId,
        sealed: SealedBatch,
        reached: u64,
    ) -> Result<u64> {
        let leaf = self.outgoing(tenant, sealed, reached)?;
        self.send(leaf).await
    }

    async fn send(&mut self, leaf: Outgoing) -> Result<u64> {
        let (leaf, answer) = sent(self.app.clone(), leaf).await;
        self.taken(&leaf, &answer?)
    }

    /// The open batch of a log as its next leaf.
    fn sealed_batch(&mut self, tenant: TenantId, act: Act) -> Result<Outgoing> {
        let log = self.lanes.tenants.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        let fresh = BatchBuilder::new(BatchLimits::default(), log.previous.as_ref());
        let builder = std::mem::replace(&mut log.builder, fresh);
        let sealed = log
            .with_signer(&self.app, tenant, |previous, sealed_at, signer| {
                builder.seal(act, previous, sealed_at, signer)
            })?
            .map_err(|error| Error::Internal(format!("ledger batch: {error}")))?;
        let reached = log.reached;
        self.outgoing(tenant, sealed, reached)
    }

    /// A sealed leaf as it is sent: the next one of its log.
    pub(super) fn outgoing(
        &self,
        tenant: TenantId,
        sealed: SealedBatch,
        reached: u64,
    ) -> Result<Outgoing> {
        let log = self.lanes.tenants.get(&tenant).ok_or(Error::NotFound("ledger log"))?;
        let reference = sealed.reference();
        let is_counted = matches!(sealed.leaf.act, Act::Batch);
        let append = Append {
            log: log.log,
            expected_size: log.size,
            cursor: self.app.0.lineage.cursor(reached),
            entry: sealed.entry,
            payload: sealed.payload,
        };
        Ok(Outgoing { tenant, append, reference, reached, is_counted })
    }

    /// The archive has a leaf, if its answer is that of the log as it was sent. The answer is the
    /// leaf's index.
    pub(super) fn taken(&mut self, leaf: &Outgoing, appended: &Appended) -> Result<u64> {
        let Outgoing { tenant, append, reference, reached, is_counted } = leaf;
        let place = (reference.hash, append.expected_size);
        self.heads.note(*tenant, place, appended)?;
        if let Some(payload) = append.payload.as_ref().filter(|_| *is_counted) {
            self.app.count_ledger_bytes(*tenant, payload.len());
        }
        self.app.0.publisher.grown(*tenant);
        let log = self.lanes.tenants.get_mut(tenant).ok_or(Error::NotFound("ledger log"))?;
        log.reached = *reached;
        log.size = appended.size;
        log.waiting_from = None;
        log.builder = BatchBuilder::new(BatchLimits::default(), Some(reference));
        log.previous = Some(*reference);
        metrics::counter!("veritwin_ledger_leaves_total").increment(1);
        Ok(appended.index)
    }

    /// Has the archive keep logs for longer whose tenants' audit periods have become longer. What
    /// fails stays for the next time.
    pub(super) async fn lengthen_periods(&mut self) {
        let logs = self.lanes.tenants.iter();
        let due = logs.filter(|(tenant, log)| self.app.audit_period(**tenant) > log.kept);
        let due: Vec<_> = due.map(|(tenant, log)| (*tenant, log.log, log.kept)).collect();
        for (tenant, log, kept) in due.into_iter().take(PERIODS_AT_ONCE) {
            match self.app.keep_log(tenant, log, kept).await {
                Ok(kept) => {
                    if let Some(log) = self.lanes.tenants.get_mut(&tenant) {
                        log.kept = kept;
                    }
                }
                Err(error) => {
                    tracing::debug!(%tenant, %error, "a log is not kept for longer yet");
                    // What one log is refused is no matter of the others.
                    if !matches!(error, Error::Conflict(_)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Sends a leaf; a broken connection is tried once more with the same bytes, since the archive
/// recognises the batch.
async fn sent(app: App, leaf: Outgoing) -> (Outgoing, Result<Appended>) {
    let answer = async {
        let client = app.archive()?;
        match client.append(&leaf.append).await {
            Err(ArchiveError::Unreachable { .. }) => client.append(&leaf.append).await,
            other => other,
        }
        .map_err(refused)
    };
    let answer = answer.await;
    (leaf, answer)
}
