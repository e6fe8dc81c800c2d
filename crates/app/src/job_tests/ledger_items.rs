//! Records that are sealed with what they tell of, found again, and ended.

use serde_json::{Value, json};
use veritwin_domain::{BatchId, LedgerItemId};
use veritwin_metastore::{ActivityFilter, DestructionState, LedgerKind, StoredDestruction};
use veritwin_verify::RecordProof;

use super::*;
use crate::destruction_scope::StoredScope;
use crate::destructions::fresh;
use crate::model::SeriesId;

const ABOUT: [u8; 16] = [9; 16];
const DAY: Duration = Duration::from_secs(86_400);

impl World {
    async fn record(&self, customer: &Customer, number: u64, is_kept: bool) -> LedgerItemId {
        let context = &customer.context;
        let tx = self.app.0.store.begin(context).await.expect("records");
        let what = (LedgerKind::Consent, Some(ABOUT));
        let sealed = self.app.seal_record(&tx, context, what, &json!({"n": number})).await;
        let id = sealed.expect("written");
        if is_kept {
            tx.commit().await.expect("written");
        }
        id
    }

    async fn place(&self, customer: &Customer, id: LedgerItemId) -> Option<(u64, u64)> {
        let tx = self.app.0.store.read(&customer.context).await.expect("records");
        tx.ledger_place(id).await.expect("read").and_then(|place| place.sealed)
    }

