//! Single records, resealing and lawful destruction.

use veritwin_ledger::{Act, BatchBuilder, ShredReason, export, open_payload, seal_statement};
use veritwin_verify::{
    DirectorySource, ExitClass, RecordProof, VerifyOptions, gaps, proof, verify_log,
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
    let gaps = gaps(&archive.source(one.log)).unwrap();
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
    let report = verify();
    assert_eq!(report.exit, ExitClass::Missing, "{report}");
    let line = report.findings[0].to_string();
    let wanted = format!(
        "payload/{}: leaf 2 (batch {}, records 7-9): missing",
        batches[2].leaf.payload, batches[2].leaf.batch
    );
    assert!(line.starts_with(&wanted), "{line}");
}
