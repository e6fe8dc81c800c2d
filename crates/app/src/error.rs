//! The few kinds of error a use case ends with, chosen by what the caller does next. Texts reach
//! people: they say what, where and what would be right, and never hold a secret or a value.

use std::time::Duration;

use veritwin_access::Denied;
use veritwin_domain::LimitExceeded;

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is signed in, or the credential is unknown or expired.
    #[error("not signed in: {0}")]
    Unauthenticated(&'static str),
    /// The actor may not do this.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// There is no such thing for this actor.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// Somebody else changed it first, or it exists already.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The input is wrong.
    #[error("{detail}")]
    Invalid {
        /// What, and what would be right.
        detail: String,
        /// The field, row or position.
        at: Option<String>,
    },
    /// A bound was passed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Try again later.
    #[error("too many attempts: try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// A part the platform needs does not answer.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Something inside broke; the text is for logs.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Wrong input with no position.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into(), at: None }
    }

    /// Wrong input at a field or position.
    pub fn invalid_at(at: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into(), at: Some(at.into()) }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        if denied.hidden {
            Self::NotFound("no such resource")
        } else {
            Self::Forbidden(denied.action.to_string())
        }
    }
}

/// The answer of a use case.
pub type Result<T> = std::result::Result<T, Error>;