    /// The sealed form of a record, by its proof.
    async fn proven(&self, customer: &Customer, id: LedgerItemId) -> (Value, RecordProof) {
        let context = customer.somebody(Role::Owner);
        let view = self.app.find_sealed_record(&context, id).await.expect("found");
        assert_eq!(view.state, "sealed");
        let proof = view.proof.expect("a proof");
        (serde_json::from_slice(&proof.record).expect("JSON"), proof)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_sealed_once_whatever_ended_in_between() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Records").await;
    // One whose transaction never was, one whose batch never reached the archive, one more.
    let never = world.record(&customer, 0, false).await;
    let lost = world.record(&customer, 1, true).await;
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    let batch = BatchId::from_bytes([7; 16]);
    tx.ledger_items_taken((&[lost], 1), batch, None).await.expect("taken");
    tx.commit().await.expect("written");
    let other = world.record(&customer, 2, true).await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    let first = world.until("its leaf", async || world.place(&customer, lost).await).await;
    let second = world.until("the other's", async || world.place(&customer, other).await).await;
    assert_ne!(first.1, second.1);
    assert_eq!(world.place(&customer, never).await, None);
    let (sealed, proof) = world.proven(&customer, other).await;
    let expected = (&json!("consent"), &json!(other.to_string()), &json!({"n": 2}));
    assert_eq!((&sealed["kind"], &sealed["id"], &sealed["body"]), expected);
    assert_eq!(proof.sequence, second.1);
    let context = customer.somebody(Role::Owner);
    let about = LedgerItemId::from_bytes(ABOUT);
    let about = world.app.find_sealed_about(&context, about).await.expect("found");
    assert_eq!(about.len(), 2);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_that_was_appended_before_a_crash_is_not_appended_again() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let served = world.archive_until(stop.clone()).await;
    let customer = world.customer("Crashed").await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    let sealed = world.record(&customer, 1, true).await;
    world.until("its leaf", async || world.place(&customer, sealed).await).await;
    let world = world.reopen().await;
    stop.cancel();
    served.await.expect("closed");
    world.archive().await;
    let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
    let summary = world.app.summary_of(log).await.expect("where it stands");
    let last = summary.last_entry.as_deref().expect("an entry");
    let batch = veritwin_verify::Leaf::decode(last).expect("a leaf").batch;
    // As it is when the archive has the leaf and the platform ended before it noted that.
    let open = world.record(&customer, 2, true).await;
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.ledger_items_taken((&[open], 1), batch, None).await.expect("taken");
    tx.commit().await.expect("written");
    let other = world.record(&customer, 3, true).await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    let place = world.until("its leaf", async || world.place(&customer, open).await).await;
    assert_eq!(place, (summary.size - 1, 1));
    let other = world.until("the other's", async || world.place(&customer, other).await).await;
    assert!(other.0 >= summary.size, "{other:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_who_is_not_subscribed_the_archive_gets_roots_alone() {
    let world = World::new().await;
    world.archive().await;
    let (customer, other) =
        (world.customer_of("Not subscribed", false).await, world.customer("Subscribed").await);
    world.app.start_ledger();
    world.send(&customer, 1.5).await;
    world.send(&other, 1.5).await;
    world.until("the other's leaf", async || (world.sealed(&other).await == 1).then_some(())).await;
    assert_eq!(world.sealed(&customer).await, 0, "no reading");
    world.app.start_sealing_records();
    let id = world.record(&customer, 1, true).await;
    world.until("the record's leaf", async || world.place(&customer, id).await).await;
    let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
    let summary = world.app.summary_of(log).await.expect("where it stands");
    for index in 0..summary.size {
        let leaf = world.app.leaf(log, index, summary.size).await.expect("a leaf").leaf;
        assert_eq!((leaf.payload_bytes, leaf.act), (0, veritwin_verify::Act::Evidence));
    }
    // Here it is known, and proven by the salt that stayed here.
    let (sealed, _) = world.proven(&customer, id).await;
    assert_eq!(sealed["body"], json!({"n": 1}));
    // Acts are in a leaf of their own, and end with their records.
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let listed = tx.activity(&ActivityFilter::default(), &Page::first(1)).await.expect("records");
    drop(tx);
    let act = LedgerItemId::from_bytes(*listed.items[0].id.as_bytes());
    let place = world.until("the act's leaf", async || world.place(&customer, act).await).await;
    assert_ne!(Some(place.0), world.place(&customer, id).await.map(|place| place.0));
    world.proven(&customer, act).await;
    let context = world.app.local_operator();
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.ledger_kept_purge(context.at.saturating_add(91 * DAY), &[]).await.expect("purged");
    tx.commit().await.expect("written");
    world.proven(&customer, id).await;
    let context = customer.somebody(Role::Owner);
    let view = world.app.find_sealed_record(&context, act).await.expect("found");
    assert_eq!((view.state, view.proof.is_none()), ("destroyed", true));
    // All ends with the key of its day, also where somebody has a copy of the row.
    let all = world.app.0.keys.list(Some(customer.tenant())).into_iter();
    let of_ledger = all.filter(|key| key.scope.class == veritwin_keys::DataClass::Ledger);
    let keys: Vec<_> = of_ledger.map(|key| key.id).collect();
    world.app.destroy_payload_keys(&keys).expect("destroyed");
    let view = world.app.find_sealed_record(&context, id).await.expect("found");
    assert_eq!((view.state, view.proof.is_none()), ("destroyed", true));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_ends_when_it_is_asked_for() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Ended").await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    let id = world.record(&customer, 1, true).await;
    let place = world.until("its leaf", async || world.place(&customer, id).await).await;
    let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
    world.app.prove(log, place.0).await.expect("proven before");
    world.clock.advance(Duration::from_secs(5));
    let context = world.app.job_in(veritwin_access::jobs::RETENTION, customer.tenant());
    let scope = StoredScope::Ledger { before: context.at.as_micros() };
    let body = fresh(&context, (scope, false), "asked for");
    let mut stored = StoredDestruction {
        id: veritwin_domain::DestructionId::generate(context.at, world.app.rng()),
        state: DestructionState::Asked,
        body: body.to_store().expect("a body"),
        version: 1,
        requested_at: context.at,
    };
    let tx = world.app.0.store.begin(&context).await.expect("records");
    tx.destruction_create(&stored).await.expect("made");
    tx.commit().await.expect("written");
    while stored.state != DestructionState::Done {
        let moved = world.app.step(customer.tenant(), &stored).await.expect("a step");
        stored = moved.expect("nothing is waited for");
    }
    let context = customer.somebody(Role::Owner);
    let view = world.app.destruction(&context, stored.id).await.expect("read");
    assert!(view.has_certificate && view.keys >= 1 && view.ledger_index.is_some(), "{view:?}");
    assert_eq!(view.due_at.map(|due| due.since(view.requested_at)), Some(30 * DAY));
    world.app.prove(log, place.0).await.expect("proven after");
    let ended = world.app.find_sealed_record(&context, id).await;
    // Where it was is forgotten with it.
    assert!(matches!(ended, Err(crate::Error::NotFound(_))), "{ended:?}");
    let later = world.record(&customer, 2, true).await;
    world.until("a leaf under a new key", async || world.place(&customer, later).await).await;
    world.proven(&customer, later).await;
    world.app.close().await;
}

impl World {
    /// Notes the end of a period of nothing, as the job does each day.
    async fn note_end(&self, customer: &Customer) {
        let platform = self.app.job(veritwin_access::jobs::RETENTION);
        let tx = self.app.0.store.begin_platform(&platform).await.expect("records");
        let noted = self.app.note_period_end(tx, customer.tenant(), (&[], platform.at)).await;
        noted.expect("noted").commit().await.expect("written");
    }

    async fn acts(&self, customer: &Customer) -> Vec<StoredDestruction> {
        let tx = self.app.0.store.read(&customer.context).await.expect("records");
        tx.destructions().await.expect("read")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_each_day_fills_neither_journal_nor_records() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Daily").await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    let id = world.record(&customer, 1, true).await;
    world.until("its leaf", async || world.place(&customer, id).await).await;
    world.note_end(&customer).await;
    let mut stored = world.acts(&customer).await.remove(0);
    while stored.state != DestructionState::Done {
        let moved = world.app.step(customer.tenant(), &stored).await.expect("a step");
        stored = moved.expect("nothing is waited for");
    }
    let lines = world.app.0.destructions.shreds.entries(Some(customer.tenant()));
    assert!(lines.expect("lines").is_empty());
    let context = customer.somebody(Role::Owner);
    let text = world.app.destruction_certificate(&context, stored.id).await.expect("signed");
    assert!(crate::check_certificate(text.as_bytes(), None).is_ok(), "{text}");

    // Of those of before, what nobody asked for goes after 400 days.
    let context = world.app.job_in(veritwin_access::jobs::RETENTION, customer.tenant());
    let tx = world.app.0.store.begin(&context).await.expect("records");
    let mut expected = BTreeSet::from([stored.id]);
    for (days, is_period, stays) in [(401, true, false), (399, true, true), (401, false, true)] {
        let scope = StoredScope::Ledger { before: 0 };
        let mut body = fresh(&context, (scope, false), "before");
        body.is_period = is_period;
        let old = StoredDestruction {
            id: veritwin_domain::DestructionId::generate(context.at, world.app.rng()),
            state: DestructionState::Done,
            body: body.to_store().expect("a body"),
            version: 1,
            requested_at: context.at.saturating_sub(days * DAY),
        };
        tx.destruction_create(&old).await.expect("made");
        if stays {
            expected.insert(old.id);
        }
    }
    tx.commit().await.expect("written");
    world.clock.advance(Duration::from_secs(1));
    world.note_end(&customer).await;
    world.app.forget_periods(world.app.clock().now()).await.expect("forgotten");
    let acts = world.acts(&customer).await;
    expected.insert(acts[0].id);
    assert_eq!(acts.iter().map(|one| one.id).collect::<BTreeSet<_>>(), expected);
    assert_eq!(acts.len(), 4, "{acts:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_the_archive_holds_up_is_overdue_after_30_days() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let served = world.archive_until(stop.clone()).await;
    let customer = world.customer("Waits").await;
    world.app.start_ledger();
    ledger::seal(&world, &customer, 1).await;
    stop.cancel();
    served.await.expect("closed");
    // The keys go at once; what has to be stated in the log waits.
    let mut known = ledger::asked_end(&world, &customer).await;
    let asked_at = known.requested_at;
    while let Some(next) = world.app.step(customer.tenant(), &known).await.expect("a step") {
        known = next;
    }
    assert_ne!(known.state, DestructionState::Done);
    let overdue = async || {
        let now = world.app.clock().now();
        world.app.overdue_ledger_ends(now).await.expect("counted")
    };
    world.clock.advance((30 * DAY).saturating_sub(world.app.clock().now().since(asked_at)));
    assert_eq!(overdue().await, 0, "on day 30");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(overdue().await, 1, "after it");
    // Whoever withholds their key holds it up themselves.
    let keys = &world.app.0.keys;
    keys.revoke(customer.tenant()).expect("revoked");
    assert_eq!(overdue().await, 0);
    keys.restore(customer.tenant()).expect("given back");
    assert_eq!(overdue().await, 1);
    world.archive().await;
    while world.destruction(&customer, known.id).await.state != DestructionState::Done {
        world.step_of(&customer, known.id).await;
    }
    assert_eq!(overdue().await, 0);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_is_found_by_device_key_and_time() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Found").await;
    world.app.start_ledger();
    let at = world.app.clock().now();
    world.send_of(&customer, &[(at, 1.5)]).await;
    world.until("its leaf", async || (world.sealed(&customer).await == 1).then_some(())).await;
    let series = SeriesId { device: customer.device, key: Key::new(KEY).expect("a key") };
    let context = customer.somebody(Role::Owner);
    let places = world.app.find_sealed_reading(&context, &series, at).await.expect("found");
    assert_eq!(places.len(), 1);
    let proof = places[0].proof.as_ref().expect("a proof");
    let record: Value = serde_json::from_slice(&proof.record).expect("JSON");
    assert_eq!(record["device"], customer.device.to_string());
    let other = Timestamp::from_micros(at.as_micros() - 60_000_000);
    let nowhere = world.app.find_sealed_reading(&context, &series, other).await;
    assert!(matches!(nowhere, Err(crate::Error::NotFound(_))), "{nowhere:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_changed_shows_no_other_record() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Index").await;
    let one = world.record(&customer, 1, true).await;
    let other = world.record(&customer, 2, true).await;
    world.app.start_sealing_records();
    world.app.start_ledger();
    world.until("a leaf", async || world.place(&customer, one).await).await;
    let second = world.until("a leaf", async || world.place(&customer, other).await).await;
    let context = customer.somebody(Role::Owner);
    for sequence in [second.1, second.1 + 1000] {
        let tx = world.app.0.store.begin(&customer.context).await.expect("records");
        let batch = BatchId::from_bytes([7; 16]);
        tx.ledger_items_taken((&[one], sequence), batch, None).await.expect("changed");
        tx.commit().await.expect("written");
        let view = world.app.find_sealed_record(&context, one).await.expect("found");
        assert_eq!((view.state, view.proof.is_none()), ("misplaced", true), "{sequence}");
    }
    world.proven(&customer, other).await;
    world.app.close().await;
}
