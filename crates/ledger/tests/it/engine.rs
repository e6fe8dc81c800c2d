//! Appending, refusing, serving, and what lies on the disk.

use veritwin_domain::BatchId;
use veritwin_ledger::{Act, ArchiveLimits, Leaf, LedgerError, ShredReason, export, seal_statement};
use veritwin_verify::{
    ExitClass, KeyTrust, SignatureCheck, SignedCheckpoint, VerifyOptions, verify_log,
};

use crate::fixture::{CANARY, Submitter, World, files};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_grows_survives_reopening_and_verifies() {
    let world = World::new(1);
    let limits = ArchiveLimits { journal_bytes_max: 40_000, ..ArchiveLimits::default() };
    let at = world.path("archive");
    let archive = world.archive_at(&at, limits).unwrap();
    let mut one = Submitter::create(&world, &archive).await;
    let mut two = Submitter::create(&world, &archive).await;
    let batch = one.batch(120);
    let appended = one.append(&archive, &batch).await;
    let signed = SignedCheckpoint::parse(appended.checkpoint.as_bytes()).unwrap();
    assert_eq!(signed.checkpoint.size, 1);
    one.append_digests(&archive, 600).await;
    two.append_digests(&archive, 3).await;
    let batch = two.batch(4);
    two.append(&archive, &batch).await;
    archive.close().await.unwrap();
    drop(archive);
    world.close_keys();

    let archive = world.archive_at(&at, limits).unwrap();
    let summary = archive.summary(one.log).unwrap();
    assert_eq!((summary.size, summary.cursor), (601, 1600));
    let (submitter, stranger) = (one.key.public_bytes(), two.key.public_bytes());
    assert_eq!(summary.resume(&summary.vkey, &submitter).unwrap(), one.previous);
    assert!(summary.resume(&summary.vkey, &stranger).is_err());
    assert!(summary.resume(&archive.summary(two.log).unwrap().vkey, &submitter).is_err());
    let mut behind = summary.clone();
    behind.size = 600;
    assert!(behind.resume(&summary.vkey, &submitter).is_err());
    let batch = one.batch(5);
    one.append(&archive, &batch).await;
    for (submitter, name) in [(&one, "one"), (&two, "two")] {
        let vkey = archive.summary(submitter.log).unwrap().vkey.parse().unwrap();
        let options = VerifyOptions { vkey: Some(vkey), ..VerifyOptions::default() };
        let served = archive.source(submitter.log);
        let report = verify_log(&served, &options, &mut |_| {});
        assert_eq!(report.exit, ExitClass::Verified, "{report}");
        let out = world.path(name);
        let exported = export(&served, &out, &mut |_, _| {}).unwrap();
        assert_eq!(exported.size, submitter.size);
        let directory = veritwin_verify::DirectorySource::new(&out);
        let report = verify_log(&directory, &VerifyOptions::default(), &mut |_| {});
        assert_eq!(report.exit, ExitClass::Verified, "{report}");
        assert!(matches!(report.key, KeyTrust::NotAuthenticated(_)));
        assert!(report.to_string().contains("not authenticated"), "{report}");
        assert_eq!(report.size, submitter.size);
    }
}

