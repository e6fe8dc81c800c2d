//! Offline proofs of one leaf (C2SP tlog-proof). The extra line carries the log entry itself, which
//! is believed only because its hash leads to the checkpoint's root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{
    Checkpoint, CheckpointError, Digest, Leaf, LeafError, ProofError, SignedCheckpoint,
    VerifierKey, leaf_hash, verify_inclusion,
};

/// Largest proof read.
pub const PROOF_BYTES_MAX: usize = 2 << 20;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// A line is not as specified.
    #[error("proof line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The checkpoint is malformed or not signed by the key.
    #[error("checkpoint of the proof: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead from the entry to the root.
    #[error("leaf {index}: {source}")]
    Path {
        /// The leaf.
        index: u64,
        /// Why.
        source: ProofError,
    },
    /// The entry is proven but is not a Veritwin leaf, or its submitter's signature is wrong.
    #[error("leaf {index}: {source}")]
    Leaf {
        /// The leaf.
        index: u64,
        /// Why.
        source: LeafError,
    },
    /// The proof carries no entry and none was given.
    #[error("the proof holds no entry: pass the leaf that it is for")]
    NoEntry,
}

/// A proof, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The log entry, from the extra line.
    pub entry: Option<Vec<u8>>,
    /// Its index.
    pub index: u64,
    /// Sibling hashes, from the leaf up.
    pub path: Vec<Digest>,
    /// The checkpoint, verbatim.
    pub checkpoint: String,
}

/// What a proof shows once it has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedProof {
    /// The leaf's index.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
    /// The verified checkpoint.
    pub checkpoint: Checkpoint,
}

impl TlogProof {
    /// The text form.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(entry) = &self.entry {
            text.push_str(&format!("extra {}\n", STANDARD.encode(entry)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Parses the text form; checks nothing else.
    pub fn parse(text: &str) -> Result<Self, TlogProofError> {
        let at = |line, problem| TlogProofError::Line { line, problem };
        if text.len() > PROOF_BYTES_MAX {
            return Err(at(0, "longer than 2 MiB"));
        }
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(at(1, "no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').enumerate().map(|(i, line)| (i + 1, line)).peekable();
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err(at(1, "expected c2sp.org/tlog-proof@v1"));
        }
        let mut entry = None;
        if let Some(extra) = lines.peek().and_then(|(_, line)| line.strip_prefix("extra ")) {
            let bytes = STANDARD.decode(extra).map_err(|_| at(2, "extra data is not base64"))?;
            entry = Some(bytes);
            lines.next();
        }
        let (line, index) = lines.next().unwrap_or((2, ""));
        let index = index.strip_prefix("index ").ok_or(at(line, "expected the index"))?;
        let canonical = index == "0" || !index.starts_with('0');
        let index = Some(index)
            .filter(|index| canonical && index.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|index| index.parse().ok())
            .ok_or(at(line, "the index is not a decimal number without leading zeroes"))?;
        let mut path = Vec::new();
        for (line, hash) in lines {
            let hash = Digest::from_base64(hash)
                .map_err(|_| at(line, "expected a hash: 32 bytes of base64"))?;
            path.push(hash);
            if path.len() > 64 {
                return Err(at(line, "more than 64 hashes"));
            }
        }
        Ok(Self { entry, index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks everything that can be checked offline: the checkpoint's signature by `key`, the path
    /// from the entry to the root, the leaf's form and its submitter's signature. `entry` is needed
    /// when the proof carries none.
    pub fn check(
        &self,
        key: &VerifierKey,
        entry: Option<&[u8]>,
    ) -> Result<CheckedProof, TlogProofError> {
        let signed = SignedCheckpoint::parse(self.checkpoint.as_bytes())?;
        let checkpoint = signed.verify(key)?.clone();
        let entry = entry.or(self.entry.as_deref()).ok_or(TlogProofError::NoEntry)?;
        let index = self.index;
        verify_inclusion(index, leaf_hash(entry), &self.path, checkpoint.size, checkpoint.root)
            .map_err(|source| TlogProofError::Path { index, source })?;
        let leaf = Leaf::decode(entry).map_err(|source| TlogProofError::Leaf { index, source })?;
        leaf.verify_signature(&checkpoint.origin)
            .map_err(|source| TlogProofError::Leaf { index, source })?;
        Ok(CheckedProof { index, leaf, checkpoint })
    }
}
