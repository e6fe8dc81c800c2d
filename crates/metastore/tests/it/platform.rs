//! Activity, evidence, settings, the clock; transactions.

use veritwin_domain::{ActivityId, EvidenceId, HoldId, UserId};
use veritwin_metastore::{
    Activity, ActivityFilter, Error, EvidenceState, Hold, HoldReason, HoldScope, Page,
    PromiseEvidence,
};

use crate::world::{START, World, device, everywhere, later};

pub(crate) fn record(world: &World, seconds: u64) -> Activity {
    Activity {
        id: ActivityId::generate(later(seconds), world.rng.as_ref()),
        at: later(seconds),
        actor: Some([7; 16]),
        action: "device.create".to_owned(),
        outcome: "done".to_owned(),
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
        let all = ActivityFilter::default();
        let first = tx.activity(&all, &Page::first(2)).await.expect("a page");
        assert_eq!(first.items, [records[4].clone(), records[3].clone()]);
        let rest = Page { limit: 9, after: first.next };
        let rest = tx.activity(&all, &rest).await.expect("a page");
        assert_eq!((rest.items.len(), rest.next), (3, None));
        drop(tx);
        let tx = world.platform().await;
        assert_eq!(tx.activity_purge(later(3), &[]).await.expect("purged"), 4);
    })
    .await;
}

#[tokio::test]
async fn records_are_filtered_and_a_hold_keeps_what_it_names() {
    everywhere(async |world| {
        let of = |seconds: u64, actor: u8, action: &str| Activity {
            actor: Some([actor; 16]),
            action: action.to_owned(),
            ..record(world, seconds)
        };
        let records = [
            of(1, 1, "device.read"),
            of(2, 1, "api_key.create"),
            of(3, 2, "device.delete"),
            of(4, 2, "apixkey"),
            of(5, 3, "rule.write"),
        ];
        let tx = world.begin().await;
        for record in &records {
            tx.activity_add(record).await.expect("a record");
        }
        let bad = Activity { action: "no good".to_owned(), ..record(world, 6) };
        assert!(matches!(tx.activity_add(&bad).await, Err(Error::Invalid { .. })));
        tx.commit().await.expect("commit");
        let check = async |filter: ActivityFilter, expect: &[usize]| {
            let tx = world.read().await;
            let found = tx.activity(&filter, &Page::whole()).await.expect("found").items;
            let expect: Vec<_> = expect.iter().map(|index| records[*index].clone()).collect();
            assert_eq!(found, expect, "{filter:?}");
        };
        let none = ActivityFilter::default;
        check(none(), &[4, 3, 2, 1, 0]).await;
        check(ActivityFilter { actor: Some([1; 16]), ..none() }, &[1, 0]).await;
        check(ActivityFilter { action: Some("device.".into()), ..none() }, &[2, 0]).await;
        check(ActivityFilter { action: Some("api_".into()), ..none() }, &[1]).await;
        let (from, to) = (Some(later(2)), Some(later(4)));
        check(ActivityFilter { from, to, ..none() }, &[2, 1]).await;
        check(ActivityFilter { outcome: Some("denied".into()), ..none() }, &[]).await;

        let any = HoldScope::default;
        let holds = [
            HoldScope { action: Some("api_".into()), ..any() },
            HoldScope { actor: Some([2; 16]), to: Some(later(4)), ..any() },
            HoldScope { records: vec![records[4].id], ..any() },
        ];
        let holds: Vec<_> = holds.into_iter().map(|scope| (world.tenant, scope)).collect();
        let tx = world.platform().await;
        tx.activity_add(&record(world, 1), Some(world.other)).await.expect("another tenant's");
        assert_eq!(tx.activity_purge(later(9), &holds).await.expect("purged"), 3);
        assert_eq!(tx.activity_older(world.tenant, later(9)).await.expect("counted"), 3);
        tx.commit().await.expect("commit");
        check(none(), &[4, 2, 1]).await;
    })
    .await;
}

#[tokio::test]
async fn a_hold_counts_between_its_approval_and_its_end() {
    everywhere(async |world| {
        let nobody = |number: u8| UserId::from_bytes([number; 16]);
        let hold = Hold {
            id: HoldId::generate(START, world.rng.as_ref()),
            scope: HoldScope { action: Some("device.".into()), ..HoldScope::default() },
            reason: HoldReason::Fraud,
            note: "why".to_owned(),
            requested_by: nobody(1),
            requested_at: START,
            approved_by: None,
            approved_at: None,
            expires_at: later(100),
            release: None,
            released_at: None,
        };
        let count = async |seconds: u64| {
            let tx = world.platform().await;
            tx.holds_in_force(later(seconds)).await.expect("holds").len()
        };
        let tx = world.begin().await;
        tx.hold_create(&hold).await.expect("a hold");
        assert_eq!(tx.hold(hold.id).await.expect("read back"), hold);
        tx.commit().await.expect("commit");
        assert_eq!(count(1).await, 0, "asked for only");
        let tx = world.begin().await;
        tx.hold_approve(hold.id, nobody(2), later(1)).await.expect("approved");
        let again = tx.hold_approve(hold.id, nobody(3), later(1)).await;
        assert!(matches!(again, Err(Error::Conflict { .. })));
        tx.commit().await.expect("commit");
        assert_eq!((count(2).await, count(100).await), (1, 0));
        let tx = world.begin_in(world.other).await;
        assert!(matches!(tx.hold_release(hold.id, later(3)).await, Err(Error::NotFound { .. })));
        drop(tx);
        let tx = world.begin().await;
        tx.hold_release(hold.id, later(3)).await.expect("released");
        tx.commit().await.expect("commit");
        assert_eq!(count(4).await, 0);
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
        assert_eq!(all, [newer.clone(), older.clone()]);
        let ids = |rows: Vec<PromiseEvidence>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        let waiting = ids(tx.evidence_unsealed(10).await.expect("unsealed"));
        assert_eq!((waiting.len(), waiting[0]), (2, older.id));
        assert_eq!(tx.evidence_unsealed(1).await.expect("unsealed").len(), 1);
        assert_eq!(tx.evidence_of_leaf(41).await.expect("of a leaf"), [newer]);
        assert!(tx.evidence_of_leaf(42).await.expect("of no leaf").is_empty());
        assert_eq!(tx.evidence_purge(later(1)).await.expect("purged"), 1);
        assert!(tx.evidence_add(&evidence("P 22", 1, EvidenceState::Stale)).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn large_settings_are_kept_in_parts() {
    everywhere(async |world| {
        let tx = world.begin().await;
        assert_eq!(tx.setting_large("state").await.expect("none"), None);
        tx.setting_put("state", b"{}", None).await.expect("as before");
        assert_eq!(tx.setting_large("state").await.expect("there"), Some(b"{}".to_vec()));
        // Nothing compresses it.
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let large: Vec<u8> = (0..1_500_000).map(|_| noise()).collect();
        for body in [&large[..], b"", b"{\"a\":1}", &large[..600_000], &[7; 20_000_000]] {
            tx.setting_put_large("state", body).await.expect("written");
            let read = tx.setting_large("state").await.expect("read").expect("there");
            assert!(read == body, "{} bytes", body.len());
        }
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
