//! Store-and-forward edges and their keys.

use veritwin_domain::{CredentialId, DeviceId, EdgeKeyId, TenantId, Timestamp};

/// A key to be registered for an edge.
#[derive(Debug, Clone)]
pub struct EdgeKeyInput {
    /// The Ed25519 public key, as 64 hexadecimal digits.
    pub public_key: String,
    /// What people call it; may be empty.
    pub name: String,
}

/// A key of an edge, and what was submitted under it.
#[derive(Debug, Clone)]
pub struct EdgeKeyView {
    /// The key's id.
    pub id: EdgeKeyId,
    /// The public key, in hexadecimal.
    pub public_key: String,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// What people call it.
    pub name: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Since when nothing is taken that is signed with it.
    pub revoked_at: Option<Timestamp>,
    /// Counter of the last batch; 0 without one.
    pub last_counter: u64,
    /// How many batches were kept.
    pub batches: u64,
    /// How many entries were in them.
    pub entries: u64,
    /// Counters that were never submitted, as ranges.
    pub missing: Vec<(u64, u64)>,
    /// Counters that the edge gave up, as ranges.
    pub given_up: Vec<(u64, u64)>,
    /// How often a counter came once more with another content.
    pub forks: u64,
    /// How many entries waited at the edge when it was last heard.
    pub waiting: Option<u64>,
    /// When it was last heard.
    pub seen_at: Option<Timestamp>,
    /// The platform's clock minus the edge's, in microseconds, as the edge last stated it.
    pub clock_offset_us: Option<i64>,
}

/// Who sends the batch of an edge.
#[derive(Debug, Clone, Copy)]
pub struct EdgeSender {
    /// The tenant.
    pub tenant: TenantId,
    /// The gateway device.
    pub device: DeviceId,
    /// The credential that it showed.
    pub credential: CredentialId,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeOutcome {
    /// It is durable now.
    Kept,
    /// It was durable before; nothing changed.
    Known,
    /// Its counter, or the statement that it follows, was stated before and differently. Nothing
    /// of it is kept but the statement itself, as evidence.
    Fork,
    /// Later ones were kept before it: nothing of it is taken any more.
    Passed,
}

impl EdgeOutcome {
    /// The name used in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Known => "known",
            Self::Fork => "fork",
            Self::Passed => "passed",
        }
    }
}

/// What an edge is answered.
#[derive(Debug, Clone)]
pub struct EdgeAnswer {
    /// What became of the batch.
    pub outcome: EdgeOutcome,
    /// Counter of the last one that was kept.
    pub last_counter: u64,
}
