//! A look at the files of a directory that no platform has open: keyrings, the archive's journal
//! and the log, to the last checksum, without any key and without changing a thing.

use std::error::Error;
use std::path::{Path, PathBuf};

use veritwin_keys::{KeyService, tail};
use veritwin_ledger::Archive;
use veritwin_log::FileLog;

/// A kind of file, and where it lies in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The platform's keyring.
    Keyring,
    /// The ledger archive's own keyring.
    ArchiveKeyring,
    /// The ledger archive's journal.
    ArchiveJournal,
    /// The telemetry log.
    Log,
}

impl Stored {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Keyring, Self::ArchiveKeyring, Self::ArchiveJournal, Self::Log];

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::ArchiveKeyring => "the archive's keyring",
            Self::ArchiveJournal => "the archive's journal",
            Self::Log => "log",
        }
    }

    /// Its folder in a data directory.
    pub(crate) const fn folder_name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::ArchiveKeyring => "archive/keyring",
            Self::ArchiveJournal => "archive/archive/journal",
            Self::Log => "log",
        }
    }

    fn folder(self, data: &Path) -> PathBuf {
        data.join(self.folder_name())
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLook {
    /// Every checksum is right.
    Right,
    /// A crash left the beginning of a write: the next start cuts it off and keeps it.
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
    },
    /// It cannot be used; the text names file and offset.
    Damaged(String),
}

/// Looks at one kind of file of a stopped platform; none if there is none yet.
pub fn look_at(stored: Stored, data: &Path) -> Option<StoreLook> {
    let folder = stored.folder(data);
    if !folder.exists() {
        return None;
    }
    let found = match stored {
        Stored::Keyring | Stored::ArchiveKeyring => KeyService::check_files(&folder)
            .map(|cut| cut.map(|offset| (folder.join("keyring.journal"), offset)))
            .map_err(|error| describe(&error)),
        Stored::ArchiveJournal => {
            Archive::check(folder.parent().unwrap_or(data)).map_err(|error| describe(&error))
        }
        Stored::Log => {
            FileLog::check(&folder).map(|look| look.unfinished).map_err(|error| describe(&error))
        }
    };
    Some(match found {
        Ok(None) => StoreLook::Right,
        Ok(Some((path, offset))) => StoreLook::Unfinished { path, offset },
        Err(problem) => StoreLook::Damaged(problem),
    })
}

/// Files of bytes that were cut off a file of this kind, oldest first.
pub fn kept_cuts(stored: Stored, data: &Path) -> Vec<PathBuf> {
    tail::kept(&stored.folder(data)).unwrap_or_default()
}

/// An error with its causes.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
