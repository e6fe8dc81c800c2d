//! Appending and reading back; observers; truncation; the keys of days.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::{CredentialId, DeviceId, Key, RelayMessage, SessionNote, Value};
use veritwin_log::{
    AppendedRange, AttributeScope, Attributes, CommitObserver, Committed, EdgeEntry, Entry,
    FileLog, LogError, Record, Refusal, SessionEvent, SessionEventKind,
};

use crate::support::{Fixture, START, entry, number, numbers, tenant};

#[tokio::test]
async fn entries_come_back_in_order_after_a_restart() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let first = log.append(vec![entry(1, 0), entry(2, 1)]).await.unwrap();
    assert_eq!(first, AppendedRange { first: 0, count: 2, is_shown: true });
    let second = log.append(vec![entry(1, 2)]).await.unwrap();
    assert_eq!(second, AppendedRange { first: 2, count: 1, is_shown: true });
    assert_eq!(numbers(&log, 0), [0, 1, 2]);
    drop(log);
    let log = fixture.open();
    assert_eq!((log.first_position(), log.tail_position()), (0, 3));
    assert_eq!(log.append(vec![entry(3, 3)]).await.unwrap().first, 3);
    assert_eq!(numbers(&log, 0), [0, 1, 2, 3]);
    assert_eq!(numbers(&log, 1), [1, 2, 3], "from inside a group");
    assert_eq!(numbers(&log, 4), [] as [i64; 0]);
    assert!(matches!(log.read_from(5), Err(LogError::BeyondTail { requested: 5, tail: 4 })));
    assert!(matches!(fixture.try_open(&fixture.path("log")), Err(LogError::Locked(_))));
}

#[tokio::test]
async fn every_kind_of_record_comes_back() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let device = DeviceId::from_bytes([7; 16]);
    let credential = CredentialId::from_bytes([8; 16]);
    let key = Key::new("setpoint").unwrap();
    let attributes = Attributes {
        device,
        scope: AttributeScope::Shared,
        received_at: START,
        entries: vec![(key.clone(), Some(Value::Double(21.5))), (key.clone(), None)],
    };
    let kind = SessionEventKind::Connected;
    let session = SessionEvent { device, credential, kind, at: START };
    let refusal =
        Refusal { device, credential, at: START, key: Some(key), reason: "deny_list".into() };
    let records = [
        entry(1, 0).record,
        Record::Attributes(attributes),
        Record::Session(session),
        Record::Refusal(refusal),
        Record::Relay(Arc::new(RelayMessage {
            tenant: tenant(1),
            device,
            credential,
            received_at: START,
            expires_at: Some(START),
            topic: "plant/line".into(),
            properties: b"\x01\x01"[..].into(),
            payload: b"on"[..].into(),
            qos: 2,
            retain: true,
            hops: 1,
        })),
        Record::Note(SessionNote { tenant: tenant(1), device, body: b"\x00on"[..].into() }),
        Record::Edge(EdgeEntry {
            device,
            credential,
            received_at: START,
            statement: b"\x01\x01"[..].into(),
        }),
    ];
    let entries = records.map(|record| Entry { tenant: tenant(1), record }).to_vec();
    log.append(entries.clone()).await.unwrap();
    let batches: Vec<_> = log.read_from(0).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    let read: Vec<Entry> = batches[0].entries.iter().map(|entry| (**entry).clone()).collect();
    assert_eq!(read, entries);
}

