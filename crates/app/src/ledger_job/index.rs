//! Which event times the full bundles of a log hold, noted so that a reading's leaf is found
//! without going through all of them. What is not noted yet is looked through.

use veritwin_access::jobs;
use veritwin_domain::{LogId, Timestamp};
use veritwin_verify::TILE_WIDTH;

use super::{Act, App, LedgerJob, Result, TenantId};

/// Bundles noted in one go.
const BUNDLES_AT_ONCE: usize = 16;

impl LedgerJob {
    /// Notes the times of some bundles; what fails stays for the next time.
    pub(super) async fn index_bundles(&mut self) {
        let due = self.lanes.tenants.iter().flat_map(|(tenant, log)| {
            let bundles = log.indexed..log.size / TILE_WIDTH;
            bundles.map(move |bundle| (*tenant, log.log, bundle, log.size))
        });
        let due: Vec<_> = due.take(BUNDLES_AT_ONCE).collect();
        for (tenant, log, bundle, size) in due {
            if let Err(error) = self.app.index_bundle(tenant, log, (bundle, size)).await {
                tracing::debug!(%tenant, bundle, %error, "a bundle's times are not noted yet");
                return;
            }
            if let Some(log) = self.lanes.tenants.get_mut(&tenant) {
                log.indexed = bundle + 1;
            }
        }
    }
}

impl App {
    async fn index_bundle(
        &self,
        tenant: TenantId,
        log: LogId,
        (bundle, size): (u64, u64),
    ) -> Result<()> {
        let leaves = self.bundle(log, bundle, size).await?;
        let batches = leaves.iter().filter(|leaf| matches!(leaf.act, Act::Batch));
        // Without readings it covers no moment.
        let times = batches.fold((Timestamp::MAX, Timestamp::MIN), |(from, to), leaf| {
            (from.min(leaf.events_from), to.max(leaf.events_to))
        });
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.ledger_bundle_put(bundle, times).await?;
        Ok(tx.commit().await?)
    }
}
