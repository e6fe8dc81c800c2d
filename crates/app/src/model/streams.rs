//! What is declared of sensor streams, as use cases take and give it.

use std::sync::Arc;

use veritwin_domain::{Declaration, DeviceId, Key, StreamActId, StreamRuleId, Timestamp};

use super::Page;

/// Whose data a personal stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamSubject {
    /// The person whose device it is, and who that is where it is known.
    Device {
        /// In the customer's words.
        person: Option<String>,
    },
    /// Whoever another series of the same device names at the same time.
    Field {
        /// That series.
        key: String,
    },
}

/// A stream and what counts for it.
#[derive(Debug, Clone)]
pub struct StreamView {
    /// Its device.
    pub device: DeviceId,
    /// The device's name.
    pub device_name: Arc<str>,
    /// The device's type.
    pub device_type: Arc<str>,
    /// Its series.
    pub key: Key,
    /// Personal, not personal, or not said.
    pub declaration: Declaration,
    /// What that rests on: `stream`, `device`, `rule`, `presumed` or `nothing`.
    pub ground: &'static str,
    /// The rule it rests on.
    pub rule: Option<StreamRuleId>,
    /// Whose data it is; of personal streams.
    pub subject: Option<StreamSubject>,
    /// When it was declared.
    pub declared_at: Option<Timestamp>,
    /// Who declared it.
    pub declared_by: Option<String>,
}

/// Which streams are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamState {
    /// Those that wait for a declaration, presumed ones among them.
    #[default]
    Waiting,
    /// Personal ones, by a declaration or presumed.
    Personal,
    /// Those that everybody who reads telemetry may see.
    NonPersonal,
    /// Every stream.
    All,
}

impl StreamState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Personal, Self::NonPersonal, Self::All];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Personal => "personal",
            Self::NonPersonal => "non_personal",
            Self::All => "all",
        }
    }
}

/// Which streams are wanted; everything given must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamQuery {
    /// In which state.
    pub state: StreamState,
    /// Of one device.
    pub device: Option<DeviceId>,
}

/// Whose readings are wanted, and of which time.
#[derive(Debug, Clone)]
pub struct SubjectQuery {
    /// As declarations, or the fields that they name, write it.
    pub person: String,
    /// From this moment on; from the first reading, if none.
    pub from: Option<Timestamp>,
    /// Before this moment; to the last reading, if none.
    pub to: Option<Timestamp>,
}

/// How many streams there are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// They wait for a declaration.
    pub waiting: usize,
    /// They are personal, by a declaration or presumed.
    pub personal: usize,
    /// They are open to whoever reads telemetry.
    pub non_personal: usize,
}

/// A page of streams.
#[derive(Debug, Clone)]
pub struct StreamPage {
    /// The streams.
    pub page: Page<StreamView>,
    /// How many there are, whatever state was asked for: with the first page.
    pub counts: Option<StreamCounts>,
}

/// What is declared: a stream, or a device as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamTarget {
    /// The device.
    pub device: DeviceId,
    /// The series; none for the device as a whole.
    pub key: Option<Key>,
}

/// A declaration of streams.
#[derive(Debug, Clone)]
pub struct DeclarationInput {
    /// What is declared.
    pub targets: Vec<StreamTarget>,
    /// As what; undeclared takes back what was said of it.
    pub declaration: Declaration,
    /// Whose data it is; of personal streams.
    pub subject: Option<StreamSubject>,
}

/// A declaration for a group of streams.
#[derive(Debug, Clone)]
pub struct StreamRuleInput {
    /// Devices of this type; of any type when not given.
    pub device_type: Option<String>,
    /// Streams with this key, `*` standing for anything; every stream when not given.
    pub key: Option<String>,
    /// As what.
    pub declaration: Declaration,
    /// Whose data it is; of personal streams.
    pub subject: Option<StreamSubject>,
}

/// A stored rule.
#[derive(Debug, Clone)]
pub struct StreamRuleView {
    /// The rule.
    pub id: StreamRuleId,
    /// What it says.
    pub rule: StreamRuleInput,
    /// When it was made.
    pub declared_at: Timestamp,
    /// Who made it.
    pub declared_by: String,
    /// For how many streams it counts now.
    pub streams: usize,
}

/// One step of an act: what was said before of something, and what was said then.
#[derive(Debug, Clone)]
pub struct StreamActStep {
    /// Its device; none for a rule.
    pub device: Option<DeviceId>,
    /// The device's name, or its id when it is gone.
    pub device_name: Option<Arc<str>>,
    /// The series; none for a device as a whole.
    pub key: Option<String>,
    /// The type a rule is about.
    pub device_type: Option<String>,
    /// What was said before.
    pub before: Declaration,
    /// What was said then.
    pub after: Declaration,
}

/// An act by which streams were declared.
#[derive(Debug, Clone)]
pub struct StreamActView {
    /// The act.
    pub id: StreamActId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// When it was taken back.
    pub undone_at: Option<Timestamp>,
    /// How many steps it has.
    pub count: usize,
    /// The first of them.
    pub steps: Vec<StreamActStep>,
}

/// A personal stream with readings about a person.
#[derive(Debug, Clone)]
pub struct SubjectStreamView {
    /// Its device.
    pub device: DeviceId,
    /// The device's name.
    pub device_name: Arc<str>,
    /// Its series.
    pub key: Key,
    /// How many readings are about them.
    pub readings: u64,
    /// The first of them.
    pub first_at: Option<Timestamp>,
    /// The last of them.
    pub last_at: Option<Timestamp>,
    /// There is more of it than is looked through: these are about its beginning.
    pub truncated: bool,
}
