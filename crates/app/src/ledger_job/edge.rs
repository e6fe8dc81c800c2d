//! Seals what edges stated, each statement as a leaf of its own behind the records before it: an
//! outsider reads it without any key.

use veritwin_ledger::seal_statement;
use veritwin_log::EdgeEntry;
use veritwin_verify::EdgeStatement;

use super::{
    Act, Append, BatchBuilder, BatchLimits, BatchSigner, Error, LedgerJob, Result, TenantId, send,
};

impl LedgerJob {
    /// Seals the open batch, and the statement behind it. A crash in between begins again with the
    /// statement.
    pub(super) async fn seal_edge(
        &mut self,
        tenant: TenantId,
        position: u64,
        edge: &EdgeEntry,
    ) -> Result<()> {
        let statement = EdgeStatement::decode(&edge.statement)
            .map_err(|error| Error::Internal(format!("an edge's statement: {error}")))?;
        if self.lanes.tenants.get(&tenant).is_some_and(|log| !log.builder.is_empty()) {
            self.seal(tenant, Act::Batch).await?;
        }
        let app = self.app.clone();
        let log = self.lanes.tenants.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        log.waiting_from.get_or_insert(position);
        log.sealed_at = log.sealed_at.max(app.clock().now());
        let sealed_at = log.sealed_at;
        let dek = app.payload_dek(tenant, sealed_at)?;
        let signer = BatchSigner {
            tenant,
            dek: &dek,
            origin: &log.origin,
            key: &log.key,
            rng: app.0.rng.as_ref(),
        };
        let act = Act::Edge(statement);
        let sealed = seal_statement(act, log.previous.as_ref(), sealed_at, &signer)
            .map_err(|error| Error::Internal(format!("ledger statement: {error}")))?;
        let reference = sealed.reference();
        let append = Append {
            log: log.log,
            expected_size: log.size,
            cursor: app.0.lineage.cursor(position + 1),
            entry: sealed.entry,
            payload: None,
        };
        let appended = send(&app, &append).await?;
        self.heads.note(tenant, appended.checkpoint)?;
        log.reached = position + 1;
        log.size = appended.size;
        log.waiting_from = None;
        log.builder = BatchBuilder::new(BatchLimits::default(), Some(&reference));
        log.previous = Some(reference);
        metrics::counter!("veritwin_ledger_leaves_total").increment(1);
        Ok(())
    }
}
