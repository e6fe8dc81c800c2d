//! The Veritwin leaf, version 1: what one log entry says, in one canonical binary form (see the
//! README of this crate for the table of fields). Unknown versions, kinds and lengths are refused.

use std::fmt;

use veritwin_domain::{BatchId, Timestamp};

use crate::note::ed25519_verifies;
use crate::{Digest, EDGE_STATEMENT_BYTES, EdgeStatement, Signers, leaf_hash};

/// The version written and the only one read.
pub const LEAF_VERSION: u8 = 1;
/// Length of the submitter's signature at the end.
pub const SIGNATURE_LEN: usize = 64;

const FIXED_LEN: usize = 176;
const KEY_LEN: usize = 32;
const DOMAIN: &str = "veritwin-ledger-leaf/v1\n";

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not the length that the fields call for.
    #[error("leaf of {found} bytes, expected {expected}")]
    Length {
        /// What the fields call for.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A version that this program does not know.
    #[error("leaf version {0}, expected {LEAF_VERSION}")]
    Version(u8),
    /// A kind that this program does not know.
    #[error("leaf kind {0} is unknown")]
    Kind(u8),
    /// A field contradicts the others.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The submitter's signature does not verify.
    #[error("the submitter's signature does not verify")]
    Signature,
}

/// Why payloads were destroyed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShredReason {
    /// The audit period ended.
    PeriodEnded,
    /// The customer asked for it.
    Requested,
    /// A data subject's erasure.
    Erasure,
    /// Keys were rotated, the content is unchanged.
    Rotation,
}

impl ShredReason {
    const ALL: [Self; 4] = [Self::PeriodEnded, Self::Requested, Self::Erasure, Self::Rotation];

    /// The name used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeriodEnded => "period ended",
            Self::Requested => "requested",
            Self::Erasure => "erasure",
            Self::Rotation => "rotation",
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::PeriodEnded => 1,
            Self::Requested => 2,
            Self::Erasure => 3,
            Self::Rotation => 4,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, LeafError> {
        let known = Self::ALL.into_iter().find(|reason| reason.byte() == byte);
        known.ok_or(LeafError::Field { field: "reason", problem: "unknown" })
    }
}

/// What a leaf does to the log besides adding records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "an act is copied, and stands in one leaf only")]
pub enum Act {
    /// Records of the platform: readings, activity, alerts.
    Batch,
    /// Digests of evidence, consents and certificates.
    Evidence,
    /// The payload of leaf `index` was sealed anew; this leaf's payload takes its place.
    Reseal {
        /// The leaf whose payload is replaced.
        index: u64,
        /// SHA-256 of the old ciphertext.
        old_payload: Digest,
        /// Why.
        reason: ShredReason,
    },
    /// The payloads of leaves `from .. to` were lawfully destroyed.
    Shred {
        /// First leaf.
        from: u64,
        /// One past the last leaf.
        to: u64,
        /// Why.
        reason: ShredReason,
    },
    /// Leaves below the minimum index are no longer published and their payloads are destroyed.
    Retention {
        /// The log's new minimum index, a multiple of 256.
        minimum_index: u64,
        /// Why.
        reason: ShredReason,
    },
    /// Leaves after this one are signed with another key.
    SubmitterKey {
        /// The new public key.
        next: [u8; 32],
    },
    /// A store-and-forward edge has stated a batch or a gap. Whose key signed it, and whether it
    /// verifies, is for whoever reads it to look at: [`crate::gaps`] does.
    Edge(EdgeStatement),
}

/// The kinds of [`Act`], as numbered in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LeafKind {
    /// [`Act::Batch`].
    Batch = 1,
    /// [`Act::Evidence`].
    Evidence = 2,
    /// [`Act::Reseal`].
    Reseal = 3,
    /// [`Act::Shred`].
    Shred = 4,
    /// [`Act::Retention`].
    Retention = 5,
    /// [`Act::SubmitterKey`].
    SubmitterKey = 6,
    /// [`Act::Edge`].
    Edge = 7,
}

