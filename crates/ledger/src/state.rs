//! One log in memory: frontier, partial tiles, partial bundle, signed checkpoint. Pure, except that
//! applying a leaf that completes a tile writes the tile's object.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use veritwin_domain::{BatchId, LogId, Timestamp};
use veritwin_keys::SigningKey;
use veritwin_verify::{
    Act, Checkpoint, Digest, Frontier, KeyAlgorithm, Leaf, LeafReference, TileKind, TilePath,
    VerifierKey, encode_bundle, leaf_hash, root_of,
};

use crate::error::ConflictState;
use crate::item::Item;
use crate::objects::Objects;
use crate::{LedgerError, archive::LogSummary, batch::SIMULATED};

/// Tile levels kept: sizes up to 2^63.
const LEVELS: usize = 8;
/// How far ahead of the archive's clock a leaf may be dated.
const AHEAD_MAX: Duration = Duration::from_secs(3600);
/// Batches of a log whose resending is recognised.
pub(crate) const RECENT_BATCHES_MAX: usize = 256;

/// What is kept of a leaf: it is decoded and hashed once, when it comes in, and its bytes are
/// shared from then on.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The leaf, encoded.
    pub(crate) bytes: Bytes,
    pub(crate) cursor: u64,
    pub(crate) reference: LeafReference,
    sealed_at: Timestamp,
    /// The submitter key in force behind it, where it names another.
    next_submitter: Option<[u8; 32]>,
    /// Leaves below are ended by it, where it is a retention statement.
    minimum_index: Option<u64>,
    /// What it and its payload take.
    stored_bytes: u64,
}

impl Entry {
    /// Of a leaf and the bytes that it was decoded from.
    pub(crate) fn new(leaf: &Leaf, bytes: Vec<u8>, cursor: u64) -> Self {
        let (batch, last_sequence) = (leaf.batch, leaf.last_sequence());
        let reference = LeafReference { batch, hash: leaf_hash(&bytes), last_sequence };
        let (next_submitter, minimum_index) = match leaf.act {
            Act::SubmitterKey { next } => (Some(next), None),
            Act::Retention { minimum_index, .. } => (None, Some(minimum_index)),
            Act::Batch | Act::Evidence | Act::Reseal { .. } | Act::Shred { .. } | Act::Edge(_) => {
                (None, None)
            }
        };
        let stored_bytes = bytes_of(leaf, &bytes);
        let (bytes, sealed_at) = (Bytes::from(bytes), leaf.sealed_at);
        Self { bytes, cursor, reference, sealed_at, next_submitter, minimum_index, stored_bytes }
    }

    /// Of a leaf that was stored.
    pub(crate) fn decode(bytes: Vec<u8>, cursor: u64) -> Result<Self, LedgerError> {
        let leaf = Leaf::decode(&bytes).map_err(LedgerError::invalid)?;
        Ok(Self::new(&leaf, bytes, cursor))
    }
}

/// A log that was appended to in memory only, while its group is being written.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    pub(crate) last: Option<Entry>,
    pub(crate) submitter: [u8; 32],
}

impl Head {
    pub(crate) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Where it stands, for a refusal.
    pub(crate) fn conflict(&self, reason: &str) -> LedgerError {
        let last = self.last.as_ref();
        LedgerError::Conflict {
            reason: reason.to_owned(),
            state: Box::new(ConflictState {
                size: self.size(),
                last_batch: last.map(|last| last.reference.batch),
                last_hash: last.map(|last| last.reference.hash),
                last_sequence: last.map_or(0, |last| last.reference.last_sequence),
            }),
        }
    }

