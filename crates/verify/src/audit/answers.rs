//! Questions about a log that need not read all of it: the proof of one leaf, consistency with an
//! earlier checkpoint, gaps in the record sequence.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use super::published::Published;
use super::{BUNDLE_BYTES_MAX, VerifyOptions, head, read_tile};
use crate::edge_gaps::EdgeGaps;
use crate::payloads::payload_name;
use crate::report::{ExitClass, Finding, FindingKind, Progress, Report};
use crate::{
    Act, Checkpoint, Digest, EdgeReport, Leaf, ProofError, SignedCheckpoint, Source,
    TILE_BYTES_MAX, TileHashes, TileKind, TilePath, TlogProof, VerifierKey, consistency_path,
    decode_bundle, inclusion_path, leaf_hash, verify_consistency, verify_inclusion,
};

/// Most bundles read in search of a statement.
const STATEMENT_BUNDLES_MAX: usize = 1_000_000;
/// Bundles missing in a row after which the rest is not looked for.
const MISSING_BUNDLES_MAX: u64 = 10_000;
/// Published checkpoints that the proof of one leaf is compared with.
const COMPARED_MAX: usize = 16;
/// Most gaps listed.
const GAPS_MAX: usize = 10_000;

/// Most tiles that [`SourceTiles`] keeps.
const TILES_KEPT_MAX: usize = 64;

/// The hash tiles of a log, for proofs. The last ones that were read are kept, since a path goes
/// through few tiles and asks for each of them often.
pub struct SourceTiles<'a> {
    source: &'a dyn Source,
    kept: RefCell<VecDeque<(TilePath, Vec<Digest>)>>,
}

impl fmt::Debug for SourceTiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceTiles({} kept)", self.kept.borrow().len())
    }
}

impl<'a> SourceTiles<'a> {
    /// The tiles of the log behind `source`.
    pub const fn new(source: &'a dyn Source) -> Self {
        Self { source, kept: RefCell::new(VecDeque::new()) }
    }

    fn read(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        let problem = |problem: String| ProofError::Tile { path: tile.to_string(), problem };
        let mut report = Report::empty();
        let (_, bytes) = read_tile(self.source, tile, TILE_BYTES_MAX, &mut report)
            .ok_or_else(|| problem("not there".to_owned()))?;
        let (hashes, _) = bytes.as_chunks::<32>();
        let hashes = hashes.get(..usize::from(tile.width)).ok_or_else(|| {
            problem(format!("{} bytes, expected {}", bytes.len(), tile.width * 32))
        })?;
        Ok(hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect())
    }
}

impl TileHashes for SourceTiles<'_> {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        let kept = self.kept.borrow().iter().find(|(kept, _)| *kept == tile).cloned();
        if let Some((_, hashes)) = kept {
            return Ok(hashes);
        }
        let hashes = self.read(tile)?;
        let mut kept = self.kept.borrow_mut();
        if kept.len() == TILES_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((tile, hashes.clone()));
        Ok(hashes)
    }
}

/// The answer to [`proof`].
#[derive(Debug, Clone)]
pub struct ProofAnswer {
    /// The proof, checked; none when the entry cannot be had.
    pub proof: Option<TlogProof>,
    /// The leaf.
    pub leaf: Option<Leaf>,
    /// What else is wrong or worth knowing: findings, notes, exit class (13 and 14 among them).
    pub report: Report,
}