impl LeafKind {
    /// The name used in reports and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Evidence => "evidence",
            Self::Reseal => "reseal",
            Self::Shred => "shred",
            Self::Retention => "retention",
            Self::SubmitterKey => "submitter_key",
            Self::Edge => "edge",
        }
    }
}

/// What the next leaf has to know of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafReference {
    /// Its batch id.
    pub batch: BatchId,
    /// Its leaf hash.
    pub hash: Digest,
    /// Sequence of the last record in the log so far; 0 when there is none.
    pub last_sequence: u64,
}

/// One leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// What it does.
    pub act: Act,
    /// Its own id.
    pub batch: BatchId,
    /// The id of the leaf before it; zero bytes in the first.
    pub previous_batch: BatchId,
    /// The hash of the leaf before it; zero in the first. With it the submitter's signature covers
    /// the whole history before the leaf.
    pub previous_hash: Digest,
    /// Sequence of its first record. Records of a log are numbered from 1 without gaps; a leaf
    /// without records holds the next number.
    pub first_sequence: u64,
    /// Number of records.
    pub count: u32,
    /// Earliest event time of its records; the sealing time when it has none.
    pub events_from: Timestamp,
    /// Latest event time of its records; the sealing time when it has none.
    pub events_to: Timestamp,
    /// When it was sealed, by the submitter's clock.
    pub sealed_at: Timestamp,
    /// SHA-256 of the payload's ciphertext; zero without a payload.
    pub payload: Digest,
    /// Bytes of the payload's ciphertext; 0 without a payload.
    pub payload_bytes: u64,
    /// Root over the salted record hashes.
    pub records_root: Digest,
    /// The submitter's Ed25519 public key.
    pub submitter: [u8; 32],
    /// The submitter's signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Leaf {
    /// The kind of its act.
    pub const fn kind(&self) -> LeafKind {
        match self.act {
            Act::Batch => LeafKind::Batch,
            Act::Evidence => LeafKind::Evidence,
            Act::Reseal { .. } => LeafKind::Reseal,
            Act::Shred { .. } => LeafKind::Shred,
            Act::Retention { .. } => LeafKind::Retention,
            Act::SubmitterKey { .. } => LeafKind::SubmitterKey,
            Act::Edge(_) => LeafKind::Edge,
        }
    }

    /// Sequence of the last record in the log after this leaf.
    pub const fn last_sequence(&self) -> u64 {
        (self.first_sequence + self.count as u64).saturating_sub(1)
    }

    /// What the submitter signs: domain, the log's origin, every byte before the signature.
    pub fn signed_message(&self, origin: &str) -> Vec<u8> {
        let mut message = Vec::with_capacity(512);
        message.extend_from_slice(DOMAIN.as_bytes());
        message.extend_from_slice(origin.as_bytes());
        message.push(b'\n');
        self.encode_unsigned(&mut message);
        message
    }

    /// The canonical bytes: the log entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + KEY_LEN + SIGNATURE_LEN + 48);
        self.encode_unsigned(&mut out);
        out.extend_from_slice(&self.signature);
        out
    }

    fn encode_unsigned(&self, out: &mut Vec<u8>) {
        out.push(LEAF_VERSION);
        out.push(self.kind() as u8);
        out.extend_from_slice(self.batch.as_bytes());
        out.extend_from_slice(self.previous_batch.as_bytes());
        out.extend_from_slice(self.previous_hash.as_bytes());
        out.extend_from_slice(&self.first_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        for time in [self.events_from, self.events_to, self.sealed_at] {
            out.extend_from_slice(&time.as_micros().to_be_bytes());
        }
        out.extend_from_slice(self.payload.as_bytes());
        out.extend_from_slice(&self.payload_bytes.to_be_bytes());
        out.extend_from_slice(self.records_root.as_bytes());
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        encode_act(&self.act, out);
        let length = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.submitter);
    }

    /// Reads a leaf and checks that its fields agree with each other; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let mut leaf = Self {
            act: Act::Batch,
            batch: BatchId::from_bytes([0; 16]),
            previous_batch: BatchId::from_bytes([0; 16]),
            previous_hash: Digest::ZERO,
            first_sequence: 0,
            count: 0,
            events_from: Timestamp::EPOCH,
            events_to: Timestamp::EPOCH,
            sealed_at: Timestamp::EPOCH,
            payload: Digest::ZERO,
            payload_bytes: 0,
            records_root: Digest::ZERO,
            submitter: [0; KEY_LEN],
            signature: [0; SIGNATURE_LEN],
        };
        leaf.read(bytes)?;
        Ok(leaf)
    }

    /// Decodes into the place of another leaf, of which nothing stays: for many in a row. After an
    /// error what is there means nothing.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), LeafError> {
        let found = bytes.len();
        if let Some(version) = bytes.first()
            && *version != LEAF_VERSION
        {
            return Err(LeafError::Version(*version));
        }
        let least = FIXED_LEN + KEY_LEN + SIGNATURE_LEN;
        if found < least {
            return Err(LeafError::Length { expected: least, found });
        }
        let mut fields = Fields(&bytes[1..]);
        let kind = fields.take::<1>()[0];
        self.batch = BatchId::from_bytes(fields.take());
        self.previous_batch = BatchId::from_bytes(fields.take());
        self.previous_hash = Digest::from_bytes(fields.take());
        self.first_sequence = u64::from_be_bytes(fields.take());
        self.count = u32::from_be_bytes(fields.take());
        for time in [&mut self.events_from, &mut self.events_to, &mut self.sealed_at] {
            *time = Timestamp::from_micros(i64::from_be_bytes(fields.take()));
        }
        self.payload = Digest::from_bytes(fields.take());
        self.payload_bytes = u64::from_be_bytes(fields.take());
        self.records_root = Digest::from_bytes(fields.take());
        let act_len = usize::from(u16::from_be_bytes(fields.take()));
        if found != least + act_len {
            return Err(LeafError::Length { expected: least + act_len, found });
        }
        let (act_bytes, rest) = fields.0.split_at(act_len);
        self.act = decode_act(kind, act_bytes)?;
        let mut rest = Fields(rest);
        self.submitter = rest.take();
        self.signature = rest.take();
        self.check()
    }

    fn check(&self) -> Result<(), LeafError> {
        let refuse = |field, problem| Err(LeafError::Field { field, problem });
        if self.first_sequence == 0 {
            return refuse("first sequence", "records are numbered from 1");
        }
        if self.first_sequence.checked_add(u64::from(self.count)).is_none() {
            return refuse("count", "the last sequence does not fit into 64 bits");
        }
        if self.events_from > self.events_to {
            return refuse("event times", "the earliest is later than the latest");
        }
        if (self.payload_bytes == 0) != (self.payload == Digest::ZERO) {
            return refuse("payload", "hash and length do not agree on whether there is one");
        }
        let carries_records = matches!(self.act, Act::Batch | Act::Evidence);
        if carries_records != (self.count > 0) {
            return refuse("count", "only batches and evidence hold records, and at least one");
        }
        let may_hold_payload = carries_records || matches!(self.act, Act::Reseal { .. });
        if !may_hold_payload && self.payload_bytes > 0 {
            return refuse("payload", "this kind has none");
        }
        match self.act {
            Act::Batch | Act::Reseal { .. } if self.payload_bytes == 0 => {
                refuse("payload", "missing")
            }
            Act::Shred { from, to, .. } if from >= to => refuse("leaf range", "empty"),
            Act::Retention { minimum_index, .. } if !minimum_index.is_multiple_of(256) => {
                refuse("minimum index", "not a multiple of 256")
            }
            _ => Ok(()),
        }
    }

    /// Verifies the submitter's signature for the log `origin`.
    pub fn verify_signature(&self, origin: &str) -> Result<(), LeafError> {
        let message = self.signed_message(origin);
        let valid = ed25519_verifies(&self.submitter, &message, &self.signature);
        if valid { Ok(()) } else { Err(LeafError::Signature) }
    }

    /// The same, quicker for a key that signed many leaves before.
    pub fn verify_signature_with(&self, origin: &str, signers: &Signers) -> Result<(), LeafError> {
        let message = self.signed_message(origin);
        let valid = signers.verifies(&self.submitter, &message, &self.signature);
        if valid { Ok(()) } else { Err(LeafError::Signature) }
    }

    /// What the next leaf has to know of this one.
    pub fn reference(&self) -> LeafReference {
        LeafReference {
            batch: self.batch,
            hash: leaf_hash(&self.encode()),
            last_sequence: self.last_sequence(),
        }
    }

    /// Where it stands, for messages.
    pub fn place(&self, index: u64) -> LeafPlace {
        LeafPlace {
            index,
            batch: Some(self.batch),
            records: (self.count > 0).then_some((self.first_sequence, self.last_sequence())),
        }
    }
}

