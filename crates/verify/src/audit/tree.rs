//! Recomputes every hash tile from the entries and compares: tile by tile, level by level, and the
//! root at the end. Keeps one tile per level in memory.

use super::ahead::{Leaves, Stored, Whole, hash_tile};
use super::head::Head;
use crate::chain::Statements;
use crate::report::{FINDINGS_MAX, Finding, FindingKind, Report};
use crate::{
    Digest, Frontier, Leaf, LeafPlace, Source, TileKind, TilePath, decode_bundle, root_of,
};

/// Tile levels of a tree with a 63-bit size.
const LEVELS: usize = 8;
/// Bundles for which nothing at all was found, after which a log is given up.
const LOST_BUNDLES_MAX: u64 = 100_000;
/// Most ranges of missing bundles remembered.
const RANGES_MAX: usize = 100_000;

pub(super) struct TreeCheck<'a> {
    source: &'a dyn Source,
    head: &'a Head,
    frontier: Frontier,
    /// Hashes of the tile being filled, per level from 1.
    levels: Vec<Vec<Digest>>,
    /// Set when no hash could be found for a part of the tree.
    broken: bool,
    /// Bundles for which no hash was found.
    lost: u64,
    /// Bundles not there, as half-open ranges.
    missing: Vec<(u64, u64)>,
    known_at: usize,
    /// Sizes of the known checkpoints that were found to be the log's own, ascending.
    compared: Vec<u64>,
    /// Checkpoints that came with the log and lie in a part of it that is gone.
    passed_over: u64,
    /// So does one that the reader brought.
    is_given_passed_over: bool,
}

impl<'a> TreeCheck<'a> {
    pub(super) fn new(source: &'a dyn Source, head: &'a Head) -> Self {
        Self {
            source,
            head,
            frontier: Frontier::new(),
            levels: vec![Vec::new(); LEVELS],
            broken: false,
            lost: 0,
            missing: Vec::new(),
            known_at: 0,
            compared: Vec::new(),
            passed_over: 0,
            is_given_passed_over: false,
        }
    }

    /// Takes the leaf hashes of a bundle that could be read.
    pub(super) fn bundle(&mut self, path: TilePath, read: &Whole, report: &mut Report) {
        let (tile_name, stored) = match &read.tile {
            Stored::Absent { is_explained } => {
                if !is_explained {
                    let tile = TilePath { kind: TileKind::Hashes(0), ..path };
                    report.add(Finding::new(FindingKind::Missing, tile, "not there"));
                }
                self.push_leaves(path, &read.hashes, read.root, report);
                return;
            }
            Stored::Same => {
                report.counts.tiles += 1;
                self.push_leaves(path, &read.hashes, read.root, report);
                return;
            }
            Stored::Other(name, hashes) => (name, hashes),
        };
        report.counts.tiles += 1;
        let hashes = &read.hashes;
        let entries_are_right = self.arbitrate(path, hashes, stored);
        let entries = match &read.leaves {
            Leaves::Bytes(bytes) => decode_bundle(bytes).unwrap_or_default(),
            Leaves::Run(_) | Leaves::Again => Vec::new(),
        };
        for (offset, (stored, computed)) in stored.iter().zip(hashes).enumerate() {
            if stored == computed {
                continue;
            }
            let index = path.index * 256 + offset as u64;
            let place = entries
                .get(offset)
                .and_then(|entry| Leaf::decode(entry).ok())
                .map_or(LeafPlace { index, batch: None, records: None }, |leaf| leaf.place(index));
            let name = &read.name;
            let (file, problem, expected, found) = if entries_are_right == Some(true) {
                (tile_name, format!("leaf hash differs from {name}"), computed, stored)
            } else {
                (name, format!("leaf hash differs from {tile_name}"), stored, computed)
            };
            let finding = Finding::new(FindingKind::Hash, file, problem);
            report.add(finding.at(place).values(expected, found));
        }
        let right = if entries_are_right == Some(false) { stored } else { hashes };
        self.push_leaves(path, right, None, report);
    }

