//! Which leaf holds a record: records are numbered through the log, so that a few bundles tell.
//! Nothing is verified here; the proof of the leaf that was found is.

use super::{BUNDLE_BYTES_MAX, read_tile};
use crate::report::{Finding, FindingKind, Report};
use crate::{
    CHECKPOINT_BYTES_MAX, Leaf, SignedCheckpoint, Source, TileKind, TilePath, decode_bundle,
};

/// Bundles that cannot be read behind which is looked on for one that can; more are taken for a
/// pruned prefix.
const HOLE_MAX: u64 = 16;

/// The index of the leaf that holds record `sequence`; none when the log has no such record. A
/// record that lies before every leaf that can still be read, or in a hole, is said to be in a leaf
/// that cannot: its proof then tells whether that was pruned.
pub fn leaf_of_record(source: &dyn Source, sequence: u64) -> Result<Option<u64>, Box<Finding>> {
    let finding = |kind, problem: String| Box::new(Finding::new(kind, "checkpoint", problem));
    let bytes = source
        .read("checkpoint", CHECKPOINT_BYTES_MAX)
        .map_err(|error| finding(FindingKind::Unreadable, error.problem))?
        .ok_or_else(|| finding(FindingKind::Missing, "not there".to_owned()))?;
    let size = SignedCheckpoint::parse(&bytes)
        .map_err(|error| finding(FindingKind::Malformed, error.to_string()))?
        .checkpoint
        .size;
    let bundles = size.div_ceil(256);
    if bundles == 0 || sequence == 0 {
        return Ok(None);
    }
    let first = |bundle| leaves(source, bundle, size).first().map(|leaf| leaf.first_sequence);
    let (mut low, mut high) = (0, bundles);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let end = high.min(middle + HOLE_MAX);
        let readable = (middle..end).find_map(|bundle| Some((bundle, first(bundle)?)));
        match readable {
            Some((_, first)) if first > sequence => high = middle,
            Some((bundle, _)) => low = bundle,
            // Nothing behind can be read, so that it is looked for before.
            None if end == high => high = middle,
            // What cannot be read may be pruned: then it lies before everything that can.
            None => low = middle,
        }
    }
    let found = leaves(source, low, size);
    if found.is_empty() {
        return Ok(Some((high * 256).min(size) - 1));
    }
    let holds = |leaf: &Leaf| {
        leaf.count > 0 && (leaf.first_sequence..=leaf.last_sequence()).contains(&sequence)
    };
    if let Some(offset) = found.iter().position(holds) {
        return Ok(Some(low * 256 + offset as u64));
    }
    // It may be in the bundle behind, if that cannot be read: its proof says so.
    let next = low + 1;
    let is_hole = next < bundles && leaves(source, next, size).is_empty();
    Ok(is_hole.then_some(next * 256))
}

/// The leaves of a bundle; none when one of them cannot be read.
fn leaves(source: &dyn Source, index: u64, size: u64) -> Vec<Leaf> {
    let path = TilePath::in_tree(TileKind::Entries, index, size);
    let read =
        path.and_then(|path| read_tile(source, path, BUNDLE_BYTES_MAX, &mut Report::empty()));
    let bytes = read.map(|(_, bytes)| bytes).unwrap_or_default();
    let entries = decode_bundle(&bytes).unwrap_or_default();
    entries.iter().map(|entry| Leaf::decode(entry).ok()).collect::<Option<_>>().unwrap_or_default()
}