#[tokio::test]
async fn rewinds_forks_and_strangers_are_refused() {
    let world = World::new(2);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let two = Submitter::create(&world, &archive).await;
    let first = one.batch(3);
    let fork = one.batch(3);
    let forked = one.request(&fork);
    one.append(&archive, &first).await;
    let refused = |outcome: Result<_, LedgerError>, wanted: &str| {
        let error = outcome.map(|_: veritwin_ledger::Appended| ()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    // The same batch again is the same append.
    let mut again = one.request(&first);
    again.expected_size = 0;
    let repeated = archive.append(again.clone()).await.unwrap();
    assert!(repeated.duplicate && repeated.index == 0);
    refused(archive.append(forked.clone()).await, "expected tree size 0");
    refused(
        archive.append(veritwin_ledger::Append { expected_size: 1, ..forked }).await,
        "follows another leaf",
    );
    let second = one.batch(3);
    refused(
        archive.append(veritwin_ledger::Append { log: two.log, ..one.request(&second) }).await,
        "signature does not verify",
    );
    let mut bad = one.request(&second);
    bad.payload = Some(vec![0; bad.payload.unwrap().len()]);
    refused(archive.append(bad).await, "not the one the leaf names");
    let mut bad = one.request(&second);
    bad.payload = None;
    refused(archive.append(bad).await, "payload that is missing");
    let mut bad = one.request(&second);
    bad.entry[200] ^= 1;
    refused(archive.append(bad).await, "");
    let future = Act::Shred { from: 0, to: 9, reason: ShredReason::Requested };
    let future = seal_statement(future, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    refused(archive.append(one.request(&future)).await, "do not exist yet");
    one.append(&archive, &second).await;

    assert!(
        world
            .archive_at(&world.path("archive"), ArchiveLimits::default())
            .is_err_and(|error| matches!(error, LedgerError::Locked(_)))
    );
    let mut other = one.creation();
    other.submitter = two.key.public_bytes();
    assert!(archive.create_log(other).await.is_err());
    assert_eq!(archive.create_log(one.creation()).await.unwrap().size, 2);
    archive.close().await.unwrap();
    refused(archive.append(again).await, "stopped writing");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_on_their_way_together_are_each_verified() {
    let world = World::new(4);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let mut two = Submitter::create(&world, &archive).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        for submitter in [&mut one, &mut two] {
            let batch = submitter.digest(2);
            waiting.push(archive.submit(submitter.request(&batch)).await.unwrap());
            submitter.advance(&batch);
        }
    }
    // What follows the last leaf of each and is not signed by its submitter.
    let forged = |submitter: &Submitter| {
        let mut request = submitter.request(&submitter.digest(2));
        let last = request.entry.len() - 1;
        request.entry[last] ^= 1;
        request
    };
    for request in [forged(&one), forged(&two)] {
        let error = archive.submit(request).await.unwrap_err().to_string();
        assert!(error.contains("signature does not verify"), "{error}");
    }
    for pending in waiting {
        archive.answer(pending).await.unwrap();
    }
    one.append_digests(&archive, 3).await;
    // A change of the key is no exception.
    let next = Act::SubmitterKey { next: [9; 32] };
    let taken = seal_statement(next, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    let mut taken = one.request(&taken);
    let last = taken.entry.len() - 1;
    taken.entry[last] ^= 1;
    assert!(archive.submit(taken).await.is_err());
    for (submitter, size) in [(&one, 203), (&two, 200)] {
        let signatures = SignatureCheck::Every;
        let options = VerifyOptions { signatures, ..VerifyOptions::default() };
        let report = verify_log(&archive.source(submitter.log), &options, &mut |_| {});
        assert_eq!((report.exit, report.size), (ExitClass::Verified, size), "{report}");
        assert_eq!(report.counts.signatures, size, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_leaves_on_their_way_together_none_is_taken_behind_a_forged_one() {
    let world = World::new(5);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let batch = one.digest(2);
        before.push(archive.submit(one.request(&batch)).await.unwrap());
        one.advance(&batch);
    }
    let (previous, size) = (one.previous, one.size);
    let right = one.digest(2);
    let mut forged = right.clone();
    forged.leaf.signature[63] ^= 1;
    forged.entry = forged.leaf.encode();
    let error = archive.submit(one.request(&forged)).await.unwrap_err().to_string();
    assert!(error.contains("signature does not verify"), "{error}");
    // The submitter goes on from it, and signs what follows.
    one.advance(&forged);
    for _ in 0..20 {
        let batch = one.digest(2);
        behind.push(archive.submit(one.request(&batch)).await.unwrap());
        one.advance(&batch);
    }
    for pending in before {
        archive.answer(pending).await.unwrap();
    }
    for pending in behind {
        let refused = archive.answer(pending).await;
        assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
    }
    assert_eq!(archive.summary(one.log).unwrap().size, 300);
    (one.previous, one.size) = (previous, size);
    one.append(&archive, &right).await;
    let signatures = SignatureCheck::Every;
    let options = VerifyOptions { signatures, ..VerifyOptions::default() };
    let report = verify_log(&archive.source(one.log), &options, &mut |_| {});
    assert_eq!((report.exit, report.size), (ExitClass::Verified, 301), "{report}");
    assert_eq!(report.counts.signatures, 301, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_twice_at_once_is_one_leaf_and_its_id_is_taken() {
    let world = World::new(6);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    for index in 0..50 {
        let batch = one.digest(2);
        let once = archive.submit(one.request(&batch)).await.unwrap();
        let twice = archive.submit(one.request(&batch)).await.unwrap();
        one.advance(&batch);
        let mut other = one.digest(2);
        other.leaf.batch = batch.leaf.batch;
        other.leaf.signature = one.key.sign(&other.leaf.signed_message(&one.origin));
        other.entry = other.leaf.encode();
        let taken = archive.submit(one.request(&other)).await.unwrap();
        let once = archive.answer(once).await.unwrap();
        assert_eq!((once.index, once.duplicate), (index, false));
        let twice = archive.answer(twice).await.unwrap();
        assert_eq!((twice.index, twice.duplicate), (index, true));
        for appended in [once, twice] {
            let signed = SignedCheckpoint::parse(appended.checkpoint.as_bytes()).unwrap();
            assert_eq!((signed.checkpoint.size, appended.size), (index + 1, index + 1));
        }
        let error = archive.answer(taken).await.unwrap_err().to_string();
        assert!(error.contains("taken by another leaf"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_verifier_would_refuse_is_refused() {
    let world = World::new(7);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let changed = |one: &Submitter, change: &dyn Fn(&mut Leaf)| {
        let mut batch = one.batch(2);
        change(&mut batch.leaf);
        batch.leaf.signature = one.key.sign(&batch.leaf.signed_message(&one.origin));
        batch.entry = batch.leaf.encode();
        one.request(&batch)
    };
    // Before the first leaf stand zero bytes: its own id would be that of the one before it.
    let zero = changed(&one, &|leaf: &mut Leaf| leaf.batch = BatchId::from_bytes([0; 16]));
    let error = archive.append(zero).await.unwrap_err().to_string();
    assert!(error.contains("batch id of the one before it"), "{error}");
    let batch = one.batch(2);
    one.append(&archive, &batch).await;
    let old_payload = batch.leaf.payload;
    for index in [1, u64::MAX] {
        let late = changed(&one, &|leaf: &mut Leaf| {
            leaf.act = Act::Reseal { index, old_payload, reason: ShredReason::Requested };
            leaf.count = 0;
        });
        let error = archive.append(late).await.unwrap_err().to_string();
        assert!(error.contains("do not exist yet"), "{index}: {error}");
    }
    let report = verify_log(&archive.source(one.log), &VerifyOptions::default(), &mut |_| {});
    assert_eq!((report.exit, report.size), (ExitClass::Verified, 1), "{report}");
}

#[tokio::test]
async fn the_directory_shows_nothing() {
    let world = World::new(3);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let batch = one.batch(40);
    one.append(&archive, &batch).await;
    one.append_digests(&archive, 300).await;
    archive.close().await.unwrap();
    let payload = &batch.payload.as_ref().unwrap()[..64];
    let needles: [&[u8]; 4] =
        [CANARY.as_bytes(), one.origin.as_bytes(), &batch.entry[2..34], payload];
    let stored = files(&world.path("archive"));
    assert!(stored.len() > 3, "{stored:?}");
    for file in stored {
        let bytes = std::fs::read(&file).unwrap();
        for needle in needles {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} holds plain text", file.display());
        }
    }
}
