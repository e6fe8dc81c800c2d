//! Alert rules: what to watch, when to raise, whom to tell. A rule that cannot work is refused
//! with the field and what would be right.

use std::fmt;
use std::str::FromStr;

use veritwin_domain::{DeviceId, Key, RuleId, SiteId};

/// How much an alert matters. Four levels, each with its own shape, label and colour on screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Act now: danger or damage.
    Critical,
    /// Act soon.
    High,
    /// Act today.
    Medium,
    /// Know of it.
    Low,
}

impl Severity {
    /// Every severity, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text).ok_or(())
    }
}

/// How a value is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Above.
    Greater,
    /// At or above.
    GreaterOrEqual,
    /// Below.
    Less,
    /// At or below.
    LessOrEqual,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 4] = [Self::Greater, Self::GreaterOrEqual, Self::Less, Self::LessOrEqual];

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Greater => "gt",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::LessOrEqual => "le",
        }
    }

    /// Whether `value` is on the alarming side of `threshold`.
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Greater => value > threshold,
            Self::GreaterOrEqual => value >= threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }

    /// The threshold at which a raised alert clears again: moved back by the hysteresis.
    pub fn clearing_threshold(self, threshold: f64, hysteresis: f64) -> f64 {
        match self {
            Self::Greater | Self::GreaterOrEqual => threshold - hysteresis,
            Self::Less | Self::LessOrEqual => threshold + hysteresis,
        }
    }
}

impl FromStr for Operator {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|operator| operator.as_str() == text).ok_or(())
    }
}

/// Which devices a rule watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every device of the tenant.
    All,
    /// One device.
    Device(DeviceId),
    /// Every device of a type.
    DeviceType(String),
    /// Every device bound to a twin.
    Twin(SiteId),
}

impl Scope {
    /// Whether it takes in a device of this type that is bound to this twin.
    pub fn covers(&self, device: DeviceId, device_type: &str, twin: Option<SiteId>) -> bool {
        match self {
            Self::All => true,
            Self::Device(id) => *id == device,
            Self::DeviceType(wanted) => *wanted == *device_type,
            Self::Twin(wanted) => twin == Some(*wanted),
        }
    }
}

/// When a rule raises.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A value passes a threshold and stays there.
    Threshold {
        /// The series.
        key: Key,
        /// How to compare.
        operator: Operator,
        /// With what.
        threshold: f64,
        /// How far the value has to come back before the alert clears; at least zero.
        hysteresis: f64,
        /// How long, in event time, the value has to stay; 0 raises at once.
        for_seconds: u32,
    },
    /// Nothing arrived for a while.
    NoData {
        /// The series; none for anything of the device.
        key: Option<Key>,
        /// How long, in receive time.
        after_seconds: u32,
    },
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Its name.
    pub name: String,
    /// How much its alerts matter.
    pub severity: Severity,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Which devices it watches.
    pub scope: Scope,
    /// When it raises.
    pub condition: Condition,
    /// Who gets a mail.
    pub notify_emails: Vec<String>,
    /// What usually helps, in the words of whoever wrote the rule; may be empty.
    pub what_helps: String,
    /// Whether whoever wrote it may read personal streams wherever it watches; not known of rules
    /// that were written before it was asked.
    pub sees_closed: Option<bool>,
    /// Whether they may read them in the whole tenant, so that it goes along with a device that is
    /// put elsewhere.
    pub sees_closed_anywhere: bool,
    /// The twin throughout which they may read them, if it watches one device there: it goes along
    /// with the device inside this twin.
    pub sees_closed_twin: Option<SiteId>,
}

