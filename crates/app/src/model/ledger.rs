//! The ledger at a glance, its entries, proofs and papers.

use std::sync::Arc;

use veritwin_domain::{BatchId, CredentialId, Timestamp};
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
