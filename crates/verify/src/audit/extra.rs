//! What lies among a log's files and is no part of it: tiles that its tree does not reach or that
//! are others than those of it, published checkpoints that the index does not list, and payloads
//! that no leaf names. A tile that has grown since may lie beside what it became.

use super::head::Head;
use super::{BUNDLE_BYTES_MAX, read_tile};
use crate::payloads::{HashSums, payload_name};
use crate::published::{PUBLISHED_INDEX, published_checkpoint, published_roll, published_stamp};
use crate::report::{ExitClass, Finding, FindingKind, Report, is_litter};
use crate::{Digest, EVIDENCE_FILE, Source, TILE_BYTES_MAX, TileKind, TilePath, decode_bundle};

/// Looks through a log that can be listed, once everything that belongs to it was read.
/// `named`: the payloads of leaves, where they were read.
pub(super) fn check(
    source: &dyn Source,
    head: &Head,
    named: Option<HashSums>,
    report: &mut Report,
) {
    let size = head.checkpoint.size;
    let mut litter = 0u64;
    let tiles = source.list("tile", &mut |name| {
        if is_litter(name) {
            litter += 1;
            return;
        }
        let Some((tile, used)) = reached(name, size) else {
            let problem = "no part of the tree that the checkpoint states";
            report.add(Finding::new(FindingKind::Extra, name, problem));
            return;
        };
        if tile != used && !agrees(source, tile, used) {
            let problem = format!("of another width than {used}, and does not agree with it");
            report.add(Finding::new(FindingKind::Extra, name, problem));
        }
    });
    let published = source.list("published", &mut |name| {
        if is_litter(name) {
            litter += 1;
        } else if !is_published(name, &head.listed) {
            let problem = "not listed among the published checkpoints";
            report.add(Finding::new(FindingKind::Extra, name, problem));
        }
    });
    if matches!(tiles, Ok(true)) && source.open(EVIDENCE_FILE).is_ok_and(|file| file.is_some()) {
        let problem = "a bundle of evidence, and no part of a log";
        report.add(Finding::new(FindingKind::Extra, EVIDENCE_FILE, problem));
    }
    for error in [tiles, published].into_iter().filter_map(Result::err) {
        report.add(Finding::new(FindingKind::Unreadable, error.name, error.problem));
    }
    if litter > 0 {
        let note = format!("{litter} files that systems leave in folders are no part of the log");
        report.notes.push(note);
    }
    if let Some(named) = named {
        check_payloads(source, named, report);
    }
}

fn check_payloads(source: &dyn Source, named: HashSums, report: &mut Report) {
    // Whose payloads are damaged or missing cannot be told from strange ones by their number.
    if report.exit != ExitClass::Verified {
        return;
    }
    let (mut payloads, mut sums, mut strange) = (0u64, named, None);
    let listed = source.list("payload", &mut |name| {
        if is_litter(name) {
            return;
        }
        payloads += 1;
        match name.strip_prefix("payload/").map(str::parse::<Digest>) {
            Some(Ok(hash)) => sums.add(&hash),
            _ => {
                strange.get_or_insert_with(|| name.to_owned());
            }
        }
    });
    if let Err(error) = listed {
        report.add(Finding::new(FindingKind::Unreadable, error.name, error.problem));
        return;
    }
    let read = report.counts.payloads;
    let Some(more) = payloads.checked_sub(read).filter(|more| *more > 0) else { return };
    let is_there = |name: &String| source.open(name).is_ok_and(|file| file.is_some());
    let alone = sums.left().map(|hash| payload_name(&hash)).filter(is_there);
    let mut found = 0;
    for name in strange.into_iter().chain(alone) {
        found += 1;
        report.add(Finding::new(FindingKind::Extra, name, "no leaf names it"));
    }
    if found < more {
        let finding =
            Finding::new(FindingKind::Extra, "payload", "files that no leaf names: files");
        report.add(finding.values(read, payloads));
    }
}

/// `listed` ascends.
fn is_published(name: &str, listed: &[u64]) -> bool {
    let size = name.strip_prefix("published/").and_then(|rest| rest.split('.').next());
    let size = size.and_then(crate::tree_size).filter(|size| listed.binary_search(size).is_ok());
    name == PUBLISHED_INDEX
        || size.is_some_and(|size| {
            [published_checkpoint(size), published_stamp(size), published_roll(size)]
                .iter()
                .any(|known| known == name)
        })
}

/// A tile, and the one that the tree calls for in its place: it may be wider, for the log may have
/// grown since, or narrower, of a checkpoint before.
fn reached(name: &str, size: u64) -> Option<(TilePath, TilePath)> {
    let tile: TilePath = name.parse().ok()?;
    match tile.kind {
        // Levels above hold nothing.
        TileKind::Hashes(level) if level > 7 => None,
        kind => Some((tile, TilePath::in_tree(kind, tile.index, size)?)),
    }
}

/// Whether a tile of another width begins as the one that was read, or goes on from it.
fn agrees(source: &dyn Source, tile: TilePath, used: TilePath) -> bool {
    let is_bundle = tile.kind == TileKind::Entries;
    let bytes_max = if is_bundle { BUNDLE_BYTES_MAX } else { TILE_BYTES_MAX };
    let Ok(Some(other)) = source.read(&tile.to_string(), bytes_max) else { return false };
    let width = usize::from(tile.width);
    let is_whole = if is_bundle {
        decode_bundle(&other).is_ok_and(|entries| entries.len() == width)
    } else {
        other.len() == width * 32
    };
    // What is not there to be compared with was said, or lies in a part that was ended.
    let own = read_tile(source, used, bytes_max, &mut Report::empty());
    is_whole && own.is_none_or(|(_, own)| own.starts_with(&other) || other.starts_with(&own))
}
