//! The newest time stamp of a ledger, as mails to auditors and bundles of evidence carry it: with
//! the proof that their own checkpoint extends the one that was stamped.

use veritwin_domain::OpContext;
use veritwin_ledger::Source;
use veritwin_metastore::PublishedCheckpoint;
use veritwin_verify::{StampedCheckpoint, consistency_at};

use crate::{App, Result};

impl App {
    /// The newest published checkpoint of a tenant's log that has a time stamp.
    pub(crate) async fn newest_stamped(
        &self,
        context: &OpContext,
    ) -> Result<Option<PublishedCheckpoint>> {
        let tx = self.0.store.read(context).await?;
        Ok(tx.ledger_published_newest(true, 1).await?.pop())
    }
}

/// It with its proof under a checkpoint of `size` leaves, where there is one. Reads the archive:
/// for blocking threads.
pub(crate) fn stamped_under(
    log: &dyn Source,
    stamped: Option<PublishedCheckpoint>,
    size: u64,
) -> Option<StampedCheckpoint> {
    let stamped = stamped.filter(|stamped| stamped.size <= size)?;
    let (checkpoint, answer) = (String::from_utf8(stamped.note).ok()?, stamped.stamp?);
    match consistency_at(log, stamped.size, size) {
        Ok(path) => Some(StampedCheckpoint::new(checkpoint, &answer, &path)),
        Err(error) => {
            // It may lie in a prefix that was ended.
            tracing::warn!(%error, "a time stamp of a ledger is left out");
            None
        }
    }
}
