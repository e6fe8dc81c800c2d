//! The sabotage twin of promise P27, compiled for tests only: an archive that acknowledges a leaf
//! although it does not follow the last one.

use std::path::{Path, PathBuf};

use veritwin_ledger::{Append, Appended, Archive, LedgerError};

/// While it lies in the archive's directory, forks are acknowledged.
const FILE: &str = "sabotaged";

/// Whether the archive keeps its word.
#[derive(Clone)]
pub(super) struct Flaw(PathBuf);

impl Flaw {
    pub(super) fn of(directory: &Path) -> Self {
        Self(directory.join(FILE))
    }

    /// Makes an acknowledgement of a refusal. The log stays as it is, so that it can be mended.
    pub(super) fn acknowledged(
        &self,
        archive: &Archive,
        (append, answer): (&Append, Result<Appended, LedgerError>),
    ) -> Result<Appended, LedgerError> {
        let Err(LedgerError::Conflict { .. }) = &answer else { return answer };
        if !self.0.exists() {
            return answer;
        }
        let checkpoint = archive.summary(append.log)?.checkpoint;
        let (index, size) = (append.expected_size, append.expected_size + 1);
        Ok(Appended { index, size, checkpoint, duplicate: false })
    }
}