/// Upper bounds of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleLimits {
    /// Longest name, in characters.
    pub name_chars_max: usize,
    /// Longest advice, in characters.
    pub what_helps_chars_max: usize,
    /// Longest device type, in characters.
    pub device_type_chars_max: usize,
    /// Most addresses.
    pub emails_max: usize,
    /// Longest address, in bytes (RFC 5321).
    pub email_bytes_max: usize,
    /// Longest duration of a threshold.
    pub for_seconds_max: u32,
    /// Shortest silence that can raise: shorter ones would flap with the network.
    pub after_seconds_min: u32,
    /// Longest silence.
    pub after_seconds_max: u32,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self {
            name_chars_max: 120,
            what_helps_chars_max: 2_000,
            device_type_chars_max: 200,
            emails_max: 20,
            email_bytes_max: 254,
            for_seconds_max: 7 * 86_400,
            after_seconds_min: 5,
            after_seconds_max: 30 * 86_400,
        }
    }
}

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RuleError {
    /// The field, as the API names it (`condition.for_seconds`).
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Rule {
    /// Checks a rule against the bounds.
    pub fn validate(&self, limits: &RuleLimits) -> Result<(), RuleError> {
        check_text("name", &self.name, 1, limits.name_chars_max)?;
        check_text("what_helps", &self.what_helps, 0, limits.what_helps_chars_max)?;
        if let Scope::DeviceType(device_type) = &self.scope {
            check_text("scope.device_type", device_type, 1, limits.device_type_chars_max)?;
        }
        self.condition.validate(limits)?;
        check_emails(&self.notify_emails, limits)
    }
}

impl Condition {
    /// The series the condition is about; none for anything of the device.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Threshold { key, .. } => Some(key),
            Self::NoData { key, .. } => key.as_ref(),
        }
    }

    fn validate(&self, limits: &RuleLimits) -> Result<(), RuleError> {
        match self {
            Self::Threshold { threshold, hysteresis, for_seconds, .. } => {
                if !threshold.is_finite() {
                    return refuse("condition.threshold", "expected a finite number");
                }
                if !(hysteresis.is_finite() && *hysteresis >= 0.0) {
                    let problem = "expected a finite number, 0 or larger";
                    return refuse("condition.hysteresis", problem);
                }
                let max = limits.for_seconds_max;
                if *for_seconds > max {
                    return refuse("condition.for_seconds", format!("expected 0 to {max} seconds"));
                }
            }
            Self::NoData { after_seconds, .. } => {
                let (min, max) = (limits.after_seconds_min, limits.after_seconds_max);
                if !(min..=max).contains(after_seconds) {
                    let problem = format!("expected {min} to {max} seconds");
                    return refuse("condition.after_seconds", problem);
                }
            }
        }
        Ok(())
    }
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, RuleError> {
    Err(RuleError { field, problem: problem.into() })
}

fn check_text(
    field: &'static str,
    text: &str,
    chars_min: usize,
    chars_max: usize,
) -> Result<(), RuleError> {
    let chars = text.trim().chars().count();
    if chars < chars_min || text.chars().count() > chars_max {
        return refuse(field, format!("expected {chars_min} to {chars_max} characters"));
    }
    let mut lines = text.split(|c| field == "what_helps" && c == '\n');
    if lines.any(|line| veritwin_domain::find_unseen(line).is_some()) {
        return refuse(field, veritwin_domain::NAME_RULE);
    }
    Ok(())
}

fn check_emails(emails: &[String], limits: &RuleLimits) -> Result<(), RuleError> {
    const FIELD: &str = "notify_emails";
    if emails.len() > limits.emails_max {
        return refuse(FIELD, format!("expected at most {} addresses", limits.emails_max));
    }
    for (index, email) in emails.iter().enumerate() {
        // The address itself stays out of the message: errors end up in logs.
        if email.len() > limits.email_bytes_max || !is_address(email) {
            let problem = format!("address {} is not of the form name@host.example", index + 1);
            return refuse(FIELD, problem);
        }
        if emails[..index].iter().any(|earlier| earlier.eq_ignore_ascii_case(email)) {
            return refuse(FIELD, format!("address {} is there twice", index + 1));
        }
    }
    Ok(())
}

/// A plain address: one `@`, a local part, a host with a dot or `localhost`; no display name, no
/// quoting, nothing that could smuggle a header.
fn is_address(email: &str) -> bool {
    let Some((local, host)) = email.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[],;:\\\"@".contains(c);
    let labels_filled = host.split('.').all(|label| !label.is_empty());
    !local.is_empty()
        && local.chars().all(plain)
        && host.chars().all(|c| plain(c) && c != '_')
        && labels_filled
        && (host.contains('.') || host == "localhost")
}
