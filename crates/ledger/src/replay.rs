//! From a journal file to the state of every log: which files there are, and what each frame says.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::LogId;
use veritwin_keys::SigningKey;
use veritwin_verify::{SignedCheckpoint, TILE_WIDTH};

use crate::LedgerError;
use crate::archive::{Logs, Shared};
use crate::commit::key_aad;
use crate::item::Item;
use crate::journal;
use crate::prune::bundle;
use crate::state::{Entry, LogState};

/// Journal files by number, ascending.
pub(crate) fn journal_paths(directory: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let mut files = Vec::new();
    for path in paths_in(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".journal").and_then(|number| number.parse().ok());
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

fn paths_in(directory: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let list = fs::read_dir(directory).map_err(LedgerError::io("list", directory))?;
    list.map(|entry| Ok(entry.map_err(LedgerError::io("list", directory))?.path())).collect()
}

/// Removes journal files that were begun and never got their name.
pub(crate) fn remove_unfinished(shared: &Shared) -> Result<(), LedgerError> {
    for path in paths_in(&shared.journal_directory())? {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            shared.disk.remove(&path).map_err(LedgerError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Every log, as frames tell of it: those of a snapshot first.
#[derive(Default)]
pub(crate) struct Replay {
    logs: HashMap<LogId, LogState>,
    is_whole: bool,
}

impl Replay {
    /// True once the snapshot is complete.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes the next frame. What is wrong with it is told without its place.
    pub(crate) fn take(&mut self, frame: &[u8], shared: &Shared) -> Result<(), LedgerError> {
        let items = Item::read_all(frame);
        for item in items.ok_or_else(|| LedgerError::invalid("its form is unknown"))? {
            if let Item::SnapshotEnd { logs } = item {
                self.is_whole = true;
                if logs != self.logs.len() as u64 {
                    return Err(LedgerError::invalid("the snapshot lacks logs"));
                }
                continue;
            }
            replay_item(item, &mut self.logs, shared)?;
        }
        Ok(())
    }

    /// The logs, with nothing left of what was pruned.
    pub(crate) fn finish(self, shared: &Shared) -> Result<Logs, LedgerError> {
        for log in self.logs.values() {
            remove_pruned_again(log, shared)?;
        }
        Ok(self.logs.into_iter().map(|(id, log)| (id, Arc::new(Mutex::new(log)))).collect())
    }
}

/// Rebuilds every log from a journal file.
pub(crate) fn replay(path: &Path, shared: &Shared) -> Result<Logs, LedgerError> {
    let mut replay = Replay::default();
    let mut frames = 0u64;
    let corrupt = |frame: u64, problem: &str| LedgerError::Corrupt {
        file: path.to_owned(),
        offset: 0,
        problem: format!("frame {frame}: {problem}"),
    };
    let cut = journal::read(path, &shared.keys, &mut |frame| {
        let taken = replay.take(frame, shared);
        // What the disk refuses is no damage of the journal.
        taken.map_err(|error| match error {
            LedgerError::Invalid(problem) => corrupt(frames, &problem),
            error => error,
        })?;
        frames += 1;
        Ok(())
    })?;
    if !replay.is_whole() {
        // The snapshot was durable before the file got its name: this is damage, not a crash.
        return Err(corrupt(frames, "the snapshot at its beginning is not complete"));
    }
    if let Some(offset) = cut {
        let cut = journal::keep_tail(path, offset)?;
        let (path, kept, cut_bytes) = (path.display(), cut.kept.display(), cut.bytes);
        tracing::warn!(%path, offset, cut_bytes, %kept, "ledger journal: torn last group cut");
    }
    replay.finish(shared)
}

/// Replaying a leaf writes its bundle, also one that was pruned since.
fn remove_pruned_again(log: &LogState, shared: &Shared) -> Result<(), LedgerError> {
    for index in log.replayed_from / TILE_WIDTH..log.pruned / TILE_WIDTH {
        shared.objects.remove_tile(log.id, bundle(index))?;
    }
    Ok(())
}

fn replay_item(
    item: Item,
    logs: &mut HashMap<LogId, LogState>,
    shared: &Shared,
) -> Result<(), LedgerError> {
    let unknown = || LedgerError::invalid("it names a log that was not made");
    match item {
        Item::Created { log, origin, submitter, key: sealed } => {
            let dek = shared.keys.dek_by_id(veritwin_keys::sealed_dek_id(&sealed)?)?;
            let key = SigningKey::from_sealed(&dek, key_aad(&log), &sealed)?;
            logs.insert(log, LogState::new(log, origin, submitter, (key, sealed))?);
        }
        Item::Base { log, .. } => {
            let state = logs.get_mut(&log).ok_or_else(unknown)?;
            state.restore_base(item).ok_or_else(|| LedgerError::invalid("its base is wrong"))?;
        }
        Item::Leaf { log, index, cursor, entry } => {
            let state = logs.get_mut(&log).ok_or_else(unknown)?;
            if index != state.head.size() {
                return Err(LedgerError::invalid("a leaf is out of order"));
            }
            state.apply(Entry::decode(entry, cursor)?, &shared.objects)?;
        }
        Item::Checkpoint { log, size, note } => {
            let state = logs.get_mut(&log).ok_or_else(unknown)?;
            let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(LedgerError::invalid)?;
            let root = state.head.frontier.root();
            if size != state.head.size() || signed.checkpoint.root != root {
                return Err(LedgerError::invalid("a checkpoint is not that of its leaves"));
            }
            state.checkpoint = note;
        }
        Item::Pruned { log, minimum_index, pruned } => {
            let state = logs.get_mut(&log).ok_or_else(unknown)?;
            state.prune_to(minimum_index, pruned);
        }
        Item::Stored { log, bytes } => {
            logs.get_mut(&log).ok_or_else(unknown)?.restore_bytes(bytes);
        }
        Item::Freed { log, bytes } => logs.get_mut(&log).ok_or_else(unknown)?.free(bytes),
        Item::Period { log, seconds } => {
            logs.get_mut(&log).ok_or_else(unknown)?.keep_for(Duration::from_secs(seconds));
        }
        Item::SnapshotEnd { .. } => {}
    }
    Ok(())
}
