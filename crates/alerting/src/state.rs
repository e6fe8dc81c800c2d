//! The states of an alert after ISA-18.2 / IEC 62682: active or returned to normal, acknowledged
//! or not. Shelving and suppression are states of a later slice.

use std::fmt;
use std::str::FromStr;

use crate::series::TransitionKind;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// Active, and nobody has said that they know.
    ActiveUnacknowledged,
    /// Active, and somebody knows.
    ActiveAcknowledged,
    /// Back to normal before anybody said that they know.
    ClearedUnacknowledged,
    /// Back to normal and acknowledged: the alert has ended.
    Cleared,
}

/// What can happen to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertEvent {
    /// The condition holds again.
    Raise,
    /// The condition no longer holds.
    Clear,
    /// Somebody says that they know.
    Acknowledge,
}

/// Why an event does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StateError {
    /// It is active already.
    #[error("the alert is already active")]
    AlreadyActive,
    /// It is back to normal already.
    #[error("the alert is already back to normal")]
    AlreadyCleared,
    /// It is acknowledged already.
    #[error("the alert is already acknowledged")]
    AlreadyAcknowledged,
    /// It has ended; the next one is a new alert.
    #[error("the alert has ended; what happens now opens a new one")]
    Ended,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::ActiveUnacknowledged,
        Self::ActiveAcknowledged,
        Self::ClearedUnacknowledged,
        Self::Cleared,
    ];

    /// The state of a new alert.
    pub const START: Self = Self::ActiveUnacknowledged;

    /// The state after `event`. An alert that cleared without acknowledgement and is raised again
    /// is the same alert; after its end a new one is opened.
    pub const fn apply(self, event: AlertEvent) -> Result<Self, StateError> {
        use AlertEvent::{Acknowledge, Clear, Raise};
        match (self, event) {
            (Self::ActiveUnacknowledged, Acknowledge) => Ok(Self::ActiveAcknowledged),
            (Self::ActiveUnacknowledged, Clear) => Ok(Self::ClearedUnacknowledged),
            (Self::ActiveAcknowledged, Clear) | (Self::ClearedUnacknowledged, Acknowledge) => {
                Ok(Self::Cleared)
            }
            (Self::ClearedUnacknowledged, Raise) => Ok(Self::ActiveUnacknowledged),
            (Self::ActiveUnacknowledged | Self::ActiveAcknowledged, Raise) => {
                Err(StateError::AlreadyActive)
            }
            (Self::ActiveAcknowledged, Acknowledge) => Err(StateError::AlreadyAcknowledged),
            (Self::ClearedUnacknowledged, Clear) => Err(StateError::AlreadyCleared),
            (Self::Cleared, _) => Err(StateError::Ended),
        }
    }

    /// Whether the condition holds.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::ActiveUnacknowledged | Self::ActiveAcknowledged)
    }

    /// Whether somebody still has to say that they know.
    pub const fn is_unacknowledged(self) -> bool {
        matches!(self, Self::ActiveUnacknowledged | Self::ClearedUnacknowledged)
    }

    /// Whether the alert still needs anything.
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Cleared)
    }

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveUnacknowledged => "active_unacknowledged",
            Self::ActiveAcknowledged => "active_acknowledged",
            Self::ClearedUnacknowledged => "cleared_unacknowledged",
            Self::Cleared => "cleared",
        }
    }
}

impl From<TransitionKind> for AlertEvent {
    fn from(kind: TransitionKind) -> Self {
        match kind {
            TransitionKind::Raised => Self::Raise,
            TransitionKind::Cleared => Self::Clear,
        }
    }
}

impl AlertEvent {
    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raise => "raised",
            Self::Clear => "cleared",
            Self::Acknowledge => "acknowledged",
        }
    }
}

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AlertState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}