fn encode_act(act: &Act, out: &mut Vec<u8>) {
    match act {
        Act::Batch | Act::Evidence => {}
        Act::Reseal { index, old_payload, reason } => {
            out.extend_from_slice(&index.to_be_bytes());
            out.extend_from_slice(old_payload.as_bytes());
            out.push(reason.byte());
        }
        Act::Shred { from, to, reason } => {
            out.extend_from_slice(&from.to_be_bytes());
            out.extend_from_slice(&to.to_be_bytes());
            out.push(reason.byte());
        }
        Act::Retention { minimum_index, reason } => {
            out.extend_from_slice(&minimum_index.to_be_bytes());
            out.push(reason.byte());
        }
        Act::SubmitterKey { next } => out.extend_from_slice(next),
        Act::Edge(statement) => out.extend_from_slice(statement.as_bytes()),
    }
}

fn decode_act(kind: u8, bytes: &[u8]) -> Result<Act, LeafError> {
    let expected = match kind {
        1 | 2 => 0,
        3 => 41,
        4 => 17,
        5 => 9,
        6 => 32,
        7 => EDGE_STATEMENT_BYTES,
        other => return Err(LeafError::Kind(other)),
    };
    if bytes.len() != expected {
        return Err(LeafError::Field { field: "act", problem: "wrong length for its kind" });
    }
    if kind == 7 {
        let problem = |_| LeafError::Field { field: "edge statement", problem: "malformed" };
        return EdgeStatement::decode(bytes).map(Act::Edge).map_err(problem);
    }
    let mut fields = Fields(bytes);
    Ok(match kind {
        1 => Act::Batch,
        2 => Act::Evidence,
        3 => Act::Reseal {
            index: u64::from_be_bytes(fields.take()),
            old_payload: Digest::from_bytes(fields.take()),
            reason: ShredReason::from_byte(fields.take::<1>()[0])?,
        },
        4 => Act::Shred {
            from: u64::from_be_bytes(fields.take()),
            to: u64::from_be_bytes(fields.take()),
            reason: ShredReason::from_byte(fields.take::<1>()[0])?,
        },
        5 => Act::Retention {
            minimum_index: u64::from_be_bytes(fields.take()),
            reason: ShredReason::from_byte(fields.take::<1>()[0])?,
        },
        _ => Act::SubmitterKey { next: fields.take() },
    })
}

/// Takes fields off the front. Lengths are checked before; a short rest reads as zeroes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// Names a leaf in messages: `leaf 17 (batch ..., records 1201-1320)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafPlace {
    /// Its index.
    pub index: u64,
    /// Its batch, when the leaf could be read.
    pub batch: Option<BatchId>,
    /// First and last record, when it holds any.
    pub records: Option<(u64, u64)>,
}

impl fmt::Display for LeafPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf {}", self.index)?;
        match (self.batch, self.records) {
            (Some(batch), Some((first, last))) => {
                write!(f, " (batch {batch}, records {first}-{last})")
            }
            (Some(batch), None) => write!(f, " (batch {batch})"),
            (None, _) => Ok(()),
        }
    }
}
