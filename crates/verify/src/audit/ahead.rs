//! Bundles that are read, hashed and looked over on several threads, each a bounded number ahead of
//! the walk, which takes them in order: memory does not grow with the log. A bundle in which
//! nothing is wrong is handed on as what the walk needs of it; any other one as its bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::{BUNDLE_BYTES_MAX, length_fits, read_tile};
use crate::bundle::{bundle_hashes, entry_ranges};
use crate::chain::Followed;
use crate::payloads::Job;
use crate::report::{Finding, FindingKind, Report};
use crate::{Act, Digest, Leaf, Signers, Source, TILE_BYTES_MAX, TileKind, TilePath, root_of};

/// Bundles that one thread is ahead of the walk.
const AHEAD_MAX: usize = 2;
/// Longest bundle that waits for the walk as its bytes: a longer one is read again when its turn
/// comes. Leaves have some 300 bytes, so that 256 of them are far below.
const HELD_BYTES_MAX: usize = 1 << 20;

/// What is read, and how it is looked over.
pub(super) struct Plan<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) origin: &'a str,
    /// The tree's size.
    pub(super) size: u64,
    pub(super) every_signature: bool,
    pub(super) signers: &'a Signers,
}

/// One place of the tree, as it was found.
pub(super) struct Bundle {
    pub(super) path: TilePath,
    pub(super) content: Content,
}

pub(super) enum Content {
    /// Not there, or not readable: then the finding says so.
    Absent(Vec<Finding>),
    /// There, and no bundle of this place.
    Refused(Finding),
    /// A bundle.
    Whole(Box<Whole>),
}

/// A bundle with the hash tile that stands for it.
pub(super) struct Whole {
    /// The resource it was read from.
    pub(super) name: String,
    pub(super) hashes: Vec<Digest>,
    /// The root over them, where the bundle is full.
    pub(super) root: Option<Digest>,
    pub(super) tile: Stored,
    /// What was found while the tile was read.
    pub(super) findings: Vec<Finding>,
    pub(super) leaves: Leaves,
}

/// A hash tile.
pub(super) enum Stored {
    /// It holds the hashes of the entries.
    Same,
    /// It holds others.
    Other(String, Vec<Digest>),
    /// It is not there, or it is of no use, which a finding says.
    Absent { is_explained: bool },
}

pub(super) enum Leaves {
    /// The leaves follow each other.
    Run(Box<Run>),
    /// To be followed one by one: something may be wrong, or says something of other leaves.
    Bytes(Vec<u8>),
    /// The same, too long to be held until then.
    Again,
}

/// Leaves of one submitter that follow each other and say nothing of other leaves.
pub(super) struct Run {
    /// The first one, encoded.
    pub(super) first: Vec<u8>,
    /// Those behind it, if there are any.
    pub(super) behind: Option<Followed>,
    pub(super) jobs: Vec<Job>,
}

/// The threads, and what they have read.
pub(super) struct Ahead<'scope> {
    lanes: Vec<Receiver<Bundle>>,
    /// Bundles below are not wanted any more.
    floor: Arc<AtomicU64>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl Ahead<'_> {
    /// Bundle `index`, which is above every one that was taken before. None when the thread that
    /// reads it broke off.
    pub(super) fn take(&self, index: u64) -> Option<Bundle> {
        self.floor.store(index, Ordering::Relaxed);
        let lane = self.lanes.get((index % self.lanes.len() as u64) as usize)?;
        loop {
            let bundle = lane.recv().ok()?;
            if bundle.path.index == index {
                return Some(bundle);
            }
        }
    }

    /// Ends the threads. False when one broke off.
    pub(super) fn finish(self) -> bool {
        drop(self.lanes);
        let mut is_whole = true;
        for thread in self.threads {
            // Every one is joined, whatever the others did.
            is_whole &= ScopedJoinHandle::join(thread).is_ok();
        }
        is_whole
    }
}

