//! Single records, resealing and lawful destruction.

use std::time::Duration;

use veritwin_domain::{Clock as _, Timestamp};
use veritwin_ledger::{
    Act, ArchiveLimits, BatchBuilder, LedgerError, ShredReason, export, open_payload,
    seal_statement,
};
use veritwin_verify::{
    DirectorySource, ExitClass, GapOptions, RecordProof, VerifyOptions, gaps, proof, verify_log,
};

use crate::fixture::{CANARY, Submitter, World};

#[tokio::test]
async fn one_record_is_proven_and_the_others_stay_hidden() {
    let world = World::new(20);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let first = one.digest(4);
    one.append(&archive, &first).await;
    let batch = one.batch(300);
    one.append(&archive, &batch).await;

    let payload = archive.read(one.log, &format!("payload/{}", batch.leaf.payload)).unwrap();
    let owner = (one.tenant, &one.dek);
    let opened = open_payload(&payload.unwrap(), &batch.leaf, &one.origin, owner).unwrap();
    let vkey = archive.summary(one.log).unwrap().vkey.parse().unwrap();
    let answer = proof(&archive.source(one.log), 1, &VerifyOptions::default());
    assert_eq!(answer.report.exit, ExitClass::Verified, "{}", answer.report);
    let text = answer.proof.unwrap().to_text();
    let checked = veritwin_verify::TlogProof::parse(&text).unwrap().check(&vkey, None).unwrap();
    for sequence in [5, 6, 200, 304] {
        let json = opened.prove(sequence).unwrap().to_json();
        let others = (5..=304).filter(|other| *other != sequence);
        for other in others {
            assert!(!json.contains(&format!("{CANARY} {other}")));
        }
        let record = RecordProof::from_json(&json).unwrap();
        record.verify(&checked.leaf).unwrap();
        assert_eq!(record.record, format!("{CANARY} {sequence}").into_bytes());
        for change in 0..4 {
            let mut forged = record.clone();
            match change {
                0 => forged.record[0] ^= 1,
                1 => forged.salt[0] ^= 1,
                2 => forged.sequence ^= 1,
                _ => forged.path.truncate(1),
            }
            assert!(forged.verify(&checked.leaf).is_err(), "change {change} of {sequence}");
        }
    }
    assert!(opened.prove(4).is_none() && opened.prove(305).is_none());
    assert!(checked.leaf.last_sequence() == 304);
    let gaps = gaps(&archive.source(one.log), &GapOptions::default(), &mut |_| {});
    assert_eq!(gaps.checked.exit, ExitClass::Verified, "{}", gaps.checked);
    assert_eq!((gaps.gaps.len(), gaps.last_sequence, gaps.leaves), (0, 304, 2));
}

