//! The audit ledger's writing side: sealing batches of records into leaves (submitter), and the
//! archive's log engine (append only, one group-committed journal, tiles as sealed objects). No
//! leaf is altered; a prefix goes when a statement in the log itself says so. Verification lives in
//! `veritwin-verify`.

mod archive;
mod batch;
mod bucket;
mod bytes_form;
mod commit;
mod disk;
mod error;
mod export;
mod item;
mod journal;
pub mod measure;
mod objects;
mod parts;
mod payload;
mod prepare;
mod prune;
mod replay;
mod serve;
mod sink;
mod state;
pub mod wire;

pub use archive::{
    Append, Appended, Archive, ArchiveConfig, ArchiveLimits, CreateLog, LogSummary, PendingAppend,
};
pub use batch::{
    BatchBuilder, BatchLimits, BatchSigner, BuildError, RecordBytes, SealedBatch, origin_of,
    seal_statement,
};
pub use bucket::{Bucket, BucketConfig};
pub use disk::{Disk, SystemDisk};
pub use error::{ConflictState, LedgerError};
pub use export::{DAMAGED_NAMED_MAX, ExportError, ExportSummary, export};
pub use payload::{
    OpenedPayload, PAYLOAD_PLAINTEXT_MAX, is_plain, open_kept, open_payload, open_plain,
    payload_dek_id,
};
pub use serve::ArchiveSource;

// Callers that may not depend on `veritwin-verify` (see the allowed arrows) name its types here.
pub use veritwin_verify::{Act, Digest, Leaf, LeafReference, ShredReason, Source, SourceError};
