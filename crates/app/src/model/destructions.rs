//! Destructions of readings: what is asked for, what it would meet, how far it is.

use veritwin_domain::{DestructionId, DeviceId, Key, Timestamp};

/// Which readings are destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestructionScope {
    /// Everything of the tenant, its keys included. By the operator only.
    Tenant,
    /// All readings of a device.
    Device(DeviceId),
    /// All readings of a key: of one device, or of every device.
    Key {
        /// The key.
        key: Key,
        /// The device; none: every one.
        device: Option<DeviceId>,
    },
    /// The readings about a person in personal streams, as declarations name them.
    Subject(String),
    /// Everything of a UTC month, counted from 1970-01.
    Month(i64),
    /// What the ledger has sealed until now; the leaves stay.
    Ledger,
}

/// A destruction to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestructionInput {
    /// Which readings.
    pub scope: DestructionScope,
    /// Of a device: its attributes too.
    pub attributes: bool,
}

/// How much a destruction meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DestructionCounts {
    /// Devices with readings in it.
    pub devices: u64,
    /// Their series.
    pub series: u64,
    /// At most so many readings.
    pub readings: u64,
    /// Sealed sections that are written anew or dropped.
    pub sections: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a destruction would meet, and what confirms it.
#[derive(Debug, Clone)]
pub struct DestructionPreview {
    /// How much.
    pub counts: DestructionCounts,
    /// A hold keeps some of it: nothing can be destroyed before it ends.
    pub is_held: bool,
    /// What stays, by name.
    pub stays: Vec<&'static str>,
    /// Until when backups of before may hold it and can still be opened.
    pub backup_horizon: Timestamp,
    /// What confirms exactly this.
    pub confirm: String,
    /// Until when.
    pub confirm_until: Timestamp,
}

/// A destruction, as people see it.
#[derive(Debug, Clone)]
pub struct DestructionView {
    /// Its id.
    pub id: DestructionId,
    /// `asked`, `waiting`, `destroying`, `certifying` or `done`.
    pub state: &'static str,
    /// Which readings.
    pub scope: DestructionScope,
    /// Whether attributes go too.
    pub attributes: bool,
    /// Why, in words.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// How much it was when it was asked for.
    pub counts: DestructionCounts,
    /// Readings that are gone so far.
    pub readings_destroyed: u64,
    /// Sections that were written anew.
    pub sections_rewritten: u64,
    /// Sections that were dropped.
    pub sections_dropped: u64,
    /// Keys of it.
    pub keys: u64,
    /// What it waits for: `hold`, `ledger`, or whoever still reads the log.
    pub waits_for: Option<&'static str>,
    /// By when it has to be over, of one that has to.
    pub due_at: Option<Timestamp>,
    /// When the keys were destroyed.
    pub destroyed_at: Option<Timestamp>,
    /// Whether there is a certificate.
    pub has_certificate: bool,
    /// The leaf that holds the certificate's digest.
    pub ledger_index: Option<u64>,
}

/// What a certificate's check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCertificate {
    /// The statement, as JSON.
    pub statement: String,
    /// Its SHA-256: what the leaf holds.
    pub digest: String,
    /// The key that signed it, in hexadecimal.
    pub public_key: String,
    /// Whether that is the key that was asked for; none: none was.
    pub is_expected: Option<bool>,
}
