//! Log files of every format that was ever written, kept in `tests/golden`: what is read out of
//! them stays the same. `VERITWIN_GOLDEN_WRITE=v2` writes those of today's format into a new
//! folder; one that is there is never written again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, ManualClock, Quality, Reading, RelayMessage,
    SeededRng, SessionNote, Timestamp, Value,
};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_log::{
    AttributeScope, Attributes, EdgeEntry, Entry, FileLog, LogConfig, Record, Refusal,
    SessionEvent, SessionEventKind,
};

use crate::support::{Fixture, START, entry_of, tenant};

const WRITE: &str = "VERITWIN_GOLDEN_WRITE";
const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);
const CREDENTIAL: CredentialId = CredentialId::from_bytes([8; 16]);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("golden")
}

fn readings() -> Record {
    let values = [
        Value::Double(-0.5),
        Value::Double(1e300),
        Value::Integer(i64::MIN),
        Value::Boolean(true),
        Value::Boolean(false),
        Value::Text("空調 · idle".into()),
        Value::Json("{\"a\":[1,2]}".into()),
    ];
    let readings = values.into_iter().zip(0u8..).map(|(value, number)| Reading {
        key: Key::new(&format!("key-{}", number % 5)).unwrap(),
        at: Timestamp::from_micros([START.as_micros(), -1, i64::MAX][usize::from(number) % 3]),
        value,
        quality: Quality::from_u8(number % 3).unwrap(),
    });
    Record::Readings(DeviceBatch {
        tenant: tenant(1),
        device: DEVICE,
        credential: CREDENTIAL,
        received_at: START,
        readings: readings.collect(),
    })
}

fn relay(qos: u8) -> Record {
    Record::Relay(Arc::new(RelayMessage {
        tenant: tenant(1),
        device: DEVICE,
        credential: CREDENTIAL,
        received_at: START,
        expires_at: (qos == 1).then_some(START),
        topic: "plant/line".into(),
        properties: b"\x01\x01"[..].into(),
        payload: b"\0\xff"[..].into(),
        qos,
        retain: qos == 2,
        hops: qos,
    }))
}

fn attributes(scope: AttributeScope) -> Record {
    let entries = vec![
        (Key::new("gone").unwrap(), None),
        (Key::new("name").unwrap(), Some(Value::Text("pump".into()))),
    ];
    Record::Attributes(Attributes { device: DEVICE, scope, received_at: START, entries })
}

fn session(kind: SessionEventKind) -> Record {
    Record::Session(SessionEvent { device: DEVICE, credential: CREDENTIAL, kind, at: START })
}

/// One of every record, and entries of other tenants between them.
fn entries() -> Vec<Entry> {
    let refusal = |key| {
        let reason = "deny_list".into();
        Record::Refusal(Refusal { device: DEVICE, credential: CREDENTIAL, at: START, key, reason })
    };
    let records = vec![
        readings(),
        attributes(AttributeScope::Client),
        attributes(AttributeScope::Shared),
        attributes(AttributeScope::Server),
        session(SessionEventKind::Connected),
        session(SessionEventKind::Disconnected),
        session(SessionEventKind::Lost),
        refusal(None),
        refusal(Key::new("t").ok()),
        relay(0),
        relay(1),
        relay(2),
        Record::Note(SessionNote { tenant: tenant(1), device: DEVICE, body: b"note"[..].into() }),
        Record::Edge(EdgeEntry {
            device: DEVICE,
            credential: CREDENTIAL,
            received_at: START,
            statement: b"a statement"[..].into(),
        }),
    ];
    let mut entries = Vec::new();
    for (record, number) in records.into_iter().zip(0i64..) {
        entries.push(Entry { tenant: tenant(1), record });
        entries.push(entry_of(2 + (number % 2) as u8, number, 3));
    }
    entries
}

/// Writes the files of today's format.
async fn write(version: &str) {
    let target = golden().join(version);
    assert!(!target.exists(), "{} is there: the files of a version stay", target.display());
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 1500;
    let log = FileLog::open(config, Vec::new()).unwrap();
    for two in entries().chunks(2) {
        log.append(two.to_vec()).await.unwrap();
    }
    drop(log);
    assert!(fixture.files().len() > 1);
    copy(fixture.directory.path(), &target);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Reads the files of one version with today's code.
async fn read(folder: &Path) {
    let name = folder.display();
    let directory = tempfile::tempdir().unwrap();
    copy(folder, directory.path());
    let root = directory.path().join("root.key");
    // What is checked out has no private mode.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let rng = Arc::new(SeededRng::new(77));
    let root = PlatformFile::open(&root, rng.clone()).unwrap();
    let ring = directory.path().join("keyring");
    let keys = KeyService::open(Box::new(root), &ring, clock.clone(), rng.clone()).unwrap();
    let log_directory = directory.path().join("log");
    assert_eq!(FileLog::check(&log_directory).unwrap().unfinished, None, "{name}");
    let config = LogConfig::new(log_directory, keys, clock, rng);
    let log = FileLog::open(config, Vec::new()).unwrap();
    let mut expected = entries();
    let more = entry_of(3, 99, 1);
    log.append(vec![more.clone()]).await.unwrap();
    expected.push(more);
    let read: Vec<Entry> = log
        .read_from(0)
        .unwrap()
        .flat_map(|batch| batch.unwrap().entries.clone())
        .map(|entry| Entry::clone(&entry))
        .collect();
    assert_eq!(read, expected, "{name}");
}

#[tokio::test]
async fn every_version_is_read() {
    if let Ok(version) = std::env::var(WRITE) {
        write(&version).await;
    }
    let mut versions: Vec<PathBuf> = fs::read_dir(golden())
        .unwrap_or_else(|_| panic!("no golden files: {WRITE}=v1 writes them"))
        .map(|item| item.unwrap().path())
        .collect();
    versions.sort();
    assert!(!versions.is_empty(), "no golden files: {WRITE}=v1 writes them");
    for version in versions {
        read(&version).await;
    }
}