    /// Checks that a leaf is the one that comes next.
    pub(crate) fn check_next(&self, leaf: &Leaf, expected_size: u64) -> Result<(), LedgerError> {
        if expected_size != self.size() {
            return Err(self.conflict(&format!("expected tree size {expected_size}")));
        }
        if leaf.submitter != self.submitter {
            return Err(LedgerError::invalid("the leaf is signed by another submitter's key"));
        }
        let (batch, hash, sequence) =
            self.last.as_ref().map_or((BatchId::from_bytes([0; 16]), Digest::ZERO, 0), |last| {
                let reference = &last.reference;
                (reference.batch, reference.hash, reference.last_sequence)
            });
        if leaf.previous_batch != batch || leaf.previous_hash != hash {
            return Err(self.conflict("the leaf follows another leaf than the last"));
        }
        if leaf.batch == batch {
            // Of the first leaf too, before which zero bytes stand.
            return Err(LedgerError::invalid("the leaf has the batch id of the one before it"));
        }
        if leaf.first_sequence != sequence + 1 {
            let reason = format!("first sequence {} does not follow", leaf.first_sequence);
            return Err(self.conflict(&reason));
        }
        if self.last.as_ref().is_some_and(|last| leaf.sealed_at < last.sealed_at) {
            return Err(LedgerError::invalid("the leaf was sealed earlier than the one before it"));
        }
        let reaches = match leaf.act {
            Act::Shred { to, .. } => to,
            Act::Retention { minimum_index, .. } => minimum_index,
            Act::Reseal { index, .. } => index.saturating_add(1),
            Act::Batch | Act::Evidence | Act::SubmitterKey { .. } | Act::Edge(_) => 0,
        };
        if reaches > self.size() {
            return Err(LedgerError::invalid("the leaf speaks of leaves that do not exist yet"));
        }
        Ok(())
    }

    /// Refuses a leaf that is dated ahead of the archive's clock: every one behind it would have to
    /// be, too. Where one was taken before, those behind it may be as late.
    pub(crate) fn check_clock(&self, leaf: &Leaf, now: Timestamp) -> Result<(), LedgerError> {
        let last = self.last.as_ref().map_or(Timestamp::MIN, |last| last.sealed_at);
        if leaf.sealed_at <= now.saturating_add(AHEAD_MAX).max(last) {
            return Ok(());
        }
        Err(LedgerError::Invalid(format!(
            "the leaf was sealed at {}, more than an hour ahead of this archive's clock, which \
             says {now}",
            leaf.sealed_at
        )))
    }

    /// Appends a leaf.
    pub(crate) fn push(&mut self, entry: &Entry) {
        self.frontier.push(entry.reference.hash);
        if let Some(next) = entry.next_submitter {
            self.submitter = next;
        }
        self.last = Some(entry.clone());
    }
}

/// One log as its readers see it.
#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) id: LogId,
    pub(crate) origin: String,
    pub(crate) first_submitter: [u8; 32],
    pub(crate) sealed_key: Vec<u8>,
    key: SigningKey,
    pub(crate) vkey: VerifierKey,
    pub(crate) head: Head,
    /// Head at the last full bundle, for the snapshot.
    base: Head,
    /// Hashes of the partial tile of each level.
    levels: Vec<Vec<Digest>>,
    /// Leaves of the partial bundle, with their cursors.
    entries: Vec<(Bytes, u64)>,
    pub(crate) checkpoint: String,
    recent: VecDeque<(BatchId, Digest, u64)>,
    /// The longest time that was ever asked for, for which every leaf is kept.
    pub(crate) period: Duration,
    /// Leaves below are ended by a retention statement.
    pub(crate) minimum_index: u64,
    /// Leaves below are gone from the disk.
    pub(crate) pruned: u64,
    /// The first leaf that came from the journal and not from its snapshot.
    pub(crate) replayed_from: u64,
    /// What its leaves and their payloads take, in bytes.
    pub(crate) stored_bytes: u64,
    /// The same at the last full bundle, for the snapshot.
    base_bytes: u64,
    /// Bytes of payloads that were written and whose leaves were refused then, since it was asked.
    pub(crate) lost_bytes: u64,
}

impl LogState {
    /// An empty log with its first checkpoint, over the empty tree.
    pub(crate) fn new(
        id: LogId,
        origin: String,
        submitter: [u8; 32],
        (key, sealed_key): (SigningKey, Vec<u8>),
    ) -> Result<Self, LedgerError> {
        let vkey = VerifierKey::new(&origin, KeyAlgorithm::Ed25519, key.public_bytes())
            .map_err(LedgerError::invalid)?;
        let head = Head { frontier: Frontier::new(), last: None, submitter };
        let mut log = Self {
            id,
            origin,
            first_submitter: submitter,
            sealed_key,
            key,
            vkey,
            base: head.clone(),
            head,
            levels: vec![Vec::new(); LEVELS],
            entries: Vec::new(),
            checkpoint: String::new(),
            recent: VecDeque::new(),
            period: Duration::ZERO,
            minimum_index: 0,
            pruned: 0,
            replayed_from: 0,
            stored_bytes: 0,
            base_bytes: 0,
            lost_bytes: 0,
        };
        log.checkpoint = log.sign(&log.head);
        Ok(log)
    }

