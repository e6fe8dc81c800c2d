//! Entry bundles: big-endian 16-bit lengths, each before its entry (C2SP tlog-tiles, "Log
//! entries"). A bundle with a cut entry, or with more than 256, is refused.

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
    let mut entries = Vec::new();
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
        entries.push(&bytes[at + 2..at + 2 + length]);
        at += 2 + length;
    }
    Ok(entries)
}
