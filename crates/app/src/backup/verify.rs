//! Verifies a backup whole before anything is done with it: every file of the list has its length
//! and digest, and there is no other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::BackupProgress;
use super::files::{digest, digest_at, io, plain_files, safe_name};
use super::manifest::{LIST, Listed, MANIFEST, Manifest};
use crate::{Error, Result};

/// Longest line of a list, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Walks over the list of a backup.
pub(super) fn each_file(folder: &Path, mut take: impl FnMut(&Listed) -> Result<()>) -> Result<u64> {
    let path = folder.join(LIST);
    let damaged = |number: u64, reason: &str| {
        Error::invalid_at(format!("{}, line {number}", path.display()), reason.to_owned())
    };
    let mut list = BufReader::new(File::open(&path).map_err(io("read", &path))?);
    let (mut count, mut line) = (0u64, String::new());
    loop {
        line.clear();
        let read = list.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        if read.map_err(io("read", &path))? == 0 {
            return Ok(count);
        }
        count += 1;
        let listed: Listed =
            serde_json::from_str(&line).map_err(|_| damaged(count, "is damaged"))?;
        if safe_name(Path::new(&listed.path)).is_none() {
            return Err(damaged(count, "names a file outside the backup"));
        }
        take(&listed)?;
    }
}

/// Checks every byte of a backup and answers its manifest.
pub(super) fn verify(folder: &Path, progress: &BackupProgress) -> Result<Manifest> {
    let manifest = Manifest::read(folder)?;
    let list = folder.join(LIST);
    let (found, _) = digest(&list)?;
    if hex::encode(found) != manifest.files_sha256 {
        return Err(differs(&list, &manifest.files_sha256, &hex::encode(found)));
    }
    let mut names = HashSet::new();
    let count = each_file(folder, |listed| {
        let path = folder.join(&listed.path);
        if !path.is_file() {
            return Err(Error::invalid_at(path.display().to_string(), "is missing"));
        }
        let (hash, bytes) = digest_at(&path, |bytes| progress.pace(bytes))?;
        if bytes != listed.bytes {
            let detail = format!("has {bytes} bytes, expected {}", listed.bytes);
            return Err(Error::invalid_at(path.display().to_string(), detail));
        }
        if hex::encode(hash) != listed.sha256 {
            return Err(differs(&path, &listed.sha256, &hex::encode(hash)));
        }
        names.insert(listed.path.clone());
        progress.add(bytes);
        Ok(())
    })?;
    if count != manifest.files || count != names.len() as u64 {
        let detail = format!("lists {count} files, expected {}", manifest.files);
        return Err(Error::invalid_at(list.display().to_string(), detail));
    }
    names.extend([LIST.to_owned(), MANIFEST.to_owned()]);
    for path in plain_files(folder, Path::new(""))? {
        if !path.to_str().is_some_and(|name| names.contains(name)) {
            let path = folder.join(path).display().to_string();
            return Err(Error::invalid_at(path, "is not in the backup's list"));
        }
    }
    Ok(manifest)
}

fn differs(path: &Path, expected: &str, found: &str) -> Error {
    let detail = format!("was altered: expected SHA-256 {expected}, found {found}");
    Error::invalid_at(path.display().to_string(), detail)
}
