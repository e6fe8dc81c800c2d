//! What stands in the log: one [`Entry`] per thing that happened, each of exactly one tenant.
//! A refusal never holds the refused value.

use std::sync::Arc;

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, RelayMessage, SessionNote, TenantId, Timestamp, Value,
};

/// One entry: a record and the tenant under whose key it is sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The tenant.
    pub tenant: TenantId,
    /// What happened.
    pub record: Record,
}

impl From<DeviceBatch> for Entry {
    fn from(batch: DeviceBatch) -> Self {
        Self { tenant: batch.tenant, record: Record::Readings(batch) }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Readings of one device; their tenant has to be the entry's.
    Readings(DeviceBatch),
    /// Attributes that a device or the application set.
    Attributes(Attributes),
    /// A device connected or disconnected.
    Session(SessionEvent),
    /// A value that was refused for good, so that the sender does not repeat it.
    Refusal(Refusal),
    /// A message of one device to others; its tenant has to be the entry's.
    Relay(Arc<RelayMessage>),
    /// What became of a client's session; its tenant has to be the entry's.
    Note(SessionNote),
    /// A store-and-forward edge stated a batch. Its entries are the ones before it.
    Edge(EdgeEntry),
    /// Read back only, never appended: the entry is there, but its key is not.
    Unreadable(Unreadable),
}

impl Record {
    /// When the platform received it, as far as it says.
    pub fn received_at(&self) -> Option<Timestamp> {
        match self {
            Self::Readings(batch) => Some(batch.received_at),
            Self::Attributes(attributes) => Some(attributes.received_at),
            Self::Session(event) => Some(event.at),
            Self::Refusal(refusal) => Some(refusal.at),
            Self::Relay(message) => Some(message.received_at),
            Self::Edge(edge) => Some(edge.received_at),
            Self::Note(_) | Self::Unreadable(_) => None,
        }
    }
}

/// Who owns an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttributeScope {
    /// Reported by the device.
    Client,
    /// Set by the application, visible to the device.
    Shared,
    /// Set by the application, not visible to the device.
    Server,
}

/// Attributes of one device, set together.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    /// The device.
    pub device: DeviceId,
    /// Who owns them.
    pub scope: AttributeScope,
    /// When the platform received them.
    pub received_at: Timestamp,
    /// Name and value; `None` deletes.
    pub entries: Vec<(Key, Option<Value>)>,
}

/// What a session did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionEventKind {
    /// It began.
    Connected,
    /// It ended as the protocol wants it.
    Disconnected,
    /// It ended otherwise: time-out, broken connection, take-over.
    Lost,
}

/// A device's session began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEvent {
    /// The device.
    pub device: DeviceId,
    /// The credential it presented.
    pub credential: CredentialId,
    /// What happened.
    pub kind: SessionEventKind,
    /// When.
    pub at: Timestamp,
}

/// A refused value, without the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The device.
    pub device: DeviceId,
    /// The credential that sent it.
    pub credential: CredentialId,
    /// When it was refused.
    pub at: Timestamp,
    /// The series, when it is known.
    pub key: Option<Key>,
    /// Why: the name of the rule, at most 256 bytes, never content.
    pub reason: Arc<str>,
}

/// The statement of an edge, as the edge signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeEntry {
    /// The gateway device that is the edge.
    pub device: DeviceId,
    /// The credential that sent it.
    pub credential: CredentialId,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// Its bytes.
    pub statement: Arc<[u8]>,
}

/// Why an entry cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// The key was destroyed, or every key of the tenant was, or the one above them.
    KeyDestroyed,
    /// The tenant's keys are withdrawn for now.
    KeyRevoked,
    /// The key cannot be reached or is not in the keyring.
    KeyUnavailable,
}

/// Entries that became durable together, or were read back together.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The position of the first entry; the others follow without gap.
    pub first: u64,
    /// The entries, in the order of their positions. Empty only where positions were passed.
    pub entries: Vec<Arc<Entry>>,
    /// How many positions after the entries are not in the log any more: everybody whose they
    /// were has had them. What is left out between two batches that were read shows in their
    /// positions.
    pub passed: u64,
}

impl Committed {
    /// The position after the last entry.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64 + self.passed
    }

    /// Each entry with its position.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Entry>)> {
        (self.first..).zip(&self.entries)
    }
}

/// Sees every batch after it is durable and before anyone is told so, in order, on the log's own
/// thread. It has to be quick, as the next commit waits for it, and must not panic: a panic closes
/// the log for writing, as a failed write does.
pub trait CommitObserver: Send {
    /// Takes note of a durable batch.
    fn committed(&mut self, batch: &Arc<Committed>);
}

/// The positions that an append was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedRange {
    /// The position of the first entry.
    pub first: u64,
    /// How many entries.
    pub count: u64,
    /// Whether observers were shown them; false while the key of their tenant is out of reach.
    pub is_shown: bool,
}
