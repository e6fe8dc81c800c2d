//! Mail to auditors, what is kept of sent mail, and the keys that sign it.

use veritwin_domain::{MailingId, RouteDestinationId, SentMailId, Timestamp, UserId};

/// A key that signs mail, as its domain publishes it.
#[derive(Debug, Clone)]
pub struct MailKeyView {
    /// The name of the DNS record.
    pub name: String,
    /// Its text.
    pub record: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: &'static str,
    /// `next`, `active` or `retired`.
    pub state: &'static str,
    /// When it was made.
    pub made_at: Timestamp,
    /// When its private half was destroyed.
    pub retired_at: Option<Timestamp>,
}

/// A mail that was sent.
#[derive(Debug, Clone)]
pub struct SentMailView {
    /// Its id.
    pub id: SentMailId,
    /// When the server took it.
    pub sent_at: Timestamp,
    /// `alert`, `messages`, `ledger` or `other`.
    pub about: String,
    /// The recipient, masked.
    pub to: String,
    /// SHA-256 of the exact bytes, hexadecimal.
    pub sha256: String,
    /// How many they were.
    pub bytes: u64,
    /// The server's reply code.
    pub code: String,
    /// The reply's text.
    pub reply: String,
    /// The keys that signed it, with their DNS records.
    pub dkim: Vec<String>,
    /// The leaf that holds the record's digest, once it is sealed.
    pub leaf: Option<u64>,
    /// The record whose digest that is.
    pub record: Vec<u8>,
}

/// To whom checkpoints are mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailingTo {
    /// An auditor of the tenant whose address is confirmed.
    Auditor(UserId),
    /// A registered destination of mail.
    Destination(RouteDestinationId),
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailingEvery {
    /// Each day.
    Day,
    /// Each week.
    Week,
    /// On demand alone.
    Never,
}

impl MailingEvery {
    /// Every value there is.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Never];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Never => "never",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// A sequence of mails to make.
#[derive(Debug, Clone)]
pub struct MailingInput {
    /// To whom; it has to be said.
    pub to: Option<MailingTo>,
    /// How often; one of [`MailingEvery`]'s names.
    pub every: String,
    /// Entries whose proofs go with each mail.
    pub entries: Vec<u64>,
}

/// A sequence of mails.
#[derive(Debug, Clone)]
pub struct MailingView {
    /// Its id.
    pub id: MailingId,
    /// To whom.
    pub to: MailingTo,
    /// How often.
    pub every: MailingEvery,
    /// Entries whose proofs go with each mail.
    pub entries: Vec<u64>,
    /// How many mails were written.
    pub mails: u64,
    /// When the last was.
    pub last_at: Option<Timestamp>,
    /// Leaves of the last checkpoint that was mailed.
    pub tree_size: Option<u64>,
    /// When the next is due.
    pub next_at: Option<Timestamp>,
    /// Why the last one was not written: `no_recipient`, `no_server`, `no_archive`,
    /// `no_flow` (the register of flows lets it go to nobody) or `not_extended` (the log
    /// contradicts an earlier mail).
    pub waits: Option<&'static str>,
    /// When it was made.
    pub created_at: Timestamp,
}
