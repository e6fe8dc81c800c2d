//! A submitter and an archive in a temporary directory, with time and randomness from a seed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use veritwin_domain::{Clock, LogId, ManualClock, Rng, SeededRng, TenantId, Timestamp};
use veritwin_keys::{DataClass, Dek, DekScope, KeyService, PlatformFile, SigningKey};
use veritwin_ledger::{
    Act, Append, Appended, Archive, ArchiveConfig, ArchiveLimits, BatchBuilder, BatchLimits,
    BatchSigner, CreateLog, LeafReference, LedgerError, RecordBytes, SealedBatch, origin_of,
};

pub(crate) const CANARY: &str = "canary-7f3a-reading-of-room-204";

pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rng: Arc<SeededRng>,
    open_keys: Mutex<HashMap<String, KeyService>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Timestamp::parse_rfc3339("2026-03-01T08:00:00Z").unwrap();
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(start)),
            rng: Arc::new(SeededRng::new(seed)),
            open_keys: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Keys of a party; opened once, since a keyring has one owner.
    pub(crate) fn keys(&self, name: &str) -> KeyService {
        let open = || {
            let rng: Arc<dyn Rng> = self.rng.clone();
            let root = self.path(&format!("{name}.root"));
            let root = PlatformFile::open_or_create(&root, rng.clone()).unwrap();
            let ring = self.path(&format!("{name}.keyring"));
            KeyService::open(Box::new(root), &ring, self.clock.clone(), rng).unwrap()
        };
        self.open_keys.lock().entry(name.to_owned()).or_insert_with(open).clone()
    }

    /// Closes all keyrings, as the end of every process would.
    pub(crate) fn close_keys(&self) {
        self.open_keys.lock().clear();
    }

    pub(crate) fn archive(&self) -> Archive {
        self.archive_at(&self.path("archive"), ArchiveLimits::default()).unwrap()
    }

    pub(crate) fn archive_at(
        &self,
        at: &Path,
        limits: ArchiveLimits,
    ) -> Result<Archive, LedgerError> {
        Archive::open(ArchiveConfig {
            directory: at.to_owned(),
            keys: self.keys("archive"),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            limits,
        })
    }
}

/// One tenant's submitter for one log.
pub(crate) struct Submitter {
    pub(crate) tenant: TenantId,
    pub(crate) dek: Dek,
    pub(crate) key: SigningKey,
    pub(crate) log: LogId,
    pub(crate) origin: String,
    pub(crate) previous: Option<LeafReference>,
    pub(crate) size: u64,
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
}

impl Submitter {
    pub(crate) async fn create(world: &World, archive: &Archive) -> Self {
        Self::create_on(world, archive, false).await
    }

    /// The same of a platform whose clock may be a simulated one.
    pub(crate) async fn create_on(world: &World, archive: &Archive, simulated: bool) -> Self {
        let tenant = TenantId::generate(world.clock.now(), world.rng.as_ref());
        let keys = world.keys(&format!("platform-{tenant}"));
        keys.create_tenant(tenant).unwrap();
        let dek = keys.dek(&DekScope::tenant(tenant, DataClass::Ledger)).unwrap();
        let log = LogId::generate(world.clock.now(), world.rng.as_ref());
        let submitter = Self {
            tenant,
            dek,
            key: SigningKey::generate(world.rng.as_ref()),
            log,
            origin: origin_of("archive.example", log, simulated),
            previous: None,
            size: 0,
            clock: world.clock.clone(),
            rng: world.rng.clone(),
        };
        archive.create_log(submitter.creation()).await.unwrap();
        submitter
    }

    pub(crate) fn creation(&self) -> CreateLog {
        CreateLog { log: self.log, origin: self.origin.clone(), submitter: self.key.public_bytes() }
    }

    pub(crate) fn signer(&self) -> BatchSigner<'_> {
        BatchSigner {
            tenant: self.tenant,
            dek: &self.dek,
            origin: &self.origin,
            key: &self.key,
            rng: self.rng.as_ref(),
        }
    }

    pub(crate) fn tick(&self) -> Timestamp {
        self.clock.advance(Duration::from_secs(1));
        self.clock.now()
    }

    pub(crate) fn builder(&self, records: u64) -> BatchBuilder {
        let mut builder = BatchBuilder::new(BatchLimits::default(), self.previous.as_ref());
        for _ in 0..records {
            let sequence = builder.next_sequence();
            let at = self.clock.now();
            let bytes = format!("{CANARY} {sequence}").into_bytes();
            let record = RecordBytes { sequence, events_from: at, events_to: at, bytes };
            assert!(builder.push(record).unwrap());
        }
        builder
    }

    /// The next batch, with its payload.
    pub(crate) fn batch(&self, records: u64) -> SealedBatch {
        let builder = self.builder(records);
        let sealed_at = self.tick();
        builder.seal(Act::Batch, self.previous.as_ref(), sealed_at, &self.signer()).unwrap()
    }

    /// The next leaf, of evidence whose payload stays here.
    pub(crate) fn digest(&self, records: u64) -> SealedBatch {
        let builder = self.builder(records);
        let sealed_at = self.tick();
        builder.seal_digest(self.previous.as_ref(), sealed_at, &self.signer()).unwrap().0
    }

    /// The same with another time on it.
    pub(crate) fn digest_at(&self, records: u64, sealed_at: Timestamp) -> SealedBatch {
        let builder = self.builder(records);
        builder.seal_digest(self.previous.as_ref(), sealed_at, &self.signer()).unwrap().0
    }

    pub(crate) fn request(&self, batch: &SealedBatch) -> Append {
        Append {
            log: self.log,
            expected_size: self.size,
            cursor: 1000 + self.size,
            entry: batch.entry.clone(),
            payload: batch.payload.clone(),
        }
    }

    pub(crate) fn advance(&mut self, batch: &SealedBatch) {
        self.previous = Some(batch.reference());
        self.size += 1;
    }

    pub(crate) async fn append(&mut self, archive: &Archive, batch: &SealedBatch) -> Appended {
        let appended = archive.append(self.request(batch)).await.unwrap();
        assert_eq!(appended.index, self.size);
        self.advance(batch);
        appended
    }

    /// Appends `count` leaves without payload, all on their way at once.
    pub(crate) async fn append_digests(&mut self, archive: &Archive, count: u64) {
        let mut waiting = Vec::new();
        for _ in 0..count {
            let batch = self.digest(2);
            waiting.push(archive.submit(self.request(&batch)).await.unwrap());
            self.advance(&batch);
        }
        for pending in waiting {
            archive.answer(pending).await.unwrap();
        }
    }
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every file under `directory`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