/// Builds and checks the proof of leaf `index`.
pub fn proof(source: &dyn Source, index: u64, options: &VerifyOptions) -> ProofAnswer {
    let mut report = Report::empty();
    let Some(head) = head::read(source, options, &mut report) else {
        return ProofAnswer { proof: None, leaf: None, report };
    };
    let Checkpoint { size, root, .. } = head.checkpoint;
    let Some(path) =
        TilePath::in_tree(TileKind::Entries, index / 256, size).filter(|_| index < size)
    else {
        let finding = Finding::new(FindingKind::Missing, "checkpoint", "no such leaf: tree size");
        report.add(finding.values(format!("more than {index}"), size));
        return ProofAnswer { proof: None, leaf: None, report };
    };
    let entry = read_tile(source, path, BUNDLE_BYTES_MAX, &mut report).and_then(|(_, bytes)| {
        let entries = decode_bundle(&bytes).ok()?;
        entries.get((index % 256) as usize).map(|entry| entry.to_vec())
    });
    let Some(entry) = entry else {
        if acts_after(source, index, size).any(|act| prunes(act, index)) {
            report.notes.push(format!("leaf {index} was lawfully pruned"));
            report.exit = ExitClass::Pruned;
        } else {
            report.add(Finding::new(FindingKind::Missing, path, "not there, or cut"));
        }
        return ProofAnswer { proof: None, leaf: None, report };
    };
    let built = inclusion_path(&SourceTiles::new(source), index, size).and_then(|path| {
        verify_inclusion(index, leaf_hash(&entry), &path, size, root).map(|()| path)
    });
    let hashes = match built {
        Ok(hashes) => hashes,
        Err(error) => {
            let kind = match error {
                ProofError::Tile { .. } => FindingKind::Missing,
                _ => FindingKind::Hash,
            };
            report.add(Finding::new(kind, path, format!("leaf {index}: {error}")));
            return ProofAnswer { proof: None, leaf: None, report };
        }
    };
    let leaf = check_leaf((index, &entry), &head, path, &mut report);
    if let Some(leaf) = leaf.as_ref().filter(|_| !options.skip_payloads) {
        check_payload(source, (index, leaf), size, &mut report);
    }
    let checkpoint = head.note.clone();
    let proof = TlogProof { entry: Some(entry), index, path: hashes, checkpoint };
    let compared = compared(source, &head, &mut report);
    head::conclude(&head, options, &compared, &mut report);
    ProofAnswer { proof: Some(proof), leaf, report }
}

/// The newest published checkpoints that the log is found to extend, newest first.
fn compared<'a>(
    source: &dyn Source,
    head: &'a head::Head,
    report: &mut Report,
) -> Vec<&'a Published> {
    let Checkpoint { size, root, .. } = head.checkpoint;
    let tiles = TilesOf { tiles: SourceTiles::new(source), size };
    let mut compared = Vec::new();
    let reached = head.published.iter().rev().filter(|one| one.size <= size);
    for one in reached.take(COMPARED_MAX) {
        let path = consistency_path(&tiles, one.size, size);
        match path.and_then(|path| verify_consistency((one.size, one.root), (size, root), &path)) {
            Ok(()) => compared.push(one),
            // It may lie in a part that was pruned.
            Err(ProofError::Tile { .. }) => {}
            Err(error) => {
                let problem = format!("the log is not an extension of {}: {error}", one.name);
                report.add(Finding::new(FindingKind::Fork, "checkpoint", problem));
            }
        }
    }
    compared
}

/// Decodes the leaf and verifies its submitter.
fn check_leaf(
    (index, entry): (u64, &[u8]),
    head: &head::Head,
    path: TilePath,
    report: &mut Report,
) -> Option<Leaf> {
    let leaf = match Leaf::decode(entry) {
        Ok(leaf) => leaf,
        Err(error) => {
            report.add(Finding::new(FindingKind::Malformed, path, error));
            return None;
        }
    };
    if let Err(error) = leaf.verify_signature(&head.checkpoint.origin) {
        report.add(Finding::new(FindingKind::Signature, path, error).at(leaf.place(index)));
    }
    Some(leaf)
}

/// Says whether the leaf's payload was destroyed.
fn check_payload(source: &dyn Source, (index, leaf): (u64, &Leaf), size: u64, report: &mut Report) {
    let name = payload_name(&leaf.payload);
    let absent = leaf.payload_bytes > 0 && matches!(source.open(&name), Ok(None));
    if absent {
        let mut acts = acts_after(source, index, size);
        if acts.any(|act| shreds(act, index) || prunes(act, index)) {
            report.notes.push(format!("the payload of leaf {index} was lawfully destroyed"));
            if report.exit == ExitClass::Verified {
                report.exit = ExitClass::Shredded;
            }
        }
    }
}

