//! The machine stops while the log is written: the last file is cut anywhere. And damage that no
//! crash makes: it is named, never skipped.

use std::path::{Path, PathBuf};

use veritwin_keys::tail;
use veritwin_log::{FileLog, LogError};

use crate::support::{Fixture, entry, files_in, numbers};

/// A log of ten commits in one file: the file, and its length after each commit.
async fn ten_commits(fixture: &Fixture) -> (PathBuf, Vec<u64>) {
    let log = fixture.open();
    let file = fixture.files().remove(0);
    let mut lengths = Vec::new();
    for commit in 0..10 {
        let entries = vec![entry(1, 2 * commit), entry(2, 2 * commit + 1)];
        log.append(entries).await.unwrap();
        lengths.push(std::fs::metadata(&file).unwrap().len());
    }
    (file, lengths)
}

/// A new log directory that holds only this file.
fn directory_with(fixture: &Fixture, file: &Path, bytes: &[u8]) -> PathBuf {
    let directory = fixture.path("copy");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join(file.file_name().unwrap()), bytes).unwrap();
    directory
}

#[tokio::test]
async fn wherever_the_last_file_is_cut_every_acknowledged_entry_is_there() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let bytes = std::fs::read(&file).unwrap();
    let near_boundary =
        |cut: usize| lengths.iter().any(|length| cut.abs_diff(*length as usize) < 2);
    for cut in (0..=bytes.len()).filter(|cut| cut % 23 == 0 || *cut < 46 || near_boundary(*cut)) {
        let directory = directory_with(&fixture, &file, &bytes[..cut]);
        let log = fixture.try_open(&directory).unwrap();
        let commits = lengths.iter().filter(|length| **length <= cut as u64).count() as i64;
        let expected: Vec<i64> = (0..2 * commits).collect();
        assert_eq!(numbers(&log, 0), expected, "cut at {cut}");
        let appended = log.append(vec![entry(3, 2 * commits)]).await.unwrap();
        assert_eq!(appended.first, 2 * commits as u64, "cut at {cut}");
        drop(log);
        let log = fixture.try_open(&directory).unwrap();
        assert_eq!(log.tail_position(), 2 * commits as u64 + 1);
        assert_eq!(numbers(&log, 0).len() as u64, log.tail_position());
    }
}

#[tokio::test]
async fn a_last_commit_of_which_only_the_end_reached_the_disk_is_cut() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let last = lengths[8] as usize;
    for hole in [last..last + 20, last + 40..last + 60] {
        bytes[hole].fill(0);
        let log = fixture.try_open(&directory_with(&fixture, &file, &bytes)).unwrap();
        assert_eq!(numbers(&log, 0).len(), 18);
    }
}

#[tokio::test]
async fn what_is_cut_is_kept_beside_the_file() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let bytes = std::fs::read(&file).unwrap();
    let last = lengths[8] as usize;
    let check = |damaged: &[u8], what: &str| {
        let directory = directory_with(&fixture, &file, damaged);
        let looked = FileLog::check(&directory).unwrap().unfinished.unwrap();
        assert_eq!((looked.0.file_name(), looked.1), (file.file_name(), last as u64), "{what}");
        assert_eq!(std::fs::read(&looked.0).unwrap(), damaged, "{what}: a look changes nothing");
        let log = fixture.try_open(&directory).unwrap();
        assert_eq!(numbers(&log, 0).len(), 18, "{what}");
        let kept = tail::kept(&directory).unwrap();
        assert_eq!(std::fs::read(&kept[0]).unwrap(), damaged[last..], "{what}");
        // Put back in its place, the platform stopped, it is read again.
        drop(log);
        assert_eq!(FileLog::check(&directory).unwrap().unfinished, None, "{what}");
    };
    check(&bytes[..bytes.len() - 1], "a short group");
    let mut wrong = bytes.clone();
    *wrong.last_mut().unwrap() ^= 1;
    check(&wrong, "a wrong last byte");
    let mut wrong = bytes.clone();
    wrong[last] ^= 1;
    check(&wrong, "a wrong header");
}

