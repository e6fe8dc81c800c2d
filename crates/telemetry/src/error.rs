//! Why the engine cannot do something, by what the caller does next. Messages name objects,
//! positions and bounds, never a value.

use veritwin_domain::TenantId;
use veritwin_keys::KeyError;

use crate::wire::WireError;

/// Why an operation of the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The object store refused; trying again later may succeed.
    #[error("object store: cannot {action} {object}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// On which object.
        object: String,
        /// The store's answer.
        #[source]
        source: object_store::Error,
    },
    /// The keys are withdrawn, destroyed or out of reach.
    #[error("keys: cannot {action}")]
    Keys {
        /// What needed the key.
        action: &'static str,
        /// The key service's answer.
        #[source]
        source: KeyError,
    },
    /// A stored object is not what this engine wrote.
    #[error("object {object} is damaged: {reason}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// Another engine writes into the same store; this one stops writing.
    #[error("manifest {0} is of another engine: one store takes one engine; restart")]
    Conflict(u64),
    /// A bucket cannot be the place of sealed objects.
    #[error("the bucket cannot be used: {0}")]
    Bucket(String),
    /// An argument that cannot be answered.
    #[error("{name} is out of range: {expected}, got {actual}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// What would be right.
        expected: String,
        /// What was given.
        actual: String,
    },
    /// A query needs more than one query may use.
    #[error("limit {name} exceeded: at most {max} per query; ask for a shorter range")]
    Limit {
        /// The bound.
        name: &'static str,
        /// Its value.
        max: usize,
    },
    /// Other queries need what this one would; trying again in a moment may succeed.
    #[error("limit {name} exceeded: other queries hold all of {max} bytes; try again in a moment")]
    Busy {
        /// The bound.
        name: &'static str,
        /// Its value.
        max: usize,
    },
    /// The tenant's key is back, and what was left in the log meanwhile is read again.
    #[error("the key is back, and readings are read from the log again: try again in a moment")]
    Behind,
    /// The log does not hold what the segments continue from.
    #[error("log holds positions {first} to {next}, but segments end before {persisted}")]
    LogMismatch {
        /// First position in the log.
        first: u64,
        /// Position after the last one in the log.
        next: u64,
        /// Everything before this position is in segments.
        persisted: u64,
    },
    /// The log cannot be read.
    #[error("cannot read the log at recovery: {0}")]
    Log(veritwin_log::LogError),
    /// A background task was stopped before its end; the process is shutting down.
    #[error("stopped before the end: the process is shutting down")]
    Stopped,
}

impl TelemetryError {
    pub(crate) fn store(
        action: &'static str,
        object: &object_store::path::Path,
        source: object_store::Error,
    ) -> Self {
        Self::Store { action, object: object.to_string(), source }
    }

    pub(crate) const fn keys(action: &'static str) -> impl FnOnce(KeyError) -> Self {
        move |source| Self::Keys { action, source }
    }

    pub(crate) fn wire(object: impl ToString) -> impl FnOnce(WireError) -> Self {
        move |error| Self::Damaged { object: object.to_string(), reason: error.to_string() }
    }

    /// True when a tenant's keys are gone or withdrawn rather than out of reach for now.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Keys { source, .. } if source.is_denied())
    }

    /// True when it concerns one tenant alone: its keys are denied, or the service that holds
    /// them is silent.
    pub const fn is_withheld(&self) -> bool {
        matches!(self, Self::Keys { source, .. } if source.is_withheld())
    }

    /// The tenant whose keys are withheld, where it is known.
    pub(crate) const fn withheld_tenant(&self) -> Option<TenantId> {
        let Self::Keys { source, .. } = self else { return None };
        match source {
            KeyError::Silent(tenant)
            | KeyError::Revoked { tenant, .. }
            | KeyError::Gone { tenant, .. }
            | KeyError::TenantDestroyed { tenant, .. } => Some(*tenant),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_damage_is_named_by_file_and_offset() {
        let damage = veritwin_log::LogError::Damaged {
            path: "log/0001.vtlog".into(),
            offset: 4711,
            reason: "a group does not match its checksum".to_owned(),
        };
        let text = TelemetryError::Log(damage).to_string();
        assert!(text.contains("log/0001.vtlog is damaged at byte 4711"), "{text}");
    }
}
