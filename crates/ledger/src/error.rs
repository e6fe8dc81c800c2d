//! Why the archive refuses or fails; few kinds, chosen by what the caller does next.

use std::path::PathBuf;

use veritwin_domain::{BatchId, LimitExceeded, LogId};
use veritwin_keys::KeyError;
use veritwin_verify::Digest;

/// Where a log stands, for a submitter whose expectation was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictState {
    /// Leaves in the log.
    pub size: u64,
    /// Batch id of the last leaf.
    pub last_batch: Option<BatchId>,
    /// Hash of the last leaf.
    pub last_hash: Option<Digest>,
    /// Sequence of the last record.
    pub last_sequence: u64,
}

/// An archive error.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No such log. Nothing to do but to ask for another.
    #[error("no log {0}")]
    UnknownLog(LogId),
    /// The request contradicts itself or the formats. Sending it again will not help.
    #[error("{0}")]
    Invalid(String),
    /// The log does not stand where the submitter thinks: a rewind, a fork, or a second writer.
    #[error(
        "{reason}: the log has {} leaves and {} records",
        state.size,
        state.last_sequence
    )]
    Conflict {
        /// What does not fit.
        reason: String,
        /// Where the log stands.
        state: Box<ConflictState>,
    },
    /// A bound was passed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// Writing failed once, so nothing more is written until the archive is opened again.
    #[error("the archive stopped writing: {0}")]
    Stopped(String),
    /// The archive does not serve this now; trying again later may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// Another archive says that what it has stored is not what was written; its own log names
    /// the file.
    #[error("{0}")]
    Damaged(String),
    /// Another process has the directory open.
    #[error("{0}: another archive process has it open")]
    Locked(PathBuf),
    /// What is stored is not what was written.
    #[error("{file} at byte {offset}: {problem}")]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A key could not be had.
    #[error("archive keys: {0}")]
    Key(#[from] KeyError),
}

impl LedgerError {
    /// True when what is stored is not what was written: reading again will not help.
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Corrupt { .. })
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn invalid(problem: impl ToString) -> Self {
        Self::Invalid(problem.to_string())
    }
}
