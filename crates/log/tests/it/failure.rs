//! A disk that fails or hangs: nothing is acknowledged that is not durable, nothing is retried, the
//! queue keeps its bound.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use veritwin_log::{
    AppendedRange, CommitObserver, Committed, DiskStorage, FileLog, LogConfig, LogError, LogWrite,
    Storage,
};

use crate::support::{Fixture, entry, entry_of, numbers, tenant};

/// What the disk does from now on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Works,
    FailsToSync,
    FailsToWrite,
    Full,
    Hangs,
}

#[derive(Debug, Default)]
struct Disk {
    mood: Mutex<Option<Mood>>,
    hanging: Mutex<usize>,
    changed: Condvar,
}

impl Disk {
    fn set(&self, mood: Mood) {
        *self.mood.lock() = Some(mood);
        self.changed.notify_all();
    }

    fn mood(&self) -> Mood {
        self.mood.lock().unwrap_or(Mood::Works)
    }

    /// Waits until a write hangs.
    fn wait_for_hang(&self) {
        let mut hanging = self.hanging.lock();
        while *hanging == 0 {
            self.changed.wait(&mut hanging);
        }
    }
}

#[derive(Debug)]
struct MoodyStorage(Arc<Disk>);

struct MoodyFile {
    disk: Arc<Disk>,
    file: Box<dyn LogWrite>,
}

impl Storage for MoodyStorage {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogWrite>> {
        let file = DiskStorage.create(path)?;
        Ok(Box::new(MoodyFile { disk: Arc::clone(&self.0), file }))
    }
}

impl LogWrite for MoodyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let failure = match self.disk.mood() {
            Mood::FailsToWrite => io::Error::other("device failed"),
            Mood::Full => io::Error::from(io::ErrorKind::StorageFull),
            _ => return self.file.write_all(bytes),
        };
        self.file.write_all(&bytes[..bytes.len() / 2])?;
        Err(failure)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if self.disk.mood() == Mood::Hangs {
            *self.disk.hanging.lock() += 1;
            self.disk.changed.notify_all();
            let mut mood = self.disk.mood.lock();
            while *mood == Some(Mood::Hangs) {
                self.disk.changed.wait(&mut mood);
            }
        }
        if self.disk.mood() == Mood::FailsToSync {
            return Err(io::Error::other("device failed"));
        }
        self.file.sync_data()
    }
}

fn moody(fixture: &Fixture) -> (Arc<Disk>, LogConfig) {
    let disk = Arc::new(Disk::default());
    let mut config = fixture.config();
    config.storage = Arc::new(MoodyStorage(Arc::clone(&disk)));
    (disk, config)
}

