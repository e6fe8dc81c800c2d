//! Writes a log in the plain C2SP tile layout, from any [`Source`]. The checkpoint is written last:
//! a directory without one is an export that did not finish. Existing files are never overwritten.
//! A payload that is damaged where it is stored becomes an empty file, which verification names.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use veritwin_verify::{
    CHECKPOINT_BYTES_MAX, ENTRIES_PER_BUNDLE, ENTRY_BYTES_MAX, Leaf, LeafPlace, SignedCheckpoint,
    Source, SourceError, TILE_BYTES_MAX, TILE_WIDTH, TileKind, decode_bundle, tiles_of,
};

use crate::PAYLOAD_PLAINTEXT_MAX;

const BUNDLE_BYTES_MAX: u64 = (ENTRIES_PER_BUNDLE * (ENTRY_BYTES_MAX + 2)) as u64;
const PAYLOAD_BYTES_MAX: u64 = (PAYLOAD_PLAINTEXT_MAX + 4096) as u64;
const VKEY_BYTES_MAX: u64 = 4096;
/// Most damaged payloads that are named one by one; all are counted.
pub const DAMAGED_NAMED_MAX: usize = 100;

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file could not be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A resource could not be read.
    #[error(transparent)]
    Read(#[from] SourceError),
    /// A resource that the checkpoint calls for is not there.
    #[error("{0}: not in the log")]
    Missing(String),
    /// A resource is not in its format.
    #[error("{name}: {problem}")]
    Malformed {
        /// The resource.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSummary {
    /// The log's origin.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Files.
    pub files: u64,
    /// Payloads that the log names and no longer has.
    pub payloads_absent: u64,
    /// Payloads that are damaged where they are stored; an empty file stands for each.
    pub payloads_damaged: u64,
    /// The leaves of the first [`DAMAGED_NAMED_MAX`] of them, in words.
    pub damaged: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

struct Exporter<'a> {
    source: &'a dyn Source,
    out: &'a Path,
    summary: ExportSummary,
}

/// Exports the log behind `source` into `out`, which is made if absent. `progress` gets leaves done
/// and leaves in all.
pub fn export(
    source: &dyn Source,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ExportSummary, ExportError> {
    let missing = |name: &str| ExportError::Missing(name.to_owned());
    let checkpoint =
        source.read("checkpoint", CHECKPOINT_BYTES_MAX)?.ok_or_else(|| missing("checkpoint"))?;
    let signed = SignedCheckpoint::parse(&checkpoint).map_err(|error| ExportError::Malformed {
        name: "checkpoint".to_owned(),
        problem: error.to_string(),
    })?;
    let size = signed.checkpoint.size;
    let summary = ExportSummary {
        origin: signed.checkpoint.origin,
        size,
        files: 0,
        payloads_absent: 0,
        payloads_damaged: 0,
        damaged: Vec::new(),
        bytes: 0,
    };
    let mut exporter = Exporter { source, out, summary };
    let vkey = source.read("log.vkey", VKEY_BYTES_MAX)?.ok_or_else(|| missing("log.vkey"))?;
    exporter.write("log.vkey", &vkey)?;
    for tile in tiles_of(size) {
        let name = tile.to_string();
        let entries = tile.kind == TileKind::Entries;
        let bytes_max = if entries { BUNDLE_BYTES_MAX } else { TILE_BYTES_MAX };
        let bytes = source.read(&name, bytes_max)?.ok_or_else(|| missing(&name))?;
        exporter.write(&name, &bytes)?;
        if entries {
            exporter.payloads(&name, tile.index * TILE_WIDTH, &bytes)?;
            progress(tile.index * TILE_WIDTH + u64::from(tile.width), size);
        }
    }
    exporter.write("checkpoint", &checkpoint)?;
    Ok(exporter.summary)
}

impl Exporter<'_> {
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.out.join(name);
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(bytes)
        };
        write().map_err(|source| ExportError::Write { path: path.clone(), source })?;
        self.summary.files += 1;
        self.summary.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the payloads of a bundle whose first leaf has the index `first`.
    fn payloads(&mut self, name: &str, first: u64, bundle: &[u8]) -> Result<(), ExportError> {
        let malformed = |problem: String| ExportError::Malformed { name: name.to_owned(), problem };
        let entries = decode_bundle(bundle).map_err(|error| malformed(error.to_string()))?;
        for (index, entry) in (first..).zip(entries) {
            let leaf = Leaf::decode(entry).map_err(|error| malformed(error.to_string()))?;
            if leaf.payload_bytes == 0 {
                continue;
            }
            let name = format!("payload/{}", leaf.payload);
            match self.source.read(&name, PAYLOAD_BYTES_MAX) {
                Ok(Some(payload)) => self.write(&name, &payload)?,
                Ok(None) => self.summary.payloads_absent += 1,
                Err(error) if error.is_damaged => self.damaged(&leaf.place(index), &error)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One damaged payload must not keep the rest of the log from being shown. Its empty file has
    /// another length than its leaf says, so that it is never taken for one that was pruned.
    fn damaged(&mut self, place: &LeafPlace, error: &SourceError) -> Result<(), ExportError> {
        tracing::error!(%error, leaf = %place, "a payload of the log is damaged where it is stored");
        self.write(&error.name, &[])?;
        self.summary.payloads_damaged += 1;
        if self.summary.damaged.len() < DAMAGED_NAMED_MAX {
            self.summary.damaged.push(format!("{}: {place}: {}", error.name, error.problem));
        }
        Ok(())
    }
}
