//! The few kinds of error a use case ends with, chosen by what the caller does next. Texts reach
//! people: they say what, where and what would be right, and never hold a secret or a value.

use std::time::Duration;

use veritwin_access::{Denied, RateExceeded};
use veritwin_domain::LimitExceeded;

/// What is said of something inside that broke.
const BROKE: &str = "a stored record is damaged, or a part inside broke";

/// What is said when another writer of the same records was in the way.
const COLLIDED: &str = "somebody else was writing the same records; try again in a moment";

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// `line 3, column role`.
    pub at: String,
    /// What, and what would be right.
    pub detail: String,
}

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is signed in, or the credential is unknown or expired.
    #[error("not signed in: {0}")]
    Unauthenticated(&'static str),
    /// The password is right and the account has a second factor: show it as well.
    #[error("a second factor is needed")]
    SecondFactor,
    /// Somebody is signed in and has to prove again who they are.
    #[error("not proven: {0}")]
    NotProven(&'static str),
    /// The tenant asks for a second factor that this account does not have yet.
    #[error("a second factor has to be set up first")]
    SecondFactorMissing,
    /// The actor may not do this.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The actor comes from a network that its tenant does not let in.
    #[error("not from here: {0}")]
    Outside(&'static str),
    /// There is no such thing for this actor.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// It was destroyed, for ever.
    #[error("destroyed: {0}")]
    Destroyed(String),
    /// The keys of this tenant are revoked: by the customer, or by the service that holds the key.
    #[error("the key of this data is revoked")]
    KeyRevoked,
    /// The keys of this tenant, or the key above them, were destroyed.
    #[error("destroyed: {0}")]
    KeyDestroyed(String),
    /// The service that holds the tenant's key does not answer.
    #[error("the key service of this customer does not answer")]
    KeySilent,
    /// Somebody else changed it first, or it exists already.
    #[error("conflict: {0}")]
    Conflict(String),
    /// Somebody else changed it since it was read; nothing was overwritten.
    #[error("conflict: {0}: changed since it was read")]
    Changed(&'static str),
    /// The input is wrong.
    #[error("{detail}")]
    Invalid {
        /// What, and what would be right.
        detail: String,
        /// The field, row or position.
        at: Option<String>,
    },
    /// Several rows of the input are wrong; nothing was done.
    #[error("{} rows are wrong; nothing was done", .0.len())]
    InvalidRows(Vec<RowError>),
    /// A bound was passed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A tenant has stored as much as its plan lets it.
    #[error(transparent)]
    StorageFull(LimitExceeded),
    /// A rate was passed.
    #[error(transparent)]
    Rate(#[from] RateExceeded),
    /// Try again later.
    #[error("too many attempts: try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// So much of it is on its way already; nothing is wrong with what was asked.
    #[error("limit {} exceeded: {} are on their way already, try again in a moment", .0.name, .0.max)]
    Crowded(LimitExceeded),
    /// A part the platform needs does not answer.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Something inside broke; the text is for logs.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// True when it concerns one tenant alone: its keys are denied, or out of reach.
    pub const fn is_withheld(&self) -> bool {
        matches!(
            self,
            Self::KeyRevoked
                | Self::KeySilent
                | Self::KeyDestroyed(_)
                | Self::Destroyed(_)
                | Self::Forbidden(_)
        )
    }

    /// True when it gave way to another writer of the same records: all of it again helps.
    pub(crate) fn is_collision(&self) -> bool {
        matches!(self, Self::Unavailable(text) if text == COLLIDED)
    }

    /// Its text for somebody outside: a person, a device, whoever asks. What broke inside may name
    /// files, keys, addresses and other tenants: it goes to the log, and a fixed sentence stands
    /// for it.
    pub fn told(&self) -> String {
        if let Self::Internal(detail) = self {
            tracing::error!(%detail, "internal error");
        }
        self.told_again()
    }

    /// The same of an error that its caller logs: one that is met at every try.
    pub(crate) fn told_again(&self) -> String {
        match self {
            Self::Internal(_) => BROKE.to_owned(),
            other => other.to_string(),
        }
    }

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

/// What the records say of something that may be gone: what is there no more is none.
pub(crate) fn found<T>(asked: veritwin_metastore::Result<T>) -> Result<Option<T>> {
    match asked {
        Err(veritwin_metastore::Error::NotFound { .. }) => Ok(None),
        other => Ok(Some(other?)),
    }
}

impl From<veritwin_keys::KeyError> for Error {
    fn from(error: veritwin_keys::KeyError) -> Self {
        use veritwin_keys::KeyError as Key;
        match error {
            Key::Silent(_) => Self::KeySilent,
            Key::Revoked { .. } => Self::KeyRevoked,
            Key::Gone { at, certificate, .. } | Key::TenantDestroyed { at, certificate, .. } => {
                let told = match certificate {
                    Some(id) => format!("the certificate of destruction is {id}"),
                    None => "there is no certificate of destruction for it yet".to_owned(),
                };
                Self::KeyDestroyed(format!("the key of this data was destroyed at {at}; {told}"))
            }
            Key::Destroyed { .. } => {
                Self::Forbidden("the key of this data is destroyed".to_owned())
            }
            other => Self::Internal(format!("keys: {other}")),
        }
    }
}

impl From<veritwin_metastore::Error> for Error {
    fn from(error: veritwin_metastore::Error) -> Self {
        use veritwin_metastore::Error as Store;
        match error {
            Store::NotFound { what } => Self::NotFound(what),
            Store::Conflict { what, reason: veritwin_metastore::CHANGED } => Self::Changed(what),
            Store::Conflict { what, reason } => Self::Conflict(format!("{what}: {reason}")),
            Store::Invalid { what, reason } => Self::invalid_at(what, reason),
            Store::Unavailable(source) => {
                tracing::error!(error = %source, "records database");
                Self::Unavailable("the records database does not answer".to_owned())
            }
            Store::Collided { .. } => {
                tracing::warn!(%error, "records database");
                Self::Unavailable(COLLIDED.to_owned())
            }
            Store::Crowded(limit) => Self::Crowded(limit),
            Store::Late { .. } => {
                tracing::error!(%error, "records database");
                Self::Unavailable(error.to_string())
            }
            Store::KeyUnavailable(source) if source.is_withheld() => source.into(),
            Store::KeyUnavailable(_) => Self::Unavailable("the key does not answer".to_owned()),
            Store::KeyDenied(source) => source.into(),
            Store::Refused(_) | Store::Corrupt { .. } => Self::Internal(error.to_string()),
        }
    }
}

impl From<veritwin_telemetry::TelemetryError> for Error {
    fn from(error: veritwin_telemetry::TelemetryError) -> Self {
        use veritwin_telemetry::TelemetryError as Telemetry;
        match error {
            Telemetry::Keys { source, .. } if source.is_withheld() => source.into(),
            Telemetry::Argument { .. } | Telemetry::Limit { .. } => {
                Self::invalid(error.to_string())
            }
            Telemetry::Bucket(_) => Self::invalid_at("objects.url", error.to_string()),
            Telemetry::Busy { name, max } => {
                Self::Crowded(LimitExceeded { name, max, actual: max })
            }
            Telemetry::Behind => Self::Unavailable(error.to_string()),
            other => Self::Internal(format!("telemetry: {other}")),
        }
    }
}

impl From<veritwin_log::LogError> for Error {
    fn from(error: veritwin_log::LogError) -> Self {
        use veritwin_log::LogError as Log;
        match error {
            Log::TooLarge { actual_bytes, max_bytes } => Self::Limit(LimitExceeded {
                name: "append_bytes_max",
                max: max_bytes,
                actual: actual_bytes,
            }),
            Log::Key { source, .. } => source.into(),
            Log::SpoolFull { max_bytes, .. } => Self::Crowded(LimitExceeded {
                name: "spool_bytes_max",
                max: usize::try_from(max_bytes).unwrap_or(usize::MAX),
                actual: LimitExceeded::MORE,
            }),
            // Where the platform keeps its files is for its operator: it stands in its log.
            Log::Full(_) => Self::Unavailable("the platform's disk is full".to_owned()),
            Log::Poisoned(_) | Log::Closed => {
                Self::Unavailable("nothing is taken until the platform starts again".to_owned())
            }
            other => Self::Internal(format!("log: {other}")),
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound("object"),
            other => Self::Internal(format!("objects: {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_outside_is_told_what_broke_inside() {
        let check = |error: Error| {
            assert!(matches!(error, Error::Internal(_)), "{error:?}");
            for told in [error.told(), error.told_again()] {
                assert_eq!(told, BROKE, "{error:?}");
            }
        };
        check(Error::Internal("log: /srv/data/log/7: no such file".to_owned()));
        check(
            object_store::Error::Generic { store: "S3", source: "10.0.0.7:9000: refused".into() }
                .into(),
        );
        let corrupt = veritwin_metastore::Error::Refused("role veritwin at db.internal".into());
        check(corrupt.into());
    }

    #[test]
    fn what_somebody_can_act_on_keeps_its_words() {
        let check = |error: Error, expect: &str| {
            assert_eq!((error.told(), error.told_again()), (expect.to_owned(), expect.to_owned()));
        };
        let collided = Error::from(veritwin_metastore::Error::Collided { what: "devices" });
        assert!(collided.is_collision() && !Error::KeyRevoked.is_collision());
        check(collided, &format!("not available now: {COLLIDED}"));
        check(Error::KeyRevoked, "the key of this data is revoked");
        check(Error::invalid_at("name", "expected a name"), "expected a name");
        check(Error::Forbidden("device.write".to_owned()), "not allowed: device.write");
        check(
            Error::Unavailable("the platform's disk is full".to_owned()),
            "not available now: the platform's disk is full",
        );
    }
}