async fn check_poisoned(mood: Mood, expected: &str) {
    let fixture = Fixture::new();
    let (disk, config) = moody(&fixture);
    let log = FileLog::open(config, Vec::new()).unwrap();
    log.append(vec![entry(1, 0)]).await.unwrap();
    let mut consumer = log.consumer(0).unwrap();
    disk.set(mood);
    let error = log.append(vec![entry(1, 1)]).await.unwrap_err();
    assert!(matches!(error, LogError::Poisoned(_)), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    disk.set(Mood::Works);
    let error = log.append(vec![entry(1, 2)]).await.unwrap_err();
    assert!(matches!(error, LogError::Poisoned(_)), "not even when the disk works again: {error}");
    assert!(log.is_poisoned());
    assert_eq!((log.tail_position(), log.queued_bytes()), (1, 0));
    // What was acknowledged can still be read, live and after a restart.
    assert_eq!(numbers(&log, 0), [0]);
    assert_eq!(consumer.next().await.unwrap().unwrap().end(), 1);
    assert!(matches!(consumer.next().await, Err(LogError::Poisoned(_))));
    drop(log);
    let log = fixture.open();
    assert!(log.tail_position() >= 1);
    assert_eq!(numbers(&log, 0)[0], 0);
    let tail = log.tail_position();
    assert_eq!(log.append(vec![entry(1, 3)]).await.unwrap().first, tail);
}

#[tokio::test]
async fn a_failed_fdatasync_poisons_the_log() {
    check_poisoned(Mood::FailsToSync, "device failed").await;
}

#[tokio::test]
async fn a_failed_write_poisons_the_log() {
    check_poisoned(Mood::FailsToWrite, "device failed").await;
}

/// Twice full, with `before` durable entries: the log goes on when there is space.
async fn check_full(before: i64) {
    let fixture = Fixture::new();
    let (disk, config) = moody(&fixture);
    let log = FileLog::open(config, Vec::new()).unwrap();
    let mut consumer = log.consumer(0).unwrap();
    for number in 0..before {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    disk.set(Mood::Full);
    for _ in 0..3 {
        let error = log.append(vec![entry(1, 900)]).await.unwrap_err();
        assert!(matches!(error, LogError::Full(_)), "{error}");
    }
    assert!(!log.is_poisoned());
    assert!(log.full().is_some(), "said while it lasts");
    disk.set(Mood::Works);
    let first = u64::try_from(before).unwrap();
    for number in [before, before + 1] {
        log.append(vec![entry(1, number), entry(2, number)]).await.unwrap();
        assert_eq!(log.full(), None);
    }
    disk.set(Mood::Full);
    log.append(vec![entry(2, 901)]).await.unwrap_err();
    disk.set(Mood::Works);
    // The log looks for space by itself: nothing has to be appended for it.
    while log.full().is_some() {
        tokio::task::yield_now().await;
    }
    log.append(vec![entry(2, before + 2)]).await.unwrap();
    let expected: Vec<i64> =
        (0..before).chain([before, before, before + 1, before + 1, before + 2]).collect();
    assert_eq!(numbers(&log, 0), expected);
    assert_eq!(log.tail_position(), first + 5);
    while consumer.position() < log.tail_position() {
        consumer.next().await.unwrap().unwrap();
    }
    drop(log);
    // Every file ends with a whole group, so that the log opens and nothing refused is in it.
    let log = fixture.open();
    assert_eq!(numbers(&log, 0), expected);
    assert_eq!(log.append(vec![entry(1, 7)]).await.unwrap().first, first + 5);
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_log_goes_on_with_space() {
    for before in [0, 1, 3] {
        check_full(before).await;
    }
}

type Append<'a> = Pin<Box<dyn Future<Output = Result<AppendedRange, LogError>> + Send + 'a>>;

fn is_pending(append: &mut Append<'_>) -> bool {
    append.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn the_queue_keeps_its_bound_and_goes_on() {
    let fixture = Fixture::new();
    for number in 4..=16 {
        fixture.keys.create_tenant(tenant(number)).unwrap();
    }
    let (disk, mut config) = moody(&fixture);
    config.queue_bytes_max = 100_000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    disk.set(Mood::Hangs);
    // Each takes about 6 kB of the queue, so that most of them have to wait for room.
    let number_of = |number: i64| u8::try_from(1 + number % 16).unwrap();
    let mut appends: Vec<Append<'_>> = (0..40)
        .map(|number| {
            Box::pin(log.append(vec![entry_of(number_of(number), number, 100)])) as Append<'_>
        })
        .collect();
    assert!(is_pending(&mut appends[0]));
    disk.wait_for_hang();
    for append in &mut appends[1..] {
        assert!(is_pending(append));
    }
    let queued_bytes = log.queued_bytes();
    assert!((90_000..=100_000).contains(&queued_bytes), "{queued_bytes}");
    assert_eq!(log.tail_position(), 0, "nothing is acknowledged while the disk hangs");
    disk.set(Mood::Works);
    let mut places = Vec::new();
    for append in appends {
        places.push(append.await.unwrap().first);
    }
    places.sort_unstable();
    assert_eq!(places, (0..40).collect::<Vec<_>>());
    assert_eq!(numbers(&log, 0).len(), 40);
    // An append that is larger than the queue passes when the queue is empty.
    log.append(vec![entry_of(1, 40, 3000)]).await.unwrap();
    assert_eq!(log.queued_bytes(), 0);
    drop(log);
    assert_eq!(fixture.open().tail_position(), 41);
}

#[tokio::test]
async fn a_tenant_fills_its_share_of_the_queue_and_no_more() {
    let fixture = Fixture::new();
    let (disk, mut config) = moody(&fixture);
    config.queue_bytes_max = 400_000;
    let log = FileLog::open(config, Vec::new()).unwrap();
    disk.set(Mood::Hangs);
    let mut flood: Vec<Append<'_>> = (0..100)
        .map(|number| Box::pin(log.append(vec![entry_of(1, number, 100)])) as Append<'_>)
        .collect();
    assert!(is_pending(&mut flood[0]));
    disk.wait_for_hang();
    for append in &mut flood[1..] {
        assert!(is_pending(append));
    }
    let queued_bytes = log.queued_bytes();
    assert!((40_000..=50_000).contains(&queued_bytes), "an eighth, not {queued_bytes}");
    // Another tenant's append goes into the very next commit.
    let mut calm: Append<'_> = Box::pin(log.append(vec![entry_of(2, 0, 100)]));
    assert!(is_pending(&mut calm));
    assert!(log.queued_bytes() > queued_bytes);
    disk.set(Mood::Works);
    let place = calm.await.unwrap().first;
    assert!(place < 10, "{place}");
    let mut last = None;
    for append in flood {
        let place = append.await.unwrap().first;
        assert!(last < Some(place), "a tenant's own order stays");
        last = Some(place);
    }
}

#[tokio::test]
async fn what_arrives_during_a_commit_forms_the_next() {
    let fixture = Fixture::new();
    let (disk, config) = moody(&fixture);
    let log = FileLog::open(config, Vec::new()).unwrap();
    disk.set(Mood::Hangs);
    let mut appends: Vec<Append<'_>> =
        (0..10).map(|number| Box::pin(log.append(vec![entry(1, number)])) as Append<'_>).collect();
    assert!(is_pending(&mut appends[0]));
    disk.wait_for_hang();
    for append in &mut appends[1..] {
        assert!(is_pending(append));
    }
    disk.set(Mood::Works);
    for append in appends {
        append.await.unwrap();
    }
    let batches: Vec<_> = log.read_from(0).unwrap().map(Result::unwrap).collect();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.entries.len()).collect();
    assert_eq!(sizes, [1, 9]);
}

struct Panicking;

impl CommitObserver for Panicking {
    fn committed(&mut self, batch: &Arc<Committed>) {
        assert_eq!(batch.first, 0, "an observer's mistake");
    }
}

#[tokio::test]
async fn a_panicking_observer_closes_the_log_for_writing() {
    let fixture = Fixture::new();
    let log = FileLog::open(fixture.config(), vec![Box::new(Panicking)]).unwrap();
    log.append(vec![entry(1, 0)]).await.unwrap();
    let error = log.append(vec![entry(1, 1)]).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert!(matches!(log.append(vec![entry(1, 2)]).await, Err(LogError::Poisoned(_))));
}

#[tokio::test]
async fn with_a_delay_a_commit_waits_for_company() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    // Far longer than the test: only the second append, which fills the group, ends the wait.
    config.group_commit_delay = Duration::from_secs(3600);
    config.group_bytes_max = 100;
    let log = FileLog::open(config, Vec::new()).unwrap();
    let mut first: Append<'_> = Box::pin(log.append(vec![entry(1, 0)]));
    assert!(is_pending(&mut first));
    log.append(vec![entry(1, 1)]).await.unwrap();
    first.await.unwrap();
    let batches: Vec<_> = log.read_from(0).unwrap().map(Result::unwrap).collect();
    assert_eq!((batches.len(), batches[0].entries.len()), (1, 2));
}

#[tokio::test]
async fn a_disk_that_fails_a_thinning_fails_nothing_else() {
    let fixture = Fixture::new();
    let (disk, mut config) = moody(&fixture);
    config.file_bytes_max = 1;
    let log = FileLog::open(config, Vec::new()).unwrap();
    for number in 0..4 {
        log.append(vec![entry(1 + (number % 2) as u8, number)]).await.unwrap();
    }
    log.forget_recent();
    let needs = BTreeMap::from([(tenant(1), 0)]);
    for mood in [Mood::Full, Mood::FailsToWrite, Mood::FailsToSync] {
        disk.set(mood);
        assert!(log.thin_before(4, &needs).is_err(), "{mood:?}");
        assert_eq!(log.thinned_files().len(), 0, "{mood:?}");
        assert!(!fixture.path("log").join("thinned.new").exists(), "{mood:?}");
        disk.set(Mood::Works);
        assert_eq!(numbers(&log, 0), [0, 1, 2, 3], "{mood:?}");
    }
    assert_eq!(log.thin_before(4, &needs).unwrap().files, 3);
    log.append(vec![entry(2, 4)]).await.unwrap();
}
