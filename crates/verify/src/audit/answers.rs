//! Questions about a log that need not read all of it: the proof of one leaf, consistency with an
//! earlier checkpoint.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use super::published::Published;
use super::{BUNDLE_BYTES_MAX, VerifyOptions, acts, head, read_tile};
use crate::payloads::{self, Job, payload_name};
use crate::report::{ExitClass, Finding, FindingKind, Report};
use crate::{
    Checkpoint, Digest, Leaf, ProofError, SignedCheckpoint, Source, TILE_BYTES_MAX, TileHashes,
    TileKind, TilePath, TlogProof, VerifierKey, consistency_path, decode_bundle, inclusion_path,
    leaf_hash, verify_consistency, verify_inclusion,
};

/// Published checkpoints that the proof of one leaf is compared with.
const COMPARED_MAX: usize = 16;
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
        if acts::is_pruned((source, &head), index, &mut report) {
            report.notes.push(format!("leaf {index} was lawfully pruned"));
            report.end_as(ExitClass::Pruned);
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
    let mut is_destroyed = false;
    match &leaf {
        Some(leaf) if options.skip_payloads && leaf.payload_bytes > 0 => {
            report.notes.push("the payload was not looked at".to_owned());
        }
        Some(leaf) => is_destroyed = check_payload((source, &head), (index, leaf), &mut report),
        None => {}
    }
    let checkpoint = head.note.clone();
    let proof = TlogProof { entry: Some(entry), index, path: hashes, checkpoint };
    let compared = compared(source, &head, &mut report);
    head::conclude(&head, options, &compared, &mut report);
    if is_destroyed {
        report.end_as(ExitClass::Shredded);
    }
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

/// Hashes the leaf's payload. True when it is not there and a later leaf says that it was
/// destroyed.
fn check_payload(
    (source, head): (&dyn Source, &head::Head),
    (index, leaf): (u64, &Leaf),
    report: &mut Report,
) -> bool {
    let Some(job) = Job::of(index, leaf) else { return false };
    if let Some(findings) = payloads::check_alone(source, &job) {
        report.counts.payloads += 1;
        findings.into_iter().for_each(|finding| report.add(finding));
        return false;
    }
    let is_destroyed = acts::is_destroyed((source, head), (index, leaf), report);
    if is_destroyed {
        report.notes.push(format!("the payload of leaf {index} was lawfully destroyed"));
    } else {
        let problem = "missing, and no leaf says that it was destroyed";
        let finding = Finding::new(FindingKind::Missing, payload_name(&leaf.payload), problem);
        report.add(finding.at(leaf.place(index)));
    }
    is_destroyed
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
