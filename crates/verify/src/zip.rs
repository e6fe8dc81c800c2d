//! Zip files (PKWARE APPNOTE 6.3) in the one form that bundles of evidence have: stored, not
//! compressed, one disk, no comment, CRC-32 of every file checked. Anything else is refused.

use std::collections::BTreeMap;

/// Largest bundle read or written.
pub const ZIP_BYTES_MAX: u64 = 64 << 20;
/// Most files in it.
const FILES_MAX: usize = 10_000;
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_BYTES: usize = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: usize = 22;
/// Names are UTF-8 (bit 11).
const FLAGS: u16 = 0x0800;
const VERSION: u16 = 20;
/// 1 January 1980, the format's first day: what was packed when is said inside.
const DATE: u16 = 0x0021;

/// Why a zip file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    /// It is not a zip file, or is cut.
    #[error("not a zip file, or cut")]
    Malformed,
    /// A file in it is packed in a way that is not read.
    #[error("{0}: compressed or encrypted; bundles are stored as they are")]
    Packed(String),
    /// A file's bytes are not those that were packed.
    #[error("{0}: its bytes were changed (CRC-32)")]
    Changed(String),
    /// Too much.
    #[error("more than {FILES_MAX} files or {ZIP_BYTES_MAX} bytes")]
    TooLarge,
}

fn put(out: &mut Vec<u8>, shorts: &[u16]) {
    for short in shorts {
        out.extend_from_slice(&short.to_le_bytes());
    }
}

fn long(number: usize) -> Result<[u8; 4], ZipError> {
    let number = u32::try_from(number).map_err(|_| ZipError::TooLarge)?;
    Ok(number.to_le_bytes())
}

/// Packs files in their order.
pub fn zip_stored(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ZipError> {
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    if files.len() > FILES_MAX || bytes > ZIP_BYTES_MAX {
        return Err(ZipError::TooLarge);
    }
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let name_bytes = u16::try_from(name.len()).map_err(|_| ZipError::TooLarge)?;
        let mut shared = Vec::new();
        put(&mut shared, &[VERSION, FLAGS, 0, 0, DATE]);
        shared.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        shared.extend_from_slice(&long(bytes.len())?);
        shared.extend_from_slice(&long(bytes.len())?);
        put(&mut shared, &[name_bytes, 0]);
        central.extend_from_slice(&CENTRAL.to_le_bytes());
        put(&mut central, &[VERSION]);
        central.extend_from_slice(&shared);
        // No comment, first disk, no attributes.
        put(&mut central, &[0, 0, 0, 0, 0]);
        central.extend_from_slice(&long(out.len())?);
        central.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&LOCAL.to_le_bytes());
        out.extend_from_slice(&shared);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(bytes);
    }
    let (start, length) = (long(out.len())?, long(central.len())?);
    out.extend_from_slice(&central);
    out.extend_from_slice(&END.to_le_bytes());
    let count = u16::try_from(files.len()).map_err(|_| ZipError::TooLarge)?;
    put(&mut out, &[0, 0, count, count]);
    out.extend_from_slice(&length);
    out.extend_from_slice(&start);
    put(&mut out, &[0]);
    Ok(out)
}

fn short_at(bytes: &[u8], at: usize) -> Result<u16, ZipError> {
    let found = bytes.get(at..at + 2).and_then(|two| two.try_into().ok());
    found.map(u16::from_le_bytes).ok_or(ZipError::Malformed)
}

fn long_at(bytes: &[u8], at: usize) -> Result<u32, ZipError> {
    let found = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    found.map(u32::from_le_bytes).ok_or(ZipError::Malformed)
}

/// The files of a zip file by name.
pub fn unzip_stored(zip: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ZipError> {
    if zip.len() as u64 > ZIP_BYTES_MAX * 2 {
        return Err(ZipError::TooLarge);
    }
    let end = zip.len().checked_sub(END_BYTES).ok_or(ZipError::Malformed)?;
    if long_at(zip, end)? != END {
        return Err(ZipError::Malformed);
    }
    let count = usize::from(short_at(zip, end + 10)?);
    if count > FILES_MAX {
        return Err(ZipError::TooLarge);
    }
    let mut at = long_at(zip, end + 16)? as usize;
    let mut files = BTreeMap::new();
    // Files that share bytes would unpack to far more than was read.
    let mut left = zip.len();
    for _ in 0..count {
        if long_at(zip, at)? != CENTRAL {
            return Err(ZipError::Malformed);
        }
        let name_bytes = usize::from(short_at(zip, at + 28)?);
        let rest = usize::from(short_at(zip, at + 30)?) + usize::from(short_at(zip, at + 32)?);
        let name = zip
            .get(at + CENTRAL_BYTES..at + CENTRAL_BYTES + name_bytes)
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or(ZipError::Malformed)?
            .to_owned();
        if short_at(zip, at + 10)? != 0 || short_at(zip, at + 8)? & 1 != 0 {
            return Err(ZipError::Packed(name));
        }
        let (crc, length) = (long_at(zip, at + 16)?, long_at(zip, at + 24)? as usize);
        left = left.checked_sub(length).ok_or(ZipError::Malformed)?;
        let local = long_at(zip, at + 42)? as usize;
        if long_at(zip, local)? != LOCAL {
            return Err(ZipError::Malformed);
        }
        let before =
            usize::from(short_at(zip, local + 26)?) + usize::from(short_at(zip, local + 28)?);
        let start = local + LOCAL_BYTES + before;
        let bytes = zip.get(start..start + length).ok_or(ZipError::Malformed)?;
        if crc32fast::hash(bytes) != crc {
            return Err(ZipError::Changed(name));
        }
        if files.insert(name, bytes.to_vec()).is_some() {
            return Err(ZipError::Malformed);
        }
        at += CENTRAL_BYTES + name_bytes + rest;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_changes_are_named() {
        let files =
            [("a.txt".to_owned(), b"one".to_vec()), ("b/c.json".to_owned(), b"{}".to_vec())];
        let zip = zip_stored(&files).unwrap();
        let expected: BTreeMap<_, _> = files.iter().cloned().collect();
        assert_eq!(unzip_stored(&zip).unwrap(), expected);
        let at = zip.windows(3).position(|part| part == b"one").unwrap();
        let mut changed = zip.clone();
        changed[at] ^= 1;
        assert_eq!(unzip_stored(&changed), Err(ZipError::Changed("a.txt".to_owned())));
        for length in 0..zip.len() {
            assert!(unzip_stored(&zip[..length]).is_err(), "cut at {length}");
        }
        assert!(unzip_stored(&zip_stored(&[]).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn files_that_share_bytes_are_refused() {
        let files = [("a".to_owned(), vec![7; 1000]), ("b".to_owned(), vec![7; 1000])];
        let mut zip = zip_stored(&files).unwrap();
        let second = zip.len() - END_BYTES - CENTRAL_BYTES - 1;
        // Without the second file's own bytes: both entries name the first.
        let local = LOCAL_BYTES + 1 + 1000;
        zip[second + 42..second + 46].fill(0);
        zip.drain(local..2 * local);
        let at = zip.len() - END_BYTES + 16;
        let start = long(local).unwrap();
        zip[at..at + 4].copy_from_slice(&start);
        assert_eq!(unzip_stored(&zip), Err(ZipError::Malformed));
    }
}
