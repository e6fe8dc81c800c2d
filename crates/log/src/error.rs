//! Why a log operation fails, by what the caller does next.

use std::io;
use std::path::{Path, PathBuf};

use veritwin_domain::TenantId;
use veritwin_keys::KeyError;

/// Why a log operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The entries are not acceptable; nothing was appended.
    #[error("entry {index} cannot be appended: {reason}")]
    Entry {
        /// Which of the entries given, from 0.
        index: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// More than fits into one append; send less at once.
    #[error("append of {actual_bytes} bytes exceeds append_bytes_max of {max_bytes}")]
    TooLarge {
        /// Encoded size.
        actual_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// The tenant's key cannot be had; nothing of this append was written.
    #[error("no key for the log entries of tenant {tenant}")]
    Key {
        /// The tenant.
        tenant: TenantId,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// As much of the tenant waits for its key, or for whoever else cannot serve it, as may;
    /// nothing of this append was written.
    #[error("{max_bytes} bytes of tenant {tenant} wait in the log, and no more may")]
    SpoolFull {
        /// The tenant.
        tenant: TenantId,
        /// The bound.
        max_bytes: u64,
    },
    /// The disk is full; nothing of this append is kept. Later appends succeed once there is space.
    #[error("the log's disk is full: {0}")]
    Full(String),
    /// A write failed. What is on the disk is unknown, so nothing more is appended until a restart.
    #[error("log is closed for writing after a failed write: {0}; restart to recover")]
    Poisoned(String),
    /// The log was closed.
    #[error("log is closed")]
    Closed,
    /// The position was truncated away; start again from `first`.
    #[error("position {requested} is no longer in the log, which begins at {first}")]
    Truncated {
        /// What was asked for.
        requested: u64,
        /// The first position there is.
        first: u64,
    },
    /// The position lies after the end of the log.
    #[error("position {requested} lies after the end of the log at {tail}")]
    BeyondTail {
        /// What was asked for.
        requested: u64,
        /// The position of the next append.
        tail: u64,
    },
    /// A file is damaged where a crash cannot have damaged it.
    #[error("log file {path} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged part starts.
        offset: u64,
        /// What was expected.
        reason: String,
    },
    /// The set-up is not possible; the text says what would be.
    #[error("log configuration: {0}")]
    Configuration(String),
    /// The directory is in use by another process.
    #[error("log directory {0} is in use by another process")]
    Locked(PathBuf),
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    /// True when the operating system had no space for it.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}

/// True when the operating system had no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
