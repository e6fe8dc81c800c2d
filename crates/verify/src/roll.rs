//! The log of logs: a log that holds one leaf for each new checkpoint of other logs, so that whoever
//! witnesses it witnesses all of them. A leaf is blinded by a secret of its own: it tells nobody
//! else which log it speaks of.

use serde::{Deserialize, Serialize};

use crate::{
    CheckpointError, Digest, Leaf, LeafError, ProofError, RecordProof, RecordProofError,
    SignedCheckpoint, TlogProof, TlogProofError, VerifierKey, leaf_hash, sha256, verify_inclusion,
};

/// Largest proof read, as JSON text.
pub const ROLL_PROOF_BYTES_MAX: usize = 4 << 20;
const FORMAT: &str = "veritwin/roll-proof@v1";

/// What the log of logs holds of a checkpoint: a SHA-256 over a label, the secret and the note's
/// text.
pub fn roll_digest(secret: &[u8; 32], checkpoint_text: &str) -> Digest {
    let label = format!("veritwin log of logs v1\n{}\n{checkpoint_text}", hex::encode(secret));
    sha256(label.as_bytes())
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// The text is not a proof.
    #[error("not a proof of the log of logs: {0}")]
    Malformed(String),
    /// The leaf speaks of another checkpoint.
    #[error("the leaf of the log of logs speaks of another checkpoint")]
    Other,
    /// Its record is not the leaf's.
    #[error(transparent)]
    Record(#[from] RecordProofError),
    /// Its leaf is not one, or not signed by its submitter.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The leaf is not in the log of logs.
    #[error(transparent)]
    Path(#[from] ProofError),
    /// The checkpoint of the log of logs is not signed by its key.
    #[error("log of logs: {0}")]
    Checkpoint(#[from] CheckpointError),
}

/// Shows that a checkpoint stands in the log of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollProof {
    /// What blinds the leaf.
    pub secret: [u8; 32],
    /// The record of the leaf.
    pub record: RecordProof,
    /// The leaf in the log of logs, with that log's checkpoint.
    pub proof: TlogProof,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollProofText {
    format: String,
    secret: String,
    record: String,
    proof: String,
}

impl RollProof {
    /// JSON text.
    pub fn to_json(&self) -> String {
        let text = RollProofText {
            format: FORMAT.to_owned(),
            secret: hex::encode(self.secret),
            record: self.record.to_json(),
            proof: self.proof.to_text(),
        };
        serde_json::to_string_pretty(&text).unwrap_or_default()
    }

    /// From the JSON text.
    pub fn from_json(text: &str) -> Result<Self, RollError> {
        let bad = |problem: &str| RollError::Malformed(problem.to_owned());
        if text.len() > ROLL_PROOF_BYTES_MAX {
            return Err(bad("longer than 4 MiB"));
        }
        let text: RollProofText =
            serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        if text.format != FORMAT {
            return Err(bad("another format"));
        }
        let mut secret = [0; 32];
        hex::decode_to_slice(&text.secret, &mut secret).map_err(|_| bad("its secret"))?;
        let record = RecordProof::from_json(&text.record)?;
        let proof = TlogProof::parse(&text.proof);
        let proof = proof.map_err(|error: TlogProofError| bad(&error.to_string()))?;
        Ok(Self { secret, record, proof })
    }

    /// Checks that the checkpoint with this text stands in the log of logs. With that log's key its
    /// signature is checked; the answer is its checkpoint, for a witness policy.
    pub fn check(
        &self,
        checkpoint_text: &str,
        key: Option<&VerifierKey>,
    ) -> Result<SignedCheckpoint, RollError> {
        let signed = SignedCheckpoint::parse(self.proof.checkpoint.as_bytes())?;
        if let Some(key) = key {
            signed.verify(key)?;
        }
        let Some(entry) = &self.proof.entry else {
            return Err(RollError::Malformed("its leaf is missing".to_owned()));
        };
        let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
        verify_inclusion(self.proof.index, leaf_hash(entry), &self.proof.path, size, root)?;
        let leaf = Leaf::decode(entry)?;
        leaf.verify_signature(&signed.checkpoint.origin)?;
        self.record.verify(&leaf)?;
        let digest = roll_digest(&self.secret, checkpoint_text);
        if self.record.record != digest.as_bytes() {
            return Err(RollError::Other);
        }
        Ok(signed)
    }

    /// The origin of the log of logs.
    pub fn origin(&self) -> Option<String> {
        let signed = SignedCheckpoint::parse(self.proof.checkpoint.as_bytes()).ok()?;
        Some(signed.checkpoint.origin)
    }
}
