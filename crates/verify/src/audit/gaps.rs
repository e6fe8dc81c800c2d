//! Gaps in the record sequence, and what is missing of what edges stated, in a log whose entries
//! lead to its checkpoint.

use super::answers::SourceTiles;
use super::head::{self, Head};
use super::{BUNDLE_BYTES_MAX, VerifyOptions, read_tile};
use crate::edge_gaps::EdgeGaps;
use crate::report::{Finding, FindingKind, Progress, Report};
use crate::{
    Act, Digest, EdgeReport, Frontier, Leaf, Source, TileHashes, TileKind, TilePath, VerifierKey,
    decode_bundle, leaf_hash,
};

/// Bundles missing in a row after which the rest is not looked for.
const MISSING_BUNDLES_MAX: u64 = 10_000;
/// Most gaps listed.
const GAPS_MAX: usize = 10_000;
/// Tile levels of a tree with a 63-bit size.
const LEVELS: u8 = 8;

/// What gaps are looked for with.
#[derive(Debug, Clone, Default)]
pub struct GapOptions {
    /// The log's key, from outside; without it the key that comes with the log is used.
    pub vkey: Option<VerifierKey>,
    /// Edges of which it is known how far they have stated: public key and last counter.
    pub edges: Vec<([u8; 32], u64)>,
}

/// Records that are not in the log between two that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The leaf before which they are missing.
    pub before_leaf: u64,
    /// First missing sequence.
    pub first: u64,
    /// Last missing sequence.
    pub last: u64,
}

/// Gaps of the record sequence.
#[derive(Debug, Clone)]
pub struct GapReport {
    /// Whether the entries that were read are those of the signed checkpoint: key, findings, exit
    /// class.
    pub checked: Report,
    /// The gaps, at most 10,000.
    pub gaps: Vec<Gap>,
    /// True when there are more.
    pub truncated: bool,
    /// Leaves read.
    pub leaves: u64,
    /// Leaves that could not be read.
    pub unreadable: u64,
    /// Last sequence in the log.
    pub last_sequence: u64,
    /// What store-and-forward edges stated, one after the other.
    pub edges: Vec<EdgeReport>,
}

impl GapReport {
    /// Takes note of a leaf.
    fn leaf(&mut self, index: u64, leaf: &Leaf) {
        self.leaves += 1;
        let wanted = self.last_sequence + 1;
        if leaf.first_sequence > wanted {
            if self.gaps.len() < GAPS_MAX {
                let (first, last) = (wanted, leaf.first_sequence - 1);
                self.gaps.push(Gap { before_leaf: index, first, last });
            } else {
                self.truncated = true;
            }
        }
        self.last_sequence = self.last_sequence.max(leaf.last_sequence());
    }
}

/// Lists gaps of the record sequence, and what is missing of what edges stated. The checkpoint's
/// signature and the root over all entries are verified, and of other signatures the edges' own.
pub fn gaps(
    source: &dyn Source,
    options: &GapOptions,
    progress: &mut dyn FnMut(Progress),
) -> GapReport {
    let mut checked = Report::empty();
    let with = VerifyOptions { vkey: options.vkey.clone(), ..VerifyOptions::default() };
    let head = head::read(source, &with, &mut checked);
    let mut report = GapReport {
        checked,
        gaps: Vec::new(),
        truncated: false,
        leaves: 0,
        unreadable: 0,
        last_sequence: 0,
        edges: Vec::new(),
    };
    let Some(head) = head else { return report };
    let size = head.checkpoint.size;
    let mut edges = EdgeGaps::default();
    let mut root = Root::new(source);
    let mut missing = 0;
    for index in 0..size.div_ceil(256) {
        let Some(path) = TilePath::in_tree(TileKind::Entries, index, size) else { break };
        let read = read_tile(source, path, BUNDLE_BYTES_MAX, &mut Report::empty());
        missing = if read.is_some() { 0 } else { missing + 1 };
        if missing > MISSING_BUNDLES_MAX {
            report.truncated = true;
            break;
        }
        let bytes = read.map(|(_, bytes)| bytes).unwrap_or_default();
        let entries = decode_bundle(&bytes).unwrap_or_default();
        let width = usize::from(path.width);
        root.bundle(path, entries.get(..width), size);
        for offset in 0..width {
            let leaf = entries.get(offset).and_then(|entry| Leaf::decode(entry).ok());
            let Some(leaf) = leaf else {
                report.unreadable += 1;
                continue;
            };
            if let Act::Edge(statement) = &leaf.act {
                edges.note(statement);
            }
            report.leaf(index * 256 + offset as u64, &leaf);
        }
        let leaves = (index * 256).saturating_add(u64::from(path.width));
        progress(Progress { leaves, leaves_total: size, ..Progress::default() });
    }
    root.compare(&head, &mut report.checked);
    report.truncated |= edges.is_truncated();
    edges.expect(&options.edges);
    report.edges = edges.reports(report.unreadable == 0);
    report
}

/// The root over the entries that were read, and over the stored hashes of those that are gone.
struct Root<'a> {
    tiles: SourceTiles<'a>,
    frontier: Frontier,
    is_broken: bool,
}

impl<'a> Root<'a> {
    fn new(source: &'a dyn Source) -> Self {
        Self { tiles: SourceTiles::new(source), frontier: Frontier::new(), is_broken: false }
    }

    /// Takes the entries of a bundle, if they are all there.
    fn bundle(&mut self, path: TilePath, entries: Option<&[&[u8]]>, size: u64) {
        let first = path.index * 256;
        // What a hash further up stood for already.
        if self.is_broken || first < self.frontier.size() {
            return;
        }
        match entries {
            Some(entries) => entries.iter().for_each(|entry| self.frontier.push(leaf_hash(entry))),
            None => self.is_broken = !self.stored(path, size),
        }
    }

    /// Goes on with the lowest hashes that are stored. False when there are none.
    fn stored(&mut self, path: TilePath, size: u64) -> bool {
        let tile = TilePath { kind: TileKind::Hashes(0), ..path };
        if let Ok(hashes) = self.tiles.hashes(tile) {
            hashes.into_iter().for_each(|hash| self.frontier.push(hash));
            return true;
        }
        for level in 1..LEVELS {
            let span = 1u64 << (8 * u32::from(level - 1));
            if !path.index.is_multiple_of(span) || (path.index + span) * 256 > size {
                return false;
            }
            if let Some(hash) = self.hash(level, path.index / span, size) {
                return self.frontier.push_subtree(8 * u32::from(level), hash);
            }
        }
        false
    }

    fn hash(&self, level: u8, position: u64, size: u64) -> Option<Digest> {
        let tile = TilePath::in_tree(TileKind::Hashes(level), position / 256, size)?;
        self.tiles.hashes(tile).ok()?.get((position % 256) as usize).copied()
    }

    fn compare(&self, head: &Head, report: &mut Report) {
        let checkpoint = &head.checkpoint;
        if self.is_broken || self.frontier.size() != checkpoint.size {
            let problem = "the root cannot be computed: entries and tiles are missing";
            report.add(Finding::new(FindingKind::Missing, "tile", problem));
        } else if self.frontier.root() != checkpoint.root {
            let problem = "the root is not that of the entries";
            let finding = Finding::new(FindingKind::Root, "checkpoint", problem);
            report.add(finding.values(checkpoint.root, self.frontier.root()));
        }
    }
}
