//! What is processed, by category; profiles of jurisdictions; agreements.

use veritwin_domain::{RegisterEntryId, Timestamp};

/// A category of data as it is processed for a purpose.
#[derive(Debug, Clone)]
pub struct ProcessingView {
    /// Which.
    pub category: &'static str,
    /// For what: the purpose's name in the register of purposes.
    pub purpose: String,
    /// As what: `controller` or `processor`.
    pub role: &'static str,
    /// On which legal basis.
    pub basis: &'static str,
    /// How long it is kept.
    pub kept: &'static str,
    /// The tables that hold it.
    pub tables: Vec<&'static str>,
    /// How many columns.
    pub columns: usize,
}

/// How often an action was done, rounded.
#[derive(Debug, Clone)]
pub struct UseFigure {
    /// Which.
    pub action: String,
    /// How often.
    pub acts: u64,
    /// By how many.
    pub actors: u64,
}

/// Figures of use.
#[derive(Debug, Clone)]
pub struct FiguresView {
    /// Of each action that a whole group did.
    pub figures: Vec<UseFigure>,
    /// How many actions are not told, since too few did them.
    pub suppressed: usize,
}

/// A privacy law as a profile.
#[derive(Debug, Clone)]
pub struct JurisdictionView {
    /// A country, union or state.
    pub code: String,
    /// The law's name.
    pub law: String,
    /// Whom one complains to.
    pub authority: Option<String>,
    /// Where.
    pub authority_url: Option<String>,
    /// What a letter of refusal says of that.
    pub complain_to: Option<String>,
    /// The law's own time to answer a request, in days.
    pub answer_days: Option<u32>,
    /// The law's own time to notify a breach, in hours.
    pub breach_hours: Option<u32>,
    /// Below which age somebody is a child.
    pub child_age: Option<u32>,
    /// Legal bases.
    pub bases: Vec<String>,
    /// Mechanisms of transfers.
    pub transfer: Vec<String>,
    /// What the profile does not say, and where the platform falls short of the law.
    pub gaps: Vec<&'static str>,
}

/// A data processing agreement.
#[derive(Debug, Clone)]
pub struct AgreementView {
    /// Its id.
    pub id: RegisterEntryId,
    /// Its text, as Markdown.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// The platform's public key, in hexadecimal.
    pub key: String,
    /// Ed25519 over the text, in hexadecimal.
    pub signature: String,
    /// When it was made.
    pub made_at: Timestamp,
}
