//! The end of a prefix: once a retention statement is durable in a log, its bundles and payloads
//! below the statement's index are removed, a bounded number at a time. Hash tiles above level 0
//! stay, so that everything behind the prefix is proven as before.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::LogId;
use veritwin_verify::{Leaf, TILE_WIDTH, TileKind, TilePath, decode_bundle};

use crate::archive::Shared;
use crate::commit::Request;
use crate::{Archive, LedgerError};

/// Bundles removed at once, with their payloads.
const BUNDLES_AT_ONCE: u64 = 16;

impl Archive {
    /// The logs of which something is left to remove.
    pub fn prunable(&self) -> Vec<LogId> {
        let logs: Vec<_> = self.shared().logs.read().values().cloned().collect();
        let left = logs.into_iter().filter_map(|log| {
            let log = log.lock();
            (log.pruned < log.minimum_index).then_some(log.id)
        });
        left.collect()
    }

    /// Removes what a log's retention statement ended, a bounded part of it. False when nothing is
    /// left to remove. A crash in between leaves something to remove, never a hole.
    #[boxed]
    pub async fn prune(&self, log: LogId) -> Result<bool, LedgerError> {
        let shared = Arc::clone(self.shared());
        let removed = tokio::task::spawn_blocking(move || remove_next(&shared, log)).await;
        let removed = removed.map_err(|error| LedgerError::Stopped(error.to_string()))??;
        let Some(to) = removed else { return Ok(false) };
        self.send(|reply| Request::Pruned(log, to, reply)).await?;
        Ok(true)
    }
}

/// The answer is the leaf up to which everything is gone, durably.
fn remove_next(shared: &Shared, log: LogId) -> Result<Option<u64>, LedgerError> {
    let state = shared.log(log)?;
    let (pruned, minimum) = {
        let state = state.lock();
        (state.pruned, state.minimum_index)
    };
    if pruned >= minimum {
        return Ok(None);
    }
    let to = minimum.min(pruned + BUNDLES_AT_ONCE * TILE_WIDTH);
    let bundles = pruned / TILE_WIDTH..to / TILE_WIDTH;
    for index in bundles.clone() {
        remove_payloads(shared, log, bundle(index))?;
    }
    // A bundle says which its payloads are: it goes when they are gone for good.
    shared.objects.sync_all()?;
    for index in bundles {
        shared.objects.remove_tile(log, bundle(index))?;
    }
    // Before it is noted: what is noted as gone is not looked for again.
    shared.objects.sync_all()?;
    Ok(Some(to))
}

/// The path of a full bundle.
pub(crate) const fn bundle(index: u64) -> TilePath {
    TilePath { kind: TileKind::Entries, index, width: 256 }
}

fn remove_payloads(shared: &Shared, log: LogId, path: TilePath) -> Result<(), LedgerError> {
    let Some(bytes) = shared.objects.read_tile(log, path)? else { return Ok(()) };
    let entries = decode_bundle(&bytes).map_err(LedgerError::invalid)?;
    for entry in entries {
        let leaf = Leaf::decode(entry).map_err(LedgerError::invalid)?;
        if leaf.payload_bytes > 0 {
            shared.objects.remove_payload(log, &leaf.payload)?;
        }
    }
    Ok(())
}
