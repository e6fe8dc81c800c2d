//! One promise: its number, its words, how it is checked and what a check of it cannot show.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How many promises there are.
pub const PROMISE_COUNT: u8 = 62;

/// Why a text is not the number of a promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a promise: expected P01 to P{PROMISE_COUNT}")]
pub struct PromiseIdError;

/// The number of a promise, P01 to P62.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromiseId(u8);

impl PromiseId {
    /// The promise with this number.
    pub const fn new(number: u8) -> Result<Self, PromiseIdError> {
        if number >= 1 && number <= PROMISE_COUNT { Ok(Self(number)) } else { Err(PromiseIdError) }
    }

    /// Its number, from 1.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All promises, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=PROMISE_COUNT).map(Self)
    }
}

impl fmt::Display for PromiseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{:02}", self.0)
    }
}

impl fmt::Debug for PromiseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PromiseId {
    type Err = PromiseIdError;
    fn from_str(text: &str) -> Result<Self, PromiseIdError> {
        let number = text.strip_prefix('P').and_then(|digits| digits.parse().ok());
        let id = number.and_then(|number| Self::new(number).ok());
        id.filter(|id| id.to_string() == text).ok_or(PromiseIdError)
    }
}

/// Who has to act when a promise fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerRole {
    /// The data protection officer.
    DataProtectionOfficer,
    /// The security officer.
    SecurityOfficer,
    /// Whoever answers for the product.
    ProductOwner,
    /// Whoever leads support.
    SupportLead,
    /// Whoever runs this installation.
    Operator,
}

impl OwnerRole {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::DataProtectionOfficer,
        Self::SecurityOfficer,
        Self::ProductOwner,
        Self::SupportLead,
        Self::Operator,
    ];

    /// The name used in the register and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataProtectionOfficer => "data_protection_officer",
            Self::SecurityOfficer => "security_officer",
            Self::ProductOwner => "product_owner",
            Self::SupportLead => "support_lead",
            Self::Operator => "operator",
        }
    }
}

impl FromStr for OwnerRole {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckScope {
    /// What it makes itself, in organisations of nobody.
    Nobody,
    /// The platform: its listeners, pages, registers and keys.
    Platform,
    /// Also what is kept of every organisation: it counts and compares, and shows nothing of it.
    Everybody,
}

impl CheckScope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Platform, Self::Everybody];

    /// The name used in the register and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Platform => "platform",
            Self::Everybody => "everybody",
        }
    }
}

impl FromStr for CheckScope {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(())
    }
}

/// What a check may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Processor time.
    pub cpu: Duration,
    /// Bytes of files and records.
    pub io_bytes: u64,
}

/// Whether a check can show a promise, or only fail to find a breach of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Polarity {
    /// Something is done; a probe can see it.
    Positive,
    /// Something is not done; a probe samples it and cannot prove absence.
    Negative,
}

/// What a check of a promise cannot show, said beside its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Whether it is a negative.
    pub polarity: Polarity,
    /// The limit in words.
    pub text: Option<String>,
    /// What is left to the operator although the probe passes; shown as a badge.
    pub operators_part: Option<String>,
    /// What the operator has to bring before there is any evidence at all.
    pub needs_operator_evidence: Option<String>,
    /// What this version of the product lacks, without which there is nothing to check.
    pub absent: Option<String>,
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Its number.
    pub id: PromiseId,
    /// Its short form.
    pub text: String,
    /// The sentence of the published policy.
    pub source: String,
    /// What in the product keeps it.
    pub feature: String,
    /// What a check does.
    pub check: String,
    /// Who has to act when it fails.
    pub owner: OwnerRole,
    /// What a check looks at.
    pub scope: CheckScope,
    /// How often it is checked.
    pub interval: Duration,
    /// A check that takes longer could not run.
    pub timeout: Duration,
    /// A check that spends more could not run.
    pub budget: Budget,
    /// What a check cannot show.
    pub limits: Limits,
}
