//! Why an operation on the records failed: few kinds, chosen by what the caller does next. No
//! message holds a row's content.

use sea_orm::{DbErr, RuntimeErr, SqlErr};
use veritwin_domain::LimitExceeded;
use veritwin_keys::KeyError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row for this tenant.
    #[error("{what} not found")]
    NotFound {
        /// The kind of row.
        what: &'static str,
    },
    /// The row exists already, or changed since it was read.
    #[error("{what}: {reason}")]
    Conflict {
        /// The kind of row.
        what: &'static str,
        /// What is in the way.
        reason: &'static str,
    },
    /// The caller's value cannot be stored or understood.
    #[error("{what}: {reason}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// What would be right.
        reason: &'static str,
    },
    /// The database cannot be reached or is busy; trying again may help.
    #[error("records database is unavailable")]
    Unavailable(#[source] DbErr),
    /// Two writers waited for each other's rows, and the database let this one give way; all of it
    /// again helps.
    #[error("{what}: another writer was in the way")]
    Collided {
        /// The kind of row.
        what: &'static str,
    },
    /// So many writers wait for their turn already; trying again in a moment helps.
    #[error(transparent)]
    Crowded(LimitExceeded),
    /// The turn of this writer did not come in time; trying again may help.
    #[error("limit write_wait_seconds_max exceeded: at most {seconds_max}")]
    Late {
        /// How long a writer waits.
        seconds_max: u64,
    },
    /// The store may not be opened as configured; the text says what to change.
    #[error("{0}")]
    Refused(String),
    /// A stored row is not what was written.
    #[error("stored {what} is damaged")]
    Corrupt {
        /// Where.
        what: &'static str,
    },
    /// The keys cannot be reached now.
    #[error("key unavailable")]
    KeyUnavailable(#[source] KeyError),
    /// The keys are revoked or destroyed.
    #[error("key denied")]
    KeyDenied(#[source] KeyError),
}

/// The reason of a conflict with somebody who wrote first.
pub const CHANGED: &str = "changed since it was read";

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn from_db(error: DbErr, what: &'static str) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => {
                Self::Conflict { what, reason: "exists already" }
            }
            // The row that this one would belong to is not there, or belongs to another tenant.
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::NotFound { what },
            _ if code(&error).is_some_and(|code| PG_COLLIDED.contains(&code.as_str())) => {
                Self::Collided { what }
            }
            _ if sqlite_code(&error) == Some(SQLITE_NOTADB) => Self::Refused(
                "records database does not open: the key is not the one it was made with, or the \
                 file is not a database"
                    .to_owned(),
            ),
            _ if is_decode(&error) => Self::Corrupt { what },
            _ => Self::Unavailable(error),
        }
    }

    pub(crate) fn from_key(error: KeyError, what: &'static str) -> Self {
        match error {
            KeyError::NotAuthentic
            | KeyError::Format { .. }
            | KeyError::WrongScope(_)
            | KeyError::UnknownDek(_) => Self::Corrupt { what },
            denied if denied.is_denied() => Self::KeyDenied(denied),
            unavailable => Self::KeyUnavailable(unavailable),
        }
    }
}

/// `SQLITE_NOTADB`, <https://sqlite.org/rescode.html#notadb>.
const SQLITE_NOTADB: i64 = 26;

/// `serialization_failure` and `deadlock_detected`,
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const PG_COLLIDED: [&str; 2] = ["40001", "40P01"];

fn sqlite_code(error: &DbErr) -> Option<i64> {
    code(error)?.parse().ok()
}

/// The database's own code.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime)) = error else {
        return None;
    };
    let RuntimeErr::SqlxError(source) = runtime else { return None };
    let sqlx::Error::Database(source) = source.as_ref() else { return None };
    source.code().map(std::borrow::Cow::into_owned)
}

fn is_decode(error: &DbErr) -> bool {
    matches!(error, DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::Json(_))
}
