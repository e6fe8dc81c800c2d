//! Writes a log in the plain C2SP tile layout, from any [`Source`]. The checkpoint is written last:
//! a directory without one is an export that did not finish. Existing files are never overwritten.
//! A payload or tile that is damaged where it is stored becomes an empty file, which verification
//! names.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use veritwin_verify::{
    Act, CHECKPOINT_BYTES_MAX, ENTRIES_PER_BUNDLE, ENTRY_BYTES_MAX, Leaf, LeafPlace,
    PUBLISHED_INDEX, ROLL_PROOF_BYTES_MAX, STAMP_BYTES_MAX, SignedCheckpoint, Source, SourceError,
    TILE_BYTES_MAX, TILE_WIDTH, TileKind, TilePath, decode_bundle, published_checkpoint,
    published_roll, published_sizes, published_stamp, tiles_of,
};

use crate::PAYLOAD_PLAINTEXT_MAX;

const BUNDLE_BYTES_MAX: u64 = (ENTRIES_PER_BUNDLE * (ENTRY_BYTES_MAX + 2)) as u64;
const PAYLOAD_BYTES_MAX: u64 = (PAYLOAD_PLAINTEXT_MAX + 4096) as u64;
const VKEY_BYTES_MAX: u64 = 4096;
/// Most bundles and hash tiles of a pruned prefix that are passed over.
const ABSENT_MAX: usize = 10_000_000;
/// Most damaged payloads and tiles that are named one by one; all are counted.
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
    /// Leaves that a retention statement ended: their bundles are not in the log any more.
    pub leaves_pruned: u64,
    /// Payloads that are damaged where they are stored; an empty file stands for each.
    pub payloads_damaged: u64,
    /// Tiles and bundles that are damaged where they are stored; an empty file stands for each, and
    /// the payloads of a bundle's leaves are left out with it.
    pub tiles_damaged: u64,
    /// The first [`DAMAGED_NAMED_MAX`] of both, with their leaves, in words.
    pub damaged: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

