//! Thinning: what only one tenant still needs stays, sealed and at its positions, whatever stops
//! the machine meanwhile; everything else goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use veritwin_domain::TenantId;
use veritwin_log::{FileLog, LogConfig, LogError, Record, Unreadable, is_thinned};

use crate::recovery::{give_back, silenced};
use crate::support::{Fixture, entry, files_in, number, tenant};

const ENTRIES: u64 = 30;

fn small_files(fixture: &Fixture, directory: &Path) -> LogConfig {
    let mut config = fixture.config_in(directory);
    config.file_bytes_max = 500;
    config
}

fn open(fixture: &Fixture, directory: &Path) -> FileLog {
    FileLog::open(small_files(fixture, directory), Vec::new()).unwrap()
}

/// Entry `n` is at position `n`, of tenant 1, 2 or 3 by turns.
async fn filled(fixture: &Fixture) -> FileLog {
    let log = open(fixture, &fixture.path("log"));
    for position in 0..ENTRIES {
        let entry = entry(1 + (position % 3) as u8, position as i64);
        log.append(vec![entry]).await.unwrap();
    }
    log.forget_recent();
    assert!(fixture.files().len() > 4, "{}", fixture.files().len());
    log
}

/// Positions and numbers of everything that is read; positions only ever grow, up to the end.
fn read(log: &FileLog, from: u64) -> Vec<(u64, i64)> {
    let (mut at, mut found) = (from, Vec::new());
    for batch in log.read_from(from).unwrap() {
        let batch = batch.unwrap();
        assert!(batch.first >= at, "{} before {at}", batch.first);
        assert!(!batch.entries.is_empty() || batch.passed > 0);
        found.extend(batch.iter().map(|(position, entry)| (position, number(entry))));
        at = batch.end();
    }
    assert_eq!(at, log.tail_position());
    found
}

fn needs(of: &[(u8, u64)]) -> BTreeMap<TenantId, u64> {
    of.iter().map(|(number, from)| (tenant(*number), *from)).collect()
}

/// Thins as long as there is something to thin.
fn thin(log: &FileLog, front: u64, of: &[(u8, u64)]) -> usize {
    let mut files = 0;
    loop {
        let thinned = log.thin_before(front, &needs(of)).unwrap();
        files += thinned.files;
        if thinned.files == 0 {
            return files;
        }
    }
}

/// Where the files that were not thinned begin.
fn whole_from(directory: &Path) -> u64 {
    let files = files_in(directory);
    let whole = files.iter().find(|path| !is_thinned(path)).unwrap();
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap();
    name.split('-').next().unwrap().parse().unwrap()
}

fn expected(whole_from: u64, own: impl Fn(u64) -> bool) -> Vec<(u64, i64)> {
    let positions = (0..ENTRIES).filter(|at| *at >= whole_from || own(*at));
    positions.map(|at| (at, at as i64)).collect()
}

#[tokio::test]
async fn what_one_tenant_needs_stays_and_the_rest_goes() {
    let fixture = Fixture::new();
    let log = filled(&fixture).await;
    let before = log.size_bytes();
    let files = thin(&log, ENTRIES, &[(1, 4)]);
    let directory = fixture.path("log");
    let whole_from = whole_from(&directory);
    assert_eq!(files, log.thinned_files().len());
    assert!(whole_from > 15, "{whole_from}");
    let own = |at: u64| at.is_multiple_of(3) && at >= 4;
    assert_eq!(read(&log, 0), expected(whole_from, own));
    // In the middle of what is left out, too.
    assert_eq!(read(&log, 7), expected(whole_from, |at| own(at) && at >= 7));
    assert!(log.size_bytes() < before);
    assert_eq!(log.kept_bytes(), log.spooled_bytes(tenant(1)));
    assert!(log.kept_bytes() > 0);
    assert_eq!(log.spooled_bytes(tenant(2)), 0);
    assert_eq!((log.first_position(), log.tail_position()), (0, ENTRIES));
    for path in log.thinned_files() {
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!(FileLog::check_thinned(&path).unwrap(), length);
    }
    drop(log);
    assert_eq!(FileLog::check(&directory).unwrap().unfinished, None);
    let log = open(&fixture, &directory);
    assert_eq!(read(&log, 0), expected(whole_from, own));
    let appended = log.append(vec![entry(2, ENTRIES as i64)]).await.unwrap();
    assert_eq!(appended.first, ENTRIES);
    // Nobody needs it any more: it is cut as it ever was.
    log.truncate_before(whole_from).unwrap();
    assert_eq!((log.first_position(), log.thinned_files().len()), (whole_from, 0));
    log.thin_before(whole_from, &needs(&[])).unwrap();
    assert_eq!(log.kept_bytes(), 0);
}

#[tokio::test]
async fn wherever_a_thinning_stops_nothing_needed_is_lost() {
    let fixture = Fixture::new();
    let log = filled(&fixture).await;
    log.close();
    drop(log);
    let (whole, thinned) = (fixture.path("log"), fixture.path("thinned"));
    copy(&whole, &thinned);
    let log = open(&fixture, &thinned);
    thin(&log, ENTRIES, &[(1, 0), (3, 11)]);
    drop(log);
    let files = fixture.files();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
    for done in 0..=names.len() {
        let stopped = fixture.path("stopped");
        let _ = fs::remove_dir_all(&stopped);
        copy(&whole, &stopped);
        for name in &names[..done] {
            fs::copy(thinned.join(name), stopped.join(name)).unwrap();
        }
        // What a stop in the middle of the next file leaves.
        if let Some(next) = names.get(done) {
            let bytes = fs::read(thinned.join(next)).unwrap();
            fs::write(stopped.join("thinned.new"), &bytes[..bytes.len() / 2]).unwrap();
        }
        let log = open(&fixture, &stopped);
        assert!(!stopped.join("thinned.new").exists());
        let whole_from = whole_from(&stopped);
        let own = |at: u64| at.is_multiple_of(3) || (at % 3 == 2 && at >= 11);
        assert_eq!(read(&log, 0), expected(whole_from, own), "after {done} files");
        // It goes on where it was.
        thin(&log, ENTRIES, &[(1, 0), (3, 11)]);
        assert_eq!(log.tail_position(), ENTRIES);
    }
}

