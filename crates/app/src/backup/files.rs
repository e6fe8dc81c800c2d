//! Small questions about files that backup and restore share: lists, names, whole writes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use veritwin_keys::Sha256;

use crate::{Error, Result};

/// Bytes read at a time.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
/// Most files below one folder that are listed.
const FILES_MAX: usize = 20_000_000;
/// Largest small JSON file that is read whole, in bytes.
const JSON_BYTES_MAX: u64 = 1024 * 1024;

/// An error of the file system, with what was tried on which file.
pub(crate) fn io(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |error| Error::invalid_at(path.display().to_string(), format!("cannot {action}: {error}"))
}

/// The ordinary files below `data/folder`, relative to `data`, sorted; none when it is absent.
pub(crate) fn plain_files(data: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(relative) = folders.pop() {
        let path = data.join(&relative);
        let facts = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(io("inspect", &path))?,
        };
        if facts.is_file() {
            found.push(relative);
            if found.len() > FILES_MAX {
                return Err(Error::invalid_at(path.display().to_string(), "too many files"));
            }
        } else if facts.is_dir() {
            for entry in fs::read_dir(&path).map_err(io("list", &path))? {
                folders.push(relative.join(entry.map_err(io("list", &path))?.file_name()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A path of a list as text, if it stays below its root.
pub(crate) fn safe_name(path: &Path) -> Option<&str> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    path.to_str().filter(|text| plain && !text.is_empty())
}

/// SHA-256 and length of a file.
pub(crate) fn digest(path: &Path) -> Result<([u8; 32], u64)> {
    digest_at(path, |_| {})
}

/// The same, waiting behind each so many bytes that were read.
pub(crate) fn digest_at(path: &Path, wait: impl Fn(u64)) -> Result<([u8; 32], u64)> {
    let mut file = File::open(path).map_err(io("read", path))?;
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let (mut hash, mut length) = (Sha256::default(), 0u64);
    loop {
        let count = file.read(&mut buffer).map_err(io("read", path))?;
        if count == 0 {
            return Ok((hash.finish(), length));
        }
        hash.update(&buffer[..count]);
        length += count as u64;
        wait(count as u64);
    }
}

/// A new file that only its owner can read.
pub(crate) fn create_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(io("create", path))
}

/// A folder that only its owner can read, with those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(io("create", path))
}

/// Replaces a file in one step, durably.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = create_private(&temporary)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", path))?;
    fs::rename(&temporary, path).map_err(io("replace", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io("make durable", path))
}

/// Makes everything on the file system of `path` durable.
pub(crate) fn sync_file_system(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(io("open", path))?;
    rustix::fs::syncfs(&file).map_err(|error| io("make durable", path)(error.into()))
}

/// Reads a small file.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io("read", path))?;
    file.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        let detail = format!("limit file_bytes_max exceeded: at most {JSON_BYTES_MAX}");
        return Err(Error::invalid_at(path.display().to_string(), detail));
    }
    Ok(bytes)
}

/// The instance id of a data directory.
pub(crate) fn instance_of(path: &Path) -> Result<String> {
    let json: serde_json::Value = serde_json::from_slice(&read_small(path)?)
        .map_err(|_| Error::invalid_at(path.display().to_string(), "is damaged"))?;
    let instance = json["instance"].as_str().map(str::to_owned);
    instance.ok_or_else(|| Error::invalid_at(path.display().to_string(), "names no instance"))
}