#[tokio::test]
async fn destroyed_and_resealed_payloads_are_told_from_missing_ones() {
    let world = World::new(21);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let mut batches = Vec::new();
    for _ in 0..4 {
        let batch = one.batch(3);
        one.append(&archive, &batch).await;
        batches.push(batch);
    }
    let shred = Act::Shred { from: 0, to: 1, reason: ShredReason::Erasure };
    let shred = seal_statement(shred, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    one.append(&archive, &shred).await;
    let second = &batches[1];
    let owner = (one.tenant, &one.dek);
    let opened =
        open_payload(second.payload.as_ref().unwrap(), &second.leaf, &one.origin, owner).unwrap();
    let reseal = BatchBuilder::reseal(
        (1, &second.leaf),
        &opened,
        ShredReason::Rotation,
        (&one.previous.unwrap(), one.tick()),
        &one.signer(),
    )
    .unwrap();
    one.append(&archive, &reseal).await;

    let out = world.path("export");
    export(&archive.source(one.log), &out, &mut |_, _| {}).unwrap();
    let remove = |index: usize| {
        let name = format!("payload/{}", batches[index].leaf.payload);
        std::fs::remove_file(out.join(name)).unwrap();
    };
    let source = DirectorySource::new(&out);
    let verify = || verify_log(&source, &VerifyOptions::default(), &mut |_| {});
    assert_eq!(verify().exit, ExitClass::Verified);
    remove(0);
    remove(1);
    let report = verify();
    assert_eq!((report.exit, report.counts.shredded), (ExitClass::Verified, 2), "{report}");
    let code = |index| proof(&source, index, &VerifyOptions::default()).report.exit.code();
    assert_eq!((code(0), code(1), code(2)), (14, 14, 0));
    remove(2);
    assert_eq!(code(2), 11, "no leaf says that it was destroyed");
    let report = verify();
    assert_eq!(report.exit, ExitClass::Missing, "{report}");
    let line = report.findings[0].to_string();
    let wanted = format!(
        "payload/{}: leaf 2 (batch {}, records 7-9): missing",
        batches[2].leaf.payload, batches[2].leaf.batch
    );
    assert!(line.starts_with(&wanted), "{line}");
}

#[tokio::test]
async fn a_pruned_prefix_is_told_from_a_lost_one() {
    let world = World::new(22);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    one.append_digests(&archive, 700).await;
    let vkey: veritwin_verify::VerifierKey =
        archive.summary(one.log).unwrap().vkey.parse().unwrap();
    let options = VerifyOptions { vkey: Some(vkey.clone()), ..VerifyOptions::default() };
    let old = proof(&archive.source(one.log), 5, &options).proof.unwrap();
    let act = Act::Retention { minimum_index: 512, reason: ShredReason::PeriodEnded };
    let statement = seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    one.append(&archive, &statement).await;
    one.append_digests(&archive, 3).await;
    let out = world.path("export");
    export(&archive.source(one.log), &out, &mut |_, _| {}).unwrap();
    let source = DirectorySource::new(&out);
    for name in ["tile/entries/000", "tile/0/000", "tile/entries/001", "tile/0/001"] {
        assert!(!out.join(name).exists(), "{name} was ended");
    }
    let report = verify_log(&source, &options, &mut |_| {});
    assert_eq!((report.exit, report.counts.pruned), (ExitClass::Verified, 512), "{report}");
    assert!(report.to_string().contains("512 leaves below 512 were lawfully pruned"), "{report}");
    assert_eq!(proof(&source, 5, &options).report.exit.code(), 13);
    let kept = proof(&source, 600, &options).proof.unwrap();
    assert_eq!(kept.check(&vkey, None).unwrap().leaf.first_sequence, 1201);
    // A proof given out before pruning still holds by itself, under its own key only.
    assert_eq!(old.check(&vkey, None).unwrap().leaf.first_sequence, 11);
    let other = Submitter::create(&world, &archive).await;
    let stranger = archive.summary(other.log).unwrap().vkey.parse().unwrap();
    assert!(old.check(&stranger, None).is_err());
    // A prefix may be pruned, not what comes after it.
    std::fs::remove_file(out.join("tile/entries/002.p/192")).unwrap();
    let report = verify_log(&source, &options, &mut |_| {});
    assert_eq!(report.exit, ExitClass::Missing, "{report}");
    assert!(report.findings.iter().any(|finding| finding.file == "tile/entries/002.p/192"));
}

#[tokio::test]
async fn leaves_are_kept_for_the_minimum_period_whatever_is_stated() {
    const DAYS: Duration = Duration::from_secs(30 * 86_400);
    let world = World::new(26);
    let limits = ArchiveLimits { period_min: DAYS, ..ArchiveLimits::default() };
    let archive = world.archive_at(&world.path("archive"), limits).unwrap();
    let mut one = Submitter::create(&world, &archive).await;
    // The last leaf of the first bundle is sealed 256 s after the start, of the second 512 s.
    for count in [256, 256, 88] {
        one.append_digests(&archive, count).await;
    }
    let statement = |one: &Submitter, minimum_index| {
        let act = Act::Retention { minimum_index, reason: ShredReason::Requested };
        seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap()
    };
    let early = archive.append(one.request(&statement(&one, 512))).await.unwrap_err();
    assert!(matches!(early, LedgerError::Conflict { .. }), "{early}");
    assert!(early.to_string().contains("at least 30 days, and leaf 511"), "{early}");
    world.clock.advance(DAYS - Duration::from_secs(200));
    let early = archive.append(one.request(&statement(&one, 512))).await.unwrap_err();
    assert!(early.to_string().contains("leaf 511"), "{early}");
    let summary = archive.summary(one.log).unwrap();
    assert_eq!((summary.size, summary.minimum_index, summary.period_min), (600, 0, DAYS));
    assert!(archive.prunable().is_empty());
    // What is old enough goes, and the rest once it is.
    let older = statement(&one, 256);
    one.append(&archive, &older).await;
    assert_eq!(archive.summary(one.log).unwrap().minimum_index, 256);
    world.clock.advance(Duration::from_secs(200));
    let rest = statement(&one, 512);
    one.append(&archive, &rest).await;
    assert_eq!(archive.summary(one.log).unwrap().minimum_index, 512);
    assert_eq!(archive.prunable(), [one.log]);
}

#[tokio::test]
async fn the_minimum_period_begins_when_a_leaf_comes_in() {
    const DAYS: Duration = Duration::from_secs(30 * 86_400);
    let world = World::new(28);
    let limits = ArchiveLimits { period_min: DAYS, ..ArchiveLimits::default() };
    let at = world.path("archive");
    let archive = world.archive_at(&at, limits).unwrap();
    let mut one = Submitter::create(&world, &archive).await;
    // Whatever time they bear.
    for _ in 0..256 {
        let batch = one.digest_at(1, Timestamp::EPOCH);
        one.append(&archive, &batch).await;
    }
    let statement = |one: &Submitter| {
        let act = Act::Retention { minimum_index: 256, reason: ShredReason::Requested };
        seal_statement(act, one.previous.as_ref(), Timestamp::EPOCH, &one.signer()).unwrap()
    };
    let early = archive.append(one.request(&statement(&one))).await.unwrap_err();
    assert!(early.to_string().contains("at least 30 days, and leaf 255"), "{early}");
    // An opening replays the leaves and does not begin the time anew.
    world.clock.advance(DAYS - Duration::from_secs(3600));
    archive.close().await.unwrap();
    drop(archive);
    let archive = world.archive_at(&at, limits).unwrap();
    let early = archive.append(one.request(&statement(&one))).await.unwrap_err();
    assert!(early.to_string().contains("leaf 255"), "{early}");
    world.clock.advance(Duration::from_secs(3600));
    let late = statement(&one);
    one.append(&archive, &late).await;
    assert_eq!(archive.summary(one.log).unwrap().minimum_index, 256);
}

#[tokio::test]
async fn the_period_of_a_log_is_lengthened_and_never_shortened() {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::new(29);
    let at = world.path("archive");
    let archive = world.archive_at(&at, ArchiveLimits::default()).unwrap();
    let mut one = Submitter::create(&world, &archive).await;
    let other = Submitter::create(&world, &archive).await;
    one.append_digests(&archive, 300).await;
    assert_eq!(archive.keep_for(one.log, DAY * 365).await.unwrap().period_min, DAY * 365);
    assert_eq!(archive.keep_for(one.log, DAY).await.unwrap().period_min, DAY * 365);
    assert!(archive.keep_for(one.log, DAY * 36_501).await.is_err());
    archive.close().await.unwrap();
    drop(archive);
    // It is in the journal, and in the snapshot of the next one.
    for _ in 0..2 {
        let archive = world.archive_at(&at, ArchiveLimits::default()).unwrap();
        assert_eq!(archive.summary(one.log).unwrap().period_min, DAY * 365);
        assert_eq!(archive.summary(other.log).unwrap().period_min, Duration::ZERO);
        archive.close().await.unwrap();
    }
    let limits = ArchiveLimits { period_min: DAY * 30, ..ArchiveLimits::default() };
    let archive = world.archive_at(&at, limits).unwrap();
    assert_eq!(archive.summary(other.log).unwrap().period_min, DAY * 30);
    world.clock.advance(DAY * 364);
    let statement = |one: &Submitter| {
        let act = Act::Retention { minimum_index: 256, reason: ShredReason::PeriodEnded };
        seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap()
    };
    let early = archive.append(one.request(&statement(&one))).await.unwrap_err();
    assert!(early.to_string().contains("at least 365 days"), "{early}");
    world.clock.advance(DAY);
    let late = statement(&one);
    one.append(&archive, &late).await;
    assert_eq!(archive.summary(one.log).unwrap().minimum_index, 256);
}

#[tokio::test]
async fn a_leaf_that_is_dated_ahead_is_refused() {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = World::new(30);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let ahead = world.clock.now().saturating_add(HOUR + HOUR);
    let early = one.digest_at(1, ahead);
    let refused = archive.append(one.request(&early)).await.unwrap_err().to_string();
    assert!(refused.contains("more than an hour ahead of this archive's clock"), "{refused}");
    world.clock.advance(HOUR);
    one.append(&archive, &early).await;
    // One behind it may be as late, whatever became of the clock; no later.
    let same = one.digest_at(1, ahead);
    one.append(&archive, &same).await;
    let later = one.digest_at(1, ahead.saturating_add(HOUR));
    assert!(archive.append(one.request(&later)).await.is_err());
    // A simulated clock is nobody's, and the log's name says so.
    let mut simulated = Submitter::create_on(&world, &archive, true).await;
    let batch = simulated.digest_at(1, ahead.saturating_add(HOUR * 9000));
    simulated.append(&archive, &batch).await;
}

#[tokio::test]
async fn a_log_takes_no_more_than_its_bound() {
    let world = World::new(31);
    let limits = ArchiveLimits { log_bytes_max: 10_000, ..ArchiveLimits::default() };
    let at = world.path("archive");
    let archive = world.archive_at(&at, limits).unwrap();
    let mut one = Submitter::create(&world, &archive).await;
    let mut other = Submitter::create(&world, &archive).await;
    let refused = loop {
        let batch = one.batch(10);
        match archive.append(one.request(&batch)).await {
            Ok(_) => one.advance(&batch),
            Err(refused) => break refused.to_string(),
        }
        assert!(one.size < 100, "the bound is never reached");
    };
    assert!(refused.contains("log_bytes_max"), "{refused}");
    assert!(archive.stored_bytes(one.log).unwrap() <= 10_000);
    // Another log has room, and so has a statement that something was destroyed.
    let batch = other.batch(1);
    other.append(&archive, &batch).await;
    let act = Act::Shred { from: 0, to: one.size, reason: ShredReason::Requested };
    let shred = seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    one.append(&archive, &shred).await;
    archive.close().await.unwrap();
    drop(archive);
    let archive = world.archive_at(&at, limits).unwrap();
    let refused = archive.append(one.request(&one.batch(10))).await.unwrap_err().to_string();
    assert!(refused.contains("log_bytes_max"), "after a restart: {refused}");
}

#[tokio::test]
async fn witnesses_are_counted_and_their_absence_is_told() {
    let world = World::new(23);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    assert_eq!(
        verify_log(&archive.source(one.log), &VerifyOptions::default(), &mut |_| {}).exit,
        ExitClass::Verified,
        "an empty log"
    );
    one.append_digests(&archive, 3).await;
    let out = world.path("export");
    export(&archive.source(one.log), &out, &mut |_, _| {}).unwrap();
    let witness = veritwin_keys::SigningKey::generate(world.rng.as_ref());
    let key = veritwin_verify::VerifierKey::new(
        "witness.example",
        veritwin_verify::KeyAlgorithm::CosignatureV1,
        witness.public_bytes(),
    )
    .unwrap();
    let vkey = archive.summary(one.log).unwrap().vkey;
    let policy = format!("log {vkey}\nwitness w {key}\nquorum w\n");
    let policy = veritwin_verify::Policy::parse(&policy).unwrap();
    let options = VerifyOptions { policy: Some(policy), ..VerifyOptions::default() };
    let source = DirectorySource::new(&out);
    let report = verify_log(&source, &options, &mut |_| {});
    assert_eq!(report.exit.code(), 12, "{report}");
    assert!(!report.to_string().contains("not authenticated"), "{report}");

    let note = std::fs::read_to_string(out.join("checkpoint")).unwrap();
    let text = &note[..note.find("\n\n").unwrap() + 1];
    let cosign = |time: u64, signed_time: u64| {
        let message = format!("cosignature/v1\ntime {signed_time}\n{text}");
        let mut signature = time.to_be_bytes().to_vec();
        signature.extend_from_slice(&witness.sign(message.as_bytes()));
        format!("{note}{}", key.signature_line(&signature))
    };
    std::fs::write(out.join("checkpoint"), cosign(1_772_352_000, 1_772_352_001)).unwrap();
    assert_eq!(verify_log(&source, &options, &mut |_| {}).exit.code(), 12);
    std::fs::write(out.join("checkpoint"), cosign(1_772_352_000, 1_772_352_000)).unwrap();
    let report = verify_log(&source, &options, &mut |_| {});
    assert_eq!(report.exit, ExitClass::Verified, "{report}");
    assert_eq!(report.witnesses.unwrap().cosigned, ["w"]);
}

#[tokio::test]
async fn a_witnessed_checkpoint_counts_where_it_was_compared() {
    let world = World::new(27);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let witness = veritwin_keys::SigningKey::generate(world.rng.as_ref());
    let key = veritwin_verify::VerifierKey::new(
        "witness.example",
        veritwin_verify::KeyAlgorithm::CosignatureV1,
        witness.public_bytes(),
    )
    .unwrap();
    let read = |log| String::from_utf8(archive.read(log, "checkpoint").unwrap().unwrap()).unwrap();
    let cosigned = |note: String| {
        let text = &note[..note.find("\n\n").unwrap() + 1];
        let message = format!("cosignature/v1\ntime 1772352000\n{text}");
        let mut signature = 1_772_352_000u64.to_be_bytes().to_vec();
        signature.extend_from_slice(&witness.sign(message.as_bytes()));
        format!("{note}{}", key.signature_line(&signature))
    };
    // At the end of a bundle, and within the next one.
    one.append_digests(&archive, 256).await;
    let whole = cosigned(read(one.log));
    one.append_digests(&archive, 44).await;
    let within = cosigned(read(one.log));
    one.append_digests(&archive, 400).await;
    let act = Act::Retention { minimum_index: 512, reason: ShredReason::PeriodEnded };
    let statement = seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    one.append(&archive, &statement).await;

    let policy =
        format!("log {}\nwitness w {key}\nquorum w\n", archive.summary(one.log).unwrap().vkey);
    let policy = veritwin_verify::Policy::parse(&policy).unwrap();
    let options = VerifyOptions { policy: Some(policy), ..VerifyOptions::default() };
    let check = |size: u64, note: &str, code: u8| {
        let out = world.path(&format!("published-{size}"));
        export(&archive.source(one.log), &out, &mut |_, _| {}).unwrap();
        std::fs::create_dir(out.join("published")).unwrap();
        std::fs::write(out.join("published/index"), format!("{size}\n")).unwrap();
        std::fs::write(out.join(format!("published/{size}.checkpoint")), note).unwrap();
        let source = DirectorySource::new(&out);
        let report = verify_log(&source, &options, &mut |_| {});
        assert_eq!(report.exit.code(), code, "{report}");
        assert_eq!(report.witnessed.map(|seen| seen.size), (code == 0).then_some(size), "{report}");
        // The proof of one leaf compares by hash tiles.
        assert_eq!(proof(&source, 600, &options).report.exit.code(), code);
    };
    check(256, &whole, 0);
    check(300, &within, 12);
    let given = veritwin_verify::KnownCheckpoint { name: "kept".into(), note: within.into() };
    let policy = options.policy;
    let options = VerifyOptions { known: vec![given], ..VerifyOptions::default() };
    let report = verify_log(&archive.source(one.log), &options, &mut |_| {});
    assert_eq!(report.exit, ExitClass::Pruned, "{report}");
    // A policy that is unmet is not hidden by that, nor is a payload that nobody names.
    let unmet = VerifyOptions { policy, ..options.clone() };
    let report = verify_log(&archive.source(one.log), &unmet, &mut |_| {});
    assert_eq!(report.exit, ExitClass::WitnessPolicyUnmet, "{report}");
    let out = world.path("strange");
    export(&archive.source(one.log), &out, &mut |_, _| {}).unwrap();
    std::fs::create_dir_all(out.join("payload")).unwrap();
    std::fs::write(out.join("payload").join("1".repeat(64)), b"strange").unwrap();
    let report = verify_log(&DirectorySource::new(&out), &options, &mut |_| {});
    assert_eq!(report.exit, ExitClass::Tampered, "{report}");
}
