//! The stored form of a rule: versioned JSON with its own structs. Unknown versions are refused.

use serde::{Deserialize, Serialize};
use veritwin_domain::Key;

use crate::rule::{Condition, Rule, Scope};

/// Version of the stored form.
pub const RULE_WIRE_VERSION: u32 = 1;

/// Why bytes are not a stored rule.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not of the expected shape.
    #[error("stored rule cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    /// Written by another version.
    #[error("stored rule has version {0}, this program reads version {RULE_WIRE_VERSION}")]
    Version(u32),
    /// A field holds something unknown.
    #[error("stored rule is inconsistent: {0} is unknown or malformed")]
    Inconsistent(&'static str),
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct RuleWire {
    v: u32,
    id: String,
    name: String,
    severity: String,
    enabled: bool,
    scope: ScopeWire,
    condition: ConditionWire,
    notify_emails: Vec<String>,
    what_helps: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sees_closed: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sees_closed_anywhere: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sees_closed_twin: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScopeWire {
    All,
    Device(String),
    DeviceType(String),
    Twin(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ConditionWire {
    Threshold { key: String, op: String, threshold: f64, hysteresis: f64, for_seconds: u32 },
    NoData { key: Option<String>, after_seconds: u32 },
}

impl Rule {
    /// The stored form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let wire = RuleWire {
            v: RULE_WIRE_VERSION,
            id: self.id.to_string(),
            name: self.name.clone(),
            severity: self.severity.as_str().to_owned(),
            enabled: self.enabled,
            scope: ScopeWire::of(&self.scope),
            condition: ConditionWire::of(&self.condition),
            notify_emails: self.notify_emails.clone(),
            what_helps: self.what_helps.clone(),
            sees_closed: self.sees_closed,
            sees_closed_anywhere: self.sees_closed_anywhere,
            sees_closed_twin: self.sees_closed_twin.map(|twin| twin.to_string()),
        };
        Ok(serde_json::to_vec(&wire)?)
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let VersionOnly { v } = serde_json::from_slice(bytes)?;
        if v != RULE_WIRE_VERSION {
            return Err(WireError::Version(v));
        }
        let wire: RuleWire = serde_json::from_slice(bytes)?;
        Ok(Self {
            id: parsed("id", &wire.id)?,
            name: wire.name,
            severity: parsed("severity", &wire.severity)?,
            enabled: wire.enabled,
            scope: wire.scope.read()?,
            condition: wire.condition.read()?,
            notify_emails: wire.notify_emails,
            what_helps: wire.what_helps,
            sees_closed: wire.sees_closed,
            sees_closed_anywhere: wire.sees_closed_anywhere,
            sees_closed_twin: wire
                .sees_closed_twin
                .map(|twin| parsed("sees_closed_twin", &twin))
                .transpose()?,
        })
    }
}

fn parsed<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|_| WireError::Inconsistent(field))
}

fn key(text: &str) -> Result<Key, WireError> {
    Key::new(text).map_err(|_| WireError::Inconsistent("condition.key"))
}

impl ScopeWire {
    pub(crate) fn of(scope: &Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Device(id) => Self::Device(id.to_string()),
            Scope::DeviceType(device_type) => Self::DeviceType(device_type.clone()),
            Scope::Twin(id) => Self::Twin(id.to_string()),
        }
    }

    pub(crate) fn read(self) -> Result<Scope, WireError> {
        Ok(match self {
            Self::All => Scope::All,
            Self::Device(id) => Scope::Device(parsed("scope", &id)?),
            Self::DeviceType(device_type) => Scope::DeviceType(device_type),
            Self::Twin(id) => Scope::Twin(parsed("scope", &id)?),
        })
    }
}

impl ConditionWire {
    pub(crate) fn of(condition: &Condition) -> Self {
        match condition {
            Condition::Threshold { key, operator, threshold, hysteresis, for_seconds } => {
                Self::Threshold {
                    key: key.to_string(),
                    op: operator.as_str().to_owned(),
                    threshold: *threshold,
                    hysteresis: *hysteresis,
                    for_seconds: *for_seconds,
                }
            }
            Condition::NoData { key, after_seconds } => Self::NoData {
                key: key.as_ref().map(ToString::to_string),
                after_seconds: *after_seconds,
            },
        }
    }

    pub(crate) fn read(self) -> Result<Condition, WireError> {
        Ok(match self {
            Self::Threshold { key: text, op, threshold, hysteresis, for_seconds } => {
                Condition::Threshold {
                    key: key(&text)?,
                    operator: parsed("condition.op", &op)?,
                    threshold,
                    hysteresis,
                    for_seconds,
                }
            }
            Self::NoData { key: text, after_seconds } => {
                Condition::NoData { key: text.as_deref().map(key).transpose()?, after_seconds }
            }
        })
    }
}
