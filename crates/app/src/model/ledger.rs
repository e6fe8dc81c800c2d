//! The ledger at a glance, its entries, proofs and papers.

use std::sync::Arc;

use veritwin_domain::{BatchId, CaseId, CredentialId, DeviceId, Key, LedgerItemId, Timestamp};
use veritwin_verify::RecordProof;

use super::{HeldView, LatestView};

/// A tenant's ledger at a glance.
#[derive(Debug, Clone)]
pub struct LedgerView {
    /// The random id under which the log is served.
    pub log_id: String,
    /// The checkpoint's origin.
    pub origin: String,
    /// The log's verifier key, `NAME+HEX+BASE64`.
    pub vkey: String,
    /// Entries.
    pub tree_size: u64,
    /// Root hash.
    pub root_hash: [u8; 32],
    /// The signed checkpoint.
    pub checkpoint: String,
    /// When the last batch was sealed.
    pub last_sealed_at: Option<Timestamp>,
    /// Records that are durable but not yet sealed.
    pub pending_records: u64,
    /// Since when and why sealing waits for this tenant, if it does.
    pub held_up: Option<HeldView>,
    /// Whether the archive answers.
    pub connected: bool,
    /// Whether readings are sealed, or digests only.
    pub subscribed: bool,
    /// The archive runs on this host under this user: a limit to its neutrality.
    pub shared_host: bool,
    /// How far the log is witnessed.
    pub witness: WitnessView,
    /// The newest time stamp.
    pub stamp: Option<StampView>,
}

/// How far a log is witnessed.
#[derive(Debug, Clone)]
pub struct WitnessView {
    /// The witnesses that the platform's policy names; none: nobody witnesses.
    pub witnesses: Vec<WitnessSeen>,
    /// The policy (C2SP tlog-policy).
    pub policy: Option<String>,
    /// What a witness, or what was published before, contradicts of the log as the archive has it.
    pub contradicted: Option<String>,
    /// Entries up to which the policy is met.
    pub witnessed_size: u64,
    /// Entries after that.
    pub unwitnessed: u64,
    /// Entries up to which the log stands in the log of logs.
    pub in_log_of_logs: u64,
    /// When a checkpoint was published last.
    pub published_at: Option<Timestamp>,
}

/// A witness and the newest published checkpoint.
#[derive(Debug, Clone)]
pub struct WitnessSeen {
    /// The name that it signs under.
    pub name: String,
    /// It has cosigned that checkpoint.
    pub cosigned: bool,
}

/// A time stamp of an authority.
#[derive(Debug, Clone, Copy)]
pub struct StampView {
    /// Entries that it covers.
    pub size: u64,
    /// When they were there at the latest.
    pub at: Timestamp,
}

/// One leaf of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerEntryView {
    /// Its index.
    pub index: u64,
    /// `batch`, `evidence`, ...
    pub kind: String,
    /// The batch.
    pub batch: BatchId,
    /// First log sequence in it.
    pub first_sequence: u64,
    /// Last log sequence in it.
    pub last_sequence: u64,
    /// Records.
    pub count: u64,
    /// Earliest event time.
    pub from: Option<Timestamp>,
    /// Latest event time.
    pub to: Option<Timestamp>,
    /// SHA-256 of the payload's ciphertext.
    pub payload_sha256: [u8; 32],
    /// Its size in bytes.
    pub payload_bytes: u64,
    /// Root of the salted record hashes.
    pub records_root: [u8; 32],
    /// RFC 6962 leaf hash.
    pub leaf_hash: [u8; 32],
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

/// The proof that a leaf is in the log.
#[derive(Debug, Clone)]
pub struct LedgerProofView {
    /// The leaf's index.
    pub index: u64,
    /// Size of the tree it is proven against.
    pub tree_size: u64,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// Its hash.
    pub leaf_hash: [u8; 32],
    /// The audit path, bottom up.
    pub path: Vec<[u8; 32]>,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// The log's verifier key.
    pub vkey: String,
}

/// The credential behind a reading.
#[derive(Debug, Clone, Copy)]
pub struct PapersCredential {
    /// Its id.
    pub id: CredentialId,
    /// `access_token`, ... or `api_key` for a program.
    pub kind: &'static str,
}

