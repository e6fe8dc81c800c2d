//! A keyring in a temporary directory, with a clock that tests move.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::{ManualClock, Rng, SeededRng, TenantId, Timestamp};
use veritwin_keys::{KeyError, KeyService, PlatformFile};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rng: Arc<SeededRng>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(START)),
            rng: Arc::new(SeededRng::new(0x5eed)),
        }
    }

    pub(crate) fn root_path(&self) -> PathBuf {
        self.directory.path().join("root.key")
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.directory.path().join("keyring")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.keyring().join("keyring.journal")
    }

    pub(crate) fn rng(&self) -> Arc<dyn Rng> {
        Arc::clone(&self.rng) as Arc<dyn Rng>
    }

    pub(crate) fn open(&self) -> KeyService {
        self.try_open(&self.keyring()).unwrap()
    }

    pub(crate) fn try_open(&self, keyring: &Path) -> Result<KeyService, KeyError> {
        let root = PlatformFile::open_or_create(&self.root_path(), self.rng())?;
        KeyService::open(Box::new(root), keyring, self.clock.clone(), self.rng())
    }
}

pub(crate) const fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}
