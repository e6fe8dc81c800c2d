//! Entries of the registers that people write.

use std::collections::BTreeMap;

use veritwin_domain::{RegisterEntryId, Timestamp};

/// An entry to write.
#[derive(Debug, Clone)]
pub struct RegisterInput {
    /// Which register.
    pub kind: String,
    /// What it says, by the names of its fields.
    pub fields: BTreeMap<String, String>,
    /// Until when it counts.
    pub review_at: Option<Timestamp>,
}

/// An entry.
#[derive(Debug, Clone)]
pub struct RegisterView {
    /// Its id.
    pub id: RegisterEntryId,
    /// The register.
    pub kind: &'static str,
    /// Whether it counts.
    pub state: &'static str,
    /// What it says.
    pub fields: BTreeMap<String, String>,
    /// The account of whoever entered it.
    pub entered_by: String,
    /// The account of whoever approved it.
    pub approved_by: Option<String>,
    /// The account of whoever asked that it ends, where that takes two.
    pub ending_by: Option<String>,
    /// When its notice was published.
    pub announced_at: Option<Timestamp>,
    /// When it was carried out.
    pub carried_out_at: Option<Timestamp>,
    /// Until when it counts.
    pub review_at: Option<Timestamp>,
    /// When it was entered.
    pub created_at: Timestamp,
}

/// The trust page of an organisation.
#[derive(Debug, Clone)]
pub struct TrustPageView {
    /// Whether anybody can read it.
    pub is_published: bool,
    /// Where it is, on the platform's address.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// When it was made last.
    pub made_at: Timestamp,
    /// The account of whoever published it.
    pub published_by: String,
    /// The leaf of the organisation's log that holds its digest.
    pub ledger_index: Option<u64>,
}
