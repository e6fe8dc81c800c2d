//! The end of an organisation, what ends when, and the mailbox that requests of data subjects are
//! read from.

use veritwin_domain::{DestructionId, Secret, Timestamp};

/// The end of an organisation.
#[derive(Debug, Clone)]
pub struct TenantEndView {
    /// `asked`, `decided`, `destroying` or `done`.
    pub state: &'static str,
    /// Who asked.
    pub requested_by: String,
    /// Whether whoever asks now did.
    pub is_own: bool,
    /// When.
    pub requested_at: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// Whether there was nobody else who could agree: it is decided by itself after a wait.
    pub is_sole: bool,
    /// Who agreed.
    pub approved_by: Option<String>,
    /// When it is decided by itself, or lapses; none once it is decided.
    pub decided_by: Option<Timestamp>,
    /// When everything goes.
    pub ends_at: Option<Timestamp>,
    /// What it waits for although its time has come: `hold` or `tenants_below`.
    pub waits_for: Option<String>,
    /// The destruction that carries it out.
    pub destruction: Option<DestructionId>,
}

/// What decides how long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptSource {
    /// The plan of the organisation.
    Plan,
    /// A rule of the organisation's own.
    Rule,
    /// The platform, for everybody.
    Fixed,
}

impl KeptSource {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Rule => "rule",
            Self::Fixed => "fixed",
        }
    }
}

/// How long one kind of data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// What it is: a name out of a closed list.
    pub class: &'static str,
    /// Which part of it, of a rule of the organisation's own: device or measured value.
    pub about: Option<String>,
    /// For so many seconds; none: as long as the organisation is there.
    pub seconds: Option<u64>,
    /// Counted from what: `made`, `measured`, `sealed`, `sent`, `closed`, `answered`, `used`,
    /// `changed`, `destroyed` or `decided`.
    pub since: &'static str,
    /// What decides.
    pub source: KeptSource,
    /// Where it is changed in the pages, by those who may.
    pub link: Option<&'static str>,
    /// Until then it is kept as before, because a time became shorter.
    pub waits_until: Option<Timestamp>,
    /// Whether a hold keeps some of it beyond its time now.
    pub is_held: bool,
}

/// How to get to a mailbox.
#[derive(Debug)]
pub struct MailboxInput {
    /// `host` or `host:port`; 993 if no port is named.
    pub server: String,
    /// Who signs in.
    pub user: String,
    /// The password; none: the one that is kept.
    pub password: Option<Secret<String>>,
    /// The folder that is read.
    pub folder: String,
}

/// A mailbox that requests are read from. Its password is never shown.
#[derive(Debug, Clone)]
pub struct MailboxView {
    /// `host:port`.
    pub server: String,
    /// Who signs in.
    pub user: String,
    /// The folder that is read.
    pub folder: String,
    /// When it was last read.
    pub read_at: Option<Timestamp>,
    /// Why the last try did not work.
    pub problem: Option<&'static str>,
    /// When it is read next.
    pub next_at: Timestamp,
    /// Counts changes.
    pub version: u64,
}
