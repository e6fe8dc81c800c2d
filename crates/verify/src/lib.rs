//! Pure verification of the audit ledger: RFC 6962 hashing and proofs, the C2SP formats (tiles,
//! checkpoints, signed notes, cosignatures, proofs, policies) and the Veritwin leaf. It needs no
//! server, account or decryption key, reads only through [`Source`], and never writes.

mod audit;
mod bundle;
mod chain;
mod checkpoint;
mod counter_gaps;
mod der;
mod digest;
mod edge;
mod edge_gaps;
mod evidence;
mod evidence_page;
mod evidence_table;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod leaf;
mod mail;
mod merkle;
mod note;
mod payloads;
mod policy;
mod prepared;
mod proof;
mod published;
mod records;
mod report;
mod roll;
mod source;
mod stamp;
mod stamped;
mod tile;
mod tlog_proof;
mod witness;
mod zip;

pub use audit::{
    ConsistencyAnswer, Gap, GapOptions, GapReport, KnownCheckpoint, ProofAnswer, SignatureCheck,
    SourceTiles, VerifyOptions, consistency, consistency_at, consistency_between, gaps,
    inclusion_at, leaf_of_record, proof, verify_log,
};
pub use bundle::{
    BundleError, ENTRIES_PER_BUNDLE, ENTRY_BYTES_MAX, decode_bundle, encode_bundle, encode_entry,
};
pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointError, SignedCheckpoint};
pub use counter_gaps::{COUNTED_DEVICES_MAX, CounterGaps, CounterReport};
pub use digest::{Digest, DigestError, Sha256, sha256};
pub use edge::{
    EDGE_STATEMENT_BYTES, EDGE_STATEMENT_VERSION, EdgeError, EdgeFields, EdgeKind, EdgeStatement,
};
pub use edge_gaps::{EDGES_MAX, EdgeReport};
pub use evidence::{
    EVIDENCE_FILE, EVIDENCE_PAGE, EVIDENCE_READ_ME_FILE, EVIDENCE_TABLE_FILE, Evidence,
    EvidenceEntry, EvidenceRecord, EvidenceReport, page_text, verify_evidence,
};
pub use evidence_page::{EVIDENCE_READ_ME, evidence_page};
pub use evidence_table::{FORMULAS, evidence_table, guarded};
pub use leaf::{
    Act, LEAF_VERSION, Leaf, LeafError, LeafKind, LeafPlace, LeafReference, SIGNATURE_LEN,
    ShredReason,
};
pub use mail::{
    ATTACHMENTS_MAX, Attachment, Bridge, DkimAlgorithm, DkimCheck, DkimDraft, DkimError, DkimKey,
    DkimKeys, DkimOutcome, DkimPlace, LEDGER_MAIL_FILE, LedgerMail, MAIL_BYTES_MAX, MAILS_MAX,
    MailFile, MailPartsError, ReceiptChain, ReceiptOptions, ReceiptReport, attachments,
    dkim_checks, receipts,
};
pub use merkle::{Frontier, leaf_hash, node_hash, root_of};
pub use note::{KeyAlgorithm, NoteError, NoteSignature, SignedNote, VerifierKey};
pub use policy::{POLICY_BYTES_MAX, Policy, PolicyError, PolicyWitness};
pub use prepared::Signers;
pub use proof::{
    ProofError, TileHashes, consistency_path, inclusion_path, verify_consistency, verify_inclusion,
};
pub use published::{
    PUBLISHED_INDEX, PUBLISHED_MAX, published_checkpoint, published_roll, published_sizes,
    published_stamp,
};
pub use records::{
    RECORD_PROOF_BYTES_MAX, RecordProof, RecordProofError, record_hashes, record_salt, records_root,
};
pub use report::{
    ChainCounts, ExitClass, Finding, FindingKind, KeyTrust, Progress, Report, StampSeen,
    WitnessState, Witnessed,
};
pub use roll::{ROLL_PROOF_BYTES_MAX, RollError, RollPlace, RollProof, RollRound, roll_digest};
pub use source::{DirectorySource, Source, SourceError};
pub use stamp::{
    STAMP_BYTES_MAX, STAMP_NONCE_BYTES, StampAuthorities, StampError, StampRequest, TimeStamp,
    verify_stamp,
};
pub use stamped::{STAMPED_ANSWER_FILE, STAMPED_CHECKPOINT_FILE, StampedCheckpoint, StampedError};
pub use tile::{TILE_BYTES_MAX, TILE_WIDTH, TileError, TileKind, TilePath, tiles_of};
pub use tlog_proof::{CheckedProof, PROOF_BYTES_MAX, TlogProof, TlogProofError};
pub use witness::{
    AddCheckpoint, CONSISTENCY_LINES_MAX, TREE_SIZE_TYPE, WITNESS_ANSWER_BYTES_MAX,
    WITNESS_REQUEST_BYTES_MAX, WitnessFormError, cosignature_line, cosigned_message, tree_size,
    valid_cosignatures,
};
pub use zip::{ZIP_BYTES_MAX, ZipError, unzip_stored, zip_stored};
