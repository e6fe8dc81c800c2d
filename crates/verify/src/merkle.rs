//! Merkle tree hashing of RFC 6962, section 2.1, and a compact frontier that computes the root of a
//! growing tree in logarithmic memory.

use crate::digest::sha256_of_padded;
use crate::{Digest, sha256};

/// Entries up to this length are hashed from the stack.
const STACK_ENTRY_BYTES: usize = 1024;

/// `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    if entry.len() < STACK_ENTRY_BYTES {
        let mut buffer = [0u8; STACK_ENTRY_BYTES];
        buffer[1..=entry.len()].copy_from_slice(entry);
        return sha256(&buffer[..=entry.len()]);
    }
    let mut buffer = Vec::with_capacity(entry.len() + 1);
    buffer.push(0);
    buffer.extend_from_slice(entry);
    sha256(&buffer)
}

/// `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    // With what SHA-256 adds to 65 bytes: one bit, zeros, and their length in bits.
    let mut blocks = [[0u8; 64]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[0] = 1;
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..65].copy_from_slice(right.as_bytes());
    bytes[65] = 0x80;
    bytes[126..].copy_from_slice(&(65u16 * 8).to_be_bytes());
    sha256_of_padded(&blocks)
}

/// The root over leaf hashes; that of the empty tree is SHA-256 of nothing.
pub fn root_of(leaves: &[Digest]) -> Digest {
    if leaves.len().is_power_of_two() {
        return complete_root(leaves);
    }
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The root over a number of leaf hashes that is a power of two, as that of a full tile.
fn complete_root(leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let half = level.len() / 2;
        for at in 0..half {
            level[at] = node_hash(&level[2 * at], &level[2 * at + 1]);
        }
        level.truncate(half);
    }
    level[0]
}

/// The right edge of a tree: the roots of its complete subtrees, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// From a size and its peaks, as [`Self::peaks`] gave them; `None` when their number differs
    /// from the set bits of `size`.
    pub fn from_peaks(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        let joined = self.push_subtree(0, leaf);
        debug_assert!(joined, "a leaf always fits");
    }

    /// Appends the root of a complete subtree of `2^height` leaves. False, and nothing done, when
    /// the tree does not end on such a boundary.
    pub fn push_subtree(&mut self, height: u32, root: Digest) -> bool {
        if height >= 63 || !self.size.is_multiple_of(1 << height) {
            return false;
        }
        let mut above = self.size >> height;
        let mut root = root;
        while above & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                root = node_hash(&left, &root);
            }
            above >>= 1;
        }
        self.peaks.push(root);
        self.size += 1 << height;
        true
    }

    /// The root of the tree so far.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => sha256(&[]),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}