fn prunes(act: Act, index: u64) -> bool {
    matches!(act, Act::Retention { minimum_index, .. } if index < minimum_index)
}

fn shreds(act: Act, index: u64) -> bool {
    match act {
        Act::Shred { from, to, .. } => (from..to).contains(&index),
        Act::Reseal { index: resealed, .. } => resealed == index,
        _ => false,
    }
}

/// The acts of all leaves after `index` that can be read.
fn acts_after(source: &dyn Source, index: u64, size: u64) -> impl Iterator<Item = Act> + '_ {
    let paths =
        (index / 256..).map_while(move |index| TilePath::in_tree(TileKind::Entries, index, size));
    paths.take(STATEMENT_BUNDLES_MAX).flat_map(move |path| {
        let read = read_tile(source, path, BUNDLE_BYTES_MAX, &mut Report::empty());
        let bytes = read.map(|(_, bytes)| bytes).unwrap_or_default();
        let entries = decode_bundle(&bytes).unwrap_or_default();
        let acts: Vec<Act> = entries
            .iter()
            .filter_map(|entry| Leaf::decode(entry).ok())
            .map(|leaf| leaf.act)
            .collect();
        acts
    })
}

/// The answer to [`consistency`].
#[derive(Debug, Clone)]
pub struct ConsistencyAnswer {
    /// The earlier checkpoint.
    pub old: Checkpoint,
    /// The log's checkpoint now.
    pub new: Checkpoint,
    /// The consistency proof between them.
    pub path: Vec<Digest>,
}

/// Shows that the log extends an earlier checkpoint of it, from hash tiles alone. Both checkpoints
/// have to be signed by `key`.
pub fn consistency(
    source: &dyn Source,
    old: &[u8],
    key: &VerifierKey,
) -> Result<ConsistencyAnswer, Box<Finding>> {
    let tip = tip(source, key)?;
    let old = signed("earlier checkpoint", old, key)?;
    extends(source, old, tip.clone(), tip.size)
}

/// The same of two checkpoints that both are earlier than the log's own, or as late: the first is
/// extended by the second, and the second by the log, whose hash tiles show it.
pub fn consistency_between(
    source: &dyn Source,
    old: &[u8],
    new: &[u8],
    key: &VerifierKey,
) -> Result<ConsistencyAnswer, Box<Finding>> {
    let tip = tip(source, key)?;
    let old = signed("earlier checkpoint", old, key)?;
    let new = signed("later checkpoint", new, key)?;
    extends(source, new.clone(), tip.clone(), tip.size)?;
    extends(source, old, new, tip.size)
}

/// The log's checkpoint now.
fn tip(source: &dyn Source, key: &VerifierKey) -> Result<Checkpoint, Box<Finding>> {
    let bytes = source
        .read("checkpoint", crate::CHECKPOINT_BYTES_MAX)
        .map_err(|error| {
            Box::new(Finding::new(FindingKind::Unreadable, "checkpoint", error.problem))
        })?
        .ok_or_else(|| Box::new(Finding::new(FindingKind::Missing, "checkpoint", "not there")))?;
    signed("checkpoint", &bytes, key)
}

/// A checkpoint that is signed by `key`.
fn signed(name: &str, note: &[u8], key: &VerifierKey) -> Result<Checkpoint, Box<Finding>> {
    let signed = SignedCheckpoint::parse(note)
        .map_err(|error| Box::new(Finding::new(FindingKind::Malformed, name, error)))?;
    signed
        .verify(key)
        .map_err(|error| Box::new(Finding::new(FindingKind::Signature, name, error)))?;
    Ok(signed.checkpoint)
}

