//! Why a key operation fails. The kinds are what a caller can act on; no message holds key
//! material or a sealed value.

use std::io;
use std::path::PathBuf;

use veritwin_domain::{TenantId, Timestamp};

use crate::DekId;

/// Why a key operation failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The root key's file cannot be used as it is; the reason says what would be right.
    #[error("root key file {path}: {reason}")]
    RootFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The root provider cannot be reached or does not answer.
    #[error("root key provider unavailable: {0}")]
    RootUnavailable(String),
    /// The operating system refused a read or write.
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
    /// The keyring's journal is damaged before its end; nothing was changed.
    #[error("keyring journal {path} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where the first unreadable frame starts.
        offset: u64,
        /// What was expected.
        reason: &'static str,
    },
    /// The keyring directory is in use by another process.
    #[error("keyring {0} is in use by another process")]
    Locked(PathBuf),
    /// An earlier write to the journal failed; keys can be read, not made. A restart is needed.
    #[error("keyring journal is closed for writing after a failed write; restart to recover")]
    Poisoned,
    /// No keys were ever made for this tenant.
    #[error("tenant {0} has no keys: create_tenant comes first")]
    UnknownTenant(TenantId),
    /// The tenant's keys are withdrawn; nothing of it can be read or written until restored.
    #[error("keys of tenant {tenant} are revoked since {since}")]
    Revoked {
        /// The tenant.
        tenant: TenantId,
        /// Since when.
        since: Timestamp,
    },
    /// The service that holds the tenant's key has not answered for longer than the key is kept
    /// in memory.
    #[error("the key service of tenant {0} does not answer")]
    Silent(TenantId),
    /// The key that stands above the tenant's keys was destroyed where it was held.
    #[error("the key above those of tenant {tenant} was destroyed at {at} where it was held")]
    Gone {
        /// The tenant.
        tenant: TenantId,
        /// When the platform learned of it.
        at: Timestamp,
        /// The certificate that tells of it, if there is one.
        certificate: Option<String>,
    },
    /// The key above the tenant's KEK is not the platform's: only with it can this be done.
    #[error("the key above those of tenant {0} is the customer's, and is needed for this")]
    HeldElsewhere(TenantId),
    /// The KEK was replaced while a new one was being wrapped; begin again.
    #[error("the KEK of tenant {0} was replaced meanwhile")]
    Replaced(TenantId),
    /// Every key of the tenant was destroyed, for ever.
    #[error("keys of tenant {tenant} were destroyed at {at}")]
    TenantDestroyed {
        /// The tenant.
        tenant: TenantId,
        /// When.
        at: Timestamp,
        /// The certificate that tells of it, if there is one.
        certificate: Option<String>,
    },
    /// The key was destroyed, for ever.
    #[error("key {id} was destroyed at {at}")]
    Destroyed {
        /// The key.
        id: DekId,
        /// When.
        at: Timestamp,
    },
    /// This keyring has never held the key.
    #[error("key {0} is not in this keyring")]
    UnknownDek(DekId),
    /// The stated tenant or class is not the key's.
    #[error("key {0} belongs to another tenant or data class than stated")]
    WrongScope(DekId),
    /// Sealed bytes do not open: wrong key, wrong associated data, or changed bytes.
    #[error("sealed bytes do not open: wrong key, wrong associated data, or altered")]
    NotAuthentic,
    /// Bytes are not in the expected form.
    #[error("not a {expected}: {reason}")]
    Format {
        /// What the bytes should have been.
        expected: &'static str,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// One file key has sealed as much as it may.
    #[error("file key is used up: a nonce may not repeat")]
    Exhausted,
}

impl KeyError {
    /// True when the key is gone for ever or withdrawn, rather than out of reach for now.
    pub const fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Revoked { .. }
                | Self::Gone { .. }
                | Self::TenantDestroyed { .. }
                | Self::Destroyed { .. }
        )
    }

    /// True when it concerns one tenant alone: its keys are denied, or the service that holds
    /// them does not answer. Everybody else goes on.
    pub const fn is_withheld(&self) -> bool {
        self.is_denied() || matches!(self, Self::Silent(_))
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}
