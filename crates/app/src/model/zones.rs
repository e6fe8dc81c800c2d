//! Public zones, and the details that people give of their own will.

use veritwin_collection::{Book, ZoneConfig};
use veritwin_domain::{DeviceId, RegisterEntryId, Timestamp};

/// How a public zone is to be.
#[derive(Debug, Clone)]
pub struct ZoneInput {
    /// What it lets out.
    pub config: ZoneConfig,
    /// The device that the numbers are readings of.
    pub output: DeviceId,
    /// Its sources.
    pub devices: Vec<DeviceId>,
}

/// A public zone.
#[derive(Debug, Clone)]
pub struct ZoneView {
    /// Its id.
    pub id: RegisterEntryId,
    /// What it lets out.
    pub config: ZoneConfig,
    /// Whether what is signed is what counts; not where larger costs were permitted at its time.
    pub is_as_signed: bool,
    /// The device that the numbers are readings of.
    pub output: DeviceId,
    /// Its sources.
    pub devices: Vec<DeviceId>,
    /// Whether it gathers.
    pub is_in_force: bool,
    /// What of the day's budget is spent, and up to when windows are settled.
    pub book: Book,
    /// What of the year's budget is spent, in squared thousandths of epsilon.
    pub year_spent_squares: u32,
    /// What is signed about how it is set.
    pub statement: String,
    /// Who signed it: a public key, in hexadecimal.
    pub key: String,
    /// Ed25519 over the statement, in hexadecimal.
    pub signature: String,
    /// Counts changes.
    pub version: u64,
    /// When it was set.
    pub created_at: Timestamp,
}

/// Details of a person.
#[derive(Debug, Clone, Default)]
pub struct OptInDetails {
    /// What they are called.
    pub name: Option<String>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their telephone number.
    pub phone: Option<String>,
    /// Where they live.
    pub address: Option<String>,
}

/// A person gives details.
#[derive(Debug, Clone)]
pub struct OptInInput {
    /// Whether they agreed, explicitly.
    pub consent: bool,
    /// How they said so: `in_writing`, `by_word` or `electronically`.
    pub how: String,
    /// The words that they agreed to.
    pub text: String,
    /// What they give.
    pub details: OptInDetails,
}

/// Details that a person gave.
#[derive(Debug, Clone)]
pub struct OptInView {
    /// Its id.
    pub id: RegisterEntryId,
    /// The random identity that is theirs from then on.
    pub identity: String,
    /// The words that they agreed to.
    pub text: String,
    /// SHA-256 of the words, in hexadecimal.
    pub text_sha256: String,
    /// How they said so.
    pub how: String,
    /// Who wrote it down, as records name actors.
    pub recorded_by: String,
    /// When.
    pub agreed_at: Timestamp,
    /// When they took it back: the details are gone then.
    pub withdrawn_at: Option<Timestamp>,
    /// The signed records of the consent and of its withdrawal, in their order.
    pub records: Vec<String>,
    /// What they gave.
    pub details: OptInDetails,
}
