//! The end of a prefix: once a retention statement is durable in a log, its bundles and payloads
//! below the statement's index are removed, a bounded number at a time. Hash tiles above level 0
//! stay, so that everything behind the prefix is proven as before. A statement that would end a
//! leaf before the archive's own minimum period, or the log's where that is longer, is refused,
//! whoever signed it. The period begins when a leaf came in, whatever time it bears.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{LogId, Timestamp};
use veritwin_verify::{Act, Leaf, TILE_WIDTH, TileKind, TilePath, decode_bundle};

use crate::archive::Shared;
use crate::commit::Request;
use crate::state::{Head, bytes_of};
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

    /// Removes what a log's retention statement ended, a bounded part of it. The answer is how many
    /// bytes that was, or none when nothing is left to remove. A crash in between leaves something
    /// to remove, never a hole; what it had removed already is not counted again.
    #[boxed]
    pub async fn prune(&self, log: LogId) -> Result<Option<u64>, LedgerError> {
        let shared = Arc::clone(self.shared());
        let removed = tokio::task::spawn_blocking(move || remove_next(&shared, log)).await;
        let removed = removed.map_err(|error| LedgerError::Stopped(error.to_string()))??;
        let Some(pruned) = removed else { return Ok(None) };
        self.send(|reply| Request::Pruned(pruned, reply)).await?;
        Ok(Some(pruned.bytes))
    }
}

/// Since when the last leaf is kept that a statement would end; none while it is not stored.
pub(crate) type EndedAt = Result<Option<Timestamp>, LedgerError>;

/// Looks it up, where there is a minimum period. Not in the writer's turn: a bucket takes its time,
/// and everybody else's leaves would wait.
pub(crate) fn ended_at(
    shared: &Shared,
    (log, period): (LogId, Duration),
    leaf: &Leaf,
) -> Option<EndedAt> {
    let Act::Retention { minimum_index, .. } = leaf.act else { return None };
    let last = (minimum_index / TILE_WIDTH * TILE_WIDTH).checked_sub(1)?;
    (!period.max(shared.limits.period_min).is_zero()).then(|| last_kept_since(shared, log, last))
}

/// Refuses the end of a prefix whose last leaf is kept for less than the minimum period, by the
/// archive's own clock.
pub(crate) fn check_period(
    shared: &Shared,
    log: LogId,
    (head, minimum_index): (&Head, u64),
    ended_at: Option<EndedAt>,
) -> Result<(), LedgerError> {
    let (own, ended) = {
        let log = shared.log(log)?;
        let log = log.lock();
        (log.period, log.minimum_index)
    };
    let period = own.max(shared.limits.period_min);
    let end = minimum_index / TILE_WIDTH * TILE_WIDTH;
    if period.is_zero() || end <= ended {
        return Ok(());
    }
    let Some(last) = end.checked_sub(1) else { return Ok(()) };
    let since = match ended_at {
        Some(Ok(Some(since))) => since,
        Some(Ok(None)) | None => {
            return Err(head.conflict("the leaves that it would end are not stored yet"));
        }
        Some(Err(error)) => {
            // The submitter may be another party: where files lie is not theirs to know.
            tracing::error!(%log, %error, leaf = last, "what a statement ends cannot be read");
            return Err(head.conflict(&format!("leaf {last} cannot be read")));
        }
    };
    if since > shared.clock.now().saturating_sub(period) {
        let days = period.as_secs().div_ceil(86_400);
        return Err(head.conflict(&format!(
            "this archive keeps leaves of this log for at least {days} days, and leaf {last} is \
             there since {since}"
        )));
    }
    Ok(())
}

/// Since when the last leaf of a full bundle is kept: when it was sealed, or came in if that was
/// later. The submitter writes the former; the latter is when its bundle was full, which is written
/// then. No leaf before it is kept since a later moment.
fn last_kept_since(shared: &Shared, log: LogId, last: u64) -> EndedAt {
    let found = shared.objects.read_tile_written(log, bundle(last / TILE_WIDTH))?;
    let Some((bytes, written_at)) = found else { return Ok(None) };
    let entries = decode_bundle(&bytes).map_err(LedgerError::invalid)?;
    let Some(entry) = entries.last() else { return Ok(None) };
    let leaf = Leaf::decode(entry).map_err(LedgerError::invalid)?;
    Ok(Some(leaf.sealed_at.max(written_at)))
}

/// What was removed of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pruned {
    pub(crate) log: LogId,
    /// The leaf up to which everything is gone, durably.
    pub(crate) to: u64,
    /// What it took.
    pub(crate) bytes: u64,
}

fn remove_next(shared: &Shared, log: LogId) -> Result<Option<Pruned>, LedgerError> {
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
    let mut bytes = 0u64;
    for index in bundles.clone() {
        bytes = bytes.saturating_add(remove_payloads(shared, log, bundle(index))?);
    }
    // A bundle says which its payloads are: it goes when they are gone for good.
    shared.objects.sync_all()?;
    for index in bundles {
        shared.objects.remove_tile(log, bundle(index))?;
    }
    // Before it is noted: what is noted as gone is not looked for again.
    shared.objects.sync_all()?;
    Ok(Some(Pruned { log, to, bytes }))
}

/// The path of a full bundle.
pub(crate) const fn bundle(index: u64) -> TilePath {
    TilePath { kind: TileKind::Entries, index, width: 256 }
}

/// The answer is what the bundle's leaves and payloads take.
fn remove_payloads(shared: &Shared, log: LogId, path: TilePath) -> Result<u64, LedgerError> {
    let Some(bundle) = shared.objects.read_tile(log, path)? else { return Ok(0) };
    let entries = decode_bundle(&bundle).map_err(LedgerError::invalid)?;
    let mut bytes = 0u64;
    for entry in entries {
        let leaf = Leaf::decode(entry).map_err(LedgerError::invalid)?;
        bytes = bytes.saturating_add(bytes_of(&leaf, entry));
        if leaf.payload_bytes > 0 {
            shared.objects.remove_payload(log, &leaf.payload)?;
        }
    }
    Ok(bytes)
}
