//! Checkpoints: the signed tree head of a log (C2SP tlog-checkpoint).

use crate::{Digest, NoteError, SignedNote, VerifierKey};

/// Largest checkpoint read.
pub const CHECKPOINT_BYTES_MAX: u64 = crate::note::NOTE_BYTES_MAX as u64;

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not a signed note, or its signature is missing or wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A line of the text is not as specified.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Origin, tree size and root hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's identity.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The note text to sign.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// Parses a note's text; extension lines are allowed and ignored.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let at = |line, problem| CheckpointError::Line { line, problem };
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let origin = lines.next().unwrap_or_default();
        if origin.is_empty() {
            return Err(at(1, "the origin is empty"));
        }
        let size_text = lines.next().ok_or(at(2, "the tree size is missing"))?;
        let canonical = size_text == "0" || !size_text.starts_with('0');
        let digits = !size_text.is_empty() && size_text.bytes().all(|b| b.is_ascii_digit());
        let size = size_text.parse::<u64>().ok().filter(|_| canonical && digits);
        let size = size
            .filter(|size| *size <= i64::MAX as u64)
            .ok_or(at(2, "the tree size is not a decimal number without leading zeroes"))?;
        let root_text = lines.next().ok_or(at(3, "the root hash is missing"))?;
        let root = Digest::from_base64(root_text)
            .map_err(|_| at(3, "the root hash is not 32 bytes of base64"))?;
        for (index, extension) in lines.enumerate() {
            if extension.is_empty() {
                return Err(at(4 + index, "an extension line is empty"));
            }
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A checkpoint with the note that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What it says; to be believed only after [`Self::verify`].
    pub checkpoint: Checkpoint,
    /// The note.
    pub note: SignedNote,
}

impl SignedCheckpoint {
    /// Parses; verifies nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { checkpoint, note })
    }

    /// Verifies the log's own signature. The key's name has to be the origin: a key of one log
    /// cannot vouch for another.
    pub fn verify(&self, key: &VerifierKey) -> Result<&Checkpoint, CheckpointError> {
        if key.name() != self.checkpoint.origin {
            return Err(CheckpointError::Line {
                line: 1,
                problem: "the origin is not the name of the key",
            });
        }
        key.verify(&self.note)?;
        Ok(&self.checkpoint)
    }
}