/// Shows that `new` extends `old`, with the tiles of a tree of `size` leaves, which is no smaller.
fn extends(
    source: &dyn Source,
    old: Checkpoint,
    new: Checkpoint,
    size: u64,
) -> Result<ConsistencyAnswer, Box<Finding>> {
    if old.size > new.size {
        let problem = "the log went back behind the earlier checkpoint: tree size";
        let finding = Finding::new(FindingKind::Rewind, "checkpoint", problem);
        return Err(Box::new(finding.values(format!("{} or more", old.size), new.size)));
    }
    let fork = |error: ProofError| {
        Box::new(match error {
            ProofError::Tile { .. } => Finding::new(FindingKind::Missing, "tile", error),
            _ => Finding::new(
                FindingKind::Fork,
                "checkpoint",
                format!("not an extension of the earlier checkpoint: {error}"),
            ),
        })
    };
    let tiles = TilesOf { tiles: SourceTiles::new(source), size };
    let path = consistency_path(&tiles, old.size, new.size).map_err(fork)?;
    verify_consistency((old.size, old.root), (new.size, new.root), &path).map_err(fork)?;
    Ok(ConsistencyAnswer { old, new, path })
}

/// The proof that the first `size` leaves of a log extend its first `old_size`, from its tiles.
pub fn consistency_at(
    source: &dyn Source,
    old_size: u64,
    size: u64,
) -> Result<Vec<Digest>, ProofError> {
    consistency_path(&SourceTiles::new(source), old_size, size)
}

/// The path of leaf `index` in the tree of a log's first `size` leaves, from its tiles.
pub fn inclusion_at(source: &dyn Source, index: u64, size: u64) -> Result<Vec<Digest>, ProofError> {
    inclusion_path(&SourceTiles::new(source), index, size)
}

/// Tiles of a smaller tree out of those of a larger one, which begin with the same hashes: of a
/// tile that has grown since, only the wider one may still be there.
struct TilesOf<'a> {
    tiles: SourceTiles<'a>,
    size: u64,
}

impl TileHashes for TilesOf<'_> {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        let now = TilePath::in_tree(tile.kind, tile.index, self.size).unwrap_or(tile);
        let mut hashes = self.tiles.hashes(now)?;
        hashes.truncate(usize::from(tile.width));
        Ok(hashes)
    }
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GapReport {
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

/// Lists gaps of the record sequence, and what is missing of what edges stated. Of signatures only
/// the edges' own are verified.
pub fn gaps(
    source: &dyn Source,
    progress: &mut dyn FnMut(Progress),
) -> Result<GapReport, Box<Finding>> {
    let bytes = source
        .read("checkpoint", crate::CHECKPOINT_BYTES_MAX)
        .map_err(|error| {
            Box::new(Finding::new(FindingKind::Unreadable, "checkpoint", error.problem))
        })?
        .ok_or_else(|| Box::new(Finding::new(FindingKind::Missing, "checkpoint", "not there")))?;
    let size = SignedCheckpoint::parse(&bytes)
        .map_err(|error| Box::new(Finding::new(FindingKind::Malformed, "checkpoint", error)))?
        .checkpoint
        .size;
    let mut report = GapReport::default();
    let mut edges = EdgeGaps::default();
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
        for offset in 0..usize::from(path.width) {
            let leaf = entries.get(offset).and_then(|entry| Leaf::decode(entry).ok());
            let Some(leaf) = leaf else {
                report.unreadable += 1;
                continue;
            };
            report.leaves += 1;
            if let Act::Edge(statement) = &leaf.act {
                edges.note(statement);
            }
            let wanted = report.last_sequence + 1;
            if leaf.first_sequence > wanted {
                if report.gaps.len() < GAPS_MAX {
                    let (first, last) = (wanted, leaf.first_sequence - 1);
                    report.gaps.push(Gap { before_leaf: index * 256 + offset as u64, first, last });
                } else {
                    report.truncated = true;
                }
            }
            report.last_sequence = report.last_sequence.max(leaf.last_sequence());
        }
        let leaves = (index * 256).saturating_add(u64::from(path.width));
        progress(Progress { leaves, leaves_total: size, ..Progress::default() });
    }
    report.truncated |= edges.is_truncated();
    report.edges = edges.reports(report.unreadable == 0);
    Ok(report)
}
