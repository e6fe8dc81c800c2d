//! Salted record hashes under one leaf: a single record can be shown without the others, and the
//! hash of an erased one cannot be guessed. Form: `salt_i = HMAC-SHA-256(batch salt, sequence)`,
//! `hash_i = leaf hash(salt_i || sequence || bytes)`, root as in RFC 6962.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Digest, Leaf, ProofError, leaf_hash, root_of, verify_inclusion};

/// Largest record proof read, as JSON text.
pub const RECORD_PROOF_BYTES_MAX: usize = 4 << 20;

/// The salt of one record. `sequence` enters as eight big-endian bytes.
pub fn record_salt(batch_salt: &[u8; 32], sequence: u64) -> [u8; 32] {
    salt_of(&salt_key(batch_salt), sequence)
}

fn salt_key(batch_salt: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, batch_salt)
}

fn salt_of(key: &hmac::Key, sequence: u64) -> [u8; 32] {
    let tag = hmac::sign(key, &sequence.to_be_bytes());
    let mut salt = [0; 32];
    salt.copy_from_slice(tag.as_ref());
    salt
}

/// The salted hashes of a batch's records, numbered from `first`.
pub fn record_hashes(batch_salt: &[u8; 32], first: u64, records: &[Vec<u8>]) -> Vec<Digest> {
    let key = salt_key(batch_salt);
    let mut message = Vec::new();
    let numbered = (first..).zip(records);
    let hash = |(sequence, record): (u64, &Vec<u8>)| {
        record_hash(&salt_of(&key, sequence), sequence, record, &mut message)
    };
    numbered.map(hash).collect()
}

/// The salted hash of one record, by way of `message`.
fn record_hash(salt: &[u8; 32], sequence: u64, record: &[u8], message: &mut Vec<u8>) -> Digest {
    message.clear();
    message.extend_from_slice(salt);
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(record);
    leaf_hash(message)
}

/// The root over all record hashes of a batch.
pub fn records_root(hashes: &[Digest]) -> Digest {
    root_of(hashes)
}

/// Why a record proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordProofError {
    /// The text is not a record proof.
    #[error("not a record proof: {0}")]
    Malformed(String),
    /// The record is not one of this leaf's.
    #[error("record {sequence} is not in this leaf, which holds records {first}-{last}")]
    OutsideLeaf {
        /// The record.
        sequence: u64,
        /// First record of the leaf.
        first: u64,
        /// Last record of the leaf.
        last: u64,
    },
    /// The hashes do not lead to the leaf's records root.
    #[error("record {sequence}: {source}")]
    Path {
        /// The record.
        sequence: u64,
        /// Why.
        source: ProofError,
    },
}

/// Shows that one record is under a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordProof {
    /// The record's number in its log.
    pub sequence: u64,
    /// Its salt; of no use for any other record.
    pub salt: [u8; 32],
    /// Its canonical bytes.
    pub record: Vec<u8>,
    /// Sibling hashes, from the record up.
    pub path: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordProofText {
    format: String,
    sequence: u64,
    salt: String,
    record: String,
    path: Vec<String>,
}

const FORMAT: &str = "veritwin/record-proof@v1";

impl RecordProof {
    /// Checks the record against the leaf; the leaf itself is proven by its inclusion proof.
    pub fn verify(&self, leaf: &Leaf) -> Result<(), RecordProofError> {
        let index = self.sequence.checked_sub(leaf.first_sequence);
        let index = index.filter(|index| *index < u64::from(leaf.count)).ok_or(
            RecordProofError::OutsideLeaf {
                sequence: self.sequence,
                first: leaf.first_sequence,
                last: leaf.last_sequence(),
            },
        )?;
        let hash = record_hash(&self.salt, self.sequence, &self.record, &mut Vec::new());
        verify_inclusion(index, hash, &self.path, u64::from(leaf.count), leaf.records_root)
            .map_err(|source| RecordProofError::Path { sequence: self.sequence, source })
    }

    /// JSON text; bytes are base64.
    pub fn to_json(&self) -> String {
        let text = RecordProofText {
            format: FORMAT.to_owned(),
            sequence: self.sequence,
            salt: STANDARD.encode(self.salt),
            record: STANDARD.encode(&self.record),
            path: self.path.iter().map(|hash| hash.to_base64()).collect(),
        };
        serde_json::to_string_pretty(&text).unwrap_or_default()
    }

    /// From the JSON text.
    pub fn from_json(text: &str) -> Result<Self, RecordProofError> {
        let bad = |problem: &str| RecordProofError::Malformed(problem.to_owned());
        if text.len() > RECORD_PROOF_BYTES_MAX {
            return Err(bad("longer than 4 MiB"));
        }
        let parsed: RecordProofText =
            serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        if parsed.format != FORMAT {
            return Err(bad("format is not veritwin/record-proof@v1"));
        }
        let salt = STANDARD.decode(parsed.salt).map_err(|_| bad("salt is not base64"))?;
        let record = STANDARD.decode(parsed.record).map_err(|_| bad("record is not base64"))?;
        let path: Result<Vec<_>, _> =
            parsed.path.iter().map(|hash| Digest::from_base64(hash)).collect();
        Ok(Self {
            sequence: parsed.sequence,
            salt: salt.try_into().map_err(|_| bad("salt is not 32 bytes"))?,
            record,
            path: path.map_err(|_| bad("a hash of the path is not 32 bytes of base64"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_a_batch_are_hashed_as_each_alone() {
        let salt = [7; 32];
        let records = [vec![1; 3], Vec::new(), vec![2; 2000], vec![3; 40]];
        let together = record_hashes(&salt, 12, &records);
        for ((sequence, record), hash) in (12..).zip(&records).zip(&together) {
            let salt = record_salt(&salt, sequence);
            let message = [&salt[..], &sequence.to_be_bytes()[..], record.as_slice()].concat();
            assert_eq!(*hash, leaf_hash(&message), "record {sequence}");
        }
        assert_eq!(together.len(), records.len());
    }
}
