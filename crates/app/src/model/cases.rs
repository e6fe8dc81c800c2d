//! Requests of data subjects.

use veritwin_domain::{CaseId, DestructionId, Secret, TenantId, Timestamp, UserId};
use veritwin_governance::Language;

/// What somebody asks for by themselves.
#[derive(Debug, Clone)]
pub struct OwnCaseInput {
    /// In which language letters are; else the one that the account chose.
    pub language: Option<Language>,
    /// The right: `access`, `erasure` and so on.
    pub kind: String,
    /// In their words.
    pub text: Secret<String>,
    /// Of an objection: the purpose that is to stop.
    pub purpose: Option<String>,
}

/// What somebody asks for without an account.
#[derive(Debug, Clone)]
pub struct FormCaseInput {
    /// In which language letters are; else the one that the account chose.
    pub language: Option<Language>,
    /// The right.
    pub kind: String,
    /// Where the answer goes.
    pub email: Secret<String>,
    /// In their words.
    pub text: Secret<String>,
    /// Whom they ask, if not whoever has the host name.
    pub organisation: Option<TenantId>,
}

/// What an officer writes down for somebody.
#[derive(Debug, Clone)]
pub struct DeskCaseInput {
    /// In which language letters are; else the one that the account chose.
    pub language: Option<Language>,
    /// The right.
    pub kind: String,
    /// The account, if it is one's.
    pub user: Option<UserId>,
    /// Where answers go.
    pub email: Option<Secret<String>>,
    /// How personal streams name the person.
    pub person: Option<Secret<String>>,
    /// What they ask for.
    pub text: Secret<String>,
    /// Of an objection: the purpose that is to stop.
    pub purpose: Option<String>,
    /// When it came, if not now.
    pub received_at: Option<Timestamp>,
}

/// One thing that an officer does with a case.
#[derive(Debug, Clone)]
pub enum CaseStep {
    /// Tells the person that it came.
    Acknowledge,
    /// Asks the person to show who they are; the clock stands until then.
    AskIdentity {
        /// How and when the officer has asked; empty: a code or a letter is mailed.
        text: String,
    },
    /// Says that it is known who asks.
    Verify {
        /// `document` or `known`.
        how: String,
    },
    /// Says how personal streams name the person.
    Person {
        /// The name; none: no stream does.
        person: Option<Secret<String>>,
    },
    /// Says which right a mail is about.
    Right {
        /// `access`, `erasure` and so on.
        kind: String,
    },
    /// Takes more time, and tells the person why.
    Extend {
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// Says no, with the reason and the authority to complain to.
    Refuse {
        /// Of the closed list.
        reason: String,
        /// In words.
        text: String,
        /// Whose authority is named; none: the platform's.
        jurisdiction: Option<String>,
    },
    /// Answers, and closes the case.
    Answer {
        /// The answer.
        text: String,
    },
    /// Notes something.
    Note {
        /// The note.
        text: String,
    },
    /// Ends a restriction or an objection that the case made.
    Lift,
    /// Takes a refusal back: the case is open again, and the person is told.
    Reopen {
        /// Why, for the history.
        text: String,
    },
}

/// A line of a case's history.
#[derive(Debug, Clone)]
pub struct CaseEventView {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: String,
    /// By whom; none: by itself.
    pub by: Option<String>,
    /// More about it.
    pub text: Option<String>,
}

/// A step of an erasure that is done.
#[derive(Debug, Clone)]
pub struct CaseStepView {
    /// Which.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// How much it met, by store.
    pub met: Vec<(String, u64)>,
}

/// A case.
#[derive(Debug, Clone)]
pub struct CaseView {
    /// Its id.
    pub id: CaseId,
    /// The right it is about.
    pub kind: &'static str,
    /// How far it is.
    pub state: &'static str,
    /// How it came.
    pub source: &'static str,
    /// Who it is about: an account's address or that of the writer, or a pseudonym.
    pub subject: Secret<String>,
    /// The account.
    pub user: Option<UserId>,
    /// How personal streams name the person.
    pub person: Option<Secret<String>>,
    /// In the person's words.
    pub text: Secret<String>,
    /// Of an objection: the purpose.
    pub purpose: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// When it has to be acknowledged.
    pub acknowledge_by: Timestamp,
    /// When it was.
    pub acknowledged_at: Option<Timestamp>,
    /// When it has to be answered.
    pub answer_by: Timestamp,
    /// Whether the clock stands until it is known who asks.
    pub is_paused: bool,
    /// How it is known who asks, and since when.
    pub verified: Option<(String, Timestamp)>,
    /// Until when it was extended, and why.
    pub extension: Option<(Timestamp, String)>,
    /// The newest alarm that was raised.
    pub alarm: Option<String>,
    /// The reason of a refusal, its words and the authority that it names.
    pub refusal: Option<(String, String, String)>,
    /// The answer.
    pub answer: Option<String>,
    /// What was done, oldest first.
    pub events: Vec<CaseEventView>,
    /// Steps of an erasure.
    pub steps: Vec<CaseStepView>,
    /// The destruction of readings that it asked for.
    pub destruction: Option<DestructionId>,
    /// Whether there is a certificate.
    pub has_certificate: bool,
    /// The leaf with its digest.
    pub ledger_index: Option<u64>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}
