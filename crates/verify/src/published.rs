//! What an exported log brings beside its newest checkpoint: earlier checkpoints as they were
//! published, with the cosignatures of witnesses and the time stamps of an authority.

use crate::{Source, SourceError};

/// Names the tree sizes of published checkpoints, one a line, ascending.
pub const PUBLISHED_INDEX: &str = "published/index";
/// Most published checkpoints that are read of one log.
pub const PUBLISHED_MAX: usize = 16_384;
const INDEX_BYTES_MAX: u64 = 512 * 1024;

/// The name of the published checkpoint of a tree of `size` leaves.
pub fn published_checkpoint(size: u64) -> String {
    format!("published/{size}.checkpoint")
}

/// The name of the time stamp of that checkpoint: an authority's whole answer over its bytes.
pub fn published_stamp(size: u64) -> String {
    format!("published/{size}.tsr")
}

/// The name of the proof that this checkpoint stands in the log of logs.
pub fn published_roll(size: u64) -> String {
    format!("published/{size}.roll")
}

/// The tree sizes of a log's published checkpoints; none where nothing was published.
pub fn published_sizes(source: &dyn Source) -> Result<Vec<u64>, SourceError> {
    let wrong = |problem: &str| SourceError {
        name: PUBLISHED_INDEX.to_owned(),
        problem: problem.to_owned(),
        is_damaged: false,
    };
    let Some(bytes) = source.read(PUBLISHED_INDEX, INDEX_BYTES_MAX)? else {
        return Ok(Vec::new());
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not text"))?;
    let mut sizes: Vec<u64> = Vec::new();
    for line in text.lines() {
        let size = crate::tree_size(line).ok_or_else(|| wrong("a line is no tree size"))?;
        if sizes.last().is_some_and(|last| *last >= size) {
            return Err(wrong("the tree sizes do not ascend"));
        }
        if sizes.len() == PUBLISHED_MAX {
            return Err(wrong("more than 16384 checkpoints"));
        }
        sizes.push(size);
    }
    Ok(sizes)
}