    /// Which of the two the tree above agrees with: true for the entries, false for the hash tile,
    /// none when it agrees with neither or cannot tell.
    fn arbitrate(&self, path: TilePath, computed: &[Digest], stored: &[Digest]) -> Option<bool> {
        let (from_entries, from_tile, above) = if path.is_full() {
            let above = self.hash_above(1, path.index)?;
            (root_of(computed), root_of(stored), above)
        } else {
            if self.broken {
                return None;
            }
            let with = |hashes: &[Digest]| {
                let mut frontier = self.frontier.clone();
                hashes.iter().for_each(|hash| frontier.push(*hash));
                frontier.root()
            };
            (with(computed), with(stored), self.head.checkpoint.root)
        };
        match above {
            above if above == from_entries => Some(true),
            above if above == from_tile => Some(false),
            _ => None,
        }
    }

    /// Hash number `position` of a tile level, as stored.
    fn hash_above(&self, level: u8, position: u64) -> Option<Digest> {
        let size = self.head.checkpoint.size;
        let tile = TilePath::in_tree(TileKind::Hashes(level), position / 256, size)?;
        let (_, hashes) = self.tile(tile, &mut Report::empty())?;
        hashes.get((position % 256) as usize).copied()
    }

    fn tile(&self, tile: TilePath, report: &mut Report) -> Option<(String, Vec<Digest>)> {
        hash_tile(self.source, tile, report)
    }

    /// The bundle is there and useless; that was reported. Its hashes come from the tile.
    pub(super) fn bundle_refused(
        &mut self,
        path: TilePath,
        report: &mut Report,
    ) -> (Option<Digest>, u64) {
        self.without_entries(path, report)
    }

    /// The bundle is not there; a statement later in the log may explain it.
    pub(super) fn bundle_missing(
        &mut self,
        path: TilePath,
        report: &mut Report,
    ) -> (Option<Digest>, u64) {
        let (hash, step) = self.without_entries(path, report);
        let room = self.missing.len() < RANGES_MAX;
        match self.missing.last_mut() {
            Some((_, end)) if *end == path.index => *end += step,
            _ if room => {
                self.missing.push((path.index, path.index + step));
            }
            _ => {
                let problem = "not there, like too many before it";
                report.add(Finding::new(FindingKind::Missing, path, problem));
            }
        }
        (hash, step)
    }

    /// Goes on with stored hashes: of the leaves, or of the lowest level that still has them. The
    /// answer is the hash of the last leaf, if known, and the number of bundles passed.
    fn without_entries(&mut self, path: TilePath, report: &mut Report) -> (Option<Digest>, u64) {
        let tile = TilePath { kind: TileKind::Hashes(0), ..path };
        if let Some((_, hashes)) = self.tile(tile, report) {
            let last = hashes.last().copied();
            self.push_leaves(path, &hashes, None, report);
            return (last, 1);
        }
        for level in 1..LEVELS as u8 {
            let span = 1u64 << (8 * u32::from(level - 1));
            let fits = path.index.is_multiple_of(span)
                && (path.index + span) * 256 <= self.head.checkpoint.size;
            if !fits {
                break;
            }
            if let Some(hash) = self.hash_above(level, path.index / span) {
                self.check_known(&[], report);
                self.push_subtree(level, hash, report);
                return (None, span);
            }
        }
        self.broken = true;
        self.lost += 1;
        (None, 1)
    }

