//! The log of logs: a log whose leaves hold new checkpoints of other logs. Those that are entered
//! together share a leaf, which holds the root over them. Each is blinded by a secret of its own: a
//! leaf tells nobody else which logs it speaks of.

use serde::{Deserialize, Serialize};

use crate::{
    CheckpointError, Digest, Leaf, LeafError, ProofError, RecordProof, RecordProofError,
    SignedCheckpoint, TileHashes, TileKind, TilePath, TlogProof, TlogProofError, VerifierKey,
    inclusion_path, leaf_hash, root_of, sha256, verify_inclusion,
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

/// Checkpoints that are entered together: a tree (RFC 6962) over their digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollRound(Vec<Digest>);

impl RollRound {
    /// The round of these digests, each of [`roll_digest`].
    pub fn new(digests: &[Digest]) -> Self {
        Self(digests.iter().map(|digest| leaf_hash(digest.as_bytes())).collect())
    }

    /// What the leaf of the log of logs holds.
    pub fn root(&self) -> Digest {
        root_of(&self.0)
    }

    /// Where one of them stands.
    pub fn place(&self, index: u64) -> Result<RollPlace, ProofError> {
        let size = self.0.len() as u64;
        Ok(RollPlace { index, size, path: inclusion_path(self, index, size)? })
    }
}

impl TileHashes for RollRound {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        let lost =
            || ProofError::Tile { path: tile.to_string(), problem: "not in this round".to_owned() };
        let TileKind::Hashes(level) = tile.kind else { return Err(lost()) };
        let span = 1usize.checked_shl(8 * u32::from(level)).ok_or_else(lost)?;
        let first = usize::try_from(tile.index).ok().and_then(|index| index.checked_mul(256));
        let first = first.ok_or_else(lost)?;
        let hash = |place: usize| {
            let from = place.checked_mul(span)?;
            self.0.get(from..from.checked_add(span)?).map(root_of)
        };
        let places = first..first + usize::from(tile.width);
        places.map(hash).collect::<Option<_>>().ok_or_else(lost)
    }
}

/// Where a checkpoint stands among those that were entered with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollPlace {
    /// Its number.
    pub index: u64,
    /// How many they are.
    pub size: u64,
    /// Sibling hashes up to their root.
    pub path: Vec<Digest>,
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
    /// What blinds the checkpoint.
    pub secret: [u8; 32],
    /// Where it stands among those of its leaf.
    pub place: RollPlace,
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
    index: u64,
    size: u64,
    path: Vec<String>,
    record: String,
    proof: String,
}

impl RollProof {
    /// JSON text.
    pub fn to_json(&self) -> String {
        let text = RollProofText {
            format: FORMAT.to_owned(),
            secret: hex::encode(self.secret),
            index: self.place.index,
            size: self.place.size,
            path: self.place.path.iter().map(|hash| hash.to_base64()).collect(),
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
        let path: Result<Vec<Digest>, _> =
            text.path.iter().map(|hash| Digest::from_base64(hash)).collect();
        let path = path.map_err(|_| bad("its path"))?;
        let place = RollPlace { index: text.index, size: text.size, path };
        let record = RecordProof::from_json(&text.record)?;
        let proof = TlogProof::parse(&text.proof);
        let proof = proof.map_err(|error: TlogProofError| bad(&error.to_string()))?;
        Ok(Self { secret, place, record, proof })
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
        let digest = leaf_hash(roll_digest(&self.secret, checkpoint_text).as_bytes());
        let root = <[u8; 32]>::try_from(self.record.record.as_slice());
        let root = Digest::from_bytes(root.map_err(|_| RollError::Other)?);
        let RollPlace { index, size, path } = &self.place;
        verify_inclusion(*index, digest, path, *size, root).map_err(|_| RollError::Other)?;
        Ok(signed)
    }

    /// The origin of the log of logs.
    pub fn origin(&self) -> Option<String> {
        let signed = SignedCheckpoint::parse(self.proof.checkpoint.as_bytes()).ok()?;
        Some(signed.checkpoint.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkpoint_of_a_round_stands_in_it_and_no_other() {
        for count in [1u16, 2, 5, 256, 257, 700] {
            let digest = |number: u16| roll_digest(&[1; 32], &number.to_string());
            let digests: Vec<Digest> = (0..count).map(digest).collect();
            let round = RollRound::new(&digests);
            let holds = |number: u16, place: &RollPlace| {
                let RollPlace { index, size, path } = place;
                let leaf = leaf_hash(digest(number).as_bytes());
                verify_inclusion(*index, leaf, path, *size, round.root()).is_ok()
            };
            for number in [0, count / 2, count - 1] {
                let place = round.place(u64::from(number)).unwrap();
                assert!(holds(number, &place), "{number} of {count}");
                assert!(!holds(number + 1, &place), "{number} of {count}");
            }
            assert!(round.place(u64::from(count)).is_err());
        }
    }
}
