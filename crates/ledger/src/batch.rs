//! The submitter's side: records become a sealed payload and a signed leaf. Records of a log are
//! numbered from 1 without gaps; a record out of order is refused, never renumbered.

use veritwin_domain::{BatchId, LogId, Rng, TenantId, Timestamp};
use veritwin_keys::{Dek, KeyError, SigningKey};
use veritwin_verify::{Act, Digest, Leaf, LeafReference, SIGNATURE_LEN, records_root, sha256};

use crate::payload::{self, OpenedPayload, PAYLOAD_PLAINTEXT_MAX};

/// Why a batch cannot be built or a payload not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A record does not follow the one before it.
    #[error("record {found} out of order: expected {expected}")]
    Sequence {
        /// The next number.
        expected: u64,
        /// The one offered.
        found: u64,
    },
    /// One record is larger than a whole payload may be.
    #[error("record {sequence} of {bytes} bytes: at most {max} fit into a batch")]
    RecordTooLarge {
        /// The record.
        sequence: u64,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// There is nothing to seal.
    #[error("a batch without records")]
    Empty,
    /// The statement contradicts itself.
    #[error("statement: {0}")]
    Statement(&'static str),
    /// A payload does not belong to its leaf.
    #[error("payload: {0}")]
    Payload(&'static str),
    /// Sealing or opening failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// One record in its canonical form, which only the application knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBytes {
    /// Its number in the log, from 1 without gaps.
    pub sequence: u64,
    /// Earliest event time in it.
    pub events_from: Timestamp,
    /// Latest event time in it.
    pub events_to: Timestamp,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most payload bytes before sealing; at most [`PAYLOAD_PLAINTEXT_MAX`].
    pub bytes_max: usize,
    /// Most records.
    pub records_max: u32,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { bytes_max: 4 << 20, records_max: 1 << 20 }
    }
}

/// Who signs, for which log, with which tenant key.
#[derive(Clone, Copy)]
pub struct BatchSigner<'a> {
    /// The tenant whose key seals the payload.
    pub tenant: TenantId,
    /// That key, class Ledger.
    pub dek: &'a Dek,
    /// The log's origin, as the archive states it.
    pub origin: &'a str,
    /// The submitter's signing key.
    pub key: &'a SigningKey,
    /// For salts and ids.
    pub rng: &'a dyn Rng,
}

impl std::fmt::Debug for BatchSigner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchSigner({})", self.origin)
    }
}

/// A leaf and its payload, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBatch {
    /// The leaf.
    pub leaf: Leaf,
    /// Its canonical bytes: the log entry.
    pub entry: Vec<u8>,
    /// The sealed payload; none for statements.
    pub payload: Option<Vec<u8>>,
}

impl SealedBatch {
    /// What the next batch of this log has to know.
    pub fn reference(&self) -> LeafReference {
        self.leaf.reference()
    }
}

/// Collects records until the batch is full or due.
#[derive(Debug)]
pub struct BatchBuilder {
    limits: BatchLimits,
    first_sequence: u64,
    records: Vec<Vec<u8>>,
    bytes: usize,
    events: Option<(Timestamp, Timestamp)>,
}

impl BatchBuilder {
    /// An empty batch that follows `previous` (none: the log's first).
    pub fn new(limits: BatchLimits, previous: Option<&LeafReference>) -> Self {
        let first_sequence = previous.map_or(0, |previous| previous.last_sequence) + 1;
        let bytes_max = limits.bytes_max.min(PAYLOAD_PLAINTEXT_MAX);
        let limits = BatchLimits { bytes_max, ..limits };
        Self { limits, first_sequence, records: Vec::new(), bytes: 0, events: None }
    }

    /// Number of the record wanted next.
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence + self.records.len() as u64
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Payload bytes so far, before sealing.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when a record of `bytes` bytes still fits.
    pub fn fits(&self, bytes: usize) -> bool {
        let records = self.records.len() < self.limits.records_max as usize;
        records && self.bytes + bytes + 64 <= self.limits.bytes_max
    }

    /// Adds a record. False, and nothing added, when the batch is full: seal it first.
    pub fn push(&mut self, record: RecordBytes) -> Result<bool, BuildError> {
        let expected = self.next_sequence();
        if record.sequence != expected {
            return Err(BuildError::Sequence { expected, found: record.sequence });
        }
        let bytes = record.bytes.len();
        if bytes + 64 > self.limits.bytes_max {
            let (sequence, max) = (record.sequence, self.limits.bytes_max);
            return Err(BuildError::RecordTooLarge { sequence, bytes, max });
        }
        if !self.fits(bytes) {
            return Ok(false);
        }
        let (from, to) = (record.events_from, record.events_to.max(record.events_from));
        self.events = Some(match self.events {
            None => (from, to),
            Some((earliest, latest)) => (earliest.min(from), latest.max(to)),
        });
        self.bytes += bytes + 4;
        self.records.push(record.bytes);
        Ok(true)
    }

    /// Seals the batch as a leaf of kind [`Act::Batch`] or [`Act::Evidence`].
    pub fn seal(
        self,
        act: Act,
        previous: Option<&LeafReference>,
        sealed_at: Timestamp,
        signer: &BatchSigner<'_>,
    ) -> Result<SealedBatch, BuildError> {
        if !matches!(act, Act::Batch | Act::Evidence) {
            return Err(BuildError::Statement("this act holds no records"));
        }
        let (opened, mut parts) = self.parts(act, signer.rng)?;
        let owner = (signer.tenant, signer.dek);
        let plain = opened.to_plaintext();
        parts.payload = Some(payload::seal(owner, signer.origin, &plain, (sealed_at, signer.rng))?);
        Ok(parts.sign(previous, sealed_at, signer))
    }