#[tokio::test]
async fn what_is_needed_no_more_goes_from_thin_files_too_and_its_keys_are_named() {
    let fixture = Fixture::new();
    let log = filled(&fixture).await;
    let (_, used) = log.keys_in_use();
    assert_eq!(used.len(), 3);
    fixture.clock.advance(Duration::from_secs(86_400));
    log.append(vec![entry(2, 99)]).await.unwrap();
    let mut unused = Vec::new();
    loop {
        let thinned = log.thin_before(ENTRIES, &needs(&[(1, 0), (3, 0)])).unwrap();
        unused.extend(thinned.deks_unused);
        if thinned.files == 0 {
            break;
        }
    }
    assert_eq!(unused.len(), 1, "the day's key of tenant 2");
    assert!(used.contains(&unused[0]));
    // Tenant 3 is served again, or its key is destroyed.
    let before = log.kept_bytes();
    assert!(thin(&log, ENTRIES, &[(1, 0)]) > 0);
    assert!(log.kept_bytes() < before);
    assert_eq!(log.spooled_bytes(tenant(3)), 0);
    let (_, used) = log.keys_in_use();
    assert_eq!(used.len(), 2, "tenant 1's, and today's of tenant 2");
    assert_eq!(thin(&log, ENTRIES, &[(1, 0)]), 0, "there is nothing to do twice");
}

#[tokio::test]
async fn what_waits_for_a_key_is_read_when_it_returns() {
    let fixture = Fixture::new();
    let directory = fixture.path("log");
    let log = filled(&fixture).await;
    let kek = silenced(&fixture, 1);
    for position in ENTRIES..2 * ENTRIES {
        let entry = entry(1 + (position % 3) as u8, position as i64);
        log.append(vec![entry]).await.unwrap();
    }
    log.forget_recent();
    thin(&log, 2 * ENTRIES, &[(1, 6)]);
    drop(log);
    let log = open(&fixture, &directory);
    let mut closed = 0;
    for batch in log.read_from(0).unwrap() {
        let batch = batch.unwrap();
        for (_, entry) in batch.iter().filter(|(_, entry)| entry.tenant == tenant(1)) {
            assert_eq!(entry.record, Record::Unreadable(Unreadable::KeyUnavailable));
            closed += 1;
        }
    }
    assert!(closed >= 18, "{closed}");
    give_back(&fixture, 1, kek);
    let own: Vec<_> = read(&log, 0).into_iter().filter(|(at, _)| at.is_multiple_of(3)).collect();
    let all: Vec<_> =
        (6..2 * ENTRIES).filter(|at| at.is_multiple_of(3)).map(|at| (at, at as i64)).collect();
    assert_eq!(own, all, "everything, once and in its order");
}

#[tokio::test]
async fn what_thin_files_keep_has_a_bound_and_others_write_on() {
    let fixture = Fixture::new();
    let directory = fixture.path("log");
    drop(filled(&fixture).await);
    let mut config = small_files(&fixture, &directory);
    config.spool_bytes_max = 300;
    let log = FileLog::open(config, Vec::new()).unwrap();
    thin(&log, ENTRIES, &[(1, 0)]);
    let refused = log.append(vec![entry(1, 99)]).await.unwrap_err();
    assert!(matches!(refused, LogError::SpoolFull { max_bytes: 300, .. }), "{refused}");
    log.append(vec![entry(2, 99)]).await.unwrap();
    // What it waited for is over.
    thin(&log, ENTRIES, &[]);
    log.append(vec![entry(1, 100)]).await.unwrap();
}

#[tokio::test]
async fn a_consumer_gets_past_what_is_left_out() {
    let fixture = Fixture::new();
    let directory = fixture.path("log");
    drop(filled(&fixture).await);
    let log = open(&fixture, &directory);
    thin(&log, ENTRIES, &[]);
    assert_eq!(whole_from(&directory), ENTRIES, "nothing is left");
    let mut consumer = log.consumer(0).unwrap();
    while consumer.position() < ENTRIES {
        let batch = consumer.next().await.unwrap().unwrap();
        assert!(batch.entries.is_empty());
    }
    log.append(vec![entry(2, 77)]).await.unwrap();
    let batch = consumer.next().await.unwrap().unwrap();
    assert_eq!((batch.first, number(&batch.entries[0])), (ENTRIES, 77));
    // Of what was thinned nothing is shipped: it was before.
    let part = log.part_after(None, 1 << 20).unwrap().unwrap();
    assert_eq!(part.from.position, ENTRIES);
}

#[tokio::test]
async fn damage_of_a_thin_file_is_named() {
    let fixture = Fixture::new();
    let log = filled(&fixture).await;
    thin(&log, ENTRIES, &[(1, 0)]);
    let path = log.thinned_files().remove(0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = |error: LogError| matches!(error, LogError::Damaged { .. });
    assert!(damaged(FileLog::check_thinned(&path).unwrap_err()));
    let first = log.read_from(0).unwrap().find_map(Result::err).unwrap();
    assert!(damaged(first));
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(damaged(FileLog::check_thinned(&path).unwrap_err()));
    log.close();
    drop(log);
    assert!(damaged(FileLog::check(&fixture.path("log")).unwrap_err()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}
