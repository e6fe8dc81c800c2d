//! Activity, evidence, settings, the clock; transactions.

use veritwin_domain::{ActivityId, EvidenceId};
use veritwin_metastore::{Activity, Error, EvidenceState, Page, PromiseEvidence};

use crate::world::{START, World, device, everywhere, later};

pub(crate) fn record(world: &World, seconds: u64) -> Activity {
    Activity {
        id: ActivityId::generate(later(seconds), world.rng.as_ref()),
        at: later(seconds),
        envelope: br#"{"action":"device.create"}"#.to_vec(),
        details: Some(br#"{"name":"Pump"}"#.to_vec()),
    }
}

#[tokio::test]
async fn activity_is_listed_newest_first_and_purged_by_age() {
    everywhere(async |world| {
        let records: Vec<_> = (0..5).map(|seconds| record(world, seconds)).collect();
        let tx = world.begin().await;
        for record in &records {
            tx.activity_add(record).await.expect("a record");
        }
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        let own = Activity { details: None, ..record(world, 9) };
        tx.activity_add(&own, None).await.expect("the platform's own");
        let theirs = record(world, 8);
        tx.activity_add(&theirs, Some(world.other)).await.expect("another tenant's");
        assert_eq!(tx.activity(&Page::whole()).await.expect("own").items, [own]);
        tx.commit().await.expect("commit");

        let tx = world.read().await;
        let first = tx.activity(&Page::first(2)).await.expect("a page");
        assert_eq!(first.items, [records[4].clone(), records[3].clone()]);
        let rest = Page { limit: 9, after: first.next };
        let rest = tx.activity(&rest).await.expect("a page");
        assert_eq!((rest.items.len(), rest.next), (3, None));
        drop(tx);
        let tx = world.platform().await;
        assert_eq!(tx.activity_purge(later(3)).await.expect("purged"), 4);
    })
    .await;
}

#[tokio::test]
async fn evidence_is_kept_per_promise() {
    everywhere(async |world| {
        let evidence = |promise: &str, seconds, state| PromiseEvidence {
            id: EvidenceId::generate(later(seconds), world.rng.as_ref()),
            promise: promise.to_owned(),
            state,
            at: later(seconds),
            summary: b"{}".to_vec(),
            ledger_index: None,
        };
        let tx = world.platform().await;
        let older = evidence("P22", 1, EvidenceState::Failing);
        let newer = evidence("P22", 2, EvidenceState::Proven);
        for found in [&older, &newer, &evidence("P31", 3, EvidenceState::Proven)] {
            tx.evidence_add(found).await.expect("evidence");
        }
        tx.evidence_ledgered(newer.id, 41).await.expect("ledgered");
        let newer = PromiseEvidence { ledger_index: Some(41), ..newer };
        assert_eq!(tx.evidence_latest("P22").await.expect("newest"), Some(newer.clone()));
        assert_eq!(tx.evidence_latest("P01").await.expect("none"), None);
        let all = tx.evidence("P22", &Page::whole()).await.expect("all").items;
        assert_eq!(all, [newer, older]);
        assert_eq!(tx.evidence_purge(later(1)).await.expect("purged"), 1);
        assert!(tx.evidence_add(&evidence("P 22", 1, EvidenceState::Stale)).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn settings_and_the_clock() {
    everywhere(async |world| {
        let tx = world.begin().await;
        assert_eq!(tx.setting("mail").await.expect("none"), None);
        tx.setting_put("mail", b"1", Some(0)).await.expect("new");
        assert!(matches!(tx.setting_put("mail", b"2", Some(0)).await, Err(Error::Conflict { .. })));
        tx.setting_put("mail", b"3", Some(1)).await.expect("changed");
        assert!(matches!(tx.setting_put("mail", b"4", Some(1)).await, Err(Error::Conflict { .. })));
        tx.setting_put("mail", b"5", None).await.expect("whatever the version");
        let found = tx.setting("mail").await.expect("there").expect("set");
        assert_eq!((found.body.as_slice(), found.version), (&b"5"[..], 3));
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert_eq!(tx.setting("mail").await.expect("another table"), None);
        tx.setting_put("mail", b"p", None).await.expect("new");
        assert_eq!(tx.setting("mail").await.expect("there").expect("set").body, b"p");
        assert_eq!(tx.clock_high_water().await.expect("none"), None);
        for seconds in [5, 3, 9, 9] {
            tx.clock_raise(later(seconds)).await.expect("raised");
        }
        assert_eq!(tx.clock_high_water().await.expect("there"), Some(later(9)));
    })
    .await;
}

#[tokio::test]
async fn a_reading_transaction_does_not_write_and_a_failed_one_keeps_nothing() {
    everywhere(async |world| {
        let tx = world.read().await;
        let refused = tx.device_create(&device(world, "Pump")).await.expect_err("refused");
        assert!(matches!(refused, Error::Invalid { .. }), "{refused:?}");
        drop(tx);
        let tx = world.begin().await;
        let pump = device(world, "Pump");
        tx.device_create(&pump).await.expect("a device");
        assert!(tx.device_create(&pump).await.is_err());
        assert!(tx.commit().await.is_err());
        let tx = world.read().await;
        assert!(matches!(tx.device(pump.id).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer() {
    everywhere(async |world| {
        let key = "user/POST devices/4711";
        let tx = world.begin().await;
        assert_eq!(tx.idempotent_answer(key, &[1; 32]).await.expect("none"), None);
        tx.idempotent_keep(key, &[1; 32], b"created").await.expect("kept");
        let found = tx.idempotent_answer(key, &[1; 32]).await.expect("found");
        assert_eq!(found.as_deref(), Some(&b"created"[..]));
        let other = tx.idempotent_answer(key, &[2; 32]).await.expect_err("another body");
        assert!(matches!(other, Error::Conflict { .. }), "{other:?}");
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.other).await;
        assert_eq!(tx.idempotent_answer(key, &[1; 32]).await.expect("none"), None);
        drop(tx);
        let tx = world.platform().await;
        assert_eq!(tx.idempotency_purge(later(0)).await.expect("purged"), 1);
    })
    .await;
}

#[tokio::test]
async fn many_writers_take_turns() {
    everywhere(async |world| {
        const WRITERS: u64 = 20;
        let write = |number: u64| async move {
            let tx = world.begin().await;
            tx.device_create(&device(world, &format!("d{number}"))).await.expect("a device");
            let total = tx.setting("count").await.expect("read");
            let count = total.map_or(0, |found| found.body[0]);
            tx.setting_put("count", &[count + 1], None).await.expect("written");
            tx.commit().await.expect("commit");
        };
        futures::future::join_all((0..WRITERS).map(write)).await;
        let tx = world.read().await;
        assert_eq!(tx.device_counts().await.expect("counts").0, WRITERS);
        if world.label == "sqlite" {
            // One writer at a time, each seeing the one before.
            let found = tx.setting("count").await.expect("read").expect("set");
            assert_eq!(u64::from(found.body[0]), WRITERS);
        }
        assert!(START < later(1));
    })
    .await;
}
