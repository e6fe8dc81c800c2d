//! Inclusion and consistency proofs: building them from tiles (RFC 6962, sections 2.1.1 and 2.1.2)
//! and verifying them (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use crate::merkle::Frontier;
use crate::{Digest, TileKind, TilePath, node_hash};

/// Why a proof cannot be built or does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or size lies outside the tree.
    #[error("{what} {value} is outside a tree of {size} leaves")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tile that the proof needs cannot be read.
    #[error("{path}: {problem}")]
    Tile {
        /// The tile.
        path: String,
        /// Why.
        problem: String,
    },
    /// The path has the wrong number of hashes.
    #[error("the proof holds {found} hashes, not the right number for this tree")]
    Length {
        /// Hashes in the proof.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to root {found}, expected {expected}")]
    Root {
        /// What the checkpoint says.
        expected: Digest,
        /// What the proof leads to.
        found: Digest,
    },
}

/// Where proofs take their tiles from.
pub trait TileHashes {
    /// The hashes of a tile, exactly as many as its width.
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError>;
}

struct Reader<'a, T: TileHashes + ?Sized> {
    tiles: &'a T,
    size: u64,
}

impl<T: TileHashes + ?Sized> Reader<'_, T> {
    /// Root of the complete subtree of `2^height` leaves that starts at leaf `start`.
    fn subtree(&self, height: u32, start: u64) -> Result<Digest, ProofError> {
        let (level, within) = ((height / 8) as u8, height % 8);
        let first = start >> (u32::from(level) * 8);
        let count = 1usize << within;
        let tile = TilePath::in_tree(TileKind::Hashes(level), first / 256, self.size)
            .ok_or(ProofError::Range { what: "leaf", value: start, size: self.size })?;
        let hashes = self.tiles.hashes(tile)?;
        let offset = (first % 256) as usize;
        let part = hashes.get(offset..offset + count).ok_or_else(|| ProofError::Tile {
            path: tile.to_string(),
            problem: format!("holds {} hashes, expected {}", hashes.len(), tile.width),
        })?;
        let mut frontier = Frontier::new();
        for hash in part {
            frontier.push(*hash);
        }
        Ok(frontier.root())
    }

    /// `MTH(D[start:end])` for a range that the recursion of RFC 6962 produces.
    fn range(&self, start: u64, end: u64) -> Result<Digest, ProofError> {
        let length = end - start;
        if length.is_power_of_two() && start.is_multiple_of(length) {
            return self.subtree(length.trailing_zeros(), start);
        }
        let split = start + split_point(length);
        Ok(node_hash(&self.range(start, split)?, &self.range(split, end)?))
    }

    fn path(&self, index: u64, start: u64, end: u64) -> Result<Vec<Digest>, ProofError> {
        if end - start == 1 {
            return Ok(Vec::new());
        }
        let split = start + split_point(end - start);
        let (mut path, sibling) = if index < split {
            (self.path(index, start, split)?, self.range(split, end)?)
        } else {
            (self.path(index, split, end)?, self.range(start, split)?)
        };
        path.push(sibling);
        Ok(path)
    }

    fn subproof(
        &self,
        old: u64,
        range: (u64, u64),
        whole: bool,
    ) -> Result<Vec<Digest>, ProofError> {
        let (start, end) = range;
        if old == end {
            return if whole { Ok(Vec::new()) } else { Ok(vec![self.range(start, end)?]) };
        }
        let split = start + split_point(end - start);
        let (mut path, sibling) = if old <= split {
            (self.subproof(old, (start, split), whole)?, self.range(split, end)?)
        } else {
            (self.subproof(old, (split, end), false)?, self.range(start, split)?)
        };
        path.push(sibling);
        Ok(path)
    }
}

/// The largest power of two below `length`, which is at least 2.
fn split_point(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

/// The audit path of leaf `index` in a tree of `size` leaves, sibling of the leaf first.
pub fn inclusion_path<T: TileHashes + ?Sized>(
    tiles: &T,
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, ProofError> {
    if index >= size {
        return Err(ProofError::Range { what: "index", value: index, size });
    }
    Reader { tiles, size }.path(index, 0, size)
}

/// The proof that a tree of `size` leaves extends its own first `old_size`. Empty when the sizes
/// are equal or the old tree is empty.
pub fn consistency_path<T: TileHashes + ?Sized>(
    tiles: &T,
    old_size: u64,
    size: u64,
) -> Result<Vec<Digest>, ProofError> {
    if old_size > size {
        return Err(ProofError::Range { what: "old size", value: old_size, size });
    }
    if old_size == 0 || old_size == size {
        return Ok(Vec::new());
    }
    Reader { tiles, size }.subproof(old_size, (0, size), true)
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with root `root`.
pub fn verify_inclusion(
    index: u64,
    leaf: Digest,
    path: &[Digest],
    size: u64,
    root: Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range { what: "index", value: index, size });
    }
    let length = ProofError::Length { found: path.len() };
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    if hash == root { Ok(()) } else { Err(ProofError::Root { expected: root, found: hash }) }
}

/// Checks that the tree (`size`, `root`) extends the tree (`old_size`, `old_root`).
pub fn verify_consistency(
    (old_size, old_root): (u64, Digest),
    (size, root): (u64, Digest),
    path: &[Digest],
) -> Result<(), ProofError> {
    let length = ProofError::Length { found: path.len() };
    let equal = |expected: Digest, found: Digest| {
        if expected == found { Ok(()) } else { Err(ProofError::Root { expected, found }) }
    };
    if old_size > size {
        return Err(ProofError::Range { what: "old size", value: old_size, size });
    }
    if old_size == 0 || old_size == size {
        if !path.is_empty() {
            return Err(length);
        }
        let expected = if old_size == 0 { Frontier::new().root() } else { root };
        return equal(expected, old_root);
    }
    let mut hashes = path.iter();
    let first = if old_size.is_power_of_two() { Some(&old_root) } else { hashes.next() };
    let first = *first.ok_or(length.clone())?;
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut hash) = (first, first);
    for sibling in hashes {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    equal(old_root, old_hash)?;
    equal(root, hash)
}