#[tokio::test]
async fn a_log_that_was_closed_is_never_cut() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let bytes = std::fs::read(&file).unwrap();
    let directory = fixture.path("log");
    let check = |damaged: &[u8], expected: u64| {
        std::fs::write(&file, damaged).unwrap();
        for error in
            [fixture.try_open(&directory).unwrap_err(), FileLog::check(&directory).unwrap_err()]
        {
            assert!(
                matches!(&error, LogError::Damaged { offset, .. } if *offset == expected),
                "{error}, expected {expected}"
            );
        }
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "left as it was");
    };
    for at in lengths[8] as usize..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        check(&wrong, lengths[8]);
    }
    for cut in [lengths[8], lengths[8] + 1, lengths[9] - 1, 44, 43] {
        check(&bytes[..cut as usize], if cut < 44 { 0 } else { cut });
    }
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(numbers(&fixture.open(), 0).len(), 20);
    assert_eq!(tail::kept(&directory).unwrap().len(), 0);
}

#[tokio::test]
async fn a_look_finds_damage_in_the_middle() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    fixture.open().append(vec![entry(1, 20)]).await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[lengths[4] as usize - 1] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = FileLog::check(&fixture.path("log")).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { offset, .. } if *offset == lengths[3]), "{error}");
}

#[tokio::test]
async fn damage_before_the_last_commit_is_named() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let bytes = std::fs::read(&file).unwrap();
    for at in (0..lengths[8] as usize).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let directory = directory_with(&fixture, &file, &damaged);
        let group_start = lengths.iter().rev().find(|length| **length <= at as u64);
        let expected = if at < 44 { 0 } else { *group_start.unwrap_or(&44) };
        match fixture.try_open(&directory) {
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!((path.file_name(), offset), (file.file_name(), expected), "at {at}");
            }
            other => panic!("flip at {at}: {other:?}"),
        }
        assert_eq!(std::fs::read(&files_in(&directory)[0]).unwrap(), damaged, "left as it was");
    }
}

#[tokio::test]
async fn damage_in_an_older_file_is_named_when_it_is_read() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let log = fixture.open();
    log.append(vec![entry(1, 20)]).await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = lengths[4] as usize + 50;
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let mut reader = log.read_from(0).unwrap();
    for _ in 0..5 {
        reader.next().unwrap().unwrap();
    }
    let error = reader.next().unwrap().unwrap_err();
    assert!(matches!(&error, LogError::Damaged { offset, .. } if *offset == lengths[4]), "{error}");
    assert!(reader.next().is_none(), "nothing is read past damage");
    // What does not touch the damage can be read.
    assert_eq!(numbers(&log, 12).len(), 9);
}

#[tokio::test]
async fn a_missing_file_is_noticed() {
    let fixture = Fixture::new();
    for number in 0..3 {
        fixture.open().append(vec![entry(1, number)]).await.unwrap();
    }
    std::fs::remove_file(&fixture.files()[1]).unwrap();
    let error = fixture.try_open(&fixture.path("log")).unwrap_err();
    assert!(error.to_string().contains("begins at position 2, expected 1"), "{error}");
}

#[tokio::test]
async fn entries_of_one_file_do_not_pass_in_another() {
    let fixture = Fixture::new();
    let (file, lengths) = ten_commits(&fixture).await;
    let bytes = std::fs::read(&file).unwrap();
    // The second commit's bytes once more after the last: a right checksum in the wrong place.
    let again = &bytes[lengths[0] as usize..lengths[1] as usize];
    let directory = directory_with(&fixture, &file, &[&bytes, again].concat());
    let error = fixture.try_open(&directory).unwrap_err();
    assert!(error.to_string().contains("begins at position 2, expected 20"), "{error}");
}

#[tokio::test]
async fn an_unfinished_file_is_found_where_the_clock_was_set_back() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let whole = fixture.files().remove(0);
    // Of the same position, and by its id made before the one that is whole.
    let id = "00000000-0000-0000-0000-000000000000";
    let unfinished = whole.with_file_name(format!("{:020}-{id}.vtlog", 0));
    for bytes in [&b""[..], b"VTLOG", &[0; 44]] {
        std::fs::write(&unfinished, bytes).unwrap();
        assert_eq!(fixture.files()[0], unfinished);
        let looked = FileLog::check(&fixture.path("log")).unwrap();
        assert_eq!(looked.unfinished, Some((unfinished.clone(), 0)));
        let log = fixture.open();
        assert!(!unfinished.exists());
        assert_eq!(numbers(&log, 0), [0i64; 0]);
    }
    fixture.open().append(vec![entry(1, 0)]).await.unwrap();
    assert_eq!(numbers(&fixture.open(), 0), [0]);
}
