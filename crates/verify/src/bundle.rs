//! Entry bundles: big-endian 16-bit lengths, each before its entry (C2SP tlog-tiles, "Log
//! entries"). A bundle with a cut entry, or with more than 256, is refused.

use std::ops::Range;

use crate::{Digest, sha256};

/// Entries in a full bundle.
pub const ENTRIES_PER_BUNDLE: usize = 256;
/// Longest entry that the format can hold.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Why bytes are not an entry bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The bytes end inside an entry or its length.
    #[error("entry {entry} at byte {at} is cut: needs {needed} bytes, {left} are left")]
    Cut {
        /// Number of the entry within the bundle.
        entry: usize,
        /// Where it starts.
        at: usize,
        /// Bytes it needs from there.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// More entries than a bundle holds.
    #[error("more than {ENTRIES_PER_BUNDLE} entries in a bundle")]
    TooMany,
    /// An entry is too long to be framed.
    #[error("entry of {0} bytes: at most {ENTRY_BYTES_MAX} fit")]
    TooLong(usize),
}

/// Appends one framed entry to `out`.
pub fn encode_entry(entry: &[u8], out: &mut Vec<u8>) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(entry);
    Ok(())
}

/// A bundle of these entries.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
    if entries.len() > ENTRIES_PER_BUNDLE {
        return Err(BundleError::TooMany);
    }
    let mut out = Vec::with_capacity(entries.iter().map(|entry| entry.as_ref().len() + 2).sum());
    for entry in entries {
        encode_entry(entry.as_ref(), &mut out)?;
    }
    Ok(out)
}

/// The entries of a bundle, borrowed from it.
pub fn decode_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    Ok(entry_ranges(bytes)?.into_iter().map(|range| &bytes[range]).collect())
}

/// The leaf hash of every entry of a bundle. Nothing is copied: an entry is hashed where it lies,
/// behind the zero byte of RFC 6962, for which the last byte of its length makes room meanwhile.
pub(crate) fn bundle_hashes(bytes: &mut [u8], ranges: &[Range<usize>]) -> Vec<Digest> {
    let mut hashes = Vec::with_capacity(ranges.len());
    for range in ranges {
        // Two bytes of length are before every entry.
        let before = range.start - 1;
        let length = std::mem::replace(&mut bytes[before], 0);
        hashes.push(sha256(&bytes[before..range.end]));
        bytes[before] = length;
    }
    hashes
}

/// Where the entries of a bundle lie.
pub(crate) fn entry_ranges(bytes: &[u8]) -> Result<Vec<Range<usize>>, BundleError> {
    let mut entries = Vec::with_capacity(ENTRIES_PER_BUNDLE);
    let mut at = 0;
    while at < bytes.len() {
        let left = bytes.len() - at;
        let cut = |needed| BundleError::Cut { entry: entries.len(), at, needed, left };
        if entries.len() == ENTRIES_PER_BUNDLE {
            return Err(BundleError::TooMany);
        }
        if left < 2 {
            return Err(cut(2));
        }
        let length = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        if left < 2 + length {
            return Err(cut(2 + length));
        }
        entries.push(at + 2..at + 2 + length);
        at += 2 + length;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    #[test]
    fn entries_are_hashed_where_they_lie() {
        let (long, longer) = ("c".repeat(300), "d".repeat(2000));
        let entries = ["", "a", "bb", &long, &longer].map(str::as_bytes);
        let bundle = encode_bundle(&entries).unwrap();
        let mut bytes = bundle.clone();
        let ranges = entry_ranges(&bytes).unwrap();
        let hashes = bundle_hashes(&mut bytes, &ranges);
        assert_eq!(hashes, entries.map(leaf_hash));
        assert_eq!(bytes, bundle, "left as it was");
    }
}