    /// True when so much is missing that reading on would only take time: a checkpoint may claim
    /// any size.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost > LOST_BUNDLES_MAX
    }

    /// Takes leaf hashes; of a full tile `root` may be known already.
    fn push_leaves(
        &mut self,
        path: TilePath,
        hashes: &[Digest],
        root: Option<Digest>,
        report: &mut Report,
    ) {
        self.check_known(hashes, report);
        if path.is_full() {
            self.push_subtree(1, root.unwrap_or_else(|| root_of(hashes)), report);
        } else {
            hashes.iter().for_each(|hash| self.frontier.push(*hash));
        }
    }

    /// Takes the root of a complete tile of `level - 1`, that is hash of `level`.
    fn push_subtree(&mut self, level: u8, hash: Digest, report: &mut Report) {
        if self.broken {
            return;
        }
        if !self.frontier.push_subtree(8 * u32::from(level), hash) {
            self.broken = true;
            return;
        }
        let (mut level, mut hash) = (level, hash);
        while usize::from(level) < LEVELS {
            let pending = &mut self.levels[usize::from(level)];
            pending.push(hash);
            if pending.len() < 256 {
                return;
            }
            let full = std::mem::take(pending);
            let position = (self.frontier.size() >> (8 * u32::from(level))) - 1;
            self.compare(level, position / 256, &full, report);
            hash = root_of(&full);
            level += 1;
        }
    }

    fn compare(&self, level: u8, index: u64, computed: &[Digest], report: &mut Report) {
        let width = computed.len() as u16;
        let tile = TilePath { kind: TileKind::Hashes(level), index, width };
        let found_before = report.findings_total;
        let Some((name, stored)) = self.tile(tile, report) else {
            // What is there and of no use was named as it was read.
            if report.findings_total == found_before {
                report.add(Finding::new(FindingKind::Missing, tile, "not there"));
            }
            return;
        };
        report.counts.tiles += 1;
        for (offset, (stored, computed)) in stored.iter().zip(computed).enumerate() {
            if stored != computed {
                let below = TilePath {
                    kind: TileKind::Hashes(level - 1),
                    index: index * 256 + offset as u64,
                    width: 256,
                };
                let problem = format!("hash {offset} is not that of {below}");
                let finding = Finding::new(FindingKind::Hash, &name, problem);
                report.add(finding.values(computed, stored));
            }
        }
    }

    /// Compares the known checkpoints that end here or within these leaves.
    fn check_known(&mut self, hashes: &[Digest], report: &mut Report) {
        let start = self.frontier.size();
        let head = self.head;
        while let Some(known) = head.known.get(self.known_at) {
            if known.size > start + hashes.len() as u64 || self.broken {
                return;
            }
            self.known_at += 1;
            let Some(more) = known.size.checked_sub(start) else {
                if known.is_given {
                    let note = format!("{}: not compared, its part is pruned", known.name);
                    report.notes.push(note);
                }
                self.is_given_passed_over |= known.is_given;
                self.passed_over += u64::from(!known.is_given);
                continue;
            };
            let mut frontier = self.frontier.clone();
            hashes[..more as usize].iter().for_each(|hash| frontier.push(*hash));
            if frontier.root() == known.root {
                self.compared.push(known.size);
                continue;
            }
            let (size, name) = (known.size, &known.name);
            let problem = format!("the log is not an extension of {name}: root at {size}");
            let finding = Finding::new(FindingKind::Fork, "checkpoint", problem);
            report.add(finding.values(known.root, frontier.root()));
        }
    }

    /// Compares the partial tiles above level 0 and the root, and settles missing bundles. The
    /// answer is the sizes of the known checkpoints that are the log's own, ascending, and whether
    /// one that the reader brought could not be compared.
    pub(super) fn finish(
        mut self,
        statements: &Statements,
        report: &mut Report,
    ) -> (Vec<u64>, bool) {
        let checkpoint = &self.head.checkpoint;
        if !self.broken {
            for level in 1..LEVELS as u8 {
                let pending = std::mem::take(&mut self.levels[usize::from(level)]);
                if !pending.is_empty() {
                    let index = (checkpoint.size >> (8 * u32::from(level))) / 256;
                    self.compare(level, index, &pending, report);
                }
            }
            let root = self.frontier.root();
            if root != checkpoint.root {
                let problem = "the root is not that of the entries";
                let finding = Finding::new(FindingKind::Root, "checkpoint", problem);
                report.add(finding.values(checkpoint.root, root));
            }
        }
        for (from, to) in std::mem::take(&mut self.missing) {
            let lawful = (statements.minimum_index / 256).clamp(from, to);
            report.counts.pruned += (lawful - from) * 256;
            let named = to.min(lawful.saturating_add(FINDINGS_MAX as u64));
            for index in lawful..named {
                let path = TilePath::in_tree(TileKind::Entries, index, checkpoint.size);
                let name = path.map_or_else(String::new, |path| path.to_string());
                let problem = "not there, and no leaf says that it was pruned";
                report.add(Finding::new(FindingKind::Missing, name, problem));
            }
            report.findings_total += to - named;
        }
        if self.broken {
            let problem = "the root cannot be computed: tiles are missing";
            report.add(Finding::new(FindingKind::Missing, "tile", problem));
        }
        if report.counts.pruned > 0 {
            let (pruned, minimum) = (report.counts.pruned, statements.minimum_index);
            report.notes.push(format!("{pruned} leaves below {minimum} were lawfully pruned"));
        }
        if self.passed_over > 0 {
            let count = self.passed_over;
            report.notes.push(format!("{count} published checkpoints lie in a part that is gone"));
        }
        (self.compared, self.is_given_passed_over)
    }
}