    /// The checkpoint note for `head`.
    pub(crate) fn sign(&self, head: &Head) -> String {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: head.size(),
            root: head.frontier.root(),
        };
        let text = checkpoint.text();
        let line = self.vkey.signature_line(&self.key.sign(text.as_bytes()));
        format!("{text}\n{line}")
    }

    /// The leaf index and hash under which a batch was appended lately.
    pub(crate) fn recent(&self, batch: BatchId) -> Option<(Digest, u64)> {
        let found = self.recent.iter().rev().find(|(recent, _, _)| *recent == batch);
        found.map(|(_, hash, index)| (*hash, *index))
    }

    /// Takes a durable leaf; completed tiles become objects.
    pub(crate) fn apply(&mut self, entry: Entry, objects: &Objects) -> Result<(), LedgerError> {
        self.stored_bytes = self.stored_bytes.saturating_add(entry.stored_bytes);
        if let Some(minimum_index) = entry.minimum_index {
            self.prune_to(minimum_index, 0);
        }
        let index = self.head.size();
        self.head.push(&entry);
        let Entry { bytes, cursor, reference, .. } = entry;
        if self.recent.len() == RECENT_BATCHES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((reference.batch, reference.hash, index));
        self.entries.push((bytes, cursor));
        self.levels[0].push(reference.hash);
        if self.levels[0].len() == 256 {
            self.complete_tiles(index, objects)?;
        }
        Ok(())
    }

    fn complete_tiles(&mut self, last_index: u64, objects: &Objects) -> Result<(), LedgerError> {
        let bundle: Vec<&[u8]> = self.entries.iter().map(|(entry, _)| entry.as_ref()).collect();
        let bundle = encode_bundle(&bundle).map_err(LedgerError::invalid)?;
        let tile = TilePath { kind: TileKind::Entries, index: last_index / 256, width: 256 };
        let own = (self.id, self.period);
        objects.write_tile(own, tile, &bundle)?;
        self.entries.clear();
        self.base = self.head.clone();
        self.base_bytes = self.stored_bytes;
        for level in 0..LEVELS - 1 {
            if self.levels[level].len() < 256 {
                break;
            }
            let full = std::mem::take(&mut self.levels[level]);
            if level > 0 {
                let index = last_index >> (8 * (level as u32 + 1));
                let tile = TilePath { kind: TileKind::Hashes(level as u8), index, width: 256 };
                objects.write_tile(own, tile, &hash_bytes(&full))?;
            }
            self.levels[level + 1].push(root_of(&full));
        }
        Ok(())
    }

    /// The items that bring an empty archive to this log's state.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = Item> + '_ {
        let created = Item::Created {
            log: self.id,
            origin: self.origin.clone(),
            submitter: self.first_submitter,
            key: self.sealed_key.clone(),
        };
        let last = self.base.last.as_ref().map(|last| (last.bytes.to_vec(), last.cursor));
        let base = Item::Base {
            log: self.id,
            size: self.base.size(),
            peaks: self.base.frontier.peaks().to_vec(),
            levels: self.levels[1..].to_vec(),
            last,
            submitter: self.base.submitter,
        };
        let checkpoint = Item::Checkpoint {
            log: self.id,
            size: self.head.size(),
            note: self.checkpoint.clone(),
        };
        let leaves = (self.base.size()..).zip(&self.entries);
        let leaves = leaves.map(|(index, (entry, cursor))| Item::Leaf {
            log: self.id,
            index,
            cursor: *cursor,
            entry: entry.to_vec(),
        });
        let (minimum_index, pruned) = (self.minimum_index, self.pruned);
        let ended = Item::Pruned { log: self.id, minimum_index, pruned };
        // A version before this item was known reads journals of logs that have none of it.
        let ended = Some(ended).filter(|_| minimum_index > 0);
        let stored = Item::Stored { log: self.id, bytes: self.base_bytes };
        let stored = Some(stored).filter(|_| self.base_bytes > 0);
        let seconds = self.period.as_secs();
        let period = Some(Item::Period { log: self.id, seconds }).filter(|_| seconds > 0);
        [created, base]
            .into_iter()
            .chain(stored)
            .chain(ended)
            .chain(period)
            .chain(leaves)
            .chain(std::iter::once(checkpoint))
    }

    /// Takes the base out of a snapshot. None when it does not fit this log.
    pub(crate) fn restore_base(&mut self, item: Item) -> Option<()> {
        let Item::Base { size, peaks, levels, last, submitter, .. } = item else { return None };
        if self.head.size() != 0 || levels.len() != LEVELS - 1 || size % 256 != 0 {
            return None;
        }
        let last = match last {
            None => None,
            Some((entry, cursor)) => {
                let entry = Entry::decode(entry, cursor).ok()?;
                let LeafReference { batch, hash, .. } = entry.reference;
                self.recent.push_back((batch, hash, size.checked_sub(1)?));
                Some(entry)
            }
        };
        let frontier = Frontier::from_peaks(size, peaks)?;
        self.head = Head { frontier, last, submitter };
        self.base = self.head.clone();
        self.replayed_from = size;
        self.levels[1..].clone_from_slice(&levels);
        Some(())
    }

    /// Keeps its leaves so long, if that is longer than it was.
    pub(crate) fn keep_for(&mut self, period: Duration) {
        self.period = self.period.max(period);
    }

    /// True when its origin says that its times are simulated ones, which no clock confirms.
    pub(crate) fn is_simulated(&self) -> bool {
        self.origin.ends_with(SIMULATED)
    }

    /// Notes what its leaves take up to the base.
    pub(crate) const fn restore_bytes(&mut self, bytes: u64) {
        (self.stored_bytes, self.base_bytes) = (bytes, bytes);
    }

    /// Notes what went with pruned leaves: those lie before the base.
    pub(crate) const fn free(&mut self, bytes: u64) {
        self.stored_bytes = self.stored_bytes.saturating_sub(bytes);
        self.base_bytes = self.base_bytes.saturating_sub(bytes);
    }

    /// Notes how far statements and removal go; never back.
    pub(crate) fn prune_to(&mut self, minimum_index: u64, pruned: u64) {
        self.minimum_index = self.minimum_index.max(minimum_index / 256 * 256);
        self.pruned = self.pruned.max(pruned);
    }

    /// True for bundles, and for what is computed from them, that a statement ended.
    pub(crate) fn is_ended(&self, tile: TilePath) -> bool {
        matches!(tile.kind, TileKind::Entries | TileKind::Hashes(0))
            && tile.index < self.minimum_index / 256
    }

    /// A tile or bundle as far as memory holds it: `Ok` with the bytes, or `Err` with the full
    /// object to read. None when the tree does not reach it.
    pub(crate) fn tile(&self, tile: TilePath) -> Option<Result<Vec<u8>, TilePath>> {
        let available = TilePath::in_tree(tile.kind, tile.index, self.head.size())?;
        if self.is_ended(tile) {
            return None;
        }
        if available.width < tile.width {
            return None;
        }
        if available.is_full() {
            return Some(Err(available));
        }
        let width = usize::from(tile.width);
        match tile.kind {
            TileKind::Entries => {
                let entries: Vec<&[u8]> =
                    self.entries[..width].iter().map(|(entry, _)| entry.as_ref()).collect();
                encode_bundle(&entries).ok().map(Ok)
            }
            TileKind::Hashes(level) => {
                let hashes = self.levels.get(usize::from(level))?.get(..width)?;
                Some(Ok(hash_bytes(hashes)))
            }
        }
    }

    /// What a submitter has to know.
    pub(crate) fn summary(&self, period_min: Duration) -> LogSummary {
        let last = self.head.last.as_ref();
        LogSummary {
            log: self.id,
            origin: self.origin.clone(),
            vkey: self.vkey.to_string(),
            size: self.head.size(),
            root: self.head.frontier.root(),
            checkpoint: self.checkpoint.clone(),
            last_entry: last.map(|last| last.bytes.to_vec()),
            cursor: last.map_or(0, |last| last.cursor),
            submitter: self.head.submitter,
            minimum_index: self.minimum_index,
            period_min: self.period.max(period_min),
        }
    }
}

/// What a leaf and its payload take.
pub(crate) fn bytes_of(leaf: &Leaf, entry: &[u8]) -> u64 {
    leaf.payload_bytes.saturating_add(entry.len() as u64)
}

/// The bytes of a hash tile.
pub(crate) fn hash_bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}