/// The papers of one reading.
#[derive(Debug, Clone)]
pub struct PapersView {
    /// The reading.
    pub reading: LatestView,
    /// The device's name.
    pub device_name: Arc<str>,
    /// The credential that sent it, once the batch is sealed.
    pub credential: Option<PapersCredential>,
    /// When the platform received it.
    pub received_at: Option<Timestamp>,
    /// Its position in the durable log.
    pub position: Option<u64>,
    /// The leaf that holds it.
    pub entry: Option<LedgerEntryView>,
    /// The record that holds it, with what proves it under the leaf.
    pub record: Option<RecordProof>,
    /// Tree size and root hash of the checkpoint that covers the leaf.
    pub checkpoint: Option<(u64, [u8; 32])>,
    /// Version of the tenant's key-encryption key.
    pub kek_version: u32,
}

/// Where a reading or a record was sealed.
#[derive(Debug, Clone)]
pub struct LedgerPlaceView {
    /// `readings`, `activity`, `key`, `alert`, ...
    pub kind: &'static str,
    /// The record's id; none of readings.
    pub id: Option<LedgerItemId>,
    /// What it is about.
    pub about: Option<LedgerItemId>,
    /// `waiting`, `sealed`, `destroyed` (its leaf is proven, what it says is gone), `ended` (its
    /// leaf went with the end of the audit period) or `misplaced` (the leaf that the index names
    /// does not hold it: the index was changed).
    pub state: &'static str,
    /// When it was written down.
    pub recorded_at: Timestamp,
    /// Its number in the log.
    pub sequence: Option<u64>,
    /// The leaf that holds it.
    pub entry: Option<LedgerEntryView>,
    /// The proof of the record under its leaf.
    pub proof: Option<RecordProof>,
    /// Of an activity record: whether it still is what was sealed.
    pub unchanged: Option<bool>,
    /// The erasure that changed it, where one did.
    pub erased: Option<ErasedView>,
}

/// The erasure of a person after which a record is what it is now.
#[derive(Debug, Clone)]
pub struct ErasedView {
    /// The request that was carried out.
    pub case: CaseId,
    /// The sealed record of the change.
    pub record: LedgerItemId,
    /// The entry that holds it.
    pub entry: Option<u64>,
    /// SHA-256 of the erasure's certificate, once there is one.
    pub certificate: Option<String>,
}

/// What is searched for in what is sealed.
#[derive(Debug, Clone, Default)]
pub struct EvidenceQuery {
    /// Of this device.
    pub device: Option<DeviceId>,
    /// Of this series of it.
    pub key: Option<Key>,
    /// From this event time, inside.
    pub from: Option<Timestamp>,
    /// To this event time, inside.
    pub to: Option<Timestamp>,
}

/// What a bundle of evidence holds.
#[derive(Debug, Clone, Default)]
pub struct EvidenceInput {
    /// Records that this finds, of a device.
    pub query: EvidenceQuery,
    /// Further entries of the ledger, without their records.
    pub entries: Vec<u64>,
}

/// A bundle of evidence.
#[derive(Debug, Clone)]
pub struct EvidenceBundle {
    /// The file's name.
    pub name: String,
    /// A zip file.
    pub bytes: Vec<u8>,
}

/// A reading of a sealed record.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedReading {
    /// The key.
    pub key: String,
    /// When it was measured.
    pub at: Timestamp,
    /// The value, as it was sealed.
    pub value: serde_json::Value,
    /// Its quality.
    pub quality: String,
}

/// A record that is sealed.
#[derive(Debug, Clone)]
pub struct EvidenceHit {
    /// The entry that holds its batch.
    pub entry: u64,
    /// The record's number in the log.
    pub sequence: u64,
    /// `readings`, `attributes`, `session`, `refusal` or `relay`.
    pub kind: String,
    /// The device, as it was sealed.
    pub device: String,
    /// What the device is called now.
    pub device_name: Option<String>,
    /// The credential that sent it; empty where there was none.
    pub credential: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// When the batch was sealed.
    pub sealed_at: Timestamp,
    /// Its readings.
    pub readings: Vec<SealedReading>,
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct EvidencePage {
    /// Records, newest entries first.
    pub items: Vec<EvidenceHit>,
    /// Batches of that time whose key was destroyed, or is not known here.
    pub destroyed: u64,
    /// Where the search goes on.
    pub next_cursor: Option<String>,
}
