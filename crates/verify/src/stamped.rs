//! An earlier checkpoint of a log with the time stamp of an authority, as a mail or a bundle of
//! evidence carries it, with the proof that the later checkpoint beside it extends it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::report::StampSeen;
use crate::{
    Checkpoint, CheckpointError, Digest, ProofError, SignedCheckpoint, StampAuthorities,
    StampError, VerifierKey, sha256, verify_consistency, verify_stamp,
};

/// The file that holds the stamped checkpoint, for other verifiers.
pub const STAMPED_CHECKPOINT_FILE: &str = "stamped.checkpoint";
/// The file that holds the authority's answer.
pub const STAMPED_ANSWER_FILE: &str = "stamped.tsr";

/// Why it says nothing of the later checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampedError {
    /// A part of it is not base64.
    #[error("a part of it is not base64")]
    Base64,
    /// The checkpoint is malformed, or not of this log.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The later checkpoint does not extend it.
    #[error("the later checkpoint does not extend it: {0}")]
    Proof(#[from] ProofError),
    /// The time stamp is none of this checkpoint, or is not believed.
    #[error(transparent)]
    Stamp(#[from] StampError),
}

/// A checkpoint that was stamped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampedCheckpoint {
    /// The signed note, as it was stamped.
    pub checkpoint: String,
    /// The authority's whole answer (RFC 3161), base64.
    pub response: String,
    /// The proof that the later checkpoint extends it, base64 (RFC 6962, section 2.1.2).
    pub path: Vec<String>,
}

impl StampedCheckpoint {
    /// From what was published, and the proof to the later checkpoint.
    pub fn new(checkpoint: String, response: &[u8], path: &[Digest]) -> Self {
        Self {
            checkpoint,
            response: STANDARD.encode(response),
            path: path.iter().map(|hash| hash.to_base64()).collect(),
        }
    }

    /// Both as files, which `openssl ts` reads; none when the answer is not base64.
    pub fn files(&self) -> Option<[(&'static str, Vec<u8>); 2]> {
        let answer = STANDARD.decode(&self.response).ok()?;
        let checkpoint = self.checkpoint.clone().into_bytes();
        Some([(STAMPED_CHECKPOINT_FILE, checkpoint), (STAMPED_ANSWER_FILE, answer)])
    }

    /// What the authority says of a log whose later checkpoint is known to be signed by `key`.
    pub fn check(
        &self,
        (key, later): (&VerifierKey, &Checkpoint),
        authorities: Option<&StampAuthorities>,
    ) -> Result<StampSeen, StampedError> {
        let answer = STANDARD.decode(&self.response).map_err(|_| StampedError::Base64)?;
        let path: Result<Vec<Digest>, _> =
            self.path.iter().map(|hash| Digest::from_base64(hash)).collect();
        let path = path.map_err(|_| StampedError::Base64)?;
        let signed = SignedCheckpoint::parse(self.checkpoint.as_bytes())?;
        let earlier = signed.verify(key)?;
        let (size, root) = (earlier.size, earlier.root);
        verify_consistency((size, root), (later.size, later.root), &path)?;
        let imprint = sha256(self.checkpoint.as_bytes());
        Ok(StampSeen { size, stamp: verify_stamp(&answer, imprint, None, authorities)? })
    }
}
