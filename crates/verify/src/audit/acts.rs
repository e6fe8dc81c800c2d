//! What later leaves say of one that is gone, or whose payload is: believed once the leaf that says
//! so leads to the checkpoint and its submitter's signature holds.

use std::fmt::Display;

use super::answers::SourceTiles;
use super::head::Head;
use super::{BUNDLE_BYTES_MAX, read_tile};
use crate::report::{Finding, FindingKind, Report};
use crate::{
    Act, Leaf, Source, TileKind, TilePath, decode_bundle, inclusion_path, leaf_hash,
    verify_inclusion,
};

/// Most bundles read in search of a statement.
const STATEMENT_BUNDLES_MAX: usize = 1_000_000;
/// Most statements named that nothing proves.
const NAMED_MAX: usize = 16;

/// Whether a leaf behind `index` says that it was lawfully pruned.
pub(super) fn is_pruned(log: (&dyn Source, &Head), index: u64, report: &mut Report) -> bool {
    find(log, (index, None), &|at, leaf| prunes((at, leaf), index), report)
}

/// Whether a leaf behind `index` says that the payload of that one was lawfully destroyed, or
/// replaced.
pub(super) fn is_destroyed(
    log: (&dyn Source, &Head),
    (index, gone): (u64, &Leaf),
    report: &mut Report,
) -> bool {
    let explains = |at: u64, leaf: &Leaf| match leaf.act {
        Act::Shred { from, to, .. } => (from..to).contains(&index) && to <= at,
        Act::Reseal { index: resealed, old_payload, .. } => {
            resealed == index
                && old_payload == gone.payload
                && leaf.records_root == gone.records_root
        }
        _ => prunes((at, leaf), index),
    };
    find(log, (index, Some(gone.submitter)), &explains, report)
}

fn prunes((at, leaf): (u64, &Leaf), index: u64) -> bool {
    match leaf.act {
        Act::Retention { minimum_index, .. } => index < minimum_index && minimum_index <= at,
        _ => false,
    }
}

/// Looks behind leaf `index` for one that explains and is proven. One that would explain and is not
/// proven is a finding. Where the key that submitted leaf `index` is known, it is that key's to
/// explain, or of a key that took its place.
fn find(
    (source, head): (&dyn Source, &Head),
    (index, mut submitter): (u64, Option<[u8; 32]>),
    explains: &dyn Fn(u64, &Leaf) -> bool,
    report: &mut Report,
) -> bool {
    let size = head.checkpoint.size;
    let tiles = SourceTiles::new(source);
    let mut named = 0;
    let paths =
        (index / 256..).map_while(|bundle| TilePath::in_tree(TileKind::Entries, bundle, size));
    for path in paths.take(STATEMENT_BUNDLES_MAX) {
        let read = read_tile(source, path, BUNDLE_BYTES_MAX, &mut Report::empty());
        let bytes = read.map(|(_, bytes)| bytes).unwrap_or_default();
        let entries = decode_bundle(&bytes).unwrap_or_default();
        let behind = (path.index * 256..size).zip(entries).filter(|(at, _)| *at > index);
        for (at, entry) in behind {
            let Ok(leaf) = Leaf::decode(entry) else { continue };
            let is_theirs = submitter.is_none_or(|key| key == leaf.submitter);
            if let (Act::SubmitterKey { next }, true, Some(_)) = (&leaf.act, is_theirs, submitter)
                && proven((&tiles, head), (at, entry, &leaf), path).is_ok()
            {
                submitter = Some(*next);
            }
            if !explains(at, &leaf) {
                continue;
            }
            let proven = proven((&tiles, head), (at, entry, &leaf), path);
            let checked = proven.and_then(|()| {
                if is_theirs {
                    return Ok(());
                }
                let problem = "it would explain what is missing, and another key signed it";
                let finding = Finding::new(FindingKind::Identity, path, problem);
                Err(Box::new(finding.at(leaf.place(at))))
            });
            match checked {
                Ok(()) => return true,
                Err(finding) if named < NAMED_MAX => {
                    named += 1;
                    report.add(*finding);
                }
                Err(_) => {}
            }
        }
    }
    false
}

fn proven(
    (tiles, head): (&SourceTiles<'_>, &Head),
    (at, entry, leaf): (u64, &[u8], &Leaf),
    path: TilePath,
) -> Result<(), Box<Finding>> {
    let finding = |kind, problem: &dyn Display| {
        let problem = format!("it would explain what is missing, and is not proven: {problem}");
        Box::new(Finding::new(kind, path, problem).at(leaf.place(at)))
    };
    let (size, root) = (head.checkpoint.size, head.checkpoint.root);
    let hashes =
        inclusion_path(tiles, at, size).map_err(|error| finding(FindingKind::Missing, &error))?;
    verify_inclusion(at, leaf_hash(entry), &hashes, size, root)
        .map_err(|error| finding(FindingKind::Hash, &error))?;
    leaf.verify_signature(&head.checkpoint.origin)
        .map_err(|error| finding(FindingKind::Signature, &error))
}