impl Plan<'_> {
    /// Starts the threads.
    pub(super) fn start<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Ahead<'scope> {
        let count = (self.source.threads().max(1) as u64).min(self.size.div_ceil(256).max(1));
        let floor = Arc::new(AtomicU64::new(0));
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for first in 0..count {
            let (sender, receiver) = sync_channel(AHEAD_MAX);
            let floor = Arc::clone(&floor);
            threads.push(scope.spawn(move || self.lane((first, count), &floor, &sender)));
            lanes.push(receiver);
        }
        Ahead { lanes, floor, threads }
    }

    /// Reads every bundle `first`, `first + step` and so on, until nobody wants more.
    fn lane(&self, (first, step): (u64, u64), floor: &AtomicU64, sender: &SyncSender<Bundle>) {
        let mut index = first;
        loop {
            let wanted = floor.load(Ordering::Relaxed);
            if index < wanted {
                index += (wanted - index).div_ceil(step) * step;
            }
            let Some(path) = TilePath::in_tree(TileKind::Entries, index, self.size) else { return };
            if sender.send(Bundle { path, content: self.read(path) }).is_err() {
                return;
            }
            index += step;
        }
    }

    fn read(&self, path: TilePath) -> Content {
        let mut report = Report::empty();
        let read = read_tile(self.source, path, BUNDLE_BYTES_MAX, &mut report);
        let Some((name, mut bytes)) = read else { return Content::Absent(report.findings) };
        let width = usize::from(path.width);
        let ranges = match entry_ranges(&bytes) {
            Ok(mut ranges) if length_fits(&name, path, ranges.len()) => {
                ranges.truncate(width);
                ranges
            }
            Ok(ranges) => {
                let few = ranges.len() < width;
                let problem = if few { "entries are missing" } else { "too many entries" };
                let finding = Finding::new(FindingKind::Malformed, &name, problem);
                return Content::Refused(finding.values(path.width, ranges.len()));
            }
            Err(error) => {
                return Content::Refused(Finding::new(FindingKind::Malformed, &name, error));
            }
        };
        let hashes = bundle_hashes(&mut bytes, &ranges);
        let tile = stored(self.source, path, &hashes, &mut report);
        let run = match tile {
            Stored::Other(..) => None,
            Stored::Same | Stored::Absent { .. } => {
                self.run((&bytes[..], &ranges[..]), &hashes, path, &name)
            }
        };
        let leaves = match run {
            Some(run) => Leaves::Run(Box::new(run)),
            None if bytes.len() > HELD_BYTES_MAX => Leaves::Again,
            None => Leaves::Bytes(bytes),
        };
        let root = path.is_full().then(|| root_of(&hashes));
        let findings = report.findings;
        Content::Whole(Box::new(Whole { name, hashes, root, tile, findings, leaves }))
    }

    /// The leaves of a bundle, if they follow each other.
    fn run(
        &self,
        (bytes, ranges): (&[u8], &[Range<usize>]),
        hashes: &[Digest],
        path: TilePath,
        name: &str,
    ) -> Option<Run> {
        let mut index = path.index * 256;
        let mut jobs = Vec::new();
        let (first, behind) = ranges.split_first()?;
        let first = bytes.get(first.clone())?;
        // Each leaf is read into the place of the one before it, of which so much is still needed.
        let mut leaf = Leaf::decode(first).ok().filter(says_nothing_of_others)?;
        let mut last = (leaf.batch, leaf.last_sequence(), leaf.sealed_at);
        let submitter = leaf.submitter;
        jobs.extend(Job::of(index, &leaf));
        let mut records = 0;
        for (entry, before) in behind.iter().zip(hashes) {
            leaf.read(bytes.get(entry.clone())?).ok()?;
            let (batch, last_sequence, sealed_at) = last;
            let is_next = says_nothing_of_others(&leaf)
                && leaf.previous_hash == *before
                && leaf.previous_batch == batch
                && leaf.batch != batch
                && leaf.first_sequence == last_sequence.saturating_add(1)
                && leaf.sealed_at >= sealed_at
                && leaf.submitter == submitter;
            let is_signed =
                |leaf: &Leaf| leaf.verify_signature_with(self.origin, self.signers).is_ok();
            if !is_next || (self.every_signature && !is_signed(&leaf)) {
                return None;
            }
            index += 1;
            records += u64::from(leaf.count);
            jobs.extend(Job::of(index, &leaf));
            last = (leaf.batch, leaf.last_sequence(), leaf.sealed_at);
        }
        let (leaves, file) = (behind.len() as u64, name.to_owned());
        let followed = (leaves > 0).then_some(Followed { last: leaf, leaves, records, file });
        Some(Run { first: first.to_vec(), behind: followed, jobs })
    }
}