struct Exporter<'a> {
    source: &'a dyn Source,
    out: &'a Path,
    summary: ExportSummary,
    /// From the retention statements so far.
    minimum_index: u64,
    /// Tiles that are not there; a statement has to say why.
    absent: Vec<TilePath>,
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
        leaves_pruned: 0,
        payloads_damaged: 0,
        tiles_damaged: 0,
        damaged: Vec::new(),
        bytes: 0,
    };
    let mut exporter = Exporter { source, out, summary, minimum_index: 0, absent: Vec::new() };
    let vkey = source.read("log.vkey", VKEY_BYTES_MAX)?.ok_or_else(|| missing("log.vkey"))?;
    exporter.write("log.vkey", &vkey)?;
    for tile in tiles_of(size) {
        let name = tile.to_string();
        let entries = tile.kind == TileKind::Entries;
        let bytes_max = if entries { BUNDLE_BYTES_MAX } else { TILE_BYTES_MAX };
        let bytes = match source.read(&name, bytes_max) {
            Ok(None) if is_of_leaves(tile) => {
                exporter.tile_absent(tile)?;
                None
            }
            Ok(bytes) => Some(bytes.ok_or_else(|| missing(&name))?),
            Err(error) if error.is_damaged => {
                exporter.tile_damaged(tile, &error)?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(bytes) = &bytes {
            exporter.write(&name, bytes)?;
        }
        if entries {
            if let Some(bytes) = &bytes {
                exporter.payloads(&name, tile.index * TILE_WIDTH, bytes)?;
            }
            progress(tile.index * TILE_WIDTH + u64::from(tile.width), size);
        }
    }
    exporter.check_absent()?;
    exporter.published(size)?;
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

    /// Writes the checkpoints that were published, as far as the export reaches, with their time
    /// stamps.
    fn published(&mut self, size: u64) -> Result<(), ExportError> {
        let mut index = String::new();
        let sizes = published_sizes(self.source)?;
        for published in sizes.into_iter().filter(|published| *published <= size) {
            let name = published_checkpoint(published);
            // A newer one may have taken its place meanwhile.
            let Some(checkpoint) = self.source.read(&name, CHECKPOINT_BYTES_MAX)? else { continue };
            self.write(&name, &checkpoint)?;
            let beside = [
                (published_stamp(published), STAMP_BYTES_MAX as u64),
                (published_roll(published), ROLL_PROOF_BYTES_MAX as u64),
            ];
            for (name, bytes_max) in beside {
                if let Some(bytes) = self.source.read(&name, bytes_max)? {
                    self.write(&name, &bytes)?;
                }
            }
            index.push_str(&published.to_string());
            index.push('\n');
        }
        if index.is_empty() { Ok(()) } else { self.write(PUBLISHED_INDEX, index.as_bytes()) }
    }

    /// Writes the payloads of a bundle whose first leaf has the index `first`.
    fn payloads(&mut self, name: &str, first: u64, bundle: &[u8]) -> Result<(), ExportError> {
        let malformed = |problem: String| ExportError::Malformed { name: name.to_owned(), problem };
        let entries = decode_bundle(bundle).map_err(|error| malformed(error.to_string()))?;
        for (index, entry) in (first..).zip(entries) {
            let leaf = Leaf::decode(entry).map_err(|error| malformed(error.to_string()))?;
            if let Act::Retention { minimum_index, .. } = leaf.act {
                self.minimum_index = self.minimum_index.max(minimum_index);
            }
            if leaf.payload_bytes == 0 {
                continue;
            }
            let name = format!("payload/{}", leaf.payload);
            if self.out.join(&name).exists() {
                // An earlier leaf names it, too.
                continue;
            }
            match self.source.read(&name, PAYLOAD_BYTES_MAX) {
                Ok(Some(payload)) => self.write(&name, &payload)?,
                Ok(None) => self.summary.payloads_absent += 1,
                Err(error) if error.is_damaged => {
                    self.payload_damaged(&leaf.place(index), &error)?
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One damaged payload must not keep the rest of the log from being shown. Its empty file has
    /// another length than its leaf says, so that it is never taken for one that was pruned.
    fn payload_damaged(
        &mut self,
        place: &LeafPlace,
        error: &SourceError,
    ) -> Result<(), ExportError> {
        self.summary.payloads_damaged += 1;
        self.damaged(&place.to_string(), error)
    }

    /// A pruned prefix has no bundles, and the hashes over them begin above level 0.
    fn tile_absent(&mut self, tile: TilePath) -> Result<(), ExportError> {
        if self.absent.len() >= ABSENT_MAX {
            return Err(ExportError::Missing(tile.to_string()));
        }
        self.absent.push(tile);
        Ok(())
    }

    /// Every tile that is not there lies before the leaf from which on the log is kept.
    fn check_absent(&mut self) -> Result<(), ExportError> {
        let minimum_index = self.minimum_index;
        let end = |tile: &TilePath| tile.index * TILE_WIDTH + u64::from(tile.width);
        if let Some(lost) = self.absent.iter().find(|tile| end(tile) > minimum_index) {
            return Err(ExportError::Missing(lost.to_string()));
        }
        let bundles = self.absent.iter().filter(|tile| tile.kind == TileKind::Entries);
        self.summary.leaves_pruned = bundles.map(|tile| u64::from(tile.width)).sum();
        Ok(())
    }

    /// Nor must one damaged tile: an empty one has the wrong length.
    fn tile_damaged(&mut self, tile: TilePath, error: &SourceError) -> Result<(), ExportError> {
        self.summary.tiles_damaged += 1;
        self.damaged(&leaves_of(tile), error)
    }

    fn damaged(&mut self, place: &str, error: &SourceError) -> Result<(), ExportError> {
        tracing::error!(%error, place, "a part of the log is damaged where it is stored");
        self.write(&error.name, &[])?;
        if self.summary.damaged.len() < DAMAGED_NAMED_MAX {
            self.summary.damaged.push(format!("{}: {place}: {}", error.name, error.problem));
        }
        Ok(())
    }
}

/// Whether a tile goes with the leaves it is made of.
const fn is_of_leaves(tile: TilePath) -> bool {
    matches!(tile.kind, TileKind::Entries | TileKind::Hashes(0))
}

/// The leaves under a tile, in words.
fn leaves_of(tile: TilePath) -> String {
    let level = match tile.kind {
        TileKind::Entries => 0,
        TileKind::Hashes(level) => u32::from(level),
    };
    let under = |count: u64| count.saturating_mul(1u64.checked_shl(8 * level).unwrap_or(u64::MAX));
    let first = tile.index.saturating_mul(TILE_WIDTH);
    let end = first.saturating_add(u64::from(tile.width));
    format!("leaves {} to {}", under(first), under(end).saturating_sub(1))
}
