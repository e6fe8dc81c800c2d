//! Parts of a log put together elsewhere are the log again, and a cut at a moment leaves what was
//! received by then and nothing later.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use veritwin_domain::Timestamp;
use veritwin_keys::{DataClass, DestructionMethod};
use veritwin_log::{Entry, FileLog, LogError, MomentBounds, PartPlace, Record};

use crate::support::{Fixture, START, entry, files_in, numbers, tenant};

/// An entry that was received so many seconds after the start.
fn received(number: i64, seconds: u64) -> Entry {
    let mut entry = entry(1 + u8::try_from(number % 3).unwrap(), number);
    if let Record::Readings(batch) = &mut entry.record {
        batch.received_at = at(seconds);
    }
    entry
}

fn at(seconds: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(seconds))
}

/// Cut at a moment, everything opened.
const fn bounds(at: Timestamp, keep: u64) -> MomentBounds {
    MomentBounds { at, keep, open_from: 0 }
}

/// Copies everything after a place, in small parts.
fn ship(log: &FileLog, to: &Path, mut place: Option<PartPlace>) -> Option<PartPlace> {
    std::fs::create_dir_all(to).unwrap();
    while let Some(part) = log.part_after(place, 64).unwrap() {
        if let Some(before) = place.filter(|before| before.file == part.from.file) {
            assert_eq!(part.from, before);
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(to.join(&part.name));
        file.unwrap().write_all_at(&part.bytes, part.from.offset).unwrap();
        place = Some(part.to);
    }
    place
}

#[tokio::test]
async fn parts_are_the_log_again() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 600;
    let log = FileLog::open(config, Vec::new()).unwrap();
    let copy = fixture.path("copy");
    assert_eq!(log.part_after(None, 64).unwrap(), None, "an empty file is no part");
    let mut place = None;
    for number in 0..20 {
        log.append(vec![entry(1, number)]).await.unwrap();
        if number % 3 == 0 {
            place = ship(&log, &copy, place);
        }
    }
    // What was shipped may be cut; the rest is found behind it.
    let shipped = place.unwrap();
    log.truncate_before(shipped.position).unwrap();
    let end = ship(&log, &copy, place).unwrap();
    assert_eq!(end.position, 20);
    assert!(files_in(&copy).len() > 2, "it is of several files");
    drop(log);
    let log = fixture.try_open(&copy).unwrap();
    assert_eq!(numbers(&log, 0), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_cut_before_it_was_shipped_is_an_error() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 200;
    let log = FileLog::open(config, Vec::new()).unwrap();
    log.append(vec![entry(1, 0)]).await.unwrap();
    let first = log.part_after(None, 64).unwrap().unwrap();
    for number in 1..20 {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    log.truncate_before(20).unwrap();
    let gone = log.part_after(Some(first.to), 64);
    assert!(matches!(gone, Err(LogError::Truncated { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_moment_leaves_what_was_received_by_then() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 600;
    let log = FileLog::open(config, Vec::new()).unwrap();
    for number in 0..20 {
        let seconds = u64::try_from(number).unwrap();
        log.append(vec![received(number, seconds)]).await.unwrap();
    }
    // Became durable together: goes together.
    log.append(vec![received(20, 20), received(21, 30)]).await.unwrap();
    let check = |name: &str, moment: Timestamp, keep: u64, left: i64, next: Option<u64>| {
        let copy = fixture.path(name);
        ship(&log, &copy, None);
        let cut = FileLog::cut_at(&copy, &fixture.keys, bounds(moment, keep)).unwrap();
        assert_eq!(cut.next, next.map(at), "{name}");
        assert_eq!(cut.end_position, u64::try_from(left).unwrap(), "{name}");
        let cut = fixture.try_open(&copy).unwrap();
        assert_eq!(numbers(&cut, 0), (0..left).collect::<Vec<_>>(), "{name}");
    };
    check("middle", at(7), 0, 8, Some(8));
    check("group", at(25), 0, 20, Some(30));
    check("kept", at(7), 12, 12, Some(12));
    check("all", at(30), 0, 22, None);
    let before = START.saturating_sub(Duration::from_secs(1));
    check("nothing", before, 0, 0, Some(0));
}

#[tokio::test]
async fn a_torn_end_is_cut_and_damage_is_named() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..4 {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    let copy = fixture.path("copy");
    ship(&log, &copy, None);
    let file = files_in(&copy).pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let cut = FileLog::cut_at(&copy, &fixture.keys, bounds(at(9), 0)).unwrap();
    assert_eq!((cut.end_position, cut.next), (3, None));
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    let error = FileLog::cut_at(&copy, &fixture.keys, bounds(at(9), 0)).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn what_no_key_opens_stays_and_is_counted() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..6 {
        log.append(vec![entry(1 + u8::try_from(number % 2).unwrap(), number)]).await.unwrap();
    }
    let (_, used) = log.keys_in_use();
    assert_eq!(used.len(), 2, "a key for each tenant");
    let copy = fixture.path("copy");
    ship(&log, &copy, None);
    let cut = |open_from| {
        let bounds = MomentBounds { at: at(9), keep: 4, open_from };
        FileLog::cut_at(&copy, &fixture.keys, bounds).unwrap()
    };
    assert_eq!(cut(0).closed, 0);
    let of_first = fixture.keys.day_keys(DataClass::Log).into_iter();
    let gone: Vec<_> = of_first.filter(|key| key.tenant == tenant(1)).map(|key| key.dek).collect();
    assert!(gone.iter().all(|dek| used.contains(dek)));
    fixture.keys.destroy(&gone, DestructionMethod::KeyDestroyed).unwrap();
    let left = cut(0);
    assert_eq!((left.closed, left.end_position, left.next), (3, 6, None));
    assert_eq!(cut(2).closed, 2, "what the base holds is not opened");
}

#[tokio::test]
async fn bytes_are_counted_from_the_file_that_holds_a_position() {
    let fixture = Fixture::new();
    let mut config = fixture.config();
    config.file_bytes_max = 600;
    let log = FileLog::open(config, Vec::new()).unwrap();
    for number in 0..20 {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    assert_eq!(log.bytes_from(0), log.size_bytes());
    let length = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().len();
    let files = fixture.files();
    assert!(files.len() > 2, "it is of several files");
    assert_eq!(log.bytes_from(20), length(&files[files.len() - 1]));
    assert_eq!(log.bytes_from(u64::MAX - 1), length(&files[files.len() - 1]));
}

#[tokio::test]
async fn a_keyring_of_before_the_keys_is_an_error() {
    let fixture = Fixture::new();
    let log = fixture.open();
    for number in 0..3 {
        log.append(vec![entry(1, number)]).await.unwrap();
    }
    let copy = fixture.path("copy");
    ship(&log, &copy, None);
    // The same tenants, and no key of a day.
    let before = Fixture::new();
    let error = FileLog::cut_at(&copy, &before.keys, bounds(at(9), 0)).unwrap_err();
    assert!(error.to_string().contains("is not in the keyring"), "{error}");
    assert_eq!(FileLog::cut_at(&copy, &fixture.keys, bounds(at(9), 0)).unwrap().closed, 0);
}
