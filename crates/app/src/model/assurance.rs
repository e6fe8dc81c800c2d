//! Promises and keys.

use std::time::Duration;

use veritwin_domain::{TenantId, Timestamp};

/// A promise with its live state.
#[derive(Debug, Clone)]
pub struct PromiseView {
    /// `P01` to `P62`.
    pub id: String,
    /// What is promised.
    pub text: String,
    /// The sentence of the published policy.
    pub source: String,
    /// The feature that keeps it.
    pub feature: String,
    /// `proven`, `failing`, `stale`, `not_evidenced`, `not_applicable`.
    pub state: &'static str,
    /// What the last run found.
    pub summary: Option<String>,
    /// Its facts.
    pub facts: Vec<(String, String)>,
    /// The leaf of the platform's log that holds the evidence's digest; until it has one, the
    /// newest of a run that found the same.
    pub ledger_index: Option<u64>,
    /// Whether that leaf is of an earlier run.
    pub is_leaf_earlier: bool,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it is due again.
    pub next_check_at: Option<Timestamp>,
    /// Why it is not proven, or what a proof cannot show.
    pub reason: Option<String>,
    /// Who must act when it is red.
    pub owner: String,
    /// What a check looks at: `nobody`, `platform` or `everybody`.
    pub scope: &'static str,
    /// How often it is checked.
    pub interval: Duration,
    /// A check that takes longer could not run.
    pub timeout: Duration,
    /// A check that takes more processor time could not run.
    pub cpu_max: Duration,
    /// A check that reads and writes more could not run.
    pub io_bytes_max: u64,
    /// What the newest run spent of both, since the start.
    pub spent: Option<(Duration, u64)>,
}

/// What one key protects.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// `platform` or the tenant.
    pub owner: String,
    /// `kek`, or the class of data of a data key.
    pub kind: String,
    /// Version of the key-encryption key.
    pub version: u32,
    /// How many live keys of this kind.
    pub count: u64,
    /// The oldest one's birth.
    pub oldest: Option<Timestamp>,
    /// The newest one's birth.
    pub newest: Option<Timestamp>,
    /// Last use.
    pub last_used: Option<Timestamp>,
    /// `active`, `revoked`, ...
    pub state: String,
}

/// A tenant that a background job waits for while the others go on.
#[derive(Debug, Clone)]
pub struct HeldView {
    /// The job.
    pub job: &'static str,
    /// The tenant.
    pub tenant: TenantId,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub reason: String,
}

/// One figure of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its name in metrics.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How many.
    pub value: u64,
}
