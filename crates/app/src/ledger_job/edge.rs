//! Seals what edges stated, each statement as a leaf of its own behind the records before it: an
//! outsider reads it without any key.

use veritwin_ledger::seal_statement;
use veritwin_log::EdgeEntry;
use veritwin_verify::EdgeStatement;

use super::{Act, Error, LedgerJob, Result, TenantId};

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
        let log = self.lanes.tenants.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        log.waiting_from.get_or_insert(position);
        let sealed = log
            .with_signer(&self.app, tenant, |previous, sealed_at, signer| {
                seal_statement(Act::Edge(statement), previous, sealed_at, signer)
            })?
            .map_err(|error| Error::Internal(format!("ledger statement: {error}")))?;
        self.append(tenant, sealed, position + 1).await?;
        Ok(())
    }
}