fn says_nothing_of_others(leaf: &Leaf) -> bool {
    matches!(leaf.act, Act::Batch | Act::Evidence | Act::Edge(_))
}

/// Compares the hash tile of level 0 in the place of a bundle with the hashes of its entries.
fn stored(source: &dyn Source, path: TilePath, hashes: &[Digest], report: &mut Report) -> Stored {
    let tile = TilePath { kind: TileKind::Hashes(0), ..path };
    match hash_tile(source, tile, report) {
        Some((_, found)) if found == hashes => Stored::Same,
        Some((name, found)) => Stored::Other(name, found),
        None => Stored::Absent { is_explained: report.findings_total > 0 },
    }
}

/// The hashes of a tile. None when it is not there, or, with a finding, when it is of no use.
pub(super) fn hash_tile(
    source: &dyn Source,
    tile: TilePath,
    report: &mut Report,
) -> Option<(String, Vec<Digest>)> {
    let (name, bytes) = read_tile(source, tile, TILE_BYTES_MAX, report)?;
    let width = usize::from(tile.width);
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !length_fits(&name, tile, hashes.len()) || !rest.is_empty() {
        let finding = Finding::new(FindingKind::Malformed, &name, "wrong length in bytes");
        report.add(finding.values(width * 32, bytes.len()));
        return None;
    }
    Some((name, hashes[..width].iter().map(|hash| Digest::from_bytes(*hash)).collect()))
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{BatchId, Timestamp};

    use super::*;
    use crate::{SIGNATURE_LEN, ShredReason};

    fn leaf(act: Act, fill: u8) -> Leaf {
        let has_records = matches!(act, Act::Batch | Act::Evidence);
        let has_payload = matches!(act, Act::Batch | Act::Reseal { .. });
        let at = Timestamp::from_micros(i64::from(fill));
        let digest = Digest::from_bytes([fill; 32]);
        Leaf {
            act,
            batch: BatchId::from_bytes([fill; 16]),
            previous_batch: BatchId::from_bytes([fill; 16]),
            previous_hash: digest,
            first_sequence: u64::from(fill),
            count: if has_records { 3 } else { 0 },
            events_from: at,
            events_to: at,
            sealed_at: at,
            payload: if has_payload { digest } else { Digest::ZERO },
            payload_bytes: if has_payload { 9 } else { 0 },
            records_root: digest,
            submitter: [fill; 32],
            signature: [fill; SIGNATURE_LEN],
        }
    }

    #[test]
    fn nothing_of_a_leaf_stays_where_another_is_read() {
        let reason = ShredReason::Requested;
        let old_payload = Digest::from_bytes([8; 32]);
        let acts = [
            Act::Batch,
            Act::Evidence,
            Act::Reseal { index: 1, old_payload, reason },
            Act::Shred { from: 1, to: 2, reason },
            Act::Retention { minimum_index: 256, reason },
            Act::SubmitterKey { next: [4; 32] },
        ];
        let leaves: Vec<Leaf> = (1..).zip(acts).map(|(fill, act)| leaf(act, fill)).collect();
        for before in &leaves {
            for wanted in &leaves {
                let mut place = before.clone();
                place.read(&wanted.encode()).unwrap();
                assert_eq!(&place, wanted);
                let cut = wanted.encode().len() - 1;
                assert!(place.read(&wanted.encode()[..cut]).is_err());
                place.read(&wanted.encode()).unwrap();
                assert_eq!(&place, wanted, "after an error");
            }
        }
    }
}
