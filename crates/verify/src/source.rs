//! Where verification reads from. Names are relative paths of the C2SP layout, made by this crate;
//! every read is bounded.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Most threads that read one log.
const THREADS_MAX: usize = 16;
/// Room that is made at once for what is read: a full bundle of leaves without statements.
const ROOM_BYTES: usize = 80 << 10;

/// A resource exists but could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SourceError {
    /// The resource.
    pub name: String,
    /// What happened.
    pub problem: String,
    /// What is stored is not what was written; reading again will not help.
    pub is_damaged: bool,
}

/// A log's resources by name. "Not there" is an answer (`None`), not an error.
pub trait Source: Sync {
    /// Opens a resource for reading.
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError>;

    /// Opens a resource of which no more than `bytes_max` bytes will be read: a source that fetches
    /// it first fetches no more.
    fn open_within(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        let _ = bytes_max;
        self.open(name)
    }

    /// Tells the names of everything below `folder`. False when it cannot be listed, as on a
    /// server.
    fn list(&self, folder: &str, on_name: &mut dyn FnMut(&str)) -> Result<bool, SourceError> {
        let _ = (folder, on_name);
        Ok(false)
    }

    /// How many threads read it at once: as many as there are cores. A source that is far away
    /// wants more.
    fn threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
    }

    /// Reads a whole resource of at most `bytes_max` bytes.
    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let error =
            |problem: String| SourceError { name: name.to_owned(), problem, is_damaged: false };
        let Some(reader) = self.open(name)? else { return Ok(None) };
        let room = usize::try_from(bytes_max).map_or(ROOM_BYTES, |most| most.min(ROOM_BYTES));
        let mut bytes = Vec::with_capacity(room + 1);
        let taken = reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        taken.map_err(|source| error(source.to_string()))?;
        if bytes.len() as u64 > bytes_max {
            return Err(error(format!("longer than {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }
}

/// An exported log in a directory.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    root: PathBuf,
}

impl DirectorySource {
    /// The log exported to `root`.
    pub fn new(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned() }
    }
}

impl Source for DirectorySource {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        let error =
            |problem: String| SourceError { name: name.to_owned(), problem, is_damaged: false };
        let path = self.root.join(name);
        // Looked at first: to open a pipe is to wait for its writer.
        let opened = std::fs::metadata(&path)
            .and_then(|metadata| metadata.is_file().then(|| File::open(&path)).transpose());
        match opened {
            Ok(Some(file)) => Ok(Some(Box::new(file))),
            Ok(None) => Err(error("not a file".to_owned())),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error(source.to_string())),
        }
    }

    fn list(&self, folder: &str, on_name: &mut dyn FnMut(&str)) -> Result<bool, SourceError> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let error = |source: std::io::Error| SourceError {
                name: folder.clone(),
                problem: source.to_string(),
                is_damaged: false,
            };
            let entries = match std::fs::read_dir(self.root.join(&folder)) {
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(error)?,
            };
            for entry in entries {
                let entry = entry.map_err(error)?;
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                // A link is no folder: nobody is led out of the log, or round in it.
                if entry.file_type().map_err(error)?.is_dir() {
                    folders.push(name);
                } else {
                    on_name(&name);
                }
            }
        }
        Ok(true)
    }
}