struct Recorder {
    name: &'static str,
    seen: Arc<Mutex<Vec<(&'static str, i64)>>>,
}

impl CommitObserver for Recorder {
    fn committed(&mut self, batch: &Arc<Committed>) {
        let mut seen = self.seen.lock();
        seen.extend(batch.entries.iter().map(|entry| (self.name, number(entry))));
    }
}

#[tokio::test]
async fn observers_have_seen_what_is_acknowledged_in_their_order() {
    let fixture = Fixture::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer =
        |name| Box::new(Recorder { name, seen: Arc::clone(&seen) }) as Box<dyn CommitObserver>;
    let log = FileLog::open(fixture.config(), vec![observer("a"), observer("b")]).unwrap();
    for number in 0..20 {
        log.append(vec![entry(1, number)]).await.unwrap();
        let seen = seen.lock().clone();
        assert_eq!(&seen[seen.len() - 2..], [("a", number), ("b", number)]);
    }
    assert_eq!(seen.lock().len(), 40, "nothing twice");
}

#[tokio::test]
async fn bad_appends_are_refused_whole() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.append_bytes_max = 200;
    let log = FileLog::open(config, Vec::new()).unwrap();
    assert!(matches!(log.append(Vec::new()).await, Err(LogError::Entry { index: 0, .. })));
    let stranger = Entry { tenant: tenant(2), record: entry(1, 0).record };
    let mixed = log.append(vec![entry(1, 0), stranger]).await;
    assert!(matches!(mixed, Err(LogError::Entry { index: 1, .. })), "{mixed:?}");
    let many = (0..20).map(|number| entry(1, number)).collect();
    assert!(matches!(log.append(many).await, Err(LogError::TooLarge { max_bytes: 200, .. })));
    assert_eq!(log.tail_position(), 0);
    let mut config = fixture.config_in(&fixture.path("other"));
    config.queue_bytes_max = 0;
    assert!(matches!(FileLog::open(config, Vec::new()), Err(LogError::Configuration(_))));
}

#[tokio::test]
async fn a_tenant_without_key_does_not_stop_the_others() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0), entry(2, 1)]).await.unwrap();
    fixture.keys.revoke(tenant(1)).unwrap();
    let (first, second, third, fourth) = tokio::join!(
        log.append(vec![entry(1, -1)]),
        log.append(vec![entry(2, 2)]),
        log.append(vec![entry(2, -1), entry(9, -1)]),
        log.append(vec![entry(3, 3)]),
    );
    assert!(matches!(first, Err(LogError::Key { tenant: t, .. }) if t == tenant(1)));
    assert!(matches!(third, Err(LogError::Key { tenant: t, .. }) if t == tenant(9)));
    assert_eq!((second.unwrap().first, fourth.unwrap().first), (2, 3));
    fixture.keys.restore(tenant(1)).unwrap();
    log.append(vec![entry(1, 4)]).await.unwrap();
    assert_eq!(numbers(&log, 0), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn truncation_deletes_whole_files_and_names_keys_of_past_days() {
    let fixture = Fixture::new();
    let log = fixture.open();
    log.append(vec![entry(1, 0)]).await.unwrap();
    fixture.clock.advance(Duration::from_secs(86_400));
    log.append(vec![entry(1, 1), entry(2, 2)]).await.unwrap();
    drop(log);
    let log = fixture.open();
    log.append(vec![entry(1, 3)]).await.unwrap();
    assert_eq!(fixture.files().len(), 3, "a new day and a new start begin new files");

    assert_eq!(log.truncate_before(0).unwrap().files_deleted, 0);
    let first = log.truncate_before(2).unwrap();
    assert_eq!((first.files_deleted, first.deks_unused.len()), (1, 1));
    assert_eq!((log.first_position(), fixture.files().len()), (1, 2));
    assert!(matches!(log.read_from(0), Err(LogError::Truncated { requested: 0, first: 1 })));
    // The key of the first day is of no more use; today's keys are kept.
    let method = veritwin_keys::DestructionMethod::KeyDestroyed;
    fixture.keys.destroy(&first.deks_unused, method).unwrap();
    assert_eq!(numbers(&log, 1), [1, 2, 3]);
    let second = log.truncate_before(100).unwrap();
    assert_eq!((second.files_deleted, second.deks_unused), (1, Vec::new()));
    assert_eq!(numbers(&log, 3), [3]);
    // The position survives even when every entry is gone.
    drop(log);
    let log = fixture.open();
    log.truncate_before(4).unwrap();
    drop(log);
    assert_eq!(fixture.files().len(), 1);
    let log = fixture.open();
    assert_eq!((log.first_position(), log.tail_position()), (4, 4));
    assert_eq!(log.append(vec![entry(1, 4)]).await.unwrap().first, 4);
}

#[tokio::test]
async fn full_files_are_followed_by_new_ones() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 1000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    for number in 0..50 {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    assert!(fixture.files().len() > 4);
    let expected: Vec<i64> = (0..50).collect();
    assert_eq!(numbers(&log, 0), expected);
    assert_eq!(numbers(&log, 33), expected[33..]);
    drop(log);
    assert_eq!(numbers(&fixture.open(), 0), expected);
}