    /// Seals the batch as evidence whose payload is not handed to the archive: the leaf holds its
    /// salted root only. The caller keeps salt and records, sealed under the same key as a payload:
    /// see [`open_kept`](crate::open_kept).
    pub fn seal_digest(
        self,
        previous: Option<&LeafReference>,
        sealed_at: Timestamp,
        signer: &BatchSigner<'_>,
    ) -> Result<(SealedBatch, Vec<u8>), BuildError> {
        let (opened, parts) = self.parts(Act::Evidence, signer.rng)?;
        let owner = (signer.tenant, signer.dek);
        let plain = opened.to_plaintext();
        let kept = payload::seal(owner, signer.origin, &plain, (sealed_at, signer.rng))?;
        Ok((parts.sign(previous, sealed_at, signer), kept))
    }

    fn parts(self, act: Act, rng: &dyn Rng) -> Result<(OpenedPayload, Parts), BuildError> {
        let events = self.events.ok_or(BuildError::Empty)?;
        let mut salt = [0; 32];
        rng.fill(&mut salt);
        let count = self.records.len() as u32;
        let opened = OpenedPayload::new(salt, self.first_sequence, self.records);
        let records_root = opened.root();
        Ok((opened, Parts { act, count, events, records_root, payload: None }))
    }

    /// Seals the content of an opened payload anew: same records, same salts, new key.
    pub fn reseal(
        (index, leaf): (u64, &Leaf),
        opened: &OpenedPayload,
        reason: veritwin_verify::ShredReason,
        (previous, sealed_at): (&LeafReference, Timestamp),
        signer: &BatchSigner<'_>,
    ) -> Result<SealedBatch, BuildError> {
        let plain = opened.to_plaintext();
        let owner = (signer.tenant, signer.dek);
        let sealed = payload::seal(owner, signer.origin, &plain, (sealed_at, signer.rng))?;
        let parts = Parts {
            act: Act::Reseal { index, old_payload: leaf.payload, reason },
            count: 0,
            events: (sealed_at, sealed_at),
            records_root: leaf.records_root,
            payload: Some(sealed),
        };
        Ok(parts.sign(Some(previous), sealed_at, signer))
    }
}

/// Signs a leaf without records: [`Act::Shred`], [`Act::Retention`], [`Act::SubmitterKey`] or
/// [`Act::Edge`].
pub fn seal_statement(
    act: Act,
    previous: Option<&LeafReference>,
    sealed_at: Timestamp,
    signer: &BatchSigner<'_>,
) -> Result<SealedBatch, BuildError> {
    match act {
        Act::Batch | Act::Evidence | Act::Reseal { .. } => {
            return Err(BuildError::Statement("this act holds a payload"));
        }
        Act::Shred { from, to, .. } if from >= to => {
            return Err(BuildError::Statement("the range of leaves is empty"));
        }
        Act::Retention { minimum_index, .. } if minimum_index % 256 != 0 => {
            return Err(BuildError::Statement("the minimum index is not a multiple of 256"));
        }
        Act::Shred { .. } | Act::Retention { .. } | Act::SubmitterKey { .. } | Act::Edge(_) => {}
    }
    let parts = Parts {
        act,
        count: 0,
        events: (sealed_at, sealed_at),
        records_root: records_root(&[]),
        payload: None,
    };
    Ok(parts.sign(previous, sealed_at, signer))
}

struct Parts {
    act: Act,
    count: u32,
    events: (Timestamp, Timestamp),
    records_root: Digest,
    payload: Option<Vec<u8>>,
}

impl Parts {
    fn sign(
        self,
        previous: Option<&LeafReference>,
        sealed_at: Timestamp,
        signer: &BatchSigner<'_>,
    ) -> SealedBatch {
        let mut leaf = Leaf {
            act: self.act,
            batch: BatchId::generate(sealed_at, signer.rng),
            previous_batch: previous.map_or(BatchId::from_bytes([0; 16]), |leaf| leaf.batch),
            previous_hash: previous.map_or(Digest::ZERO, |leaf| leaf.hash),
            first_sequence: previous.map_or(0, |leaf| leaf.last_sequence) + 1,
            count: self.count,
            events_from: self.events.0,
            events_to: self.events.1,
            sealed_at,
            payload: self.payload.as_deref().map_or(Digest::ZERO, sha256),
            payload_bytes: self.payload.as_ref().map_or(0, |payload| payload.len() as u64),
            records_root: self.records_root,
            submitter: signer.key.public_bytes(),
            signature: [0; SIGNATURE_LEN],
        };
        leaf.signature = signer.key.sign(&leaf.signed_message(signer.origin));
        SealedBatch { entry: leaf.encode(), leaf, payload: self.payload }
    }
}

/// The end of the origin of a log on a simulated clock.
pub(crate) const SIMULATED: &str = "/simulated";

/// The origin of a tenant's log: `HOST/ledger/LOG`, and `/simulated` behind it where the clock is
/// simulated, so that no such log can pass for a real one.
pub fn origin_of(host: &str, log: LogId, simulated: bool) -> String {
    let tail = if simulated { SIMULATED } else { "" };
    format!("{host}/ledger/{log}{tail}")
}
