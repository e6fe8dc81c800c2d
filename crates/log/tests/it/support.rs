//! A log in a temporary directory, with keys of its own and a clock that tests move.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, ManualClock, Quality, Reading, SeededRng, TenantId,
    Timestamp, Value,
};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_log::{CommitObserver, Entry, FileLog, LogConfig, LogError, Record};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keys: KeyService,
    pub(crate) rng: Arc<SeededRng>,
}

impl Fixture {
    /// With tenants 1 to 3.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let rng = Arc::new(SeededRng::new(0x5eed));
        let root =
            PlatformFile::open_or_create(&directory.path().join("root.key"), rng.clone()).unwrap();
        let keyring = directory.path().join("keyring");
        let keys = KeyService::open(Box::new(root), &keyring, clock.clone(), rng.clone()).unwrap();
        for number in 1..=3 {
            keys.create_tenant(tenant(number)).unwrap();
        }
        Self { directory, clock, keys, rng }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> LogConfig {
        self.config_in(&self.path("log"))
    }

    pub(crate) fn config_in(&self, directory: &Path) -> LogConfig {
        LogConfig::new(
            directory.to_path_buf(),
            self.keys.clone(),
            self.clock.clone(),
            self.rng.clone(),
        )
    }

    pub(crate) fn open(&self) -> FileLog {
        self.try_open(&self.path("log")).unwrap()
    }

    pub(crate) fn try_open(&self, directory: &Path) -> Result<FileLog, LogError> {
        FileLog::open(self.config_in(directory), Vec::<Box<dyn CommitObserver>>::new())
    }

    /// The log's files in the order of their positions.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files_in(&self.path("log"))
    }
}

pub(crate) fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "vtlog"));
    files.sort();
    files
}

pub(crate) const fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

/// An entry that can be told from every other by `number`.
pub(crate) fn entry(tenant_number: u8, number: i64) -> Entry {
    entry_of(tenant_number, number, 1)
}

/// The same with many readings.
pub(crate) fn entry_of(tenant_number: u8, number: i64, reading_count: usize) -> Entry {
    let reading = Reading {
        key: Key::new("number").unwrap(),
        at: START,
        value: Value::Integer(number),
        quality: Quality::Good,
    };
    Entry::from(DeviceBatch {
        tenant: tenant(tenant_number),
        device: DeviceId::from_bytes([7; 16]),
        credential: CredentialId::from_bytes([8; 16]),
        received_at: START,
        readings: vec![reading; reading_count],
    })
}

/// The number of an entry made by [`entry`].
pub(crate) fn number(entry: &Entry) -> i64 {
    match &entry.record {
        Record::Readings(batch) => match batch.readings[0].value {
            Value::Integer(number) => number,
            ref other => panic!("unexpected value {other:?}"),
        },
        other => panic!("unexpected record {other:?}"),
    }
}

/// Everything in the log from `position`: positions have no gap and numbers are returned.
pub(crate) fn numbers(log: &FileLog, position: u64) -> Vec<i64> {
    let mut expected = position;
    let mut numbers = Vec::new();
    for batch in log.read_from(position).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.first, expected);
        assert!(!batch.entries.is_empty());
        expected = batch.end();
        numbers.extend(batch.entries.iter().map(|entry| number(entry)));
    }
    assert_eq!(expected, log.tail_position());
    numbers
}
