//! The key proxy's files: written whole under another name, made durable, then renamed, and
//! readable by their owner alone.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::KeyProxyError;

/// Largest file of the proxy that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const SERVE_LOCK: &str = "serve.lock";

/// Makes the directory, for its owner only.
pub(super) fn make_directory(path: &Path) -> Result<(), KeyProxyError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(KeyProxyError::io(path.display()))
}

/// Writes a file whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyProxyError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(KeyProxyError::io(path.display()))
}

/// Reads a file; none when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyProxyError> {
    let length = match std::fs::metadata(path) {
        Ok(facts) => facts.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyProxyError::io(path.display())(error)),
    };
    if length > FILE_BYTES_MAX {
        let detail = format!("{}: {length} bytes, at most {FILE_BYTES_MAX}", path.display());
        return Err(KeyProxyError::Damaged(detail));
    }
    std::fs::read(path).map(Some).map_err(KeyProxyError::io(path.display()))
}

/// Whoever changes the keys has them alone until this is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, KeyProxyError> {
    let file = File::open(directory).map_err(KeyProxyError::io(directory.display()))?;
    file.lock().map_err(KeyProxyError::io(directory.display()))?;
    Ok(file)
}

/// Whoever answers from a directory and writes its record does so alone until this is dropped.
pub(super) fn lock_to_serve(directory: &Path) -> Result<File, KeyProxyError> {
    let path = directory.join(SERVE_LOCK);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(KeyProxyError::io(path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("a key proxy runs in {} already", directory.display());
            Err(KeyProxyError::Configuration(detail))
        }
        Err(TryLockError::Error(error)) => Err(KeyProxyError::io(path.display())(error)),
    }
}
