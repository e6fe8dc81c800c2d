//! Which sensor streams are personal data (promise P04): what was declared of streams, devices and
//! groups of devices, and what is presumed of access control. It decides only; statements and rules
//! are serialised in the form in which they are stored, which only grows.

mod presumed;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veritwin_domain::{Declaration, StreamRuleId};

pub use presumed::{Presumed, presumed};

/// Stands in a rule's key for any run of characters.
const ANY: char = '*';

/// Whose data a personal stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// The person whose device it is.
    Device,
    /// Whoever another series of the same device names at the same time.
    Field {
        /// That series.
        key: String,
    },
}

/// What somebody declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Whether it is personal data.
    pub is_personal: bool,
    /// Whose data; of personal streams only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Who said it, as in the records: `user:ID`, `api_key:ID`.
    pub by: String,
    /// When, in microseconds since the epoch.
    pub at_us: i64,
}

impl Statement {
    /// What it declares.
    pub const fn declaration(&self) -> Declaration {
        if self.is_personal { Declaration::Personal } else { Declaration::NonPersonal }
    }
}

/// What was said of one device and its streams. Whether the device as a whole is personal stands
/// with the device itself; here is whose it is and who said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatements {
    /// The person whose device it is, in the customer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Of the device as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Statement>,
    /// Of single streams, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, Statement>,
}

impl DeviceStatements {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A declaration for a whole group of streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Devices of this type, in any case; of any type when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// Streams with this key, in any case, `*` standing for anything; every stream when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it declares.
    pub statement: Statement,
}

impl GroupRule {
    /// Whether it names one key and not a pattern.
    fn names_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| !key.contains(ANY))
    }

    /// Whether it says what another rule says of the same streams, whoever made them.
    pub fn says_what(&self, other: &Self) -> bool {
        let folded = |one: &Option<String>| one.as_ref().map(|one| one.to_lowercase());
        let (own, its) = (&self.statement, &other.statement);
        folded(&self.device_type) == folded(&other.device_type)
            && folded(&self.key) == folded(&other.key)
            && (own.is_personal, &own.subject) == (its.is_personal, &its.subject)
    }

    /// Whether it is said of just what is presumed, so that the presumption gives way.
    fn lifts(&self, presumed: Presumed) -> bool {
        match presumed {
            Presumed::ByKey => self.names_key(),
            Presumed::ByType => self.names_key() || self.device_type.is_some(),
        }
    }
}

/// What a verdict rests on, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Said of this very stream.
    Stream,
    /// Said of its device.
    Device,
    /// A rule for a group.
    Rule(StreamRuleId),
    /// Nobody said anything; it looks like access control.
    Presumed(Presumed),
    /// Nobody said anything.
    Nothing,
}

impl Ground {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Device => "device",
            Self::Rule(_) => "rule",
            Self::Presumed(_) => "presumed",
            Self::Nothing => "nothing",
        }
    }
}

/// What counts for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Personal, not personal, or not said.
    pub declaration: Declaration,
    /// Why.
    pub ground: Ground,
    /// The declaration behind it, where it is known.
    pub statement: Option<&'a Statement>,
}

impl Verdict<'_> {
    /// Whether everybody who reads telemetry may see it.
    pub fn is_open(&self) -> bool {
        self.declaration == Declaration::NonPersonal
    }

    /// Whether somebody still has to declare it.
    pub const fn waits(&self) -> bool {
        matches!(self.ground, Ground::Presumed(_) | Ground::Nothing)
    }
}

/// What is known of a device when one of its streams is judged.
#[derive(Debug, Clone, Copy)]
pub struct JudgedDevice<'a> {
    /// Its type, in the customer's words.
    pub kind: &'a str,
    /// What is declared of it as a whole.
    pub declaration: Declaration,
    /// What else was said of it.
    pub said: Option<&'a DeviceStatements>,
}

/// What of a device's type counts where its streams are judged: of two types with the same, streams
/// with the same key are judged alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KindCounts<'a> {
    /// The type as rules name it.
    named: Option<&'a str>,
    /// It looks like access control.
    is_presumed: bool,
}

