//! Crashes: the journal is cut or damaged at any place, and the archive is opened again.

use std::fs;

use veritwin_keys::tail::kept as kept_files;
use veritwin_ledger::{Archive, ArchiveLimits, LedgerError};
use veritwin_verify::{ExitClass, SignedCheckpoint, VerifyOptions, verify_log};

use crate::fixture::{Submitter, World, copy_directory, files};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_before_the_cut_is_there() {
    let world = World::new(10);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let journal = files(&world.path("archive/journal")).remove(0);
    let length = || fs::metadata(&journal).unwrap().len();
    let mut acknowledged = vec![(length(), 0)];
    for number in 0..12 {
        let batch = if number % 4 == 0 { one.batch(3) } else { one.digest(3) };
        one.append(&archive, &batch).await;
        acknowledged.push((length(), one.size));
    }
    archive.close().await.unwrap();
    drop(archive);
    let (start, end) = (acknowledged[0].0, length());
    let cuts = (start..end).step_by(97).chain(acknowledged.iter().map(|(length, _)| *length));
    for (number, cut) in cuts.enumerate() {
        let copy = world.path(&format!("cut-{number}"));
        copy_directory(&world.path("archive"), &copy);
        let file = copy.join("journal").join(journal.file_name().unwrap());
        // As if it had not been closed.
        fs::remove_file(copy.join("journal/closed")).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let group_end = acknowledged.iter().find(|(length, _)| *length >= cut).unwrap().0;
        // What a power loss leaves behind the last synced byte: nothing, or blocks of zeros.
        let kept = if number % 2 == 0 { cut } else { cut.next_multiple_of(512).min(group_end) };
        bytes.truncate(kept as usize);
        if number % 2 == 1 {
            bytes.resize(group_end as usize, 0);
        }
        fs::write(&file, bytes).unwrap();
        let archive = world.archive_at(&copy, ArchiveLimits::default()).unwrap();
        let summary = archive.summary(one.log).unwrap();
        let wanted = acknowledged.iter().rev().find(|(length, _)| *length <= kept).unwrap().1;
        assert_eq!(summary.size, wanted, "cut at {cut}");
        let is_whole = acknowledged.iter().any(|(length, _)| *length == kept);
        assert_eq!(kept_files(&copy.join("journal")).unwrap().is_empty(), is_whole, "cut at {cut}");
        let signed = SignedCheckpoint::parse(summary.checkpoint.as_bytes()).unwrap();
        assert_eq!((signed.checkpoint.size, signed.checkpoint.root), (wanted, summary.root));
        let report = verify_log(&archive.source(one.log), &VerifyOptions::default(), &mut |_| {});
        assert_eq!(report.exit, ExitClass::Verified, "cut at {cut}: {report}");
        archive.close().await.unwrap();
        drop(archive);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[tokio::test]
async fn a_wrong_byte_in_the_last_group_is_an_error_not_a_rewind() {
    let world = World::new(14);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let journal = files(&world.path("archive/journal")).remove(0);
    one.append_digests(&archive, 3).await;
    let last = fs::metadata(&journal).unwrap().len();
    let batch = one.digest(3);
    one.append(&archive, &batch).await;
    archive.close().await.unwrap();
    drop(archive);
    let whole = fs::read(&journal).unwrap();
    let refused = |damaged: &[u8], expected: u64| {
        fs::write(&journal, damaged).unwrap();
        let looked = Archive::check(&world.path("archive")).map(|_| ()).unwrap_err();
        let opened = world.archive_at(&world.path("archive"), ArchiveLimits::default());
        for error in [looked, opened.map(|_| ()).unwrap_err()] {
            assert!(
                matches!(&error, LedgerError::Corrupt { offset, .. } if *offset == expected),
                "{error}, expected {expected}"
            );
        }
        assert_eq!(fs::read(&journal).unwrap(), damaged, "left as it was");
    };
    // A file that was closed has no torn end.
    for cut in [last, last + 1, whole.len() as u64 - 1] {
        refused(&whole[..cut as usize], cut);
    }
    let flips = |bit: u8| {
        for at in last as usize..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            refused(&damaged, last);
        }
    };
    flips(1);
    // Nor is a wrong byte one after a crash.
    let mark = world.path("archive/journal/closed");
    fs::remove_file(&mark).unwrap();
    flips(1);
    flips(0x80);
    fs::write(&journal, &whole[..whole.len() - 1]).unwrap();
    let torn = Archive::check(&world.path("archive")).unwrap();
    assert_eq!(torn, Some((journal.clone(), last)));
    fs::write(&journal, whole).unwrap();
    assert_eq!(world.archive().summary(one.log).unwrap().size, 4);
}

#[tokio::test]
async fn damage_before_valid_groups_is_an_error_not_a_rewind() {
    let world = World::new(11);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let journal = files(&world.path("archive/journal")).remove(0);
    let created = fs::metadata(&journal).unwrap().len();
    for _ in 0..4 {
        let batch = one.digest(3);
        one.append(&archive, &batch).await;
    }
    archive.close().await.unwrap();
    drop(archive);
    let whole = fs::read(&journal).unwrap();
    for at in [created as usize + 2, created as usize + 30, 100] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&journal, damaged).unwrap();
        let opened = world.archive_at(&world.path("archive"), ArchiveLimits::default());
        let error = opened.map(|_| ()).unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt { .. }), "{at}: {error}");
        assert!(error.to_string().contains(".journal"), "{error}");
    }
    fs::write(&journal, whole).unwrap();
    let archive = world.archive();
    assert_eq!(archive.summary(one.log).unwrap().size, 4);
    let batch = one.digest(1);
    one.append(&archive, &batch).await;
}

#[tokio::test]
async fn tiles_lost_with_the_page_cache_come_back_from_the_journal() {
    let world = World::new(12);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    one.append_digests(&archive, 300).await;
    archive.close().await.unwrap();
    drop(archive);
    // Objects are synced only when a journal file is replaced; a power failure may take them.
    fs::remove_dir_all(world.path("archive/logs")).unwrap();
    let archive = world.archive();
    let report = verify_log(&archive.source(one.log), &VerifyOptions::default(), &mut |_| {});
    assert_eq!((report.exit, report.size), (ExitClass::Verified, 300), "{report}");
}

#[tokio::test]
async fn a_crash_while_the_journal_is_replaced_loses_nothing() {
    let world = World::new(13);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    one.append_digests(&archive, 5).await;
    archive.close().await.unwrap();
    drop(archive);
    let old = files(&world.path("archive/journal")).remove(0);
    let kept = fs::read(&old).unwrap();
    let archive = world.archive();
    let batch = one.digest(1);
    one.append(&archive, &batch).await;
    archive.close().await.unwrap();
    drop(archive);
    // The old file was not removed yet, and a next one was begun.
    fs::write(&old, &kept).unwrap();
    fs::write(world.path("archive/journal/0000000000000003.tmp"), b"half").unwrap();
    let archive = world.archive();
    assert_eq!(archive.summary(one.log).unwrap().size, 6);
    let mut journals = files(&world.path("archive/journal"));
    journals.retain(|path| path.extension().is_some());
    assert_eq!(journals.len(), 1);
    let report = verify_log(&archive.source(one.log), &VerifyOptions::default(), &mut |_| {});
    assert_eq!(report.exit, ExitClass::Verified, "{report}");
}
