//! The promise register, read from `promises.toml`. It holds exactly P01 to P62, each once, each
//! whole; anything else is refused at start.

use std::time::Duration;

use serde::Deserialize;

use crate::promise::{
    Budget, CheckScope, Limits, OwnerRole, PROMISE_COUNT, Polarity, Promise, PromiseId,
};

/// The register that is part of the product.
const BUILT_IN: &str = include_str!("../promises.toml");
/// Longest text of one field, in characters.
const FIELD_CHARS_MAX: usize = 600;
/// Most hours between two checks.
const INTERVAL_HOURS_MAX: u64 = 31 * 24;
/// How long a check may take where its row says nothing.
const TIMEOUT_SECONDS: u64 = 180;
/// The longest that a check may take.
const TIMEOUT_SECONDS_MAX: u64 = 600;
/// What a check may spend of processor time where its row says nothing.
const CPU_SECONDS: u64 = 60;
/// The most processor time that a check may spend.
const CPU_SECONDS_MAX: u64 = 600;
/// What a check may read and write where its row says nothing.
const IO_MIB: u64 = 512;
/// The most that a check may read and write.
const IO_MIB_MAX: u64 = 4096;

/// Why a register is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Not TOML of the expected shape.
    #[error("promise register cannot be read: {0}")]
    Format(String),
    /// A row is wrong.
    #[error("promise register, row {row} ({id}): {field} {problem}")]
    Row {
        /// The row, from 1.
        row: usize,
        /// The id as written.
        id: String,
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A promise is missing.
    #[error("promise register lacks {0}: expected P01 to P{PROMISE_COUNT}, each once")]
    Missing(PromiseId),
}

/// All promises, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    promises: Vec<Promise>,
}

impl Register {
    /// The register that is part of the product.
    pub fn built_in() -> Result<Self, RegisterError> {
        Self::parse(BUILT_IN)
    }

    /// Reads and checks a register.
    pub fn parse(text: &str) -> Result<Self, RegisterError> {
        let file: FileWire =
            toml::from_str(text).map_err(|error| RegisterError::Format(error.to_string()))?;
        let mut promises: Vec<Promise> = Vec::with_capacity(usize::from(PROMISE_COUNT));
        for (index, wire) in file.promise.into_iter().enumerate() {
            let promise = read(index + 1, wire)?;
            if promises.iter().any(|earlier| earlier.id == promise.id) {
                return Err(RegisterError::Row {
                    row: index + 1,
                    id: promise.id.to_string(),
                    field: "id",
                    problem: "is there twice".to_owned(),
                });
            }
            promises.push(promise);
        }
        promises.sort_by_key(|promise| promise.id);
        let missing = PromiseId::all().find(|id| !promises.iter().any(|known| known.id == *id));
        match missing {
            Some(id) => Err(RegisterError::Missing(id)),
            None => Ok(Self { promises }),
        }
    }

    /// All promises, in order.
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// One promise.
    pub fn get(&self, id: PromiseId) -> &Promise {
        &self.promises[usize::from(id.number() - 1)]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    promise: Vec<PromiseWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromiseWire {
    id: String,
    text: String,
    source: String,
    feature: String,
    check: String,
    scope: String,
    owner: String,
    interval_hours: u64,
    timeout_seconds: Option<u64>,
    cpu_seconds: Option<u64>,
    io_mib: Option<u64>,
    kind: Option<String>,
    limits: Option<String>,
    operators_part: Option<String>,
    needs_operator_evidence: Option<String>,
    absent: Option<String>,
}

fn read(row: usize, wire: PromiseWire) -> Result<Promise, RegisterError> {
    let id_text = wire.id;
    let refuse = |field: &'static str, problem: String| RegisterError::Row {
        row,
        id: id_text.clone(),
        field,
        problem,
    };
    let id: PromiseId = id_text.parse().map_err(|error| refuse("id", format!("is {error}")))?;
    let sentence = |field: &'static str, text: String| {
        let whole = text.ends_with('.') && text.chars().next().is_some_and(char::is_uppercase);
        if whole && text.chars().count() <= FIELD_CHARS_MAX {
            Ok(text)
        } else {
            let problem = format!("should be a sentence of at most {FIELD_CHARS_MAX} characters");
            Err(refuse(field, problem))
        }
    };
    let optional = |field: &'static str, text: Option<String>| {
        text.map(|text| sentence(field, text)).transpose()
    };
    let owner = wire.owner.parse().map_err(|()| {
        let known = OwnerRole::ALL.map(OwnerRole::as_str).join(", ");
        refuse("owner", format!("should be one of {known}"))
    })?;
    let scope = wire.scope.parse().map_err(|()| {
        let known = CheckScope::ALL.map(CheckScope::as_str).join(", ");
        refuse("scope", format!("should be one of {known}"))
    })?;
    let within = |field: &'static str, value: u64, max: u64| {
        let problem = || refuse(field, format!("should be 1 to {max}"));
        (1..=max).contains(&value).then_some(value).ok_or_else(problem)
    };
    let timeout = wire.timeout_seconds.unwrap_or(TIMEOUT_SECONDS);
    let timeout = within("timeout_seconds", timeout, TIMEOUT_SECONDS_MAX)?;
    let cpu = within("cpu_seconds", wire.cpu_seconds.unwrap_or(CPU_SECONDS), CPU_SECONDS_MAX)?;
    let io_mib = within("io_mib", wire.io_mib.unwrap_or(IO_MIB), IO_MIB_MAX)?;
    let polarity = match wire.kind.as_deref() {
        None | Some("positive") => Polarity::Positive,
        Some("negative") => Polarity::Negative,
        Some(_) => return Err(refuse("kind", "should be positive or negative".to_owned())),
    };
    if polarity == Polarity::Negative && wire.limits.is_none() {
        return Err(refuse("limits", "should say what a probe of a negative cannot show".into()));
    }
    let interval_hours = within("interval_hours", wire.interval_hours, INTERVAL_HOURS_MAX)?;
    Ok(Promise {
        id,
        text: sentence("text", wire.text)?,
        source: sentence("source", wire.source)?,
        feature: sentence("feature", wire.feature)?,
        check: sentence("check", wire.check)?,
        owner,
        scope,
        timeout: Duration::from_secs(timeout),
        budget: Budget { cpu: Duration::from_secs(cpu), io_bytes: io_mib * 1024 * 1024 },
        interval: Duration::from_secs(interval_hours * 3600),
        limits: Limits {
            polarity,
            text: optional("limits", wire.limits)?,
            operators_part: optional("operators_part", wire.operators_part)?,
            needs_operator_evidence: optional(
                "needs_operator_evidence",
                wire.needs_operator_evidence,
            )?,
            absent: optional("absent", wire.absent)?,
        },
    })
}