#[derive(Debug)]
struct Prepared {
    id: StreamRuleId,
    rule: GroupRule,
    kind: Option<String>,
    pattern: Option<String>,
}

impl Prepared {
    fn covers(&self, kind: &str, key: Option<&str>) -> bool {
        let of_kind = self.kind.as_ref().is_none_or(|wanted| wanted == kind);
        let of_key = match (&self.pattern, key) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(pattern), Some(key)) => fits(pattern, key),
        };
        of_kind && of_key
    }

    /// A type before none, a key before a pattern, a longer pattern before a shorter one; of two
    /// alike the more careful one, then the older.
    fn rank(&self) -> impl Ord + use<> {
        let letters =
            self.pattern.as_ref().map_or(0, |one| one.chars().filter(|c| *c != ANY).count());
        (
            Reverse(self.kind.is_some()),
            Reverse(self.rule.names_key()),
            Reverse(letters),
            Reverse(self.rule.statement.is_personal),
            self.id,
        )
    }
}

/// The rules of a tenant.
#[derive(Debug, Default)]
pub struct StreamRules(Vec<Prepared>);

impl StreamRules {
    /// The rules, in the order in which they count.
    pub fn new(rules: impl IntoIterator<Item = (StreamRuleId, GroupRule)>) -> Self {
        let prepare = |(id, rule): (StreamRuleId, GroupRule)| Prepared {
            id,
            kind: rule.device_type.as_ref().map(|kind| kind.to_lowercase()),
            pattern: rule.key.as_ref().map(|key| key.to_lowercase()),
            rule,
        };
        let mut rules: Vec<Prepared> = rules.into_iter().map(prepare).collect();
        rules.sort_by_cached_key(Prepared::rank);
        Self(rules)
    }

    /// The rules, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = (StreamRuleId, &GroupRule)> {
        self.0.iter().map(|one| (one.id, &one.rule))
    }

    /// What of a device's type counts for these rules.
    pub fn kind_counts(&self, kind: &str) -> KindCounts<'_> {
        let folded = kind.to_lowercase();
        let mut kinds = self.0.iter().filter_map(|one| one.kind.as_deref());
        KindCounts {
            named: kinds.find(|named| *named == folded),
            is_presumed: presumed(kind, None).is_some(),
        }
    }

    /// What counts for a stream of a device; without a key, for whatever it will send. The most
    /// specific wins: the stream, then the device, then rules.
    pub fn judge<'a>(&'a self, device: JudgedDevice<'a>, key: Option<&str>) -> Verdict<'a> {
        if let Some(said) = device.said
            && let Some(statement) = key.and_then(|key| said.streams.get(key))
        {
            let declaration = statement.declaration();
            return Verdict { declaration, ground: Ground::Stream, statement: Some(statement) };
        }
        if device.declaration != Declaration::Undeclared {
            let whole = device.said.and_then(|said| said.whole.as_ref());
            let statement = whole.filter(|one| one.declaration() == device.declaration);
            return Verdict { declaration: device.declaration, ground: Ground::Device, statement };
        }
        let (kind, folded) = (device.kind.to_lowercase(), key.map(str::to_lowercase));
        let presumed = presumed(device.kind, key);
        let counts = |one: &&Prepared| {
            one.covers(&kind, folded.as_deref())
                && (one.rule.statement.is_personal
                    || presumed.is_none_or(|presumed| one.rule.lifts(presumed)))
        };
        if let Some(found) = self.0.iter().find(counts) {
            let statement = &found.rule.statement;
            let (declaration, ground) = (statement.declaration(), Ground::Rule(found.id));
            return Verdict { declaration, ground, statement: Some(statement) };
        }
        let (declaration, ground) = match presumed {
            Some(presumed) => (Declaration::Personal, Ground::Presumed(presumed)),
            None => (Declaration::Undeclared, Ground::Nothing),
        };
        Verdict { declaration, ground, statement: None }
    }
}

/// Whether a text fits a pattern in which `*` stands for any run of characters: the pieces between
/// them stand in the text one after the other.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once(ANY) else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once(ANY).unwrap_or(("", rest));
    for piece in middle.split(ANY) {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}
